//! Command lines that users of Ansible, Terraform, kubectl or AutoBot's `deploy.sh` type: read as what was meant, or answered in one line with what to
//! type here. clap's own suggestions go by spelling, and lead astray there.

use std::ffi::OsString;

use clap::{
    CommandFactory as _, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::arguments::Arguments;

/// The answer to a command line that clap refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The same in this program's words.
    Means(Vec<OsString>),
    /// One line: what to type. The command line itself is not repeated, as it may hold secrets.
    Type(String),
}

/// The answer to a command line that clap refuses, where it has words of another tool. Each [`Answer::Means`] has one of them fewer.
#[expect(clippy::wildcard_enum_match_arm, reason = "clap's other kinds of errors say by themselves what to type")]
pub(super) fn answer(error: &Error, words: &[OsString]) -> Option<Answer> {
    let context = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(_) | None => None,
    };
    let texts: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand)?;
            command(&word, words, &texts)
        }
        ErrorKind::UnknownArgument => {
            let argument = context(ContextKind::InvalidArg)?;
            let (name, _) = argument.split_once('=').unwrap_or((&argument, ""));
            // clap stops at the first word that it does not know: a command after it does not count.
            let at = texts.iter().position(|text| text.starts_with(name)).unwrap_or(texts.len());
            match command_of(&texts[..at]) {
                Some(command) if name.starts_with('-') => option(name, command, words, &texts),
                Some(command) => operand(name, command),
                None => option_without_command(name, words, &texts),
            }
        }
        ErrorKind::MissingRequiredArgument if command_of(&texts) == Some("explain") => {
            Some("name the host: type `explain HOST`, or `explain HOST VARIABLE`; `inventory list` shows the hosts".into())
        }
        ErrorKind::MissingRequiredArgument => {
            let command = command_of(&texts).filter(|command| matches!(*command, "attach" | "cancel"))?;
            Some(Answer::Type(format!("name the run: type `{command} RUN`; `status` shows the runs that have jobs")))
        }
        _ => None,
    }
}

/// The command of a command line: its first word that is neither an option nor the value of `--project`, if that is one.
fn command_of(texts: &[String]) -> Option<&str> {
    let arguments = Arguments::command();
    let mut words = texts.iter().skip(1);
    let word = loop {
        match words.next()?.as_str() {
            "--project" => {
                words.next();
            }
            option if option.starts_with('-') => {}
            word => break word,
        }
    };
    arguments.find_subcommand(word).map(|_| word)
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Type(text.to_owned())
    }
}

/// The text to type instead of a word; most answers name that word.
fn in_place_of(kind: &str, word: &str, text: &str) -> Answer {
    let needs_word = ["type ", "leave it out", "set "].iter().any(|beginning| text.starts_with(beginning));
    Answer::Type(if needs_word { format!("unknown {kind} `{word}`: {text}") } else { text.to_owned() })
}

const PLAYBOOK: &str = "there are no playbooks here: type `deploy` with the same options, or `deploy --role ROLE`";
const VAULT: &str =
    "this only reads what Ansible Vault encrypted: type `ansible-vault view FILE` (or `encrypt`, `edit`, `rekey`)";

