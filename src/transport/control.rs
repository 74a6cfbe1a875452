//! The directories of ssh's control sockets on this machine, and the removal of those that killed runs left.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use openssh::Session;
use tempfile::TempDir;

use crate::controller::Controller;

/// The part before the run's process ID in the names of our directories.
const PREFIX: &str = "autobot-provision-";

/// What ssh may add to the directory of one connection: `/master` and, while it binds, 17 more bytes.
const SOCKET: usize = "/c123456/master.1234567890123456".len();

/// The longest path of a Unix domain socket on Linux, without its final NUL.
const MAX_PATH: usize = 107;

/// Returns the directories in one of which this user's runs create theirs, the best first. In the last one, which every user can write to, no connection is
/// kept.
pub(super) fn bases(controller: &Controller) -> Vec<PathBuf> {
    let runtime = controller.variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let of_user = fs::metadata("/proc/self").map(|own| PathBuf::from(format!("/run/user/{}", own.uid()))).ok();
    let home = controller.home.as_ref().map(|home| home.join(".ssh"));
    // The path of the first may be too long for a socket, or it was removed with the login session that it belonged to.
    let usable = |path: &PathBuf| path.is_absolute() && path.is_dir() && fits(path);
    [runtime, of_user, home].into_iter().flatten().filter(usable).chain([PathBuf::from("/tmp")]).collect()
}

fn fits(base: &Path) -> bool {
    base.as_os_str().len() + "/".len() + PREFIX.len() + "4194304-123456".len() + SOCKET <= MAX_PATH
}

/// Creates this run's directory in the first of these in which it can: `~/.ssh` may be mounted read-only.
///
/// # Errors
/// Says why, for each of them.
pub(super) async fn open_one(bases: &[PathBuf]) -> Result<TempDir, String> {
    let mut reasons = Vec::new();
    for base in bases {
        match open(base).await {
            Ok(directory) => return Ok(directory),
            Err(error) => reasons.push(format!("`{}`: {error}", base.display())),
        }
    }
    Err(reasons.join("; "))
}

/// Creates this run's directory, 0700, which is removed when it is dropped. Removes what killed runs have left beside it.
pub(super) async fn open(base: &Path) -> io::Result<TempDir> {
    if !fits(base) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a control socket"));
    }
    remove_stale(base).await;
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .rand_bytes(6)
        // Every process that can reach a control socket can use the connection.
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(base)
}

/// Ends the ssh masters of killed runs and removes their directories. What cannot be removed is left in place: it does no harm.
async fn remove_stale(base: &Path) {
    let (Ok(entries), Ok(own_process)) = (fs::read_dir(base), fs::metadata("/proc/self")) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        // /tmp may hold thousands of names: only what could be ours is looked at.
        let Some(process) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-')?.0.parse::<u32>().ok())
        else {
            continue;
        };
        // In /tmp every user may create such names. `entry.metadata` does not follow links.
        let is_own = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == own_process.uid());
        if is_own && !Path::new("/proc").join(process.to_string()).exists() {
            tracing::debug!(directory = %entry.path().display(), "removing what a killed run has left");
            for connection in fs::read_dir(entry.path()).into_iter().flatten().filter_map(Result::ok) {
                let socket = connection.path().join("master");
                if socket.exists() {
                    let _ = Session::resume_mux(socket.into_boxed_path(), None).close().await;
                }
            }
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_base_is_the_runtime_directory_where_a_socket_fits() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let bases = |path: &Path| {
            let variables = [("XDG_RUNTIME_DIR".into(), path.as_os_str().to_owned())];
            let home = Some(directory.path().to_owned());
            bases(&Controller { variables: variables.into(), home, ..Controller::default() })
        };
        assert_eq!(bases(directory.path())[0], directory.path());
        let removed = directory.path().join("removed");
        assert!(!bases(&removed).contains(&removed));
        let ssh = directory.path().join(".ssh");
        assert!(!bases(&removed).contains(&ssh));
        fs::create_dir(&ssh).unwrap();
        assert_eq!(bases(&removed)[bases(&removed).len() - 2..], [ssh, "/tmp".into()]);
    }

    #[tokio::test]
    async fn where_no_directory_can_be_made_the_next_one_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let (unusable, long) = (PathBuf::from("/proc"), directory.path().join("x".repeat(90)));
        let made = open_one(&[unusable.clone(), long.clone(), directory.path().to_owned()]).await.unwrap();
        assert_eq!(made.path().parent(), Some(directory.path()));
        let reasons = open_one(&[unusable, long]).await.unwrap_err();
        assert!(reasons.contains("`/proc`: ") && reasons.contains("the path is too long for a control socket"), "{reasons}");
    }
}
