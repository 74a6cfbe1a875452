//! Promise 6: a run that is interrupted at any point leaves nothing behind, and the next run repairs what was left incomplete.

use std::{collections::BTreeSet, time::Instant};

use crate::harness::{Project, TestNode, eventually, lab};

/// A command whose processes are hard to end: they run in the background, in their own process groups, and ignore milder signals.
const TREE: &str = r#"
description: A command that takes long
tasks:
  - name: Take long
    command:
      cmd: |
        (sleep 7001 & (timeout 900 sleep 7002 & exec sleep 7003) &) >/dev/null 2>&1 </dev/null
        sh -c 'trap "" HUP INT TERM; while :; do sleep 7004; done' &
        gate long
        touch /etc/done
      creates: /etc/done
"#;

/// Returns the command lines that run on a node, without those of sshd and of logins, which belong to the system.
pub fn processes(node: &TestNode) -> BTreeSet<String> {
    let all = node.sh(r#"for process in /proc/[0-9]*; do
             [ "${process#/proc/}" != "$$" ] && [ "$(readlink "$process/exe")" != "" ] || continue
             line=$(tr '\0' ' ' <"$process/cmdline") && printf '%s\n' "$line"
           done 2>/dev/null
           # A process that has just ended is no error.
           :"#);
    let system = |line: &str| {
        line.trim().is_empty() || ["sshd", "systemd --user", "(sd-pam)", "tr "].iter().any(|name| line.contains(name))
    };
    all.lines().map(str::trim_end).filter(|line| !system(line)).map(str::to_owned).collect()
}

#[test]
fn however_a_run_ends_none_of_its_processes_stays_on_the_node_and_the_next_run_goes_on() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], TREE);
    let before = processes(&node);
    for way in ["INT", "TERM", "HUP", "KILL", "cut"] {
        node.shut("long");
        let mut run = project.start(&["deploy"]);
        node.await_at("long");
        let during: Vec<String> = processes(&node).difference(&before).cloned().collect();
        for number in 7001..=7004 {
            assert!(during.iter().any(|line| line.contains(&format!("sleep {number}"))), "{during:#?}");
        }
        let began = Instant::now();
        match way {
            "cut" => lab().cut_link(&node.name).unwrap(),
            "KILL" => run.signal(way),
            signal => run.signal_twice(signal),
        }
        let mut left = Vec::new();
        let clean = || {
            left = processes(&node).difference(&before).cloned().collect();
            left.is_empty() && node.try_sh("test ! -e /run/autobot-provision").status.success()
        };
        eventually(&format!("after {way}, the node is clean"), 10, clean);
        crate::harness::say(&format!("{way}: the node is clean after {:?}", began.elapsed()));
        let ended = run.end();
        match way {
            "KILL" => assert_eq!(ended.code, None),
            "cut" => {
                // Whether the task was done is not known, so it has not failed.
                ended.assert_code(3);
                assert!(ended.said().contains("unknown  toy/Take long"), "{}", ended.said());
                assert!(ended.said().contains("the outcome is not known of: toy/Take long"), "{}", ended.said());
                assert!(ended.said().contains("the connection to `198.18."), "{}", ended.said());
                assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
                lab().restore_link(&node.name).unwrap();
            }
            _ => {
                ended.assert_code(130);
                assert!(ended.said().contains("what runs on the nodes is ended"), "{}", ended.said());
                assert!(ended.said().contains("unknown  toy/Take long"), "{}", ended.said());
                assert_eq!(project.leftovers_on_controller(), Vec::<String>::new(), "after {way}");
            }
        }
        assert!(node.try_sh("test ! -e /etc/done").status.success());
        node.open("long");
        // Without `--wait`: the lock is free.
        let next = project.start(&["deploy"]).end();
        next.assert_code(0);
        eventually(&format!("after {way} and the next run, nothing is left here"), 5, || {
            project.leftovers_on_controller().is_empty()
        });
        node.sh("rm /etc/done");
    }
}

