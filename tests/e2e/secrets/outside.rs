//! External values: each source reaches the node and its users, a new value is a rotation, and the values appear nowhere else.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use super::{
    FILE, got, put,
    search::{Needles, Sampler},
    value,
};
use crate::harness::{Project, RunResult, TestNode, eventually};

const VAULTED: &str = "sn0wman-☃-value";
const VAULTED_INLINE: &str = include_str!("../../../src/vault/fixture/inline");
const IN_FILE: &str = "p@ss w0rd/+";
const VAULTED_FILE: &str = include_str!("../../../src/vault/fixture/vars.yml");
const NEXT_INLINE: &str = include_str!("../../../src/vault/fixture/block");
const NEXT_VAULTED: &str = "0123456789abcdef";

const TOY: &str = r#"
secrets:
  BY_ENV: {file: /etc/app/secrets.env}
  BY_FILE: {file: /etc/app/secrets.env}
  BY_COMMAND: {file: /etc/app/secrets.env, from: {command: [sh, -c, "echo ran >>ran; cat command.pw"]}}
  BY_VAULT: {file: /etc/app/secrets.env}
tasks:
  - name: Make a place
    file: {path: /etc/app, state: directory, mode: "0755"}
  - name: Use them
    copy:
      dest: /etc/app/used
      content: |
        env={{ secrets.BY_ENV }} file={{ secrets.BY_FILE }}
        command={{ secrets.BY_COMMAND | urlencode }} vault={{ secrets.BY_VAULT }}
  - name: Use what is encrypted
    copy: {dest: /etc/app/vaulted, content: "{{ vault_redis_password }} {{ nested[0].password }}"}
  - name: Use nothing
    copy: {dest: /etc/app/none, content: "nothing\n"}
"#;

/// The sources of the toy role's secrets.
fn declare(project: &Project, encrypted: &str) {
    let encrypted = encrypted.trim_end().replace('\n', "\n    ");
    let vars = format!(
        "vault_token: !vault |\n    {encrypted}\nautobot_secrets:\n  BY_ENV: {{env: E2E_BY_ENV}}\n  BY_FILE: {{file: file.pw}}\n  \
         BY_VAULT: {{value: \"{{{{ vault_token }}}}\"}}\n"
    );
    project.write("inventory/group_vars/all/vars.yml", &vars);
}

/// Runs the program with a value in its environment and the vault's password in a file.
fn run(project: &Project, by_env: &str, arguments: &[&str]) -> RunResult {
    fs::create_dir_all(project.path("tmp")).unwrap();
    let mut command = project.command(arguments);
    command.env("E2E_BY_ENV", by_env).env("TMPDIR", project.path("tmp")).env("AUTOBOT_PROVISION_LOG", "trace");
    command.env("ANSIBLE_VAULT_PASSWORD_FILE", project.path("vault-password"));
    RunResult::new(arguments, &command.output().unwrap())
}

