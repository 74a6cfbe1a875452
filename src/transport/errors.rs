//! Why a node cannot be reached, and what to do about it.

use super::{
    Holder, Target,
    session::{MOST_GREETING, SILENCE, SessionError},
    sudo::SudoError,
};

/// Why a node cannot be reached or was lost. `Display` says what is wrong, [`LinkError::remedy`] what to do.
///
/// `address` is as configured: the host, and the port if the inventory has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing listens on the port.
    #[error("`{address}` refuses the connection")]
    Refused {
        /// Host and port.
        address: String,
    },
    /// No answer in time.
    #[error("`{address}` does not answer: {detail}")]
    TimedOut {
        /// Host and port.
        address: String,
        /// Which limit was passed.
        detail: String,
    },
    /// No route to the node.
    #[error("there is no route to `{address}`")]
    NoRoute {
        /// Host and port.
        address: String,
    },
    /// The resolver does not know the name.
    #[error("the name `{host}` cannot be resolved")]
    UnknownName {
        /// The name.
        host: String,
    },
    /// The host key is not in `known_hosts`.
    #[error("the host key of `{address}` is not known")]
    UnknownHostKey {
        /// Host and port.
        address: String,
        /// The ssh-keyscan command that adds it.
        keyscan: String,
    },
    /// The host key is not the one in `known_hosts`.
    #[error("the host key of `{address}` HAS CHANGED: this is another machine, or the connection is intercepted")]
    ChangedHostKey {
        /// Host and port.
        address: String,
        /// The command that removes the old key, as ssh writes it.
        forget: String,
    },
    /// No key was accepted.
    #[error("`{address}` does not let us in: {detail}")]
    NoKeyAccepted {
        /// Host and port.
        address: String,
        /// ssh's message.
        detail: String,
        /// The command with which a person can try the same.
        try_it: String,
    },
    /// The peer accepts the connection and closes it before any key is asked for.
    #[error("`{address}` drops the connection before the login: {detail}")]
    Dropped {
        /// Host and port.
        address: String,
        /// ssh's message.
        detail: String,
    },
    /// sudo wants a password, or does not know the user.
    #[error("sudo on `{host}` refuses: {detail}")]
    SudoRefused {
        /// The host.
        host: String,
        /// sudo's message.
        detail: String,
    },
    /// The password for sudo is wrong.
    #[error("sudo on `{host}` rejected the password")]
    PasswordRejected {
        /// The host.
        host: String,
    },
    /// sudo does not show the prompt that it was given.
    #[error("sudo on `{host}` does not ask for the password within {seconds} s: {detail}")]
    PasswordNotAsked {
        /// The host.
        host: String,
        /// The limit.
        seconds: u64,
        /// The last line of sudo's output.
        detail: String,
    },
    /// sudo got the password and does not continue.
    #[error("sudo on `{host}` took the password and does not go on for {seconds} s: {detail}")]
    SudoStuck {
        /// The host.
        host: String,
        /// The limit.
        seconds: u64,
        /// The last line of sudo's output.
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
        /// Its output.
        detail: String,
    },
    /// Another run holds the node.
    #[error("{0}")]
    Held(Holder),
    /// The lock cannot be taken, for a reason other than that it is held.
    #[error("the lock on `{host}` cannot be taken: {detail}")]
    LockFailed {
        /// The host.
        host: String,
        /// The node's message.
        detail: String,
    },
    /// Another run has the node now.
    #[error("another run has taken over `{host}`: {detail}")]
    TakenOver {
        /// The host.
        host: String,
        /// Who holds it.
        detail: String,
    },
    /// The node lacks programs that every session needs.
    #[error("`{host}` lacks programs that every run needs: {names}")]
    ProgramsMissing {
        /// The host.
        host: String,
        /// Their names.
        names: String,
    },
    /// The connection was lost.
    #[error("the connection to `{host}` was lost{detail}")]
    Lost {
        /// The host.
        host: String,
        /// ssh's message after `: `, or nothing.
        detail: String,
    },
    /// The node sent an unexpected answer.
    #[error("`{host}` answers what it should not: {detail}")]
    Protocol {
        /// The host.
        host: String,
        /// The answer.
        detail: String,
    },
    /// Something on this machine: no ssh client, no directory for the control socket.
    #[error("{detail}")]
    Here {
        /// What is wrong here.
        detail: String,
    },
    /// The host key is revoked.
    #[error("the host key of `{address}` is REVOKED{place}, as a key that was stolen is: nothing is done there")]
    RevokedHostKey {
        /// Host and port.
        address: String,
        /// ` in FILE, line LINE`, or nothing where it is not known.
        place: String,
    },
    /// Our ssh and the sshd have no algorithm in common.
    #[error("ssh and the sshd of `{address}` do not understand each other: {detail}")]
    NothingInCommon {
        /// Host and port.
        address: String,
        /// What they do not have in common, and what the node offers.
        detail: String,
        /// The option to set.
        help: String,
    },
    /// A host or a program on the way to the node.
    #[error("`{address}` is not reached because of {who}: {detail}")]
    OnTheWay {
        /// Host and port of the node.
        address: String,
        /// The jump host or the proxy command.
        who: String,
        /// What is wrong there.
        detail: String,
        /// What the user can do about it.
        help: Option<String>,
    },
    /// The operator's own configuration of ssh, or a file that it names.
    #[error("ssh to `{address}` fails here: {detail}")]
    OwnConfiguration {
        /// Host and port.
        address: String,
        /// What is wrong.
        detail: String,
        /// What the user can do about it.
        help: Option<String>,
    },
    /// Any other error of ssh.
    #[error("ssh to `{address}` fails: {detail}")]
    Other {
        /// Host and port.
        address: String,
        /// ssh's message.
        detail: String,
    },
}

