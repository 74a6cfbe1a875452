//! The origin of each value of a host's variables, and what it overrode. No node is contacted.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    inventory::{Inventory, LayerOwner},
    role::{Default, Limits, MAGIC, Role, VarType},
    secret::{Sealed, holds_token},
    source::{Diagnostic, Diagnostics, MASK, Node, Span, Yaml, did_you_mean, is_secret_name, yaml::VAULT_KEY},
    template::is_template,
};

use super::{
    Request, assigned_roles, extra, host,
    load::{known_roles, matching, read_roles},
    project::{Form, Project},
    raw,
    scope::{HostVars, Scope, Secrets, any_text},
    select::{self, argument},
};

/// The variables of a host.
#[derive(Debug)]
pub struct Explained {
    /// The host's name in the inventory.
    pub host: String,
    /// Its roles, in the order in which they are deployed.
    pub roles: Vec<String>,
    /// What the inventory and `-e` set, by name; then what only roles declare, in their order; then secrets.
    pub variables: Vec<Variable>,
    /// Warnings: what is allowed but looks wrong.
    pub warnings: Vec<Diagnostic>,
}

/// A variable of a host.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// The role in which it has this value, if roles disagree.
    pub role: Option<String>,
    /// Its type, if a role declares one.
    pub kind: Option<VarType>,
    /// The type and its limits as text, if a role declares them.
    pub takes: Option<String>,
    /// The limits of its values, if a role declares them.
    pub limits: Limits,
    /// What it is for, if a role says so.
    pub help: Option<String>,
    /// Its value.
    pub value: ResolvedValue,
    /// The origin of the value.
    pub origin: Origin,
    /// The origins that it overrode, strongest first.
    pub overridden: Vec<Origin>,
}

/// A value, as far as it is known without a node.
#[derive(Debug, Clone, PartialEq)]
pub enum ResolvedValue {
    /// The rendered value, with the names of secrets in place of their values.
    Known(Value),
    /// It depends on the node's facts.
    NeedsFacts,
    /// It is a password, or contains a value encrypted with Ansible Vault.
    Hidden,
    /// A role declares it, and nothing sets it.
    Unset,
    /// It cannot be rendered.
    Invalid(String),
}

/// Where a variable is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The layer.
    pub layer: Layer,
    /// The span; built-in variables have none.
    pub span: Option<Span>,
    /// The value as written; none if a role declares no default, or if it is hidden.
    pub written: Option<Value>,
}

/// A layer that can set a variable, from the strongest to the weakest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// It is built in, and cannot be set.
    Always,
    /// `-e`.
    Extra,
    /// `host_vars/`.
    HostVars,
    /// The host, in an inventory file.
    Host,
    /// `group_vars/` of this group.
    GroupVars(String),
    /// This group, in an inventory file.
    Group(String),
    /// The defaults of this role.
    Role(String),
    /// The secrets of this role.
    Secret(String),
}

/// Returns the origins of the variables of a host: of all, or of one.
///
/// # Errors
/// The project cannot be read, `host` does not match exactly one host, or the variable does not exist.
pub fn explain(request: &Request, host: &str, variable: Option<&str>) -> Result<Explained, Diagnostics> {
    let mut errors = Diagnostics::default();
    let files = request.files();
    let extra = extra::read(&request.extra_vars, &request.vault, &files, &mut errors);
    let both = |more: Diagnostics| Diagnostics([errors.0.as_slice(), more.0.as_slice()].concat()).sorted();
    let inventory = request.inventory(&files).map_err(both)?;
    let mut project = Project::new(request, inventory, extra);
    let name = one_host(&project.inventory, host, &mut errors);
    let Some(name) = name.filter(|_| errors.is_empty()) else { return Err(errors.sorted()) };
    let vars = Arc::new(host::variables(&project, &name));
    let names = roles(&project, &vars, request, &mut errors);
    let mut of_roles = Diagnostics::default();
    let known = known_roles(&request.project, &project.files, &mut of_roles);
    project.roles = read_roles(request, names.clone(), &known, &project.files, &mut of_roles);
    errors.extend(without_warnings(of_roles));
    select::circles(&project.roles, &mut errors);
    extra::unknown(&project, &mut errors);
    if !errors.is_empty() {
        return Err(errors.sorted());
    }
    let explainer = Explainer::new(&project, &vars, &select::in_order(&names, &project.roles));
    let variables = match variable {
        None => explainer.all(),
        Some(variable) => match explainer.one(variable) {
            found if found.is_empty() => return Err(explainer.unknown(variable).into()),
            found => found,
        },
    };
    let roles = explainer.order.iter().map(|role| role.name.clone()).collect();
    Ok(Explained { host: name, roles, variables, warnings: project.inventory.warnings.clone() })
}

