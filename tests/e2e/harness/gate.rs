//! Gates: points in a role at which a run waits, so that a test can interrupt it at exactly this moment.

use super::{TestNode, eventually};

/// The program `gate NAME` on a node: it returns at once, unless a test has closed the gate; then it records that it was reached, and waits.
const GATE: &str = r#"cat >/usr/local/bin/gate <<'END'
#!/bin/sh
[ -e "/run/gate.$1" ] || exit 0
touch "/run/gate.$1.reached"
while [ -e "/run/gate.$1" ]; do sleep 0.05; done
END
chmod 755 /usr/local/bin/gate"#;

impl TestNode {
    /// Installs the program `gate`.
    pub fn with_gates(self) -> Self {
        self.sh(GATE);
        self
    }

    /// Closes a gate: a run that reaches it waits.
    pub fn shut(&self, gate: &str) {
        self.sh(&format!("rm -f /run/gate.{gate}.reached; touch /run/gate.{gate}"));
    }

    /// Opens a gate. If it is not closed, this does nothing.
    pub fn open(&self, gate: &str) {
        self.sh(&format!("rm -f /run/gate.{gate} /run/gate.{gate}.reached"));
    }

    /// Waits until a run has reached a gate.
    pub fn await_at(&self, gate: &str) {
        eventually(&format!("a run reaches the gate `{gate}`"), 120, || {
            self.try_sh(&format!("test -e /run/gate.{gate}.reached")).status.success()
        });
    }

    /// Waits until no run is active on the node any more: the directory in /run is removed together with the lock.
    pub fn await_end_of_runs(&self) {
        eventually("nothing of a run is left in /run", 10, || self.try_sh("test ! -e /run/autobot-provision").status.success());
    }
}
