//! Promise 7: one deploy per node at a time; and a failing host does not stop the others.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use serde_json::Value;

use crate::harness::{Project, RunResult, TestNode, eventually, lab};

const ROLE: &str = r"
description: A change, and a gate before it
tasks:
  - name: Write
    command: {cmd: gate write; echo x >/etc/toy, creates: /etc/toy}
";

#[test]
fn a_node_with_two_names_is_not_told_to_wait_for_itself() {
    let node = TestNode::bare();
    let project = Project::toy(&[("one", &node), ("two", &node)], &ROLE.replace("gate write; ", ""));
    let inventory = fs::read_to_string(project.path("inventory/hosts.yml")).unwrap();
    // The same address in another spelling, which only the network knows to be one.
    let (before, after) = inventory.rsplit_once(&format!("ansible_host: {}", node.address)).unwrap();
    let other = format!("ansible_host: '::ffff:{0}'\n      ansible_ssh_extra_args: -o HostKeyAlias={0}", node.address);
    project.write("inventory/hosts.yml", &format!("{before}{other}{after}"));
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(1);
    let told: Vec<&str> = ["one", "two"].into_iter().filter(|host| deploy.host(host)["status"] == "failed").collect();
    assert_eq!(told.len(), 1, "{}", deploy.stdout);
    let error = deploy.host(told[0])["error"].as_str().unwrap().to_owned();
    assert!(error.contains("this run itself holds the node, under another name"), "{error}");
}

#[test]
fn a_node_that_is_held_says_by_whom_and_can_be_waited_for_and_looked_at() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], ROLE);
    node.shut("write");
    let mut first = project.start(&["deploy", "-v"]);
    node.await_at("write");

    let held = project.start(&["deploy", "--output", "json"]).end();
    held.assert_code(5);
    let host = held.host("host");
    assert_eq!((&host["status"], &host["tasks"]), (&"held".into(), &serde_json::json!([])), "{}", held.stdout);
    let error = host["error"].as_str().unwrap();
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(error.contains(&format!("@{}", hostname.trim())), "{error}");
    let since = error.split("since ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let since: jiff::Timestamp = since.parse().unwrap_or_else(|_| panic!("no time: {error}"));
    let age = jiff::Timestamp::now().duration_since(since);
    assert!(!age.is_negative() && age < jiff::SignedDuration::from_mins(2), "{error}");
    let run_id = error.split("(run ").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_default().to_owned();
    assert_ne!(run_id, held.json()["run_id"], "that is our own");

    let held = project.run(&["deploy"]);
    held.assert_code(5);
    assert!(held.stdout.contains("host: held\n"), "{}", held.stdout);
    assert!(held.stdout.contains(error), "{}", held.stdout);
    assert!(held.stdout.contains("help: wait for it with `--wait 5m`"), "{}", held.stdout);

    // A check works, and does not disturb the first run.
    let check = project.json(&["deploy", "--check"]);
    check.assert_code(0);
    assert_eq!(check.ids("host", "changed"), ["toy/Write".to_owned()].into());
    assert_eq!(check.host("host")["holder"], error);
    let check = project.run(&["deploy", "--check"]);
    assert!(check.assert_code(0).stdout.contains(&format!("host: {error}")), "{}", check.stdout);
    assert!(first.is_running());

    // One run waits too briefly, another long enough.
    project.run(&["deploy", "--wait", "1s"]).assert_code(5);
    let waiting = project.start(&["deploy", "--wait", "60s", "--output", "json"]);
    eventually("the second waits for the lock", 20, || {
        node.try_sh("pidof flock").status.success() || node.try_sh("grep -qs 'flock' /proc/[0-9]*/comm").status.success()
    });
    assert!(first.is_running());
    node.open("write");
    let first = first.end();
    first.assert_code(0);
    assert!(first.stdout.contains(&run_id), "{run_id}: {}", first.stdout);
    let second = waiting.end();
    second.assert_code(0);
    assert_eq!(second.tasks("host")[0].status, "ok", "asked again once it had the lock: {}", second.stdout);
    node.await_end_of_runs();
}

#[test]
fn the_lock_of_a_run_that_was_killed_is_free() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], ROLE);
    node.shut("write");
    let run = project.start(&["deploy"]);
    node.await_at("write");
    run.kill();
    node.open("write");
    // The lock is free as soon as the processes of the killed run have ended by themselves.
    project.run(&["deploy", "--wait", "5s"]).assert_code(0);
    // A run whose shell on the node was killed too leaves a lock behind that no process holds.
    node.sh("rm /etc/toy");
    node.shut("write");
    let run = project.start(&["deploy"]);
    node.await_at("write");
    node.sh("read -r loop rest </run/autobot-provision/lock; kill -9 $loop");
    run.end().assert_code(3);
    node.open("write");
    project.run(&["deploy", "--wait", "10s"]).assert_code(0);
}

