//! Connections that stay for the next run: when one is used again, and when a run logs in anew.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use crate::harness::{Project, RunResult, TestNode, eventually, lab};

const ROLE: &str = r"
description: A change, and a gate before it
tasks:
  - name: Write
    command: {cmd: gate write; touch /etc/toy, creates: /etc/toy}
health:
  - name: The file is there
    read:
      file: {path: /etc/toy, state: file}
";

/// A project with a file of host keys of its own: that of the lab changes when another test boots a node, and a connection is not used again after that.
fn toy(node: &TestNode, role: &str) -> Project {
    let project = Project::toy(&[("host", node)], role);
    let shared = lab().known_hosts().display().to_string();
    fs::copy(&shared, project.path("known_hosts")).unwrap();
    let inventory = fs::read_to_string(project.path("inventory/hosts.yml")).unwrap();
    let own = project.path("known_hosts").display().to_string();
    project.write("inventory/hosts.yml", &inventory.replace(&shared, &own));
    project
}

/// Runs the program as a person at a terminal does, with connections that stay.
fn run(project: &Project, arguments: &[&str]) -> RunResult {
    RunResult::new(arguments, &command(project, arguments).output().unwrap())
}

fn command(project: &Project, arguments: &[&str]) -> Command {
    let mut command = project.command_with_sockets(arguments);
    command.env_remove("CI");
    fs::set_permissions(project.path("run"), fs::Permissions::from_mode(0o700)).unwrap();
    command
}

fn kept(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.path("run/autobot-provision-kept")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// How many logins the node has seen.
fn logins(node: &TestNode) -> usize {
    node.sh("journalctl -q --sync; journalctl -q -o cat -t sshd | grep -c 'Accepted publickey for autobot' || :").parse().unwrap()
}

/// The processes of ssh that carry this project's connections: each is named after the place at which it made its socket.
fn masters(project: &Project) -> Vec<String> {
    let run = project.path("run").display().to_string();
    let is_ours =
        |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|name| String::from_utf8_lossy(&name).contains(&run));
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && is_ours(name)).collect()
}

