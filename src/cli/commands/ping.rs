//! `ping`: whether a run could begin on each host, and what it would find there.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::ping_table::{self, Row};
use crate::{
    app::ping::ping,
    cli::{
        arguments::{HostArgs, Output},
        asking,
        exit::Exit,
        loading, out,
    },
    engine::Pong,
    transport::{ConnectionMethod, LinkError, Target},
};

/// The result of a host. `None`: this program failed, which was printed where it happened.
type Answer = Option<Result<Pong, LinkError>>;

/// Pings every selected host, and shows the answers in the inventory's order.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(in crate::cli) fn run(given: Option<&Path>, arguments: &HostArgs) -> anyhow::Result<Exit> {
    let output = arguments.output.format;
    let nodes = match asking::nodes(given, "ping", arguments) {
        Ok(nodes) => nodes,
        Err(errors) => return Ok(loading::wrong(&errors, output)),
    };
    let answers = asking::ask_all("ping", &nodes, async |answered| ping(&nodes, answered).await)?;
    let Some(answers) = answers else { return Ok(Exit::INTERRUPTED) };
    let answers: Vec<(&Target, &Answer)> = nodes.targets.iter().zip(&answers).collect();
    match output {
        Output::Text => {
            let rows: Vec<Row> = answers.iter().map(|(target, answer)| ping_table::row(target, answer.as_ref())).collect();
            out::line(&ping_table::lines(&rows, out::style()).join("\n"));
        }
        Output::Json => {
            let hosts: Map<String, Value> =
                answers.iter().map(|(target, answer)| (target.name.clone(), json(target, answer.as_ref()))).collect();
            out::json(&format!("{:#}", json!({ "version": env!("CARGO_PKG_VERSION"), "hosts": hosts })));
        }
    }
    Ok(answers.iter().fold(Exit::DONE, |exit, (_, answer)| exit.or(exit_of(answer.as_ref()))))
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
