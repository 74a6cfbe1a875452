//! What has been checked and was sound: it is not checked again for a host that does not differ in anything that the check has read.

use std::collections::HashMap;

use crate::source::Diagnostics;

use super::scope::{HostVars, Reads};

/// Of one item, so many are remembered that differ in what was read.
const MOST_ALIKE: usize = 16;

/// An item of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// All its variables.
    Variables,
    /// A task, by its number.
    Task(usize),
    /// A health check, by its number.
    Health(usize),
}

/// What is checked: a part of a role, among the other parts of the whole role or of what the tags select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    /// The number of the role.
    pub(super) role: usize,
    /// Whether only what the tags select comes before it.
    pub(super) tagged: bool,
    /// The part.
    pub(super) part: Part,
}

/// What was sound on the hosts so far.
#[derive(Debug, Default)]
pub(super) struct Checked {
    sound: HashMap<Subject, Vec<Reads>>,
}

impl Checked {
    /// Checks a part on a host. `None` if it was found sound on one that does not differ from this host as far as it matters.
    pub(super) fn unless_known<T>(
        &mut self,
        subject: Subject,
        host: &HostVars,
        check: impl FnOnce() -> Result<T, Diagnostics>,
    ) -> Option<Result<T, Diagnostics>> {
        let sound = self.sound.entry(subject).or_default();
        if sound.iter().any(|reads| host.agrees_with(reads)) {
            return None;
        }
        let (checked, reads) = host.recorded(check);
        if checked.is_ok() {
            sound.truncate(MOST_ALIKE - 1);
            sound.insert(0, reads);
        }
        Some(checked)
    }
}
