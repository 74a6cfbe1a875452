//! Secrets that live on one node and are read by another.

use std::{collections::BTreeSet, fs, process::Command};

use super::{got, put, search::Needles, value};
use crate::harness::{Project, RunResult, TestNode};

const ROLE: &str = r#"
defaults: {keeper: writer}
secrets:
  APP_PASSWORD: {host: "{{ keeper }}", file: "{{ secrets_file | default(value='/etc/app/secrets.env') }}"}
tasks:
  - name: Use it where it lives
    when: inventory_hostname == keeper
    copy: {dest: /root/here, content: "{{ secrets.APP_PASSWORD }}\n"}
  - name: Come to the gate
    when: inventory_hostname == keeper and gated | default(value=false)
    command: {cmd: "false", creates: /root/never}
  - name: Use it elsewhere
    when: inventory_hostname != keeper
    copy: {dest: /root/there, content: "URL=db://app:{{ secrets.APP_PASSWORD | urlencode }}@{{ keeper }}\n"}
    register: written
    notify: tell
  - name: Follow
    when: written.changed
    command: {cmd: "cp /root/there /root/followed", creates: /root/followed}
  - name: Have nothing to do with it
    copy: {dest: /root/apart, content: "x\n"}
handlers:
  - name: tell
    command: {cmd: "cp /root/there /root/told"}
health:
  - name: sshd listens
    read: {wait_for: {port: 22}}
"#;

struct Two {
    writer: TestNode,
    reader: TestNode,
    project: Project,
}

/// The reader comes first in the inventory; only the writer's variables say where the file is.
fn two() -> Two {
    let (writer, reader) = (TestNode::bare(), TestNode::bare());
    let project = Project::toy(&[("reader", &reader), ("writer", &writer)], ROLE);
    project.write("host_vars/writer.yml", "secrets_file: /etc/kept/here.env\n");
    Two { writer, reader, project }
}

fn has(node: &TestNode, path: &str) -> bool {
    node.root.join(path).exists()
}

impl Two {
    fn password(&self) -> String {
        value(&got(&self.writer, "etc/kept/here.env"), "APP_PASSWORD").to_owned()
    }
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| format!("toy/{id}")).collect()
}

#[test]
fn the_reader_waits_for_the_writer_and_a_check_says_what_it_cannot_know() {
    let two = two();
    let check = two.project.json(&["deploy", "--check", "--detailed-exitcode", "--forks", "1"]);
    check.assert_code(2);
    let unknown = ids(&["Use it elsewhere", "Follow", "tell"]);
    assert_eq!(check.ids("reader", "unknown"), unknown, "{}", check.stdout);
    assert_eq!(check.ids("writer", "unknown"), BTreeSet::new());
    let said = check.tasks("reader").into_iter().find(|task| task.id == "toy/Use it elsewhere").unwrap().summary;
    assert_eq!(said, "unknown until `writer` has created `APP_PASSWORD`");
    assert!(!has(&two.writer, "etc/kept") && !has(&two.reader, "root/apart"));

    // One at a time: the writer goes first, though the reader stands first.
    let deploy = two.project.json(&["deploy", "--forks", "1"]);
    deploy.assert_code(0);
    let certain = check.ids("reader", "changed");
    let changed = deploy.ids("reader", "changed");
    assert!(certain.is_subset(&changed) && changed.is_subset(&certain.union(&unknown).cloned().collect()), "{changed:?}");
    assert_eq!(check.ids("writer", "changed"), deploy.ids("writer", "changed"));
    for host in ["reader", "writer"] {
        assert_eq!(deploy.host(host)["unpredicted"], serde_json::json!([]));
    }
    let password = two.password();
    assert_eq!(password.len(), 32);
    assert_eq!(got(&two.writer, "root/here"), format!("{password}\n"));
    for path in ["root/there", "root/told", "root/followed"] {
        assert_eq!(got(&two.reader, path), format!("URL=db://app:{password}@writer\n"));
    }
    assert!(!has(&two.reader, "etc/kept") && !has(&two.reader, "etc/app"));

    let again = two.project.json(&["deploy", "--detailed-exitcode"]);
    again.assert_code(0);
    assert_eq!((&again.host("reader")["round_trips"], &again.host("writer")["round_trips"]), (&1.into(), &1.into()));
}

