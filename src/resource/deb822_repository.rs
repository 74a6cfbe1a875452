//! `deb822_repository`: a package repository, configured only after its index was fetched and its signature verified.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;

use super::{
    Change, Contradiction, Diff, Files, Flag, Kind, Missing, Mode, NodeState, OneOrMany, ParamError, Reach, RemotePath, Resource,
    State, Verdict, apt_functions::APT, decode, put::with_put_file, schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        apt_sources::AptSources,
        path::{File, PathQuery, PathState},
    },
    script::{RUN_DIRECTORY, Script},
    secret::Sealed,
};

/// A key and an index are small; more time means a lock or a dead server.
const LIMIT: Duration = Duration::from_mins(10);
const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

pub(super) const KIND: Kind = Kind {
    name: "deb822_repository",
    about: "Adds a package repository and its key to apt",
    example: r#"deb822_repository:
  name: pgdg
  uris: https://apt.postgresql.org/pub/repos/apt
  suites: "{{ ansible_facts.distribution_release }}-pgdg"
  components: main
  signed_by: https://www.postgresql.org/media/keys/ACCC4CF8.asc"#,
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The name of the file in `/etc/apt/sources.list.d`, without its ending.
        name: String,
        /// `deb`, `deb-src` or both.
        types: OneOrMany<String> = ["deb"],
        /// Where the repository is.
        uris: OneOrMany<String> = [],
        /// Its suites, such as `trixie`.
        suites: OneOrMany<String> = [],
        /// Its components, such as `main`.
        components: OneOrMany<String> = [],
        /// The architectures; without it, the node's.
        architectures: OneOrMany<String> = [],
        /// The key: a URL, a path on the node, or the armoured key itself.
        signed_by: Option<String>,
        /// Whether apt uses it.
        enabled: Flag = true,
        /// Whether the repository is configured.
        state: State = "present",
    }
}

#[derive(Debug)]
struct Repository {
    name: String,
    sources: RemotePath,
    /// The files for fetched and inline keys, armoured and binary. apt distinguishes them by these names alone.
    armoured: RemotePath,
    binary: RemotePath,
    /// [`RUN_DIRECTORY`], except in tests.
    run_directory: String,
    /// `None`: the repository is absent.
    wanted: Option<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    /// The file without its last line, `Signed-By`.
    body: String,
    uris: Vec<String>,
    suites: Vec<String>,
    key: Key,
    enabled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    /// Fetched on the node.
    Url(String),
    /// An existing file on the node.
    Path(RemotePath),
    /// The armoured key itself.
    Inline(String),
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let parameters: Parameters = decode(parameters)?;
    Ok(Box::new(repository(parameters, "/etc/apt")?))
}

fn repository(parameters: Parameters, etc: &str) -> Result<Repository, ParamError> {
    let name = parameters.name.clone();
    // apt silently ignores files with other names (sources.list(5)).
    if name.is_empty()
        || name.starts_with('.')
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    {
        return Err(ParamError::parameter("name", "becomes a file name that apt reads: letters, digits, `_`, `-` and `.` only"));
    }
    let path = |text: String| RemotePath::new(&text).map_err(|message| ParamError::parameter("name", message));
    Ok(Repository {
        sources: path(format!("{etc}/sources.list.d/{name}.sources"))?,
        armoured: path(format!("{etc}/keyrings/{name}.asc"))?,
        binary: path(format!("{etc}/keyrings/{name}.gpg"))?,
        wanted: match parameters.state {
            State::Present => Some(wanted(parameters)?),
            State::Absent => None,
        },
        run_directory: RUN_DIRECTORY.to_owned(),
        name,
    })
}

