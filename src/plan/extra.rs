//! `-e`: variables from the command line. Their values are data, never templates.

use std::{path::Path, sync::Arc};

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    inventory::Layer,
    role::{MAGIC, reserved},
    source::{
        Diagnostic, Diagnostics, FilesRead, LARGEST_TEXT, Node, SourceFile, Span, Yaml, did_you_mean, is_secret_name,
        read_regular, yaml,
    },
    vault::{self, Keyring},
};

use super::{mentions, mentions_word, outside, ports, project::Project, raw, trusted};

/// The maximum depth of directories; a deeper tree is a cycle of links.
const MAX_DIRECTORIES: usize = 16;

/// A value from `-e` and its span.
#[derive(Debug, Clone)]
pub(super) struct Extra {
    pub(super) value: Value,
    /// The value as written, if part of it is encrypted with Ansible Vault.
    pub(super) vaulted: Option<Node>,
    pub(super) span: Span,
    /// The span of its name on the command line; none in a file, which may contain the variables of several projects.
    named: Option<Span>,
}

/// Reads every `-e`; later ones win.
pub(super) fn read(arguments: &[String], keys: &Keyring, files: &FilesRead, errors: &mut Diagnostics) -> IndexMap<String, Extra> {
    let mut variables = IndexMap::new();
    for argument in arguments {
        if let Some(path) = argument.strip_prefix('@') {
            if let Some(file) = errors.keep(files.given(Path::new(path), path)) {
                if vault::is_encrypted(&file.text) {
                    let root = errors.keep(vault::read(&file, keys));
                    entries(root.as_ref(), true, &mut variables, errors);
                } else {
                    map(&file, true, &mut variables, errors);
                }
            }
        } else if argument.trim_start().starts_with('{') {
            map(&SourceFile::new("-e", argument.trim()), false, &mut variables, errors);
        } else {
            pairs(argument, &mut variables, errors);
        }
    }
    for (name, extra) in &variables {
        if MAGIC.contains(&name.as_str()) {
            errors.push(Diagnostic::error(format!("`{name}` is reserved and cannot be set")).at(extra.span.clone()));
        }
    }
    variables
}

fn map(file: &Arc<SourceFile>, is_file: bool, variables: &mut IndexMap<String, Extra>, errors: &mut Diagnostics) {
    if let Some(span) = reserved(file) {
        errors.push(Diagnostic::error("a character that is reserved for secrets").at(span));
        return;
    }
    let root = errors.keep(yaml::parse(file));
    entries(root.as_ref(), is_file, variables, errors);
}

fn entries(root: Option<&Node>, is_file: bool, variables: &mut IndexMap<String, Extra>, errors: &mut Diagnostics) {
    let Some(root) = root else { return };
    match &root.value {
        Yaml::Map(entries) => {
            for (key, node) in entries {
                let vaulted = node.holds_vaulted().then(|| verbatim(node.clone()));
                let named = (!is_file).then(|| key.span.clone());
                let extra = Extra { value: raw(node), vaulted, span: node.span.clone(), named };
                variables.insert(key.name.clone(), extra);
            }
        }
        Yaml::Null => {}
        Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) | Yaml::Seq(_) => {
            errors.push(
                Diagnostic::error("variables must be a map")
                    .at(root.span.clone())
                    .label(format!("this is {}", root.value.kind())),
            );
        }
    }
}

/// Marks a value as data: nothing in it is a template.
fn verbatim(mut node: Node) -> Node {
    node.verbatim = true;
    node.value = match node.value {
        Yaml::Seq(items) => Yaml::Seq(items.into_iter().map(verbatim).collect()),
        Yaml::Map(entries) => Yaml::Map(entries.into_iter().map(|(key, value)| (key, verbatim(value))).collect()),
        scalar @ (Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_)) => scalar,
    };
    node
}

/// `name=value` for `name:value`; a value that may be a password is left out.
fn with_equals(text: &str) -> Option<String> {
    let (name, value) = text.split_once(':')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let value = value.split_whitespace().next().filter(|_| !is_secret_name(name)).unwrap_or("VALUE");
    is_name.then(|| format!("{name}={value}"))
}

/// `name=value other='two words'`.
fn pairs(argument: &str, variables: &mut IndexMap<String, Extra>, errors: &mut Diagnostics) {
    let file = SourceFile::new("-e", argument);
    if let Some(span) = reserved(&file) {
        errors.push(Diagnostic::error("a character that is reserved for secrets").at(span));
        return;
    }
    let mut rest = 0;
    while let Some(start) = argument[rest..].find(|letter: char| !letter.is_whitespace()).map(|at| rest + at) {
        let Some(equals) = argument[start..].find('=').map(|at| start + at) else {
            let span = Span::new(&file, start..argument.len());
            let error = Diagnostic::error("`-e` takes `name=value`, `@file.yml` or `{\"name\": …}`").at(span);
            errors.push(match with_equals(&argument[start..]) {
                Some(meant) => error.help(format!("write `-e {meant}`")),
                None => error,
            });
            return;
        };
        let (value, end) = word(argument, equals + 1);
        let (span, named) = (Span::new(&file, equals + 1..end), Some(Span::new(&file, start..equals)));
        let extra = Extra { value: Value::String(value), vaulted: None, span, named };
        variables.insert(argument[start..equals].trim().to_owned(), extra);
        rest = end;
    }
}

