//! `ufw`: the firewall's rules and policies, and whether it is enabled. A task is about one rule, or about the whole firewall.

mod words;

use std::{any::Any, net::IpAddr};

use super::{
    Change, Diff, Files, Flag, Kind, Missing, NodeState, OneOrMany, ParamError, Reach, Resource, Verdict, decode,
    schema::{parameters, words},
};
use words::{Logging, PolicyDirection, Protocol, State};

use crate::{
    firewall::{Action, Direction, Firewall, Network, Policy, Ports, Rule},
    question::{Questions, Unanswered, connection::OwnConnection, ufw},
    script::Script,
};

pub(super) const KIND: Kind = Kind {
    name: "ufw",
    about: "Sets a rule of the firewall, or the whole of it",
    example: "ufw: {rule: allow, port: 6379, proto: tcp, from_ip: [10.0.0.0/24], only: true}",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(Ufw::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// What happens to packets that match.
        rule: Option<Action>,
        /// The node's ports.
        port | to_port: Ports = "any",
        /// The protocol.
        proto | protocol: Protocol = "any",
        /// The addresses or networks that packets come from. With `only` an empty list closes the port.
        from_ip | from | src: Option<OneOrMany<String>>,
        /// The node's address that packets go to.
        to_ip | to | dest: Option<String>,
        /// The ports that packets come from.
        from_port: Ports = "any",
        /// The direction of a rule, or of a `policy`.
        direction: Option<PolicyDirection>,
        /// The network interface.
        interface | if: Option<String>,
        /// A comment on the rule.
        comment: Option<String>,
        /// Whether the rule is removed.
        delete: Flag = false,
        /// Whether other rules that open this port are removed.
        only: Flag = false,
        /// Whether the firewall is on, now and at boot.
        state: Option<State>,
        /// What happens to packets that no rule matches.
        policy | default: Option<Policy>,
        /// How much is logged.
        logging: Option<Logging>,
    }
}

words!(Action, Logging, Policy, Protocol, State, PolicyDirection);

#[derive(Debug)]
enum Ufw {
    Rule(Wanted),
    Whole { state: Option<State>, policy: Option<(Policy, PolicyDirection)>, logging: Option<Logging> },
}

/// A rule as a task writes it: without addresses it stands for an IPv4 and an IPv6 rule.
#[derive(Debug)]
struct Wanted {
    action: Action,
    protocol: Protocol,
    to_ports: Ports,
    to: Option<Network>,
    from_ports: Ports,
    /// A rule for each; a single `None` means every address, an empty list means none.
    from: Vec<Option<Network>>,
    direction: Direction,
    interface: Option<String>,
    comment: Option<String>,
    delete: bool,
    /// Whether other rules that open these ports are deleted.
    only: bool,
}

