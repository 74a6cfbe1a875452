//! Settings of a real PostgreSQL: which ones a reload applies, which ones need a restart, and that none leaves the server stopped.

use crate::{
    harness::{Project, TestNode, eventually},
    role_postgresql::{psql, slm},
};

const UNIT: &str = "postgresql@15-main";
const FILE: &str = "/etc/postgresql/15/main/conf.d/70-toy.conf";

/// Returns a role with these settings and more parameters of its task.
fn role(settings: &str, more: &str) -> String {
    format!("description: t\ntasks:\n  - name: Set\n    postgresql_conf: {{file: 70-toy.conf, settings: {{{settings}}}{more}}}\n")
}

fn pid(node: &TestNode) -> String {
    node.sh(&format!("systemctl show -p MainPID --value {UNIT}"))
}

/// Returns the content of the file; empty if it does not exist. Asserts that no copy of it was left behind.
fn file(node: &TestNode) -> String {
    assert_eq!(node.sh("ls /etc/postgresql/15/main/conf.d /etc/postgresql/15/main | grep autobot-provision || :"), "");
    node.sh(&format!("cat {FILE} 2>/dev/null || :"))
}

#[track_caller]
fn summary(ran: &crate::harness::RunResult) -> String {
    ran.tasks("node").into_iter().find(|task| task.id == "toy/Set").unwrap().summary
}

#[test]
fn a_reload_or_a_restart_makes_settings_live_and_a_wrong_one_leaves_server_and_file_as_they_were() {
    let node = slm();
    let project = Project::toy(&[("node", &node)], &role("work_mem: 9MB", ""));
    let first = pid(&node);
    assert_eq!(summary(&project.converges(&role("work_mem: 9MB", ""))), "create, reload");
    assert_eq!((psql(&node, "show work_mem"), pid(&node)), ("9MB".to_owned(), first.clone()));

    let restarting = project.converges(&role("work_mem: 9MB, max_connections: 77", ""));
    assert_eq!(summary(&restarting), "content, restart for max_connections");
    assert_eq!(psql(&node, "show max_connections"), "77");
    let second = pid(&node);
    assert_ne!(second, first);

    let waiting = project.converges(&role("max_connections: 78", ", restart: false"));
    assert!(summary(&waiting).contains("a restart is needed for max_connections"), "{}", waiting.stdout);
    assert_eq!((psql(&node, "show max_connections"), pid(&node)), ("77".to_owned(), second.clone()));
    let again = project.json(&["deploy"]);
    assert_eq!(summary(&again), "waits for a restart of PostgreSQL: max_connections");
    project.converges(&role("max_connections: 78", ""));
    assert_eq!(psql(&node, "show max_connections"), "78");

    // Refused by PostgreSQL before a reload, by PostgreSQL when it starts, and by this program before anything is written.
    let (third, before) = (pid(&node), file(&node));
    let words = project.fails(&role("max_connections: many", "")).failure("node");
    assert!(words.contains("PostgreSQL does not accept these settings") && words.contains("max_connections"), "{words}");
    assert_eq!((file(&node), pid(&node)), (before.clone(), third.clone()));
    let words = project.fails(&role("shared_preload_libraries: not_there", "")).failure("node");
    assert!(words.contains("PostgreSQL does not start with this: it was restarted for shared_preload_libraries"), "{words}");
    assert_eq!(file(&node), before);
    assert_eq!(psql(&node, "show max_connections"), "78");
    assert_eq!(
        node.sh(&format!("systemctl is-active {UNIT}; systemctl --failed --plain --no-legend | grep postgres || :")),
        "active"
    );
    let fourth = pid(&node);
    let words = project.is_refused(&role("max_conections: 5", ""));
    assert!(words.contains("PostgreSQL has no setting `max_conections`"), "{words}");

    // A setting that would override our file is named, and so is the remedy.
    psql(&node, "alter system set work_mem = '5MB'");
    let words = project.is_refused(&role("work_mem: 9MB", ""));
    assert!(words.contains("`work_mem` was set with ALTER SYSTEM") && words.contains("ALTER SYSTEM RESET work_mem"), "{words}");
    psql(&node, "alter system reset work_mem");
    node.sh("echo 'work_mem = 6MB' >/etc/postgresql/15/main/conf.d/99-mine.conf");
    let words = project.is_refused(&role("work_mem: 9MB", ""));
    assert!(words.contains("`work_mem` is set again in `/etc/postgresql/15/main/conf.d/99-mine.conf`"), "{words}");
    node.sh("rm /etc/postgresql/15/main/conf.d/99-mine.conf");
    assert_eq!(file(&node), before);

    // The file is as declared, but the server was not reloaded since.
    project.converges(&role("work_mem: 9MB, max_connections: 78", ""));
    node.sh(&format!("sed -i s/9MB/8MB/ {FILE}; systemctl reload {UNIT}"));
    eventually("the server has read it", 10, || psql(&node, "show work_mem") == "8MB");
    // PostgreSQL reports the times of files in whole seconds, so an edit within the second of the last load is not noticed.
    eventually("that second is over", 10, || psql(&node, "select now() > pg_conf_load_time() + interval '1 second'") == "t");
    node.sh(&format!("sed -i s/8MB/9MB/ {FILE}"));
    assert_eq!(summary(&project.converges(&role("work_mem: 9MB, max_connections: 78", ""))), "reload");
    assert_eq!((psql(&node, "show work_mem"), pid(&node)), ("9MB".to_owned(), fourth));
}

