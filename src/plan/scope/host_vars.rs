//! The variables of a host, and what a check reads of them: hosts that do not differ in it need no check of their own.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::source::{Node, Yaml};

/// The variables of a host.
#[derive(Debug)]
pub(in crate::plan) struct HostVars {
    name: String,
    values: HashMap<String, Node>,
    group_names: Vec<String>,
    /// What is read, while that is recorded.
    reads: Mutex<Option<Reads>>,
}

/// What was read of a host.
#[derive(Debug, Default)]
pub(in crate::plan) struct Reads {
    /// Its name.
    name: Option<String>,
    /// Its groups.
    group_names: Option<Vec<String>>,
    /// The names of all its variables, sorted.
    names: Option<Vec<String>>,
    /// Values of variables; none is one that it does not have.
    values: HashMap<String, Option<Node>>,
}

impl HostVars {
    pub(in crate::plan) fn new(name: &str, values: HashMap<String, Node>, group_names: Vec<String>) -> Self {
        Self { name: name.to_owned(), values, group_names, reads: Mutex::default() }
    }

    /// The name of the host.
    pub(in crate::plan) fn name(&self) -> &str {
        self.note(|reads| reads.name = Some(self.name.clone()));
        &self.name
    }

    /// The name of the host, where it only says whose a secret is: nothing may depend on the token that stands for it.
    pub(in crate::plan) fn name_in_token(&self) -> &str {
        &self.name
    }

    /// The names of its groups, sorted and without `all`.
    pub(in crate::plan) fn group_names(&self) -> &[String] {
        self.note(|reads| reads.group_names = Some(self.group_names.clone()));
        &self.group_names
    }

    /// The value of a variable.
    pub(in crate::plan) fn value(&self, name: &str) -> Option<&Node> {
        let value = self.values.get(name);
        self.note(|reads| {
            if !reads.values.contains_key(name) {
                reads.values.insert(name.to_owned(), value.cloned());
            }
        });
        value
    }

    /// The names of all variables.
    pub(in crate::plan) fn names(&self) -> impl Iterator<Item = &String> {
        self.note(|reads| reads.names = Some(self.sorted_names()));
        self.values.keys()
    }

    /// Does something, and returns what that has read.
    pub(in crate::plan) fn recorded<T>(&self, work: impl FnOnce() -> T) -> (T, Reads) {
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner) = Some(Reads::default());
        let done = work();
        (done, self.reads.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default())
    }

    /// Whether what was read of another host is the same here.
    pub(in crate::plan) fn agrees_with(&self, reads: &Reads) -> bool {
        let Reads { name, group_names, names, values } = reads;
        name.as_ref().is_none_or(|name| *name == self.name)
            && group_names.as_ref().is_none_or(|names| *names == self.group_names)
            && values.iter().all(|(name, value)| match (value, self.values.get(name)) {
                (None, None) => true,
                (Some(one), Some(other)) => is_same(one, other),
                (None, Some(_)) | (Some(_), None) => false,
            })
            && names.as_ref().is_none_or(|names| *names == self.sorted_names())
    }

    fn sorted_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.values.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    fn note(&self, read: impl FnOnce(&mut Reads)) {
        if let Some(reads) = self.reads.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            read(reads);
        }
    }
}

/// Whether two values are the same, wherever they are written.
fn is_same(one: &Node, other: &Node) -> bool {
    if (one.quoting, one.verbatim) != (other.quoting, other.verbatim) {
        return false;
    }
    match (&one.value, &other.value) {
        (Yaml::Seq(one), Yaml::Seq(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Yaml::Map(one), Yaml::Map(other)) => {
            let entries = one.iter().zip(other);
            one.len() == other.len()
                && entries.into_iter().all(|(one, other)| one.0.name == other.0.name && is_same(&one.1, &other.1))
        }
        (one, other) => one == other,
    }
}