fn private(project: &Project, path: &str, content: &str) {
    project.write(path, content);
    fs::set_permissions(project.path(path), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn values_from_every_source_reach_the_node_are_rotated_and_are_found_nowhere_else() {
    let nodes = [TestNode::bare(), TestNode::bare()];
    let project = Project::toy(&[("a", &nodes[0]), ("b", &nodes[1])], TOY);
    declare(&project, VAULTED_INLINE);
    project.write("inventory/group_vars/all/vault.yml", VAULTED_FILE);
    private(&project, "vault-password", "the-fixture-password\n");
    private(&project, "file.pw", "Fr0m+file/one\n");
    private(&project, "command.pw", "Fr0m:command?one\n");
    let (env, next_env) = ("Fr0m the env'one", "Fr0m-the-env-two");
    let before = "# mine\nBY_FILE=0ther-before-value\nOTHERS=0therPeoples/\n";
    put(&nodes[0], "etc/app/secrets.env", before, 0o600);
    let sampler = Sampler::start(nodes[0].root.join("etc/app"));
    let mut runs = Vec::new();

    let check = run(&project, env, &["deploy", "--check", "--output", "json"]);
    check.assert_code(0);
    assert_eq!(fs::read_to_string(project.path("ran")).unwrap(), "ran\n", "two hosts use it, one run of it");
    assert_eq!(got(&nodes[0], "etc/app/secrets.env"), before);
    let deploy = run(&project, env, &["deploy", "--diff", "-vvv", "--output", "json"]);
    deploy.assert_code(0);
    let all = ["Use them", "Use what is encrypted", "Use nothing"].map(|name| format!("toy/{name}"));
    let secrets = ["BY_ENV", "BY_FILE", "BY_COMMAND", "BY_VAULT"].map(|name| format!("toy/secret {name}"));
    for host in ["a", "b"] {
        let span = (host == "b").then(|| "toy/Make a place".to_owned());
        let expected: BTreeSet<String> = all.iter().chain(&secrets).cloned().chain(span).collect();
        assert_eq!(check.ids(host, "changed"), expected);
        assert_eq!(deploy.ids(host, "changed"), expected);
        assert_eq!(deploy.host(host)["unpredicted"], serde_json::json!([]));
    }
    let summary = |ran: &RunResult, host: &str, id: &str| ran.tasks(host).into_iter().find(|task| task.id == id).unwrap().summary;
    assert_eq!(summary(&check, "a", "toy/secret BY_FILE"), "replace in /etc/app/secrets.env");
    assert_eq!(summary(&check, "b", "toy/secret BY_FILE"), "write to /etc/app/secrets.env");
    // Line by line: what is ours is put in its place, all else stays; quoted where readers need it.
    let lines = format!("BY_ENV=\"{env}\"\nBY_COMMAND='Fr0m:command?one'\nBY_VAULT='{VAULTED}'\n");
    assert_eq!(got(&nodes[0], "etc/app/secrets.env"), format!("# mine\nBY_FILE=Fr0m+file/one\nOTHERS=0therPeoples/\n{lines}"));
    let used = format!("env={env} file=Fr0m+file/one\ncommand=Fr0m%3Acommand%3Fone vault={VAULTED}\n");
    assert_eq!(got(&nodes[1], "etc/app/used"), used);
    assert_eq!(got(&nodes[1], "etc/app/vaulted"), format!("{IN_FILE} line 1\nline 2\n"));
    // A shell reads the file as we do.
    assert_eq!(nodes[1].sh(". /etc/app/secrets.env; printf '%s|%s' \"$BY_ENV\" \"$BY_VAULT\""), format!("{env}|{VAULTED}"));
    let again = run(&project, env, &["deploy", "--output", "json"]);
    again.assert_code(0);
    for host in ["a", "b"] {
        assert_eq!((again.ids(host, "changed"), &again.host(host)["round_trips"]), (BTreeSet::new(), &serde_json::json!(1)));
    }
    runs.extend([check, deploy, again]);

    // What somebody writes into the node's file does not last; a new value outside is a rotation.
    let file = got(&nodes[1], "etc/app/secrets.env");
    put(&nodes[1], "etc/app/secrets.env", file.replace("Fr0m+file/one", "0ther-before-value"), 0o600);
    private(&project, "command.pw", "Fr0m-command-two\n");
    declare(&project, NEXT_INLINE);
    let check = run(&project, next_env, &["deploy", "--check", "--diff", "-vvv"]);
    let deploy = run(&project, next_env, &["deploy", "--output", "json", "-vvv"]);
    let again = run(&project, next_env, &["deploy", "--detailed-exitcode", "-vvv"]);
    for ran in [&check, &deploy, &again] {
        ran.assert_code(0);
    }
    let rotated = ["secret BY_ENV", "secret BY_COMMAND", "secret BY_VAULT", "Use them"].map(|name| format!("toy/{name}"));
    let mut expected = BTreeSet::from(rotated);
    assert_eq!(deploy.ids("a", "changed"), expected);
    // Its users have the right value already.
    expected.insert("toy/secret BY_FILE".to_owned());
    assert_eq!(deploy.ids("b", "changed"), expected);
    assert!(
        check.stdout.contains("- BY_ENV=…") && check.stdout.contains("+ BY_ENV=‹the environment variable `E2E_BY_ENV`"),
        "{}",
        check.stdout
    );
    for node in &nodes {
        let file = got(node, "etc/app/secrets.env");
        let values = ["BY_ENV", "BY_FILE", "BY_COMMAND", "BY_VAULT"].map(|name| value(&file, name));
        assert_eq!(values, [next_env, "Fr0m+file/one", "Fr0m-command-two", NEXT_VAULTED]);
        assert!(got(node, "etc/app/used").contains("command=Fr0m-command-two vault=0123456789abcdef"));
    }
    runs.extend([check, deploy, again]);

    let seen = sampler.stop();
    let fetched = [("COMMAND", "Fr0m:command?one"), ("COMMAND2", "Fr0m-command-two"), ("FILE", "Fr0m+file/one")];
    let vaulted = [("VAULT", VAULTED), ("VAULT2", NEXT_VAULTED), ("IN_FILE", IN_FILE), ("KEY", "the-fixture-password")];
    let theirs = [("BEFORE", "0ther-before-value"), ("OTHERS", "0therPeoples/"), ("ENV", env), ("ENV2", next_env)];
    let needles = Needles::new(&[fetched.as_slice(), &vaulted, &theirs].concat());
    for run in &runs {
        needles.assert_not_within(&format!("what {:?} printed", run.arguments), &run.said());
    }
    for node in &nodes {
        needles.assert_not_within("the journal", &node.sh("journalctl --no-pager -o export"));
        assert_eq!(needles.files_in_memory(node), BTreeSet::new());
        let own = ["secrets.env", "used", "vaulted"].map(|name| format!("/etc/app/{name}"));
        assert_eq!(needles.files_below(&node.upper), BTreeSet::from(own));
    }
    let processes = seen.processes();
    assert!(processes.contains("sshd: autobot") && processes.contains("command.pw"), "the sampler sees both sides");
    needles.assert_not_within("arguments and environments", &processes);
    let given = ["/command.pw", "/file.pw", "/vault-password"].map(str::to_owned);
    assert_eq!(needles.files_below(&project.path("")), BTreeSet::from(given));
}

#[test]
fn what_cannot_be_fetched_stops_the_run_before_any_connection() {
    let node = TestNode::bare();
    let project = Project::toy(&[("n", &node)], TOY);
    declare(&project, VAULTED_INLINE);
    project.write("inventory/group_vars/all/vault.yml", VAULTED_FILE);
    private(&project, "vault-password", "the-fixture-password\n");
    private(&project, "file.pw", "Fr0m+file/one\n");
    private(&project, "command.pw", "Fr0m:command?one\n");
    let logins = || node.sh("journalctl --no-pager -o cat | grep -c 'sshd.*\\|Connection from\\|Accepted' || :");
    let before = logins();
    // It looks at what is declared, and runs nothing.
    run(&project, "x", &["validate"]).assert_code(0);
    assert!(!project.path("ran").exists());
    let refused = |by_env: &str, words: &[&str]| {
        for arguments in [&["deploy", "--output", "json"][..], &["deploy", "--check", "-vvv"]] {
            let ran = run(&project, by_env, arguments);
            ran.assert_code(4);
            for word in words.iter().chain(&["inventory/group_vars/all/vars.yml", "`n`"]) {
                assert!(ran.said().contains(word), "no {word}: {}", ran.said());
            }
            assert!(!ran.said().contains("Fr0m"), "{}", ran.said());
        }
    };
    refused("", &["no value for `BY_ENV`", "the environment variable `E2E_BY_ENV`", "it is empty"]);
    refused("two\nlines", &["it has more than one line"]);
    fs::remove_file(project.path("file.pw")).unwrap();
    refused("Fr0m env", &["no value for `BY_FILE`", "No such file"]);
    private(&project, "file.pw", "Fr0m+file/one\n");
    let last = VAULTED_INLINE.trim_end();
    declare(&project, &format!("{}{}", &last[..last.len() - 1], if last.ends_with('0') { '1' } else { '0' }));
    refused("Fr0m env", &["no value for `BY_VAULT", "the vault password is wrong, or the text is damaged"]);
    declare(&project, VAULTED_INLINE);
    let fails =
        "autobot_secrets: {BY_COMMAND: {command: \"cat command.pw; echo \\\"denied: $(cat command.pw)\\\" >&2; exit 7\"}}\n";
    project.write("inventory/group_vars/all/vars.yml", &format!("{fails}E2E: 1\n"));
    refused("x", &["no value for `BY_COMMAND`", "exit status: 7", "denied: ‹what it printed›"]);
    private(&project, "vault-password", "another\n");
    let wrong = run(&project, "x", &["deploy"]);
    wrong.assert_code(4);
    assert!(
        wrong.stderr.contains("inventory/group_vars/all/vault.yml:1:1") && wrong.stderr.contains("--ask-vault-pass"),
        "{}",
        wrong.stderr
    );
    assert_eq!(logins(), before, "nobody came to the node");
}

#[test]
fn a_new_password_outside_is_a_new_password_of_redis_and_postgresql() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("database_vm", &node, "")]);
    let with = |redis: &str, arguments: &[&str]| {
        let sources =
            r#"{"autobot_secrets": {"REDIS_PASSWORD": {"env": "E2E_REDIS"}, "DB_PASSWORD": {"command": ["cat", "db.pw"]}}}"#;
        let arguments = [arguments, &["-e", sources]].concat();
        RunResult::new(&arguments, &project.command(&arguments).env("E2E_REDIS", redis).output().unwrap())
    };
    private(&project, "db.pw", "Db-fr0m-outside\n");
    let check = with("Redis+fr0m+outside", &["deploy", "--check", "--output", "json"]);
    let deploy = with("Redis+fr0m+outside", &["deploy", "--output", "json"]);
    for ran in [&check, &deploy] {
        ran.assert_code(0);
    }
    let changed = deploy.ids("database_vm", "changed");
    assert_eq!(check.ids("database_vm", "changed"), changed);
    assert_eq!(deploy.host("database_vm")["unpredicted"], serde_json::json!([]));
    for id in [
        "redis/secret REDIS_PASSWORD",
        "redis/secret DB_PASSWORD",
        "redis/Configure Redis",
        "redis/Create the owner of the users database",
    ] {
        assert!(changed.contains(id), "{changed:?}");
    }
    assert_eq!(value(&got(&node, FILE), "REDIS_PASSWORD"), "Redis+fr0m+outside");
    // Health asks what is deployed, with the passwords that the node's own services read, and needs no source.
    project.run(&["health", "--exercise"]).assert_code(0);
    with("another", &["health", "--exercise"]).assert_code(0);
    let again = with("Redis+fr0m+outside", &["deploy", "--detailed-exitcode"]);
    again.assert_code(0);
    // Without the sources nothing changes either: the node keeps what it has.
    project.run(&["deploy", "--detailed-exitcode"]).assert_code(0);
}

