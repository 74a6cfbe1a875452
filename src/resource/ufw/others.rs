//! The rules of others beside a declared one: those that open its port as well, and those that come before it and shut out whom it lets in.

use super::wanted::Wanted;
use crate::firewall::{Direction, Firewall, Line, Other, Place, Rule};

impl Wanted {
    /// Whether `only` deletes the rule: it opens ports of this task and no others.
    pub(super) fn replaces(&self, rule: &Rule, firewall: &Firewall) -> bool {
        self.opens(rule, &self.rules(firewall.ipv6)) && self.is_about_these_ports(rule, firewall) && !self.accepts(&rule.words())
    }

    /// Whether the task deletes the rule although ufw does not find it by the words of the task, because it logs.
    pub(super) fn deletes_logged(&self, rule: &Rule, firewall: &Firewall) -> bool {
        let same = |ours: &Rule| ours.action == rule.action && ours.matches_same_packets(rule);
        self.delete && rule.log.is_some() && self.rules(firewall.ipv6).iter().any(same)
    }

    /// Returns why the declaration cannot be made true on a firewall that already has its rules: rules that open its port besides others, and
    /// rules before its own that shut out whom it admits. `now` is the firewall of the node, whose numbers the operator sees.
    pub(super) fn obstacles(&self, firewall: &Firewall, now: &Firewall) -> Vec<String> {
        if self.delete {
            return Vec::new();
        }
        let ours = self.rules(firewall.ipv6);
        let mut found: Vec<String> = self.v6_refusal(firewall).into_iter().collect();
        let mut add = |text: String| {
            if !found.contains(&text) {
                found.push(text);
            }
        };
        let mut named: Vec<String> = Vec::new();
        for rule in firewall.rules.iter().filter(|rule| self.opens(rule, &ours) && !admits_no_more(rule, &ours)) {
            let words = rule.words();
            // The twin of the other IP version has the same words.
            if self.accepts(&words) || named.contains(&words) {
                continue;
            }
            add(format!(
                "{} by `{words}`, which opens more than that: narrow it (`ufw delete {words}`, then rules for the rest), or {}",
                self.is_open_to(rule),
                accept(&words)
            ));
            named.push(words);
        }
        let mut named: Vec<&Line> = Vec::new();
        for (index, other) in firewall.others.iter().enumerate().filter(|(_, other)| self.opens(&other.rule, &ours)) {
            let is_known = self.accepts_line(&other.line) || named.contains(&&other.line);
            if is_known || admits_no_more(&other.rule, &ours) || self.is_shut_before(other, &firewall.others[..index], firewall) {
                continue;
            }
            named.push(&other.line);
            let perhaps = other.unknown.as_ref().map_or(String::new(), |word| {
                format!(", unless its condition or target `{word}`, which is not known here, keeps packets out")
            });
            let whom = other.line.whom().unwrap_or_else(|| other.rule.source());
            add(format!(
                "{} is open to {whom} by {}{perhaps}: {}, or {}",
                self.port(),
                describe_other(other),
                delete_other(other),
                accept(&other.line.text)
            ));
        }
        if self.action.accepts() {
            for our in ours {
                self.shut_out(&our, firewall, now, &mut add);
            }
        }
        found
    }

    /// Returns what `only` deletes, for people.
    pub(super) fn opened_by_others(&self, firewall: &Firewall) -> Vec<String> {
        let mut found = Vec::new();
        for rule in firewall.rules.iter().filter(|rule| self.replaces(rule, firewall)) {
            let text = format!("{} by `{}`", self.is_open_to(rule), rule.words());
            if !found.contains(&text) {
                found.push(text);
            }
        }
        found
    }

    /// Returns that ufw takes no rule for IPv6 now.
    pub(super) fn v6_refusal(&self, firewall: &Firewall) -> Option<String> {
        let address = self.from.iter().flatten().chain(&self.to).find(|network| network.is_v6() && !firewall.ipv6)?;
        Some(format!(
            "ufw refuses this (`IPv6 support not enabled`): {address} is an address of IPv6, and /etc/default/ufw says `IPV6=no`, or the kernel \
             has no IPv6; set `IPV6=yes` there and run `ufw reload`, or leave the address out"
        ))
    }

