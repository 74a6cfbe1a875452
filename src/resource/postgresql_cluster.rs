//! `postgresql_cluster`: a cluster of PostgreSQL as Debian lays it out. It is made, never altered and never dropped.

use serde_json::Value;

use super::{
    Change, Diff, Files, Flag, Kind, Missing, NodeState, ParamError, Reach, Resource, Verdict, decode, postgresql_conf::Text,
    schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        locale::{Locales, codeset, listed_name},
        pg_cluster::{Cluster, ETC},
        pg_files::{ClusterFiles, DATA, MARKS, PROGRAMS, PgFiles, PgLayout},
    },
    script::Script,
};

pub(super) const KIND: Kind = Kind {
    name: "postgresql_cluster",
    about: "Makes a cluster of PostgreSQL with Debian's tools; never alters or drops one",
    example: r#"postgresql_cluster: {version: "17", port: 5432, locale: C.UTF-8}"#,
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The major version of PostgreSQL, whose package an earlier task installs.
        version: Text,
        /// The cluster's name.
        name | cluster: String = "main",
        /// The port of its server. That of an existing cluster must be the same.
        port: u16 = 5432,
        /// The locale of a new cluster, which the node must have. C.UTF-8 is the one that every Debian has.
        locale: String = "C.UTF-8",
        /// The encoding of a new cluster.
        encoding: String = "UTF8",
        /// Whether a new cluster has checksums of its pages.
        checksums | data_checksums: Flag = true,
        /// Whether clusters of other versions, and data without a cluster, are refused. Others of this version may run beside it, on ports of their own.
        only: Flag = false,
    }
}

/// The first version in which initdb makes checksums unless it is told not to.
const CHECKSUMS_BY_DEFAULT: u32 = 18;

/// How many locales a message lists.
const LISTED: usize = 10;

/// What an unfinished creation is moved to begins with the cluster's name and this.
const MOVED_ASIDE: &str = ".unfinished-";

#[derive(Debug)]
struct PostgresqlCluster {
    version: String,
    name: String,
    port: u16,
    locale: String,
    encoding: String,
    checksums: bool,
    only: bool,
}

/// How far the cluster has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There is none.
    Absent,
    /// Its creation was interrupted, and no server ever ran on it.
    Unfinished,
    /// A server has used it, but the mark of its creation is left.
    Marked,
    /// It is complete.
    Complete,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    Ok(Box::new(PostgresqlCluster::new(decode(parameters)?)?))
}

