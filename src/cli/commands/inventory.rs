//! `inventory`: hosts, groups and raw variables, in the words of `ansible-inventory`.

use clap::{Args, Subcommand};

use crate::{
    cli::{
        arguments::{InventoryArgs, Output, OutputArgs},
        exit::Exit,
        loading, out,
        project::{self, GivenProject},
        surroundings, vault,
    },
    inventory::{
        ALL, Group, Inventory,
        ansible::{AnsibleValue, variables},
    },
    report::{harmless, json_in_order},
    source::{Boundary, Diagnostic, Diagnostics, FilesRead, did_you_mean},
};

/// The arguments of `inventory`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    pub(in crate::cli) inventory: InventoryArgs,

    #[command(subcommand)]
    pub(in crate::cli) command: InventoryCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum InventoryCommand {
    /// Every host with its groups; `--output json` is what `ansible-inventory --list` prints
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Groups and hosts as a tree
    Graph,
    /// The variables of a host, as JSON; nothing is rendered
    Host {
        /// Its name in the inventory
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Shows what is asked for.
pub(in crate::cli) fn run(given: GivenProject<'_>, arguments: &Arguments) -> Exit {
    let output = match &arguments.command {
        InventoryCommand::List { output } => output.format,
        InventoryCommand::Graph | InventoryCommand::Host { .. } => Output::Text,
    };
    let shown = load(given, arguments).and_then(|inventory| {
        let shown = match &arguments.command {
            InventoryCommand::List { output } if output.format == Output::Json => {
                json_in_order(&list(&inventory).to_string()).into_owned()
            }
            InventoryCommand::List { .. } => harmless(&table(&inventory)),
            InventoryCommand::Graph => {
                harmless(&inventory.groups.get(ALL).map(|all| tree(&inventory, all, 0)).unwrap_or_default())
            }
            InventoryCommand::Host { name } => json_in_order(&host(&inventory, name)?.to_string()).into_owned(),
        };
        Ok((shown, inventory.warnings))
    });
    match shown {
        Err(errors) => loading::wrong(&errors, output),
        Ok((shown, warnings)) => {
            out::warnings(&warnings);
            out::line(shown.trim_end());
            Exit::DONE
        }
    }
}

fn load(given: GivenProject<'_>, arguments: &Arguments) -> Result<Inventory, Diagnostics> {
    let project = project::find_for(given.directory, &arguments.inventory.sources).map_err(|error| Diagnostics(vec![error]))?;
    let controller = surroundings::read();
    let files = FilesRead::new(Boundary::new(&project, given.trust));
    let keys = vault::keys(&arguments.inventory.vault, &controller, &files.boundary)?;
    Inventory::load_with(&project::inventories(&project, &arguments.inventory.sources), &project, &keys, &controller, &files)
}

fn host(inventory: &Inventory, name: &str) -> Result<AnsibleValue, Diagnostics> {
    if inventory.hosts.contains_key(name) {
        return Ok(variables(&inventory.layers(name), false));
    }
    let unknown = Diagnostic::error(format!("no host `{name}` in the inventory"));
    Err(Diagnostics(vec![unknown.suggest(did_you_mean(name, inventory.hosts.keys().map(String::as_str)))]))
}

/// As `ansible-inventory --list`: no empty groups, no hosts without variables, and the hosts of `all` in its children only.
fn list(inventory: &Inventory) -> AnsibleValue {
    let names = |names: &[String]| AnsibleValue::List(names.iter().map(|name| AnsibleValue::Text(name.clone())).collect());
    let hosts = inventory.hosts.keys().map(|host| (host.clone(), variables(&inventory.layers(host), true)));
    let with_variables = hosts.filter(|(_, own)| *own != AnsibleValue::Map(Vec::new())).collect();
    let meta = vec![
        ("hostvars".to_owned(), AnsibleValue::Map(with_variables)),
        ("profile".to_owned(), AnsibleValue::Text("inventory_legacy".to_owned())),
    ];
    let mut list = vec![("_meta".to_owned(), AnsibleValue::Map(meta))];
    for group in inventory.groups.values() {
        let mut shown = Vec::new();
        if !group.children.is_empty() {
            shown.push(("children".to_owned(), names(&group.children)));
        }
        if group.name != ALL && !group.hosts.is_empty() {
            shown.push(("hosts".to_owned(), names(&group.hosts)));
        }
        if !shown.is_empty() {
            list.push((group.name.clone(), AnsibleValue::Map(shown)));
        }
    }
    AnsibleValue::Map(list)
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
