//! Long jobs: an installation that goes on without its run, is found, followed and cancelled.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Project, TestNode, eventually, lab};

const ROLE: &str = "description: toy\ntasks:\n  - name: Install toy\n    apt: {name: toy}\n";

/// Makes an apt repository on the node, with the package `toy`, whose script stops at a gate.
fn publish_package(node: &TestNode, script: &str) {
    node.sh(&format!(
        r#"mkdir -p /srv/toy/DEBIAN && cd /srv
        printf 'Package: toy\nVersion: 1\nArchitecture: all\nMaintainer: toy <toy@example.org>\nDescription: toy\n' >toy/DEBIAN/control
        printf '#!/bin/sh\n[ "$1" != remove ] || exit 0\n/usr/local/bin/gate package\n' >toy/DEBIAN/{script}
        chmod 755 toy/DEBIAN/{script}
        mkdir -p toy/etc && echo toy >toy/etc/toy.conf
        dpkg-deb -b toy toy.deb
        {{ cat toy/DEBIAN/control; printf 'Filename: ./toy.deb\nSize: %s\nSHA256: %s\n' "$(stat -c %s toy.deb)" "$(sha256sum toy.deb | cut -d ' ' -f 1)"; }} >Packages
        echo 'deb [trusted=yes] file:/srv ./' >/etc/apt/sources.list
        rm -f /etc/apt/sources.list.d/*"#
    ));
}

/// What everybody on a node can see of programs: the units, the journal, the command lines, and what `nobody` can read in /run.
const SEEN: &str = r"systemctl show '*'; journalctl -q --no-pager -o verbose; tr '\0' '\n' 2>/dev/null </proc/[0-9]*/cmdline
  cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n'; setpriv --reuid nobody --clear-groups find /run/autobot-provision -exec cat {} + 2>&1";

#[test]
fn an_installation_goes_on_when_its_run_is_lost_and_holds_the_node_until_it_has_ended() {
    for way in ["INT", "KILL", "cut"] {
        let node = TestNode::bare().with_gates();
        publish_package(&node, "postinst");
        let project = Project::toy(&[("host", &node)], ROLE);
        node.shut("package");
        let mut run = project.start(&["deploy"]);
        node.await_at("package");
        let id = node.sh("ls /run/autobot-provision/jobs | grep -v lock");
        assert_eq!(node.sh("stat -c '%a %U' /run/autobot-provision/jobs/*-*"), "700 root");
        assert_eq!(node.sh("find /run/autobot-provision/jobs -type f ! -perm 600"), "");
        // The script's text is a canary for all that is in its files.
        let text = "finishing an interrupted package operation";
        assert!(node.try_sh(&format!("grep -q '{text}' /run/autobot-provision/jobs/*/script")).status.success());
        let seen = node.sh(&format!("({SEEN}) || :"));
        assert!(!seen.contains(text) && seen.contains(&id), "{seen}");
        match way {
            "cut" => lab().cut_link(&node.name).unwrap(),
            "KILL" => run.signal(way),
            signal => run.signal_twice(signal),
        }
        let lost = run.end();
        assert!(way == "KILL" || lost.stdout.contains("`autobot-provision attach "), "{}", lost.stdout);
        if way == "cut" {
            lab().restore_link(&node.name).unwrap();
        }
        eventually("the run's lock is free", 20, || node.try_sh("test ! -e /run/autobot-provision/lock").status.success());
        let held = project.json(&["deploy"]);
        let error = held.assert_code(5).host("host")["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(&format!("held by the job {id}, phase apt, of ")) && error.contains("(run "), "{error}");
        assert_eq!(project.json(&["deploy", "--check"]).assert_code(0).host("host")["holder"], error);

        let mut waiting = project.start(&["deploy", "--wait", "60s", "--output", "json"]);
        eventually("the second waits", 20, || node.try_sh("grep -qs flock /proc/[0-9]*/comm").status.success());
        assert!(waiting.is_running());
        node.open("package");
        let waited = waiting.end();
        assert_eq!(
            waited.assert_code(0).ids("host", "changed"),
            BTreeSet::new(),
            "{way}: the job has done it: {}",
            waited.stdout
        );
        assert_eq!(node.sh("dpkg-query -W -f '${Status}' toy; dpkg --audit; cat /etc/toy.conf"), "install ok installedtoy");
        node.await_end_of_runs();
    }
}

/// A node with an installation that is held up in the middle, and whose run was killed. Returns the run's id, too.
fn lost_installation(script: &str) -> (TestNode, Project, String) {
    let node = TestNode::bare().with_gates();
    publish_package(&node, script);
    let project = Project::toy(&[("host", &node)], ROLE);
    node.shut("package");
    let run = project.start(&["deploy"]);
    node.await_at("package");
    run.kill();
    eventually("the run's lock is free", 20, || node.try_sh("test ! -e /run/autobot-provision/lock").status.success());
    let status = project.json(&["status"]);
    let host = status.assert_code(0).host("host");
    assert_eq!((&host["status"], &host["holder"]["phase"]), (&json!("held"), &json!("apt")), "{host}");
    assert_eq!((&host["jobs"][0]["state"], &host["jobs"][0]["run"]), (&json!("running"), &host["holder"]["run"]), "{host}");
    let id = host["holder"]["run"].as_str().unwrap().to_owned();
    (node, project, id)
}

#[test]
fn a_lost_installation_is_followed_and_cancelled_by_the_id_of_its_run() {
    let (node, project, run) = lost_installation("postinst");
    let mut other = project.start(&["deploy", "--wait", "60s"]);
    other.await_on_stderr("waiting: held by the job");

    let mut attached = project.start(&["attach", &run]);
    eventually("it is followed", 20, || node.try_sh("pgrep -x tail").status.success());
    assert!(attached.is_running());
    attached.signal("INT");
    let ended = attached.end();
    ended.assert_code(130);
    assert!(ended.stderr.contains(&format!("the job goes on; `attach {run}` follows it again")), "{}", ended.stderr);

    let followed = project.start(&["attach", &run, "host"]);
    let cancelling = project.start(&["cancel", &run]);
    let waits = "grep -q 'was cancelled: waiting until dpkg' /run/autobot-provision/jobs/*/err";
    eventually("dpkg is waited for", 30, || node.try_sh(waits).status.success());
    other.await_on_stderr("waiting for the job of ");
    // dpkg has still its time: it finishes what it has begun.
    other.signal("KILL");
    other.end();
    // Until it is gone, the shell of that run takes the node when the job ends, and removes what it has left.
    let is_free = "test ! -e /run/autobot-provision/lock || flock -n /run/autobot-provision/lock true";
    eventually("the shell of the killed run has ended", 20, || node.try_sh(is_free).status.success());
    node.open("package");
    let cancelled = cancelling.end();
    cancelled.assert_code(0);
    assert!(cancelled.stdout.contains(", phase apt, was cancelled\n"), "{}", cancelled.stdout);
    let followed = followed.end();
    followed.assert_code(1);
    assert!(followed.stdout.contains("host: the job was cancelled: waiting until dpkg has finished"), "{}", followed.stdout);
    assert_eq!(node.sh("dpkg-query -W -f '${Status}' toy; dpkg --audit"), "install ok installed");

    let host = project.json(&["status", "host"]).host("host");
    assert_eq!((&host["status"], &host["holder"]), (&json!("free"), &json!(null)), "{host}");
    assert_eq!((&host["jobs"][0]["state"], &host["jobs"][0]["exit_status"]), (&json!("ended"), &json!(130)), "{host}");
    let unknown = project.run(&["attach", "20260101T000000Z-0"]);
    unknown.assert_code(1);
    assert!(unknown.stderr.contains("no job of `20260101T000000Z-0` was found"), "{}", unknown.stderr);
    project.run(&["deploy"]).assert_code(0);
    assert_eq!(project.json(&["status"]).host("host")["jobs"], json!([]));
}

#[test]
fn a_package_whose_installation_was_killed_is_installed_by_the_next_deploy() {
    for script in ["preinst", "postinst"] {
        let (node, project, run) = lost_installation(script);
        node.sh("systemctl kill -s KILL 'autobot-provision-job-*'");
        let state = || project.json(&["status"]).host("host")["jobs"][0]["state"].clone();
        eventually("the job is found killed", 20, || state() == "killed");
        project.run(&["attach", &run]).assert_code(1);
        let installed = node.sh("dpkg-query -W -f '${Status}' toy || :");
        assert_ne!(installed, "install ok installed", "{script}");
        node.open("package");
        let check = project.json(&["deploy", "--check"]);
        assert_eq!(check.assert_code(0).ids("host", "changed"), ["toy/Install toy".to_owned()].into(), "{script}: {installed}");
        let deploy = project.json(&["deploy"]);
        assert_eq!(deploy.assert_code(0).ids("host", "changed"), check.ids("host", "changed"), "{script}: {installed}");
        assert_eq!(node.sh("dpkg-query -W -f '${Status}' toy; dpkg --audit; cat /etc/toy.conf"), "install ok installedtoy");
        assert_eq!(project.json(&["deploy"]).assert_code(0).ids("host", "changed"), BTreeSet::new(), "{script}");
    }
}
