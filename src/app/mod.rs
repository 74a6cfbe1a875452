//! Use cases: what a user can ask for, without printing.

pub mod external;
mod git;
pub mod jobs;
pub mod lab_site;
pub mod nodes;
pub mod ping;
mod project_state;
pub mod reach;
pub mod rehearsal;
pub mod run;
