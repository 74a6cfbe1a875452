//! One node: its disk (an overlay over the base image) and its container.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use super::{
    cgroup,
    command::{last_lines, run},
    image::ACCOUNT,
    network::Network,
    processes, ssh,
    state::Member,
};

/// How long a node may take to power off before its plug is pulled.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(90);

/// A throw-away machine with a name, an address and a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// As in the inventory.
    pub name: String,
    /// In 198.18.0.0/16.
    pub address: Ipv4Addr,
    /// What the node wrote since it was made: the overlay's upper directory. To look at, not to change.
    pub upper: PathBuf,
    /// The node's whole disk.
    pub root: PathBuf,
    /// What the node printed while booting.
    pub console: PathBuf,
}

impl Node {
    pub(super) fn of(directory: &Path, network: &Network, member: &Member) -> Self {
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

    /// Puts the disk together and, the first time, makes it a machine of its own.
    pub(super) fn assemble(&self, layers: &[PathBuf], lab_key: &str) -> Result<()> {
        self.mount(layers)?;
        self.host_key().map_or_else(|| self.furnish(lab_key), |_| Ok(()))
    }

    /// Makes the disk a machine of its own: keys, names, identity.
    fn furnish(&self, lab_key: &str) -> Result<()> {
        let write = |path: &str, text: &str, mode: u32| -> Result<()> {
            let path = self.root.join(path);
            fs::write(&path, text)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
                .with_context(|| format!("cannot write `{}`", path.display()))
        };
        let hostname = hostname(&self.name);
        let host_key = ssh::make_host_key(&self.root, &hostname)?;
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
        // The account's directory was made by the image, which knows the account's number.
        let like = format!("--reference={}", self.root.join(&authorized).with_file_name("").display());
        run("chown").arg(like).arg(self.root.join(&authorized)).done()?;
        // Last: it says that all of this is done.
        fs::write(self.host_key_path(), host_key).with_context(|| format!("cannot write `{}`", self.host_key_path().display()))
    }

    /// Kept beside the disk, because the disk cannot be read while the node is off.
    fn host_key_path(&self) -> PathBuf {
        self.root.with_file_name("host_key.pub")
    }

    /// The public half of the node's host key, once the node is furnished.
    pub(super) fn host_key(&self) -> Option<String> {
        fs::read_to_string(self.host_key_path()).ok()
    }

    pub(super) fn is_mounted(&self) -> bool {
        mounts_below(&self.root).contains(&self.root)
    }

    /// Puts the node's disk together. One that is together is left so.
    pub(super) fn mount(&self, layers: &[PathBuf]) -> Result<()> {
        if self.is_mounted() {
            return Ok(());
        }
        for directory in [&self.upper, &self.work(), &self.root] {
            fs::create_dir_all(directory).with_context(|| format!("cannot create `{}`", directory.display()))?;
        }
        let layers: Vec<String> = layers.iter().map(|layer| layer.display().to_string()).collect();
        let options = format!(
            // Directories of the lower layers can be renamed, as on a real disk.
            "lowerdir={},upperdir={},workdir={},redirect_dir=on",
            layers.join(":"),
            self.upper.display(),
            self.work().display()
        );
        run("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&self.root).done()
    }

    /// Boots the container. It lives on when we end; [`Node::await_login`] says when it is up.
    pub(super) fn boot(&self, network: &Network, member: &Member) -> Result<()> {
        if processes::nspawn_of(&self.root).is_some() {
            return Ok(());
        }
        let console = fs::File::create(&self.console).with_context(|| format!("cannot create `{}`", self.console.display()))?;
        let errors = console.try_clone().context("cannot share the console log")?;
        let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        // A stub resolver on this machine's loopback cannot be reached from a node; its own servers can.
        let resolver = if resolver.contains("127.0.0.53") { "copy-uplink" } else { "copy-host" };
        let mut nspawn = Command::new("setsid");
        if cgroup::handed_out_by_systemd() {
            nspawn.args(["systemd-nspawn", "--quiet"]);
        } else {
            // Joins the groups, which come before the first "--", and becomes nspawn.
            let join = r#"while [ "$1" != -- ]; do echo $$ >"$1" || exit; shift; done; shift; exec "$@""#;
            let groups = cgroup::make(network.id(), member.number)?;
            nspawn.args(["sh", "-c", join, "sh"]).args(groups).args(["--", "systemd-nspawn", "--quiet", "--keep-unit"]);
        }
        nspawn
            .args(["--boot", "--register=no"])
            .arg(format!("--directory={}", self.root.display()))
            .arg(format!("--network-namespace-path={}", network.namespace_path(member).display()))
            .arg(format!("--machine={}", network.cable(member)))
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
        // Somebody must wait for it, or it stays a zombie for as long as we live.
        thread::spawn(move || child.wait());
        Ok(())
    }

    /// Waits until the operator's account can log in and systemd has nothing left to start.
    pub(super) fn await_login(&self, config: &Path, limit: Duration) -> Result<()> {
        let up = || {
            let true_there =
                run("ssh").arg("-F").arg(config).args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=1", &self.name, "true"]);
            true_there.done().ok()
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
        // "degraded" is an answer too: a unit that fails in a container is no reason to stop.
        self.inside(&["systemctl", "is-system-running", "--wait"])?.output().map(drop)
    }

    /// A command inside the container, as root, without SSH.
    pub(super) fn inside(&self, command: &[&str]) -> Result<super::command::Run> {
        let leader = processes::leader_of(&self.root).with_context(|| format!("node `{}` is not running", self.name))?;
        let enter = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd=/", "--"];
        Ok(run("nsenter").args(["--target", &leader.to_string()]).args(enter).args(command))
    }

    pub(super) fn is_running(&self) -> bool {
        processes::leader_of(&self.root).is_some()
    }

    /// Powers the node off as its power button would, or pulls the plug when it takes too long.
    pub(super) fn power_off(&self) -> Result<()> {
        if let Some(leader) = processes::leader_of(&self.root) {
            // SIGRTMIN+4 starts poweroff.target, systemd(1).
            processes::signal(&[leader], "RTMIN+4");
            let off =
                processes::wait_for("power off", POWER_OFF_LIMIT, || processes::nspawn_of(&self.root).is_none().then_some(()));
            if off.is_ok() {
                return Ok(());
            }
        }
        self.cut_power()
    }

    /// Ends the node at once, as a power cut would.
    pub(super) fn cut_power(&self) -> Result<()> {
        processes::end_container(&self.root)
    }
}

/// Directories below this one (or itself) on which something is mounted, the deepest first.
pub(super) fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = places.filter(|place| place.starts_with(directory)).collect();
    below.sort_by_key(|place| std::cmp::Reverse(place.components().count()));
    below
}

/// Ends every container that lives below this directory.
pub(super) fn end_below(directory: &Path) -> Result<()> {
    processes::containers_below(directory).iter().try_for_each(|root| processes::end_container(root))
}

/// Takes everything off that is mounted below this directory.
pub(super) fn unmount_below(directory: &Path) -> Result<()> {
    for place in mounts_below(directory) {
        // Busy for a moment after its processes were killed; detaching ends it as soon as the last one is gone.
        if run("umount").arg(&place).done().is_err() {
            run("umount").arg("--lazy").arg(&place).done()?;
        }
    }
    Ok(())
}

/// The name a machine may have: letters, digits, dashes and dots (RFC 1123).
fn hostname(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_name_becomes_a_machines_name() {
        assert_eq!(hostname("database_vm"), "database-vm");
        assert_eq!(hostname("db1.example"), "db1.example");
    }
}
