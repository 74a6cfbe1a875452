//! The secrets file: `KEY=value` lines, which are merged key by key; all other lines are kept.

use std::{collections::HashMap, fmt};

use super::Secret;
use crate::values::shortened;

/// Why a secrets file cannot be trusted. The message never contains a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvFileError {
    /// The file is not text.
    #[error("line {line} is not UTF-8 text")]
    NotText {
        /// Counted from 1.
        line: usize,
    },
    /// A line is neither empty nor a comment nor `KEY=value`, without spaces before or behind the key or before the value.
    #[error("line {line} is not `KEY=value`")]
    NotAnAssignment {
        /// Counted from 1.
        line: usize,
    },
    /// A value begins with a quotation mark but does not end with it, so other readers would include the lines below.
    #[error("the quotes in line {line} do not match")]
    Quotes {
        /// Counted from 1.
        line: usize,
    },
    /// A key occurs twice.
    #[error("`{key}` occurs twice, in lines {first} and {second}")]
    Duplicate {
        /// The key.
        key: String,
        /// Counted from 1.
        first: usize,
        /// Counted from 1.
        second: usize,
    },
    /// The last line has no line end, so the file may be truncated.
    #[error("the last line has no line end, so the file may be truncated")]
    Truncated,
}

impl EnvFileError {
    /// Returns the sentence about this file.
    #[must_use]
    pub fn of_file(&self, file: impl fmt::Display) -> String {
        format!("`{file}` cannot be trusted: {self}; repair it or restore it from a backup")
    }
}

/// A parsed secrets file, with all its lines.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EnvFile {
    lines: Vec<Line>,
}

#[derive(Clone, PartialEq, Eq)]
enum Line {
    Other(String),
    Pair { key: String, value: Secret, text: Secret },
}

impl EnvFile {
    /// Parses the bytes of a secrets file.
    ///
    /// Values may be in single or double quotes, as in systemd's `EnvironmentFile=` and a shell. A carriage return at the end of a line is not
    /// part of the value.
    ///
    /// # Errors
    /// Returns [`EnvFileError`], with the line, when the file is not text, a line is not an assignment, quotes do not match, a key occurs twice, or
    /// the last line is incomplete.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvFileError> {
        let mut lines: Vec<Line> = Vec::new();
        let mut seen = HashMap::<&str, usize>::new();
        if bytes.last().is_some_and(|last| *last != b'\n') {
            return Err(EnvFileError::Truncated);
        }
        for (index, raw) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            let text = std::str::from_utf8(raw).map_err(|_| EnvFileError::NotText { line: number })?;
            let text = text.strip_suffix('\n').unwrap_or(text);
            let content = text.trim_ascii_end();
            if content.is_empty() || content.trim_ascii_start().starts_with('#') {
                lines.push(Line::Other(text.to_owned()));
                continue;
            }
            let (key, value) = content.split_once('=').ok_or(EnvFileError::NotAnAssignment { line: number })?;
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let spaced = value.starts_with(|character: char| character.is_ascii_whitespace());
            if spaced || key.is_empty() || !key.bytes().all(valid) || key.as_bytes()[0].is_ascii_digit() {
                return Err(EnvFileError::NotAnAssignment { line: number });
            }
            if let Some(first) = seen.insert(key, number) {
                return Err(EnvFileError::Duplicate { key: shortened(key).into_owned(), first, second: number });
            }
            lines.push(Line::Pair {
                key: key.to_owned(),
                value: Secret::new(unquote(value).ok_or(EnvFileError::Quotes { line: number })?.to_owned()),
                text: Secret::new(text.to_owned()),
            });
        }
        Ok(Self { lines })
    }

    /// Returns the value of a key. An empty value counts as absent.
    #[must_use]
    pub fn get(&self, wanted: &str) -> Option<&Secret> {
        self.lines.iter().find_map(|line| match line {
            Line::Pair { key, value, .. } if key == wanted && !value.expose().is_empty() => Some(value),
            Line::Pair { .. } | Line::Other(_) => None,
        })
    }

    /// Returns the keys, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            Line::Pair { key, .. } => Some(key.as_str()),
            Line::Other(_) => None,
        })
    }

    /// Returns the quotation marks with which this program, a shell and systemd's `EnvironmentFile=` all read the same value. Returns `None` when no
    /// quotation marks achieve that.
    #[must_use]
    pub fn quotes(value: &str) -> Option<&'static str> {
        let plain = |character: char| character.is_alphanumeric() || "-._+/=:,@%^".contains(character);
        match value {
            bare if bare.chars().all(plain) => Some(""),
            single if !single.contains('\'') => Some("'"),
            double if !double.contains(['"', '\\', '$', '`']) => Some("\""),
            _ => None,
        }
    }

    /// Returns the lines of the file with `KEY=` lines for `secrets`, in their old positions or at the end. All other lines are unchanged. The new
    /// values are tokens.
    #[must_use]
    pub fn with(&self, secrets: &[super::SecretRef]) -> Vec<EnvLine> {
        let mut pieces = Vec::new();
        for line in &self.lines {
            match line {
                Line::Pair { key, .. } if secrets.iter().any(|secret| &secret.name == key) => {
                    pieces.extend(secrets.iter().filter(|secret| &secret.name == key).cloned().map(EnvLine::Added));
                }
                Line::Pair { text, .. } => pieces.push(EnvLine::Kept(text.clone())),
                Line::Other(text) => pieces.push(EnvLine::Kept(Secret::new(text.clone()))),
            }
        }
        let new = secrets.iter().filter(|secret| self.keys().all(|key| key != secret.name));
        pieces.extend(new.cloned().map(EnvLine::Added));
        pieces
    }
}

