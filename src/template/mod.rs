//! Tera as the role language uses it: values keep their types, undefined is an error with a place, Jinja is explained.

mod filters;
mod jinja;
mod lex;
mod prepare;

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use serde_json::Value;
use tera::{Context, ErrorKind, Tera};

use crate::source::did_you_mean;
use lex::{Tag, TagKind, Word, WordKind};
use prepare::Prepared;

/// What is wrong in a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file among [`Template::files`]: 0 is the template itself, the others are what it includes.
    pub file: usize,
    /// Bytes of that file's text.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// A compiled text, expression or file.
#[derive(Debug)]
pub struct Template {
    tera: Tera,
    files: Vec<File>,
    shape: Shape,
    names: BTreeSet<String>,
}

/// What rendering yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Text.
    Text,
    /// The value of the one expression, with its type.
    Value,
}

#[derive(Debug)]
struct File {
    name: String,
    original: String,
    tags: Vec<Tag>,
    prepared: Prepared,
}

/// Compiling a Tera from nothing costs more than copying one that knows its filters.
static BASE: LazyLock<Tera> = LazyLock::new(|| {
    let mut tera = Tera::new();
    tera.autoescape_on(Vec::<&str>::new());
    filters::register(&mut tera);
    tera
});

/// Whether a text holds anything to render.
#[must_use]
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

