//! A node: its disk (an overlay on the base image) and its container.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use super::{
    cgroup,
    command::{Programs, last_lines},
    image::{self, ACCOUNT},
    network::LabNetwork,
    processes, ssh,
    state::Member,
};

/// How long a node may take to power off before it is killed.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(90);

/// A disposable machine with a name, an address and a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabNode {
    /// Its name in the inventory.
    pub name: String,
    /// Its address, in 198.18.0.0/16.
    pub address: Ipv4Addr,
    /// The upper directory of the overlay, with everything that the node wrote since it was created. It must not be changed.
    pub upper: PathBuf,
    /// The mount point of the node's disk.
    pub root: PathBuf,
    /// The console log of the node's boots.
    pub console: PathBuf,
}

impl LabNode {
    pub(super) fn for_member(directory: &Path, network: &LabNetwork, member: &Member) -> Self {
        let own = directory.join("nodes").join(member.number.to_string());
        Self {
            name: member.name.clone(),
            address: network.address(member),
            upper: own.join("upper"),
            root: own.join("root"),
            console: own.join("console.log"),
        }
    }

    fn work(&self) -> PathBuf {
        self.root.with_file_name("work")
    }

    /// Mounts the disk and, the first time, gives the machine its identity.
    pub(super) fn prepare_disk(&self, programs: &Programs, layers: &[PathBuf], lab_key: &str) -> Result<()> {
        self.mount(programs, layers)?;
        self.host_key().map_or_else(|| self.initialise(programs, lab_key), |_| Ok(()))
    }

    /// Gives the machine on the disk its identity: keys, names, machine ID.
    fn initialise(&self, programs: &Programs, lab_key: &str) -> Result<()> {
        let write = |path: &str, text: &str, mode: u32| -> Result<()> {
            let path = self.root.join(path);
            fs::write(&path, text)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
                .with_context(|| format!("cannot write `{}`", path.display()))
        };
        let hostname = hostname(&self.name);
        let host_key = ssh::make_host_key(programs, &self.root, &hostname)?;
        write("etc/hostname", &format!("{hostname}\n"), 0o644)?;
        write(
            "etc/hosts",
            &format!("127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost ip6-loopback\n"),
            0o644,
        )?;
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot read `/proc/sys/kernel/random/uuid`")?;
        write("etc/machine-id", &id.replace('-', ""), 0o444)?;
        let authorized = format!("home/{ACCOUNT}/.ssh/authorized_keys");
        write(&authorized, lab_key, 0o600)?;
        // The image created the account's directory with the right owner, whose number is not known here.
        let like = format!("--reference={}", self.root.join(&authorized).with_file_name("").display());
        programs.command("chown").arg(like).arg(self.root.join(&authorized)).run()?;
        // Written last: it marks the initialisation as complete.
        fs::write(self.host_key_path(), host_key).with_context(|| format!("cannot write `{}`", self.host_key_path().display()))
    }

    /// Returns the path of the public host key. It is kept beside the disk, because the disk cannot be read while the node is off.
    fn host_key_path(&self) -> PathBuf {
        self.root.with_file_name("host_key.pub")
    }

    /// Returns the public half of the node's host key, once the node is initialised.
    pub(super) fn host_key(&self) -> Option<String> {
        fs::read_to_string(self.host_key_path()).ok()
    }

    pub(super) fn is_mounted(&self) -> bool {
        mounts_below(&self.root).contains(&self.root)
    }

