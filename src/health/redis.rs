//! Check `redis`: the server requires a password and accepts the right one, runs with the settings of its file, has its modules, and saves its data.

use std::fmt::Write as _;

use super::{Finding, HealthCheck, format_span};
use crate::{
    question::{
        Questions, Unanswered,
        redis::{Address, Answer, DEFAULT_USER, Instance, Redis, Replies, Requirepass},
        redis_conf::{self, UserDrift},
    },
    resource::{Files, Kind, NodeState, ParamError, decode, schema::parameters},
    values::{Flag, RemotePath},
};

pub(super) const KIND: Kind<dyn HealthCheck> = Kind {
    name: "redis",
    about: "Redis accepts its password, refuses clients without it, runs as its file says, and saves without failures",
    example: "read:
  redis:
    socket: /run/redis/redis.sock
    password_file: /etc/autobot/redis.env
    password_key: REDIS_PASSWORD",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(RedisCheck::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// Its socket, instead of `host`, `bind` and `port`.
        socket: Option<RemotePath>,
        /// Its address.
        host: Option<String>,
        /// The addresses of its `bind`, instead of `host`; it is asked at one of them, which is loopback where it listens there.
        bind: Option<String>,
        /// Its port.
        port: Option<u16>,
        /// The client, where `redis-cli` is not the one.
        cli: Option<RemotePath>,
        /// The file that holds the password.
        password_file: RemotePath,
        /// The password's name in that file.
        password_key: String,
        /// Whether those without a password must be refused.
        anonymous_refused: Flag = true,
        /// Modules that must be loaded.
        modules: Vec<String> = [],
        /// Its configuration, whose settings must be live.
        config_file: Option<RemotePath>,
        /// The path by which the server itself knows its configuration, if that is another one, as in a container.
        started_with: Option<RemotePath>,
        /// Whether it may be a replica of another server.
        replica: Flag = false,
        /// Whether the last save and the append-only file must be fine.
        persistence: Flag = true,
        /// The program that must be running.
        exe: Option<RemotePath>,
    }
}

#[derive(Debug)]
struct RedisCheck {
    instance: Instance,
    anonymous_refused: bool,
    modules: Vec<String>,
    persistence: bool,
    started_with: Option<RemotePath>,
    replica: bool,
    exe: Option<RemotePath>,
}

impl RedisCheck {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let Parameters { socket, host, bind, port, cli, password_file, password_key, .. } = parameters;
        let usual_port = 6379;
        let address = match (socket, host, bind) {
            (Some(path), None, None) if port.is_none() => Address::Socket(path),
            (Some(_), ..) => return Err(ParamError::parameter("socket", "goes without `host`, `bind` and `port`")),
            (None, Some(_), Some(_)) => return Err(ParamError::parameter("bind", "goes without `host`")),
            (None, Some(host), None) => Address::Elsewhere(host, port.unwrap_or(usual_port)),
            (None, None, bind) => Address::bound(&bind.unwrap_or_default(), port.unwrap_or(usual_port)),
        };
        let key = |character: char| character.is_ascii_alphanumeric() || character == '_';
        if password_key.is_empty() || !password_key.chars().all(key) {
            return Err(ParamError::parameter("password_key", "must be a key of the file, such as REDIS_PASSWORD"));
        }
        let usual = RemotePath::new("/opt/redis-stack/bin/redis-cli").map_err(|reason| ParamError::parameter("cli", reason))?;
        let config_file = parameters.config_file;
        let instance = Instance { cli: cli.unwrap_or(usual), address, password_file, password_key, config_file };
        let (anonymous_refused, persistence) = (parameters.anonymous_refused.0, parameters.persistence.0);
        let Parameters { modules, started_with, replica: Flag(replica), exe, .. } = parameters;
        Ok(Self { instance, anonymous_refused, modules, persistence, started_with, replica, exe })
    }

    fn problems(&self, replies: &Replies) -> Vec<String> {
        let Instance { password_file, password_key, config_file, .. } = &self.instance;
        let mut problems = Vec::new();
        let is_open = self.anonymous_refused && !replies.anonymous.starts_with("(error) NOAUTH");
        if is_open {
            problems.push(format!("it answers without a password: PING returned `{}`", replies.anonymous));
        }
        problems.extend(open_users(&redis_conf::users(replies, password_key), is_open));
        if !replies.was_answered() {
            problems.push(format!("it does not accept the password `{password_key}` of {password_file}: {}", replies.auth));
            return problems;
        }
        if replies.ping != "PONG" {
            problems.push(format!("PING returned `{}`", replies.ping));
        }
        if let Some(server) = redis_conf::replica_of(replies).filter(|_| !self.replica) {
            problems.push(format!(
                "it is a replica of {server}: it refuses writes, and gets the keys of that server (`REPLICAOF NO ONE`)"
            ));
        }
        for module in &self.modules {
            if !replies.modules.iter().any(|there| there.eq_ignore_ascii_case(module)) {
                problems.push(format!("the module `{module}` is not loaded"));
            }
        }
        if self.persistence {
            for (field, good) in EXPECTED_INFO {
                let is = info(replies, field).unwrap_or("missing");
                if is != *good {
                    problems.push(format!("INFO reports that {field} is {is}, not {good}"));
                }
            }
        }
        if let Some(path) = config_file {
            problems.extend(self.configuration(path, replies));
        }
        if let Some(exe) = self.exe.as_ref().filter(|exe| exe.as_str() != replies.exe) {
            let replaced = replies.exe.strip_suffix(" (deleted)").is_some_and(|path| path == exe.as_str());
            problems.push(if replaced {
                format!("{exe} was replaced after it started: restart it")
            } else {
                format!("it runs {}, not {exe}", replies.exe)
            });
        }
        problems
    }

    fn configuration(&self, path: &RemotePath, replies: &Replies) -> Vec<String> {
        let Some(lines) = &replies.file else { return vec![format!("{path} cannot be read")] };
        let differences = redis_conf::differences(lines, &replies.running);
        let mut problems: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let started = replies.info.get("config_file").map_or("", String::as_str);
        if started != self.started_with.as_ref().unwrap_or(path).as_str() {
            problems.insert(0, format!("it was started with `{started}`, not with {path}"));
        }
        match replies.requirepass {
            Requirepass::Different => {
                problems.push(format!(
                    "requirepass in {path} is not `{}`: after a restart clients are refused",
                    self.instance.password_key
                ));
            }
            Requirepass::None if self.anonymous_refused && !lines.iter().any(|line| line.starts_with("aclfile")) => {
                problems.push(format!("{path} sets no requirepass: after a restart it answers without a password"));
            }
            Requirepass::None | Requirepass::Same => {}
        }
        problems
    }
}

