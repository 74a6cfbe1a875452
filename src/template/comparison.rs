//! Comparisons of a variable with a literal: Tera silently takes values of two types for different.

use std::ops::Range;

use super::{
    Template,
    lex::{Word, WordKind},
};

/// A comparison of a whole variable with a literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The file among [`Template::files`].
    pub file: usize,
    /// The place of both sides.
    pub range: Range<usize>,
    /// Whether it is `==`, not `!=`.
    pub is_equal: bool,
    /// What the variable is compared with.
    pub literal: Literal,
}

/// A value that is written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// Text, without its quotes.
    Text(String),
    /// A number, as written.
    Number(String),
    /// True or false.
    Bool(bool),
}

/// What may stand before a comparison.
const BEFORE: &[&str] = &["and", "or", "not", "if", "elif", "(", "[", ",", ":", "="];
/// What may stand after a comparison.
const AFTER: &[&str] = &["and", "or", "if", "else", "for", ")", "]", "}", ","];

impl Template {
    /// Returns the comparisons of a variable with a literal by `==` or `!=`; none if a loop or a block gives the name another meaning.
    #[must_use]
    pub fn literal_comparisons(&self, name: &str) -> Vec<Comparison> {
        let mut found = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            for tag in &file.tags {
                if binds(&tag.words, name) {
                    return Vec::new();
                }
                let triples = tag.words.windows(3).enumerate();
                found.extend(triples.filter_map(|(at, triple)| {
                    let before = at.checked_sub(1).map(|at| &tag.words[at]);
                    comparison(before, triple, tag.words.get(at + 3), name, number)
                }));
            }
        }
        found
    }
}

fn comparison(before: Option<&Word>, triple: &[Word], after: Option<&Word>, name: &str, file: usize) -> Option<Comparison> {
    let is_boundary = |word: Option<&Word>, known: &[&str]| word.is_none_or(|word| known.iter().any(|text| word.is(text)));
    let [left, operator, right] = triple else { return None };
    if !(operator.is("==") || operator.is("!=")) || !is_boundary(before, BEFORE) || !is_boundary(after, AFTER) {
        return None;
    }
    let is_variable = |word: &Word| word.kind == WordKind::Name && word.text == name;
    let literal = match (is_variable(left), is_variable(right)) {
        (true, false) => literal(right)?,
        (false, true) => literal(left)?,
        (true, true) | (false, false) => return None,
    };
    Some(Comparison { file, range: left.range.start..right.range.end, is_equal: operator.is("=="), literal })
}

fn literal(word: &Word) -> Option<Literal> {
    match (word.kind, word.text.as_str()) {
        (WordKind::Text, text) => Some(Literal::Text(text.get(1..text.len().checked_sub(1)?)?.to_owned())),
        (WordKind::Number, text) => Some(Literal::Number(text.to_owned())),
        (WordKind::Name, "true" | "True") => Some(Literal::Bool(true)),
        (WordKind::Name, "false" | "False") => Some(Literal::Bool(false)),
        (WordKind::Name | WordKind::Character, _) => None,
    }
}

/// Whether a tag sets a name, or declares it for a loop or a component.
fn binds(words: &[Word], name: &str) -> bool {
    let named = |word: &Word| word.kind == WordKind::Name && word.text == name;
    let is_component = words.first().is_some_and(|word| word.is("component"));
    is_component && words.iter().any(named)
        || words.windows(2).any(|pair| (pair[0].is("for") || pair[0].is("set") || pair[0].is("set_global")) && named(&pair[1]))
        || words.windows(4).any(|four| four[0].is("for") && four[2].is(",") && named(&four[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_variables_that_are_compared_with_literals_are_found() {
        let text = |text: &str| Literal::Text(text.to_owned());
        let found = |text: &str| {
            let template = Template::expression(text).unwrap_or_else(|problems| panic!("{problems:?}"));
            template
                .literal_comparisons("x")
                .into_iter()
                .map(|one| (text[one.range].to_owned(), one.is_equal, one.literal))
                .collect::<Vec<_>>()
        };
        assert_eq!(found("y and x == 'a'"), [("x == 'a'".to_owned(), true, text("a"))]);
        assert_eq!(found("(1.5 != x)"), [("1.5 != x".to_owned(), false, Literal::Number("1.5".to_owned()))]);
        assert_eq!(found("not x == true or x == ''").len(), 2);
        for other in [
            "x.y == 'a'",
            "y.x == 'a'",
            "x | str == '1'",
            "'a' ~ x == 'a1'",
            "x == 'a' ~ 'b'",
            "x + 1 == 2",
            "x == y",
            "[x for x in y if x == 'a']",
        ] {
            assert_eq!(found(other), [], "{other}");
        }
    }
}
