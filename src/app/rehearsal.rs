//! Rehearses a deploy on throw-away copies of the nodes. The real ones are never contacted: every connection goes to the lab.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    external::StandIns,
    lab_site::{self, Site},
    run::{PreparedRun, RunOptions},
};
use crate::{
    engine::StopSignal,
    event::{EventBody, HostStatus, Purpose, RING, Reader, Status},
    inventory::InventorySource,
    lab::{FileServer, Lab, NewNode},
    plan::{self, Plan, Request},
    source::{Diagnostic, Diagnostics},
};

/// A part of a rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The copies boot.
    Boot,
    /// What a deploy would change.
    Check,
    /// A deploy.
    Deploy,
    /// A second deploy, which must change nothing.
    DeployAgain,
    /// Health checks, with exercises.
    Health,
    /// The copies are removed.
    TearDown,
}

/// Why a part of a rehearsal failed.
#[derive(Debug)]
pub enum PhaseFailure {
    /// The lab, or this machine.
    Here(anyhow::Error),
    /// The project's files do not fit the variables of the lab.
    WrongFiles(Diagnostics),
    /// A host's run failed; its events say why.
    Run,
    /// The items, as `host: item`, that the deploy changed other than a check predicts.
    Unpredicted(Vec<String>),
    /// The items, as `host: item`, that the second deploy changed.
    ChangedAgain(Vec<String>),
}

/// How a part of a rehearsal ended.
#[derive(Debug)]
pub enum PhaseResult {
    /// As it should.
    Ok,
    /// It did not do what it should.
    Failed(PhaseFailure),
    /// It was asked to end.
    Interrupted,
}

/// How a part of a rehearsal ended, and how long it took.
#[derive(Debug)]
pub struct Verdict {
    /// The part.
    pub phase: Phase,
    /// Its result.
    pub result: PhaseResult,
    /// How long it took.
    pub duration: Duration,
}

/// What happens in a rehearsal, in order.
#[derive(Debug)]
pub enum RehearsalEvent {
    /// A part begins.
    Started(Phase),
    /// The current step of the lab, in words.
    Progress(String),
    /// A run begins on the copies: its events.
    Run(Reader),
    /// A part has ended.
    Finished(Arc<Verdict>),
}

/// The end of a rehearsal.
#[derive(Debug)]
pub struct RehearsalEnd {
    /// The parts that were begun, in order.
    pub verdicts: Vec<Arc<Verdict>>,
    /// The copies, if they are kept.
    pub site: Option<Site>,
}

/// The copies of the nodes, and where Redis comes from on them.
#[derive(Debug)]
pub struct Copies {
    /// The lab, which does not exist yet.
    pub lab: Lab,
    /// The Debian release of the copies.
    pub release: String,
    /// The URL of Redis's apt repository; `None` replaces it by a stand-in with the real binaries.
    pub redis_repo: Option<String>,
    /// Whether the copies are kept: then the program, with arguments, that serves the stand-in from then on.
    pub kept: Option<[String; 3]>,
}

/// A rehearsal that is ready to start.
#[derive(Debug)]
pub struct Rehearsal {
    request: Request,
    how: RunOptions,
    copies: Copies,
    hosts: Vec<String>,
    /// The values that copies get instead of secrets from outside.
    stand_ins: StandIns,
    events: UnboundedSender<RehearsalEvent>,
    stop: StopSignal,
    verdicts: Vec<Arc<Verdict>>,
}

/// Refuses a plan that reads secrets of hosts that are not selected: a rehearsal reads nothing from real nodes.
///
/// # Errors
/// Names such a host.
pub fn require_no_lender(plan: &Plan) -> Result<(), Diagnostics> {
    let Some(lender) = plan.lenders.first() else { return Ok(()) };
    let error = Diagnostic::error(format!("`{}` is not selected, but secrets on it are needed", lender.name));
    Err(Diagnostics(vec![error.help("a rehearsal reads nothing from real nodes: select it, too")]))
}

