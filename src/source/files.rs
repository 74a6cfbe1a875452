//! The files of a project that were read, each with its digest.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Boundary, Diagnostic, LARGEST_FILE, LARGEST_TEXT, SourceFile, decoded, open_regular, read_given, read_regular};
use crate::values::{SharedBytes, hex};

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileDigest {
    /// Its path relative to the project, or its whole path if it lies elsewhere.
    pub path: String,
    /// The SHA-256 of its bytes in lower-case hex: of a file that Ansible Vault encrypted, of what is on the disk.
    pub sha256: String,
}

/// How many bytes of files are kept in memory.
const MOST_KEPT: usize = 128 << 20;

/// Reads files within a boundary, and notes the digest of each as it was read. Clones share their notes.
#[derive(Debug, Clone, Default)]
pub struct FilesRead {
    /// How far paths may lead.
    pub boundary: Boundary,
    notes: Arc<Mutex<BTreeMap<PathBuf, String>>>,
    kept: Arc<Mutex<BTreeMap<PathBuf, SharedBytes>>>,
}

impl FilesRead {
    /// Returns a reader of files that has read nothing yet.
    #[must_use]
    pub fn new(boundary: Boundary) -> Self {
        Self { boundary, ..Self::default() }
    }

    /// Returns a reader with the same boundary and with notes of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::new(self.boundary.clone())
    }

    /// Returns the sorted names in a directory; none if it cannot be read, or lies outside of the boundary.
    #[must_use]
    pub fn names_in(&self, directory: &Path) -> Vec<String> {
        let entries = self.boundary.check(directory).ok().and_then(|()| std::fs::read_dir(directory).ok());
        let names = entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Reads a text file; `shown` is the path that users see.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, is larger than [`LARGEST_TEXT`] or is not UTF-8.
    pub fn read(&self, path: &Path, shown: &str) -> Result<Arc<SourceFile>, Diagnostic> {
        self.text(path, shown, self.allowed(path).and_then(|()| read_regular(path, LARGEST_TEXT)))
    }

    /// Reads a text file that the operator has named on the command line, which may be a pipe.
    ///
    /// # Errors
    /// The file cannot be read, is larger than [`LARGEST_TEXT`] or is not UTF-8.
    pub fn given(&self, path: &Path, shown: &str) -> Result<Arc<SourceFile>, Diagnostic> {
        self.text(path, shown, self.allowed(path).and_then(|()| read_given(path, LARGEST_TEXT)))
    }

    fn allowed(&self, path: &Path) -> io::Result<()> {
        self.boundary.check(path).map_err(io::Error::other)
    }

    fn text(&self, path: &Path, shown: &str, read: io::Result<Vec<u8>>) -> Result<Arc<SourceFile>, Diagnostic> {
        let bytes = read.map_err(|error| Diagnostic::error(format!("cannot read `{shown}`: {error}")))?;
        self.note(path, &Sha256::digest(&bytes));
        decoded(bytes, shown)
    }

    /// Reads a file. It is read once, because a task is read several times in a run, for each host.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or is larger than [`LARGEST_FILE`].
    pub fn bytes(&self, path: &Path) -> io::Result<SharedBytes> {
        if let Some(bytes) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(bytes.clone());
        }
        self.allowed(path)?;
        let bytes = SharedBytes::from(read_regular(path, LARGEST_FILE)?);
        self.note(path, &bytes.sha256());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.values().map(|bytes| bytes.len()).sum::<usize>() + bytes.len() <= MOST_KEPT {
            kept.insert(path.to_owned(), bytes.clone());
        }
        Ok(bytes)
    }

    /// Notes the digest of a file that is run and not kept, such as a program, whatever its size.
    ///
    /// # Errors
    /// The file cannot be read, or is no regular file.
    pub fn program(&self, path: &Path) -> io::Result<()> {
        self.allowed(path)?;
        let (mut file, mut digest, mut piece) = (open_regular(path)?, Sha256::new(), vec![0; 64 << 10]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                count => digest.update(&piece[..count]),
            }
        }
        self.note(path, &digest.finalize());
        Ok(())
    }

    fn note(&self, path: &Path, digest: &[u8]) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), hex(digest));
    }

    /// Returns the files that were read so far, each once, sorted by path.
    #[must_use]
    pub fn list(&self, project: &Path) -> Vec<FileDigest> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let relative = notes.iter().map(|(path, digest)| (in_project(path, project).display().to_string(), digest));
        relative
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(|(path, sha256)| FileDigest { path, sha256: sha256.clone() })
            .collect()
    }
}

/// Returns `sha256:` and the digest over the paths and digests of files: over what `sha256sum -z` prints for them in this order.
#[must_use]
pub fn digest_of(files: &[FileDigest]) -> String {
    let mut all = Sha256::new();
    for FileDigest { path, sha256 } in files {
        all.update(format!("{sha256}  {path}\0"));
    }
    format!("sha256:{}", hex(&all.finalize()))
}

/// Returns a path relative to the project, so that it does not depend on how the file was named and where the project lies.
fn in_project(path: &Path, project: &Path) -> PathBuf {
    let is_plain = |rest: &&Path| rest.components().all(|part| matches!(part, Component::Normal(_)));
    if let Some(rest) = path.strip_prefix(project).ok().filter(is_plain) {
        return rest.to_owned();
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = real(path);
    path.strip_prefix(real(project)).map(Path::to_owned).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    #[test]
    fn a_digest_depends_on_names_and_bytes_and_not_on_the_way_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        fs::create_dir_all(project.join("roles/a")).unwrap();
        fs::write(project.join("roles/a/role.yml"), "\u{feff}tasks: []\n").unwrap();
        fs::write(project.join("hosts"), "db\n").unwrap();
        let files = |paths: &[&str]| {
            let read = FilesRead::default();
            for path in paths {
                read.read(&project.join(path), path).unwrap();
            }
            read.list(&project)
        };
        let listed = files(&["roles/a/role.yml", "hosts"]);
        assert_eq!(listed, files(&["hosts", "roles/../hosts", "roles/a/role.yml"]), "each once, in the order of the paths");
        assert_eq!(listed.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["hosts", "roles/a/role.yml"]);
        let script = "sha256sum -z hosts roles/a/role.yml | sha256sum";
        let output = Command::new("sh").args(["-c", script]).current_dir(&project).output().unwrap();
        let expected = String::from_utf8(output.stdout).unwrap();
        assert_eq!(digest_of(&listed), format!("sha256:{}", expected.split_whitespace().next().unwrap()));
        assert_ne!(digest_of(&listed[1..]), digest_of(&listed));
    }

    #[test]
    fn a_file_outside_the_project_has_its_whole_path() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().canonicalize().unwrap().join("hosts");
        fs::write(&outside, "db\n").unwrap();
        let read = FilesRead::default();
        read.bytes(&outside).unwrap();
        assert_eq!(read.list(&dir.path().join("project"))[0].path, outside.display().to_string());
    }
}
