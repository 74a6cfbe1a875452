//! Role `redis` on a node where it was deployed, examined with other programs: redis-cli, bash, psql, sqlx, systemctl.

use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection};

use crate::harness::{PostgresTunnel, Project, TestNode, client, eventually, lab};

const DEPLOY: [&str; 5] = ["deploy", "--role", "redis", "--limit", "database_vm"];
const UNIT: &str = "autobot-database-redis";

/// The redis-server of the wheel that the lab's package is made from: Redis Stack 7.4.0-v1.
const SERVER_SHA256: &str = "34d09bf50d58e13f64bad10b527b6fdba7f217d091de743cb6ebd3f10d32b2b1";

fn project(node: &TestNode) -> Project {
    Project::shipped(&[("database_vm", node, "")])
}

/// Returns what redis-cli on the node prints for these commands, after it logged in over TCP. The password goes through standard input.
fn redis(node: &TestNode, commands: &str) -> String {
    let password = "$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env)";
    let script = format!("{{ printf 'AUTH %s\\n' \"{password}\"; cat <<'END'\n{commands}\nEND\n}} | redis-cli -h 127.0.0.1 2>&1");
    let output = node.sh(&script);
    output.strip_prefix("OK\n").unwrap_or_else(|| panic!("AUTH: {output}")).trim_end().to_owned()
}

fn secret(node: &TestNode, key: &str) -> String {
    node.sh(&format!("sed -n 's/^{key}=//p' /etc/autobot/database-secrets.env"))
}

fn property(node: &TestNode, unit: &str, name: &str) -> String {
    node.sh(&format!("systemctl show -p {name} --value {unit}"))
}

fn main_pid(node: &TestNode) -> String {
    property(node, UNIT, "MainPID")
}

/// Returns those of the node's TCP ports that accept connections from a client of the lab.
fn open_ports(from: &str, node: &TestNode, ports: &[u16]) -> Vec<u16> {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let tries =
        r#"address=$0; for port; do (timeout 2 bash -c ": </dev/tcp/$address/$port" && echo "$port") & done 2>/dev/null; wait"#;
    let address = node.address.to_string();
    let mut command = vec!["bash", "-c", tries, &address];
    command.extend(ports.iter().map(String::as_str));
    let output = lab().run_in_client(from, &command).unwrap();
    let mut open: Vec<u16> = String::from_utf8(output.stdout).unwrap().lines().map(|port| port.parse().unwrap()).collect();
    open.sort_unstable();
    open
}

/// Logs in and returns the user and the database.
fn login(tunnel: &PostgresTunnel, password: &str) -> Result<(String, String), sqlx::Error> {
    let options = tunnel.options("autobot_users", password, "autobot_users");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect_with(&options).await?;
        sqlx::query_as("SELECT current_user::text, current_database()::text").fetch_one(&mut connection).await
    })
}

/// Converts a value of redis.conf to the form of CONFIG GET: sizes in bytes.
fn in_bytes(word: &str) -> String {
    let size = |digits: &str, factor: u64| digits.parse::<u64>().map(|count| (count * factor).to_string());
    let sized = [("mb", 1 << 20), ("gb", 1 << 30)].iter().find_map(|(unit, factor)| size(word.strip_suffix(unit)?, *factor).ok());
    sized.unwrap_or_else(|| word.to_owned())
}

