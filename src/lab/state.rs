//! What a lab remembers between commands, and the locks that keep two commands apart.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// What `lab.json` holds: everything that cannot be read off the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Nodes and clients, in the order in which they were made.
    pub(super) members: Vec<Member>,
    /// Frozen disks: each with the directories it consists of, uppermost first.
    pub(super) frozen: BTreeMap<String, Vec<PathBuf>>,
    /// Port of the file server on the lab's host address; 0 when there is none.
    pub(super) port: u16,
}

/// A node or a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    /// The last byte of its address.
    pub(super) number: u8,
    /// The read-only directories under its disk, uppermost first; none for a client, which has no system.
    pub(super) layers: Vec<PathBuf>,
}

impl Member {
    pub(super) fn is_node(&self) -> bool {
        !self.layers.is_empty()
    }
}

impl State {
    /// Reads the state of the lab in this directory; `None` when there is no lab.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join("lab.json");
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).with_context(|| format!("cannot understand `{}`", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        }
    }

    /// Writes the state, whole or not at all.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join("lab.json");
        let partial = directory.join("lab.json.partial");
        let text = serde_json::to_vec_pretty(self).context("cannot write down the lab's state")?;
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, &path))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Adds a member under the first free number; 1 is the host's.
    pub(super) fn add(&mut self, name: &str, layers: Vec<PathBuf>) -> Result<Member> {
        if self.members.iter().any(|member| member.name == name) {
            bail!("`{name}` is in the lab already");
        }
        let taken = |number: &u8| self.members.iter().any(|member| member.number == *number);
        let Some(number) = (2..=254).find(|number| !taken(number)) else { bail!("a lab has room for 253 nodes and clients") };
        let member = Member { name: name.to_owned(), number, layers };
        self.members.push(member.clone());
        Ok(member)
    }

    /// Remembers a frozen disk, on top of which its node goes on.
    pub(super) fn freeze(&mut self, node: &str, frozen: &str, layers: Vec<PathBuf>) {
        for member in self.members.iter_mut().filter(|member| member.name == node) {
            member.layers.clone_from(&layers);
        }
        self.frozen.insert(frozen.to_owned(), layers);
    }

    /// Finds a frozen disk.
    pub(super) fn frozen(&self, name: &str) -> Result<&Vec<PathBuf>> {
        self.frozen.get(name).with_context(|| format!("nothing was frozen as `{name}`"))
    }

    /// Finds a member.
    pub(super) fn member(&self, name: &str) -> Result<&Member> {
        self.members.iter().find(|member| member.name == name).with_context(|| {
            let names: Vec<String> = self.members.iter().map(|member| format!("`{}`", member.name)).collect();
            if names.is_empty() {
                return format!("`{name}` is not in the lab: nothing is");
            }
            format!("`{name}` is not in the lab: there are {}", names.join(", "))
        })
    }
}

/// An exclusive lock on a file, given back when it is dropped or its process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else holds the lock.
    pub(super) fn wait(path: &Path) -> Result<Self> {
        loop {
            let file = File::create(path).with_context(|| format!("cannot create `{}`", path.display()))?;
            file.lock().with_context(|| format!("cannot lock `{}`", path.display()))?;
            // Whoever held it may have removed it meanwhile: then somebody else may hold its successor.
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
    fn numbers_are_given_out_from_two_and_reused() {
        let mut state = State::default();
        assert_eq!(state.add("a", Vec::new()).unwrap().number, 2);
        assert_eq!(state.add("b", Vec::new()).unwrap().number, 3);
        state.members.remove(0);
        assert_eq!(state.add("c", Vec::new()).unwrap().number, 2);
        assert_eq!(state.add("c", Vec::new()).unwrap_err().to_string(), "`c` is in the lab already");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let mut state = State::default();
        assert_eq!(state.member("x").unwrap_err().to_string(), "`x` is not in the lab: nothing is");
        state.add("a", Vec::new()).unwrap();
        state.add("b", Vec::new()).unwrap();
        assert_eq!(state.member("x").unwrap_err().to_string(), "`x` is not in the lab: there are `a`, `b`");
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(State::read(directory.path()).unwrap(), None);
        let mut state = State { port: 7, ..State::default() };
        state.add("a b\"\n", vec!["/base".into()]).unwrap();
        state.write(directory.path()).unwrap();
        assert_eq!(State::read(directory.path()).unwrap(), Some(state));
    }
}
