//! Secrets that hosts read from one another: each host publishes the secrets that it lends as soon as it knows them, and the hosts that
//! read them wait for that. Values go from one host's task to the other's in memory only.

use std::collections::HashMap;

use tokio::sync::watch;

use super::{
    round::QuestionRound,
    secrets::{Secrets, SharedSecret, SharedSecrets},
    work::RunItem,
};
use crate::{
    event::{HostStatus, Status},
    plan::{HostPlan, Lender, SecretSpec},
    question::{Questions, path::PathState},
    secret::{SecretRef, SecretValues},
    transport::{Channel as _, Frame, Lock, Target, Transport},
};

/// Whether a run creates the secrets that do not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunIntent {
    /// It creates none.
    ReadOnly,
    /// It creates them.
    Create,
    /// The run of the host fails before it creates anything.
    WillFail,
}

/// How far a host is with the secrets that it lends.
#[derive(Debug, Clone)]
enum Stage {
    /// Its node has not answered yet.
    Unknown,
    /// Some are being created: they are published when the host is done.
    Creating,
    Lent(SharedSecrets),
}

/// The lending end. If it is dropped before it has published anything, readers stop waiting.
#[derive(Debug)]
pub(super) struct Lending {
    host: String,
    secrets: Vec<SecretSpec>,
    stage: watch::Sender<Stage>,
}

/// The reading end.
#[derive(Debug, Clone)]
pub(super) struct Borrowing {
    host: String,
    stage: watch::Receiver<Stage>,
}

/// The ends that a host holds: one for the secrets that it lends, and those for the secrets that it reads.
pub(super) struct SecretExchange {
    pub(super) lending: Lending,
    pub(super) borrowing: Vec<Borrowing>,
}

/// Returns both ends for the secrets of a host.
pub(super) fn ends(host: &str, secrets: &[SecretSpec]) -> (Lending, Borrowing) {
    let (sender, receiver) = watch::channel(Stage::Unknown);
    let lending = Lending { host: host.to_owned(), secrets: secrets.to_vec(), stage: sender };
    (lending, Borrowing { host: host.to_owned(), stage: receiver })
}

impl Lending {
    /// Publishes the secrets that exist on the node, now that the run's changes are known.
    pub(super) fn publish(&self, secrets: &Secrets, items: &[RunItem], intent: RunIntent) {
        let planned = |secret: &SecretRef| {
            items.iter().any(|work| {
                work.predicted.status == Status::Changed && work.made_secret().is_some_and(|spec| &spec.secret == secret)
            })
        };
        let is_waited_for = intent == RunIntent::Create && self.secrets.iter().any(|spec| planned(&spec.secret));
        let found = |spec: &SecretSpec| {
            if let Some(problem) = secrets.problem(&spec.id()) {
                return SharedSecret::Missing(format!("`{}` of `{}`: {problem}", spec.secret.name, self.host));
            }
            match (secrets.values.declared(&spec.secret), planned(&spec.secret)) {
                (Some(value), false) => SharedSecret::Value(value.clone()),
                _ if intent == RunIntent::WillFail => {
                    SharedSecret::Missing(format!("`{}` lives on `{}`, whose deploy fails", spec.secret.name, self.host))
                }
                (Some(value), true) => SharedSecret::Value(value.clone()),
                (None, true) => SharedSecret::Planned,
                (None, false) => SharedSecret::Missing(absent_message(spec)),
            }
        };
        let shared: SharedSecrets = self.secrets.iter().map(|spec| (spec.secret.clone(), found(spec))).collect();
        self.stage.send_replace(if is_waited_for { Stage::Creating } else { Stage::Lent(shared) });
    }

    /// Publishes the secrets that the run has created, when the host is done.
    pub(super) fn publish_created(&self, status: HostStatus, values: &SecretValues) {
        if !matches!(*self.stage.borrow(), Stage::Creating) {
            return;
        }
        let found = |spec: &SecretSpec| match (status, values.declared(&spec.secret)) {
            (HostStatus::Ok | HostStatus::Changed, Some(value)) => SharedSecret::Value(value.clone()),
            _ => SharedSecret::Missing(format!("`{}` lives on `{}`, whose deploy failed", spec.secret.name, self.host)),
        };
        self.stage.send_replace(Stage::Lent(self.secrets.iter().map(|spec| (spec.secret.clone(), found(spec))).collect()));
    }

