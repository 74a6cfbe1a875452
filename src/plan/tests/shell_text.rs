use super::*;

#[test]
fn a_value_in_shell_text_is_one_word() {
    let sample = Sample::role(
        "defaults: {x: {type: string, default: \"a; touch /tmp/x/pwned\"}}\ntasks:\n  - {name: Say, command: {cmd: \"echo {{ x }}\", reads: true}, register: said}\n  - {name: Again, command: {cmd: \"echo {{ said.stdout }}\", unless: \"test {{ x }} = b\"}}\n",
    );
    let mut world = World::stand_in();
    world.registers.insert("said".to_owned(), serde_json::json!({"stdout": "a; touch F", "changed": false, "skipped": false}));
    let tasks = sample.tasks(&world);
    assert!(tasks.contains("echo 'a; touch /tmp/x/pwned'"), "{tasks}");
    assert!(tasks.contains("echo 'a; touch F'") && tasks.contains("test 'a; touch /tmp/x/pwned' = b"), "{tasks}");
}

#[test]
fn every_shell_parameter_refuses_a_value_that_would_run_as_code() {
    let sample = Sample::role(
        r#"defaults: {x: a, cmd: [sh, -c, b]}
tasks:
  - {name: A, command: {cmd: "echo '{{ x }}'", creates: /a}}
  - {name: B, command: {cmd: a, unless: "{{ x }}"}}
  - {name: C, command: {cmd: a, only_if: "sh -c {{ x }}"}}
  - {name: D, command: {argv: [sh, -c, "{{ x }}"], creates: /a}}
  - {name: E, command: {argv: "{{ cmd }}", creates: /a}}
  - {name: F, copy: {content: a, dest: /a, validate: "a %s `{{ x }}`"}}
  - {name: G, when: false, command: {cmd: "eval {{ x }}", creates: /a}}
  - {name: H, when: false, command: {argv: [su, -c, "{{ x }}"], creates: /a}}
  - {name: I, command: "{{ x }}"}
  - {name: J, command: {argv: [sh, -c, 'a "$1"', sh, "{{ x }}"], creates: /a}}
handlers:
  - {name: K, command: {cmd: "a \"{{ x }}\""}}
  - {name: L, systemd: {name: a.service, state: restarted}, ready: {command: "a ${b:-{{ x }}}"}}
health:
  - {name: M, read: {command: {cmd: "a $(({{ x }}))", reads: true}}}
"#,
    );
    let errors = sample.errors();
    for (line, messages) in [
        (3, "inside `'…'`"),
        (4, "whole command"),
        (5, "script of `sh -c`"),
        (6, "script of `sh -c`"),
        (7, "script of `sh -c`"),
        (8, "inside backticks"),
        (9, "`eval`"),
        (10, "code of `su -c`"),
        (11, "whole command"),
        (14, "inside `\"…\"`"),
        (15, "inside `${…}`"),
        (17, "inside `$((…))`"),
    ] {
        let results = errors.lines().find(|results| results.starts_with(&format!("roles/app/role.yml:{line}:")));
        assert!(results.is_some_and(|results| results.contains(messages)), "{line} {messages}:\n{errors}");
    }
    assert!(!errors.contains("role.yml:12:"), "{errors}");
}

#[test]
fn values_in_a_secret_command_are_words() {
    let role = "secrets: {P: {file: /etc/a.env}}\n";
    let with = |variables: &str| {
        let sample = Sample::role(role);
        sample.write("inventory/group_vars/database.yml", variables);
        sample
    };
    let plan = with("x: \"a; touch F\"\nautobot_secrets: {P: {command: \"pass show {{ x }} | head -n 1\"}}\n").load().unwrap();
    assert!(format!("{:?}", plan.hosts[0].secrets).contains("pass show 'a; touch F' | head -n 1"), "{:?}", plan.hosts[0].secrets);
    for (variables, messages) in [
        ("x: a\nautobot_secrets: {P: {command: \"pass '{{ x }}'\"}}\n", "inside `'…'`"),
        ("x: a\nautobot_secrets: {P: {command: [sh, -c, \"{{ x }}\"]}}\n", "script of `sh -c`"),
        ("x: a\nall: {P: {command: \"pass {{ x }}\"}}\nautobot_secrets: \"{{ all }}\"\n", "comes from a variable"),
        ("x: a\none: {command: \"pass {{ x }}\"}\nautobot_secrets: {P: \"{{ one }}\"}\n", "comes from a variable"),
    ] {
        let errors = with(variables).errors();
        assert!(errors.contains(messages), "{variables}: {errors}");
    }
}
