//! Every flag and its help. No behaviour.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::role::parse_duration;

/// The heading of options that every command has.
const EVERYWHERE: &str = "Options of every command";

/// The heading of passwords for what Ansible Vault encrypted.
const VAULT: &str = "Ansible Vault";

/// Provision the AutoBot fleet's database nodes over SSH
#[derive(Debug, Parser)]
#[command(name = "autobot-provision", version, max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// Directory of the project: roles, templates, inventory (default: found upwards from here)
    #[arg(long, global = true, value_name = "DIR", env = "AUTOBOT_PROVISION_PROJECT", help_heading = EVERYWHERE)]
    pub(super) project: Option<PathBuf>,

    /// Tell more: items that are ok, round trips; twice or thrice for developers
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = EVERYWHERE)]
    pub(super) verbose: u8,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make nodes as their roles declare, or say what that would change (--check)
    Deploy(Deploy),
    /// Check everything that can be known without connecting to a node
    Validate(Validate),
    /// Check that what is deployed works; nothing is changed
    Health(Health),
    /// Show where each value of a host's variables comes from, and what it overrode
    Explain(Explain),
    /// Show hosts, groups and variables as the inventory gives them
    Inventory(Inventory),
    /// Look into the Redis of the nodes that have one, and clean up in it
    Redis(super::redis::Redis),
    /// Try a deploy on throw-away copies of the nodes, on this machine
    Rehearse(Rehearse),
    /// Boot throw-away nodes on this machine: Debian with systemd, sshd and apt
    Lab(Lab),
}

/// Which hosts, roles, tasks and variables.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Inventory: file, directory, program or `host,`; may be given several times (default: the project's inventory/)
    #[arg(short, long, value_name = "INVENTORY")]
    pub(super) inventory: Vec<String>,

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

    #[command(flatten)]
    pub(super) vault: Passwords,
}

/// Passwords of Ansible Vault.
#[derive(Debug, Clone, Args)]
pub(super) struct Passwords {
    /// File that holds the password, or prints it when it is executable; may be given several times
    #[arg(long, global = true, value_name = "FILE", env = "ANSIBLE_VAULT_PASSWORD_FILE", help_heading = VAULT)]
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
pub(super) struct Way {
    /// Hosts worked on at once
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub(super) forks: usize,

    /// Accept and remember host keys that are not known yet; changed ones are refused either way
    #[arg(long)]
    pub(super) accept_new_host_keys: bool,

    /// Give up connecting after so long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(super) connect_timeout: Duration,

    /// Ask for the password that sudo wants, once for all hosts; a host's `ansible_become_password` wins over it
    #[arg(short = 'K', long)]
    pub(super) ask_become_pass: bool,

    /// File that holds the password for sudo, or prints it when it is executable
    #[arg(long, alias = "become-pass-file", value_name = "FILE", conflicts_with = "ask_become_pass")]
    pub(super) become_password_file: Option<PathBuf>,
}

/// What to list in place of a deploy.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Listing {
    /// List the hosts, contact none
    #[arg(long)]
    pub(super) list_hosts: bool,

    /// List the roles and their hosts, contact none
    #[arg(long)]
    pub(super) list_roles: bool,

    /// List the tasks with their tags, contact no host
    #[arg(long)]
    pub(super) list_tasks: bool,

    /// List the tags, contact no host
    #[arg(long)]
    pub(super) list_tags: bool,
}

impl Listing {
    /// Whether anything is to be listed.
    pub(super) fn is_asked_for(&self) -> bool {
        self.list_hosts || self.list_roles || self.list_tasks || self.list_tags
    }
}

#[derive(Debug, Args)]
pub(super) struct Deploy {
    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    pub(super) listing: Listing,

    /// Change nothing, say what a deploy would change
    #[arg(short = 'C', long)]
    pub(super) check: bool,

    /// Show what differs
    #[arg(short = 'D', long)]
    pub(super) diff: bool,

    /// End with exit code 2 when something changed, or would
    #[arg(long)]
    pub(super) detailed_exitcode: bool,

    /// For people or for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(super) output: Output,

    /// How long to wait for a node that another run holds, such as `5m`
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub(super) wait: Duration,

    #[command(flatten)]
    pub(super) way: Way,
}

#[derive(Debug, Args)]
pub(super) struct Validate {
    #[command(flatten)]
    pub(super) selection: Selection,

    /// For people or for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Health {
    #[command(flatten)]
    pub(super) selection: Selection,

    /// Also use what is there as clients would: log in, write a marked key that expires, read it back
    #[arg(long)]
    pub(super) exercise: bool,

    /// For people or for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(super) output: Output,

    #[command(flatten)]
    pub(super) way: Way,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A host, or a group that holds just one
    #[arg(value_name = "HOST")]
    pub(super) host: String,

    /// A variable, told in full (default: all of them)
    #[arg(value_name = "VAR")]
    pub(super) variable: Option<String>,