/// Commands of other tools, and what to type in their place.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["playbook", "play"], PLAYBOOK),
    (
        &[
            "vault",
            "vault-view",
            "vault-edit",
            "vault-encrypt",
            "vault-decrypt",
            "vault-create",
            "vault-rekey",
            "encrypt",
            "decrypt",
            "rekey",
        ],
        VAULT,
    ),
    (
        &["galaxy", "install", "collection", "role", "requirements"],
        "nothing is downloaded: a role is a directory in the project's `roles/`; type `deploy --list-roles` to see those in use",
    ),
    (&["pull"], "hosts do not pull: type `deploy` here, or on the host itself `deploy -i HOST, -c local --role ROLE`"),
    (
        &["console", "debug", "repl"],
        "there is no console: type `explain HOST [VAR]` for variables, `ping HOSTS` for a connection",
    ),
    (
        &["lint", "fmt", "format", "syntax"],
        "type `validate`, which checks every role, template and inventory without a connection",
    ),
    (
        &["resources", "resource", "module", "modules", "plugin", "plugins"],
        "type `doc` for the list of resources, `doc NAME` for one",
    ),
    (
        &["facts", "setup", "gather", "gather_facts"],
        "type `ping HOSTS --output json`, whose `facts` are what roles see as `ansible_facts`",
    ),
    (&["reach", "reachable", "test-connectivity"], "type `ping HOSTS`"),
    (&["all"], "type a command before the hosts: `ping all`, `deploy --limit all`, `health --limit all`"),
    (&["plan"], "saved plans do not exist yet: type `deploy --check --diff`"),
    (&["apply"], "saved plans do not exist yet: type `deploy`, and before it `deploy --check --diff`"),
    (&["diff", "preview"], "type `deploy --check --diff`"),
    (&["converge", "provision", "up", "sync", "site", "deploy-full"], "type `deploy`, or `deploy --role ROLE`"),
    (&["list", "ls"], "type `inventory list` for hosts, or `deploy --list-roles`, `--list-tasks`, `--list-tags`"),
    (&["hosts", "nodes", "get", "groups"], "type `inventory list` for hosts, `inventory graph` for groups"),
    (&["roles"], "type `deploy --list-roles`"),
    (&["tasks"], "type `deploy --list-tasks`"),
    (&["tags"], "type `deploy --list-tags`"),
    (
        &["vars", "variables", "describe", "show", "output"],
        "type `explain HOST` for a host's variables, `inventory host NAME` for them unrendered",
    ),
    (
        &["state", "refresh", "workspace", "taint", "untaint", "providers"],
        "no state is kept here, hosts are asked each time: type `deploy --check`",
    ),
    (&["graph", "tree"], "type `inventory graph`"),
    (&["history", "runs", "report"], "`history` does not exist yet: keep what `deploy --output json` prints"),
    (&["resume"], "type `deploy`: it goes on where the last run ended; `attach RUN` follows a job that is under way"),
    (&["unlock", "force-unlock"], "a lock ends with its run: type `ping HOSTS` to see who holds it"),
    (&["run", "exec", "command", "cmd"], RUN),
    (&["ssh", "connect", "login", "shell", "sh"], "type `ssh USER@HOST`; `inventory list` has the addresses"),
    (&["start", "stop", "restart", "reload", "service", "services", "systemctl", "manage"], SERVICE),
    (&["reboot", "shutdown"], REBOOT),
    (&["upgrade", "update", "patch"], "`upgrade` does not exist yet: type `ssh USER@HOST sudo apt upgrade`, then `deploy`"),
    (
        &["backup", "backups"],
        "`backup` does not exist yet: type `ssh USER@HOST sudo systemctl start autobot-redis-backup` (docs/BACKUPS.md)",
    ),
    (&["restore"], "`restore` does not exist yet: docs/BACKUPS.md has the steps for each database"),
    (
        &["rollback", "undo", "revert"],
        "there is no rollback: check out the earlier version of the project, and type `deploy --check --diff`",
    ),
    (
        &["destroy", "delete", "remove", "uninstall", "clean"],
        "nothing is removed by a command: declare it with `state: absent` in a role, and type `deploy`",
    ),
    (
        &["import", "convert", "migrate"],
        "`import` does not exist yet: inventories load unchanged with `-i`; docs/ROLES.md says how a role is written",
    ),
    (
        &["init", "new", "create", "scaffold"],
        "a project is a directory with `roles/` and `inventory/`: docs/ROLES.md begins with a first role",
    ),
    (&["serve", "server", "daemon", "agent"], "`serve` does not exist yet: programs call `deploy --output json`"),
    (&["mcp"], "`mcp` does not exist yet: programs call `deploy --output json`"),
    (&["logs", "log", "journal"], "type `ssh USER@HOST sudo journalctl -u UNIT`; `-v` shows more of a run"),
    (
        &["top", "watch", "monitor", "verify", "test", "doctor"],
        "type `health` for whether what is deployed works, `ping` for whether hosts can be reached",
    ),
    (
        &["cp", "copy", "scp", "fetch", "rsync"],
        "type `scp FILE USER@HOST:PATH`; a file that is to stay belongs to a role, as `copy` or `template`",
    ),
    (
        &["config", "configure", "settings"],
        "there is no configuration file: type `explain HOST` for variables, `help deploy` for options",
    ),
    (&["completion", "completions", "autocomplete"], "completions do not exist yet: type `help COMMAND` for its options"),
    (&["man", "manual", "docs", "usage"], "type `help`, or `help COMMAND`"),
    (&["dry-run", "dryrun", "noop", "simulate"], "type `deploy --check`; `rehearse` deploys to throw-away copies"),
];

const RUN: &str = "`run` does not exist yet: type `ssh USER@HOST COMMAND`";
const SERVICE: &str = "units are restarted by handlers: type `ssh USER@HOST sudo systemctl restart UNIT` for one by hand";
const REBOOT: &str = "hosts are not rebooted here: type `ssh USER@HOST sudo reboot`, then `ping HOST` until it is back";

