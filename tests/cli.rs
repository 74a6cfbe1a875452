//! The command line as users and programs see it. No node is contacted.

#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute; these helpers are theirs")]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use autobot_provision::inventory::{Inventory, InventorySource};
use tempfile::TempDir;

#[path = "cli/doc.rs"]
mod doc;
mod documents;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/listing.rs"]
mod listing;
#[path = "cli/muscle_memory.rs"]
mod muscle_memory;
#[path = "cli/ping.rs"]
mod ping;
#[path = "cli/silent.rs"]
mod silent;
#[path = "cli/untrusted.rs"]
mod untrusted;

const ROLE: &str = "description: A toy\ntasks:\n  - name: Say it\n    copy: {content: hello, dest: /etc/hello}\n";
const BROKEN: &str = "description: A toy\ntasks:\n  - name: Say it\n    cpoy: {content: hello, dest: /etc/hello}\n";
const INVENTORY: &str = "\
toys:
  vars: {autobot_roles: [toy], motto: \"{{ unrendered }} $(x)\"}
  hosts:
    bear: {ansible_host: 198.18.0.7}
    rabbit:
plain:
  hosts: {solo: }
";

/// A project with one role.
fn project(role: &str) -> TempDir {
    let project = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = project.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("roles/toy/role.yml", role);
    write("inventory/nodes.yml", INVENTORY);
    project
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autobot-provision"));
    // Neither the terminal's width nor the caller's settings count.
    command.args(arguments).env_clear().current_dir("/").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    parts(&program(arguments).output().unwrap())
}

fn run_in(project: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    parts(&program(arguments).current_dir(project).output().unwrap())
}

fn parts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_command_has_its_help() {
    let commands = [
        "",
        "deploy",
        "validate",
        "health",
        "ping",
        "doc",
        "schema",
        "explain",
        "inventory",
        "inventory list",
        "inventory graph",
        "inventory host",
        "redis",
        "redis info",
        "redis databases",
        "redis config",
        "redis slowlog",
        "redis cleanup",
        "rehearse",
        "lab",
        "lab up",
        "lab down",
        "lab status",
        "lab ssh",
        "lab ssh-config",
    ];
    for command in commands {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let (code, help, errors) = run(&arguments);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{command}");
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(format!("help {command}").trim().replace(' ', "-"), help);
        });
    }
}

