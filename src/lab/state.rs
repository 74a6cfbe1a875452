//! The state of a lab that is kept between commands, and the locks that serialise commands.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// The contents of `lab.json`: the state that cannot be derived from the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct LabState {
    /// Nodes and clients, in the order of their creation.
    pub(super) members: Vec<Member>,
    /// The directories that each frozen disk consists of, uppermost first.
    pub(super) frozen: BTreeMap<String, Vec<PathBuf>>,
    /// The port of the file server on the lab's host address; 0 if there is none.
    pub(super) port: u16,
}

/// A node or a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    /// The last byte of its address.
    pub(super) number: u8,
    /// The read-only directories below its disk, uppermost first; empty for a client, which has no disk.
    pub(super) layers: Vec<PathBuf>,
}

impl Member {
    pub(super) fn is_node(&self) -> bool {
        !self.layers.is_empty()
    }
}

impl LabState {
    /// Reads the state of the lab in this directory; `None` if there is no lab.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join("lab.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("cannot parse `{}`", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        }
    }

    /// Writes the state atomically.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join("lab.json");
        let partial = directory.join("lab.json.partial");
        let text = serde_json::to_vec_pretty(self).context("cannot serialise the lab's state")?;
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, &path))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Adds a member with the first free number; 1 is the number of the host.
    pub(super) fn add(&mut self, name: &str, layers: Vec<PathBuf>) -> Result<Member> {
        if self.members.iter().any(|member| member.name == name) {
            bail!("`{name}` is already in the lab");
        }
        let taken = |number: &u8| self.members.iter().any(|member| member.number == *number);
        let Some(number) = (2..=254).find(|number| !taken(number)) else { bail!("a lab has room for 253 nodes and clients") };
        let member = Member { name: name.to_owned(), number, layers };
        self.members.push(member.clone());
        Ok(member)
    }

    /// Records a frozen disk. Its node continues with these layers below a new upper directory.
    pub(super) fn freeze(&mut self, node: &str, frozen: &str, layers: Vec<PathBuf>) {
        for member in self.members.iter_mut().filter(|member| member.name == node) {
            member.layers.clone_from(&layers);
        }
        self.frozen.insert(frozen.to_owned(), layers);
    }

    /// Returns the layers of a frozen disk.
    pub(super) fn frozen(&self, name: &str) -> Result<&Vec<PathBuf>> {
        self.frozen.get(name).with_context(|| format!("there is no frozen disk `{name}`"))
    }

    /// Returns a member.
    pub(super) fn member(&self, name: &str) -> Result<&Member> {
        self.members.iter().find(|member| member.name == name).with_context(|| {
            let names: Vec<String> = self.members.iter().map(|member| format!("`{}`", member.name)).collect();
            if names.is_empty() {
                return format!("`{name}` is not in the lab, which is empty");
            }
            format!("`{name}` is not in the lab; its members are {}", names.join(", "))
        })
    }
}

/// An exclusive lock on a file. It is released when it is dropped or its process ends.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits until the lock is free, and takes it.
    pub(super) fn wait(path: &Path) -> Result<Self> {
        loop {
            let file = File::create(path).with_context(|| format!("cannot create `{}`", path.display()))?;
            file.lock().with_context(|| format!("cannot lock `{}`", path.display()))?;
            // The previous holder may have removed the file, and another process may hold a lock on a new file of the same name.
            let inode = |metadata: fs::Metadata| metadata.ino();
            if file.metadata().map(inode).ok() == fs::metadata(path).map(inode).ok() {
                return Ok(Self { _file: file });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_assigned_from_two_and_reused() {
        let mut state = LabState::default();
        assert_eq!(state.add("a", Vec::new()).unwrap().number, 2);
        assert_eq!(state.add("b", Vec::new()).unwrap().number, 3);
        state.members.remove(0);
        assert_eq!(state.add("c", Vec::new()).unwrap().number, 2);
        assert_eq!(state.add("c", Vec::new()).unwrap_err().to_string(), "`c` is already in the lab");
    }

    #[test]
    fn an_error_about_an_unknown_name_lists_the_known_ones() {
        let mut state = LabState::default();
        assert_eq!(state.member("x").unwrap_err().to_string(), "`x` is not in the lab, which is empty");
        state.add("a", Vec::new()).unwrap();
        state.add("b", Vec::new()).unwrap();
        assert_eq!(state.member("x").unwrap_err().to_string(), "`x` is not in the lab; its members are `a`, `b`");
    }

    #[test]
    fn a_written_state_is_read_back_and_a_missing_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(LabState::read(directory.path()).unwrap(), None);
        let mut state = LabState { port: 7, ..LabState::default() };
        state.add("a b\"\n", vec!["/base".into()]).unwrap();
        state.write(directory.path()).unwrap();
        assert_eq!(LabState::read(directory.path()).unwrap(), Some(state));
    }
}
