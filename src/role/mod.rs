//! The source of roles: `roles/<name>/role.yml`, read strictly, with a span for every value.

pub(crate) mod ansible_words;
mod block;
mod handler;
mod health;
mod key_value;
pub mod keywords;
mod kinds;
mod layout;
mod pipefail;
mod read;
mod task;
#[cfg(test)]
pub(crate) mod toys;
mod types;
mod variable;

pub use handler::{HandlerActionSource, HandlerSource};
pub use health::{HealthCheckSource, HealthSource};
pub(crate) use layout::misplaced_template;
pub use read::Name;
pub use task::{Revert, TaskSource};
pub use types::{Limits, VarType, kind_of, truth};
pub use variable::{Default, SecretSource};

use std::{iter, path::Path};

use block::Inherited;
use indexmap::IndexMap;

use crate::{
    resource::Kind,
    secret::holds_token,
    source::{Diagnostic, Diagnostics, FilesRead, Key, Node, SourceFile, Span, did_you_mean, yaml},
    values::{mark_name, mark_names},
};

/// Ansible's variable for whether this is a check. Nothing may depend on that here, so it has no value and cannot be set.
pub const CHECK_MODE: &str = "ansible_check_mode";

/// Ansible's value for "leave this parameter out". Here it is `null`, which has the same effect.
pub const OMIT: &str = "omit";

/// Names that no variable of a role can have.
pub const MAGIC: &[&str] = &[
    "inventory_hostname",
    "inventory_hostname_short",
    "groups",
    "group_names",
    "hostvars",
    "item",
    CHECK_MODE,
    "ansible_facts",
    "secrets",
    OMIT,
];

/// A role.
#[derive(Debug)]
pub struct Role {
    /// The name of its directory.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its former names: a handler may still be pending on a node under one of them.
    pub was: Vec<Name>,
    /// Roles that are deployed before it; their variables and secrets are in its scope.
    pub requires: Vec<Name>,
    /// Its variables.
    pub defaults: IndexMap<String, Default>,
    /// The secrets that it needs on its host.
    pub secrets: IndexMap<String, SecretSource>,
    /// What it does, in order.
    pub tasks: Vec<TaskSource>,
    /// The results of tasks that could not be read, which has been reported.
    pub unread_results: Vec<String>,
    /// Its handlers, in the order in which they run.
    pub handlers: Vec<HandlerSource>,
    /// Its health checks.
    pub health: Vec<HealthSource>,
}

const KEYS: &[&str] = keywords::ROLE_NAMES;

/// Returns the name of the resource that a word means in a role file: its own name, an alias such as `service`, or a long name.
#[must_use]
pub fn resource_name(word: &str) -> Option<&'static str> {
    kinds::resolve(word).map(|kind| kind.name)
}

/// Returns what to write here in place of a module or a keyword of Ansible.
#[must_use]
pub fn ansible_advice(word: &str) -> Option<String> {
    let tables = [ansible_words::TASK_KEYWORDS, ansible_words::HANDLER_KEYWORDS, ansible_words::ROLE_KEYS];
    let short = word.rsplit('.').next().unwrap_or(word);
    tables
        .iter()
        .find_map(|table| ansible_words::find(table, short))
        .map(ansible_words::Word::help)
        .or_else(|| ansible_words::module(word))
}

/// Returns the name of a kind as it is written in a role file: `service` for `systemd`.
pub(crate) fn written_name<'a, T: ?Sized>(kind: &Kind<T>, span: &'a Span) -> &'a str {
    kinds::written(kind, span.text())
}

/// Returns what to do instead of a value that a parameter has in Ansible and not here.
pub(crate) fn value_advice(resource: &str, parameter: &str, value: &str) -> Option<&'static str> {
    ansible_words::value(resource_name(resource)?, parameter, value)
}

/// The kind of resource with this name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    kinds::kind(name)
}

