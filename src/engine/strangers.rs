//! Finds listening programs that no role declares. This concerns the whole host, so no single check can do it.

use std::collections::BTreeMap;

use super::work::item;
use crate::{
    event::{Item, ItemSubject, Outcome, Status},
    health::listening::{describe_owner, format_listener, is_loopback},
    plan::OpenPorts,
    question::{
        Questions, Unanswered,
        connection::OwnConnection,
        listening::{Listener, Listening},
        port_owner::{Port, PortOwner},
        ufw::Ufw,
    },
    resource::NodeState,
    source::Span,
};

/// The ports that a host's `listening` checks declare, and the span of the first check.
#[derive(Debug, Default)]
pub(super) struct DeclaredPorts {
    pub(super) ports: Vec<u16>,
    /// Whether another check says what the kernel lacks of the firewall.
    pub(super) firewall: bool,
    pub(super) span: Option<Span>,
}

/// Evaluates whether undeclared ports can be reached from outside. None if no role declares a port: then any port may be open.
pub(super) fn evaluate(
    declared: &DeclaredPorts,
    open: &OpenPorts,
    state: &NodeState<'_>,
    ask: &mut Questions,
) -> Option<(Item, Outcome)> {
    const NAME: &str = "Nothing listens that should not";
    let item = item(ItemSubject::Health("listening".to_owned()), &format!("node/{NAME}"), "", NAME, declared.span.as_ref()?);
    let outcome = match &open.partial {
        Some(reason) => Outcome::new(Status::Skipped, reason),
        None => compare_ports(declared, open, state, ask).unwrap_or_else(|unanswered| Outcome::failed(unanswered.to_string())),
    };
    Some((item, outcome))
}

fn compare_ports(
    declared: &DeclaredPorts,
    open: &OpenPorts,
    state: &NodeState<'_>,
    ask: &mut Questions,
) -> Result<Outcome, Unanswered> {
    let ours = (*state.answers.get::<OwnConnection>(&())?).map(|addresses| addresses.server_port);
    let mut reachable: BTreeMap<u16, Vec<&Listener>> = BTreeMap::new();
    for listener in state.answers.get::<Listening>(&())?.iter().filter(|listener| !is_loopback(listener.address)) {
        reachable.entry(listener.port).or_default().push(listener);
    }
    let is_known =
        |port: u16| ours == Some(port) || declared.ports.contains(&port) || open.allowed.iter().any(|range| range.holds(port));
    let undeclared: Vec<_> = reachable.iter().filter(|(port, _)| !is_known(**port)).collect();
    let key = |port: u16| Port { port, units: Vec::new() };
    // The owners are asked for only now, because searching all processes takes time.
    for (port, _) in &undeclared {
        ask.ask::<PortOwner>(key(**port));
    }
    let mut unexpected = Vec::new();
    for (port, listeners) in undeclared {
        let owners = state.answers.get::<PortOwner>(&key(*port))?;
        // Without an owner, nothing listens on the port any more.
        if owners.iter().all(is_sshd) {
            continue;
        }
        let addresses: Vec<String> = listeners.iter().map(|listener| format_listener(listener)).collect();
        let programs: Vec<String> = owners.iter().map(describe_owner).collect();
        unexpected.push(format!("{} listens on {}", programs.join(" and "), addresses.join(" and ")));
    }
    let unguarded = state.answers.get::<Ufw>(&())?.unguarded().filter(|_| !declared.firewall);
    if unexpected.is_empty() && unguarded.is_none() {
        let ports: Vec<String> = reachable.keys().map(u16::to_string).collect();
        return Ok(Outcome::new(Status::Ok, format!("open beyond loopback: {}", ports.join(", "))));
    }
    if !unexpected.is_empty() {
        unexpected.push("stop it, or add the port to the variable `listening_allowed`".to_owned());
    }
    unexpected.extend(unguarded);
    Ok(Outcome::failed(unexpected.join("; ")))
}

