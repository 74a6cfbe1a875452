//! Tests of `postgresql_db`: what is made, what is put right, and what is refused.

use super::*;
use crate::{question::Answers, secret::SecretValues};
use serde_json::{Value, json};

fn database(parameters: Value) -> Result<PostgresqlDb, ParamError> {
    PostgresqlDb::new(decode(parameters)?)
}

fn slm() -> PostgresqlDb {
    database(json!({"name": "slm", "owner": "slm_app"})).unwrap()
}

fn found() -> Value {
    json!({"owner_exists": true, "template_exists": true, "encoding_exists": true, "owner": "slm_app", "encoding": "UTF8", "lc_collate": "C.utf8", "lc_ctype": "C.UTF-8",
        "public_connect": false, "connection_limit": -1, "takes_connections": true, "owner_connects": true,
        "read_only": {"server": false, "place": null, "logins": []}})
}

fn absent(owner_exists: bool) -> Value {
    json!({"owner_exists": owner_exists, "template_exists": true, "encoding_exists": true, "owner": null, "encoding": null, "lc_collate": null, "lc_ctype": null,
        "public_connect": null, "connection_limit": null, "takes_connections": null, "owner_connects": null,
        "read_only": {"server": false, "place": null, "logins": []}})
}

fn compare(wanted: &PostgresqlDb, answer: Answer) -> Verdict {
    let mut answers = Answers::default();
    answers.set::<Pg>(wanted.query(), Ok(answer));
    wanted.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn verdict(wanted: &PostgresqlDb, row: Value) -> Verdict {
    compare(wanted, Answer::Rows(vec![row]))
}

#[test]
fn a_database_as_declared_is_converged() {
    assert!(matches!(verdict(&slm(), found()), Verdict::Converged { note: None }));
}

#[test]
fn a_missing_database_is_made_and_closed_to_other_roles() {
    let wanted = database(json!({"name": "we'ird\"", "owner": "o\\o"})).unwrap();
    let Verdict::Change(change) = verdict(&wanted, absent(true)) else { panic!() };
    assert_eq!((change.summary.as_str(), change.replaces), ("create the database", false));
    insta::assert_snapshot!(change.script.sealed_input().shown(), @r#"
    SELECT  E'CREATE DATABASE "we''ird""" OWNER "o\\o" TEMPLATE "template0" ENCODING ''UTF8'' LC_COLLATE ''C.UTF-8'' LC_CTYPE ''C.UTF-8''' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = 'we''ird"') \gexec
    REVOKE CONNECT, TEMPORARY ON DATABASE "we'ird""" FROM PUBLIC;
    ALTER DATABASE "we'ird""" CONNECTION LIMIT -1;
    GRANT CONNECT ON DATABASE "we'ird""" TO "o\o";
    "#);
}

#[test]
fn without_its_owner_or_a_server_it_is_blocked() {
    let Verdict::Blocked { missing, .. } = verdict(&slm(), absent(false)) else { panic!() };
    assert_eq!(crate::values::missing::list(&missing), "role `slm_app`");
    let Verdict::Blocked { missing, .. } = compare(&slm(), Answer::NoServer { why: "psql is not installed".into() }) else {
        panic!()
    };
    assert_eq!(crate::values::missing::list(&missing), "PostgreSQL (psql is not installed)");
}

#[test]
fn a_database_whose_owner_cannot_write_is_refused_with_the_way_out() {
    let own = json!({"login": "slm_app", "is_on": true, "of_role": false, "of_database": true});
    for (mut row, read_only, words) in [
        (
            found(),
            json!({"server": false, "place": null, "logins": [own]}),
            "`alter database slm reset default_transaction_read_only`",
        ),
        (
            absent(true),
            json!({"server": true, "place": "/x/postgresql.auto.conf:1", "logins": []}),
            "it was set with ALTER SYSTEM",
        ),
    ] {
        row["read_only"] = read_only;
        let Verdict::Refused(reason) = verdict(&slm(), row) else { panic!() };
        assert!(reason.contains("which refuses writes: ") && reason.contains(words), "{reason}");
    }
}

#[test]
fn a_declared_writer_that_is_read_only_is_refused() {
    let mut row = found();
    row["read_only"]["logins"] = json!([{"login": "app", "is_on": true, "of_role": true, "of_database": false}]);
    assert!(matches!(verdict(&slm(), row.clone()), Verdict::Converged { .. }), "a role that may be one for reports");
    let wanted = database(json!({"name": "slm", "owner": "slm_app", "writers": ["app", "slm_app"]})).unwrap();
    assert_eq!(wanted.query().sql.matches("'slm_app', 'app'").count(), 1, "{}", wanted.query().sql);
    let Verdict::Refused(reason) = verdict(&wanted, row) else { panic!() };
    assert!(reason.contains("on for the role `app`, which refuses writes: `alter role app reset"), "{reason}");
}

#[test]
fn who_may_connect_is_put_right_both_ways() {
    let mut open = found();
    open["public_connect"] = json!(true);
    let Verdict::Change(change) = verdict(&slm(), open.clone()) else { panic!() };
    assert!(change.replaces && change.script.sealed_input().shown().contains("REVOKE CONNECT"));
    let wanted = database(json!({"name": "slm", "owner": "slm_app", "public_connect": "yes"})).unwrap();
    assert!(matches!(verdict(&wanted, open), Verdict::Converged { .. }));
    let Verdict::Change(change) = verdict(&wanted, found()) else { panic!() };
    assert!(change.script.sealed_input().shown().contains("GRANT CONNECT, TEMPORARY ON DATABASE \"slm\" TO PUBLIC"));
}

#[test]
fn what_shuts_its_clients_out_is_put_right_or_refused() {
    let with = |column: &str, value: Value| {
        let mut row = found();
        row[column] = value;
        row
    };
    for limit in [0, 20] {
        let Verdict::Change(change) = verdict(&slm(), with("connection_limit", json!(limit))) else { panic!() };
        assert_eq!((change.summary.as_str(), change.replaces), ("connection limit", true));
        assert!(change.script.sealed_input().shown().contains("ALTER DATABASE \"slm\" CONNECTION LIMIT -1;"));
    }
    let limited = database(json!({"name": "slm", "owner": "slm_app", "conn_limit": 20})).unwrap();
    assert!(matches!(verdict(&limited, with("connection_limit", json!(20))), Verdict::Converged { .. }));
    let Verdict::Change(change) = verdict(&limited, found()) else { panic!() };
    assert!(change.script.sealed_input().shown().contains("CONNECTION LIMIT 20;"));
    let Verdict::Change(change) = verdict(&slm(), with("owner_connects", json!(false))) else { panic!() };
    assert_eq!(change.summary, "its owner may connect");
    assert!(change.script.sealed_input().shown().contains("GRANT CONNECT ON DATABASE \"slm\" TO \"slm_app\";"));

    let reason = |row: Value| match verdict(&slm(), row) {
        Verdict::Refused(reason) => reason,
        other @ (Verdict::Converged { .. } | Verdict::Change(_) | Verdict::Blocked { .. }) => panic!("{other:?}"),
    };
    assert_eq!(
        reason(with("takes_connections", json!(false))),
        "the database `slm` takes no connections: `alter database slm allow_connections true`"
    );
    assert!(reason(with("connection_limit", json!(-2))).ends_with("finish that by `drop database slm`"));
}

#[test]
fn a_name_that_rules_of_pg_hba_cannot_name_is_refused() {
    for name in ["all", "sameuser", "samerole", "samegroup", "replication"] {
        let Err(ParamError::Parameter { message, .. }) = database(json!({"name": name, "owner": "o"})) else { panic!("{name}") };
        assert!(message.contains("is a keyword of pg_hba.conf"), "{message}");
    }
    assert!(database(json!({"name": "ALL", "owner": "o"})).is_ok());
    assert!(database(json!({"name": "slm", "owner": "o", "conn_limit": -2})).is_err());
}

#[test]
fn a_database_of_another_owner_is_refused_naming_both() {
    let mut row = found();
    row["owner"] = json!("postgres");
    let Verdict::Refused(reason) = verdict(&slm(), row) else { panic!() };
    assert!(reason.starts_with("the database `slm` exists and belongs to `postgres`, not to `slm_app`;"), "{reason}");
}

#[test]
fn what_cannot_be_changed_is_refused_with_what_to_do() {
    for (column, value) in [("encoding", "SQL_ASCII"), ("lc_collate", "en_US.UTF-8"), ("lc_ctype", "C")] {
        let mut row = found();
        row[column] = json!(value);
        let Verdict::Refused(reason) = verdict(&slm(), row) else { panic!() };
        assert!(reason.contains(&format!("set `{column}: {value}` in the task to keep it")), "{reason}");
    }
}

#[test]
fn what_a_new_database_needs_must_exist() {
    let mut row = absent(true);
    row["encoding_exists"] = json!(false);
    let Verdict::Refused(reason) = verdict(&slm(), row) else { panic!() };
    assert_eq!(reason, "PostgreSQL has no encoding `UTF8`; the usual one is `UTF8`");
    let mut row = absent(true);
    row["template_exists"] = json!(false);
    let Verdict::Blocked { missing, .. } = verdict(&slm(), row) else { panic!() };
    assert_eq!(crate::values::missing::list(&missing), "the template database `template0`");
}

#[test]
fn a_locale_that_is_not_built_in_must_exist() {
    let text = |name: &str| match locale_query(name) {
        Some(shell) => shell.text,
        None => String::new(),
    };
    for (name, listed) in [("de_DE.UTF-8", "de_DE.utf8"), ("de_DE@euro", "de_DE@euro"), ("sr_RS.UTF-8@latin", "sr_RS.utf8@latin")]
    {
        assert!(
            text(name).contains(&format!("!= '{listed}' ]")) || text(name).contains(&format!("!= {listed} ]")),
            "{}",
            text(name)
        );
    }
    for built_in in ["C", "POSIX", "C.UTF-8", "C.utf8"] {
        assert_eq!(text(built_in), "");
    }
    let wanted = database(json!({"name": "slm", "owner": "slm_app", "lc_collate": "it's_x"})).unwrap();
    for (status, exists) in [(0, true), (1, false)] {
        let mut answers = Answers::default();
        answers.set::<Pg>(wanted.query(), Ok(Answer::Rows(vec![absent(true)])));
        answers.set::<Guard>(
            locale_query("it's_x").unwrap(),
            Ok(crate::question::guard::GuardAnswer { status, ..Default::default() }),
        );
        let verdict = wanted.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap();
        assert_eq!(matches!(verdict, Verdict::Change(_)), exists, "{verdict:?}");
    }
}

#[test]
fn no_answer_fails_the_task() {
    let answers = Answers::default();
    assert!(slm().compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).is_err());
}

#[test]
fn a_database_cannot_be_dropped_or_lack_an_owner() {
    assert!(database(json!({"name": "slm", "owner": "o", "state": "absent"})).is_err());
    assert!(database(json!({"name": "slm"})).is_err());
    assert!(database(json!({"name": "slm", "owner": "o", "encoding": "a\0"})).is_err());
}
