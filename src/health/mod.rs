//! Health checks and exercises. Checks only read, and are asked together with all other questions; exercises use a service as its clients do.
//!
//! Any resource is a check, too: it is healthy when the node is as declared. An exercise runs on the controller, through a tunnel.

mod backup;
mod check;
mod exercise;
mod http;
pub(crate) mod listening;
mod migrations;
mod postgresql;
mod postgresql_files;
mod postgresql_login;
mod program;
mod redis;
mod redis_exercise;
mod slm_backend;
mod unit;

pub use check::{AsDeclared, Finding, HealthCheck};
pub use exercise::{Exercise, ExerciseKind};
pub use listening::PortRange;

use crate::resource::Kind;

/// Every kind of check.
pub const CHECKS: &[&Kind<dyn HealthCheck>] = &[
    &backup::KIND,
    &listening::KIND,
    &migrations::KIND,
    &postgresql::KIND,
    &postgresql_files::KIND,
    &program::KIND,
    &redis::KIND,
    &unit::KIND,
];

/// Every kind of exercise.
pub const EXERCISES: &[&ExerciseKind] = &[&http::KIND, &postgresql_login::KIND, &redis_exercise::KIND, &slm_backend::KIND];

/// Formats a duration in one unit: `42 s`, `3 min`, `5 h`, `12 d`.
fn format_span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_one_unit() {
        let all = [0, 119, 120, 7199, 7200, 172_799, 172_800, u64::MAX].map(format_span);
        assert_eq!(all, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d", "213503982334601 d"]);
    }
}
