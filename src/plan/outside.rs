//! Secrets from outside the node: the sources in `autobot_secrets` and in roles, and values encrypted with Ansible Vault.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    outside::{ExternalValue, Program, Source},
    role::{Role, kind_of},
    secret::{Encoding, Sealed, SealedPart, SecretId},
    source::{Diagnostic, Diagnostics, Node, Span, Trust, Vaulted, did_you_mean},
};

use super::{
    project::Project,
    scope::{Failed, HostVars, Scope, Secrets},
    shell,
};

/// The variable that maps the secrets of a host to their sources.
pub(super) const VARIABLE: &str = "autobot_secrets";

const KEYS: &[&str] = &["env", "file", "command", "value"];

/// The encrypted values that hosts need, each with the variable that leads to it and its number there.
#[derive(Debug, Default)]
pub(super) struct Vaults {
    /// The variable that leads to each, and its number there; by the file and the place in it.
    names: HashMap<(String, usize, usize), (String, usize)>,
    /// How many values each variable leads to.
    numbers: HashMap<String, usize>,
    by_host: HashMap<String, IndexMap<SecretId, ExternalValue>>,
}

impl Vaults {
    /// Returns the secret for an encrypted value on a host.
    pub(super) fn needed(&mut self, host: &str, variable: Option<&str>, span: &Span, value: &Vaulted) -> SecretId {
        let at = (span.file.shown.clone(), span.range.start, span.range.end);
        let (variable, number) = if let Some(known) = self.names.get(&at) {
            known.clone()
        } else {
            let variable = variable.unwrap_or("value").to_owned();
            let number = self.numbers.entry(variable.clone()).or_default();
            *number += 1;
            self.names.entry(at).insert_entry((variable, *number)).get().clone()
        };
        let secret = SecretId::Vaulted { host: host.to_owned(), variable, number };
        let outside = ExternalValue { source: Source::Vaulted(value.clone()), span: span.clone() };
        self.by_host.entry(host.to_owned()).or_default().insert(secret.clone(), outside);
        secret
    }

    /// Returns the values that one host needs.
    pub(super) fn for_host(&self, host: &str) -> Vec<(SecretId, ExternalValue)> {
        let own = self.by_host.get(host).into_iter().flatten();
        own.map(|(secret, outside)| (secret.clone(), outside.clone())).collect()
    }
}

/// Reads `autobot_secrets` of a host: the source of each secret, by name.
pub(super) fn declared(project: &Project, host: &HostVars, errors: &mut Diagnostics) -> IndexMap<String, ExternalValue> {
    let scope = Scope::new(project, host, None, None);
    scope.secrets.set(Secrets::Tokens);
    let mut found = IndexMap::new();
    let extra = project.extra.get(VARIABLE);
    let whose = if extra.is_some() { Trust::Own } else { project.inventory.trust };
    let written = match extra {
        Some(extra) => extra.vaulted.as_ref(),
        None => host.value(VARIABLE),
    };
    let span = extra.map(|extra| &extra.span).or_else(|| written.map(|node| &node.span));
    let at = |node: Option<&Node>| node.map(|node| node.span.clone()).or_else(|| span.cloned());
    let value = match written.filter(|written| written.as_map().is_some()) {
        Some(written) => scope.resolving(VARIABLE, || rendered(&scope, written)).map(Some),
        None => scope.variable(VARIABLE),
    };
    match value {
        Ok(None | Some(Value::Null)) | Err(Failed) => {}
        Ok(Some(Value::Object(entries))) => {
            for (name, value) in &entries {
                let node = written.map(|written| written.get(name).unwrap_or(written));
                let is_known = project.roles.values().any(|role| role.secrets.contains_key(name));
                let names = if is_known { Vec::new() } else { secret_names(project) };
                if !is_known && !names.contains(name) {
                    let key =
                        written.and_then(Node::as_map).and_then(|entries| entries.iter().find(|(key, _)| key.name == *name));
                    let span = key.map(|(key, _)| key.span.clone()).or_else(|| at(None));
                    let unknown = Diagnostic { span, ..Diagnostic::error(format!("no role declares the secret `{name}`")) };
                    scope.fail(match did_you_mean(name, names.iter().map(String::as_str)) {
                        Some(near) => unknown.suggest(Some(near)),
                        None if names.is_empty() => unknown,
                        None => unknown.help(format!("roles declare: {}", names.join(", "))),
                    });
                } else if let Ok(source) = source(&scope, name, value, node, at(node).as_ref(), whose)
                    && let Some(span) = at(node)
                {
                    found.insert(name.clone(), ExternalValue { source, span });
                }
            }
        }
        Ok(Some(other)) => {
            let title =
                format!("`{VARIABLE}` must be a map from the names of secrets to their sources, but this is {}", kind_of(&other));
            let diagnostic = Diagnostic { span: at(None), ..Diagnostic::error(title) };
            scope.fail(diagnostic.help(format!("`{VARIABLE}: {{REDIS_PASSWORD: {{env: REDIS_PASSWORD}}}}`")));
        }
    }
    errors.extend(scope.take_errors());
    found
}

