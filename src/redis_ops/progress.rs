//! The progress of a scan of a Redis, for a display or for a report of an interrupted run.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of keys, which can be read while another task updates them.
#[derive(Debug, Default)]
pub struct ScanProgress {
    expected: AtomicU64,
    seen: AtomicU64,
    deleted: AtomicU64,
}

impl ScanProgress {
    /// Adds to the approximate number of keys to be examined.
    pub(crate) fn expect(&self, keys: u64) {
        self.expected.fetch_add(keys, Relaxed);
    }

    /// Adds to the approximate number of keys that were examined.
    pub(crate) fn add_examined(&self, keys: u64) {
        self.seen.fetch_add(keys, Relaxed);
    }

    /// Adds to the number of keys that the server reported as deleted.
    pub(crate) fn add_deleted(&self, keys: u64) {
        self.deleted.fetch_add(keys, Relaxed);
    }

    /// Returns the approximate number of keys to be examined; 0 before it is known.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.expected.load(Relaxed)
    }

    /// Returns the approximate number of keys that were examined.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Relaxed).min(self.expected())
    }

    /// Returns the number of keys that the server reported as deleted.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted.load(Relaxed)
    }
}
