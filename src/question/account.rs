//! The users and groups of a node, by name.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Deserializer, de};

use super::{Kind, Output, Turn, Unanswered};
use crate::script::{NulByte, Script, quote};

/// The name of a user or group: at most 32 letters, digits, `_`, `.` and `-`, without a leading `-`, and not only digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountName(String);

impl AccountName {
    /// Validates a name.
    ///
    /// # Errors
    /// Returns what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, String> {
        // Samba's machine accounts end with a dollar sign.
        let stem = name.strip_suffix('$').unwrap_or(name);
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if stem.is_empty() || name.len() > 32 || name.starts_with('-') || !stem.bytes().all(legal) || stem == "." || stem == ".."
        {
            return Err(format!(
                "`{}` is not a valid name of a user or group; a name has up to 32 letters, digits, `_`, `.` and `-`",
                name.escape_debug()
            ));
        }
        if stem.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("`{name}` is a number; write the name of the user or group instead"));
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AccountName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Marker for the kind "user"; the answer is `None` when no user has the name.
#[derive(Debug)]
pub enum User {}

/// Marker for the kind "group"; the answer is `None` when no group has the name.
#[derive(Debug)]
pub enum Group {}

/// A user as described by passwd(5), and the user's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// The user id.
    pub uid: u32,
    /// The id of the primary group.
    pub gid: u32,
    /// The name of the primary group; `None` when no group has the id.
    pub group: Option<String>,
    /// The comment (GECOS).
    pub comment: String,
    /// The home directory.
    pub home: String,
    /// The login shell.
    pub shell: String,
    /// The supplementary groups, sorted.
    pub groups: Vec<String>,
}

/// A group as described by group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// The group id.
    pub gid: u32,
    /// The names of the users that have it as a supplementary group.
    pub members: Vec<String>,
}

/// `getent` exits with status 2 when a name is unknown, which is an answer.
pub(super) const LOOK_UP: &str = "look_up() { getent \"$@\" || [ $? -eq 2 ]; }";

impl Kind for User {
    type Key = AccountName;
    type Answer = Option<UserEntry>;
    const NAME: &'static str = "users";
    const TURN: Turn = Turn::Names;
    const IN_PLACE: bool = true;

    fn reads(keys: &[&AccountName]) -> Result<String, NulByte> {
        let names: Vec<&str> = keys.iter().map(|name| name.as_str()).collect();
        Ok(format!("users={}\n", quote(&names.join(" "))?))
    }

    fn script(keys: &[&AccountName]) -> Script {
        Script::new(
            "{ if [ -n \"${entries-}\" ]; then printf '%s\\n' \"$entries\"; else look_up passwd -- \"$@\"; fi && printf '\\0' && look_up group; } 2>&1",
        )
            .using(LOOK_UP)
            .args(keys.iter().map(ToString::to_string))
    }

    fn read(keys: &[&AccountName], output: &Output) -> Vec<Result<Self::Answer, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("users", keys.len());
        }
        let Some((users, groups)) = sections(&output.stdout) else { return malformed("users", keys.len()) };
        let (Some(users), Some(groups)) = (parse(&users, user), parse(&groups, group)) else {
            return malformed("users", keys.len());
        };
        keys.iter()
            .map(|name| {
                Ok(users.get(name.as_str()).cloned().map(|mut user| {
                    user.group = groups.iter().filter(|(_, group)| group.gid == user.gid).map(|(name, _)| name.clone()).min();
                    let member = |group: &GroupEntry| group.members.iter().any(|member| member == name.as_str());
                    user.groups = groups.iter().filter(|(_, group)| member(group)).map(|(name, _)| name.clone()).collect();
                    user.groups.sort();
                    user
                }))
            })
            .collect()
    }
}

impl Kind for Group {
    type Key = AccountName;
    type Answer = Option<GroupEntry>;
    const NAME: &'static str = "groups";
    const TURN: Turn = Turn::Names;
    const IN_PLACE: bool = true;

    fn script(keys: &[&AccountName]) -> Script {
        Script::new("look_up group -- \"$@\" 2>&1").using(LOOK_UP).args(keys.iter().map(ToString::to_string))
    }

    fn read(keys: &[&AccountName], output: &Output) -> Vec<Result<Self::Answer, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("groups", keys.len());
        }
        match parse(&String::from_utf8_lossy(&output.stdout), group) {
            Some(groups) => keys.iter().map(|name| Ok(groups.get(name.as_str()).cloned())).collect(),
            None => malformed("groups", keys.len()),
        }
    }
}

