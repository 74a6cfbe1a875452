//! Least privilege as a table of users, databases and actions. Required actions work; all others are refused for the right reason.

use std::collections::BTreeSet;

use sqlx::{Executor as _, PgConnection};

use super::{login, pair, psql, state, wait_for};
use crate::harness::PostgresTunnel;

/// SQLSTATEs: what works; insufficient privilege; no rule of `pg_hba.conf`; wrong password.
pub const YES: &str = "00000";
const DENIED: &str = "42501";
pub const NO_RULE: &str = "28000";
const WRONG_PASSWORD: &str = "28P01";

/// What is done, what comes of it for the owner of the database, and for the application. `present` was there when privileges were given,
/// `future` was made by the owner later.
const ACTIONS: &[(&str, &str, &str)] = &[
    // Rows.
    ("SELECT count(*) FROM present", YES, YES),
    ("SELECT name FROM present WHERE id = 1 FOR UPDATE", YES, YES),
    ("INSERT INTO present (name) VALUES ('x')", YES, YES),
    ("UPDATE present SET name = 'y'", YES, YES),
    ("DELETE FROM present", YES, YES),
    ("SELECT count(*) FROM future", YES, YES),
    ("INSERT INTO future (name) VALUES ('x')", YES, YES),
    ("UPDATE future SET name = 'y'", YES, YES),
    ("DELETE FROM future", YES, YES),
    ("SELECT nextval('present_id_seq'), nextval('future_id_seq')", YES, YES),
    ("SELECT last_value FROM future_id_seq", YES, YES),
    ("SELECT count(*) FROM shown", YES, YES),
    // What they are kept in.
    ("SELECT setval('future_id_seq', 1)", YES, DENIED),
    ("TRUNCATE present", YES, DENIED),
    ("TRUNCATE future", YES, DENIED),
    ("CREATE TABLE more (id int)", YES, DENIED),
    ("CREATE TABLE linked (id int REFERENCES present)", YES, DENIED),
    ("CREATE TEMPORARY TABLE more (id int)", YES, DENIED),
    ("CREATE VIEW more AS SELECT 1", YES, DENIED),
    ("CREATE SEQUENCE more", YES, DENIED),
    ("CREATE TYPE more AS (a int)", YES, DENIED),
    ("CREATE SCHEMA more", YES, DENIED),
    ("CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'", YES, DENIED),
    ("CREATE EXTENSION pgcrypto", YES, DENIED),
    ("CREATE INDEX ON future (name)", YES, DENIED),
    (
        "CREATE TRIGGER more BEFORE UPDATE ON future FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        YES,
        DENIED,
    ),
    ("ALTER TABLE present ADD COLUMN more text", YES, DENIED),
    ("ALTER TABLE future RENAME TO past", YES, DENIED),
    ("ALTER TABLE future OWNER TO postgres", DENIED, DENIED),
    ("DROP TABLE present", YES, DENIED),
    ("DROP TABLE future CASCADE", YES, DENIED),
    ("DROP SCHEMA public CASCADE", YES, DENIED),
    ("REVOKE ALL ON future FROM PUBLIC", YES, YES),
    // The server.
    ("CREATE ROLE more", DENIED, DENIED),
    ("CREATE DATABASE more", DENIED, DENIED),
    ("DROP DATABASE postgres", DENIED, DENIED),
    ("ALTER DATABASE postgres SET work_mem = '1MB'", DENIED, DENIED),
    ("CREATE TABLESPACE more LOCATION '/tmp'", DENIED, DENIED),
    ("ALTER ROLE CURRENT_USER SUPERUSER", DENIED, DENIED),
    ("ALTER ROLE CURRENT_USER CREATEROLE CREATEDB", DENIED, DENIED),
    ("ALTER ROLE CURRENT_USER BYPASSRLS", DENIED, DENIED),
    ("ALTER ROLE postgres PASSWORD 'x'", DENIED, DENIED),
    ("SET ROLE postgres", DENIED, DENIED),
    ("SET SESSION AUTHORIZATION postgres", DENIED, DENIED),
    ("GRANT pg_read_all_data TO CURRENT_USER", DENIED, DENIED),
    ("GRANT pg_execute_server_program TO CURRENT_USER", DENIED, DENIED),
    ("ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT ALL ON TABLES TO PUBLIC", DENIED, DENIED),
    ("SELECT rolpassword FROM pg_authid", DENIED, DENIED),
    ("SELECT passwd FROM pg_shadow", DENIED, DENIED),
    ("UPDATE pg_database SET datname = datname", DENIED, DENIED),
    ("COPY (SELECT 1) TO PROGRAM 'id'", DENIED, DENIED),
    ("COPY present FROM PROGRAM 'id'", DENIED, DENIED),
    ("COPY (SELECT 1) TO '/tmp/more'", DENIED, DENIED),
    ("COPY present (name) FROM '/etc/passwd'", DENIED, DENIED),
    ("SELECT pg_read_file('/etc/passwd')", DENIED, DENIED),
    ("SELECT pg_ls_dir('/')", DENIED, DENIED),
    ("SELECT lo_import('/etc/passwd')", DENIED, DENIED),
    ("SELECT pg_hba_file_rules()", DENIED, DENIED),
    ("SELECT pg_reload_conf()", DENIED, DENIED),
    ("SELECT pg_terminate_backend(min(pid)) FROM pg_stat_activity WHERE usename = 'postgres'", DENIED, DENIED),
    ("SELECT pg_create_physical_replication_slot('more')", DENIED, DENIED),
    ("CREATE PUBLICATION more FOR ALL TABLES", DENIED, DENIED),
    ("CREATE EXTENSION file_fdw", DENIED, DENIED),
    ("CREATE LANGUAGE c HANDLER plpgsql_call_handler", DENIED, DENIED),
    ("CREATE FUNCTION more(cstring) RETURNS int LANGUAGE c AS '/tmp/more.so'", DENIED, DENIED),
    ("CREATE EVENT TRIGGER more ON ddl_command_start EXECUTE FUNCTION more()", DENIED, DENIED),
    ("LOAD 'auto_explain'", DENIED, DENIED),
    ("SET log_statement = 'none'", DENIED, DENIED),
    ("SET session_replication_role = replica", DENIED, DENIED),
    ("ALTER SYSTEM SET work_mem = '1MB'", DENIED, DENIED),
];

