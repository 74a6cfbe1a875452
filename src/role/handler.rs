//! The source of handlers.

use std::time::Duration;

use super::{
    ansible_words::{self, HANDLER_KEYWORDS, TASK_KEYWORDS},
    kinds, pipefail,
    read::{self, Name},
};
use crate::source::{Diagnostic, Diagnostics, Key, Node, Span, Yaml};

/// A handler of a role. Values may be templates.
#[derive(Debug)]
pub struct HandlerSource {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub action: HandlerActionSource,
    /// The command that succeeds when it is ready, and the time limit.
    pub ready: Option<(Node, Duration)>,
    /// Its former names: it may still be pending on a node under one of them.
    pub was: Vec<Name>,
}

/// What a handler does.
#[derive(Debug)]
pub enum HandlerActionSource {
    /// Restarts a unit.
    Restart(Node),
    /// Restarts a unit if it is running.
    RestartIfRunning(Node),
    /// Reloads a unit.
    Reload(Node),
    /// Runs a command.
    Command(Node),
    /// Restarts or recreates the containers of a project of Docker Compose: the word, and the parameters.
    Compose(Span, Node),
}

const HANDLER_KEYS: &[&str] = super::keywords::HANDLER_NAMES;

/// Returns the action that a key of a handler names, under any of its names.
fn action(key: &str) -> Option<&'static str> {
    match kinds::resolve(key)?.name {
        "systemd" | "systemd_service" => Some("systemd"),
        "command" => Some("command"),
        "docker_compose" => Some("docker_compose"),
        _ => None,
    }
}

fn unknown(key: &Key) -> Diagnostic {
    if let Some(kind) = kinds::resolve(&key.name) {
        let diagnostic = Diagnostic::error(format!("a handler cannot be a `{}`", kind.name)).at(key.span.clone());
        return diagnostic.help("make it a task; a handler restarts or reloads a unit or containers, or runs a command");
    }
    let words = if ansible_words::find(HANDLER_KEYWORDS, &key.name).is_some() { HANDLER_KEYWORDS } else { TASK_KEYWORDS };
    match ansible_words::module(&key.name) {
        Some(help) if ansible_words::find(words, &key.name).is_none() => {
            Diagnostic::error(format!("unknown key of a handler: `{}`", key.name)).at(key.span.clone()).help(help)
        }
        Some(_) | None => read::unknown_or_explained(key, "key of a handler:", HANDLER_KEYS, words),
    }
}

pub(super) fn handler(node: &Node, errors: &mut Diagnostics) -> Option<HandlerSource> {
    let entries = read::map(node, "a handler", errors);
    let actions: Vec<(&Key, &Node, &str)> =
        entries.iter().filter_map(|(key, value)| Some((key, value, action(&key.name)?))).collect();
    for (key, _) in entries {
        if action(&key.name).is_none() && !HANDLER_KEYS.contains(&key.name.as_str()) {
            errors.push(unknown(key));
        }
    }
    read::check_become(node.get("become"), errors);
    let Some(name) = node.get("name") else {
        errors.push(Diagnostic::error("a handler needs a `name`").at(node.span.clone()));
        return None;
    };
    let name = read::name(name, "`name`", errors)?;
    let was = node.get("was").map(|was| read::names(was, "`was`", errors)).unwrap_or_default();
    let ready = node.get("ready").and_then(|ready| self::ready(ready, errors));
    let action = match actions.as_slice() {
        [(_, unit, "systemd")] => systemd_action(unit, errors)?,
        [(key, parameters, "docker_compose")] => HandlerActionSource::Compose(key.span.clone(), (*parameters).clone()),
        [(_, command, _)] => {
            HandlerActionSource::Command(text_or_entry(command, "cmd", &["cmd"], "`command` of a handler", errors)?)
        }
        [] | [_, _, ..] => {
            errors.push(
                Diagnostic::error("a handler needs exactly one action")
                    .at(name.span.clone())
                    .help("`systemd: {name: unit, state: restarted}` (or `reloaded`), or `command: {cmd: …}`"),
            );
            return None;
        }
    };
    Some(HandlerSource { name, action, ready, was })
}

