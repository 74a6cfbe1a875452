//! Questions to a node: every question of one kind is merged into one command, all kinds into one read-only script.
//!
//! A kind of question is a type that implements [`Kind`], in a file of its own. Resources name the answers they need with
//! [`Questions::ask`] and read them, typed, with [`Answers::get`]. Nothing here does I/O: [`Questions::compose`] yields shell text, and
//! [`Composed::read`] takes what the node printed.

pub mod account;
pub mod apt_sources;
pub mod backup;
pub mod compose;
pub mod connection;
mod entry;
pub mod facts;
pub mod guard;
pub mod holder;
pub mod home;
pub mod kept;
pub mod listening;
pub mod locale;
pub mod own_account;
pub mod package;
pub mod path;
pub mod pending;
pub mod pg;
pub mod pg_cluster;
pub mod pg_files;
pub mod port_owner;
pub mod redis;
pub mod redis_conf;
pub mod redis_data;
pub mod replaced;
pub mod sysctl;
pub mod sysctl_files;
pub mod tree;
pub mod ufw;
pub mod unit;
pub mod unit_files;
pub mod unit_state;
pub mod way;
pub mod way_in;

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt::{Debug, Write as _},
    hash::Hash,
    time::Duration,
};

use indexmap::{IndexMap, IndexSet};

use crate::{
    script::{NulByte, Script, quote},
    secret::find,
};

/// One kind of question, such as "what is at this path".
pub trait Kind: Sized + 'static {
    /// What distinguishes one question of this kind from another.
    type Key: Clone + Debug + Eq + Hash + Send + Sync + 'static;
    /// The typed answer.
    type Answer: Debug + Send + Sync + 'static;
    /// The name of the kind in marks and messages; it is unique among kinds.
    const NAME: &'static str;
    /// How long the merged command may take on the node.
    const LIMIT: Duration = Duration::from_mins(1);
    /// How long the output of the merged command may be, in bytes.
    const LONGEST: usize = 16 << 20;
    /// Whether the kind runs in parallel with the others, because it is slow to start (psql), waits for other processes (systemctl) or may hang.
    /// A kind that prints more than a pipe holds (64 KiB) must not set this: it would have to wait for the others within its own limit.
    const PARALLEL: bool = false;
    /// The shell and limit that the kind shares with others, which saves the processes that a limit of its own costs.
    const SHARED_SHELL: SharedShell = SharedShell::Alone;
    /// Shell text that runs before the script, in the same [`SharedShell`]. A prelude that several kinds have in common runs once.
    const PRELUDE: &'static str = "";

    /// Whether answering this question runs a program or shell text that a role names, so that it is not asked for a stranger's role.
    fn runs_what_a_role_says(_key: &Self::Key) -> bool {
        false
    }

    /// Returns one command that answers all `keys`. The command changes nothing and does not read its standard input.
    fn script(keys: &[&Self::Key]) -> Script;

    /// Parses the command's output into one answer, or the reason why there is none, for each key in order.
    fn read(keys: &[&Self::Key], output: &Output) -> Vec<Result<Self::Answer, Unanswered>>;
}

/// Which shell and limit a kind shares with others. Each kind still has its own subshell, and an answer that was given stays valid when a later
/// kind hangs. Kinds that may hang therefore come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SharedShell {
    /// The kind has its own shell and limit, because it talks to a server, runs commands of role authors, or reads network file systems.
    Alone,
    /// The kind reads files of the kernel and local files.
    Files,
    /// The kind asks the name services, which may query a directory server.
    Names,
}

/// The limit of each shared shell.
const SHARED_SHELL_LIMIT: Duration = Duration::from_mins(1);

/// So much of a line of a node stands in a message.
const MOST_CHARACTERS: usize = 300;

/// What a merged command printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 124 when the limit was reached.
    pub status: i32,
    /// Standard output, and anything else that the command redirects there.
    pub stdout: Vec<u8>,
}

impl Output {
    /// Returns the same failure for each of `count` keys, for a command that failed as a whole.
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

/// Why a question has no answer. It fails the task: a failed question never counts as "nothing to do".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// A set of questions of any kinds, without duplicates.
#[derive(Default)]
pub struct Questions {
    groups: IndexMap<TypeId, Box<dyn AnyGroup>>,
}

impl Questions {
    /// Adds a question, unless the set already contains it.
    pub fn ask<K: Kind>(&mut self, key: K::Key) {
        let group = self.groups.entry(TypeId::of::<K>()).or_insert_with(|| Box::new(Group::<K>::default()));
        if let Some(group) = group.as_any_mut().downcast_mut::<Group<K>>() {
            group.keys.insert(key);
        }
    }

    /// Returns whether there is nothing to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.values().all(|group| group.count() == 0)
    }

