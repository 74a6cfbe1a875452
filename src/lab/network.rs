//! A lab's network: one /24 of 198.18.0.0/16 (RFC 2544, never routed), a network namespace for each member, and one nft table.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::{
    command::Programs,
    processes,
    state::{FileLock, Member},
};

/// Records which lab has which network. In /run because the networks do not survive a reboot either.
const REGISTRY: &str = "/run/autobot-provision-lab";

/// The subnet of the real fleet, a /24. No lab node may reach it, whatever address a role contains.
const FLEET: Ipv4Addr = Ipv4Addr::new(172, 16, 168, 0);

/// The only ports that nodes may reach outside of this machine: DNS, HTTP, HTTPS, and the usual ports of apt proxies.
const OUTBOUND_PORTS: &str = "{ 53, 80, 443, 3128, 3142, 8080 }";

/// The limit of root's inotify instances while there are labs.
const MAX_INOTIFY_INSTANCES: u32 = 4096;

/// The network of one lab: `198.18.N.0/24`, the host being `.1`.
#[derive(Debug, Clone)]
pub(super) struct LabNetwork {
    id: String,
    number: u8,
    programs: Programs,
}

/// The state of a member's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    Cut,
    Up,
}

impl LabNetwork {
    fn new(programs: &Programs, id: &str, number: u8) -> Self {
        Self { id: id.to_owned(), number, programs: programs.clone() }
    }

