//! The text output of `ping`: a line for each host, with its errors below.

use std::time::Duration;

use serde_json::Value;

use crate::{
    engine::Pong,
    report::{Style, harmless},
    transport::{ConnectionMethod, LinkError, Target},
};

/// The text for a host on which this program panicked.
pub(super) const OUR_MISTAKE: &str = "autobot-provision itself failed on this host; this is a bug, please report it";

const HEADS: [&str; 7] = ["HOST", "CONNECT", "HOST KEY", "BECOME", "LOCK", "FACTS", "SYSTEM"];
/// The blanks between columns.
const GAP: usize = 2;
/// The indentation of the text below a host's line.
const INDENT: &str = "    ";

/// A host.
#[derive(Debug)]
pub(super) struct Row {
    host: String,
    /// Connect, host key, become, lock, facts.
    cells: [(String, State); 5],
    system: String,
    /// The notes below the line.
    remarks: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Noteworthy,
    Bad,
    /// Not known, as an earlier step failed.
    Open,
}

impl State {
    /// The code of its colour (ECMA-48, 8.3.117).
    fn colour(self) -> Option<&'static str> {
        match self {
            Self::Good => Some("32"),
            Self::Noteworthy => Some("33"),
            Self::Bad => Some("1;31"),
            Self::Open => None,
        }
    }
}

/// How far the connection to a node got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not to its sshd.
    NoSshd,
    /// To its sshd, whose host key is not known.
    UnknownKey,
    /// To an sshd with another host key than the known one.
    ChangedKey,
    /// To an sshd that refuses the log-in.
    NoLogin,
    /// The log-in works, root's rights are refused.
    NotRoot,
    /// The log-in works, and the session after it fails.
    NoSession,
}

impl Stage {
    pub(super) fn reached(error: &LinkError) -> Self {
        match error {
            LinkError::Refused { .. }
            | LinkError::TimedOut { .. }
            | LinkError::NoRoute { .. }
            | LinkError::UnknownName { .. }
            | LinkError::Dropped { .. }
            | LinkError::NothingInCommon { .. }
            | LinkError::OnTheWay { .. }
            | LinkError::OwnConfiguration { .. }
            | LinkError::Here { .. }
            | LinkError::Other { .. } => Self::NoSshd,
            LinkError::UnknownHostKey { .. } => Self::UnknownKey,
            LinkError::ChangedHostKey { .. } | LinkError::RevokedHostKey { .. } => Self::ChangedKey,
            LinkError::NoKeyAccepted { .. } => Self::NoLogin,
            LinkError::SudoRefused { .. }
            | LinkError::NoSudo { .. }
            | LinkError::PasswordRejected { .. }
            | LinkError::PasswordNotAsked { .. }
            | LinkError::SudoStuck { .. } => Self::NotRoot,
            LinkError::LoginShell { .. }
            | LinkError::Held(_)
            | LinkError::LockFailed { .. }
            | LinkError::Lost { .. }
            | LinkError::TakenOver { .. }
            | LinkError::ProgramsMissing { .. }
            | LinkError::Protocol { .. } => Self::NoSession,
        }
    }

    /// The state of the host key.
    pub(super) fn host_key(self) -> Option<&'static str> {
        match self {
            Self::NoSshd => None,
            Self::UnknownKey => Some("unknown"),
            Self::ChangedKey => Some("changed"),
            Self::NoLogin | Self::NotRoot | Self::NoSession => Some("known"),
        }
    }

    fn cells(self) -> [(String, State); 5] {
        let (good, bad) = (|text: &str| (text.to_owned(), State::Good), |text: &str| (text.to_owned(), State::Bad));
        let connect = match self {
            Self::NotRoot | Self::NoSession => good("ok"),
            Self::NoSshd | Self::UnknownKey | Self::ChangedKey | Self::NoLogin => bad("failed"),
        };
        let host_key = match self.host_key() {
            None => open(),
            Some("known") => good("known"),
            Some(other) => bad(other),
        };
        let root = match self {
            Self::NotRoot => bad("refused"),
            Self::NoSession => bad("failed"),
            Self::NoSshd | Self::UnknownKey | Self::ChangedKey | Self::NoLogin => open(),
        };
        [connect, host_key, root, open(), open()]
    }
}

