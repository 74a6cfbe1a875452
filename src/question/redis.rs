//! The replies of a Redis instance: one redis-cli asks first anonymously and then with the password.
//!
//! The shell on the node reads, uses and compares the password itself, so that it is in no argument, no environment and no answer. redis-cli's
//! exit status is useless (it is 0 even when no server answers), so replies are parsed in its typed form (`--no-raw`).

use std::collections::HashMap;

use super::{Kind, Lane, Output, Unanswered, redis_conf::DEFAULTS};
use crate::{script::Script, secret::EnvFileError, values::RemotePath};

/// Shell functions that read the password: `read_password FILE KEY` sets `$password`.
pub const PASSWORD: &str = include_str!("redis_password.sh");

/// A Redis instance, and how to connect to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance {
    /// The path of redis-cli on the node.
    pub cli: RemotePath,
    /// The address at which the instance listens.
    pub address: Address,
    /// A file of `KEY=value` lines on the node.
    pub password_file: RemotePath,
    /// The key of the password in it.
    pub password_key: String,
    /// The configuration file whose directives are compared with the running values.
    pub config_file: Option<RemotePath>,
}

/// The address of a Redis instance, as seen from its node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Socket(RemotePath),
    /// An address of the node itself and a port. It gets the password, so another machine's is not asked.
    Tcp(String, u16),
    /// A host, which may be another one, such as a container, and a port.
    Elsewhere(String, u16),
}

impl Address {
    /// Returns where a Redis that is bound to these addresses answers its own node.
    #[must_use]
    pub fn bound(bind: &str, port: u16) -> Self {
        Self::Tcp(bound_host(bind), port)
    }

    /// Returns the path or the host, and the port, which is empty for a socket: the words of a script.
    #[must_use]
    pub fn words(&self) -> [String; 2] {
        match self {
            Self::Socket(path) => [path.to_string(), String::new()],
            Self::Tcp(host, port) => [host.clone(), port.to_string()],
            Self::Elsewhere(host, port) => [format!("elsewhere {host}"), port.to_string()],
        }
    }
}

/// Chooses the address to connect to from those of `bind`: loopback if Redis listens there, and one with which it does not start without rather
/// than one that it may lack (`-`).
#[must_use]
pub fn bound_host(bind: &str) -> String {
    let loopback = "127.0.0.1";
    let all: Vec<&str> = bind.split_whitespace().collect();
    let has = |wanted: &[&str]| all.iter().any(|word| wanted.contains(&word.strip_prefix('-').unwrap_or(word)));
    if all.is_empty() || has(&["*", "0.0.0.0", loopback, "localhost"]) {
        return loopback.to_owned();
    }
    let sure = all.iter().find(|word| !word.starts_with('-')).unwrap_or(&all[0]);
    match sure.strip_prefix('-').unwrap_or(sure) {
        "::" | "::*" => "::1".to_owned(),
        host => host.to_owned(),
    }
}

/// Marker for the kind "replies of a Redis instance".
#[derive(Debug)]
pub struct Redis;

/// The answer of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It could not be asked, for this reason.
    Unavailable(String),
    /// Nothing listens at its address; the client's words.
    Refused(String),
    /// Its replies.
    Replies(Box<Replies>),
}

/// The replies of an instance. Errors begin with `(error) `.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replies {
    /// The reply to PING without a password.
    pub anonymous: String,
    /// The reply to AUTH.
    pub auth: String,
    /// The reply to PING after AUTH.
    pub ping: String,
    /// The fields of the INFO sections `server`, `memory`, `persistence` and `replication`.
    pub info: HashMap<String, String>,
    /// The names of the loaded modules.
    pub modules: Vec<String>,
    /// The running values of the directives in the configuration file.
    pub running: HashMap<String, String>,
    /// The configuration file's lines without comments and secrets; a user's line has a mark for each password. `None` when it cannot be read or was not asked for.
    pub file: Option<Vec<String>>,
    /// Whether the configuration file sets the password of the secrets file.
    pub requirepass: Requirepass,
    /// The target of `/proc/PID/exe`.
    pub exe: String,
    /// The users that it knows. `None` when it does not say.
    pub users: Option<Vec<User>>,
}

