//! How the hosts of a plan are reached, from their `ansible_*` variables.

use std::{path::Path, time::Duration};

use crate::{
    controller::Controller,
    engine::Reach,
    plan::{ConnectionVars, Plan},
    transport::{ConnectionMethod, HostKeys, Target},
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
pub fn of_hosts<'a>(
    hosts: impl Iterator<Item = (&'a String, &'a ConnectionVars)>,
    options: ConnectionOptions,
    controller: &Controller,
) -> Reach {
    hosts.map(|(name, connection)| (name.clone(), target(name, connection, options, controller))).collect()
}

fn target(name: &str, connection: &ConnectionVars, options: ConnectionOptions, controller: &Controller) -> Target {
    Target {
        port: connection.port,
        user: connection.user.clone(),
        identity: connection.key.as_deref().map(|key| controller.expand(Path::new(key))),
        arguments: connection.arguments.clone(),
        become_root: connection.r#become,
        connection: if connection.local { ConnectionMethod::Local } else { ConnectionMethod::Ssh },
        host_keys: if options.accept_new_host_keys { HostKeys::AcceptNew } else { HostKeys::Strict },
        connect_timeout: options.connect_timeout,
        ..Target::new(name, connection.host.clone())
    }
}
