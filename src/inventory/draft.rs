//! The inventory while it is being read: its hosts and groups, and the errors found so far.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ALL, Dialect, Group, Host, Inventory, Layer, UNGROUPED, dynamic, ini, range, yaml_file};
use crate::controller::Controller;
use crate::source::{Diagnostic, Diagnostics, FilesRead, Key, Node, Quoting, SourceFile, Span, Yaml, yaml};

/// File names that Ansible skips in a directory of inventories.
const SKIPPED_ENDINGS: [&str; 13] =
    [".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry", ".tera"];
const SKIPPED_NAMES: [&str; 3] = ["host_vars", "group_vars", "vars_plugins"];
/// The deepest nesting of directories; more than this is a loop of links.
const MAX_DIRECTORIES: usize = 16;

pub(super) struct Draft {
    pub(super) inventory: Inventory,
    pub(super) errors: Diagnostics,
    /// The dialect of the file that is being read.
    pub(super) dialect: Dialect,
    project: PathBuf,
    /// How many hosts were named so far, with those of ranges.
    named: usize,
}

impl Draft {
    pub(super) fn new(project: &Path, files: &FilesRead) -> Self {
        let inventory = Inventory { files: files.clone(), ..Inventory::default() };
        let mut draft =
            Self { inventory, errors: Diagnostics::default(), dialect: Dialect::Yaml, project: project.to_owned(), named: 0 };
        draft.group(ALL, None);
        draft.group(UNGROUPED, None);
        draft.link(ALL, UNGROUPED);
        draft
    }

