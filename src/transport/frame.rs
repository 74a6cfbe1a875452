//! What is run on a node in one round trip, and what comes back.

use std::{fmt, time::Duration};

use super::kept::Stream;
use crate::{
    script::{Again, NulByte, Script},
    secret::{RevealError, Revealed, SecretValues},
};

/// A script ready to run on a node, with its secrets. Its `Debug` output does not contain its input.
#[derive(Clone)]
pub struct Step {
    /// Shell text without secrets: those are in the input only.
    pub script: String,
    /// What the script reads from its standard input.
    pub input: Revealed,
    /// How long it may run, rounded up to whole seconds, before its whole process group is ended.
    pub limit: Duration,
    /// How its script is run again, part by part, once the limit has struck; it then counts as ended well. Such a step has no input.
    pub again: Option<Again>,
}

/// How long `timeout` and the loop give what has reached its limit to end.
const KILLED: Duration = Duration::from_secs(6);

impl Step {
    /// Renders a script and puts the secrets' values into its input. The only place in the program that does this.
    ///
    /// # Errors
    /// When an argument holds a NUL byte, or a secret has no value yet.
    pub fn new(script: &Script, secrets: &SecretValues) -> Result<Self, StepError> {
        let input = script.sealed_input().reveal(secrets).map_err(StepError::Secret)?;
        Ok(Self { script: script.render()?, input, limit: script.whole_limit(), again: None })
    }

    /// Returns how long it may take with all that is run again.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let again = self.again.iter().flat_map(|again| &again.parts).map(|(_, limit)| *limit + KILLED);
        self.limit + again.sum::<Duration>()
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Step({} bytes of script, {} of input, {:?})", self.script.len(), self.input.len(), self.limit)
    }
}

/// Why a script cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// An argument holds a NUL byte.
    #[error(transparent)]
    Nul(#[from] NulByte),
    /// A secret has no value yet, or a value that its encoding cannot represent.
    #[error(transparent)]
    Secret(#[from] RevealError),
}

/// The result of a step.
#[derive(Debug, PartialEq, Eq)]
pub struct StepOutput {
    /// The exit status; 128 + n when signal n ended it.
    pub status: i32,
    /// What it wrote to its standard output.
    pub stdout: Stream,
    /// What it wrote to its standard error.
    pub stderr: Stream,
    /// Whether its limit ended it. The status is then 124, or 137 when it had to be killed.
    pub timed_out: bool,
}

/// Steps that run on a node in order, in one round trip. The first whose status is not 0 is the last that runs.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// How many of the first steps run programs of roles and packages. Their outputs go through pipes of their own, so that what they leave running
    /// cannot write into an answer.
    pub apart: usize,
}

impl From<Step> for Frame {
    fn from(step: Step) -> Self {
        Self { steps: vec![step], apart: 0 }
    }
}

impl FromIterator<Step> for Frame {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self { steps: steps.into_iter().collect(), apart: 0 }
    }
}

/// What may run on the node when the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    /// Only questions have run that leave nothing, and were answered.
    Nothing,
    /// Such questions, without an answer yet.
    Questions,
    /// Whatever a script has left.
    Anything,
}

impl Running {
    /// Returns what it is with another frame.
    pub(super) fn and(self, frame: &Frame) -> Self {
        let asks = |step: &Step| step.again.as_ref().is_some_and(|again| !again.may_leave);
        match self {
            _ if frame.steps.is_empty() => self,
            Self::Nothing | Self::Questions if frame.steps.iter().all(asks) => Self::Questions,
            Self::Nothing | Self::Questions | Self::Anything => Self::Anything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretRef;
    use crate::secret::{Encoding, Secret};

    #[test]
    fn secrets_reach_the_input_and_no_message() {
        let secret = SecretRef { host: "db".into(), name: "PASSWORD".into() };
        let script = Script::new("cat").input(format!("p={}", secret.token(Encoding::Plain)));
        let mut values = SecretValues::default();
        let missing = Step::new(&script, &values).unwrap_err();
        assert_eq!(missing.to_string(), "the secret `PASSWORD` of `db` has no value");
        values.insert(secret, Secret::new("hunter2".into()));
        let step = Step::new(&script, &values).unwrap();
        assert_eq!(step.input.as_slice(), b"p=hunter2");
        assert!(!step.script.contains("hunter2"));
        let output =
            StepOutput { status: 0, stdout: b"hunter2".to_vec().into(), stderr: b"hunter2".to_vec().into(), timed_out: false };
        assert_eq!(format!("{step:?} {output:?}").matches("hunter2").count(), 0);
        assert_eq!(Step::new(&Script::new("true").arg("\0"), &values).unwrap_err(), StepError::Nul(NulByte));
    }
}
