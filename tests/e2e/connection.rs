//! Connections other than ssh with an inventory file: a node that deploys to itself, and inventories that are not files.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, process::Command};

use crate::harness::{Project, RunResult, TestNode, lab};

const TOY: &str = r#"
defaults: {word: hello}
secrets:
  TOKEN: {file: /etc/app/secrets.env}
tasks:
  - name: Say it
    copy: {dest: /etc/app/said, content: "{{ word }} {{ secrets.TOKEN }}\n", owner: root, group: root, mode: "0600"}
  - name: Be root
    command: {cmd: "id -u >/etc/app/who", creates: /etc/app/who}
health:
  - name: It is said
    read: {file: {path: /etc/app/said, mode: "0600"}}
"#;

const ALL: [&str; 3] = ["toy/secret TOKEN", "toy/Say it", "toy/Be root"];

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// Installs the program on a node, with the libraries of this machine, whose C library may be newer. Returns the command that starts it.
fn install(node: &TestNode) -> String {
    let program = env!("CARGO_BIN_EXE_autobot-provision");
    let directory = node.root.join("opt/program");
    fs::create_dir_all(&directory).unwrap();
    let needed = String::from_utf8(Command::new("ldd").arg(program).output().unwrap().stdout).unwrap();
    let libraries: Vec<&str> = needed.split_whitespace().filter(|word| word.starts_with('/')).collect();
    for file in libraries.iter().copied().chain([program]) {
        fs::copy(file, directory.join(file.rsplit('/').next().unwrap())).unwrap();
    }
    let loader = libraries.iter().find(|file| file.contains("/ld-")).unwrap().rsplit('/').next().unwrap();
    format!("/opt/program/{loader} --library-path /opt/program /opt/program/autobot-provision")
}

#[test]
fn a_node_deploys_to_itself_without_ssh() {
    let node = TestNode::bare();
    let project = Project::toy(&[("n", &node)], TOY);
    let program = install(&node);
    // The user who deploys is not root; no sshd listens at this address and port.
    let inventory =
        "all: {hosts: {n: {ansible_connection: local, ansible_host: 127.0.0.1, ansible_port: 1, autobot_roles: [toy]}}}\n";
    for (path, text) in [("inventory/hosts.yml", inventory), ("roles/toy/role.yml", TOY)] {
        let path = node.root.join("srv/project").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    node.sh("systemctl stop ssh.socket ssh.service 2>/dev/null || systemctl stop ssh.service; chmod -R a+rX /srv/project /opt/program");
    let run = |arguments: &[&str]| {
        let script = format!("cd /srv/project && exec runuser -u autobot -- {program} {} --output json", arguments.join(" "));
        RunResult::new(arguments, &node.try_sh(&script))
    };
    let check = run(&["deploy", "--check"]);
    let deploy = run(&["deploy"]);
    let again = run(&["deploy", "--detailed-exitcode"]);
    for ran in [&check, &deploy, &again, &run(&["health"])] {
        ran.assert_code(0);
    }
    assert_eq!([check.ids("n", "changed"), deploy.ids("n", "changed")], [ids(&ALL), ids(&ALL)]);
    assert_eq!(again.host("n")["round_trips"], 1);
    assert_eq!(node.sh("cat /etc/app/who; stat -c '%a %U' /etc/app/said /etc/app/secrets.env"), "0\n600 root\n600 root");
    // Over ssh, the same role finds nothing to change on the node.
    node.sh("systemctl start ssh");
    project.json(&["deploy", "--detailed-exitcode"]).assert_code(0);
}

#[test]
fn a_program_or_an_address_is_inventory_enough_for_a_deploy() {
    let node = TestNode::bare();
    let project = Project::toy(&[], TOY);
    let address = node.address.to_string();
    let (key, known_hosts) =
        (lab().key().display().to_string(), format!("-o UserKnownHostsFile={}", lab().known_hosts().display()));
    let vars = serde_json::json!({
        "ansible_user": "autobot", "ansible_ssh_private_key_file": key, "ansible_ssh_common_args": known_hosts,
    });
    let mut host = vars.clone();
    host["ansible_host"] = address.as_str().into();
    let document = serde_json::json!({
        "toys": {"hosts": ["n"], "vars": {"autobot_roles": ["toy"], "word": "programmed"}}, "_meta": {"hostvars": {"n": host}},
    });
    // The answer is in another file, so the program has to be run.
    project.write("answer.json", &document.to_string());
    project.write("fleet", "#!/bin/sh\n[ \"$1\" = --list ] && exec cat \"$(dirname \"$0\")/answer.json\"\n");
    fs::set_permissions(project.path("fleet"), fs::Permissions::from_mode(0o755)).unwrap();
    let program = ["deploy", "-i", "fleet", "--limit", "toys"];
    let deploy = project.json(&program);
    deploy.assert_code(0);
    assert_eq!(deploy.ids("n", "changed"), ids(&ALL));
    assert!(node.sh("cat /etc/app/said").starts_with("programmed "));

    let hosts = format!("{address},");
    let given = vars.to_string();
    let by_address = ["deploy", "-i", &hosts, "--limit", &address, "--role", "toy", "-e", &given];
    let deploy = project.json(&by_address);
    deploy.assert_code(0);
    assert_eq!(deploy.ids(&address, "changed"), ids(&["toy/Say it"]), "the same node without the program's words");
    assert!(node.sh("cat /etc/app/said").starts_with("hello "));
    let again = project.json(&[&by_address[..], &["--detailed-exitcode"]].concat());
    assert_eq!(again.assert_code(0).host(&address)["round_trips"], 1);
}

#[test]
fn where_sshd_forbids_forwarding_the_services_are_reached_all_the_same() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("database_vm", &node, "")]);
    let sshd = |settings: &str| {
        node.sh(&format!("printf '{settings}' >/etc/ssh/sshd_config.d/a.conf; systemctl reload ssh"));
    };
    let exercise = ["health", "--exercise"];
    let before = project.json(&exercise);
    before.assert_code(0);
    sshd("AllowTcpForwarding no\\n");
    let forbidden = project.json(&exercise);
    forbidden.assert_code(0);
    assert_eq!(forbidden.ids("database_vm", "ok"), before.ids("database_vm", "ok"), "{}", forbidden.said());
    let info = project.run(&["redis", "info", "database_vm"]);
    info.assert_code(0);
    assert!(info.said().contains("memory"), "{}", info.said());
    // Where no way leads to the ports, the databases are not called dead.
    sshd("AllowTcpForwarding no\\nMaxSessions 1\\n");
    let shut = project.json(&exercise);
    shut.assert_code(0);
    assert!(!shut.ids("database_vm", "unknown").is_empty() && shut.ids("database_vm", "failed").is_empty(), "{}", shut.said());
    assert!(shut.said().contains("AllowTcpForwarding") && shut.said().contains("MaxSessions"), "{}", shut.said());
    let info = project.run(&["redis", "info", "database_vm"]);
    assert!(info.said().contains("MaxSessions") && !info.said().contains("is it running"), "{}", info.said());
}

