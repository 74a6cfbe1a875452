//! Whose work a project is, and how far its paths may lead: links are resolved before a path is compared.

use std::path::{Component, Path, PathBuf};

/// Whose work a project is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// The operator's own, or read by the operator: its programs run on this machine.
    #[default]
    Own,
    /// A stranger's, such as a pull request (`--untrusted`): nothing of it runs on this machine, and it reads nothing outside of itself.
    Stranger,
}

/// A project, and how far its paths may lead.
#[derive(Debug, Clone, Default)]
pub struct Boundary {
    /// Its directory, without links.
    project: PathBuf,
    /// Whose work it is.
    pub trust: Trust,
}

/// Why a path is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a link leads out of the project, and the project is not trusted (--untrusted)")]
pub struct LeadsOut;

/// The directory in which git keeps a repository: its configuration may hold passwords.
const GIT: &str = ".git";

impl Boundary {
    /// Returns the boundary of the project in this directory.
    #[must_use]
    pub fn new(project: &Path, trust: Trust) -> Self {
        Self { project: real(project), trust }
    }

    /// Refuses a path that enters a stranger's project and leaves it by a link. What the operator names may have links of its own. A link
    /// that leads nowhere is refused in the same words, so that the words do not tell what exists outside.
    ///
    /// # Errors
    /// A link leads out.
    pub fn check(&self, path: &Path) -> Result<(), LeadsOut> {
        if self.trust == Trust::Own {
            return Ok(());
        }
        let mut current = real(Path::new(if path.is_absolute() { "/" } else { "." }));
        for component in path.components() {
            match component {
                Component::ParentDir => drop(current.pop()),
                Component::Normal(name) => {
                    let next = current.join(name);
                    let is_inside = current.starts_with(&self.project);
                    match next.canonicalize() {
                        Ok(real) if is_inside && !self.holds(&real) => return Err(LeadsOut),
                        Ok(real) => current = real,
                        Err(_) if is_inside && next.is_symlink() => return Err(LeadsOut),
                        // Nothing is there, which the reader reports.
                        Err(_) => return Ok(()),
                    }
                }
                Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            }
        }
        Ok(())
    }

    /// Refuses a file that a task names by `src` and that is not in the project, also in a project of the operator's own. It may be elsewhere
    /// in the git work tree of the project; and the whole directory of a role, or those of all roles and templates together, may be links.
    ///
    /// # Errors
    /// A link leads out.
    pub fn check_source(&self, path: &Path, role: &str) -> Result<(), LeadsOut> {
        if self.trust == Trust::Stranger {
            return self.check(path);
        }
        // What does not exist is reported as missing.
        let Ok(file) = path.canonicalize() else { return Ok(()) };
        let linked = |directory: &str| self.project.join(directory).canonicalize().ok();
        let beside_roles = |templates: &PathBuf| linked("roles").is_some_and(|roles| roles.parent() == templates.parent());
        let shared = [linked(&format!("roles/{role}")), linked("templates").filter(beside_roles)];
        let allowed = [self.project.clone(), self.work_tree()].into_iter().chain(shared.into_iter().flatten());
        if allowed.into_iter().any(|directory| file.starts_with(directory)) { Ok(()) } else { Err(LeadsOut) }
    }

    /// Whether something on this machine is a stranger's: it is in a stranger's project or in the same git work tree, or contains the project.
    #[must_use]
    pub fn is_strangers(&self, path: &Path) -> bool {
        let path = real(path);
        self.trust == Trust::Stranger && (path.starts_with(self.work_tree()) || self.project.starts_with(&path))
    }

    /// Whether a path that the project's text names leads out of a stranger's project. It may begin with `~`.
    #[must_use]
    pub fn names_outside(&self, path: &str) -> bool {
        let named = Path::new(path);
        let is_outside = |part: Component<'_>| !matches!(part, Component::Normal(_) | Component::CurDir);
        self.trust == Trust::Stranger
            && (path.starts_with('~') || named.components().any(is_outside) || self.check(&self.project.join(named)).is_err())
    }

    fn holds(&self, real: &Path) -> bool {
        real.strip_prefix(&self.project).is_ok_and(|rest| rest.components().all(|part| part.as_os_str() != GIT))
    }

    /// Returns the git work tree that the project is in, or the project if it is in none.
    fn work_tree(&self) -> PathBuf {
        let tree = self.project.ancestors().find(|above| above.join(GIT).exists());
        tree.unwrap_or(&self.project).to_owned()
    }
}