/// A command in whose session a shell's own command comes before the shell, and much in between: `/proc` is in the order of its names, and `10001`
/// comes before `9991`.
const IN_ORDER: &str = r#"
description: A shell whose command dies first
tasks:
  - name: The inner shell
    copy:
      dest: /root/inner
      content: |
        until [ "$(sh -c 'echo $$')" -gt 10000 ]; do :; done
        gate long &
        gate=$!
        for number in $(seq 1000); do sleep 7001 & done
        touch /run/of-the-test.all
        wait "$gate"
        touch /etc/wrong
  - name: Take long
    command:
      cmd: |
        echo 9990 >/run/of-the-test/sys/kernel/ns_last_pid
        sh /root/inner
        touch /etc/wrong
      creates: /etc/done
"#;

#[test]
fn a_shell_whose_command_was_ended_does_not_go_on_with_the_next_one() {
    let node = TestNode::bare().with_gates();
    // A node's own /proc/sys cannot be written.
    node.sh("mkdir /run/of-the-test; mount -t proc proc /run/of-the-test");
    let project = Project::toy(&[("host", &node)], IN_ORDER);
    for way in ["INT", "KILL"] {
        node.shut("long");
        let mut run = project.start(&["deploy"]);
        node.await_at("long");
        eventually("all processes run", 30, || node.try_sh("rm /run/of-the-test.all").status.success());
        match way {
            "KILL" => run.signal(way),
            signal => run.signal_twice(signal),
        }
        run.end();
        eventually("the command has ended", 10, || node.try_sh("[ $(pgrep -cx sleep) -lt 100 ]").status.success());
        assert!(node.try_sh("test ! -e /etc/wrong").status.success(), "after {way}");
    }
}

/// Three tasks and a handler, which the first of them notifies.
const THREE: &str = r"
description: Three tasks
tasks:
  - {name: First, copy: {content: x, dest: /etc/first}, notify: later}
  - {name: Second, command: {cmd: gate second; touch /etc/second, creates: /etc/second}}
  - {name: Third, copy: {content: x, dest: /etc/third}}
handlers:
  - {name: later, command: {cmd: touch /etc/later}}
";

#[test]
fn a_first_request_to_end_lets_the_task_finish_and_the_end_says_what_is_left() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], THREE);
    for signal in ["INT", "TERM", "HUP"] {
        node.shut("second");
        let mut run = project.start(&["deploy"]);
        node.await_at("second");
        run.signal(signal);
        run.await_on_stderr("each host finishes its current task");
        assert!(run.is_running(), "{signal}");
        node.open("second");
        let ended = run.end();
        ended.assert_code(130);
        for text in [
            "changed  toy/Second",
            "host: left: toy/Third; the next deploy does it",
            "host: handlers that have not run: toy/later; the next deploy runs them",
            "2 changed, 0 ok, then interrupted",
        ] {
            assert!(ended.said().contains(text), "{signal}: no {text:?} in\n{}", ended.said());
        }
        assert_eq!(
            node.sh("ls /etc/first /etc/second; ls /etc/third /etc/later 2>/dev/null || :"),
            "/etc/first\n/etc/second",
            "{signal}"
        );
        let next = project.json(&["deploy"]);
        assert_eq!(
            next.assert_code(0).ids("host", "changed"),
            ["toy/Third".to_owned(), "toy/later".to_owned()].into(),
            "{signal}"
        );
        node.sh("rm /etc/first /etc/second /etc/third /etc/later");
    }
}

#[test]
fn a_check_ends_at_the_first_request() {
    let node = TestNode::bare().with_gates();
    let role = "description: toy\ntasks:\n  - {name: Ask, command: {cmd: gate asked, reads: true}, register: asked}\n";
    let project = Project::toy(&[("host", &node)], role);
    node.shut("asked");
    let run = project.start(&["deploy", "--check"]);
    node.await_at("asked");
    run.signal("INT");
    run.end().assert_code(130);
    node.open("asked");
}

/// More than fits into any pipe or buffer on the way.
const LARGE: usize = 3_000_000;

