//! Sends the events of one host, and keeps what its end says about an interrupted run: what was done, what is left, and what is owed.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::{
    redact::{redact, redacted, redacted_facts},
    secrets::Secrets,
    work::{ItemAction, RunItem},
};
use crate::{
    event::{Counts, EventBody, HostEnd, HostResult, Item, Outcome, Planned, PlannedItem, Sink, Status},
    plan::HandlerAction,
    secret::SecretValues,
    transport::Waits,
};

/// The events of one host.
pub(super) struct HostEvents {
    host: String,
    sink: Sink,
    begun: OnceLock<Instant>,
    waits: Waits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Counts,
    steps: Vec<Step>,
    running: Option<Running>,
    unknown: Option<String>,
    /// Whether the item whose outcome is not known goes on as a job.
    goes_on: bool,
    is_applying: bool,
    facts: Option<Map<String, Value>>,
}

/// What runs on the node at this moment.
struct Running {
    /// Its index in the plan.
    step: Option<usize>,
    item: Item,
    since: Instant,
    /// Whether the node finishes it by itself when the link is lost.
    is_job: bool,
}

/// An item of the plan.
struct Step {
    id: String,
    /// The role, and for a handler its name.
    role: String,
    handler: Option<String>,
    /// Whether a change is planned.
    is_planned: bool,
    /// Whether an earlier run has notified the handler.
    was_owed: bool,
    notifies: Vec<String>,
    done: Option<Status>,
}

impl HostEvents {
    pub(super) fn new(host: &str, sink: Sink) -> Self {
        Self { host: host.to_owned(), sink, begun: OnceLock::new(), waits: Waits::default(), state: Mutex::default() }
    }

    /// Starts the clock of the host: it is worked on from now on.
    pub(super) fn begins(&self) {
        let _ = self.begun.set(Instant::now());
    }

    /// The time that the host waits for others meanwhile. Its own does not include that.
    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Reports a stage of the run on this host.
    pub(super) fn progress(&self, text: &str) {
        self.sink.send(EventBody::HostProgress { host: self.host.clone(), text: text.to_owned() });
    }

    /// Reports the prediction. `is_applied` says whether the changes are made now.
    pub(super) fn planned(&self, items: &[RunItem], secrets: &Secrets, holder: Option<&str>, is_applied: bool) {
        let mut state = self.state();
        state.steps = items.iter().map(step).collect();
        state.is_applying = is_applied;
        drop(state);
        let planned = Box::new(view(items, &secrets.values, holder));
        self.sink.send(EventBody::HostPlanned { host: self.host.clone(), planned });
    }

    /// Notes the node's facts for the end of the host, as soon as the secrets are known that they might repeat.
    pub(super) fn learned(&self, facts: Option<&Value>, values: &SecretValues) {
        self.state().facts = facts.and_then(Value::as_object).map(|facts| redacted_facts(facts, values));
    }

    /// Whether changes are being made, so that an item may be in the middle of its change.
    pub(super) fn is_applying(&self) -> bool {
        self.state().is_applying
    }

    /// Reports that an item has started to work on the node.
    ///
    /// `is_job` says whether the node finishes it by itself when the link is lost.
    pub(super) fn started(&self, step: usize, item: &Item, is_job: bool) {
        self.running(Some(step), item, is_job);
    }

    /// Reports that an item that is not of the plan has started to work on the node.
    pub(super) fn started_beside_the_plan(&self, item: &Item) {
        self.running(None, item, false);
    }

    fn running(&self, step: Option<usize>, item: &Item, is_job: bool) {
        self.state().running = Some(Running { step, item: item.clone(), since: Instant::now(), is_job });
        self.sink.send(EventBody::ItemStarted { host: self.host.clone(), item: item.clone() });
    }

    /// Reports a line of the running item's output. Secrets are masked.
    pub(super) fn output(&self, id: &str, line: &str, values: &SecretValues) {
        let text = redact(line, values);
        self.sink.send(EventBody::ItemOutput { host: self.host.clone(), id: id.to_owned(), text });
    }

    /// Reports the result of an item of the plan.
    pub(super) fn finished(&self, index: usize, work: &RunItem, outcome: Outcome, values: &SecretValues) {
        {
            let mut state = self.state();
            state.running = None;
            if let Some(step) = state.steps.get_mut(index) {
                step.done = Some(outcome.status);
            }
        }
        if work.is_reported(outcome.status) {
            let outcome = redacted(work.without_hidden_output(outcome), values);
            self.finished_item(&work.item, outcome);
        }
    }

    /// Reports the result of an item. Its texts are masked already.
    pub(super) fn finished_item(&self, item: &Item, outcome: Outcome) {
        let progress = {
            let mut state = self.state();
            state.running = None;
            state.counts.add(outcome.status);
            state.counts.warnings += usize::from(outcome.warning.is_some());
            state.is_applying.then(|| {
                let planned = state.steps.iter().filter(|step| step.is_planned);
                planned.fold((0, 0), |(done, of), step| (done + usize::from(step.done.is_some()), of + 1))
            })
        };
        self.sink.send(EventBody::ItemFinished { host: self.host.clone(), item: item.clone(), outcome, progress });
    }

