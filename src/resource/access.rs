//! The owner, group and mode that a task declares, compared with the actual ones.

use super::{Diff, Missing, Mode, NodeState, schema::parameters};
use crate::{
    question::{
        Questions, Unanswered,
        account::{AccountName, Group, User},
        path::Attributes,
    },
    script::Script,
};

parameters! {
    /// The owner, group and mode of a path. A value that is not given is left unchanged.
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

/// The result of [`Access::compare`].
#[derive(Debug, Default)]
pub struct AccessDifference {
    /// The accounts that the node does not have.
    pub missing: Vec<Missing>,
    /// The lines to show; none if everything is as declared.
    pub diff: Diff,
    /// The same difference in a few words: "mode 0644 → 0600".
    pub summary: Vec<String>,
    /// Whether another user owns it.
    pub has_other_owner: bool,
}

impl AccessDifference {
    fn note(&mut self, name: &str, before: &str, after: &str) {
        self.diff.attribute(name, before, after);
        self.summary.push(if before.is_empty() { format!("{name} {after}") } else { format!("{name} {before} → {after}") });
    }
}

impl Access {
    /// Returns the declared permission bits.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// Asks for the accounts. `root` always exists, so it is not asked for.
    pub fn questions(&self, ask: &mut Questions) {
        for owner in self.owner.iter().filter(|owner| owner.as_str() != "root") {
            ask.ask::<User>(owner.clone());
        }
        for group in self.group.iter().filter(|group| group.as_str() != "root") {
            ask.ask::<Group>(group.clone());
        }
    }

    /// Compares with the actual attributes (`None`: the path does not exist). Accounts are compared by number: several names may share one.
    ///
    /// # Errors
    /// When it is not known whether an account exists.
    pub fn compare(&self, node: &NodeState<'_>, actual: Option<&Attributes>) -> Result<AccessDifference, Unanswered> {
        let mut found = AccessDifference::default();
        if let Some(owner) = &self.owner {
            let uid = match owner.as_str() {
                "root" => Some(0),
                _ => node.answers.get::<User>(owner)?.as_ref().map(|user| user.uid),
            };
            if uid.is_none() {
                found.missing.push(Missing::User(owner.to_string()));
            }
            if actual.is_none_or(|actual| Some(actual.uid) != uid) {
                let before = actual.map(|actual| name_or_number(&actual.owner, actual.uid)).unwrap_or_default();
                found.note("owner", &before, owner.as_str());
                found.has_other_owner = actual.is_some();
            }
        }
        if let Some(group) = &self.group {
            let gid = match group.as_str() {
                "root" => Some(0),
                _ => node.answers.get::<Group>(group)?.as_ref().map(|group| group.gid),
            };
            if gid.is_none() {
                found.missing.push(Missing::Group(group.to_string()));
            }
            if actual.is_none_or(|actual| Some(actual.gid) != gid) {
                let before = actual.map(|actual| name_or_number(&actual.group, actual.gid)).unwrap_or_default();
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

    /// Appends owner, group and mode to a script's parameters; a value that is not given becomes an empty parameter.
    ///
    /// The mode has five digits: with four, chmod keeps the setgid bit of a directory.
    #[must_use]
    pub fn arguments(&self, script: Script) -> Script {
        let name = |name: &Option<AccountName>| name.as_ref().map(ToString::to_string).unwrap_or_default();
        let mode = self.mode.map(|mode| format!("{:05o}", mode.0)).unwrap_or_default();
        script.arg(name(&self.owner)).arg(name(&self.group)).arg(mode)
    }
}

/// Returns the name, or the number if the node has no name for it.
fn name_or_number(name: &str, number: u32) -> String {
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
        Attributes { mode: Mode(mode), owner: "UNKNOWN".into(), group: "daemon".into(), uid, gid, changed: 0 }
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
        assert_eq!(found.missing, [Missing::User("redis".into()), Missing::Group("redis".into())]);
        assert_eq!(found.summary, ["owner 101 → redis", "group daemon → redis"]);
    }

    #[test]
    fn an_account_without_an_answer_is_an_error() {
        let node = NodeState { answers: &Answers::default(), secrets: &SecretValues::default() };
        assert!(wanted().compare(&node, None).is_err());
        let root = Access { owner: Some(name("root")), group: Some(name("root")), mode: None };
        assert!(root.compare(&node, Some(&actual(0, 0, 0))).unwrap().summary.is_empty());
    }
}
