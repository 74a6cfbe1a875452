//! Roles as they are written: `roles/<name>/role.yml`, read strictly, every value with its place.

mod kinds;
mod read;
mod task;
#[cfg(test)]
pub(crate) mod toys;
mod types;

pub use read::Name;
pub use task::TaskSource;
pub use types::{VarType, kind_of, truth};

use std::{path::Path, time::Duration};

use indexmap::IndexMap;

use crate::{
    resource::Kind,
    secret::holds_token,
    source::{self, Diagnostic, Diagnostics, Key, Node, Place, Yaml, did_you_mean, yaml},
};

/// Names that no variable can have.
pub const MAGIC: &[&str] = &[
    "inventory_hostname",
    "inventory_hostname_short",
    "groups",
    "group_names",
    "hostvars",
    "item",
    "ansible_check_mode",
    "ansible_facts",
    "secrets",
];

/// A role.
#[derive(Debug)]
pub struct Role {
    /// The name of its directory.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Roles that come before it on a host that has both; their variables and secrets are in its scope.
    pub requires: Vec<Name>,
    /// Its variables.
    pub defaults: IndexMap<String, Default>,
    /// The secrets that it needs on its host.
    pub secrets: IndexMap<String, SecretSource>,
    /// What it does, in order.
    pub tasks: Vec<TaskSource>,
    /// What a change may call, in the order in which they run.
    pub handlers: Vec<HandlerSource>,
    /// How to know that all is well.
    pub health: Vec<HealthSource>,
}

/// A variable of a role.
#[derive(Debug)]
pub struct Default {
    /// What it takes.
    pub kind: VarType,
    /// Its value unless set; none when it must be set.
    pub value: Option<Node>,
    /// What it is for.
    pub help: Option<String>,
    /// Where its name stands.
    pub place: Place,
}

/// A secret of a role. Values may be templates over variables.
#[derive(Debug)]
pub struct SecretSource {
    /// Where its name stands.
    pub place: Place,
    /// The file that holds it.
    pub file: Node,
    /// How many characters.
    pub length: Option<Node>,
    /// The file's owner.
    pub owner: Option<Node>,
    /// The file's group.
    pub group: Option<Node>,
    /// The file's mode.
    pub mode: Option<Node>,
}

/// A handler of a role. Values may be templates.
#[derive(Debug)]
pub struct HandlerSource {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub action: HandlerActionSource,
    /// The command that tells when it is ready, and how long that may take.
    pub ready: Option<(Node, Duration)>,
}

/// What a handler does.
#[derive(Debug)]
pub enum HandlerActionSource {
    /// Restarts a unit.
    Restart(Node),
    /// Reloads a unit.
    Reload(Node),
    /// Runs a command.
    Command(Node),
}

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
    Exercise(Name, Node),
}

const KEYS: &[&str] = &["description", "requires", "tags", "defaults", "secrets", "tasks", "handlers", "health"];

/// The kind of resource with this name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    kinds::kind(name)
}

