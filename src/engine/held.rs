//! A node that a run has opened: its connection, its lock if that was taken, and what is known about it. Parts of a run follow each other on it: predict
//! some items, apply them, exercise, follow a job; then let go.

use serde_json::Value;

use super::{
    apply::{self, ApplyRun, End},
    asking::{Scope, questions},
    checkup::{self, Checkup},
    host_events::HostEvents,
    prediction::{self, Prediction},
    round::{HostError, NotAsked, QuestionRound},
    secrets::HostInputs,
    stop::StopSignal,
    way_in::{self, Entrance},
    work::RunItem,
};
use crate::{
    event::HostResult,
    plan::{HostPlan, Worlds},
    question::{self, Answers, Questions, connection::OwnConnection, facts::Facts, pending::Pending, way_in::WayInState},
    script::Script,
    secret::SecretValues,
    transport::{
        Channel, Frame, Holder, LinkError, Lock, NodeShell, Progress, Step, StepOutput, Target, Traffic, Transport, Waits,
    },
    values::Addresses,
};

/// The maximum of question rounds. Answers may open new questions (a registered answer decides a condition), but not without end.
const MAX_ROUNDS: usize = 8;

/// Returns the questions of a host, or a part of it, that can be asked before anything is known about it.
pub(super) fn first_round(host: &HostPlan, scope: Scope) -> Result<QuestionRound, NotAsked> {
    let mut questions = questions(host, scope, &Worlds::stand_in());
    questions.ask::<Facts>(());
    QuestionRound::new(questions, &host.trusted_owners)
}

/// A node whose connection is kept between the parts of a run, and its lock with it.
pub(super) struct HeldNode<C> {
    channel: C,
    connection: Option<Addresses>,
    /// What is known of the node as it is now: a change makes all of it old.
    answers: Answers,
    holder: Option<Holder>,
}

/// What an apply has come to.
pub(super) struct Applied {
    pub(super) end: End,
    /// The secrets that are known now, also those that were created.
    pub(super) values: SecretValues,
}

impl HeldNode<NodeShell> {
    /// Connects, takes the lock or looks who has it, and runs a first frame, all in one round trip. Returns the outputs of the frame, too. `waits` gets the time
    /// that this host waits for others.
    pub(super) async fn open(
        transport: &Transport,
        target: &Target,
        lock: Lock,
        first: Frame,
        progress: Progress<'_>,
        waits: &Waits,
    ) -> Result<(Self, Vec<StepOutput>), LinkError> {
        let (channel, welcome) = transport.connect_in_fork(target, lock, first, progress, waits).await?;
        let node = Self { holder: welcome.holder, ..Self::new(channel, welcome.ssh_connection) };
        Ok((node, welcome.outputs))
    }
}

impl<C: Channel> HeldNode<C> {
    /// A node about which nothing is known but the connection's own addresses.
    pub(super) fn new(channel: C, connection: Option<Addresses>) -> Self {
        let mut node = Self { channel, connection, answers: Answers::default(), holder: None };
        node.forget();
        node
    }

    /// Returns who holds the node, if its lock was not taken.
    pub(super) fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// Returns the node's facts, if it was asked for them.
    pub(super) fn facts(&self) -> Option<&Value> {
        self.answers.get::<Facts>(&()).ok()
    }

    /// Takes in the answers to questions that were asked in the first frame.
    pub(super) fn learn(&mut self, round: &QuestionRound, outputs: &[StepOutput]) {
        self.answers.absorb(round.read(outputs.first()));
    }

    /// Asks questions.
    pub(super) async fn ask(&mut self, round: &QuestionRound, progress: Progress<'_>) -> Result<(), LinkError> {
        let outputs = self.channel.run(Frame::from(round.step()), progress).await?;
        self.learn(round, &outputs);
        Ok(())
    }

    /// Predicts the items of a host or of a part of it. What an earlier part has changed is seen.
    pub(super) async fn predict(&mut self, inputs: &HostInputs<'_>, events: &HostEvents) -> Result<Prediction, HostError> {
        self.resolve(inputs, Scope::Everything, events, prediction::predict).await
    }

    /// Evaluates the health checks of a host or of a part of it.
    pub(super) async fn check(&mut self, inputs: &HostInputs<'_>, events: &HostEvents) -> Result<Checkup, HostError> {
        self.resolve(inputs, Scope::Health, events, checkup::check).await
    }

