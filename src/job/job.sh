# job_exists: whether there is such a job. Sets $jobs and $job from $run, the run directory, and $id.
job_exists() {
  jobs=$run/jobs
  job=$jobs/$id
  [ -d "$job" ]
}

# job_start PROGRAM PHASE SPARED KEEP BLOCKS LIMIT SCRIPT: starts a job as a systemd unit. Its input is our standard input. It is under way, and holds
# the second lock, when this returns. Prints why, and fails, if it does not run.
job_start() {
  { IFS= read -r starter <"$run/lock"; } 2>/dev/null || { echo "no run holds this node: a job cannot be started" >&2; return 1; }
  [ -n "$id" ] || IFS= read -r id </proc/sys/kernel/random/uuid
  ! job_exists || { echo "there is a job $id on this node already" >&2; return 1; }
  if job_write "$@" && systemd-run --quiet --no-ask-password --collect --unit="autobot-provision-job-$id" --description="autobot-provision job $id" \
    --property=KillMode=mixed --property=KillSignal=SIGINT --property=SendSIGKILL=no --property=TimeoutStopSec=infinity --property=OOMPolicy=continue \
    --property=StandardInput=null --property=StandardOutput=null --property=StandardError=null /bin/sh "$job/run" </dev/null
  then
    polls=0
    while [ "$polls" -lt 400 ]; do
      [ ! -e "$job/started" ] || return 0
      polls=$((polls + 1))
      sleep 0.05
    done
  fi
  # A unit that starts late finds nothing here, and ends.
  job_remove
  echo "the job $id was not started: see above, or the journal of the unit autobot-provision-job-$id" >&2
  return 1
}

# job_write: as job_start, writes the files. They are root's alone from their beginning.
job_write() {
  umask 077
  mkdir -p -m 700 "$jobs" && mkdir -m 700 "$job" || return 1
  cat >"$job/input" && printf '%s' "$7" >"$job/script" && printf '%s' "$1" >"$job/run" && export -p >"$job/environment" || return 1
  [ "$4" = no ] || : >"$job/keep"
  # PID BIRTH SECONDS RUN WHO: the job has another process, and adds its own id and phase at the end.
  words=${starter#* }
  printf '%s\n' "$starter" "${words#* } $id $2" "$6" "$3" "$5" >"$job/about"
}

# job_runs: whether the job is under way: the kernel knows who holds the lock, and the lock's line names the job. Sets $pid and $phase.
job_runs() {
  [ ! -e "$job/status" ] && ! flock -n "$jobs/lock" true 2>/dev/null || return 1
  { IFS= read -r line <"$jobs/lock"; } 2>/dev/null || return 1
  set -- $line
  pid=$1 phase=$7
  [ "$6" = "$id" ]
}

# job_follow OUT ERR: copies the job's outputs from these offsets to ours: errors as they come, the output when it has ended. Returns its status.
job_follow() {
  if job_runs; then
    tail -s 0.1 -f --pid="$pid" -c "+$(($2 + 1))" "$job/err" >&2
  else
    tail -c "+$(($2 + 1))" "$job/err" >&2
  fi
  [ -d "$job" ] || { echo "the job $id was removed: a run has collected it" >&2; return 75; }
  tail -c "+$(($1 + 1))" "$job/out"
  for name in out err; do
    [ "$(stat -c %s "$job/$name")" -lt "$(($(sed -n 5p "$job/about") * 512))" ] || echo "the job's output is longer: the rest was not kept" >&2
  done
  if { IFS= read -r status <"$job/status"; } 2>/dev/null; then return "$status"; fi
  echo "the job $id was killed before it ended: what it did is not known" >&2
  return 1
}

# job_remove: removes all that there is of the job, and of all jobs if it was the last one.
job_remove() {
  rm -rf -- "$job"
  for other in "$jobs"/*; do
    case $other in */lock) ;; *) [ ! -e "$other" ] || return 0 ;; esac
  done
  rm -rf -- "$jobs"
}
