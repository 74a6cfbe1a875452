//! Health checks as they are written.

use super::{
    ansible_words, kinds,
    read::{self, Name},
    task,
};
use crate::{
    health::{EXERCISES, ExerciseKind},
    resource::Kind,
    source::{Diagnostic, Diagnostics, Node, Place, Yaml, did_you_mean},
};

/// A health check of a role.
#[derive(Debug)]
pub struct HealthSource {
    /// Its name.
    pub name: Name,
    /// Its own tags and the role's.
    pub tags: Vec<Name>,
    /// Conditions that must all hold.
    pub when: Vec<Node>,
    /// What is looked at.
    pub check: HealthCheckSource,
}

/// What a health check looks at.
#[derive(Debug)]
pub enum HealthCheckSource {
    /// A resource: healthy when it is as declared.
    Read(&'static Kind, Place, Node),
    /// Something to try: its kind and parameters.
    Exercise(&'static ExerciseKind, Place, Node),
}

const HEALTH_KEYS: &[&str] = &["name", "read", "exercise", "when", "tags"];

pub(super) fn health(node: &Node, role_tags: &[Name], wrong: &mut Diagnostics) -> Option<HealthSource> {
    for (key, _) in read::map(node, "a health check", wrong) {
        if !HEALTH_KEYS.contains(&key.name.as_str()) {
            wrong.push(read::unknown(key, "key of a health check:", HEALTH_KEYS));
        }
    }
    let Some(name) = node.get("name") else {
        wrong.push(Diagnostic::error("a health check needs a `name`").at(node.place.clone()));
        return None;
    };
    let name = read::name(name, "`name`", wrong)?;
    let mut tags = role_tags.to_vec();
    tags.extend(node.get("tags").map(|tags| read::names(tags, "a tag", wrong)).unwrap_or_default());
    let when = match node.get("when") {
        Some(Node { value: Yaml::Seq(items), .. }) => items.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let entry = |name: &str| node.get(name).and_then(Node::as_map);
    let check = match (entry("read"), entry("exercise")) {
        (Some([(key, value)]), None) => {
            let Some(kind) = kinds::check(&key.name) else {
                let diagnostic = Diagnostic::error(format!("unknown resource `{}`", key.name)).at(key.place.clone());
                wrong.push(match ansible_words::module(&key.name) {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic.suggest(did_you_mean(&key.name, kinds::check_names())),
                });
                return None;
            };
            let mut parameters = task::parameters(value, kind, wrong)?;
            task::check_parameters(&mut parameters, kind, wrong);
            HealthCheckSource::Read(kind, key.place.clone(), parameters)
        }
        (None, Some([(key, value)])) => {
            let Some(kind) = EXERCISES.iter().find(|kind| kind.name == key.name) else {
                let diagnostic = Diagnostic::error(format!("unknown exercise `{}`", key.name)).at(key.place.clone());
                wrong.push(diagnostic.suggest(did_you_mean(&key.name, EXERCISES.iter().map(|kind| kind.name))));
                return None;
            };
            for (parameter, _) in read::map(value, "an exercise", wrong) {
                if !kind.parameters.contains(&parameter.name.as_str()) {
                    wrong.push(read::unknown(parameter, &format!("parameter of `{}`:", kind.name), kind.parameters));
                }
            }
            HealthCheckSource::Exercise(kind, key.place.clone(), value.clone())
        }
        (Some(_) | None, Some(_) | None) => {
            let diagnostic = Diagnostic::error("a health check looks at one thing").at(name.place.clone());
            wrong.push(diagnostic.help("`read: {resource: {…}}` or `exercise: {kind: {…}}`"));
            return None;
        }
    };
    Some(HealthSource { name, tags, when, check })
}
