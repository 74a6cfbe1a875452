//! Check `redis`: it asks for a password, takes ours, runs what its file says, has its modules, and could save.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{redis_conf, span, verdict};
use crate::{
    question::{
        Questions, Unanswered,
        redis::{Address, Answer, Instance, Redis, Requirepass, Said},
    },
    resource::{Files, Flag, Is, Kind, RemotePath, Resource, Verdict, Wrong, decode},
};

pub(super) const KIND: Kind = Kind {
    name: "redis",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(Healthy::new(decode(parameters)?)?)),
    parameters: &[
        "socket",
        "host",
        "port",
        "cli",
        "password_file",
        "password_key",
        "anonymous_refused",
        "modules",
        "config_file",
        "persistence",
        "exe",
    ],
    secret_parameters: &[],
    expressions: &[],
    free_form: "",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    socket: Option<RemotePath>,
    host: Option<String>,
    port: Option<u16>,
    cli: Option<RemotePath>,
    password_file: RemotePath,
    password_key: String,
    #[serde(default = "yes")]
    anonymous_refused: Flag,
    #[serde(default)]
    modules: Vec<String>,
    config_file: Option<RemotePath>,
    #[serde(default = "yes")]
    persistence: Flag,
    exe: Option<RemotePath>,
}

fn yes() -> Flag {
    Flag(true)
}

#[derive(Debug)]
struct Healthy {
    instance: Instance,
    anonymous_refused: bool,
    modules: Vec<String>,
    persistence: bool,
    exe: Option<RemotePath>,
}

impl Healthy {
    fn new(parameters: Parameters) -> Result<Self, Wrong> {
        let Parameters { socket, host, port, cli, password_file, password_key, .. } = parameters;
        let address = match (socket, host, port) {
            (Some(path), None, None) => Address::Socket(path),
            (Some(_), ..) => return Err(Wrong::parameter("socket", "goes without `host` and `port`")),
            (None, host, port) => Address::Tcp(host.unwrap_or_else(|| "127.0.0.1".into()), port.unwrap_or(6379)),
        };
        let key = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
        if password_key.is_empty() || !password_key.chars().all(key) {
            return Err(Wrong::parameter("password_key", "must be a key of the file, such as REDIS_PASSWORD"));
        }
        let usual = RemotePath::new("/opt/redis-stack/bin/redis-cli").map_err(|reason| Wrong::parameter("cli", reason))?;
        let config_file = parameters.config_file;
        let instance = Instance { cli: cli.unwrap_or(usual), address, password_file, password_key, config_file };
        let (anonymous_refused, persistence) = (parameters.anonymous_refused.0, parameters.persistence.0);
        Ok(Self { instance, anonymous_refused, modules: parameters.modules, persistence, exe: parameters.exe })
    }

    fn complaints(&self, said: &Said) -> Vec<String> {
        let Instance { password_file, password_key, config_file, .. } = &self.instance;
        let mut complaints = Vec::new();
        if self.anonymous_refused && !said.anonymous.starts_with("(error) NOAUTH") {
            complaints.push(format!("it answers without a password: PING gave `{}`", said.anonymous));
        }
        if said.auth != "OK" {
            complaints.push(format!("it does not take the password `{password_key}` of {password_file}: {}", said.auth));
            return complaints;
        }
        if said.ping != "PONG" {
            complaints.push(format!("PING gave `{}`", said.ping));
        }
        for module in &self.modules {
            if !said.modules.iter().any(|there| there.eq_ignore_ascii_case(module)) {
                complaints.push(format!("the module `{module}` is not loaded"));
            }
        }
        if self.persistence {
            for (field, good) in GOOD {
                let is = info(said, field).unwrap_or("missing");
                if is != *good {
                    complaints.push(format!("INFO says {field} is {is}, not {good}"));
                }
            }
        }
        if let Some(path) = config_file {
            complaints.extend(self.configuration(path, said));
        }
        if let Some(exe) = self.exe.as_ref().filter(|exe| exe.as_str() != said.exe) {
            let replaced = said.exe.strip_suffix(" (deleted)").is_some_and(|path| path == exe.as_str());
            complaints.push(if replaced {
                format!("{exe} was replaced since it started: restart it")
            } else {
                format!("it runs {}, not {exe}", said.exe)
            });
        }
        complaints
    }

