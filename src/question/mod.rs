//! Questions to a node: every question of one kind is merged into one command, all kinds into one read-only script.
//!
//! A kind of question is a type that implements [`Kind`], in a file of its own. Resources name the answers they need with
//! [`Questions::ask`] and read them, typed, with [`Answers::get`]. Nothing here does I/O: [`Questions::compose`] yields shell text, and
//! [`Composed::read`] takes what the node printed.

pub mod account;
pub mod connection;
pub mod facts;
pub mod guard;
pub mod listening;
pub mod package;
pub mod path;
pub mod pending;
pub mod pg;
pub mod pg_cluster;
pub mod port_owner;
pub mod redis;
pub mod small_file;
pub mod sysctl;
pub mod ufw;
pub mod unit;

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt::{Debug, Write as _},
    hash::Hash,
    time::Duration,
};

use indexmap::{IndexMap, IndexSet};

use crate::script::{NulByte, Script, quote};

/// One kind of question, such as "what is at this path".
pub trait Kind: Sized + 'static {
    /// What tells one question of this kind from another.
    type Key: Clone + Debug + Eq + Hash + Send + Sync + 'static;
    /// The typed answer.
    type Answer: Debug + Send + Sync + 'static;
    /// A word for marks and messages, unique among kinds.
    const NAME: &'static str;
    /// How long the merged command may take on the node.
    const LIMIT: Duration = Duration::from_mins(1);
    /// Whether it runs beside the others because it is slow to start (psql) or may hang.
    const BESIDE: bool = false;

    /// One command that answers all `keys`. It changes nothing and reads nothing from its standard input.
    fn script(keys: &[&Self::Key]) -> Script;

    /// Reads the command's output: one answer, or the reason why there is none, for each key in order.
    fn read(keys: &[&Self::Key], output: &Output) -> Vec<Result<Self::Answer, Unanswered>>;
}

/// What a merged command printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 124 when the limit was reached.
    pub status: i32,
    /// Standard output, and whatever the command itself redirects there.
    pub stdout: Vec<u8>,
}

impl Output {
    /// The same failure for each of `count` keys, when the command itself did not work.
    #[must_use]
    pub fn unanswered<A>(&self, kind: &str, count: usize) -> Vec<Result<A, Unanswered>> {
        let reason = if self.status == 124 {
            format!("asking for {kind} took too long")
        } else {
            format!("asking for {kind} failed with exit status {}: {}", self.status, first_line(&self.stdout))
        };
        (0..count).map(|_| Err(Unanswered(reason.clone()))).collect()
    }
}

/// Why a question has no answer. It fails the task: a failed look is never "nothing to do".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// A set of questions of any kinds, each once.
#[derive(Default)]
pub struct Questions {
    groups: IndexMap<TypeId, Box<dyn AnyGroup>>,
}

impl Questions {
    /// Adds a question, unless it is there.
    pub fn ask<K: Kind>(&mut self, key: K::Key) {
        let group = self.groups.entry(TypeId::of::<K>()).or_insert_with(|| Box::new(Group::<K>::default()));
        if let Some(group) = group.as_any_mut().downcast_mut::<Group<K>>() {
            group.keys.insert(key);
        }
    }

    /// Whether there is nothing to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.values().all(|group| group.count() == 0)
    }

    /// How many questions there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.groups.values().map(|group| group.count()).sum()
    }

    /// Takes away all questions of a kind.
    #[must_use]
    pub fn except<K: Kind>(mut self) -> Self {
        self.groups.shift_remove(&TypeId::of::<K>());
        self
    }

    /// Takes away what `answers` already holds.
    pub fn without(&mut self, answers: &Answers) {
        for group in self.groups.values_mut() {
            group.drop_answered(answers);
        }
        self.groups.retain(|_, group| group.count() > 0);
    }

    /// Merges all questions into one script. `mark` is a word that no output can hold: random, new for each script.
    ///
    /// Each kind runs in a shell of its own under its own limit, so that one that hangs costs only its own answers. Slow kinds run beside the
    /// rest: each is the left end of a pipe whose right end asks everything else first and passes its output on last, so outputs never mix and
    /// no temporary file is needed.
    ///
    /// # Errors
    /// [`NulByte`] when a key holds one.
    pub fn compose(self, mark: &str) -> Result<Composed, NulByte> {
        let mut shared = String::new();
        let mut beside = Vec::new();
        for group in self.groups.values() {
            let command = group.command(mark)?;
            if group.beside() { beside.push(command) } else { shared.push_str(&command) }
        }
        let mut text = shared;
        for command in beside {
            text = format!("{{ {command}}} | {{\n{text}cat\n}}\n");
        }
        Ok(Composed { text, mark: mark.to_owned(), groups: self.groups })
    }
}

