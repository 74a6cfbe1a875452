//! Why a login failed, and whose fault it is: of the node, of a host on the way to it, or of our own configuration.

use super::{
    LinkError, Target,
    errors::address,
    ssh_words::{Cause, Resolved, cause, ignored_key, option_for},
};

/// What was written while a login failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LoginLog {
    /// By the ssh that logs in to the node.
    pub(super) ssh: String,
    /// By the programs that it goes through, such as the ssh to a jump host; and by itself before it has opened its log.
    pub(super) beside: String,
}

/// What our ssh says when the program that it goes through has ended.
const CUT: [&str; 3] = ["UNKNOWN port 65535", "_exchange_identification: ", "during banner exchange"];

impl LoginLog {
    /// Returns the cause, and whether it lies on the way to the node.
    fn cause(&self, resolved: &Resolved) -> (Cause, bool) {
        let own = cause(&self.ssh);
        let beside = cause(&self.beside);
        // A banner of a server may say anything: only what ssh says of itself counts before the way is known to be cut.
        match (own, beside) {
            (None, Some(Cause::Configuration(line))) => (Cause::Configuration(line), false),
            (None, Some(other)) => (other, resolved.has_proxy()),
            (Some(own), beside) if resolved.has_proxy() && self.is_cut() => (beside.unwrap_or(own), true),
            // ssh warns of a key that is not there before it opens its log.
            (Some(Cause::Denied(line)), _) => (ignored_key(&self.beside).unwrap_or(Cause::Denied(line)), false),
            (Some(own), _) => (own, false),
            (None, None) => (Cause::Other("it says nothing".to_owned()), resolved.has_proxy()),
        }
    }

    /// Whether the connection was cut, perhaps on the way, before any key was asked for.
    pub(super) fn is_cut(&self) -> bool {
        CUT.iter().any(|words| self.ssh.contains(words))
    }

    /// Whether the cause lies on the way to the node.
    pub(super) fn is_on_the_way(&self, resolved: &Resolved) -> bool {
        self.cause(resolved).1
    }

    /// Whether the node, or a host on the way to it, was only too busy.
    pub(super) fn is_busy(&self) -> bool {
        let is_dropped = |text: &str| matches!(cause(text), Some(Cause::Dropped(_)));
        is_dropped(&self.ssh) && (cause(&self.beside).is_none() || is_dropped(&self.beside))
    }

    /// Whether the key of a host was revoked, and the file that says so is to be found.
    pub(super) fn asks_for_revoking_file(&self) -> bool {
        [&self.ssh, &self.beside].iter().any(|text| cause(text) == Some(Cause::RevokedHostKey(None)))
    }
}

/// What ssh was asked after a login had failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Of the node.
    pub(super) node: Resolved,
    /// Of the jump host, where there is one only.
    pub(super) jump: Option<Resolved>,
    /// The file and line that revokes the key of a host.
    pub(super) revoked: Option<String>,
}

