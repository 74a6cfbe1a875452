//! A file in which only some lines are managed: the common part of `lineinfile` and `blockinfile`.
//!
//! The new content is derived from the one that the node returned, and written only if the file has not changed since.

use sha2::{Digest as _, Sha256};

use super::{
    Flag, Line, Missing, NodeState, ParamError, Reach, RemotePath, Verdict,
    content::{FileContent, FileOptions},
    lineinfile::InsertPosition,
    lock_out,
    schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        path::{Entry, MOST_BYTES, PathInfo, PathQuery, PathState},
    },
    resource::Resource as _,
    secret::{Sealed, SecretId, holds_token},
    values::hex,
};

parameters! {
    /// The parameters that both have in common.
    #[derive(Debug)]
    pub(super) struct EditParameters {
        /// The file.
        path | dest | destfile | name: RemotePath,
        /// A regular expression for the line after which new lines are inserted; `EOF` is the end, `BOF` the beginning.
        insertafter: Option<String>,
        /// The same for the line before which new lines are inserted.
        insertbefore: Option<String>,
        /// Whether the file is created if it does not exist.
        create: Flag = false,
        /// Access, validation and backup.
        options: FileOptions,
    }
}

impl EditParameters {
    /// Returns the position of new lines.
    ///
    /// # Errors
    /// Placed at `insertafter` or `insertbefore`.
    pub(super) fn place(&self) -> Result<InsertPosition, ParamError> {
        InsertPosition::new(self.insertafter.as_deref(), self.insertbefore.as_deref())
    }

    /// Returns the file, with the content that the task inserts.
    ///
    /// # Errors
    /// As [`EditedFile::new`].
    pub(super) fn file(self, content: Sealed) -> Result<EditedFile, ParamError> {
        EditedFile::new(self.options.file(self.path, content), self.create.0)
    }
}

/// A file that is edited.
#[derive(Debug)]
pub(super) struct EditedFile {
    /// The file; its content is what the task inserts.
    file: FileContent,
    /// Whether the file is created if it does not exist, with the directories above it.
    create: bool,
}

/// The result of an edit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edited {
    /// The whole new content.
    pub(super) content: Sealed,
    /// A few words: "line added".
    pub(super) summary: String,
    /// Whether existing lines are replaced or removed.
    pub(super) replaces: bool,
}

impl EditedFile {
    /// Finds the errors that can be found before any node is asked.
    ///
    /// # Errors
    /// Placed at `path`, `mode` or `validate`.
    pub(super) fn new(file: FileContent, create: bool) -> Result<Self, ParamError> {
        // Links are followed, as by Ansible's modules: the edited file is the one that programs read.
        let file = FileContent { follow: true, ..file };
        let file = file.checked().map_err(|error| match error {
            ParamError::Parameter { path, message } if path == [super::Segment::Key("dest".into())] => {
                ParamError::parameter("path", message)
            }
            error @ (ParamError::Parameter { .. } | ParamError::Word { .. } | ParamError::File(_)) => error,
        })?;
        Ok(Self { file, create })
    }

    fn look(&self) -> PathQuery {
        PathQuery::content(&self.file.path).following(true).owned_by(self.file.access.owner.as_ref())
    }

    pub(super) fn questions(&self, ask: &mut Questions) {
        ask.ask::<PathState>(self.look());
        self.file.access.questions(ask);
        lock_out::ask_for_file(ask, &self.file.path);
    }

