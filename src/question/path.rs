//! The entry at a path: its type, owner and mode and, on request, its content or checksum.

use std::collections::{BTreeSet, HashMap};

pub use super::entry::{Attributes, Entry, File, Link, PathInfo};
use super::{Kind, Output, Unanswered, account::AccountName, way::WAY};
use crate::{
    script::Script,
    values::{Mode, RemotePath},
};

/// Marker for the kind "entry at a path". A link is reported as a link, together with the entry to which it leads.
///
/// A path that leads through something that a user who is not trusted could put there or replace has no answer, see [`super::way`].
#[derive(Debug)]
pub enum PathState {}

/// A path, and how much of a regular file to read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathQuery {
    /// The path.
    pub path: RemotePath,
    /// How much of a regular file to read.
    pub depth: Depth,
    /// Whether a link at the path is followed, to read what it leads to.
    pub follow: bool,
    /// The owner that the entry is to have: he is trusted below his own directories.
    pub owner: Option<AccountName>,
}

impl PathQuery {
    fn new(path: &RemotePath, depth: Depth) -> Self {
        Self { path: path.clone(), depth, follow: false, owner: None }
    }

    /// Follows a link at the path, or not.
    #[must_use]
    pub fn following(self, follow: bool) -> Self {
        Self { follow, ..self }
    }

    /// Trusts the owner that the entry is to have below his own directories.
    #[must_use]
    pub fn owned_by(self, owner: Option<&AccountName>) -> Self {
        Self { owner: owner.cloned(), ..self }
    }

    /// Returns the key as one word of the script.
    fn word(&self) -> String {
        let letter = match self.depth {
            Depth::Attributes => 'a',
            Depth::Removal => 'r',
            Depth::Existence => 'e',
            Depth::Content => 'c',
            Depth::Checksum => 's',
        };
        let owner = self.owner.as_ref().map(AccountName::as_str).unwrap_or_default();
        format!("{letter}{}{owner}{}", if self.follow { 'f' } else { '-' }, self.path)
    }

    /// Asks for the entry.
    #[must_use]
    pub fn attributes(path: &RemotePath) -> Self {
        Self::new(path, Depth::Attributes)
    }

    /// Asks for the entry, which is to be removed.
    #[must_use]
    pub fn removal(path: &RemotePath) -> Self {
        Self::new(path, Depth::Removal)
    }

    /// Asks whether there is an entry.
    #[must_use]
    pub fn existence(path: &RemotePath) -> Self {
        Self::new(path, Depth::Existence)
    }

    /// Asks for the entry, and for the content of a regular file.
    #[must_use]
    pub fn content(path: &RemotePath) -> Self {
        Self::new(path, Depth::Content)
    }

    /// Asks for the entry, and for the checksum of a regular file, to compare files of more than [`MOST_BYTES`].
    #[must_use]
    pub fn checksum(path: &RemotePath) -> Self {
        Self::new(path, Depth::Checksum)
    }
}

/// How much of a regular file to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Depth {
    /// Nothing: a database of gigabytes costs no time, and private content stays on the node.
    Attributes,
    /// Nothing, as it is to be removed: in a sticky directory it may be any user's.
    Removal,
    /// Nothing: only whether it exists matters, so it and the directories above it may be any user's. No link is followed that one could put there.
    Existence,
    /// Its content, if it is no longer than [`MOST_BYTES`].
    Content,
    /// Its SHA-256.
    Checksum,
}

/// The largest content that is sent to the controller, in bytes.
pub const MOST_BYTES: usize = 64 * 1024;

/// See its own comment.
const SCRIPT: &str = include_str!("path.sh");

impl Kind for PathState {
    type Key = PathQuery;
    type Answer = PathInfo;
    const NAME: &'static str = "paths";
    const IN_PLACE: bool = true;

