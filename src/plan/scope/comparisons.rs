//! Comparisons of a variable with a literal of another type, which would silently have the same result for every value.

use serde_json::Value;

use super::{Origin, Scope};
use crate::{
    role::{VarType, kind_of, truth},
    source::Diagnostic,
    template::{Literal, Template},
};

impl Scope<'_> {
    /// Reports each comparison of a variable with a literal that it can never equal. Returns whether there is one.
    ///
    /// A variable without a declared type may have values of several: then only a literal counts that Ansible would take for such a value.
    pub(super) fn never_equals(&self, name: &str, value: &Value, template: &Template, origin: Origin<'_>) -> bool {
        if name == "item" {
            return false;
        }
        let is_typed = self.has_type(name);
        let mut failed = false;
        for comparison in template.literal_comparisons(name) {
            let Some(advice) = advice(name, value, &comparison.literal, comparison.is_equal, is_typed) else { continue };
            let other = match comparison.literal {
                Literal::Text(_) => "text",
                Literal::Number(_) => "a number",
                Literal::Bool(_) => "a boolean",
            };
            let title = format!("`{name}` is {}, which never equals {other}", kind_of(value));
            self.fail(Diagnostic::error(title).at(origin.span(comparison.file, &comparison.range)).help(advice));
            failed = true;
        }
        failed
    }

    /// Whether every value of a variable has the same type.
    pub(super) fn has_type(&self, name: &str) -> bool {
        self.declared(name).is_some_and(|declared| declared.kind != VarType::Any)
    }
}

/// Returns what to write instead of comparing a value with a literal; nothing if the comparison may mean what it says.
fn advice(name: &str, value: &Value, literal: &Literal, is_equal: bool, is_typed: bool) -> Option<String> {
    let operator = if is_equal { "==" } else { "!=" };
    let not = |wanted: bool| if wanted == is_equal { "" } else { "not " };
    match (value, literal) {
        (Value::Number(_), Literal::Text(text)) if is_number(text) => {
            Some(format!("write the number without quotes: `{name} {operator} {}`", text.trim()))
        }
        (Value::Number(number), Literal::Bool(wanted)) if is_typed || matches!(number.as_u64(), Some(0 | 1)) => {
            Some(format!("write `{name} {operator} {}`", u8::from(*wanted)))
        }
        (Value::Bool(_), Literal::Text(text)) if let Some(wanted) = truth(text) => Some(format!("write `{}{name}`", not(wanted))),
        (Value::Bool(_), Literal::Number(number)) if let Some(wanted) = one_or_zero(number) => {
            Some(format!("write `{}{name}`", not(wanted)))
        }
        (Value::String(text), Literal::Number(number)) if is_typed || is_number(text) => {
            Some(format!("write the text in quotes: `{name} {operator} '{number}'`"))
        }
        (Value::String(text), Literal::Bool(wanted)) if is_typed || truth(text).is_some() => {
            Some(format!("declare it with `type: bool`, or write `{}({name} | bool)`", not(*wanted)))
        }
        (Value::Number(_), Literal::Text(_)) | (Value::Bool(_), Literal::Text(_) | Literal::Number(_)) if is_typed => {
            Some(format!("`{name}` is always {}: leave the comparison out", kind_of(value)))
        }
        (Value::Array(_) | Value::Object(_), _) if is_typed => {
            Some(format!("compare a part of it, or its `{name} | length`, or ask for `'a' in {name}`"))
        }
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

fn one_or_zero(number: &str) -> Option<bool> {
    match number {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}
