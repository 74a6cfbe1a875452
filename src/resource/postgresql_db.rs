//! `postgresql_db`: a database of a PostgreSQL server. It is made, never altered and never dropped.

use serde::Deserialize;

use super::{
    Change, Diff, Files, Flag, Kind, Missing, NodeState, ParamError, Reach, Resource, Verdict, decode,
    schema::{parameters, words},
};
use crate::{
    pg::{
        self, Name,
        read_only::{self, ReadOnly},
    },
    question::{
        Questions, Unanswered,
        guard::{Guard, Shell},
        pg::{Answer, Pg, Query, closed, typed},
    },
    script::{Script, quote},
};

pub(super) const KIND: Kind = Kind {
    name: "postgresql_db",
    about: "Makes a database of PostgreSQL; never alters or drops one",
    example: "postgresql_db: {name: slm, owner: slm_app}",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(PostgresqlDb::new(decode(parameters)?)?)),
    declared: PostgresqlDb::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    pub(super) struct PostgresqlDb {
        /// Its name.
        name | db: Name,
        /// The role that owns it.
        owner: Name,
        /// Its encoding.
        encoding: String = "UTF8",
        /// The order of its texts. C.UTF-8 is the one UTF-8 locale that every Debian has and that no upgrade of the C library changes.
        lc_collate: String = "C.UTF-8",
        /// What counts as a letter in it.
        lc_ctype: String = "C.UTF-8",
        /// The database that it is a copy of.
        template: Name = "template0",
        /// Whether every role may connect and make temporary tables, which is PostgreSQL's own default.
        public_connect: Flag = false,
        /// How many connections it may have; -1, or nothing, is any number.
        conn_limit: Option<i32>,
        /// The roles besides its owner that must be able to write to it: one that is read-only (`default_transaction_read_only`) is refused.
        writers: Vec<Name> = [],
        /// Only `present`.
        #[expect(dead_code, reason = "only `present` can be asked for; Ansible's users write it")]
        state: State = "present",
        /// The server's port.
        port | login_port: u16 = 5432,
    }
}

words!(State);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    #[default]
    Present,
}

/// The row of the answer. The columns of a database that does not exist are null.
#[derive(Debug, Deserialize)]
struct DatabaseState {
    owner_exists: bool,
    template_exists: bool,
    encoding_exists: bool,
    owner: Option<String>,
    encoding: Option<String>,
    lc_collate: Option<String>,
    lc_ctype: Option<String>,
    public_connect: Option<bool>,
    connection_limit: Option<i32>,
    takes_connections: Option<bool>,
    /// Whether its owner may connect: a database whose privileges were ever changed gives even the owner only what its list says.
    owner_connects: Option<bool>,
    read_only: ReadOnly,
}

/// The limit that PostgreSQL sets before it removes a database: if the removal is interrupted, no connection is possible.
const HALF_REMOVED: i32 = -2;

impl PostgresqlDb {
    fn new(wanted: Self) -> Result<Self, ParamError> {
        if let Some(reason) = wanted.name.unusable_for_a_database() {
            return Err(ParamError::parameter("name", reason));
        }
        if wanted.limit() < -1 {
            return Err(ParamError::parameter("conn_limit", "must be a number of connections, or -1 for no limit"));
        }
        for (name, value) in [("encoding", &wanted.encoding), ("lc_collate", &wanted.lc_collate), ("lc_ctype", &wanted.lc_ctype)]
        {
            if value.is_empty() || value.contains(char::is_control) {
                return Err(ParamError::parameter(name, "cannot be empty or hold control characters"));
            }
        }
        Ok(wanted)
    }

    fn limit(&self) -> i32 {
        self.conn_limit.unwrap_or(-1)
    }

    /// Whether this is the database of this name on this port.
    pub(super) fn is(&self, name: &Name, port: u16) -> bool {
        self.name == *name && self.port == port
    }

    /// Returns the role that owns it.
    pub(super) fn owner(&self) -> &Name {
        &self.owner
    }

    /// Whether every role may connect.
    pub(super) fn is_open(&self) -> bool {
        self.public_connect.0
    }

    /// Whether it is a copy of a database that has nothing but what PostgreSQL itself put there.
    pub(super) fn is_of_the_usual_template(&self) -> bool {
        self.template == pg::template0()
    }