    /// Returns a path as users see it.
    pub(super) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.project).unwrap_or(path).display().to_string()
    }

    /// Reads a file, the output of a program, or a directory of both.
    pub(super) fn path(&mut self, path: &Path, level: usize, controller: &Controller) {
        let shown = self.shown(path);
        if let Err(error) = self.inventory.files.boundary.check(path) {
            self.errors.push(Diagnostic::error(format!("cannot read `{shown}`: {error}")));
        } else if path.is_dir() {
            if level > MAX_DIRECTORIES {
                self.errors.push(Diagnostic::error(format!("directories are nested too deeply at `{shown}`")));
                return;
            }
            match std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                Err(error) => self.errors.push(Diagnostic::error(format!("cannot read `{shown}`: {error}"))),
                Ok(entries) => {
                    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
                    paths.sort();
                    for path in paths.iter().filter(|path| !is_skipped(path)) {
                        self.path(path, level + 1, controller);
                    }
                }
            }
        } else if !path.exists() {
            let help = "name a file, a directory, or a list of hosts with a comma: `-i db1,`";
            self.errors.push(Diagnostic::error(format!("the inventory `{shown}` does not exist")).help(help));
        } else if dynamic::is_program(path) && self.inventory.files.boundary.is_strangers(path) {
            let title =
                format!("`{shown}` is a program of the project, which is not run: the project is not trusted (--untrusted)");
            let help = "name an inventory of your own with `-i`, or read the program and leave `--untrusted` out";
            self.errors.push(Diagnostic::error(title).help(help));
        } else if dynamic::is_program(path) {
            dynamic::load(self, path, &shown, controller);
        } else if let Some(file) = self.errors.keep(self.text(path, &shown, level)) {
            if crate::vault::is_encrypted(&file.text) {
                let span = Span::new(&file, 0..file.text.lines().next().unwrap_or_default().len());
                let error = Diagnostic::error(format!("the inventory `{shown}` is encrypted with Ansible Vault")).at(span);
                self.errors.push(
                    error.help("encrypt the variables in `group_vars/` or `host_vars/`, and leave hosts and groups unencrypted"),
                );
            } else if is_yaml(path, &file) {
                yaml_file::load(self, &file);
            } else {
                ini::load(self, &file);
            }
        }
    }

    /// Reads a text. What the operator names and lies outside the project may be a pipe, as in `-i <(program)` and `-i /dev/null`.
    fn text(&self, path: &Path, shown: &str, level: usize) -> Result<Arc<SourceFile>, Diagnostic> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let directory = path.parent().map(real).unwrap_or_default();
        let is_given = level == 0 && (path.starts_with("/dev") || !directory.starts_with(real(&self.project)));
        if is_given { self.inventory.files.given(path, shown) } else { self.inventory.files.read(path, shown) }
    }

    /// Reads the argument of `-i host,host`.
    pub(super) fn host_list(&mut self, file: &Arc<SourceFile>) {
        let mut start = 0;
        for part in file.text.split(',') {
            let at = start + part.len() - part.trim_start().len();
            let span = Span::new(file, at..at + part.trim().len());
            start += part.len() + 1;
            if !part.trim().is_empty() {
                self.hosts(part.trim(), &span, UNGROUPED, &[]);
            }
        }
    }

    /// Makes sure that a group exists.
    pub(super) fn group(&mut self, name: &str, span: Option<&Span>) {
        if name.is_empty() || name.contains(char::is_control) {
            let error = Diagnostic::error(format!("`{}` is not a valid group name", name.escape_debug()));
            self.errors.push(Diagnostic { span: span.cloned(), ..error });
        }
        let group = self.inventory.groups.entry(name.to_owned()).or_insert_with(|| Group {
            name: name.to_owned(),
            span: None,
            children: Vec::new(),
            parents: Vec::new(),
            hosts: Vec::new(),
            depth: 0,
            priority: 1,
            inline: Vec::new(),
            files: Vec::new(),
        });
        if group.span.is_none() {
            group.span = span.cloned();
        }
    }

    /// Makes one group the child of another. Both must exist.
    pub(super) fn child(&mut self, parent: &str, child: &str, span: &Span) {
        if child == ALL {
            self.errors.push(Diagnostic::error("`all` cannot be a child of another group").at(span.clone()).label("here"));
        } else if parent == child {
            let error = Diagnostic::error(format!("the group `{parent}` contains itself"));
            self.errors.push(error.at(span.clone()).label("here"));
        } else if self.inventory.with_descendants(child).iter().any(|group| group.name == parent) {
            let error = Diagnostic::error(format!("the groups `{parent}` and `{child}` contain each other"));
            let error = error.at(span.clone()).label(format!("`{parent}` is already a descendant of `{child}`"));
            let first = self.inventory.groups.get(parent).and_then(|group| group.span.clone());
            self.errors.push(match first {
                Some(first) => error.also(first, format!("`{parent}` is named here")),
                None => error,
            });
        } else {
            self.link(parent, child);
        }
    }

    fn link(&mut self, parent: &str, child: &str) {
        let groups = &mut self.inventory.groups;
        if let Some(group) = groups.get_mut(parent)
            && !group.children.iter().any(|name| name == child)
        {
            group.children.push(child.to_owned());
            if let Some(group) = groups.get_mut(child) {
                group.parents.push(parent.to_owned());
            }
        }
    }

    /// Adds the hosts of a name, which may contain ranges and a port, with their variables to a group. The group must exist.
    pub(super) fn hosts(&mut self, pattern: &str, span: &Span, group: &str, vars: &[(Key, Node)]) {
        if self.named > range::MAX_HOSTS {
            return;
        }
        let (names, port) = match range::hosts(pattern) {
            Ok(hosts) => hosts,
            Err(error) => return self.errors.push(error.into_diagnostic(span)),
        };
        self.named += names.len();
        if self.named > range::MAX_HOSTS {
            let error = Diagnostic::error(format!("the inventory names hosts more than {} times", range::MAX_HOSTS));
            return self.errors.push(error.at(span.clone()).label("with these"));
        }
        let port = port.map(|port| {
            let digits = span.range.end.saturating_sub(port.to_string().len())..span.range.end;
            let span = Span::new(&span.file, digits);
            let key = Key { name: "ansible_port".to_owned(), span: span.clone() };
            (key, Node { value: Yaml::Int(port.into()), span, quoting: Quoting::Plain, verbatim: false })
        });
        for name in names {
            let is_new = !self.inventory.hosts.contains_key(&name);
            self.host(&name, span, group);
            // As in Ansible, the port counts only where the host is first named.
            if let Some(port) = port.clone().filter(|_| is_new) {
                self.layer(&name, span, vec![port]);
            }
            self.host_vars(&name, span, vars);
        }
    }

    /// Adds variables to a host. If a group has the same name, they are added to the group, as in Ansible.
    pub(super) fn host_vars(&mut self, name: &str, span: &Span, vars: &[(Key, Node)]) {
        if vars.is_empty() {
            return;
        }
        if self.inventory.groups.contains_key(name) {
            self.group_vars(name, &span.file.shown, vars.to_vec());
        } else {
            self.layer(name, span, vars.to_vec());
        }
    }

    fn layer(&mut self, host: &str, span: &Span, vars: Vec<(Key, Node)>) {
        if let Some(host) = self.inventory.hosts.get_mut(host) {
            host.inline.push(Layer { origin: span.file.shown.clone(), dialect: self.dialect, vars });
        }
    }

    /// Adds a host to a group. The group must exist.
    pub(super) fn host(&mut self, name: &str, span: &Span, group: &str) {
        let host = self.inventory.hosts.entry(name.to_owned()).or_insert_with(|| Host {
            name: name.to_owned(),
            span: span.clone(),
            groups: Vec::new(),
            inline: Vec::new(),
            files: Vec::new(),
        });
        if !host.groups.iter().any(|name| name == group)
            && let Some(group) = self.inventory.groups.get_mut(group)
        {
            host.groups.push(group.name.clone());
            group.hosts.push(name.to_owned());
        }
    }

    /// Adds variables to a group. The group must exist.
    pub(super) fn group_vars(&mut self, group: &str, origin: &str, mut vars: Vec<(Key, Node)>) {
        let Some(group) = self.inventory.groups.get_mut(group) else { return };
        for (_, value) in vars.iter().filter(|(key, _)| key.name == "ansible_group_priority") {
            match value.scalar_text().and_then(|text| text.parse().ok()) {
                Some(priority) => group.priority = priority,
                None => self.errors.push(
                    Diagnostic::error("`ansible_group_priority` must be a whole number").at(value.span.clone()).label("here"),
                ),
            }
        }
        // It sets the priority of the group; it is not a variable.
        vars.retain(|(key, _)| key.name != "ansible_group_priority");
        group.inline.push(Layer { origin: origin.to_owned(), dialect: self.dialect, vars });
    }

    /// Completes the inventory as Ansible does after reading: every group is a descendant of `all`, every host is in a group, and `ungrouped` has
    /// only the hosts that are in no other group.
    pub(super) fn reconcile(&mut self) {
        let orphans: Vec<String> =
            self.inventory.groups.values().filter(|group| group.parents.is_empty()).map(|group| group.name.clone()).collect();
        for name in orphans.iter().filter(|name| *name != ALL) {
            self.link(ALL, name);
        }
        let (mut ungrouped_groups, mut grouped) = (Vec::new(), HashSet::new());
        let Inventory { hosts, groups, warnings, .. } = &mut self.inventory;
        for host in hosts.values_mut() {
            let is_grouped = host.groups.iter().any(|group| group != ALL && group != UNGROUPED);
            let is_ungrouped = host.groups.iter().any(|group| group == UNGROUPED);
            if is_grouped == is_ungrouped {
                if is_grouped {
                    host.groups.retain(|group| group != UNGROUPED);
                    grouped.insert(host.name.clone());
                } else if groups.contains_key(&host.name) {
                    ungrouped_groups.push((host.name.clone(), host.span.clone()));
                } else if let Some(ungrouped) = groups.get_mut(UNGROUPED) {
                    host.groups.push(UNGROUPED.to_owned());
                    ungrouped.hosts.push(host.name.clone());
                }
            }
            if let Some(span) = groups.get(&host.name).map(|group| group.span.clone()) {
                let warning = Diagnostic::warning(format!("`{}` is a host and a group", host.name)).at(host.span.clone());
                let warning = warning.label("the host").help(
                    "a pattern with this name selects only the host, and variables written beside the host are set for the group",
                );
                warnings.push(match span {
                    Some(span) => warning.also(span, "the group"),
                    None => warning,
                });
            }
        }
        if let Some(ungrouped) = self.inventory.groups.get_mut(UNGROUPED) {
            ungrouped.hosts.retain(|name| !grouped.contains(name));
        }
        // If such a host has the name of a group, Ansible puts the group into `ungrouped` instead.
        for (name, span) in ungrouped_groups {
            self.child(UNGROUPED, &name, &span);
        }
        self.depths();
    }

    /// Computes the longest path from `all` to each group, parents before children.
    fn depths(&mut self) {
        let groups = &mut self.inventory.groups;
        let mut waiting: HashMap<String, usize> =
            groups.values().map(|group| (group.name.clone(), group.parents.len())).collect();
        let mut ready = vec![ALL.to_owned()];
        while let Some(name) = ready.pop() {
            let Some((depth, children)) = groups.get(&name).map(|group| (group.depth, group.children.clone())) else { continue };
            for child in children {
                if let Some(group) = groups.get_mut(&child) {
                    group.depth = group.depth.max(depth + 1);
                }
                if let Some(parents) = waiting.get_mut(&child) {
                    *parents -= 1;
                    if *parents == 0 {
                        ready.push(child);
                    }
                }
            }
        }
    }
}

fn is_skipped(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.starts_with('.') || SKIPPED_NAMES.contains(&&*name) || SKIPPED_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether a file is YAML: by its extension or, without one, if it looks like YAML or parses as a YAML map.
fn is_yaml(path: &Path, file: &Arc<SourceFile>) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yml" | "yaml" | "json") => return true,
        Some(_) => return false,
        None => {}
    }
    let mut lines = file.text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(['#', ';'])).unwrap_or_default();
    let key = first.split([' ', '=', '#']).next().unwrap_or_default();
    let looks_like_yaml = first == "---" || first.starts_with('{') || key.ends_with(':');
    looks_like_yaml || (!first.starts_with('[') && yaml::parse(file).is_ok_and(|root| root.as_map().is_some()))
}
