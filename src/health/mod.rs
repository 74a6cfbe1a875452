//! Health: checks that read, asked with every other question, and exercises that use a database as its clients do.
//!
//! A check is a resource that never changes anything: converged is healthy, refused is not, in its own words. An exercise runs on the controller,
//! through a tunnel.

mod backup;
mod exercise;
mod http;
pub(crate) mod listening;
mod migrations;
mod postgresql;
mod postgresql_login;
mod redis;
mod redis_conf;
mod redis_exercise;
pub(crate) mod resp;
mod slm_backend;

pub use exercise::{Exercise, ExerciseKind};
pub use listening::PortRange;

use crate::{
    event::WARNING,
    resource::{Kind, Verdict},
};

/// Every kind of check.
pub const CHECKS: &[&Kind] = &[&backup::KIND, &listening::KIND, &migrations::KIND, &postgresql::KIND, &redis::KIND];

/// Every kind of exercise.
pub const EXERCISES: &[&ExerciseKind] = &[&http::KIND, &postgresql_login::KIND, &redis_exercise::KIND, &slm_backend::KIND];

/// Healthy when there is nothing to complain about. `found` is what the reader sees then.
fn verdict(complaints: &[String], found: impl Into<String>) -> Verdict {
    if !complaints.is_empty() {
        return Verdict::Refused(complaints.join("; "));
    }
    let found = found.into();
    Verdict::Converged { note: (!found.is_empty()).then_some(found) }
}

/// What was found, behind the warnings that there are. The beginning makes it one: [`crate::event::Outcome::warns`].
fn with_warnings(warnings: &[String], found: &str) -> String {
    if warnings.is_empty() { found.to_owned() } else { format!("{WARNING}{}; {found}", warnings.join("; ")) }
}

/// How long something took or is ago, in its largest unit: `42 s`, `3 min`, `5 h`, `12 d`.
fn span(seconds: u64) -> String {
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
    fn spans_have_one_unit() {
        let all = [0, 119, 120, 7199, 7200, 172_799, 172_800, u64::MAX].map(span);
        assert_eq!(all, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d", "213503982334601 d"]);
    }
}
