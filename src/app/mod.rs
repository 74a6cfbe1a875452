//! Use cases: what a user can ask for, without printing and without exit codes.

pub mod external;
pub mod reach;
pub mod run;
