//! Tests of `postgresql_user`: attributes, password, and what shuts a login out.

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
fn the_prediction_and_the_task_derive_one_key_together() {
    let verifier = scram::make("p2-Secret", b"salt").unwrap();
    let (known, row) = (known(), row(Some(&verifier)));
    let derived = scram::derived(|| {
        for _ in ["prediction", "task", "last look"] {
            assert!(matches!(verdict(&app(), vec![row.clone()], &known), Verdict::Converged { .. }));
        }
    });
    assert_eq!(derived, 1);
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
    assert!(plain.query().sql.contains("coalesce(rolvaliduntil, 'infinity') = 'infinity'::timestamptz AS expires_as_declared"));

    let declared = login(json!({"conn_limit": 0, "expires": "2020-01-01"}));
    assert!(matches!(verdict(&declared, vec![with(0, "2020-01-01", true)], &known()), Verdict::Converged { note: None }));
    let new = change(verdict(&declared, Vec::new(), &known()));
    assert!(new.script.sealed_input().shown().contains(" CONNECTION LIMIT 0 VALID UNTIL '2020-01-01' PASSWORD"));
    // A role without a declared password is no login: its expiry and its limit do not matter.
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