/// Messages when sudo would have to ask: of sudo, of sudo-rs, and of either when it needs a terminal.
const ASKS: [&str; 3] = ["password is required", "authentication is required", "terminal is required"];

const WITHOUT_PASSWORD: &str =
    "allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo";

impl LinkError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            // EMFILE and ENFILE, as the standard library writes them.
            Self::Here { detail } if detail.contains("(os error 24)") || detail.contains("(os error 23)") => {
                "raise the limit of open files (`ulimit -n`), or work on fewer hosts at once (`--forks`)".to_owned()
            }
            Self::Refused { .. } => "is sshd running there, on this port? see `ansible_port`".to_owned(),
            Self::TimedOut { .. } => "is the node up, and does a firewall let you through to its ssh port?".to_owned(),
            Self::NoRoute { .. } => "are you on the right network or VPN?".to_owned(),
            Self::UnknownName { .. } => "correct `ansible_host` in the inventory, or add the name to DNS or to your ssh_config".to_owned(),
            Self::UnknownHostKey { keyscan, .. } => {
                format!("compare the key with the node's own and remember it: `{keyscan}`; or accept unknown keys this once: `--accept-new-host-keys`")
            }
            Self::ChangedHostKey { forget, .. } => {
                format!("only if you know that the node was installed again: `{forget}`, then accept the new key with `--accept-new-host-keys`")
            }
            Self::NoKeyAccepted { try_it, .. } => {
                format!("is your key in ssh-agent (`ssh-add -l`) or named by `ansible_ssh_private_key_file`, and `ansible_user` right? try `{try_it}`; passwords are never asked for; sshd says the same where the account's login shell in /etc/passwd does not exist")
            }
            Self::Dropped { .. } => {
                "it was tried again for 60 s: sshd does that when more logins come at once than its `MaxStartups` allows (10 by default): try again, or raise it; or it bars your address: its log on the node says which".to_owned()
            }
            Self::NothingInCommon { help, .. } => help.clone(),
            Self::OnTheWay { help, .. } | Self::OwnConfiguration { help, .. } => return help.clone(),
            Self::SudoRefused { detail, .. } if detail.contains("have a tty") => {
                "sudo wants a terminal: put `Defaults:USER !requiretty` into a file in /etc/sudoers.d".to_owned()
            }
            Self::SudoRefused { detail, .. } if ASKS.iter().any(|words| detail.contains(words)) => {
                format!("give the password with `--ask-become-pass` or a vaulted `ansible_become_password`; or {WITHOUT_PASSWORD}")
            }
            Self::PasswordRejected { .. } => {
                "it was tried once; correct what you typed for `--ask-become-pass`, or the host's `ansible_become_password`, which wins over it".to_owned()
            }
            Self::PasswordNotAsked { .. } => {
                format!("PAM asks in its own words, which are not answered: if they mean the password, put `Defaults:USER passprompt_override` into a file in /etc/sudoers.d; or {WITHOUT_PASSWORD}")
            }
            Self::SudoStuck { .. } => format!("only the password is given to sudo, no second answer: {WITHOUT_PASSWORD}"),
            Self::SudoRefused { .. } => WITHOUT_PASSWORD.to_owned(),
            Self::NoSudo { .. } => "install sudo, or log in as root: `ansible_user: root`".to_owned(),
            Self::LoginShell { .. } => {
                "the login needs a shell that runs `ssh HOST COMMAND`: look at /etc/passwd, ForceCommand and the shell's startup files".to_owned()
            }
            Self::Held(Holder { job: Some(_), .. }) => {
                "wait for it with `--wait 5m`: the node finishes it though its run was lost, and it must not be killed".to_owned()
            }
            Self::Held(_) => "wait for it with `--wait 5m`, or end that run".to_owned(),
            Self::Lost { .. } => "what ran there is ended within 10 seconds, except an installation of packages, which the node finishes; run it again".to_owned(),
            Self::TakenOver { .. } => "what this run did there was ended; wait for that run with `--wait 5m`, then run again".to_owned(),
            Self::ProgramsMissing { .. } => {
                "they are parts of coreutils and util-linux, and are looked for in /usr/local/sbin, /usr/local/bin, /usr/sbin, /usr/bin, /sbin and /bin: install them".to_owned()
            }
            Self::RevokedHostKey { .. }
            | Self::LockFailed { .. }
            | Self::Protocol { .. }
            | Self::Here { .. }
            | Self::Other { .. } => return None,
        })
    }
}

