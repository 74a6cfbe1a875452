//! The firewall's state, from ufw's files and from the kernel. The program `ufw` is not run: it is written in Python and takes longer than all other
//! questions together.

use super::{Kind, Output, Turn, Unanswered};
use crate::{
    firewall::{Chains, Firewall, Policy, Rule},
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
}

/// The shell itself splits lines, because `while read` would take a system call for each byte. `head` starts each file on a new line. What others
/// have put into the kernel can be long, so only what concerns ufw and packets to the node is printed.
const ASK: &str = r#"
if [ ! -x "$1/usr/sbin/ufw" ]; then echo absent; return 0; fi
set -f
root=$1
set -- "$1/etc/ufw/user.rules" "$1/etc/ufw/user6.rules" "$1/etc/default/ufw" "$1/etc/ufw/ufw.conf"
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
four=0 six=0 file=''
for line in $text; do
    case $line in '==> '*' <==') file=${line#'==> '} file=${file%' <=='} file=${file#"$root"} ;; esac
    case $file in /etc/ufw/* | /etc/default/ufw) ;; *) continue ;; esac
    case $line in
        '### tuple ### '* | ENABLED=* | LOGLEVEL=* | IPV6=* | DEFAULT_*_POLICY=*) printf '%s\n' "$line" ;;
        '-A ufw-user-input '*) four=$((four + 1)) ;;
        '-A ufw6-user-input '*) six=$((six + 1)) ;;
    esac
done
printf 'kernel4 declared %s\nkernel6 declared %s\n' "$four" "$six"
PATH=$PATH:/usr/sbin:/sbin
kernel() {
    rules=$(exec "$1" -w 5 -S 2>&1) || { printf 'kernel%s failed %s\n' "$2" "${rules%%"$IFS"*}"; return 0; }
    count=0
    for line in $rules; do
        case $line in
            '-P INPUT '* | '-A INPUT '*) printf 'kernel%s %s\n' "$2" "$line" ;;
            "-N ufw$3-user-input") printf 'kernel%s loaded\n' "$2" ;;
            "-A ufw$3-before-input -j ufw$3-user-input") printf 'kernel%s linked\n' "$2" ;;
            "-A ufw$3-user-input "*) count=$((count + 1)) ;;
        esac
    done
    printf 'kernel%s rules %s\n' "$2" "$count"
}
kernel iptables 4 ''
if [ -e "$root/proc/sys/net/ipv6" ]; then kernel ip6tables 6 6; else echo 'kernel6 absent'; fi
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
        Ok("set -- \"$@\" /etc/ufw/user.rules /etc/ufw/user6.rules /etc/default/ufw /etc/ufw/ufw.conf\n".to_owned())
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

/// What the kernel says about one IP version.
#[derive(Default)]
struct Kernel {
    chains: Chains,
    /// Whether it has this IP version at all.
    absent: bool,
    /// Why it cannot be asked.
    failed: Option<String>,
}

impl Kernel {
    /// Reads a line about this IP version. `None` if it is no line of [`ASK`].
    fn read(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "absent" => self.absent = true,
            "failed" => self.failed = Some(rest.to_owned()),
            "loaded" => self.chains.loaded = true,
            "linked" => self.chains.linked = true,
            "rules" => self.chains.rules = rest.parse().ok()?,
            "declared" => self.chains.declared = rest.parse().ok()?,
            "-P" => rest.strip_prefix("INPUT ")?.clone_into(&mut self.chains.policy),
            "-A" => self.chains.input.push(rest.strip_prefix("INPUT ")?.to_owned()),
            _ => return None,
        }
        Some(())
    }
}

fn state(text: &str) -> Result<Firewall, Unanswered> {
    let mut firewall = Firewall::package_default();
    let (mut four, mut six) = (Kernel::default(), Kernel::default());
    for line in text.lines() {
        if let Some(tuple) = line.strip_prefix("### tuple ### ") {
            let rule = Rule::parse(tuple).ok_or_else(|| Unanswered(format!("ufw's rule `{tuple}` has an unknown form")))?;
            firewall.rules.push(rule);
        } else if let Some(said) = line.strip_prefix("kernel4 ").map(|said| four.read(said)) {
            said.ok_or_else(|| Unanswered(format!("the answer about the kernel's firewall is not understood: {line}")))?;
        } else if let Some(said) = line.strip_prefix("kernel6 ").map(|said| six.read(said)) {
            said.ok_or_else(|| Unanswered(format!("the answer about the kernel's firewall is not understood: {line}")))?;
        } else if let Some((key, value)) = line.split_once('=') {
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
        }
    }
    look_into_kernel(&mut firewall, &four, &six)?;
    Ok(firewall)
}

/// Compares the firewall with what the kernel has of it.
fn look_into_kernel(firewall: &mut Firewall, four: &Kernel, six: &Kernel) -> Result<(), Unanswered> {
    firewall.ipv6 &= !six.absent;
    if let Some(reason) = four.failed.as_ref().or(six.failed.as_ref()).filter(|_| firewall.enabled) {
        return Err(Unanswered(format!("the kernel's firewall could not be read: {reason}")));
    }
    firewall.loaded = four.chains.loaded || six.chains.loaded;
    firewall.ahead = [four.chains.ahead(false), six.chains.ahead(true)].concat();
    if firewall.enabled {
        let gap4 = four.chains.gap(firewall.incoming, false);
        let gap6 = match (firewall.ipv6, six.absent) {
            (true, _) => six.chains.gap(firewall.incoming, true),
            // ufw drops all packets of IPv6 if it makes no rules for them.
            (false, false) if six.chains.is_bare() => {
                Some("every IPv6 packet is let in, although `IPV6=no` means that none is".into())
            }
            (false, _) => None,
        };
        firewall.gaps = [gap4, gap6].into_iter().flatten().collect();
    }
    Ok(())
}

fn policy(line: &str, value: &str) -> Result<Policy, Unanswered> {
    Policy::from_target(value).ok_or_else(|| Unanswered(format!("`{line}` in /etc/default/ufw is not a known policy")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: i32, stdout: &[u8]) -> Result<Answer, Unanswered> {
        Ufw::read(&[&()], &Output { status, stdout: stdout.to_vec() }).remove(0)
    }

    const REAL: &str = r#"### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow tcp 6379 0.0.0.0/0 any 172.16.168.0/24 in comment=666c656574207265646973
### tuple ### allow tcp 22 ::/0 any ::/0 in
IPV6=yes
DEFAULT_INPUT_POLICY="REJECT"
DEFAULT_OUTPUT_POLICY="ACCEPT"
DEFAULT_FORWARD_POLICY="DROP"
DEFAULT_APPLICATION_POLICY="SKIP"
ENABLED=yes
LOGLEVEL=full
kernel4 declared 2
kernel6 declared 1
kernel4 -P INPUT DROP
kernel4 -A INPUT -p tcp -m tcp --dport 6379 -j ACCEPT
kernel4 -A INPUT -j ufw-before-logging-input
kernel4 -A INPUT -j ufw-before-input
kernel4 loaded
kernel4 linked
kernel4 rules 2
kernel6 -P INPUT DROP
kernel6 -A INPUT -j ufw6-before-input
kernel6 loaded
kernel6 linked
kernel6 rules 1
"#;

    fn state_of(text: &str) -> Firewall {
        let Ok(Answer::State(firewall)) = read(0, text.as_bytes()) else { panic!("{text}") };
        firewall
    }

    #[test]
    fn reads_real_files() {
        let firewall = state_of(REAL);
        assert!(firewall.enabled && firewall.ipv6 && firewall.loaded && firewall.gaps.is_empty() && !firewall.is_broken());
        assert_eq!(firewall.ahead[0].line, "-A INPUT -p tcp -m tcp --dport 6379 -j ACCEPT");
        assert_eq!((firewall.incoming, firewall.outgoing, firewall.routed), (Policy::Reject, Policy::Allow, Policy::Deny));
        assert_eq!((firewall.logging.as_str(), firewall.rules.len()), ("full", 3));
    }

    #[test]
    fn a_firewall_that_is_not_in_the_kernel_is_broken() {
        let without = |part: &str| {
            let text: String = REAL.split_inclusive('\n').filter(|line| !line.starts_with(part)).collect();
            state_of(&text)
        };
        assert_eq!(without("kernel4 loaded").gaps, ["ufw's IPv4 chains are not in the kernel"]);
        let six = without("kernel6 -A");
        assert!(six.is_broken() && six.loaded);
        assert_eq!(six.gaps, ["INPUT does not lead to ufw's IPv6 rules in the kernel"]);
        let off = REAL.replace("IPV6=yes", "IPV6=no");
        assert!(!state_of(&off).is_broken() && !state_of(&off).ipv6, "what is left of IPv6 drops all the same");
        let bare = "kernel4 -P INPUT ACCEPT\nkernel6 -P INPUT ACCEPT\nIPV6=no\n";
        assert_eq!(state_of(&format!("{bare}ENABLED=yes\n")).gaps.len(), 2);
        assert_eq!(state_of(&format!("{bare}kernel6 absent\nENABLED=yes\n")).gaps.len(), 1);
        assert!(!state_of(&format!("{bare}ENABLED=no\n")).is_broken(), "nothing is missing from a firewall that is off");
        assert!(state_of(&REAL.replace("ENABLED=yes", "ENABLED=no")).loaded, "the kernel still has it");
    }

    #[test]
    fn a_kernel_that_cannot_be_asked_is_no_answer_for_an_enabled_firewall() {
        let failed = "kernel4 failed iptables: not found\n";
        assert!(read(0, format!("ENABLED=yes\n{failed}").as_bytes()).unwrap_err().0.contains("iptables: not found"));
        assert!(!state_of(&format!("ENABLED=no\n{failed}")).enabled);
        assert!(read(0, b"kernel4 sideways\n").unwrap_err().0.contains("sideways"));
    }

    fn ask(root: &std::path::Path) -> Result<Answer, Unanswered> {
        let shell = script_below(root.to_str().unwrap()).render().unwrap();
        let path = format!("{}:/usr/bin:/bin", root.display());
        let output = std::process::Command::new("sh").arg("-c").arg(shell).env("LC_ALL", "C").env("PATH", path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        read(output.status.code().unwrap(), &output.stdout)
    }

    #[test]
    fn a_real_shell_extracts_the_lines_from_the_files() {
        use std::{fs, os::unix::fs::PermissionsExt as _};
        let node = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = node.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        assert_eq!(ask(node.path()), Ok(Answer::NotInstalled));
        write("usr/sbin/ufw", "");
        assert!(ask(node.path()).unwrap_err().0.contains("No such file or directory"));
        write(
            "etc/ufw/user.rules",
            "*filter\n\n### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n-A ufw-user-input * $(reboot)\n",
        );
        write("etc/ufw/user6.rules", "### RULES ###\n### tuple ### allow tcp 22 ::/0 any ::/0 in\n");
        write("etc/default/ufw", "# IPV6=maybe\nIPV6=no\nDEFAULT_INPUT_POLICY=\"ACCEPT\"");
        write("etc/ufw/ufw.conf", "ENABLED=yes\nLOGLEVEL=off");
        write("iptables", "#!/bin/sh\necho 'iptables: no permission'; echo second; exit 3");
        assert!(ask(node.path()).unwrap_err().0.ends_with("could not be read: iptables: no permission"));
        let kernel = "#!/bin/sh
[ \"$*\" = '-w 5 -S' ] || exit 9
echo \"-P INPUT ACCEPT\n-P OUTPUT DROP\n-N ufwV-user-input\n-N f2b\"
echo \"-A INPUT -p tcp -m comment --comment \\\"* \\$(reboot)\\\" -j ACCEPT\n-A INPUT -j ufwV-before-input\n-A FORWARD -j ACCEPT\"
echo \"-A ufwV-before-input -j ufwV-user-input\n-A ufwV-user-input -p tcp -m tcp --dport 22 -j ACCEPT\"";
        write("iptables", &kernel.replace('V', ""));
        let Ok(Answer::State(firewall)) = ask(node.path()) else { panic!() };
        assert!(firewall.enabled && !firewall.ipv6 && firewall.incoming == Policy::Allow && firewall.logging == "off");
        assert_eq!(firewall.rules.len(), 2);
        assert_eq!(firewall.ahead[0].line, r#"-A INPUT -p tcp -m comment --comment "* $(reboot)" -j ACCEPT"#);
        assert!(firewall.loaded && firewall.gaps.is_empty(), "{:?}", firewall.gaps);
        // With IPv6, the second program is asked.
        write("proc/sys/net/ipv6/x", "");
        write("ip6tables", &kernel.replace('V', "6"));
        write("etc/default/ufw", "IPV6=yes\nDEFAULT_INPUT_POLICY=DROP\n");
        write("etc/ufw/user6.rules", "-A ufw6-user-input -j ACCEPT\n-A ufw6-user-input -j DROP\n");
        let Ok(Answer::State(firewall)) = ask(node.path()) else { panic!() };
        assert_eq!(
            firewall.gaps,
            ["the IPv4 policy of INPUT is ACCEPT in the kernel", "the IPv6 policy of INPUT is ACCEPT in the kernel"]
        );
        assert_eq!(firewall.ahead.len(), 2);
    }

    #[test]
    fn unreadable_files_are_no_answer() {
        for (status, stdout, reason) in [
            (1, b"cat: /etc/ufw/user.rules: No such file or directory\n".as_slice(), "No such file"),
            (0, b"### tuple ### something new\n", "`something new`"),
            (0, b"DEFAULT_INPUT_POLICY=MAYBE\n", "MAYBE"),
            (0, b"ENABLED=yes\xff\n", "not UTF-8 text"),
        ] {
            assert!(read(status, stdout).unwrap_err().0.contains(reason));
        }
        assert_eq!(read(0, b"absent\n"), Ok(Answer::NotInstalled));
    }
}