#[test]
fn redis_is_the_pinned_server_with_its_modules_and_runs_what_its_file_says() {
    let node = TestNode::converged();
    let pid = main_pid(&node);
    assert_eq!(node.sh(&format!("readlink /proc/{pid}/exe")), "/opt/redis-stack/bin/redis-server");
    assert_eq!(node.sh(&format!("sha256sum </proc/{pid}/exe")), format!("{SERVER_SHA256}  -"));

    let modules = redis(&node, "MODULE LIST");
    for module in ["search", "ReJSON", "timeseries"] {
        assert!(modules.lines().any(|line| line == module), "{modules}");
    }
    let output = redis(
        &node,
        "FT.CREATE books ON HASH PREFIX 1 book: SCHEMA title TEXT embedding VECTOR FLAT 6 TYPE FLOAT32 DIM 2 DISTANCE_METRIC L2\n\
         HSET book:1 title \"the wind in the willows\"\nFT.SEARCH books willows RETURN 1 title\n\
         JSON.SET answer $ '{\"deep\":{\"thought\":42}}'\nJSON.GET answer $.deep.thought\nTS.ADD load 1000 7.5\nTS.GET load",
    );
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines, ["OK", "1", "1", "book:1", "title", "the wind in the willows", "OK", "[42]", "1000", "1000", "7.5"]);

    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in node.sh("grep -Ev '^(#|loadmodule|$)' /etc/autobot/redis.conf").lines() {
        let (name, value) = line.split_once(' ').unwrap();
        let value = value.split(' ').map(|word| in_bytes(word.trim_matches('"')));
        wanted.entry(name.to_owned()).or_default().extend(value);
    }
    for required in [
        ("bind", "* -::*"),
        ("maxmemory-policy", "noeviction"),
        ("databases", "16"),
        ("save", "900 1 300 10 60 10000"),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("dir", "/opt/autobot/data/redis"),
        ("port", "6379"),
    ] {
        assert_eq!(wanted[required.0].join(" "), required.1, "{}", required.0);
    }
    assert_eq!(wanted["requirepass"].concat(), secret(&node, "REDIS_PASSWORD"));
    let total: u64 = node.sh("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").parse().unwrap();
    assert_eq!(wanted["maxmemory"].concat(), ((total / 1024 / 256 * 128) << 20).to_string());
    let gets: Vec<String> = wanted.keys().map(|name| format!("CONFIG GET {name}")).collect();
    let output = redis(&node, &gets.join("\n"));
    let mut lines = output.lines();
    for (name, value) in &wanted {
        assert_eq!(lines.next(), Some(name.as_str()));
        assert_eq!(lines.next(), Some(value.join(" ").as_str()), "{name}");
    }

    let log = node.sh(&format!("journalctl -b -o cat -u {UNIT}"));
    assert!(log.contains("Ready to accept connections"), "{log}");
    // The kernel's settings cannot be written in a container, so this warning cannot be avoided here.
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARNING") && !line.contains("overcommit")).collect();
    assert_eq!(warnings, [""; 0], "{log}");
}

