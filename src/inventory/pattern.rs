//! Ansible's host patterns, which `--limit` and `hosts` use to select hosts.

use std::collections::HashSet;
use std::net::Ipv6Addr;
use std::path::Path;

use regex_lite::Regex;

use super::{ALL, Host, Inventory, glob};
use crate::source::{LARGEST_TEXT, did_you_mean, read_given};
use crate::values::shortened;

/// Why a pattern is invalid or selects no hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    /// The part of the pattern that is wrong.
    pub part: String,
    /// What is wrong, in one line.
    pub reason: String,
    /// What the user can do about it.
    pub help: Option<String>,
}

impl PatternError {
    fn new(part: &str, reason: &str) -> Self {
        Self { part: part.to_owned(), reason: shortened(reason).into_owned(), help: None }
    }
}

/// Like [`select`], for a pattern that the project holds: only the operator names files to read.
pub(super) fn select_without_files<'i>(inventory: &'i Inventory, pattern: &str) -> Result<Vec<&'i Host>, PatternError> {
    match split(pattern).iter().find(|part| part.starts_with('@')) {
        Some(part) => Err(PatternError::new(part, "only `--limit` reads patterns from a file")),
        None => select(inventory, pattern),
    }
}

pub(super) fn select<'i>(inventory: &'i Inventory, pattern: &str) -> Result<Vec<&'i Host>, PatternError> {
    let mut parts = Vec::new();
    for part in split(pattern) {
        match part.strip_prefix('@') {
            Some(path) => parts.extend(from_file(inventory, part, path)?),
            None => parts.push(part.to_owned()),
        }
    }
    if parts.is_empty() {
        return Err(PatternError::new(pattern, "the host pattern is empty"));
    }
    let kind = |part: &String| match part.chars().next() {
        Some('&') => 1,
        Some('!') => 2,
        _ => 0,
    };
    // Ansible evaluates plain parts first, then `&`, then `!`, whatever their order.
    parts.sort_by_key(kind);
    let mut selected: Vec<&str> = Vec::new();
    if parts.first().is_some_and(|part| kind(part) > 0) {
        selected = inventory.hosts_in_group(ALL);
    }
    let mut chosen: HashSet<&str> = selected.iter().copied().collect();
    for part in &parts {
        let kind = kind(part);
        if kind == 0 {
            // A host's name selects only that host, even if a group has the same name.
            let hosts = match inventory.hosts.get_key_value(part) {
                Some((name, _)) => vec![name.as_str()],
                None => matching(inventory, part)?,
            };
            selected.extend(hosts.into_iter().filter(|host| chosen.insert(host)));
        } else {
            let hosts: HashSet<&str> = matching(inventory, &part[1..])?.into_iter().collect();
            selected.retain(|host| hosts.contains(host) == (kind == 1));
        }
    }
    let hosts: Vec<&Host> = selected.into_iter().filter_map(|name| inventory.hosts.get(name)).collect();
    if hosts.is_empty() { Err(PatternError::new(pattern, &format!("`{pattern}` selects no host"))) } else { Ok(hosts) }
}

