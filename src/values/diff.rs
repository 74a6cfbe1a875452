//! Differences for people: lines added and removed, attributes before and after. The writers keep secrets out.

/// A difference between the actual and the wanted state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// The lines, in order.
    pub lines: Vec<Line>,
}

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The title of the lines below, such as a path.
    Title(String),
    /// An unchanged line, for orientation.
    Context(String),
    /// A line that is added.
    Added(String),
    /// A line that is removed.
    Removed(String),
    /// Unchanged lines that are left out.
    Gap,
}

impl Diff {
    /// Returns an empty difference: nothing differs, or nothing can be shown.
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

    /// Appends an attribute that changes: `- mode 0644`, `+ mode 0600`. An empty `before` means that it did not exist.
    pub fn attribute(&mut self, name: &str, before: &str, after: &str) {
        if !before.is_empty() {
            self.lines.push(Line::Removed(format!("{name} {before}")));
        }
        self.lines.push(Line::Added(format!("{name} {after}")));
    }

    /// Appends a line that is added.
    pub fn added(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Added(text.into()));
    }

    /// Appends a line that is removed.
    pub fn removed(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Removed(text.into()));
    }

    /// Returns the difference as text: lines begin with `+`, `-` or a space, titles with `=`. Returns `None` when there is no difference.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        let line = |line: &Line| match line {
            Line::Title(text) => format!("= {text}\n"),
            Line::Context(text) => format!("  {text}\n"),
            Line::Added(text) => format!("+ {text}\n"),
            Line::Removed(text) => format!("- {text}\n"),
            Line::Gap => "...\n".to_owned(),
        };
        (!self.lines.is_empty()).then(|| self.lines.iter().map(line).collect())
    }
}
