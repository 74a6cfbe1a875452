//! Differences for people: added and removed lines, and attributes before and after. Never a secret's value, new or old.

use std::collections::HashSet;

use similar::{ChangeTag, TextDiff};

use crate::{
    secret::{Sealed, SecretValues},
    values::{Diff, Line},
};

/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;
/// Longer texts are not compared line by line.
const MOST_BYTES: usize = 1 << 20;

impl Diff {
    /// Compares the actual text (`None`: it does not exist) with the wanted text.
    ///
    /// If the wanted text contains a secret, removed lines show only their key, because the old value is a password too. Unchanged lines
    /// show the name of a secret instead of its value.
    #[must_use]
    pub fn of_text(before: Option<&[u8]>, after: &Sealed, values: &SecretValues) -> Self {
        let masked = after.shown();
        let old = before.unwrap_or_default();
        if old.len().max(masked.len()) > MOST_BYTES {
            return Self { lines: vec![Line::Added(format!("{} bytes, too long to show", masked.len()))] };
        }
        let Ok(old) = std::str::from_utf8(old) else {
            return Self {
                lines: vec![Line::Removed("bytes that are not text".into()), Line::Added(format!("{} bytes", masked.len()))],
            };
        };
        let secretive = !after.secrets().is_empty();
        let keys: HashSet<&str> = masked.lines().filter_map(key).collect();
        let wanted = wanted_lines(after);
        let old = mask_known(old, &wanted, values);
        let mut diff = Self::default();
        let text = TextDiff::from_lines(&old, &masked);
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

/// Splits the wanted text into sealed lines.
fn wanted_lines(after: &Sealed) -> Vec<Sealed> {
    after.as_tokens().split_inclusive(|byte| *byte == b'\n').map(|line| Sealed::from(line.to_vec())).collect()
}

/// Replaces old lines that equal a wanted line with secrets by its masked text, so that an unchanged password is an unchanged line.
fn mask_known(old: &str, wanted: &[Sealed], values: &SecretValues) -> String {
    let secretive: Vec<(Vec<u8>, String)> = wanted
        .iter()
        .filter(|line| !line.secrets().is_empty())
        .filter_map(|line| Some((line.reveal(values).ok()?.to_vec(), line.shown())))
        .collect();
    old.split_inclusive('\n')
        .map(|line| secretive.iter().find(|(real, _)| real == line.as_bytes()).map_or(line, |(_, masked)| masked.as_str()))
        .collect()
}

/// `requirepass hunter2` becomes `requirepass …` if the wanted text has that key too. Other text that looks like a key may be part of a
/// password: base64 ends in `=`.
fn key_only(line: &str, keys: &HashSet<&str>) -> String {
    let indent = &line[..line.len() - line.trim_start().len()];
    match key(line) {
        Some(key) if keys.contains(key) => format!("{indent}{} …", key.trim_end()),
        None if line.trim().is_empty() => String::new(),
        Some(_) | None => "…".to_owned(),
    }
}

/// Returns the first word of a line, with the character that ends it.
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
