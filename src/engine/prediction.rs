//! Predicts from the answers alone what a deploy will do: no I/O, no clock, and no knowledge of whether this is a check.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    asking::{Scope, questions},
    secrets::{self, HostInputs, Secrets},
    untrusted,
    work::{Effect, ItemAction, RunItem, item, restarted_unit},
};
use crate::{
    event::{Item, ItemSubject, Outcome, Status},
    health::{Finding, HealthCheck},
    plan::{
        Action, Handler, HandlerStep, HealthAction, HealthItem, HealthStep, HostPlan, RolePlan, Step, Task, Visitor, World,
        Worlds, task_result, walk,
    },
    question::{
        Answers, Questions,
        pending::{Due, Pending},
        unit::Unit,
        way::TrustedOwners,
    },
    resource::{Change, NodeState, Resource, Verdict, do_not_exist, judge},
    secret::SecretId,
    source::{Diagnostics, Span, Trust},
    values::Missing,
};

/// The items of a host's run with their predicted outcomes. The first item that fails is the last.
#[derive(Debug)]
pub(super) struct Prediction {
    pub(super) items: Vec<RunItem>,
    pub(super) secrets: Secrets,
    /// The users whom root trusts with the way to its files.
    pub(super) trusted_owners: TrustedOwners,
}

/// Predicts what a deploy will do. `Err` holds questions that are still open; ask them and try again.
pub(super) fn predict(inputs: &HostInputs<'_>, facts: &Value, answers: &Answers) -> Result<Prediction, Questions> {
    let host = inputs.plan;
    let mut worlds = Worlds::new(facts.clone());
    let mut predictor = Predictor {
        host,
        answers,
        items: Vec::new(),
        secrets: Secrets::known(inputs, answers),
        planned: HashSet::new(),
        uncertain: HashSet::new(),
        notified: HashSet::new(),
        maybe_notified: HashSet::new(),
        first_of_role: 0,
        changing: HashSet::new(),
    };
    match walk(&host.roles, &mut worlds, &mut predictor) {
        Ok(()) | Err(Stop::Failed) => {
            let trusted_owners = host.trusted_owners.clone();
            Ok(Prediction { items: predictor.items, secrets: predictor.secrets, trusted_owners })
        }
        Err(Stop::Open) => {
            let mut open = questions(host, Scope::Everything, &worlds);
            open.without(answers);
            Err(open)
        }
    }
}

/// Why a prediction goes no further.
enum Stop {
    /// An item fails; it is the last one.
    Failed,
    /// A question has not been asked yet.
    Open,
}

/// Walks the tasks and handlers of all roles, then all health checks: an unhealthy role must not keep another from being deployed.
struct Predictor<'a> {
    host: &'a HostPlan,
    answers: &'a Answers,
    items: Vec<RunItem>,
    secrets: Secrets,
    /// Secrets that an earlier item creates.
    planned: HashSet<SecretId>,
    /// Registered results of the role's tasks whose outcome is unknown.
    uncertain: HashSet<String>,
    /// Handlers of the role that a change notifies.
    notified: HashSet<String>,
    /// Handlers of the role that a task with an unknown outcome notifies.
    maybe_notified: HashSet<String>,
    /// The index of the role's first item.
    first_of_role: usize,
    /// Roles that change something, or may do so.
    changing: HashSet<String>,
}

