//! PostgreSQL's clusters as files: their configurations and data, the marks of unfinished ones, and the installed programs.
//!
//! Unlike [`super::pg_cluster`], this needs no server and no package of PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Lane, Output, Unanswered};
use crate::script::Script;

/// The directory in which Debian keeps a directory for each version and, below it, one with the data of each cluster.
pub const DATA: &str = "/var/lib/postgresql";

/// The directory of the marks of unfinished clusters: `cluster-<version>-<name>`.
pub const MARKS: &str = "/var/lib/autobot-provision";

/// The directory of PostgreSQL's programs, by version.
pub const PROGRAMS: &str = "/usr/lib/postgresql";

/// Marker for the kind "files of PostgreSQL".
#[derive(Debug)]
pub struct PgFiles;

/// The answer to [`PgFiles`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PgLayout {
    /// What there is of each cluster, by names such as `17/main`. They are names of files, and may contain anything.
    pub clusters: BTreeMap<String, ClusterFiles>,
    /// The versions whose server programs are installed.
    pub versions: BTreeSet<String>,
    /// Whether Debian's `pg_createcluster` is installed.
    pub has_createcluster: bool,
}

/// What there is of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterFiles {
    /// The port in its configuration, if that exists.
    pub port: Option<String>,
    /// Whether its directory holds data, or the beginning of it.
    pub data: bool,
    /// Whether a server was ever started on its data.
    pub started: bool,
    /// Whether the mark says that its creation was not finished.
    pub mark: bool,
}

impl Kind for PgFiles {
    type Key = ();
    type Answer = PgLayout;
    const NAME: &'static str = "postgresql-files";
    /// The data may be on another file system, which may hang.
    const LANE: Lane = Lane::Servers;
    const IN_PLACE: bool = true;

    fn script(_: &[&()]) -> Script {
        script(super::pg_cluster::ETC, DATA, MARKS, PROGRAMS)
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<PgLayout, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("PostgreSQL's files", keys.len());
        }
        let layout = layout(&String::from_utf8_lossy(&output.stdout));
        keys.iter().map(|()| layout.clone()).collect()
    }
}

fn script(etc: &str, data: &str, marks: &str, programs: &str) -> Script {
    Script::new(include_str!("pg_files.sh")).args([etc, data, marks, programs])
}

fn layout(text: &str) -> Result<PgLayout, Unanswered> {
    let mut layout = PgLayout::default();
    let fields: Vec<&str> = text.split('\0').collect();
    for record in fields.chunks(3) {
        let malformed = || {
            Unanswered(format!("the node's answer about PostgreSQL's files is malformed: {}", record.join(" ").escape_debug()))
        };
        let &[what, name, value] = record else { return Err(malformed()) };
        if what == "end" {
            return Ok(layout);
        }
        if what == "program" {
            if name == "pg_createcluster" {
                layout.has_createcluster = true;
            } else {
                layout.versions.insert(name.to_owned());
            }
            continue;
        }
        let files = layout.clusters.entry(name.to_owned()).or_default();
        match what {
            "configuration" => files.port = Some(value.to_owned()),
            "data" => files.data = true,
            "started" => files.started = true,
            "mark" => files.mark = true,
            _ => return Err(malformed()),
        }
    }
    Err(Unanswered("the node's answer about PostgreSQL's files ended early".to_owned()))
}

#[cfg(test)]
#[path = "pg_files_tests.rs"]
mod tests;
