//! `blockinfile`: some lines between two marks in a file.

use std::{iter, ops::RangeInclusive};

use super::{
    Files, Flag, Kind, NodeState, OneOrMany, ParamError, Reach, Resource, State, Verdict, decode,
    edit::{EditParameters, Edited, EditedFile, InsertPosition, Pieces, bare},
    pattern::Pattern,
    raw_text::text_of,
    schema::parameters,
};
use crate::{
    question::{Questions, Unanswered},
    secret::{Sealed, SecretId},
};

pub(super) const KIND: Kind = Kind {
    name: "blockinfile",
    about: "Keeps a block of lines between two marks in a file",
    example: "blockinfile:
  path: /etc/hosts
  block: |
    10.0.0.2 database",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(BlockInFile::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    struct Parameters {
        /// The file.
        file: EditParameters,
        /// The lines; without any, the block is removed.
        block | content: Sealed = "",
        /// The line before and after the block; `{mark}` stands for `marker_begin` or `marker_end`. The default is Ansible's, so that a block that Ansible wrote is taken over.
        marker: String = "# {mark} ANSIBLE MANAGED BLOCK",
        /// The word in the first mark.
        marker_begin: String = "BEGIN",
        /// The word in the last mark.
        marker_end: String = "END",
        /// Markers that the block had before: a block between them is taken over in place.
        was: OneOrMany<String> = [],
        /// Whether an empty line follows the block.
        append_newline: Flag = false,
        /// Whether an empty line precedes the block.
        prepend_newline: Flag = false,
        /// Whether the file has the block.
        state: State = "present",
    }
}

#[derive(Debug)]
struct BlockInFile {
    file: EditedFile,
    /// With a line break at its end; empty if the block is to be absent.
    block: Sealed,
    state: State,
    marks: Marks,
    /// The marks of former markers: a block between them becomes the block.
    former: Vec<Marks>,
    place: InsertPosition,
    append_newline: bool,
    prepend_newline: bool,
}

/// The lines around a block.
#[derive(Debug, PartialEq, Eq)]
struct Marks {
    begin: String,
    end: String,
}

impl Marks {
    fn new(parameter: &str, marker: &str, parameters: &Parameters) -> Result<Self, ParamError> {
        if !marker.contains("{mark}") {
            let message = "say with `{mark}` where BEGIN and END go; without it the block cannot be found again";
            return Err(ParamError::parameter(parameter, message));
        }
        let [begin, end] = [&parameters.marker_begin, &parameters.marker_end].map(|word| marker.replace("{mark}", word));
        if begin.contains(['\n', '\r']) || end.contains(['\n', '\r']) {
            return Err(ParamError::parameter(parameter, "must be one line"));
        }
        if begin == end {
            return Err(ParamError::parameter("marker_end", "must differ from `marker_begin`"));
        }
        Ok(Self { begin, end })
    }

    /// Returns the range of lines from mark to mark, if both marks exist.
    fn find(&self, lines: &[&str]) -> Result<Option<RangeInclusive<usize>>, String> {
        let last = |mark: &str| lines.iter().rposition(|line| bare(line) == mark);
        match (last(&self.begin), last(&self.end)) {
            (Some(begin), Some(end)) => Ok(Some(begin.min(end)..=begin.max(end))),
            (None, None) => Ok(None),
            (begin, _) => {
                let (existing, missing) = if begin.is_some() { (&self.begin, &self.end) } else { (&self.end, &self.begin) };
                Err(format!(
                    "the file has the mark `{existing}` but not `{missing}`, so it is not known which lines are the block; repair it by hand"
                ))
            }
        }
    }
}

