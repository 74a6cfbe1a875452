//! What a deploy will do, worked out from answers alone: no I/O, no clock, and no idea whether this is a check.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    lending::Loans,
    secrets::{self, Secrets},
    work::{Body, Work, handler_questions, item, restarted_unit},
};
use crate::{
    event::{Item, ItemKind, Outcome, Status},
    plan::{Action, HealthCheck, HostPlan, RolePlan, Task, World},
    question::{
        Answers, Questions,
        path::{Look, PathState},
        pending::{self, Due, Pending},
        unit::Unit,
    },
    resource::{Is, Resource, Verdict},
    secret::SecretRef,
    source::{Diagnostics, Place},
};

/// The items of a host's run with what will come of each. Ends with the first that fails.
#[derive(Debug)]
pub(super) struct Prediction {
    pub(super) works: Vec<Work>,
    pub(super) secrets: Secrets,
}

/// Everything that has to be known about a host before its run can be predicted: with stand-in facts a guess, with real ones exact.
pub(super) fn questions(host: &HostPlan, world: &World) -> Questions {
    let mut ask = Questions::default();
    ask.ask::<Pending>(());
    for spec in host.secrets.iter().chain(&host.lent) {
        ask.ask::<PathState>(Look::content(&spec.file));
    }
    let mut world = world.clone();
    for role in &host.roles {
        for step in &role.steps {
            // What cannot be expanded yet may depend on an answer; the prediction itself tells.
            for task in step.expand(&world).unwrap_or_default() {
                if let Action::Do(resource) = &task.action {
                    resource.questions(&mut ask);
                }
            }
            if let Some(name) = step.register() {
                world.registers.entry(name.to_owned()).or_insert_with(|| World::stand_in_result(true));
            }
        }
        for handler in role.handlers.iter().filter_map(|step| step.expand(&world).ok()) {
            handler_questions(&handler, &mut ask);
        }
        for health in role.health.iter().filter_map(|step| step.expand(&world).ok().flatten()) {
            match &health.check {
                HealthCheck::Exercise { exercise, .. } => exercise.questions(&mut ask),
                HealthCheck::Read { resource, .. } => resource.questions(&mut ask),
            }
        }
    }
    ask
}

