//! What differs, for people: lines added and removed, attributes from and to. Never a secret's value, new or old.

use std::collections::HashSet;

use similar::{ChangeTag, TextDiff};

use crate::secret::{Sealed, SecretValues};

/// A difference between what is and what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// The lines, in order.
    pub lines: Vec<Line>,
}

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// What the lines below belong to, such as a path.
    Title(String),
    /// Unchanged, for orientation.
    Context(String),
    /// Comes.
    Added(String),
    /// Goes.
    Removed(String),
    /// Lines left out here.
    Gap,
}

/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;
/// Longer texts are not compared line by line.
const MOST_BYTES: usize = 1 << 20;

impl Diff {
    /// Nothing differs, or nothing that could be shown.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Puts a title above the lines.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.lines.insert(0, Line::Title(title.into()));
        self
    }

    /// An attribute that changes: `- mode 0644`, `+ mode 0600`. An empty `before` means it was not there.
    pub fn attribute(&mut self, name: &str, before: &str, after: &str) {
        if !before.is_empty() {
            self.lines.push(Line::Removed(format!("{name} {before}")));
        }
        self.lines.push(Line::Added(format!("{name} {after}")));
    }

    /// A line that comes.
    pub fn added(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Added(text.into()));
    }

    /// A line that goes.
    pub fn removed(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Removed(text.into()));
    }

    /// Compares the text that is (`None`: nothing is there) with the text that is wanted.
    ///
    /// Where the wanted text holds a secret, removed lines show their key only, because the old value is a password too, and so do
    /// unchanged lines that hold one.
    #[must_use]
    pub fn of_text(before: Option<&[u8]>, after: &Sealed, values: &SecretValues) -> Self {
        let shown = after.shown();
        let old = before.unwrap_or_default();
        if old.len().max(shown.len()) > MOST_BYTES {
            return Self { lines: vec![Line::Added(format!("{} bytes, too long to show", shown.len()))] };
        }
        let Ok(old) = std::str::from_utf8(old) else {
            return Self {
                lines: vec![Line::Removed("bytes that are not text".into()), Line::Added(format!("{} bytes", shown.len()))],
            };
        };
        let secretive = !after.secrets().is_empty();
        let keys: HashSet<&str> = shown.lines().filter_map(key).collect();
        let wanted = wanted_lines(after);
        let old = mask_known(old, &wanted, values);
        let mut diff = Self::default();
        let text = TextDiff::from_lines(&old, &shown);
        for (index, group) in text.grouped_ops(CONTEXT).iter().enumerate() {
            if index > 0 {
                diff.lines.push(Line::Gap);
            }
            for change in group.iter().flat_map(|operation| text.iter_changes(operation)) {
                let line = change.value().trim_end_matches('\n').to_owned();
                diff.lines.push(match change.tag() {
                    ChangeTag::Equal => Line::Context(line),
                    ChangeTag::Insert => Line::Added(line),
                    ChangeTag::Delete => Line::Removed(if secretive { key_only(&line, &keys) } else { line }),
                });
            }
        }
        diff
    }
}

/// Each wanted line as people see it and, where it holds secrets, as a sealed text.
fn wanted_lines(after: &Sealed) -> Vec<Sealed> {
    after.as_tokens().split_inclusive(|byte| *byte == b'\n').map(|line| Sealed::from(line.to_vec())).collect()
}

/// Replaces old lines that equal a wanted line with secrets by what people see of it, so that an unchanged password is an unchanged line.
fn mask_known(old: &str, wanted: &[Sealed], values: &SecretValues) -> String {
    let secretive: Vec<(Vec<u8>, String)> = wanted
        .iter()
        .filter(|line| !line.secrets().is_empty())
        .filter_map(|line| Some((line.reveal(values).ok()?.to_vec(), line.shown())))
        .collect();
    old.split_inclusive('\n')
        .map(|line| secretive.iter().find(|(real, _)| real == line.as_bytes()).map_or(line, |(_, shown)| shown.as_str()))
        .collect()
}

/// `requirepass hunter2` becomes `requirepass …` where the wanted text has that key too. What else looks like a key may be a part of a
/// password: base64 ends in `=`.
fn key_only(line: &str, keys: &HashSet<&str>) -> String {
    let indent = &line[..line.len() - line.trim_start().len()];
    match key(line) {
        Some(key) if keys.contains(key) => format!("{indent}{} …", key.trim_end()),
        None if line.trim().is_empty() => String::new(),
        Some(_) | None => "…".to_owned(),
    }
}

/// The first word of a line, with the character that ends it.
fn key(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (end, character) =
        line.char_indices().find(|(_, character)| character.is_whitespace() || matches!(character, '=' | ':'))?;
    Some(&line[..end + character.len_utf8()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Encoding, Secret, SecretRef};

    fn redis() -> SecretRef {
        SecretRef { host: "db".into(), name: "REDIS_PASSWORD".into() }
    }

    fn text(diff: &Diff) -> String {
        diff.lines
            .iter()
            .map(|line| match line {
                Line::Title(text) => format!("= {text}\n"),
                Line::Context(text) => format!("  {text}\n"),
                Line::Added(text) => format!("+ {text}\n"),
                Line::Removed(text) => format!("- {text}\n"),
                Line::Gap => "...\n".to_owned(),
            })
            .collect()
    }

    #[test]
    fn old_values_in_a_file_with_secrets_never_show() {
        let wanted = Sealed::from(format!("port 6379\nrequirepass {}\n", redis().token(Encoding::Plain)));
        let mut values = SecretValues::default();
        values.insert(redis(), Secret::new("new-one".into()));
        let diff = text(&Diff::of_text(Some(b"port 6380\nrequirepass old-one\nhunter2\nb2xk= x\n"), &wanted, &values));
        insta::assert_snapshot!(diff, @r"
        - port …
        - requirepass …
        - …
        - …
        + port 6379
        + requirepass ‹REDIS_PASSWORD›
        ");
    }

    #[test]
    fn an_unchanged_password_is_an_unchanged_line() {
        let wanted = Sealed::from(format!("port 6379\nrequirepass {}\n", redis().token(Encoding::Plain)));
        let mut values = SecretValues::default();
        values.insert(redis(), Secret::new("same".into()));
        let diff = text(&Diff::of_text(Some(b"port 1\nrequirepass same\n"), &wanted, &values));
        assert_eq!(diff, "- port …\n+ port 6379\n  requirepass ‹REDIS_PASSWORD›\n");
    }

    #[test]
    fn a_new_file_is_all_additions() {
        let diff = Diff::of_text(None, &Sealed::from("a\nb\n"), &SecretValues::default());
        assert_eq!(text(&diff), "+ a\n+ b\n");
    }

    #[test]
    fn bytes_that_are_not_text_are_counted() {
        let diff = Diff::of_text(Some(&[0xff, 0xfe]), &Sealed::from("a\n"), &SecretValues::default());
        assert_eq!(text(&diff), "- bytes that are not text\n+ 2 bytes\n");
    }
}
