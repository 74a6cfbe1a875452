//! What was sound on one host is not checked again on another, unless the other differs in something that matters.

use std::{collections::BTreeSet, fmt::Write as _};

use super::*;
use crate::template::worked;

/// Each host but the first differs from it in one thing, which another part of the role does not accept.
const HOSTS: &str = "all:
  vars: {autobot_roles: [app], shared: 1, deep: {list: [1, 2]}}
  hosts:
    sound: {own: /a, given: x, flag: yes, far: '{{ own }}'}
    value: {own: b, given: x, flag: yes, far: '{{ own }}'}
    absent: {own: /a, flag: yes, far: '{{ own }}'}
    through: {own: /a, given: x, flag: yes, far: '{{ nothing }}'}
    typed: {own: /a, given: x, flag: yes, far: '{{ own }}', number: none}
    more: {own: /a, given: x, flag: yes, far: '{{ own }}', deep: {list: [1, {}]}}
    named: {own: /a, given: x, flag: yes, far: '{{ own }}'}
    grouped: {own: /a, given: x, flag: yes, far: '{{ own }}'}
    healthy: {own: /a, given: x, flag: yes, far: '{{ own }}', checked: relative}
    known: {own: /a, given: x, flag: yes, far: '{{ own }}', when_absent: 1}
    same: {own: /a, given: x, flag: yes, far: '{{ own }}', other: 1}
  children: {special: {hosts: {grouped: }}}
";

const ROLE: &str = "defaults:
  number: {type: int, default: 1}
  checked: /health
tasks:
  - {name: Value, note: {path: '{{ own }}'}}
  - {name: Absent, note: {path: '/{{ given }}'}}
  - {name: Flag, note: {path: /a}, when: flag}
  - {name: Through, sheet: {src: far.tera, dest: /c}}
  - {name: More, loop: '{{ deep.list }}', note: {path: '/{{ item + 1 }}'}}
  - {name: Named, note: {path: '{% if inventory_hostname == \"named\" %}relative{% else %}/b{% endif %}'}}
  - {name: Grouped, note: {path: '{% if \"special\" in group_names %}relative{% else %}/b{% endif %}'}}
  - {name: Known, note: {path: '{% if when_absent is defined %}relative{% else %}/b{% endif %}'}}
health:
  - {name: Healthy, read: {note: {path: '{{ checked }}'}}}
";

fn sample() -> Sample {
    Sample::new(&[("inventory/hosts.yml", HOSTS), ("roles/app/role.yml", ROLE), ("templates/app/far.tera", "{{ far }}\n")])
}

/// The titles of the errors, without the names of hosts.
fn titles(sample: &Sample) -> Vec<(String, String)> {
    let errors = sample.load().err().unwrap_or_default();
    errors
        .0
        .into_iter()
        .map(|error| {
            error.title.split_once(" (on ").map_or((error.title.clone(), String::new()), |(title, on)| {
                (title.to_owned(), on.trim_end_matches(')').to_owned())
            })
        })
        .collect()
}

#[test]
fn a_host_that_differs_in_anything_that_matters_is_checked_as_if_it_were_alone() {
    let together: BTreeSet<(String, String)> = titles(&sample()).into_iter().collect();
    let names = ["value", "absent", "through", "typed", "more", "named", "grouped", "healthy", "known"];
    let mut apart = BTreeSet::new();
    for name in names {
        let mut alone = sample();
        alone.request.limit = Some(name.to_owned());
        let titles = titles(&alone);
        assert!(!titles.is_empty(), "nothing is wrong with `{name}`");
        apart.extend(titles.into_iter().map(|(title, _)| (title, name.to_owned())));
    }
    let split = together.iter().flat_map(|(title, on)| on.split(", ").map(|host| (title.clone(), host.to_owned())));
    assert_eq!(split.collect::<BTreeSet<_>>(), apart);
    for sound in ["sound", "same"] {
        let mut alone = sample();
        alone.request.limit = Some(sound.to_owned());
        assert_eq!(alone.errors(), "");
    }
}

#[test]
fn a_host_like_another_costs_nothing_to_check() {
    let cost = |hosts: usize| {
        let mut inventory =
            "all:\n  vars: {autobot_roles: [app], own: /a, given: x, flag: yes, far: f, deep: {list: [1]}}\n  hosts:\n"
                .to_owned();
        for number in 0..hosts {
            let _ = writeln!(inventory, "    host{number:04}: {{ansible_host: 198.18.0.{number}}}");
        }
        let role = ROLE.lines().filter(|line| !line.contains("Named")).collect::<Vec<_>>().join("\n");
        let sample = sample();
        sample.write("inventory/hosts.yml", &inventory);
        sample.write("roles/app/role.yml", &role);
        worked(|| assert_eq!(sample.load().unwrap_or_else(|errors| panic!("{errors}")).hosts.len(), hosts))
    };
    let (one, many) = (cost(1), cost(101));
    assert!(one > 100 && many - one <= 100 * one / 20, "bytes: {one} for one host, {many} for 101");
}

/// What a step needs of the vault is noted for each host that runs it.
#[test]
fn each_host_needs_the_encrypted_values_that_it_uses() {
    let encrypted = include_str!("../../vault/fixture/inline").trim_end().replace('\n', "\n        ");
    let inventory = format!(
        "all:\n  vars:\n    autobot_roles: [app]\n    hidden: !vault |\n        {encrypted}\n  hosts: {{one: , two: , three: }}\n"
    );
    let sample = Sample::new(&[
        ("inventory/hosts.yml", &inventory),
        ("roles/app/role.yml", "tasks:\n  - {name: A, sheet: {src: a.tera, dest: /a}}\n"),
        ("templates/app/a.tera", "{{ hidden }}\n"),
    ]);
    let plan = sample.load().unwrap_or_else(|errors| panic!("{errors}"));
    let needed: Vec<(&str, usize)> = plan.hosts.iter().map(|host| (host.name.as_str(), host.vaulted.len())).collect();
    assert_eq!(needed, [("one", 1), ("two", 1), ("three", 1)]);
}
