//! How the process ends: the table of exit codes is [`crate::event::Exit`].

use std::process::ExitCode;

pub(super) use crate::event::Exit;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