fn malformed<A>(kind: &str, count: usize) -> Vec<Result<A, Unanswered>> {
    (0..count).map(|_| Err(Unanswered(format!("the node's answer about {kind} is malformed")))).collect()
}

fn sections(stdout: &[u8]) -> Option<(String, String)> {
    let at = stdout.iter().position(|byte| *byte == 0)?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&stdout[..at]), text(&stdout[at + 1..])))
}

/// Parses entries by name. Of equal names the first one counts, as it does in the C library. Returns `None` when a line has another form.
fn parse<T>(text: &str, entry: fn(&[&str]) -> Option<T>) -> Option<HashMap<String, T>> {
    let mut entries = HashMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let value = entry(&fields)?;
        entries.entry(fields[0].to_owned()).or_insert(value);
    }
    Some(entries)
}

/// Parses a line of passwd(5), without the groups.
pub(super) fn user(fields: &[&str]) -> Option<UserEntry> {
    let [_, _, uid, gid, comment, home, shell] = fields else { return None };
    Some(UserEntry {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        group: None,
        comment: (*comment).to_owned(),
        home: (*home).to_owned(),
        shell: (*shell).to_owned(),
        groups: Vec::new(),
    })
}

/// Parses a line of group(5).
pub(super) fn group(fields: &[&str]) -> Option<GroupEntry> {
    let [_, _, gid, members] = fields else { return None };
    let members = members.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some(GroupEntry { gid: gid.parse().ok()?, members })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{Answers, Questions};
    use std::process::Command;

    fn name(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    fn run(questions: Questions) -> Answers {
        let composed = questions.compose("f00dfeed").unwrap();
        let output = Command::new("sh").env("LC_ALL", "C").arg("-c").arg(composed.script()).output().unwrap();
        composed.read(&output.stdout)
    }

    #[test]
    fn this_machine_has_root_but_no_unknown_account() {
        let mut questions = Questions::default();
        for account in ["root", "no-such-one"] {
            questions.ask::<User>(name(account));
            questions.ask::<Group>(name(account));
        }
        let answers = run(questions);
        let root = answers.get::<User>(&name("root")).unwrap().as_ref().unwrap();
        assert_eq!((root.uid, root.gid, root.group.as_deref(), root.home.as_str()), (0, 0, Some("root"), "/root"));
        assert_eq!(answers.get::<Group>(&name("root")).unwrap().as_ref().unwrap().gid, 0);
        assert_eq!(answers.get::<User>(&name("no-such-one")).unwrap(), &None);
        assert_eq!(answers.get::<Group>(&name("no-such-one")).unwrap(), &None);
    }

    #[test]
    fn supplementary_groups_come_from_all_groups_and_are_sorted() {
        let stdout = "redis:x:101:102:Redis, the server:/var/lib/redis:/bin/false\n\0redis:x:102:\nssl-cert:x:103:postgres,redis\n\
                      adm:x:4:syslog,redis\nnot:x:5:redis2\n";
        let output = Output { status: 0, stdout: stdout.into() };
        let answers = User::read(&[&name("redis"), &name("absent")], &output);
        let redis = answers[0].as_ref().unwrap().as_ref().unwrap();
        assert_eq!((redis.group.as_deref(), redis.groups.join(",")), (Some("redis"), "adm,ssl-cert".to_owned()));
        assert_eq!(answers[1], Ok(None));
    }

    #[test]
    fn failures_and_malformed_output_are_no_answers() {
        let outputs =
            [(1, "getent: cannot open database\n"), (0, "no section"), (0, "a:b\n\0"), (0, "a:x:one:2:::\n\0"), (0, "\0a:x:0\n")];
        for (status, stdout) in outputs {
            assert!(User::read(&[&name("redis")], &Output { status, stdout: stdout.into() })[0].is_err(), "{stdout:?}");
        }
        assert!(Group::read(&[&name("redis")], &Output { status: 0, stdout: "garbage".into() })[0].is_err());
    }

    #[test]
    fn names_are_validated() {
        for legal in ["redis", "_apt", "autobot_app", "a.b-c", "1password", "host$"] {
            assert!(AccountName::new(legal).is_ok(), "{legal}");
        }
        for invalid in ["", "-r", "0", "1000", "a b", "a:b", "a\nb", "$(reboot)", "$", "..", &"x".repeat(33), "ü"] {
            assert!(AccountName::new(invalid).is_err(), "{invalid:?}");
        }
    }
}