fn wanted(parameters: Parameters) -> Result<Wanted, ParamError> {
    let Parameters { name, types, uris, suites, components, architectures, signed_by, enabled, state: _ } = parameters;
    if let Some(unknown) = types.0.iter().find(|word| !matches!(word.as_str(), "deb" | "deb-src")) {
        return Err(ParamError::parameter("types", format!("`{unknown}` is neither `deb` nor `deb-src`")));
    }
    let exact = suites.0.iter().all(|suite| suite.ends_with('/'));
    let mut body = format!("X-Repolib-Name: {name}\n");
    if !enabled.0 {
        body.push_str("Enabled: no\n");
    }
    for (key, parameter, words, needed) in [
        ("Types", "types", &types.0, true),
        ("URIs", "uris", &uris.0, true),
        ("Suites", "suites", &suites.0, true),
        ("Components", "components", &components.0, !exact),
        ("Architectures", "architectures", &architectures.0, false),
    ] {
        if words.is_empty() && needed {
            let message = match parameter {
                "types" => "is an empty list; leave it out for `deb`",
                "components" => "needs at least one, such as `main`, unless every suite ends with `/`",
                _ => "is an empty list; give at least one",
            };
            return Err(ParamError::parameter(parameter, message));
        }
        if words.iter().any(|word| {
            word.is_empty()
                || word.contains(|character: char| character.is_whitespace() || character.is_control() || character == ',')
        }) {
            return Err(ParamError::parameter(parameter, "holds an empty word or a blank; give several as a list"));
        }
        if !words.is_empty() {
            let _ = writeln!(body, "{key}: {}", words.join(" "));
        }
    }
    let key = parse_key(&signed_by.unwrap_or_default())?;
    Ok(Wanted { body, uris: uris.0, suites: suites.0, key, enabled: enabled.0 })
}

fn parse_key(signed_by: &str) -> Result<Key, ParamError> {
    let refuse = |message: String| Err(ParamError::parameter("signed_by", message));
    let text = signed_by.trim();
    if text.contains("PRIVATE KEY") {
        return refuse("is a private key; give the public one".to_owned());
    }
    if text.starts_with("-----BEGIN") {
        let whole = text.starts_with(BEGIN) && text.ends_with("-----END PGP PUBLIC KEY BLOCK-----") && !text.contains('\0');
        return if whole {
            Ok(Key::Inline(format!("{text}\n")))
        } else {
            refuse("is not a whole armoured public key".to_owned())
        };
    }
    if text.starts_with('/') {
        let path = RemotePath::new(text).map_err(|message| ParamError::parameter("signed_by", message))?;
        if path.as_str().contains(char::is_whitespace) {
            return refuse("must not contain a blank: apt would end the path there".to_owned());
        }
        return Ok(Key::Path(path));
    }
    if ["https://", "http://", "file:/"].iter().any(|scheme| text.starts_with(scheme))
        && !text.contains(|character: char| character.is_whitespace() || character.is_control())
    {
        return Ok(Key::Url(text.to_owned()));
    }
    refuse("give the key that signs the repository: its URL, its path on the node, or the armoured key itself".to_owned())
}

impl Resource for Repository {
    fn questions(&self, ask: &mut Questions) {
        for path in [&self.sources, &self.armoured, &self.binary] {
            ask.ask::<PathState>(PathQuery::content(path).following(true));
        }
        if let Some(Wanted { key: Key::Path(path), .. }) = &self.wanted {
            ask.ask::<PathState>(PathQuery::content(path).following(true));
        }
        if self.wanted.as_ref().is_some_and(|wanted| wanted.enabled) {
            ask.ask::<AptSources>(());
        }
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Path(&self.sources)
    }

