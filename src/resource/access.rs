//! Owner, group and mode as a task wants them, compared with those that are.

use super::{Diff, Mode, NodeState, schema::parameters};
use crate::{
    question::{
        Questions, Unanswered,
        account::{AccountName, Group, User},
        path::Attributes,
    },
    script::Script,
};

parameters! {
    /// The owner, group and mode of a path. What is not given is left unchanged.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
    pub struct Access {
        /// The owner.
        owner: Option<AccountName>,
        /// The group.
        group: Option<AccountName>,
        /// The permission bits, in quotes.
        mode: Option<Mode>,
    }
}

/// What [`Access::compare`] found.
#[derive(Debug, Default)]
pub struct AccessDifference {
    /// What the node does not have: "user `redis`".
    pub missing: Vec<String>,
    /// Lines for the reader; none when all is as wanted.
    pub diff: Diff,
    /// The same in a few words: "mode 0644 → 0600".
    pub summary: Vec<String>,
}

impl AccessDifference {
    fn note(&mut self, name: &str, before: &str, after: &str) {
        self.diff.attribute(name, before, after);
        self.summary.push(if before.is_empty() { format!("{name} {after}") } else { format!("{name} {before} → {after}") });
    }
}

impl Access {
    /// Asks for the accounts. `root` always exists, so it is not asked for.
    pub fn questions(&self, ask: &mut Questions) {
        for owner in self.owner.iter().filter(|owner| owner.as_str() != "root") {
            ask.ask::<User>(owner.clone());
        }
        for group in self.group.iter().filter(|group| group.as_str() != "root") {
            ask.ask::<Group>(group.clone());
        }
    }

    /// Compares with what is; `None` when nothing is there yet. Accounts are compared by number, because several names may share one.
    ///
    /// # Errors
    /// When it is not known whether an account exists.
    pub fn compare(&self, is: &NodeState<'_>, actual: Option<&Attributes>) -> Result<AccessDifference, Unanswered> {
        let mut found = AccessDifference::default();
        if let Some(owner) = &self.owner {
            let uid = match owner.as_str() {
                "root" => Some(0),
                _ => is.answers.get::<User>(owner)?.as_ref().map(|user| user.uid),
            };
            if uid.is_none() {
                found.missing.push(format!("user `{owner}`"));
            }
            if actual.is_none_or(|actual| Some(actual.uid) != uid) {
                let before = actual.map(|actual| named(&actual.owner, actual.uid)).unwrap_or_default();
                found.note("owner", &before, owner.as_str());
            }
        }
        if let Some(group) = &self.group {
            let gid = match group.as_str() {
                "root" => Some(0),
                _ => is.answers.get::<Group>(group)?.as_ref().map(|group| group.gid),
            };
            if gid.is_none() {
                found.missing.push(format!("group `{group}`"));
            }
            if actual.is_none_or(|actual| Some(actual.gid) != gid) {
                let before = actual.map(|actual| named(&actual.group, actual.gid)).unwrap_or_default();
                found.note("group", &before, group.as_str());
            }
        }
        if let Some(mode) = self.mode
            && actual.is_none_or(|actual| actual.mode != mode)
        {
            let before = actual.map(|actual| actual.mode.octal()).unwrap_or_default();
            found.note("mode", &before, &mode.octal());
        }
        Ok(found)
    }

    /// Appends owner, group and mode to a script's parameters; what is not given is empty.
    ///
    /// Five digits of mode: with four, chmod leaves the setgid bit of a directory as it is.
    #[must_use]
    pub fn arguments(&self, script: Script) -> Script {
        let name = |name: &Option<AccountName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
        let mode = self.mode.map(|mode| format!("{:05o}", mode.0)).unwrap_or_default();
        script.arg(name(&self.owner)).arg(name(&self.group)).arg(mode)
    }
}

/// The name, or the number where the node has no name for it.
fn named(name: &str, number: u32) -> String {
    if name == "UNKNOWN" { number.to_string() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        question::{
            Answers,
            account::{GroupEntry, UserEntry},
        },
        secret::SecretValues,
    };

    fn name(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    fn wanted() -> Access {
        Access { owner: Some(name("redis")), group: Some(name("redis")), mode: Some(Mode(0o640)) }
    }

    fn actual(mode: u32, uid: u32, gid: u32) -> Attributes {
        Attributes { mode: Mode(mode), owner: "UNKNOWN".into(), group: "daemon".into(), uid, gid, modified: 0 }
    }

    fn compare(known: bool, actual: Option<&Attributes>) -> AccessDifference {
        let mut answers = Answers::default();
        let user = UserEntry {
            uid: 101,
            gid: 102,
            group: Some("redis".into()),
            comment: String::new(),
            home: "/".into(),
            shell: "/bin/sh".into(),
            groups: Vec::new(),
        };
        answers.set::<User>(name("redis"), Ok(known.then_some(user)));
        answers.set::<Group>(name("redis"), Ok(known.then_some(GroupEntry { gid: 102, members: Vec::new() })));
        wanted().compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }, actual).unwrap()
    }

    #[test]
    fn equal_numbers_and_bits_are_no_difference() {
        let found = compare(true, Some(&actual(0o640, 101, 102)));
        assert!(found.summary.is_empty() && found.diff == Diff::none() && found.missing.is_empty());
    }

    #[test]
    fn each_difference_is_named() {
        assert_eq!(compare(true, Some(&actual(0o644, 101, 102))).summary, ["mode 0644 → 0640"]);
        assert_eq!(compare(true, Some(&actual(0o640, 7, 102))).summary, ["owner 7 → redis"]);
        assert_eq!(compare(true, Some(&actual(0o640, 101, 1))).summary, ["group daemon → redis"]);
        assert_eq!(compare(true, Some(&actual(0o2640, 101, 102))).summary, ["mode 2640 → 0640"]);
        assert_eq!(compare(true, None).summary, ["owner redis", "group redis", "mode 0640"]);
    }

    #[test]
    fn unknown_accounts_are_missing_and_still_a_difference() {
        let found = compare(false, Some(&actual(0o640, 101, 102)));
        assert_eq!(found.missing, ["user `redis`", "group `redis`"]);
        assert_eq!(found.summary, ["owner 101 → redis", "group daemon → redis"]);
    }

    #[test]
    fn an_account_never_asked_for_is_no_answer() {
        let is = NodeState { answers: &Answers::default(), secrets: &SecretValues::default() };
        assert!(wanted().compare(&is, None).is_err());
        let root = Access { owner: Some(name("root")), group: Some(name("root")), mode: None };
        assert!(root.compare(&is, Some(&actual(0, 0, 0))).unwrap().summary.is_empty());
    }
}