/// Works out what a deploy will do. `Err` holds questions that are still open; ask them and try again.
pub(super) fn predict(host: &HostPlan, loans: &Loans, facts: &Value, answers: &Answers) -> Result<Prediction, Questions> {
    let world = World { facts: facts.clone(), registers: indexmap::IndexMap::new() };
    let secrets = Secrets::known(host, loans, answers);
    let mut predictor =
        Predictor { host, answers, world, works: Vec::new(), secrets, planned: HashSet::new(), uncertain: HashSet::new() };
    match predictor.host() {
        Ok(()) | Err(Stop::Failed) => Ok(Prediction { works: predictor.works, secrets: predictor.secrets }),
        Err(Stop::Open) => {
            let mut open = questions(host, &predictor.world);
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

struct Predictor<'a> {
    host: &'a HostPlan,
    answers: &'a Answers,
    world: World,
    works: Vec<Work>,
    secrets: Secrets,
    /// Secrets that an item before the present one makes.
    planned: HashSet<SecretRef>,
    /// Results of tasks of which it is unknown what they will do.
    uncertain: HashSet<String>,
}

impl Predictor<'_> {
    /// All roles, then the health of all: what is unwell in one is no reason to leave another undone.
    fn host(&mut self) -> Result<(), Stop> {
        let mut done = Vec::new();
        for role in &self.host.roles {
            let first = self.works.len();
            self.world.registers.clear();
            self.uncertain.clear();
            self.role(role)?;
            done.push((role, self.world.registers.clone(), self.works[first..].iter().any(may_change)));
        }
        let changes = done.iter().any(|(_, _, changes)| *changes);
        let mut well = Ok(());
        for (role, registers, role_changes) in done {
            self.world.registers = registers;
            match self.health(role, changes, role_changes) {
                Ok(()) => {}
                Err(Stop::Open) => return Err(Stop::Open),
                Err(Stop::Failed) => well = Err(Stop::Failed),
            }
        }
        well
    }

    fn role(&mut self, role: &RolePlan) -> Result<(), Stop> {
        let (mut notified, mut perhaps): (HashSet<String>, HashSet<String>) = Default::default();
        for step in &role.steps {
            let (mut changed, mut unknown) = (false, false);
            let mut registered = None;
            let mut skipped = true;
            let rests_on = self.uncertain.iter().find(|register| step.mentions(register)).cloned();
            let expanded = step.expand(&self.world);
            for task in self.expanded(expanded, ItemKind::Task, &role.name, step.name(), Some(step.place()))? {
                let handlers = task.notify.clone();
                let (status, value) = self.task(task, rests_on.as_deref())?;
                skipped &= status == Status::Skipped;
                if status == Status::Unknown {
                    unknown = true;
                    perhaps.extend(handlers);
                    continue;
                }
                if status == Status::Changed {
                    changed = true;
                    notified.extend(handlers);
                }
                registered = registered.or(value);
            }
            if let Some(name) = step.register() {
                if unknown {
                    self.uncertain.insert(name.to_owned());
                }
                self.world
                    .registers
                    .insert(name.to_owned(), registered.unwrap_or_else(|| json!({ "changed": changed, "skipped": skipped })));
            }
        }
        self.handlers(role, &notified, &perhaps)
    }

    /// `rests_on` names a result that cannot be known yet and that decides about this task.
    fn task(&mut self, mut task: Task, rests_on: Option<&str>) -> Result<(Status, Option<Value>), Stop> {
        let head = item(ItemKind::Task, &task.id, &task.role, &task.name, task.kind, &task.place);
        let action = std::mem::replace(&mut task.action, Action::Skip { reason: String::new() });
        if let Some(register) = rests_on {
            let predicted = Outcome::new(Status::Unknown, format!("depends on `{register}`, which is not known yet"));
            self.works.push(Work { item: head, body: Body::Skipped, predicted });
            return Ok((Status::Unknown, None));
        }
        let resource = match action {
            Action::Skip { reason } => {
                self.works.push(Work { item: head, body: Body::Skipped, predicted: Outcome::new(Status::Skipped, reason) });
                return Ok((Status::Skipped, None));
            }
            Action::Do(resource) => resource,
        };
        self.answered(resource.as_ref())?;
        let used = resource.secrets();
        self.plan_secrets(&used, &head)?;
        let coming = used.iter().find(|secret| self.secrets.is_coming(secret));
        let outcome = match coming {
            Some(SecretRef { host, name }) => Outcome::new(Status::Unknown, format!("until `{host}` has made `{name}`")),
            None => self.judge(resource.as_ref(), &used),
        };
        let registered = resource.register(&self.is());
        let status = outcome.status;
        self.works.push(Work { item: head, body: Body::Task(task, resource), predicted: outcome });
        if status == Status::Failed { Err(Stop::Failed) } else { Ok((status, registered)) }
    }

    /// What comes of a resource, compared with the beginning of the run.
    fn judge(&self, resource: &dyn Resource, used: &[SecretRef]) -> Outcome {
        let is = self.is();
        let change = match resource.compare(&is) {
            Err(unanswered) => return Outcome::failed(unanswered.to_string()),
            Ok(Verdict::Refused(reason)) => return Outcome::failed(reason),
            Ok(Verdict::Converged { note }) => return Outcome::new(Status::Ok, note.unwrap_or_default()),
            Ok(Verdict::Change(change)) => change,
            Ok(Verdict::Blocked { missing, change }) => {
                if !self.works.iter().any(|work| work.pending() || work.predicted.status == Status::Unknown) {
                    return Outcome::failed(format!("{missing} is not there, and no task before this one provides it"));
                }
                change
            }
        };
        let lost = |secret: &&SecretRef| change.replaces && self.secrets.is_fresh(secret);
        if let Some(spec) = used.iter().find(lost).and_then(|secret| self.host.secrets.iter().find(|spec| &spec.secret == secret))
        {
            return Outcome::failed(secrets::lost(spec));
        }
        let earlier: Vec<&dyn Resource> = self.works.iter().filter(|work| work.pending()).filter_map(Work::resource).collect();
        if let Some(reason) = resource.refuse(&is, &earlier) {
            return Outcome::failed(reason);
        }
        Outcome { diff: change.diff, ..Outcome::new(Status::Changed, change.summary) }
    }

    /// Plans the secrets that the next task uses and that do not exist yet.
    fn plan_secrets(&mut self, used: &[SecretRef], head: &Item) -> Result<(), Stop> {
        for secret in used {
            let is_there = self.secrets.values.get(secret).is_some() || self.secrets.is_coming(secret);
            let unread = || format!("`{}` of `{}` was not read; this is a bug, please report it", secret.name, secret.host);
            let problem = self.secrets.problem(secret).map(str::to_owned).or_else(|| (!is_there).then(unread));
            if let Some(problem) = problem.filter(|_| secret.host != self.host.name) {
                let predicted = Outcome::failed(problem);
                self.works.push(Work { item: head.clone(), body: Body::Skipped, predicted });
                return Err(Stop::Failed);
            }
            let Some(spec) = self.host.secrets.iter().find(|spec| &spec.secret == secret).cloned() else { continue };
            let id = format!("{}/secret {}", spec.role, secret.name);
            let making = item(ItemKind::Secret, &id, &spec.role, &secret.name, "secret", &spec.place);
            let not_fetched = spec.outside.is_some() && self.secrets.given(secret).is_none();
            let not_fetched = not_fetched.then_some("its value was not fetched from outside; this is a bug, please report it");
            if let Some(problem) = self.secrets.problem(secret).or(not_fetched) {
                let predicted = Outcome::failed(problem);
                self.works.push(Work { item: making, body: Body::Skipped, predicted });
                return Err(Stop::Failed);
            }
            if let Some(summary) = secrets::plan(&spec, &self.secrets)
                && self.planned.insert(secret.clone())
            {
                let diff = secrets::diff(&spec, self.secrets.given(secret));
                let predicted = Outcome { diff, ..Outcome::new(Status::Changed, summary) };
                self.works.push(Work { item: making, body: Body::Secret(spec), predicted });
            }
        }
        Ok(())
    }

    fn handlers(&mut self, role: &RolePlan, notified: &HashSet<String>, perhaps: &HashSet<String>) -> Result<(), Stop> {
        for step in &role.handlers {
            let expanded = step.expand(&self.world);
            let handler = self.expanded(expanded, ItemKind::Handler, &role.name, step.name(), None)?;
            let mark = pending::mark_name(&handler.role, &handler.name);
            let head = item(ItemKind::Handler, &handler.id, &handler.role, &handler.name, "handler", &handler.place);
            let now = notified.contains(&handler.name);
            match (now, due(&handler, &mark, self.answers)) {
                (_, Err(error)) => {
                    let predicted = Outcome::failed(error);
                    self.works.push(Work { item: head, body: Body::Skipped, predicted });
                    return Err(Stop::Failed);
                }
                (now, Ok(left_over)) => {
                    // One that is not due stays in the list all the same: a change that nobody predicted may notify it.
                    let predicted = match (now, left_over) {
                        (true, _) => Outcome::new(Status::Changed, "notified"),
                        (false, Due::All) => Outcome::new(Status::Changed, "still due from an earlier run"),
                        (false, Due::Readiness) => Outcome::new(Status::Changed, "not known to be ready since an earlier run"),
                        (false, Due::Nothing) if perhaps.contains(&handler.name) => {
                            Outcome::new(Status::Unknown, "if a task whose outcome is not known yet notifies it")
                        }
                        (false, Due::Nothing) => Outcome::new(Status::Ok, "not notified"),
                    };
                    self.works.push(Work { item: head, body: Body::Handler { handler, mark }, predicted });
                }
            }
        }
        Ok(())
    }

    fn health(&mut self, role: &RolePlan, changes: bool, role_changes: bool) -> Result<(), Stop> {
        let mut well = Ok(());
        for step in &role.health {
            let expanded = step.expand(&self.world);
            let Some(health) = self.expanded(expanded, ItemKind::Health, &role.name, step.name(), None)? else { continue };
            match health.check {
                HealthCheck::Read { resource, .. } if resource.not_of_a_deploy() => {}
                HealthCheck::Read { kind, resource } => {
                    let head = item(ItemKind::Health, &health.id, &health.role, &health.name, kind, &health.place);
                    self.answered(resource.as_ref())?;
                    let predicted = if changes {
                        Outcome::new(Status::Skipped, "asked once the changes are made")
                    } else {
                        judge_health(resource.as_ref(), &self.is())
                    };
                    let failed = predicted.status == Status::Failed;
                    self.works.push(Work { item: head, body: Body::Health(resource), predicted });
                    if failed {
                        well = Err(Stop::Failed);
                    }
                }
                HealthCheck::Exercise { kind, exercise } if role_changes && !exercise.not_of_a_deploy() => {
                    self.known(|ask| exercise.questions(ask))?;
                    let head = item(ItemKind::Health, &health.id, &health.role, &health.name, kind, &health.place);
                    let predicted = Outcome::new(Status::Skipped, "exercised once the changes are made");
                    self.works.push(Work { item: head, body: Body::Exercise(exercise), predicted });
                }
                HealthCheck::Exercise { .. } => {}
            }
        }
        well
    }

    fn is(&self) -> Is<'_> {
        Is { answers: self.answers, secrets: &self.secrets.values }
    }

    /// Whether all that a resource asks was asked.
    fn answered(&self, resource: &dyn Resource) -> Result<(), Stop> {
        self.known(|ask| resource.questions(ask))
    }

    /// Whether these questions were asked.
    fn known(&self, questions: impl FnOnce(&mut Questions)) -> Result<(), Stop> {
        let mut open = Questions::default();
        questions(&mut open);
        open.without(self.answers);
        if open.is_empty() { Ok(()) } else { Err(Stop::Open) }
    }

    /// What turns out to be wrong with the role's files only now, with the node's real facts, fails the item.
    fn expanded<T>(
        &mut self,
        expanded: Result<T, Diagnostics>,
        kind: ItemKind,
        role: &str,
        name: &str,
        place: Option<&Place>,
    ) -> Result<T, Stop> {
        expanded.map_err(|errors| {
            let place = place.or_else(|| errors.0.first().and_then(|error| error.place.as_ref()));
            let (file, line) = place.map(|place| (place.file.shown.clone(), place.line_col().0)).unwrap_or_default();
            let id = format!("{role}/{name}");
            let (role, name, resource) = (role.to_owned(), name.to_owned(), String::new());
            let item = Item { id, kind, role, name, resource, file, line };
            self.works.push(Work { item, body: Body::Skipped, predicted: Outcome::failed(errors.render(false)) });
            Stop::Failed
        })
    }
}

