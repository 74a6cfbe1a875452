//! Parameters that Ansible's modules have and our resources do not. An empty resource means all.

use super::{Belongs::Handler, Word};

const LOCKS: &str = "leave it out: apt waits for its lock";
const WINDOW: &str = "this is a maintenance step, not a state that can be declared: do it by hand, then deploy again";
const SOCKET: &str = "leave it out: the server is reached through its socket, as its administrator";
const ASKED: &str = "leave it out: the condition is polled until it holds or the `timeout` expires";
const SHELL: &str = "the line is run by `/bin/sh`; another shell is a program with arguments";

/// The advice for `apt` without a package.
pub(crate) const UNNAMED_APT: Word = Word::task(
    "apt",
    "`apt` installs or removes packages: the lists are fetched by the task that installs, when they are too old; upgrades and clean-ups are for a maintenance window",
    "apt: {name: [curl], update_cache: true, cache_valid_time: 3600}",
);

/// The resource, and the parameter with its advice.
pub(crate) const PARAMETERS: &[(&str, Word)] = &[
    ("wait_for", Word::new("delay", ASKED)),
    ("wait_for", Word::new("sleep", ASKED)),
    ("wait_for", Word::new("connect_timeout", ASKED)),
    (
        "wait_for",
        Word::task(
            "search_regex",
            "look for the words with a command that is tried again",
            "command: {cmd: grep -q ready /var/log/app.log, reads: true}, retries: 5, delay: 5",
        ),
    ),
    ("wait_for", Word::new("exclude_hosts", "leave it out: `state` is `started` or `stopped`")),
    ("wait_for", Word::new("msg", "leave it out: a failure says what was waited for")),
    ("apt", Word::new("upgrade", WINDOW)),
    ("apt", Word::new("autoremove", WINDOW)),
    ("apt", Word::new("autoclean", WINDOW)),
    ("apt", Word::new("clean", WINDOW)),
    ("apt", Word::new("force_apt_get", "leave it out: apt-get is always used")),
    ("apt", Word::new("dpkg_options", "leave it out: a configuration file that was changed on the node is kept")),
    ("apt", Word::new("lock_timeout", LOCKS)),
    ("apt", Word::new("update_cache_retries", "put `retries` on the task")),
    ("apt", Word::new("update_cache_retry_max_delay", "put `delay` on the task")),
    (
        "apt",
        Word::task(
            "deb",
            "fetch the file with `get_url`, and install it with a guard",
            "command: {cmd: apt-get install -y /opt/app.deb, creates: /usr/bin/app}",
        ),
    ),
    ("apt", Word::task("default_release", "name the version", "apt: {name: \"redis=6:8.2.*\"}")),
    (
        "apt",
        Word::new(
            "allow_unauthenticated",
            "packages are always verified: give the repository's key with `deb822_repository: {signed_by: …}`",
        ),
    ),
    ("apt", Word::new("only_upgrade", WINDOW)),
    ("apt", Word::task("allow_downgrade", "name the version", "apt: {name: \"redis=6:8.2.*\"}")),
    ("apt", Word::new("force", "leave it out: packages are never forced")),
    ("apt", Word::new("policy_rc_d", "mask the unit with `systemd: {masked: true}` before its package is installed")),
    ("apt", Word::new("use", "leave it out: packages are Debian's")),
    (
        "copy",
        Word::task(
            "remote_src",
            "a file that is on the node already is copied by a command",
            "command: {cmd: cp -p /etc/app.conf.example /etc/app.conf, creates: /etc/app.conf}",
        ),
    ),
    (
        "copy",
        Word::new("directory_mode", "create the directory with a separate task: `file: {path: …, state: directory, mode: …}`"),
    ),
    ("copy", Word::new("local_follow", "leave it out: `src` is a file below `files/` of the role")),
    (
        "copy",
        Word::new("decrypt", "leave it out: secrets belong in variables files, and are written with `content` or `template`"),
    ),
    ("copy", Word::new("checksum", "leave it out: the result is always verified")),
    ("template", Word::new("content", "is a parameter of `copy`: `copy: {content: …, dest: …}`")),
    ("template", Word::new("remote_src", "templates are rendered here: put the file into `templates/`")),
    ("template", Word::new("newline_sequence", "leave it out: a template is written unchanged")),
    ("template", Word::new("trim_blocks", "leave it out: a block tag alone on its line leaves no line")),
    ("template", Word::new("lstrip_blocks", "leave it out: a block tag alone on its line leaves no line")),
    (
        "template",
        Word::new("variable_start_string", "leave it out: text with braces goes between `{% raw %}` and `{% endraw %}`"),
    ),
    ("template", Word::new("block_start_string", "leave it out: text with braces goes between `{% raw %}` and `{% endraw %}`")),
    ("template", Word::new("output_encoding", "leave it out: files are UTF-8")),
    ("file", Word::new("modification_time", "leave it out: a time would make every run a change")),
    ("file", Word::new("access_time", "leave it out: a time would make every run a change")),
    ("systemd", Word::new("daemon_reexec", WINDOW)),
    ("systemd", Word::new("scope", "leave it out: units are the system's")),
    ("systemd", Word::new("user", "leave it out: units are the system's")),
    ("systemd", Word::new("no_block", "leave it out: the task waits until two seconds after the unit has started")),
    ("systemd", Word::new("force", "leave it out")),
    ("systemd", Word::new("sleep", "leave it out: a restart waits until the unit is up")),
    ("systemd", Word::new("pattern", "leave it out: systemd knows whether the unit is up")),
    ("systemd", Word::new("use", "leave it out: services are systemd's units")),
    ("systemd", Word::new("runlevel", "leave it out: services are systemd's units")),
    (
        "systemd",
        Word::part("arguments", Handler, "put arguments into the unit's file", "systemd: {name: app.service, state: restarted}"),
    ),
    (
        "command",
        Word::task(
            "executable",
            SHELL,
            "command: {argv: [bash, -c, \"shopt -s nullglob; touch /srv/done\"], creates: /srv/done}",
        ),
    ),
    ("command", Word::new("warn", "leave it out")),
    ("command", Word::new("strip_empty_ends", "leave it out: line breaks at the end of registered output are always cut off")),
    ("command", Word::new("expand_argument_vars", "leave it out: `cmd` is a line of shell, and `argv` is not expanded")),
    ("command", Word::new("stdin_add_newline", "leave it out: `stdin` is passed unchanged")),
    ("command", Word::new("_raw_params", "write `cmd`")),
    ("user", Word::new("password", "accounts have no password here: log in with keys")),
    ("user", Word::new("update_password", "accounts have no password here: log in with keys")),
    (
        "user",
        Word::task(
            "password_lock",
            "an account has no password unless it is given one; lock one with a guard",
            "command: {cmd: passwd -l app, unless: passwd -S app | grep -q ' L '}",
        ),
    ),
    (
        "user",
        Word::new("remove", "leave it out: the account is removed, its files are kept; `file: {state: absent}` removes them"),
    ),
    ("user", Word::new("force", "leave it out: the account is removed, its files are kept")),
    ("user", Word::new("non_unique", "give each account a `uid` of its own")),
    (
        "user",
        Word::task(
            "generate_ssh_key",
            "make the key with a guard",
            "command: {cmd: ssh-keygen -q -t ed25519 -N '' -f /home/app/.ssh/id_ed25519, creates: /home/app/.ssh/id_ed25519}, become_user: app",
        ),
    ),
    (
        "user",
        Word::task(
            "expires",
            "set it with a guard",
            "command: {cmd: chage -E 2030-01-01 app, unless: chage -l app | grep -q 2030}",
        ),
    ),
    ("user", Word::new("local", "leave it out: accounts are the node's own")),
    ("group", Word::new("local", "leave it out: groups are the node's own")),
    ("group", Word::new("force", "leave it out")),
    ("group", Word::new("non_unique", "give each group a `gid` of its own")),
    (
        "get_url",
        Word::new(
            "force",
            "leave it out: a file whose `checksum` differs is always fetched again, and without a `checksum` an existing file is kept",
        ),
    ),
    ("get_url", Word::new("url_username", "`get_url` takes no password: fetch the file from a server that needs none")),
    ("get_url", Word::new("url_password", "`get_url` takes no password: fetch the file from a server that needs none")),
    ("get_url", Word::new("headers", "files are fetched by apt's own helper, which cannot send other headers")),
    (
        "get_url",
        Word::new(
            "validate_certs",
            "certificates are always verified: give `checksum`, and fetch from a server with a valid certificate",
        ),
    ),
    ("get_url", Word::new("use_proxy", "leave it out: apt's proxy is used")),
    ("get_url", Word::new("tmp_dest", "leave it out: the file is replaced as a whole")),
    ("lineinfile", Word::new("unsafe_writes", "leave it out: a file is replaced as a whole")),
    ("lineinfile", Word::new("encoding", "leave it out: files are UTF-8")),
    ("sysctl", Word::new("sysctl_set", "leave it out: the value is always set in the kernel, too")),
    ("sysctl", Word::new("ignoreerrors", "leave it out: a setting that the kernel does not have is an error")),
    ("ufw", Word::new("route", "rules for forwarded traffic are not supported: `direction` is `in` or `out`")),
    (
        "ufw",
        Word::new(
            "insert",
            "leave it out: rules of one kind do not depend on their order; `only: true` deletes the others for this port",
        ),
    ),
    ("ufw", Word::new("app", "name the port and `proto` instead of an application's profile")),
    ("ufw", Word::new("name", "name the port and `proto` instead of an application's profile")),
    ("ufw", Word::new("log", "`logging` applies to all rules")),
    ("postgresql_db", Word::new("login_user", SOCKET)),
    ("postgresql_db", Word::new("login_password", SOCKET)),
    ("postgresql_db", Word::new("login_host", SOCKET)),
    ("postgresql_db", Word::new("login_unix_socket", SOCKET)),
    ("postgresql_user", Word::new("login_user", SOCKET)),
    ("postgresql_user", Word::new("login_password", SOCKET)),
    ("postgresql_user", Word::new("login_host", SOCKET)),
    ("postgresql_user", Word::new("login_unix_socket", SOCKET)),
    ("postgresql_user", Word::new("encrypted", "leave it out: passwords are always kept as SCRAM verifiers")),
    ("postgresql_user", Word::new("no_password_changes", "leave it out: a password that already matches is not changed")),
    (
        "postgresql_user",
        Word::task(
            "db",
            "a login has no database: grant what it may do",
            "postgresql_privs: {database: app, roles: [app], type: database, privs: [CONNECT]}",
        ),
    ),
    (
        "postgresql_user",
        Word::task(
            "priv",
            "grant privileges with a separate task",
            "postgresql_privs: {database: app, roles: [app], type: database, privs: [CONNECT]}",
        ),
    ),
    ("postgresql_privs", Word::new("login_user", SOCKET)),
    ("postgresql_privs", Word::new("login_password", SOCKET)),
    ("postgresql_privs", Word::new("login_host", SOCKET)),
    ("postgresql_privs", Word::new("login_unix_socket", SOCKET)),
    ("", Word::new("unsafe_writes", "leave it out: a file is replaced as a whole")),
    ("", Word::new("attributes", "leave it out, or set the file's attributes with `command: {cmd: chattr …, unless: …}`")),
    ("", Word::new("setype", "leave it out: nodes run Debian with AppArmor")),
    ("", Word::new("seuser", "leave it out: nodes run Debian with AppArmor")),
    ("", Word::new("serole", "leave it out: nodes run Debian with AppArmor")),
    ("", Word::new("selevel", "leave it out: nodes run Debian with AppArmor")),
];

/// The resource, its parameter and the value that Ansible has there, with the advice.
pub(crate) const VALUES: &[([&str; 3], &str)] = &[
    (
        ["apt", "state", "latest"],
        "write `present`, which installs it once: upgrades are for a maintenance window; `apt: {name: \"redis=6:8.2.*\"}` asks for a version",
    ),
    (["apt", "state", "build-dep"], "name the packages in `name`"),
    (
        ["apt", "state", "fixed"],
        "this is a maintenance step: do it by hand with `apt-get --fix-broken install`, then deploy again",
    ),
    (["apt", "state", "installed"], "write `present`"),
    (["apt", "state", "removed"], "write `absent`"),
];