    /// Reports the evaluated checks, and runs the exercises if they are asked for.
    pub(super) async fn exercise(&mut self, checkup: Checkup, exercise_all: bool, events: &HostEvents) -> HostResult {
        checkup.run(exercise_all, &mut self.channel, events).await
    }

    /// Returns what the node has of a way in that an earlier run has changed.
    fn way_in(&self) -> WayInState {
        self.answers.get::<Pending>(&()).map(|marks| marks.way_in.clone()).unwrap_or_default()
    }

    /// Sees to the way in before the first change: what the node has put back by itself is told, and where the predicted changes could end the way
    /// in, a fresh login must be possible.
    pub(super) async fn guard_way_in(
        &mut self,
        items: &[RunItem],
        applies: bool,
        entrance: Option<&dyn Entrance>,
    ) -> Result<(), HostError> {
        let state = self.way_in();
        if let Some(reverted) = &state.reverted {
            if applies {
                self.run(&question::way_in::forget_report(), &mut |_: &str| {}).await?;
            }
            return Err(HostError::Failed(way_in::reverted(reverted)));
        }
        // Only a login says that what is live works; without one the unit acts once this run has ended.
        if applies && entrance.is_some() && (state.armed || state.kept && state.owed.is_empty()) {
            self.run(&question::way_in::disarm(state.owed.iter().map(String::as_str)), &mut |_: &str| {}).await?;
        }
        let Some(entrance) = entrance.filter(|_| way_in::is_at_stake(items, &self.answers)) else { return Ok(()) };
        let why = match entrance.enter(step(&question::way_in::can_arm())?).await {
            Ok(Some(StepOutput { status: 0, .. })) => return Ok(()),
            Ok(output) => output.map_or_else(|| "the node did not answer".to_owned(), |output| apply::failure_text(&output)),
            Err(error) => format!("a second login, which must prove it afterwards, is not possible: {error}"),
        };
        Err(HostError::Failed(format!("this run would change what its own way in depends on, but {why}; nothing was changed")))
    }

    /// Makes the predicted changes.
    pub(super) async fn apply(
        &mut self,
        prediction: Prediction,
        events: &HostEvents,
        stop: &StopSignal,
        entrance: Option<&dyn Entrance>,
    ) -> Result<Applied, HostError> {
        let Prediction { items, secrets, trusted_owners } = prediction;
        let answers = std::mem::take(&mut self.answers);
        let mut run = ApplyRun::new(&items, secrets, trusted_owners, answers, events, entrance);
        self.forget();
        let end = apply::run(&mut run, &mut self.channel, stop).await?;
        Ok(Applied { end, values: run.into_values() })
    }

    /// Runs a script, such as one that follows a job.
    pub(super) async fn run(&mut self, script: &Script, progress: Progress<'_>) -> Result<Vec<StepOutput>, LinkError> {
        self.channel.run(Frame::from(step(script)?), progress).await
    }

    /// Returns what the connection has cost so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.channel.traffic()
    }

    /// Ends the session, which gives the lock back.
    pub(super) async fn let_go(self) {
        self.channel.close().await;
    }

    /// Forgets all but what never changes.
    fn forget(&mut self) {
        self.answers = Answers::default();
        self.answers.set::<OwnConnection>((), Ok(self.connection));
    }

    /// Evaluates the answers, and asks again until no question is open.
    async fn resolve<T>(
        &mut self,
        inputs: &HostInputs<'_>,
        scope: Scope,
        events: &HostEvents,
        evaluate: fn(&HostInputs<'_>, &Value, &Answers) -> Result<T, Questions>,
    ) -> Result<T, HostError> {
        if !self.answers.has::<Facts>(&()) {
            self.ask(&first_round(inputs.plan, scope)?, &mut |text: &str| events.progress(text)).await?;
        }
        for _ in 0..MAX_ROUNDS {
            let facts = self.answers.get::<Facts>(&()).map_err(|error| HostError::Failed(error.to_string()))?.clone();
            let open = match evaluate(inputs, &facts, &self.answers) {
                Ok(resolved) => return Ok(resolved),
                Err(open) => open,
            };
            self.ask(&QuestionRound::new(open, &inputs.plan.trusted_owners)?, &mut |text: &str| events.progress(text)).await?;
        }
        Err(HostError::Failed(
            "answers keep opening new questions; does a registered value decide whether its own task runs?".to_owned(),
        ))
    }
}

/// Returns the step that runs a script without secrets.
pub(super) fn step(script: &Script) -> Result<Step, LinkError> {
    Step::new(script, &SecretValues::default()).map_err(|error| LinkError::Here { detail: error.to_string() })
}
