//! Role `postgresql` on the SLM node, examined with psql, systemctl, ss, and a remote client.

use std::{
    collections::BTreeSet,
    fs::Permissions,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::json;

use crate::{
    harness::{Project, RunResult, TestNode, client, eventually, lab},
    truth::{deploys_as_checked, settle},
};

const DEPLOY: &[&str] = &["deploy"];
const ROLES: &str = "autobot_roles: [postgresql]";

fn project(node: &TestNode) -> Project {
    Project::shipped(&[("slm", node, ROLES)])
}

/// Freezes a node with role `postgresql`, once per test run, and returns what the deploy changed. The bare Debian has a locale with which
/// PostgreSQL's own packages would create a cluster without an encoding.
fn image() -> &'static BTreeSet<String> {
    static FROZEN: OnceLock<BTreeSet<String>> = OnceLock::new();
    FROZEN.get_or_init(|| {
        let node = TestNode::bare().with_gates();
        node.sh("echo LANG=C >/etc/default/locale");
        let changed = deploys_as_checked(&project(&node), "slm", "from a bare node", &[]);
        node.freeze("slm");
        changed
    })
}

/// Returns a copy of that node.
pub fn slm() -> TestNode {
    image();
    let node = TestNode::copy("slm");
    settle(&node);
    eventually("PostgreSQL answers", 30, || node.try_sh("runuser -u postgres -- psql -XAtc 'select 1'").status.success());
    node
}

/// Returns what psql prints when it runs as the superuser.
pub fn psql(node: &TestNode, sql: &str) -> String {
    node.sh(&format!("cd /; runuser -u postgres -- psql -XAtc \"{sql}\""))
}

fn secret(node: &TestNode, key: &str) -> String {
    node.sh(&format!("sed -n 's/^{key}=//p' /etc/autobot/slm-secrets.env"))
}

