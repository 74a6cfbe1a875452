//! Hosts, groups and their raw variables, read from unmodified Ansible inventories.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::controller::Controller;
use crate::source::{Boundary, Diagnostic, Diagnostics, FilesRead, Key, Node, SourceFile, Span, Trust};
use crate::vault::Keyring;

pub mod ansible;
mod draft;
mod dynamic;
mod glob;
mod ini;
mod literal;
mod pattern;
mod range;
mod vars;
mod words;
mod yaml_file;

pub use ansible::Dialect;
pub use pattern::PatternError;
#[cfg(test)]
pub(crate) use pattern::split as pattern_parts;

/// The group of all hosts.
pub const ALL: &str = "all";
/// The group of hosts that are in no other group except `all`.
pub const UNGROUPED: &str = "ungrouped";

/// The argument of one `-i` option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InventorySource {
    /// A file, a program that prints JSON, or a directory of both.
    Path(PathBuf),
    /// Host names separated by commas: `db1,db2`, `db1,`.
    Hosts(String),
}

impl InventorySource {
    /// Returns the argument as a user would write it.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Hosts(names) => names.clone(),
        }
    }

    /// Interprets the argument of `-i` as Ansible does: it is a host list if it has a comma and is not a file.
    #[must_use]
    pub fn from_argument(argument: &str) -> Self {
        if argument.contains(',') && !Path::new(argument).exists() {
            Self::Hosts(argument.to_owned())
        } else {
            Self::Path(PathBuf::from(argument))
        }
    }
}

/// Variables that are defined in the same place.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The file, as users see it: `group_vars/all.yml`.
    pub origin: String,
    /// How Ansible reads its plain values.
    pub dialect: Dialect,
    /// Names and raw values, in the order of the file.
    pub vars: Vec<(Key, Node)>,
}

/// The owner of the variables of a [`Layer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerOwner<'a> {
    /// A group; the variables are in an inventory file.
    Group(&'a str),
    /// A group; the variables are in `group_vars/`.
    GroupVars(&'a str),
    /// The host; the variables are in an inventory file.
    Host,
    /// The host; the variables are in `host_vars/`.
    HostVars,
}

/// A host of the inventory.
#[derive(Debug, Clone)]
pub struct Host {
    /// The name in the inventory; the address is the variable `ansible_host`, if set.
    pub name: String,
    /// Where it is first named.
    pub span: Span,
    /// The groups that list it directly.
    pub groups: Vec<String>,
    inline: Vec<Layer>,
    files: Vec<Layer>,
}

/// A group of the inventory.
#[derive(Debug, Clone)]
pub struct Group {
    /// The name.
    pub name: String,
    /// Where it is first named; `None` if it is not, which is possible for `all` and `ungrouped`.
    pub span: Option<Span>,
    /// Its child groups, in the order of the inventory.
    pub children: Vec<String>,
    /// The groups that list it as a child.
    pub parents: Vec<String>,
    /// The hosts that it lists directly, in the order of the inventory.
    pub hosts: Vec<String>,
    /// The length of the longest path from `all`, whose depth is 0.
    pub depth: usize,
    /// `ansible_group_priority`: among groups of equal depth, the higher priority wins; 1 unless set.
    pub priority: i64,
    inline: Vec<Layer>,
    /// By directory: see [`Inventory::layers`].
    files: Vec<Vec<Layer>>,
}

/// Hosts, groups and variables.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// By name, in the order of the inventory.
    pub hosts: IndexMap<String, Host>,
    /// By name, in the order of the inventory; always with `all` and `ungrouped`.
    pub groups: IndexMap<String, Group>,
    /// Warnings about what is allowed but probably a mistake.
    pub warnings: Vec<Diagnostic>,
    /// The files that it was read from. Of a program, that is its file and not what it prints.
    pub files: FilesRead,
    /// Whose words its hosts and variables are: a stranger's project may be used with an inventory of the operator's own.
    pub trust: Trust,
}

/// Whether one of the sources is a stranger's. A list of hosts is the operator's own words.
#[must_use]
pub fn is_strangers(sources: &[InventorySource], boundary: &Boundary) -> bool {
    sources.iter().any(|source| matches!(source, InventorySource::Path(path) if boundary.is_strangers(path)))
}

impl Inventory {
    /// Reads the sources in order (later values win), and `group_vars/` and `host_vars/` beside them and in `project`.
    ///
    /// # Errors
    /// Returns all errors in all files.
    pub fn load(sources: &[InventorySource], project: &Path) -> Result<Self, Diagnostics> {
        Self::load_with(sources, project, &Keyring::default(), &Controller::default(), &FilesRead::default())
    }

    /// As [`Inventory::load`], with passwords for files that Ansible Vault encrypted, with the surroundings of inventory programs, and within the
    /// boundary of these files. The variables of a stranger's project are read only together with its own inventory: they could say where and
    /// how an operator's hosts are reached.
    ///
    /// # Errors
    /// Returns all errors in all files.
    pub fn load_with(
        sources: &[InventorySource],
        project: &Path,
        keys: &Keyring,
        controller: &Controller,
        files: &FilesRead,
    ) -> Result<Self, Diagnostics> {
        let mut draft = draft::Draft::new(project, files);
        let is_strangers = is_strangers(sources, &files.boundary);
        if is_strangers {
            draft.inventory.trust = Trust::Stranger;
        }
        let mut beside = Vec::new();
        for source in sources {
            match source {
                InventorySource::Hosts(list) => draft.host_list(&SourceFile::new(format!("-i {list}"), list.as_str())),
                InventorySource::Path(path) => {
                    let directory = if path.is_dir() { path.clone() } else { path.parent().unwrap_or(project).to_owned() };
                    beside.push(directory);
                    draft.path(path, 0, controller);
                }
            }
        }
        draft.reconcile();
        if is_strangers || files.boundary.trust == Trust::Own {
            beside.push(project.to_owned());
        } else {
            vars::warn_about_strangers(&mut draft, project);
        }
        vars::read_beside(&mut draft, &beside, keys);
        let draft::Draft { inventory, errors, .. } = draft;
        errors.into_result(inventory)
    }

