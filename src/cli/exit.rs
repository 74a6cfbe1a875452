//! Exit codes. Each has one meaning; several at once: 130 > 1 > 3 > 5 > 2 > 0.

use std::process::ExitCode;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit(pub(super) u8);

impl Exit {
    /// Nothing to do, or all done.
    pub(super) const DONE: Self = Self(0);
    /// A task failed, or this program did.
    pub(super) const FAILED: Self = Self(1);
    /// The project's files or the selections are wrong; nothing was contacted.
    pub(super) const WRONG_FILES: Self = Self(4);
    /// The command line is wrong (`EX_USAGE` of sysexits.h).
    pub(super) const USAGE: Self = Self(64);
    /// Interrupted (128 + SIGINT).
    pub(super) const INTERRUPTED: Self = Self(130);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}