impl Rehearsal {
    /// Prepares a rehearsal of the request, whose plan has these hosts. The purpose among the options does not count. `stop` ends it early: the copies
    /// are removed even then, unless they are to be kept and have booted.
    #[must_use]
    pub fn new(
        request: Request,
        hosts: Vec<String>,
        how: RunOptions,
        copies: Copies,
        events: UnboundedSender<RehearsalEvent>,
        stop: StopSignal,
    ) -> Self {
        Self { request, how, copies, hosts, stand_ins: StandIns::default(), events, stop, verdicts: Vec::new() }
    }

    /// Boots the copies, checks, deploys twice, looks at their health, and removes them.
    pub async fn execute(mut self) -> RehearsalEnd {
        let mut site = self.boot().await;
        if let Some(site) = &site {
            self.passes(site).await;
        }
        if self.copies.kept.is_none() || site.is_none() {
            site = None;
            self.tear_down().await;
        }
        RehearsalEnd { verdicts: self.verdicts, site }
    }

    fn send(&self, event: RehearsalEvent) {
        // Without a reader, it goes on all the same.
        drop(self.events.send(event));
    }

    /// Begins a part; the returned time is for [`Self::end`].
    fn begin(&self, phase: Phase) -> Instant {
        self.send(RehearsalEvent::Started(phase));
        Instant::now()
    }

    fn end(&mut self, phase: Phase, begun: Instant, result: PhaseResult) {
        let verdict = Arc::new(Verdict { phase, result, duration: begun.elapsed() });
        self.verdicts.push(Arc::clone(&verdict));
        self.send(RehearsalEvent::Finished(verdict));
    }

    /// Boots the copies. Returns `None` if that failed or was interrupted.
    async fn boot(&mut self) -> Option<Site> {
        let begun = self.begin(Phase::Boot);
        let Copies { lab, release, redis_repo, kept } = &self.copies;
        let (lab, release, url, kept) = (lab.clone(), release.clone(), redis_repo.clone(), kept.clone());
        let wanted: Vec<NewNode> = self.hosts.iter().map(NewNode::bare).collect();
        let events = self.events.clone();
        // A step of the lab cannot be cut: what it has begun would be left.
        let booted = tokio::task::spawn_blocking(move || {
            let progress = |text: &str| drop(events.send(RehearsalEvent::Progress(text.to_owned())));
            lab.up(&wanted, &progress)?;
            // Nodes that are kept need the stand-in after this process ends.
            let server = kept.as_ref().map_or(FileServer::Within, |program| FileServer::Detached(program));
            let stand_in = url.is_none().then(|| lab_site::publish_redis(&lab, &release, server, &progress)).transpose()?;
            Site::new(&lab, &release, stand_in, url)
        })
        .await;
        let (site, result) = match booted {
            _ if self.stop.is_requested() => (None, PhaseResult::Interrupted),
            Ok(Ok(site)) => (Some(site), PhaseResult::Ok),
            Ok(Err(error)) => (None, PhaseResult::Failed(PhaseFailure::Here(error))),
            Err(error) => (None, PhaseResult::Failed(PhaseFailure::Here(error.into()))),
        };
        self.end(Phase::Boot, begun, result);
        site
    }

    async fn passes(&mut self, site: &Site) {
        for (phase, purpose) in [
            (Phase::Check, Purpose::CHECK),
            (Phase::Deploy, Purpose::APPLY),
            (Phase::DeployAgain, Purpose::APPLY),
            (Phase::Health, Purpose::EXERCISE),
        ] {
            let begun = self.begin(phase);
            let result = self.pass(phase, purpose, site).await.unwrap_or_else(PhaseResult::Failed);
            // An item that changes twice can still be healthy.
            let goes_on = match &result {
                PhaseResult::Ok => true,
                PhaseResult::Failed(_) => phase == Phase::DeployAgain,
                PhaseResult::Interrupted => false,
            };
            self.end(phase, begun, result);
            if !goes_on {
                return;
            }
        }
    }