fn open() -> (String, State) {
    ("-".to_owned(), State::Open)
}

/// The row of a host.
pub(super) fn row(target: &Target, answer: Option<&Result<Pong, LinkError>>) -> Row {
    let host = target.name.clone();
    match answer {
        Some(Ok(pong)) => answered(host, target, pong),
        Some(Err(error)) => {
            let mut remarks = vec![harmless(&error.to_string())];
            remarks.extend(error.remedy().map(|remedy| format!("help: {}", harmless(&remedy))));
            Row { host, cells: Stage::reached(error).cells(), system: String::new(), remarks }
        }
        None => {
            Row { host, cells: std::array::from_fn(|_| open()), system: String::new(), remarks: vec![OUR_MISTAKE.to_owned()] }
        }
    }
}

fn answered(host: String, target: &Target, pong: &Pong) -> Row {
    let good = |text: String| (text, State::Good);
    let (connect, host_key) = match target.connection {
        ConnectionMethod::Local => (good("local".to_owned()), open()),
        ConnectionMethod::Ssh => (good(milliseconds(pong.times.login)), good("known".to_owned())),
    };
    let root =
        if pong.uid == 0 { good(milliseconds(pong.times.shell)) } else { (format!("uid {}", pong.uid), State::Noteworthy) };
    let mut remarks: Vec<String> = pong.holder.iter().map(|holder| harmless(&holder.to_string())).collect();
    let lock = if pong.holder.is_some() { ("held".to_owned(), State::Noteworthy) } else { good("free".to_owned()) };
    let (facts, system) = match &pong.facts {
        Ok(facts) => (good(milliseconds(pong.times.first_frame)), system(facts)),
        Err(reason) => {
            remarks.push(harmless(&reason.to_string()));
            (("failed".to_owned(), State::Bad), String::new())
        }
    };
    Row { host, cells: [connect, host_key, root, lock, facts], system, remarks }
}