/// Turns what a failed login has written into an error.
pub(super) fn from_login(target: &Target, log: &LoginLog, asked: &Asked) -> LinkError {
    let (resolved, revoked) = (&asked.node, asked.revoked.as_deref());
    let (cause, is_on_the_way) = log.cause(resolved);
    if !is_on_the_way {
        return of_node(target, cause, resolved, revoked);
    }
    let who = on_the_way(resolved, &log.beside);
    let address = address(target);
    let (detail, help) = match cause {
        Cause::UnknownName(name) => (
            format!("the name `{name}` cannot be resolved"),
            Some("correct it in `ProxyJump` or `ProxyCommand`, or add it to DNS or to your ssh_config".to_owned()),
        ),
        Cause::Refused => ("it refuses the connection".to_owned(), Some("is sshd running there, on this port?".to_owned())),
        Cause::TimedOut(line) => {
            (format!("it does not answer: {line}"), Some("is it up, and does a firewall let you through to its ssh port?".to_owned()))
        }
        Cause::NoRoute => ("there is no route to it".to_owned(), Some("are you on the right network or VPN?".to_owned())),
        Cause::UnknownHostKey => (
            "its host key is not known".to_owned(),
            Some(format!(
                "compare the key with its own and remember it: {}; or, for hosts of `ProxyJump`, accept unknown keys this once: `--accept-new-host-keys`",
                asked.jump.as_ref().and_then(Resolved::keyscan).map_or_else(|| "log in there once".to_owned(), |scan| format!("`{scan}`"))
            )),
        ),
        Cause::ChangedHostKey(forget) => (
            "its host key HAS CHANGED: this is another machine, or the connection is intercepted".to_owned(),
            Some(format!("only if you know that it was installed again: `{forget}`, then accept the new key")),
        ),
        Cause::RevokedHostKey(file) => {
            let place = file.as_deref().or(revoked);
            (format!("its host key is REVOKED{}", place.map(|place| format!(" in {place}")).unwrap_or_default()), None)
        }
        Cause::Denied(line) => (
            format!("it does not let us in: {line}"),
            Some(
                "name its user and key in your ssh_config, under its own `Host`: `ansible_user` and `ansible_ssh_private_key_file` are for the node only; is the key in ssh-agent (`ssh-add -l`)?"
                    .to_owned(),
            ),
        ),
        Cause::OpenKeyFile { file, mode } => open_key_file(&file, &mode),
        Cause::MissingKeyFile(file) => missing_key_file(&file),
        Cause::NothingInCommon { what, offer } => nothing_in_common(&what, &offer),
        Cause::ForwardingForbidden => (
            format!("sshd there forbids to go on to `{address}`"),
            Some("see AllowTcpForwarding, PermitOpen and DisableForwarding there, and `restrict` before the key".to_owned()),
        ),
        Cause::NotReachedFrom(why) => (
            format!("it cannot reach `{address}`: {why}"),
            Some("`ansible_host` and `ansible_port` are looked up and connected to from there".to_owned()),
        ),
        Cause::Configuration(line) | Cause::Other(line) => (format!("it fails: {line}"), None),
        Cause::Dropped(line) if log.beside.trim().is_empty() => (
            format!("the connection ends there, or at the node behind it, without a word ({line})"),
            Some(
                "the logs of sshd on both say which: it does that when more logins come at once than its `MaxStartups` allows (10 by default), or where it bars an address"
                    .to_owned(),
            ),
        ),
        Cause::Dropped(line) => (format!("it drops the connection before the login: {line}"), None),
    };
    LinkError::OnTheWay { address, who, detail, help }
}

/// Names what is on the way. Of several jump hosts, the one that the words of ssh name.
fn on_the_way(resolved: &Resolved, said: &str) -> String {
    let is_meant = |jump: &&String| said.contains(bare_host(jump));
    match (resolved.jump_hosts.as_slice(), &resolved.proxy_command) {
        ([one], _) => format!("the jump host `{one}`"),
        ([], Some(command)) => format!("the proxy command `{command}`"),
        ([], None) => "the way to it".to_owned(),
        (several, _) => match several.iter().find(is_meant) {
            Some(named) => format!("the jump host `{named}`"),
            None => format!("one of the jump hosts `{}`", several.join("`, `")),
        },
    }
}

/// Returns a jump host as arguments of ssh: `-p 2222 ann@gate` for `ann@gate:2222`.
pub(super) fn as_arguments(jump: &str) -> Vec<String> {
    let host = bare_host(jump);
    let user = jump.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
    let after = &jump[jump.rfind(host).map_or(jump.len(), |at| at + host.len())..];
    let port = after.trim_start_matches(']').strip_prefix(':').map(|port| vec!["-p".to_owned(), port.to_owned()]);
    [port.unwrap_or_default(), vec!["--".to_owned(), format!("{user}{host}")]].concat()
}

/// `gate` of `ann@gate:2222`, and of `[gate]:2222`.
fn bare_host(jump: &str) -> &str {
    let host = jump.rsplit_once('@').map_or(jump, |(_, host)| host);
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _)) => inside,
        None => host.split_once(':').filter(|(_, port)| !port.contains(':')).map_or(host, |(host, _)| host),
    }
}

fn open_key_file(file: &str, mode: &str) -> (String, Option<String>) {
    let detail = format!("the private key `{file}` has the mode {mode}, so that others may read it, and ssh does not use it");
    (detail, Some(format!("`chmod 600 {file}`")))
}

fn missing_key_file(file: &str) -> (String, Option<String>) {
    (format!("there is no private key `{file}`, or it cannot be read"), Some("correct the path of the key".to_owned()))
}

