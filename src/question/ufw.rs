//! What ufw's files say. The files only: ufw itself is Python, and takes longer than everything else together.

use super::{Kind, Output, Unanswered};
use crate::{
    firewall::{Firewall, Policy, Rule},
    script::Script,
};

/// Marker for the kind "the firewall".
#[derive(Debug)]
pub struct Ufw;

/// Whether there is a firewall, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// No `/usr/sbin/ufw`.
    NotInstalled,
    /// Installed.
    State(Firewall),
}

/// Splits in the shell itself: `while read` would cost a system call per byte.
const ASK: &str = r#"
if [ ! -x /usr/sbin/ufw ]; then echo absent; exit 0; fi
set -f
rules=$(cat /etc/ufw/user.rules /etc/ufw/user6.rules 2>&1) || { printf '%s\n' "$rules"; exit 1; }
defaults=$(cat /etc/default/ufw 2>&1) || { printf '%s\n' "$defaults"; exit 1; }
state=$(cat /etc/ufw/ufw.conf 2>&1) || { printf '%s\n' "$state"; exit 1; }
IFS='
'
for line in $rules $defaults $state; do
    case $line in
        '### tuple ### '* | ENABLED=* | LOGLEVEL=* | IPV6=* | DEFAULT_*_POLICY=*) printf '%s\n' "$line" ;;
    esac
done
"#;

impl Kind for Ufw {
    type Key = ();
    type Answer = Answer;
    const NAME: &'static str = "ufw";

    fn script(_: &[&()]) -> Script {
        Script::new(ASK)
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Answer, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("the firewall", keys.len());
        }
        let answer = match String::from_utf8(output.stdout.clone()) {
            Ok(text) if text.trim() == "absent" => Ok(Answer::NotInstalled),
            Ok(text) => state(&text).map(Answer::State),
            Err(_) => Err(Unanswered("ufw's files hold something that is not text".into())),
        };
        keys.iter().map(|()| answer.clone()).collect()
    }
}

fn state(text: &str) -> Result<Firewall, Unanswered> {
    let mut firewall = Firewall::fresh();
    for line in text.lines() {
        if let Some(tuple) = line.strip_prefix("### tuple ### ") {
            let rule =
                Rule::parse(tuple).ok_or_else(|| Unanswered(format!("ufw's rule `{tuple}` is in a form that is not known")))?;
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
    Policy::from_target(value).ok_or_else(|| Unanswered(format!("`{line}` in /etc/default/ufw is not a policy that is known")))
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

    #[test]
    fn what_it_cannot_read_is_no_answer() {
        for (status, stdout, reason) in [
            (1, b"cat: /etc/ufw/user.rules: No such file or directory\n".as_slice(), "No such file"),
            (0, b"### tuple ### something new\n", "`something new`"),
            (0, b"DEFAULT_INPUT_POLICY=MAYBE\n", "MAYBE"),
            (0, b"ENABLED=yes\xff\n", "not text"),
        ] {
            assert!(read(status, stdout).unwrap_err().0.contains(reason));
        }
        assert_eq!(read(0, b"absent\n"), Ok(Answer::NotInstalled));
    }
}
