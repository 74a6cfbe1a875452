//! `deploy`: makes nodes as their roles declare, or says what that would change.

use std::time::Duration;

use clap::Args;

use super::{
    listing::{self, Listing},
    validate,
};
use crate::{
    app::run::strangers_use,
    cli::{
        arguments::{ConnectionArgs, OutputArgs, Selection, duration},
        exit::Exit,
        loading, out,
        project::{self, GivenProject},
        running::{self, Order},
    },
    event::Purpose,
    inventory::is_strangers,
    report::terminal::Detail,
    source::{Boundary, Diagnostic, Diagnostics, Trust},
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
pub(in crate::cli) fn run(given: GivenProject<'_>, arguments: &Deploy, verbose: u8) -> anyhow::Result<Exit> {
    if arguments.syntax_check {
        return Ok(validate::run(given, &arguments.selection, arguments.output.format));
    }
    if arguments.listing.is_asked_for() {
        return Ok(match loading::load(given, &arguments.selection.reached(&arguments.way)) {
            Err(errors) => loading::wrong(&errors, arguments.output.format),
            Ok(plan) => {
                out::warnings(&plan.warnings);
                listing::print(&plan, &arguments.listing, arguments.output.format);
                Exit::DONE
            }
        });
    }
    let purpose = Purpose::Deploy { apply: !arguments.check };
    if let Err(refused) = may_run(given, arguments, purpose) {
        out::diagnostics(&Diagnostics(vec![refused]));
        return Ok(Exit::USAGE);
    }
    let order = Order {
        selection: &arguments.selection,
        way: &arguments.way,
        purpose,
        wait: arguments.wait,
        output: arguments.output.format,
        detail: Detail { diff: arguments.diff, verbose },
        detailed_exitcode: arguments.detailed_exitcode,
    };
    running::on_the_inventory(given, &order)
}

/// Refuses what must not be done with a stranger's project, before anything of it is read.
fn may_run(given: GivenProject<'_>, arguments: &Deploy, purpose: Purpose) -> Result<(), Diagnostic> {
    if given.trust == Trust::Own {
        return Ok(());
    }
    let directory = project::find(given.directory)?;
    let inventories = project::inventories(&directory, &arguments.selection.inventory.sources);
    strangers_use(purpose, is_strangers(&inventories, &Boundary::new(&directory, given.trust)))
}
