//! Shell functions that start, restart and reload units, and succeed only if these stay up. For resources and handlers.

use std::time::Duration;

use crate::script::Script;

/// Each function takes the name of a unit, as [`crate::question::unit::full_name`] returns it.
///
/// `systemctl start` returns 0 for a `Type=simple` service whose program is about to fail; hence `unit_stays_up`. And it waits for its job
/// for as long as that takes, without a word; hence `unit_job`, which only enqueues the job and then looks until it is gone. It stops
/// looking at `unit_until`, shortly before the script's limit, and leaves the job to systemd: a server that takes long to read its data
/// may still come up, and a cancelled job would leave the unit half started.
const UNIT: &str = r#"
export SYSTEMD_PAGER= SYSTEMD_COLORS=0
# Hundredths of a second since boot: unlike the time of day, this clock never jumps.
unit_clock() {
  read -r uptime rest </proc/uptime
  now=${uptime%.*}${uptime#*.}
}
# The end of the script's time is left for the message: a fifth, at most 10 s.
unit_clock
unit_began=$now margin=$((time_limit * 20))
[ "$margin" -le 1000 ] || margin=1000
unit_until=$((now + time_limit * 100 - margin))
unit_property() { systemctl show -p "$2" --value -- "$1"; }
# Always: version 252 does not notice that a unit got its first drop-in, whose directory is new.
unit_read_files() {
  systemctl daemon-reload
  unit_known=$(systemctl show -p LoadState -- "$1")
}
unit_exists() {
  case ${unit_known:-$(systemctl show -p LoadState -- "$1")} in
    *LoadState=not-found*) echo "there is no unit \`$1\` on this node" >&2; exit 1;;
  esac
}
unit_look() {
  active= sub= pid= since= type= result= job= reloaded=
  look=$(systemctl show -p ActiveState -p SubState -p MainPID -p ActiveEnterTimestampMonotonic -p Type -p Result -p Job \
    -p ReloadResult -- "$1") || exit 1
  while IFS='=' read -r key value; do
    case $key in
      ActiveState) active=$value;;
      SubState) sub=$value;;
      MainPID) pid=$value;;
      ActiveEnterTimestampMonotonic) since=$value;;
      Type) type=$value;;
      Result) result=$value;;
      Job) job=$value;;
      ReloadResult) reloaded=$value;;
    esac
  done <<END
