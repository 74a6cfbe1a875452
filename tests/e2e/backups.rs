//! Roles `redis_backup` and `postgresql_backup`: backups that can be restored, found out when they are damaged, and missed when they fail.

use std::sync::OnceLock;

use crate::harness::{Project, TestNode, eventually};

const ROLES: &str = "autobot_roles: [redis_backup, postgresql_backup]\n";
const DUMPS: &str = "/opt/autobot/data/postgres/backups";
const SNAPSHOTS: &str = "/opt/autobot/data/redis-backups";
const POSTGRESQL: &str = "autobot-postgresql-backup";
const REDIS: &str = "autobot-redis-backup";

fn project(node: &TestNode, vars: &str) -> Project {
    Project::shipped(&[("database_vm", node, &format!("{ROLES}{vars}"))])
}

/// A node on which both roles were deployed, from bare, and no backup was made yet.
fn deployed() -> TestNode {
    static FROZEN: OnceLock<()> = OnceLock::new();
    FROZEN.get_or_init(|| {
        let node = TestNode::bare();
        let project = project(&node, "");
        let check = project.json(&["deploy", "--check"]);
        check.assert_code(0);
        let deploy = project.json(&["deploy"]);
        deploy.assert_code(0);
        assert_eq!(check.ids("database_vm", "changed"), deploy.ids("database_vm", "changed"));
        assert_eq!(deploy.host("database_vm")["unpredicted"], serde_json::json!([]));
        node.freeze("backups");
    });
    let node = TestNode::copy("backups");
    eventually("the databases are up", 60, || {
        let up = "runuser -u postgres -- psql -qXAtc 'select 1' && systemctl is-active -q autobot-database-redis";
        node.try_sh(&format!("cd / && {up}")).status.success()
    });
    node
}

fn psql(node: &TestNode, database: &str, sql: &str) -> String {
    node.sh(&format!("cd / && runuser -u postgres -- psql -qXAt -v ON_ERROR_STOP=1 -d {database} <<'END'\n{sql}\nEND"))
}

/// What a Redis says to these lines; the node's own, unless `to` says how to reach another.
fn redis(node: &TestNode, to: &str, commands: &str) -> String {
    let password = "$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env)";
    let login = if to.is_empty() { format!("printf 'AUTH %s\\n' \"{password}\"") } else { "echo PING".to_owned() };
    let said = node.sh(&format!("{{ {login}; cat <<'END'\n{commands}\nEND\n}} | /opt/redis-stack/bin/redis-cli {to} 2>&1"));
    said.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default()
}

/// The program's own words of what came of the last run.
fn status(node: &TestNode, which: &str, key: &str) -> String {
    node.sh(&format!("sed -n 's/^{key}=//p' /var/lib/autobot-backup/{which}/status 2>/dev/null || :"))
}

fn names(node: &TestNode, directory: &str) -> Vec<String> {
    node.sh(&format!("ls -A {directory}")).lines().map(str::to_owned).collect()
}

/// Whether this is an archive, and neither its checksum nor one that was put aside.
fn is_archive(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "dump" | "rdb" | "sql")))
}

/// Starts a backup that ends well.
#[track_caller]
fn succeeds(node: &TestNode, unit: &str) {
    let output = node.try_sh(&format!("systemctl start {unit}"));
    assert!(output.status.success(), "{}", node.sh(&format!("journalctl -o cat -u {unit}")));
}

/// Starts a backup that fails, and looks at all that must tell of it: systemd, the signal in the journal, the status file, the health check.
#[track_caller]
fn fails(node: &TestNode, unit: &str, words: &str) {
    assert!(!node.try_sh(&format!("systemctl start {unit}")).status.success(), "it did not fail");
    is_told_of(node, unit, words);
}

#[track_caller]
fn is_told_of(node: &TestNode, unit: &str, words: &str) {
    let which = if unit == REDIS { "redis" } else { "postgresql" };
    assert_eq!(node.sh(&format!("systemctl is-failed {unit} || :")), "failed");
    eventually("the failure is signalled", 10, || {
        node.sh(&format!("systemctl show -p ActiveState --value {unit}-failed")) == "inactive"
            && node.sh(&format!("journalctl --sync; journalctl -p crit -o cat -u {unit}-failed")).contains(words)
    });
    assert_eq!(status(node, which, "result"), "failed");
    let error = status(node, which, "error");
    assert!(error.contains(words), "{words}: {error}");
    let health = project(node, "").json(&["health"]);
    health.assert_code(1);
    let failed: Vec<_> = health.tasks("database_vm").into_iter().filter(|task| task.status == "failed").collect();
    let complaint = failed.iter().find(|task| task.id.starts_with(&format!("{which}_backup/")));
    assert!(
        complaint.is_some_and(|task| task.error.contains("the last backup failed") && task.error.contains(words)),
        "{failed:?}"
    );
}