impl Ufw {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let Parameters { rule, direction, state, policy, logging, .. } = parameters;
        let whole = state.is_some() || policy.is_some() || logging.is_some();
        match rule {
            Some(_) if whole => Err(ParamError::parameter(
                "rule",
                "a task is about one rule or about the whole firewall (`state`, `policy`, `logging`); make two tasks",
            )),
            Some(action) => Wanted::new(action, parameters).map(Self::Rule),
            None if !whole => Err(ParamError::parameter("", "needs `rule`, or one of `state`, `policy` and `logging`")),
            None => {
                if let Some(name) = parameters.first_rule_parameter() {
                    return Err(ParamError::parameter(name, "goes with `rule` only"));
                }
                if direction.is_some() && policy.is_none() {
                    return Err(ParamError::parameter("direction", "goes with `rule` or `policy`"));
                }
                Ok(Self::Whole {
                    state,
                    policy: policy.map(|policy| (policy, direction.unwrap_or(PolicyDirection::In))),
                    logging,
                })
            }
        }
    }

    /// Changes the firewall's description as the task changes the firewall.
    fn apply(&self, firewall: &mut Firewall) {
        match self {
            Self::Rule(wanted) => wanted.apply(firewall),
            Self::Whole { state, policy, logging } => {
                if let Some((policy, direction)) = policy {
                    match direction {
                        PolicyDirection::In => firewall.incoming = *policy,
                        PolicyDirection::Out => firewall.outgoing = *policy,
                        PolicyDirection::Routed => firewall.routed = *policy,
                    }
                }
                if let Some(logging) = logging {
                    firewall.logging = logging.level(&firewall.logging).to_owned();
                }
                if let Some(state) = state {
                    firewall.enabled = *state == State::Enabled;
                }
            }
        }
    }

    fn change(&self, before: &Firewall, after: &Firewall) -> Change {
        let mut diff = Diff::none();
        let mut attribute = |name: &str, before: &str, after: &str| {
            if before != after {
                diff.attribute(name, before, after);
            }
        };
        let state = |firewall: &Firewall| if firewall.enabled { "enabled" } else { "disabled" };
        attribute("state", state(before), state(after));
        attribute("policy incoming", before.incoming.as_str(), after.incoming.as_str());
        attribute("policy outgoing", before.outgoing.as_str(), after.outgoing.as_str());
        attribute("policy routed", before.routed.as_str(), after.routed.as_str());
        attribute("logging", &before.logging, &after.logging);
        before.rules.iter().filter(|rule| !after.rules.contains(rule)).for_each(|rule| diff.removed(describe_rule(rule)));
        after.rules.iter().filter(|rule| !before.rules.contains(rule)).for_each(|rule| diff.added(describe_rule(rule)));
        let summary = match self {
            Self::Rule(wanted) if wanted.delete => format!("delete: {}", wanted.summary()),
            Self::Rule(wanted) => wanted.summary(),
            Self::Whole { state, policy, logging } => {
                let state = state.map(|state| if state == State::Enabled { "enable" } else { "disable" }.to_owned());
                let policy = policy.map(|(policy, direction)| format!("{} {}", policy.as_str(), direction.as_str()));
                let logging = logging.map(|logging| format!("logging {}", logging.as_str()));
                [policy, logging, state].into_iter().flatten().collect::<Vec<_>>().join(", ")
            }
        };
        Change::new(summary, self.script(before)).diff(diff.titled("ufw"))
    }

    fn script(&self, before: &Firewall) -> Script {
        match self {
            Self::Rule(wanted) => {
                let delete = wanted.delete.then_some("delete");
                let comment = wanted.comment.as_deref().filter(|_| !wanted.delete);
                let others =
                    before.rules.iter().filter(|rule| wanted.replaces(rule, before)).map(rule_syntax).collect::<Vec<_>>();
                let rule = |from: &Option<Network>| {
                    let words = wanted.syntax(&from.map_or("any".to_owned(), |from| from.to_string()));
                    delete.map(str::to_owned).into_iter().chain(words).collect::<Vec<_>>()
                };
                match wanted.from.as_slice() {
                    [from] if others.is_empty() => {
                        let comment = comment.into_iter().flat_map(|comment| ["comment", comment]);
                        Script::new("set -eu\nufw \"$@\"").args(rule(from)).args(comment)
                    }
                    all => {
                        let rules = all.iter().map(|from| rule(from).join(" ")).collect::<Vec<_>>();
                        Script::new(RULES).arg(rules.join("\n")).arg(others.join("\n")).arg(comment.unwrap_or_default())
                    }
                }
            }
            Self::Whole { state, policy, logging } => {
                let (policy, direction) = policy.map_or(("", ""), |(policy, direction)| (policy.as_str(), direction.as_str()));
                let state = state.map_or("", |state| if state == State::Enabled { "enable" } else { "disable" });
                Script::new(WHOLE).args([policy, direction, logging.map_or("", Logging::as_str), state])
            }
        }
    }
}

/// `$1`: rules to add; `$2`: rules to delete; `$3`: a comment. Rules are lines of words without blanks or quotes. Deletions come last, so
/// that no connection is refused in between.
const RULES: &str = r#"set -euf
rules=$1 others=$2 comment=$3
IFS='
'
for rule in $rules; do IFS=' '; ufw $rule ${comment:+comment "$comment"}; done
IFS='
'
for other in $others; do IFS=' '; ufw delete $other; done"#;

/// `--force`: in an SSH session, ufw asks for confirmation. Whether the change is safe was decided before (`refuse`).
const WHOLE: &str = r#"set -eu
if [ -n "$1" ]; then ufw default "$1" "$2"; fi
if [ -n "$3" ]; then ufw logging "$3"; fi
if [ -n "$4" ]; then ufw --force "$4"; fi
"#;