/// Options of other tools, and what to type in their place.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["-k", "--ask-pass", "--connection-password-file", "--conn-pass-file"],
        "log-ins go by key: type `ssh-copy-id USER@HOST` once, then leave the option out",
    ),
    (&["--become-user"], "leave it out; every task runs as root, and a task can have its own `become_user`"),
    (&["--facts"], "type `ping HOST --output json`, whose `facts` are what roles see as `ansible_facts`"),
    (&["--become-method"], "leave it out; root's rights come from sudo"),
    (&["-u", "--user"], "type `-e ansible_user=USER`"),
    (&["--private-key", "--key-file"], "type `-e ansible_ssh_private_key_file=FILE`"),
    (&["--ssh-common-args"], "type `-e 'ansible_ssh_common_args=\"ARGS\"'`"),
    (&["--ssh-extra-args"], "type `-e 'ansible_ssh_extra_args=\"ARGS\"'`"),
    (&["-c", "--connection"], "type `-e ansible_connection=local`"),
    (&["-b", "--become"], "leave it out; every task runs as root"),
    (&["-T", "--timeout", "--connect-timeout"], "leave it out; this command does not connect to the inventory's hosts"),
    (
        &["--scp-extra-args", "--sftp-extra-args"],
        "leave it out; files travel over the one ssh connection; its options are `--ssh-common-args`",
    ),
    (&["--start-at-task", "--step"], "leave it out; a run skips what is done already; `--role` and `--tags` select less"),
    (&["--flush-cache"], "leave it out; no facts are cached"),
    (&["--force-handlers"], "leave it out; handlers that a failed run still owes are run by the next `deploy`"),
    (&["--list"], "type `deploy --list-hosts`, `--list-roles`, `--list-tasks` or `--list-tags`"),
    (&["--dry-run", "--noop", "--simulate", "--plan"], "type `deploy --check`, with `--diff` for the lines"),
    (
        &["-y", "--yes", "--auto-approve", "-auto-approve", "--force", "--no-confirm", "--confirm"],
        "leave it out; `deploy` does not ask",
    ),
    (&["--host", "--hosts", "--node", "--nodes"], "type `--limit PATTERN`"),
    (&["--roles"], "type `--role ROLE`, several as `--role ROLE,ROLE`"),
    (&["--target", "--target-roles"], "type `--role ROLE`, or `--tags TAG`"),
    (&["--var", "--vars", "--set"], "type `-e NAME=VALUE`"),
    (&["--var-file", "--vars-file", "--values"], "type `-e @FILE`"),
    (&["--json", "--format"], "type `--output json`"),
    (&["--no-color", "--nocolor", "--color"], "set `NO_COLOR=1` in the environment; pipes get no colours anyway"),
    (&["-q", "--quiet", "--silent"], "leave it out; without `-v` only what changes is shown; `2>/dev/null` hides the rest"),
    (&["--debug"], "type `-vvv`"),
    (
        &["--parallelism", "--parallel", "--serial", "-B", "-P", "--background", "--poll"],
        "type `--forks N` for how many hosts are worked on at once",
    ),
    (
        &["-M", "--module-path", "--roles-path", "--playbook-dir", "--chdir", "--basedir"],
        "type `--project DIR`; roles are in its `roles/`",
    ),
    (&["--use-vault"], "type `--ask-vault-pass` or `--vault-password-file FILE`"),
    (&["--vault-file"], "type `-e @FILE`; an encrypted file is read as well"),
    (&["--encrypt-vault-id", "--new-vault-id"], VAULT),
    (&["-o", "--one-line", "--output"], "this command prints text only"),
    (&["-y", "--yaml", "--toml"], "type `inventory list --output json`"),
    (&["--export"], "leave it out; `inventory list --output json` is the export"),
];

/// Options of AutoBot's `deploy.sh`, which has no commands.
const DEPLOY_SH: &[(&[&str], &str)] = &[
    (&["--full", "--services", "--all"], "type `deploy`"),
    (&["--base-system"], "role `common` does not exist yet: type `deploy` for what the inventory's `autobot_roles` give"),
    (&["--health-check", "--health"], "type `health`"),
    (&["--validate"], "type `validate`"),
    (&["--test-connectivity"], "type `ping`"),
    (&["--start", "--stop", "--restart"], SERVICE),
    (&["--rollback"], "there is no rollback: check out the earlier version of the project, and type `deploy --check --diff`"),
    (&["--data-migration"], "`restore` does not exist yet: docs/BACKUPS.md has the steps for each database"),
    (&["--setup-sudo"], "type `ping`, which says where sudo does not work and which line of sudoers is missing"),
    (&["--install-reqs", "--install-requirements"], "leave it out; there is nothing to install but this program"),
    (&["--check", "--diff", "-C", "-D"], "the command comes first: type `deploy --check --diff`"),
    (&["--syntax-check"], "type `validate`"),
    (&["-m", "-a", "--module-name", "--args"], RUN),
];

