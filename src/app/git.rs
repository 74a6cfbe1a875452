//! The commit that a directory's git work tree has checked out, and whether files differ from it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use crate::{
    controller::Controller,
    source::{LARGEST_TEXT, read_regular},
};

/// How long git may take to compare the files. A work tree that takes longer is not waited for.
const LIMIT: Duration = Duration::from_secs(2);
/// The most steps from `HEAD` to a commit; more are a circle.
const MAX_STEPS: usize = 5;
/// Variables that let git look at another repository than the directory's own.
const ELSEWHERE: [&str; 6] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"];

/// Returns the commit that is checked out in the directory or above it. Reads git's files, so git need not be installed. `None` if the directory is in no
/// work tree, if nothing was committed yet, and if git keeps its references in a form that is not known here.
pub(super) fn commit(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let dot_git = directory.ancestors().map(|above| above.join(".git")).find(|path| path.exists())?;
    let repository = if dot_git.is_dir() {
        dot_git
    } else {
        // In a linked work tree and in a submodule, `.git` is a file.
        beside(&dot_git, read(&dot_git)?.strip_prefix("gitdir:")?)
    };
    // A linked work tree has its own HEAD and shares the branches.
    let common = repository.join("commondir");
    let common = read(&common).map_or_else(|| repository.clone(), |path| repository.join(path.trim()));
    let mut reference = "HEAD".to_owned();
    for _ in 0..MAX_STEPS {
        let value = value_of(&reference, &repository, &common)?;
        match value.strip_prefix("ref:") {
            Some(next) => next.trim().clone_into(&mut reference),
            None => return is_commit(&value).then_some(value),
        }
    }
    None
}

/// Returns whether files below the directory differ from this commit, or are not in it; files that git ignores do not count. `None` if git is not
/// installed, refuses, takes too long, or has another commit.
pub(super) async fn is_dirty(directory: &Path, commit: &str, controller: &Controller) -> Option<bool> {
    let mut command = controller.command("git");
    for variable in ELSEWHERE {
        command.env_remove(variable);
    }
    // No monitor of files is run, no index is refreshed. Filters of the repository's own configuration, such as git-lfs, do run.
    command.args(["-c", "core.fsmonitor=false", "--no-optional-locks", "status", "--porcelain=v2", "--branch"]);
    command.args(["--untracked-files=normal", "--no-renames", "--", "."]).current_dir(directory);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).stdin(Stdio::null()).stderr(Stdio::null());
    let output = tokio::time::timeout(LIMIT, command.output()).await.ok()?.ok()?;
    if !output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let is_same = said.lines().any(|line| line.strip_prefix("# branch.oid ") == Some(commit));
    is_same.then(|| said.lines().any(|line| !line.starts_with("# ")))
}

/// Returns what a reference says: a commit, or `ref:` and another reference.
fn value_of(reference: &str, repository: &Path, common: &Path) -> Option<String> {
    let is_plain = !reference.starts_with('/') && reference.split('/').all(|part| !part.is_empty() && part != "..");
    if !is_plain {
        return None;
    }
    let loose = [repository, common].into_iter().find_map(|directory| read(&directory.join(reference)));
    let packed = || {
        let packed = read(&common.join("packed-refs"))?;
        packed.lines().find_map(|line| line.strip_suffix(reference)?.strip_suffix(' ').map(str::to_owned))
    };
    loose.map(|value| value.trim().to_owned()).or_else(packed)
}

/// Reads one of git's files. Only `packed-refs` is more than a line.
fn read(path: &Path) -> Option<String> {
    String::from_utf8(read_regular(path, LARGEST_TEXT).ok()?).ok()
}

/// Returns a path that a file names relative to its own directory.
fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(file).join(path.trim())
}

