//! One file for each command: what it takes from the command line, how it is wired to its use case, and how the answer is shown. The files beside them are
//! parts of one or two commands.

pub(super) mod deploy;
pub(super) mod doc;
pub(super) mod explain;
pub(super) mod health;
pub(super) mod inventory;
pub(super) mod lab;
pub(super) mod lab_arguments;
pub(super) mod lab_nodes;
pub(super) mod listing;
pub(super) mod ping;
pub(super) mod ping_table;
pub(super) mod redis;
pub(super) mod redis_progress;
pub(super) mod rehearse;
pub(super) mod run_jobs;
pub(super) mod schema;
pub(super) mod status;
pub(super) mod validate;
pub(super) mod watching;
