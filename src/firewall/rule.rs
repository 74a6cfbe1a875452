//! A firewall rule, and its form in ufw's rule files.
//!
//! A line is `### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=<hex>`: action, protocol, destination port and address, source port
//! and address, two application names (only if there are any), direction (ufw 0.36, `backend_iptables.py`).

use std::{net::IpAddr, str::FromStr};

use serde::Deserialize;

use super::{Network, Ports};

/// What a rule does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Accepts it.
    Allow,
    /// Drops it silently.
    Deny,
    /// Refuses it and notifies the sender.
    Reject,
    /// Accepts it unless the same address connects too often.
    Limit,
}

impl Action {
    /// Returns ufw's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
            Self::Limit => "limit",
        }
    }

    /// Whether it lets packets through.
    #[must_use]
    pub fn accepts(self) -> bool {
        match self {
            Self::Allow | Self::Limit => true,
            Self::Deny | Self::Reject => false,
        }
    }
}

impl FromStr for Action {
    type Err = ();
    fn from_str(as_str: &str) -> Result<Self, ()> {
        [Self::Allow, Self::Deny, Self::Reject, Self::Limit].into_iter().find(|action| action.as_str() == as_str).ok_or(())
    }
}

/// The direction of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// To the node.
    #[default]
    In,
    /// From the node.
    Out,
}

impl Direction {
    /// Returns ufw's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// One rule, for IPv4 or for IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What happens to a matching packet.
    pub action: Action,
    /// The name of the protocol; `any` for all.
    pub protocol: String,
    /// The destination ports.
    pub to_ports: Ports,
    /// The destination addresses.
    pub to: Network,
    /// The source ports.
    pub from_ports: Ports,
    /// The source addresses.
    pub from: Network,
    /// The direction.
    pub direction: Direction,
    /// The interface that the rule is limited to.
    pub interface: Option<String>,
    /// The comment.
    pub comment: Option<String>,
    /// How it logs: `log` or `log-all`.
    pub log: Option<String>,
    /// The application profiles that it was made from.
    pub profiles: Option<Profiles>,
    /// Whether it is about packets that are routed through the node.
    pub routed: bool,
}

/// The application profiles of a rule. ufw makes a rule for each protocol and list of ports of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profiles {
    /// The profile of the destination ports.
    pub to: Option<String>,
    /// The profile of the source ports.
    pub from: Option<String>,
}

impl Profiles {
    /// Parses two names as they stand in a rule file: blanks are `%20`, and `-` is none.
    fn parse(to: &str, from: &str) -> Self {
        let name = |word: &str| (word != "-").then(|| word.replace("%20", " "));
        Self { to: name(to), from: name(from) }
    }
}