    /// Returns the number of questions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.groups.values().map(|group| group.count()).sum()
    }

    /// Returns whether answering one of them runs a program or shell text that a role names.
    #[must_use]
    pub fn run_what_roles_say(&self) -> bool {
        self.groups.values().any(|group| group.runs_what_a_role_says())
    }

    /// Removes all questions of a kind.
    #[must_use]
    pub fn except<K: Kind>(mut self) -> Self {
        self.groups.shift_remove(&TypeId::of::<K>());
        self
    }

    /// Removes the questions that `answers` already holds.
    pub fn without(&mut self, answers: &Answers) {
        for group in self.groups.values_mut() {
            group.drop_answered(answers);
        }
        self.groups.retain(|_, group| group.count() > 0);
    }

    /// Merges all questions into one script. `mark` is a word that no output can contain: it is random and new for each script.
    ///
    /// Each kind runs in its own shell under its own limit, or in its [`SharedShell`], so that a kind that hangs costs only its own answers.
    /// Slow kinds run in parallel with the rest: each is the left end of a pipe whose right end first asks everything else and then copies the
    /// left end's output, so outputs never mix and no temporary file is needed.
    ///
    /// # Errors
    /// Returns [`NulByte`] when a key contains one.
    pub fn compose(self, mark: &str) -> Result<Composed, NulByte> {
        let mut shared = String::new();
        let mut parallel = Vec::new();
        let (mut sequential_limit, mut longest_parallel) = (Duration::ZERO, Duration::ZERO);
        let mut sharing: Vec<&dyn AnyGroup> = Vec::new();
        for group in self.groups.values() {
            match group.shared_shell() {
                SharedShell::Alone => {
                    let command = format!("{}{}", limited(&group.script()?, group.limit())?, marked(mark, group.name(), "$?"));
                    if group.parallel() {
                        parallel.push(command);
                        longest_parallel = longest_parallel.max(group.limit());
                    } else {
                        shared.push_str(&command);
                        sequential_limit += group.limit();
                    }
                }
                SharedShell::Files | SharedShell::Names => sharing.push(group.as_ref()),
            }
        }
        if !sharing.is_empty() {
            sharing.sort_by_key(|group| group.shared_shell());
            let (mut together, mut failed) = (String::new(), String::new());
            for prelude in sharing.iter().map(|group| group.prelude()).collect::<IndexSet<_>>() {
                together.push_str(prelude);
            }
            for group in sharing {
                let _ = write!(together, "(\n{})\n{}", group.script()?, marked(mark, group.name(), "$?"));
                failed.push_str(&marked(mark, group.name(), "$status"));
            }
            sequential_limit += SHARED_SHELL_LIMIT;
            // A kind that already has its mark keeps it: the first mark of a kind counts.
            let _ = write!(
                shared,
                "{}status=$?\nif [ \"$status\" -ne 0 ]; then\n{failed}fi\n",
                piped(&together, SHARED_SHELL_LIMIT)?
            );
        }
        let mut text = shared;
        for command in parallel {
            text = format!("{{ {command}}} | {{\n{text}cat\n}}\n");
        }
        let limit = sequential_limit.max(longest_parallel) + SPARE;
        Ok(Composed { text, limit, mark: mark.to_owned(), groups: self.groups })
    }
}

/// The time that a script has beyond the limits of its kinds, so that a kind's own limit is reached first and costs only that kind's answers.
const SPARE: Duration = Duration::from_secs(10);

/// The longest text that is passed as an argument, in bytes. Linux allows 128 KiB for one argument.
const LONGEST_ARGUMENT: usize = 100_000;

/// Runs shell text under a limit, with an empty standard input. Text that fits into an argument is passed as one, which saves a process.
fn limited(text: &str, limit: Duration) -> Result<String, NulByte> {
    if text.len() > LONGEST_ARGUMENT {
        return piped(text, limit);
    }
    Ok(format!("timeout {} sh -c {} </dev/null\n", limit.as_secs(), quote(text)?))
}

/// Like [`limited`], for text that contains the mark: every user of the node can read arguments.
fn piped(text: &str, limit: Duration) -> Result<String, NulByte> {
    let text = quote(&format!("exec 3<&-\n{text}"))?;
    Ok(format!("printf %s {text} | timeout {} sh -c '. /dev/fd/3' 3<&0 </dev/null\n", limit.as_secs()))
}

/// Prints the mark that ends a kind's output.
fn marked(mark: &str, name: &str, status: &str) -> String {
    format!("printf '\\n{mark} {name} %s\\n' \"{status}\"\n")
}

/// Questions as shell text, ready to parse the output.
pub struct Composed {
    text: String,
    limit: Duration,
    mark: String,
    groups: IndexMap<TypeId, Box<dyn AnyGroup>>,
}

impl Composed {
    /// Returns the script.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.text
    }

    /// Returns how long the script may take: the sum of the limits of sequential kinds, or the longest limit of a parallel kind.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Parses the script's output.
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
                sections.entry(name.to_owned()).or_insert_with(|| Output { status, stdout: rest[..at].to_vec() });
            }
            rest = &after[(end + 1).min(after.len())..];
        }
        let mut answers = Answers::default();
        for group in self.groups.values() {
            group.read(&sections, &mut answers);
        }
        answers
    }

    /// Leaves all questions unanswered, for one reason.
    #[must_use]
    pub fn unanswered(&self, reason: &str) -> Answers {
        let mut answers = Answers::default();
        for group in self.groups.values() {
            group.unanswered(reason, &mut answers);
        }
        answers
    }
}

