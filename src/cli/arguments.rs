//! The commands, and the flags that several of them have. No behaviour. A command's own flags stand in its file.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::values::parse_duration;

/// The heading of options that every command has.
const EVERYWHERE: &str = "Options of every command";

/// The heading of passwords for what Ansible Vault encrypted.
const VAULT: &str = "Ansible Vault";

/// Provision the AutoBot fleet's database nodes over SSH
#[derive(Debug, Parser)]
#[command(name = "autobot-provision", version, max_term_width = 100)]
pub(super) struct Arguments {
    /// Directory of the project: roles, templates, inventory (default: found upwards from here)
    #[arg(long, global = true, value_name = "DIR", env = "AUTOBOT_PROVISION_PROJECT", help_heading = EVERYWHERE)]
    pub(super) project: Option<PathBuf>,

    /// The project is a stranger's, such as a pull request: run nothing of it here, read nothing outside of it (docs/SECURITY.md)
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(super) untrusted: bool,

    /// More detail (-vv, -vvv: debug log)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = EVERYWHERE)]
    pub(super) verbose: u8,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make nodes as their roles declare, or say what that would change (--check)
    Deploy(super::commands::deploy::Deploy),
    /// Check everything that can be known without connecting to a node
    Validate(super::commands::validate::Validate),
    /// Check that what is deployed works; nothing is changed
    Health(super::commands::health::Health),
    /// Show how each host is reached: host key, sudo, lock, facts, times; nothing is changed
    ///
    /// Hosts need no roles, and with `-i` there need not be a project. Exit codes: 0 a run could begin on each host (also when another one
    /// holds it now), 3 a host cannot be reached, has another host key or refuses root's rights, 1 the facts of a host cannot be read.
    Ping(HostArgs),
    /// Show what runs on each host: the run or the job that holds it, and jobs that have ended; nothing is changed
    ///
    /// A job is a long step, such as an installation, that a host finishes by itself when the link to it is lost.
    Status(HostArgs),
    /// Follow the job of a run again, until it has ended
    ///
    /// Exit codes: 0 every job of the run has ended well, 1 one has failed or there is none, 3 a host cannot be reached, 130 interrupted: the job goes on.
    Attach(super::commands::run_jobs::RunOnHosts),
    /// Ask the job of a run to end, and wait until it has
    ///
    /// A program that does damage if it is interrupted, such as dpkg, finishes what it has begun. Exit codes: 0 no job of the run is under way any more,
    /// 1 there is no such job, 3 a host cannot be reached.
    Cancel(super::commands::run_jobs::RunOnHosts),
    /// Show where each value of a host's variables comes from, and what it overrode
    Explain(super::commands::explain::Explain),
    /// Show what resources, health checks, roles and keywords there are, and how each is used
    Doc(super::commands::doc::Doc),
    /// Show the JSON Schema of a role file, for editors
    Schema(super::commands::schema::Schema),
    /// Show hosts, groups and variables as the inventory gives them
    Inventory(super::commands::inventory::Arguments),
    /// Look into the Redis of the nodes that have one, and clean up in it
    Redis(super::commands::redis::Redis),
    /// Try a deploy on throw-away copies of the nodes, on this machine
    Rehearse(super::commands::lab_arguments::Rehearse),
    /// Boot throw-away nodes on this machine: Debian with systemd, sshd and apt
    Lab(super::commands::lab_arguments::Lab),
}

impl Command {
    /// Whether the command can be used with a project that is not trusted.
    pub(super) fn may_be_untrusted(&self) -> bool {
        match self {
            // Without `--check`, `deploy` refuses it in words of its own.
            Self::Deploy(_) | Self::Validate(_) | Self::Explain(_) | Self::Doc(_) | Self::Schema(_) | Self::Inventory(_) => true,
            Self::Health(_)
            | Self::Ping(_)
            | Self::Status(_)
            | Self::Attach(_)
            | Self::Cancel(_)
            | Self::Redis(_)
            | Self::Rehearse(_)
            | Self::Lab(_) => false,
        }
    }
}

/// Where hosts and their variables come from.
#[derive(Debug, Clone, Args)]
pub(super) struct InventoryArgs {
    /// Inventory: file, directory, program or `host,`; may be given several times (default: the project's inventory/)
    #[arg(short = 'i', long = "inventory", alias = "inventory-file", global = true, value_name = "INVENTORY")]
    pub(super) sources: Vec<String>,

    #[command(flatten)]
    pub(super) vault: Passwords,
}

/// The form of what goes to standard output.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct OutputArgs {
    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    pub(super) format: Output,
}

/// Which hosts, roles, tasks and variables.
#[derive(Debug, Clone, Args)]
pub(super) struct Selection {
    #[command(flatten)]
    pub(super) inventory: InventoryArgs,

    /// Roles (default: those that the inventory gives each host in `autobot_roles`)
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    pub(super) role: Vec<String>,

    /// Host pattern, such as `database_vm`, `web*:!web3`, `~db\d+`
    #[arg(short, long, value_name = "PATTERN")]
    pub(super) limit: Option<String>,

    /// Only tasks with one of these tags
    #[arg(short, long, value_name = "TAG", value_delimiter = ',')]
    pub(super) tags: Vec<String>,

    /// No tasks with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub(super) skip_tags: Vec<String>,

    /// Variable: `name=value`, `{json}` or `@file.yml`; wins over every other
    #[arg(short, long, value_name = "VAR")]
    pub(super) extra_vars: Vec<String>,
}

