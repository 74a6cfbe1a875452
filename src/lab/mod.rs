//! Throw-away nodes as real as they get: Debian with systemd, sshd and apt, each in a network namespace of its own.
//!
//! What a lab is made of carries its id, so that [`Lab::down`] finds everything again after the process that made it was killed:
//!
//! - `DIR/labs/ID/`: its state, key, `known_hosts`, `ssh_config`, and the nodes' disks (overlays over `DIR/cache/base-*`);
//! - `lab.ID.N` network namespaces, `labKnN` interfaces, the nft table `autobot_lab_ID`, the address `198.18.K.1` on `lo`;
//! - `systemd-nspawn` processes whose `--directory` lies in the lab's directory;
//! - control groups `autobot-lab.ID` where this machine runs no systemd;
//! - `/run/autobot-provision-lab/ID.lab`: which /24 of 198.18.0.0/16 is its.

mod cgroup;
mod command;
mod debian_sources;
mod file_server;
mod image;
mod network;
mod node;
mod options;
mod processes;
mod publish;
mod redis_repo;
mod requirements;
mod ssh;
mod state;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

pub use file_server::serve;
pub use network::labs;
pub use node::Node;
pub use options::{Client, LabOptions, NewNode, Power, Status};
pub use publish::{FileServer, Publication};
pub use redis_repo::RedisRepo;
pub use requirements::{Missing, is_root};

use network::{Link, Network};
use options::check_name;
use state::{Lock, Member, State};

/// How long the kernel may take to forget processes that have ended.
const CGROUP_LIMIT: Duration = Duration::from_secs(10);

/// Told what is being done, in words for people. Nodes boot side by side, so it may be called from several threads.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);

/// A lab. Holds no resources itself: what it made stays until [`Lab::down`], whoever calls that.
#[derive(Debug, Clone)]
pub struct Lab {
    options: LabOptions,
}

impl Lab {
    /// Names a lab, whether or not it exists. Touches nothing.
    ///
    /// # Errors
    /// The id or the directory cannot be used for one.
    pub fn new(options: LabOptions) -> Result<Self> {
        let id = &options.id;
        let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if id.is_empty() || id.len() > 32 || id.starts_with('-') || !id.chars().all(fits) {
            bail!("`{id}` is no lab id: use up to 32 lower-case letters, digits and dashes");
        }
        // Overlay's mount options and ssh_config give meaning to commas, colons and blanks.
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
        let dir = options.dir.to_string_lossy();
        if !options.dir.is_absolute() || !dir.chars().all(fits) || dir.contains("..") {
            bail!("`{dir}` cannot hold a lab: use an absolute path of letters, digits, `.`, `_` and `-`");
        }
        Ok(Self { options })
    }