    /// apt reads nothing at all while two sources of one repository have different keys ("Conflicting values set for option Signed-By").
    fn contradicted(&self, node: &NodeState<'_>) -> Result<Option<Contradiction>, Unanswered> {
        let Some(wanted) = self.wanted.as_ref().filter(|wanted| wanted.enabled) else { return Ok(None) };
        let keys = match &wanted.key {
            Key::Path(path) => vec![path.as_str()],
            Key::Url(_) | Key::Inline(_) => vec![self.armoured.as_str(), self.binary.as_str()],
        };
        let is_wanted = |uri: &str, suite: &str| {
            wanted.uris.iter().any(|wanted| wanted.trim_end_matches('/') == uri)
                && wanted.suites.iter().any(|wanted| wanted == suite)
        };
        let sources = node.answers.get::<AptSources>(&())?;
        let other = sources.iter().find(|other| {
            other.file != self.sources.as_str()
                && is_wanted(&other.uri, &other.suite)
                && !other.signed_by.as_deref().is_some_and(|key| keys.contains(&key))
        });
        Ok(other.map(|other| {
            let key = match other.signed_by.as_deref() {
                None => "without `Signed-By`".to_owned(),
                Some(path) if path.starts_with('/') => format!("with the key `{path}`"),
                Some(_) => "with another key".to_owned(),
            };
            let reason = format!(
                "the repository {} (suite {}) is a source in `{}:{}`, too, {key}: apt reads no source at all while two of one repository \
                 have different keys; remove that one, by hand or with a task before this one (`file: {{path: {}, state: absent}}`)",
                other.uri, other.suite, other.file, other.line, other.file
            );
            Contradiction { file: other.file.clone(), setting: None, reason }
        }))
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let file = |path| node.answers.get::<PathState>(&PathQuery::content(path).following(true))?.file(path);
        let (sources, armoured, binary) = (file(&self.sources)?, file(&self.armoured)?, file(&self.binary)?);
        let Some(wanted) = &self.wanted else {
            return Ok(self.removal(&[(&self.sources, sources), (&self.armoured, armoured), (&self.binary, binary)]));
        };
        let mut missing = None;
        let (key_path, key_is_fine) = match &wanted.key {
            Key::Inline(key) => (&self.armoured, armoured.is_some_and(|file| holds(file, key) && readable(file))),
            Key::Path(path) => {
                let file = file(path)?;
                missing = file.map_or_else(|| Some(format!("key file `{path}`")), |file| key_problem(path, file));
                (path, missing.is_none())
            }
            // Only after the key was fetched is it known which of the two files it is in.
            Key::Url(_) => {
                let is_binary = armoured.is_none() && binary.is_some();
                let (path, file) = if is_binary { (&self.binary, binary) } else { (&self.armoured, armoured) };
                (path, file.is_some_and(|file| readable(file) && key_problem(path, file).is_none()))
            }
        };
        let text = format!("{}Signed-By: {key_path}\n", wanted.body);
        let text_is_fine = sources.is_some_and(|file| holds(file, &text) && readable(file));
        if text_is_fine && key_is_fine {
            return Ok(Verdict::CONVERGED);
        }
        let before = sources.map(|file| file.content.as_deref().unwrap_or_default());
        let mut diff = Diff::of_text(before, &Sealed::from(text), node.secrets).titled(self.sources.as_str());
        if let Some(file) = sources.filter(|file| !readable(file)) {
            diff.attribute("mode", &format!("{:04o}", file.attributes.mode.0), "0644");
        }
        if !key_is_fine && !matches!(wanted.key, Key::Path(_)) {
            diff.added(format!("key {key_path}"));
        }
        let summary = if sources.is_some() { "change" } else { "create" };
        let change = Change::new(summary, self.installation(wanted)).diff(diff).replacing(sources.is_some());
        Ok(match missing {
            Some(missing) => Verdict::Blocked { missing: vec![Missing::Other(missing)], change },
            None => Verdict::Change(change),
        })
    }
}

/// Whether a file has the mode and owner that [`INSTALL`] gives it.
fn readable(file: &File) -> bool {
    file.attributes.mode == Mode(0o644) && file.attributes.uid == 0
}

/// Whether a file has exactly this content. A file that is too large to be read has another one.
fn holds(file: &File, text: &str) -> bool {
    file.content.as_deref() == Some(text.as_bytes())
}

