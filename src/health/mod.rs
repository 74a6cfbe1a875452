//! Health: checks that read, asked with every other question, and exercises that use a database as its clients do.
//!
//! A check is a resource that never changes anything: converged is healthy, refused is not, in its own words. An exercise runs on the controller,
//! through a tunnel.

mod backup;
mod exercise;
mod http;
mod postgresql;
mod postgresql_login;
mod redis;
mod redis_conf;
mod redis_exercise;
mod resp;

pub use exercise::{Exercise, ExerciseKind};

use crate::resource::{Kind, Verdict};

/// Every kind of check.
pub const CHECKS: &[&Kind] = &[&backup::KIND, &postgresql::KIND, &redis::KIND];

/// Every kind of exercise.
pub const EXERCISES: &[&ExerciseKind] = &[&http::KIND, &postgresql_login::KIND, &redis_exercise::KIND];

/// Healthy when there is nothing to complain about.
fn verdict(complaints: &[String]) -> Verdict {
    if complaints.is_empty() { Verdict::CONVERGED } else { Verdict::Refused(complaints.join("; ")) }
}
