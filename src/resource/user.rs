//! `user`: an account of the system.

use super::{
    Change, Diff, Files, Flag, Kind, Missing, NodeState, OneOrMany, ParamError, Reach, RemotePath, Resource, State, Verdict,
    content::blocked_by, decode, lock_out::account, schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        account::{AccountName, Group, User, UserEntry},
        own_account::LoggedIn,
    },
    script::Script,
};

/// The description of the kind for the loader.
pub(super) const KIND: Kind = Kind {
    name: "user",
    about: "Makes, changes or removes an account",
    example: "user: {name: redis-backup, system: true, shell: /usr/sbin/nologin, create_home: false}",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    struct Parameters {
        /// Its name.
        name | user: AccountName,
        /// Its number.
        uid: Option<u32>,
        /// Its primary group.
        group: Option<AccountName>,
        /// Its other groups.
        groups: Option<OneOrMany<String>>,
        /// Whether the account stays in groups that are not named.
        append: Flag = false,
        /// Its home directory.
        home: Option<RemotePath>,
        /// Its shell.
        shell: Option<RemotePath>,
        /// Its full name.
        comment: Option<String>,
        /// Whether a new account gets a number from the range of system accounts.
        system: Flag = false,
        /// Whether the home of a new account is made.
        create_home | createhome: Flag = true,
        /// Whether the account exists.
        state: State = "present",
    }
}

#[derive(Debug)]
struct UserState {
    name: AccountName,
    uid: Option<u32>,
    group: Option<AccountName>,
    /// Sorted; `None` if they are not declared.
    groups: Option<Vec<AccountName>>,
    /// Whether the account stays in other supplementary groups.
    append: bool,
    home: Option<RemotePath>,
    shell: Option<RemotePath>,
    comment: Option<String>,
    system: bool,
    create_home: bool,
    state: State,
}

fn from_parameters(parameters: serde_json::Value, _files: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let given: Parameters = decode(parameters)?;
    if given.comment.as_ref().is_some_and(|comment| comment.contains([':', '\n', '\r', '\0'])) {
        return Err(ParamError::parameter("comment", "cannot hold a colon or a line break"));
    }
    for (name, path) in [("home", &given.home), ("shell", &given.shell)] {
        if path.as_ref().is_some_and(|path| path.as_str().contains(':')) {
            return Err(ParamError::parameter(name, "cannot hold a colon"));
        }
    }
    if given.append.0 && given.groups.is_none() {
        return Err(ParamError::parameter("append", "goes with `groups`"));
    }
    let groups = given
        .groups
        .map(|groups| group_names(&groups.0))
        .transpose()
        .map_err(|reason| ParamError::parameter("groups", reason))?;
    Ok(Box::new(UserState {
        name: given.name,
        uid: given.uid,
        group: given.group,
        groups,
        append: given.append.0,
        home: given.home,
        shell: given.shell,
        comment: given.comment,
        system: given.system.0,
        create_home: given.create_home.0,
        state: given.state,
    }))
}

