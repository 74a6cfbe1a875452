//! Inventories in YAML format: groups with `hosts`, `children` and `vars`.

use std::sync::Arc;

use super::draft::Draft;
use super::{Dialect, ansible};
use crate::source::{Diagnostic, Key, Node, SourceFile, Yaml, did_you_mean, yaml};

pub(super) const GROUP_KEYS: [&str; 3] = ["hosts", "children", "vars"];

pub(super) fn load(draft: &mut Draft, file: &Arc<SourceFile>) {
    draft.dialect = Dialect::of(&file.text);
    let Some(root) = draft.errors.keep(yaml::parse(file)) else { return };
    match &root.value {
        Yaml::Null => {}
        Yaml::Map(groups) => {
            for (key, node) in groups {
                let error_at_key =
                    |title: String, help: &str| Diagnostic::error(title).at(key.span.clone()).label("here").help(help);
                if GROUP_KEYS.contains(&key.name.as_str()) {
                    let title = format!("`{}` is outside of a group", key.name);
                    draft.errors.push(error_at_key(title, "move it into a group, for example into `all:`"));
                } else if key.name == "plugin" {
                    let help = "use a program that prints Ansible's JSON as the inventory";
                    draft.errors.push(error_at_key("Ansible's inventory plugins are not supported".to_owned(), help));
                    return;
                } else if matches!(node.value, Yaml::Null | Yaml::Map(_)) {
                    group(draft, key, node);
                } else {
                    let title = format!("`{}` is not read: a group must be a map, not {}", key.name, node.value.kind());
                    draft.inventory.warnings.push(Diagnostic::warning(title).at(node.span.clone()).label("here"));
                }
            }
        }
        Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) | Yaml::Seq(_) => {
            let error = Diagnostic::error(format!("an inventory must be a map of groups, not {}", root.value.kind()));
            draft.errors.push(error.at(root.span.clone()).label("here").help("begin with `all:`, and put `hosts:` below it"));
        }
    }
}

fn group(draft: &mut Draft, name: &Key, node: &Node) {
    must_be_text(draft, name, "group");
    draft.group(&name.name, Some(&name.span));
    let Some(parts) = entries(draft, node, &format!("group `{}`", name.name), "`hosts`, `children` and `vars`") else { return };
    for (key, value) in parts {
        match key.name.as_str() {
            "vars" => {
                let vars = names(draft, value, "`vars`", "names and values");
                draft.group_vars(&name.name, &key.span.file.shown, vars);
            }
            "children" => {
                for (child, value) in names(draft, value, "`children`", "names") {
                    group(draft, &child, &value);
                    draft.child(&name.name, &child.name, &child.span);
                }
            }
            "hosts" => {
                for (host, value) in names(draft, value, "`hosts`", "names") {
                    must_be_text(draft, &host, "host");
                    if let Some(vars) = entries(draft, &value, &format!("host `{}`", host.name), "names and values") {
                        draft.hosts(&host.name, &host.span, &name.name, vars);
                    }
                }
            }
            _ => unknown_key(draft, key),
        }
    }
}

/// Refuses a name that Ansible reads as a number or a boolean, because Ansible stops there.
fn must_be_text(draft: &mut Draft, name: &Key, what: &str) {
    if !ansible::is_text(name) {
        let error = Diagnostic::error(format!("YAML does not read the name of the {what} `{}` as text", name.name));
        draft.errors.push(error.at(name.span.clone()).label("here").help(format!("quote it: `\"{}\":`", name.name)));
    }
}

/// Reports an unknown key in a group: a misspelled key is an error; any other is only a warning, as in Ansible.
pub(super) fn unknown_key(draft: &mut Draft, key: &Key) {
    let title = format!("unknown key `{}` in a group", key.name);
    if let Some(known) = did_you_mean(&key.name, GROUP_KEYS) {
        let error = Diagnostic::error(title).at(key.span.clone()).label("not known here");
        draft.errors.push(error.help(format!("did you mean `{known}`?")));
    } else {
        let help = "a group has `hosts`, `children` and `vars`; put groups inside a group below `children`";
        let warning = Diagnostic::warning(title).at(key.span.clone()).label("not read");
        draft.inventory.warnings.push(warning.help(help));
    }
}

/// Returns the entries of a map, or none for null.
pub(super) fn entries<'n>(draft: &mut Draft, node: &'n Node, what: &str, entry_kinds: &str) -> Option<&'n [(Key, Node)]> {
    match &node.value {
        Yaml::Null => Some(&[]),
        Yaml::Map(entries) => Some(entries),
        Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) | Yaml::Seq(_) => {
            let error = Diagnostic::error(format!("{what} must be a map of {entry_kinds}, not {}", node.value.kind()));
            draft.errors.push(error.at(node.span.clone()).label("here"));
            None
        }
    }
}

/// Returns the entries of `hosts`, `children` or `vars`: a map, or a single name as Ansible allows.
fn names(draft: &mut Draft, node: &Node, what: &str, entry_kinds: &str) -> Vec<(Key, Node)> {
    if let Yaml::Str(name) = &node.value {
        let nothing = Node { value: Yaml::Null, ..node.clone() };
        return vec![(Key { name: name.clone(), span: node.span.clone() }, nothing)];
    }
    if let Yaml::Seq(_) = node.value {
        let error =
            Diagnostic::error(format!("{what} must be a map of {entry_kinds}, not a list")).at(node.span.clone()).label("a list");
        draft.errors.push(error.help("write each name as a key: `name:` instead of `- name`"));
        return Vec::new();
    }
    entries(draft, node, what, entry_kinds).unwrap_or_default().to_vec()
}