impl PostgresqlCluster {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let Parameters { version: Text(version), name, port, locale, encoding, checksums, only } = parameters;
        let parts: Vec<&str> = version.split('.').collect();
        if parts.len() > 2 || parts.iter().any(|part| part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(ParamError::parameter("version", format!("`{version}` is not a version of PostgreSQL, such as \"17\"")));
        }
        let Cluster { name, .. } = Cluster::new(name, None).map_err(|(_, reason)| ParamError::parameter("name", reason))?;
        if name.contains(MOVED_ASIDE) {
            return Err(ParamError::parameter("name", format!("`{name}` looks like what an interrupted creation leaves behind")));
        }
        if port == 0 {
            return Err(ParamError::parameter("port", "is 0; give the port at which the server listens, such as 5432"));
        }
        if !is_word(&encoding, "_-") {
            return Err(ParamError::parameter("encoding", format!("`{encoding}` is not an encoding, such as `UTF8`")));
        }
        if !is_word(&locale, "_-.@+") {
            return Err(ParamError::parameter("locale", format!("`{locale}` is not a locale, such as `C.UTF-8`")));
        }
        if is_utf8(&encoding) && !is_built_in(&locale) && codeset(&locale) != "utf8" {
            let message = format!(
                "`{locale}` does not fit the encoding {encoding}: it can be `C`, `POSIX`, or one that ends in `.UTF-8`, such as de_DE.UTF-8"
            );
            return Err(ParamError::parameter("locale", message));
        }
        Ok(Self { version, name, port, locale, encoding, checksums: checksums.0, only: only.0 })
    }

    /// Its name as `pg_lsclusters` writes it.
    fn id(&self) -> String {
        format!("{}/{}", self.version, self.name)
    }

    fn own<'a>(&self, layout: &'a PgLayout) -> Option<&'a ClusterFiles> {
        layout.clusters.get(&self.id())
    }

    fn progress(&self, layout: &PgLayout) -> Progress {
        match self.own(layout) {
            Some(ClusterFiles { mark: true, started: false, .. }) => Progress::Unfinished,
            Some(ClusterFiles { port: None, .. }) | None => Progress::Absent,
            Some(ClusterFiles { mark: true, .. }) => Progress::Marked,
            Some(_) => Progress::Complete,
        }
    }

    /// Returns why the cluster cannot be as declared: nothing that exists is ignored or overwritten.
    fn refusal(&self, layout: &PgLayout, progress: Progress) -> Option<String> {
        self.others(layout).or_else(|| self.orphans(layout)).or_else(|| match progress {
            Progress::Absent | Progress::Unfinished => self.taken_port(layout),
            Progress::Marked | Progress::Complete => self.other_port(layout),
        })
    }

    /// Looks for clusters that are not asked for. One of the same version on another port is no obstacle to a cluster that exists; where that does not
    /// exist, the other may hold the data that is meant.
    fn others(&self, layout: &PgLayout) -> Option<String> {
        let id = self.id();
        let port = self.own(layout).and_then(|own| own.port.as_ref());
        let exists = port.is_some();
        let is_neighbour = |name: &str, files: &ClusterFiles| {
            name.split_once('/').is_some_and(|(version, _)| version == self.version) && files.port.as_ref() != port
        };
        let existing = layout.clusters.iter().filter(|(name, files)| files.port.is_some() && **name != id);
        let others: Vec<&str> =
            existing.filter(|(name, files)| !(exists && is_neighbour(name, files))).map(|(name, _)| name.as_str()).collect();
        let first = *others.first().filter(|_| self.only)?;
        let list = escaped(others.iter().copied(), "");
        let plural = if others.len() == 1 { "" } else { "s" };
        let of_this_version = first.split_once('/').filter(|(version, _)| *version == self.version);
        Some(match of_this_version {
            Some((version, other)) if exists => {
                let (other, port) = (other.escape_debug(), port.map(String::as_str).unwrap_or_default());
                format!(
                    "this node has the PostgreSQL cluster{plural} {list} with port {port}, which is that of {id}: give it another one, `pg_conftool {version} \
                     {other} set port …`, or remove it, `pg_dropcluster {version} {other}`, if its data is not needed"
                )
            }
            Some((version, other)) => {
                let (other, name) = (other.escape_debug(), &self.name);
                format!(
                    "this node has the PostgreSQL cluster{plural} {list}, and {id} is asked for: rename it, `pg_renamecluster {version} {other} {name}`, or \
                     remove it, `pg_dropcluster {version} {other}`, if its data is not needed"
                )
            }
            None if exists => format!(
                "this node has the PostgreSQL cluster{plural} {list} beside {id}, and only {id} is asked for: move the data of the other{plural} to another \
                 node, then `pg_dropcluster` removes the cluster{plural}"
            ),
            None => format!(
                "this node has the PostgreSQL cluster{plural} {list}, and {id} is asked for: ask for the version that holds the data, or upgrade it first"
            ),
        })
    }

    fn orphans(&self, layout: &PgLayout) -> Option<String> {
        let id = self.id();
        let is_orphan = |(name, files): &(&String, &ClusterFiles)| {
            // What an interrupted run began and no server ever used holds no data.
            files.data
                && files.port.is_none()
                && (files.started || !files.mark)
                && !name.contains(MOVED_ASIDE)
                && (self.only || **name == id)
        };
        let orphans: Vec<&str> = layout.clusters.iter().filter(is_orphan).map(|(name, _)| name.as_str()).collect();
        if orphans.is_empty() {
            return None;
        }
        let at = |directory: &str| escaped(orphans.iter().copied(), &format!("{directory}/"));
        let (data, etc) = (at(DATA), at(ETC));
        Some(format!(
            "{data} holds data, and its configuration in {ETC} is gone: restore {etc} from a backup, or move the data away"
        ))
    }

    /// Compares the port of the existing cluster.
    fn other_port(&self, layout: &PgLayout) -> Option<String> {
        let actual = self.own(layout)?.port.as_deref()?;
        let Self { version, name, port, .. } = self;
        (actual != port.to_string()).then(|| {
            format!(
                "PostgreSQL {version}/{name} listens on port {actual}, and port {port} is declared: declare port {actual}. To move the cluster, deploy \
                 with its port, then say on the node `pg_conftool {version} {name} set port {port}` and `systemctl restart \
                 postgresql@{version}-{name}`, and only then declare port {port}"
            )
        })
    }

    /// Looks for another cluster with the port of the new one.
    fn taken_port(&self, layout: &PgLayout) -> Option<String> {
        let (id, port) = (self.id(), self.port.to_string());
        let (other, _) = layout.clusters.iter().find(|(name, files)| **name != id && files.port.as_deref() == Some(&port))?;
        let other = other.escape_debug();
        Some(format!("the PostgreSQL cluster {other} uses port {port}, which {id} cannot have, too: declare another port"))
    }

    /// Returns why the node cannot make a cluster with the locale.
    fn lacking_locale(&self, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        if is_built_in(&self.locale) {
            return Ok(None);
        }
        let existing = node.answers.get::<Locales>(&())?;
        let listed = listed_name(&self.locale);
        if existing.contains(&listed) {
            return Ok(None);
        }
        let (locale, wants_utf8) = (&self.locale, is_utf8(&self.encoding));
        let fitting: Vec<&str> =
            existing.iter().map(String::as_str).filter(|name| !wants_utf8 || codeset(name) == "utf8").collect();
        let more = if fitting.len() > LISTED { ", …" } else { "" };
        let list = escaped(fitting.into_iter().take(LISTED), "");
        Ok(Some(if wants_utf8 {
            format!(
                "this node has no UTF-8 locale `{locale}` (it has {list}{more}): leave the locale out for C.UTF-8, which is everywhere, or make it \
                 on the node: `apt-get install locales`, the line `{locale} UTF-8` in /etc/locale.gen, `locale-gen`"
            )
        } else {
            format!(
                "this node has no locale `{locale}` (it has {list}{more}): make it on the node, with `apt-get install locales` and its line in \
                 /etc/locale.gen, then `locale-gen`"
            )
        }))
    }

    /// Returns the programs that are needed and not installed.
    fn missing(&self, layout: &PgLayout) -> Vec<Missing> {
        let version = &self.version;
        let createcluster =
            (!layout.has_createcluster).then(|| "program `pg_createcluster` (package `postgresql-common`)".to_owned());
        let initdb = (!layout.versions.contains(version))
            .then(|| format!("program `{PROGRAMS}/{version}/bin/initdb` (package `postgresql-{version}`)"));
        createcluster.into_iter().chain(initdb).map(Missing::Other).collect()
    }

    fn change(&self, progress: Progress) -> Change {
        let id = self.id();
        let script = self.script(ETC, DATA, MARKS);
        if progress == Progress::Marked {
            return Change::new(format!("{id} is complete: remove the mark that it is not"), script);
        }
        let mut diff = Diff::none();
        diff.attribute("port", "", &self.port.to_string());
        diff.attribute("locale", "", &self.locale);
        diff.attribute("encoding", "", &self.encoding);
        diff.attribute("checksums", "", if self.checksums { "on" } else { "off" });
        let again = if progress == Progress::Unfinished { " again, because its creation was interrupted" } else { "" };
        Change::new(format!("create {id}{again}"), script).diff(diff.titled(format!("cluster {id}")))
    }

    fn script(&self, etc: &str, data: &str, marks: &str) -> Script {
        Script::new(include_str!("postgresql_cluster/create.sh"))
            .args([self.version.as_str(), self.name.as_str()])
            .arg(self.port.to_string())
            .args([self.locale.as_str(), self.encoding.as_str(), self.checksum_option(), etc, data, marks])
    }

    /// Returns initdb's option, or nothing where its default is wanted.
    fn checksum_option(&self) -> &'static str {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        let on_by_default = major.is_some_and(|major| major >= CHECKSUMS_BY_DEFAULT);
        match (self.checksums, on_by_default) {
            (true, _) => "--data-checksums",
            (false, true) => "--no-data-checksums",
            (false, false) => "",
        }
    }
}

