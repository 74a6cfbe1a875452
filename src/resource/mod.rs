//! Resources: what a task can declare. Each kind has its own file; this one defines the trait and lists the kinds.
//!
//! A resource is a typed value. It names the questions whose answers it needs, and compares the answers with what is declared. It opens no
//! connection, reads no file and no clock, and cannot know whether this is a check.

pub mod access;
pub(crate) mod apt_functions;
mod cluster_file;
pub mod content;
mod diff;
mod edit;
mod judgement;
mod lock_out;
mod params;
mod pattern;
pub mod put;
mod raw_text;
mod reach;
mod scalars;
pub mod schema;
#[cfg(test)]
pub(crate) mod trial;
pub mod unit_functions;

#[cfg(test)]
pub(crate) use assert::Claims;
pub(crate) use cluster_file::{cannot_reload, row};
pub use docker_compose::HANDLER as COMPOSE_HANDLER;
pub use judgement::judge;
pub use params::{Argv, ShellText, State};
pub(crate) use pg_hba::{ServerRules, rules_query};
pub use reach::Reach;
pub use schema::{Parameter, Shape};
pub(crate) use systemd::unread_file;

use std::{
    any::Any,
    fmt::{self, Debug},
};

use crate::{
    question::{Answers, Questions, Unanswered, kept::Kept},
    script::Script,
    secret::{Sealed, SecretId, SecretValues},
    values::{Diff, Flag, Line, Missing, Mode, OneOrMany, RemotePath, matches_glob, missing},
};

/// A state that a task declares.
pub trait Resource: Any + Debug + Send + Sync {
    /// Names the questions whose answers [`Resource::compare`] reads.
    fn questions(&self, ask: &mut Questions);

    /// Compares the actual state with the declared one.
    ///
    /// # Errors
    /// When a question has no answer; the task fails with this error.
    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered>;

    /// Returns the secrets in its content. The loader ensures that there are none in the rest of a resource.
    fn secrets(&self) -> Vec<SecretId> {
        Vec::new()
    }

    /// Returns what `register` keeps besides whether the task changed something; `None` for every resource that does not merely read.
    fn register(&self, _node: &NodeState<'_>) -> Option<serde_json::Value> {
        None
    }

    /// Whether a change may also do what later tasks declare, as a package starts its service. The questions of the pending items are then
    /// asked again directly after it, so that "changed (by ...)" names the right task.
    fn may_satisfy_later_tasks(&self) -> bool {
        false
    }

    /// Returns the unit whose state it declares, by its full name.
    fn unit(&self) -> Option<&str> {
        None
    }

    /// Returns what it changes, as far as the way in could depend on it.
    fn reach(&self) -> Reach<'_> {
        Reach::Unknown
    }

    /// Returns what else on the node declares the same thing otherwise, and wins sooner or later.
    ///
    /// # Errors
    /// When a question has no answer.
    fn contradicted(&self, _node: &NodeState<'_>) -> Result<Option<Contradiction>, Unanswered> {
        Ok(None)
    }

    /// Returns the change that becomes due when the `earlier` resources of the run are applied, although the node is as declared now.
    fn due_after(&self, _node: &NodeState<'_>, _earlier: &[&dyn Resource]) -> Option<Change> {
        None
    }

    /// Returns the reason why this must not be applied after the `earlier` resources of the run, which may change what stands in its way: something
    /// is in its way, or it is known to fail. Asked where [`Resource::compare`] finds a change.
    fn refuse(&self, _node: &NodeState<'_>, _earlier: &[&dyn Resource]) -> Option<String> {
        None
    }

    /// As [`Resource::refuse`], but because it would cut the connection of the run. A health check changes nothing, and does not ask.
    fn cuts(&self, _node: &NodeState<'_>, _earlier: &[&dyn Resource]) -> Option<String> {
        None
    }

    /// Whether it declares that the firewall is on, and so says what the kernel lacks of it.
    fn declares_firewall(&self) -> bool {
        false
    }
}

/// Another declaration of the same thing, which is not this program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The file that holds it. A task that changes this file may take it away.
    pub file: String,
    /// The setting of PostgreSQL that it is about, if it is. A task that sets it may take the contradiction away, too.
    pub setting: Option<&'static str>,
    /// What it says, where, and the ways out.
    pub reason: String,
}

impl Contradiction {
    /// Whether one of these resources changes the file that holds it.
    #[must_use]
    pub fn may_be_ended_by(&self, earlier: &[&dyn Resource]) -> bool {
        let holds = |path: &RemotePath| {
            self.file.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let sets = |resource: &&dyn Resource| {
            let settings = (*resource as &dyn std::any::Any).downcast_ref::<postgresql_conf::PostgresqlConf>();
            settings.is_some_and(|settings| self.setting.is_some_and(|name| settings.sets(name)))
        };
        earlier.iter().any(|resource| resource.reach().path().is_some_and(holds) || sets(resource))
    }
}

/// The actual state of a node: its answers, and the secrets that it already has.
#[derive(Clone, Copy)]
pub struct NodeState<'a> {
    /// The node's answers.
    pub answers: &'a Answers,
    /// The values that exist. A secret that has not been generated yet has none.
    pub secrets: &'a SecretValues,
}

