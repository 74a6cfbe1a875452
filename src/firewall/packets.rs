//! The way of packets to the node through the chains of the kernel, as `iptables -S` prints them, and what ufw's files have of it.

use std::collections::BTreeMap;

use super::{Action, Line, Policy, Rule, Target};

/// What the kernel and ufw's files have of one IP version.
#[derive(Debug, Clone, Default)]
pub struct Packets {
    /// Whether this is IPv6.
    pub v6: bool,
    /// The kernel's target of packets that no rule matches.
    pub policy: String,
    /// The chains of the kernel that a packet to the node can come to.
    pub chains: BTreeMap<String, Vec<Line>>,
    /// The rules in ufw's files.
    pub files: Vec<OnFile>,
}

/// A rule in a file of ufw.
#[derive(Debug, Clone)]
pub struct OnFile {
    /// The path of the file.
    pub path: String,
    /// The rule.
    pub line: Line,
    /// Whether `ufw` made it from a rule that it shows. The others were written by hand.
    pub is_shown: bool,
}

impl OnFile {
    /// A rule of a file that stands under the rule `shown`, if there is one.
    #[must_use]
    pub fn new(path: &str, line: Line, shown: Option<&Rule>) -> Self {
        let is_of = |shown: &Rule, rule: &Rule| {
            let same = Rule { protocol: shown.protocol.clone(), ..rule.clone() };
            same.matches_same_packets(&Rule { profiles: None, ..shown.clone() })
                && (shown.protocol == "any" || shown.protocol == rule.protocol)
        };
        let does_as = |shown: &Rule| match &line.target {
            Target::Decision(action) => action.accepts() == shown.action.accepts(),
            Target::Chain { name, .. } => name.starts_with("ufw"),
            Target::Next => true,
            Target::Return => false,
        };
        let is_shown = shown.is_some_and(|shown| does_as(shown) && line.matches.iter().all(|rule| is_of(shown, rule)));
        Self { path: path.to_owned(), line, is_shown }
    }
}

/// A rule that ufw does not show, and that decides about new connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// What it does, with the conditions under which a packet comes to its chain.
    pub rule: Rule,
    /// The rule as `iptables -S` prints it.
    pub line: Line,
    /// What goes back to another chain before it.
    pub exceptions: Vec<Rule>,
    /// Whether it decides about all that it matches; no condition that is not known, and none that holds now and then.
    pub is_sure: bool,
    /// The first condition or target that is not known.
    pub unknown: Option<String>,
    /// Whether it comes before the rules that ufw shows.
    pub is_ahead: bool,
    /// Where it is made.
    pub place: Place,
}

/// Where a rule that ufw does not show is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// By others, in INPUT or a chain of theirs.
    Kernel,
    /// In a chain of ufw, by no file of ufw.
    Chain,
    /// In this file of ufw.
    File(String),
}

/// The conditions under which a packet comes to a chain.
#[derive(Clone)]
struct Way<'packets> {
    rules: Vec<Rule>,
    exceptions: Vec<Rule>,
    is_sure: bool,
    unknown: Option<String>,
    /// The chains that it goes through.
    through: Vec<&'packets str>,
}

/// The rules that decide, in the order in which the kernel reads them.
struct Walk<'packets> {
    packets: &'packets Packets,
    found: Vec<Other>,
    /// Whether the rules of users were reached by every packet that came so far.
    is_linked: bool,
    /// How many rules were read. Chains that lead to the same chains are read for each way.
    steps: usize,
}

/// How many rules are read at most. Where there are more, the rest may let anything in.
const MOST_STEPS: usize = 50_000;

