//! Use cases: what a user can ask for, without printing.

pub mod external;
pub mod jobs;
pub mod nodes;
pub mod ping;
pub mod reach;
pub mod run;
