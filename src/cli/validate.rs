//! `validate`: checks everything that can be checked without a connection to a node.

use std::path::Path;

use serde_json::json;

use super::{
    arguments::{Output, Selection},
    exit::Exit,
    inventory, out, project, surroundings, vault,
};
use crate::{
    plan::{self, Plan, Request},
    source::Diagnostics,
};

/// Loads everything for every host.
pub(super) fn run(project_arg: Option<&Path>, selection: &Selection, output: Output) -> Exit {
    match load(project_arg, selection) {
        Err(errors) => wrong(&errors, output),
        Ok(plan) => {
            out::warnings(&plan.warnings);
            let tasks: usize = plan.hosts.iter().flat_map(|host| &host.roles).map(|role| role.steps.len()).sum();
            match output {
                Output::Json => out::line(&format!("{:#}", json!({ "errors": [] }))),
                Output::Text => {
                    out::line(&format!("{}, {} checked: no errors", count(plan.hosts.len(), "host"), count(tasks, "task")));
                }
            }
            Exit::DONE
        }
    }
}

/// Loads and checks the project for the selected hosts.
pub(super) fn load(project_arg: Option<&Path>, selection: &Selection) -> Result<Plan, Diagnostics> {
    plan::load(&request(project_arg, selection)?)
}

/// The same, and returns what the command line asks for, too.
pub(super) fn load_with_request(project_arg: Option<&Path>, selection: &Selection) -> Result<(Plan, Request), Diagnostics> {
    let request = request(project_arg, selection)?;
    Ok((plan::load(&request)?, request))
}

/// Returns the request of the command line, with the passwords of Ansible Vault.
pub(super) fn request(project_arg: Option<&Path>, selection: &Selection) -> Result<Request, Diagnostics> {
    let project = project::find(project_arg).map_err(|error| Diagnostics(vec![error]))?;
    let controller = surroundings::read();
    Ok(Request {
        inventories: inventory::sources(&project, &selection.inventory.sources),
        project,
        roles: selection.role.clone(),
        limit: selection.limit.clone(),
        tags: selection.tags.clone(),
        skip_tags: selection.skip_tags.clone(),
        extra_vars: selection.extra_vars.clone(),
        only_health: false,
        vault: vault::keys(&selection.inventory.vault, &controller)?,
        controller,
    })
}

/// Prints what is wrong; nothing was contacted.
pub(super) fn wrong(errors: &Diagnostics, output: Output) -> Exit {
    match output {
        Output::Text => out::diagnostics(errors),
        Output::Json => out::line(&format!("{:#}", json!({ "errors": errors.to_json() }))),
    }
    Exit::WRONG_FILES
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
