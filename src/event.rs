//! What happened. The only thing that reporters and the history know of a run.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::resource::Diff;

/// What a run is for, and so whether nodes may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Only looks: says what an apply would change.
    Check,
    /// Makes it so.
    Apply,
    /// Only reads health checks.
    Health,
    /// Reads health checks and exercises what the nodes offer, as clients would.
    Exercise,
}

/// What a run item came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As declared when the run began.
    Ok,
    /// Not as declared when the run began; as declared at the end, or would be.
    Changed,
    /// Left out by its condition.
    Skipped,
    /// In a check: cannot be known until another task ran.
    Unknown,
    /// Could not be looked at or made so.
    Failed,
}

/// What kind of item of a run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A task of a role.
    Task,
    /// A handler of a role.
    Handler,
    /// A health check of a role.
    Health,
    /// A secret, made before its first use.
    Secret,
}

/// Which item of a run: the part of a result that is known beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Stable: `role/name`, with ` (item)` in a loop.
    pub id: String,
    /// What kind of item.
    pub kind: ItemKind,
    /// The role that declares it.
    pub role: String,
    /// Its name.
    pub name: String,
    /// The resource's word, such as `template`.
    pub resource: String,
    /// The file that declares it, as users see it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// What an item came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// In a word.
    pub status: Status,
    /// In a few words: what changed and by what, why it was skipped, what to know all the same.
    pub summary: String,
    /// What differed from the beginning of the run.
    pub diff: Diff,
    /// Why it failed.
    pub error: Option<String>,
    /// How long it took on the node and on the way.
    pub duration: Duration,
}

/// How the summary of what is well, but not quite, begins.
pub const WARNING: &str = "warning: ";

impl Outcome {
    /// Whether it is well, but not quite: always shown, and counted.
    #[must_use]
    pub fn warns(&self) -> bool {
        self.status == Status::Ok && self.summary.starts_with(WARNING)
    }

    /// An outcome without diff and error.
    #[must_use]
    pub fn new(status: Status, summary: impl Into<String>) -> Self {
        Self { status, summary: summary.into(), diff: Diff::none(), error: None, duration: Duration::ZERO }
    }

    /// A failure and why.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::new(Status::Failed, "") }
    }
}

/// What a host came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostStatus {
    /// Nothing to do.
    Ok,
    /// Changes made, or pending in a check.
    Changed,
    /// A task failed.
    Failed,
    /// Could not be reached.
    Unreachable,
    /// Another run holds it.
    Held,
    /// The run was interrupted while it worked on this host.
    Interrupted,
}

/// A host's part of the run, at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct HostEnd {
    /// In a word.
    pub status: HostStatus,
    /// Why it failed, could not be reached, or who holds it.
    pub error: Option<String>,
    /// What to do about the error.
    pub remedy: Option<String>,
    /// Questions and changes answered by the node.
    pub round_trips: u32,
    /// Bytes sent to the node's shell, before ssh's encryption.
    pub bytes_sent: u64,
    /// Ids of items that changed though a check would not have said so, or the other way round.
    pub unpredicted: Vec<String>,
    /// In a check: who holds the node just now.
    pub holder: Option<String>,
    /// From the first try to connect.
    pub duration: Duration,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// Names the run, also on the nodes.
        run_id: String,
        /// Check or apply.
        mode: Mode,
        /// When.
        started: Timestamp,
        /// The hosts' names, in order.
        hosts: Vec<String>,
    },
    /// Work on a host has got somewhere: connecting, waiting for its lock.
    HostProgress {
        /// The host.
        host: String,
        /// What it is doing.
        text: String,
    },
    /// A change is being made.
    ItemStarted {
        /// The host.
        host: String,
        /// The item.
        item: Item,
    },
    /// A line that the running change printed. Secrets are masked.
    ItemProgress {
        /// The host.
        host: String,
        /// The item's id.
        id: String,
        /// The line.
        text: String,
    },
    /// An item came to something.
    ItemFinished {
        /// The host.
        host: String,
        /// The item.
        item: Item,
        /// What it came to.
        outcome: Outcome,
    },
    /// A host is done.
    HostFinished {
        /// The host.
        host: String,
        /// What it came to.
        end: HostEnd,
    },
    /// The run is over.
    RunFinished {
        /// When.
        finished: Timestamp,
    },
}
