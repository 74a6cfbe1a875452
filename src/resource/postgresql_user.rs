//! `postgresql_user`: a role of a PostgreSQL server, its attributes and its password.

use std::{collections::HashMap, fmt::Write as _};

use serde::Deserialize;

use super::{Change, Diff, Files, Kind, Missing, NodeState, ParamError, Resource, State, Verdict, decode, schema::parameters};
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
    Ok(verifier.is_some_and(|verifier| scram::verify(verifier, value.expose())))
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
mod tests {
    use super::*;
    use crate::secret::SecretRef;
    use crate::{
        question::Answers,
        resource::trial,
        secret::{Secret, SecretValues},
    };
    use serde_json::{Value, json};

    fn password() -> SecretId {
        SecretRef { host: "db".into(), name: "DB_PASSWORD".into() }.into()
    }

    fn user(parameters: Value) -> Result<PostgresqlUser, ParamError> {
        PostgresqlUser::new(decode(parameters)?)
    }

    fn app() -> PostgresqlUser {
        user(json!({"name": "app", "password": password().token(Encoding::Plain), "conn_limit": 20})).unwrap()
    }

    fn row(verifier: Option<&str>) -> Value {
        let attributes = json!({"LOGIN": true, "SUPERUSER": false, "CREATEDB": false, "CREATEROLE": false, "REPLICATION": false,
            "BYPASSRLS": false, "INHERIT": true});
        json!({"attributes": attributes, "rolconnlimit": 20, "expires": "infinity", "expires_as_declared": true,
            "rolpassword": verifier, "member_of": ["staff"]})
    }

    fn known() -> SecretValues {
        let mut values = SecretValues::default();
        values.insert(password(), Secret::new("p2-Secret".into()));
        values
    }

    fn compare(user: &PostgresqlUser, answer: Result<Answer, Unanswered>, secrets: &SecretValues) -> Result<Verdict, Unanswered> {
        let mut answers = Answers::default();
        answers.set::<Pg>(user.query(), answer);
        user.compare(&NodeState { answers: &answers, secrets })
    }

    fn verdict(user: &PostgresqlUser, rows: Vec<Value>, secrets: &SecretValues) -> Verdict {
        compare(user, Ok(Answer::Rows(rows)), secrets).unwrap()
    }

    fn change(verdict: Verdict) -> Change {
        let Verdict::Change(change) = verdict else { panic!("{verdict:?}") };
        change
    }

    fn error(parameters: Value) -> String {
        match user(parameters).unwrap_err() {
            ParamError::Parameter { message, .. } => message,
            ParamError::Word { word, .. } => word.to_string(),
            ParamError::File(_) => panic!(),
        }
    }

    #[test]
    fn a_role_with_its_password_is_converged() {
        let verifier = scram::make("p2-Secret", b"salt").unwrap();
        assert!(matches!(verdict(&app(), vec![row(Some(&verifier))], &known()), Verdict::Converged { note: None }));
    }

    #[test]
    fn a_new_role_never_exists_without_its_password() {
        let change = change(verdict(&app(), Vec::new(), &known()));
        assert_eq!((change.summary.as_str(), change.replaces), ("create the role", false));
        insta::assert_snapshot!(change.script.sealed_input().shown(), @r#"
        BEGIN;
        SELECT 'CREATE ROLE "app"' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'app') \gexec
        ALTER ROLE "app" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT CONNECTION LIMIT 20 PASSWORD '‹DB_PASSWORD›';
        COMMIT;
        "#);
        let sent = change.script.sealed_input().reveal(&known()).unwrap();
        let sent = std::str::from_utf8(&sent).unwrap();
        assert!(sent.contains("PASSWORD 'SCRAM-SHA-256$4096:") && !sent.contains("p2-Secret"));
        assert!(!change.script.render().unwrap().contains("SCRAM"));
    }

    #[test]
    fn a_wrong_password_is_replaced_and_nothing_else() {
        let verifier = scram::make("old", b"salt").unwrap();
        let change = change(verdict(&app(), vec![row(Some(&verifier))], &known()));
        assert_eq!((change.summary.as_str(), change.replaces), ("password", true));
        assert_eq!(
            format!("{:?}", change.diff.lines),
            r#"[Title("role app"), Removed("password …"), Added("password ‹DB_PASSWORD›")]"#
        );
    }

