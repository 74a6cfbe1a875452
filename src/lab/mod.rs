//! Disposable nodes that are as real as possible: Debian with systemd, sshd and apt, each in its own network namespace.
//!
//! Everything that belongs to a lab has the lab's ID in its name, so that [`Lab::down`] finds it even after the process that created it was killed:
//!
//! - `DIR/labs/ID/`: its state, key, `known_hosts`, `ssh_config`, and the disks of the nodes (overlays on `DIR/cache/base-*`);
//! - `lab.ID.N` network namespaces, `labKnN` interfaces, the nft table `autobot_lab_ID`, the address `198.18.K.1` on `lo`;
//! - `systemd-nspawn` processes whose `--directory` is in the lab's directory;
//! - control groups `autobot-lab.ID`, if this machine does not run systemd;
//! - `/run/autobot-provision-lab/ID.lab`: the number of its /24 in 198.18.0.0/16, and its directory.

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
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

pub use file_server::serve;
pub use network::labs;
pub use node::LabNode;
pub use options::{LabClient, LabOptions, LabStatus, NewNode, Power};
pub use publish::{FileServer, Publication};
pub use redis_repo::RedisRepo;
pub use requirements::{OnMissing, is_root};

use command::Programs;
use network::{LabNetwork, LinkState};
use options::check_name;
use state::{FileLock, LabState, Member};

/// How long the kernel may take to remove ended processes from their control groups.
const CGROUP_LIMIT: Duration = Duration::from_secs(10);

/// Receives messages for people about the current step. Nodes boot in parallel, so it may be called from several threads.
pub type ReportStep<'a> = &'a (dyn Fn(&str) + Sync);

/// A lab. This value holds no resources: what the lab consists of stays until [`Lab::down`] is called, by any process.
#[derive(Debug, Clone)]
pub struct Lab {
    options: LabOptions,
    programs: Programs,
}

impl Lab {
    /// Refers to a lab, whether or not it exists. This changes nothing.
    ///
    /// # Errors
    /// The ID or the directory is not valid for a lab.
    pub fn new(options: LabOptions) -> Result<Self> {
        let id = &options.id;
        let is_allowed = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
        if id.is_empty() || id.len() > 32 || id.starts_with('-') || !id.chars().all(is_allowed) {
            bail!("`{id}` is not a valid lab ID: use up to 32 lower-case letters, digits and dashes");
        }
        // Commas, colons and spaces have a meaning in the mount options of overlays and in ssh_config.
        let is_allowed = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
        let dir = options.dir.to_string_lossy();
        if !options.dir.is_absolute() || !dir.chars().all(is_allowed) || dir.contains("..") {
            bail!("`{dir}` cannot contain a lab: use an absolute path of letters, digits, `.`, `_` and `-`");
        }
        let programs = Programs::new(Arc::clone(&options.controller));
        Ok(Self { options, programs })
    }

