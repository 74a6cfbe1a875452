//! `explain`: where each value of a host's variables comes from, and what it overrode.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        arguments::{InventoryArgs, Output, OutputArgs, Selection},
        exit::Exit,
        loading, out,
        project::GivenProject,
    },
    plan::{self, Explained, Layer, Origin, ResolvedValue, Variable},
    report::{Style, harmless},
    role::VarType,
    source::Span,
};

/// The arguments of `explain`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// A host, or a group that holds just one
    #[arg(value_name = "HOST")]
    pub(in crate::cli) host: String,

    /// A variable to explain in full (default: all of them)
    #[arg(value_name = "VAR")]
    pub(in crate::cli) variable: Option<String>,

    #[command(flatten)]
    pub(in crate::cli) inventory: InventoryArgs,

    /// Roles (default: those that the inventory gives the host in `autobot_roles`)
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    pub(in crate::cli) role: Vec<String>,

    /// Variable: `name=value`, `{json}` or `@file.yml`; wins over every other
    #[arg(short, long, value_name = "VAR")]
    pub(in crate::cli) extra_vars: Vec<String>,

    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

impl Explain {
    /// The inventory, roles and variables that are asked about.
    pub(in crate::cli) fn selection(&self) -> Selection {
        Selection {
            inventory: self.inventory.clone(),
            role: self.role.clone(),
            limit: None,
            tags: Vec::new(),
            skip_tags: Vec::new(),
            extra_vars: self.extra_vars.clone(),
        }
    }
}

/// The text for a value that must not be shown.
const HIDDEN: &str = "(hidden)";

/// Prints it. Nothing is contacted.
pub(in crate::cli) fn run(given: GivenProject<'_>, arguments: &Explain) -> Exit {
    let request = loading::request(given, &arguments.selection());
    let explained = request.and_then(|request| plan::explain(&request, &arguments.host, arguments.variable.as_deref()));
    match explained {
        Err(errors) => loading::wrong(&errors, arguments.output.format),
        Ok(explained) => {
            out::warnings(&explained.warnings);
            let text = |text: String| out::line(harmless(&text).trim_end());
            match (arguments.output.format, &arguments.variable) {
                (Output::Json, _) => out::json(&format!("{:#}", document(&explained))),
                (Output::Text, None) => text(all(&explained, out::style())),
                (Output::Text, Some(_)) => text(explained.variables.iter().map(in_full).collect::<Vec<_>>().join("\n")),
            }
            let is_invalid = |variable: &Variable| matches!(variable.value, ResolvedValue::Invalid(_));
            if arguments.variable.is_some() && explained.variables.iter().any(is_invalid) {
                Exit::WRONG_FILES
            } else {
                Exit::DONE
            }
        }
    }
}

/// Every variable: its value, cut to the line; where it comes from; what it overrode.
fn all(explained: &Explained, style: Style) -> String {
    let roles = if explained.roles.is_empty() { "no roles".to_owned() } else { explained.roles.join(", ") };
    let mut text = format!("{}: {roles}\n", explained.host);
    for variable in &explained.variables {
        let (value, note) = format_value(variable);
        let name = title(variable);
        let used = name.chars().count() + 3 + note.chars().count();
        let _ = writeln!(text, "\n{name} = {}{note}", style.fit(&value, used));
        let _ = writeln!(text, "    from {}", source(&variable.origin));
        for origin in &variable.overridden {
            let line = format!("    over {}: ", source(origin));
            text.push_str(&line);
            text.push_str(&style.fit(&written(origin), line.chars().count()));
            text.push('\n');
        }
    }
    text
}

/// One variable, with whole values.
fn in_full(variable: &Variable) -> String {
    let (value, note) = match &variable.value {
        ResolvedValue::Known(value @ (Value::Array(_) | Value::Object(_))) => (format!("{value:#}"), String::new()),
        ResolvedValue::Known(_)
        | ResolvedValue::NeedsFacts
        | ResolvedValue::Hidden
        | ResolvedValue::Unset
        | ResolvedValue::Invalid(_) => format_value(variable),
    };
    let mut text = format!("{} = {value}{note}\n", title(variable));
    let about: Vec<&str> = variable.takes.as_deref().into_iter().chain(variable.help.as_deref()).collect();
    if !about.is_empty() {
        let _ = writeln!(text, "    {}", about.join(": "));
    }
    let from = source(&variable.origin);
    match &variable.value {
        // A template is shown beside its result.
        ResolvedValue::Known(value) if variable.origin.written.as_ref().is_some_and(|written| written != value) => {
            let _ = writeln!(text, "    from {from}: {}", written(&variable.origin));
        }
        ResolvedValue::Known(_)
        | ResolvedValue::NeedsFacts
        | ResolvedValue::Hidden
        | ResolvedValue::Unset
        | ResolvedValue::Invalid(_) => {
            let _ = writeln!(text, "    from {from}");
        }
    }
    for origin in &variable.overridden {
        let _ = writeln!(text, "    over {}: {}", source(origin), written(origin));
    }
    text
}

