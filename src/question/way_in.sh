# The program that a node keeps while a change could end the way in: `sh DIRECTORY/revert VERB`, with the functions of way.sh and kept.rs before this.
#   keep              copies what lets the account of the run log in and become root
#   note              notes the state of what runs
#   arm               starts the unit that runs `watch`, and waits until it does
#   watch             waits until no beat of the run has come for a minute, then puts everything back that differs from the copies; at once after a reboot
#   now               the same at once, for a run that still has its session
#   disarm MARK...    ends the watch; with the marks of handlers that are still due, the copies stay, and go back at the next boot
#   accept WHAT       takes what was changed to stay into the copies
# $root is empty on a node. A special builtin whose redirection fails ends dash, so what must go on uses `true` and `command exec`.

set -eu
umask 077
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
state=${0%/*}
IFS= read -r boot </proc/sys/kernel/random/boot_id
unit=autobot-provision-revert.service
at_boot=$root/etc/systemd/system/autobot-provision-revert-at-boot.service
wanted=$root/etc/systemd/system/multi-user.target.wants/autobot-provision-revert-at-boot.service
accounts='passwd group shadow gshadow'
settings='^net\.ipv[46]\.'

access() { stat -c '%a %u:%g' -- "$1" 2>/dev/null; }
changed() { printf '%s\n' "$1" >>"$state/changed"; }
is_wanted() { [ -e "$state/armed" ] || [ -e "$state/owed" ]; }

keep() {
  cd "$root/"
  set --
  for path in $trees; do [ ! -e "$path" ] && [ ! -L "$path" ] || set -- "$@" "$path"; done
  mkdir -- "$state/tree" "$state/accounts"
  [ $# = 0 ] || cp -a --parents -- "$@" "$state/tree"
  printf '%s\n' "${SUDO_UID:-0}" "${trusted_owners-}" >"$state/login"
  keep_account
}

keep_account() {
  cd "$root/etc"
  for file in $accounts; do [ ! -f "$file" ] || cp -a -- "$file" "$state/accounts/$file"; done
  getent passwd "${SUDO_USER:-$(id -un)}" >"$state/account" || return 0
  IFS=: read -r name _ _ _ _ home _ <"$state/account"
  id -nG -- "$name" >"$state/groups"
  for file in passwd shadow; do
    awk -F : -v name="$name" '$1 == name' "$file" >"$state/$file" || :
  done
  home=${home%/}
  rm -rf -- "$state/home" "$state/directories"
  case $home in /?*) ;; *) return 0 ;; esac
  # Where the way to the home leads through what others could replace, root neither reads nor writes there.
  set +e
  (reach "$name" "$home/.ssh/authorized_keys" '')
  status=$?
  set -e
  [ "$status" != 1 ] || return 0
  path=$home
  while [ -n "$path" ]; do
    printf '%s %s\n' "$(access "$path")" "$path"
    path=${path%/*}
  done >"$state/directories"
  printf '%s %s\n' "$(access "$home/.ssh")" "$home/.ssh" >>"$state/directories"
  set -- "$state/home" files . ''
  number=0
  for file in .ssh/authorized_keys .ssh/authorized_keys2 .ssh/rc .ssh/environment .profile .bash_profile .bash_login .bashrc .zshenv .zprofile .kshrc .cshrc .tcshrc
  do
    number=$((number + 1))
    set -- "$@" "$number" "$home/$file" ''
  done
  # Not on the left of `||`, where the shell does not end at an error.
  set +e
  (keep_files "$@") 2>/dev/null
  status=$?
  set -e
  [ "$status" = 0 ] || rm -rf -- "$state/home"
}

# keep_state: what runs, as it is right before the change: what an earlier item has proved stays.
keep_state() {
  # Where systemd does not answer, the unit cannot be armed either.
  systemctl show -p Id -p ActiveState -p UnitFileState -- $units >"$state/units" || :
  for program in iptables ip6tables; do
    "$program-save" >"$state/$program" 2>/dev/null || rm -f -- "$state/$program"
  done
  rm -rf -- "$state/nft"
  if command -v nft >/dev/null; then
    mkdir -- "$state/nft"
    nft list tables 2>/dev/null | while read -r _ family table; do
      # That iptables manages a table is said on standard error.
      nft list table "$family" "$table" >"$state/nft/$family.$table" 2>&1
    done || :
  fi
  sysctl -a 2>/dev/null | grep -E "$settings" >"$state/settings" || :
  if command -v ip >/dev/null; then
    addresses >"$state/addresses"
    ip address save >"$state/address" 2>/dev/null || :
    ip route save table all >"$state/route" 2>/dev/null || :
  fi
}

# addresses: what the kernel knows of addresses and routes, without what changes by itself.
addresses() {
  ip -o address show | sed 's/ valid_lft .*//'
  ip -o link show up | sed 's/^[0-9]*: \([^:]*\): .*/\1/'
  ip rule show
  ip route show table all | sed 's/ expires [^ ]*//'
}