#[test]
fn the_vault_password_is_asked_for_on_a_terminal_and_does_not_show() {
    let node = TestNode::bare();
    let project = Project::toy(&[("n", &node)], TOY);
    project.write("inventory/group_vars/all/vault.yml", VAULTED_FILE);
    let program = env!("CARGO_BIN_EXE_autobot-provision");
    // A terminal of its own, on which somebody types once asked; what a program asks for may show until the terminal is told not to.
    let mut terminal = Command::new("script");
    terminal
        .args(["-qefc", &format!("tty >tty; exec {program} inventory host n --ask-vault-pass"), "/dev/null"])
        .current_dir(project.path(""));
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let mut shown = Vec::new();
    while !shown.ends_with(b"Vault password: ") {
        let mut byte = [0];
        assert_eq!(screen.read(&mut byte).unwrap(), 1, "never asked: {}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    let tty = fs::read_to_string(project.path("tty")).unwrap();
    let settings = || Command::new("stty").args(["-aF", tty.trim_end()]).output().unwrap().stdout;
    eventually("what is typed does not show", 30, || String::from_utf8_lossy(&settings()).contains(" -echo "));
    keys.write_all(b"the-fixture-password\n").unwrap();
    screen.read_to_end(&mut shown).unwrap();
    let status = terminal.wait().unwrap();
    let shown = String::from_utf8_lossy(&shown);
    assert!(status.success() && shown.contains("vault_redis_password"), "{shown}");
    assert!(!shown.contains("the-fixture-password") && !shown.contains(IN_FILE), "{shown}");
    let without = Command::new("setsid")
        .args(["-w", program, "inventory", "host", "n", "-J"])
        .current_dir(project.path(""))
        .output()
        .unwrap();
    assert_eq!(without.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&without.stderr).contains("there is no terminal"), "{without:?}");
}

#[test]
fn vault_passwords_come_from_files_and_programs_named_on_the_command_line() {
    let node = TestNode::bare();
    let role = "tasks:\n  - {name: Say it, copy: {dest: /root/said, content: \"{{ labelled }}|{{ vault_redis_password }}\"}}\n";
    let project = Project::toy(&[("n", &node)], role);
    project.write("inventory/group_vars/all/vault.yml", VAULTED_FILE);
    let labelled = include_str!("../../../src/vault/fixture/labelled").trim_end().replace('\n', "\n  ");
    project.write("inventory/group_vars/all/vars.yml", &format!("labelled: !vault |\n  {labelled}\n"));
    private(&project, "one", "the-fixture-password\n");
    private(&project, "prod", "the other password\n");
    private(&project, "wrong", "neither\n");
    // Ansible's ways of a program: any prints the password, one whose name ends so is told the label.
    for (name, program) in [
        ("print-one", "#!/bin/sh\n[ $# = 0 ] && cat one\n"),
        ("keys-client", "#!/bin/sh\n[ \"$1\" = --vault-id ] && cat \"$2\"\n"),
    ] {
        project.write(name, program);
        fs::set_permissions(project.path(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let (file, id) = ("--vault-password-file", "--vault-id");
    for arguments in [
        [file, "one", file, "prod"],
        [file, "print-one", file, "prod"],
        [id, "prod@prod", file, "one"],
        [id, "prod@prod", id, "one"],
        [id, "prod@keys-client", id, "one@keys-client"],
    ] {
        fs::remove_file(node.root.join("root/said")).ok();
        let deploy = project.run(&[&["deploy", "--diff"], &arguments[..]].concat());
        deploy.assert_code(0);
        assert_eq!(got(&node, "root/said"), format!("labelled value|{IN_FILE}"), "{arguments:?}");
        assert!(!deploy.said().contains("labelled value"), "{}", deploy.said());
    }
    for (arguments, words) in [
        ([file, "one", file, "wrong"], "none of the 2 vault passwords is right"),
        ([id, "prod@prod", id, "prod@wrong"], "vault.yml"),
        ([file, "one", file, "nowhere"], "no vault password from `nowhere`: No such file"),
        ([file, "one", id, "prod@"], "`--vault-id` takes `LABEL@SOURCE`"),
    ] {
        let deploy = project.run(&[&["deploy"], &arguments[..]].concat());
        deploy.assert_code(4);
        assert!(deploy.stderr.contains(words), "{arguments:?}: {}", deploy.stderr);
    }
}
