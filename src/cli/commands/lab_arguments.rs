//! The flags of `lab` and `rehearse`, and their help. No behaviour.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use crate::cli::arguments::{InventoryArgs, Selection};

#[derive(Debug, Args)]
pub(in crate::cli) struct Rehearse {
    #[command(flatten)]
    pub(in crate::cli) selection: Selection,

    #[command(flatten)]
    pub(in crate::cli) making: Making,

    /// Leave the nodes running at the end, to look around
    #[arg(long)]
    pub(in crate::cli) keep: bool,

    /// Install Redis from this apt repository, signed as the inventory says, instead of the stand-in
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) redis_repo: Option<String>,

    /// The lab to make; it must not exist yet
    #[arg(long, value_name = "ID", default_value = "rehearse")]
    pub(in crate::cli) lab: String,

    /// Where labs and their cache are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/autobot-provision-lab")]
    pub(in crate::cli) lab_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Lab {
    #[command(flatten)]
    pub(in crate::cli) lab: WhichLab,

    #[command(subcommand)]
    pub(in crate::cli) command: LabCommand,
}

/// Which lab.
#[derive(Debug, Args)]
pub(in crate::cli) struct WhichLab {
    /// Which lab, where there are several
    #[arg(long = "lab", global = true, value_name = "ID", default_value = "lab")]
    pub(in crate::cli) id: String,

    /// Where labs and their cache are kept
    #[arg(long = "lab-dir", global = true, value_name = "DIR", default_value = "/var/lib/autobot-provision-lab")]
    pub(in crate::cli) dir: PathBuf,
}

/// The release of a lab's nodes, and the permission to install packages on this machine.
#[derive(Debug, Args)]
pub(in crate::cli) struct Making {
    /// The Debian release of the nodes
    #[arg(long, value_name = "SUITE", default_value = "bookworm")]
    pub(in crate::cli) suite: String,

    /// Do not ask; install with apt what this machine lacks
    #[arg(short, long)]
    pub(in crate::cli) yes: bool,
}

impl Making {
    /// The same with the user's consent.
    pub(in crate::cli) fn agreed(&self) -> Self {
        Self { suite: self.suite.clone(), yes: true }
    }
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum LabCommand {
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
pub(in crate::cli) struct LabUp {
    /// Names of the nodes (default: the hosts of the inventory)
    #[arg(value_name = "NAME")]
    pub(in crate::cli) names: Vec<String>,

    #[command(flatten)]
    pub(in crate::cli) inventory: InventoryArgs,

    #[command(flatten)]
    pub(in crate::cli) making: Making,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LabSsh {
    /// The node
    #[arg(value_name = "NAME")]
    pub(in crate::cli) name: String,

    /// The command and its arguments (default: a shell)
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(in crate::cli) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LabServe {
    /// The directory
    pub(in crate::cli) root: PathBuf,
    /// The address and port
    pub(in crate::cli) address: SocketAddr,
}