    fn query(&self) -> Query {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {}) AS owner_exists,
 EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {}) AS template_exists,
 pg_catalog.pg_char_to_encoding({}) >= 0 AS encoding_exists,
 pg_catalog.pg_get_userbyid(d.datdba) AS owner, pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
 d.datcollate AS lc_collate, d.datctype AS lc_ctype, d.datconnlimit AS connection_limit, d.datallowconn AS takes_connections,
 pg_catalog.has_database_privilege(d.datdba, d.oid, 'CONNECT') AS owner_connects, CASE WHEN d.oid IS NOT NULL THEN
  EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
   WHERE a.grantee = 0 AND a.privilege_type IN ('CONNECT', 'TEMPORARY')) END AS public_connect, {}
 FROM (SELECT) nothing LEFT JOIN pg_catalog.pg_database d ON d.datname = {}",
            self.owner.literal(),
            self.template.literal(),
            pg::literal(&self.encoding),
            read_only::column("d.oid", &self.all_writers()),
            self.name.literal(),
        );
        Query { database: pg::maintenance_database(), sql, port: self.port }
    }

    /// Its owner, and the others that must be able to write to it.
    fn all_writers(&self) -> Vec<&Name> {
        [&self.owner].into_iter().chain(self.writers.iter().filter(|name| **name != self.owner)).collect()
    }

    /// Returns how an existing database differs in what is never changed.
    fn refusal(&self, found: &DatabaseState) -> Option<String> {
        let database = format!("the database `{}` exists", self.name);
        let owner = found.owner.as_deref()?;
        if owner != self.owner.as_str() {
            return Some(format!(
                "{database} and belongs to `{owner}`, not to `{}`; name its owner in the task, choose another database, or hand it over by hand \
                 with ALTER DATABASE ... OWNER TO",
                self.owner
            ));
        }
        if found.connection_limit == Some(HALF_REMOVED) {
            return Some(format!(
                "{database}, and a `drop database` of it was interrupted, so that it takes no connections any more: finish that by \
                 `drop database {}`",
                self.name.as_written()
            ));
        }
        if found.takes_connections == Some(false) {
            return Some(closed(&self.name));
        }
        let pairs = [
            ("encoding", &found.encoding, &self.encoding),
            ("lc_collate", &found.lc_collate, &self.lc_collate),
            ("lc_ctype", &found.lc_ctype, &self.lc_ctype),
        ];
        pairs.into_iter().find_map(|(parameter, actual, wanted)| {
            let actual = actual.as_deref().unwrap_or_default();
            (normalize_locale(actual) != normalize_locale(wanted)).then(|| {
                format!(
                    "{database} with {parameter} `{actual}`, not `{wanted}`, which cannot be changed; set `{parameter}: {actual}` in the task to keep it, or \
                     dump it, drop it and restore it into a new one"
                )
            })
        })
    }

    /// Returns what a new database needs and the node does not have.
    fn missing(&self, found: &DatabaseState, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        if !found.owner_exists {
            return Ok(Some(format!("role `{}`", self.owner)));
        }
        if !found.template_exists {
            return Ok(Some(format!("the template database `{}`", self.template)));
        }
        for name in [&self.lc_collate, &self.lc_ctype] {
            let Some(guard) = locale_query(name) else { continue };
            if node.answers.get::<Guard>(&guard)?.status != 0 {
                return Ok(Some(format!("the locale `{name}` (`locale -a` lists the existing ones)")));
            }
        }
        Ok(None)
    }

    fn script(&self) -> Script {
        let (name, owner) = (self.name.identifier(), self.owner.identifier());
        let create = format!(
            "CREATE DATABASE {name} OWNER {owner} TEMPLATE {} ENCODING {} LC_COLLATE {} LC_CTYPE {}",
            self.template.identifier(),
            pg::literal(&self.encoding),
            pg::literal(&self.lc_collate),
            pg::literal(&self.lc_ctype),
        );
        let public = if self.public_connect.0 { "GRANT CONNECT, TEMPORARY" } else { "REVOKE CONNECT, TEMPORARY" };
        let direction = if self.public_connect.0 { "TO" } else { "FROM" };
        let sql = format!(
            "SELECT {} WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {}) \\gexec\n\
             {public} ON DATABASE {name} {direction} PUBLIC;\n\
             ALTER DATABASE {name} CONNECTION LIMIT {};\n\
             GRANT CONNECT ON DATABASE {name} TO {owner};\n",
            pg::literal(&create),
            self.name.literal(),
            self.limit(),
        );
        Script::new(pg::APPLY).using(pg::SHELL_FUNCTIONS).arg(self.port.to_string()).input(sql)
    }

    /// Compares who gets into the existing database.
    fn differences(&self, found: &DatabaseState, open: bool) -> Verdict {
        let (mut diff, mut summary) = (Diff::none(), Vec::new());
        if open != self.public_connect.0 {
            let who = |open: bool| if open { "every role" } else { "its owner and whom it was granted to" };
            diff.attribute("open to", who(open), who(!open));
            summary.push("who may connect");
        }
        if found.owner_connects == Some(false) {
            diff.attribute("owner", "may not connect", "may connect");
            summary.push("its owner may connect");
        }
        // A limit shuts the declared clients out, even if the limit is not 0: it does so as soon as it is reached.
        if let Some(limit) = found.connection_limit.filter(|limit| *limit != self.limit()) {
            diff.attribute("connection limit", &limit.to_string(), &self.limit().to_string());
            summary.push("connection limit");
        }
        if summary.is_empty() {
            return Verdict::CONVERGED;
        }
        let change = Change::new(summary.join(", "), self.script()).diff(diff.titled(format!("database {}", self.name)));
        Verdict::Change(change.replacing(true))
    }

    fn creation(&self) -> Change {
        let mut diff = Diff::none();
        diff.attribute("owner", "", self.owner.as_str());
        diff.attribute("encoding", "", &self.encoding);
        diff.attribute("lc_collate", "", &self.lc_collate);
        diff.attribute("lc_ctype", "", &self.lc_ctype);
        Change::new("create the database", self.script()).diff(diff.titled(format!("database {}", self.name)))
    }
}

