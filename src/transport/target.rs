//! Which machine, and how the inventory says that it is reached.

use std::{path::PathBuf, time::Duration};

/// How a node is reached (Ansible's `ansible_connection`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The operator's own OpenSSH client.
    Ssh,
    /// This machine itself.
    Local,
}

/// What happens when a host key is not in `known_hosts`. A changed key is refused either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeys {
    /// It is refused.
    Strict,
    /// It is accepted and remembered (`--accept-new-host-keys`).
    AcceptNew,
}

/// A node and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The inventory's name, for messages.
    pub name: String,
    /// `ansible_host`: an address, a name, or an alias from the operator's `ssh_config`.
    pub host: String,
    /// `ansible_port`.
    pub port: Option<u16>,
    /// `ansible_user`.
    pub user: Option<String>,
    /// `ansible_ssh_private_key_file`. When given, no other key is tried.
    pub identity: Option<PathBuf>,
    /// `ansible_ssh_common_args` and `ansible_ssh_extra_args`.
    pub arguments: SshArguments,
    /// `ansible_become`: whether the shell is root's, through `sudo -n` where the login is not root's.
    pub become_root: bool,
    /// `ansible_connection`.
    pub connection: Connection,
    /// Whether unknown host keys are accepted.
    pub host_keys: HostKeys,
    /// Limit for the TCP connection and for each step of the log-in after it.
    pub connect_timeout: Duration,
    /// Another file than the operator's `known_hosts`.
    pub known_hosts: Option<PathBuf>,
}

impl Target {
    /// A target reached over ssh as root with the defaults: strict host keys, 10 s to connect.
    #[must_use]
    pub fn new(name: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port: None,
            user: None,
            identity: None,
            arguments: SshArguments::default(),
            become_root: true,
            connection: Connection::Ssh,
            host_keys: HostKeys::Strict,
            connect_timeout: Duration::from_secs(10),
            known_hosts: None,
        }
    }

    /// This machine itself, as root.
    #[must_use]
    pub fn local(name: impl Into<String>) -> Self {
        Self { connection: Connection::Local, ..Self::new(name, "localhost") }
    }
}

/// `ansible_ssh_common_args`, read: options for ssh, each as a keyword of `ssh_config(5)` and its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshArguments {
    /// Keyword and value, in order; the first of two equal keywords wins, as everywhere in ssh.
    pub(super) options: Vec<(String, String)>,
    /// `-F`: a configuration file in place of the operator's.
    pub(super) config: Option<PathBuf>,
}

/// Why `ansible_ssh_common_args` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshArgumentsError {
    /// An argument that is not understood.
    #[error("ssh argument `{0}` is not supported; what works: -o KEY=VALUE, -J, -F, -i, -p, -l")]
    Unsupported(String),
    /// An argument without its value.
    #[error("ssh argument `{0}` has no value")]
    NoValue(String),
    /// An option that the transport sets itself.
    #[error("ssh option `{0}` cannot be changed, because the way to the node depends on it")]
    Ours(String),
    /// A value that cannot be written in an `ssh_config` file.
    #[error("ssh option `{0}` has a double quote, backslash or control character in its value")]
    Unwritable(String),
    /// A quotation that does not end.
    #[error("a quotation in `{0}` does not end")]
    OpenQuote(String),
}