/// Passwords of Ansible Vault.
#[derive(Debug, Clone, Args)]
pub(super) struct Passwords {
    /// File that holds the password, or prints it when it is executable; may be given several times
    #[arg(
        long,
        alias = "vault-pass-file",
        global = true,
        value_name = "FILE",
        env = "ANSIBLE_VAULT_PASSWORD_FILE",
        help_heading = VAULT
    )]
    pub(super) vault_password_file: Vec<PathBuf>,

    /// Ask for the password
    #[arg(short = 'J', long, global = true, alias = "ask-vault-password", help_heading = VAULT)]
    pub(super) ask_vault_pass: bool,

    /// Password of a vault id: the source is such a file, or `prompt`; may be given several times
    #[arg(long, global = true, value_name = "LABEL@SOURCE", help_heading = VAULT)]
    pub(super) vault_id: Vec<String>,
}

/// How nodes are reached.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a separate flag")]
pub(super) struct ConnectionArgs {
    /// Hosts worked on at once
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub(super) forks: usize,

    /// Accept and remember host keys that are not known yet; changed ones are refused either way
    #[arg(long)]
    pub(super) accept_new_host_keys: bool,

    /// Give up connecting after so long
    #[arg(long, short_alias = 'T', alias = "timeout", value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(super) connect_timeout: Duration,

    /// Log in anew, and leave no connection for the next run (`ssh_persist: 0`); so it is where `CI` is set
    #[arg(long)]
    pub(super) no_persist: bool,

    /// Log in as this user, as `-e ansible_user=USER`
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,

    /// Log in with this key, as `-e ansible_ssh_private_key_file=FILE`
    #[arg(long, alias = "key-file", value_name = "FILE")]
    private_key: Option<String>,

    /// Options for ssh, as `-e ansible_ssh_common_args=ARGS`
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    ssh_common_args: Option<String>,

    /// As `-e ansible_ssh_extra_args=ARGS`
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, hide = true)]
    ssh_extra_args: Option<String>,

    /// As `-e ansible_connection=WAY`
    #[arg(short, long, value_name = "WAY", hide = true)]
    connection: Option<String>,

    /// Accepted for users of Ansible: sudo is always used
    #[arg(short, long, hide = true)]
    r#become: bool,

    /// Ask for the password that sudo wants, once for all hosts; a host's `ansible_become_password` wins over it
    #[arg(short = 'K', long)]
    pub(super) ask_become_pass: bool,

    /// File that holds the password for sudo, or prints it when it is executable
    #[arg(long, alias = "become-pass-file", value_name = "FILE", conflicts_with = "ask_become_pass")]
    pub(super) become_password_file: Option<PathBuf>,
}

impl ConnectionArgs {
    /// Returns the options that set variables, in the form of `-e`.
    pub(super) fn variables(&self) -> Vec<String> {
        let options = [
            ("ansible_user", &self.user),
            ("ansible_ssh_private_key_file", &self.private_key),
            ("ansible_ssh_common_args", &self.ssh_common_args),
            ("ansible_ssh_extra_args", &self.ssh_extra_args),
            ("ansible_connection", &self.connection),
        ];
        let given = options.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        given.map(|(name, value)| serde_json::json!({ name: value }).to_string()).collect()
    }

    /// Returns notes about options that have no effect.
    pub(super) fn note(&self) -> Option<&'static str> {
        self.r#become.then_some("note: `-b` is not needed: tasks run as root")
    }
}

/// Hosts that a command only looks at: they need no roles.
#[derive(Debug, Args)]
pub(super) struct HostArgs {
    /// Host pattern, such as `database_vm` (default: every host of the inventory)
    #[arg(value_name = "HOSTS", conflicts_with = "limit")]
    hosts: Option<String>,

    /// Host pattern, as HOSTS
    #[arg(short, long, value_name = "PATTERN")]
    limit: Option<String>,

    #[command(flatten)]
    pub(super) inventory: InventoryArgs,

    /// Variable: `name=value`, `{json}` or `@file.yml`; wins over every other
    #[arg(short, long, value_name = "VAR")]
    extra_vars: Vec<String>,

    #[command(flatten)]
    pub(super) output: OutputArgs,

    #[command(flatten)]
    pub(super) way: ConnectionArgs,
}

impl HostArgs {
    /// Whether the hosts are given without `--limit`.
    pub(super) fn names_hosts(&self) -> bool {
        self.hosts.is_some()
    }

    /// The hosts and variables that are asked for.
    pub(super) fn selection(&self) -> Selection {
        let selection = Selection {
            inventory: self.inventory.clone(),
            role: Vec::new(),
            limit: self.hosts.clone().or_else(|| self.limit.clone()),
            tags: Vec::new(),
            skip_tags: Vec::new(),
            extra_vars: self.extra_vars.clone(),
        };
        selection.reached(&self.way)
    }
}

impl Selection {
    /// Returns the same with the variables that the connection options set. Those of `-e` win over them.
    pub(super) fn reached(&self, way: &ConnectionArgs) -> Self {
        Self { extra_vars: [way.variables(), self.extra_vars.clone()].concat(), ..self.clone() }
    }
}

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Text for people
    Text,
    /// One JSON document
    Json,
}

/// `90`, `90s`, `5m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("`{text}` is not a time such as 30s, 5m or 1h, up to a week"))
}
