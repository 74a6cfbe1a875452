//! `postgresql_conf`: settings of a PostgreSQL cluster, in a file of their own in `conf.d`, and live.

use std::{collections::BTreeMap, fmt::Write as _};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, de};

use super::{
    Files, Flag, Kind, Mode, NodeState, ParamError, Reach, Resource, Verdict,
    cluster_file::{ClusterFile, FileKind, Known, UNREADABLE, cannot_reload, row, without_server},
    decode,
    schema::{parameters, values},
};
use crate::{
    pg,
    question::{
        Questions, Unanswered,
        pg_cluster::{Cluster, ClusterQuery, ConfigFile, Freshness, LOADED, PgCluster},
    },
};

pub(super) const KIND: Kind = Kind {
    name: "postgresql_conf",
    about: "Sets parameters of PostgreSQL, in a file in `conf.d`, and makes them live",
    example: "postgresql_conf:
  settings: {max_connections: 200, log_min_duration_statement: 1s}",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(PostgresqlConf::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The settings and their values.
        settings: IndexMap<String, Text>,
        /// The cluster's name.
        cluster: String = "main",
        /// The cluster's version of PostgreSQL; may be left out where there is one.
        version: Option<Text>,
        /// The file's name in `conf.d`.
        file: String = "50-autobot.conf",
        /// Whether the server is restarted where a setting needs it.
        restart: Flag = true,
    }
}

/// A value as PostgreSQL's files hold it: text, also written as a number or a boolean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

values!(Text => Scalar("text, a number or a boolean"));

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Bool(yes) => Ok(Self(if yes { "on" } else { "off" }.to_owned())),
            serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                Err(de::Error::custom("expected a text, a number or a boolean"))
            }
        }
    }
}

/// Settings that say where a Debian cluster's files are. Those that include other files are refused by their prefix.
const NOT_OURS: [&str; 5] = ["data_directory", "config_file", "hba_file", "ident_file", "external_pid_file"];

#[derive(Debug)]
pub(super) struct PostgresqlConf {
    file: ClusterFile,
}

