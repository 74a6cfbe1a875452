//! The firewall's state, from ufw's files and from the kernel. The program `ufw` is not run: it is written in Python and takes longer than all other
//! questions together.

use super::{Kind, Output, Turn, Unanswered};
use crate::{
    firewall::{Firewall, Line, OnFile, Packets, Policy, Rule},
    script::{NulByte, Script},
};

/// Marker for the kind "the firewall".
#[derive(Debug)]
pub struct Ufw;

/// The state of the firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is no `/usr/sbin/ufw`.
    NotInstalled,
    /// ufw is installed, with this configuration.
    State(Firewall),
}

impl Answer {
    /// Returns that the node's ports are not guarded as ufw's files say, and the ways out.
    #[must_use]
    pub fn unguarded(&self) -> Option<String> {
        match self {
            Self::NotInstalled => None,
            Self::State(firewall) => firewall.unguarded(),
        }
    }

    /// Whether ufw is enabled, and the kernel does not do as its files say.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::State(firewall) if firewall.is_broken())
    }
}

/// The shell itself splits lines, because `while read` would take a system call for each byte. `head` starts each file on a new line, and names it.
/// What others have put into the kernel can be long, so only what a packet to the node can come to is printed, and no ICMP, which has no ports: a
/// chain is printed when a rule leads to it from one that is. The rules of users are printed also where nothing leads to them.
const ASK: &str = r#"
if [ ! -x "$1/usr/sbin/ufw" ]; then echo absent; return 0; fi
set -f
root=$1 dir=$1/etc/ufw
set -- "$dir/user.rules" "$dir/user6.rules" "$dir/before.rules" "$dir/before6.rules" "$dir/after.rules" "$dir/after6.rules"
set -- "$@" "$root/etc/default/ufw" "$dir/ufw.conf"
text=${files-}
for file do
    case $text in *"==> $file <=="*) ;; *) text='' ;; esac
