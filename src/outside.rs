//! Where external secrets come from: values that are not generated on the node but come from the environment, a file or a program of this machine,
//! or from Ansible Vault. `app::external` fetches them.

use crate::source::{Span, Vaulted};

/// An external value, and where it is declared.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalValue {
    /// The source of the value.
    pub source: Source,
    /// The place of the declaration.
    pub span: Span,
}

/// The source of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// An environment variable of this program.
    Env(String),
    /// A file of this machine; `~` is the home directory, and a relative path starts at the project directory.
    File(String),
    /// The output of a program of this machine.
    Command(Program),
    /// A value that Ansible Vault encrypted.
    Vaulted(Vaulted),
}

/// A program of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Its name and its arguments; they are not passed through a shell.
    Words(Vec<String>),
    /// A command line for `sh`.
    Shell(String),
}

impl Source {
    /// Describes the source for people, such as ``the environment variable `REDIS_PW` ``.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Env(name) => format!("the environment variable `{name}`"),
            Self::File(path) => format!("the file `{path}`"),
            Self::Command(program) => format!("the command `{}`", program.name()),
            Self::Vaulted(_) => "Ansible Vault".to_owned(),
        }
    }
}

impl Program {
    /// Returns its name without its arguments, which may be long and may be private.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Words(words) => words.first().map_or("", String::as_str),
            Self::Shell(line) => line.split_whitespace().next().unwrap_or_default(),
        }
    }
}
