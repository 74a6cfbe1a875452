//! Exit codes. Each has one meaning; if several apply, the order is 130 > 1 > 3 > 5 > 2 > 0 ([`Exit::or`]).

use std::process::ExitCode;

/// The exit code of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit(pub(super) u8);

/// Declares exit codes with what they mean.
macro_rules! codes {
    ($($name:ident = $code:literal $meaning:literal,)*) => {
        impl Exit {
            $(#[doc = $meaning] pub(super) const $name: Self = Self($code);)*
        }

        /// All of them with what they mean.
        pub(super) const CODES: &[(u8, &str)] = &[$(($code, $meaning)),*];
    };
}

codes! {
    DONE = 0 "Nothing to do, or all done",
    FAILED = 1 "A task failed, or this program did",
    CHANGES = 2 "Something changed or would change, with `--detailed-exitcode`",
    UNREACHABLE = 3 "A node was unreachable",
    WRONG_FILES = 4 "The project's files or the selections are wrong; nothing was contacted",
    HELD = 5 "A node is held by another run",
    USAGE = 64 "The command line is wrong",
    INTERRUPTED = 130 "Interrupted",
}

impl Exit {
    /// Returns the one of the two that a process ends with.
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