    /// What belongs to this lab alone: state, keys, disks.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.options.dir.join("labs").join(&self.options.id)
    }

    fn cache(&self) -> PathBuf {
        self.options.dir.join("cache")
    }

    /// The Debian packages that this machine lacks for nodes and, where wanted, for the stand-in for Redis's repository.
    #[must_use]
    pub fn to_install(&self, redis_repo: bool) -> Vec<&'static str> {
        let (tools, pip) = self.needed(redis_repo);
        requirements::missing_packages(&tools, pip, &requirements::ThisMachine)
    }

    /// Makes sure that this machine has what nodes and, where wanted, the stand-in for Redis's repository take.
    ///
    /// # Errors
    /// Everything that is missing, or apt's complaint.
    pub fn prepare(&self, redis_repo: bool, progress: Progress<'_>) -> Result<()> {
        let (tools, pip) = self.needed(redis_repo);
        requirements::require(&tools, pip, self.options.missing, progress)
    }

    fn needed(&self, redis_repo: bool) -> (Vec<requirements::Tool>, requirements::Pip) {
        let more = if redis_repo { requirements::REDIS_REPO } else { &[] };
        let pip = if redis_repo { redis_repo::pip(&self.cache()) } else { requirements::Pip::NotNeeded };
        ([requirements::NODES, more].concat(), pip)
    }

    /// Boots nodes, side by side. Nodes that the lab has already are kept, and booted if they are off.
    ///
    /// # Errors
    /// Something is missing on this machine (all of it is named), or a node does not come up (with the end of its console log).
    pub fn up(&self, wanted: &[NewNode], progress: Progress<'_>) -> Result<Vec<Node>> {
        for new in wanted {
            check_name(&new.name)?;
        }
        requirements::require(requirements::NODES, requirements::Pip::NotNeeded, self.options.missing, progress)?;
        let base = image::base(&self.cache(), &self.options.suite, progress)?;
        let (_lock, mut state, network) = self.hold()?;
        let mut members = Vec::new();
        for new in wanted {
            let known = state.members.iter().find(|member| member.name == new.name).cloned();
            let member = if let Some(known) = known {
                known
            } else {
                let layers = match &new.from {
                    None => vec![base.clone()],
                    Some(frozen) => state.frozen(frozen)?.clone(),
                };
                state.add(&new.name, layers)?
            };
            if !member.is_node() {
                bail!("`{}` is a client of this lab, so no node can have its name", member.name);
            }
            members.push(member);
        }
        // Written down before it is made, so that `down` knows of everything that may exist.
        state.write(&self.directory())?;
        let lab_key = ssh::ensure_key(&self.directory())?;
        let mut nodes = Vec::new();
        for member in &members {
            network.connect(member)?;
            let node = self.node_of(&network, member);
            node.assemble(&member.layers, &lab_key)?;
            nodes.push(node);
        }
        self.write_ssh(&state, &network)?;
        let off: Vec<&str> = nodes.iter().filter(|node| !node.is_running()).map(|node| node.name.as_str()).collect();
        if !off.is_empty() {
            progress(&format!("booting {}", off.join(", ")));
        }
        let config = self.ssh_config();
        let boot = |(node, member): (&Node, &Member)| -> Result<()> {
            node.boot(&network, member)?;
            node.await_login(&config, self.options.boot_limit)?;
            progress(&format!("{} is up at {}", node.name, node.address));
            Ok(())
        };
        let failures: Vec<String> = thread::scope(|scope| {
            let boots: Vec<_> = nodes.iter().zip(&members).map(|pair| scope.spawn(move || boot(pair))).collect();
            let results = boots.into_iter().map(|boot| boot.join().unwrap_or_else(|_| Err(anyhow!("a boot panicked"))));
            results.filter_map(Result::err).map(|error| format!("{error:#}")).collect()
        });
        if !failures.is_empty() {
            bail!(failures.join("\n"));
        }
        Ok(nodes)
    }

    /// Adds a client. One that the lab has already is returned.
    ///
    /// # Errors
    /// The name is a node's, or the network cannot be made.
    pub fn client(&self, name: &str, progress: Progress<'_>) -> Result<Client> {
        check_name(name)?;
        requirements::require(requirements::NODES, requirements::Pip::NotNeeded, self.options.missing, progress)?;
        let (_lock, mut state, network) = self.hold()?;
        let member = match state.members.iter().find(|member| member.name == name) {
            Some(member) => member.clone(),
            None => state.add(name, Vec::new())?,
        };
        if member.is_node() {
            bail!("`{name}` is a node of this lab, so no client can have its name");
        }
        state.write(&self.directory())?;
        network.connect(&member)?;
        Ok(Client { name: name.to_owned(), address: network.address(&member) })
    }

    /// Runs a command of this machine as if from the client's address. Its exit status is the caller's to judge.
    ///
    /// # Errors
    /// There is no such client, or the command cannot be started.
    pub fn run_in_client(&self, client: &str, command: &[&str]) -> Result<Output> {
        let (state, network) = self.look()?;
        command::run("ip").args(["netns", "exec", &network.namespace(state.member(client)?)]).args(command).output()
    }

    /// Runs a shell script as root on a node, without SSH and past its firewall. Its exit status is the caller's to judge.
    ///
    /// # Errors
    /// The node does not run.
    pub fn shell(&self, node: &str, script: &str) -> Result<Output> {
        self.node(node)?.inside(&["sh", "-c", script])?.output()
    }

    /// One node of the lab.
    ///
    /// # Errors
    /// There is no such node, or no such lab.
    pub fn node(&self, name: &str) -> Result<Node> {
        let (state, network) = self.look()?;
        Ok(self.node_of(&network, state.member(name)?))
    }

    /// Everything the lab consists of; nothing when there is no lab.
    ///
    /// # Errors
    /// The lab's state cannot be read.
    pub fn status(&self) -> Result<Status> {
        let Some(state) = State::read(&self.directory())? else { return Ok(Status::default()) };
        let Some(network) = Network::of(&self.options.id, &self.directory())? else { return Ok(Status::default()) };
        let mut status = Status::default();
        for member in &state.members {
            let node = self.node_of(&network, member);
            if member.is_node() {
                let power = if node.is_running() { Power::On } else { Power::Off };
                status.nodes.push((node, power));
            } else {
                status.clients.push(Client { name: node.name, address: node.address });
            }
        }
        status.url = (state.port != 0).then(|| publish::url(&network, state.port));
        Ok(status)
    }

    /// A file for `ssh -F` that knows the lab's nodes, key and host keys.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        ssh::config(&self.directory())
    }

    /// The nodes' host keys, by name and by address.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        ssh::known_hosts(&self.directory())
    }

    /// The private key that every node's account `autobot` accepts.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        ssh::key(&self.directory())
    }

    /// The command that logs in to a node, for the caller to start.
    ///
    /// # Errors
    /// There is no such node, or no such lab.
    pub fn ssh(&self, node: &str, command: &[String]) -> Result<Command> {
        let node = self.node(node)?;
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.ssh_config()).arg(node.name).args(command);
        Ok(ssh)
    }

    /// Powers a node off, as its power button would.
    ///
    /// # Errors
    /// There is no such node, or its processes cannot be ended.
    pub fn power_off(&self, node: &str) -> Result<()> {
        self.node(node)?.power_off()
    }

    /// Ends a node at once, as a power cut would.
    ///
    /// # Errors
    /// There is no such node, or its processes cannot be ended.
    pub fn cut_power(&self, node: &str) -> Result<()> {
        self.node(node)?.cut_power()
    }

    /// Boots a node that is off, from the disk as it was left.
    ///
    /// # Errors
    /// There is no such node, or it does not come up.
    pub fn start(&self, node: &str) -> Result<()> {
        let (_lock, state, network) = self.hold_existing()?;
        let member = state.member(node)?;
        let node = self.node_of(&network, member);
        node.mount(&member.layers)?;
        node.boot(&network, member)?;
        node.await_login(&self.ssh_config(), self.options.boot_limit)
    }

    /// Reboots a node: the same disk, another boot id.
    ///
    /// # Errors
    /// There is no such node, or it does not come up.
    pub fn reboot(&self, node: &str) -> Result<()> {
        self.power_off(node)?;
        self.start(node)
    }

    /// Cuts a node or client off in silence: its packets vanish, and nobody is told.
    ///
    /// # Errors
    /// There is no such member, or nft fails.
    pub fn cut_link(&self, name: &str) -> Result<()> {
        let (state, network) = self.look()?;
        network.set_link(state.member(name)?, Link::Cut)
    }

    /// Undoes [`Lab::cut_link`].
    ///
    /// # Errors
    /// There is no such member, or nft fails.
    pub fn restore_link(&self, name: &str) -> Result<()> {
        let (state, network) = self.look()?;
        network.set_link(state.member(name)?, Link::Whole)
    }

    /// Powers a node off and keeps its disk under a name, from which [`NewNode::copy`] boots any number of copies. The node itself
    /// stays off; [`Lab::start`] lets it go on from there.
    ///
    /// # Errors
    /// There is no such node, the name is taken, or the disk cannot be moved.
    pub fn freeze(&self, node: &str, frozen: &str) -> Result<()> {
        check_name(frozen)?;
        let (_lock, mut state, network) = self.hold_existing()?;
        let member = state.member(node)?.clone();
        let node = self.node_of(&network, &member);
        let layer = self.directory().join("frozen").join(frozen);
        if state.frozen.contains_key(frozen) {
            bail!("`{frozen}` is frozen already");
        }
        node.power_off()?;
        node::unmount_below(&node.root)?;
        fs::create_dir_all(self.directory().join("frozen"))
            .and_then(|()| fs::rename(&node.upper, &layer))
            .with_context(|| format!("cannot move `{}` to `{}`", node.upper.display(), layer.display()))?;
        let layers: Vec<PathBuf> = [layer].into_iter().chain(member.layers).collect();
        state.freeze(&member.name, frozen, layers);
        state.write(&self.directory())
    }

    /// Builds the stand-in for Redis's apt repository, or finds it in the cache; returns what to [`Lab::publish`].
    ///
    /// # Errors
    /// Something is missing on this machine, or the binaries cannot be fetched or are not the ones we know.
    pub fn redis_repo(&self, repo: &RedisRepo, progress: Progress<'_>) -> Result<PathBuf> {
        redis_repo::build(&self.cache(), repo, self.options.missing, progress)
    }

    /// Serves a directory to the lab's members, in place of what was served before; the URL stays the same.
    ///
    /// # Errors
    /// The server does not start.
    pub fn publish(&self, site: &Path, server: FileServer<'_>) -> Result<Publication> {
        let (_lock, mut state, network) = self.hold_existing()?;
        publish::publish(&self.directory(), &mut state, &network, site, server)
    }

    /// Removes the lab and everything it made, also what a killed run left behind. Without a lab it does nothing.
    ///
    /// # Errors
    /// Something of the lab resists; calling it again continues.
    pub fn down(&self) -> Result<()> {
        let directory = self.directory();
        let network = Network::of(&self.options.id, &directory)?;
        if network.is_none() && !directory.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        node::end_below(&directory)?;
        if let Some(network) = &network {
            let port = State::read(&directory).ok().flatten().map_or(0, |state| state.port);
            publish::end(network, port)?;
            network.end_processes()?;
            processes::wait_for("the end of the lab's control groups", CGROUP_LIMIT, || {
                cgroup::remove(&self.options.id).then_some(())
            })?;
        }
        node::unmount_below(&directory)?;
        if let Some(still) = node::mounts_below(&directory).first() {
            bail!("`{}` is still mounted", still.display());
        }
        image::remove(&directory)?;
        // Last, because it is what remembers that there is something to clean up.
        network.map_or(Ok(()), |network| network.remove())?;
        fs::remove_file(self.lock_path()).with_context(|| format!("cannot remove `{}`", self.lock_path().display()))
    }

    fn lock_path(&self) -> PathBuf {
        self.directory().with_extension("lock")
    }

    fn lock(&self) -> Result<Lock> {
        let labs = self.options.dir.join("labs");
        fs::create_dir_all(&labs).with_context(|| format!("cannot create `{}`", labs.display()))?;
        Lock::wait(&self.lock_path())
    }

    /// Opens the lab for a change, making it where there is none.
    fn hold(&self) -> Result<(Lock, State, Network)> {
        let lock = self.lock()?;
        let directory = self.directory();
        let network = Network::claim(&self.options.id, &directory)?;
        fs::create_dir_all(&directory).with_context(|| format!("cannot create `{}`", directory.display()))?;
        network.lay()?;
        Ok((lock, State::read(&directory)?.unwrap_or_default(), network))
    }

    /// Opens a lab that exists for a change.
    fn hold_existing(&self) -> Result<(Lock, State, Network)> {
        self.look()?;
        self.hold()
    }

    /// Opens the lab to look.
    fn look(&self) -> Result<(State, Network)> {
        let no_lab = || format!("there is no lab `{}`: `lab up` makes one", self.options.id);
        let network = Network::of(&self.options.id, &self.directory())?.with_context(no_lab)?;
        Ok((State::read(&self.directory())?.with_context(no_lab)?, network))
    }

    fn node_of(&self, network: &Network, member: &Member) -> Node {
        Node::of(&self.directory(), network, member)
    }

    fn write_ssh(&self, state: &State, network: &Network) -> Result<()> {
        let mut reachable = Vec::new();
        for member in state.members.iter().filter(|member| member.is_node()) {
            let node = self.node_of(network, member);
            // A node that a killed run only wrote down has no key yet, and cannot be reached either.
            if let Some(host_key) = node.host_key() {
                reachable.push(ssh::Reachable { name: node.name, address: node.address, host_key });
            }
        }
        ssh::write(&self.directory(), &reachable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_or_directory_that_could_break_a_name_or_a_mount_is_refused() {
        for id in ["", "A", "a_b", "a.b", "-a", "a/b", "a b", "$(x)", &"a".repeat(33)] {
            assert!(Lab::new(LabOptions { id: id.to_owned(), ..LabOptions::default() }).is_err(), "{id}");
        }
        for dir in ["relative", "/a:b", "/a,b", "/a b", "/a/../b", "/a\nb"] {
            assert!(Lab::new(LabOptions { dir: dir.into(), ..LabOptions::default() }).is_err(), "{dir}");
        }
        assert!(Lab::new(LabOptions::default()).is_ok());
    }
}
