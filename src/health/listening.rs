//! Check `listening`: the addresses and the owner of a listening port are as the role declares.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Deserializer, de};

use super::{Finding, HealthCheck};
use crate::{
    question::{
        Questions, Unanswered,
        listening::{Listener, Listening},
        port_owner::{Port, PortOwner},
        ufw::Ufw,
        unit::full_name,
    },
    resource::{
        Files, Kind, NodeState, ParamError, decode,
        schema::{parameters, values, words},
    },
    values::{OneOrMany, matches_glob},
};

pub(super) const KIND: Kind<dyn HealthCheck> = Kind {
    name: "listening",
    about: "A port is open where it is declared and nowhere else, and belongs to its unit",
    example: "read:
  listening: {port: 6379, addresses: [loopback], unit: autobot-database-redis}",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(ListeningCheck::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The TCP port.
        port: u16,
        /// Where it is open: `any`, `loopback`, or addresses as in `bind` and `listen_addresses`.
        addresses: OneOrMany<String> = [],
        /// The units that may listen there, by name or pattern.
        unit: Option<OneOrMany<String>>,
        /// `open`, or `closed`: nothing listens there.
        state: State = "open",
    }
}

words!(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Open,
    Closed,
}

/// A port, and what may listen on it.
#[derive(Debug)]
struct ListeningCheck {
    port: u16,
    addresses: Vec<Address>,
    /// Primary names of units, in which `*` matches any text; empty when any unit may listen.
    units: Vec<String>,
    state: State,
}

/// An address on which something may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    /// All addresses of the node.
    Any,
    /// 127.0.0.0/8 or `::1`.
    Loopback,
    /// This address.
    One {
        address: IpAddr,
        /// Whether the address may be missing, as `::1` is on a node without IPv6.
        optional: bool,
    },
}

impl Address {
    /// Parses a word of PostgreSQL's `listen_addresses` or of Redis's `bind`, in which `-` means that the address may be missing.
    fn read(word: &str) -> Result<Self, String> {
        let (word, optional) = word.strip_prefix('-').map_or((word, false), |word| (word, true));
        match word {
            "any" | "*" | "::*" | "0.0.0.0" | "::" => return Ok(Self::Any),
            "loopback" | "localhost" => return Ok(Self::Loopback),
            _ => {}
        }
        let address: IpAddr =
            word.parse().map_err(|_| format!("`{word}` is neither `any` nor `loopback` nor an IP address of the node"))?;
        Ok(Self::One { address: address.to_canonical(), optional })
    }

    fn covers(self, is: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => is_loopback(is),
            Self::One { address, .. } => address == is.to_canonical(),
        }
    }

    /// Returns whether something listens on this address.
    fn is_served(self, listeners: &[&Listener]) -> bool {
        match self {
            Self::Any => listeners.iter().any(|listener| listener.address.is_unspecified()),
            Self::Loopback => listeners.iter().any(|listener| is_loopback(listener.address)),
            Self::One { optional: true, .. } => true,
            Self::One { address, optional: false } => listeners.iter().any(|listener| listener.accepts(address, listener.port)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("all addresses"),
            Self::Loopback => formatter.write_str("loopback"),
            Self::One { address, .. } => write!(formatter, "{address}"),
        }
    }
}

/// Returns whether only the node itself can reach the address.
#[must_use]
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Formats a listener's address and port: `0.0.0.0:6379`, `[::]:6379`, `127.0.0.1:5432`.
pub(crate) fn format_listener(listener: &Listener) -> String {
    match listener.address {
        IpAddr::V6(address) => format!("[{address}]:{}", listener.port),
        IpAddr::V4(address) => format!("{address}:{}", listener.port),
    }
}

/// Describes the owner of a port for people: `` `nc` (pid 7, evil.service)``.
pub(crate) fn describe_owner(owner: &PortOwner) -> String {
    if owner.pid == 0 {
        return "a process that this node cannot see (in a container?)".to_owned();
    }
    let unit = if owner.unit.is_empty() { "no unit" } else { &owner.unit };
    format!("`{}` (pid {}, {unit})", owner.process, owner.pid)
}