#[test]
fn units_files_kernel_settings_and_databases_are_as_the_seeds_ask() {
    let node = TestNode::converged();
    for (unit, name, value) in [
        (UNIT, "User", "redis"),
        (UNIT, "Restart", "on-failure"),
        // These two are read from the unit, because a container may not be able to give them to the process.
        (UNIT, "LimitNOFILE", "65536"),
        (UNIT, "OOMScoreAdjust", "-500"),
        (UNIT, "UnitFileState", "enabled"),
        ("autobot-database-postgres", "Id", "postgresql.service"),
        ("autobot-database-postgres", "UnitFileState", "enabled"),
        ("postgresql@15-main", "ActiveState", "active"),
    ] {
        assert_eq!(property(&node, unit, name), value, "{unit} {name}");
    }
    assert!(node.sh("systemctl status autobot-database-postgres").contains("Active: active"));
    // Redis first, PostgreSQL second.
    assert!(property(&node, "postgresql@15-main", "After").split(' ').any(|unit| unit == format!("{UNIT}.service")));
    assert_eq!(node.sh("cat /etc/sysctl.d/60-autobot-redis.conf | grep -v '^#'").replace(' ', ""), "vm.overcommit_memory=1");

    for (path, wanted) in [
        ("/etc/autobot", "root:root 755"),
        ("/etc/autobot/database-secrets.env", "root:root 600"),
        ("/etc/autobot/redis.conf", "root:redis 640"),
        ("/opt/autobot/data/redis", "redis:redis 750"),
        ("/opt/autobot/data/redis/appendonlydir/appendonly.aof.manifest", "redis:redis 600"),
        ("/usr/local/lib/autobot/redis-ready", "root:root 755"),
    ] {
        assert_eq!(node.sh(&format!("stat -c '%U:%G %a' {path}")), wanted, "{path}");
    }
    for key in ["REDIS_PASSWORD", "DB_PASSWORD"] {
        let value = secret(&node, key);
        assert!(
            value.len() == 32 && value.chars().all(|character| character.is_ascii_alphanumeric()),
            "{key} has {} characters",
            value.len()
        );
    }
    assert_ne!(secret(&node, "REDIS_PASSWORD"), secret(&node, "DB_PASSWORD"));

    let psql = |sql: &str| node.sh(&format!("runuser -u postgres -- psql -XAtc \"{sql}\""));
    let database =
        "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'autobot_users'";
    assert_eq!(psql(database), "autobot_users|UTF8");
    let role = "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, left(rolpassword, 13) \
                FROM pg_authid WHERE rolname = 'autobot_users'";
    assert_eq!(psql(role), "t|f|f|f|f|f|SCRAM-SHA-256");
    let log = node.sh("cat /var/log/postgresql/*.log; journalctl -b -o cat");
    assert!(
        !log.contains(&secret(&node, "DB_PASSWORD")) && !log.contains(&secret(&node, "REDIS_PASSWORD")),
        "a password is in a log"
    );

    let tunnel = PostgresTunnel::open(&node);
    let who = login(&tunnel, &secret(&node, "DB_PASSWORD")).unwrap();
    assert_eq!(who, ("autobot_users".to_owned(), "autobot_users".to_owned()));
    // 28P01 is "invalid password".
    for wrong in ["wrong", "", &secret(&node, "REDIS_PASSWORD")] {
        let error = login(&tunnel, wrong).unwrap_err();
        assert_eq!(error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(), Some("28P01"), "{error}");
    }
}

#[test]
fn ports_are_open_to_whom_they_are_declared_open_and_a_stranger_is_asked_for_the_password() {
    let node = TestNode::converged();
    let (inside, outside) = (client("fleet"), client("elsewhere"));
    // The frozen node admits the whole lab; this copy admits one client.
    let subnet = format!("fleet_subnet={}/32", inside.address);
    project(&node).run(&[&DEPLOY[..], &["-e", &subnet]].concat()).assert_code(0);
    let ports = [22, 5432, 6379, 8001];
    let check = || {
        assert_eq!(open_ports(&inside.name, &node, &ports), [22, 6379]);
        assert_eq!(open_ports(&outside.name, &node, &ports), [22]);
    };
    check();
    let ping = r#"exec 3<>"/dev/tcp/$0/6379"; printf 'PING\r\n' >&3; head -n 1 <&3"#;
    let output = lab().run_in_client(&inside.name, &["timeout", "5", "bash", "-c", ping, &node.address.to_string()]).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "-NOAUTH Authentication required.");
    assert_eq!(node.sh("ss -Hlnt 'sport = :5432' | awk '{print $4}' | sort"), "127.0.0.1:5432\n[::1]:5432");
    assert_eq!(node.sh("ss -Hlnt 'sport = :8001'"), "");

    lab().reboot(&node.name).unwrap();
    check();
}

