//! Which state of a project's files a run is about.

use super::git;
use crate::{
    event::ProjectState,
    plan::{Plan, Request},
    source::{Trust, digest_of},
};

/// Returns the state of the files that a plan was loaded from.
pub(super) async fn of(plan: &Plan, request: &Request) -> ProjectState {
    let commit = match request.trust {
        Trust::Own => git::commit(&request.project),
        // Its repository may lead anywhere, and comparing files with it runs what its configuration names.
        Trust::Stranger => None,
    };
    let dirty = match &commit {
        Some(commit) => git::is_dirty(&request.project, commit, &request.controller).await,
        None => None,
    };
    ProjectState { digest: Some(digest_of(&plan.files)), commit, dirty }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::InventorySource;
    use std::{fs, path::Path, process::Command};

    fn git(directory: &Path, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.args(["-c", "user.name=x", "-c", "user.email=x@example.org"]).args(arguments).current_dir(directory);
        assert!(command.status().unwrap().success(), "git {arguments:?}");
    }

    #[tokio::test]
    async fn the_repository_of_a_stranger_runs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join(".git/made");
        git(dir.path(), &["init", "--quiet", "--initial-branch", "main"]);
        for (path, text) in [
            ("roles/toy/role.yml", "tasks:\n  - {name: Write, copy: {content: x, dest: /etc/x}}\n"),
            ("inventory/hosts.yml", "all: {hosts: {db: {autobot_roles: [toy]}}}\n"),
            (".gitattributes", "*.yml filter=hostile\n"),
        ] {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), text).unwrap();
        }
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["commit", "--quiet", "-m", "x"]);
        git(dir.path(), &["config", "filter.hostile.clean", &format!("sh -c ': >{}; cat'", made.display())]);
        // git compares a file whose time is another with its filters.
        fs::write(dir.path().join("roles/toy/role.yml"), "tasks:\n  - {name: Write, copy: {content: y, dest: /etc/x}}\n")
            .unwrap();
        for (trust, runs) in [(Trust::Own, true), (Trust::Stranger, false)] {
            let inventories = vec![InventorySource::Path(dir.path().join("inventory"))];
            let request = Request { project: dir.path().to_owned(), inventories, trust, ..Request::default() };
            let plan = crate::plan::load(&request).unwrap_or_else(|errors| panic!("{errors}"));
            let state = of(&plan, &request).await;
            assert_eq!((state.commit.is_some(), state.dirty), if runs { (true, Some(true)) } else { (false, None) });
            assert_eq!(fs::remove_file(&made).is_ok(), runs, "{trust:?}");
        }
    }
}