/// The server's view of the settings in the file.
#[derive(Debug, Deserialize)]
struct ServerSettings {
    /// When the server last read its files.
    loaded: i64,
    /// By name in lower case.
    settings: BTreeMap<String, Setting>,
    /// Every line that sets one of them, in the order in which they apply: the last wins.
    places: Vec<SettingLine>,
    /// What it cannot read in its files: file, line and error.
    unreadable: Vec<String>,
    /// Where one of them is set for certain roles or databases only, and counts there in place of the file's value.
    elsewhere: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Setting {
    context: String,
    pending: bool,
    source: String,
    file: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SettingLine {
    name: String,
    file: String,
}

impl PostgresqlConf {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let version = parameters.version.map(|version| version.0);
        let cluster = Cluster::new(parameters.cluster, version).map_err(|(name, reason)| ParamError::parameter(name, reason))?;
        let name = parameters.file;
        let plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        if name.starts_with('.') || name.strip_suffix(".conf").is_none() || !name.chars().all(plain) {
            return Err(ParamError::parameter(
                "file",
                "is the name of a file in `conf.d` that PostgreSQL reads: letters, digits, `_`, `.`, `-`, ending in `.conf`",
            ));
        }
        if parameters.settings.is_empty() {
            return Err(ParamError::parameter("settings", "is empty; give what is to be set, as in `{max_connections: 200}`"));
        }
        let mut text = String::from("# Written by autobot-provision: what is changed here is lost.\n");
        let mut names = Vec::new();
        for (name, Text(value)) in &parameters.settings {
            let error = |message: String| {
                Err(ParamError::Parameter {
                    path: [super::Segment::Key("settings".into()), super::Segment::Key(name.clone())].into(),
                    message,
                })
            };
            let lower = name.to_ascii_lowercase();
            if !is_setting_name(name) {
                return error(format!("`{name}` is not the name of a setting"));
            }
            if NOT_OURS.contains(&lower.as_str()) || lower.starts_with("include") {
                return error(format!("`{name}` says where the cluster's files are; that is the packages' business"));
            }
            if names.contains(&lower) {
                return error(format!("`{name}` is given twice, in upper and in lower case"));
            }
            if value.contains(char::is_control) {
                return error("cannot hold control characters".to_owned());
            }
            // PostgreSQL reads backslashes in its files as in E'' strings.
            let _ = writeln!(text, "{name} = '{}'", value.replace('\\', "\\\\").replace('\'', "''"));
            names.push(lower);
        }
        let restart = parameters.restart.0;
        let file = ClusterFile {
            cluster,
            file: format!("conf.d/{name}"),
            mode: Mode(0o644),
            text,
            restart,
            kind: FileKind::Settings,
            names,
            shared: false,
        };
        Ok(Self { file })
    }

    /// Whether it gives this setting a value.
    pub(super) fn sets(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    fn query(&self) -> ClusterQuery {
        let names: Vec<String> = self.file.names.iter().map(|name| pg::literal(name)).collect();
        let names = names.join(", ");
        self.file.look(format!(
            "SELECT {LOADED},
 (SELECT coalesce(jsonb_object_agg(lower(name), jsonb_build_object('context', context, 'pending', pending_restart, 'source', source, 'file', sourcefile)), '{{}}')
  FROM pg_catalog.pg_settings WHERE lower(name) IN ({names})) AS settings,
 (SELECT coalesce(jsonb_agg(jsonb_build_object('name', lower(name), 'file', sourcefile) ORDER BY seqno), '[]')
  FROM pg_catalog.pg_file_settings WHERE lower(name) IN ({names})) AS places, {UNREADABLE},
 (SELECT coalesce(jsonb_agg(concat_ws(' ', c.name, CASE WHEN s.setrole <> 0 THEN 'for the role ' || pg_get_userbyid(s.setrole) END,
   CASE WHEN s.setdatabase <> 0 THEN 'in the database ' || (SELECT datname FROM pg_catalog.pg_database d WHERE d.oid = s.setdatabase) END)
   ORDER BY c.name, s.setdatabase, s.setrole), '[]')
  FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) e, LATERAL (SELECT lower(split_part(e, '=', 1))) c(name)
  WHERE c.name IN ({names})) AS elsewhere"
        ))
    }

    /// Returns the reason why the file cannot make its settings live.
    fn refusal(&self, server: &ServerSettings, path: &str) -> Option<String> {
        for name in &self.file.names {
            match server.settings.get(name) {
                None if !name.contains('.') => return Some(format!("PostgreSQL has no setting `{name}` in this version")),
                Some(setting) if setting.context == "internal" => {
                    return Some(format!(
                        "`{name}` cannot be set: it was decided when PostgreSQL was built or the cluster was made"
                    ));
                }
                Some(setting) if matches!(setting.source.as_str(), "command line" | "environment variable") => {
                    return Some(format!("`{name}` is set by the server's {}, which wins over every file", setting.source));
                }
                None | Some(_) => {}
            }
            let places = || server.places.iter().filter(|place| place.name == *name);
            let ours = places().any(|place| place.file == path);
            let last = places().next_back().map(|place| place.file.as_str()).filter(|last| *last != path);
            let Some(winner) = last.filter(|last| ours || last.ends_with("/postgresql.auto.conf") || sorts_after(last, path))
            else {
                continue;
            };
            return Some(if winner.ends_with("/postgresql.auto.conf") {
                format!("`{name}` was set with ALTER SYSTEM, which wins over every file; take it back: ALTER SYSTEM RESET {name}")
            } else {
                format!(
                    "`{name}` is set again in `{winner}`, which is read after `{path}` and wins; remove it there, or choose a later name with `file`"
                )
            });
        }
        None
    }

    /// Returns what the server still has to do if the file is as declared: whether to reload, and the settings that wait for a restart.
    fn pending_work(&self, server: &ServerSettings, file: Option<&ConfigFile>, path: &str) -> (bool, Vec<&str>) {
        let pending: Vec<&str> =
            self.names().filter(|name| server.settings.get(*name).is_some_and(|setting| setting.pending)).collect();
        // In our own session a setting may have another source: the role, the database, or this program. One that needs a restart keeps its source in a
        // reload that finds the value in force; the times say whether the file was read.
        let from_file = |setting: &Setting| {
            setting.pending
                || setting.context == "postmaster"
                || setting.source != "configuration file" && setting.source != "default"
                || setting.file.as_deref() == Some(path)
        };
        let unread = self.names().any(|name| server.settings.get(name).is_some_and(|setting| !from_file(setting)));
        (file.is_some_and(|file| file.freshness(server.loaded) != Freshness::Read) || unread, pending)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.file.names.iter().map(String::as_str)
    }

    /// The settings that differ from the old text and need a restart.
    fn changed_restart_settings(&self, old: &str, server: &ServerSettings) -> Vec<&str> {
        let line = |text: &str, name: &str| {
            text.lines()
                .find(|line| line.split([' ', '=']).next().is_some_and(|word| word.eq_ignore_ascii_case(name)))
                .map(str::to_owned)
        };
        self.names()
            .filter(|name| server.settings.get(*name).is_some_and(|setting| setting.context == "postmaster"))
            .filter(|name| line(old, name) != line(&self.file.text, name))
            .collect()
    }
}

/// Whether `other` is in the same directory and read later: PostgreSQL sorts names by bytes.
fn sorts_after(other: &str, path: &str) -> bool {
    let (directory, _) = path.rsplit_once('/').unwrap_or_default();
    other.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')) && other > path
}

/// Whether this is `name` or `extension.name`.
fn is_setting_name(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|character: char| character.is_ascii_alphabetic() || character == '_')
            && word.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    };
    !name.is_empty() && name.split('.').count() <= 2 && name.split('.').all(is_word)
}

