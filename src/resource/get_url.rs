//! `get_url`: a file fetched by the node itself over HTTP or HTTPS.

use super::{
    Change, Files, Kind, Line, Missing, NodeState, ParamError, Reach, RemotePath, Resource, Verdict,
    access::AccessDifference,
    content::{FileContent, FileOptions, blocked_by},
    decode,
    lock_out::{self, tree},
    put::{set_access, with_put_file},
    schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        path::{Entry, File, PathQuery, PathState},
    },
    script::Script,
    secret::{Encoding, Sealed, SealedPart, SecretId},
};

pub(super) const KIND: Kind = Kind {
    name: "get_url",
    about: "Fetches a file over HTTP, on the node, with apt's own helper",
    example: r#"get_url:
  url: https://example.org/tool.tar.gz
  dest: /opt/tool.tar.gz
  checksum: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08""#,
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(GetUrl::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    struct Parameters {
        /// The URL of the file; a user and a password in it stay secret.
        url: Sealed,
        /// The file on the node.
        dest: RemotePath,
        /// The expected SHA-256, as `sha256:` and 64 hexadecimal digits. Without it, an existing file is kept whatever its content.
        checksum: Option<String>,
        /// Access, validation and backup.
        options: FileOptions,
        /// How long the server may be silent, in seconds; at least 1.
        timeout: u32 = 30,
    }
}

#[derive(Debug)]
struct GetUrl {
    /// Without user and password.
    url: String,
    /// A line of a netrc file, if the URL has a user.
    login: Sealed,
    file: FileContent,
    /// SHA-256 in lower-case hex.
    checksum: Option<String>,
    timeout: u32,
}

impl GetUrl {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let (url, login) = split_url(&parameters.url).map_err(|reason| ParamError::parameter("url", reason))?;
        let checksum =
            parameters.checksum.as_deref().map(sha256).transpose().map_err(|reason| ParamError::parameter("checksum", reason))?;
        let (file, timeout) = (parameters.options.file(parameters.dest, Sealed::default()), parameters.timeout);
        if timeout == 0 {
            return Err(ParamError::parameter("timeout", "is a number of seconds, at least 1"));
        }
        Ok(Self { url, login, file: file.checked()?, checksum, timeout })
    }

    fn look(&self) -> PathQuery {
        let FileContent { path, access, .. } = &self.file;
        let look = if self.checksum.is_some() { PathQuery::checksum(path) } else { PathQuery::attributes(path) };
        look.owned_by(access.owner.as_ref())
    }

    fn script(&self) -> Script {
        let FileContent { path, content, access, validate, backup, .. } = &self.file;
        let script = tree::before_put(with_put_file(Script::new(FETCH)), path, content)
            .arg(self.url.as_str())
            .arg(self.checksum.clone().unwrap_or_default())
            .arg(self.timeout.to_string())
            .arg(path.as_str());
        access
            .arguments(script)
            .arg("")
            .arg(if *backup { "keep" } else { "" })
            .arg(validate.as_ref().map(|command| command.replace("%s", "\"$1\"")).unwrap_or_default())
            .arg("")
            .input(self.login.clone())
    }

    fn verdict(&self, node: &NodeState<'_>, before: Option<&File>, parent_exists: bool) -> Result<Verdict, Unanswered> {
        let path = &self.file.path;
        let same = match (before, &self.checksum) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(file), Some(wanted)) => {
                file.sha256.as_ref().ok_or_else(|| Unanswered(format!("the checksum of `{path}` did not arrive")))? == wanted
            }
        };
        let difference = self.file.access.compare(node, before.map(|file| &file.attributes))?;
        if same && difference.summary.is_empty() {
            return Ok(Verdict::CONVERGED);
        }
        if let Some(reason) = lock_out::of_file(node, path, &self.file.access, before, None)? {
            return Ok(Verdict::Refused(reason));
        }
        let AccessDifference { mut missing, mut diff, mut summary, .. } = difference;
        if !parent_exists {
            missing.push(Missing::Directory(path.parent()));
        }
        let script = if same {
            set_access(path, &self.file.access, false)
        } else {
            if let (Some(File { sha256: Some(sum), .. }), Some(_)) = (before, &self.checksum) {
                diff.lines.push(Line::Removed(format!("sha256 {sum}")));
            }
            if let Some(sum) = &self.checksum {
                diff.lines.push(Line::Added(format!("sha256 {sum}")));
            }
            diff.lines.push(Line::Added(format!("from {}", self.url)));
            if before.is_some() {
                summary.insert(0, "content".to_owned());
            } else {
                summary = vec!["fetch".to_owned()];
            }
            self.script()
        };
        let change = Change::new(summary.join(", "), script).diff(diff.titled(path.as_str())).replacing(before.is_some());
        Ok(blocked_by(missing, change))
    }
}

