//! Check `listening`: what listens on a port, where, and whose it is, against what the role declares.

use std::{any::Any, fmt, net::IpAddr};

use serde::{Deserialize, Deserializer, de};

use super::verdict;
use crate::{
    question::{
        Questions, Unanswered,
        listening::{Listener, Listening},
        port_owner::{Port, PortOwner},
        unit::full_name,
    },
    resource::{Files, Is, Kind, OneOrMany, Resource, Verdict, Wrong, decode, matches_glob},
};

pub(super) const KIND: Kind = Kind {
    name: "listening",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(Declared::new(decode(parameters)?)?)),
    parameters: &["port", "addresses", "unit", "state"],
    secret_parameters: &[],
    expressions: &[],
    free_form: "",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    port: u16,
    #[serde(default)]
    addresses: OneOrMany<String>,
    unit: Option<OneOrMany<String>>,
    #[serde(default)]
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Open,
    Closed,
}

/// A port and who may listen on it.
#[derive(Debug)]
struct Declared {
    port: u16,
    addresses: Vec<Address>,
    /// True names of units, `*` standing for anything; empty when anybody may.
    units: Vec<String>,
    state: State,
}

/// Where something listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    /// On all of the node's addresses.
    Any,
    /// On 127.0.0.0/8 or `::1`.
    Loopback,
    /// On this one.
    One {
        address: IpAddr,
        /// Whether it may be missing, as a node without IPv6 lacks `::1`.
        optional: bool,
    },
}

impl Address {
    /// Reads the words of PostgreSQL's `listen_addresses` and of Redis's `bind`, in which `-` means that the address may be missing.
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

    /// Whether something listens there.
    fn is_served(self, listeners: &[&Listener]) -> bool {
        match self {
            Self::Any => listeners.iter().any(|listener| listener.address.is_unspecified()),
            Self::Loopback => listeners.iter().any(|listener| is_loopback(listener.address)),
            Self::One { optional: true, .. } => true,
            Self::One { address, optional: false } => listeners.iter().any(|listener| listener.takes(address, listener.port)),
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

/// Whether only the node itself reaches it.
#[must_use]
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// `*:6379`, `[::]:6379`, `127.0.0.1:5432`.
pub(crate) fn shown(listener: &Listener) -> String {
    match listener.address {
        IpAddr::V6(address) => format!("[{address}]:{}", listener.port),
        IpAddr::V4(address) => format!("{address}:{}", listener.port),
    }
}

/// Who it is, for the reader: `` `nc` (pid 7, evil.service)``.
pub(crate) fn owner_shown(owner: &PortOwner) -> String {
    if owner.pid == 0 {
        return "something outside of what this node can see (a container?)".to_owned();
    }
    let unit = if owner.unit.is_empty() { "no unit" } else { &owner.unit };
    format!("`{}` (pid {}, {unit})", owner.process, owner.pid)
}

/// The port that a health check declares, open or closed: only those of this kind do.
pub(crate) fn declared_port(check: &dyn Resource) -> Option<u16> {
    let check: &dyn Any = check;
    check.downcast_ref::<Declared>().map(|declared| declared.port)
}

impl Declared {
    fn new(given: Parameters) -> Result<Self, Wrong> {
        let wrong = |name: &str, message: String| Wrong::parameter(name, message);
        if given.port == 0 {
            return Err(wrong("port", "must be from 1 to 65535".into()));
        }
        let words = given.addresses.0.iter().flat_map(|words| words.split([' ', ',', '\t'])).filter(|word| !word.is_empty());
        let addresses = words.map(|word| Address::read(word).map_err(|message| wrong("addresses", message)));
        let mut addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            addresses.push(Address::Any);
        } else if given.state == State::Closed {
            return Err(wrong("addresses", "goes with `state: open`; a closed port is closed on all of them".into()));
        }
        if given.state == State::Closed && given.unit.is_some() {
            return Err(wrong("unit", "goes with `state: open`; on a closed port nobody may listen".into()));
        }
        let units = given.unit.unwrap_or_default().0.into_iter().map(|name| {
            // A pattern is a name once its stars are letters.
            let full = full_name(&name.replace('*', "x")).map_err(|message| wrong("unit", message))?;
            Ok(if full.len() == name.len() { name } else { format!("{name}.service") })
        });
        Ok(Self { port: given.port, addresses, units: units.collect::<Result<_, Wrong>>()?, state: given.state })
    }

    /// Who listens is asked where it matters: looking through all processes takes time.
    fn owner(&self) -> Option<Port> {
        let asked = !self.units.is_empty() || self.state == State::Closed;
        asked.then(|| Port { port: self.port, units: self.units.clone() })
    }

    fn complaints(&self, listeners: &[&Listener], owners: &[PortOwner]) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.state == State::Closed {
            if let Some(listener) = listeners.first() {
                let who: Vec<String> = owners.iter().map(owner_shown).collect();
                complaints.push(format!("{} is to be closed, and {} listens there", shown(listener), who.join(" and ")));
            }
            return complaints;
        }
        if listeners.is_empty() {
            return vec![format!("nothing listens on port {}", self.port)];
        }
        let wanted: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let wanted = wanted.join(", ");
        let open: Vec<String> = listeners
            .iter()
            .filter(|listener| !self.addresses.iter().any(|address| address.covers(listener.address)))
            .map(|listener| shown(listener))
            .collect();
        if open.is_empty() {
            for address in self.addresses.iter().filter(|address| !address.is_served(listeners)) {
                complaints.push(format!("nothing listens on port {} of {address}", self.port));
            }
        } else {
            complaints.push(format!("listens on {}, where {wanted} is declared", open.join(" and ")));
        }
        if !self.units.is_empty() {
            let ours = |owner: &&PortOwner| self.units.iter().any(|unit| matches_glob(unit, &owner.unit));
            // Socket activation: systemd keeps the socket open beside the service.
            let strangers =
                owners.iter().filter(|owner| !(ours(owner) || owner.pid == 1 && owners.iter().any(|other| ours(&other))));
            for stranger in strangers {
                let who = owner_shown(stranger);
                complaints.push(format!("{} belongs to {who}, not to {}", self.port, self.units.join(" or ")));
            }
        }
        complaints
    }
}

impl Resource for Declared {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Listening>(());
        if let Some(port) = self.owner() {
            ask.ask::<PortOwner>(port);
        }
    }