    #[test]
    fn the_old_form_is_replaced_even_by_the_same_password() {
        let change = change(verdict(&app(), vec![row(Some("md5a00d060c7f1677b663d81b9c6c081076"))], &known()));
        assert!(format!("{:?}", change.diff).contains("password md5"));
    }

    #[test]
    fn a_password_without_a_value_replaces_nothing_in_a_role_without_one() {
        let none = SecretValues::default();
        assert!(!change(verdict(&app(), vec![row(None)], &none)).replaces);
        let verifier = scram::make("old", b"salt").unwrap();
        assert!(change(verdict(&app(), vec![row(Some(&verifier))], &none)).replaces);
    }

    #[test]
    fn each_attribute_is_put_right() {
        let verifier = scram::make("p2-Secret", b"salt").unwrap();
        for (word, _, wanted) in ATTRIBUTES {
            let mut drifted = row(Some(&verifier));
            drifted["attributes"][word] = json!(!wanted);
            let change = change(verdict(&app(), vec![drifted], &known()));
            assert_eq!(change.summary, if wanted { word.to_owned() } else { format!("NO{word}") });
            assert!(!change.script.sealed_input().shown().contains("PASSWORD"));
        }
        let mut drifted = row(Some(&verifier));
        drifted["rolconnlimit"] = json!(-1);
        assert_eq!(change(verdict(&app(), vec![drifted], &known())).summary, "connection limit");
    }

    #[test]
    fn a_login_that_is_shut_out_is_let_in_unless_that_is_declared() {
        let verifier = scram::make("p2-Secret", b"salt").unwrap();
        let with = |limit: i32, expires: &str, as_declared: bool| {
            let mut row = row(Some(&verifier));
            row["rolconnlimit"] = json!(limit);
            row["expires"] = json!(expires);
            row["expires_as_declared"] = json!(as_declared);
            row
        };
        let login = |more: Value| {
            let mut parameters = json!({"name": "app", "password": password().token(Encoding::Plain)});
            parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            user(parameters).unwrap()
        };
        let plain = login(json!({}));
        assert!(matches!(verdict(&plain, vec![with(-1, "infinity", true)], &known()), Verdict::Converged { note: None }));
        for limit in [0, 3] {
            let change = change(verdict(&plain, vec![with(limit, "infinity", true)], &known()));
            assert_eq!(change.summary, "connection limit");
            assert!(
                change.script.sealed_input().shown().contains(" CONNECTION LIMIT -1;"),
                "{}",
                change.script.sealed_input().shown()
            );
        }
        let expired = change(verdict(&plain, vec![with(-1, "2020-01-01 00:00:00+00", false)], &known()));
        assert_eq!(expired.summary, "expires");
        assert_eq!(trial::shown(&expired.diff), "= role app\n- expires 2020-01-01 00:00:00+00\n+ expires infinity");
        assert!(expired.script.sealed_input().shown().contains(" VALID UNTIL 'infinity';"));
        assert!(
            plain.query().sql.contains("coalesce(rolvaliduntil, 'infinity') = 'infinity'::timestamptz AS expires_as_declared")
        );

        let declared = login(json!({"conn_limit": 0, "expires": "2020-01-01"}));
        assert!(matches!(verdict(&declared, vec![with(0, "2020-01-01", true)], &known()), Verdict::Converged { note: None }));
        let new = change(verdict(&declared, Vec::new(), &known()));
        assert!(new.script.sealed_input().shown().contains(" CONNECTION LIMIT 0 VALID UNTIL '2020-01-01' PASSWORD"));
        // A role that no task gives a password is none of a login's business.
        let group = user(json!({"name": "app"})).unwrap();
        assert!(matches!(verdict(&group, vec![with(0, "2020-01-01", true)], &known()), Verdict::Converged { note: None }));
        assert!(group.query().sql.contains("true AS expires_as_declared"));
    }