/// Returns the URL without its user and password, and a line with them for apt's netrc file (`apt_auth.conf`(5)).
fn split_url(sealed: &Sealed) -> Result<(String, Sealed), String> {
    // The token of a secret is one long word of characters that no URL has, so the text can be split with tokens in it.
    let text = std::str::from_utf8(sealed.as_tokens()).map_err(|_| "is not text".to_owned())?;
    let (scheme, rest) = text
        .split_once("://")
        .filter(|(scheme, _)| ["http", "https"].contains(scheme))
        .ok_or("must begin with https:// or http://")?;
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let clean = format!("{scheme}://{host}{path}");
    if !Sealed::from(clean.as_str()).secrets().is_empty() {
        return Err("a secret may only be the user or the password, as in https://user:{{ secrets.KEY }}@host/: the rest of a URL is seen by all processes of the node".into());
    }
    if host.is_empty() || !clean.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>\\^`{|}".contains(&byte)) {
        return Err("is not a URL such as https://host/file; write characters that a URL cannot have as %XX".into());
    }
    let Some(login) = login else { return Ok((clean, Sealed::default())) };
    let (user, password) = login.split_once(':').ok_or("has a user without a password; write user:password@")?;
    let line = format!("machine {scheme}://{host} login {} password {}\n", netrc_word(user)?, netrc_word(password)?);
    Ok((clean, Sealed::from(line)))
}

/// Returns a user or password as a word of a netrc file. A secret that is encoded for the URL is inserted without that encoding.
fn netrc_word(text: &str) -> Result<String, String> {
    let mut plain = String::new();
    for part in Sealed::from(text).parts() {
        match part {
            SealedPart::Secret(secret, Encoding::Plain | Encoding::Url) => plain.push_str(&secret.token(Encoding::Plain)),
            SealedPart::Secret(_, Encoding::Scram) => return Err("a verifier is no password".into()),
            SealedPart::Bytes(bytes) => plain.push_str(&decode_percent(bytes).ok_or("the user or password has a wrong %XX")?),
        }
    }
    let blank = |character: char| character.is_whitespace() || character.is_control();
    if plain.is_empty() || plain.contains(blank) {
        return Err("a user or password cannot be empty or hold a blank".into());
    }
    Ok(plain)
}

/// Decodes `%XX`; `None` if one is invalid or the result is not text.
fn decode_percent(bytes: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            text.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            text.push(*first);
            rest = after;
        }
    }
    String::from_utf8(text).ok()
}

/// Reads `sha256:` and 64 hexadecimal digits.
fn sha256(text: &str) -> Result<String, String> {
    let sum = text
        .strip_prefix("sha256:")
        .ok_or("must be `sha256:` and the sum; older sums can be forged, and a sum from the same server proves nothing")?;
    let sum = sum.trim().to_ascii_lowercase();
    if sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(sum)
    } else {
        Err("a SHA-256 has 64 hexadecimal digits".into())
    }
}

impl Resource for GetUrl {
    fn reach(&self) -> Reach<'_> {
        self.file.reach()
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<PathState>(self.look());
        self.file.access.questions(ask);
        lock_out::ask_for_file(ask, &self.file.path);
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let found = node.answers.get::<PathState>(&self.look())?;
        match &found.entry {
            Entry::File(file) => self.verdict(node, Some(file), found.parent_exists),
            Entry::Absent => self.verdict(node, None, found.parent_exists),
            entry @ (Entry::Directory(_) | Entry::Link(_) | Entry::Other(_)) => Ok(Verdict::Refused(format!(
                "`{}` is {}, where a file is wanted; name the file itself",
                self.file.path,
                entry.describe()
            ))),
        }
    }

    fn secrets(&self) -> Vec<SecretId> {
        self.login.secrets()
    }
}

/// `$1`: the URL; `$2`: the SHA-256 or nothing; `$3`: seconds; from `$4` on the parameters of `put_file`; the netrc line on standard input.
///
/// Unlike curl, `apt-helper` is on every Debian, and it knows apt's proxies. Run by root, it fetches as the user `_apt`, who needs `fetch`.
/// The next run removes what a killed run left behind.
const FETCH: &str = r#"set -eu
url=$1 sum=$2 timeout=$3
shift 3
fail() { printf '%s\n' "$1; ${target:-the file} stays as it was" >&2; exit 1; }
target=$1
helper=/usr/lib/apt/apt-helper
[ -x "$helper" ] || fail "there is no $helper on this node to fetch files with"
for stale in /var/tmp/autobot-provision-get.*.??????????; do
    [ -d "$stale" ] && [ ! -L "$stale" ] && [ -O "$stale" ] || continue
    process=${stale%.*}
    [ -d "/proc/${process##*.}" ] || rm -rf -- "$stale"
done
work=$(mktemp -d "/var/tmp/autobot-provision-get.$$.XXXXXXXXXX")
trap 'trap "" HUP INT TERM; rm -rf -- "$work"' EXIT
trap 'trap "" HUP INT TERM; exit 143' HUP INT TERM
chmod 0711 "$work"
mkdir "$work/fetch"
chown _apt "$work/fetch" 2>/dev/null || :
cat >"$work/netrc"
"$helper" -o Dir::Etc::netrc="$work/netrc" -o Acquire::Retries=1 -o Acquire::http::Timeout="$timeout" -o Acquire::https::Timeout="$timeout" \
    download-file "$url" "$work/fetch/file" </dev/null >"$work/output" 2>&1 || {
    cat -- "$work/output" >&2
    fail "$url could not be fetched, see above"
}
# From here on the user _apt can put nothing else there.
chown 0:0 "$work/fetch" 2>/dev/null || :
[ -f "$work/fetch/file" ] && [ ! -L "$work/fetch/file" ] || fail "$url gave no file"
if [ -n "$sum" ]; then
    actual=$(sha256sum <"$work/fetch/file")
    [ "${actual%% *}" = "$sum" ] || fail "the file from $url has the checksum sha256:${actual%% *}, not the declared one"
fi
put_file "$@" <"$work/fetch/file"
"#;

#[cfg(test)]
#[path = "get_url_tests.rs"]
mod tests;
