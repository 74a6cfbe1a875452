//! `block`: tasks that share conditions, tags, variables and more, which each of them inherits when a role is read.

use crate::{
    resource::Kind,
    source::{Diagnostic, Diagnostics, Key, Node, Span, Yaml},
};

use super::{
    ansible_words::TASK_KEYWORDS,
    read::{self, Name},
    task::{self, TaskSource},
    variable,
};

const BLOCK_KEYS: &[&str] =
    &["name", "block", "when", "tags", "vars", "notify", "become", "become_user", "environment", "no_log"];

/// Keywords that belong to one task.
const TASK_ONLY_KEYS: &[&str] = &["loop", "register", "retries", "delay", "timeout", "args"];

/// The resources whose programs get the `environment` in Ansible, but not here.
const RUN_PROGRAMS: &[&str] = &["apt", "get_url", "deb822_repository"];

/// What a task inherits from its role and from the blocks around it.
#[derive(Debug, Clone, Default)]
pub(super) struct Inherited {
    /// Tags; its own come last.
    pub(super) tags: Vec<Name>,
    /// Conditions that must all hold; those of the outermost block come first.
    pub(super) when: Vec<Node>,
    /// Variables; the innermost of a name comes first, and wins.
    pub(super) vars: Vec<(Key, Node)>,
    /// Handlers that a change of the task notifies.
    pub(super) notify: Vec<Name>,
    /// Whether its diff and outputs are hidden.
    pub(super) no_log: bool,
    /// The user that runs it, and whether the task or a block sets it.
    become_user: Option<(Key, Node, Source)>,
    /// The environment of a command.
    environment: Option<(Key, Node, Source)>,
}

/// Where a keyword is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Task,
    Block,
}

impl Inherited {
    /// Starts with what every task of a role has.
    pub(super) fn new(tags: Vec<Name>) -> Self {
        Self { tags, ..Self::default() }
    }

    /// Adds what a task or a block sets itself.
    pub(super) fn with(mut self, node: &Node, errors: &mut Diagnostics) -> Self {
        let source = if node.get("block").is_some() { Source::Block } else { Source::Task };
        if let Some(tags) = node.get("tags") {
            self.tags.extend(read::names(tags, "a tag", errors));
        }
        match node.get("when") {
            Some(Node { value: Yaml::Seq(items), .. }) => self.when.extend(items.iter().cloned()),
            Some(one) => self.when.push(one.clone()),
            None => {}
        }
        let vars = node.get("vars").map(|vars| read::map(vars, "`vars`", errors)).unwrap_or_default();
        for (key, _) in vars {
            variable::check_variable(key, errors);
        }
        self.vars.retain(|(outer, _)| !vars.iter().any(|(inner, _)| inner.name == outer.name));
        self.vars.splice(0..0, vars.iter().cloned());
        for name in node.get("notify").map(|notify| read::names(notify, "`notify`", errors)).unwrap_or_default() {
            if !self.notify.iter().any(|known| known.text == name.text) {
                self.notify.push(name);
            }
        }
        if let Some(flag) = node.get("no_log") {
            self.no_log = read::flag(flag, "`no_log`", errors);
        }
        read::check_become(node.get("become"), errors);
        if let Some((key, user)) = entry(node, "become_user") {
            self.become_user = Some((key.clone(), user.clone(), source));
        }
        if let Some((key, environment)) = entry(node, "environment") {
            let merged = self.merged(environment, errors);
            self.environment = Some((key.clone(), merged, source));
        }
        self
    }

    /// Returns the environment of the surrounding blocks, overlaid with this one.
    fn merged(&self, inner: &Node, errors: &mut Diagnostics) -> Node {
        let Some((_, outer, _)) = &self.environment else { return inner.clone() };
        let (Some(outer), Some(entries)) = (outer.as_map(), inner.as_map()) else {
            errors.push(read::expected(inner, "`environment` within a block that has one", "a map"));
            return inner.clone();
        };
        let kept = outer.iter().filter(|(key, _)| !entries.iter().any(|(inner, _)| inner.name == key.name));
        Node { value: Yaml::Map(kept.chain(entries).cloned().collect()), ..inner.clone() }
    }

