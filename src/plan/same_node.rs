//! Two hosts of a plan that are one node: one run would wait for itself, because it takes the lock of each.

use std::collections::HashMap;

use crate::source::{Diagnostic, Diagnostics, Span};

use super::{HostPlan, project::Project};

/// What a connection leads to: an address and a port, the way there, and the file that may say more about both. `None` is this machine.
type Place<'a> = Option<(String, u16, Vec<(String, &'a str)>, Option<String>)>;

/// Refuses hosts that have the same address and port, or warns of them where the run takes no locks.
pub(super) fn check(project: &Project, plans: &[HostPlan], takes_locks: bool, errors: &mut Diagnostics) {
    let mut seen: HashMap<Place<'_>, &HostPlan> = HashMap::new();
    for plan in plans {
        let Some(first) = seen.get(&place(plan)) else {
            seen.insert(place(plan), plan);
            continue;
        };
        let title = format!("`{}` and `{}` are the same node, `{}`", first.name, plan.name, plan.connection().host);
        let help = "a node has one name in a run: give all its roles to one of them and make the other name a group, or deploy one after the other with `--limit`";
        let diagnostic = if takes_locks { Diagnostic::error(title) } else { Diagnostic::warning(title) };
        let mut diagnostic = diagnostic.help(help);
        diagnostic.span = named(project, plan);
        if let Some(span) = named(project, first) {
            diagnostic = diagnostic.also(span, format!("`{}`", first.name));
        }
        errors.push(diagnostic.label(format!("`{}`", plan.name)));
    }
}

fn place(plan: &HostPlan) -> Place<'_> {
    let connection = plan.connection();
    let file = connection.arguments.configuration().map(|file| file.display().to_string());
    let port = connection.port.unwrap_or(22);
    (!connection.local).then(|| (connection.host.to_ascii_lowercase(), port, connection.arguments.way(), file))
}

/// Where a host's address is written, or its name.
fn named(project: &Project, plan: &HostPlan) -> Option<Span> {
    let address = project.inventory.variable(&plan.name, "ansible_host").map(|node| node.span.clone());
    address.or_else(|| project.inventory.hosts.get(&plan.name).map(|host| host.span.clone()))
}
