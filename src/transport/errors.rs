//! Why a node cannot be reached, and what to do about it.

use super::Holder;

/// Why a node cannot be reached or was lost. `Display` says what is wrong, [`LinkError::remedy`] what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing listens there.
    #[error("`{address}` refuses the connection")]
    Refused {
        /// Host, and port where it is not 22.
        address: String,
    },
    /// No answer in time.
    #[error("`{address}` does not answer ({detail})")]
    TimedOut {
        /// Host, and port where it is not 22.
        address: String,
        /// Which limit was passed.
        detail: String,
    },
    /// No way there.
    #[error("there is no route to `{address}`")]
    NoRoute {
        /// Host, and port where it is not 22.
        address: String,
    },
    /// The name means nothing to the resolver.
    #[error("the name `{host}` cannot be resolved")]
    UnknownName {
        /// The name.
        host: String,
    },
    /// The host key is not in `known_hosts`.
    #[error("the host key of `{address}` is not known")]
    UnknownHostKey {
        /// Host, and port where it is not 22.
        address: String,
    },
    /// Another host key than the one in `known_hosts`.
    #[error("the host key of `{address}` HAS CHANGED: this may be another machine, or somebody between you and it")]
    ChangedHostKey {
        /// Host, and port where it is not 22.
        address: String,
    },
    /// No key was accepted.
    #[error("`{login}` is not let in: {detail}")]
    NoKeyAccepted {
        /// `user@host`, or the host.
        login: String,
        /// What the server offers, in ssh's words.
        detail: String,
    },
    /// sudo wants a password, or does not know the user.
    #[error("sudo refuses on `{host}`: {detail}")]
    SudoRefused {
        /// The host.
        host: String,
        /// sudo's words.
        detail: String,
    },
    /// There is no sudo.
    #[error("`{host}` has no sudo, and the login is not root's")]
    NoSudo {
        /// The host.
        host: String,
    },
    /// The login shell did not start our shell.
    #[error("the login shell of `{host}` does not run commands: {detail}")]
    LoginShell {
        /// The host.
        host: String,
        /// What came instead.
        detail: String,
    },
    /// Another run holds the node.
    #[error("held by {} since {} (run {})", .0.who, .0.since, .0.run_id)]
    Held(Holder),
    /// The lock cannot be taken, for another reason than that it is held.
    #[error("the lock on `{host}` cannot be taken: {detail}")]
    LockFailed {
        /// The host.
        host: String,
        /// The node's words.
        detail: String,
    },
    /// The link went away.
    #[error("the connection to `{host}` was lost{detail}")]
    Lost {
        /// The host.
        host: String,
        /// Why, in ssh's words, with a leading `: `; or nothing.
        detail: String,
    },
    /// The node answered what it should not.
    #[error("`{host}` answers what it should not: {detail}")]
    Protocol {
        /// The host.
        host: String,
        /// What came.
        detail: String,
    },
    /// Something on this machine: no ssh client, no directory for the control socket.
    #[error("{detail}")]
    Here {
        /// What is wrong here.
        detail: String,
    },
    /// What ssh says, when it is none of the above.
    #[error("ssh to `{address}` fails: {detail}")]
    Other {
        /// Host, and port where it is not 22.
        address: String,
        /// ssh's words.
        detail: String,
    },
}

impl LinkError {
    /// What the reader can do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        None
    }
}