/// What the application could try on the owner.
const ON_THE_OWNER: &[(&str, &str)] = &[
    ("SET ROLE autobot_users", DENIED),
    ("SET SESSION AUTHORIZATION autobot_users", DENIED),
    ("ALTER ROLE autobot_users PASSWORD 'x'", DENIED),
    ("ALTER ROLE autobot_users RENAME TO more", DENIED),
    ("DROP OWNED BY autobot_users", DENIED),
    ("REASSIGN OWNED BY autobot_users TO autobot_app", DENIED),
    ("GRANT autobot_users TO autobot_app", DENIED),
    ("ALTER DEFAULT PRIVILEGES FOR ROLE autobot_users GRANT ALL ON TABLES TO autobot_app", DENIED),
    ("ALTER DATABASE autobot_users OWNER TO autobot_app", DENIED),
    ("ALTER DATABASE autobot_users SET search_path = more", DENIED),
    ("DROP DATABASE autobot_users", DENIED),
    ("COMMENT ON DATABASE autobot_users IS 'mine'", DENIED),
];

/// These cannot be taken back, so that PostgreSQL takes them alone only. None is allowed to anybody.
fn goes_alone(sql: &str) -> bool {
    ["CREATE DATABASE", "DROP DATABASE", "CREATE TABLESPACE", "ALTER SYSTEM"].iter().any(|start| sql.starts_with(start))
}

/// What comes of an action. Whatever it did is taken back.
async fn outcome(connection: &mut PgConnection, sql: &'static str) -> String {
    let alone = goes_alone(sql);
    if !alone {
        connection.execute("BEGIN").await.unwrap();
    }
    let said = connection.execute(sql).await.map_or_else(|error| state(&error), |_| YES.to_owned());
    if !alone {
        connection.execute("ROLLBACK").await.unwrap();
    }
    said
}

/// Tries all actions; those that did not come out as in the table.
async fn wrong(connection: &mut PgConnection, actions: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (sql, wanted) in actions {
        let said = outcome(connection, sql).await;
        if said != wanted {
            wrong.push(format!("{sql}: {said}, not {wanted}"));
        }
    }
    wrong
}

const TABLES: &str = "CREATE TABLE future (id serial PRIMARY KEY, name text); CREATE VIEW shown AS SELECT name FROM future";
pub const NOTHING: [String; 0] = [];