#[test]
fn one_host_that_fails_or_is_down_does_not_stop_the_others() {
    let (fine, fails, down) = (TestNode::bare(), TestNode::bare(), TestNode::bare());
    let role = "description: toy\ntasks:\n  - name: Write\n    command: {cmd: 'test ! -e /etc/fails && echo x >/etc/toy', creates: /etc/toy}\n";
    let project = Project::toy(&[("down", &down), ("fails", &fails), ("fine", &fine)], role);
    fails.sh("touch /etc/fails");
    lab().power_off(&down.name).unwrap();
    for forks in [&[][..], &["--forks", "1"]] {
        let arguments = [&["deploy", "--connect-timeout", "2s"], forks].concat();
        let deploy = project.json(&arguments);
        deploy.assert_code(1);
        let status = |host: &str| deploy.host(host)["status"].clone();
        assert_eq!((status("down"), status("fails"), status("fine")), ("unreachable".into(), "failed".into(), "changed".into()));
        assert_eq!(fine.sh("cat /etc/toy; rm /etc/toy"), "x");
        let summary = &deploy.json()["summary"];
        assert_eq!((&summary["unreachable"], &summary["failed"], &summary["changed"]), (&1.into(), &1.into(), &1.into()));
    }
    let deploy = project.json(&["deploy", "--limit", "down,fine", "--connect-timeout", "2s"]);
    deploy.assert_code(3);
    assert_eq!(deploy.host("fine")["status"], "changed");
    assert_eq!(deploy.host("down")["tasks"], serde_json::json!([]));
}

#[test]
fn as_many_hosts_as_forks_are_worked_on_at_once() {
    let nodes = [TestNode::bare().with_gates(), TestNode::bare().with_gates()];
    let project = Project::toy(&[("a", &nodes[0]), ("b", &nodes[1])], ROLE);
    for node in &nodes {
        node.shut("write");
    }
    let run = project.start(&["deploy"]);
    for node in &nodes {
        node.await_at("write");
    }
    for node in &nodes {
        node.open("write");
    }
    run.end().assert_code(0);

    for node in &nodes {
        node.sh("rm /etc/toy");
    }
    for node in &nodes {
        node.shut("write");
    }
    let run = project.start(&["deploy", "--forks", "1"]);
    let is_at_gate = |node: &TestNode| node.try_sh("test -e /run/gate.write.reached").status.success();
    eventually("one of them is worked on", 20, || nodes.iter().any(is_at_gate));
    let first = usize::from(!is_at_gate(&nodes[0]));
    let other = &nodes[1 - first];
    // Connecting takes a fraction of this.
    let waited = std::time::Instant::now();
    while waited.elapsed() < Duration::from_secs(2) {
        assert!(!is_at_gate(other) && other.try_sh("test ! -e /run/autobot-provision").status.success());
    }
    nodes[first].open("write");
    other.await_at("write");
    other.open("write");
    run.end().assert_code(0);
}