/// Questions as shell text, waiting for the output.
pub struct Composed {
    text: String,
    mark: String,
    groups: IndexMap<TypeId, Box<dyn AnyGroup>>,
}

impl Composed {
    /// The script.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.text
    }

    /// Reads what the script printed.
    #[must_use]
    pub fn read(&self, stdout: &[u8]) -> Answers {
        let mut sections = HashMap::new();
        let needle = format!("\n{} ", self.mark).into_bytes();
        let mut rest = stdout;
        while let Some(at) = find(rest, &needle) {
            let after = &rest[at + needle.len()..];
            let end = after.iter().position(|byte| *byte == b'\n').unwrap_or(after.len());
            let line = String::from_utf8_lossy(&after[..end]).into_owned();
            if let Some((name, status)) = line.split_once(' ')
                && let Ok(status) = status.parse()
            {
                sections.insert(name.to_owned(), Output { status, stdout: rest[..at].to_vec() });
            }
            rest = &after[(end + 1).min(after.len())..];
        }
        let mut answers = Answers::default();
        for group in self.groups.values() {
            group.read(&sections, &mut answers);
        }
        answers
    }
}

/// The typed answers to questions asked so far. Newer answers replace older ones.
#[derive(Default)]
pub struct Answers {
    by_kind: HashMap<TypeId, Box<dyn AnyKnown>>,
}

/// The answers of one kind.
struct Known<K: Kind>(HashMap<K::Key, Result<K::Answer, Unanswered>>);

/// [`Known`] of whatever kind.
trait AnyKnown: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// Puts these answers into `older`, which is of the same kind.
    fn absorbed_by(self: Box<Self>, older: &mut dyn AnyKnown);
}

impl<K: Kind> AnyKnown for Known<K> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn absorbed_by(self: Box<Self>, older: &mut dyn AnyKnown) {
        if let Some(older) = older.as_any_mut().downcast_mut::<Self>() {
            older.0.extend(self.0);
        }
    }
}

impl Answers {
    /// The answer to a question.
    ///
    /// # Errors
    /// Why there is none, also when the question was never asked (our mistake, but still a failed task).
    pub fn get<K: Kind>(&self, key: &K::Key) -> Result<&K::Answer, Unanswered> {
        match self.known::<K>().and_then(|known| known.0.get(key)) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err(Unanswered(format!("{} {key:?} was never asked", K::NAME))),
        }
    }

    /// Sets an answer; for tests of resources, and for what the controller knows by itself.
    pub fn set<K: Kind>(&mut self, key: K::Key, answer: Result<K::Answer, Unanswered>) {
        let known = self.by_kind.entry(TypeId::of::<K>()).or_insert_with(|| Box::new(Known::<K>(HashMap::new())));
        if let Some(known) = known.as_any_mut().downcast_mut::<Known<K>>() {
            known.0.insert(key, answer);
        }
    }

    /// Takes newer answers over; they replace older ones.
    pub fn absorb(&mut self, newer: Self) {
        for (kind, answers) in newer.by_kind {
            match self.by_kind.entry(kind) {
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(answers);
                }
                std::collections::hash_map::Entry::Occupied(mut entry) => answers.absorbed_by(entry.get_mut().as_mut()),
            }
        }
    }

    fn known<K: Kind>(&self) -> Option<&Known<K>> {
        self.by_kind.get(&TypeId::of::<K>())?.as_any().downcast_ref()
    }
}

#[derive(Debug)]
struct Group<K: Kind> {
    keys: IndexSet<K::Key>,
}

impl<K: Kind> Default for Group<K> {
    fn default() -> Self {
        Self { keys: IndexSet::new() }
    }
}

trait AnyGroup: Send + Sync {
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn count(&self) -> usize;
    fn beside(&self) -> bool;
    fn drop_answered(&mut self, answers: &Answers);
    fn command(&self, mark: &str) -> Result<String, NulByte>;
    fn read(&self, sections: &HashMap<String, Output>, answers: &mut Answers);
}

impl<K: Kind> Group<K> {
    fn keys(&self) -> Vec<&K::Key> {
        self.keys.iter().collect()
    }
}

impl<K: Kind> AnyGroup for Group<K> {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn count(&self) -> usize {
        self.keys.len()
    }

