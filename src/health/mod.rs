//! Health checks and exercises. Checks only read, and are asked together with all other questions; exercises use a service as its clients do.
//!
//! A check is a resource that never changes anything: a converged check is healthy, and a refused one gives the reason why it is not. An exercise
//! runs on the controller, through a tunnel.

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

/// Returns a healthy verdict when there are no problems. `found` is the finding that is shown then.
fn verdict(problems: &[String], found: impl Into<String>) -> Verdict {
    if !problems.is_empty() {
        return Verdict::Refused(problems.join("; "));
    }
    let found = found.into();
    Verdict::Converged { note: (!found.is_empty()).then_some(found) }
}

/// Returns the finding, preceded by the warnings if there are any. Their prefix marks the outcome: [`crate::event::Outcome::warns`].
fn with_warnings(warnings: &[String], found: &str) -> String {
    if warnings.is_empty() { found.to_owned() } else { format!("{WARNING}{}; {found}", warnings.join("; ")) }
}

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