#[test]
fn a_node_that_does_not_let_us_in_is_told_with_the_reason_and_the_remedy() {
    let node = TestNode::bare();
    let project =
        Project::toy(&[("host", &node)], "description: toy\ntasks:\n  - name: Write\n    copy: {content: x, dest: /etc/toy}\n");
    let other_key = project.path("other");
    let generated =
        std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&other_key).status();
    assert!(generated.unwrap().success());
    let public = std::fs::read_to_string(project.path("other.pub")).unwrap();
    project.write("empty", "");
    project.write("changed", &format!("{} {public}", node.address));

    let mut output = String::new();
    let mut record = |what: &str, arguments: &[&str]| {
        let ran = project.run(&[&["deploy", "--connect-timeout", "2s"], arguments].concat());
        ran.assert_code(3);
        let directory = project.path("").display().to_string();
        let text = ran.said().replace(&node.address.to_string(), "ADDRESS").replace(directory.trim_end_matches('/'), "PROJECT");
        let text = text.replace(&lab().key().display().to_string(), "KEY");
        let (text, summary) = text.split_once("\n\n").unwrap_or_else(|| panic!("no summary: {}", ran.said()));
        assert!(summary.starts_with("host  unreachable  in "), "{summary}");
        output.extend(["# ", what, "\n", text, "\n"]);
    };
    let known_hosts = |name: &str| format!("ansible_ssh_common_args=\"-o UserKnownHostsFile={}\"", project.path(name).display());
    record("refused", &["-e", "ansible_port=1"]);
    record("unknown host key", &["-e", &known_hosts("empty")]);
    record("changed host key", &["-e", &known_hosts("changed")]);
    record("changed host key, new ones accepted", &["-e", &known_hosts("changed"), "--accept-new-host-keys"]);
    record("no key accepted", &["-e", &format!("ansible_ssh_private_key_file={}", other_key.display())]);
    record("no such user", &["-e", "ansible_user=nobody-here"]);
    node.sh("mkdir /root/kept; grep -lr autobot /etc/sudoers.d | xargs -I FILE mv FILE /root/kept/");
    record("sudo refused", &[]);
    node.sh("mv /root/kept/* /etc/sudoers.d/; mv /usr/bin/sudo /root/kept/");
    record("no sudo", &[]);
    node.sh("mv /root/kept/sudo /usr/bin/; usermod -s /usr/sbin/nologin autobot");
    record("no shell", &[]);
    node.sh("usermod -s /bin/sh autobot");
    project.run(&["deploy"]).assert_code(0);
    insta::assert_snapshot!(output, @r#"
    # refused
    host: unreachable
        `ADDRESS:1` refuses the connection
        help: is sshd running there, on this port? see `ansible_port`
    # unknown host key
    host: unreachable
        the host key of `ADDRESS` is not known
        help: compare the key with the node's own and remember it: `ssh-keyscan ADDRESS >> PROJECT/empty`; or accept unknown keys this once: `--accept-new-host-keys`
    # changed host key
    host: unreachable
        the host key of `ADDRESS` HAS CHANGED: this is another machine, or the connection is intercepted
        help: only if you know that the node was installed again: `ssh-keygen -f "PROJECT/changed" -R "ADDRESS"`, then accept the new key with `--accept-new-host-keys`
    # changed host key, new ones accepted
    host: unreachable
        the host key of `ADDRESS` HAS CHANGED: this is another machine, or the connection is intercepted
        help: only if you know that the node was installed again: `ssh-keygen -f "PROJECT/changed" -R "ADDRESS"`, then accept the new key with `--accept-new-host-keys`
    # no key accepted
    host: unreachable
        `ADDRESS` does not let us in: autobot@ADDRESS: Permission denied (publickey,password).
        help: is your key in ssh-agent (`ssh-add -l`) or named by `ansible_ssh_private_key_file`, and `ansible_user` right? try `ssh -i PROJECT/other autobot@ADDRESS`; passwords are never asked for; sshd says the same where the account's login shell in /etc/passwd does not exist
    # no such user
    host: unreachable
        `ADDRESS` does not let us in: nobody-here@ADDRESS: Permission denied (publickey,password).
        help: is your key in ssh-agent (`ssh-add -l`) or named by `ansible_ssh_private_key_file`, and `ansible_user` right? try `ssh -i KEY nobody-here@ADDRESS`; passwords are never asked for; sshd says the same where the account's login shell in /etc/passwd does not exist
    # sudo refused
    host: unreachable
        sudo on `ADDRESS` refuses: a password is required
        help: give the password with `--ask-become-pass` or a vaulted `ansible_become_password`; or allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
    # no sudo
    host: unreachable
        `ADDRESS` has no sudo, and the login is not root's
        help: install sudo, or log in as root: `ansible_user: root`
    # no shell
    host: unreachable
        the login shell of `ADDRESS` does not run commands: it ends without a word
        help: the login needs a shell that runs `ssh HOST COMMAND`: look at /etc/passwd, ForceCommand and the shell's startup files
    "#);
}

