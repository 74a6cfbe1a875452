//! Secrets that nodes read from one another: each host that holds some says what it lends as soon as it knows, and those that read
//! them wait for that. Values go from one host's task to the other's in memory alone.

use std::collections::HashMap;

use tokio::sync::watch;

use super::{Options, host::QuestionRound, secrets::Secrets, work::RunItem};
use crate::{
    event::{HostStatus, Status},
    plan::{HostPlan, Lender, SecretSpec},
    question::{
        Questions,
        path::{PathQuery, PathState},
    },
    secret::{Secret, SecretRef, SecretValues},
    transport::{Channel as _, Frame, Lock, Target, Transport},
};

/// What a reader learns of a secret of another host.
#[derive(Debug, Clone)]
pub(super) enum SharedSecret {
    /// It is there.
    Value(Secret),
    /// In a check: the deploy would make it.
    Planned,
    /// It cannot be had, and why.
    Missing(String),
}

/// The secrets of one host that others read.
pub(super) type SharedSecrets = HashMap<SecretRef, SharedSecret>;

/// What becomes of secrets that are yet to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunIntent {
    /// Nothing in this run.
    ReadOnly,
    /// They are made.
    Create,
    /// The host's run fails before it makes anything.
    WillFail,
}

/// How far a host is with what it lends.
#[derive(Debug, Clone)]
enum Stage {
    /// Its node was not asked yet.
    Unknown,
    /// Some are being made: they are lent when the host is done.
    Creating,
    Lent(SharedSecrets),
}

/// The lending end. When it is dropped with nothing lent, readers learn that nothing will come.
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

/// Both ends that a host holds: for what it lends, and for what it reads.
pub(super) struct SecretExchange {
    pub(super) lending: Lending,
    pub(super) borrowing: Vec<Borrowing>,
}

/// The two ends for the secrets of a host.
pub(super) fn ends(host: &str, secrets: &[SecretSpec]) -> (Lending, Borrowing) {
    let (sender, receiver) = watch::channel(Stage::Unknown);
    let lending = Lending { host: host.to_owned(), secrets: secrets.to_vec(), stage: sender };
    (lending, Borrowing { host: host.to_owned(), stage: receiver })
}

impl Lending {
    /// Lends what the node's answers say is there, now that it is known what the run makes of it.
    pub(super) fn publish(&self, secrets: &Secrets, items: &[RunItem], intent: RunIntent) {
        let planned = |secret: &SecretRef| {
            items.iter().any(|work| {
                work.predicted.status == Status::Changed && work.made_secret().is_some_and(|spec| &spec.secret == secret)
            })
        };
        let is_waited_for = intent == RunIntent::Create && self.secrets.iter().any(|spec| planned(&spec.secret));
        let found = |spec: &SecretSpec| {
            if let Some(problem) = secrets.problem(&spec.secret) {
                return SharedSecret::Missing(format!("`{}` of `{}`: {problem}", spec.secret.name, self.host));
            }
            match (secrets.values.get(&spec.secret), planned(&spec.secret)) {
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

    /// Lends what the run has made, when the host is done.
    pub(super) fn publish_created(&self, status: HostStatus, values: &SecretValues) {
        if !matches!(*self.stage.borrow(), Stage::Creating) {
            return;
        }
        let found = |spec: &SecretSpec| match (status, values.get(&spec.secret)) {
            (HostStatus::Ok | HostStatus::Changed, Some(value)) => SharedSecret::Value(value.clone()),
            _ => SharedSecret::Missing(format!("`{}` lives on `{}`, whose deploy failed", spec.secret.name, self.host)),
        };
        self.stage.send_replace(Stage::Lent(self.secrets.iter().map(|spec| (spec.secret.clone(), found(spec))).collect()));
    }

    /// Says that none of them can be had.
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

/// What a reader knows of other hosts' secrets.
#[derive(Debug, Default)]
pub(super) struct Borrowed {
    pub(super) shared: SharedSecrets,
    /// Whether they had to be waited for, so that what the reader's node said may be out of date.
    pub(super) waited: bool,
}

/// Waits until all have lent what they have. `progress` hears who is waited for.
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
                    progress(&format!("waiting for `{}`, which makes secrets that are read here", end.host));
                }
                Stage::Unknown => progress(&format!("waiting for secrets of `{}`", end.host)),
            }
            if end.stage.changed().await.is_err() {
                // Nothing was lent: what needs it fails, and says whose it was.
                break;
            }
            stage = end.stage.borrow_and_update().clone();
        }
    }
    borrowed
}

/// The ends that a host reads from.
pub(super) fn for_host<'a>(host: &'a HostPlan, ends: &HashMap<String, Borrowing>) -> Vec<Borrowing> {
    let mut owners: Vec<&'a str> = host.borrowed.iter().map(|spec| spec.secret.host.as_str()).collect();
    owners.sort_unstable();
    owners.dedup();
    owners.into_iter().filter_map(|owner| ends.get(owner).cloned()).collect()
}

/// Hosts in an order in which each comes after those whose secrets it reads; otherwise as they stand.
pub(super) fn in_order(hosts: Vec<HostPlan>) -> Vec<HostPlan> {
    let mut waiting = hosts;
    let mut ordered: Vec<HostPlan> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let names: Vec<String> = waiting.iter().map(|host| host.name.clone()).collect();
        let is_free = |host: &HostPlan| !host.borrowed.iter().any(|spec| names.contains(&spec.secret.host));
        // The plan has no circles; were there one, its hosts would go as they stand.
        let at = waiting.iter().position(is_free).unwrap_or(0);
        ordered.push(waiting.remove(at));
    }
    ordered
}

/// Reads the secrets of a host that is not part of the run, without holding it.
pub(super) async fn read(lender: &Lender, lending: Lending, transport: &Transport, target: Option<&Target>, options: &Options) {
    let Some(target) = target else { return lending.publish_failure("nobody said how it is reached") };
    let mut questions = Questions::default();
    for spec in &lender.secrets {
        questions.ask::<PathState>(PathQuery::content(&spec.file));
    }
    let round = match QuestionRound::new(questions) {
        Ok(round) => round,
        Err(error) => return lending.publish_failure(&error.to_string()),
    };
    tracing::debug!(host = lender.name, run = options.run_id, "reading secrets");
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