impl Template {
    /// Compiles the text of a parameter or variable. A lone `{{ … }}` keeps the type of its value.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn text(text: &str) -> Result<Self, Vec<Problem>> {
        let tags = lex::tags(text);
        let lone = matches!(tags.as_slice(), [tag] if tag.kind == TagKind::Value && tag.range == (0..text.len()));
        let (prepared, shape) =
            if lone { (prepare::lone(text, &tags[0]), Shape::Value) } else { (prepare::template(text, &tags), Shape::Text) };
        Self::compile(vec![File { name: "text".to_owned(), original: text.to_owned(), tags, prepared }], shape)
    }

    /// Compiles a bare expression, as in `when`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn expression(text: &str) -> Result<Self, Vec<Problem>> {
        if is_template(text) {
            let problem = Problem {
                file: 0,
                range: 0..text.len(),
                message: "this is an expression already".to_owned(),
                help: Some("leave out the `{{ }}`".to_owned()),
            };
            return Err(vec![problem]);
        }
        let prepared = prepare::expression(text);
        // The words are read from within the braces, so that their places fit the author's text.
        let open = prepared.text.find('(').map_or(0, |at| at + 1);
        let mut tags = lex::tags(&prepared.text);
        let one = tags.len() == 1 && tags[0].range == (0..prepared.text.len());
        for tag in &mut tags {
            tag.words.retain(|word| word.range.start >= open && word.range.end <= open + text.len());
            for word in &mut tag.words {
                word.range = word.range.start - open..word.range.end - open;
            }
            tag.range = 0..text.len();
        }
        if !one || text.trim().is_empty() {
            let message = "not an expression".to_owned();
            return Err(vec![Problem { file: 0, range: 0..text.len(), message, help: None }]);
        }
        Self::compile(vec![File { name: "text".to_owned(), original: text.to_owned(), tags, prepared }], Shape::Value)
    }

    /// Compiles a template file. `include` yields the text of another file by the name in `{% include %}`.
    ///
    /// # Errors
    /// Everything that is wrong with it and with what it includes, and the names and texts of the files: [`Problem::file`] counts them.
    pub fn file(
        name: &str,
        text: &str,
        include: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<Self, (Vec<Problem>, Vec<String>)> {
        let mut files = Vec::new();
        let mut waiting = vec![(name.to_owned(), text.to_owned())];
        let mut problems = Vec::new();
        while let Some((name, original)) = waiting.pop() {
            let tags = lex::tags(&original);
            for (included, range) in included(&tags) {
                if files.iter().any(|file: &File| file.name == included)
                    || waiting.iter().any(|(name, _)| *name == included)
                    || name == included
                {
                    continue;
                }
                match include(&included) {
                    Some(text) => waiting.push((included, text)),
                    None => problems.push(Problem {
                        file: files.len(),
                        range,
                        message: format!("no template `{included}`"),
                        help: None,
                    }),
                }
            }
            let prepared = prepare::template(&original, &tags);
            files.push(File { name, original, tags, prepared });
        }
        let names = files.iter().map(|file| file.name.clone()).collect();
        if !problems.is_empty() {
            return Err((problems, names));
        }
        Self::compile(files, Shape::Text).map_err(|problems| (problems, names))
    }

    fn compile(files: Vec<File>, shape: Shape) -> Result<Self, Vec<Problem>> {
        let mut tera = BASE.clone();
        if let Err(error) = tera.add_raw_templates(files.iter().map(|file| (file.name.as_str(), file.prepared.text.as_str()))) {
            return Err(problems(&error, &files));
        }
        let names = tera.get_template_variables(&files[0].name).map(|names| names.into_iter().map(str::to_owned).collect());
        Ok(Self { names: names.unwrap_or_default(), tera, files, shape })
    }

    /// The names of the files that it is made of, itself first.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// The variables that it uses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether it uses a variable.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Where a variable is used although nothing says what to do when it is not defined: no `default`, `or`, `is defined` anywhere.
    /// The file and the range of each.
    #[must_use]
    pub fn unguarded(&self, name: &str) -> Vec<(usize, Range<usize>)> {
        let mut uses = Vec::new();
        for (words, at, file) in self.uses_of(name) {
            if is_guarded(words, at) {
                return Vec::new();
            }
            uses.push((file, words[at].range.clone()));
        }
        uses
    }

    /// What is taken from a map: for `secrets.A` the name `A` and its place; no name when it is not written as such.
    #[must_use]
    pub fn members(&self, name: &str) -> Vec<Member> {
        let mut members = Vec::new();
        for (words, at, file) in self.uses_of(name) {
            let word = |ahead: usize| words.get(at + ahead);
            let by_dot = word(1).is_some_and(|sign| sign.is(".")) && word(2).is_some_and(|word| word.kind == WordKind::Name);
            let by_bracket = word(1).is_some_and(|sign| sign.is("["))
                && word(2).is_some_and(|word| word.kind == WordKind::Text)
                && word(3).is_some_and(|sign| sign.is("]"));
            let (name, after) = match word(2) {
                Some(member) if by_dot => (Some(member.text.clone()), 3),
                Some(member) if by_bracket => (Some(member.text.trim_matches(['\'', '"', '`']).to_owned()), 4),
                _ => (None, 1),
            };
            let range = if name.is_some() { word(2).map_or(0..0, |word| word.range.clone()) } else { words[at].range.clone() };
            let filter = word(after).filter(|sign| sign.is("|")).and(word(after + 1));
            let compared = word(after).is_some_and(decides) || at.checked_sub(1).is_some_and(|at| decides(&words[at]));
            members.push(Member {
                file,
                range,
                name,
                filter: filter.map(|word| (word.text.clone(), word.range.clone())),
                compared,
            });
        }
        members
    }

    /// The variables that stand alone beside `and`, `or` and `not`, where text would count as true.
    #[must_use]
    pub fn operands(&self) -> Vec<(String, Range<usize>)> {
        let mut operands = Vec::new();
        for name in self.names() {
            for (words, at, _) in self.uses_of(name) {
                let neighbour = |word: Option<&Word>| {
                    word.is_none_or(|word| ["and", "or", "not", "(", ")", "if", "else"].iter().any(|one| word.is(one)))
                };
                if neighbour(at.checked_sub(1).and_then(|at| words.get(at))) && neighbour(words.get(at + 1)) {
                    operands.push((name.to_owned(), words[at].range.clone()));
                }
            }
        }
        operands
    }

    /// The parts of a variable that decide something, where Tera takes a missing part for false in silence: the words from the variable
    /// on. Parts that something guards are left out.
    #[must_use]
    pub fn decisive_parts(&self, name: &str) -> Vec<(usize, Vec<(String, Range<usize>)>)> {
        let mut found: Vec<(usize, Vec<(String, Range<usize>)>)> = Vec::new();
        let mut guarded: Vec<Vec<String>> = Vec::new();
        for (words, at, file) in self.uses_of(name) {
            let path = parts(words, at);
            if is_guarded(words, at) {
                guarded.push(path.into_iter().map(|(part, _)| part).collect());
            } else if !path.is_empty() && (self.shape == Shape::Value || words.iter().any(decides)) {
                found.push((file, path));
            }
        }
        found.retain(|(_, path)| !guarded.iter().any(|guarded| guarded.iter().eq(path.iter().map(|(part, _)| part))));
        found
    }

    fn uses_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a [Word], usize, usize)> {
        self.files.iter().enumerate().flat_map(move |(number, file)| {
            file.tags.iter().flat_map(move |tag| {
                let words = tag.words.as_slice();
                (0..words.len()).filter(move |at| is_use(words, *at, name)).map(move |at| (words, at, number))
            })
        })
    }

    /// Renders it.
    ///
    /// # Errors
    /// The first thing that goes wrong.
    pub fn render(&self, context: &Context) -> Result<Value, Problem> {
        filters::take_captured();
        match self.tera.render(&self.files[0].name, context) {
            Ok(_) if self.shape == Shape::Value => match filters::take_captured() {
                Some(value) if !value.is_undefined() => {
                    serde_json::to_value(&value).map_err(|error| self.whole(error.to_string()))
                }
                Some(_) | None => Err(self.undefined(context)),
            },
            Ok(text) => Ok(Value::String(text)),
            Err(error) => {
                let problem = problem(&error, &self.files);
                Err(if problem.message.contains(filters::UNDEFINED) { self.undefined(context) } else { problem })
            }
        }
    }

    /// The filter that we put around each value hides Tera's own message about what is not defined.
    fn undefined(&self, context: &Context) -> Problem {
        let mut tera = BASE.clone();
        let bare: Vec<File> = self
            .files
            .iter()
            .map(|file| {
                let is_text =
                    file.tags.iter().any(|tag| file.original.get(tag.range.clone()).is_some_and(|tag| tag.starts_with('{')));
                let prepared = if is_text { prepare::bare(&file.original) } else { prepare::bare_expression(&file.original) };
                File { name: file.name.clone(), original: file.original.clone(), tags: file.tags.clone(), prepared }
            })
            .collect();
        let added = tera.add_raw_templates(bare.iter().map(|file| (file.name.as_str(), file.prepared.text.as_str())));
        match added.and_then(|()| tera.render(&bare[0].name, context)) {
            Err(error) => problem(&error, &bare),
            Ok(_) => self.whole("this value is undefined".to_owned()),
        }
    }

    fn whole(&self, message: String) -> Problem {
        Problem { file: 0, range: 0..self.files[0].original.len(), message, help: None }
    }
}

