//! The kinds of resources that a task can name.

use crate::resource::{KINDS, Kind};

#[cfg(test)]
const OTHERS: &[&Kind] = super::toys::KINDS;
#[cfg(not(test))]
const OTHERS: &[&Kind] = &[];

fn all() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().chain(OTHERS).copied()
}

/// The kind of this name.
pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    all().find(|kind| kind.name == name)
}

/// The names of all kinds.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|kind| kind.name)
}
