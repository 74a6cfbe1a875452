//! `redis_existing_data`: refuses to go on when Redis would start beside keys that it would not load.

use serde_json::Value;

use super::{Files, Kind, NodeState, OneOrMany, ParamError, RemotePath, Resource, Verdict, decode, schema::parameters};
use crate::{
    question::{
        Questions, Unanswered,
        redis_data::{Place, RedisFiles, RedisServers, Server},
        unit::full_name,
    },
    script::quote,
};

pub(super) const KIND: Kind = Kind {
    name: "redis_existing_data",
    about: "Refuses to go on when Redis would leave behind the keys of another Redis, or of its own snapshot",
    example: "redis_existing_data: {path: /opt/app/redis, unit: app-redis.service, foreign: [/var/lib/redis]}",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The directory in which Redis keeps its data, with an append-only file. A snapshot without such a file beside it is refused,
        /// because Redis would not read it.
        path: Option<RemotePath>,
        /// The volume of Docker in which Redis keeps its data, in place of `path`.
        volume: Option<String>,
        /// The unit of Redis. With it, every other Redis server that runs is refused.
        unit: Option<String>,
        /// Directories in which another Redis may have left data. Files with keys are refused.
        foreign: OneOrMany<RemotePath> = [],
        /// Data directories of other Redis servers that may stay, running or not.
        neighbours: OneOrMany<RemotePath> = [],
        /// What to do with the data of another Redis.
        help: String = "",
    }
}

#[derive(Debug)]
struct RedisExistingData {
    own: Place,
    /// The full name of the own unit.
    unit: Option<String>,
    /// Directories to look at, without the own one and without neighbours.
    foreign: Vec<RemotePath>,
    neighbours: Vec<RemotePath>,
    help: String,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    Ok(Box::new(RedisExistingData::new(decode(parameters)?)?))
}

impl RedisExistingData {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let Parameters { path, volume, unit, foreign, neighbours, help } = parameters;
        let own = match (path, volume) {
            (Some(path), None) => Place::Directory(path),
            (None, Some(name)) if is_volume(&name) => Place::Volume(name),
            (None, Some(name)) => {
                return Err(ParamError::parameter("volume", format!("`{name}` is not the name of a volume of Docker")));
            }
            (None, None) | (Some(_), Some(_)) => {
                return Err(ParamError::parameter("", "say either `path` or `volume`: where Redis keeps its data"));
            }
        };
        let unit = unit.map(|name| full_name(&name)).transpose().map_err(|message| ParamError::parameter("unit", message))?;
        let neighbours = neighbours.0;
        let is_known = |path: &RemotePath| neighbours.contains(path) || matches!(&own, Place::Directory(own) if own == path);
        let foreign = foreign.0.into_iter().filter(|path| !is_known(path)).collect();
        let help = if help.is_empty() { default_help(&own) } else { help };
        Ok(Self { own, unit, foreign, neighbours, help })
    }

    /// Describes a server that is neither the own one nor a neighbour.
    fn other_server(&self, server: &Server) -> Option<String> {
        let is_neighbour = self.neighbours.iter().any(|path| path.as_str() == server.directory);
        if is_neighbour || self.unit.as_ref() == Some(&server.unit) {
            return None;
        }
        let (directory, unit) = (server.directory.escape_debug(), server.unit.escape_debug());
        let unit = if server.unit.is_empty() { "no unit".to_owned() } else { unit.to_string() };
        let (pid, help) = (server.pid, &self.help);
        Some(format!("another Redis runs in {directory} (redis-server, pid {pid}, {unit}): stop it and {help}"))
    }

    /// Names a file with keys in a directory of another Redis.
    fn foreign_keys(&self, path: &RemotePath, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        let found = node.answers.get::<RedisFiles>(&Place::Directory(path.clone()))?.as_ref();
        let file = found.and_then(|found| found.with_keys.first());
        Ok(file.map(|file| format!("{path}/{} holds keys of another Redis: {}", file.escape_debug(), self.help)))
    }

    /// Says how to keep the own snapshot. With an append-only file turned on, Redis reads nothing else.
    fn unread_snapshot(&self, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        let Some(found) = node.answers.get::<RedisFiles>(&self.own)? else { return Ok(None) };
        if found.append_only || !found.with_keys.iter().any(|file| file == SNAPSHOT) {
            return Ok(None);
        }
        let path = &found.path;
        let word = |rest: &str| quote(&format!("{path}/{rest}")).map_err(|error| Unanswered(error.to_string()));
        let (snapshot, directory) = (word(SNAPSHOT)?, word("appendonlydir")?);
        let (base, manifest) = (word("appendonlydir/appendonly.aof.1.base.rdb")?, word("appendonlydir/appendonly.aof.manifest")?);
        let first = match self.own {
            Place::Directory(_) => "",
            Place::Volume(_) => "stop the container, then ",
        };
        Ok(Some(format!(
            "{path}/{SNAPSHOT} holds keys and has no append-only file beside it, so that Redis would start empty: {first}mkdir -p {directory} && \
             mv {snapshot} {base} && echo file appendonly.aof.1.base.rdb seq 1 type b >{manifest}"
        )))
    }
}

/// The file of Redis's snapshots.
const SNAPSHOT: &str = "dump.rdb";

/// Whether Docker accepts this name of a volume.
fn is_volume(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
}

fn default_help(own: &Place) -> String {
    let own = match own {
        Place::Directory(path) => path.to_string(),
        Place::Volume(name) => format!("the volume `{name}`"),
    };
    format!("move its data to {own}, or name the directory in `neighbours` if it may stay")
}

impl Resource for RedisExistingData {
    fn questions(&self, ask: &mut Questions) {
        if self.unit.is_some() {
            ask.ask::<RedisServers>(());
        }
        for path in &self.foreign {
            ask.ask::<RedisFiles>(Place::Directory(path.clone()));
        }
        ask.ask::<RedisFiles>(self.own.clone());
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let mut found = Vec::new();
        if self.unit.is_some() {
            found.extend(node.answers.get::<RedisServers>(&())?.iter().filter_map(|server| self.other_server(server)));
        }
        for path in &self.foreign {
            found.extend(self.foreign_keys(path, node)?);
        }
        found.extend(self.unread_snapshot(node)?);
        Ok(if found.is_empty() { Verdict::CONVERGED } else { Verdict::Refused(found.join("; ")) })
    }
}

#[cfg(test)]
#[path = "redis_existing_data_tests.rs"]
mod tests;
