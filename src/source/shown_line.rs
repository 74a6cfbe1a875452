//! The one source line that an error shows: extracted, clipped, and with secrets masked.

use std::ops::Range;

use super::Span;

pub(crate) const MASK: &str = "********";

/// A line that is safe to show to users.
pub(super) struct ShownLine {
    /// Its number, counted from 1.
    pub(super) number: usize,
    /// Its text without the line break; tabs are kept.
    pub(super) text: String,
    /// The marked part, in bytes of `text`.
    pub(super) marked: Range<usize>,
}

impl ShownLine {
    /// Returns the line where `span` starts; a place that spans several lines is marked to the end of its first line.
    pub(super) fn of(span: &Span) -> Self {
        let text = &span.file.text;
        let from = super::floor_char_boundary(text, span.range.start);
        let to = super::floor_char_boundary(text, span.range.end).max(from);
        let start = text[..from].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[start..].lines().next().unwrap_or_default();
        let clip = |offset: usize| (offset - start).min(line.len());
        let marked = clip(from)..clip(to);
        let number = text[..start].bytes().filter(|byte| *byte == b'\n').count() + 1;
        match secret_range(&text[..start], line) {
            None => Self { number, text: line.to_owned(), marked },
            Some(secret) => {
                let text = format!("{}{MASK}{}", &line[..secret.start], &line[secret.end..]);
                let shift = |offset: usize, inside: usize| match offset {
                    before if before <= secret.start => before,
                    after if after >= secret.end => after - secret.end + secret.start + MASK.len(),
                    _ => inside,
                };
                let marked = shift(marked.start, secret.start)..shift(marked.end, secret.start + MASK.len());
                Self { number, text, marked }
            }
        }
    }
}

/// Whether the name of a key suggests that its value is secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    ["pass", "secret", "token", "private_key", "vault", "credential", "api_key"].iter().any(|word| name.contains(word))
}

/// Returns the part of `line` that must not be shown, given the text before it.
fn secret_range(before: &str, line: &str) -> Option<Range<usize>> {
    let own = keys(line);
    if let Some((_, value)) = own.iter().find(|(name, value)| is_secret_name(name) && is_literal(&line[value.clone()])) {
        return Some(value.clone());
    }
    let indent = line.len() - line.trim_start().len();
    let under_secret = parents(before, indent).any(|parent| {
        let Some((name, value)) = keys(parent).into_iter().next() else { return false };
        let opens_text = parent[value].trim_start().starts_with(['|', '>', '"', '\'', '!']);
        // Below `passwords:`, items are secret; below `secrets:`, the keys themselves decide.
        is_secret_name(name) && (opens_text || own.is_empty())
    });
    (under_secret && line.len() > indent).then_some(indent..line.len())
}

/// Returns the lines above under which this one is nested, nearest first.
fn parents(before: &str, mut indent: usize) -> impl Iterator<Item = &str> {
    before.lines().rev().filter(move |line| {
        let own = line.len() - line.trim_start().len();
        let is_parent = !line.trim().is_empty() && own < indent || own == indent && line.trim_end().ends_with(':');
        if is_parent {
            indent = own;
        }
        is_parent
    })
}

/// Returns the `name: value` and `name=value` pairs of a line, with the values as byte ranges.
fn keys(line: &str) -> Vec<(&str, Range<usize>)> {
    let is_name = |character: char| character.is_alphanumeric() || "_-.".contains(character);
    let mut found = Vec::new();
    for (at, separator) in line.char_indices().filter(|(_, character)| [':', '='].contains(character)) {
        let name = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let start = name
            .rfind(|character| !is_name(character))
            .map_or(0, |last| last + name[last..].chars().next().map_or(1, char::len_utf8));
        let value = at + 1 + (line[at + 1..].len() - line[at + 1..].trim_start().len());
        let follows_blank = value > at + 1 || value == line.len();
        if name[start..].is_empty() || separator == ':' && !follows_blank {
            continue;
        }
        found.push((&name[start..], value..line.len()));
    }
    found
}

/// Whether there is a value, and it is more than one expression that only names variables.
fn is_literal(value: &str) -> bool {
    let value = value.trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value);
    let expression = unquoted.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let names_only = expression.is_some_and(|inside| !inside.contains(['"', '\'', '`', '{', '}']));
    !value.is_empty() && !names_only
}