/// `Debian 12 (bookworm), kernel 6.1.0-28-amd64, x86_64, 7976 MB`.
fn system(facts: &Value) -> String {
    let fact = |name: &str| facts[name].as_str().map_or_else(|| facts[name].to_string(), str::to_owned);
    let release = match fact("distribution_release") {
        release if release.is_empty() => String::new(),
        release => format!(" ({release})"),
    };
    let text = format!(
        "{} {}{release}, kernel {}, {}, {} MB",
        fact("distribution"),
        fact("distribution_version"),
        fact("kernel"),
        fact("architecture"),
        fact("memtotal_mb")
    );
    harmless(&text).replace('\n', " ")
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// The table. A pipe gets a single line for each host, whatever its length.
pub(super) fn lines(rows: &[Row], style: Style) -> Vec<String> {
    let widest = |column: usize| {
        let cell = |row: &Row| if column == 0 { row.host.chars().count() } else { row.cells[column - 1].0.chars().count() };
        rows.iter().map(cell).chain([HEADS[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(widest);
    let used: usize = widths.iter().map(|width| width + GAP).sum();
    let longest = rows.iter().map(|row| row.system.chars().count()).max().unwrap_or_default();
    let beside = style.width.is_none_or(|width| used + longest <= width);
    let padded = |texts: [&str; 6]| {
        let cells = texts.iter().zip(widths).map(|(text, width)| format!("{text:width$}"));
        cells.collect::<Vec<_>>().join("  ")
    };
    let heads = padded(std::array::from_fn(|column| HEADS[column]));
    let heads = if beside { format!("{heads}  {}", HEADS[6]) } else { heads };
    let mut lines = vec![style.bold(heads.trim_end())];
    for row in rows {
        let mut line = format!("{:1$}", row.host, widths[0]);
        for ((text, state), width) in row.cells.iter().zip(&widths[1..]) {
            line.push_str("  ");
            line.push_str(&state.colour().map_or_else(|| text.clone(), |code| style.paint(code, text)));
            line.push_str(&" ".repeat(width - text.chars().count()));
        }
        let mut below: Vec<&str> = Vec::new();
        if style.width.is_none() {
            let system = (!row.system.is_empty()).then_some(row.system.as_str());
            let all: Vec<&str> = system.into_iter().chain(row.remarks.iter().map(String::as_str)).collect();
            line.push_str("  ");
            line.push_str(&all.join("; ").replace('\n', " "));
        } else {
            if beside {
                line.push_str("  ");
                line.push_str(&row.system);
            } else if !row.system.is_empty() {
                below.push(&row.system);
            }
            below.extend(row.remarks.iter().map(String::as_str));
        }
        lines.push(line.trim_end().to_owned());
        let below = below.into_iter().flat_map(str::lines).flat_map(|text| style.wrap(text, INDENT.len()));
        lines.extend(below.map(|text| format!("{INDENT}{text}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{
        question::Unanswered,
        report::Colour,
        transport::{Holder, Times},
    };

    fn pong(uid: u32, holder: Option<Holder>, facts: Result<Value, Unanswered>) -> Pong {
        let times = Times {
            login: Duration::from_millis(212),
            shell: Duration::from_micros(31_900),
            first_frame: Duration::from_millis(1204),
        };
        Pong { uid, holder, facts, times, round_trips: 1 }
    }

    fn rows() -> Vec<Row> {
        let facts = json!({
            "distribution": "Debian", "distribution_version": "12", "distribution_release": "bookworm",
            "kernel": "6.1.0-28-amd64", "architecture": "x86_64", "memtotal_mb": 7976
        });
        let mut evil = facts.clone();
        evil["distribution"] = "evil\u{1b}[31m\n".into();
        evil["distribution_release"] = "".into();
        let holder = Holder {
            who: "ann@ci".into(),
            run_id: "20260101T000000-1".into(),
            since: Timestamp::from_second(1_767_225_600).ok(),
            job: None,
        };
        let answers = [
            ("database_vm", Some(Ok(pong(0, None, Ok(facts.clone()))))),
            ("slm", Some(Ok(pong(0, Some(holder), Ok(evil))))),
            ("user", Some(Ok(pong(1000, None, Ok(facts))))),
            ("odd", Some(Ok(pong(0, None, Err(Unanswered("the node has no /etc/os-release".into())))))),
            ("off", Some(Err(LinkError::Refused { address: "off:22".into() }))),
            (
                "new",
                Some(Err(LinkError::UnknownHostKey {
                    address: "new".into(),
                    keyscan: "ssh-keyscan new >> ~/.ssh/known_hosts".into(),
                })),
            ),
            ("other", Some(Err(LinkError::ChangedHostKey { address: "other".into(), forget: "ssh-keygen -R other".into() }))),
            ("deaf", Some(Err(LinkError::SudoRefused { host: "deaf".into(), detail: "a password is required".into() }))),
            ("bug", None),
        ];
        let row = |(name, answer): &(&str, Option<Result<Pong, LinkError>>)| row(&Target::new(*name, *name), answer.as_ref());
        let here = super::row(&Target::local("here"), Some(&Ok(pong(0, None, Err(Unanswered("x".into()))))));
        answers.iter().map(row).chain([here]).collect()
    }

    fn table(width: Option<usize>) -> String {
        lines(&rows(), Style { colour: Colour::No, width }).join("\n")
    }

    #[test]
    fn it_fits_into_eighty_columns() {
        let shown = table(Some(80));
        assert!(shown.lines().all(|line| line.chars().count() <= 80));
        insta::assert_snapshot!(shown, @"
        HOST         CONNECT  HOST KEY  BECOME    LOCK  FACTS
        database_vm  212 ms   known     31 ms     free  1204 ms
            Debian 12 (bookworm), kernel 6.1.0-28-amd64, x86_64, 7976 MB
        slm          212 ms   known     31 ms     held  1204 ms
            evil�[31m  12, kernel 6.1.0-28-amd64, x86_64, 7976 MB
            held by ann@ci since 2026-01-01T00:00:00Z (run 20260101T000000-1)
        user         212 ms   known     uid 1000  free  1204 ms
            Debian 12 (bookworm), kernel 6.1.0-28-amd64, x86_64, 7976 MB
        odd          212 ms   known     31 ms     free  failed
            the node has no /etc/os-release
        off          failed   -         -         -     -
            `off:22` refuses the connection
            help: is sshd running there, on this port? see `ansible_port`
        new          failed   unknown   -         -     -
            the host key of `new` is not known
            help: compare the key with the node's own and remember it: `ssh-keyscan new
            >> ~/.ssh/known_hosts`; or accept unknown keys this once:
            `--accept-new-host-keys`
        other        failed   changed   -         -     -
            the host key of `other` HAS CHANGED: this is another machine, or the
            connection is intercepted
            help: only if you know that the node was installed again: `ssh-keygen -R
            other`, then accept the new key with `--accept-new-host-keys`
        deaf         ok       known     refused   -     -
            sudo on `deaf` refuses: a password is required
            help: give the password with `--ask-become-pass` or a vaulted
            `ansible_become_password`; or allow sudo without a password: `USER ALL=(ALL)
            NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
        bug          -        -         -         -     -
            autobot-provision itself failed on this host; this is a bug, please report
            it
        here         local    -         31 ms     free  failed
            x
        ");
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_host() {
        let shown = table(None);
        assert_eq!(shown.lines().count(), 11);
        insta::assert_snapshot!(shown, @"
        HOST         CONNECT  HOST KEY  BECOME    LOCK  FACTS    SYSTEM
        database_vm  212 ms   known     31 ms     free  1204 ms  Debian 12 (bookworm), kernel 6.1.0-28-amd64, x86_64, 7976 MB
        slm          212 ms   known     31 ms     held  1204 ms  evil�[31m  12, kernel 6.1.0-28-amd64, x86_64, 7976 MB; held by ann@ci since 2026-01-01T00:00:00Z (run 20260101T000000-1)
        user         212 ms   known     uid 1000  free  1204 ms  Debian 12 (bookworm), kernel 6.1.0-28-amd64, x86_64, 7976 MB
        odd          212 ms   known     31 ms     free  failed   the node has no /etc/os-release
        off          failed   -         -         -     -        `off:22` refuses the connection; help: is sshd running there, on this port? see `ansible_port`
        new          failed   unknown   -         -     -        the host key of `new` is not known; help: compare the key with the node's own and remember it: `ssh-keyscan new >> ~/.ssh/known_hosts`; or accept unknown keys this once: `--accept-new-host-keys`
        other        failed   changed   -         -     -        the host key of `other` HAS CHANGED: this is another machine, or the connection is intercepted; help: only if you know that the node was installed again: `ssh-keygen -R other`, then accept the new key with `--accept-new-host-keys`
        deaf         ok       known     refused   -     -        sudo on `deaf` refuses: a password is required; help: give the password with `--ask-become-pass` or a vaulted `ansible_become_password`; or allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
        bug          -        -         -         -     -        autobot-provision itself failed on this host; this is a bug, please report it
        here         local    -         31 ms     free  failed   x
        ");
    }

    #[test]
    fn colours_change_no_character() {
        let coloured = lines(&rows(), Style { colour: Colour::Yes, width: Some(80) }).join("\n");
        let code = regex_lite::Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
        assert!(code.find_iter(&coloured).count() > 40);
        assert_eq!(code.replace_all(&coloured, ""), table(Some(80)));
    }
}
