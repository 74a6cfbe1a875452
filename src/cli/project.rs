//! Finds the project: the directory that holds `roles/`, given or found upwards from the working directory.

use std::path::{Path, PathBuf};

use crate::source::Diagnostic;

/// The project's directory.
///
/// # Errors
/// A directory without `roles/`, or none on the way up.
pub(super) fn find(given: Option<&Path>) -> Result<PathBuf, Diagnostic> {
    if let Some(project) = given {
        if project.join("roles").is_dir() {
            return Ok(project.to_owned());
        }
        return Err(Diagnostic::error(format!("`{}` is not a project: it has no directory `roles`", project.display())));
    }
    let here =
        std::env::current_dir().map_err(|error| Diagnostic::error(format!("cannot tell the working directory: {error}")))?;
    here.ancestors().find(|directory| directory.join("roles").is_dir()).map(Path::to_owned).ok_or_else(|| {
        Diagnostic::error(format!(
            "no project here: neither `{}` nor a directory above it has a directory `roles`",
            here.display()
        ))
        .help("go to the project, or name it with --project DIR")
    })
}
