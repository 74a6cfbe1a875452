//! Searches values for the names of variables.

use crate::source::{Node, Yaml};

/// Whether any text within a value mentions a variable.
pub(super) fn mentions(node: &Node, name: &str) -> bool {
    match &node.value {
        Yaml::Str(text) => mentions_word(text, name),
        Yaml::Seq(items) => items.iter().any(|item| mentions(item, name)),
        Yaml::Map(entries) => entries.iter().any(|(_, value)| mentions(value, name)),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Vaulted(_) => false,
    }
}

/// Whether a text contains a name as a whole word.
pub(super) fn mentions_word(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part)
    })
}
