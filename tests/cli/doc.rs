//! `doc` and `schema`, the committed reference, and the first role of docs/ROLES.md.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::{Value, json};

use super::{documents::first_role, project, run, run_in};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages(name: &str) -> Value {
    let (code, text, errors) = run(&["doc", name, "--output", "json"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{name}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_committed_reference_is_what_the_code_says() {
    let update = std::env::var_os("UPDATE_REFERENCE").is_some();
    for list in ["resources", "checks", "keywords", "roles"] {
        let (code, text, errors) = run_in(root(), &["doc", list, "--output", "markdown"]);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{list}");
        let path = root().join(format!("docs/reference/{list}.md"));
        if update {
            fs::write(&path, &text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/reference/{list}.md is old; write it anew with\n    UPDATE_REFERENCE=1 cargo test --test cli reference"
        );
    }
}

#[test]
fn every_parameter_says_what_it_is_for() {
    let (_, list, _) = run(&["doc", "--output", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|page| page["name"].as_str().unwrap()).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        for page in pages(name).as_array().unwrap() {
            assert!(!page["about"].as_str().unwrap().is_empty(), "{name}");
            for row in page["sections"].as_array().unwrap().iter().flat_map(|section| section["rows"].as_array().unwrap()) {
                assert!(row["help"].as_str().unwrap().len() > 3, "{name} {row}");
            }
        }
    }
}

/// All examples in one role: resources as tasks, the others as health checks.
fn role_of_examples() -> String {
    let (mut tasks, mut health) = (String::new(), String::new());
    for (list, into) in [("resources", &mut tasks), ("checks", &mut health)] {
        let (_, all, _) = run(&["doc", list, "--output", "json"]);
        let all: Value = serde_json::from_str(&all).unwrap();
        for page in all.as_array().unwrap() {
            let (name, topic) = (page["name"].as_str().unwrap(), page["topic"].as_str().unwrap());
            let page = pages(name).as_array().unwrap().iter().find(|page| page["topic"] == topic).cloned().unwrap();
            let example = page["example"].as_str().unwrap().replace('\n', "\n    ");
            writeln!(into, "  - name: Example of {topic} {name}\n    {example}").unwrap();
        }
    }
    format!(
        "description: Examples\ndefaults:\n  redis_port: {{type: port, default: 6379}}\n\
         secrets:\n  DB_PASSWORD: {{file: /etc/db.env}}\n  REDIS_PASSWORD: {{file: /etc/redis.env}}\n\
         tasks:\n{tasks}health:\n{health}"
    )
}

#[test]
fn every_example_is_a_valid_task_or_health_check() {
    let project = project(&role_of_examples());
    fs::create_dir_all(project.path().join("templates/toy")).unwrap();
    fs::write(project.path().join("templates/toy/app.conf.tera"), "x\n").unwrap();
    let (code, _, errors) = run_in(project.path(), &["validate"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{errors}");
}

#[test]
fn a_page_shows_types_aliases_defaults_and_an_example() {
    let (code, text, _) = run(&["doc", "group"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(text, @"
    group (resource)
        Makes or removes a group

    parameter
      name: the name of an account [required]
          Its name.
      gid: a whole number from 0
          Its number; never changed once the group exists.
      system: true or false [default: false]
          Whether a new group gets a number from the range of system groups.
      state: present | absent [default: present]
          Whether the group exists.

    example
        group: {name: backup-readers, system: true}
    ");
}

#[test]
fn an_unknown_name_is_answered_with_the_one_that_was_meant() {
    let (code, text, errors) = run(&["doc", "tempalte"]);
    assert_eq!((code, text.as_str()), (Some(4), ""));
    insta::assert_snapshot!(errors, @"
    error: nothing is called `tempalte`
     |
     = help: did you mean `template`?

    1 error
    ");
}

#[test]
fn other_names_keywords_and_words_of_ansible_have_a_page_or_advice() {
    for (name, page) in [
        ("service", "systemd (resource)"),
        ("ansible.builtin.shell", "command (resource)"),
        ("notify", "task (keywords)"),
        ("block", "task (keywords)"),
    ] {
        let (code, text, errors) = run(&["doc", name]);
        assert!(code == Some(0) && text.starts_with(page), "{name}: {text}{errors}");
    }
    for (name, advice) in [("stat", "`command: {cmd: test -e"), ("with_items", "`loop`"), ("rescue", "help:")] {
        let (code, _, errors) = run(&["doc", name]);
        assert!(code == Some(4) && errors.contains(advice) && !errors.contains("did you mean"), "{name}: {errors}");
    }
}

#[test]
fn a_role_shows_its_variables_with_what_they_take() {
    let role = "description: A toy\ndefaults:\n  flavour: {type: {one_of: [plain, fancy]}, default: plain, help: Which}\n  size: {type: int, min: 1, help: How much}\n\
                secrets:\n  KEY: {file: /etc/key}\ntasks:\n  - name: Say it\n    copy: {content: hello, dest: /etc/hello}\n";
    let project = project(role);
    let (code, text, errors) = run_in(project.path(), &["doc", "toy"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    insta::assert_snapshot!(text, @"
    toy (role)
        A toy

    variable
      flavour: one of `plain`, `fancy` [default: plain]
          Which
      size: int, at least 1 [required]
          How much

    secret
      KEY
          kept in /etc/key

    task
      Say it
          copy
    ");
}

#[test]
fn a_value_outside_of_what_a_variable_takes_is_an_error_at_its_place() {
    let role = "description: A toy\ndefaults:\n  flavour: {type: {one_of: [plain, fancy]}, default: plain}\n  size: {type: int, min: 1, max: 4, default: \"{{ half * 2 }}\"}\n  half: 1\n\
                tasks:\n  - name: Say it\n    copy: {content: hello, dest: /etc/hello}\n";
    let project = project(role);
    assert_eq!(run_in(project.path(), &["validate"]).0, Some(0));
    let (code, _, errors) = run_in(project.path(), &["validate", "-e", "flavour=fanci", "-e", "half=3"]);
    assert_eq!(code, Some(4));
    insta::assert_snapshot!(errors, @r#"
    error: wrong value for `flavour`: expected one of `plain`, `fancy`
     --> -e:1:9
      |
    1 | flavour=fanci
      |         ^^^^^
      |
     ::: roles/toy/role.yml:3:3
      |
    3 |   flavour: {type: {one_of: [plain, fancy]}, default: plain}
      |   ------- declared here
      |
      = help: did you mean `fancy`?

    error: wrong value for `size`: expected a number from 1 to 4
     --> roles/toy/role.yml:4:46
      |
    4 |   size: {type: int, min: 1, max: 4, default: "{{ half * 2 }}"}
      |                                              ^^^^^^^^^^^^^^^^

    2 errors
    "#);
    let (_, text, _) = run_in(project.path(), &["explain", "bear", "size"]);
    insta::assert_snapshot!(text, @"
    size = 2
        int, from 1 to 4
        from roles/toy/role.yml:4:46 (role toy): {{ half * 2 }}
    ");
}

#[test]
fn a_keyword_is_shown_without_the_others_of_its_page() {
    let project = project(super::ROLE);
    let told = |name: &str| {
        let (_, text, errors) = run_in(project.path(), &["doc", name]);
        text + &errors
    };
    insta::assert_snapshot!([told("loop"), told("when"), told("block"), told("filters")].join("--\n"), @"
    task (keywords)
        The keywords of a task, beside its one resource

    key
      loop: any value
          A list; the task runs for each element, which is `item`
    --
    task (keywords)
        The keywords of a task, beside its one resource

    key
      when: an expression or a list of them
          The task runs only where all of them hold

    health-check (keywords)
        The keys of a health check: a name and one of `read` and `exercise`, or a `block` of checks

    key
      when: an expression or a list of them
          The check runs only where all of them hold
    --
    task (keywords)
        The keywords of a task, beside its one resource

    key
      block: a list
          Tasks that share `when`, `tags`, `vars`, `notify`, `become_user`, `environment` and `no_log`; their own `when` must hold too, and their own `vars` and `become_user` win

    health-check (keywords)
        The keys of a health check: a name and one of `read` and `exercise`, or a `block` of checks

    key
      block: a list
          Checks that share `when` and `tags`; their own `when` must hold too
    --
    error: nothing is called `filters`
     |
     = help: expressions and templates have Tera's filters and tests: https://keats.github.io/tera/docs/#built-ins; docs/ROLES.md, under Templates, has what differs

    1 error
    ");
}

#[test]
fn limits_that_no_value_can_meet_are_refused() {
    let role = "description: A toy\ndefaults:\n  a: {type: {one_of: []}, default: x}\n  b: {type: string, min: 1, default: x}\n  c: {type: int, min: 3, max: 2, default: 3}\n";
    let (code, _, errors) = run_in(project(role).path(), &["validate"]);
    assert_eq!(code, Some(4));
    insta::assert_snapshot!(errors, @"
    error: a type is a word, or `{one_of: [...]}` with the allowed words
     --> roles/toy/role.yml:3:13
      |
    3 |   a: {type: {one_of: []}, default: x}
      |             ^^^^^^^^^^^^

    error: `min` is for numbers
     --> roles/toy/role.yml:4:26
      |
    4 |   b: {type: string, min: 1, default: x}
      |                          ^
      |
      = help: declare the variable with `type: int`, `float` or `port`

    error: `max` is less than `min`, 3: no value fits
     --> roles/toy/role.yml:5:31
      |
    5 |   c: {type: int, min: 3, max: 2, default: 3}
      |                               ^

    3 errors
    ");
}

/// What the JSON Schema says against a role file; nothing where it fits.
struct Validator {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Validator {
    fn new() -> Self {
        let (code, schema, _) = run(&["schema", "role"]);
        assert_eq!(code, Some(0));
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        let at = "https://example.org/role.json";
        compiler.add_resource(at, serde_json::from_str(&schema).unwrap()).unwrap();
        let index = compiler.compile(at, &mut schemas).unwrap();
        Self { schemas, index }
    }

    fn fits(&self, yaml: &str) -> Result<(), String> {
        let role: Value = serde_yaml::from_str(yaml).unwrap();
        self.schemas.validate(&role, self.index).map_err(|error| format!("{error:#}"))
    }
}

#[test]
fn the_shipped_roles_and_all_examples_fit_the_json_schema() {
    let validator = Validator::new();
    let roles: Vec<_> = fs::read_dir(root().join("roles")).unwrap().map(|role| role.unwrap().path()).collect();
    assert!(roles.len() > 5);
    for role in roles {
        let fits = validator.fits(&fs::read_to_string(role.join("role.yml")).unwrap());
        assert_eq!(fits, Ok(()), "{}", role.display());
    }
    assert_eq!(validator.fits(&role_of_examples()), Ok(()));
}

#[test]
fn the_json_schema_finds_mistakes() {
    let validator = Validator::new();
    let task = |task: &str| format!("tasks: [{{name: a, {task}}}]");
    assert_eq!(validator.fits(&task("file: {path: /a, state: '{{ x }}'}")), Ok(()));
    assert_eq!(validator.fits(&task("port_owner: {port: '{{ p }}', unit: a}")), Ok(()));
    assert_eq!(validator.fits(&task("command: ls")), Ok(()));
    assert_eq!(validator.fits("tasks: [{when: a, block: [{block: [{name: b, command: ls}]}]}]"), Ok(()));
    assert_eq!(validator.fits("health: [{when: a, block: [{name: b, read: {listening: {port: 1}}}]}]"), Ok(()));
    let wrong = [
        "taks: []".to_owned(),
        task("file: {pth: /a}"),
        task("file: {state: directory}"),
        task("file: {path: /a, ower: root}"),
        task("file: {path: /a, state: dir}"),
        task("file: {path: /a, mode: 420}"),
        task("port_owner: {port: 70000, unit: a}"),
        task("file: {path: /a}, group: {name: b}"),
        task("when: true"),
        task("file: {path: /a}, notfy: b"),
        "tasks: [{file: {path: /a}}]".to_owned(),
        "tasks: [{block: [{file: {path: /a}}]}]".to_owned(),
        "tasks: [{block: []}]".to_owned(),
        "tasks: [{name: a, block: [{name: b, command: ls}], command: ls}]".to_owned(),
        "health: [{block: [{name: a}]}]".to_owned(),
        "defaults: {a: {type: strng, default: b}}".to_owned(),
        "defaults: {a: {type: {one_of: []}, default: b}}".to_owned(),
        "handlers: [{name: a, systemd: {name: b, state: started}}]".to_owned(),
        "health: [{name: a, read: {listenin: {port: 1}}}]".to_owned(),
        "health: [{name: a, exercise: {http: {}}}]".to_owned(),
        "secrets: {A: {length: 3}}".to_owned(),
        task("pg_hba: {rules: [{type: host, method: scram}]}"),
    ];
    for wrong in wrong {
        assert!(validator.fits(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_first_role_of_the_documents_is_valid() {
    let project = tempfile::tempdir().unwrap();
    for (path, text) in first_role() {
        let path = project.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let (code, _, errors) = run_in(project.path(), &["validate"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let role = fs::read_to_string(project.path().join("roles/motd/role.yml")).unwrap();
    assert!(role.lines().count() <= 20, "a first role is short");
    assert_eq!(Validator::new().fits(&role), Ok(()));
    let (code, text, _) = run_in(project.path(), &["doc", "motd", "--output", "json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&text).unwrap()[0]["topic"].clone()), (Some(0), json!("role")));
}

#[test]
fn the_shipped_roles_refuse_words_and_numbers_that_they_do_not_know() {
    let project = tempfile::tempdir().unwrap();
    for part in ["roles", "templates"] {
        std::os::unix::fs::symlink(root().join(part), project.path().join(part)).unwrap();
    }
    fs::create_dir(project.path().join("inventory")).unwrap();
    let host = "all: {hosts: {a: {autobot_roles: [redis, redis_backup]}, b: {autobot_roles: [postgresql, postgresql_backup]}}}\n";
    fs::write(project.path().join("inventory/hosts.yml"), host).unwrap();
    let validate = |extra: &str| run_in(project.path(), &["validate", "-e", extra]);
    for (wrong, right) in [
        ("redis_flavour=redis-stack", "redis_flavour=redis8"),
        ("redis_maxmemory_policy=allkeys", "redis_maxmemory_policy=allkeys-lru"),
        ("redis_appendfsync=never", "redis_appendfsync=no"),
        ("redis_databases=0", "redis_databases=1"),
        ("redis_databases=10001", "redis_databases=10000"),
        ("redis_maxclients=65505", "redis_maxclients=65504"),
        ("redis_timeout=2147483648", "redis_timeout=2147483647"),
        ("redis_backup_keep=0", "redis_backup_keep=1"),
        ("postgresql_backup_keep=0", "postgresql_backup_keep=1"),
        ("postgresql_repo=pgdgg", "postgresql_repo=pgdg"),
        ("postgresql_auth=md5", "postgresql_auth=trust_md5"),
    ] {
        let (code, _, errors) = validate(wrong);
        let name = wrong.split('=').next().unwrap();
        assert_eq!(code, Some(4), "{wrong}");
        assert!(errors.contains(&format!("error: wrong value for `{name}`: expected ")), "{errors}");
        let (code, _, errors) = validate(right);
        assert_eq!(code, Some(0), "{right}: {errors}");
    }
    for (wrong, words) in [
        (r#"{"redis_save": ["abc def"]}"#, "`abc def` is no rule of `save`"),
        ("redis_bind=127.0.0.1,10.0.0.5", "`127.0.0.1,10.0.0.5` is no address: write spaces between several"),
        ("redis_maxmemory=1kb", "`1kb` is less than an empty Redis uses"),
    ] {
        let (code, _, errors) = validate(wrong);
        assert_eq!(code, Some(4), "{wrong}");
        assert!(errors.contains(words), "{errors}");
    }
}

#[test]
fn a_value_is_text_or_a_number_as_its_place_wants_it() {
    let project = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = project.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("inventory/hosts.yml", "all: {hosts: {a: {autobot_roles: [toy]}}}\n");
    let validate = |tasks: &str| {
        write("roles/toy/role.yml", &format!("defaults: {{port: 6379, on: true, word: \"x\"}}\ntasks:\n{tasks}"));
        run_in(project.path(), &["validate"])
    };
    for task in [
        r#"command: {argv: [redis-cli, -p, "{{ port }}"], reads: true}"#,
        r#"command: {argv: [cat], stdin: "{{ port }}", creates: /x}"#,
        r#"lineinfile: {path: /etc/x, line: "{{ port }}"}"#,
        r#"lineinfile: {path: /etc/x, line: "{{ on }}"}"#,
        r#"blockinfile: {path: /etc/x, block: "{{ port }}"}"#,
        r#"copy: {dest: /etc/x, content: "{{ port }}"}"#,
        r#"user: {name: app, comment: "{{ port }}"}"#,
        r#"sysctl: {name: vm.swappiness, value: "{{ port }}"}"#,
        r#"assert: {that: port > 1, fail_msg: "{{ port }}"}"#,
        r#"group: {name: app, gid: '{{ "1000" }}'}"#,
        r#"wait_for: {port: "{{ port ~ '' }}", timeout: "5"}"#,
        r#"postgresql_user: {name: app, conn_limit: "-1"}"#,
    ] {
        let (code, _, errors) = validate(&format!("  - name: Do it\n    {task}\n"));
        assert_eq!(code, Some(0), "{task}: {errors}");
    }
    for (task, words) in [
        ("user: {name: app, uid: 01000}", "wrong `uid` of `user`: `01000` is not a whole number from 0"),
        ("wait_for: {port: 1, timeout: soon}", "wrong `timeout` of `wait_for`: `soon` is not a whole number from 0"),
        (
            "postgresql_user: {name: app, conn_limit: many}",
            "wrong `conn_limit` of `postgresql_user`: `many` is not a whole number",
        ),
        (
            "postgresql_user: {name: app, port: 70000}",
            "wrong `port` of `postgresql_user`: `70000` is not a whole number from 0 to 65535",
        ),
    ] {
        let (code, _, errors) = validate(&format!("  - name: Do it\n    {task}\n"));
        assert_eq!(code, Some(4), "{task}");
        assert!(errors.contains(words), "{task}: {errors}");
    }
}
