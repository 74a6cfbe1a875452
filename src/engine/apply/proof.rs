//! Guards the way in while a run changes what it depends on: the node arms its way back in the frame of the change, a fresh login then proves the
//! way in and disarms it. Without the proof everything goes back.

use std::time::{Duration, Instant};

use super::{ApplyRun, Failure};
use crate::{
    engine::way_in::Entrance,
    event::{Outcome, Status},
    question::way_in,
    script::Script,
    transport::{Channel, Frame, LinkError, StepOutput},
};

/// How long a run whose link was lost waits for the node to put the way in back: the node's lease of a minute, what the units take to restart, and
/// the rest of a login that was just under way.
const WAIT: Duration = Duration::from_mins(5);

/// How long a firewall that limits connections may refuse them.
const LIMITED: Duration = Duration::from_secs(35);

/// How long it waits between two tries to log in.
const BETWEEN_TRIES: Duration = Duration::from_secs(3);

impl ApplyRun<'_> {
    /// Proves the way in after an item that could have ended it, and disarms the way back. Without a proof, everything goes back, and the item fails.
    pub(super) async fn prove<C: Channel>(
        &mut self,
        index: usize,
        outcome: Outcome,
        channel: &mut C,
    ) -> Result<Outcome, LinkError> {
        let Some(entrance) = self.way_in.entrance.filter(|_| self.way_in.armed) else { return Ok(outcome) };
        self.say(index, "logging in anew, to prove the way in");
        let disarm = way_in::disarm(self.way_in.owed.iter().map(String::as_str));
        let proof = match self.login(entrance, &disarm).await {
            // A firewall may limit how often a connection is made (`ufw limit`: six times in 30 s).
            Ok(Err(LinkError::Refused { .. } | LinkError::TimedOut { .. })) => {
                self.say(index, "a new login is refused; trying once more after 35 s");
                tokio::time::sleep(LIMITED).await;
                self.login(entrance, &disarm).await
            }
            proof => proof,
        };
        let proof = match proof {
            Ok(proof) => proof,
            Err(Failure::Link(lost)) => return Err(lost),
            Err(Failure::Item(error)) => return Ok(failed(outcome, &error)),
        };
        match proof {
            Ok(Some(StepOutput { status: 0, .. })) => {
                self.way_in.armed = false;
                self.way_in.kept = !self.way_in.owed.is_empty();
                Ok(outcome)
            }
            Ok(output) => {
                let why = output.as_ref().map_or_else(|| "the node did not answer".to_owned(), super::failure_text);
                Ok(failed(outcome, &format!("the way back is still armed, because it could not be disarmed: {why}")))
            }
            Err(error) => {
                let why = format!("after this a new login fails: {error}");
                let became = self.put_way_in_back(index, channel).await?;
                Ok(failed(outcome, &format!("{why}\n{became}")))
            }
        }
    }

    async fn login(&self, entrance: &dyn Entrance, script: &Script) -> Result<Result<Option<StepOutput>, LinkError>, Failure> {
        let step = self.step(script)?;
        Ok(entrance.enter(step).await)
    }

    /// Puts the way in back through the connection that is still there, and says what came of it.
    async fn put_way_in_back<C: Channel>(&mut self, index: usize, channel: &mut C) -> Result<String, LinkError> {
        self.say(index, "putting the way in back");
        let step = match self.step(&way_in::put_back_now()) {
            Ok(step) => step,
            Err(Failure::Link(lost)) => return Err(lost),
            Err(Failure::Item(error)) => return Ok(error),
        };
        let outputs = channel.run(Frame { steps: vec![step], apart: 1 }, &mut |_: &str| {}).await?;
        let Some(output) = outputs.first().filter(|output| output.status == 0) else {
            let why = outputs.first().map(super::failure_text).unwrap_or_default();
            return Ok(format!("what was changed could not be put back: {why}"));
        };
        (self.way_in.armed, self.way_in.kept) = (false, false);
        self.way_in.owed.clear();
        let what: Vec<String> = output.stdout.text().lines().map(str::to_owned).collect();
        Ok(format!("put back: {}; {}", way_in::list(&what), self.way_in_again().await))
    }

    /// Says whether the way in works again.
    async fn way_in_again(&self) -> String {
        let Some((entrance, step)) = self.way_in.entrance.zip(self.step(&Script::new(":")).ok()) else { return String::new() };
        match entrance.enter(step).await {
            Ok(_) => "a new login works again".to_owned(),
            Err(error) => format!("but a new login does not work with it either: {error}"),
        }
    }

    /// Waits for the node to put the way in back by itself, after the link was lost in an item that could have ended it. Returns the failure of the item,
    /// or the loss where the node cannot be reached any more, or nothing was armed.
    pub(super) async fn wait_for_way_in(&mut self, index: usize, lost: LinkError) -> Result<Outcome, LinkError> {
        let Some(entrance) = self.way_in.entrance.filter(|_| self.way_in.armed) else { return Err(lost) };
        self.say(index, "the connection is lost; waiting for the node to put the way in back, which it does after a minute");
        let begun = Instant::now();
        while begun.elapsed() < WAIT {
            tokio::time::sleep(BETWEEN_TRIES).await;
            let Ok(step) = self.step(&way_in::report()) else { break };
            let Ok(Some(output)) = entrance.enter(step).await else { continue };
            let text = output.stdout.text();
            let state = way_in::read(text.lines());
            if let Some(reverted) = state.reverted {
                let error = format!("{lost}\nthe node put the way in back by itself: {}", reverted.list());
                return Ok(failed(Outcome::failed(error), ""));
            }
            if !state.armed {
                break;
            }
        }
        Err(lost)
    }

    fn say(&self, index: usize, text: &str) {
        self.events.output(&self.items[index].item.id, text, &self.secrets.values);
    }
}

/// Returns the outcome as a failure, with this after its own error.
fn failed(mut outcome: Outcome, why: &str) -> Outcome {
    let error = match outcome.error.take() {
        Some(error) if why.is_empty() => error,
        Some(error) => format!("{error}\n{why}"),
        None => why.to_owned(),
    };
    outcome.status = Status::Failed;
    outcome.error = Some(error);
    outcome
}