impl NodeState<'_> {
    /// Whether `actual` equals `wanted` byte for byte. A secret without a value equals nothing.
    #[must_use]
    pub fn same(&self, wanted: &Sealed, actual: &[u8]) -> bool {
        wanted.reveal(self.secrets).is_ok_and(|wanted| wanted.as_slice() == actual)
    }
}

/// What a comparison found.
#[derive(Debug)]
pub enum Verdict {
    /// As declared. The note is for the user, for example about a kernel that refuses the live value of a setting.
    Converged {
        /// What the user should know nevertheless.
        note: Option<String>,
    },
    /// Not as declared; this change makes it so.
    Change(Change),
    /// Not as declared, and something that the change needs does not exist. If an earlier task has a pending change, it is expected to
    /// create the missing thing, and `change` is the prediction; otherwise the task fails and names what is missing.
    Blocked {
        /// What is missing; at least one thing.
        missing: Vec<Missing>,
        /// What happens once it exists. Compared again before it is applied.
        change: Change,
    },
    /// Cannot be made as declared; the text says what to do.
    Refused(String),
}

/// Returns the sentence that these things do not exist.
#[must_use]
pub fn do_not_exist(missing: &[Missing]) -> String {
    format!("{} does not exist", missing::list(missing))
}

impl Verdict {
    /// As declared, without a note.
    pub const CONVERGED: Self = Self::Converged { note: None };
}

/// What must be done to make a resource as declared.
#[derive(Debug)]
pub struct Change {
    /// A few words: "create", "mode 0644 → 0600".
    pub summary: String,
    /// The lines that differ from the state at the beginning of the run.
    pub diff: Diff,
    /// The script that makes the change. It does no harm when it runs again.
    pub script: Script,
    /// Whether something that already existed is changed. A new secret may not flow into such a thing.
    pub replaces: bool,
    /// The file that does not exist and is created. An item of the same run may create it before.
    pub creates: Option<RemotePath>,
    /// The file that is all that is changed, so that a copy of it can be put back.
    pub writes: Option<Kept>,
    /// What is not as declared, for a health check; empty where the summary says it.
    pub found: String,
}

impl Change {
    /// Returns a change that creates something, without a diff.
    #[must_use]
    pub fn new(summary: impl Into<String>, script: Script) -> Self {
        Self {
            summary: summary.into(),
            diff: Diff::none(),
            script,
            replaces: false,
            creates: None,
            writes: None,
            found: String::new(),
        }
    }

    /// Sets the diff.
    #[must_use]
    pub fn diff(mut self, diff: Diff) -> Self {
        self.diff = diff;
        self
    }

    /// Sets what is not as declared, for a health check.
    #[must_use]
    pub fn finding(mut self, found: String) -> Self {
        self.found = found;
        self
    }

    /// Sets the file that is created.
    #[must_use]
    pub fn creating(mut self, path: Option<RemotePath>) -> Self {
        self.creates = path;
        self
    }

    /// Sets the file that is all that is changed.
    #[must_use]
    pub fn writing(mut self, file: Kept) -> Self {
        self.writes = Some(file);
        self
    }

    /// Sets whether something that already existed is changed.
    #[must_use]
    pub fn replacing(mut self, replaces: bool) -> Self {
        self.replaces = replaces;
        self
    }
}

/// What the decoding of a resource may need besides its parameters: the project's files, already read, and rendered templates.
pub trait Files {
    /// Returns the rendered text of `templates/<role>/<name>`, with secrets as tokens.
    ///
    /// # Errors
    /// A diagnostic, which the caller attaches to the parameter `src`.
    fn template(&mut self, name: &str) -> Result<Sealed, crate::source::Diagnostic>;

    /// Returns the bytes of `roles/<role>/files/<name>`.
    ///
    /// # Errors
    /// As [`Files::template`].
    fn file(&mut self, name: &str) -> Result<Sealed, crate::source::Diagnostic>;
}

/// Why parameters cannot be decoded into a resource.
#[derive(Debug)]
pub enum ParamError {
    /// A parameter has the wrong type or value.
    Parameter {
        /// Keys and indices from the parameters' root to the wrong value; empty for all parameters together.
        path: Vec<Segment>,
        /// What is wrong.
        message: String,
    },
    /// A parameter is missing, or a parameter or the word that it is set to is unknown.
    Word {
        /// As in [`ParamError::Parameter`]; for an unknown key, up to and including that key.
        path: Vec<Segment>,
        /// The missing or unknown word.
        word: ParameterWord,
    },
    /// A file of the project is wrong or missing.
    File(Box<crate::source::Diagnostic>),
}

