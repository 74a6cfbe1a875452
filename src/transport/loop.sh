# The shell that stays on a node for one session. It reads commands from standard input, and continues to read while a frame runs, to
# notice when the link is lost. All data is in variables and pipes: the lock is the only file that is written.
#
# Set before this text: nonce (128 bits; ends each answer, never leaves this shell's memory), lock_directory, shell, and text: that of the first frame, if it
# travels with this program.
# Comments and empty lines are left out when it is sent. It must work in dash and in bash called sh, and use builtins wherever it can:
# each fork costs about a millisecond.
#
# Commands:  text BYTES\n<bytes>    appends to the text of the next frame
#            run                    runs that text in the background
#            got PID                all outputs of the steps that run apart have arrived, says the controller to the process that waits for this
#            beat                   the controller is alive; answered with `alive`
#            look                   reports who holds the node
#            lock SECONDS HOLDER    takes the lock, waiting that long
#            bye clean              ends, when all that was asked for has ended and left nothing running
#            bye                    ends, like end of input

umask 077
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
cd /
newline='
'
lock=$lock_directory/lock jobs=$lock_directory/jobs watcher='' answer='' mine='' lost='' denied='' suspect='' clean=''
IFS= read -r boot </proc/sys/kernel/random/boot_id

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

# is_sudo PID: whether that process is sudo, and has not ended.
is_sudo() {
  { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  case $line in *"(sudo) "[!ZX]* | *"(sudo-rs) "[!ZX]*) return 0 ;; *) return 1 ;; esac
}

