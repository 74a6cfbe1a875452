//! Host names with ranges and ports: `db[01:20].lan`, `[a:c][1:9:2]`, `db1:2222`.

use std::net::Ipv6Addr;

use crate::source::{Diagnostic, Span};

/// The most hosts that a name, and all names of an inventory, may expand to: more than any fleet has.
pub(super) const MAX_HOSTS: usize = 100_000;

/// Why a host name is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("`{0}` is not a valid host name")]
    Name(String),
    #[error("`{0}` is not a valid range of hosts")]
    Range(String, &'static str),
    #[error("`{0}` is not a valid port")]
    Port(String),
}

impl NameError {
    pub(super) fn into_diagnostic(self, span: &Span) -> Diagnostic {
        let error = Diagnostic::error(self.to_string()).at(span.clone());
        match self {
            Self::Name(_) => error.label("use letters, digits, `-`, `_`, `.` and ranges such as `[01:20]`"),
            Self::Range(_, why) => error.label(why).help("write `[01:20]`, `[1:9:2]` or `[a:c]`"),
            Self::Port(_) => error.label("a port is a number from 1 to 65535"),
        }
    }
}

/// Expands a name with ranges; also returns the port after it.
pub(super) fn hosts(pattern: &str) -> Result<(Vec<String>, Option<u16>), NameError> {
    let (name, port) = split_port(pattern)?;
    let names = if is_ipv6(name) { vec![name.to_owned()] } else { expand(name)? };
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => Err(NameError::Name(name.escape_debug().to_string())),
        None => Ok((names, port)),
    }
}

/// Checks a name that must contain neither ranges nor a port.
pub(super) fn single(name: &str) -> Result<(), NameError> {
    if is_name(name) { Ok(()) } else { Err(NameError::Name(name.escape_debug().to_string())) }
}

/// Whether a name is safe to use. A name that starts with `-` would be an option for ssh.
fn is_name(name: &str) -> bool {
    let is_hostile =
        |character: char| character.is_whitespace() || character.is_control() || "[]'\"`$;&|<>(){}*?!,=/\\#~".contains(character);
    !name.is_empty() && !name.starts_with('-') && !name.contains(is_hostile)
}

/// Whether this is an IPv6 address, perhaps with its zone: `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "zone"));
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && !zone.contains([':', '%'])
}

fn split_port(pattern: &str) -> Result<(&str, Option<u16>), NameError> {
    if is_ipv6(pattern) {
        return Ok((pattern, None));
    }
    if let Some((address, rest)) = pattern.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        && (is_ipv6(address) || (rest.starts_with(':') && !address.contains([':', '['])))
    {
        let port = rest.strip_prefix(':').map(port).transpose()?;
        return if port.is_some() || rest.is_empty() { Ok((address, port)) } else { Err(NameError::Name(pattern.into())) };
    }
    if pattern.starts_with('[') && pattern.contains("]:") {
        let why = "a name that begins with a range cannot have a port: set `ansible_port`";
        return Err(NameError::Range(pattern.to_owned(), why));
    }
    match pattern.rsplit_once(':') {
        Some((name, digits)) if !digits.contains(']') => Ok((name, Some(port(digits)?))),
        _ => Ok((pattern, None)),
    }
}

fn port(digits: &str) -> Result<u16, NameError> {
    digits.parse().ok().filter(|port| *port > 0).ok_or_else(|| NameError::Port(digits.to_owned()))
}

fn expand(name: &str) -> Result<Vec<String>, NameError> {
    let mut expanded = vec![String::new()];
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('[') {
        let invalid = |why| NameError::Range(name.to_owned(), why);
        let (range, after) = after.split_once(']').ok_or_else(|| invalid("a `]` is missing"))?;
        let steps = steps(range).map_err(invalid)?;
        if expanded.len().saturating_mul(steps.len()) > MAX_HOSTS {
            return Err(invalid("more than 100000 hosts"));
        }
        let with = |start: &String| steps.iter().map(|step| format!("{start}{before}{step}")).collect::<Vec<_>>();
        expanded = expanded.iter().flat_map(with).collect();
        rest = after;
    }
    Ok(expanded.into_iter().map(|start| start + rest).collect())
}

