//! The second run asks one round of questions, changes nothing, and disturbs no service of the node.

use std::time::Instant;

use serde_json::json;

use crate::{
    harness::{Project, TestNode, eventually},
    truth::settle,
};

/// The round trips of a run in which nothing changes: one round of questions for everything.
const ROUND_TRIPS: u32 = 1;

/// What such a run sends at most, in bytes. Two runs differ in their random words, which pack differently.
const BYTES_SENT: u64 = 17_000;
const RANDOM_BYTES: u64 = 150;

/// How many processes such a run starts on the node at most, from its sshd down: 72 to 74 on a busy machine. A run that takes longer needs one more for each
/// heartbeat and each nap of its watcher, and the node's services start some of their own.
const PROCESSES: u64 = 76;
const PROCESSES_A_SECOND: u64 = 2;

#[test]
fn the_second_run_is_one_round_of_questions_restarts_nothing_writes_nothing_and_needs_to_write_nothing() {
    let node = TestNode::converged();
    settle(&node);
    let project = Project::shipped(&[("database_vm", &node, "")]);
    let psql = |sql: &str| node.try_sh(&format!("cd /; runuser -u postgres -- psql -qXAt -v ON_ERROR_STOP=1 -c '{sql}'"));
    eventually("PostgreSQL answers", 30, || psql("select 1").status.success());
    // A server that refuses writes would not be as declared: it says in its log what is written.
    assert!(psql("alter system set log_statement = mod").status.success());
    assert!(psql("select pg_reload_conf()").status.success());
    let written = || node.sh("cat /var/log/postgresql/*-main.log").lines().filter(|line| line.contains("statement:")).count();
    eventually("PostgreSQL logs what is written", 30, || {
        assert!(psql("create temporary table nothing ()").status.success());
        written() > 0
    });
    let written_before = written();

    let servers = || {
        node.sh("for unit in autobot-database-redis postgresql@15-main; do
  pid=$(systemctl show -P MainPID $unit)
  printf '%s %s %s ' $unit \"$pid\" \"$(systemctl show -P ActiveEnterTimestampMonotonic $unit)\"
  cut -d' ' -f22 \"/proc/$pid/stat\"
done")
    };
    let before = servers();
    node.sh("touch /root/marker");
    let runs = [(); 2].map(|()| project.json(&["deploy", "--detailed-exitcode"]));
    for run in &runs {
        run.assert_code(0);
        let host = run.host("database_vm");
        assert_eq!(
            (&host["status"], &host["unpredicted"], &host["round_trips"]),
            (&json!("ok"), &json!([]), &json!(ROUND_TRIPS))
        );
        let all = run.tasks("database_vm");
        assert!(all.iter().all(|task| ["ok", "skipped"].contains(&task.status.as_str())), "{all:#?}");
    }
    let sent = runs.each_ref().map(|run| run.host("database_vm")["bytes_sent"].as_u64().unwrap());
    assert!(sent[0].abs_diff(sent[1]) <= RANDOM_BYTES && sent[0] <= BYTES_SENT, "{sent:?}");
    // The best of some runs: what the node's services start meanwhile is theirs.
    let processes = [(); 3].map(|()| {
        let (began, last) = (Instant::now(), node.sh("echo $$"));
        project.json(&["deploy", "--no-persist"]).assert_code(0);
        let now: u64 = node.sh("echo $$").parse().unwrap();
        // Those of the second shell, too.
        let started = now - last.parse::<u64>().unwrap();
        started.saturating_sub(PROCESSES_A_SECOND * began.elapsed().as_secs())
    });
    assert!(processes.iter().min().is_some_and(|fewest| (20..=PROCESSES).contains(fewest)), "{processes:?}");
    assert_eq!(servers(), before);
    assert_eq!(node.sh("find /etc /opt /usr /var/lib/autobot-provision -newer /root/marker"), "");
    // The command line of seed 000.
    let part = project.json(&["deploy", "--tags", "redis,postgresql", "--limit", "database_vm", "--detailed-exitcode"]);
    part.assert_code(0);
    let ids = part.ids("database_vm", "ok");
    assert!(ids.contains("redis/Start Redis") && ids.contains("redis/Create the users database"), "{ids:?}");
    assert_eq!(written(), written_before, "PostgreSQL was told to write");
}