const UNIT_KEYS: &[&str] = &["name", "service", "unit", "state", "if_running", "daemon_reload"];

/// Reads `systemd` of a handler. `daemon_reload` beside a unit changes nothing: systemd reads the files of a unit that changed before it
/// restarts or reloads it.
fn systemd_action(node: &Node, errors: &mut Diagnostics) -> Option<HandlerActionSource> {
    let entries = read::map(node, "`systemd`", errors);
    for (key, _) in entries.iter().filter(|(key, _)| !UNIT_KEYS.contains(&key.name.as_str())) {
        let diagnostic = read::unknown(key, "key of a handler's `systemd`:", &["name", "state", "if_running", "daemon_reload"]);
        errors.push(match key.name.as_str() {
            "enabled" | "masked" => diagnostic.help(format!("set `{}` in a task: `systemd: {{name: …, {0}: …}}`", key.name)),
            _ => diagnostic,
        });
    }
    let reads_files = node.get("daemon_reload").is_some_and(|flag| read::flag(flag, "`daemon_reload`", errors));
    let unit = entries.iter().find(|(key, _)| matches!(key.name.as_str(), "name" | "service" | "unit")).map(|(_, unit)| unit);
    let (unit, state) = match (unit, node.get("state")) {
        (Some(unit), Some(state)) => (unit, state),
        (_, None) if reads_files => {
            let command = Yaml::Str("systemctl daemon-reload".to_owned());
            return Some(HandlerActionSource::Command(Node { value: command, ..node.clone() }));
        }
        (Some(_), None) | (None, Some(_) | None) => {
            errors.push(Diagnostic::error("a handler's `systemd` needs `name` and `state`").at(node.span.clone()));
            return None;
        }
    };
    let flag = node.get("if_running");
    let if_running = flag.is_some_and(|flag| read::flag(flag, "`if_running`", errors));
    match state.as_str() {
        Some("restarted") if if_running => Some(HandlerActionSource::RestartIfRunning(unit.clone())),
        Some("reloaded") if if_running => {
            let span = flag.map_or(&state.span, |flag| &flag.span).clone();
            errors.push(Diagnostic::error("`if_running` is for `state: restarted` only").at(span));
            None
        }
        Some("restarted") => Some(HandlerActionSource::Restart(unit.clone())),
        Some("reloaded") => Some(HandlerActionSource::Reload(unit.clone())),
        Some(_) | None => {
            let diagnostic = read::expected(state, "the `state` of a handler", "`restarted` or `reloaded`");
            errors.push(match state.as_str() {
                Some("started" | "stopped") => diagnostic.help("that is a state: declare it in a task"),
                Some(_) | None => diagnostic,
            });
            None
        }
    }
}

fn ready(node: &Node, errors: &mut Diagnostics) -> Option<(Node, Duration)> {
    let command = text_or_entry(node, "command", &["command", "timeout"], "`ready`", errors)?;
    let timeout = node.get("timeout").map_or(Duration::from_mins(1), |time| read::duration(time, "`timeout`", errors));
    Some((command, timeout))
}

/// Reads a text that is given alone, or under the required key of a map.
fn text_or_entry(node: &Node, key: &str, known: &[&str], what: &str, errors: &mut Diagnostics) -> Option<Node> {
    if matches!(node.value, Yaml::Str(_)) {
        pipefail::check(node, pipefail::Line::Other, errors);
        return Some(node.clone());
    }
    let before = errors.0.len();
    for (key, _) in read::map(node, what, errors) {
        if !known.contains(&key.name.as_str()) {
            errors.push(read::unknown(key, &format!("key of {what}:"), known));
        }
    }
    let found = node.get(key).cloned();
    if let Some(line) = &found {
        pipefail::check(line, pipefail::Line::Other, errors);
    }
    if found.is_none() && errors.0.len() == before {
        errors.push(Diagnostic::error(format!("{what} needs `{key}`")).at(node.span.clone()));
    }
    found
}
