//! Tests of `postgresql_privs`: the statements, and the comparison of catalogs with the declaration.

use serde_json::{Value, json};

use super::*;
use crate::{
    question::Answers,
    resource::{content::tests::shown, trial},
    secret::SecretValues,
};

fn privs(parameters: Value) -> Result<PostgresqlPrivs, ParamError> {
    PostgresqlPrivs::new(decode(parameters)?)
}

fn with(more: &Value) -> PostgresqlPrivs {
    let mut all = json!({"database": "slm", "roles": "app"});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    privs(all).unwrap()
}

fn tables(more: &Value) -> PostgresqlPrivs {
    let mut all = json!({"objs": "a,b", "privs": "select, INSERT"});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    with(&all)
}

fn error(parameters: &Value) -> String {
    let mut all = json!({"database": "slm", "roles": "app", "objs": "a", "privs": "ALL"});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    match privs(all) {
        Err(ParamError::Parameter { path, message }) => format!("{path:?}: {message}"),
        Err(ParamError::Word { path, word }) => format!("{path:?}: {word}"),
        other => panic!("{other:?}"),
    }
}

fn object(name: &str, acl: &Value) -> Value {
    json!({"name": name, "acl": acl, "all": ["SELECT", "INSERT"]})
}

fn found(objects: &Value) -> Value {
    json!({"roles": {"app": 16401}, "schema": true, "objects": objects})
}