#[test]
fn data_and_password_survive_a_killed_server_a_reboot_and_a_reinstalled_package() {
    let node = TestNode::converged();
    let project = project(&node);
    let password = secret(&node, "REDIS_PASSWORD");
    assert_eq!(redis(&node, "SET kept yes\nSELECT 3\nLPUSH queue a b"), "OK\nOK\n2");
    // The writes of the last second are on the disk once no fsync is pending.
    eventually("the append-only file is flushed", 10, || redis(&node, "INFO persistence").contains("aof_pending_bio_fsync:0"));
    let assert_kept = |when: &str| {
        eventually(&format!("Redis answers {when}"), 30, || property(&node, UNIT, "ActiveState") == "active");
        assert_eq!(redis(&node, "GET kept\nSELECT 3\nLRANGE queue 0 -1"), "yes\nOK\nb\na", "{when}");
        assert_eq!(secret(&node, "REDIS_PASSWORD"), password);
    };

    let first = main_pid(&node);
    node.sh(&format!("kill -9 {first}"));
    eventually("systemd starts another server", 30, || !["0", first.as_str()].contains(&main_pid(&node).as_str()));
    assert_kept("after kill -9");

    let refused = node.try_sh("systemctl start redis-stack-server");
    assert!(!refused.status.success(), "the vendor's unit was started");
    assert_eq!(node.sh("systemctl is-active redis-stack-server || true"), "inactive");
    let pid = main_pid(&node);
    assert_eq!(node.sh("ss -Hlntp 'sport = :6379' | grep -o 'pid=[0-9]*' | sort -u"), format!("pid={pid}"));
    // Enabling it has no effect either: see below, after the reboot.
    node.sh("systemctl enable redis-stack-server");

    node.sh("DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall redis-stack-server");
    assert_eq!(main_pid(&node), pid, "the package stopped our server");
    assert_kept("after the package was reinstalled");
    let exe = |node: &TestNode| node.sh(&format!("readlink /proc/{}/exe", main_pid(node)));
    assert_eq!(exe(&node), "/opt/redis-stack/bin/redis-server (deleted)");
    // The vendor's package gives its programs to `nobody`.
    let restart = ["redis/Give root ownership of the programs of Redis Stack", "redis/Restart Redis if its program was replaced"];
    let restart = restart.map(str::to_owned).into();
    assert_eq!(project.json(&[&DEPLOY[..], &["--check"]].concat()).ids("database_vm", "changed"), restart);
    let deploy = project.json(&DEPLOY);
    deploy.assert_code(0);
    assert_eq!(deploy.ids("database_vm", "changed"), restart);
    assert_eq!(exe(&node), "/opt/redis-stack/bin/redis-server");
    assert_kept("after it was restarted");

    // The vendor's unit is back, and enabled, as after a careless repair of its package.
    node.sh(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall -o Dpkg::Options::=--force-confmiss redis-stack-server",
    );
    node.sh("systemctl daemon-reload; systemctl enable redis-stack-server");
    lab().reboot(&node.name).unwrap();
    assert_kept("after a reboot");
    assert_eq!(node.sh("systemctl is-active redis-stack-server || true"), "inactive");
    assert_eq!(property(&node, "postgresql@15-main", "ActiveState"), "active");
    assert_eq!(node.sh("systemctl --failed --plain --no-legend | grep -E 'redis|postgres|ufw' || true"), "");
    let ours = ["redis/Give root ownership of the programs of Redis Stack".to_owned()].into();
    assert_eq!(project.json(&DEPLOY).ids("database_vm", "changed"), ours);
    assert_eq!(project.json(&[&DEPLOY[..], &["--detailed-exitcode"]].concat()).code, Some(0));
}

