//! Hosts that do not answer: listeners on this machine that say nothing.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, TcpListener},
    process::Command,
};

use tempfile::TempDir;

use super::{parts, program, project};

/// A project with hosts that say nothing, and one, the last, that refuses the connection. The limit for connecting is three seconds.
fn sample(silent: usize) -> (TempDir, Vec<TcpListener>) {
    let project = project(super::ROLE);
    let listener = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listeners: Vec<TcpListener> = (0..silent).map(|_| listener()).collect();
    let mut inventory = "all:\n  vars: {autobot_roles: [toy], ansible_host: 127.0.0.1}\n  hosts:\n".to_owned();
    let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port());
    for (number, port) in ports.chain([listener().local_addr().unwrap().port()]).enumerate() {
        let _ = writeln!(inventory, "    host{number:02}: {{ansible_port: {port}}}");
    }
    fs::write(project.path().join("inventory/nodes.yml"), inventory).unwrap();
    (project, listeners)
}

const CHECK: [&str; 7] = ["deploy", "--check", "--connect-timeout", "3s", "--ssh-common-args=-F none", "-o", "json"];

/// Returns the exit code, and each host with its status and its error.
fn ends(command: &mut Command) -> (Option<i32>, Vec<(String, String, String)>) {
    let (code, text, errors) = parts(&command.output().unwrap());
    let result: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{errors}"));
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let hosts = result["hosts"].as_object().unwrap();
    (code, hosts.iter().map(|(host, end)| (host.clone(), word(&end["status"]), word(&end["error"]))).collect())
}

#[test]
fn a_host_that_does_not_answer_lets_another_begin_in_its_place() {
    let (project, _listeners) = sample(1);
    let (code, text, errors) = parts(&program(&CHECK[..5]).args(["--forks", "1"]).current_dir(project.path()).output().unwrap());
    assert_eq!(code, Some(3), "{text}{errors}");
    let ended = ["host01: unreachable", "host00: unreachable"].map(|line| text.find(line));
    assert!(ended[0].is_some() && ended[0] < ended[1], "{text}");
}

#[test]
fn a_run_takes_as_many_files_as_it_may_and_says_when_they_run_out() {
    let (project, _listeners) = sample(20);
    let limited = |limit: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_autobot-provision")]);
        ends(command.args(CHECK).args(["--forks", "21"]).env_clear().current_dir(project.path()))
    };
    let (code, raised) = limited("-Sn 60");
    assert_eq!(code, Some(3));
    assert!(raised.iter().all(|(_, status, _)| status == "unreachable"), "{raised:?}");
    let (code, out) = limited("-n 60");
    assert_eq!(code, Some(1));
    let failed: Vec<&str> = out.iter().filter(|(_, status, _)| status == "failed").map(|(_, _, error)| error.as_str()).collect();
    assert!(!failed.is_empty(), "{out:?}");
    let help = "Too many open files (os error 24); raise the limit of open files (`ulimit -n`), or work on fewer hosts at once (`--forks`)";
    assert!(failed.iter().all(|error| error.ends_with(help)), "{failed:?}");
}
