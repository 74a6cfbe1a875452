//! Use cases: what a user can ask for, without printing and without exit codes. So far, only fetching secrets is here.

pub mod external;
