//! The reader of YAML.

use super::{
    Target,
    spans::{check_diagnostics, check_node},
};
use crate::source::{SourceFile, yaml};

const PUMPS: &[(&str, &str, &str)] = &[
    ("", "[", ""),
    ("", "- ", ""),
    ("", "a: {", ""),
    ("", "a: 1\n", ""),
    ("a: \"", "\\n", "\""),
    ("a:\n", "  - b\n", ""),
    ("a: &a [x]\nb: [", "*a, ", "]"),
    ("", "? ", ""),
    ("", "#\n", "x"),
    ("a: |\n", "  x\n", ""),
];

#[test]
fn fuzz_yaml() {
    let words = &[
        "---\n",
        "...\n",
        "? ",
        "! ",
        "!!int ",
        "!!str ",
        "!unsafe ",
        "!vault |\n",
        "&a ",
        "*a",
        "<<: ",
        "|\n  ",
        ">-\n  ",
        "|9",
        "%YAML 1.2\n",
        "[",
        "]",
        "{",
        "}",
        "- - - ",
        "a: b\n",
        "\"\\u0000\"",
        "\"\\x",
        "'it''s'",
        "0644",
        "1.10",
        "2024-01-01",
        ".inf",
        "{{ x }}",
    ];
    Target { name: "yaml", words, pumps: PUMPS, property }.fuzz();
}

fn property(input: &[u8]) {
    let file = SourceFile::new("fuzz.yml", String::from_utf8_lossy(input));
    match yaml::parse(&file) {
        Ok(node) => {
            check_node(&node);
            assert!(
                yaml::parse(&file) == Ok(node.clone()) || format!("{node:?}").contains("NaN"),
                "read differently when read again"
            );
        }
        Err(error) => check_diagnostics(&error.into()),
    }
}
