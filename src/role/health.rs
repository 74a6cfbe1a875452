//! The source of health checks.

use super::{
    ansible_words, block, kinds,
    read::{self, Name},
    task,
};
use crate::{
    health::{EXERCISES, ExerciseKind, HealthCheck},
    resource::Kind,
    source::{Diagnostic, Diagnostics, Node, Span, Yaml, did_you_mean},
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
    /// What it examines.
    pub check: HealthCheckSource,
}

/// What a health check examines.
#[derive(Debug)]
pub enum HealthCheckSource {
    /// A resource: healthy when it is as declared.
    Resource(&'static Kind, Span, Node),
    /// A check that only reads.
    Check(&'static Kind<dyn HealthCheck>, Span, Node),
    /// An exercise: its kind and parameters.
    Exercise(&'static ExerciseKind, Span, Node),
}

impl HealthCheckSource {
    /// The name of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Resource(kind, ..) => kind.name,
            Self::Check(kind, ..) => kind.name,
            Self::Exercise(kind, ..) => kind.name,
        }
    }
}

const HEALTH_KEYS: &[&str] = super::keywords::HEALTH_NAMES;

/// The keys of a block of health checks.
const BLOCK_KEYS: &[&str] = &["name", "block", "when", "tags"];

/// What a check inherits from its role and from the blocks around it.
#[derive(Clone)]
struct Inherited {
    tags: Vec<Name>,
    when: Vec<Node>,
}

impl Inherited {
    /// Adds what a check or a block sets itself.
    fn with(mut self, node: &Node, errors: &mut Diagnostics) -> Self {
        self.tags.extend(node.get("tags").map(|tags| read::names(tags, "a tag", errors)).unwrap_or_default());
        match node.get("when") {
            Some(Node { value: Yaml::Seq(items), .. }) => self.when.extend(items.iter().cloned()),
            Some(one) => self.when.push(one.clone()),
            None => {}
        }
        self
    }
}

/// Reads health checks, including those in nested blocks.
pub(super) fn checks(nodes: &[Node], role_tags: &[Name], errors: &mut Diagnostics) -> Vec<HealthSource> {
    within(nodes, &Inherited { tags: role_tags.to_vec(), when: Vec::new() }, errors)
}

fn within(nodes: &[Node], inherited: &Inherited, errors: &mut Diagnostics) -> Vec<HealthSource> {
    let mut found = Vec::new();
    for node in nodes {
        let Some(inner) = node.get("block") else {
            found.extend(health(node, inherited, errors));
            continue;
        };
        for (key, _) in node.as_map().unwrap_or_default() {
            if !BLOCK_KEYS.contains(&key.name.as_str()) {
                errors.push(read::unknown(key, "key of a block of health checks:", BLOCK_KEYS));
            }
        }
        let inside = block::content(inner, "health check", errors);
        found.extend(within(inside, &inherited.clone().with(node, errors), errors));
    }
    found
}

fn health(node: &Node, inherited: &Inherited, errors: &mut Diagnostics) -> Option<HealthSource> {
    for (key, _) in read::map(node, "a health check", errors) {
        if !HEALTH_KEYS.contains(&key.name.as_str()) {
            errors.push(read::unknown(key, "key of a health check:", HEALTH_KEYS));
        }
    }
    let Some(name) = node.get("name") else {
        errors.push(Diagnostic::error("a health check needs a `name`").at(node.span.clone()));
        return None;
    };
    let name = read::name(name, "`name`", errors)?;
    let Inherited { tags, when } = inherited.clone().with(node, errors);
    let entry = |name: &str| node.get(name).and_then(Node::as_map);
    let check = match (entry("read"), entry("exercise")) {
        (Some([(key, value)]), None) => {
            if let Some(kind) = kinds::check(&key.name) {
                let parameters = declared_parameters(value, kind, kind.name, errors)?;
                return Some(HealthSource {
                    name,
                    tags,
                    when,
                    check: HealthCheckSource::Check(kind, key.span.clone(), parameters),
                });
            }
            let Some(kind) = kinds::resolve(&key.name) else {
                let diagnostic = Diagnostic::error(format!("unknown resource `{}`", key.name)).at(key.span.clone());
                errors.push(match ansible_words::module(&key.name) {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic.suggest(did_you_mean(&key.name, kinds::check_names())),
                });
                return None;
            };
            let written = kinds::written(kind, &key.name);
            HealthCheckSource::Resource(kind, key.span.clone(), declared_parameters(value, kind, written, errors)?)
        }
        (None, Some([(key, value)])) => {
            let Some(kind) = EXERCISES.iter().find(|kind| kind.name == key.name) else {
                let diagnostic = Diagnostic::error(format!("unknown exercise `{}`", key.name)).at(key.span.clone());
                errors.push(diagnostic.suggest(did_you_mean(&key.name, EXERCISES.iter().map(|kind| kind.name))));
                return None;
            };
            for (parameter, _) in read::map(value, "an exercise", errors) {
                let known = kind.parameters();
                if !known.contains(&parameter.name.as_str()) {
                    errors.push(read::unknown(parameter, &format!("parameter of `{}`:", kind.name), &known));
                }
            }
            HealthCheckSource::Exercise(kind, key.span.clone(), value.clone())
        }
        (Some(_) | None, Some(_) | None) => {
            let diagnostic = Diagnostic::error("a health check needs exactly one of `read` and `exercise`").at(name.span.clone());
            errors.push(diagnostic.help("`read: {resource: {…}}` or `exercise: {kind: {…}}`"));
            return None;
        }
    };
    Some(HealthSource { name, tags, when, check })
}

fn declared_parameters<T: ?Sized>(value: &Node, kind: &'static Kind<T>, written: &str, errors: &mut Diagnostics) -> Option<Node> {
    let mut parameters = task::parameters(value, kind, errors)?;
    task::check_parameters(&mut parameters, kind, written, errors);
    Some(parameters)
}
