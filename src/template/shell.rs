//! Values in shell text. Whether a value is allowed at its position is decided from the template's source, along every branch; how it is quoted, from the rendered text.
//!
//! The source is checked first, so that a mistake is found before anything is rendered. The same lexer checks the rendered text again, with
//! its values: no branch, list or name of a program can bring a value to a place where it is not allowed.

use std::ops::Range;

use super::{
    File, Problem,
    filters::{self, MARKS},
    lex::{self, Tag, TagKind},
    prepare,
    problem::settled,
};
use crate::{
    script::{Quotes, quote_with},
    shell::{Lexer, Refusal, Words, Writing},
};

/// The largest number of ways through the branches of a text; more cannot be reviewed by a reader.
const MOST_WAYS: usize = 64;
/// How often the body of a loop is followed: a second pass shows what one iteration leaves to the next.
const ROUNDS: usize = 2;

/// Returns the errors of the values in shell text, along every branch of the template.
pub(super) fn problems(file: &File) -> Vec<Problem> {
    if !file.tags.iter().any(|tag| tag.kind == TagKind::Value) {
        return Vec::new();
    }
    if let Some(at) = file.original.find(MARKS) {
        return vec![problem(at..at + MARKS[0].len_utf8(), "a character that is reserved", "remove it")];
    }
    let mut walk =
        Walk { file, tags: lex::tags(&file.prepared.text), ways: vec![Lexer::new()], open: Vec::new(), problems: Vec::new() };
    if let Err(problem) = walk.run() {
        walk.note(problem);
    }
    walk.problems
}

/// Returns the errors of the values in a template that is a shell program: those that are not words, or that no `shquote` quotes.
#[must_use]
pub fn program(text: &str) -> Vec<Problem> {
    let tags = lex::tags(text);
    let is_quoted = |tag: &Tag| {
        let last = tag.words.iter().rposition(|word| word.is("|"));
        last.and_then(|at| tag.words.get(at + 1)).is_some_and(|filter| filter.is("shquote"))
    };
    let bare = tags.iter().filter(|tag| tag.kind == TagKind::Value && !is_quoted(tag));
    let mut found: Vec<Problem> = bare
        .map(|tag| problem(tag.range.clone(), "a value without `| shquote` in a shell program", "write `{{ x | shquote }}`"))
        .collect();
    let prepared = prepare::shell(text, &tags);
    let file = File { name: String::new(), original: text.to_owned(), tags, prepared };
    found.extend(problems(&file));
    settled(found, &[file])
}