impl ListeningCheck {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let error = |name: &str, message: String| ParamError::parameter(name, message);
        if parameters.port == 0 {
            return Err(error("port", "must be from 1 to 65535".into()));
        }
        let words = parameters.addresses.0.iter().flat_map(|words| words.split([' ', ',', '\t'])).filter(|word| !word.is_empty());
        let addresses = words.map(|word| Address::read(word).map_err(|message| error("addresses", message)));
        let mut addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            addresses.push(Address::Any);
        } else if parameters.state == State::Closed {
            return Err(error("addresses", "goes with `state: open`; a closed port is closed on all addresses".into()));
        }
        if parameters.state == State::Closed && parameters.unit.is_some() {
            return Err(error("unit", "goes with `state: open`; nothing may listen on a closed port".into()));
        }
        let units = parameters.unit.unwrap_or_default().0.into_iter().map(|name| {
            // A pattern is valid if it is a name once its stars are replaced with letters.
            let full = full_name(&name.replace('*', "x")).map_err(|message| error("unit", message))?;
            Ok(if full.len() == name.len() { name } else { format!("{name}.service") })
        });
        Ok(Self { port: parameters.port, addresses, units: units.collect::<Result<_, ParamError>>()?, state: parameters.state })
    }

    /// Returns the question about the owner only if the declaration needs it, because searching all processes takes time.
    fn owner(&self) -> Option<Port> {
        let needed = !self.units.is_empty() || self.state == State::Closed;
        needed.then(|| Port { port: self.port, units: self.units.clone() })
    }

    fn problems(&self, listeners: &[&Listener], owners: &[PortOwner]) -> Vec<String> {
        let mut problems = Vec::new();
        if self.state == State::Closed {
            if let Some(listener) = listeners.first() {
                let names: Vec<String> = owners.iter().map(describe_owner).collect();
                problems.push(format!(
                    "{} is declared closed, but {} listens there",
                    format_listener(listener),
                    names.join(" and ")
                ));
            }
            return problems;
        }
        if listeners.is_empty() {
            return vec![format!("nothing listens on port {}", self.port)];
        }
        let wanted: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let wanted = wanted.join(", ");
        let open: Vec<String> = listeners
            .iter()
            .filter(|listener| !self.addresses.iter().any(|address| address.covers(listener.address)))
            .map(|listener| format_listener(listener))
            .collect();
        if open.is_empty() {
            for address in self.addresses.iter().filter(|address| !address.is_served(listeners)) {
                problems.push(format!("nothing listens on port {} at {address}", self.port));
            }
        } else {
            problems.push(format!("listens on {}, but {wanted} is declared", open.join(" and ")));
        }
        if !self.units.is_empty() {
            let is_declared = |owner: &&PortOwner| self.units.iter().any(|unit| matches_glob(unit, &owner.unit));
            // With socket activation, systemd keeps the socket open as well as the service.
            let others = owners
                .iter()
                .filter(|owner| !(is_declared(owner) || owner.pid == 1 && owners.iter().any(|other| is_declared(&other))));
            for other in others {
                let owner = describe_owner(other);
                problems.push(format!("port {} belongs to {owner}, not to {}", self.port, self.units.join(" or ")));
            }
        }
        problems
    }
}

impl HealthCheck for ListeningCheck {
    fn declared_port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn names_unit(&self, unit: &str) -> bool {
        self.units.iter().any(|name| matches_glob(name, unit))
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Listening>(());
        ask.ask::<Ufw>(());
        if let Some(port) = self.owner() {
            ask.ask::<PortOwner>(port);
        }
    }

    fn examine(&self, is: &NodeState<'_>) -> Result<Finding, Unanswered> {
        let all = is.answers.get::<Listening>(&())?;
        let listeners: Vec<&Listener> = all.iter().filter(|listener| listener.port == self.port).collect();
        let owners = match self.owner() {
            Some(port) => is.answers.get::<PortOwner>(&port)?.as_slice(),
            None => &[],
        };
        let found: Vec<String> = listeners.iter().map(|listener| format_listener(listener)).collect();
        let found = if self.state == State::Closed { "closed".to_owned() } else { found.join(", ") };
        let mut problems = self.problems(&listeners, owners);
        if listeners.iter().any(|listener| !is_loopback(listener.address)) && is.answers.get::<Ufw>(&())?.is_broken() {
            // What is wrong with it is said once: by the check of the firewall, or by the one of all ports.
            problems.push("ufw, which is enabled, does not guard this port: see the check of the firewall".to_owned());
        }
        Ok(Finding::of_problems(&problems, found))
    }
}