arm() {
  { IFS= read -r holder <"$lock"; } 2>/dev/null || { echo "no run holds this node: nothing is armed" >&2; exit 1; }
  printf '%s\n' "$holder" "$boot" >"$state/holder"
  # Valid across a power cut: at boot it comes before what it puts back.
  printf '%s\n' '[Unit]' 'Description=autobot-provision: puts the way in back that a run had changed before the power was cut' \
    'DefaultDependencies=no' 'After=local-fs.target' 'Before=network-pre.target ssh.service ssh.socket' "RequiresMountsFor=${state%/*}" \
    '[Service]' 'Type=oneshot' "ExecStart=/bin/sh $state/revert watch" '[Install]' 'WantedBy=multi-user.target' >"$at_boot"
  chmod 0644 -- "$at_boot"
  mkdir -p -m 0755 -- "${wanted%/*}"
  ln -sfn -- "../${at_boot##*/}" "$wanted"
  rm -f -- "$state/watching" "$state/owed"
  : >"$state/armed"
  sync -f -- "$state" "$at_boot"
  systemctl stop "$unit" 2>/dev/null || :
  systemd-run --quiet --no-ask-password --collect --unit="$unit" --property=Restart=on-failure --property=RestartSec=5 \
    --description='autobot-provision: puts the way in back unless the run that changes it proves it' /bin/sh "$state/revert" watch </dev/null
  polls=0
  while [ ! -e "$state/watching" ]; do
    [ "$polls" -lt 200 ] || { echo "the unit $unit does not start, so that nothing would put the way in back" >&2; exit 1; }
    polls=$((polls + 1))
    sleep 0.05
  done
}

