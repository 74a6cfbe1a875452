//! What Ansible Vault encrypted: its envelope, and the plain text of a whole file.

use super::{
    Target,
    spans::{check_diagnostics, check_node, check_text},
};
use crate::{
    source::{Node, Yaml},
    vault,
};

const PUMPS: &[(&str, &str, &str)] =
    &[("", "- ", ""), ("$ANSIBLE_VAULT;1.1;AES256\n", "30\n", ""), ("", "é: ", ""), ("", "a: 1\n", ""), ("", "{a: ", "")];

#[test]
fn fuzz_vault() {
    let words = &[
        "$ANSIBLE_VAULT;",
        "1.1;",
        "1.2;",
        "AES256",
        ";label",
        "\n",
        "0a",
        "30613061",
        "a: b\n",
        "- ",
        "password: ",
        "\"{{ x }}\"",
        "!unsafe ",
        "*a",
        "&a ",
        "<<: ",
    ];
    Target { name: "vault", words, pumps: PUMPS, property }.fuzz();
}

fn property(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Err(error) = vault::check(&text) {
        check_text(&error.to_string());
    }
    // The same bytes as the plain text of a file.
    match vault::read_plain("fuzz.yml", &text) {
        Ok(node) => {
            check_node(&node);
            assert!(is_sealed(&node), "something is not a secret");
        }
        Err(error) => {
            // A word that no message of this program holds.
            assert!(!text.contains("canary") || !format!("{} {}", error.title, error.label).contains("canary"), "{error:?}");
            check_diagnostics(&error.into());
        }
    }
}

/// Whether all texts and numbers are secrets, also in the text that messages show.
fn is_sealed(node: &Node) -> bool {
    match &node.value {
        Yaml::Null | Yaml::Bool(_) | Yaml::Vaulted(_) => true,
        Yaml::Int(_) | Yaml::Float(_) => false,
        Yaml::Str(_) => node.as_bool().is_some(),
        Yaml::Seq(items) => items.iter().all(is_sealed),
        Yaml::Map(entries) => entries.iter().all(|(_, value)| is_sealed(value)),
    }
}
