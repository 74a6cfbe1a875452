//! What hands that know Ansible write: the answer says how it is written here.

use super::Sample;

#[test]
fn a_declaration_without_a_default_is_no_map() {
    let sample = Sample::role(
        "defaults:\n  a: {type: int, required: true}\n  b: {requird: true}\n  c: {tyep: int}\n  d: {type: string, choices: [x, y], default: x}\n  e: {type: integer, default: 1}\n  f: {type: boolean, default: false}\n  g: {min: 1, max: 2}\n  h: {type: enum, default: x}\ntasks:\n  - {name: A, note: {path: /a, content: \"{{ a }}{{ b }}{{ c }}{{ d }}{{ e }}{{ f }}{{ h }}\"}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @"
    roles/app/role.yml:2:18: unknown key of a variable: `required` [leave it out: a variable must be set unless it has a `default`
    a map that is itself the value is written `default: {…}`]
    roles/app/role.yml:3:7: unknown key of a variable: `requird` [leave it out: a variable must be set unless it has a `default`
    a map that is itself the value is written `default: {…}`]
    roles/app/role.yml:4:7: unknown key of a variable: `tyep` [did you mean `type`?
    a map that is itself the value is written `default: {…}`]
    roles/app/role.yml:5:21: unknown key of a variable: `choices` [list the words in its type under `defaults:`: `app_mode: {type: {one_of: [fast, safe]}, default: safe}`]
    roles/app/role.yml:6:13: unknown type `integer` [did you mean `int`?]
    roles/app/role.yml:7:13: unknown type `boolean` [did you mean `bool`?]
    roles/app/role.yml:8:3: `g` has no default and is not set for `db` [set it in the inventory, or with `-e`]
    roles/app/role.yml:8:12: `min` is for numbers [declare the variable with `type: int`, `float` or `port`]
    roles/app/role.yml:8:20: `max` is for numbers [declare the variable with `type: int`, `float` or `port`]
    roles/app/role.yml:9:13: unknown type `enum` [did you mean `{one_of: [words]}`?]
    ");
}

#[test]
fn maps_that_declare_nothing_are_values() {
    let sample = Sample::role(
        "defaults:\n  a: {host: db, port: 1}\n  b: {}\n  c: {type: host, rules: [x]}\n  d: {helper: x, maximum: 3}\n  e: {default: {type: host, database: all}}\ntasks:\n  - {name: A, note: {path: /a, content: \"{{ a.host }}{{ c.type }}{{ d.maximum }}{{ e.database }}\"}}\n",
    );
    assert_eq!(sample.errors(), "");
}

#[test]
fn an_error_in_a_declaration_is_the_only_one() {
    let sample = Sample::role(
        "defaults:\n  a: {type: int, min: 9, max: 5, default: 7}\n  b: {type: {one_of: []}, default: x}\n  c: {type: integr, default: 1}\ntasks:\n  - {name: A, note: {path: /a, content: \"{{ a }}{{ b }}{{ c }}\"}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @"
    roles/app/role.yml:2:31: `max` is less than `min`, 9: no value fits
    roles/app/role.yml:3:13: a type is a word, or `{one_of: [...]}` with the allowed words
    roles/app/role.yml:4:13: unknown type `integr` [types: string, int, float, bool, port, path, size, host, list, dict, or {one_of: [words]}]
    ");
}

#[test]
fn words_of_tasks_are_answered_under_the_names_that_are_written() {
    let sample = Sample::role(
        "tasks:\n  - {name: A, service: {name: x}}\n  - {name: B, package: {state: present}}\n  - {name: C, package: {name: x, state: latest}}\n  - {name: D, ansible.builtin.service: {name: x, enable: true}}\n  - {name: E, block: []}\n  - {name: F, block: }\n  - {name: G, ansible.builtin.block: [{name: H, note: {path: /a}}]}\n  - {name: I, get_url: {url: \"https://host/f\", dest: /f, force: true}}\n  - {name: J, deb822_repository: {name: a, uris: \"https://host/\", suites: b, components: [c], types: []}}\n  - {name: K, uri: {url: \"https://host/\"}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @r#"
    roles/app/role.yml:2:15: wrong parameters of `service`: say at least one of `state`, `enabled`, `masked` and `restart_if_replaced`
    roles/app/role.yml:3:24: `package` needs `name` [`apt` installs or removes packages: the lists are fetched by the task that installs, when they are too old; upgrades and clean-ups are for a maintenance window: `apt: {name: [curl], update_cache: true, cache_valid_time: 3600}`]
    roles/app/role.yml:4:41: wrong `state` of `package`: `latest` is not one of `present`, `absent` [write `present`, which installs it once: upgrades are for a maintenance window; `apt: {name: "redis=6:8.2.*"}` asks for a version]
    roles/app/role.yml:5:50: unknown parameter of `service`: `enable` [did you mean `enabled`?]
    roles/app/role.yml:6:22: a block needs at least one task [list its tasks under `block:`, or leave the block out]
    roles/app/role.yml:7:20: a block needs at least one task [list its tasks under `block:`, or leave the block out]
    roles/app/role.yml:8:15: unknown resource `ansible.builtin.block` [`block` is a keyword and no module: write it without its collection]
    roles/app/role.yml:9:58: unknown parameter of `get_url`: `force` [leave it out: a file whose `checksum` differs is always fetched again, and without a `checksum` an existing file is kept]
    roles/app/role.yml:10:102: wrong `types` of `deb822_repository`: is an empty list; leave it out for `deb`
    roles/app/role.yml:11:15: unknown resource `uri` [an HTTP request that changes something is not a state that can be declared; check a page with a health check under `health:`: `exercise: {http: {url: "http://127.0.0.1:8080/health", status_code: 200}}`]
    "#);
}

#[test]
fn pipefail_is_answered_before_a_node_refuses_it() {
    let sample = Sample::role(
        "tasks:\n  - {name: A, shell: {cmd: \"set -o pipefail; a | b\", creates: /a}}\n  - {name: B, command: {argv: [bash, -c, 'set -o pipefail; zcat \"$1\" | head', bash, \"{{ inventory_hostname }}\"], creates: /a}}\n  - {name: C, command: {cmd: make, unless: \"set -euo pipefail && a | b\"}, notify: [x, y]}\nhandlers:\n  - {name: x, command: set -o pipefail; a}\n  - {name: y, systemd: {name: z, state: restarted}, ready: {command: set -o pipefail; a}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @r#"
    roles/app/role.yml:2:28: `/bin/sh` of a node is dash, which has no `pipefail` [let bash run it, with values as its arguments: `argv: [bash, -c, 'set -o pipefail; zcat "$1" | head', bash, "{{ path }}"]`]
    roles/app/role.yml:4:44: `/bin/sh` of a node is dash, which has no `pipefail` [let bash run it: `bash -c 'set -o pipefail; a | b'`]
    roles/app/role.yml:6:24: `/bin/sh` of a node is dash, which has no `pipefail` [let bash run it: `bash -c 'set -o pipefail; a | b'`]
    roles/app/role.yml:7:70: `/bin/sh` of a node is dash, which has no `pipefail` [let bash run it: `bash -c 'set -o pipefail; a | b'`]
    "#);
}

#[test]
fn a_role_in_the_layout_of_ansible_is_told_the_file_to_write() {
    let sample = Sample::new(&[
        ("roles/app/tasks/main.yml", "- debug: {msg: x}\n"),
        ("roles/app/meta/main.yaml", "dependencies: []\n"),
        ("roles/app/templates/x.tera", "x\n"),
        ("roles/empty/README.md", "x\n"),
    ]);
    insta::assert_snapshot!(sample.errors(), @"
    nowhere: the role `app` is in Ansible's layout: write one file, `roles/app/role.yml` [`roles/app/tasks/main.yml`: the list goes under `tasks:`
    `roles/app/meta/main.yaml`: the `dependencies` go under `requires:`
    `roles/app/templates/`: its files go to `templates/app/` of the project]
    nowhere: there is no `roles/empty/role.yml` [a role is this one file, with `tasks:`, `handlers:` and `defaults:`; docs/ROLES.md begins with a first role]
    ");
}

#[test]
fn a_template_in_the_directory_of_ansible_is_told_where_it_belongs() {
    let sample = Sample::new(&[
        (
            "roles/app/role.yml",
            "tasks:\n  - {name: A, sheet: {src: x.tera, dest: /a}}\n  - {name: B, sheet: {src: y.j2, dest: /b}}\n",
        ),
        ("roles/app/templates/x.tera", "x\n"),
        ("roles/app/templates/y.j2", "y\n"),
    ]);
    insta::assert_snapshot!(sample.errors(), @"
    roles/app/role.yml:2:28: no template `templates/app/x.tera` [move `roles/app/templates/x.tera` to `templates/app/x.tera`]
    roles/app/role.yml:3:28: no template `templates/app/y.j2` [move `roles/app/templates/y.j2` to `templates/app/y.j2`]
    ");
}

#[test]
fn loops_of_ansible_are_answered_in_the_authors_words_and_reported_once() {
    let sample = Sample::role(
        "defaults:\n  words: {type: list, default: [a, b]}\n  ports: {type: dict, default: {a: 1}}\ntasks:
  - {name: A, note: {path: \"/{{ item }}\"}, with_items: \"{{ words }}\"}
  - {name: B, note: {path: \"/{{ item.key }}\"}, with_dict: \"{{ ports }}\"}
  - {name: C, note: {path: \"/{{ item }}\"}, with_sequence: start=2 end=6 stride=2}
  - {name: D, note: {path: \"/{{ item }}\"}, with_sequence: count=3}
  - {name: E, note: {path: \"/{{ item }}\"}, loop: words}
  - {name: F, stat: {path: /x}, register: found}
  - {name: G, note: {path: /g}, when: found.stat.exists}
",
    );
    insta::assert_snapshot!(sample.errors(), @r#"
    roles/app/role.yml:5:44: unknown task keyword `with_items` [write `loop: "{{ words }}"`]
    roles/app/role.yml:6:48: unknown task keyword `with_dict` [write `loop: "{{ ports | pairs }}"`; `item[0]` is the key, `item[1]` the value]
    roles/app/role.yml:7:44: unknown task keyword `with_sequence` [write `loop: "{{ range(start=2, end=7, step_by=2) }}"`]
    roles/app/role.yml:8:44: unknown task keyword `with_sequence` [write `loop: "{{ range(start=1, end=4) }}"`]
    roles/app/role.yml:9:50: `loop` needs a list, but this is text [this is the text `words`; its value is `loop: "{{ words }}"`]
    roles/app/role.yml:10:15: unknown resource `stat` [ask with a command that only reads and compare its `.rc`, or give the next command a guard such as `creates`: `command: {cmd: test -e /etc/app.conf, reads: true, ok_rc: [0, 1]}, register: found`]
    "#);
}

#[test]
fn the_ranges_that_are_suggested_hold_the_numbers_of_the_sequences() {
    let tasks = |list: &str| {
        let role = format!("tasks:\n  - {{name: A, note: {{path: \"/{{{{ item }}}}\"}}, loop: \"{{{{ {list} }}}}\"}}\n");
        Sample::role(&role).stand_in_tasks()
    };
    let numbers = |list: &str| (0..9).filter(|number| tasks(list).contains(&format!("/{number}"))).collect::<Vec<_>>();
    assert_eq!(numbers("range(start=2, end=7, step_by=2)"), [2, 4, 6]);
    assert_eq!(numbers("range(start=1, end=4)"), [1, 2, 3]);
}

#[test]
fn a_group_that_does_not_exist_is_named_and_a_question_for_it_is_no_use() {
    let sample = Sample::role(
        "tasks:
  - {name: A, note: {path: /a, content: \"{{ groups['data'] | join(sep=',') }}\"}}
  - {name: B, note: {path: /b}, when: \"'data' in groups\"}
  - {name: C, note: {path: /c}, when: \"'data' in groups and groups['data'] | length > 0\"}
  - {name: D, note: {path: /d, content: \"{{ groups['al'] | join(sep=',') }}\"}}
  - {name: F, note: {path: /f, content: \"{{ groups['zzz'] | join(sep=',') }}\"}}
  - {name: E, note: {path: /e, content: \"{{ groups.all | join(sep=',') }}{{ groups['all'][0] }}\"}}
",
    );
    insta::assert_snapshot!(sample.errors(), @"
    roles/app/role.yml:2:52: there is no group `data` [did you mean `database`?]
    roles/app/role.yml:5:52: there is no group `al` [did you mean `all`?]
    roles/app/role.yml:6:52: there is no group `zzz` [if it may be missing, ask `'zzz' in groups` before; groups: all, ungrouped, database]
    ");
}
