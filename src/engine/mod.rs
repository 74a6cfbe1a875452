//! Runs a plan: asks, compares and applies, or only checks the health. The only module that decides whether a node is written to.
//!
//! Each host is one [`host`] task. Tasks share only the event stream and [`lending`], so one host's failure or panic never ends another's.

mod apply;
mod asking;
mod checkup;
mod host;
mod lending;
mod ping;
mod prediction;
mod ready;
mod redact;
mod secrets;
mod strangers;
#[cfg(test)]
mod tests;
mod work;

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc::UnboundedSender};

use crate::{
    controller::Controller,
    event::{Event, HostEnd, HostStatus, Mode},
    plan::{HostPlan, Plan},
    transport::{CONNECTING_AT_ONCE, LockRequest, Transport},
};

pub use host::Reach;
pub use ping::{Pong, ping};
pub(crate) use redact::redact;

use lending::{Borrowing, SecretExchange};

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Check, apply, or check the health.
    pub mode: Mode,
    /// The ID of the run, also on the nodes.
    pub run_id: String,
    /// `user@controller`, for the nodes' locks.
    pub who: String,
    /// When the run began.
    pub started: Timestamp,
    /// The number of hosts worked on at once.
    pub forks: usize,
    /// How long to wait for a node that another run holds.
    pub wait: Duration,
    /// The machine that the run starts from.
    pub controller: Arc<Controller>,
}

impl Options {
    fn lock_request(&self) -> LockRequest {
        LockRequest { who: self.who.clone(), run_id: self.run_id.clone(), since: self.started, wait: self.wait }
    }
}

/// Runs the plan on all its hosts. Returns nothing: every result is sent to `events`.
///
/// Dropping the future interrupts the run: sessions are dropped, which ends everything that they run on the nodes.
pub async fn run(plan: Plan, reach: Reach, options: Options, events: UnboundedSender<Event>) {
    let hosts: Vec<String> = plan.hosts.iter().map(|host| host.name.clone()).collect();
    send(&events, Event::RunStarted { run_id: options.run_id.clone(), mode: options.mode, started: options.started, hosts });
    let forks = Arc::new(Semaphore::new(options.forks.max(1)));
    let transport = Arc::new(Transport::new(CONNECTING_AT_ONCE, Arc::clone(&options.controller)));
    let (reach, options) = (Arc::new(reach), Arc::new(options));
    let mut running = tokio::task::JoinSet::new();
    let mut names = HashMap::new();
    let mut ends: HashMap<String, Borrowing> = HashMap::new();
    for lender in plan.lenders {
        let (lending, borrowing) = lending::ends(&lender.name, &lender.secrets);
        ends.insert(lender.name.clone(), borrowing);
        let (transport, reach, options) = (Arc::clone(&transport), Arc::clone(&reach), Arc::clone(&options));
        running.spawn(async move { lending::read(&lender, lending, &transport, reach.get(&lender.name), &options).await });
    }
    for host in lending::in_order(plan.hosts) {
        let (lending, borrowing) = lending::ends(&host.name, &host.lent);
        ends.insert(host.name.clone(), borrowing);
        let borrowing = lending::for_host(&host, &ends);
        let (transport, reach, options, events) =
            (Arc::clone(&transport), Arc::clone(&reach), Arc::clone(&options), events.clone());
        let name = host.name.clone();
        // Hosts whose secrets others read come first, so that no host waits for one that cannot begin. The semaphore is never closed.
        let permit = Arc::clone(&forks).acquire_owned().await;
        let handle = running.spawn(async move {
            let _permit = permit;
            one_host(host, SecretExchange { lending, borrowing }, &transport, &reach, &options, events).await;
        });
        names.insert(handle.id(), name);
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
            && let Some(host) = names.get(&error.id())
        {
            // One host's panic must not end the others; the panic itself was printed where it happened.
            let end = ended_by_a_bug();
            send(&events, Event::HostFinished { host: host.clone(), end });
        }
    }
    send(&events, Event::RunFinished { finished: Timestamp::now() });
}

async fn one_host(
    host: HostPlan,
    exchange: SecretExchange,
    transport: &Transport,
    reach: &Reach,
    options: &Options,
    events: UnboundedSender<Event>,
) {
    let name = host.name.clone();
    let end = host::run(host, exchange, transport, reach, options, &events).await;
    send(&events, Event::HostFinished { host: name, end });
}

fn ended_by_a_bug() -> HostEnd {
    HostEnd {
        status: HostStatus::Failed,
        error: Some("autobot-provision itself failed on this host; this is a bug, please report it".to_owned()),
        remedy: None,
        round_trips: 0,
        bytes_sent: 0,
        unpredicted: Vec::new(),
        holder: None,
        duration: Duration::ZERO,
    }
}

/// Sends an event. If the receiver is gone, the work goes on.
fn send(events: &UnboundedSender<Event>, event: Event) {
    let _ = events.send(event);
}
