//! `group`: a group of users.

use super::{
    Change, Diff, Files, Flag, Kind, NodeState, ParamError, Reach, Resource, State, Verdict, decode, lock_out, schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        account::{AccountName, Group},
        holder::{Held, Holder},
        own_account::{LoggedIn, logged_in},
    },
    script::Script,
};

/// The description of the kind for the loader.
pub(super) const KIND: Kind = Kind {
    name: "group",
    about: "Makes or removes a group",
    example: "group: {name: backup-readers, system: true}",
    decode: from_parameters,
    declared: GroupState::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct GroupState {
        /// Its name.
        name: AccountName,
        /// Its number; never changed once the group exists.
        gid: Option<u32>,
        /// Whether a new group gets a number from the range of system groups.
        system: Flag = false,
        /// Whether the group exists.
        state: State = "present",
    }
}

fn from_parameters(parameters: serde_json::Value, _files: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    Ok(Box::new(decode::<GroupState>(parameters)?))
}

impl GroupState {
    /// Returns what no other account may have for the change to succeed.
    fn held(&self) -> Option<Held> {
        match self.state {
            State::Present => self.gid.map(Held::Gid),
            State::Absent => Some(Held::Primary(self.name.clone())),
        }
    }
}

/// Names for a message.
pub(super) fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Resource for GroupState {
    fn reach(&self) -> Reach<'_> {
        match self.state {
            State::Absent => Reach::Group(&self.name),
            State::Present => Reach::Nothing,
        }
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Group>(self.name.clone());
        if self.state == State::Absent {
            lock_out::account::ask(ask);
        }
        self.held().into_iter().for_each(|held| ask.ask::<Holder>(held));
    }

    fn refuse(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<String> {
        let name = &self.name;
        let holders = node.answers.get::<Holder>(&self.held()?).ok()?;
        // An earlier task may remove them, or give them something else.
        if holders.is_empty() || earlier.iter().any(|resource| resource.reach().may_change_account(holders)) {
            return None;
        }
        let holders = quoted(holders);
        Some(match (self.state, self.gid) {
            (State::Present, Some(gid)) => {
                format!(
                    "the gid {gid} of the new group `{name}` is taken by the group {holders}: choose another `gid`, or leave it out"
                )
            }
            (State::Present, None) | (State::Absent, _) => format!(
                "`{name}` is the primary group of {holders}, so it cannot be removed: remove them by a task before this one, or give them another `group`"
            ),
        })
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let name = &self.name;
        let mut diff = Diff::none();
        match (node.answers.get::<Group>(name)?, self.state) {
            (None, State::Absent) => Ok(Verdict::CONVERGED),
            (None, State::Present) => {
                diff.added(format!("group {name}"));
                let mut script = Script::new(ADD).arg(name.as_str());
                if let Some(gid) = self.gid {
                    diff.attribute("gid", "", &gid.to_string());
                    script = script.arg("--gid").arg(gid.to_string());
                }
                if self.system.0 {
                    script = script.arg("--system");
                }
                Ok(Verdict::Change(Change::new("create", script).diff(diff)))
            }
            (Some(group), State::Present) => match self.gid {
                Some(gid) if gid != group.gid => Ok(Verdict::Refused(format!(
                    "group `{name}` has gid {}, not {gid}; changing it would strand its files, so do it by hand or drop `gid`",
                    group.gid
                ))),
                Some(_) | None => Ok(Verdict::CONVERGED),
            },
            (Some(_), State::Absent) => {
                let is_needed = |own: &&LoggedIn| {
                    own.named_groups.iter().any(|group| group == name.as_str())
                        || own.entry.group.as_deref() == Some(name.as_str())
                };
                if let Some(own) = logged_in(node.answers)?.filter(is_needed) {
                    let what = format!("remove the group `{name}`, by which an account comes in or becomes root");
                    return Ok(Verdict::Refused(lock_out::account::refusal(own, &what)));
                }
                diff.removed(format!("group {name}"));
                Ok(Verdict::Change(Change::new("remove", Script::new(REMOVE).arg(name.as_str())).diff(diff).replacing(true)))
            }
        }
    }
}

