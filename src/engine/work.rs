//! The items of one host's run, in order, each with its predicted outcome.

use sha2::{Digest as _, Sha256};

use crate::{
    event::{Item, ItemSubject, Outcome, Status},
    health::HealthCheck,
    plan::{Handler, HandlerAction, SecretSpec, Task},
    question::{Questions, path::PathState, pending::Pending, unit::Unit},
    resource::Resource,
    script::Script,
    values::{Diff, RemotePath, hex},
};

/// An item of the run.
#[derive(Debug)]
pub(super) struct RunItem {
    /// Its name, role and position.
    pub(super) item: Item,
    /// The action.
    pub(super) body: ItemAction,
    /// The outcome that a check reports.
    pub(super) predicted: Outcome,
    /// The digest of what would be done, besides what the outcome shows.
    pub(super) effect: Option<Effect>,
    /// The file that it creates.
    pub(super) creates: Option<RemotePath>,
    /// Whether a file is all that it changes, so that it can go back.
    pub(super) can_go_back: bool,
}

/// The action of an item.
#[derive(Debug)]
pub(super) enum ItemAction {
    /// A secret that must exist before the next task.
    Secret(SecretSpec),
    /// A task whose condition holds.
    Task(Task, Box<dyn Resource>),
    /// Nothing to do: the condition does not hold, or the item is predicted to fail or depends on an unknown result.
    Skipped,
    /// A handler, pending or not: an unpredicted change may notify it.
    Handler {
        /// The handler.
        handler: Handler,
        /// Whether an earlier run has notified it.
        left_over: bool,
    },
    /// A health check inside the question round.
    Health(Box<dyn HealthCheck>),
    /// A health check through a tunnel.
    Exercise(Box<dyn crate::health::Exercise>),
}

impl RunItem {
    pub(super) fn new(item: Item, body: ItemAction, predicted: Outcome) -> Self {
        Self { item, body, predicted, effect: None, creates: None, can_go_back: false }
    }

    /// Whether a check predicts that this item writes to the node.
    pub(super) fn pending(&self) -> bool {
        self.predicted.status == Status::Changed
    }

    /// Whether this outcome is reported to users: a handler that was not notified is not.
    pub(super) fn is_reported(&self, status: Status) -> bool {
        self.item.subject != ItemSubject::Handler || status != Status::Ok
    }

    /// Whether the output of the item stays hidden.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(&self.body, ItemAction::Task(task, _) if task.no_log)
    }

    /// Returns the outcome as users may see it: without diff and texts if the task has `no_log`.
    pub(super) fn without_hidden_output(&self, outcome: Outcome) -> Outcome {
        if !self.is_quiet() {
            return outcome;
        }
        let error = outcome.error.map(|_| "failed; the output is hidden by `no_log`".to_owned());
        Outcome { diff: Diff::none(), error, summary: String::new(), warning: None, ..outcome }
    }

    /// Returns `sha256:` and the digest of what the item does, `None` if it changes nothing. `masked` is its predicted outcome as users see it.
    /// Summaries and health checks do not count: they change by the second.
    pub(super) fn digest(&self, masked: &Outcome) -> Option<String> {
        if !self.pending() {
            return None;
        }
        let effect = self.effect.as_ref().map_or(&[] as &[u8], |effect| &effect.0);
        let diff = masked.diff.as_text().unwrap_or_default();
        Some(format!("sha256:{}", hex(&sha256(&[self.item.id.as_bytes(), b"changed", diff.as_bytes(), effect]))))
    }

    /// The secret that the item creates.
    pub(super) fn made_secret(&self) -> Option<&SecretSpec> {
        match &self.body {
            ItemAction::Secret(spec) => Some(spec),
            ItemAction::Task(..)
            | ItemAction::Skipped
            | ItemAction::Handler { .. }
            | ItemAction::Health(_)
            | ItemAction::Exercise(_) => None,
        }
    }

    /// Adds the questions that this item needs answered.
    pub(super) fn questions(&self, ask: &mut Questions) {
        match &self.body {
            ItemAction::Secret(spec) => {
                ask.ask::<PathState>(spec.question());
                spec.access.questions(ask);
            }
            ItemAction::Task(_, resource) => resource.questions(ask),
            ItemAction::Health(check) => check.questions(ask),
            ItemAction::Handler { handler, .. } => handler_questions(handler, ask),
            ItemAction::Exercise(exercise) => exercise.questions(ask),
            ItemAction::Skipped => {}
        }
    }

    /// The resource, if the item has one.
    pub(super) fn resource(&self) -> Option<&dyn Resource> {
        match &self.body {
            ItemAction::Task(_, resource) => Some(resource.as_ref()),
            ItemAction::Secret(_)
            | ItemAction::Skipped
            | ItemAction::Handler { .. }
            | ItemAction::Health(_)
            | ItemAction::Exercise(_) => None,
        }
    }
}

/// The digest of a script, with tokens in place of secrets, and of the handlers that are notified.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Effect([u8; 32]);

impl Effect {
    /// Returns the digest of a change. `None` if the script cannot be written, which is reported when it is applied.
    pub(super) fn new(script: &Script, notified: &[String]) -> Option<Self> {
        let text = script.render().ok()?;
        let input = script.sealed_input().sha256();
        let mut parts = vec![text.as_bytes(), &input];
        parts.extend(notified.iter().map(String::as_bytes));
        Some(Self(sha256(&parts)))
    }

    /// Returns the digest of what a handler does.
    pub(super) fn of_handler(handler: &Handler) -> Self {
        let (verb, what) = match &handler.action {
            HandlerAction::Restart(unit) => ("restart", unit),
            HandlerAction::RestartIfRunning(unit) => ("restart if running", unit),
            HandlerAction::Reload(unit) => ("reload", unit),
            HandlerAction::Command(command) => ("command", command),
        };
        let ready = handler.ready.as_ref().map(|ready| ready.command.as_str()).unwrap_or_default();
        Self(sha256(&[verb.as_bytes(), what.as_bytes(), ready.as_bytes()]))
    }
}

/// Hashes parts, each with its length in front, so that no two lists of parts have the same bytes.
fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Adds the questions of a handler: its mark, and when its unit was started.
pub(super) fn handler_questions(handler: &Handler, ask: &mut Questions) {
    ask.ask::<Pending>(());
    if let Some(unit) = restarted_unit(handler) {
        ask.ask::<Unit>(unit.to_owned());
    }
}

/// Returns the unit that a handler restarts or reloads.
pub(super) fn restarted_unit(handler: &Handler) -> Option<&str> {
    match &handler.action {
        HandlerAction::Restart(unit) | HandlerAction::RestartIfRunning(unit) | HandlerAction::Reload(unit) => Some(unit),
        HandlerAction::Command(_) => None,
    }
}

/// Returns the item of a declaration in a role file.
pub(super) fn item(subject: ItemSubject, id: &str, role: &str, name: &str, span: &crate::source::Span) -> Item {
    Item {
        id: id.to_owned(),
        subject,
        role: role.to_owned(),
        name: name.to_owned(),
        file: span.file.shown.clone(),
        line: span.line_col().0,
    }
}
