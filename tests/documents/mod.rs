//! The files that a document shows, so that tests can try them.

use std::{fs, path::Path};

/// The first role of docs/ROLES.md: its files by their paths. A block of code that is a file says so: `title="PATH"`.
pub(crate) fn first_role() -> Vec<(String, String)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ROLES.md")).unwrap();
    let mut files = Vec::new();
    for (number, block) in text.split("\n```").enumerate() {
        let Some((head, body)) = block.split_once('\n') else { continue };
        if number % 2 == 1
            && let Some((_, title)) = head.split_once("title=\"")
        {
            files.push((title.trim_end_matches('"').to_owned(), format!("{body}\n")));
        }
    }
    assert_eq!(files.len(), 3, "a role, a template and an inventory");
    files
}
