//! `redis_settings`: refuses settings with which Redis would not start on this node, or would have no room for its keys.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::{Files, Kind, NodeState, ParamError, RemotePath, Resource, Verdict, decode, schema::parameters};
use crate::{
    question::{
        Questions, Unanswered,
        account::AccountName,
        facts::Facts,
        path::{Entry, PathQuery, PathState},
        redis::{Address, Answer, Instance, Redis},
    },
    values::parse_size,
};

pub(super) const KIND: Kind = Kind {
    name: "redis_settings",
    about: "Refuses settings with which Redis would not start on this node, or would have no room for its keys",
    example: "redis_settings: {bind: \"127.0.0.1 10.0.0.5\", save: [\"900 1\"], maxmemory: 2gb}",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The addresses of `bind`, with spaces between them. An IPv4 address that the node does not have is refused. A running Redis is asked at
        /// one of them, which is loopback where it listens there.
        bind: String = "",
        /// The rules of `save`, such as `900 1`.
        save: Vec<String> = [],
        /// The size of `maxmemory`. A size below the memory that a running Redis uses is refused; 0 is no limit.
        maxmemory: String = "",
        /// Modules to load.
        modules: Vec<String> = [],
        /// Where the modules are. A module that is not there is refused if the directory exists, as it does once Redis is installed.
        module_dir: Option<RemotePath>,
        /// The client that asks the running Redis, where `redis-cli` of Redis Stack is not the one.
        cli: Option<RemotePath>,
        /// The port of the running Redis.
        port: u16 = 6379,
        /// The file that holds its password; without it, a running Redis is not asked.
        password_file: Option<RemotePath>,
        /// The password's name in that file.
        password_key: String = "REDIS_PASSWORD",
        /// Its configuration, as in the health check `redis`, which then asks the same question.
        config_file: Option<RemotePath>,
        /// A file that only a Redis has which this one would replace. If it is there, `conflict` says why that is refused.
        conflicts_with: Option<RemotePath>,
        /// What is in conflict, and what to do.
        conflict: String = "",
    }
}

/// An empty Redis of any version uses more than this, in bytes.
const LEAST_MEMORY: u64 = 1 << 20;

#[derive(Debug)]
struct RedisSettings {
    bind: Vec<String>,
    /// The text, and the bytes that it means.
    maxmemory: Option<(String, u64)>,
    /// The directory of the modules, and their files.
    modules: Option<(RemotePath, Vec<RemotePath>)>,
    running: Option<Instance>,
    /// The file that may not be there, and why.
    conflict: Option<(RemotePath, String)>,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    Ok(Box::new(RedisSettings::new(decode(parameters)?)?))
}

impl RedisSettings {
    fn new(given: Parameters) -> Result<Self, ParamError> {
        let usual = RemotePath::new("/opt/redis-stack/bin/redis-cli").map_err(|message| ParamError::parameter("cli", message))?;
        let cli = given.cli.unwrap_or(usual);
        let maxmemory = match given.maxmemory.as_str() {
            "" => None,
            text => match parse_size(text) {
                Some(bytes) => Some((text.to_owned(), bytes)),
                None => return Err(ParamError::parameter("maxmemory", format!("`{text}` is not a size, such as `2gb`"))),
            },
        };
        let file = |directory: &RemotePath, name: &String| RemotePath::new(&format!("{directory}/{name}.so"));
        let modules = given.module_dir.map(|directory| {
            let files = given.modules.iter().map(|name| file(&directory, name)).collect::<Result<Vec<_>, _>>();
            files.map(|files| (directory, files))
        });
        let modules = modules.transpose().map_err(|message| ParamError::parameter("modules", message))?;
        let running = given.password_file.map(|password_file| Instance {
            cli,
            address: Address::bound(&given.bind, given.port),
            password_file,
            password_key: given.password_key,
            config_file: given.config_file,
        });
        let bind: Vec<String> = given.bind.split_whitespace().map(str::to_owned).collect();
        for (name, problem) in
            [("save", bad_save(&given.save)), ("bind", bad_list(&bind)), ("maxmemory", no_memory_at_all(maxmemory.as_ref()))]
        {
            if let Some(problem) = problem {
                return Err(ParamError::parameter(name, problem));
            }
        }
        let conflict = match (given.conflicts_with, given.conflict) {
            (None, says) if says.is_empty() => None,
            (Some(path), says) if !says.is_empty() => Some((path, says)),
            (_, _) => {
                return Err(ParamError::parameter("conflict", "goes with `conflicts_with`: the one needs the other".to_owned()));
            }
        };
        Ok(Self { bind, maxmemory, modules, running, conflict })
    }

