//! Secrets may be passed on unchanged where they are allowed; any other use is refused.

use serde_json::Value;

use crate::{
    secret::holds_token,
    source::{Diagnostic, Node, Span},
};

use super::scope::{Failed, Scope, Secrets, any_text};

/// Renders parameters, and refuses secrets anywhere except in `allowed` parameters and passed on unchanged.
pub(super) fn render_enforcing_secret_policy(
    scope: &Scope<'_>,
    node: &Node,
    kind: &str,
    allowed: &[&str],
    render: impl Fn(&Scope<'_>) -> Result<Value, Failed>,
) -> Result<Value, Failed> {
    scope.secrets.set(Secrets::Tokens);
    let values = render(scope)?;
    only_passed_on(scope, node, &values, render)?;
    for (key, value) in node.as_map().unwrap_or_default() {
        if !allowed.contains(&key.name.as_str()) && values.get(&key.name).is_some_and(|value| any_text(value, &holds_token)) {
            let title = format!("a secret cannot be used in `{}` of `{kind}`", key.name);
            let diagnostic = Diagnostic::error(title).at(value.span.clone());
            return Err(scope.fail(match allowed {
                [] => diagnostic.help("put it into the content of a file, and name the file here"),
                some => diagnostic.help(format!("it may be in: {}", some.join(", "))),
            }));
        }
    }
    Ok(values)
}

/// Refuses a result that depends on the value of a secret: rendered with other tokens, it must be the same except for the tokens.
fn only_passed_on(
    scope: &Scope<'_>,
    node: &Node,
    values: &Value,
    render: impl FnOnce(&Scope<'_>) -> Result<Value, Failed>,
) -> Result<(), Failed> {
    if !scope.used_secret() {
        return Ok(());
    }
    let others = render(&scope.again(Secrets::OtherTokens)).map(|others| with_real_tokens(scope, others));
    let is_passed_on = |value: Option<&Value>, other: Option<&Value>| {
        value == other && value.is_none_or(|value| !any_text(value, &|text| !scope.tokens_are_whole(text)))
    };
    let others = others.ok();
    if is_passed_on(Some(values), others.as_ref()) {
        return Ok(());
    }
    let entries = node.as_map().unwrap_or_default().iter();
    let other = |name: &str| others.as_ref().and_then(|others| others.get(name));
    let culprit =
        entries.filter(|(key, _)| !is_passed_on(values.get(&key.name), other(&key.name))).map(|(_, value)| value).next();
    Err(scope.fail(secret_not_passed_unchanged(culprit.unwrap_or(node).span.clone())))
}

pub(super) fn secret_not_passed_unchanged(span: Span) -> Diagnostic {
    Diagnostic::error(
        "a secret can only be passed on unchanged: nothing may be computed from its value, and nothing may depend on it",
    )
    .at(span)
    .help("`urlencode` is the only filter for secrets: their values are inserted on the node")
}

pub(super) fn with_real_tokens(scope: &Scope<'_>, value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(scope.with_real_tokens(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| with_real_tokens(scope, item)).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter().map(|(key, value)| (scope.with_real_tokens(&key), with_real_tokens(scope, value))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}
