//! Exit codes. Each has one meaning; several at once: 130 > 1 > 3 > 5 > 2 > 0 ([`Exit::or`]).

use std::process::ExitCode;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit(pub(super) u8);

impl Exit {
    /// Nothing to do, or all done.
    pub(super) const DONE: Self = Self(0);
    /// A task failed, or this program did.
    pub(super) const FAILED: Self = Self(1);
    /// Something changed or would, where `--detailed-exitcode` asks.
    pub(super) const CHANGES: Self = Self(2);
    /// A node was unreachable.
    pub(super) const UNREACHABLE: Self = Self(3);
    /// The project's files or the selections are wrong; nothing was contacted.
    pub(super) const WRONG_FILES: Self = Self(4);
    /// A node is held by another run.
    pub(super) const HELD: Self = Self(5);
    /// The command line is wrong (`EX_USAGE` of sysexits.h).
    pub(super) const USAGE: Self = Self(64);
    /// Interrupted (128 + SIGINT).
    pub(super) const INTERRUPTED: Self = Self(130);

    /// The one of both that a process ends with.
    pub(super) fn or(self, other: Self) -> Self {
        let order = [Self::DONE, Self::CHANGES, Self::HELD, Self::UNREACHABLE, Self::FAILED, Self::INTERRUPTED];
        let rank = |exit: Self| order.iter().position(|known| *known == exit);
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}