done
[ -n "$text" ] || text=$(exec head -v -c 1048576 -- "$@" 2>&1) || {
    case $text in *'head: '*) text="head: ${text#*head: }" ;; esac
    printf '%s\n' "$text"
    return 1
}
IFS='
'
rule() {
    chain=${1#-? }
    chain=${chain%% *}
    case $1 in *'"'* | *"'"* | *' ! '*) ;; *' -p icmp '* | *' -p icmpv6 '* | *' -p ipv6-icmp '*) return 0 ;; esac
    case $2 in *"|$chain|"*) printf '%s\n' "$1" ;; esac
}
file=''
for line in $text; do
    case $line in '==> '*' <==') file=${line#'==> '} file=${file%' <=='} file=${file#"$root"} ;; esac
    case $file in /etc/ufw/* | /etc/default/ufw) ;; *) continue ;; esac
    case $line in
        '==> '*' <==') printf 'file %s\n' "$file" ;;
        '### tuple ### '* | ENABLED=* | LOGLEVEL=* | IPV6=* | DEFAULT_*_POLICY=*) printf '%s\n' "$line" ;;
        '-A '* | '-I '*)
            chain=${line#-? }
            chain=${chain%% *}
            case $chain in ufw*-output | ufw*-forward) ;; *) rule "$line" "|$chain|" ;; esac
            ;;
    esac
done
PATH=$PATH:/usr/sbin:/sbin
kernel() {
    printf 'kernel %s\n' "$2"
    rules=$(exec "$1" -w 5 -S 2>&1) || { printf 'failed %s\n' "${rules%%"$IFS"*}"; return 0; }
    chains="|INPUT|ufw$3-user-input|" grown=yes
    while [ -n "$grown" ]; do
        grown=
        for line in $rules; do
            case $line in '-A '*' -'[jg]' '*) ;; *) continue ;; esac
            chain=${line#-A } next=${line##* -[jg] }
            chain=${chain%% *} next=${next%% *}
            case $chains in *"|$next|"*) ;; *"|$chain|"*) chains="$chains$next|" grown=yes ;; esac
        done
    done
    for line in $rules; do
        case $line in
            '-P INPUT '*) printf '%s\n' "$line" ;;
            '-N '*) case $chains in *"|${line#-N }|"*) printf '%s\n' "$line" ;; esac ;;
            '-A '*) rule "$line" "$chains" ;;
        esac
    done
}
kernel iptables 4 ''
if [ -e "$root/proc/sys/net/ipv6" ]; then kernel ip6tables 6 6; else printf 'kernel 6\nabsent\n'; fi
"#;

/// Returns the script for files below `root`, which is empty except in tests.
fn script_below(root: &str) -> Script {
    Script::new(ASK).arg(root)
}

impl Kind for Ufw {
    type Key = ();
    type Answer = Answer;
    const NAME: &'static str = "ufw";
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;

    fn reads(_: &[&()]) -> Result<String, NulByte> {
        let rules = ["user", "user6", "before", "before6", "after", "after6"].map(|name| format!("/etc/ufw/{name}.rules"));
        Ok(format!("set -- \"$@\" {} /etc/default/ufw /etc/ufw/ufw.conf\n", rules.join(" ")))
    }

    fn script(_: &[&()]) -> Script {
        script_below("")
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Answer, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("the firewall", keys.len());
        }
        let answer = match String::from_utf8(output.stdout.clone()) {
            Ok(text) if text.trim() == "absent" => Ok(Answer::NotInstalled),
            Ok(text) => state(&text).map(Answer::State),
            Err(_) => Err(Unanswered("ufw's files contain bytes that are not UTF-8 text".into())),
        };
        keys.iter().map(|()| answer.clone()).collect()
    }
}

/// What is known about one IP version.
#[derive(Default)]
struct Version {
    packets: Packets,
    /// Whether the kernel has this IP version at all.
    absent: bool,
    /// Why the kernel cannot be asked.
    failed: Option<String>,
}

impl Version {
    fn new(v6: bool) -> Self {
        Self { packets: Packets { v6, ..Packets::default() }, ..Self::default() }
    }

    /// Reads a line about the kernel. `None` if it is no line of [`ASK`].
    fn read(&mut self, line: &str) -> Option<()> {
        if line == "absent" {
            self.absent = true;
        } else if let Some(reason) = line.strip_prefix("failed ") {
            self.failed = Some(reason.to_owned());
        } else {
            self.packets.read(line)?;
        }
        Some(())
    }

    /// Completes the firewall with this IP version; without a policy ufw makes no rules for it.
    fn look_into_kernel(&self, firewall: &mut Firewall, incoming: Option<Policy>) {
        firewall.loaded |= self.packets.is_loaded();
        firewall.others.extend(self.packets.others(firewall.enabled, incoming));
        if firewall.enabled && !self.absent {
            firewall.gaps.extend(self.packets.gaps(incoming));
        }
    }
}

/// What the lines that follow are about.
enum Part<'text> {
    File(&'text str),
    Kernel { v6: bool },
}

fn state(text: &str) -> Result<Firewall, Unanswered> {
    let mut firewall = Firewall::package_default();
    let (mut four, mut six) = (Version::new(false), Version::new(true));
    // The rule that ufw shows for the lines that follow.
    let mut shown = None;
    let mut part = Part::File("");
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("file ") {
            (part, shown) = (Part::File(path), None);
            continue;
        } else if let Some(number) = line.strip_prefix("kernel ") {
            part = Part::Kernel { v6: number == "6" };
            continue;
        }
        match part {
            Part::Kernel { v6 } => {
                let version = if v6 { &mut six } else { &mut four };
                version
                    .read(line)
                    .ok_or_else(|| Unanswered(format!("the answer about the kernel's firewall is not understood: {line}")))?;
            }
            Part::File(path) => {
                if let Some(tuple) = line.strip_prefix("### tuple ### ") {
                    let rule =
                        Rule::parse(tuple).ok_or_else(|| Unanswered(format!("ufw's rule `{tuple}` has an unknown form")))?;
                    shown = Some(rule.clone());
                    firewall.rules.push(rule);
                } else if line.starts_with("-A ") || line.starts_with("-I ") {
                    let v6 = path.ends_with("6.rules");
                    let version = if v6 { &mut six } else { &mut four };
                    let on_file = Line::parse(line, v6).map(|line| OnFile::new(path, line, shown.as_ref()));
                    version.packets.files.extend(on_file);
                } else if let Some((key, value)) = line.split_once('=') {
                    set(&mut firewall, line, key, value)?;
                }
            }
        }
    }
    firewall.ipv6 &= !six.absent;
    if let Some(reason) = four.failed.as_ref().or(six.failed.as_ref()).filter(|_| firewall.enabled) {
        return Err(Unanswered(format!("the kernel's firewall could not be read: {reason}")));
    }
    let incoming = firewall.incoming;
    four.look_into_kernel(&mut firewall, Some(incoming));
    let incoming = Some(incoming).filter(|_| firewall.ipv6);
    six.look_into_kernel(&mut firewall, incoming);
    Ok(firewall)
}

/// Reads a setting of ufw's files.
fn set(firewall: &mut Firewall, line: &str, key: &str, value: &str) -> Result<(), Unanswered> {
    let value = value.trim().trim_matches(['"', '\'']);
    let yes = value.eq_ignore_ascii_case("yes");
    match key {
        "ENABLED" => firewall.enabled = yes,
        "IPV6" => firewall.ipv6 = yes,
        "LOGLEVEL" => value.clone_into(&mut firewall.logging),
        "DEFAULT_INPUT_POLICY" => firewall.incoming = policy(line, value)?,
        "DEFAULT_OUTPUT_POLICY" => firewall.outgoing = policy(line, value)?,
        "DEFAULT_FORWARD_POLICY" => firewall.routed = policy(line, value)?,
        _ => {}
    }
    Ok(())
}

fn policy(line: &str, value: &str) -> Result<Policy, Unanswered> {
    Policy::from_target(value).ok_or_else(|| Unanswered(format!("`{line}` in /etc/default/ufw is not a known policy")))
}

/// What nodes of Debian 12 with ufw say, and what it would be after an `iptables` command.
#[cfg(test)]
pub(crate) mod said {
    use super::{Firewall, state};

    /// SSH is open to all hosts, Redis to 198.18.0.0/16.
    pub(crate) const PLAIN: &str = include_str!("ufw/fixture/plain");
    /// Rules in all forms that ufw has.
    pub(crate) const FORMS: &str = include_str!("ufw/fixture/forms");

    pub(crate) fn firewall(text: &str) -> Firewall {
        state(text).unwrap()
    }

    /// Does as `iptables` (`ip6tables` with `v6`) does with a line that begins with `-A` or `-I`.
    pub(crate) fn after(text: &str, v6: bool, line: &str) -> String {
        let (head, four, six) = {
            let (head, kernel) = text.split_once("kernel 4\n").unwrap();
            let (four, six) = kernel.split_once("kernel 6\n").unwrap();
            (head, four, six)
        };
        let changed = |text: &str| {
            let appended = line.replacen("-I ", "-A ", 1);
            let start = appended.split(' ').take(2).fold(String::new(), |start, word| start + word + " ");
            let mut lines: Vec<&str> = text.lines().collect();
            let of_chain = |line: &&str| line.starts_with(&start);
            let first = lines.iter().position(of_chain).unwrap_or(lines.len());
            let at =
                if line.starts_with("-I ") { first } else { lines.iter().rposition(of_chain).map_or(first, |last| last + 1) };
            lines.insert(at, &appended);
            lines.join("\n") + "\n"
        };
        let (four, six) = if v6 { (four.to_owned(), changed(six)) } else { (changed(four), six.to_owned()) };
        format!("{head}kernel 4\n{four}kernel 6\n{six}")
    }
}

#[cfg(test)]
mod tests;
