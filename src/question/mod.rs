//! Questions to a node: every question of one kind is merged into one command, all kinds into one read-only script.
//!
//! A kind of question is a type that implements [`Kind`], in a file of its own. Resources name the answers they need with
//! [`Questions::ask`] and read them, typed, with [`Answers::get`]. Nothing here does I/O: [`Questions::compose`] yields shell text, and
//! [`Composed::read`] takes what the node printed.

pub mod account;
pub mod backup;
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
pub mod sysctl;
pub mod tree;
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

use crate::{
    script::{NulByte, Script, quote},
    secret::find,
};

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
    /// Whether it runs beside the others because it is slow to start (psql), waits for others (systemctl) or may hang.
    /// Not for kinds that print more than a pipe holds (64 KiB): they would wait for the rest within their own limit.
    const BESIDE: bool = false;
    /// With whom it shares a shell and a limit, to save the processes that a limit of its own costs.
    const COMPANY: Company = Company::Alone;
    /// Shell text that goes before the script, in the shell that it shares with its [`Company`]: what two kinds have here runs once.
    const BEFORE: &'static str = "";

    /// One command that answers all `keys`. It changes nothing and reads nothing from its standard input.
    fn script(keys: &[&Self::Key]) -> Script;

    /// Reads the command's output: one answer, or the reason why there is none, for each key in order.
    fn read(keys: &[&Self::Key], output: &Output) -> Vec<Result<Self::Answer, Unanswered>>;
}

/// Whether kinds share a shell and a limit. Each keeps a subshell of its own, and its answers once it has given them: hence those that may
/// hang come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Company {
    /// It has a limit of its own: it talks to a server, runs other people's commands, or looks at file systems of the network.
    Alone,
    /// It reads the kernel's files and local ones.
    Files,
    /// It asks the name services, behind which there may be a directory server.
    Names,
}

/// The limit of those who share one.
const COMPANY_LIMIT: Duration = Duration::from_mins(1);

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
    /// Each kind runs in a shell of its own under its own limit, or shares one where its [`Company`] allows, so that one that hangs costs only
    /// its own answers. Slow kinds run beside the rest: each is the left end of a pipe whose right end asks everything else first and passes its
    /// output on last, so outputs never mix and no temporary file is needed.
    ///
    /// # Errors
    /// [`NulByte`] when a key holds one.
    pub fn compose(self, mark: &str) -> Result<Composed, NulByte> {
        let mut shared = String::new();
        let mut beside = Vec::new();
        let (mut one_after_another, mut longest_beside) = (Duration::ZERO, Duration::ZERO);
        let mut company: Vec<&dyn AnyGroup> = Vec::new();
        for group in self.groups.values() {
            match group.company() {
                Company::Alone => {
                    let command = format!("{}{}", limited(&group.script()?, group.limit())?, marked(mark, group.name(), "$?"));
                    if group.beside() {
                        beside.push(command);
                        longest_beside = longest_beside.max(group.limit());
                    } else {
                        shared.push_str(&command);
                        one_after_another += group.limit();
                    }
                }
                Company::Files | Company::Names => company.push(group.as_ref()),
            }
        }
        if !company.is_empty() {
            company.sort_by_key(|group| group.company());
            let (mut together, mut failed) = (String::new(), String::new());
            for before in company.iter().map(|group| group.before()).collect::<IndexSet<_>>() {
                together.push_str(before);
            }
            for group in company {
                let _ = write!(together, "(\n{})\n{}", group.script()?, marked(mark, group.name(), "$?"));
                failed.push_str(&marked(mark, group.name(), "$status"));
            }
            one_after_another += COMPANY_LIMIT;
            // Those who have their mark already keep it: the first one counts.
            let _ = write!(shared, "{}status=$?\nif [ \"$status\" -ne 0 ]; then\n{failed}fi\n", piped(&together, COMPANY_LIMIT)?);
        }
        let mut text = shared;
        for command in beside {
            text = format!("{{ {command}}} | {{\n{text}cat\n}}\n");
        }
        let limit = one_after_another.max(longest_beside) + SPARE;
        Ok(Composed { text, limit, mark: mark.to_owned(), groups: self.groups })
    }
}

/// What a script has beyond the limits in it, which thus come first: they cost only the answers of those who are late.
const SPARE: Duration = Duration::from_secs(10);

/// One argument may have no more than 128 KiB on Linux; in bytes.
const LONGEST_ARGUMENT: usize = 100_000;

/// Runs shell text under a limit, with nothing to read. As an argument, where it fits, it costs a process less.
fn limited(text: &str, limit: Duration) -> Result<String, NulByte> {
    if text.len() > LONGEST_ARGUMENT {
        return piped(text, limit);
    }
    Ok(format!("timeout {} sh -c {} </dev/null\n", limit.as_secs(), quote(text)?))
}

/// As [`limited`], for text with the mark in it: everybody on the node can read arguments.
fn piped(text: &str, limit: Duration) -> Result<String, NulByte> {
    let text = quote(&format!("exec 3<&-\n{text}"))?;
    Ok(format!("printf %s {text} | timeout {} sh -c '. /dev/fd/3' 3<&0 </dev/null\n", limit.as_secs()))
}

/// Ends a kind's output with its mark.
fn marked(mark: &str, name: &str, status: &str) -> String {
    format!("printf '\\n{mark} {name} %s\\n' \"{status}\"\n")
}

/// Questions as shell text, waiting for the output.
pub struct Composed {
    text: String,
    limit: Duration,
    mark: String,
    groups: IndexMap<TypeId, Box<dyn AnyGroup>>,
}

impl Composed {
    /// The script.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.text
    }

    /// How long the script may take: what its kinds may, one after another or beside each other as they run.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
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
    fn company(&self) -> Company;
    fn before(&self) -> &'static str;
    fn name(&self) -> &'static str;
    fn limit(&self) -> Duration;
    fn script(&self) -> Result<String, NulByte>;
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

    fn company(&self) -> Company {
        K::COMPANY
    }

    fn before(&self) -> &'static str {
        K::BEFORE
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
            Some(output) => K::read(&keys, output),
            None => keys.iter().map(|_| Err(Unanswered(format!("the node gave no answer about {}", K::NAME)))).collect(),
        };
        for (key, result) in keys.into_iter().zip(results) {
            answers.set::<K>(key.clone(), result);
        }
    }
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().find(|line| !line.trim().is_empty()).unwrap_or("no output").trim().to_owned()
}

#[cfg(test)]
mod tests;
