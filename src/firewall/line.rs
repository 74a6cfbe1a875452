//! A rule as `iptables -S` prints it and as ufw's files have it, and which new connections to the node it is about.

use super::{Action, Network, Ports, Rule};

/// A rule of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The name of its chain.
    pub chain: String,
    /// The text, beginning with `-A`.
    pub text: String,
    /// The new connections from other hosts that it can match; none if it is about established ones, loopback or the like. There are several where a condition
    /// is the opposite of one that a [`Rule`] can have.
    pub matches: Vec<Rule>,
    /// Whether it matches all of these. Otherwise there is a further condition.
    pub is_sure: bool,
    /// The first word of a condition that is not known here.
    pub unknown: Option<String>,
    /// What happens to what it matches.
    pub target: Target,
}

/// What a rule of a chain does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The packet comes in, or does not.
    Decision(Action),
    /// It goes back to the chain before.
    Return,
    /// It goes through another chain.
    Chain {
        name: String,
        /// Whether it does not come back to this one.
        goto: bool,
    },
    /// The next rule decides.
    Next,
}

/// Targets after which the next rule decides.
const PASSING: &[&str] = &[
    "LOG",
    "NFLOG",
    "ULOG",
    "AUDIT",
    "TRACE",
    "MARK",
    "CONNMARK",
    "SECMARK",
    "CONNSECMARK",
    "CLASSIFY",
    "TOS",
    "DSCP",
    "TTL",
    "HL",
    "TCPMSS",
    "SET",
    "RATEEST",
    "LED",
    "IDLETIMER",
    "HMARK",
    "TEE",
    "CHECKSUM",
];

/// Modules whose conditions hold now and then.
const SOMETIMES: &[&str] = &["limit", "hashlimit", "connlimit", "recent", "statistic", "time", "quota", "connbytes"];

/// Modules whose options are read, or of no interest.
const KNOWN: &[&str] =
    &["tcp", "udp", "sctp", "dccp", "udplite", "multiport", "comment", "state", "conntrack", "addrtype", "pkttype"];

/// States of connections that are not new.
const NOT_NEW: &[&str] = &["ESTABLISHED", "RELATED", "INVALID"];

/// The words of a line, in the order in which they are read.
struct Words(std::vec::IntoIter<(String, bool)>);

impl Words {
    /// Splits a line at blanks. A quoted word is one value, whatever it holds. `None` if a quote is not closed.
    fn split(line: &str) -> Option<Self> {
        let (mut words, mut characters) = (Vec::new(), line.chars().peekable());
        while let Some(first) = characters.next() {
            if first.is_whitespace() {
                continue;
            }
            let mut word = String::new();
            let quote = ['"', '\''].contains(&first);
            if quote {
                loop {
                    match characters.next()? {
                        '\\' => word.push(characters.next()?),
                        end if end == first => break,
                        other => word.push(other),
                    }
                }
            } else {
                word.push(first);
                while let Some(next) = characters.next_if(|next| !next.is_whitespace()) {
                    word.push(next);
                }
            }
            words.push((word, quote));
        }
        Some(Self(words.into_iter()))
    }

    fn next(&mut self) -> Option<String> {
        self.0.next().map(|(word, _)| word)
    }

    /// Skips the values of an option that is not known.
    fn skip_values(&mut self) {
        while self.0.as_slice().first().is_some_and(|(word, quoted)| *quoted || !word.starts_with(['-', '!'])) {
            self.0.next();
        }
    }
}

/// The conditions of a line while they are read.
struct Conditions {
    v6: bool,
    protocol: String,
    from: Vec<Network>,
    to: Vec<Network>,
    from_ports: Option<Ports>,
    to_ports: Option<Ports>,
    /// Ports of which either the source or the destination is one.
    either: Option<Ports>,
    interface: Option<String>,
    /// Whether no new connection can match.
    never: bool,
    is_sure: bool,
    unknown: Option<String>,
}

impl Conditions {
    fn new(v6: bool) -> Self {
        let everything = || vec![Network::everything(v6)];
        Self {
            v6,
            protocol: "any".into(),
            from: everything(),
            to: everything(),
            from_ports: Some(Ports::default()),
            to_ports: Some(Ports::default()),
            either: None,
            interface: None,
            never: false,
            is_sure: true,
            unknown: None,
        }
    }

    fn unknown(&mut self, word: &str) {
        self.is_sure = false;
        self.unknown.get_or_insert_with(|| word.to_owned());
    }

    /// Adds a condition that every new connection meets, or none.
    fn holds(&mut self, holds: bool) {
        self.never |= !holds;
    }

