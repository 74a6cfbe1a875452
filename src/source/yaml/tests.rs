//! The reading of YAML, by example.

use super::*;

fn node(text: &str) -> Node {
    parse(&SourceFile::new("a.yml", text)).unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str) -> String {
    parse(&SourceFile::new("a.yml", text)).unwrap_err().render(false)
}

/// Collects every node and key as `line:col text`.
fn places(node: &Node, into: &mut Vec<String>) {
    into.push(format!("{}:{} {:?}", node.span.line_col().0, node.span.line_col().1, node.spelling()));
    match &node.value {
        Yaml::Seq(items) => items.iter().for_each(|item| places(item, into)),
        Yaml::Map(entries) => {
            for (key, value) in entries {
                into.push(format!("{}:{} {:?}=", key.span.line_col().0, key.span.line_col().1, key.span.text()));
                places(value, into);
            }
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) => {}
    }
}

fn shown(text: &str) -> String {
    let mut lines = Vec::new();
    places(&node(text), &mut lines);
    lines.join("\n")
}

#[test]
fn places_are_right_in_blocks_flows_and_after_multibyte_characters() {
    insta::assert_snapshot!(shown("näme: {ü: 'ä b', c: [1,  \"é\"]}\nlist:\n  - x\n  - y: z\n\n# end\n"), @r##"
    1:1 "näme: {ü: 'ä b', c: [1,  \"é\"]}\nlist:\n  - x\n  - y: z"
    1:1 "näme"=
    1:7 "{ü: 'ä b', c: [1,  \"é\"]}"
    1:8 "ü"=
    1:11 "'ä b'"
    1:18 "c"=
    1:21 "[1,  \"é\"]"
    1:22 "1"
    1:26 "\"é\""
    2:1 "list"=
    3:3 "- x\n  - y: z"
    3:5 "x"
    4:5 "y: z"
    4:5 "y"=
    4:8 "z"
    "##);
}

#[test]
fn places_are_right_with_carriage_returns() {
    insta::assert_snapshot!(shown("ä: 1\r\nb:\r\n  - c d\r\n  - |\r\n    x\r\n    y\r\nz: e\r\n"), @r##"
    1:1 "ä: 1\r\nb:\r\n  - c d\r\n  - |\r\n    x\r\n    y\r\nz: e"
    1:1 "ä"=
    1:4 "1"
    2:1 "b"=
    3:3 "- c d\r\n  - |\r\n    x\r\n    y\r\n"
    3:5 "c d"
    5:5 "x\r\n    y\r\n"
    7:1 "z"=
    7:4 "e"
    "##);
}

#[test]
fn places_are_right_for_block_scalars_and_omitted_values() {
    insta::assert_snapshot!(shown("a: |\n  one\n  two\n\nb: >-\n  three\nc:\nd: [ a , ]\ne:\n-\n- x\nf: \"\"\n").replace("\\n", "\n"), @r##"
    1:1 "a: |
      one
      two

    b: >-
      three
    c:
    d: [ a , ]
    e:
    -
    - x
    f: \"\""
    1:1 "a"=
    2:3 "one
      two

    "
    5:1 "b"=
    6:3 "three
    "
    7:1 "c"=
    7:2 ""
    8:1 "d"=
    8:4 "[ a , ]"
    8:6 "a"
    9:1 "e"=
    10:1 "-
    - x"
    10:2 ""
    11:3 "x"
    12:1 "f"=
    12:4 "\"\""
    "##);
}

#[test]
fn places_are_right_after_anchors_and_tags_and_an_alias_has_the_place_of_its_value() {
    insta::assert_snapshot!(shown("l:\n- 1\n-\nm:\n  -\n  - - q\nn: &s\n- 1\na: &x  one\nb: *x\nc: !!str 5\nd: &m {k: v}\ne: *m\n"), @r##"
    1:1 "l:\n- 1\n-\nm:\n  -\n  - - q\nn: &s\n- 1\na: &x  one\nb: *x\nc: !!str 5\nd: &m {k: v}\ne: *m"
    1:1 "l"=
    2:1 "- 1\n-"
    2:3 "1"
    3:2 ""
    4:1 "m"=
    5:3 "-\n  - - q"
    5:4 ""
    6:5 "- q"
    6:7 "q"
    7:1 "n"=
    8:1 "- 1"
    8:3 "1"
    9:1 "a"=
    9:8 "one"
    10:1 "b"=
    9:8 "one"
    11:1 "c"=
    11:10 "5"
    12:1 "d"=
    12:7 "{k: v}"
    12:8 "k"=
    12:11 "v"
    13:1 "e"=
    12:7 "{k: v}"
    12:8 "k"=
    12:11 "v"
    "##);
}

#[test]
fn numbers_keep_the_spelling_of_the_author() {
    let spelled: Vec<String> =
        node("[0644, 1.10, 1e3, 0x1F, 1_000, +5, .5, .inf, 12:30, 2026-11-20, 1.5, 10, -3, '10', 99999999999999999999]")
            .as_seq()
            .unwrap()
            .iter()
            .map(|item| format!("{:?} {:?} {}", item.value, item.quoting, item.spelling()))
            .collect();
    insta::assert_snapshot!(spelled.join("\n"), @r##"
    Str("0644") Plain 0644
    Str("1.10") Plain 1.10
    Str("1e3") Plain 1e3
    Str("0x1F") Plain 0x1F
    Str("1_000") Plain 1_000
    Str("+5") Plain +5
    Str(".5") Plain .5
    Str(".inf") Plain .inf
    Str("12:30") Plain 12:30
    Str("2026-11-20") Plain 2026-11-20
    Float(1.5) Plain 1.5
    Int(10) Plain 10
    Int(-3) Plain -3
    Str("10") Quoted '10'
    Str("99999999999999999999") Plain 99999999999999999999
    "##);
}

#[test]
fn booleans_are_read_as_ansible_reads_them() {
    let bools = |text: &str| node(text).as_seq().unwrap().iter().map(Node::as_bool).collect::<Vec<_>>();
    assert_eq!(bools("[true, True, yes, On, off, NO, FALSE]"), [true, true, true, true, false, false, false].map(Some));
    assert_eq!(bools("['yes', \"true\", y, 1, ~]"), [None; 5]);
    assert_eq!(node("yes").value, Yaml::Str("yes".into()));
}

#[test]
fn an_empty_file_is_null_and_one_document_may_have_its_markers() {
    for text in ["", "# only a comment\n", "---\n", "---\n...\n", "\n\n"] {
        assert_eq!(node(text).value, Yaml::Null, "{text:?}");
    }
    assert_eq!(node("---\na: 1\n...\n").get("a").unwrap().value, Yaml::Int(1));
}

#[test]
fn a_second_document_is_refused() {
    insta::assert_snapshot!(error("a: 1\n---\nb: 2\n"), @r##"
    error: a second document in one file
     --> a.yml:2:1
      |
    2 | ---
      | ^^^ starts here
      |
      = help: move it to a file of its own
    "##);
}

#[test]
fn a_duplicate_key_is_shown_at_both_places() {
    insta::assert_snapshot!(error("a:\n  port: 1\n  host: x\n  port: 2\n"), @r##"
    error: duplicate key `port`
     --> a.yml:4:3
      |
    4 |   port: 2
      |   ^^^^ defined again here
      |
     ::: a.yml:2:3
      |
    2 |   port: 1
      |   ---- first defined here
    "##);
    assert!(error("{1: a, '1': b}").starts_with("error: duplicate key `1`"));
}

#[test]
fn merge_keys_add_what_the_map_does_not_define_itself() {
    let merged = node("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  y: 3\n  <<: [*b, *a]\nd: {<<: *a}\ne: {'<<': 1}\n");
    let names = |name: &str| {
        let entries = merged.get(name).unwrap().as_map().unwrap();
        entries.iter().map(|(key, value)| format!("{}={}", key.name, value.spelling())).collect::<Vec<_>>().join(" ")
    };
    assert_eq!([names("c"), names("d"), names("e")], ["y=3 z=2 x=1", "x=1 y=1", "<<=1"]);
    insta::assert_snapshot!(error("a: {<<: 5}"), @r##"
    error: `<<` takes a map or a list of maps
     --> a.yml:1:9
      |
    1 | a: {<<: 5}
      |         ^ not a map
    "##);
}

#[test]
fn keys_that_are_not_text_become_their_spelling() {
    let keys = node("{1: a, true: b, 0644: c, 'd': e, 1.10: f}");
    let names: Vec<&str> = keys.as_map().unwrap().iter().map(|(key, _)| key.name.as_str()).collect();
    assert_eq!(names, ["1", "true", "0644", "d", "1.10"]);
    assert!(error("[a]: b").starts_with("error: a key must be text"));
    assert!(error("? \n: b").starts_with("error: a key must be text"));
    for word in ["Null", "null", "NULL", "~"] {
        let said = error(&format!("{word}: b"));
        assert!(said.starts_with(&format!("error: a key must be text, but YAML reads `{word}` as nothing\n")), "{said}");
        assert!(said.contains(&format!("quote it: `\"{word}\":`")), "{said}");
        assert_eq!(node(&format!("\"{word}\": b")).as_map().unwrap()[0].0.name, word);
    }
}

#[test]
fn an_expression_without_quotes_is_explained() {
    insta::assert_snapshot!(error("redis:\n  port: {{ redis_port }} # x\n"), @r##"
    error: an expression without quotes
     --> a.yml:2:9
      |
    2 |   port: {{ redis_port }} # x
      |         ^^^^^^^^^^^^^^^^ YAML reads this as a map
      |
      = help: quote it: `"{{ name }}"`
    "##);
}

#[test]
fn tags_are_honoured_or_refused_but_never_ignored() {
    assert!(node("a: !unsafe '{{ x }}'").get("a").unwrap().verbatim);
    assert!(node("!unsafe [x]").as_seq().unwrap()[0].verbatim);
    assert_eq!(node("!!str 5").value, Yaml::Str("5".into()));
    assert!(error("!!int five").starts_with("error: the value does not match its tag `!!int`"));
    assert!(error("!Ref x").starts_with("error: unknown tag `!Ref`"));
    assert!(error("!!binary aGk=").starts_with("error: unknown tag `!!binary`"));
    let sealed = |text: &str| Yaml::Vaulted(Vaulted::Encrypted(text.into()));
    let encrypted = node("a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6139\nb: {__ansible_vault: \"x\\ny\"}\n");
    assert_eq!(encrypted.get("a").unwrap().value, sealed("$ANSIBLE_VAULT;1.1;AES256\n6139\n"));
    assert_eq!(encrypted.get("b").unwrap().value, sealed("x\ny"));
    // It is not a string, so that nothing mistakes it for one.
    assert_eq!(encrypted.get("a").unwrap().scalar_text(), None);
    insta::assert_snapshot!(error("redis_password: !vault [a]"), @"
    error: `!vault` marks a single value that Ansible Vault encrypted
     --> a.yml:1:17
      |
    1 | redis_password: ********
      |                 ^^^^^^^^ this is not such a value
      |
      = help: `ansible-vault encrypt_string` prints such a value; whole files need no tag
    ");
}

#[test]
fn alias_bombs_are_refused_quickly() {
    let mut wide = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned()];
    for level in 1..20 {
        let alias = vec![format!("*a{}", level - 1); 10].join(", ");
        wide.push(format!("a{level}: &a{level} [{alias}]\n"));
    }
    assert!(error(&wide.concat()).starts_with("error: aliases repeat too much"), "{}", error(&wide.concat()));
    let large = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 1000].join(", "));
    assert!(error(&large).starts_with("error: aliases repeat too much"));
    let deep: Vec<String> = (1..200).map(|level| format!("a{level}: &a{level} [*a{}]\n", level - 1)).collect();
    assert!(error(&format!("a0: &a0 x\n{}", deep.concat())).starts_with("error: nested deeper than 64 levels"));
    assert!(error("a: &a [*a]").starts_with("error: an alias inside its own anchor"));
}

#[test]
fn deep_nesting_is_refused() {
    assert!(error(&"[".repeat(100_000)).starts_with("error: "));
    assert!(error(&format!("{}{}", "[".repeat(70), "]".repeat(70))).starts_with("error: nested deeper than 64 levels"));
    assert!(error(&"- ".repeat(100_000)).starts_with("error: "));
    node(&format!("{}{}", "[".repeat(60), "]".repeat(60)));
}

#[test]
fn syntax_errors_have_places() {
    insta::assert_snapshot!([error("a: [1, 2\nb: 3\n"), error("a: 'x\n"), error("a: b: c\n"), error("a: *nope\n"), error("a:\n\t- b\n"), error("é: \"\\q\"")].join("\n\n"), @r##"
    error: not valid YAML
     --> a.yml:2:2
      |
    2 | b: 3
      |  ^ illegal placement of ':' indicator

    error: not valid YAML
     --> a.yml:2:1
      |
    2 |
      | ^ invalid indentation in multiline quoted scalar

    error: not valid YAML
     --> a.yml:1:5
      |
    1 | a: b: c
      |     ^ mapping values are not allowed in this context

    error: not valid YAML
     --> a.yml:1:4
      |
    1 | a: *nope
      |    ^ while parsing node, found unknown anchor

    error: not valid YAML
     --> a.yml:2:2
      |
    2 |     - b
      |     ^ tabs disallowed within this context (block indentation)

    error: not valid YAML
     --> a.yml:1:4
      |
    1 | é: "\q"
      |    ^ while parsing a quoted scalar, found unknown escape character
    "##);
}

#[test]
fn hostile_bytes_do_not_panic() {
    for text in [
        "\0",
        "a: \0",
        "\u{feff}a: 1",
        "a: \u{85}\u{2028}b",
        "%YAML 9.9\n---\na",
        "&a",
        "*a",
        "? ? ?",
        "- - -\n -",
        "!",
        "!<x",
        "{",
        "}",
        "]",
        ",",
        "a: |9\n x",
    ] {
        let _ = parse(&SourceFile::new("a.yml", text));
    }
}

/// Asserts that every place is inside the file and on character boundaries.
fn check_places(node: &Node, text: &str) {
    assert!(text.get(node.span.range.clone()).is_some(), "{text:?} {:?}", node.span.range);
    for item in node.as_seq().unwrap_or_default() {
        check_places(item, text);
    }
    for (key, value) in node.as_map().unwrap_or_default() {
        assert!(text.get(key.span.range.clone()).is_some_and(|name| !name.is_empty()), "{text:?} {:?}", key.span.range);
        check_places(value, text);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]
    #[test]
    fn no_text_causes_a_panic_or_a_place_outside_of_it(text in "[-\\[\\]{}:,&*!|>'\"#%@?~< \r\nabé\u{1F600}0.]{0,60}") {
        match parse(&SourceFile::new("a.yml", text.as_str())) {
            Ok(node) => check_places(&node, &text),
            Err(error) => drop((error.render(false), error.to_json())),
        }
    }

    #[test]
    fn quoted_text_is_returned_whole_with_its_place(text in "[^\\p{C}\u{2028}\u{2029}]{0,20}", before in "[a-zé]{0,5}") {
        let written = format!("'{}'", text.replace('\'', "''"));
        let node = node(&format!("{{ x{before}: 1, k{before}: {written} }}"));
        let value = &node.as_map().unwrap()[1].1;
        assert_eq!((value.as_str(), value.spelling()), (Some(text.as_str()), written.as_str()));
    }
}

#[test]
fn many_short_values_take_no_more_memory_than_is_allowed() {
    let words = "the values of this file take more than 64 MiB";
    let list = |count: usize| format!("[{}0]", "0,".repeat(count));
    assert!(error(&list(600_000)).contains(words));
    // An anchor keeps a copy, and so does the anchor around it.
    let anchored = format!("{}{}{}", "[&a ".repeat(50), list(20_000), "]".repeat(50));
    assert!(error(&anchored).contains(words));
    node(&format!("- {}\n", "x".repeat(10 << 20)));
    node(&list(20_000));
}
