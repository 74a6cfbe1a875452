//! The health checks without a deploy: every check that reads and, if requested, every exercise, even after one has failed. Applies no
//! changes.

use std::{convert::Infallible, time::Instant};

use serde_json::Value;

use super::{
    host_events::HostEvents,
    prediction::{evaluate_health, outcome_of},
    redact::redacted,
    secrets::{HostInputs, Secrets},
    strangers::{self, DeclaredPorts},
    work::item,
};
use crate::{
    event::{HostResult, Item, ItemSubject, Outcome, Status},
    health::Exercise,
    plan::{
        Action, Handler, HandlerStep, HealthAction, HealthItem, HealthStep, HostPlan, Step, Task, Visitor, World, Worlds,
        task_result, walk,
    },
    question::{Answers, Questions},
    resource::NodeState,
    secret::SecretValues,
    source::{Diagnostics, Span},
    transport::{Channel, Tunnel},
};

/// The health items of a host: read checks are evaluated, exercises have yet to run.
#[derive(Debug)]
pub(super) struct Checkup {
    items: Vec<(Item, HealthResult)>,
    secrets: Secrets,
}

#[derive(Debug)]
enum HealthResult {
    Evaluated(Outcome),
    Exercise(Box<dyn Exercise>),
}

/// Evaluates the checks that read. `Err` holds questions that are still open; ask them and try again.
pub(super) fn check(inputs: &HostInputs<'_>, facts: &Value, answers: &Answers) -> Result<Checkup, Questions> {
    let host = inputs.plan;
    let secrets = Secrets::known(inputs, answers);
    let state = NodeState { answers, secrets: &secrets.values };
    let mut evaluator = HealthEvaluator {
        host,
        secrets: &secrets,
        state,
        items: Vec::new(),
        open: Questions::default(),
        declared: DeclaredPorts::default(),
    };
    let Ok(()) = walk(&host.roles, &mut Worlds::new(facts.clone()), &mut evaluator);
    let HealthEvaluator { mut items, mut open, declared, .. } = evaluator;
    let state = NodeState { answers, secrets: &secrets.values };
    if let Some((item, outcome)) = strangers::evaluate(&declared, &host.open_ports, &state, &mut open) {
        items.push((item, HealthResult::Evaluated(outcome)));
    }
    open.without(answers);
    if open.is_empty() { Ok(Checkup { items, secrets }) } else { Err(open) }
}

/// Evaluates the health checks, and the tasks whose results they may use.
struct HealthEvaluator<'a> {
    host: &'a HostPlan,
    secrets: &'a Secrets,
    state: NodeState<'a>,
    items: Vec<(Item, HealthResult)>,
    open: Questions,
    declared: DeclaredPorts,
}

