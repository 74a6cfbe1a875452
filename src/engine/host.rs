//! The run of one host, from connecting to closing: one round of questions, the prediction, and in an apply the changes.

use std::{collections::HashMap, time::Instant};

use super::{
    Options,
    asking::Scope,
    held::{Applied, HeldNode, first_round},
    host_events::HostEvents,
    lending::{self, RunIntent, SecretExchange},
    prediction::Prediction,
    round::HostError,
    secrets::{HostInputs, SharedSecrets},
    stop::StopSignal,
    way_in::{Entrance, FreshLogin},
};
use crate::{
    event::{HostEnd, HostResult, Outcome, Purpose, Status, Urgency},
    plan::HostPlan,
    secret::SecretValues,
    source::Trust,
    transport::{Channel, Frame, LinkError, Lock, NodeShell, Target, Transport},
};

/// How each host is reached, by its inventory name.
pub type Reach = HashMap<String, Target>;

/// What one host's run needs.
pub(super) struct HostRun<'a> {
    pub(super) host: &'a HostPlan,
    /// The values of its secrets that come from outside.
    pub(super) provided: &'a SecretValues,
    pub(super) transport: &'a Transport,
    pub(super) reach: &'a Reach,
    pub(super) options: &'a Options,
    pub(super) events: &'a HostEvents,
    pub(super) stop: StopSignal,
}

/// Runs one host. Never fails itself: every failure is part of the returned end.
pub(super) async fn run(run: HostRun<'_>, mut exchange: SecretExchange) -> HostEnd {
    let events = run.events;
    let ended = tokio::select! {
        ended = run.to_its_end(&mut exchange) => ended,
        () = must_end(events, run.stop.clone()) => Ended::new(HostResult::Interrupted),
    };
    let why = ended.why.as_deref().unwrap_or("the run was ended, and it is not known how far the change came");
    let mut end = events.end(ended.result, why);
    end.unpredicted = ended.unpredicted;
    end.round_trips = ended.round_trips;
    end.bytes_sent = ended.bytes_sent;
    end.holder = ended.holder;
    exchange.lending.publish_failure(end.result.error().unwrap_or("its run ended before the secret was known"));
    end
}

/// Waits until the run must not go on: what changes nothing ends at the first request, a change at an urgent one.
async fn must_end(events: &HostEvents, mut stop: StopSignal) {
    stop.reaches(Urgency::AfterItem).await;
    if events.is_applying() {
        stop.reaches(Urgency::Now).await;
    }
}

/// How the run of a host ended.
struct Ended {
    result: HostResult,
    /// Why an item that was still running has no known outcome.
    why: Option<String>,
    unpredicted: Vec<String>,
    holder: Option<String>,
    round_trips: u32,
    bytes_sent: u64,
}

impl Ended {
    fn new(result: HostResult) -> Self {
        Self { result, why: None, unpredicted: Vec::new(), holder: None, round_trips: 0, bytes_sent: 0 }
    }
}

impl From<HostError> for Ended {
    fn from(error: HostError) -> Self {
        let why = match &error {
            HostError::Link(error) => Some(format!("{error}; it is not known how far the change came")),
            HostError::Failed(_) => None,
        };
        Self { why, ..Self::new(error.result()) }
    }
}

