//! The words inside `{{ … }}` and `{% … %}`: enough to find the place of a name and what an author of Jinja meant.

use std::ops::Range;

/// A tag and the words inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    /// Its kind.
    pub(super) kind: TagKind,
    /// With its delimiters.
    pub(super) range: Range<usize>,
    /// Without its delimiters and their `-`.
    pub(super) inner: Range<usize>,
    /// The words, in order.
    pub(super) words: Vec<Word>,
}

/// The kind of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagKind {
    /// `{{ … }}`
    Value,
    /// `{% … %}`
    Block,
    /// `{# … #}`
    Comment,
}

/// A word inside a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Its kind.
    pub(super) kind: WordKind,
    /// As written: strings with their quotes.
    pub(super) text: String,
    /// Its place in the text.
    pub(super) range: Range<usize>,
}

/// The kind of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordKind {
    /// A name or a keyword.
    Name,
    /// A string.
    Text,
    /// A number.
    Number,
    /// An operator or a bracket.
    Character,
}

impl Word {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text && self.kind != WordKind::Text
    }
}

const OPERATORS: &[&str] = &["...", "//", "**", "==", "!=", ">=", "<=", "</", "?.", "?["];

/// Returns every tag of a text, in order. A tag without an end reaches to the end of the text; the compiler reports it.
pub(super) fn tags(text: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(open) = find_open(text, at) {
        let (kind, close) = match text.as_bytes()[open + 1] {
            b'{' => (TagKind::Value, "}}"),
            b'%' => (TagKind::Block, "%}"),
            _ => (TagKind::Comment, "#}"),
        };
        let tag = match kind {
            TagKind::Comment => comment(text, open, close),
            TagKind::Value | TagKind::Block => tag(text, open, kind, close),
        };
        at = tag.range.end;
        let is_raw = kind == TagKind::Block && tag.words.first().is_some_and(|word| word.is("raw"));
        tags.push(tag);
        if is_raw {
            at = end_of_raw(text, at);
        }
    }
    tags
}

fn find_open(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    (from..bytes.len().saturating_sub(1)).find(|&at| bytes[at] == b'{' && matches!(bytes[at + 1], b'{' | b'%' | b'#'))
}

/// Returns where the `{% endraw %}` that ends a raw block starts.
fn end_of_raw(text: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(offset) = text[at..].find("{%") {
        let open = at + offset;
        if text[open + 2..].trim_start_matches('-').trim_start().starts_with("endraw") {
            return open;
        }
        at = open + 2;
    }
    text.len()
}

fn comment(text: &str, open: usize, close: &str) -> Tag {
    let end = text[open + 2..].find(close).map_or(text.len(), |offset| open + 2 + offset + close.len());
    Tag { kind: TagKind::Comment, range: open..end, inner: open..end, words: Vec::new() }
}

fn tag(text: &str, open: usize, kind: TagKind, close: &str) -> Tag {
    let start = if text[open + 2..].starts_with('-') { open + 3 } else { open + 2 };
    let mut words = Vec::new();
    let mut at = start;
    while at < text.len() {
        let rest = &text[at..];
        let trims = rest.starts_with('-') && rest[1..].starts_with(close);
        if trims || rest.starts_with(close) {
            let end = at + close.len() + usize::from(trims);
            return Tag { kind, range: open..end, inner: start..at, words };
        }
        let Some(first) = rest.chars().next() else { break };
        let (kind, length) = match first {
            space if space.is_whitespace() => {
                at += space.len_utf8();
                continue;
            }
            quote @ ('\'' | '"' | '`') => (WordKind::Text, string_length(rest, quote)),
            digit if digit.is_ascii_digit() => {
                let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.' && letter != '_');
                (WordKind::Number, end.unwrap_or(rest.len()))
            }
            letter if letter.is_ascii_alphabetic() || letter == '_' => {
                let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                (WordKind::Name, end.unwrap_or(rest.len()))
            }
            other => {
                let long = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
                (WordKind::Character, long.map_or(other.len_utf8(), |operator| operator.len()))
            }
        };
        words.push(Word { kind, text: rest[..length].to_owned(), range: at..at + length });
        at += length;
    }
    Tag { kind, range: open..text.len(), inner: start..text.len(), words }
}

fn string_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            end if end == quote => return at + end.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_tags(text: &str) -> String {
        let words = |tag: &Tag| tag.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        tags(text).iter().map(|tag| format!("{} [{}]", &text[tag.range.clone()], words(tag))).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn tags_hold_their_words() {
        insta::assert_snapshot!(format_tags("a {{ x|default(value='}}') }} {# {{ no }} #} {%- if a.b != 1.5 -%}"), @r"
        {{ x|default(value='}}') }} [x | default ( value = '}}' )]
        {# {{ no }} #} []
        {%- if a.b != 1.5 -%} [if a . b != 1.5]
        ");
    }

    #[test]
    fn raw_blocks_hold_no_tags_and_broken_ones_end_with_the_text() {
        insta::assert_snapshot!(format_tags("{% raw %}{{ x }}{% endraw %} {{ 'é"), @r"
        {% raw %} [raw]
        {% endraw %} [endraw]
        {{ 'é ['é]
        ");
        for hostile in ["{", "{{", "{%", "{#", "{{ \\", "{% raw %}", "{{-", "é{{é}}", "{{ é }}", "}}"] {
            tags(hostile);
        }
    }
}