/// A use of a part of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The file among [`Template::files`].
    pub file: usize,
    /// Where the name of the part stands, or the map's when the part is not named.
    pub range: Range<usize>,
    /// The part.
    pub name: Option<String>,
    /// The first filter that it goes through.
    pub filter: Option<(String, Range<usize>)>,
    /// Whether it decides something.
    pub compared: bool,
}

fn is_use(words: &[Word], at: usize, name: &str) -> bool {
    let word = &words[at];
    if word.kind != WordKind::Name || word.text != name {
        return false;
    }
    let before = |back: usize| at.checked_sub(back).map(|at| &words[at]);
    let is_part = before(1).is_some_and(|before| [".", "?.", "|", "is"].iter().any(|sign| before.is(sign)));
    let is_test = before(1).is_some_and(|word| word.is("not")) && before(2).is_some_and(|word| word.is("is"));
    let is_argument = words.get(at + 1).is_some_and(|next| next.is("="));
    !is_part && !is_test && !is_argument
}

fn is_guarded(words: &[Word], at: usize) -> bool {
    let mut next = at + 1;
    while let Some(word) = words.get(next) {
        if word.is(".") || word.is("?.") {
            next += 2;
        } else if word.is("[") || word.is("?[") {
            next += words[next..].iter().position(|word| word.is("]")).map_or(1, |end| end + 1);
        } else {
            break;
        }
    }
    let is = |ahead: usize, text: &str| words.get(next + ahead).is_some_and(|word| word.is(text));
    let tested = |ahead: usize| is(ahead, "defined") || is(ahead, "undefined");
    is(0, "|") && is(1, "default") || is(0, "or") || is(0, "is") && (tested(1) || is(1, "not") && tested(2))
}

