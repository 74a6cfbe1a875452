//! Access rules of a real PostgreSQL: an invalid rule never takes effect, and no rule locks this program out.

use crate::{
    harness::{Project, TestNode, eventually, lab},
    role_postgresql::{psql, slm},
    truth::settle,
};

const UNIT: &str = "postgresql@15-main";
const FILE: &str = "/etc/postgresql/15/main/pg_hba.conf";

fn role(rules: &str) -> String {
    format!("description: t\ntasks:\n  - name: Rules\n    pg_hba: {{rules: [{rules}]}}\n")
}

const LOOPBACK: &str = "{type: host, database: autobot_slm, user: autobot_slm, address: 127.0.0.1/32, method: scram-sha-256}";

/// Returns whether the backend's login works at this address.
fn logs_in(node: &TestNode, address: &str) -> bool {
    let script = format!(
        "cd /; password=$(sed -n s/^DB_PASSWORD=//p /etc/autobot/slm-secrets.env); psql -w \"postgresql://autobot_slm:$password@{address}/autobot_slm\" -c 'select 1'"
    );
    node.try_sh(&script).status.success()
}

#[test]
fn rules_are_live_once_they_are_accepted_and_a_broken_one_never_is() {
    let node = slm();
    let project = Project::toy(&[("node", &node)], &role(LOOPBACK));
    assert!(logs_in(&node, "127.0.0.1") && logs_in(&node, "[::1]"), "by the rules of the role that was deployed");
    project.converges(&role(LOOPBACK));
    assert!(logs_in(&node, "127.0.0.1") && !logs_in(&node, "[::1]"));
    let file = || node.sh(&format!("stat -c '%U:%G %a' {FILE}; cat {FILE}"));
    let before = file();
    assert!(before.starts_with("postgres:postgres 640\n"), "{before}");

    // Only PostgreSQL knows that this option does not exist.
    let log = || node.sh("cat /var/log/postgresql/postgresql-15-main.log");
    let pid = node.sh("systemctl show -p MainPID --value postgresql@15-main");
    let broken = "{type: host, database: autobot_slm, user: autobot_slm, address: ::1/128, method: scram-sha-256, options: {nonsense: \"1\"}}";
    let words = project
        .fails(&role(&format!("{LOOPBACK}, {broken}").replace("address: ::1", "address: \"::1").replace("/128,", "/128\",")))
        .failure("node");
    assert!(
        words.contains("PostgreSQL does not accept these rules:\nline 4: unrecognized authentication option name"),
        "{words}"
    );
    assert_eq!(file(), before);
    assert_eq!(node.sh("ls /etc/postgresql/15/main | grep autobot-provision || :"), "");
    assert!(logs_in(&node, "127.0.0.1") && !logs_in(&node, "[::1]"));
    assert!(
        !log().contains("pg_hba.conf was not reloaded") && !log().contains("unrecognized authentication option"),
        "the server was told to use it"
    );
    project.converges(&role(LOOPBACK));

    // A rule that rejects all users comes after this program's own rule, so the next run can still ask and repair.
    let reject_all = "{type: local, method: reject}, {type: host, address: all, method: reject}";
    project.converges(&role(reject_all));
    assert!(!logs_in(&node, "127.0.0.1"));
    assert_eq!(psql(&node, "select 1"), "1");
    project.converges(&role(LOOPBACK));
    assert!(logs_in(&node, "127.0.0.1"));

    // A file that was broken by hand would keep the server from starting again.
    node.sh(&format!("echo 'host all all nonsense' >>{FILE}; systemctl reload postgresql@15-main"));
    eventually("the server complains", 10, || log().contains("pg_hba.conf was not reloaded"));
    project.converges(&role(LOOPBACK));
    assert_eq!(file(), before);
    assert_eq!(node.sh("systemctl show -p MainPID --value postgresql@15-main"), pid, "it was never restarted");
    node.sh("systemctl restart postgresql@15-main");
    assert!(logs_in(&node, "127.0.0.1"));
}

#[test]
fn killed_before_the_server_has_judged_them_rules_are_not_live_and_the_next_run_mends_the_file() {
    let node = slm();
    let project = Project::toy(&[("node", &node)], &role(LOOPBACK));
    project.converges(&role(LOOPBACK));
    let file = || node.sh(&format!("cat {FILE}"));
    let before = file();
    node.sh(r#"psql=/usr/lib/postgresql/15/bin/psql; mv "$psql" "$psql.real"
        printf '#!/bin/sh\ncase $* in *pg_hba_file_rules*ORDER*) gate verdict;; esac\nexec %s.real "$@"\n' "$psql" >"$psql"
        chmod 755 "$psql"; chmod 777 /run"#);
    // A file that the server would not start with.
    let broken = "{type: host, database: autobot_slm, user: autobot_slm, address: 127.0.0.1/32, method: scram-sha-256, options: {nonsense: \"1\"}}";
    for how in ["killed", "power cut"] {
        project.write("roles/toy/role.yml", &role(broken));
        node.shut("verdict");
        let run = project.start(&["deploy"]);
        node.await_at("verdict");
        assert!(file().contains("nonsense"), "between its writing and the verdict");
        if how == "killed" {
            run.kill();
            node.await_end_of_runs();
            node.open("verdict");
            assert_eq!(file(), before, "the run itself put it back");
            assert!(logs_in(&node, "127.0.0.1"), "the server goes by what it read before");
            let words = project.json(&["deploy"]).failure("node");
            assert!(words.contains("PostgreSQL does not accept these rules:\nline 3: unrecognized"), "{words}");
            assert_eq!(file(), before);
        } else {
            lab().cut_power(&node.name).unwrap();
            run.kill();
            lab().start(&node.name).unwrap();
            assert!(file().contains("nonsense"), "nobody was there to put it back");
            settle(&node);
            assert_eq!(node.sh(&format!("systemctl is-active {UNIT} || :")), "failed", "with this file no server starts");
        }
        project.converges(&role(LOOPBACK));
        assert_eq!(file(), before);
        assert_eq!(node.sh("ls /etc/postgresql/15/main | grep autobot-provision || :"), "");
        assert!(logs_in(&node, "127.0.0.1"), "after it was {how}");
    }
}
