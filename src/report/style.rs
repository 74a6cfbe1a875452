//! Colour and width, where the output goes to a terminal that wants them.

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
    /// Columns of the terminal; `None` where lines may be as long as they are.
    pub width: Option<usize>,
}

impl Style {
    /// `text` in the colour of a status.
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

    /// `text` in bold.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// `text` between the escapes of an SGR code (ECMA-48, 8.3.117).
    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        match self.colour {
            Colour::Yes if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::Yes | Colour::No => text.to_owned(),
        }
    }

    /// `text` in lines of the columns that are left beside `used`, broken between words; longer words stay whole, to be copied.
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

    /// `text` cut to the columns that are left after `used`.
    pub(crate) fn fit(self, text: &str, used: usize) -> String {
        let Some(width) = self.width else { return text.to_owned() };
        let room = width.saturating_sub(used).max(8);
        if text.chars().count() <= room {
            return text.to_owned();
        }
        text.chars().take(room - 1).chain(['…']).collect()
    }
}

/// Control characters of what nodes print must not reach a terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|sign| if sign.is_control() && sign != '\n' && sign != '\t' { '\u{fffd}' } else { sign }).collect()
}