#[test]
fn a_ping_says_how_far_the_way_to_each_node_leads() {
    let node = TestNode::bare().with_gates();
    let project = Project::toy(&[("host", &node)], ROLE);
    // Neither roles nor a project are needed: an inventory is enough.
    project.write(
        "elsewhere/hosts.yml",
        &std::fs::read_to_string(project.path("inventory/hosts.yml")).unwrap().replace("autobot_roles", "other"),
    );
    let inventory = project.path("elsewhere/hosts.yml").display().to_string();
    let bare = ["ping", "-i", &inventory, "--output", "json"];
    let mut command = project.command(&bare);
    let ran = RunResult::new(&bare, &command.current_dir("/").output().unwrap());
    let host = ran.assert_code(0).host("host");
    assert_eq!((&host["status"], &host["host_key"], &host["uid"]), (&"ok".into(), &"known".into(), &0.into()), "{host:#}");
    assert_eq!((&host["holder"], &host["error"], &host["round_trips"]), (&Value::Null, &Value::Null, &1.into()), "{host:#}");
    assert_eq!((&host["facts"]["distribution"], &host["facts"]["os_family"]), (&"Debian".into(), &"Debian".into()), "{host:#}");
    assert!(host["facts"]["memtotal_mb"].as_u64().unwrap() > 0, "{host:#}");
    for part in ["connect", "become", "facts"] {
        assert!(host["duration_ms"][part].as_u64().unwrap() < 60_000, "{host:#}");
    }
    // By its address alone.
    let address = format!("{},", node.address);
    let key = lab().key().display().to_string();
    let known_hosts = format!("-o UserKnownHostsFile={}", lab().known_hosts().display());
    let by_address = ["ping", "-i", &address, "-u", "autobot", "--private-key", &key, "--ssh-common-args", &known_hosts];
    let ran = project.run(&by_address);
    assert!(ran.assert_code(0).stdout.contains("Debian 12 (bookworm), kernel "), "{}", ran.stdout);

    // A node that a run holds is no failure, and the ping does not disturb the run.
    node.shut("write");
    let mut first = project.start(&["deploy"]);
    node.await_at("write");
    let held = project.json(&["ping", "host"]);
    let holder = held.assert_code(0).host("host")["holder"].as_str().unwrap().to_owned();
    assert!(holder.starts_with("held by "), "{holder}");
    let text = project.run(&["ping"]);
    assert!(text.assert_code(0).stdout.contains("  held  ") && text.stdout.contains(&holder), "{}", text.stdout);
    assert!(first.is_running());
    node.open("write");
    first.end().assert_code(0);

    let mut output = String::new();
    let mut record = |what: &str, arguments: &[&str]| {
        let arguments = [&["ping", "host", "--connect-timeout", "2s"], arguments].concat();
        let ran = project.run(&arguments);
        ran.assert_code(3);
        assert_eq!(project.json(&arguments).assert_code(3).host("host")["status"], "unreachable");
        let directory = project.path("").display().to_string();
        let text = ran.said().replace(&node.address.to_string(), "ADDRESS").replace(directory.trim_end_matches('/'), "PROJECT");
        output.extend(["# ", what, "\n", text.split_once('\n').unwrap().1]);
    };
    project.write("empty", "");
    record("refused", &["-e", "ansible_port=1"]);
    record("unknown host key", &["--ssh-common-args", &format!("-o UserKnownHostsFile={}", project.path("empty").display())]);
    let other = std::fs::read_to_string(lab().key().with_extension("pub")).unwrap();
    project.write("changed", &format!("{} {other}", node.address));
    record("changed host key", &["--ssh-common-args", &format!("-o UserKnownHostsFile={}", project.path("changed").display())]);
    // A key that no node knows; ssh would not look at one that others can read.
    project.write("no.key", "");
    let key = project.path("no.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let key = key.to_str().unwrap();
    record("no such user", &["-u", "nobody-here", "--private-key", key]);
    node.sh("mkdir /root/kept; grep -lr autobot /etc/sudoers.d | xargs -I FILE mv FILE /root/kept/");
    record("sudo refused", &[]);
    let unprivileged = project.json(&["ping", "-e", "ansible_become=false"]);
    assert_ne!(unprivileged.assert_code(0).host("host")["uid"], 0);
    insta::assert_snapshot!(output, @r#"
    # refused
    host  failed   -         -       -     -      `ADDRESS:1` refuses the connection; help: is sshd running there, on this port? see `ansible_port`
    # unknown host key
    host  failed   unknown   -       -     -      the host key of `ADDRESS` is not known; help: compare the key with the node's own and remember it: `ssh-keyscan ADDRESS >> PROJECT/empty`; or accept unknown keys this once: `--accept-new-host-keys`
    # changed host key
    host  failed   changed   -       -     -      the host key of `ADDRESS` HAS CHANGED: this is another machine, or the connection is intercepted; help: only if you know that the node was installed again: `ssh-keygen -f "PROJECT/changed" -R "ADDRESS"`, then accept the new key with `--accept-new-host-keys`
    # no such user
    host  failed   known     -       -     -      `ADDRESS` does not let us in: nobody-here@ADDRESS: Permission denied (publickey,password).; help: is your key in ssh-agent (`ssh-add -l`) or named by `ansible_ssh_private_key_file`, and `ansible_user` right? try `ssh -i PROJECT/no.key nobody-here@ADDRESS`; passwords are never asked for; sshd says the same where the account's login shell in /etc/passwd does not exist
    # sudo refused
    host  ok       known     refused  -     -      sudo on `ADDRESS` refuses: a password is required; help: give the password with `--ask-become-pass` or a vaulted `ansible_become_password`; or allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
    "#);
}
