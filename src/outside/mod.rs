//! Secrets from outside: values that are not made on the node but come from the environment, a file or a program of this machine, or from
//! Ansible Vault. Fetched once per run, before the first connection, and kept in memory alone.

mod fetch;
mod program;
mod value;

pub use fetch::{StandIns, fetch, fetch_one};
pub use program::password_of;

use crate::source::{Place, Vaulted};

/// A value from outside, and where it is declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Outside {
    /// Where it comes from.
    pub source: Source,
    /// Where that stands.
    pub place: Place,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A variable of this program's environment.
    Env(String),
    /// A file of this machine; `~` is the home directory, and a relative path begins at the project.
    File(String),
    /// What a program of this machine prints.
    Command(Program),
    /// What Ansible Vault encrypted.
    Vaulted(Vaulted),
}

/// A program of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Its name and its arguments; no shell is involved.
    Words(Vec<String>),
    /// A line for `sh`.
    Shell(String),
}

impl Source {
    /// What it is, for people: ``the variable `REDIS_PW` of the environment``.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Env(name) => format!("the variable `{name}` of the environment"),
            Self::File(path) => format!("the file `{path}`"),
            Self::Command(program) => format!("the command `{}`", program.name()),
            Self::Vaulted(_) => "Ansible Vault".to_owned(),
        }
    }
}

impl Program {
    /// Its name alone: arguments may be long, and are the operator's business.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Words(words) => words.first().map_or("", String::as_str),
            Self::Shell(line) => line.split_whitespace().next().unwrap_or_default(),
        }
    }
}
