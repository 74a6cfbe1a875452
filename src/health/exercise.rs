//! Exercises: an action of a client, which is performed once and cleaned up afterwards.

use std::fmt::Debug;

use super::Finding;
use crate::{
    question::{Questions, Unanswered},
    resource::{NodeState, ParamError, Parameter, schema::secret_parameters},
    secret::{SecretId, SecretValues},
    transport::{Running, Tunnel},
};

/// An action of a client of a service.
pub trait Exercise: Debug + Send + Sync {
    /// Returns a short description for people.
    fn name(&self) -> String;

    /// Performs the action through the tunnel and returns what was found, or what did not work. Neither text contains a secret.
    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, secrets: &'a SecretValues) -> Running<'a, Finding>;

    /// Returns the secrets that the exercise needs.
    fn secrets(&self) -> Vec<SecretId>;

    /// Returns whether the exercise only monitors a program that uses the role's service, and whose state does not depend on the role. Then every
    /// `health` runs it, and no deploy does.
    fn monitoring_only(&self) -> bool {
        false
    }

    /// Asks the questions whose answers [`Exercise::skipped`] reads.
    fn questions(&self, _ask: &mut Questions) {}

    /// Returns the reason why there is nothing to exercise on this node, if there is one.
    ///
    /// # Errors
    /// Returns an error when a question has no answer.
    fn skipped(&self, _is: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        Ok(None)
    }
}

/// A kind of exercise, as the loader knows it.
#[derive(Debug)]
pub struct ExerciseKind {
    /// The word in a role file, such as `postgresql_login`.
    pub name: &'static str,
    /// One line on what it does.
    pub about: &'static str,
    /// A health check's entry that shows how it is used: YAML.
    pub example: &'static str,
    /// Makes the exercise from its rendered parameters (JSON; secrets are tokens within strings).
    pub decode: fn(serde_json::Value) -> Result<Box<dyn Exercise>, ParamError>,
    /// Its parameters.
    pub declared: fn() -> &'static [Parameter],
}

impl ExerciseKind {
    /// The names of its parameters, with their aliases.
    #[must_use]
    pub fn parameters(&self) -> Vec<&'static str> {
        (self.declared)().iter().flat_map(Parameter::names).collect()
    }

    /// The parameters that hold secrets.
    #[must_use]
    pub fn secret_parameters(&self) -> Vec<&'static str> {
        secret_parameters((self.declared)())
    }
}
