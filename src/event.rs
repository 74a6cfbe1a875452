//! The events of a run. Reporters and the history know nothing else about a run.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::values::Diff;

/// The purpose of a run, which decides whether it may change nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Changes nothing, and reports what an apply would change.
    Check,
    /// Makes the changes.
    Apply,
    /// Reads the health checks only.
    Health,
    /// Reads the health checks and uses the services of the nodes as their clients would.
    Exercise,
}

/// The result of a run item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As declared when the run began.
    Ok,
    /// Not as declared when the run began; as declared at the end, or would be.
    Changed,
    /// Skipped because of its condition.
    Skipped,
    /// In a check: the result depends on a task that has not run.
    Unknown,
    /// The question or the change failed.
    Failed,
}

/// The kind of a run item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A task of a role.
    Task,
    /// A handler of a role.
    Handler,
    /// A health check of a role.
    Health,
    /// A secret, created before its first use.
    Secret,
}

/// An item of a run: the part of a result that is known before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// A stable id: `role/name`, followed by ` (item)` in a loop.
    pub id: String,
    /// The kind of item.
    pub kind: ItemKind,
    /// The role that declares it.
    pub role: String,
    /// Its name.
    pub name: String,
    /// The name of the resource, such as `template`.
    pub resource: String,
    /// The file that declares it, as shown to users.
    pub file: String,
    /// The line in that file, counted from 1.
    pub line: usize,
}

/// The outcome of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The result.
    pub status: Status,
    /// A short explanation: what changed and why, why the item was skipped, or a note.
    pub summary: String,
    /// A reason to look at something although all is well.
    pub warning: Option<String>,
    /// The difference from the state at the beginning of the run.
    pub diff: Diff,
    /// Why the item failed.
    pub error: Option<String>,
    /// How long it took, including the round trip.
    pub duration: Duration,
}

impl Outcome {
    /// Returns the warning and the summary in one line: `warning: no version; 3 tables`.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        match &self.warning {
            Some(warning) if self.summary.is_empty() => format!("warning: {warning}"),
            Some(warning) => format!("warning: {warning}; {}", self.summary),
            None => self.summary.clone(),
        }
    }

    /// Creates an outcome without a diff and an error.
    #[must_use]
    pub fn new(status: Status, summary: impl Into<String>) -> Self {
        Self { status, summary: summary.into(), warning: None, diff: Diff::none(), error: None, duration: Duration::ZERO }
    }

    /// Creates a failure with its reason.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::new(Status::Failed, "") }
    }
}

/// The result of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostStatus {
    /// There was nothing to do.
    Ok,
    /// Changes were made or, in a check, are pending.
    Changed,
    /// A task failed.
    Failed,
    /// The host could not be reached.
    Unreachable,
    /// Another run holds the host.
    Held,
    /// The run was interrupted while it worked on this host.
    Interrupted,
}

/// The result of a run on one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostEnd {
    /// The result.
    pub status: HostStatus,
    /// Why the host failed or could not be reached, or which run holds it.
    pub error: Option<String>,
    /// What to do about the error.
    pub remedy: Option<String>,
    /// The number of round trips to the node.
    pub round_trips: u32,
    /// Bytes sent to the node's shell, before ssh's encryption.
    pub bytes_sent: u64,
    /// The ids of items whose result a check would not have predicted.
    pub unpredicted: Vec<String>,
    /// In a check: which run holds the node at this moment.
    pub holder: Option<String>,
    /// How long the run took on this host, from the first attempt to connect.
    pub duration: Duration,
}

/// An event of a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// The run has started.
    RunStarted {
        /// The id of the run, which is also used on the nodes.
        run_id: String,
        /// The purpose of the run.
        mode: Mode,
        /// The time.
        started: Timestamp,
        /// The hosts' names, in order.
        hosts: Vec<String>,
    },
    /// The run on a host has reached a stage, such as connecting or waiting for the lock.
    HostProgress {
        /// The host.
        host: String,
        /// A description of the stage.
        text: String,
    },
    /// A change has started.
    ItemStarted {
        /// The host.
        host: String,
        /// The item.
        item: Item,
    },
    /// The running change has printed a line. Secrets are masked.
    ItemProgress {
        /// The host.
        host: String,
        /// The item's id.
        id: String,
        /// The line.
        text: String,
    },
    /// An item has finished.
    ItemFinished {
        /// The host.
        host: String,
        /// The item.
        item: Item,
        /// The result.
        outcome: Outcome,
    },
    /// A host has finished.
    HostFinished {
        /// The host.
        host: String,
        /// The result.
        end: HostEnd,
    },
    /// The run has finished.
    RunFinished {
        /// The time.
        finished: Timestamp,
    },
}
