//! What PostgreSQL grants by itself on the objects of a new database, so that a check knows what is to be revoked there.

use serde::Deserialize;

use super::{
    super::{NodeState, postgresql_db::PostgresqlDb},
    PostgresqlPrivs, Type,
};
use crate::{
    pg::{self, Name},
    question::pg::{Answer, Pg, Query, typed},
};

/// The row of the query for the version.
#[derive(Debug, Deserialize)]
struct Version {
    number: u32,
}

/// The version from which on only the owner of a database may create objects in its schema `public`.
const CLOSED_PUBLIC: u32 = 150_000;

impl PostgresqlPrivs {
    /// The query for what a new database depends on; it needs no database of its own.
    pub(super) fn version_query(&self) -> Query {
        let sql = "SELECT current_setting('server_version_num')::integer AS number".to_owned();
        Query { database: pg::maintenance_database(), sql, port: self.port }
    }

    /// Returns the number of the server's version; the newest rules apply where it is not known.
    pub(super) fn server_version(&self, node: &NodeState<'_>) -> u32 {
        let Ok(Answer::Rows(rows)) = node.answers.get::<Pg>(&self.version_query()) else { return CLOSED_PUBLIC };
        typed::<Version>(rows).ok().and_then(|rows| rows.first().map(|row| row.number)).unwrap_or(CLOSED_PUBLIC)
    }

    /// Whether the server answers and has no such database.
    pub(super) fn lacks_its_database(&self, node: &NodeState<'_>) -> bool {
        match node.answers.get::<Pg>(&self.query()) {
            Ok(Answer::NoDatabase) => true,
            // The database itself is looked for in another one.
            Ok(Answer::Rows(rows)) if self.kind == Type::Database => {
                rows.iter().all(|row| row["objects"] == serde_json::json!([]))
            }
            Ok(Answer::Rows(_) | Answer::NoServer { .. } | Answer::Closed) | Err(_) => false,
        }
    }

    /// Returns the privileges of this task that its roles have in the new database, as lines of a diff.
    pub(super) fn privileges_of_new_objects(&self, made: &PostgresqlDb, version: u32) -> Vec<String> {
        let mut lines = Vec::new();
        for object in self.new_objects(made, version) {
            for role in &self.roles {
                let held = object.held.iter().find(|(grantee, _)| grantee.as_ref() == role.as_ref());
                let revoked: Vec<&str> = held
                    .into_iter()
                    .flat_map(|(_, privileges)| privileges.iter().copied())
                    .filter(|privilege| self.privs.is_empty() || self.privs.iter().any(|wanted| wanted == privilege))
                    .collect();
                if !revoked.is_empty() {
                    let who = role.as_ref().map_or("PUBLIC", Name::as_str);
                    lines.push(format!("{} on {} {} from {who}", revoked.join(", "), self.kind.as_str(), object.name));
                }
            }
        }
        lines
    }

    fn new_objects(&self, made: &PostgresqlDb, version: u32) -> Vec<NewObject> {
        let named = |name: &str| self.objs.iter().any(|object| object.as_str() == name);
        let fixed = |name: &'static str| Name::new(name).ok();
        match self.kind {
            Type::Database => {
                let public: &[&str] = if made.is_open() { &["CONNECT", "TEMPORARY"] } else { &[] };
                let held = vec![(None, public), (Some(made.owner().clone()), &["CONNECT", "CREATE", "TEMPORARY"][..])];
                vec![NewObject { name: self.database.to_string(), held }]
            }
            Type::Schema if named("public") && made.is_of_the_usual_template() => {
                let (public, owner): (&[&str], _) =
                    if version >= CLOSED_PUBLIC { (&["USAGE"], "pg_database_owner") } else { (&["CREATE", "USAGE"], "postgres") };
                vec![NewObject { name: "public".to_owned(), held: vec![(None, public), (fixed(owner), &["CREATE", "USAGE"])] }]
            }
            // PostgreSQL's own defaults are for all schemas together.
            Type::DefaultPrivs if self.schema.is_none() => {
                let all: [(_, &'static [&'static str]); 2] = [("FUNCTIONS", &["EXECUTE"]), ("TYPES", &["USAGE"])];
                let defaults = all.into_iter().filter(|(kind, _)| named(kind));
                let mut objects = Vec::new();
                for (kind, privilege) in defaults {
                    objects.extend(self.target_roles.iter().map(|role| NewObject {
                        name: format!("{kind} of {role}"),
                        held: vec![(None, privilege), (Some(role.clone()), privilege)],
                    }));
                }
                objects
            }
            // A new database has no tables and no sequences, and no other schema.
            Type::Schema | Type::Table | Type::Sequence | Type::DefaultPrivs => Vec::new(),
        }
    }
}

/// An object that comes with a new database, and who holds which privileges on it; `None` is every role.
struct NewObject {
    name: String,
    held: Vec<(Option<Name>, &'static [&'static str])>,
}