    fn compare(&self, is: &Is<'_>) -> Result<Verdict, Unanswered> {
        let all = is.answers.get::<Listening>(&())?;
        let listeners: Vec<&Listener> = all.iter().filter(|listener| listener.port == self.port).collect();
        let owners = match self.owner() {
            Some(port) => is.answers.get::<PortOwner>(&port)?.as_slice(),
            None => &[],
        };
        let found: Vec<String> = listeners.iter().map(|listener| shown(listener)).collect();
        let found = if self.state == State::Closed { "closed".to_owned() } else { found.join(", ") };
        Ok(verdict(&self.complaints(&listeners, owners), found))
    }
}

/// A port or several that follow each other, which may be open though no role declares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Reads `9100` or `8000-8010`.
    ///
    /// # Errors
    /// What is wrong with it.
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

    /// Whether the port is one of them.
    #[must_use]
    pub fn holds(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

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
    use crate::{question::Answers, secret::SecretValues};
    use serde_json::{Value, json};

    fn listener(address: &str, port: u16) -> Listener {
        Listener { address: address.parse().unwrap(), port, uid: 0, inode: 1 }
    }

    fn owner(pid: u32, process: &str, unit: &str) -> PortOwner {
        PortOwner { pid, process: process.into(), unit: unit.into(), directory: String::new() }
    }

    fn check(parameters: Value) -> Result<Declared, Wrong> {
        Declared::new(decode(parameters)?)
    }

    fn said(parameters: Value, addresses: &[&str], owners: &[PortOwner]) -> String {
        let check = check(parameters).unwrap();
        let mut answers = Answers::default();
        let mut listeners: Vec<Listener> = addresses.iter().map(|address| listener(address, 5432)).collect();
        listeners.push(listener("0.0.0.0", 22));
        answers.set::<Listening>((), Ok(listeners));
        if let Some(port) = check.owner() {
            answers.set::<PortOwner>(port, Ok(owners.to_vec()));
        }
        match check.compare(&Is { answers: &answers, secrets: &SecretValues::default() }).unwrap() {
            Verdict::Converged { note } => format!("ok: {}", note.unwrap_or_default()),
            Verdict::Refused(why) => why,
            Verdict::Change(_) | Verdict::Blocked { .. } => panic!("a check never changes anything"),
        }
    }

    #[test]
    fn the_addresses_are_compared_with_the_declared_ones() {
        let on = |addresses: &str, is: &[&str]| said(json!({"port": 5432, "addresses": addresses}), is, &[]);
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
        listens on 0.0.0.0:5432 and [::]:5432, where loopback is declared
        ok: 127.0.0.1:5432, 10.0.0.1:5432
        nothing listens on port 5432 of 10.0.0.1
        ok: 127.0.0.1:5432
        listens on 192.0.2.1:5432, where 127.0.0.1, ::1 is declared
        ok: 0.0.0.0:5432, [::]:5432
        nothing listens on port 5432 of all addresses
        ok: [::ffff:10.0.0.1]:5432
        nothing listens on port 5432
        ");
    }

    #[test]
    fn whose_it_is_and_that_nobody_listens_can_be_declared() {
        let postgres = owner(9, "postgres", "postgresql@15-main.service");
        let of = |owners: &[PortOwner]| said(json!({"port": 5432, "unit": "postgresql@*"}), &["0.0.0.0"], owners);
        let closed = |is: &[&str], owners: &[PortOwner]| said(json!({"port": 5432, "state": "closed"}), is, owners);
        let all = [
            of(std::slice::from_ref(&postgres)),
            of(&[owner(1, "systemd", "init.scope"), postgres]),
            of(&[owner(7, "nc\u{1b}", "")]),
            of(&[owner(1, "systemd", "init.scope")]),
            of(&[owner(0, "", "")]),
            closed(&[], &[]),
            closed(&["127.0.0.1"], &[owner(7, "insight", "insight.service")]),
        ];
        insta::assert_snapshot!(all.join("\n").replace('\u{1b}', "ESC"), @r"
        ok: 0.0.0.0:5432
        ok: 0.0.0.0:5432
        5432 belongs to `ncESC` (pid 7, no unit), not to postgresql@*.service
        5432 belongs to `systemd` (pid 1, init.scope), not to postgresql@*.service
        5432 belongs to something outside of what this node can see (a container?), not to postgresql@*.service
        ok: closed
        127.0.0.1:5432 is to be closed, and `insight` (pid 7, insight.service) listens there
        ");
    }

    #[test]
    fn a_failed_look_is_not_healthy() {
        let check = check(json!({"port": 5432})).unwrap();
        let mut answers = Answers::default();
        answers.set::<Listening>((), Err(Unanswered("no table".into())));
        assert!(check.compare(&Is { answers: &answers, secrets: &SecretValues::default() }).is_err());
    }

    #[test]
    fn wrong_parameters_and_ranges_are_errors() {
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
        for wrong in
            [json!(0), json!(-1), json!(65536), json!("9-8"), json!("a"), json!("1-2-3"), json!(""), json!([1]), json!(1.5)]
        {
            assert!(range(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
