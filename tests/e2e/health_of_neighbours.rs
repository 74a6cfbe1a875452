//! `health` of the programs that use a database: the SLM backend and its schema version. A shell script answers for the backend.

use crate::harness::{Project, RunResult, TestNode};

/// Returns the status and the text of the only health item of host `node`.
#[track_caller]
fn item(ran: &RunResult) -> (String, String) {
    let all = ran.tasks("node");
    let health: Vec<_> = all.iter().filter(|task| task.kind == "health").collect();
    let [one] = health.as_slice() else { panic!("not one item: {all:#?}\n{}", ran.stderr) };
    (one.status.clone(), format!("{}{}", one.summary, one.error))
}

/// A backend that answers on 127.0.0.1:8000 with the files of /srv, and records its requests.
const STAND_IN: &str = r#"
mkdir -p /srv
cat >/srv/answer <<'END'
#!/bin/sh
read -r method path version
echo "$method $path" >>/srv/asked
case $path in
  /api/health) file=/srv/general ;;
  /api/health/database) file=/srv/database ;;
  *) printf 'HTTP/1.0 404 Not Found\r\n\r\n'; exit ;;
esac
printf 'HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n' "$(stat -c %s "$file")"
cat "$file"
END
chmod +x /srv/answer
cd /run/systemd/system
printf '[Service]\nExecStart=/bin/sleep infinity\n' >autobot-slm-backend.service
printf '[Socket]\nListenStream=127.0.0.1:8000\nAccept=yes\n' >stand-in.socket
printf '[Service]\nExecStart=/srv/answer\nStandardInput=socket\n' >stand-in@.service
systemctl daemon-reload
"#;

const GENERAL: &str = r#"{"status": "healthy", "version": "1.0.0", "uptime_seconds": 3600, "database": "healthy", "nodes_online": 5, "nodes_total": 5}"#;

