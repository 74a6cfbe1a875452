//! Check `postgresql`: the server answers and accepts writes, and the database exists with the right owner and encoding.

use serde::Deserialize;

use super::{Finding, HealthCheck};
use crate::{
    pg::Name,
    question::{
        Questions, Unanswered,
        pg::{Answer, Pg, Query, typed},
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
}

impl Postgresql {
    fn query(&self) -> Query {
        let sql = "SELECT pg_is_in_recovery() AS in_recovery, current_setting('server_encoding') AS encoding, \
                   pg_get_userbyid(datdba) AS owner FROM pg_catalog.pg_database WHERE datname = current_database()";
        Query { database: self.database.clone(), sql: sql.into(), port: self.port }
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
            Answer::Rows(rows) => typed::<DatabaseInfo>(rows)?,
        };
        let Some(found) = rows.first() else { return Err(Unanswered("PostgreSQL returned no row".into())) };
        let mut problems = Vec::new();
        if found.in_recovery {
            problems.push(format!("the server on port {} is in recovery and accepts no writes", self.port));
        }
        if found.encoding != self.encoding {
            problems.push(format!("`{database}` has the encoding {}, not {}", found.encoding, self.encoding));
        }
        if let Some(owner) = self.owner.as_ref().filter(|owner| owner.as_str() != found.owner) {
            problems.push(format!("`{database}` belongs to `{}`, not to `{owner}`", found.owner));
        }
        Ok(Finding::of_problems(&problems, format!("accepts writes, {}, owner `{}`", found.encoding, found.owner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{question::Answers, secret::SecretValues};
    use serde_json::json;

    fn problem(answer: Answer) -> Option<String> {
        let check: Postgresql = decode(json!({"database": "slm", "owner": "slm_app"})).unwrap();
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
            problem(Answer::Rows(vec![json!({"in_recovery": recovery, "encoding": encoding, "owner": owner})]))
        };
        assert_eq!(row(false, "UTF8", "slm_app"), None);
        insta::assert_snapshot!(row(true, "SQL_ASCII", "postgres").unwrap(), @"the server on port 5432 is in recovery and accepts no writes; `slm` has the encoding SQL_ASCII, not UTF8; `slm` belongs to `postgres`, not to `slm_app`");
        assert_eq!(problem(Answer::NoDatabase).unwrap(), "there is no database `slm`");
        assert_eq!(problem(Answer::NoServer { why: "psql is not installed".into() }).unwrap(), "psql is not installed");
    }

    #[test]
    fn no_answer_is_not_healthy() {
        let check: Postgresql = decode(json!({"db": "slm"})).unwrap();
        let answers = Answers::default();
        assert!(check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).is_err());
    }
}
