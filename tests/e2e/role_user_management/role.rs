//! What the role makes, from nothing, with what it finds, and beside the others.

use super::{
    Pair, first,
    matrix::{NO_RULE, NOTHING, YES, strays},
    pair, psql,
};
use crate::harness::{PostgresTunnel, Project, TestNode};

#[test]
fn from_two_bare_nodes_to_a_backend_that_could_start() {
    let pair = pair();
    let deploy = first();
    let exercised = |host: &str| {
        let tasks = deploy.tasks(host).into_iter().filter(|task| task.kind == "health" && task.id.contains("log in"));
        tasks.map(|task| task.status).collect::<Vec<_>>()
    };
    assert_eq!((exercised("slm"), exercised("database_vm")), (vec!["ok".to_owned(); 2], vec!["ok".to_owned(); 2]));

    let databases = "SELECT datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding) FROM pg_database WHERE NOT datistemplate ORDER BY 1";
    assert_eq!(psql(&pair.slm, "postgres", databases), "postgres|postgres|UTF8\nslm|slm_app|UTF8\nslm_users|slm_app|UTF8");
    assert_eq!(psql(&pair.database_vm, "postgres", databases), "autobot_users|autobot_users|UTF8\npostgres|postgres|UTF8");
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    for (node, database) in [(&pair.slm, "slm"), (&pair.slm, "slm_users"), (&pair.database_vm, "autobot_users")] {
        assert_eq!(psql(node, database, tables), "0", "{database} is for the backend to fill");
    }
    let keys = |node: &TestNode, file: &str| node.sh(&format!("cut -d= -f1 /etc/autobot/{file}"));
    assert_eq!(keys(&pair.database_vm, "database-secrets.env"), "DB_PASSWORD\nAUTOBOT_APP_PASSWORD");
    assert_eq!(keys(&pair.slm, "slm-secrets.env"), "SLM_APP_PASSWORD");
    for (node, path, wanted) in [
        (&pair.database_vm, "/etc/autobot/database-secrets.env", "root:root 600"),
        (&pair.slm, "/etc/autobot/slm-secrets.env", "root:root 600"),
        (&pair.slm, "/etc/autobot/slm-database.env", "root:root 640"),
        (&pair.slm, "/etc/postgresql/15/main/pg_hba.conf", "postgres:postgres 640"),
    ] {
        assert_eq!(node.sh(&format!("stat -c '%U:%G %a' {path}")), wanted, "{path}");
    }
    assert!(!pair.slm.try_sh("command -v ufw").status.success(), "the SLM node's firewall is not this role's business");

    // As systemd reads it for the backend.
    let env = pair.slm.sh(
        "systemd-run -q --pipe --wait -p EnvironmentFile=/etc/autobot/slm-database.env env | grep -E '^(SLM|AUTOBOT)_' | sort",
    );
    let told = env.replace(&pair.app_password(), "APP").replace(&pair.slm_password(), "SLM");
    let address = pair.database_vm.address.to_string();
    insta::assert_snapshot!(told.replace(&address, "DATABASE_VM"), @r"
    AUTOBOT_USERS_DATABASE_URL=postgresql+asyncpg://autobot_app:APP@DATABASE_VM:5432/autobot_users
    SLM_DATABASE_URL=postgresql+asyncpg://slm_app:SLM@127.0.0.1:5432/slm
    SLM_DB_POOL_MAX_OVERFLOW=10
    SLM_DB_POOL_RECYCLE=3600
    SLM_DB_POOL_SIZE=20
    SLM_USERS_DATABASE_URL=postgresql+asyncpg://slm_app:SLM@127.0.0.1:5432/slm_users
    ");
    let log = "cat /var/log/postgresql/*.log; journalctl -o cat; cat /var/log/syslog 2>/dev/null || true";
    for node in [&pair.slm, &pair.database_vm] {
        let log = node.sh(log);
        for password in [pair.owner_password(), pair.app_password(), pair.slm_password()] {
            assert!(!log.contains(&password), "a password is in a log");
        }
    }

    // A password that is lost is not made anew while its login has another, and who reads it elsewhere says where it lives.
    for (host, node, file, key) in [
        ("slm", &pair.slm, "slm-secrets.env", "SLM_APP_PASSWORD"),
        ("database_vm", &pair.database_vm, "database-secrets.env", "AUTOBOT_APP_PASSWORD"),
    ] {
        let state = || {
            let logins = "SELECT rolname, rolpassword FROM pg_authid ORDER BY 1";
            let of = |node| psql(node, "postgres", logins) + &node.sh("cd /etc/autobot; stat -c '%n %Y' *; cat *");
            [of(&pair.slm), of(&pair.database_vm)]
        };
        node.sh(&format!("cd /etc/autobot; cp -p {file} /root/{file}; sed -i '/^{key}=/d' {file}"));
        let before = state();
        let mut runs = vec![(host, &["deploy", "--check"][..]), (host, &["deploy"])];
        if host == "database_vm" {
            runs.extend([("slm", &["deploy", "--check", "--limit", "slm"][..]), ("slm", &["deploy", "--limit", "slm"])]);
        }
        for (refused, arguments) in runs {
            let run = pair.project.json(arguments);
            run.assert_code(1);
            let words = run.failure(refused);
            assert!(words.contains(&format!("`{key}` is not in `/etc/autobot/{file}`")), "{arguments:?}: {words}");
            if refused != host {
                assert!(words.contains("of `database_vm`, where it lives"), "{words}");
            }
        }
        assert_eq!(state(), before, "{key} was lost");
        node.sh(&format!("mv /root/{file} /etc/autobot/{file}"));
    }
    pair.project.json(&["deploy", "--detailed-exitcode"]).assert_code(0);

    // Health knows what is good, and what is not.
    let health = pair.project.json(&["health", "--exercise"]);
    health.assert_code(0);
    for (host, login) in [("slm", "The SLM backend can log in to its database"), ("database_vm", "The application can log in")] {
        let id = format!("user_management_db/{login} with its password only");
        assert!(health.ids(host, "ok").contains(&id), "{}", health.stdout);
    }
    psql(&pair.database_vm, "postgres", "GRANT CONNECT ON DATABASE autobot_users TO PUBLIC; ALTER ROLE autobot_app NOLOGIN");
    psql(&pair.slm, "postgres", "ALTER DATABASE slm OWNER TO postgres");
    let health = pair.project.json(&["health", "--exercise"]);
    health.assert_code(1);
    let ill =
        |host: &str| health.ids(host, "failed").into_iter().map(|id| id.replace("user_management_db/", "")).collect::<Vec<_>>();
    let lost = "The SLM backend can log in to its database with its password only";
    assert_eq!(ill("slm"), [lost, "The SLM backend's database exists"]);
    let closed = "The users database is closed to all other roles";
    assert_eq!(ill("database_vm"), ["The application can log in with its password only", "The users database exists", closed]);
}

#[test]
fn beside_the_roles_of_either_node_nothing_is_lost_and_nothing_shared() {
    first();
    let (database_vm, slm) = (TestNode::converged(), TestNode::copy("users-slm"));
    let password = Pair::secret(&database_vm, "database-secrets.env", "DB_PASSWORD");
    let hosts = [
        ("database_vm", &database_vm, "autobot_roles: [redis, user_management_db]"),
        ("slm", &slm, "autobot_roles: [postgresql, user_management_db]"),
    ];
    let pair = Pair { project: Project::shipped(&hosts), database_vm, slm };
    pair.deploy(&[]);

    // One owner, one password, whichever role made it.
    assert_eq!(pair.owner_password(), password);
    let keys = pair.slm.sh("grep -o '^[A-Z_]*=' /etc/autobot/slm-secrets.env | tr -d '\\n'");
    assert!(keys.contains("SLM_APP_PASSWORD=") && keys.contains("DB_PASSWORD="), "{keys}");
    let rules = |node: &TestNode| node.sh("grep -v '^# Written' /etc/postgresql/15/main/pg_hba.conf");
    let address = pair.slm.address.to_string();
    insta::assert_snapshot!(rules(&pair.database_vm).replace(&address, "SLM"), @r"
    local all postgres peer
    # autobot-provision: begin user-management-users
    local autobot_users autobot_users,autobot_app scram-sha-256
    host autobot_users autobot_users,autobot_app 127.0.0.1/32 scram-sha-256
    host autobot_users autobot_users,autobot_app ::1/128 scram-sha-256
    hostssl autobot_users autobot_app SLM/32 scram-sha-256
    # autobot-provision: end user-management-users
    ");
    insta::assert_snapshot!(rules(&pair.slm), @r"
    local all postgres peer
    # autobot-provision: begin postgresql
    local autobot_slm autobot_slm scram-sha-256
    host autobot_slm autobot_slm 127.0.0.1/32 scram-sha-256
    host autobot_slm autobot_slm ::1/128 scram-sha-256
    # autobot-provision: end postgresql
    # autobot-provision: begin user-management-slm
    local slm,slm_users slm_app scram-sha-256
    host slm,slm_users slm_app 127.0.0.1/32 scram-sha-256
    host slm,slm_users slm_app ::1/128 scram-sha-256
    # autobot-provision: end user-management-slm
    ");

    let (database_vm, node) = (PostgresTunnel::open(&pair.database_vm), PostgresTunnel::open(&pair.slm));
    let slm_password = Pair::secret(&pair.slm, "slm-secrets.env", "DB_PASSWORD");
    assert_eq!(strays(&database_vm, &[("autobot_users", &password, "autobot_users", YES)]), NOTHING);
    let on_slm = [
        ("autobot_slm", slm_password.as_str(), "autobot_slm", YES),
        ("autobot_slm", &slm_password, "slm", NO_RULE),
        ("autobot_slm", &slm_password, "slm_users", NO_RULE),
        ("slm_app", &pair.slm_password(), "slm", YES),
        ("slm_app", &pair.slm_password(), "autobot_slm", NO_RULE),
    ];
    assert_eq!(strays(&node, &on_slm), NOTHING);

    // Each role alone leaves the other's rules as they are.
    for role in ["postgresql", "user_management_db"] {
        let again = pair.project.json(&["deploy", "--role", role, "--limit", "slm", "--detailed-exitcode"]);
        again.assert_code(0);
    }
}

#[test]
fn one_host_may_have_both_databases_and_no_client_elsewhere() {
    let node = TestNode::bare();
    let project = Project::shipped(&[("node", &node, "")]);
    project.inventory(&[("node", &node, "")], "user_management_db", "slm_db_host: node\nusers_db_host: node\n");
    let check = project.json(&["deploy", "--check"]);
    let deploy = project.json(&["deploy"]);
    assert_eq!(deploy.assert_code(0).ids("node", "changed"), check.assert_code(0).ids("node", "changed"));
    assert_eq!(project.json(&["deploy"]).assert_code(0).ids("node", "changed"), std::collections::BTreeSet::new());
}