/// Describes the problem of a key file as something that is missing.
fn key_problem(path: &RemotePath, file: &File) -> Option<String> {
    let named_armoured = path.as_str().rsplit_once('.').is_some_and(|(_, ending)| ending == "asc");
    // A key ring that is too large to be read contains many keys, and such a file is not armoured.
    let is_armoured = file.content.as_deref().is_some_and(|content| String::from_utf8_lossy(content).contains(BEGIN));
    let mode = file.attributes.mode;
    if file.size == 0 {
        Some(format!("a key in `{path}` (the file is empty)"))
    } else if mode.0 & 0o004 == 0 {
        Some(format!("a key that the user `_apt` can read (`{path}` has mode {mode:?}; give it 0644)"))
    } else if is_armoured && !named_armoured {
        Some(format!("a key that apt reads (`{path}` is armoured; only names that end in `.asc` may be)"))
    } else if !is_armoured && named_armoured {
        Some(format!("a key that apt reads (`{path}` is not armoured; its name must end in `.gpg`)"))
    } else {
        None
    }
}

impl Repository {
    fn installation(&self, wanted: &Wanted) -> Script {
        let (kind, place, input) = match &wanted.key {
            Key::Url(url) => ("url", url.as_str(), Sealed::default()),
            Key::Path(path) => ("path", path.as_str(), Sealed::default()),
            Key::Inline(key) => ("inline", "", Sealed::from(key.as_str())),
        };
        with_put_file(Script::new(INSTALL))
            .using(APT)
            .args([self.name.as_str(), self.sources.as_str(), self.armoured.as_str(), self.binary.as_str()])
            .args([wanted.body.as_str(), kind, place, if wanted.enabled { "verify" } else { "disabled" }])
            .arg(self.run_directory.as_str())
            .input(input)
            .limit(LIMIT)
    }

    fn removal(&self, files: &[(&RemotePath, Option<&File>)]) -> Verdict {
        let existing: Vec<&str> = files.iter().filter(|(_, file)| file.is_some()).map(|(path, _)| path.as_str()).collect();
        if existing.is_empty() {
            return Verdict::CONVERGED;
        }
        let mut diff = Diff::none();
        for path in &existing {
            diff.removed(*path);
        }
        let paths = [&self.sources, &self.armoured, &self.binary].map(RemotePath::as_str);
        let script = Script::new("set -eu\nrm -f -- \"$@\"\nsync -- \"${1%/*}\"").args(paths);
        Verdict::Change(Change::new("remove", script).diff(diff).replacing(true))
    }
}

/// `$1`: name; `$2`: the .sources file; `$3`, `$4`: the armoured and the binary key file; `$5`: the text without `Signed-By`; `$6`: `url`, `path` or
/// `inline`; `$7`: the URL or path; `$8`: `verify` or `disabled`; `$9`: [`RUN_DIRECTORY`].
///
/// The work directory is below `$9`, which the user `_apt` can enter: apt fetches and verifies as that user. `apt-helper` links to `file:`
/// sources instead of copying.
const INSTALL: &str = r#"set -eu
name=$1 sources=$2 armoured=$3 binary=$4 body=$5 kind=$6 place=$7 how=$8 work=$9/work/apt
umask 022
fail() { echo "repository \`$name\`: $1" >&2; exit 1; }
rm -rf -- "$work"
trap 'trap "" HUP INT TERM; rm -rf -- "$work"' EXIT
trap 'trap "" HUP INT TERM; exit 130' HUP INT TERM
mkdir -p -- "$work/fetch"
chmod 0711 -- "$9"
chown _apt "$work/fetch" 2>/dev/null || :
case $kind in
  url)
    apt_try /usr/lib/apt/apt-helper -o Acquire::Retries=1 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 download-file "$place" "$work/fetch/key"
    [ "$status" = 0 ] || fail "its key could not be fetched from $place, see above: check the URL in signed_by, or give the key itself"
    cat -- "$work/fetch/key" >"$work/key"
    from=$place;;
  inline) cat >"$work/key"; from="signed_by";;
  path)
    from=$place
    [ -f "$place" ] || fail "there is no key file $place on this node: check signed_by, or put the file there first"
    if id -u _apt >/dev/null 2>&1; then
      setpriv --reuid _apt --regid "$(id -g _apt)" --clear-groups test -r "$place" ||
        fail "the user _apt, as which apt verifies signatures, cannot read the key $place: give the file mode 0644, and its directories 0755"
    fi
    cat -- "$place" >"$work/key";;
