//! `ufw`: the firewall's rules and policies, and whether it is enabled. A task is about one rule, or about the whole firewall.

mod change;
mod others;
mod wanted;
mod words;

use std::{any::Any, net::IpAddr};

use super::{
    Files, Flag, Kind, Missing, NodeState, OneOrMany, ParamError, Reach, Resource, Verdict, decode,
    schema::{parameters, words},
};
use wanted::Wanted;
use words::{Logging, PolicyDirection, Protocol, State};

use crate::{
    firewall::{Action, Firewall, Policy, Ports},
    question::{Questions, Unanswered, connection::OwnConnection, ufw, unit::Unit, unit_state::UnitFileState},
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
        /// Rules of others that may stay although they open this port too, or come before the rule and shut out whom it lets in: as
        /// `ufw show added` prints them without `ufw`, such as `allow 6000:7000/tcp`, or as `iptables -S` prints them.
        accepted: OneOrMany<String> = [],
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
                    firewall.loaded = firewall.enabled;
                    firewall.gaps.clear();
                }
            }
        }
    }

    /// Whether it declares that the firewall is on.
    fn enables(&self) -> bool {
        matches!(self, Self::Whole { state: Some(State::Enabled), .. })
    }

    /// Returns whether the firewall starts at boot, if that is declared.
    fn at_boot(&self, node: &NodeState<'_>) -> Result<AtBoot, Unanswered> {
        if !self.enables() {
            return Ok(AtBoot::Fine);
        }
        let unit = &node.answers.get::<Unit>(&UNIT.to_owned())?.file_state;
        // Without ufw, there is no unit yet.
        let is_fine = unit.counts_as_enabled() || *unit == UnitFileState::NoFile;
        Ok(if is_fine { AtBoot::Fine } else { AtBoot::Not(unit.as_str().to_owned()) })
    }
}

/// What starts the firewall at boot.
const UNIT: &str = "ufw.service";

/// Whether the firewall starts at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AtBoot {
    /// It does, or nothing is declared about it.
    Fine,
    /// It does not, as the unit's state says.
    Not(String),
}

impl AtBoot {
    /// Returns systemd's word for what keeps the unit from being started.
    fn problem(&self) -> Option<&str> {
        match self {
            Self::Fine => None,
            Self::Not(word) => Some(word),
        }
    }
}

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
            ("accepted", !self.accepted.0.is_empty()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
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
            Self::Rule(wanted) if wanted.action == Action::Allow && !wanted.delete && !wanted.only => Reach::Contained(&[]),
            Self::Rule(_) | Self::Whole { .. } => Reach::Firewall,
        }
    }

    fn declares_firewall(&self) -> bool {
        self.enables()
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<ufw::Ufw>(());
        ask.ask::<OwnConnection>(());
        if self.enables() {
            ask.ask::<Unit>(UNIT.to_owned());
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let (before, installed) = current(node)?;
        let at_boot = self.at_boot(node)?;
        let mut after = before.clone();
        self.apply(&mut after);
        let is_clear = match self {
            Self::Rule(wanted) => wanted.obstacles(&after, &before).is_empty(),
            Self::Whole { .. } => at_boot == AtBoot::Fine,
        };
        if before == after && installed && is_clear {
            return Ok(Verdict::CONVERGED);
        }
        let change = self.change(&before, &after, &at_boot);
        Ok(if installed {
            Verdict::Change(change)
        } else {
            Verdict::Blocked { missing: vec![Missing::Other("ufw".into())], change }
        })
    }

    fn refuse(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<String> {
        let (mut firewall, _) = current(node).ok()?;
        let now = firewall.clone();
        // An earlier task may turn IPv6 on.
        let configures =
            |resource: &&dyn Resource| matches!(resource.reach(), Reach::Path(path) if path.as_str() == CONFIGURATION);
        firewall.ipv6 |= earlier.iter().any(configures);
        for resource in earlier {
            if let Some(earlier) = (*resource as &dyn Any).downcast_ref::<Self>() {
                earlier.apply(&mut firewall);
            }
        }
        self.apply(&mut firewall);
        if let Self::Rule(wanted) = self {
            let obstacles = wanted.obstacles(&firewall, &now);
            let deleted = wanted.v6_refusal(&firewall).filter(|_| wanted.delete);
            let all: Vec<String> = obstacles.into_iter().chain(deleted).collect();
            if !all.is_empty() {
                return Some(all.join("; "));
            }
        }
        None
    }

    fn cuts(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<String> {
        let (mut firewall, _) = current(node).ok()?;
        for resource in earlier {
            if let Some(earlier) = (*resource as &dyn Any).downcast_ref::<Self>() {
                earlier.apply(&mut firewall);
            }
        }
        let before = firewall.clone();
        self.apply(&mut firewall);
        let addresses = match node.answers.get::<OwnConnection>(&()) {
            Ok(Some(addresses)) => addresses,
            Ok(None) => return None,
            Err(reason) => return Some(format!("cannot determine whether this would cut the connection: {reason}")),
        };
        let (client, server, port) = (addresses.client_ip, addresses.server_ip, addresses.server_port);
        (before.admits(client, server, port) && !firewall.admits(client, server, port)).then(|| describe_cut(client, port))
    }
}

/// Where ufw reads whether it makes rules for IPv6.
const CONFIGURATION: &str = "/etc/default/ufw";

fn describe_cut(client: IpAddr, port: u16) -> String {
    format!(
        "this would cut the connection that this run uses: {client} could no longer reach port {port} of the node; put \
         `ufw: {{rule: allow, port: {port}, proto: tcp, from_ip: {client}}}` before this task"
    )
}

#[cfg(test)]
mod tests;