/// Expands the text in the brackets (`01:20`, `a:c`, `1:9:2`). The end is inclusive, and an omitted beginning is 0.
fn steps(range: &str) -> Result<Vec<String>, &'static str> {
    let parts: Vec<&str> = range.split(':').collect();
    let (first, last, step) = match parts[..] {
        [first, last] => (if first.is_empty() { "0" } else { first }, last, 1),
        [first, last, step] => {
            (if first.is_empty() { "0" } else { first }, last, step.parse().map_err(|_| "the step is not a number")?)
        }
        _ => return Err("a range is `[first:last]` or `[first:last:step]`"),
    };
    if step == 0 {
        return Err("the step is 0");
    }
    if let (Ok(from), Ok(to)) = (first.parse::<u32>(), last.parse::<u32>()) {
        let is_padded = first.len() > 1 && first.starts_with('0');
        if is_padded && first.len() != last.len() {
            return Err("with leading zeros, both ends need the same number of digits");
        }
        let width = if is_padded { first.len() } else { 0 };
        return match (from <= to, ((to.saturating_sub(from)) as usize) / step < MAX_HOSTS) {
            (false, _) => Err("the first value is greater than the last"),
            (_, false) => Err("more than 100000 hosts"),
            (true, true) => Ok((from..=to).step_by(step).map(|number| format!("{number:0width$}")).collect()),
        };
    }
    // In Ansible's order, A-Z follow a-z.
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
    let index = |end: &str| letters.iter().position(|character| end.len() == 1 && end.starts_with(*character));
    match (index(first), index(last)) {
        (Some(from), Some(to)) if from <= to => Ok(letters[from..=to].iter().step_by(step).map(char::to_string).collect()),
        (Some(_), Some(_)) => Err("the first value is greater than the last"),
        _ => Err("both ends must be numbers or single letters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str) -> String {
        hosts(pattern).map_or_else(|error| error.to_string(), |(names, port)| format!("{} {port:?}", names.join(" ")))
    }

    #[test]
    fn ranges_expand_as_ansible_expands_them() {
        assert_eq!(names("web[01:03].lan"), "web01.lan web02.lan web03.lan None");
        assert_eq!(names("db[a:c]"), "dba dbb dbc None");
        assert_eq!(names("n[1:9:4]"), "n1 n5 n9 None");
        assert_eq!(names("n[:2]"), "n0 n1 n2 None");
        assert_eq!(names("n[8:11]"), "n8 n9 n10 n11 None");
        assert_eq!(names("r[1:2]n[x:z:2]"), "r1nx r1nz r2nx r2nz None");
    }

    #[test]
    fn ports_are_split_off_and_addresses_are_left_whole() {
        assert_eq!(names("db1:2222"), "db1 Some(2222)");
        assert_eq!(names("n[1:2]:22"), "n1 n2 Some(22)");
        assert_eq!(names("2001:db8::1"), "2001:db8::1 None");
        assert_eq!(names("[2001:db8::1]:22"), "2001:db8::1 Some(22)");
        assert_eq!(names("fe80::1%eth0"), "fe80::1%eth0 None");
        assert_eq!(names("[fe80::1%eth0]:22"), "fe80::1%eth0 Some(22)");
        for wrong in ["fe80::1%", "fe80::1%$(id)", "fe80::1%-"] {
            assert_eq!(hosts(wrong).is_ok(), wrong.ends_with("%-"), "{wrong}");
        }
        assert_eq!(names("db1:ssh"), "`ssh` is not a valid port");
        assert_eq!(names("db1:99999"), "`99999` is not a valid port");
    }

    #[test]
    fn invalid_ranges_are_refused_with_the_reason() {
        let why = |pattern: &str| match hosts(pattern) {
            Err(NameError::Range(_, why)) => why,
            other => panic!("{pattern}: {other:?}"),
        };
        assert_eq!(why("n[1:2"), "a `]` is missing");
        assert_eq!(why("n[3:1]"), "the first value is greater than the last");
        assert_eq!(why("n[c:a]"), "the first value is greater than the last");
        assert_eq!(why("n[01:100]"), "with leading zeros, both ends need the same number of digits");
        assert_eq!(why("n[1:9:0]"), "the step is 0");
        assert_eq!(why("n[1:x]"), "both ends must be numbers or single letters");
        assert_eq!(why("n[1]"), "a range is `[first:last]` or `[first:last:step]`");
        assert_eq!(why("n[0:4000000000]"), "more than 100000 hosts");
        assert_eq!(why("[0:999][0:999]"), "more than 100000 hosts");
    }

    #[test]
    fn a_name_that_ssh_or_a_shell_could_misread_is_refused() {
        for name in ["-oProxyCommand=x", "a b", "a;b", "$(id)", "a\nb", "a\0", "", "a]b", "a/b"] {
            assert!(matches!(hosts(name), Err(NameError::Name(_))), "{name:?}");
        }
    }
}
