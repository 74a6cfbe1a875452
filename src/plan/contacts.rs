//! How to reach the hosts that a pattern selects, regardless of their roles.

use crate::source::{Diagnostic, Diagnostics};

use super::{ConnectionVars, Request, ansible_cfg, extra, host, load, project::Project};

/// A host and how to reach it.
#[derive(Debug)]
pub struct Contact {
    /// Its name in the inventory.
    pub name: String,
    /// How to reach it.
    pub connection: ConnectionVars,
}

/// The hosts that `--limit` selects, in the order of the inventory.
#[derive(Debug)]
pub struct Contacts {
    /// At least one.
    pub hosts: Vec<Contact>,
    /// Warnings: what is allowed but looks wrong.
    pub warnings: Vec<Diagnostic>,
}

/// Reads only the inventory: hosts need no roles, and no project need exist.
///
/// # Errors
/// All errors in the inventory, in the connection variables of the selected hosts and in the selection, which must not be empty.
pub fn contacts(request: &Request) -> Result<Contacts, Diagnostics> {
    let mut errors = Diagnostics::default();
    let files = request.files();
    let extra = extra::read(&request.extra_vars, &request.vault, &files, &mut errors);
    let inventory = match request.inventory(&files) {
        Ok(inventory) => inventory,
        Err(more) => {
            errors.extend(more);
            return Err(errors.sorted());
        }
    };
    if inventory.hosts.is_empty() {
        errors.push(Diagnostic::error("the inventory has no hosts").help("name another one with `-i`"));
        return Err(errors.sorted());
    }
    let mut warnings = inventory.warnings.clone();
    warnings.extend(ansible_cfg::warning(request, &files));
    let project = Project::new(request, inventory, extra);
    let names = load::matching(&project.inventory, request.limit.as_deref().map(|limit| ("--limit", limit)), &mut errors);
    let contact = |name: String| {
        let connection = host::connection(&project, &host::variables(&project, &name), &mut errors);
        Contact { name, connection }
    };
    let hosts = names.into_iter().map(contact).collect();
    let (errors, more) = errors.by_severity();
    warnings.extend(more);
    errors.into_result(Contacts { hosts, warnings: Diagnostics(warnings).sorted().0 })
}
