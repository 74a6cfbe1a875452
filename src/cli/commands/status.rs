//! `status`: what runs on each host.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::ping_table::OUR_MISTAKE;
use crate::{
    app::jobs::status,
    cli::{
        arguments::{HostArgs, Output},
        asking,
        exit::Exit,
        loading, out,
    },
    engine::Activity,
    job::{Job, JobState},
    report::{Style, harmless},
    transport::{Holder, LinkError, Target},
};

/// The indentation of the text below a host's line.
const INDENT: &str = "    ";

/// The result of a host. `None`: this program failed, which was printed where it happened.
type Answer = Option<Result<Activity, LinkError>>;

/// Asks every selected host what runs there, and shows the answers in the inventory's order.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(in crate::cli) fn run(given: Option<&Path>, arguments: &HostArgs) -> anyhow::Result<Exit> {
    let output = arguments.output.format;
    let nodes = match asking::nodes(given, "status", arguments) {
        Ok(nodes) => nodes,
        Err(errors) => return Ok(loading::wrong(&errors, output)),
    };
    let answers = asking::ask_all("status", &nodes, async |answered| status(&nodes, answered).await)?;
    let Some(answers) = answers else { return Ok(Exit::INTERRUPTED) };
    let answers: Vec<(&Target, Answer)> = nodes.targets.iter().zip(answers).collect();
    match output {
        Output::Text => out::line(&lines(&answers, out::style()).join("\n")),
        Output::Json => {
            let hosts: Map<String, Value> =
                answers.iter().map(|(target, answer)| (target.name.clone(), json(answer.as_ref()))).collect();
            out::json(&format!("{:#}", json!({ "version": env!("CARGO_PKG_VERSION"), "hosts": hosts })));
        }
    }
    Ok(answers.iter().fold(Exit::DONE, |exit, (_, answer)| {
        exit.or(match answer {
            Some(Ok(_)) => Exit::DONE,
            Some(Err(_)) => Exit::UNREACHABLE,
            None => Exit::FAILED,
        })
    }))
}

/// A line for each host with its state, and what there is to say about it below. A pipe gets a single line for each host, whatever its length.
fn lines(answers: &[(&Target, Answer)], style: Style) -> Vec<String> {
    let width = answers.iter().map(|(target, _)| target.name.chars().count()).chain([4]).max().unwrap_or_default();
    let mut lines = vec![style.bold(&format!("{:width$}  STATE", "HOST"))];
    for (target, answer) in answers {
        let (state, colour, remarks) = text(answer.as_ref());
        let line = format!("{:width$}  {}", target.name, style.paint(colour, state));
        if style.width.is_none() {
            let remarks = remarks.join("; ").replace('\n', " ");
            lines.push(format!("{line:0$}  {remarks}", width + 13).trim_end().to_owned());
        } else {
            lines.push(line);
            let below = remarks.iter().flat_map(|remark| remark.lines()).flat_map(|text| style.wrap(text, INDENT.len()));
            lines.extend(below.map(|text| format!("{INDENT}{text}")));
        }
    }
    lines
}

/// The state of a host in a word, the code of its colour (ECMA-48, 8.3.117), and what there is to say about it.
fn text(answer: Option<&Result<Activity, LinkError>>) -> (&'static str, &'static str, Vec<String>) {
    match answer {
        None => ("failed", "1;31", vec![OUR_MISTAKE.to_owned()]),
        Some(Err(error)) => {
            let help = error.remedy().map(|remedy| format!("help: {}", harmless(&remedy)));
            ("unreachable", "1;31", [harmless(&error.to_string())].into_iter().chain(help).collect())
        }
        Some(Ok(activity)) => {
            let (state, colour) = if activity.holder.is_some() { ("held", "33") } else { ("free", "32") };
            let mut remarks: Vec<String> = activity.holder.iter().map(|holder| harmless(&holder.to_string())).collect();
            remarks.extend(activity.jobs.iter().map(|job| harmless(&remark(job))));
            (state, colour, remarks)
        }
    }
}

/// Says what has become of a job.
fn remark(job: &Job) -> String {
    let Job { id, run_id, phase, .. } = job;
    match job.state {
        // The holder's line names it.
        JobState::Running => "`attach RUN` follows the job, `cancel RUN` ends it".to_owned(),
        JobState::Ended { status } => {
            format!("the job {id}, phase {phase}, of the run {run_id} {}; the next run on this host removes it", ended(status))
        }
        JobState::Killed => format!(
            "the job {id}, phase {phase}, of the run {run_id} was killed before it ended; the next run on this host removes it"
        ),
    }
}

/// Says how a job has ended.
pub(super) fn ended(status: i32) -> String {
    match status {
        0 => "has ended well".to_owned(),
        crate::job::CANCELLED => "was cancelled".to_owned(),
        status => format!("has ended with exit status {status}"),
    }
}

/// `{status, error, help, holder, jobs}`.
fn json(answer: Option<&Result<Activity, LinkError>>) -> Value {
    let (status, error, help) = match answer {
        Some(Ok(activity)) if activity.holder.is_some() => ("held", None, None),
        Some(Ok(_)) => ("free", None, None),
        Some(Err(error)) => ("unreachable", Some(error.to_string()), error.remedy()),
        None => ("failed", Some(OUR_MISTAKE.to_owned()), None),
    };
    let activity = answer.and_then(|answer| answer.as_ref().ok());
    json!({
        "status": status,
        "error": error,
        "help": help,
        "holder": activity.and_then(|activity| activity.holder.as_ref()).map(holder_json),
        "jobs": activity.map_or_else(Vec::new, |activity| activity.jobs.iter().map(job_json).collect()),
    })
}

