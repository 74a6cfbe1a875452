//! The run of one host, from connecting to closing: one round of questions, the prediction, and in an apply the changes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rand::rngs::SysError;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Options,
    apply::{self, ApplyRun},
    asking::{Scope, questions},
    checkup,
    lending::{self, Borrowing, Lending, RunIntent, SecretExchange, SharedSecrets},
    prediction::{self, Prediction},
    redact::redacted,
    send,
};
use crate::{
    event::{Event, HostEnd, HostStatus, Mode, Outcome, Status},
    plan::{HostPlan, Worlds},
    question::{Answers, Composed, Questions, connection::OwnConnection, facts::Facts},
    script::NulByte,
    secret::nonce,
    transport::{Channel, Frame, LinkError, Lock, NodeShell, Step, StepOutput, Target, Transport},
};

/// How each host is reached, by its inventory name.
pub type Reach = HashMap<String, Target>;

/// The maximum of question rounds. Answers may open new questions (a registered answer decides a condition), but not without end.
const MAX_ROUNDS: usize = 8;

/// Questions on their way to a node.
pub(super) struct QuestionRound {
    composed: Composed,
}

impl QuestionRound {
    pub(super) fn new(questions: Questions) -> Result<Self, NotAsked> {
        // The connection's addresses are known here and are set as an answer; the node does not know them.
        Ok(Self { composed: questions.except::<OwnConnection>().compose(&nonce()?)? })
    }

    pub(super) fn step(&self) -> Step {
        Step { script: self.composed.script().to_owned(), input: zeroize::Zeroizing::default(), limit: self.composed.limit() }
    }

