//! `postgresql_user`: a role of a PostgreSQL server, its attributes and its password.

use std::{collections::HashMap, fmt::Write as _};

use serde::Deserialize;

use super::{
    Change, Diff, Files, Kind, Missing, NodeState, ParamError, Reach, Resource, State, Verdict, decode, schema::parameters,
};
use crate::{
    pg::{self, Name, scram},
    question::{
        Questions, Unanswered,
        pg::{Answer, Pg, Query, typed},
    },
    script::Script,
    secret::{Encoding, RevealError, Sealed, SealedPart, SecretId},
};

pub(super) const KIND: Kind = Kind {
    name: "postgresql_user",
    about: "Makes or removes a role of PostgreSQL",
    example: r#"postgresql_user: {name: slm_app, password: "{{ secrets.DB_PASSWORD }}"}"#,
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(PostgresqlUser::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// Its name.
        name | user: Name,
        /// Its password: a secret.
        password: Option<Sealed>,
        /// What it may do, such as `CREATEDB,NOLOGIN`; without it, log in and nothing else.
        role_attr_flags: String = "",
        /// How many connections it may have; -1 is any number, which is also what a role with a password has without it.
        conn_limit: Option<i32>,
        /// Until when its password counts, such as `2030-01-01`; `infinity` is for ever, which is also what a role with a password has without it.
        expires | valid_until: Option<String>,
        /// All roles that it belongs to, and whose privileges it has.
        member_of: Option<Vec<Name>>,
        /// Whether the role exists.
        state: State = "present",
        /// The server's port.
        port | login_port: u16 = 5432,
    }
}

/// What a role may do unless the task says otherwise: log in, and nothing else. (SQL's word, `pg_authid`'s column, wanted.)
const ATTRIBUTES: [(&str, &str, bool); 7] = [
    ("LOGIN", "rolcanlogin", true),
    ("SUPERUSER", "rolsuper", false),
    ("CREATEDB", "rolcreatedb", false),
    ("CREATEROLE", "rolcreaterole", false),
    ("REPLICATION", "rolreplication", false),
    ("BYPASSRLS", "rolbypassrls", false),
    ("INHERIT", "rolinherit", true),
];

#[derive(Debug)]
struct PostgresqlUser {
    name: Name,
    password: Option<SecretId>,
    attributes: [bool; ATTRIBUTES.len()],
    /// What is declared, or what a login needs to work.
    conn_limit: Option<i32>,
    /// As `conn_limit`.
    expires: Option<String>,
    member_of: Option<Vec<Name>>,
    state: State,
    port: u16,
}

/// The time that PostgreSQL gives a password which counts for ever.
const FOR_EVER: &str = "infinity";

