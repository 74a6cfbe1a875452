//! `lineinfile`: keeps a line in a file, or removes lines.

use super::{
    Files, Flag, Kind, NodeState, ParamError, Reach, Resource, State, Verdict, decode,
    edit::{EditParameters, Edited, EditedFile, Pieces, bare, lines},
    pattern::Pattern,
    schema::parameters,
};
use crate::{
    question::{Questions, Unanswered},
    secret::{Sealed, SecretId},
};

pub(super) const KIND: Kind = Kind {
    name: "lineinfile",
    about: "Keeps a line in a file, or removes lines",
    example: r#"lineinfile:
  path: /etc/ssh/sshd_config
  regexp: "^#?PermitRootLogin"
  line: PermitRootLogin prohibit-password"#,
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(LineInFile::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    struct Parameters {
        /// The file.
        file: EditParameters,
        /// The line.
        line | value: Option<Sealed>,
        /// The line that `line` replaces, or with `state: absent` the lines to remove: a regular expression in Python's syntax.
        regexp | regex: Option<Pattern>,
        /// The same as `regexp`, but as plain text that the line contains.
        search_string: Option<String>,
        /// Whether the file has the line.
        state: State = "present",
        /// Whether the first match counts for `insertafter` and `insertbefore`, instead of the last.
        firstmatch: Flag = false,
        /// Whether `\1` in `line` stands for what `regexp` matched; without a match nothing changes.
        backrefs: Flag = false,
    }
}

/// How the lines to replace or remove are found.
#[derive(Debug)]
enum Search {
    /// Only lines that equal the declared one.
    Nothing,
    /// Lines that match.
    Pattern(Pattern),
    /// Lines that contain this text.
    Text(String),
}

impl Search {
    fn finds(&self, line: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Pattern(pattern) => pattern.is_in(line),
            Self::Text(text) => line.contains(text),
        }
    }

    /// Returns a warning if the search is empty, because it then finds every line.
    fn warning(&self) -> Option<&'static str> {
        match self {
            Self::Pattern(pattern) if pattern.is_empty() => Some("the empty `regexp` matches every line, the last one counts"),
            Self::Text(text) if text.is_empty() => Some("the empty `search_string` is in every line, the last one counts"),
            Self::Nothing | Self::Pattern(_) | Self::Text(_) => None,
        }
    }
}

/// Where a new line goes.
#[derive(Debug)]
pub(super) enum InsertPosition {
    /// To the top.
    Begin,
    /// To the end.
    End,
    /// After a line that matches, or to the end.
    After(Pattern),
    /// Before a line that matches, or to the end.
    Before(Pattern),
}

impl InsertPosition {
    /// Reads `insertafter` and `insertbefore`.
    pub(super) fn new(after: Option<&str>, before: Option<&str>) -> Result<Self, ParamError> {
        let pattern = |name, text: &str| Pattern::new(text).map_err(|reason| ParamError::parameter(name, reason));
        match (after, before) {
            (Some(_), Some(_)) => Err(ParamError::parameter("insertbefore", "give either `insertafter` or `insertbefore`")),
            (None | Some("EOF"), None) | (None, Some("EOF")) => Ok(Self::End),
            (Some("BOF"), None) | (None, Some("BOF")) => Ok(Self::Begin),
            (Some(text), None) => pattern("insertafter", text).map(Self::After),
            (None, Some(text)) => pattern("insertbefore", text).map(Self::Before),
        }
    }

    /// Returns the number of lines before the new one, or `None` if no line matches.
    pub(super) fn among(&self, lines: &[&str], first: bool) -> Option<usize> {
        let nth = |pattern: &Pattern| {
            let mut numbers = (0..lines.len()).filter(|number| pattern.is_in(lines[*number].trim_end_matches('\n')));
            if first { numbers.next() } else { numbers.next_back() }
        };
        match self {
            Self::Begin => Some(0),
            Self::End => Some(lines.len()),
            Self::After(pattern) => nth(pattern).map(|number| number + 1),
            Self::Before(pattern) => nth(pattern),
        }
    }
}

#[derive(Debug)]
struct LineInFile {
    file: EditedFile,
    /// Without the line break at its end. Other line breaks in it make it several lines.
    line: Sealed,
    search: Search,
    state: State,
    place: InsertPosition,
    first: bool,
    backrefs: bool,
}

