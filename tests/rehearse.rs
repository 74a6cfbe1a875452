//! `rehearse` from end to end, mostly with a role so small that only the rehearsal itself takes time. Needs root.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "clippy knows tests by their attribute; these helpers are theirs")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

/// The addresses stand for the real nodes' and must never be dialled. Should they be, loopback is where it ends.
const INVENTORY: &str = "\
all:
  vars: {ansible_connection: local, fleet_subnet: 127.77.168.0/24}
  hosts:
    bear: {ansible_host: 127.77.168.23, autobot_roles: [toy]}
    rabbit: {ansible_host: 127.77.168.24}
";

const SOUND: &str = "\
description: A toy
defaults:
  fleet_subnet: 127.77.168.0/24
tasks:
  - name: Say where
    copy: {content: \"{{ fleet_subnet }} {{ hostvars.bear.ansible_host }}\\n\", dest: /etc/where}
health:
  - name: sshd listens
    read: {wait_for: {port: 22}}
";

const SICK: &str = "\
description: A toy
tasks:
  - name: Never asked for here
    copy: {content: other, dest: /etc/where}
health:
  - name: Nobody listens there
    read: {wait_for: {port: 9}}
  - name: sshd listens
    read: {wait_for: {port: 22}}
";

/// Every new session undoes what the session before it did.
const RESTLESS: &str = "\
description: A toy that is never done
tasks:
  - name: Undo it with each session
    copy: {content: \"rm -f flag\\n\", dest: /home/autobot/.ssh/rc, mode: \"0644\"}
  - name: Raise the flag
    command: {argv: [touch, /home/autobot/flag], creates: /home/autobot/flag}
";

const SLOW: &str = "\
description: A toy that takes its time
tasks:
  - name: Wait for nobody
    command: {argv: [/bin/sh, -c, 'echo waiting >&2; exec sleep 600'], creates: /etc/never}
";

struct Stage {
    project: TempDir,
    lab: String,
}

impl Stage {
    fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(autobot_provision::lab::is_root(), "booting machines takes root's rights: use tests/run as root");
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

    /// Without the stand-in, which this role does not need.
    fn rehearse(&self) -> Command {
        self.program(&["rehearse", "--yes", "--redis-repo", "http://198.18.0.1/none"])
    }

    /// Whether anything of the lab is left.
    fn is_left(&self) -> bool {
        let status = text(&self.program(&["lab", "status"]).output().unwrap());
        let directory = Path::new("/var/lib/autobot-provision-lab/labs").join(&self.lab);
        !status.starts_with("there is no lab") || directory.exists()
    }
}

impl Drop for Stage {
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

/// The verdict without its times.
fn verdict(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stdout);
    let verdict = told.split("== verdict\n").nth(1).unwrap();
    let parts = verdict.lines().take_while(|line| !line.is_empty());
    let without_time = |line: &str| {
        let words: Vec<&str> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        words.into_iter().filter(|word| !word.ends_with(" s")).collect::<Vec<_>>().join(" | ")
    };
    parts.map(without_time).collect::<Vec<_>>().join("\n")
}

/// What is shipped, on both nodes: the newcomer's first command.
#[test]
fn the_shipped_fleet_is_deployed_and_well() {
    let stage = Stage::new(SOUND);
    let shipped = |arguments: &[&str]| {
        let output = stage.program(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let said = text(&output);
        assert!(!said.contains("172.16.168."), "an address of the real fleet: {said}");
        (output, said)
    };
    let (rehearsal, said) = shipped(&["rehearse", "--yes"]);
    assert_eq!(rehearsal.status.code(), Some(0), "{said}");
    insta::assert_snapshot!(verdict(&rehearsal), @"
    boot | ok
    check | ok
    deploy | ok
    deploy again | ok | nothing changed
    health | ok
    tear down | ok
    ");
    let hosts: Vec<&str> = said.lines().skip(2).take(2).collect();
    assert_eq!(
        hosts,
        [
            "  database_vm: postgresql_server, redis, user_management_db, backup_tools, redis_backup, postgresql_backup",
            "  slm: postgresql_server, postgresql, user_management_db, backup_tools, postgresql_backup",
        ]
    );
    for check in [
        "Redis answers those who know the password",
        "The application can log in",
        "PostgreSQL is backed up",
        "Nothing listens that should not",
    ] {
        assert!(
            said.lines().any(|line| line.starts_with("database_vm ") && line.contains(check) && line.contains(" ok ")),
            "{check}: {said}"
        );
    }
}

#[test]
fn a_sound_role_passes_and_nothing_stays() {
    let stage = Stage::new(SOUND);
    let output = stage.rehearse().output().unwrap();
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    insta::assert_snapshot!(verdict(&output), @r"
    boot | ok
    check | ok
    deploy | ok
    deploy again | ok | nothing changed
    health | ok
    tear down | ok
    ");
    // The inventory's address and connection are nowhere in use, and the host without a role has no copy.
    assert!(!told.contains("127.77.168") && !told.contains("rabbit"), "{told}");
    assert!(!stage.is_left());
}

#[test]
fn what_is_kept_can_be_looked_at_and_stands_in_the_way_of_the_next() {
    let stage = Stage::new(SOUND);
    let kept = stage.rehearse().arg("--keep").output().unwrap();
    assert_eq!(kept.status.code(), Some(0), "{}", text(&kept));
    assert!(text(&kept).contains(&format!("lab down --lab {}", stage.lab)), "{}", text(&kept));
    let mut look = Command::new(env!("CARGO_BIN_EXE_autobot-provision"));
    let look = look.args(["lab", "--lab", &stage.lab, "ssh", "bear", "cat", "/etc/where"]).output().unwrap();
    let wrote = text(&look);
    assert!(wrote.starts_with("198.18.") && !wrote.contains("127.77."), "{wrote}");

    // Every check is told, also behind one that fails, and nothing of the role is done again.
    let inventory = format!("/var/lib/autobot-provision-lab/labs/{}/inventory.yml", stage.lab);
    let health = |options: &[&str]| {
        let mut health = Command::new(env!("CARGO_BIN_EXE_autobot-provision"));
        health.args(["health", "-i", "inventory", "-i", &inventory, "--limit", "lab_nodes"]).args(options);
        health.current_dir(stage.project.path()).output().unwrap()
    };
    assert_eq!(health(&[]).status.code(), Some(0));
    fs::write(stage.project.path().join("roles/toy/role.yml"), SICK).unwrap();
    let sick = health(&["-o", "json"]);
    assert_eq!(sick.status.code(), Some(1), "{}", text(&sick));
    let document: serde_json::Value = serde_json::from_slice(&sick.stdout).unwrap();
    let tasks = document["hosts"]["bear"]["tasks"].as_array().unwrap();
    let told = tasks.iter().map(|task| format!("{} {} {}", task["kind"], task["name"], task["status"]));
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r#"
    "health" "Nobody listens there" "failed"
    "health" "sshd listens" "ok"
    "#);
    assert_eq!((&document["mode"], &document["hosts"]["bear"]["round_trips"]), (&"health".into(), &1.into()));

    let again = stage.rehearse().output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("kept or left by a run that was killed"), "{}", text(&again));
    assert!(stage.is_left());
}

#[test]
fn a_second_deploy_that_changes_something_fails_and_names_it() {
    let stage = Stage::new(RESTLESS);
    let output = stage.rehearse().output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    insta::assert_snapshot!(verdict(&output), @r"
    boot | ok
    check | ok
    deploy | ok
    deploy again | failed | changed again: bear: toy/Raise the flag
    health | ok
    tear down | ok
    ");
    assert!(!stage.is_left());
}

#[test]
fn an_interrupted_rehearsal_removes_its_nodes() {
    for signal in ["INT", "TERM", "HUP"] {
        let stage = Stage::new(SLOW);
        let mut child = stage.rehearse().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("== deploy:")), "it ended before");
        let kill = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}: {}\n{errors}", rest.join("\n"));
        assert!(!stage.is_left(), "{signal}");
    }
}

#[test]
fn an_interrupted_boot_is_undone() {
    let stage = Stage::new(SOUND);
    let mut child = stage.rehearse().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("== boot:")), "it ended before");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", rest.join("\n"));
    assert!(!rest.iter().any(|line| line.starts_with("== check:")), "{}", rest.join("\n"));
    assert!(!stage.is_left());
}