    /// Whether nothing comes to the ports of this task by the rule, because it was refused before, or went another way.
    fn is_shut_before(&self, other: &Other, before: &[Other], firewall: &Firewall) -> bool {
        let Some(rule) = self.of_these_ports(&other.rule) else { return true };
        let refuses = |rule_before: &Rule| !rule_before.action.accepts() && rule_before.covers(&rule);
        let of_others = |other: &Other| other.is_sure && other.exceptions.is_empty() && refuses(&other.rule);
        let of_users = |rule: &Rule| rule.direction == Direction::In && !rule.routed && refuses(rule);
        other.exceptions.iter().any(|exception| exception.covers(&rule))
            || before.iter().any(of_others)
            || !other.is_ahead && firewall.rules.iter().any(of_users)
    }

    /// Returns the part of a rule that is about the ports of this task.
    fn of_these_ports(&self, rule: &Rule) -> Option<Rule> {
        let v6 = rule.to.is_v6();
        let these = Rule { protocol: self.protocol.as_str().to_owned(), to_ports: self.to_ports.clone(), ..Rule::everything(v6) };
        rule.both(&these)
    }

    /// Calls `add` with each rule that comes before `our` and shuts out some of those whom it admits.
    fn shut_out(&self, our: &Rule, firewall: &Firewall, now: &Firewall, add: &mut impl FnMut(String)) {
        let Some(at) = firewall.rules.iter().position(|rule| rule.matches_same_packets(our)) else { return };
        let ahead = firewall.others.iter().filter(|other| other.is_ahead).map(|other| (&other.rule, Some(other)));
        let mut named: Vec<&Line> = Vec::new();
        for (rule, other) in ahead.chain(firewall.rules[..at].iter().map(|rule| (rule, None))) {
            let is_unsure = |other: &Other| {
                !other.is_sure
                    || rule.action.accepts() && !other.exceptions.is_empty()
                    || rule.both(our).is_some_and(|rule| other.exceptions.iter().any(|exception| exception.covers(&rule)))
            };
            if !is_about_the_same(rule, our) || other.is_some_and(is_unsure) {
                continue;
            }
            if rule.action.accepts() {
                if admits_all(rule, our) {
                    return;
                }
                continue;
            }
            if !refuses_what_is_admitted(rule, our) {
                continue;
            }
            let whom = if rule.from.covers(our.from) { our.source() } else { rule.source() };
            let (which, delete, words) = if let Some(other) = other {
                if self.accepts_line(&other.line) || named.contains(&&other.line) {
                    continue;
                }
                named.push(&other.line);
                (format!("{} and", describe_other(other)), delete_other(other), other.line.text.clone())
            } else {
                let words = rule.words();
                if self.accepts(&words) {
                    continue;
                }
                let number = now.rules.iter().position(|one| one == rule).map(|index| now.number(index));
                let which = match number {
                    Some(number) => format!("rule {number} of `ufw status numbered`, `{words}`, which"),
                    None => format!("`{words}`, which"),
                };
                (which, format!("`ufw delete {words}`"), words)
            };
            add(format!(
                "{} is shut to {whom} by {which} comes before `{}`: {delete}, or {}",
                self.port(),
                our.words(),
                accept(&words)
            ));
        }
    }

    /// Whether the rule opens a port of this task besides the rules of this task.
    fn opens(&self, rule: &Rule, ours: &[Rule]) -> bool {
        self.only
            && rule.action.accepts()
            && !rule.routed
            && rule.direction == self.direction
            && rule.interface.as_deref() != Some("lo")
            && rule.to_ports.meets(&self.to_ports)
            && protocols_meet(&rule.protocol, self.protocol.as_str())
            && !ours.iter().any(|wanted| wanted.matches_same_packets(rule))
    }

    /// Whether the rule, with all rules of the same profile, is about ports of this task and no others.
    fn is_about_these_ports(&self, rule: &Rule, firewall: &Firewall) -> bool {
        let same = |other: &&Rule| other.words() == rule.words() && other.to.is_v6() == rule.to.is_v6();
        let of_profile: Vec<&Rule> = firewall.rules.iter().filter(|_| rule.profiles.is_some()).filter(same).collect();
        self.to_ports.covers(&rule.to_ports) && of_profile.iter().all(|other| self.to_ports.covers(&other.to_ports))
    }

