//! `redis …` on a node with the role's Redis: it shows the keys and the server, and deletes only old keys.

use std::{collections::BTreeSet, fmt::Write as _, fs, process::Command};

use serde_json::{Value, json};

use crate::{
    harness::{Project, RunResult, TestNode, eventually},
    secrets::search::{Needles, Sampler},
};

pub const HOST: &str = "database_vm";

pub fn project(node: &TestNode) -> Project {
    Project::shipped(&[(HOST, node, "")])
}

/// Runs commands in redis-cli on the node, one per line; none may fail. Returns its output.
pub fn cli(node: &TestNode, commands: &str) -> String {
    cli_at(node, 6379, commands)
}

fn cli_at(node: &TestNode, port: u16, commands: &str) -> String {
    let file = node.root.join("root/commands");
    fs::write(&file, commands).unwrap();
    let output = node.sh(&format!(
        ". /etc/autobot/database-secrets.env; export REDISCLI_AUTH=$REDIS_PASSWORD
         /opt/redis-stack/bin/redis-cli -p {port} --no-raw </root/commands"
    ));
    fs::remove_file(file).unwrap();
    assert!(!output.contains("(error)"), "{output}");
    output
}

/// Runs `redis …` with JSON output; it must succeed. Returns the result of the host.
#[track_caller]
fn run_json(project: &Project, arguments: &[&str]) -> Value {
    let ran = project.json(&[&["redis"], arguments].concat());
    ran.assert_code(0);
    ran.host(HOST)
}

/// Keys of the newer layout as applications write them, and some that do not belong.
const FILLED: &str = r#"SELECT 0
HSET session:abc123 user_id u1 metadata {}
EXPIRE session:abc123 86400
HSET session:forgotten user_id u2
SET cache:api:health:default {} EX 300
RPUSH queue:workflows {}
SET ratelimit:u1:/api/chat 3 EX 60
SET "stray\n\x1b[2Jkey:1" x
SET "\xff\x00\xfe" x
SET "" x
SET fact:lost x
EVAL "return redis.call('SET', string.rep('k', 1048576), 'x')" 0
SELECT 1
HSET llama_index/vector_store/default/doc_1 embedding "\x00\x01" text x
HSET fact:f001 content x
ZADD index:documents 1 doc_1
SELECT 3
HSET usage:2025-01-15:user_001 requests 1
SET counter:requests:1hour 5 EX 3600
SELECT 7
SET orphan 1
SELECT 0
FT.CREATE vectors ON HASH PREFIX 1 llama_index/vector_store/default SCHEMA text TEXT
"#;

