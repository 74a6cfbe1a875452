//! `hostvars`: the variables of other hosts.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::source::Node;

use super::{
    host, mentions,
    project::Project,
    scope::{self, Scope},
};

/// Returns the variables of every host that do not depend on a node.
pub(super) fn hostvars(project: &Project) -> Value {
    let mut all = Map::new();
    // While `hostvars` is being built, nothing may use it: a value that does is left out.
    for name in project.inventory.hosts.keys() {
        let host = host::variables(project, name);
        let scope = Scope::new(project, &host, None, None);
        let mut names: Vec<&String> = host.names().chain(project.extra.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let mut values: HashMap<String, Value> = HashMap::new();
        for variable in names {
            let asks = host.value(variable).is_some_and(|node| reaches_hostvars(&host, node));
            if !asks && let Ok(Some(value)) = scope.variable(variable) {
                values.insert(variable.clone(), value);
            }
        }
        values.insert("inventory_hostname".to_owned(), json!(name));
        values.insert("group_names".to_owned(), json!(host.group_names()));
        all.insert(name.clone(), json!(values));
    }
    Value::Object(all)
}

/// Whether a value uses `hostvars`, directly or through other variables.
fn reaches_hostvars(host: &scope::HostVars, node: &Node) -> bool {
    let (mut waiting, mut seen) = (vec![node], HashSet::new());
    while let Some(node) = waiting.pop() {
        if mentions(node, "hostvars") {
            return true;
        }
        let mentioned = host.names().filter(|name| mentions(node, name) && seen.insert(*name));
        waiting.extend(mentioned.filter_map(|name| host.value(name)));
    }
    false
}
