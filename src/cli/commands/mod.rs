//! One file for each command: what it takes from the command line, how it is wired to its use case, and how the answer is shown.

pub(super) mod ping;
mod ping_table;
pub(super) mod run_jobs;
pub(super) mod status;
