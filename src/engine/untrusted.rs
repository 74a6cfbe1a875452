//! A check of a stranger's project: what it does not ask of a node, and what it does not show of the answers.

use crate::{
    event::{Outcome, Status},
    plan::HostPlan,
    question::Questions,
    secret::SecretId,
    source::Trust,
    values::Diff,
};

/// Why an item of a stranger's role stays open.
const RUNS: &str = "not known: to ask, the node would run what the role says, and the project is not trusted";
const SECRET: &str = "not known: it uses a secret, and the project is not trusted";
/// What replaces texts about the state of a node, which may quote its files.
const CHANGES: &str = "would change; how is not shown, because the project is not trusted";
const FAILS: &str =
    "it would fail; why is not shown, because the project is not trusted, and the reason may quote a file of the node";
/// The summaries of changes that say nothing about the state of a node beyond this word.
const PLAIN: [&str; 6] = ["create", "run", "notified", "fetch", "content", "made by another task"];

/// Returns the reason why an item is not asked about, if it is a stranger's and names what the node would run, or uses a secret.
pub(super) fn left_open(host: &HostPlan, secrets: &[SecretId], questions: impl FnOnce(&mut Questions)) -> Option<&'static str> {
    if host.trust == Trust::Own {
        return None;
    }
    let mut ask = Questions::default();
    questions(&mut ask);
    if ask.run_what_roles_say() { Some(RUNS) } else { (!secrets.is_empty()).then_some(SECRET) }
}

/// Returns an outcome that follows from a node's answers, without what may quote them if the item is a stranger's.
pub(super) fn shown(host: &HostPlan, outcome: Outcome) -> Outcome {
    if host.trust == Trust::Own {
        return outcome;
    }
    let summary = match outcome.status {
        Status::Changed if !PLAIN.contains(&outcome.summary.as_str()) => CHANGES.to_owned(),
        Status::Ok | Status::Failed => String::new(),
        Status::Changed | Status::Skipped | Status::Unknown => outcome.summary,
    };
    let error = outcome.error.map(|_| FAILS.to_owned());
    Outcome { summary, error, warning: None, diff: Diff::none(), ..outcome }
}