    /// Returns the hosts that an Ansible host pattern selects, without duplicates and in Ansible's order: `web:db`, `a,b`, `all:!web`,
    /// `web:&staging`, `web*`, `~web\d+`, `web[0]`, `web[1:3]`, `@file`.
    ///
    /// # Errors
    /// A part that matches nothing, or cannot be understood; a selection that is empty.
    pub fn select(&self, pattern: &str) -> Result<Vec<&Host>, PatternError> {
        pattern::select(self, pattern)
    }

    /// Selects like [`Inventory::select`], by a pattern that the project holds: it reads no files.
    ///
    /// # Errors
    /// Those of [`Inventory::select`], and a part that names a file.
    pub fn select_without_files(&self, pattern: &str) -> Result<Vec<&Host>, PatternError> {
        pattern::select_without_files(self, pattern)
    }

    /// Returns the variables of a host, from the weakest to the strongest: groups in the inventory files, `group_vars/` (for
    /// both: `all`, then by depth, priority and name), the host in the inventory files, `host_vars/`. Files beside the
    /// inventory are weaker than those in the project. Empty for an unknown host.
    #[must_use]
    pub fn layers(&self, host: &str) -> Vec<&Layer> {
        self.layers_with_owners(host).into_iter().map(|(_, layer)| layer).collect()
    }

    /// As [`Inventory::layers`], with the owner of each layer.
    #[must_use]
    pub fn layers_with_owners(&self, host: &str) -> Vec<(LayerOwner<'_>, &Layer)> {
        let Some(host) = self.hosts.get(host) else { return Vec::new() };
        let groups = self.groups_of(host);
        let mut layers = Vec::new();
        for group in &groups {
            layers.extend(group.inline.iter().map(|layer| (LayerOwner::Group(&group.name), layer)));
        }
        let (all, others): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.name == ALL);
        for groups in [all, others] {
            let directories = groups.iter().map(|group| group.files.len()).max().unwrap_or_default();
            for directory in 0..directories {
                for group in &groups {
                    let files = group.files.get(directory).into_iter().flatten();
                    layers.extend(files.map(|layer| (LayerOwner::GroupVars(&group.name), layer)));
                }
            }
        }
        layers.extend(host.inline.iter().map(|layer| (LayerOwner::Host, layer)));
        layers.extend(host.files.iter().map(|layer| (LayerOwner::HostVars, layer)));
        layers
    }

    /// Returns the strongest value of a variable of a host.
    #[must_use]
    pub fn variable(&self, host: &str, name: &str) -> Option<&Node> {
        let mut found = self.layers(host).into_iter().rev().flat_map(|layer| layer.vars.iter().rev());
        found.find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// Returns the names of all groups of a host, ancestors included, sorted and without `all`.
    #[must_use]
    pub fn group_names(&self, host: &str) -> Vec<&str> {
        let groups = self.hosts.get(host).map(|host| self.groups_of(host)).unwrap_or_default();
        let names: BTreeSet<&str> = groups.into_iter().map(|group| group.name.as_str()).filter(|name| *name != ALL).collect();
        names.into_iter().collect()
    }

    /// Returns the hosts of a group and its descendants, without duplicates and in Ansible's order. Empty for an unknown group.
    #[must_use]
    pub fn hosts_in_group(&self, group: &str) -> Vec<&str> {
        let (mut seen, mut hosts) = (HashSet::new(), Vec::new());
        for group in self.with_descendants(group) {
            hosts.extend(group.hosts.iter().map(String::as_str).filter(|host| seen.insert(*host)));
        }
        hosts
    }

    /// Returns every group with its hosts, those of its descendants included: Ansible's `groups`.
    #[must_use]
    pub fn hosts_by_group(&self) -> IndexMap<&str, Vec<&str>> {
        self.groups.keys().map(|name| (name.as_str(), self.hosts_in_group(name))).collect()
    }

    /// Returns the group and its descendants, level by level. Ansible walks a level in random order; here it is the order of the files.
    fn with_descendants(&self, group: &str) -> Vec<&Group> {
        let mut ordered: Vec<&Group> = self.groups.get(group).into_iter().collect();
        let mut seen: HashSet<&str> = ordered.iter().map(|group| group.name.as_str()).collect();
        let mut next = 0;
        while let Some(group) = ordered.get(next) {
            let new = group.children.iter().filter(|child| seen.insert(child.as_str()));
            let new: Vec<&Group> = new.filter_map(|child| self.groups.get(child)).collect();
            ordered.extend(new);
            next += 1;
        }
        ordered
    }

    /// Returns the groups of a host and all their ancestors, weakest first.
    fn groups_of(&self, host: &Host) -> Vec<&Group> {
        let mut names: Vec<&str> = host.groups.iter().map(String::as_str).collect();
        let mut seen: HashSet<&str> = names.iter().copied().collect();
        let mut next = 0;
        while let Some(group) = names.get(next).and_then(|name| self.groups.get(*name)) {
            names.extend(group.parents.iter().map(String::as_str).filter(|parent| seen.insert(*parent)));
            next += 1;
        }
        let mut groups: Vec<&Group> = names.into_iter().filter_map(|name| self.groups.get(name)).collect();
        groups.sort_by(|a, b| (a.depth, a.priority, &a.name).cmp(&(b.depth, b.priority, &b.name)));
        groups
    }
}

#[cfg(test)]
pub(crate) mod tests;
