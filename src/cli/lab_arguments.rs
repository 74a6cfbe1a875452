//! The flags of `lab` and `rehearse`, and their help. No behaviour.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use super::arguments::{InventoryArgs, Selection};

#[derive(Debug, Args)]
pub(super) struct Rehearse {
    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    pub(super) making: Making,

    /// Leave the nodes running at the end, to look around
    #[arg(long)]
    pub(super) keep: bool,

    /// Install Redis from this apt repository, signed as the inventory says, instead of the stand-in
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

/// The release of a lab's nodes, and the permission to install packages on this machine.
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

    #[command(flatten)]
    pub(super) inventory: InventoryArgs,

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