    fn configuration(&self, path: &RemotePath, said: &Said) -> Vec<String> {
        let Some(lines) = &said.file else { return vec![format!("{path} cannot be read")] };
        let mut complaints = redis_conf::differences(lines, &said.running);
        let started = said.info.get("config_file").map_or("", String::as_str);
        if started != path.as_str() {
            complaints.insert(0, format!("it was started with `{started}`, not with {path}"));
        }
        match said.requirepass {
            Requirepass::Different => {
                complaints.push(format!(
                    "requirepass in {path} is not `{}`: after a restart clients are refused",
                    self.instance.password_key
                ));
            }
            Requirepass::None if self.anonymous_refused && !lines.iter().any(|line| line.starts_with("aclfile")) => {
                complaints.push(format!("{path} sets no requirepass: after a restart it answers without a password"));
            }
            Requirepass::None | Requirepass::Same => {}
        }
        complaints
    }
}

/// Fields of INFO's section `persistence` and what they are when data is kept.
const GOOD: &[(&str, &str)] =
    &[("loading", "0"), ("rdb_last_bgsave_status", "ok"), ("aof_last_write_status", "ok"), ("aof_last_bgrewrite_status", "ok")];

fn info<'a>(said: &'a Said, field: &str) -> Option<&'a str> {
    said.info.get(field).map(String::as_str)
}

impl Healthy {
    /// Who is answered, and how old what is kept is, by the node's clock.
    fn found(&self, said: &Said) -> String {
        let mut found = if self.anonymous_refused { "PONG, NOAUTH without password".to_owned() } else { "PONG".to_owned() };
        if !self.persistence {
            return found;
        }
        let number = |field: &str| info(said, field).and_then(|value| value.parse::<u64>().ok());
        let now = number("server_time_usec").map(|micros| micros / 1_000_000);
        if let (Some(now), Some(saved)) = (now, number("rdb_last_save_time")) {
            // Until the first save of its own, Redis gives the time at which it started.
            let _ = write!(found, "; saved {} ago", span(now.saturating_sub(saved)));
            if let Some(changes) = number("rdb_changes_since_last_save").filter(|changes| *changes > 0) {
                let _ = write!(found, ", {changes} change{} since", if changes == 1 { "" } else { "s" });
            }
        }
        found.push_str(match info(said, "aof_enabled") {
            Some("1") => "; AOF on, last write ok",
            Some(_) | None => "; AOF off",
        });
        found
    }
}

