//! A node's machine, and how it is reached according to the inventory.

use std::{path::PathBuf, time::Duration};

use crate::secret::Secret;

/// How a node is reached (Ansible's `ansible_connection`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionMethod {
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
    /// `ansible_become`: whether the shell is root's, through sudo if the login is not root's.
    pub become_root: bool,
    /// `ansible_become_password` or `--ask-become-pass`: sent to sudo if it asks. Without one, sudo runs with `-n` and does not ask.
    pub become_password: Option<Secret>,
    /// `ansible_connection`.
    pub connection: ConnectionMethod,
    /// Whether unknown host keys are accepted.
    pub host_keys: HostKeys,
    /// Limit for the TCP connection and for each step of the login after it.
    pub connect_timeout: Duration,
    /// A file in place of the operator's `known_hosts`.
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
            become_password: None,
            connection: ConnectionMethod::Ssh,
            host_keys: HostKeys::Strict,
            connect_timeout: Duration::from_secs(10),
            known_hosts: None,
        }
    }

    /// Returns how long the login and each wait for sudo may take. More than twice the limit for connecting, because servers pause after
    /// a wrong password, and look users up on other machines.
    pub(super) fn log_in_limit(&self) -> Duration {
        self.connect_timeout * 2 + Duration::from_secs(5)
    }

    /// Returns the target for this machine itself, as root.
    #[must_use]
    pub fn local(name: impl Into<String>) -> Self {
        Self { connection: ConnectionMethod::Local, ..Self::new(name, "localhost") }
    }
}

/// The parsed `ansible_ssh_common_args`: options for ssh, each as a keyword of `ssh_config(5)` and its value.
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
    #[error("the ssh argument `{0}` is not supported; these are: -o KEY=VALUE, -J, -F, -i, -p, -l, -C, -4, -6")]
    Unsupported(String),
    /// An argument without its value.
    #[error("the ssh argument `{0}` has no value")]
    NoValue(String),
    /// It would accept a changed host key.
    #[error("`StrictHostKeyChecking={0}` would accept a changed host key; write `accept-new`, which accepts unknown ones only")]
    AcceptsChangedKeys(String),
    /// A quotation that does not end.
    #[error("a quotation in `{0}` does not end")]
    OpenQuote(String),
}

/// Options that the transport sets itself. Inventories often set them to reuse connections, which the transport does in its own way.
const SET_BY_TRANSPORT: [&str; 10] = [
    "controlmaster",
    "controlpath",
    "controlpersist",
    "batchmode",
    "loglevel",
    "requesttty",
    "remotecommand",
    "sessiontype",
    "stdinnull",
    "forkafterauthentication",
];

impl SshArguments {
    /// Returns these arguments, and after them the others. Of two configuration files, the last one counts.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.options.extend(others.options);
        Self { options: self.options, config: others.config.or(self.config) }
    }

    /// Reads `ansible_ssh_common_args` or `ansible_ssh_extra_args`.
    ///
    /// # Errors
    /// Names an argument that cannot be used.
    pub fn parse(text: &str) -> Result<Self, SshArgumentsError> {
        let mut arguments = Self::default();
        let mut words = words(text)?.into_iter();
        while let Some(word) = words.next() {
            let unsupported = || SshArgumentsError::Unsupported(word.clone());
            let mut characters = word.strip_prefix('-').ok_or_else(unsupported)?.chars();
            let letter = characters.next().ok_or_else(unsupported)?;
            let attached = characters.as_str();
            if let ('C' | '4' | '6', "") = (letter, attached) {
                let (keyword, value) = match letter {
                    'C' => ("Compression", "yes"),
                    '4' => ("AddressFamily", "inet"),
                    _ => ("AddressFamily", "inet6"),
                };
                arguments.options.push((keyword.to_owned(), value.to_owned()));
                continue;
            }
            if !"oJFipl".contains(letter) {
                return Err(unsupported());
            }
            let value = if attached.is_empty() { words.next() } else { Some(attached.to_owned()) };
            let value = value.filter(|value| !value.is_empty()).ok_or_else(|| SshArgumentsError::NoValue(word.clone()))?;
            match letter {
                'o' => arguments.option(&value)?,
                'F' => arguments.config = Some(PathBuf::from(value)),
                'J' => arguments.options.push(("ProxyJump".to_owned(), value)),
                'i' => arguments.options.push(("IdentityFile".to_owned(), value)),
                'p' => arguments.options.push(("Port".to_owned(), value)),
                _ => arguments.options.push(("User".to_owned(), value)),
            }
        }
        Ok(arguments)
    }

    /// `KEY=VALUE` or `KEY VALUE`, as after `-o`.
    fn option(&mut self, text: &str) -> Result<(), SshArgumentsError> {
        let (keyword, value) = text.split_once(['=', ' ']).ok_or_else(|| SshArgumentsError::NoValue(format!("-o {text}")))?;
        let (keyword, value) = (keyword.trim(), value.trim_matches([' ', '=']));
        let lower = keyword.to_ascii_lowercase();
        if lower == "stricthostkeychecking" && ["no", "off"].contains(&value.to_ascii_lowercase().as_str()) {
            return Err(SshArgumentsError::AcceptsChangedKeys(value.to_owned()));
        }
        if !SET_BY_TRANSPORT.contains(&lower.as_str()) {
            self.options.push((keyword.to_owned(), value.to_owned()));
        }
        Ok(())
    }
}

/// Splits as a shell does, without expanding anything.
fn words(text: &str) -> Result<Vec<String>, SshArgumentsError> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in text.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            (_, _) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(SshArgumentsError::OpenQuote(text.to_owned()));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<String> {
        SshArguments::parse(text).unwrap().options.iter().map(|(keyword, value)| format!("{keyword}={value}")).collect()
    }

    #[test]
    fn reads_what_inventories_hold() {
        assert_eq!(
            options(
                "-o ProxyCommand='ssh -W %h:%p -q jump' -oUserKnownHostsFile=/x -J ann@gate:2222 -C -4 -p 22 -l bob -i ~/.ssh/k"
            ),
            [
                "ProxyCommand=ssh -W %h:%p -q jump",
                "UserKnownHostsFile=/x",
                "ProxyJump=ann@gate:2222",
                "Compression=yes",
                "AddressFamily=inet",
                "Port=22",
                "User=bob",
                "IdentityFile=~/.ssh/k"
            ]
        );
        assert_eq!(SshArguments::parse("-F /etc/other").unwrap().config, Some(PathBuf::from("/etc/other")));
        assert_eq!(options(""), Vec::<String>::new());
    }

    #[test]
    fn leaves_out_what_the_transport_sets_itself() {
        assert_eq!(options("-o ControlMaster=auto -o ControlPersist=60s -o \"ConnectTimeout 5\""), ["ConnectTimeout=5"]);
    }

    #[test]
    fn names_what_it_cannot_use() {
        let error = |text: &str| SshArguments::parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(
            ["-o", "-o Port", "-A", "host", "-o StrictHostKeyChecking=no", "-J 'gate"].map(error).join("\n"),
            @r#"
        the ssh argument `-o` has no value
        the ssh argument `-o Port` has no value
        the ssh argument `-A` is not supported; these are: -o KEY=VALUE, -J, -F, -i, -p, -l, -C, -4, -6
        the ssh argument `host` is not supported; these are: -o KEY=VALUE, -J, -F, -i, -p, -l, -C, -4, -6
        `StrictHostKeyChecking=no` would accept a changed host key; write `accept-new`, which accepts unknown ones only
        a quotation in `-J 'gate` does not end
        "#
        );
    }
}
