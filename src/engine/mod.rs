//! Runs a plan: asks, compares and applies, or only checks the health. The only module that decides whether a node is written to.
//!
//! Each host is one [`host`] task. Tasks share only the event stream and [`lending`], so one host's failure or panic never ends another's.

mod apply;
mod asking;
mod checkup;
mod held;
mod host;
mod host_events;
mod jobs;
mod lending;
mod ping;
mod prediction;
mod ready;
mod redact;
mod round;
mod secrets;
mod stop;
mod strangers;
#[cfg(test)]
mod tests;
mod untrusted;
mod way_in;
mod work;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    controller::Controller,
    event::{Counts, EventBody, HostEnd, HostResult, HostStatus, Purpose, RunEnd, RunStart, Sink, Urgency},
    plan::Plan,
    secret::ProvidedValues,
    transport::{CONNECTING_AT_ONCE, LockRequest, Transport},
};

pub use host::Reach;
pub use jobs::{Activity, FollowedJob, JobAction, act_on_job, activity};
pub use ping::{Pong, ping};
pub(crate) use redact::redact;
pub use stop::{StopHandle, StopSignal, stop};

use host::HostRun;
use host_events::HostEvents;
use lending::{Borrowing, SecretExchange};

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The purpose.
    pub purpose: Purpose,
    /// `user@controller`, for the nodes' locks.
    pub who: String,
    /// When the run began.
    pub started: Timestamp,
    /// The ID of the run, also on the nodes.
    pub run_id: String,
    /// The number of hosts worked on at once.
    pub forks: usize,
    /// How long to wait for a node that another run holds.
    pub wait: Duration,
    /// Whether the exit code reports changes.
    pub detailed_exitcode: bool,
    /// The machine that the run starts from.
    pub controller: Arc<Controller>,
}

impl Options {
    fn lock_request(&self) -> LockRequest {
        LockRequest { who: self.who.clone(), run_id: self.run_id.clone(), since: self.started, wait: self.wait }
    }
}

/// Everything that a run works with. It is shared by the tasks of its hosts, and nothing of it changes.
#[derive(Debug)]
pub struct Run {
    /// What is known about the run when it starts, for the first event.
    pub start: RunStart,
    /// What the roles declare on each host.
    pub plan: Plan,
    /// The values of secrets that come from outside.
    pub values: ProvidedValues,
    /// How each host is reached.
    pub reach: Reach,
    /// What it is asked to do.
    pub options: Options,
}

/// Runs the plan on all its hosts, and returns how it ended. Every result is also sent to `sink`, whose last event is the end of the run.
///
/// The run ends early if `stop` asks for it. Dropping the future ends it, too, but then there is no last event: sessions are dropped, which
/// ends everything that they run on the nodes.
pub async fn run(run: Run, sink: Sink, stop: StopSignal) -> RunEnd {
    let begun = Instant::now();
    sink.send(EventBody::RunStarted(Box::new(run.start.clone())));
    let run = Arc::new(run);
    let forks = Arc::new(Semaphore::new(run.options.forks.max(1)));
    let transport = Transport::new(CONNECTING_AT_ONCE, Arc::clone(&run.options.controller)).sharing(Arc::clone(&forks));
    let transport = Arc::new(transport);
    let mut ends: HashMap<String, Borrowing> = HashMap::new();
    let mut lenders = JoinSet::new();
    for (index, lender) in run.plan.lenders.iter().enumerate() {
        let (lending, borrowing) = lending::ends(&lender.name, &lender.secrets);
        ends.insert(lender.name.clone(), borrowing);
        let (run, transport) = (Arc::clone(&run), Arc::clone(&transport));
        lenders.spawn(async move {
            let lender = &run.plan.lenders[index];
            lending::read(lender, lending, &transport, run.reach.get(&lender.name), &run.options.run_id).await;
        });
    }
    let mut hosts = Hosts { running: JoinSet::new(), events: HashMap::new(), total: Totals::default() };
    for index in lending::in_order(&run.plan.hosts) {
        let host = &run.plan.hosts[index];
        let (lending, borrowing) = lending::ends(&host.name, &host.lent);
        ends.insert(host.name.clone(), borrowing);
        let borrowing = lending::for_host(host, &ends);
        let events = Arc::new(HostEvents::new(&host.name, sink.clone()));
        // Hosts whose secrets others read come first, so that no host waits for one that cannot begin. The semaphore is never closed.
        let mut asked = stop.clone();
        let permit = tokio::select! {
            permit = Arc::clone(&forks).acquire_owned() => permit,
            _ = asked.reaches(Urgency::AfterItem) => {
                hosts.total.finished(&events, HostResult::Interrupted);
                continue;
            }
        };
        events.begins();
        let task = {
            let (run, transport, events, stop) = (Arc::clone(&run), Arc::clone(&transport), Arc::clone(&events), stop.clone());
            hosts.running.spawn(async move {
                let _permit = permit;
                one_host(&run, index, SecretExchange { lending, borrowing }, &transport, &events, stop).await
            })
        };
        hosts.events.insert(task.id(), events);
    }
    let total = hosts.wait(&sink, stop.clone()).await;
    let interrupted = stop.is_requested();
    if !interrupted {
        // Their sessions are closed, not dropped: a dropped one leaves its ssh behind until that notices.
        while lenders.join_next().await.is_some() {}
    }
    let end = RunEnd::new(total.worst, interrupted, total.counts, begun.elapsed(), run.options.detailed_exitcode);
    sink.send(EventBody::RunFinished(end.clone()));
    end
}

