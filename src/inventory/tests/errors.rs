//! Errors and warnings about inventories.

use super::*;

#[test]
fn all_errors_in_yaml_are_reported_at_once() {
    let text = "all:\n  host:\n    a:\n  children:\n    web:\n      hosts: [w1, w2]\n    db:\n      hosts:\n        d1: 5\n        'd[3:1]':\n      var: {x: 1}\nhosts:\n  b:\nslm: yes\n";
    insta::assert_snapshot!(error_in("hosts.yml", text), @r##"
    error: unknown key `host` in a group
     --> hosts.yml:2:3
      |
    2 |   host:
      |   ^^^^ not known here
      |
      = help: did you mean `hosts`?

    error: `hosts` must be a map of names, not a list
     --> hosts.yml:6:14
      |
    6 |       hosts: [w1, w2]
      |              ^^^^^^^^ a list
      |
      = help: write each name as a key: `name:` instead of `- name`

    error: host `d1` must be a map of names and values, not a number
     --> hosts.yml:9:13
      |
    9 |         d1: 5
      |             ^ here

    error: `d[3:1]` is not a valid range of hosts
      --> hosts.yml:10:9
       |
    10 |         'd[3:1]':
       |         ^^^^^^^^ the first value is greater than the last
       |
       = help: write `[01:20]`, `[1:9:2]` or `[a:c]`

    error: unknown key `var` in a group
      --> hosts.yml:11:7
       |
    11 |       var: {x: 1}
       |       ^^^ not known here
       |
       = help: did you mean `vars`?

    error: `hosts` is outside of a group
      --> hosts.yml:12:1
       |
    12 | hosts:
       | ^^^^^ here
       |
       = help: move it into a group, for example into `all:`

    6 errors
    "##);
    assert!(error_in("hosts.yml", "- a\n").contains("an inventory must be a map of groups, not a list"));
    assert!(error_in("hosts.yml", "plugin: aws_ec2\nregions: [x]\n").contains("inventory plugins are not supported"));
}

#[test]
fn all_errors_in_ini_are_reported_at_once() {
    let text = "[web]\nw1 ansible_host\nw2 a='x\n-oProxyCommand=x\n[dbs:vars]\nx=1\nnothing\n[db]\nd1\n[top:children]\nwbe\nweb db\n[top:child]\ny=1\n[open\n";
    insta::assert_snapshot!(error_in("hosts", text), @r##"
    error: expected `name=value` after a host
     --> hosts:2:4
      |
    2 | w1 ansible_host
      |    ^^^^^^^^^^^^ no `=`
      |
      = help: write one host per line; comments begin with `#`

    error: an unclosed quote or a trailing backslash
     --> hosts:3:6
      |
    3 | w2 a='x
      |      ^^ not closed before the end of the line

    error: `-oProxyCommand=x` is not a valid host name
     --> hosts:4:1
      |
    4 | -oProxyCommand=x
      | ^^^^^^^^^^^^^^^^ use letters, digits, `-`, `_`, `.` and ranges such as `[01:20]`

    error: the group `dbs` is not defined
     --> hosts:5:2
      |
    5 | [dbs:vars]
      |  ^^^ it has only variables
      |
      = help: did you mean `db`?

    error: expected `name=value`
     --> hosts:7:1
      |
    7 | nothing
      | ^^^^^^^ no `=`

    error: the group `wbe` is not defined
      --> hosts:11:1
       |
    11 | wbe
       | ^^^ named as a child of `top`
       |
       = help: did you mean `web`?

    error: `web db` is not a valid group name
      --> hosts:12:1
       |
    12 | web db
       | ^^^^^^ expected one name per line

    error: unknown kind of section `child`
      --> hosts:13:6
       |
    13 | [top:child]
       |      ^^^^^ not one of `hosts`, `children`, `vars`
       |
       = help: did you mean `children`?

    error: a section name without its closing `]`
      --> hosts:15:1
       |
    15 | [open
       | ^^^^^ here

    9 errors
    "##);
}

#[test]
fn groups_that_contain_each_other_are_an_error() {
    insta::assert_snapshot!(error_in("hosts", "[a:children]\nb\n[b:children]\nc\n[c:children]\na\n[d:children]\nd\n"), @r##"
    error: the groups `c` and `a` contain each other
     --> hosts:6:1
      |
    6 | a
      | ^ `c` is already a descendant of `a`
      |
     ::: hosts:5:2
      |
    5 | [c:children]
      |  - `c` is named here

    error: the group `d` contains itself
     --> hosts:8:1
      |
    8 | d
      | ^ here

    2 errors
    "##);
    assert!(error_in("hosts.yml", "a:\n  children:\n    b:\n      children:\n        a:\n").contains("contain each other"));
    assert!(error_in("hosts.yml", "a:\n  children:\n    all:\n").contains("`all` cannot be a child"));
}

#[test]
fn an_error_in_a_variables_file_does_not_hide_the_others() {
    let project = Project::new(&[
        ("hosts", "h\n"),
        ("group_vars/all.yml", "a: 1\na: 2\n"),
        ("host_vars/h.yml", "- list\n"),
        ("group_vars/ungrouped", "$ANSIBLE_VAULT;1.1;AES256\n6139\n"),
    ]);
    insta::assert_snapshot!(project.errors(&["hosts"]), @"
    error: duplicate key `a`
     --> group_vars/all.yml:2:1
      |
    2 | a: 2
      | ^ defined again here
      |
     ::: group_vars/all.yml:1:1
      |
    1 | a: 1
      | - first defined here

    error: `group_vars/ungrouped` cannot be decrypted: it is damaged: it was truncated
     --> group_vars/ungrouped:1:1
      |
    1 | $ANSIBLE_VAULT;1.1;AES256
      | ^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: restore it, or encrypt the value again with `ansible-vault`

    error: a variables file must be a map of names and values, not a list
     --> host_vars/h.yml:1:1
      |
    1 | - list
      | ^^^^^^ here

    3 errors
    ");
}

#[test]
fn a_pattern_or_a_part_of_it_that_matches_nothing_is_an_error() {
    let inventory = one("hosts", INI);
    for (pattern, error) in [
        ("wbe", "no host or group matches `wbe` did you mean `web`?"),
        ("web:nosuch", "no host or group matches `nosuch`"),
        ("all:!wbe", "no host or group matches `wbe` did you mean `web`?"),
        ("all:&x*", "no host or group matches `x*`"),
        ("empty", "`empty` selects no host"),
        ("web:!web", "`web:!web` selects no host"),
        ("db[9]", "`db[9]` is past the end: `db` has 4 hosts"),
        ("db[-9]", "`db[-9]` is past the end: `db` has 4 hosts"),
        ("", "the host pattern is empty"),
        (" , ", "the host pattern is empty"),
        ("@/nowhere", "cannot read `/nowhere`: No such file or directory (os error 2)"),
    ] {
        assert_eq!(select(&inventory, pattern), error, "{pattern}");
    }
    assert!(select(&inventory, "~web(").starts_with("`~web(` is not a regular expression: "));
    for pattern in ["[", "[]", "a[!]", "[é]", "é[", "~", "&", "!", "a[-]", "all[99999999999999999999]", "@", "~\\"] {
        let _ = inventory.select(pattern);
    }
}

#[test]
fn variables_files_that_are_not_read_cause_warnings() {
    let project = Project::new(&[
        ("hosts", "[database]\ndb1\n"),
        ("group_vars/databse.yml", "a: 1"),
        ("group_vars/vault.yml", "a: 1"),
        ("group_vars/all/x.yml", "a: 1"),
        ("group_vars/all.yml", "a: 2"),
        ("host_vars/db2.yml", "a: 1"),
    ]);
    let inventory = project.load(&["hosts"]);
    assert_eq!(
        warnings(&inventory),
        [
            "`group_vars/all.yml` is not read, because `group_vars/all` exists",
            "`group_vars/databse.yml` is not read: there is no group `databse`",
            "`group_vars/vault.yml` is not read: there is no group `vault`",
            "`host_vars/db2.yml` is not read: there is no host `db2`",
        ]
    );
    assert_eq!(inventory.warnings[1].help.as_deref(), Some("did you mean `database`?"));
    assert_eq!(value(&inventory, "db1", "a"), "1");
}

#[test]
fn a_host_with_the_name_of_a_group_is_a_warning() {
    let inventory = one("hosts", "[redis]\nredis\n");
    assert_eq!(warnings(&inventory), ["`redis` is a host and a group"]);
    assert_eq!(select(&inventory, "redis"), "redis");
}

#[test]
fn an_inventory_names_a_bounded_number_of_hosts() {
    let lines = |count: usize| (0..count).map(|number| format!("h{number}x[1:9999]\n")).collect::<Vec<_>>().concat();
    assert_eq!(one("hosts", &lines(10)).hosts.len(), 99_990);
    let error = error_in("hosts", &lines(3000));
    assert!(error.contains("the inventory names hosts more than 100000 times") && error.contains("hosts:11:1"), "{error}");
    assert!(error.ends_with("1 error"), "{error}");
}
