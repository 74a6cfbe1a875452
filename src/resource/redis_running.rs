//! `redis_running`: a running Redis has the settings of its file, and lets in those whom it declares. What differs is set back while it runs.

use serde_json::Value;

use super::{
    Change, Diff, Files, Flag, Kind, NodeState, ParamError, Reach, RemotePath, Resource, Verdict, decode, schema::parameters,
    unit_functions,
};
use crate::question::{
    Questions, Unanswered,
    redis::{Address, Answer, Instance, PASSWORD, Redis, Replies, Requirepass},
    redis_conf,
    unit::{Unit, full_name},
};

pub(super) const KIND: Kind = Kind {
    name: "redis_running",
    about: "Sets a running Redis back to its file: settings, save points, users, and a server that it became a replica of",
    example: "redis_running:
  unit: autobot-database-redis.service
  cli: /opt/redis-stack/bin/redis-cli
  password_file: /etc/autobot/database-secrets.env
  config_file: /etc/autobot/redis.conf",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// Its unit. A Redis that does not run is left alone; one that does is restarted for what it takes from its file only, and if it
        /// refuses its own password or its own port.
        unit: String,
        /// The container of that unit in which it runs, by its name: that is restarted then, and not the unit.
        container: Option<String>,
        /// Its client.
        cli: RemotePath,
        /// The addresses of `bind`; it is asked at one of them, which is loopback where it listens there.
        bind: String = "",
        /// Its port.
        port: u16 = 6379,
        /// The file that holds its password.
        password_file: RemotePath,
        /// The password's name in that file.
        password_key: String = "REDIS_PASSWORD",
        /// Its configuration. Leave the task out where this changes: a handler then restarts Redis.
        config_file: RemotePath,
        /// Whether an append-only file that was switched off is switched on, and nothing else; it is complete before the task ends. A Redis
        /// that is restarted without that would start with old keys, so this is a task of its own, before those that restart it.
        append_only: Flag = false,
    }
}

#[derive(Debug)]
struct RedisRunning {
    unit: String,
    container: Option<String>,
    instance: Instance,
    append_only: bool,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    Ok(Box::new(RedisRunning::new(decode(parameters)?)?))
}

/// What differs, and how it is set back.
#[derive(Debug, Default)]
struct Repair {
    diff: Diff,
    /// What is set back, in a few words each.
    words: Vec<String>,
    resets_default: bool,
    restarts: bool,
    /// Lines of input for redis-cli.
    commands: Vec<String>,
}

