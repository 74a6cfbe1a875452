//! ufw's rules as data: how its rule files write them, and whether they let a connection in.
//!
//! A rule file holds `### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=<hex>`: action, protocol, port and address it goes to, port and
//! address it comes from, two application names (only where there are any), direction (ufw 0.36, `backend_iptables.py`).

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// What a rule does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Lets it through.
    Allow,
    /// Drops it.
    Deny,
    /// Refuses it, and says so.
    Reject,
    /// Lets it through unless the same address connects too often.
    Limit,
}

impl Action {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
            Self::Limit => "limit",
        }
    }

    fn passes(self) -> bool {
        match self {
            Self::Allow | Self::Limit => true,
            Self::Deny | Self::Reject => false,
        }
    }
}

impl FromStr for Action {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Allow, Self::Deny, Self::Reject, Self::Limit].into_iter().find(|action| action.word() == word).ok_or(())
    }
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// To the node.
    #[default]
    In,
    /// From the node.
    Out,
}

impl Direction {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Addresses that share their first bits. The other bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Every IPv4 address, or every IPv6 address.
    #[must_use]
    pub fn everything(v6: bool) -> Self {
        let address = if v6 { IpAddr::from([0_u8; 16]) } else { IpAddr::from([0_u8; 4]) };
        Self { address, prefix: 0 }
    }

    /// Whether these are IPv6 addresses.
    #[must_use]
    pub fn is_v6(self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.is_v6() == address.is_ipv6() && masked(address, self.prefix) == self.address
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).into()),
    }
}

impl FromStr for Network {
    type Err = String;
    /// An address, or an address and `/` and the number of bits. Further bits are dropped, as ufw does.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address such as 198.18.0.1 or 198.18.0.0/24");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix = prefix.map_or(Ok(width(address)), |prefix| prefix.parse().map_err(|_| wrong()))?;
        if prefix > width(address) {
            return Err(wrong());
        }
        Ok(Self { address: masked(address, prefix), prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == width(self.address) {
            write!(formatter, "{}", self.address)
        } else {
            write!(formatter, "{}/{}", self.address, self.prefix)
        }
    }
}

/// Ports, as ranges in ascending order; empty means any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// Whether every port is meant.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one port, not several.
    #[must_use]
    pub fn is_one(&self) -> bool {
        matches!(self.0.as_slice(), [(first, last)] if first == last)
    }

    /// Whether `port` is meant.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.is_any() || self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }
}

impl FromStr for Ports {
    type Err = String;
    /// `any`, `22`, `1000:1010` or a list of these with commas.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::default());
        }
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let range = |text: &str| match text.split_once(':') {
            Some((first, last)) => port(first).zip(port(last)).filter(|(first, last)| first < last),
            None => port(text).map(|port| (port, port)),
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        let mut ranges = ranges.ok_or_else(|| format!("`{text}` is not a port such as 22, 80,443 or 1000:1010"))?;
        ranges.sort_unstable();
        Ok(Self(ranges))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return formatter.write_str("any");
        }
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if first == last { write!(formatter, "{comma}{first}")? } else { write!(formatter, "{comma}{first}:{last}")? }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Ports;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a port such as 22, 80,443 or 1000:1010")
            }
            fn visit_u64<E: de::Error>(self, port: u64) -> Result<Ports, E> {
                self.visit_str(&port.to_string())
            }
            fn visit_i64<E: de::Error>(self, port: i64) -> Result<Ports, E> {
                self.visit_str(&port.to_string())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One rule, for IPv4 or for IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// The protocol's name; `any` for all.
    pub protocol: String,
    /// The ports it goes to.
    pub to_ports: Ports,
    /// Where it goes to.
    pub to: Network,
    /// The ports it comes from.
    pub from_ports: Ports,
    /// Where it comes from.
    pub from: Network,
    /// Which way.
    pub direction: Direction,
    /// Only on this interface.
    pub interface: Option<String>,
    /// What people say about it.
    pub comment: Option<String>,
    /// What this program never writes and so only carries along: forwarding, logging, application profiles.
    pub special: Option<String>,
}