#[track_caller]
fn is_healthy(node: &TestNode) {
    project(node, "").json(&["health"]).assert_code(0);
}

/// The commands of docs/BACKUPS.md behind these words.
fn steps(words: &str) -> &'static str {
    let behind = include_str!("../../docs/BACKUPS.md").split(words).nth(1).unwrap();
    behind.split("\n\n").find(|paragraph| paragraph.starts_with("    ")).unwrap()
}

#[test]
fn backups_are_planned_made_can_be_restored_and_show_no_password() {
    let node = deployed();
    let project = project(&node, "");
    let again = project.json(&["deploy", "--detailed-exitcode"]);
    again.assert_code(0);
    assert_eq!(again.host("database_vm")["round_trips"], 1);
    let summaries: Vec<String> = project.json(&["health"]).tasks("database_vm").into_iter().map(|task| task.summary).collect();
    assert_eq!(summaries.iter().filter(|summary| summary.starts_with("none yet, the first at ")).count(), 2, "{summaries:?}");
    for unit in [REDIS, POSTGRESQL] {
        let timers = node.sh("systemctl list-timers --no-legend");
        assert!(timers.lines().any(|line| line.contains(&format!("{unit}.timer")) && line.contains(" UTC ")), "{timers}");
        assert_eq!(node.sh(&format!("systemctl is-enabled {unit}.timer")), "enabled");
    }

    psql(&node, "autobot_users", "create table people as select n, md5(n::text) as name from generate_series(1, 12345) n");
    psql(&node, "postgres", "create database \"it's \"\"odd\"\"\\ $(x)\nx=1\"");
    redis(
        &node,
        "",
        "SET greeting hello\nJSON.SET answer $ '{\"deep\":42}'\nSET session:1 x EX 9000\nFT.CREATE books ON HASH PREFIX 1 book: SCHEMA title TEXT\n\
         HSET book:1 title willows\nSELECT 3\nRPUSH queue a b c",
    );

    // Redis waits five seconds before it sends a snapshot: time to look at every process of the node.
    let seen = node.sh(&format!(
        "password=$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env)
        systemctl start --no-block {REDIS}; looks=0
        until [ \"$(systemctl show -p Result -p ActiveState --value {REDIS} | tr '\\n' ' ')\" = 'success inactive ' ] && [ $looks -gt 0 ]; do
          pid=$(pidof redis-cli) && looks=$((looks + 1))
          for file in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do
            case $file in /proc/$$/*) continue ;; esac
            ! tr '\\0' ' ' 2>/dev/null <\"$file\" | grep -qF -- \"$password\" || echo \"$file\"
          done
        done; echo \"looks $looks\""
    ));
    assert!(seen.starts_with("looks ") && seen != "looks 0", "the password can be seen in {seen}");
    succeeds(&node, POSTGRESQL);
    let secrets = node.sh("sed -n 's/^[A-Z_]*PASSWORD=//p' /etc/autobot/database-secrets.env");
    let log = node.sh("journalctl --sync; journalctl -b -o cat; cat /var/lib/autobot-backup/*/status");
    assert!(!secrets.is_empty() && secrets.lines().all(|secret| !log.contains(secret)), "a password is in a log");
    for (directory, owner) in [(DUMPS, "postgres"), (SNAPSHOTS, "redis-backup")] {
        assert_eq!(node.sh(&format!("stat -c '%U %a' {directory}")), format!("{owner} 700"));
        assert_eq!(node.sh(&format!("stat -c '%U %a' {directory}/* | sort -u")), format!("{owner} 600"));
        node.sh(&format!("cd {directory} && sha256sum --quiet -c -- *.sha256"));
    }
    is_healthy(&node);

    // Health misses what does not come.
    let complaint = |arguments: &[&str]| {
        let health = project.json(&[&["health"], arguments].concat());
        health.assert_code(1);
        health.failure("database_vm")
    };
    let success = status(&node, "postgresql", "success");
    eventually("the backup is two seconds old", 10, || {
        node.try_sh(&format!("[ $(date +%s) -ge $(({success} + 2)) ]")).status.success()
    });
    let old = complaint(&["-e", "postgresql_backup_max_age=1s"]);
    assert!(old.starts_with("the last successful backup is ") && old.ends_with(" s old, more than 1 s"), "{old}");
    node.sh(&format!("systemctl stop {REDIS}.timer"));
    assert_eq!(complaint(&[]), format!("`{REDIS}.timer` is inactive: `systemctl start {REDIS}.timer`"));
    let mended = project.json(&["deploy"]);
    assert_eq!(mended.ids("database_vm", "changed").len(), 1, "{}", mended.stdout);
    is_healthy(&node);

    node.sh(&format!(
        "cd {DUMPS} && runuser -u postgres -- createdb -T template0 -E UTF8 scratch
        runuser -u postgres -- pg_restore --exit-on-error --no-owner -d scratch autobot_users-*.dump"
    ));
    let rows = "select count(*), md5(string_agg(n || name, ',' order by n)) from people";
    let original = psql(&node, "autobot_users", rows);
    assert!(original.starts_with("12345|"));
    assert_eq!(psql(&node, "scratch", rows), original);
    assert!(node.sh(&format!("grep -c '^CREATE ROLE autobot_users;' {DUMPS}/globals-*.sql")) == "1");
    let dumps = names(&node, DUMPS);
    assert!(
        dumps.iter().any(|name| name.starts_with("it%27s%20%22odd%22%5c%20%24%28x%29%0ax%3d1-") && is_archive(name)),
        "{dumps:?}"
    );

    node.sh(&format!(
        "mkdir /tmp/scratch && cp {SNAPSHOTS}/redis-*.rdb /tmp/scratch/dump.rdb && cd /tmp/scratch
        sed -n 's/^loadmodule/&/p' /etc/autobot/redis.conf >redis.conf
        /opt/redis-stack/bin/redis-server redis.conf --port 0 --unixsocket /tmp/scratch/socket --dir /tmp/scratch --daemonize yes --save '' >/dev/null"
    ));
    let scratch = "-s /tmp/scratch/socket";
    eventually("the scratch server has loaded it", 20, || {
        redis(&node, scratch, "INFO persistence").contains("loading:0\r\n") || redis(&node, scratch, "DBSIZE") == "4"
    });
    for commands in [
        "GET greeting\nJSON.GET answer $.deep\nDBSIZE\nFT.SEARCH books willows RETURN 1 title\nEXPIRETIME session:1",
        "SELECT 3\nLRANGE queue 0 -1\nDBSIZE",
    ] {
        let original = redis(&node, "", commands);
        assert!(original.contains("hello") || original.contains("a\nb\nc"), "{original}");
        assert_eq!(redis(&node, scratch, commands), original);
    }

    node.sh(&format!("/opt/redis-stack/bin/redis-cli {scratch} SHUTDOWN NOSAVE"));

    // As docs/BACKUPS.md says: on this node, and in a cluster that knows no login of ours.
    let newest = |directory: &str, prefix: &str| {
        names(&node, directory).into_iter().rfind(|name| name.starts_with(prefix) && is_archive(name)).unwrap()
    };
    let dump = newest(DUMPS, "autobot_users-");
    let postgresql = steps("**`deploy` gives them again**").replace("autobot_users-TIME.dump", &dump);
    let postgresql = postgresql.replace("globals-TIME.sql", &newest(DUMPS, "globals-"));
    let logins = "select rolname, rolpassword, rolcanlogin from pg_authid where rolname !~ '^pg_' order by 1";
    let known = psql(&node, "postgres", logins);
    node.sh("pg_createcluster --locale C.UTF-8 --encoding UTF8 15 fresh --start");
    for cluster in ["main", "fresh"] {
        let script = format!("export PGCLUSTER=15/{cluster}; cd /; runuser -u postgres -- psql -qXAt -d");
        if cluster == "main" {
            psql(&node, "autobot_users", "delete from people where n > 5");
        }
        node.sh(&format!("set -e; export PGCLUSTER=15/{cluster}\n{postgresql}"));
        let told = |database: &str, sql: &str| node.sh(&format!("{script} {database} <<'END'\n{sql}\nEND"));
        assert_eq!(told("autobot_users", rows), original, "{cluster}");
        assert_eq!(told("postgres", logins), known, "{cluster}");
        let owners = "select pg_get_userbyid(datdba), pg_get_userbyid(relowner) from pg_database, pg_class where datname = current_database() and relname = 'people'";
        assert_eq!(told("autobot_users", owners), "autobot_users|postgres", "{cluster}");
    }
    assert_eq!(psql(&node, "autobot_users_before", "select count(*) from people"), "5");
    node.sh("pg_dropcluster --stop 15 fresh");
    let open = "select has_database_privilege('public', 'autobot_users', 'connect')";
    assert_eq!(psql(&node, "postgres", open), "t", "the document says that a deploy is needed");
    project.json(&["deploy"]).assert_code(0);
    assert_eq!(psql(&node, "postgres", open), "f");
    is_healthy(&node);

    let (steps, snapshot) = (steps("put there, it is ignored"), newest(SNAPSHOTS, "redis-"));
    redis(&node, "", "FLUSHALL");
    node.sh(&format!("set -e\n{}", steps.replace("redis-TIME.rdb", &snapshot)));
    assert_eq!(redis(&node, "", "GET greeting\nJSON.GET answer $.deep\nDBSIZE"), "hello\n[42]\n4");
}

#[test]
fn a_damaged_archive_is_found_and_put_aside_and_the_newest_good_ones_stay() {
    let node = deployed();
    let keeping = project(&node, "postgresql_backup_keep: 2\nredis_backup_keep: 2\n");
    keeping.run(&["deploy"]).assert_code(0);
    // Random, so that it is large enough to have a middle.
    psql(&node, "autobot_users", "create table noise as select gen_random_uuid() from generate_series(1, 20000)");
    redis(&node, "", "CONFIG SET repl-diskless-sync-delay 0\nDEBUG POPULATE 1\nSET one 1");
    for _ in 0..3 {
        succeeds(&node, POSTGRESQL);
        succeeds(&node, REDIS);
    }
    let archives = |directory: &str| {
        let mut all = names(&node, directory);
        all.retain(|name| is_archive(name) && ["autobot_users-", "redis-"].iter().any(|prefix| name.starts_with(prefix)));
        all
    };
    for (unit, directory, cut, down) in [
        // The table of contents stands in front: `pg_restore --list` would find nothing wrong.
        (POSTGRESQL, DUMPS, "truncate -s $(($(stat -c %s \"$1\") * 7 / 10)) \"$1\"", "cannot be asked"),
        (REDIS, SNAPSHOTS, "printf X | dd of=\"$1\" bs=1 seek=20 conv=notrunc status=none", "no backup of redis"),
    ] {
        let [older, newest] = archives(directory).try_into().unwrap();
        node.sh(&format!("set -- {directory}/{newest}; {cut}"));
        if unit == POSTGRESQL {
            node.sh(&format!("pg_restore --list {directory}/{newest} >/dev/null"));
            // The size alone shows it, before any run.
            let health = project(&node, "").json(&["health"]);
            assert!(health.failure("database_vm").contains(&format!("{newest} has ")), "{}", health.stdout);
        }
        // The database is down, so there is no new one either.
        let server = if unit == REDIS { "autobot-database-redis" } else { "postgresql@15-main" };
        node.sh(&format!("systemctl stop {server}"));
        fails(&node, unit, &format!("{newest} is damaged"));
        assert_eq!(archives(directory), std::slice::from_ref(&older));
        assert!(names(&node, directory).contains(&format!("{newest}.damaged")));
        fails(&node, unit, down);
        assert_eq!(archives(directory), std::slice::from_ref(&older));
        node.sh(&format!("systemctl start {server}"));
        eventually("the server is up", 30, || node.sh(&format!("systemctl is-active {server} || :")) == "active");

        // One that was altered and lost its checksum is read through, by the real tools.
        node.sh(&format!("cd {directory} && cp -p {newest}.damaged {older} && rm {older}.sha256"));
        if unit == REDIS {
            redis(&node, "", "CONFIG SET repl-diskless-sync-delay 0");
        }
        fails(&node, unit, &format!("{older} is damaged"));
        assert_eq!(archives(directory).len(), 1);
        succeeds(&node, unit);
        assert_eq!(archives(directory).len(), 2);
    }
    is_healthy(&node);
    // By hand, as root: the program is what the service runs as.
    for program in ["redis-backup", "postgresql-backup"] {
        node.sh(&format!("/usr/local/lib/autobot/{program} verify"));
    }
    let newest = archives(DUMPS).pop().unwrap();
    node.sh(&format!("echo >>{DUMPS}/{newest}"));
    let verify = node.try_sh("/usr/local/lib/autobot/postgresql-backup verify");
    assert_eq!(verify.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&verify.stderr).contains("is put aside as"), "{verify:?}");
    assert_eq!(
        node.sh(&format!("stat -c %U {DUMPS}/{newest}.damaged /var/lib/autobot-backup/postgresql/status")),
        "postgres\npostgres"
    );
}

#[test]
fn a_failed_dump_leaves_the_old_ones_and_is_reported_everywhere() {
    let node = deployed();
    // Started by the timer, with nobody's help.
    let soon = "postgresql_backup_calendar: \"*-*-* *:*:0/5\"\npostgresql_backup_random_delay: \"0\"\n";
    let deploy = project(&node, soon).json(&["deploy"]);
    deploy.assert_code(0);
    let timer = "postgresql_backup/Install the PostgreSQL backup timer";
    let restart = "postgresql_backup/restart the backup timer";
    assert_eq!(deploy.ids("database_vm", "changed"), [timer.to_owned(), restart.to_owned()].into());
    eventually("the timer starts a backup", 20, || status(&node, "postgresql", "result") == "ok");
    let refused = project(&node, "postgresql_backup_calendar: at noon\n").json(&["deploy"]);
    refused.assert_code(1);
    assert!(refused.failure("database_vm").contains("postgresql_backup_calendar is `at noon`"), "{}", refused.stdout);
    project(&node, "").run(&["deploy"]).assert_code(0);
    eventually("no backup is under way", 20, || node.sh(&format!("systemctl is-active {POSTGRESQL} || :")) == "inactive");
    is_healthy(&node);
    let (before, success) = (names(&node, DUMPS), status(&node, "postgresql", "success"));
    let nothing_lost = |what: &str| {
        assert_eq!(names(&node, DUMPS), before, "{what}");
        assert_eq!(status(&node, "postgresql", "success"), success, "{what}");
    };

    node.sh(&format!("chown root:root {DUMPS}"));
    fails(&node, POSTGRESQL, "cannot read the directory");
    node.sh(&format!("chown postgres:postgres {DUMPS}; chmod 500 {DUMPS}"));
    fails(&node, POSTGRESQL, "no backup of autobot_users");
    node.sh(&format!("chmod 700 {DUMPS}"));
    nothing_lost("wrong rights of the directory");
    let dump = before.iter().find(|name| is_archive(name)).unwrap();
    node.sh(&format!("chown root:root {DUMPS}/{dump}"));
    assert!(!node.try_sh("/usr/local/lib/autobot/postgresql-backup verify").status.success());
    node.sh(&format!("chown postgres:postgres {DUMPS}/{dump}"));
    nothing_lost("an archive that cannot be read");

    // Killed while it waits for a lock: it cannot tell, so systemd does.
    psql(&node, "autobot_users", "create table held ()");
    node.sh(
        "cd /; setsid runuser -u postgres -- psql -qX -d autobot_users -c 'begin; lock table held; select pg_sleep(600)' </dev/null >/dev/null 2>&1 &",
    );
    let waits = "select count(*) from pg_locks where not granted";
    eventually("the lock is taken", 10, || {
        psql(&node, "postgres", "select count(*) from pg_locks where mode = 'AccessExclusiveLock'") != "0"
    });
    node.sh(&format!("systemctl start --no-block {POSTGRESQL}"));
    eventually("pg_dump waits", 10, || psql(&node, "postgres", waits) != "0");
    node.sh(&format!("systemctl kill -s KILL {POSTGRESQL}"));
    eventually("it is dead", 10, || node.sh(&format!("systemctl is-active {POSTGRESQL} || :")) == "failed");
    is_told_of(&node, POSTGRESQL, "ended early (signal)");
    psql(
        &node,
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()",
    );
    psql(&node, "autobot_users", "drop table held");

    // A disk that is full when the second database is written. What was good on it stays.
    node.sh(&format!("mount -t tmpfs -o size=1m,mode=700,uid=postgres,gid=postgres tmpfs {DUMPS}"));
    succeeds(&node, POSTGRESQL);
    let small = names(&node, DUMPS);
    psql(&node, "postgres", "create database huge");
    psql(
        &node,
        "huge",
        "create table noise as select gen_random_uuid(), gen_random_uuid() as other from generate_series(1, 60000)",
    );
    fails(&node, POSTGRESQL, "no backup of huge");
    let left = names(&node, DUMPS);
    assert!(small.iter().all(|name| left.contains(name)) && !left.iter().any(|name| name.contains("partial")), "{left:?}");
    node.sh(&format!("umount {DUMPS}"));
    psql(&node, "postgres", "drop database huge");

    node.sh("systemctl stop postgresql@15-main");
    fails(&node, POSTGRESQL, "PostgreSQL on port 5432 cannot be asked for its databases");
    node.sh("systemctl start postgresql@15-main");
    succeeds(&node, POSTGRESQL);
    is_healthy(&node);
    assert!(before.iter().all(|name| names(&node, DUMPS).contains(name)));
}

#[test]
fn a_snapshot_that_fails_leaves_the_old_ones_and_redis_alone_and_one_waits_for_a_bgsave() {
    let node = deployed();
    redis(&node, "", "CONFIG SET repl-diskless-sync-delay 0\nSET kept yes");
    succeeds(&node, REDIS);
    let before = names(&node, SNAPSHOTS);
    assert_eq!(before.len(), 2);

    // A BGSAVE whose process is held until the backup waits for it. Redis refuses one until it has collected the process of the last snapshot.
    eventually("Redis is idle", 10, || redis(&node, "", "INFO persistence").contains("rdb_bgsave_in_progress:0"));
    let started = redis(&node, "", "CONFIG SET rdb-key-save-delay 6000000\nBGSAVE");
    assert!(started.contains("Background saving started"), "{started}");
    let child = node.sh("pgrep -P \"$(systemctl show -P MainPID autobot-database-redis)\"");
    node.sh(&format!("kill -STOP {child}"));
    redis(&node, "", "CONFIG SET rdb-key-save-delay 0");
    node.sh(&format!("systemctl start --no-block {REDIS}"));
    eventually("the backup waits for the BGSAVE", 30, || redis(&node, "", "INFO replication").contains("wait_bgsave"));
    assert!(redis(&node, "", "INFO persistence").contains("rdb_bgsave_in_progress:1"));
    node.sh(&format!("kill -CONT {child}"));
    eventually("the snapshot is made", 30, || names(&node, SNAPSHOTS).len() == 4);
    assert!(redis(&node, "", "INFO persistence").contains("rdb_last_bgsave_status:ok"));
    eventually("the service is done", 10, || node.sh(&format!("systemctl is-active {REDIS} || :")) == "inactive");
    is_healthy(&node);
    let before = names(&node, SNAPSHOTS);

    node.sh("mv /etc/autobot/database-secrets.env /root/");
    assert!(!node.try_sh(&format!("systemctl start {REDIS}")).status.success());
    eventually("the failure is signalled", 10, || status(&node, "redis", "error").contains("ended early (exit-code)"));
    node.sh("sed 's/^REDIS_PASSWORD=.*/REDIS_PASSWORD=wrong/' /root/database-secrets.env >/etc/autobot/database-secrets.env");
    assert!(!node.try_sh(&format!("systemctl start {REDIS}")).status.success());
    assert!(status(&node, "redis", "error").contains("no backup of redis"), "{}", status(&node, "redis", "error"));
    node.sh("mv /root/database-secrets.env /etc/autobot/");
    assert_eq!(names(&node, SNAPSHOTS), before);

    node.sh(&format!("mount -t tmpfs -o size=256k,mode=700,uid=redis-backup,gid=redis-backup tmpfs {SNAPSHOTS}"));
    succeeds(&node, REDIS);
    let small = names(&node, SNAPSHOTS);
    node.sh("head -c 1000000 /dev/urandom | base64 -w 0 >/tmp/noise");
    let script = "{ printf 'AUTH %s\\n' \"$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env)\"; printf 'SET noise '; cat /tmp/noise; echo; } | /opt/redis-stack/bin/redis-cli";
    node.sh(script);
    fails(&node, REDIS, "no backup of redis");
    assert_eq!(names(&node, SNAPSHOTS), small);
    // Redis itself has noticed nothing.
    assert_eq!(redis(&node, "", "SET still writable"), "OK");
    assert!(redis(&node, "", "INFO persistence").contains("rdb_last_bgsave_status:ok"));
    node.sh(&format!("umount {SNAPSHOTS}"));

    node.sh("systemctl stop autobot-database-redis");
    fails(&node, REDIS, "Could not connect to Redis");
    node.sh("systemctl start autobot-database-redis");
    assert_eq!(names(&node, SNAPSHOTS), before);
    succeeds(&node, REDIS);
    is_healthy(&node);
}
