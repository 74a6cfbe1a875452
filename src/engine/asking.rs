//! Collects the questions that must be answered before a host can be evaluated: a guess with stand-in facts, exact with real ones.

use std::convert::Infallible;

use serde_json::Value;

use super::{untrusted, work::handler_questions};
use crate::{
    plan::{
        Action, Handler, HandlerStep, HealthAction, HealthItem, HealthStep, HostPlan, Step, Task, Visitor, World, Worlds, walk,
    },
    question::{Questions, path::PathState, pending::Pending},
    source::{Diagnostics, Trust},
};

/// Which questions a run asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All that the roles declare, for a check or a deploy.
    Everything,
    /// The health checks, and the results that they may use.
    Health,
}

/// Returns the questions of a host, given what is known about it so far.
pub(super) fn questions(host: &HostPlan, scope: Scope, known: &Worlds) -> Questions {
    let mut ask = Questions::default();
    if scope == Scope::Everything {
        ask.ask::<Pending>(());
    }
    // A stranger's role names the files of its secrets, and their content.
    for spec in host.secrets.iter().chain(&host.lent).filter(|_| host.trust == Trust::Own) {
        ask.ask::<PathState>(spec.question());
        spec.access.questions(&mut ask);
    }
    let mut asking = Asking { host, scope, known, ask };
    // Role by role, so that the script asks in the order of the role files. Roles do not see each other's results anyway.
    for role in &host.roles {
        let Ok(()) = walk(std::slice::from_ref(role), &mut known.clone(), &mut asking);
    }
    asking.ask
}

/// Collects the questions of what can be expanded. What cannot be expanded yet may depend on an answer; the evaluation reports it.
struct Asking<'a> {
    host: &'a HostPlan,
    scope: Scope,
    known: &'a Worlds,
    ask: Questions,
}

impl Visitor for Asking<'_> {
    type Stop = Infallible;

    fn wants(&self, task: &Step) -> bool {
        self.scope == Scope::Everything || task.register().is_some()
    }

    fn wants_handlers(&self) -> bool {
        self.scope == Scope::Everything
    }

    fn task(&mut self, step: &Step, _: &World, expanded: Result<Vec<Task>, Diagnostics>) -> Result<Value, Infallible> {
        for task in expanded.unwrap_or_default() {
            if let Action::Do(resource) = &task.action
                && untrusted::left_open(self.host, &resource.secrets(), |ask| resource.questions(ask)).is_none()
            {
                resource.questions(&mut self.ask);
            }
        }
        let known = step.register().and_then(|name| self.known.result(step.role(), name));
        Ok(known.cloned().unwrap_or_else(|| World::stand_in_result(true)))
    }

    fn handler(&mut self, _: &HandlerStep, expanded: Result<Handler, Diagnostics>) -> Result<(), Infallible> {
        if let Ok(handler) = expanded {
            handler_questions(&handler, &mut self.ask);
        }
        Ok(())
    }

    fn health(&mut self, _: &HealthStep, expanded: Result<Option<HealthItem>, Diagnostics>) -> Result<(), Infallible> {
        if let Ok(Some(health)) = expanded {
            match &health.check {
                HealthAction::Read { check, .. } => {
                    if untrusted::left_open(self.host, &check.secrets(), |ask| check.questions(ask)).is_none() {
                        check.questions(&mut self.ask);
                    }
                }
                HealthAction::Exercise { exercise, .. } => {
                    if untrusted::left_open(self.host, &exercise.secrets(), |ask| exercise.questions(ask)).is_none() {
                        exercise.questions(&mut self.ask);
                    }
                }
            }
        }
        Ok(())
    }
}
