//! `attach` and `cancel`: follow the jobs of a run, or end them.

use std::path::Path;

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{
    ping_table::OUR_MISTAKE,
    status::{ended, job_json},
};
use crate::{
    app::{
        jobs::{JobLine, act_on_run},
        nodes::Nodes,
    },
    cli::{
        arguments::{HostArgs, Output},
        asking,
        exit::Exit,
        loading, out,
        runtime::{self, Interrupts},
    },
    engine::{FollowedJob, JobAction},
    job::{CANCELLED, JobState},
    report::harmless,
    transport::{LinkError, Target},
};

/// The run whose jobs are meant, and where to look for them.
#[derive(Debug, Args)]
pub(in crate::cli) struct RunOnHosts {
    /// Id of the run, or of a job, as `status` shows it
    #[arg(value_name = "RUN")]
    pub(in crate::cli) run: String,

    #[command(flatten)]
    pub(in crate::cli) asked: HostArgs,
}

/// The result of a host. `None`: this program failed, which was printed where it happened.
type Answer = Option<Result<Option<FollowedJob>, LinkError>>;

/// Follows or ends the jobs of a run on every selected host that has one.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(in crate::cli) fn run(given: Option<&Path>, arguments: &RunOnHosts, action: JobAction) -> anyhow::Result<Exit> {
    let (output, run) = (arguments.asked.output.format, &arguments.run);
    let command = match action {
        JobAction::Follow => "attach RUN",
        JobAction::Cancel => "cancel RUN",
    };
    let nodes = match asking::nodes(given, command, &arguments.asked) {
        Ok(nodes) => nodes,
        Err(errors) => return Ok(loading::wrong(&errors, output)),
    };
    let answers = runtime::block_on(async |interrupts: &mut Interrupts| {
        let (sender, lines) = unbounded_channel();
        tokio::select! {
            answers = act_on_run(&nodes, run, action, sender) => Some(answers),
            () = interrupts.next() => None,
            never = show(lines, &nodes, output) => never,
        }
    })?;
    let Some(answers) = answers else {
        if output == Output::Text {
            out::note(&format!("interrupted: the job goes on; `attach {run}` follows it again"));
        }
        return Ok(Exit::INTERRUPTED);
    };
    let answers: Vec<(&Target, Answer)> = nodes.targets.iter().zip(answers).collect();
    // On a host that did not answer, there may be one.
    let is_nowhere = answers.iter().all(|(_, answer)| matches!(answer, Some(Ok(None))));
    match output {
        Output::Text => {
            for (target, answer) in &answers {
                write(&target.name, answer.as_ref());
            }
            if is_nowhere {
                out::error(&format!("no job of `{}` was found; `status` shows which there are", harmless(run)));
            }
        }
        Output::Json => {
            let hosts: Map<String, Value> =
                answers.iter().map(|(target, answer)| (target.name.clone(), json(answer.as_ref()))).collect();
            out::json(&format!("{:#}", json!({ "version": env!("CARGO_PKG_VERSION"), "run": run, "hosts": hosts })));
        }
    }
    let begin = if is_nowhere { Exit::FAILED } else { Exit::DONE };
    Ok(answers.iter().fold(begin, |exit, (_, answer)| exit.or(exit_of(answer.as_ref(), action))))
}

/// Shows what the jobs say, as it comes. Programs that read JSON get only the end.
async fn show(mut lines: UnboundedReceiver<JobLine>, nodes: &Nodes, output: Output) -> ! {
    while let Some(JobLine { node, text }) = lines.recv().await {
        if output == Output::Text {
            out::line(&format!("{}: {}", nodes.targets[node].name, harmless(&text)));
        }
    }
    std::future::pending().await
}

fn exit_of(answer: Option<&Result<Option<FollowedJob>, LinkError>>, action: JobAction) -> Exit {
    match answer {
        None => Exit::FAILED,
        Some(Err(_)) => Exit::UNREACHABLE,
        Some(Ok(None)) => Exit::DONE,
        Some(Ok(Some(followed))) => match (followed.end, action) {
            (Some(JobState::Ended { status: 0 }) | None, _)
            | (Some(JobState::Ended { .. } | JobState::Killed), JobAction::Cancel) => Exit::DONE,
            (Some(_), _) => Exit::FAILED,
        },
    }
}

/// How the job of a host ended, in words.
fn end_of(followed: &FollowedJob) -> String {
    let how = match followed.end {
        Some(JobState::Ended { status }) => ended(status),
        Some(JobState::Killed) => "was killed before it ended: it is not known how far it came".to_owned(),
        Some(JobState::Running) => "is still under way".to_owned(),
        None => "has ended and was removed: the run on the host has its result".to_owned(),
    };
    format!("the job {}, phase {}, {how}", followed.job.id, followed.job.phase)
}

fn write(host: &str, answer: Option<&Result<Option<FollowedJob>, LinkError>>) {
    match answer {
        None => out::error(&format!("{host}: {OUR_MISTAKE}")),
        Some(Err(error)) => {
            out::error(&format!("{host}: {}", harmless(&error.to_string())));
            error.remedy().iter().for_each(|remedy| out::note(&format!("  {}", harmless(remedy))));
        }
        Some(Ok(Some(followed))) => out::line(&format!("{host}: {}", harmless(&end_of(followed)))),
        Some(Ok(None)) => {}
    }
}

/// `{status, error, help, job}`.
fn json(answer: Option<&Result<Option<FollowedJob>, LinkError>>) -> Value {
    let (status, error, help, job) = match answer {
        None => ("failed", Some(OUR_MISTAKE.to_owned()), None, None),
        Some(Err(error)) => ("unreachable", Some(error.to_string()), error.remedy(), None),
        Some(Ok(None)) => ("none", None, None, None),
        Some(Ok(Some(followed))) => {
            let status = match followed.end {
                Some(JobState::Ended { status: 0 }) => "ended",
                Some(JobState::Ended { status: CANCELLED }) => "cancelled",
                Some(JobState::Ended { .. }) => "failed",
                Some(JobState::Killed) => "killed",
                Some(JobState::Running) => "running",
                None => "removed",
            };
            let job =
                followed.end.map_or_else(|| followed.job.clone(), |state| crate::job::Job { state, ..followed.job.clone() });
            (status, None, None, Some(job_json(&job)))
        }
    };
    json!({ "status": status, "error": error, "help": help, "job": job })
}