fn problem(range: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Problem {
    Problem { file: 0, range, message: message.into(), help: Some(help.into()) }
}

/// A block of the template that is open.
enum Block {
    If {
        start: Vec<Lexer>,
        ends: Vec<Lexer>,
        has_else: bool,
    },
    For {
        start: Vec<Lexer>,
        /// Where `break` and `continue` left the body.
        ends: Vec<Lexer>,
        /// The tag that begins it.
        first: usize,
        rounds: usize,
    },
}

/// A walk along every branch at once: each way has the state of a lexer.
struct Walk<'a> {
    file: &'a File,
    /// The tags of the prepared text, which are as many as those of the author's.
    tags: Vec<Tag>,
    ways: Vec<Lexer>,
    open: Vec<Block>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), Problem> {
        let mut number = 0;
        loop {
            self.literal(number)?;
            let Some(tag) = self.file.tags.get(number) else { break };
            let next = match tag.kind {
                TagKind::Value => {
                    self.value(number, tag)?;
                    None
                }
                TagKind::Block => self.block(number, tag)?,
                TagKind::Comment => None,
            };
            number = next.unwrap_or(number + 1);
        }
        for way in &mut self.ways {
            if let Err(refusal) = way.finish() {
                let end = self.file.original.trim_end().len();
                return Err(refused(self.file, &(end.saturating_sub(1)..end), refusal));
            }
        }
        Ok(())
    }

    fn note(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The text before a tag, or after the last one.
    fn literal(&mut self, number: usize) -> Result<(), Problem> {
        let text = self.file.prepared.text.as_str();
        let source = |tag: &Tag| &text[tag.range.clone()];
        let (before, after) = (number.checked_sub(1).and_then(|before| self.tags.get(before)), self.tags.get(number));
        let (mut start, mut end) = (before.map_or(0, |tag| tag.range.end), after.map_or(text.len(), |tag| tag.range.start));
        // A tag without an end may end with any character.
        if before.is_some_and(|tag| source(tag).as_bytes().iter().rev().nth(2) == Some(&b'-')) {
            start = end - text[start..end].trim_start().len();
        }
        if after.is_some_and(|tag| source(tag)[2..].starts_with('-')) {
            end = start + text[start..end].trim_end().len();
        }
        for way in &mut self.ways {
            if let Err((at, refusal)) = way.text(&text[start..end]) {
                let at = start + at;
                return Err(refused(self.file, &self.file.prepared.original(&(at..at + 1)), refusal));
            }
        }
        self.merge();
        Ok(())
    }

    fn value(&mut self, number: usize, tag: &Tag) -> Result<(), Problem> {
        if tag.words.first().is_none_or(|word| word.is("<")) {
            return Err(problem(tag.range.clone(), "a component in shell text", "write the text itself"));
        }
        let mut refusals = Vec::new();
        for way in &mut self.ways {
            refusals.extend(way.value(number, Words::Unknown).err());
        }
        for refusal in refusals {
            let refused = refused(self.file, &tag.range, refusal);
            self.note(refused);
        }
        Ok(())
    }

    /// Follows a block tag. Returns where to go on if that is not the next tag.
    fn block(&mut self, number: usize, tag: &Tag) -> Result<Option<usize>, Problem> {
        let keyword = tag.words.first().map_or("", |word| word.text.as_str());
        let is_assignment = tag.words.iter().any(|word| word.is("="));
        match keyword {
            "if" => self.open.push(Block::If { start: self.ways.clone(), ends: Vec::new(), has_else: false }),
            "for" => self.open.push(Block::For { start: self.ways.clone(), ends: Vec::new(), first: number + 1, rounds: 0 }),
            "else" | "elif" => match self.open.last_mut() {
                Some(Block::If { start, ends, has_else }) => {
                    ends.append(&mut self.ways);
                    self.ways.clone_from(start);
                    *has_else |= keyword == "else";
                }
                Some(Block::For { .. }) => {
                    if let Some(again) = self.end_of_body(tag)? {
                        return Ok(Some(again));
                    }
                    // The following branch runs instead of the body.
                    if let Some(Block::For { start, ends, rounds, .. }) = self.open.last_mut() {
                        ends.append(&mut self.ways);
                        self.ways.clone_from(start);
                        *rounds = ROUNDS;
                    }
                }
                None => {}
            },
            "endif" => {
                if let Some(Block::If { start, mut ends, has_else }) = self.open.pop() {
                    self.ways.append(&mut ends);
                    if !has_else {
                        self.ways.extend(start);
                    }
                    if let Some(first) = self.ways.first()
                        && self.ways.iter().any(|way| way.open() != first.open())
                    {
                        let message = "the branches of this `{% if %}` leave different quotes or brackets open";
                        return Err(problem(
                            tag.range.clone(),
                            message,
                            "write both the opening and the closing one into the branch",
                        ));
                    }
                }
            }
            "endfor" => {
                if let Some(again) = self.end_of_body(tag)? {
                    return Ok(Some(again));
                }
                if let Some(Block::For { start, ends, .. }) = self.open.pop() {
                    self.ways.extend(start);
                    self.ways.extend(ends);
                }
            }
            "break" | "continue" => {
                if let Some(ends) = self.open.iter_mut().rev().find_map(|block| match block {
                    Block::For { ends, .. } => Some(ends),
                    Block::If { .. } => None,
                }) {
                    ends.append(&mut self.ways);
                }
            }
            "raw" | "endraw" => {}
            "set" | "set_global" if is_assignment => {}
            other => {
                let help = "shell text knows `if`, `for`, `set name = …` and `raw`";
                return Err(problem(tag.range.clone(), format!("`{{% {other} %}}` in shell text"), help));
            }
        }
        self.merge();
        if self.ways.len() > MOST_WAYS {
            return Err(problem(
                tag.range.clone(),
                "too many branches in shell text",
                "work out the value with `{% set %}`, and write it once",
            ));
        }
        Ok(None)
    }

    /// Checks that the body of a loop leaves quotes and brackets as it found them. Returns its first tag if it must be followed again.
    fn end_of_body(&mut self, tag: &Tag) -> Result<Option<usize>, Problem> {
        let Some(Block::For { start, ends, first, rounds }) = self.open.last_mut() else { return Ok(None) };
        let expected = start.first().map(Lexer::open).unwrap_or_default();
        if self.ways.iter().chain(ends.iter()).any(|way| way.open() != expected) {
            let help = "write both the opening and the closing one into the body";
            return Err(problem(
                tag.range.clone(),
                "the body of this `{% for %}` leaves other quotes or brackets open than it found",
                help,
            ));
        }
        if *rounds >= ROUNDS {
            return Ok(None);
        }
        *rounds += 1;
        self.ways.append(ends);
        start.extend(self.ways.iter().cloned());
        self.ways.clone_from(start);
        let first = *first;
        self.merge();
        Ok(Some(first))
    }

    fn merge(&mut self) {
        let mut merged: Vec<Lexer> = Vec::new();
        for way in self.ways.drain(..) {
            if !merged.contains(&way) {
                merged.push(way);
            }
        }
        self.ways = merged;
    }
}