    /// Inventory: file, directory, program or `host,`; may be given several times (default: the project's inventory/)
    #[arg(short, long, value_name = "INVENTORY")]
    pub(super) inventory: Vec<String>,

    /// Roles (default: those that the inventory gives the host in `autobot_roles`)
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    pub(super) role: Vec<String>,

    /// Variable: `name=value`, `{json}` or `@file.yml`; wins over every other
    #[arg(short, long, value_name = "VAR")]
    pub(super) extra_vars: Vec<String>,

    #[command(flatten)]
    pub(super) vault: Passwords,

    /// For people or for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(super) output: Output,
}

impl Explain {
    /// The inventory, roles and variables that are asked about.
    pub(super) fn selection(&self) -> Selection {
        Selection {
            inventory: self.inventory.clone(),
            role: self.role.clone(),
            limit: None,
            tags: Vec::new(),
            skip_tags: Vec::new(),
            extra_vars: self.extra_vars.clone(),
            vault: self.vault.clone(),
        }
    }
}

#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the option is called so")]
pub(super) struct Inventory {
    /// Inventory: file, directory, program or `host,`; may be given several times (default: the project's inventory/)
    #[arg(short, long, global = true, value_name = "INVENTORY")]
    pub(super) inventory: Vec<String>,

    #[command(flatten)]
    pub(super) vault: Passwords,

    #[command(subcommand)]
    pub(super) command: InventoryCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum InventoryCommand {
    /// Every host with its groups and variables
    List {
        /// For people, or as `ansible-inventory --list` prints it
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Output,
    },
    /// Groups and hosts as a tree
    Graph,
    /// The variables of a host, as JSON; nothing is rendered
    Host {
        /// Its name in the inventory
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Rehearse {
    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    pub(super) making: Making,

    /// Leave the nodes running at the end, to look around
    #[arg(long)]
    pub(super) keep: bool,

    /// Install Redis from this apt repository, signed as the inventory says, in place of the stand-in
    #[arg(long, value_name = "URL")]
    pub(super) redis_repo: Option<String>,

    /// The lab to make; it must not exist yet
    #[arg(long, value_name = "ID", default_value = "rehearse")]
    pub(super) lab: String,

    /// Where labs and their cache are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/autobot-provision-lab")]
    pub(super) lab_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Lab {
    #[command(flatten)]
    pub(super) lab: WhichLab,

    #[command(subcommand)]
    pub(super) command: LabCommand,
}

/// Which lab.
#[derive(Debug, Args)]
pub(super) struct WhichLab {
    /// Which lab, where there are several
    #[arg(long = "lab", global = true, value_name = "ID", default_value = "lab")]
    pub(super) id: String,

    /// Where labs and their cache are kept
    #[arg(long = "lab-dir", global = true, value_name = "DIR", default_value = "/var/lib/autobot-provision-lab")]
    pub(super) dir: PathBuf,
}

/// What a lab's nodes run, and what may be installed here for it.
#[derive(Debug, Args)]
pub(super) struct Making {
    /// The Debian release of the nodes
    #[arg(long, value_name = "SUITE", default_value = "bookworm")]
    pub(super) suite: String,

    /// Do not ask; install with apt what this machine lacks
    #[arg(short, long)]
    pub(super) yes: bool,
}

impl Making {
    /// The same with the user's consent.
    pub(super) fn agreed(&self) -> Self {
        Self { suite: self.suite.clone(), yes: true }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum LabCommand {
    /// Boot nodes, and serve a stand-in for Redis's apt repository
    Up(LabUp),
    /// Remove the lab and all that it made
    Down,
    /// Show the nodes and whether they run
    Status,
    /// Log in to a node, or run a command there
    Ssh(LabSsh),
    /// Print the path of a configuration for `ssh -F` that knows the nodes
    SshConfig,
    /// Serve files over HTTP; started by `lab up`
    #[command(hide = true)]
    Serve(LabServe),
}

#[derive(Debug, Args)]
pub(super) struct LabUp {
    /// Names of the nodes (default: the hosts of the inventory)
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,

    /// Inventory: file, directory, program or `host,`; may be given several times (default: the project's inventory/)
    #[arg(short, long, value_name = "INVENTORY")]
    pub(super) inventory: Vec<String>,

    #[command(flatten)]
    pub(super) vault: Passwords,

    #[command(flatten)]
    pub(super) making: Making,
}

#[derive(Debug, Args)]
pub(super) struct LabSsh {
    /// The node
    #[arg(value_name = "NAME")]
    pub(super) name: String,

    /// The command and its arguments (default: a shell)
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct LabServe {
    /// The directory
    pub(super) root: PathBuf,
    /// The address and port
    pub(super) address: SocketAddr,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Lines for people
    Text,
    /// One JSON document
    Json,
}

/// `90`, `90s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("`{text}` is not a time such as 30s, 5m or 1h, up to a week"))
}
