//! Paths on nodes.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// An absolute path on a node: no NUL, no line break, no `.` or `..` part, no trailing slash except for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(String);

impl RemotePath {
    /// Checks a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(path: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err(format!("`{path}` is not an absolute path"));
        }
        if path.contains(['\0', '\n', '\r']) {
            return Err("a path cannot hold a NUL or a line break".to_owned());
        }
        if path.split('/').any(|part| part == ".." || part == ".") {
            return Err(format!("`{path}` holds `.` or `..`"));
        }
        let mut clean = String::with_capacity(path.len());
        for part in path.split('/').filter(|part| !part.is_empty()) {
            clean.push('/');
            clean.push_str(part);
        }
        Ok(Self(if clean.is_empty() { "/".to_owned() } else { clean }))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the directory that contains it; for the root, the root itself.
    #[must_use]
    pub fn parent(&self) -> Self {
        match self.0.rsplit_once('/') {
            Some(("", _)) | None => Self("/".to_owned()),
            Some((parent, _)) => Self(parent.to_owned()),
        }
    }

    /// Returns the last part.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RemotePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_clean() {
        assert_eq!(RemotePath::new("/etc//autobot/").unwrap().as_str(), "/etc/autobot");
        assert_eq!(RemotePath::new("/etc/autobot").unwrap().parent().as_str(), "/etc");
        assert_eq!(RemotePath::new("/etc").unwrap().parent().as_str(), "/");
        for wrong in ["etc", "/a/../b", "/a\nb", "/a\0", "", "/a/./b"] {
            assert!(RemotePath::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
