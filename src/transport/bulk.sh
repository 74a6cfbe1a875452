# One transfer of a file, beside the session's loop and in a channel of its own. It ends with the loop, by `watch`: a cut link shows no end of
# input for hours, and the loop knows after 6 to 8 seconds.
#
# Set before this text: nonce; loop and birth (the process of the session's loop and its start time); verb and path; and number: how much of the file
# the controller has already (`fetch`), or its whole size (`send`).
# Comments and empty lines are left out when it is sent. It must work in dash and in bash called sh.
#
# Marks are lines on standard output that begin with the nonce. What fails is a mark on standard error, and ends the program: amid a file's bytes,
# standard output can say nothing.
#
# fetch:  -> size BYTES   -> <the bytes after the first `number`>   -> done SHA256
# stage:  as send, and makes the directory; nothing is compared, because only this session has it: `end` says `-`
# send:   -> have BYTES   then for each piece  <- BYTES\n<bytes>  -> at BYTES   then  <- end SHA256   -> done

umask 077
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
cd /

say() { printf '\n%s %s\n' "$nonce" "$*"; }

fail() {
  say failed "$*" >&2
  exit 1
}

differs() {
  say differs >&2
  exit 1
}

# Whether the loop still runs. Process IDs are reused, so the start time must match, too.
loop_lives() {
  { IFS= read -r line <"/proc/$loop/stat"; } 2>/dev/null || return 1
  # PID (NAME) STATE ...; the name may hold anything, parentheses too
  set -- ${line##*") "}
  case $1 in [ZX]) return 1 ;; esac
  shift 19
  [ "$1" = "$birth" ]
}

# Kills the whole process group, which is ours alone, when the loop has ended.
watch() {
  while loop_lives; do
    kill -0 "$$" 2>/dev/null || exit 0
    sleep 0.5
  done
  kill -KILL "-$$"
}

# at FD: sets $at to the position in an open file.
at() { read -r word at </proc/self/fdinfo/"$1"; }

# sum FD: sets $sum to the digest of all that an open file holds.
sum() {
  sum=$(sha256sum </proc/self/fd/"$1") || fail 'its digest cannot be calculated'
  sum=${sum%% *}
}

fetch() {
  [ -e "$path" ] || fail 'there is no such file'
  [ -f "$path" ] || fail 'it is not a regular file'
  { command exec 3<"$path"; } 2>/dev/null || fail 'it cannot be opened'
  size=$(stat -Lc %s /proc/self/fd/3)
  [ "$number" -le "$size" ] || differs
  say size "$size"
  { why=$(dd iflag=skip_bytes,count_bytes bs=256K skip="$number" count=$((size - number)) status=none 2>&1 <&3 >&4); } 4>&1 || fail "$why"
  at 3
  [ "$at" -eq "$size" ] || fail 'it became shorter while it was read'
  sum 3
  say 'done' "$sum"
}

# Opens the part as file 4, for one transfer at a time. Sets $have to its size.
open_part() {
  directory=${path%/*}/
  part=$directory.autobot-provision.${path##*/}.part
  [ -d "$directory" ] || fail "there is no directory $directory"
  [ ! -d "$path" ] || fail 'it is a directory'
  # A new one is made, and only one of our own is continued.
  (set -C && : >"$part") 2>/dev/null || [ -e "$part" ] || [ -L "$part" ] || fail "$part cannot be written"
  [ -f "$part" ] && [ ! -L "$part" ] && [ -O "$part" ] || fail "$part is in the way"
  { command exec 4>>"$part"; } 2>/dev/null || fail "$part cannot be written"
  # The transfer of a session that was cut may take as long to end.
  flock -w 10 4 || fail "another transfer writes $part"
  # The name may stand for another file by now: another transfer has ended, or the owner of the directory has put a link there.
  [ "$(stat -c %d:%i -- "$part" 2>/dev/null)" = "$(stat -Lc %d:%i /proc/self/fd/4)" ] || fail "$part is another file than a moment ago"
  chmod 600 /proc/self/fd/4
  have=$(stat -Lc %s /proc/self/fd/4)
  # It belongs to another file.
  [ "$have" -le "$number" ] || { : >/proc/self/fd/4 && have=0; }
}

# A disk that is full hurts more than the transfer: what does not fit is not begun. Zero blocks in all means that the size is not known.
check_space() {
  set -- $(stat -fc '%b %a %S' "$directory")
  [ "${1:-0}" -eq 0 ] || [ $(($2 * $3)) -ge $((number - have)) ] || {
    [ "$have" -gt 0 ] || rm -f -- "$part"
    fail "no space: $((number - have)) bytes are to come, $(($2 * $3)) are free"
  }
}

# Removes the part, so that the next transfer starts from zero, or a full disk has its space back.
discard() { rm -f -- "$part"; }

# finish SHA256: moves the part into place if it is what was sent.
finish() {
  [ "$have" -eq "$number" ] || fail "it has $have bytes in place of $number"
  if [ "$verb" = stage ]; then
    why=$(mv -fT -- "$part" "$path" 2>&1) || fail "$why"
    say 'done'
    exit 0
  fi
  why=$(sync /proc/self/fd/4 2>&1) || { discard; fail "$why"; }
  sum 4
  [ "$sum" = "$1" ] || { discard; differs; }
  why=$(mv -fT -- "$part" "$path" 2>&1 && sync "$directory" 2>&1) || fail "$why"
  say 'done'
  exit 0
}

send() {
  open_part
  check_space
  say have "$have"
  while read -r piece digest; do
    [ "$piece" != end ] || finish "$digest"
    why=$(head -c "$piece" 2>&1 >&4) || { discard; fail "$why"; }
    have=$((have + piece))
    at 4
    # The input has ended: the part stays for the next transfer.
    [ "$at" -eq "$have" ] || exit 1
    say at "$have"
  done
}

# As `send`, to a directory that is removed with the lock.
stage() {
  mkdir -p -- "${path%/*}" || exit
  send
}

watch </dev/null >/dev/null 2>&1 3<&- 4>&- &
watcher=$!
trap 'kill "$watcher"' EXIT
"$verb"
