//! Runs a plan while a reporter listens; a request to end also ends what runs on the nodes.

use std::{io::IsTerminal as _, path::Path, time::Duration};

use indexmap::IndexSet;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    arguments::{ConnectionArgs, Output, Selection},
    exit::Exit,
    out, reach,
    runtime::{self, Interrupts},
    surroundings, validate,
};
use crate::{
    app::external::{self, Here},
    engine::{self, Options, Reach},
    event::{Event, Mode},
    plan::{HostPlan, Plan},
    report::{
        Reporter, Tally,
        json::Json,
        terminal::{Detail, Terminal},
    },
    source::{Diagnostic, Diagnostics},
};

/// How often long work shows that it is still running.
const TICK: Duration = Duration::from_millis(250);

/// The purpose of a run on the hosts of an inventory.
pub(super) struct Order<'a> {
    pub(super) selection: &'a Selection,
    pub(super) way: &'a ConnectionArgs,
    pub(super) mode: Mode,
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
pub(super) fn on_the_inventory(project_arg: Option<&Path>, order: &Order<'_>) -> anyhow::Result<Exit> {
    let selection = order.selection.reached(order.way);
    let loaded = validate::load_with_request(project_arg, &selection).and_then(|(mut plan, request)| {
        require_something_left(&plan, order.mode)?;
        match order.mode {
            Mode::Check | Mode::Apply => {}
            Mode::Health | Mode::Exercise => plan.only_for_health(),
        }
        let reach = reach::of_inventory(&plan, order.way, &request)?;
        Ok((plan, reach, request))
    });
    let (mut plan, reach, request) = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(validate::wrong(&errors, order.output)),
    };
    out::warnings(&plan.warnings);
    if order.output == Output::Text {
        out::note(&out::wrapped(&targets(&plan, order.mode), "  "));
    }
    let options = options(order.mode, order.way.forks, order.wait);
    let mut reporter = reporter(order.output, order.detail);
    let outcome = runtime::block_on(async |interrupts: &mut Interrupts| {
        let here = Here { project: &request.project, keys: &request.vault, controller: &request.controller };
        let fetched = tokio::select! {
            fetched = external::fetch(&mut plan, order.mode, here) => fetched,
            () = interrupts.next() => return Ok(RunOutcome::Interrupted),
        };
        out::warnings(&fetched?);
        Ok(run_to_end(plan, reach, options, reporter.as_mut(), interrupts).await)
    })?;
    Ok(match outcome {
        Err(errors) => validate::wrong(&errors, order.output),
        Ok(RunOutcome::Interrupted) => Exit::INTERRUPTED,
        Ok(RunOutcome::Completed(tally)) => Exit(tally.exit_code(order.detailed_exitcode)),
    })
}

/// More hosts than these are not named one by one.
const NAMED: usize = 8;

/// Which hosts will be contacted, and which inventories they are from: `deploy: db (198.18.0.2), web from inventory/hosts.yml`.
fn targets(plan: &Plan, mode: Mode) -> String {
    let word = match mode {
        Mode::Check => "check",
        Mode::Apply => "deploy",
        Mode::Health | Mode::Exercise => "health",
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

/// Refuses a selection that leaves nothing, as it is a mistake: a monitor would take "0 ok" for healthy.
fn require_something_left(plan: &Plan, mode: Mode) -> Result<(), Diagnostics> {
    let mut roles = plan.hosts.iter().flat_map(|host| &host.roles);
    let (is_left, what) = match mode {
        Mode::Check | Mode::Apply => (roles.any(|role| !role.steps.is_empty()), "task"),
        Mode::Health | Mode::Exercise => (roles.any(|role| !role.health.is_empty()), "health check"),
    };
    let nothing = Diagnostic::error(format!("no {what} is left of the selected roles")).help("see --tags and --skip-tags");
    if is_left { Ok(()) } else { Err(Diagnostics(vec![nothing])) }
}

/// How a run ended.
pub(super) enum RunOutcome {
    /// It ended.
    Completed(Tally),
    /// Ctrl-C or a request to terminate.
    Interrupted,
}

/// Runs the plan while the reporter listens.
pub(super) async fn run_to_end(
    plan: Plan,
    reach: Reach,
    options: Options,
    reporter: &mut dyn Reporter,
    interrupts: &mut Interrupts,
) -> RunOutcome {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut tally = Tally::default();
    let mut tick = tokio::time::interval(TICK);
    let run = tokio::spawn(engine::run(plan, reach, options, sender));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                None => return RunOutcome::Completed(tally),
                Some(event) => {
                    tally.event(&event);
                    reporter.event(&event);
                    if let Event::RunFinished { .. } = event {
                        return RunOutcome::Completed(tally);
                    }
                }
            },
            _ = tick.tick() => reporter.tick(),
            () = interrupts.next() => break,
        }
    }
    // Dropped sessions close the remote shells' inputs; they end what they run and release their locks.
    run.abort();
    let _ = run.await;
    reporter.interrupted();
    RunOutcome::Interrupted
}

/// The options of a run that starts now.
pub(super) fn options(mode: Mode, forks: usize, wait: Duration) -> Options {
    let started = Timestamp::now();
    let run_id = format!("{}-{:04x}", started.strftime("%Y%m%dT%H%M%S"), started.subsec_nanosecond() & 0xffff);
    Options { mode, run_id, who: who(), started, forks, wait, controller: surroundings::read() }
}

/// `user@controller`.
fn who() -> String {
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