/// Returns the host, and the port if the inventory has one.
pub(super) fn address(target: &Target) -> String {
    match target.port {
        Some(port) if target.host.contains(':') => format!("[{}]:{port}", target.host),
        Some(port) => format!("{}:{port}", target.host),
        None => target.host.clone(),
    }
}

/// Turns the failure to open a further channel into an error.
pub(super) fn from_channel(target: &Target, error: &impl std::fmt::Display, log: &str) -> LinkError {
    let detail = format!("it opens no further channel: {error} {log}");
    LinkError::Other { address: address(target), detail: detail.trim().to_owned() }
}

/// Returns the error of a transfer that does not move.
pub(super) fn stalled(target: &Target, limit: std::time::Duration) -> LinkError {
    LinkError::Lost { host: target.host.clone(), detail: format!(": the transfer did not go on for {} s", limit.as_secs()) }
}

/// Turns the failure of a session before our shell's first output into an error: the login shell or sudo is the cause.
pub(super) fn from_greeting(target: &Target, error: SessionError, log: &str) -> LinkError {
    let host = target.host.clone();
    match error {
        SessionError::Ended(errors) => {
            let line = |text: &str| errors.lines().find(|line| line.contains(text)).map(|line| line.trim().to_owned());
            if errors.contains("sudo: not found")
                || errors.contains("sudo: command not found")
                || errors.contains("sudo: No such file")
            {
                LinkError::NoSudo { host }
            } else if let Some(detail) = line("sudo:").or_else(|| line("sudoers")).or_else(|| line("not allowed to execute")) {
                LinkError::SudoRefused { host, detail: detail.trim_start_matches("sudo: ").to_owned() }
            } else if !log.is_empty() {
                LinkError::Lost { host, detail: format!(": {log}") }
            } else {
                let last = errors.lines().map(str::trim).rfind(|line| !line.is_empty());
                LinkError::LoginShell { host, detail: last.unwrap_or("it ends without a word").chars().take(300).collect() }
            }
        }
        SessionError::TimedOut => LinkError::LoginShell { host, detail: "it says nothing for 10 s".to_owned() },
        SessionError::Flooded => {
            let detail = format!("it said more than {} KiB before our shell's first word", MOST_GREETING >> 10);
            LinkError::LoginShell { host, detail }
        }
        SessionError::Unexpected(detail) => LinkError::LoginShell { host, detail: format!("it answers {detail}") },
        SessionError::Held(_)
        | SessionError::LockFailed(_)
        | SessionError::Silent
        | SessionError::Stopped
        | SessionError::TakenOver(_)
        | SessionError::ProgramsMissing(_) => from_broken(target, error, log),
    }
}

/// Turns the failure of sudo with a password into an error.
pub(super) fn from_sudo(target: &Target, failed: SudoError, log: &str) -> LinkError {
    let host = target.host.clone();
    let seconds = target.log_in_limit().as_secs();
    let quote_output = |words: String| if words.is_empty() { "it says nothing".to_owned() } else { format!("it says `{words}`") };
    match failed {
        SudoError::Refused(error) => from_greeting(target, error, log),
        SudoError::Rejected => LinkError::PasswordRejected { host },
        SudoError::NotAsked(words) => LinkError::PasswordNotAsked { host, seconds, detail: quote_output(words) },
        SudoError::Stuck(words) => LinkError::SudoStuck { host, seconds, detail: quote_output(words) },
    }
}

