//! The public view of a prediction.

use super::{Item, Outcome, Status};

/// What a deploy does on a host, or would do: known before its first change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Planned {
    /// The items in order, with their predicted outcomes. Handlers that nothing notifies are left out. If an item fails, it is the last one.
    pub items: Vec<PlannedItem>,
    /// The units that handlers restart, in order, each once; also those that are restarted only if they run.
    pub restarts: Vec<String>,
    /// Which run holds the node at this moment, in words.
    pub holder: Option<String>,
}

/// An item and its predicted outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedItem {
    /// The item.
    pub item: Item,
    /// The prediction.
    pub outcome: Outcome,
    /// `sha256:` and the digest over what would be done: the item's id, status and masked diff, the script with tokens in place of secrets,
    /// and the handlers that it notifies. Only of tasks, handlers and secrets that change something.
    pub digest: Option<String>,
}

impl Planned {
    /// Returns the number of changes.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.items.iter().filter(|planned| planned.outcome.status == Status::Changed).count()
    }
}
