//! ufw's firewall as data: its rules, its policies, and whether they let a connection in.

mod network;
mod rule;

use std::net::IpAddr;

use serde::Deserialize;

pub use network::{Network, Ports};
pub use rule::{Action, Direction, Rule};

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

    fn lets_in(tuples: &[&str]) -> bool {
        let rules = tuples.iter().map(|tuple| Rule::parse(tuple).unwrap()).collect();
        let firewall = Firewall { enabled: true, rules, ..Firewall::fresh() };
        firewall.lets_in(ip("198.18.0.1"), ip("198.18.0.2"), 22)
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
