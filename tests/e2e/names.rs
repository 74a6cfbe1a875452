//! What names refer to on a real node: results of another role, units without their suffix, handlers and roles that were renamed.

use crate::harness::{Project, TestNode};

#[test]
fn a_name_that_another_role_registers_means_the_same_to_validate_check_deploy_and_health() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], "tasks: []\n");
    project.write(
        "roles/t/role.yml",
        "tasks:\n  - {name: Ask, command: {argv: [printf, \"%s\", theirs], reads: true}, register: said}\n",
    );
    project.write(
        "roles/b/role.yml",
        "defaults: {said: {type: string, default: mine}}\ntasks:\n  - {name: Mine, assert: {that: said == \"mine\"}}\n\
         health:\n  - {name: Still mine, read: {assert: {that: said == \"mine\"}}}\n",
    );
    project.inventory(&[("node", &node, "")], "t, b", "");
    for arguments in [&["validate"][..], &["deploy", "--check", "--detailed-exitcode"], &["deploy"], &["health"]] {
        project.run(arguments).assert_code(0);
    }
}

/// Returns a role with a unit that runs, and a handler that restarts it by its name without the suffix.
fn role(head: &str, handler: &str, was: &str, content: &str) -> String {
    format!(
        "{head}tasks:
  - name: Write the unit
    copy:
      dest: /etc/systemd/system/clock.service
      content: |
        [Service]
        ExecStart=/bin/sh -c 'echo x >>/srv/starts; exec sleep infinity'
  - {{name: Configure, copy: {{dest: /etc/clock.conf, content: {content}}}, notify: {handler}}}
  - {{name: Start, systemd: {{name: clock, state: started}}}}
handlers:
  - name: {handler}
    {was}systemd: {{name: clock, state: restarted}}
"
    )
}

#[test]
fn a_renamed_handler_gets_once_what_the_node_owes_its_former_name() {
    let node = TestNode::bare();
    let starts = || node.sh("wc -l </srv/starts");
    let pending = || node.sh("ls /var/lib/autobot-provision/pending");
    let project = Project::toy(&[("node", &node)], &role("", "restart", "", "a"));
    project.run(&["deploy"]).assert_code(0);
    let restarted = project.converges(&role("", "restart", "", "b"));
    assert!(restarted.ids("node", "changed").contains("toy/restart"), "{}", restarted.stdout);
    let before: u32 = starts().parse().unwrap();

    // Leaves the pending mark of a deploy that was killed after the change and before the handler.
    let leave_mark = |mark: &str| {
        node.sh(&format!(
            "read -r boot </proc/sys/kernel/random/boot_id; read -r now _ </proc/uptime
             printf '%s %s \\n' \"$boot\" \"${{now%.*}}999999\" >/var/lib/autobot-provision/pending/{mark}"
        ));
    };
    leave_mark("toy.restart");
    let deploy = project.converges(&role("", "wind up the clock", "was: [restart it, restart]\n    ", "b"));
    assert_eq!(deploy.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/wind up the clock"]);
    assert_eq!((starts(), pending()), ((before + 1).to_string(), String::new()));

    // The role is renamed, too.
    leave_mark("toy.restart");
    std::fs::remove_dir_all(project.path("roles/toy")).unwrap();
    project.write("roles/clock/role.yml", &role("was: toy\n", "wind up", "was: restart\n    ", "b"));
    project.inventory(&[("node", &node, "")], "clock", "");
    for arguments in [&["deploy", "--check"][..], &["deploy"]] {
        let ran = project.json(arguments);
        ran.assert_code(0);
        assert_eq!(ran.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["clock/wind up"], "{}", ran.stdout);
    }
    assert_eq!((starts(), pending()), ((before + 2).to_string(), String::new()));
    let again = project.json(&["deploy"]);
    assert_eq!((again.ids("node", "changed").len(), &again.host("node")["round_trips"]), (0, &1.into()), "{}", again.stdout);
}