    /// Whether the task says that this rule may stay.
    fn accepts(&self, words: &str) -> bool {
        self.accepted.iter().any(|accepted| accepted == words)
    }

    /// Whether the task says that this rule of others may stay, in whichever words.
    fn accepts_line(&self, line: &Line) -> bool {
        let v6 = line.matches.first().is_some_and(|rule| rule.to.is_v6());
        let is_it = |words: &String| Line::parse(words, v6).is_some_and(|accepted| accepted.is_sure && accepted.does_as(line));
        self.accepts(&line.text) || self.accepted.iter().any(is_it)
    }

    fn is_open_to(&self, rule: &Rule) -> String {
        format!("{} is open to {}", self.port(), rule.source())
    }

    fn port(&self) -> String {
        if self.to_ports.is_any() { "every port".to_owned() } else { self.to_ports.to_string() }
    }
}

/// Returns the rule's text, and whose it is.
fn describe_other(other: &Other) -> String {
    let text = &other.line.text;
    match &other.place {
        Place::Kernel => format!("`{text}`, which is not ufw's"),
        Place::Chain => format!("`{text}`, which is in a chain and no file of ufw"),
        Place::File(path) => format!("`{text}`, which is in {path}"),
    }
}

/// Returns the way out that deletes the rule.
fn delete_other(other: &Other) -> String {
    match &other.place {
        Place::Kernel => {
            let program = if other.rule.to.is_v6() { "ip6tables" } else { "iptables" };
            format!("delete it where it is made, and now (`{program} {}`)", other.line.delete())
        }
        Place::Chain => "`ufw reload`".to_owned(),
        Place::File(_) => "delete it there, then `ufw reload`".to_owned(),
    }
}

/// Returns the way out that leaves a rule where it is.
fn accept(words: &str) -> String {
    format!("accept it with `accepted: [\"{words}\"]` (in the shipped roles the variable `firewall_accepted`)")
}

fn protocols_meet(one: &str, two: &str) -> bool {
    one == two || one == "any" || two == "any"
}

/// Whether the rule admits no host that one of ours does not admit.
fn admits_no_more(rule: &Rule, ours: &[Rule]) -> bool {
    ours.iter().any(|our| {
        our.from.covers(rule.from) && our.to.covers(rule.to) && (our.interface.is_none() || our.interface == rule.interface)
    })
}

/// Whether some packet could be matched by both.
fn is_about_the_same(rule: &Rule, our: &Rule) -> bool {
    let interfaces = rule.interface.is_none() || our.interface.is_none() || rule.interface == our.interface;
    rule.direction == our.direction
        && !rule.routed
        && interfaces
        && rule.interface.as_deref() != Some("lo")
        && rule.from.meets(our.from)
        && rule.to.meets(our.to)
        && rule.to_ports.meets(&our.to_ports)
        && (rule.from_ports.is_any() || rule.from_ports == our.from_ports)
        && protocols_meet(&rule.protocol, &our.protocol)
}

/// Whether the rule, which is about the same, already admits all that ours admits, so that what comes between them does no harm.
fn admits_all(rule: &Rule, our: &Rule) -> bool {
    (rule.interface.is_none() || rule.interface == our.interface)
        && rule.from.covers(our.from)
        && rule.to.covers(our.to)
        && rule.to_ports.covers(&our.to_ports)
        && (rule.protocol == "any" || rule.protocol == our.protocol)
}

/// Whether the refusal, which is about the same, makes our rule void for those whom it names. A rule for all hosts may have exceptions, as fail2ban
/// and operators make them; a rule for named clients is meant for each of them. A range of ports may have exceptions, too.
fn refuses_what_is_admitted(rule: &Rule, our: &Rule) -> bool {
    let whole =
        rule.from.covers(our.from) && rule.to.covers(our.to) && (rule.interface.is_none() || rule.interface == our.interface);
    rule.to_ports.covers_one_of(&our.to_ports) && (whole || !our.from.is_everything())
}