    /// Mounts the node's disk, unless it is mounted already.
    pub(super) fn mount(&self, programs: &Programs, layers: &[PathBuf]) -> Result<()> {
        if self.is_mounted() {
            return Ok(());
        }
        for directory in [&self.upper, &self.work(), &self.root] {
            fs::create_dir_all(directory).with_context(|| format!("cannot create `{}`", directory.display()))?;
        }
        let layers: Vec<String> = layers.iter().map(|layer| layer.display().to_string()).collect();
        let options = format!(
            // With redirect_dir, directories of the lower layers can be renamed, as on a real disk.
            "lowerdir={},upperdir={},workdir={},redirect_dir=on",
            layers.join(":"),
            self.upper.display(),
            self.work().display()
        );
        programs.command("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&self.root).run()
    }

    /// Boots the container, which outlives this process. [`LabNode::wait_for_login`] waits until it is up.
    pub(super) fn boot(&self, programs: &Programs, network: &LabNetwork, member: &Member) -> Result<()> {
        if processes::find_nspawn(&self.root).is_some() {
            return Ok(());
        }
        let console = fs::File::create(&self.console).with_context(|| format!("cannot create `{}`", self.console.display()))?;
        let errors = console.try_clone().context("cannot share the console log")?;
        let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        // A stub resolver on this machine's loopback cannot be reached from a node, but its upstream servers can.
        let resolver = if resolver.contains("127.0.0.53") { "copy-uplink" } else { "copy-host" };
        let mut nspawn = programs.process("setsid");
        if cgroup::assigned_by_systemd() {
            nspawn.args(["systemd-nspawn", "--quiet"]);
        } else {
            // Joins the groups, which are given before the first "--", and then executes nspawn.
            let join = r#"while [ "$1" != -- ]; do echo $$ >"$1" || exit; shift; done; shift; exec "$@""#;
            let groups = cgroup::make(network.id(), member.number)?;
            nspawn.args(["sh", "-c", join, "sh"]).args(groups).args(["--", "systemd-nspawn", "--quiet", "--keep-unit"]);
        }
        nspawn
            .args(["--boot", "--register=no"])
            .arg(format!("--directory={}", self.root.display()))
            .arg(format!("--network-namespace-path={}", network.namespace_path(member).display()))
            .arg(format!("--machine={}", network.interface(member)))
            .arg(format!("--hostname={}", hostname(&self.name)))
            .arg(format!("--resolv-conf={resolver}"))
            .arg("--capability=CAP_NET_ADMIN,CAP_NET_RAW")
            .env("SYSTEMD_NSPAWN_TMPFS_TMP", "0")
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(errors);
        let mut child = nspawn.spawn().context("cannot start `systemd-nspawn`")?;
        // Reaps the process, which would otherwise stay a zombie until this process ends.
        thread::spawn(move || child.wait());
        Ok(())
    }

    /// Waits until the operator's account can log in and systemd has started everything.
    pub(super) fn wait_for_login(&self, programs: &Programs, config: &Path, limit: Duration) -> Result<()> {
        let up = || {
            let options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=1"];
            programs.command("ssh").arg("-F").arg(config).args(options).args([&self.name, "true"]).run().ok()
        };
        processes::wait_for(&format!("`{}`", self.name), limit, up).map_err(|_| {
            let console = fs::read(&self.console).unwrap_or_default();
            anyhow!(
                "node `{}` did not come up within {} s; the end of `{}`:\n{}",
                self.name,
                limit.as_secs(),
                self.console.display(),
                last_lines(&String::from_utf8_lossy(&console))
            )
        })?;
        // The status is ignored: "degraded", which a failed unit in a container causes, is good enough.
        self.command_inside(programs, &["systemctl", "is-system-running", "--wait"])?.output().map(drop)
    }

    /// Returns a command to run as root in the container, without SSH.
    pub(super) fn command_inside(&self, programs: &Programs, arguments: &[&str]) -> Result<super::command::ExternalCommand> {
        let leader = processes::find_leader(&self.root).with_context(|| format!("node `{}` is not running", self.name))?;
        let enter = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd=/", "--"];
        Ok(programs.command("nsenter").args(["--target", &leader.to_string()]).args(enter).args(arguments))
    }

    pub(super) fn is_running(&self) -> bool {
        processes::find_leader(&self.root).is_some()
    }

    /// Powers the node off as its power button would, or kills it if that takes too long.
    pub(super) fn power_off(&self, programs: &Programs) -> Result<()> {
        if let Some(leader) = processes::find_leader(&self.root) {
            // SIGRTMIN+4 starts poweroff.target, systemd(1).
            processes::signal(programs, &[leader], "RTMIN+4");
            let off =
                processes::wait_for("power off", POWER_OFF_LIMIT, || processes::find_nspawn(&self.root).is_none().then_some(()));
            if off.is_ok() {
                return Ok(());
            }
        }
        self.cut_power(programs)
    }

    /// Stops the node at once, as a power cut would.
    pub(super) fn cut_power(&self, programs: &Programs) -> Result<()> {
        processes::end_container(programs, &self.root)
    }

    /// Stops the node and removes its disk and its console log.
    pub(super) fn remove(&self, programs: &Programs) -> Result<()> {
        self.cut_power(programs)?;
        let own = self.root.parent().with_context(|| format!("`{}` is not the disk of a node", self.root.display()))?;
        unmount_below(programs, own)?;
        image::remove(own)
    }
}

/// Returns the mount points in or below this directory, the deepest first.
pub(super) fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let paths = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = paths.filter(|path| path.starts_with(directory)).collect();
    below.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    below
}

/// Ends every container whose root is below this directory.
pub(super) fn end_below(programs: &Programs, directory: &Path) -> Result<()> {
    processes::containers_below(directory).iter().try_for_each(|root| processes::end_container(programs, root))
}

/// Unmounts everything that is mounted below this directory.
pub(super) fn unmount_below(programs: &Programs, directory: &Path) -> Result<()> {
    for path in mounts_below(directory) {
        // It is busy for a moment after its processes were killed; a lazy unmount completes when the last one has ended.
        if programs.command("umount").arg(&path).run().is_err() {
            programs.command("umount").arg("--lazy").arg(&path).run()?;
        }
    }
    Ok(())
}

/// Converts a name to a valid hostname: letters, digits, dashes and dots (RFC 1123).
fn hostname(name: &str) -> String {
    name.chars().map(|character| if character.is_ascii_alphanumeric() || character == '.' { character } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_name_becomes_a_hostname() {
        assert_eq!(hostname("database_vm"), "database-vm");
        assert_eq!(hostname("db1.example"), "db1.example");
    }
}
