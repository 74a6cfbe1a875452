//! What ssh says when it fails, read line by line: the first line that tells why counts, and the lines after it are only its consequences.

/// Why ssh failed, in the words of one ssh about the host that it wants to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The resolver does not know this name.
    UnknownName(String),
    /// Nothing listens on the port.
    Refused,
    /// No answer in time.
    TimedOut(String),
    /// There is no route.
    NoRoute,
    /// The key of the host stands in no file.
    UnknownHostKey,
    /// The key of the host is another one; the command that forgets the old one.
    ChangedHostKey(String),
    /// The key of the host is revoked; the file, where ssh names it.
    RevokedHostKey(Option<String>),
    /// The login was refused.
    Denied(String),
    /// A private key was ignored, because others may read its file.
    OpenKeyFile {
        /// The file.
        file: String,
        /// Its mode.
        mode: String,
    },
    /// There is no file of this private key.
    MissingKeyFile(String),
    /// The two sides have no algorithm in common.
    NothingInCommon {
        /// What ssh calls it: `cipher`.
        what: String,
        /// What the other side offers.
        offer: String,
    },
    /// The sshd forbids to go on from it to another host.
    ForwardingForbidden,
    /// The sshd cannot reach the host that it was asked for.
    NotReachedFrom(String),
    /// ssh does not take its own configuration or options.
    Configuration(String),
    /// The connection was closed before any key was asked for.
    Dropped(String),
    /// Something else.
    Other(String),
}

/// The option of ssh for what two sides must have in common.
pub(super) fn option_for(what: &str) -> &'static str {
    match what {
        "cipher" => "Ciphers",
        "MAC" => "MACs",
        "key exchange method" => "KexAlgorithms",
        "host key type" => "HostKeyAlgorithms",
        "compression" => "Compression",
        _ => "Ciphers, MACs, KexAlgorithms or HostKeyAlgorithms",
    }
}

/// Returns the cause that a text of ssh tells; `None` where it says nothing.
pub(super) fn cause(text: &str) -> Option<Cause> {
    let lines = || text.lines().map(str::trim).filter(|line| !is_noise(line));
    let found = lines().find_map(|line| telling(line, text));
    match found {
        // A key that was left out is why the login was refused.
        Some(Cause::Denied(line)) => Some(ignored_key(text).unwrap_or(Cause::Denied(line))),
        Some(cause) => Some(cause),
        None => lines().next_back().map(|line| Cause::Other(line.to_owned())),
    }
}

/// Returns what a log says of a link that was up: not that a key was remembered, nor that a port is closed to a tunnel.
pub(super) fn of_link(log: &str) -> String {
    log.lines().map(str::trim).filter(|line| !is_noise(line) && !line.starts_with("channel ")).collect::<Vec<_>>().join("\n")
}

/// Whether a log says that sshd does not forward.
pub(super) fn forbids_forwarding(log: &str) -> bool {
    log.lines().any(|line| telling(line.trim(), log) == Some(Cause::ForwardingForbidden))
}

/// Lines that say nothing of a failure.
fn is_noise(line: &str) -> bool {
    line.is_empty() || line.starts_with("Warning: Permanently added") || line == "stdio forwarding failed"
}

