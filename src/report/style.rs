//! The colour and width of lines on a terminal.

use crate::event::Status;

/// Whether colours are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// ANSI escapes are written.
    Yes,
    /// Plain text.
    No,
}

/// How lines for people are written.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Whether colours are written.
    pub colour: Colour,
    /// The columns of the terminal; `None` when lines are not wrapped.
    pub width: Option<usize>,
}

impl Style {
    /// Returns `text` in the colour of a status.
    pub(super) fn status(self, status: Status, text: &str) -> String {
        self.paint(
            match status {
                Status::Ok => "32",
                Status::Changed => "33",
                Status::Skipped => "36",
                Status::Unknown => "35",
                Status::Failed => "1;31",
            },
            text,
        )
    }

    /// Returns `text` in bold.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Returns `text` between the escape sequences of an SGR code (ECMA-48, 8.3.117).
    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        match self.colour {
            Colour::Yes if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::Yes | Colour::No => text.to_owned(),
        }
    }

    /// Wraps `text` between words into lines of the terminal's width less `used` columns. A word that is longer stays whole, so that it can be copied.
    #[must_use]
    pub fn wrap(self, text: &str, used: usize) -> Vec<String> {
        let Some(width) = self.width else { return vec![text.to_owned()] };
        let room = width.saturating_sub(used).max(20);
        let mut lines: Vec<String> = Vec::new();
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.trim().is_empty() && line.chars().count() + word.chars().count() > room {
                lines.push(line.trim_end().to_owned());
                line.clear();
            }
            line.push_str(word);
            line.push(' ');
        }
        line.pop();
        lines.push(line);
        lines
    }

    /// Truncates `text` to the terminal's width less `used` columns.
    pub(crate) fn fit(self, text: &str, used: usize) -> String {
        let Some(width) = self.width else { return text.to_owned() };
        let room = width.saturating_sub(used).max(8);
        if text.chars().count() <= room {
            return text.to_owned();
        }
        text.chars().take(room - 1).chain(['…']).collect()
    }
}

/// Replaces control characters, which must not get from a node's output to a terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() && !matches!(character, '\n' | '\t') { '\u{fffd}' } else { character })
        .collect()
}