fn title(variable: &Variable) -> String {
    match &variable.role {
        Some(role) => format!("{} (in role {role})", variable.name),
        None => variable.name.clone(),
    }
}

/// A value and its notes.
fn format_value(variable: &Variable) -> (String, String) {
    match &variable.value {
        ResolvedValue::Known(value) => (value_text(value), String::new()),
        ResolvedValue::NeedsFacts => {
            (variable.origin.written.as_ref().map(value_text).unwrap_or_default(), "  (needs facts)".to_owned())
        }
        ResolvedValue::Hidden if matches!(variable.origin.layer, Layer::Secret(_)) => ("(a secret)".to_owned(), String::new()),
        ResolvedValue::Hidden => (variable.origin.written.as_ref().map_or_else(|| HIDDEN.to_owned(), value_text), String::new()),
        ResolvedValue::Unset => ("(must be set)".to_owned(), String::new()),
        ResolvedValue::Invalid(why) => {
            (variable.origin.written.as_ref().map(value_text).unwrap_or_default(), format!("  (wrong: {why})"))
        }
    }
}

fn written(origin: &Origin) -> String {
    match (&origin.written, &origin.layer) {
        (Some(value), _) => value_text(value),
        (None, Layer::Role(_)) => "(no default)".to_owned(),
        (None, _) => HIDDEN.to_owned(),
    }
}

/// Plain text unchanged, everything else as JSON in one line.
fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// Returns whether a text fits on a line and cannot be mistaken for a value of another type.
fn is_plain(text: &str) -> bool {
    let is_text = serde_json::from_str::<Value>(text).is_err();
    is_text && !text.is_empty() && text.trim() == text && !text.contains(char::is_control)
}

fn source(origin: &Origin) -> String {
    let layer = layer_name(&origin.layer);
    match &origin.span {
        None => layer,
        Some(span) if span.file.shown == layer => span.to_string(),
        Some(span) => format!("{span} ({layer})"),
    }
}

fn layer_name(layer: &Layer) -> String {
    match layer {
        Layer::Always => "built-in variables".to_owned(),
        Layer::Extra => "-e".to_owned(),
        Layer::HostVars => "host_vars".to_owned(),
        Layer::Host => "host".to_owned(),
        Layer::GroupVars(group) => format!("group_vars of {group}"),
        Layer::Group(group) => format!("group {group}"),
        Layer::Role(role) => format!("role {role}"),
        Layer::Secret(role) => format!("secret of role {role}"),
    }
}

/// `{host, roles, variables: [{name, role, type, help, state, value, error, origin, overridden}]}`; `state` is `known`, `needs facts`,
/// `hidden`, `unset` or `wrong`; an origin is `{layer, of, file, line, col, written}`.
fn document(explained: &Explained) -> Value {
    let variables: Vec<Value> = explained
        .variables
        .iter()
        .map(|variable| {
            let (state, value, error) = match &variable.value {
                ResolvedValue::Known(value) => ("known", Some(value), None),
                ResolvedValue::NeedsFacts => ("needs facts", None, None),
                ResolvedValue::Hidden => ("hidden", None, None),
                ResolvedValue::Unset => ("unset", None, None),
                ResolvedValue::Invalid(why) => ("wrong", None, Some(why)),
            };
            json!({
                "name": variable.name,
                "role": variable.role,
                "type": variable.kind.map(VarType::as_str).filter(|word| !word.is_empty()),
                "one_of": (!variable.limits.one_of.is_empty()).then_some(&variable.limits.one_of),
                "min": variable.limits.min,
                "max": variable.limits.max,
                "help": variable.help,
                "state": state,
                "value": value,
                "error": error,
                "origin": origin(&variable.origin),
                "overridden": variable.overridden.iter().map(origin).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "host": explained.host, "roles": explained.roles, "variables": variables })
}

fn origin(origin: &Origin) -> Value {
    let (layer, of) = match &origin.layer {
        Layer::Always => ("always", None),
        Layer::Extra => ("-e", None),
        Layer::HostVars => ("host_vars", None),
        Layer::Host => ("host", None),
        Layer::GroupVars(group) => ("group_vars", Some(group)),
        Layer::Group(group) => ("group", Some(group)),
        Layer::Role(role) => ("role", Some(role)),
        Layer::Secret(role) => ("secret", Some(role)),
    };
    let at = origin.span.as_ref().map(Span::line_col);
    json!({
        "layer": layer,
        "of": of,
        "file": origin.span.as_ref().map(|span| span.file.shown.as_str()),
        "line": at.map(|(line, _)| line),
        "col": at.map(|(_, col)| col),
        "written": origin.written,
    })
}
