//! What a lab is asked for, and what it says that it has.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use anyhow::{Result, bail};

use super::{Missing, Node};

/// Which lab, where, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabOptions {
    /// Tells labs on one machine apart: lower-case letters, digits and dashes.
    pub id: String,
    /// Where labs and the cache they share are kept (`--lab-dir`): absolute, on a disk that can carry an overlay.
    pub dir: PathBuf,
    /// The Debian release that nodes run.
    pub suite: String,
    /// What to do about missing programs.
    pub missing: Missing,
    /// How long a node may take to come up.
    pub boot_limit: Duration,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            id: "lab".to_owned(),
            dir: "/var/lib/autobot-provision-lab".into(),
            suite: "bookworm".to_owned(),
            missing: Missing::Report,
            boot_limit: Duration::from_mins(1),
        }
    }
}

/// A node to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    /// Its name in the inventory.
    pub name: String,
    /// The frozen disk that it starts from (see [`Lab::freeze`]); a bare Debian otherwise.
    pub from: Option<String>,
}

impl NewNode {
    /// A bare node.
    #[must_use]
    pub fn bare(name: impl Into<String>) -> Self {
        Self { name: name.into(), from: None }
    }

    /// A copy of a frozen node.
    #[must_use]
    pub fn copy(name: impl Into<String>, frozen: impl Into<String>) -> Self {
        Self { name: name.into(), from: Some(frozen.into()) }
    }
}

/// A network namespace with an address and nothing in it: to see from outside which ports are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What it is called in this lab.
    pub name: String,
    /// In 198.18.0.0/16.
    pub address: Ipv4Addr,
}

/// Whether a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Its container has a first process.
    On,
    /// Powered off, or killed.
    Off,
}

/// What a lab consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// In the order in which they were made.
    pub nodes: Vec<(Node, Power)>,
    /// In the order in which they were made.
    pub clients: Vec<Client>,
    /// Where the published files are, if any were published.
    pub url: Option<String>,
}

/// Names become host names, words of `ssh_config` and file names.
pub(super) fn check_name(name: &str) -> Result<()> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if name.is_empty() || name.len() > 63 || name.starts_with(['.', '-']) || !name.chars().all(fits) {
        bail!("`{name}` cannot be the name of a node: use up to 63 letters, digits, `.`, `_` and `-`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_be_a_path_or_an_option() {
        for name in ["", ".", "..", "../x", "-F", "a/b", "a b", "a\nb", "*", &"a".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("database_vm").is_ok() && check_name("db1.example").is_ok());
    }
}
