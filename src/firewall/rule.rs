//! A rule, and how ufw's rule files write it.
//!
//! A line is `### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=<hex>`: action, protocol, port and address it goes to, port and
//! address it comes from, two application names (only where there are any), direction (ufw 0.36, `backend_iptables.py`).

use std::{net::IpAddr, str::FromStr};

use serde::Deserialize;

use super::{Network, Ports};

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
    pub(super) fn decides(&self, client: IpAddr, server: IpAddr, port: u16) -> Option<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_that_ufw_writes() {
        let read = [
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
        ]
        .map(|tuple| Rule::parse(tuple).unwrap_or_else(|| panic!("{tuple}")));
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
}