    /// Returns the directory of this lab: state, keys, disks.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.options.dir.join("labs").join(&self.options.id)
    }

    fn cache(&self) -> PathBuf {
        self.options.dir.join("cache")
    }

    /// Returns the Debian packages that are missing on this machine for booting nodes and, if requested, for building the stand-in repository for
    /// Redis.
    #[must_use]
    pub fn to_install(&self, redis_repo: bool) -> Vec<&'static str> {
        let (tools, pip) = self.required_tools(redis_repo);
        requirements::missing_packages(&tools, pip, &self.programs)
    }

    /// Makes sure that this machine has the tools for booting nodes and, if requested, for building the stand-in repository for Redis.
    ///
    /// # Errors
    /// Lists everything that is missing, or returns the error of apt.
    pub fn prepare(&self, redis_repo: bool, progress: ReportStep<'_>) -> Result<()> {
        let (tools, pip) = self.required_tools(redis_repo);
        requirements::require(&self.programs, &tools, pip, self.options.missing, progress)
    }

    fn required_tools(&self, redis_repo: bool) -> (Vec<requirements::Tool>, requirements::Pip) {
        let for_repository = if redis_repo { requirements::REDIS_REPO } else { &[] };
        let pip = if redis_repo { redis_repo::pip(&self.cache()) } else { requirements::Pip::NotNeeded };
        ([requirements::NODES, for_repository].concat(), pip)
    }

    /// Boots nodes in parallel. Nodes that already exist are kept, and booted if they are off.
    ///
    /// # Errors
    /// Tools are missing on this machine (all are named), or a node does not come up (the error has the end of its console log).
    pub fn up(&self, wanted: &[NewNode], progress: ReportStep<'_>) -> Result<Vec<LabNode>> {
        for new in wanted {
            check_name(&new.name)?;
        }
        requirements::require(&self.programs, requirements::NODES, requirements::Pip::NotNeeded, self.options.missing, progress)?;
        let base = image::base(&self.programs, &self.cache(), &self.options.suite, progress)?;
        let (_lock, mut state, network) = self.open_for_change()?;
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
                bail!("`{}` is a client of this lab, so no node can have this name", member.name);
            }
            members.push(member);
        }
        // Recorded before it is created, so that `down` knows everything that may exist.
        state.write(&self.directory())?;
        let lab_key = ssh::ensure_key(&self.programs, &self.directory())?;
        let mut nodes = Vec::new();
        for member in &members {
            network.connect(member)?;
            let node = self.node_for(&network, member);
            node.prepare_disk(&self.programs, &member.layers, &lab_key)?;
            nodes.push(node);
        }
        self.write_ssh(&state, &network)?;
        let off: Vec<&str> = nodes.iter().filter(|node| !node.is_running()).map(|node| node.name.as_str()).collect();
        if !off.is_empty() {
            progress(&format!("booting {}", off.join(", ")));
        }
        let config = self.ssh_config();
        let boot = |(node, member): (&LabNode, &Member)| -> Result<()> {
            node.boot(&self.programs, &network, member)?;
            node.wait_for_login(&self.programs, &config, self.options.boot_limit)?;
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

    /// Adds a client, or returns the existing one.
    ///
    /// # Errors
    /// A node has this name, or the network cannot be created.
    pub fn client(&self, name: &str, progress: ReportStep<'_>) -> Result<LabClient> {
        check_name(name)?;
        requirements::require(&self.programs, requirements::NODES, requirements::Pip::NotNeeded, self.options.missing, progress)?;
        let (_lock, mut state, network) = self.open_for_change()?;
        let member = match state.members.iter().find(|member| member.name == name) {
            Some(member) => member.clone(),
            None => state.add(name, Vec::new())?,
        };
        if member.is_node() {
            bail!("`{name}` is a node of this lab, so no client can have this name");
        }
        state.write(&self.directory())?;
        network.connect(&member)?;
        Ok(LabClient { name: name.to_owned(), address: network.address(&member) })
    }

    /// Runs a command of this machine in the client's network namespace. The caller must check its exit status.
    ///
    /// # Errors
    /// There is no such client, or the command cannot be started.
    pub fn run_in_client(&self, client: &str, command: &[&str]) -> Result<Output> {
        let (state, network) = self.open()?;
        self.programs.command("ip").args(["netns", "exec", &network.namespace(state.member(client)?)]).args(command).output()
    }

    /// Runs a shell script as root on a node, without SSH and bypassing its firewall. The caller must check its exit status.
    ///
    /// # Errors
    /// The node is not running.
    pub fn shell(&self, node: &str, script: &str) -> Result<Output> {
        self.node(node)?.command_inside(&self.programs, &["sh", "-c", script])?.output()
    }

    /// Returns a node of the lab.
    ///
    /// # Errors
    /// There is no such node, or no such lab.
    pub fn node(&self, name: &str) -> Result<LabNode> {
        let (state, network) = self.open()?;
        Ok(self.node_for(&network, state.member(name)?))
    }

    /// Returns what the lab consists of; empty if there is no lab.
    ///
    /// # Errors
    /// The lab's state cannot be read.
    pub fn status(&self) -> Result<LabStatus> {
        let Some(state) = LabState::read(&self.directory())? else { return Ok(LabStatus::default()) };
        let Some(network) = LabNetwork::find(&self.programs, &self.options.id, &self.directory())? else {
            return Ok(LabStatus::default());
        };
        let mut status = LabStatus::default();
        for member in &state.members {
            let node = self.node_for(&network, member);
            if member.is_node() {
                let power = if node.is_running() { Power::On } else { Power::Off };
                status.nodes.push((node, power));
            } else {
                status.clients.push(LabClient { name: node.name, address: node.address });
            }
        }
        status.url = (state.port != 0).then(|| publish::url(&network, state.port));
        Ok(status)
    }

    /// Returns the path of a configuration file for `ssh -F` with the lab's nodes, key and host keys.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        ssh::config(&self.directory())
    }

    /// Returns the path of the `known_hosts` file with the host keys of the nodes, by name and by address.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        ssh::known_hosts(&self.directory())
    }

    /// Returns the path of the private key that the account `autobot` of every node accepts.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        ssh::key(&self.directory())
    }

    /// Returns the command that logs in to a node. The caller starts it.
    ///
    /// # Errors
    /// There is no such node, or no such lab.
    pub fn ssh(&self, node: &str, command: &[String]) -> Result<Command> {
        let node = self.node(node)?;
        let mut ssh = self.options.controller.command("ssh");
        ssh.arg("-F").arg(self.ssh_config()).arg(node.name).args(command);
        Ok(ssh)
    }

    /// Powers a node off, as its power button would.
    ///
    /// # Errors
    /// There is no such node, or its processes cannot be ended.
    pub fn power_off(&self, node: &str) -> Result<()> {
        self.node(node)?.power_off(&self.programs)
    }

    /// Stops a node at once, as a power cut would.
    ///
    /// # Errors
    /// There is no such node, or its processes cannot be ended.
    pub fn cut_power(&self, node: &str) -> Result<()> {
        self.node(node)?.cut_power(&self.programs)
    }

    /// Boots a node that is off, from its disk as it was left.
    ///
    /// # Errors
    /// There is no such node, or it does not come up.
    pub fn start(&self, node: &str) -> Result<()> {
        let (_lock, state, network) = self.open_existing_for_change()?;
        let member = state.member(node)?;
        let node = self.node_for(&network, member);
        node.mount(&self.programs, &member.layers)?;
        node.boot(&self.programs, &network, member)?;
        node.wait_for_login(&self.programs, &self.ssh_config(), self.options.boot_limit)
    }

    /// Reboots a node: the same disk, a new boot ID.
    ///
    /// # Errors
    /// There is no such node, or it does not come up.
    pub fn reboot(&self, node: &str) -> Result<()> {
        self.power_off(node)?;
        self.start(node)
    }

    /// Cuts the link of a node or client: its packets are dropped without any error.
    ///
    /// # Errors
    /// There is no such member, or nft fails.
    pub fn cut_link(&self, name: &str) -> Result<()> {
        let (state, network) = self.open()?;
        network.set_link(state.member(name)?, LinkState::Cut)
    }

    /// Undoes [`Lab::cut_link`].
    ///
    /// # Errors
    /// There is no such member, or nft fails.
    pub fn restore_link(&self, name: &str) -> Result<()> {
        let (state, network) = self.open()?;
        network.set_link(state.member(name)?, LinkState::Up)
    }

    /// Powers a node off and keeps its disk under a name, from which [`NewNode::copy`] boots any number of copies. The node itself
    /// stays off; [`Lab::start`] boots it again from that state.
    ///
    /// # Errors
    /// There is no such node, the name is in use, or the disk cannot be moved.
    pub fn freeze(&self, node: &str, frozen: &str) -> Result<()> {
        check_name(frozen)?;
        let (_lock, mut state, network) = self.open_existing_for_change()?;
        let member = state.member(node)?.clone();
        let node = self.node_for(&network, &member);
        let layer = self.directory().join("frozen").join(frozen);
        if state.frozen.contains_key(frozen) {
            bail!("there is already a frozen disk `{frozen}`");
        }
        node.power_off(&self.programs)?;
        node::unmount_below(&self.programs, &node.root)?;
        fs::create_dir_all(self.directory().join("frozen"))
            .and_then(|()| fs::rename(&node.upper, &layer))
            .with_context(|| format!("cannot move `{}` to `{}`", node.upper.display(), layer.display()))?;
        let layers: Vec<PathBuf> = [layer].into_iter().chain(member.layers).collect();
        state.freeze(&member.name, frozen, layers);
        state.write(&self.directory())
    }

    /// Removes nodes and clients with their disks, and frees their addresses for others. Frozen disks stay.
    ///
    /// # Errors
    /// There is no such member, or something could not be removed; [`Lab::down`] removes the rest.
    pub fn remove(&self, names: &[String]) -> Result<()> {
        let (_lock, mut state, network) = self.open_existing_for_change()?;
        for name in names {
            let member = state.member(name)?.clone();
            self.node_for(&network, &member).remove(&self.programs)?;
            processes::wait_for("the end of the node's control groups", CGROUP_LIMIT, || {
                cgroup::remove_member(&self.options.id, member.number).then_some(())
            })?;
            network.disconnect(&member)?;
            state.members.retain(|other| other.name != member.name);
            state.write(&self.directory())?;
        }
        Ok(())
    }

    /// Builds the stand-in for Redis's apt repository, or finds it in the cache; returns the directory for [`Lab::publish`].
    ///
    /// # Errors
    /// Tools are missing on this machine, or the binaries cannot be downloaded or do not have the expected checksums.
    pub fn redis_repo(&self, repo: &RedisRepo, progress: ReportStep<'_>) -> Result<PathBuf> {
        redis_repo::build(&self.programs, &self.cache(), repo, self.options.missing, progress)
    }

    /// Serves a directory to the lab's members, instead of the one served before; the URL stays the same.
    ///
    /// # Errors
    /// The server does not start.
    pub fn publish(&self, site: &Path, server: FileServer<'_>) -> Result<Publication> {
        let (_lock, mut state, network) = self.open_existing_for_change()?;
        publish::publish(&self.programs, &self.directory(), &mut state, &network, site, server)
    }

    /// Removes the lab and everything that belongs to it, including what a killed run left behind. Without a lab it does nothing.
    ///
    /// # Errors
    /// Something could not be removed; calling this again continues.
    pub fn down(&self) -> Result<()> {
        let directory = self.directory();
        let network = LabNetwork::find(&self.programs, &self.options.id, &directory)?;
        if network.is_none() && !directory.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        node::end_below(&self.programs, &directory)?;
        if let Some(network) = &network {
            let port = LabState::read(&directory).ok().flatten().map_or(0, |state| state.port);
            publish::end(&self.programs, network, port)?;
            network.end_processes()?;
            processes::wait_for("the end of the lab's control groups", CGROUP_LIMIT, || {
                cgroup::remove(&self.options.id).then_some(())
            })?;
        }
        node::unmount_below(&self.programs, &directory)?;
        if let Some(still) = node::mounts_below(&directory).first() {
            bail!("`{}` is still mounted", still.display());
        }
        image::remove(&directory)?;
        // Removed last, because it records that there is something to clean up.
        network.map_or(Ok(()), |network| network.remove())?;
        fs::remove_file(self.lock_path()).with_context(|| format!("cannot remove `{}`", self.lock_path().display()))
    }

    fn lock_path(&self) -> PathBuf {
        self.directory().with_extension("lock")
    }

    fn lock(&self) -> Result<FileLock> {
        let labs = self.options.dir.join("labs");
        fs::create_dir_all(&labs).with_context(|| format!("cannot create `{}`", labs.display()))?;
        FileLock::wait(&self.lock_path())
    }

    /// Opens the lab for a change, and creates it if it does not exist.
    fn open_for_change(&self) -> Result<(FileLock, LabState, LabNetwork)> {
        let lock = self.lock()?;
        let directory = self.directory();
        let network = LabNetwork::claim(&self.programs, &self.options.id, &directory)?;
        fs::create_dir_all(&directory).with_context(|| format!("cannot create `{}`", directory.display()))?;
        network.set_up()?;
        Ok((lock, LabState::read(&directory)?.unwrap_or_default(), network))
    }

    /// Opens an existing lab for a change.
    fn open_existing_for_change(&self) -> Result<(FileLock, LabState, LabNetwork)> {
        self.open()?;
        self.open_for_change()
    }

    /// Opens the lab for reading.
    fn open(&self) -> Result<(LabState, LabNetwork)> {
        let no_lab = || format!("there is no lab `{}`: `lab up` creates one", self.options.id);
        let network = LabNetwork::find(&self.programs, &self.options.id, &self.directory())?.with_context(no_lab)?;
        Ok((LabState::read(&self.directory())?.with_context(no_lab)?, network))
    }

    fn node_for(&self, network: &LabNetwork, member: &Member) -> LabNode {
        LabNode::for_member(&self.directory(), network, member)
    }

    fn write_ssh(&self, state: &LabState, network: &LabNetwork) -> Result<()> {
        let mut reachable = Vec::new();
        for member in state.members.iter().filter(|member| member.is_node()) {
            let node = self.node_for(network, member);
            // A node that a killed run only recorded has no key yet, and cannot be reached either.
            if let Some(host_key) = node.host_key() {
                reachable.push(ssh::ReachableNode { name: node.name, address: node.address, host_key });
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