impl Parameters {
    fn first_rule_parameter(&self) -> Option<&'static str> {
        [
            ("port", !self.port.is_any()),
            ("proto", self.proto != Protocol::Any),
            ("from_ip", self.from_ip.is_some()),
            ("to_ip", self.to_ip.is_some()),
            ("from_port", !self.from_port.is_any()),
            ("interface", self.interface.is_some()),
            ("comment", self.comment.is_some()),
            ("delete", self.delete.0),
            ("only", self.only.0),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
}

impl Wanted {
    fn new(action: Action, parameters: Parameters) -> Result<Self, ParamError> {
        let Parameters { port, proto, from_ip, to_ip, from_port, direction, interface, comment, delete, only, .. } = parameters;
        if only.0 && (action != Action::Allow || port.is_any() || delete.0) {
            return Err(ParamError::parameter(
                "only",
                "goes with `rule: allow` and a `port`: all other rules for that port are deleted",
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
        Ok(Self { action, protocol, to_ports, to, from_ports, from, direction, interface, comment, delete, only: only.0 })
    }

    /// Returns the rules that ufw makes from it.
    fn rules(&self, ipv6: bool) -> Vec<Rule> {
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
            special: None,
        };
        self.from.iter().flat_map(versions).map(rule).collect()
    }

    /// As ufw does it: a rule about the same packets is replaced in its place, a new one comes last.
    fn apply(&self, firewall: &mut Firewall) {
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

    /// Whether `only` deletes the rule, because it opens the same ports to other addresses. Rules of a form that this program never writes
    /// stay.
    fn replaces(&self, rule: &Rule, firewall: &Firewall) -> bool {
        self.only
            && rule.special.is_none()
            && rule.direction == self.direction
            && matches!(rule.action, Action::Allow | Action::Limit)
            && rule.to_ports == self.to_ports
            && [self.protocol.as_str(), "any"].contains(&rule.protocol.as_str())
            && !self.rules(firewall.ipv6).iter().any(|wanted| wanted.matches_same_packets(rule))
    }

    /// Returns the rule, with all its addresses in one text.
    fn summary(&self) -> String {
        let from = self.from.iter().map(|from| from.map_or("any".to_owned(), |from| from.to_string())).collect::<Vec<_>>();
        self.syntax(&if from.is_empty() { "no address".to_owned() } else { from.join(", ") }).join(" ")
    }

    /// Returns the rule in ufw's long syntax, without the comment.
    fn syntax(&self, from: &str) -> Vec<String> {
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

/// Returns the rule in ufw's long syntax, without the comment.
fn rule_syntax(rule: &Rule) -> String {
    let mut text = format!("{} {}", rule.action.as_str(), rule.direction.as_str());
    if let Some(interface) = &rule.interface {
        text = format!("{text} on {interface}");
    }
    let ports = |ports: &Ports| if ports.is_any() { String::new() } else { format!(" port {ports}") };
    text = format!("{text} from {}{} to {}{}", rule.from, ports(&rule.from_ports), rule.to, ports(&rule.to_ports));
    if rule.protocol != "any" {
        text = format!("{text} proto {}", rule.protocol);
    }
    text
}

fn describe_rule(rule: &Rule) -> String {
    let mut text = rule_syntax(rule);
    rule.comment.iter().for_each(|comment| text = format!("{text} # {comment}"));
    text
}

/// Returns the node's firewall, and whether ufw is installed.
fn current(node: &NodeState<'_>) -> Result<(Firewall, bool), Unanswered> {
    Ok(match node.answers.get::<ufw::Ufw>(&())? {
        ufw::Answer::State(firewall) => (firewall.clone(), true),
        ufw::Answer::NotInstalled => (Firewall::package_default(), false),
    })
}

impl Resource for Ufw {
    fn reach(&self) -> Reach<'_> {
        match self {
            // It only lets more packets through.
            Self::Rule(wanted) if wanted.action == Action::Allow && !wanted.delete && !wanted.only => Reach::Unknown,
            Self::Rule(_) | Self::Whole { .. } => Reach::Firewall,
        }
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<ufw::Ufw>(());
        ask.ask::<OwnConnection>(());
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let (before, installed) = current(node)?;
        let mut after = before.clone();
        self.apply(&mut after);
        if before == after && installed {
            return Ok(Verdict::CONVERGED);
        }
        let change = self.change(&before, &after);
        Ok(if installed {
            Verdict::Change(change)
        } else {
            Verdict::Blocked { missing: vec![Missing::Other("ufw".into())], change }
        })
    }

    fn refuse(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<String> {
        let (mut firewall, _) = current(node).ok()?;
        let addresses = match node.answers.get::<OwnConnection>(&()) {
            Ok(Some(addresses)) => addresses,
            Ok(None) => return None,
            Err(reason) => return Some(format!("cannot determine whether this would cut the connection: {reason}")),
        };
        let (client, server, port) = (addresses.client_ip, addresses.server_ip, addresses.server_port);
        for resource in earlier {
            if let Some(earlier) = (*resource as &dyn Any).downcast_ref::<Self>() {
                earlier.apply(&mut firewall);
            }
        }
        let before = firewall.admits(client, server, port);
        self.apply(&mut firewall);
        (before && !firewall.admits(client, server, port)).then(|| describe_cut(client, port))
    }
}

fn describe_cut(client: IpAddr, port: u16) -> String {
    format!(
        "this would cut the connection that this run uses: {client} could no longer reach port {port} of the node; put \
         `ufw: {{rule: allow, port: {port}, proto: tcp, from_ip: {client}}}` before this task"
    )
}

#[cfg(test)]
mod tests;
