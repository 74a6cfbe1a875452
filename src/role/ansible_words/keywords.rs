//! Keywords of tasks, blocks, plays and handlers that Ansible has.

use super::{
    Belongs::{Defaults, Handler, Role},
    Word,
};

const LOOP: &str = "write `loop` with a list";
const ITEMS: &str = "command: {argv: [mkdir, \"{{ item }}\"], creates: \"{{ item }}\"}, loop: [/srv/a, /srv/b]";
const OF_PLAYS: &str = "a role has no plays: the inventory lists the hosts, and their roles in `autobot_roles`";
const CONNECTION: &str =
    "the inventory says how a host is reached: `ansible_host`, `ansible_port`, `ansible_user`, or `~/.ssh/config`";
const EVERY_TASK_IS_ROOT: &str =
    "leave it out: every task runs as root through sudo, and `become_user` runs a `command` as another user";
const THIS_HOST: &str = "a task acts on its own host: pass a value from this machine with `-e`, and take one of another host from `hostvars` or `secrets: {host: …}`";
const NO_RESCUE: &str = "a task that fails ends the run of its host with nothing half done, and the next deploy continues from there: give the task a `when`, a guard or `retries` instead";
const ORDER: &str = "hosts are deployed in parallel: `--limit` deploys to some of them first, `--forks 1` to one after the other";
const STOPS: &str =
    "a host that fails stops, the others continue, and the exit code reports it: use `--limit` to deploy to some hosts first";

/// Keywords of tasks and blocks.
pub(crate) const TASK_KEYWORDS: &[Word] = &[
    Word::task("with_items", LOOP, ITEMS),
    Word::task("with_list", LOOP, ITEMS),
    Word::task(
        "with_flattened",
        "write `loop` with a list, in which `...` takes in another one",
        "command: {argv: [mkdir, \"{{ item }}\"], creates: \"{{ item }}\"}, loop: \"{{ [...app_list, '/srv/b'] }}\"",
    ),
    Word::task(
        "with_dict",
        "write `loop` with the pairs of the map: `item[0]` is the key, `item[1]` the value",
        "command: {argv: [touch, \"/srv/{{ item[0] }}\"], creates: \"/srv/{{ item[0] }}\"}, loop: \"{{ app_map | pairs }}\"",
    ),
    Word::task(
        "with_sequence",
        "write `loop` with a range",
        "command: {argv: [mkdir, \"/srv/{{ item }}\"], creates: \"/srv/{{ item }}\"}, loop: \"{{ range(start=1, end=4) }}\"",
    ),
    Word::new("with_nested", "write `loop` with a list of maps that has each combination"),
    Word::new("with_together", "write `loop` with a list of maps"),
    Word::new("with_subelements", "write `loop` with a list of maps that has each combination"),
    Word::new("with_indexed_items", "write `loop` with a list of maps that hold their number"),
    Word::new("with_fileglob", "name each file in `loop`: what a role writes must not depend on the contents of a directory"),
    Word::new("with_filetree", "name each file in `loop`: what a role writes must not depend on the contents of a directory"),
    Word::task(
        "with_first_found",
        "let a variable choose the file",
        "template: {src: \"{{ app_template }}\", dest: /etc/app.conf}",
    ),
    Word::task(
        "with_lines",
        "ask with a command that only reads, and loop over its registered `stdout_lines`",
        "command: {cmd: ls /srv, reads: true}, register: found",
    ),
    Word::new("with_random_choice", "chance would make every run a change: choose one in a variable"),
    Word::task(
        "with_inventory_hostnames",
        LOOP,
        "command: {argv: [touch, \"/srv/{{ item }}\"], creates: \"/srv/{{ item }}\"}, loop: \"{{ groups['all'] }}\"",
    ),
    Word::new("loop_control", "leave it out: the element is `item`, and a task is shown with the item's `name`, `path` or `key`"),
    Word::task(
        "until",
        "a task that fails is tried again: `retries` and `delay` are enough; to wait for a service, use `wait_for` or `ready:` of a handler",
        "wait_for: {port: 5432}, retries: 5, delay: 10",
    ),
    Word::task(
        "ignore_errors",
        "use `when` to skip the task, a guard to say when it is done, or `ok_rc` to accept exit statuses of a command that only reads",
        "command: {cmd: systemctl is-active app, reads: true, ok_rc: [0, 3]}, register: app",
    ),
    Word::new("ignore_unreachable", "leave it out: a host that cannot be reached ends alone, and the exit code is 3"),
    Word::task(
        "failed_when",
        "a command fails when its exit status is not 0; `ok_rc` accepts others for a command that only reads, and `assert` compares its output",
        "command: {cmd: systemctl is-active app, reads: true, ok_rc: [0, 3]}, register: app",
    ),
    Word::task(
        "changed_when",
        "a command that changes nothing has `reads: true`, and any other has a guard: `creates`, `removes`, `unless` or `only_if`",
        "command: {cmd: cat /etc/app.version, reads: true}, register: version",
    ),
    Word::task(
        "check_mode",
        "leave it out: a check changes nothing, and `reads: true` makes a command part of it",
        "command: {cmd: cat /etc/app.version, reads: true}, register: version",
    ),
    Word::new("diff", "leave it out: `--diff` shows differences, and `no_log: true` hides those of a task"),
    Word::new("delegate_to", THIS_HOST),
    Word::new("delegate_facts", THIS_HOST),
    Word::new("local_action", THIS_HOST),
    Word::new(
        "run_once",
        "a task is done on each host that has the role: give the role to one host, or write `when: inventory_hostname == groups.database[0]`",
    ),
    Word::new("action", "write the resource as the task's key, with its parameters as a map"),
    Word::task(
        "async",
        "a deploy waits for each task: give it a `timeout` that is long enough",
        "command: {cmd: prepare, creates: /var/lib/app/prepared}, timeout: 2h",
    ),
    Word::task(
        "poll",
        "a deploy waits for each task: give it a `timeout` that is long enough",
        "command: {cmd: prepare, creates: /var/lib/app/prepared}, timeout: 2h",
    ),
    Word::new("listen", "a task notifies handlers by their names, and may name several: `notify: [restart app, reload proxy]`"),
    Word::new("rescue", NO_RESCUE),
    Word::new("always", NO_RESCUE),
    Word::new("any_errors_fatal", STOPS),
    Word::new("max_fail_percentage", STOPS),
    Word::new("throttle", ORDER),
    Word::new("serial", ORDER),
    Word::new("strategy", ORDER),
    Word::new("order", "hosts are worked on side by side, and named in the order of the inventory"),
    Word::part("module_defaults", Defaults, "put what several tasks share into a variable", "app_owner: app"),
    Word::new("become_method", EVERY_TASK_IS_ROOT),
    Word::new("become_flags", EVERY_TASK_IS_ROOT),
    Word::new("become_exe", EVERY_TASK_IS_ROOT),
    Word::new("sudo", EVERY_TASK_IS_ROOT),
    Word::new("sudo_user", EVERY_TASK_IS_ROOT),
    Word::new("remote_user", CONNECTION),
    Word::new("connection", CONNECTION),
    Word::new("port", CONNECTION),
    Word::new("collections", "leave it out: every resource is built in, under its short or its long name"),
    Word::new("debugger", "leave it out: `deploy --check --diff` shows what a task would do, `explain HOST` the values"),
    Word::new("hosts", OF_PLAYS),
    Word::new("roles", OF_PLAYS),
];