#[test]
fn the_backend_is_asked_by_health_alone_and_what_it_says_is_shown() {
    let node = TestNode::bare();
    let role = |content: &str| {
        format!(
            "description: t
secrets: {{DB_PASSWORD: {{file: /etc/toy.env}}}}
tasks:
  - {{name: Declare a file, copy: {{dest: /etc/toy, content: {content}}}}}
health:
  - name: The SLM backend is healthy
    exercise: {{slm_backend: {{url: \"http://127.0.0.1:8000\"}}}}
"
        )
    };
    let project = Project::toy(&[("node", &node)], &role("x"));
    let health = || project.json(&["health"]);
    let missing = health();
    missing.assert_code(0);
    assert_eq!(item(&missing), ("skipped".into(), "there is no unit `autobot-slm-backend.service` on this node".into()));

    node.sh(STAND_IN);
    let answer = |general: &str, database: &str| {
        node.sh(&format!("printf %s '{general}' >/srv/general; printf %s '{database}' >/srv/database"))
    };
    answer(GENERAL, r#"{"status": "healthy", "database": "postgresql"}"#);
    let silent = health();
    silent.assert_code(1);
    assert!(item(&silent).1.starts_with("http://127.0.0.1:8000/api/health: no"), "{:?}", item(&silent));

    node.sh("systemctl start stand-in.socket");
    let well = health();
    well.assert_code(0);
    assert_eq!(item(&well), ("ok".into(), "healthy, postgresql, 5 of 5 nodes online, up 60 min".into()));
    assert_eq!(node.sh("cat /srv/asked"), "GET /api/health\nGET /api/health/database");

    answer(&GENERAL.replace("online\": 5", "online\": 3"), r#"{"status": "healthy", "database": "postgresql"}"#);
    let offline = project.run(&["health"]);
    offline.assert_code(0);
    let row = "warning  2 nodes offline; healthy, postgresql, 3 of 5 nodes online, up 60 min\n";
    assert!(offline.stdout.contains(row) && offline.stdout.contains("1 ok (1 warning)"), "{}", offline.stdout);
    assert_eq!(health().json()["summary"]["warnings"], 1);

    answer(&GENERAL.replace(r#""database": "healthy""#, r#""database": "unhealthy""#), r#"{"status": "unhealthy"}"#);
    let sick = health();
    sick.assert_code(1);
    let (_, why) = item(&sick);
    assert!(
        why.contains("/api/health: the database is unhealthy") && why.contains("/api/health/database: the status is unhealthy"),
        "{why}"
    );

    // The output of nodes is shown, except for secrets.
    node.sh("umask 077; echo DB_PASSWORD=canary-0123456789 >/etc/toy.env");
    answer(&GENERAL.replacen("healthy", "no canary-0123456789", 1), r#"{"status": "healthy"}"#);
    for health in [project.run(&["health"]), health()] {
        assert!(
            health.said().contains("the status is no ‹DB_PASSWORD›") && !health.said().contains("canary"),
            "{}",
            health.said()
        );
    }

    // An unhealthy backend does not fail a deploy, which does not even ask it.
    node.sh("rm /srv/asked");
    project.converges(&role("y"));
    assert!(!node.try_sh("test -e /srv/asked").status.success());
}

#[test]
fn the_version_of_the_tables_is_read_from_the_database_and_never_by_running_what_is_in_it() {
    let node = TestNode::converged();
    let role = "description: t\ntasks: []\nhealth:\n  - name: Migrations\n    read: {migrations: {database: slm}}\n";
    let project = Project::toy(&[("node", &node)], role);
    let psql = |database: &str, sql: &str| {
        node.sh(&format!("cd /; runuser -u postgres -- psql -qXAt -v ON_ERROR_STOP=1 {database} <<'END'\n{sql}\nEND"));
    };
    let migrations = || item(&project.json(&["health"]));
    crate::harness::eventually("PostgreSQL answers", 60, || migrations().0 == "skipped");
    assert_eq!(migrations().1, "there is no database `slm`");

    psql("postgres", "create role slm_app; create database slm owner slm_app;");
    assert_eq!(migrations(), ("ok".into(), "empty: db_service.initialize() has to run first".into()));
    psql("slm", "set role slm_app; create schema app; create table app.nodes (id int); create table app.slo (id int);");
    let warned = project.run(&["health"]);
    warned.assert_code(0);
    let row = "warning  no version is recorded in alembic_version or migrations_applied; 2 tables\n";
    assert!(warned.stdout.contains(row), "{}", warned.stdout);

    // A superuser must not run code of the owner.
    let trap =
        "create function app.trap() returns text language plpgsql as $$ begin raise exception 'ran as %', current_user; end $$;
        create function app.trap(text, text) returns bool language plpgsql as $$ begin raise exception 'ran'; end $$;
        create operator app.= (leftarg = text, rightarg = text, function = app.trap);";
    psql(
        "slm",
        &format!(
            "grant all on schema public to slm_app; set role slm_app; {trap} create view public.alembic_version as select app.trap() as version_num;"
        ),
    );
    psql("slm", "alter database slm set search_path = app, public, pg_catalog");
    let (status, words) = migrations();
    assert_eq!(
        (status.as_str(), words.as_str()),
        ("ok", "warning: `alembic_version` is not an ordinary table, so it is not read; 2 tables")
    );
    let typed = "drop view public.alembic_version; create type app.own as enum ('1a2b');
        create function app.own_text(app.own) returns text language plpgsql as $$ begin raise exception 'ran'; end $$;
        create cast (app.own as text) with function app.own_text(app.own);
        create table public.alembic_version (version_num app.own); insert into public.alembic_version values ('1a2b');";
    psql("slm", &format!("set role slm_app; {typed}"));
    assert!(migrations().1.contains("`alembic_version` is not an ordinary table"), "{}", migrations().1);

    psql("slm", "set role slm_app; drop table public.alembic_version; create table public.alembic_version (version_num varchar(32) not null);
        insert into public.alembic_version values (E'1a<&2b');");
    assert_eq!(migrations(), ("ok".into(), "alembic 1a<&2b; 2 tables".into()));
    psql("slm", "set role slm_app; delete from public.alembic_version; create table public.migrations_applied (id serial primary key, name varchar(255), applied_at timestamp);
        insert into public.migrations_applied (name, applied_at) values ('002_later', '2026-02-03 04:05:06'), ('001_first', '2026-01-02 03:04:05');");
    assert_eq!(migrations(), ("ok".into(), "2 migrations applied, last 002_later (2026-02-03 04:05); 2 tables".into()));
    node.sh("systemctl stop postgresql@15-main");
    assert_eq!(migrations(), ("failed".into(), "PostgreSQL does not answer on port 5432".into()));
}

#[test]
fn the_slm_node_tells_its_ports_its_tables_and_how_its_backend_is() {
    let node = TestNode::bare();
    let project = Project::shipped(&[("slm", &node, "autobot_roles: [postgresql]")]);
    project.json(&["deploy"]).assert_code(0);
    let health = project.run(&["health"]);
    health.assert_code(0);
    let table = &health.stdout;
    let row = |check: &str, rest: &str| {
        let matches = |line: &&str| line.starts_with("slm   postgresql") && line.contains(check) && line.ends_with(rest);
        assert!(table.lines().any(|line| matches(&line)), "no row {check} with {rest}:\n{table}");
    };
    row("PostgreSQL listens on the declared addresses only", "  ok       127.0.0.1:5432, [::1]:5432");
    row("The SLM backend's schema version is recorded", "  ok       empty: db_service.initialize() has to run first");
    row("The SLM backend is healthy", "  skipped  there is no unit `autobot-slm-backend.service` on this node");
    assert!(table.contains("Nothing listens that should not") && table.contains("open beyond loopback: 22"), "{table}");

    let database = r#"{"status": "healthy", "database": "postgresql"}"#;
    let answers = format!("printf %s '{GENERAL}' >/srv/general; printf %s '{database}' >/srv/database");
    node.sh(&format!("{STAND_IN}{answers}; systemctl start stand-in.socket"));
    let health = project.run(&["health"]);
    health.assert_code(0);
    let row = "slm postgresql The SLM backend is healthy ok healthy, postgresql, 5 of 5 nodes online, up 60 min";
    let is_row = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") == row;
    assert!(health.stdout.lines().any(is_row), "{}", health.stdout);
}