/// Returns the cause that this line tells, if it tells one.
fn telling(line: &str, text: &str) -> Option<Cause> {
    let after = |words: &str| line.split_once(words).map(|(_, rest)| rest.trim());
    let own = || line.to_owned();
    if let Some(rest) = after("Could not resolve hostname ") {
        let name = rest.split_once(": ").map_or(rest, |(name, _)| name);
        return Some(Cause::UnknownName(name.to_owned()));
    }
    if line.starts_with("Unable to negotiate with ") {
        let what = after("no matching ").and_then(|rest| rest.split_once(" found")).map_or("", |(what, _)| what);
        let offer = after("Their offer: ").unwrap_or_default();
        return Some(Cause::NothingInCommon { what: what.to_owned(), offer: offer.to_owned() });
    }
    if line.starts_with("Host key ") && line.contains(" revoked by file ") {
        return Some(Cause::RevokedHostKey(after(" revoked by file ").map(str::to_owned)));
    }
    if line.contains("REVOKED HOST KEY DETECTED") || line.contains(" is marked as revoked") {
        return Some(Cause::RevokedHostKey(None));
    }
    if line.contains("HOST IDENTIFICATION HAS CHANGED") || line.contains("has changed and you have requested strict checking") {
        let forget = text.lines().map(str::trim).find(|line| line.starts_with("ssh-keygen "));
        return Some(Cause::ChangedHostKey(forget.unwrap_or("ssh-keygen -R HOST").to_owned()));
    }
    if line.contains("host key is known for") || line.starts_with("Host key verification failed") {
        return Some(Cause::UnknownHostKey);
    }
    if let Some(rest) = line.strip_prefix("channel ").and_then(|rest| rest.split_once(" open failed: ")).map(|(_, rest)| rest) {
        let failed = rest.strip_prefix("connect failed: ");
        return Some(failed.map_or(Cause::ForwardingForbidden, |why| Cause::NotReachedFrom(why.to_owned())));
    }
    if line.contains("Bad configuration option")
        || line.contains("Bad SSH2 ")
        || line.contains("Bad owner or permissions on ")
        || line.contains("terminating, ")
        || line.starts_with("command-line")
        || line.starts_with("unknown option")
        || line.starts_with("Can't open user config file")
        || line.contains("jumphost loop")
        || is_of_a_configuration(line)
    {
        return Some(Cause::Configuration(own()));
    }
    if line.contains("Permission denied (") || line.ends_with("Too many authentication failures") {
        return Some(Cause::Denied(own()));
    }
    if line.starts_with("ssh: connect to ") || line.starts_with("connect to ") || line.starts_with("ssh_exchange") {
        let routes = ["No route to host", "Network is unreachable", "Host is down"];
        if line.ends_with("Connection refused") {
            return Some(Cause::Refused);
        }
        if routes.iter().any(|words| line.ends_with(words)) {
            return Some(Cause::NoRoute);
        }
    }
    if line.contains("timed out") {
        return Some(Cause::TimedOut(own()));
    }
    if line.contains("_exchange_identification: ") {
        return Some(Cause::Dropped(own()));
    }
    None
}

/// `FILE line 3: …` or `FILE: line 3: …`, as ssh says what is wrong in a configuration.
fn is_of_a_configuration(line: &str) -> bool {
    let Some((before, after)) = line.split_once(" line ") else { return false };
    let digits = after.split_once(':').map_or("", |(number, _)| number);
    // A shell writes a colon after its name.
    before.starts_with('/') && !before.ends_with(':') && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the private key that ssh did not use, if it says so.
pub(super) fn ignored_key(text: &str) -> Option<Cause> {
    text.lines().map(str::trim).find_map(|line| {
        if let Some((mode, rest)) = line.strip_prefix("Permissions ").and_then(|rest| rest.split_once(" for '")) {
            let file = rest.split_once("' are too open")?.0;
            return Some(Cause::OpenKeyFile { file: file.to_owned(), mode: mode.to_owned() });
        }
        let file = line.strip_prefix("Warning: Identity file ")?.split_once(" not accessible")?.0;
        Some(Cause::MissingKeyFile(file.to_owned()))
    })
}

/// What ssh says that it would do, printed by `ssh -G`: after all configuration files and options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) hostname: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) user: Option<String>,
    pub(super) host_key_alias: Option<String>,
    /// Those of the user, then those of the machine.
    pub(super) known_hosts: Vec<String>,
    /// The hosts on the way, in order: `ann@gate:2222`.
    pub(super) jump_hosts: Vec<String>,
    pub(super) proxy_command: Option<String>,
}

impl Resolved {
    /// Reads what `ssh -G` prints: a keyword in lower case and its value in each line.
    pub(super) fn parse(text: &str) -> Self {
        let mut resolved = Self::default();
        let is_set = |value: &&str| !value.is_empty() && *value != "none";
        for (keyword, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            let value = value.trim();
            let own = || Some(value.to_owned()).filter(|value| is_set(&value.as_str()));
            match keyword {
                "hostname" => resolved.hostname = own(),
                "port" => resolved.port = value.parse().ok(),
                "user" => resolved.user = own(),
                "hostkeyalias" => resolved.host_key_alias = own(),
                "userknownhostsfile" => {
                    let files = value.split_whitespace().filter(is_set).map(str::to_owned);
                    resolved.known_hosts.splice(0..0, files);
                }
                "globalknownhostsfile" => {
                    resolved.known_hosts.extend(value.split_whitespace().filter(is_set).map(str::to_owned));
                }
                "proxyjump" => resolved.jump_hosts = value.split(',').filter(is_set).map(without_brackets).collect(),
                "proxycommand" => resolved.proxy_command = own(),
                _ => {}
            }
        }
        resolved
    }