impl Resource for PostgresqlConf {
    fn reach(&self) -> Reach<'_> {
        Reach::Contained(&["/etc/postgresql"])
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<PgCluster>(self.query());
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let (found, directory) = match self.file.known(node, &self.query())? {
            Known::Cluster(found, directory) => (found, directory),
            Known::Settled(verdict) => return Ok(*verdict),
        };
        let server: ServerSettings = match row(&found.server)? {
            Ok(server) => server,
            Err(why) => return Ok(without_server(&self.file, node, found, &directory, why)),
        };
        let path = format!("{directory}/{}", self.file.file);
        if let Some(reason) = self.refusal(&server, &path) {
            return Ok(Verdict::Refused(reason));
        }
        let mut summary = self.file.differences(found.file.as_ref());
        let (unread, mut restart_for) = self.pending_work(&server, found.file.as_ref(), &path);
        if summary.is_empty() && !unread && (restart_for.is_empty() || !self.file.restart) {
            let waiting =
                (!restart_for.is_empty()).then(|| format!("waits for a restart of PostgreSQL: {}", restart_for.join(", ")));
            let elsewhere = (!server.elsewhere.is_empty()).then(|| {
                let places = server.elsewhere.join(", ");
                format!("set otherwise, where the file's value does not count: {places} (`alter role … reset` or `alter database … reset`)")
            });
            let notes: Vec<String> = waiting.into_iter().chain(elsewhere).collect();
            return Ok(Verdict::Converged { note: (!notes.is_empty()).then(|| notes.join("; ")) });
        }
        // A line of the present file goes away with it.
        let others: Vec<String> =
            server.unreadable.iter().filter(|line| !line.starts_with(&format!("{path}, "))).cloned().collect();
        if let Some(reason) = cannot_reload(&others) {
            return Ok(Verdict::Refused(reason));
        }
        if !summary.is_empty() {
            let old = found.file.as_ref().map(|file| String::from_utf8_lossy(&file.content)).unwrap_or_default();
            restart_for.extend(self.changed_restart_settings(&old, &server));
            restart_for.dedup();
        }
        summary.push(match (restart_for.is_empty(), self.file.restart) {
            (true, _) => "reload".to_owned(),
            (false, true) => format!("restart for {}", restart_for.join(", ")),
            (false, false) => format!("reload; a restart is needed for {}", restart_for.join(", ")),
        });
        Ok(Verdict::Change(self.file.change(found.file.as_ref(), node, &summary.join(", "))))
    }
}

#[cfg(test)]
#[path = "postgresql_conf_tests.rs"]
mod tests;
