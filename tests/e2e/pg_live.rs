//! What PostgreSQL runs, and not only what its files say: each state is damaged behind the files, and health, check and deploy agree about it.

use std::collections::BTreeSet;

use crate::{
    harness::{Project, TestNode, eventually},
    role_postgresql::{psql, slm},
    truth::deploys_as_checked,
};

const UNIT: &str = "postgresql@15-main.service";

fn project(node: &TestNode) -> Project {
    Project::shipped(&[("slm", node, "autobot_roles: [postgresql]")])
}

/// Asserts that health is red, and returns the failed check and its words.
#[track_caller]
fn sick(project: &Project) -> (String, String) {
    let health = project.json(&["health"]);
    health.assert_code(1);
    let failed = health.tasks("slm").into_iter().find(|task| task.status == "failed").unwrap();
    (failed.id, failed.error)
}

#[test]
fn a_server_whose_program_was_replaced_is_restarted_or_named() {
    let node = slm();
    let project = project(&node);
    project.json(&["health"]).assert_code(0);
    // As dpkg does; an upgrade that was interrupted and finished later restarts nothing.
    node.sh("cd /usr/lib/postgresql/15/bin; cp -p postgres postgres.dpkg-new; mv postgres.dpkg-new postgres");
    let exe = || node.sh(&format!("readlink /proc/$(systemctl show -p MainPID --value {UNIT})/exe"));
    assert_eq!(exe(), "/usr/lib/postgresql/15/bin/postgres (deleted)");
    let (check, words) = sick(&project);
    assert_eq!(check, "postgresql_server/The PostgreSQL cluster runs the installed program");
    assert!(words.contains(&format!("`{UNIT}` still runs the old program of `/usr/lib/postgresql/15/bin/postgres`")), "{words}");

    // Where a restart must wait for a better time, it is a warning.
    let manual = ["-e", "postgresql_restart_if_replaced=false"];
    let health = project.run(&[&["health"], &manual[..]].concat());
    health.assert_code(0);
    assert!(health.said().contains(&format!("`systemctl restart {UNIT}` when it suits")), "{}", health.said());
    assert_eq!(deploys_as_checked(&project, "slm", "no restart is wanted", &manual), BTreeSet::new());
    assert!(exe().ends_with(" (deleted)"), "it was not restarted");

    let changed = deploys_as_checked(&project, "slm", "the program was replaced", &[]);
    assert_eq!(changed, BTreeSet::from(["postgresql_server/Restart PostgreSQL if its program was replaced".to_owned()]));
    assert_eq!(exe(), "/usr/lib/postgresql/15/bin/postgres");
    assert_eq!(psql(&node, "select 1"), "1");
    project.json(&["health"]).assert_code(0);
}

const HBA: &str = "/etc/postgresql/15/main/pg_hba.conf";

/// Whether any password gets in by TCP.
fn is_open(node: &TestNode) -> bool {
    node.try_sh("cd /; psql -w 'postgresql://autobot_slm:wrong@127.0.0.1/autobot_slm' -XAtc 'select 1'").status.success()
}