    pub(super) fn reach(&self) -> Reach<'_> {
        self.file.reach()
    }

    pub(super) fn secrets(&self) -> Vec<SecretId> {
        self.file.secrets()
    }

    /// Compares the old text (`None`: there is no file) with the result of the edit. The error of an edit is a message for the user.
    ///
    /// If the file does not exist and the edit returns `None`, as it does for the absence of a line, the file stays absent.
    pub(super) fn compare(
        &self,
        node: &NodeState<'_>,
        edit: impl Fn(Option<&str>) -> Result<Option<Edited>, String>,
    ) -> Result<Verdict, Unanswered> {
        let path = &self.file.path;
        let found = node.answers.get::<PathState>(&self.look())?;
        let old = match found.seen(true) {
            Some(Entry::Absent) => None,
            Some(Entry::File(file)) => match &file.content {
                Some(content) => Some(content.as_slice()),
                None if file.size > MOST_BYTES as u64 => {
                    let message = format!(
                        "`{path}` has {} bytes; only files of up to {MOST_BYTES} bytes are edited, see `copy` and `template`",
                        file.size
                    );
                    return Ok(Verdict::Refused(message));
                }
                None => return Err(Unanswered(format!("the content of `{path}` did not arrive"))),
            },
            // The same messages as for a whole file.
            Some(Entry::Directory(_) | Entry::Link(_) | Entry::Other(_)) | None => return self.file.evaluate(node, found),
        };
        let text = match old.map(std::str::from_utf8).transpose() {
            Ok(text) if !text.is_some_and(holds_token) => text,
            Ok(_) | Err(_) => return Ok(Verdict::Refused(format!("`{path}` is not a text in UTF-8; use `copy` or `template`"))),
        };
        let edited = match edit(text) {
            Ok(edited) => edited,
            Err(refusal) => return Ok(Verdict::Refused(format!("`{path}`: {refusal}"))),
        };
        let unchanged = edited.as_ref().is_none_or(|edited| old.is_some_and(|old| node.same(&edited.content, old)));
        if old.is_none() && edited.is_none() {
            return Ok(Verdict::CONVERGED);
        }
        let content = match edited.as_ref() {
            // Secrets stay tokens here, so that the file still counts as one that contains secrets.
            Some(edited) => edited.content.clone(),
            None => Sealed::from(old.unwrap_or_default().to_vec()),
        };
        let makes_parents = self.create && !found.parent_exists;
        let found = PathInfo { parent_exists: found.parent_exists || self.create, ..found.clone() };
        let content_words = edited.as_ref().map_or_else(|| self.file.content_words.clone(), |edited| edited.summary.clone());
        let verdict = FileContent { content, content_words, ..self.file.clone() }.evaluate(node, &found)?;
        if unchanged {
            return Ok(verdict);
        }
        let expected = old.map_or_else(|| "absent".to_owned(), |old| hex(&Sha256::digest(old)));
        let finish = |mut change: super::Change| {
            // Other lines may hold passwords, so only added and removed lines are shown.
            change.diff.lines.retain(|line| !matches!(line, Line::Context(_) | Line::Gap));
            change.script = change.script.arg(expected.clone()).arg(if makes_parents { "parents" } else { "" });
            if let Some(edited) = &edited {
                change.replaces = edited.replaces;
            }
            if makes_parents {
                change.summary.push_str(", with directories");
            }
            change
        };
        // An earlier task may make the file: a package, a template.
        let absent = (old.is_none() && !self.create).then(|| Missing::Other(format!("file `{path}` (`create: true` makes it)")));
        Ok(match (verdict, absent) {
            (Verdict::Change(change), None) => Verdict::Change(finish(change)),
            (Verdict::Change(change), Some(missing)) => Verdict::Blocked { missing: vec![missing], change: finish(change) },
            (Verdict::Blocked { missing, change }, absent) => {
                let missing = absent.into_iter().chain(missing).collect();
                Verdict::Blocked { missing, change: finish(change) }
            }
            (other @ (Verdict::Converged { .. } | Verdict::Refused(_)), _) => other,
        })
    }
}

