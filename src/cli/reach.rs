//! How the inventory says that its hosts are reached.

use std::path::Path;

use super::{arguments::ConnectionArgs, out, sudo};
use crate::{
    controller::Controller,
    engine::Reach,
    plan::{self, Plan, Request},
    source::{Diagnostic, Diagnostics},
    transport::{self, HostKeys, SshArguments, Target},
};

/// How each host of the plan is reached, and each that is only read. Asks for the password for sudo where the command line says so.
pub(super) fn of_inventory(plan: &Plan, way: &ConnectionArgs, request: &Request) -> Result<Reach, Diagnostics> {
    let hosts = plan.hosts.iter().map(|host| (&host.name, host.connection()));
    let lenders = plan.lenders.iter().map(|lender| (&lender.name, lender.connection()));
    of_hosts(hosts.chain(lenders), way, request)
}

/// How each of these hosts is reached.
pub(super) fn of_hosts<'a>(
    hosts: impl Iterator<Item = (&'a String, &'a plan::ConnectionVars)>,
    way: &ConnectionArgs,
    request: &Request,
) -> Result<Reach, Diagnostics> {
    way.note().into_iter().for_each(out::note);
    let mut errors = Diagnostics::default();
    let mut reach = Reach::new();
    let connections: Vec<_> = hosts.collect();
    for (name, connection) in connections.iter().copied() {
        match target(name, connection, way, &request.controller) {
            Ok(target) => {
                reach.insert(name.clone(), target);
            }
            Err(error) => errors.push(error),
        }
    }
    errors.into_result(())?;
    sudo::give(&mut reach, connections.into_iter(), way, request)?;
    Ok(reach)
}

/// The way to one host, from its `ansible_*` variables.
fn target(
    name: &str,
    connection: &plan::ConnectionVars,
    way: &ConnectionArgs,
    controller: &Controller,
) -> Result<Target, Diagnostic> {
    let arguments = SshArguments::parse(connection.common_args.as_deref().unwrap_or_default());
    let arguments =
        arguments.map_err(|error| Diagnostic::error(format!("`{name}`: {error}")).help("see ansible_ssh_common_args"))?;
    Ok(Target {
        port: connection.port,
        user: connection.user.clone(),
        identity: connection.key.as_deref().map(|key| controller.expand(Path::new(key))),
        arguments,
        become_root: connection.r#become,
        connection: if connection.local { transport::ConnectionMethod::Local } else { transport::ConnectionMethod::Ssh },
        host_keys: if way.accept_new_host_keys { HostKeys::AcceptNew } else { HostKeys::Strict },
        connect_timeout: way.connect_timeout,
        ..Target::new(name, connection.host.clone())
    })
}
