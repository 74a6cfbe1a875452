//! Waits until a handler's `ready` command succeeds.

use std::time::Duration;

use crate::script::Script;

/// Polls a command until it succeeds.
pub(super) fn until_ready(command: &str, timeout: Duration) -> Script {
    Script::new(
        r#"until output=$(/bin/sh -c "$1" 2>&1); do
  sleep 0.2
  [ "$(($(date +%s) - ${since:=$(date +%s)}))" -lt "$2" ] || { printf 'not ready within %s s: %s\n' "$2" "$output" >&2; exit 1; }
done"#,
    )
    .arg(command)
    .arg(timeout.as_secs().to_string())
    .limit(timeout + Duration::from_secs(10))
}