impl Role {
    /// Reads `roles/<name>/role.yml` of a project. Adds errors to `errors`, and returns what could be read.
    pub fn read(project: &Path, name: &str, files: &FilesRead, errors: &mut Diagnostics) -> Option<Self> {
        let shown = format!("roles/{name}/role.yml");
        let file = errors.keep(
            files.read(&project.join(&shown), &shown).map_err(|error| layout::explain(project, name, error, &files.boundary)),
        )?;
        if let Some(span) = reserved(&file) {
            errors.push(Diagnostic::error("a character that is reserved for secrets").at(span));
            return None;
        }
        let root = errors.keep(yaml::parse(&file))?;
        if let Some(items) = root.as_seq() {
            errors.push(unexpected_list(&root, items));
            return None;
        }
        let entries = read::map(&root, "a role", errors);
        for (key, _) in entries.iter().filter(|(key, _)| !KEYS.contains(&key.name.as_str())) {
            errors.push(read::unknown_or_explained(key, "key of a role:", KEYS, ansible_words::ROLE_KEYS));
        }
        let description =
            root.get("description").and_then(|text| read::name(text, "`description`", errors)).map(|name| name.text);
        let was = root.get("was").map(|was| read::names(was, "`was`", errors)).unwrap_or_default();
        let requires = root.get("requires").map(|requires| read::names(requires, "`requires`", errors)).unwrap_or_default();
        let tags = root.get("tags").map(|tags| read::names(tags, "a tag", errors)).unwrap_or_default();
        let mut role = Self {
            name: name.to_owned(),
            description,
            was,
            requires,
            defaults: IndexMap::new(),
            secrets: IndexMap::new(),
            tasks: Vec::new(),
            unread_results: Vec::new(),
            handlers: Vec::new(),
            health: Vec::new(),
        };
        for (key, value) in section(&root, "defaults", errors) {
            variable::check_variable(key, errors);
            role.defaults.insert(key.name.clone(), variable::default(key, value, errors));
        }
        for (key, value) in section(&root, "secrets", errors) {
            if let Some(secret) = variable::secret(key, value, errors) {
                role.secrets.insert(key.name.clone(), secret);
            }
        }
        let items = |section: &str, errors: &mut Diagnostics| {
            root.get(section).map(|node| read::list(node, &format!("`{section}`"), errors)).unwrap_or_default()
        };
        role.handlers = items("handlers", errors).iter().filter_map(|node| handler::handler(node, errors)).collect();
        let before = errors.0.len();
        role.tasks = block::tasks(items("tasks", errors), &Inherited::new(tags.clone()), &mut role.unread_results, errors);
        role.health = health::checks(items("health", errors), &tags, errors);
        role.check_names(&root, errors.0.len() == before, errors);
        Some(role)
    }

    /// Reports duplicate names, and handlers that do not exist.
    fn check_names(&self, root: &Node, complete: bool, errors: &mut Diagnostics) {
        check_unique("task", self.tasks.iter().map(|task| &task.name), errors);
        check_unique("handler", self.handlers.iter().map(|handler| &handler.name), errors);
        check_unique("health check", self.health.iter().map(|health| &health.name), errors);
        self.check_marks(errors);
        let registers: Vec<&Name> = self.tasks.iter().filter_map(|task| task.register.as_ref()).collect();
        for register in &registers {
            if MAGIC.contains(&register.text.as_str()) || self.defaults.contains_key(&register.text) {
                errors.push(Diagnostic::error(format!("`{}` is already a variable", register.text)).at(register.span.clone()));
            }
        }
        let written = root.get("handlers").and_then(Node::as_seq).unwrap_or_default();
        let known: Vec<&str> = written.iter().filter_map(|handler| handler.get("name")?.as_str()).collect();
        for notify in self.tasks.iter().flat_map(|task| &task.notify) {
            if !known.contains(&notify.text.as_str()) {
                let diagnostic = Diagnostic::error(format!("unknown handler `{}`", notify.text)).at(notify.span.clone());
                errors.push(match did_you_mean(&notify.text, known.iter().copied()) {
                    Some(name) => diagnostic.suggest(Some(name)),
                    None => diagnostic.help("handlers are declared under `handlers:` of the same role"),
                });
            }
        }
        if complete {
            for handler in &self.handlers {
                if !self.tasks.iter().flat_map(|task| &task.notify).any(|notify| notify.text == handler.name.text) {
                    let warning = Diagnostic::warning(format!("no task notifies `{}`", handler.name.text));
                    errors.push(warning.at(handler.name.span.clone()));
                }
            }
        }
    }
}