#[test]
fn a_stopped_redis_is_started() {
    let node = TestNode::converged();
    let project = project(&node);
    let exercised = |ran: &crate::harness::RunResult| {
        ran.tasks("database_vm").iter().any(|task| task.kind == "health" && task.id.contains("stores, searches"))
    };

    node.sh(&format!("systemctl stop {UNIT}"));
    node.sh("systemd-run --unit=squatter systemd-socket-activate -l 6379 /bin/cat");
    eventually("something listens", 10, || !node.sh("ss -Hlnt 'sport = :6379'").is_empty());
    // A server that ends while it starts is a failure at once, not after the unit's ten minutes.
    let start = node.try_sh(&format!("timeout 20 systemctl start {UNIT}"));
    assert_eq!(start.status.code(), Some(1), "{}", String::from_utf8_lossy(&start.stderr));
    node.sh(&format!("systemctl stop squatter {UNIT}"));
    let check = project.json(&[&DEPLOY[..], &["--check"]].concat());
    check.assert_code(0);
    let started = ["redis/Start Redis".to_owned()].into();
    assert_eq!(check.ids("database_vm", "changed"), started);
    let deploy = project.json(&DEPLOY);
    deploy.assert_code(0);
    assert_eq!(deploy.ids("database_vm", "changed"), started);
    assert_eq!(redis(&node, "CONFIG GET maxclients"), "maxclients\n10000");
    assert!(exercised(&deploy), "a change is followed by use: {}", deploy.stdout);
    let again = project.json(&DEPLOY);
    again.assert_code(0);
    assert!(!exercised(&again), "nothing changed, so nothing is written: {}", again.stdout);
}

#[test]
fn a_snapshot_without_an_append_only_file_is_not_started_empty() {
    let node = TestNode::converged();
    let project = project(&node);
    redis(&node, "SET moved here\nSAVE");
    node.sh(&format!(
        "systemctl stop {UNIT}; rm -r /opt/autobot/data/redis/appendonlydir; chown nobody: /opt/autobot/data/redis/dump.rdb"
    ));
    let deploy = project.json(&DEPLOY);
    deploy.assert_code(1);
    let errors: Vec<String> =
        deploy.tasks("database_vm").into_iter().filter(|task| task.status == "failed").map(|task| task.error).collect();
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(property(&node, UNIT, "ActiveState"), "inactive");
    let (why, what) = error.split_once(": ").unwrap();
    assert_eq!(
        why,
        "/opt/autobot/data/redis/dump.rdb holds keys and has no append-only file beside it, so that Redis would start empty"
    );
    // The error contains the commands that repair it.
    node.sh(what);
    project.json(&DEPLOY).assert_code(0);
    assert_eq!(redis(&node, "GET moved"), "here");
}

#[test]
fn redis_8_is_the_other_flavour_and_never_becomes_the_first_in_silence() {
    let node = TestNode::bare();
    let project = project(&node);
    let redis8 = [&DEPLOY[..], &["-e", "redis_flavour=redis8"]].concat();
    let check = project.json(&[&redis8[..], &["--check"]].concat());
    let deploy = project.json(&redis8);
    deploy.assert_code(0);
    assert_eq!(check.ids("database_vm", "changed"), deploy.ids("database_vm", "changed"));
    assert_eq!(deploy.host("database_vm")["unpredicted"], serde_json::json!([]));
    assert_eq!(node.sh(&format!("readlink /proc/{}/exe", main_pid(&node))), "/usr/bin/redis-server");
    assert!(redis(&node, "INFO server").contains("redis_version:8."));
    let output = redis(&node, "FT.CREATE i SCHEMA t TEXT\nJSON.SET j $ 1\nTS.ADD s 1 1\nSET kept yes");
    assert_eq!(output, "OK\nOK\n1\nOK");

    // Its package enables and starts its own service, which would take the port at boot.
    assert_eq!(property(&node, "redis-server", "UnitFileState"), "enabled");
    lab().reboot(&node.name).unwrap();
    assert_eq!(property(&node, "redis-server", "ActiveState"), "inactive");
    assert_eq!(redis(&node, "GET kept"), "yes");
    let again = project.json(&[&redis8[..], &["--detailed-exitcode"]].concat());
    again.assert_code(0);
    assert_eq!(again.host("database_vm")["round_trips"], 1);

    let other = project.json(&DEPLOY);
    other.assert_code(1);
    assert!(
        other.stdout.contains("the package `redis-server` is installed, and `redis_flavour: stack` is asked for"),
        "{}",
        other.stdout
    );
}
