//! `lineinfile`: keeps a line in a file, or removes lines.

use super::{
    Files, Flag, Kind, NodeState, ParamError, Reach, Resource, State, Verdict, decode,
    edit::{EditParameters, Edited, EditedFile, InsertPosition, Pieces, bare, lines},
    pattern::Pattern,
    raw_text::{bytes_of, text_of},
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
    /// Whether it finds a line, given with its line break: `\s` and `\n` match that, as in Ansible.
    fn finds(&self, line: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Pattern(pattern) => pattern.is_in(line),
            Self::Text(text) => line.contains(text),
        }
    }

    fn count(&self, text: &str) -> usize {
        lines(text).into_iter().filter(|line| self.finds(line)).count()
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
        if parameters.backrefs.0 && parameters.state == State::Present {
            let Search::Pattern(pattern) = &search else {
                return Err(ParamError::parameter("backrefs", "needs a `regexp`, whose groups `line` refers to"));
            };
            let template = String::from_utf8_lossy(line.as_tokens());
            pattern.check_template(&template).map_err(|reason| ParamError::parameter("line", reason))?;
        }
        let place = match parameters.file.place()? {
            InsertPosition::After(pattern) if pattern.is_text("BOF") => InsertPosition::Begin,
            InsertPosition::After(pattern) | InsertPosition::Before(pattern) if pattern.is_empty() => InsertPosition::End,
            place @ (InsertPosition::Begin | InsertPosition::End | InsertPosition::After(_) | InsertPosition::Before(_)) => place,
        };
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
        match (old, self.state) {
            // A file that does not exist has no lines to remove.
            (None, State::Absent) => None,
            // What a line is made of is not there, nor would a file be made without it.
            (None, State::Present) if self.backrefs => {
                let nothing = Edited { content: Sealed::default(), summary: "line replaced".into(), replaces: true };
                (!self.file.is_made()).then_some(nothing)
            }
            (Some(old), State::Absent) => self.remove(node, &lines(old)),
            (old, State::Present) => self.insert_or_replace(node, &lines(old.unwrap_or_default())),
        }
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
                *remove = self.search.finds(line);
            }
        }
        let removed = remove.iter().filter(|remove| **remove).count();
        if removed == 0 {
            return None;
        }
        let mut kept = Pieces::default();
        old.iter().zip(&remove).filter(|(_, remove)| !**remove).for_each(|(line, _)| kept.push(line));
        Some(Edited { content: kept.sealed(), summary: format!("{removed} line(s) removed"), replaces: true })
    }

    fn insert_or_replace(&self, node: &NodeState<'_>, old: &[&str]) -> Option<Edited> {
        let mut found = (0..old.len()).filter(|number| self.search.finds(old[*number]));
        if let Some(number) = if self.first { found.next() } else { found.next_back() } {
            return match &self.search {
                Search::Pattern(pattern) if self.backrefs => {
                    let template = text_of(self.line.as_tokens());
                    self.replaced(node, old, number, &Sealed::from(bytes_of(&pattern.expand(old[number], &template)?)))
                }
                Search::Nothing | Search::Pattern(_) | Search::Text(_) => self.replaced(node, old, number, &self.line),
            };
        }
        let wanted = Wanted::new(node, &self.line);
        let (own, place) = self.places(&wanted, old);
        if let Some(number) = own {
            return self.replaced(node, old, number, &self.line);
        }
        // With `firstmatch`, the line may stand further down, too.
        let is_there = matches!(self.place, InsertPosition::After(_)) && place.is_some_and(|place| wanted.is_at(old, place));
        if self.backrefs || is_there {
            return None;
        }
        let number = place.unwrap_or(old.len());
        let mut content = Pieces::default();
        content.push(&old[..number].concat());
        content.push(&ended(text_of(self.line.as_tokens())));
        content.push(&old[number..].concat());
        Some(Edited { content: content.sealed(), summary: "line added".into(), replaces: false })
    }

    /// Returns the number of the last line that is the declared one, and the number of lines before a new one, if there is a place for it. As in Ansible,
    /// `firstmatch` ends the search for both at the first place.
    fn places(&self, wanted: &Wanted, old: &[&str]) -> (Option<usize>, Option<usize>) {
        let (mut own, mut place) = (None, None);
        let (pattern, below) = match &self.place {
            InsertPosition::After(pattern) => (Some(pattern), 1),
            InsertPosition::Before(pattern) => (Some(pattern), 0),
            InsertPosition::Begin | InsertPosition::End => (None, 0),
        };
        for (number, line) in old.iter().enumerate() {
            if wanted.is_at(old, number) {
                own = Some(number);
            } else if pattern.is_some_and(|pattern| pattern.is_in(line)) {
                place = Some(number + below);
                if self.first {
                    break;
                }
            }
        }
        (own, place.or(matches!(self.place, InsertPosition::Begin).then_some(0)))
    }

    /// Returns the text with another line in place of one; `None` if that is the same.
    fn replaced(&self, node: &NodeState<'_>, old: &[&str], number: usize, line: &Sealed) -> Option<Edited> {
        let wanted = Wanted::new(node, line);
        let is_same = match wanted.height() {
            // The line break belongs to it: another one than `\n` is changed, a missing one is added.
            1 => wanted.is_exactly(old[number]),
            // The line that was found may be any of them.
            height => (number.saturating_sub(height - 1)..=number).any(|start| wanted.is_at(old, start)),
        };
        if is_same {
            return None;
        }
        let mut content = Pieces::default();
        content.push(&old[..number].concat());
        content.push(&ended(text_of(line.as_tokens())));
        content.push(&old[number + 1..].concat());
        let warning = self.search.warning().map(|warning| format!(" ({warning})")).unwrap_or_default();
        Some(Edited { content: content.sealed(), summary: format!("line replaced{warning}"), replaces: true })
    }

    /// Returns why each run would change the file again.
    fn why_unsettled(&self, old: &str, once: &str, next: &str) -> String {
        let (before, after) = (self.search.count(old), self.search.count(once));
        let many = if before == 1 { "1 line".to_owned() } else { format!("{before} lines") };
        let (what, another) = match &self.search {
            Search::Pattern(pattern) => (format!("`{pattern}` matches {many}"), "`regexp`"),
            Search::Text(text) => (format!("`{text}` is in {many}"), "`search_string` or a `regexp`"),
            Search::Nothing => (String::new(), "`regexp`"),
        };
        if before > 1 && after < before {
            return format!(
                "{what}, and `line` is not one that it finds: every run would replace one more. Give a {another} that finds the new line, too, or remove the old lines by a task before this one, with `state: absent`"
            );
        }
        if self.backrefs && after > 0 {
            return format!(
                "{what}, and also the line that is made of it, which every run would change again. Give a `regexp` that finds the old form only"
            );
        }
        format!(
            "every run would change it again (the next one: {next}), because the line that is there then is not found. Give a {another} that finds it"
        )
    }
}

