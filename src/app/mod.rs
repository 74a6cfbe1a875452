//! Use cases: what a user can ask for, without printing and without exit codes.

pub mod external;
pub mod jobs;
pub mod lab_site;
pub mod nodes;
pub mod ping;
pub mod reach;
pub mod rehearsal;
pub mod run;
