//! Databases with other owners, and missing locales.

use std::fmt::Write as _;

use super::refusal;
use crate::harness::{Project, TestNode};

/// Databases with owners, encodings and locales, roles with their passwords, and what is in the tables.
const STATE: &str = r#"
cd /
sql() { runuser -u postgres -- psql -X -At "$@"; }
sql -c "SELECT datname, pg_get_userbyid(datdba), encoding, datcollate, datctype, datacl FROM pg_database ORDER BY 1"
sql -c "SELECT rolname, rolpassword, rolsuper, rolcanlogin FROM pg_authid ORDER BY 1"
for database in $(sql -c "SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1"); do
  sql -d "$database" -c "SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
done
"#;

fn toy(parameters: &str) -> String {
    format!("tasks:\n  - name: Create the database\n    postgresql_db: {{{parameters}}}\n")
}

#[test]
fn a_problem_with_a_database_is_reported_before_the_first_change_and_its_data_is_kept() {
    let node = TestNode::converged();
    let sql =
        |database: &str, sql: &str| node.sh(&format!("cd /; runuser -u postgres -- psql -X -At -d {database} -c \"{sql}\""));
    sql("postgres", "CREATE ROLE somebody LOGIN");
    sql(
        "postgres",
        "CREATE DATABASE theirs OWNER somebody TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'",
    );
    sql("postgres", "CREATE DATABASE latin OWNER autobot_users TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    sql("theirs", "CREATE TABLE precious (x int)");
    let project = Project::toy(&[("n", &node)], "tasks: []\n");
    let mut said = String::new();
    for (what, parameters) in [
        ("somebody else's", "name: theirs, owner: autobot_users"),
        ("the cluster's own", "name: postgres, owner: autobot_users"),
        ("another encoding", "name: latin, owner: autobot_users"),
        ("another locale", "name: theirs, owner: somebody, lc_collate: de_DE.UTF-8"),
        ("no such owner", "name: fresh, owner: nobody_here"),
        ("no such locale", "name: fresh, owner: somebody, lc_collate: xx_XX.UTF-8, lc_ctype: xx_XX.UTF-8"),
        ("no such encoding", "name: fresh, owner: somebody, encoding: UTF9"),
        ("no such template", "name: fresh, owner: somebody, template: template9"),
    ] {
        project.write("roles/toy/role.yml", &toy(parameters));
        let _ = writeln!(said, "{what}: {}", refusal(&node, &project, "n", &format!("{STATE}ls /root"), &[]));
    }
    insta::assert_snapshot!(said, @"
    somebody else's: the database `theirs` exists and belongs to `somebody`, not to `autobot_users`; name its owner in the task, choose another database, or hand it over by hand with ALTER DATABASE ... OWNER TO
    the cluster's own: the database `postgres` exists and belongs to `postgres`, not to `autobot_users`; name its owner in the task, choose another database, or hand it over by hand with ALTER DATABASE ... OWNER TO
    another encoding: the database `latin` exists with encoding `LATIN1`, not `UTF8`, which cannot be changed; set `encoding: LATIN1` in the task to keep it, or dump it, drop it and restore it into a new one
    another locale: the database `theirs` exists with lc_collate `C.UTF-8`, not `de_DE.UTF-8`, which cannot be changed; set `lc_collate: C.UTF-8` in the task to keep it, or dump it, drop it and restore it into a new one
    no such owner: role `nobody_here` does not exist, and no earlier task creates it
    no such locale: the locale `xx_XX.UTF-8` (`locale -a` lists the existing ones) does not exist, and no earlier task creates it
    no such encoding: PostgreSQL has no encoding `UTF9`; the usual one is `UTF8`
    no such template: the template database `template9` does not exist, and no earlier task creates it
    ");

    // The shipped role says the same of its own.
    let project = Project::shipped(&[("database_vm", &node, "")]);
    sql("postgres", "ALTER DATABASE autobot_users OWNER TO somebody");
    insta::assert_snapshot!(refusal(&node, &project, "database_vm", STATE, &[]), @"the database `autobot_users` exists and belongs to `somebody`, not to `autobot_users`; name its owner in the task, choose another database, or hand it over by hand with ALTER DATABASE ... OWNER TO");
    insta::assert_snapshot!(refusal(&node, &project, "database_vm", STATE, &["-e", "postgresql_locale=xx_XX.UTF-8"]), @"this node has no UTF-8 locale `xx_XX.UTF-8` (it has C.utf8): leave the locale out for C.UTF-8, which is everywhere, or make it on the node: `apt-get install locales`, the line `xx_XX.UTF-8 UTF-8` in /etc/locale.gen, `locale-gen`");
    insta::assert_snapshot!(refusal(&node, &project, "database_vm", STATE, &["-e", "postgresql_version=14"]), @"this node has the PostgreSQL cluster 15/main, and 14/main is asked for: ask for the version that holds the data, or upgrade it first");
}
