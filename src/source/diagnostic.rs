//! What users see when their files are wrong: title, place, source line, help.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::Place;
use super::shown_line::ShownLine;

/// Lines are trimmed to this many columns.
const WIDTH: usize = 80;

/// Whether it stops us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The files cannot be used.
    Error,
    /// Worth saying; the run goes on.
    Warning,
}

/// One thing that is wrong in the user's files.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Whether it stops us.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub title: String,
    /// Where.
    pub place: Option<Place>,
    /// Said beside the marked text.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    /// Other places that matter, with what to say there.
    pub also: Vec<(Place, String)>,
}

impl Diagnostic {
    /// An error with this title.
    pub fn error(title: impl Into<String>) -> Self {
        let (title, label) = (title.into(), String::new());
        Self { severity: Severity::Error, title, place: None, label, help: None, also: Vec::new() }
    }

    /// A warning with this title.
    pub fn warning(title: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(title) }
    }

    /// Where it is.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// What to say beside the marked text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// What to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds "did you mean" as help, if there is a suggestion.
    #[must_use]
    pub fn suggest(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// Another place that matters.
    #[must_use]
    pub fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.also.push((place, label.into()));
        self
    }

    /// The message as rustc would show it, without a newline at the end. Values of secret keys are masked.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(self.title.as_str()));
        if let Some(place) = &self.place {
            group = group.element(snippet(place, AnnotationKind::Primary, &self.label));
        }
        for (place, label) in &self.also {
            group = group.element(snippet(place, AnnotationKind::Context, label));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.term_width(WIDTH).render(&[group])
    }

    /// `{file, line, col, message, help}`; what is not known is null.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let at = self.place.as_ref().map(Place::line_col);
        let message = if self.label.is_empty() { self.title.clone() } else { format!("{}: {}", self.title, self.label) };
        serde_json::json!({
            "file": self.place.as_ref().map(|place| place.file.shown.as_str()),
            "line": at.map(|(line, _)| line),
            "col": at.map(|(_, col)| col),
            "message": message,
            "help": self.help,
        })
    }
}

fn snippet<'a>(place: &Place, kind: AnnotationKind, label: &'a str) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let line = ShownLine::of(place);
    let mut annotation = kind.span(line.marked);
    if !label.is_empty() {
        annotation = annotation.label(label);
    }
    Snippet::source(line.text).line_start(line.number).path(place.file.shown.clone()).annotation(annotation)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostic {}

/// Everything that is wrong, collected.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds many.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Keeps the value, or collects the error.
    pub fn keep<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|diagnostic| self.push(diagnostic)).ok()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` if nothing is wrong, else everything that is.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self.sorted()) }
    }

    /// In the order of files and lines, each one once; those without a place come first.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
        self.0.dedup();
        self
    }

    /// All of them in order, and how many: `5 errors`. Without a newline at the end.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let sorted = self.clone().sorted();
        let mut parts: Vec<String> = sorted.0.iter().map(|diagnostic| diagnostic.render(color)).collect();
        let count = |severity, one: &str| {
            let number = sorted.0.iter().filter(|diagnostic| diagnostic.severity == severity).count();
            match number {
                0 => None,
                1 => Some(format!("1 {one}")),
                _ => Some(format!("{number} {one}s")),
            }
        };
        let counts = [count(Severity::Error, "error"), count(Severity::Warning, "warning")];
        parts.push(counts.into_iter().flatten().collect::<Vec<_>>().join(", "));
        parts.join("\n\n")
    }

    /// An array of [`Diagnostic::to_json`], in order.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.clone().sorted().0.iter().map(Diagnostic::to_json).collect()
    }
}

fn key(diagnostic: &Diagnostic) -> (Option<(&str, usize)>, &str) {
    let at = diagnostic.place.as_ref().map(|place| (place.file.shown.as_str(), place.range.start));
    (at, diagnostic.title.as_str())
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