/// Returns the sorted names; each text may itself be a list with commas.
fn group_names(given: &[String]) -> Result<Vec<AccountName>, String> {
    let names = given.iter().flat_map(|names| names.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let mut names = names.map(AccountName::new).collect::<Result<Vec<_>, _>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}

impl Resource for UserState {
    fn reach(&self) -> Reach<'_> {
        Reach::User(&self.name)
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<User>(self.name.clone());
        account::ask(ask);
        if self.state == State::Present {
            // Whether a group with the user's name exists decides how the user is created.
            for group in self.group.iter().chain(self.groups.iter().flatten()).chain([&self.name]) {
                ask.ask::<Group>(group.clone());
            }
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let name = &self.name;
        match (node.answers.get::<User>(name)?, self.state) {
            (None, State::Absent) => Ok(Verdict::CONVERGED),
            (None, State::Present) => self.create(node),
            (Some(user), State::Present) => self.modify(node, user),
            (Some(_), State::Absent) => {
                if let Some(own) = account::named(node.answers, name)? {
                    return Ok(Verdict::Refused(account::refusal(own, "remove an account")));
                }
                let mut diff = Diff::none();
                diff.removed(format!("user {name}"));
                Ok(Verdict::Change(Change::new("remove", Script::new(REMOVE).arg(name.as_str())).diff(diff).replacing(true)))
            }
        }
    }
}

impl UserState {
    fn missing_groups(&self, node: &NodeState<'_>) -> Result<Vec<Missing>, Unanswered> {
        let mut missing = Vec::new();
        for group in self.group.iter().chain(self.groups.iter().flatten()) {
            if node.answers.get::<Group>(group)?.is_none() {
                missing.push(Missing::Group(group.to_string()));
            }
        }
        Ok(missing)
    }

    /// Returns what would become of the account of this run that the next one could not come in with.
    fn locks_out(&self, own: &LoggedIn) -> Option<String> {
        let entry = &own.entry;
        let other = |wanted: &Option<RemotePath>, is: &str| wanted.clone().filter(|path| path.as_str() != is);
        if let Some(shell) = other(&self.shell, &entry.shell) {
            return Some(format!("make `{shell}` the shell of an account"));
        }
        if let Some(home) = other(&self.home, &entry.home) {
            return Some(format!("make `{home}`, where its keys are not, the home of an account"));
        }
        let primary = self.group.as_ref().map(AccountName::as_str).or(entry.group.as_deref());
        let stays = |group: &String| {
            let declared = self.groups.as_ref().filter(|_| !self.append);
            let among = match declared {
                Some(groups) => groups.iter().any(|wanted| wanted.as_str() == group),
                None => entry.groups.contains(group),
            };
            among || primary == Some(group)
        };
        let lost = own.named_groups.iter().find(|group| !stays(group))?;
        Some(format!(
            "take an account out of the group `{lost}`, which sudo's or sshd's files name (`append: true` keeps it there)"
        ))
    }

    fn create(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let mut diff = Diff::none();
        diff.added(format!("user {}", self.name));
        let mut script = Script::new(ADD).arg(self.name.as_str());
        // useradd refuses to create a group that already exists.
        let own_group = node.answers.get::<Group>(&self.name)?.is_some().then_some(&self.name);
        let groups = self.groups.as_ref().map(|groups| join(groups)).filter(|groups| !groups.is_empty());
        let options = [
            ("uid", "--uid", self.uid.map(|uid| uid.to_string())),
            ("group", "--gid", self.group.as_ref().or(own_group).map(ToString::to_string)),
            ("groups", "--groups", groups),
            ("home", "--home-dir", self.home.as_ref().map(ToString::to_string)),
            ("shell", "--shell", self.shell.as_ref().map(ToString::to_string)),
            ("comment", "--comment", self.comment.clone()),
        ];
        for (name, option, value) in options {
            if let Some(value) = value {
                diff.attribute(name, "", &value);
                script = script.arg(option).arg(value);
            }
        }
        if self.system {
            script = script.arg("--system");
        }
        script = script.arg(if self.create_home { "--create-home" } else { "--no-create-home" });
        Ok(blocked_by(self.missing_groups(node)?, Change::new("create", script).diff(diff)))
    }

    fn modify(&self, node: &NodeState<'_>, user: &UserEntry) -> Result<Verdict, Unanswered> {
        let name = &self.name;
        if let Some(uid) = self.uid.filter(|uid| *uid != user.uid) {
            return Ok(Verdict::Refused(format!(
                "user `{name}` has uid {}, not {uid}; changing it would strand its files, so do it by hand or drop `uid`",
                user.uid
            )));
        }
        let mut differences: Vec<(&str, &str, String, String)> = Vec::new();
        if let Some(group) = &self.group
            && node.answers.get::<Group>(group)?.as_ref().is_none_or(|group| group.gid != user.gid)
        {
            let before = user.group.clone().unwrap_or_else(|| user.gid.to_string());
            differences.push(("group", "--gid", before, group.to_string()));
        }
        if let Some(groups) = &self.groups {
            let wanted: Vec<&str> = groups.iter().map(AccountName::as_str).collect();
            let lacking = wanted.iter().any(|group| !user.groups.iter().any(|has| has == group));
            let surplus = !self.append && user.groups.iter().any(|has| !wanted.contains(&has.as_str()));
            if lacking || surplus {
                let mut after: Vec<&str> = wanted;
                after.extend(user.groups.iter().map(String::as_str).filter(|_| self.append));
                after.sort_unstable();
                after.dedup();
                differences.push(("groups", "--groups", user.groups.join(","), after.join(",")));
            }
        }
        let texts = [
            ("home", "--home", &user.home, self.home.as_ref().map(ToString::to_string)),
            ("shell", "--shell", &user.shell, self.shell.as_ref().map(ToString::to_string)),
            ("comment", "--comment", &user.comment, self.comment.clone()),
        ];
        for (what, option, before, after) in texts {
            if let Some(after) = after.filter(|after| after != before) {
                differences.push((what, option, before.clone(), after));
            }
        }
        if differences.is_empty() {
            return Ok(Verdict::CONVERGED);
        }
        if let Some(own) = account::named(node.answers, name)?
            && let Some(what) = self.locks_out(own)
        {
            return Ok(Verdict::Refused(account::refusal(own, &what)));
        }
        let mut diff = Diff::none().titled(format!("user {name}"));
        let mut script = Script::new("usermod \"$@\"");
        for (what, option, before, after) in &differences {
            diff.attribute(what, before, after);
            script = script.arg(*option).arg(after);
        }
        let summary: Vec<&str> = differences.iter().map(|(what, ..)| *what).collect();
        let change = Change::new(summary.join(", "), script.arg("--").arg(name.as_str())).diff(diff).replacing(true);
        Ok(blocked_by(self.missing_groups(node)?, change))
    }
}

fn join(names: &[AccountName]) -> String {
    names.iter().map(AccountName::as_str).collect::<Vec<_>>().join(",")
}

const ADD: &str = r#"set -eu
name=$1
shift
if ! getent passwd -- "$name" >/dev/null; then useradd "$@" -- "$name"; fi"#;

/// The home directory stays: data is never removed with an account.
const REMOVE: &str = r#"set -eu
if getent passwd -- "$1" >/dev/null; then userdel -- "$1"; fi"#;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        question::{Answers, account::GroupEntry},
        resource::{
            content::tests::{NoFiles, rendered, shown},
            trial,
        },
        secret::SecretValues,
    };

    fn name(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    fn redis() -> UserEntry {
        UserEntry {
            uid: 101,
            gid: 102,
            group: Some("redis".into()),
            comment: "Redis".into(),
            home: "/var/lib/redis".into(),
            shell: "/usr/sbin/nologin".into(),
            groups: vec!["adm".into(), "ssl-cert".into()],
        }
    }

    fn compare(parameters: serde_json::Value, user: Option<UserEntry>, groups: &[(&str, u32)]) -> Verdict {
        let resource = from_parameters(parameters, &mut NoFiles).unwrap();
        let mut answers = Answers::default();
        trial::on_the_node_itself(&mut answers);
        answers.set::<User>(name("redis"), Ok(user));
        for group in ["redis", "adm", "ssl-cert", "mail"] {
            let known = groups.iter().find(|(known, _)| *known == group);
            answers.set::<Group>(name(group), Ok(known.map(|(_, gid)| GroupEntry { gid: *gid, members: Vec::new() })));
        }
        resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    const ALL: &[(&str, u32)] = &[("redis", 102), ("adm", 4), ("ssl-cert", 103), ("mail", 8)];

    #[test]
    fn an_account_as_declared_is_converged() {
        for parameters in [
            json!({"name": "redis"}),
            json!({"user": "redis", "uid": 101, "group": "redis", "home": "/var/lib/redis", "shell": "/usr/sbin/nologin"}),
            json!({"name": "redis", "groups": "ssl-cert, adm", "comment": "Redis", "system": true}),
            json!({"name": "redis", "groups": ["adm"], "append": true}),
        ] {
            assert_eq!(shown(&compare(parameters, Some(redis()), ALL)), "converged");
        }
        assert_eq!(shown(&compare(json!({"name": "redis", "state": "absent"}), None, ALL)), "converged");
    }

    #[test]
    fn a_new_account_is_made_as_declared() {
        let parameters = json!({
            "name": "redis", "group": "mail", "groups": ["adm", "ssl-cert"], "home": "/opt/a b", "shell": "/bin/false",
            "comment": "it's $(reboot)", "system": true, "create_home": false, "uid": 999,
        });
        let verdict = compare(parameters, None, ALL);
        insta::assert_snapshot!(shown(&verdict), @r"
        change: create
        + user redis
        + uid 999
        + group mail
        + groups adm,ssl-cert
        + home /opt/a b
        + shell /bin/false
        + comment it's $(reboot)
        ");
        insta::assert_snapshot!(rendered(&verdict).lines().next().unwrap(), @r"set -- redis --uid 999 --gid mail --groups adm,ssl-cert --home-dir '/opt/a b' --shell /bin/false --comment 'it'\''s $(reboot)' --system --no-create-home");
    }

    #[test]
    fn a_group_of_the_same_name_becomes_the_group_of_a_new_account() {
        assert!(rendered(&compare(json!({"name": "redis"}), None, ALL)).starts_with("set -- redis --gid redis --create-home\n"));
        assert!(rendered(&compare(json!({"name": "redis"}), None, &[])).starts_with("set -- redis --create-home\n"));
    }

    #[test]
    fn each_drift_is_named_and_corrected() {
        let cases = [
            (json!({"name": "redis", "group": "mail"}), "--gid mail"),
            (json!({"name": "redis", "groups": "adm"}), "--groups adm"),
            (json!({"name": "redis", "groups": []}), "--groups ''"),
            (json!({"name": "redis", "groups": ["mail"], "append": "yes"}), "--groups adm,mail,ssl-cert"),
            (json!({"name": "redis", "home": "/srv"}), "--home /srv"),
            (json!({"name": "redis", "shell": "/bin/sh"}), "--shell /bin/sh"),
            (json!({"name": "redis", "comment": ""}), "--comment ''"),
        ];
        for (parameters, options) in cases {
            let verdict = compare(parameters, Some(redis()), ALL);
            assert!(shown(&verdict).starts_with("change (replaces): "), "{verdict:?}");
            assert!(rendered(&verdict).starts_with(&format!("set -- {options} -- redis\n")), "{}", rendered(&verdict));
        }
    }

    #[test]
    fn missing_groups_block() {
        let text = shown(&compare(json!({"name": "redis", "group": "mail", "groups": "adm"}), Some(redis()), &[]));
        assert!(text.starts_with("blocked by group `mail`, group `adm` (replaces): group, groups\n"), "{text}");
        assert!(
            shown(&compare(json!({"name": "redis", "groups": "mail"}), None, &[]))
                .starts_with("blocked by group `mail`: create\n")
        );
    }

    #[test]
    fn another_number_is_refused() {
        assert!(
            shown(&compare(json!({"name": "redis", "uid": 1}), Some(redis()), ALL))
                .starts_with("refused: user `redis` has uid 101")
        );
    }

    #[test]
    fn removal_keeps_the_home_directory() {
        let verdict = compare(json!({"name": "redis", "state": "absent"}), Some(redis()), ALL);
        assert_eq!(shown(&verdict), "change (replaces): remove\n- user redis\n");
        assert!(rendered(&verdict).contains("userdel -- \"$1\""));
    }

    #[test]
    fn values_that_passwd_cannot_hold_are_refused() {
        for wrong in [
            json!({"name": "redis", "comment": "a:b"}),
            json!({"name": "redis", "comment": "a\nb"}),
            json!({"name": "redis", "home": "/a:b"}),
            json!({"name": "redis", "groups": "a b"}),
            json!({"name": "redis", "append": true}),
            json!({"name": "redis", "password": "x"}),
        ] {
            assert!(from_parameters(wrong, &mut NoFiles).is_err());
        }
    }
}
