//! The way back for a change that could end the way in: copies of what lets the account of a run log in and become root, and a unit on the node that
//! puts them back by itself unless the run proves that the way in still works.
//!
//! While the unit is armed, it reads the time of the last beat in the lock of the run that armed it, and acts a minute after it, or at once after a
//! reboot. It holds the node meanwhile, and leaves a report for the next run. Its state is root's alone, 0700 below [`DIRECTORY`].

use crate::{
    script::{RUN_DIRECTORY, Script, condensed},
    values::RemotePath,
};

use std::collections::BTreeSet;

use super::{kept, way::WAY};

/// The directory of the copies while there are any. The report of a way in that went back lies beside it, as `way-in.reverted`.
pub const DIRECTORY: &str = "/var/lib/autobot-provision/way-in";

/// How long the unit waits after the last beat of its run, in seconds.
const LEASE: u32 = 60;

/// What decides, on any node, whether a login arrives and whether sudo makes it root. Without the leading slash.
pub const TREES: &[&str] = &[
    "etc/ssh",
    "etc/default/ssh",
    "etc/sudoers",
    "etc/sudoers.d",
    "etc/sudo.conf",
    "etc/nologin",
    "etc/sssd",
    "etc/krb5.conf",
    "etc/nslcd.conf",
    "etc/ldap",
    "etc/pam.conf",
    "etc/pam.d",
    "etc/security",
    "etc/nsswitch.conf",
    "etc/hosts",
    "etc/hosts.allow",
    "etc/hosts.deny",
    "etc/resolv.conf",
    "etc/shells",
    "etc/login.defs",
    "etc/environment",
    "etc/profile",
    "etc/profile.d",
    "etc/bash.bashrc",
    "etc/network",
    "etc/netplan",
    "etc/NetworkManager",
    "etc/systemd/network",
    "etc/systemd/resolved.conf",
    "etc/systemd/resolved.conf.d",
    "etc/systemd/system/networking.service.d",
    "etc/systemd/system/systemd-networkd.service.d",
    "etc/systemd/system/systemd-resolved.service.d",
    "etc/systemd/system/NetworkManager.service.d",
    "etc/systemd/system/ufw.service.d",
    "etc/systemd/system/nftables.service.d",
    "etc/dhcp",
    "etc/dhcpcd.conf",
    "etc/wireguard",
    "etc/systemd/system/ssh.service",
    "etc/systemd/system/ssh.service.d",
    "etc/systemd/system/ssh.socket",
    "etc/systemd/system/ssh.socket.d",
    "etc/systemd/system/sshd.service",
    "etc/systemd/system/sshd.service.d",
    "etc/ufw",
    "etc/default/ufw",
    "etc/nftables.conf",
    "etc/nftables.d",
    "etc/firewalld",
    "etc/iptables",
    "etc/sysctl.conf",
    "etc/sysctl.d",
];

/// The units that let logins arrive, without the ending `.service`: their state is kept, and a handler that restarts one makes a change of its files live.
pub const UNITS: &[&str] = &[
    "ssh",
    "sshd",
    "ssh.socket",
    "sshd.socket",
    "networking",
    "systemd-networkd",
    "NetworkManager",
    "systemd-resolved",
    "ufw",
    "nftables",
    "netfilter-persistent",
    "firewalld",
    "fail2ban",
    "sssd",
];

/// What the node has of this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WayInState {
    /// Whether the unit of an interrupted run is armed.
    pub armed: bool,
    /// Whether there are copies that are less than a day old: older ones would undo what was changed since.
    pub kept: bool,
    /// The handlers, by the names of their marks, that make what was changed live.
    pub owed: BTreeSet<String>,
    /// What the node put back by itself, if it did.
    pub reverted: Option<Reverted>,
}

/// What a node put back by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reverted {
    /// The run that had armed it.
    pub run_id: String,
    /// Who had started that run, as `user@controller`.
    pub who: String,
    /// What went back: paths, and words about units, rules and accounts.
    pub what: Vec<String>,
}

impl Reverted {
    /// Returns what went back as one text.
    #[must_use]
    pub fn list(&self) -> String {
        list(&self.what)
    }
}

/// Returns what went back, with paths in backticks.
#[must_use]
pub fn list(what: &[String]) -> String {
    let shown = |one: &String| if one.starts_with('/') { format!("`{one}`") } else { one.clone() };
    if what.is_empty() { "nothing had changed".to_owned() } else { what.iter().map(shown).collect::<Vec<_>>().join(", ") }
}

