use serde_json::json;

use super::*;

fn context(values: &Value) -> Context {
    Context::from_serialize(values).unwrap()
}

fn text(text: &str, values: &Value) -> Value {
    let template = Template::text(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    template.render(&context(values)).unwrap_or_else(|problem| panic!("{text}: {problem:?}"))
}

fn format_problem(source: &str, problem: &Problem) -> String {
    let help = problem.help.as_deref().map_or_else(String::new, |help| format!(" [{help}]"));
    format!("{}: {}{help}", &source[problem.range.clone()], problem.message)
}

fn errors(source: &str, values: &Value) -> String {
    match Template::text(source) {
        Err(problems) => problems.iter().map(|problem| format_problem(source, problem)).collect::<Vec<_>>().join("\n"),
        Ok(template) => format_problem(source, &template.render(&context(values)).unwrap_err()),
    }
}

fn file(source: &str, values: &Value) -> String {
    let template = Template::file("a.tera", source, &mut |_| None).unwrap();
    template.render(&context(values)).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn a_lone_value_keeps_its_type_and_text_is_text() {
    let values = json!({"port": 6379, "on": true, "list": [1, "a"], "map": {"b": 1, "a": 2}, "name": "x", "nothing": null});
    assert_eq!(text("{{ port }}", &values), json!(6379));
    assert_eq!(text("{{ port + 1 }}", &values), json!(6380));
    assert_eq!(text("{{ on }}", &values), json!(true));
    assert_eq!(text("{{ list }}", &values), json!([1, "a"]));
    assert_eq!(text("{{ map }}", &values).to_string(), r#"{"b":1,"a":2}"#);
    assert_eq!(text("{{ nothing }}", &values), json!(null));
    assert_eq!(text("{{ port }} ", &values), json!("6379 "));
    assert_eq!(text("{{ name }}:{{ port }}/{{ on }}", &values), json!("x:6379/true"));
    assert_eq!(text("{{ 'a' if on else 'b' }}", &values), json!("a"));
}

#[test]
fn maps_keep_their_order_in_loops() {
    let values = json!({"map": {"z": 1, "a": 2, "m": 3, "b": 4, "y": 5, "c": 6}});
    assert_eq!(file("{% for key, value in map %}{{ key }}{{ value }}{% endfor %}", &values), "z1a2m3b4y5c6");
}

#[test]
fn lists_maps_and_nothing_are_refused_within_text() {
    let values = json!({"list": [1], "map": {"a": 1}, "nothing": null});
    insta::assert_snapshot!(
        [errors("a {{ list }}", &values), errors("a {{ map }}", &values), errors("a {{ nothing }}", &values)].join("\n"), @r#"
    list: a list where text is wanted: join it with `| join(sep=", ")`, or write it with `| to_json`
    map: a map where text is wanted: pick a key, or write it with `| to_json`
    nothing: nothing (`null`) where text is wanted
    "#);
}

#[test]
fn an_undefined_value_is_named_at_its_place() {
    let values = json!({"a": {"b": 1}, "x": 1});
    insta::assert_snapshot!([
        errors("{{ pg_prt }}", &values), errors("ü {{ pg_prt }}", &values), errors("{{ a.c }}", &values), errors("é {{ a.c | str }}", &values),
        errors("{{ a.c | to_json }}", &values), errors("{{ pg_prt | upper }} x", &values), errors("{% if a.c %}x{% endif %}{{ a.d }}", &values),
    ].join("\n"), @"
    pg_prt: variable `pg_prt` is not defined
    pg_prt: variable `pg_prt` is not defined
    c: field `c` is not defined
    str: this is undefined
    to_json: this is undefined
    pg_prt: invalid type for the value, expected text but got an undefined value
    d: field `d` is not defined
    ");
    assert_eq!(text("{{ a.c | default(value=3) }}", &values), json!(3));
    assert_eq!(text("{{ y | default(value='z') }}!", &values), json!("z!"));
}

#[test]
fn jinja_is_explained_in_the_spelling_of_tera() {
    let sources = [
        "{{ x | default('v') }}",
        "{{ x | default('v', true) }}",
        "{{ x | d('v') }}",
        "{{ x.upper() }}",
        "{{ x.split(',') }}",
        "{{ lookup('password', '/x') }}",
        "{{ lookup('env', 'HOME') }}",
        "{{ x | join(',') }}",
        "{{ x | replace('a', 'b') }}",
        "{{ x | ternary('a', 'b') }}",
        "{{ x | string }}",
        "{{ x | map('upper') | list }}",
        "{% for k, v in x.items() %}{% endfor %}",
        "{% macro a() %}{% endmacro %}",
        "{{ x is match('a') }}",
        "{{ range(5) }}",
        "{{ x | uper }}",
        "{{ x is defnied }}",
        "{{ x | int('a') }}",
        "{{ x | regex_replace('a', 'b') }}",
        "{{ x | combine(y) }}",
        "{{ 'a' + 'b' }}",
        "{{ x",
        "{% if x %}",
        "{{ x + }}",
        "{{ x is starting_with('a') }}",
    ];
    insta::assert_snapshot!(sources.map(|source| errors(source, &json!({"x": "a", "y": {}}))).join("\n"), @"
    default: arguments of filters need names [`| default(value='v')`]
    default: arguments of filters need names [`| default(value='v', boolean=true)`]
    d: arguments of filters need names [`| default(value='v')`]
    upper: Tera has no methods: `.upper()` [`| upper`]
    split: Tera has no methods: `.split()` [`| split(pat=',')`]
    lookup: `lookup()` is Jinja, not Tera [declare it under `secrets:` and use `{{ secrets.NAME }}`]
    lookup: `lookup()` is Jinja, not Tera [pass the value with `-e name=value`]
    join: arguments of filters need names [`| join(sep=',')`]
    replace: arguments of filters need names [`| replace(from='a', to='b')`]
    ternary: `ternary` is a filter of Jinja [`'a' if condition else 'b'`]
    string: `string` is a filter of Jinja [`| str`]
    map: `map` is a filter of Jinja [`[x | upper for x in list]`]
    items: Tera has no methods: `.items()` [`{% for key, value in map %}`, or `| pairs`]
    macro: `{% macro %}` is Jinja, not Tera [write a component: `{% component name(x) %}…{% endcomponent %}`, used as `{{<name x={value}/>}}`]
    match: `is match` is Jinja [`is starting_with(pat='a')`]
    range: `range` takes its arguments by name [`range(end=5)`]
    uper: unknown filter `uper` [did you mean `upper`?]
    defnied: unknown test `defnied` [did you mean `defined`?]
    int: arguments of filters need names [`| int`]
    regex_replace: `regex_replace` is a filter of Jinja [`| replace(from=…, to=…)`, `| split(pat=…)`, or `is containing(pat=…)`]
    combine: `combine` is a filter of Jinja [`{...map, ...y}`]
    'a' + 'b': `+` requires both operands to be numbers, found text and text [join text with `~`]
    {{: `{{` is not closed [close it with `}}`]
    if: `{% if … %}` is not closed [end it with `{% endif %}`]
    +: a value is missing after `+`
    starting_with: `is starting_with` is Jinja [`is starting_with(pat='a')`]
    ");
}

#[test]
fn block_tags_alone_on_a_line_leave_no_line() {
    let values = json!({"on": true, "list": ["a", "b"]});
    let source = "[web]\n{% if on %}\n  port = 1\n{% endif %}\n\n  {% for x in list %}\nitem {{ x }}\n  {% endfor %}\n{# note #}\nend {% if on %}y{% endif %}\n";
    assert_eq!(file(source, &values), "[web]\n  port = 1\n\nitem a\nitem b\nend y\n");
    assert_eq!(file("a\r\n{% if on %}\r\nb\r\n{% endif %}\r\n", &values), "a\r\nb\r\n");
    assert_eq!(file("{% raw %}\n{% if x %}\n{{ y }}\n{% endraw %}\n", &values), "{% if x %}\n{{ y }}\n");
    assert_eq!(file("a\n{%- if on %}\nb{% endif %}", &values), "a\nb");
    assert_eq!(file("{% set x = 1 %}\n{{ x }}\n", &values), "1\n");
}

#[test]
fn nothing_is_escaped_and_the_last_line_break_stays() {
    assert_eq!(file("<{{ x }}>\n", &json!({"x": "\"<&>'"})), "<\"<&>'>\n");
}

#[test]
fn places_are_the_authors_after_lines_went_away() {
    let source = "{% if true %}\n  {% set x = 1 %}\na {{ x }} {{ nope.b }}\n{% endif %}\n";
    let template = Template::file("a.tera", source, &mut |_| None).unwrap();
    let problem = template.render(&Context::new()).unwrap_err();
    insta::assert_snapshot!(format_problem(source, &problem), @"nope: variable `nope` is not defined");
    assert_eq!(template.unguarded("nope"), [(0, source.find("nope").unwrap()..source.find("nope").unwrap() + 4)]);
}

#[test]
fn included_files_are_compiled_with_it_and_name_themselves() {
    let mut include = |name: &str| (name == "b.tera").then(|| "{{ deep }}".to_owned());
    let template = Template::file("a.tera", "{% include \"b.tera\" %}", &mut include).unwrap();
    assert_eq!(template.names().collect::<Vec<_>>(), ["deep"]);
    assert_eq!(template.render(&context(&json!({"deep": 1}))).unwrap(), json!("1"));
    let problem = template.render(&Context::new()).unwrap_err();
    assert_eq!((problem.file, problem.range), (1, 3..7));
    let (problems, _) = Template::file("a.tera", "x {% include 'c.tera' %}", &mut include).unwrap_err();
    assert_eq!(problems[0].message, "no template `c.tera`");
    let mut own = |_: &str| Some("{% include 'a.tera' %}".to_owned());
    assert!(Template::file("a.tera", "{% include 'b.tera' %}", &mut own).unwrap_err().0[0].message.contains("ircular include"));
}

#[test]
fn expressions_are_values_and_nothing_can_break_out_of_them() {
    let value = |source: &str| Template::expression(source).unwrap().render(&context(&json!({"x": 1, "host": "a"})));
    assert_eq!(value("x == 1 and host is defined").unwrap(), json!(true));
    assert_eq!(value("host ~ 'b'").unwrap(), json!("ab"));
    assert_eq!(value("not x").unwrap(), json!(false));
    let source = "  nope";
    let problem = Template::expression(source).unwrap().render(&Context::new()).unwrap_err();
    assert_eq!(problem.message, "variable `nope` is not defined");
    assert_eq!(&source[problem.range], "nope");
    for hostile in ["x }} {{ x", "x }}", "{{ x }}", "", "  ", "x %}{% if x", "'", "(", "x #}"] {
        assert!(Template::expression(hostile).is_err(), "{hostile}");
    }
}

#[test]
fn guarded_names_may_be_undefined() {
    let unguarded = |source: &str| !Template::text(source).unwrap().unguarded("x").is_empty();
    for source in ["{{ x }}", "{{ x.y }}", "{{ a | default(value=x) }}", "{% for i in x %}{% endfor %}", "{{ [x] }}"] {
        assert!(unguarded(source), "{source}");
    }
    for source in [
        "{{ x | default(value=1) }}",
        "{{ x.y[0] | default(value=1) }}",
        "{% if x is defined %}{{ x }}{% endif %}",
        "{{ x or 1 }}",
        "{{ a.x }}",
    ] {
        assert!(!unguarded(source), "{source}");
    }
}

#[test]
fn our_filters_do_what_their_names_say() {
    let values =
        json!({"path": "/etc/autobot/redis.conf", "map": {"a": [1, true]}, "text": "a b/ü", "yes": "Yes", "number": "12"});
    assert_eq!(
        text("{{ path | basename }} {{ path | dirname }} {{ '/x' | dirname }}", &values),
        json!("redis.conf /etc/autobot /")
    );
    assert_eq!(text("{{ map | to_json }}!", &values), json!("{\"a\":[1,true]}!"));
    assert_eq!(text("{{ text | urlencode }}", &values), json!("a%20b%2F%C3%BC"));
    assert_eq!(text("{{ yes | bool }}", &values), json!(true));
    assert_eq!(text("{{ number | int }}", &values), json!(12));
    assert_eq!(text("{{ text | b64encode | b64decode }}", &values), json!("a b/ü"));
}

#[test]
fn urlencode_turns_a_secret_into_its_encoded_token() {
    use crate::secret::{Encoding, SecretRef};
    let secret = SecretRef { host: "db".into(), name: "P".into() };
    let rendered = text("{{ ('p/' ~ s) | urlencode }}", &json!({"s": secret.token(Encoding::Plain)}));
    assert_eq!(rendered, json!(format!("p%2F{}", secret.token(Encoding::Url))));
}

#[test]
fn a_suggestion_works_in_place_of_the_phrase_of_jinja() {
    let values = json!({"list": ["a", "b"], "map": {"a": 1}, "x": "/tmp/a"});
    for (source, phrase, expected) in [
        ("{{ list | map('upper') }}", "list | map('upper')", json!(["A", "B"])),
        ("{{ map | combine({'c':3}) }}", "map | combine({'c':3})", json!({"a": 1, "c": 3})),
        ("{{ x is match('/tmp') }}", "is match('/tmp')", json!(true)),
        ("{{ map | dict2items }}", "| dict2items", json!([["a", 1]])),
        ("{{ x is false }}", "x is false", json!(false)),
        ("{{ x is not true }}", "x is not true", json!(false)),
        ("{{ x is not match('/tmp') }}", "is not match('/tmp')", json!(false)),
        ("{{ x is not eq('/tmp') }}", "is not eq('/tmp')", json!(true)),
        ("{{ '  a' | trim_start(' ') }}", "| trim_start(' ')", json!("a")),
        ("{{ [{'n': 2}, {'n': 1}] | sort('n') }}", "| sort('n')", json!([{"n": 1}, {"n": 2}])),
        ("{{ x | basename('x') }}", "| basename('x')", json!("a")),
        ("{{ list | sort(reverse=true) }}", "| sort(reverse=true)", json!(["b", "a"])),
    ] {
        let problems = Template::text(source).unwrap_err();
        let help = problems[0].help.clone().unwrap_or_default();
        let suggested = help.split('`').nth(1).unwrap_or_default();
        assert_eq!(text(&source.replace(phrase, suggested), &values), expected, "{source}: {help}");
    }
}

#[test]
fn no_help_names_a_filter_that_does_not_exist() {
    let values = json!({"l": [1], "m": {"a": 1}, "x": "a", "b": true});
    insta::assert_snapshot!([
        "{{ x | password_hash('sha512') }}", "{{ '%02d' | format(4) }}", "{{ x | hash('md5') }}", "{{ l | zip(l) }}", "{{ x | nosuch('a') }}",
        "{{ x | uper('a') }}", "{{ l + [4] }}", "{{ m + m }}", "{{ x + 1 }}", "{{ b + 1 }}", "{{ l - [1] }}", "a {% include \"x.j2\" %}",
    ].map(|source| errors(source, &values)).join("\n"), @r#"
    password_hash: `password_hash` is a filter of Jinja [passwords are not hashed here: the resource that takes one makes its verifier]
    format: `format` is a filter of Jinja [join the pieces with `~`; `('0' if n < 10 else '') ~ n` writes two digits]
    hash: `hash` is a filter of Jinja [passwords are not hashed here: the resource that takes one makes its verifier]
    zip: `zip` is a filter of Jinja [write the list out in a variable, or build it: `[x.name for x in list]`, `[...a, ...b]`]
    nosuch: unknown filter `nosuch` [there are abs, b64decode, b64encode, basename, bool, capitalize, default, dirname, first, float, get, group_by, indent, int, join, keys, last, length, lower, nth, pairs, pluralize, replace, reverse, round, shquote, sort, split, str, title, to_json, trim, trim_end, trim_start, truncate, unique, upper, urlencode, values, wordcount]
    uper: unknown filter `uper` [did you mean `upper`?]
    l + [4]: `+` requires both operands to be numbers, found a list and a list [join lists with `[...a, ...b]`, add a value with `[...a, b]`]
    m + m: `+` requires both operands to be numbers, found a map and a map [join maps with `{...a, ...b}`]
    x + 1: `+` requires both operands to be numbers, found text and a number [join text with `~`]
    b + 1: `+` requires both operands to be numbers, found a boolean and a number
    l: math operations can only be done on numbers, found a list
    "x.j2": a text in a role file includes no template, such as `x.j2` [write the text into a file of `templates/`, which may include others, and use `template: {src: …}`]
    "#);
    assert_eq!(text("{{ [...l, 4] }}", &values), json!([1, 4]));
    assert_eq!(text("{{ {...m, ...m} }}", &values), json!({"a": 1}));
}

#[test]
fn every_filter_and_test_that_is_suggested_exists() {
    for name in filters::FILTERS {
        assert!(Template::text(&format!("{{{{ 1 | {name} }}}}")).is_ok(), "{name}");
    }
    for name in filters::TESTS {
        assert!(Template::text(&format!("{{{{ 1 is {name} }}}}")).is_ok(), "{name}");
    }
}

#[test]
fn filters_refuse_undefined_values() {
    for name in filters::FILTERS.iter().filter(|name| **name != "default") {
        let source = format!("{{{{ a.b | {name} }}}}");
        assert!(Template::text(&source).unwrap().render(&context(&json!({"a": {}}))).is_err(), "{name}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn check(original: &str, problems: &[Problem]) {
        for problem in problems {
            assert!(original.get(problem.range.clone()).is_some(), "{original:?} {problem:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_compiles_and_renders_or_is_refused_at_a_place_within_it(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "{{", "}}", "{%", "%}", "{#", "#}", "-", " ", "\n", "\r\n", "é", "x", "y.z", "'", "\"", "|", "(", ")", "[", "]", "~", "==",
                    "if", "endif", "for", "in", "raw", "endraw", "set", "default", "upper", "1", ".", "?.", "not", "is", "defined", "\u{F5EC0}",
                ]),
                0..24,
            )
        ) {
            let original = pieces.concat();
            let values = context(&json!({"x": "é", "y": {}}));
            match Template::text(&original) {
                Err(problems) => check(&original, &problems),
                Ok(template) => if let Err(problem) = template.render(&values) { check(&original, &[problem]) },
            }
            match Template::expression(&original) {
                Err(problems) => check(&original, &problems),
                Ok(template) => if let Err(problem) = template.render(&values) { check(&original, &[problem]) },
            }
            for name in ["x", "y", "secrets"] {
                if let Ok(template) = Template::text(&original) {
                    assert!(template.members(name).iter().all(|member| original.get(member.range.clone()).is_some()));
                    assert!(template.parts(name).iter().flat_map(|(_, path)| path).all(|(part, range)| original[range.clone()] == **part));
                    for (_, range) in template.unguarded(name) {
                        assert_eq!(&original[range], name);
                    }
                }
            }
        }
    }
}

#[test]
fn errors_name_types_in_words() {
    let mut context = Context::new();
    context.insert("n", &1);
    context.insert("t", "a");
    context.insert("l", &vec![1, 2]);
    context.insert("m", &std::collections::BTreeMap::from([("a", 1)]));
    let texts = [
        "n >= t",
        "t < n",
        "l > m",
        "n - true",
        "t + 1",
        "-t",
        "t in n",
        "[n, t] | sort",
        "n | reverse",
        "m | int",
        "n | length",
        "none < n",
        "m | abs",
        "t | join(sep=1)",
        "n | upper",
    ];
    let lines = texts.map(|text| {
        let problem = Template::expression(text).unwrap().render(&context).unwrap_err();
        format!("{text} => {}", problem.message)
    });
    insta::assert_snapshot!(lines.join("\n"), @"
    n >= t => cannot compare a number with text
    t < n => cannot compare text with a number
    l > m => cannot compare a list with a map
    n - true => math operations can only be done on numbers, found a boolean
    t + 1 => `+` requires both operands to be numbers, found text and a number
    -t => only numbers can be negated. This is text
    t in n => `in` cannot be used on a number. It can only be used on arrays, strings and maps
    [n, t] | sort => cannot sort: a number and text are not comparable
    n | reverse => a number cannot be reversed
    m | int => a map cannot be converted to an int
    n | length => a number has no length
    none < n => cannot compare nothing with a number
    m | abs => this filter can only be used on a number, received a map
    t | join(sep=1) => invalid type for the value, expected a list but got text
    n | upper => invalid type for the value, expected text but got a number
    ");
}