#[test]
fn rules_that_the_server_still_has_from_before_are_noticed_whatever_the_times_of_the_file_say() {
    let node = slm();
    let project = project(&node);
    let rules = BTreeSet::from(["postgresql/Set the access rules for the SLM backend".to_owned()]);
    // The old file comes back within the second of the reload, and once with its old time.
    for back in ["cp", "cp -p", "mv"] {
        node.sh(&format!(
            "cp -p {HBA} {HBA}.good; sed -i '2i host all all 127.0.0.1/32 trust' {HBA}; systemctl reload {UNIT}
            for try in $(seq 100); do ! psql -w 'postgresql://autobot_slm:wrong@127.0.0.1/autobot_slm' -c 'select 1' || break; done
            {back} {HBA}.good {HBA}; rm -f {HBA}.good"
        ));
        assert!(is_open(&node), "{back}: the server has the old rules");
        let sure = "it is not known whether its rules are those of the file";
        if back == "cp" {
            let (check, words) = sick(&project);
            assert_eq!(check, "postgresql/PostgreSQL goes by its files");
            assert!(
                words.contains("rules from before the last change of pg_hba.conf: `systemctl reload postgresql@15-main`"),
                "{words}"
            );
        } else {
            // The times of a backup, or another mode, look the same, and hurt nobody.
            let health = project.run(&["health"]);
            health.assert_code(0);
            assert!(health.said().contains(sure), "{}", health.said());
        }
        let mut changed = deploys_as_checked(&project, "slm", back, &[]);
        assert!(changed.remove(rules.first().unwrap()), "{back}: {changed:#?}");
        assert_eq!(changed, BTreeSet::new(), "{back}");
        assert!(!is_open(&node), "{back}");
        project.json(&["health"]).assert_code(0);
    }

    // With a broken file of settings, no file is read again: refused before the first change, and health names the line.
    node.sh(&format!("touch {HBA}; echo 'nonsense here' >/etc/postgresql/15/main/conf.d/99-mine.conf"));
    let (_, words) = sick(&project);
    assert!(words.contains("/conf.d/99-mine.conf, line 1: "), "{words}");
    let refused = [&["deploy", "--check"][..], &["deploy"]].map(|run| project.json(run).failure("slm"));
    assert_eq!(refused[0], refused[1]);
    assert!(
        refused[0].contains("PostgreSQL reads none of its files again") && refused[0].contains("99-mine.conf, line 1"),
        "{}",
        refused[0]
    );
    node.sh("rm /etc/postgresql/15/main/conf.d/99-mine.conf");
    assert_eq!(deploys_as_checked(&project, "slm", "the broken file is gone", &[]), rules);
}

