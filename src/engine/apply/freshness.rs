//! Which of the answers are from after the last change, and which change made what.

use std::collections::HashMap;

/// How current the answers about a node are while it is being changed.
#[derive(Debug)]
pub(super) struct Freshness {
    count: usize,
    /// The first item whose answers are from before the last change.
    stale_from: usize,
    /// Whether every answer is from after the last change.
    all: bool,
    /// The last change that was made, for "by `X`".
    latest: Option<String>,
    /// Items that a change of another item has satisfied, with the name of that item.
    satisfied_by: HashMap<usize, String>,
}

impl Freshness {
    /// Everything was asked, and nothing was changed yet.
    pub(super) fn new(count: usize) -> Self {
        Self { count, stale_from: count, all: true, latest: None, satisfied_by: HashMap::new() }
    }

    /// Whether the answers for this item are from before the last change.
    pub(super) fn is_stale(&self, index: usize) -> bool {
        index >= self.stale_from
    }

    /// Whether every answer is from after the last change.
    pub(super) fn is_complete(&self) -> bool {
        self.all
    }

    /// Whether anything was changed.
    pub(super) fn anything_changed(&self) -> bool {
        self.latest.is_some()
    }

    /// Remembers that the items of this range are asked for after the last change, and which are stale from then on.
    pub(super) fn asked(&mut self, from: usize, to: usize) {
        (self.all, self.stale_from) = ((from, to) == (0, self.count), to);
    }

    /// Remembers the change that was made last.
    pub(super) fn changed_by(&mut self, name: impl Into<String>) {
        self.latest = Some(name.into());
    }

    /// Remembers which item has satisfied a later one; the first counts.
    pub(super) fn satisfied(&mut self, index: usize, by: &str) {
        self.satisfied_by.entry(index).or_insert_with(|| by.to_owned());
    }

    /// Returns "by `X`" for an item that is as declared though a change was predicted; empty if nothing was changed.
    pub(super) fn by(&self, index: usize) -> String {
        self.satisfied_by.get(&index).or(self.latest.as_ref()).map(|name| format!("by `{name}`")).unwrap_or_default()
    }
}
