//! The file names of handlers' marks on a node. The role loader compares them as well, because two handlers must not share a mark.

use std::iter;

/// Returns the file names of a handler's marks: its own first, then those under former names of the handler and of its role.
#[must_use]
pub fn mark_names(role: &str, former_roles: &[&str], handler: &str, former_handlers: &[&str]) -> Vec<String> {
    let mut names = Vec::new();
    for role in iter::once(role).chain(former_roles.iter().copied()) {
        for handler in iter::once(handler).chain(former_handlers.iter().copied()) {
            let name = mark_name(role, handler);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Returns the file name of a handler's mark.
#[must_use]
pub fn mark_name(role: &str, handler: &str) -> String {
    let plain = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
        _ => '-',
    };
    format!("{role}.{}", handler.chars().map(plain).collect::<String>())
}