/// A user, as the server has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its rules, with `#` in place of each password.
    pub rules: Vec<String>,
}

/// The user of clients that log in without a name.
pub const DEFAULT_USER: &str = "default";

impl User {
    /// Returns whether clients can log in as this user.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.has("on")
    }

    /// Returns whether clients can log in as this user with any password.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_on() && self.has("nopass")
    }

    /// Returns how many passwords are accepted.
    #[must_use]
    pub fn passwords(&self) -> usize {
        self.rules.iter().filter(|rule| *rule == "#").count()
    }

    /// Returns whether it may do everything.
    #[must_use]
    pub fn may_do_everything(&self) -> bool {
        self.may_use_every_key() && self.has("&*")
    }

    /// Returns whether it may use every command on every key.
    #[must_use]
    pub fn may_use_every_key(&self) -> bool {
        let commands = |rule: &&String| rule.starts_with(['+', '-', '(']);
        self.has("~*") && self.rules.iter().filter(commands).eq(["+@all"])
    }

    fn has(&self, rule: &str) -> bool {
        self.rules.iter().any(|own| own == rule)
    }
}

impl Replies {
    /// Returns whether it answers clients that have no password.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.anonymous.starts_with("(error)")
    }

    /// Returns whether it took the password, or lets everyone in, so that it has answered what was asked after that.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        !self.auth.starts_with("(error)") || self.auth.contains(" AUTH <password> called without any password ")
    }
}

/// How the configuration file's `requirepass` compares with the secrets file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Requirepass {
    /// It sets no password, or the file was not read.
    #[default]
    None,
    /// It sets the same password.
    Same,
    /// It sets a different password.
    Different,
}

impl Kind for Redis {
    type Key = Instance;
    type Answer = Answer;
    const NAME: &'static str = "redis";
    const LANE: Lane = Lane::Servers;
    const IN_PLACE: bool = true;

    /// The role names the program, the file of the password, and the server that gets the password.
    fn runs_what_a_role_says(_: &Instance) -> bool {
        true
    }

    fn script(keys: &[&Instance]) -> Script {
        let defaults = DEFAULTS.map(|(name, _)| name).join(" ");
        let script = Script::new(include_str!("redis.sh")).using(PASSWORD).arg(defaults);
        keys.iter().enumerate().fold(script, |script, (index, key)| {
            let [host, port] = key.address.words();
            let config = key.config_file.as_ref().map(ToString::to_string).unwrap_or_default();
            let (cli, secrets) = (key.cli.to_string(), key.password_file.to_string());
            script.args([index.to_string(), cli, host, port, secrets, key.password_key.clone(), config])
        })
    }

    fn read(keys: &[&Instance], output: &Output) -> Vec<Result<Answer, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("Redis", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut sections: HashMap<usize, &str> = HashMap::new();
        for section in text.split("@@ instance ").skip(1) {
            if let Some((index, section)) = section.split_once('\n')
                && let Ok(index) = index.parse()
            {
                sections.insert(index, section);
            }
        }
        let read = |(index, key): (usize, &&Instance)| match sections.get(&index) {
            Some(section) => answer(key, section),
            None => Err(Unanswered("the node gave no answer about Redis".into())),
        };
        keys.iter().enumerate().map(read).collect()
    }
}