/// Turns a later failure of a session into an error. `log` is ssh's.
pub(super) fn from_broken(target: &Target, error: SessionError, log: &str) -> LinkError {
    let host = target.host.clone();
    match error {
        SessionError::Held(holder) => LinkError::Held(holder),
        SessionError::LockFailed(detail) => LinkError::LockFailed { host, detail },
        SessionError::Unexpected(detail) => LinkError::Protocol { host, detail },
        SessionError::TimedOut => {
            LinkError::Lost { host, detail: ": the node does not answer, though the limits of its tasks have passed".to_owned() }
        }
        SessionError::Silent => {
            let seconds = SILENCE.as_secs();
            LinkError::Lost {
                host,
                detail: format!(
                    ": the node has not answered for {seconds} s: the link is cut, or the node is frozen, out of memory or overloaded"
                ),
            }
        }
        SessionError::Stopped => LinkError::Lost {
            host,
            detail:
                ": a signal has ended this run's shell on the node, such as sudo's at its `command_timeout`, or of a shutdown"
                    .to_owned(),
        },
        SessionError::TakenOver(holder) => {
            let detail = holder.map_or_else(|| "its lock was removed from the node".to_owned(), |holder| holder.to_string());
            LinkError::TakenOver { host, detail }
        }
        SessionError::ProgramsMissing(names) => LinkError::ProgramsMissing { host, names },
        // What a script wrote to its standard error is not shown: it may hold anything.
        SessionError::Ended(_) | SessionError::Flooded => {
            let detail = log.lines().next_back().map(|line| format!(": {line}")).unwrap_or_default();
            LinkError::Lost { host, detail }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(error: &LinkError) -> String {
        let help = error.remedy().map(|remedy| format!("  help: {remedy}\n")).unwrap_or_default();
        format!("{error}\n{help}")
    }

    fn target() -> Target {
        Target { port: Some(2222), user: Some("ann".into()), ..Target::new("db", "db.example") }
    }

    #[test]
    fn says_why_root_cannot_be_had() {
        let errors = [
            "sudo: a password is required\n",
            "sudo: sorry, you must have a tty to run sudo\n",
            // sudo-rs
            "sudo: interactive authentication is required\n",
            "sudo: A terminal is required to authenticate\n",
            "ann is not in the sudoers file.\n",
            "/bin/sh: 1: exec: sudo: not found\n",
            "This account is currently not available.\n",
            "",
        ];
        insta::assert_snapshot!(
            errors.map(|text| render(&from_greeting(&target(), SessionError::Ended(text.into()), ""))).concat(),
            @r#"
        sudo on `db.example` refuses: a password is required
          help: give the password with `--ask-become-pass` or a vaulted `ansible_become_password`; or allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
        sudo on `db.example` refuses: sorry, you must have a tty to run sudo
          help: sudo wants a terminal: put `Defaults:USER !requiretty` into a file in /etc/sudoers.d
        sudo on `db.example` refuses: interactive authentication is required
          help: give the password with `--ask-become-pass` or a vaulted `ansible_become_password`; or allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
        sudo on `db.example` refuses: A terminal is required to authenticate
          help: give the password with `--ask-become-pass` or a vaulted `ansible_become_password`; or allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
        sudo on `db.example` refuses: ann is not in the sudoers file.
          help: allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
        `db.example` has no sudo, and the login is not root's
          help: install sudo, or log in as root: `ansible_user: root`
        the login shell of `db.example` does not run commands: This account is currently not available.
          help: the login needs a shell that runs `ssh HOST COMMAND`: look at /etc/passwd, ForceCommand and the shell's startup files
        the login shell of `db.example` does not run commands: it ends without a word
          help: the login needs a shell that runs `ssh HOST COMMAND`: look at /etc/passwd, ForceCommand and the shell's startup files
        "#
        );
    }

    #[test]
    fn says_how_a_link_was_lost_without_a_scripts_output() {
        let lost = from_broken(&target(), SessionError::Ended("secret".into()), "Timeout, server db.example not responding.");
        insta::assert_snapshot!(render(&lost), @r#"
        the connection to `db.example` was lost: Timeout, server db.example not responding.
          help: what ran there is ended within 10 seconds, except an installation of packages, which the node finishes; run it again
        "#);
    }
}
