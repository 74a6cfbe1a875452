//! The declarations of variables and secrets in a role.

use serde_json::Value;

use super::{
    Limits, MAGIC, VarType,
    ansible_words::{self, VARIABLE_KEYS},
    read, task,
};
use crate::source::{Diagnostic, Diagnostics, Key, Node, Span, Yaml, did_you_mean};

/// A variable of a role.
#[derive(Debug)]
pub struct Default {
    /// Its type.
    pub kind: VarType,
    /// The limits of its values.
    pub limits: Limits,
    /// Its value unless it is set; `None` if it must be set.
    pub value: Option<Node>,
    /// What it is for.
    pub help: Option<String>,
    /// The span of its name.
    pub span: Span,
}

impl Default {
    /// Converts a value to the type of this variable, and checks its limits.
    ///
    /// # Errors
    /// What is expected.
    pub fn fit(&self, value: Value) -> Result<Value, String> {
        let value = self.kind.fit(value).map_err(|errors| match self.limits.one_of.as_slice() {
            [] => errors,
            _ => self.limits.wanted(),
        })?;
        self.limits.check(&value).map(|()| value)
    }

    /// Describes the type and its limits; empty if any value is allowed.
    #[must_use]
    pub fn takes(&self) -> String {
        match (self.kind.as_str(), self.limits.describe()) {
            (word, None) => word.to_owned(),
            (_, Some(limits)) if !self.limits.one_of.is_empty() => format!("one of {limits}"),
            (word, Some(limits)) => format!("{word}, {limits}"),
        }
    }
}

/// A secret of a role. Values may be templates over variables.
#[derive(Debug)]
pub struct SecretSource {
    /// The span of its name.
    pub span: Span,
    /// The host on which it lives; `None` for the host that has the role.
    pub host: Option<Node>,
    /// The file that holds it.
    pub file: Node,
    /// How many characters.
    pub length: Option<Node>,
    /// Where its value comes from, if it is not generated on the node.
    pub from: Option<Node>,
    /// Characters that a value from elsewhere must not contain, because its users could not read them.
    pub without: Option<Node>,
    /// The file's owner.
    pub owner: Option<Node>,
    /// The file's group.
    pub group: Option<Node>,
    /// The file's mode.
    pub mode: Option<Node>,
}

/// Whether a key can be the name of a variable.
pub(super) fn check_variable(key: &Key, errors: &mut Diagnostics) {
    if MAGIC.contains(&key.name.as_str()) {
        errors.push(Diagnostic::error(format!("`{}` is reserved and cannot be set", key.name)).at(key.span.clone()));
    } else if !read::is_identifier(&key.name) {
        let diagnostic = Diagnostic::error(format!("`{}` cannot be the name of a variable", key.name)).at(key.span.clone());
        errors.push(diagnostic.help("use letters, digits and `_`"));
    }
}

const DEFAULT_KEYS: &[&str] = super::keywords::VARIABLE_NAMES;

/// Keys that only a declaration has, here or in Ansible: each makes a map one, even misspelled.
const TELLING_KEYS: &[&str] = &["type", "default", "required", "choices"];

/// Names of types in other languages, and the type here.
const OTHER_TYPES: &[(&str, &str)] = &[
    ("integer", "int"),
    ("number", "int"),
    ("double", "float"),
    ("boolean", "bool"),
    ("str", "string"),
    ("text", "string"),
    ("array", "list"),
    ("map", "dict"),
    ("object", "dict"),
    ("bytes", "size"),
    ("choice", "{one_of: [words]}"),
    ("enum", "{one_of: [words]}"),
];

pub(super) fn default(key: &Key, node: &Node, errors: &mut Diagnostics) -> Default {
    let span = key.span.clone();
    let entries = node.as_map().unwrap_or_default();
    if !is_declaration(entries) {
        return Default {
            kind: VarType::of_default(node),
            limits: Limits::default(),
            value: Some(node.clone()),
            help: None,
            span,
        };
    }
    let value = node.get("default").cloned();
    let mut unknown = entries.iter().filter(|(key, _)| !DEFAULT_KEYS.contains(&key.name.as_str())).peekable();
    let may_be_value = value.is_none() && unknown.peek().is_some();
    for (key, _) in unknown {
        errors.push(unknown_key(key, value.is_some()));
    }
    let mut limits = Limits::default();
    let kind = match node.get("type") {
        // With an error in its type the variable is still known, so that its users are not reported too.
        Some(choice) if choice.as_map().is_some() => one_of(choice, errors).map_or(VarType::Any, |words| {
            limits.one_of = words;
            VarType::String
        }),
        Some(name) => named_type(name, errors).unwrap_or(VarType::Any),
        None => value.as_ref().map_or(VarType::Any, VarType::of_default),
    };
    read_bounds(node, kind, &mut limits, errors);
    let help = node.get("help").and_then(|help| read::name(help, "`help`", errors)).map(|help| help.text);
    if may_be_value {
        // One error is enough: whether it must be set is not known.
        let value = Node { value: Yaml::Str(String::new()), ..node.clone() };
        return Default { kind: VarType::Any, limits: Limits::default(), value: Some(value), help, span };
    }
    Default { kind, limits, value, help, span }
}