    fn script(keys: &[&PathQuery]) -> Script {
        let above: BTreeSet<&str> = keys.iter().flat_map(|key| above(key.path.as_str())).collect();
        let above: Vec<&str> = above.into_iter().collect();
        Script::new(SCRIPT).using(WAY).arg(above.join("\n")).args(keys.iter().map(|key| key.word()))
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
            .map(|(look, parent)| {
                let path = look.path.as_str();
                let entry = match sections.entries.get(path) {
                    _ if parent.careful => Entry::Absent,
                    Some(record) => record.entry(sections.link_targets.get(path)),
                    None => absent(path, errors.next())?,
                };
                Ok(PathInfo { entry, parent_exists: parent.exists })
            })
            .collect();
        let careful: Vec<bool> = sections.parents.iter().map(|parent| parent.careful).collect();
        let plain = |index: &usize| !careful[*index];
        fill_checksums(keys, &mut found, &sections.checksums, plain);
        let mut rest = Fields(fill_contents(keys, &mut found, sections.contents, plain));
        for index in (0..keys.len()).filter(|index| careful[*index]) {
            found[index] = rest.looked_at(keys[index], sections.parents[index].exists);
        }
        if !rest.0.is_empty() {
            // Something changed between two commands, and no content is trusted.
            for index in (0..keys.len()).filter(|index| keys[*index].depth == Depth::Content) {
                found[index] = Err(changed(&keys[index].path));
            }
        }
        found
    }
}

/// Returns the directories above a path.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter(move |_| path != "/").map(move |(at, _)| if at == 0 { "/" } else { &path[..at] })
}

fn changed(path: &RemotePath) -> Unanswered {
    Unanswered(format!("`{path}`, or a file read with it, changed while it was read"))
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
    /// The name under which it was asked for.
    name: String,
    kind: u32,
    size: u64,
    attributes: Attributes,
    /// `name`, or `name -> target`.
    arrow: String,
}

impl Record {
    fn entry(&self, target: Option<&Record>) -> Entry {
        let attributes = self.attributes.clone();
        // The type bits of st_mode, see inode(7).
        match self.kind {
            0o100_000 => Entry::File(File { attributes, size: self.size, content: None, sha256: None }),
            0o040_000 => Entry::Directory(attributes),
            0o120_000 => {
                let text =
                    self.arrow.strip_prefix(self.name.as_str()).and_then(|rest| rest.strip_prefix(" -> ")).unwrap_or_default();
                let leads_to = target.map(|target| Box::new(target.entry(None)));
                Entry::Link(Link { target: text.to_owned(), leads_to })
            }
            _ => Entry::Other(attributes),
        }
    }
}

/// What is known of the directory of a key.
struct Parent {
    exists: bool,
    /// Whether the way there was not plainly root's: the key is answered by itself, after the others.
    careful: bool,
}

impl Parent {
    fn of(digit: char) -> Option<Self> {
        let digit = digit.to_digit(4)?;
        Some(Self { exists: digit & 1 != 0, careful: digit & 2 != 0 })
    }
}

struct Sections<'a> {
    parents: Vec<Parent>,
    entries: HashMap<String, Record>,
    errors: Vec<String>,
    link_targets: HashMap<String, Record>,
    checksums: HashMap<String, String>,
    contents: &'a [u8],
}

impl<'a> Sections<'a> {
    fn parse(stdout: &'a [u8], keys: usize) -> Option<Self> {
        let mut fields = Fields(stdout);
        let parents: Vec<Parent> = fields.text()?.chars().map(Parent::of).collect::<Option<_>>()?;
        let entries = fields.by_name()?;
        let errors = fields.text()?.lines().map(str::to_owned).collect();
        let link_targets = fields.by_name()?;
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
    fn records(&mut self) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        loop {
            let name = self.text()?;
            if name.is_empty() {
                return Some(records);
            }
            let bits = u32::from_str_radix(&self.text()?, 16).ok()?;
            let size = self.text()?.parse().ok()?;
            let (uid, gid) = (self.number()?, self.number()?);
            let (owner, group) = (self.text()?, self.text()?);
            let changed = self.text()?.parse().ok()?;
            let attributes = Attributes { mode: Mode(bits & 0o7777), owner, group, uid, gid, changed };
            let arrow = self.text()?;
            records.push(Record { name, kind: bits & 0o170_000, size, attributes, arrow });
        }
    }

