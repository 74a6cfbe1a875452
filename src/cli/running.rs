//! Runs a plan while a reporter listens; a request to end also ends what runs on the nodes.

use std::{io::IsTerminal as _, time::Duration};

use indexmap::IndexSet;
use jiff::Timestamp;

use super::{
    arguments::{ConnectionArgs, Output, Selection},
    exit::Exit,
    loading, out,
    project::GivenProject,
    reach,
    runtime::{self, Interrupts},
};
use crate::{
    app::{
        external::{self, Here},
        run::{self, PreparedRun, RunOptions},
    },
    engine::{self, StopHandle},
    event::{Counts, HostStatus, Purpose, RING, Reader, Refusal, RunEnd, Urgency},
    plan::{HostPlan, Plan},
    report::{
        Reporter,
        json::Json,
        terminal::{Detail, Terminal},
    },
    source::Diagnostics,
};

/// How often long work shows that it is still running.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// The purpose of a run on the hosts of an inventory.
pub(super) struct Order<'a> {
    pub(super) selection: &'a Selection,
    pub(super) way: &'a ConnectionArgs,
    pub(super) purpose: Purpose,
    /// How long to wait for a node that another run holds.
    pub(super) wait: Duration,
    pub(super) output: Output,
    pub(super) detail: Detail,
    pub(super) detailed_exitcode: bool,
}

/// Loads the project, and carries out the order on the hosts of the inventory.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(super) fn on_the_inventory(given: GivenProject<'_>, order: &Order<'_>) -> anyhow::Result<Exit> {
    let selection = order.selection.reached(order.way);
    let loaded = loading::request(given, &selection).and_then(|request| {
        let (plan, request) = run::load(request, order.purpose)?;
        let reach = reach::of_inventory(&plan, order.way, &request)?;
        Ok((plan, reach, request))
    });
    let (plan, reach, request) = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return wrong(&errors, order),
    };
    out::warnings(&plan.warnings);
    if order.output == Output::Text {
        out::note(&out::wrapped(&targets(&plan, order.purpose), "  "));
    }
    let mut reporter = reporter(order.output, order.detail);
    let outcome = runtime::block_on(async |interrupts: &mut Interrupts| {
        let here = Here { project: &request.project, keys: &request.vault, controller: &request.controller };
        let fetched = tokio::select! {
            fetched = external::fetch(&plan, order.purpose, here) => fetched,
            () = interrupts.next() => return Ok(None),
        };
        let (values, warnings) = match fetched {
            Ok(fetched) => fetched,
            Err(errors) => return Err(RunError::Wrong(errors)),
        };
        out::warnings(&warnings);
        let options =
            RunOptions { detailed_exitcode: order.detailed_exitcode, ..options(order.purpose, order.way.forks, order.wait) };
        let prepared = tokio::select! {
            prepared = PreparedRun::new(plan, values, reach, &request, options) => prepared,
            () = interrupts.next() => return Ok(None),
        };
        let run = prepared.map_err(|error| RunError::Here(error.into()))?;
        Ok(Some(run_to_end(run, reporter.as_mut(), interrupts).await))
    })?;
    Ok(match outcome {
        Err(RunError::Wrong(errors)) => return wrong(&errors, order),
        Err(RunError::Here(error)) => return Err(error),
        Ok(None) => return refused(Refusal::interrupted(), order),
        Ok(Some(end)) => end.exit,
    })
}

/// Shows what is wrong: for people with the lines of the files, which no event has.
fn wrong(errors: &Diagnostics, order: &Order<'_>) -> anyhow::Result<Exit> {
    if order.output == Output::Text {
        out::diagnostics(errors);
    }
    refused(Refusal::wrong(errors.problems()), order)
}

/// Reports a run that does not begin.
fn refused(refusal: Refusal, order: &Order<'_>) -> anyhow::Result<Exit> {
    let exit = refusal.exit();
    reporter(order.output, order.detail).event(&run::refused(refusal, Timestamp::now)?);
    Ok(exit)
}

