//! All kinds of mistakes at once, each with its span.

use super::Sample;

const APP: &str = r#"description: A role with mistakes
requires: [bas]
defaults:
  app_port: {type: port, default: 6379}
  app_enabled: true
  app_loop: "{{ app_loop }}"
tasks:
  - name: Unknown resource
    notee: {path: /a}
  - name: Unknown parameter
    note: {paht: /a, path: /b}
  - name: Unknown keyword
    note: {path: /a}
    whne: app_enabled
  - name: Variable in when
    note: {path: /a}
    when: app_enabeld
  - name: Template with a mistake
    sheet: {src: app.conf.tera, dest: /a}
  - name: Missing template
    sheet: {src: ap.conf.tera, dest: /a}
  - name: Unknown handler
    note: {path: /a}
    notify: restart ap
  - name: Number as mode
    note: {path: /a, mode: 0644}
  - name: Refers to itself
    note: {path: /a, content: "{{ app_loop }}"}
  - name: Port
    note: {path: /a, port: "{{ app_port }}"}
    tags: [ports]
handlers:
  - name: restart app
    systemd: {name: app, state: restarted}
"#;

fn sample() -> Sample {
    let mut sample = Sample::new(&[
        ("roles/app/role.yml", APP),
        ("roles/base/role.yml", "tasks: []\n"),
        ("templates/app/app.conf.tera", "[app]\n{% if app_enabled %}\nport = {{ app_prt }}\n{% endif %}\n"),
        ("inventory/group_vars/database.yml", "app_port: many\n"),
    ]);
    sample.request.tags = vec!["port".to_owned(), "all".to_owned()];
    sample
}

