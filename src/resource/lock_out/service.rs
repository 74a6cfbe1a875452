//! The ssh server through which a run has come in is neither stopped nor removed nor kept from starting at boot.

use super::account;
use crate::{
    question::{Questions, Unanswered, connection::OwnConnection, own_account::logged_in, unit::Unit, unit_state::ActiveState},
    resource::NodeState,
};

/// The names of an ssh server's service.
const SERVICES: [&str; 2] = ["ssh.service", "sshd.service"];

/// The names of the sockets that start one.
const SOCKETS: [&str; 2] = ["ssh.socket", "sshd.socket"];

/// What a task does to a unit that could be the ssh server's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::resource) struct Ending {
    /// It is stopped.
    pub(in crate::resource) stopped: bool,
    /// It does not start at boot any more.
    pub(in crate::resource) disabled: bool,
    /// Nothing can start it.
    pub(in crate::resource) masked: bool,
}

/// Whether the unit may be the ssh server, by its name.
#[must_use]
pub(in crate::resource) fn may_be_ssh(unit: &str) -> bool {
    SERVICES.contains(&unit) || SOCKETS.contains(&unit)
}

/// Returns the units that can take its place: the sockets for a service, the services for a socket.
fn others(unit: &str) -> [&'static str; 2] {
    if SOCKETS.contains(&unit) { SERVICES } else { SOCKETS }
}

/// Asks what [`refuses`] needs for such a unit.
pub(in crate::resource) fn ask(questions: &mut Questions, unit: &str) {
    questions.ask::<OwnConnection>(());
    for other in others(unit) {
        questions.ask::<Unit>(other.to_owned());
    }
}

/// Returns the reason why the unit may not end like this: this run, and the next, come in through it. `comes` is whether an earlier task of this run
/// starts a unit, now and at boot: service and socket can take each other's place.
///
/// # Errors
/// When it is not known what serves.
pub(in crate::resource) fn refuses(
    node: &NodeState<'_>,
    unit: &str,
    ending: Ending,
    comes: impl Fn(&str) -> bool,
) -> Result<Option<String>, Unanswered> {
    if !may_be_ssh(unit) || ending == Ending::default() || node.answers.get::<OwnConnection>(&())?.is_none() {
        return Ok(None);
    }
    let serves = |name: &str| {
        let unit = node.answers.get::<Unit>(&name.to_owned())?;
        let is_up = !matches!(unit.active, ActiveState::Inactive | ActiveState::Failed);
        Ok::<_, Unanswered>((is_up, unit.file_state.counts_as_enabled()))
    };
    let is_socket = SOCKETS.contains(&unit);
    let (mut other_is_up, mut replaced) = (false, false);
    for other in others(unit) {
        let (is_up, enabled) = serves(other)?;
        other_is_up |= is_up;
        // A socket starts the service again when that was stopped, or does not start at boot.
        replaced |= is_up && (enabled || !is_socket) || comes(other);
    }
    // The socket needs the service to answer.
    replaced &= is_socket || !ending.masked;
    if replaced || !(serves(unit)?.0 || ending.masked && other_is_up) {
        return Ok(None);
    }
    let does = if ending.masked {
        "mask"
    } else if ending.stopped {
        "stop"
    } else {
        "disable"
    };
    Ok(Some(come_in_through(&format!("{does} `{unit}`"))))
}

fn come_in_through(deed: &str) -> String {
    format!(
        "this would {deed}, the ssh server through which this run has come in, and the next would find a closed door; to do it on purpose, do it on the \
         node's console"
    )
}

/// The packages without which a run does not get in, or not to root.
const PACKAGES: [&str; 2] = ["openssh-server", "sudo"];

/// Asks what [`refuses_removal`] needs for such a package.
pub(in crate::resource) fn ask_for_package(questions: &mut Questions, package: &str) {
    if PACKAGES.contains(&package) {
        account::ask(questions);
    }
}

/// Returns the reason why a package may not be removed: this run has come in, or has become root, by it.
///
/// # Errors
/// When it is not known which account this run has.
pub(in crate::resource) fn refuses_removal(node: &NodeState<'_>, package: &str) -> Result<Option<String>, Unanswered> {
    if !PACKAGES.contains(&package) {
        return Ok(None);
    }
    Ok(match logged_in(node.answers)? {
        Some(_) if package == "openssh-server" => Some(come_in_through("remove `openssh-server`")),
        Some(own) if own.entry.uid != 0 => Some(account::refusal(own, "remove `sudo`, by which an account becomes root")),
        Some(_) | None => None,
    })
}
