//! Shell functions that start, restart and reload units, and succeed only if these stay up. For resources and handlers.

use std::time::Duration;

use crate::script::Script;

/// Each function takes the name of a unit, as [`crate::question::unit::full_name`] returns it.
///
/// `systemctl start` returns 0 for a `Type=simple` service whose program is about to fail; hence `unit_stays_up`.
pub(crate) const UNIT: &str = r#"
export SYSTEMD_PAGER= SYSTEMD_COLORS=0
unit_property() { systemctl show -p "$2" --value -- "$1"; }
unit_read_files() {
  case $(systemctl show -p LoadState -p NeedDaemonReload -- "$1") in
    *NeedDaemonReload=yes*|*LoadState=not-found*) systemctl daemon-reload;;
  esac
}
unit_exists() {
  [ "$(unit_property "$1" LoadState)" != not-found ] || { echo "there is no unit \`$1\` on this node" >&2; exit 1; }
}
unit_look() {
  active= sub= pid= since= type= result=
  look=$(systemctl show -p ActiveState -p SubState -p MainPID -p ActiveEnterTimestampMonotonic -p Type -p Result -- "$1") || exit 1
  while IFS='=' read -r key value; do
    case $key in
      ActiveState) active=$value;;
      SubState) sub=$value;;
      MainPID) pid=$value;;
      ActiveEnterTimestampMonotonic) since=$value;;
      Type) type=$value;;
      Result) result=$value;;
    esac
  done <<END
$look
END
  # Hundredths of a second since boot: unlike the time of day, this clock never jumps.
  read -r uptime rest </proc/uptime
  now=${uptime%.*}${uptime#*.}
}
unit_failed() {
  trouble=$2
  unit_look "$1"
  id=$(unit_property "$1" Id)
  invocation=$(unit_property "$1" InvocationID)
  [ "$sub" = "$result" ] || sub="$sub, $result"
  echo "\`$1\` $trouble: it is $active ($sub, exit status $(unit_property "$1" ExecMainStatus)); the end of its journal:" >&2
  journalctl --sync >/dev/null 2>&1 || :
  if [ -n "$invocation" ]; then
    journalctl -q --no-pager -o cat -n 20 _SYSTEMD_INVOCATION_ID="$invocation" + INVOCATION_ID="$invocation" >&2 || :
  else
    journalctl -q --no-pager -o cat -n 20 -b -u "$id" >&2 || :
  fi
  exit 1
}
# Succeeds when the unit has been up for two seconds without interruption, with the same main process.
unit_stays_up() {
  first=
  while unit_look "$1"; do
    case $active/$sub in
      active/*) ;;
      */auto-restart*) unit_failed "$1" "does not stay up";;
      activating/*|reloading/*|refreshing/*) sleep 0.2; continue;;
      inactive/*) if [ "$type" = oneshot ] && [ "$result" = success ]; then return 0; fi; unit_failed "$1" "does not stay up";;
      *) unit_failed "$1" "does not stay up";;
    esac
    if [ -z "$first" ]; then first="$pid $since" began=$now; fi
    [ "$first" = "$pid $since" ] || unit_failed "$1" "does not stay up, it was started again"
    [ "$((now - began))" -lt 200 ] || return 0
    sleep 0.2
  done
}
unit_start() {
  systemctl reset-failed -- "$1" 2>/dev/null || :
  systemctl --no-ask-password start -- "$1" || unit_failed "$1" "did not start"
  unit_stays_up "$1"
}
unit_restart() {
  systemctl reset-failed -- "$1" 2>/dev/null || :
  systemctl --no-ask-password restart -- "$1" || unit_failed "$1" "did not restart"
  unit_stays_up "$1"
}
unit_reload() {
  systemctl --no-ask-password reload -- "$1" || unit_failed "$1" "did not reload"
  unit_stays_up "$1"
}
"#;

/// How long a reload may take: it only makes a running service read its files.
const RELOAD_LIMIT: Duration = Duration::from_mins(2);

/// Returns the script that restarts a unit after systemd has read its changed files. It succeeds if the unit stays up; otherwise the end of
/// the unit's journal is on stderr.
#[must_use]
pub fn restart(unit: &str, limit: Duration) -> Script {
    Script::new("set -eu\nunit_read_files \"$1\"\nunit_exists \"$1\"\nunit_restart \"$1\"").using(UNIT).arg(unit).limit(limit)
}

/// Returns the script that makes a running unit read its configuration again. It succeeds if the unit stays up; otherwise the end of the
/// unit's journal is on stderr.
#[must_use]
pub fn reload(unit: &str) -> Script {
    Script::new("set -eu\nunit_read_files \"$1\"\nunit_exists \"$1\"\nunit_reload \"$1\"")
        .using(UNIT)
        .arg(unit)
        .limit(RELOAD_LIMIT)
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
            verb=; one=; value=no
            for word do case $word in --value) value=yes;; --*|-p) ;; show|start|stop|restart|reload|enable|disable|mask|unmask|daemon-reload|reset-failed) verb=$word;; *) one="$one $word";; esac; done
            if [ "$verb" = show ]; then
              echo look >>$TOOLS/looks
              if [ $value = no ]; then cat $TOOLS/state
              else for property in $one; do while IFS== read -r key v; do [ "$key" != "$property" ] || echo "$v"; done <$TOOLS/state; done; fi
              exit 0
            fi
            echo "$verb$one" >>$TOOLS/calls
            if [ -e $TOOLS/on-$verb ]; then . $TOOLS/on-$verb; fi"#,
        );
        fake(tools, "journalctl", "case $* in --sync) ;; *) echo \"journal: $*\";; esac");
    }

    pub(crate) fn calls(tools: &Path) -> String {
        fs::read_to_string(tools.join("calls")).unwrap_or_default()
    }

    const UP: &str = "Id=redis.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nActiveEnterTimestampMonotonic=5\nType=simple\nResult=success\nNeedDaemonReload=no\nExecMainStatus=0\nInvocationID=abc\n";

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
        assert_eq!(calls, "reset-failed redis.service\nrestart redis.service\n");
        assert!(start.elapsed() >= Duration::from_secs(2));
    }

    #[test]
    fn systemd_reads_changed_files_first() {
        let (_, calls) = try_restart(&UP.replace("NeedDaemonReload=no", "NeedDaemonReload=yes"), "");
        assert!(calls.starts_with("daemon-reload\n"), "{calls}");
    }

    #[test]
    fn a_service_that_fails_right_after_the_start_is_a_failure_with_its_journal() {
        let dead = UP
            .replace("=active\n", "=failed\n")
            .replace("=running", "=failed")
            .replace("Result=success", "Result=exit-code")
            .replace("Status=0", "Status=3");
        let (done, _) = try_restart(UP, &format!("printf '{}' >$TOOLS/state", dead.replace('\n', "\\n")));
        assert_eq!(done.status, 1);
        insta::assert_snapshot!(done.stderr, @r"
        `redis.service` does not stay up: it is failed (failed, exit-code, exit status 3); the end of its journal:
        journal: -q --no-pager -o cat -n 20 _SYSTEMD_INVOCATION_ID=abc + INVOCATION_ID=abc
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
    fn a_reload_keeps_the_process() {
        let tools = tempfile::tempdir().unwrap();
        fake_systemd(tools.path(), UP);
        let done = run(&reload("redis.service"), tools.path());
        assert_eq!((done.status, calls(tools.path()).as_str()), (0, "reload redis.service\n"));
    }
}