async fn one_host(
    run: &Run,
    index: usize,
    exchange: SecretExchange,
    transport: &Transport,
    events: &HostEvents,
    stop: StopSignal,
) -> HostEnd {
    let host = &run.plan.hosts[index];
    let provided = run.values.of(&host.name);
    let task = HostRun { host, provided, transport, reach: &run.reach, options: &run.options, events, stop };
    host::run(task, exchange).await
}

/// The hosts that are worked on.
struct Hosts {
    running: JoinSet<HostEnd>,
    events: HashMap<tokio::task::Id, Arc<HostEvents>>,
    total: Totals,
}

impl Hosts {
    /// Waits for all hosts, reports their ends, and passes on requests to end the run.
    async fn wait(mut self, sink: &Sink, mut stop: StopSignal) -> Totals {
        let mut reported = Urgency::None;
        loop {
            let next = if reported == Urgency::None { Urgency::AfterItem } else { Urgency::Now };
            let ended = tokio::select! {
                // The request comes before what it has led to, and is reported even if all hosts have ended by now.
                biased;
                urgency = stop.reaches(next), if reported < Urgency::Now => {
                    reported = urgency;
                    sink.send(EventBody::RunInterrupted(urgency));
                    continue;
                }
                ended = self.running.join_next_with_id() => ended,
            };
            let (id, end) = match ended {
                None => return self.total,
                Some(Ok((id, end))) => (id, Some(end)),
                // One host's panic must not end the others; the panic itself was printed where it happened.
                Some(Err(error)) => (error.id(), None),
            };
            let Some(events) = self.events.remove(&id) else { continue };
            let end = end.unwrap_or_else(|| {
                let error = "autobot-provision itself failed on this host; this is a bug, please report it".to_owned();
                events.end(HostResult::Failed { error: Some(error) }, "autobot-provision itself failed")
            });
            self.total.add(&end);
            events.host_finished(end);
        }
    }
}

/// The results so far.
struct Totals {
    worst: HostStatus,
    counts: Counts,
}

impl Default for Totals {
    fn default() -> Self {
        Self { worst: HostStatus::Ok, counts: Counts::default() }
    }
}

impl Totals {
    fn finished(&mut self, events: &HostEvents, result: HostResult) {
        let end = events.end(result, "");
        self.add(&end);
        events.host_finished(end);
    }

    fn add(&mut self, end: &HostEnd) {
        self.counts = self.counts.plus(end.counts);
        self.worst = self.worst.worse(end.status());
    }
}