    /// Loads the plan for the copies. Each pass loads it again, as a separate command would.
    fn load(&self, site: &Site, purpose: Purpose) -> Result<(Plan, Request), Diagnostics> {
        let mut request = self.request.clone();
        request.inventories.push(InventorySource::Path(site.inventory.clone()));
        // The last one wins.
        request.extra_vars.push(site.extra_vars());
        // A fleet without health checks is no mistake here, where the command does not ask for them.
        request.only_health = matches!(purpose, Purpose::Health { .. });
        Ok((plan::load(&request)?, request))
    }

    async fn pass(&mut self, phase: Phase, purpose: Purpose, site: &Site) -> Result<PhaseResult, PhaseFailure> {
        let (plan, request) = self.load(site, purpose).map_err(PhaseFailure::WrongFiles)?;
        let values = self.stand_ins.values(&plan).map_err(PhaseFailure::Here)?;
        let reach = site.reach(&self.copies.lab, &plan).map_err(PhaseFailure::Here)?;
        let how = RunOptions { purpose, forks: self.hosts.len(), wait: Duration::ZERO, ..self.how.clone() };
        let run = PreparedRun::new(plan, values, reach, &request, how).await.map_err(|error| PhaseFailure::Here(error.into()))?;
        self.send(RehearsalEvent::Run(run.reader(RING)));
        let changes = Changes::of(run.reader(RING));
        let (end, changes) = tokio::join!(run.execute(self.stop.clone()), changes);
        Ok(match end.status {
            _ if end.interrupted => PhaseResult::Interrupted,
            HostStatus::Ok | HostStatus::Changed if !changes.unpredicted.is_empty() => {
                PhaseResult::Failed(PhaseFailure::Unpredicted(changes.unpredicted))
            }
            HostStatus::Ok | HostStatus::Changed if phase == Phase::DeployAgain && !changes.changed.is_empty() => {
                PhaseResult::Failed(PhaseFailure::ChangedAgain(changes.changed))
            }
            HostStatus::Ok | HostStatus::Changed => PhaseResult::Ok,
            HostStatus::Failed | HostStatus::Unreachable | HostStatus::Held | HostStatus::Interrupted => {
                PhaseResult::Failed(PhaseFailure::Run)
            }
        })
    }

    async fn tear_down(&mut self) {
        let begun = self.begin(Phase::TearDown);
        let lab = self.copies.lab.clone();
        let result = match tokio::task::spawn_blocking(move || lab.down()).await {
            Ok(Ok(())) => PhaseResult::Ok,
            Ok(Err(error)) => PhaseResult::Failed(PhaseFailure::Here(error)),
            Err(error) => PhaseResult::Failed(PhaseFailure::Here(error.into())),
        };
        self.end(Phase::TearDown, begun, result);
    }
}

/// Which items a run changed.
#[derive(Debug, Default)]
struct Changes {
    /// `host: item` of everything that was changed.
    changed: Vec<String>,
    /// `host: item` of each item for which a check would have predicted another result.
    unpredicted: Vec<String>,
}

impl Changes {
    async fn of(mut events: Reader) -> Self {
        let mut changes = Self::default();
        while let Some(event) = events.next().await {
            match &event.body {
                EventBody::ItemFinished { host, item, outcome, .. } if outcome.status == Status::Changed => {
                    changes.changed.push(format!("{host}: {}", item.id));
                }
                EventBody::HostFinished { host, end } => {
                    changes.unpredicted.extend(end.unpredicted.iter().map(|id| format!("{host}: {id}")));
                }
                EventBody::RunStarted(_)
                | EventBody::RunInterrupted(_)
                | EventBody::HostProgress { .. }
                | EventBody::HostPlanned { .. }
                | EventBody::ItemStarted { .. }
                | EventBody::ItemOutput { .. }
                | EventBody::ItemFinished { .. }
                | EventBody::RunFinished(_)
                | EventBody::RunRefused(_) => {}
            }
        }
        changes
    }
}
