//! `health` on real nodes: what it finds on one that works, and how it reports what does not work.

use crate::harness::{Project, RunResult, TestNode, eventually};

const REDIS: &str = "redis/Redis accepts its password and refuses anonymous clients";
const STRANGERS: &str = "node/Nothing listens that should not";

/// Returns the status of one item of `health`, and what was found or is wrong.
#[track_caller]
fn item(ran: &RunResult, id: &str) -> (String, String) {
    let tasks = ran.tasks("database_vm");
    let task = tasks.iter().find(|task| task.id == id).unwrap_or_else(|| panic!("no {id}: {tasks:#?}\n{}", ran.stderr));
    (task.status.clone(), format!("{}{}", task.summary, task.error))
}

/// Runs a command in redis-cli with the password from the secrets file.
fn redis(node: &TestNode, command: &str) -> String {
    node.sh(&format!(
        "REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env) /opt/redis-stack/bin/redis-cli {command}"
    ))
}

#[test]
fn a_node_that_works_is_a_table_of_what_was_found() {
    let node = TestNode::converged();
    // An unreachable host is a row like any other, and does not keep the others from being shown.
    let project = Project::shipped(&[("database_vm", &node, ""), ("gone", &node, "ansible_port: 1")]);
    eventually("everything is up", 60, || project.run(&["health", "--limit", "database_vm"]).code == Some(0));

    let table = project.run(&["health", "--connect-timeout", "2s"]);
    table.assert_code(3);
    assert!(!table.stdout.contains('\x1b'), "{}", table.stdout);
    // The widths of the columns are tested with the table itself.
    let lines: Vec<String> = table.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(lines[0] == "HOST ROLE CHECK STATE FOUND", "{}", table.stdout);
    let row = |words: &[&str]| {
        let row = lines.iter().find(|line| words.iter().all(|word| line.contains(word)));
        assert!(row.is_some(), "no row with {words:?}:\n{}", table.stdout);
    };
    row(&[
        "database_vm redis Redis accepts its password",
        " ok ",
        "PONG, NOAUTH without password; saved ",
        " ago",
        "; AOF on, last write ok",
    ]);
    row(&["database_vm redis The users database exists", " ok ", "accepts writes, UTF8, owner `autobot_users`"]);
    row(&["database_vm redis Redis listens on the declared addresses only", " ok ", "0.0.0.0:6379, [::]:6379"]);
    row(&["database_vm redis PostgreSQL listens on the declared addresses only", " ok ", "127.0.0.1:5432"]);
    row(&["database_vm postgresql_server The PostgreSQL cluster runs the installed program", " ok"]);
    row(&["database_vm postgresql_server PostgreSQL starts at boot", " ok"]);
    row(&["database_vm postgresql_server PostgreSQL goes by its files, and asks for passwords", " ok"]);
    row(&["database_vm redis Redis is up, and starts at boot", " ok"]);
    row(&["database_vm redis Redis runs the installed program", " ok"]);
    row(&["database_vm redis The firewall is on, and lets nothing in that no rule allows", " ok"]);
    row(&["database_vm redis The firewall lets only the fleet reach Redis", " ok"]);
    row(&["database_vm redis The RedisInsight port is closed", " ok ", "closed"]);
    row(&["database_vm - Nothing listens that should not", " ok ", "open beyond loopback: 22, 6379"]);
    row(&["gone - -", " unreachable ", ":1` does not answer"]);
    assert!(lines.iter().any(|line| line.starts_with("database_vm 14 ok in ")), "{}", table.stdout);

    let limited = ["health", "--limit", "database_vm"];
    let json = project.json(&limited);
    json.assert_code(0);
    assert_eq!((&json.json()["mode"], &json.host("database_vm")["round_trips"]), (&"health".into(), &1.into()));
    assert_eq!(json.json()["summary"]["ok"], 14);
    let exercised = project.json(&["health", "--limit", "database_vm", "--exercise"]);
    exercised.assert_code(0);
    assert_eq!(exercised.ids("database_vm", "ok").len(), 16, "{}", exercised.stdout);
    // A run of only some tags cannot know which listeners are strangers.
    let part = project.json(&["health", "--limit", "database_vm", "--tags", "postgresql"]);
    part.assert_code(0);
    assert_eq!(item(&part, STRANGERS).0, "skipped");
}

