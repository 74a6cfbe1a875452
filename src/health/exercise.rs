//! What an exercise is: something that a client would do, done once and cleaned up after.

use std::fmt::Debug;

use crate::{
    question::{Questions, Unanswered},
    resource::{Is, Wrong},
    secret::{SecretRef, SecretValues},
    transport::{Running, Tunnel},
};

/// Something that a client of a database would do.
pub trait Exercise: Debug + Send + Sync {
    /// A few words for the reader.
    fn name(&self) -> String;

    /// Does it through the tunnel and says what worked, or what did not. Neither holds a secret.
    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, secrets: &'a SecretValues) -> Running<'a, String>;

    /// The secrets that it needs.
    fn secrets(&self) -> Vec<SecretRef>;

    /// Whether it merely asks somebody who uses what the role provides, and whose state is no fault of the role: then `health` asks it always, and
    /// no deploy does.
    fn not_of_a_deploy(&self) -> bool {
        false
    }

    /// Names the questions whose answers [`Exercise::skipped`] reads.
    fn questions(&self, _ask: &mut Questions) {}

    /// Why there is nothing to exercise on this node.
    ///
    /// # Errors
    /// When a question has no answer.
    fn skipped(&self, _is: &Is<'_>) -> Result<Option<String>, Unanswered> {
        Ok(None)
    }
}

/// A kind of exercise, as the loader knows it.
#[derive(Debug)]
pub struct ExerciseKind {
    /// The word in a role file, such as `postgresql_login`.
    pub name: &'static str,
    /// Makes the exercise from its rendered parameters (JSON; secrets are tokens within strings).
    pub decode: fn(serde_json::Value) -> Result<Box<dyn Exercise>, Wrong>,
    /// The parameters' names, for did-you-mean.
    pub parameters: &'static [&'static str],
    /// The parameters that hold secrets.
    pub secret_parameters: &'static [&'static str],
}