    #[test]
    fn a_name_that_rules_of_pg_hba_cannot_name_is_refused() {
        for name in ["all", "+staff"] {
            assert!(error(json!({"name": name})).contains("meaning of its own in pg_hba.conf"), "{name}");
            assert!(user(json!({"name": name, "state": "absent"})).is_ok());
        }
        assert!(error(json!({"name": "app", "expires": " "})).contains("is a time"));
    }

    #[test]
    fn memberships_are_put_right_where_they_are_declared() {
        let member = |of: &[&str]| user(json!({"name": "app", "member_of": of})).unwrap();
        assert!(matches!(verdict(&member(&["staff"]), vec![row(None)], &known()), Verdict::Converged { .. }));
        let change = change(verdict(&member(&["pg_monitor", "o\"dd"]), vec![row(None)], &known()));
        assert_eq!(change.summary, "memberships");
        assert_eq!(trial::shown(&change.diff), "= role app\n- member of staff\n+ member of pg_monitor\n+ member of o\"dd");
        let script = change.script.sealed_input().shown();
        assert!(
            script.ends_with(
                "REVOKE \"staff\" FROM \"app\";\nGRANT \"pg_monitor\" TO \"app\";\nGRANT \"o\"\"dd\" TO \"app\";\nCOMMIT;\n"
            ),
            "{script}"
        );
        let none = self::change(verdict(&member(&[]), vec![row(None)], &known()));
        assert!(none.script.sealed_input().shown().contains("REVOKE \"staff\""));
    }

    #[test]
    fn without_a_server_it_is_blocked_and_without_an_answer_it_fails() {
        let blocked = compare(&app(), Ok(Answer::NoServer { why: "psql is not installed".into() }), &known()).unwrap();
        let Verdict::Blocked { missing, change } = blocked else { panic!() };
        assert_eq!(
            (crate::values::missing::list(&missing).as_str(), change.summary.as_str()),
            ("PostgreSQL (psql is not installed)", "create the role")
        );
        assert!(compare(&app(), Err(Unanswered("no".into())), &known()).is_err());
        assert!(compare(&app(), Ok(Answer::Rows(vec![json!({"x": 1})])), &known()).is_err());
    }

    #[test]
    fn an_absent_role_is_dropped_once() {
        let user = user(json!({"name": "a\"b'c\\", "state": "absent"})).unwrap();
        assert!(matches!(verdict(&user, Vec::new(), &known()), Verdict::Converged { .. }));
        let change = change(verdict(&user, vec![row(None)], &known()));
        assert_eq!(change.script.sealed_input().shown(), "DROP ROLE IF EXISTS \"a\"\"b'c\\\";\n");
    }

    #[test]
    fn a_password_that_clients_would_write_differently_is_refused() {
        let mut values = SecretValues::default();
        values.insert(password(), Secret::new("pässword".into()));
        let Verdict::Refused(reason) = verdict(&app(), Vec::new(), &values) else { panic!() };
        assert!(reason.contains("`DB_PASSWORD` of `db`") && !reason.contains("pässword"), "{reason}");
    }

    #[test]
    fn wrong_parameters_say_what_to_do() {
        assert!(error(json!({"name": "app", "password": "hunter2"})).contains("{{ secrets.DB_PASSWORD }}"));
        assert!(error(json!({"name": "app", "password": password().token(Encoding::Url)})).contains("nothing else"));
        assert!(error(json!({"name": "app", "role_attr_flags": "LOGIN,FLY"})).contains("`FLY` is not one of LOGIN"));
        assert!(error(json!({"name": "app", "role_attr_flags": "LOGIN,NOLOGIN"})).contains("LOGIN is both"));
        assert!(error(json!({"name": "postgres"})).contains("PostgreSQL's own"));
        assert!(error(json!({"name": ""})).contains("1 to 63 bytes"));
        assert!(error(json!({"name": "app", "conn_limit": -2})).contains("-1 for no limit"));
        assert!(error(json!({"name": "app", "db": "x"})).contains("unknown parameter"));
    }

    #[test]
    fn flags_override_the_least_privileges() {
        let user = user(json!({"name": "app", "role_attr_flags": "createdb, NOLOGIN"})).unwrap();
        assert_eq!(user.attributes, [false, false, true, false, false, false, true]);
    }
}
