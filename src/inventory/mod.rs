//! Hosts, groups and their raw variables, from Ansible's inventory files as they stand.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::source::{Diagnostic, Diagnostics, Key, Node, Place, SourceFile};
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

/// The group of all hosts.
pub const ALL: &str = "all";
/// The group of hosts that are in no other group.
pub const UNGROUPED: &str = "ungrouped";

/// One `-i`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InventorySource {
    /// A file, a program that prints JSON, or a directory of both.
    Path(PathBuf),
    /// Host names with commas: `db1,db2`, `db1,`.
    Hosts(String),
}

impl InventorySource {
    /// What Ansible takes the argument of `-i` for: a host list if it has a comma and is no file.
    #[must_use]
    pub fn from_argument(argument: &str) -> Self {
        if argument.contains(',') && !Path::new(argument).exists() {
            Self::Hosts(argument.to_owned())
        } else {
            Self::Path(PathBuf::from(argument))
        }
    }
}

/// Variables that were written together.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The file, as users see it: `group_vars/all.yml`.
    pub origin: String,
    /// What its plain values mean to Ansible.
    pub dialect: Dialect,
    /// Names and raw values, in the order of the file.
    pub vars: Vec<(Key, Node)>,
}

/// Whose variables a [`Layer`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// A group's, in an inventory file.
    Group(&'a str),
    /// A group's, in `group_vars/`.
    GroupVars(&'a str),
    /// The host's, in an inventory file.
    Host,
    /// The host's, in `host_vars/`.
    HostVars,
}

/// A host of the inventory.
#[derive(Debug, Clone)]
pub struct Host {
    /// The name in the inventory; the address is the variable `ansible_host`, if set.
    pub name: String,
    /// Where it is named first.
    pub place: Place,
    /// The groups that list it themselves.
    pub groups: Vec<String>,
    inline: Vec<Layer>,
    files: Vec<Layer>,
}

/// A group of the inventory.
#[derive(Debug, Clone)]
pub struct Group {
    /// The name.
    pub name: String,
    /// Where it is named first; `all` and `ungrouped` need not be.
    pub place: Option<Place>,
    /// Its child groups, in the order of the inventory.
    pub children: Vec<String>,
    /// The groups that list it as a child.
    pub parents: Vec<String>,
    /// The hosts that it lists itself, in the order of the inventory.
    pub hosts: Vec<String>,
    /// The longest way from `all`, which is 0.
    pub depth: usize,
    /// `ansible_group_priority`: of groups of equal depth the higher wins; 1 unless set.
    pub priority: i64,
    inline: Vec<Layer>,
    /// By directory: see [`Inventory::layers`].
    files: Vec<Vec<Layer>>,
}

/// Hosts, groups and variables.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// By name, in the order of the inventory.
    pub hosts: IndexMap<String, Host>,
    /// By name, in the order of the inventory; always with `all` and `ungrouped`.
    pub groups: IndexMap<String, Group>,
    /// What is allowed but looks wrong.
    pub warnings: Vec<Diagnostic>,
}

impl Inventory {
    /// Reads the sources in order (later values win) and `group_vars/` and `host_vars/` beside them and in `project`.
    ///
    /// # Errors
    /// Everything that is wrong in any of the files.
    pub fn load(sources: &[InventorySource], project: &Path) -> Result<Self, Diagnostics> {
        Self::load_with(sources, project, &Keyring::default())
    }

    /// The same with passwords for files that Ansible Vault encrypted.
    ///
    /// # Errors
    /// Everything that is wrong in any of the files.
    pub fn load_with(sources: &[InventorySource], project: &Path, keys: &Keyring) -> Result<Self, Diagnostics> {
        let mut draft = draft::Draft::new(project);
        let mut beside = Vec::new();
        for source in sources {
            match source {
                InventorySource::Hosts(list) => draft.host_list(&SourceFile::new(format!("-i {list}"), list.as_str())),
                InventorySource::Path(path) => {
                    let directory = if path.is_dir() { path.clone() } else { path.parent().unwrap_or(project).to_owned() };
                    beside.push(directory);
                    draft.path(path, 0);
                }
            }
        }
        draft.reconcile();
        vars::read_beside(&mut draft, &beside, project, keys);
        let draft::Draft { inventory, problems, .. } = draft;
        problems.into_result(inventory)
    }

