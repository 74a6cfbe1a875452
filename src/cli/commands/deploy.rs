//! `deploy`: makes nodes as their roles declare, or says what that would change.

use std::{path::Path, time::Duration};

use clap::Args;

use super::{
    listing::{self, Listing},
    validate,
};
use crate::{
    cli::{
        arguments::{ConnectionArgs, OutputArgs, Selection, duration},
        exit::Exit,
        loading, out,
        running::{self, Order},
    },
    event::Purpose,
    report::terminal::Detail,
};

/// The arguments of `deploy`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a separate flag")]
pub(in crate::cli) struct Deploy {
    #[command(flatten)]
    pub(in crate::cli) selection: Selection,

    #[command(flatten)]
    pub(in crate::cli) listing: Listing,

    /// Change nothing, say what a deploy would change
    #[arg(short = 'C', long)]
    pub(in crate::cli) check: bool,

    /// Show what differs
    #[arg(short = 'D', long)]
    pub(in crate::cli) diff: bool,

    /// End with exit code 2 when something changed, or would
    #[arg(long)]
    pub(in crate::cli) detailed_exitcode: bool,

    /// The name of `validate` in Ansible
    #[arg(long, hide = true)]
    pub(in crate::cli) syntax_check: bool,

    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,

    /// How long to wait for a node that another run holds, such as `5m`
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub(in crate::cli) wait: Duration,

    #[command(flatten)]
    pub(in crate::cli) way: ConnectionArgs,
}

/// Deploys, checks, or lists the selected hosts, tasks, tags or roles.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(in crate::cli) fn run(project_arg: Option<&Path>, arguments: &Deploy, verbose: u8) -> anyhow::Result<Exit> {
    if arguments.syntax_check {
        return Ok(validate::run(project_arg, &arguments.selection, arguments.output.format));
    }
    if arguments.listing.is_asked_for() {
        return Ok(match loading::load(project_arg, &arguments.selection.reached(&arguments.way)) {
            Err(errors) => loading::wrong(&errors, arguments.output.format),
            Ok(plan) => {
                out::warnings(&plan.warnings);
                out::line(listing::format(&plan, &arguments.listing, arguments.output.format).trim_end());
                Exit::DONE
            }
        });
    }
    let order = Order {
        selection: &arguments.selection,
        way: &arguments.way,
        purpose: Purpose::Deploy { apply: !arguments.check },
        wait: arguments.wait,
        output: arguments.output.format,
        detail: Detail { diff: arguments.diff, verbose },
        detailed_exitcode: arguments.detailed_exitcode,
    };
    running::on_the_inventory(project_arg, &order)
}