/// Whether a text is a SHA-1 or a SHA-256 in hexadecimal digits.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    /// Runs git in a directory, with a name to commit under and no configuration of this machine.
    fn git(directory: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.args(["-c", "user.name=x", "-c", "user.email=x@example.org"]).args(arguments).current_dir(directory);
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A repository with one commit, in which `project` is the project.
    fn repository() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        fs::create_dir(&project).unwrap();
        git(dir.path(), &["init", "--quiet", "--initial-branch", "main"]);
        fs::write(project.join("role.yml"), "tasks: []\n").unwrap();
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["commit", "--quiet", "-m", "x"]);
        (dir, project)
    }

    #[test]
    fn the_commit_is_found_wherever_git_keeps_it() {
        let (dir, project) = repository();
        let head = git(dir.path(), &["rev-parse", "HEAD"]);
        assert_eq!(commit(&project).as_deref(), Some(head.as_str()), "a branch");
        git(dir.path(), &["pack-refs", "--all"]);
        assert!(!dir.path().join(".git/refs/heads/main").exists());
        assert_eq!(commit(&project).as_deref(), Some(head.as_str()), "a packed branch");
        let linked = tempfile::tempdir().unwrap();
        let tree = linked.path().join("tree");
        git(dir.path(), &["worktree", "add", "--quiet", "-b", "other", tree.to_str().unwrap()]);
        git(&tree, &["commit", "--quiet", "--allow-empty", "-m", "y"]);
        let other = git(&tree, &["rev-parse", "HEAD"]);
        assert_ne!(other, head);
        assert_eq!(commit(&tree.join("project")), Some(other), "a linked work tree");
        git(dir.path(), &["checkout", "--quiet", "--detach"]);
        assert_eq!(commit(&project), Some(head), "no branch");
    }

    #[test]
    fn what_is_no_commit_is_none() {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "--quiet"]);
        assert_eq!(commit(dir.path()), None, "nothing was committed");
        for head in ["ref: HEAD\n", "ref: ../../etc/hostname\n", "main\n", "ref: /etc/hostname\n"] {
            fs::write(dir.path().join(".git/HEAD"), head).unwrap();
            assert_eq!(commit(dir.path()), None, "{head}");
        }
    }

    #[tokio::test]
    async fn files_that_differ_or_are_not_in_the_commit_make_it_dirty() {
        let (dir, project) = repository();
        let head = git(dir.path(), &["rev-parse", "HEAD"]);
        let here = Controller::default();
        fs::write(dir.path().join("beside"), "not of the project").unwrap();
        assert_eq!(is_dirty(&project, &head, &here).await, Some(false));
        fs::write(project.join("role.yml"), "tasks: [x]\n").unwrap();
        assert_eq!(is_dirty(&project, &head, &here).await, Some(true), "a file that differs");
        git(dir.path(), &["checkout", "--quiet", "project/role.yml"]);
        fs::write(project.join("new.yml"), "").unwrap();
        assert_eq!(is_dirty(&project, &head, &here).await, Some(true), "a new file");
        fs::write(project.join(".gitignore"), ".gitignore\nnew.yml\n").unwrap();
        assert_eq!(is_dirty(&project, &head, &here).await, Some(false), "ignored files");
    }

    #[tokio::test]
    async fn what_git_does_not_say_is_not_known() {
        let (dir, project) = repository();
        let head = git(dir.path(), &["rev-parse", "HEAD"]);
        let nowhere = Controller { variables: [("PATH".into(), "/nowhere".into())].into(), ..Controller::default() };
        assert_eq!(is_dirty(&project, &head, &nowhere).await, None, "no git");
        assert_eq!(is_dirty(&project, &"0".repeat(40), &Controller::default()).await, None, "another commit");
        let elsewhere = tempfile::tempdir().unwrap();
        git(elsewhere.path(), &["init", "--quiet"]);
        let variables = [("GIT_DIR".into(), elsewhere.path().join(".git").into_os_string())].into();
        let misled = Controller { variables, ..Controller::default() };
        assert_eq!(is_dirty(&project, &head, &misled).await, Some(false), "GIT_DIR of the environment does not count");
    }
}