#[test]
fn settings_that_the_server_has_not_read_or_has_for_one_role_only_are_noticed() {
    let node = slm();
    let project = project(&node);
    let file = "/etc/postgresql/15/main/conf.d/50-autobot.conf";
    node.sh(&format!(
        "cp -p {file} /root/good; sed -i s/16MB/8MB/ {file}; systemctl reload {UNIT}
        until [ \"$(runuser -u postgres -- psql -XAtc 'show work_mem')\" = 8MB ]; do :; done; mv /root/good {file}"
    ));
    let changed = deploys_as_checked(&project, "slm", "other settings are live", &[]);
    assert_eq!(changed, BTreeSet::from(["postgresql/Configure PostgreSQL".to_owned()]));
    assert_eq!(psql(&node, "show work_mem"), "16MB");
    project.json(&["health"]).assert_code(0);

    psql(&node, "alter role autobot_slm in database autobot_slm set work_mem = '1MB'");
    assert_eq!(deploys_as_checked(&project, "slm", "set for a role", &[]), BTreeSet::new());
    let said = project.run(&["deploy", "-v"]).said();
    assert!(said.contains("work_mem for the role autobot_slm in the database autobot_slm"), "{said}");
}

#[test]
fn what_shuts_a_declared_login_out_is_red_and_put_right() {
    let node = slm();
    let project = project(&node);
    let logs_in = || {
        node.try_sh(
            "cd /; url=$(sed -n 's/^DATABASE_URL=postgresql+asyncpg:/postgresql:/p' /etc/autobot/slm-secrets.env); psql \"$url\" -XAtc 'select 1'",
        )
        .status
        .success()
    };
    assert!(logs_in());
    let role = "postgresql/Create the SLM backend's database role";
    let database = "postgresql/Create the SLM backend's database";
    for (damage, task, words) in [
        ("alter role autobot_slm valid until '2020-01-01'", role, "the password of `autobot_slm` expired at 2020-01-01"),
        ("alter role autobot_slm connection limit 0", role, "`autobot_slm` has the connection limit 0"),
        ("alter role autobot_slm nologin", role, "`autobot_slm` may not log in (NOLOGIN)"),
        ("alter database autobot_slm connection limit 0", database, "`autobot_slm` has the connection limit 0: only a superuser"),
        (
            "revoke connect on database autobot_slm from autobot_slm",
            database,
            "`autobot_slm` lacks the privilege CONNECT on `autobot_slm`",
        ),
    ] {
        psql(&node, damage);
        assert!(!logs_in(), "{damage}");
        let (check, said) = sick(&project);
        assert_eq!(check, "postgresql/The SLM backend's database exists");
        assert!(said.contains(words), "{damage}: {said}");
        assert_eq!(deploys_as_checked(&project, "slm", damage, &[]), BTreeSet::from([task.to_owned()]), "{damage}");
        assert!(logs_in(), "{damage}");
        project.json(&["health"]).assert_code(0);
    }

    // A database that takes no connections is not one that is missing.
    psql(&node, "alter database autobot_slm allow_connections false");
    let words = "the database `autobot_slm` takes no connections: `alter database autobot_slm allow_connections true`";
    assert_eq!(project.json(&["deploy", "--check"]).failure("slm"), words);
    assert_eq!(project.json(&["deploy"]).failure("slm"), words);
    let (_, said) = sick(&project);
    assert_eq!(said, words);
    psql(&node, "alter database autobot_slm allow_connections true");
    assert_eq!(deploys_as_checked(&project, "slm", "it takes connections again", &[]), BTreeSet::new());
}

#[test]
fn a_server_that_refuses_writes_is_red_and_refused_in_the_same_words() {
    let node = slm();
    let project = project(&node);
    let setting = "default_transaction_read_only";
    let reload = "select pg_reload_conf()";
    for (damage, words, mend) in [
        (&["alter database autobot_slm set S = on"][..], "on in the database", &["alter database autobot_slm reset S"][..]),
        (&["alter role autobot_slm set S = true"], "on for the role `autobot_slm`", &["alter role autobot_slm reset S"]),
        (
            &["alter role autobot_slm in database autobot_slm set S = on"],
            "on for the role `autobot_slm` in the database",
            &["alter role autobot_slm in database autobot_slm reset S"],
        ),
        (&["alter role all set S = on"], "on for all roles", &["begin read write", "alter role all reset S", "commit"]),
        (&["alter system set S = on", reload], "it was set with ALTER SYSTEM", &["alter system reset S"]),
        // What the server has loaded counts, and not what its files say now.
        (&[], "no file of the server says so any more; `select pg_reload_conf()`", &[reload]),
    ] {
        let say = |statements: &[&str]| {
            let all: String = statements.iter().map(|one| [" -c \"", &one.replace('S', setting), "\""].concat()).collect();
            node.sh(&format!("cd /; runuser -u postgres -- psql -qXAt{all} </dev/null"));
        };
        say(damage);
        eventually("it is live", 30, || project.json(&["health"]).code == Some(1));
        let (check, said) = sick(&project);
        assert_eq!(check, "postgresql/The SLM backend's database exists");
        assert!(said.contains(words) && said.contains("which refuses writes"), "{damage:?}: {said}");
        let refused = [&["deploy", "--check"][..], &["deploy"]].map(|run| project.json(run).failure("slm"));
        assert_eq!((&refused[0], &refused[0]), (&refused[1], &said), "{damage:?}");
        say(mend);
        if mend == ["alter system reset S"] {
            continue;
        }
        eventually("it is mended", 30, || project.json(&["health"]).code == Some(0));
        assert_eq!(deploys_as_checked(&project, "slm", words, &[]), BTreeSet::new());
    }
}

#[test]
fn rules_for_tls_need_a_server_that_offers_it() {
    let node = slm();
    let project = project(&node);
    let rules = r#"{"postgresql_hba_rules": [{"type": "hostssl", "database": "autobot_slm", "user": "autobot_slm", "address": "198.18.0.0/16", "method": "scram-sha-256"}]}"#;
    let arguments = ["-e", rules];
    project.json(&[&["deploy"], &arguments[..]].concat()).assert_code(0);
    project.json(&["health"]).assert_code(0);
    node.sh("cd /; runuser -u postgres -- psql -qXAt -c 'alter system set ssl = off' -c 'select pg_reload_conf()'");
    eventually("it is live", 30, || project.json(&["health"]).code == Some(1));
    let (check, said) = sick(&project);
    assert_eq!(check, "postgresql/PostgreSQL goes by its files");
    assert!(
        said.contains("`ssl` is off, so that no client gets in by the `hostssl` rules: it was set with ALTER SYSTEM"),
        "{said}"
    );
    let refused =
        [&["deploy", "--check"][..], &["deploy"]].map(|run| project.json(&[run, &arguments[..]].concat()).failure("slm"));
    assert_eq!((&refused[0], &refused[0]), (&refused[1], &said));
    node.sh("cd /; runuser -u postgres -- psql -qXAt -c 'alter system reset ssl' -c 'select pg_reload_conf()'");
    eventually("it is mended", 30, || project.json(&["health"]).code == Some(0));
    assert_eq!(deploys_as_checked(&project, "slm", "TLS is on again", &arguments), BTreeSet::new());
}

#[test]
fn rules_that_no_role_declares_let_nobody_in_without_a_password() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("database_vm", &node, "autobot_roles: [redis]")]);
    let health = || project.json(&["health"]);
    eventually("everything is up", 60, || health().code == Some(0));
    let why = || {
        let failed = health().tasks("database_vm").into_iter().filter(|task| task.status == "failed");
        failed.map(|task| format!("{}: {}", task.id, task.error)).collect::<Vec<_>>().join("\n")
    };
    let check = "postgresql_server/PostgreSQL goes by its files, and asks for passwords: ";
    node.sh(&format!("cp -p {HBA} /root/good; sed -i '1i host all all 127.0.0.1/32 trust' {HBA}; systemctl reload {UNIT}"));
    eventually("the rules are live", 30, || !why().contains("makes it read that"));
    assert_eq!(why(), format!("{check}pg_hba.conf lets clients in without a password (`trust`), which nothing declares: line 1"));
    node.sh(&format!("cat /root/good >{HBA}"));
    assert!(why().starts_with(&format!("{check}the server lets clients in by rules from before")), "{}", why());
    node.sh(&format!("systemctl reload {UNIT}"));
    eventually("the rules are those of before", 30, || health().code == Some(0));
}

