//! What the kernel really does with packets to the node: ufw's chains there, and the rules of others before them, as `iptables -S` prints them.

use super::{Action, Direction, Network, Policy, Rule};

/// The chains of one IP version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chains {
    /// The target of packets that no rule matches.
    pub policy: String,
    /// The rules of the chain INPUT, without `-A INPUT`.
    pub input: Vec<String>,
    /// Whether the chain with the rules of users exists.
    pub loaded: bool,
    /// Whether the chain that INPUT leads to leads to the rules of users.
    pub linked: bool,
    /// The number of rules in the chain of users.
    pub rules: usize,
    /// The number of rules that ufw's file has for that chain.
    pub declared: usize,
}

impl Chains {
    /// Returns what the kernel lacks of an enabled firewall with this policy.
    #[must_use]
    pub fn gap(&self, incoming: Policy, v6: bool) -> Option<String> {
        let (version, six) = if v6 { ("IPv6", "6") } else { ("IPv4", "") };
        if !self.loaded {
            return Some(format!("ufw's {version} chains are not in the kernel"));
        }
        let jump = format!("-j ufw{six}-before-input");
        if !self.linked || !self.input.contains(&jump) {
            return Some(format!("INPUT does not lead to ufw's {version} rules in the kernel"));
        }
        if (self.policy == "ACCEPT") != (incoming == Policy::Allow) {
            return Some(format!("the {version} policy of INPUT is {} in the kernel", self.policy));
        }
        (self.rules != self.declared).then(|| {
            format!("the kernel has {} {version} rules of users, and /etc/ufw/user{six}.rules has {}", self.rules, self.declared)
        })
    }

    /// Whether nothing at all stands between the network and the node's ports.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.policy == "ACCEPT" && self.input.is_empty()
    }

    /// Returns the rules of others that come before ufw's.
    #[must_use]
    pub fn ahead(&self, v6: bool) -> Vec<Ahead> {
        let others = self.input.iter().take_while(|line| !line.starts_with("-j ufw"));
        others.filter_map(|line| Some(Ahead { rule: parse(line, v6)?, line: format!("-A INPUT {line}") })).collect()
    }
}

/// A rule of another program in INPUT, before ufw's chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// What it does.
    pub rule: Rule,
    /// The rule as `iptables -S` prints it.
    pub line: String,
}