impl Rule {
    /// Reads what follows `### tuple ### ` in a rule file. `None` when it is not in a form that ufw writes.
    #[must_use]
    pub fn parse(tuple: &str) -> Option<Self> {
        let (tuple, comment) = match tuple.split_once(" comment=") {
            Some((tuple, hex)) => (tuple, Some(from_hex(hex.trim())?)),
            None => (tuple, None),
        };
        let fields: Vec<&str> = tuple.split_whitespace().collect();
        let (what, applications, way) = match fields.as_slice() {
            [what @ .., way] if what.len() == 6 => (what, None, way),
            [what @ .., to, from, way] if what.len() == 6 => (what, Some(format!("{to} {from}")), way),
            _ => return None,
        };
        let [action, protocol, to_ports, to, from_ports, from] = what else { return None };
        let (forward, action) = action.strip_prefix("route:").map_or((None, *action), |action| (Some("route"), action));
        let (action, log) = action.split_once('_').map_or((action, None), |(action, log)| (action, Some(log)));
        let (direction, interface, both) = way_of(way)?;
        let special: Vec<&str> = [forward, log, applications.as_deref(), both].into_iter().flatten().collect();
        Some(Self {
            action: action.parse().ok()?,
            protocol: (*protocol).to_owned(),
            to_ports: to_ports.parse().ok()?,
            to: to.parse().ok()?,
            from_ports: from_ports.parse().ok()?,
            from: from.parse().ok()?,
            direction,
            interface,
            comment,
            special: (!special.is_empty()).then(|| special.join(" ")),
        })
    }

    /// Whether both are about the same packets, so that adding one replaces the other.
    #[must_use]
    pub fn same_packets(&self, other: &Self) -> bool {
        let marked = |rule: &Self| Self { action: Action::Allow, comment: None, ..rule.clone() };
        marked(self) == marked(other)
    }

    /// What it does with a new TCP connection to the node. Where an interface decides, the rule lets nothing in and may keep everything out,
    /// because nobody knows here through which interface the connection comes.
    fn decides(&self, client: IpAddr, server: IpAddr, port: u16) -> Option<bool> {
        let forwarded = self.special.as_deref().is_some_and(|special| special.starts_with("route"));
        let meant = self.direction == Direction::In
            && !forwarded
            && (self.protocol == "tcp" || self.protocol == "any")
            && self.from_ports.is_any()
            && self.from.contains(client)
            && self.to.contains(server)
            && self.to_ports.contains(port);
        let passes = self.action.passes();
        (meant && !(passes && self.interface.is_some())).then_some(passes)
    }
}

fn way_of(way: &str) -> Option<(Direction, Option<String>, Option<&str>)> {
    let (direction, interface) = way.split_once('_').map_or((way, None), |(way, interface)| (way, Some(interface)));
    let direction = match direction {
        "in" => Direction::In,
        "out" => Direction::Out,
        _ => return None,
    };
    Some((direction, interface.map(str::to_owned), interface.filter(|interface| interface.contains('!'))))
}

fn from_hex(hex: &str) -> Option<String> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    String::from_utf8(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()).ok()
}

/// What happens to packets that no rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// They pass.
    Allow,
    /// They are dropped.
    Deny,
    /// They are refused, and the sender is told.
    Reject,
}

impl Policy {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        }
    }

    /// Reads the word in `/etc/default/ufw`, which is iptables' word.
    #[must_use]
    pub fn from_target(word: &str) -> Option<Self> {
        match word {
            "ACCEPT" => Some(Self::Allow),
            "DROP" => Some(Self::Deny),
            "REJECT" => Some(Self::Reject),
            _ => None,
        }
    }
}

/// A firewall as ufw's files describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// Whether it works now and after a boot.
    pub enabled: bool,
    /// Whether rules without addresses are made for IPv6, too.
    pub ipv6: bool,
    /// How much it logs: `off`, `low`, `medium`, `high`, `full`.
    pub logging: String,
    /// For packets to the node.
    pub incoming: Policy,
    /// For packets from the node.
    pub outgoing: Policy,
    /// For packets through the node.
    pub routed: Policy,
    /// In the order in which they are tried, IPv4 first.
    pub rules: Vec<Rule>,
}