/// Logs in with the `DATABASE_URL` as libpq reads it, and returns the user, the database and the port.
fn by_url(node: &TestNode) -> String {
    node.sh(r#"url=$(sed -n 's/^DATABASE_URL=postgresql+asyncpg:/postgresql:/p' /etc/autobot/slm-secrets.env)
        runuser -u nobody -- psql "$url" -XAtc 'select current_user, current_database(), inet_server_port()'"#)
}

fn property(node: &TestNode, unit: &str, name: &str) -> String {
    node.sh(&format!("systemctl show -p {name} --value {unit}"))
}

/// Asserts that nothing is left to change, in one round trip.
#[track_caller]
fn assert_converged(project: &Project) -> RunResult {
    let again = project.json(&["deploy", "--detailed-exitcode"]);
    again.assert_code(0);
    assert_eq!(again.host("slm")["round_trips"], 1, "{}", again.stdout);
    again
}

#[test]
fn on_a_bare_node_the_backend_gets_its_own_database_with_exclusive_access() {
    let changed = image();
    for id in [
        "postgresql_server/Create the PostgreSQL cluster",
        "postgresql/secret DB_PASSWORD",
        "postgresql/Write the SLM backend's connection file",
    ] {
        assert!(changed.contains(id), "{changed:#?}");
    }
    assert!(!changed.iter().any(|id| id.contains("home directories")), "there is no backend: {changed:#?}");
    let node = slm();
    let project = project(&node);
    let again = assert_converged(&project);
    assert_eq!(again.host("slm")["unpredicted"], json!([]));

    // The node's locale has no influence on this.
    let encodings = "select distinct pg_encoding_to_char(encoding), datcollate, datctype from pg_database";
    assert_eq!(psql(&node, encodings), "UTF8|C.UTF-8|C.UTF-8");
    assert_eq!(psql(&node, "show data_checksums"), "on");
    let role = "select rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, left(rolpassword, 13) \
                from pg_authid where rolname = 'autobot_slm'";
    assert_eq!(psql(&node, role), "t|f|f|f|f|f|SCRAM-SHA-256");
    let database = "select pg_get_userbyid(datdba), has_database_privilege('public', datname, 'connect') from pg_database where datname = 'autobot_slm'";
    assert_eq!(psql(&node, database), "autobot_slm|f");

    // The settings are in a separate file, and postgresql.conf is as Debian made it.
    let memory: u64 = node.sh("awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo").parse().unwrap();
    let shared = if memory < 1536 { 128 } else { (memory / 512 * 64).min(4096) };
    let cached = if memory < 1536 { 512 } else { memory / 512 * 256 };
    let bytes = |name: &str| psql(&node, &format!("select pg_size_bytes(current_setting('{name}')) / 1048576")).parse().unwrap();
    assert_eq!((bytes("shared_buffers"), bytes("effective_cache_size")), (shared, cached));
    let values = "select string_agg(name || ' = ' || current_setting(name), ', ' order by name) from pg_settings where sourcefile like '%/conf.d/50-autobot.conf' and name not in ('shared_buffers', 'effective_cache_size')";
    assert_eq!(
        psql(&node, values),
        "listen_addresses = localhost, maintenance_work_mem = 128MB, max_connections = 100, max_wal_size = 2GB, min_wal_size = 1GB, password_encryption = scram-sha-256, random_page_cost = 1.1, work_mem = 16MB"
    );
    node.sh("pg_createcluster --port 5433 --locale C.UTF-8 --encoding UTF8 15 fresh -- --data-checksums");
    let fresh = node.sh("sed 's/fresh/main/; s/^port = 5433/port = 5432/' /etc/postgresql/15/fresh/postgresql.conf");
    assert_eq!(node.sh("cat /etc/postgresql/15/main/postgresql.conf"), fresh);
    assert_eq!(node.sh("pg_dropcluster 15 fresh; ls /etc/postgresql/15/main/conf.d"), "50-autobot.conf");

    let password = secret(&node, "DB_PASSWORD");
    assert!(
        password.len() == 32 && password.chars().all(|character| character.is_ascii_alphanumeric()),
        "{} characters",
        password.len()
    );
    assert_eq!(by_url(&node), "autobot_slm|autobot_slm|5432");
    assert_eq!(node.sh("stat -c '%U:%G %a' /etc/autobot/slm-secrets.env"), "root:root 600");
    let seen =
        node.sh("cat /var/log/postgresql/*.log; journalctl -b -o cat; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '");
    assert!(!seen.contains(&password), "the password is in a log or a command line");

    // Clients without the password, for another database, or from elsewhere are refused.
    let refused = |who: &str, words: &str, what: &str| {
        let output = node.try_sh(&format!("cd /; runuser -u {who} -- psql -w {words} -XAtc 'select 1'"));
        assert!(!output.status.success(), "{what}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused("nobody", "-U autobot_slm autobot_slm", "no password on the socket").contains("no password supplied"));
    let error = refused("nobody", "-U postgres postgres", "nobody as superuser");
    assert!(error.contains("Peer authentication failed"), "{error}");
    refused("nobody", "'postgresql://autobot_slm:wrong@localhost/autobot_slm'", "a wrong password");
    let error = refused("nobody", &format!("'postgresql://autobot_slm:{password}@localhost/postgres'"), "another database");
    assert!(error.contains("no pg_hba.conf entry"), "{error}");
    assert_eq!(node.sh("ss -Hlnt 'sport = :5432' | awk '{print $4}' | sort"), "127.0.0.1:5432\n[::1]:5432");
    let elsewhere = client("elsewhere");
    let open = |port: &str| {
        let address = node.address.to_string();
        let command = ["timeout", "3", "bash", "-c", r#": <"/dev/tcp/$0/$1""#, &address, port];
        lab().run_in_client(&elsewhere.name, &command).unwrap().status.success()
    };
    assert!(open("22") && !open("5432"), "from elsewhere");

    // The alias is the server, and the server is the instance.
    let pid = |node: &TestNode| property(node, "postgresql@15-main", "MainPID");
    let before = pid(&node);
    assert_eq!(property(&node, "autobot-slm-database", "Id"), "postgresql.service");
    assert_eq!(property(&node, "autobot-slm-database", "UnitFileState"), "enabled");
    node.sh("systemctl restart autobot-slm-database");
    eventually("the alias restarts the server", 30, || {
        let now = pid(&node);
        now != before && now != "0" && node.try_sh("runuser -u postgres -- psql -XAtc 'select 1'").status.success()
    });
    node.sh("systemctl stop postgresql@15-main");
    assert_eq!(node.sh("systemctl is-active autobot-slm-database"), "active");
    let health = project.json(&["health"]);
    health.assert_code(1);
    assert!(health.ids("slm", "failed").contains("postgresql_server/The PostgreSQL cluster is running"), "{}", health.stdout);
    let started = deploys_as_checked(&project, "slm", "the instance was stopped behind its wrapper", &[]);
    assert!(started.contains("postgresql_server/Start PostgreSQL (postgresql@15-main.service)"), "{started:#?}");
    assert!(!started.contains("postgresql_server/Start PostgreSQL (postgresql.service)"), "{started:#?}");
    project.json(&["health", "--exercise"]).assert_code(0);
}

#[test]
fn the_backends_unit_sees_home_directories_and_follows_a_new_password() {
    let node = slm();
    let project = project(&node);
    let (old, url) = (secret(&node, "DB_PASSWORD"), secret(&node, "DATABASE_URL"));
    node.sh("cat >/etc/systemd/system/autobot-slm-backend.service <<'END'
[Service]
ProtectHome=yes
EnvironmentFile=/etc/autobot/slm-secrets.env
ExecStart=sh -c 'echo \"$DATABASE_URL\" >/run/seen; exec sleep infinity'
END
systemctl daemon-reload; systemctl start autobot-slm-backend");
    eventually("the backend runs", 10, || node.sh("cat /run/seen 2>/dev/null || :") == url);
    let changed = deploys_as_checked(&project, "slm", "the backend was installed", &[]);
    let restart = "postgresql/restart the SLM backend if it is running".to_owned();
    let expected = ["Create the drop-in directory for the SLM backend's unit", "Allow the SLM backend to read home directories"];
    assert_eq!(changed, expected.iter().map(|name| format!("postgresql/{name}")).chain([restart.clone()]).collect());
    let home = || property(&node, "autobot-slm-backend", "ProtectHome");
    assert_eq!((home().as_str(), node.sh("systemctl is-active autobot-slm-backend").as_str()), ("read-only", "active"));
    let namespace = "nsenter -t $(systemctl show -p MainPID --value autobot-slm-backend) -m";
    node.sh(&format!("{namespace} ls /home/autobot && ! {namespace} touch /home/autobot/x"));

    // Rotated by hand, to a password that must be escaped in a URL: the login and the URL follow, and the backend reads it.
    let wild = "p@ss/w:rd%25&#=x0123456789";
    node.sh(&format!("sed -i 's|^DB_PASSWORD=.*|DB_PASSWORD={}|' /etc/autobot/slm-secrets.env", wild.replace('&', "\\&")));
    let pid = property(&node, "autobot-slm-backend", "MainPID");
    let check = project.run(&["deploy", "--check", "--diff"]);
    let deploy = project.run(&["deploy", "--diff"]);
    check.assert_code(0);
    deploy.assert_code(0);
    for output in [check.said(), deploy.said()] {
        assert!(output.contains("Write the SLM backend's connection file") && output.contains(&restart), "{output}");
        assert!(!output.contains("p@ss") && !output.contains("p%40ss"), "{output}");
        assert!(!output.contains(&old), "the old one is a password, too: {output}");
    }
    assert_eq!(secret(&node, "DB_PASSWORD"), wild);
    assert_eq!(by_url(&node), "autobot_slm|autobot_slm|5432");
    assert_ne!(property(&node, "autobot-slm-backend", "MainPID"), pid);
    eventually("the backend has the new one", 10, || node.sh("cat /run/seen") == secret(&node, "DATABASE_URL"));
    assert_converged(&project);

    // An edited URL is restored; a lost password is not generated again while the login has the old one.
    node.sh("sed -i 's|^DATABASE_URL=.*|DATABASE_URL=sqlite:///x|' /etc/autobot/slm-secrets.env; echo '# mine' >>/etc/autobot/slm-secrets.env");
    let changed = deploys_as_checked(&project, "slm", "the URL was edited", &[]);
    assert_eq!(changed, BTreeSet::from(["postgresql/Write the SLM backend's connection file".to_owned(), restart]));
    assert_eq!(node.sh("grep -c . /etc/autobot/slm-secrets.env; tail -n 1 /etc/autobot/slm-secrets.env"), "3\n# mine");
    node.sh("sed -i '/^DB_PASSWORD=/d' /etc/autobot/slm-secrets.env");
    for run in [&["deploy", "--check"], DEPLOY] {
        let lost = project.json(run);
        lost.assert_code(1);
        assert!(lost.failure("slm").contains("`DB_PASSWORD` is not in `/etc/autobot/slm-secrets.env`"), "{}", lost.stdout);
    }
}

#[test]
fn trust_is_what_the_seed_asked_for_and_every_run_warns_of_it() {
    let node = slm();
    let project = project(&node);
    let trust = ["-e", "postgresql_auth=trust_md5"];
    let changed = deploys_as_checked(&project, "slm", "trust_md5", &trust);
    assert_eq!(changed, BTreeSet::from(["postgresql/Set the access rules for the SLM backend".to_owned()]));
    let as_nobody = |user: &str| {
        node.try_sh(&format!("cd /; runuser -u nobody -- psql -w -U {user} -XAtc 'select current_user' autobot_slm"))
    };
    assert_eq!(String::from_utf8_lossy(&as_nobody("autobot_slm").stdout).trim(), "autobot_slm", "no password on the socket");
    assert!(!as_nobody("postgres").status.success(), "nobody became the superuser");
    let wrong = node.try_sh("cd /; psql -w 'postgresql://autobot_slm:wrong@localhost/autobot_slm' -c 'select 1'");
    assert!(!wrong.status.success(), "a wrong password on loopback");
    assert_eq!(by_url(&node), "autobot_slm|autobot_slm|5432");
    for run in [&["deploy", "--check"], DEPLOY] {
        let output = project.run(&[run, &trust].concat()).assert_code(0).stdout.clone();
        assert!(output.contains("WARNING: any program on this node is `autobot_slm` without a password"), "{output}");
    }
    let rules = r#"{"postgresql_hba_rules": [{"type": "local", "database": "autobot_slm", "user": "nobody", "method": "peer"}]}"#;
    let deploy = project.run(&["deploy", "-e", rules]);
    deploy.assert_code(0);
    assert!(!deploy.stdout.contains("WARNING"), "{}", deploy.stdout);
    assert!(!as_nobody("autobot_slm").status.success(), "trust was taken back");
    // The rule exists, but the login does not.
    let error = String::from_utf8_lossy(&as_nobody("nobody").stderr).into_owned();
    assert!(error.contains(r#"role "nobody" does not exist"#), "{error}");
    assert_eq!(
        deploys_as_checked(&project, "slm", "no more rules", &[]),
        BTreeSet::from(["postgresql/Remove the additional access rules".to_owned()])
    );
    assert!(String::from_utf8_lossy(&as_nobody("nobody").stderr).contains("no pg_hba.conf entry"));
}

#[test]
fn what_cannot_work_is_refused_before_the_first_change() {
    let node = TestNode::bare();
    let project = project(&node);
    let state = || node.sh("dpkg -l; find /etc /var/lib/autobot* -printf '%p %u %m %s %T@\\n' 2>/dev/null | sort");
    let before = state();
    let refusal = |extra: &str| {
        let runs = [&["deploy", "--check", "-e", extra][..], &["deploy", "-e", extra]].map(|run| {
            let ran = project.json(run);
            ran.assert_code(1);
            ran.failure("slm")
        });
        assert_eq!(runs[0], runs[1]);
        assert_eq!(before, state(), "a refused deploy changed the node");
        runs[0].clone()
    };
    insta::assert_snapshot!([
        "postgresql_locale=de_DE.UTF-8", "postgresql_version=17",
    ].map(&refusal).join("\n"), @"
    this node has no UTF-8 locale `de_DE.UTF-8` (it has C.utf8): leave the locale out for C.UTF-8, which is everywhere, or make it on the node: `apt-get install locales`, the line `de_DE.UTF-8 UTF-8` in /etc/locale.gen, `locale-gen`
    bookworm has PostgreSQL 15, and 17 is asked for: leave postgresql_version out, or take it from the PostgreSQL project with `postgresql_repo: pgdg`
    ");
    for run in [&["deploy", "--check"][..], DEPLOY] {
        let wrong = project.json(&[run, &["-e", "postgresql_locale=C.ISO-8859-1"]].concat());
        wrong.assert_code(4);
        assert!(wrong.stdout.contains("`C.ISO-8859-1` does not fit the encoding UTF8"), "{}", wrong.stdout);
    }
    // Another spelling of the same locale is accepted.
    project.json(&["deploy", "--check", "-e", "postgresql_locale=C.utf8"]).assert_code(0);
}

#[test]
fn killed_while_the_cluster_is_made_the_next_run_makes_it_whole() {
    let node = slm();
    let project = project(&node);
    // A node that has the packages and no cluster, and an initdb that stops half-way.
    node.sh(
        r"pg_dropcluster --stop 15 main; rm /etc/autobot/slm-secrets.env
        mv /usr/lib/postgresql/15/bin/initdb /usr/lib/postgresql/15/bin/initdb.real
        printf '#!/bin/sh\nmkdir -p /var/lib/postgresql/15/main/base; echo 15 >/var/lib/postgresql/15/main/PG_VERSION; /usr/local/bin/gate initdb; exit 1\n' >/usr/lib/postgresql/15/bin/initdb
        chmod 755 /usr/lib/postgresql/15/bin/initdb",
    );
    node.sh("chmod 777 /run");
    node.shut("initdb");
    let run = project.start(DEPLOY);
    node.await_at("initdb");
    run.kill();
    node.await_end_of_runs();
    node.open("initdb");
    node.sh("chmod 755 /run; test -e /var/lib/postgresql/15/main/PG_VERSION; mv /usr/lib/postgresql/15/bin/initdb.real /usr/lib/postgresql/15/bin/initdb");
    let changed = deploys_as_checked(&project, "slm", "after it was killed in initdb", &[]);
    assert!(changed.contains("postgresql_server/Create the PostgreSQL cluster"), "{changed:#?}");
    assert_eq!(psql(&node, "select distinct pg_encoding_to_char(encoding), datcollate from pg_database"), "UTF8|C.UTF-8");
    assert_eq!(by_url(&node), "autobot_slm|autobot_slm|5432");
    assert_eq!(node.sh("ls /var/lib/autobot-provision | grep cluster || :"), "");

    // Data without its configuration may still be needed: no new cluster is created in its place.
    psql(&node, "create table precious ()");
    node.sh("systemctl stop postgresql@15-main; mv /etc/postgresql/15/main /root/lost");
    for run in [&["deploy", "--check"], DEPLOY] {
        let refused = project.json(run).failure("slm");
        assert!(
            refused.starts_with("/var/lib/postgresql/15/main holds data, and its configuration in /etc/postgresql is gone"),
            "{refused}"
        );
    }
    node.sh("mv /root/lost /etc/postgresql/15/main");
    project.json(DEPLOY).assert_code(0);
    assert_eq!(psql(&node, "select count(*) from precious"), "0");
}

/// Signs a text with a new key. Returns the key, and the text with its signature.
fn signed(text: &str) -> (String, String) {
    let home = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
    let gpg = |arguments: &[&str], input: &str| {
        let mut child = Command::new("gpg")
            .args(["--batch", "--quiet", "--no-tty", "--yes", "--passphrase", ""])
            .args(arguments)
            .env("GNUPGHOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    gpg(&["--quick-generate-key", "T <t@example.invalid>", "rsa3072", "sign", "never"], "");
    let made = (gpg(&["--armor", "--export"], ""), gpg(&["--digest-algo", "SHA256", "--armor", "--clearsign"], text));
    drop(Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", home.path()).output());
    made
}

#[test]
fn another_version_comes_from_the_postgresql_projects_repository() {
    let node = TestNode::bare();
    // A repository with PGDG's layout; its packages are empty.
    let release = node.sh(
        r#"set -eu
        cd /srv; mkdir -p pgdg/dists/bookworm-pgdg/main/binary-all pgdg/dists/bookworm-pgdg/main/binary-amd64 pgdg/pool
        for name in postgresql-17 postgresql-client-17; do
          mkdir -p "tree/$name/DEBIAN"
          printf 'Package: %s\nVersion: 17.99-1.pgdg120+1\nArchitecture: all\nMaintainer: T <t@example.invalid>\nDescription: t\n' "$name" >"tree/$name/DEBIAN/control"
          dpkg-deb -b "tree/$name" "pgdg/pool/$name.deb" >/dev/null
        done
        cd pgdg
        for deb in pool/*.deb; do
          dpkg-deb -f "$deb"
          printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
        done >dists/bookworm-pgdg/main/binary-amd64/Packages
        cp dists/bookworm-pgdg/main/binary-amd64/Packages dists/bookworm-pgdg/main/binary-all/Packages
        cd dists/bookworm-pgdg
        printf 'Origin: apt.postgresql.org\nSuite: bookworm-pgdg\nCodename: bookworm-pgdg\nArchitectures: all amd64 arm64\nComponents: main\nSHA256:\n'
        for index in main/*/Packages; do printf ' %s %s %s\n' "$(sha256sum "$index" | cut -d' ' -f1)" "$(stat -c %s "$index")" "$index"; done"#,
    );
    let (key, in_release) = signed(&format!("{release}\n"));
    node.sh(&format!(
        "cat >/srv/pgdg/key.asc <<'END'\n{key}END\ncat >/srv/pgdg/dists/bookworm-pgdg/InRelease <<'END'\n{in_release}END"
    ));
    let vars = "autobot_roles: [postgresql_server]\npostgresql_repo: pgdg\npostgresql_version: \"17\"\n\
                postgresql_repo_url: file:/srv/pgdg\npostgresql_repo_key_url: file:/srv/pgdg/key.asc";
    let project = Project::shipped(&[("slm", &node, vars)]);
    let changed = deploys_as_checked(&project, "slm", "the packages of another repository", &["--tags", "packages"]);
    assert!(changed.contains("postgresql_server/Add the PostgreSQL repository"), "{changed:#?}");
    assert_eq!(node.sh("dpkg-query -W -f '${Version}' postgresql-17"), "17.99-1.pgdg120+1");
    let source = node.sh("cat /etc/apt/sources.list.d/pgdg.sources");
    assert!(
        source.contains("URIs: file:/srv/pgdg\n") && source.contains("Suites: bookworm-pgdg\nComponents: main\n"),
        "{source}"
    );
    assert!(source.contains("Signed-By:"), "{source}");
}
