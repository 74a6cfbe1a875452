//! What a plan costs per host does not depend on how many hosts there are.

use std::fmt::Write as _;

use super::*;
use crate::template::worked;

/// A project in which each host asks for a part of `groups` and of `hostvars`: directly, through a variable, in conditions and in a template that is
/// rendered by a process of its own.
fn project(hosts: usize) -> Sample {
    let mut inventory =
        "all:\n  vars:\n    autobot_roles: [app]\n    port: 1\n    first: \"{{ groups['few'][0] }}\"\n".to_owned();
    inventory.push_str("  children:\n    few: {hosts: {host0000: , host0001: }}\n    many:\n      hosts:\n");
    for number in 0..hosts {
        let _ = writeln!(
            inventory,
            "        host{number:04}: {{ansible_host: 198.18.{}.{}, own: a}}",
            100 + number / 100,
            100 + number % 100
        );
    }
    Sample::new(&[
        ("inventory/hosts.yml", &inventory),
        ("templates/app/few.tera", "{% for host in groups.few %}{{ host }} {{ hostvars[host].port }}\n{% endfor %}"),
        (
            "roles/app/role.yml",
            "defaults: {mine: \"{{ hostvars[inventory_hostname].own }}\"}\ntasks:\n\
             \x20 - {name: A, when: \"'few' in groups and inventory_hostname in groups['few']\", note: {path: \"/{{ first }}\"}}\n\
             \x20 - {name: B, note: {path: \"/{{ mine }}\", content: \"{{ groups.few | length }}\"}}\n\
             \x20 - {name: C, sheet: {src: few.tera, dest: /c}}\n",
        ),
    ])
}

#[test]
fn each_host_costs_the_same_however_many_there_are() {
    let cost = |hosts: usize| {
        let sample = project(hosts);
        worked(|| assert_eq!(sample.load().unwrap_or_else(|errors| panic!("{errors}")).hosts.len(), hosts))
    };
    let (few, some, many) = (cost(50), cost(100), cost(500));
    assert_eq!((many - some) / 400, (some - few) / 50, "bytes per host: {few} for 50 hosts, {some} for 100, {many} for 500");
    // What a large inventory makes of the templates is what a small one makes.
    let tasks = |hosts: usize| project(hosts).stand_in_tasks().lines().take(9).collect::<Vec<_>>().join("\n");
    assert!(tasks(500).contains(r#"app/B: Toy("{"path":"/a","content":2}")"#), "{}", tasks(500));
    assert_eq!(tasks(500), tasks(50));
}
