//! `deploy`: makes nodes as their roles declare, or says what that would change.

use std::path::Path;

use super::{
    arguments::Deploy,
    exit::Exit,
    running::{self, Order},
};
use crate::{event::Mode, report::terminal::Detail};

/// Deploys, or checks.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(super) fn run(given: Option<&Path>, arguments: &Deploy, verbose: u8) -> anyhow::Result<Exit> {
    let order = Order {
        selection: &arguments.selection,
        way: &arguments.way,
        mode: if arguments.check { Mode::Check } else { Mode::Apply },
        wait: arguments.wait,
        output: arguments.output,
        detail: Detail { diff: arguments.diff, verbose },
        detailed_exitcode: arguments.detailed_exitcode,
    };
    running::on_the_inventory(given, &order)
}
