//! The kinds of resources that a task can name.

use crate::{
    health::{CHECKS, HealthCheck},
    resource::{KINDS, Kind},
};

#[cfg(test)]
const OTHERS: &[&Kind] = super::toys::KINDS;
#[cfg(not(test))]
const OTHERS: &[&Kind] = &[];

fn all() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().chain(OTHERS).copied()
}

/// Ansible's other modules that one of our resources covers, with the parameters that it has.
const OTHER_NAMES: &[(&str, &str)] = &[("shell", "command"), ("service", "systemd"), ("package", "apt")];

/// The name of a kind as a role file has it: Ansible's other name where that is written.
pub(crate) fn written<'a, T: ?Sized>(kind: &Kind<T>, word: &'a str) -> &'a str {
    let short = word.rsplit('.').next().unwrap_or(word);
    if OTHER_NAMES.contains(&(short, kind.name)) { short } else { kind.name }
}

/// The collections whose modules our resources are named after.
const COLLECTIONS: &[&str] = &[
    "ansible.builtin",
    "ansible.legacy",
    "ansible.posix",
    "community.crypto",
    "community.docker",
    "community.general",
    "community.postgresql",
];

/// Resolves a word of a role file to a kind: its name, Ansible's other name for it, or either with a known collection.
pub(crate) fn resolve(word: &str) -> Option<&'static Kind> {
    let name = match word.rsplit_once('.') {
        Some((collection, name)) if COLLECTIONS.contains(&collection) => name,
        Some(_) => return None,
        None => word,
    };
    by_short_name(name)
}

/// Finds the kind with the name of a module, whatever its collection.
pub(crate) fn by_short_name(name: &str) -> Option<&'static Kind> {
    let own = OTHER_NAMES.iter().find(|(other, _)| *other == name).map_or(name, |(_, own)| own);
    kind(own)
}

/// Finds the kind of check with this name. It hides the resource of the same name.
pub(crate) fn check(name: &str) -> Option<&'static Kind<dyn HealthCheck>> {
    CHECKS.iter().copied().find(|kind| kind.name == name)
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
