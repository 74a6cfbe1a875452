//! Templates: texts, expressions and files are compiled, and what is wrong is explained in words of this program.

use super::{
    Target,
    spans::{check_problems, check_text},
};
use crate::template::{Template, differences, literal};

const PUMPS: &[(&str, &str, &str)] = &[
    ("{{ ", "lt(omit, t", " }}"),
    ("", "{##}", ""),
    ("", "{% if a %}", ""),
    ("", "{{ x }}", ""),
    ("{{ ", "(", " }}"),
    ("{{ ", "a ~ ", "a }}"),
    ("{{ ", "not ", "a }}"),
    ("{{ ", "a.", "b }}"),
    ("", "{% raw %}", ""),
    ("", "{{ 'a", ""),
    ("{{ ", "|d(1)", " }}"),
    ("", "{% set a = 1 %}\n", ""),
    ("{{ ", "a[", ""),
];

#[test]
fn fuzz_templates() {
    let words = &[
        "{{ x }}",
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{% if x %}",
        "{% else %}",
        "{% endif %}",
        "{% for a in b %}",
        "{% endfor %}",
        "{% raw %}",
        "{% endraw %}",
        "{% set a = 1 %}",
        "{% include 'x' %}",
        "| default(value=1)",
        "| join(sep=',')",
        "is defined",
        "not ",
        "and ",
        "'a'",
        "\"b\"",
        "`c`",
        "1.5",
        "range(end=3)",
        "a.b[0]",
        "{%-",
        "-%}",
        "omit",
        "==",
        "~",
        "//",
        "**",
        "lookup('env')",
        "(",
        "[",
        "loop.index",
    ];
    Target { name: "templates", words, pumps: PUMPS, property }.fuzz();
}

fn property(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for compiled in [Template::text(&text), Template::expression(&text)] {
        match compiled {
            Ok(template) => assert_eq!(template.whole_range(), 0..text.len()),
            Err(problems) => check_problems(&problems, &text),
        }
    }
    if let Err((problems, names)) = Template::file("fuzz.tera", &text, &mut |_| None) {
        assert_eq!(names, ["fuzz.tera"]);
        check_problems(&problems, &text);
    }
    assert!(literal(&text).len() <= text.len());
    let lines = 1..=text.lines().count().max(1);
    for difference in differences(&text, &|name| name.len() % 2 == 0, &|name| Some(name.to_owned())) {
        assert!(lines.contains(&difference.line), "line {}", difference.line);
        check_text(&difference.text);
    }
}
