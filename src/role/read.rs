//! Small readers of nodes: each returns a valid value, or reports an error.

use std::time::Duration;

use super::ansible_words::{self, Word};
use crate::{
    source::{Diagnostic, Diagnostics, Key, Node, Span, did_you_mean},
    values::parse_duration,
};

/// A name in a role file, with its span.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// The word.
    pub text: String,
    /// Its span in the source.
    pub span: Span,
}

/// Reads the entries of a map; `null` counts as an empty map.
pub(super) fn map<'a>(node: &'a Node, what: &str, errors: &mut Diagnostics) -> &'a [(Key, Node)] {
    if node.value == crate::source::Yaml::Null {
        return &[];
    }
    node.as_map().unwrap_or_else(|| {
        errors.push(expected(node, what, "a map"));
        &[]
    })
}

/// Reads the items of a list; `null` counts as an empty list.
pub(super) fn list<'a>(node: &'a Node, what: &str, errors: &mut Diagnostics) -> &'a [Node] {
    if node.value == crate::source::Yaml::Null {
        return &[];
    }
    node.as_seq().unwrap_or_else(|| {
        errors.push(expected(node, what, "a list"));
        &[]
    })
}

/// Reads a non-empty text.
pub(super) fn name(node: &Node, what: &str, errors: &mut Diagnostics) -> Option<Name> {
    match node.scalar_text() {
        Some(text) if !text.trim().is_empty() => Some(Name { text: text.into_owned(), span: node.span.clone() }),
        Some(_) | None => {
            errors.push(expected(node, what, "text"));
            None
        }
    }
}

/// Reads one name or a list of names.
pub(super) fn names(node: &Node, what: &str, errors: &mut Diagnostics) -> Vec<Name> {
    match node.as_seq() {
        Some(items) => items.iter().filter_map(|item| name(item, what, errors)).collect(),
        None => name(node, what, errors).into_iter().collect(),
    }
}

/// A boolean.
pub(super) fn flag(node: &Node, what: &str, errors: &mut Diagnostics) -> bool {
    node.as_bool().unwrap_or_else(|| {
        errors.push(expected(node, what, "true or false"));
        false
    })
}

/// A whole number from 0.
pub(super) fn number(node: &Node, what: &str, errors: &mut Diagnostics) -> u32 {
    let number = node.scalar_text().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| {
        errors.push(expected(node, what, "a whole number"));
        0
    })
}

/// A time: seconds, or `10s`, `5m`, `1h`.
pub(super) fn duration(node: &Node, what: &str, errors: &mut Diagnostics) -> Duration {
    node.scalar_text().and_then(|text| parse_duration(&text)).unwrap_or_else(|| {
        errors.push(expected(node, what, "seconds, or a time such as `10s`, `5m`, `1h`, up to a week"));
        Duration::ZERO
    })
}

/// Returns the error for a value of the wrong kind.
pub(super) fn expected(node: &Node, what: &str, wanted: &str) -> Diagnostic {
    Diagnostic::error(format!("{what} must be {wanted}")).at(node.span.clone()).label(format!("this is {}", node.value.kind()))
}

/// Returns the error for an unknown key.
pub(super) fn unknown(key: &Key, what: &str, known: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("unknown {what} `{}`", key.name)).at(key.span.clone());
    match did_you_mean(&key.name, known.iter().copied()) {
        Some(name) => diagnostic.suggest(Some(name)),
        None => diagnostic.help(format!("known: {}", known.join(", "))),
    }
}

/// As [`unknown`], but for a word of Ansible the help says what to write instead.
pub(super) fn unknown_or_explained(key: &Key, what: &str, known: &[&str], words: &'static [Word]) -> Diagnostic {
    match ansible_words::find(words, &key.name) {
        Some(word) => Diagnostic::error(format!("unknown {what} `{}`", key.name)).at(key.span.clone()).help(word.help()),
        None => unknown(key, what, known),
    }
}

/// Checks `become`, which must be true if it is set: every task runs as root.
pub(super) fn check_become(node: Option<&Node>, errors: &mut Diagnostics) {
    let Some(node) = node.filter(|node| node.as_bool() != Some(true)) else { return };
    let diagnostic = Diagnostic::error("every task runs as root").at(node.span.clone());
    errors.push(diagnostic.help("leave `become` out; `become_user: NAME` runs a `command` as another user"));
}

/// Whether a word can be the name of a variable.
pub(super) fn is_identifier(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        let seconds = |text| parse_duration(text).map(|time| time.as_secs());
        assert_eq!(["5", "10s", "5m", "1h"].map(seconds), [5, 10, 300, 3600].map(Some));
        assert_eq!(["", "m", "-1", "+1", "1d", "1.5m", "1é", "99999999999999999999"].map(seconds), [None; 8]);
    }

    #[test]
    fn durations_are_at_most_a_week() {
        let hours = |text| parse_duration(text).map(|time| time.as_secs() / 3600);
        assert_eq!(
            ["168h", "169h", "604801", "18446744073709551615s", "18446744073709551615h"].map(hours),
            [Some(168), None, None, None, None]
        );
    }
}
