//! A long operation shows its progress, and when it is interrupted, what it has done.

use std::{
    fs::{self, File},
    io::Write as _,
    process::Stdio,
};

use serde_json::json;

use crate::{
    harness::{TestNode, eventually},
    redis_ops::{HOST, cli, project, terminal},
};

const KEYS: u64 = 300_000;
const CLEANUP: [&str; 5] = ["redis", "cleanup", "analytics", "--older-than", "4w"];

fn count_keys(node: &TestNode) -> u64 {
    cli(node, "SELECT 3\nDBSIZE\n").lines().last().unwrap().strip_prefix("(integer) ").unwrap().parse().unwrap()
}

/// Stops the Redis process as soon as the first keys are deleted.
fn stop_at_the_first_deletion(node: &TestNode) {
    node.sh(
        "cat >/root/stop <<'END'\n. /etc/autobot/database-secrets.env; export REDISCLI_AUTH=$REDIS_PASSWORD
         count() { /opt/redis-stack/bin/redis-cli -n 3 dbsize; }
         before=$(count); touch /run/counting
         while [ \"$(count)\" = \"$before\" ]; do :; done; systemctl kill --signal=STOP autobot-database-redis; touch /run/stopped\nEND
         rm -f /run/counting /run/stopped; systemd-run --quiet --collect --unit=stop sh /root/stop",
    );
    eventually("the keys are counted", 20, || node.try_sh("test -e /run/counting").status.success());
}

fn await_stop(node: &TestNode) {
    eventually("Redis is stopped", 60, || node.try_sh("test -e /run/stopped").status.success());
}

/// Lets Redis continue. Asserts that the confirmed keys are gone, and perhaps a batch in progress. Returns the number of keys left.
#[track_caller]
fn assert_confirmed(node: &TestNode, before: u64, confirmed: u64) -> u64 {
    node.sh("systemctl kill --signal=CONT autobot-database-redis");
    let left = count_keys(node);
    let gone = before - left;
    assert!(0 < confirmed && confirmed <= gone && gone <= confirmed + 2_000, "{confirmed} of {gone}");
    left
}

#[test]
fn a_long_look_shows_how_far_it_is_and_an_interrupted_cleanup_what_it_deleted() {
    let node = TestNode::converged();
    let project = project(&node);
    cli(&node, &format!("SELECT 3\nEVAL \"for i=1,{KEYS} do redis.call('SET', 'usage:2024-01-01:' .. i, 'x') end\" 0\n"));

    // On a terminal a progress line is kept up to date and finally erased. Redis is paused so that the line appears.
    cli(&node, "CLIENT PAUSE 3000 ALL\n");
    let on_a_terminal = |arguments: &[&str]| {
        let output = terminal(&project, &[&["redis", "databases", "--sample", "0"], arguments].concat()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = on_a_terminal(&[]);
    let (line, table) = shown.rsplit_once("\r\x1b[K").unwrap_or_else(|| panic!("no line: {shown:?}"));
    assert!(line.ends_with(&format!(" % of {KEYS} keys looked at")) && line.starts_with("database_vm: "), "{shown:?}");
    assert!(table.contains("300000") && !table.contains("looked at"), "{shown:?}");
    // With JSON output or without a terminal there is no progress line.
    cli(&node, "CLIENT PAUSE 3000 ALL\n");
    assert!(on_a_terminal(&["--output", "json"]).starts_with("{\r\n"));
    cli(&node, "CLIENT PAUSE 3000 ALL\n");
    assert_eq!(project.run(&["redis", "databases", "--sample", "0"]).assert_code(0).stderr, "");

    // A cleanup on a terminal, and Ctrl-C.
    stop_at_the_first_deletion(&node);
    let typescript = project.path("typescript");
    let mut script =
        terminal(&project, &CLEANUP).stdin(Stdio::piped()).stdout(File::create(&typescript).unwrap()).spawn().unwrap();
    await_stop(&node);
    eventually("the line is there", 20, || {
        let shown = fs::read_to_string(&typescript).unwrap();
        shown.contains(&format!(" % of {KEYS} keys looked at, ")) && shown.ends_with(" deleted")
    });
    script.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let code = script.wait().unwrap().code();
    let shown = fs::read_to_string(&typescript).unwrap();
    assert_eq!(code, Some(130), "{shown:?}");
    let (_, last) = shown.rsplit_once("\r\x1b[K").unwrap();
    let confirmed =
        last.split_once("confirmed as deleted by then: ").and_then(|(_, rest)| rest.split_once(" keys of database_vm; "));
    let confirmed = confirmed.unwrap_or_else(|| panic!("{shown:?}")).0.parse().unwrap();
    let rest = assert_confirmed(&node, KEYS, confirmed);
    node.await_end_of_runs();

    // An interrupted cleanup with JSON output.
    stop_at_the_first_deletion(&node);
    let cleanup = project.start(&[&CLEANUP[..], &["--output", "json"]].concat());
    await_stop(&node);
    cleanup.signal("INT");
    let ended = cleanup.end();
    ended.assert_code(130);
    assert_eq!((ended.stderr.as_str(), &ended.json()["interrupted"]), ("", &json!(true)));
    let host = ended.host(HOST);
    assert_eq!(host["status"], "interrupted");
    let rest = assert_confirmed(&node, rest, host["deleted"].as_u64().unwrap());
    node.await_end_of_runs();

    // The same command deletes the rest.
    let ended = project.json(&CLEANUP);
    ended.assert_code(0);
    assert_eq!((ended.host(HOST)["deleted"].as_u64(), ended.stderr.as_str(), count_keys(&node)), (Some(rest), "", 0));
}
