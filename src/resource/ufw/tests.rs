mod kernel;
mod obstacles;

use super::*;
use crate::{
    firewall::Rule,
    question::Answers,
    resource::{Change, Line, trial},
    secret::SecretValues,
    values::Addresses,
};
use serde_json::{Value, json};

fn ufw(parameters: Value) -> Ufw {
    Ufw::new(decode(parameters).unwrap()).unwrap()
}

fn error(parameters: Value) -> String {
    let error = match decode(parameters) {
        Ok(parameters) => Ufw::new(parameters).unwrap_err(),
        Err(error) => error,
    };
    match error {
        ParamError::Parameter { path, message } => format!("{path:?}: {message}"),
        ParamError::Word { path, word } => format!("{path:?}: {word}"),
        ParamError::File(_) => panic!(),
    }
}

fn with(tuples: &[&str]) -> Firewall {
    let rules = tuples.iter().map(|tuple| Rule::parse(tuple).unwrap()).collect();
    Firewall { enabled: true, loaded: true, rules, ..Firewall::package_default() }
}

fn answers(answer: ufw::Answer, connection: Option<&str>) -> Answers {
    let mut answers = Answers::default();
    answers.set::<ufw::Ufw>((), Ok(answer));
    answers.set::<Unit>(UNIT.to_owned(), Ok(Unit { file_state: UnitFileState::Enabled, ..Unit::default() }));
    answers.set::<OwnConnection>((), Ok(connection.map(|text| Addresses::from_ssh_connection(text).unwrap())));
    answers
}