#[test]
fn what_happened_on_the_reader_while_it_waited_is_seen() {
    let mut two = two();
    two.writer = two.writer.with_gates();
    let gated =
        ROLE.replace("cmd: \"false\", creates: /root/never", "cmd: gate here && touch /root/passed, creates: /root/passed");
    two.project.write("roles/toy/role.yml", &gated);
    two.writer.shut("here");
    let deploy = two.project.start(&["deploy", "--output", "json", "-e", "gated=true"]);
    two.writer.await_at("here");
    put(&two.reader, "root/apart", "x\n", 0o644);
    two.writer.open("here");
    let deploy = deploy.end();
    deploy.assert_code(0);
    assert_eq!(deploy.ids("reader", "ok"), ids(&["Have nothing to do with it", "sshd listens"]), "{}", deploy.stdout);
}

#[test]
fn a_reader_alone_reads_from_where_the_secret_lives_and_leaves_no_trace_of_it() {
    let two = two();
    put(&two.writer, "etc/kept/here.env", "# mine\nAPP_PASSWORD=l3nt-Password/:@%\n", 0o600);
    let run = |arguments: &[&str]| {
        fs::create_dir_all(two.project.path("tmp")).unwrap();
        let mut command: Command = two.project.command(arguments);
        command.env("TMPDIR", two.project.path("tmp")).env("AUTOBOT_PROVISION_LOG", "trace");
        RunResult::new(arguments, &command.output().unwrap())
    };
    let runs = [
        run(&["deploy", "--limit", "reader", "--check", "--diff", "-vvv"]),
        run(&["deploy", "--limit", "reader", "--diff", "-vvv"]),
        run(&["deploy", "--limit", "reader", "--detailed-exitcode", "--output", "json"]),
    ];
    let needles = Needles::new(&[("the password", "l3nt-Password/:@%")]);
    for ran in &runs {
        ran.assert_code(0);
        needles.assert_not_within(&format!("{:?}", ran.arguments), &ran.said());
    }
    assert_eq!(got(&two.reader, "root/there"), "URL=db://app:l3nt-Password%2F%3A%40%25@writer\n");
    assert!(!has(&two.writer, "root/apart"), "the writer was only read");
    assert_eq!(needles.files_below(&two.project.path("")), BTreeSet::new(), "on the controller's disk");
    // Whoever changes it there changes it here.
    put(&two.writer, "etc/kept/here.env", "APP_PASSWORD=an0ther-Password\n", 0o600);
    run(&["deploy", "--limit", "reader"]).assert_code(0);
    assert_eq!(got(&two.reader, "root/there"), "URL=db://app:an0ther-Password@writer\n");
}

#[test]
fn a_reader_alone_says_what_is_wrong_with_the_writer_and_changes_nothing() {
    let two = two();
    let refused = |what: &str| {
        let (check, deploy) =
            (two.project.json(&["deploy", "--limit", "reader", "--check"]), two.project.json(&["deploy", "--limit", "reader"]));
        check.assert_code(1);
        deploy.assert_code(1);
        let words = deploy.failure("reader");
        assert_eq!(check.failure("reader"), words);
        assert!(words.contains(what), "{words}");
        assert!(!has(&two.reader, "root/apart"));
    };
    refused("`APP_PASSWORD` is not in `/etc/kept/here.env` of `writer`, where it lives: deploy the role `toy` on `writer` first");
    put(&two.writer, "etc/kept/here.env", "APP_PASSWORD=cut-off-in-the-mid", 0o600);
    refused("`APP_PASSWORD` of `writer`: `/etc/kept/here.env` cannot be trusted: the last line has no line end");
    let health = two.project.run(&["health", "--limit", "reader"]);
    assert!(!health.assert_code(0).stderr.contains("writer"), "health needs none of it: {}", health.stderr);
    two.writer.sh("systemctl stop ssh.socket ssh.service 2>/dev/null; ! ss -Hlnt 'sport = :22' | grep -q .");
    refused("`APP_PASSWORD` lives on `writer`: ");
    two.project.run(&["health", "--limit", "reader"]).assert_code(0);
}

