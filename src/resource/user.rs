//! `user`: an account of the system.

use super::{
    Change, Diff, Files, Flag, Kind, Missing, NodeState, OneOrMany, ParamError, Reach, RemotePath, Resource, State, Verdict,
    content::blocked_by, decode, group::quoted, lock_out::account, schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        account::{AccountName, Group, User, UserEntry},
        holder::{Held, Holder},
        home::{Home, HomeKey, HomeState},
        own_account::LoggedIn,
        way::WAY,
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
        /// Its number; never changed once the account exists.
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
        /// Whether the home is made if it does not exist, with what is in `/etc/skel`; `/nonexistent` only if `home` says so.
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
            if let Some(uid) = self.uid {
                ask.ask::<Holder>(Held::Uid(uid));
            }
            if self.create_home {
                ask.ask::<Home>(self.home_key());
            }
        }
    }

    fn refuse(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<String> {
        let uid = self.uid.filter(|_| self.state == State::Present)?;
        let holders = node.answers.get::<Holder>(&Held::Uid(uid)).ok()?;
        let is_taken = !holders.is_empty() && !holders.iter().any(|name| name == self.name.as_str());
        // An earlier task may remove its holder.
        if !is_taken || earlier.iter().any(|resource| resource.reach().may_change_account(holders)) {
            return None;
        }
        Some(format!(
            "the uid {uid} of the new user `{}` is taken by the user {}: choose another `uid`, or leave it out",
            self.name,
            quoted(holders)
        ))
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
    fn home_key(&self) -> HomeKey {
        HomeKey { user: self.name.clone(), declared: self.home.clone() }
    }

    /// Returns the home that is to be made.
    fn missing_home(&self, node: &NodeState<'_>, user: &UserEntry) -> Result<Option<String>, Unanswered> {
        let home = self.home.as_ref().map_or(user.home.as_str(), RemotePath::as_str);
        // By Debian's policy, this one says that there is none.
        let is_none = self.home.is_none() && home == "/nonexistent";
        if !self.create_home || is_none || *node.answers.get::<Home>(&self.home_key())? == HomeState::There {
            return Ok(None);
        }
        Ok(Some(home.to_owned()))
    }

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
        let home = self.missing_home(node, user)?;
        if differences.is_empty() && home.is_none() {
            return Ok(Verdict::CONVERGED);
        }
        if let Some(own) = account::named(node.answers, name)?
            && let Some(what) = self.locks_out(own)
        {
            return Ok(Verdict::Refused(account::refusal(own, &what)));
        }
        let mut diff = Diff::none().titled(format!("user {name}"));
        let mut summary: Vec<&str> = differences.iter().map(|(what, ..)| *what).collect();
        let mut script = match &home {
            Some(home) => Script::new(WITH_HOME).using(WAY).using(MAKE_HOME).arg(home.as_str()).arg(name.as_str()),
            None => Script::new("usermod \"$@\""),
        };
        for (what, option, before, after) in &differences {
            diff.attribute(what, before, after);
            script = script.arg(*option).arg(after);
        }
        if let Some(home) = &home {
            diff.added(format!("the directory {home}"));
            summary.push("home directory");
        }
        let replaces = !differences.is_empty();
        let script = if replaces { script.arg("--").arg(name.as_str()) } else { script };
        let change = Change::new(summary.join(", "), script).diff(diff).replacing(replaces);
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

/// `HOME USER OPTIONS...`
const WITH_HOME: &str = r#"set -eu
home=$1 user=$2
shift 2
[ $# = 0 ] || usermod "$@"
make_home "$home" "$user""#;

/// `make_home HOME USER`. It is filled under another name, so that an interrupted run leaves no half of it, and is the user's only when it is whole.
/// The mode is the one with which `useradd` makes a home: that of login.defs(5).
const MAKE_HOME: &str = r#"make_home() (
    go '' "$1" '' parents
    [ ! -e "./$name" ] || exit 0
    ids=$(id -u -- "$2"):$(id -g -- "$2") || exit
    mode='' mask=022
    if [ -r /etc/login.defs ]; then
        while read -r word value _; do
            case $value in '' | *[!0-7]*) continue ;; esac
            case $word in HOME_MODE) mode=0$value ;; UMASK) mask=$value ;; esac
        done </etc/login.defs
    fi
    mode=$(printf '%04o' "$((${mode:-0777 & ~0$mask}))")
    temporary=$(mktemp -d -- ./.autobot-provision-XXXXXXXXXX) || exit
    trap 'trap "" HUP INT TERM; rm -rf -- "$temporary"' EXIT
    trap 'trap "" HUP INT TERM; exit 143' HUP INT TERM
    [ ! -d /etc/skel ] || cp -R -P -- /etc/skel/. "$temporary" || exit
    chown -R -h -P -- "$ids" "$temporary" && chmod -- "$mode" "$temporary" && mv -T -n -- "$temporary" "./$name" || exit
    trap - EXIT
)"#;

/// The home directory stays: data is never removed with an account.
const REMOVE: &str = r#"set -eu
if getent passwd -- "$1" >/dev/null; then userdel -- "$1"; fi"#;

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;