    /// Asks whether a file of Redis is there. The vendor's package gives all that it installs to `nobody`.
    fn look(path: &RemotePath) -> PathQuery {
        let look = PathQuery::attributes(path);
        match AccountName::new("nobody") {
            Ok(owner) => look.owned_by(Some(&owner)),
            Err(_) => look,
        }
    }

    /// Names an address that the node does not have.
    fn bad_address(&self, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        let own = &node.answers.get::<Facts>(&())?["all_ipv4_addresses"];
        let own: Vec<&str> = own.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let is_missing = |word: &&String| {
            word.parse::<Ipv4Addr>()
                .is_ok_and(|address| !address.is_unspecified() && !address.is_loopback() && !own.contains(&word.as_str()))
        };
        Ok(self.bind.iter().find(is_missing).map(|word| {
            let has = own.join(", ");
            format!(
                "Redis cannot listen on {word}, which is no address of this node (it has {has}); `-{word}` lets it start without"
            )
        }))
    }

    /// Names a module that the installed Redis does not have.
    fn bad_module(&self, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        let Some((directory, files)) = &self.modules else { return Ok(None) };
        if node.answers.get::<PathState>(&Self::look(directory))?.entry == Entry::Absent {
            return Ok(None);
        }
        for path in files {
            if node.answers.get::<PathState>(&Self::look(path))?.entry == Entry::Absent {
                return Ok(Some(format!("there is no module `{path}` on this node: correct its name, or install it first")));
            }
        }
        Ok(None)
    }

    /// Says that there is a Redis that this one would replace.
    fn conflict(&self, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        let Some((path, says)) = &self.conflict else { return Ok(None) };
        let found = node.answers.get::<PathState>(&PathQuery::existence(path))?;
        Ok((found.entry != Entry::Absent).then(|| says.clone()))
    }

    /// Says that the keys of the running Redis have no room.
    fn too_little_memory(&self, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        let (Some((text, wanted)), Some(running)) = (&self.maxmemory, &self.running) else { return Ok(None) };
        let Answer::Replies(replies) = node.answers.get::<Redis>(running)? else { return Ok(None) };
        let used: Option<u64> = replies.info.get("used_memory").and_then(|used| used.parse().ok());
        Ok(used.filter(|used| *wanted > 0 && used > wanted).map(|used| {
            format!("`maxmemory {text}` is less than the {used} bytes that Redis uses: give it more, or delete keys first")
        }))
    }
}

/// Names the rule of `save` that Redis refuses: pairs of a number of seconds, at least 1, and a number of changes.
fn bad_save(rules: &[String]) -> Option<String> {
    let is_rule = |rule: &str| {
        let words: Vec<Option<u32>> = rule.split_whitespace().map(|word| word.parse().ok()).collect();
        // A rule may hold several pairs; an empty one means no snapshots.
        rule == "\"\""
            || (!words.is_empty()
                && words.len().is_multiple_of(2)
                && words.chunks(2).all(|pair| matches!(pair, [Some(1..), Some(_)])))
    };
    let bad = rules.iter().find(|rule| !is_rule(rule))?;
    Some(format!("`{bad}` is no rule of `save`: write seconds and changes, such as `900 1`"))
}

