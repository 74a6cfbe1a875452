//! `set -o pipefail`, which only some shells know: the nodes' `/bin/sh` is dash, where it ends the line before its first command.

use crate::source::{Diagnostic, Diagnostics, Node};

/// What runs the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// A task, which may have `argv` instead.
    Task,
    /// A guard or a handler, which is always a line.
    Other,
}

/// Reports a line of shell that begins with `set -o pipefail`.
pub(super) fn check(text: &Node, line: Line, errors: &mut Diagnostics) {
    if !text.as_str().is_some_and(sets_pipefail) {
        return;
    }
    let help = match line {
        Line::Task => {
            "let bash run it, with values as its arguments: \
             `argv: [bash, -c, 'set -o pipefail; zcat \"$1\" | head', bash, \"{{ path }}\"]`"
        }
        Line::Other => "let bash run it: `bash -c 'set -o pipefail; a | b'`",
    };
    let error = Diagnostic::error("`/bin/sh` of a node is dash, which has no `pipefail`").at(text.span.clone());
    errors.push(error.label("ends there with an error").help(help));
}

/// Whether `set …o pipefail` is among the `set` commands with which a text begins.
fn sets_pipefail(text: &str) -> bool {
    for statement in text.split([';', '&', '\n']) {
        let words: Vec<&str> = statement.split_whitespace().collect();
        match words.as_slice() {
            ["set", options @ ..] => {
                let is_it = |pair: &[&str]| pair[0].starts_with('-') && pair[0].ends_with('o') && pair[1] == "pipefail";
                if options.windows(2).any(is_it) {
                    return true;
                }
            }
            [] => {}
            [comment, ..] if comment.starts_with('#') => {}
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_set_commands_at_the_beginning_count() {
        for text in ["set -o pipefail; a | b", "set -euo pipefail && a | b", "# why\nset -e\n  set -u -o pipefail\na | b"] {
            assert!(sets_pipefail(text), "{text}");
        }
        for text in ["bash -c 'set -o pipefail; a | b'", "echo set -o pipefail", "set -eu; a", "a | b", "", "set -o errexit"] {
            assert!(!sets_pipefail(text), "{text}");
        }
    }
}
