//! End-to-end tests of `rehearse`, mostly with a role so small that only the rehearsal itself takes time. Needs root.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "clippy knows tests by their attribute; these helpers are theirs")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

/// The addresses represent those of the real nodes and must never be contacted. If they are, the packets end at loopback.
const INVENTORY: &str = "\
all:
  vars: {ansible_connection: local, fleet_subnet: 127.77.168.0/24}
  hosts:
    bear: {ansible_host: 127.77.168.23, autobot_roles: [toy]}
    rabbit: {ansible_host: 127.77.168.24}
";

const HEALTHY: &str = "\
description: A toy
defaults:
  fleet_subnet: 127.77.168.0/24
tasks:
  - name: Write the addresses
    copy: {content: \"{{ fleet_subnet }} {{ hostvars.bear.ansible_host }}\\n\", dest: /etc/where}
health:
  - name: sshd listens
    read: {wait_for: {port: 22}}
";

const UNHEALTHY: &str = "\
description: A toy
tasks:
  - name: Is not evaluated by health
    copy: {content: other, dest: /etc/where}
health:
  - name: Port 9 is open
    read: {wait_for: {port: 9}}
  - name: sshd listens
    read: {wait_for: {port: 22}}
";

/// Every new session undoes the changes of the previous one.
const RESTLESS: &str = "\
description: A toy that never converges
tasks:
  - name: Undo it with each session
    copy: {content: \"rm -f flag\\n\", dest: /home/autobot/.ssh/rc, mode: \"0644\"}
  - name: Raise the flag
    command: {argv: [touch, /home/autobot/flag], creates: /home/autobot/flag}
";

const SLOW: &str = "\
description: A slow toy
tasks:
  - name: Wait for a long time
    command: {argv: [/bin/sh, -c, 'echo waiting >&2; exec sleep 600'], creates: /etc/never}
";

struct Rehearsal {
    project: TempDir,
    lab: String,
}

impl Rehearsal {
    fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(autobot_provision::lab::is_root(), "booting machines requires root: use tests/run as root");
        let project = tempfile::tempdir().unwrap();
        for (path, text) in [("roles/toy/role.yml", role), ("inventory/nodes.yml", INVENTORY)] {
            let path = project.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { project, lab: format!("r{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)) }
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_autobot-provision"));
        command.args(arguments).args(["--lab", &self.lab]).current_dir(self.project.path()).stdin(Stdio::null());
        command
    }

    /// Runs without the stand-in repository, which this role does not need.
    fn rehearse(&self) -> Command {
        self.program(&["rehearse", "--yes", "--redis-repo", "http://198.18.0.1/none"])
    }

    /// Whether anything of the lab is left.
    fn exists(&self) -> bool {
        let status = text(&self.program(&["lab", "status"]).output().unwrap());
        let directory = Path::new("/var/lib/autobot-provision-lab/labs").join(&self.lab);
        !status.starts_with("there is no lab") || directory.exists()
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        let down = self.program(&["lab", "down"]).output().unwrap();
        if !down.status.success() {
            eprintln!("{}", text(&down));
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Returns the verdict without its times.
fn verdict(output: &Output) -> String {
    let output = String::from_utf8_lossy(&output.stdout);
    let verdict = output.split("== verdict\n").nth(1).unwrap();
    let parts = verdict.lines().take_while(|line| !line.is_empty());
    let without_time = |line: &str| {
        let words: Vec<&str> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        words.into_iter().filter(|word| !word.ends_with(" s")).collect::<Vec<_>>().join(" | ")
    };
    parts.map(without_time).collect::<Vec<_>>().join("\n")
}

/// The shipped roles on both nodes: the first command of a new user.
#[test]
fn the_shipped_fleet_is_deployed_and_healthy() {
    let rehearsal = Rehearsal::new(HEALTHY);
    let shipped = |arguments: &[&str]| {
        let output = rehearsal.program(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let printed = text(&output);
        assert!(!printed.contains("172.16.168."), "an address of the real fleet: {printed}");
        (output, printed)
    };
    let (run, printed) = shipped(&["rehearse", "--yes"]);
    assert_eq!(run.status.code(), Some(0), "{printed}");
    insta::assert_snapshot!(verdict(&run), @"
    boot | ok
    check | ok
    deploy | ok
    deploy again | ok | nothing changed
    health | ok
    tear down | ok
    ");
    let hosts: Vec<&str> = printed.lines().skip(2).take(2).collect();
    assert_eq!(
        hosts,
        [
            "  database_vm: postgresql_server, redis, user_management_db, backup_tools, redis_backup, postgresql_backup",
            "  slm: postgresql_server, postgresql, user_management_db, backup_tools, postgresql_backup",
        ]
    );
    for check in [
        "Redis accepts its password",
        "The application can log in",
        "The PostgreSQL backup is recent and verified",
        "Nothing listens that should not",
    ] {
        assert!(
            printed.lines().any(|line| line.starts_with("database_vm ") && line.contains(check) && line.contains(" ok ")),
            "{check}: {printed}"
        );
    }
}

#[test]
fn a_healthy_role_passes_and_nothing_is_left() {
    let rehearsal = Rehearsal::new(HEALTHY);
    let output = rehearsal.rehearse().output().unwrap();
    let printed = text(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    insta::assert_snapshot!(verdict(&output), @r"
    boot | ok
    check | ok
    deploy | ok
    deploy again | ok | nothing changed
    health | ok
    tear down | ok
    ");
    // The inventory's address and connection are not used, and the host without a role has no copy.
    assert!(!printed.contains("127.77.168") && !printed.contains("rabbit"), "{printed}");
    assert!(!rehearsal.exists());
}

#[test]
fn a_kept_rehearsal_can_be_inspected_and_blocks_the_next_one() {
    let rehearsal = Rehearsal::new(HEALTHY);
    let kept = rehearsal.rehearse().arg("--keep").output().unwrap();
    assert_eq!(kept.status.code(), Some(0), "{}", text(&kept));
    assert!(text(&kept).contains(&format!("lab down --lab {}", rehearsal.lab)), "{}", text(&kept));
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_autobot-provision"));
    let inspect = inspect.args(["lab", "--lab", &rehearsal.lab, "ssh", "bear", "cat", "/etc/where"]).output().unwrap();
    let content = text(&inspect);
    assert!(content.starts_with("198.18.") && !content.contains("127.77."), "{content}");

    // Every check is reported, even after one that fails, and no task of the role runs again.
    let inventory = format!("/var/lib/autobot-provision-lab/labs/{}/inventory.yml", rehearsal.lab);
    let health = |options: &[&str]| {
        let mut health = Command::new(env!("CARGO_BIN_EXE_autobot-provision"));
        health.args(["health", "-i", "inventory", "-i", &inventory, "--limit", "lab_nodes"]).args(options);
        health.current_dir(rehearsal.project.path()).output().unwrap()
    };
    assert_eq!(health(&[]).status.code(), Some(0));
    fs::write(rehearsal.project.path().join("roles/toy/role.yml"), UNHEALTHY).unwrap();
    let unhealthy = health(&["-o", "json"]);
    assert_eq!(unhealthy.status.code(), Some(1), "{}", text(&unhealthy));
    let document: serde_json::Value = serde_json::from_slice(&unhealthy.stdout).unwrap();
    let tasks = document["hosts"]["bear"]["tasks"].as_array().unwrap();
    let items = tasks.iter().map(|task| format!("{} {} {}", task["kind"], task["name"], task["status"]));
    insta::assert_snapshot!(items.collect::<Vec<_>>().join("\n"), @r#"
    "health" "Port 9 is open" "failed"
    "health" "sshd listens" "ok"
    "#);
    assert_eq!((&document["mode"], &document["hosts"]["bear"]["round_trips"]), (&"health".into(), &1.into()));

    let again = rehearsal.rehearse().output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("kept or left by a run that was killed"), "{}", text(&again));
    assert!(rehearsal.exists());
}

#[test]
fn a_second_deploy_that_changes_something_fails_and_names_it() {
    let rehearsal = Rehearsal::new(RESTLESS);
    let output = rehearsal.rehearse().output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    insta::assert_snapshot!(verdict(&output), @r"
    boot | ok
    check | ok
    deploy | ok
    deploy again | failed | changed again: bear: toy/Raise the flag
    health | ok
    tear down | ok
    ");
    assert!(!rehearsal.exists());
}

#[test]
fn an_interrupted_rehearsal_removes_its_nodes() {
    for signal in ["INT", "TERM", "HUP"] {
        let rehearsal = Rehearsal::new(SLOW);
        let mut child = rehearsal.rehearse().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("== deploy:")), "it ended before");
        let kill = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}: {}\n{errors}", rest.join("\n"));
        assert!(!rehearsal.exists(), "{signal}");
    }
}

#[test]
fn an_interrupted_boot_is_undone() {
    let rehearsal = Rehearsal::new(HEALTHY);
    let mut child = rehearsal.rehearse().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("== boot:")), "it ended before");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", rest.join("\n"));
    assert!(!rest.iter().any(|line| line.starts_with("== check:")), "{}", rest.join("\n"));
    assert!(!rehearsal.exists());
}