/// Splits a pattern into its parts. If there is a comma, only commas separate. Otherwise colons and whitespace outside of brackets, and unmatched
/// brackets, separate; but an address or a name with a port is one part.
pub(crate) fn split(pattern: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = Vec::new();
    if pattern.contains(',') {
        parts.extend(pattern.split(','));
    } else if is_address(pattern) {
        parts.push(pattern);
    } else {
        let (mut start, mut at) = (0, 0);
        while let Some(character) = pattern[at..].chars().next() {
            let bracketed = (character == '[').then(|| pattern[at..].find(']')).flatten();
            if let Some(length) = bracketed {
                at += length + 1;
                continue;
            }
            let next = at + character.len_utf8();
            if character.is_whitespace() || ":[]".contains(character) {
                parts.push(&pattern[start..at]);
                start = next;
            }
            at = next;
        }
        parts.push(&pattern[start..]);
    }
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Whether a pattern is an IPv6 address, or the name of a host with a port. Both may contain ranges.
fn is_address(pattern: &str) -> bool {
    let (mut plain, mut rest) = (String::new(), pattern);
    while let Some((before, range)) = rest.split_once('[') {
        let Some((range, after)) = range.split_once(']') else { return false };
        let is_end = |end: &str| !end.is_empty() && end.chars().all(|character| character.is_ascii_alphanumeric());
        if !(2..=3).contains(&range.split(':').count()) || !range.split(':').all(is_end) {
            return false;
        }
        plain.extend([before, "0"]);
        rest = after;
    }
    plain.push_str(rest);
    if plain.parse::<Ipv6Addr>().is_ok() {
        return true;
    }
    let is_label = |label: &str| {
        let is_name = label.chars().all(|character| character.is_alphanumeric() || "_-".contains(character));
        is_name && !label.is_empty() && !label.starts_with('-') && !label.ends_with(['-', '_'])
    };
    plain.rsplit_once(':').is_some_and(|(name, port)| {
        !port.is_empty() && port.chars().all(|digit| digit.is_ascii_digit()) && name.split('.').all(is_label)
    })
}

/// Reads a file with one pattern per line.
fn from_file(inventory: &Inventory, part: &str, path: &str) -> Result<Vec<String>, PatternError> {
    let failed = |error: std::io::Error| PatternError::new(part, &format!("cannot read `{path}`: {error}"));
    inventory.files.boundary.check(Path::new(path)).map_err(std::io::Error::other).map_err(failed)?;
    let bytes = read_given(Path::new(path), LARGEST_TEXT).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|error| failed(std::io::Error::other(error)))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// Returns the hosts that one part selects; `part` is without `&` or `!`.
fn matching<'i>(inventory: &'i Inventory, part: &str) -> Result<Vec<&'i str>, PatternError> {
    let (name, subscript) = if part.starts_with('~') { (part, None) } else { subscript(part) };
    let matcher = Matcher::new(part, name)?;
    let groups: Vec<&str> = inventory.groups.keys().map(String::as_str).filter(|group| matcher.matches(group)).collect();
    let mut hosts: Vec<&str> = groups.iter().flat_map(|group| inventory.hosts_in_group(group)).collect();
    // A name with a dot is also looked up among the hosts.
    if groups.is_empty() || !matches!(matcher, Matcher::Name(_)) || name.contains('.') {
        hosts.extend(inventory.hosts.keys().map(String::as_str).filter(|host| matcher.matches(host)));
    }
    if hosts.is_empty() && groups.is_empty() {
        let known = inventory.groups.keys().chain(inventory.hosts.keys()).map(String::as_str);
        let help = match did_you_mean(name, known) {
            Some(known) => Some(format!("did you mean `{known}`?")),
            None if part.contains(',') => Some("in a file, write each pattern on a line of its own".to_owned()),
            None if part.contains("[-") => Some("only a single index can count from the end: `web[-1]`".to_owned()),
            None if part.contains(':') => Some("separate the parts of a pattern with commas only".to_owned()),
            None => None,
        };
        return Err(PatternError { help, ..PatternError::new(part, &format!("no host or group matches `{part}`")) });
    }
    // A host that is selected twice counts twice here, as in Ansible.
    let Some((first, last)) = subscript else { return Ok(hosts) };
    let count = hosts.len();
    let index = |at: i64| usize::try_from(if at < 0 { at + i64::try_from(count).unwrap_or(i64::MAX) } else { at }).ok();
    let end = index(last).map_or(0, |last| last.saturating_add(1).min(count));
    match index(first).and_then(|first| hosts.get(first..end)) {
        Some(hosts) if !hosts.is_empty() => Ok(hosts.to_vec()),
        _ => Err(PatternError::new(part, &format!("`{part}` is past the end: `{name}` has {count} hosts"))),
    }
}

/// Splits off a subscript (`web[0]`, `web[-1]`, `web[1:3]`, `web[1-3]`, `web[1:]`): returns the name, and the first and the last index (inclusive).
fn subscript(part: &str) -> (&str, Option<(i64, i64)>) {
    let whole = (part, None);
    let Some((name, inside)) = part.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) else { return whole };
    let number = |digits: &str| digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let indexes = match inside.strip_prefix('-') {
        Some(from_end) => number(from_end).map(|index: i64| (-index, -index)),
        None => match inside.split_once([':', '-']) {
            None => number(inside).map(|index| (index, index)),
            Some((first, "")) => number(first).map(|first| (first, -1)),
            Some((first, last)) => number(first).zip(number(last)),
        },
    };
    match indexes {
        Some(indexes) if !name.is_empty() => (name, Some(indexes)),
        _ => whole,
    }
}

enum Matcher<'p> {
    Name(&'p str),
    Glob(&'p str),
    Regex(Regex),
}

impl<'p> Matcher<'p> {
    fn new(part: &str, name: &'p str) -> Result<Self, PatternError> {
        match name.strip_prefix('~') {
            // Ansible matches from the start of the name, but not to its end.
            Some(regex) => Regex::new(&format!("^(?:{regex})"))
                .map(Self::Regex)
                .map_err(|error| PatternError::new(part, &format!("`{part}` is not a regular expression: {error}"))),
            None if name.contains(['*', '?', '[']) => Ok(Self::Glob(name)),
            None => Ok(Self::Name(name)),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(expected) => *expected == name,
            Self::Glob(pattern) => glob::matches(pattern, name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}