impl<'packets> Walk<'packets> {
    /// Goes through a chain.
    fn chain(&mut self, name: &str, mut way: Way<'packets>) {
        let Some((name, lines)) = self.packets.chains.get_key_value(name) else { return };
        way.through.push(name);
        for line in lines {
            self.steps += 1;
            if self.steps >= MOST_STEPS {
                if self.steps == MOST_STEPS {
                    let unknown = Some(format!("more than {MOST_STEPS} rules"));
                    self.decide(line, &Way { unknown, is_sure: false, ..way }, Action::Allow);
                }
                return;
            }
            let pairs = way.rules.iter().flat_map(|rule| line.matches.iter().filter_map(|condition| rule.both(condition)));
            let rules: Vec<Rule> = pairs.collect();
            if rules.is_empty() || line.target == Target::Next {
                continue;
            }
            let here = Way {
                rules,
                is_sure: way.is_sure && line.is_sure,
                unknown: way.unknown.clone().or_else(|| line.unknown.clone()),
                exceptions: way.exceptions.clone(),
                through: way.through.clone(),
            };
            // A part of what comes here goes on behind the rule, unless this is all of it.
            let is_all = line.is_sure && here.rules == way.rules;
            match &line.target {
                Target::Decision(action) => self.decide(line, &here, *action),
                Target::Next => {}
                Target::Return => {
                    self.leave(line, &here);
                    if is_all {
                        return;
                    }
                    if here.is_sure {
                        way.exceptions.extend(here.rules);
                    }
                }
                Target::Chain { name, goto } => {
                    self.jump(line, name, &here);
                    if *goto {
                        self.leave(line, &here);
                        if is_all {
                            return;
                        }
                        if here.is_sure {
                            way.exceptions.extend(here.rules);
                        }
                    }
                }
            }
        }
    }

    fn jump(&mut self, line: &Line, name: &str, here: &Way<'packets>) {
        if name == self.packets.chain("user-input") {
            // What others send there earlier is let in by no other rules.
            let is_all = here.is_sure && here.rules == [Rule::everything(self.packets.v6)];
            self.is_linked |= is_all && here.through == ["INPUT", self.packets.chain("before-input").as_str()];
        } else if !self.packets.chains.contains_key(name) {
            let unknown = here.unknown.clone().or_else(|| Some(name.to_owned()));
            self.decide(line, &Way { unknown, is_sure: false, ..here.clone() }, Action::Allow);
        } else if !here.through.contains(&name) {
            self.chain(name, here.clone());
        }
    }

    fn decide(&mut self, line: &Line, here: &Way<'packets>, action: Action) {
        for rule in &here.rules {
            self.found.push(Other {
                rule: Rule { action, ..rule.clone() },
                line: line.clone(),
                exceptions: here.exceptions.clone(),
                is_sure: here.is_sure,
                unknown: here.unknown.clone(),
                is_ahead: !self.is_linked,
                place: Place::Kernel,
            });
        }
    }

    /// Notes what leaves a chain that leads to the rules of users: it does not come there, and the policy refuses it.
    fn leave(&mut self, line: &Line, here: &Way<'packets>) {
        let before = self.packets.chain("before-input");
        let leads = ["INPUT", before.as_str()];
        if !self.is_linked && leads.starts_with(&here.through) && self.packets.policy != "ACCEPT" {
            self.decide(line, here, Action::Deny);
        }
    }
}

impl Packets {
    /// Returns the name of a chain of ufw.
    fn chain(&self, name: &str) -> String {
        format!("ufw{}-{name}", if self.v6 { "6" } else { "" })
    }

    fn is_ufws(&self, chain: &str) -> bool {
        chain.starts_with(&self.chain(""))
    }