/// Keywords of handlers, besides those of tasks.
pub(crate) const HANDLER_KEYWORDS: &[Word] = &[
    Word::new("listen", "tasks notify a handler by its name: one task may notify several, and several tasks one"),
    Word::new("when", "put the condition on the tasks that notify the handler"),
    Word::new("tags", "leave it out: a handler runs when a task has notified it, regardless of tags"),
    Word::new("loop", "write one handler for each unit"),
    Word::new("notify", "let the tasks notify both handlers"),
    Word::new("register", "leave it out: nothing that runs after a handler can use it"),
    Word::part(
        "retries",
        Handler,
        "give a command that succeeds once the unit is ready",
        "systemd: {name: app.service, state: restarted}, ready: {command: curl -fsS http://127.0.0.1:8080/, timeout: 60}",
    ),
    Word::part(
        "delay",
        Handler,
        "give a command that succeeds once the unit is ready",
        "systemd: {name: app.service, state: restarted}, ready: {command: curl -fsS http://127.0.0.1:8080/, timeout: 60}",
    ),
    Word::new("become_user", "leave it out: a handler runs as root; `command: setpriv …` changes the user"),
    Word::new("no_log", "leave it out: a handler shows its output only when it fails"),
];

/// Keys of `meta/main.yml`, of plays and of other files, found in a role file.
pub(crate) const ROLE_KEYS: &[Word] = &[
    Word::new("hosts", OF_PLAYS),
    Word::new("roles", OF_PLAYS),
    Word::new("name", "leave it out: a role has the name of its directory, and `description` says what it is for"),
    Word::part("vars", Defaults, "declare variables", "app_port: {type: port, default: 8080}"),
    Word::new("vars_files", "variables belong under `defaults:`, or in `group_vars/` and `host_vars/` of the inventory"),
    Word::new("vars_prompt", "a deploy asks no questions: pass the value with `-e`, or declare it under `secrets:`"),
    Word::part("dependencies", Role, "name the roles that come before this one", "requires: [base]"),
    Word::new("galaxy_info", "leave it out, and say with `description` what the role is for"),
    Word::new("argument_specs", "variables have their types under `defaults:`"),
    Word::new("gather_facts", "leave it out: facts are always available as `ansible_facts`"),
    Word::new("pre_tasks", "put the tasks first under `tasks:`"),
    Word::new("post_tasks", "put the tasks last under `tasks:`, or into a role that has this one under `requires:`"),
    Word::new("become", EVERY_TASK_IS_ROOT),
    Word::new("become_user", EVERY_TASK_IS_ROOT),
    Word::new("remote_user", CONNECTION),
    Word::new("connection", CONNECTION),
    Word::new("serial", ORDER),
    Word::new("strategy", ORDER),
    Word::new("any_errors_fatal", STOPS),
    Word::new("max_fail_percentage", STOPS),
    Word::new("environment", "put `environment` on the commands that need it, or on a `block` of them"),
    Word::new("module_defaults", "put what several tasks share into a variable under `defaults:`"),
    Word::new("collections", "leave it out: every resource is built in, under its short or its long name"),
    Word::new("block", "put it into a task under `tasks:`"),
];

/// Keys of an argument in `meta/argument_specs.yml`, found in the declaration of a variable.
pub(crate) const VARIABLE_KEYS: &[Word] = &[
    Word::new("required", "leave it out: a variable must be set unless it has a `default`"),
    Word::part("choices", Defaults, "list the words in its type", "app_mode: {type: {one_of: [fast, safe]}, default: safe}"),
    Word::new("description", "write `help`"),
    Word::new("elements", "leave it out: the elements of a list have no type"),
    Word::new("options", "leave it out: the values of a map have no type"),
    Word::new("no_log", "a password belongs under `secrets:`"),
];
