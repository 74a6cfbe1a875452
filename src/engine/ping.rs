//! Logs in to a node as a run would, looks at its lock and asks for its facts. Nothing is written to the node.

use serde_json::Value;

use crate::{
    question::{Questions, Unanswered, facts::Facts, way::TrustedOwners},
    transport::{Channel as _, Frame, Holder, LinkError, Lock, Target, Times, Transport},
};

use super::round::QuestionRound;

/// The answer of a node.
#[derive(Debug)]
pub struct Pong {
    /// The uid of the shell that runs the tasks; 0 is root.
    pub uid: u32,
    /// The run that holds the node's lock.
    pub holder: Option<Holder>,
    /// `ansible_facts`.
    pub facts: Result<Value, Unanswered>,
    /// How long the connection took.
    pub times: Times,
    /// Round trips after the login.
    pub round_trips: u32,
}

/// Connects, asks, and ends the session.
///
/// # Errors
/// Returns why a run could not begin on this node.
pub async fn ping(transport: &Transport, target: &Target) -> Result<Pong, LinkError> {
    let mut questions = Questions::default();
    questions.ask::<Facts>(());
    let round = QuestionRound::new(questions, &TrustedOwners::default())
        .map_err(|error| LinkError::Here { detail: error.to_string() })?;
    let (node, welcome) = transport.connect(&target.afresh(), Lock::Observe, Frame::from(round.step()), &mut |_| {}).await?;
    let round_trips = node.traffic().round_trips;
    node.close().await;
    let facts = round.read(welcome.outputs.first()).get::<Facts>(&()).cloned();
    Ok(Pong { uid: welcome.uid, holder: welcome.holder, facts, times: welcome.times, round_trips })
}
