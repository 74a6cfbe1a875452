//! Resources: what a task can ask for. One file each; this one defines the trait and lists them.
//!
//! A resource is a typed value. It names the questions whose answers it needs and compares the answers with what is wanted. It opens no
//! connection, reads no file and no clock, and cannot know whether this is a check.

pub mod access;
pub(crate) mod apt_functions;
mod cluster_file;
pub mod content;
pub mod diff;
mod edit;
mod params;
mod pattern;
pub mod put;
pub mod schema;
#[cfg(test)]
pub(crate) mod trial;
pub mod unit_functions;

#[cfg(test)]
pub(crate) use assert::Claims;
pub use diff::Diff;
pub use params::{Argv, Flag, Mode, OneOrMany, RemotePath, ShellText, State, matches_glob};
pub use schema::{Parameter, Shape};

use std::{
    any::Any,
    fmt::{self, Debug},
};

use crate::{
    question::{Answers, Questions, Unanswered},
    script::Script,
    secret::{Sealed, SecretRef, SecretValues},
};

/// A state that a task asks for.
pub trait Resource: Any + Debug + Send + Sync {
    /// Names the questions whose answers [`Resource::compare`] reads.
    fn questions(&self, ask: &mut Questions);

    /// Compares what is with what is wanted.
    ///
    /// # Errors
    /// When a question has no answer; the task fails with it.
    fn compare(&self, is: &NodeState<'_>) -> Result<Verdict, Unanswered>;

    /// Why a health check has nothing to look at on this node. It is asked before [`Resource::compare`], with the answers to the same questions.
    ///
    /// # Errors
    /// When a question has no answer.
    fn skipped(&self, _is: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        Ok(None)
    }

    /// Whether a health check tells of what is no work of a deploy, such as last night's backup: then `health` asks it, and no deploy does.
    fn monitoring_only(&self) -> bool {
        false
    }

    /// The secrets that its content uses. Everything else of a resource is free of secrets: the loader sees to it.
    fn secrets(&self) -> Vec<SecretRef> {
        Vec::new()
    }

    /// What `register` keeps of it, beyond whether it changed: only of what merely reads.
    fn register(&self, _is: &NodeState<'_>) -> Option<serde_json::Value> {
        None
    }

    /// Whether a change may well do what later tasks ask for: a package starts its service. All that are due are then asked again right behind
    /// it, so that "changed (by ...)" names the right one.
    fn may_satisfy_later_tasks(&self) -> bool {
        false
    }

    /// Why this must not be done, given all that the run will have applied before it: a change that would cut this very connection.
    fn refuse(&self, _is: &NodeState<'_>, _earlier: &[&dyn Resource]) -> Option<String> {
        None
    }
}

/// What is: the answers of the node, and the secrets that already exist there.
#[derive(Clone, Copy)]
pub struct NodeState<'a> {
    /// The node's answers.
    pub answers: &'a Answers,
    /// The values that exist. A secret that is yet to be made has none.
    pub secrets: &'a SecretValues,
}

impl NodeState<'_> {
    /// Whether `actual` is exactly what `wanted` says. A secret without a value equals nothing.
    #[must_use]
    pub fn same(&self, wanted: &Sealed, actual: &[u8]) -> bool {
        wanted.reveal(self.secrets).is_ok_and(|wanted| wanted.as_slice() == actual)
    }
}

/// What a comparison found.
#[derive(Debug)]
pub enum Verdict {
    /// As wanted. The note is for the reader, such as a kernel that refuses the live value of a setting.
    Converged {
        /// Something worth knowing all the same.
        note: Option<String>,
    },
    /// Not as wanted; this makes it so.
    Change(Change),
    /// Not as wanted, and something it needs is not there. If an earlier task has a change pending the thing will be there by then
    /// and `change` is what will happen; otherwise the task fails and names what is missing.
    Blocked {
        /// What is missing, such as "user `redis`".
        missing: String,
        /// What happens once it is there. Compared again before it is applied.
        change: Change,
    },
    /// Cannot be made so; says what to do.
    Refused(String),
}

impl Verdict {
    /// As wanted, nothing to add.
    pub const CONVERGED: Self = Self::Converged { note: None };
}

/// What it takes to make something as wanted.
#[derive(Debug)]
pub struct Change {
    /// A few words: "create", "mode 0644 → 0600".
    pub summary: String,
    /// What differs from the beginning of the run.
    pub diff: Diff,
    /// The shell that makes it so. It does no harm when run again.
    pub script: Script,
    /// Whether something that already existed is changed. A new secret may not flow into such a thing.
    pub replaces: bool,
}

