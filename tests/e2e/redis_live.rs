//! A Redis that was changed while it runs, behind its file: check, deploy and health see the same, and the deploy sets it back.

use std::collections::BTreeSet;

use crate::{
    harness::{Project, TestNode, eventually},
    truth::deploys_as_checked,
};

const HOST: &str = "database_vm";
const ROLE: [&str; 2] = ["--role", "redis"];
const SET_BACK: &str = "redis/Set the running Redis back to its configuration";
const SWITCH_ON: &str = "redis/Switch on an append-only file that was switched off";
const HEALTH: &str = "redis/Redis accepts its password and refuses anonymous clients";
const UNIT: &str = "autobot-database-redis";

/// Runs a command in redis-cli with the password from the secrets file.
fn redis(node: &TestNode, command: &str) -> String {
    node.sh(&format!(
        "REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env) redis-cli --no-auth-warning {command} 2>&1"
    ))
}

fn main_pid(node: &TestNode) -> String {
    node.sh(&format!("systemctl show -p MainPID --value {UNIT}"))
}

/// Returns the state of Redis's health check, and what it found or says is wrong.
#[track_caller]
fn health(project: &Project) -> (String, String) {
    let ran = project.json(&["health"]);
    let tasks = ran.tasks(HOST);
    let task = tasks.into_iter().find(|task| task.id == HEALTH).unwrap_or_else(|| panic!("{}\n{}", ran.stdout, ran.stderr));
    (task.status, format!("{}{}", task.summary, task.error))
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[test]
fn what_was_changed_at_run_time_is_set_back_while_redis_runs() {
    let node = TestNode::converged();
    let project = Project::shipped(&[(HOST, &node, "")]);
    eventually("everything is up", 60, || health(&project).0 == "ok");
    redis(&node, "set kept yes");
    let pid = main_pid(&node);
    for (command, words, restarts) in [
        (
            "config set maxmemory 1mb maxclients 5000",
            "`maxclients` is `5000`, the file says `10000`; `maxmemory` is `1048576`",
            false,
        ),
        ("config set save ''", "`save` is ``, the file says `900 1 300 10 60 10000`", false),
        ("config set save '900 1 5 5'", "`save` is `900 1 5 5`", false),
        ("acl setuser default on nopass", "it answers without a password: PING returned `PONG`", false),
        ("config set requirepass ''", "it answers without a password: PING returned `PONG`", false),
        ("acl setuser default '>second'", "the user `default` accepts another password besides `REDIS_PASSWORD`", false),
        ("acl setuser default -flushall", "the user `default` may not do everything any more", false),
        ("acl setuser guest on nopass '~*' +@all", "the user `guest` needs no password", false),
        ("replicaof 127.0.0.1 6399", "it is a replica of 127.0.0.1:6399: it refuses writes", false),
        ("config set min-replicas-to-write 1", "`min-replicas-to-write` is `1`, and the file does not say so", false),
        ("config set requirepass other", "it does not accept the password `REDIS_PASSWORD`", true),
        ("config set port 6390", "Connection refused", true),
    ] {
        assert_eq!(redis(&node, command), "OK");
        let (status, found) = health(&project);
        assert!(status == "failed" && found.contains(words), "{command}: {status}: {found}");
        let before = main_pid(&node);
        assert_eq!(deploys_as_checked(&project, HOST, command, &ROLE), ids(&[SET_BACK]), "{command}");
        assert_eq!(before != main_pid(&node), restarts, "{command}: restarted");
        let (status, found) = health(&project);
        assert_eq!(status, "ok", "{command}: {found}");
        assert_eq!(redis(&node, "get kept"), "yes", "{command}");
    }
    assert_ne!(pid, main_pid(&node));
    assert!(redis(&node, "acl list").contains("user default on sanitize-payload #"), "{}", redis(&node, "acl list"));
    assert!(node.sh("redis-cli ping 2>&1").contains("NOAUTH"));
}

#[test]
fn those_who_came_in_without_a_password_are_out_again() {
    let node = TestNode::converged();
    let project = Project::shipped(&[(HOST, &node, "")]);
    eventually("everything is up", 60, || health(&project).0 == "ok");
    redis(&node, "acl setuser default on nopass");
    node.sh("systemd-run -q --unit=guest bash -c 'exec 3<>/dev/tcp/127.0.0.1/6379; echo PING >&3; exec cat <&3'");
    let clients = || redis(&node, "client list").lines().filter(|line| line.contains("user=default")).count();
    eventually("the guest is in, beside this one", 20, || clients() == 2);
    project.json(&["deploy", "--role", "redis"]).assert_code(0);
    assert_eq!(clients(), 1, "{}", redis(&node, "client list"));
}

#[test]
fn a_user_that_was_made_for_a_client_stays_and_is_named() {
    let node = TestNode::converged();
    let project = Project::shipped(&[(HOST, &node, "")]);
    eventually("everything is up", 60, || health(&project).0 == "ok");
    redis(&node, "acl setuser app on '>word' '~app:*' +@all");
    assert_eq!(deploys_as_checked(&project, HOST, "a user with a password", &ROLE), ids(&[]));
    let ran = project.run(&["health"]);
    ran.assert_code(0);
    assert!(ran.stdout.contains("the user `app` was made at run time and stands in no file"), "{}", ran.stdout);
    assert_eq!(node.sh("redis-cli --user app --pass word --no-auth-warning set app:1 x"), "OK");
}

#[test]
fn an_append_only_file_that_was_switched_off_costs_no_keys() {
    let node = TestNode::converged();
    let project = Project::shipped(&[(HOST, &node, "")]);
    eventually("everything is up", 60, || health(&project).0 == "ok");
    redis(&node, "config set appendonly no");
    redis(&node, "set late yes");
    let (status, found) = health(&project);
    assert!(status == "failed" && found.contains("`appendonly` is `no`, the file says `yes`"), "{status}: {found}");
    // The restart alone would start Redis with the keys of the old file.
    let arguments = [&ROLE[..], &["-e", "redis_maxclients=9000"]].concat();
    let changed = deploys_as_checked(&project, HOST, "a restart without an append-only file", &arguments);
    assert_eq!(changed, ids(&[SWITCH_ON, "redis/Configure Redis", "redis/restart redis"]));
    assert_eq!(redis(&node, "get late"), "yes");
}

#[test]
fn a_redis_that_listens_at_no_loopback_address_is_asked_where_it_listens() {
    let node = TestNode::converged();
    let project = Project::shipped(&[(HOST, &node, "")]);
    eventually("everything is up", 60, || health(&project).0 == "ok");
    let bind = format!("redis_bind={}", node.address);
    let arguments = [&ROLE[..], &["-e", &bind]].concat();
    let changed = deploys_as_checked(&project, HOST, "another address", &arguments);
    assert_eq!(changed, ids(&["redis/Configure Redis", "redis/restart redis"]));
    assert!(redis(&node, "ping 2>&1 || true;").contains("Connection refused"), "not at loopback any more");
    let well = || {
        let ran = project.json(&["health", "--exercise", "-e", &bind]);
        ran.assert_code(0);
    };
    well();
    let there = format!("-h {}", node.address);
    assert_eq!(redis(&node, &format!("{there} config set maxmemory 1mb")), "OK");
    assert_eq!(deploys_as_checked(&project, HOST, "drift there", &arguments), ids(&[SET_BACK]));
    // Nobody is asked at the address that the role declares no longer.
    assert_eq!(redis(&node, &format!("{there} config set bind 127.0.0.1")), "OK");
    assert_eq!(deploys_as_checked(&project, HOST, "moved", &arguments), ids(&[SET_BACK]));
    well();
}

#[test]
fn no_rules_are_no_snapshots_and_a_malformed_secrets_file_is_refused_by_all() {
    let node = TestNode::converged();
    let project = Project::shipped(&[(HOST, &node, "")]);
    eventually("everything is up", 60, || health(&project).0 == "ok");
    let changed = deploys_as_checked(&project, HOST, "no rules", &[&ROLE[..], &["-e", r#"{"redis_save": []}"#]].concat());
    assert_eq!(changed, ids(&["redis/Configure Redis", "redis/restart redis"]));
    assert_eq!(redis(&node, "config get save").trim_end(), "save");

    node.sh("sed -i 's/^REDIS_PASSWORD=/REDIS_PASSWORD = /' /etc/autobot/database-secrets.env");
    let line = node.sh("grep -n 'REDIS_PASSWORD' /etc/autobot/database-secrets.env | cut -d: -f1");
    let words = format!("`/etc/autobot/database-secrets.env` cannot be trusted: line {line} is not `KEY=value`; repair it");
    for arguments in [&["deploy", "--check"][..], &["deploy"], &["health"]] {
        let ran = project.run(arguments);
        ran.assert_code(1);
        assert!(ran.stdout.contains(&words), "{arguments:?}: {}", ran.stdout);
    }
}
