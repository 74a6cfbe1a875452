//! What PostgreSQL runs, and not only what its files say: each state is damaged behind the files, and health, check and deploy agree about it.

use std::collections::BTreeSet;

use crate::{
    harness::{Project, TestNode},
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
