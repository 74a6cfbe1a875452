//! `--untrusted`: nothing of a stranger's project runs on this machine, and nothing outside of it is read.

use std::{fs, os::unix::fs::PermissionsExt as _, os::unix::fs::symlink, path::PathBuf};

use super::{parts, program};

/// What a file outside of the project holds: no YAML, so that an error would show it.
const CANARY: &str = "CANARY-CONTENT: {";

/// A directory with `project`, and `outside` of it a file that must not be read.
struct Hostile(tempfile::TempDir);

type Ended = (Option<i32>, String, String);

impl Hostile {
    /// A project that is sound so far.
    fn new() -> Self {
        let hostile = Self(tempfile::tempdir().unwrap());
        hostile.write("outside/secret", CANARY);
        hostile.write("outside/hosts.yml", "all: {hosts: {bear: {ansible_host: 198.18.0.9, autobot_roles: [toy]}}}\n");
        hostile.write("project/inventory/hosts.yml", "all: {hosts: {bear: {autobot_roles: [toy]}}}\n");
        hostile.role("copy: {content: x, dest: /etc/x}");
        hostile
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    /// Writes the role `toy` with this task.
    fn role(&self, task: &str) {
        self.write("project/roles/toy/role.yml", &format!("tasks:\n  - name: Do it\n    {task}\n"));
    }

    /// Writes a program that makes the file `made`.
    fn program(&self, path: &str, prints: &str) {
        self.write(path, &format!("#!/bin/sh\n: >{}\necho '{prints}'\n", self.path("made").display()));
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Whether the file was made since the last question.
    fn was_made(&self) -> bool {
        fs::remove_file(self.path("made")).is_ok()
    }

    /// Makes a link of the project, in place of what is there.
    fn link(&self, target: &str, path: &str) {
        let path = self.path("project").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        symlink(target, path).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = program(arguments);
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.path("outside")).current_dir(self.path("project"));
        parts(&command.output().unwrap())
    }

    fn untrusted(&self, arguments: &[&str]) -> Ended {
        self.run(&[arguments, &["--untrusted"]].concat())
    }

    /// Asserts that a command refuses the project with these words, and returns what it said.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], words: &[&str]) -> String {
        let (code, text, errors) = self.untrusted(arguments);
        assert_eq!(code, Some(4), "{arguments:?}\n{text}{errors}");
        for words in words {
            assert!(errors.contains(words), "{arguments:?}: `{words}` is not in\n{errors}");
        }
        assert!(!errors.contains("CANARY") && !text.contains("CANARY"), "{text}{errors}");
        text + &errors
    }
}

/// Every command that reads a project without a node.
const READERS: &[&[&str]] = &[
    &["validate"],
    &["inventory", "list"],
    &["inventory", "graph"],
    &["inventory", "host", "bear"],
    &["explain", "bear"],
    &["deploy", "--list-hosts"],
    &["deploy", "--list-roles"],
    &["deploy", "--list-tasks"],
    &["deploy", "--list-tags"],
];

#[test]
fn a_sound_project_is_read_as_ever() {
    let hostile = Hostile::new();
    for command in READERS.iter().chain(&[&["doc", "toy"][..], &["doc", "roles"], &["schema"]]) {
        let (code, text, errors) = hostile.untrusted(command);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{command:?}\n{text}");
        assert_eq!(hostile.run(command).1, text, "{command:?}");
    }
}

