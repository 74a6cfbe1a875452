//! Exit codes, and what leads to each. Each has one meaning; if several apply, the order is 130 > 1 > 3 > 5 > 2 > 0 ([`Exit::or`]).
//!
//! They are part of the event stream, so that a reader of events learns how the command ends.

use serde::Serialize;

use super::{Counts, HostStatus};

/// The exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Exit(u8);

/// Declares exit codes with what they mean.
macro_rules! codes {
    ($($name:ident = $code:literal $meaning:literal,)*) => {
        impl Exit {
            $(#[doc = $meaning] pub const $name: Self = Self($code);)*

            /// All of them with what they mean.
            pub const ALL: &[(u8, &str)] = &[$(($code, $meaning)),*];
        }
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
    /// Returns the exit code of a run with this result. `detailed` reports changes, made or pending, and what is not known.
    #[must_use]
    pub fn of_run(status: HostStatus, summary: &Counts, detailed: bool) -> Self {
        let differs = summary.changed + summary.unknown > 0;
        match status {
            HostStatus::Interrupted => Self::INTERRUPTED,
            HostStatus::Failed => Self::FAILED,
            HostStatus::Unreachable => Self::UNREACHABLE,
            HostStatus::Held => Self::HELD,
            HostStatus::Changed | HostStatus::Ok if detailed && differs => Self::CHANGES,
            HostStatus::Changed | HostStatus::Ok => Self::DONE,
        }
    }

    /// Returns the one of the two that a process ends with.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let order = [Self::DONE, Self::CHANGES, Self::HELD, Self::UNREACHABLE, Self::FAILED, Self::INTERRUPTED];
        let rank = |exit: Self| order.iter().position(|known| *known == exit);
        if rank(other) > rank(self) { other } else { self }
    }

    /// Returns the number.
    #[must_use]
    pub fn code(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::HostStatus::{Changed, Failed, Held, Interrupted, Ok, Unreachable};

    #[test]
    fn the_worst_result_of_the_hosts_decides_the_exit_code() {
        let code = |hosts: &[HostStatus], unknown: usize, detailed: bool| {
            let status = hosts.iter().fold(HostStatus::Ok, |worst, host| worst.worse(*host));
            let changed = hosts.iter().filter(|host| **host == HostStatus::Changed).count();
            Exit::of_run(status, &Counts { changed, unknown, ..Counts::default() }, detailed).code()
        };
        assert_eq!(code(&[Ok, Changed], 0, false), 0);
        assert_eq!(code(&[Ok, Changed], 0, true), 2);
        assert_eq!(code(&[Ok], 1, true), 2);
        assert_eq!(code(&[Changed, Held], 0, true), 5);
        assert_eq!(code(&[Unreachable, Held], 1, true), 3);
        assert_eq!(code(&[Unreachable, Failed], 0, true), 1);
        assert_eq!(code(&[Failed, Interrupted], 0, true), 130);
    }
}
