//! How the hosts of a plan are reached, from their `ansible_*` variables.

use std::{path::Path, time::Duration};

use crate::{
    controller::Controller,
    engine::Reach,
    plan::{ConnectionVars, Plan},
    source::{Diagnostic, Diagnostics},
    transport::{ConnectionMethod, HostKeys, SshArguments, Target},
};

/// What the user says about connections, besides the variables.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOptions {
    /// Whether host keys that are not known yet are accepted and remembered.
    pub accept_new_host_keys: bool,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

/// Returns each host of a plan, and each that is only read, with its variables.
pub fn hosts(plan: &Plan) -> impl Iterator<Item = (&String, &ConnectionVars)> {
    let hosts = plan.hosts.iter().map(|host| (&host.name, host.connection()));
    hosts.chain(plan.lenders.iter().map(|lender| (&lender.name, lender.connection())))
}

/// Returns how each of these hosts is reached, without passwords for sudo.
///
/// # Errors
/// Every host whose variables are wrong.
pub fn of_hosts<'a>(
    hosts: impl Iterator<Item = (&'a String, &'a ConnectionVars)>,
    options: ConnectionOptions,
    controller: &Controller,
) -> Result<Reach, Diagnostics> {
    let mut errors = Diagnostics::default();
    let mut reach = Reach::new();
    for (name, connection) in hosts {
        if let Some(target) = errors.keep(target(name, connection, options, controller)) {
            reach.insert(name.clone(), target);
        }
    }
    errors.into_result(reach)
}

fn target(
    name: &str,
    connection: &ConnectionVars,
    options: ConnectionOptions,
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
        connection: if connection.local { ConnectionMethod::Local } else { ConnectionMethod::Ssh },
        host_keys: if options.accept_new_host_keys { HostKeys::AcceptNew } else { HostKeys::Strict },
        connect_timeout: options.connect_timeout,
        ..Target::new(name, connection.host.clone())
    })
}