/// Resolves a pattern that must match exactly one host, such as its name or a group of one host.
fn one_host(inventory: &Inventory, pattern: &str, errors: &mut Diagnostics) -> Option<String> {
    let mut hosts = matching(inventory, Some(("HOST", pattern)), errors);
    if hosts.len() > 1 {
        let more = if hosts.len() > 10 { format!(" and {} more", hosts.len() - 10) } else { String::new() };
        let shown = hosts.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
        let diagnostic = Diagnostic::error(format!("`{pattern}` matches {} hosts", hosts.len())).at(argument("HOST", pattern));
        errors.push(diagnostic.help(format!("name one of: {shown}{more}")));
        return None;
    }
    hosts.pop()
}

/// Returns the host's roles. A host without roles still has the variables of its inventory.
fn roles(project: &Project, vars: &Arc<HostVars>, request: &Request, errors: &mut Diagnostics) -> Vec<String> {
    if request.roles.is_empty() && host::roles(project, vars, &mut Diagnostics::default()).is_none_or(|roles| roles.is_empty()) {
        return Vec::new();
    }
    let request = Request { limit: Some(vars.name().to_owned()), ..request.clone() };
    let known = known_roles(&request.project, &project.files, errors);
    assigned_roles::assign(project, std::slice::from_ref(vars), &request, &known, errors).remove(vars.name()).unwrap_or_default()
}

fn without_warnings(found: Diagnostics) -> Diagnostics {
    use crate::source::diagnostic::Severity;
    Diagnostics(found.0.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect())
}

/// A value of a variable in one layer.
struct Candidate<'a> {
    layer: Layer,
    span: Span,
    written: Written<'a>,
}

enum Written<'a> {
    /// From the inventory or a role: it may be a template.
    Node(&'a Node),
    /// From `-e`: plain data.
    Data(&'a Value),
    /// A role requires it to be set.
    Nothing,
}

struct Explainer<'a> {
    project: &'a Project,
    host: &'a HostVars,
    /// The host's roles and those that they require, in the order in which they are deployed.
    order: Vec<&'a Role>,
    /// What the inventory and `-e` set, strongest first.
    set: BTreeMap<String, Vec<Candidate<'a>>>,
    /// Literal passwords, which other values may contain.
    hidden: Vec<String>,
}

impl<'a> Explainer<'a> {
    fn new(project: &'a Project, host: &'a HostVars, order: &[String]) -> Self {
        let mut roles: Vec<&Role> = order.iter().filter_map(|name| project.roles.get(name)).collect();
        for role in order.iter().filter_map(|name| project.roles.get(name)).flat_map(|role| project.with_required(role)) {
            if !roles.iter().any(|known| known.name == role.name) {
                roles.push(role);
            }
        }
        let mut set: BTreeMap<String, Vec<Candidate<'a>>> = BTreeMap::new();
        for (name, extra) in &project.extra {
            let candidate = Candidate { layer: Layer::Extra, span: extra.span.clone(), written: Written::Data(&extra.value) };
            set.entry(name.clone()).or_default().push(candidate);
        }
        for (whose, layer) in project.inventory.layers_with_owners(host.name()).into_iter().rev() {
            for (key, node) in layer.vars.iter().rev() {
                let layer = match whose {
                    LayerOwner::Group(group) => Layer::Group(group.to_owned()),
                    LayerOwner::GroupVars(group) => Layer::GroupVars(group.to_owned()),
                    LayerOwner::Host => Layer::Host,
                    LayerOwner::HostVars => Layer::HostVars,
                };
                let candidate = Candidate { layer, span: node.span.clone(), written: Written::Node(node) };
                set.entry(key.name.clone()).or_default().push(candidate);
            }
        }
        let mut explainer = Self { project, host, order: roles, set, hidden: Vec::new() };
        explainer.hidden = explainer.passwords();
        explainer
    }

