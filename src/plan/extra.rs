//! `-e`: variables from the command line. They are data, never templates.

use std::{path::Path, sync::Arc};

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    role::{MAGIC, reserved},
    source::{self, Diagnostic, Diagnostics, Node, Place, SourceFile, Yaml, did_you_mean, yaml},
    vault::{self, Keyring},
};

use super::{outside, raw};

/// A value from `-e` and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Extra {
    pub(super) value: Value,
    /// As it is written, when Ansible Vault encrypted something in it.
    pub(super) vaulted: Option<Node>,
    pub(super) place: Place,
}

/// Reads every `-e`; later ones win.
pub(super) fn read(arguments: &[String], keys: &Keyring, wrong: &mut Diagnostics) -> IndexMap<String, Extra> {
    let mut variables = IndexMap::new();
    for argument in arguments {
        if let Some(path) = argument.strip_prefix('@') {
            if let Some(file) = wrong.keep(source::read(Path::new(path), path)) {
                if vault::is_encrypted(&file.text) {
                    let root = wrong.keep(vault::read(&file, keys));
                    entries(root.as_ref(), &mut variables, wrong);
                } else {
                    map(&file, &mut variables, wrong);
                }
            }
        } else if argument.trim_start().starts_with('{') {
            map(&SourceFile::new("-e", argument.trim()), &mut variables, wrong);
        } else {
            pairs(argument, &mut variables, wrong);
        }
    }
    for (name, extra) in &variables {
        if MAGIC.contains(&name.as_str()) {
            wrong.push(Diagnostic::error(format!("`{name}` is given by us and cannot be set")).at(extra.place.clone()));
        }
    }
    variables
}

fn map(file: &Arc<SourceFile>, variables: &mut IndexMap<String, Extra>, wrong: &mut Diagnostics) {
    if let Some(place) = reserved(file) {
        wrong.push(Diagnostic::error("a character that is reserved for secrets").at(place));
        return;
    }
    let root = wrong.keep(yaml::parse(file));
    entries(root.as_ref(), variables, wrong);
}

fn entries(root: Option<&Node>, variables: &mut IndexMap<String, Extra>, wrong: &mut Diagnostics) {
    let Some(root) = root else { return };
    match &root.value {
        Yaml::Map(entries) => {
            for (key, node) in entries {
                let vaulted = node.holds_vaulted().then(|| verbatim(node.clone()));
                variables.insert(key.name.clone(), Extra { value: raw(node), vaulted, place: node.place.clone() });
            }
        }
        Yaml::Null => {}
        Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) | Yaml::Seq(_) => {
            wrong.push(
                Diagnostic::error("variables must be a map")
                    .at(root.place.clone())
                    .label(format!("this is {}", root.value.kind())),
            );
        }
    }
}

/// As data: nothing in it is a template.
fn verbatim(mut node: Node) -> Node {
    node.verbatim = true;
    node.value = match node.value {
        Yaml::Seq(items) => Yaml::Seq(items.into_iter().map(verbatim).collect()),
        Yaml::Map(entries) => Yaml::Map(entries.into_iter().map(|(key, value)| (key, verbatim(value))).collect()),
        scalar @ (Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_)) => scalar,
    };
    node
}

/// `name=value other='two words'`.
fn pairs(argument: &str, variables: &mut IndexMap<String, Extra>, wrong: &mut Diagnostics) {
    let file = SourceFile::new("-e", argument);
    if let Some(place) = reserved(&file) {
        wrong.push(Diagnostic::error("a character that is reserved for secrets").at(place));
        return;
    }
    let mut rest = 0;
    while let Some(start) = argument[rest..].find(|letter: char| !letter.is_whitespace()).map(|at| rest + at) {
        let Some(equals) = argument[start..].find('=').map(|at| start + at) else {
            let place = Place::new(&file, start..argument.len());
            wrong.push(Diagnostic::error("`-e` takes `name=value`, `@file.yml` or `{\"name\": …}`").at(place));
            return;
        };
        let (value, end) = word(argument, equals + 1);
        let place = Place::new(&file, equals + 1..end);
        variables.insert(argument[start..equals].trim().to_owned(), Extra { value: Value::String(value), vaulted: None, place });
        rest = end;
    }
}

/// The word that starts here, without its quotes, and where it ends.
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

/// Warns of names that nothing declares: most often a slip.
pub(super) fn unknown<'a>(extra: &IndexMap<String, Extra>, known: &(impl Fn() -> Vec<&'a str> + ?Sized)) -> Vec<Diagnostic> {
    let known = known();
    let mut warnings = Vec::new();
    for (name, extra) in extra {
        if !known.contains(&name.as_str()) && !name.starts_with("ansible_") && name != outside::VARIABLE {
            let warning = Diagnostic::warning(format!("nothing declares the variable `{name}`")).at(extra.place.clone());
            warnings.push(warning.suggest(did_you_mean(name, known.iter().copied())));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_may_be_quoted_and_later_ones_win() {
        let mut wrong = Diagnostics::default();
        let arguments = ["a=1 b='two words' c=", "a=x=y", "{\"d\": [1], \"e\": \"{{ raw }}\"}"].map(str::to_owned);
        let variables = read(&arguments, &Keyring::default(), &mut wrong);
        let shown: Vec<String> = variables.iter().map(|(name, extra)| format!("{name}={}", extra.value)).collect();
        assert_eq!(shown.join(" "), r#"a="x=y" b="two words" c="" d=[1] e="{{ raw }}""#);
        assert!(wrong.is_empty());
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        let mut wrong = Diagnostics::default();
        read(&["a=1 b".to_owned(), "{a".to_owned(), "groups=x".to_owned(), "[1]".to_owned()], &Keyring::default(), &mut wrong);
        assert_eq!(wrong.0.len(), 4, "{wrong}");
    }
}
