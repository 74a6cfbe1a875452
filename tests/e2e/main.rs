//! Tests of the design's promises on real nodes with systemd, sshd, apt, PostgreSQL and Redis Stack. They need root and boot throw-away nodes.
//!
//! A test boots the nodes that it needs (about a second each) in a lab that all tests of a run share, and works on them with the real program.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "clippy knows tests by their attribute; these helpers are theirs"
)]

mod backups;
mod bad_input;
mod bounds;
mod bulk;
mod connection;
#[path = "../documents/mod.rs"]
mod documents;
mod edits;
mod ends;
mod files;
mod firewall;
mod first_role;
mod harness;
mod health;
mod health_of_neighbours;
mod hostile_values;
mod interruptions;
mod jobs;
mod kill_matrix;
mod kills;
mod library;
mod links;
mod lockout;
mod lockout_judged;
mod locks;
mod names;
mod packages;
mod persist;
mod pg_conf;
mod pg_hba;
mod pg_live;
mod prediction;
mod redis_live;
mod redis_ops;
mod redis_progress;
mod role_postgresql;
mod role_redis;
mod role_redis_container;
mod role_redis_refusals;
mod role_user_management;
mod second_run;
mod secrets;
mod services;
mod smoke;
mod takeover;
mod trace;
mod truth;
mod truth_matrix;
mod untrusted;
mod way_back;