/// Names an address that holds commas or semicolons. Redis separates addresses by spaces, and would look for a host of that name.
fn bad_list(bind: &[String]) -> Option<String> {
    let bad = bind.iter().find(|word| word.contains([',', ';']))?;
    Some(format!("`{bad}` is no address: write spaces between several, without commas"))
}

/// Says that Redis itself needs more than there is for all keys, so that it would refuse every write.
fn no_memory_at_all(maxmemory: Option<&(String, u64)>) -> Option<String> {
    let (text, _) = maxmemory.filter(|(_, wanted)| (1..LEAST_MEMORY).contains(wanted))?;
    Some(format!("`{text}` is less than an empty Redis uses: every write would be refused; 0 is no limit"))
}

impl Resource for RedisSettings {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Facts>(());
        if let Some((path, _)) = &self.conflict {
            ask.ask::<PathState>(PathQuery::existence(path));
        }
        if let Some((directory, files)) = &self.modules {
            [directory].into_iter().chain(files).for_each(|path| ask.ask::<PathState>(Self::look(path)));
        }
        if let Some(running) = self.running.as_ref().filter(|_| self.maxmemory.is_some()) {
            ask.ask::<Redis>(running.clone());
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let problems = [self.conflict(node)?, self.bad_address(node)?, self.bad_module(node)?, self.too_little_memory(node)?];
        let problems: Vec<String> = problems.into_iter().flatten().collect();
        Ok(if problems.is_empty() { Verdict::CONVERGED } else { Verdict::Refused(problems.join("; ")) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        question::{
            Answers,
            path::{Attributes, File, PathInfo},
            redis::Replies,
        },
        secret::SecretValues,
        values::Mode,
    };

    const CLI: &str = "/opt/redis/bin/redis-cli";

    fn program() -> Entry {
        let root = || "root".to_owned();
        let attributes = Attributes { mode: Mode(0o755), owner: root(), group: root(), uid: 0, gid: 0, changed: 0 };
        Entry::File(File { attributes, size: 1, content: None, sha256: None })
    }

    fn settings(parameters: Value) -> RedisSettings {
        RedisSettings::new(decode(parameters).unwrap()).unwrap()
    }

    /// What the resource says of a node with these files, whose Redis uses so much memory.
    fn verdict(parameters: Value, files: &[&str], used: Option<u64>) -> Option<String> {
        let settings = settings(parameters);
        let mut answers = Answers::default();
        answers.set::<Facts>((), Ok(json!({"all_ipv4_addresses": ["10.1.2.3", "10.1.2.4"]})));
        for asked in settings.modules.iter().flat_map(|(directory, files)| [directory].into_iter().chain(files)) {
            let entry = if files.contains(&asked.as_str()) { program() } else { Entry::Absent };
            answers.set::<PathState>(RedisSettings::look(asked), Ok(PathInfo { entry, parent_exists: true }));
        }
        if let Some((path, _)) = &settings.conflict {
            let entry = if files.contains(&path.as_str()) { program() } else { Entry::Absent };
            answers.set::<PathState>(PathQuery::existence(path), Ok(PathInfo { entry, parent_exists: true }));
        }
        if let Some(running) = &settings.running {
            let answer = match used {
                Some(used) => Answer::Replies(Box::new(Replies {
                    info: [("used_memory".to_owned(), used.to_string())].into(),
                    ..Replies::default()
                })),
                None => Answer::Unavailable("it does not run".into()),
            };
            answers.set::<Redis>(running.clone(), Ok(answer));
        }
        match settings.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap() {
            Verdict::Refused(reason) => Some(reason),
            Verdict::Converged { .. } => None,
            other @ (Verdict::Change(_) | Verdict::Blocked { .. }) => panic!("{other:?}"),
        }
    }

    /// Returns the parameter that is refused before anything is asked, and why.
    fn refused(parameters: Value) -> String {
        match RedisSettings::new(decode(parameters).unwrap()).unwrap_err() {
            ParamError::Parameter { path, message } => match &path[..] {
                [crate::resource::Segment::Key(name)] => format!("{name}: {message}"),
                other => panic!("{other:?}"),
            },
            other @ (ParamError::Word { .. } | ParamError::File(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_of_save_are_pairs_of_numbers() {
        assert_eq!(verdict(json!({"save": ["900 1", "60 10000 3600 1", "\"\""]}), &[], None), None);
        for bad in ["abc def", "900", "", "0 1", "-1 1", "900 1 60", "900 1; x"] {
            assert!(
                refused(json!({"save": ["900 1", bad]})).starts_with(&format!("save: `{bad}` is no rule of `save`")),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_address_that_the_node_does_not_have_is_refused() {
        let of = |bind: &str| verdict(json!({"bind": bind}), &[], None);
        for good in ["* -::*", "127.0.0.1 10.1.2.3 ::1", "0.0.0.0", "-10.9.9.9 10.1.2.4", "redis.example", "127.0.0.9"] {
            assert_eq!(of(good), None, "{good}");
        }
        assert_eq!(
            of("127.0.0.1 10.9.9.9").unwrap(),
            "Redis cannot listen on 10.9.9.9, which is no address of this node (it has 10.1.2.3, 10.1.2.4); `-10.9.9.9` lets it start without"
        );
    }

    #[test]
    fn addresses_with_commas_are_refused() {
        let of = |bind: &str| refused(json!({"bind": bind}));
        assert!(of("127.0.0.1,10.1.2.3").starts_with("bind: `127.0.0.1,10.1.2.3` is no address"));
        assert!(of("127.0.0.1; ::1").starts_with("bind: `127.0.0.1;` is no address"));
    }

    #[test]
    fn a_module_that_is_not_there_is_refused_once_redis_is_installed() {
        let wanted = json!({"modules": ["search", "json"], "module_dir": "/opt/redis/lib"});
        assert_eq!(verdict(wanted.clone(), &[], None), None);
        let all = ["/opt/redis/lib", "/opt/redis/lib/search.so", "/opt/redis/lib/json.so"];
        assert_eq!(verdict(wanted.clone(), &all, None), None);
        assert!(verdict(wanted, &all[..2], None).unwrap().contains("`/opt/redis/lib/json.so`"));
    }

    #[test]
    fn another_redis_that_would_be_replaced_is_refused() {
        let wanted = json!({"conflicts_with": "/lib/other", "conflict": "there is another one"});
        assert_eq!(verdict(wanted.clone(), &[], None), None);
        assert_eq!(verdict(wanted, &["/lib/other"], None).unwrap(), "there is another one");
        for half in [json!({"conflicts_with": "/lib/other"}), json!({"conflict": "x"})] {
            assert_eq!(refused(half), "conflict: goes with `conflicts_with`: the one needs the other");
        }
    }

    #[test]
    fn keys_that_have_no_room_are_an_error() {
        let wanted = |size: &str| json!({"maxmemory": size, "password_file": "/etc/secrets", "cli": CLI});
        assert_eq!(verdict(wanted("1mb"), &[], Some(1 << 20)), None);
        assert_eq!(verdict(wanted("0"), &[], Some(1 << 30)), None);
        assert_eq!(verdict(wanted("1mb"), &[], None), None);
        assert!(verdict(wanted("1mb"), &[], Some(1_048_577)).unwrap().contains("less than the 1048577 bytes"));
        assert!(refused(wanted("1kb")).starts_with("maxmemory: `1kb` is less than an empty Redis uses"));
        assert!(RedisSettings::new(decode(json!({"maxmemory": "lots"})).unwrap()).is_err());
    }

    #[test]
    fn only_what_is_needed_is_asked() {
        let asked = |parameters: Value| {
            let mut questions = Questions::default();
            settings(parameters).questions(&mut questions);
            questions.count()
        };
        assert_eq!(asked(json!({"save": ["900 1"]})), 1, "the facts");
        let all = json!({"maxmemory": "1gb", "password_file": "/s", "modules": ["a"], "module_dir": "/m"});
        assert_eq!(asked(all), 4);
    }
}
