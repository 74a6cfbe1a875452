//! The kinds of resources that a task can name.

use crate::{
    health::CHECKS,
    resource::{KINDS, Kind},
};

#[cfg(test)]
const OTHERS: &[&Kind] = super::toys::KINDS;
#[cfg(not(test))]
const OTHERS: &[&Kind] = &[];

fn all() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().chain(OTHERS).copied()
}

/// The kind of this name, for a health check: one that only looks, or any other.
pub(crate) fn check(name: &str) -> Option<&'static Kind> {
    CHECKS.iter().copied().find(|kind| kind.name == name).or_else(|| kind(name))
}

/// The names of all kinds that a health check can name.
pub(crate) fn check_names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|kind| kind.name).chain(names())
}

/// The kind of this name.
pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    all().find(|kind| kind.name == name)
}

/// The names of all kinds.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|kind| kind.name)
}
