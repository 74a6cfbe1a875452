//! Inventories in both formats.

use std::{collections::HashSet, fs};

use super::{
    Target,
    spans::{check_diagnostics, check_node, check_span},
};
use crate::{
    inventory::{Inventory, InventorySource},
    source::Diagnostics,
};

const PUMPS: &[(&str, &str, &str)] = &[
    ("all:\n  hosts:\n", "    h[1:9]: \n", ""),
    ("all: ", "{children: {a: ", ""),
    ("a", "[b]\n", ""),
    ("", "x=\n", ""),
    ("[a:children]\n", "b\n", ""),
    ("h ", "a=1 ", ""),
    ("[all:vars]\n", "a='\n", ""),
    ("[all:vars]\na=", "[", ""),
    ("h[1:9999]\n[g]\nh[1:9999]\n", "#\n", ""),
];

#[test]
fn fuzz_inventory_yaml() {
    let words = &[
        "all:\n",
        "  hosts:\n",
        "  children:\n",
        "  vars:\n",
        "    db[01:20]:\n",
        "[a:c]",
        "ansible_host: ",
        "ansible_port: 22\n",
        "!vault |\n",
        "ungrouped:\n",
        "plugin: ",
        "    ",
        "db:2222",
        "::1",
        "ansible_group_priority: 10\n",
        "{}",
        "null",
    ];
    Target { name: "inventory_yaml", words, pumps: PUMPS, property: |input| property("hosts.yml", input) }.fuzz();
}

#[test]
fn fuzz_inventory_ini() {
    let words = &[
        "[web]\n",
        "[web:children]\n",
        "[web:vars]\n",
        "[all:vars]\n",
        "db[01:20]",
        "db[a:f]",
        "[1:100000]",
        " ansible_host=",
        "x='",
        "y=\"",
        " # comment",
        "\n",
        "=",
        "{'a': 1}",
        "[1, 2]",
        "(1,)",
        "0x1f",
        "1_000",
        "True",
        "None",
        "\\x",
        "'''",
        "r'",
        "b'",
    ];
    Target { name: "inventory_ini", words, pumps: PUMPS, property: |input| property("hosts", input) }.fuzz();
}

fn property(name: &str, input: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, input).unwrap();
    let inventory = match Inventory::load(&[InventorySource::Path(path)], directory.path()) {
        Ok(inventory) => inventory,
        Err(errors) => return check_diagnostics(&errors),
    };
    if !inventory.warnings.is_empty() {
        check_diagnostics(&Diagnostics(inventory.warnings.clone()));
    }
    for group in inventory.groups.values() {
        group.span.iter().for_each(|span| check_span(span, &group.name));
        for child in &group.children {
            assert!(inventory.groups[child].depth > group.depth, "`{child}` is not below `{}`", group.name);
        }
    }
    // As in Ansible, a host with the name of a group may be in no group.
    let grouped: HashSet<&str> = inventory.hosts_in_group("all").into_iter().collect();
    let is_grouped = |name: &String| grouped.contains(name.as_str()) || inventory.groups.contains_key(name);
    assert!(inventory.hosts.keys().all(is_grouped), "`all` has not each host");
    let selected = inventory.select("all").map(|hosts| hosts.len()).unwrap_or_default();
    assert!(selected == grouped.len() || inventory.hosts.contains_key("all"));
    // A range makes many hosts with the same variables.
    for host in inventory.hosts.values().take(20) {
        check_span(&host.span, &host.name);
        for (key, value) in inventory.layers(&host.name).iter().flat_map(|layer| &layer.vars) {
            check_span(&key.span, &key.name);
            check_node(value);
        }
    }
}