#[test]
fn twelve_mistakes_of_twelve_kinds_in_five_files_are_twelve_errors() {
    insta::assert_snapshot!(sample().errors(), @r#"
    --tags:1:1: no task or health check has the tag `port` [did you mean `ports`?]
    inventory/group_vars/database.yml:1:11: wrong type for `app_port`: expected a port from 1 to 65535, found text
    roles/app/role.yml:2:12: unknown role `bas` [did you mean `base`?]
    roles/app/role.yml:6:13: the variable `app_loop` refers to itself: app_loop -> app_loop
    roles/app/role.yml:9:5: unknown resource `notee` [did you mean `note`?]
    roles/app/role.yml:11:12: unknown parameter of `note`: `paht` [did you mean `path`?]
    roles/app/role.yml:14:5: unknown task keyword `whne` [did you mean `when`?]
    roles/app/role.yml:17:11: undefined variable `app_enabeld` [did you mean `app_enabled`?]
    roles/app/role.yml:21:18: no template `templates/app/ap.conf.tera` [did you mean `app.conf.tera`?]
    roles/app/role.yml:24:13: unknown handler `restart ap` [did you mean `restart app`?]
    roles/app/role.yml:26:28: a file mode must be in quotes [write "0644"]
    templates/app/app.conf.tera:3:11: undefined variable `app_prt` [did you mean `app_port`?]
    "#);
}

#[test]
fn each_mistake_shows_its_line() {
    insta::assert_snapshot!(sample().load().unwrap_err().render(false), @r#"
    error: no task or health check has the tag `port`
     --> --tags:1:1
      |
    1 | port
      | ^^^^
      |
      = help: did you mean `ports`?

    error: wrong type for `app_port`: expected a port from 1 to 65535, found text
     --> inventory/group_vars/database.yml:1:11
      |
    1 | app_port: many
      |           ^^^^
      |
     ::: roles/app/role.yml:4:3
      |
    4 |   app_port: {type: port, default: 6379}
      |   -------- declared here

    error: unknown role `bas`
     --> roles/app/role.yml:2:12
      |
    2 | requires: [bas]
      |            ^^^
      |
      = help: did you mean `base`?

    error: the variable `app_loop` refers to itself: app_loop -> app_loop
     --> roles/app/role.yml:6:13
      |
    6 |   app_loop: "{{ app_loop }}"
      |             ^^^^^^^^^^^^^^^^

    error: unknown resource `notee`
     --> roles/app/role.yml:9:5
      |
    9 |     notee: {path: /a}
      |     ^^^^^
      |
      = help: did you mean `note`?

    error: unknown parameter of `note`: `paht`
      --> roles/app/role.yml:11:12
       |
    11 |     note: {paht: /a, path: /b}
       |            ^^^^
       |
       = help: did you mean `path`?

    error: unknown task keyword `whne`
      --> roles/app/role.yml:14:5
       |
    14 |     whne: app_enabled
       |     ^^^^
       |
       = help: did you mean `when`?

    error: undefined variable `app_enabeld`
      --> roles/app/role.yml:17:11
       |
    17 |     when: app_enabeld
       |           ^^^^^^^^^^^
       |
       = help: did you mean `app_enabled`?

    error: no template `templates/app/ap.conf.tera`
      --> roles/app/role.yml:21:18
       |
    21 |     sheet: {src: ap.conf.tera, dest: /a}
       |                  ^^^^^^^^^^^^
       |
       = help: did you mean `app.conf.tera`?

    error: unknown handler `restart ap`
      --> roles/app/role.yml:24:13
       |
    24 |     notify: restart ap
       |             ^^^^^^^^^^
       |
       = help: did you mean `restart app`?

    error: a file mode must be in quotes
      --> roles/app/role.yml:26:28
       |
    26 |     note: {path: /a, mode: 0644}
       |                            ^^^^ a plain number may be read as octal or as decimal
       |
       = help: write "0644"

    error: undefined variable `app_prt`
      --> templates/app/app.conf.tera:3:11
       |
     3 | port = {{ app_prt }}
       |           ^^^^^^^
       |
      ::: roles/app/role.yml:19:18
       |
    19 |     sheet: {src: app.conf.tera, dest: /a}
       |                  ------------- rendered here
       |
       = help: did you mean `app_port`?

    12 errors
    "#);
}

#[test]
fn one_mistake_does_not_hide_the_next() {
    let sample = Sample::new(&[
        (
            "roles/app/role.yml",
            "tasks:\n  - {name: A, sheet: {src: a.tera, dest: /a, mode: 644}}\n  - {name: B, file: {path: /a, state: directroy}}\n",
        ),
        ("templates/app/a.tera", "{% if true %}\n{{ nope }}\n{% endif %}\n{{ other | lenght }}\n"),
    ]);
    insta::assert_snapshot!(sample.errors(), @r#"
    roles/app/role.yml:2:52: a file mode must be in quotes [write "0644"]
    roles/app/role.yml:3:39: wrong `state` of `file`: `directroy` is not one of `absent`, `directory`, `file`, `link`, `touch` [did you mean `directory`?]
    templates/app/a.tera:4:12: unknown filter `lenght` [did you mean `length`?]
    "#);
}

#[test]
fn a_mistake_in_a_template_names_the_tasks_that_render_it() {
    let sample = Sample::new(&[
        (
            "roles/app/role.yml",
            "defaults: {fine: \"{{ nope }}\"}\ntasks:\n  - {name: A, sheet: {src: a.tera, dest: /a}}\n  - {name: B, sheet: {src: a.tera, dest: /b}}\n",
        ),
        ("templates/app/a.tera", "{{ app_port }}\n{{ fine }}\n"),
    ]);
    insta::assert_snapshot!(sample.load().unwrap_err(), @r#"
    error: undefined variable `nope`
     --> roles/app/role.yml:1:22
      |
    1 | defaults: {fine: "{{ nope }}"}
      |                      ^^^^
      |
      = help: declare it under `defaults:` of the role, or set it in the inventory

    error: undefined variable `app_port`
     --> templates/app/a.tera:1:4
      |
    1 | {{ app_port }}
      |    ^^^^^^^^
      |
     ::: roles/app/role.yml:3:28
      |
    3 |   - {name: A, sheet: {src: a.tera, dest: /a}}
      |                            ------ rendered here
      |
     ::: roles/app/role.yml:4:28
      |
    4 |   - {name: B, sheet: {src: a.tera, dest: /b}}
      |                            ------ rendered here
      |
      = help: declare it under `defaults:` of the role, or set it in the inventory

    2 errors
    "#);
}
