//! A file with a declared content: the base of `copy`, `template` and other resources that manage a whole file.

use super::{
    Change, Diff, Flag, Line, Missing, Mode, NodeState, ParamError, Reach, RemotePath, Resource, ShellText, Verdict,
    access::{Access, AccessDifference},
    lock_out,
    put::{Backup, Put, set_access},
    schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        kept::Kept,
        path::{Attributes, Entry, File, MOST_BYTES, PathInfo, PathQuery, PathState},
    },
    secret::{Sealed, SecretId},
    shell::{Lexer, Words},
    values::hex,
};

/// The assumed maximum length of a secret when the size of a content is estimated.
const LONGEST_SECRET: usize = 4096;

parameters! {
    /// The parameters that all resources that write a file have in common.
    #[derive(Debug)]
    pub struct FileOptions {
        /// Owner, group and mode.
        access: Access,
        /// A command that must accept the new file before it replaces the old one; `%s` stands for its path.
        validate: Option<ShellText>,
        /// Whether the old file is kept beside the new one.
        backup: Flag = false,
    }
}

parameters! {
    /// The parameters that resources that write a whole file have in common.
    #[derive(Debug)]
    pub struct WrittenFile {
        /// The file on the node.
        dest: RemotePath,
        /// Access, validation and backup.
        options: FileOptions,
        /// Whether an existing file is replaced.
        force: Flag = true,
        /// Whether a link at the last part of the path is followed; otherwise the file replaces it.
        follow: Flag = false,
    }
}

impl WrittenFile {
    /// Returns the file with this content.
    #[must_use]
    pub fn holding(self, content: Sealed) -> FileContent {
        let (force, follow) = (self.force.0, self.follow.0);
        FileContent { force, follow, ..self.options.file(self.dest, content) }
    }
}

impl FileOptions {
    /// Returns a file with these options.
    #[must_use]
    pub fn file(self, path: RemotePath, content: Sealed) -> FileContent {
        FileContent {
            access: self.access,
            validate: self.validate.map(|text| text.0),
            backup: self.backup.0,
            ..FileContent::new(path, content)
        }
    }
}

/// A regular file with its whole content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// Its path.
    pub path: RemotePath,
    /// Its content.
    pub content: Sealed,
    /// Owner, group and mode. Without a mode, a file is kept from other users once it holds secrets: 0600 when it is new.
    pub access: Access,
    /// A command that must accept the new file, with `%s` for its path.
    pub validate: Option<String>,
    /// Whether the old file is kept beside the new one.
    pub backup: bool,
    /// Whether an existing entry is replaced.
    pub force: bool,
    /// Whether a link at the last part of the path is followed; otherwise the file replaces it.
    pub follow: bool,
    /// The words for a change of its content, in summaries.
    pub content_words: String,
}

impl FileContent {
    /// Returns a file with this content at this path, which replaces an existing one.
    #[must_use]
    pub fn new(path: RemotePath, content: Sealed) -> Self {
        Self {
            path,
            content,
            access: Access::default(),
            validate: None,
            backup: false,
            force: true,
            follow: false,
            content_words: "content".into(),
        }
    }

    /// Reports the errors that can be found before any node is asked.
    ///
    /// # Errors
    /// Placed at the parameter `dest`, `mode` or `validate`.
    pub fn checked(self) -> Result<Self, ParamError> {
        // A file in these directories does not return what was written to it, and its size means nothing.
        for kernel in ["/proc", "/sys", "/dev"] {
            if self.path.as_str() == kernel || self.path.as_str().starts_with(&format!("{kernel}/")) {
                let message = format!("`{}` is the kernel's, not a file; use `sysctl` or `command`", self.path);
                return Err(ParamError::parameter("dest", message));
            }
        }
        if let Some(mode) = self.access.mode
            && mode.0 & 0o007 != 0
            && !self.content.secrets().is_empty()
        {
            let message =
                format!("the file holds a secret: mode {} lets every user at it; say \"0600\" or \"0640\"", mode.octal());
            return Err(ParamError::parameter("mode", message));
        }
        match &self.validate {
            Some(command) if !command.contains("%s") => {
                Err(ParamError::parameter("validate", "say where the file's path goes with `%s`"))
            }
            Some(command) if quoted(command) => Err(ParamError::parameter("validate", "write `%s` without quotes around it")),
            Some(command) => match path_run_as_code(command) {
                Some(message) => Err(ParamError::parameter("validate", message)),
                None => Ok(self),
            },
            None => Ok(self),
        }
    }