#[test]
fn a_file_is_the_old_or_the_new_one_whole_even_when_its_writing_is_interrupted() {
    let node = TestNode::bare().with_gates();
    let role = "description: toy\ntasks:\n  - name: Write\n    copy: {src: large, dest: /srv/large, mode: '0640'}\n";
    let project = Project::toy(&[("host", &node)], role);
    let content = "123456789\n".repeat(LARGE / 10);
    project.write("roles/toy/files/large", &content);
    node.sh("echo old >/srv/large; chmod 600 /srv/large");
    // The `cat` that writes the content stops after a third. A run's scripts look for programs in /usr/local/bin first.
    let slow = "case $(readlink /proc/$$/fd/1) in */.autobot-provision-*) [ ! -e /run/gate.half ] || head -c 1000000; gate half;; esac\nexec /bin/cat \"$@\"\n";
    node.sh(&format!("cat >/usr/local/bin/cat <<'END'\n#!/bin/sh\n{slow}END\nchmod 755 /usr/local/bin/cat"));
    let assert_old = |when: &str| assert_eq!(node.sh("/bin/cat /srv/large; stat -c %a /srv/large"), "old\n600", "{when}");
    let temporary = || node.sh("find /srv -name '.autobot-provision-*' -printf '%s %m\\n'");

    for cut in ["killed", "power cut"] {
        node.shut("half");
        let mut run = project.start(&["deploy"]);
        let reached = || node.try_sh("test -e /run/gate.half.reached").status.success();
        eventually("half of the file is written", 60, || reached() || !run.is_running());
        assert!(run.is_running(), "{}", run.end().said());
        assert_eq!(temporary(), "1000000 600", "half of it is there, for nobody to read");
        assert_old(cut);
        if cut == "killed" {
            run.kill();
            node.await_end_of_runs();
            assert_eq!(temporary(), "", "{cut}");
        } else {
            lab().cut_power(&node.name).unwrap();
            run.kill();
            lab().start(&node.name).unwrap();
            assert_ne!(temporary(), "", "{cut}");
        }
        assert_old(cut);
    }
    node.open("half");
    project.run(&["deploy"]).assert_code(0);
    assert_eq!(temporary(), "");
    assert_eq!(node.sh("stat -c '%s %a' /srv/large"), format!("{LARGE} 640"));
    assert!(std::fs::read(node.root.join("srv/large")).unwrap() == content.as_bytes());
}

#[test]
fn a_node_that_reboots_under_a_deploy_ends_it_with_a_clear_error_and_the_next_one_converges() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], TREE);
    for how in ["reboot", "power cut"] {
        node.shut("long");
        let run = project.start(&["deploy"]);
        node.await_at("long");
        let began = Instant::now();
        match how {
            "reboot" => lab().power_off(&node.name).unwrap(),
            _ => lab().cut_power(&node.name).unwrap(),
        }
        let ended = run.end();
        ended.assert_code(3);
        crate::harness::say(&format!("{how}: noticed after {:?}\n{}", began.elapsed(), ended.said()));
        assert!(began.elapsed().as_secs() < 30, "{how}: {:?}", began.elapsed());
        assert!(ended.said().contains("the connection to `198.18."), "{how}: {}", ended.said());
        assert!(ended.said().contains("run it again"), "{how}: {}", ended.said());
        lab().start(&node.name).unwrap();
        project.run(&["deploy"]).assert_code(0);
        assert_eq!(project.json(&["deploy"]).assert_code(0).ids("host", "changed"), BTreeSet::new());
        node.sh("rm /etc/done");
    }
}

#[test]
fn a_home_that_cannot_be_written_is_no_obstacle() {
    let node = TestNode::bare();
    let project =
        Project::toy(&[("host", &node)], "description: toy\ntasks:\n  - name: Write\n    copy: {content: x, dest: /etc/toy}\n");
    let program = project.command_with_sockets(&["deploy"]);
    let read_only =
        r#"mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro "$HOME" && ! touch "$HOME/x" 2>/dev/null && exec "$0" "$@""#;
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", read_only]).arg(program.get_program()).args(program.get_args());
    command.current_dir(program.get_current_dir().unwrap());
    command.env("HOME", project.path("home")).env("XDG_RUNTIME_DIR", project.path("run")).env_remove("SSH_AUTH_SOCK");
    let ran = crate::harness::RunResult::new(&["deploy"], &command.output().unwrap());
    ran.assert_code(0);
    assert_eq!(node.sh("cat /etc/toy"), "x");
}