    /// Publishes that none of the secrets is available.
    pub(super) fn publish_failure(&self, why: &str) {
        if matches!(*self.stage.borrow(), Stage::Lent(_)) {
            return;
        }
        let missing =
            |spec: &SecretSpec| SharedSecret::Missing(format!("`{}` lives on `{}`: {why}", spec.secret.name, self.host));
        self.stage.send_replace(Stage::Lent(self.secrets.iter().map(|spec| (spec.secret.clone(), missing(spec))).collect()));
    }
}

fn absent_message(spec: &SecretSpec) -> String {
    let SecretRef { host, name } = &spec.secret;
    format!("`{name}` is not in `{}` of `{host}`, where it lives: deploy the role `{}` on `{host}` first", spec.file, spec.role)
}

/// The secrets of other hosts, as a reader knows them.
#[derive(Debug, Default)]
pub(super) struct Borrowed {
    pub(super) shared: SharedSecrets,
    /// Whether the reader had to wait for them, so that the answers of its own node may be out of date.
    pub(super) waited: bool,
}

/// Waits until all lenders have published their secrets. Reports to `progress` which host it waits for.
pub(super) async fn borrow(from: &mut [Borrowing], progress: &mut (dyn FnMut(&str) + Send)) -> Borrowed {
    let mut borrowed = Borrowed::default();
    for end in from {
        let mut stage = end.stage.borrow_and_update().clone();
        loop {
            match stage {
                Stage::Lent(found) => {
                    borrowed.shared.extend(found);
                    break;
                }
                Stage::Creating => {
                    borrowed.waited = true;
                    progress(&format!("waiting for `{}`, which creates secrets that this host reads", end.host));
                }
                Stage::Unknown => progress(&format!("waiting for the secrets of `{}`", end.host)),
            }
            if end.stage.changed().await.is_err() {
                // Nothing was published: the tasks that need the secrets fail and name their host.
                break;
            }
            stage = end.stage.borrow_and_update().clone();
        }
    }
    borrowed
}

/// Returns the ends that a host reads from.
pub(super) fn for_host<'a>(host: &'a HostPlan, ends: &HashMap<String, Borrowing>) -> Vec<Borrowing> {
    let mut owners: Vec<&'a str> = host.borrowed.iter().map(|spec| spec.secret.host.as_str()).collect();
    owners.sort_unstable();
    owners.dedup();
    owners.into_iter().filter_map(|owner| ends.get(owner).cloned()).collect()
}

/// Returns the indices of the hosts, each after those whose secrets it reads; otherwise in their order.
pub(super) fn in_order(hosts: &[HostPlan]) -> Vec<usize> {
    let mut waiting: Vec<usize> = (0..hosts.len()).collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let waits = |name: &str| waiting.iter().any(|index| hosts[*index].name == name);
        let is_free = |index: &usize| !hosts[*index].borrowed.iter().any(|spec| waits(&spec.secret.host));
        // The plan has no cycles; if it had one, its hosts would keep their order.
        let next = waiting.iter().position(is_free).unwrap_or(0);
        ordered.push(waiting.remove(next));
    }
    ordered
}

/// Reads the secrets of a host that is not part of the run, without taking its lock.
pub(super) async fn read(lender: &Lender, lending: Lending, transport: &Transport, target: Option<&Target>, run_id: &str) {
    let Some(target) = target else {
        return lending.publish_failure("the connection to it is not configured; this is a bug, please report it");
    };
    let mut questions = Questions::default();
    for spec in &lender.secrets {
        questions.ask::<PathState>(spec.question());
    }
    let round = match QuestionRound::new(questions, &lender.trusted_owners) {
        Ok(round) => round,
        Err(error) => return lending.publish_failure(&error.to_string()),
    };
    tracing::debug!(host = lender.name, run = run_id, "reading secrets");
    match transport.connect(target, Lock::Observe, Frame::from(round.step()), &mut |_: &str| {}).await {
        Ok((node, welcome)) => {
            lending.publish(
                &Secrets::read(&lender.secrets, &SecretValues::default(), &round.read(welcome.outputs.first())),
                &[],
                RunIntent::ReadOnly,
            );
            node.close().await;
        }
        Err(error) => {
            let remedy = error.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            lending.publish_failure(&format!("{error}{remedy}"));
        }
    }
}
