//! Promise 6, for restarts: after a run was killed at any change, the next run makes the remaining changes and each pending restart once.

use crate::harness::{Project, RunResult, TestNode, eventually, lab};

const ROLE: &str = r#"
description: A service that counts its starts, and gates between the changes
defaults:
  v: {type: string, default: "1", help: What all files hold}
tasks:
  - name: Make the directory
    file: {path: /etc/toy, state: directory}
  - name: Write A
    copy: {content: "{{ v }}\n", dest: /etc/toy/a}
  - name: Gate after A
    command: {cmd: gate a, only_if: test -e /run/gate.a}
  - name: Write the unit
    copy:
      content: |
        [Service]
        Environment=V={{ v }}
        ExecStart=/bin/sh -c 'echo start >>/var/toy.starts; exec sleep infinity'
        [Install]
        WantedBy=multi-user.target
      dest: /etc/systemd/system/toy.service
      validate: gate writing; test -s %s
    notify: restart toy
  - name: Gate after the unit
    command: {cmd: gate unit, only_if: test -e /run/gate.unit}
  - name: Run C
    command: {cmd: "echo {{ v }} >/etc/toy/c; gate running", unless: "grep -qx {{ v }} /etc/toy/c"}
    notify: [restart toy, count]
  - name: Start the toy
    systemd: {name: toy.service, state: started, enabled: true}
  - name: Gate after C
    command: {cmd: gate c, only_if: test -e /run/gate.c}
  - name: Write D
    copy: {content: "{{ v }}\n", dest: /etc/toy/d}
  - name: Gate after D
    command: {cmd: gate d, only_if: test -e /run/gate.d}
handlers:
  - name: restart toy
    systemd: {name: toy.service, state: restarted}
    ready: gate restarted
  - name: count
    command: {cmd: echo count >>/var/toy.counts}
"#;

const RESTART: &str = "toy/restart toy";

fn count_lines(node: &TestNode, file: &str) -> usize {
    node.sh(&format!("cat {file} 2>/dev/null || :")).lines().count()
}

/// Starts a deploy of `v` and kills it at a gate.
fn kill_at(project: &Project, node: &TestNode, gate: &str, v: &str) {
    node.shut(gate);
    let run = project.start(&["deploy", "-e", v]);
    node.await_at(gate);
    run.kill();
    node.await_end_of_runs();
    node.open(gate);
}

/// Asserts that a check and a deploy agree, and that a second deploy changes nothing. Returns the first deploy.
#[track_caller]
fn check_and_converge(project: &Project, v: &str) -> RunResult {
    let check = project.json(&["deploy", "--check", "-e", v]);
    check.assert_code(0);
    let deploy = project.json(&["deploy", "-e", v]);
    deploy.assert_code(0);
    assert_eq!(check.ids("host", "changed"), deploy.ids("host", "changed"), "{}", deploy.stdout);
    assert_eq!(deploy.host("host")["unpredicted"], serde_json::json!([]));
    let again = project.json(&["deploy", "-e", v]);
    again.assert_code(0);
    assert_eq!(again.ids("host", "changed"), std::collections::BTreeSet::new(), "{}", again.stdout);
    deploy
}

#[test]
fn killed_after_any_change_the_next_deploy_does_the_rest_and_restarts_once_as_the_check_says() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], ROLE);
    check_and_converge(&project, "v=1");
    assert_eq!(
        (count_lines(&node, "/var/toy.starts"), count_lines(&node, "/var/toy.counts")),
        (1, 1),
        "the first start is no restart"
    );

    for (number, gate) in ["a", "writing", "unit", "running", "c", "d", "restarted"].into_iter().enumerate() {
        let v = format!("v={}", number + 2);
        let starts = count_lines(&node, "/var/toy.starts");
        kill_at(&project, &node, gate, &v);
        let restarted_already = usize::from(gate == "restarted");
        assert_eq!(count_lines(&node, "/var/toy.starts"), starts + restarted_already, "killed at {gate}");
        let deploy = check_and_converge(&project, &v);
        // The handler runs even after its restart, because the service was not found ready yet.
        for handler in [RESTART, "toy/count"] {
            assert!(deploy.ids("host", "changed").contains(handler), "killed at {gate}: {}", deploy.stdout);
        }
        assert_eq!(count_lines(&node, "/var/toy.starts"), starts + 1, "killed at {gate}");
        assert_eq!(count_lines(&node, "/var/toy.counts"), number + 2, "killed at {gate}");
        assert_eq!(node.sh("cat /etc/toy/a /etc/toy/c /etc/toy/d | sort -u"), (number + 2).to_string());
        assert_eq!(node.sh("systemctl show -p Environment --value toy"), format!("V={}", number + 2), "killed at {gate}");
    }

    // Any start since the change replaces the restart; a handler that restarts nothing stays pending.
    for (v, start) in [("v=20", None), ("v=21", Some("systemctl daemon-reload; systemctl restart toy"))] {
        kill_at(&project, &node, "d", v);
        match start {
            Some(by_hand) => drop(node.sh(by_hand)),
            None => lab().reboot(&node.name).unwrap(),
        }
        eventually("the toy has started", 10, || node.sh("systemctl is-active toy || :") == "active");
        let starts = count_lines(&node, "/var/toy.starts");
        let deploy = check_and_converge(&project, v);
        assert_eq!(deploy.ids("host", "changed"), ["toy/count".to_owned()].into(), "{v}");
        assert_eq!(count_lines(&node, "/var/toy.starts"), starts, "{v}");
    }
}

#[test]
fn redis_killed_before_its_restart_is_restarted_once_by_the_next_deploy() {
    let node = TestNode::converged().with_gates();
    let project = Project::shipped(&[("host", &node, "")]);
    let started = || node.sh("journalctl -q -o cat -b -u autobot-database-redis | grep -c ^Started");
    let (before, pid) = (started(), node.sh("systemctl show -p MainPID --value autobot-database-redis"));
    // A run's scripts find this one before the real systemctl.
    node.sh(
        "printf '#!/bin/sh\\ncase \" $* \" in *\" restart \"*) gate restart;; esac\\nexec /usr/bin/systemctl \"$@\"\\n' >/usr/local/bin/systemctl
        chmod 755 /usr/local/bin/systemctl",
    );
    kill_at(&project, &node, "restart", "redis_timeout=30");
    node.sh("rm /usr/local/bin/systemctl");
    assert_eq!(started(), before);
    assert!(node.sh("cat /etc/autobot/redis.conf").contains("\ntimeout 30\n"));

    let deploy = check_and_converge(&project, "redis_timeout=30");
    // Its file is as declared, and the Redis that runs is not yet.
    let set_back = "redis/Set the running Redis back to its configuration".to_owned();
    assert_eq!(deploy.ids("host", "changed"), [set_back, "redis/restart redis".to_owned()].into());
    let restarts = started().parse::<u32>().unwrap() - before.parse::<u32>().unwrap();
    assert_eq!(restarts, 1);
    assert_ne!(node.sh("systemctl show -p MainPID --value autobot-database-redis"), pid);
}