#[test]
fn what_is_open_is_compared_with_what_is_declared() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("database_vm", &node, "")]);
    eventually("everything is up", 60, || project.run(&["health"]).code == Some(0));

    // An undeclared listener that is reachable from outside is named with its process and unit.
    node.sh("systemd-run -q --unit=stranger perl -MIO::Socket::INET -e '@s = IO::Socket::INET->new(LocalAddr => \"0.0.0.0\", LocalPort => 4444, Listen => 1) or die; sleep'");
    node.sh("printf '[Socket]\\nListenStream=127.0.0.1:4445\\n' >/run/systemd/system/inner.socket; printf '[Service]\\nExecStart=/bin/true\\n' >/run/systemd/system/inner.service; systemctl daemon-reload; systemctl start inner.socket");
    let mut open = project.json(&["health"]);
    eventually("the stranger listens", 20, || {
        open = project.json(&["health"]);
        open.code == Some(1)
    });
    let (status, why) = item(&open, STRANGERS);
    assert_eq!(status, "failed");
    assert!(why.contains("`perl` (pid ") && why.contains(", stranger.service) listens on 0.0.0.0:4444"), "{why}");
    assert!(!why.contains("4445") && !why.contains("6379"), "loopback is nobody's business: {why}");
    // A deploy looks only at what the roles declare.
    project.json(&["deploy"]).assert_code(0);
    for allowed in ["listening_allowed=4444", "{\"listening_allowed\": [9100, \"4000-4500\"]}"] {
        let allowed = project.json(&["health", "-e", allowed]);
        allowed.assert_code(0);
        assert_eq!(item(&allowed, STRANGERS), ("ok".into(), "open beyond loopback: 22, 4444, 6379".into()));
        assert!(!allowed.stderr.contains("nothing declares"), "{}", allowed.stderr);
    }
    let wrong = project.run(&["health", "-e", "listening_allowed=http"]);
    assert!(wrong.assert_code(4).stderr.contains("`http` is neither a port such as 9100 nor a range"), "{}", wrong.stderr);
    node.sh("systemctl stop stranger inner.socket");

    // Declared listeners that are open to more than was declared.
    node.sh("printf '[Socket]\\nListenStream=127.0.0.1:8001\\n' >/run/systemd/system/insight.socket; cp /run/systemd/system/inner.service /run/systemd/system/insight.service; systemctl daemon-reload; systemctl start insight.socket");
    node.sh("echo \"listen_addresses = '*'\" >/etc/postgresql/15/main/conf.d/99-wide.conf; systemctl restart postgresql@15-main");
    let wide = project.json(&["health"]);
    wide.assert_code(1);
    let (_, why) = item(&wide, "redis/PostgreSQL listens on the declared addresses only");
    assert_eq!(why, "listens on 0.0.0.0:5432 and [::]:5432, but loopback is declared");
    let (_, why) = item(&wide, "redis/The RedisInsight port is closed");
    assert_eq!(why, "127.0.0.1:8001 is declared closed, but `systemd` (pid 1, init.scope) listens there");
    node.sh("systemctl stop insight.socket postgresql@15-main");
    let (_, why) = item(&project.json(&["health"]), "redis/PostgreSQL listens on the declared addresses only");
    assert_eq!(why, "nothing listens on port 5432");
}

#[test]
fn a_redis_that_does_not_keep_its_data_or_its_password_is_unhealthy() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("database_vm", &node, "")]);
    eventually("everything is up", 60, || project.run(&["health"]).code == Some(0));
    let redis_item = || item(&project.json(&["health"]), REDIS);

    redis(&node, "set a 1");
    let (status, found) = redis_item();
    assert!(status == "ok" && found.contains(" since; AOF on"), "{found}");

    // Redis writes a snapshot to a new file before it replaces the old one.
    node.sh("chown root /opt/autobot/data/redis; chmod 0555 /opt/autobot/data/redis");
    redis(&node, "bgsave");
    eventually("the snapshot failed", 20, || redis_item().1.contains("rdb_last_bgsave_status is err"));
    let (status, why) = redis_item();
    assert!(status == "failed" && why.contains("MISCONF"), "{why}");
    redis(&node, "bgrewriteaof");
    eventually("the rewrite failed", 20, || redis_item().1.contains("aof_last_bgrewrite_status is err"));
    node.sh("chown redis /opt/autobot/data/redis; chmod 0750 /opt/autobot/data/redis");
    redis(&node, "bgsave");
    eventually("the snapshot works", 20, || !redis_item().1.contains("bgsave"));
    redis(&node, "bgrewriteaof");
    eventually("all is well", 20, || redis_item().0 == "ok");
    assert!(redis_item().1.contains("saved "), "{}", redis_item().1);

    // Changed on the running server only: another password, and then none.
    redis(&node, "config set requirepass other");
    let (status, why) = redis_item();
    assert!(status == "failed" && why.contains("does not accept the password `REDIS_PASSWORD`"), "{why}");
    node.sh("REDISCLI_AUTH=other /opt/redis-stack/bin/redis-cli config set requirepass ''");
    assert!(redis_item().1.contains("it answers without a password: PING returned `PONG`"), "{}", redis_item().1);
}
