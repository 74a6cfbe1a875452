//! The entry at a path: its type, owner and mode and, on request, its content or checksum.

use std::collections::HashMap;

use super::{Kind, Output, Unanswered};
use crate::{
    script::Script,
    values::{Mode, RemotePath},
};

/// Marker for the kind "entry at a path". A link is reported as a link, together with the entry to which it leads.
#[derive(Debug)]
pub enum PathState {}

/// A path, and how much of a regular file to read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathQuery {
    /// The path.
    pub path: RemotePath,
    /// How much of a regular file to read.
    pub depth: Depth,
}

impl PathQuery {
    /// Asks for the entry.
    #[must_use]
    pub fn attributes(path: &RemotePath) -> Self {
        Self { path: path.clone(), depth: Depth::Attributes }
    }

    /// Asks for the entry, and for the content of a regular file.
    #[must_use]
    pub fn content(path: &RemotePath) -> Self {
        Self { path: path.clone(), depth: Depth::Content }
    }

    /// Asks for the entry, and for the checksum of a regular file, to compare files of more than [`MOST_BYTES`].
    #[must_use]
    pub fn checksum(path: &RemotePath) -> Self {
        Self { path: path.clone(), depth: Depth::Checksum }
    }
}

/// How much of a regular file to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Depth {
    /// Nothing: a database of gigabytes costs no time, and private content stays on the node.
    Attributes,
    /// Its content, if it is no longer than [`MOST_BYTES`].
    Content,
    /// Its SHA-256.
    Checksum,
}

/// The largest content that is sent to the controller, in bytes.
pub const MOST_BYTES: usize = 64 * 1024;

/// The answer about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// The entry itself; links are not followed.
    pub entry: Entry,
    /// Whether the parent directory exists.
    pub parent_exists: bool,
}

impl PathInfo {
    /// Returns the entry or, with `follow`, the entry to which a link leads. Returns `None` for a dangling link.
    #[must_use]
    pub fn seen(&self, follow: bool) -> Option<&Entry> {
        match &self.entry {
            Entry::Link(link) if follow => link.leads_to.as_deref(),
            Entry::Absent | Entry::File(_) | Entry::Directory(_) | Entry::Link(_) | Entry::Other(_) => Some(&self.entry),
        }
    }

    /// Returns the regular file, following a link; `None` when nothing exists at the path.
    ///
    /// # Errors
    /// Returns an error when the entry is something else.
    pub fn file(&self, path: &RemotePath) -> Result<Option<&File>, Unanswered> {
        match self.seen(true) {
            Some(Entry::File(file)) => Ok(Some(file)),
            Some(Entry::Absent) => Ok(None),
            Some(Entry::Directory(_) | Entry::Link(_) | Entry::Other(_)) | None => {
                Err(Unanswered(format!("`{path}` is not a regular file")))
            }
        }
    }
}

/// An entry of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing exists.
    Absent,
    /// A regular file.
    File(File),
    /// A directory.
    Directory(Attributes),
    /// A symbolic link.
    Link(Link),
    /// A device, socket or pipe.
    Other(Attributes),
}

impl Entry {
    /// Returns the type of the entry for messages, such as "a directory".
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Absent => "nothing".to_owned(),
            Self::File(_) => "a file".to_owned(),
            Self::Directory(_) => "a directory".to_owned(),
            Self::Link(link) => format!("a link to `{}`", link.target),
            Self::Other(_) => "a device, socket or pipe".to_owned(),
        }
    }
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Owner and mode.
    pub attributes: Attributes,
    /// Its size in bytes.
    pub size: u64,
    /// Its content, if it was asked for and is no longer than [`MOST_BYTES`].
    pub content: Option<Vec<u8>>,
    /// Its SHA-256 in lower-case hex, if it was asked for.
    pub sha256: Option<String>,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its target as written, relative or absolute.
    pub target: String,
    /// The entry to which it finally leads; `None` for a dangling link.
    pub leads_to: Option<Box<Entry>>,
}

/// Owner and permissions of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Mode,
    /// The owner's name; `UNKNOWN` when the node has no name for the id.
    pub owner: String,
    /// The group's name; `UNKNOWN` when the node has no name for the id.
    pub group: String,
    /// The owner's user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// When the content was last modified, in seconds since 1970.
    pub modified: i64,
}

