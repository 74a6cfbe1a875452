//! Things that a change needs and that do not exist on the node.

use std::fmt;

use super::RemotePath;

/// Something that a change needs and that does not exist yet. An earlier task of the run may create it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Missing {
    /// A directory.
    Directory(RemotePath),
    /// A regular file.
    File(RemotePath),
    /// A user of the node.
    User(String),
    /// A group of the node.
    Group(String),
    /// A unit of systemd.
    Unit(String),
    /// What a link leads to. Only the link itself could be made without it.
    LinkTarget(RemotePath),
    /// Something else, in words that complete "… does not exist", such as "kernel setting `net.core.somaxconn`".
    Other(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(formatter, "directory `{path}`"),
            Self::File(path) => write!(formatter, "file `{path}`"),
            Self::LinkTarget(path) => {
                write!(formatter, "`{path}`, to which the link leads (`force: true` makes the link without it),")
            }
            Self::User(name) => write!(formatter, "user `{name}`"),
            Self::Group(name) => write!(formatter, "group `{name}`"),
            Self::Unit(name) => write!(formatter, "unit `{name}`"),
            Self::Other(words) => formatter.write_str(words),
        }
    }
}

/// The names of things that are missing, separated by commas.
#[must_use]
pub fn list(missing: &[Missing]) -> String {
    missing.iter().map(Missing::to_string).collect::<Vec<_>>().join(", ")
}