/// A port or a range of ports that may be open even though no role declares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Parses `9100` or `8000-8010`.
    ///
    /// # Errors
    /// Returns what is wrong with the text.
    pub fn read(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (Some(_) | None, Some(_) | None) => {
                Err(format!("`{text}` is neither a port such as 9100 nor a range such as 8000-8010"))
            }
        }
    }

    /// Returns whether the range contains the port.
    #[must_use]
    pub fn holds(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

values!(PortRange => Scalar("a port such as 9100, or a range such as 8000-8010"));

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = PortRange;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a port such as 9100, or a range such as 8000-8010")
            }
            fn visit_u64<E: de::Error>(self, port: u64) -> Result<PortRange, E> {
                PortRange::read(&port.to_string()).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, port: i64) -> Result<PortRange, E> {
                PortRange::read(&port.to_string()).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
                PortRange::read(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        firewall::Firewall,
        question::{Answers, ufw::Answer},
        secret::SecretValues,
    };
    use serde_json::{Value, json};

    fn listener(address: &str, port: u16) -> Listener {
        Listener { address: address.parse().unwrap(), port, uid: 0, inode: 1 }
    }

    fn owner(pid: u32, process: &str, unit: &str) -> PortOwner {
        PortOwner { pid, process: process.into(), unit: unit.into(), directory: String::new() }
    }

    fn check(parameters: Value) -> Result<ListeningCheck, ParamError> {
        ListeningCheck::new(decode(parameters)?)
    }

    fn finding(parameters: Value, addresses: &[&str], owners: &[PortOwner]) -> String {
        finding_behind(parameters, addresses, owners, Answer::NotInstalled)
    }

    fn finding_behind(parameters: Value, addresses: &[&str], owners: &[PortOwner], firewall: Answer) -> String {
        let check = check(parameters).unwrap();
        let mut answers = Answers::default();
        let mut listeners: Vec<Listener> = addresses.iter().map(|address| listener(address, 5432)).collect();
        listeners.push(listener("0.0.0.0", 22));
        answers.set::<Listening>((), Ok(listeners));
        answers.set::<Ufw>((), Ok(firewall));
        if let Some(port) = check.owner() {
            answers.set::<PortOwner>(port, Ok(owners.to_vec()));
        }
        match check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap() {
            Finding::Healthy(note) => format!("ok: {note}"),
            Finding::Unhealthy(why) => why,
            other @ (Finding::Warning { .. } | Finding::Skipped(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_addresses_are_compared_with_the_declared_ones() {
        let on = |addresses: &str, is: &[&str]| finding(json!({"port": 5432, "addresses": addresses}), is, &[]);
        let all = [
            on("loopback", &["127.0.0.1", "::1"]),
            on("localhost", &["127.0.0.1"]),
            on("loopback", &["0.0.0.0", "::"]),
            on("localhost,10.0.0.1", &["127.0.0.1", "10.0.0.1"]),
            on("127.0.0.1, 10.0.0.1", &["127.0.0.1"]),
            on("127.0.0.1 -::1", &["127.0.0.1"]),
            on("127.0.0.1 -::1", &["127.0.0.1", "192.0.2.1"]),
            on("* -::*", &["0.0.0.0", "::"]),
            on("any", &["127.0.0.1"]),
            on("10.0.0.1", &["::ffff:10.0.0.1"]),
            on("any", &[]),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        ok: 127.0.0.1:5432, [::1]:5432
        ok: 127.0.0.1:5432
        listens on 0.0.0.0:5432 and [::]:5432, but loopback is declared
        ok: 127.0.0.1:5432, 10.0.0.1:5432
        nothing listens on port 5432 at 10.0.0.1
        ok: 127.0.0.1:5432
        listens on 192.0.2.1:5432, but 127.0.0.1, ::1 is declared
        ok: 0.0.0.0:5432, [::]:5432
        nothing listens on port 5432 at all addresses
        ok: [::ffff:10.0.0.1]:5432
        nothing listens on port 5432
        ");
    }

    #[test]
    fn a_port_behind_a_firewall_that_is_not_in_the_kernel_is_not_healthy() {
        let gaps = vec!["ufw's IPv4 chains are not in the kernel".to_owned()];
        let flushed = Firewall { enabled: true, gaps, ..Firewall::package_default() };
        let on = |address: &str, firewall: &Firewall| {
            finding_behind(json!({"port": 5432}), &[address], &[], Answer::State(firewall.clone()))
        };
        insta::assert_snapshot!(on("0.0.0.0", &flushed), @"ufw, which is enabled, does not guard this port: see the check of the firewall");
        assert_eq!(
            finding_behind(json!({"port": 5432, "addresses": "loopback"}), &["127.0.0.1"], &[], Answer::State(flushed.clone())),
            "ok: 127.0.0.1:5432"
        );
        assert_eq!(on("0.0.0.0", &Firewall { gaps: Vec::new(), ..flushed }), "ok: 0.0.0.0:5432");
    }

    #[test]
    fn the_owner_of_a_port_and_a_closed_port_can_be_declared() {
        let postgres = owner(9, "postgres", "postgresql@15-main.service");
        let owned_by = |owners: &[PortOwner]| finding(json!({"port": 5432, "unit": "postgresql@*"}), &["0.0.0.0"], owners);
        let closed = |is: &[&str], owners: &[PortOwner]| finding(json!({"port": 5432, "state": "closed"}), is, owners);
        let all = [
            owned_by(std::slice::from_ref(&postgres)),
            owned_by(&[owner(1, "systemd", "init.scope"), postgres]),
            owned_by(&[owner(7, "nc\u{1b}", "")]),
            owned_by(&[owner(1, "systemd", "init.scope")]),
            owned_by(&[owner(0, "", "")]),
            closed(&[], &[]),
            closed(&["127.0.0.1"], &[owner(7, "insight", "insight.service")]),
        ];
        insta::assert_snapshot!(all.join("\n").replace('\u{1b}', "ESC"), @r"
        ok: 0.0.0.0:5432
        ok: 0.0.0.0:5432
        port 5432 belongs to `ncESC` (pid 7, no unit), not to postgresql@*.service
        port 5432 belongs to `systemd` (pid 1, init.scope), not to postgresql@*.service
        port 5432 belongs to a process that this node cannot see (in a container?), not to postgresql@*.service
        ok: closed
        127.0.0.1:5432 is declared closed, but `insight` (pid 7, insight.service) listens there
        ");
    }

    #[test]
    fn a_failed_question_is_not_healthy() {
        let check = check(json!({"port": 5432})).unwrap();
        let mut answers = Answers::default();
        answers.set::<Listening>((), Err(Unanswered("no table".into())));
        assert!(check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).is_err());
    }

    #[test]
    fn invalid_parameters_and_ranges_are_errors() {
        for parameters in [
            json!({"port": 0}),
            json!({"port": 1, "addresses": "database_vm"}),
            json!({"port": 1, "addresses": "10.0.0.0/8"}),
            json!({"port": 1, "state": "closed", "addresses": "any"}),
            json!({"port": 1, "state": "closed", "unit": "x"}),
            json!({"port": 1, "state": "shut"}),
            json!({"port": 1, "unit": "a b"}),
            json!({"addresses": "any"}),
        ] {
            assert!(check(parameters.clone()).is_err(), "{parameters}");
        }
        let range = |value: Value| serde_json::from_value::<PortRange>(value);
        assert!(range(json!("8000-8010")).unwrap().holds(8010) && !range(json!("8000-8010")).unwrap().holds(8011));
        assert!(range(json!(9100)).unwrap().holds(9100) && !range(json!(9100)).unwrap().holds(9101));
        for invalid in
            [json!(0), json!(-1), json!(65536), json!("9-8"), json!("a"), json!("1-2-3"), json!(""), json!([1]), json!(1.5)]
        {
            assert!(range(invalid.clone()).is_err(), "{invalid}");
        }
    }
}