    /// Whether ssh goes through something else than the network.
    pub(super) fn has_proxy(&self) -> bool {
        !self.jump_hosts.is_empty() || self.proxy_command.is_some()
    }

    /// Returns the name under which `known_hosts` has the key of the host.
    pub(super) fn key_name(&self) -> Option<String> {
        let name = self.host_key_alias.clone().map(|alias| (alias, None));
        let (name, port) = name.or_else(|| Some((self.hostname.clone()?, self.port)))?;
        Some(match port {
            Some(port) if port != 22 => format!("[{name}]:{port}"),
            Some(_) | None => name,
        })
    }

    /// Returns the command that shows the keys of the host and remembers them where ssh looks for them.
    pub(super) fn keyscan(&self) -> Option<String> {
        let (host, file) = (self.hostname.as_ref()?, self.known_hosts.first()?);
        let port = self.port.filter(|port| *port != 22).map(|port| format!("-p {port} ")).unwrap_or_default();
        // ssh-keyscan reads no configuration of ssh, and goes through no other host.
        let before = match self.jump_hosts.as_slice() {
            [] if self.proxy_command.is_some() => return None,
            [] => String::new(),
            [before @ .., last] => {
                let through = if before.is_empty() { String::new() } else { format!("-J {} ", before.join(",")) };
                let last = if last.contains(':') { format!("ssh://{last}") } else { last.clone() };
                format!("ssh {through}{last} ")
            }
        };
        let renamed = self.host_key_alias.as_ref().map(|alias| format!(" | sed 's/^[^ ]*/{alias}/'")).unwrap_or_default();
        Some(format!("{before}ssh-keyscan {port}{host}{renamed} >> {file}"))
    }
}

/// ssh writes each name and address in brackets; only those of IPv6 need them.
fn without_brackets(jump: &str) -> String {
    match jump.split_once('[').and_then(|(before, rest)| Some((before, rest.split_once(']')?))) {
        Some((before, (host, after))) if !host.contains(':') => format!("{before}{host}{after}"),
        Some(_) | None => jump.to_owned(),
    }
}

