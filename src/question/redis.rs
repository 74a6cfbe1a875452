//! What a Redis says of itself: one anonymous and one authenticated redis-cli per instance.
//!
//! The password is read, used and compared on the node by the shell itself: it is in no argument, no environment and no answer. redis-cli's exit
//! status says nothing (it is 0 when nobody answers), so replies are read in its typed form (`--no-raw`).

use std::collections::HashMap;

use super::{Kind, Output, Unanswered};
use crate::{resource::RemotePath, script::Script};

/// A Redis to ask, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance {
    /// The path of redis-cli on the node.
    pub cli: RemotePath,
    /// Where the Redis listens.
    pub address: Address,
    /// A file of `KEY=value` lines on the node.
    pub password_file: RemotePath,
    /// The key of the password in it.
    pub password_key: String,
    /// The configuration file whose directives are to be compared with the running values.
    pub config_file: Option<RemotePath>,
}

/// Where a Redis listens, as seen from its node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Socket(RemotePath),
    /// A host and a port.
    Tcp(String, u16),
}

/// Marker for the kind "what a Redis says".
#[derive(Debug)]
pub struct Redis;

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It could not be asked: why.
    Silent(String),
    /// What it said.
    Said(Box<Said>),
}

/// A Redis's replies. Errors begin with `(error) `.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// To PING without a password.
    pub anonymous: String,
    /// To AUTH.
    pub auth: String,
    /// To PING after AUTH.
    pub ping: String,
    /// The fields of INFO's sections `server` and `persistence`.
    pub info: HashMap<String, String>,
    /// The names of the loaded modules.
    pub modules: Vec<String>,
    /// The running values of the directives in the configuration file.
    pub running: HashMap<String, String>,
    /// The configuration file's lines without comments and secrets. `None`: it cannot be read, or was not asked for.
    pub file: Option<Vec<String>>,
    /// Whether the configuration file sets the very password of the secrets file.
    pub requirepass: Requirepass,
    /// What `/proc/PID/exe` points to.
    pub exe: String,
}

/// How the configuration file's `requirepass` compares with the secrets file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Requirepass {
    /// It sets none, or the file was not read.
    #[default]
    None,
    /// It is the same.
    Same,
    /// It is another.
    Different,
}

impl Kind for Redis {
    type Key = Instance;
    type Answer = Answer;
    const NAME: &'static str = "redis";
    const BESIDE: bool = true;