impl Role {
    /// Reads `roles/<name>/role.yml` of a project. What is wrong is added to `wrong`; the role is what could be read.
    pub fn read(project: &Path, name: &str, wrong: &mut Diagnostics) -> Option<Self> {
        let shown = format!("roles/{name}/role.yml");
        let file = wrong.keep(source::read(&project.join(&shown), &shown))?;
        if let Some(place) = reserved(&file) {
            wrong.push(Diagnostic::error("a character that is reserved for secrets").at(place));
            return None;
        }
        let root = wrong.keep(yaml::parse(&file))?;
        let entries = read::map(&root, "a role", wrong);
        for (key, _) in entries.iter().filter(|(key, _)| !KEYS.contains(&key.name.as_str())) {
            wrong.push(read::unknown(key, "key of a role:", KEYS));
        }
        let description = root.get("description").and_then(|text| read::name(text, "`description`", wrong)).map(|name| name.text);
        let requires = root.get("requires").map(|requires| read::names(requires, "`requires`", wrong)).unwrap_or_default();
        let tags = root.get("tags").map(|tags| read::names(tags, "a tag", wrong)).unwrap_or_default();
        let mut role = Self {
            name: name.to_owned(),
            description,
            requires,
            defaults: IndexMap::new(),
            secrets: IndexMap::new(),
            tasks: Vec::new(),
            handlers: Vec::new(),
            health: Vec::new(),
        };
        for (key, value) in section(&root, "defaults", wrong) {
            check_variable(key, wrong);
            if let Some(default) = default(key, value, wrong) {
                role.defaults.insert(key.name.clone(), default);
            }
        }
        for (key, value) in section(&root, "secrets", wrong) {
            if let Some(secret) = secret(key, value, wrong) {
                role.secrets.insert(key.name.clone(), secret);
            }
        }
        let items = |section: &str, wrong: &mut Diagnostics| {
            root.get(section).map(|node| read::list(node, &format!("`{section}`"), wrong)).unwrap_or_default()
        };
        role.handlers = items("handlers", wrong).iter().filter_map(|node| handler(node, wrong)).collect();
        let before = wrong.0.len();
        role.tasks = items("tasks", wrong).iter().filter_map(|node| task::read(node, &tags, wrong)).collect();
        role.health = items("health", wrong).iter().filter_map(|node| health(node, &tags, wrong)).collect();
        role.check_names(&root, wrong.0.len() == before, wrong);
        Some(role)
    }

    /// Names that come twice, and handlers that are not there.
    fn check_names(&self, root: &Node, complete: bool, wrong: &mut Diagnostics) {
        twice("task", self.tasks.iter().map(|task| &task.name), wrong);
        twice("handler", self.handlers.iter().map(|handler| &handler.name), wrong);
        twice("health check", self.health.iter().map(|health| &health.name), wrong);
        let registers: Vec<&Name> = self.tasks.iter().filter_map(|task| task.register.as_ref()).collect();
        for register in &registers {
            if MAGIC.contains(&register.text.as_str()) || self.defaults.contains_key(&register.text) {
                wrong.push(Diagnostic::error(format!("`{}` is a variable already", register.text)).at(register.place.clone()));
            }
        }
        let written = root.get("handlers").and_then(Node::as_seq).unwrap_or_default();
        let known: Vec<&str> = written.iter().filter_map(|handler| handler.get("name")?.as_str()).collect();
        for notify in self.tasks.iter().flat_map(|task| &task.notify) {
            if !known.contains(&notify.text.as_str()) {
                let diagnostic = Diagnostic::error(format!("unknown handler `{}`", notify.text)).at(notify.place.clone());
                wrong.push(match did_you_mean(&notify.text, known.iter().copied()) {
                    Some(name) => diagnostic.suggest(Some(name)),
                    None => diagnostic.help("handlers are declared under `handlers:` of the same role"),
                });
            }
        }
        if complete {
            for handler in &self.handlers {
                if !self.tasks.iter().flat_map(|task| &task.notify).any(|notify| notify.text == handler.name.text) {
                    let warning = Diagnostic::warning(format!("no task notifies `{}`", handler.name.text));
                    wrong.push(warning.at(handler.name.place.clone()));
                }
            }
        }
    }
}

/// Where a file holds a character that stands for secrets.
pub(crate) fn reserved(file: &std::sync::Arc<source::SourceFile>) -> Option<Place> {
    let (at, letter) = file.text.char_indices().find(|(_, letter)| holds_token(letter.encode_utf8(&mut [0; 4])))?;
    Some(Place::new(file, at..at + letter.len_utf8()))
}

fn twice<'a>(what: &str, names: impl Iterator<Item = &'a Name>, wrong: &mut Diagnostics) {
    let mut seen: IndexMap<&str, &Place> = IndexMap::new();
    for name in names {
        match seen.get(name.text.as_str()) {
            Some(first) => {
                let diagnostic =
                    Diagnostic::error(format!("two of a role's names are `{}`: a {what} needs one of its own", name.text));
                wrong.push(diagnostic.at(name.place.clone()).also((*first).clone(), "the first"));
            }
            None => {
                seen.insert(&name.text, &name.place);
            }
        }
    }
}