#[test]
fn a_writer_that_is_going_to_fail_is_known_to_the_reader_before_either_begins() {
    let two = two();
    let doomed = "  - name: Cannot be\n    assert: {that: inventory_hostname != keeper, fail_msg: not here}\n";
    two.project.write("roles/toy/role.yml", &ROLE.replace("handlers:\n", &format!("{doomed}handlers:\n")));
    for arguments in [&["deploy", "--check"][..], &["deploy"]] {
        let ran = two.project.json(arguments);
        ran.assert_code(1);
        assert_eq!(ran.failure("writer"), "not here");
        assert_eq!(ran.failure("reader"), "`APP_PASSWORD` lives on `writer`, whose deploy fails");
        assert!(!has(&two.writer, "root/here") && !has(&two.reader, "root/apart"));
    }
}

#[test]
fn a_value_from_outside_reaches_the_reader_once_the_writer_has_it() {
    let two = two();
    two.project
        .write("host_vars/writer.yml", "secrets_file: /etc/kept/here.env\nautobot_secrets: {APP_PASSWORD: {env: APP_PW}}\n");
    let run = |password: &str, arguments: &[&str]| {
        let arguments = [arguments, &["--output", "json"]].concat();
        RunResult::new(&arguments, &two.project.command(&arguments).env("APP_PW", password).output().unwrap())
    };
    run("0utside-password-one", &["deploy"]).assert_code(0);
    assert_eq!(got(&two.reader, "root/there"), "URL=db://app:0utside-password-one@writer\n");
    // Another value: until the writer has it, the reader may not use it; together they go over to it.
    for arguments in [&["deploy", "--limit", "reader", "--check"][..], &["deploy", "--limit", "reader"]] {
        let ran = run("0utside-password-two", arguments);
        ran.assert_code(1);
        let words = ran.failure("reader");
        assert!(
            words.starts_with("`APP_PASSWORD` has another value on `writer`, where it lives, than in its outside source"),
            "{words}"
        );
    }
    assert_eq!(got(&two.reader, "root/there"), "URL=db://app:0utside-password-one@writer\n");
    let check = run("0utside-password-two", &["deploy", "--check"]);
    let deploy = run("0utside-password-two", &["deploy"]);
    deploy.assert_code(0);
    for host in ["reader", "writer"] {
        assert_eq!(check.ids(host, "changed"), deploy.ids(host, "changed"));
    }
    assert_eq!(two.password(), "0utside-password-two");
    assert_eq!(got(&two.reader, "root/there"), "URL=db://app:0utside-password-two@writer\n");
    run("0utside-password-two", &["deploy", "--limit", "reader", "--detailed-exitcode"]).assert_code(0);
}

#[test]
fn when_the_writer_fails_the_reader_has_changed_nothing() {
    let two = two();
    let deploy = two.project.json(&["deploy", "-e", "gated=true"]);
    deploy.assert_code(1);
    assert!(has(&two.writer, "root/here"), "{}", deploy.stdout);
    assert_eq!(deploy.failure("reader"), "`APP_PASSWORD` lives on `writer`, whose deploy failed");
    assert!(!has(&two.reader, "root/apart"));
    // What was made is kept, and the next run goes on with it.
    let password = two.password();
    two.project.run(&["deploy"]).assert_code(0);
    assert_eq!(got(&two.reader, "root/there"), format!("URL=db://app:{password}@writer\n"));
}