#[test]
fn killed_while_the_server_restarts_a_server_runs_and_the_next_run_makes_the_rest() {
    let node = slm();
    let project = Project::toy(&[("node", &node)], &role("max_connections: 77", ""));
    node.sh(&format!(
        "mkdir -p /etc/systemd/system/{UNIT}.service.d; printf '[Service]\\nExecStartPre=+/usr/local/bin/gate start\\n' >/etc/systemd/system/{UNIT}.service.d/gate.conf; systemctl daemon-reload"
    ));
    node.shut("start");
    let run = project.start(&["deploy"]);
    node.await_at("start");
    assert!(!node.try_sh("runuser -u postgres -- psql -XAtc 'select 1'").status.success(), "between its stop and its start");
    run.kill();
    node.await_end_of_runs();
    node.open("start");
    eventually("a server runs", 30, || node.try_sh("runuser -u postgres -- psql -XAtc 'select 1'").status.success());
    project.converges(&role("max_connections: 77", ""));
    assert_eq!(psql(&node, "show max_connections"), "77");
    assert!(file(&node).contains("max_connections = '77'"), "{}", file(&node));
    assert_eq!(node.sh(&format!("systemctl is-active {UNIT}")), "active");
}

#[test]
fn of_two_clusters_each_resource_takes_the_one_that_is_meant() {
    let node = slm();
    node.sh("LC_ALL=C.UTF-8 pg_createcluster 15 other --port 5433 --start");
    let other = |sql: &str| node.sh(&format!("cd /; runuser -u postgres -- psql -p 5433 -XAtc \"{sql}\""));
    let before = node.sh("cat /etc/postgresql/15/main/pg_hba.conf");
    let main = pid(&node);
    let both = r#"
description: t
secrets:
  THEIRS: {file: /etc/autobot/theirs.env, length: 32}
tasks:
  - name: Settings of the other
    postgresql_conf: {cluster: other, settings: {work_mem: 7MB, max_connections: 55}}
  - name: Settings of main
    postgresql_conf: {file: 70-toy.conf, settings: {work_mem: 9MB}}
  - name: Rules of the other
    pg_hba: {cluster: other, rules: [{type: host, database: theirs, user: theirs, address: 127.0.0.1/32, method: scram-sha-256}]}
  - name: Login
    postgresql_user: {name: theirs, password: "{{ secrets.THEIRS }}", role_attr_flags: LOGIN, port: 5433}
  - name: Database
    postgresql_db: {name: theirs, owner: theirs, port: 5433}
"#;
    let project = Project::toy(&[("node", &node)], both);
    project.converges(both);
    assert_eq!((other("show work_mem"), other("show max_connections")), ("7MB".to_owned(), "55".to_owned()));
    assert_eq!((psql(&node, "show work_mem"), psql(&node, "show max_connections")), ("9MB".to_owned(), "100".to_owned()));
    assert_eq!(pid(&node), main, "the other's restart was the other's");
    assert_eq!(node.sh("cat /etc/postgresql/15/main/pg_hba.conf"), before);
    let databases = "select count(*) from pg_database where datname = 'theirs'";
    assert_eq!((other(databases), psql(&node, databases)), ("1".to_owned(), "0".to_owned()));
    let password = node.sh("sed -n s/^THEIRS=//p /etc/autobot/theirs.env");
    let login =
        |port: u16| node.try_sh(&format!("cd /; psql -w 'postgresql://theirs:{password}@127.0.0.1:{port}/theirs' -c 'select 1'"));
    assert!(login(5433).status.success() && !login(5432).status.success());

    // Two clusters of the same name: the program does not guess.
    node.sh("mkdir -p /etc/postgresql/13/main; touch /etc/postgresql/13/main/postgresql.conf");
    let words = project.is_refused(&role("work_mem: 10MB", ""));
    assert!(words.contains("several clusters `main`, of versions 13, 15; say which with `version`"), "{words}");
    project.converges(&role("work_mem: 10MB", ", version: \"15\""));
    assert_eq!(psql(&node, "show work_mem"), "10MB");
    let words = project.is_refused(&role("work_mem: 10MB", ", cluster: third"));
    assert!(words.contains("PostgreSQL's cluster `third` does not exist"), "{words}");
}
