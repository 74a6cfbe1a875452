//! Parameters that a shell reads, and lists of words one of which may be a script.

use serde_json::Value;

use crate::{
    resource::Kind,
    shell::code_in_words,
    source::{Diagnostic, Node},
    template::{is_template, literal},
};

use super::{
    project::Form,
    scope::{Failed, Scope},
};

/// Returns how the text of a parameter is compiled.
pub(super) fn form<T: ?Sized>(kind: &Kind<T>, parameter: &str) -> Form {
    if kind.is_expression(parameter) {
        Form::Expression
    } else if kind.is_shell_text(parameter) {
        Form::Shell
    } else {
        Form::Text
    }
}

/// Renders a parameter. In a list of words, no word that contains a value may be a script, as in `[sh, -c, "{{ x }}"]`.
pub(super) fn words<T: ?Sized>(scope: &Scope<'_>, kind: &Kind<T>, parameter: &str, node: &Node) -> Result<Value, Failed> {
    let rendered = scope.render(node)?;
    let (true, Some(rendered_words)) = (kind.is_argv(parameter), rendered.as_array()) else { return Ok(rendered) };
    refuse_code(scope, node, rendered_words).map(|()| rendered)
}

/// Refuses a list of words in which a value would run as code. `node` is the list as written.
pub(super) fn refuse_code(scope: &Scope<'_>, node: &Node, rendered: &[Value]) -> Result<(), Failed> {
    let word = |(at, word): (usize, &Value)| {
        // If the whole list comes from one value, so does each word.
        let source = node.as_seq().and_then(|items| items.get(at));
        (word.as_str().unwrap_or_default().to_owned(), source.is_none_or(holds_value))
    };
    refuse(scope, node, &rendered.iter().enumerate().map(word).collect::<Vec<_>>())
}

/// As [`words`], but checks the source alone.
pub(super) fn check_words<T: ?Sized>(scope: &Scope<'_>, kind: &Kind<T>, parameter: &str, node: &Node) {
    if let (true, Some(items)) = (kind.is_argv(parameter), node.as_seq()) {
        let words: Vec<(String, bool)> =
            items.iter().map(|item| (literal(item.as_str().unwrap_or_default()), holds_value(item))).collect();
        let _ = refuse(scope, node, &words);
    }
}

fn refuse(scope: &Scope<'_>, node: &Node, words: &[(String, bool)]) -> Result<(), Failed> {
    let Some((at, refusal)) = code_in_words(words) else { return Ok(()) };
    let span = node.as_seq().and_then(|items| items.get(at)).map_or(&node.span, |item| &item.span);
    Err(scope.fail(Diagnostic::error(refusal.message).at(span.clone()).help(refusal.help)))
}

fn holds_value(node: &Node) -> bool {
    !node.verbatim && node.as_str().is_some_and(is_template)
}
