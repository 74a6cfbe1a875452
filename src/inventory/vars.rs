//! Reads `group_vars/` and `host_vars/`, beside the inventory and in the project.

use std::path::{Path, PathBuf};

use super::draft::Draft;
use super::{Dialect, Layer};
use crate::source::{Boundary, Diagnostic, did_you_mean, yaml};
use crate::vault::{self, Keyring};

/// File name endings in Ansible's order. The first file that exists is read; the others are not.
const ENDINGS: [&str; 4] = ["", ".yml", ".yaml", ".json"];
/// The deepest nesting of directories; more than this is a loop of links.
const MAX_DIRECTORIES: usize = 16;

/// Reads the variables in these directories; a later one wins.
pub(super) fn read_beside(draft: &mut Draft, beside: &[PathBuf], keys: &Keyring) {
    let mut directories = Vec::<PathBuf>::new();
    let real = |directory: &Path| directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    for directory in beside.iter().map(PathBuf::as_path) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        // Ansible reads a directory each time it is named, and the last reading wins.
        directories.retain(|known| real(known) != real(directory));
        directories.push(directory.to_owned());
    }
    let groups: Vec<String> = draft.inventory.groups.keys().cloned().collect();
    let hosts: Vec<String> = draft.inventory.hosts.keys().cloned().collect();
    for directory in directories {
        let (group_vars, host_vars) = (directory.join("group_vars"), directory.join("host_vars"));
        // Each directory that must not be read is one error, not one for each group and host.
        if !may_be_read(draft, &group_vars) || !may_be_read(draft, &host_vars) {
            continue;
        }
        for name in &groups {
            let layers = layers(draft, &group_vars, name, keys);
            if let Some(group) = draft.inventory.groups.get_mut(name) {
                group.files.push(layers);
            }
        }
        for name in &hosts {
            let layers = layers(draft, &host_vars, name, keys);
            if let Some(host) = draft.inventory.hosts.get_mut(name) {
                host.files.extend(layers);
            }
        }
        warn_about_unknown(draft, &group_vars, &groups, "group");
        warn_about_unknown(draft, &host_vars, &hosts, "host");
    }
}

/// Warns about the variables of a stranger's project, which are not read.
pub(super) fn warn_about_strangers(draft: &mut Draft, project: &Path) {
    for name in ["group_vars", "host_vars"] {
        // Not whether it exists: that could be asked about what a link leads to.
        if draft.inventory.files.names_in(project).iter().any(|there| there == name) {
            let warning =
                Diagnostic::warning(format!("`{name}/` of the project is not read, because the project is not trusted"));
            let help = "put it beside the inventory that `-i` names if its variables are needed; they could say where to connect";
            draft.inventory.warnings.push(warning.help(help));
        }
    }
}

/// Whether a path may be read; one that may not is an error.
fn may_be_read(draft: &mut Draft, path: &Path) -> bool {
    let checked = draft.inventory.files.boundary.check(path);
    let shown = draft.shown(path);
    draft.errors.keep(checked.map_err(|error| Diagnostic::error(format!("cannot read `{shown}`: {error}")))).is_some()
}

/// Returns the variables in the files of one group or host.
fn layers(draft: &mut Draft, directory: &Path, name: &str, keys: &Keyring) -> Vec<Layer> {
    // A name must not be used as a path.
    if name.contains('/') || name.starts_with('.') {
        return Vec::new();
    }
    let named = ENDINGS.iter().map(|ending| directory.join(format!("{name}{ending}")));
    let mut found = named.filter(|path| may_be_read(draft, path) && path.exists()).collect::<Vec<_>>().into_iter();
    let Some(first) = found.next() else { return Vec::new() };
    for unread in found {
        let (unread, first) = (draft.shown(&unread), draft.shown(&first));
        let warning = Diagnostic::warning(format!("`{unread}` is not read, because `{first}` exists"));
        draft.inventory.warnings.push(warning.help(format!("move it into the directory `{first}/`")));
    }
    let mut files = Vec::new();
    if let Err(error) = files_in(&first, 0, &draft.inventory.files.boundary, &mut files) {
        let shown = draft.shown(&first);
        draft.errors.push(Diagnostic::error(format!("cannot read `{shown}`: {error}")));
    }
    files.iter().filter_map(|file| layer(draft, file, keys)).collect()
}

/// Collects the file itself, or the files of a directory in the order in which Ansible reads them.
fn files_in(path: &Path, level: usize, boundary: &Boundary, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    // What must not be read is not looked at either; reading it names it.
    if boundary.check(path).is_err() || !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if level > MAX_DIRECTORIES {
        return Err(std::io::Error::other("directories are nested too deeply"));
    }
    let mut paths = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
        let is_wanted = if boundary.check(&path).is_err() {
            true
        } else if path.is_dir() {
            ending.is_empty()
        } else {
            ENDINGS.contains(&ending.as_str())
        };
        if is_wanted && !name.starts_with('.') && !name.ends_with('~') {
            files_in(&path, level + 1, boundary, files)?;
        }
    }
    Ok(())
}

fn layer(draft: &mut Draft, path: &Path, keys: &Keyring) -> Option<Layer> {
    let shown = draft.shown(path);
    let file = draft.errors.keep(draft.inventory.files.read(path, &shown))?;
    let parsed = if vault::is_encrypted(&file.text) { vault::read(&file, keys) } else { yaml::parse(&file) };
    let root = draft.errors.keep(parsed)?;
    let vars = super::yaml_file::entries(draft, &root, "a variables file", "names and values")?;
    (!vars.is_empty()).then(|| Layer { origin: shown, dialect: Dialect::of(&file.text), vars: vars.to_vec() })
}

/// Warns about files for groups or hosts that do not exist. They are never read, and most often their names are misspelled.
fn warn_about_unknown(draft: &mut Draft, directory: &Path, known: &[String], what: &str) {
    for name in draft.inventory.files.names_in(directory) {
        let path = directory.join(&name);
        let stem = ENDINGS.iter().skip(1).find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
        let is_known = known.iter().any(|known| known == stem || *known == name);
        if !is_known && !name.starts_with('.') && !name.ends_with('~') {
            let shown = draft.shown(&path);
            let warning = Diagnostic::warning(format!("`{shown}` is not read: there is no {what} `{stem}`"));
            draft.inventory.warnings.push(warning.suggest(did_you_mean(stem, known.iter().map(String::as_str))));
        }
    }
}
