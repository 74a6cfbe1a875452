//! The replies of a Redis instance: one redis-cli asks first anonymously and then with the password.
//!
//! The shell on the node reads, uses and compares the password itself, so that it is in no argument, no environment and no answer. redis-cli's
//! exit status is useless (it is 0 even when no server answers), so replies are parsed in its typed form (`--no-raw`).

use std::collections::HashMap;

use super::{Kind, Lane, Output, Unanswered};
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
    /// A host and a port.
    Tcp(String, u16),
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
    /// The fields of the INFO sections `server`, `memory` and `persistence`.
    pub info: HashMap<String, String>,
    /// The names of the loaded modules.
    pub modules: Vec<String>,
    /// The running values of the directives in the configuration file.
    pub running: HashMap<String, String>,
    /// The configuration file's lines without comments and secrets. `None` when it cannot be read or was not asked for.
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
        let commands = |rule: &&String| rule.starts_with(['+', '-', '(']);
        self.has("~*") && self.has("&*") && self.rules.iter().filter(commands).eq(["+@all"])
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
        keys.iter().enumerate().fold(Script::new(include_str!("redis.sh")).using(PASSWORD), |script, (index, key)| {
            let (host, port) = match &key.address {
                Address::Socket(path) => (path.to_string(), String::new()),
                Address::Tcp(host, port) => (host.clone(), port.to_string()),
            };
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
            let refused = line.ends_with("Connection refused") || line.ends_with("No such file or directory");
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
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

    fn instance(directory: &Path) -> Instance {
        let path = |name: &str| RemotePath::new(directory.join(name).to_str().unwrap()).unwrap();
        Instance {
            cli: path("redis-cli"),
            address: Address::Tcp("127.0.0.1".into(), 6379),
            password_file: path("secrets.env"),
            password_key: "REDIS_PASSWORD".into(),
            config_file: Some(path("redis.conf")),
        }
    }

    /// A fake redis-cli that records its arguments, environment and input, and answers like the real one.
    const FAKE: &str = r#"#!/bin/sh
cd "${0%/*}"
printf '%s\n' "$@" >>seen
env >>seen
input=$(cat)
printf '%s\n' "$input" >>input
cat reply
"#;

    fn node(password: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("redis-cli", FAKE);
        fs::set_permissions(directory.path().join("redis-cli"), fs::Permissions::from_mode(0o755)).unwrap();
        write("secrets.env", &format!("# keep\nOTHER=x\nREDIS_PASSWORD={password}\n"));
        write(
            "redis.conf",
            "# comment\n  port 6379\nrequirepass \"p@ss $(x)\"\nmasterauth other\nuser default >x\nsave 900 1 *\n\nloadmodule /x.so\n",
        );
        let info = "(error) NOAUTH Authentication required.\nOK\n\"@ping\"\nPONG\n\"@info\"\n# Server\r\nprocess_id:1\r\nredis_version:7.4.1\r\n# Persistence\r\nloading:0\r\n\
            module:name=search,ver=21005,api=1\r\n\"@config\"\n 1) \"port\"\n 2) \"6379\"\n 3) \"save\"\n10) \"a\\\"\\x00b\"\n\
            \"@users\"\n1) \"user default on #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~* &* +@all\"\n\
            2) \"user a\\\"b off #30c9 #773d (%R~* resetchannels -@all +get)\"\n\"@end\"\n";
        write("reply", info);
        directory
    }

    fn ask(instance: &Instance) -> Result<Answer, Unanswered> {
        let shell = Redis::script(&[instance]).render().unwrap();
        let output = Command::new("sh").arg("-c").arg(shell).env("LC_ALL", "C").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("p@ss"), "the password left the node");
        Redis::read(&[instance], &Output { status: 0, stdout: output.stdout }).remove(0)
    }

    #[test]
    fn the_password_is_passed_to_redis_through_standard_input_only() {
        for password in ["p@ss $(x)", "'p@ss $(x)'", "\"p@ss $(x)\"\r"] {
            let node = node(password);
            let Ok(Answer::Replies(replies)) = ask(&instance(node.path())) else { panic!() };
            assert_eq!(
                (replies.anonymous.as_str(), replies.auth.as_str(), replies.ping.as_str()),
                ("(error) NOAUTH Authentication required.", "OK", "PONG")
            );
            assert_eq!(replies.requirepass, Requirepass::Same);
            assert_eq!(replies.file.unwrap(), ["port 6379", "user default", "save 900 1 *", "loadmodule /x.so"]);
            let users = replies.users.unwrap();
            assert_eq!(users[0].rules.join(" "), "on # ~* &* +@all");
            assert_eq!(
                (users[1].name.as_str(), users[1].rules.join(" ").as_str()),
                ("a\"b", "off # # (%R~* resetchannels -@all +get)")
            );
            assert_eq!((users[0].passwords(), users[0].may_do_everything(), users[1].is_on()), (1, true, false));
            assert_eq!((replies.running["port"].as_str(), replies.running["save"].as_str()), ("6379", "a\"\0b"));
            assert_eq!((replies.modules, replies.info["loading"].as_str()), (vec!["search".to_owned()], "0"));
            let seen = fs::read_to_string(node.path().join("seen")).unwrap();
            assert!(seen.contains("--no-raw\n-h\n127.0.0.1\n-p\n6379\n") && !seen.contains("p@ss"));
            let input = fs::read_to_string(node.path().join("input")).unwrap();
            assert!(input.contains("AUTH \"p@ss $(x)\"\n") && input.contains("CONFIG GET port save loadmodule\n"), "{input}");
        }
    }

    #[test]
    fn a_server_that_needs_no_password_is_asked_all_the_same() {
        let node = node("p@ss $(x)");
        let reply = fs::read_to_string(node.path().join("reply")).unwrap();
        let open =
            "PONG\n(error) ERR AUTH <password> called without any password configured for the default user. Are you sure?\n";
        let reply = reply.replace("(error) NOAUTH Authentication required.\nOK\n", open).replace("on #30c9", "on nopass #30c9");
        fs::write(node.path().join("reply"), reply).unwrap();
        let Ok(Answer::Replies(replies)) = ask(&instance(node.path())) else { panic!() };
        assert!(replies.is_open() && replies.auth.starts_with("(error) ERR AUTH <password> called without"), "{replies:?}");
        assert_eq!(replies.running["port"], "6379");
        assert!(replies.users.unwrap()[0].is_open());
    }

    #[test]
    fn a_secrets_file_is_read_as_the_engine_reads_it() {
        for text in [
            "REDIS_PASSWORD = x\n",
            "# c\n\n  # d=e\nREDIS_PASSWORD= x\n",
            " REDIS_PASSWORD=x\n",
            "what\n",
            "=x\n",
            "1A=x\nREDIS_PASSWORD=y\n",
            "REDIS_PASSWORD='x\n",
            "OTHER=\"\nREDIS_PASSWORD=y\n",
            "REDIS_PASSWORD=x\nREDIS_PASSWORD=y\n",
            "REDIS_PASSWORD=x",
            "OTHER=a b/c=d\nREDIS_PASSWORD=y  \r\n",
            "REDIS_PASSWORD=\n",
            "",
        ] {
            let node = node("x");
            fs::write(node.path().join("secrets.env"), text).unwrap();
            let asked = instance(node.path());
            let answer = ask(&asked).unwrap();
            match crate::secret::EnvFile::parse(text.as_bytes()) {
                Err(error) => assert_eq!(answer, Answer::Unavailable(error.of_file(&asked.password_file)), "{text}"),
                Ok(file) if file.get("REDIS_PASSWORD").is_some() => {
                    let Answer::Replies(_) = answer else { panic!("{text}: {answer:?}") };
                    let value = file.get("REDIS_PASSWORD").unwrap().expose().to_owned();
                    let input = fs::read_to_string(node.path().join("input")).unwrap();
                    assert!(input.contains(&format!("AUTH \"{value}\"\n")), "{text}: {input}");
                }
                Ok(_) => assert!(
                    matches!(answer, Answer::Unavailable(why) if why.starts_with("there is no `REDIS_PASSWORD`")),
                    "{text}"
                ),
            }
        }
    }

    #[test]
    fn a_different_password_in_the_configuration_is_detected_on_the_node() {
        let node = node("p@ss");
        let Ok(Answer::Replies(replies)) = ask(&instance(node.path())) else { panic!() };
        assert_eq!(replies.requirepass, Requirepass::Different);
    }

    #[test]
    fn an_instance_that_cannot_be_asked_has_a_reason() {
        let node = node("x\"y");
        let silent = |instance: &Instance| match ask(instance) {
            Ok(Answer::Unavailable(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(silent(&instance(node.path())).contains("double quote"));
        let other_key = Instance { password_key: "NONE".into(), ..instance(node.path()) };
        assert!(silent(&other_key).contains("there is no `NONE` in"));
        fs::remove_file(node.path().join("redis-cli")).unwrap();
        assert!(silent(&instance(node.path())).contains("there is no /"));
    }

    #[test]
    fn a_reply_that_repeats_the_password_is_cut() {
        let node = node("p@ss $(x)");
        fs::write(
            node.path().join("reply"),
            "PONG\n(error) ERR unknown command 'AUTH', with args beginning with: 'p@ss $(x)'\n\"@end\"\n",
        )
        .unwrap();
        let Ok(Answer::Replies(replies)) = ask(&instance(node.path())) else { panic!() };
        assert_eq!(replies.auth, "(error) ERR unknown command 'AUTH'");
    }

    #[test]
    fn a_refused_connection_has_a_reason_and_half_an_answer_is_no_answer() {
        let node = node("p");
        let reply = |text: &str| fs::write(node.path().join("reply"), text).unwrap();
        reply("Could not connect to Redis at /x: No such file or directory\n");
        assert!(matches!(ask(&instance(node.path())), Ok(Answer::Refused(why)) if why.starts_with("Could not connect")));
        reply("PONG\nOK\n\"@ping\"\n");
        assert_eq!(ask(&instance(node.path())).unwrap_err().0, "redis-cli ended early");
        assert!(Redis::read(&[&instance(node.path())], &Output { status: 0, stdout: Vec::new() })[0].is_err());
        assert!(Redis::read(&[&instance(node.path())], &Output { status: 124, stdout: Vec::new() })[0].is_err());
    }
}
