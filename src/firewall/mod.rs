//! A ufw firewall as data: its rules, its policies, and whether they admit a connection.

mod line;
mod network;
mod packets;
mod rule;
mod words;

use std::net::IpAddr;

use serde::Deserialize;

pub use line::{Line, Target};
pub use network::{Network, Ports};
pub use packets::{OnFile, Other, Packets, Place};
pub use rule::{Action, Direction, Profiles, Rule};

/// What happens to packets that no rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// They are accepted.
    Allow,
    /// They are dropped silently.
    Deny,
    /// They are refused, and the sender is notified.
    Reject,
}

impl Policy {
    /// Returns ufw's word for the policy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        }
    }

    /// Parses the iptables target that `/etc/default/ufw` uses for the policy.
    #[must_use]
    pub fn from_target(as_str: &str) -> Option<Self> {
        match as_str {
            "ACCEPT" => Some(Self::Allow),
            "DROP" => Some(Self::Deny),
            "REJECT" => Some(Self::Reject),
            _ => None,
        }
    }
}

/// A firewall as ufw's files describe it, and what the kernel has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// Whether ufw's files say that it is active.
    pub enabled: bool,
    /// Whether the kernel has rules of ufw, whatever the files say.
    pub loaded: bool,
    /// What the kernel lacks of an enabled firewall; empty when it has it all.
    pub gaps: Vec<String>,
    /// The rules that ufw does not show, before and after `rules`, in the order in which the kernel tries them.
    pub others: Vec<Other>,
    /// Whether ufw makes rules for IPv6.
    pub ipv6: bool,
    /// The log level: `off`, `low`, `medium`, `high` or `full`.
    pub logging: String,
    /// The policy for packets to the node.
    pub incoming: Policy,
    /// The policy for packets from the node.
    pub outgoing: Policy,
    /// The policy for packets that are routed through the node.
    pub routed: Policy,
    /// The rules in the order in which they are tried, IPv4 first.
    pub rules: Vec<Rule>,
}

impl Firewall {
    /// Returns the firewall as the package `ufw` installs it.
    #[must_use]
    pub fn package_default() -> Self {
        Self {
            enabled: false,
            loaded: false,
            gaps: Vec::new(),
            others: Vec::new(),
            ipv6: true,
            logging: "low".into(),
            incoming: Policy::Deny,
            outgoing: Policy::Allow,
            routed: Policy::Deny,
            rules: Vec::new(),
        }
    }

    /// Whether ufw's files enable it although the kernel does not do as they say.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.enabled && !self.gaps.is_empty()
    }

    /// Returns that the ports are not guarded as ufw's files say, for health checks of ports, and the ways out.
    #[must_use]
    pub fn unguarded(&self) -> Option<String> {
        self.is_broken().then(|| {
            format!(
                "ufw is enabled in /etc/ufw/ufw.conf only: {}; deploy the task `ufw: {{state: enabled}}`, or run `ufw disable` if something else \
                 guards the ports",
                self.gaps.join(", ")
            )
        })
    }

    /// Returns the number of the rule with this index in `ufw status numbered`, where the rules of one profile are one line.
    #[must_use]
    pub fn number(&self, index: usize) -> usize {
        let mut profiles: Vec<(String, bool)> = Vec::new();
        let mut number = 0;
        for rule in self.rules.iter().take(index + 1) {
            if rule.profiles.is_some() {
                let line = (rule.words(), rule.to.is_v6());
                if profiles.contains(&line) {
                    continue;
                }
                profiles.push(line);
            }
            number += 1;
        }
        number
    }

    /// Whether a new TCP connection from `client` to the node's `server`:`port` is admitted.
    #[must_use]
    pub fn admits(&self, client: IpAddr, server: IpAddr, port: u16) -> bool {
        // ufw accepts everything on the loopback interface before any rule.
        if !self.enabled || self.is_broken() || client.is_loopback() || client == server {
            return true;
        }
        let decision = self.rules.iter().find_map(|rule| rule.decision(client, server, port));
        decision.unwrap_or(self.incoming == Policy::Allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admits(tuples: &[&str]) -> bool {
        let rules = tuples.iter().map(|tuple| Rule::parse(tuple).unwrap()).collect();
        let firewall = Firewall { enabled: true, rules, ..Firewall::package_default() };
        firewall.admits(ip("198.18.0.1"), ip("198.18.0.2"), 22)
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let ssh = "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in";
        assert!(!admits(&[]));
        assert!(admits(&[ssh]));
        assert!(admits(&["limit tcp 22 0.0.0.0/0 any 198.18.0.0/16 in"]));
        assert!(admits(&["allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in"]));
        assert!(!admits(&["deny any any 0.0.0.0/0 any 198.18.0.1 in", ssh]));
        assert!(admits(&[ssh, "deny any any 0.0.0.0/0 any 198.18.0.1 in"]));
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
            assert!(!admits(&[other]), "{other}");
        }
    }

    #[test]
    fn rules_have_the_numbers_that_ufw_shows() {
        let rules = [
            "deny any 6379 0.0.0.0/0 any 10.9.0.0/16 in",
            "allow tcp 6379,26379 0.0.0.0/0 any 0.0.0.0/0 Red%20Full - in",
            "allow udp 26379 0.0.0.0/0 any 0.0.0.0/0 Red%20Full - in",
            "allow tcp 6379 0.0.0.0/0 any 0.0.0.0/0 Red - in",
            "allow tcp 6379,26379 ::/0 any ::/0 Red%20Full - in",
        ];
        let rules = rules.map(|tuple| Rule::parse(tuple).unwrap()).to_vec();
        let firewall = Firewall { rules, ..Firewall::package_default() };
        assert_eq!([0, 1, 2, 3, 4].map(|index| firewall.number(index)), [1, 2, 2, 3, 4]);
    }

    #[test]
    fn an_inactive_or_permissive_firewall_admits_every_connection() {
        let node = (ip("198.18.0.1"), ip("198.18.0.2"), 22);
        assert!(Firewall::package_default().admits(node.0, node.1, node.2));
        let open = Firewall { enabled: true, incoming: Policy::Allow, ..Firewall::package_default() };
        assert!(open.admits(node.0, node.1, node.2));
        let gaps = vec!["the chains are not there".to_owned()];
        assert!(Firewall { enabled: true, gaps, ..Firewall::package_default() }.admits(node.0, node.1, node.2));
        let closed = Firewall { enabled: true, ..Firewall::package_default() };
        assert!(closed.admits(ip("::1"), ip("::1"), 22));
    }
}