    fn by_name(&mut self) -> Option<HashMap<String, Record>> {
        Some(self.records()?.into_iter().map(|record| (record.name.clone(), record)).collect())
    }

    /// Parses the answer about a key that was looked at by itself. What does not fit stays, and leaves this and all later ones without an answer.
    fn looked_at(&mut self, look: &PathQuery, parent_exists: bool) -> Result<PathInfo, Unanswered> {
        self.try_looked_at(look, parent_exists).unwrap_or_else(|| {
            self.0 = b"?";
            Err(changed(&look.path))
        })
    }

    fn try_looked_at(&mut self, look: &PathQuery, parent_exists: bool) -> Option<Result<PathInfo, Unanswered>> {
        if self.text()? != look.word() {
            return None;
        }
        let refusal = self.text()?;
        let mut records = self.records()?.into_iter();
        let entry = match (records.next(), records.next()) {
            (None, _) => Entry::Absent,
            (Some(record), target) => record.entry(target.as_ref()),
        };
        let sum = self.text()?;
        let mut found = Ok(PathInfo { entry, parent_exists });
        let size = file_of(&mut found).map_or(0, |file| usize::try_from(file.size).unwrap_or(usize::MAX));
        let length = if look.depth == Depth::Content { size.min(MOST_BYTES + 1) } else { 0 };
        let (content, rest) = self.0.split_at_checked(length)?;
        self.0 = rest.strip_prefix(b"\0")?;
        if !refusal.is_empty() {
            return Some(Err(Unanswered(refusal.trim_end().to_owned())));
        }
        if let Some(file) = file_of(&mut found) {
            file.sha256 = sum.split_once(' ').map(|(sum, _)| sum.to_owned());
            file.content = (look.depth == Depth::Content && length <= MOST_BYTES).then(|| content.to_vec());
        }
        Some(found)
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

/// Whether the content of this entry, or of what it leads to, was read.
fn is_read(look: &PathQuery, found: &Result<PathInfo, Unanswered>) -> bool {
    look.follow || !matches!(found, Ok(PathInfo { entry: Entry::Link(_), .. }))
}

fn fill_checksums(
    keys: &[&PathQuery],
    found: &mut [Result<PathInfo, Unanswered>],
    checksums: &HashMap<String, String>,
    plain: impl Fn(&usize) -> bool,
) {
    for index in (0..keys.len()).filter(plain).filter(|index| keys[*index].depth == Depth::Checksum) {
        let look = keys[index];
        if !is_read(look, &found[index]) {
            continue;
        }
        let Some(file) = file_of(&mut found[index]) else { continue };
        match checksums.get(look.path.as_str()) {
            Some(sum) => file.sha256 = Some(sum.clone()),
            None => found[index] = Err(Unanswered(format!("`{}` could not be read", look.path))),
        }
    }
}

/// Assigns each file its content, and returns what follows. Every length is known. If one does not match, a file changed between two commands, and
/// no content is trusted.
fn fill_contents<'a>(
    keys: &[&PathQuery],
    found: &mut [Result<PathInfo, Unanswered>],
    mut rest: &'a [u8],
    plain: impl Fn(&usize) -> bool,
) -> &'a [u8] {
    let mut contents = Vec::new();
    let mut fits = true;
    for index in (0..keys.len()).filter(plain).filter(|index| keys[*index].depth == Depth::Content) {
        let look = keys[index];
        if !is_read(look, &found[index]) {
            continue;
        }
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
    for (index, content) in contents {
        if !fits {
            found[index] = Err(changed(&keys[index].path));
        } else if content.len() <= MOST_BYTES
            && let Some(file) = file_of(&mut found[index])
        {
            file.content = Some(content.to_vec());
        }
    }
    rest
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
