//! `postgresql_privs`: what roles may do with a database and with the objects in it.

use std::{any::Any, collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;

use super::{
    Change, Diff, Files, Flag, Kind, Missing, NodeState, OneOrMany, ParamError, Reach, Resource, State, Verdict,
    content::blocked_by,
    decode,
    postgresql_db::PostgresqlDb,
    schema::{parameters, words},
};
use crate::{
    pg::{self, Name},
    question::{
        Questions, Unanswered,
        pg::{Answer, Pg, Query, closed, typed},
    },
    script::Script,
};

mod new_objects;
mod objects;
use objects::{Type, means_all};

pub(super) const KIND: Kind = Kind {
    name: "postgresql_privs",
    about: "Grants or revokes privileges in PostgreSQL",
    example: "postgresql_privs:
  database: slm
  roles: slm_reader
  objs: [nodes, jobs]
  privs: SELECT",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(PostgresqlPrivs::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The database.
        database | db | login_db: Name,
        /// Who gets them; `PUBLIC` means every role.
        roles | role: OneOrMany<String>,
        /// The kind of the objects.
        kind as type: Type = "table",
        /// The objects; `ALL_IN_SCHEMA` is every one in the schema.
        objs | obj: OneOrMany<String> = [],
        /// The schema of the tables or sequences, `public` if omitted. With `type: default_privs`, omitting it covers all schemas. Not for other types.
        schema: Option<Name>,
        /// The privileges, in SQL's words; `ALL` is every one.
        privs | priv: OneOrMany<String>,
        /// `present` grants, `absent` revokes.
        state: State = "present",
        /// Whether the roles may grant them to others; unchanged if omitted.
        grant_option: Option<Flag>,
        /// The roles whose new objects get the default privileges.
        target_roles: OneOrMany<String> = [],
        /// The server's port.
        port | login_port: u16 = 5432,
    }
}

words!(Type);

#[derive(Debug)]
struct PostgresqlPrivs {
    database: Name,
    /// `None` is `PUBLIC`: every role.
    roles: Vec<Option<Name>>,
    kind: Type,
    objs: Vec<Name>,
    schema: Option<Name>,
    /// In SQL's words; empty means all privileges.
    privs: Vec<String>,
    state: State,
    grant_option: Option<bool>,
    target_roles: Vec<Name>,
    port: u16,
}

/// The row of the answer.
#[derive(Debug, Deserialize)]
struct GrantedState {
    /// The OIDs of the roles that exist.
    roles: BTreeMap<String, u64>,
    /// Whether the schema exists.
    schema: bool,
    objects: Vec<Object>,
}

/// An object of a kind that has privileges.
#[derive(Debug, Deserialize)]
struct Object {
    name: String,
    /// Grantee (0: every role), privilege, and whether the grantee may grant it to others.
    acl: Vec<(u64, String, bool)>,
    /// All privileges of such an object in this version of PostgreSQL.
    all: Vec<String>,
}