fn compare(wanted: &Ufw, firewall: Firewall) -> Verdict {
    let answers = answers(ufw::Answer::State(firewall), None);
    wanted.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn converged(wanted: Value, firewall: Firewall) -> bool {
    matches!(compare(&ufw(wanted), firewall), Verdict::Converged { note: None })
}

fn change(wanted: Value, firewall: Firewall) -> Change {
    let verdict = compare(&ufw(wanted), firewall);
    let Verdict::Change(change) = verdict else { panic!("{verdict:?}") };
    change
}

/// Runs a change's script, and returns what ufw was told: a command in each line, words with blanks in brackets.
fn told(change: &Change) -> String {
    let tools = tempfile::tempdir().unwrap();
    trial::fake(
        tools.path(),
        "ufw",
        r#"all=; for word do case $word in *' '*) word="[$word]" ;; esac; all="$all${all:+ }$word"; done; echo "<$all>""#,
    );
    let done = trial::run(&change.script, tools.path());
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    String::from_utf8(done.stdout).unwrap()
}

const SSH: &str = "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in";
const SSH6: &str = "allow tcp 22 ::/0 any ::/0 in";

#[test]
fn an_existing_rule_is_converged() {
    assert!(converged(json!({"rule": "allow", "port": 22, "proto": "tcp"}), with(&[SSH, SSH6])));
    let fleet = "allow tcp 6379 0.0.0.0/0 any 172.16.168.0/24 in comment=666c656574207265646973";
    let wanted = json!({"rule": "allow", "to_port": "6379", "proto": "tcp", "src": "172.16.168.77/24"});
    assert!(converged(wanted, with(&[fleet])), "host bits and an omitted comment make no difference");
    let both = json!({"rule": "allow", "from": "any", "to": "any", "port": "443,80", "proto": "tcp"});
    assert!(converged(both, with(&["allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 in", "allow tcp 80,443 ::/0 any ::/0 in"])));
}

#[test]
fn a_missing_twin_is_a_change() {
    let change = change(json!({"rule": "allow", "port": 22, "proto": "tcp"}), with(&[SSH]));
    assert_eq!(
        change.diff.lines,
        [Line::Title("ufw".into()), Line::Added("allow in from ::/0 to ::/0 port 22 proto tcp".into())]
    );
    assert!(converged(json!({"rule": "allow", "port": 22, "proto": "tcp"}), Firewall { ipv6: false, ..with(&[SSH]) }));
    assert!(converged(json!({"rule": "allow", "port": 22, "proto": "tcp", "from_ip": "0.0.0.0/0"}), with(&[SSH])));
}

#[test]
fn a_rule_is_written_in_ufws_words() {
    let wanted = json!({"rule": "limit", "port": 22, "proto": "tcp", "from_ip": "198.18.0.0/16", "to_ip": "198.18.0.2", "from_port": 1000,
        "interface": "eth0", "comment": "$(reboot) \"x\""});
    let change = change(wanted, with(&[]));
    assert_eq!(change.summary, "limit in on eth0 from 198.18.0.0/16 port 1000 to 198.18.0.2 port 22 proto tcp");
    let told = told(&change);
    assert_eq!(
        told,
        "<limit in on eth0 from 198.18.0.0/16 port 1000 to 198.18.0.2 port 22 proto tcp comment [$(reboot) \"x\"]>\n"
    );
}

#[test]
fn another_action_or_comment_is_a_change() {
    let deny = change(json!({"rule": "deny", "port": 22, "proto": "tcp", "from_ip": "0.0.0.0/0"}), with(&[SSH]));
    assert_eq!(
        deny.diff.lines[1..],
        [
            Line::Removed("allow in from 0.0.0.0/0 to 0.0.0.0/0 port 22 proto tcp".into()),
            Line::Added("deny in from 0.0.0.0/0 to 0.0.0.0/0 port 22 proto tcp".into()),
        ]
    );
    let commented = json!({"rule": "allow", "port": 22, "proto": "tcp", "from_ip": "0.0.0.0/0", "comment": "ssh"});
    change(commented.clone(), with(&[SSH]));
    assert!(converged(commented, with(&["allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=737368"])));
}

#[test]
fn rules_of_other_kinds_are_not_ours() {
    let profile = "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in";
    change(json!({"rule": "allow", "port": 22, "proto": "tcp", "from_ip": "0.0.0.0/0"}), with(&[profile]));
}

#[test]
fn deleting_is_done_once() {
    let gone = json!({"rule": "allow", "port": 22, "proto": "tcp", "delete": true});
    let change = change(gone.clone(), with(&[SSH, SSH6]));
    assert_eq!(told(&change), "<delete allow in from any to any port 22 proto tcp>\n");
    assert_eq!(change.diff.lines.len(), 3);
    assert!(converged(gone.clone(), with(&[])));
    assert!(converged(gone, with(&["deny tcp 22 0.0.0.0/0 any 0.0.0.0/0 in"])), "another rule than the one that must go");
}

#[test]
fn the_whole_firewall_is_corrected() {
    let wanted = json!({"state": "enabled", "policy": "deny", "logging": "on"});
    assert!(converged(wanted.clone(), with(&[])));
    let off = Firewall { logging: "off".into(), incoming: Policy::Allow, ..Firewall::package_default() };
    let change = change(wanted, off);
    assert_eq!(
        (change.summary.as_str(), told(&change).as_str()),
        ("deny incoming, logging on, enable", "<default deny incoming>\n<logging on>\n<--force enable>\n")
    );
    assert_eq!(change.diff.lines.len(), 7);
    assert!(converged(json!({"default": "deny", "direction": "routed"}), with(&[])));
    assert!(!converged(json!({"default": "deny", "direction": "outgoing"}), with(&[])));
    assert!(!converged(json!({"state": "disabled"}), with(&[])));
}

#[test]
fn without_ufw_it_is_blocked() {
    let answers = answers(ufw::Answer::NotInstalled, None);
    let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
    for wanted in
        [json!({"rule": "allow", "port": 22}), json!({"state": "disabled"}), json!({"rule": "allow", "port": 22, "delete": true})]
    {
        assert!(
            matches!(ufw(wanted).compare(&node).unwrap(), Verdict::Blocked { missing, .. } if missing == [Missing::Other("ufw".into())])
        );
    }
}

fn refused(wanted: Value, earlier: &[Value], answer: ufw::Answer, connection: Option<&str>) -> Option<String> {
    let earlier: Vec<Ufw> = earlier.iter().cloned().map(ufw).collect();
    let earlier: Vec<&dyn Resource> = earlier.iter().map(|resource| resource as &dyn Resource).collect();
    let answers = answers(answer, connection);
    let (wanted, node) = (ufw(wanted), NodeState { answers: &answers, secrets: &SecretValues::default() });
    wanted.refuse(&node, &earlier).or_else(|| wanted.cuts(&node, &earlier))
}

const CONNECTION: Option<&str> = Some("198.18.0.1 40000 198.18.0.2 2222");

#[test]
fn enabling_it_without_a_way_in_is_refused() {
    let enable = || json!({"state": "enabled"});
    let ssh = || json!({"rule": "allow", "port": 2222, "proto": "tcp", "from_ip": "198.18.0.0/16"});
    let refusal = refused(enable(), &[], ufw::Answer::NotInstalled, CONNECTION).unwrap();
    insta::assert_snapshot!(refusal, @"this would cut the connection that this run uses: 198.18.0.1 could no longer reach port 2222 of the node; put `ufw: {rule: allow, port: 2222, proto: tcp, from_ip: 198.18.0.1}` before this task");
    assert_eq!(refused(enable(), &[ssh()], ufw::Answer::NotInstalled, CONNECTION), None);
    assert_eq!(refused(enable(), &[], ufw::Answer::NotInstalled, None), None, "no connection, nothing to cut");
    let other = json!({"rule": "allow", "port": 22, "proto": "tcp"});
    assert!(refused(enable(), &[other], ufw::Answer::NotInstalled, CONNECTION).is_some());
    let mut denied = json!({"rule": "deny", "from_ip": "198.18.0.1"});
    assert!(refused(enable(), &[denied.take(), ssh()], ufw::Answer::NotInstalled, CONNECTION).is_some());
}

#[test]
fn cutting_an_enabled_firewall_is_refused() {
    let allowed = || ufw::Answer::State(with(&["allow tcp 2222 0.0.0.0/0 any 0.0.0.0/0 in"]));
    for cut in [
        json!({"rule": "deny", "port": 2222, "proto": "tcp"}),
        json!({"rule": "allow", "port": 2222, "proto": "tcp", "delete": true}),
    ] {
        assert!(refused(cut, &[], allowed(), CONNECTION).is_some());
    }
    let open = ufw::Answer::State(Firewall { incoming: Policy::Allow, ..with(&[]) });
    assert!(refused(json!({"policy": "reject"}), &[], open.clone(), CONNECTION).is_some());
    assert_eq!(refused(json!({"policy": "deny", "direction": "outgoing"}), &[], open.clone(), CONNECTION), None);
    assert_eq!(refused(json!({"rule": "deny", "port": 8001}), &[], open, CONNECTION), None);
    let blocked_already = ufw::Answer::State(with(&[]));
    assert_eq!(refused(json!({"rule": "allow", "port": 6379}), &[], blocked_already, CONNECTION), None);
}

#[test]
fn an_unknown_connection_is_refused_rather_than_guessed() {
    let mut answers = answers(ufw::Answer::NotInstalled, None);
    answers.set::<OwnConnection>((), Err(Unanswered("not known".into())));
    let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
    assert!(ufw(json!({"state": "enabled"})).cuts(&node, &[]).is_some());
}

#[test]
fn wrong_parameters_say_what_to_do() {
    for (parameters, words) in [
        (json!({}), "needs `rule`"),
        (json!({"rule": "allow", "state": "enabled"}), "make two tasks"),
        (json!({"state": "enabled", "port": 22}), "goes with `rule` only"),
        (json!({"state": "enabled", "direction": "in"}), "goes with `rule` or `policy`"),
        (json!({"rule": "allow", "port": "ssh"}), "is not a port"),
        (json!({"rule": "allow", "port": 70000}), "is not a port"),
        (json!({"rule": "allow", "port": "1:5"}), "several ports need `proto"),
        (json!({"rule": "allow", "from_ip": "host.example"}), "not an address"),
        (json!({"rule": "allow", "from_ip": "::1", "to_ip": "10.0.0.1"}), "another IP version"),
        (json!({"rule": "allow", "comment": "it's"}), "single quote"),
        (json!({"rule": "allow", "interface": "eth0 to any"}), "network interface"),
        (json!({"rule": "allow", "direction": "routed"}), "`in` or `out`"),
        (json!({"rule": "permit"}), "`permit` is not one of"),
        (json!({"rule": "allow", "ports": 1}), "unknown parameter"),
        (json!({"state": "reloaded"}), "`reloaded` is not one of"),
    ] {
        let message = error(parameters.clone());
        assert!(message.contains(words), "{parameters}: {message}");
    }
}

#[test]
fn the_only_rule_of_a_port_replaces_those_of_others() {
    let wanted = json!({"rule": "allow", "port": 6379, "proto": "tcp", "from_ip": "10.1.0.0/24", "only": true});
    let ours = "allow tcp 6379 0.0.0.0/0 any 10.1.0.0/24 in";
    let others = ["allow tcp 6379 0.0.0.0/0 any 10.2.0.0/24 in", "limit any 6379 ::/0 any ::/0 in"];
    let strangers = [SSH, "deny tcp 6379 0.0.0.0/0 any 10.3.0.0/24 in", "allow udp 6379 0.0.0.0/0 any 10.2.0.0/24 in"];
    assert!(converged(wanted.clone(), with(&[&strangers[..], &[ours]].concat())));
    let change = change(wanted.clone(), with(&[&others[..], &strangers[..], &[ours]].concat()));
    let gone = ["allow in from 10.2.0.0/24 to 0.0.0.0/0 port 6379 proto tcp", "limit in from ::/0 to ::/0 port 6379"];
    assert_eq!(change.diff.lines[1..], gone.map(|rule| Line::Removed(rule.into())));
    let [one, two] = gone;
    let wanted = format!("<allow in from 10.1.0.0/24 to any port 6379 proto tcp>\n<delete {one}>\n<delete {two}>\n");
    assert_eq!(told(&change), wanted);
    assert!(self::error(json!({"rule": "deny", "port": 6379, "only": true})).contains("`rule: allow`"));
    assert!(self::error(json!({"rule": "allow", "only": true})).contains("`port`"));
}

#[test]
fn a_port_can_be_open_to_several_addresses_and_to_none() {
    let only = |from: Value| json!({"rule": "allow", "port": 5432, "proto": "tcp", "from_ip": from, "only": true, "comment": "it is $(us)"});
    let ours = ["allow tcp 5432 0.0.0.0/0 any 10.1.0.0/24 in", "allow tcp 5432 ::/0 any fd00::1 in"];
    let other = "allow tcp 5432 0.0.0.0/0 any 0.0.0.0/0 in";
    let two = json!({"rule": "allow", "port": 5432, "proto": "tcp", "from_ip": ["10.1.0.0/24", "fd00::1"], "only": true});
    assert!(converged(two, with(&[&[SSH][..], &ours].concat())));
    let change = change(only(json!(["10.1.0.0/24", "fd00::1"])), with(&[SSH, ours[0], other]));
    assert_eq!(change.summary, "allow in from 10.1.0.0/24, fd00::1 to any port 5432 proto tcp");
    insta::assert_snapshot!(told(&change), @"
    <allow in from 10.1.0.0/24 to any port 5432 proto tcp comment [it is $(us)]>
    <allow in from fd00::1 to any port 5432 proto tcp comment [it is $(us)]>
    <delete allow in from 0.0.0.0/0 to 0.0.0.0/0 port 5432 proto tcp>
    ");
    let closed = self::change(only(json!([])), with(&[SSH, ours[0]]));
    assert_eq!(closed.summary, "allow in from no address to any port 5432 proto tcp");
    assert_eq!(told(&closed), "<delete allow in from 10.1.0.0/24 to 0.0.0.0/0 port 5432 proto tcp>\n");
    assert!(converged(only(json!([])), with(&[SSH])));
    let words = error(json!({"rule": "allow", "port": 5432, "from_ip": []}));
    assert!(words.contains("is an empty list, which admits no address"), "{words}");
}