disarm() {
  if [ $# -gt 0 ]; then
    printf '%s\n' "$@" >"$state/owed"
    rm -f -- "$state/armed"
    systemctl stop "$unit" 2>/dev/null || :
    return 0
  fi
  # The copies last: they are what the units need.
  rm -f -- "$state/armed" "$state/owed" "$at_boot" "$wanted"
  systemctl stop "$unit" 2>/dev/null || :
  rm -rf -- "$state"
}

accept() {
  case $1 in
  /*) ;;
  *) keep_account; return ;;
  esac
  for entry in "$state/home/files"/*.path; do
    [ ! -f "$entry" ] || [ "$(sed -n 3p -- "$entry")" != "$1" ] || rm -f -- "$entry"
  done
  is_kept=''
  for tree in $trees; do case ${1#/} in "$tree" | "$tree"/*) is_kept=yes ;; esac; done
  [ -n "$is_kept" ] || return 0
  path=$root$1 copy=$state/tree$1
  if [ -d "$path" ] && [ ! -L "$path" ] && [ -d "$copy" ]; then
    chown --reference="$path" -- "$copy"
    chmod --reference="$path" -- "$copy"
    return
  fi
  rm -rf -- "$copy"
  cd "$root/"
  { [ ! -e "$path" ] && [ ! -L "$path" ]; } || cp -a --parents -- "${1#/}" "$state/tree"
}

seconds() { IFS='. ' read -r now _ </proc/uptime; }

watch() {
  set +e
  { IFS= read -r holder; IFS= read -r armed_boot; } <"$state/holder"
  true >"$state/watching"
  seconds
  last=$now
  # After a reboot no session is left to prove anything.
  while [ "$armed_boot" = "$boot" ]; do
    [ -e "$state/armed" ] || exit 0
    seconds
    if { IFS= read -r line && read -r its_boot beat; } 2>/dev/null <"$lock" && [ "$line $its_boot" = "$holder $boot" ] && [ "${beat%.*}" -gt "$last" ]; then
      last=${beat%.*}
    fi
    # A job of the run works on, such as dpkg, and ends by itself.
    [ ! -e "$jobs" ] || flock -n "$jobs" true || last=$now
    [ "$((now - last))" -lt "$lease" ] || break
    sleep 1
  done
  is_wanted && [ -n "$(find "$state/kept" -mmin -1440)" ] || exit 0
  take_lock
  put_back
  set -- $holder
  { printf '%s %s\n' "$4" "$5"; cat -- "$state/changed"; } >"$state.reverted.new"
  mv -f -- "$state.reverted.new" "$state.reverted"
  # What went back is on the disk before the copies go.
  sync
  rm -f -- "$at_boot" "$wanted"
  rm -rf -- "$state"
  [ -z "$stamper" ] || kill "$stamper"
  [ -z "$held" ] || rm -f -- "$lock"
  rmdir -- "${lock%/*}" 2>/dev/null
  exit 0
}

# take_lock: holds the node while things go back, as a job of that run. A run that is under way has just logged in, and disarms this. One that never lets go
# does not keep the way in closed.
take_lock() {
  held='' stamper='' tries=0
  while is_wanted || exit 0; [ "$tries" -lt 60 ]; do
    tries=$((tries + 1))
    mkdir -p -m 0700 -- "${lock%/*}"
    { command exec 9>>"$lock"; } 2>/dev/null || { sleep 1; continue; }
    if flock -w 1 9 && [ "$lock" -ef /proc/self/fd/9 ]; then held=yes; break; fi
  done
  [ -n "$held" ] || return
  IFS= read -r line </proc/self/stat
  set -- ${line##*") "}
  shift 19
  birth=$1
  set -- $holder
  mine="$$ $birth $3 $4 $5 way-in revert"
  stamp
  # Other runs take over from a holder without beats.
  while sleep 5; do stamp; done 9>&- &
  stamper=$!
}

stamp() {
  read -r now _ </proc/uptime
  printf '%s\n%s\n' "$mine" "$boot $now" 1<>"$lock"
}

# The beats of the session keep the unit from doing the same at once; if the session ends meanwhile, the unit goes on with it.
now() {
  put_back
  sync
  cat -- "$state/changed"
  disarm
}

# put_back: what differs from the copies goes back, and is listed in $state/changed.
put_back() {
  set +e
  true >"$state/changed"
  { IFS= read -r SUDO_UID; IFS= read -r trusted_owners; } <"$state/login"
  export SUDO_UID trusted_owners
  name='' home=''
  [ ! -s "$state/account" ] || IFS=: read -r name _ _ _ _ home _ <"$state/account"
  put_back_tree
  if [ -n "$name" ]; then
    put_back_account
    put_back_home
  fi
  ! grep -q '^/etc/systemd/' "$state/changed" || systemctl daemon-reload
  { IFS= read -r _; IFS= read -r armed_boot; } <"$state/holder"
  # A reboot has put back what runs.
  if [ "$armed_boot" = "$boot" ]; then
    put_back_addresses
    put_back_firewall
    put_back_settings
  fi
  put_back_units
}

put_back_tree() {
  cd "$root/" || return
  for tree in $trees; do
    saved=$state/tree/$tree
    # What was not there before.
    find "$tree" -depth ! -type d 2>/dev/null | while IFS= read -r path; do
      [ ! -e "$state/tree/$path" ] && [ ! -L "$state/tree/$path" ] || continue
      # A package has brought it, and would not bring it again.
      ! grep -qxF "/$path" "$root/var/lib/dpkg/info/"*.conffiles 2>/dev/null || continue
      rm -f -- "$path" && changed "/$path"
    done
    find "$saved" 2>/dev/null | while IFS= read -r saved; do
      path=${saved#"$state/tree/"}
      if [ -L "$saved" ]; then
        [ ! -L "$path" ] || [ "$(readlink -- "$saved")" != "$(readlink -- "$path")" ] || continue
      elif [ -d "$saved" ]; then
        if [ -d "$path" ] && [ ! -L "$path" ]; then
          [ "$(access "$saved")" != "$(access "$path")" ] || continue
          set -- $(access "$saved")
          chown -- "$2" "$path"
          chmod -- "$1" "$path"
          changed "/$path"
          continue
        fi
        rm -f -- "$path"
        mkdir -p -- "$path"
        set -- $(access "$saved")
        chown -- "$2" "$path"
        chmod -- "$1" "$path"
        changed "/$path"
        continue
      else
        [ -L "$path" ] || ! cmp -s -- "$saved" "$path" || [ "$(access "$saved")" != "$(access "$path")" ] || continue
      fi
      rm -rf -- "$path.autobot-provision"
      mkdir -p -- "${path%/*}"
      [ ! -d "$path" ] || [ -L "$path" ] || rm -rf -- "$path"
      cp -a -- "$saved" "$path.autobot-provision" && mv -fT -- "$path.autobot-provision" "$path" && changed "/$path"
    done
  done
}

# put_back_line FILE: the account's line of /etc/passwd or /etc/shadow.
put_back_line() {
  [ -s "$state/$1" ] || return 0
  awk -F : -v name="$name" '$1 == name' "etc/$1" | cmp -s - "$state/$1" && return
  cp -a -- "etc/$1" "etc/$1.autobot-provision" || return
  awk -F : -v name="$name" -v saved="$state/$1" '
    function old() { if (!done) while ((getline line <saved) > 0) print line; done = 1 }
    $1 == name { old(); next }
    { print }
    END { old() }' "etc/$1" >"etc/$1.autobot-provision" && mv -f -- "etc/$1.autobot-provision" "etc/$1" && changed "the account $name in /etc/$1"
}

put_back_account() {
  cd "$root/"
  for file in $accounts; do
    [ -f "$state/accounts/$file" ] || continue
    if [ ! -s "etc/$file" ] || { grep -q '^root:' "$state/accounts/$file" && ! grep -q '^root:' "etc/$file"; }; then
      cp -a -- "$state/accounts/$file" "etc/$file.autobot-provision" && mv -f -- "etc/$file.autobot-provision" "etc/$file" && changed "/etc/$file"
    fi
  done
  put_back_line passwd
  put_back_line shadow
  now_in=" $(id -nG -- "$name" 2>/dev/null) "
  was_in=" $(cat -- "$state/groups") "
  for group in $was_in; do
    case $now_in in *" $group "*) continue ;; esac
    if ! grep -q "^$group:" etc/group; then
      # A group of a directory service comes back with the network.
      grep "^$group:" "$state/accounts/group" >>etc/group || continue
    fi
    usermod -a -G "$group" -- "$name" 2>/dev/null
    changed "the account $name in the group $group"
  done
  for group in $now_in; do
    case $was_in in *" $group "*) continue ;; esac
    grep -q "^$group:" etc/group && gpasswd -d "$name" "$group" >/dev/null 2>&1 && changed "the account $name without the group $group"
  done
}

put_back_home() {
  [ ! -s "$state/directories" ] || sort -k 3 -- "$state/directories" | while read -r mode owner path; do
    # There was none.
    case $mode in /*) continue ;; esac
    [ ! -L "$path" ] && [ "$(access "$path")" != "$mode $owner" ] || continue
    [ -d "$path" ] || mkdir -- "$path" || continue
    chown -h -- "$owner" "$path" && chmod -- "$mode" "$path" && changed "$path"
  done
  [ -d "$state/home/files" ] || return 0
  for entry in "$state/home/files"/*.path; do
    { IFS= read -r attributes; IFS= read -r _; IFS= read -r path; } <"$entry"
    copy=${entry%.path}.copy
    if [ -f "$copy" ] && [ ! -L "$copy" ]; then
      [ ! -L "$path" ] && cmp -s -- "$copy" "$path" && [ "$(access "$path")" = "$attributes" ] || continue
    elif [ -L "$copy" ]; then
      [ -L "$path" ] && [ "$(readlink -- "$copy")" = "$(readlink -- "$path")" ] || continue
    elif [ -e "$path" ] || [ -L "$path" ]; then
      continue
    fi
    rm -f -- "$entry"
  done
  put_back_files "$state/home" files >>"$state/changed"
}

put_back_addresses() {
  [ -f "$state/addresses" ] || return 0
  addresses >"$state/addresses.now"
  cmp -s -- "$state/addresses" "$state/addresses.now" && return
  ip -o link show | sed 's/^[0-9]*: \([^:]*\): .*/\1/' | while IFS= read -r link; do
    ! grep -qxF "$link" "$state/addresses" || ip link set dev "${link%%@*}" up
  done
  # What is there already is no error to them that counts.
  ip address restore <"$state/address"
  ip route restore <"$state/route"
  changed 'addresses and routes'
} 2>/dev/null

# rules: rules without what changes by itself.
rules() {
  sed -e '/^#/d' -e 's/\[[0-9]*:[0-9]*\]//' -e 's/counter packets [0-9]* bytes [0-9]*/counter/g' -e 's/ expires [0-9a-z]*//g' "$@"
}
# emptied SAVED NOW: tables of iptables that are there now and were not.
emptied() {
  awk 'NR == FNR { if (/^\*/) saved[$1] = 1; next }
    /^\*/ { table = $1; chains = "" }
    /^:/ && $2 != "-" { chains = chains $1 " ACCEPT [0:0]\n" }
    /^COMMIT/ && !(table in saved) { printf "%s\n%sCOMMIT\n", table, chains }' "$1" "$2"
}
is_of_iptables() { grep -q -e 'managed by iptables' -e 'xt match' -e 'xt target' -- "$1"; }

put_back_firewall() {
  for program in iptables ip6tables; do
    [ -f "$state/$program" ] || continue
    "$program-save" >"$state/rules.now" 2>/dev/null
    rules "$state/rules.now" >"$state/rules"
    rules "$state/$program" | cmp -s - "$state/rules" && continue
    # An empty file says nothing of a table that is new.
    { cat -- "$state/$program"; echo; emptied "$state/$program" "$state/rules.now"; } | "$program-restore" && changed "the rules of $program"
  done
  [ -d "$state/nft" ] || return 0
  nft list tables 2>/dev/null | while read -r _ family table; do
    saved=$state/nft/$family.$table
    nft list table "$family" "$table" >"$state/rules.now" 2>&1
    # Those of iptables have gone back above.
    is_of_iptables "$state/rules.now" && { rm -f -- "$saved"; continue; }
    if [ ! -f "$saved" ]; then
      nft delete table "$family" "$table" && changed "the firewall's table $family $table"
      continue
    fi
    rules "$state/rules.now" >"$state/rules"
    if ! rules "$saved" | cmp -s - "$state/rules"; then
      { echo "delete table $family $table"; cat -- "$saved"; } | nft -f - && changed "the firewall's table $family $table"
    fi
    rm -f -- "$saved"
  done
  for saved in "$state/nft"/*; do
    [ -f "$saved" ] && ! is_of_iptables "$saved" || continue
    nft -f "$saved" && changed "the firewall's table ${saved##*/}"
  done
}