/// The names after dots; empty where `?.` says that a part may be missing.
fn parts(words: &[Word], at: usize) -> Vec<(String, Range<usize>)> {
    let mut parts = Vec::new();
    let mut next = at + 1;
    while let (Some(dot), Some(part)) = (words.get(next), words.get(next + 1)) {
        if !dot.is(".") || part.kind != WordKind::Name {
            break;
        }
        parts.push((part.text.clone(), part.range.clone()));
        next += 2;
    }
    if words.get(next).is_some_and(|word| word.text.starts_with('?')) { Vec::new() } else { parts }
}

fn decides(word: &Word) -> bool {
    ["==", "!=", "<", ">", "<=", ">=", "in", "is", "and", "or", "not", "if", "elif"].iter().any(|sign| word.is(sign))
}

fn included(tags: &[Tag]) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    for tag in tags.iter().filter(|tag| tag.kind == TagKind::Block) {
        if let [keyword, name, ..] = tag.words.as_slice()
            && (keyword.is("include") || keyword.is("extends"))
            && name.kind == WordKind::Text
        {
            found.push((name.text.trim_matches(['\'', '"', '`']).to_owned(), name.range.clone()));
        }
    }
    found
}

fn problems(error: &tera::Error, files: &[File]) -> Vec<Problem> {
    if let ErrorKind::Msg(reports) = error.kind() {
        let unknown: Vec<Problem> = reports.lines().filter_map(|line| unknown(line, files)).flatten().collect();
        if !unknown.is_empty() {
            return unknown;
        }
    }
    vec![problem(error, files)]
}

/// Tera reports unknown names as text: ``error: Unknown filter `x` ``.
fn unknown(line: &str, files: &[File]) -> Option<Vec<Problem>> {
    let (what, name) = line.strip_prefix("error: Unknown ")?.split_once(" `")?;
    let name = name.strip_suffix('`')?;
    let known: &[&str] = match what {
        "filter" => filters::FILTERS,
        "test" => filters::TESTS,
        "function" => filters::FUNCTIONS,
        _ => &[],
    };
    let help = did_you_mean(name, known.iter().copied()).map(|name| format!("did you mean `{name}`?"));
    let mut found = Vec::new();
    for (number, file) in files.iter().enumerate() {
        for tag in &file.tags {
            for (at, word) in tag.words.iter().enumerate().filter(|(_, word)| word.kind == WordKind::Name && word.text == name) {
                let after = at.checked_sub(1).map_or("", |at| tag.words[at].text.as_str());
                let fits = match what {
                    "filter" => after == "|" || after == "filter",
                    "test" => after == "is" || after == "not",
                    "function" => tag.words.get(at + 1).is_some_and(|next| next.is("(")),
                    _ => true,
                };
                if !fits {
                    continue;
                }
                found.push(match jinja::explain([tag]).filter(|jinja| jinja.range == word.range) {
                    Some(jinja) => Problem { file: number, range: jinja.range, message: jinja.message, help: Some(jinja.help) },
                    None => Problem {
                        file: number,
                        range: word.range.clone(),
                        message: format!("unknown {what} `{name}`"),
                        help: help.clone(),
                    },
                });
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

fn problem(error: &tera::Error, files: &[File]) -> Problem {
    let (ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report)) = error.kind() else {
        return Problem { file: 0, range: 0..files[0].original.len(), message: tidy(&error.to_string()), help: None };
    };
    let number = files.iter().position(|file| file.name == report.filename()).unwrap_or_default();
    let file = &files[number];
    let range = file.prepared.original(&report.span().range);
    let is_syntax = matches!(error.kind(), ErrorKind::SyntaxError(_));
    let near = |tag: &&Tag| tag.range.start <= range.end && range.start <= tag.range.end;
    if is_syntax && let Some(jinja) = jinja::explain(file.tags.iter().filter(near)) {
        return Problem { file: number, range: jinja.range, message: jinja.message, help: Some(jinja.help) };
    }
    let message = tidy(report.message());
    let help =
        (message.starts_with("math operations") || message.starts_with("`+` requires")).then(|| "join text with `~`".to_owned());
    Problem { file: number, range, message, help }
}

/// Tera's words as ours: no list of every variable, no capital, no full stop.
fn tidy(message: &str) -> String {
    let message = message.split(". Available ").next().unwrap_or_default().trim_end_matches('.');
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests;