#[test]
fn check_deploy_and_health_in_a_row_need_one_login_and_others_their_own() {
    let node = TestNode::bare();
    let project = toy(&node, &ROLE.replace("gate write; ", ""));
    let before = logins(&node);
    run(&project, &["deploy", "--check"]).assert_code(0);
    let kept_now = kept(&project);
    assert_eq!(kept_now.len(), 1, "{kept_now:?}");
    for directory in [project.path("run/autobot-provision-kept"), kept_now[0].clone()] {
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700, "{}", directory.display());
    }
    let deploy = run(&project, &["deploy", "--output", "json"]);
    deploy.assert_code(0);
    assert_eq!(deploy.ids("host", "changed"), ["toy/Write".to_owned()].into());
    run(&project, &["health"]).assert_code(0);
    let again = run(&project, &["deploy", "--output", "json"]);
    assert_eq!(again.assert_code(0).host("host")["round_trips"], 1, "{}", again.stdout);
    assert_eq!(logins(&node), before + 1);
    assert_eq!(kept(&project).len(), 1);

    let mut expected = before + 1;
    let mut logs_in = |what: &str, arguments: &[&str], ci: Option<&str>| {
        let mut command = command(&project, arguments);
        command.envs(ci.map(|value| ("CI", value)));
        RunResult::new(arguments, &command.output().unwrap()).assert_code(0);
        expected += 1;
        assert_eq!(logins(&node), expected, "{what}");
        assert_eq!(kept(&project).len(), 1, "{what}: it is not kept");
    };
    logs_in("ping", &["ping"], None);
    logs_in("--no-persist", &["deploy", "--no-persist"], None);
    logs_in("ssh_persist", &["deploy", "-e", "ssh_persist=0"], None);
    logs_in("CI", &["deploy"], Some("true"));

    // What decides where and as whom one arrives, and whether the node's key is the right one: each is another connection.
    let others: [(&str, &[&str]); 3] = [
        ("another mode of host keys", &["deploy", "--accept-new-host-keys"]),
        ("other options", &["deploy", "--ssh-extra-args", "-o ServerAliveInterval=7"]),
        ("another limit", &["deploy", "-T", "11s"]),
    ];
    for (count, (what, arguments)) in others.into_iter().enumerate() {
        run(&project, arguments).assert_code(0);
        expected += 1;
        assert_eq!((logins(&node), kept(&project).len()), (expected, 2 + count), "{what}");
    }
    fs::create_dir_all(project.path("home/.ssh")).unwrap();
    for file in ["config", "known_hosts"] {
        project.write(&format!("home/.ssh/{file}"), "# new\n");
        run(&project, &["deploy"]).assert_code(0);
        expected += 1;
        assert_eq!(logins(&node), expected, "{file}");
    }

    // A directory to which others can write may hold their sockets.
    let mut command = command(&project, &["deploy"]);
    fs::set_permissions(project.path("run"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(command.output().unwrap().status.success());
    assert_eq!(logins(&node), expected + 1);
}

#[test]
fn a_kept_connection_ends_by_itself_and_says_no_more_than_a_minute() {
    let node = TestNode::bare();
    let project = toy(&node, &ROLE.replace("gate write; ", ""));
    run(&project, &["deploy", "-e", "ssh_persist=11s"]).assert_code(0);
    let connection = kept(&project).remove(0);
    assert_eq!(masters(&project).len(), 1);
    eventually("the master has ended", 30, || masters(&project).is_empty());
    eventually("the node has closed its end", 10, || node.sh("pgrep -fc '^sshd: autobot' || :") == "0");
    // Its directory is removed by the next run that keeps one.
    run(&project, &["deploy"]).assert_code(0);
    assert!(!connection.exists());
    let refused = run(&project, &["deploy", "-e", "ssh_persist=2m"]);
    refused.assert_code(4);
    assert!(refused.said().contains("`ssh_persist` cannot be `2m`"), "{}", refused.said());
    assert!(refused.said().contains("a time from 0 to 60s"), "{}", refused.said());
}

#[test]
fn a_connection_that_no_longer_leads_to_the_node_is_replaced() {
    let node = TestNode::bare();
    let project = toy(&node, &ROLE.replace("gate write; ", ""));
    run(&project, &["deploy"]).assert_code(0);
    let mut expected = logins(&node);
    let mut is_replaced = |what: &str| {
        let deploy = run(&project, &["deploy", "--output", "json"]);
        deploy.assert_code(0);
        expected += 1;
        assert_eq!(logins(&node), expected, "{what}");
        assert_eq!(deploy.host("host")["round_trips"], 1, "{what}: {}", deploy.stdout);
        assert_eq!(kept(&project).len(), 1, "{what}");
    };
    let master = masters(&project);
    assert_eq!(master.len(), 1);
    assert!(Command::new("kill").args(["-9", &master[0]]).status().unwrap().success());
    is_replaced("a socket without a master");

    // As by a restart of the node: its end is gone.
    node.sh("pkill -f '^sshd: autobot'");
    is_replaced("the node has closed it");

    // As where the node was switched off, or a link is cut: no answer.
    node.sh("pkill -STOP -f '^sshd: autobot'");
    is_replaced("the node does not answer");
    node.sh("pkill -KILL -f '^sshd: autobot' || :");
    is_replaced("after that");

    // A node with another key is refused as ever, once its old connection is gone.
    node.sh("rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; systemctl restart ssh; pkill -f '^sshd: autobot' || :");
    let refused = run(&project, &["deploy"]);
    refused.assert_code(3);
    assert!(refused.said().contains("host key"), "{}", refused.said());
}

#[test]
fn rights_are_asked_anew_in_a_kept_connection() {
    let node = TestNode::bare();
    let project = toy(&node, &ROLE.replace("gate write; ", ""));
    run(&project, &["deploy"]).assert_code(0);
    let before = logins(&node);
    node.sh("grep -l '^autobot' /etc/sudoers.d/* | xargs sed -i s/^/#/");
    let refused = run(&project, &["deploy"]);
    refused.assert_code(3);
    assert!(refused.said().contains("sudo"), "{}", refused.said());
    assert_eq!(logins(&node), before, "it was the kept connection");
}

#[test]
fn runs_at_once_have_a_connection_each_also_where_one_carries_few_sessions() {
    let node = TestNode::bare().with_gates();
    // One for what a run that has just ended may still have open.
    node.sh("echo 'MaxSessions 2' >/etc/ssh/sshd_config.d/10-test.conf; systemctl restart ssh");
    let project = toy(&node, &ROLE.replace("gate write; ", ""));
    let before = logins(&node);
    for expected in [3, 3] {
        let runs: Vec<_> = (0..3).map(|_| command(&project, &["deploy", "--check"]).spawn().unwrap()).collect();
        for mut run in runs {
            assert!(run.wait().unwrap().success());
        }
        assert!(logins(&node) - before <= expected, "{}", logins(&node) - before);
    }
    let deploy = run(&project, &["deploy", "-vvv"]);
    assert!(logins(&node) - before <= 3, "{}", deploy.said());
}

#[test]
fn of_a_run_that_is_killed_nothing_stays_and_the_next_logs_in() {
    let node = TestNode::bare().with_gates();
    let project = toy(&node, ROLE);
    run(&project, &["deploy", "--check"]).assert_code(0);
    let before = logins(&node);
    node.shut("write");
    let mut killed = command(&project, &["deploy"]).spawn().unwrap();
    node.await_at("write");
    assert_eq!(logins(&node), before, "it has taken the kept connection over");
    killed.kill().unwrap();
    killed.wait().unwrap();
    eventually("nothing of the run is left on the node", 10, || {
        node.try_sh("! pgrep 'gate|setsid' && test ! -e /run/autobot-provision").status.success()
    });
    node.open("write");
    run(&project, &["deploy"]).assert_code(0);
    assert_eq!(logins(&node), before + 1);
    let left: Vec<_> = fs::read_dir(project.path("run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["autobot-provision-kept"], "the directory of the killed run is removed");
}

#[test]
fn what_could_lock_out_is_tried_with_a_login_of_its_own() {
    let node = TestNode::bare();
    let role = "description: x\ntasks:\n  - {name: Write, copy: {dest: /etc/ssh/sshd_config.d/10-toy.conf, content: \"ClientAliveInterval 17\\n\"}}\n";
    let project = toy(&node, role);
    run(&project, &["deploy", "--check"]).assert_code(0);
    let before = logins(&node);
    run(&project, &["deploy"]).assert_code(0);
    assert!(logins(&node) > before, "the way in was tried in the connection that was there");
    assert_eq!(kept(&project).len(), 1);
}