    /// Adds the user and the environment to the parameters of a command. Other resources have neither.
    pub(super) fn add_to(&self, parameters: &mut Node, kind: &'static Kind, span: &Span, errors: &mut Diagnostics) {
        let Yaml::Map(parameters) = &mut parameters.value else { return };
        if let Some((key, user, source)) = &self.become_user {
            if kind.takes("become_user") {
                parameters.push((key.clone(), user.clone()));
            } else if user.as_str() != Some("root") {
                let diagnostic = Diagnostic::error(format!("`become_user` is for `command` only, not for `{}`", kind.name))
                    .at(key.span.clone());
                errors.push(match source {
                    Source::Task => diagnostic.help("the task runs as root; `owner` and `group` set the owner of a file"),
                    Source::Block => diagnostic
                        .also(span.clone(), "in the block")
                        .help("put it on the commands; `owner` and `group` set the owner of a file"),
                });
            }
        }
        if let Some((key, environment, source)) = &self.environment {
            if kind.takes("environment") {
                parameters.push((key.clone(), environment.clone()));
            } else if *source == Source::Task || RUN_PROGRAMS.contains(&kind.name) {
                let title = format!("`environment` is for `command` only, not for `{}`", kind.name);
                let mut diagnostic = Diagnostic::error(title).at(key.span.clone());
                if *source == Source::Block {
                    diagnostic = diagnostic.also(span.clone(), "in the block");
                }
                errors.push(diagnostic.help(match kind.name {
                    "apt" => "leave it out: packages never ask questions, and apt reads its proxy from its own configuration",
                    "get_url" | "deb822_repository" => "leave it out: files are fetched through apt's proxy",
                    _ => "leave it out: it changes nothing",
                }));
            }
        }
    }
}

fn entry<'a>(node: &'a Node, name: &str) -> Option<&'a (Key, Node)> {
    node.as_map()?.iter().find(|(key, _)| key.name == name)
}

/// Reads tasks, including those in nested blocks.
pub(super) fn tasks(
    nodes: &[Node],
    inherited: &Inherited,
    unread_results: &mut Vec<String>,
    errors: &mut Diagnostics,
) -> Vec<TaskSource> {
    let mut found = Vec::new();
    for node in nodes {
        match node.get("block") {
            Some(inner) => {
                let shared = block(node, inherited, errors);
                let inside = content(inner, "task", errors);
                found.extend(tasks(inside, &shared, unread_results, errors));
            }
            None => match task::read(node, inherited, errors) {
                Some(task) => found.push(task),
                None => unread_results.extend(node.get("register").and_then(Node::as_str).map(str::to_owned)),
            },
        }
    }
    found
}

/// Returns what is listed in a block, which must not be empty. `what` is one of its items.
pub(super) fn content<'a>(inner: &'a Node, what: &str, errors: &mut Diagnostics) -> &'a [Node] {
    let inside = read::list(inner, "`block`", errors);
    if inside.is_empty() && (inner.as_seq().is_some() || inner.value == Yaml::Null) {
        let error = Diagnostic::error(format!("a block needs at least one {what}")).at(inner.span.clone());
        errors.push(error.help(format!("list its {what}s under `block:`, or leave the block out")));
    }
    inside
}

/// Returns what the tasks of a block share.
fn block(node: &Node, inherited: &Inherited, errors: &mut Diagnostics) -> Inherited {
    for (key, _) in node.as_map().unwrap_or_default() {
        if TASK_ONLY_KEYS.contains(&key.name.as_str()) {
            let diagnostic = Diagnostic::error(format!("a block cannot have `{}`", key.name)).at(key.span.clone());
            errors.push(diagnostic.help("put it on each task that needs it"));
        } else if !BLOCK_KEYS.contains(&key.name.as_str()) {
            errors.push(read::unknown_or_explained(key, "key of a block:", BLOCK_KEYS, TASK_KEYWORDS));
        }
    }
    inherited.clone().with(node, errors)
}
