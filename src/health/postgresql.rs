//! Check `postgresql`: the server answers and accepts writes, the database exists with the right owner and encoding, and its logins can use it.

use serde::Deserialize;

use super::{Finding, HealthCheck};
use crate::{
    pg::{
        Name,
        read_only::{self, ReadOnly},
    },
    question::{
        Questions, Unanswered,
        pg::{Answer, Pg, Query, closed, typed},
    },
    resource::{Files, Kind, NodeState, decode, schema::parameters},
};

pub(super) const KIND: Kind<dyn HealthCheck> = Kind {
    name: "postgresql",
    about: "The server takes writes, and a database is there",
    example: "read:
  postgresql: {database: slm, owner: slm_app}",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(decode::<Postgresql>(parameters)?)),
    declared: Postgresql::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Postgresql {
        /// The database.
        database | db: Name,
        /// The role that must own it.
        owner: Option<Name>,
        /// The roles that must be able to log in to it.
        logins: Option<Vec<Name>>,
        /// The encoding that it must have.
        encoding: String = "UTF8",
        /// The server's port.
        port: u16 = 5432,
    }
}

#[derive(Debug, Deserialize)]
struct DatabaseInfo {
    in_recovery: bool,
    encoding: String,
    owner: String,
    connection_limit: i32,
    logins: Vec<Client>,
    read_only: ReadOnly,
}

/// A role that must be able to log in. What the node says of one that does not exist is null.
#[derive(Debug, Deserialize)]
struct Client {
    name: String,
    can_login: Option<bool>,
    /// When its password ceased to count.
    expired: Option<String>,
    connection_limit: Option<i32>,
    may_connect: Option<bool>,
}

impl Client {
    /// Returns what shuts it out of a database.
    fn problem(&self, database: &Name) -> Option<String> {
        let name = &self.name;
        if self.can_login.is_none() {
            Some(format!("there is no role `{name}`"))
        } else if self.can_login == Some(false) {
            Some(format!("`{name}` may not log in (NOLOGIN)"))
        } else if let Some(when) = &self.expired {
            Some(format!("the password of `{name}` expired at {when}"))
        } else if self.connection_limit == Some(0) {
            Some(format!("`{name}` has the connection limit 0"))
        } else {
            (self.may_connect == Some(false)).then(|| format!("`{name}` lacks the privilege CONNECT on `{database}`"))
        }
    }
}

impl Postgresql {
    /// The roles that write to the database: its owner and the declared logins, or whatever role there is.
    fn writers(&self) -> Vec<&Name> {
        let declared = self.owner.iter().chain(self.logins.iter().flatten().filter(|login| Some(*login) != self.owner.as_ref()));
        let declared: Vec<&Name> = declared.collect();
        if declared.is_empty() { vec![&self.database] } else { declared }
    }

    fn query(&self) -> Query {
        let logins: Vec<String> = self.logins.iter().flatten().map(Name::literal).collect();
        let sql = format!(
            "SELECT pg_is_in_recovery() AS in_recovery, current_setting('server_encoding') AS encoding, pg_get_userbyid(datdba) AS owner,
 datconnlimit AS connection_limit,
 (SELECT coalesce(jsonb_agg(jsonb_build_object('name', w.name, 'can_login', r.rolcanlogin,
   'expired', CASE WHEN r.rolvaliduntil <= now() THEN r.rolvaliduntil::text END, 'connection_limit', r.rolconnlimit,
   'may_connect', has_database_privilege(r.oid, d.oid, 'CONNECT')) ORDER BY w.name), '[]')
  FROM unnest(ARRAY[{}]::text[]) w(name) LEFT JOIN pg_catalog.pg_roles r ON r.rolname = w.name) AS logins, {}
 FROM pg_catalog.pg_database d WHERE datname = current_database()",
            logins.join(", "),
            read_only::column("d.oid", &self.writers()),
        );
        Query { database: self.database.clone(), sql, port: self.port }
    }
}