fn find(table: &'static [(&[&str], &str)], word: &str) -> Option<&'static str> {
    table.iter().find(|(words, _)| words.contains(&word)).map(|(_, text)| *text)
}

/// Whether a word looks like the name of a playbook.
fn is_yaml(word: &str) -> bool {
    let extension = std::path::Path::new(word).extension();
    extension.is_some_and(|extension| extension == "yml" || extension == "yaml")
}

/// A word where the command should be.
fn command(word: &str, words: &[OsString], texts: &[String]) -> Option<Answer> {
    if let Some(command) = command_of(texts) {
        return nested_command(word, command);
    }
    if let Some(module) =
        value_of(texts, &["-m", "--module-name"]).or_else(|| value_of(texts, &["-a", "--args"]).map(|_| "command"))
    {
        return ad_hoc(module, words, texts);
    }
    if is_yaml(word) {
        return Some(PLAYBOOK.into());
    }
    // `ansible-inventory --list`, `ansible all -m ping`
    match word.strip_prefix("ansible").map(|rest| rest.trim_start_matches('-')) {
        Some("") => return replaced(words, texts, word, &[]),
        Some(rest) => return replaced(words, texts, word, &[rest]),
        None => {}
    }
    match word {
        "check" => replaced(words, texts, word, &["deploy", "--check"]),
        "version" => Some(Answer::Means(["autobot-provision", "--version"].map(OsString::from).to_vec())),
        word => Some(in_place_of("command", word, find(COMMANDS, word)?)),
    }
}

/// A word where the command of a command should be.
fn nested_command(word: &str, command: &str) -> Option<Answer> {
    let text = match (command, word) {
        ("inventory", "hosts" | "show" | "ls") => "type `inventory list`",
        ("inventory", "groups" | "tree") => "type `inventory graph`",
        ("inventory", "vars" | "get" | "describe") => "type `inventory host NAME`",
        ("redis", "ping") => "type `redis info HOSTS`, or `ping HOSTS` for the connection",
        _ => return None,
    };
    Some(in_place_of("command", word, text))
}

/// An option that the command does not have.
fn option(name: &str, command: &str, words: &[OsString], texts: &[String]) -> Option<Answer> {
    match (command, name) {
        ("inventory", "--list") => replaced(words, texts, "--list", &["list"]),
        ("inventory", "--graph") => replaced(words, texts, "--graph", &["graph"]),
        ("inventory", "--host") => replaced(words, texts, "--host", &["host"]),
        ("inventory", "--vars") => {
            Some(in_place_of("option", name, "type `inventory host NAME`, or `explain HOST` for where each value comes from"))
        }
        ("inventory", "-y" | "--yaml" | "--toml") => Some(in_place_of("option", name, "type `inventory list --output json`")),
        ("inventory" | "explain" | "ping", "--role" | "-t" | "--tags") => {
            Some(in_place_of("option", name, "leave it out; this command shows hosts, whatever their roles"))
        }
        ("validate", "-C" | "--check" | "-D" | "--diff") => {
            Some("`validate` connects to no host: type `deploy --check --diff`".into())
        }
        ("validate", "--syntax-check") => Some(in_place_of("option", name, "leave it out; `validate` is the syntax check")),
        (_, "-m" | "--module-name") => ad_hoc(value_of(texts, &["-m", "--module-name"])?, words, texts),
        _ => {
            // clap takes `-auto-approve` for `-a`.
            let whole = texts.iter().find(|text| find(OPTIONS, text).is_some() && text.starts_with(name));
            let name = whole.map_or(name, String::as_str);
            Some(in_place_of("option", name, find(OPTIONS, name).or_else(|| find(DEPLOY_SH, name))?))
        }
    }
}

/// An option before any command.
fn option_without_command(name: &str, words: &[OsString], texts: &[String]) -> Option<Answer> {
    if let Some(module) = value_of(texts, &["-m", "--module-name"]) {
        return ad_hoc(module, words, texts);
    }
    // After an option it is the option's value, such as an inventory.
    if texts.windows(2).any(|pair| !pair[0].starts_with('-') && is_yaml(&pair[1])) {
        return Some(PLAYBOOK.into());
    }
    if let Some(text) = find(DEPLOY_SH, name) {
        return Some(in_place_of("option", name, text));
    }
    if name.starts_with("--patch") {
        return Some("`upgrade` does not exist yet: type `ssh USER@HOST sudo apt upgrade`, then `deploy`".into());
    }
    let arguments = Arguments::command();
    let deploy = arguments.find_subcommand("deploy")?;
    let has = |argument: &clap::Arg| {
        let long =
            argument.get_long_and_visible_aliases().into_iter().flatten().any(|long| name.strip_prefix("--") == Some(long));
        let short = argument.get_short().is_some_and(|short| name.strip_prefix('-') == Some(&short.to_string()));
        long || short
    };
    if deploy.get_arguments().any(has) {
        return Some(Answer::Type(format!(
            "options come after the command: type `deploy {name}`, `health {name}` or another; `help` lists them"
        )));
    }
    Some(in_place_of("option", name, find(OPTIONS, name)?))
}

/// A word that the command does not take.
fn operand(word: &str, command: &str) -> Option<Answer> {
    if is_yaml(word) {
        return Some(PLAYBOOK.into());
    }
    match command {
        "ping" => Some("name the hosts as one pattern: type `ping HOST,HOST`".into()),
        "deploy" | "health" | "validate" | "rehearse" => {
            Some(Answer::Type(format!("`{command}` takes options only: type `--limit HOSTS` for hosts, `--role ROLE` for roles")))
        }
        _ => None,
    }
}

/// `ansible HOSTS -m MODULE -a ARGUMENTS`.
fn ad_hoc(module: &str, words: &[OsString], texts: &[String]) -> Option<Answer> {
    match module.rsplit('.').next().unwrap_or(module) {
        "ping" | "wait_for_connection" => {
            let mut meant = vec![words.first()?.clone(), "ping".into()];
            let mut rest = words.iter().zip(texts).skip(1);
            // `ping -m ping all` has the command already.
            let mut command = command_of(texts).filter(|command| *command == "ping");
            while let Some((word, text)) = rest.next() {
                match text.as_str() {
                    "-m" | "--module-name" | "-a" | "--args" => {
                        rest.next();
                    }
                    text if text.starts_with("-m") || text.starts_with("--module-name=") => {}
                    // The default, which `--limit` excludes.
                    "ansible" | "all" => {}
                    text if command == Some(text) => command = None,
                    _ => meant.push(word.clone()),
                }
            }
            Some(Answer::Means(meant))
        }
        "shell" | "command" | "raw" | "script" | "expect" => Some(RUN.into()),
        "systemd" | "service" | "systemd_service" => Some(SERVICE.into()),
        "reboot" => Some(REBOOT.into()),
        "setup" | "gather_facts" => Some(in_place_of("module", module, find(COMMANDS, "setup")?)),
        "debug" => Some(find(COMMANDS, "console")?.into()),
        "fetch" => Some(in_place_of("module", module, find(COMMANDS, "fetch")?)),
        _ => Some(
            "single tasks are not run by hand: write it in `roles/ROLE/role.yml`, and type `deploy --role ROLE --limit HOSTS`"
                .into(),
        ),
    }
}

/// The value of an option, in the next word or the same: `-m ping`, `-mping`, `--module-name=ping`.
fn value_of<'a>(texts: &'a [String], names: &[&str]) -> Option<&'a str> {
    texts.iter().enumerate().skip(1).find_map(|(at, text)| {
        let name = names.iter().find(|name| text.starts_with(**name))?;
        match text[name.len()..].strip_prefix('=').unwrap_or(&text[name.len()..]) {
            "" => texts.get(at + 1).map(String::as_str),
            _ if name.starts_with("--") && !text[name.len()..].starts_with('=') => None,
            value => Some(value),
        }
    })
}

/// Returns the command line with other words instead of one, or instead of `WORD=VALUE`, which keeps its value.
fn replaced(words: &[OsString], texts: &[String], word: &str, by: &[&str]) -> Option<Answer> {
    let at = texts
        .iter()
        .skip(1)
        .position(|text| text == word || text.strip_prefix(word).is_some_and(|rest| rest.starts_with('=')))?
        + 1;
    let value = texts[at].strip_prefix(word).and_then(|rest| rest.strip_prefix('=')).map(OsString::from);
    let by = by.iter().map(OsString::from).chain(value);
    Some(Answer::Means(words[..at].iter().cloned().chain(by).chain(words[at + 1..].iter().cloned()).collect()))
}
