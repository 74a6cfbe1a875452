//! Loads what the command line selects, and shows what is wrong with it.

use serde_json::json;

use super::{
    arguments::{Output, Selection},
    exit::Exit,
    out,
    project::{self, GivenProject},
    surroundings, vault,
};
use crate::{
    plan::{self, Plan, Request},
    source::{Boundary, Diagnostics},
};

/// Loads and checks the project for the selected hosts.
pub(super) fn load(given: GivenProject<'_>, selection: &Selection) -> Result<Plan, Diagnostics> {
    load_with_request(given, selection).map(|(plan, _)| plan)
}

/// The same, and returns what the command line asks for, too.
pub(super) fn load_with_request(given: GivenProject<'_>, selection: &Selection) -> Result<(Plan, Request), Diagnostics> {
    let request = request(given, selection)?;
    Ok((plan::load(&request)?, request))
}

/// Returns the request of the command line, with the passwords of Ansible Vault.
pub(super) fn request(given: GivenProject<'_>, selection: &Selection) -> Result<Request, Diagnostics> {
    let project = project::find(given.directory).map_err(|error| Diagnostics(vec![error]))?;
    let controller = surroundings::read();
    let boundary = Boundary::new(&project, given.trust);
    Ok(Request {
        inventories: project::inventories(&project, &selection.inventory.sources),
        project,
        roles: selection.role.clone(),
        limit: selection.limit.clone(),
        tags: selection.tags.clone(),
        skip_tags: selection.skip_tags.clone(),
        extra_vars: selection.extra_vars.clone(),
        only_health: false,
        takes_locks: false,
        vault: vault::keys(&selection.inventory.vault, &controller, &boundary)?,
        controller,
        trust: given.trust,
    })
}

/// Prints what is wrong; nothing was contacted.
pub(super) fn wrong(errors: &Diagnostics, output: Output) -> Exit {
    match output {
        Output::Text => out::diagnostics(errors),
        Output::Json => out::json(&format!("{:#}", json!({ "errors": errors.to_json() }))),
    }
    Exit::WRONG_FILES
}
