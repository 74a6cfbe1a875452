//! What is at a path of a node.

use super::Unanswered;
use crate::values::{Mode, RemotePath};

/// The answer about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// The entry itself; links are not followed.
    pub entry: Entry,
    /// Whether the parent directory exists.
    pub parent_exists: bool,
}

impl PathInfo {
    /// Returns the entry or, with `follow`, the entry to which a link leads. Returns `None` for a dangling link.
    #[must_use]
    pub fn seen(&self, follow: bool) -> Option<&Entry> {
        match &self.entry {
            Entry::Link(link) if follow => link.leads_to.as_deref(),
            Entry::Absent | Entry::File(_) | Entry::Directory(_) | Entry::Link(_) | Entry::Other(_) => Some(&self.entry),
        }
    }

    /// Returns the regular file, following a link; `None` when nothing exists at the path.
    ///
    /// # Errors
    /// Returns an error when the entry is something else.
    pub fn file(&self, path: &RemotePath) -> Result<Option<&File>, Unanswered> {
        match self.seen(true) {
            Some(Entry::File(file)) => Ok(Some(file)),
            Some(Entry::Absent) => Ok(None),
            Some(Entry::Directory(_) | Entry::Link(_) | Entry::Other(_)) | None => {
                Err(Unanswered(format!("`{path}` is not a regular file")))
            }
        }
    }
}

/// An entry of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing exists.
    Absent,
    /// A regular file.
    File(File),
    /// A directory.
    Directory(Attributes),
    /// A symbolic link.
    Link(Link),
    /// A device, socket or pipe.
    Other(Attributes),
}

impl Entry {
    /// Returns the type of the entry for messages, such as "a directory".
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Absent => "nothing".to_owned(),
            Self::File(_) => "a file".to_owned(),
            Self::Directory(_) => "a directory".to_owned(),
            Self::Link(link) => format!("a link to `{}`", link.target),
            Self::Other(_) => "a device, socket or pipe".to_owned(),
        }
    }
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Owner and mode.
    pub attributes: Attributes,
    /// Its size in bytes.
    pub size: u64,
    /// Its content, if it was asked for and is no longer than [`super::path::MOST_BYTES`].
    pub content: Option<Vec<u8>>,
    /// Its SHA-256 in lower-case hex, if it was asked for.
    pub sha256: Option<String>,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its target as written, relative or absolute.
    pub target: String,
    /// The entry to which it finally leads; `None` for a dangling link.
    pub leads_to: Option<Box<Entry>>,
}

/// Owner and permissions of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Mode,
    /// The owner's name; `UNKNOWN` when the node has no name for the id.
    pub owner: String,
    /// The group's name; `UNKNOWN` when the node has no name for the id.
    pub group: String,
    /// The owner's user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// When the owner, the mode or the content last changed, in seconds since 1970.
    pub changed: i64,
}