#[test]
fn each_login_can_do_what_it_must_and_nothing_else() {
    let pair = pair();
    let (app, owner, slm) = (pair.app_password(), pair.owner_password(), pair.slm_password());
    // As a restored dump has it: made by postgres and handed over, which default privileges know nothing about.
    let present = "CREATE TABLE present (id serial PRIMARY KEY, name text); ALTER TABLE present OWNER TO";
    psql(&pair.database_vm, "autobot_users", &format!("{present} autobot_users"));
    let database_vm = PostgresTunnel::open(&pair.database_vm);
    wait_for(async {
        let mut connection = login(&database_vm, "autobot_app", &app, "autobot_users").await.unwrap();
        assert_eq!(outcome(&mut connection, "SELECT count(*) FROM present").await, DENIED);
    });
    let deploy = pair.deploy(&[]);
    let given = ["read and write rows of existing tables", "use existing sequences"];
    let given: BTreeSet<String> =
        given.iter().map(|what| format!("user_management_db/Allow the application to {what}")).collect();
    assert_eq!(deploy.ids("database_vm", "changed"), given);

    wait_for(async {
        let mut connection = login(&database_vm, "autobot_users", &owner, "autobot_users").await.unwrap();
        connection.execute(TABLES).await.unwrap();
        let of_owner = ACTIONS.iter().map(|(sql, owner, _)| (*sql, *owner));
        assert_eq!(wrong(&mut connection, of_owner.clone()).await, NOTHING, "autobot_users");
        drop(connection);

        let mut connection = login(&database_vm, "autobot_app", &app, "autobot_users").await.unwrap();
        let of_app = ACTIONS.iter().map(|(sql, _, app)| (*sql, *app)).chain(ON_THE_OWNER.iter().copied());
        assert_eq!(wrong(&mut connection, of_app).await, NOTHING, "autobot_app");
        drop(connection);

        let node = PostgresTunnel::open(&pair.slm);
        for database in ["slm", "slm_users"] {
            psql(&pair.slm, database, &format!("{present} slm_app"));
            let mut connection = login(&node, "slm_app", &slm, database).await.unwrap();
            connection.execute(TABLES).await.unwrap();
            assert_eq!(wrong(&mut connection, of_owner.clone()).await, NOTHING, "slm_app in {database}");
        }
    });
    // Tables of the owner are no drift.
    let again = pair.project.json(&["deploy", "--detailed-exitcode"]);
    again.assert_code(0);
}

/// Logs in as each in turn; who did not fare as in the table.
pub fn strays(node: &PostgresTunnel, table: &[(&str, &str, &str, &str)]) -> Vec<String> {
    wait_for(async {
        let mut strays = Vec::new();
        for (user, password, database, wanted) in table {
            let said = login(node, user, password, database).await.err().unwrap_or_else(|| YES.to_owned());
            if said != *wanted {
                strays.push(format!("{user} in {database}: {said}, not {wanted}"));
            }
        }
        strays
    })
}

