//! Smaller ends of a run, each with its cause and what to do.

use crate::harness::{Project, TestNode};

const WRITE: &str =
    "description: toy\ntasks:\n  - {name: Write, command: {cmd: gate write; touch /etc/toy, creates: /etc/toy}}\n";

#[test]
fn a_node_without_programs_that_every_run_needs_is_told_which() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], WRITE);
    node.sh("mkdir /root/kept; mv /usr/bin/flock /usr/bin/timeout /root/kept/");
    for arguments in [&["deploy"][..], &["deploy", "--check"]] {
        let run = project.run(arguments);
        run.assert_code(3);
        assert!(run.said().contains("lacks programs that every run needs: flock timeout\n"), "{}", run.said());
        assert!(run.said().contains("install them"), "{}", run.said());
    }
    assert!(node.try_sh("test ! -e /run/autobot-provision").status.success());
    node.sh("mv /root/kept/* /usr/bin/");
    project.run(&["deploy"]).assert_code(0);
}

#[test]
fn a_run_that_sudo_ends_is_told_so() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], WRITE);
    node.sh("echo 'Defaults command_timeout=6' >/etc/sudoers.d/timeout");
    node.shut("write");
    let run = project.start(&["deploy"]).end();
    run.assert_code(3);
    assert!(
        run.said().contains("a signal has ended this run's shell on the node, such as sudo's at its `command_timeout`"),
        "{}",
        run.said()
    );
    node.await_end_of_runs();
}

const SERVICE: &str = r#"
description: A service, and a file that does not concern it
defaults:
  v: {type: string, default: "1", help: What the file holds}
tasks:
  - name: Write the unit
    copy: {content: "[Service]\nExecStart=/bin/sleep infinity\n", dest: /etc/systemd/system/toy.service}
    notify: restart toy
  - name: Start the toy
    systemd: {name: toy.service, state: started}
  - name: Write
    copy: {content: "{{ v }}\n", dest: /etc/toy}
handlers:
  - name: restart toy
    systemd: {name: toy.service, state: restarted}
"#;

#[test]
fn a_mark_that_says_nothing_any_more_is_removed_by_the_next_deploy_that_changes_something() {
    let node = TestNode::bare();
    let project = Project::toy(&[("host", &node)], SERVICE);
    project.run(&["deploy"]).assert_code(0);
    // Older than the unit's last start, as of a run that was killed between its mark and that start.
    let directory = "/var/lib/autobot-provision/pending";
    node.sh(&format!(
        "mkdir -p -m 700 {directory}; echo \"$(cat /proc/sys/kernel/random/boot_id) 1 \" >{directory}/toy.restart-toy"
    ));
    let marks = || node.sh(&format!("ls {directory}"));
    let pid = || node.sh("systemctl show -P MainPID toy.service");
    let before = pid();
    let nothing = project.json(&["deploy", "--detailed-exitcode"]);
    assert_eq!(nothing.assert_code(0).host("host")["round_trips"], 1);
    assert_eq!(marks(), "toy.restart-toy", "a run that changes nothing writes nothing");
    let change = project.json(&["deploy", "-e", "v=2"]);
    assert_eq!(change.assert_code(0).ids("host", "changed"), ["toy/Write".to_owned()].into());
    assert_eq!((marks(), pid()), (String::new(), before));
}
