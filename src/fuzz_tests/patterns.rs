//! Host patterns.

use std::sync::LazyLock;

use super::{Target, spans::check_text};
use crate::inventory::{Inventory, InventorySource, pattern_parts};

const PUMPS: &[(&str, &str, &str)] =
    &[("", "[", ""), ("", ":!web", ""), ("", "a,", ""), ("~", "(", ""), ("", "*a", ""), ("web", "[0]", ""), ("~", "a*", "b")];

#[test]
fn fuzz_patterns() {
    let words = &[
        "all",
        "web",
        "db",
        "db1",
        "web1.lan",
        ":",
        ",",
        ":!",
        ":&",
        "!",
        "&",
        "*",
        "~",
        "[0]",
        "[-1]",
        "[1:2]",
        "[1:]",
        "[0-1]",
        "~web\\d+",
        "(a{1000}){1000}",
        "(",
        "|",
        "::1",
        ":22",
        "[!a]",
        "[]]",
        "@/dev/null",
    ];
    Target { name: "patterns", words, pumps: PUMPS, property }.fuzz();
}

static INVENTORY: LazyLock<Inventory> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts");
    let text = "[web]\nweb[1:20].lan\nüml\n[db]\ndb[1:9]\nfe80::1\n[both:children]\nweb\ndb\n";
    std::fs::write(&path, text).unwrap();
    Inventory::load(&[InventorySource::Path(path)], directory.path()).unwrap()
});

fn property(input: &[u8]) {
    let pattern = String::from_utf8_lossy(input);
    // Only the operator's patterns read files.
    let select = |pattern: &str| {
        let hosts = INVENTORY.select_without_files(pattern)?;
        Ok::<_, crate::inventory::PatternError>(hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>())
    };
    let selected = select(&pattern);
    match &selected {
        Ok(hosts) => {
            let mut unique = hosts.clone();
            unique.sort();
            unique.dedup();
            assert!(!hosts.is_empty() && unique.len() == hosts.len(), "{hosts:?}");
        }
        Err(error) => {
            check_text(&error.to_string());
            check_text(error.help.as_deref().unwrap_or_default());
            assert!(pattern.contains(&error.part), "`{}` is not a part of the pattern", error.part);
        }
    }
    // Its parts, written with commas, are the same pattern.
    let parts = pattern_parts(&pattern);
    let printed = parts.join(",") + ",";
    assert_eq!(pattern_parts(&printed), parts);
    match (selected, select(&printed)) {
        (Ok(one), Ok(other)) => assert_eq!(one, other, "`{printed}` selects others"),
        (Err(one), Err(other)) => assert!(one == other || one.part == pattern, "{one:?} and {other:?}"),
        (one, other) => panic!("{one:?}, but `{printed}`: {other:?}"),
    }
}
