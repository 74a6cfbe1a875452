use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    #[serde(alias = "port")]
    Left,
    Right,
}
words!(Side);

parameters! {
    #[derive(Debug)]
    struct Inner {
        /// Which side.
        side: Side,
    }
}

parameters! {
    #[derive(Debug)]
    struct Shared {
        /// A number.
        count | number: u16 = 3,
    }
}

parameters! {
    #[derive(Debug)]
    struct Outer {
        /// The parts.
        parts as type: Vec<Inner> = [],
        /// Spliced in.
        shared: Shared,
        /// May be left out.
        note: Option<String>,
    }
}

fn error(value: Value) -> String {
    match Outer::read(value).unwrap_err() {
        ParamError::Parameter { path, message } => format!("{path:?} {message}"),
        ParamError::Word { path, word } => format!("{path:?} {word}"),
        ParamError::File(_) => unreachable!(),
    }
}

#[test]
fn parameters_have_names_defaults_and_spliced_parts() {
    let outer = Outer::read(json!({})).unwrap();
    assert_eq!((outer.parts.len(), outer.shared.count, outer.note), (0, 3, None));
    let outer = Outer::read(json!({"type": [{"side": "port"}], "number": 4, "note": null})).unwrap();
    assert_eq!((&outer.parts[0].side, outer.shared.count), (&Side::Left, 4));
    let declared = |one: &Parameter| (one.names().collect::<Vec<_>>().join(" "), one.required, one.default.clone());
    assert_eq!(
        Outer::declared().iter().map(declared).collect::<Vec<_>>(),
        [
            ("type".to_owned(), false, Some(json!([]))),
            ("count number".to_owned(), false, Some(json!(3))),
            ("note".to_owned(), false, None),
        ]
    );
    assert!(Inner::declared()[0].required);
}

#[test]
fn errors_have_the_path_to_the_wrong_value() {
    insta::assert_snapshot!(
        [
            json!({"typ": []}),
            json!({"parts": []}),
            json!({"type": [{"side": "left"}, {}]}),
            json!({"type": [{"side": "up"}]}),
            json!({"type": [{"side": "left", "more": 1}]}),
            json!({"count": 1, "number": 2}),
            json!({"number": 70000}),
            json!({"note": [5]}),
        ]
        .map(error)
        .join("\n"),
        @r#"
    [Key("typ")] unknown parameter, expected one of `type`, `count`, `note`
    [Key("parts")] unknown parameter, expected one of `type`, `count`, `note`
    [Key("type"), Index(1)] `side` is missing
    [Key("type"), Index(0), Key("side")] `up` is not one of `left`, `port`, `right`
    [Key("type"), Index(0), Key("more")] unknown parameter, expected one of `side`
    [Key("number")] is another name of `count`, which is given, too
    [Key("number")] `70000` is not a whole number from 0 to 65535
    [Key("note")] invalid type: sequence, expected a string
    "#
    );
}

#[test]
fn an_enums_words_are_those_that_it_is_read_from() {
    assert_eq!(words_of::<Side>().iter().copied().collect::<std::collections::BTreeSet<_>>(), ["left", "port", "right"].into());
}