    /// Returns every variable of the host.
    fn all(&self) -> Vec<Variable> {
        let mut names: Vec<&str> = self.set.keys().map(String::as_str).collect();
        for name in self.order.iter().flat_map(|role| role.defaults.keys()) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let variables = names.into_iter().flat_map(|name| self.variable(name));
        variables.chain(self.order.iter().flat_map(|role| role.secrets.keys().map(|name| secret(role, name)))).collect()
    }

    /// Returns what a name means here: a variable, a built-in variable or a secret. Empty if it is none of these.
    fn one(&self, name: &str) -> Vec<Variable> {
        if MAGIC.contains(&name) && name != "secrets" {
            return self.magic(name).into_iter().collect();
        }
        let found = self.variable(name);
        if !found.is_empty() {
            return found;
        }
        let bare = name.strip_prefix("secrets.").unwrap_or(name);
        self.order.iter().filter(|role| role.secrets.contains_key(bare)).map(|role| secret(role, bare)).collect()
    }

    fn unknown(&self, name: &str) -> Diagnostic {
        let diagnostic = Diagnostic::error(format!("`{}` has no variable `{name}`", self.host.name())).at(argument("VAR", name));
        let of_roles = self.order.iter().flat_map(|role| role.defaults.keys().chain(role.secrets.keys()));
        let mut known: Vec<&str> = self.set.keys().chain(of_roles).map(String::as_str).chain(MAGIC.iter().copied()).collect();
        known.sort_unstable();
        known.dedup();
        match did_you_mean(name, known) {
            Some(near) => diagnostic.suggest(Some(near)),
            None => diagnostic.help(format!("`explain {}` lists all its variables", self.host.name())),
        }
    }

    fn magic(&self, name: &str) -> Option<Variable> {
        let value = match name {
            "ansible_facts" => ResolvedValue::NeedsFacts,
            name => ResolvedValue::Known(self.scope(None).variable(name).ok()??),
        };
        let origin = Origin { layer: Layer::Always, span: None, written: None };
        let (role, kind, help, takes, limits) = (None, None, None, None, Limits::default());
        Some(Variable { name: name.to_owned(), role, kind, takes, limits, help, value, origin, overridden: Vec::new() })
    }