    fn look(&self) -> PathQuery {
        let longest = self.content.as_tokens().len() + self.content.secrets().len() * LONGEST_SECRET;
        let look = if longest > MOST_BYTES { PathQuery::checksum(&self.path) } else { PathQuery::content(&self.path) };
        look.following(self.follow).owned_by(self.access.owner.as_ref())
    }

    fn same(&self, node: &NodeState<'_>, file: &File) -> Result<bool, Unanswered> {
        let Ok(wanted) = self.content.reveal(node.secrets) else { return Ok(false) };
        if u64::try_from(wanted.len()).ok() != Some(file.size) {
            return Ok(false);
        }
        match (&file.content, &file.sha256) {
            (Some(content), _) => Ok(content.as_slice() == wanted.as_slice()),
            (None, Some(sum)) => Ok(hex(&wanted.sha256()) == *sum),
            (None, None) => Err(Unanswered(format!("`{}` is too large to compare", self.path))),
        }
    }

    /// Returns the wanted access, given the actual one: without a declared mode, a file with secrets is closed to other users.
    fn effective_access(&self, actual: Option<&Attributes>) -> Access {
        let mut access = self.access.clone();
        if access.mode.is_none() && !self.content.secrets().is_empty() {
            access.mode = Some(actual.map_or(Mode(0o600), |actual| Mode(actual.mode.0 & !0o007)));
        }
        access
    }

    fn text_diff(&self, node: &NodeState<'_>, before: Option<&File>) -> Vec<Line> {
        let after = self.content.as_tokens();
        let old = before.map(|file| file.content.as_deref().filter(|content| is_text(content)));
        match old {
            None if showable(after) => Diff::of_text(None, &self.content, node.secrets).lines,
            Some(Some(old)) if showable(after) => Diff::of_text(Some(old), &self.content, node.secrets).lines,
            None | Some(_) => {
                let mut diff = Diff::none();
                if let Some(file) = before {
                    diff.removed(format!("{} bytes", file.size));
                }
                diff.added(format!("{} bytes", after.len()));
                diff.lines
            }
        }
    }

    fn verdict(&self, node: &NodeState<'_>, found: &PathInfo, before: Before<'_>) -> Result<Verdict, Unanswered> {
        let file = match before {
            Before::File(file) => Some(file),
            Before::Nothing | Before::Link(_) => None,
        };
        let actual = file.map(|file| &file.attributes);
        let access = self.effective_access(actual);
        let difference = access.compare(node, actual)?;
        let same = file.map_or(Ok(false), |file| self.same(node, file))?;
        if same && difference.summary.is_empty() {
            return Ok(Verdict::CONVERGED);
        }
        let AccessDifference { mut missing, mut diff, mut summary, .. } = difference;
        if let Some(reason) = lock_out::of_file(node, &self.path, &access, file, (!same).then_some(&self.content))? {
            return Ok(Verdict::Refused(reason));
        }
        if !found.parent_exists {
            missing.push(Missing::Directory(self.path.parent()));
        }
        if let Before::Link(target) = before {
            diff.lines.insert(0, Line::Removed(format!("link to {target}")));
        }
        if !same {
            diff.lines.extend(self.text_diff(node, file));
            match before {
                Before::Nothing => summary = vec!["create".to_owned()],
                Before::Link(_) => summary = vec!["replace the link".to_owned()],
                Before::File(_) => summary.insert(0, self.content_words.clone()),
            }
        }
        let script = if same {
            set_access(&self.path, &access, self.follow)
        } else {
            let secretive = !self.content.secrets().is_empty();
            let backup = match (self.backup, secretive) {
                (false, _) => Backup::None,
                (true, false) => Backup::Keep,
                (true, true) => Backup::Private,
            };
            let put = Put { path: &self.path, access, follow: self.follow, backup, validate: self.validate.as_deref() };
            put.script(self.content.clone(), node.secrets)
        };
        let replaces = !matches!(before, Before::Nothing);
        let change = Change::new(summary.join(", "), script).diff(diff.titled(self.path.as_str())).replacing(replaces);
        let change = change.creating((!replaces).then(|| self.path.clone()));
        let is_followed = self.follow && matches!(found.entry, Entry::Link(_));
        let path = self.path.clone();
        let change = change.writing(if is_followed { Kept::Target(path) } else { Kept::File(path) });
        Ok(blocked_by(missing, change))
    }
}

