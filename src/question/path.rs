//! What is at a path: the kind of thing, its owner and mode and, where asked for, its content or checksum.

use std::collections::HashMap;

use super::{Kind, Output, Unanswered};
use crate::{
    resource::{Mode, RemotePath},
    script::Script,
};

/// Asks what is at a path. A link is itself, and what it leads to comes with it.
#[derive(Debug)]
pub enum PathState {}

/// A path, and how deep to look into a regular file there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Look {
    /// Where.
    pub path: RemotePath,
    /// How deep.
    pub depth: Depth,
}

impl Look {
    /// What is there.
    #[must_use]
    pub fn attributes(path: &RemotePath) -> Self {
        Self { path: path.clone(), depth: Depth::Attributes }
    }

    /// What is there, and what a regular file holds.
    #[must_use]
    pub fn content(path: &RemotePath) -> Self {
        Self { path: path.clone(), depth: Depth::Content }
    }

    /// What is there, and a regular file's checksum: for comparing with more than [`MOST_BYTES`].
    #[must_use]
    pub fn checksum(path: &RemotePath) -> Self {
        Self { path: path.clone(), depth: Depth::Checksum }
    }
}

/// How deep to look into a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Depth {
    /// Not at all: a database of gigabytes costs nothing, and what is nobody's business stays on the node.
    Attributes,
    /// Its bytes, when there are no more than [`MOST_BYTES`].
    Content,
    /// Its SHA-256.
    Checksum,
}

/// The most bytes of a file that travel to the controller.
pub const MOST_BYTES: usize = 64 * 1024;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is there, links not followed.
    pub entry: Entry,
    /// Whether the directory that holds it, or would, is there.
    pub parent_exists: bool,
}

impl Found {
    /// What is there: with `follow`, what a link there leads to. `None` for a link that leads nowhere.
    #[must_use]
    pub fn seen(&self, follow: bool) -> Option<&Entry> {
        match &self.entry {
            Entry::Link(link) if follow => link.leads_to.as_deref(),
            Entry::Absent | Entry::File(_) | Entry::Directory(_) | Entry::Link(_) | Entry::Other(_) => Some(&self.entry),
        }
    }

    /// The regular file that is there or that a link there leads to; `None` when there is nothing.
    ///
    /// # Errors
    /// When there is something else.
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

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
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
    /// What it is, for messages: "a directory".
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
    /// Bytes.
    pub size: u64,
    /// Its bytes, where they were asked for and are no more than [`MOST_BYTES`].
    pub content: Option<Vec<u8>>,
    /// Its SHA-256 in lower-case hex, where it was asked for.
    pub sha256: Option<String>,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it says, relative or absolute.
    pub target: String,
    /// What is there in the end; `None` when it leads nowhere.
    pub leads_to: Option<Box<Entry>>,
}

/// Who owns something and who may do what with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Mode,
    /// The owner's name; `UNKNOWN` when the node has none for the number.
    pub owner: String,
    /// The group's name; `UNKNOWN` when the node has none for the number.
    pub group: String,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The last change of the content, in seconds since 1970.
    pub modified: i64,
}

/// Each key is a letter for its depth and the path.
///
/// Sections, each ended by a NUL: a digit per key for its parent directory; a record per thing that is there; the complaints of `stat`, a line per
/// key that is not; a record per link that leads somewhere; checksums. Contents come last, because they may hold anything: their lengths are
/// known from the records.
const SCRIPT: &str = r#"
export QUOTING_STYLE=literal
record='%n\0%f\0%s\0%u\0%g\0%U\0%G\0%Y\0%N\0'
things() {
    count=$#
    for key do set -- "$@" "${key#?}"; done
    shift "$count"
    stat --printf="$record" -- "$@"
}
ends_of_links() {
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
{ complaints=$(things "$@" 2>&1 >&3); } 3>&1
printf '\0%s\0' "$complaints"
ends_of_links "$@"
printf '\0'
files s 'sha256sum -z' "$@"
printf '\0'
files c 'head -v -c 65537' "$@"
exit 0
"#;

impl Kind for PathState {
    type Key = Look;
    type Answer = Found;
    const NAME: &'static str = "paths";

    fn script(keys: &[&Look]) -> Script {
        Script::new(SCRIPT).args(keys.iter().map(|look| {
            let letter = match look.depth {
                Depth::Attributes => 'a',
                Depth::Content => 'c',
                Depth::Checksum => 's',
            };
            format!("{letter}{}", look.path)
        }))
    }

    fn read(keys: &[&Look], output: &Output) -> Vec<Result<Found, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("paths", keys.len());
        }
        let Some(sections) = Sections::parse(&output.stdout, keys.len()) else {
            return keys.iter().map(|_| Err(Unanswered("the node's answer about paths makes no sense".to_owned()))).collect();
        };
        let mut complaints = sections.complaints.iter();
        let mut found: Vec<Result<Found, Unanswered>> = keys
            .iter()
            .zip(&sections.parents)
            .map(|(look, parent_exists)| {
                let path = look.path.as_str();
                let entry = match sections.things.get(path) {
                    Some(record) => record.entry(path, sections.ends.get(path)),
                    None => absent(path, complaints.next())?,
                };
                Ok(Found { entry, parent_exists: *parent_exists })
            })
            .collect();
        fill_checksums(keys, &mut found, &sections.checksums);
        fill_contents(keys, &mut found, sections.contents);
        found
    }
}