impl Role {
    /// Returns the file names of a handler's pending marks on a node: of its own name, then of its former names.
    #[must_use]
    pub fn marks(&self, handler: &HandlerSource) -> Vec<String> {
        fn texts(names: &[Name]) -> Vec<&str> {
            names.iter().map(|name| name.text.as_str()).collect()
        }
        mark_names(&self.name, &texts(&self.was), &handler.name.text, &texts(&handler.was))
    }

    /// Reports handlers that would share a pending mark on a node: it would not say which of them is pending.
    fn check_marks(&self, errors: &mut Diagnostics) {
        let mut known: IndexMap<String, (&HandlerSource, &Name)> = IndexMap::new();
        for handler in &self.handlers {
            for name in iter::once(&handler.name).chain(&handler.was) {
                let mark = mark_name(&self.name, &name.text);
                let Some((other, first)) = known.insert(mark, (handler, name)) else { continue };
                // Two handlers with the same name are reported elsewhere.
                if other.name.text == handler.name.text {
                    continue;
                }
                let title = if first.text == name.text {
                    format!("`{}` and `{}` both have the name `{}`", other.name.text, handler.name.text, name.text)
                } else {
                    format!("the handlers `{}` and `{}` would share one pending mark on the node", first.text, name.text)
                };
                let diagnostic = Diagnostic::error(title).at(name.span.clone()).also(first.span.clone(), "the first");
                errors.push(if first.text == name.text {
                    diagnostic.help("a handler that is pending on a node under a former name must be exactly one of the role's")
                } else {
                    diagnostic.help(
                        "their names must differ in letters, digits, `_` or `-`: in a mark, every other character becomes `-`",
                    )
                });
            }
        }
    }
}

/// Returns the error for a role file that is a list, as Ansible's playbooks and task files are.
fn unexpected_list(root: &Node, items: &[Node]) -> Diagnostic {
    let span = items.first().map_or_else(|| root.span.clone(), |item| item.span.clone());
    let has = |key: &str| items.iter().any(|item| item.get(key).is_some());
    if has("hosts") || has("import_playbook") || has("ansible.builtin.import_playbook") {
        return Diagnostic::error("this is a list of plays, but a role is expected").at(span).help(
            "put the plays' tasks under `tasks:`, their handlers under `handlers:` and their `vars` under `defaults:`; \
             the inventory says in `autobot_roles` which hosts have the role",
        );
    }
    Diagnostic::error("this is a list of tasks, but a role is expected")
        .at(span)
        .help("put them under `tasks:`, handlers under `handlers:`, and variables under `defaults:`")
}

/// Returns the span of a reserved character, which marks secrets, in a file.
pub(crate) fn reserved(file: &std::sync::Arc<SourceFile>) -> Option<Span> {
    if !holds_token(&file.text) {
        return None;
    }
    let (at, letter) = file.text.char_indices().find(|(_, letter)| holds_token(letter.encode_utf8(&mut [0; 4])))?;
    Some(Span::new(file, at..at + letter.len_utf8()))
}

fn check_unique<'a>(what: &str, names: impl Iterator<Item = &'a Name>, errors: &mut Diagnostics) {
    let mut seen: IndexMap<&str, &Span> = IndexMap::new();
    for name in names {
        match seen.get(name.text.as_str()) {
            Some(first) => {
                let diagnostic =
                    Diagnostic::error(format!("two {what}s are named `{}`: names must be unique within a role", name.text));
                errors.push(diagnostic.at(name.span.clone()).also((*first).clone(), "the first"));
            }
            None => {
                seen.insert(&name.text, &name.span);
            }
        }
    }
}

fn section<'a>(root: &'a Node, name: &str, errors: &mut Diagnostics) -> &'a [(Key, Node)] {
    root.get(name).map(|node| read::map(node, &format!("`{name}`"), errors)).unwrap_or_default()
}
