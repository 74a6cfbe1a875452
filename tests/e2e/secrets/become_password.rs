//! An account that needs a password for sudo: it is given where sudo asks, once, and found nowhere else.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use super::{
    put,
    search::{Needles, Sampler},
};
use crate::harness::{Project, RunResult, TestNode, eventually};

const INLINE: &str = include_str!("../../../src/vault/fixture/inline");
/// What [`INLINE`] holds.
const ONE: &str = "sn0wman-☃-value";
const BLOCK: &str = include_str!("../../../src/vault/fixture/block");
/// What [`BLOCK`] holds.
const OTHER: &str = "0123456789abcdef";
const VAULT_PASSWORD: &str = "the-fixture-password";
const TYPED: &str = "typ3d 'at the %d prompt";

const TOY: &str = r#"
tasks:
  - name: Be root
    command: {cmd: "id -u >/root/who", creates: /root/who}
health:
  - name: It was root
    read: {file: {path: /root/who}}
"#;

/// A node whose operator types a password for sudo.
fn node_with(password: &str) -> TestNode {
    let node = TestNode::bare();
    put(&node, "root/new", format!("autobot:{password}\n"), 0o600);
    node.sh("chpasswd </root/new; rm /root/new; echo 'autobot ALL=(ALL) ALL' >/etc/sudoers.d/autobot; visudo -c");
    node
}

fn encrypted(text: &str) -> String {
    format!("!vault |\n    {}", text.trim_end().replace('\n', "\n    "))
}

