//! A check of a role that nobody has read: nothing of it runs on the node or here, and nothing of the node's files is shown.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::harness::{Project, RunResult, TestNode};

/// What a file of the node holds that only root may read.
const CANARY: &str = "node-canary-4711";

const ROLE: &str = r#"
secrets:
  canary: {file: /root/secret}
  COMMANDED: {file: /etc/toy.env, from: {env: HOSTILE}}
tasks:
  - {name: Read, command: {cmd: "cat /root/secret; touch /root/made-reads", reads: true}, register: said}
  - {name: Read as another, command: {argv: [touch, /tmp/made-argv], reads: true}, become_user: nobody}
  - {name: Unless, command: {cmd: "true", unless: "touch /root/made-unless"}}
  - {name: Only if, command: {cmd: "true", only_if: "touch /root/made-only-if; false"}}
  - {name: Creates, command: {cmd: "touch /root/made-cmd", creates: /root/nothing}}
  - {name: Say, assert: {that: "said.stdout == ''", fail_msg: "{{ said.stdout }}"}}
  - {name: "Name {{ said.stdout }}", copy: {content: "{{ said.stdout }}", dest: /root/x}}
  - {name: Replace, copy: {content: "x\n", dest: /root/secret, validate: "touch /root/made-validate; true %s"}, notify: run}
  - {name: Edit, lineinfile: {path: /root/secret, line: x}}
  - {name: Remove a line, lineinfile: {path: /root/secret, regexp: canary, state: absent}}
  - {name: Block, blockinfile: {path: /root/secret, block: x}}
  - {name: Use a secret, copy: {content: "{{ secrets.canary }}", dest: /root/x}}
  - {name: Use a fetched secret, copy: {content: "{{ secrets.COMMANDED }}", dest: /root/x}}
  - {name: As declared, file: {path: /root, state: directory}}
handlers:
  - {name: run, command: {cmd: "touch /root/made-handler"}, ready: {command: "touch /root/made-ready"}}
health:
  - {name: Read too, read: {command: {cmd: "cat /root/secret >&2; touch /root/made-health; exit 1", reads: true}}}
  - {name: Name a client, read: {redis: {cli: /root/client, password_file: /root/secret, password_key: canary, host: 127.0.0.1, port: 1}}}
"#;

const UNKNOWN: &[&str] = &[
    "toy/Name ",
    "toy/Name a client",
    "toy/Only if",
    "toy/Read",
    "toy/Read as another",
    "toy/Read too",
    "toy/Say",
    "toy/Unless",
    "toy/Use a fetched secret",
    "toy/Use a secret",
];

fn everything(result: &RunResult) -> String {
    format!("{:?}\n{}\n{}", result.arguments, result.stdout, result.stderr)
}

#[test]
fn a_check_of_a_role_that_is_not_trusted_runs_nothing_of_it_and_shows_nothing_of_the_node() {
    let node = TestNode::bare();
    node.sh(&format!(
        "umask 077; printf 'canary=a-secret-value\\nother={CANARY}\\n' >/root/secret; printf '#!/bin/sh\\ntouch /root/made-client\\n' >/root/client; chmod 700 /root/client"
    ));
    let made = || node.sh("ls -d /root/made-* /tmp/made-* 2>/dev/null || true");
    let project = Project::toy(&[("node", &node)], ROLE);
    // The operator's inventory is elsewhere; what the project says about connections leads to this machine.
    let ops = tempfile::tempdir().unwrap();
    let inventory = ops.path().join("hosts.yml");
    fs::rename(project.path("inventory/hosts.yml"), &inventory).unwrap();
    let here = project.path("made-here");
    project.write(
        "group_vars/all.yml",
        &format!(
            "ansible_connection: local\nansible_ssh_extra_args: -o ProxyCommand='touch {0}'\nansible_become_password: {{command: touch {0}}}\n",
            here.display()
        ),
    );
    project.write("inventory/hosts.sh", &format!("#!/bin/sh\n: >{}\necho '{{}}'\n", here.display()));
    fs::set_permissions(project.path("inventory/hosts.sh"), fs::Permissions::from_mode(0o755)).unwrap();

    let inventory = inventory.to_str().unwrap();
    let check = ["deploy", "--check", "--diff", "-v", "-i", inventory, "--untrusted"];
    let result = project.json(&check);
    result.assert_code(0);
    assert_eq!(made(), "", "a stranger's text was run on the node");
    assert!(!here.exists(), "a stranger's program was run here");
    for result in [&result, &project.run(&check), &project.run(&[&check[..], &["-vvv"]].concat())] {
        result.assert_code(0);
        assert!(!result.said().contains(CANARY), "{}", everything(result));
    }
    assert_eq!(result.ids("node", "unknown").into_iter().collect::<Vec<_>>(), UNKNOWN, "{}", everything(&result));
    let changed = ["Block", "Creates", "Edit", "Remove a line", "Replace", "run"].map(|name| format!("toy/{name}"));
    assert_eq!(result.ids("node", "changed").into_iter().collect::<Vec<_>>(), changed, "{}", everything(&result));
    let reasons: Vec<String> =
        result.tasks("node").into_iter().filter(|task| task.id == "toy/Read").map(|task| task.summary).collect();
    assert!(reasons[0].contains("would run what the role says"), "{reasons:?}");
    assert!(result.ids("node", "ok").contains("toy/As declared"));
    assert_eq!((made(), node.sh("cat /root/secret")), (String::new(), format!("canary=a-secret-value\nother={CANARY}")));

    // Without `--untrusted` the same check runs as root what the role says, and shows the file.
    fs::remove_dir_all(project.path("inventory")).unwrap();
    fs::remove_dir_all(project.path("group_vars")).unwrap();
    let mut trusted = project.command(&["deploy", "--check", "--diff", "-i", inventory]);
    let trusted = trusted.env("HOSTILE", "a-value-of-the-operator").output().unwrap();
    let said = String::from_utf8_lossy(&trusted.stdout).into_owned() + &String::from_utf8_lossy(&trusted.stderr);
    assert!(made().contains("/root/made-reads") && said.contains(CANARY), "{said}");
}