    /// Returns a variable; once for each role if several roles have a default and nothing overrides them.
    fn variable(&self, name: &str) -> Vec<Variable> {
        let set = self.set.get(name).map(Vec::as_slice).unwrap_or_default();
        let declaring: Vec<&Role> = self.order.iter().copied().filter(|role| role.defaults.contains_key(name)).collect();
        let defaults: Vec<Candidate<'_>> = declaring.iter().filter_map(|role| default(role, name)).collect();
        let origins = |candidates: &mut dyn Iterator<Item = &Candidate<'_>>| -> Vec<Origin> {
            candidates.map(|candidate| self.origin(name, candidate, &declaring)).collect()
        };
        let make = |winner: &Candidate<'_>, overridden: Vec<Origin>, role: Option<&Role>, own: Option<&Role>| {
            let declared = own.and_then(|role| role.defaults.get(name));
            Variable {
                name: name.to_owned(),
                role: role.map(|role| role.name.clone()),
                kind: declared.map(|declared| declared.kind),
                takes: declared.map(Default::takes).filter(|takes| !takes.is_empty()),
                limits: declared.map(|declared| declared.limits.clone()).unwrap_or_default(),
                help: declared.and_then(|declared| declared.help.clone()),
                value: self.resolve(name, winner, own),
                origin: self.origin(name, winner, &declaring),
                overridden,
            }
        };
        if let Some((winner, rest)) = set.split_first() {
            return vec![make(winner, origins(&mut rest.iter().chain(&defaults)), None, declaring.first().copied())];
        }
        let several = defaults.len() > 1;
        let each = defaults.iter().zip(&declaring);
        each.map(|(winner, role)| make(winner, Vec::new(), several.then_some(*role), Some(*role))).collect()
    }

    fn origin(&self, name: &str, candidate: &Candidate<'_>, declaring: &[&Role]) -> Origin {
        let written = match candidate.written {
            Written::Node(node) => Some(without_vault_text(raw(node))),
            Written::Data(value) => Some(without_vault_text(value.clone())),
            Written::Nothing => None,
        };
        let hides = |value: &Value| is_password(name, declaring) && !is_reference(value);
        let written = written.filter(|value| !hides(value)).map(|value| self.without_passwords(value));
        Origin { layer: candidate.layer.clone(), span: Some(candidate.span.clone()), written }
    }

    /// Returns the scope of `role`, whose own names take precedence.
    fn scope(&self, role: Option<&'a Role>) -> Scope<'a> {
        let mut scope = Scope::new(self.project, self.host, role, None);
        for role in &self.order {
            if !scope.roles.iter().any(|known| known.name == role.name) {
                scope.roles.push(role);
            }
        }
        scope.secrets.set(Secrets::Tokens);
        scope
    }

    fn resolve(&self, name: &str, winner: &Candidate<'_>, role: Option<&Role>) -> ResolvedValue {
        let role = role.and_then(|role| self.project.roles.get(&role.name));
        let node = match winner.written {
            Written::Nothing => return ResolvedValue::Unset,
            Written::Node(node) if node.holds_vaulted() => return ResolvedValue::Hidden,
            Written::Node(node) => Some(node),
            Written::Data(_) if self.project.extra.get(name).is_some_and(|extra| extra.vaulted.is_some()) => {
                return ResolvedValue::Hidden;
            }
            Written::Data(_) => None,
        };
        let scope = self.scope(role);
        if node.is_some_and(|node| self.needs_facts(node, &scope)) {
            return ResolvedValue::NeedsFacts;
        }
        let Ok(Some(value)) = scope.variable(name) else {
            let first = scope.take_errors().sorted().0.into_iter().next();
            return ResolvedValue::Invalid(first.map(|diagnostic| diagnostic.title).unwrap_or_default());
        };
        let declaring: Vec<&Role> = role.into_iter().collect();
        if is_password(name, &declaring) && !any_text(&value, &holds_token) {
            return ResolvedValue::Hidden;
        }
        ResolvedValue::Known(self.without_passwords(by_name(value)))
    }

    /// Whether rendering needs the node's facts, directly or through other variables.
    fn needs_facts(&self, node: &'a Node, scope: &Scope<'a>) -> bool {
        let (mut waiting, mut seen) = (vec![node], HashSet::new());
        while let Some(node) = waiting.pop() {
            match &node.value {
                Yaml::Str(text) if !node.verbatim && is_template(text) => {
                    let compiled = self.project.text(text, Form::Text);
                    let Ok(template) = compiled.as_ref() else { continue };
                    for name in template.names() {
                        if name == "ansible_facts" {
                            return true;
                        }
                        if !self.project.extra.contains_key(name) && seen.insert(name.to_owned()) {
                            let declared = || scope.roles.iter().find_map(|role| role.defaults.get(name)?.value.as_ref());
                            waiting.extend(self.host.value(name).or_else(declared));
                        }
                    }
                }
                Yaml::Seq(items) => waiting.extend(items),
                Yaml::Map(entries) => waiting.extend(entries.iter().map(|(_, value)| value)),
                Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) => {}
            }
        }
        false
    }

    /// Returns the passwords in plain text in the inventory or in `-e`.
    fn passwords(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, candidates) in &self.set {
            let declaring: Vec<&Role> = self.order.iter().copied().filter(|role| role.defaults.contains_key(name)).collect();
            for candidate in candidates {
                match candidate.written {
                    Written::Node(node) => literals(&raw(node), is_password(name, &declaring), &mut found),
                    Written::Data(value) => literals(value, is_password(name, &declaring), &mut found),
                    Written::Nothing => {}
                }
            }
        }
        // One password may contain another: masking the shorter one first would leave the rest of the longer one readable.
        found.sort_unstable_by_key(|text| std::cmp::Reverse(text.len()));
        found
    }

    fn without_passwords(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.hidden.iter().fold(text, |text, hidden| text.replace(hidden, MASK))),
            Value::Array(items) => items.into_iter().map(|item| self.without_passwords(item)).collect(),
            Value::Object(map) => {
                Value::Object(map.into_iter().map(|(key, value)| (key, self.without_passwords(value))).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }
}

