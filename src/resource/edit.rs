//! A file in which only some lines are managed: the common part of `lineinfile` and `blockinfile`.
//!
//! The new content is derived from the one that the node returned, and written only if the file has not changed since.

use sha2::{Digest as _, Sha256};

use super::{
    Flag, Line, Missing, NodeState, ParamError, Reach, RemotePath, Resource, Verdict,
    content::{FileContent, FileOptions},
    lock_out,
    pattern::Pattern,
    raw_text::{bytes_of, text_of},
    schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        path::{Entry, MOST_BYTES, PathInfo, PathQuery, PathState},
    },
    secret::{Encoding, Sealed, SealedPart, Secret, SecretId, SecretValues, holds_token},
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
    /// Returns the position of new lines. An empty text for it and `BOF` for `insertafter` are left to the caller, because each of Ansible's modules
    /// has a meaning of its own for them.
    ///
    /// # Errors
    /// Placed at `insertafter` or `insertbefore`.
    pub(super) fn place(&self) -> Result<InsertPosition, ParamError> {
        let pattern = |name, text: &str| Pattern::new(text).map_err(|reason| ParamError::parameter(name, reason));
        match (self.insertafter.as_deref(), self.insertbefore.as_deref()) {
            (Some(_), Some(_)) => Err(ParamError::parameter("insertbefore", "give either `insertafter` or `insertbefore`")),
            (None | Some("EOF"), None) => Ok(InsertPosition::End),
            (None, Some("BOF")) => Ok(InsertPosition::Begin),
            (Some(text), None) => pattern("insertafter", text).map(InsertPosition::After),
            (None, Some(text)) => pattern("insertbefore", text).map(InsertPosition::Before),
        }
    }

    /// Returns the file, with the content that the task inserts.
    ///
    /// # Errors
    /// As [`EditedFile::new`].
    pub(super) fn file(self, content: Sealed) -> Result<EditedFile, ParamError> {
        EditedFile::new(self.options.file(self.path, content), self.create.0)
    }
}

/// Where new lines go.
#[derive(Debug)]
pub(super) enum InsertPosition {
    /// To the top.
    Begin,
    /// To the end.
    End,
    /// After a line that matches, or to the end.
    After(Pattern),
    /// Before a line that matches, or to the end.
    Before(Pattern),
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

    /// Whether the file is made if it does not exist.
    pub(super) fn is_made(&self) -> bool {
        self.create
    }

