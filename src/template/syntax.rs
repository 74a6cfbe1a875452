//! Syntax errors, derived from the original text: the compiler's messages describe the prepared text, which is not what was written.

use std::ops::Range;

use super::{
    File,
    lex::{Tag, TagKind, Word, WordKind},
};
use crate::source::did_you_mean;

/// A syntax error, its position, and what to do.
pub(super) struct Fault {
    pub(super) range: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    fn new(range: &Range<usize>, message: impl Into<String>) -> Self {
        Self { range: range.clone(), message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Blocks and what ends them.
const BLOCKS: [(&str, &str); 6] = [
    ("if", "endif"),
    ("for", "endfor"),
    ("filter", "endfilter"),
    ("set", "endset"),
    ("block", "endblock"),
    ("component", "endcomponent"),
];
const OTHER_TAGS: [&str; 9] = ["else", "elif", "include", "extends", "raw", "endraw", "break", "continue", "set_global"];
const PAIRS: [(&str, &str); 3] = [("(", ")"), ("[", "]"), ("{", "}")];

/// Explains a syntax error: the compiler's message and the place that it names, in the author's text.
pub(super) fn explain(file: &File, message: &str, range: &Range<usize>) -> Option<Fault> {
    if message.starts_with("string opened with") {
        let quote = file.original.get(range.start..)?.chars().next()?;
        return Some(Fault::new(&(range.start..range.start + 1), format!("a text that begins with `{quote}` does not end")));
    }
    let near = file.tags.iter().filter(|tag| tag.range.start <= range.end && range.start <= tag.range.end);
    near.clone()
        .find_map(|tag| open_text(tag).or_else(|| open_tag(&file.original, tag)))
        .or_else(|| file.tags.iter().find_map(|tag| open_text(tag).or_else(|| open_tag(&file.original, tag))))
        .or_else(|| near.clone().find_map(|tag| character(&file.original, tag, message, range)))
        .or_else(|| near.clone().find_map(brackets))
        .or_else(|| blocks(&file.original, &file.tags))
        .or_else(|| near.clone().find_map(|tag| words(tag, message, range)))
}

/// Finds a text in quotes that is not closed.
fn open_text(tag: &Tag) -> Option<Fault> {
    let word = tag.words.iter().find(|word| {
        let quote = word.text.chars().next().unwrap_or_default();
        word.kind == WordKind::Text && (word.text.len() < 2 || !word.text.ends_with(quote))
    })?;
    let quote = &word.text[..1];
    Some(Fault::new(&(word.range.start..word.range.start + 1), format!("a text that begins with `{quote}` does not end")))
}

/// Finds a tag that is not closed: it reaches to the end of the text, or into the next tag.
fn open_tag(text: &str, tag: &Tag) -> Option<Fault> {
    let source = text.get(tag.range.clone())?;
    let (open, close) = match tag.kind {
        TagKind::Value => ("{{", "}}"),
        TagKind::Block => ("{%", "%}"),
        TagKind::Comment => ("{#", "#}"),
    };
    if !source.starts_with(open) {
        return None;
    }
    let begins_again =
        |pair: &[Word]| pair[0].is("{") && (pair[1].is("{") || pair[1].is("%")) && pair[0].range.end == pair[1].range.start;
    let again = tag.words.windows(2).any(begins_again);
    let is_raw = tag.words.first().is_some_and(|word| word.is("raw")) && !text[tag.range.end..].contains("endraw");
    let start = tag.range.start..tag.range.start + 2;
    if is_raw {
        return Some(Fault::new(&tag.range, "`{% raw %}` is not closed").help("end it with `{% endraw %}`"));
    }
    (again || !source.ends_with(close))
        .then(|| Fault::new(&start, format!("`{open}` is not closed")).help(format!("close it with `{close}`")))
}

/// Finds a character that Tera does not know, or that is not allowed at its place.
fn character(text: &str, tag: &Tag, message: &str, range: &Range<usize>) -> Option<Fault> {
    let is_foreign = message.starts_with("unexpected character");
    let letter = text.get(range.start..)?.chars().next()?;
    let at = range.start..range.start + letter.len_utf8();
    let before = tag.words.iter().rev().find(|word| word.range.end <= range.start);
    let doubled = letter == '|' && before.is_some_and(|word| word.is("|") && word.range.end == range.start);
    let single = message.starts_with(&format!("found `{letter}` but expected"));
    let help = match letter {
        _ if !is_foreign && !doubled && !single => return None,
        '?' => "write `a if condition else b`",
        '&' => "write `and`",
        '|' if doubled => "write `or`",
        '!' => "write `not`",
        '=' => "`==` compares",
        '$' | '@' => "a variable is only its name",
        _ if is_foreign => "",
        _ => return None,
    };
    let fault = Fault::new(&at, format!("`{letter}` means nothing here"));
    Some(if help.is_empty() { fault } else { fault.help(help) })
}

/// Finds brackets that do not match.
fn brackets(tag: &Tag) -> Option<Fault> {
    let mut open: Vec<&Word> = Vec::new();
    for word in tag.words.iter().filter(|word| word.kind == WordKind::Character) {
        if word.is("?[") || PAIRS.iter().any(|(opens, _)| word.is(opens)) {
            open.push(word);
        } else if let Some((opens, _)) = PAIRS.iter().find(|(_, closes)| word.is(closes)) {
            match open.pop() {
                None => return Some(Fault::new(&word.range, format!("`{}` closes nothing", word.text))),
                Some(last) if last.is(opens) || last.is("?[") && *opens == "[" => {}
                Some(last) => return Some(Fault::new(&last.range, format!("`{}` is not closed", last.text))),
            }
        }
    }
    open.pop().map(|last| {
        let fault = Fault::new(&last.range, format!("`{}` is not closed", last.text));
        let ended = last.is("{") && tag.kind == TagKind::Value;
        if ended { fault.help("`}}` ends the expression: where two braces close, write `} }`") } else { fault }
    })
}

/// Finds blocks that do not match, and unknown tags.
fn blocks(text: &str, tags: &[Tag]) -> Option<Fault> {
    let line = |word: &Word| text[..word.range.start].matches('\n').count() + 1;
    let mut open: Vec<(&Word, bool)> = Vec::new();
    for tag in tags.iter().filter(|tag| tag.kind == TagKind::Block) {
        let Some(word) = tag.words.first() else {
            return Some(Fault::new(&tag.range, "a tag without a word").help("such as `{% if x %}`"));
        };
        let sets = word.is("set") && tag.words.iter().any(|word| word.is("="));
        if BLOCKS.iter().any(|(opens, _)| word.is(opens)) && !sets {
            open.push((word, false));
        } else if let Some((opens, closes)) = BLOCKS.iter().find(|(_, closes)| word.is(closes)) {
            match open.pop() {
                Some((last, _)) if last.is(opens) => {}
                Some((last, _)) => {
                    let message = format!("`{{% {closes} %}}` does not close `{{% {} … %}}` of line {}", last.text, line(last));
                    return Some(
                        Fault::new(&word.range, message).help(format!("end that with `{{% {} %}}` first", end_of(last))),
                    );
                }
                None => {
                    return Some(Fault::new(
                        &word.range,
                        format!("`{{% {closes} %}}` closes nothing: no `{{% {opens} … %}}` is open"),
                    ));
                }
            }
        } else if word.is("else") || word.is("elif") {
            let fits = |open: &Word| open.is("if") || word.is("else") && open.is("for");
            match open.last_mut() {
                Some((last, had_else)) if fits(last) && !*had_else => *had_else = word.is("else"),
                Some((last, true)) if fits(last) => {
                    return Some(Fault::new(&word.range, format!("`{{% {} %}}` after `{{% else %}}`", word.text)));
                }
                Some(_) | None => {
                    return Some(Fault::new(&word.range, format!("`{{% {} %}}` is not within an `{{% if … %}}`", word.text)));
                }
            }
        } else if word.kind != WordKind::Name || !OTHER_TAGS.iter().any(|tag| word.is(tag)) && !sets {
            let known = BLOCKS.iter().flat_map(|(opens, closes)| [*opens, *closes]).chain(OTHER_TAGS);
            let fault = Fault::new(&word.range, format!("unknown tag `{{% {} %}}`", word.text));
            return Some(match did_you_mean(&word.text, known) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault.help("values are written as `{{ … }}`"),
            });
        }
    }
    let (last, _) = open.pop()?;
    let help = if last.is("set") { "write `{% set name = … %}`" } else { &*format!("end it with `{{% {} %}}`", end_of(last)) };
    Some(Fault::new(&last.range, format!("`{{% {} … %}}` is not closed", last.text)).help(help))
}

fn end_of(word: &Word) -> &'static str {
    BLOCKS.iter().find(|(opens, _)| word.is(opens)).map_or("", |(_, closes)| closes)
}

/// Words in the wrong order: the compiler's message names what it expected.
fn words(tag: &Tag, message: &str, range: &Range<usize>) -> Option<Fault> {
    let found = tag.words.iter().find(|word| word.range.start <= range.start && range.start < word.range.end);
    let end = tag.words.last();
    // The compiler reports the bracket that was inserted after a value: for the author that is the end of the text.
    let is_end = found.is_none_or(|word| word.range != *range || message.starts_with("found `)`") && !word.is(")"));
    let before = match found {
        Some(word) if !is_end => tag.words.iter().rev().find(|one| one.range.end <= word.range.start),
        Some(_) | None => end,
    };
    let Some(before) = before else {
        return Some(Fault::new(&tag.range, "there is nothing in it").help("name a value: `{{ x }}`"));
    };
    let wanted = message.rsplit_once("but expected ").map_or("", |(_, wanted)| wanted);
    let after = |what: &str| Fault::new(&before.range, format!("{what} is missing after `{}`", before.text));
    Some(match wanted {
        wanted if wanted.starts_with("one of: integer") => after("a value"),
        "identifier" if before.is("|") => after("a filter"),
        "identifier" if before.is("is") => after("a test").help("such as `is defined`"),
        "identifier" => after("a name"),
        "else" => {
            let span = tag.words.iter().rev().find(|word| word.is("if")).unwrap_or(before);
            Fault::new(&span.range, "`if` without `else`").help("write `a if condition else b`")
        }
        "in" => Fault::new(&found?.range, "`for` needs `in`").help("write `{% for item in list %}`"),
        "string" => Fault::new(&found?.range, format!("`{}` must be in quotes", found?.text)),
        wanted if wanted.starts_with("`...`, a string") => {
            Fault::new(&found?.range, format!("the key `{}` must be in quotes", found?.text)).help("write `{\"key\": value}`")
        }
        ")" | "}}" | "%}" => {
            let word = found?;
            let fault = Fault::new(&word.range, format!("`{}` cannot follow `{}`", word.text, before.text));
            if word.kind == WordKind::Character { fault } else { fault.help("`~` joins text, `and` and `or` join conditions") }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::template::{Problem, Template};

    /// Formats the first problem: `text => marked part: message [help]`.
    fn explanation(text: &str, compiled: Result<Template, Vec<Problem>>) -> String {
        let problems = compiled.err().unwrap_or_default();
        let problem = problems.first().unwrap_or_else(|| panic!("`{text}` compiles"));
        let help = problem.help.as_ref().map(|help| format!(" [{help}]")).unwrap_or_default();
        format!("{text} => {}: {}{help}", &text[problem.range.clone()], problem.message)
    }

    #[test]
    fn a_text_that_does_not_compile_is_explained_in_the_authors_words() {
        let texts = [
            "{{ x",
            "{{ x }",
            "{{ x and {{ y }}",
            "{{ \"a }}",
            "{# a",
            "{% raw %}x",
            "{% if x %}a",
            "{% if x %}a{% endif",
            "{% endfor %}",
            "{% for a in b %}x{% endif %}",
            "{% if x %}{% else %}{% elif y %}{% endif %}",
            "{% elif x %}",
            "{% set a %}",
            "{% %}",
            "{% fro a in b %}{% endfor %}",
            "{% for a in %}x{% endfor %}",
            "{% for a b %}{% endfor %}",
            "{% include x %}",
            "{{ }}",
            "a {{ x + }} b",
            "{{ x y }}",
            "{{ x | }}",
            "{{ x. }}",
            "{{ x is }}",
            "{{ not }}",
            "{{ (x }}",
            "{{ x['a' }}",
            "{{ [1, }}",
            "{{ {a: 1} }}",
            "{{ x | default(value=) }}",
            "{{ x if y }}",
            "{{ x = 1 }}",
            "{{ $x }}",
        ];
        insta::assert_snapshot!(texts.map(|text| explanation(text, Template::text(text))).join("\n"), @r#"
        {{ x => {{: `{{` is not closed [close it with `}}`]
        {{ x } => {{: `{{` is not closed [close it with `}}`]
        {{ x and {{ y }} => {{: `{{` is not closed [close it with `}}`]
        {{ "a }} => ": a text that begins with `"` does not end
        {# a => {#: `{#` is not closed [close it with `#}`]
        {% raw %}x => {% raw %}: `{% raw %}` is not closed [end it with `{% endraw %}`]
        {% if x %}a => if: `{% if … %}` is not closed [end it with `{% endif %}`]
        {% if x %}a{% endif => {%: `{%` is not closed [close it with `%}`]
        {% endfor %} => endfor: `{% endfor %}` closes nothing: no `{% for … %}` is open
        {% for a in b %}x{% endif %} => endif: `{% endif %}` does not close `{% for … %}` of line 1 [end that with `{% endfor %}` first]
        {% if x %}{% else %}{% elif y %}{% endif %} => elif: `{% elif %}` after `{% else %}`
        {% elif x %} => elif: `{% elif %}` is not within an `{% if … %}`
        {% set a %} => set: `{% set … %}` is not closed [write `{% set name = … %}`]
        {% %} => {% %}: a tag without a word [such as `{% if x %}`]
        {% fro a in b %}{% endfor %} => fro: unknown tag `{% fro %}` [did you mean `for`?]
        {% for a in %}x{% endfor %} => in: a value is missing after `in`
        {% for a b %}{% endfor %} => b: `for` needs `in` [write `{% for item in list %}`]
        {% include x %} => x: `x` must be in quotes
        {{ }} => {{ }}: there is nothing in it [name a value: `{{ x }}`]
        a {{ x + }} b => +: a value is missing after `+`
        {{ x y }} => y: `y` cannot follow `x` [`~` joins text, `and` and `or` join conditions]
        {{ x | }} => |: a filter is missing after `|`
        {{ x. }} => .: a name is missing after `.`
        {{ x is }} => is: a test is missing after `is` [such as `is defined`]
        {{ not }} => not: a value is missing after `not`
        {{ (x }} => (: `(` is not closed
        {{ x['a' }} => [: `[` is not closed
        {{ [1, }} => [: `[` is not closed
        {{ {a: 1} }} => a: the key `a` must be in quotes [write `{"key": value}`]
        {{ x | default(value=) }} => =: a value is missing after `=`
        {{ x if y }} => if: `if` without `else` [write `a if condition else b`]
        {{ x = 1 }} => =: `=` means nothing here [`==` compares]
        {{ $x }} => $: `$` means nothing here [a variable is only its name]
        "#);
        let conditions = ["x ==", "x y", "x && y", "x || y", "!x", "x ? a : b", "(x", "x == a)", "x == 'a", "x is"];
        insta::assert_snapshot!(conditions.map(|text| explanation(text, Template::expression(text))).join("\n"), @"
        x == => ==: a value is missing after `==`
        x y => y: `y` cannot follow `x` [`~` joins text, `and` and `or` join conditions]
        x && y => &: `&` means nothing here [write `and`]
        x || y => |: `|` means nothing here [write `or`]
        !x => !: `!` means nothing here [write `not`]
        x ? a : b => ?: `?` means nothing here [write `a if condition else b`]
        (x => (: `(` is not closed
        x == a) => ): `)` closes nothing
        x == 'a => ': a text that begins with `'` does not end
        x is => is: a test is missing after `is` [such as `is defined`]
        ");
    }

    #[test]
    fn every_problem_is_at_a_place_within_the_text() {
        let pieces = [
            "{{", "}}", "{%", "%}", "{#", "if", "for", "endif", "else", "set", "raw", "(", ")", "[", "{", "'", "\"", "|", "x",
            "=", "é", "\n",
        ];
        // Every text of three pieces.
        for number in 0..pieces.len().pow(3) {
            let piece = |power: u32| pieces[number / pieces.len().pow(power) % pieces.len()];
            let text = format!("{} {} {}", piece(0), piece(1), piece(2));
            for compiled in [Template::text(&text), Template::expression(&text)] {
                for problem in compiled.err().unwrap_or_default() {
                    assert!(text.get(problem.range.clone()).is_some(), "{text}: {problem:?}");
                }
            }
        }
    }
}
