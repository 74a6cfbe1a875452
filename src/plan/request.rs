//! What is asked for.

use std::{path::PathBuf, sync::Arc};

use crate::{
    controller::Controller,
    inventory::{self, Inventory, InventorySource},
    source::{Boundary, Diagnostics, FilesRead, Trust},
    vault::Keyring,
};

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The directory that holds `roles/` and `templates/`.
    pub project: PathBuf,
    /// Where hosts come from; a later one wins.
    pub inventories: Vec<InventorySource>,
    /// Each `--role`; if empty, the `autobot_roles` of each host count.
    pub roles: Vec<String>,
    /// `--limit`: a host pattern.
    pub limit: Option<String>,
    /// `--tags`.
    pub tags: Vec<String>,
    /// `--skip-tags`.
    pub skip_tags: Vec<String>,
    /// Each `-e`: `k=v`, `@file.yml` or `{json}`.
    pub extra_vars: Vec<String>,
    /// Whether the run reads the health and nothing else: then the secrets of other hosts that no health check uses are not read.
    pub only_health: bool,
    /// Whether the run takes the lock of each node, so that no two hosts may be one node. Otherwise such hosts are warned of.
    pub takes_locks: bool,
    /// The passwords of files and values that Ansible Vault encrypted.
    pub vault: Arc<Keyring>,
    /// The machine that the programs of inventories and secrets run on.
    pub controller: Arc<Controller>,
    /// Whose work the project is.
    pub trust: Trust,
}

impl Request {
    /// Returns a reader of the project's files, which stays in the project if that is a stranger's.
    #[must_use]
    pub fn files(&self) -> FilesRead {
        FilesRead::new(Boundary::new(&self.project, self.trust))
    }

    /// Reads the inventories with this reader.
    ///
    /// # Errors
    /// All errors in all files.
    pub(super) fn inventory(&self, files: &FilesRead) -> Result<Inventory, Diagnostics> {
        Inventory::load_with(&self.inventories, &self.project, &self.vault, &self.controller, files)
    }

    /// Whether hosts and variables are the words of a stranger, and not the operator's.
    #[must_use]
    pub fn has_strangers_inventory(&self) -> bool {
        inventory::is_strangers(&self.inventories, &self.files().boundary)
    }
}
