//! Compares inventories, host patterns and edits of files with ansible-core itself: see docs/INVENTORY.md and docs/ROLES.md.

#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute; these helpers are theirs")]
#![allow(clippy::print_stdout, reason = "the seed of random cases, and what was found")]

mod ansible;
mod corpus;
mod edit_cases;
mod edits;
mod patterns;