#[test]
fn no_program_of_the_project_is_run_for_an_inventory() {
    let hostile = Hostile::new();
    hostile.program("project/inventory/hosts.sh", r#"{"dogs": {"hosts": ["rex"]}, "_meta": {"hostvars": {}}}"#);
    assert_eq!((hostile.run(&["validate"]).0, hostile.was_made()), (Some(0), true), "it is run where the project is trusted");
    for command in READERS {
        hostile.refuses(command, &["`inventory/hosts.sh` is a program of the project"]);
        assert!(!hostile.was_made(), "{command:?}");
    }
    // Named on the command line, and by a link from outside, it is the project's still.
    symlink("../project/inventory/hosts.sh", hostile.path("outside/hosts.sh")).unwrap();
    for named in ["inventory/hosts.sh", "../outside/hosts.sh"] {
        hostile.refuses(&["validate", "-i", named], &["is a program of the project"]);
        assert!(!hostile.was_made(), "{named}");
    }
    // The operator's own program is run.
    hostile.program("outside/own.sh", r#"{"all": {"hosts": ["bear"], "vars": {"autobot_roles": ["toy"]}}}"#);
    assert_eq!((hostile.untrusted(&["validate", "-i", "../outside/own.sh"]).0, hostile.was_made()), (Some(0), true));
}

#[test]
fn no_program_of_the_project_is_run_for_a_vault_password() {
    let hostile = Hostile::new();
    hostile.program("project/vault.sh", "password");
    hostile.program("project/my-client.sh", "password");
    let options = [&["--vault-password-file", "vault.sh"][..], &["--vault-id", "x@vault.sh"], &["--vault-id", "x@my-client.sh"]];
    for option in options {
        assert_eq!((hostile.run(&[&["validate"], option].concat()).0, hostile.was_made()), (Some(0), true), "{option:?}");
        for command in READERS {
            hostile.refuses(&[*command, option].concat(), &["is a program of the project"]);
            assert!(!hostile.was_made(), "{command:?} {option:?}");
        }
    }
    hostile.program("outside/vault.sh", "password");
    let own = ["validate", "--vault-password-file", "../outside/vault.sh"];
    assert_eq!((hostile.untrusted(&own).0, hostile.was_made()), (Some(0), true), "the operator's own");
    hostile.link("../outside/secret", "password");
    hostile.refuses(&["validate", "--vault-password-file", "password"], &["`password`", "leads out of the project"]);
}

#[test]
fn no_secret_comes_from_a_program_or_from_a_file_elsewhere() {
    let role = "secrets:\n  TOKEN: {file: /etc/toy.env}\ntasks:\n  - {name: Do it, copy: {content: x, dest: /etc/x}}\n";
    for (source, words) in [
        ("{command: [touch, made]}", "comes from a program"),
        ("{command: touch made}", "comes from a program"),
        ("{file: ~/secret}", "a file outside of the project"),
        ("{file: /etc/shadow}", "a file outside of the project"),
        ("{file: ../outside/secret}", "a file outside of the project"),
        ("{file: secrets/link}", "a file outside of the project"),
    ] {
        let hostile = Hostile::new();
        hostile.link("../../outside/secret", "secrets/link");
        hostile.write("project/roles/toy/role.yml", role);
        let inventory =
            format!("all:\n  hosts: {{bear: {{autobot_roles: [toy]}}}}\n  vars:\n    autobot_secrets: {{TOKEN: {source}}}\n");
        hostile.write("project/inventory/hosts.yml", &inventory);
        assert_eq!(hostile.run(&["validate"]).0, Some(0), "{source}");
        hostile.refuses(&["validate"], &[words, "inventory/hosts.yml:4"]);
        hostile.write("outside/hosts.yml", &inventory);
        let (code, _, errors) = hostile.untrusted(&["validate", "-i", "../outside/hosts.yml"]);
        assert_eq!(code, Some(0), "in the operator's own words: {errors}");
        hostile.write("project/inventory/hosts.yml", "all: {hosts: {bear: {autobot_roles: [toy]}}}\n");
        hostile.write("project/roles/toy/role.yml", &role.replace("toy.env", &format!("toy.env, from: {source}")));
        hostile.refuses(&["validate"], &[words, "roles/toy/role.yml:2"]);
    }
}

#[test]
fn no_argument_of_ssh_starts_or_loads_anything() {
    let hostile = Hostile::new();
    let inventory = |arguments: &str| {
        let arguments = serde_json::json!(arguments);
        hostile.write(
            "project/inventory/hosts.yml",
            &format!("all:\n  hosts: {{bear: {{autobot_roles: [toy]}}}}\n  vars:\n    ansible_ssh_common_args: {arguments}\n"),
        );
    };
    for arguments in [
        "-F ssh_config",
        "-o ProxyCommand='touch made'",
        "-o proxycommand=x",
        "-o 'ProxyCommand touch made'",
        "-o KnownHostsCommand=/bin/true",
        "-o PermitLocalCommand=yes",
        "-o LocalCommand=true",
        "-o PKCS11Provider=/tmp/x.so",
        "-o SecurityKeyProvider=/tmp/x.so",
        "-o XAuthLocation=/tmp/x",
        "-o Include=/tmp/x",
        "-o IdentityAgent=/tmp/x",
        "-o ForwardAgent=yes",
        "-o ForwardX11=yes",
        "-o RemoteForward=1:x:2",
        "-o Tunnel=yes",
        "-o SendEnv=*",
        "-o Nonsense=1",
        "-J 'x$(touch made)'",
        "-J -oProxyCommand=x",
        "-i '${HOME}/key'",
    ] {
        inventory(arguments);
        assert_eq!(hostile.run(&["validate"]).0, Some(0), "{arguments}");
        hostile.refuses(&["validate"], &["wrong `ansible_ssh_common_args`", "not trusted", "inventory/hosts.yml:4"]);
        hostile.refuses(&["deploy", "--list-hosts"], &["wrong `ansible_ssh_common_args`"]);
    }
    for arguments in [
        "-J ann@gate:22,bob@[fd00::1]:22 -C -4 -p 22 -l ann",
        "-i ~/.ssh/key -o ServerAliveInterval=5 -o UserKnownHostsFile=known",
    ] {
        inventory(arguments);
        let (code, _, errors) = hostile.untrusted(&["validate"]);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments}");
    }
    // The operator's own words, in an inventory and on the command line.
    let own = "all: {hosts: {bear: {autobot_roles: [toy], ansible_ssh_common_args: '-o ProxyCommand=x'}}}\n";
    hostile.write("outside/hosts.yml", own);
    assert_eq!(hostile.untrusted(&["validate", "-i", "../outside/hosts.yml"]).0, Some(0));
    assert_eq!(hostile.untrusted(&["validate", "-e", "{\"ansible_ssh_common_args\": \"-o ProxyCommand=x\"}"]).0, Some(0));
}

#[test]
fn validate_refuses_each_argument_of_ssh_that_deploy_refuses() {
    let hostile = Hostile::new();
    for arguments in [
        "-o StrictHostKeyChecking=no",
        "-o StrictHostKeyChecking=false",
        "-o 'StrictHostKeyChecking=\"off\"'",
        "-o StrictHostKeyChecking=maybe",
        "-o Port=x",
        "-p 0",
        "-o ProxyCommand=",
        "-o 'Bad\tWord=x'",
        "-F '/a\"b'",
        "-A",
        "-J 'gate",
        "host",
    ] {
        for name in ["ansible_ssh_common_args", "ansible_ssh_extra_args"] {
            let value = serde_json::json!(arguments);
            let inventory = format!("all:\n  hosts: {{bear: {{autobot_roles: [toy]}}}}\n  vars:\n    {name}: {value}\n");
            hostile.write("project/inventory/hosts.yml", &inventory);
            let (code, _, errors) = hostile.run(&["validate"]);
            assert_eq!(code, Some(4), "{arguments}: {errors}");
            assert!(errors.contains(&format!("wrong `{name}`")) && errors.contains("inventory/hosts.yml:4"), "{errors}");
            for command in [&["deploy"][..], &["deploy", "--check"], &["health"], &["ping"]] {
                let (code, _, said) = hostile.run(command);
                assert_eq!(code, Some(4), "{command:?} {arguments}: {said}");
                assert!(said.contains(errors.lines().next().unwrap()), "{command:?} {arguments}: {said}");
            }
        }
    }
}

/// Links of the project, each with its target, the task that uses it, and the words of the refusal. The last tells whether the file is read
/// where the project is trusted.
const LINKS: &[(&str, &str, &str, &str, bool)] = &[
    ("roles/toy/files/x", "../../../../outside/secret", "copy: {src: x, dest: /etc/x}", "`roles/toy/files/x` leads out", false),
    ("roles/toy/files", "../../../outside", "copy: {src: secret, dest: /etc/x}", "`roles/toy/files/secret` leads out", false),
    (
        "roles/toy/files/gone",
        "../../../../outside/gone",
        "copy: {src: gone, dest: /etc/x}",
        "`roles/toy/files/gone` leads out",
        false,
    ),
    (
        "templates/toy/x.tera",
        "../../../outside/secret",
        "template: {src: x.tera, dest: /x}",
        "`templates/toy/x.tera` leads out",
        false,
    ),
    ("templates/toy", "../../outside", "template: {src: secret, dest: /x}", "`templates/toy/secret` leads out", false),
    ("templates", "../outside", "template: {src: secret, dest: /x}", "leads out of the project", false),
    ("roles/toy/role.yml", "../../../outside/secret", "", "cannot read `roles/toy/role.yml`: a link leads out", true),
    ("roles/other", "../../outside", "", "cannot read `roles/other/role.yml`: a link leads out", false),
    ("group_vars/all.yml", "../../outside/secret", "", "cannot read `group_vars/all.yml`: a link leads out", true),
    ("group_vars/all/x.yml", "../../../outside/secret", "", "cannot read `group_vars/all/x.yml`: a link leads out", true),
    ("group_vars", "../outside", "", "cannot read `group_vars`: a link leads out", false),
    ("host_vars/bear", "../../outside/secret", "", "cannot read `host_vars/bear`: a link leads out", true),
    ("inventory/group_vars/all.yml", "../../../outside/secret", "", "cannot read `inventory/group_vars/all.yml`", true),
    ("inventory/more.yml", "../../outside/secret", "", "cannot read `inventory/more.yml`: a link leads out", true),
    ("inventory/more", "../../outside", "", "cannot read `inventory/more`: a link leads out", true),
    ("inventory", "../outside", "", "cannot read `inventory`: a link leads out", true),
];

#[test]
fn no_link_of_the_project_leads_to_a_file_elsewhere() {
    for (link, target, task, words, is_read) in LINKS {
        let hostile = Hostile::new();
        // `secret.yml` is what an inventory directory would read.
        fs::copy(hostile.path("outside/secret"), hostile.path("outside/secret.yml")).unwrap();
        if !task.is_empty() {
            hostile.role(task);
        }
        hostile.link(target, link);
        let said = hostile.refuses(&["validate"], &[words]);
        if !task.is_empty() {
            assert!(said.contains("roles/toy/role.yml:3"), "{said}");
        }
        for command in READERS {
            let (_, text, errors) = hostile.untrusted(command);
            assert!(!text.contains("CANARY") && !errors.contains("CANARY"), "{link} {command:?}: {text}{errors}");
        }
        let (code, _, errors) = hostile.run(&["validate"]);
        assert_eq!(errors.contains("CANARY"), *is_read, "{link}: {errors}");
        if !task.is_empty() {
            assert_eq!(code, Some(4), "{link}: a source stays in the project in any case\n{errors}");
        }
    }
}

#[test]
fn whole_directories_of_links_are_not_listed() {
    let hostile = Hostile::new();
    hostile.write("outside/CANARY-NAME/role.yml", "tasks: []\n");
    hostile.link("../outside", "roles");
    hostile.refuses(&["validate"], &["cannot read `roles/`: a link leads out"]);
    for command in [&["doc"][..], &["doc", "roles"]] {
        let (_, text, errors) = hostile.untrusted(command);
        assert!(!text.contains("CANARY") && !errors.contains("CANARY"), "{text}{errors}");
    }
    let hostile = Hostile::new();
    hostile.write("outside/CANARY-NAME", "");
    hostile.role("template: {src: missing.tera, dest: /etc/x}");
    hostile.link("../../outside", "templates/toy");
    hostile.refuses(&["validate"], &["`templates/toy/missing.tera`"]);
}

#[test]
fn what_a_link_leads_to_is_not_told_from_nothing() {
    let said = |target: &str| {
        let hostile = Hostile::new();
        hostile.link(target, "group_vars/all.yml");
        hostile.refuses(&["validate"], &["leads out"])
    };
    assert_eq!(said("../../outside/secret"), said("../../outside/nothing"));
}

#[test]
fn files_of_arguments_are_read_but_not_through_the_project() {
    let hostile = Hostile::new();
    hostile.write("outside/vars.yml", "motto: x\n");
    hostile.write("outside/limit", "bear\n");
    let (code, _, errors) = hostile.untrusted(&["validate", "-e", "@../outside/vars.yml", "--limit", "@../outside/limit"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    hostile.link("../outside/secret", "vars.yml");
    hostile.refuses(&["validate", "-e", "@vars.yml"], &["cannot read `vars.yml`: a link leads out"]);
    hostile.refuses(&["validate", "--limit", "@vars.yml"], &["cannot read `vars.yml`: a link leads out"]);
}

#[test]
fn with_an_inventory_of_the_operator_the_variables_of_the_project_are_not_read() {
    let hostile = Hostile::new();
    hostile.write("project/group_vars/all.yml", "ansible_host: 203.0.113.7\nansible_connection: local\n");
    let own = ["explain", "bear", "ansible_host", "-i", "../outside/hosts.yml"];
    assert!(hostile.run(&own).1.starts_with("ansible_host = 198.18.0.9\n"), "the host's own variable is the strongest");
    let (code, text, errors) = hostile.untrusted(&["explain", "bear", "-i", "../outside/hosts.yml"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("`group_vars/` of the project is not read"), "{errors}");
    assert!(!text.contains("203.0.113.7") && !text.contains("ansible_connection"), "{text}");
    assert!(hostile.untrusted(&["explain", "bear"]).1.contains("ansible_connection"), "its own inventory goes with them");
}

#[test]
fn a_project_that_is_not_trusted_is_only_checked_and_only_on_hosts_of_the_operator() {
    let hostile = Hostile::new();
    let usage = |arguments: &[&str], words: &str| {
        let (code, text, errors) = hostile.untrusted(arguments);
        assert_eq!((code, text.as_str()), (Some(64), ""), "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    };
    usage(&["deploy"], "a project that is not trusted is only checked");
    usage(&["deploy", "-i", "../outside/hosts.yml"], "a project that is not trusted is only checked");
    symlink("../project/inventory", hostile.path("outside/theirs")).unwrap();
    for inventories in [
        &[][..],
        &["-i", "inventory"],
        &["-i", "inventory/hosts.yml"],
        &["-i", "../outside/theirs"],
        &["-i", "../outside/hosts.yml", "-i", "inventory"],
        &["-i", ".."],
    ] {
        usage(&[&["deploy", "--check"], inventories].concat(), "needs an inventory from elsewhere");
    }
    fs::create_dir(hostile.path(".git")).unwrap();
    usage(&["deploy", "--check", "-i", "../outside/hosts.yml"], "needs an inventory from elsewhere");
    for command in [&["health"][..], &["ping"], &["status"], &["rehearse"], &["redis", "info"], &["attach", "x"], &["lab", "up"]]
    {
        usage(command, "`--untrusted` is for");
    }
}

#[test]
fn what_reorders_text_or_controls_a_terminal_is_not_printed() {
    let hostile = Hostile::new();
    hostile.write(
        "project/roles/toy/role.yml",
        "description: \"about \\u202e\\e[31m\"\ndefaults:\n  motto: {type: string, default: \"\\u2066 \\u200f\\e[1m\", help: \"\\u202d\"}\ntasks:\n  - {name: \"Say \\u202e\\e]0;x\\a\", copy: {content: x, dest: /etc/x}}\n",
    );
    hostile
        .write("project/inventory/hosts.yml", "all: {hosts: {bear: {autobot_roles: [toy], ansible_host: \"\\u202e1\\e[2J\"}}}\n");
    let harmful = |text: &str| text.chars().any(|letter| "\u{202e}\u{2066}\u{200f}\u{202d}\u{1b}\u{7}".contains(letter));
    let commands = [&["doc"][..], &["doc", "toy"], &["explain", "bear", "motto"], &["deploy", "--list-tasks", "--list-roles"]];
    for command in READERS.iter().chain(&commands) {
        let (code, text, errors) = hostile.untrusted(command);
        assert_eq!(code, Some(0), "{command:?} {errors}");
        assert!(!harmful(&text) && !harmful(&errors), "{command:?}: {text:?} {errors:?}");
    }
    let (_, text, _) = hostile.untrusted(&["inventory", "list", "--output", "json"]);
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["_meta"]["hostvars"]["bear"]["ansible_host"], "\u{202e}1\u{1b}[2J", "programs get it as it is");
    hostile.role("copy: {content: x, dest: \"rel\\u202eative\\e[1m\"}");
    let (_, text, errors) = hostile.untrusted(&["validate"]);
    assert!(!harmful(&text) && !harmful(&errors), "{errors:?}");
}