fn section<'a>(root: &'a Node, name: &str, wrong: &mut Diagnostics) -> &'a [(Key, Node)] {
    root.get(name).map(|node| read::map(node, &format!("`{name}`"), wrong)).unwrap_or_default()
}

/// Whether a key can be the name of a variable.
fn check_variable(key: &Key, wrong: &mut Diagnostics) {
    if MAGIC.contains(&key.name.as_str()) {
        wrong.push(Diagnostic::error(format!("`{}` is given by us and cannot be set", key.name)).at(key.place.clone()));
    } else if !read::is_identifier(&key.name) {
        let diagnostic = Diagnostic::error(format!("`{}` cannot be the name of a variable", key.name)).at(key.place.clone());
        wrong.push(diagnostic.help("letters, digits and `_`"));
    }
}

const DEFAULT_KEYS: &[&str] = &["type", "default", "help"];

fn default(key: &Key, node: &Node, wrong: &mut Diagnostics) -> Option<Default> {
    let place = key.place.clone();
    let entries = node.as_map().unwrap_or_default();
    let declares = |name: &str| entries.iter().any(|(key, _)| key.name == name);
    let only_ours = entries.iter().all(|(key, _)| DEFAULT_KEYS.contains(&key.name.as_str()));
    if !(declares("default") || declares("type") && only_ours) {
        return Some(Default { kind: VarType::of(node), value: Some(node.clone()), help: None, place });
    }
    for (key, _) in entries.iter().filter(|(key, _)| !DEFAULT_KEYS.contains(&key.name.as_str())) {
        wrong.push(read::unknown(key, "key of a variable:", DEFAULT_KEYS));
    }
    let value = node.get("default").cloned();
    let kind = match node.get("type") {
        Some(name) => {
            let name = read::name(name, "`type`", wrong)?;
            let Some(kind) = VarType::named(&name.text) else {
                let diagnostic = Diagnostic::error(format!("unknown type `{}`", name.text)).at(name.place);
                wrong.push(match did_you_mean(&name.text, VarType::NAMES.iter().copied()) {
                    Some(name) => diagnostic.suggest(Some(name)),
                    None => diagnostic.help(format!("types: {}", VarType::NAMES.join(", "))),
                });
                return None;
            };
            kind
        }
        None => value.as_ref().map_or(VarType::Any, VarType::of),
    };
    let help = node.get("help").and_then(|help| read::name(help, "`help`", wrong)).map(|help| help.text);
    Some(Default { kind, value, help, place })
}

const SECRET_KEYS: &[&str] = &["file", "length", "owner", "group", "mode"];

fn secret(key: &Key, node: &Node, wrong: &mut Diagnostics) -> Option<SecretSource> {
    if !read::is_identifier(&key.name) {
        wrong.push(Diagnostic::error(format!("`{}` cannot be the name of a secret", key.name)).at(key.place.clone()));
    }
    for (key, value) in read::map(node, "a secret", wrong) {
        if !SECRET_KEYS.contains(&key.name.as_str()) {
            wrong.push(read::unknown(key, "key of a secret:", SECRET_KEYS));
        }
        if key.name == "mode" {
            task::check_mode(value, wrong);
        }
    }
    let Some(file) = node.get("file") else {
        wrong.push(Diagnostic::error(format!("the secret `{}` needs a `file`", key.name)).at(key.place.clone()));
        return None;
    };
    let get = |name: &str| node.get(name).cloned();
    let place = key.place.clone();
    Some(SecretSource {
        place,
        file: file.clone(),
        length: get("length"),
        owner: get("owner"),
        group: get("group"),
        mode: get("mode"),
    })
}

const HANDLER_KEYS: &[&str] = &["name", "systemd", "command", "ready"];