    /// Reads the answers; questions without output are unanswered.
    pub(super) fn read(&self, output: Option<&StepOutput>) -> Answers {
        self.composed.read(output.map(|output| output.stdout.as_slice()).unwrap_or_default())
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

/// Runs one host. Never fails itself: every failure is part of the returned end.
pub(super) async fn run(
    host: HostPlan,
    mut exchange: SecretExchange,
    transport: &Transport,
    reach: &Reach,
    options: &Options,
    events: &UnboundedSender<Event>,
) -> HostEnd {
    let started = Instant::now();
    let mut end = match begin(&host, transport, reach, options, events).await {
        Err(error) => error.end(),
        Ok(mut session) => {
            let mut end = session.work(&host, &mut exchange, options, events).await;
            let traffic = session.node.traffic();
            end.round_trips = traffic.round_trips;
            end.bytes_sent = traffic.bytes_sent;
            end.holder = session.holder.take();
            session.node.close().await;
            end
        }
    };
    exchange.lending.publish_failure(end.error.as_deref().unwrap_or("its run ended before the secret was known"));
    end.duration = started.elapsed();
    end
}

struct Session {
    node: NodeShell,
    answers: Answers,
    holder: Option<String>,
}

/// Why the run of a host could not begin or go on.
pub(super) enum HostError {
    Link(LinkError),
    Failed(String),
}

impl HostError {
    fn end(self) -> HostEnd {
        let holder = match &self {
            Self::Link(LinkError::Held(holder)) => Some(holder.to_string()),
            Self::Link(_) | Self::Failed(_) => None,
        };
        let (status, error, remedy) = match self {
            Self::Failed(error) => (HostStatus::Failed, error, None),
            Self::Link(error) => {
                let status = if matches!(error, LinkError::Held { .. }) { HostStatus::Held } else { HostStatus::Unreachable };
                (status, error.to_string(), error.remedy())
            }
        };
        HostEnd { status, error: Some(error), remedy, holder, ..empty_end() }
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

pub(super) fn empty_end() -> HostEnd {
    HostEnd {
        status: HostStatus::Ok,
        error: None,
        remedy: None,
        round_trips: 0,
        bytes_sent: 0,
        unpredicted: Vec::new(),
        holder: None,
        duration: Duration::ZERO,
    }
}

/// Connects, and asks everything that can be asked beforehand in the same round trip.
async fn begin(
    host: &HostPlan,
    transport: &Transport,
    reach: &Reach,
    options: &Options,
    events: &UnboundedSender<Event>,
) -> Result<Session, HostError> {
    let target = reach.get(&host.name).ok_or_else(|| {
        HostError::Failed(format!("the connection to `{}` is not configured; this is a bug, please report it", host.name))
    })?;
    let round = first_round(host, options.mode)?;
    let lock = match options.mode {
        Mode::Check | Mode::Health | Mode::Exercise => Lock::Observe,
        Mode::Apply => Lock::Take(options.lock_request()),
    };
    let mut progress = |text: &str| send(events, Event::HostProgress { host: host.name.clone(), text: text.to_owned() });
    progress("connecting");
    let (node, welcome) = transport.connect(target, lock, Frame::from(round.step()), &mut progress).await?;
    let mut answers = round.read(welcome.outputs.first());
    answers.set::<OwnConnection>((), Ok(welcome.ssh_connection));
    let holder = welcome.holder.map(|holder| holder.to_string());
    Ok(Session { node, answers, holder })
}

/// Returns the questions that can be asked before anything is known about the host.
fn first_round(host: &HostPlan, mode: Mode) -> Result<QuestionRound, NotAsked> {
    let scope = match mode {
        Mode::Check | Mode::Apply => Scope::Everything,
        Mode::Health | Mode::Exercise => Scope::Health,
    };
    let mut questions = questions(host, scope, &Worlds::stand_in());
    questions.ask::<Facts>(());
    QuestionRound::new(questions)
}

impl Session {
    async fn work(
        &mut self,
        host: &HostPlan,
        exchange: &mut SecretExchange,
        options: &Options,
        events: &UnboundedSender<Event>,
    ) -> HostEnd {
        let asked = Instant::now();
        let shared = match self.borrow(host, &mut exchange.borrowing, options.mode, events).await {
            Ok(shared) => shared,
            Err(error) => return error.end(),
        };
        let prediction = match options.mode {
            Mode::Check | Mode::Apply => self.resolve(host, &shared, events, prediction::predict).await,
            Mode::Health | Mode::Exercise => {
                return self.check_health(host, &shared, &exchange.lending, options.mode, events).await;
            }
        };
        let prediction = match prediction {
            Ok(prediction) => prediction,
            Err(error) => return error.end(),
        };
        let fails = prediction.items.iter().any(|work| work.predicted.status == Status::Failed);
        let intent = match options.mode {
            _ if fails => RunIntent::WillFail,
            Mode::Apply => RunIntent::Create,
            Mode::Check | Mode::Health | Mode::Exercise => RunIntent::ReadOnly,
        };
        exchange.lending.publish(&prediction.secrets, &prediction.items, intent);
        tracing::debug!(host = host.name, elapsed = ?asked.elapsed(), "predicted");
        match options.mode {
            Mode::Check | Mode::Health | Mode::Exercise => report_predictions(&host.name, &prediction, events, Clone::clone),
            Mode::Apply if fails => report_predictions(&host.name, &prediction, events, |outcome| match outcome.status {
                // A later task will fail: nothing is begun, exactly as the check predicted.
                Status::Changed => Outcome::new(Status::Skipped, "not begun, because of the failure below"),
                Status::Ok | Status::Skipped | Status::Unknown | Status::Failed => outcome.clone(),
            }),
            Mode::Apply => {
                let answers = std::mem::take(&mut self.answers);
                let mut apply_run = ApplyRun::new(&host.name, prediction, answers, events);
                match apply::run(&mut apply_run, &mut self.node).await {
                    Ok(end) => {
                        exchange.lending.publish_created(end.status, apply_run.values());
                        HostEnd { status: end.status, error: end.error, unpredicted: end.unpredicted, ..empty_end() }
                    }
                    Err(error) => error.end(),
                }
            }
        }
    }

    /// Waits for the secrets of other hosts that this host reads. If one had to be created first, this node is asked again.
    async fn borrow(
        &mut self,
        host: &HostPlan,
        from: &mut [Borrowing],
        mode: Mode,
        events: &UnboundedSender<Event>,
    ) -> Result<SharedSecrets, HostError> {
        let mut progress = |text: &str| send(events, Event::HostProgress { host: host.name.clone(), text: text.to_owned() });
        let borrowed = lending::borrow(from, &mut progress).await;
        if borrowed.waited {
            let round = first_round(host, mode)?;
            let outputs = self.node.run(Frame::from(round.step()), &mut progress).await?;
            self.answers.absorb(round.read(outputs.first()));
        }
        Ok(borrowed.shared)
    }

    /// Reads the health checks, then runs the exercises if requested; makes no changes itself.
    async fn check_health(
        &mut self,
        host: &HostPlan,
        shared: &SharedSecrets,
        lending: &Lending,
        mode: Mode,
        events: &UnboundedSender<Event>,
    ) -> HostEnd {
        let checkup = self.resolve(host, shared, events, checkup::check).await;
        if let Ok(checkup) = &checkup {
            lending.publish(checkup.secrets(), &[], RunIntent::ReadOnly);
        }
        match checkup {
            Ok(checkup) => checkup.run(&host.name, mode, &mut self.node, events).await,
            Err(error) => error.end(),
        }
    }

    /// Evaluates the answers, and asks again until no question is open.
    async fn resolve<T>(
        &mut self,
        host: &HostPlan,
        shared: &SharedSecrets,
        events: &UnboundedSender<Event>,
        evaluate: fn(&HostPlan, &SharedSecrets, &Value, &Answers) -> Result<T, Questions>,
    ) -> Result<T, HostError> {
        for _ in 0..MAX_ROUNDS {
            let facts = self.answers.get::<Facts>(&()).map_err(|error| HostError::Failed(error.to_string()))?.clone();
            let open = match evaluate(host, shared, &facts, &self.answers) {
                Ok(resolved) => return Ok(resolved),
                Err(open) => open,
            };
            let round = QuestionRound::new(open)?;
            let mut progress = |text: &str| send(events, Event::HostProgress { host: host.name.clone(), text: text.to_owned() });
            let outputs = self.node.run(Frame::from(round.step()), &mut progress).await?;
            self.answers.absorb(round.read(outputs.first()));
        }
        Err(HostError::Failed(
            "answers keep opening new questions; does a registered value decide whether its own task runs?".to_owned(),
        ))
    }
}

/// Reports the predictions without applying anything.
fn report_predictions(
    host: &str,
    prediction: &Prediction,
    events: &UnboundedSender<Event>,
    outcome: impl Fn(&Outcome) -> Outcome,
) -> HostEnd {
    let mut end = empty_end();
    for work in &prediction.items {
        let outcome = redacted(work.without_hidden_output(outcome(&work.predicted)), &prediction.secrets.values);
        match outcome.status {
            Status::Failed => end.status = HostStatus::Failed,
            Status::Changed | Status::Unknown if end.status == HostStatus::Ok => end.status = HostStatus::Changed,
            Status::Ok | Status::Skipped | Status::Changed | Status::Unknown => {}
        }
        if work.is_reported(outcome.status) {
            send(events, Event::ItemFinished { host: host.to_owned(), item: work.item.clone(), outcome });
        }
    }
    end
}
