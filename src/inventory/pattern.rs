//! Ansible's host patterns: which hosts `--limit` and `hosts` select.

use std::collections::HashSet;

use regex_lite::Regex;

use super::{ALL, Host, Inventory};
use crate::source::did_you_mean;

/// Why a pattern selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    /// The part of the pattern that is wrong.
    pub part: String,
    /// What is wrong, in one line.
    pub reason: String,
    /// What to do.
    pub help: Option<String>,
}

impl PatternError {
    fn new(part: &str, reason: String) -> Self {
        Self { part: part.to_owned(), reason, help: None }
    }
}

pub(super) fn select<'i>(inventory: &'i Inventory, pattern: &str) -> Result<Vec<&'i Host>, PatternError> {
    let mut parts = Vec::new();
    for part in split(pattern) {
        match part.strip_prefix('@') {
            Some(path) => parts.extend(from_file(part, path)?),
            None => parts.push(part.to_owned()),
        }
    }
    if parts.is_empty() {
        return Err(PatternError::new(pattern, "the host pattern is empty".to_owned()));
    }
    let kind = |part: &String| match part.chars().next() {
        Some('&') => 1,
        Some('!') => 2,
        _ => 0,
    };
    // Ansible takes plain parts first, then `&`, then `!`, wherever they stand.
    parts.sort_by_key(kind);
    let mut selected: Vec<&str> = Vec::new();
    if parts.first().is_some_and(|part| kind(part) > 0) {
        selected = inventory.hosts_of(ALL);
    }
    let mut chosen: HashSet<&str> = selected.iter().copied().collect();
    for part in &parts {
        let hosts = matching(inventory, part.trim_start_matches(['&', '!']))?;
        match kind(part) {
            0 => selected.extend(hosts.into_iter().filter(|host| chosen.insert(host))),
            kind => {
                let hosts: HashSet<&str> = hosts.into_iter().collect();
                selected.retain(|host| hosts.contains(host) == (kind == 1));
            }
        }
    }
    let hosts: Vec<&Host> = selected.into_iter().filter_map(|name| inventory.hosts.get(name)).collect();
    if hosts.is_empty() { Err(PatternError::new(pattern, format!("`{pattern}` selects no host"))) } else { Ok(hosts) }
}

/// Commas and colons separate, but not inside brackets, and an IPv6 address is one part.
fn split(pattern: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in pattern.split(',').map(str::trim) {
        if part.trim_start_matches(['&', '!']).parse::<std::net::Ipv6Addr>().is_ok() {
            parts.push(part);
            continue;
        }
        let mut depth = 0_usize;
        parts.extend(part.split(|letter: char| {
            match letter {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && (letter == ':' || letter.is_whitespace())
        }));
    }
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// One pattern per line.
fn from_file(part: &str, path: &str) -> Result<Vec<String>, PatternError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| PatternError::new(part, format!("cannot read `{path}`: {error}")))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.flat_map(split).map(str::to_owned).collect())
}

/// The hosts of one part, without `&` or `!`.
fn matching<'i>(inventory: &'i Inventory, part: &str) -> Result<Vec<&'i str>, PatternError> {
    if let Some((name, _)) = inventory.hosts.get_key_value(part) {
        return Ok(vec![name]);
    }
    let (name, subscript) = if part.starts_with('~') { (part, None) } else { subscript(part) };
    let matcher = Matcher::new(part, name)?;
    let groups: Vec<&str> = inventory.groups.keys().map(String::as_str).filter(|group| matcher.matches(group)).collect();
    let mut hosts: Vec<&str> = groups.iter().flat_map(|group| inventory.hosts_of(group)).collect();
    if groups.is_empty() || !matches!(matcher, Matcher::Name(_)) {
        hosts.extend(inventory.hosts.keys().map(String::as_str).filter(|host| matcher.matches(host)));
    }
    let mut seen = HashSet::new();
    hosts.retain(|host| seen.insert(*host));
    if hosts.is_empty() && groups.is_empty() {
        let known = inventory.groups.keys().chain(inventory.hosts.keys()).map(String::as_str);
        let help = did_you_mean(name, known).map(|known| format!("did you mean `{known}`?"));
        return Err(PatternError { help, ..PatternError::new(part, format!("no host or group matches `{part}`")) });
    }
    let Some((first, last)) = subscript else { return Ok(hosts) };
    let count = hosts.len();
    let index = |at: i64| usize::try_from(if at < 0 { at + i64::try_from(count).unwrap_or(i64::MAX) } else { at }).ok();
    let end = index(last).map_or(0, |last| last.saturating_add(1).min(count));
    match index(first).and_then(|first| hosts.get(first..end)) {
        Some(hosts) if !hosts.is_empty() => Ok(hosts.to_vec()),
        _ => Err(PatternError::new(part, format!("`{part}` is past the end: `{name}` has {count} hosts"))),
    }
}

/// `web[0]`, `web[-1]`, `web[1:3]`, `web[1:]`: the name, first and last index (both included).
fn subscript(part: &str) -> (&str, Option<(i64, i64)>) {
    let whole = (part, None);
    let Some((name, inside)) = part.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) else { return whole };
    let indexes = match inside.split_once(':') {
        None => inside.parse().ok().map(|index| (index, index)),
        Some((first, "")) => first.parse().ok().map(|first| (first, -1)),
        Some((first, last)) => first.parse().ok().zip(last.parse().ok()),
    };
    match indexes {
        Some(indexes) if !name.is_empty() => (name, Some(indexes)),
        _ => whole,
    }
}

enum Matcher {
    Name(String),
    Regex(Regex),
}

impl Matcher {
    fn new(part: &str, name: &str) -> Result<Self, PatternError> {
        let regex = match name.strip_prefix('~') {
            // Ansible matches from the start of the name, but not to its end.
            Some(regex) => format!("^(?:{regex})"),
            None if name.contains(['*', '?', '[']) => glob(name),
            // Ansible looks at hosts beside groups also for names with a dot; no group has the name of a host then.
            None => return Ok(Self::Name(name.to_owned())),
        };
        let wrong = |error| PatternError::new(part, format!("`{part}` is not a regular expression: {error}"));
        Regex::new(&regex).map(Self::Regex).map_err(wrong)
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(wanted) => wanted == name,
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

/// Python's `fnmatch` as a regular expression.
fn glob(pattern: &str) -> String {
    let mut regex = String::from("^(?s:");
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => match rest.get(1..).and_then(|inside| inside.find(']')) {
                None => regex.push_str("\\["),
                Some(end) => {
                    let (set, after) = rest.split_at(end + 1);
                    let (not, set) = set.strip_prefix('!').map_or(("", set), |set| ("^", set));
                    let set = set.replace('\\', "\\\\").replace('[', "\\[").replace('^', "\\^");
                    regex.extend(["[", not, &set, "]"]);
                    rest = &after[1..];
                }
            },
            other => regex.push_str(&regex_lite::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex + ")$"
}
