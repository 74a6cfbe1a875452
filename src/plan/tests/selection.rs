//! The hosts, roles and tasks that a request selects, and how each host is reached.

use super::*;

const TWO: &str = "database:\n  hosts:\n    db: {ansible_host: 198.18.0.2, ansible_port: 2222, ansible_user: admin, ansible_ssh_common_args: '-J jump'}\n  vars:\n    autobot_roles: [app, base]\nother:\n  hosts:\n    web: {ansible_become: no, autobot_roles: [base]}\n    bare:\n";

fn two() -> Sample {
    Sample::new(&[
        ("inventory/hosts.yml", TWO),
        (
            "roles/app/role.yml",
            "requires: [base]\ntags: [app]\ntasks:\n  - {name: A, note: {path: \"/{{ base_dir }}\"}, tags: [first]}\n  - {name: B, note: {path: /b}}\n",
        ),
        (
            "roles/base/role.yml",
            "defaults: {base_dir: base}\ntasks:\n  - {name: C, note: {path: /c}}\n  - {name: D, note: {path: /d}, tags: [never, debug]}\n",
        ),
    ])
}

#[test]
fn a_role_is_deployed_after_those_that_it_requires() {
    insta::assert_snapshot!(two().stand_in_tasks(), @r#"
    base/C: Toy("{"path":"/c"}")
    app/A: Toy("{"path":"/base"}")
    app/B: Toy("{"path":"/b"}")
    base/C: Toy("{"path":"/c"}")
    "#);
}

/// Required roles are deployed too, as in Ansible, directly or through another role, and once.
#[test]
fn required_roles_are_deployed_even_if_not_selected() {
    let task = |requires: &str, name: &str| {
        format!("requires: [{requires}]\ntasks:\n  - {{name: N, note: {{path: /{name}}}, tags: [of-{name}]}}\n")
    };
    let mut sample = Sample::new(&[
        ("roles/app/role.yml", &task("middle, base", "app")),
        ("roles/middle/role.yml", &task("base", "middle")),
        ("roles/base/role.yml", &task("", "base")),
        ("roles/other/role.yml", &task("", "other")),
    ]);
    let tasks = |sample: &Sample| {
        sample.stand_in_tasks().lines().map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tasks(&sample), ["base/N", "middle/N", "app/N"]);
    sample.request.roles = vec!["app".to_owned()];
    assert_eq!(tasks(&sample), ["base/N", "middle/N", "app/N"]);
    sample.request.tags = vec!["of-base".to_owned()];
    assert_eq!(tasks(&sample), ["base/N"]);
    sample.request.tags = vec!["of-other".to_owned()];
    assert!(sample.errors().contains("no task or health check has the tag `of-other`"), "{}", sample.errors());
}

#[test]
fn connection_variables_are_read_from_the_inventory() {
    let plan = two().load().unwrap();
    let shown: Vec<String> = plan.hosts.iter().map(|host| format!("{}: {:?}", host.name, host.connection())).collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    db: ConnectionVars { host: "198.18.0.2", port: Some(2222), user: Some("admin"), key: None, key_at: None, arguments: SshArguments { options: [("ProxyJump", "jump")], config: None }, local: false, become: true, become_password: None, persist: 60s }
    web: ConnectionVars { host: "web", port: None, user: None, key: None, key_at: None, arguments: SshArguments { options: [], config: None }, local: false, become: false, become_password: None, persist: 60s }
    "#);
}

#[test]
fn arguments_of_ssh_that_a_run_refuses_are_errors_in_the_inventory() {
    let mut sample = two();
    let args = "{ansible_ssh_common_args: -o StrictHostKeyChecking=no, ansible_ssh_extra_args: -A, autobot_roles: [base]}";
    sample.write("inventory/hosts.yml", &format!("all:\n  hosts:\n    db: {args}\n    web: {{autobot_roles: [base]}}\n"));
    sample.request.extra_vars = vec!["ansible_ssh_extra_args=-J".to_owned()];
    insta::assert_snapshot!(sample.errors(), @r"
    -e:1:24: wrong `ansible_ssh_extra_args`: the ssh argument `-J` has no value
    inventory/hosts.yml:3:35: wrong `ansible_ssh_common_args`: `StrictHostKeyChecking=no` would accept a changed host key; write `accept-new`, which accepts unknown ones only (on db)
    ");
}

#[test]
fn tags_and_roles_and_hosts_narrow_the_plan() {
    let with = |change: fn(&mut Request)| {
        let mut sample = two();
        change(&mut sample.request);
        if sample.errors().is_empty() { sample.stand_in_tasks() } else { sample.errors() }
    };
    insta::assert_snapshot!([
        with(|request| request.tags = vec!["first".to_owned()]), with(|request| request.tags = vec!["debug".to_owned()]),
        with(|request| request.skip_tags = vec!["app".to_owned()]), with(|request| { request.limit = Some("web".to_owned()); }),
        with(|request| { request.roles = vec!["app".to_owned()]; request.limit = Some("db".to_owned()); }),
        with(|request| request.roles = vec!["app".to_owned()]),
    ].join("\n--\n"), @r#"
    app/A: Toy("{"path":"/base"}")
    --
    base/D: Toy("{"path":"/d"}")
    base/D: Toy("{"path":"/d"}")
    --
    base/C: Toy("{"path":"/c"}")
    base/C: Toy("{"path":"/c"}")
    --
    base/C: Toy("{"path":"/c"}")
    --
    base/C: Toy("{"path":"/c"}")
    app/A: Toy("{"path":"/base"}")
    app/B: Toy("{"path":"/b"}")
    --
    base/C: Toy("{"path":"/c"}")
    app/A: Toy("{"path":"/base"}")
    app/B: Toy("{"path":"/b"}")
    "#);
}

#[test]
fn selections_that_match_nothing_are_errors() {
    let with = |change: fn(&mut Request)| {
        let mut sample = two();
        change(&mut sample.request);
        sample.errors()
    };
    insta::assert_snapshot!([
        with(|request| request.tags = vec!["frist".to_owned()]), with(|request| request.skip_tags = vec!["zzz".to_owned()]),
        with(|request| request.limit = Some("db:wbe".to_owned())), with(|request| request.roles = vec!["ap".to_owned()]),
        with(|request| { request.roles = vec!["app".to_owned()]; request.limit = Some("all".to_owned()); }),
        with(|request| request.limit = Some("bare".to_owned())),
        with(|request| request.inventories = vec![InventorySource::Path(request.project.join("nope"))]),
    ].join("\n"), @r"
    --tags:1:1: no task or health check has the tag `frist` [did you mean `first`?]
    --skip-tags:1:1: no task or health check has the tag `zzz` [known tags: app, debug, first, never]
    --limit:1:4: no host or group matches `wbe` [did you mean `web`?]
    --role:1:1: unknown role `ap` [did you mean `app`?]
    --role:1:1: `bare` does not have the role `app` [these hosts have it: db; select them with `--limit`, or add it to `autobot_roles`]
    --role:1:1: `web` does not have the role `app` [these hosts have it: db; select them with `--limit`, or add it to `autobot_roles`]
    nowhere: no selected host has a role [hosts that have roles: db: app, base; web: base]
    nowhere: the inventory `nope` does not exist [name a file, a directory, or a list of hosts with a comma: `-i db1,`]
    ");
}

/// Returns the roles of three hosts, or the errors.
fn fleet(roles_of_db: &str, roles: &[&str], limit: Option<&str>) -> String {
    let mut sample = Sample::new(&[
        (
            "inventory/hosts.yml",
            &format!("database: {{hosts: {{db: {roles_of_db}}}}}\nother: {{hosts: {{web: , empty: {{autobot_roles: []}}}}}}\n"),
        ),
        ("roles/app/role.yml", "tasks:\n  - {name: A, note: {path: \"/{{ inventory_hostname }}\"}}\n"),
        ("roles/base/role.yml", "tasks:\n  - {name: B, note: {path: /b}}\n"),
    ]);
    if roles_of_db.is_empty() {
        sample.write("inventory/hosts.yml", "all: {hosts: {db: , web: }}\n");
    }
    sample.request.roles = roles.iter().map(|role| (*role).to_owned()).collect();
    sample.request.limit = limit.map(str::to_owned);
    match sample.load() {
        Err(_) => sample.errors(),
        Ok(plan) => {
            let roles = |host: &HostPlan| host.roles.iter().map(|role| role.name.clone()).collect::<Vec<_>>().join(", ");
            plan.hosts.iter().map(|host| format!("{}: {}", host.name, roles(host))).collect::<Vec<_>>().join("; ")
        }
    }
}

#[test]
fn a_role_is_deployed_only_to_hosts_that_have_it() {
    let given = "{autobot_roles: [app, base]}";
    insta::assert_snapshot!([
        fleet(given, &["app"], None), fleet(given, &["base", "app"], Some("db")), fleet(given, &["app"], Some("db,web")),
        fleet(given, &["app"], Some("all")), fleet("{autobot_roles: base}", &["app"], None), fleet("{autobot_roles: base}", &["app"], Some("db")),
        fleet("", &["app"], None), fleet("", &["app"], Some("all")), fleet("", &["app"], Some("web")),
    ].join("\n--\n"), @r"
    db: app
    --
    db: base, app
    --
    --role:1:1: `web` does not have the role `app` [these hosts have it: db; select them with `--limit`, or add it to `autobot_roles`]
    --
    --role:1:1: `empty` does not have the role `app` [these hosts have it: db; select them with `--limit`, or add it to `autobot_roles`]
    --role:1:1: `web` does not have the role `app` [these hosts have it: db; select them with `--limit`, or add it to `autobot_roles`]
    --
    --role:1:1: no host has the role `app` [hosts that have roles: db: base]
    --
    --role:1:1: `db` does not have the role `app` [no host has it: add it to `autobot_roles`]
    --
    --role:1:1: no host has `autobot_roles`; select hosts with --limit
    --
    db: app; web: app
    --
    web: app
    ");
}

#[test]
fn hosts_without_roles_are_left_alone() {
    let given = "{autobot_roles: [app, base]}";
    insta::assert_snapshot!([
        fleet(given, &[], None), fleet(given, &[], Some("db,web")), fleet(given, &[], Some("other")), fleet("", &[], None),
        fleet("{autobot_roles: []}", &[], None),
    ].join("\n--\n"), @r"
    db: app, base
    --
    db: app, base
    --
    nowhere: no selected host has a role [hosts that have roles: db: app, base]
    --
    nowhere: no selected host has a role [set `autobot_roles: [name]` for a group of the inventory, or use `--role` and `--limit`]
    --
    nowhere: no selected host has a role [every host's `autobot_roles` is empty]
    ");
}

#[test]
fn handlers_must_not_share_a_pending_mark() {
    let sample = Sample::role(
        "tasks:\n  - {name: A, note: {path: /a}, notify: [restart db, restart-db, restart_db]}\nhandlers:\n  - {name: restart db, command: x}\n  - {name: restart_db, command: x}\n  - {name: restart-db, command: x}\n",
    );
    insta::assert_snapshot!(sample.errors(), @"roles/app/role.yml:6:12: the handlers `restart db` and `restart-db` would share one pending mark on the node [their names must differ in letters, digits, `_` or `-`: in a mark, every other character becomes `-`]");
}

#[test]
fn an_error_on_some_hosts_names_them() {
    let sample = Sample::new(&[
        (
            "inventory/hosts.yml",
            "all: {vars: {autobot_roles: app}, hosts: {a: {x: 1}, b: , c: {autobot_roles: ap}, d: {ansible_port: ssh}}}\n",
        ),
        ("roles/app/role.yml", "tasks:\n  - {name: A, note: {path: \"/{{ x }}\"}}\n"),
    ]);
    insta::assert_snapshot!(sample.errors(), @r"
    inventory/hosts.yml:1:78: unknown role `ap` [did you mean `app`?]
    inventory/hosts.yml:1:101: wrong type for `ansible_port`: expected a port from 1 to 65535, found text (on d)
    roles/app/role.yml:2:33: undefined variable `x` (on b, d) [declare it under `defaults:` of the role, or set it in the inventory]
    ");
}

#[test]
fn cycles_of_roles_and_duplicate_names_are_errors() {
    let sample = Sample::new(&[
        (
            "roles/app/role.yml",
            "requires: [b]\ndefautls: {}\ndefaults: {groups: 1, a-b: 2, c: {type: prot, default: 1}}\ntasks:\n  - {name: A, note: {path: /a}}\n  - {name: A, note: {path: /a}}\n  - {note: {path: /a}}\n  - {name: D, note: {path: /a}, run: x}\n  - {name: E, become: yes, note: {path: /a}}\n  - {name: F, become_user: x, note: {path: /a}}\n  - {name: G}\n  - {name: H, ansible.builtin.note: {path: /a}, retries: many, timeout: 5d, no_log: maybe}\nhandlers:\n  - {name: r, systemd: {name: x, state: stopped}}\n  - {name: s}\n  - {name: t, command: {cmd: x}, ready: {comand: x}}\nhealth:\n  - {name: u}\n  - {name: v, read: {noet: {}}}\n",
        ),
        (
            "roles/b/role.yml",
            "requires: [app]\nsecrets: {A: {}, B: {file: etc, length: 5}, C: {file: /x, mode: 0600, lenght: 3}}\n",
        ),
    ]);
    insta::assert_snapshot!(sample.errors(), @r#"
    roles/app/role.yml:2:1: unknown key of a role: `defautls` [did you mean `defaults`?]
    roles/app/role.yml:3:12: `groups` is reserved and cannot be set
    roles/app/role.yml:3:23: `a-b` cannot be the name of a variable [use letters, digits and `_`]
    roles/app/role.yml:3:41: unknown type `prot` [did you mean `port`?]
    roles/app/role.yml:6:12: two tasks are named `A`: names must be unique within a role
    roles/app/role.yml:7:6: a task needs a `name`
    roles/app/role.yml:8:33: a task has one resource, but this one has `note` and `run`
    roles/app/role.yml:10:15: `become_user` is for `command` only, not for `note` [the task runs as root; `owner` and `group` set the owner of a file]
    roles/app/role.yml:11:12: a task needs a resource, such as `template` or `command`
    roles/app/role.yml:12:58: `retries` must be a whole number
    roles/app/role.yml:12:73: `timeout` must be seconds, or a time such as `10s`, `5m`, `1h`, up to a week
    roles/app/role.yml:12:85: `no_log` must be true or false
    roles/app/role.yml:14:41: the `state` of a handler must be `restarted` or `reloaded` [that is a state: declare it in a task]
    roles/app/role.yml:15:12: a handler needs exactly one action [`systemd: {name: unit, state: restarted}` (or `reloaded`), or `command: {cmd: …}`]
    roles/app/role.yml:16:42: unknown key of `ready`: `comand` [did you mean `command`?]
    roles/app/role.yml:18:12: a health check needs exactly one of `read` and `exercise` [`read: {resource: {…}}` or `exercise: {kind: {…}}`]
    roles/app/role.yml:19:22: unknown resource `noet` [did you mean `note`?]
    roles/b/role.yml:1:12: roles require each other: app -> b -> app
    roles/b/role.yml:2:11: the secret `A` needs a `file`
    roles/b/role.yml:2:28: `etc` is not an absolute path
    roles/b/role.yml:2:65: a file mode must be in quotes [write "0600"]
    roles/b/role.yml:2:71: unknown key of a secret: `lenght` [did you mean `length`?]
    "#);
}

#[test]
fn handlers_and_health_checks_are_rendered_with_facts() {
    let sample = Sample::role(
        "defaults: {unit: app}\nsecrets: {P: {file: /etc/app.env}}\ntasks:\n  - {name: A, note: {path: /a}, notify: [restart, run]}\nhandlers:\n  - {name: restart, systemd: {name: \"{{ unit }}\", state: restarted}, ready: {command: \"ping {{ ansible_facts.hostname }}\", timeout: 2m}}\n  - {name: run, command: \"true\"}\n\
         health:\n  - {name: Note, read: {note: {path: /a}}}\n  - {name: Login, exercise: {postgresql_login: {database: x, user: \"{{ unit }}\", password: \"{{ secrets.P }}\"}}}\n  - {name: Off, when: \"unit == 'x'\", read: {note: {path: /a}}}\n",
    );
    let plan = sample.load().unwrap();
    let (role, world) = (&plan.hosts[0].roles[0], World::stand_in());
    let handlers: Vec<String> = role
        .handlers
        .iter()
        .map(|handler| {
            handler.expand(&world).map(|handler| format!("{} {:?} {:?}", handler.id, handler.action, handler.ready)).unwrap()
        })
        .collect();
    let health: Vec<String> = role
        .health
        .iter()
        .map(|health| match health.expand(&world).unwrap() {
            Some(HealthItem { id, check: HealthAction::Exercise { kind, exercise }, .. }) => {
                format!("{id} {kind} {:?}", exercise.secrets())
            }
            Some(HealthItem { id, check: HealthAction::Read { kind, .. }, .. }) => format!("{id} {kind}"),
            None => format!("{} skipped", health.name()),
        })
        .collect();
    insta::assert_snapshot!([handlers, health].concat().join("\n"), @r#"
    app/restart Restart("app.service") Some(Ready { command: "ping node", timeout: 120s })
    app/run Command("true") None
    app/Note note
    app/Login postgresql_login [Declared(SecretRef { host: "db", name: "P" })]
    Off skipped
    "#);
}

#[test]
fn a_project_of_a_hundred_hosts_is_checked_quickly_and_compiled_once() {
    let each = |count: usize, line: fn(usize) -> String| (0..count).map(line).collect::<Vec<_>>().concat();
    let tasks = each(60, |n| {
        format!("  - {{name: T{n}, note: {{path: \"/x/{{{{ v{n} }}}}\", content: \"{{{{ v0 }}}} {n}\"}}, when: enabled}}\n")
    });
    let defaults = each(60, |n| format!("  v{n}: \"{{{{ base }}}}{n}\"\n"));
    let hosts = each(100, |n| format!("    h{n}:\n"));
    let sample = Sample::new(&[
        ("roles/app/role.yml", &format!("defaults:\n  base: b\n  enabled: true\n{defaults}tasks:\n{tasks}")),
        ("inventory/hosts.yml", &format!("all:\n  vars: {{autobot_roles: [app]}}\n  hosts:\n{hosts}")),
    ]);
    let plan = sample.load().unwrap();
    assert_eq!(plan.hosts.iter().map(|host| host.roles[0].steps.len()).sum::<usize>(), 6000);
}

#[test]
fn tasks_that_the_tags_exclude_are_checked_and_register_nothing() {
    let mut sample = Sample::new(&[
        (
            "roles/app/role.yml",
            "defaults: {unused: {type: port, default: 1}}\ntasks:\n  - {name: Read, run: {cmd: x, reads: yes}, register: out, tags: [read]}\n  - {name: Use, when: out.rc == 0, note: {path: /a}, tags: [use]}\n  - {name: Bad, note: {path: \"{{ nope }}\"}, tags: [never]}\n",
        ),
        ("inventory/group_vars/all.yml", "unused: many\n"),
    ]);
    sample.request.tags = vec!["use".to_owned()];
    insta::assert_snapshot!(sample.errors(), @r"
    inventory/group_vars/all.yml:1:9: wrong type for `unused`: expected a port from 1 to 65535, found text
    roles/app/role.yml:4:23: undefined variable `out` [it is the result of `Read`, which comes later or is left out by the tags]
    roles/app/role.yml:5:34: undefined variable `nope` [declare it under `defaults:` of the role, or set it in the inventory]
    ");
}

#[test]
fn an_unknown_extra_variable_is_an_error() {
    let mut sample = two();
    sample.write("templates/base/x.tera", "{{ greeting | default(value=\"\") }}");
    sample.write("group_vars/all.yml", "said: \"{{ words | default(value='') }}\"\n");
    let mut with = |extra: &[&str], roles: &[&str]| {
        sample.request.extra_vars = extra.iter().map(|extra| (*extra).to_owned()).collect();
        sample.request.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        sample.errors()
    };
    insta::assert_snapshot!([
        with(&["bsae_dir=x"], &[]), with(&["zebra=1 base_dri=2"], &["base"]), with(&["base_=1"], &[]), with(&["ansible_fact=1"], &[]),
    ].join("\n"), @"
    -e:1:1: unknown variable `bsae_dir` [did you mean `base_dir`?]
    -e:1:1: unknown variable `zebra` [no role, template or inventory mentions it: declare it under `defaults:` of a role]
    -e:1:9: unknown variable `base_dri` [did you mean `base_dir`?]
    -e:1:1: unknown variable `base_` [did you mean `base_dir`?]
    ");
    // A default, a guarded name of a template, names that the inventory sets or uses, Ansible's and built-in names; also of roles that are not selected.
    let known =
        ["base_dir=x", "greeting=x", "said=x", "words=x", "ansible_python_interpreter=x", "{\"autobot_roles\": [\"base\"]}"];
    assert_eq!(with(&known, &["base"]), "");
}

#[test]
fn redis_maxmemory_is_a_size() {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let with = |memory: &str| {
        let request = Request {
            project: shipped.to_owned(),
            inventories: vec![InventorySource::Hosts("db,".to_owned())],
            roles: vec!["redis".to_owned()],
            limit: Some("db".to_owned()),
            extra_vars: vec![format!("redis_maxmemory={memory}")],
            ..Request::default()
        };
        load(&request).err().map(|errors| errors.0.iter().map(|errors| errors.title.clone()).collect::<Vec<_>>().join("; "))
    };
    for size in ["4gb", "512mb", "1073741824"] {
        assert_eq!(with(size), None);
    }
    let errors = "wrong type for `redis_maxmemory`: expected a size such as 512mb, 4gb or a number of bytes, found text";
    assert_eq!(with("lots").as_deref(), Some(errors));
}

#[test]
fn connection_variables_that_are_not_obeyed_are_errors_or_warnings_with_their_places() {
    let mut sample = two();
    let vars = "ansible_become_user: postgres\n        ansible_become_method: \"{{ how }}\"\n        ansible_password: secret\n        how: su\n        ansible_sudo: false";
    sample.write(
        "inventory/hosts.yml",
        &format!("all:\n  hosts:\n    db:\n        {vars}\n        autobot_roles: [base]\n    web: {{autobot_roles: [base]}}\n"),
    );
    insta::assert_snapshot!(sample.errors(), @r#"
    inventory/hosts.yml:4:30: `ansible_become_user` is not obeyed: every run works as root, not as `postgres` (on db) [leave it out, and give the tasks that another user runs `become_user` in the role]
    inventory/hosts.yml:5:32: `ansible_become_method` is not obeyed: root is reached by sudo, not by `su` (on db) [allow sudo on the node, log in as root (`ansible_user: root`), or write `ansible_become: false`]
    inventory/hosts.yml:8:23: `ansible_sudo` is not obeyed: the run becomes root by sudo (on db) [write `ansible_become: false`]
    "#);
    // Ansible does not look at them either where nothing becomes root; a password counts for nothing as well.
    sample.request.extra_vars = vec!["ansible_become=false".to_owned()];
    let warnings: Vec<String> = sample
        .load()
        .unwrap()
        .warnings
        .iter()
        .map(|warning| format!("{}: {}", warning.span.as_ref().unwrap(), warning.title))
        .collect();
    insta::assert_snapshot!(warnings.join("\n"), @r#"inventory/hosts.yml:6:27: `ansible_password` is not obeyed: no password is given to ssh (on db)"#);
    assert!(!warnings.join("").contains("secret"));
}

#[test]
fn options_of_ssh_are_read_in_ansibles_order() {
    let sample = two();
    sample.write(
        "inventory/hosts.yml",
        "all: {hosts: {db: {ansible_ssh_extra_args: -o Port=3, ansible_ssh_common_args: -o Port=2, ansible_ssh_args: -C -o Port=1, ansible_connection: ansible.builtin.ssh, autobot_roles: [base]}}}\n",
    );
    let plan = sample.load().unwrap();
    let connection = plan.hosts[0].connection();
    insta::assert_snapshot!(format!("{:?} local: {}", connection.arguments, connection.local), @r#"SshArguments { options: [("Compression", "yes"), ("Port", "1"), ("Port", "2"), ("Port", "3")], config: None } local: false"#);
}

#[test]
fn an_ansible_cfg_beside_the_project_is_warned_of() {
    let sample = two();
    sample.write("ansible.cfg", "[defaults]\nremote_user = admin\n");
    let plan = sample.load().unwrap();
    let warnings: Vec<&str> = plan.warnings.iter().map(|warning| warning.title.as_str()).collect();
    assert_eq!(warnings, ["`ansible.cfg` is not read: `remote_user`"]);
    assert!(!plan.files.iter().any(|file| file.path == "ansible.cfg"), "it is no input");
}

#[test]
fn two_names_for_one_node_are_refused_with_both_places() {
    let mut sample = two();
    let hosts =
        |hosts: &str| format!("all:\n  vars: {{autobot_roles: [base]}}\n  hosts:\n    a: {{ansible_host: 198.18.0.2}}\n{hosts}");
    sample.write("inventory/hosts.yml", &hosts("    b: {ansible_host: 198.18.0.2, ansible_port: 22}\n"));
    let warnings = sample.load().unwrap().warnings;
    assert_eq!(
        warnings.iter().map(|warning| warning.title.as_str()).collect::<Vec<_>>(),
        ["`a` and `b` are the same node, `198.18.0.2`"]
    );
    sample.request.takes_locks = true;
    insta::assert_snapshot!(sample.load().unwrap_err().render(false), @r#"
    error: `a` and `b` are the same node, `198.18.0.2`
     --> inventory/hosts.yml:5:23
      |
    5 |     b: {ansible_host: 198.18.0.2, ansible_port: 22}
      |                       ^^^^^^^^^^ `b`
      |
     ::: inventory/hosts.yml:4:23
      |
    4 |     a: {ansible_host: 198.18.0.2}
      |                       ---------- `a`
      |
      = help: a node has one name in a run: give all its roles to one of them and make the other name a group, or deploy one after the other with `--limit`

    1 error
    "#);
    sample.request.limit = Some("b".to_owned());
    assert_eq!(sample.errors(), "");
    sample.request.limit = None;
    sample.request.only_health = true;
    assert_eq!(sample.errors(), "", "reading takes no lock");
    sample.request.only_health = false;
    // Another port, another way, and another machine behind the same alias of another file.
    for other in
        ["ansible_port: 2222", "ansible_ssh_common_args: -J gate", "ansible_ssh_common_args: -F /x", "ansible_connection: local"]
    {
        sample.write("inventory/hosts.yml", &hosts(&format!("    b: {{ansible_host: 198.18.0.2, {other}}}\n")));
        assert_eq!(sample.errors(), "", "{other}");
    }
}