/// Parses one instance's section, in which a line `@@ word` or an echoed `"@word"` introduces what follows.
fn answer(instance: &Instance, section: &str) -> Result<Answer, Unanswered> {
    let mut replies = Replies::default();
    let mut topic = "";
    let mut name: Option<String> = None;
    for line in section.lines().map(str::trim_end) {
        if let Some(mark) = line.strip_prefix("@@ ").or_else(|| line.strip_prefix("\"@")?.strip_suffix('"')) {
            if let Some(reason) = unavailable(instance, mark) {
                return Ok(Answer::Unavailable(reason));
            }
            match mark.split_once(' ').unwrap_or((mark, "")) {
                ("requirepass", "same") => replies.requirepass = Requirepass::Same,
                ("requirepass", "different") => replies.requirepass = Requirepass::Different,
                ("exe", path) => path.clone_into(&mut replies.exe),
                ("file", _) => replies.file = Some(Vec::new()),
                _ => {}
            }
            topic = mark;
            continue;
        }
        if line.starts_with("Could not connect to Redis") {
            // Nothing listens there: the words of the system, and those of the script.
            let refusals = ["Connection refused", "No such file or directory", "it is no address of this node"];
            let refused = refusals.iter().any(|words| line.ends_with(words));
            return Ok(if refused { Answer::Refused(line.to_owned()) } else { Answer::Unavailable(line.to_owned()) });
        }
        match topic {
            "anonymous" if replies.anonymous.is_empty() => line.clone_into(&mut replies.anonymous),
            "auth" if replies.auth.is_empty() => line.clone_into(&mut replies.auth),
            "ping" if replies.ping.is_empty() => line.clone_into(&mut replies.ping),
            "users" => replies.users = users(replies.users, line),
            "file" => replies.file.get_or_insert_default().push(line.to_owned()),
            "config" => {
                let Some(value) = line.split_once(") ").and_then(|(_, value)| unquoted(value)) else { continue };
                match name.take() {
                    None => name = Some(value),
                    Some(name) => {
                        replies.running.insert(name, value);
                    }
                }
            }
            "info" => {
                if let Some((field, value)) = line.split_once(':') {
                    if field == "module" {
                        let name = value.split(',').find_map(|part| part.strip_prefix("name="));
                        replies.modules.extend(name.map(str::to_owned));
                    } else {
                        replies.info.insert(field.to_owned(), value.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    if !section.contains("\"@end\"") && replies.was_answered() {
        // One line in place of all replies is the client's own, such as that of a container which does not run.
        if replies.auth.is_empty() && !replies.anonymous.is_empty() && replies.anonymous != "PONG" {
            return Ok(Answer::Unavailable(replies.anonymous));
        }
        return Err(Unanswered("redis-cli ended early".into()));
    }
    Ok(Answer::Replies(Box::new(replies)))
}

/// Adds the user of a line, such as `"user default on # ~* &* +@all"`, which redis-cli prints as it prints other texts.
fn users(before: Option<Vec<User>>, line: &str) -> Option<Vec<User>> {
    let Some(line) = line.starts_with("\"user ").then(|| unquoted(line)).flatten() else { return before };
    let mut words = line.split(' ').skip(1).map(str::to_owned);
    let name = words.next()?;
    let mut users = before.unwrap_or_default();
    users.push(User { name, rules: words.collect() });
    Some(users)
}

fn unavailable(instance: &Instance, mark: &str) -> Option<String> {
    let Instance { cli, password_file, password_key, .. } = instance;
    let mut words = mark.split(' ');
    let trouble = words.next().unwrap_or_default();
    let mut line = || words.next().and_then(|number| number.parse().ok()).unwrap_or_default();
    let malformed = match trouble {
        "no-assignment" => Some(EnvFileError::NotAnAssignment { line: line() }),
        "quotes" => Some(EnvFileError::Quotes { line: line() }),
        "twice" => Some(EnvFileError::Duplicate { key: password_key.clone(), first: line(), second: line() }),
        "truncated" => Some(EnvFileError::Truncated),
        _ => None,
    };
    if let Some(error) = malformed {
        return Some(error.of_file(password_file));
    }
    match mark {
        "no-cli" => Some(format!("there is no {cli}")),
        "no-password" => Some(format!("there is no `{password_key}` in {password_file}")),
        "odd-password" => Some(format!(
            "`{password_key}` in {password_file} contains a double quote or a backslash, which cannot be passed to redis-cli"
        )),
        _ => None,
    }
}

/// Parses a string as redis-cli prints it (`sdscatrepr`).
fn unquoted(text: &str) -> Option<String> {
    let mut characters = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut value = String::new();
    while let Some(character) = characters.next() {
        if character != '\\' {
            value.push(character);
            continue;
        }
        match characters.next()? {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            'a' => value.push('\u{7}'),
            'b' => value.push('\u{8}'),
            'x' => {
                let digits: String = characters.by_ref().take(2).collect();
                value.push(char::from(u8::from_str_radix(&digits, 16).ok()?));
            }
            other => value.push(other),
        }
    }
    Some(value)
}

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;
