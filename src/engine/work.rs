//! The items of one host's run, in order, each with what is predicted of it.

use crate::{
    event::{Item, ItemKind, Outcome, Status},
    plan::{Handler, HandlerAction, SecretSpec, Task},
    question::{
        Questions,
        path::{PathQuery, PathState},
        pending::Pending,
        unit::Unit,
    },
    resource::{Diff, Resource},
};

/// An item of the run.
#[derive(Debug)]
pub(super) struct RunItem {
    /// What is known beforehand.
    pub(super) item: Item,
    /// What it is about.
    pub(super) body: ItemAction,
    /// What a check says of it.
    pub(super) predicted: Outcome,
}

/// What an item is about.
#[derive(Debug)]
pub(super) enum ItemAction {
    /// A secret that must be there before the next task.
    Secret(SecretSpec),
    /// A task whose condition holds.
    Task(Task, Box<dyn Resource>),
    /// Nothing to do: a condition that does not hold, or a failure that was foreseen.
    Skipped,
    /// A handler, due or not: an unpredicted change may notify it.
    Handler(Handler),
    /// A health check inside the question round.
    Health(Box<dyn Resource>),
    /// A health check through a tunnel.
    Exercise(Box<dyn crate::health::Exercise>),
}

impl RunItem {
    /// Whether a check predicts that this item writes to the node.
    pub(super) fn pending(&self) -> bool {
        self.predicted.status == Status::Changed
    }

    /// Whether users care to hear that it came to this: a handler that nobody notified is no news.
    pub(super) fn is_reported(&self, status: Status) -> bool {
        self.item.kind != ItemKind::Handler || status != Status::Ok
    }

    /// Whether what the item prints stays hidden.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(&self.body, ItemAction::Task(task, _) if task.no_log)
    }

    /// An outcome as users may see it: without diff and words where the task says `no_log`.
    pub(super) fn without_hidden_output(&self, outcome: Outcome) -> Outcome {
        if !self.is_quiet() {
            return outcome;
        }
        let error = outcome.error.map(|_| "failed; what it said is hidden by `no_log`".to_owned());
        Outcome { diff: Diff::none(), error, summary: String::new(), ..outcome }
    }

    /// The secret that it makes.
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

    /// Names the questions whose answers tell how this item stands.
    pub(super) fn questions(&self, ask: &mut Questions) {
        match &self.body {
            ItemAction::Secret(spec) => ask.ask::<PathState>(PathQuery::content(&spec.file)),
            ItemAction::Task(_, resource) | ItemAction::Health(resource) => resource.questions(ask),
            ItemAction::Handler(handler) => handler_questions(handler, ask),
            ItemAction::Exercise(exercise) => exercise.questions(ask),
            ItemAction::Skipped => {}
        }
    }

    /// The resource, where there is one.
    pub(super) fn resource(&self) -> Option<&dyn Resource> {
        match &self.body {
            ItemAction::Task(_, resource) | ItemAction::Health(resource) => Some(resource.as_ref()),
            ItemAction::Secret(_) | ItemAction::Skipped | ItemAction::Handler { .. } | ItemAction::Exercise(_) => None,
        }
    }
}

/// A handler is judged by its mark and by when its unit was started.
pub(super) fn handler_questions(handler: &Handler, ask: &mut Questions) {
    ask.ask::<Pending>(());
    if let Some(unit) = restarted_unit(handler) {
        ask.ask::<Unit>(unit.to_owned());
    }
}

/// The unit that a handler restarts or reloads.
pub(super) fn restarted_unit(handler: &Handler) -> Option<&str> {
    match &handler.action {
        HandlerAction::Restart(unit) | HandlerAction::Reload(unit) => Some(unit),
        HandlerAction::Command(_) => None,
    }
}

/// The item of something that a role file declares.
pub(super) fn item(kind: ItemKind, id: &str, role: &str, name: &str, resource: &str, span: &crate::source::Span) -> Item {
    Item {
        id: id.to_owned(),
        kind,
        role: role.to_owned(),
        name: name.to_owned(),
        resource: resource.to_owned(),
        file: span.file.shown.clone(),
        line: span.line_col().0,
    }
}
