//! Health alone: every check that reads and, where asked for, every exercise, whether or not one before it fails. Nothing is declared here, so
//! nothing is written.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    apply::exercised,
    host::quiet_end,
    lending::Loans,
    prediction::judge_health,
    redact::redacted,
    secrets::Secrets,
    send,
    strangers::{self, Declared},
    work::item,
};
use crate::{
    event::{Event, HostEnd, HostStatus, Item, ItemKind, Mode, Outcome, Status},
    health::{Exercise, listening::declared_port},
    plan::{Action, HealthCheck, HostPlan, Step, World},
    question::{
        Answers, Questions,
        path::{Look, PathState},
    },
    resource::Is,
    transport::Channel,
};

/// The health items of a host: those that read are judged, exercises are still to come.
#[derive(Debug)]
pub(super) struct Checkup {
    items: Vec<(Item, Finding)>,
    secrets: Secrets,
}

#[derive(Debug)]
enum Finding {
    Judged(Outcome),
    Exercise(Box<dyn Exercise>),
}

/// Everything that has to be known about a host before its health can be judged: with stand-in facts a guess, with real ones exact.
pub(super) fn questions(host: &HostPlan, world: &World) -> Questions {
    let mut ask = Questions::default();
    for spec in host.secrets.iter().chain(&host.lent) {
        ask.ask::<PathState>(Look::content(&spec.file));
    }
    let mut world = world.clone();
    for role in &host.roles {
        for (name, step) in registering(&role.steps) {
            for task in step.expand(&world).unwrap_or_default() {
                if let Action::Do(resource) = &task.action {
                    resource.questions(&mut ask);
                }
            }
            world.registers.entry(name.to_owned()).or_insert_with(|| World::stand_in_result(true));
        }
        for health in role.health.iter().filter_map(|step| step.expand(&world).ok().flatten()) {
            match &health.check {
                HealthCheck::Read { resource, .. } => resource.questions(&mut ask),
                HealthCheck::Exercise { exercise, .. } => exercise.questions(&mut ask),
            }
        }
    }
    ask
}

/// Judges what can be read. `Err` holds questions that are still open; ask them and try again.
pub(super) fn check(host: &HostPlan, loans: &Loans, facts: &Value, answers: &Answers) -> Result<Checkup, Questions> {
    let mut world = World { facts: facts.clone(), registers: indexmap::IndexMap::new() };
    let secrets = Secrets::known(host, loans, answers);
    let is = Is { answers, secrets: &secrets.values };
    let mut items = Vec::new();
    let mut open = Questions::default();
    let mut declared = Declared::default();
    for role in &host.roles {
        for (name, step) in registering(&role.steps) {
            let mut registered = None;
            for task in step.expand(&world).unwrap_or_default() {
                if let Action::Do(resource) = &task.action {
                    resource.questions(&mut open);
                    registered = registered.or(resource.register(&is));
                }
            }
            // Nothing is changed here, so nothing that a change registers can say that it was.
            world.registers.insert(name.to_owned(), registered.unwrap_or_else(|| json!({ "changed": false })));
        }
        for step in &role.health {
            let health = match step.expand(&world) {
                Ok(Some(health)) => health,
                Ok(None) => continue,
                Err(errors) => {
                    let id = format!("{}/{}", role.name, step.name());
                    let head = item(ItemKind::Health, &id, &role.name, step.name(), "", step.place());
                    items.push((head, Finding::Judged(Outcome::failed(errors.render(false)))));
                    continue;
                }
            };
            let head = |kind| item(ItemKind::Health, &health.id, &health.role, &health.name, kind, &health.place);
            items.push(match health.check {
                HealthCheck::Read { kind, resource } => {
                    resource.questions(&mut open);
                    if let Some(port) = declared_port(resource.as_ref()) {
                        declared.ports.push(port);
                        declared.place.get_or_insert_with(|| health.place.clone());
                    }
                    (head(kind), Finding::Judged(judge_health(resource.as_ref(), &is)))
                }
                HealthCheck::Exercise { kind, exercise } => {
                    exercise.questions(&mut open);
                    let finding = match (exercise.skipped(&is), lacking(exercise.as_ref(), host, &secrets)) {
                        (Err(unanswered), _) => Finding::Judged(Outcome::failed(unanswered.to_string())),
                        (Ok(Some(reason)), _) => Finding::Judged(Outcome::new(Status::Skipped, reason)),
                        (Ok(None), Some(reason)) => Finding::Judged(Outcome::failed(reason)),
                        (Ok(None), None) => Finding::Exercise(exercise),
                    };
                    (head(kind), finding)
                }
            });
        }
    }
    if let Some((item, outcome)) = strangers::judged(&declared, &host.open_ports, &is, &mut open) {
        items.push((item, Finding::Judged(outcome)));
    }
    open.without(answers);
    if open.is_empty() { Ok(Checkup { items, secrets }) } else { Err(open) }
}

/// The steps whose results health checks may use, by the results' names.
fn registering(steps: &[Step]) -> impl Iterator<Item = (&str, &Step)> {
    steps.iter().filter_map(|step| step.register().map(|name| (name, step)))
}

/// Why an exercise cannot be done for want of a secret.
fn lacking(exercise: &dyn Exercise, host: &HostPlan, secrets: &Secrets) -> Option<String> {
    exercise.secrets().iter().find_map(|secret| {
        if let Some(problem) = secrets.problem(secret) {
            return Some(problem.to_owned());
        }
        let file = host.secrets.iter().find(|spec| &spec.secret == secret).map_or("its file", |spec| spec.file.as_str());
        secrets
            .is_fresh(secret)
            .then(|| format!("`{}` is not in `{file}`: nothing was deployed yet, or it was lost", secret.name))
    })
}

impl Checkup {
    /// What is known of the host's secrets.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Tells what was judged, and exercises where `mode` is [`Mode::Exercise`].
    pub(super) async fn run<C: Channel>(
        self,
        host: &str,
        mode: Mode,
        channel: &mut C,
        events: &UnboundedSender<Event>,
    ) -> HostEnd {
        let mut end = quiet_end();
        for (item, finding) in self.items {
            let outcome = match finding {
                Finding::Exercise(exercise) if mode != Mode::Exercise && !exercise.not_of_a_deploy() => continue,
                Finding::Judged(outcome) => outcome,
                Finding::Exercise(exercise) => {
                    send(events, Event::ItemStarted { host: host.to_owned(), item: item.clone() });
                    let begun = Instant::now();
                    let came = exercised(exercise.run(channel.tunnel().as_ref(), &self.secrets.values).await);
                    Outcome { duration: begun.elapsed(), ..came }
                }
            };
            let outcome = redacted(outcome, &self.secrets.values);
            if outcome.status == Status::Failed {
                end.status = HostStatus::Failed;
            }
            send(events, Event::ItemFinished { host: host.to_owned(), item, outcome });
        }
        end
    }
}