const ADD: &str = r#"set -eu
name=$1
shift
if ! getent group -- "$name" >/dev/null; then groupadd "$@" -- "$name"; fi"#;

const REMOVE: &str = r#"set -eu
if getent group -- "$1" >/dev/null; then groupdel -- "$1"; fi"#;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        question::{Answers, account::GroupEntry},
        resource::{
            content::tests::{NoFiles, shown},
            trial,
        },
        secret::SecretValues,
    };

    fn verdict(parameters: serde_json::Value, gid: Option<u32>) -> String {
        let group = from_parameters(parameters, &mut NoFiles).unwrap();
        let mut answers = Answers::default();
        trial::on_the_node_itself(&mut answers);
        answers.set::<Group>(AccountName::new("redis").unwrap(), Ok(gid.map(|gid| GroupEntry { gid, members: Vec::new() })));
        shown(&group.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap())
    }

    #[test]
    fn a_group_is_made_kept_and_removed() {
        assert_eq!(verdict(json!({"name": "redis"}), Some(5)), "converged");
        assert_eq!(verdict(json!({"name": "redis", "gid": 5}), Some(5)), "converged");
        assert_eq!(verdict(json!({"name": "redis", "state": "absent"}), None), "converged");
        assert_eq!(verdict(json!({"name": "redis", "gid": 5, "system": true}), None), "change: create\n+ group redis\n+ gid 5\n");
        assert_eq!(verdict(json!({"name": "redis", "state": "absent"}), Some(5)), "change (replaces): remove\n- group redis\n");
    }

    #[test]
    fn another_number_is_refused() {
        assert!(verdict(json!({"name": "redis", "gid": 6}), Some(5)).starts_with("refused: group `redis` has gid 5, not 6;"));
    }

    #[test]
    fn a_taken_number_and_a_primary_group_are_foreseen() {
        let refusal = |parameters: serde_json::Value, holders: &[&str], earlier: &[&dyn Resource]| {
            let group: GroupState = decode(parameters).unwrap();
            let mut answers = Answers::default();
            let holders = holders.iter().map(ToString::to_string).collect();
            answers.set::<Holder>(group.held().unwrap(), Ok(holders));
            group.refuse(&NodeState { answers: &answers, secrets: &SecretValues::default() }, earlier)
        };
        let (new, gone) = (json!({"name": "redis", "gid": 5}), json!({"name": "redis", "state": "absent"}));
        assert_eq!(refusal(new.clone(), &[], &[]), None);
        assert_eq!(refusal(gone.clone(), &[], &[]), None);
        insta::assert_snapshot!([refusal(new.clone(), &["tty"], &[]), refusal(gone.clone(), &["a", "b"], &[])].map(Option::unwrap).join("\n"), @r"
        the gid 5 of the new group `redis` is taken by the group `tty`: choose another `gid`, or leave it out
        `redis` is the primary group of `a`, `b`, so it cannot be removed: remove them by a task before this one, or give them another `group`
        ");
        let user = crate::resource::content::tests::resource("user", json!({"name": "a", "state": "absent"})).unwrap();
        assert_eq!(refusal(gone, &["a"], &[user.as_ref()]), None);
        let group = crate::resource::content::tests::resource("group", json!({"name": "tty", "state": "absent"})).unwrap();
        assert_eq!(refusal(new.clone(), &["tty"], &[group.as_ref()]), None);
        assert!(refusal(new, &["tty"], &[user.as_ref()]).is_some());
    }

    #[test]
    fn names_that_are_options_do_not_decode() {
        for invalid in [json!({"name": "-r"}), json!({"name": "a:b"}), json!({}), json!({"name": "a", "gidd": 1})] {
            assert!(from_parameters(invalid, &mut NoFiles).is_err());
        }
    }
}