/// Whether a map declares a variable, rather than being its value: it has `default`, or it holds plain values only and a key of a declaration.
fn is_declaration(entries: &[(Key, Node)]) -> bool {
    let is_plain = |(key, value): &(Key, Node)| match key.name.as_str() {
        "type" => value.as_seq().is_none(),
        "choices" => value.as_map().is_none(),
        _ => value.as_map().is_none() && value.as_seq().is_none(),
    };
    let declares = |name: &str| DEFAULT_KEYS.contains(&name) || did_you_mean(name, TELLING_KEYS.iter().copied()).is_some();
    entries.iter().any(|(key, _)| key.name == "default")
        || entries.iter().all(is_plain) && entries.iter().any(|(key, _)| declares(&key.name))
}

/// Returns the error for an unknown key of a declaration. Without a `default`, the map may have been meant as the value.
fn unknown_key(key: &Key, has_default: bool) -> Diagnostic {
    let similar = |names: &mut dyn Iterator<Item = &'static str>| did_you_mean(&key.name, names);
    let word = ansible_words::find(VARIABLE_KEYS, &key.name).or_else(|| match similar(&mut DEFAULT_KEYS.iter().copied()) {
        Some(_) => None,
        None => ansible_words::find(VARIABLE_KEYS, similar(&mut VARIABLE_KEYS.iter().map(|word| word.name))?),
    });
    let error = match word {
        Some(word) => {
            Diagnostic::error(format!("unknown key of a variable: `{}`", key.name)).at(key.span.clone()).help(word.help())
        }
        None => read::unknown(key, "key of a variable:", DEFAULT_KEYS),
    };
    if has_default {
        return error;
    }
    let help = error.help.as_deref().unwrap_or_default().to_owned();
    error.help(format!("{help}\na map that is itself the value is written `default: {{…}}`"))
}

/// Reads the name of a type.
fn named_type(node: &Node, errors: &mut Diagnostics) -> Option<VarType> {
    let name = read::name(node, "`type`", errors)?;
    let kind = VarType::from_name(&name.text);
    if kind.is_none() {
        let other = OTHER_TYPES.iter().find(|(other, _)| *other == name.text.to_lowercase()).map(|(_, here)| *here);
        let diagnostic = Diagnostic::error(format!("unknown type `{}`", name.text)).at(name.span);
        errors.push(match other.or_else(|| did_you_mean(&name.text, VarType::NAMES.iter().copied())) {
            Some(name) => diagnostic.suggest(Some(name)),
            None => diagnostic.help(format!("types: {}, or {{one_of: [words]}}", VarType::NAMES.join(", "))),
        });
    }
    kind
}

/// Reads `min` and `max`.
fn read_bounds(node: &Node, kind: VarType, limits: &mut Limits, errors: &mut Diagnostics) {
    for (name, limit) in [("min", &mut limits.min), ("max", &mut limits.max)] {
        let Some(number) = node.get(name) else { continue };
        *limit = number.scalar_text().and_then(|text| text.parse().ok());
        if limit.is_none() {
            errors.push(read::expected(number, &format!("`{name}`"), "a whole number"));
        } else if !matches!(kind, VarType::Int | VarType::Float | VarType::Port) {
            let diagnostic = Diagnostic::error(format!("`{name}` is for numbers")).at(number.span.clone());
            errors.push(diagnostic.help("declare the variable with `type: int`, `float` or `port`"));
        }
    }
    if let (Some(min), Some(max), Some(node)) = (limits.min, limits.max, node.get("max"))
        && min > max
    {
        errors.push(Diagnostic::error(format!("`max` is less than `min`, {min}: no value fits")).at(node.span.clone()));
        // Every value would be wrong as well.
        (limits.min, limits.max) = (None, None);
    }
}

/// Reads the words of `{one_of: [...]}`.
fn one_of(node: &Node, errors: &mut Diagnostics) -> Option<Vec<String>> {
    for (key, _) in node.as_map().unwrap_or_default().iter().filter(|(key, _)| key.name != "one_of") {
        errors.push(read::unknown(key, "key of a type:", &["one_of"]));
    }
    let words = node.get("one_of").map(|words| read::names(words, "`one_of`", errors)).unwrap_or_default();
    if words.is_empty() {
        errors.push(Diagnostic::error("a type is a word, or `{one_of: [...]}` with the allowed words").at(node.span.clone()));
        return None;
    }
    Some(words.into_iter().map(|word| word.text).collect())
}

const SECRET_KEYS: &[&str] = super::keywords::SECRET_NAMES;

pub(super) fn secret(key: &Key, node: &Node, errors: &mut Diagnostics) -> Option<SecretSource> {
    if !read::is_identifier(&key.name) {
        errors.push(Diagnostic::error(format!("`{}` cannot be the name of a secret", key.name)).at(key.span.clone()));
    }
    for (key, value) in read::map(node, "a secret", errors) {
        if !SECRET_KEYS.contains(&key.name.as_str()) {
            errors.push(read::unknown(key, "key of a secret:", SECRET_KEYS));
        }
        if key.name == "mode" {
            task::check_mode(value, errors);
        }
    }
    let Some(file) = node.get("file") else {
        errors.push(Diagnostic::error(format!("the secret `{}` needs a `file`", key.name)).at(key.span.clone()));
        return None;
    };
    let get = |name: &str| node.get(name).cloned();
    let span = key.span.clone();
    Some(SecretSource {
        span,
        host: get("host"),
        file: file.clone(),
        length: get("length"),
        from: get("from"),
        without: get("without"),
        owner: get("owner"),
        group: get("group"),
        mode: get("mode"),
    })
}
