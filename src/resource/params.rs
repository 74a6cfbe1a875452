//! Types of parameters that only resources have, checked when they are decoded.

use serde::Deserialize;

/// Whether something must exist.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It must exist.
    #[default]
    Present,
    /// It must not exist.
    Absent,
}

/// Text that a shell reads. The loader has quoted each value in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ShellText(pub String);

/// The words of a command that is run without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Argv(pub Vec<String>);
