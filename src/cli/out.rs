//! The streams for text output, and whether it is coloured.

use std::io::{IsTerminal, Write as _};

use crate::{
    report::{Colour, Style, in_order, json_in_order},
    source::{Diagnostic, Diagnostics},
};

/// Colours only on a terminal, and not where `NO_COLOR` is set (no-color.org) or the terminal is dumb.
pub(super) fn colour(stream: &impl IsTerminal) -> Colour {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if stream.is_terminal() && !set("NO_COLOR") && !dumb { Colour::Yes } else { Colour::No }
}

/// The style of standard output; lines are cut to the terminal's width (`COLUMNS`, or 80) only on a terminal.
pub(super) fn style() -> Style {
    let stdout = std::io::stdout();
    let width = stdout.is_terminal().then(terminal_width);
    Style { colour: colour(&stdout), width }
}

/// The width of the terminal in columns.
pub(super) fn terminal_width() -> usize {
    let given = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    given.or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))).unwrap_or(80)
}

/// Prints a line on standard output. A closed standard output is ignored, because nothing is left to report to.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", in_order(text));
}

/// Prints a JSON document on standard output.
pub(super) fn json(document: &str) {
    let _ = writeln!(std::io::stdout(), "{}", json_in_order(document));
}

/// A line on standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", in_order(text));
}

/// Wraps `text` to the width of the terminal on standard error, with `indent` before all lines but the first; one line if it is no terminal.
pub(super) fn wrapped(text: &str, indent: &str) -> String {
    let stderr = std::io::stderr();
    let style = Style { colour: Colour::No, width: stderr.is_terminal().then(terminal_width) };
    style.wrap(text, indent.len()).join(&format!("\n{indent}"))
}

/// Prints a question on standard error, without a line break, so that the answer follows it.
pub(super) fn ask(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{text}");
    let _ = stderr.flush();
}

/// Prints an error on standard error.
pub(super) fn error(text: &str) {
    let word = if colour(&std::io::stderr()) == Colour::Yes { "\x1b[1;31merror\x1b[0m" } else { "error" };
    note(&format!("{word}: {text}"));
}

/// Everything that is wrong in the user's files.
pub(super) fn diagnostics(errors: &Diagnostics) {
    note(errors.render(colour(&std::io::stderr()) == Colour::Yes).trim_end());
}

/// Warnings about the user's files.
pub(super) fn warnings(warnings: &[Diagnostic]) {
    for warning in warnings {
        note(&warning.render(colour(&std::io::stderr()) == Colour::Yes));
    }
}