#[test]
fn each_login_comes_into_its_own_databases_by_its_own_password_only() {
    let pair = pair();
    let (app, owner, slm) = (&*pair.app_password(), &*pair.owner_password(), &*pair.slm_password());
    // What role `postgresql` keeps beside them, and a role that nobody declared.
    psql(
        &pair.slm,
        "postgres",
        "CREATE ROLE autobot_slm LOGIN PASSWORD 'other-one'; CREATE DATABASE autobot_slm OWNER autobot_slm;\nREVOKE CONNECT, TEMPORARY ON DATABASE autobot_slm FROM PUBLIC",
    );
    psql(
        &pair.database_vm,
        "postgres",
        "CREATE ROLE stranger LOGIN PASSWORD 'other-one'; ALTER ROLE postgres PASSWORD 'other-one'",
    );
    let (database_vm, node) = (PostgresTunnel::open(&pair.database_vm), PostgresTunnel::open(&pair.slm));
    let on_database_vm = [
        ("autobot_users", owner, "autobot_users", YES),
        ("autobot_app", app, "autobot_users", YES),
        ("autobot_users", app, "autobot_users", WRONG_PASSWORD),
        ("autobot_app", owner, "autobot_users", WRONG_PASSWORD),
        ("autobot_app", "", "autobot_users", WRONG_PASSWORD),
        ("autobot_users", owner, "postgres", NO_RULE),
        ("autobot_users", owner, "template1", NO_RULE),
        ("autobot_app", app, "postgres", NO_RULE),
        ("postgres", "other-one", "postgres", NO_RULE),
        ("postgres", "other-one", "autobot_users", NO_RULE),
        ("stranger", "other-one", "autobot_users", NO_RULE),
        ("slm_app", slm, "autobot_users", NO_RULE),
        ("nobody", "", "autobot_users", NO_RULE),
    ];
    assert_eq!(strays(&database_vm, &on_database_vm), NOTHING);
    let on_slm = [
        ("slm_app", slm, "slm", YES),
        ("slm_app", slm, "slm_users", YES),
        ("slm_app", "wrong", "slm", WRONG_PASSWORD),
        ("slm_app", app, "slm_users", WRONG_PASSWORD),
        ("slm_app", slm, "postgres", NO_RULE),
        ("slm_app", slm, "autobot_slm", NO_RULE),
        ("autobot_slm", "other-one", "slm", NO_RULE),
        ("autobot_slm", "other-one", "slm_users", NO_RULE),
        ("autobot_app", app, "slm", NO_RULE),
        ("postgres", "", "slm", NO_RULE),
    ];
    assert_eq!(strays(&node, &on_slm), NOTHING);
    // Nor does anybody become another over the socket.
    for user in ["slm_app", "postgres"] {
        let said = pair.slm.try_sh(&format!("cd /; runuser -u nobody -- psql -wXAtc 'SELECT 1' -U {user} -d slm"));
        assert!(!said.status.success(), "{user}");
    }

    // Behind the rules the databases themselves are closed, too.
    for node in [&pair.database_vm, &pair.slm] {
        node.sh("echo 'host all all 127.0.0.1/32 scram-sha-256' >>/etc/postgresql/15/main/pg_hba.conf; systemctl reload postgresql@15-main");
    }
    let behind = [
        ("autobot_users", owner, "autobot_users", YES),
        ("autobot_app", app, "autobot_users", YES),
        ("stranger", "other-one", "autobot_users", DENIED),
    ];
    assert_eq!(strays(&database_vm, &behind), NOTHING);
    let behind = [
        ("slm_app", slm, "slm", YES),
        ("slm_app", slm, "autobot_slm", DENIED),
        ("autobot_slm", "other-one", "autobot_slm", YES),
        ("autobot_slm", "other-one", "slm", DENIED),
        ("autobot_slm", "other-one", "slm_users", DENIED),
    ];
    assert_eq!(strays(&node, &behind), NOTHING);

    // What was done by hand is undone.
    let deploy = pair.deploy(&[]);
    let rules: BTreeSet<String> = ["user_management_db/Set the access rules for the users database".to_owned()].into();
    assert_eq!(deploy.ids("database_vm", "changed"), rules);
    assert_eq!(strays(&database_vm, &on_database_vm), NOTHING);
    assert_eq!(strays(&node, &on_slm), NOTHING);
}

#[test]
fn what_was_granted_by_hand_is_taken_back() {
    let pair = pair();
    let app = pair.app_password();
    let database_vm = PostgresTunnel::open(&pair.database_vm);
    psql(
        &pair.database_vm,
        "autobot_users",
        "CREATE TABLE present (id serial PRIMARY KEY, name text); ALTER TABLE present OWNER TO autobot_users",
    );
    pair.deploy(&[]);
    psql(
        &pair.database_vm,
        "autobot_users",
        "ALTER ROLE autobot_app SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS;
GRANT ALL ON DATABASE autobot_users TO autobot_app, PUBLIC;
GRANT ALL ON SCHEMA public TO autobot_app, PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA public TO autobot_app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO autobot_app;
GRANT autobot_users, pg_read_all_data TO autobot_app;
ALTER DEFAULT PRIVILEGES FOR ROLE autobot_users IN SCHEMA public GRANT ALL ON TABLES TO autobot_app;
ALTER DEFAULT PRIVILEGES FOR ROLE autobot_users IN SCHEMA public GRANT ALL ON SEQUENCES TO autobot_app",
    );
    pair.deploy(&[]);
    psql(
        &pair.database_vm,
        "autobot_users",
        "SET ROLE autobot_users;\nCREATE TABLE future (id serial PRIMARY KEY, name text); CREATE VIEW shown AS SELECT 1",
    );
    wait_for(async {
        let mut connection = login(&database_vm, "autobot_app", &app, "autobot_users").await.unwrap();
        let of_app = ACTIONS.iter().map(|(sql, _, app)| (*sql, *app)).chain(ON_THE_OWNER.iter().copied());
        assert_eq!(wrong(&mut connection, of_app).await, NOTHING);
    });
}
