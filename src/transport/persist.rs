//! Connections that are kept for the next run: the directory of one, with its control socket, is moved out of the run's directory when the run ends
//! well, and into the next run's when that goes the same way as the same user.
//!
//! A run has a connection for itself, because a directory can be moved by one run only. A kept connection is found by a digest of everything that
//! decides where and as whom one arrives; a change of any of it is another digest, and so a new login.

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, MetadataExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{
    Target,
    ssh_config::{configuration_text, connection_directory, own_arguments},
};
use crate::{
    controller::Controller,
    values::{hex, matches_glob},
};

/// The directory of the kept connections, beside those of runs.
const DIRECTORY: &str = "autobot-provision-kept";

/// So many connections of one kind are kept: as many runs can go the same way at once, and find one each.
const MOST: usize = 4;

/// How deep files of ssh may include others, as ssh itself has it.
const DEEPEST: usize = 16;

/// The largest file of ssh that is read, in bytes. One that is larger is none that people write.
const LARGEST: u64 = 1 << 20;

/// Where a target's connections are kept.
#[derive(Debug, Clone)]
pub(super) struct Place {
    directory: PathBuf,
    /// The beginning of the names of its connections.
    key: String,
}

impl Place {
    /// Returns where the connections of a target are kept. None where they are not: it is not wanted, the directory `base` is not this user's alone, or
    /// what ssh is told cannot be read.
    pub(super) fn of(target: &Target, base: &Path, controller: &Controller) -> Option<Self> {
        if target.persist.is_zero() || !is_private(base) {
            return None;
        }
        Some(Self { directory: base.join(DIRECTORY), key: key(target, controller)? })
    }

    /// Moves a kept connection into the run's directory.
    pub(super) fn take(&self, run_directory: &Path) -> Option<TempDir> {
        for kept in self.kept() {
            let own = connection_directory(run_directory).ok()?;
            // The empty directory is replaced. Another run may be faster.
            if fs::rename(&kept, own.path()).is_ok() {
                return Some(own);
            }
        }
        None
    }

    /// Moves a connection out of the run's directory, so that the next run finds it.
    ///
    /// # Errors
    /// When it cannot be moved, or there are enough.
    pub(super) fn keep(&self, connection: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if !is_private(&self.directory) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the directory is not this user's alone"));
        }
        remove_dead(&self.directory);
        if self.kept().len() >= MOST {
            return Err(io::Error::other("enough are kept"));
        }
        let own = tempfile::Builder::new().prefix(&self.key).rand_bytes(6).tempdir_in(&self.directory)?;
        fs::rename(connection, own.path())?;
        let _kept = own.keep();
        Ok(())
    }

    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        let ours = |entry: &fs::DirEntry| entry.file_name().as_bytes().starts_with(self.key.as_bytes());
        entries.filter(ours).map(|entry| entry.path()).filter(|path| path.join("master").exists()).collect()
    }
}

/// Removes what masters have left that have ended. ssh itself would remove its socket where it made it.
fn remove_dead(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if UnixStream::connect(entry.path().join("master")).is_err() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a directory is this user's, and no other user can write to it.
fn is_private(directory: &Path) -> bool {
    let own = fs::metadata("/proc/self").map(|process| process.uid());
    let found = fs::symlink_metadata(directory);
    found.is_ok_and(|found| found.is_dir() && found.mode() & 0o022 == 0 && own.is_ok_and(|own| own == found.uid()))
}

/// Returns the digest of all that decides where and as whom a connection arrives, and whether the node's key is the right one. None where that cannot
/// be told.
fn key(target: &Target, controller: &Controller) -> Option<String> {
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    add(configuration_text(target).ok()?.as_bytes());
    for argument in own_arguments(target) {
        add(argument.as_bytes());
    }
    for name in ["SSH_AUTH_SOCK", "HOME", "USER"] {
        add(controller.variable(name).unwrap_or_default().as_bytes());
    }
    let home = controller.home.clone().unwrap_or_default().join(".ssh");
    let mut files = Files { controller, add: &mut add };
    if let Some(given) = &target.arguments.config {
        files.configuration(&controller.program(given), &home, 0)?;
    } else {
        files.configuration(&home.join("config"), &home, 0)?;
        files.configuration(Path::new("/etc/ssh/ssh_config"), Path::new("/etc/ssh"), 0)?;
    }
    let known_hosts = target.known_hosts.clone().into_iter().chain([
        home.join("known_hosts"),
        home.join("known_hosts2"),
        "/etc/ssh/ssh_known_hosts".into(),
        "/etc/ssh/ssh_known_hosts2".into(),
    ]);
    let named = target.arguments.options.iter().filter(|(keyword, _)| keyword.eq_ignore_ascii_case("UserKnownHostsFile"));
    let named = named.flat_map(|(_, value)| value.split_whitespace()).map(|path| controller.expand(Path::new(path)));
    for path in known_hosts.chain(named).chain(target.identity.clone()) {
        files.state(&path);
    }
    Some(hex(&digest.finalize())[..24].to_owned() + "-")
}

/// The files that ssh reads.
struct Files<'a> {
    controller: &'a Controller,
    add: &'a mut dyn FnMut(&[u8]),
}