fn holder_json(holder: &Holder) -> Value {
    json!({
        "run": holder.run_id,
        "who": holder.who,
        "since": holder.since.map(|since| since.to_string()),
        "job": holder.job.as_ref().map(|job| &job.id),
        "phase": holder.job.as_ref().map(|job| &job.phase),
    })
}

/// `{job, run, who, since, phase, state, exit_status}`.
pub(super) fn job_json(job: &Job) -> Value {
    let (state, exit_status) = match job.state {
        JobState::Running => ("running", None),
        JobState::Ended { status } => ("ended", Some(status)),
        JobState::Killed => ("killed", None),
    };
    json!({
        "job": job.id.to_string(),
        "run": job.run_id,
        "who": job.who,
        "since": job.since.to_string(),
        "phase": job.phase,
        "state": state,
        "exit_status": exit_status,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        job::{JobId, Offsets},
        report::Colour,
        transport::HoldingJob,
    };

    fn job(state: JobState) -> Job {
        Job {
            id: JobId::parse("5f0c2f6e-8f4e-4a0b-9d7e-0d8b8b7d4a11").unwrap(),
            run_id: "20261128T081502Z-7f3a9c2155e0d4b1".into(),
            who: "ann@ci".into(),
            since: Timestamp::from_second(1_795_853_702).unwrap(),
            phase: "apt".into(),
            state,
            written: Offsets::default(),
        }
    }

    fn answers() -> Vec<(&'static str, Answer)> {
        let running = job(JobState::Running);
        let holder = |job: Option<Box<HoldingJob>>| {
            Some(Holder { who: "ann@\u{1b}ci".into(), run_id: running.run_id.clone(), since: Some(running.since), job })
        };
        let of_job = HoldingJob { id: running.id.to_string(), phase: "apt".into(), says: String::new() };
        let found = |holder: Option<Holder>, jobs: &[JobState]| {
            Some(Ok(Activity { holder, jobs: jobs.iter().map(|state| job(*state)).collect() }))
        };
        vec![
            ("database_vm", found(holder(Some(Box::new(of_job))), &[JobState::Running])),
            ("slm", found(holder(None), &[])),
            ("a", found(None, &[])),
            ("b", found(None, &[JobState::Ended { status: 0 }, JobState::Ended { status: 130 }, JobState::Killed])),
            ("off", Some(Err(LinkError::Refused { address: "off:22".into() }))),
            ("bug", None),
        ]
    }

    fn shown(width: Option<usize>) -> String {
        let answers = answers();
        let targets: Vec<Target> = answers.iter().map(|(name, _)| Target::new(*name, *name)).collect();
        let answers: Vec<(&Target, Answer)> = targets.iter().zip(answers.into_iter().map(|(_, answer)| answer)).collect();
        lines(&answers, Style { colour: Colour::No, width }).join("\n")
    }

    #[test]
    fn what_runs_on_hosts_is_shown_in_eighty_columns() {
        let shown = shown(Some(80));
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        insta::assert_snapshot!(shown, @"
        HOST         STATE
        database_vm  held
            held by the job 5f0c2f6e-8f4e-4a0b-9d7e-0d8b8b7d4a11, phase apt, of ann@�ci
            since 2026-11-28T08:15:02Z (run 20261128T081502Z-7f3a9c2155e0d4b1)
            `attach RUN` follows the job, `cancel RUN` ends it
        slm          held
            held by ann@�ci since 2026-11-28T08:15:02Z (run
            20261128T081502Z-7f3a9c2155e0d4b1)
        a            free
        b            free
            the job 5f0c2f6e-8f4e-4a0b-9d7e-0d8b8b7d4a11, phase apt, of the run
            20261128T081502Z-7f3a9c2155e0d4b1 has ended well; the next run on this host
            removes it
            the job 5f0c2f6e-8f4e-4a0b-9d7e-0d8b8b7d4a11, phase apt, of the run
            20261128T081502Z-7f3a9c2155e0d4b1 was cancelled; the next run on this host
            removes it
            the job 5f0c2f6e-8f4e-4a0b-9d7e-0d8b8b7d4a11, phase apt, of the run
            20261128T081502Z-7f3a9c2155e0d4b1 was killed before it ended; the next run
            on this host removes it
        off          unreachable
            `off:22` refuses the connection
            help: is sshd running there, on this port? see `ansible_port`
        bug          failed
            autobot-provision itself failed on this host; this is a bug, please report
            it
        ");
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_host() {
        let shown = shown(None);
        assert_eq!(shown.lines().count(), 7);
        assert!(shown.contains("\nslm          held         held by ann@"), "{shown}");
    }

    #[test]
    fn programs_get_each_word_by_itself() {
        let answers = answers();
        let of = |index: usize| json(answers[index].1.as_ref());
        assert_eq!(of(0)["holder"]["phase"], "apt");
        assert_eq!(of(0)["jobs"][0]["run"], "20261128T081502Z-7f3a9c2155e0d4b1");
        assert_eq!(of(1)["holder"]["job"], Value::Null);
        assert_eq!((of(3)["status"].as_str(), &of(3)["jobs"][1]["exit_status"]), (Some("free"), &json!(130)));
        assert_eq!((of(4)["status"].as_str(), &of(4)["jobs"]), (Some("unreachable"), &json!([])));
    }
}