/// Returns a path without links, or the path itself if there is nothing.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    /// A directory that holds `project` with a role and a template, `outside` with a file, and `common` with roles and templates.
    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "project/roles/toy/files/own",
            "project/templates/toy/own.tera",
            "project/.git/config",
            "outside/secret",
            "common/roles/redis/files/x",
            "common/templates/redis/x.tera",
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        dir
    }

    #[test]
    fn no_link_leads_out_of_a_strangers_project() {
        let dir = directory();
        let project = dir.path().join("project");
        let link = |target: &str, name: &str| symlink(target, project.join(name)).unwrap();
        link("../../../../outside/secret", "roles/toy/files/file");
        link("../../../outside", "roles/toy/directory");
        link("../../../../outside/nothing", "roles/toy/files/nothing");
        link("file", "roles/toy/files/chain");
        link("../../../.git/config", "roles/toy/files/git");
        link("own", "roles/toy/files/inside");
        let stranger = Boundary::new(&project, Trust::Stranger);
        for path in ["files/file", "directory/secret", "directory", "files/nothing", "files/chain", "files/git"] {
            let path = project.join("roles/toy").join(path);
            assert_eq!(stranger.check(&path), Err(LeadsOut), "{}", path.display());
            assert_eq!(Boundary::new(&project, Trust::Own).check(&path), Ok(()), "{}", path.display());
        }
        for path in ["roles/toy/files/own", "roles/toy/files/inside", "roles/toy/files/missing", "../outside/secret"] {
            assert_eq!(stranger.check(&project.join(path)), Ok(()), "{path}");
        }
    }

    #[test]
    fn links_of_the_operator_are_followed() {
        let dir = directory();
        let (project, ops) = (dir.path().join("project"), dir.path().join("ops"));
        symlink("outside", &ops).unwrap();
        symlink("project", dir.path().join("checkout")).unwrap();
        let stranger = Boundary::new(&dir.path().join("checkout"), Trust::Stranger);
        assert_eq!(stranger.check(&ops.join("secret")), Ok(()));
        assert_eq!(stranger.check(&dir.path().join("checkout/roles/toy/files/own")), Ok(()));
        assert!(!stranger.is_strangers(&ops) && stranger.is_strangers(&project.join("roles")));
        assert!(stranger.is_strangers(dir.path()), "it holds the project");
    }

    #[test]
    fn a_source_stays_in_the_project_its_work_tree_or_a_linked_role() {
        let dir = directory();
        let project = dir.path().join("project");
        fs::remove_dir_all(project.join(".git")).unwrap();
        let link = |target: &str, name: &str| symlink(target, project.join(name)).unwrap();
        link("../../../../outside/secret", "roles/toy/files/file");
        link("../../outside", "templates/away");
        link("../../common/roles/redis", "roles/redis");
        let own = Boundary::new(&project, Trust::Own);
        let check = |path: &str, role: &str| own.check_source(&project.join(path), role);
        assert_eq!(check("roles/toy/files/own", "toy"), Ok(()));
        assert_eq!(check("roles/toy/files/file", "toy"), Err(LeadsOut));
        assert_eq!(check("templates/away/secret", "away"), Err(LeadsOut));
        assert_eq!(check("roles/redis/files/x", "redis"), Ok(()), "the whole role is a link");
        assert_eq!(check("roles/redis/files/x", "toy"), Err(LeadsOut), "another role's");
        fs::create_dir(dir.path().join(".git")).unwrap();
        assert_eq!(check("roles/toy/files/file", "toy"), Ok(()), "the same work tree");
    }

    #[test]
    fn roles_and_templates_may_be_links_to_one_place() {
        let dir = directory();
        let project = dir.path().join("linked");
        fs::create_dir(&project).unwrap();
        symlink("../common/roles", project.join("roles")).unwrap();
        symlink("../common/templates", project.join("templates")).unwrap();
        let own = Boundary::new(&project, Trust::Own);
        assert_eq!(own.check_source(&project.join("templates/redis/x.tera"), "redis"), Ok(()));
        fs::remove_file(project.join("templates")).unwrap();
        symlink("../outside", project.join("templates")).unwrap();
        assert_eq!(own.check_source(&project.join("templates/secret"), "redis"), Err(LeadsOut));
    }

    #[test]
    fn a_name_in_a_strangers_text_stays_inside() {
        let dir = directory();
        let project = dir.path().join("project");
        symlink("../outside/secret", project.join("link")).unwrap();
        let stranger = Boundary::new(&project, Trust::Stranger);
        for name in ["~/key", "/etc/shadow", "../outside/secret", "roles/../../outside/secret", "link"] {
            assert!(stranger.names_outside(name), "{name}");
            assert!(!Boundary::new(&project, Trust::Own).names_outside(name), "{name}");
        }
        assert!(!stranger.names_outside("secrets/own") && !stranger.names_outside("./roles/toy/files/own"));
    }
}