/// Reads the words `armed`, `kept`, `owed MARK` and `reverted`, a line each; after the last come the run and who started it, then what went back, a line each.
pub fn read<'a>(mut lines: impl Iterator<Item = &'a str>) -> WayInState {
    let mut state = WayInState::default();
    while let Some(line) = lines.next() {
        match line {
            "armed" => state.armed = true,
            "kept" => state.kept = true,
            _ if line.starts_with("owed ") => drop(state.owed.insert(line["owed ".len()..].to_owned())),
            _ => {
                let (run_id, who) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("?", "?"));
                let what = lines.by_ref().map(str::to_owned).collect();
                state.reverted = Some(Reverted { run_id: run_id.to_owned(), who: who.to_owned(), what });
            }
        }
    }
    state
}

/// Fails with the reason where a node could not put the way in back by itself.
#[must_use]
pub fn can_arm() -> Script {
    const CAN_ARM: &str = r"[ -d /run/systemd/system ] || {
  echo 'without systemd this node could not put its way in back by itself; `revert: never` at a task goes without that' >&2
  exit 1
}";
    Script::new(CAN_ARM)
}

/// Copies what lets the account in, unless there are copies, and arms the unit. `anew` drops older copies first.
#[must_use]
pub fn arm(anew: bool) -> Script {
    const ARM: &str = r#"set -eu
umask 077
state=$1
mkdir -p -m 0700 -- "${state%/*}"
# Another try of the same run goes back to what was before its first one.
[ -z "$3" ] || [ "$(head -n 1 -- "$state/holder" 2>/dev/null)" = "$(head -n 1 -- "$4")" ] || rm -rf -- "$state"
if [ ! -e "$state/kept" ]; then
  rm -rf -- "$state"
  mkdir -m 0700 -- "$state"
  printf '%s' "$2" >"$state/revert"
  sh "$state/revert" keep
  : >"$state/kept"
fi
[ -e "$state/armed" ] || sh "$state/revert" note
exec sh "$state/revert" arm"#;
    let lock = format!("{RUN_DIRECTORY}/lock");
    Script::new(ARM).args([DIRECTORY, &program("", LEASE), if anew { "anew" } else { "" }, &lock])
}

/// Disarms the unit. With the marks of handlers that make the change live later, the copies stay for them, and go back if the node boots before.
#[must_use]
pub fn disarm<'a>(owed: impl IntoIterator<Item = &'a str>) -> Script {
    const DISARM: &str = r#"revert=$1/revert
shift
[ ! -e "$revert" ] || exec sh "$revert" disarm "$@""#;
    Script::new(DISARM).arg(DIRECTORY).args(owed)
}

/// What was changed to stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The entry at a path.
    Path(RemotePath),
    /// The account of the run, or a group.
    Account,
}

/// Takes what was changed to stay as it is now into the copies, if there are any.
#[must_use]
pub fn accept(what: &Accepted) -> Script {
    let what = match what {
        Accepted::Path(path) => path.as_str(),
        Accepted::Account => "account",
    };
    Script::new("[ ! -e \"$1/revert\" ] || exec sh \"$1/revert\" accept \"$2\"").args([DIRECTORY, what])
}

/// Puts everything back at once, and prints what, a line each.
#[must_use]
pub fn put_back_now() -> Script {
    Script::new("exec sh \"$1/revert\" now").arg(DIRECTORY)
}

/// Prints for [`read`] whether the unit is armed, and the report. The report is removed: the run that asks for it tells it.
#[must_use]
pub fn report() -> Script {
    const REPORT: &str = r#"[ ! -e "$1/armed" ] || echo armed
[ -f "$1.reverted" ] || exit 0
echo reverted
cat <"$1.reverted"
rm -f -- "$1.reverted""#;
    Script::new(REPORT).arg(DIRECTORY)
}

/// Removes the report of what the node put back.
#[must_use]
pub fn forget_report() -> Script {
    Script::new("rm -f -- \"$1.reverted\"").arg(DIRECTORY)
}

/// Returns the program of the node. `root` stands before all paths but those of its state.
fn program(root: &str, lease: u32) -> String {
    let text = include_str!("way_in.sh");
    let (keep, put_back) = (kept::KEEP, kept::PUT_BACK);
    let full = |unit: &&str| if unit.contains('.') { (*unit).to_owned() } else { format!("{unit}.service") };
    let units: Vec<String> = UNITS.iter().map(full).collect();
    let (trees, units) = (TREES.join(" "), units.join(" "));
    let run = format!("{root}{RUN_DIRECTORY}");
    let settings =
        format!("root='{root}' lease={lease} lock='{run}/lock' jobs='{run}/jobs/lock'\ntrees='{trees}'\nunits='{units}'");
    condensed(&format!("{settings}\n{WAY}\nkeep_files() (\n{keep}\n)\nput_back_files() (\n{put_back}\n)\n{text}"))
}

#[cfg(test)]
#[path = "way_in_tests.rs"]
mod tests;
