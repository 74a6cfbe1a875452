//! The firewall's state, from ufw's files. The program `ufw` is not run: it is written in Python and takes longer than all other questions together.

use super::{Kind, Output, SharedShell, Unanswered};
use crate::{
    firewall::{Firewall, Policy, Rule},
    script::Script,
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

/// The shell itself splits lines, because `while read` would take a system call for each byte. `head` starts each file on a new line.
const ASK: &str = r#"
if [ ! -x "$1/usr/sbin/ufw" ]; then echo absent; exit 0; fi
set -f
set -- "$1/etc/ufw/user.rules" "$1/etc/ufw/user6.rules" "$1/etc/default/ufw" "$1/etc/ufw/ufw.conf"
files=$(head -v -c 1048576 -- "$@" 2>&1) || { case $files in *'head: '*) files="head: ${files#*head: }" ;; esac; printf '%s\n' "$files"; exit 1; }
IFS='
'
for line in $files; do
    case $line in
        '### tuple ### '* | ENABLED=* | LOGLEVEL=* | IPV6=* | DEFAULT_*_POLICY=*) printf '%s\n' "$line" ;;
    esac
done
"#;

/// Returns the script for files below `root`, which is empty except in tests.
fn script_below(root: &str) -> Script {
    Script::new(ASK).arg(root)
}

impl Kind for Ufw {
    type Key = ();
    type Answer = Answer;
    const NAME: &'static str = "ufw";
    const SHARED_SHELL: SharedShell = SharedShell::Files;

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

fn state(text: &str) -> Result<Firewall, Unanswered> {
    let mut firewall = Firewall::package_default();
    for line in text.lines() {
        if let Some(tuple) = line.strip_prefix("### tuple ### ") {
            let rule = Rule::parse(tuple).ok_or_else(|| Unanswered(format!("ufw's rule `{tuple}` has an unknown form")))?;
            firewall.rules.push(rule);
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
    Ok(firewall)
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
"#;

    #[test]
    fn reads_real_files() {
        let Ok(Answer::State(firewall)) = read(0, REAL.as_bytes()) else { panic!() };
        assert!(firewall.enabled && firewall.ipv6);
        assert_eq!((firewall.incoming, firewall.outgoing, firewall.routed), (Policy::Reject, Policy::Allow, Policy::Deny));
        assert_eq!((firewall.logging.as_str(), firewall.rules.len()), ("full", 3));
    }

    fn ask(root: &std::path::Path) -> Result<Answer, Unanswered> {
        let shell = script_below(root.to_str().unwrap()).render().unwrap();
        let output = std::process::Command::new("sh").arg("-c").arg(shell).env("LC_ALL", "C").output().unwrap();
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
        let Ok(Answer::State(firewall)) = ask(node.path()) else { panic!() };
        assert!(firewall.enabled && !firewall.ipv6 && firewall.incoming == Policy::Allow && firewall.logging == "off");
        assert_eq!(firewall.rules.len(), 2);
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
