//! `deploy --list-…`, and what a deploy says before it connects.

use std::{fs, path::Path};

use super::{project, run_in};

const ROLE: &str = "\
description: A toy
requires: [base]
tags: [toy]
tasks:
  - {name: Say it, copy: {content: hello, dest: /etc/hello}, tags: [words]}
  - {name: Be quiet, file: {path: /etc/hello, state: absent}, tags: [never, quiet]}
health:
  - {name: It is said, read: {file: {path: /etc/hello}}, tags: [watch]}
";
const BASE: &str = "tasks:\n  - {name: Begin, file: {path: /etc/base, state: directory}}\n";
const INVENTORY: &str = "\
toys:
  vars: {autobot_roles: [toy, base]}
  hosts:
    bear: {ansible_host: 127.0.0.1, ansible_port: 1}
    rabbit: {ansible_host: 127.0.0.1, ansible_port: 2, autobot_roles: [base]}
plain: {hosts: {solo: }}
";

fn sample() -> tempfile::TempDir {
    let sample = project(ROLE);
    fs::create_dir_all(sample.path().join("roles/base")).unwrap();
    fs::write(sample.path().join("roles/base/role.yml"), BASE).unwrap();
    fs::write(sample.path().join("inventory/nodes.yml"), INVENTORY).unwrap();
    sample
}

fn listed(project: &Path, arguments: &[&str]) -> String {
    let (code, text, errors) = run_in(project, &[&["deploy"], arguments].concat());
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}\n{text}");
    text
}

#[test]
fn what_a_deploy_would_take_is_listed_and_nothing_contacted() {
    let sample = sample();
    let all = ["--list-hosts", "--list-roles", "--list-tasks", "--list-tags"];
    insta::assert_snapshot!([
        listed(sample.path(), &all), listed(sample.path(), &[&all[..], &["--limit", "bear", "--tags", "quiet"]].concat()),
        listed(sample.path(), &["--role", "base", "--list-tasks", "--skip-tags", "untagged"]),
        listed(sample.path(), &["--role", "base,toy", "--limit", "bear", "--list-roles"]),
        listed(sample.path(), &["--role", "toy", "--role", "base", "--limit", "bear", "--list-roles"]),
    ].join("--\n"), @"
      hosts (2):
        bear
        rabbit
      roles (2):
        base
          on bear, rabbit
        toy: A toy
          on bear
      tasks (2):
        base : Begin  TAGS: []
        toy : Say it  TAGS: [toy, words]  on bear
      tags (3):
        toy
        watch
        words
    --
      hosts (1):
        bear
      roles (2):
        base
          on bear
        toy: A toy
          on bear
      tasks (1):
        toy : Be quiet  TAGS: [toy, never, quiet]
      tags (3):
        never
        quiet
        toy
    --
      tasks (0):
    --
      roles (2):
        base
          on bear
        toy: A toy
          on bear
    --
      roles (2):
        base
          on bear
        toy: A toy
          on bear
    ");
}

#[test]
fn programs_get_the_lists_as_a_document() {
    insta::assert_snapshot!(listed(sample().path(), &["--list-tasks", "--list-hosts", "--limit", "rabbit", "-o", "json"]), @r#"
    {
      "hosts": [
        "rabbit"
      ],
      "tasks": [
        {
          "role": "base",
          "name": "Begin",
          "tags": [],
          "hosts": [
            "rabbit"
          ],
          "file": "roles/base/role.yml",
          "line": 2
        }
      ]
    }
    "#);
}

#[test]
fn a_wrong_selection_is_no_empty_list() {
    let sample = sample();
    for arguments in [["--tags", "wrods"], ["--limit", "baer"], ["--role", "tyo"]] {
        let (code, text, errors) = run_in(sample.path(), &[&["deploy", "--list-tasks"], &arguments[..]].concat());
        assert_eq!((code, text.as_str()), (Some(4), ""), "{arguments:?}");
        assert!(errors.contains("did you mean"), "{errors}");
    }
}

#[test]
fn the_words_of_the_seeds_mean_what_they_meant() {
    // The real inventory: should a list ever become a deploy, it ends at a port of this machine where nobody listens.
    let nowhere = ["-e", "ansible_host=127.0.0.1", "-e", "ansible_port=1", "--limit", "database_vm", "-o", "json"];
    let listed = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&listed(Path::new(env!("CARGO_MANIFEST_DIR")), &[&nowhere, arguments].concat())).unwrap()
    };
    let document = listed(&["--tags", "redis,postgresql", "--list-hosts", "--list-tags"]);
    assert_eq!(document["hosts"], serde_json::json!(["database_vm"]));
    let tasks = |arguments: &[&str]| listed(&[&["--list-tasks"], arguments].concat())["tasks"].as_array().unwrap().clone();
    let both = tasks(&["--tags", "redis,postgresql"]);
    let has = |task: &serde_json::Value, tag: &str| task["tags"].as_array().unwrap().iter().any(|one| one == tag);
    // Everything that either tag selects and nothing else, in the order of the whole.
    let expected: Vec<_> = tasks(&[]).into_iter().filter(|task| has(task, "redis") || has(task, "postgresql")).collect();
    assert_eq!(both, expected);
    for name in ["Install Redis", "Start Redis", "Start PostgreSQL"] {
        assert!(both.iter().any(|task| task["name"] == name), "{name} is not in {both:?}");
    }
}

#[test]
fn who_is_going_to_be_contacted_is_said_before_anybody_is() {
    let sample = sample();
    let first = |arguments: &[&str]| {
        let (code, _, errors) = run_in(sample.path(), arguments);
        assert_eq!(code, Some(3), "{arguments:?}: {errors}");
        errors.lines().next().unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!([
        first(&["deploy"]), first(&["deploy", "--check", "--limit", "rabbit"]), first(&["deploy", "-o", "json"]),
    ].join("\n"), @"
    deploy: bear (127.0.0.1), rabbit (127.0.0.1) from inventory/nodes.yml
    check: rabbit (127.0.0.1) from inventory/nodes.yml
    ");
}
