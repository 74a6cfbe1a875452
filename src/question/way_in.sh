# The program that a node keeps while a change could end the way in: `sh DIRECTORY/revert VERB`, with the functions of way.sh and kept.rs before this.
#   keep    copies what lets the account of the run log in and become root
#   arm     starts the unit that runs `watch`, and waits until it does
#   watch   waits until no beat of the run has come for a minute, then puts everything back that differs from the copies
#   now     the same at once, for a run that still has its session
#   disarm [forget]   ends the unit; the copies stay, or go as well
# $root is empty on a node.

set -eu
umask 077
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
state=${0%/*}
IFS= read -r boot </proc/sys/kernel/random/boot_id
unit=autobot-provision-revert.service
units_directory=$root/etc/systemd/system
# Units whose state and files decide whether a login arrives.
units='ssh.service ssh.socket sshd.service sshd.socket networking.service systemd-networkd.service NetworkManager.service systemd-resolved.service
ufw.service nftables.service netfilter-persistent.service firewalld.service'

access() { stat -c '%a %u:%g' -- "$1" 2>/dev/null; }
changed() { printf '%s\n' "$1" >>"$state/changed"; }

keep() {
  cd "$root/"
  set --
  for path in $trees; do [ ! -e "$path" ] && [ ! -L "$path" ] || set -- "$@" "$path"; done
  mkdir -- "$state/tree"
  [ $# = 0 ] || cp -a --parents -- "$@" "$state/tree"
  printf '%s\n' "${SUDO_UID:-0}" "${trusted_owners-}" >"$state/login"
  keep_account
  # Where systemd does not answer, the unit cannot be armed either.
  systemctl show -p Id -p ActiveState -p UnitFileState -- $units >"$state/units" || :
  keep_firewall
  sysctl -a 2>/dev/null | grep -E '^net\.ipv[46]\.(conf\.|ip_forward)' >"$state/settings" || :
}

keep_account() {
  getent passwd "${SUDO_UID:-0}" >"$state/account" || return 0
  IFS=: read -r name _ _ _ _ home _ <"$state/account"
  id -nG -- "$name" >"$state/groups"
  for file in passwd shadow; do
    awk -F : -v name="$name" '$1 == name' "etc/$file" >"$state/$file" || :
  done
  home=${home%/}
  case $home in /?*) ;; *) return 0 ;; esac
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
  # Where the way to the home leads through what others could replace, root neither reads nor writes there.
  keep_files "$@" 2>/dev/null || rm -rf -- "$state/home"
}

keep_firewall() {
  for program in iptables ip6tables; do
    "$program-save" >"$state/$program" 2>/dev/null || rm -f -- "$state/$program"
  done
  command -v nft >/dev/null || return 0
  mkdir -- "$state/nft"
  nft list tables 2>/dev/null | while read -r _ family table; do
    nft list table "$family" "$table" >"$state/nft/$family.$table" 2>/dev/null
  done || :
}

arm() {
  { IFS= read -r holder <"$lock"; } 2>/dev/null || { echo "no run holds this node: nothing is armed" >&2; exit 1; }
  printf '%s\n' "$holder" "$boot" >"$state/holder"
  printf '%s\n' '[Unit]' 'Description=autobot-provision: puts the way in back unless the run that changes it proves it' \
    '[Service]' 'Type=exec' "ExecStart=/bin/sh $state/revert watch" '[Install]' 'WantedBy=multi-user.target' >"$units_directory/$unit"
  chmod 0644 -- "$units_directory/$unit"
  mkdir -p -m 0755 -- "$units_directory/multi-user.target.wants"
  ln -sfn -- "../$unit" "$units_directory/multi-user.target.wants/$unit"
  rm -f -- "$state/watching"
  : >"$state/armed"
  # Valid across a power cut.
  sync -f -- "$state" "$units_directory"
  systemctl daemon-reload
  systemctl restart --no-block "$unit"
  polls=0
  while [ ! -e "$state/watching" ]; do
    [ "$polls" -lt 200 ] || { echo "the unit $unit does not start, so that nothing would put the way in back" >&2; exit 1; }
    polls=$((polls + 1))
    sleep 0.05
  done
}

disarm() {
  rm -f -- "$state/armed" "$units_directory/$unit" "$units_directory/multi-user.target.wants/$unit"
  systemctl stop "$unit" 2>/dev/null || :
  systemctl daemon-reload
  [ "$1" != forget ] || rm -rf -- "$state"
}

seconds() { IFS='. ' read -r now _ </proc/uptime; }

watch() {
  { IFS= read -r holder; IFS= read -r armed_boot; } <"$state/holder"
  : >"$state/watching"
  seconds
  last=$now
  # After a power cut no session is left to prove anything.
  while [ "$armed_boot" = "$boot" ]; do
    [ -e "$state/armed" ] || exit 0
    seconds
    if { IFS= read -r line && read -r its_boot beat; } 2>/dev/null <"$lock" && [ "$line $its_boot" = "$holder $boot" ] && [ "${beat%.*}" -gt "$last" ]; then
      last=${beat%.*}
    fi
    [ "$((now - last))" -lt "$lease" ] || break
    sleep 1
  done
  take_lock
  put_back
  set -- $holder
  { printf '%s %s\n' "$4" "$5"; cat -- "$state/changed"; } >"$state.reverted.new"
  sync -- "$state.reverted.new"
  mv -f -- "$state.reverted.new" "$state.reverted"
  # systemctl stop would end this process.
  rm -f -- "$units_directory/$unit" "$units_directory/multi-user.target.wants/$unit"
  rm -rf -- "$state"
  systemctl daemon-reload
  [ -z "$held" ] || rm -f -- "$lock"
  rmdir -- "${lock%/*}" 2>/dev/null || :
}

# take_lock: holds the node while things go back, as a job of that run. A run that is under way has just logged in, and disarms this. One that never lets go
# does not keep the way in closed.
take_lock() {
  set +e
  held=''
  mkdir -p -m 0700 -- "${lock%/*}"
  tries=0
  while [ -e "$state/armed" ] || exit 0; [ "$tries" -lt 60 ]; do
    tries=$((tries + 1))
    exec 9>>"$lock"
    if flock -w 1 9 && [ "$lock" -ef /proc/self/fd/9 ]; then held=yes; break; fi
    mkdir -p -m 0700 -- "${lock%/*}"
  done
  IFS= read -r line </proc/self/stat
  set -- ${line##*") "}
  shift 19
  birth=$1
  set -- $holder
  read -r now _ </proc/uptime
  [ -z "$held" ] || printf '%s\n%s\n' "$$ $birth $3 $4 $5 way-in revert" "$boot $now" >"$lock"
}

now() {
  rm -f -- "$state/armed"
  systemctl stop "$unit" 2>/dev/null || :
  put_back
  cat -- "$state/changed"
  disarm forget
}

# put_back: what differs from the copies goes back, and is listed in $state/changed.
put_back() {
  set +e
  : >"$state/changed"
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
  put_back_firewall
  put_back_settings
  put_back_units
}

put_back_tree() {
  cd "$root/" || return
  for tree in $trees; do
    saved=$state/tree/$tree
    # What was not there before.
    find "$tree" -depth ! -type d 2>/dev/null | while IFS= read -r path; do
      [ -e "$state/tree/$path" ] || [ -L "$state/tree/$path" ] || { rm -f -- "$path" && changed "/$path"; }
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
  put_back_line passwd
  put_back_line shadow
  now_in=" $(id -nG -- "$name" 2>/dev/null) "
  for group in $(cat -- "$state/groups"); do
    case $now_in in *" $group "*) continue ;; esac
    getent group "$group" >/dev/null || groupadd -- "$group"
    usermod -a -G "$group" -- "$name" && changed "the account $name in the group $group"
  done
}

put_back_home() {
  [ ! -s "$state/directories" ] || sort -k 3 -- "$state/directories" | while read -r mode owner path; do
    # There was none.
    case $mode in /*) continue ;; esac
    [ ! -L "$path" ] && [ "$(access "$path")" != "$mode $owner" ] || continue
    [ -d "$path" ] || mkdir -- "$path" || continue
    chown -- "$owner" "$path" && chmod -- "$mode" "$path" && changed "$path"
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

# rules: rules without what changes by itself.
rules() { sed -e '/^#/d' -e 's/\[[0-9]*:[0-9]*\]//' -e 's/counter packets [0-9]* bytes [0-9]*/counter/' "$@"; }

put_back_firewall() {
  for program in iptables ip6tables; do
    [ -f "$state/$program" ] || continue
    "$program-save" 2>/dev/null | rules >"$state/rules"
    rules "$state/$program" | cmp -s - "$state/rules" && continue
    "$program-restore" <"$state/$program" && changed "the rules of $program"
  done
  [ -d "$state/nft" ] || return 0
  nft list tables 2>/dev/null | while read -r _ family table; do
    saved=$state/nft/$family.$table
    # Those of iptables have gone back above.
    if nft list table "$family" "$table" 2>/dev/null | tee "$state/rules.now" | grep -q -e 'managed by iptables' -e 'xt match' -e 'xt target'; then
      rm -f -- "$saved"
      continue
    fi
    if [ -f "$saved" ] && rules "$state/rules.now" >"$state/rules" && rules "$saved" | cmp -s - "$state/rules"; then
      rm -f -- "$saved"
      continue
    fi
    nft delete table "$family" "$table" && [ ! -f "$saved" ] && changed "the firewall's table $family $table"
  done
  for saved in "$state/nft"/*; do
    [ -f "$saved" ] && ! grep -q -e 'managed by iptables' -e 'xt match' -e 'xt target' -- "$saved" || continue
    nft -f "$saved" && changed "the firewall's table ${saved##*/}"
  done
}

put_back_settings() {
  [ -s "$state/settings" ] || return 0
  sysctl -a 2>/dev/null | grep -E '^net\.ipv[46]\.(conf\.|ip_forward)' >"$state/settings.now"
  awk 'NR == FNR { now[$1] = $0; next } ($1 in now) && now[$1] != $0' "$state/settings.now" "$state/settings" | while IFS= read -r line; do
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
arm) arm ;;
watch) watch ;;
now) now ;;
disarm) disarm "${2-}" ;;
esac