/// Returns the names of the secrets of all roles of the project, in this run or not.
fn secret_names(project: &Project) -> Vec<String> {
    // Errors in roles that are not part of this run do not concern it.
    let mut ignored = Diagnostics::default();
    let mut names: Vec<String> = Vec::new();
    let apart = project.files.apart();
    for role in apart.names_in(&project.path.join("roles")) {
        let read = match project.roles.get(&role) {
            Some(role) => role.secrets.keys().cloned().collect(),
            None => Role::read(&project.path, &role, &apart, &mut ignored)
                .map(|role| role.secrets.into_keys().collect::<Vec<_>>())
                .unwrap_or_default(),
        };
        names.extend(read);
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Renders the sources of secrets. A `command` that is a line is rendered as shell text, at any depth.
fn rendered(scope: &Scope<'_>, node: &Node) -> Result<Value, Failed> {
    let Some(entries) = node.as_map().filter(|_| !node.verbatim) else { return scope.render(node) };
    let mut values = serde_json::Map::new();
    let mut failed = None;
    for (key, value) in entries {
        let is_line = key.name == "command" && value.as_str().is_some();
        let value = if is_line { scope.shell(value) } else { rendered(scope, value) };
        match value {
            Ok(value) => drop(values.insert(key.name.clone(), value)),
            Err(failure) => failed = Some(failure),
        }
    }
    failed.map_or(Ok(Value::Object(values)), Err)
}

/// Reads the `from` of a secret in a role.
pub(super) fn from_role(scope: &Scope<'_>, name: &str, node: &Node) -> Result<ExternalValue, Failed> {
    let before = scope.secrets.replace(Secrets::Tokens);
    let value = rendered(scope, node);
    scope.secrets.set(before);
    let source = source(scope, name, &value?, Some(node), Some(&node.span), scope.project.files.boundary.trust)?;
    Ok(ExternalValue { source, span: node.span.clone() })
}

/// Ansible's names for the password for sudo. If several are set, the last one wins, as in Ansible.
const BECOME_PASSWORD: [&str; 3] = ["ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"];

/// Returns the source of the password for sudo on a host: a value encrypted with Ansible Vault, or a source as in `autobot_secrets`.
pub(super) fn become_password(project: &Project, host: &HostVars, errors: &mut Diagnostics) -> Option<ExternalValue> {
    let is_set = |name: &&&str| host.value(name).is_some() || project.extra.contains_key(**name);
    let name = BECOME_PASSWORD.iter().rev().find(is_set)?;
    let scope = Scope::new(project, host, None, None);
    scope.secrets.set(Secrets::Tokens);
    let extra = project.extra.get(*name);
    let whose = if extra.is_some() { Trust::Own } else { project.inventory.trust };
    let written = match extra {
        Some(extra) => extra.vaulted.as_ref(),
        None => host.value(name),
    };
    let span = extra.map(|extra| &extra.span).or_else(|| written.map(|node| &node.span));
    // As in `declared`: the shell form of a source is rendered as shell text.
    let value = match written.filter(|written| written.as_map().is_some()) {
        Some(written) => scope.resolving(name, || rendered(&scope, written)).map(Some),
        None => scope.variable(name),
    };
    let found = match value {
        Ok(None | Some(Value::Null)) | Err(Failed) => None,
        Ok(Some(Value::String(text))) if text.is_empty() => None,
        Ok(Some(value @ Value::Object(_))) => source(&scope, name, &value, written, span, whose).ok(),
        Ok(Some(value)) => vaulted(&scope, &value).or_else(|| {
            let title = format!("the password for sudo is in plain text here: `{name}`");
            let help = "encrypt it with `ansible-vault encrypt_string`, or leave it out and type it: `--ask-become-pass`";
            scope.fail(Diagnostic { span: span.cloned(), ..Diagnostic::error(title).help(help) });
            None
        }),
    };
    errors.extend(scope.take_errors());
    found.zip(span.cloned()).map(|(source, span)| ExternalValue { source, span })
}

/// Reads the source of a secret: one of [`KEYS`]. A stranger's text names no program, and no file outside of its project.
fn source(
    scope: &Scope<'_>,
    name: &str,
    value: &Value,
    node: Option<&Node>,
    span: Option<&Span>,
    whose: Trust,
) -> Result<Source, Failed> {
    let fail = |diagnostic: Diagnostic| {
        let span = diagnostic.span.clone().or_else(|| span.cloned());
        scope.fail(Diagnostic { span, ..diagnostic })
    };
    let example = "`env: VARIABLE`, `file: PATH`, `command: [PROGRAM, ARGUMENT]` or an encrypted `value`";
    let Value::Object(entries) = value else {
        let title = format!("the source of the secret `{name}` must be a map, but this is {}", kind_of(value));
        let in_clear = value.is_string().then_some("the inventory must not hold passwords in plain text; ");
        return Err(fail(Diagnostic::error(title).help(format!("{}give {example}", in_clear.unwrap_or_default()))));
    };
    if let Some(key) = entries.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let span = node.and_then(Node::as_map).and_then(|entries| entries.iter().find(|(known, _)| known.name == *key));
        let unknown = Diagnostic::error(format!("unknown source `{key}` of the secret `{name}`"));
        let unknown = Diagnostic { span: span.map(|(key, _)| key.span.clone()), ..unknown };
        return Err(fail(match did_you_mean(key, KEYS.iter().copied()) {
            Some(near) => unknown.suggest(Some(near)),
            None => unknown.help(format!("give {example}")),
        }));
    }
    let mut given = entries.iter();
    let (Some((key, value)), None) = (given.next(), given.next()) else {
        return Err(fail(
            Diagnostic::error(format!("the secret `{name}` needs exactly one source")).help(format!("give {example}")),
        ));
    };
    let at = node.and_then(|node| node.get(key)).map(|node| node.span.clone());
    let invalid = |title: String| Diagnostic { span: at.clone(), ..Diagnostic::error(title) };
    if key == "value" {
        return vaulted(scope, value).ok_or_else(|| {
            let title = format!("the value of the secret `{name}` is in plain text here");
            fail(invalid(title).help("encrypt it with `ansible-vault encrypt_string`, or give `env`, `file` or `command`"))
        });
    }
    if super::scope::any_text(value, &crate::secret::holds_token) {
        let title = format!("a secret cannot be used in `{key}` of the secret `{name}`");
        return Err(fail(invalid(title).help("`value` takes what Ansible Vault encrypted")));
    }
    let text = |value: &Value| match value {
        Value::String(text) if !text.trim().is_empty() && !text.contains('\0') => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    if whose == Trust::Stranger {
        let names_outside = |path: &Value| text(path).is_some_and(|path| scope.project.files.boundary.names_outside(&path));
        let refused = match key.as_str() {
            "command" => Some(format!(
                "the secret `{name}` comes from a program, which is not run: the project is not trusted (--untrusted)"
            )),
            "file" if names_outside(value) => {
                Some(format!("the secret `{name}` comes from a file outside of the project, which is not trusted (--untrusted)"))
            }
            _ => None,
        };
        if let Some(title) = refused {
            return Err(fail(
                invalid(title).help("name the source in an inventory of your own (-i), which wins over the role's"),
            ));
        }
    }
    let must_be = |wanted: &str| fail(invalid(format!("`{key}` of the secret `{name}` must be {wanted}")));
    match (key.as_str(), value) {
        ("env", value) => match text(value).filter(|name| !name.contains('=')) {
            Some(variable) => Ok(Source::Env(variable)),
            None => Err(must_be("the name of an environment variable")),
        },
        ("file", value) => text(value).map(Source::File).ok_or_else(|| must_be("a path on this machine")),
        (_, Value::Array(words)) => {
            if let Some(node) = node {
                shell::refuse_code(scope, node.get(key).unwrap_or(node), words)?;
            }
            let words: Option<Vec<String>> = words.iter().map(text).collect();
            let words = words.filter(|words| !words.is_empty());
            words
                .map(|words| Source::Command(Program::Words(words)))
                .ok_or_else(|| must_be("a program and its arguments, each as text"))
        }
        // A line that is not a literal of this map comes from a variable, in which values have been inserted without quoting.
        (_, Value::String(_)) if node.is_some_and(|node| node.get(key).is_none()) => {
            let title = format!("the shell line of the secret `{name}` comes from a variable");
            Err(fail(invalid(title).help("write the line here, with variables only as its words, or give a list of words")))
        }
        (_, value) => text(value)
            .map(|line| Source::Command(Program::Shell(line)))
            .ok_or_else(|| must_be("a list of words, or a line of shell")),
    }
}

/// Returns the encrypted value if the text consists of nothing else.
fn vaulted(scope: &Scope<'_>, value: &Value) -> Option<Source> {
    let sealed = Sealed::from(value.as_str()?);
    let parts = sealed.parts();
    let [SealedPart::Secret(secret, Encoding::Plain)] = parts.as_slice() else { return None };
    let known = scope.project.vaulted_of(scope.host.name());
    known.into_iter().find(|(known, _)| known == secret).map(|(_, outside)| outside.source)
}