fn verdict_of(privs: &PostgresqlPrivs, answer: Answer) -> Verdict {
    let mut answers = Answers::default();
    answers.set::<Pg>(privs.query(), Ok(answer));
    privs.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn verdict(privs: &PostgresqlPrivs, row: Value) -> Verdict {
    verdict_of(privs, Answer::Rows(vec![row]))
}

fn sql(privs: &PostgresqlPrivs) -> String {
    let roles: Vec<&Option<Name>> = privs.roles.iter().collect();
    privs.script(&roles).sealed_input().shown().trim_start_matches("BEGIN;\n").trim_end_matches("COMMIT;\n").to_owned()
}

fn both() -> Value {
    json!([[16401, "SELECT", false], [16401, "INSERT", true], [10, "SELECT", true]])
}

#[test]
fn granted_privileges_are_converged() {
    let row = || found(&json!([object("a", &both()), object("b", &both())]));
    assert_eq!(shown(&verdict(&tables(&json!({})), row())), "converged");
    assert_eq!(shown(&verdict(&tables(&json!({"privs": "ALL"})), row())), "converged");
    assert_eq!(shown(&verdict(&tables(&json!({"objs": "ALL_IN_SCHEMA"})), found(&json!([])))), "converged");
}

#[test]
fn missing_privileges_are_granted_and_shown_object_by_object() {
    let row = found(&json!([object("a", &json!([[16401, "SELECT", false], [0, "INSERT", false]])), object("b", &json!([]))]));
    let change = trial::change(verdict(&tables(&json!({})), row));
    assert_eq!((change.summary.as_str(), change.replaces), ("grant SELECT, INSERT", false));
    assert_eq!(trial::shown(&change.diff), "= database slm\n+ INSERT on table a to app\n+ SELECT, INSERT on table b to app");
    let script = change.script.render().unwrap();
    assert!(script.starts_with("set -- 5432 'dbname='\\''slm'\\'''\n") && script.contains("-d \"$2\""), "{script}");
}

#[test]
fn absent_privileges_are_revoked_and_no_others() {
    let absent = tables(&json!({"state": "absent"}));
    let row = found(&json!([object("a", &json!([[16401, "SELECT", false]])), object("b", &json!([[0, "SELECT", false]]))]));
    let change = trial::change(verdict(&absent, row));
    assert_eq!(trial::shown(&change.diff), "= database slm\n- SELECT on table a from app");
    assert_eq!(shown(&verdict(&absent, found(&json!([object("a", &json!([]))])))), "converged");
    let no_roles = json!({"roles": {}, "schema": false, "objects": []});
    assert_eq!(shown(&verdict(&absent, no_roles)), "converged");
    assert_eq!(shown(&verdict_of(&absent, Answer::NoDatabase)), "converged");
    let public = with(&json!({"type": "schema", "objs": "public", "roles": "PUBLIC", "privs": "CREATE", "state": "absent"}));
    let row = json!({"roles": {}, "schema": true, "objects": [{"name": "public", "acl": [[0, "CREATE", false]], "all": ["CREATE", "USAGE"]}]});
    assert_eq!(trial::shown(&trial::change(verdict(&public, row)).diff), "= database slm\n- CREATE on schema public from PUBLIC");
}

#[test]
fn the_grant_option_is_compared_only_if_it_is_declared() {
    let row = || found(&json!([object("a", &both()), object("b", &both())]));
    let may = trial::change(verdict(&tables(&json!({"grant_option": true})), row()));
    assert!(trial::shown(&may.diff).contains("+ SELECT on table a to app, who may pass it on"));
    let may_not = trial::change(verdict(&tables(&json!({"grant_option": false})), row()));
    assert!(trial::shown(&may_not.diff).contains("+ INSERT on table a to app, who may not pass it on"));
}

#[test]
fn what_is_missing_is_named() {
    let row = json!({"roles": {}, "schema": true, "objects": [object("a", &json!([]))]});
    assert!(
        shown(&verdict(&tables(&json!({})), row)).starts_with("blocked by role `app`, table `public.b`: grant SELECT, INSERT\n")
    );
    let row = json!({"roles": {"app": 1}, "schema": false, "objects": []});
    assert!(shown(&verdict(&tables(&json!({"schema": "s"})), row)).starts_with("blocked by schema `s` in `slm`: "));
    assert!(shown(&verdict_of(&tables(&json!({})), Answer::NoDatabase)).starts_with("blocked by database `slm`: "));
    let down = Answer::NoServer { why: "psql is not installed".into() };
    assert!(shown(&verdict_of(&tables(&json!({})), down)).starts_with("blocked by PostgreSQL (psql is not installed): "));
    let database = with(&json!({"type": "database", "privs": "CONNECT"}));
    assert!(shown(&verdict(&database, found(&json!([])))).starts_with("blocked by database `slm`: "));
    let defaults = with(&json!({"type": "default_privs", "objs": "TABLES", "privs": "SELECT", "target_roles": "owner"}));
    assert!(shown(&verdict(&defaults, found(&json!([])))).starts_with("blocked by role `owner`: "));
    assert!(tables(&json!({})).compare(&NodeState { answers: &Answers::default(), secrets: &SecretValues::default() }).is_err());
}

#[test]
fn statements_say_exactly_what_is_wanted() {
    let all = [
        sql(&tables(&json!({}))),
        sql(&tables(&json!({"objs": "ALL_IN_SCHEMA", "schema": "s", "grant_option": true}))),
        sql(&tables(&json!({"grant_option": false, "roles": ["we\"ird", "b"]}))),
        sql(&with(&json!({"type": "sequence", "objs": "q", "privs": "usage", "state": "absent"}))),
        sql(&with(&json!({"type": "schema", "objs": ["public"], "privs": "ALL", "roles": "PUBLIC", "state": "absent"}))),
        sql(&with(&json!({"type": "database", "privs": "TEMP,CONNECT"}))),
        sql(&with(
            &json!({"type": "default_privs", "objs": ["TABLES", "SEQUENCES"], "schema": "public", "privs": "SELECT", "target_roles": "owner"}),
        )),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    GRANT SELECT, INSERT ON TABLE "public"."a", "public"."b" TO "app";
    GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA "s" TO "app" WITH GRANT OPTION;
    GRANT SELECT, INSERT ON TABLE "public"."a", "public"."b" TO "we""ird", "b";
    REVOKE GRANT OPTION FOR SELECT, INSERT ON TABLE "public"."a", "public"."b" FROM "we""ird", "b";
    REVOKE USAGE ON SEQUENCE "public"."q" FROM "app";
    REVOKE ALL PRIVILEGES ON SCHEMA "public" FROM PUBLIC;
    GRANT TEMPORARY, CONNECT ON DATABASE "slm" TO "app";
    ALTER DEFAULT PRIVILEGES FOR ROLE "owner" IN SCHEMA "public" GRANT SELECT ON TABLES TO "app";
    ALTER DEFAULT PRIVILEGES FOR ROLE "owner" IN SCHEMA "public" GRANT SELECT ON SEQUENCES TO "app";
    "#);
}

#[test]
fn catalogs_are_asked_in_the_right_database() {
    assert_eq!(tables(&json!({})).query().database.as_str(), "slm");
    assert_eq!(with(&json!({"type": "database", "privs": "CONNECT"})).query().database.as_str(), "postgres");
    let hostile = tables(&json!({"objs": ["it's"], "roles": ["a'b\\"]})).query().sql;
    assert!(hostile.contains("relname IN ('it''s')") && hostile.contains(" E'a''b\\\\'"), "{hostile}");
}

#[test]
fn wrong_parameters_say_what_to_do() {
    let all = [
        error(&json!({"privs": "FLY"})),
        error(&json!({"privs": "ALL,SELECT"})),
        error(&json!({"privs": ""})),
        error(&json!({"roles": ""})),
        error(&json!({"objs": null})),
        error(&json!({"objs": "ALL_IN_SCHEMA,a"})),
        error(&json!({"type": "database"})),
        error(&json!({"type": "schema", "schema": "s"})),
        error(&json!({"type": "default_privs", "objs": "TABLES"})),
        error(&json!({"type": "default_privs", "objs": "a", "target_roles": "owner"})),
        error(&json!({"target_roles": "owner"})),
        error(&json!({"grant_option": true, "roles": "PUBLIC"})),
        error(&json!({"type": "function"})),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    [Key("privs")]: `FLY` is no privilege of this type; there are SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER, MAINTAIN and ALL
    [Key("privs")]: has ALL and others; give ALL alone
    [Key("privs")]: is empty
    [Key("roles")]: is empty
    [Key("objs")]: is missing
    [Key("objs")]: has ALL_IN_SCHEMA and others; give it alone
    [Key("objs")]: is the database itself for `type: database`; leave it out
    [Key("schema")]: is for tables, sequences and default privileges; schemas themselves go into `objs`
    [Key("target_roles")]: is missing: default privileges count for the objects that certain roles make, such as the owner of the database
    [Key("objs")]: is one or more of TABLES, SEQUENCES, FUNCTIONS, TYPES, SCHEMAS
    [Key("target_roles")]: is for `type: default_privs` only
    [Key("grant_option")]: cannot be given to PUBLIC, nor with `state: absent`
    [Key("type")]: `function` is not one of `database`, `schema`, `table`, `sequence`, `default_privs`
    "#);
}

/// Returns the diff of the change that is due after these databases were made; empty if there is none.
fn due(privs: &PostgresqlPrivs, version: u32, answer: Answer, made: &[Value]) -> String {
    let made: Vec<Box<dyn Resource>> = made
        .iter()
        .map(|parameters| (super::super::postgresql_db::KIND.decode)(parameters.clone(), &mut trial::NoFiles).unwrap())
        .collect();
    let made: Vec<&dyn Resource> = made.iter().map(AsRef::as_ref).collect();
    let mut answers = Answers::default();
    answers.set::<Pg>(privs.version_query(), Ok(Answer::Rows(vec![json!({"number": version})])));
    answers.set::<Pg>(privs.query(), Ok(answer));
    let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
    privs.due_after(&node, &made).map(|change| trial::shown(&change.diff)).unwrap_or_default()
}

#[test]
fn what_a_new_database_grants_by_itself_is_revoked_after_it_was_made() {
    let revoke = |more: Value| {
        let mut parameters = json!({"roles": "PUBLIC", "privs": "ALL", "state": "absent"});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        with(&parameters)
    };
    let slm = json!({"name": "slm", "owner": "owner"});
    let none = || Answer::NoDatabase;
    let schema = revoke(json!({"type": "schema", "objs": "public"}));
    for (version, expected) in [(150_004, "USAGE"), (140_011, "CREATE, USAGE")] {
        let expected = format!("= database slm\n- {expected} on schema public from PUBLIC");
        assert_eq!(due(&schema, version, none(), std::slice::from_ref(&slm)), expected);
    }
    let create = revoke(json!({"type": "schema", "objs": "public", "privs": "CREATE"}));
    assert_eq!(due(&create, 150_004, none(), std::slice::from_ref(&slm)), "", "from version 15 on there is nothing to revoke");
    let other = revoke(json!({"type": "schema", "objs": "other"}));
    assert_eq!(due(&other, 150_004, none(), std::slice::from_ref(&slm)), "");
    // Without the task that makes the database, or with one for another database or port, nothing is due.
    let others = [json!({"name": "slm2", "owner": "owner"}), json!({"name": "slm", "owner": "owner", "port": 5433})];
    assert_eq!(due(&schema, 150_004, none(), &others), "");
    assert_eq!(due(&schema, 150_004, found_answer(), std::slice::from_ref(&slm)), "", "it is there already");
    // What another template holds is not known.
    assert_eq!(due(&schema, 150_004, none(), &[json!({"name": "slm", "owner": "owner", "template": "mine"})]), "");

    let absent = || Answer::Rows(vec![found(&json!([]))]);
    let database = revoke(json!({"type": "database"}));
    assert_eq!(due(&database, 150_004, absent(), std::slice::from_ref(&slm)), "", "postgresql_db has closed it");
    let open = json!({"name": "slm", "owner": "owner", "public_connect": true});
    assert_eq!(
        due(&database, 150_004, absent(), std::slice::from_ref(&open)),
        "= database slm\n- CONNECT, TEMPORARY on database slm from PUBLIC"
    );
    let of_owner = revoke(json!({"type": "database", "roles": "owner", "privs": "CREATE"}));
    assert_eq!(
        due(&of_owner, 150_004, absent(), std::slice::from_ref(&slm)),
        "= database slm\n- CREATE on database slm from owner"
    );

    let defaults = revoke(json!({"type": "default_privs", "objs": ["FUNCTIONS", "TABLES"], "target_roles": "owner"}));
    assert_eq!(
        due(&defaults, 150_004, none(), std::slice::from_ref(&slm)),
        "= database slm\n- EXECUTE on new FUNCTIONS of owner from PUBLIC"
    );
    for (kind, objs) in [("table", "ALL_IN_SCHEMA"), ("sequence", "ALL_IN_SCHEMA")] {
        let privs = revoke(json!({"type": kind, "objs": objs}));
        assert_eq!(due(&privs, 150_004, none(), std::slice::from_ref(&slm)), "", "{kind}");
    }
    let grant = with(&json!({"type": "schema", "objs": "public", "roles": "PUBLIC", "privs": "USAGE"}));
    assert_eq!(due(&grant, 150_004, none(), std::slice::from_ref(&slm)), "");
}

fn found_answer() -> Answer {
    Answer::Rows(vec![
        json!({"roles": {}, "schema": true, "objects": [{"name": "public", "acl": [[0, "USAGE", false]], "all": ["CREATE", "USAGE"]}]}),
    ])
}

#[test]
fn a_database_that_takes_no_connections_is_refused_and_not_taken_for_a_missing_one() {
    for state in ["present", "absent"] {
        let Verdict::Refused(reason) = verdict_of(&tables(&json!({"state": state})), Answer::Closed) else { panic!("{state}") };
        assert!(reason.ends_with("takes no connections: `alter database slm allow_connections true`"), "{reason}");
    }
}
