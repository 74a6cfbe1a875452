//! Runs that meet on a node: a frozen one is noticed and taken over without a rest, a healthy one never; many at once; and what a task leaves running
//! does not meet the tasks after it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::harness::{Project, TestNode, eventually};

const LONG: &str = r"
description: A command that takes long
tasks:
  - name: Take long
    command: {cmd: gate long; touch /etc/done, creates: /etc/done}
";

/// Signals all processes of the session that holds the node.
fn signal_session(node: &TestNode, signal: &str) {
    node.sh(&format!(
        r#"read -r session rest </run/autobot-provision/lock
        for process in $(pgrep -s "$session"); do kill -{signal} "$process" || :; done 2>/dev/null"#
    ));
}

/// Lets the last beat of the run that holds the node be as old as the node: the file is the same, as its lock is the kernel's.
fn make_old(node: &TestNode) {
    node.sh(
        "old=$(sed -E '2s/ [0-9.]+$/ 1.00/' /run/autobot-provision/lock); printf '%s\\n' \"$old\" >/run/autobot-provision/lock",
    );
}

#[test]
fn a_frozen_node_is_noticed_and_its_run_is_taken_over_without_a_rest() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], LONG);
    node.shut("long");
    let run = project.start(&["deploy"]);
    node.await_at("long");
    let began = Instant::now();
    signal_session(&node, "STOP");
    // sudo stops itself with its command.
    eventually("sudo is stopped", 5, || node.try_sh("pgrep -x -r T sudo").status.success());
    let ended = run.end();
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    ended.assert_code(3);
    assert!(ended.said().contains("the node has not answered for 9 s"), "{}", ended.said());
    assert!(ended.said().contains("the outcome is not known of: toy/Take long"), "{}", ended.said());
    assert_eq!(project.leftovers_on_controller(), Vec::<String>::new());

    // Less than a minute later the node is still held; after that, it is taken over.
    project.run(&["deploy"]).assert_code(5);
    make_old(&node);
    node.open("long");
    let next = project.start(&["deploy"]).end();
    next.assert_code(0);
    assert_eq!(node.sh("pgrep -a 'sudo|gate|setsid' || :"), "", "of both runs");
    assert!(node.try_sh("test -e /etc/done -a ! -e /run/autobot-provision").status.success());
}

#[test]
fn a_run_that_is_taken_over_says_by_whom() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], LONG);
    for way in ["frozen with its controller", "without its lock"] {
        node.shut("long");
        let first = project.start(&["deploy"]);
        node.await_at("long");
        let began = if way == "without its lock" {
            node.sh("rm /run/autobot-provision/lock /run/gate.long.reached");
            Instant::now()
        } else {
            first.signal("STOP");
            signal_session(&node, "STOP");
            make_old(&node);
            node.sh("rm /run/gate.long.reached");
            Instant::now()
        };
        let second = project.start(&["deploy", "--output", "json"]);
        node.await_at("long");
        first.signal("CONT");
        let ended = first.end();
        ended.assert_code(3);
        assert!(began.elapsed() < Duration::from_secs(25), "{way}: {:?}", began.elapsed());
        node.open("long");
        let second = second.end();
        second.assert_code(0);
        let run_id = second.json()["run_id"].as_str().unwrap().to_owned();
        assert!(ended.said().contains("another run has taken over"), "{way}: {}", ended.said());
        assert!(ended.said().contains(&format!("(run {run_id})")), "{way}: {run_id}: {}", ended.said());
        node.await_end_of_runs();
        assert_eq!(node.sh("pgrep -a 'sudo|gate|setsid' || :"), "", "{way}");
        node.sh("rm /etc/done");
    }
}

#[test]
fn a_step_of_the_clock_ends_no_run() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], LONG);
    node.shut("long");
    let mut first = project.start(&["deploy"]);
    node.await_at("long");
    // What a step of the clock amounts to until the next beat; and again and again, as a clock that runs away would.
    for _ in 0..3 {
        node.sh("touch -d '2 hours ago' /run/autobot-provision/lock");
        project.run(&["deploy"]).assert_code(5);
    }
    assert!(first.is_running());
    node.open("long");
    first.end().assert_code(0);
    node.await_end_of_runs();
}

const DAEMON: &str = r#"
description: A program that leaves something running, and tasks of root after it
tasks:
  - name: Install the program
    copy:
      dest: /usr/local/bin/app-init
      mode: "0755"
      content: |
        #!/bin/sh
        setsid sh -c 'while echo INJECTED; do echo INJECTED >&2; done' &
        setsid sleep 7100 &
        until [ "$(cut -d " " -f 6 /proc/$!/stat)" = "$!" ]; do :; done
        echo LoadState=not-found
        touch /home/mallory/done
  - name: Start the application
    command: {cmd: /usr/local/bin/app-init, creates: /home/mallory/done}
    become_user: mallory
  - name: Write
    copy: {dest: /etc/first, content: "one\n"}
  - name: Guarded
    command: {cmd: touch /etc/second, unless: test -e /etc/second}
  - name: Add a line
    lineinfile: {path: /etc/third, line: three, create: true}
  - name: A unit
    systemd: {name: cron.service, state: started}
"#;

#[test]
fn what_a_task_leaves_running_does_not_write_into_later_answers() {
    let node = TestNode::bare();
    node.sh("useradd -m mallory; echo zero >/etc/third");
    let project = Project::toy(&[("host", &node)], DAEMON);
    node.sh("systemctl cat cron.service >/dev/null 2>&1 || printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/cron.service; systemctl daemon-reload");
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(0);
    assert_eq!(deploy.host("host")["unpredicted"], serde_json::json!([]), "{}", deploy.stdout);
    assert!(!deploy.stdout.contains("INJECTED\\nLoadState"), "{}", deploy.stdout);
    assert_eq!(node.sh("cat /etc/first /etc/third; ls /etc/second"), "one\nzero\nthree\n/etc/second");
    // What is silent lives on; what writes to a pipe that is gone has ended.
    assert_eq!(node.sh("pgrep -u mallory -xc sleep; pgrep -u mallory -xc sh || :"), "1\n0");
    let again = project.json(&["deploy", "--detailed-exitcode"]);
    again.assert_code(0);
}

/// How many deploys begin at once.
const AT_ONCE: usize = 50;

#[test]
fn many_deploys_at_once_do_the_work_or_say_that_the_node_is_held() {
    let node = TestNode::bare();
    let role = "description: toy\ntasks:\n  - {name: Write, copy: {content: x, dest: /etc/toy}}\n  - {name: Again, command: {cmd: echo x >>/etc/counted, creates: /etc/counted}}\n";
    let project = Project::toy(&[("host", &node)], role);
    let began = Instant::now();
    let runs: Vec<_> = (0..AT_ONCE).map(|_| project.start(&["deploy"])).collect();
    let mut codes = BTreeMap::new();
    for run in runs {
        let ended = run.end();
        assert!(matches!(ended.code, Some(0 | 5)), "{:?}: {}", ended.code, ended.said());
        *codes.entry(ended.code).or_insert(0) += 1;
    }
    crate::harness::say(&format!("{AT_ONCE} deploys at once: {codes:?} in {:?}", began.elapsed()));
    assert!(codes.contains_key(&Some(0)));
    assert_eq!(node.sh("cat /etc/counted"), "x");
    node.await_end_of_runs();
}
