//! A project with a strange role: it is read, its templates are compiled, and its tasks are made with stand-in facts.

use std::fs;

use super::{Target, spans::check_diagnostics};
use crate::{
    inventory::InventorySource,
    plan::{self, Request},
    source::Diagnostics,
};

const INVENTORY: &str = "database:\n  hosts:\n    db:\n      ansible_host: 198.18.0.2\n  vars:\n    autobot_roles: [app]\n";

const PUMPS: &[(&str, &str, &str)] = &[
    ("description: x\n", "k: [", ""),
    ("tasks:\n", "  - x: 1\n", ""),
    ("tasks:\n  - name: x\n    command: {cmd: \"echo ", "{{ x }} ", "\"}\n"),
    ("description: \"", "{{ x }}", "\"\n"),
];

#[test]
fn fuzz_role() {
    let words = &[
        "description: ",
        "defaults:\n",
        "tasks:\n",
        "handlers:\n",
        "health:\n",
        "secrets:\n",
        "requires: ",
        "  - name: ",
        "when: ",
        "loop: ",
        "notify: ",
        "register: ",
        "block:\n",
        "copy: ",
        "command: ",
        "template: ",
        "lineinfile: ",
        "systemd: ",
        "shell: ",
        "file: ",
        "argv: [",
        "{{ item }}",
        "{{ secrets.X }}",
        "content: ",
        "dest: /etc/x",
        "type: string",
        "one_of: [",
        "mode: 0644",
        "owner: root",
        "{% if x %}",
        "{% for a in b %}",
        "| default(value='x')",
        "\n    ",
        "\n  ",
    ];
    Target { name: "role", words, pumps: PUMPS, property }.fuzz();
}

fn property(input: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir_all(path("roles/app")).unwrap();
    fs::write(path("hosts.yml"), INVENTORY).unwrap();
    fs::write(path("roles/app/role.yml"), input).unwrap();
    let inventories = vec![InventorySource::Path(path("hosts.yml"))];
    let request = Request { project: directory.path().to_owned(), inventories, ..Request::default() };
    match plan::load(&request) {
        Ok(plan) if plan.warnings.is_empty() => {}
        Ok(plan) => check_diagnostics(&Diagnostics(plan.warnings)),
        Err(errors) => check_diagnostics(&errors),
    }
}
