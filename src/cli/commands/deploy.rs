//! `deploy`: makes nodes as their roles declare, or says what that would change.

use std::path::Path;

use super::{listing, validate};
use crate::{
    cli::{
        arguments::Deploy,
        exit::Exit,
        loading, out,
        running::{self, Order},
    },
    event::Purpose,
    report::terminal::Detail,
};

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
