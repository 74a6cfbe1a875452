//! The package sources of nodes: only Debian's own entries among this machine's apt sources.

use std::{collections::BTreeMap, fs, path::Path};

use super::command::Programs;

/// Debian's components (Debian Policy, 2.2).
const COMPONENTS: &[&str] = &["main", "contrib", "non-free", "non-free-firmware"];

/// Settings of this machine's apt without which its sources cannot be reached or trusted.
const SETTINGS: &[&str] = &["Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy"];

/// Returns Debian's entries in this machine's sources, as deb822 text for `suite`; empty if the machine does not run Debian.
///
/// Entries for another release are used as well: mirrors carry all suites, so only the name of the suite is replaced.
pub(super) fn from_this_machine(suite: &str) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field =
        |name: &str| release.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_matches('"').to_owned());
    let (Some(id), Some(codename)) = (field("ID="), field("VERSION_CODENAME=")) else { return String::new() };
    if id != "debian" {
        return String::new();
    }
    let mut files = vec![Path::new("/etc/apt/sources.list").to_path_buf()];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut text = String::new();
    for file in files {
        let Ok(content) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => text.push_str(&from_deb822(&content, &codename, suite)),
            Some("list") => text.push_str(&from_list(&content, &codename, suite)),
            _ => {}
        }
    }
    text
}

/// Returns the apt settings of this machine that its sources depend on, as text for `/etc/apt/apt.conf.d`.
pub(super) fn settings_from_this_machine(programs: &Programs) -> String {
    let all = programs.command("apt-config").arg("dump").capture().unwrap_or_default();
    let wanted = |line: &&str| SETTINGS.iter().any(|name| line.starts_with(&format!("{name} ")));
    all.split_inclusive('\n').filter(wanted).collect()
}

/// Parses the deb822 format of sources.list(5).
fn from_deb822(content: &str, codename: &str, suite: &str) -> String {
    let mut text = String::new();
    for stanza in content.split("\n\n") {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for line in stanza.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                fields.entry(last.clone()).or_default().push_str(line);
            } else if let Some((name, value)) = line.split_once(':') {
                last = name.to_ascii_lowercase();
                fields.insert(last.clone(), value.trim().to_owned());
            }
        }
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        if field("enabled").eq_ignore_ascii_case("no") || !field("types").split_whitespace().any(|kind| kind == "deb") {
            continue;
        }
        text.push_str(&entry(field("uris"), field("suites"), field("components"), field("signed-by"), codename, suite));
    }
    text
}

/// Parses the one-line format of sources.list(5): `deb [options] uri suite component...`.
fn from_list(content: &str, codename: &str, suite: &str) -> String {
    let mut text = String::new();
    for line in content.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else { continue };
        let rest = rest.split('#').next().unwrap_or_default().trim();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).unwrap_or_default();
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [uri, own_suite, components @ ..] = words.as_slice() {
            text.push_str(&entry(uri, own_suite, &components.join(" "), signed_by, codename, suite));
        }
    }
    text
}

/// Returns a stanza for a node, or an empty text if the entry is not Debian's own.
fn entry(uris: &str, suites: &str, components: &str, signed_by: &str, codename: &str, suite: &str) -> String {
    let wanted: Vec<String> = suites
        .split_whitespace()
        .filter_map(|own| own.strip_prefix(codename))
        .filter(|pocket| ["", "-updates", "-security", "-backports"].contains(pocket))
        .map(|pocket| format!("{suite}{pocket}"))
        .collect();
    let is_debians = !wanted.is_empty()
        && !components.is_empty()
        && components.split_whitespace().all(|component| COMPONENTS.contains(&component))
        && (signed_by.is_empty() || signed_by.contains("debian-archive-keyring"));
    if !is_debians {
        return String::new();
    }
    format!(
        "Types: deb\nURIs: {uris}\nSuites: {}\nComponents: {components}\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n",
        wanted.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_entries_are_kept_and_all_others_are_dropped() {
        let text = from_deb822(
            "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm\n bookworm-updates\nComponents: main\n\n\
             Types: deb\nURIs: http://vendor.example\nSuites: nodistro\nComponents: main\n\n\
             Types: deb\nURIs: http://docker.example\nSuites: bookworm\nComponents: stable\n\n\
             Types: deb\nURIs: http://pg.example\nSuites: bookworm\nComponents: main\nSigned-By: /usr/share/keyrings/pgdg.gpg\n\n\
             Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n",
            "bookworm",
            "bookworm",
        );
        insta::assert_snapshot!(text, @"
        Types: deb
        URIs: http://mirror.example/debian
        Suites: bookworm bookworm-updates
        Components: main
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
        ");
    }

    #[test]
    fn the_one_line_format_is_parsed_and_converted_to_another_suite() {
        let text = from_list(
            "# deb http://no.example/debian trixie main\n\
             deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian trixie main contrib # x\n\
             deb http://mirror.example/debian-security trixie-security main\n\
             deb http://pg.example/apt trixie-pgdg main\n\
             deb-src http://mirror.example/debian trixie main\n",
            "trixie",
            "bookworm",
        );
        insta::assert_snapshot!(text, @"
        Types: deb
        URIs: http://mirror.example/debian
        Suites: bookworm
        Components: main contrib
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

        Types: deb
        URIs: http://mirror.example/debian-security
        Suites: bookworm-security
        Components: main
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
        ");
    }
}