    /// Ends the host. If an item is still running, its outcome is not known; `why` says how it was interrupted.
    pub(super) fn end(&self, result: HostResult, why: &str) -> HostEnd {
        let running = self.state().running.take();
        if let Some(Running { step, item, since, is_job }) = running {
            {
                let mut state = self.state();
                state.unknown = Some(item.id.clone());
                state.goes_on = is_job;
                if let Some(step) = step.and_then(|index| state.steps.get_mut(index)) {
                    step.done = Some(Status::Unknown);
                }
            }
            self.finished_item(&item, Outcome { duration: since.elapsed(), ..Outcome::unknown(why) });
        }
        let state = self.state();
        let owed: Vec<String> = state.steps.iter().filter(|step| state.is_owed(step)).map(|step| step.id.clone()).collect();
        let is_left = |step: &&Step| state.is_applying && step.is_planned && step.done.is_none() && !owed.contains(&step.id);
        HostEnd {
            counts: Counts { unreachable: usize::from(matches!(result, HostResult::Unreachable { .. })), ..state.counts },
            left: state.steps.iter().filter(is_left).map(|step| step.id.clone()).collect(),
            unknown: state.unknown.clone(),
            attach: state.goes_on.then(|| self.sink.run().to_string()),
            facts: state.facts.clone(),
            duration: self.elapsed(),
            owed,
            ..HostEnd::new(result)
        }
    }

    /// Reports the end of the host.
    pub(super) fn host_finished(&self, end: HostEnd) {
        self.sink.send(EventBody::HostFinished { host: self.host.clone(), end: Box::new(end) });
    }

    fn elapsed(&self) -> Duration {
        self.begun.get().map_or(Duration::ZERO, Instant::elapsed).saturating_sub(self.waits.total())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic leaves behind is still good enough for the report of that panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a handler has still to run: an earlier run or a change of this one has notified it. The mark of a change is made before the
    /// change, so an interrupted one counts.
    fn is_owed(&self, handler: &Step) -> bool {
        let Some(name) = handler.handler.as_ref().filter(|_| self.is_applying && handler.done.is_none()) else { return false };
        let notifies = |step: &Step| {
            matches!(step.done, Some(Status::Changed | Status::Unknown))
                && step.role == handler.role
                && step.notifies.contains(name)
        };
        handler.was_owed || self.steps.iter().any(notifies)
    }
}

fn step(work: &RunItem) -> Step {
    let (handler, was_owed, notifies) = match &work.body {
        ItemAction::Task(task, _) => (None, false, task.notify.clone()),
        ItemAction::Handler { handler, left_over } => (Some(handler.name.clone()), *left_over, Vec::new()),
        ItemAction::Secret(_) | ItemAction::Skipped | ItemAction::Health(_) | ItemAction::Exercise(_) => {
            (None, false, Vec::new())
        }
    };
    let (id, role) = (work.item.id.clone(), work.item.role.clone());
    Step { id, role, handler, is_planned: work.pending(), was_owed, notifies, done: None }
}

/// Returns the unit that a handler restarts.
fn restarted(action: &HandlerAction) -> Option<&String> {
    match action {
        HandlerAction::Restart(unit) | HandlerAction::RestartIfRunning(unit) => Some(unit),
        HandlerAction::Reload(_) | HandlerAction::Command(_) => None,
    }
}

/// Returns the public view of a prediction.
fn view(items: &[RunItem], values: &SecretValues, holder: Option<&str>) -> Planned {
    let mut planned = Planned { holder: holder.map(str::to_owned), ..Planned::default() };
    for work in items.iter().filter(|work| work.is_reported(work.predicted.status)) {
        let outcome = redacted(work.without_hidden_output(work.predicted.clone()), values);
        let digest = work.digest(&outcome);
        planned.items.push(PlannedItem { item: work.item.clone(), outcome, digest });
        if let ItemAction::Handler { handler, .. } = &work.body
            && let Some(unit) = restarted(&handler.action)
            && work.pending()
            && !planned.restarts.contains(unit)
        {
            planned.restarts.push(unit.clone());
        }
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_host_starts_with_its_turn() {
        let events = HostEvents::new("n", Sink::new("r1".parse().unwrap(), jiff::Timestamp::now));
        let took = || events.end(HostResult::Ok, "").duration;
        assert_eq!(took(), Duration::ZERO);
        let begun = Instant::now();
        events.begins();
        while took().is_zero() {
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not run");
        }
        assert!(took() <= begun.elapsed());
    }

    #[test]
    fn the_plan_names_every_unit_that_a_handler_may_restart() {
        let unit = || "x.service".to_owned();
        for action in [HandlerAction::Restart(unit()), HandlerAction::RestartIfRunning(unit())] {
            assert_eq!(restarted(&action), Some(&unit()), "{action:?}");
        }
        for action in [HandlerAction::Reload(unit()), HandlerAction::Command("true".to_owned())] {
            assert_eq!(restarted(&action), None, "{action:?}");
        }
    }
}
