//! `deploy`: loads, runs, reports; Ctrl-C ends what runs on the nodes.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    arguments::{Deploy, Output, Way},
    exit::Exit,
    out, validate,
};
use crate::{
    engine::{self, Options, Reach},
    event::{Event, Mode},
    plan::{self, Plan},
    report::{
        Reporter, Tally,
        json::Json,
        terminal::{Detail, Terminal},
    },
    source::{Diagnostic, Diagnostics},
    transport::{self, HostKeys, SshArguments, Target},
};

/// How often long work shows that it still goes on.
const TICK: Duration = Duration::from_millis(250);

/// Deploys, or checks.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(super) fn run(given: Option<&Path>, arguments: &Deploy, verbose: u8) -> anyhow::Result<Exit> {
    let plan = match validate::load(given, &arguments.selection, arguments.check) {
        Ok(plan) => plan,
        Err(errors) => return Ok(validate::wrong(&errors, arguments.output)),
    };
    out::warnings(&plan.warnings);
    let reach = match reach(&plan, &arguments.way) {
        Ok(reach) => reach,
        Err(errors) => return Ok(validate::wrong(&errors, arguments.output)),
    };
    let mode = if arguments.check { Mode::Check } else { Mode::Apply };
    let options = options(mode, arguments.way.forks, arguments.wait);
    let detail = Detail { diff: arguments.diff, verbose };
    let mut reporter = reporter(arguments.output, detail);
    let came = run_to_end(plan, reach, options, reporter.as_mut())?;
    Ok(match came {
        Came::Interrupted => Exit::INTERRUPTED,
        Came::Through(tally) => Exit(tally.exit_code(arguments.detailed_exitcode)),
    })
}

/// How a run ended.
pub(super) enum Came {
    /// It came to its end.
    Through(Tally),
    /// Ctrl-C or a request to terminate.
    Interrupted,
}

/// Runs the plan while the reporter listens.
pub(super) fn run_to_end(plan: Plan, reach: Reach, options: Options, reporter: &mut dyn Reporter) -> anyhow::Result<Came> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let came = runtime.block_on(async {
        let (sender, mut events) = mpsc::unbounded_channel();
        let mut tally = Tally::default();
        let mut tick = tokio::time::interval(TICK);
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let run = tokio::spawn(engine::run(plan, reach, options, sender));
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    None => return anyhow::Ok(Came::Through(tally)),
                    Some(event) => {
                        tally.event(&event);
                        reporter.event(&event);
                        if let Event::RunFinished { .. } = event {
                            return Ok(Came::Through(tally));
                        }
                    }
                },
                _ = tick.tick() => reporter.tick(),
                _ = tokio::signal::ctrl_c() => break,
                _ = terminate.recv() => break,
            }
        }
        // Dropped sessions close the remote shells' inputs; they end what they run and let go of their locks.
        run.abort();
        let _ = run.await;
        reporter.interrupted();
        Ok(Came::Interrupted)
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    came
}

/// The options of a run that starts now.
pub(super) fn options(mode: Mode, forks: usize, wait: Duration) -> Options {
    let started = Timestamp::now();
    let run_id = format!("{}-{:04x}", started.strftime("%Y%m%dT%H%M%S"), started.subsec_nanosecond() & 0xffff);
    Options { mode, run_id, who: who(), started, forks, wait }
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

/// How each host of the plan is reached.
fn reach(plan: &Plan, way: &Way) -> Result<Reach, Diagnostics> {
    let mut wrong = Diagnostics::default();
    let mut reach = Reach::new();
    for host in &plan.hosts {
        match target(&host.name, host.connection(), way) {
            Ok(target) => {
                reach.insert(host.name.clone(), target);
            }
            Err(error) => wrong.push(error),
        }
    }
    wrong.into_result(reach)
}

/// The way to one host, from its `ansible_*` variables.
fn target(name: &str, connection: &plan::Connection, way: &Way) -> Result<Target, Diagnostic> {
    let arguments = SshArguments::parse(connection.common_args.as_deref().unwrap_or_default());
    let arguments =
        arguments.map_err(|error| Diagnostic::error(format!("`{name}`: {error}")).help("see ansible_ssh_common_args"))?;
    Ok(Target {
        port: connection.port,
        user: connection.user.clone(),
        identity: connection.key.as_deref().map(expand_home),
        arguments,
        become_root: connection.r#become,
        connection: if connection.local { transport::Connection::Local } else { transport::Connection::Ssh },
        host_keys: if way.accept_new_host_keys { HostKeys::AcceptNew } else { HostKeys::Strict },
        connect_timeout: way.connect_timeout,
        ..Target::new(name, connection.host.clone())
    })
}

/// `~/x` is in the operator's home, as in Ansible.
fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        (Some(_) | None, Some(_) | None) => PathBuf::from(path),
    }
}
