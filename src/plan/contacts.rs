//! How the hosts that a pattern selects are reached, whatever their roles.

use crate::{
    inventory::Inventory,
    source::{Diagnostic, Diagnostics},
};

use super::{ConnectionVars, Request, extra, host, load, project::Project};

/// A host and the way to it.
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
    /// What is allowed but looks wrong.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the inventory alone: hosts need no roles, and there need not be a project.
///
/// # Errors
/// Everything that is wrong with the inventory, the variables of the selected hosts' connections and the selection; also an empty one.
pub fn contacts(request: &Request) -> Result<Contacts, Diagnostics> {
    let mut errors = Diagnostics::default();
    let extra = extra::read(&request.extra_vars, &request.vault, &mut errors);
    let inventory = match Inventory::load_with(&request.inventories, &request.project, &request.vault) {
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
    let warnings = inventory.warnings.clone();
    let project = Project::new(request.project.clone(), inventory, extra);
    let names = load::matching(&project.inventory, request.limit.as_deref().map(|limit| ("--limit", limit)), &mut errors);
    let contact = |name: String| {
        let connection = host::connection(&project, &host::variables(&project, &name), &mut errors);
        Contact { name, connection }
    };
    let hosts = names.into_iter().map(contact).collect();
    errors.into_result(Contacts { hosts, warnings })
}
