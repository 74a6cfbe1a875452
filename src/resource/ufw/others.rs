//! The rules of others beside a declared one: those that open its port as well, and those that come before it and shut out whom it lets in.

use super::wanted::Wanted;
use crate::firewall::{Firewall, Rule};

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
        for other in &firewall.ahead {
            if self.opens(&other.rule, &ours) && !admits_no_more(&other.rule, &ours) && !self.accepts(&other.line) {
                add(format!(
                    "{} by `{}`, which is not ufw's and comes before its rules: delete it where it is made, or {}",
                    self.is_open_to(&other.rule),
                    other.line,
                    accept(&other.line)
                ));
            }
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

    /// Calls `add` with each rule that comes before `our` and shuts out some of those whom it admits.
    fn shut_out(&self, our: &Rule, firewall: &Firewall, now: &Firewall, add: &mut impl FnMut(String)) {
        let Some(at) = firewall.rules.iter().position(|rule| rule.matches_same_packets(our)) else { return };
        let ahead = firewall.ahead.iter().map(|ahead| (&ahead.rule, Some(&ahead.line)));
        for (rule, line) in ahead.chain(firewall.rules[..at].iter().map(|rule| (rule, None))) {
            if !is_about_the_same(rule, our) {
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
            let words = line.cloned().unwrap_or_else(|| rule.words());
            if self.accepts(&words) {
                continue;
            }
            let whom = if rule.from.covers(our.from) { our.source() } else { rule.source() };
            let number = now.rules.iter().position(|one| one == rule).filter(|_| line.is_none()).map(|index| now.number(index));
            let which = match (line, number) {
                (Some(_), _) => format!("`{words}`, which is not ufw's and"),
                (None, Some(number)) => format!("rule {number} of `ufw status numbered`, `{words}`, which"),
                (None, None) => format!("`{words}`, which"),
            };
            let delete = if line.is_some() { "delete it where it is made".to_owned() } else { format!("`ufw delete {words}`") };
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

    fn is_open_to(&self, rule: &Rule) -> String {
        format!("{} is open to {}", self.port(), rule.source())
    }

    fn port(&self) -> String {
        if self.to_ports.is_any() { "every port".to_owned() } else { self.to_ports.to_string() }
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
