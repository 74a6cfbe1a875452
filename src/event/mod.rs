//! The events of a run: everything that reporters, the history and other programs know about it. Secrets are masked before an event is made.

mod cut;
mod end;
mod exit;
mod item;
mod planned;
mod queue;
mod refusal;
mod run_id;
mod wire;

pub use end::{Counts, HostEnd, HostResult, HostStatus, RunEnd};
pub use exit::Exit;
pub use item::{Item, ItemKind, ItemSubject, Outcome, Status};
pub use planned::{Planned, PlannedItem};
pub use queue::{RING, Reader, Sink};
pub use refusal::Refusal;
pub use run_id::{InvalidRunId, RunId};

use jiff::Timestamp;
use serde::Serialize;

/// The purpose of a run, which decides whether it may change nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Compares the nodes with what the roles declare.
    Deploy {
        /// Whether it makes the changes. Otherwise it is a check, which reports what an apply would change.
        apply: bool,
    },
    /// Reads the health checks.
    Health {
        /// Whether it also uses the services of the nodes as their clients would.
        exercise: bool,
    },
}

impl Purpose {
    /// Changes nothing, and reports what an apply would change.
    pub const CHECK: Self = Self::Deploy { apply: false };
    /// Makes the changes.
    pub const APPLY: Self = Self::Deploy { apply: true };
    /// Reads the health checks only.
    pub const HEALTH: Self = Self::Health { exercise: false };
    /// Reads the health checks and uses the services of the nodes as their clients would.
    pub const EXERCISE: Self = Self::Health { exercise: true };

    /// Returns its word in the event stream and in JSON documents.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deploy { apply: false } => "check",
            Self::Deploy { apply: true } => "apply",
            Self::Health { exercise: false } => "health",
            Self::Health { exercise: true } => "exercise",
        }
    }
}

impl Serialize for Purpose {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// The words that select what a run works on. Of `-e`, only the names of the variables: their values may be secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SelectionWords {
    /// Each inventory.
    pub inventory: Vec<String>,
    /// The host pattern.
    pub limit: Option<String>,
    /// Each role.
    pub role: Vec<String>,
    /// Each tag.
    pub tags: Vec<String>,
    /// Each tag that is skipped.
    pub skip_tags: Vec<String>,
    /// The names of the variables that were set.
    pub variables: Vec<String>,
}

/// The state of the project's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectState {
    /// `sha256:` and the digest over the paths and contents of the files that the plan was loaded from. An encrypted file counts as it is.
    pub digest: Option<String>,
    /// The commit that is checked out, if the project is in a git work tree.
    pub commit: Option<String>,
    /// Whether files of the project differ from that commit or are not in it, apart from ignored ones. None if git is not there to tell.
    pub dirty: Option<bool>,
}

/// What is known about a run when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunStart {
    /// The purpose.
    #[serde(rename = "mode")]
    pub purpose: Purpose,
    /// The version of this program.
    pub version: String,
    /// `user@controller`.
    pub user: String,
    /// The way in which it was started, such as `cli`.
    pub via: String,
    /// The hosts' names, in order.
    pub hosts: Vec<String>,
    /// The roles, in order, each once.
    pub roles: Vec<String>,
    /// What selects the hosts and roles.
    pub selection: SelectionWords,
    /// The project.
    pub project: ProjectState,
    /// The id of the saved plan that is applied.
    pub plan: Option<String>,
}

/// How urgently a run is asked to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// It goes on.
    #[default]
    None,
    /// Each host finishes its current item. What changes nothing ends at once.
    AfterItem,
    /// Everything that runs on the nodes is ended.
    Now,
}

/// An event of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number in the run, counted from 1. Numbers that a reader does not see belong to lines that its queue has dropped.
    pub seq: u64,
    /// When it happened, by the controller's clock.
    pub at: Timestamp,
    /// The run.
    pub run: RunId,
    /// What happened.
    pub body: EventBody,
}

impl Event {
    /// Returns whether no event of the run follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self.body, EventBody::RunFinished(_) | EventBody::RunRefused(_))
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventBody {
    /// The run has started.
    RunStarted(Box<RunStart>),
    /// The run was asked to end, by a signal or by the program that holds it.
    RunInterrupted(Urgency),
    /// The run on a host has reached a stage, such as connecting or waiting for the lock.
    HostProgress {
        /// The host.
        host: String,
        /// A description of the stage.
        text: String,
    },
    /// The prediction for a host is complete: nothing was changed yet.
    HostPlanned {
        /// The host.
        host: String,
        /// What a deploy does, or would do.
        planned: Box<Planned>,
    },
    /// A change has started.
    ItemStarted {
        /// The host.
        host: String,
        /// The item.
        item: Item,
    },
    /// The running change has printed a line. Secrets are masked.
    ItemOutput {
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
        /// How many of the changes that were planned for the host are made, and how many there are. None in a check and in a health run.
        progress: Option<(usize, usize)>,
    },
    /// A host has finished.
    HostFinished {
        /// The host.
        host: String,
        /// The result.
        end: Box<HostEnd>,
    },
    /// The run has finished.
    RunFinished(RunEnd),
    /// The run has ended before it contacted a node. It is the only event of its run.
    RunRefused(Box<Refusal>),
}

impl EventBody {
    /// Returns whether a reader's queue may drop the event: lines that only show that something goes on.
    #[must_use]
    pub fn is_droppable(&self) -> bool {
        match self {
            Self::HostProgress { .. } | Self::ItemOutput { .. } => true,
            Self::RunStarted(_)
            | Self::RunInterrupted(_)
            | Self::HostPlanned { .. }
            | Self::ItemStarted { .. }
            | Self::ItemFinished { .. }
            | Self::HostFinished { .. }
            | Self::RunFinished(_)
            | Self::RunRefused(_) => false,
        }
    }
}