/// Returns whether the owner is the ssh server itself. A port that a login forwards with `ssh -R` belongs to the session's scope instead.
fn is_sshd(owner: &PortOwner) -> bool {
    let of_server = owner.unit.starts_with("ssh") && (owner.unit.ends_with(".service") || owner.unit.ends_with(".socket"));
    owner.process == "sshd" && of_server
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        firewall::Firewall,
        health::PortRange,
        question::{Answers, ufw::Answer},
        secret::SecretValues,
        source::SourceFile,
        values::Addresses,
    };

    fn declared() -> DeclaredPorts {
        let file = SourceFile::new("roles/toy/role.yml", "health: []\n");
        DeclaredPorts { ports: vec![6379], firewall: false, span: Some(Span::new(&file, 0..1)) }
    }

    /// Returns the message for a node with these listeners, and the number of ports whose owners are asked for.
    fn evaluate_listeners(listeners: &[(&str, u16)], owners: &[(u16, &str, &str)], open: &OpenPorts) -> (String, usize) {
        evaluate_behind(&declared(), &Answer::NotInstalled, listeners, owners, open)
    }

    fn evaluate_behind(
        declared: &DeclaredPorts,
        firewall: &Answer,
        listeners: &[(&str, u16)],
        owners: &[(u16, &str, &str)],
        open: &OpenPorts,
    ) -> (String, usize) {
        let listener =
            |(address, port): &(&str, u16)| Listener { address: address.parse().unwrap(), port: *port, uid: 0, inode: 1 };
        let mut answers = Answers::default();
        answers.set::<Listening>((), Ok(listeners.iter().map(listener).collect()));
        answers.set::<OwnConnection>((), Ok(Addresses::from_ssh_connection("198.18.0.1 4 198.18.0.2 2222")));
        answers.set::<Ufw>((), Ok(firewall.clone()));
        for (port, process, unit) in owners {
            let owner = PortOwner { pid: 7, process: (*process).into(), unit: (*unit).into(), directory: String::new() };
            answers.set::<PortOwner>(Port { port: *port, units: vec![] }, Ok(vec![owner]));
        }
        let mut ask = Questions::default();
        let state = NodeState { answers: &answers, secrets: &SecretValues::default() };
        let (item, outcome) = evaluate(declared, open, &state, &mut ask).unwrap();
        assert_eq!((item.id.as_str(), item.file.as_str()), ("node/Nothing listens that should not", "roles/toy/role.yml"));
        ask.without(&answers);
        (outcome.error.unwrap_or(format!("{:?}: {}", outcome.status, outcome.summary)), ask.count())
    }

    #[test]
    fn declared_allowed_sshd_and_loopback_ports_are_accepted() {
        let listeners = [("0.0.0.0", 6379), ("127.0.0.1", 5432), ("::1", 5432), ("0.0.0.0", 2222), ("::", 9100), ("0.0.0.0", 22)];
        let open = OpenPorts { allowed: vec![PortRange::read("9000-9200").unwrap()], partial: None };
        let (message, open_questions) = evaluate_listeners(&listeners, &[(22, "sshd", "ssh.service")], &open);
        assert_eq!((message.as_str(), open_questions), ("Ok: open beyond loopback: 22, 2222, 6379, 9100", 0));
        assert!(
            evaluate_listeners(&listeners, &[(22, "sshd", "session-4.scope")], &open)
                .0
                .contains("`sshd` (pid 7, session-4.scope) listens on 0.0.0.0:22")
        );
        assert!(
            evaluate_listeners(&listeners, &[(22, "backdoor", "ssh.service")], &open)
                .0
                .contains("`backdoor` (pid 7, ssh.service)")
        );
    }

    #[test]
    fn the_owner_of_an_undeclared_port_is_named() {
        let listeners = [("0.0.0.0", 6379), ("0.0.0.0", 4444), ("::", 4444), ("10.0.0.1", 81)];
        assert_eq!(evaluate_listeners(&listeners, &[], &OpenPorts::default()).1, 2);
        let owners = [(81, "nginx", "nginx.service"), (4444, "nc", "")];
        let (message, open_questions) = evaluate_listeners(&listeners, &owners, &OpenPorts::default());
        assert_eq!(open_questions, 0);
        insta::assert_snapshot!(message, @"`nginx` (pid 7, nginx.service) listens on 10.0.0.1:81; `nc` (pid 7, no unit) listens on 0.0.0.0:4444 and [::]:4444; stop it, or add the port to the variable `listening_allowed`");
    }

    #[test]
    fn a_firewall_that_is_not_in_the_kernel_guards_nothing() {
        let gaps = vec!["ufw's IPv4 chains are not in the kernel".to_owned()];
        let flushed = Answer::State(Firewall { enabled: true, gaps, ..Firewall::package_default() });
        let by = |declared: &DeclaredPorts, firewall: &Answer| {
            evaluate_behind(declared, firewall, &[("0.0.0.0", 6379)], &[], &OpenPorts::default()).0
        };
        let said = |firewall: &Answer| by(&declared(), firewall);
        let elsewhere = DeclaredPorts { firewall: true, ..declared() };
        assert_eq!(by(&elsewhere, &flushed), "Ok: open beyond loopback: 6379", "another check says it");
        assert!(said(&flushed).starts_with("ufw is enabled in /etc/ufw/ufw.conf only: ufw's IPv4 chains"));
        assert_eq!(said(&Answer::State(Firewall::package_default())), "Ok: open beyond loopback: 6379");
    }

    #[test]
    fn the_check_is_skipped_when_only_some_roles_are_selected() {
        let open = OpenPorts { partial: Some("only some".into()), allowed: vec![] };
        assert_eq!(evaluate_listeners(&[("0.0.0.0", 4444)], &[], &open), ("Skipped: only some".to_owned(), 0));
    }

    #[test]
    fn without_declared_ports_there_is_no_check() {
        let answers = Answers::default();
        let state = NodeState { answers: &answers, secrets: &SecretValues::default() };
        assert!(evaluate(&DeclaredPorts::default(), &OpenPorts::default(), &state, &mut Questions::default()).is_none());
    }
}