/// A text's lines, each with its line break; the last may have none.
pub(super) fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// A line without its line break.
pub(super) fn bare(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// A new content: pieces of the old text and of what the task inserts.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<u8>);

impl Pieces {
    /// Appends whole lines, after it has ended the last line.
    pub(super) fn push(&mut self, lines: &[u8]) {
        if !lines.is_empty() {
            self.end_line();
            self.0.extend_from_slice(lines);
        }
    }

    /// Ends the last line, if it is not ended.
    pub(super) fn end_line(&mut self) {
        if self.0.last().is_some_and(|last| *last != b'\n') {
            self.0.push(b'\n');
        }
    }

    pub(super) fn sealed(self) -> Sealed {
        Sealed::from(self.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{fs, path::PathBuf, process::Command};

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        question::{Answers, Kind as _, Output},
        resource::{
            RemotePath, Resource,
            content::tests::{resource, shown},
            trial,
        },
        secret::SecretValues,
    };

    /// A directory in which edits are asked about and done by a real shell.
    pub(in crate::resource) struct Scratch(pub(in crate::resource) tempfile::TempDir);

    impl Scratch {
        /// A directory with the file `x`.
        pub(in crate::resource) fn with(content: &str) -> Self {
            let scratch = Self(tempfile::tempdir().unwrap());
            fs::write(scratch.path("x"), content).unwrap();
            scratch
        }

        pub(in crate::resource) fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        pub(in crate::resource) fn text(&self) -> String {
            fs::read_to_string(self.path("x")).unwrap()
        }

        /// Returns the verdict of a task on `x`, or on the `path` that it names.
        pub(in crate::resource) fn verdict(&self, kind: &str, mut parameters: Value) -> Verdict {
            let name = parameters["path"].as_str().unwrap_or("x").to_owned();
            parameters["path"] = json!(self.path(&name).to_str().unwrap());
            let resource: Box<dyn Resource> = resource(kind, parameters).unwrap();
            let look = PathQuery::content(&RemotePath::new(self.path(&name).to_str().unwrap()).unwrap()).following(true);
            let done = trial::run(&PathState::script(&[&look]), self.0.path());
            let found = PathState::read(&[&look], &Output { status: done.status, stdout: done.stdout }).remove(0);
            let mut answers = Answers::default();
            answers.set::<PathState>(look, found);
            resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
        }

        /// Applies a task, asserts that it is converged afterwards, and returns the summary of the change.
        pub(in crate::resource) fn apply(&self, kind: &str, parameters: Value) -> String {
            let change = match self.verdict(kind, parameters.clone()) {
                Verdict::Change(change) => change,
                other @ (Verdict::Converged { .. } | Verdict::Blocked { .. } | Verdict::Refused(_)) => return shown(&other),
            };
            let done = trial::run(&change.script, self.0.path());
            assert_eq!((done.status, done.stderr.as_str()), (0, ""));
            assert_eq!(shown(&self.verdict(kind, parameters)), "converged");
            change.summary
        }

        /// Returns the first eight digits of the SHA-1 of `x`; the known results of Ansible are recorded in this form.
        pub(in crate::resource) fn sha1(&self) -> String {
            let done = Command::new("sha1sum").arg(self.path("x")).output().unwrap();
            String::from_utf8(done.stdout).unwrap()[..8].to_owned()
        }
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_is_left_alone() {
        let scratch = Scratch::with("a\n");
        let change = trial::change(scratch.verdict("lineinfile", json!({"line": "b"})));
        fs::write(scratch.path("x"), "another program\n").unwrap();
        let done = trial::run(&change.script, scratch.0.path());
        assert_eq!(done.status, 1);
        assert!(done.stderr.contains("was changed by another process at this very moment"), "{}", done.stderr);
        assert_eq!(scratch.text(), "another program\n");
        // Repeating the change does no harm: the connection may break right after it.
        fs::write(scratch.path("x"), "a\n").unwrap();
        assert_eq!(
            [0, 0],
            [trial::run(&change.script, scratch.0.path()).status, trial::run(&change.script, scratch.0.path()).status]
        );
        assert_eq!(scratch.text(), "a\nb\n");
        let change = trial::change(scratch.verdict("lineinfile", json!({"line": "b", "path": "new", "create": true})));
        fs::write(scratch.path("new"), "").unwrap();
        assert_eq!(trial::run(&change.script, scratch.0.path()).status, 1);
    }

    #[test]
    fn a_file_that_cannot_be_edited_is_refused() {
        let scratch = Scratch::with(&"x".repeat(MOST_BYTES + 1));
        fs::write(scratch.path("binary"), [0xff, 0xfe]).unwrap();
        fs::write(scratch.path("token"), "\u{F5EC0}db\u{F5EC1}REDIS_PASSWORD\u{F5EC1}plain\u{F5EC2}").unwrap();
        fs::create_dir(scratch.path("directory")).unwrap();
        std::os::unix::fs::symlink("nowhere", scratch.path("dangling")).unwrap();
        for (path, why) in [
            ("x", "65537 bytes; only files of up to 65536 bytes are edited"),
            ("binary", "is not a text in UTF-8"),
            // A node must not make us write a secret of another one.
            ("token", "is not a text in UTF-8"),
            ("directory", "is a directory; name the file in it"),
            ("dangling", "is a link that leads nowhere"),
        ] {
            let Verdict::Refused(reason) = scratch.verdict("lineinfile", json!({"line": "b", "path": path})) else {
                panic!("{path}")
            };
            assert!(reason.contains(why), "{reason}");
        }
    }
}
