//! How far a look through a Redis has come, for whoever waits for it or cuts it short.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of keys, read while somebody else counts.
#[derive(Debug, Default)]
pub struct Progress {
    expected: AtomicU64,
    seen: AtomicU64,
    deleted: AtomicU64,
}

impl Progress {
    /// About so many keys are to be looked at.
    pub(crate) fn expect(&self, keys: u64) {
        self.expected.fetch_add(keys, Relaxed);
    }

    /// About so many more were looked at.
    pub(crate) fn saw(&self, keys: u64) {
        self.seen.fetch_add(keys, Relaxed);
    }

    /// So many more are deleted, as the server says.
    pub(crate) fn deleted_more(&self, keys: u64) {
        self.deleted.fetch_add(keys, Relaxed);
    }

    /// About how many keys are to be looked at; 0 before that is known.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.expected.load(Relaxed)
    }

    /// About how many of these were looked at.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Relaxed).min(self.expected())
    }

    /// How many keys the server said it had deleted.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted.load(Relaxed)
    }
}