    /// Returns the network of this lab, or assigns a free one. The search begins at a number derived from the ID, so a lab usually gets the
    /// same network again.
    pub(super) fn claim(programs: &Programs, id: &str, directory: &Path) -> Result<Self> {
        fs::create_dir_all(REGISTRY).with_context(|| format!("cannot create `{REGISTRY}`"))?;
        let _lock = FileLock::wait(&Path::new(REGISTRY).join("lock"))?;
        if let Some((number, owner)) = registered(id)? {
            if owner != directory {
                bail!("lab `{id}` already exists in `{}`: give that with `--lab-dir`, or choose another ID", owner.display());
            }
            return Ok(Self::new(programs, id, number));
        }
        let taken = all_registered()?;
        let first = Sha256::digest(id)[0];
        let number =
            (0..=255_u8).map(|step| first.wrapping_add(step)).filter(|number| (1..=254).contains(number)).find(|number| {
                // A network that is in use outside of labs is left alone.
                !taken.iter().any(|(_, other, _)| other == number)
                    && programs
                        .command("ip")
                        .args(["-4", "route", "show", "table", "all", "root", &format!("198.18.{number}.0/24")])
                        .capture()
                        .is_ok_and(|routes| routes.trim().is_empty())
            });
        let Some(number) = number else { bail!("all of 198.18.0.0/16 is in use: `lab down` frees the network of a lab") };
        let path = Path::new(REGISTRY).join(format!("{id}.lab"));
        fs::write(&path, format!("{number}\n{}\n", directory.display()))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Self::new(programs, id, number))
    }

    /// Returns the network of this lab, if it has one.
    pub(super) fn find(programs: &Programs, id: &str, directory: &Path) -> Result<Option<Self>> {
        match registered(id)? {
            Some((_, owner)) if owner != directory => {
                bail!("lab `{id}` exists in `{}`: give that with `--lab-dir`", owner.display())
            }
            found => Ok(found.map(|(number, _)| Self::new(programs, id, number))),
        }
    }

    /// Returns the ID of the lab.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Returns the address at which members reach this machine.
    pub(super) fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 1)
    }

    fn subnet(&self) -> String {
        format!("198.18.{}.0/24", self.number)
    }

    pub(super) fn address(&self, member: &Member) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, member.number)
    }

    /// Returns the network namespace of a member, as `ip netns` names it. IDs contain no dots, so the names of one lab are never prefixes of
    /// another's.
    pub(super) fn namespace(&self, member: &Member) -> String {
        format!("lab.{}.{}", self.id, member.number)
    }

    pub(super) fn namespace_path(&self, member: &Member) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(member))
    }

    /// Returns the name of the host's end of a member's veth pair (at most 15 characters), which is also the container's name for systemd.
    pub(super) fn interface(&self, member: &Member) -> String {
        format!("lab{}n{}", self.number, member.number)
    }

    fn table(&self) -> String {
        // nft's names contain no dashes, and IDs contain no underscores, so two labs never share a table.
        format!("autobot_lab_{}", self.id.replace('-', "_"))
    }

    /// Sets up what all members share: the host's address, outbound access, and the set of cut links.
    pub(super) fn set_up(&self) -> Result<()> {
        let (host, number, table) = (self.host(), self.number, self.table());
        self.programs.command("ip").args(["address", "replace", &format!("{host}/32"), "dev", "lo"]).run()?;
        // Without this, packets to an address that no member has would follow the machine's default route.
        self.programs.command("ip").args(["route", "replace", "unreachable", &self.subnet()]).run()?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .context("cannot turn on forwarding in `/proc/sys/net/ipv4/ip_forward`")?;
        raise_inotify_limit()?;
        // Adding existing elements has no effect, so a second `up` keeps the links that are cut.
        let rules = format!(
            "table ip {table} {{
                set cut {{ type ipv4_addr; }}
                chain out {{ type nat hook postrouting priority 100; }}
                chain arriving {{ type filter hook prerouting priority -300; }}
                chain leaving {{ type filter hook postrouting priority 300; }}
            }}
            flush chain ip {table} out
            flush chain ip {table} arriving
            flush chain ip {table} leaving
            add rule ip {table} out ip saddr 198.18.{number}.0/24 ip daddr != 198.18.0.0/16 masquerade
            add rule ip {table} arriving ip saddr @cut drop
            add rule ip {table} arriving ip saddr 198.18.{number}.0/24 ip daddr {FLEET}/24 counter drop
            add rule ip {table} arriving ip saddr 198.18.{number}.0/24 ip daddr != 198.18.0.0/16 tcp dport != {OUTBOUND_PORTS} counter drop
            add rule ip {table} arriving ip saddr 198.18.{number}.0/24 ip daddr != 198.18.0.0/16 udp dport != 53 counter drop
            add rule ip {table} leaving ip daddr @cut drop
            "
        );
        self.programs.command("nft").args(["-f", "-"]).input(rules).run()
    }

    /// Creates the namespace and the interface of a member, unless they exist.
    pub(super) fn connect(&self, member: &Member) -> Result<()> {
        let namespace = self.namespace(member);
        if self.namespace_path(member).exists() {
            return Ok(());
        }
        let (interface, address, host) = (self.interface(member), self.address(member), self.host());
        self.programs.command("ip").args(["netns", "add", &namespace]).run()?;
        let outside = format!(
            "link add {interface} type veth peer name eth0 netns {namespace}\nlink set {interface} up\nroute replace {address}/32 dev {interface} src {host}\n"
        );
        self.programs.command("ip").args(["-batch", "-"]).input(outside).run()?;
        // Members see an ordinary /24. The host answers ARP for their neighbours and routes between them, so that a cut link is cut for all.
        for (setting, value) in [(format!("conf/{interface}/proxy_arp"), "1"), (format!("neigh/{interface}/proxy_delay"), "0")] {
            let path = format!("/proc/sys/net/ipv4/{setting}");
            fs::write(&path, value).with_context(|| format!("cannot write `{path}`"))?;
        }
        let inside = format!(
            "link set lo up\naddress add {address}/24 brd + dev eth0\nlink set eth0 up\nroute add default via {host} dev eth0\n"
        );
        self.programs.command("ip").args(["-n", &namespace, "-batch", "-"]).input(inside).run()
    }

    /// Cuts or restores a member's link. While it is cut, packets are dropped silently; no interface goes down.
    pub(super) fn set_link(&self, member: &Member, link: LinkState) -> Result<()> {
        let (table, address) = (self.table(), self.address(member));
        // Adding the element first prevents an error if the link was never cut.
        let change = match link {
            LinkState::Cut => format!("add element ip {table} cut {{ {address} }}\n"),
            LinkState::Up => {
                format!("add element ip {table} cut {{ {address} }}\ndelete element ip {table} cut {{ {address} }}\n")
            }
        };
        self.programs.command("nft").args(["-f", "-"]).input(change).run()
    }

    /// Ends the processes of a member, and removes its namespace and its interface.
    pub(super) fn disconnect(&self, member: &Member) -> Result<()> {
        // The next member with this address must not inherit a link that is cut.
        self.set_link(member, LinkState::Up)?;
        let namespace = self.namespace(member);
        if self.namespace_path(member).exists() {
            self.end_processes_in(&namespace)?;
            self.programs.command("ip").args(["netns", "delete", &namespace]).run()?;
        }
        self.delete_interface(&self.interface(member))
    }

    fn delete_interface(&self, interface: &str) -> Result<()> {
        let exists = || Path::new("/sys/class/net").join(interface).exists();
        if !exists() {
            return Ok(());
        }
        // It disappears by itself shortly after its namespace, so it may be gone by now.
        let deleted = self.programs.command("ip").args(["link", "delete", interface]).run();
        if exists() { deleted } else { Ok(()) }
    }

    fn namespaces(&self) -> Vec<String> {
        let prefix = format!("lab.{}.", self.id);
        names_in("/run/netns").into_iter().filter(|name| name.starts_with(&prefix)).collect()
    }

    /// Ends all processes in the lab's namespaces: commands in clients, and containers without their nspawn.
    pub(super) fn end_processes(&self) -> Result<()> {
        self.namespaces().iter().try_for_each(|namespace| self.end_processes_in(namespace))
    }

    fn end_processes_in(&self, namespace: &str) -> Result<()> {
        processes::end(&self.programs, &format!("the processes in `{namespace}`"), || {
            let inside = self.programs.command("ip").args(["netns", "pids", namespace]).capture().unwrap_or_default();
            inside.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
        })
    }

    /// Removes everything with this lab's name, even if it is incomplete, and frees the network.
    pub(super) fn remove(&self) -> Result<()> {
        for namespace in self.namespaces() {
            self.programs.command("ip").args(["netns", "delete", &namespace]).run()?;
        }
        let prefix = format!("lab{}n", self.number);
        for interface in names_in("/sys/class/net").into_iter().filter(|name| name.starts_with(&prefix)) {
            self.delete_interface(&interface)?;
        }
        let (table, host) = (self.table(), format!("{}/32", self.host()));
        self.programs.command("nft").args(["-f", "-"]).input(format!("table ip {table}\ndelete table ip {table}\n")).run()?;
        if self.programs.command("ip").args(["-4", "address", "show", "dev", "lo"]).capture()?.contains(&format!(" {host} ")) {
            self.programs.command("ip").args(["address", "delete", &host, "dev", "lo"]).run()?;
        }
        if !self
            .programs
            .command("ip")
            .args(["-4", "route", "show", "type", "unreachable", "root", &self.subnet()])
            .capture()?
            .trim()
            .is_empty()
        {
            self.programs.command("ip").args(["route", "delete", "unreachable", &self.subnet()]).run()?;
        }
        let path = Path::new(REGISTRY).join(format!("{}.lab", self.id));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Raises the limit of inotify instances. Each node's systemd uses a dozen of root's instances, and the kernel's default limit of 128 is enough for
/// ten nodes only.
fn raise_inotify_limit() -> Result<()> {
    let path = "/proc/sys/fs/inotify/max_user_instances";
    let current = fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?;
    if current.trim().parse::<u32>().is_ok_and(|current| current < MAX_INOTIFY_INSTANCES) {
        fs::write(path, MAX_INOTIFY_INSTANCES.to_string()).with_context(|| format!("cannot write `{path}`"))?;
    }
    Ok(())
}

fn names_in(directory: &str) -> Vec<String> {
    fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default()
}

fn registered(id: &str) -> Result<Option<(u8, PathBuf)>> {
    let path = Path::new(REGISTRY).join(format!("{id}.lab"));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    };
    let mut lines = text.lines();
    let number = lines.next().and_then(|line| line.parse().ok());
    // A registration that was truncated by a kill does not count.
    Ok(number.zip(lines.next().map(PathBuf::from)))
}

/// Returns the labs on this machine: their IDs and their directories.
///
/// # Errors
/// A registration cannot be read.
pub fn labs() -> Result<Vec<(String, PathBuf)>> {
    Ok(all_registered()?.into_iter().map(|(id, _, directory)| (id, directory)).collect())
}

fn all_registered() -> Result<Vec<(String, u8, PathBuf)>> {
    let mut labs = Vec::new();
    for name in names_in(REGISTRY) {
        if let Some(id) = name.strip_suffix(".lab") {
            labs.extend(registered(id)?.map(|(number, directory)| (id.to_owned(), number, directory)));
        }
    }
    labs.sort();
    Ok(labs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_interface_name_fits_into_15_characters() {
        let network = LabNetwork::new(&Programs::default(), "an-id-of-any-length-at-all", 254);
        let member = Member { name: "database.example.org".to_owned(), number: 254, layers: Vec::new() };
        assert_eq!(network.interface(&member), "lab254n254");
        assert_eq!(network.namespace(&member), "lab.an-id-of-any-length-at-all.254");
        assert_eq!(network.table(), "autobot_lab_an_id_of_any_length_at_all");
        assert_eq!(network.address(&member).to_string(), "198.18.254.254");
    }
}