fn nothing_in_common(what: &str, offer: &str) -> (String, Option<String>) {
    let option = option_for(what);
    let offered = offer.split(',').filter(|name| !name.starts_with("kex-strict-")).collect::<Vec<_>>().join(",");
    let detail = format!("the two sides have no {what} in common; it offers {offer}");
    let help = format!(
        "set `{option}` in its sshd_config to what your ssh takes (`ssh -Q {}`), or allow what it offers, which may be weak: `-o {option}=+{offered}` in `ansible_ssh_common_args`, or `{option} +{offered}` in your ssh_config",
        query(what)
    );
    (detail, Some(help))
}

/// The word after `ssh -Q` that lists what ssh supports.
fn query(what: &str) -> &'static str {
    match what {
        "MAC" => "mac",
        "key exchange method" => "kex",
        "host key type" => "HostKeyAlgorithms",
        _ => "cipher",
    }
}

/// The error of a login that the node itself, or our own configuration, has ended.
fn of_node(target: &Target, cause: Cause, resolved: &Resolved, revoked: Option<&str>) -> LinkError {
    let (address, host) = (address(target), target.host.clone());
    let port = target.port.map(|port| format!("-p {port} ")).unwrap_or_default();
    match cause {
        Cause::UnknownName(_) => LinkError::UnknownName { host },
        Cause::Refused => LinkError::Refused { address },
        Cause::TimedOut(detail) => LinkError::TimedOut { address, detail },
        Cause::NoRoute => LinkError::NoRoute { address },
        Cause::UnknownHostKey => {
            let keyscan = resolved.keyscan().unwrap_or_else(|| format!("ssh-keyscan {port}{host} >> ~/.ssh/known_hosts"));
            LinkError::UnknownHostKey { address, keyscan }
        }
        Cause::ChangedHostKey(forget) => LinkError::ChangedHostKey { address, forget },
        Cause::RevokedHostKey(file) => {
            let place = file.or_else(|| revoked.map(str::to_owned));
            LinkError::RevokedHostKey { address, place: place.map(|place| format!(" in {place}")).unwrap_or_default() }
        }
        Cause::Denied(detail) => {
            let user = target.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
            let identity = target.identity.as_ref().map(|key| format!("-i {} ", key.display())).unwrap_or_default();
            LinkError::NoKeyAccepted { address, detail, try_it: format!("ssh {identity}{port}{user}{host}") }
        }
        Cause::OpenKeyFile { file, mode } => own(address, open_key_file(&file, &mode)),
        Cause::MissingKeyFile(file) => own(address, missing_key_file(&file)),
        Cause::NothingInCommon { what, offer } => {
            let (detail, help) = nothing_in_common(&what, &offer);
            LinkError::NothingInCommon { address, detail, help: help.unwrap_or_default() }
        }
        Cause::Configuration(line) => own(address, (line, None)),
        Cause::Dropped(detail) => LinkError::Dropped { address, detail },
        Cause::ForwardingForbidden => LinkError::Other { address, detail: "sshd forbids to forward".to_owned() },
        Cause::NotReachedFrom(detail) | Cause::Other(detail) => LinkError::Other { address, detail },
    }
}

