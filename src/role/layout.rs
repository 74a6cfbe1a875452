//! Roles in the layout that Ansible has: several directories, each with a `main.yml`.

use std::path::Path;

use crate::source::{Boundary, Diagnostic};

/// The files of Ansible's layout, and what becomes of each here.
const FILES: &[(&str, &str)] = &[
    ("tasks", "the list goes under `tasks:`"),
    ("handlers", "the list goes under `handlers:`"),
    ("defaults", "the variables go under `defaults:`"),
    ("vars", "the variables go under `defaults:`"),
    ("meta", "the `dependencies` go under `requires:`"),
];

/// Adds to the error of an unreadable role file what to write, if the role is in Ansible's layout or is empty.
pub(super) fn explain(project: &Path, role: &str, error: Diagnostic, boundary: &Boundary) -> Diagnostic {
    let directory = project.join("roles").join(role);
    let file = directory.join("role.yml");
    if boundary.check(&file).is_err() || file.exists() {
        return error;
    }
    let is_there = |folder: &str| {
        let names = ["main.yml", "main.yaml"].iter().map(|name| format!("{folder}/{name}"));
        names
            .map(|file| (directory.join(&file), file))
            .find(|(path, _)| boundary.check(path).is_ok() && path.is_file())
            .map(|(_, file)| file)
    };
    let mut lines: Vec<String> =
        FILES.iter().filter_map(|(folder, advice)| Some(format!("`roles/{role}/{}`: {advice}", is_there(folder)?))).collect();
    if lines.is_empty() {
        return Diagnostic::error(format!("there is no `roles/{role}/role.yml`"))
            .help("a role is this one file, with `tasks:`, `handlers:` and `defaults:`; docs/ROLES.md begins with a first role");
    }
    let templates = directory.join("templates");
    if boundary.check(&templates).is_ok() && templates.is_dir() {
        lines.push(format!("`roles/{role}/templates/`: its files go to `templates/{role}/` of the project"));
    }
    let title = format!("the role `{role}` is in Ansible's layout: write one file, `roles/{role}/role.yml`");
    Diagnostic::error(title).help(lines.join("\n"))
}

/// Where a template of a role really is, if it is in the directory that Ansible looks in.
pub(crate) fn misplaced_template(project: &Path, role: &str, name: &str, boundary: &Boundary) -> Option<String> {
    let found = format!("roles/{role}/templates/{name}");
    let path = project.join(&found);
    (boundary.check(&path).is_ok() && path.is_file()).then(|| format!("move `{found}` to `templates/{role}/{name}`"))
}