impl Change {
    /// A change of something that was not there before, without a diff.
    #[must_use]
    pub fn new(summary: impl Into<String>, script: Script) -> Self {
        Self { summary: summary.into(), diff: Diff::none(), script, replaces: false }
    }

    /// What differs.
    #[must_use]
    pub fn diff(mut self, diff: Diff) -> Self {
        self.diff = diff;
        self
    }

    /// Says whether something that already existed is changed.
    #[must_use]
    pub fn replacing(mut self, replaces: bool) -> Self {
        self.replaces = replaces;
        self
    }
}

/// What a resource may need to be decoded, beyond its parameters: the project's files, already read, and templates, rendered.
pub trait Files {
    /// The rendered text of `templates/<role>/<name>`, secrets as tokens.
    ///
    /// # Errors
    /// What is wrong, for the reader, placed by the caller at the parameter named `src`.
    fn template(&mut self, name: &str) -> Result<Sealed, crate::source::Diagnostic>;

    /// The bytes of `roles/<role>/files/<name>`.
    ///
    /// # Errors
    /// As [`Files::template`].
    fn file(&mut self, name: &str) -> Result<Vec<u8>, crate::source::Diagnostic>;
}

/// Why parameters do not make a resource.
#[derive(Debug)]
pub enum ParamError {
    /// A parameter is missing, unknown, or of the wrong type or value: where in the parameters, and what.
    Parameter {
        /// Keys and indices from the parameters' root to the culprit; empty for the whole.
        path: Vec<Segment>,
        /// What is wrong.
        message: String,
    },
    /// A parameter, or a word that it is set to, is missing or unknown.
    Word {
        /// As in [`ParamError::Parameter`]; of an unknown key, up to that key.
        path: Vec<Segment>,
        /// Which.
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
    /// A key; these are the parameters that there are.
    UnknownKey(&'static [Parameter]),
    /// A value; these are those that there are.
    UnknownWord {
        /// What was given.
        word: String,
        /// What is possible.
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
            Self::UnknownWord { word, known } => write!(formatter, "`{word}` is none of {}", list(known)),
        }
    }
}

impl ParamError {
    /// A complaint about one parameter by its name; an empty name means the whole.
    #[must_use]
    pub fn parameter(name: &str, message: impl Into<String>) -> Self {
        let path = if name.is_empty() { Vec::new() } else { vec![Segment::Key(name.to_owned())] };
        Self::Parameter { path, message: message.into() }
    }

    /// The same, seen from what holds the value.
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

/// Makes a resource from rendered parameters.
pub type Decode = fn(serde_json::Value, &mut dyn Files) -> Result<Box<dyn Resource>, ParamError>;

/// A kind of resource, as the loader knows it.
#[derive(Debug)]
pub struct Kind {
    /// The word in a role file, such as `template`.
    pub name: &'static str,
    /// One line on what it is for.
    pub about: &'static str,
    /// A task's entry, or a health check's, that shows how it is used: YAML.
    pub example: &'static str,
    /// Makes the resource from its rendered parameters (JSON; secrets are tokens within strings).
    pub decode: Decode,
    /// Its parameters.
    pub declared: fn() -> &'static [Parameter],
    /// The parameter that a task may give alone, as in `command: true`; empty when there is none.
    pub free_form: &'static str,
}

impl Kind {
    /// The names of its parameters, with their aliases.
    #[must_use]
    pub fn parameters(&self) -> Vec<&'static str> {
        (self.declared)().iter().flat_map(Parameter::names).collect()
    }

    /// Whether it has a parameter of this name.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        (self.declared)().iter().flat_map(Parameter::names).any(|known| known == name)
    }

    /// The parameters that may hold secrets.
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

    /// Whether this parameter is a list of words that no shell reads, unless the first is one, as in `[sh, -c, …]`.
    #[must_use]
    pub fn is_argv(&self, name: &str) -> bool {
        (self.declared)()
            .iter()
            .any(|parameter| matches!(parameter.shape, Shape::Argv) && parameter.names().any(|known| known == name))
    }
}

/// Declares the kinds and their modules. A new resource is its file and one word here.
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
    file,
    get_url,
    group,
    lineinfile,
    pg_hba,
    port_owner,
    postgresql_conf,
    postgresql_db,
    postgresql_privs,
    postgresql_user,
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
/// What is wrong, with the path to it.
pub fn decode<P: schema::Declare>(parameters: serde_json::Value) -> Result<P, ParamError> {
    P::read(parameters)
}
