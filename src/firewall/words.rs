//! A rule in the words in which an operator types it: `allow 6000:7000/tcp`, as `ufw show added` prints it (ufw 0.36, `parser.py`,
//! `get_command`), and in the long form, which names exactly this rule.

use super::{Direction, Network, Ports, Rule};

impl Rule {
    /// Returns the rule as `ufw show added` prints it, without `ufw` and without the comment. An IPv4 rule and its IPv6 twin have the same words.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = vec![self.action.as_str().to_owned()];
        let to = self.profiles.as_ref().and_then(|profiles| profiles.to.as_deref());
        let from = self.profiles.as_ref().and_then(|profiles| profiles.from.as_deref());
        let everywhere = self.to.is_everything() && self.from.is_everything();
        let short = everywhere
            && self.from_ports.is_any()
            && from.is_none()
            && self.interface.is_none()
            && (to.is_some() || !self.to_ports.is_any());
        match &self.interface {
            Some(interface) => words.push(format!("{} on {interface}", self.direction.as_str())),
            None if self.direction == Direction::Out => words.push("out".to_owned()),
            None => {}
        }
        words.extend(self.log.clone());
        if short {
            words.push(match to {
                Some(profile) => quoted(profile),
                None if self.protocol == "any" => self.to_ports.to_string(),
                None => format!("{}/{}", self.to_ports, self.protocol),
            });
            return words.join(" ");
        }
        let sides = [("from", self.from, &self.from_ports, from), ("to", self.to, &self.to_ports, to)];
        let before = words.len();
        for (word, network, ports, profile) in sides {
            if !network.is_everything() || !ports.is_any() || profile.is_some() {
                words.extend([word.to_owned(), any_or(network)]);
                words.extend(ports_or_profile(ports, profile));
            }
        }
        if words.len() == before && self.interface.is_none() {
            words.push("to any".to_owned());
        }
        if self.protocol != "any" && self.profiles.is_none() {
            words.push(format!("proto {}", self.protocol));
        }
        words.join(" ")
    }

    /// Returns the words of ufw's long syntax, which name this rule alone and not its twin of the other IP version; without the comment.
    #[must_use]
    pub fn syntax(&self) -> Vec<String> {
        let mut words = vec![self.action.as_str().to_owned(), self.direction.as_str().to_owned()];
        let mut add = |more: &[&str]| words.extend(more.iter().map(ToString::to_string));
        if let Some(interface) = &self.interface {
            add(&["on", interface]);
        }
        self.log.iter().for_each(|log| add(&[log]));
        let profile = |of: fn(&super::Profiles) -> Option<&String>| self.profiles.as_ref().and_then(of);
        let (from, to) = (profile(|profiles| profiles.from.as_ref()), profile(|profiles| profiles.to.as_ref()));
        for (word, network, ports, profile) in [("from", self.from, &self.from_ports, from), ("to", self.to, &self.to_ports, to)]
        {
            add(&[word, &network.to_string()]);
            match profile {
                Some(profile) => add(&["app", profile]),
                None if ports.is_any() => {}
                None => add(&["port", &ports.to_string()]),
            }
        }
        if self.protocol != "any" && self.profiles.is_none() {
            add(&["proto", &self.protocol]);
        }
        words
    }

    /// Returns whom the rule is about: `Anywhere`, `Anywhere (v6)`, `10.0.0.0/8 on eth0`.
    #[must_use]
    pub fn source(&self) -> String {
        let from = match (self.from.is_everything(), self.from.is_v6()) {
            (true, false) => "Anywhere".to_owned(),
            (true, true) => "Anywhere (v6)".to_owned(),
            (false, _) => self.from.to_string(),
        };
        self.interface.as_ref().map_or(from.clone(), |interface| format!("{from} on {interface}"))
    }
}

fn any_or(network: Network) -> String {
    if network.is_everything() { "any".to_owned() } else { network.to_string() }
}

fn ports_or_profile(ports: &Ports, profile: Option<&str>) -> Vec<String> {
    match profile {
        Some(profile) => vec!["app".to_owned(), quoted(profile)],
        None if ports.is_any() => Vec::new(),
        None => vec!["port".to_owned(), ports.to_string()],
    }
}

/// Returns the name of a profile as ufw prints it: in quotes if it holds a blank.
fn quoted(profile: &str) -> String {
    if profile.contains(' ') { format!("'{profile}'") } else { profile.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tuples of ufw 0.36.2, and what its `show added` printed about them.
    const REAL: &[(&str, &str)] = &[
        ("deny any 6379 0.0.0.0/0 any 10.9.0.0/16 in", "deny from 10.9.0.0/16 to any port 6379"),
        ("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in", "allow 22/tcp"),
        ("allow tcp 22 ::/0 any ::/0 in", "allow 22/tcp"),
        ("allow tcp 6379,26379 0.0.0.0/0 any 0.0.0.0/0 Red%20Full - in", "allow 'Red Full'"),
        ("allow tcp 6379 0.0.0.0/0 any 0.0.0.0/0 Red - in", "allow Red"),
        ("allow_log tcp 6379 0.0.0.0/0 any 0.0.0.0/0 in", "allow log 6379/tcp"),
        ("allow tcp 6379 0.0.0.0/0 any 0.0.0.0/0 in_eth0", "allow in on eth0 to any port 6379 proto tcp"),
        (
            "allow tcp 6379,26379 0.0.0.0/0 any 10.0.0.0/8 Red%20Full - in comment=782079",
            "allow from 10.0.0.0/8 to any app 'Red Full'",
        ),
        (
            "allow_log-all tcp 6379:6380 0.0.0.0/0 99 10.1.0.0/16 in_eth0 comment=7a7a",
            "allow in on eth0 log-all from 10.1.0.0/16 port 99 to any port 6379:6380 proto tcp",
        ),
        ("limit any 6379 0.0.0.0/0 any 0.0.0.0/0 in", "limit 6379"),
        ("deny any any 0.0.0.0/0 any 0.0.0.0/0 in_eth0", "deny in on eth0"),
        ("allow any any 0.0.0.0/0 any 10.3.3.3 in", "allow from 10.3.3.3"),
        ("deny any 99 0.0.0.0/0 any 0.0.0.0/0 out", "deny out 99"),
        ("allow tcp 6379 0.0.0.0/0 any 0.0.0.0/0 Red - in_eth0", "allow in on eth0 to any app Red"),
        ("reject_log any 1111 0.0.0.0/0 any 0.0.0.0/0 in", "reject log 1111"),
    ];

    #[test]
    fn a_rule_is_described_as_ufw_does_it() {
        for (tuple, words) in REAL {
            assert_eq!(&Rule::parse(tuple).unwrap().words(), words, "{tuple}");
        }
    }

    #[test]
    fn the_long_form_names_one_rule() {
        let long = |tuple: &str| Rule::parse(tuple).unwrap().syntax().join("|");
        assert_eq!(long(REAL[3].0), "allow|in|from|0.0.0.0/0|to|0.0.0.0/0|app|Red Full");
        assert_eq!(long(REAL[5].0), "allow|in|log|from|0.0.0.0/0|to|0.0.0.0/0|port|6379|proto|tcp");
        assert_eq!(long(REAL[8].0), "allow|in|on|eth0|log-all|from|10.1.0.0/16|port|99|to|0.0.0.0/0|port|6379:6380|proto|tcp");
        assert_eq!(Rule::parse(REAL[6].0).unwrap().source(), "Anywhere on eth0");
        assert_eq!(Rule::parse(REAL[2].0).unwrap().source(), "Anywhere (v6)");
    }
}