fn default<'a>(role: &'a Role, name: &str) -> Option<Candidate<'a>> {
    let default = role.defaults.get(name)?;
    let (span, written) = match &default.value {
        Some(node) => (node.span.clone(), Written::Node(node)),
        None => (default.span.clone(), Written::Nothing),
    };
    Some(Candidate { layer: Layer::Role(role.name.clone()), span, written })
}

fn secret(role: &Role, name: &str) -> Variable {
    let span = role.secrets.get(name).map(|secret| secret.span.clone());
    Variable {
        name: format!("secrets.{name}"),
        role: None,
        kind: None,
        takes: None,
        limits: Limits::default(),
        help: None,
        value: ResolvedValue::Hidden,
        origin: Origin { layer: Layer::Secret(role.name.clone()), span, written: None },
        overridden: Vec::new(),
    }
}

/// Whether a variable holds a password, judged by its name. A variable that a role declares as a path, a number or a flag does not.
fn is_password(name: &str, declaring: &[&Role]) -> bool {
    // Where a password is, or how passwords are treated, such as PostgreSQL's `password_encryption`.
    let is_about_it = [
        "_file",
        "_dir",
        "_path",
        "_length",
        "_url",
        "_encryption",
        "_policy",
        "_method",
        "_algorithm",
        "_authentication",
        "_rounds",
        "_age",
    ];
    let is_about_it = is_about_it.iter().any(|ending| name.ends_with(ending));
    let harmless = declaring
        .iter()
        .filter_map(|role| role.defaults.get(name))
        .any(|default| matches!(default.kind, VarType::Path | VarType::Port | VarType::Bool | VarType::Int | VarType::Float));
    is_secret_name(name) && !is_about_it && !harmless
}

/// Whether a value is a single expression that refers to another value.
fn is_reference(value: &Value) -> bool {
    let text = value.as_str().map(str::trim).unwrap_or_default();
    let inside = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    inside.is_some_and(|inside| !inside.contains(['"', '\'', '`', '{', '}']))
}

/// Collects the texts of a value that are passwords. Short texts are skipped: they may be ordinary words.
fn literals(value: &Value, secret: bool, found: &mut Vec<String>) {
    match value {
        Value::String(text) if secret && text.len() >= 4 && !is_reference(value) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| literals(item, secret, found)),
        Value::Object(map) => map.iter().for_each(|(key, value)| literals(value, secret || is_password(key, &[]), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Replaces values encrypted with Ansible Vault, which have many lines.
fn without_vault_text(value: Value) -> Value {
    match value {
        Value::Object(map) if map.contains_key(VAULT_KEY) => Value::String("(vaulted)".to_owned()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, without_vault_text(value))).collect()),
        Value::Array(items) => items.into_iter().map(without_vault_text).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Writes secrets as `‹NAME›`.
fn by_name(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(Sealed::from(text).shown()),
        Value::Array(items) => items.into_iter().map(by_name).collect(),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, by_name(value))).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}