/// Creates an error at the value, or at the current text.
fn refused(file: &File, here: &Range<usize>, refusal: Refusal) -> Problem {
    let value = refusal.value.and_then(|number| file.tags.get(number)).map(|tag| tag.range.clone());
    problem(value.unwrap_or_else(|| here.clone()), refusal.message, refusal.help)
}

/// The rendered text with each mark replaced by the words of its value.
pub(super) fn with_words(text: &str, values: &[filters::Words], file: &File) -> Result<String, Problem> {
    if values.is_empty() {
        return Ok(text.to_owned());
    }
    let whole = 0..file.original.len();
    let fail = |refusal: Refusal| refused(file, &whole, refusal);
    let [open, close] = MARKS;
    let (mut lexer, mut shell, mut rest) = (Lexer::new(), String::new(), text);
    while let Some((before, marked)) = rest.split_once(open) {
        let number = marked.split_once(close).and_then(|(number, after)| Some((number.parse::<usize>().ok()?, after)));
        let Some((value, after)) = number.and_then(|(number, after)| Some((values.get(number)?, after))) else {
            return Err(problem(whole, "a value within a value in shell text", "write it as one expression"));
        };
        lexer.text(before).map_err(|(_, refusal)| fail(refusal))?;
        shell.push_str(before);
        let words = match value.list.as_slice() {
            [one] if !value.is_list => Words::One(one),
            words => Words::List(words),
        };
        let writing = lexer.value(value.tag, words).map_err(fail)?;
        // A digit before `<` would be a file descriptor, and `%s` is where `validate` puts the path.
        let is_plain = writing == Writing::Argument && !after.starts_with(['<', '>']) && !before.ends_with('%');
        for (number, word) in value.list.iter().enumerate() {
            if number > 0 {
                shell.push(' ');
            }
            let quoting = if is_plain && !word.contains('%') { Quotes::WhereNeeded } else { Quotes::Single };
            let quoted = quote_with(word, quoting).map_err(|error| {
                let tag = file.tags.get(value.tag).map_or_else(|| whole.clone(), |tag| tag.range.clone());
                problem(tag, error.to_string(), "remove it")
            })?;
            shell.push_str(&quoted.replace("%s", "%''s"));
        }
        rest = after;
    }
    lexer.text(rest).map_err(|(_, refusal)| fail(refusal))?;
    lexer.finish().map_err(fail)?;
    shell.push_str(rest);
    Ok(shell)
}

#[cfg(test)]
pub(super) mod tests;
