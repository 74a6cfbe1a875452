//! What another Redis has on a node: servers that run, and files that hold keys. Neither needs Redis's tools.

use super::{Kind, Lane, Output, Turn, Unanswered, port_owner::innermost_unit};
use crate::{script::Script, values::RemotePath};

/// Marker for the kind "Redis servers that run".
#[derive(Debug)]
pub struct RedisServers;

/// A Redis server that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its process id.
    pub pid: u32,
    /// The systemd unit that it belongs to, such as `redis-server.service`; empty when there is none.
    pub unit: String,
    /// Its working directory, in which it keeps its data. It may contain any characters.
    pub directory: String,
}

impl Kind for RedisServers {
    type Key = ();
    type Answer = Vec<Server>;
    const NAME: &'static str = "redis-servers";
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;

    fn script(_: &[&()]) -> Script {
        servers_script("/proc")
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Vec<Server>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("Redis servers", keys.len());
        }
        let servers = servers(&String::from_utf8_lossy(&output.stdout));
        keys.iter().map(|()| servers.clone()).collect()
    }
}

fn servers_script(processes: &str) -> Script {
    Script::new(include_str!("redis_servers.sh")).arg(processes)
}

fn servers(text: &str) -> Result<Vec<Server>, Unanswered> {
    let mut servers = Vec::new();
    let fields: Vec<&str> = text.split('\0').collect();
    for record in fields.chunks(3) {
        let malformed =
            || Unanswered(format!("the node's answer about Redis servers is malformed: {}", record.join(" ").escape_debug()));
        let &[pid, group, directory] = record else { return Err(malformed()) };
        if pid == "end" {
            return Ok(servers);
        }
        let pid = pid.parse().map_err(|_| malformed())?;
        servers.push(Server { pid, unit: innermost_unit(group), directory: directory.to_owned() });
    }
    Err(Unanswered("the node's answer about Redis servers ended early".to_owned()))
}

/// Where Redis may have data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// This directory.
    Directory(RemotePath),
    /// The volume of Docker with this name.
    Volume(String),
}

/// Marker for the kind "files of a Redis".
#[derive(Debug)]
pub struct RedisFiles;

/// A directory in which Redis may have data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory {
    /// The directory. That of a volume is known to Docker only.
    pub path: RemotePath,
    /// Whether it has the manifest of an append-only file.
    pub append_only: bool,
    /// The files that hold keys, by their names in the directory. They may contain any characters.
    pub with_keys: Vec<String>,
}

impl Kind for RedisFiles {
    type Key = Place;
    /// `None` if the place does not exist.
    type Answer = Option<DataDirectory>;
    const NAME: &'static str = "redis-files";
    /// The data may be on another file system, and Docker's daemon is asked: both may hang.
    const LANE: Lane = Lane::Servers;
    const IN_PLACE: bool = true;

    fn script(places: &[&Place]) -> Script {
        Script::new(include_str!("redis_files.sh")).args(places.iter().flat_map(|place| match place {
            Place::Directory(path) => ["directory".to_owned(), path.to_string()],
            Place::Volume(name) => ["volume".to_owned(), name.clone()],
        }))
    }

    fn read(places: &[&Place], output: &Output) -> Vec<Result<Option<DataDirectory>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("files of Redis", places.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<&str> = text.split('\0').collect();
        let mut records = fields.chunks(2);
        places.iter().map(|_| data_directory(&mut records)).collect()
    }
}

/// Reads the records of one place.
fn data_directory(records: &mut std::slice::Chunks<'_, &str>) -> Result<Option<DataDirectory>, Unanswered> {
    let mut found: Option<DataDirectory> = None;
    let mut trouble = None;
    // Every answer is read to its end, so that the next one starts at the right record.
    for record in records {
        match (record, &mut found) {
            (&["end", ""], _) => return trouble.map_or(Ok(found), Err),
            (&["directory", path], None) => match RemotePath::new(path) {
                Ok(path) => found = Some(DataDirectory { path, append_only: false, with_keys: Vec::new() }),
                Err(_) => trouble = Some(malformed(record)),
            },
            (&["unreadable", path], _) => {
                trouble = Some(Unanswered(format!("`{}`, where Redis may have data, cannot be read", path.escape_debug())));
            }
            (&["append-only", ""], Some(found)) => found.append_only = true,
            (&["keys", name], Some(found)) => found.with_keys.push(name.to_owned()),
            _ => trouble = Some(malformed(record)),
        }
    }
    Err(trouble.unwrap_or_else(|| Unanswered("the node's answer about files of Redis ended early".to_owned())))
}

fn malformed(record: &[&str]) -> Unanswered {
    Unanswered(format!("the node's answer about files of Redis is malformed: {}", record.join(" ").escape_debug()))
}

#[cfg(test)]
#[path = "redis_data_tests.rs"]
mod tests;
