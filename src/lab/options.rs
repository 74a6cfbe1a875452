//! The options of a lab, and its status.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Result, bail};

use super::{LabNode, OnMissing};
use crate::controller::Controller;

/// The options of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabOptions {
    /// The ID of the lab on this machine: lower-case letters, digits and dashes.
    pub id: String,
    /// The absolute path where labs and their shared cache are kept (`--lab-dir`), on a filesystem that supports overlays.
    pub dir: PathBuf,
    /// The Debian release of the nodes.
    pub suite: String,
    /// What to do about missing programs.
    pub missing: OnMissing,
    /// How long a node may take to come up.
    pub boot_limit: Duration,
    /// This machine. Programs get its variables and no others, except that `PATH` also has the directories of root's programs, and that
    /// messages are in English. The default has no variables, so programs are found in the usual directories, and no proxy is used.
    pub controller: Arc<Controller>,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            id: "lab".to_owned(),
            dir: "/var/lib/autobot-provision-lab".into(),
            suite: "bookworm".to_owned(),
            missing: OnMissing::Report,
            boot_limit: Duration::from_mins(1),
            controller: Arc::default(),
        }
    }
}

/// A node to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    /// Its name in the inventory.
    pub name: String,
    /// The frozen disk that it starts from (see [`Lab::freeze`]); a bare Debian if `None`.
    pub from: Option<String>,
}

impl NewNode {
    /// Returns a node with a bare Debian.
    #[must_use]
    pub fn bare(name: impl Into<String>) -> Self {
        Self { name: name.into(), from: None }
    }

    /// Returns a copy of a frozen node.
    #[must_use]
    pub fn copy(name: impl Into<String>, frozen: impl Into<String>) -> Self {
        Self { name: name.into(), from: Some(frozen.into()) }
    }
}

/// An empty network namespace with an address, to test from outside which ports of a node are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabClient {
    /// Its name in this lab.
    pub name: String,
    /// Its address, in 198.18.0.0/16.
    pub address: Ipv4Addr,
}

/// Whether a node is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It is running.
    On,
    /// It was powered off, or killed.
    Off,
}

/// What a lab consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabStatus {
    /// The nodes, in the order of their creation.
    pub nodes: Vec<(LabNode, Power)>,
    /// The clients, in the order of their creation.
    pub clients: Vec<LabClient>,
    /// The URL of the published files, if there are any.
    pub url: Option<String>,
}

/// Checks a name, which is used as a host name, as a word of `ssh_config` and as a file name.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if name.is_empty() || name.len() > 63 || name.starts_with(['.', '-']) || !name.chars().all(is_allowed) {
        bail!("`{name}` is not a valid node name: use up to 63 letters, digits, `.`, `_` and `-`");
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
