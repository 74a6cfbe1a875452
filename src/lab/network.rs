//! A lab's network: one /24 of 198.18.0.0/16 (RFC 2544, never routed), a namespace per member, one nft table.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::{
    command::run,
    processes,
    state::{Lock, Member},
};

/// Which lab has which network. In /run because networks, too, are gone after a reboot.
const REGISTRY: &str = "/run/autobot-provision-lab";

/// The real fleet's subnet, a /24. No lab node may reach it, whatever a role tells it to dial.
const FLEET: Ipv4Addr = Ipv4Addr::new(172, 16, 168, 0);

/// Ports on which packages and names come: DNS, HTTP, HTTPS, and the usual ones of apt's proxies. Nothing else of a node's leaves this machine.
const WAYS_OUT: &str = "{ 53, 80, 443, 3128, 3142, 8080 }";

/// How many inotify instances root may have while there are labs.
const WATCHES: u32 = 4096;

/// The network of one lab: `198.18.N.0/24`, the host being `.1`.
#[derive(Debug, Clone)]
pub(super) struct Network {
    id: String,
    number: u8,
}

/// Two words for a link's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Cut,
    Whole,
}

impl Network {
    /// The network this lab already has, or a free one. The id decides where the search begins, so it is mostly the same again.
    pub(super) fn claim(id: &str, directory: &Path) -> Result<Self> {
        fs::create_dir_all(REGISTRY).with_context(|| format!("cannot create `{REGISTRY}`"))?;
        let _lock = Lock::wait(&Path::new(REGISTRY).join("lock"))?;
        if let Some((number, owner)) = registered(id)? {
            if owner != directory {
                bail!("lab `{id}` lives in `{}` already: name that with `--lab-dir`, or choose another id", owner.display());
            }
            return Ok(Self { id: id.to_owned(), number });
        }
        let taken = all_registered()?;
        let first = Sha256::digest(id)[0];
        let number =
            (0..=255_u8).map(|step| first.wrapping_add(step)).filter(|number| (1..=254).contains(number)).find(|number| {
                // Somebody else's network, too, is left alone.
                !taken.iter().any(|(_, other, _)| other == number)
                    && run("ip")
                        .args(["-4", "route", "show", "table", "all", "root", &format!("198.18.{number}.0/24")])
                        .read()
                        .is_ok_and(|routes| routes.trim().is_empty())
            });
        let Some(number) = number else { bail!("all of 198.18.0.0/16 is taken: `lab down` frees what a lab no longer needs") };
        let path = Path::new(REGISTRY).join(format!("{id}.lab"));
        fs::write(&path, format!("{number}\n{}\n", directory.display()))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Self { id: id.to_owned(), number })
    }

    /// The network this lab has, if it has one.
    pub(super) fn of(id: &str, directory: &Path) -> Result<Option<Self>> {
        match registered(id)? {
            Some((_, owner)) if owner != directory => {
                bail!("lab `{id}` lives in `{}`: name that with `--lab-dir`", owner.display())
            }
            found => Ok(found.map(|(number, _)| Self { id: id.to_owned(), number })),
        }
    }

    /// The lab's id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The address under which members reach this machine.
    pub(super) fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 1)
    }

    fn subnet(&self) -> String {
        format!("198.18.{}.0/24", self.number)
    }

    pub(super) fn address(&self, member: &Member) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, member.number)
    }

    /// The network namespace of a member, as `ip netns` names it. Ids hold no dots, so no lab's names begin with another's.
    pub(super) fn namespace(&self, member: &Member) -> String {
        format!("lab.{}.{}", self.id, member.number)
    }

    pub(super) fn namespace_path(&self, member: &Member) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(member))
    }

    /// The host's end of a member's cable; the kernel allows 15 characters. Also names the container to systemd.
    pub(super) fn cable(&self, member: &Member) -> String {
        format!("lab{}n{}", self.number, member.number)
    }

    fn table(&self) -> String {
        // nft's names have no dashes, and ids no underscores, so two labs never share a table.
        format!("autobot_lab_{}", self.id.replace('-', "_"))
    }

    /// Lays what all members share: the host's address, the way out, and the set of cut links.
    pub(super) fn lay(&self) -> Result<()> {
        let (host, number, table) = (self.host(), self.number, self.table());
        run("ip").args(["address", "replace", &format!("{host}/32"), "dev", "lo"]).done()?;
        // Without this, an address that no member has would be looked for where the machine's default route leads.
        run("ip").args(["route", "replace", "unreachable", &self.subnet()]).done()?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .context("cannot turn on forwarding in `/proc/sys/net/ipv4/ip_forward`")?;
        make_room_for_watches()?;
        // Adding what is there changes nothing, so a second `up` keeps the links that are cut.
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
            add rule ip {table} arriving ip saddr 198.18.{number}.0/24 ip daddr != 198.18.0.0/16 tcp dport != {WAYS_OUT} counter drop
            add rule ip {table} arriving ip saddr 198.18.{number}.0/24 ip daddr != 198.18.0.0/16 udp dport != 53 counter drop
            add rule ip {table} leaving ip daddr @cut drop
            "
        );
        run("nft").args(["-f", "-"]).input(rules).done()
    }

    /// Gives a member its namespace and its cable. One already there is kept.
    pub(super) fn connect(&self, member: &Member) -> Result<()> {
        let namespace = self.namespace(member);
        if self.namespace_path(member).exists() {
            return Ok(());
        }
        let (cable, address, host) = (self.cable(member), self.address(member), self.host());
        run("ip").args(["netns", "add", &namespace]).done()?;
        let outside = format!(
            "link add {cable} type veth peer name eth0 netns {namespace}\nlink set {cable} up\nroute replace {address}/32 dev {cable} src {host}\n"
        );
        run("ip").args(["-batch", "-"]).input(outside).done()?;
        // Members see an ordinary /24; the host answers for their neighbours at once and routes, so that a cut link is cut to all.
        for (setting, value) in [(format!("conf/{cable}/proxy_arp"), "1"), (format!("neigh/{cable}/proxy_delay"), "0")] {
            let path = format!("/proc/sys/net/ipv4/{setting}");
            fs::write(&path, value).with_context(|| format!("cannot write `{path}`"))?;
        }
        let inside = format!(
            "link set lo up\naddress add {address}/24 brd + dev eth0\nlink set eth0 up\nroute add default via {host} dev eth0\n"
        );
        run("ip").args(["-n", &namespace, "-batch", "-"]).input(inside).done()
    }

    /// Cuts a member's link in silence, or makes it whole: packets vanish, no interface goes down, nobody is told.
    pub(super) fn set_link(&self, member: &Member, link: Link) -> Result<()> {
        let (table, address) = (self.table(), self.address(member));
        // Adding first makes the removal of what was never cut no error.
        let change = match link {
            Link::Cut => format!("add element ip {table} cut {{ {address} }}\n"),
            Link::Whole => format!("add element ip {table} cut {{ {address} }}\ndelete element ip {table} cut {{ {address} }}\n"),
        };
        run("nft").args(["-f", "-"]).input(change).done()
    }

    fn namespaces(&self) -> Vec<String> {
        let prefix = format!("lab.{}.", self.id);
        names_in("/run/netns").into_iter().filter(|name| name.starts_with(&prefix)).collect()
    }

    /// Ends whatever still runs in the lab's namespaces: commands in clients, containers that lost their nspawn.
    pub(super) fn end_processes(&self) -> Result<()> {
        for namespace in self.namespaces() {
            processes::end(&format!("the processes in `{namespace}`"), || {
                let inside = run("ip").args(["netns", "pids", &namespace]).read().unwrap_or_default();
                inside.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
            })?;
        }
        Ok(())
    }

    /// Removes everything that carries this lab's name, whether or not it was finished, and frees the network.
    pub(super) fn remove(&self) -> Result<()> {
        for namespace in self.namespaces() {
            run("ip").args(["netns", "delete", &namespace]).done()?;
        }
        let prefix = format!("lab{}n", self.number);
        for cable in names_in("/sys/class/net").into_iter().filter(|name| name.starts_with(&prefix)) {
            // It goes by itself a moment after its namespace, so that it may be gone by now.
            let gone = run("ip").args(["link", "delete", &cable]).done();
            if Path::new("/sys/class/net").join(&cable).exists() {
                gone?;
            }
        }
        let (table, host) = (self.table(), format!("{}/32", self.host()));
        run("nft").args(["-f", "-"]).input(format!("table ip {table}\ndelete table ip {table}\n")).done()?;
        if run("ip").args(["-4", "address", "show", "dev", "lo"]).read()?.contains(&format!(" {host} ")) {
            run("ip").args(["address", "delete", &host, "dev", "lo"]).done()?;
        }
        if !run("ip").args(["-4", "route", "show", "type", "unreachable", "root", &self.subnet()]).read()?.trim().is_empty() {
            run("ip").args(["route", "delete", "unreachable", &self.subnet()]).done()?;
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

/// Each node's systemd takes a dozen inotify instances of root's, of which kernels allow 128: room for ten nodes only.
fn make_room_for_watches() -> Result<()> {
    let path = "/proc/sys/fs/inotify/max_user_instances";
    let now = fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?;
    if now.trim().parse::<u32>().is_ok_and(|now| now < WATCHES) {
        fs::write(path, WATCHES.to_string()).with_context(|| format!("cannot write `{path}`"))?;
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
    // A registration cut short by a kill claims nothing.
    Ok(number.zip(lines.next().map(PathBuf::from)))
}

/// The labs on this machine: their ids, and the directories they live in.
///
/// # Errors
/// One of their registrations cannot be read.
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
    fn the_longest_interface_name_fits_the_kernels_15_characters() {
        let network = Network { id: "an-id-of-any-length-at-all".to_owned(), number: 254 };
        let member = Member { name: "database.example.org".to_owned(), number: 254, layers: Vec::new() };
        assert_eq!(network.cable(&member), "lab254n254");
        assert_eq!(network.namespace(&member), "lab.an-id-of-any-length-at-all.254");
        assert_eq!(network.table(), "autobot_lab_an_id_of_any_length_at_all");
        assert_eq!(network.address(&member).to_string(), "198.18.254.254");
    }
}