/// Whether `stat` complained because nothing is there; anything else means that we do not know.
fn absent(path: &str, complaint: Option<&String>) -> Result<Entry, Unanswered> {
    let complaint = complaint.map_or("the node says nothing about it", String::as_str);
    if complaint.ends_with(": No such file or directory") || complaint.ends_with(": Not a directory") {
        Ok(Entry::Absent)
    } else {
        Err(Unanswered(format!("`{path}` could not be looked at: {complaint}")))
    }
}

/// What `stat` says of one thing.
struct Record {
    kind: u32,
    size: u64,
    attributes: Attributes,
    /// `name`, or `name -> target`.
    arrow: String,
}

impl Record {
    fn entry(&self, path: &str, end: Option<&Record>) -> Entry {
        let attributes = self.attributes.clone();
        // The type bits of st_mode, see inode(7).
        match self.kind {
            0o100_000 => Entry::File(File { attributes, size: self.size, content: None, sha256: None }),
            0o040_000 => Entry::Directory(attributes),
            0o120_000 => {
                let target = self.arrow.strip_prefix(path).and_then(|rest| rest.strip_prefix(" -> ")).unwrap_or_default();
                let leads_to = end.map(|end| Box::new(end.entry(path, None)));
                Entry::Link(Link { target: target.to_owned(), leads_to })
            }
            _ => Entry::Other(attributes),
        }
    }
}

struct Sections<'a> {
    parents: Vec<bool>,
    things: HashMap<String, Record>,
    complaints: Vec<String>,
    ends: HashMap<String, Record>,
    checksums: HashMap<String, String>,
    contents: &'a [u8],
}

impl<'a> Sections<'a> {
    fn parse(stdout: &'a [u8], keys: usize) -> Option<Self> {
        let mut fields = Fields(stdout);
        let parents: Vec<bool> = fields.text()?.chars().map(|digit| digit == '1').collect();
        let things = fields.records()?;
        let complaints = fields.text()?.lines().map(str::to_owned).collect();
        let ends = fields.records()?;
        let mut checksums = HashMap::new();
        loop {
            let line = fields.text()?;
            if line.is_empty() {
                break;
            }
            let (sum, path) = line.split_once("  ")?;
            checksums.insert(path.to_owned(), sum.to_owned());
        }
        (parents.len() == keys).then_some(Self { parents, things, complaints, ends, checksums, contents: fields.0 })
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

    /// Records up to an empty field.
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

/// The regular file of an answer, behind a link or not.
fn file_of(found: &mut Result<Found, Unanswered>) -> Option<&mut File> {
    let entry = match &mut found.as_mut().ok()?.entry {
        Entry::Link(link) => link.leads_to.as_deref_mut()?,
        entry @ (Entry::Absent | Entry::File(_) | Entry::Directory(_) | Entry::Other(_)) => entry,
    };
    match entry {
        Entry::File(file) => Some(file),
        Entry::Absent | Entry::Directory(_) | Entry::Link(_) | Entry::Other(_) => None,
    }
}

fn fill_checksums(keys: &[&Look], found: &mut [Result<Found, Unanswered>], checksums: &HashMap<String, String>) {
    for (look, found) in keys.iter().zip(found).filter(|(look, _)| look.depth == Depth::Checksum) {
        let Some(file) = file_of(found) else { continue };
        match checksums.get(look.path.as_str()) {
            Some(sum) => file.sha256 = Some(sum.clone()),
            None => *found = Err(Unanswered(format!("`{}` could not be read", look.path))),
        }
    }
}

/// Gives each file its content. Every length is known; when one does not fit, a file changed between two commands and no content is trusted.
fn fill_contents(keys: &[&Look], found: &mut [Result<Found, Unanswered>], mut rest: &[u8]) {
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