#[test]
fn a_jump_host_a_revoked_key_and_a_cipher_are_named() {
    let (node, gate) = (TestNode::bare(), TestNode::bare());
    let project = Project::toy(&[("n", &node)], TOY);
    let (key, known) = (lab().key().display().to_string(), lab().known_hosts().display().to_string());
    let configuration =
        format!("Host *\n  User autobot\n  IdentityFile {key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n");
    project.write("ssh_config", &configuration);
    let path = project.path("ssh_config").display().to_string();
    let ping = |arguments: &str| {
        let run = project.run(&["ping", "n", "-e", &format!("ansible_ssh_common_args='-F {path} {arguments}'")]);
        run.assert_code(3);
        run.said().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    gate.sh("echo 'AllowTcpForwarding no' >/etc/ssh/sshd_config.d/a.conf; systemctl reload ssh");
    let said = ping(&format!("-J {}", gate.address));
    assert!(said.contains(&format!("the jump host `{}`", gate.address)) && said.contains("forbids to go on"), "{said}");
    let said = ping("-J no-such-host.invalid");
    assert!(said.contains("`no-such-host.invalid` cannot be resolved"), "{said}");
    let host_key = node.sh("cat /etc/ssh/ssh_host_ed25519_key.pub");
    project.write("revoked", &format!("@revoked * {host_key}\n"));
    let said = ping(&format!("-o UserKnownHostsFile={} -o HostKeyAlgorithms=ssh-ed25519", project.path("revoked").display()));
    assert!(said.contains("REVOKED in") && said.contains("line 1") && !said.contains("--accept-new"), "{said}");
    node.sh("echo 'Ciphers aes128-cbc' >/etc/ssh/sshd_config.d/a.conf; systemctl reload ssh");
    let said = ping("");
    assert!(said.contains("no cipher in common") && said.contains("Ciphers=+aes128-cbc"), "{said}");
}
