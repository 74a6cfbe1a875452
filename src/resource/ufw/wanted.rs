//! A rule as a task declares it.

use super::{
    Parameters,
    words::{PolicyDirection, Protocol},
};
use crate::{
    firewall::{Action, Direction, Firewall, Network, Ports, Rule},
    resource::ParamError,
    values::OneOrMany,
};

/// A rule as a task writes it: without addresses it stands for an IPv4 and an IPv6 rule.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) action: Action,
    pub(super) protocol: Protocol,
    pub(super) to_ports: Ports,
    pub(super) to: Option<Network>,
    pub(super) from_ports: Ports,
    /// A rule for each; a single `None` means every address, an empty list means none.
    pub(super) from: Vec<Option<Network>>,
    pub(super) direction: Direction,
    pub(super) interface: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) delete: bool,
    /// Whether other rules that open these ports are deleted.
    pub(super) only: bool,
    /// The rules of others that may stay, in the words of [`Rule::words`].
    pub(super) accepted: Vec<String>,
}

impl Wanted {
    pub(super) fn new(action: Action, parameters: Parameters) -> Result<Self, ParamError> {
        let Parameters { port, proto, from_ip, to_ip, from_port, direction, interface, comment, delete, only, accepted, .. } =
            parameters;
        if only.0 && (action != Action::Allow || port.is_any() || delete.0) {
            return Err(ParamError::parameter(
                "only",
                "goes with `rule: allow` and a `port`: all other rules for that port are deleted",
            ));
        }
        let is_rule =
            |words: &String| ["allow ", "limit ", "deny ", "reject ", "-A "].iter().any(|start| words.starts_with(start));
        if let Some(wrong) = accepted.0.iter().find(|words| !is_rule(words)) {
            return Err(ParamError::parameter(
                "accepted",
                format!("`{wrong}` is not a rule as `ufw show added` prints it without `ufw`, such as `allow 6000:7000/tcp`"),
            ));
        }
        let to = network("to_ip", to_ip.as_deref())?;
        let from = match from_ip {
            None => vec![None],
            Some(OneOrMany(from)) if from.is_empty() && !only.0 => {
                let message = "is an empty list, which admits no address; leave it out to admit all addresses, or add `only: true` to close the port";
                return Err(ParamError::parameter("from_ip", message));
            }
            Some(OneOrMany(from)) => from.iter().map(|from| network("from_ip", Some(from))).collect::<Result<Vec<_>, _>>()?,
        };
        if from.iter().any(|from| from.zip(to).is_some_and(|(from, to)| from.is_v6() != to.is_v6())) {
            return Err(ParamError::parameter("to_ip", "is of another IP version than `from_ip`"));
        }
        for (name, ports) in [("port", &port), ("from_port", &from_port)] {
            if proto == Protocol::Any && !ports.is_any() && !ports.is_one() {
                return Err(ParamError::parameter(name, "several ports need `proto: tcp` or `proto: udp`"));
            }
        }
        let plain = |character: char| character.is_ascii_alphanumeric() || "._-+".contains(character);
        if interface.as_deref().is_some_and(|name| !(1..16).contains(&name.len()) || !name.chars().all(plain)) {
            return Err(ParamError::parameter("interface", "is not the name of a network interface, such as eth0"));
        }
        if comment.as_deref().is_some_and(|comment| {
            comment.is_empty() || comment.contains(|character: char| character.is_control() || character == '\'')
        }) {
            return Err(ParamError::parameter(
                "comment",
                "ufw takes no comment that is empty or holds a single quote or a line break",
            ));
        }
        let direction = match direction {
            None | Some(PolicyDirection::In) => Direction::In,
            Some(PolicyDirection::Out) => Direction::Out,
            Some(PolicyDirection::Routed) => return Err(ParamError::parameter("direction", "a rule is `in` or `out`")),
        };
        let (protocol, to_ports, from_ports, delete) = (proto, port, from_port, delete.0);
        Ok(Self {
            action,
            protocol,
            to_ports,
            to,
            from_ports,
            from,
            direction,
            interface,
            comment,
            delete,
            only: only.0,
            accepted: accepted.0,
        })
    }

    /// Returns the rules that ufw makes from it.
    pub(super) fn rules(&self, ipv6: bool) -> Vec<Rule> {
        let versions = |from: &Option<Network>| match from.or(self.to) {
            Some(network) => vec![(*from, network.is_v6())],
            None if ipv6 => vec![(*from, false), (*from, true)],
            None => vec![(*from, false)],
        };
        let rule = |(from, v6): (Option<Network>, bool)| Rule {
            action: self.action,
            protocol: self.protocol.as_str().to_owned(),
            to_ports: self.to_ports.clone(),
            to: self.to.unwrap_or(Network::everything(v6)),
            from_ports: self.from_ports.clone(),
            from: from.unwrap_or(Network::everything(v6)),
            direction: self.direction,
            interface: self.interface.clone(),
            comment: self.comment.clone(),
            log: None,
            profiles: None,
            routed: false,
        };
        self.from.iter().flat_map(versions).map(rule).collect()
    }

    /// As ufw does it: a rule about the same packets is replaced in its place, a new one comes last.
    pub(super) fn apply(&self, firewall: &mut Firewall) {
        for mut rule in self.rules(firewall.ipv6) {
            let at = firewall.rules.iter().position(|existing| existing.matches_same_packets(&rule));
            match at {
                Some(at) if self.delete => {
                    if firewall.rules[at].action == self.action {
                        firewall.rules.remove(at);
                    }
                }
                None if self.delete => {}
                Some(at) => {
                    // If no comment is declared, an existing one stays.
                    if rule.action == firewall.rules[at].action && self.comment.is_none() {
                        rule.comment.clone_from(&firewall.rules[at].comment);
                    }
                    firewall.rules[at] = rule;
                }
                None => firewall.rules.push(rule),
            }
        }
        let kept = firewall.rules.iter().filter(|rule| !self.replaces(rule, firewall)).cloned().collect();
        firewall.rules = kept;
    }

    /// Returns the rule, with all its addresses in one text.
    pub(super) fn summary(&self) -> String {
        let from = self.from.iter().map(|from| from.map_or("any".to_owned(), |from| from.to_string())).collect::<Vec<_>>();
        self.syntax(&if from.is_empty() { "no address".to_owned() } else { from.join(", ") }).join(" ")
    }

    /// Returns the rule in ufw's long syntax, without the comment.
    pub(super) fn syntax(&self, from: &str) -> Vec<String> {
        let mut words = vec![self.action.as_str().to_owned(), self.direction.as_str().to_owned()];
        let mut add = |more: &[&str]| words.extend(more.iter().map(ToString::to_string));
        if let Some(interface) = &self.interface {
            add(&["on", interface]);
        }
        add(&["from", from]);
        if !self.from_ports.is_any() {
            add(&["port", &self.from_ports.to_string()]);
        }
        add(&["to", &self.to.map_or("any".to_owned(), |network| network.to_string())]);
        if !self.to_ports.is_any() {
            add(&["port", &self.to_ports.to_string()]);
        }
        if self.protocol != Protocol::Any {
            add(&["proto", self.protocol.as_str()]);
        }
        words
    }
}

/// Reads an address or network. To ufw, `any` is not every IPv4 or every IPv6 address: it makes a rule for each of the two.
fn network(name: &str, text: Option<&str>) -> Result<Option<Network>, ParamError> {
    match text {
        None | Some("any") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|reason: String| ParamError::parameter(name, reason)),
    }
}
