//! A check leaves no trace on the node, whatever it finds there, and also when it is killed half-way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    harness::{Project, TestNode, eventually, lab},
    truth::settle,
};

/// Returns everything that the node has ever written: type, mode, owner, size, time and content of each path.
fn disk(node: &TestNode) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![node.upper.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            // A running node renames and removes files while they are being looked at.
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if meta.is_dir() {
                open.push(path.clone());
            }
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let about = format!(
                "{:o} {}:{} {size} bytes, {}.{:09} {}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec(),
                content(&path, &meta)
            );
            found.insert(path.strip_prefix(&node.upper).unwrap().to_string_lossy().into_owned(), about);
        }
    }
    found
}

fn content(path: &Path, meta: &fs::Metadata) -> String {
    if meta.is_file() {
        let mut hasher = DefaultHasher::new();
        fs::read(path).unwrap_or_default().hash(&mut hasher);
        return format!("{:016x}", hasher.finish());
    }
    if meta.is_symlink() {
        return format!("-> {}", fs::read_link(path).unwrap_or_default().display());
    }
    if meta.file_type().is_char_device() { "removed".to_owned() } else { String::new() }
}

fn differing(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> BTreeSet<String> {
    let paths = before.keys().chain(after.keys());
    paths.filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

/// Lists /run, except for what logins leave there.
fn run_directory(node: &TestNode) -> String {
    node.sh("find /run -path /run/user -prune -o -path /run/systemd -prune -o -path /run/sudo -prune -o -path /run/udev -prune -o -print | sort")
}

/// Logs in as an operator does who checks whether sudo works.
fn log_in(node: &TestNode) {
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(lab().key()).arg("-o").arg(format!("UserKnownHostsFile={}", lab().known_hosts().display()));
    ssh.args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]).arg(format!("autobot@{}", node.address));
    assert!(ssh.arg("sudo -n true").stdin(Stdio::null()).status().unwrap().success());
}

/// Asserts that `checks` leaves no more on the node than a login does: lines in logs.
fn leaves_no_trace(node: &TestNode, what: &str, checks: impl FnOnce()) {
    let (before, run_before) = (disk(node), run_directory(node));
    log_in(node);
    let logged_in = disk(node);
    let by_login = differing(&before, &logged_in);
    assert!(by_login.iter().all(|path| path.starts_with("var/log/")), "{what}: the node is not at rest: {by_login:#?}");
    checks();
    let by_check = differing(&logged_in, &disk(node));
    let traces: Vec<&String> =
        by_check.iter().filter(|path| !by_login.contains(*path) && !path.starts_with("var/log/journal/")).collect();
    assert_eq!(traces, Vec::<&String>::new(), "{what}");
    assert_eq!(run_directory(node), run_before, "{what}");
    assert_eq!(node.sh("find /run /tmp /var/tmp /dev/shm -name '*autobot-provision*'"), "", "{what}");
}

/// Starts a check and kills it while the node is busy with its question.
fn kill_half_way(node: &TestNode) {
    let role = r"
tasks:
  - {name: Declare a file, copy: {content: x, dest: /etc/toy}}
  - {name: Wait for ever, command: {cmd: exec tail -f /dev/null, reads: true}}
";
    let project = Project::toy(&[("database_vm", node)], role);
    let asks = || node.try_sh("pgrep -fx 'tail -f /dev/null'").status.success();
    let mut check = project.spawn(&["deploy", "--check"]);
    eventually("the node works on the question", 30, asks);
    check.kill().unwrap();
    check.wait().unwrap();
    eventually("the node gave up the question", 30, || !asks());
    eventually("the session on the node has ended", 30, || !node.try_sh("pgrep -u autobot -x sshd").status.success());
}

fn run_checks(node: &TestNode) {
    let project = Project::shipped(&[("database_vm", node, "")]);
    project.json(&["ping"]).assert_code(0);
    project.json(&["deploy", "--check"]).assert_code(0);
    project.run(&["deploy", "--check", "-v"]).assert_code(0);
    let health = project.json(&["health"]);
    assert!(health.code.is_some_and(|code| code < 2) && health.tasks("database_vm").len() > 3, "{}", health.said());
}

#[test]
fn a_check_leaves_no_trace_on_a_bare_node_also_when_killed_half_way() {
    let node = TestNode::bare();
    settle(&node);
    log_in(&node);
    leaves_no_trace(&node, "a check", || run_checks(&node));
    leaves_no_trace(&node, "a check that was killed", || kill_half_way(&node));

    // The command that sudo logs is short, and the same for all questions.
    let logged = node.sh("journalctl -q --no-pager -o cat -t sudo | sed -n 's/.* ; USER=//p'");
    let ours: BTreeSet<&str> = logged.lines().filter(|logged| !logged.ends_with("COMMAND=/usr/bin/true")).collect();
    assert!(ours.len() == 1 && ours.iter().all(|command| command.len() < 200), "{ours:#?}");
}

#[test]
fn a_check_leaves_no_trace_on_a_converged_node_also_when_killed_half_way() {
    let node = TestNode::converged();
    settle(&node);
    log_in(&node);
    // Keeps PostgreSQL from writing on its own: it vacuums, records connections, and caches catalogs after the first query.
    let psql =
        |sql: &str| node.try_sh(&format!("cd /; runuser -u postgres -- psql -qXAt -c '{sql}' autobot_users")).status.success();
    eventually("PostgreSQL answers", 30, || psql("select 1"));
    let quiet = [
        "autovacuum = off",
        "checkpoint_timeout = 3600",
        "bgwriter_lru_maxpages = 0",
        "wal_level = minimal",
        "max_wal_senders = 0",
    ];
    for setting in quiet {
        assert!(psql(&format!("alter system set {setting}")), "{setting}");
    }
    node.sh("systemctl restart postgresql@15-main");
    run_checks(&node);
    assert!(psql("checkpoint"));
    leaves_no_trace(&node, "a check", || run_checks(&node));
    leaves_no_trace(&node, "a check that was killed", || kill_half_way(&node));
}