/// Says who comes in though nothing declares it, but for clients without a password, if these are named already.
fn open_users(drift: &UserDrift<'_>, is_open: bool) -> Vec<String> {
    let open = drift.open.iter().map(|name| format!("the user `{}` needs no password", name.escape_debug()));
    let default = drift.default.iter().filter(|_| !is_open).map(|what| format!("the user `default` {what}"));
    let changed = drift.changed.iter().filter(|(name, _)| !is_open || *name != DEFAULT_USER);
    let changed = changed.map(|(name, what)| format!("the user `{}` {what}, its file says otherwise", name.escape_debug()));
    default.chain(open).chain(changed).collect()
}

/// Fields of the INFO section `persistence`, and their values when data is saved.
const EXPECTED_INFO: &[(&str, &str)] =
    &[("loading", "0"), ("rdb_last_bgsave_status", "ok"), ("aof_last_write_status", "ok"), ("aof_last_bgrewrite_status", "ok")];

fn info<'a>(replies: &'a Replies, field: &str) -> Option<&'a str> {
    replies.info.get(field).map(String::as_str)
}

impl RedisCheck {
    /// Describes which clients are answered, and the age of the saved data by the node's clock.
    fn found(&self, replies: &Replies) -> String {
        let mut found = if self.anonymous_refused { "PONG, NOAUTH without password".to_owned() } else { "PONG".to_owned() };
        if !self.persistence {
            return found;
        }
        let number = |field: &str| info(replies, field).and_then(|value| value.parse::<u64>().ok());
        let now = number("server_time_usec").map(|micros| micros / 1_000_000);
        if let (Some(now), Some(saved)) = (now, number("rdb_last_save_time")) {
            // Until its first save, Redis reports the time at which it started.
            let _ = write!(found, "; saved {} ago", format_span(now.saturating_sub(saved)));
            if let Some(changes) = number("rdb_changes_since_last_save").filter(|changes| *changes > 0) {
                let _ = write!(found, ", {changes} change{} since", if changes == 1 { "" } else { "s" });
            }
        }
        found.push_str(match info(replies, "aof_enabled") {
            Some("1") => "; AOF on, last write ok",
            Some(_) | None => "; AOF off",
        });
        found
    }
}

