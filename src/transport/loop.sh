# The shell that stays on a node for one session. It reads commands from standard input, and continues to read while a frame runs, to
# notice when the link is lost. All data is in variables and pipes: the lock is the only file that is written.
#
# Set before this text: nonce (128 bits; ends each answer, never leaves this shell's memory), lock_directory, shell.
# Comments and empty lines are left out when it is sent. It must work in dash and in bash called sh, and use builtins wherever it can:
# each fork costs about a millisecond.
#
# Commands:  text BYTES\n<bytes>    appends to the text of the next frame
#            run                    runs that text in the background
#            beat                   the controller is alive
#            look                   reports who holds the node
#            lock SECONDS HOLDER    takes the lock, waiting that long
#            bye                    ends, like end of input

umask 077
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
cd /
newline='
'
lock=$lock_directory/lock jobs=$lock_directory/jobs text='' watcher='' mine='' denied=''

say() { printf '\n%s %s\n' "$nonce" "$*"; }

# signal_session SIGNAL SESSION GROUP PID: signals each process of the session except that group and that process. False if there was none.
signal_session() {
  none_signalled=1
  # One `cat`, as dash's `read` takes a system call for each byte.
  all=$(cat /proc/[0-9]*/stat 2>/dev/null)
  IFS=$newline
  set -f
  for line in $all; do
    # Most lines are skipped here, before the slow part.
    case $line in *" $2 "*) ;; *) continue ;; esac
    # PID (NAME) STATE PARENT GROUP SESSION ...; the name may hold anything, parentheses too
    fields=${line##*") "}
    case $1:$fields in *:[ZX]* | STOP:[Tt]*) continue ;; esac
    fields=${fields#* * }
    group=${fields%% *} fields=${fields#* }
    [ "${fields%% *}" = "$2" ] && [ "$group" != "$3" ] && [ "${line%% *}" != "$4" ] || continue
    kill "-$1" "${line%% *}" 2>/dev/null && none_signalled=0
  done
  set +f
  unset IFS
  return "$none_signalled"
}

# freeze SESSION GROUP PID: stops all processes before one of them is ended: a shell that sees its command die would go on with the next one.
freeze() {
  rounds=0
  while [ "$rounds" -lt 5 ] && signal_session STOP "$@"; do rounds=$((rounds + 1)); done
}

# kill_session SESSION GROUP PID: kills until no process is left. A process may fork during the scan, and dies some time after the signal.
kill_session() {
  freeze "$@"
  rounds=0
  while [ "$rounds" -lt 50 ] && signal_session KILL "$@"; do rounds=$((rounds + 1)); done
}

# end_session SESSION PID: ends all processes of a session except that one. They get a second to end by themselves.
end_session() {
  freeze "$1" '' "$2"
  signal_session TERM "$1" '' "$2" || return 0
  signal_session CONT "$1" '' "$2"
  polls=0
  while [ "$polls" -lt 5 ]; do
    sleep 0.2
    signal_session 0 "$1" '' "$2" || return 0
    polls=$((polls + 1))
  done
  kill_session "$1" '' "$2"
}

# Also removes what killed scripts have left. The lock is removed last: the next run that takes it may put files there.
unlock() {
  [ -n "$mine" ] || return 0
  [ ! -e "$lock_directory/work" ] || rm -rf -- "$lock_directory/work"
  rm -fd -- "$lock" "$lock_directory" 2>/dev/null
}

finish() {
  trap '' TERM HUP INT PIPE USR1
  # Before the scan, which would have to wait for it.
  kill "$watcher" 2>/dev/null && wait "$watcher" 2>/dev/null
  end_session "$$" "$$"
  unlock
  # The output may never reach its end: a daemon that a script has started can still hold it open.
  say bye 2>/dev/null
  exit 0
}

# Ends the session after 6 to 8 seconds without a beat: a cut link shows no end of input for hours.
watch() {
  trap 'silence=0' USR1
  trap 'kill "$nap" 2>/dev/null; wait "$nap"; exit 0' TERM
  silence=0
  while [ "$silence" -lt 3 ]; do
    silence=$((silence + 1))
    sleep 2 &
    nap=$!
    # A beat interrupts the first wait.
    while kill -0 "$nap" 2>/dev/null; do wait "$nap"; done
  done
  trap '' TERM HUP USR1
  # The loop may be stuck reading the rest of a frame, where it would put off a milder signal.
  kill -KILL "$$"
  IFS= read -r line </proc/self/stat
  end_session "$$" "${line%% *}"
  unlock
}

# Called after each answer about the lock: a session is watched from the first one on, and the watcher knows whether to unlock.
start_watcher() {
  [ -z "$watcher" ] || return 0
  # Ignored until the watcher has its own trap: a beat must not kill it.
  trap '' USR1
  watch </dev/null >/dev/null 2>&1 &
  watcher=$!
  trap - USR1
}

# alive: the controller is alive; the watcher and other runs that want the lock rely on it.
alive() {
  kill -USR1 "$watcher"
  # The same bytes over the same bytes: only the time changes, so a reader never sees half a line.
  [ -z "$mine" ] || printf '%s\n' "$mine" 1<>"$lock"
}

# limited SECONDS SCRIPT: runs the script in its own process group. Its standard input is ours; its text comes through another pipe.
limited() {
  {
    printf 'exec 3<&-;%s' "$2" | timeout -k 5 "$1" "$shell" -c '. /dev/fd/3' 3<&0 <&4 4<&- 9>&- &
    wait "$!" 2>/dev/null
    status=$?
    kill -KILL "-$!" 2>/dev/null
  } 4<&0
  return "$status"
}

# step SECONDS SCRIPT INPUT: runs one step of a frame and marks the end of its outputs. The input is base64.
step() {
  if [ -n "$3" ]; then
    printf %s "$3" | base64 -d | limited "$1" "$2"
  else
    limited "$1" "$2" </dev/null
  fi
  status=$?
  # A failed script may leave processes in other groups, such as the one that each inner `timeout` creates.
  [ "$status" -eq 0 ] || kill_session "$$" "$$" ''
  say "$status"
  say "$status" >&2
  return "$status"
}

# birth_of_line: takes the start time of a process from its line in /proc.
birth_of_line() {
  set -- ${line##*") "}
  shift 19
  birth=$1
}

# holder_lives LINE: whether the loop that the lock's line names still runs. Process IDs are reused, so the start time must match, too.
holder_lives() {
  set -- $1
  [ "$#" -ge 2 ] && { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  birth_of_line
  [ "$birth" = "$2" ]
}

# job_holds SECONDS: whether a job still holds the second lock after that time. Its line is then in $held: the words of a holder, its id and phase, and
# the last line that it has written.
job_holds() {
  [ -e "$jobs/lock" ] && ! flock -w "$1" "$jobs/lock" true || return 1
  { IFS= read -r held <"$jobs/lock"; } 2>/dev/null || held='0 0'
  set -- $held
  held="$held $(tail -c 300 "$jobs/$6/err" 2>/dev/null | tail -n 1 | tr -d '\0')"
}

# clear_jobs: removes the jobs that have ended after their runs were lost, except those that wait for their collection. Only the holder of both locks may.
clear_jobs() {
  for job in "$jobs"/*; do
    [ -d "$job" ] && [ ! -e "$job/keep" ] || continue
    { IFS= read -r status <"$job/status"; } 2>/dev/null || status=killed
    ended="$ended ${job##*/} $status"
    rm -rf -- "$job"
  done
  set -- "$jobs"/*
  [ "$*" != "$jobs/lock" ] || rm -rf -- "$jobs"
}

# take_lock SECONDS HOLDER: true if it has the lock. False otherwise, with the holder's line in $held, or the reason in $why.
take_lock() {
  tries=0 why="$lock changes hands too fast" deadline=0 left=$1 ended=''
  [ "$1" -eq 0 ] || deadline=$(($(date +%s) + $1))
  while [ "$tries" -lt 10 ]; do
    tries=$((tries + 1)) held=''
    mkdir -p -m 700 "$lock_directory" 2>/dev/null || { why="cannot make $lock_directory"; return 1; }
    # A run that ends removes the directory, perhaps just now.
    { command exec 9>>"$lock"; } 2>/dev/null || { why="cannot write $lock"; continue; }
    if flock -w "$left" 9; then
      # The file may have been replaced while we waited. If many runs wait, one wins each time: the deadline limits the tries, not their number.
      if ! [ "$lock" -ef /proc/self/fd/9 ]; then
        left=$((deadline - $(date +%s)))
        if [ "$left" -gt 0 ]; then tries=0; else left=0; fi
        continue
      fi
      # The holder of the first lock keeps new jobs away: the second need not be kept.
      if job_holds "$left"; then
        rm -f -- "$lock"
        return 1
      fi
      [ ! -d "$jobs" ] || clear_jobs
      IFS= read -r line </proc/self/stat
      birth_of_line
      mine="$$ $birth $2"
      printf '%s\n' "$mine" >"$lock"
      return 0
    fi
    # Empty for a moment, while its holder writes it.
    { IFS= read -r held <"$lock"; } 2>/dev/null || held='0 0'
    # Beats touch the file. The holder's own watcher, if it still works, acts long before a minute has passed.
    age=$(($(date +%s) - $(stat -c %Y "$lock" || date +%s)))
    [ "$age" -gt 60 ] && holder_lives "$held" || return 1
    end_session "${held%% *}" "$$"
  done
  return 1
}

trap finish TERM HUP INT PIPE
IFS= read -r line </proc/self/stat
birth_of_line
# Transfers, which have their own channels, watch this process and end with it.
say hello "$$" "$birth"
# Separates what a login shell or sudo wrote there from the steps' output.
say hello >&2

while read -r verb size rest; do
  case $verb in
  text)
    # No piece ends in a newline, which would be lost here.
    piece=$(head -c "$size")
    [ "${#piece}" -eq "$size" ] || break
    text=$text$piece
    # On a slow link a beat may be queued behind megabytes of these.
    alive
    ;;
  run)
    [ -n "$denied" ] || eval "$text" &
    text=''
    ;;
  beat) alive ;;
  look)
    if { IFS= read -r held <"$lock"; } 2>/dev/null && holder_lives "$held" || job_holds 0; then say lock held "$held"; else say lock free; fi
    start_watcher
    ;;
  lock)
    if take_lock "$size" "$rest"; then
      denied=''
      # A watcher that began while we waited does not know about the lock.
      [ -z "$watcher" ] || { kill "$watcher"; wait "$watcher"; watcher=''; }
      say "lock taken$ended"
    else
      denied=1
      exec 9>&-
      if [ -n "$held" ]; then say lock held "$held"; else say lock failed "$why"; fi
    fi
    start_watcher
    ;;
  *) break ;;
  esac
done
finish
