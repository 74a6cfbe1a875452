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
    /// How long the connection stays for the next run, `ssh_persist`. Zero: each run logs in.
    pub persist: Duration,
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
            persist: Duration::ZERO,
        }
    }

    /// Returns the target with a login of its own, and a connection that ends with its session.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self { persist: Duration::ZERO, ..self.clone() }
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
    /// A word after `-o` that is no keyword.
    #[error("`{0}` is not a keyword of ssh: letters and digits only")]
    NoKeyword(String),
    /// A port that is none.
    #[error("`{0}` is not a port: a number from 1 to 65535")]
    NoPort(String),
    /// A value of `StrictHostKeyChecking` that ssh does not know.
    #[error("`StrictHostKeyChecking={0}` is unknown to ssh; write `yes` or `accept-new`")]
    UnknownChecking(String),
    /// A configuration file whose path cannot be written in another one.
    #[error(
        "the path `{0}` after `-F` has a quote, a backslash, a `$` or a line break, which cannot be written in a configuration of ssh"
    )]
    UnwritablePath(String),
    /// An argument that a stranger must not give.
    #[error(
        "the ssh argument `{0}` is not for a project that is not trusted (--untrusted): it may start a program, load a library or read a file"
    )]
    Untrusted(String),
    /// A value that a stranger must not give.
    #[error("the value of the ssh argument `{0}` has characters that are not for a project that is not trusted (--untrusted)")]
    UntrustedValue(String),
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

/// The keywords that a stranger may set: they start nothing, load nothing, and open no file but those of keys, which are only named when the
/// project is validated. A new keyword of ssh is refused until it stands here.
const HARMLESS: [&str; 36] = [
    "addressfamily",
    "bindaddress",
    "bindinterface",
    "casignaturealgorithms",
    "certificatefile",
    "checkhostip",
    "ciphers",
    "compression",
    "connectionattempts",
    "connecttimeout",
    "fingerprinthash",
    "hashknownhosts",
    "hostkeyalgorithms",
    "hostkeyalias",
    "identitiesonly",
    "identityfile",
    "ipqos",
    "kbdinteractiveauthentication",
    "kexalgorithms",
    "macs",
    "numberofpasswordprompts",
    "passwordauthentication",
    "port",
    "preferredauthentications",
    "proxyjump",
    "pubkeyacceptedalgorithms",
    "pubkeyauthentication",
    "rekeylimit",
    "requiredrsasize",
    "serveralivecountmax",
    "serveraliveinterval",
    "stricthostkeychecking",
    "tcpkeepalive",
    "updatehostkeys",
    "user",
    "userknownhostsfile",
];

impl SshArguments {
    /// As [`SshArguments::parse`], for the text of a project that is not trusted: only [`HARMLESS`] keywords, with plain values.
    ///
    /// # Errors
    /// Names an argument that cannot be used, or that is not harmless.
    pub fn parse_strangers(text: &str) -> Result<Self, SshArgumentsError> {
        let arguments = Self::parse(text)?;
        if arguments.config.is_some() {
            return Err(SshArgumentsError::Untrusted("-F".to_owned()));
        }
        for (keyword, value) in &arguments.options {
            if !HARMLESS.contains(&keyword.to_ascii_lowercase().as_str()) {
                return Err(SshArgumentsError::Untrusted(keyword.clone()));
            }
            // ssh gives the names of jump hosts to a shell, and expands `${NAME}` in paths.
            let is_plain = |character: char| character.is_ascii_alphanumeric() || "._-:@[],/+~=%*^ ".contains(character);
            if value.starts_with('-') || !value.chars().all(is_plain) {
                return Err(SshArgumentsError::UntrustedValue(keyword.clone()));
            }
        }
        Ok(arguments)
    }

    /// Returns the configuration file in place of the operator's, if there is one.
    #[must_use]
    pub fn configuration(&self) -> Option<&std::path::Path> {
        self.config.as_deref()
    }