    /// Returns the reason not to make the change that [`EditedFile::compare`] has found: a second run would change the file again. `why` says so, given
    /// the two texts and the summary of the second change.
    ///
    /// An earlier task may change the file before: it is then judged when its turn comes.
    pub(super) fn never_settles(
        &self,
        node: &NodeState<'_>,
        earlier: &[&dyn Resource],
        edit: impl Fn(&NodeState<'_>, Option<&str>) -> Result<Option<Edited>, String>,
        why: impl Fn(&str, &str, &str) -> String,
    ) -> Option<String> {
        let path = &self.file.path;
        if earlier.iter().any(|resource| resource.reach().may_change_file(path)) {
            return None;
        }
        let found = node.answers.get::<PathState>(&self.look()).ok()?;
        let old = match found.seen(true)? {
            Entry::Absent => None,
            Entry::File(file) => Some(text_of(file.content.as_deref()?)),
            Entry::Directory(_) | Entry::Link(_) | Entry::Other(_) => return None,
        };
        let values = with_stand_ins(&self.file.content, node.secrets)?;
        let node = NodeState { answers: node.answers, secrets: &values };
        let once = text_of(&edit(&node, old.as_deref()).ok()??.content.reveal(&values).ok()?);
        let again = edit(&node, Some(&once)).ok()??;
        let twice = text_of(&again.content.reveal(&values).ok()?);
        (once != twice).then(|| format!("`{path}`: {}", why(old.as_deref().unwrap_or_default(), &once, &again.summary)))
    }

    /// Compares the old text (`None`: there is no file) with the result of the edit. The error of an edit is a message for the user.
    ///
    /// If the file does not exist and the edit returns `None`, as it does for the absence of a line, the file stays absent.
    pub(super) fn compare(
        &self,
        node: &NodeState<'_>,
        edit: impl Fn(&NodeState<'_>, Option<&str>) -> Result<Option<Edited>, String>,
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
        let text = old.map(text_of);
        let holds_a_mark = || {
            Verdict::Refused(format!("`{path}` holds a character by which this program marks secrets; use `copy` or `template`"))
        };
        if text.as_deref().is_some_and(holds_token) {
            return Ok(holds_a_mark());
        }
        let edited = match edit(node, text.as_deref()) {
            Ok(edited) => edited,
            Err(refusal) => return Ok(Verdict::Refused(format!("`{path}`: {refusal}"))),
        };
        // Groups of a pattern may join bytes of the file to such a character.
        let own = self.file.content.secrets();
        if edited.as_ref().is_some_and(|edited| edited.content.secrets().iter().any(|secret| !own.contains(secret))) {
            return Ok(holds_a_mark());
        }
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

/// Returns the values, and a text in place of each that the content needs and that does not exist yet; `None` if a value looks different each time.
fn with_stand_ins(content: &Sealed, values: &SecretValues) -> Option<SecretValues> {
    let is_salted = |part: &SealedPart<'_>| matches!(part, SealedPart::Secret(_, Encoding::Scram));
    if content.parts().iter().any(is_salted) {
        return None;
    }
    let mut values = values.clone();
    for secret in content.secrets() {
        if values.get(&secret).is_none() {
            values.insert(secret, Secret::new("x".repeat(24)));
        }
    }
    Some(values)
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
pub(super) struct Pieces(String);

impl Pieces {
    /// Appends whole lines, after it has ended the last line.
    pub(super) fn push(&mut self, lines: &str) {
        if !lines.is_empty() {
            self.end_line();
            self.0.push_str(lines);
        }
    }

    /// Ends the last line, if it is not ended.
    pub(super) fn end_line(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with('\n') {
            self.0.push('\n');
        }
    }

    pub(super) fn sealed(self) -> Sealed {
        Sealed::from(bytes_of(&self.0))
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

        /// Returns the bytes of `x` after a task that changes it.
        pub(in crate::resource) fn bytes_after(kind: &str, before: &[u8], parameters: Value) -> Vec<u8> {
            let scratch = Self::with("");
            fs::write(scratch.path("x"), before).unwrap();
            let done = scratch.apply(kind, parameters);
            assert!(!done.starts_with("refused") && done != "converged", "{done}");
            fs::read(scratch.path("x")).unwrap()
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
            let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
            match resource.compare(&node).unwrap() {
                // As the engine does, before a change is made.
                Verdict::Change(change) => resource.refuse(&node, &[]).map_or(Verdict::Change(change), Verdict::Refused),
                verdict @ (Verdict::Converged { .. } | Verdict::Blocked { .. } | Verdict::Refused(_)) => verdict,
            }
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
    fn a_pattern_cannot_join_bytes_to_the_token_of_a_secret() {
        let token = "\u{F5EC0}db\u{F5EC1}REDIS_PASSWORD\u{F5EC1}plain\u{F5EC2}".as_bytes();
        let (first, last) = token.split_at(2);
        let scratch = Scratch::with("");
        fs::write(scratch.path("x"), [first, b"|", last, b"\n"].concat()).unwrap();
        let task = json!({"regexp": "^(.*)\\|(.*)$", "line": "\\1\\2", "backrefs": true});
        let Verdict::Refused(reason) = scratch.verdict("lineinfile", task) else { panic!("{:?}", scratch.text()) };
        assert!(reason.contains("marks secrets"), "{reason}");
    }

    #[test]
    fn a_file_that_cannot_be_edited_is_refused() {
        let scratch = Scratch::with(&"x".repeat(MOST_BYTES + 1));
        fs::write(scratch.path("token"), "\u{F5EC0}db\u{F5EC1}REDIS_PASSWORD\u{F5EC1}plain\u{F5EC2}").unwrap();
        fs::create_dir(scratch.path("directory")).unwrap();
        std::os::unix::fs::symlink("nowhere", scratch.path("dangling")).unwrap();
        for (path, why) in [
            ("x", "65537 bytes; only files of up to 65536 bytes are edited"),
            // A node must not make us write a secret of another one.
            ("token", "holds a character by which this program marks secrets"),
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