/// Each argument is a letter for the depth, followed by the path.
///
/// The output has sections that end with NUL: a digit per key for its parent directory; a record per existing entry; the error messages of `stat`,
/// one line per missing entry; a record per link that leads to an entry; checksums. Contents come last, because they may contain anything; their
/// lengths are known from the records.
const SCRIPT: &str = r#"
export QUOTING_STYLE=literal
record='%n\0%f\0%s\0%u\0%g\0%U\0%G\0%Y\0%N\0'
entries() {
    count=$#
    for key do set -- "$@" "${key#?}"; done
    shift "$count"
    stat --printf="$record" -- "$@"
}
link_targets() {
    count=$#
    for key do [ ! -L "${key#?}" ] || set -- "$@" "${key#?}"; done
    shift "$count"
    [ $# -eq 0 ] || stat -L --printf="$record" -- "$@" 2>/dev/null
}
files() {
    letter=$1 command=$2
    shift 2
    count=$#
    for key do
        case $key in "$letter"*) [ ! -f "${key#?}" ] || set -- "$@" "${key#?}" ;; esac
    done
    shift "$count"
    [ $# -eq 0 ] || $command -- "$@"
}
for key do
    directory=${key#?}
    directory=${directory%/*}
    if [ -d "${directory:-/}" ]; then printf 1; else printf 0; fi
done
printf '\0'
{ errors=$(entries "$@" 2>&1 >&3); } 3>&1
printf '\0%s\0' "$errors"
link_targets "$@"
printf '\0'
files s 'sha256sum -z' "$@"
printf '\0'
files c 'head -v -c 65537' "$@"
exit 0
"#;

impl Kind for PathState {
    type Key = PathQuery;
    type Answer = PathInfo;
    const NAME: &'static str = "paths";

    fn script(keys: &[&PathQuery]) -> Script {
        Script::new(SCRIPT).args(keys.iter().map(|look| {
            let letter = match look.depth {
                Depth::Attributes => 'a',
                Depth::Content => 'c',
                Depth::Checksum => 's',
            };
            format!("{letter}{}", look.path)
        }))
    }

    fn read(keys: &[&PathQuery], output: &Output) -> Vec<Result<PathInfo, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("paths", keys.len());
        }
        let Some(sections) = Sections::parse(&output.stdout, keys.len()) else {
            return keys.iter().map(|_| Err(Unanswered("the node's answer about paths is malformed".to_owned()))).collect();
        };
        let mut errors = sections.errors.iter();
        let mut found: Vec<Result<PathInfo, Unanswered>> = keys
            .iter()
            .zip(&sections.parents)
            .map(|(look, parent_exists)| {
                let path = look.path.as_str();
                let entry = match sections.entries.get(path) {
                    Some(record) => record.entry(path, sections.link_targets.get(path)),
                    None => absent(path, errors.next())?,
                };
                Ok(PathInfo { entry, parent_exists: *parent_exists })
            })
            .collect();
        fill_checksums(keys, &mut found, &sections.checksums);
        fill_contents(keys, &mut found, sections.contents);
        found
    }
}

/// Returns [`Entry::Absent`] when `stat` failed because nothing exists at the path. Any other error means that the entry is unknown.
fn absent(path: &str, error: Option<&String>) -> Result<Entry, Unanswered> {
    let error = error.map_or("the node gave no answer about it", String::as_str);
    if error.ends_with(": No such file or directory") || error.ends_with(": Not a directory") {
        Ok(Entry::Absent)
    } else {
        Err(Unanswered(format!("`{path}` could not be examined: {error}")))
    }
}

/// The output of `stat` for one entry.
struct Record {
    kind: u32,
    size: u64,
    attributes: Attributes,
    /// `name`, or `name -> target`.
    arrow: String,
}

impl Record {
    fn entry(&self, path: &str, target: Option<&Record>) -> Entry {
        let attributes = self.attributes.clone();
        // The type bits of st_mode, see inode(7).
        match self.kind {
            0o100_000 => Entry::File(File { attributes, size: self.size, content: None, sha256: None }),
            0o040_000 => Entry::Directory(attributes),
            0o120_000 => {
                let text = self.arrow.strip_prefix(path).and_then(|rest| rest.strip_prefix(" -> ")).unwrap_or_default();
                let leads_to = target.map(|target| Box::new(target.entry(path, None)));
                Entry::Link(Link { target: text.to_owned(), leads_to })
            }
            _ => Entry::Other(attributes),
        }
    }
}

struct Sections<'a> {
    parents: Vec<bool>,
    entries: HashMap<String, Record>,
    errors: Vec<String>,
    link_targets: HashMap<String, Record>,
    checksums: HashMap<String, String>,
    contents: &'a [u8],
}

impl<'a> Sections<'a> {
    fn parse(stdout: &'a [u8], keys: usize) -> Option<Self> {
        let mut fields = Fields(stdout);
        let parents: Vec<bool> = fields.text()?.chars().map(|digit| digit == '1').collect();
        let entries = fields.records()?;
        let errors = fields.text()?.lines().map(str::to_owned).collect();
        let link_targets = fields.records()?;
        let mut checksums = HashMap::new();
        loop {
            let line = fields.text()?;
            if line.is_empty() {
                break;
            }
            let (sum, path) = line.split_once("  ")?;
            checksums.insert(path.to_owned(), sum.to_owned());
        }
        (parents.len() == keys).then_some(Self { parents, entries, errors, link_targets, checksums, contents: fields.0 })
    }
}

/// NUL-terminated fields.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    fn number(&mut self) -> Option<u32> {
        self.text()?.parse().ok()
    }

    /// Parses records up to an empty field.
    fn records(&mut self) -> Option<HashMap<String, Record>> {
        let mut records = HashMap::new();
        loop {
            let name = self.text()?;
            if name.is_empty() {
                return Some(records);
            }
            let bits = u32::from_str_radix(&self.text()?, 16).ok()?;
            let size = self.text()?.parse().ok()?;
            let (uid, gid) = (self.number()?, self.number()?);
            let (owner, group) = (self.text()?, self.text()?);
            let modified = self.text()?.parse().ok()?;
            let attributes = Attributes { mode: Mode(bits & 0o7777), owner, group, uid, gid, modified };
            let arrow = self.text()?;
            records.insert(name, Record { kind: bits & 0o170_000, size, attributes, arrow });
        }
    }
}

/// Returns the regular file of an answer, following a link.
fn file_of(found: &mut Result<PathInfo, Unanswered>) -> Option<&mut File> {
    let entry = match &mut found.as_mut().ok()?.entry {
        Entry::Link(link) => link.leads_to.as_deref_mut()?,
        entry @ (Entry::Absent | Entry::File(_) | Entry::Directory(_) | Entry::Other(_)) => entry,
    };
    match entry {
        Entry::File(file) => Some(file),
        Entry::Absent | Entry::Directory(_) | Entry::Link(_) | Entry::Other(_) => None,
    }
}

fn fill_checksums(keys: &[&PathQuery], found: &mut [Result<PathInfo, Unanswered>], checksums: &HashMap<String, String>) {
    for (look, found) in keys.iter().zip(found).filter(|(look, _)| look.depth == Depth::Checksum) {
        let Some(file) = file_of(found) else { continue };
        match checksums.get(look.path.as_str()) {
            Some(sum) => file.sha256 = Some(sum.clone()),
            None => *found = Err(Unanswered(format!("`{}` could not be read", look.path))),
        }
    }
}

/// Assigns each file its content. Every length is known. If one does not match, a file changed between two commands, and no content is trusted.
fn fill_contents(keys: &[&PathQuery], found: &mut [Result<PathInfo, Unanswered>], mut rest: &[u8]) {
    let mut contents = Vec::new();
    let mut fits = true;
    for (index, look) in keys.iter().enumerate().filter(|(_, look)| look.depth == Depth::Content) {
        let Some(size) = file_of(&mut found[index]).map(|file| usize::try_from(file.size).unwrap_or(usize::MAX)) else {
            continue;
        };
        let gap = if contents.is_empty() { "" } else { "\n" };
        let header = format!("{gap}==> {} <==\n", look.path);
        let length = size.min(MOST_BYTES + 1);
        let content = rest.strip_prefix(header.as_bytes()).and_then(|after| after.split_at_checked(length));
        fits &= content.is_some();
        let (content, after) = content.unwrap_or_default();
        contents.push((index, content));
        rest = after;
    }
    fits &= rest.is_empty();
    for (index, content) in contents {
        if !fits {
            found[index] = Err(Unanswered(format!("`{}`, or a file read with it, changed while it was read", keys[index].path)));
        } else if content.len() <= MOST_BYTES
            && let Some(file) = file_of(&mut found[index])
        {
            file.content = Some(content.to_vec());
        }
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
