//! What a run knows of the way in to its node: which of its changes could end it, and whether the node is armed against that. A change that is made
//! live by a handler later keeps its copies until that handler's own proof.

use std::collections::BTreeSet;

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
        way_in::{self, Accepted},
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
    /// The handlers, by the names of their marks, that make a change of the way in live.
    pub(super) owed: BTreeSet<String>,
    /// Those that tasks with `revert: never` have notified.
    left_alone: BTreeSet<String>,
}

/// The mark of each handler that a change of the task notifies.
fn notified<'a>(task: &'a Task, items: &'a [RunItem]) -> impl Iterator<Item = String> + 'a {
    handlers(items)
        .filter(|handler| handler.role == task.role && task.notify.contains(&handler.name))
        .map(|handler| handler.marks[0].clone())
}

fn handlers(items: &[RunItem]) -> impl Iterator<Item = &Handler> {
    items.iter().filter_map(|work| match &work.body {
        ItemAction::Handler { handler, .. } => Some(handler),
        ItemAction::Task(..) | ItemAction::Secret(_) | ItemAction::Skipped | ItemAction::Health(_) | ItemAction::Exercise(_) => {
            None
        }
    })
}

impl<'a> WayIn<'a> {
    pub(super) fn new(items: &[RunItem], answers: &Answers, entrance: Option<&'a dyn Entrance>) -> Self {
        let state = answers.get::<Pending>(&()).map(|marks| marks.way_in.clone()).unwrap_or_default();
        let still_owed = |handler: &&Handler| {
            state.kept && state.owed.contains(&handler.marks[0]) && due(handler, answers).is_ok_and(|due| due != Due::Nothing)
        };
        let owed: BTreeSet<String> = handlers(items).filter(still_owed).map(|handler| handler.marks[0].clone()).collect();
        Self { entrance, armed: false, kept: !owed.is_empty(), owed, left_alone: BTreeSet::new() }
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
        if task.revert == Revert::Never {
            self.left_alone.extend(notified(task, items));
        }
        if self.entrance.is_none() || !may_lock_out(task, resource, answers) {
            return None;
        }
        self.owed.extend(notified(task, items));
        Some(self.arm())
    }

    /// Returns the script that takes what this task changes into the copies, if it is to stay whatever comes later.
    pub(super) fn accept(&self, task: &Task, resource: &dyn Resource) -> Option<Script> {
        if !self.kept || task.revert != Revert::Never {
            return None;
        }
        match resource.reach() {
            Reach::Path(path) => Some(way_in::accept(&Accepted::Path(path.clone()))),
            Reach::User(_) | Reach::Group(_) => Some(way_in::accept(&Accepted::Account)),
            // What runs is noted anew before the next change.
            Reach::Unknown
            | Reach::Nothing
            | Reach::Contained(_)
            | Reach::Unit(_)
            | Reach::Firewall
            | Reach::Packages(_)
            | Reach::Setting(..) => None,
        }
    }

    /// Notes that a handler has nothing to do any more.
    pub(super) fn passed(&mut self, handler: &Handler) {
        self.owed.remove(&handler.marks[0]);
    }

    /// The same for the action of a handler.
    pub(super) fn arm_for_handler(&mut self, handler: &Handler) -> Option<Script> {
        let mark = &handler.marks[0];
        let is_at_stake = self.owed.remove(mark) || is_of_way_in(handler) && !self.left_alone.contains(mark);
        (self.entrance.is_some() && is_at_stake).then(|| self.arm())
    }
}
