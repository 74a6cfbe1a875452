//! What Ansible has and this program does not: each word with what to write instead.

mod keywords;
mod modules;
mod parameters;
mod variables;

pub(crate) use keywords::{HANDLER_KEYWORDS, ROLE_KEYS, TASK_KEYWORDS, VARIABLE_KEYS};
pub(crate) use modules::MODULES;
pub(crate) use parameters::{PARAMETERS, UNNAMED_APT, VALUES};
pub(crate) use variables::{FACTS, VARIABLES};

/// A word of Ansible, and what to write instead.
#[derive(Debug)]
pub(crate) struct Word {
    /// The word; for a module its name without the collection.
    pub(crate) name: &'static str,
    /// What to do instead, as a sentence without its full stop.
    pub(crate) advice: &'static str,
    /// YAML that does it; empty if there is none. A test loads each of them.
    pub(crate) yaml: &'static str,
    /// Where the YAML belongs.
    pub(crate) belongs: Belongs,
}

/// Where the YAML of an advice belongs in a role file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// Into a task, beside its name.
    Task,
    /// Into a handler, beside its name.
    Handler,
    /// Into a health check, beside its name.
    Health,
    /// Under `defaults:`.
    Defaults,
    /// Under `secrets:`.
    Secrets,
    /// Into the role file itself.
    Role,
}

impl Word {
    /// Advice without YAML.
    const fn new(name: &'static str, advice: &'static str) -> Self {
        Self { name, advice, yaml: "", belongs: Belongs::Task }
    }

    /// Advice with YAML for a task.
    const fn task(name: &'static str, advice: &'static str, yaml: &'static str) -> Self {
        Self { name, advice, yaml, belongs: Belongs::Task }
    }

    /// Advice with YAML for another part of a role.
    const fn part(name: &'static str, belongs: Belongs, advice: &'static str, yaml: &'static str) -> Self {
        Self { name, advice, yaml, belongs }
    }

    /// The advice as help.
    pub(crate) fn help(&self) -> String {
        let section = match self.belongs {
            Belongs::Task | Belongs::Role => "",
            Belongs::Handler => " under `handlers:`",
            Belongs::Health => " under `health:`",
            Belongs::Defaults => " under `defaults:`",
            Belongs::Secrets => " under `secrets:`",
        };
        if self.yaml.is_empty() { self.advice.to_owned() } else { format!("{}{section}: `{}`", self.advice, self.yaml) }
    }
}

/// Finds the row of a table with this name.
pub(crate) fn find(table: &'static [Word], name: &str) -> Option<&'static Word> {
    table.iter().find(|word| word.name == name)
}

/// Finds what to write instead of a parameter that Ansible's module has and the resource does not.
pub(crate) fn parameter(resource: &str, name: &str) -> Option<&'static Word> {
    PARAMETERS.iter().find(|(kind, word)| (*kind == resource || kind.is_empty()) && word.name == name).map(|(_, word)| word)
}

/// Finds what to do instead of a value that a parameter has in Ansible and not here.
pub(crate) fn value(resource: &str, parameter: &str, value: &str) -> Option<&'static str> {
    VALUES.iter().find(|(words, _)| *words == [resource, parameter, value]).map(|(_, advice)| *advice)
}

/// Returns what to do instead of a module, which may be given by its long name.
pub(crate) fn module(name: &str) -> Option<String> {
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.starts_with("win_") {
        return Some("nodes run Debian: there is nothing for Windows".to_owned());
    }
    if last.starts_with("mysql_") || last.starts_with("mongodb_") {
        return Some("there is no resource for this database: use `command` with a guard".to_owned());
    }
    find(MODULES, last).map(Word::help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::kind;

    #[test]
    fn every_word_is_unique_and_unknown_to_this_program() {
        for table in [MODULES, TASK_KEYWORDS, HANDLER_KEYWORDS, ROLE_KEYS, VARIABLE_KEYS, VARIABLES, FACTS] {
            let mut names: Vec<&str> = table.iter().map(|word| word.name).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "a word is listed twice, in the table of {:?}", table[0].name);
        }
        let known: Vec<&str> = MODULES.iter().map(|word| word.name).filter(|name| kind(name).is_some()).collect();
        assert!(known.is_empty(), "resources of ours: {known:?}");
        for (resource, word) in PARAMETERS {
            let Some(kind) = kind(resource) else {
                assert!(resource.is_empty(), "no resource `{resource}`");
                continue;
            };
            assert!(!kind.takes(word.name), "`{resource}` has `{}`", word.name);
        }
    }

    #[test]
    fn help_is_one_sentence_without_its_full_stop() {
        let all = [MODULES, TASK_KEYWORDS, HANDLER_KEYWORDS, ROLE_KEYS, VARIABLE_KEYS, VARIABLES, FACTS].into_iter().flatten();
        for word in all.chain(PARAMETERS.iter().map(|(_, word)| word)) {
            assert!(!word.advice.is_empty() && !word.advice.ends_with(['.', ':']), "{word:?}");
        }
        assert!(MODULES.len() > 100, "{} modules", MODULES.len());
    }
}
