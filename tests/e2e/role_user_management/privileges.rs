//! Resource `postgresql_privs` on a real server: what it says it grants and revokes is what PostgreSQL goes by.

use std::fmt::Write as _;

use super::{first, psql};
use crate::harness::{Project, TestNode};

/// A role with these tasks about privileges, after the logins, the database and nothing else.
fn role(tasks: &str) -> String {
    let mut role = String::from("description: t\ndefaults: {odd: \"o'd\\\"d\"}\ntasks:\n");
    for (index, login) in ["shopkeeper", "reader", "{{ odd }}"].iter().enumerate() {
        let _ = writeln!(role, "  - {{name: Login {index}, postgresql_user: {{name: \"{login}\", member_of: []}}}}");
    }
    role.push_str("  - {name: Database, postgresql_db: {name: \"sh op\", owner: shopkeeper}}\n");
    role + tasks
}

/// What is granted, or taken away again, task by task.
fn privileges(state: &str) -> String {
    let all = [
        "type: database, privs: [CONNECT, TEMP], roles: [reader, \"{{ odd }}\"]",
        "type: schema, objs: [public, \"sche ma\"], privs: USAGE, roles: [reader, \"{{ odd }}\"]",
        "type: table, objs: [goods, sold], privs: [SELECT, INSERT], roles: reader",
        "type: table, objs: ALL_IN_SCHEMA, schema: \"sche ma\", privs: ALL, roles: \"{{ odd }}\"",
        "type: sequence, objs: ALL_IN_SCHEMA, schema: public, privs: USAGE, roles: reader",
        "type: default_privs, target_roles: shopkeeper, objs: [TABLES, SEQUENCES], privs: SELECT, roles: reader",
        "type: default_privs, target_roles: shopkeeper, schema: \"sche ma\", objs: TABLES, privs: [SELECT, DELETE], roles: \"{{ odd }}\"",
        "type: default_privs, target_roles: shopkeeper, objs: SCHEMAS, privs: USAGE, roles: reader",
    ];
    let task = |(index, task): (usize, &&str)| {
        format!("  - {{name: Privilege {index}, postgresql_privs: {{database: \"sh op\", state: {state}, {task}}}}}\n")
    };
    all.iter().enumerate().map(task).collect()
}

const TABLES: &str = r#"SET ROLE shopkeeper;
CREATE SCHEMA "sche ma"; CREATE TABLE goods (id serial, name text); CREATE TABLE sold (id int); CREATE VIEW "sche ma"."v w" AS SELECT 1;
CREATE TABLE "sche ma".inside (id serial)"#;

/// What PostgreSQL itself says about these questions: a letter for each.
fn says(node: &TestNode, questions: &[&str]) -> String {
    let answers = questions.iter().map(|question| format!("({question})::text")).collect::<Vec<_>>().join(" || ");
    psql(node, "'sh op'", &format!("SELECT left({answers}, 99)")).replace("true", "y").replace("false", "n")
}

const GRANTED: [&str; 15] = [
    "has_database_privilege('reader', 'sh op', 'CONNECT')",
    "has_database_privilege('o''d\"d', 'sh op', 'TEMP')",
    "has_schema_privilege('reader', 'sche ma', 'USAGE')",
    "has_schema_privilege('o''d\"d', 'public', 'USAGE')",
    "has_table_privilege('reader', 'goods', 'SELECT')",
    "has_table_privilege('reader', 'sold', 'INSERT')",
    "has_table_privilege('o''d\"d', '\"sche ma\".\"v w\"', 'SELECT')",
    "has_table_privilege('o''d\"d', '\"sche ma\".inside', 'TRUNCATE')",
    "has_sequence_privilege('reader', 'goods_id_seq', 'USAGE')",
    "has_table_privilege('reader', 'later', 'SELECT')",
    "has_sequence_privilege('reader', 'later_id_seq', 'SELECT')",
    "has_table_privilege('o''d\"d', '\"sche ma\".later', 'DELETE')",
    "has_table_privilege('reader', '\"sche ma\".later', 'SELECT')",
    "has_schema_privilege('reader', 'later', 'USAGE')",
    "has_database_privilege('reader', 'sh op', 'CREATE')",
];

