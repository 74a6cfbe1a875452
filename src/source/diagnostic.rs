//! Diagnostics: what users see when their files are wrong, with title, place, source line and help.

use std::{borrow::Cow, fmt};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::Span;
use super::shown_line::ShownLine;
use crate::values::{Problem, RelatedPlace, shortened};

/// Lines are trimmed to this many columns.
const WIDTH: usize = 80;
/// So many diagnostics are shown: a file that is something else altogether has an error in every line.
const MOST_SHOWN: usize = 100;

/// Whether a diagnostic stops the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The files cannot be used.
    Error,
    /// The run continues.
    Warning,
}

/// One problem in the user's files.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Whether it stops the run.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub title: String,
    /// Where it is.
    pub span: Option<Span>,
    /// The note beside the marked text.
    pub label: String,
    /// What the user can do about it.
    pub help: Option<Box<str>>,
    /// Other relevant places, each with the note beside it.
    pub also: Vec<(Span, String)>,
}

impl Diagnostic {
    /// Creates an error with this title.
    pub fn error(title: impl Into<String>) -> Self {
        let (title, label) = (bounded(title.into()), String::new());
        Self { severity: Severity::Error, title, span: None, label, help: None, also: Vec::new() }
    }

    /// Creates a warning with this title.
    pub fn warning(title: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(title) }
    }

    /// Sets the place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Sets the note beside the marked text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = bounded(label.into());
        self
    }

    /// Sets the help: what the user can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(bounded(help.into()).into_boxed_str());
        self
    }

    /// Adds "did you mean" as the help, if there is a suggestion.
    #[must_use]
    pub fn suggest(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// Adds another relevant place.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also.push((span, bounded(label.into())));
        self
    }

    /// Whether both say the same, except for the other places that matter.
    fn is_same_problem(&self, other: &Self) -> bool {
        let said = |one: &Self| (one.severity, one.title.clone(), one.span.clone(), one.label.clone(), one.help.clone());
        said(self) == said(other)
    }

    /// Renders the message as rustc would, without a newline at the end. Values of secret keys are masked.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(self.title.as_str()));
        if let Some(span) = &self.span {
            group = group.element(snippet(span, AnnotationKind::Primary, &self.label));
        }
        for (span, label) in &self.also {
            group = group.element(snippet(span, AnnotationKind::Context, label));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(&**help));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.term_width(WIDTH).render(&[group])
    }

    /// `roles/a/role.yml:3:7: what is wrong (what to do)`, in one line without source text.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let span = self.span.as_ref().map(|span| format!("{span}: ")).unwrap_or_default();
        let label = if self.label.is_empty() { String::new() } else { format!(": {}", self.label) };
        let help = self.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        let line = format!("{span}{}{label}{help}", self.title);
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Returns the problem as data, without the text of files.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let at = self.span.as_ref().map(Span::line_col);
        let also = self.also.iter().map(|(span, label)| {
            let (line, col) = span.line_col();
            RelatedPlace { file: span.file.shown.clone(), line, col, label: label.clone() }
        });
        Problem {
            file: self.span.as_ref().map(|span| span.file.shown.clone()),
            line: at.map(|(line, _)| line),
            col: at.map(|(_, col)| col),
            message: if self.label.is_empty() { self.title.clone() } else { format!("{}: {}", self.title, self.label) },
            help: self.help.as_deref().map(str::to_owned),
            also: also.collect(),
        }
    }

    /// Returns `{file, line, col, message, help, also: [{file, line, col, label}]}`; unknown values are null.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(self.problem())
    }
}

/// A name in a file can be as long as the file.
fn bounded(text: String) -> String {
    match shortened(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(short) => short,
    }
}

fn snippet<'a>(span: &Span, kind: AnnotationKind, label: &'a str) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let line = ShownLine::of(span);
    let mut annotation = kind.span(line.marked);
    if !label.is_empty() {
        annotation = annotation.label(label);
    }
    Snippet::source(line.text).line_start(line.number).path(span.file.shown.clone()).annotation(annotation)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostic {}

