//! A round of questions to a node, and why the run of a host could not begin or go on.

use rand::rngs::SysError;

use crate::{
    event::HostResult,
    question::{Answers, Composed, Questions, connection::OwnConnection, way::TrustedOwners},
    script::NulByte,
    secret::{Revealed, nonce},
    transport::{LinkError, Step, StepOutput},
};

/// Questions on their way to a node.
pub(super) struct QuestionRound {
    composed: Composed,
    /// The composed script, with what it needs to know.
    script: String,
}

impl QuestionRound {
    pub(super) fn new(questions: Questions, trusted: &TrustedOwners) -> Result<Self, NotAsked> {
        // The connection's addresses are known here and are set as an answer; the node does not know them.
        let composed = questions.except::<OwnConnection>().compose(&nonce()?)?;
        let script = trusted.told_to(composed.script().to_owned())?;
        Ok(Self { composed, script })
    }

    pub(super) fn step(&self) -> Step {
        let again = self.composed.again().clone();
        Step { script: self.script.clone(), input: Revealed::default(), limit: self.composed.limit(), again: Some(again) }
    }

    /// Reads the answers; questions without output are unanswered.
    pub(super) fn read(&self, output: Option<&StepOutput>) -> Answers {
        match output.map(|output| output.stdout.whole()) {
            Some(Ok(stdout)) => self.composed.read(stdout),
            Some(Err(too_long)) => self.composed.unanswered(&format!("the node's answers are too long: {too_long}")),
            None => self.composed.read(&[]),
        }
    }
}

/// Why questions cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAsked {
    #[error(transparent)]
    NulByte(#[from] NulByte),
    #[error("the operating system gives no random numbers: {0}")]
    NoRandomNumbers(#[from] SysError),
}

/// Why the run of a host could not begin or go on.
pub(super) enum HostError {
    Link(LinkError),
    Failed(String),
}

impl HostError {
    /// Returns the result of the host.
    pub(super) fn result(self) -> HostResult {
        match self {
            Self::Failed(error) => HostResult::Failed { error: Some(error) },
            Self::Link(error) => {
                let (text, help) = (error.to_string(), error.remedy());
                if matches!(error, LinkError::Held(_)) {
                    HostResult::Held { holder: text, help }
                } else if matches!(error, LinkError::Here { .. }) {
                    // The node has no part in it.
                    HostResult::Failed { error: Some(help.map_or(text.clone(), |help| format!("{text}; {help}"))) }
                } else {
                    HostResult::Unreachable { error: text, help }
                }
            }
        }
    }
}

impl From<LinkError> for HostError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<NotAsked> for HostError {
    fn from(error: NotAsked) -> Self {
        Self::Failed(error.to_string())
    }
}
