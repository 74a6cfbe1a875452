//! The files that a plan is loaded from.

use std::os::unix::fs::PermissionsExt as _;

use zeroize::Zeroizing;

use super::*;
use crate::source::digest_of;

const VAULTED: &str = include_str!("../../vault/fixture/vars.yml");
const ROLE: &str = "tasks:
  - {name: T, template: {src: a.tera, dest: /a}}
  - {name: C, copy: {src: b, dest: /b}}
  - {name: Other, copy: {src: ubuntu, dest: /c}, when: ansible_facts.distribution == 'Ubuntu'}
";

fn sample() -> Sample {
    let mut sample = Sample::role(ROLE);
    for (path, text) in [
        ("templates/app/a.tera", "{% include 'part.tera' %}\n"),
        ("templates/app/part.tera", "x\n"),
        ("templates/app/unused.tera", "x\n"),
        ("roles/app/files/b", "b\n"),
        ("roles/app/files/ubuntu", "u\n"),
        ("roles/app/README.md", "x\n"),
        ("roles/base/role.yml", "tasks: []\n"),
        ("inventory/group_vars/all.yml", "x: 1\n"),
        ("inventory/host_vars/db/vault.yml", VAULTED),
        ("host_vars/db.yml", "y: 1\n"),
        (
            "inventory/more.py",
            "#!/bin/sh\necho '{\"all\": {\"hosts\": [\"web\"]}, \"_meta\": {\"hostvars\": {\"web\": {\"p\": \"canary\"}}}}'\n",
        ),
        ("extra.yml", "z: 1\n"),
    ] {
        sample.write(path, text);
    }
    let program = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(sample.dir.path().join("inventory/more.py"), program).unwrap();
    let mut keys = Keyring::default();
    keys.add("default", Zeroizing::new(b"the-fixture-password".to_vec()));
    sample.request.vault = Arc::new(keys);
    sample.request.extra_vars = vec![format!("@{}", sample.dir.path().join("extra.yml").display())];
    sample
}

#[test]
fn a_plan_names_every_file_that_it_was_loaded_from_and_no_other() {
    let sample = sample();
    let plan = sample.load().unwrap_or_else(|errors| panic!("{errors}"));
    let paths: Vec<&str> = plan.files.iter().map(|file| file.path.as_str()).collect();
    insta::assert_snapshot!(paths.join("\n"), @"
    extra.yml
    host_vars/db.yml
    inventory/group_vars/all.yml
    inventory/host_vars/db/vault.yml
    inventory/hosts.yml
    inventory/more.py
    roles/app/files/b
    roles/app/files/ubuntu
    roles/app/role.yml
    roles/base/role.yml
    templates/app/a.tera
    templates/app/part.tera
    ");
    let output = std::process::Command::new("sha256sum").args(&paths).current_dir(sample.dir.path()).output().unwrap();
    let listed: Vec<String> = plan.files.iter().map(|file| format!("{}  {}", file.sha256, file.path)).collect();
    let on_disk = String::from_utf8(output.stdout).unwrap();
    assert_eq!(listed, on_disk.lines().collect::<Vec<_>>(), "of the bytes on the disk, encrypted or not");
}

#[test]
fn the_digest_of_a_project_is_of_its_files_and_not_of_where_it_is_or_how_it_is_named() {
    let (one, other) = (sample(), sample());
    let digest = |sample: &Sample| digest_of(&sample.load().unwrap_or_else(|errors| panic!("{errors}")).files);
    let first = digest(&one);
    assert_eq!(digest(&other), first, "in another directory");
    one.write("roles/app/README.md", "changed\n");
    one.write("templates/app/unused.tera", "changed\n");
    assert_eq!(digest(&one), first, "files that are not read");
    for (path, text) in [
        ("roles/app/files/b", "B\n"),
        ("templates/app/part.tera", "X\n"),
        ("host_vars/db.yml", "y: 2\n"),
        ("extra.yml", "z: 2\n"),
    ] {
        let before = digest(&one);
        one.write(path, text);
        assert_ne!(digest(&one), before, "{path}");
    }
}

#[test]
fn a_file_is_looked_for_once_and_tasks_go_on_with_what_was_found() {
    let sample = sample();
    let plan = sample.load().unwrap_or_else(|errors| panic!("{errors}"));
    for path in ["templates/app/a.tera", "roles/app/files/b"] {
        std::fs::remove_file(sample.dir.path().join(path)).unwrap();
    }
    let steps = plan.hosts.iter().flat_map(|host| &host.roles).flat_map(|role| &role.steps);
    let expanded: Vec<_> = steps.take(2).map(|step| step.expand(&World::stand_in()).map(|tasks| tasks.len())).collect();
    assert_eq!(expanded.into_iter().map(Result::ok).collect::<Vec<_>>(), [Some(1), Some(1)]);
    // What is not there is looked for again, in the next plan too.
    assert!(sample.errors().contains("no template `templates/app/a.tera`"), "{}", sample.errors());
}