/// A word that is missing or unknown.
#[derive(Debug)]
pub enum ParameterWord {
    /// A parameter that must be given.
    Missing(&'static str),
    /// An unknown key, with the declared parameters.
    UnknownKey(&'static [Parameter]),
    /// An unknown value.
    UnknownWord {
        /// The given word.
        word: String,
        /// The possible words.
        known: &'static [&'static str],
    },
}

impl fmt::Display for ParameterWord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |known: &[&str]| known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Missing(name) => write!(formatter, "`{name}` is missing"),
            Self::UnknownKey(known) => {
                write!(
                    formatter,
                    "unknown parameter, expected one of {}",
                    list(&known.iter().map(|one| one.name).collect::<Vec<_>>())
                )
            }
            Self::UnknownWord { word, known } => write!(formatter, "`{word}` is not one of {}", list(known)),
        }
    }
}

impl ParamError {
    /// Returns an error about the parameter with this name; an empty name means all parameters together.
    #[must_use]
    pub fn parameter(name: &str, message: impl Into<String>) -> Self {
        let path = if name.is_empty() { Vec::new() } else { vec![Segment::Key(name.to_owned())] };
        Self::Parameter { path, message: message.into() }
    }

    /// Returns the same error with its path extended by the step from the value that contains this one.
    #[must_use]
    pub fn within(mut self, segment: Segment) -> Self {
        match &mut self {
            Self::Parameter { path, .. } | Self::Word { path, .. } => path.insert(0, segment),
            Self::File(_) => {}
        }
        self
    }
}

/// A step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Into a map.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

/// Makes a resource, or something else that is declared with parameters, from rendered parameters.
pub type Decode<T> = fn(serde_json::Value, &mut dyn Files) -> Result<Box<T>, ParamError>;

/// A kind of resource, or of another thing that a role declares with parameters, as the loader knows it.
#[derive(Debug)]
pub struct Kind<T: ?Sized = dyn Resource> {
    /// The word in a role file, such as `template`.
    pub name: &'static str,
    /// Its purpose in one line.
    pub about: &'static str,
    /// A task's entry, or a health check's, that shows how it is used: YAML.
    pub example: &'static str,
    /// Makes the resource from its rendered parameters (JSON; secrets are tokens within strings).
    pub decode: Decode<T>,
    /// Its parameters.
    pub declared: fn() -> &'static [Parameter],
    /// The parameter whose value may be given in place of the map, as in `command: true`; empty if there is none.
    pub free_form: &'static str,
}

impl<T: ?Sized> Kind<T> {
    /// Returns the names of its parameters, with their aliases.
    #[must_use]
    pub fn parameters(&self) -> Vec<&'static str> {
        (self.declared)().iter().flat_map(Parameter::names).collect()
    }

    /// Whether it has a parameter of this name.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        (self.declared)().iter().flat_map(Parameter::names).any(|known| known == name)
    }

    /// Returns the parameters that may hold secrets.
    #[must_use]
    pub fn secret_parameters(&self) -> Vec<&'static str> {
        schema::secret_parameters((self.declared)())
    }

    /// Whether the text of this parameter is an expression, or a list of them.
    #[must_use]
    pub fn is_expression(&self, name: &str) -> bool {
        let expressions = (self.declared)().iter().filter(|parameter| matches!(parameter.shape, Shape::Expressions));
        expressions.flat_map(Parameter::names).any(|known| known == name)
    }

    /// Whether a shell reads the text of this parameter, so that the loader quotes each value in it.
    #[must_use]
    pub fn is_shell_text(&self, name: &str) -> bool {
        (self.declared)()
            .iter()
            .any(|parameter| matches!(parameter.shape, Shape::ShellText) && parameter.names().any(|known| known == name))
    }

    /// Whether this parameter is a list of words that no shell reads, unless the first word is a shell, as in `[sh, -c, …]`.
    #[must_use]
    pub fn is_argv(&self, name: &str) -> bool {
        (self.declared)()
            .iter()
            .any(|parameter| matches!(parameter.shape, Shape::Argv) && parameter.names().any(|known| known == name))
    }
}

/// Declares the kinds and their modules. A new kind needs a file and one word here.
macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        $(mod $kind;)*
        /// Every kind of resource.
        pub const KINDS: &[&Kind] = &[$(&$kind::KIND),*];
    };
}

kinds! {
    apt,
    assert,
    blockinfile,
    command,
    copy,
    deb822_repository,
    docker_compose,
    file,
    get_url,
    group,
    lineinfile,
    pg_hba,
    port_owner,
    postgresql_cluster,
    postgresql_conf,
    postgresql_db,
    postgresql_privs,
    postgresql_user,
    redis_existing_data,
    redis_running,
    redis_settings,
    sysctl,
    systemd,
    systemd_service,
    template,
    ufw,
    user,
    wait_for,
}

/// Decodes parameters.
///
/// # Errors
/// [`ParamError`], with the path to the wrong value.
pub fn decode<P: schema::Declare>(parameters: serde_json::Value) -> Result<P, ParamError> {
    P::read(parameters)
}