impl Rule {
    /// Parses the text after `### tuple ### ` in a rule file. `None` if it does not have a form that ufw writes.
    #[must_use]
    pub fn parse(tuple: &str) -> Option<Self> {
        let (tuple, comment) = match tuple.split_once(" comment=") {
            Some((tuple, hex)) => (tuple, Some(from_hex(hex.trim())?)),
            None => (tuple, None),
        };
        let fields: Vec<&str> = tuple.split_whitespace().collect();
        let (packet, profiles, direction) = match fields.as_slice() {
            [packet @ .., direction] if packet.len() == 6 => (packet, None, direction),
            [packet @ .., to, from, direction] if packet.len() == 6 => (packet, Some(Profiles::parse(to, from)), direction),
            _ => return None,
        };
        let [action, protocol, to_ports, to, from_ports, from] = packet else { return None };
        let (routed, action) = action.strip_prefix("route:").map_or((false, *action), |action| (true, action));
        let (action, log) = action.split_once('_').map_or((action, None), |(action, log)| (action, Some(log.to_owned())));
        let (direction, interface) = parse_direction(direction)?;
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
            log,
            profiles,
            routed,
        })
    }

    /// Whether both rules match the same packets, so that adding one replaces the other, as ufw does it (`UFWRule.match`).
    #[must_use]
    pub fn matches_same_packets(&self, other: &Self) -> bool {
        let packets = |rule: &Self| Self { action: Action::Allow, comment: None, log: None, ..rule.clone() };
        packets(self) == packets(other)
    }

    /// Returns the rule about all packets to the node of one IP version.
    #[must_use]
    pub fn everything(v6: bool) -> Self {
        Self {
            action: Action::Deny,
            protocol: "any".into(),
            to_ports: Ports::default(),
            to: Network::everything(v6),
            from_ports: Ports::default(),
            from: Network::everything(v6),
            direction: Direction::In,
            interface: None,
            comment: None,
            log: None,
            profiles: None,
            routed: false,
        }
    }

    /// Returns this rule for the packets that `condition` matches as well; `None` if there are none.
    #[must_use]
    pub fn both(&self, condition: &Self) -> Option<Self> {
        let protocol = match (self.protocol.as_str(), condition.protocol.as_str()) {
            (one, two) if one == two || two == "any" => one,
            ("any", two) => two,
            _ => return None,
        };
        let interface = match (&self.interface, &condition.interface) {
            (Some(one), Some(two)) => Some(same_interface(one, two)?),
            (one, two) => one.as_deref().or(two.as_deref()),
        };
        Some(Self {
            protocol: protocol.to_owned(),
            to_ports: self.to_ports.both(&condition.to_ports)?,
            to: self.to.both(condition.to)?,
            from_ports: self.from_ports.both(&condition.from_ports)?,
            from: self.from.both(condition.from)?,
            interface: interface.map(str::to_owned),
            ..self.clone()
        })
    }

    /// Whether this matches every packet that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.protocol == "any" || self.protocol == other.protocol)
            && self.to_ports.covers(&other.to_ports)
            && self.to.covers(other.to)
            && self.from_ports.covers(&other.from_ports)
            && self.from.covers(other.from)
            && (self.interface.is_none() || self.interface == other.interface)
    }

    /// Returns whether the rule accepts a new TCP connection to the node; `None` if it does not apply. A rule for one interface is assumed to
    /// refuse connections but never to accept them, because the interface of the connection is not known here.
    pub(super) fn decision(&self, client: IpAddr, server: IpAddr, port: u16) -> Option<bool> {
        let matches = self.direction == Direction::In
            && !self.routed
            && (self.protocol == "tcp" || self.protocol == "any")
            && self.from_ports.is_any()
            && self.from.contains(client)
            && self.to.contains(server)
            && self.to_ports.contains(port);
        let accepts = self.action.accepts();
        (matches && !(accepts && self.interface.is_some())).then_some(accepts)
    }
}

/// Returns the interfaces that both names stand for; iptables has `eth+` for all whose names begin so.
fn same_interface<'name>(one: &'name str, two: &'name str) -> Option<&'name str> {
    let holds = |pattern: &str, name: &str| pattern.strip_suffix('+').is_some_and(|start| name.starts_with(start));
    if one == two || holds(two, one) { Some(one) } else { holds(one, two).then_some(two) }
}

fn parse_direction(direction: &str) -> Option<(Direction, Option<String>)> {
    let (direction, interface) =
        direction.split_once('_').map_or((direction, None), |(direction, interface)| (direction, Some(interface)));
    let direction = match direction {
        "in" => Direction::In,
        "out" => Direction::Out,
        _ => return None,
    };
    Some((direction, interface.map(str::to_owned)))
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
    fn every_form_that_ufw_writes_is_parsed() {
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
        assert_eq!(read[6].log.as_deref(), Some("log"));
        assert!(read[7].routed && read[7].interface.as_deref() == Some("eth0!out_eth1"));
        assert_eq!(read[8].profiles, Some(Profiles { to: Some("OpenSSH".into()), from: None }));
    }

    #[test]
    fn lines_that_ufw_does_not_write_are_not_parsed() {
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
