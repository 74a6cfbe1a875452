//! What is done to the firewall: the change as people see it, and its scripts.

use super::{AtBoot, UNIT, Ufw, words::State};
use crate::{
    firewall::{Firewall, Network, Policy, Rule},
    resource::{Change, Diff},
    script::Script,
};

impl Ufw {
    pub(super) fn change(&self, before: &Firewall, after: &Firewall, at_boot: &AtBoot) -> Change {
        let mut diff = Diff::none();
        let mut attribute = |name: &str, before: &str, after: &str| {
            if before != after {
                diff.attribute(name, before, after);
            }
        };
        attribute("state", &describe_state(before), &describe_state(after));
        if let Some(word) = at_boot.problem() {
            attribute(UNIT, word, "enabled");
        }
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
        let found = self.found(before, after, at_boot);
        Change::new(summary, self.script(before, at_boot)).diff(diff.titled("ufw")).finding(found)
    }

    /// Returns what is not as declared, for a health check.
    fn found(&self, before: &Firewall, after: &Firewall, at_boot: &AtBoot) -> String {
        let mut found = match self {
            Self::Rule(wanted) => wanted.opened_by_others(before),
            Self::Whole { state: Some(_), .. } if describe_state(before) != describe_state(after) => {
                vec![format!("the firewall is {}", describe_state(before))]
            }
            Self::Whole { .. } => Vec::new(),
        };
        found.extend(at_boot.problem().map(|word| format!("{UNIT} is {word}, so that the firewall is off after a boot")));
        let mut policy = |name: &str, before: Policy, after: Policy| {
            if before != after {
                found.push(format!("the policy for {name} packets is {}, not {}", before.as_str(), after.as_str()));
            }
        };
        policy("incoming", before.incoming, after.incoming);
        policy("outgoing", before.outgoing, after.outgoing);
        policy("routed", before.routed, after.routed);
        if before.logging != after.logging {
            found.push(format!("logging is {}, not {}", before.logging, after.logging));
        }
        for rule in after.rules.iter().filter(|rule| !before.rules.contains(rule)) {
            found.push(format!("there is no rule `{}`", describe_rule(rule)));
        }
        found.join("; ")
    }

    fn script(&self, before: &Firewall, at_boot: &AtBoot) -> Script {
        let broken = if before.is_broken() { "broken" } else { "" };
        match self {
            Self::Rule(wanted) => {
                let comment = wanted.comment.as_deref().filter(|_| !wanted.delete).unwrap_or_default();
                let verb = if wanted.delete { "delete\t" } else { "" };
                let rule = |from: &Option<Network>| {
                    let words = wanted.syntax(&from.map_or("any".to_owned(), |from| from.to_string()));
                    format!("{verb}{}", words.join("\t"))
                };
                let rules: Vec<String> = wanted.from.iter().map(rule).collect();
                let mut others: Vec<String> = Vec::new();
                let also = |rule: &&Rule| wanted.replaces(rule, before) || wanted.deletes_logged(rule, before);
                for other in before.rules.iter().filter(also) {
                    // ufw deletes the rules of one profile together.
                    let words = other.syntax().join("\t");
                    if !others.contains(&words) {
                        others.push(words);
                    }
                }
                Script::new(RULES).args([rules.join("\n").as_str(), others.join("\n").as_str(), comment, broken])
            }
            Self::Whole { state, policy, logging } => {
                let (policy, direction) = policy.map_or(("", ""), |(policy, direction)| (policy.as_str(), direction.as_str()));
                let state = state.map_or("", |state| if state == State::Enabled { "enable" } else { "disable" });
                let unit = at_boot.problem().map_or("", |_| UNIT);
                Script::new(WHOLE).args([policy, direction, logging.map_or("", |logging| logging.as_str()), state, broken, unit])
            }
        }
    }
}

/// `$1`: rules to add; `$2`: rules to delete; `$3`: a comment; `$4`: whether the kernel does not do as ufw's files say. Rules are lines of words
/// with tabs between them. Deletions come last, so that no connection is refused in between. With a firewall that is not in the kernel ufw writes
/// the rule and then fails, because it cannot add it there; whether it was written is asked afterwards.
const RULES: &str = r#"set -euf
rules=$1 others=$2 comment=$3 broken=$4
tab='	' line='
'
IFS=$line
for rule in $rules; do
    IFS=$tab
    set -- $rule
    if [ -n "$comment" ]; then set -- "$@" comment "$comment"; fi
    ufw "$@" || [ -n "$broken" ]
done
IFS=$line
for other in $others; do IFS=$tab; ufw delete $other || [ -n "$broken" ]; done"#;

/// `$1`, `$2`: a policy and its direction; `$3`: logging; `$4`: `enable` or `disable`; `$5`: whether the kernel does not do as ufw's files say;
/// `$6`: the unit, if it does not start at boot. `--force`: in an SSH session, ufw asks for confirmation. Whether the change is safe was decided
/// before (`refuse`).
///
/// `ufw reload` makes chains that are missing, but no jumps to chains that are there: it would set the policy, and nothing that lets a connection
/// in. So what is left of ufw's chains is removed first. A chain that others refer to stays, empty, as ufw itself leaves it.
const WHOLE: &str = r#"set -euf
if [ -n "$5" ] && [ "$4" != disable ]; then
    line='
'
    for exe in iptables ip6tables; do
        rules=$("$exe" -w 10 -S) || continue
        for chain in INPUT OUTPUT FORWARD; do "$exe" -w 10 -P "$chain" ACCEPT; done
        IFS=$line
        for rule in $rules; do
            IFS=' '
            case $rule in
                '-A INPUT -j ufw'* | '-A OUTPUT -j ufw'* | '-A FORWARD -j ufw'*) "$exe" -w 10 -D ${rule#-A } ;;
                '-N ufw-'* | '-N ufw6-'*) "$exe" -w 10 -F "${rule#-N }" ;;
            esac
        done
        IFS=$line
        for rule in $rules; do
            case $rule in '-N ufw-'* | '-N ufw6-'*) "$exe" -w 10 -X "${rule#-N }" 2>/dev/null || true ;; esac
        done
    done
    ufw --force enable
fi
if [ -n "$1" ]; then ufw default "$1" "$2"; fi
if [ -n "$3" ]; then ufw logging "$3"; fi
if [ -n "$4" ]; then ufw --force "$4"; fi
if [ -n "$6" ]; then
    systemctl --quiet unmask "$6"
    systemctl --quiet enable "$6"
fi
"#;

fn describe_state(firewall: &Firewall) -> String {
    match (firewall.enabled, firewall.gaps.as_slice()) {
        (true, []) => "enabled".to_owned(),
        (true, gaps) => format!("enabled in /etc/ufw/ufw.conf only: {}", gaps.join(", ")),
        (false, _) if firewall.loaded => "disabled in /etc/ufw/ufw.conf only: the kernel has its rules".to_owned(),
        (false, _) => "disabled".to_owned(),
    }
}

fn describe_rule(rule: &Rule) -> String {
    let mut text = rule.syntax().join(" ");
    rule.comment.iter().for_each(|comment| text = format!("{text} # {comment}"));
    text
}
