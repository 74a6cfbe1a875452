//! What holds for every message: its places are in the text, and however strange an input is, its size is bounded.

use std::ops::Range;

use crate::{
    source::{Diagnostic, Diagnostics, Node, Span, Yaml},
    template::Problem,
};

/// The most bytes of one message, without the lines that it shows of a file.
const MOST_MESSAGE: usize = 2 << 10;
/// The most bytes of all messages together, as they are shown.
const MOST_SHOWN: usize = 256 << 10;

pub(super) fn check_range(range: &Range<usize>, text: &str, what: &str) {
    assert!(text.get(range.clone()).is_some(), "{what} is at {range:?}, which is no part of the {} bytes", text.len());
}

pub(super) fn check_span(span: &Span, what: &str) {
    check_range(&span.range, &span.file.text, what);
}

/// Checks the places of all values.
pub(super) fn check_node(node: &Node) {
    check_span(&node.span, node.value.kind());
    match &node.value {
        Yaml::Seq(items) => items.iter().for_each(check_node),
        Yaml::Map(entries) => {
            for (key, value) in entries {
                check_span(&key.span, "a key");
                check_node(value);
            }
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) => {}
    }
}

pub(super) fn check_text(text: &str) {
    assert!(text.len() <= MOST_MESSAGE, "a message of {} bytes: {}", text.len(), &text[..text.floor_char_boundary(200)]);
}

fn check_diagnostic(diagnostic: &Diagnostic) {
    check_text(&diagnostic.title);
    check_text(&diagnostic.label);
    check_text(diagnostic.help.as_deref().unwrap_or_default());
    for span in diagnostic.span.iter().chain(diagnostic.also.iter().map(|(span, _)| span)) {
        check_span(span, &diagnostic.title);
        let (line, column) = span.line_col();
        assert!(line >= 1 && column >= 1);
    }
    diagnostic.also.iter().for_each(|(_, label)| check_text(label));
}

/// Checks messages, and how they look.
pub(super) fn check_diagnostics(diagnostics: &Diagnostics) {
    assert!(!diagnostics.is_empty(), "an error without a message");
    // As many as are shown.
    diagnostics.0.iter().take(100).for_each(check_diagnostic);
    for shown in [diagnostics.render(false), diagnostics.to_json().to_string(), diagnostics.in_one_line()] {
        assert!(shown.len() <= MOST_SHOWN, "{} bytes of messages: {}", shown.len(), &shown[..shown.floor_char_boundary(400)]);
    }
}

/// Checks the problems of a template that consists of one file.
pub(super) fn check_problems(problems: &[Problem], text: &str) {
    assert!(!problems.is_empty(), "an error without a message");
    for problem in problems {
        assert_eq!(problem.file, 0);
        check_range(&problem.range, text, &problem.message);
        check_text(&problem.message);
        check_text(problem.help.as_deref().unwrap_or_default());
    }
}