/// Returns the word that starts at `start`, without its quotes, and its end.
fn word(text: &str, start: usize) -> (String, usize) {
    let (mut word, mut quote) = (String::new(), None);
    for (at, letter) in text[start..].char_indices() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), close) if open == close => quote = None,
            (None, space) if space.is_whitespace() => return (word, start + at),
            (_, other) => word.push(other),
        }
    }
    (word, text.len())
}

/// Variables with a built-in meaning, in every role.
const BUILT_IN: &[&str] = &["autobot_roles", "ssh_persist", outside::VARIABLE, ports::ALLOWED, trusted::VARIABLE];

/// Reports unknown names: such a typo would otherwise silently change nothing.
///
/// A name that a role, a template or the inventory mentions is known, because it may be used only if it is set. So are Ansible's own names.
pub(super) fn unknown(project: &Project, errors: &mut Diagnostics) {
    let is_ansible = |name: &str| name.starts_with("ansible_") || BUILT_IN.contains(&name);
    let named = project.extra.iter().filter_map(|(name, extra)| Some((name, extra.named.as_ref()?)));
    let unknown: Vec<(&String, &Span)> = named.filter(|(name, _)| !is_ansible(name) && !is_set(project, name)).collect();
    if unknown.is_empty() {
        return;
    }
    let mut texts = Vec::new();
    for folder in ["roles", "templates"] {
        texts_in(&project.path.join(folder), 0, &project.files, &mut texts);
    }
    for (name, span) in unknown {
        if texts.iter().any(|text| mentions_word(text, name)) || is_mentioned(project, name) {
            continue;
        }
        let mut known: Vec<&str> = project.roles.values().flat_map(|role| role.defaults.keys().map(String::as_str)).collect();
        known.extend(layers(project).flat_map(|layer| layer.vars.iter().map(|(key, _)| key.name.as_str())));
        known.sort_unstable();
        let diagnostic = Diagnostic::error(format!("unknown variable `{name}`")).at(span.clone());
        errors.push(match did_you_mean(name, known) {
            Some(near) => diagnostic.suggest(Some(near)),
            None => diagnostic.help("no role, template or inventory mentions it: declare it under `defaults:` of a role"),
        });
    }
}

fn layers(project: &Project) -> impl Iterator<Item = &Layer> {
    project.inventory.hosts.keys().flat_map(|host| project.inventory.layers(host))
}

fn is_set(project: &Project, name: &str) -> bool {
    let declared = project.roles.values().any(|role| role.defaults.contains_key(name));
    declared || layers(project).flat_map(|layer| &layer.vars).any(|(key, _)| key.name == name)
}

/// Whether a value of the inventory mentions it.
fn is_mentioned(project: &Project, name: &str) -> bool {
    layers(project).flat_map(|layer| &layer.vars).any(|(_, node)| mentions(node, name))
}

/// Collects the texts of a directory's files. Files that cannot be read are skipped.
fn texts_in(directory: &Path, level: usize, files: &FilesRead, texts: &mut Vec<String>) {
    let paths = files.names_in(directory).into_iter().map(|name| directory.join(name));
    for path in paths.filter(|path| files.boundary.check(path).is_ok()) {
        if path.is_dir() && level < MAX_DIRECTORIES {
            texts_in(&path, level + 1, files, texts);
        } else if let Some(text) = read_regular(&path, LARGEST_TEXT).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
            texts.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_variables_may_be_quoted_and_later_ones_win() {
        let mut errors = Diagnostics::default();
        let arguments = ["a=1 b='two words' c=", "a=x=y", "{\"d\": [1], \"e\": \"{{ raw }}\"}"].map(str::to_owned);
        let variables = read(&arguments, &Keyring::default(), &FilesRead::default(), &mut errors);
        let shown: Vec<String> = variables.iter().map(|(name, extra)| format!("{name}={}", extra.value)).collect();
        assert_eq!(shown.join(" "), r#"a="x=y" b="two words" c="" d=[1] e="{{ raw }}""#);
        assert!(errors.is_empty());
    }

    #[test]
    fn malformed_extra_variables_are_refused() {
        let mut errors = Diagnostics::default();
        read(
            &["a=1 b".to_owned(), "{a".to_owned(), "groups=x".to_owned(), "[1]".to_owned()],
            &Keyring::default(),
            &FilesRead::default(),
            &mut errors,
        );
        assert_eq!(errors.0.len(), 4, "{errors}");
    }
}