    fn protocol(&mut self, name: &str, negated: bool) {
        let name = match name {
            "0" | "all" => "any",
            "6" => "tcp",
            "17" => "udp",
            name => name,
        };
        // Only these two have the ports that rules are about.
        match (name, negated) {
            (name, false) => name,
            ("tcp", true) => "udp",
            ("udp", true) => "tcp",
            (_, true) => "any",
        }
        .clone_into(&mut self.protocol);
    }

    /// Reads the option `word`, and returns whether it is known. `None` if its value is not understood.
    fn option(&mut self, word: &str, negated: bool, words: &mut Words) -> Option<bool> {
        match word {
            "-p" | "--protocol" => {
                let name = words.next()?;
                self.protocol(&name, negated);
            }
            "-s" | "--source" | "--src" => self.from = networks(&words.next()?, negated)?,
            "-d" | "--destination" | "--dst" => self.to = networks(&words.next()?, negated)?,
            "-i" | "--in-interface" => {
                let name = words.next()?;
                if !negated {
                    self.interface = Some(name);
                } else if name != "lo" {
                    self.is_sure = false;
                }
            }
            "-f" | "--fragment" => self.holds(negated),
            "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                self.to_ports = ports(&words.next()?, negated).ok()?;
            }
            "--sport" | "--sports" | "--source-port" | "--source-ports" => {
                self.from_ports = ports(&words.next()?, negated).ok()?;
            }
            "--ports" if negated => return None,
            "--ports" => self.either = ports(&words.next()?, false).ok()?,
            "--syn" => self.holds(!negated),
            "--tcp-flags" => {
                let (mask, set) = (words.next()?, words.next()?);
                // The first packet of a connection has SYN and none of the others.
                let wanted = if mask == "ALL" || mask.split(',').any(|flag| flag == "SYN") { "SYN" } else { "NONE" };
                self.holds((set == wanted) != negated);
            }
            "--state" | "--ctstate" => {
                let states = words.next()?;
                let is_new = states.split(',').any(|state| state == "NEW");
                if is_new || states.split(',').all(|state| NOT_NEW.contains(&state)) {
                    self.holds(is_new != negated);
                } else {
                    self.unknown(&format!("{word} {states}"));
                }
            }
            "--dst-type" => {
                let kind = words.next()?;
                self.holds((kind == "LOCAL") != negated);
            }
            "--src-type" => {
                let kind = words.next()?;
                self.holds((kind == "UNICAST") != negated);
            }
            "--pkt-type" => {
                let kind = words.next()?;
                self.holds((kind == "unicast" || kind == "host") != negated);
            }
            "--comment" => {
                words.next()?;
            }
            _ => return Some(false),
        }
        Some(true)
    }

    /// Returns the new connections that meet all conditions.
    fn matches(&self) -> Vec<Rule> {
        let is_loopback = self.interface.as_deref() == Some("lo");
        let (Some(from_ports), Some(to_ports), false) = (&self.from_ports, &self.to_ports, self.never || is_loopback) else {
            return Vec::new();
        };
        let either = self.either.as_ref();
        let to = either.map_or_else(|| Some(to_ports.clone()), |either| either.both(to_ports));
        let from = either.map_or_else(|| Some(from_ports.clone()), |either| either.both(from_ports));
        let mut ports: Vec<(&Ports, &Ports)> = to.iter().map(|to| (from_ports, to)).collect();
        ports.extend(from.iter().filter(|_| either.is_some()).map(|from| (from, to_ports)));
        let hosts = |networks: &[Network]| networks.iter().copied().filter(|network| !network.is_no_host()).collect::<Vec<_>>();
        let (from, to) = (hosts(&self.from), hosts(&self.to));
        let mut all = Vec::new();
        for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
            all.extend(ports.iter().map(|(from_ports, to_ports)| Rule {
                protocol: self.protocol.clone(),
                from_ports: (*from_ports).clone(),
                to_ports: (*to_ports).clone(),
                interface: self.interface.clone(),
                from,
                to,
                ..Rule::everything(self.v6)
            }));
        }
        all
    }
}