    fn beside(&self) -> bool {
        K::BESIDE
    }

    fn drop_answered(&mut self, answers: &Answers) {
        if let Some(known) = answers.known::<K>() {
            self.keys.retain(|key| !known.0.contains_key(key));
        }
    }

    fn command(&self, mark: &str) -> Result<String, NulByte> {
        let script = K::script(&self.keys()).render()?;
        let mut command = String::new();
        // The script is fed through a builtin, not passed as an argument: one argument may have no more than 128 KiB.
        let _ = writeln!(
            command,
            "printf %s {} | timeout {} sh -c 'eval \"$(cat)\"'\nprintf '\\n{mark} {} %s\\n' \"$?\"",
            quote(&script)?,
            K::LIMIT.as_secs(),
            K::NAME,
        );
        Ok(command)
    }

    fn read(&self, sections: &HashMap<String, Output>, answers: &mut Answers) {
        let keys = self.keys();
        let results = match sections.get(K::NAME) {
            Some(output) => K::read(&keys, output),
            None => keys.iter().map(|_| Err(Unanswered(format!("the node gave no answer about {}", K::NAME)))).collect(),
        };
        for (key, result) in keys.into_iter().zip(results) {
            answers.set::<K>(key.clone(), result);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().find(|line| !line.trim().is_empty()).unwrap_or("no output").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[derive(Debug)]
    struct Echo;
    impl Kind for Echo {
        type Key = String;
        type Answer = String;
        const NAME: &'static str = "echo";
        fn script(keys: &[&String]) -> Script {
            Script::new("printf '%s\\n' \"$@\"").args(keys.iter().map(ToString::to_string))
        }
        fn read(_: &[&String], output: &Output) -> Vec<Result<String, Unanswered>> {
            String::from_utf8_lossy(&output.stdout).lines().map(|line| Ok(line.to_owned())).collect()
        }
    }

    #[derive(Debug)]
    struct Hangs;
    impl Kind for Hangs {
        type Key = ();
        type Answer = ();
        const NAME: &'static str = "hangs";
        const LIMIT: Duration = Duration::from_secs(1);
        const BESIDE: bool = true;
        fn script(_: &[&()]) -> Script {
            Script::new("exec tail -f /dev/null")
        }
        fn read(keys: &[&()], output: &Output) -> Vec<Result<(), Unanswered>> {
            output.unanswered("what hangs", keys.len())
        }
    }

    fn run(questions: Questions) -> Answers {
        let composed = questions.compose("f00d").unwrap();
        let output = Command::new("sh").arg("-c").arg(composed.script()).output().unwrap();
        composed.read(&output.stdout)
    }

    #[test]
    fn questions_of_a_kind_share_one_command_and_keep_their_order() {
        let mut questions = Questions::default();
        for key in ["b", "a; reboot", "b", "it's"] {
            questions.ask::<Echo>(key.to_owned());
        }
        assert_eq!(questions.count(), 3);
        let answers = run(questions);
        for key in ["b", "a; reboot", "it's"] {
            assert_eq!(answers.get::<Echo>(&key.to_owned()).unwrap(), key);
        }
    }

    #[test]
    fn a_hanging_kind_costs_only_its_own_answers() {
        let mut questions = Questions::default();
        questions.ask::<Hangs>(());
        questions.ask::<Echo>("here".into());
        let answers = run(questions);
        assert_eq!(answers.get::<Hangs>(&()).unwrap_err().0, "asking for what hangs took too long");
        assert_eq!(answers.get::<Echo>(&"here".into()).unwrap(), "here");
    }

    #[test]
    fn an_output_that_was_cut_off_is_a_failure() {
        let mut questions = Questions::default();
        questions.ask::<Echo>("x".into());
        let answers = questions.compose("f00d").unwrap().read(b"x\n\nf00d ech");
        assert_eq!(answers.get::<Echo>(&"x".into()).unwrap_err().0, "the node gave no answer about echo");
    }

    #[test]
    fn a_question_never_asked_has_no_answer() {
        assert!(Answers::default().get::<Echo>(&"x".into()).is_err());
    }

    #[test]
    fn what_was_answered_is_not_asked_again() {
        let mut questions = Questions::default();
        questions.ask::<Echo>("x".into());
        let answers = run(questions);
        let mut again = Questions::default();
        again.ask::<Echo>("x".into());
        again.ask::<Echo>("y".into());
        again.without(&answers);
        assert_eq!(again.count(), 1);
    }
}
