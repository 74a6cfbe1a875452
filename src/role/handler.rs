//! Handlers as they are written.

use std::time::Duration;

use super::read::{self, Name};
use crate::source::{Diagnostic, Diagnostics, Node, Yaml};

/// A handler of a role. Values may be templates.
#[derive(Debug)]
pub struct HandlerSource {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub action: HandlerActionSource,
    /// The command that tells when it is ready, and how long that may take.
    pub ready: Option<(Node, Duration)>,
    /// The names that it had before: a node may still owe it a restart under one of them.
    pub was: Vec<Name>,
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

const HANDLER_KEYS: &[&str] = &["name", "was", "systemd", "command", "ready"];

pub(super) fn handler(node: &Node, wrong: &mut Diagnostics) -> Option<HandlerSource> {
    let entries = read::map(node, "a handler", wrong);
    for (key, _) in entries.iter().filter(|(key, _)| !HANDLER_KEYS.contains(&key.name.as_str())) {
        wrong.push(read::unknown(key, "key of a handler:", HANDLER_KEYS));
    }
    let Some(name) = node.get("name") else {
        wrong.push(Diagnostic::error("a handler needs a `name`").at(node.place.clone()));
        return None;
    };
    let name = read::name(name, "`name`", wrong)?;
    let was = node.get("was").map(|was| read::names(was, "`was`", wrong)).unwrap_or_default();
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
    Some(HandlerSource { name, action, ready, was })
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