impl BlockInFile {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let marks = Marks::new("marker", &parameters.marker, &parameters)?;
        let former =
            parameters.was.0.iter().map(|marker| Marks::new("was", marker, &parameters)).collect::<Result<Vec<_>, _>>()?;
        if former.contains(&marks) {
            return Err(ParamError::parameter("was", "names the present `marker`; name the markers that it replaces"));
        }
        let mut bytes = if parameters.state == State::Absent { Vec::new() } else { parameters.block.as_tokens().to_vec() };
        if bytes.last().is_some_and(|last| *last != b'\n') {
            bytes.push(b'\n');
        }
        let holds = |mark: &str| bytes.split(|byte| *byte == b'\n').any(|line| line == mark.as_bytes());
        if iter::once(&marks).chain(&former).any(|marks| holds(&marks.begin) || holds(&marks.end)) {
            return Err(ParamError::parameter("block", "holds its own mark as a line; choose another `marker`"));
        }
        let block = Sealed::from(bytes);
        let place = match parameters.file.place()? {
            InsertPosition::After(pattern) if pattern.is_text("BOF") => {
                let message = "`BOF` is a pattern here, as in Ansible; the beginning of the file is `insertbefore: BOF`";
                return Err(ParamError::parameter("insertafter", message));
            }
            InsertPosition::After(pattern) if pattern.is_empty() => InsertPosition::End,
            place @ (InsertPosition::Begin | InsertPosition::End | InsertPosition::After(_) | InsertPosition::Before(_)) => place,
        };
        Ok(Self {
            file: parameters.file.file(block.clone())?,
            block,
            state: parameters.state,
            marks,
            former,
            place,
            append_newline: parameters.append_newline.0,
            prepend_newline: parameters.prepend_newline.0,
        })
    }

    /// Returns the edited text; `None` if no block exists and none is wanted.
    fn edit(&self, old: Option<&str>) -> Result<Option<Edited>, String> {
        let is_made = old.is_none() && self.state == State::Present && self.file.is_made();
        let old = old.unwrap_or_default();
        let old_lines = lines(old);
        let own = self.marks.find(&old_lines)?;
        let former = self.former.iter().map(|marks| marks.find(&old_lines)).collect::<Result<Vec<_>, _>>()?;
        let former: Vec<_> = former.into_iter().flatten().collect();
        let existing = own.as_ref().or(former.first());
        let is_block = |at: usize| own.iter().chain(&former).any(|range| range.contains(&at));
        let rest = |until: usize| (0..until).filter(|at| !is_block(*at));
        let at = existing.map(|range| rest(*range.start()).count());
        let old_lines: Vec<&str> = rest(old_lines.len()).map(|at| old_lines[at]).collect();
        let at = at.unwrap_or_else(|| self.insertion(old, &old_lines));
        let (before, after) = old_lines.split_at(at);
        let mut content = Pieces::default();
        content.push(&before.concat());
        if !self.block.is_empty() {
            if self.prepend_newline && before.last().is_some_and(|line| *line != "\n") {
                content.push("\n");
            }
            content.push(&format!("{}\n", self.marks.begin));
            content.push(&text_of(self.block.as_tokens()));
            content.push(&format!("{}\n", self.marks.end));
            if self.append_newline && after.first().is_some_and(|line| *line != "\n") {
                content.push("\n");
            }
        }
        content.push(&after.concat());
        let summary = match (existing.is_some(), self.block.is_empty()) {
            (false, true) if is_made => "an empty file",
            (false, true) => return Ok(None),
            (true, true) => "block removed",
            (false, false) => "block inserted",
            (true, false) if !former.is_empty() => "block, under its new marker",
            (true, false) => "block",
        };
        Ok(Some(Edited { content: content.sealed(), summary: summary.into(), replaces: existing.is_some() }))
    }

    /// Returns the number of lines before a new block.
    fn insertion(&self, old: &str, lines: &[&str]) -> usize {
        // A pattern that says `(?m)` may match several lines.
        let line_at = |position: usize| {
            let ends = lines.iter().scan(0, |end, line| {
                *end += line.len();
                Some(*end)
            });
            ends.take_while(|end| *end <= position).count()
        };
        let matching = |pattern: &Pattern| lines.iter().rposition(|line| pattern.is_in(line));
        let number = match &self.place {
            InsertPosition::Begin => Some(0),
            InsertPosition::End => None,
            InsertPosition::After(pattern) if pattern.multi_line => pattern.find(old).map(|(_, end)| line_at(end) + 1),
            InsertPosition::Before(pattern) if pattern.multi_line => pattern.find(old).map(|(start, _)| line_at(start)),
            InsertPosition::After(pattern) => matching(pattern).map(|number| number + 1),
            InsertPosition::Before(pattern) => matching(pattern),
        };
        number.map_or(lines.len(), |number| number.min(lines.len()))
    }
}

/// A text's lines, each with its line break. As for Ansible's module, a `\r` alone is one, too.
fn lines(text: &str) -> Vec<&str> {
    let after_return = |line: &str| line.split_inclusive('\r').map(str::len).collect::<Vec<_>>();
    let mut found = Vec::new();
    for mut line in text.split_inclusive('\n') {
        for length in after_return(line) {
            let (first, rest) = line.split_at(length);
            if rest == "\n" {
                break;
            }
            found.push(first);
            line = rest;
        }
        if !line.is_empty() {
            found.push(line);
        }
    }
    found
}

impl Resource for BlockInFile {
    fn reach(&self) -> Reach<'_> {
        self.file.reach()
    }

    fn questions(&self, ask: &mut Questions) {
        self.file.questions(ask);
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        self.file.compare(node, |_, old| self.edit(old))
    }

    fn refuse(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<String> {
        let why = |_: &str, _: &str, next: &str| {
            format!("every run would change it again (the next one: {next}); choose another `marker` or place")
        };
        self.file.never_settles(node, earlier, |_, old| self.edit(old), why)
    }

    fn secrets(&self) -> Vec<SecretId> {
        self.file.secrets()
    }
}

#[cfg(test)]
#[path = "blockinfile_tests.rs"]
mod tests;