/// A text with a line break at its end.
fn ended(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// The line as the file would contain it. While its secrets have no value, no line equals it.
struct Wanted {
    /// Without their line breaks.
    lines: Vec<String>,
    /// As it stands in the file, if it is one line.
    whole: String,
    known: bool,
}

impl Wanted {
    fn new(node: &NodeState<'_>, line: &Sealed) -> Self {
        let revealed = line.reveal(node.secrets);
        let text = revealed.as_ref().map(|bytes| text_of(bytes));
        let known = text.is_ok();
        let whole = ended(text.unwrap_or_else(|_| line.shown()));
        Self { lines: lines(&whole).into_iter().map(|line| bare(line).to_owned()).collect(), whole, known }
    }

    fn is_exactly(&self, line: &str) -> bool {
        self.known && self.whole == line
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
        Ok(match self.file.compare(node, |node, old| Ok(self.edited(node, old)))? {
            Verdict::Converged { note: None } => Verdict::Converged { note: self.search.warning().map(str::to_owned) },
            verdict @ (Verdict::Converged { .. } | Verdict::Change(_) | Verdict::Blocked { .. } | Verdict::Refused(_)) => verdict,
        })
    }

    fn refuse(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<String> {
        let edit = |node: &NodeState<'_>, old: Option<&str>| Ok(self.edited(node, old));
        self.file.never_settles(node, earlier, edit, |old, once, next| self.why_unsettled(old, once, next))
    }

    fn secrets(&self) -> Vec<SecretId> {
        self.file.secrets()
    }
}

#[cfg(test)]
#[path = "lineinfile_tests.rs"]
mod tests;