/// The entry that the file replaces.
#[derive(Clone, Copy)]
enum Before<'a> {
    Nothing,
    Link(&'a str),
    File(&'a File),
}

impl FileContent {
    /// Returns the content, if it is text and all secrets in it are known.
    pub(super) fn text(&self, node: &NodeState<'_>) -> Option<String> {
        String::from_utf8(self.content.reveal(node.secrets).ok()?.as_slice().to_vec()).ok()
    }
}

impl Resource for FileContent {
    fn reach(&self) -> Reach<'_> {
        Reach::Path(&self.path)
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<PathState>(self.look());
        self.access.questions(ask);
        lock_out::ask_for_file(ask, &self.path);
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        self.evaluate(node, node.answers.get::<PathState>(&self.look())?)
    }

    fn secrets(&self) -> Vec<SecretId> {
        self.content.secrets()
    }
}

impl FileContent {
    /// As [`Resource::compare`], with the actual state of the path.
    pub(super) fn evaluate(&self, node: &NodeState<'_>, found: &PathInfo) -> Result<Verdict, Unanswered> {
        if !self.force && found.entry != Entry::Absent {
            return Ok(Verdict::CONVERGED);
        }
        let path = &self.path;
        let before = match found.seen(self.follow) {
            None => {
                return Ok(Verdict::Refused(format!(
                    "`{path}` is a link that leads nowhere; remove it or make what it leads to"
                )));
            }
            Some(Entry::Absent) => Before::Nothing,
            Some(Entry::File(file)) => Before::File(file),
            Some(Entry::Link(link)) => match link.leads_to.as_deref() {
                Some(Entry::Directory(_)) => {
                    return Ok(Verdict::Refused(format!(
                        "`{path}` is a link to a directory; name the file in it, as in `{path}/NAME`"
                    )));
                }
                Some(Entry::Absent | Entry::File(_) | Entry::Link(_) | Entry::Other(_)) | None => Before::Link(&link.target),
            },
            Some(Entry::Directory(_)) => {
                return Ok(Verdict::Refused(format!("`{path}` is a directory; name the file in it, as in `{path}/NAME`")));
            }
            Some(entry @ Entry::Other(_)) => {
                return Ok(Verdict::Refused(format!(
                    "`{path}` is {}, where a file is wanted; remove it first",
                    entry.describe()
                )));
            }
        };
        self.verdict(node, found, before)
    }
}

/// Returns the change, blocked if something is missing.
#[must_use]
pub fn blocked_by(missing: Vec<Missing>, change: Change) -> Verdict {
    if missing.is_empty() { Verdict::Change(change) } else { Verdict::Blocked { missing, change } }
}

/// Whether a `%s` is within quotes, where the path would not be inserted as one word.
fn quoted(command: &str) -> bool {
    let mut lexer = Lexer::new();
    let mut pieces = command.split("%s");
    let mut next = pieces.next();
    while let Some(piece) = next {
        next = pieces.next();
        // Text that the lexer does not understand is left to the node's shell.
        if lexer.text(piece).is_err() {
            return false;
        }
        if next.is_some() && lexer.is_quoted() {
            return true;
        }
    }
    false
}

/// Returns why the path in place of `%s` would run as code, as in `sh -c %s`.
fn path_run_as_code(command: &str) -> Option<String> {
    let mut lexer = Lexer::new();
    let mut parts = command.split("%s");
    // Text that the lexer does not understand is left to the node's shell.
    lexer.text(parts.next()?).ok()?;
    for (number, part) in parts.enumerate() {
        match lexer.value(number, Words::Unknown) {
            Err(refusal) if refusal.message.contains("whole command") => return None,
            Err(refusal) => return Some(format!("`%s` would be code: {}", refusal.message)),
            Ok(_) => lexer.text(part).ok()?,
        }
    }
    None
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

fn showable(bytes: &[u8]) -> bool {
    bytes.len() <= MOST_BYTES && is_text(bytes)
}

#[cfg(test)]
#[path = "content_tests.rs"]
pub(super) mod tests;