    fn script(keys: &[&Instance]) -> Script {
        keys.iter().enumerate().fold(Script::new(include_str!("redis.sh")), |script, (index, key)| {
            let (place, port) = match &key.address {
                Address::Socket(path) => (path.to_string(), String::new()),
                Address::Tcp(host, port) => (host.clone(), port.to_string()),
            };
            let config = key.config_file.as_ref().map(ToString::to_string).unwrap_or_default();
            let (cli, secrets) = (key.cli.to_string(), key.password_file.to_string());
            script.args([index.to_string(), cli, place, port, secrets, key.password_key.clone(), config])
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
            None => Err(Unanswered("the node said nothing about Redis".into())),
        };
        keys.iter().enumerate().map(read).collect()
    }
}

/// Reads one instance's part, in which a line `@@ word` or an echoed `"@word"` says what follows.
fn answer(instance: &Instance, section: &str) -> Result<Answer, Unanswered> {
    let mut said = Said::default();
    let mut about = "";
    let mut name: Option<String> = None;
    for line in section.lines().map(str::trim_end) {
        if let Some(mark) = line.strip_prefix("@@ ").or_else(|| line.strip_prefix("\"@")?.strip_suffix('"')) {
            if let Some(silence) = silence(instance, mark) {
                return Ok(Answer::Silent(silence));
            }
            match mark.split_once(' ').unwrap_or((mark, "")) {
                ("requirepass", "same") => said.requirepass = Requirepass::Same,
                ("requirepass", "different") => said.requirepass = Requirepass::Different,
                ("exe", path) => path.clone_into(&mut said.exe),
                ("file", _) => said.file = Some(Vec::new()),
                _ => {}
            }
            about = mark;
            continue;
        }
        if line.starts_with("Could not connect to Redis") {
            return Ok(Answer::Silent(line.to_owned()));
        }
        match about {
            "anonymous" if said.anonymous.is_empty() => line.clone_into(&mut said.anonymous),
            "auth" if said.auth.is_empty() => line.clone_into(&mut said.auth),
            "ping" if said.ping.is_empty() => line.clone_into(&mut said.ping),
            "file" => said.file.get_or_insert_default().push(line.to_owned()),
            "config" => {
                let Some(value) = line.split_once(") ").and_then(|(_, value)| unquoted(value)) else { continue };
                match name.take() {
                    None => name = Some(value),
                    Some(name) => {
                        said.running.insert(name, value);
                    }
                }
            }
            "info" => {
                if let Some((field, value)) = line.split_once(':') {
                    if field == "module" {
                        let name = value.split(',').find_map(|part| part.strip_prefix("name="));
                        said.modules.extend(name.map(str::to_owned));
                    } else {
                        said.info.insert(field.to_owned(), value.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    if !section.contains("\"@end\"") && !said.auth.starts_with("(error)") {
        return Err(Unanswered("redis-cli ended early".into()));
    }
    Ok(Answer::Said(Box::new(said)))
}

fn silence(instance: &Instance, mark: &str) -> Option<String> {
    let Instance { cli, password_file, password_key, .. } = instance;
    match mark {
        "no-cli" => Some(format!("there is no {cli}")),
        "no-password" => Some(format!("there is no `{password_key}` in {password_file}")),
        "odd-password" => Some(format!(
            "`{password_key}` in {password_file} holds a double quote or a backslash, which redis-cli cannot be told"
        )),
        _ => None,
    }
}

/// Reads a string as redis-cli writes it (`sdscatrepr`).
fn unquoted(text: &str) -> Option<String> {
    let mut signs = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut value = String::new();
    while let Some(sign) = signs.next() {
        if sign != '\\' {
            value.push(sign);
            continue;
        }
        match signs.next()? {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            'a' => value.push('\u{7}'),
            'b' => value.push('\u{8}'),
            'x' => {
                let digits: String = signs.by_ref().take(2).collect();
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

    /// A redis-cli that writes down its arguments, environment and input, and answers as the real one does.
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
            module:name=search,ver=21005,api=1\r\n\"@config\"\n 1) \"port\"\n 2) \"6379\"\n 3) \"save\"\n10) \"a\\\"\\x00b\"\n\"@end\"\n";
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
    fn a_password_goes_to_redis_through_its_input_alone() {
        for password in ["p@ss $(x)", "'p@ss $(x)'", "\"p@ss $(x)\"\r"] {
            let node = node(password);
            let Ok(Answer::Said(said)) = ask(&instance(node.path())) else { panic!() };
            assert_eq!(
                (said.anonymous.as_str(), said.auth.as_str(), said.ping.as_str()),
                ("(error) NOAUTH Authentication required.", "OK", "PONG")
            );
            assert_eq!(said.requirepass, Requirepass::Same);
            assert_eq!(said.file.unwrap(), ["port 6379", "save 900 1 *", "loadmodule /x.so"]);
            assert_eq!((said.running["port"].as_str(), said.running["save"].as_str()), ("6379", "a\"\0b"));
            assert_eq!((said.modules, said.info["loading"].as_str()), (vec!["search".to_owned()], "0"));
            let seen = fs::read_to_string(node.path().join("seen")).unwrap();
            assert!(seen.contains("--no-raw\n-h\n127.0.0.1\n-p\n6379\n") && !seen.contains("p@ss"));
            let input = fs::read_to_string(node.path().join("input")).unwrap();
            assert!(input.contains("AUTH \"p@ss $(x)\"\n") && input.contains("CONFIG GET port save loadmodule\n"), "{input}");
        }
    }

    #[test]
    fn another_password_in_the_configuration_is_noticed_on_the_node() {
        let node = node("p@ss");
        let Ok(Answer::Said(said)) = ask(&instance(node.path())) else { panic!() };
        assert_eq!(said.requirepass, Requirepass::Different);
    }

    #[test]
    fn what_keeps_from_asking_is_named() {
        let node = node("x\"y");
        let silent = |instance: &Instance| match ask(instance) {
            Ok(Answer::Silent(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(silent(&instance(node.path())).contains("double quote"));
        let other_key = Instance { password_key: "NONE".into(), ..instance(node.path()) };
        assert!(silent(&other_key).contains("there is no `NONE` in"));
        fs::remove_file(node.path().join("redis-cli")).unwrap();
        assert!(silent(&instance(node.path())).contains("there is no /"));
    }

    #[test]
    fn a_server_that_repeats_the_password_is_not_listened_to() {
        let node = node("p@ss $(x)");
        fs::write(
            node.path().join("reply"),
            "PONG\n(error) ERR unknown command 'AUTH', with args beginning with: 'p@ss $(x)'\n\"@end\"\n",
        )
        .unwrap();
        let Ok(Answer::Said(said)) = ask(&instance(node.path())) else { panic!() };
        assert_eq!(said.auth, "(error) ERR unknown command 'AUTH'");
    }

    #[test]
    fn nobody_who_answers_is_silence_and_half_an_answer_is_none() {
        let node = node("p");
        let reply = |text: &str| fs::write(node.path().join("reply"), text).unwrap();
        reply("Could not connect to Redis at /x: No such file or directory\n");
        assert!(matches!(ask(&instance(node.path())), Ok(Answer::Silent(why)) if why.starts_with("Could not connect")));
        reply("PONG\nOK\n\"@ping\"\n");
        assert_eq!(ask(&instance(node.path())).unwrap_err().0, "redis-cli ended early");
        assert!(Redis::read(&[&instance(node.path())], &Output { status: 0, stdout: Vec::new() })[0].is_err());
        assert!(Redis::read(&[&instance(node.path())], &Output { status: 124, stdout: Vec::new() })[0].is_err());
    }
}
