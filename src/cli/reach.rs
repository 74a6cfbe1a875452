//! How the hosts of a command are reached: their variables, the command line, and the passwords for sudo.

use super::{arguments::ConnectionArgs, out, sudo};
use crate::{
    app::reach::{self, ConnectionOptions},
    engine::Reach,
    plan::{ConnectionVars, Plan, Request},
    source::Diagnostics,
};

/// How each host of the plan is reached, and each that is only read. Asks for the password for sudo where the command line says so.
pub(super) fn of_inventory(plan: &Plan, way: &ConnectionArgs, request: &Request) -> Result<Reach, Diagnostics> {
    of_hosts(reach::hosts(plan), way, request)
}

/// How each of these hosts is reached.
pub(super) fn of_hosts<'a>(
    hosts: impl Iterator<Item = (&'a String, &'a ConnectionVars)>,
    way: &ConnectionArgs,
    request: &Request,
) -> Result<Reach, Diagnostics> {
    way.note().into_iter().for_each(out::note);
    let connections: Vec<_> = hosts.collect();
    reach::check_keys(connections.iter().map(|(_, connection)| *connection), &request.controller)?;
    // The next job in CI may be another person's.
    let is_ci = request.controller.variable("CI").is_some_and(|value| !value.is_empty() && value != "false");
    let options = ConnectionOptions {
        accept_new_host_keys: way.accept_new_host_keys,
        connect_timeout: way.connect_timeout,
        persist: !way.no_persist && !is_ci,
    };
    let mut reach = reach::of_hosts(connections.iter().copied(), options, &request.controller);
    sudo::give(&mut reach, connections.into_iter(), way, request)?;
    Ok(reach)
}
