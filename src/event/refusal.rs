//! The end of a run that has not begun.

use serde::Serialize;

use super::Exit;
use crate::values::Problem;

/// Why a run ended before it contacted a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    exit: Exit,
    errors: Vec<Problem>,
}

impl Refusal {
    /// The project's files, the selections or a source of secrets are wrong.
    #[must_use]
    pub fn wrong(errors: Vec<Problem>) -> Self {
        Self { exit: Exit::WRONG_FILES, errors }
    }

    /// The run was interrupted before it began.
    #[must_use]
    pub fn interrupted() -> Self {
        Self { exit: Exit::INTERRUPTED, errors: Vec::new() }
    }

    /// Returns how the command ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns everything that is wrong, sorted by place; nothing when the run was interrupted.
    #[must_use]
    pub fn errors(&self) -> &[Problem] {
        &self.errors
    }
}