impl Visitor for Predictor<'_> {
    type Stop = Stop;

    fn role_begins(&mut self, _: &RolePlan) {
        self.uncertain.clear();
        self.notified.clear();
        self.maybe_notified.clear();
        self.first_of_role = self.items.len();
    }

    fn task(&mut self, step: &Step, _: &World, expanded: Result<Vec<Task>, Diagnostics>) -> Result<Value, Stop> {
        let (mut changed, mut unknown) = (false, false);
        let mut registered = None;
        let mut skipped = true;
        let depends_on = self.uncertain.iter().find(|register| step.mentions(register)).cloned();
        if let (Err(_), Some(register), Trust::Stranger) = (&expanded, &depends_on, self.host.trust) {
            // The stand-in for a result that is not asked for need not have a valid value.
            let head = item(
                ItemSubject::Task(String::new()),
                &format!("{}/{}", step.role(), step.name()),
                step.role(),
                step.name(),
                step.span(),
            );
            let predicted = Outcome::new(Status::Unknown, format!("depends on `{register}`, which is not known yet"));
            self.items.push(RunItem::new(head, ItemAction::Skipped, predicted));
            self.uncertain.extend(step.register().map(str::to_owned));
            return Ok(World::stand_in_result(true));
        }
        let expanded = expanded.map_err(|errors| {
            self.cannot_expand(ItemSubject::Task(String::new()), step.role(), step.name(), step.span(), &errors);
            Stop::Failed
        })?;
        for task in expanded {
            let handlers = task.notify.clone();
            let (status, value) = self.one_task(task, depends_on.as_deref())?;
            skipped &= status == Status::Skipped;
            if status == Status::Unknown {
                unknown = true;
                self.maybe_notified.extend(handlers);
                continue;
            }
            if status == Status::Changed {
                changed = true;
                self.notified.extend(handlers);
            }
            registered = registered.or(value);
        }
        if let Some(name) = step.register().filter(|_| unknown) {
            self.uncertain.insert(name.to_owned());
            if self.host.trust == Trust::Stranger {
                return Ok(World::stand_in_result(true));
            }
        }
        Ok(task_result(registered, changed, skipped))
    }

    fn handler(&mut self, step: &HandlerStep, expanded: Result<Handler, Diagnostics>) -> Result<(), Stop> {
        let handler = expanded.map_err(|errors| {
            self.cannot_expand(ItemSubject::Handler, step.role(), step.name(), step.span(), &errors);
            Stop::Failed
        })?;
        let head = item(ItemSubject::Handler, &handler.id, &handler.role, &handler.name, &handler.span);
        let notified = self.notified.contains(&handler.name);
        let left_over = due(&handler, self.answers).map_err(|error| {
            let predicted = untrusted::shown(self.host, Outcome::failed(error));
            self.items.push(RunItem::new(head.clone(), ItemAction::Skipped, predicted));
            Stop::Failed
        })?;
        // A handler that was not notified stays in the list: an unpredicted change may notify it.
        let predicted = match (notified, left_over) {
            (true, _) => Outcome::new(Status::Changed, "notified"),
            (false, Due::All) => Outcome::new(Status::Changed, "still pending from an earlier run"),
            (false, Due::Readiness) => Outcome::new(Status::Changed, "restarted by an earlier run, but not known to be ready"),
            (false, Due::Nothing) if self.maybe_notified.contains(&handler.name) => {
                Outcome::new(Status::Unknown, "runs if a task notifies it whose outcome is not known yet")
            }
            (false, Due::Nothing) => Outcome::new(Status::Ok, "not notified"),
        };
        let effect = Some(Effect::of_handler(&handler));
        let work = RunItem::new(head, ItemAction::Handler { handler, left_over: left_over != Due::Nothing }, predicted);
        self.items.push(RunItem { effect, ..work });
        Ok(())
    }

    fn role_ends(&mut self, role: &RolePlan) {
        if self.items[self.first_of_role..].iter().any(may_change) {
            self.changing.insert(role.name.clone());
        }
    }

    fn health(&mut self, step: &HealthStep, expanded: Result<Option<HealthItem>, Diagnostics>) -> Result<(), Stop> {
        let health = match expanded {
            Ok(Some(health)) => health,
            Ok(None) => return Ok(()),
            Err(errors) => {
                self.cannot_expand(ItemSubject::Health(String::new()), step.role(), step.name(), step.span(), &errors);
                return Ok(());
            }
        };
        match health.check {
            HealthAction::Read { check, .. } if check.monitoring_only() => {}
            HealthAction::Read { kind, check } => {
                let head = item(ItemSubject::Health(kind.to_owned()), &health.id, &health.role, &health.name, &health.span);
                if let Some(why) = untrusted::left_open(self.host, &check.secrets(), |ask| check.questions(ask)) {
                    self.items.push(RunItem::new(head, ItemAction::Skipped, Outcome::new(Status::Unknown, why)));
                    return Ok(());
                }
                self.require_answers(|ask| check.questions(ask))?;
                let predicted = if self.changing.is_empty() {
                    untrusted::shown(self.host, evaluate_health(check.as_ref(), &self.state()))
                } else {
                    Outcome::new(Status::Skipped, "checked after the changes are made")
                };
                self.items.push(RunItem::new(head, ItemAction::Health(check), predicted));
            }
            HealthAction::Exercise { kind, exercise } if self.changing.contains(&health.role) && !exercise.monitoring_only() => {
                let left_open = untrusted::left_open(self.host, &exercise.secrets(), |ask| exercise.questions(ask));
                if left_open.is_none() {
                    self.require_answers(|ask| exercise.questions(ask))?;
                }
                let head = item(ItemSubject::Health(kind.to_owned()), &health.id, &health.role, &health.name, &health.span);
                let predicted = Outcome::new(Status::Skipped, "exercised after the changes are made");
                self.items.push(RunItem::new(head, ItemAction::Exercise(exercise), predicted));
            }
            HealthAction::Exercise { .. } => {}
        }
        Ok(())
    }
}

