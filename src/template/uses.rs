//! Where and how a template uses a name, derived from its words.

use std::ops::Range;

use super::{
    Template,
    lex::{Word, WordKind},
};

/// A part of a variable: the file, and the names after the variable with their places.
pub type UsedPart = (usize, Vec<(String, Range<usize>)>);

/// A use of a part of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The file among [`Template::files`].
    pub file: usize,
    /// The position of the part's name, or of the map's if the part is not named.
    pub range: Range<usize>,
    /// The part.
    pub name: Option<String>,
    /// The first filter that it goes through.
    pub filter: Option<(String, Range<usize>)>,
    /// Whether it is part of a condition.
    pub compared: bool,
}

impl Template {
    /// Returns the file and the range of each use of a variable, or nothing if one of them allows for an undefined value with
    /// `default`, `or` or `is defined`.
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

    /// Returns the file and the range of each use of a variable, guarded or not.
    #[must_use]
    pub fn places(&self, name: &str) -> Vec<(usize, Range<usize>)> {
        self.uses_of(name).map(|(words, at, file)| (file, words[at].range.clone())).collect()
    }

    /// Returns what is taken from a map: for `secrets.A` the name `A` and its place; no name if it is computed.
    #[must_use]
    pub fn members(&self, name: &str) -> Vec<Member> {
        let mut members = Vec::new();
        for (words, at, file) in self.uses_of(name) {
            let word = |ahead: usize| words.get(at + ahead);
            let by_dot = word(1).is_some_and(|word| word.is(".")) && word(2).is_some_and(|word| word.kind == WordKind::Name);
            let by_bracket = word(1).is_some_and(|word| word.is("["))
                && word(2).is_some_and(|word| word.kind == WordKind::Text)
                && word(3).is_some_and(|word| word.is("]"));
            let (name, after) = match word(2) {
                Some(member) if by_dot => (Some(member.text.clone()), 3),
                Some(member) if by_bracket => (Some(member.text.trim_matches(['\'', '"', '`']).to_owned()), 4),
                _ => (None, 1),
            };
            let range = if name.is_some() { word(2).map_or(0..0, |word| word.range.clone()) } else { words[at].range.clone() };
            let filter = word(after).filter(|word| word.is("|")).and(word(after + 1));
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

    /// Returns where a variable, or a part of it, is compared with something.
    #[must_use]
    pub fn compared(&self, name: &str) -> Vec<(usize, Range<usize>)> {
        let compares = |word: Option<&Word>| {
            word.is_some_and(|word| ["==", "!=", "<", ">", "<=", ">=", "in"].iter().any(|text| word.is(text)))
        };
        let is_compared = |words: &[Word], at: usize| {
            let after = at + 1 + 2 * parts(words, at).len();
            compares(words.get(after)) || at.checked_sub(1).is_some_and(|before| compares(words.get(before)))
        };
        let uses = self.uses_of(name).filter(|(words, at, _)| is_compared(words, *at));
        uses.map(|(words, at, file)| (file, words[at].range.clone())).collect()
    }

    /// Returns the variables that are whole operands of `and`, `or` and `not`, where text would count as true.
    #[must_use]
    pub fn operands(&self) -> Vec<(String, Range<usize>)> {
        let mut operands = Vec::new();
        for name in self.names() {
            for (words, at, _) in self.uses_of(name) {
                let is_boundary = |word: Option<&Word>| {
                    word.is_none_or(|word| ["and", "or", "not", "(", ")", "if", "else"].iter().any(|text| word.is(text)))
                };
                if is_boundary(at.checked_sub(1).and_then(|at| words.get(at))) && is_boundary(words.get(at + 1)) {
                    operands.push((name.to_owned(), words[at].range.clone()));
                }
            }
        }
        operands
    }

    /// Returns the parts of a variable that it uses, where Tera silently takes a missing part for nothing (in comparisons, after `~`, in
    /// lists). Parts that are guarded, or that follow `?.`, are left out.
    #[must_use]
    pub fn parts(&self, name: &str) -> Vec<UsedPart> {
        let mut found: Vec<UsedPart> = Vec::new();
        let mut guarded: Vec<Vec<String>> = Vec::new();
        for (words, at, file) in self.uses_of(name) {
            let path = parts(words, at);
            guarded.extend(looked_for(words, at).map(|part| vec![part.to_owned()]));
            if is_guarded(words, at) {
                guarded.push(path.into_iter().map(|(part, _)| part).collect());
            } else if !path.is_empty() {
                found.push((file, path));
            }
        }
        let begins_with = |path: &[(String, Range<usize>)], prefix: &[String]| {
            prefix.len() <= path.len() && prefix.iter().zip(path).all(|(name, (part, _))| name == part)
        };
        found.retain(|(_, path)| !guarded.iter().any(|guarded| begins_with(path, guarded)));
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
}

fn is_use(words: &[Word], at: usize, name: &str) -> bool {
    let word = &words[at];
    if word.kind != WordKind::Name || word.text != name {
        return false;
    }
    let before = |back: usize| at.checked_sub(back).map(|at| &words[at]);
    let is_part = before(1).is_some_and(|before| [".", "?.", "|", "is"].iter().any(|text| before.is(text)));
    let is_test = before(1).is_some_and(|word| word.is("not")) && before(2).is_some_and(|word| word.is("is"));
    let is_argument = words.get(at + 1).is_some_and(|next| next.is("="));
    !is_part && !is_test && !is_argument
}

/// Returns the part that `'part' in name` or `'part' not in name` looks for.
fn looked_for(words: &[Word], at: usize) -> Option<&str> {
    let before = |back: usize| at.checked_sub(back).map(|at| &words[at]);
    before(1).filter(|word| word.is("in"))?;
    let back = if before(2)?.is("not") { 3 } else { 2 };
    unquoted(before(back)?)
}

/// Returns the text of a word in quotes.
fn unquoted(word: &Word) -> Option<&str> {
    let end = word.text.len().checked_sub(1)?;
    if word.kind == WordKind::Text { word.text.get(1..end) } else { None }
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

/// Returns the names after dots and in brackets, as in `a.b['c']`; none where `?.` allows a part to be missing.
fn parts(words: &[Word], at: usize) -> Vec<(String, Range<usize>)> {
    let mut parts = Vec::new();
    let mut next = at + 1;
    while let (Some(opening), Some(part)) = (words.get(next), words.get(next + 1)) {
        if opening.is(".") && part.kind == WordKind::Name {
            parts.push((part.text.clone(), part.range.clone()));
            next += 2;
        } else if opening.is("[")
            && words.get(next + 2).is_some_and(|closing| closing.is("]"))
            && let Some(text) = unquoted(part)
        {
            parts.push((text.to_owned(), part.range.clone()));
            next += 3;
        } else {
            break;
        }
    }
    if words.get(next).is_some_and(|word| word.text.starts_with('?')) { Vec::new() } else { parts }
}

fn decides(word: &Word) -> bool {
    ["==", "!=", "<", ">", "<=", ">=", "in", "is", "and", "or", "not", "if", "elif"].iter().any(|text| word.is(text))
}