put_back_settings() {
  [ -s "$state/settings" ] || return 0
  sysctl -a 2>/dev/null | grep -E "$settings" >"$state/settings.now"
  # Forwarding first: the kernel sets others with it.
  awk 'NR == FNR { now[$1] = $0; next } ($1 in now) && now[$1] != $0' "$state/settings.now" "$state/settings" | sort -r -t . -k 3,3 | while IFS= read -r line; do
    sysctl -q -w -- "${line%% *}=${line#* = }" 2>/dev/null && changed "the kernel's setting ${line%% *}"
  done
}

# words_of FILE: `UNIT ACTIVE ENABLED` of each unit that systemd knows.
words_of() {
  awk -F = '
    /^Id=/ { id = $2 } /^ActiveState=/ { active = $2 } /^UnitFileState=/ { enabled = $2 }
    function line() { if (id != "" && !seen[id]++) print id, active, (enabled == "" ? "-" : enabled); id = active = enabled = "" }
    /^$/ { line() } END { line() }' "$1"
}

put_back_units() {
  systemctl show -p Id -p ActiveState -p UnitFileState -- $units >"$state/units.now" 2>/dev/null
  words_of "$state/units.now" >"$state/units.words"
  words_of "$state/units" | while read -r id active enabled; do
    is_active='' is_enabled=''
    while read -r other now_active now_enabled; do
      [ "$other" != "$id" ] || { is_active=$now_active is_enabled=$now_enabled; }
    done <"$state/units.words"
    if [ "$enabled" != "$is_enabled" ]; then
      case $is_enabled in masked*) systemctl -q unmask "$id" ;; esac
      case $enabled in
      enabled) systemctl -q enable "$id" && changed "$id is enabled" ;;
      disabled) systemctl -q disable "$id" && changed "$id is disabled" ;;
      esac
    fi 2>/dev/null
    # What is down after a reboot is about to start.
    [ "$armed_boot" = "$boot" ] || continue
    case $active:$is_active in
    active:active)
      case $id in
      ssh*) pattern='/etc/\(ssh/\|default/ssh\|systemd/system/ssh\)' ;;
      systemd-resolved*) pattern='/etc/\(resolv\|systemd/resolved\)' ;;
      net* | systemd-net* | NetworkM*) pattern='/etc/\(network/\|netplan/\|systemd/network/\|NetworkManager/\)' ;;
      *) continue ;;
      esac
      grep -q "^$pattern" "$state/changed" || continue
      timeout 60 systemctl restart "$id" && changed "$id was restarted"
      ;;
    active:*) timeout 60 systemctl restart "$id" && changed "$id was started" ;;
    inactive:active) case $id in nftables* | ufw* | firewalld* | netfilter*) timeout 60 systemctl stop "$id" && changed "$id was stopped" ;; esac ;;
    esac
  done
}

case $1 in
keep) keep ;;
note) keep_state ;;
arm) arm ;;
watch) watch ;;
now) now ;;
disarm) shift; disarm "$@" ;;
accept) accept "$2" ;;
esac
