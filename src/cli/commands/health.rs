//! `health`: whether what the roles declare works, without changing it.

use std::time::Duration;

use clap::Args;

use crate::{
    cli::{
        arguments::{ConnectionArgs, OutputArgs, Selection},
        exit::Exit,
        project::GivenProject,
        running::{self, Order},
    },
    event::Purpose,
    report::terminal::Detail,
};

/// The arguments of `health`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Health {
    #[command(flatten)]
    pub(in crate::cli) selection: Selection,

    /// Also use the services as clients would: log in, write a marked key that expires, read it back
    #[arg(long)]
    pub(in crate::cli) exercise: bool,

    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,

    #[command(flatten)]
    pub(in crate::cli) way: ConnectionArgs,
}

/// Reads every health check; exercises on request.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(in crate::cli) fn run(given: GivenProject<'_>, arguments: &Health, verbose: u8) -> anyhow::Result<Exit> {
    let order = Order {
        selection: &arguments.selection,
        way: &arguments.way,
        purpose: Purpose::Health { exercise: arguments.exercise },
        wait: Duration::ZERO,
        output: arguments.output.format,
        detail: Detail { diff: false, verbose },
        detailed_exitcode: false,
    };
    running::on_the_inventory(given, &order)
}