# find_sudo PID: sets $sudos to the processes of sudo that have started a loop.
find_sudo() {
  sudos='' above=$1
  while { IFS= read -r line <"/proc/$above/stat"; } 2>/dev/null; do
    set -- ${line##*") "}
    above=$2
    is_sudo "$above" || return 0
    sudos="$sudos $above"
  done
}

# end_sudo: ends them after their loop. sudo stops itself when its command is stopped; once it goes on, it sees that its command has ended.
end_sudo() {
  for above in $sudos; do
    polls=0
    while [ "$polls" -lt 10 ] && is_sudo "$above"; do
      if [ "$polls" -lt 5 ]; then kill -CONT "$above"; else kill -KILL "$above"; fi
      polls=$((polls + 1))
      sleep 0.2
    done 2>/dev/null
  done
}

# Also removes what killed scripts have left. The lock is removed last: the next run that takes it may put files there.
unlock() {
  [ -n "$mine" ] && [ "$lock" -ef /proc/self/fd/9 ] || return 0
  [ ! -e "$lock_directory/work" ] || rm -rf -- "$lock_directory/work"
  rm -fd -- "$lock" "$lock_directory" 2>/dev/null
}

finish() {
  trap '' TERM HUP INT PIPE USR1
  # Before the scan, which would have to wait for it.
  kill "$watcher" 2>/dev/null && wait "$watcher" 2>/dev/null
  [ -n "$clean" ] || end_session "$$" "$$"
  unlock
  # Not before: what has ended does not write, too.
  [ -z "$lost" ] || say lost "$lost" 2>/dev/null
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
  find_sudo "$$"
  # The loop may be stuck reading the rest of a frame, where it would put off a milder signal.
  kill -KILL "$$"
  IFS= read -r line </proc/self/stat
  end_session "$$" "${line%% *}"
  end_sudo
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

# stamp: prints what the lock's file holds: the holder's line, and the time of its last beat by the clock since boot.
stamp() {
  read -r now _ </proc/uptime
  printf '%s\n%s %s\n' "$mine" "$boot" "$now"
}

# alive: the controller is alive; the watcher and other runs that want the lock rely on it. The controller relies on the answer.
alive() {
  [ -z "$watcher" ] || kill -USR1 "$watcher"
  # In the background, one at a time: on a slow link, or while nothing is read, the pipe may be full. A step may be writing, too, and bash writes each
  # line by itself, so this is one line, and no newline comes before it.
  if [ -n "$answer" ] && { IFS= read -r line <"/proc/$answer/stat"; } 2>/dev/null; then
    case $line in *") Z "*) wait "$answer"; answer='' ;; esac
  else
    answer=''
  fi
  [ -n "$answer" ] || { printf '%s alive\n' "$nonce" 9>&- & answer=$!; }
  [ -n "$mine" ] || return 0
  if [ "$lock" -ef /proc/self/fd/9 ]; then
    # The same bytes over the same bytes, except the time: a reader never sees half a line.
    stamp 1<>/proc/self/fd/9
  else
    { IFS= read -r lost <"$lock"; } 2>/dev/null || lost='?'
    mine=''
    finish
  fi
}

# limited SECONDS SCRIPT [ASKS]: runs the script in its own process group. Its standard input is ours; its text comes through another pipe, or that of
# questions, which no other user can read there, in the environment: a process less.
limited() {
  {
    if [ -n "$3" ] && [ "${#2}" -lt 100000 ]; then
      questions=$2 timeout -k 5 "$1" "$shell" -c 'eval "unset questions;$questions"' <&4 4<&- 9>&- &
    else
      printf 'exec 3<&-;%s' "$2" | timeout -k 5 "$1" "$shell" -c '. /dev/fd/3' 3<&0 <&4 4<&- 9>&- &
    fi
    wait "$!" 2>/dev/null
    status=$?
    # What its limit has ended may clean up for a second: `timeout` waits only for the shell that it has started.
    polls=0
    while [ "$status" -eq 124 ] && [ "$polls" -lt 5 ] && kill -0 "-$!" 2>/dev/null; do
      polls=$((polls + 1))
      sleep 0.2
    done
    kill -KILL "-$!" 2>/dev/null
  } 4<&0
  return "$status"
}

# ask_again SECONDS SCRIPT INPUT MARK KIND:SECONDS...: asks for one kind after the other. Each has a limit of its own, and its status is told where it has
# not told it itself. Of two answers to one question the first counts.
ask_again() {
  script=$2 mark=$4
  shift 4
  # What the limit has cut off belongs to no kind.
  kill_session "$$" "$$" ''
  printf '\n%s - 0\n' "$mark"
  for kind do
    limited "${kind#*:}" "only=${kind%:*}
$script" </dev/null && continue
    failed=$status
    kill_session "$$" "$$" ''
    printf '\n%s %s %s\n' "$mark" "${kind%:*}" "$failed"
  done
  status=0
}

# step SECONDS SCRIPT INPUT [MARK KIND:SECONDS...]: runs one step of a frame and marks the end of its outputs. The input is base64. With a mark, the script
# asks several kinds of questions; if its limit strikes, it is run again for each of them.
step() {
  if [ -n "$3" ]; then
    printf %s "$3" | base64 -d | limited "$1" "$2"
  else
    limited "$1" "$2" "$4" </dev/null
  fi
  status=$?
  case $#$status in [5-9]124 | [1-9][0-9]124 | [5-9]137 | [1-9][0-9]137) ask_again "$@" ;; esac
  # A failed script may leave processes in other groups, such as the one that each inner `timeout` creates.
  [ "$status" -eq 0 ] || kill_session "$$" "$$" ''
  say "$status"
  say "$status" >&2
  return "$status"
}

# The steps of a frame that run programs of roles and packages run apart: `: | { apart_out; : | { apart_err; STEPS; apart_end; }; }`. Their outputs go
# through two pipes that end with them, so what such a program leaves running can neither write into a later answer nor hold one up. Each pipe has a
# reader that ends with the pipe or, where something still holds it, when the controller has all that was written before the mark `apart`. What is
# between that mark and the mark `cut` is not ours.
apart_out() { exec 5<&0 </dev/null; }

# The pipes' write ends are 6 and 8. The readers must not hold them. They outlive the signal that ends a session: a shell that says that its command
# has ended, with no process to read it, would be ended by that before it has cleaned up.
apart_err() {
  exec 6>/dev/fd/5 7<&0 8>/dev/fd/0 </dev/null
  { trap '' TERM; exec cat <&5 5<&- 6>&- 7<&- 8>&- 9>&-; } &
  out=$!
  { trap '' TERM; exec cat <&7 >&2 5<&- 6>&- 7<&- 8>&- 9>&-; } &
  err=$!
  exec 5<&- 7<&-
  trap 'kill -KILL "$out" "$err" 2>/dev/null' USR1
}

apart_end() {
  status=$?
  IFS= read -r line </proc/self/stat
  say apart "${line%% *}" >&6
  say apart >&8
  exec 6>&- 8>&-
  for reader in "$out" "$err"; do
    while kill -0 "$reader"; do wait "$reader"; done
  done 2>/dev/null
  trap '' USR1
  say cut
  say cut >&2
  exit "$status"
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

# read_beat: reads the lock of another run: its line into $held, what each of its beats changes into $beat, and the age of the last one into $age.
read_beat() {
  IFS='. ' read -r now _ </proc/uptime
  held='' its_boot=''
  { { IFS= read -r held && read -r its_boot beat; } <"$lock"; } 2>/dev/null
  # Empty for a moment, while its holder writes it.
  held=${held:-0 0}
  if [ "$its_boot" = "$boot" ]; then
    beat=${beat:-0.00}
    age=$((now - ${beat%.*}))
  else
    # Its version does not write the time. By wall clock, so it counts for little.
    beat=$(stat -c %z "$lock")
    age=$(($(date +%s) - $(stat -c %Y "$lock" || date +%s)))
  fi
}

# is_silent SECONDS: whether the holder has given no beat for a minute, and gives none while we look for 9 s. If its watcher still works, that acts after
# 8 s. Where SECONDS is not 0, the next try looks again; otherwise this one does.
is_silent() {
  read_beat
  [ "$age" -gt 60 ] && holder_lives "$held" || return 1
  [ "$suspect" = "$held $beat" ] || suspect="$held $beat" suspected=$now
  while [ "$((now - suspected))" -lt 9 ]; do
    [ "$1" -eq 0 ] || return 1
    sleep 1
    read_beat
    [ "$suspect" = "$held $beat" ] || return 1
  done
}

# end_holder LINE: ends the session of the run that the lock's line names, after its own controller was told by whom.
end_holder() {
  set -- $1
  # Does not wait where no process reads.
  printf '\nautobot-provision-taken-over %s %s\n' "$4" "$wanted" | dd of="/proc/$1/fd/2" oflag=nonblock conv=nocreat,notrunc status=none 2>/dev/null
  find_sudo "$1"
  end_session "$1" "$$"
  end_sudo
}

# take_lock SECONDS HOLDER: true if it has the lock. False otherwise, with the holder's line in $held, or the reason in $why.
take_lock() {
  IFS='. ' read -r now _ </proc/uptime
  tries=0 why="$lock changes hands too fast" deadline=$((now + $1)) left=$1 ended=''
  IFS= read -r line </proc/self/stat
  birth_of_line
  wanted="$$ $birth $2"
  while [ "$tries" -lt 10 ]; do
    tries=$((tries + 1)) held=''
    mkdir -p -m 700 "$lock_directory" 2>/dev/null || { why="cannot make $lock_directory"; return 1; }
    # A run that ends removes the directory, perhaps just now.
    { command exec 9>>"$lock"; } 2>/dev/null || { why="cannot write $lock"; continue; }
    if flock -w "$left" 9; then
      # The file may have been replaced while we waited. If many runs wait, one wins each time: the deadline limits the tries, not their number.
      if ! [ "$lock" -ef /proc/self/fd/9 ]; then
        IFS='. ' read -r now _ </proc/uptime
        left=$((deadline - now))
        if [ "$left" -gt 0 ]; then tries=0; else left=0; fi
        continue
      fi
      # The holder of the first lock keeps new jobs away: the second need not be kept.
      if job_holds "$left"; then
        rm -f -- "$lock"
        return 1
      fi
      [ ! -d "$jobs" ] || clear_jobs
      mine=$wanted
      stamp >"$lock"
      return 0
    fi
    is_silent "$1" || return 1
    end_holder "$held"
  done
  return 1
}

trap finish TERM HUP INT PIPE
missing=''
for program in base64 cat date dd flock head mkdir rm sleep stat tail timeout tr; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
[ -z "$missing" ] || { say "missing$missing"; exit 1; }
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
  got)
    # Process IDs are reused.
    { IFS= read -r line <"/proc/$size/stat"; } 2>/dev/null || continue
    set -- ${line##*") "}
    [ "$4" != "$$" ] || kill -USR1 "$size"
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
  bye) clean=$size; break ;;
  *) break ;;
  esac
done
finish
