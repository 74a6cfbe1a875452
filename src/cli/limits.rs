//! What the operating system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// So many open files are enough for all hosts of a run. Programs that close every number below the limit before they start another take long with millions.
const FILES: u64 = 65_536;

/// Raises the soft limit of open files towards the hard one. A host that is worked on takes about six, so that the usual soft limit of 1,024 is
/// reached from about 160 on.
pub(super) fn raise_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(FILES).min(FILES);
    if current.is_some_and(|current| current < wanted) {
        // Without it, the run works with what it has, and says so where that is not enough.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}
