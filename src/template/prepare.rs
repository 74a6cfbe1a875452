//! Text as Tera gets it: block tags alone on a line leave no line, and values go through `__text`. Ranges can be mapped back.

use std::ops::Range;

use super::lex::{Tag, TagKind};

/// A text that differs from what the author wrote, with a way back.
#[derive(Debug, Clone, Default)]
pub(super) struct Prepared {
    /// The text that Tera compiles.
    pub(super) text: String,
    /// The pieces of the author's text: start in `text`, start in the author's text, length.
    copied: Vec<(usize, usize, usize)>,
}

impl Prepared {
    fn copy(&mut self, original: &str, range: Range<usize>) {
        if !range.is_empty() {
            self.copied.push((self.text.len(), range.start, range.len()));
            self.text.push_str(&original[range]);
        }
    }

    /// The author's range for a range of the prepared text. Inserted text belongs to the piece before it.
    pub(super) fn original(&self, range: &Range<usize>) -> Range<usize> {
        let Some(&(here, there, length)) = self.copied.iter().rev().find(|(here, _, _)| *here <= range.start) else {
            return 0..0;
        };
        if range.start >= here + length && range.start < self.text.len() {
            let piece = &self.text[here..here + length];
            let start = there + (piece.len() - piece.trim_start().len());
            return start..(there + piece.trim_end().len()).max(start);
        }
        let start = there + (range.start - here).min(length);
        let end = range.end.checked_sub(1).filter(|last| *last >= range.start).map_or(start, |last| self.back(last) + 1);
        start..end.max(start)
    }

    fn back(&self, at: usize) -> usize {
        let piece = self.copied.iter().rev().find(|(here, _, _)| *here <= at);
        piece.map_or(0, |(here, there, length)| there + (at - here).min(length.saturating_sub(1)))
    }
}

/// A whole template: tags alone on a line leave no line, and each value must be text, a number or a boolean.
pub(super) fn template(original: &str, tags: &[Tag]) -> Prepared {
    filtered(original, tags, |_| "__text".to_owned())
}

/// Shell text: each value is stored under the number of its tag.
pub(super) fn shell(original: &str, tags: &[Tag]) -> Prepared {
    filtered(original, tags, |number| format!("__word(tag={number})"))
}

fn filtered(original: &str, tags: &[Tag], filter: impl Fn(usize) -> String) -> Prepared {
    let mut prepared = Prepared::default();
    let mut at = 0;
    for (number, tag) in tags.iter().enumerate() {
        match tag.kind {
            TagKind::Value => {
                prepared.copy(original, at..tag.inner.start);
                wrap(&mut prepared, original, tag, &filter(number));
                at = tag.inner.end;
            }
            TagKind::Block | TagKind::Comment => {
                if let Some(line) = alone_on_line(original, tag) {
                    prepared.copy(original, at..line.start.max(at));
                    prepared.copy(original, tag.range.clone());
                    at = line.end;
                }
            }
        }
    }
    prepared.copy(original, at..original.len());
    prepared
}

/// A text that is one `{{ … }}`: its value is captured with its type.
pub(super) fn lone(original: &str, tag: &Tag) -> Prepared {
    let mut prepared = Prepared::default();
    prepared.copy(original, 0..tag.inner.start);
    wrap(&mut prepared, original, tag, "__capture");
    prepared.copy(original, tag.inner.end..original.len());
    prepared
}

/// A bare expression, as in `when`.
pub(super) fn expression(original: &str) -> Prepared {
    let mut prepared = Prepared { text: "{{ (".to_owned(), copied: Vec::new() };
    prepared.copy(original, 0..original.len());
    prepared.text.push_str(") | __capture }}");
    prepared
}

fn wrap(prepared: &mut Prepared, original: &str, tag: &Tag, filter: &str) {
    // `{{<component …/>}}` is a call, not a value.
    if tag.words.first().is_none_or(|word| word.is("<")) {
        prepared.copy(original, tag.inner.clone());
        return;
    }
    prepared.text.push_str(" (");
    copy_value(prepared, original, tag);
    prepared.text.push_str(") | ");
    prepared.text.push_str(filter);
    prepared.text.push(' ');
}

/// Copies the contents of a value tag. `default(omit)` and `default(omit, true)`, which are common in roles of Ansible, get the names of
/// arguments that Tera requires.
fn copy_value(prepared: &mut Prepared, original: &str, tag: &Tag) {
    let mut at = tag.inner.start;
    let mut insert_name = |prepared: &mut Prepared, name: &str, start: usize| {
        prepared.copy(original, at..start);
        prepared.text.push_str(name);
        at = start;
    };
    for (number, words) in tag.words.windows(4).enumerate() {
        let [default, open, omit, close] = words else { continue };
        if !(default.is("default") && open.is("(") && omit.is("omit")) {
            continue;
        }
        if close.is(")") || close.is(",") {
            insert_name(prepared, "value=", omit.range.start);
        }
        if close.is(",")
            && let Some([flag, end]) = tag.words.get(number + 4..number + 6)
            && (flag.is("true") || flag.is("false"))
            && end.is(")")
        {
            insert_name(prepared, "boolean=", flag.range.start);
        }
    }
    prepared.copy(original, at..tag.inner.end);
}

/// Returns the whole line, with its line break, if the tag is alone on it and has no `-` that controls white space.
pub(super) fn alone_on_line(text: &str, tag: &Tag) -> Option<Range<usize>> {
    let source = &text[tag.range.clone()];
    let (start, end) = (source.as_bytes().get(2), source.len().checked_sub(3).and_then(|at| source.as_bytes().get(at)));
    if start == Some(&b'-') || end == Some(&b'-') {
        return None;
    }
    let before = &text[..tag.range.start];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    if !before[line_start..].chars().all(|space| space == ' ' || space == '\t') {
        return None;
    }
    let after = &text[tag.range.end..];
    let blank = after.len() - after.trim_start_matches([' ', '\t', '\r']).len();
    let rest = &after[blank..];
    let end = match rest.chars().next() {
        None => tag.range.end + blank,
        Some('\n') => tag.range.end + blank + 1,
        Some(_) => return None,
    };
    Some(line_start..end)
}

/// A text without changes.
pub(super) fn bare(original: &str) -> Prepared {
    let mut prepared = Prepared::default();
    prepared.copy(original, 0..original.len());
    prepared
}

/// A bare expression without a filter, so that Tera's own message names what is not defined.
pub(super) fn bare_expression(original: &str) -> Prepared {
    let mut prepared = Prepared { text: "{{ ".to_owned(), copied: Vec::new() };
    prepared.copy(original, 0..original.len());
    prepared.text.push_str(" }}");
    prepared
}
