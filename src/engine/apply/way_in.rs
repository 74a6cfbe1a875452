//! What a run knows of the way in to its node: which of its changes could end it, and whether the node is armed against that. A change that is made
//! live by a handler later keeps its copies until that handler's own proof.

use std::collections::HashSet;

use crate::{
    engine::{
        prediction::due,
        way_in::{Entrance, is_of_way_in, may_lock_out},
        work::{ItemAction, RunItem},
    },
    plan::{Handler, Revert, Task},
    question::{
        Answers,
        pending::{Due, Pending},
        way_in,
    },
    resource::{Reach, Resource},
    script::Script,
};

/// What a run knows of the way in to its node.
#[derive(Debug)]
pub(super) struct WayIn<'a> {
    /// `None` on the node itself.
    pub(super) entrance: Option<&'a dyn Entrance>,
    pub(super) armed: bool,
    /// Whether the node has copies that this run may go back to.
    pub(super) kept: bool,
    /// The handlers, by their ids, that make a change of the way in live.
    pub(super) owed: HashSet<String>,
}

impl<'a> WayIn<'a> {
    pub(super) fn new(items: &[RunItem], answers: &Answers, entrance: Option<&'a dyn Entrance>) -> Self {
        // Copies without a handler that still needs them are of a change that is proved, or was put back.
        let mut owed = HashSet::new();
        if answers.get::<Pending>(&()).is_ok_and(|marks| marks.way_in.kept) {
            owed.extend(items.iter().filter_map(|work| match &work.body {
                ItemAction::Handler { handler, .. } if due(handler, answers).is_ok_and(|due| due != Due::Nothing) => {
                    Some(handler.id.clone())
                }
                ItemAction::Handler { .. }
                | ItemAction::Task(..)
                | ItemAction::Secret(_)
                | ItemAction::Skipped
                | ItemAction::Health(_)
                | ItemAction::Exercise(_) => None,
            }));
        }
        Self { entrance, armed: false, kept: !owed.is_empty(), owed }
    }

    fn arm(&mut self) -> Script {
        let anew = !self.kept;
        (self.armed, self.kept) = (true, true);
        way_in::arm(anew)
    }

    /// Returns the script that arms the way back for a change of this task, if that could end the way in.
    pub(super) fn arm_for_task(
        &mut self,
        task: &Task,
        resource: &dyn Resource,
        items: &[RunItem],
        answers: &Answers,
    ) -> Option<Script> {
        if self.entrance.is_none() || !may_lock_out(task, resource, answers) {
            return None;
        }
        self.owed.extend(items.iter().filter_map(|work| match &work.body {
            ItemAction::Handler { handler, .. } if handler.role == task.role && task.notify.contains(&handler.name) => {
                Some(handler.id.clone())
            }
            ItemAction::Handler { .. }
            | ItemAction::Task(..)
            | ItemAction::Secret(_)
            | ItemAction::Skipped
            | ItemAction::Health(_)
            | ItemAction::Exercise(_) => None,
        }));
        Some(self.arm())
    }

    /// Returns the script that takes what this task changes into the copies, if it is to stay whatever comes later.
    pub(super) fn accept(&self, task: &Task, resource: &dyn Resource) -> Option<Script> {
        match resource.reach() {
            Reach::Path(path) if self.kept && task.revert == Revert::Never => Some(way_in::accept(path)),
            Reach::Path(_)
            | Reach::Unknown
            | Reach::Unit(_)
            | Reach::User(_)
            | Reach::Group(_)
            | Reach::Firewall
            | Reach::Packages(_)
            | Reach::Setting(_) => None,
        }
    }

    /// The same for the action of a handler.
    pub(super) fn arm_for_handler(&mut self, handler: &Handler) -> Option<Script> {
        let is_at_stake = self.owed.remove(&handler.id) || is_of_way_in(handler);
        (self.entrance.is_some() && is_at_stake).then(|| self.arm())
    }
}