impl Files<'_> {
    /// Adds when a file was changed, and how large it is.
    fn state(&mut self, path: &Path) {
        (self.add)(path.as_os_str().as_bytes());
        let state = fs::metadata(path)
            .map(|found| [found.mtime(), found.mtime_nsec(), found.size().cast_signed(), found.ino().cast_signed()]);
        for number in state.unwrap_or_default() {
            (self.add)(&number.to_be_bytes());
        }
    }

    /// Adds the text of a configuration and of those that it includes. `beside` is where relative paths start. None if one cannot be read.
    fn configuration(&mut self, path: &Path, beside: &Path, depth: usize) -> Option<()> {
        (self.add)(path.as_os_str().as_bytes());
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(()),
            Err(_) => return None,
        };
        if depth > DEEPEST || !found.is_file() || found.size() > LARGEST {
            return None;
        }
        let text = fs::read_to_string(path).ok()?;
        (self.add)(text.as_bytes());
        for line in text.lines() {
            let mut words =
                line.split(|character: char| character.is_whitespace() || character == '=').filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default();
            if keyword.eq_ignore_ascii_case("Include") {
                words.try_for_each(|pattern| self.included(pattern.trim_matches('"'), beside, depth))?;
            }
        }
        Some(())
    }

    fn included(&mut self, pattern: &str, beside: &Path, depth: usize) -> Option<()> {
        // ssh's own tokens and variables.
        if pattern.contains(['%', '$']) {
            return None;
        }
        let path = beside.join(self.controller.expand(Path::new(pattern)));
        let (directory, name) = (path.parent()?, path.file_name()?.to_str()?);
        if directory.to_str()?.contains(['*', '?', '[']) || name.contains(['?', '[']) {
            return None;
        }
        if !name.contains('*') {
            return self.configuration(&path, beside, depth + 1);
        }
        let entries =
            fs::read_dir(directory).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = entries.filter(|entry| matches_glob(name, entry)).collect();
        names.sort();
        names.iter().try_for_each(|name| self.configuration(&directory.join(name), beside, depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, HashSet},
        os::unix::fs::PermissionsExt as _,
        time::Duration,
    };

    use super::*;
    use crate::transport::{HostKeys, SshArguments};

    /// A home directory, and the controller whose it is.
    fn home() -> (TempDir, Controller) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        fs::write(home.path().join(".ssh/config"), "Host *\n  Compression yes\n").unwrap();
        let controller = Controller { home: Some(home.path().to_owned()), ..Controller::default() };
        (home, controller)
    }

    fn target() -> Target {
        Target { persist: Duration::from_mins(1), ..Target::new("db", "198.18.0.2") }
    }

    #[test]
    fn all_that_decides_where_and_as_whom_one_arrives_is_in_the_key() {
        let (home, controller) = home();
        let arguments = |text: &str| SshArguments::parse(text).unwrap();
        let own = home.path().join("own");
        fs::write(&own, "Host *\n").unwrap();
        let mut keys = HashSet::new();
        let mut is_new = |what: &str, target: &Target, controller: &Controller| {
            let key = key(target, controller).unwrap_or_else(|| panic!("{what}"));
            assert_eq!(Some(&key), super::key(target, controller).as_ref(), "{what}");
            assert!(keys.insert(key), "{what}");
        };
        is_new("the first", &target(), &controller);
        let targets = [
            Target { host: "198.18.0.3".into(), ..target() },
            Target { port: Some(23), ..target() },
            Target { user: Some("ann".into()), ..target() },
            Target { identity: Some(own.clone()), ..target() },
            Target { host_keys: HostKeys::AcceptNew, ..target() },
            Target { known_hosts: Some("/etc/hosts".into()), ..target() },
            Target { connect_timeout: Duration::from_secs(11), ..target() },
            Target { arguments: arguments("-J jump"), ..target() },
            Target { arguments: arguments("-o ServerAliveInterval=7"), ..target() },
            Target { arguments: arguments(&format!("-F {}", own.display())), ..target() },
        ];
        for target in &targets {
            is_new(&format!("{target:?}"), target, &controller);
        }
        let agent = BTreeMap::from([("SSH_AUTH_SOCK".into(), "/run/agent".into())]);
        is_new("another agent", &target(), &Controller { variables: agent, ..controller.clone() });

        // Files, and what they include.
        let ssh = home.path().join(".ssh");
        fs::write(&own, "Host *\n  User bob\n").unwrap();
        is_new("the text of -F", targets.last().unwrap(), &controller);
        is_new("the key's file", &targets[3], &controller);
        fs::create_dir(ssh.join("config.d")).unwrap();
        fs::write(ssh.join("config"), "include config.d/*\nInclude=more\n").unwrap();
        is_new("the text of the configuration", &target(), &controller);
        for (what, file) in
            [("a file of a pattern", "config.d/one"), ("a file by name", "more"), ("the known hosts", "known_hosts")]
        {
            fs::write(ssh.join(file), "Host *\n").unwrap();
            is_new(what, &target(), &controller);
        }
        fs::write(ssh.join("config.d/one"), "Host *\n  User ann\n").unwrap();
        is_new("the text of an included file", &target(), &controller);

        // The name in the inventory and sudo decide neither.
        let named = Target { name: "other".into(), become_root: false, ..target() };
        assert_eq!(key(&named, &controller), key(&target(), &controller));
    }

    #[test]
    fn what_cannot_be_compared_keeps_no_connection() {
        let (home, controller) = home();
        for text in ["Include %d/x", "Include ${X}/x", "Include /tmp/*/x", "Include x?", "Include config"] {
            fs::write(home.path().join(".ssh/config"), format!("{text}\n")).unwrap();
            assert_eq!(key(&target(), &controller), None, "{text}");
        }
    }

    #[test]
    fn a_connection_is_kept_in_a_directory_of_ones_own_and_taken_once() {
        let (home, controller) = home();
        let place = || Place::of(&target(), home.path(), &controller);
        assert!(Place::of(&target().afresh(), home.path(), &controller).is_none());
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(place().is_none());
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = place().unwrap();

        let run = tempfile::tempdir_in(home.path()).unwrap();
        let connection = || {
            let directory = run.path().join("connection");
            fs::create_dir(&directory).unwrap();
            let socket = std::os::unix::net::UnixListener::bind(directory.join("master")).unwrap();
            (directory, socket)
        };
        assert!(place.take(run.path()).is_none());
        let mut sockets = Vec::new();
        for count in 0..=MOST {
            let (directory, socket) = connection();
            assert_eq!(place.keep(&directory).is_ok(), count < MOST, "{count}");
            assert_eq!(directory.exists(), count == MOST);
            sockets.push(socket);
        }
        assert!(Place { key: "other-".into(), ..place.clone() }.take(run.path()).is_none());
        let taken: Vec<TempDir> = std::iter::from_fn(|| place.take(run.path())).collect();
        assert_eq!(taken.len(), MOST);
        assert!(taken.iter().all(|directory| UnixStream::connect(directory.path().join("master")).is_ok()));

        // What has ended is removed when the next one is kept.
        drop(sockets);
        place.keep(taken[0].path()).unwrap();
        let (directory, _socket) = (run.path().join("connection"), ());
        fs::remove_file(directory.join("master")).unwrap();
        let _live = std::os::unix::net::UnixListener::bind(directory.join("master")).unwrap();
        place.keep(&directory).unwrap();
        assert_eq!(place.kept().len(), 1);

        // A link in place of the directory is not followed.
        fs::remove_dir_all(&place.directory).unwrap();
        std::os::unix::fs::symlink(run.path(), &place.directory).unwrap();
        assert!(place.keep(taken[1].path()).is_err());
    }
}
