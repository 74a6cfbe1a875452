//! `pg_hba`: who may log in to a PostgreSQL cluster, from where, and how. This program owns the whole file; several tasks may share it.

use std::{borrow::Cow, fmt::Write as _};

use indexmap::IndexMap;
use serde::Deserialize;

use super::{
    Contradiction, Files, Flag, Kind, Mode, NodeState, OneOrMany, ParamError, Reach, Resource, Segment, State, Verdict,
    cluster_file::{ClusterFile, FileKind, Known, UNREADABLE, cannot_reload, row, without_server},
    decode,
    postgresql_conf::Text,
    schema::{parameters, words},
};
use crate::{
    firewall::Network,
    pg,
    question::{
        Questions, Unanswered,
        pg_cluster::{Cluster, ClusterInfo, ClusterQuery, Freshness, LOADED, PgCluster},
    },
};

mod parts;

pub(super) const KIND: Kind = Kind {
    name: "pg_hba",
    about: "Says who may connect to PostgreSQL, from where, and how they prove who they are",
    example: "pg_hba:
  part: slm
  rules:
    - {type: host, database: slm, user: slm_app, address: 10.0.0.0/24, method: scram-sha-256}",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(PgHba::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The rules, in order; `local all postgres peer` always comes first.
        rules: Option<Vec<Rule>>,
        /// The name of this task's section of the file; without it the task owns the whole file. Sections are in the order of their names, and lines outside of all sections are removed.
        part: Option<String>,
        /// Whether the section exists; `absent` needs a `part`.
        state: State = "present",
        /// The cluster's name.
        cluster: String = "main",
        /// The cluster's version of PostgreSQL; may be left out where there is one.
        version: Option<Text>,
        /// Whether a rule may use `trust`, which asks for no password.
        allow_trust: Flag = false,
    }
}

parameters! {
    /// A rule, in the words of PostgreSQL's file.
    #[derive(Debug)]
    struct Rule {
        /// How they connect.
        connection as type | contype: RuleType,
        /// The databases.
        database | databases: OneOrMany<String> = "all",
        /// The roles.
        user | users: OneOrMany<String> = "all",
        /// The addresses that they come from: one line of the file for each; an empty list admits no client.
        address: Option<OneOrMany<String>>,
        /// How they prove who they are.
        method: Method,
        /// Options of the method.
        options: IndexMap<String, Text> = {},
    }
}

words!(RuleType, Method);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RuleType {
    Local,
    Host,
    HostSsl,
    HostNoSsl,
    HostGssEnc,
    HostNoGssEnc,
}

impl RuleType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Host => "host",
            Self::HostSsl => "hostssl",
            Self::HostNoSsl => "hostnossl",
            Self::HostGssEnc => "hostgssenc",
            Self::HostNoGssEnc => "hostnogssenc",
        }
    }
}

/// How a client proves its identity. `password` and `ident` are left out: the former sends the password unencrypted, the latter trusts the
/// client's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Method {
    #[serde(rename = "scram-sha-256")]
    Scram,
    #[serde(rename = "md5")]
    Md5,
    #[serde(rename = "peer")]
    Peer,
    #[serde(rename = "cert")]
    Cert,
    #[serde(rename = "reject")]
    Reject,
    #[serde(rename = "trust")]
    Trust,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Scram => "scram-sha-256",
            Self::Md5 => "md5",
            Self::Peer => "peer",
            Self::Cert => "cert",
            Self::Reject => "reject",
            Self::Trust => "trust",
        }
    }
}

const HEADER: &str = "# Written by autobot-provision: what is changed here is lost. The first rule that fits counts.";
/// The rule by which this program logs in. The first match wins, so no rule of a task can override it.
const FIRST: &str = "local all postgres peer";

#[derive(Debug)]
struct PgHba {
    /// Its text is the whole file if the task owns that, otherwise the new file if none exists.
    file: ClusterFile,
    part: Option<Section>,
    /// The rules that ask for no password.
    trusting: Vec<String>,
    /// Whether a rule lets clients in that use TLS, and no others.
    needs_tls: bool,
}

