//! The items of a run and their outcomes.

use std::time::Duration;

use serde::Serialize;

use crate::values::Diff;

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
    /// In a check: the result depends on a task that has not run. In a deploy: the link was lost, or the run was ended, while it was made.
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

/// What a run item is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemSubject {
    /// A task with this resource, such as `template`.
    Task(String),
    /// A handler of a role.
    Handler,
    /// A health check of this kind, such as `listening`.
    Health(String),
    /// A secret, created before its first use.
    Secret,
}

impl ItemSubject {
    /// Returns the kind of item.
    #[must_use]
    pub fn kind(&self) -> ItemKind {
        match self {
            Self::Task(_) => ItemKind::Task,
            Self::Handler => ItemKind::Handler,
            Self::Health(_) => ItemKind::Health,
            Self::Secret => ItemKind::Secret,
        }
    }

    /// Returns the word for the resource in the event stream and in JSON documents; empty when the declaration could not be read.
    #[must_use]
    pub fn resource(&self) -> &str {
        match self {
            Self::Task(kind) | Self::Health(kind) => kind,
            Self::Handler => "handler",
            Self::Secret => "secret",
        }
    }
}

/// An item of a run: the part of a result that is known before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// A stable id: `role/name`, followed by ` (item)` in a loop.
    pub id: String,
    /// What it is about.
    pub subject: ItemSubject,
    /// The role that declares it.
    pub role: String,
    /// Its name.
    pub name: String,
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
    /// Why the item failed, or why its outcome is not known.
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

    /// Creates the outcome of a change that was interrupted, so that it is not known how far it came.
    #[must_use]
    pub fn unknown(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::new(Status::Unknown, "") }
    }
}