    /// Whether the kernel has the chain with the rules of users.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.chains.contains_key(&self.chain("user-input"))
    }

    /// Reads a line that `iptables -S` prints. `None` if it is neither a policy, nor a chain, nor a rule of a chain.
    pub fn read(&mut self, text: &str) -> Option<()> {
        if let Some(policy) = text.strip_prefix("-P INPUT ") {
            policy.clone_into(&mut self.policy);
            self.chains.entry("INPUT".into()).or_default();
        } else if let Some(chain) = text.strip_prefix("-N ") {
            self.chains.entry(chain.to_owned()).or_default();
        } else {
            let line = Line::parse(text, self.v6)?;
            self.chains.entry(line.chain.clone()).or_default().push(line);
        }
        Some(())
    }

    fn walk(&self) -> Walk<'_> {
        let mut walk = Walk { packets: self, found: Vec::new(), is_linked: false, steps: 0 };
        let (rules, exceptions, through) = (vec![Rule::everything(self.v6)], Vec::new(), Vec::new());
        walk.chain("INPUT", Way { rules, exceptions, is_sure: true, unknown: None, through });
        for other in &mut walk.found {
            if self.is_ufws(&other.line.chain) {
                let on_file = self.files.iter().find(|file| file.line.is_in_kernel_as(&other.line));
                other.place = on_file.map_or(Place::Chain, |file| Place::File(file.path.clone()));
            }
        }
        walk
    }

    /// Returns what the kernel lacks of an enabled firewall with this policy, or has besides. `None` as the policy: ufw makes no rules for this
    /// IP version, and drops all.
    #[must_use]
    pub fn gaps(&self, incoming: Option<Policy>) -> Vec<String> {
        let version = if self.v6 { "IPv6" } else { "IPv4" };
        let walk = self.walk();
        if let Some(incoming) = incoming {
            if !self.is_loaded() {
                return vec![format!("ufw's {version} chains are not in the kernel")];
            }
            if !walk.is_linked {
                return vec![format!("INPUT does not lead to ufw's {version} rules in the kernel")];
            }
            if (self.policy == "ACCEPT") != (incoming == Policy::Allow) {
                return vec![format!("the {version} policy of INPUT is {} in the kernel", self.policy)];
            }
        } else if self.policy == "ACCEPT" {
            // Another program may drop all that it does not accept.
            let everything = Rule::everything(self.v6);
            let drops = |other: &Other| other.is_sure && !other.rule.action.accepts() && other.exceptions.is_empty();
            if !walk.found.iter().any(|other| drops(other) && other.rule.covers(&everything)) {
                return vec![format!("every {version} packet is let in, although `IPV6=no` means that none is")];
            }
        }
        let mut gaps = Vec::new();
        for other in walk.found.iter().filter(|other| other.place == Place::Chain && other.rule.action.accepts()) {
            let gap = format!("the kernel has `{}`, which is in no file of ufw", other.line.text);
            if !self.is_policy(&other.line, incoming) && !gaps.contains(&gap) {
                gaps.push(gap);
            }
        }
        gaps.extend(self.changed_user_rules());
        gaps
    }

    /// Whether ufw makes the rule because everything is let in.
    fn is_policy(&self, line: &Line, incoming: Option<Policy>) -> bool {
        let chains = ["track-input", "skip-to-policy-input"].map(|name| self.chain(name));
        incoming == Some(Policy::Allow) && chains.contains(&line.chain)
    }

    /// Returns where the rules of users in the kernel are not those of ufw's file: the first difference of each chain.
    fn changed_user_rules(&self) -> Vec<String> {
        let path = format!("/etc/ufw/user{}.rules", if self.v6 { "6" } else { "" });
        let start = self.chain("user-");
        let mut gaps = Vec::new();
        for (chain, kernel) in self.chains.iter().filter(|(chain, _)| chain.starts_with(&start)) {
            let file: Vec<&Line> = self.files.iter().filter(|file| file.path == path).map(|file| &file.line).collect();
            let file: Vec<&Line> = file.into_iter().filter(|line| line.chain == *chain).collect();
            let differs = |index: &usize| match (kernel.get(*index), file.get(*index)) {
                (Some(kernel), Some(file)) => !kernel.does_as(file),
                (one, two) => one.is_some() || two.is_some(),
            };
            let Some(at) = (0..kernel.len().max(file.len())).find(differs) else { continue };
            gaps.push(match (kernel.get(at), file.get(at)) {
                (Some(line), Some(file)) if kernel.iter().any(|kernel| kernel.does_as(file)) => {
                    format!("the kernel has `{}`, which is not in {path}", line.text)
                }
                (Some(line), Some(file)) => format!("the kernel has `{}` in place of `{}` of {path}", line.text, file.text),
                (Some(line), None) => format!("the kernel has `{}`, which is not in {path}", line.text),
                (None, file) => format!("the kernel lacks `{}` of {path}", file.map_or("", |file| file.text.as_str())),
            });
        }
        gaps
    }

    /// Returns the rules that ufw does not show and that decide about new connections while ufw is enabled with this policy, in the order in which
    /// the kernel reads them. Where it does not have ufw's chains as they should be, those of the files take their place.
    #[must_use]
    pub fn others(&self, is_enabled: bool, incoming: Option<Policy>) -> Vec<Other> {
        let is_whole = incoming.is_none() || is_enabled && self.walk().is_linked;
        let restored;
        let packets = if is_whole {
            self
        } else {
            restored = self.restored();
            &restored
        };
        let mut others = packets.walk().found;
        // What is in a chain of ufw without a file is a gap.
        others.retain(|other| !(other.place == Place::Chain && other.rule.action.accepts()));
        others.extend(packets.written_by_hand());
        others
    }

    /// Returns the packets' way after ufw has made its chains from its files.
    fn restored(&self) -> Self {
        let mut packets = self.clone();
        packets.chains.retain(|chain, _| !self.is_ufws(chain));
        let theirs: Vec<String> = packets.chains.keys().cloned().collect();
        let input = packets.chains.entry("INPUT".into()).or_default();
        input.retain(|line| !matches!(&line.target, Target::Chain { name, .. } if self.is_ufws(name)));
        let is_user = |chain: &str| chain.starts_with(&self.chain("user-"));
        for file in self.files.iter().filter(|file| !is_user(&file.line.chain) && !theirs.contains(&file.line.chain)) {
            packets.chains.entry(file.line.chain.clone()).or_default().push(file.line.clone());
        }
        let (before, after, user) = (self.chain("before-input"), self.chain("after-input"), self.chain("user-input"));
        packets.chains.entry(after.clone()).or_default();
        // ufw makes these without a file.
        let made = ["skip-to-policy-input", "logging-deny", "logging-allow"].map(|name| self.chain(name));
        for chain in made {
            packets.chains.entry(chain).or_default();
        }
        for (chain, target) in [("INPUT", &before), (&before, &user), ("INPUT", &after)] {
            let jump = Line::parse(&format!("-A {chain} -j {target}"), self.v6);
            packets.chains.entry(chain.to_owned()).or_default().extend(jump);
        }
        packets
    }

    /// Returns the rules that an operator has written into ufw's file of rules of users.
    fn written_by_hand(&self) -> Vec<Other> {
        let chain = self.chain("user-input");
        let user: Vec<&OnFile> = self.files.iter().filter(|file| file.line.chain == chain).collect();
        let mut found = Vec::new();
        for (index, file) in user.iter().enumerate().filter(|(_, file)| !file.is_shown) {
            let action = match &file.line.target {
                Target::Decision(action) => *action,
                // What the chain does is not looked at.
                Target::Chain { .. } => Action::Allow,
                Target::Next | Target::Return => continue,
            };
            let is_chain = matches!(file.line.target, Target::Chain { .. });
            found.extend(file.line.matches.iter().map(|rule| Other {
                rule: Rule { action, ..rule.clone() },
                line: file.line.clone(),
                exceptions: Vec::new(),
                is_sure: file.line.is_sure && !is_chain,
                unknown: file.line.unknown.clone(),
                is_ahead: user[index..].iter().any(|file| file.is_shown),
                place: Place::File(file.path.clone()),
            }));
        }
        found
    }
}