impl Resource for PostgresqlCluster {
    fn reach(&self) -> Reach<'_> {
        Reach::Contained(&["/etc/postgresql", "/var/lib/postgresql"])
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<PgFiles>(());
        if !is_built_in(&self.locale) {
            ask.ask::<Locales>(());
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let layout = node.answers.get::<PgFiles>(&())?;
        let progress = self.progress(layout);
        // Refused also where the cluster exists: roles give the same locale to new databases.
        let refusal = match self.refusal(layout, progress) {
            Some(reason) => Some(reason),
            None => self.lacking_locale(node)?,
        };
        if let Some(reason) = refusal {
            return Ok(Verdict::Refused(reason));
        }
        let change = match progress {
            Progress::Complete => return Ok(Verdict::CONVERGED),
            Progress::Marked => return Ok(Verdict::Change(self.change(progress))),
            Progress::Absent | Progress::Unfinished => self.change(progress),
        };
        let missing = self.missing(layout);
        Ok(if missing.is_empty() { Verdict::Change(change) } else { Verdict::Blocked { missing, change } })
    }
}

/// Whether the C library itself has the locale, for any encoding.
fn is_built_in(locale: &str) -> bool {
    matches!(locale, "C" | "POSIX")
}

/// Whether this is one of PostgreSQL's names of UTF-8, in which case and punctuation do not matter.
fn is_utf8(encoding: &str) -> bool {
    let plain: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
    plain.eq_ignore_ascii_case("utf8") || plain.eq_ignore_ascii_case("unicode")
}

/// Whether this is a word of letters, digits and these characters, that begins with a letter or digit.
fn is_word(text: &str, also: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || also.contains(character))
}

/// Returns names from the node as a list for a message, each after `prefix`.
fn escaped<'a>(names: impl IntoIterator<Item = &'a str>, prefix: &str) -> String {
    names.into_iter().map(|name| format!("{prefix}{}", name.escape_debug())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