esac
form=none
while IFS= read -r line || [ -n "$line" ]; do
  case $line in *"-----BEGIN PGP PUBLIC KEY BLOCK-----"*) form=armoured; break;; esac
done <"$work/key"
if [ "$form" = none ]; then
  # An OpenPGP packet begins with a byte whose highest bit is set (RFC 9580, 4.2).
  case $(od -An -tx1 -N1 "$work/key") in " "[89abcdef]?) form=binary;; esac
fi
case $form in
  armoured) key=$armoured ending=.asc;;
  binary) key=$binary ending=.gpg;;
  none) fail "the content from $from is not an OpenPGP key (neither an armoured block nor binary packets)";;
esac
if [ "$kind" = path ]; then
  key=$place
  case $form$place in
    armoured*.asc|binary*.gpg) ;;
    armoured*) fail "the key $place is armoured, but apt reads armoured keys only from names that end in .asc: rename it";;
    binary*.asc) fail "the key $place is binary, but apt reads binary keys only from names that do not end in .asc: rename it to .gpg";;
  esac
fi
mv -- "$work/key" "$work/key$ending"
if [ "$how" = verify ]; then
  printf '%sSigned-By: %s\n' "$body" "$work/key$ending" >"$work/one.sources"
  apt_get update -o Dir::Etc::sourcelist="$work/one.sources" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0
  [ "$status" = 0 ] || case $why in
    signature) fail "the key from $from did not sign it: it is the wrong key, or the repository was tampered with";;
    expired) fail "its signature or the key from $from has expired";;
    absent) fail "its index is not there: check uris, suites and components, see above";;
    connection) fail "its server cannot be reached from this node, see above";;
    unreadable) fail "the user _apt cannot read the key from $from";;
    *) fail "its index could not be fetched and verified, see above";;
  esac
fi
# What was there is put back if apt cannot read its sources with the new one.
for file in "$sources" "$armoured" "$binary"; do
  if [ -f "$file" ]; then cp -p -- "$file" "$work/old.${file##*/}"; fi
done
put_back() {
  for file in "$sources" "$armoured" "$binary"; do
    if [ -f "$work/old.${file##*/}" ]; then place_file "$work/old.${file##*/}" "$file"; else rm -f -- "$file"; fi
  done
}
place_file() {
  size=$(stat -c %s -- "$1")
  put_file "$2" 0 0 0644 '' '' '' "$size" <"$1"
}
if [ "$kind" != path ]; then
  mkdir -p -- "${key%/*}"
  place_file "$work/key$ending" "$key"
fi
printf '%sSigned-By: %s\n' "$body" "$key" >"$work/final"
place_file "$work/final" "$sources"
words=$(apt-get indextargets 2>&1 >/dev/null) || {
  put_back
  words=$(printf '%s\n' "$words" | sed -n '/^E: /{p;q;}')
  fail "with it apt cannot read its sources any more, so that it was taken back: $words"
}
# The other form would be a leftover of an earlier key.
for stale in "$armoured" "$binary"; do
  if [ "$stale" != "$key" ]; then rm -f -- "$stale"; fi
done
"#;

#[cfg(test)]
mod tests;