impl HealthCheck for Postgresql {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Pg>(self.query());
    }

    fn examine(&self, is: &NodeState<'_>) -> Result<Finding, Unanswered> {
        let database = &self.database;
        let rows = match is.answers.get::<Pg>(&self.query())? {
            Answer::NoServer { why } => return Ok(Finding::Unhealthy(why.clone())),
            Answer::NoDatabase => return Ok(Finding::Unhealthy(format!("there is no database `{database}`"))),
            Answer::Closed => return Ok(Finding::Unhealthy(closed(database))),
            Answer::Rows(rows) => typed::<DatabaseInfo>(rows)?,
        };
        let Some(found) = rows.first() else { return Err(Unanswered("PostgreSQL returned no row".into())) };
        let mut problems = Vec::new();
        if found.in_recovery {
            problems.push(format!("the server on port {} is in recovery and accepts no writes", self.port));
        }
        problems.extend(found.read_only.problems(database, &self.writers()));
        if found.encoding != self.encoding {
            problems.push(format!("`{database}` has the encoding {}, not {}", found.encoding, self.encoding));
        }
        if let Some(owner) = self.owner.as_ref().filter(|owner| owner.as_str() != found.owner) {
            problems.push(format!("`{database}` belongs to `{}`, not to `{owner}`", found.owner));
        }
        if found.connection_limit == 0 {
            problems.push(format!("`{database}` has the connection limit 0: only a superuser gets in"));
        }
        problems.extend(found.logins.iter().filter_map(|login| login.problem(database)));
        Ok(Finding::of_problems(&problems, format!("accepts writes, {}, owner `{}`", found.encoding, found.owner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{question::Answers, secret::SecretValues};
    use serde_json::json;

    fn problem(answer: Answer) -> Option<String> {
        let check: Postgresql = decode(json!({"database": "slm", "owner": "slm_app", "logins": ["slm_app"]})).unwrap();
        let mut answers = Answers::default();
        answers.set::<Pg>(check.query(), Ok(answer));
        match check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap() {
            Finding::Healthy(note) if note == "accepts writes, UTF8, owner `slm_app`" => None,
            Finding::Unhealthy(why) => Some(why),
            other @ (Finding::Healthy(_) | Finding::Warning { .. } | Finding::Skipped(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_database_that_works_is_healthy_and_each_defect_is_named() {
        let row = |recovery: bool, encoding: &str, owner: &str| {
            let row = json!({"in_recovery": recovery, "encoding": encoding, "owner": owner, "connection_limit": -1, "logins": [],
                    "read_only": {"server": false, "place": null, "logins": []}});
            problem(Answer::Rows(vec![row]))
        };
        assert_eq!(row(false, "UTF8", "slm_app"), None);
        insta::assert_snapshot!(row(true, "SQL_ASCII", "postgres").unwrap(), @"the server on port 5432 is in recovery and accepts no writes; `slm` has the encoding SQL_ASCII, not UTF8; `slm` belongs to `postgres`, not to `slm_app`");
        assert_eq!(problem(Answer::NoDatabase).unwrap(), "there is no database `slm`");
        assert_eq!(
            problem(Answer::Closed).unwrap(),
            "the database `slm` takes no connections: `alter database slm allow_connections true`"
        );
        assert_eq!(problem(Answer::NoServer { why: "psql is not installed".into() }).unwrap(), "psql is not installed");
    }

    #[test]
    fn whatever_shuts_a_login_out_is_named() {
        let found = |limit: i32, change: &dyn Fn(&mut serde_json::Value)| {
            let mut login =
                json!({"name": "slm_app", "can_login": true, "expired": null, "connection_limit": -1, "may_connect": true});
            change(&mut login);
            problem(Answer::Rows(vec![json!({
                "in_recovery": false, "encoding": "UTF8", "owner": "slm_app", "connection_limit": limit, "logins": [login],
                "read_only": {"server": limit == 77, "place": null, "logins": []}
            })]))
        };
        assert_eq!(found(-1, &|_| ()), None);
        assert_eq!(found(5, &|login| login["connection_limit"] = json!(5)), None);
        assert_eq!(found(0, &|_| ()).unwrap(), "`slm` has the connection limit 0: only a superuser gets in");
        assert_eq!(
            found(77, &|_| ()).unwrap(),
            "`default_transaction_read_only` is on for the whole server, which refuses writes: no file of the server says so any more; \
             `select pg_reload_conf()`"
        );
        let named = |column: &str, value: serde_json::Value| found(-1, &|login| login[column] = value.clone()).unwrap();
        assert_eq!(named("can_login", json!(null)), "there is no role `slm_app`");
        assert_eq!(named("can_login", json!(false)), "`slm_app` may not log in (NOLOGIN)");
        assert_eq!(named("expired", json!("2020-01-01")), "the password of `slm_app` expired at 2020-01-01");
        assert_eq!(named("connection_limit", json!(0)), "`slm_app` has the connection limit 0");
        assert_eq!(named("may_connect", json!(false)), "`slm_app` lacks the privilege CONNECT on `slm`");
    }

    #[test]
    fn no_answer_is_not_healthy() {
        let check: Postgresql = decode(json!({"db": "slm"})).unwrap();
        let answers = Answers::default();
        assert!(check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).is_err());
    }
}