impl Visitor for HealthEvaluator<'_> {
    type Stop = Infallible;

    fn wants(&self, task: &Step) -> bool {
        task.register().is_some()
    }

    fn wants_handlers(&self) -> bool {
        false
    }

    fn task(&mut self, step: &Step, _: &World, expanded: Result<Vec<Task>, Diagnostics>) -> Result<Value, Infallible> {
        let (mut registered, mut skipped) = (None, true);
        match expanded {
            Ok(tasks) => {
                for task in tasks {
                    if let Action::Do(resource) = &task.action {
                        skipped = false;
                        resource.questions(&mut self.open);
                        registered = registered.or(resource.register(&self.state));
                    }
                }
            }
            Err(errors) => self.cannot_expand(ItemSubject::Task(String::new()), step.role(), step.name(), step.span(), &errors),
        }
        // Nothing is changed here, so no result is `changed`.
        Ok(task_result(registered, false, skipped))
    }

    fn handler(&mut self, _: &HandlerStep, _: Result<Handler, Diagnostics>) -> Result<(), Infallible> {
        Ok(())
    }

    fn health(&mut self, step: &HealthStep, expanded: Result<Option<HealthItem>, Diagnostics>) -> Result<(), Infallible> {
        let health = match expanded {
            Ok(Some(health)) => health,
            Ok(None) => return Ok(()),
            Err(errors) => {
                self.cannot_expand(ItemSubject::Health(String::new()), step.role(), step.name(), step.span(), &errors);
                return Ok(());
            }
        };
        let head = |kind: &str| item(ItemSubject::Health(kind.to_owned()), &health.id, &health.role, &health.name, &health.span);
        let found = match health.check {
            HealthAction::Read { kind, check } => {
                check.questions(&mut self.open);
                self.declared.firewall |= check.declares_firewall();
                if let Some(port) = check.declared_port() {
                    self.declared.ports.push(port);
                    self.declared.span.get_or_insert_with(|| health.span.clone());
                }
                (head(kind), HealthResult::Evaluated(evaluate_health(check.as_ref(), &self.state)))
            }
            HealthAction::Exercise { kind, exercise } => {
                exercise.questions(&mut self.open);
                let finding = match (exercise.skipped(&self.state), missing_secret(exercise.as_ref(), self.host, self.secrets)) {
                    (Err(unanswered), _) => HealthResult::Evaluated(Outcome::failed(unanswered.to_string())),
                    (Ok(Some(reason)), _) => HealthResult::Evaluated(Outcome::new(Status::Skipped, reason)),
                    (Ok(None), Some(reason)) => HealthResult::Evaluated(Outcome::failed(reason)),
                    (Ok(None), None) => HealthResult::Exercise(exercise),
                };
                (head(kind), finding)
            }
        };
        self.items.push(found);
        Ok(())
    }
}

impl HealthEvaluator<'_> {
    /// Reports an error in the role's files that only shows with the node's real facts as a failed item, as in a deploy.
    fn cannot_expand(&mut self, subject: ItemSubject, role: &str, name: &str, span: &Span, errors: &Diagnostics) {
        let head = item(subject, &format!("{role}/{name}"), role, name, span);
        self.items.push((head, HealthResult::Evaluated(Outcome::failed(errors.in_one_line()))));
    }
}

/// Returns why an exercise cannot run if one of its secrets is missing.
fn missing_secret(exercise: &dyn Exercise, host: &HostPlan, secrets: &Secrets) -> Option<String> {
    exercise.secrets().iter().find_map(|secret| {
        if let Some(problem) = secrets.problem(secret) {
            return Some(problem.to_owned());
        }
        let file = host.secrets.iter().find(|spec| *secret == spec.secret).map_or("its file", |spec| spec.file.as_str());
        secrets.is_fresh(secret).then(|| format!("`{secret}` is not in `{file}`: it was not deployed yet, or it was lost"))
    })
}

/// Runs an exercise. Where no port of the node can be reached, what it would find is not known: the service may well work.
pub(super) async fn exercised(exercise: &dyn Exercise, tunnel: &dyn Tunnel, secrets: &SecretValues) -> Outcome {
    let found = exercise.run(tunnel, secrets).await;
    match (&found, tunnel.shut()) {
        (Err(_), Some(why)) => Outcome {
            warning: Some("could not be tried".to_owned()),
            error: Some(why),
            ..Outcome::new(Status::Unknown, String::new())
        },
        _ => outcome_of(found),
    }
}

impl Checkup {
    /// Returns what is known about the host's secrets.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Reports the evaluated checks, and runs the exercises if requested.
    pub(super) async fn run<C: Channel>(self, exercise_all: bool, channel: &mut C, events: &HostEvents) -> HostResult {
        let mut result = HostResult::Ok;
        for (item, found) in self.items {
            let outcome = match found {
                HealthResult::Exercise(exercise) if !exercise_all && !exercise.monitoring_only() => continue,
                HealthResult::Evaluated(outcome) => outcome,
                HealthResult::Exercise(exercise) => {
                    events.started_beside_the_plan(&item);
                    let begun = Instant::now();
                    let outcome = exercised(exercise.as_ref(), channel.tunnel().as_ref(), &self.secrets.values).await;
                    Outcome { duration: begun.elapsed(), ..outcome }
                }
            };
            if outcome.status == Status::Failed {
                result = HostResult::Failed { error: None };
            }
            events.finished_item(&item, redacted(outcome, &self.secrets.values));
        }
        result
    }
}