impl RedisRunning {
    fn new(given: Parameters) -> Result<Self, ParamError> {
        let unit = full_name(&given.unit).map_err(|message| ParamError::parameter("unit", message))?;
        // As Docker takes it: a name cannot be an option then.
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name.chars().all(|character| character.is_ascii_alphanumeric() || "_.-".contains(character))
        };
        if let Some(name) = given.container.as_ref().filter(|name| !is_name(name)) {
            return Err(ParamError::parameter("container", format!("`{}` is not the name of a container", name.escape_debug())));
        }
        let instance = Instance {
            cli: given.cli,
            address: Address::bound(&given.bind, given.port),
            password_file: given.password_file,
            password_key: given.password_key,
            config_file: Some(given.config_file),
        };
        Ok(Self { unit, container: given.container, instance, append_only: given.append_only.0 })
    }

    fn repair(&self, replies: &Replies) -> Repair {
        let mut repair = Repair::default();
        // Without its file, nothing says how it should be; another task writes the file, and a handler restarts it.
        let Some(lines) = &replies.file else { return repair };
        let is_in = replies.was_answered();
        if !is_in && replies.requirepass == Requirepass::Same && !self.append_only {
            repair.restarts = true;
            repair.words.push("restart, because it refuses its own password".to_owned());
            repair.diff.attribute("password", "another one", &format!("`{}`", self.instance.password_key));
        }
        if let Some(server) = redis_conf::replica_of(replies).filter(|_| is_in && !self.append_only) {
            repair.diff.attribute("replica of", &server, "no server");
            repair.commands.push("REPLICAOF NO ONE".to_owned());
            repair.words.push(format!("a replica of {server}"));
        }
        let differences = if is_in { redis_conf::differences(lines, &replies.running) } else { Vec::new() };
        for difference in differences {
            // One that the server does not know is in a file that Redis would not start with.
            let Some(is) = &difference.is else { continue };
            let is_append_only = difference.name == "appendonly";
            if is_append_only != self.append_only || (is_append_only && is == "yes") {
                continue;
            }
            repair.diff.attribute(&difference.name, shown(is), shown(&difference.wanted));
            repair.commands.push(redis_conf::set_command(&difference.name, &difference.wanted));
            repair.words.push(format!("`{}`", difference.name));
        }
        if !self.append_only {
            self.repair_users(replies, &mut repair);
        }
        repair
    }

    fn repair_users(&self, replies: &Replies, repair: &mut Repair) {
        let drift = redis_conf::users(replies, &self.instance.password_key);
        if let Some(what) = drift.default {
            repair.resets_default = true;
            repair.words.push("the user `default`".to_owned());
            repair.diff.attribute(
                "user `default`",
                &what,
                &format!("needs `{}` and may do everything", self.instance.password_key),
            );
        }
        for (name, what) in drift.changed {
            // The script takes the rules, which may hold passwords, from the file on the node.
            repair.commands.push(format!("{USER_OF_FILE}{name}"));
            repair.words.push(format!("the user `{}`", name.escape_debug()));
            repair.diff.attribute(&format!("user `{}`", name.escape_debug()), what, "as in its file");
        }
        for name in drift.open {
            repair.commands.push(format!("ACL SETUSER {} off", quoted(name)));
            repair.commands.push(format!("CLIENT KILL USER {}", quoted(name)));
            let shown = name.escape_debug();
            repair.words.push(format!("the user `{shown}`"));
            repair.diff.attribute(&format!("user `{shown}`"), "needs no password", "off");
        }
    }

    fn change(&self, repair: Repair) -> Change {
        let Instance { cli, password_file, password_key, address, config_file, .. } = &self.instance;
        let [host, port] = address.words();
        let word = |is: bool, word: &str| if is { word.to_owned() } else { String::new() };
        let arguments = [
            cli.to_string(),
            host,
            port,
            password_file.to_string(),
            password_key.clone(),
            self.unit.clone(),
            word(repair.resets_default, "reset"),
            word(repair.restarts, "restart"),
            config_file.as_ref().map(ToString::to_string).unwrap_or_default(),
            self.container.clone().unwrap_or_default(),
        ];
        let script =
            unit_functions::script(include_str!("redis_running.sh")).using(PASSWORD).args(arguments).args(repair.commands);
        let summary = if repair.restarts { repair.words.join(", ") } else { format!("set back {}", repair.words.join(", ")) };
        Change::new(summary, script).diff(repair.diff).replacing(true)
    }
}

/// Begins a line in place of which the script gives redis-cli the rules of a user, as the file has them.
const USER_OF_FILE: &str = "@user ";

/// Returns a value as a file would have it.
fn shown(value: &str) -> &str {
    if value.is_empty() { "\"\"" } else { value }
}

/// Quotes a user's name for redis-cli; Redis allows neither spaces nor NUL bytes in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Resource for RedisRunning {
    fn reach(&self) -> Reach<'_> {
        Reach::Contained(&[])
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Unit>(self.unit.clone());
        ask.ask::<Redis>(self.instance.clone());
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        if !node.answers.get::<Unit>(&self.unit)?.is_up() {
            return Ok(Verdict::CONVERGED);
        }
        let replies = match node.answers.get::<Redis>(&self.instance)? {
            Answer::Replies(replies) => replies,
            Answer::Refused(_) if !self.append_only => {
                let mut repair = Repair { restarts: true, ..Repair::default() };
                let Address::Tcp(_, port) = &self.instance.address else { return Ok(Verdict::CONVERGED) };
                repair.words.push(format!("restart, because it does not listen on port {port}"));
                repair.diff.attribute("port", "another one", &port.to_string());
                return Ok(Verdict::Change(self.change(repair)));
            }
            // The health check says why.
            Answer::Refused(_) | Answer::Unavailable(_) => return Ok(Verdict::CONVERGED),
        };
        let repair = self.repair(replies);
        if repair.words.is_empty() {
            let warning = redis_conf::users(replies, &self.instance.password_key).warning();
            return Ok(Verdict::Converged { note: warning.filter(|_| !self.append_only) });
        }
        Ok(Verdict::Change(self.change(repair)))
    }
}

#[cfg(test)]
#[path = "redis_running_tests.rs"]
mod tests;
