//! The colour and width of lines on a terminal.

use std::borrow::Cow;

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

/// Whether a character makes a terminal show text in another order than it is in (Unicode's `Bidi_Control`).
fn is_reordering(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Replaces control characters and those that reorder text, which must not get from a node's output to a terminal.
pub(crate) fn harmless(text: &str) -> String {
    let is_harmful = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    in_order(text).chars().map(|character| if is_harmful(character) { '\u{fffd}' } else { character }).collect()
}

/// Replaces characters that reorder text. Colours stay.
pub(crate) fn in_order(text: &str) -> Cow<'_, str> {
    if text.contains(is_reordering) { text.replace(is_reordering, "\u{fffd}").into() } else { text.into() }
}

/// Writes characters that reorder text as escapes of JSON: they occur within strings only, and programs get them as they are.
pub(crate) fn json_in_order(text: &str) -> Cow<'_, str> {
    if !text.contains(is_reordering) {
        return text.into();
    }
    let escaped = |character: char| {
        if is_reordering(character) { format!("\\u{:04x}", u32::from(character)) } else { character.to_string() }
    };
    text.chars().map(escaped).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reorders_text_is_replaced_and_in_json_escaped() {
        for character in "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".chars()
        {
            let text = format!("a{character}b");
            assert_eq!(harmless(&text), "a\u{fffd}b", "{character:?}");
            assert_eq!(in_order(&text), "a\u{fffd}b", "{character:?}");
            let document = serde_json::json!([text]).to_string();
            let shown = json_in_order(&document);
            assert!(shown.is_ascii(), "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), serde_json::json!([text]));
        }
        assert_eq!(
            (harmless("a\x1b\tß\n"), in_order("\x1b[1m"), json_in_order("ß")),
            ("a\u{fffd}\tß\n".into(), "\x1b[1m".into(), "ß".into())
        );
    }
}