#[test]
fn databases_are_shown_by_the_schema_and_violations_are_marked() {
    let node = TestNode::converged();
    let project = project(&node);
    cli(&node, FILLED);

    let text = project.run(&["redis", "databases", HOST, "--detailed-exitcode"]);
    text.assert_code(2);
    insta::with_settings!({filters => vec![(r" ( *)~\d+[^ ]*( \d+\w|  ?[KM]?i?B)?", " ~…")]}, {
        insta::assert_snapshot!(text.stdout, @r"
        database_vm
          db  name, patterns     keys  with TTL  no TTL  mean TTL  memory
          0   main                 10         3       7 ~…
                session:*           2         1       1 ~… ~…
                cache:*             1         1       0 ~… ~…
                queue:*             1         0       1 ~…
                ratelimit:*         1         1       0 ~… ~…
                (unknown)           4         0       4 ~…
          1   knowledge             3         0       3 ~…
                llama_index/*       1         0       1 ~…
                fact:*              1         0       1 ~…
                index:documents     1         0       1 ~…
          2   prompts               0         0       0 ~…
          3   analytics             2         1       1 ~…
                usage:*             1         0       1 ~…
                counter:*           1         1       0 ~… ~…
          7   (no name)             1         0       1 ~…
                (unknown)           1         0       1 ~…
          index `vectors` of `llama_index/vector_store/default*`: 0 documents
          ! main: 1 key of `session:*` never expires, such as `session:forgotten`
          ! main: 2 keys fit no pattern of the schema, such as ``, `\xff\x00\xfe`
          ! main: 1 key `fact:…` fits no pattern of the schema: `fact:lost`; `fact:*` belongs in knowledge
          ! main: 1 key `stray\n\x1b[2Jkey:…` fits no pattern of the schema: `stray\n\x1b[2Jkey:1`
          ! main: 1 key longer than 64 KiB
          ! knowledge: 1 key with vectors: `llama_index/vector_store/default/doc_1`: RediSearch indexes database 0 only, so no search finds them, whatever the schema says
          ! knowledge: the index `vectors` of database 0 also tracks such keys when they are written here, but finds them empty
          ! database 7 contains 1 key and has no name in redis_database_names
        ");
    });
    // On a terminal no line is wider than the terminal, and no key can send it control sequences.
    let shown = on_a_terminal(&project, &["redis", "databases"]);
    assert!(shown.contains("sess") && shown.lines().all(|line| plain(line).chars().count() <= 80), "{shown}");
    assert!(!shown.contains("\x1b[2J"), "{shown}");

    let found = run_json(&project, &["databases"]);
    let main = &found["databases"][0];
    assert_eq!(
        (&main["name"], &main["keys"], &main["expires"], &main["complete"]),
        (&json!("main"), &json!(10), &json!(3), &json!(true))
    );
    let sessions = &main["patterns"][0];
    assert_eq!((&sessions["keys"], &sessions["not_expiring"], &sessions["types"]), (&json!(2), &json!(1), &json!({"hash": 2})));
    assert!((86_300..=86_400).contains(&sessions["ttl_seconds"]["max"].as_u64().unwrap()), "{sessions}");
    assert_eq!((&main["unknown"]["keys"], &main["too_long"]), (&json!(4), &json!(1)));
    let marks = found["marks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mark| (mark["kind"].as_str().unwrap(), mark["database"].as_u64().unwrap()));
    let wanted = [
        ("no_ttl", 0),
        ("unknown_pattern", 0),
        ("too_long", 0),
        ("vectors_outside_db0", 1),
        ("index_covers_other_db", 1),
        ("unnamed_database", 7),
    ];
    assert_eq!(marks.collect::<BTreeSet<_>>(), BTreeSet::from(wanted));

    // The other layout is one setting away.
    let older = json!({"redis_database_names": {"0": "sessions", "1": "chat", "2": "knowledge_base", "3": "cache", "4": "websockets", "5": "jobs"}});
    let found = run_json(&project, &["databases", "-e", &older.to_string()]);
    let names: Vec<&str> =
        found["databases"].as_array().unwrap().iter().filter_map(|database| database["name"].as_str()).collect();
    assert_eq!(names, ["sessions", "chat", "knowledge_base", "cache", "websockets", "jobs"]);
    assert_eq!(found["databases"][0]["patterns"][0]["keys"], 2);

    // Many keys: the output says how many were left out.
    cli(&node, "SELECT 2\nEVAL \"for i=1,20000 do redis.call('SET', 'prompt:user:' .. i, 'x') end\" 0\n");
    let text = project.run(&["redis", "databases", "--sample", "5000"]);
    text.assert_code(0);
    let line = text.stdout.lines().find(|line| line.contains("sampled")).unwrap();
    assert!(line.contains("prompts: sampled 5") && line.contains(" of 20000 keys"), "{line}");
    let prompts = &run_json(&project, &["databases", "--sample", "0"])["databases"][2];
    assert_eq!(
        (&prompts["scanned"], &prompts["complete"], &prompts["patterns"][2]["keys"]),
        (&json!(20_000), &json!(true), &json!(20_000))
    );
    // On a node whose keys violate nothing the exit code is 0.
    cli(&node, "FLUSHALL\n");
    project.run(&["redis", "databases", "--detailed-exitcode"]).assert_code(0);
}

/// Returns the program's output on a terminal of 80 columns.
fn on_a_terminal(project: &Project, arguments: &[&str]) -> String {
    let output = terminal(project, arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the command that runs the program on a terminal of 80 columns.
pub fn terminal(project: &Project, arguments: &[&str]) -> Command {
    let program = project.command(arguments);
    let line = std::iter::once(program.get_program())
        .chain(program.get_args())
        .map(|word| word.to_str().unwrap())
        .collect::<Vec<_>>()
        .join(" ");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(project.path("")).env("HOME", project.path("home"));
    script.env("COLUMNS", "80").env("TERM", "xterm").env_remove("NO_COLOR");
    script
}

/// Returns a line without its colours.
fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

#[test]
fn the_server_is_shown_without_secrets() {
    let node = TestNode::converged();
    let project = project(&node);
    let password = node.sh(". /etc/autobot/database-secrets.env; printf %s \"$REDIS_PASSWORD\"");
    let session = "s3ssion-0f-somebody";
    // Every command counts as slow for a moment; a client stays connected.
    cli(
        &node,
        &format!(
            "CONFIG SET slowlog-log-slower-than 0\nAUTH default {password}\nHSET session:{session} token {session}\nGET {session}\n\
             CONFIG SET masterauth {session}\nCONFIG SET masterauth \"\"\nCONFIG SET slowlog-log-slower-than 10000\n"
        ),
    );
    node.sh(
        "cat >/root/stay <<'END'\n. /etc/autobot/database-secrets.env; export REDISCLI_AUTH=$REDIS_PASSWORD
         { echo CLIENT SETNAME worker-7; cat /root/fifo; } | /opt/redis-stack/bin/redis-cli -n 3\nEND\nmkfifo /root/fifo; systemd-run --unit=stay sh /root/stay"
    );
    eventually("the client is there", 10, || cli(&node, "CLIENT LIST\n").contains("worker-7"));

    let sampler = Sampler::start(node.root.join("etc/autobot"));
    let run = |arguments: &[&str]| {
        let mut command = project.command(&[&["redis"], arguments, &["-vvv"]].concat());
        RunResult::new(arguments, &command.env("AUTOBOT_PROVISION_LOG", "trace").output().unwrap())
    };
    let questions = ["info", "databases", "memory", "clients", "config", "slowlog"];
    let mut runs: Vec<RunResult> = questions.iter().map(|question| run(&[question])).collect();
    runs.extend(questions.iter().map(|question| run(&[question, "--output", "json"])));
    runs.push(run(&["cleanup", "cache", "--older-than", "1h"]));
    let seen = sampler.stop();
    for run in &runs {
        run.assert_code(0);
    }
    let needles = Needles::new(&[("REDIS_PASSWORD", &password)]);
    let mut hidden = Needles::new(&[("session", session)]);
    hidden.add("password", &password);
    for (run, question) in runs.iter().zip(questions.iter().chain(&questions)) {
        // No question shows the session's key, except for `databases`, where a mark may name it.
        let needles = if *question == "databases" { &needles } else { &hidden };
        needles.assert_not_within(&format!("redis {:?}", run.arguments), &format!("{}{}", run.stdout, run.stderr));
    }
    assert!(seen.processes().contains("sshd: autobot") && seen.processes().contains("redis"), "{}", seen.processes());
    needles.assert_not_within("arguments and environments", &seen.processes().replace(&format!("REDISCLI_AUTH={password}"), ""));
    assert_eq!(needles.files_below(&project.path("")), BTreeSet::new());
    assert!(!node.sh("journalctl --no-pager -o export").contains(&password));

    let [info, _, memory, clients, config, slowlog] = &runs[..6] else { unreachable!("there are six") };
    for (ran, words) in [
        (
            info,
            &[
                "7.4.1 (standalone)",
                "/opt/redis-stack/bin/redis-server",
                "/etc/autobot/redis.conf",
                "append-only    on",
                "ReJSON",
                "db0 1",
            ][..],
        ),
        (memory, &["noeviction", "peak"]),
        (clients, &["1 client besides this one", "worker-7", "127.0.0.1:"]),
        (config, &["requirepass ", "(set, hidden)", "masterauth ", "(not set)", "/opt/autobot/data/redis"]),
        (slowlog, &["AUTH +2 arguments", "HSET session:… +2 arguments", "CONFIG SET +2 arguments", "GET +1 argument"]),
    ] {
        for word in words {
            assert!(ran.stdout.contains(word), "no `{word}` in {}", ran.stdout);
        }
    }
    let json: Vec<Value> = runs[6..12].iter().map(|run| run.host(HOST)).collect();
    assert_eq!(json[0]["info"]["server"]["redis_version"], "7.4.1");
    assert_eq!(json[0]["info"]["keyspace"]["db0"].as_str().unwrap().split(',').next(), Some("keys=1"));
    assert!(
        json[2]["memory"]["used_memory"].as_str().unwrap().parse::<u64>().unwrap() > 0 && json[2]["stats"]["keys.count"] == 1
    );
    assert_eq!((&json[3]["clients"][0]["name"], &json[3]["clients"][0]["db"]), (&json!("worker-7"), &json!(3)));
    assert_eq!(
        (&json[4]["config"]["requirepass"], &json[4]["config"]["maxmemory-policy"]),
        (&json!("(set, hidden)"), &json!("noeviction"))
    );
    assert!(json[5]["slowlog"].as_array().unwrap().iter().any(|entry| entry["command"] == "HSET session:… +2 arguments (24 B)"));

    // The errors of a wrong and of a missing password say what to do and show no value.
    node.sh("sed -i 's/^REDIS_PASSWORD=.*/REDIS_PASSWORD=wr0ng-passw0rd-here/' /etc/autobot/database-secrets.env");
    let ran = project.run(&["redis", "info"]);
    ran.assert_code(1);
    insta::assert_snapshot!(ran.stderr, @"error: database_vm: Redis at 127.0.0.1:6379: it rejected `REDIS_PASSWORD` from `/etc/autobot/database-secrets.env`: WRONGPASS invalid username-password pair or user is disabled.");
    node.sh("rm /etc/autobot/database-secrets.env");
    insta::assert_snapshot!(project.run(&["redis", "info"]).assert_code(1).stderr, @"error: database_vm: `/etc/autobot/database-secrets.env` does not exist or cannot be read: the role was not deployed yet, or the file was lost");
    node.sh("systemctl stop autobot-database-redis; echo REDIS_PASSWORD=x >/etc/autobot/database-secrets.env");
    let error = project.run(&["redis", "info"]).assert_code(1).stderr.clone();
    assert!(error.contains("Redis at 127.0.0.1:6379: there is no answer ("), "{error}");
}

/// Returns commands that set keys with a last use so many seconds ago, which only `RESTORE` can do.
fn unused(keys: &[(&str, u64)]) -> String {
    keys.iter().fold(String::new(), |mut text, (key, seconds)| {
        let _ = writeln!(text, "EVAL \"redis.call('SET', KEYS[1], 'x'); local d = redis.call('DUMP', KEYS[1]); redis.call('RESTORE', KEYS[1], 0, d, 'REPLACE', 'IDLETIME', ARGV[1])\" 1 {key} {seconds}");
        text
    })
}

/// Starts a Redis without modules, on port 6390: RediSearch looks at each key that is restored, which counts as use.
fn plain_redis(node: &TestNode) {
    node.sh(
        ". /etc/autobot/database-secrets.env; mkdir /srv/plain; umask 077; echo \"requirepass $REDIS_PASSWORD\" >/srv/plain/redis.conf
         systemd-run --unit=plain /opt/redis-stack/bin/redis-server /srv/plain/redis.conf --port 6390 --dir /srv/plain --save ''",
    );
    eventually("it answers", 20, || node.try_sh("/opt/redis-stack/bin/redis-cli -p 6390 ping | grep -q NOAUTH").status.success());
}

/// Returns all keys of databases 0, 1 and 3, each after the number of its database.
fn keys(node: &TestNode) -> BTreeSet<String> {
    let in_database = |number: u8| {
        let output = cli_at(node, 6390, &format!("SELECT {number}\nKEYS *\n"));
        let keys = output.lines().filter_map(|line| line.split_once(") ").map(|(_, key)| format!("{number} {key}")));
        keys.collect::<Vec<String>>()
    };
    [0, 1, 3].into_iter().flat_map(in_database).collect()
}

/// Returns the commands that the Redis on port 6390 has run since `CONFIG RESETSTAT`.
fn commands_run(node: &TestNode) -> BTreeSet<String> {
    let statistics = cli_at(node, 6390, "INFO commandstats\n");
    let names = statistics.split("cmdstat_").skip(1).filter_map(|line| line.split(':').next());
    names.map(str::to_owned).collect()
}

const DAY: u64 = 86_400;

#[test]
fn a_cleanup_deletes_what_is_old_of_its_patterns_and_nothing_else() {
    let node = TestNode::converged();
    let project = project(&node);
    // Dates in names count in the Redis of the role, too.
    cli(&node, "SET cache:fresh x\nSELECT 3\nSET usage:2020-01-01:u x\nSET counter:fresh 1\n");
    let counts = |target: &str| {
        let cleaned = run_json(&project, &["cleanup", target, "--older-than", "1m"]);
        let patterns = cleaned["patterns"].as_array().unwrap().clone();
        let unknown: u64 = patterns.iter().map(|pattern| pattern["age_unknown"].as_u64().unwrap()).sum();
        (cleaned["deleted"].as_u64().unwrap(), unknown)
    };
    // Redis stores the value 1 once for all keys, with one time of last use: this new counter looks as old as the server.
    assert_eq!((counts("cache"), counts("analytics")), ((0, 0), (1, 1)));
    assert!(cli(&node, "SELECT 3\nKEYS *\n").ends_with("1) \"counter:fresh\""));

    plain_redis(&node);
    project.inventory(&[(HOST, &node, "redis_port: 6390")], "redis", "");
    let today = node.sh("date -u +%Y-%m-%d");
    let mut fill = unused(&[
        ("cache:api:old:1", 8 * DAY),
        ("\"cache:odd\\n\\x00\\xff\"", 9 * DAY),
        ("cache:api:young:1", 6 * DAY),
        ("cachex:1", 90 * DAY),
    ]);
    fill += &unused(&[
        ("session:1", 90 * DAY),
        ("queue:cache:1", 90 * DAY),
        ("xcache:1", 90 * DAY),
        ("metrics:a:2020-01-01", 90 * DAY),
    ]);
    fill += "SET cache:2020-01-01 fresh\nSELECT 1\n";
    fill += &unused(&[("cache:elsewhere", 90 * DAY), ("usage:2020-01-01:u", 90 * DAY)]);
    fill += "SELECT 3\n";
    fill += &unused(&[
        ("counter:idle", 8 * DAY),
        ("counter:used", DAY),
        ("metrics:no:date", 8 * DAY),
        ("metrics:young:date", 0),
        ("cache:3", 90 * DAY),
    ]);
    let _ = writeln!(
        fill,
        "HSET metrics:api:time:2024-12-31-23 count 1\nHSET metrics:api:time:{today}-00 count 1\nHSET usage:{today}:u1 requests 1"
    );
    fill += "HSET usage:2025-01-15:u1 requests 1\nRPUSH errors:2025-01-15:timeout x\nHSET usagex:2025-01-15:u1 requests 1\nSET alerts:2020-01-01 x\n";
    cli_at(&node, 6390, &fill);
    // Its name holds today's date, so it is not old, however long it was not used.
    cli_at(&node, 6390, &format!("SELECT 3\n{}", unused(&[(&format!("metrics:a:{today}"), 90 * DAY)])));
    let before = keys(&node);
    assert_eq!(before.len(), 24, "{before:?}");

    let old_cache = ["0 \"cache:api:old:1\"", "0 \"cache:odd\\n\\x00\\xff\""];
    let check = project.run(&["redis", "cleanup", "cache", HOST, "--older-than", "7d", "--check", "--detailed-exitcode"]);
    check.assert_code(2);
    insta::assert_snapshot!(check.stdout, @r"
    database_vm
      database  pattern  keys  to delete  examples
      main      cache:*     4          2  cache:api:old:1 cache:odd\n\x00\xff
      2 keys older than 7d would be deleted; nothing was deleted
    ");
    assert_eq!(keys(&node), before, "a check deletes nothing");
    let cleaned = run_json(&project, &["cleanup", "cache", "--older-than", "7d"]);
    assert_eq!((&cleaned["old"], &cleaned["deleted"]), (&json!(2), &json!(2)));
    let now = keys(&node);
    assert_eq!(before.difference(&now).map(String::as_str).collect::<Vec<_>>(), old_cache);

    let old_analytics =
        ["counter:idle", "errors:2025-01-15:timeout", "metrics:api:time:2024-12-31-23", "metrics:no:date", "usage:2025-01-15:u1"];
    let check = run_json(&project, &["cleanup", "analytics", "--older-than", "7d", "--check"]);
    assert_eq!((&check["old"], &check["deleted"]), (&json!(5), &json!(0)));
    assert_eq!(keys(&node), now, "a check deletes nothing");
    let text = project.run(&["redis", "cleanup", "analytics", "--older-than", "7d", "--detailed-exitcode"]);
    text.assert_code(2);
    insta::assert_snapshot!(text.stdout, @"
    database_vm
      database   pattern    keys  deleted  examples
      analytics  metrics:*     5        2  metrics:api:time:2024-12-31-23 metrics:no:date
      analytics  usage:*       2        1  usage:2025-01-15:u1
      analytics  errors:*      1        1  errors:2025-01-15:timeout
      analytics  counter:*     2        1  counter:idle
      deleted 5 keys older than 7d
    ");
    let last = keys(&node);
    assert_eq!(now.difference(&last).map(String::as_str).collect::<Vec<_>>(), old_analytics.map(|key| format!("3 \"{key}\"")));

    // A second cleanup has nothing to do.
    let again = project.run(&["redis", "cleanup", "analytics", "--older-than", "7d", "--detailed-exitcode"]);
    assert!(again.assert_code(0).stdout.ends_with("  no analytics keys are older than 7d\n"), "{}", again.stdout);
    assert_eq!(keys(&node), last);

    // More than a batch: all old keys are deleted, and the younger ones stay. No command that blocks the server is used.
    cli_at(&node, 6390, "CONFIG RESETSTAT\n");
    cli_at(
        &node,
        6390,
        "SELECT 3\nEVAL \"for i=1,25000 do redis.call('SET', 'usage:2024-01-01:' .. i, 'x'); redis.call('SET', 'usage:2999-01-01:' .. i, 'x') end\" 0\n",
    );
    assert_eq!(run_json(&project, &["cleanup", "analytics", "--older-than", "4w"])["deleted"], 25_000);
    assert_eq!(
        cli_at(&node, 6390, "SELECT 3\nDBSIZE\n").lines().last(),
        Some(&*format!("(integer) {}", 25_000 + last.iter().filter(|key| key.starts_with('3')).count()))
    );

    run_json(&project, &["databases"]);
    let commands = commands_run(&node);
    assert!(commands.is_superset(&["scan", "unlink"].map(str::to_owned).into()), "{commands:?}");
    assert_eq!(commands.intersection(&["keys", "del", "flushdb"].map(str::to_owned).into()).count(), 0, "{commands:?}");

    // Under this policy Redis does not record when a key was last used.
    cli_at(&node, 6390, "CONFIG SET maxmemory-policy allkeys-lfu\n");
    let ran = project.run(&["redis", "cleanup", "cache", "--older-than", "1m"]);
    assert!(ran.assert_code(1).stderr.contains("maxmemory-policy is an LFU policy"), "{}", ran.stderr);
}

const GATED: &str =
    "description: A toy\ntasks:\n  - name: Wait\n    command: {cmd: gate here; touch /root/done, creates: /root/done}\n";

#[test]
fn a_cleanup_waits_for_no_deploy_and_reading_needs_no_lock() {
    let node = TestNode::converged().with_gates();
    let (project, toy) = (project(&node), Project::toy(&[("node", &node)], GATED));
    node.shut("here");
    let deploy = toy.start(&["deploy"]);
    node.await_at("here");
    let cleanup = ["redis", "cleanup", "cache", "--older-than", "1h"];
    let held = project.run(&cleanup);
    assert!(held.assert_code(5).stderr.contains("held by"), "{}", held.stderr);
    project.run(&[&cleanup[..], &["--check"]].concat()).assert_code(0);
    project.run(&["redis", "info"]).assert_code(0);
    node.open("here");
    deploy.end().assert_code(0);
    project.run(&cleanup).assert_code(0);
    node.await_end_of_runs();
}
