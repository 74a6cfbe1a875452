//! Finds the project: the directory that holds `roles/`, given or found upwards from the working directory.

use std::path::{Path, PathBuf};

use crate::{
    inventory::InventorySource,
    source::{Diagnostic, Trust},
};

/// The project that the command line names.
#[derive(Clone, Copy)]
pub(super) struct GivenProject<'a> {
    /// Its directory; found upwards from the working directory if not given.
    pub(super) directory: Option<&'a Path>,
    /// Whose work it is.
    pub(super) trust: Trust,
}

/// The project's directory.
///
/// # Errors
/// A directory without `roles/`, or none on the way up.
pub(super) fn find(project_arg: Option<&Path>) -> Result<PathBuf, Diagnostic> {
    if let Some(project) = project_arg {
        if project.join("roles").is_dir() {
            return Ok(project.to_owned());
        }
        return Err(Diagnostic::error(format!("`{}` is not a project: it has no directory `roles`", project.display())));
    }
    let here = here()?;
    here.ancestors().find(|directory| directory.join("roles").is_dir()).map(Path::to_owned).ok_or_else(|| {
        Diagnostic::error(format!(
            "no project here: neither `{}` nor a directory above it has a directory `roles`",
            here.display()
        ))
        .help("go to the project's directory, or name it with `--project DIR`")
    })
}

/// The project's directory, for commands that need no roles: with an inventory of their own they work anywhere. Outside of a project it is the
/// working directory, where `group_vars` and `host_vars` may be.
///
/// # Errors
/// As [`find`], unless `inventories` names one and no project is named.
pub(super) fn find_for(project_arg: Option<&Path>, inventories: &[String]) -> Result<PathBuf, Diagnostic> {
    match find(project_arg) {
        Err(_) if project_arg.is_none() && !inventories.is_empty() => here(),
        Err(error) if project_arg.is_none() => Err(error.help(
            "go to the project's directory, name it with `--project DIR`, or name an inventory with `-i`, which works anywhere",
        )),
        found => found,
    }
}

/// The given inventories, or the project's own.
pub(super) fn inventories(project: &Path, given: &[String]) -> Vec<InventorySource> {
    let own = || vec![InventorySource::Path(PathBuf::from(project).join("inventory"))];
    if given.is_empty() { own() } else { given.iter().map(|argument| InventorySource::from_argument(argument)).collect() }
}

fn here() -> Result<PathBuf, Diagnostic> {
    std::env::current_dir().map_err(|error| Diagnostic::error(format!("cannot determine the working directory: {error}")))
}