impl Resource for Healthy {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Redis>(self.instance.clone());
    }

    fn compare(&self, is: &Is<'_>) -> Result<Verdict, Unanswered> {
        Ok(match is.answers.get::<Redis>(&self.instance)? {
            Answer::Silent(why) => verdict(std::slice::from_ref(why), ""),
            Answer::Said(said) => verdict(&self.complaints(said), self.found(said)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{question::Answers, secret::SecretValues};
    use serde_json::json;

    fn check() -> Healthy {
        let parameters = json!({"socket": "/run/redis.sock", "password_file": "/etc/autobot/database-secrets.env",
            "password_key": "REDIS_PASSWORD", "modules": ["search", "ReJSON"], "config_file": "/etc/redis.conf", "exe": "/opt/redis-server"});
        Healthy::new(decode(parameters).unwrap()).unwrap()
    }

    fn healthy() -> Said {
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
        Said {
            anonymous: "(error) NOAUTH Authentication required.".into(),
            auth: "OK".into(),
            ping: "PONG".into(),
            info: map(&pairs),
            modules: vec!["search".into(), "ReJSON".into(), "bf".into()],
            running: map(&[("port", "6379")]),
            file: Some(vec!["port 6379".into()]),
            requirepass: Requirepass::Same,
            exe: "/opt/redis-server".into(),
        }
    }

    fn complaint(answer: Answer) -> String {
        let mut answers = Answers::default();
        answers.set::<Redis>(check().instance, Ok(answer));
        match check().compare(&Is { answers: &answers, secrets: &SecretValues::default() }).unwrap() {
            Verdict::Converged { note: Some(note) } => format!("ok: {note}"),
            Verdict::Refused(why) => why,
            Verdict::Converged { .. } | Verdict::Change(_) | Verdict::Blocked { .. } => panic!("a check never changes anything"),
        }
    }

    #[test]
    fn a_redis_as_wanted_is_healthy_and_shows_how_old_its_data_on_disk_is() {
        let found = |set: &[(&str, &str)]| {
            let mut said = healthy();
            said.info.extend(set.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())));
            complaint(Answer::Said(Box::new(said)))
        };
        assert_eq!(found(&[]), "ok: PONG, NOAUTH without password; saved 3 min ago, 12 changes since; AOF on, last write ok");
        // A clock that was set back, and fields that are no numbers.
        let odd = [("rdb_last_save_time", "1763999999"), ("rdb_changes_since_last_save", "x"), ("aof_enabled", "0")];
        assert_eq!(found(&odd), "ok: PONG, NOAUTH without password; saved 0 s ago; AOF off");
        assert_eq!(found(&[("server_time_usec", "-1")]), "ok: PONG, NOAUTH without password; AOF on, last write ok");
    }

    #[test]
    fn each_defect_is_named() {
        let broken = |breaks: &dyn Fn(&mut Said)| {
            let mut said = healthy();
            breaks(&mut said);
            complaint(Answer::Said(Box::new(said)))
        };
        for (words, breaks) in [
            (
                "answers without a password: PING gave `PONG`",
                &(|said: &mut Said| said.anonymous = "PONG".into()) as &dyn Fn(&mut Said),
            ),
            ("does not take the password `REDIS_PASSWORD` of /etc/autobot", &|said| said.auth = "(error) WRONGPASS".into()),
            ("PING gave `(error) MISCONF`", &|said| said.ping = "(error) MISCONF".into()),
            ("`ReJSON` is not loaded", &|said| said.modules.truncate(1)),
            ("rdb_last_bgsave_status is err", &|said| {
                said.info.insert("rdb_last_bgsave_status".into(), "err".into());
            }),
            ("aof_last_write_status is err", &|said| {
                said.info.insert("aof_last_write_status".into(), "err".into());
            }),
            ("aof_last_bgrewrite_status is err", &|said| {
                said.info.insert("aof_last_bgrewrite_status".into(), "err".into());
            }),
            ("loading is 1, not 0", &|said| {
                said.info.insert("loading".into(), "1".into());
            }),
            ("loading is missing", &|said| said.info.clear()),
            ("`port` is `6379`, the file says `1`", &|said| said.file = Some(vec!["port 1".into()])),
            ("/etc/redis.conf cannot be read", &|said| said.file = None),
            ("started with `/opt/redis-stack.conf`, not with", &|said| {
                said.info.insert("config_file".into(), "/opt/redis-stack.conf".into());
            }),
            ("after a restart clients are refused", &|said| said.requirepass = Requirepass::Different),
            ("sets no requirepass", &|said| said.requirepass = Requirepass::None),
            ("replaced since it started", &|said| said.exe = "/opt/redis-server (deleted)".into()),
            ("it runs /bin/other, not /opt/redis-server", &|said| said.exe = "/bin/other".into()),
        ] {
            let complaint = broken(breaks);
            assert!(complaint.contains(words), "{words}: {complaint}");
        }
        assert_eq!(complaint(Answer::Silent("there is no /x".into())), "there is no /x");
    }

    #[test]
    fn wrong_parameters_say_what_to_do() {
        let wrong = |parameters| Healthy::new(decode(parameters).unwrap()).is_err();
        assert!(wrong(json!({"socket": "/s", "port": 1, "password_file": "/f", "password_key": "K"})));
        assert!(wrong(json!({"password_file": "/f", "password_key": "K=*"})));
        assert!(decode::<Parameters>(json!({"password_file": "/f"})).is_err());
    }
}
