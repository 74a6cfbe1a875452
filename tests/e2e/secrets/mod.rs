//! Secrets are generated once, are kept, occur only in their own files, and are never replaced while the old values are in use.

mod access;
mod become_password;
mod leaks;
mod lent;
mod lost;
mod once;
mod outside;
pub mod search;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use crate::harness::TestNode;

/// Where the shipped role keeps its secrets.
const FILE: &str = "etc/autobot/database-secrets.env";

/// Writes a file on the node's disk from outside, so that its content is in no process's arguments.
fn put(node: &TestNode, path: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
    let path = node.root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// A file of the node's disk.
fn got(node: &TestNode, path: &str) -> String {
    fs::read_to_string(node.root.join(path)).unwrap()
}

/// The value of a key in the text of a secrets file.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_else(|| panic!("no {key}"))
}