$look
END
  unit_clock
}
unit_failed() {
  trouble=$2
  unit_look "$1"
  [ "$sub" = "$result" ] || sub="$sub, $result"
  echo "\`$1\` $trouble: it is $active ($sub, exit status $(unit_property "$1" ExecMainStatus)); the end of its journal:" >&2
  unit_journal "$1"
}
# Journald looks up the invocation of a line when it reads it, and finds none where the unit has failed by then: the last words have
# their unit only. So these count, too, from the second in which this invocation began. Where systemd waits for the next automatic restart, that is
# its last one: the unit has left "inactive" again by then.
unit_journal() {
  id=$(unit_property "$1" Id)
  invocation=$(unit_property "$1" InvocationID)
  began=InactiveExitTimestamp main=ExecMainStartTimestamp
  main_at=$(unit_property "$1" "${main}Monotonic")
  if [ "${main_at:-0}" -gt 0 ] && [ "$main_at" -lt "$(unit_property "$1" "${began}Monotonic")" ]; then began=$main; fi
  began=$(TZ=UTC unit_property "$1" "$began")
  journalctl --sync >/dev/null 2>&1 || :
  if [ -n "$invocation" ] && [ -n "$began" ]; then
    # Without -r, version 252 shows the first 20 of them, not the last.
    journalctl -q --no-pager -o cat -r -n 20 --since="$began" \
      _SYSTEMD_INVOCATION_ID="$invocation" + INVOCATION_ID="$invocation" + _SYSTEMD_UNIT="$id" | tac >&2 || :
  else
    journalctl -q --no-pager -o cat -n 20 -b -u "$id" >&2 || :
  fi
  exit 1
}
# `$1`: a job. Sets its type and state, and the jobs it waits for, whose rows follow its own in the table.
unit_waits() {
  kind= state= waits= row=
  jobs=$(systemctl list-jobs --no-pager --no-legend --plain --full --before 2>/dev/null) || jobs=
  while read -r id name what how rest; do
    case $id in
      [0-9]*) row=$id; [ "$id" != "$1" ] || kind=$what state=$how; continue;;
    esac
    case $row/$name in "$1/waiting") ;; *) continue;; esac
    number=${rest%% *} name=${rest#*(} what=${rest#*/}
    how=$(printf '%s\n' "$jobs" | sed -n "s/^ *$number  *[^ ]*  *[^ ]*  *\([a-z]*\).*/\1/p")
    waits="$waits${waits:+, }\`${name%%/*}\` (job $number ${what%%)*}, $how)"
  done <<END
$jobs
END
}
unit_stuck() {
  where="it is still $active ($sub)"
  if [ -n "$job" ]; then
    unit_waits "$job"
    where="$where; job $job $kind ${waits:+waiting for }${waits:-$state} (left to systemd)"
  fi
  echo "\`$1\` $2 within $(((unit_until - unit_asked + 50) / 100)) s: $where; the end of its journal:" >&2
  unit_journal "$1"
}
# systemd forgets a unit that ended, and what became of its job; the journal has it. Nothing is there where the unit keeps its messages short.
unit_job_result() {
  journalctl --sync >/dev/null 2>&1 || :
  journalctl -q --no-pager -b -n 1 -o cat --output-fields=JOB_RESULT _PID=1 JOB_ID="$1" 2>/dev/null || :
}
# `$2`: start, stop, restart or reload; `$3`: what to say of the unit where that failed.
unit_job() {
  unit_look "$1"
  unit_asked=$now was=$since
  said=$(systemctl --no-ask-password --no-block --show-transaction "$2" -- "$1" 2>&1) || { printf '%s\n' "$said" >&2; unit_failed "$1" "$3"; }
  # `Enqueued anchor job 123 x.service/start.`
  ours=${said##*anchor job } ours=${ours%% *}
  # The job of an automatic restart that follows has another number.
  while unit_look "$1"; [ -n "$job" ] && [ "$job" = "$ours" ]; do
    [ "$now" -lt "$unit_until" ] || unit_stuck "$1" "$3"
    sleep 0.1
  done
  case $2/$active in
    stop/inactive|stop/failed) ;;
    stop/*) unit_failed "$1" "$3";;
    reload/active|reload/reloading|reload/refreshing) case $reloaded in ''|success) ;; *) unit_failed "$1" "$3 ($reloaded)";; esac;;
    reload/*) unit_failed "$1" "$3";;
    start/active|start/reloading|start/refreshing) ;;
    */active|*/failed) [ "$since" != "$was" ] || unit_failed "$1" "$3";;
    *)
      became=$(unit_job_result "$ours")
      case $became in
        ''|done|skipped) ;;
        dependency) unit_failed "$1" "$3, because a unit that it requires did not start";;
        canceled) unit_failed "$1" "$3, because another process cancelled its job";;
        *) unit_failed "$1" "$3 ($became)";;
      esac;;
  esac
}
# After a look. Succeeds when the unit has been up for two seconds without interruption, with the same main process.
unit_stays_up() {
  first=
  while :; do
    case $active/$sub in
      active/*) ;;
      */auto-restart*) unit_failed "$1" "does not stay up";;
      activating/*|reloading/*|refreshing/*)
        [ "$now" -lt "$unit_until" ] || unit_stuck "$1" "was not up"
        sleep 0.2
        unit_look "$1"
        continue;;
      inactive/*) if [ "$type" = oneshot ] && [ "$result" = success ]; then return 0; fi; unit_failed "$1" "does not stay up";;
      *) unit_failed "$1" "does not stay up";;
    esac
    if [ -z "$first" ]; then first="$pid $since" began=$now; fi
    [ "$first" = "$pid $since" ] || unit_failed "$1" "does not stay up, it was started again"
    [ "$((now - began))" -lt 200 ] || return 0
    sleep 0.2
    unit_look "$1"
  done
}
unit_start() {
  systemctl reset-failed -- "$1" 2>/dev/null || :
  unit_job "$1" start "did not start"
  unit_stays_up "$1"
}
unit_restart() {
  systemctl reset-failed -- "$1" 2>/dev/null || :
  unit_job "$1" restart "did not restart"
  unit_stays_up "$1"
}
unit_reload() {
  unit_job "$1" reload "did not reload"
  unit_stays_up "$1"
}
"#;

/// How long a reload may take: it only makes a running service read its files.
const RELOAD_LIMIT: Duration = Duration::from_mins(2);

/// Returns a script with this text, which can use the functions above. They end within the script's limit, whatever that is set to.
pub(crate) fn script(text: &'static str) -> Script {
    Script::new(text).telling_limit().using(UNIT)
}

/// Returns the script that makes systemd read the files of its units, on a node that systemd has booted.
#[must_use]
pub fn read_files() -> Script {
    Script::new("[ ! -d /run/systemd/system ] || systemctl daemon-reload")
}

/// Returns the script that restarts a unit after systemd has read its changed files. It succeeds if the unit stays up; otherwise the end of
/// the unit's journal is on stderr. Where the unit is not up shortly before the limit, stderr names what it waits for.
#[must_use]
pub fn restart(unit: &str, limit: Duration) -> Script {
    script("set -eu\nunit_read_files \"$1\"\nunit_exists \"$1\"\nunit_restart \"$1\"").arg(unit).limit(limit)
}

/// As [`restart`], of a unit that is up. Another one stays as it is, and need not exist: only its files are read.
#[must_use]
pub fn restart_if_running(unit: &str, limit: Duration) -> Script {
    script(
        "set -eu\nunit_read_files \"$1\"\nunit_look \"$1\"\ncase $active in active|reloading|refreshing) unit_restart \"$1\";; esac",
    )
    .arg(unit)
    .limit(limit)
}

/// Returns the script that makes a running unit read its configuration again. It succeeds if the unit stays up; otherwise the end of the
/// unit's journal is on stderr.
#[must_use]
pub fn reload(unit: &str) -> Script {
    script("set -eu\nunit_read_files \"$1\"\nunit_exists \"$1\"\nunit_reload \"$1\"").arg(unit).limit(RELOAD_LIMIT)
}

/// Returns the script that makes a unit use the files that were put back, whatever it is doing: a start that hangs is replaced, and
/// failures before do not count. A unit that is up is only reloaded with `reload`.
#[must_use]
pub fn bring_back(unit: &str, reload: bool, limit: Duration) -> Script {
    script(
        "set -eu\nunit_read_files \"$1\"\nsystemctl reset-failed -- \"$1\" 2>/dev/null || :\nunit_look \"$1\"
case $2/$active in reload/active) unit_reload \"$1\";; *) unit_restart \"$1\";; esac",
    )
    .arg(unit)
    .arg(if reload { "reload" } else { "" })
    .limit(limit)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::resource::trial::{Done, fake, run};
    use std::{fs, path::Path};

    /// Makes a fake `systemctl`: `$TOOLS/state` has the properties, `calls` records the verbs, and each verb runs `on-VERB`.
    pub(crate) fn fake_systemd(tools: &Path, state: &str) {
        fs::write(tools.join("state"), state).unwrap();
        fake(
            tools,
            "systemctl",
            r#"
            verb=; one=; value=no; block=yes
            for word do case $word in --value) value=yes;; --no-block) block=no;; --*|-p) ;; list-jobs|show|start|stop|restart|reload|enable|disable|mask|unmask|daemon-reload|reset-failed) verb=$word;; *) one="$one $word";; esac; done
            if [ "$verb" = show ]; then
              echo look >>$TOOLS/looks
              if [ $value = no ]; then cat $TOOLS/state
              else for property in $one; do while IFS== read -r key v; do [ "$key" != "$property" ] || echo "$v"; done <$TOOLS/state; done; fi
              exit 0
            fi
            if [ "$verb" = list-jobs ]; then cat $TOOLS/jobs; exit 0; fi
            case $block/$verb in yes/start|yes/stop|yes/restart|yes/reload) verb="blocking $verb";; esac
            echo "$verb$one" >>$TOOLS/calls
            # A unit that was started since has been up since another time; what is sourced may say otherwise.
            if [ "$verb" = restart ]; then sed -i 's/^ActiveEnterTimestampMonotonic=5$/ActiveEnterTimestampMonotonic=6/' $TOOLS/state; fi
            if [ -e $TOOLS/on-$verb ]; then . $TOOLS/on-$verb; fi
            case $* in *--show-transaction*) echo "Enqueued anchor job 123 x.service/$verb." >&2;; esac"#,
        );
        fake(
            tools,
            "journalctl",
            "case $* in --sync) ;; *JOB_ID=123*) cat $TOOLS/result 2>/dev/null;; *) echo \"journal: $*\";; esac",
        );
    }

    pub(crate) fn calls(tools: &Path) -> String {
        fs::read_to_string(tools.join("calls")).unwrap_or_default()
    }

    const UP: &str = "Id=redis.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nActiveEnterTimestampMonotonic=5\nType=simple\nResult=success\nExecMainStatus=0\nInvocationID=abc\nInactiveExitTimestamp=Sat 2026-11-28 01:02:03 UTC\n";

    fn try_restart(state: &str, on_restart: &str) -> (Done, String) {
        let tools = tempfile::tempdir().unwrap();
        fake_systemd(tools.path(), state);
        fs::write(tools.path().join("on-restart"), on_restart).unwrap();
        let done = run(&restart("redis.service", Duration::from_mins(1)), tools.path());
        (done, calls(tools.path()))
    }

    #[test]
    fn a_restart_succeeds_when_the_unit_stays_up() {
        let start = std::time::Instant::now();
        let (done, calls) = try_restart(UP, "");
        assert_eq!((done.status, done.stderr.as_str()), (0, ""));
        assert_eq!(calls, "daemon-reload\nreset-failed redis.service\nrestart redis.service\n");
        assert!(start.elapsed() >= Duration::from_secs(2));
    }

    #[test]
    fn a_service_that_fails_right_after_the_start_is_a_failure_with_its_journal() {
        let dead = UP
            .replace("=active\n", "=failed\n")
            .replace("=running", "=failed")
            .replace("Result=success", "Result=exit-code")
            .replace("Status=0", "Status=3")
            .replace("ActiveEnterTimestampMonotonic=5", "ActiveEnterTimestampMonotonic=6");
        let (done, _) = try_restart(UP, &format!("printf '{}' >$TOOLS/state", dead.replace('\n', "\\n")));
        assert_eq!(done.status, 1);
        insta::assert_snapshot!(done.stderr, @r"
        `redis.service` does not stay up: it is failed (failed, exit-code, exit status 3); the end of its journal:
        journal: -q --no-pager -o cat -r -n 20 --since=Sat 2026-11-28 01:02:03 UTC _SYSTEMD_INVOCATION_ID=abc + INVOCATION_ID=abc + _SYSTEMD_UNIT=redis.service
        ");
    }

    #[test]
    fn a_service_that_systemd_starts_again_and_again_is_a_failure() {
        let looping = UP.replace("=active\n", "=activating\n").replace("=running", "=auto-restart");
        assert!(try_restart(&looping, "").0.stderr.contains("does not stay up"));
        // The unit seems to be up each time, but with another process.
        let (done, _) = try_restart(
            UP,
            "(while sleep 0.3; do while read -r l; do case $l in MainPID=*) echo MainPID=$$;; *) echo $l;; esac; done <$TOOLS/state >$TOOLS/new; mv $TOOLS/new $TOOLS/state; exit; done) >/dev/null 2>&1 &",
        );
        assert!(done.stderr.contains("it was started again"), "{done:?}");
    }

    #[test]
    fn a_failed_job_is_a_failure() {
        let (done, _) = try_restart(UP, "echo 'Job for redis.service failed.' >&2; exit 1");
        assert_eq!(done.status, 1);
        assert!(
            done.stderr.starts_with("Job for redis.service failed.\n`redis.service` did not restart: it is active"),
            "{}",
            done.stderr
        );
    }

    #[test]
    fn a_missing_unit_is_a_failure() {
        let (done, calls) = try_restart("LoadState=not-found\n", "");
        assert_eq!((done.status, done.stderr.as_str()), (1, "there is no unit `redis.service` on this node\n"));
        assert_eq!(calls, "daemon-reload\n");
    }

    #[test]
    fn a_unit_that_does_not_run_is_not_restarted_but_its_files_are_read() {
        let restarted = "reset-failed redis.service\nrestart redis.service\n";
        for (state, expected) in [
            (UP.to_owned(), restarted),
            (UP.replace("ActiveState=active", "ActiveState=reloading"), restarted),
            (UP.replace("ActiveState=active", "ActiveState=inactive"), ""),
            (UP.replace("ActiveState=active", "ActiveState=failed"), ""),
            ("LoadState=not-found\nActiveState=inactive\n".to_owned(), ""),
        ] {
            let tools = tempfile::tempdir().unwrap();
            fake_systemd(tools.path(), &state);
            fs::write(tools.path().join("on-restart"), into_state(&UP.replace("Monotonic=5", "Monotonic=6"))).unwrap();
            let done = run(&restart_if_running("redis.service", Duration::from_mins(1)), tools.path());
            assert_eq!(
                (done.status, done.stderr.as_str(), calls(tools.path()).as_str()),
                (0, "", &*format!("daemon-reload\n{expected}")),
                "{state}"
            );
        }
    }

    #[test]
    fn a_running_unit_whose_restart_hangs_or_fails_is_named() {
        let tools = tempfile::tempdir().unwrap();
        fake_systemd(tools.path(), UP);
        let starting = UP.replace("=active\n", "=activating\n").replace("=running", "=start-pre");
        fs::write(tools.path().join("on-restart"), into_state(&format!("{starting}Job=123\n"))).unwrap();
        let done = run(&restart_if_running("redis.service", Duration::from_secs(2)), tools.path());
        assert_eq!(done.status, 1);
        assert!(done.stderr.starts_with("`redis.service` did not restart within 2 s: it is still activating"), "{done:?}");
    }

    #[test]
    fn a_reload_keeps_the_process() {
        let tools = tempfile::tempdir().unwrap();
        fake_systemd(tools.path(), UP);
        let done = run(&reload("redis.service"), tools.path());
        assert_eq!((done.status, calls(tools.path()).as_str()), (0, "daemon-reload\nreload redis.service\n"));
    }

    /// As a state that a script can write.
    fn into_state(state: &str) -> String {
        format!("printf '{}' >$TOOLS/state", state.replace('\n', "\\n"))
    }

    /// A unit whose job 123 does not end within the two seconds that the script has.
    fn hanging(state: &str, jobs: &str) -> (Done, String) {
        let tools = tempfile::tempdir().unwrap();
        fake_systemd(tools.path(), UP);
        fs::write(tools.path().join("on-restart"), into_state(state)).unwrap();
        fs::write(tools.path().join("jobs"), jobs).unwrap();
        let done = run(&restart("redis.service", Duration::from_secs(2)), tools.path());
        assert_eq!(done.status, 1);
        (done, calls(tools.path()))
    }

    #[test]
    fn a_unit_that_hangs_is_named_with_its_job_which_is_left() {
        let state = UP.replace("=active\n", "=activating\n").replace("=running", "=start-pre");
        let (done, calls) = hanging(&format!("{state}Job=123\n"), "123 redis.service start running\n");
        insta::assert_snapshot!(done.stderr, @r"
        `redis.service` did not restart within 2 s: it is still activating (start-pre); job 123 start running (left to systemd); the end of its journal:
        journal: -q --no-pager -o cat -r -n 20 --since=Sat 2026-11-28 01:02:03 UTC _SYSTEMD_INVOCATION_ID=abc + INVOCATION_ID=abc + _SYSTEMD_UNIT=redis.service
        ");
        assert_eq!(
            calls, "daemon-reload\nreset-failed redis.service\nrestart redis.service\n",
            "no other job is made, and none cancelled"
        );
    }

    #[test]
    fn a_unit_that_waits_for_others_is_named_with_their_jobs() {
        let state = UP.replace("=active\n", "=inactive\n").replace("=running", "=dead");
        let jobs = " 99 net.service      start waiting\n`- \twaiting for job 7 (z.service/stop) - -\n123 redis.service start waiting\n\
            `- \twaiting for job 120 (y.service/start) - -\n`- \twaiting for job 99 (net.service/start) - -\n120 y.service start running\n";
        let (done, _) = hanging(&format!("{state}Job=123\n"), jobs);
        insta::assert_snapshot!(done.stderr, @r"
        `redis.service` did not restart within 2 s: it is still inactive (dead); job 123 start waiting for `y.service` (job 120 start, running), `net.service` (job 99 start, waiting) (left to systemd); the end of its journal:
        journal: -q --no-pager -o cat -r -n 20 --since=Sat 2026-11-28 01:02:03 UTC _SYSTEMD_INVOCATION_ID=abc + INVOCATION_ID=abc + _SYSTEMD_UNIT=redis.service
        ");
    }

    #[test]
    fn a_job_that_ends_in_time_is_waited_for() {
        let tools = tempfile::tempdir().unwrap();
        fake_systemd(tools.path(), UP);
        // The third look finds the unit up.
        let starting = into_state(&format!("{}Job=123\n", UP.replace("=active\n", "=activating\n")));
        let up = into_state(&UP.replace("Monotonic=5", "Monotonic=6"));
        let later = format!(
            "({up}.new; until [ $(grep -c look $TOOLS/looks) -gt 4 ]; do sleep 0.02; done; mv $TOOLS/state.new $TOOLS/state) >/dev/null 2>&1 &"
        );
        fs::write(tools.path().join("on-restart"), format!("{starting}\n{later}")).unwrap();
        let done = run(&restart("redis.service", Duration::from_mins(1)), tools.path());
        assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    }

    #[test]
    fn an_automatic_restart_does_not_prolong_the_wait() {
        let start = std::time::Instant::now();
        let looping = UP.replace("=active\n", "=activating\n").replace("=running", "=auto-restart");
        let first = into_state(&format!("{looping}Job=123\n"));
        let next = into_state(&format!("{looping}Job=124\n"));
        let (done, _) = try_restart(
            UP,
            &format!(
                "{first}\n({next}.new; until [ $(grep -c look $TOOLS/looks) -gt 4 ]; do sleep 0.02; done; mv $TOOLS/state.new $TOOLS/state) >/dev/null 2>&1 &"
            ),
        );
        assert!(done.stderr.contains("does not stay up"), "{done:?}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_unit_that_is_down_after_its_job_is_judged_by_the_result_of_the_job() {
        let once = UP.replace("=active\n", "=inactive\n").replace("=running", "=dead").replace("=simple", "=oneshot");
        let judged = |result: &str| try_restart(&once, &format!("echo {result} >$TOOLS/result")).0;
        for good in ["done", "skipped", ""] {
            assert_eq!((judged(good).status, judged(good).stderr.as_str()), (0, ""), "{good}");
        }
        for (bad, words) in
            [("dependency", "restart, because a unit that it requires did not start: it"), ("assert", "restart (assert): it")]
        {
            let done = judged(bad);
            assert!(done.status == 1 && done.stderr.contains(words), "{done:?}");
        }
    }

    #[test]
    fn a_restart_that_left_the_old_process_is_a_failure() {
        let (done, _) = try_restart(UP, &into_state(UP));
        assert!(done.stderr.starts_with("`redis.service` did not restart: it is active"), "{done:?}");
    }

    #[test]
    fn a_start_that_fails_within_the_job_did_not_start() {
        let failed =
            UP.replace("=active\n", "=failed\n").replace("=running", "=failed").replace("Result=success", "Result=timeout");
        let (done, _) = try_restart(UP, &into_state(&failed));
        assert!(done.stderr.starts_with("`redis.service` did not restart: it is failed (failed, timeout"), "{done:?}");
    }

    #[test]
    fn a_reload_that_fails_is_a_failure() {
        let tools = tempfile::tempdir().unwrap();
        fake_systemd(tools.path(), UP);
        fs::write(tools.path().join("on-reload"), into_state(&format!("{UP}ReloadResult=exit-code\n"))).unwrap();
        let done = run(&reload("redis.service"), tools.path());
        assert_eq!(done.status, 1);
        assert!(done.stderr.starts_with("`redis.service` did not reload (exit-code): it is active"), "{done:?}");
    }
}
