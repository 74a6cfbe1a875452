//! `inventory`: hosts, groups and raw variables, in the words of `ansible-inventory`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{
    arguments::{Inventory as Arguments, InventoryCommand, Output},
    exit::Exit,
    out, project, validate, vault,
};
use crate::{
    inventory::{ALL, Group, Inventory, InventorySource},
    plan::raw,
    source::{Diagnostic, Diagnostics, did_you_mean},
};

/// Shows what is asked for.
pub(super) fn run(given: Option<&Path>, arguments: &Arguments) -> Exit {
    let output = match &arguments.command {
        InventoryCommand::List { output } => *output,
        InventoryCommand::Graph | InventoryCommand::Host { .. } => Output::Text,
    };
    let shown = load(given, arguments).and_then(|inventory| {
        let shown = match &arguments.command {
            InventoryCommand::List { output: Output::Json } => format!("{:#}", list(&inventory)),
            InventoryCommand::List { output: Output::Text } => table(&inventory),
            InventoryCommand::Graph => inventory.groups.get(ALL).map(|all| tree(&inventory, all, 0)).unwrap_or_default(),
            InventoryCommand::Host { name } => format!("{:#}", host(&inventory, name)?),
        };
        Ok((shown, inventory.warnings))
    });
    match shown {
        Err(errors) => validate::wrong(&errors, output),
        Ok((shown, warnings)) => {
            out::warnings(&warnings);
            out::line(shown.trim_end());
            Exit::DONE
        }
    }
}

fn load(given: Option<&Path>, arguments: &Arguments) -> Result<Inventory, Diagnostics> {
    let project = project::find(given).map_err(|error| Diagnostics(vec![error]))?;
    let keys = vault::keys(&arguments.vault)?;
    Inventory::load_with(&sources(&project, &arguments.inventory), &project, &keys)
}

/// The given inventories, or the project's own.
pub(super) fn sources(project: &Path, given: &[String]) -> Vec<InventorySource> {
    let own = || vec![InventorySource::Path(PathBuf::from(project).join("inventory"))];
    if given.is_empty() { own() } else { given.iter().map(|given| InventorySource::from_argument(given)).collect() }
}

fn variables(inventory: &Inventory, host: &str) -> Map<String, Value> {
    let mut variables: Map<String, Value> = Map::new();
    for (key, node) in inventory.layers(host).iter().flat_map(|layer| &layer.vars) {
        variables.insert(key.name.clone(), raw(node));
    }
    variables.sort_keys();
    variables
}

fn host(inventory: &Inventory, name: &str) -> Result<Value, Diagnostics> {
    if inventory.hosts.contains_key(name) {
        return Ok(variables(inventory, name).into());
    }
    let unknown = Diagnostic::error(format!("no host `{name}` in the inventory"));
    Err(Diagnostics(vec![unknown.suggest(did_you_mean(name, inventory.hosts.keys().map(String::as_str)))]))
}

/// As `ansible-inventory --list`: no empty groups, no hosts without variables, and the hosts of `all` in its children only.
fn list(inventory: &Inventory) -> Value {
    let mut list = Map::new();
    let hosts = inventory.hosts.keys().map(|host| (host.clone(), variables(inventory, host)));
    let with_variables: Map<_, _> = hosts.filter(|(_, own)| !own.is_empty()).map(|(host, own)| (host, own.into())).collect();
    list.insert("_meta".to_owned(), json!({ "hostvars": with_variables }));
    for group in inventory.groups.values() {
        let mut shown = Map::new();
        if !group.children.is_empty() {
            shown.insert("children".to_owned(), json!(group.children));
        }
        if group.name != ALL && !group.hosts.is_empty() {
            shown.insert("hosts".to_owned(), json!(group.hosts));
        }
        if !shown.is_empty() {
            list.insert(group.name.clone(), shown.into());
        }
    }
    list.sort_keys();
    list.into()
}

/// As `ansible-inventory --graph`.
fn tree(inventory: &Inventory, group: &Group, depth: usize) -> String {
    let line = |name: &str, depth: usize| {
        if depth == 0 { format!("{name}\n") } else { format!("{}--{name}\n", "  |".repeat(depth)) }
    };
    let mut text = line(&format!("@{}:", group.name), depth);
    for child in group.children.iter().filter_map(|child| inventory.groups.get(child)) {
        text.push_str(&tree(inventory, child, depth + 1));
    }
    if group.name != ALL {
        text.extend(group.hosts.iter().map(|host| line(host, depth + 1)));
    }
    text
}

/// A line for each host: name, address as written, groups.
fn table(inventory: &Inventory) -> String {
    let address = |host: &str| {
        let address = inventory.variable(host, "ansible_host").and_then(crate::source::Node::scalar_text);
        address.map_or_else(|| host.to_owned(), std::borrow::Cow::into_owned)
    };
    let hosts: Vec<(&str, String)> = inventory.hosts.keys().map(|host| (host.as_str(), address(host))).collect();
    let name_width = hosts.iter().map(|(host, _)| host.chars().count()).max().unwrap_or_default();
    let address_width = hosts.iter().map(|(_, address)| address.chars().count()).max().unwrap_or_default();
    let line = |(host, address): &(&str, String)| {
        format!("{host:<name_width$}  {address:<address_width$}  {}\n", inventory.group_names(host).join(", "))
    };
    hosts.iter().map(line).collect()
}