fn handler(node: &Node, wrong: &mut Diagnostics) -> Option<HandlerSource> {
    let entries = read::map(node, "a handler", wrong);
    for (key, _) in entries.iter().filter(|(key, _)| !HANDLER_KEYS.contains(&key.name.as_str())) {
        wrong.push(read::unknown(key, "key of a handler:", HANDLER_KEYS));
    }
    let Some(name) = node.get("name") else {
        wrong.push(Diagnostic::error("a handler needs a `name`").at(node.place.clone()));
        return None;
    };
    let name = read::name(name, "`name`", wrong)?;
    let ready = node.get("ready").and_then(|ready| self::ready(ready, wrong));
    let action = match (node.get("systemd"), node.get("command")) {
        (Some(unit), None) => restart(unit, wrong)?,
        (None, Some(command)) => HandlerActionSource::Command(only(command, "cmd", &["cmd"], "`command` of a handler", wrong)?),
        (Some(_), Some(_)) | (None, None) => {
            wrong.push(
                Diagnostic::error("a handler does one thing")
                    .at(name.place.clone())
                    .help("`systemd: {name: unit, state: restarted}` (or `reloaded`), or `command: {cmd: …}`"),
            );
            return None;
        }
    };
    Some(HandlerSource { name, action, ready })
}

fn restart(node: &Node, wrong: &mut Diagnostics) -> Option<HandlerActionSource> {
    for (key, _) in read::map(node, "`systemd`", wrong) {
        if !["name", "state"].contains(&key.name.as_str()) {
            wrong.push(read::unknown(key, "key of a handler's `systemd`:", &["name", "state"]));
        }
    }
    let (Some(unit), Some(state)) = (node.get("name"), node.get("state")) else {
        wrong.push(Diagnostic::error("a handler's `systemd` needs `name` and `state`").at(node.place.clone()));
        return None;
    };
    match state.as_str() {
        Some("restarted") => Some(HandlerActionSource::Restart(unit.clone())),
        Some("reloaded") => Some(HandlerActionSource::Reload(unit.clone())),
        Some(_) | None => {
            wrong.push(read::expected(state, "the `state` of a handler", "`restarted` or `reloaded`"));
            None
        }
    }
}

fn ready(node: &Node, wrong: &mut Diagnostics) -> Option<(Node, Duration)> {
    let command = only(node, "command", &["command", "timeout"], "`ready`", wrong)?;
    let timeout = node.get("timeout").map_or(Duration::from_mins(1), |time| read::duration(time, "`timeout`", wrong));
    Some((command, timeout))
}

/// Text given alone, or under the one key that is needed.
fn only(node: &Node, key: &str, known: &[&str], what: &str, wrong: &mut Diagnostics) -> Option<Node> {
    if matches!(node.value, Yaml::Str(_)) {
        return Some(node.clone());
    }
    let before = wrong.0.len();
    for (key, _) in read::map(node, what, wrong) {
        if !known.contains(&key.name.as_str()) {
            wrong.push(read::unknown(key, &format!("key of {what}:"), known));
        }
    }
    let found = node.get(key).cloned();
    if found.is_none() && wrong.0.len() == before {
        wrong.push(Diagnostic::error(format!("{what} needs `{key}`")).at(node.place.clone()));
    }
    found
}

const HEALTH_KEYS: &[&str] = &["name", "read", "exercise", "when", "tags"];

fn health(node: &Node, role_tags: &[Name], wrong: &mut Diagnostics) -> Option<HealthSource> {
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
            let Some(kind) = kinds::kind(&key.name) else {
                let diagnostic = Diagnostic::error(format!("unknown resource `{}`", key.name)).at(key.place.clone());
                wrong.push(diagnostic.suggest(did_you_mean(&key.name, kinds::names())));
                return None;
            };
            let parameters = task::parameters(value, kind, wrong)?;
            task::check_parameters(&parameters, kind, wrong);
            HealthCheckSource::Read(kind, key.place.clone(), parameters)
        }
        (None, Some([(key, value)])) => {
            HealthCheckSource::Exercise(Name { text: key.name.clone(), place: key.place.clone() }, value.clone())
        }
        (Some(_) | None, Some(_) | None) => {
            let diagnostic = Diagnostic::error("a health check looks at one thing").at(name.place.clone());
            wrong.push(diagnostic.help("`read: {resource: {…}}` or `exercise: {kind: {…}}`"));
            return None;
        }
    };
    Some(HealthSource { name, tags, when, check })
}
