//! `explain`: where values come from. No node is contacted.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::{project, run_in};

const ROLE: &str = "\
requires: [base]
defaults:
  port: {type: port, default: 6379, help: Where it listens}
  memory: {type: size, default: \"{{ ansible_facts.memtotal_mb // 2 }}mb\"}
  half: \"{{ memory }} and more\"
  list: [1, \"{{ port }}\"]
  same: of toy
  url: \"redis://:{{ secrets.PASSWORD | urlencode }}@{{ inventory_hostname }}:{{ port }}\"
  needed: {type: string}
  broken: \"{{ prot }}\"
  motto: {type: string, default: none, help: Said to whoever comes}
secrets:
  PASSWORD: {file: /etc/toy.env}
tasks:
  - {name: Say it, copy: {content: \"{{ motto }}\", dest: /etc/hello}}
";
const INVENTORY: &str = "\
all:
  vars: {autobot_roles: [toy], ansible_become_password: hunter2, base_dsn: \"x:hunter2@y\"}
  children:
    toys:
      vars: {motto: of the group, port: 1}
      hosts:
        bear: {ansible_host: 198.18.0.7, motto: of the host}
        rabbit:
    only_bear: {hosts: {bear: }}
    plain: {hosts: {solo: {autobot_roles: []}}}
";

/// A project in which most things that can be said of a value are so.
fn sample() -> TempDir {
    let sample = project(ROLE);
    let write = |path: &str, text: &str| {
        let path = sample.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("inventory/nodes.yml", INVENTORY);
    write("roles/base/role.yml", "defaults: {same: of base, base_dsn: none}\n");
    write("inventory/group_vars/toys.yml", "motto: of group_vars\n");
    write("host_vars/bear.yml", "motto: of host_vars\n");
    write("more.yml", "port: 2\n");
    sample
}

fn told(arguments: &[&str]) -> String {
    let (code, text, errors) = run_in(sample().path(), &[&["explain"], arguments].concat());
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}\n{text}");
    text
}

#[test]
fn every_variable_of_a_host_says_where_it_comes_from_and_what_it_overrode() {
    insta::assert_snapshot!(told(&["bear", "-e", "@more.yml"]), @r#"
    bear: base, toy

    ansible_become_password = (hidden)
        from inventory/nodes.yml:2:57 (group all)

    ansible_host = 198.18.0.7
        from inventory/nodes.yml:7:30 (host)

    autobot_roles = ["toy"]
        from inventory/nodes.yml:2:25 (group all)

    base_dsn = x:********@y
        from inventory/nodes.yml:2:76 (group all)
        over roles/base/role.yml:1:37 (role base): none

    motto = of host_vars
        from host_vars/bear.yml:1:8 (host_vars)
        over inventory/nodes.yml:7:49 (host): of the host
        over inventory/group_vars/toys.yml:1:8 (group_vars of toys): of group_vars
        over inventory/nodes.yml:5:21 (group toys): of the group
        over roles/toy/role.yml:11:34 (role toy): none

    port = 2
        from more.yml:1:7 (-e)
        over inventory/nodes.yml:5:41 (group toys): 1
        over roles/toy/role.yml:3:31 (role toy): 6379

    same (in role base) = of base
        from roles/base/role.yml:1:18 (role base)

    same (in role toy) = of toy
        from roles/toy/role.yml:7:9 (role toy)

    memory = {{ ansible_facts.memtotal_mb // 2 }}mb  (needs facts)
        from roles/toy/role.yml:4:33 (role toy)

    half = {{ memory }} and more  (needs facts)
        from roles/toy/role.yml:5:9 (role toy)

    list = [1,2]
        from roles/toy/role.yml:6:9 (role toy)

    url = redis://:‹PASSWORD›@bear:2
        from roles/toy/role.yml:8:8 (role toy)

    needed = (must be set)
        from roles/toy/role.yml:9:3 (role toy)

    broken = {{ prot }}  (wrong: undefined variable `prot`)
        from roles/toy/role.yml:10:11 (role toy)

    secrets.PASSWORD = (a secret)
        from roles/toy/role.yml:13:3 (secret of role toy)
    "#);
}

#[test]
fn one_variable_is_told_in_full_by_any_name_of_its_host() {
    insta::assert_snapshot!([
        told(&["only_bear", "motto", "-e", "motto='a {{ b }}'"]), told(&["rabbit", "motto"]), told(&["bear", "list"]), told(&["bear", "url"]),
        told(&["bear", "memory", "-e", "memory=4gb"]), told(&["bear", "group_names"]), told(&["bear", "PASSWORD"]),
        told(&["solo", "base_dsn"]), told(&["solo", "motto", "--role", "base", "-e", "autobot_roles=base", "-e", "motto=x"]),
    ].join("--\n"), @r#"
    motto = a {{ b }}
        string: Said to whoever comes
        from -e:1:7
        over host_vars/bear.yml:1:8 (host_vars): of host_vars
        over inventory/nodes.yml:7:49 (host): of the host
        over inventory/group_vars/toys.yml:1:8 (group_vars of toys): of group_vars
        over inventory/nodes.yml:5:21 (group toys): of the group
        over roles/toy/role.yml:11:34 (role toy): none
    --
    motto = of group_vars
        string: Said to whoever comes
        from inventory/group_vars/toys.yml:1:8 (group_vars of toys)
        over inventory/nodes.yml:5:21 (group toys): of the group
        over roles/toy/role.yml:11:34 (role toy): none
    --
    list = [
      1,
      1
    ]
        list
        from roles/toy/role.yml:6:9 (role toy): [1,"{{ port }}"]
    --
    url = redis://:‹PASSWORD›@bear:1
        from roles/toy/role.yml:8:8 (role toy): redis://:{{ secrets.PASSWORD | urlencode }}@{{ inventory_hostname }}:{{ port }}
    --
    memory = 4gb
        size
        from -e:1:8
        over roles/toy/role.yml:4:33 (role toy): {{ ansible_facts.memtotal_mb // 2 }}mb
    --
    group_names = [
      "only_bear",
      "toys"
    ]
        from built-in variables
    --
    secrets.PASSWORD = (a secret)
        from roles/toy/role.yml:13:3 (secret of role toy)
    --
    base_dsn = x:********@y
        from inventory/nodes.yml:2:76 (group all)
    --
    motto = x
        from -e:1:7
    "#);
}

#[test]
fn programs_get_a_document() {
    let document: Value = serde_json::from_str(&told(&["bear", "-o", "json"])).unwrap();
    assert_eq!(document["host"], "bear");
    let variables = document["variables"].as_array().unwrap();
    let one = |name: &str| variables.iter().find(|variable| variable["name"] == name).unwrap().clone();
    insta::assert_snapshot!(format!("{:#}", one("port")), @r#"
    {
      "name": "port",
      "role": null,
      "type": "port",
      "one_of": null,
      "min": null,
      "max": null,
      "help": "Where it listens",
      "state": "known",
      "value": 1,
      "error": null,
      "origin": {
        "layer": "group",
        "of": "toys",
        "file": "inventory/nodes.yml",
        "line": 5,
        "col": 41,
        "written": 1
      },
      "overridden": [
        {
          "layer": "role",
          "of": "toy",
          "file": "roles/toy/role.yml",
          "line": 3,
          "col": 31,
          "written": 6379
        }
      ]
    }
    "#);
    assert_eq!(one("memory")["state"], "needs facts");
    assert_eq!(one("half")["state"], "needs facts");
    assert_eq!(one("broken")["error"], "undefined variable `prot`");
    assert_eq!(one("needed")["state"], "unset");
    assert_eq!(one("secrets.PASSWORD")["state"], "hidden");
}

#[test]
fn a_password_is_never_told() {
    for arguments in [&["bear"][..], &["bear", "-o", "json"], &["bear", "ansible_become_password"], &["bear", "base_dsn"]] {
        let text = told(arguments);
        assert!(!text.contains("hunter2"), "{text}");
    }
    let text =
        told(&["bear", "-e", "{\"ansible_users\": [{\"name\": \"ann\", \"password\": \"hunter3\"}]}", "-e", "motto=hunter3"]);
    assert!(!text.contains("hunter3") && text.contains("ann"), "{text}");
}

#[test]
fn how_passwords_are_treated_is_no_password() {
    let text = told(&[
        "bear",
        "motto",
        "-e",
        "{\"ansible_settings\": {\"password_encryption\": \"scram-sha-256\"}, \"motto\": \"host all scram-sha-256\"}",
    ]);
    assert!(text.starts_with("motto = host all scram-sha-256"), "{text}");
}

#[test]
fn a_variable_that_cannot_be_rendered_is_an_error_when_it_is_asked_for() {
    let (code, text, _) = run_in(sample().path(), &["explain", "bear", "broken"]);
    assert!(code == Some(4) && text.contains("undefined variable `prot`"), "{text}");
    assert_eq!(run_in(sample().path(), &["explain", "bear"]).0, Some(0));
}

#[test]
fn what_cannot_be_explained_is_an_error_that_helps() {
    let sample = sample();
    let wrong = |arguments: &[&str]| {
        let (code, text, errors) = run_in(sample.path(), &[&["explain"], arguments].concat());
        assert_eq!((code, text.as_str()), (Some(4), ""), "{arguments:?}");
        errors
    };
    insta::assert_snapshot!([
        wrong(&["baer"]), wrong(&["toys"]), wrong(&["bear", "mtto"]), wrong(&["bear", "zebra"]), wrong(&["bear", "-e", "mtto=x"]),
        wrong(&["bear", "--role", "tyo"]), wrong(&["solo", "--role", "toy"]),
    ].join("--\n"), @"
    error: no host or group matches `baer`
     --> HOST:1:1
      |
    1 | baer
      | ^^^^
      |
      = help: did you mean `bear`?

    1 error
    --
    error: `toys` matches 2 hosts
     --> HOST:1:1
      |
    1 | toys
      | ^^^^
      |
      = help: name one of: bear, rabbit

    1 error
    --
    error: `bear` has no variable `mtto`
     --> VAR:1:1
      |
    1 | mtto
      | ^^^^
      |
      = help: did you mean `motto`?

    1 error
    --
    error: `bear` has no variable `zebra`
     --> VAR:1:1
      |
    1 | zebra
      | ^^^^^
      |
      = help: `explain bear` lists all its variables

    1 error
    --
    error: unknown variable `mtto`
     --> -e:1:1
      |
    1 | mtto=x
      | ^^^^
      |
      = help: did you mean `motto`?

    1 error
    --
    error: unknown role `tyo`
     --> --role:1:1
      |
    1 | tyo
      | ^^^
      |
      = help: did you mean `toy`?

    1 error
    --
    error: `solo` does not have the role `toy`
     --> --role:1:1
      |
    1 | toy
      | ^^^
      |
      = help: these hosts have it: bear, rabbit; select them with `--limit`, or add it to `autobot_roles`

    1 error
    ");
}

#[test]
fn what_ansible_vault_encrypted_is_named_and_not_opened() {
    let sample = sample();
    let vaulted = "$ANSIBLE_VAULT;1.1;AES256\n  6139613961396139\n";
    let text = format!("motto: !vault |\n  {vaulted}people: [{{name: ann, word: b}}, 1]\nword: !vault |\n  {vaulted}");
    fs::write(sample.path().join("host_vars/bear.yml"), text).unwrap();
    let told = |arguments: &[&str]| {
        let (code, text, errors) = run_in(sample.path(), &[&["explain", "bear"], arguments].concat());
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}\n{text}");
        assert!(!text.contains("6139"), "{text}");
        text
    };
    insta::assert_snapshot!([told(&["word"]), told(&["motto"]), told(&["motto", "-e", "motto=x"])].join("--\n"), @"
    word = (vaulted)
        from host_vars/bear.yml:6:3 (host_vars)
    --
    motto = (vaulted)
        string: Said to whoever comes
        from host_vars/bear.yml:2:3 (host_vars)
        over inventory/nodes.yml:7:49 (host): of the host
        over inventory/group_vars/toys.yml:1:8 (group_vars of toys): of group_vars
        over inventory/nodes.yml:5:21 (group toys): of the group
        over roles/toy/role.yml:11:34 (role toy): none
    --
    motto = x
        string: Said to whoever comes
        from -e:1:7
        over host_vars/bear.yml:2:3 (host_vars): (vaulted)
        over inventory/nodes.yml:7:49 (host): of the host
        over inventory/group_vars/toys.yml:1:8 (group_vars of toys): of group_vars
        over inventory/nodes.yml:5:21 (group toys): of the group
        over roles/toy/role.yml:11:34 (role toy): none
    ");
    told(&[]);
    told(&["-o", "json"]);
}
