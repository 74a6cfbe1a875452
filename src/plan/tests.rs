//! Whole projects in temporary directories.

mod ansible;
mod bounds;
mod checked;
mod files;
mod habits;
mod lending;
mod mistakes;
mod names;
mod our_role;
mod outside;
mod ports;
mod scale;
mod secrets;
mod selection;
mod shell_text;
mod shell_values;
mod trusted;
mod variables;

use std::path::Path;

use super::*;
use crate::{inventory::InventorySource, vault::Keyring};

/// A project of these files, with one host `db` in the group `database` that has the role `app`.
pub(super) struct Sample {
    dir: tempfile::TempDir,
    pub(super) request: Request,
}

const INVENTORY: &str = "database:\n  hosts:\n    db:\n      ansible_host: 198.18.0.2\n  vars:\n    autobot_roles: [app]\n";

impl Sample {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let request = Request {
            project: dir.path().to_owned(),
            inventories: vec![InventorySource::Path(dir.path().join("inventory"))],
            ..Request::default()
        };
        let sample = Self { dir, request };
        sample.write("inventory/hosts.yml", INVENTORY);
        for (path, text) in files {
            sample.write(path, text);
        }
        sample
    }

    /// The role `app` with these lines.
    pub(super) fn role(text: &str) -> Self {
        Self::new(&[("roles/app/role.yml", text)])
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn load(&self) -> Result<Plan, Diagnostics> {
        load(&self.request)
    }

    /// Returns the errors as `file:line:col: title [help]`, sorted; empty if there are none.
    pub(super) fn errors(&self) -> String {
        let Err(errors) = self.load() else { return String::new() };
        let line = |diagnostic: &Diagnostic| {
            let span = diagnostic.span.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string);
            let help = diagnostic.help.as_deref().map_or_else(String::new, |help| format!(" [{help}]"));
            format!("{span}: {}{help}", diagnostic.title)
        };
        errors.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Returns every task of every host as `id: resource`.
    pub(super) fn tasks(&self, world: &World) -> String {
        let plan = self.load().unwrap_or_else(|errors| panic!("{errors}"));
        let mut lines = Vec::new();
        for role in plan.hosts.iter().flat_map(|host| &host.roles) {
            for step in &role.steps {
                for task in step.expand(world).unwrap_or_else(|errors| panic!("{errors}")) {
                    let action = match task.action {
                        Action::Skip { reason } => format!("skipped, {reason}"),
                        Action::Do(resource) => format!("{resource:?}").replace('\\', ""),
                    };
                    lines.push(format!("{}: {action}", task.id));
                }
            }
        }
        lines.join("\n")
    }

    pub(super) fn stand_in_tasks(&self) -> String {
        self.tasks(&World::stand_in())
    }
}
