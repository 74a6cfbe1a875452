//! Health checks that only read, and the adapter that makes one of a declared state.

use std::fmt::Debug;

use crate::{
    question::{Questions, Unanswered},
    resource::{NodeState, Resource, Verdict, do_not_exist},
    secret::SecretId,
};

/// What a health check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// All is well. The text, which may be empty, is for people.
    Healthy(String),
    /// All is well, but there is a reason to look at something.
    Warning {
        /// What to look at.
        warning: String,
        /// What else was found.
        found: String,
    },
    /// Something is wrong.
    Unhealthy(String),
    /// There is nothing to examine on this node.
    Skipped(String),
}

impl Finding {
    /// Returns that all is well when there are no problems, otherwise all problems. `found` is the text that is shown when all is well.
    pub(super) fn of_problems(problems: &[String], found: impl Into<String>) -> Self {
        if problems.is_empty() { Self::Healthy(found.into()) } else { Self::Unhealthy(problems.join("; ")) }
    }

    /// Returns that all is well, with the warnings if there are any.
    pub(super) fn with_warnings(warnings: &[String], found: String) -> Self {
        if warnings.is_empty() { Self::Healthy(found) } else { Self::Warning { warning: warnings.join("; "), found } }
    }
}

/// A health check that only reads: it names questions and examines their answers. It changes nothing, does no I/O and reads no clock.
pub trait HealthCheck: Debug + Send + Sync {
    /// Names the questions whose answers [`HealthCheck::examine`] reads.
    fn questions(&self, ask: &mut Questions);

    /// Examines the answers.
    ///
    /// # Errors
    /// When a question has no answer; the check fails with this error.
    fn examine(&self, node: &NodeState<'_>) -> Result<Finding, Unanswered>;

    /// Whether the check is about something that no deploy does, such as last night's backup. Then only `health` evaluates it.
    fn monitoring_only(&self) -> bool {
        false
    }

    /// Whether the check names this unit, so that it says whether the unit works.
    fn names_unit(&self, _unit: &str) -> bool {
        false
    }

    /// Whether the check says what the kernel lacks of the firewall, so that others need not.
    fn declares_firewall(&self) -> bool {
        false
    }

    /// Returns the port that the check declares as open or closed.
    fn declared_port(&self) -> Option<u16> {
        None
    }

    /// Returns the secrets that it compares with.
    fn secrets(&self) -> Vec<SecretId> {
        Vec::new()
    }
}

/// Makes a health check of a resource: healthy when the node is as declared.
#[derive(Debug)]
pub struct AsDeclared(pub Box<dyn Resource>);

impl HealthCheck for AsDeclared {
    fn questions(&self, ask: &mut Questions) {
        self.0.questions(ask);
    }

    fn examine(&self, node: &NodeState<'_>) -> Result<Finding, Unanswered> {
        Ok(match self.0.compare(node)? {
            Verdict::Converged { note } => match self.0.contradicted(node)? {
                Some(found) => Finding::Unhealthy(found.reason),
                None => Finding::Healthy(note.unwrap_or_default()),
            },
            Verdict::Refused(reason) => Finding::Unhealthy(reason),
            Verdict::Change(change) => Finding::Unhealthy(match self.0.refuse(node, &[]) {
                Some(reason) => reason,
                None if change.found.is_empty() => change.summary,
                None => change.found,
            }),
            Verdict::Blocked { missing, .. } => Finding::Unhealthy(do_not_exist(&missing)),
        })
    }

    fn names_unit(&self, unit: &str) -> bool {
        self.0.unit() == Some(unit)
    }

    fn declares_firewall(&self) -> bool {
        self.0.declares_firewall()
    }

    fn secrets(&self) -> Vec<SecretId> {
        self.0.secrets()
    }
}
