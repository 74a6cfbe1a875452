//! The meaning of names: precedence, types, templates, loops.

use serde_json::json;

use super::*;

fn note(role: &str) -> Sample {
    Sample::role(role)
}

#[test]
fn the_value_of_the_strongest_layer_wins() {
    let mut sample = Sample::new(&[
        (
            "roles/app/role.yml",
            "defaults: {a: role, b: role, c: role, d: role, e: role, f: role}\ntasks:\n  - name: Show\n    vars: {e: task, f: task}\n    note: {path: /x, content: \"{{ a }} {{ b }} {{ c }} {{ d }} {{ e }} {{ f }}\"}\n",
        ),
        (
            "inventory/hosts.yml",
            "all:\n  vars: {b: group, c: group, autobot_roles: [app]}\n  hosts:\n    db: {c: inline, d: inline}\n",
        ),
        ("inventory/host_vars/db.yml", "d: host_vars\ne: host_vars\n"),
    ]);
    sample.request.extra_vars = vec!["f=extra".to_owned()];
    insta::assert_snapshot!(sample.stand_in_tasks(), @r#"app/Show: Toy("{"path":"/x","content":"role group inline host_vars task extra"}")"#);
}

#[test]
fn values_are_rendered_once_and_keep_their_types() {
    let mut sample = note(
        "defaults:\n  name: {type: string, default: \"{{ base }}-x\"}\n  base: b\n  port: 1\n  list: [1, \"{{ port }}\"]\n  settings: {a: \"{{ port }}\", b: yes}\n\
         tasks:\n  - name: Show\n    note: {path: \"/{{ name }}\", content: \"{{ given }}\", port: \"{{ port + 1 }}\", list: \"{{ list }}\", on: yes, settings: \"{{ settings }}\"}\n",
    );
    sample.request.extra_vars = vec!["{\"given\": \"{{ base }}\"}".to_owned()];
    insta::assert_snapshot!(sample.stand_in_tasks(), @r#"app/Show: Toy("{"path":"/b-x","content":"{{ base }}","port":2,"list":[1,1],"on":"yes","settings":{"a":1,"b":"yes"}}")"#);
}

#[test]
fn loops_and_conditions_make_tasks() {
    let sample = note(
        "defaults: {items: [a, b], enabled: no}\ntasks:\n  - name: Each\n    loop: \"{{ items }}\"\n    when: [\"item != 'b'\", \"not enabled\"]\n    note: {path: \"/{{ item }}\"}\n\
         \x20 - name: Maps\n    loop: [{name: x, port: 1}, {name: x, port: 2}, {port: 3}]\n    note: {path: /m, port: \"{{ item.port }}\"}\n\
         \x20 - name: Never\n    loop: []\n    note: {path: /m}\n  - name: Off\n    when: enabled\n    note: {path: \"/{{ enabled }}\"}\n",
    );
    insta::assert_snapshot!(sample.stand_in_tasks(), @r#"
    app/Each (a): Toy("{"path":"/a"}")
    app/Each (b): skipped, when `item != 'b'` is false
    app/Maps (x): Toy("{"path":"/m","port":1}")
    app/Maps (x) #2: Toy("{"path":"/m","port":2}")
    app/Maps (3): Toy("{"path":"/m","port":3}")
    app/Off: skipped, when `enabled` is false
    "#);
}

#[test]
fn skipped_tasks_are_checked_for_names_and_files() {
    let sample = note(
        "defaults: {enabled: false}\ntasks:\n  - name: A\n    when: enabled\n    note: {path: \"/{{ nope }}\"}\n  - name: B\n    when: enabled\n    sheet: {src: nope.tera, dest: /a}\n  - name: C\n    loop: []\n    note: {path: \"/{{ nope.item }}\"}\n",
    );
    insta::assert_snapshot!(sample.errors(), @r"
    roles/app/role.yml:5:23: undefined variable `nope` [declare it under `defaults:` of the role, or set it in the inventory]
    roles/app/role.yml:8:18: no template `templates/app/nope.tera` [`templates/app/` is empty or does not exist]
    roles/app/role.yml:11:23: undefined variable `nope` [declare it under `defaults:` of the role, or set it in the inventory]
    ");
}

#[test]
fn conditions_must_be_boolean_and_use_existing_keys() {
    let sample = note(
        "defaults: {a: text, b: {c: 1}, d: {default: \"no\"}}\ntasks:\n  - {name: A, when: a, note: {path: /a}}\n  - {name: B, when: b.e == 1, note: {path: /a}}\n  - {name: C, when: d and a == 'x', note: {path: /a}}\n\
         \x20 - {name: D, when: \"{{ a }}\", note: {path: /a}}\n  - {name: E, when: a == , note: {path: /a}}\n  - {name: F, when: 5, note: {path: /a}}\n  - {name: G, when: ansible_facts.os_famly == 'Debian', note: {path: /a}}\n\
         \x20 - {name: H, when: b.e is defined, note: {path: /a}}\n  - {name: I, when: ansible_os_family == 'Debian', note: {path: /a}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @r#"
    roles/app/role.yml:3:21: a condition must be true or false [compare it with something: `x == 1`, `x != ""`, `x is defined`]
    roles/app/role.yml:4:23: `b` has no `e` [if it may be missing, write `?.e` or give it a `default`]
    roles/app/role.yml:5:21: `d` is text, which always counts as true [declare it with `type: bool`, or write `d | bool`]
    roles/app/role.yml:6:22: this is an expression already [leave out the `{{ }}`]
    roles/app/role.yml:7:23: a value is missing after `==`
    roles/app/role.yml:8:21: a condition must be an expression
    roles/app/role.yml:9:35: `ansible_facts` has no `os_famly` [did you mean `os_family`?]
    roles/app/role.yml:11:21: undefined variable `ansible_os_family` [write `ansible_facts.os_family`]
    "#);
}

#[test]
fn wrong_types_are_reported_at_the_value() {
    let mut sample = Sample::new(&[
        (
            "roles/app/role.yml",
            "defaults:\n  p: {type: port, default: 1}\n  l: {type: list, default: []}\n  q: {type: path}\n  b: {type: bool, default: \"{{ p }}\"}\ntasks:\n  - name: A\n    note: {path: \"{{ q }}\", port: \"{{ p }}\", list: \"{{ l }}\", on: \"{{ b }}\"}\n",
        ),
        ("inventory/group_vars/all.yml", "p: 70000\n"),
    ]);
    sample.request.extra_vars = vec!["l=x".to_owned()];
    insta::assert_snapshot!(sample.errors(), @r"
    -e:1:3: wrong type for `l`: expected a list, found text
    inventory/group_vars/all.yml:1:4: wrong type for `p`: expected a port from 1 to 65535, found a number
    roles/app/role.yml:4:3: `q` has no default and is not set for `db` [set it in the inventory, or with `-e`]
    ");
}

#[test]
fn wrong_parameters_are_reported_at_the_parameter() {
    let sample = note(
        "defaults: {many: [1, x], port: 100000}\ntasks:\n  - {name: A, note: {}}\n  - {name: B, note: {path: etc}}\n  - {name: C, note: {path: /a, port: \"{{ port }}\"}}\n  - name: D\n    note:\n      path: /a\n      list: [1, x]\n\
         \x20 - {name: E, note: {path: /a, mode: rw}}\n  - {name: F, note: [a]}\n  - {name: G, run: }\n  - {name: H, note: {path: /a, content: \"{{ many }}\"}}\n  - {name: I, note: {path: \"/{{ many }}\"}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @r#"
    roles/app/role.yml:3:15: `note` needs `path`
    roles/app/role.yml:4:28: wrong `path` of `note`: `etc` is not an absolute path
    roles/app/role.yml:5:38: wrong `port` of `note`: `100000` is not a whole number from 0 to 65535
    roles/app/role.yml:9:17: wrong `list` of `note`: `x` is not a whole number from 0 to 65535
    roles/app/role.yml:10:38: wrong `mode` of `note`: `rw` is no mode: write three or four octal digits, such as "0644"
    roles/app/role.yml:11:21: `note` must be a map of parameters
    roles/app/role.yml:12:15: wrong `cmd` of `run`: give a command
    roles/app/role.yml:13:41: wrong `content` of `note`: invalid type: sequence, expected a string
    roles/app/role.yml:14:33: a list where text is wanted: join it with `| join(sep=", ")`, or write it with `| to_json`
    "#);
}

#[test]
fn a_cycle_of_variables_is_reported_once() {
    let sample = note(
        "defaults: {b: \"{{ c }}\", c: \"{{ a }}\", a: \"{{ b }}\"}\ntasks:\n  - {name: A, note: {path: \"{{ c }}\"}}\n  - {name: B, note: {path: \"{{ b }}\", content: \"{{ a }}\"}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @"roles/app/role.yml:1:43: the variable `a` refers to itself: a -> b -> c -> a");
}

#[test]
fn stand_in_results_are_used_until_the_real_ones_are_known() {
    let sample = note(
        "tasks:\n  - {name: Read, run: {cmd: \"true\", reads: yes}, register: out}\n  - {name: Use, note: {path: \"{{ out.stdout }}\"}}\n  - {name: After, when: out.changed, note: {path: /a}}\n  - {name: Wrong, note: {path: \"{{ out.stdout }}{{ nope }}\"}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @"roles/app/role.yml:5:52: undefined variable `nope` [declare it under `defaults:` of the role, or set it in the inventory]");
    let sample = note(
        "tasks:\n  - {name: Early, when: out.rc == 0, note: {path: /a}}\n  - {name: Read, run: {cmd: \"true\", reads: yes}, register: out}\n",
    );
    insta::assert_snapshot!(sample.errors(), @"roles/app/role.yml:2:25: undefined variable `out` [it is the result of `Read`, which comes later or is left out by the tags]");
    let sample = note(
        "tasks:\n  - {name: Read, run: {cmd: \"true\", reads: yes}, register: out}\n  - {name: Use, note: {path: \"{{ out.stdout }}\"}}\n",
    );
    let mut world = World::stand_in();
    world.registers.insert("out".to_owned(), json!({"stdout": "/{{ raw }}", "rc": 0}));
    insta::assert_snapshot!(sample.tasks(&world), @r#"
    app/Read: Toy("{"cmd":"true","reads":"yes"}")
    app/Use: Toy("{"path":"/{{ raw }}"}")
    "#);
}

#[test]
fn magic_variables_describe_the_inventory() {
    let sample = Sample::new(&[
        (
            "roles/app/role.yml",
            "tasks:\n  - name: Show\n    note: {path: /a, content: \"{{ inventory_hostname }} {{ groups.database | join(sep=',') }} {{ group_names | join(sep=',') }} {{ hostvars.web.ansible_host }} {{ hostvars['db'].x }} {{ ansible_facts.os_family }}\"}\n",
        ),
        (
            "inventory/hosts.yml",
            "all: {children: {database: {hosts: {db: {x: \"{{ y }}\", y: 1}}, vars: {autobot_roles: app}}, other: {hosts: {web: {ansible_host: 198.18.0.9, z: \"{{ hostvars.db.x }}\"}}}}}\n",
        ),
    ]);
    insta::assert_snapshot!(sample.stand_in_tasks().lines().next().unwrap_or_default(), @r#"app/Show: Toy("{"path":"/a","content":"db db database 198.18.0.9 1 Debian"}")"#);
}

#[test]
fn nothing_can_depend_on_whether_this_is_a_check() {
    let sample = Sample::new(&[
        (
            "roles/app/role.yml",
            "defaults: {quiet: \"{{ not ansible_check_mode }}\"}\ntasks:\n  - {name: A, when: not ansible_check_mode, note: {path: /a}}\n  - {name: B, note: {path: \"/{{ ansible_check_mode | default(value=false) }}\"}}\n  - {name: C, sheet: {src: s.tera, dest: /c}}\n",
        ),
        ("inventory/group_vars/all.yml", "ansible_check_mode: true\n"),
        ("templates/app/s.tera", "{% if ansible_check_mode %}x{% endif %}\n"),
    ]);
    insta::assert_snapshot!(sample.errors(), @r"
    roles/app/role.yml:1:27: undefined variable `ansible_check_mode` [a check must predict the deploy, so nothing may depend on whether this is a check]
    roles/app/role.yml:3:25: undefined variable `ansible_check_mode` [a check must predict the deploy, so nothing may depend on whether this is a check]
    roles/app/role.yml:4:33: undefined variable `ansible_check_mode` [a check must predict the deploy, so nothing may depend on whether this is a check]
    templates/app/s.tera:1:7: undefined variable `ansible_check_mode` [a check must predict the deploy, so nothing may depend on whether this is a check]
    ");
}

#[test]
fn unsafe_values_and_expressions_are_kept_as_written() {
    let sample = note(
        "tasks:\n  - name: A\n    note: {path: /a, content: !unsafe \"{{ x }}\"}\n  - name: B\n    claim: [\"1 == 1\", \"1 == 2\"]\n",
    );
    insta::assert_snapshot!(sample.stand_in_tasks(), @r#"
    app/A: Toy("{"path":"/a","content":"{{ x }}"}")
    app/B: Toy("{"that":[{"expression":"1 == 1","holds":true},{"expression":"1 == 2","holds":false}]}")
    "#);
}

#[test]
fn a_missing_key_is_an_error_wherever_it_is_used() {
    let sample = note(
        "defaults: {a: {port: 1, tls: {}}}\ntasks:\n  - {name: A, note: {path: \"{{ '/x' ~ a.prot }}\"}}\n  - {name: B, note: {path: /a, list: \"{{ [a.tls.port] }}\"}}\n  - {name: C, note: {path: \"/{{ a.zzz }}\"}}\n\
         \x20 - {name: D, note: {path: \"/{{ a?.zzz or 1 }}{{ a.x.y | default(value=1) if a.x is defined else 2 }}{% if a.tls.key is defined %}{{ a.tls.key.size }}{% endif %}\"}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @r"
    roles/app/role.yml:3:41: `a` has no `prot` [did you mean `port`?]
    roles/app/role.yml:4:49: `a.tls` has no `port` [if it may be missing, write `?.port` or give it a `default`]
    roles/app/role.yml:5:35: `a` has no `zzz` [if it may be missing, write `?.zzz` or give it a `default`]
    ");
}

#[test]
fn a_comparison_with_a_literal_of_another_type_is_an_error() {
    let role = |task: &str| {
        Sample::new(&[
            (
                "roles/app/role.yml",
                &format!(
                    "defaults: {{port: 8080, flag: true, name: \"16\", any: null, list: [a], ratio: 0.5}}\ntasks:\n  - {{name: A, note: {{path: /a}}, when: {task}}}\n"
                ),
            ),
            ("inventory/group_vars/database.yml", "number: 8080\nyes_text: \"yes\"\ncert: false\nswitch: 1\n"),
        ])
        .errors()
    };
    let wrong = [
        "port == '8080'",
        "\"'8080' != port\"",
        "port == ''",
        "port == true",
        "flag == 'yes'",
        "flag != 'yes'",
        "flag == 'False'",
        "flag == 1",
        "flag == 'on' and port == 1",
        "not flag == 'no'",
        "flag == 'maybe'",
        "name == 16",
        "name != true",
        "name == false",
        "list == 'a'",
        "ratio == '0.5'",
        "number == '8080'",
        "yes_text == true",
        "switch == true",
        "cert == 'yes'",
        // Of a task that is left out.
        "[false, port == '1']",
    ];
    let lines = wrong.map(|task| format!("{task} => {}", role(task)));
    insta::assert_snapshot!(lines.join("\n"), @r#"
    port == '8080' => roles/app/role.yml:3:39: `port` is a number, which never equals text [write the number without quotes: `port == 8080`]
    "'8080' != port" => roles/app/role.yml:3:40: `port` is a number, which never equals text [write the number without quotes: `port != 8080`]
    port == '' => roles/app/role.yml:3:39: `port` is a number, which never equals text [`port` is always a number: leave the comparison out]
    port == true => roles/app/role.yml:3:39: `port` is a number, which never equals a boolean [write `port == 1`]
    flag == 'yes' => roles/app/role.yml:3:39: `flag` is a boolean, which never equals text [write `flag`]
    flag != 'yes' => roles/app/role.yml:3:39: `flag` is a boolean, which never equals text [write `not flag`]
    flag == 'False' => roles/app/role.yml:3:39: `flag` is a boolean, which never equals text [write `not flag`]
    flag == 1 => roles/app/role.yml:3:39: `flag` is a boolean, which never equals a number [write `flag`]
    flag == 'on' and port == 1 => roles/app/role.yml:3:39: `flag` is a boolean, which never equals text [write `flag`]
    not flag == 'no' => roles/app/role.yml:3:43: `flag` is a boolean, which never equals text [write `not flag`]
    flag == 'maybe' => roles/app/role.yml:3:39: `flag` is a boolean, which never equals text [`flag` is always a boolean: leave the comparison out]
    name == 16 => roles/app/role.yml:3:39: `name` is text, which never equals a number [write the text in quotes: `name == '16'`]
    name != true => roles/app/role.yml:3:39: `name` is text, which never equals a boolean [declare it with `type: bool`, or write `not (name | bool)`]
    name == false => roles/app/role.yml:3:39: `name` is text, which never equals a boolean [declare it with `type: bool`, or write `not (name | bool)`]
    list == 'a' => roles/app/role.yml:3:39: `list` is a list, which never equals text [compare a part of it, or its `list | length`, or ask for `'a' in list`]
    ratio == '0.5' => roles/app/role.yml:3:39: `ratio` is a number, which never equals text [write the number without quotes: `ratio == 0.5`]
    number == '8080' => roles/app/role.yml:3:39: `number` is a number, which never equals text [write the number without quotes: `number == 8080`]
    yes_text == true => roles/app/role.yml:3:39: `yes_text` is text, which never equals a boolean [declare it with `type: bool`, or write `(yes_text | bool)`]
    switch == true => roles/app/role.yml:3:39: `switch` is a number, which never equals a boolean [write `switch == 1`]
    cert == 'yes' => roles/app/role.yml:3:39: `cert` is a boolean, which never equals text [write `cert`]
    [false, port == '1'] => roles/app/role.yml:3:47: `port` is a number, which never equals text [write the number without quotes: `port == 1`]
    "#);
    for right in [
        "port == 8080",
        "ratio == 1",
        "flag == true",
        "name == '16'",
        "any == 'a'",
        "any == 1",
        "number == 'auto'",
        "cert == '/etc/cert'",
        "\"list == ['a']\"",
        "port | str == '8080'",
    ] {
        assert_eq!(role(right), "", "{right}");
    }
}

#[test]
fn an_item_may_be_compared_with_literals_of_several_types() {
    let sample = Sample::role(
        "defaults: {item_list: [1, a]}\ntasks:\n  - {name: A, note: {path: /a}, loop: \"{{ item_list }}\", when: item == 'a' or item == 1}\n",
    );
    assert_eq!(sample.errors(), "");
}