/// Returns the line of a `known_hosts` that revokes a key, from what `ssh-keygen -F` prints.
pub(super) fn revoking_line(found: &str) -> Option<u64> {
    let comment = found.lines().find(|line| line.starts_with("# Host ") && line.trim_end().ends_with(" REVOKED"))?;
    comment.split_once(": line ")?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts are those of OpenSSH 9.2 and 10.
    #[test]
    fn the_first_line_that_tells_why_is_the_cause() {
        let changed = "@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@\nOffending ED25519 key in /k:1\n  remove with:\n  ssh-keygen -f \"/k\" -R \"n\"\nHost key for n has changed and you have requested strict checking.\nHost key verification failed.";
        let revoked = "@@@\n@       WARNING: REVOKED HOST KEY DETECTED!               @\n@@@\nThe ED25519 host key for n is marked as revoked.\nED25519 host key for n was revoked and you have requested strict checking.\nHost key verification failed.";
        let open = "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\nPermissions 0644 for '/k e y' are too open.\nThis private key will be ignored.\nLoad key \"/k e y\": bad permissions\nroot@n: Permission denied (publickey).";
        let lines = [
            "ssh: Could not resolve hostname gate: Name or service not known\nkex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535",
            "ssh: connect to host n port 22: Connection refused",
            "ssh: connect to host n port 22: Connection timed out",
            "Connection timed out during banner exchange\nConnection to UNKNOWN port 65535 timed out",
            "ssh: connect to host n port 22: No route to host",
            "ssh: connect to host n port 22: Network is unreachable",
            "No ED25519 host key is known for n and you have requested strict checking.\r\nHost key verification failed.",
            "Host key verification failed.",
            changed,
            revoked,
            "Host key ED25519 SHA256:Q5B2 revoked by file /etc/revoked\nHost key verification failed.",
            "Unable to negotiate with 198.18.0.2 port 22: no matching cipher found. Their offer: aes128-cbc",
            "Unable to negotiate with 198.18.0.2 port 22: no matching key exchange method found. Their offer: diffie-hellman-group14-sha1,kex-strict-s-v00@openssh.com",
            "Unable to negotiate with 198.18.0.2 port 22: no matching host key type found. Their offer: ssh-rsa",
            "Unable to negotiate with 198.18.0.2 port 22: no matching MAC found. Their offer: hmac-sha1-96",
            "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed",
            "channel 0: open failed: connect failed: Name or service not known\nstdio forwarding failed",
            "x@n: Permission denied (publickey,password).",
            "Received disconnect from 198.18.0.2 port 22:2: Too many authentication failures\nDisconnected from 198.18.0.2 port 22",
            open,
            "Warning: Identity file /k not accessible: No such file or directory.\nroot@n: Permission denied (publickey).",
            "command-line: line 0: Bad configuration option: nonsense",
            "/home/ann/.ssh/config: line 3: Bad configuration option: hosst\n/home/ann/.ssh/config: terminating, 1 bad configuration options",
            "/home/ann/.ssh/config line 3: missing argument.",
            "Bad owner or permissions on /home/ann/.ssh/config",
            "command-line line 0: Bad SSH2 cipher spec 'nonsense'.",
            "jumphost loop via 127.0.0.1",
            "kex_exchange_identification: read: Connection reset by peer\nConnection reset by 198.18.0.2 port 22",
            "Connection closed by 198.18.0.2 port 22",
            "Warning: Permanently added 'n' (ED25519) to the list of known hosts.\nConnection closed by 198.18.0.2 port 22",
            "Welcome. Permission denied to robots.\nx@n: Permission denied (publickey).",
            "/bin/bash: line 1: /no/such/program: No such file or directory",
            "Warning: Permanently added 'n' (ED25519) to the list of known hosts.",
            "",
        ]
        .map(|text| format!("{}: {:?}", text.lines().next().unwrap_or_default().chars().take(40).collect::<String>(), cause(text)));
        insta::assert_snapshot!(lines.join("\n"), @r#"
        ssh: Could not resolve hostname gate: Na: Some(UnknownName("gate"))
        ssh: connect to host n port 22: Connecti: Some(Refused)
        ssh: connect to host n port 22: Connecti: Some(TimedOut("ssh: connect to host n port 22: Connection timed out"))
        Connection timed out during banner excha: Some(TimedOut("Connection timed out during banner exchange"))
        ssh: connect to host n port 22: No route: Some(NoRoute)
        ssh: connect to host n port 22: Network : Some(NoRoute)
        No ED25519 host key is known for n and y: Some(UnknownHostKey)
        Host key verification failed.: Some(UnknownHostKey)
        @@@: Some(ChangedHostKey("ssh-keygen -f \"/k\" -R \"n\""))
        @@@: Some(RevokedHostKey(None))
        Host key ED25519 SHA256:Q5B2 revoked by : Some(RevokedHostKey(Some("/etc/revoked")))
        Unable to negotiate with 198.18.0.2 port: Some(NothingInCommon { what: "cipher", offer: "aes128-cbc" })
        Unable to negotiate with 198.18.0.2 port: Some(NothingInCommon { what: "key exchange method", offer: "diffie-hellman-group14-sha1,kex-strict-s-v00@openssh.com" })
        Unable to negotiate with 198.18.0.2 port: Some(NothingInCommon { what: "host key type", offer: "ssh-rsa" })
        Unable to negotiate with 198.18.0.2 port: Some(NothingInCommon { what: "MAC", offer: "hmac-sha1-96" })
        channel 0: open failed: administratively: Some(ForwardingForbidden)
        channel 0: open failed: connect failed: : Some(NotReachedFrom("Name or service not known"))
        x@n: Permission denied (publickey,passwo: Some(Denied("x@n: Permission denied (publickey,password)."))
        Received disconnect from 198.18.0.2 port: Some(Denied("Received disconnect from 198.18.0.2 port 22:2: Too many authentication failures"))
        @         WARNING: UNPROTECTED PRIVATE K: Some(OpenKeyFile { file: "/k e y", mode: "0644" })
        Warning: Identity file /k not accessible: Some(MissingKeyFile("/k"))
        command-line: line 0: Bad configuration : Some(Configuration("command-line: line 0: Bad configuration option: nonsense"))
        /home/ann/.ssh/config: line 3: Bad confi: Some(Configuration("/home/ann/.ssh/config: line 3: Bad configuration option: hosst"))
        /home/ann/.ssh/config line 3: missing ar: Some(Configuration("/home/ann/.ssh/config line 3: missing argument."))
        Bad owner or permissions on /home/ann/.s: Some(Configuration("Bad owner or permissions on /home/ann/.ssh/config"))
        command-line line 0: Bad SSH2 cipher spe: Some(Configuration("command-line line 0: Bad SSH2 cipher spec 'nonsense'."))
        jumphost loop via 127.0.0.1: Some(Configuration("jumphost loop via 127.0.0.1"))
        kex_exchange_identification: read: Conne: Some(Dropped("kex_exchange_identification: read: Connection reset by peer"))
        Connection closed by 198.18.0.2 port 22: Some(Other("Connection closed by 198.18.0.2 port 22"))
        Warning: Permanently added 'n' (ED25519): Some(Other("Connection closed by 198.18.0.2 port 22"))
        Welcome. Permission denied to robots.: Some(Denied("x@n: Permission denied (publickey)."))
        /bin/bash: line 1: /no/such/program: No : Some(Other("/bin/bash: line 1: /no/such/program: No such file or directory"))
        Warning: Permanently added 'n' (ED25519): None
        : None
        "#);
    }

    const RESOLVED: &str = "user ann\nhostname 198.18.0.2\nport 2222\nproxyusefdpass no\nidentityfile ~/.ssh/id_rsa\nglobalknownhostsfile /etc/ssh/ssh_known_hosts\nuserknownhostsfile /home/ann/.ssh/known_hosts /home/ann/.ssh/known_hosts2\n";

    #[test]
    fn the_hint_for_an_unknown_key_is_what_ssh_would_look_for() {
        let with = |more: &str| Resolved::parse(&format!("{RESOLVED}{more}"));
        let lines = [
            with(""),
            with("port 22\nhostkeyalias node-a\n"),
            with("proxyjump ann@gate\n"),
            with("proxyjump outer,gate:2200\n"),
            with("proxycommand corkscrew %h %p\n"),
        ]
        .map(|resolved| format!("{:?} {:?}", resolved.key_name(), resolved.keyscan()));
        insta::assert_snapshot!(lines.join("\n"), @r#"
        Some("[198.18.0.2]:2222") Some("ssh-keyscan -p 2222 198.18.0.2 >> /home/ann/.ssh/known_hosts")
        Some("node-a") Some("ssh-keyscan 198.18.0.2 | sed 's/^[^ ]*/node-a/' >> /home/ann/.ssh/known_hosts")
        Some("[198.18.0.2]:2222") Some("ssh ann@gate ssh-keyscan -p 2222 198.18.0.2 >> /home/ann/.ssh/known_hosts")
        Some("[198.18.0.2]:2222") Some("ssh -J outer ssh://gate:2200 ssh-keyscan -p 2222 198.18.0.2 >> /home/ann/.ssh/known_hosts")
        Some("[198.18.0.2]:2222") None
        "#);
        assert_eq!(with("").known_hosts.len(), 3);
        assert_eq!(
            (with("").has_proxy(), with("proxyjump none\n").has_proxy(), with("proxyjump g\n").has_proxy()),
            (false, false, true)
        );
        assert_eq!(Resolved::parse("").keyscan(), None);
        let jumps = with("proxyjump ann@[gate]:22,[198.18.0.9],[fe80::1]:22\n").jump_hosts;
        assert_eq!(jumps, ["ann@gate:22", "198.18.0.9", "[fe80::1]:22"]);
    }

    #[test]
    fn the_line_that_revokes_a_key_is_found() {
        let found = "# Host n found: line 1 \nn ssh-ed25519 AAAA\n# Host n found: line 3 REVOKED\n@revoked * ssh-ed25519 AAAA\n";
        assert_eq!(revoking_line(found), Some(3));
        assert_eq!(revoking_line("# Host n found: line 1 CA\n"), None);
    }
}