#[test]
fn the_version_is_printed() {
    let (code, text, _) = run(&["--version"]);
    assert_eq!((code, text), (Some(0), format!("autobot-provision {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [
        &["deploi"][..],
        &["deploy", "--nonsense"],
        &[],
        &["lab", "ssh"],
        &["deploy", "--wait", "5x"],
        &["deploy", "--wait", "18446744073709551615s"],
        &["deploy", "--wait", "18446744073709551615h"],
        &["deploy", "--connect-timeout", "18446744073709551615"],
        &["lab", "serve", "/", "x"],
    ] {
        let (code, text, errors) = run(arguments);
        assert_eq!((code, text.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(errors.contains("Usage:") || errors.contains("error:"), "{errors}");
    }
    insta::assert_snapshot!(run(&["deploi"]).2, @"
    error: unrecognized subcommand 'deploi'

      tip: some similar subcommands exist: 'explain', 'deploy'

    Usage: autobot-provision [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
}

#[test]
fn a_sound_project_is_valid() {
    let project = project(ROLE);
    let success = |text: &str| (Some(0), text.to_owned(), String::new());
    assert_eq!(run_in(project.path(), &["validate"]), success("2 hosts, 2 tasks checked: no errors\n"));
    assert_eq!(run_in(project.path(), &["validate", "--output", "json"]), success("{\n  \"errors\": []\n}\n"));
}

#[test]
fn the_shipped_inventory_knows_its_nodes_by_every_name() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
    insta::assert_snapshot!(run_in(shipped, &["inventory", "list"]).1, @r"
    database_vm  172.16.168.23  04-Databases, autobot-database, autobot-redis, database, redis, vm3
    slm          172.16.168.19  00-SLM-Manager, admin, autobot-slm, slm_server
    ");
    for (node, address, names) in [
        ("database_vm", "172.16.168.23", "database_vm database redis 04-Databases autobot-database vm3 autobot-redis"),
        ("slm", "172.16.168.19", "slm slm_server 00-SLM-Manager autobot-slm admin"),
    ] {
        let inventory = Inventory::load(&[InventorySource::Path(shipped.join("inventory"))], shipped).unwrap();
        for name in names.split(' ') {
            let hosts = inventory.select(name).unwrap();
            assert_eq!(hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), [node], "{name}");
        }
        assert_eq!(inventory.variable(node, "ansible_host").unwrap().as_str(), Some(address));
        assert!(inventory.warnings.is_empty(), "{:?}", inventory.warnings);
    }
    for name in ["database_vm", "vm3"] {
        let (code, text, errors) = run_in(shipped, &["validate", "--role", "redis", "--limit", name]);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{name}");
        assert!(text.starts_with("1 host, "), "{text}");
    }
}

#[test]
fn the_project_is_found_upwards_or_named() {
    let project = project(ROLE);
    let below = project.path().join("roles/toy");
    assert_eq!(run_in(&below, &["validate"]).0, Some(0));
    let named = ["--project", project.path().to_str().unwrap()];
    assert_eq!(run(&["validate", named[0], named[1]]).0, Some(0));
    assert_eq!(parts(&program(&["validate"]).env("AUTOBOT_PROVISION_PROJECT", project.path()).output().unwrap()).0, Some(0));
    let (code, text, errors) = run(&["validate"]);
    assert_eq!((code, text.as_str()), (Some(4), ""));
    insta::assert_snapshot!(errors, @r"
    error: no project here: neither `/` nor a directory above it has a directory `roles`
     |
     = help: go to the project's directory, or name it with `--project DIR`

    1 error
    ");
}

#[test]
fn an_inventory_is_shown_anywhere_when_it_is_named() {
    let project = project(ROLE);
    let inventory = project.path().join("inventory").display().to_string();
    for arguments in [&["inventory", "list", "-i", &inventory][..], &["inventory", "-i", &inventory, "list"]] {
        let (code, text, errors) = run(arguments);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(text.starts_with("bear    198.18.0.7  toys\n"), "{text}");
    }
    assert_eq!(run(&["inventory", "graph", "-i", "a,b,"]).1, "@all:\n  |--@ungrouped:\n  |  |--a\n  |  |--b\n");
    assert_eq!(run(&["inventory", "host", "-i", &inventory, "rabbit"]).0, Some(0));
    // A project that is named must be one.
    let (code, _, errors) = run(&["inventory", "list", "-i", &inventory, "--project", "/nowhere"]);
    assert_eq!(code, Some(4));
    assert!(errors.contains("`/nowhere` is not a project"), "{errors}");
    for command in [&["inventory", "list"][..], &["ping"]] {
        let (code, _, errors) = run(command);
        assert_eq!(code, Some(4), "{command:?}");
        assert!(errors.contains("or name an inventory with `-i`, which works anywhere"), "{errors}");
    }
}

#[test]
fn the_other_places_of_a_mistake_are_in_its_json() {
    let project = project("tasks:\n  - {name: Say, file: {path: /a}}\n  - {name: Say, file: {path: /b}}\n");
    let document: serde_json::Value = serde_json::from_str(&run_in(project.path(), &["validate", "-o", "json"]).1).unwrap();
    let also = serde_json::json!([{"file": "roles/toy/role.yml", "line": 2, "col": 12, "label": "the first"}]);
    assert_eq!(document["errors"][0]["also"], also, "{document}");
}

#[test]
fn mistakes_in_files_end_with_4_before_anything_is_contacted() {
    let project = project(BROKEN);
    let (code, text, errors) = run_in(project.path(), &["validate"]);
    assert_eq!((code, text.as_str()), (Some(4), ""));
    insta::assert_snapshot!(errors, @r"
    error: unknown resource `cpoy`
     --> roles/toy/role.yml:4:5
      |
    4 |     cpoy: {content: hello, dest: /etc/hello}
      |     ^^^^
      |
      = help: did you mean `copy`?

    1 error
    ");
    for command in [&["deploy"][..], &["deploy", "--check"], &["health"], &["rehearse"]] {
        let (code, text, own_errors) = run_in(project.path(), command);
        assert_eq!((code, text.as_str(), own_errors), (Some(4), "", errors.clone()), "{command:?}");
    }
}

#[test]
fn mistakes_in_files_are_json_for_programs() {
    let project = project(BROKEN);
    let (code, text, errors) = run_in(project.path(), &["validate", "-o", "json"]);
    assert_eq!((code, errors.as_str()), (Some(4), ""));
    insta::assert_snapshot!(text, @r#"
    {
      "errors": [
        {
          "file": "roles/toy/role.yml",
          "line": 4,
          "col": 5,
          "message": "unknown resource `cpoy`",
          "help": "did you mean `copy`?",
          "also": []
        }
      ]
    }
    "#);
    for command in ["deploy", "health"] {
        assert_eq!(run_in(project.path(), &[command, "-o", "json"]), (Some(4), text.clone(), String::new()), "{command}");
    }
}

#[test]
fn the_inventory_is_shown_as_it_is_written() {
    let project = project(ROLE);
    insta::assert_snapshot!(run_in(project.path(), &["inventory", "list"]).1, @r"
    bear    198.18.0.7  toys
    rabbit  rabbit      toys
    solo    solo        plain
    ");
    insta::assert_snapshot!(run_in(project.path(), &["inventory", "graph"]).1, @r"
    @all:
      |--@ungrouped:
      |--@toys:
      |  |--bear
      |  |--rabbit
      |--@plain:
      |  |--solo
    ");
    insta::assert_snapshot!(run_in(project.path(), &["inventory", "host", "bear"]).1, @r#"
    {
        "ansible_host": "198.18.0.7",
        "autobot_roles": [
            "toy"
        ],
        "motto": "{{ unrendered }} $(x)"
    }
    "#);
    insta::assert_snapshot!(run_in(project.path(), &["inventory", "list", "-o", "json"]).1, @r#"
    {
        "_meta": {
            "hostvars": {
                "bear": {
                    "ansible_host": "198.18.0.7",
                    "autobot_roles": [
                        "toy"
                    ],
                    "motto": "{{ unrendered }} $(x)"
                },
                "rabbit": {
                    "autobot_roles": [
                        "toy"
                    ],
                    "motto": "{{ unrendered }} $(x)"
                }
            },
            "profile": "inventory_legacy"
        },
        "all": {
            "children": [
                "ungrouped",
                "toys",
                "plain"
            ]
        },
        "plain": {
            "hosts": [
                "solo"
            ]
        },
        "toys": {
            "hosts": [
                "bear",
                "rabbit"
            ]
        }
    }
    "#);
    let (code, text, errors) = run_in(project.path(), &["inventory", "host", "baer"]);
    assert_eq!((code, text.as_str()), (Some(4), ""));
    insta::assert_snapshot!(errors, @r"
    error: no host `baer` in the inventory
     |
     = help: did you mean `bear`?

    1 error
    ");
}

#[test]
fn nothing_is_coloured_without_a_terminal_that_shows_colours() {
    let project = project(BROKEN);
    for (name, value) in [("TERM", "xterm-256color"), ("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (_, text, errors) = parts(&program(&["validate"]).current_dir(project.path()).env(name, value).output().unwrap());
        assert!(!text.contains('\x1b') && !errors.contains('\x1b'), "{name}={value}: {errors}");
    }
    // script(1) gives a terminal.
    let on_a_terminal = |variables: &[(&str, &str)]| {
        let command = format!("{} validate", env!("CARGO_BIN_EXE_autobot-provision"));
        let mut script = Command::new("/usr/bin/script");
        script.args(["-qec", &command, "/dev/null"]).env_clear().envs(variables.iter().copied());
        String::from_utf8(script.current_dir(project.path()).stdin(Stdio::null()).output().unwrap().stdout).unwrap()
    };
    assert!(on_a_terminal(&[("TERM", "xterm")]).contains('\x1b'));
    assert!(!on_a_terminal(&[("TERM", "xterm"), ("NO_COLOR", "1")]).contains('\x1b'));
    assert!(!on_a_terminal(&[("TERM", "dumb")]).contains('\x1b'));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let project = project(ROLE);
    let mut child = program(&["inventory", "list", "-o", "json"])
        .current_dir(project.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(parts(&child.wait_with_output().unwrap()), (Some(0), String::new(), String::new()));
}

#[test]
fn asking_for_a_lab_that_does_not_exist_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let options = ["--lab", "of-no-test", "--lab-dir", directory.path().to_str().unwrap()];
    let (code, text, errors) = run(&[&["lab", "status"], &options[..]].concat());
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(text.starts_with("there is no lab `of-no-test`\n"), "{text}");
    let path = format!("{}/labs/of-no-test/ssh_config\n", directory.path().display());
    assert_eq!(run(&[&["lab", "ssh-config"], &options[..]].concat()), (Some(0), path, String::new()));
    let (code, _, errors) = run(&["lab", "status", "--lab", "../x"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(errors, @"error: `../x` is not a valid lab ID: use up to 32 lower-case letters, digits and dashes");
}

#[test]
fn without_root_the_error_names_the_command_to_run() {
    assert!(autobot_provision::lab::is_root(), "becoming another user takes root's rights: use tests/run as root");
    let project = project(ROLE);
    for path in ["", "roles", "roles/toy", "inventory"] {
        fs::set_permissions(project.path().join(path), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    // The program itself may be in a directory that only root can enter.
    let program = project.path().join("autobot-provision");
    fs::copy(env!("CARGO_BIN_EXE_autobot-provision"), &program).unwrap();
    for arguments in [&["lab", "up", "it's"][..], &["lab", "down"], &["lab", "ssh", "x"], &["rehearse"]] {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(arguments);
        let (code, text, errors) = parts(&command.env_clear().current_dir(project.path()).stdin(Stdio::null()).output().unwrap());
        let wanted = format!("error: labs need root's rights: `sudo {}", program.display());
        assert_eq!((code, text.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(errors.starts_with(&wanted), "{errors}");
    }
}

#[test]
fn a_selection_that_leaves_nothing_is_an_error_before_anything_is_contacted() {
    let tagged = ROLE.replace("    copy:", "    tags: [words]\n    copy:");
    let project = project(&tagged);
    for arguments in [&["deploy", "--check", "--skip-tags", "words"][..], &["health"]] {
        let (code, _, errors) = run_in(project.path(), arguments);
        assert_eq!(code, Some(4), "{arguments:?}: {errors}");
        assert!(errors.contains("is left of the selected roles"), "{errors}");
    }
}

#[test]
fn redis_commands_need_a_host_with_redis() {
    let project = project(ROLE);
    let (code, text, errors) = run_in(project.path(), &["redis", "info", "bear"]);
    assert_eq!((code, text.as_str()), (Some(4), ""));
    insta::assert_snapshot!(errors, @"
    error: `bear` has no role that brings Redis
     |
     = help: give a host role `redis` with `autobot_roles`, or select another one

    1 error
    ");
    let (code, text, _) = run_in(project.path(), &["redis", "databases", "--output", "json"]);
    assert_eq!(code, Some(4));
    assert!(text.contains("has a role that brings Redis"), "{text}");
    for arguments in [
        &["redis", "cleanup", "cache"][..],
        &["redis", "cleanup", "cache", "--older-than", "0d"],
        &["redis", "cleanup", "sessions", "--older-than", "7d"],
        &["redis", "info", "bear", "--limit", "rabbit"],
    ] {
        assert_eq!(run(arguments).0, Some(64), "{arguments:?}");
    }
}

#[test]
fn redis_commands_take_the_role_that_the_inventory_does_not_give() {
    let project = project(ROLE);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copied =
        Command::new("cp").arg("-r").args(["roles", "templates"].map(|part| shipped.join(part))).arg(project.path()).status();
    assert!(copied.unwrap().success());
    // Nothing listens on that port: a host that is tried was selected.
    let inventory = "plain: {hosts: {solo: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n";
    fs::write(project.path().join("inventory/nodes.yml"), inventory).unwrap();
    let ask = |arguments: &[&str]| run_in(project.path(), &[&["redis", "info"], arguments].concat());
    let (code, _, errors) = ask(&[]);
    assert_eq!(code, Some(4));
    assert!(errors.contains("use `--role` and `--limit`"), "{errors}");
    let (code, _, errors) = ask(&["--role", "toy", "solo"]);
    assert_eq!(code, Some(4));
    assert!(errors.contains("`solo` has no role that brings Redis"), "{errors}");
    for host in [&["solo"][..], &["--limit", "solo"]] {
        let (code, _, errors) = ask(&[&["--role", "redis"], host].concat());
        assert_eq!(code, Some(3), "{errors}");
        assert!(errors.starts_with("error: solo: "), "{errors}");
    }
}