const NEVER: [&str; 8] = [
    "has_database_privilege('reader', 'sh op', 'CREATE')",
    "has_schema_privilege('reader', 'sche ma', 'CREATE')",
    "has_table_privilege('reader', 'goods', 'DELETE')",
    "has_table_privilege('reader', '\"sche ma\".inside', 'SELECT')",
    "has_sequence_privilege('reader', 'goods_id_seq', 'UPDATE')",
    "has_table_privilege('o''d\"d', 'goods', 'SELECT')",
    "has_table_privilege('o''d\"d', 'later', 'SELECT')",
    "has_table_privilege('reader', 'later', 'INSERT')",
];

const LATER: &str = r#"SET ROLE shopkeeper;
CREATE TABLE later (id serial); CREATE TABLE "sche ma".later (id int); CREATE SCHEMA later"#;

#[test]
fn what_is_granted_and_revoked_is_what_postgresql_goes_by() {
    first();
    let node = TestNode::copy("users-database_vm");
    let project = Project::toy(&[("node", &node)], &role(""));
    project.converges(&role(""));
    psql(&node, "'sh op'", TABLES);
    let all = role(&privileges("present"));
    project.converges(&all);
    psql(&node, "'sh op'", LATER);
    assert_eq!(says(&node, &GRANTED), "y".repeat(14) + "n");
    assert_eq!(says(&node, &NEVER), "n".repeat(8));
    // New objects of a schema, all of which were meant; then only what is missing is granted again, and named.
    let fresh = ["toy/Privilege 3".to_owned(), "toy/Privilege 4".to_owned()];
    assert_eq!(project.converges(&all).ids("node", "changed"), fresh.into());
    psql(&node, "'sh op'", "REVOKE INSERT ON sold FROM reader");
    let deploy = project.converges(&all);
    assert_eq!(deploy.ids("node", "changed"), ["toy/Privilege 2".to_owned()].into());
    assert!(deploy.stdout.contains("INSERT on table sold to reader"), "{}", deploy.stdout);

    project.converges(&role(&privileges("absent")));
    psql(&node, "'sh op'", "DROP TABLE later, \"sche ma\".later; DROP SCHEMA later");
    psql(&node, "'sh op'", LATER);
    // Everybody may look into `public`.
    assert_eq!(says(&node, &GRANTED), "nnnynnnnnnnnnnn");

    // Passing on, PUBLIC, and what is not there.
    let one = |task: &str| role(&format!("  - {{name: One, postgresql_privs: {{database: \"sh op\", {task}}}}}\n"));
    let passes_on = "has_table_privilege('reader', 'goods', 'SELECT WITH GRANT OPTION')";
    for (option, wanted) in [("true", "y"), ("false", "n")] {
        project.converges(&one(&format!("objs: goods, privs: SELECT, roles: reader, grant_option: {option}")));
        assert_eq!(says(&node, &[passes_on, "has_table_privilege('reader', 'goods', 'SELECT')"]), format!("{wanted}y"));
    }
    project.converges(&one("objs: goods, privs: SELECT, roles: PUBLIC"));
    assert_eq!(says(&node, &["has_table_privilege('o''d\"d', 'goods', 'SELECT')"]), "y");
    project.converges(&one("objs: goods, privs: ALL, roles: [PUBLIC, reader, nobody], state: absent"));
    assert_eq!(says(&node, &["has_table_privilege('o''d\"d', 'goods', 'SELECT')"]), "n");
    for (task, words) in [
        ("objs: nothing, privs: SELECT, roles: reader", "table `public.nothing`"),
        ("objs: goods, privs: SELECT, roles: nobody", "role `nobody`"),
        ("objs: x, schema: nowhere, privs: SELECT, roles: reader", "schema `nowhere` in `sh op`"),
        ("type: default_privs, target_roles: nobody, objs: TABLES, privs: SELECT, roles: reader", "role `nobody`"),
    ] {
        let said = project.is_refused(&one(task));
        assert!(said.contains(words), "{task}: {said}");
    }

    // Memberships bring privileges, too.
    let member =
        |of: &str| format!("description: t\ntasks:\n  - {{name: Login, postgresql_user: {{name: reader, member_of: {of}}}}}\n");
    let is = ["pg_has_role('reader', 'shopkeeper', 'MEMBER')", "pg_has_role('reader', 'pg_monitor', 'MEMBER')"];
    project.converges(&member("[shopkeeper, pg_monitor]"));
    assert_eq!(says(&node, &is), "yy");
    project.converges(&member("[pg_monitor]"));
    assert_eq!(says(&node, &is), "ny");
    project.converges(&member("[]"));
    assert_eq!(says(&node, &is), "nn");
}