impl Predictor<'_> {
    /// Predicts one task. `depends_on` names a registered result that this task uses and that is not known yet.
    fn one_task(&mut self, mut task: Task, depends_on: Option<&str>) -> Result<(Status, Option<Value>), Stop> {
        let head = item(ItemSubject::Task(task.kind.to_owned()), &task.id, &task.role, &task.name, &task.span);
        let action = std::mem::replace(&mut task.action, Action::Skip { reason: String::new() });
        if let Some(register) = depends_on {
            let predicted = Outcome::new(Status::Unknown, format!("depends on `{register}`, which is not known yet"));
            self.items.push(RunItem::new(head, ItemAction::Skipped, predicted));
            return Ok((Status::Unknown, None));
        }
        let resource = match action {
            Action::Skip { reason } => {
                self.items.push(RunItem::new(head, ItemAction::Skipped, Outcome::new(Status::Skipped, reason)));
                return Ok((Status::Skipped, None));
            }
            Action::Do(resource) => resource,
        };
        let used = resource.secrets();
        if let Some(why) = untrusted::left_open(self.host, &used, |ask| resource.questions(ask)) {
            self.items.push(RunItem::new(head, ItemAction::Skipped, Outcome::new(Status::Unknown, why)));
            return Ok((Status::Unknown, None));
        }
        self.require_resource_answers(resource.as_ref())?;
        self.plan_secrets(&used, &head)?;
        let planned_elsewhere = used.iter().find(|secret| self.secrets.is_planned(secret));
        let (mut effect, mut creates, mut can_go_back) = (None, None, false);
        let outcome = match planned_elsewhere {
            Some(secret) => Outcome::new(Status::Unknown, format!("unknown until `{}` has created `{secret}`", secret.host())),
            None => match self.evaluate(resource.as_ref(), &used) {
                Ok(change) => {
                    // The script may hold what the node's files hold, and so would its digest.
                    effect = Effect::new(&change.script, &task.notify).filter(|_| self.host.trust == Trust::Own);
                    let summary = match self.maker(&change) {
                        Some(maker) => format!("change, after `{}`", maker.item.name),
                        None => change.summary,
                    };
                    creates = change.creates;
                    can_go_back = change.writes.is_some();
                    Outcome { diff: change.diff, ..Outcome::new(Status::Changed, summary) }
                }
                Err(outcome) => outcome,
            },
        };
        let outcome = untrusted::shown(self.host, outcome);
        let registered = resource.register(&self.state());
        let status = outcome.status;
        let work = RunItem::new(head, ItemAction::Task(task, resource), outcome);
        self.items.push(RunItem { effect, creates, can_go_back, ..work });
        if status == Status::Failed { Err(Stop::Failed) } else { Ok((status, registered)) }
    }

    /// Predicts the change of a resource by its state at the beginning of the run. `Err` is the outcome if there is none.
    fn evaluate(&self, resource: &dyn Resource, used: &[SecretId]) -> Result<Change, Outcome> {
        let state = self.state();
        let earlier: Vec<&dyn Resource> = self.items.iter().filter(|work| work.pending()).filter_map(RunItem::resource).collect();
        let change = match judge(resource, &state, &earlier) {
            Err(unanswered) => return Err(Outcome::failed(unanswered.to_string())),
            Ok(Verdict::Refused(reason)) => return Err(Outcome::failed(reason)),
            Ok(Verdict::Converged { note }) => return Err(Outcome::new(Status::Ok, note.unwrap_or_default())),
            Ok(Verdict::Change(change)) => change,
            Ok(Verdict::Blocked { missing, change }) => {
                let missing: Vec<_> = missing.into_iter().filter(|missing| !self.may_come(missing)).collect();
                if !missing.is_empty() {
                    let error = format!("{}, and no earlier task creates it", do_not_exist(&missing));
                    return Err(Outcome::failed(error));
                }
                if let Some(reason) = resource.refuse(&state, &earlier).or_else(|| resource.cuts(&state, &earlier)) {
                    return Err(Outcome::failed(reason));
                }
                change
            }
        };
        let lost = |secret: &&SecretId| change.replaces && self.secrets.is_fresh(secret);
        if let Some(spec) = used.iter().find(lost).and_then(|secret| self.host.secrets.iter().find(|spec| *secret == spec.secret))
        {
            return Err(Outcome::failed(secrets::lost_message(spec)));
        }
        Ok(change)
    }

    /// Whether an earlier item may create what is missing.
    fn may_come(&self, missing: &Missing) -> bool {
        self.items.iter().any(|work| match work.resource() {
            _ if work.predicted.status == Status::Unknown => true,
            Some(resource) => work.pending() && resource.reach().may_create(missing),
            None => work.pending(),
        })
    }

    /// Returns the item of this run that creates the file which the change creates, too: compared with the node as it is, each looks like a
    /// creation.
    fn maker(&self, change: &Change) -> Option<&RunItem> {
        let path = change.creates.as_ref()?;
        self.items.iter().find(|work| work.pending() && work.creates.as_ref() == Some(path))
    }

    /// Plans the secrets that the next task uses and that do not exist yet.
    fn plan_secrets(&mut self, used: &[SecretId], head: &Item) -> Result<(), Stop> {
        for secret in used {
            let is_known = self.secrets.values.get(secret).is_some() || self.secrets.is_planned(secret);
            let unread = || format!("`{secret}` of `{}` was not read; this is a bug, please report it", secret.host());
            let problem = self.secrets.problem(secret).map(str::to_owned).or_else(|| (!is_known).then(unread));
            if let Some(problem) = problem.filter(|_| secret.host() != self.host.name) {
                let predicted = Outcome::failed(problem);
                self.items.push(RunItem::new(head.clone(), ItemAction::Skipped, predicted));
                return Err(Stop::Failed);
            }
            let Some(spec) = self.host.secrets.iter().find(|spec| *secret == spec.secret).cloned() else { continue };
            let id = format!("{}/secret {secret}", spec.role);
            let making = item(ItemSubject::Secret, &id, &spec.role, &spec.secret.name, &spec.span);
            let not_fetched = spec.outside.is_some() && self.secrets.provided(secret).is_none();
            let not_fetched = not_fetched.then_some("its value was not fetched from its source; this is a bug, please report it");
            if let Some(problem) = self.secrets.problem(secret).or(not_fetched) {
                let predicted = Outcome::failed(problem);
                self.items.push(RunItem::new(making, ItemAction::Skipped, predicted));
                return Err(Stop::Failed);
            }
            if self.planned.contains(secret) {
                continue;
            }
            let access_is_planned = self.items.iter().filter_map(RunItem::made_secret).any(|made| made.file == spec.file);
            if let Some(predicted) = secrets::plan(&spec, &self.secrets, access_is_planned) {
                self.planned.insert(secret.clone());
                self.items.push(RunItem::new(making, ItemAction::Secret(spec), predicted));
            }
        }
        Ok(())
    }

    fn state(&self) -> NodeState<'_> {
        NodeState { answers: self.answers, secrets: &self.secrets.values }
    }

    /// Stops if a question of the resource has no answer yet.
    fn require_resource_answers(&self, resource: &dyn Resource) -> Result<(), Stop> {
        self.require_answers(|ask| resource.questions(ask))
    }

    /// Stops if one of these questions has no answer yet.
    fn require_answers(&self, questions: impl FnOnce(&mut Questions)) -> Result<(), Stop> {
        let mut open = Questions::default();
        questions(&mut open);
        open.without(self.answers);
        if open.is_empty() { Ok(()) } else { Err(Stop::Open) }
    }

    /// Fails the item because of an error in the role's files that only shows with the node's real facts.
    fn cannot_expand(&mut self, subject: ItemSubject, role: &str, name: &str, span: &Span, errors: &Diagnostics) {
        let item = item(subject, &format!("{role}/{name}"), role, name, span);
        self.items.push(RunItem::new(item, ItemAction::Skipped, Outcome::failed(errors.render(false))));
    }
}