/// Parses a rule that accepts or refuses new connections. `None` for every other one, such as one for established connections, a jump to a chain
/// of another program, or one with a condition that is not known here.
fn parse(line: &str, v6: bool) -> Option<Rule> {
    let mut rule = Rule {
        action: Action::Deny,
        protocol: "any".into(),
        to_ports: "any".parse().ok()?,
        to: Network::everything(v6),
        from_ports: "any".parse().ok()?,
        from: Network::everything(v6),
        direction: Direction::In,
        interface: None,
        comment: None,
        log: None,
        profiles: None,
        routed: false,
    };
    let mut target = None;
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word {
            "-p" => value.clone_into(&mut rule.protocol),
            "-s" => rule.from = value.parse().ok()?,
            "-d" => rule.to = value.parse().ok()?,
            "-i" => rule.interface = Some(value.to_owned()),
            "--dport" | "--dports" => rule.to_ports = value.parse().ok()?,
            "-m" if ["tcp", "udp", "multiport", "comment", "state", "conntrack"].contains(&value) => {}
            "--state" | "--ctstate" if value.split(',').any(|state| state == "NEW") => {}
            "--reject-with" => {}
            "--comment" => {
                let mut last = value;
                while value.starts_with('"') && (last == "\"" || !last.ends_with('"') || last.ends_with("\\\"")) {
                    last = words.next()?;
                }
            }
            "-j" => target = Some(value),
            _ => return None,
        }
    }
    rule.action = match target? {
        "ACCEPT" => Action::Allow,
        "DROP" => Action::Deny,
        "REJECT" => Action::Reject,
        _ => return None,
    };
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded() -> Chains {
        let input = ["-j ufw-before-logging-input", "-j ufw-before-input", "-j ufw-after-input"].map(str::to_owned).to_vec();
        Chains { policy: "DROP".into(), input, loaded: true, linked: true, rules: 2, declared: 2 }
    }

    #[test]
    fn each_gap_between_ufws_files_and_the_kernel_is_named() {
        assert_eq!(loaded().gap(Policy::Deny, false), None);
        assert_eq!(loaded().gap(Policy::Reject, false), None);
        let six = Chains { input: vec!["-j ufw6-before-input".into()], ..loaded() };
        assert_eq!(six.gap(Policy::Deny, true), None);
        let gap = |chains: &Chains, policy: Policy| chains.gap(policy, false).unwrap();
        let all = [
            gap(&Chains::default(), Policy::Deny),
            gap(&Chains { input: Vec::new(), ..loaded() }, Policy::Deny),
            gap(&Chains { linked: false, ..loaded() }, Policy::Deny),
            gap(&Chains { policy: "ACCEPT".into(), ..loaded() }, Policy::Deny),
            gap(&loaded(), Policy::Allow),
            gap(&Chains { rules: 3, ..loaded() }, Policy::Deny),
            six.gap(Policy::Allow, true).unwrap(),
        ];
        insta::assert_snapshot!(all.join("\n"), @"
        ufw's IPv4 chains are not in the kernel
        INPUT does not lead to ufw's IPv4 rules in the kernel
        INPUT does not lead to ufw's IPv4 rules in the kernel
        the IPv4 policy of INPUT is ACCEPT in the kernel
        the IPv4 policy of INPUT is DROP in the kernel
        the kernel has 3 IPv4 rules of users, and /etc/ufw/user.rules has 2
        the IPv6 policy of INPUT is DROP in the kernel
        ");
    }

    #[test]
    fn the_rules_of_others_are_those_before_ufws() {
        let open = "-p tcp -m tcp --dport 6379 -j ACCEPT";
        let mut chains = loaded();
        assert_eq!(chains.ahead(false), []);
        chains.input.push(open.into());
        assert_eq!(chains.ahead(false), [], "it comes after ufw's chains");
        chains.input.insert(0, open.into());
        let ahead = chains.ahead(false);
        assert_eq!(ahead[0].line, "-A INPUT -p tcp -m tcp --dport 6379 -j ACCEPT");
        assert_eq!(ahead[0].rule.words(), "allow 6379/tcp");
    }

    #[test]
    fn only_rules_about_new_connections_are_understood() {
        let words = |line: &str| parse(line, false).map(|rule| rule.words());
        for (line, wanted) in [
            ("-j ACCEPT", Some("allow to any")),
            ("-p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT", Some("allow 22/tcp")),
            (
                "-s 10.0.0.0/8 -p tcp -m multiport --dports 80,6000:7000 -m comment --comment \"my \\\" web\" -j ACCEPT",
                Some("allow from 10.0.0.0/8 to any port 80,6000:7000 proto tcp"),
            ),
            (
                "-d 10.0.0.2/32 -i eth1 -p tcp -m tcp --dport 6379 -j REJECT --reject-with tcp-reset",
                Some("reject in on eth1 to 10.0.0.2 port 6379 proto tcp"),
            ),
            ("-p tcp -m comment --comment web -j DROP", Some("deny to any proto tcp")),
            ("-m state --state RELATED,ESTABLISHED -j ACCEPT", None),
            ("-p tcp -m multiport --dports 22 -j f2b-sshd", None),
            ("! -s 10.0.0.0/8 -p tcp -j ACCEPT", None),
            ("-p tcp -m tcp --dport 22 --tcp-flags FIN,SYN FIN -j ACCEPT", None),
            ("-p icmp -m icmp --icmp-type 8 -j ACCEPT", None),
            ("-m set --match-set friends src -j ACCEPT", None),
            ("-p tcp", None),
            ("-m comment --comment \"open", None),
        ] {
            assert_eq!(words(line).as_deref(), wanted, "{line}");
        }
    }
}
