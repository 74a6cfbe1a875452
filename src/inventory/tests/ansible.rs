//! Cases in which Ansible reads an inventory in a surprising way. All of them are compared with Ansible itself in tests/parity.

use super::*;

#[test]
fn a_port_counts_only_where_the_host_is_named_first() {
    let inventory = one("hosts", "h1\nh2:2222\n[web]\nh1:22\nh2:33 a=1\n");
    assert_eq!([value(&inventory, "h1", "ansible_port"), value(&inventory, "h2", "ansible_port")], ["", "2222"]);
    assert_eq!(value(&inventory, "h2", "a"), "1");
}

#[test]
fn variables_beside_a_host_go_to_the_group_of_its_name() {
    let inventory = one("hosts", "[redis]\nredis a=1\nother\n");
    assert_eq!([value(&inventory, "redis", "a"), value(&inventory, "other", "a")], ["1", "1"]);
    // Without another group, the group instead of the host is in `ungrouped`.
    let inventory = one("hosts.yml", "all: {hosts: {web: }}\nweb: {hosts: {h: }}\n");
    assert_eq!(inventory.groups[UNGROUPED].children, ["web"]);
    assert!(inventory.groups[UNGROUPED].hosts.is_empty());
}

#[test]
fn the_priority_of_a_group_is_not_a_variable() {
    let inventory = one("hosts", "[a]\nh\n[a:vars]\nansible_group_priority=5\nx=1\n");
    assert_eq!((inventory.groups["a"].priority, value(&inventory, "h", "ansible_group_priority")), (5, ""));
}

#[test]
fn unknown_keys_and_entries_that_are_not_groups_are_warnings() {
    let inventory = one("hosts.yml", "version: 2\nweb:\n  description: x\n  hosts: {w: }\n  vars: lone\n");
    assert_eq!(
        warnings(&inventory),
        ["`version` is not read: a group must be a map, not a number", "unknown key `description` in a group"]
    );
    assert_eq!(inventory.variable("w", "lone").map(|node| &node.value), Some(&crate::source::Yaml::Null));
}

#[test]
fn names_that_yaml_reads_as_numbers_or_booleans_need_quotes() {
    insta::assert_snapshot!(error_in("hosts.yml", "web: {hosts: {0644: , yes: , \"5\": }}\n2020-01-01: {}\n"), @r#"
    error: YAML does not read the name of the host `0644` as text
     --> hosts.yml:1:15
      |
    1 | web: {hosts: {0644: , yes: , "5": }}
      |               ^^^^ here
      |
      = help: quote it: `"0644":`

    error: YAML does not read the name of the host `yes` as text
     --> hosts.yml:1:23
      |
    1 | web: {hosts: {0644: , yes: , "5": }}
      |                       ^^^ here
      |
      = help: quote it: `"yes":`

    error: YAML does not read the name of the group `2020-01-01` as text
     --> hosts.yml:2:1
      |
    2 | 2020-01-01: {}
      | ^^^^^^^^^^ here
      |
      = help: quote it: `"2020-01-01":`

    3 errors
    "#);
}

#[test]
fn ini_lines_end_where_python_ends_them() {
    let inventory = one("hosts", "h1 a=1\u{2028}h2\u{b}h3\r[a#b]\rh4 x=a\u{a0}b\n[p:children]\na#b # comment\n");
    assert_eq!(select(&inventory, "all"), "h1 h2 h3 h4");
    assert_eq!((value(&inventory, "h4", "x"), inventory.groups["p"].children[0].as_str()), ("a\u{a0}b", "a#b"));
}

#[test]
fn section_names_contain_no_spaces_and_lines_that_begin_with_a_bracket_may_be_hosts() {
    for header in ["[a b]", "[ a ]", "[]", "[:vars]", "[a:b:c]", "[a:vars ]", "[x:z]n[1:2]"] {
        assert!(error_in("hosts", header).starts_with("error: not a valid section name"), "{header}");
    }
    assert_eq!(select(&one("hosts", "[2001:db8::1]:22\n[10.0.0.1]:22\n[1:2].lan\n"), "all"), "2001:db8::1 10.0.0.1 1.lan 2.lan");
}

#[test]
fn a_file_without_extension_is_yaml_if_it_parses_as_a_map() {
    assert_eq!(select(&one("hosts", "\"web\": {hosts: {h: }}\n"), "web"), "h");
    assert_eq!(select(&one("hosts", "? web\n: {hosts: {h: }}\n"), "web"), "h");
    assert!(error_in("nodes.conf", "web:\n  hosts: {h: }\n").contains("is not a valid port"));
}

#[test]
fn programs_name_hosts_as_they_are() {
    let inventory = one(
        "inv.sh",
        "#!/bin/sh\necho '{\"lone\": {\"a\": \"{{ x }}\"}, \"web\": {\"hosts\": [\"w:1\"], \"note\": 1}, \"_meta\": {\"hostvars\": {\"stranger\": {}}}}'\n",
    );
    assert_eq!(inventory.hosts.keys().collect::<Vec<_>>(), ["lone", "w:1"]);
    assert!(inventory.variable("lone", "a").unwrap().verbatim);
    for (json, error) in [
        ("{\"web\": {\"hosts\": null}}", "`hosts` must be a list of names, not nothing"),
        ("{\"web\": {\"vars\": [], \"hosts\": []}}", "`vars` must be a map of names and values, not a list"),
        ("{\"web\": null}", "group `web` must be a map or a list of hosts, not nothing"),
        ("{\"web\": [\"a b\"]}", "`a b` is not a valid host name"),
        ("{\"_meta\": {}}", "`_meta` has no map `hostvars`"),
        ("[1]", "did not print JSON: not a map"),
    ] {
        assert!(error_in("inv.sh", &format!("#!/bin/sh\necho '{json}'\n")).contains(error), "{json}");
    }
    let quiet = one("inv.sh", "#!/bin/sh\n[ \"$1\" = --host ] || echo '{\"web\": [\"h\"]}'\n");
    assert_eq!(select(&quiet, "web"), "h");
}

#[test]
fn a_directory_that_is_named_twice_counts_the_last_time() {
    let project = Project::new(&[
        ("hosts", "h\n"),
        ("other/hosts", "h\n"),
        ("group_vars/all.yml", "who: project"),
        ("other/group_vars/all.yml", "who: other"),
    ]);
    assert_eq!(value(&project.load(&["hosts", "other/hosts"]), "h", "who"), "project");
}

#[test]
fn patterns_have_ansibles_separators_and_operators() {
    let inventory =
        one("hosts.yml", "web: {hosts: {w1: , w2: , w3: }}\ndb: {hosts: {d1: , w3: }}\nwdb: {hosts: {w1: , d1: }}\nw1.x: {}\n");
    for (pattern, hosts) in [
        // In a pattern with a comma a colon does not separate; the name of a host with a port is one part.
        ("w1,w2:w3", "no host or group matches `w2:w3` separate the parts of a pattern with commas only"),
        ("db:22", "no host or group matches `db:22` separate the parts of a pattern with commas only"),
        ("web !w1", "w2 w3"),
        ("w1]w2", "w1 w2"),
        ("!!web", "no host or group matches `!web` did you mean `web`?"),
        // A host that is in two of the groups counts twice.
        ("w*[3]", "w1"),
        ("web[0-1]", "w1 w2"),
        ("web[-3:-1]", "no host or group matches `web[-3:-1]` only a single index can count from the end: `web[-1]`"),
        ("~(web|db)", "w1 w2 w3 d1"),
    ] {
        assert_eq!(select(&inventory, pattern), hosts, "{pattern}");
    }
}