fn may_change(work: &Work) -> bool {
    work.pending() || work.predicted.status == Status::Unknown
}

/// What is due of a handler by its mark on the node.
pub(super) fn due(handler: &crate::plan::Handler, mark: &str, answers: &Answers) -> Result<Due, String> {
    let marks = answers.get::<Pending>(&()).map_err(|error| error.to_string())?;
    let unit = restarted_unit(handler);
    let started = match unit {
        Some(unit) => Some(answers.get::<Unit>(&unit.to_owned()).map_err(|error| error.to_string())?.started_at()),
        None => None,
    };
    Ok(marks.due(mark, unit.is_some(), started))
}

/// Healthy is converged; anything else is unhealthy, in the resource's own words.
pub(super) fn judge_health(resource: &dyn Resource, is: &Is<'_>) -> Outcome {
    match resource.skipped(is) {
        Err(unanswered) => return Outcome::failed(unanswered.to_string()),
        Ok(Some(reason)) => return Outcome::new(Status::Skipped, reason),
        Ok(None) => {}
    }
    match resource.compare(is) {
        Err(unanswered) => Outcome::failed(unanswered.to_string()),
        Ok(Verdict::Converged { note }) => Outcome::new(Status::Ok, note.unwrap_or_default()),
        Ok(Verdict::Refused(reason)) => Outcome::failed(reason),
        Ok(Verdict::Change(change)) => Outcome::failed(change.summary),
        Ok(Verdict::Blocked { missing, .. }) => Outcome::failed(format!("{missing} is not there")),
    }
}