impl HealthCheck for RedisCheck {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Redis>(self.instance.clone());
    }

    fn examine(&self, is: &NodeState<'_>) -> Result<Finding, Unanswered> {
        Ok(match is.answers.get::<Redis>(&self.instance)? {
            Answer::Unavailable(why) | Answer::Refused(why) => Finding::Unhealthy(why.clone()),
            Answer::Replies(replies) => match &self.problems(replies)[..] {
                [] => {
                    let warning = redis_conf::users(replies, &self.instance.password_key).warning();
                    Finding::with_warnings(warning.as_slice(), self.found(replies))
                }
                problems => Finding::of_problems(problems, ""),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        question::{Answers, redis::User},
        secret::SecretValues,
    };
    use serde_json::json;

    fn check() -> RedisCheck {
        let parameters = json!({"socket": "/run/redis.sock", "password_file": "/etc/autobot/database-secrets.env",
            "password_key": "REDIS_PASSWORD", "modules": ["search", "ReJSON"], "config_file": "/etc/redis.conf", "exe": "/opt/redis-server"});
        RedisCheck::new(decode(parameters).unwrap()).unwrap()
    }

    fn user(rules: &str) -> User {
        let mut words = rules.split(' ').map(str::to_owned);
        User { name: words.next().unwrap(), rules: words.collect() }
    }

    fn healthy() -> Replies {
        let pairs = [
            ("loading", "0"),
            ("rdb_last_bgsave_status", "ok"),
            ("aof_last_write_status", "ok"),
            ("aof_last_bgrewrite_status", "ok"),
            ("aof_enabled", "1"),
            ("server_time_usec", "1763632800999999"),
            ("rdb_last_save_time", "1763632600"),
            ("rdb_changes_since_last_save", "12"),
            ("config_file", "/etc/redis.conf"),
        ];
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Replies {
            anonymous: "(error) NOAUTH Authentication required.".into(),
            auth: "OK".into(),
            ping: "PONG".into(),
            info: map(&pairs),
            modules: vec!["search".into(), "ReJSON".into(), "bf".into()],
            running: map(&[("port", "6379")]),
            file: Some(vec!["port 6379".into()]),
            requirepass: Requirepass::Same,
            exe: "/opt/redis-server".into(),
            users: Some(vec![user("default on sanitize-payload # ~* &* +@all")]),
        }
    }

    fn problem(answer: Answer) -> String {
        let mut answers = Answers::default();
        answers.set::<Redis>(check().instance, Ok(answer));
        match check().examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap() {
            Finding::Healthy(note) => format!("ok: {note}"),
            Finding::Unhealthy(why) => why,
            Finding::Warning { warning, .. } => format!("warning: {warning}"),
            other @ Finding::Skipped(_) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_healthy_redis_shows_the_age_of_its_saved_data() {
        let found = |set: &[(&str, &str)]| {
            let mut replies = healthy();
            replies.info.extend(set.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())));
            problem(Answer::Replies(Box::new(replies)))
        };
        assert_eq!(found(&[]), "ok: PONG, NOAUTH without password; saved 3 min ago, 12 changes since; AOF on, last write ok");
        // A clock that was set back, and fields that are not numbers.
        let odd = [("rdb_last_save_time", "1763999999"), ("rdb_changes_since_last_save", "x"), ("aof_enabled", "0")];
        assert_eq!(found(&odd), "ok: PONG, NOAUTH without password; saved 0 s ago; AOF off");
        assert_eq!(found(&[("server_time_usec", "-1")]), "ok: PONG, NOAUTH without password; AOF on, last write ok");
    }

    #[test]
    fn users_whom_nothing_declares_are_named() {
        let found = |rules: &[&str]| {
            let mut replies = healthy();
            replies.users = Some(rules.iter().map(|rules| user(rules)).collect());
            problem(Answer::Replies(Box::new(replies)))
        };
        let fine = "default on sanitize-payload # ~* &* +@all";
        for (words, rules) in [
            ("ok: ", &[fine][..]),
            ("ok: ", &[fine, "gone off nopass ~* +@all"]),
            ("the user `default` needs no password", &["default on nopass ~* &* +@all"]),
            ("the user `default` accepts another password besides `REDIS_PASSWORD`", &["default on # # ~* &* +@all"]),
            ("the user `default` may not do everything", &["default on # ~* &* +@all -flushall"]),
            ("the user `default` may not do everything", &["default on # ~app:* &* +@all"]),
            ("the user `guest` needs no password", &[fine, "guest on nopass ~* +@all"]),
            ("warning: the user `app` was made at run time", &[fine, "app on # ~* +@all"]),
        ] {
            let problem = found(rules);
            assert!(problem.starts_with(words), "{words}: {problem}");
        }
        // A file of users, or the file itself, declares them.
        let mut replies = healthy();
        replies.users = Some(vec![user("default on # # ~* &* +@all"), user("guest on nopass ~* +@all")]);
        replies.file = Some(vec!["user guest on nopass ~* +@all".into(), "user default on # # ~* &* +@all".into()]);
        assert!(problem(Answer::Replies(Box::new(replies.clone()))).starts_with("ok: "));
        replies.file = Some(vec!["user guest on # ~* +@all".into()]);
        let otherwise = problem(Answer::Replies(Box::new(replies.clone())));
        assert!(otherwise.contains("the user `guest` needs no password, its file says otherwise"), "{otherwise}");
        // Without a file, an open user is wrong all the same.
        let mut of_a_container = RedisCheck::new(decode(json!({"password_file": "/f", "password_key": "K"})).unwrap()).unwrap();
        assert!(
            of_a_container
                .problems(&Replies { file: None, ..replies.clone() })
                .contains(&"the user `guest` needs no password".into())
        );
        of_a_container.replica = true;
        let replica = Replies { info: [("role".to_owned(), "slave".to_owned())].into(), ..healthy() };
        assert!(!of_a_container.problems(&replica).iter().any(|problem| problem.contains("replica")));
        replies.file = Some(vec!["aclfile /etc/redis.acl".into()]);
        replies.running.insert("aclfile".into(), "/etc/redis.acl".into());
        assert!(problem(Answer::Replies(Box::new(replies))).starts_with("ok: "));
    }

    #[test]
    fn each_defect_is_named() {
        let broken = |breaks: &dyn Fn(&mut Replies)| {
            let mut replies = healthy();
            breaks(&mut replies);
            problem(Answer::Replies(Box::new(replies)))
        };
        for (words, breaks) in [
            (
                "it is a replica of 198.18.0.9:6379: it refuses writes",
                &(|replies: &mut Replies| {
                    let info = [("role", "slave"), ("master_host", "198.18.0.9"), ("master_port", "6379")];
                    replies.info.extend(info.map(|(field, value)| (field.to_owned(), value.to_owned())));
                }) as &dyn Fn(&mut Replies),
            ),
            ("`min-replicas-to-write` is `1`, and the file does not say so", &|replies| {
                replies.running.insert("min-replicas-to-write".into(), "1".into());
            }),
            ("answers without a password: PING returned `PONG`", &|replies| replies.anonymous = "PONG".into()),
            ("does not accept the password `REDIS_PASSWORD` of /etc/autobot", &|replies| {
                replies.auth = "(error) WRONGPASS".into();
            }),
            ("PING returned `(error) MISCONF`", &|replies| replies.ping = "(error) MISCONF".into()),
            ("`ReJSON` is not loaded", &|replies| replies.modules.truncate(1)),
            ("rdb_last_bgsave_status is err", &|replies| {
                replies.info.insert("rdb_last_bgsave_status".into(), "err".into());
            }),
            ("aof_last_write_status is err", &|replies| {
                replies.info.insert("aof_last_write_status".into(), "err".into());
            }),
            ("aof_last_bgrewrite_status is err", &|replies| {
                replies.info.insert("aof_last_bgrewrite_status".into(), "err".into());
            }),
            ("loading is 1, not 0", &|replies| {
                replies.info.insert("loading".into(), "1".into());
            }),
            ("loading is missing", &|replies| replies.info.clear()),
            ("`port` is `6379`, the file says `1`", &|replies| replies.file = Some(vec!["port 1".into()])),
            ("/etc/redis.conf cannot be read", &|replies| replies.file = None),
            ("started with `/opt/redis-stack.conf`, not with", &|replies| {
                replies.info.insert("config_file".into(), "/opt/redis-stack.conf".into());
            }),
            ("after a restart clients are refused", &|replies| replies.requirepass = Requirepass::Different),
            ("sets no requirepass", &|replies| replies.requirepass = Requirepass::None),
            ("replaced after it started", &|replies| replies.exe = "/opt/redis-server (deleted)".into()),
            ("it runs /bin/other, not /opt/redis-server", &|replies| replies.exe = "/bin/other".into()),
        ] {
            let problem = broken(breaks);
            assert!(problem.contains(words), "{words}: {problem}");
        }
        assert_eq!(problem(Answer::Unavailable("there is no /x".into())), "there is no /x");
    }

    #[test]
    fn invalid_parameters_are_refused() {
        let is_refused = |parameters| RedisCheck::new(decode(parameters).unwrap()).is_err();
        assert!(is_refused(json!({"socket": "/s", "port": 1, "password_file": "/f", "password_key": "K"})));
        assert!(is_refused(json!({"host": "h", "bind": "h", "password_file": "/f", "password_key": "K"})));
        assert!(is_refused(json!({"password_file": "/f", "password_key": "K=*"})));
        assert!(decode::<Parameters>(json!({"password_file": "/f"})).is_err());
    }
}