    /// The hosts that an Ansible host pattern selects, each once, in Ansible's order: `web:db`, `a,b`, `all:!web`,
    /// `web:&staging`, `web*`, `~web\d+`, `web[0]`, `web[1:3]`, `@file`.
    ///
    /// # Errors
    /// A part that matches nothing, or cannot be understood; a selection that is empty.
    pub fn select(&self, pattern: &str) -> Result<Vec<&Host>, PatternError> {
        pattern::select(self, pattern)
    }

    /// The variables of a host, from the weakest to the strongest: groups in the inventory files, `group_vars/` (for
    /// both: `all`, then by depth, priority and name), the host in the inventory files, `host_vars/`. Files beside the
    /// inventory are weaker than those in the project. Empty for an unknown host.
    #[must_use]
    pub fn layers(&self, host: &str) -> Vec<&Layer> {
        self.owned_layers(host).into_iter().map(|(_, layer)| layer).collect()
    }

    /// [`Inventory::layers`] with whose they are.
    #[must_use]
    pub fn owned_layers(&self, host: &str) -> Vec<(Whose<'_>, &Layer)> {
        let Some(host) = self.hosts.get(host) else { return Vec::new() };
        let groups = self.groups_of(host);
        let mut layers = Vec::new();
        for group in &groups {
            layers.extend(group.inline.iter().map(|layer| (Whose::Group(&group.name), layer)));
        }
        let (all, others): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.name == ALL);
        for groups in [all, others] {
            let directories = groups.iter().map(|group| group.files.len()).max().unwrap_or_default();
            for directory in 0..directories {
                for group in &groups {
                    let files = group.files.get(directory).into_iter().flatten();
                    layers.extend(files.map(|layer| (Whose::GroupVars(&group.name), layer)));
                }
            }
        }
        layers.extend(host.inline.iter().map(|layer| (Whose::Host, layer)));
        layers.extend(host.files.iter().map(|layer| (Whose::HostVars, layer)));
        layers
    }

    /// The strongest value of a variable of a host.
    #[must_use]
    pub fn variable(&self, host: &str, name: &str) -> Option<&Node> {
        let mut found = self.layers(host).into_iter().rev().flat_map(|layer| layer.vars.iter().rev());
        found.find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// The names of all groups of a host, also of those above, sorted, without `all`.
    #[must_use]
    pub fn group_names(&self, host: &str) -> Vec<&str> {
        let groups = self.hosts.get(host).map(|host| self.groups_of(host)).unwrap_or_default();
        let names: BTreeSet<&str> = groups.into_iter().map(|group| group.name.as_str()).filter(|name| *name != ALL).collect();
        names.into_iter().collect()
    }

    /// The hosts of a group and of the groups below it, each once, in Ansible's order. Empty for an unknown group.
    #[must_use]
    pub fn hosts_of(&self, group: &str) -> Vec<&str> {
        let (mut seen, mut hosts) = (HashSet::new(), Vec::new());
        for group in self.below(group) {
            hosts.extend(group.hosts.iter().map(String::as_str).filter(|host| seen.insert(*host)));
        }
        hosts
    }

    /// Every group with its hosts, those of groups below it included: Ansible's `groups`.
    #[must_use]
    pub fn group_hosts(&self) -> IndexMap<&str, Vec<&str>> {
        self.groups.keys().map(|name| (name.as_str(), self.hosts_of(name))).collect()
    }

    /// The group and everything below it, level by level. Ansible walks a level in random order; we in that of the files.
    fn below(&self, group: &str) -> Vec<&Group> {
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

    /// The groups of a host and all above them, weakest first.
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
mod tests;