fn may_change(work: &RunItem) -> bool {
    work.pending() || work.predicted.status == Status::Unknown
}

/// Returns the part of a handler that is still pending, by its marks on the node.
pub(super) fn due(handler: &Handler, answers: &Answers) -> Result<Due, String> {
    let marks = answers.get::<Pending>(&()).map_err(|error| error.to_string())?;
    let unit = restarted_unit(handler);
    let started = match unit {
        Some(unit) => Some(answers.get::<Unit>(&unit.to_owned()).map_err(|error| error.to_string())?.started_at()),
        None => None,
    };
    Ok(marks.due(&handler.marks, unit.is_some(), started))
}

/// Evaluates a health check.
pub(super) fn evaluate_health(check: &dyn HealthCheck, state: &NodeState<'_>) -> Outcome {
    outcome_of(check.examine(state).map_err(|unanswered| unanswered.to_string()))
}

/// Returns the outcome of a health check or an exercise.
pub(super) fn outcome_of(found: Result<Finding, String>) -> Outcome {
    match found {
        Err(reason) | Ok(Finding::Unhealthy(reason)) => Outcome::failed(reason),
        Ok(Finding::Healthy(found)) => Outcome::new(Status::Ok, found),
        Ok(Finding::Warning { warning, found }) => Outcome { warning: Some(warning), ..Outcome::new(Status::Ok, found) },
        Ok(Finding::Skipped(reason)) => Outcome::new(Status::Skipped, reason),
    }
}