impl Firewall {
    /// As the package `ufw` leaves it.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            enabled: false,
            ipv6: true,
            logging: "low".into(),
            incoming: Policy::Deny,
            outgoing: Policy::Allow,
            routed: Policy::Deny,
            rules: Vec::new(),
        }
    }

    /// Whether a new TCP connection from `client` to the node's `server`:`port` is let in.
    #[must_use]
    pub fn lets_in(&self, client: IpAddr, server: IpAddr, port: u16) -> bool {
        // ufw accepts everything on the loopback interface before any rule.
        if !self.enabled || client.is_loopback() || client == server {
            return true;
        }
        let decided = self.rules.iter().find_map(|rule| rule.decides(client, server, port));
        decided.unwrap_or(self.incoming == Policy::Allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn rules(tuples: &[&str]) -> Vec<Rule> {
        tuples.iter().map(|tuple| Rule::parse(tuple).unwrap_or_else(|| panic!("{tuple}"))).collect()
    }

    fn lets_in(tuples: &[&str]) -> bool {
        let firewall = Firewall { enabled: true, rules: rules(tuples), ..Firewall::fresh() };
        firewall.lets_in(ip("198.18.0.1"), ip("198.18.0.2"), 22)
    }

    #[test]
    fn reads_every_form_that_ufw_writes() {
        let read = rules(&[
            "deny any any 0.0.0.0/0 any 1.2.3.4 in",
            "allow tcp 6379 0.0.0.0/0 any 172.16.168.0/24 in comment=666c656574207265646973",
            "limit tcp 2222 0.0.0.0/0 any 0.0.0.0/0 in_eth0",
            "reject tcp 25 10.0.0.1 any 0.0.0.0/0 out",
            "allow udp 1000:1010 0.0.0.0/0 any 0.0.0.0/0 in",
            "allow tcp 80,443 ::/0 any ::/0 in",
            "allow_log tcp 99 0.0.0.0/0 any 0.0.0.0/0 in",
            "route:allow any any 10.0.0.0/8 any 0.0.0.0/0 in_eth0!out_eth1",
            "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in",
            "allow esp any 0.0.0.0/0 any 10.0.0.1 in",
        ]);
        assert_eq!(read[1].comment.as_deref(), Some("fleet redis"));
        assert_eq!(read[1].from.to_string(), "172.16.168.0/24");
        assert_eq!(read[2].interface.as_deref(), Some("eth0"));
        assert_eq!(read[3].direction, Direction::Out);
        assert_eq!(read[4].to_ports.to_string(), "1000:1010");
        assert!(read[5].to.is_v6() && read[5].to_ports.contains(443) && !read[5].to_ports.contains(81));
        assert_eq!(read[6].special.as_deref(), Some("log"));
        assert_eq!(read[7].special.as_deref(), Some("route eth0!out_eth1"));
        assert_eq!(read[8].special.as_deref(), Some("OpenSSH -"));
    }

    #[test]
    fn what_ufw_does_not_write_is_no_rule() {
        for broken in [
            "",
            "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0",
            "permit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in",
            "allow tcp 99999 0.0.0.0/0 any 0.0.0.0/0 in",
            "allow tcp 22 0.0.0.0/33 any 0.0.0.0/0 in",
            "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 sideways",
            "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=6",
            "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=ff",
            "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=é0",
        ] {
            assert_eq!(Rule::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn networks_lose_their_host_bits() {
        let shown = |text: &str| text.parse::<Network>().unwrap().to_string();
        assert_eq!(shown("172.16.168.77/24"), "172.16.168.0/24");
        assert_eq!(shown("10.0.0.1/32"), "10.0.0.1");
        assert_eq!(shown("2001:db8::1/64"), "2001:db8::/64");
        assert_eq!(shown("1.2.3.4/0"), "0.0.0.0/0");
        for wrong in ["", "any", "10.0.0.0/33", "10.0.0/8", "::1/129", "10.0.0.0/", "host"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_numbers() {
        assert_eq!("443,80".parse::<Ports>().unwrap().to_string(), "80,443");
        for wrong in ["", "0", "ssh", "10:5", "1,", "65536", "1:2:3"] {
            assert!(wrong.parse::<Ports>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_rule_that_is_meant_decides() {
        let ssh = "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in";
        assert!(!lets_in(&[]));
        assert!(lets_in(&[ssh]));
        assert!(lets_in(&["limit tcp 22 0.0.0.0/0 any 198.18.0.0/16 in"]));
        assert!(lets_in(&["allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in"]));
        assert!(!lets_in(&["deny any any 0.0.0.0/0 any 198.18.0.1 in", ssh]));
        assert!(lets_in(&[ssh, "deny any any 0.0.0.0/0 any 198.18.0.1 in"]));
        for other in [
            "allow udp 22 0.0.0.0/0 any 0.0.0.0/0 in",
            "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 out",
            "allow tcp 22 0.0.0.0/0 any 10.0.0.0/8 in",
            "allow tcp 22 198.18.0.3 any 0.0.0.0/0 in",
            "allow tcp 22 ::/0 any ::/0 in",
            "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in_eth0",
            "allow tcp 22 0.0.0.0/0 1000 0.0.0.0/0 in",
            "route:allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in",
        ] {
            assert!(!lets_in(&[other]), "{other}");
        }
    }

    #[test]
    fn a_firewall_that_sleeps_or_allows_keeps_nobody_out() {
        let node = (ip("198.18.0.1"), ip("198.18.0.2"), 22);
        assert!(Firewall::fresh().lets_in(node.0, node.1, node.2));
        let open = Firewall { enabled: true, incoming: Policy::Allow, ..Firewall::fresh() };
        assert!(open.lets_in(node.0, node.1, node.2));
        let closed = Firewall { enabled: true, ..Firewall::fresh() };
        assert!(closed.lets_in(ip("::1"), ip("::1"), 22));
    }
}