/// The typed answers to the questions asked so far. Newer answers replace older ones.
#[derive(Default)]
pub struct Answers {
    by_kind: HashMap<TypeId, Box<dyn AnyKnown>>,
}

/// The answers of one kind.
struct Known<K: Kind>(HashMap<K::Key, Result<K::Answer, Unanswered>>);

/// [`Known`], for any kind.
trait AnyKnown: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// Moves these answers into `older`, which is of the same kind.
    fn absorb_into(self: Box<Self>, older: &mut dyn AnyKnown);
}

impl<K: Kind> AnyKnown for Known<K> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn absorb_into(self: Box<Self>, older: &mut dyn AnyKnown) {
        if let Some(older) = older.as_any_mut().downcast_mut::<Self>() {
            older.0.extend(self.0);
        }
    }
}

impl Answers {
    /// Returns the answer to a question.
    ///
    /// # Errors
    /// Returns the reason why there is none. A question that was never asked is a bug of this program, but still a failed task.
    pub fn get<K: Kind>(&self, key: &K::Key) -> Result<&K::Answer, Unanswered> {
        match self.known::<K>().and_then(|known| known.0.get(key)) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err(Unanswered(format!("{} {key:?} was never asked", K::NAME))),
        }
    }

    /// Returns whether a question was asked, with or without success.
    #[must_use]
    pub fn has<K: Kind>(&self, key: &K::Key) -> bool {
        self.known::<K>().is_some_and(|known| known.0.contains_key(key))
    }

    /// Sets an answer, for tests of resources and for facts that the controller already knows.
    pub fn set<K: Kind>(&mut self, key: K::Key, answer: Result<K::Answer, Unanswered>) {
        let known = self.by_kind.entry(TypeId::of::<K>()).or_insert_with(|| Box::new(Known::<K>(HashMap::new())));
        if let Some(known) = known.as_any_mut().downcast_mut::<Known<K>>() {
            known.0.insert(key, answer);
        }
    }

    /// Merges newer answers, which replace older ones.
    pub fn absorb(&mut self, newer: Self) {
        for (kind, answers) in newer.by_kind {
            match self.by_kind.entry(kind) {
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(answers);
                }
                std::collections::hash_map::Entry::Occupied(mut entry) => answers.absorb_into(entry.get_mut().as_mut()),
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
    fn runs_what_a_role_says(&self) -> bool;
    fn parallel(&self) -> bool;
    fn drop_answered(&mut self, answers: &Answers);
    fn shared_shell(&self) -> SharedShell;
    fn prelude(&self) -> &'static str;
    fn name(&self) -> &'static str;
    fn limit(&self) -> Duration;
    fn script(&self) -> Result<String, NulByte>;
    fn read(&self, sections: &HashMap<String, Output>, answers: &mut Answers);
    fn unanswered(&self, reason: &str, answers: &mut Answers);
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

    fn runs_what_a_role_says(&self) -> bool {
        self.keys.iter().any(K::runs_what_a_role_says)
    }

    fn parallel(&self) -> bool {
        K::PARALLEL
    }

    fn drop_answered(&mut self, answers: &Answers) {
        if let Some(known) = answers.known::<K>() {
            self.keys.retain(|key| !known.0.contains_key(key));
        }
    }

    fn shared_shell(&self) -> SharedShell {
        K::SHARED_SHELL
    }

    fn prelude(&self) -> &'static str {
        K::PRELUDE
    }

    fn name(&self) -> &'static str {
        K::NAME
    }

    fn limit(&self) -> Duration {
        K::LIMIT
    }

    fn script(&self) -> Result<String, NulByte> {
        K::script(&self.keys()).render()
    }

    fn read(&self, sections: &HashMap<String, Output>, answers: &mut Answers) {
        let keys = self.keys();
        let results = match sections.get(K::NAME) {
            Some(output) if output.stdout.len() > K::LONGEST => {
                let reason = format!("the node's answer about {} is longer than {} MiB", K::NAME, K::LONGEST >> 20);
                return self.unanswered(&reason, answers);
            }
            Some(output) => K::read(&keys, output),
            None => keys.iter().map(|_| Err(Unanswered(format!("the node gave no answer about {}", K::NAME)))).collect(),
        };
        for (key, result) in keys.into_iter().zip(results) {
            answers.set::<K>(key.clone(), result);
        }
    }

    fn unanswered(&self, reason: &str, answers: &mut Answers) {
        for key in self.keys() {
            answers.set::<K>(key.clone(), Err(Unanswered(reason.to_owned())));
        }
    }
}

fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no output").trim();
    line.chars().take(MOST_CHARACTERS).collect()
}

#[cfg(test)]
mod tests;