impl HostRun<'_> {
    async fn to_its_end(&self, exchange: &mut SecretExchange) -> Ended {
        let mut node = match self.open().await {
            Ok(node) => node,
            Err(error) => return error.into(),
        };
        let ended = match self.work(&mut node, exchange).await {
            Ok(ended) => ended,
            Err(error) => error.into(),
        };
        let traffic = node.traffic();
        let holder = node.holder().map(ToString::to_string);
        node.let_go().await;
        Ended { round_trips: traffic.round_trips, bytes_sent: traffic.bytes_sent, holder, ..ended }
    }

    /// Connects, and asks everything that can be asked beforehand in the same round trip.
    async fn open(&self) -> Result<HeldNode<NodeShell>, HostError> {
        let target = self.reach.get(&self.host.name).ok_or_else(|| {
            let name = &self.host.name;
            HostError::Failed(format!("the connection to `{name}` is not configured; this is a bug, please report it"))
        })?;
        if self.host.trust == Trust::Stranger && self.options.purpose != Purpose::CHECK {
            return Err(HostError::Failed("a project that is not trusted is only checked".to_owned()));
        }
        let round = first_round(self.host, self.scope())?;
        let lock = match self.options.purpose {
            Purpose::Deploy { apply: false } | Purpose::Health { .. } => Lock::Observe,
            Purpose::Deploy { apply: true } => Lock::Take(self.options.lock_request()),
        };
        let mut progress = |text: &str| self.events.progress(text);
        progress("connecting");
        let first = Frame::from(round.step());
        let opened = HeldNode::open(self.transport, target, lock, first, &mut progress, self.events.waits()).await;
        if let Err(LinkError::Held(holder)) = &opened
            && holder.run_id == self.options.run_id
        {
            return Err(self.has_two_names());
        }
        let (mut node, outputs) = opened?;
        node.learn(&round, &outputs);
        Ok(node)
    }

    /// The node is held by this very run: the inventory spells its addresses differently, so that this could not be seen before.
    fn has_two_names(&self) -> HostError {
        HostError::Failed(format!(
            "this run itself holds the node, under another name: `{}` and that name lead to one node; give it one name in the inventory, or \
             leave one out with `--limit`",
            self.host.name
        ))
    }

    fn scope(&self) -> Scope {
        match self.options.purpose {
            Purpose::Deploy { .. } => Scope::Everything,
            Purpose::Health { .. } => Scope::Health,
        }
    }

    async fn work<C: Channel>(&self, node: &mut HeldNode<C>, exchange: &mut SecretExchange) -> Result<Ended, HostError> {
        let asked = Instant::now();
        let shared = self.borrow(node, exchange).await?;
        let inputs = HostInputs { plan: self.host, provided: self.provided, shared: &shared };
        let apply = match self.options.purpose {
            Purpose::Deploy { apply } => apply,
            Purpose::Health { exercise } => {
                let checkup = node.check(&inputs, self.events).await?;
                self.events.learned(node.facts(), &checkup.secrets().values);
                exchange.lending.publish(checkup.secrets(), &[], RunIntent::ReadOnly);
                return Ok(Ended::new(node.exercise(checkup, exercise, self.events).await));
            }
        };
        let prediction = node.predict(&inputs, self.events).await?;
        self.events.learned(node.facts(), &prediction.secrets.values);
        let fails = prediction.items.iter().any(|work| work.predicted.status == Status::Failed);
        let intent = match apply {
            _ if fails => RunIntent::WillFail,
            true => RunIntent::Create,
            false => RunIntent::ReadOnly,
        };
        exchange.lending.publish(&prediction.secrets, &prediction.items, intent);
        tracing::debug!(host = self.host.name, elapsed = ?asked.elapsed(), "predicted");
        let holder = node.holder().map(ToString::to_string);
        self.events.planned(&prediction.items, &prediction.secrets, holder.as_deref(), apply && !fails);
        let target = self.reach.get(&self.host.name);
        let entrance = target.and_then(|target| FreshLogin::new(self.transport, target));
        let entrance = entrance.as_ref().map(|entrance| entrance as &dyn Entrance);
        if !fails {
            node.guard_way_in(&prediction.items, apply, entrance).await?;
        }
        if !apply || fails {
            return Ok(Ended::new(report_predictions(&prediction, self.events, apply)));
        }
        let Applied { end, values } = node.apply(prediction, self.events, &self.stop, entrance).await?;
        exchange.lending.publish_created(end.result.status(), &values);
        Ok(Ended { unpredicted: end.unpredicted, ..Ended::new(end.result) })
    }

    /// Waits for the secrets of other hosts that this host reads. If one had to be created first, this node is asked again.
    async fn borrow<C: Channel>(
        &self,
        node: &mut HeldNode<C>,
        exchange: &mut SecretExchange,
    ) -> Result<SharedSecrets, HostError> {
        let mut progress = |text: &str| self.events.progress(text);
        let borrowed = lending::borrow(&mut exchange.borrowing, &mut progress).await;
        if borrowed.waited {
            node.ask(&first_round(self.host, self.scope())?, &mut progress).await?;
        }
        Ok(borrowed.shared)
    }
}

/// Reports the predictions without applying anything. In a deploy, a later task fails, and nothing is begun, exactly as the check predicts.
fn report_predictions(prediction: &Prediction, events: &HostEvents, is_deploy: bool) -> HostResult {
    let mut result = HostResult::Ok;
    for (index, work) in prediction.items.iter().enumerate() {
        let outcome = match work.predicted.status {
            Status::Changed if is_deploy => Outcome::new(Status::Skipped, "not begun, because of the failure below"),
            Status::Ok | Status::Changed | Status::Skipped | Status::Unknown | Status::Failed => work.predicted.clone(),
        };
        match outcome.status {
            Status::Failed => result = HostResult::Failed { error: None },
            Status::Changed | Status::Unknown if result == HostResult::Ok => result = HostResult::Changed,
            Status::Ok | Status::Skipped | Status::Changed | Status::Unknown => {}
        }
        events.finished(index, work, outcome, &prediction.secrets.values);
    }
    result
}
