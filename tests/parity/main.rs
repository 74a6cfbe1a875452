//! Compares inventories and host patterns with ansible-core itself: see docs/INVENTORY.md.

#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute; these helpers are theirs")]

mod ansible;
mod corpus;
mod patterns;