impl PostgresqlUser {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let Parameters { name, password, role_attr_flags, conn_limit, expires, member_of, state, port } = parameters;
        if let Some(reason) = name.unusable_for_a_role().filter(|_| state == State::Present) {
            return Err(ParamError::parameter("name", reason));
        }
        if name.as_str() == "postgres" || name.as_str().starts_with("pg_") {
            return Err(ParamError::parameter("name", format!("the role `{name}` is PostgreSQL's own; choose another name")));
        }
        if conn_limit.is_some_and(|limit| limit < -1) {
            return Err(ParamError::parameter("conn_limit", "must be a number of connections, or -1 for no limit"));
        }
        let password = password.as_ref().map(single_secret).transpose()?;
        if expires.as_ref().is_some_and(|expires| expires.trim().is_empty() || expires.contains(char::is_control)) {
            return Err(ParamError::parameter("expires", "is a time, such as `2030-01-01`, or `infinity`"));
        }
        let attributes = parse_attributes(&role_attr_flags)?;
        // What shuts a login out is a difference, unless it is declared.
        let is_login = password.is_some();
        let conn_limit = conn_limit.or(is_login.then_some(-1));
        let expires = expires.or_else(|| is_login.then(|| FOR_EVER.to_owned()));
        Ok(Self { name, password, attributes, conn_limit, expires, member_of, state, port })
    }

    fn query(&self) -> Query {
        let attributes: Vec<String> = ATTRIBUTES.iter().map(|(word, column, _)| format!("'{word}', {column}")).collect();
        let sql = format!(
            "SELECT jsonb_build_object({}) AS attributes, rolconnlimit, rolpassword,
 coalesce(rolvaliduntil::text, '{FOR_EVER}') AS expires, {} AS expires_as_declared,
 ARRAY(SELECT DISTINCT pg_catalog.pg_get_userbyid(roleid) FROM pg_catalog.pg_auth_members WHERE member = oid) AS member_of
 FROM pg_catalog.pg_authid WHERE rolname = {}",
            attributes.join(", "),
            self.expires.as_ref().map_or_else(
                || "true".to_owned(),
                |expires| format!("coalesce(rolvaliduntil, '{FOR_EVER}') = {}::timestamptz", pg::literal(expires))
            ),
            self.name.literal()
        );
        Query { database: pg::maintenance_database(), sql, port: self.port }
    }

    /// Returns the statements for the memberships that differ, and adds a line for each to the diff. They name no other roles, so a role
    /// that does not exist is an error only where it is declared.
    fn memberships(&self, role: Option<&Role>, diff: &mut Diff) -> String {
        let mut sql = String::new();
        let Some(wanted) = &self.member_of else { return sql };
        let current = role.map(|role| role.member_of.as_slice()).unwrap_or_default();
        let user = self.name.identifier();
        for extra in current.iter().filter(|extra| !wanted.contains(extra)) {
            diff.removed(format!("member of {extra}"));
            let _ = writeln!(sql, "REVOKE {} FROM {user};", extra.identifier());
        }
        for missing in wanted.iter().filter(|name| !current.contains(name)) {
            diff.added(format!("member of {missing}"));
            let _ = writeln!(sql, "GRANT {} TO {user};", missing.identifier());
        }
        sql
    }

    /// Returns the diff, the summary, and the clauses of ALTER ROLE.
    fn differences(&self, role: Option<&Role>, node: &NodeState<'_>) -> Result<(Diff, Vec<String>, String), String> {
        let (mut diff, mut summary, mut clauses) = (Diff::none(), Vec::new(), String::new());
        for ((word, ..), wanted) in ATTRIBUTES.iter().zip(self.attributes) {
            let clause = if wanted { (*word).to_owned() } else { format!("NO{word}") };
            if role.and_then(|role| role.attributes.get(*word)) != Some(&wanted) {
                let before = role.map_or(String::new(), |_| if wanted { format!("NO{word}") } else { (*word).to_owned() });
                diff.attribute("attribute", &before, &clause);
                summary.push(clause.clone());
            }
            clauses.push(' ');
            clauses.push_str(&clause);
        }
        // A new role has no limit and never expires; what is not declared is only mentioned if it differs.
        let limit = self.conn_limit.filter(|limit| role.map_or(-1, |role| role.rolconnlimit) != *limit);
        if let Some(limit) = limit {
            let current = role.map_or(String::new(), |role| role.rolconnlimit.to_string());
            diff.attribute("connection limit", &current, &limit.to_string());
            summary.push("connection limit".into());
            let _ = write!(clauses, " CONNECTION LIMIT {limit}");
        }
        let is_other = role.map_or(self.expires.as_deref() != Some(FOR_EVER), |role| !role.expires_as_declared);
        if let Some(expires) = self.expires.as_ref().filter(|_| is_other) {
            diff.attribute("expires", role.map_or("", |role| &role.expires), expires);
            summary.push("expires".into());
            let _ = write!(clauses, " VALID UNTIL {}", pg::literal(expires));
        }
        if let Some(secret) = &self.password {
            let verifier = role.and_then(|role| role.rolpassword.as_deref());
            if !verifier_matches(secret, verifier, node)? {
                let before = verifier.map_or("", |verifier| if scram::is_md5(verifier) { "md5" } else { "…" });
                diff.attribute("password", before, &Sealed::from(secret.token(Encoding::Plain)).shown());
                summary.push("password".into());
                // The transport generates the verifier, because its salt is random and a comparison must be deterministic.
                let _ = write!(clauses, " PASSWORD '{}'", secret.token(Encoding::Scram));
            }
        }
        Ok((diff, summary, clauses))
    }

    fn create_or_alter(&self, clauses: &str, memberships: &str) -> Script {
        let (identifier, literal) = (self.name.identifier(), self.name.literal());
        let sql = format!(
            "BEGIN;\nSELECT {} WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal}) \\gexec\n\
             ALTER ROLE {identifier} WITH{clauses};\n{memberships}COMMIT;\n",
            pg::literal(&format!("CREATE ROLE {identifier}")),
        );
        self.script(sql)
    }

    fn script(&self, sql: String) -> Script {
        Script::new(pg::APPLY).using(pg::SHELL_FUNCTIONS).arg(self.port.to_string()).input(sql)
    }

    fn absent(&self, role: Option<&Role>) -> Verdict {
        if role.is_none() {
            return Verdict::CONVERGED;
        }
        let mut diff = Diff::none();
        diff.removed(format!("role {}", self.name));
        let sql = format!("DROP ROLE IF EXISTS {};\n", self.name.identifier());
        Verdict::Change(Change::new("drop the role", self.script(sql)).diff(diff).replacing(true))
    }
}