impl Line {
    /// Parses a rule that begins with `-A` and the name of a chain. `None` for other lines.
    #[must_use]
    pub fn parse(text: &str, v6: bool) -> Option<Self> {
        let (chain, rest) = text.strip_prefix("-A ").or_else(|| text.strip_prefix("-I "))?.trim().split_once(' ')?;
        let mut conditions = Conditions::new(v6);
        let mut target = Target::Next;
        let mut words = Words::split(rest).unwrap_or_else(|| {
            // It is said to be unknown, and to accept.
            target = Target::Decision(Action::Allow);
            conditions.unknown("a quote that is not closed");
            Words(Vec::new().into_iter())
        });
        // Whether options that are not known change nothing: those of a target, and those of a module that is known.
        let (mut is_plain, mut negated) = (false, false);
        while let Some(word) = words.next() {
            match word.as_str() {
                "!" => {
                    negated = true;
                    continue;
                }
                "-m" | "--match" => {
                    let module = words.next().unwrap_or_default();
                    is_plain = SOMETIMES.contains(&module.as_str());
                    conditions.is_sure &= !is_plain;
                    if !is_plain && !KNOWN.contains(&module.as_str()) {
                        conditions.unknown(&format!("-m {module}"));
                    }
                }
                "-j" | "--jump" | "-g" | "--goto" => {
                    let name = words.next().unwrap_or_default();
                    is_plain = true;
                    target = match name.as_str() {
                        "ACCEPT" => Target::Decision(Action::Allow),
                        "DROP" => Target::Decision(Action::Deny),
                        "REJECT" => Target::Decision(Action::Reject),
                        "RETURN" => Target::Return,
                        name if PASSING.contains(&name) => Target::Next,
                        _ => Target::Chain { name, goto: word == "-g" || word == "--goto" },
                    };
                }
                // The place at which `-I` puts it.
                place if place.parse::<u32>().is_ok() => {}
                word => {
                    let known = conditions.option(word, negated, &mut words);
                    if known.is_none() || known == Some(false) && !is_plain {
                        conditions.unknown(word);
                    }
                    if known != Some(true) {
                        words.skip_values();
                    }
                }
            }
            negated = false;
        }
        let matches = conditions.matches();
        Some(Self {
            chain: chain.to_owned(),
            text: format!("-A {chain} {rest}"),
            matches,
            is_sure: conditions.is_sure,
            unknown: conditions.unknown,
            target,
        })
    }

    /// Whether this line of a file is what the kernel has, in whichever words. What a file says in a way that is not known here may be it.
    #[must_use]
    pub fn is_in_kernel_as(&self, kernel: &Self) -> bool {
        self.chain == kernel.chain
            && self.target == kernel.target
            && (self.unknown.is_some() || self.is_sure == kernel.is_sure && kernel.unknown.is_none())
            && (self.unknown.is_some() || kernel.matches.iter().all(|rule| self.matches.contains(rule)))
    }

    /// Whether the line does the same with the same new connections.
    #[must_use]
    pub fn does_as(&self, other: &Self) -> bool {
        let Self { chain, text: _, matches, is_sure, unknown, target } = self;
        (chain, matches, is_sure, unknown, target)
            == (&other.chain, &other.matches, &other.is_sure, &other.unknown, &other.target)
    }

    /// Returns whom it is about where that is the opposite of a network: `all but 10.0.0.0/8`.
    #[must_use]
    pub fn whom(&self) -> Option<String> {
        let (_, network) = self.text.split_once(" ! -s ")?;
        Some(format!("all but {}", network.split(' ').next()?))
    }

    /// Returns the line as the end of a command that deletes it.
    #[must_use]
    pub fn delete(&self) -> String {
        self.text.replacen("-A ", "-D ", 1)
    }
}

/// Reads addresses, and returns those that are meant. `None` if one is not an address, but a name or a mask.
fn networks(text: &str, negated: bool) -> Option<Vec<Network>> {
    let networks: Vec<Network> = text.split(',').map(|network| network.parse().ok()).collect::<Option<_>>()?;
    match (networks.as_slice(), negated) {
        ([one], true) => Some(one.others()),
        (_, true) => None,
        (_, false) => Some(networks),
    }
}

/// Reads ports, and returns those that are meant: `None` if there are none.
fn ports(text: &str, negated: bool) -> Result<Option<Ports>, String> {
    let range = |text: &str| match text.split_once(':') {
        Some((first, last)) => {
            let first = if ["", "0"].contains(&first) { "1" } else { first };
            let last = if last.is_empty() { "65535" } else { last };
            if first == last { first.to_owned() } else { format!("{first}:{last}") }
        }
        None => text.to_owned(),
    };
    let ranges: Vec<String> = text.split(',').map(range).collect();
    let ports: Ports = ranges.join(",").parse()?;
    Ok(if negated { ports.others() } else { Some(ports) })
}

#[cfg(test)]
mod tests;
