//! Questions to a node: every question of one kind is merged into one command, all kinds into one read-only script.
//!
//! A kind of question is a type that implements [`Kind`], in a file of its own. Resources name the answers they need with
//! [`Questions::ask`] and read them, typed, with [`Answers::get`]. Nothing here does I/O: [`Questions::compose`] yields shell text, and
//! [`Composed::read`] takes what the node printed.

pub mod account;
mod answers;
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

pub use answers::Answers;

use crate::{
    script::{Again, NulByte, Script, condensed},
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
    /// How long the merged command may take on the node when it is asked by itself, see [`Questions::compose`].
    const LIMIT: Duration = Duration::from_mins(1);
    /// How long all kinds together may take, as far as this one is concerned.
    const TOGETHER: Duration = Duration::from_secs(30);
    /// How long the output of the merged command may be, in bytes.
    const LONGEST: usize = 16 << 20;
    /// Beside which kinds it runs.
    const LANE: Lane = Lane::Node;
    /// When it runs within its lane.
    const TURN: Turn = Turn::Last;
    /// Whether it runs shell text of a role, which may leave something running.
    const MAY_LEAVE: bool = false;
    /// Whether the script runs in the shell of its lane, as a function: a process less. Such a script ends early with `return`, and changes nothing of the
    /// shell but variables, functions, `IFS` and `set -f`, of which the last two are put back. It begins with no variable that another kind may have set.
    const IN_PLACE: bool = false;
    /// Shell text that runs before the kinds of [`Lane::Node`]. A prelude that several kinds have in common runs once.
    const PRELUDE: &'static str = "";

    /// Whether answering this question runs a program or shell text that a role names, so that it is not asked for a stranger's role.
    fn runs_what_a_role_says(_key: &Self::Key) -> bool {
        false
    }

    /// Returns shell text that runs before all kinds of [`Lane::Node`], to tell them what this one needs. It may add files to the positional parameters: one
    /// process reads those of all kinds into `$files`, each below a line `==> NAME <==`; a file that is not there is left out. A script that is alone finds
    /// no `$files`, and reads its own.
    ///
    /// # Errors
    /// [`NulByte`] when a key contains one.
    fn reads(_keys: &[&Self::Key]) -> Result<String, NulByte> {
        Ok(String::new())
    }

    /// Returns one command that answers all `keys`. The command changes nothing and does not read its standard input.
    fn script(keys: &[&Self::Key]) -> Script;

    /// Parses the command's output into one answer, or the reason why there is none, for each key in order.
    fn read(keys: &[&Self::Key], output: &Output) -> Vec<Result<Self::Answer, Unanswered>>;
}

/// Kinds of one lane run one after the other, and the lanes side by side: some wait for a server, and a node has more than one processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Commands of roles. They see none of the functions that the other lanes define.
    Guards,
    /// What asks PostgreSQL, Redis and systemd, and looks where they keep their data.
    Servers,
    /// What asks the kernel, files and programs, and prints the most.
    Node,
}

