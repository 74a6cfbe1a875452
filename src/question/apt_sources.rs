//! The package sources of a node, in both formats (sources.list(5)).

use super::{Kind, Output, Turn, Unanswered};
use crate::script::Script;

/// Marker for the kind "the package sources".
#[derive(Debug)]
pub struct AptSources;

/// A source that apt uses, of one URI and one suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSource {
    /// The file.
    pub file: String,
    /// The line at which it begins, from 1.
    pub line: usize,
    /// The URI, without slashes at its end.
    pub uri: String,
    /// The suite.
    pub suite: String,
    /// `Signed-By`: a key file, or a key itself; `None` for the keys that apt trusts for all sources.
    pub signed_by: Option<String>,
}

/// `$1`: the root. All files in one process.
const ASK: &str = r#"
set -- "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*.list "$1"/etc/apt/sources.list.d/*.sources
for file do
  shift
  if [ -f "$file" ]; then set -- "$@" "$file"; fi
done
[ $# -gt 0 ] || exit 0
exec head -v -c 1048576 -- "$@" 2>&1
"#;

/// Returns the script for files below `root`, which is empty except in tests.
fn script_below(root: &str) -> Script {
    Script::new(ASK).arg(root)
}

impl Kind for AptSources {
    type Key = ();
    type Answer = Vec<AptSource>;
    const NAME: &'static str = "apt-sources";
    const TURN: Turn = Turn::Files;

    fn script(_: &[&()]) -> Script {
        script_below("")
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Vec<AptSource>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("the package sources", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut files: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix("==> ").and_then(|rest| rest.strip_suffix(" <==")), files.last_mut()) {
                (Some(file), _) => files.push((file, Vec::new())),
                (None, Some((_, lines))) => lines.push(line),
                (None, None) => {}
            }
        }
        let mut found = Vec::new();
        for (file, lines) in files {
            if file.ends_with(".sources") { stanzas(file, &lines, &mut found) } else { one_lines(file, &lines, &mut found) }
        }
        keys.iter().map(|()| Ok(found.clone())).collect()
    }
}

fn without_slash(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

/// Reads lines such as `deb [signed-by=/x.gpg arch=amd64] https://host/path suite component`.
fn one_lines(file: &str, lines: &[&str], found: &mut Vec<AptSource>) {
    for (index, line) in lines.iter().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((kind, rest)) = line.split_once(char::is_whitespace) else { continue };
        if !matches!(kind, "deb" | "deb-src") {
            continue;
        }
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        let option = |option: &str| {
            option.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("signed-by")).map(|(_, value)| value.to_owned())
        };
        found.push(AptSource {
            file: file.to_owned(),
            line: index + 1,
            uri: without_slash(uri),
            suite: suite.to_owned(),
            signed_by: options.split_whitespace().find_map(option),
        });
    }
}

/// Reads stanzas of fields, as in a deb822 file.
fn stanzas(file: &str, lines: &[&str], found: &mut Vec<AptSource>) {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut begins = 0;
    for (index, line) in lines.iter().copied().chain([""]).enumerate() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            stanza(file, begins + 1, &std::mem::take(&mut fields), found);
            continue;
        }
        if fields.is_empty() {
            begins = index;
        }
        match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push('\n');
                value.push_str(line.trim());
            }
            (false, _, Some((name, value))) => fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned())),
            (true, None, _) | (false, _, None) => {}
        }
    }
}

fn stanza(file: &str, line: usize, fields: &[(String, String)], found: &mut Vec<AptSource>) {
    let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let words = |wanted: &str| field(wanted).unwrap_or_default().split_whitespace();
    if matches!(
        field("enabled").map(str::to_ascii_lowercase).as_deref(),
        Some("no" | "false" | "off" | "0" | "without" | "disable")
    ) {
        return;
    }
    for uri in words("uris") {
        for suite in words("suites") {
            found.push(AptSource {
                file: file.to_owned(),
                line,
                uri: without_slash(uri),
                suite: suite.to_owned(),
                signed_by: field("signed-by").filter(|value| !value.is_empty()).map(str::to_owned),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::resource::trial;

    fn ask(root: &Path) -> Vec<String> {
        let done = trial::run(&script_below(root.to_str().unwrap()), Path::new("/nonexistent"));
        let found = AptSources::read(&[&()], &Output { status: done.status, stdout: done.stdout }).remove(0).unwrap();
        let shown = |source: AptSource| {
            let file = source.file.rsplit('/').next().unwrap_or_default();
            format!("{file}:{} {} {} {}", source.line, source.uri, source.suite, source.signed_by.unwrap_or_default())
        };
        found.into_iter().map(shown).collect()
    }

    #[test]
    fn both_formats_are_read() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/apt");
        assert!(ask(root.path()).is_empty());
        fs::create_dir_all(etc.join("sources.list.d")).unwrap();
        fs::write(etc.join("sources.list"), "# deb http://a b c\n\ndeb http://deb.debian.org/debian/ bookworm main # x\n")
            .unwrap();
        fs::write(
            etc.join("sources.list.d/redis.list"),
            "deb [arch=amd64 Signed-By=/k.gpg] https://p/deb bookworm main\ndeb cdrom:[x y]/ bookworm main\nnonsense\n",
        )
        .unwrap();
        fs::write(etc.join("sources.list.d/redis.list.save"), "deb http://save x y\n").unwrap();
        fs::write(
            etc.join("sources.list.d/two.sources"),
            "# c\nTypes: deb\nURIs: http://one/ http://two\nsuites: s t\nSigned-By:\n -----BEGIN\n .\n -----END\n\nEnabled: no\nURIs: http://off\nSuites: s\n\nURIs: http://last\nSuites: ./",
        )
        .unwrap();
        assert_eq!(
            ask(root.path()),
            [
                "sources.list:3 http://deb.debian.org/debian bookworm ",
                "redis.list:1 https://p/deb bookworm /k.gpg",
                "redis.list:2 cdrom:[x y]/ ",
                "two.sources:2 http://one s \n-----BEGIN\n.\n-----END",
                "two.sources:2 http://one t \n-----BEGIN\n.\n-----END",
                "two.sources:2 http://two s \n-----BEGIN\n.\n-----END",
                "two.sources:2 http://two t \n-----BEGIN\n.\n-----END",
                "two.sources:14 http://last ./ ",
            ]
        );
    }

    #[test]
    fn files_that_cannot_be_read_are_a_failure() {
        let output = Output { status: 1, stdout: b"head: cannot open '/etc/apt/sources.list'\n".to_vec() };
        assert!(AptSources::read(&[&()], &output)[0].is_err());
    }
}