    /// Returns the options that say which machine a connection leads to.
    #[must_use]
    pub fn way(&self) -> Vec<(String, &str)> {
        let leads = ["hostname", "port", "proxycommand", "proxyjump"];
        let options = self.options.iter().map(|(keyword, value)| (keyword.to_ascii_lowercase(), value.as_str()));
        options.filter(|(keyword, _)| leads.contains(&keyword.as_str())).collect()
    }

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
                'F' if value.contains(['"', '\\', '\n', '$']) => return Err(SshArgumentsError::UnwritablePath(value)),
                'F' => arguments.config = Some(PathBuf::from(value)),
                'J' => arguments.push("ProxyJump", &value)?,
                'i' => arguments.push("IdentityFile", &value)?,
                'p' => arguments.push("Port", &value)?,
                _ => arguments.push("User", &value)?,
            }
        }
        Ok(arguments)
    }

    /// Returns the private keys that they name.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.options.iter().filter(|(keyword, _)| keyword.eq_ignore_ascii_case("IdentityFile"));
        keys.map(|(_, value)| value.trim_matches('"')).filter(|value| *value != "none")
    }

    /// `KEY=VALUE` or `KEY VALUE`, as after `-o`.
    fn option(&mut self, text: &str) -> Result<(), SshArgumentsError> {
        let no_value = || SshArgumentsError::NoValue(format!("-o {text}"));
        let (keyword, value) = text.trim().split_once(['=', ' ']).ok_or_else(no_value)?;
        let keyword = keyword.trim();
        if keyword.is_empty() || !keyword.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(SshArgumentsError::NoKeyword(keyword.to_owned()));
        }
        let value = value.trim_matches(|character: char| character.is_whitespace() || character == '=');
        if value.is_empty() { Err(no_value()) } else { self.push(keyword, value) }
    }

    /// Adds a keyword and its value, unless the transport sets it itself.
    fn push(&mut self, keyword: &str, value: &str) -> Result<(), SshArgumentsError> {
        let lower = keyword.to_ascii_lowercase();
        // As ssh does, which takes one pair of quotes away.
        let bare = value.trim_matches('"').to_ascii_lowercase();
        match (lower.as_str(), bare.as_str()) {
            ("stricthostkeychecking", "no" | "off" | "false") => {
                return Err(SshArgumentsError::AcceptsChangedKeys(value.to_owned()));
            }
            ("stricthostkeychecking", "yes" | "true" | "ask" | "accept-new") => {}
            ("stricthostkeychecking", _) => return Err(SshArgumentsError::UnknownChecking(value.to_owned())),
            ("port", port) if !port.parse::<u16>().is_ok_and(|port| port > 0) => {
                return Err(SshArgumentsError::NoPort(value.to_owned()));
            }
            _ => {}
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

    /// What ssh says of arguments that are accepted here: nothing that a run would meet later.
    #[test]
    fn what_is_accepted_ssh_accepts_too_and_what_ssh_refuses_is_refused() {
        let ssh_accepts = |arguments: &SshArguments| {
            let mut ssh = std::process::Command::new("ssh");
            ssh.args(["-G", "-F", "none"]);
            for (keyword, value) in &arguments.options {
                ssh.arg("-o").arg(format!("{keyword}={value}"));
            }
            ssh.args(["--", "node"]).output().unwrap().status.success()
        };
        for text in [
            "-o StrictHostKeyChecking=accept-new",
            "-o 'StrictHostKeyChecking yes'",
            "-o 'StrictHostKeyChecking=\"ask\"'",
            "-o ' Port = 22 '",
            "-p 65535 -l ann -i /k -J ann@gate:2222 -C -4",
            "-o UserKnownHostsFile=/dev/null -o ServerAliveInterval=5",
        ] {
            let arguments = SshArguments::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(ssh_accepts(&arguments), "{text}");
            let is_plain = !text.contains('"');
            assert_eq!(SshArguments::parse_strangers(text).is_ok(), is_plain, "{text}");
        }
        for text in [
            "-o Port=0",
            "-o Port=x",
            "-p 99999",
            "-p ''",
            "-o Port=",
            "-o StrictHostKeyChecking=maybe",
            "-o StrictHostKeyChecking=no",
            "-o stricthostkeychecking=False",
            "-o 'StrictHostKeyChecking=\"no\"'",
            "-o 'StrictHostKeyChecking\tno'",
            "-o 'Strict\tHost=x'",
            "-o '#x=y'",
            "-F '/a\"b'",
            "-F '$HOME/x'",
            "-A",
            "-W x:1",
            "-t",
            "-oX",
        ] {
            assert!(SshArguments::parse(text).is_err(), "{text}");
            assert!(SshArguments::parse_strangers(text).is_err(), "{text}");
        }
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

    #[test]
    fn the_private_keys_of_the_arguments_are_known() {
        let arguments = "-i /a -o IdentityFile='\"/b c\"' -oidentityfile=none -o ProxyJump=x";
        let arguments = SshArguments::parse(arguments).unwrap();
        assert_eq!(arguments.keys().collect::<Vec<_>>(), ["/a", "/b c"]);
    }
}
