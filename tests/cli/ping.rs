//! `ping` without a node.

use std::{
    fs,
    process::{Command, Stdio},
};

use super::{ROLE, project, run, run_in};

#[test]
fn a_ping_of_the_wrong_hosts_contacts_none() {
    let project = project(ROLE);
    let (code, text, errors) = run_in(project.path(), &["ping", "baer"]);
    assert_eq!((code, text.as_str()), (Some(4), ""));
    assert!(errors.contains("baer") && errors.contains("did you mean `bear`?"), "{errors}");
    let (code, text, errors) = run(&["ping", "-i", "/dev/null", "-o", "json"]);
    assert_eq!((code, errors.as_str()), (Some(4), ""), "{text}");
    assert!(text.contains("the inventory has no hosts"), "{text}");
    let (code, _, errors) = run_in(project.path(), &["ping", "bear", "-e", "ansible_port=none"]);
    assert_eq!(code, Some(4));
    assert!(errors.contains("ansible_port"), "{errors}");
}

#[test]
fn an_error_in_what_ping_is_given_has_a_place_only_in_an_option() {
    let project = project(ROLE);
    let errors = |arguments: &[&str]| run_in(project.path(), arguments).2;
    insta::assert_snapshot!([
        errors(&["ping", "localhost"]), errors(&["ping", "nobody"]), errors(&["ping", "--limit", "nobody"]),
        errors(&["ping", "bear", "-e", "web_port:8081"]), errors(&["ping", "bear", "-e", "password:hunter2"]),
    ].join("--\n"), @r#"
    error: no host or group matches `localhost`
     |
     = help: this machine is a host like any other: `ping -i localhost, -c local`

    1 error
    --
    error: no host or group matches `nobody`
     |
     = help: `inventory list` shows the hosts; `ping -i HOST,` takes one that is in no inventory

    1 error
    --
    error: no host or group matches `nobody`
     --> --limit:1:1
      |
    1 | nobody
      | ^^^^^^
      |
      = help: `inventory list` shows the hosts; `ping -i HOST,` takes one that is in no inventory

    1 error
    --
    error: `-e` takes `name=value`, `@file.yml` or `{"name": …}`
     --> -e:1:1
      |
    1 | web_port:8081
      | ^^^^^^^^^^^^^
      |
      = help: write `-e web_port=8081`

    1 error
    --
    error: `-e` takes `name=value`, `@file.yml` or `{"name": …}`
     --> -e:1:1
      |
    1 | password:hunter2
      | ^^^^^^^^^^^^^^^^
      |
      = help: write `-e password=VALUE`

    1 error
    "#);
}

#[test]
fn a_ping_on_a_terminal_shows_whom_it_waits_for() {
    let project = project(ROLE);
    // Nothing listens on that port.
    let inventory = "plain: {hosts: {solo: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n";
    fs::write(project.path().join("inventory/nodes.yml"), inventory).unwrap();
    let command = format!("{} ping", env!("CARGO_BIN_EXE_autobot-provision"));
    let mut script = Command::new("/usr/bin/script");
    script.args(["-qec", &command, "/dev/null"]).env_clear().env("TERM", "dumb");
    let output = script.current_dir(project.path()).stdin(Stdio::null()).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("\r\x1b[Ksolo: ping 0"), "{shown:?}");
    assert!(!run_in(project.path(), &["ping"]).2.contains("solo: ping"));
}

#[test]
fn a_job_is_not_called_missing_while_a_host_does_not_answer() {
    let project = project(ROLE);
    for command in ["attach", "cancel"] {
        let (code, text, errors) = run_in(project.path(), &[command, "r1", "-i", "127.0.0.1,", "-e", "ansible_port=1"]);
        assert_eq!((code, text.as_str()), (Some(3), ""), "{errors}");
        assert!(errors.contains("127.0.0.1") && !errors.contains("no job"), "{errors}");
    }
}
