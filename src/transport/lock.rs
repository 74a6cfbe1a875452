//! One deploy per node at a time: who asks for the lock, and who holds it.

use std::time::Duration;

use jiff::Timestamp;

/// What a session does about the node's lock when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// Only looks who holds it (check mode). The first frame runs in any case.
    Look,
    /// Takes it. While another run holds it, the first frame does not run.
    Take(LockRequest),
}

/// Who asks for the lock. Written on the node, so that a second run can say who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    /// `user@controller`.
    pub who: String,
    /// The run's id.
    pub run_id: String,
    /// When the run began.
    pub since: Timestamp,
    /// How long to wait for another run to end. Zero: not at all.
    pub wait: Duration,
}

/// Who holds a node's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `user@controller`.
    pub who: String,
    /// The id of the run that holds it.
    pub run_id: String,
    /// When that run began, by its controller's clock.
    pub since: Timestamp,
}