/// A line of a merged secrets file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvLine {
    /// A line that was in the file before.
    Kept(Secret),
    /// `NAME=value`, for a secret that is new or replaced.
    Added(super::SecretRef),
}

/// Returns the value without the quotes around it; `None` when they do not match.
fn unquote(value: &str) -> Option<&str> {
    match value.chars().next() {
        Some(mark @ ('"' | '\'')) => value[1..].strip_suffix(mark),
        Some(_) | None => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, key: &str) -> Option<String> {
        EnvFile::parse(text.as_bytes()).unwrap().get(key).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn reads_values_with_special_characters_quotes_and_carriage_returns() {
        let text = "# c\n\nA=b=c\r\nB='x y'\nC=\"d\"\nD=\n";
        assert_eq!(value(text, "A").as_deref(), Some("b=c"));
        assert_eq!(value(text, "B").as_deref(), Some("x y"));
        assert_eq!(value(text, "C").as_deref(), Some("d"));
        assert_eq!(value(text, "D"), None);
    }

    #[test]
    fn values_in_the_returned_quotes_are_read_back_unchanged() {
        for text in ["a=b/+%", "two words", " spaces ", "$(id)`x`\\", "it's", "\"quoted\"", "#no comment", "ü☃"] {
            let quotes = EnvFile::quotes(text).unwrap();
            assert_eq!(value(&format!("A={quotes}{text}{quotes}\n"), "A").as_deref(), Some(text), "{text}");
        }
        assert_eq!(["it's \"both\"", "it's $HOME"].map(EnvFile::quotes), [None, None]);
    }

    #[test]
    fn files_that_cannot_be_trusted_are_refused() {
        let error = |text: &[u8]| EnvFile::parse(text).err();
        assert_eq!(error(b"A=1"), Some(EnvFileError::Truncated));
        assert_eq!(error(b"A=1\nA=2\n"), Some(EnvFileError::Duplicate { key: "A".into(), first: 1, second: 2 }));
        assert_eq!(error(b"A=1\nwhat\n"), Some(EnvFileError::NotAnAssignment { line: 2 }));
        assert_eq!(error(b"A=1\nB=\"x\nC='\n"), Some(EnvFileError::Quotes { line: 2 }));
        for spaced in ["REDIS_PASSWORD = x", "A =x", "A= x", " A=x", "A\t=x"] {
            let text = format!("# c\n  # d\n{spaced}\n");
            assert_eq!(error(text.as_bytes()), Some(EnvFileError::NotAnAssignment { line: 3 }), "{spaced}");
        }
        assert_eq!(error(b"A='\n"), Some(EnvFileError::Quotes { line: 1 }));
        assert_eq!(error(b"A=\xff\n"), Some(EnvFileError::NotText { line: 1 }));
    }
}