/// A section of the file.
#[derive(Debug)]
struct Section {
    name: String,
    /// `None`: the section is absent.
    rules: Option<String>,
}

/// What a server has of its files.
#[derive(Debug, Deserialize)]
pub(crate) struct ServerRules {
    hba_file: String,
    /// When the server last read its files.
    pub(crate) loaded: i64,
    /// What is wrong in the file of its rules, as it is now.
    pub(crate) errors: Vec<String>,
    /// What it cannot read in the files of its settings: with that, it reads none of its files again.
    pub(crate) unreadable: Vec<String>,
    /// The files of its settings that changed, in another second, after it read them.
    pub(crate) unread: Vec<String>,
    /// The settings that wait for a restart.
    pub(crate) pending: Vec<String>,
    /// Whether it offers TLS.
    pub(crate) ssl: bool,
    /// The last line of its files that says whether it does.
    ssl_place: Option<String>,
    /// The lines of its rules for clients that use TLS.
    pub(crate) hostssl: Vec<i64>,
    /// The lines of its rules that ask for no password.
    pub(crate) trust: Vec<i64>,
    /// Files of its settings that are gone, with settings that it still has from them.
    pub(crate) gone: Vec<String>,
}

impl ServerRules {
    /// Says that no client that must use TLS gets in, with the ways out. `None` if the server offers TLS.
    pub(crate) fn without_tls(&self) -> Option<String> {
        let how = pg::take_back("ssl", self.ssl_place.as_deref());
        (!self.ssl).then(|| format!("`ssl` is off, so that no client gets in by the `hostssl` rules: {how}"))
    }
}

impl PgHba {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let version = parameters.version.map(|version| version.0);
        let cluster = Cluster::new(parameters.cluster, version).map_err(|(name, reason)| ParamError::parameter(name, reason))?;
        let rules = match (parameters.rules, parameters.state) {
            (Some(rules), State::Present) => rules,
            (None, State::Present) => return Err(ParamError::parameter("rules", "is missing")),
            (None, State::Absent) if parameters.part.is_some() => Vec::new(),
            (_, State::Absent) if parameters.part.is_none() => {
                return Err(ParamError::parameter(
                    "state",
                    "can be `absent` for a `part` only: without the file no client could log in",
                ));
            }
            (_, State::Absent) => return Err(ParamError::parameter("rules", "cannot be given with `state: absent`")),
        };
        let mut lines = String::new();
        let mut trusting = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let error = |(key, message): (&str, String)| ParamError::Parameter {
                path: vec![Segment::Key("rules".into()), Segment::Index(index), Segment::Key(key.into())],
                message,
            };
            let rule_lines = rule.lines().map_err(error)?;
            if rule.method == Method::Trust {
                if !parameters.allow_trust.0 {
                    let message = "`trust` asks for no password: any process that gets this far is any of these users; say `allow_trust: true` if that is meant";
                    return Err(error(("method", message.to_owned())));
                }
                trusting.extend(rule_lines.iter().cloned());
            }
            for line in rule_lines.iter().filter(|line| *line != FIRST) {
                let _ = writeln!(lines, "{line}");
            }
        }
        let needs_tls = rules.iter().any(|rule| rule.connection == RuleType::HostSsl);
        let (text, part) = match parameters.part {
            None => (format!("{HEADER}\n{FIRST}\n{lines}"), None),
            Some(name) if !parts::is_part(&name) => {
                let message =
                    format!("`{}` is not a name for a part: up to 60 letters, digits, `_`, `.`, `-`", name.escape_debug());
                return Err(ParamError::parameter("part", message));
            }
            Some(name) => {
                let rules = (!rules.is_empty()).then_some(lines);
                let text =
                    parts::with_part(&[], &name, rules.as_deref()).map_err(|reason| ParamError::parameter("part", reason))?;
                (text, Some(Section { name, rules }))
            }
        };
        let file = ClusterFile {
            cluster,
            file: FILE.into(),
            mode: Mode(0o640),
            text,
            restart: true,
            kind: FileKind::Rules,
            names: Vec::new(),
            shared: part.is_some(),
        };
        Ok(Self { file, part, trusting, needs_tls })
    }

    /// Returns the declared file, given the present one.
    fn declared_file(&self, found: &ClusterInfo) -> Result<Cow<'_, ClusterFile>, String> {
        let Some(part) = &self.part else { return Ok(Cow::Borrowed(&self.file)) };
        let old = found.file.as_ref().filter(|file| file.regular).map(|file| file.content.as_slice()).unwrap_or_default();
        let text = parts::with_part(old, &part.name, part.rules.as_deref())?;
        Ok(Cow::Owned(ClusterFile { text, ..self.file.clone() }))
    }

    /// Whether the part is absent as declared; the rest of the file does not matter to this task.
    fn is_gone(&self, found: &ClusterInfo) -> bool {
        let has = |part: &Section| found.file.as_ref().is_some_and(|file| parts::has_part(&file.content, &part.name));
        self.part.as_ref().is_some_and(|part| part.rules.is_none() && !has(part))
    }

    /// Splits the errors of the file into those of this task's rules and those of other parts.
    fn split_errors<'a>(&self, text: &str, errors: &'a [String]) -> (Vec<&'a str>, Vec<&'a str>) {
        let range = self.part.as_ref().and_then(|part| parts::lines_of(text, &part.name));
        let number = |error: &str| error.strip_prefix("line ")?.split_once(':')?.0.parse::<usize>().ok();
        let is_ours = |error: &&str| {
            self.part.is_none() || number(error).is_none_or(|line| range.as_ref().is_some_and(|range| range.contains(&line)))
        };
        errors.iter().map(String::as_str).partition(is_ours)
    }

    fn query(&self) -> ClusterQuery {
        rules_query(self.file.cluster.clone())
    }

    fn note(&self) -> Option<String> {
        (!self.trusting.is_empty())
            .then(|| format!("`trust` admits every client without a password: {}", self.trusting.join("; ")))
    }
}