/// Returns the question whether the C library has a locale; `None` for built-in ones. `locale -a` writes `de_DE.UTF-8` as `de_DE.utf8`.
fn locale_query(name: &str) -> Option<Shell> {
    if matches!(normalize_locale(name).as_str(), "c" | "posix" | "c.utf8") {
        return None;
    }
    let (language, rest) = name.split_once('.').unwrap_or((name, ""));
    let (codeset, modifier) = rest.split_once('@').map_or((rest, String::new()), |(codeset, rest)| (codeset, format!("@{rest}")));
    let codeset: String =
        codeset.chars().filter(char::is_ascii_alphanumeric).map(|character| character.to_ascii_lowercase()).collect();
    let listed = if rest.is_empty() { name.to_owned() } else { format!("{language}.{codeset}{modifier}") };
    let quoted = quote(&listed).ok()?;
    let text = format!("for one in $(locale -a 2>/dev/null); do [ \"$one\" != {quoted} ] || exit 0; done; exit 1");
    Some(Shell { text, user: None, chdir: None, output: false })
}

/// Returns one spelling: `C.UTF-8` and `C.utf8`, `UTF-8` and `utf8` are the same to the C library and to PostgreSQL.
fn normalize_locale(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "")
}

impl Resource for PostgresqlDb {
    fn reach(&self) -> Reach<'_> {
        Reach::Contained(&[])
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Pg>(self.query());
        for guard in [&self.lc_collate, &self.lc_ctype].into_iter().filter_map(|name| locale_query(name)) {
            ask.ask::<Guard>(guard);
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let found = match node.answers.get::<Pg>(&self.query())? {
            Answer::Rows(rows) => typed::<DatabaseState>(rows)?,
            Answer::NoServer { why } => {
                return Ok(Verdict::Blocked {
                    missing: vec![Missing::Other(format!("PostgreSQL ({why})"))],
                    change: self.creation(),
                });
            }
            Answer::NoDatabase | Answer::Closed => {
                return Err(Unanswered("there is no database `postgres` to ask in".into()));
            }
        };
        let Some(found) = found.first() else { return Err(Unanswered("PostgreSQL gave no row".into())) };
        let read_only =
            || Some(found.read_only.problems(&self.name, &self.all_writers()).join("; ")).filter(|all| !all.is_empty());
        if let Some(reason) = self.refusal(found).or_else(read_only) {
            return Ok(Verdict::Refused(reason));
        }
        Ok(match found.public_connect {
            None if !found.encoding_exists => {
                Verdict::Refused(format!("PostgreSQL has no encoding `{}`; the usual one is `UTF8`", self.encoding))
            }
            None => match self.missing(found, node)? {
                Some(missing) => Verdict::Blocked { missing: vec![Missing::Other(missing)], change: self.creation() },
                None => Verdict::Change(self.creation()),
            },
            Some(open) => self.differences(found, open),
        })
    }
}

#[cfg(test)]
#[path = "postgresql_db_tests.rs"]
mod tests;