fn own(address: String, (detail, help): (String, Option<String>)) -> LinkError {
    LinkError::OwnConfiguration { address, detail, help }
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
    fn says_what_ssh_means_and_what_to_do() {
        let logs = [
            "ssh: connect to host db.example port 2222: Connection refused",
            "ssh: connect to host db.example port 2222: Connection timed out",
            "ssh: connect to host db.example port 2222: No route to host",
            "ssh: Could not resolve hostname db.example: Name or service not known",
            "No ED25519 host key is known for [db.example]:2222 and you have requested strict checking.\r\nHost key verification failed.",
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\n  remove with:\r\n  ssh-keygen -f \"/k\" -R \"[db.example]:2222\"\r\nHost key verification failed.",
            "ann@db.example: Permission denied (publickey,password).",
            "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 198.18.0.2 port 2222",
            "kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 198.18.0.2 port 2222",
            "Bad configuration option: nonsense",
            "",
        ];
        let say = |log: &str| from_login(&target(), &LoginLog { ssh: log.to_owned(), beside: String::new() }, &Asked::default());
        insta::assert_snapshot!(logs.map(|log| render(&say(log))).concat(), @r#"
        `db.example:2222` refuses the connection
          help: is sshd running there, on this port? see `ansible_port`
        `db.example:2222` does not answer: ssh: connect to host db.example port 2222: Connection timed out
          help: is the node up, and does a firewall let you through to its ssh port?
        there is no route to `db.example:2222`
          help: are you on the right network or VPN?
        the name `db.example` cannot be resolved
          help: correct `ansible_host` in the inventory, or add the name to DNS or to your ssh_config
        the host key of `db.example:2222` is not known
          help: compare the key with the node's own and remember it: `ssh-keyscan -p 2222 db.example >> ~/.ssh/known_hosts`; or accept unknown keys this once: `--accept-new-host-keys`
        the host key of `db.example:2222` HAS CHANGED: this is another machine, or the connection is intercepted
          help: only if you know that the node was installed again: `ssh-keygen -f "/k" -R "[db.example]:2222"`, then accept the new key with `--accept-new-host-keys`
        `db.example:2222` does not let us in: ann@db.example: Permission denied (publickey,password).
          help: is your key in ssh-agent (`ssh-add -l`) or named by `ansible_ssh_private_key_file`, and `ansible_user` right? try `ssh -p 2222 ann@db.example`; passwords are never asked for; sshd says the same where the account's login shell in /etc/passwd does not exist
        `db.example:2222` drops the connection before the login: kex_exchange_identification: Connection closed by remote host
          help: it was tried again for 60 s: sshd does that when more logins come at once than its `MaxStartups` allows (10 by default): try again, or raise it; or it bars your address: its log on the node says which
        `db.example:2222` drops the connection before the login: kex_exchange_identification: read: Connection reset by peer
          help: it was tried again for 60 s: sshd does that when more logins come at once than its `MaxStartups` allows (10 by default): try again, or raise it; or it bars your address: its log on the node says which
        ssh to `db.example:2222` fails here: Bad configuration option: nonsense
        ssh to `db.example:2222` fails: it says nothing
        "#);
    }

    /// What our ssh says once the program that it goes through has ended.
    const CUT: &str = "kex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535\n";

    #[test]
    fn what_goes_wrong_on_the_way_is_not_told_of_the_node() {
        let jump = Resolved::parse("hostname 198.18.0.9\nport 22\nuserknownhostsfile /k\n");
        let say = |way: &str, ssh: &str, beside: &str| {
            let node = Resolved::parse(&format!("hostname db.example\nport 2222\nuserknownhostsfile /k\n{way}\n"));
            let asked = Asked { node, jump: Some(jump.clone()), revoked: Some("/k, line 2".to_owned()) };
            render(&from_login(&target(), &LoginLog { ssh: ssh.to_owned(), beside: beside.to_owned() }, &asked))
        };
        let one = "proxyjump ann@gate:2200";
        let cases = [
            (one, CUT, "ssh: Could not resolve hostname gate: Name or service not known"),
            (one, CUT, "ssh: connect to host gate port 2200: Connection refused"),
            (one, CUT, "ssh: connect to host gate port 2200: No route to host"),
            (one, "Connection timed out during banner exchange\nConnection to UNKNOWN port 65535 timed out", ""),
            (
                one,
                CUT,
                "No ED25519 host key is known for gate and you have requested strict checking.\nHost key verification failed.",
            ),
            (
                one,
                CUT,
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n  ssh-keygen -f \"/k\" -R \"gate\"\nHost key verification failed.",
            ),
            (one, CUT, "@ WARNING: REVOKED HOST KEY DETECTED! @\nHost key verification failed."),
            (one, CUT, "Welcome. Permission denied to robots.\nann@gate: Permission denied (publickey)."),
            (one, CUT, "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed"),
            (one, CUT, "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed"),
            (one, CUT, "Unable to negotiate with 198.18.0.9 port 2200: no matching cipher found. Their offer: aes128-cbc"),
            (one, CUT, "kex_exchange_identification: Connection closed by remote host"),
            ("proxyjump outer,ann@gate", CUT, "ann@gate: Permission denied (publickey)."),
            ("proxyjump outer,ann@gate", CUT, "no way"),
            ("proxycommand corkscrew %h", CUT, "corkscrew: command not found"),
            ("proxycommand corkscrew %h", CUT, ""),
            // The node's own fault, behind a jump host that has said something.
            (one, "ann@db.example: Permission denied (publickey).", "Permission denied to robots."),
            (one, "No ED25519 host key is known for db.example and you have requested strict checking.", ""),
        ];
        insta::assert_snapshot!(cases.map(|(way, ssh, beside)| say(way, ssh, beside)).concat(), @r#"
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: the name `gate` cannot be resolved
          help: correct it in `ProxyJump` or `ProxyCommand`, or add it to DNS or to your ssh_config
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: it refuses the connection
          help: is sshd running there, on this port?
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: there is no route to it
          help: are you on the right network or VPN?
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: it does not answer: Connection timed out during banner exchange
          help: is it up, and does a firewall let you through to its ssh port?
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: its host key is not known
          help: compare the key with its own and remember it: `ssh-keyscan 198.18.0.9 >> /k`; or, for hosts of `ProxyJump`, accept unknown keys this once: `--accept-new-host-keys`
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: its host key HAS CHANGED: this is another machine, or the connection is intercepted
          help: only if you know that it was installed again: `ssh-keygen -f "/k" -R "gate"`, then accept the new key
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: its host key is REVOKED in /k, line 2
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: it does not let us in: ann@gate: Permission denied (publickey).
          help: name its user and key in your ssh_config, under its own `Host`: `ansible_user` and `ansible_ssh_private_key_file` are for the node only; is the key in ssh-agent (`ssh-add -l`)?
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: sshd there forbids to go on to `db.example:2222`
          help: see AllowTcpForwarding, PermitOpen and DisableForwarding there, and `restrict` before the key
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: it cannot reach `db.example:2222`: Connection refused
          help: `ansible_host` and `ansible_port` are looked up and connected to from there
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: the two sides have no cipher in common; it offers aes128-cbc
          help: set `Ciphers` in its sshd_config to what your ssh takes (`ssh -Q cipher`), or allow what it offers, which may be weak: `-o Ciphers=+aes128-cbc` in `ansible_ssh_common_args`, or `Ciphers +aes128-cbc` in your ssh_config
        `db.example:2222` is not reached because of the jump host `ann@gate:2200`: it drops the connection before the login: kex_exchange_identification: Connection closed by remote host
        `db.example:2222` is not reached because of the jump host `ann@gate`: it does not let us in: ann@gate: Permission denied (publickey).
          help: name its user and key in your ssh_config, under its own `Host`: `ansible_user` and `ansible_ssh_private_key_file` are for the node only; is the key in ssh-agent (`ssh-add -l`)?
        `db.example:2222` is not reached because of one of the jump hosts `outer`, `ann@gate`: it fails: no way
        `db.example:2222` is not reached because of the proxy command `corkscrew %h`: it fails: corkscrew: command not found
        `db.example:2222` is not reached because of the proxy command `corkscrew %h`: the connection ends there, or at the node behind it, without a word (kex_exchange_identification: Connection closed by remote host)
          help: the logs of sshd on both say which: it does that when more logins come at once than its `MaxStartups` allows (10 by default), or where it bars an address
        `db.example:2222` does not let us in: ann@db.example: Permission denied (publickey).
          help: is your key in ssh-agent (`ssh-add -l`) or named by `ansible_ssh_private_key_file`, and `ansible_user` right? try `ssh -p 2222 ann@db.example`; passwords are never asked for; sshd says the same where the account's login shell in /etc/passwd does not exist
        the host key of `db.example:2222` is not known
          help: compare the key with the node's own and remember it: `ssh ssh://ann@gate:2200 ssh-keyscan -p 2222 db.example >> /k`; or accept unknown keys this once: `--accept-new-host-keys`
        "#);
    }

    #[test]
    fn a_fault_of_the_node_or_of_our_own_configuration_is_named() {
        let say = |ssh: &str, beside: &str| {
            let asked = Asked { revoked: Some("/home/ann/.ssh/known_hosts, line 3".to_owned()), ..Asked::default() };
            render(&from_login(&target(), &LoginLog { ssh: ssh.to_owned(), beside: beside.to_owned() }, &asked))
        };
        let cases = [
            ("@ WARNING: REVOKED HOST KEY DETECTED! @\nHost key verification failed.", ""),
            ("Host key ED25519 SHA256:Q5B2 revoked by file /etc/revoked\nHost key verification failed.", ""),
            ("Unable to negotiate with 198.18.0.2 port 2222: no matching cipher found. Their offer: aes128-cbc", ""),
            (
                "Unable to negotiate with 198.18.0.2 port 2222: no matching key exchange method found. Their offer: diffie-hellman-group14-sha1,kex-strict-s-v00@openssh.com",
                "",
            ),
            ("Unable to negotiate with 198.18.0.2 port 2222: no matching host key type found. Their offer: ssh-rsa", ""),
            ("Permissions 0644 for '/k' are too open.\nann@db.example: Permission denied (publickey).", ""),
            (
                "ann@db.example: Permission denied (publickey).",
                "Warning: Identity file /k not accessible: No such file or directory.",
            ),
            ("", "command-line: line 0: Bad configuration option: nonsense"),
            ("/home/ann/.ssh/config: line 3: Bad configuration option: hosst", ""),
        ];
        insta::assert_snapshot!(cases.map(|(ssh, beside)| say(ssh, beside)).concat(), @r#"
        the host key of `db.example:2222` is REVOKED in /home/ann/.ssh/known_hosts, line 3, as a key that was stolen is: nothing is done there
        the host key of `db.example:2222` is REVOKED in /etc/revoked, as a key that was stolen is: nothing is done there
        ssh and the sshd of `db.example:2222` do not understand each other: the two sides have no cipher in common; it offers aes128-cbc
          help: set `Ciphers` in its sshd_config to what your ssh takes (`ssh -Q cipher`), or allow what it offers, which may be weak: `-o Ciphers=+aes128-cbc` in `ansible_ssh_common_args`, or `Ciphers +aes128-cbc` in your ssh_config
        ssh and the sshd of `db.example:2222` do not understand each other: the two sides have no key exchange method in common; it offers diffie-hellman-group14-sha1,kex-strict-s-v00@openssh.com
          help: set `KexAlgorithms` in its sshd_config to what your ssh takes (`ssh -Q kex`), or allow what it offers, which may be weak: `-o KexAlgorithms=+diffie-hellman-group14-sha1` in `ansible_ssh_common_args`, or `KexAlgorithms +diffie-hellman-group14-sha1` in your ssh_config
        ssh and the sshd of `db.example:2222` do not understand each other: the two sides have no host key type in common; it offers ssh-rsa
          help: set `HostKeyAlgorithms` in its sshd_config to what your ssh takes (`ssh -Q HostKeyAlgorithms`), or allow what it offers, which may be weak: `-o HostKeyAlgorithms=+ssh-rsa` in `ansible_ssh_common_args`, or `HostKeyAlgorithms +ssh-rsa` in your ssh_config
        ssh to `db.example:2222` fails here: the private key `/k` has the mode 0644, so that others may read it, and ssh does not use it
          help: `chmod 600 /k`
        ssh to `db.example:2222` fails here: there is no private key `/k`, or it cannot be read
          help: correct the path of the key
        ssh to `db.example:2222` fails here: command-line: line 0: Bad configuration option: nonsense
        ssh to `db.example:2222` fails here: /home/ann/.ssh/config: line 3: Bad configuration option: hosst
        "#);
    }

    #[test]
    fn a_server_is_busy_only_where_nothing_says_why_it_is_not_reached() {
        let log = |ssh: &str, beside: &str| LoginLog { ssh: ssh.to_owned(), beside: beside.to_owned() };
        assert!(log(CUT, "").is_busy());
        assert!(log(CUT, "kex_exchange_identification: read: Connection reset by peer").is_busy());
        for beside in
            ["ssh: Could not resolve hostname gate: Name or service not known", "Host key verification failed.", "no way"]
        {
            assert!(!log(CUT, beside).is_busy(), "{beside}");
        }
        assert!(!log("ssh: connect to host n port 22: Connection refused", "").is_busy());
    }

    #[test]
    fn a_jump_host_is_read_as_ssh_writes_it() {
        for (jump, wanted) in [
            ("gate", "-- gate"),
            ("ann@gate:2222", "-p 2222 -- ann@gate"),
            ("ann@[198.18.0.9]:2222", "-p 2222 -- ann@198.18.0.9"),
            ("[fe80::1]:22", "-p 22 -- fe80::1"),
            ("fe80::1", "-- fe80::1"),
        ] {
            assert_eq!(as_arguments(jump).join(" "), wanted, "{jump}");
        }
    }
}