impl LineInFile {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let search = match (parameters.regexp, parameters.search_string) {
            (Some(pattern), None) => Search::Pattern(pattern),
            (None, Some(text)) => Search::Text(text),
            (None, None) => Search::Nothing,
            (Some(_), Some(_)) => return Err(ParamError::parameter("search_string", "give either `regexp` or `search_string`")),
        };
        let line = match (parameters.line, parameters.state) {
            (Some(line), _) => line,
            (None, State::Absent) if !matches!(search, Search::Nothing) => Sealed::default(),
            (None, State::Absent) => {
                return Err(ParamError::parameter(
                    "",
                    "give `line`, `regexp` or `search_string`: they say which lines to remove",
                ));
            }
            (None, State::Present) => return Err(ParamError::parameter("", "`line` is missing")),
        };
        if parameters.backrefs.0 {
            let Search::Pattern(pattern) = &search else {
                return Err(ParamError::parameter("backrefs", "needs a `regexp`, whose groups `line` refers to"));
            };
            let template = String::from_utf8_lossy(line.as_tokens());
            pattern.check_template(&template).map_err(|reason| ParamError::parameter("line", reason))?;
        }
        let place = parameters.file.place()?;
        let line = Sealed::from(line.as_tokens().strip_suffix(b"\n").unwrap_or(line.as_tokens()).to_vec());
        Ok(Self {
            file: parameters.file.file(line.clone())?,
            line,
            search,
            state: parameters.state,
            place,
            first: parameters.firstmatch.0,
            backrefs: parameters.backrefs.0,
        })
    }

    /// Returns the new text, or `None` if the text stays the same.
    fn edited(&self, node: &NodeState<'_>, old: Option<&str>) -> Option<Edited> {
        let old = lines(old.unwrap_or_default());
        if self.state == State::Absent { self.remove(node, &old) } else { self.insert_or_replace(node, &old) }
    }

    fn remove(&self, node: &NodeState<'_>, old: &[&str]) -> Option<Edited> {
        let mut remove = vec![false; old.len()];
        if matches!(self.search, Search::Nothing) {
            let wanted = Wanted::new(node, &self.line);
            let mut number = 0;
            while let Some(start) = wanted.next_in(old, number) {
                remove[start..start + wanted.height()].fill(true);
                number = start + wanted.height();
            }
        } else {
            for (remove, line) in remove.iter_mut().zip(old) {
                *remove = self.search.finds(line.trim_end_matches('\n'));
            }
        }
        let removed = remove.iter().filter(|remove| **remove).count();
        if removed == 0 {
            return None;
        }
        let kept: String = old.iter().zip(&remove).filter(|(_, remove)| !**remove).map(|(line, _)| *line).collect();
        Some(Edited { content: Sealed::from(kept), summary: format!("{removed} line(s) removed"), replaces: true })
    }

    fn insert_or_replace(&self, node: &NodeState<'_>, old: &[&str]) -> Option<Edited> {
        let wanted = Wanted::new(node, &self.line);
        let mut found = (0..old.len()).filter(|number| self.search.finds(old[*number].trim_end_matches('\n')));
        if let Some(number) = if self.first { found.next() } else { found.next_back() } {
            let bytes = match (&self.search, self.backrefs) {
                (Search::Pattern(pattern), true) => {
                    let template = String::from_utf8_lossy(self.line.as_tokens());
                    Sealed::from(pattern.expand(old[number].trim_end_matches('\n'), &template)?)
                }
                (Search::Nothing | Search::Pattern(_) | Search::Text(_), _) => self.line.clone(),
            };
            let wanted = Wanted::new(node, &bytes);
            // If the new text has several lines, the line that was found may be any of them.
            if (number.saturating_sub(wanted.height() - 1)..=number).any(|start| wanted.is_at(old, start)) {
                return None;
            }
            let mut content = Pieces::default();
            content.push(old[..number].concat().as_bytes());
            content.push(bytes.as_tokens());
            content.end_line();
            content.push(old[number + 1..].concat().as_bytes());
            let warning = self.search.warning().map(|warning| format!(" ({warning})")).unwrap_or_default();
            return Some(Edited { content: content.sealed(), summary: format!("line replaced{warning}"), replaces: true });
        }
        if self.backrefs || wanted.next_in(old, 0).is_some() {
            return None;
        }
        let number = self.place.among(old, self.first).unwrap_or(old.len());
        let mut content = Pieces::default();
        content.push(old[..number].concat().as_bytes());
        content.push(if self.line.is_empty() { b"\n" } else { self.line.as_tokens() });
        content.end_line();
        content.push(old[number..].concat().as_bytes());
        Some(Edited { content: content.sealed(), summary: "line added".into(), replaces: false })
    }
}

/// The line as the file would contain it. While its secrets have no value, no line equals it.
struct Wanted {
    lines: Vec<String>,
    known: bool,
}

impl Wanted {
    fn new(node: &NodeState<'_>, line: &Sealed) -> Self {
        let revealed = line.reveal(node.secrets);
        let text = revealed.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let known = text.is_ok();
        let text = text.unwrap_or_else(|_| line.shown());
        Self { lines: text.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect(), known }
    }

    fn height(&self) -> usize {
        self.lines.len()
    }

    fn is_at(&self, old: &[&str], start: usize) -> bool {
        let found = old.get(start..start + self.height());
        self.known && found.is_some_and(|found| found.iter().zip(&self.lines).all(|(line, wanted)| bare(line) == wanted))
    }

    fn next_in(&self, old: &[&str], from: usize) -> Option<usize> {
        (from..old.len()).find(|start| self.is_at(old, *start))
    }
}

impl Resource for LineInFile {
    fn reach(&self) -> Reach<'_> {
        self.file.reach()
    }

    fn questions(&self, ask: &mut Questions) {
        self.file.questions(ask);
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        Ok(
            match self.file.compare(node, |old| match (old, self.state) {
                // A file that does not exist has no lines to remove.
                (None, State::Absent) => Ok(None),
                (None | Some(_), _) => Ok(self.edited(node, old)),
            })? {
                Verdict::Converged { note: None } => Verdict::Converged { note: self.search.warning().map(str::to_owned) },
                verdict @ (Verdict::Converged { .. } | Verdict::Change(_) | Verdict::Blocked { .. } | Verdict::Refused(_)) => {
                    verdict
                }
            },
        )
    }

    fn secrets(&self) -> Vec<SecretId> {
        self.file.secrets()
    }
}

#[cfg(test)]
#[path = "lineinfile_tests.rs"]
mod tests;
