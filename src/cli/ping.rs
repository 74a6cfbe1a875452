//! `ping`: whether a run could begin on each host, and what it would find there.

use std::{path::Path, sync::Arc};

use serde_json::{Map, Value, json};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    arguments::{Output, Ping},
    exit::Exit,
    inventory, out,
    ping_progress::Waiting,
    ping_table::{self, Row},
    project, reach,
    running::TICK,
    runtime::{self, Interrupts},
    surroundings, validate, vault,
};
use crate::{
    engine::{self, Pong},
    plan::{self, Request},
    source::{Diagnostic, Diagnostics},
    transport::{CONNECTING_AT_ONCE, ConnectionMethod, LinkError, Target, Transport},
};

/// The result of a host. `None`: this program failed, which was printed where it happened.
type Answer = Option<Result<Pong, LinkError>>;

/// Pings every selected host, and shows the answers in the inventory's order.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(super) fn run(given: Option<&Path>, arguments: &Ping) -> anyhow::Result<Exit> {
    let output = arguments.output.format;
    let targets = match targets(given, arguments) {
        Ok(targets) => targets,
        Err(errors) => return Ok(validate::wrong(&errors, output)),
    };
    let answers = runtime::block_on(async |interrupts: &mut Interrupts| {
        tokio::select! {
            answers = ping_all(&targets, arguments.way.forks) => Some(answers),
            () = interrupts.next() => None,
        }
    })?;
    let Some(answers) = answers else { return Ok(Exit::INTERRUPTED) };
    let answers: Vec<(&Target, &Answer)> = targets.iter().zip(&answers).collect();
    match output {
        Output::Text => {
            let rows: Vec<Row> = answers.iter().map(|(target, answer)| ping_table::row(target, answer.as_ref())).collect();
            out::line(&ping_table::lines(&rows, out::style()).join("\n"));
        }
        Output::Json => {
            let hosts: Map<String, Value> =
                answers.iter().map(|(target, answer)| (target.name.clone(), json(target, answer.as_ref()))).collect();
            out::line(&format!("{:#}", json!({ "version": env!("CARGO_PKG_VERSION"), "hosts": hosts })));
        }
    }
    Ok(answers.iter().fold(Exit::DONE, |exit, (_, answer)| exit.or(exit_of(answer.as_ref()))))
}

fn targets(given: Option<&Path>, arguments: &Ping) -> Result<Vec<Target>, Diagnostics> {
    let selection = arguments.selection();
    let project = project::find_for(given, &selection.inventory.sources).map_err(|error| Diagnostics(vec![error]))?;
    let controller = surroundings::read();
    let request = Request {
        inventories: inventory::sources(&project, &selection.inventory.sources),
        project,
        limit: selection.limit,
        extra_vars: selection.extra_vars,
        vault: vault::keys(&selection.inventory.vault, &controller)?,
        controller,
        ..Request::default()
    };
    let contacts = plan::contacts(&request).map_err(|errors| explained(errors, arguments.names_hosts()))?;
    out::warnings(&contacts.warnings);
    let mut reach = reach::of_hosts(contacts.hosts.iter().map(|host| (&host.name, &host.connection)), &arguments.way, &request)?;
    Ok(contacts.hosts.iter().filter_map(|host| reach.remove(&host.name)).collect())
}

/// Says how to find hosts. HOSTS is no option, so an error in it has no place to show.
fn explained(mut errors: Diagnostics, is_operand: bool) -> Diagnostics {
    let of_limit = |error: &&mut Diagnostic| error.span.as_ref().is_some_and(|span| span.file.shown == "--limit");
    for error in errors.0.iter_mut().filter(of_limit) {
        if error.help.is_none() {
            let is_here = error.span.as_ref().is_some_and(|span| matches!(span.text(), "localhost" | "127.0.0.1"));
            error.help = Some(if is_here { THIS_MACHINE } else { OTHER_HOSTS }.into());
        }
        if is_operand {
            error.span = None;
        }
    }
    errors
}

const THIS_MACHINE: &str = "this machine is a host like any other: `ping -i localhost, -c local`";
const OTHER_HOSTS: &str = "`inventory list` shows the hosts; `ping -i HOST,` takes one that is in no inventory";

/// The answers in the order of the targets.
async fn ping_all(targets: &[Target], forks: usize) -> Vec<Answer> {
    let transport = Arc::new(Transport::new(CONNECTING_AT_ONCE, surroundings::read()));
    let forks = Arc::new(Semaphore::new(forks.max(1)));
    let mut pings = JoinSet::new();
    for (number, target) in targets.iter().cloned().enumerate() {
        let (transport, forks) = (Arc::clone(&transport), Arc::clone(&forks));
        pings.spawn(async move {
            // The semaphore is never closed, so a permit always comes.
            let _permit = forks.acquire().await;
            (number, engine::ping(&transport, &target).await)
        });
    }
    let mut answers: Vec<Answer> = targets.iter().map(|_| None).collect();
    let mut waiting = Waiting::begin(targets.iter().map(|target| target.name.clone()).collect());
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            ended = pings.join_next() => match ended {
                Some(Ok((number, answer))) => {
                    waiting.answered(&targets[number].name);
                    answers[number] = Some(answer);
                }
                Some(Err(_)) => {}
                None => return answers,
            },
            _ = tick.tick() => waiting.draw(),
        }
    }
}

/// Returns the exit code that a deploy would have because of this host. A held lock is no failure, because a check works despite it.
fn exit_of(answer: Option<&Result<Pong, LinkError>>) -> Exit {
    match answer {
        Some(Ok(Pong { facts: Ok(_), .. })) => Exit::DONE,
        Some(Ok(Pong { facts: Err(_), .. })) | None => Exit::FAILED,
        Some(Err(_)) => Exit::UNREACHABLE,
    }
}

/// `{status, error, help, address, host_key, become, holder, facts, duration_ms: {connect, become, facts}, round_trips}`.
fn json(target: &Target, answer: Option<&Result<Pong, LinkError>>) -> Value {
    let status = match exit_of(answer) {
        Exit::DONE => "ok",
        Exit::UNREACHABLE => "unreachable",
        _ => "failed",
    };
    let mut json = json!({ "status": status, "error": null, "help": null, "address": target.host });
    let own = match answer {
        Some(Ok(pong)) => json!({
            "error": pong.facts.as_ref().err().map(ToString::to_string),
            "host_key": (target.connection == ConnectionMethod::Ssh).then_some("known"),
            "uid": pong.uid,
            "holder": pong.holder.as_ref().map(ToString::to_string),
            "facts": pong.facts.as_ref().ok(),
            "duration_ms": {
                "connect": milliseconds(pong.times.login),
                "become": milliseconds(pong.times.shell),
                "facts": milliseconds(pong.times.first_frame),
            },
            "round_trips": pong.round_trips,
        }),
        Some(Err(error)) => json!({
            "error": error.to_string(),
            "help": error.remedy(),
            "host_key": ping_table::Stage::reached(error).host_key(),
        }),
        None => json!({ "error": ping_table::OUR_MISTAKE }),
    };
    if let (Value::Object(all), Value::Object(own)) = (&mut json, own) {
        all.extend(own);
    }
    json
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
