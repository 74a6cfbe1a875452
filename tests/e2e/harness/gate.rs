//! Gates: places in a role at which a run stops, so that a test can interrupt it at exactly this moment.

use super::{Booted, eventually};

/// `gate NAME` on a node: goes through, unless a test has shut the gate; then it says that it was reached and waits.
const GATE: &str = r#"cat >/usr/local/bin/gate <<'END'
#!/bin/sh
[ -e "/run/gate.$1" ] || exit 0
touch "/run/gate.$1.reached"
while [ -e "/run/gate.$1" ]; do sleep 0.05; done
END
chmod 755 /usr/local/bin/gate"#;

impl Booted {
    /// Installs the program `gate`.
    pub fn with_gates(self) -> Self {
        self.sh(GATE);
        self
    }

    /// Shuts a gate: whoever comes there waits.
    pub fn shut(&self, gate: &str) {
        self.sh(&format!("rm -f /run/gate.{gate}.reached; touch /run/gate.{gate}"));
    }

    /// Opens a gate. Without one it does nothing.
    pub fn open(&self, gate: &str) {
        self.sh(&format!("rm -f /run/gate.{gate} /run/gate.{gate}.reached"));
    }

    /// Waits until a run stands at a gate.
    pub fn await_at(&self, gate: &str) {
        eventually(&format!("a run reaches the gate `{gate}`"), 120, || {
            self.try_sh(&format!("test -e /run/gate.{gate}.reached")).status.success()
        });
    }

    /// Waits until no run of ours is on the node any more: its directory in /run goes with its lock.
    pub fn await_end_of_runs(&self) {
        eventually("nothing of a run is left in /run", 10, || self.try_sh("test ! -e /run/autobot-provision").status.success());
    }
}
