//! Source text with locations: every value knows the file, line and column it came from.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

mod boundary;
pub mod diagnostic;
mod files;
pub mod node;
mod regular;
mod shown_line;
pub mod suggest;
pub mod yaml;

pub use boundary::{Boundary, LeadsOut, Trust};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use files::{FileDigest, FilesRead, digest_of};
pub use node::{Key, Node, Quoting, Vaulted, Yaml};
pub use regular::{LARGEST_FILE, LARGEST_TEXT, open_regular, read_given, read_regular};
pub(crate) use shown_line::{MASK, is_secret_name};
pub use suggest::did_you_mean;

/// A text file, as it was read.
#[derive(PartialEq, Eq)]
pub struct SourceFile {
    /// The name that users see: a path relative to the project where possible, or the option or program that the text came from.
    pub shown: String,
    /// The whole text, without a byte order mark.
    pub text: String,
}

// The text may hold secrets, so it stays out of debug output.
impl fmt::Debug for SourceFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SourceFile({})", self.shown)
    }
}

impl SourceFile {
    /// Creates a file from text that is already in memory (`-e`, `-i host,`, the output of a program).
    pub fn new(shown: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { shown: shown.into(), text: text.into() })
    }
}

/// A range of bytes in a file: where a value is written. Cheap to clone.
#[derive(Clone)]
pub struct Span {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Byte offsets from the start of the file.
    pub range: Range<usize>,
}

impl Span {
    /// Creates the place of these bytes, and of the rest of the characters that they are parts of. What is beyond the end is left out.
    #[must_use]
    pub fn new(file: &Arc<SourceFile>, range: Range<usize>) -> Self {
        let start = floor_char_boundary(&file.text, range.start);
        let end = file.text.ceil_char_boundary(range.end.min(file.text.len()));
        Self { file: Arc::clone(file), range: start..end.max(start) }
    }

    /// Returns the line and column where the place starts, both counted from 1; the column counts characters.
    #[must_use]
    pub fn line_col(&self) -> (usize, usize) {
        let before = &self.file.text[..floor_char_boundary(&self.file.text, self.range.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// Returns the text at this place, as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.file.text.get(self.range.clone()).unwrap_or_default()
    }

    /// Returns a place inside this one; `range` counts bytes from the start of this one.
    #[must_use]
    pub fn inside(&self, range: Range<usize>) -> Self {
        let at = |offset: usize| (self.range.start + offset).min(self.range.end);
        Self::new(&self.file, at(range.start)..at(range.end))
    }
}

impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        self.range == other.range && (Arc::ptr_eq(&self.file, &other.file) || self.file.shown == other.file.shown)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// `file:line:col`.
impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, col) = self.line_col();
        write!(formatter, "{}:{line}:{col}", self.file.shown)
    }
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    text.floor_char_boundary(offset.min(text.len()))
}

/// Returns the text of a file.
fn decoded(bytes: Vec<u8>, shown: &str) -> Result<Arc<SourceFile>, Diagnostic> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = String::from_utf8_lossy(&error.as_bytes()[..valid]).matches('\n').count() + 1;
        Diagnostic::error(format!("`{shown}` is not UTF-8 (line {line})")).help("save the file as UTF-8 text")
    })?;
    // Editors on Windows put a byte order mark first, which would shift every offset by three.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(SourceFile::new(shown, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let file = SourceFile::new("a.yml", "x: 1\nnäme: ü\n");
        assert_eq!(Span::new(&file, 12..14).line_col(), (2, 7));
        assert_eq!(Span::new(&file, 12..14).text(), "ü");
        assert_eq!(Span::new(&file, 999..1000).line_col(), (3, 1));
    }

    #[test]
    fn a_place_consists_of_whole_characters_of_the_text() {
        let file = SourceFile::new("a.yml", "é☃");
        for (range, whole) in [(0..1, "é"), (1..2, "é"), (1..3, "é☃"), (3..3, "☃"), (4..99, "☃"), (5..5, ""), (9..99, "")]
        {
            let span = Span::new(&file, range.clone());
            assert_eq!(file.text.get(span.range.clone()), Some(whole), "{range:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.yml");
        std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
        let error = FilesRead::default().read(&path, "bad.yml").unwrap_err();
        assert_eq!(error.title, "`bad.yml` is not UTF-8 (line 2)");
    }

    #[test]
    fn a_missing_file_is_named_and_a_byte_order_mark_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yml");
        let files = FilesRead::default();
        assert!(files.read(&path, "a.yml").unwrap_err().title.starts_with("cannot read `a.yml`: "));
        std::fs::write(&path, "\u{feff}a: 1\n").unwrap();
        assert_eq!(files.read(&path, "a.yml").unwrap().text, "a: 1\n");
    }

    #[test]
    fn debug_output_never_contains_the_text_of_a_file() {
        let file = SourceFile::new("a.yml", "password: hunter2");
        assert_eq!(format!("{:?} {:?}", file, Span::new(&file, 10..17)), "SourceFile(a.yml) a.yml:1:11");
    }
}