/// What PostgreSQL says of each `hostssl` rule while `ssl` is off; it takes the rule all the same.
const WITHOUT_TLS: &str = "hostssl record cannot match because SSL is disabled";

/// The query for what the server has of its rules. `pg_hba_file_rules` reads the file itself, so before a reload it has the errors of the rules that
/// the reload would load.
fn rules_sql() -> String {
    format!(
        "SELECT current_setting('hba_file') AS hba_file, {LOADED},
 (SELECT coalesce(jsonb_agg(format('line %s: %s', line_number, error) ORDER BY line_number), '[]')
  FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL AND error <> '{WITHOUT_TLS}') AS errors,
 (SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') FROM pg_catalog.pg_settings WHERE pending_restart) AS pending, {UNREADABLE},
 current_setting('ssl')::boolean AS ssl, {} AS ssl_place,
 (SELECT coalesce(jsonb_agg(line_number ORDER BY line_number), '[]') FROM pg_catalog.pg_hba_file_rules WHERE type = 'hostssl') AS hostssl,
 (SELECT coalesce(jsonb_agg(line_number ORDER BY line_number), '[]') FROM pg_catalog.pg_hba_file_rules WHERE auth_method = 'trust') AS trust,
 (SELECT coalesce(jsonb_agg(path ORDER BY path), '[]') FROM (SELECT DISTINCT sourcefile FROM pg_catalog.pg_settings WHERE sourcefile IS NOT NULL) f(path),
   pg_stat_file(path, true) s WHERE s.size IS NULL) AS gone,
 (SELECT coalesce(jsonb_agg(path ORDER BY path), '[]') FROM (SELECT DISTINCT sourcefile FROM pg_catalog.pg_file_settings) f(path),
   pg_stat_file(path, true) s WHERE greatest(s.modification, s.change) > pg_conf_load_time()) AS unread",
        pg::place_of("ssl"),
    )
}

/// Returns the question for what the server of a cluster has of its files; every task of its rules asks the same.
pub(crate) fn rules_query(cluster: Cluster) -> ClusterQuery {
    ClusterQuery { cluster, file: FILE.to_owned(), sql: rules_sql() }
}

const FILE: &str = "pg_hba.conf";

impl Rule {
    /// Returns the lines of the file, or the wrong key and the error in its value.
    fn lines(&self) -> Result<Vec<String>, (&'static str, String)> {
        let databases = name_list("database", &self.database.0, &["all", "sameuser", "samerole", "replication"])?;
        let users = name_list("user", &self.user.0, &["all"])?;
        let addresses = match (self.connection, &self.address) {
            (RuleType::Local, None) => vec![None],
            (RuleType::Local, Some(_)) => {
                return Err(("address", "a `local` rule is for the Unix socket and has no address".into()));
            }
            (_, Some(OneOrMany(addresses))) => {
                addresses.iter().map(|address| checked_address(address).map(Some)).collect::<Result<Vec<_>, _>>()?
            }
            (_, None) => {
                return Err(("type", format!("a `{}` rule needs an `address`, such as 198.18.0.5/32", self.connection.as_str())));
            }
        };
        match (self.method, self.connection) {
            (Method::Peer, connection) if connection != RuleType::Local => {
                return Err(("method", "`peer` asks the kernel who is at the socket, so it is for `local` rules only".into()));
            }
            (Method::Cert, connection) if connection != RuleType::HostSsl => {
                return Err(("method", "`cert` needs TLS, so it is for `hostssl` rules only".into()));
            }
            (method, RuleType::Local) if method != Method::Peer && self.user.0.iter().any(|user| user == "postgres") => {
                let message = format!(
                    "a `local` rule for `postgres` never applies: `{FIRST}` comes before it, because this program logs in by that"
                );
                return Err(("user", message));
            }
            (Method::Scram | Method::Md5 | Method::Peer | Method::Cert | Method::Reject | Method::Trust, _) => {}
        }
        let mut options = String::new();
        for (name, Text(value)) in &self.options {
            if name.is_empty() || !name.chars().all(|character| character.is_ascii_lowercase() || character == '_') {
                return Err(("options", format!("`{name}` is not the name of an option")));
            }
            let _ = write!(options, " {}", quote_word("options", &format!("{name}={value}"), false)?);
        }
        let (connection, method) = (self.connection.as_str(), self.method.as_str());
        let line = |address: Option<String>| {
            let address = address.map(|address| format!(" {address}")).unwrap_or_default();
            format!("{connection} {databases} {users}{address} {method}{options}")
        };
        Ok(addresses.into_iter().map(line).collect())
    }
}

/// Returns names as a list in the file's syntax.
fn name_list(key: &'static str, names: &[String], keywords: &[&str]) -> Result<String, (&'static str, String)> {
    if names.is_empty() {
        return Err((key, "is an empty list; leave it out to mean `all`".into()));
    }
    let mut list = Vec::new();
    for name in names {
        if name.is_empty() || name.starts_with(['@', '/']) {
            return Err((key, format!("`{name}` is not a name; files (`@`) and patterns (`/`) are not supported")));
        }
        if name.contains(',') {
            return Err((key, format!("`{name}` would be one name, with a comma in it; give several as a list")));
        }
        if key == "database" && name == "samegroup" {
            return Err((key, "`samegroup` is the old word for `samerole`; say that".to_owned()));
        }
        // `+role` means the members of a role, and only without quotes.
        let is_group = key == "user" && name.starts_with('+');
        list.push(quote_word(key, name, !is_group && !keywords.contains(&name.as_str()))?);
    }
    Ok(list.join(","))
}

/// Returns a word of the file, in quotes if PostgreSQL would read it as several words or as a keyword.
fn quote_word(key: &'static str, text: &str, is_name: bool) -> Result<String, (&'static str, String)> {
    if text.contains(|character: char| character.is_control() || character == '"') {
        return Err((
            key,
            format!("`{}` holds a quote or a control character, which the file has no way to write", text.escape_debug()),
        ));
    }
    let plain = text.chars().all(|character| character.is_ascii_alphanumeric() || "_-.+=:/$".contains(character));
    let plain = plain && (!is_name || !text.starts_with('+'));
    Ok(if plain { text.to_owned() } else { format!("\"{text}\"") })
}

fn checked_address(address: &str) -> Result<String, (&'static str, String)> {
    if ["all", "samehost", "samenet"].contains(&address) {
        return Ok(address.to_owned());
    }
    let network: Network = address.parse().map_err(|reason| ("address", reason))?;
    // In the file, a single address needs a mask of all its bits.
    if !address.contains('/') {
        return Ok(format!("{address}/{}", if network.is_v6() { 128 } else { 32 }));
    }
    let host = address.split('/').next().unwrap_or_default();
    let base = network.to_string();
    if base.split('/').next() != Some(host)
        && host.parse::<std::net::IpAddr>().ok().map(|host| host.to_string()).as_deref() != base.split('/').next()
    {
        return Err((
            "address",
            format!("`{address}` has bits beyond its mask: write `{base}`, or `/32` (IPv6: `/128`) for the one address"),
        ));
    }
    Ok(address.to_owned())
}

impl Resource for PgHba {
    fn reach(&self) -> Reach<'_> {
        Reach::Contained(&["/etc/postgresql"])
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<PgCluster>(self.query());
    }

    fn contradicted(&self, node: &NodeState<'_>) -> Result<Option<Contradiction>, Unanswered> {
        let found = node.answers.get::<PgCluster>(&self.query())?;
        if !self.needs_tls || found.versions.len() != 1 {
            return Ok(None);
        }
        let Ok(server) = row::<ServerRules>(&found.server)? else { return Ok(None) };
        let file = server.ssl_place.as_deref().and_then(|place| place.rsplit_once(':')).map_or("", |(file, _)| file).to_owned();
        Ok(server.without_tls().map(|reason| Contradiction { file, setting: Some("ssl"), reason }))
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        if self.is_gone(node.answers.get::<PgCluster>(&self.query())?) {
            return Ok(Verdict::CONVERGED);
        }
        let (found, directory) = match self.file.known(node, &self.query())? {
            Known::Cluster(found, directory) => (found, directory),
            Known::Settled(verdict) => return Ok(*verdict),
        };
        let file = match self.declared_file(found) {
            Ok(file) => file,
            Err(why) => return Ok(Verdict::Refused(why)),
        };
        let server: ServerRules = match row(&found.server)? {
            Ok(server) => server,
            Err(why) => return Ok(without_server(&file, node, found, &directory, why)),
        };
        let path = format!("{directory}/pg_hba.conf");
        if server.hba_file != path {
            return Ok(Verdict::Refused(format!(
                "the server reads `{}` and not `{path}`; set `hba_file` to that",
                server.hba_file
            )));
        }
        let mut summary = file.differences(found.file.as_ref());
        if summary.is_empty() {
            let (ours, others) = self.split_errors(&file.text, &server.errors);
            if !ours.is_empty() {
                return Ok(Verdict::Refused(format!("PostgreSQL does not accept these rules: {}", ours.join("; "))));
            }
            // Until these are corrected, PostgreSQL keeps the rules that it read before, and a reload would change nothing.
            if !others.is_empty() {
                let warning = format!("PostgreSQL does not accept rules of another part of the file: {}", others.join("; "));
                return Ok(Verdict::Converged { note: Some(warning) });
            }
            // Where it cannot be told, a reload makes sure.
            if !found.file.as_ref().is_some_and(|file| file.freshness(server.loaded) != Freshness::Read) {
                return Ok(Verdict::Converged { note: self.note() });
            }
        }
        if let Some(reason) = cannot_reload(&server.unreadable) {
            return Ok(Verdict::Refused(reason));
        }
        summary.push("reload".into());
        summary.extend(self.note());
        Ok(Verdict::Change(file.change(found.file.as_ref(), node, &summary.join(", "))))
    }
}

#[cfg(test)]
#[path = "pg_hba_tests.rs"]
mod tests;
