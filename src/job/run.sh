# The main process of a job's unit: /bin/sh DIRECTORY/run. It holds the second lock of the node while it runs DIRECTORY/script, keeps the outputs up to
# a bound, and writes the exit status when all has ended. Whatever it needs is in files: nothing is in argv, the environment or the journal.
job=${0%/run}
jobs=${job%/*}
first=${jobs%/*}/lock
umask 077
# systemd stops a unit with a signal to this process alone (KillMode=mixed): the work goes on to its end. Not ignored, but handled, because children
# inherit what is ignored, and a daemon that ignores SIGTERM cannot be stopped any more.
trap : INT TERM HUP
# The timer, or `cancel`, asks for the end of the work.
over=''
trap 'over=${over:-now}' USR1
{ IFS= read -r starter; IFS= read -r words; IFS= read -r limit; IFS= read -r spared; IFS= read -r blocks; } <"$job/about" || exit 1
exec 9>>"$jobs/lock"
flock -w 10 9 || exit 1
# The run that started this job must still hold the node, so that a run that takes the first lock finds the second one taken.
{ IFS= read -r holder <"$first"; } 2>/dev/null && [ "$holder" = "$starter" ] || exit 1
! flock -n "$first" true || exit 1
IFS= read -r line </proc/self/stat
set -- ${line##*") "}
session=$4
shift 19
printf '%s\n' "$$ $1 $words" >"$jobs/lock"
: >>"$job/out"
: >>"$job/err"
: >"$job/started"

# The same environment as a script without a job has, but not in the unit, where all users could read it.
. "$job/environment"
rm -f "$job/environment"
cd /

# keep NAME: copies a pipe to a file, as it comes, until the file is full. The rest is read and dropped, so that the program never waits nor gets SIGPIPE.
keep() {
  {
    (ulimit -c 0; ulimit -f "$blocks"; exec cat >>"$job/$1")
    cat >/dev/null
    : >"$job/$1.all"
  } <"$job/$1.pipe" 2>/dev/null 9>&- &
}
mkfifo "$job/out.pipe" "$job/err.pipe"
keep out
keep err
exec 4<"$job/input" 5>"$job/out.pipe" 6>"$job/err.pipe"
rm -f "$job/input" "$job/out.pipe" "$job/err.pipe"

# The processes of the unit in other sessions than this one: the script and all that it has started.
others() {
  while IFS=: read -r _ controllers group; do
    case $group in */autobot-provision-job-"${job##*/}".service) ;; *) continue ;; esac
    case $controllers in '') tree=/sys/fs/cgroup ;; name=systemd) tree=/sys/fs/cgroup/systemd ;; *) continue ;; esac
    cat "$tree$group/cgroup.procs" 2>/dev/null
  done </proc/self/cgroup | sort -u | while IFS= read -r pid; do
    { IFS= read -r line <"/proc/$pid/stat"; } 2>/dev/null || continue
    name=${line#*"("} name=${name%")"*}
    set -- ${line##*") "}
    [ "$1" = Z ] || [ "$4" = "$session" ] || printf '%s %s\n' "$pid" "$name"
  done
}

# end_work: ends what has run into its limit. A program whose interruption does damage gets five minutes to finish what it has begun.
end_work() {
  seconds=0
  while [ "$seconds" -lt 300 ] && [ -n "$spared" ] && others | grep -q " $spared\$"; do
    [ "$seconds" -gt 0 ] || echo "$reason: waiting until $spared has finished what it has begun" >&6
    seconds=$((seconds + 1))
    sleep 1
  done
  for signal in TERM KILL; do
    kill "-$signal" "-$work" 2>/dev/null
    polls=0
    while [ "$polls" -lt 25 ] && found=$(others) && [ -n "$found" ]; do
      printf '%s\n' "$found" | while read -r pid name; do kill "-$signal" "$pid" 2>/dev/null; done
      polls=$((polls + 1))
      sleep 0.2
    done
  done
}

setsid /bin/sh "$job/script" <&4 4<&- >&5 2>&6 5>&- 6>&- 9>&- &
work=$!
{
  trap 'kill "$nap" 2>/dev/null; exit 0' TERM
  sleep "$limit" &
  nap=$!
  wait "$nap" && kill -USR1 "$$"
} </dev/null >/dev/null 2>&1 4<&- 5>&- 6>&- 9>&- &
timer=$!
while :; do
  wait "$work" 2>/dev/null
  status=$?
  if [ "$over" = now ]; then
    over=yes reason='the time limit has passed'
    [ ! -e "$job/cancelled" ] || reason='the job was cancelled'
    end_work
  fi
  # False once `wait` has collected it: a signal ends a `wait` early.
  kill -0 "$work" 2>/dev/null || break
done
if [ -n "$over" ] && [ -e "$job/cancelled" ]; then
  status=130
  echo 'was cancelled' >&6
elif [ -n "$over" ]; then
  status=124
  echo "ran into its time limit of $limit s and was ended" >&6
fi
kill "$timer" 2>/dev/null
exec 4<&- 5>&- 6>&-
# A daemon that the script has started may hold its pipes open for ever.
polls=0
while [ "$polls" -lt 40 ] && ! { [ -e "$job/out.all" ] && [ -e "$job/err.all" ]; }; do
  polls=$((polls + 1))
  sleep 0.05
done
printf '%s\n' "$status" >"$job/status.new"
mv "$job/status.new" "$job/status"