fn private(project: &Project, path: &str, content: &str) {
    project.write(path, content);
    fs::set_permissions(project.path(path), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Runs the program with all that it can tell.
fn run(project: &Project, arguments: &[&str]) -> RunResult {
    let mut command = project.command(arguments);
    RunResult::new(arguments, &command.env("AUTOBOT_PROVISION_LOG", "trace").output().unwrap())
}

#[test]
fn each_host_gets_its_own_vaulted_password_which_is_found_nowhere_else() {
    let (a, b, free) = (node_with(ONE), node_with(OTHER), TestNode::bare());
    let project = Project::toy(&[("a", &a), ("b", &b), ("free", &free)], TOY);
    project.write("inventory/host_vars/a.yml", &format!("ansible_become_password: {}\n", encrypted(INLINE)));
    let template = format!("vault_become: {}\nansible_become_pass: \"{{{{ vault_become }}}}\"\n", encrypted(BLOCK));
    project.write("inventory/host_vars/b.yml", &template);
    // Elsewhere: the search below must not find it as a part of something else.
    let elsewhere = tempfile::tempdir().unwrap();
    let vault = elsewhere.path().join("vault");
    fs::write(&vault, VAULT_PASSWORD).unwrap();
    let vault = vault.to_str().unwrap();
    let needles = Needles::new(&[("ONE", ONE), ("OTHER", OTHER)]);
    let sampler = Sampler::start(a.root.join("etc"));
    let arguments = |more: &[&'static str]| [more, &["-vvv", "--vault-password-file"]].concat();
    let mut runs = Vec::new();
    for more in [&["deploy", "--check", "--diff"][..], &["deploy", "--diff"], &["health"], &["deploy", "--output", "json"]] {
        runs.push(run(&project, &[&arguments(more)[..], &[vault]].concat()));
    }
    let seen = sampler.stop();
    for ran in &runs {
        ran.assert_code(0);
        needles.assert_not_within(&format!("what {:?} printed", ran.arguments), &ran.said());
    }
    // sudo's question and its answer cost a round trip each; a host that needs none costs what it did.
    let trips: Vec<_> = ["a", "b", "free"].map(|host| runs[3].host(host)["round_trips"].clone()).into();
    assert_eq!(trips, [3, 3, 1]);
    for node in [&a, &b, &free] {
        assert_eq!(node.sh("cat /root/who"), "0");
        let journal = node.sh("journalctl --no-pager -o export");
        assert!(journal.contains("pam_unix(sudo:session)"), "the journal is there");
        assert!(!journal.contains("authentication failure"), "{journal}");
        needles.assert_not_within("the journal", &journal);
        assert_eq!(needles.files_below(&node.upper), BTreeSet::new());
        assert_eq!(needles.files_in_memory(node), BTreeSet::new());
    }
    let processes = seen.processes();
    assert!(processes.contains("sudo\0-k") || processes.contains("sudo -k"), "the sampler missed sudo");
    needles.assert_not_within("arguments and environments", &processes);
    assert_eq!(needles.files_below(&project.path("")), BTreeSet::new());
    // What is shown of the inventory.
    for shown in [
        &["explain", "b"][..],
        &["inventory", "host", "a"],
        &["inventory", "list", "--output", "json"],
        &["deploy", "--list-hosts"],
    ] {
        let ran = run(&project, &[shown, &["--vault-password-file", vault]].concat());
        ran.assert_code(0);
        needles.assert_not_within(&format!("what {shown:?} printed"), &ran.said());
    }
}

/// Runs the program on a terminal of its own and types, once asked. What the screen showed, the exit status, and whether it echoes again.
fn on_a_terminal(project: &Project, arguments: &str, keys: &[u8]) -> (String, Option<i32>, bool) {
    let program = env!("CARGO_BIN_EXE_autobot-provision");
    let script = format!("tty >tty; {program} {arguments}; code=$?; stty -a >after; exit $code");
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", &script, "/dev/null"]).current_dir(project.path("")).env("HOME", project.path("home"));
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let mut shown = Vec::new();
    while !shown.ends_with(b"BECOME password: ") {
        let mut byte = [0];
        assert_eq!(screen.read(&mut byte).unwrap(), 1, "never asked: {}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    let tty = fs::read_to_string(project.path("tty")).unwrap();
    let settings = || Command::new("stty").args(["-aF", tty.trim_end()]).output().unwrap().stdout;
    eventually("what is typed does not show", 30, || String::from_utf8_lossy(&settings()).contains(" -echo "));
    keyboard.write_all(keys).unwrap();
    screen.read_to_end(&mut shown).unwrap();
    let code = terminal.wait().unwrap().code();
    let after = fs::read_to_string(project.path("after")).unwrap();
    (
        String::from_utf8_lossy(&shown).into_owned(),
        code,
        ["echo", "isig", "icanon"].iter().all(|setting| after.split_whitespace().any(|word| word == *setting)),
    )
}

#[test]
fn the_password_is_asked_for_once_for_all_hosts_that_have_none_of_their_own() {
    let (a, b, own) = (node_with(TYPED), node_with(TYPED), node_with(OTHER));
    let project = Project::toy(&[("a", &a), ("b", &b), ("own", &own)], TOY);
    private(&project, "own.pw", &format!("{OTHER}\n"));
    project.write("inventory/host_vars/own.yml", "ansible_become_password: {file: own.pw}\n");
    let typed = format!("{TYPED}\n");
    for arguments in ["deploy -K -vvv", "health --ask-become-pass -vvv"] {
        let (shown, code, echoes) = on_a_terminal(&project, arguments, typed.as_bytes());
        assert_eq!(code, Some(0), "{shown}");
        assert_eq!(shown.matches("BECOME password: ").count(), 1, "{shown}");
        assert!(!shown.contains(TYPED) && !shown.contains(OTHER), "{shown}");
        assert!(echoes);
    }
    for node in [&a, &b, &own] {
        assert_eq!(node.sh("cat /root/who"), "0");
    }
    // Interrupted at the prompt: nothing was contacted, and the terminal is as it was.
    let logins = || a.sh("journalctl -q --no-pager -o cat -t sshd | grep -c Accepted");
    let before = logins();
    let (shown, code, echoes) = on_a_terminal(&project, "deploy -K", b"half\x03");
    assert_eq!((code, echoes, logins()), (Some(130), true, before), "{shown}");
    // Without a terminal it is an error, and a file takes its place.
    let without = Command::new("setsid")
        .args(["-w", env!("CARGO_BIN_EXE_autobot-provision"), "deploy", "-K"])
        .current_dir(project.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&without.stderr);
    assert_eq!(without.status.code(), Some(4), "{said}");
    assert!(said.contains("cannot ask for the password for sudo: there is no terminal"), "{said}");
    private(&project, "common.pw", &typed);
    project.run(&["deploy", "--detailed-exitcode", "--become-password-file", "common.pw"]).assert_code(0);
    // Nor is anybody asked where nothing is contacted.
    project.run(&["deploy", "-K", "--list-hosts"]).assert_code(0);
}

#[test]
fn a_wrong_password_is_one_failed_attempt() {
    let node = node_with(ONE);
    let project = Project::toy(&[("n", &node)], TOY);
    private(&project, "pw", "wr0ng-password\n");
    let ran = run(&project, &["deploy", "-vvv", "--become-password-file", "pw"]);
    ran.assert_code(3);
    assert!(ran.said().contains("rejected the password") && !ran.said().contains("wr0ng-password"), "{}", ran.said());
    let count = |what: &str| node.sh(&format!("journalctl -q --no-pager -o cat -t sudo | grep -c '{what}' || :"));
    eventually("sudo has told of it", 30, || count("incorrect password attempt") == "1");
    assert_eq!(count(" 1 incorrect password attempt"), "1");
    assert_eq!(count("authentication failure"), "1");
    assert!(!node.root.join("root/who").exists());
}

#[test]
fn what_sudoers_says_decides_and_every_refusal_has_its_line() {
    let node = node_with(ONE);
    let project = Project::toy(&[("n", &node)], TOY);
    private(&project, "pw", &format!("{ONE}\n"));
    let with = ["deploy", "--become-password-file", "pw"];
    let sudoers = |text: &str| node.sh(&format!("printf '%s\\n' {text} >/etc/sudoers.d/autobot; visudo -cq"));
    let mut told = String::new();
    let mut tell = |name: &str, ran: &RunResult| {
        ran.assert_code(3);
        let text = ran.said().replace(&node.address.to_string(), "ADDRESS").replace(&format!("on {}.", node.name), "on NODE.");
        let (text, _) = text.split_once("\n\n").unwrap_or_else(|| panic!("no summary: {}", ran.said()));
        told.extend(["# ", name, "\n", text, "\n"]);
    };
    tell("no password given", &project.run(&["deploy"]));
    sudoers("'Defaults requiretty' 'autobot ALL=(ALL) ALL'");
    tell("requiretty", &project.run(&with));
    sudoers("'autobot ALL=(ALL) /bin/true'");
    tell("not allowed", &project.run(&with));
    assert!(!node.root.join("root/who").exists());
    for text in [
        "'Defaults passprompt=\"Geheim: \"' 'Defaults lecture=always' 'autobot ALL=(ALL) ALL'",
        "'Defaults passprompt=\"Geheim: \"' 'Defaults passprompt_override' 'autobot ALL=(ALL) ALL'",
        "'Defaults use_pty' 'Defaults passwd_tries=1' 'Defaults log_input' 'autobot ALL=(ALL) ALL'",
    ] {
        sudoers(text);
        let ran = project.json(&with);
        assert!(ran.assert_code(0).host("n")["round_trips"].as_u64() >= Some(3), "{}", ran.stdout);
    }
    // PAM that has something to say.
    node.sh("echo 'Fortune favours the bold.' >/etc/said; sed -i '1a auth optional pam_echo.so file=/etc/said' /etc/pam.d/sudo");
    project.run(&with).assert_code(0);
    // Where sudo does not ask, nothing of the password reaches what it starts.
    sudoers("'autobot ALL=(ALL) NOPASSWD: ALL'");
    put(&node, "usr/local/bin/sudo", "#!/bin/sh\ntee /home/autobot/sent | /usr/bin/sudo \"$@\"\n", 0o755);
    let ran = project.json(&with);
    assert_eq!(ran.assert_code(0).host("n")["round_trips"], 2);
    let sent = fs::read(node.root.join("home/autobot/sent")).unwrap();
    assert!(
        String::from_utf8_lossy(&sent).ends_with("bye clean\n")
            && Needles::new(&[("ONE", ONE)]).within(&String::from_utf8_lossy(&sent)).is_empty()
    );
    insta::assert_snapshot!(told, @r#"
    # no password given
    n: unreachable
        sudo on `ADDRESS` refuses: a password is required
        help: give the password with `--ask-become-pass` or a vaulted `ansible_become_password`; or allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
    # requiretty
    n: unreachable
        sudo on `ADDRESS` refuses: sorry, you must have a tty to run sudo
        help: sudo wants a terminal: put `Defaults:USER !requiretty` into a file in /etc/sudoers.d
    # not allowed
    n: unreachable
        sudo on `ADDRESS` refuses: Sorry, user autobot is not allowed to execute '/usr/bin/setsid -w /bin/sh -c echo autobot-provision-root; read -r n && eval "$(head -c "$n" | gzip -dc)"' as root on NODE.
        help: allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
    "#);
}