#[test]
fn what_a_new_database_grants_by_itself_is_predicted() {
    let node = slm();
    let role = r"
description: t
tasks:
  - name: Owner
    postgresql_user: {name: mini}
  - name: Database
    postgresql_db: {name: minidb, owner: mini, public_connect: true}
  - name: Schema
    postgresql_privs: {database: minidb, type: schema, objs: public, roles: PUBLIC, privs: [ALL], state: absent}
  - name: Creation
    postgresql_privs: {database: minidb, type: schema, objs: public, roles: PUBLIC, privs: CREATE, state: absent}
  - name: Temporary
    postgresql_privs: {database: minidb, type: database, roles: PUBLIC, privs: TEMPORARY, state: absent}
  - name: Functions
    postgresql_privs: {database: minidb, type: default_privs, objs: FUNCTIONS, target_roles: mini, roles: PUBLIC, privs: ALL, state: absent}
  - name: Tables
    postgresql_privs: {database: minidb, objs: ALL_IN_SCHEMA, roles: PUBLIC, privs: ALL, state: absent}
";
    let project = Project::toy(&[("slm", &node)], role);
    let changed = deploys_as_checked(&project, "slm", "a new database", &[]);
    let expected = ["Owner", "Database", "Schema", "Temporary", "Functions"].map(|task| format!("toy/{task}"));
    assert_eq!(changed, expected.into(), "from version 15 on only the owner may create in `public`");
}

#[test]
fn a_second_cluster_of_the_version_is_no_obstacle_on_a_port_of_its_own() {
    let node = slm();
    let project = project(&node);
    node.sh("LC_ALL=C.UTF-8 pg_createcluster 15 other --start");
    assert_eq!(node.sh("pg_lsclusters -h | awk '{print $2, $3}'"), "main 5432\nother 5433");
    assert_eq!(deploys_as_checked(&project, "slm", "15/other is there", &[]), BTreeSet::new());
    project.json(&["health"]).assert_code(0);
    node.sh("systemctl stop postgresql@15-other; pg_conftool 15 other set port 5432");
    let words = project.json(&["deploy"]).failure("slm");
    assert!(words.contains("15/other with port 5432, which is that of 15/main: give it another one"), "{words}");
}

#[test]
fn a_name_that_is_a_keyword_of_the_rules_is_refused_before_a_node_is_asked() {
    let node = slm();
    let project = project(&node);
    for (variable, words) in [
        ("autobot_slm_db_name=all", "`all` is a keyword of pg_hba.conf"),
        ("autobot_slm_db_name=replication", "`replication` is a keyword of pg_hba.conf"),
        ("autobot_slm_db_name=a,b", "give several as a list"),
        ("autobot_slm_db_user=all", "`all` has a meaning of its own in pg_hba.conf"),
    ] {
        for run in [&["deploy", "--check"][..], &["deploy"]] {
            let refused = project.json(&[run, &["-e", variable]].concat());
            refused.assert_code(4);
            assert!(refused.stdout.contains(words), "{}", refused.stdout);
        }
    }
}