#[derive(Debug, Deserialize)]
struct Role {
    attributes: HashMap<String, bool>,
    rolconnlimit: i32,
    expires: String,
    expires_as_declared: bool,
    rolpassword: Option<String>,
    member_of: Vec<Name>,
}

impl Resource for PostgresqlUser {
    fn reach(&self) -> Reach<'_> {
        Reach::Contained(&[])
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Pg>(self.query());
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let (roles, missing) = match node.answers.get::<Pg>(&self.query())? {
            Answer::Rows(rows) => (typed::<Role>(rows)?, None),
            Answer::NoServer { why } => (Vec::new(), Some(why.clone())),
            Answer::NoDatabase | Answer::Closed => {
                return Err(Unanswered("there is no database `postgres` to ask in".into()));
            }
        };
        let role = roles.first();
        let verdict = if self.state == State::Absent {
            self.absent(role)
        } else {
            let (mut diff, mut summary, clauses) = match self.differences(role, node) {
                Ok(differences) => differences,
                Err(reason) => return Ok(Verdict::Refused(reason)),
            };
            let memberships = self.memberships(role, &mut diff);
            if !memberships.is_empty() {
                summary.push("memberships".into());
            }
            if role.is_some() && summary.is_empty() {
                return Ok(Verdict::CONVERGED);
            }
            let summary = if role.is_some() { summary.join(", ") } else { "create the role".to_owned() };
            // A newly generated password may only go to a role that had none: clients that know the old password would be locked out.
            let has_password = role.is_some_and(|role| role.rolpassword.is_some());
            let change = Change::new(summary, self.create_or_alter(&clauses, &memberships))
                .diff(diff.titled(format!("role {}", self.name)));
            Verdict::Change(change.replacing(has_password))
        };
        Ok(match (missing, verdict) {
            (Some(missing), Verdict::Change(change)) => {
                Verdict::Blocked { missing: vec![Missing::Other(format!("PostgreSQL ({missing})"))], change }
            }
            (_, verdict) => verdict,
        })
    }

    fn secrets(&self) -> Vec<SecretId> {
        self.password.iter().cloned().collect()
    }
}

/// Whether the verifier was derived from the secret. A secret without a value matches no verifier.
fn verifier_matches(secret: &SecretId, verifier: Option<&str>, node: &NodeState<'_>) -> Result<bool, String> {
    let Some(value) = node.secrets.get(secret) else { return Ok(false) };
    if let Some(reason) = scram::password_error(value.expose()) {
        return Err(RevealError::NotEncodable { secret: secret.clone(), reason }.to_string());
    }
    Ok(verifier.is_some_and(|verifier| node.secrets.verifies(secret, verifier)))
}

/// Returns the secret that is the whole password.
fn single_secret(password: &Sealed) -> Result<SecretId, ParamError> {
    match password.parts().as_slice() {
        [SealedPart::Secret(secret, Encoding::Plain)] => Ok(secret.clone()),
        _ => Err(ParamError::parameter("password", "must be a secret and nothing else, such as `{{ secrets.DB_PASSWORD }}`")),
    }
}

fn parse_attributes(flags: &str) -> Result<[bool; ATTRIBUTES.len()], ParamError> {
    let mut given = [None; ATTRIBUTES.len()];
    for flag in flags.split(',').map(str::trim).filter(|flag| !flag.is_empty()) {
        let upper = flag.to_ascii_uppercase();
        let found = ATTRIBUTES.iter().position(|(word, ..)| upper.strip_prefix("NO").unwrap_or(&upper) == *word);
        let Some(index) = found else {
            let words: Vec<&str> = ATTRIBUTES.iter().map(|(word, ..)| *word).collect();
            return Err(ParamError::parameter(
                "role_attr_flags",
                format!("`{flag}` is not one of {}, with or without NO before it", words.join(", ")),
            ));
        };
        let wanted = upper == ATTRIBUTES[index].0;
        if given[index].replace(wanted).is_some_and(|before| before != wanted) {
            return Err(ParamError::parameter(
                "role_attr_flags",
                format!("{} is both wanted and not wanted", ATTRIBUTES[index].0),
            ));
        }
    }
    Ok(std::array::from_fn(|index| given[index].unwrap_or(ATTRIBUTES[index].2)))
}

#[cfg(test)]
#[path = "postgresql_user_tests.rs"]
mod tests;
