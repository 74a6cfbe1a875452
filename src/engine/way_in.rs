//! The way in to a node beside the connection of a run: a fresh login proves that the next run gets in, too.

use std::{fmt::Debug, future::Future, pin::Pin};

use super::work::{ItemAction, RunItem, restarted_unit};
use crate::{
    plan::{Handler, Revert, Task},
    question::{Answers, own_account::OwnAccount, way_in},
    resource::{Reach, Resource},
    transport::{ConnectionMethod, Frame, LinkError, Lock, Step, StepOutput, Target, Transport},
};

/// A login of its own, as the next run would make it: with the same jump hosts, becoming root in the same way.
pub(super) trait Entrance: Debug + Send + Sync {
    /// Logs in, becomes root, runs the step and logs out.
    fn enter(&self, step: Step) -> Entering<'_>;
}

/// What comes of a fresh login: the output of its step.
pub(super) type Entering<'a> = Pin<Box<dyn Future<Output = Result<Option<StepOutput>, LinkError>> + Send + 'a>>;

/// Fresh logins over ssh.
#[derive(Debug)]
pub(super) struct FreshLogin<'a> {
    transport: &'a Transport,
    /// Never a connection that stays: whether the node lets a new login in is the question.
    target: Target,
}

impl<'a> FreshLogin<'a> {
    /// Returns `None` where the run is on the node itself: no connection can be cut there.
    pub(super) fn new(transport: &'a Transport, target: &'a Target) -> Option<Self> {
        (target.connection == ConnectionMethod::Ssh).then(|| Self { transport, target: target.afresh() })
    }
}

impl Entrance for FreshLogin<'_> {
    fn enter(&self, step: Step) -> Entering<'_> {
        Box::pin(async move {
            let (node, welcome) =
                self.transport.connect(&self.target, Lock::Observe, Frame::from(step), &mut |_: &str| {}).await?;
            crate::transport::Channel::close(node).await;
            Ok(welcome.outputs.into_iter().next())
        })
    }
}

/// Whether a change of this task could end the way in.
pub(super) fn may_lock_out(task: &Task, resource: &dyn Resource, answers: &Answers) -> bool {
    match task.revert {
        Revert::Never => false,
        Revert::Always => true,
        Revert::Automatic => resource.reach().may_lock_out(answers.get::<OwnAccount>(&()).ok()),
    }
}

/// Whether this handler makes a change of the way in live, whatever notified it.
pub(super) fn is_of_way_in(handler: &Handler) -> bool {
    restarted_unit(handler).is_some_and(|unit| Reach::Unit(unit).may_lock_out(None))
}

/// Whether a run that makes the predicted changes could end the way in.
pub(super) fn is_at_stake(items: &[RunItem], answers: &Answers) -> bool {
    items.iter().filter(|work| work.pending()).any(|work| match &work.body {
        ItemAction::Task(task, resource) => may_lock_out(task, resource.as_ref(), answers),
        ItemAction::Handler { handler, .. } => is_of_way_in(handler),
        ItemAction::Secret(_) | ItemAction::Skipped | ItemAction::Health(_) | ItemAction::Exercise(_) => false,
    })
}

/// Returns what a host says whose node has put the way in back by itself.
pub(super) fn reverted(reverted: &way_in::Reverted) -> String {
    let way_in::Reverted { run_id, who, .. } = reverted;
    format!(
        "the run {run_id} of {who} had changed the way in and was not heard of any more, so that the node put it back: {}\ndeploy again to go on",
        reverted.list()
    )
}
