//! The ssh server through which a run has come in is neither stopped nor kept from starting at boot.

use crate::{
    question::{Questions, Unanswered, connection::OwnConnection, unit::Unit, unit_state::ActiveState},
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
    others(unit).into_iter().for_each(|other| questions.ask::<Unit>(other.to_owned()));
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
    Ok(Some(format!(
        "this would {does} `{unit}`, the ssh server through which this run has come in, and the next would come to a closed door; to do it on purpose, do \
         it on the node's console"
    )))
}
