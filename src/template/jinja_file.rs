//! Finds what in a template file of Jinja means something else in Tera, or nothing.

use super::{
    Template, jinja,
    lex::{self, Tag, TagKind, Word, WordKind},
    prepare::alone_on_line,
};
use crate::values::shortened;

/// A part of a template of Jinja that must be written differently, or renders differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The line, from 1.
    pub line: usize,
    /// A description of it, and what to write instead.
    pub text: String,
}

/// Whether a template's name ends like those of Jinja.
#[must_use]
pub fn is_jinja_file(name: &str) -> bool {
    [".j2", ".jinja", ".jinja2"].iter().any(|suffix| name.ends_with(suffix))
}

/// Returns what Ansible and this program understand differently in a template, in the order of its lines. `is_flag` returns whether a variable is
/// a boolean, and `name` what to write in place of a variable that only Ansible has.
#[must_use]
pub fn differences(text: &str, is_flag: &dyn Fn(&str) -> bool, name: &dyn Fn(&str) -> Option<String>) -> Vec<Difference> {
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line = |at: usize| ends.partition_point(|end| *end < at) + 1;
    let tags = lex::tags(text);
    let mut found: Vec<Difference> = Vec::new();
    for jinja in jinja::explain_all(&tags) {
        found.push(Difference { line: line(jinja.range.start), text: format!("{}: {}", jinja.message, jinja.help) });
    }
    // Spelled as in Tera, but with another result.
    for tag in &tags {
        for (word, help) in tag
            .words
            .iter()
            .enumerate()
            .filter(|(at, _)| is_variable(&tag.words, *at))
            .filter_map(|(_, word)| Some((word, name(&word.text)?)))
        {
            found.push(Difference {
                line: line(word.range.start),
                text: format!("`{}` is a variable of Ansible: {help}", word.text),
            });
        }
        found.extend(whitespace(text, tag).map(|text| Difference { line: line(tag.range.start), text }));
        if let (TagKind::Value, [name]) = (tag.kind, tag.words.as_slice())
            && is_flag(&name.text)
        {
            let text = format!("`{}` is a boolean: Ansible writes `True` or `False`, Tera `true` or `false`", name.text);
            found.push(Difference { line: line(tag.range.start), text });
        }
    }
    // Everything else that does not compile; one difference for each line is enough.
    if let Err((problems, _)) = Template::file("text", text, &mut |_| Some(String::new())) {
        for problem in problems {
            let at = line(problem.range.start.min(text.len()));
            if !found.iter().any(|known| known.line == at) {
                let help = problem.help.map(|help| format!(": {help}")).unwrap_or_default();
                found.push(Difference { line: at, text: format!("{}{help}", problem.message) });
            }
        }
    }
    found.sort_by_key(|difference| difference.line);
    found.dedup();
    for difference in &mut found {
        difference.text = shortened(&difference.text).into_owned();
    }
    found
}

/// Whether a word is the name of a variable, not of a part, a filter or a test.
fn is_variable(words: &[Word], at: usize) -> bool {
    let after_name = at.checked_sub(1).is_some_and(|before| [".", "|", "is"].iter().any(|text| words[before].is(text)));
    words[at].kind == WordKind::Name && !after_name
}

/// Ansible drops the line break after any block tag or comment and keeps the blanks before it. Here a tag that is alone on its line leaves
/// nothing, and any other tag leaves the text around it unchanged.
fn whitespace(text: &str, tag: &Tag) -> Option<String> {
    if tag.kind == TagKind::Value || !text[tag.range.end..].starts_with('\n') {
        return None;
    }
    let source = &text[tag.range.clone()];
    let word = if source.len() > 40 { format!("{}…", source.chars().take(39).collect::<String>()) } else { source.to_owned() };
    match alone_on_line(text, tag) {
        None if source.ends_with("-%}") || source.ends_with("-#}") => None,
        None => Some(format!("Ansible drops the line break after `{word}`, Tera keeps it")),
        Some(whole) if whole.start < tag.range.start => {
            Some(format!("Ansible keeps the blanks before `{word}`, Tera drops the whole line"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_listed_line_by_line() {
        let text = "# {{ ansible_managed }} {{ x.ansible_managed }}\nport {{ port | default(6379) }}\n{% if tls %} tls on{% endif %}\nnext\n{% for x in l %}\n  {% if x %}\n{{ debug }}\n  {% endif %}\n{% endfor %}\n{{ a | b64decode }} {{ l | map('upper') | join(',') }}\n{{ broken }\n";
        let found =
            differences(text, &|name| name == "debug", &|name| (name == "ansible_managed").then(|| "write it".to_owned()));
        let lines: Vec<String> = found.iter().map(|found| format!("{}: {}", found.line, found.text)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
    1: `ansible_managed` is a variable of Ansible: write it
    2: arguments of filters need names: `| default(value=6379)`
    3: Ansible drops the line break after `{% endif %}`, Tera keeps it
    6: Ansible keeps the blanks before `{% if x %}`, Tera drops the whole line
    7: `debug` is a boolean: Ansible writes `True` or `False`, Tera `true` or `false`
    8: Ansible keeps the blanks before `{% endif %}`, Tera drops the whole line
    10: `map` is a filter of Jinja: `[x | upper for x in list]`
    10: arguments of filters need names: `| join(sep=',')`
    "#);
        assert!(differences("port {{ port }}\n{% if tls %}\ntls on\n{% endif %}\n", &|_| false, &|_| None).is_empty());
    }
}