/// Why a run does not start.
enum RunError {
    /// The project's files, or a source of secrets.
    Wrong(Diagnostics),
    /// This machine.
    Here(anyhow::Error),
}

/// More hosts than these are not named one by one.
const NAMED: usize = 8;

/// Which hosts will be contacted, and which inventories they are from: `deploy: db (198.18.0.2), web from inventory/hosts.yml`.
fn targets(plan: &Plan, purpose: Purpose) -> String {
    let word = match purpose {
        Purpose::Deploy { apply: false } => "check",
        Purpose::Deploy { apply: true } => "deploy",
        Purpose::Health { .. } => "health",
    };
    let format_host = |host: &HostPlan| match host.connection() {
        connection if connection.local => format!("{} (this machine)", host.name),
        connection if connection.host == host.name => host.name.clone(),
        connection => format!("{} ({})", host.name, connection.host),
    };
    let mut hosts: Vec<String> = plan.hosts.iter().take(NAMED).map(format_host).collect();
    if plan.hosts.len() > NAMED {
        hosts.push(format!("{} more", plan.hosts.len() - NAMED));
    }
    let files: IndexSet<&str> = plan.hosts.iter().map(|host| host.named_in.as_str()).collect();
    let lenders: Vec<&str> = plan.lenders.iter().map(|lender| lender.name.as_str()).collect();
    let reads = if lenders.is_empty() { String::new() } else { format!("; reads secrets of {}", lenders.join(", ")) };
    format!("{word}: {} from {}{reads}", hosts.join(", "), files.into_iter().collect::<Vec<_>>().join(", "))
}

/// Passes requests to end on: the first lets each host finish its current item, the second does not.
pub(super) struct Stopping {
    handle: StopHandle,
    next: Urgency,
}

impl Stopping {
    pub(super) fn new(handle: StopHandle) -> Self {
        Self { handle, next: Urgency::AfterItem }
    }

    /// Asks what runs to end.
    pub(super) fn ask(&mut self) {
        self.handle.request(self.next);
        self.next = Urgency::Now;
    }
}

/// Carries out the run while the reporter listens.
async fn run_to_end(run: PreparedRun, reporter: &mut dyn Reporter, interrupts: &mut Interrupts) -> RunEnd {
    let mut events = run.reader(RING);
    let (handle, stop) = engine::stop();
    // A task of its own, so that the run goes on while the reporter writes.
    let running = tokio::spawn(run.execute(stop));
    show(&mut events, reporter, interrupts, &mut Stopping::new(handle)).await;
    // If the run itself has panicked, that was printed where it happened.
    let failed = || RunEnd::new(HostStatus::Failed, false, Counts::default(), Duration::ZERO, false);
    running.await.unwrap_or_else(|_| failed())
}

/// Shows the events of a run to its end.
pub(super) async fn show(events: &mut Reader, reporter: &mut dyn Reporter, interrupts: &mut Interrupts, stopping: &mut Stopping) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => reporter.event(&event),
                None => return,
            },
            _ = tick.tick() => reporter.tick(),
            () = interrupts.next() => stopping.ask(),
        }
    }
}

/// The options of a run that is started from the command line.
pub(super) fn options(purpose: Purpose, forks: usize, wait: Duration) -> RunOptions {
    RunOptions { purpose, forks, wait, who: who(), via: "cli".to_owned(), detailed_exitcode: false, clock: Timestamp::now }
}

/// `user@controller`.
pub(super) fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "root".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

/// Text or JSON, to standard output.
pub(super) fn reporter(output: Output, detail: Detail) -> Box<dyn Reporter> {
    match output {
        Output::Json => Box::new(Json::new(std::io::stdout())),
        Output::Text => {
            let redraw = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
            Box::new(Terminal::new(std::io::stdout(), std::io::stderr(), out::style(), redraw, detail))
        }
    }
}