/// Splits text at commas and trims the words.
fn split_words(given: &OneOrMany<String>) -> impl Iterator<Item = &str> {
    given.0.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

fn parse_names(given: &OneOrMany<String>, key: &'static str) -> Result<Vec<Name>, ParamError> {
    split_words(given).map(|word| Name::new(word).map_err(|reason| ParamError::parameter(key, reason))).collect()
}

impl PostgresqlPrivs {
    fn new(given: Parameters) -> Result<Self, ParamError> {
        let Parameters { database, roles, kind, objs, schema, privs, state, grant_option, target_roles, port } = given;
        let parse_role = |word: &str| if word.eq_ignore_ascii_case("public") { Ok(None) } else { Name::new(word).map(Some) };
        let roles: Vec<Option<Name>> = split_words(&roles)
            .map(|word| parse_role(word).map_err(|reason| ParamError::parameter("roles", reason)))
            .collect::<Result<_, _>>()?;
        if roles.is_empty() {
            return Err(ParamError::parameter("roles", "is empty"));
        }
        let privs = kind.privileges(split_words(&privs)).map_err(|reason| ParamError::parameter("privs", reason))?;
        let objs =
            kind.objects(parse_names(&objs, "objs")?, &database).map_err(|reason| ParamError::parameter("objs", reason))?;
        let schema = kind.schema(schema).map_err(|reason| ParamError::parameter("schema", reason))?;
        let target_roles = parse_names(&target_roles, "target_roles")?;
        match (kind, target_roles.is_empty()) {
            (Type::DefaultPrivs, true) => {
                let message = "is missing: default privileges count for the objects that certain roles make, such as the owner of the database";
                return Err(ParamError::parameter("target_roles", message));
            }
            (Type::Database | Type::Schema | Type::Table | Type::Sequence, false) => {
                return Err(ParamError::parameter("target_roles", "is for `type: default_privs` only"));
            }
            (Type::Database | Type::Schema | Type::Table | Type::Sequence | Type::DefaultPrivs, _) => {}
        }
        let grant_option = grant_option.map(|flag| flag.0);
        if grant_option == Some(true) && (state == State::Absent || roles.contains(&None)) {
            return Err(ParamError::parameter("grant_option", "cannot be given to PUBLIC, nor with `state: absent`"));
        }
        Ok(Self { database, roles, kind, objs, schema, privs, state, grant_option, target_roles, port })
    }

    fn query(&self) -> Query {
        let roles = self.roles.iter().flatten().chain(&self.target_roles).map(Name::literal).collect::<Vec<_>>().join(", ");
        let roles = if roles.is_empty() { "''".to_owned() } else { roles };
        let schema = self.schema.as_ref().map_or("true".to_owned(), |schema| {
            format!("EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = {})", schema.literal())
        });
        let sql = format!(
            "SELECT (SELECT coalesce(jsonb_object_agg(rolname, oid::bigint), '{{}}') FROM pg_catalog.pg_roles WHERE rolname IN ({roles})) AS roles,
 {schema} AS schema,
 (SELECT coalesce(jsonb_agg(jsonb_build_object('name', o.name,
   'acl', (SELECT coalesce(jsonb_agg(jsonb_build_array(a.grantee::bigint, a.privilege_type, a.is_grantable)), '[]') FROM aclexplode(o.acl) a),
   'all', (SELECT jsonb_agg(DISTINCT a.privilege_type) FROM aclexplode(acldefault(o.kind, o.owner)) a)) ORDER BY o.name), '[]')
  FROM ({}) o) AS objects",
            self.kind.sql(&self.objs, self.schema.as_ref(), &self.target_roles)
        );
        // The privileges of a database can be read from any database, all others only within their own.
        let database = if self.kind == Type::Database { pg::maintenance_database() } else { self.database.clone() };
        Query { database, sql, port: self.port }
    }

    fn script(&self, roles: &[&Option<Name>]) -> Script {
        let grantees: Vec<String> =
            roles.iter().map(|role| role.as_ref().map_or("PUBLIC".to_owned(), Name::identifier)).collect();
        let grantees = grantees.join(", ");
        let privs = if self.privs.is_empty() { "ALL PRIVILEGES".to_owned() } else { self.privs.join(", ") };
        let mut sql = String::from("BEGIN;\n");
        for (prefix, objects) in self.kind.targets(&self.objs, self.schema.as_ref(), &self.target_roles) {
            sql.push_str(&prefix);
            if self.state == State::Absent {
                let _ = writeln!(sql, "REVOKE {privs} ON {objects} FROM {grantees};");
                continue;
            }
            let option = if self.grant_option == Some(true) { " WITH GRANT OPTION" } else { "" };
            let _ = writeln!(sql, "GRANT {privs} ON {objects} TO {grantees}{option};");
            if self.grant_option == Some(false) {
                let _ = writeln!(sql, "{prefix}REVOKE GRANT OPTION FOR {privs} ON {objects} FROM {grantees};");
            }
        }
        sql.push_str("COMMIT;\n");
        let database = if self.kind == Type::Database { pg::maintenance_database() } else { self.database.clone() };
        let connection = format!("dbname='{}'", database.as_str().replace('\\', "\\\\").replace('\'', "\\'"));
        Script::new(APPLY).using(pg::SHELL_FUNCTIONS).arg(self.port.to_string()).arg(connection).input(sql)
    }

    /// Returns the privileges of an object that are not as declared.
    fn differing<'a>(&'a self, object: &'a Object, grantee: u64) -> Vec<&'a str> {
        let wanted = if self.privs.is_empty() { &object.all } else { &self.privs };
        let differs = |privilege: &str| {
            let mut entries = object.acl.iter().filter(|(to, granted, _)| *to == grantee && granted == privilege).peekable();
            let is_granted = entries.peek().is_some();
            let grantable = entries.any(|(.., grantable)| *grantable);
            match self.state {
                State::Absent => is_granted,
                State::Present => !is_granted || self.grant_option.is_some_and(|wanted| wanted != grantable),
            }
        };
        wanted.iter().map(String::as_str).filter(|privilege| differs(privilege)).collect()
    }

    /// Returns what must be created before privileges can be granted. Revoking does not need it.
    fn missing(&self, found: &GrantedState) -> Vec<Missing> {
        let roles = self.roles.iter().flatten().chain(&self.target_roles);
        let absent = roles.filter(|role| !found.roles.contains_key(role.as_str()));
        let mut missing: Vec<Missing> = absent.map(|role| Missing::Other(format!("role `{role}`"))).collect();
        if let Some(schema) = self.schema.as_ref().filter(|_| !found.schema) {
            missing.push(Missing::Other(format!("schema `{schema}` in `{}`", self.database)));
        } else if self.kind != Type::DefaultPrivs && !means_all(&self.objs) {
            let absent = self.objs.iter().filter(|name| !found.objects.iter().any(|object| object.name == name.as_str()));
            let within = self.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
            missing.extend(absent.map(|name| Missing::Other(format!("{} `{within}{name}`", self.kind.as_str()))));
        }
        missing
    }

    fn verdict(&self, found: &GrantedState) -> Verdict {
        let missing = self.missing(found);
        let absent = self.state == State::Absent;
        let roles: Vec<&Option<Name>> = self
            .roles
            .iter()
            .filter(|role| role.as_ref().is_none_or(|role| !absent || found.roles.contains_key(role.as_str())))
            .collect();
        let mut diff = Diff::none();
        let mut differences = 0_usize;
        for role in &roles {
            let (oid, role_name) = match role {
                None => (Some(0), "PUBLIC"),
                Some(role) => (found.roles.get(role.as_str()).copied(), role.as_str()),
            };
            for object in &found.objects {
                // A role that does not exist yet has no privileges.
                let differing = self.differing(object, oid.unwrap_or(u64::MAX));
                if differing.is_empty() {
                    continue;
                }
                differences += 1;
                let what = format!("{} on {} {}", differing.join(", "), self.kind.as_str(), object.name);
                match (self.state, self.grant_option) {
                    (State::Absent, _) => diff.removed(format!("{what} from {role_name}")),
                    (State::Present, Some(true)) => diff.added(format!("{what} to {role_name}, who may pass it on")),
                    (State::Present, Some(false)) => diff.added(format!("{what} to {role_name}, who may not pass it on")),
                    (State::Present, None) => diff.added(format!("{what} to {role_name}")),
                }
            }
        }
        if differences == 0 && (absent || missing.is_empty()) {
            return Verdict::CONVERGED;
        }
        let change = self.change(&roles, diff);
        if absent { Verdict::Change(change) } else { blocked_by(missing, change) }
    }

    /// Returns the change of the privileges of these roles.
    fn change(&self, roles: &[&Option<Name>], diff: Diff) -> Change {
        let verb = if self.state == State::Absent { "revoke" } else { "grant" };
        let privs = if self.privs.is_empty() { "ALL".to_owned() } else { self.privs.join(", ") };
        Change::new(format!("{verb} {privs}"), self.script(roles)).diff(diff.titled(format!("database {}", self.database)))
    }

    fn blocked(&self, missing: String) -> Verdict {
        let roles: Vec<&Option<Name>> = self.roles.iter().collect();
        let change = self.change(&roles, Diff::none());
        Verdict::Blocked { missing: vec![Missing::Other(missing)], change }
    }
}

impl Resource for PostgresqlPrivs {
    fn reach(&self) -> Reach<'_> {
        Reach::Contained(&[])
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Pg>(self.query());
        if self.state == State::Absent && self.kind == Type::Schema {
            ask.ask::<Pg>(self.version_query());
        }
    }

    fn due_after(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<Change> {
        if self.state == State::Present || !self.lacks_its_database(node) {
            return None;
        }
        let mut databases = earlier.iter().filter_map(|resource| (*resource as &dyn Any).downcast_ref::<PostgresqlDb>());
        let made = databases.find(|database| database.is(&self.database, self.port))?;
        let differing = self.privileges_of_new_objects(made, self.server_version(node));
        (!differing.is_empty()).then(|| {
            let mut diff = Diff::none();
            for line in differing {
                diff.removed(line);
            }
            let roles: Vec<&Option<Name>> = self.roles.iter().collect();
            self.change(&roles, diff)
        })
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        match node.answers.get::<Pg>(&self.query())? {
            Answer::Rows(rows) => {
                let found = typed::<GrantedState>(rows)?;
                Ok(self.verdict(found.first().ok_or_else(|| Unanswered("PostgreSQL gave no row".into()))?))
            }
            Answer::NoServer { why } => Ok(self.blocked(format!("PostgreSQL ({why})"))),
            // What a database has that an earlier task makes is revoked after that: see `due_after`.
            Answer::NoDatabase if self.state == State::Absent => Ok(Verdict::CONVERGED),
            Answer::Closed => Ok(Verdict::Refused(closed(&self.database))),
            Answer::NoDatabase => Ok(self.blocked(format!("database `{}`", self.database))),
        }
    }
}

/// Like [`pg::APPLY`], but in the database that the connection string `$2` names: the last `-d` applies.
const APPLY: &str = r#"set -eu
find_psql
if [ -z "$psql" ]; then echo 'psql is not installed' >&2; exit 1; fi
export PGOPTIONS='-c client_min_messages=warning'
as_postgres "$1" -d "$2" -v ON_ERROR_STOP=1 -v VERBOSITY=terse
"#;

#[cfg(test)]
mod tests;
