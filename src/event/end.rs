//! The results of hosts and of the whole run.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Exit, Status};

/// The number of items by result. `unreachable` counts hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// As declared.
    pub ok: usize,
    /// Changed, or pending in a check.
    pub changed: usize,
    /// As declared, but with a warning; also counted in `ok`.
    pub warnings: usize,
    /// Skipped.
    pub skipped: usize,
    /// Dependent on a task that has not run, or interrupted.
    pub unknown: usize,
    /// Failed.
    pub failed: usize,
    /// Hosts that could not be reached.
    pub unreachable: usize,
}

impl Counts {
    /// Counts an item with this result.
    pub fn add(&mut self, status: Status) {
        match status {
            Status::Ok => self.ok += 1,
            Status::Changed => self.changed += 1,
            Status::Skipped => self.skipped += 1,
            Status::Unknown => self.unknown += 1,
            Status::Failed => self.failed += 1,
        }
    }

    /// Adds the numbers of another host.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            ok: self.ok + other.ok,
            changed: self.changed + other.changed,
            warnings: self.warnings + other.warnings,
            skipped: self.skipped + other.skipped,
            unknown: self.unknown + other.unknown,
            failed: self.failed + other.failed,
            unreachable: self.unreachable + other.unreachable,
        }
    }
}

/// The result of a host, in one word.
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

impl HostStatus {
    /// Returns the one of two results that decides the result of a run.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let order = [Self::Ok, Self::Changed, Self::Held, Self::Unreachable, Self::Failed, Self::Interrupted];
        let rank = |status: Self| order.iter().position(|known| *known == status);
        if rank(other) > rank(self) { other } else { self }
    }
}

/// The result of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostResult {
    /// Everything was as declared.
    Ok,
    /// Changes were made or, in a check, are pending.
    Changed,
    /// A task failed, or the run on this host itself.
    Failed {
        /// Why, unless a failed item has the reason.
        error: Option<String>,
    },
    /// The host could not be reached, or the link to it was lost.
    Unreachable {
        /// Why.
        error: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// Another run holds the host.
    Held {
        /// Which one, in words.
        holder: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// The run was interrupted while it worked on this host, or before.
    Interrupted,
}

impl HostResult {
    /// Returns the result in one word.
    #[must_use]
    pub fn status(&self) -> HostStatus {
        match self {
            Self::Ok => HostStatus::Ok,
            Self::Changed => HostStatus::Changed,
            Self::Failed { .. } => HostStatus::Failed,
            Self::Unreachable { .. } => HostStatus::Unreachable,
            Self::Held { .. } => HostStatus::Held,
            Self::Interrupted => HostStatus::Interrupted,
        }
    }

    /// Returns why the host failed or could not be reached, or which run holds it.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Failed { error } => error.as_deref(),
            Self::Unreachable { error, .. } | Self::Held { holder: error, .. } => Some(error),
            Self::Ok | Self::Changed | Self::Interrupted => None,
        }
    }

    /// Returns what to do about the error.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Unreachable { help, .. } | Self::Held { help, .. } => help.as_deref(),
            Self::Ok | Self::Changed | Self::Failed { .. } | Self::Interrupted => None,
        }
    }
}

/// The end of a run on one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostEnd {
    /// The result.
    pub result: HostResult,
    /// The number of items by result.
    pub counts: Counts,
    /// The ids of items whose result a check would not have predicted.
    pub unpredicted: Vec<String>,
    /// The ids of items that would have changed something and whose turn did not come.
    pub left: Vec<String>,
    /// The ids of handlers that a change has notified and that have not run. The next deploy runs them.
    pub owed: Vec<String>,
    /// The id of the item that was interrupted, so that its outcome is not known.
    pub unknown: Option<String>,
    /// The id of this run, if that item goes on as a job of the node: `attach` follows it.
    pub attach: Option<String>,
    /// In a check: which run holds the node at this moment, in words.
    pub holder: Option<String>,
    /// The node's facts under Ansible's names, if the run has learned them. Secrets are masked.
    pub facts: Option<Map<String, Value>>,
    /// The number of round trips to the node.
    pub round_trips: u32,
    /// Bytes sent to the node's shell, before ssh's encryption.
    pub bytes_sent: u64,
    /// How long the run took on this host, from the first attempt to connect.
    pub duration: Duration,
}

impl HostEnd {
    /// Creates an end with this result and nothing else.
    #[must_use]
    pub fn new(result: HostResult) -> Self {
        Self {
            result,
            counts: Counts::default(),
            unpredicted: Vec::new(),
            left: Vec::new(),
            owed: Vec::new(),
            unknown: None,
            attach: None,
            holder: None,
            facts: None,
            round_trips: 0,
            bytes_sent: 0,
            duration: Duration::ZERO,
        }
    }

    /// Returns the result in one word.
    #[must_use]
    pub fn status(&self) -> HostStatus {
        self.result.status()
    }
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEnd {
    /// The worst result of its hosts.
    pub status: HostStatus,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// The sum over all hosts.
    pub summary: Counts,
    /// How long it took.
    pub duration: Duration,
    /// How the command ends.
    pub exit: Exit,
}

impl RunEnd {
    /// Creates the end of a run whose hosts have ended with this result. `detailed` is whether the exit code reports changes.
    #[must_use]
    pub fn new(worst: HostStatus, interrupted: bool, summary: Counts, duration: Duration, detailed: bool) -> Self {
        let status = if interrupted { HostStatus::Interrupted } else { worst };
        Self { status, interrupted, summary, duration, exit: Exit::of_run(status, &summary, detailed) }
    }
}