/// When a kind runs within its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// It reads files of the kernel and local files.
    Files,
    /// It asks the name services, which may query a directory server.
    Names,
    /// It talks to a server or reads network file systems, so it may hang.
    Last,
}

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
    /// Each kind has a subshell or a function of its own, and all have one limit, because processes are what a question costs. If that limit strikes, the loop on
    /// the node runs the script again for each kind ([`Composed::again`]), with the kind's name in `$only`: a kind that hangs costs only its own answers,
    /// and an answer that was given stays valid.
    ///
    /// Each lane but the last is the left end of a pipe whose right end first asks everything else and then copies the left end's output, so outputs never
    /// mix and no temporary file is needed.
    ///
    /// # Errors
    /// Returns [`NulByte`] when a key contains one.
    pub fn compose(self, mark: &str) -> Result<Composed, NulByte> {
        let (mut text, mut lanes) = (MARKS.replace("MARK", mark), 0);
        for lane in [Lane::Guards, Lane::Servers] {
            let asked = self.lane(lane)?;
            if !asked.is_empty() {
                let _ = write!(text, "{{\n{asked}}} </dev/null | {{\n");
                lanes += 1;
            }
        }
        let _ = write!(text, "{{\n{}:\n}} </dev/null\n", self.lane(Lane::Node)?);
        text.push_str(&"cat\n}\n".repeat(lanes));
        let together = self.groups.values().map(|group| group.together()).max().unwrap_or_default();
        let again = self.groups.values().map(|group| (group.name(), group.limit())).collect();
        let again = Again { mark: mark.to_owned(), parts: again, may_leave: self.groups.values().any(|group| group.may_leave()) };
        Ok(Composed { text, together, again, groups: self.groups })
    }

    /// Returns the shell text of one lane.
    fn lane(&self, lane: Lane) -> Result<String, NulByte> {
        let mut groups: Vec<&dyn AnyGroup> =
            self.groups.values().map(AsRef::as_ref).filter(|group| group.lane() == lane).collect();
        groups.sort_by_key(|group| group.turn());
        let (mut before, mut kinds, mut reads) = (IndexSet::new(), String::new(), String::new());
        for group in groups {
            reads.push_str(&group.reads()?);
            let script = group.script();
            before.extend(script.functions().iter().copied().chain([group.prelude()]));
            let name = group.name();
            let body = script.render_body()?;
            let _ = if group.in_place() {
                write!(kinds, "if _asked {name}; then\n_kind() {{\n{body}}}\n_kind\n_mark {name} $?\nfi\n")
            } else {
                write!(kinds, "if _asked {name}; then (\n{body})\n_mark {name} $?\nfi\n")
            };
        }
        if !reads.is_empty() {
            reads = format!("set --\n{reads}[ $# -eq 0 ] || files=$(exec head -v -c 1048576 -- \"$@\" 2>/dev/null)\n");
        }
        Ok(before.into_iter().map(condensed).chain([reads, kinds]).collect())
    }
}

/// Shell functions: whether a kind is asked now, and the mark that ends its output.
const MARKS: &str = r#"_asked() { [ "${only-$1}" = "$1" ]; }
_mark() { printf '\nMARK %s %s\n' "$1" "$2"; IFS=' 	
'; set +f; }
"#;

/// Questions as shell text, ready to parse the output.
pub struct Composed {
    text: String,
    together: Duration,
    again: Again,
    groups: IndexMap<TypeId, Box<dyn AnyGroup>>,
}

impl Composed {
    /// Returns the script.
    #[must_use]
    pub fn script(&self) -> &str {
        &self.text
    }

    /// Returns how long the script may take. What is to be done if it takes longer is [`Composed::again`].
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.together
    }

    /// Returns how the script is run again once its limit has struck.
    #[must_use]
    pub fn again(&self) -> &Again {
        &self.again
    }

    /// Parses the script's output.
    #[must_use]
    pub fn read(&self, stdout: &[u8]) -> Answers {
        let mut sections = HashMap::new();
        let needle = format!("\n{} ", self.again.mark).into_bytes();
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
    fn lane(&self) -> Lane;
    fn in_place(&self) -> bool;
    fn may_leave(&self) -> bool;
    fn drop_answered(&mut self, answers: &Answers);
    fn turn(&self) -> Turn;
    fn prelude(&self) -> &'static str;
    fn name(&self) -> &'static str;
    fn limit(&self) -> Duration;
    fn together(&self) -> Duration;
    fn reads(&self) -> Result<String, NulByte>;
    fn script(&self) -> Script;
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

    fn lane(&self) -> Lane {
        K::LANE
    }

    fn in_place(&self) -> bool {
        K::IN_PLACE
    }

    fn reads(&self) -> Result<String, NulByte> {
        K::reads(&self.keys())
    }

    fn may_leave(&self) -> bool {
        K::MAY_LEAVE
    }

    fn drop_answered(&mut self, answers: &Answers) {
        if let Some(known) = answers.known::<K>() {
            self.keys.retain(|key| !known.0.contains_key(key));
        }
    }

    fn turn(&self) -> Turn {
        K::TURN
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

    fn together(&self) -> Duration {
        K::TOGETHER
    }

    fn script(&self) -> Script {
        K::script(&self.keys())
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