/// All diagnostics that were collected.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all diagnostics of another collection.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Returns the value, or collects the error.
    pub fn keep<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|diagnostic| self.push(diagnostic)).ok()
    }

    /// Whether there are no diagnostics.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `value` if there are no diagnostics, otherwise all of them.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self.sorted()) }
    }

    /// Returns the errors, and the warnings.
    #[must_use]
    pub fn by_severity(self) -> (Self, Vec<Diagnostic>) {
        let (errors, warnings) = self.0.into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error);
        (Self(errors), warnings)
    }

    /// Sorts by file and line and merges duplicates, which keep all related places; diagnostics without a place come first.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
        self.0.dedup_by(|later, first| {
            let is_same = later.is_same_problem(first);
            if is_same {
                let new: Vec<_> = later.also.drain(..).filter(|also| !first.also.contains(also)).collect();
                first.also.extend(new);
            }
            is_same
        });
        self
    }

    /// The first of them in order, and the line that says how many more there are.
    fn shown(&self) -> (Vec<Diagnostic>, Option<String>) {
        let mut sorted = self.clone().sorted().0;
        let more = sorted.split_off(sorted.len().min(MOST_SHOWN));
        let more = counts(&more).map(|counts| format!("{counts} more: mend the first ones"));
        (sorted, more)
    }

    /// Renders the first hundred of them in order, followed by the count of all: `5 errors`. Without a newline at the end.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let sorted = self.clone().sorted();
        let (shown, more) = sorted.shown();
        let mut parts: Vec<String> = shown.iter().map(|diagnostic| diagnostic.render(color)).collect();
        parts.extend(more);
        parts.push(counts(&sorted.0).unwrap_or_default());
        parts.join("\n\n")
    }

    /// The first hundred of them in order, in one line without source text, for a cell of a table.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let (shown, more) = self.shown();
        shown.iter().map(Diagnostic::in_one_line).chain(more).collect::<Vec<_>>().join("; ")
    }

    /// Returns the first hundred of them as data, in order. If there are more, the last one says how many.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let (shown, more) = self.shown();
        let more = more.map(|more| Diagnostic::error(more).problem());
        shown.iter().map(Diagnostic::problem).chain(more).collect()
    }

    /// Returns an array of [`Diagnostic::to_json`], in order.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(self.problems())
    }
}

