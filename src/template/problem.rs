//! Tera's errors, in this program's words and at the place in the author's text.

use std::ops::Range;

use tera::ErrorKind;

use super::{
    File, filters, jinja,
    lex::{Tag, WordKind},
    syntax,
};
use crate::{source::did_you_mean, values::shortened};

/// What is wrong in a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

/// Returns every problem of an error of compiling.
pub(super) fn problems(error: &tera::Error, files: &[File]) -> Vec<Problem> {
    if let ErrorKind::Msg(reports) = error.kind() {
        let unknown: Vec<Problem> = reports.lines().filter_map(|line| unknown(line, files)).flatten().collect();
        if !unknown.is_empty() {
            return unknown;
        }
    }
    vec![problem(error, files)]
}

/// Makes ranges consist of whole characters of the texts, and bounds the messages, which may quote as much as a text holds.
pub(super) fn settled(mut problems: Vec<Problem>, files: &[File]) -> Vec<Problem> {
    for Problem { file, range, message, help } in &mut problems {
        let text = files.get(*file).map_or("", |file| file.original.as_str());
        let end = text.ceil_char_boundary(range.end.min(text.len()));
        let start = text.floor_char_boundary(range.start.min(end));
        *range = start..end;
        *message = shortened(message).into_owned();
        *help = help.take().map(|help| shortened(&help).into_owned());
    }
    problems
}

/// Tera reports unknown names as text: ``error: Unknown filter `x` ``.
fn unknown(line: &str, files: &[File]) -> Option<Vec<Problem>> {
    let (what, name) = line.strip_prefix("error: Unknown ")?.split_once(" `")?;
    let name = name.strip_suffix('`')?;
    if what == "template" {
        return not_included(name, files);
    }
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
                let before = at.checked_sub(1).map_or("", |at| tag.words[at].text.as_str());
                let fits = match what {
                    "filter" => before == "|" || before == "filter",
                    "test" => before == "is" || before == "not",
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

/// Tera knows the templates of one compilation only: a text in a role file stands alone.
fn not_included(name: &str, files: &[File]) -> Option<Vec<Problem>> {
    let problem = |(file, range)| Problem {
        file,
        range,
        message: format!("a text in a role file includes no template, such as `{name}`"),
        help: Some(
            "write the text into a file of `templates/`, which may include others, and use `template: {src: …}`".to_owned(),
        ),
    };
    let included = |(number, file): (usize, &File)| {
        let place = super::included(&file.tags).into_iter().find(|(included, _)| included == name);
        place.map(|(_, range)| (number, range))
    };
    let found: Vec<Problem> = files.iter().enumerate().filter_map(included).map(problem).collect();
    (!found.is_empty()).then_some(found)
}

/// Finds an argument that Jinja's filter has and Tera's filter of the same name ignores: `sort(reverse=true)`.
pub(super) fn ignored_arguments(files: &[File]) -> Vec<Problem> {
    let mut found = Vec::new();
    for (number, file) in files.iter().enumerate() {
        for words in file.tags.iter().flat_map(|tag| tag.words.windows(5)) {
            let is = |at: usize, text: &str| words[at].is(text);
            if is(0, "|") && is(1, "sort") && is(2, "(") && is(3, "reverse") && is(4, "=") {
                let (message, help) = ("`sort` has no `reverse`".to_owned(), Some("`| sort | reverse`".to_owned()));
                found.push(Problem { file: number, range: words[3].range.clone(), message, help });
            }
        }
    }
    found
}

/// Returns the problem of an error.
pub(super) fn problem(error: &tera::Error, files: &[File]) -> Problem {
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
    if is_syntax && let Some(fault) = syntax::explain(file, &message, &range) {
        return Problem { file: number, range: fault.range, message: fault.message, help: fault.help };
    }
    let is_sum = message.starts_with("math operations") || message.starts_with("`+` requires");
    let help = if is_sum { joined(&message) } else { None };
    Problem { file: number, range, message, help: help.map(str::to_owned) }
}

/// Says how values are joined that were added like numbers, by their kinds in a message.
fn joined(message: &str) -> Option<&'static str> {
    let is_about = |kind| message.contains(kind);
    if !message.starts_with('`') {
        is_about("text").then_some("join text with `~`")
    } else if is_about("a list") {
        Some("join lists with `[...a, ...b]`, add a value with `[...a, b]`")
    } else if is_about("a map") {
        Some("join maps with `{...a, ...b}`")
    } else {
        is_about("text").then_some("join text with `~`")
    }
}

/// Tera's names of types, and ours.
const TYPES: &[(&str, &str)] = &[
    ("u64", "a number"),
    ("i64", "a number"),
    ("f64", "a number"),
    ("u128", "a number"),
    ("i128", "a number"),
    ("string", "text"),
    ("bool", "a boolean"),
    ("none", "nothing"),
    ("undefined", "an undefined value"),
    ("array", "a list"),
    ("&[Value]", "a list"),
    ("&str", "text"),
    ("map/struct", "a map"),
];

/// How the messages begin that name types.
const OF_TYPES: &[&str] = &[
    "cannot compare",
    "cannot sort",
    "math operations",
    "only numbers",
    "`+` requires",
    "`in` cannot",
    "value of type",
    "invalid type for the value",
    "this filter can only",
];

/// Returns Tera's message in this program's style: no list of every variable, no capital, no full stop.
fn tidy(message: &str) -> String {
    let message = message.split(". Available ").next().unwrap_or_default().trim_end_matches('.');
    let mut characters = message.chars();
    let message = characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect::<String>());
    if !OF_TYPES.iter().any(|start| message.starts_with(start)) {
        return message;
    }
    TYPES.iter().fold(message.replace("map/structs", "maps"), |text, (tera, ours)| {
        let written = [
            format!("value of type {tera} "),
            format!("a container of type `{tera}`"),
            format!("a `{tera}`"),
            format!("`{tera}`"),
        ];
        let [value, container, article, alone] = &written;
        text.replace(value, &format!("{ours} ")).replace(container, ours).replace(article, ours).replace(alone, ours)
    })
}
