//! The rules of others, and what the kernel really does.

use super::*;
use crate::{
    firewall::Packets,
    health::{AsDeclared, Finding, HealthCheck},
    script::Script,
};

const OURS: &str = "allow tcp 6379 0.0.0.0/0 any 10.1.0.0/24 in";

fn wanted() -> Value {
    json!({"rule": "allow", "port": 6379, "proto": "tcp", "from_ip": "10.1.0.0/24", "only": true})
}

fn accepting(words: &[&str]) -> Value {
    let mut wanted = wanted();
    wanted["accepted"] = json!(words);
    wanted
}

pub(super) fn refusal(wanted: Value, firewall: &Firewall) -> Option<String> {
    refused(wanted, &[], ufw::Answer::State(firewall.clone()), None)
}

/// Returns what a health check says.
fn health(wanted: Value, firewall: Firewall) -> Finding {
    let answers = answers(ufw::Answer::State(firewall), None);
    let check = AsDeclared(Box::new(ufw(wanted)));
    check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

pub(super) fn unhealthy(wanted: Value, firewall: Firewall) -> String {
    let found = health(wanted, firewall);
    let Finding::Unhealthy(why) = found else { panic!("{found:?}") };
    why
}

/// Returns a firewall with a rule in INPUT, before those that ufw shows.
fn ahead(line: &str) -> Firewall {
    let mut packets = Packets::default();
    for line in ["-P INPUT DROP", &format!("-A INPUT {line}")] {
        packets.read(line).unwrap();
    }
    Firewall { others: packets.others(true, Some(Policy::Deny)), ..with(&[OURS]) }
}

/// Rules that open 6379 in every form, and their words.
const OTHERS: &[(&[&str], &str)] = &[
    (&["allow tcp 6000:7000 0.0.0.0/0 any 0.0.0.0/0 in", "allow tcp 6000:7000 ::/0 any ::/0 in"], "allow 6000:7000/tcp"),
    (&["allow tcp 6379,8001 0.0.0.0/0 any 0.0.0.0/0 in"], "allow 6379,8001/tcp"),
    (&["allow tcp 80,6000:7000 ::/0 any ::/0 in"], "allow 80,6000:7000/tcp"),
    (&["limit tcp 6000:7000 0.0.0.0/0 any 0.0.0.0/0 in"], "limit 6000:7000/tcp"),
    (&["allow_log tcp 6000:7000 0.0.0.0/0 any 0.0.0.0/0 in"], "allow log 6000:7000/tcp"),
    (&["allow tcp 6000:7000 0.0.0.0/0 any 0.0.0.0/0 in_eth0"], "allow in on eth0 to any port 6000:7000 proto tcp"),
    (&["allow any any 0.0.0.0/0 any 10.0.0.0/8 in"], "allow from 10.0.0.0/8"),
    (&["allow tcp any 0.0.0.0/0 any 0.0.0.0/0 in"], "allow to any proto tcp"),
    (&["allow tcp 6379,26379 0.0.0.0/0 any 0.0.0.0/0 Red%20Full - in"], "allow 'Red Full'"),
    // The profile as a whole opens more, and ufw deletes it as a whole.
    (&["allow tcp 6379 0.0.0.0/0 any 0.0.0.0/0 Red - in", "allow udp 53 0.0.0.0/0 any 0.0.0.0/0 Red - in"], "allow Red"),
];

#[test]
fn a_rule_that_opens_more_than_the_port_is_refused_in_every_form() {
    for (tuples, words) in OTHERS {
        let firewall = with(&[&[OURS][..], tuples].concat());
        let refusal = refusal(wanted(), &firewall).unwrap_or_else(|| panic!("{words}"));
        assert!(refusal.starts_with("6379 is open to ") && refusal.contains(&format!(" by `{words}`, ")), "{refusal}");
        assert_eq!(refusal.matches("is open to").count(), 1, "{refusal}");
        assert_eq!(unhealthy(wanted(), firewall.clone()), refusal);
        assert!(!converged(wanted(), firewall.clone()));
        // Accepted in these words, it is as if it were not there.
        assert!(converged(accepting(&[words]), firewall.clone()), "{words}");
        assert_eq!(self::refusal(accepting(&[words]), &firewall), None);
        assert!(!converged(accepting(&["allow 1:2/tcp"]), firewall));
    }
    let both = with(&[&[OURS][..], OTHERS[0].0].concat());
    insta::assert_snapshot!(refusal(wanted(), &both).unwrap(), @r#"6379 is open to Anywhere by `allow 6000:7000/tcp`, which opens more than that: narrow it (`ufw delete allow 6000:7000/tcp`, then rules for the rest), or accept it with `accepted: ["allow 6000:7000/tcp"]` (in the shipped roles the variable `firewall_accepted`)"#);
    insta::assert_snapshot!(refusal(wanted(), &with(&[OURS, OTHERS[6].0[0], OTHERS[5].0[0]])).unwrap(), @r#"6379 is open to 10.0.0.0/8 by `allow from 10.0.0.0/8`, which opens more than that: narrow it (`ufw delete allow from 10.0.0.0/8`, then rules for the rest), or accept it with `accepted: ["allow from 10.0.0.0/8"]` (in the shipped roles the variable `firewall_accepted`); 6379 is open to Anywhere on eth0 by `allow in on eth0 to any port 6000:7000 proto tcp`, which opens more than that: narrow it (`ufw delete allow in on eth0 to any port 6000:7000 proto tcp`, then rules for the rest), or accept it with `accepted: ["allow in on eth0 to any port 6000:7000 proto tcp"]` (in the shipped roles the variable `firewall_accepted`)"#);
}

#[test]
fn a_rule_for_this_port_only_is_deleted_in_every_form() {
    for (tuple, deleted) in [
        ("allow any 6379 0.0.0.0/0 any 0.0.0.0/0 in", "allow in from 0.0.0.0/0 to 0.0.0.0/0 port 6379"),
        ("allow_log-all tcp 6379 ::/0 any ::/0 in", "allow in log-all from ::/0 to ::/0 port 6379 proto tcp"),
        ("limit tcp 6379 0.0.0.0/0 any 0.0.0.0/0 in_eth0", "limit in on eth0 from 0.0.0.0/0 to 0.0.0.0/0 port 6379 proto tcp"),
        ("allow tcp 6379 0.0.0.0/0 any 10.9.0.0/16 My%20Red - in", "allow in from 10.9.0.0/16 to 0.0.0.0/0 app [My Red]"),
    ] {
        let firewall = with(&[OURS, tuple]);
        assert_eq!(refusal(wanted(), &firewall), None);
        let change = change(wanted(), firewall.clone());
        assert_eq!(told(&change), format!("<allow in from 10.1.0.0/24 to any port 6379 proto tcp>\n<delete {deleted}>\n"));
        let rule = Rule::parse(tuple).unwrap();
        assert_eq!(unhealthy(wanted(), firewall.clone()), format!("6379 is open to {} by `{}`", rule.source(), rule.words()));
        assert!(converged(accepting(&[&rule.words()]), firewall));
    }
    // Both rules of a profile are deleted with one command.
    let profile = ["allow tcp 6379 0.0.0.0/0 any 0.0.0.0/0 Red - in", "allow udp 6379 0.0.0.0/0 any 0.0.0.0/0 Red - in"];
    let both = json!({"rule": "allow", "port": 6379, "from_ip": "10.1.0.0/24", "only": true});
    let change = change(both, with(&[&profile[..], &["allow any 6379 0.0.0.0/0 any 10.1.0.0/24 in"]].concat()));
    assert_eq!(told(&change).matches("delete").count(), 1);
}

#[test]
fn what_opens_the_port_to_no_one_else_stays() {
    for harmless in [
        "allow any any 0.0.0.0/0 any 10.1.0.7 in",
        "allow tcp 6000:7000 0.0.0.0/0 any 0.0.0.0/0 in_lo",
        "allow tcp 6380:7000 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow udp 6000:7000 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow esp any 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow any any 0.0.0.0/0 any 0.0.0.0/0 out",
        "deny tcp 6000:7000 0.0.0.0/0 any 10.2.0.0/24 in",
        "route:allow tcp 6379 0.0.0.0/0 any 0.0.0.0/0 in_eth0!out_eth1",
    ] {
        assert!(converged(wanted(), with(&[OURS, harmless])), "{harmless}");
    }
    let mut without_only = wanted();
    without_only["only"] = json!(false);
    assert!(converged(without_only, with(&[OURS, OTHERS[0].0[0]])));
}

#[test]
fn an_earlier_task_may_remove_what_is_in_the_way() {
    let range = json!({"rule": "allow", "port": "6000:7000", "proto": "tcp", "delete": true});
    let firewall = with(&[&[OURS][..], OTHERS[0].0].concat());
    assert_eq!(refused(wanted(), &[range], ufw::Answer::State(firewall), None), None);
}

#[test]
fn a_logged_rule_is_deleted_too() {
    let logged = with(&["allow_log tcp 6379 0.0.0.0/0 any 10.1.0.0/24 in"]);
    let gone = json!({"rule": "allow", "port": 6379, "proto": "tcp", "from_ip": "10.1.0.0/24", "delete": true});
    let change = change(gone, logged);
    assert!(told(&change).ends_with("<delete allow in log from 10.1.0.0/24 to 0.0.0.0/0 port 6379 proto tcp>\n"));
}

#[test]
fn an_earlier_refusal_that_makes_the_rule_void_is_named_with_its_number() {
    let named = || json!({"rule": "allow", "port": 6379, "proto": "tcp", "from_ip": "10.1.0.0/24"});
    for (tuple, words) in [
        ("deny any 6379 0.0.0.0/0 any 10.1.0.0/24 in", "deny from 10.1.0.0/24 to any port 6379"),
        ("reject tcp 6000:7000 0.0.0.0/0 any 10.0.0.0/8 in", "reject from 10.0.0.0/8 to any port 6000:7000 proto tcp"),
        ("deny any any 0.0.0.0/0 any 10.1.0.7 in", "deny from 10.1.0.7"),
        ("deny_log tcp 6379 0.0.0.0/0 any 0.0.0.0/0 in", "deny log 6379/tcp"),
        ("deny tcp 6379 0.0.0.0/0 any 0.0.0.0/0 Red - in", "deny Red"),
        ("deny tcp 6379 0.0.0.0/0 any 0.0.0.0/0 in_eth0", "deny in on eth0 to any port 6379 proto tcp"),
        ("deny tcp 6379 198.18.0.2 any 0.0.0.0/0 in", "deny to 198.18.0.2 port 6379 proto tcp"),
    ] {
        for rules in [vec![SSH, tuple, OURS], vec![SSH, tuple]] {
            let firewall = with(&rules);
            let refusal = refusal(named(), &firewall).unwrap_or_else(|| panic!("{tuple}"));
            assert!(refusal.contains(&format!("by rule 2 of `ufw status numbered`, `{words}`, which comes before")), "{refusal}");
            assert_eq!(unhealthy(named(), firewall.clone()), refusal);
            let mut accepted = named();
            accepted["accepted"] = json!([words]);
            assert_eq!(self::refusal(accepted, &firewall), None);
        }
        assert!(converged(named(), with(&[OURS, tuple])), "it comes after: {tuple}");
    }
    insta::assert_snapshot!(refusal(named(), &with(&["deny any any 0.0.0.0/0 any 10.1.0.7 in", OURS])).unwrap(), @r#"6379 is shut to 10.1.0.7 by rule 1 of `ufw status numbered`, `deny from 10.1.0.7`, which comes before `allow from 10.1.0.0/24 to any port 6379 proto tcp`: `ufw delete deny from 10.1.0.7`, or accept it with `accepted: ["deny from 10.1.0.7"]` (in the shipped roles the variable `firewall_accepted`)"#);
    for harmless in [
        "deny udp 6379 0.0.0.0/0 any 10.1.0.0/24 in",
        "deny any 6380 0.0.0.0/0 any 10.1.0.0/24 in",
        "deny any any 0.0.0.0/0 any 10.2.0.0/24 in",
        "deny any any 0.0.0.0/0 any 0.0.0.0/0 out",
        "deny any any 0.0.0.0/0 any 0.0.0.0/0 in_lo",
        "deny any 6379 0.0.0.0/0 1000 10.1.0.0/24 in",
        "deny any any ::/0 any ::/0 in",
    ] {
        assert!(converged(named(), with(&[harmless, OURS])), "{harmless}");
    }
    // What is let in before is let in.
    let before = "allow any any 0.0.0.0/0 any 10.0.0.0/8 in";
    assert!(converged(named(), with(&[before, "deny any any 0.0.0.0/0 any 0.0.0.0/0 in", OURS])));
    let elsewhere = "allow any any 0.0.0.0/0 any 10.0.0.0/8 in_eth1";
    assert!(!converged(named(), with(&[elsewhere, "deny any any 0.0.0.0/0 any 0.0.0.0/0 in", OURS])));
}

#[test]
fn a_rule_for_all_hosts_may_have_exceptions() {
    let web = || json!({"rule": "allow", "port": "80,443", "proto": "tcp", "from_ip": "0.0.0.0/0"});
    let ours = "allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 in";
    for exception in [
        "deny any any 0.0.0.0/0 any 203.0.113.7 in",
        "deny tcp 443 0.0.0.0/0 any 0.0.0.0/0 in_eth1",
        "deny tcp 443 198.18.0.9 any 0.0.0.0/0 in",
    ] {
        assert!(converged(web(), with(&[exception, ours])), "{exception}");
    }
    assert!(!converged(web(), with(&["deny tcp 443 0.0.0.0/0 any 0.0.0.0/0 in", ours])));
    let range = json!({"rule": "allow", "port": "6000:7000", "proto": "tcp", "from_ip": "10.1.0.0/24"});
    let ranged = "allow tcp 6000:7000 0.0.0.0/0 any 10.1.0.0/24 in";
    assert!(converged(range, with(&["deny tcp 6379 0.0.0.0/0 any 0.0.0.0/0 in", ranged])));
}

#[test]
fn rules_of_others_before_ufws_chains_count_as_well() {
    let open = "-s 10.9.0.0/16 -p tcp -m tcp --dport 6379 -j ACCEPT";
    let refusal = refusal(wanted(), &ahead(open)).unwrap();
    insta::assert_snapshot!(refusal, @r#"6379 is open to 10.9.0.0/16 by `-A INPUT -s 10.9.0.0/16 -p tcp -m tcp --dport 6379 -j ACCEPT`, which is not ufw's: delete it where it is made, and now (`iptables -D INPUT -s 10.9.0.0/16 -p tcp -m tcp --dport 6379 -j ACCEPT`), or accept it with `accepted: ["-A INPUT -s 10.9.0.0/16 -p tcp -m tcp --dport 6379 -j ACCEPT"]` (in the shipped roles the variable `firewall_accepted`)"#);
    assert_eq!(unhealthy(wanted(), ahead(open)), refusal);
    assert!(converged(accepting(&[&format!("-A INPUT {open}")]), ahead(open)));
    insta::assert_snapshot!(self::refusal(wanted(), &ahead("-s 10.1.0.0/24 -j DROP")).unwrap(), @r#"6379 is shut to 10.1.0.0/24 by `-A INPUT -s 10.1.0.0/24 -j DROP`, which is not ufw's and comes before `allow from 10.1.0.0/24 to any port 6379 proto tcp`: delete it where it is made, and now (`iptables -D INPUT -s 10.1.0.0/24 -j DROP`), or accept it with `accepted: ["-A INPUT -s 10.1.0.0/24 -j DROP"]` (in the shipped roles the variable `firewall_accepted`)"#);
    for harmless in ["-i lo -j ACCEPT", "-s 10.1.0.9 -j ACCEPT", "-m state --state RELATED,ESTABLISHED -j ACCEPT"] {
        assert!(converged(wanted(), ahead(harmless)), "{harmless}");
    }
}

#[test]
fn a_rule_for_ipv6_is_refused_where_ipv6_is_off() {
    let off = Firewall { ipv6: false, ..with(&[]) };
    let v6 = || json!({"rule": "allow", "port": 1234, "proto": "tcp", "from_ip": ["10.1.0.1", "2001:db8::2"]});
    insta::assert_snapshot!(refusal(v6(), &off).unwrap(), @"ufw refuses this (`IPv6 support not enabled`): 2001:db8::2 is an address of IPv6, and /etc/default/ufw says `IPV6=no`, or the kernel has no IPv6; set `IPV6=yes` there and run `ufw reload`, or leave the address out");
    assert_eq!(refusal(v6(), &with(&[])), None);
    assert_eq!(refusal(json!({"rule": "allow", "port": 1234, "from_ip": "10.1.0.1"}), &off), None);
    // The rule from before is still in ufw's file, and not in the kernel.
    let there = Firewall { ipv6: false, ..with(&["allow tcp 1 ::/0 any 2001:db8::2 in"]) };
    let one = |delete: bool| json!({"rule": "allow", "port": 1, "proto": "tcp", "from_ip": "2001:db8::2", "delete": delete});
    assert!(unhealthy(one(false), there.clone()).contains("IPv6 support not enabled"));
    assert!(refusal(one(true), &there).unwrap().contains("IPv6 support not enabled"));
    assert!(converged(one(true), off));
}

#[test]
fn a_firewall_that_is_not_in_the_kernel_is_loaded_again() {
    let gaps = vec!["ufw's IPv4 chains are not in the kernel".to_owned()];
    let flushed = || Firewall { gaps: gaps.clone(), loaded: false, ..with(&[SSH]) };
    let enable = || json!({"state": "enabled", "policy": "deny"});
    let change = change(enable(), flushed());
    assert!(told_with_kernel(&change.script).starts_with("ufw --force enable\nufw default deny incoming\nufw --force enable\n"));
    insta::assert_snapshot!(unhealthy(enable(), flushed()), @"the firewall is enabled in /etc/ufw/ufw.conf only: ufw's IPv4 chains are not in the kernel");
    // A rule is written to ufw's files all the same, although ufw says that it failed.
    let tools = tempfile::tempdir().unwrap();
    trial::fake(tools.path(), "ufw", "echo \"$*\"; exit 1");
    let rule = json!({"rule": "allow", "port": 1, "proto": "tcp", "from_ip": "10.0.0.1"});
    let run = |firewall: Firewall| trial::run(&self::change(rule.clone(), firewall).script, tools.path()).status;
    assert_eq!((run(flushed()), run(with(&[SSH]))), (0, 1));
    assert!(!converged(json!({"state": "disabled"}), Firewall { enabled: false, ..with(&[]) }), "the kernel still has it");
    // Loading it again would cut a connection that only comes in because it is not loaded.
    let own = refused(enable(), &[], ufw::Answer::State(flushed()), CONNECTION);
    assert!(own.unwrap().starts_with("this would cut the connection"));
}

/// Runs a script with fake tools that say how they are called, and a kernel in which others have chains, too.
fn told_with_kernel(script: &Script) -> String {
    let tools = tempfile::tempdir().unwrap();
    trial::fake(tools.path(), "ufw", "echo \"ufw $*\"");
    trial::fake(tools.path(), "systemctl", "echo \"systemctl $*\"");
    let kernel = r#"if [ "$*" != "-w 10 -S" ]; then echo "${0##*/} $*" >> "$TOOLS/said"; [ "$3" != -X ]; exit; fi
echo "-P INPUT DROP
-N ufw-user-input
-N f2b-sshd
-A INPUT -j f2b-sshd
-A INPUT -j ufw-before-input
-A FORWARD -j ufw-before-forward
-A ufw-before-input -j ufw-user-input""#;
    trial::fake(tools.path(), "iptables", kernel);
    trial::fake(tools.path(), "ip6tables", "exit 3");
    let done = trial::run(script, tools.path());
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    let said = std::fs::read_to_string(tools.path().join("said")).unwrap_or_default();
    String::from_utf8(done.stdout).unwrap() + &said
}

#[test]
fn what_is_left_of_ufws_chains_is_removed_and_nothing_of_others() {
    let broken = Firewall { gaps: vec!["INPUT does not lead there".into()], ..with(&[SSH]) };
    let enable = ufw(json!({"state": "enabled"}));
    let Verdict::Change(change) = compare(&enable, broken) else { panic!() };
    insta::assert_snapshot!(told_with_kernel(&change.script), @"
    ufw --force enable
    ufw --force enable
    iptables -w 10 -P INPUT ACCEPT
    iptables -w 10 -P OUTPUT ACCEPT
    iptables -w 10 -P FORWARD ACCEPT
    iptables -w 10 -F ufw-user-input
    iptables -w 10 -D INPUT -j ufw-before-input
    iptables -w 10 -D FORWARD -j ufw-before-forward
    iptables -w 10 -X ufw-user-input
    ");
}

#[test]
fn it_starts_at_boot_as_well() {
    for word in ["disabled", "masked", "masked-runtime", "enabled-runtime", "indirect"] {
        let file_state = UnitFileState::from(word);
        let mut answers = answers(ufw::Answer::State(with(&[])), None);
        answers.set::<Unit>(UNIT.to_owned(), Ok(Unit { file_state, ..Unit::default() }));
        let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
        let Verdict::Change(change) = ufw(json!({"state": "enabled"})).compare(&node).unwrap() else { panic!() };
        assert_eq!(change.found, format!("ufw.service is {word}, so that the firewall is off after a boot"));
        assert!(
            told_with_kernel(&change.script)
                .ends_with("systemctl --quiet unmask ufw.service\nsystemctl --quiet enable ufw.service\n")
        );
        assert!(matches!(ufw(json!({"policy": "deny"})).compare(&node).unwrap(), Verdict::Converged { .. }));
    }
}

#[test]
fn only_rules_can_be_accepted() {
    assert!(error(accepting(&["6000:7000/tcp"])).contains("is not a rule as `ufw show added` prints it"));
    assert!(error(json!({"state": "enabled", "accepted": ["allow 1"]})).contains("goes with `rule` only"));
}

#[test]
fn a_health_check_does_not_speak_of_the_connection_of_the_run() {
    let answers = answers(ufw::Answer::State(Firewall::package_default()), CONNECTION);
    let check = AsDeclared(Box::new(ufw(json!({"state": "enabled"}))));
    assert!(check.declares_firewall());
    let found = check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap();
    let Finding::Unhealthy(why) = found else { panic!("{found:?}") };
    assert_eq!(why, "the firewall is disabled");
}