/// `5 errors, 1 warning`; none of nothing.
fn counts(diagnostics: &[Diagnostic]) -> Option<String> {
    let count = |severity, one: &str| {
        let number = diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
        match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{number} {one}s")),
        }
    };
    let counts = [count(Severity::Error, "error"), count(Severity::Warning, "warning")];
    (!diagnostics.is_empty()).then(|| counts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn key(diagnostic: &Diagnostic) -> (Option<(&str, usize)>, &str) {
    let at = diagnostic.span.as_ref().map(|span| (span.file.shown.as_str(), span.range.start));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;

    fn at(text: &str, marked: &str) -> Span {
        let start = text.find(marked).unwrap();
        Span::new(&SourceFile::new("group_vars/all.yml", text), start..start + marked.len())
    }

    #[test]
    fn an_error_looks_like_one_of_rustc() {
        let text = "redis:\n  prot: 6379\n  host: x\n";
        let error = Diagnostic::error("unknown key `prot`").at(at(text, "prot")).label("not known here").suggest(Some("port"));
        insta::assert_snapshot!(error.render(false), @r##"
        error: unknown key `prot`
         --> group_vars/all.yml:2:3
          |
        2 |   prot: 6379
          |   ^^^^ not known here
          |
          = help: did you mean `port`?
        "##);
        assert!(error.render(true).contains("\u{1b}["));
    }

    #[test]
    fn a_long_line_is_trimmed_and_a_huge_one_renders_quickly() {
        let text = format!("x: {} wrong {}", "a ".repeat(500_000), "b ".repeat(500_000));
        let shown = Diagnostic::error("bad").at(at(&text, "wrong")).label("here").render(false);
        insta::assert_snapshot!(shown, @r##"
        error: bad
         --> group_vars/all.yml:1:1000005
          |
        1 | ... a a a a a a a a a a a a a a  wrong b b b b b b b b b b b b b b b b b ...
          |                                  ^^^^^ here
        "##);
    }

    #[test]
    fn a_place_of_several_lines_is_shown_by_its_first() {
        insta::assert_snapshot!(Diagnostic::error("bad map").at(at("a:\n  b: 1\n  c: 2\n", "b: 1\n  c: 2")).render(false), @r##"
        error: bad map
         --> group_vars/all.yml:2:3
          |
        2 |   b: 1
          |   ^^^^
        "##);
    }

    #[test]
    fn the_end_of_an_empty_file_can_be_shown() {
        let span = Span::new(&SourceFile::new("a.yml", ""), 0..0);
        insta::assert_snapshot!(Diagnostic::error("nothing here").at(span).label("empty").render(false), @r##"
        error: nothing here
         --> a.yml:1:1
          |
        1 |
          | ^ empty
        "##);
        insta::assert_snapshot!(Diagnostic::error("nowhere").help("look").render(false), @r##"
        error: nowhere
         |
         = help: look
        "##);
    }

    #[test]
    fn secrets_in_the_source_line_are_masked() {
        let shown = |text: &str, marked: &str| Diagnostic::error("bad").at(at(text, marked)).label("here").render(false);
        for (text, marked) in [
            ("redis_password: hunter2\n", "redis_password"),
            ("redis_password: hunter2\n", "hunter2"),
            ("'db_passwd' : \"hunter2\"\n", "hunter2"),
            ("{user: x, api_token: hunter2, port: 1}\n", "user"),
            ("db1 ansible_host=x ansible_become_pass=hunter2 y=1\n", "ansible_host"),
            ("ssl_private_key: |\n  line\n  hunter2\n", "hunter2"),
            ("passwords:\n  - a\n  - hunter2\n", "hunter2"),
            ("passwords:\n- a\n- hunter2\n", "hunter2"),
            ("VAULT_SECRET=hunter2 x\n", "VAULT_SECRET"),
            ("password: {{ x | default(value='hunter2') }}\n", "x |"),
            ("password: \"{{ x }}hunter2{{ y }}\"\n", "x }}"),
            ("a: 1 # old password: hunter2\n", "1"),
        ] {
            let rendered = shown(text, marked);
            assert!(!rendered.contains("hunter2") && rendered.contains("********"), "{text}{rendered}");
        }
        insta::assert_snapshot!(shown("- é: {redis_password: hunter2}\n", "hunter2"), @r##"
        error: bad
         --> group_vars/all.yml:1:23
          |
        1 | - é: {redis_password: ********
          |                       ^^^^^^^^ here
        "##);
    }

    #[test]
    fn values_that_are_not_secret_stay_readable() {
        let shown = |text: &str, marked: &str| Diagnostic::error("bad").at(at(text, marked)).render(false);
        assert!(shown("secrets:\n  REDIS: {file: /etc/x, lenght: 32}\n", "lenght").contains("lenght: 32"));
        assert!(shown("redis_password: \"{{ secrets.REDIS_PASWORD }}\"\n", "secrets").contains("secrets.REDIS_PASWORD"));
        assert!(shown("url: https://example.net\nport: 1\n", "port").contains("port: 1"));
    }

    #[test]
    fn several_are_rendered_in_file_order_without_duplicates_and_with_a_count() {
        let text = "a: 1\nb: 2\n";
        let mut all = Diagnostics::default();
        for (title, marked) in [("second", "b"), ("first", "a"), ("second", "b")] {
            all.push(Diagnostic::error(title).at(at(text, marked)));
        }
        all.push(Diagnostic::warning("careful"));
        insta::assert_snapshot!(all.render(false), @r##"
        warning: careful

        error: first
         --> group_vars/all.yml:1:1
          |
        1 | a: 1
          | ^

        error: second
         --> group_vars/all.yml:2:1
          |
        2 | b: 2
          | ^

        2 errors, 1 warning
        "##);
        assert_eq!(all.into_result(()).unwrap_err().0.len(), 3);
    }

    #[test]
    fn of_very_many_the_first_hundred_are_shown_and_the_others_are_counted() {
        let text = "a: 1\n".repeat(250);
        let file = SourceFile::new("a.yml", text.as_str());
        let of = |count: usize| {
            Diagnostics((0..count).map(|line| Diagnostic::error("bad").at(Span::new(&file, line * 5..line * 5 + 1))).collect())
        };
        let shown = of(250).render(false);
        assert_eq!(shown.matches("error: bad").count(), 100);
        assert!(shown.contains("a.yml:100:1") && !shown.contains("a.yml:101:1"), "{shown}");
        assert!(shown.ends_with("\n\n150 errors more: mend the first ones\n\n250 errors"), "{shown}");
        assert_eq!(of(250).problems().len(), 101);
        assert_eq!(of(250).problems()[100].message, "150 errors more: mend the first ones");
        assert!(of(100).render(false).ends_with("\n\n100 errors") && !of(100).render(false).contains("more"));
        assert!(of(250).in_one_line().ends_with("a.yml:100:1: bad; 150 errors more: mend the first ones"));
    }

    #[test]
    fn a_message_that_quotes_very_much_is_short() {
        let long = "x".repeat(1 << 20);
        let error = Diagnostic::error(format!("unknown key `{long}`")).label(long.as_str()).help(long.as_str());
        let error = error.at(at("a: 1", "a")).also(at("a: 1", "1"), long.as_str());
        assert!(error.render(false).len() < 6000 && error.to_json().to_string().len() < 6000);
        assert!(error.title.starts_with("unknown key `xxx") && error.title.ends_with("xxx`"));
    }

    #[test]
    fn json_names_file_line_column_message_help_and_the_other_places() {
        let text = "x: é y\n";
        let error = Diagnostic::error("bad").at(at(text, "y")).label("here").help("do").also(at(text, "x"), "the first");
        assert_eq!(
            error.to_json().to_string(),
            r#"{"file":"group_vars/all.yml","line":1,"col":6,"message":"bad: here","help":"do","also":[{"file":"group_vars/all.yml","line":1,"col":1,"label":"the first"}]}"#
        );
        assert_eq!(
            Diagnostics::from(Diagnostic::error("bad")).to_json().to_string(),
            r#"[{"file":null,"line":null,"col":null,"message":"bad","help":null,"also":[]}]"#
        );
    }
}
