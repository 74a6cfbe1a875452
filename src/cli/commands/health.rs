//! `health`: whether what the roles declare works, without changing it.

use std::{path::Path, time::Duration};

use crate::{
    cli::{
        arguments::Health,
        exit::Exit,
        running::{self, Order},
    },
    event::Purpose,
    report::terminal::Detail,
};

/// Reads every health check; exercises on request.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(in crate::cli) fn run(project_arg: Option<&Path>, arguments: &Health, verbose: u8) -> anyhow::Result<Exit> {
    let order = Order {
        selection: &arguments.selection,
        way: &arguments.way,
        purpose: Purpose::Health { exercise: arguments.exercise },
        wait: Duration::ZERO,
        output: arguments.output.format,
        detail: Detail { diff: false, verbose },
        detailed_exitcode: false,
    };
    running::on_the_inventory(project_arg, &order)
}
