//! Makes the predicted changes, one round trip each, and asks again before and after each of them.
//!
//! The frame of a change carries: the marks of the handlers that it notifies, the change, the marks again, and the questions of every item
//! from this one to the next pending one, so that the change is verified and the next one evaluated without another round trip.
//! The last frame asks for everything once more, to find changes that were undone.

mod freshness;
mod proof;
mod secret;
mod transactions;
mod way_in;

use std::time::{Duration, Instant};

use rand::rngs::SysError;

use super::{
    checkup::exercised,
    host_events::HostEvents,
    prediction::{due, evaluate_health},
    ready::until_ready,
    round::{HostError, NotAsked, QuestionRound},
    secrets::Secrets,
    stop::StopSignal,
    way_in::Entrance,
    work::{ItemAction, RunItem},
};
use crate::{
    event::{HostResult, Outcome, Status},
    plan::{Handler, HandlerAction, Task},
    question::{
        Answers, Questions, Unanswered,
        pending::{self, Due, Pending},
        unit_files,
        way::TrustedOwners,
    },
    resource::{Change, NodeState, Resource, Verdict, do_not_exist, judge, unit_functions},
    script::Script,
    secret::SecretValues,
    transport::{Channel, Frame, LinkError, Step, StepError, StepOutput},
};

use freshness::Freshness;
use transactions::Transactions;
use way_in::WayIn;

/// How long a restart may take: a server with much data reads it all before it is ready.
const RESTART_LIMIT: Duration = Duration::from_mins(10);

/// The result of an apply.
pub(super) struct End {
    pub(super) result: HostResult,
    pub(super) unpredicted: Vec<String>,
}

/// A host while it is being changed.
pub(super) struct ApplyRun<'a> {
    items: &'a [RunItem],
    secrets: Secrets,
    trusted_owners: TrustedOwners,
    answers: Answers,
    events: &'a HostEvents,
    freshness: Freshness,
    transactions: Transactions<'a>,
    way_in: WayIn<'a>,
    outcomes: Vec<Status>,
}

/// Why an item failed. A failure ends the run of its host.
enum Failure {
    Link(LinkError),
    Item(String),
}

/// What goes with a change, durably.
struct Before {
    /// The scripts that keep copies of what it changes.
    copies: Vec<Script>,
    /// The marks of the handlers that it notifies.
    marks: Vec<String>,
    /// The script that comes right after it, because it is to stay.
    accept: Option<Script>,
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self::Item(error.to_string())
    }
}

impl From<SysError> for Failure {
    fn from(error: SysError) -> Self {
        NotAsked::from(error).into()
    }
}

impl From<NotAsked> for Failure {
    fn from(error: NotAsked) -> Self {
        Self::Item(error.to_string())
    }
}

impl<'a> ApplyRun<'a> {
    pub(super) fn new(
        items: &'a [RunItem],
        secrets: Secrets,
        trusted_owners: TrustedOwners,
        answers: Answers,
        events: &'a HostEvents,
        entrance: Option<&'a dyn Entrance>,
    ) -> Self {
        let transactions = Transactions::new(items, &answers);
        let way_in = WayIn::new(items, &answers, entrance);
        let freshness = Freshness::new(items.len());
        Self { items, secrets, trusted_owners, answers, events, freshness, transactions, way_in, outcomes: Vec::new() }
    }
}

/// Works through all items in order, until the run is asked to end.
pub(super) async fn run<C: Channel>(host: &mut ApplyRun<'_>, channel: &mut C, stop: &StopSignal) -> Result<End, HostError> {
    let mut result = HostResult::Ok;
    for index in 0..host.items.len() {
        if stop.is_requested() {
            return Ok(host.end(HostResult::Interrupted));
        }
        let begun = Instant::now();
        let mut outcome = match host.item(index, channel).await {
            Ok(outcome) => outcome,
            // Whether the change was made before the link was lost is not known: the end of the host says so.
            Err(Failure::Link(error)) => {
                let outcome = host.wait_for_way_in(index, error).await?;
                host.report(index, Outcome { duration: begun.elapsed(), ..outcome });
                return Ok(host.end(HostResult::Failed { error: None }));
            }
            Err(Failure::Item(error)) => Outcome::failed(error),
        };
        let mut lost = None;
        if outcome.status == Status::Failed {
            let error = outcome.error.take().unwrap_or_default();
            let (error, link) = host.go_back(index, error, channel).await;
            (outcome.error, lost) = (Some(error), link);
        }
        if let Some(error) = lost.take_if(|_| host.way_in.armed) {
            outcome = host.wait_for_way_in(index, error).await?;
        } else if lost.is_none() {
            outcome = match host.prove(index, outcome, channel).await {
                Ok(outcome) => outcome,
                Err(lost) => host.wait_for_way_in(index, lost).await?,
            };
        }
        outcome.duration = begun.elapsed();
        let reached = outcome.status;
        host.report(index, outcome);
        if let Some(error) = lost {
            return Err(HostError::Link(error));
        }
        match reached {
            Status::Failed => return Ok(host.end(HostResult::Failed { error: None })),
            Status::Changed => result = HostResult::Changed,
            Status::Ok | Status::Skipped | Status::Unknown => {}
        }
    }
    if !host.freshness.is_complete() {
        host.ask_everything(channel).await?;
    }
    let undone = host.undone();
    if undone.is_empty() {
        host.settle(channel).await?;
        return Ok(host.end(result));
    }
    let error = format!("no longer as declared at the end of the run: {}", undone.join(", "));
    let mut end = host.end(HostResult::Failed { error: Some(error) });
    end.unpredicted.extend(undone);
    Ok(end)
}

impl<'a> ApplyRun<'a> {
    /// Returns the secrets that are known now.
    pub(super) fn into_values(self) -> SecretValues {
        self.secrets.values
    }

    async fn item<C: Channel>(&mut self, index: usize, channel: &mut C) -> Result<Outcome, Failure> {
        if self.freshness.is_stale(index) {
            // The change before this one was already made, so no frame has asked this item's questions.
            self.ask(index, channel).await?;
        }
        let items: &'a [RunItem] = self.items;
        match &items[index].body {
            ItemAction::Skipped => Ok(items[index].predicted.clone()),
            ItemAction::Secret(spec) => self.secret(index, spec, channel).await,
            ItemAction::Task(task, resource) => self.task(index, task, resource.as_ref(), channel).await,
            ItemAction::Handler { handler, .. } => self.handler(index, handler, channel).await,
            ItemAction::Health(check) => Ok(evaluate_health(check.as_ref(), &self.state())),
            ItemAction::Exercise(exercise) => match exercise.skipped(&self.state()) {
                Err(unanswered) => Err(Failure::Item(unanswered.to_string())),
                Ok(Some(reason)) => Ok(Outcome::new(Status::Skipped, reason)),
                Ok(None) => Ok(exercised(exercise.as_ref(), channel.tunnel().as_ref(), &self.secrets.values).await),
            },
        }
    }

    async fn task<C: Channel>(
        &mut self,
        index: usize,
        task: &Task,
        resource: &dyn Resource,
        channel: &mut C,
    ) -> Result<Outcome, Failure> {
        let predicted = self.items[index].pending();
        let marks: Vec<String> = task.notify.iter().map(|handler| crate::values::mark_name(&task.role, handler)).collect();
        let unanswered = |error: Unanswered| Failure::Item(error.to_string());
        let change = match judge(resource, &self.state(), &[]).map_err(unanswered)? {
            Verdict::Converged { note } if predicted => {
                if !marks.is_empty() {
                    // Its handlers must run whichever task made the change. One restart too many does no harm.
                    self.frame(index, &[pending::mark(&marks)], Questions::default(), channel).await?;
                }
                let summary = note.unwrap_or_else(|| self.freshness.by(index));
                return Ok(Outcome { diff: self.items[index].predicted.diff.clone(), ..Outcome::new(Status::Changed, summary) });
            }
            Verdict::Converged { note } => return Ok(Outcome::new(Status::Ok, note.unwrap_or_default())),
            Verdict::Refused(reason) => return Err(Failure::Item(reason)),
            Verdict::Blocked { missing, .. } => return Err(Failure::Item(do_not_exist(&missing))),
            Verdict::Change(change) => change,
        };
        let limit = task.timeout.unwrap_or_else(|| change.script.time_limit());
        let script = change.script.clone().limit(limit);
        let armed = self.way_in.arm_for_task(task, resource, self.items, &self.answers);
        let copies = armed.into_iter().chain(self.transactions.keep_for_task(task, &change)?).collect();
        let before = Before { copies, marks, accept: self.way_in.accept(task, resource) };
        let mut tries = 0;
        loop {
            match self.apply_change(index, resource, &before, &script, channel).await {
                Err(Failure::Item(error)) if tries < task.retries => {
                    tries += 1;
                    let why = if self.items[index].is_quiet() { String::new() } else { format!(": {error}") };
                    let text = format!("try {tries} of {} failed{why}", task.retries + 1);
                    self.events.output(&self.items[index].item.id, &text, &self.secrets.values);
                    tokio::time::sleep(task.delay).await;
                }
                Err(failure) => return Err(failure),
                Ok(()) => break,
            }
        }
        self.freshness.changed_by(task.name.as_str());
        if resource.may_satisfy_later_tasks() {
            self.note_done(index, &task.name);
        }
        let diff = if predicted { self.items[index].predicted.diff.clone() } else { change.diff };
        Ok(Outcome { diff, ..Outcome::new(Status::Changed, change.summary) })
    }

    /// Makes a change and verifies it, in one round trip.
    async fn apply_change<C: Channel>(
        &mut self,
        index: usize,
        resource: &dyn Resource,
        before: &Before,
        script: &Script,
        channel: &mut C,
    ) -> Result<(), Failure> {
        let Before { copies, marks, accept } = before;
        let mut scripts = copies.clone();
        if !marks.is_empty() {
            scripts.push(pending::mark(marks));
        }
        scripts.push(script.clone());
        // Otherwise systemd would go on with the old text, and a later task would wait for it.
        if resource.reach().path().is_some_and(|path| unit_files::is_unit_file(path.as_str())) {
            scripts.push(unit_functions::read_files());
        }
        scripts.extend(accept.clone());
        if !marks.is_empty() {
            scripts.push(pending::mark(marks));
        }
        let mut questions = Questions::default();
        resource.questions(&mut questions);
        if resource.may_satisfy_later_tasks() {
            self.items[index + 1..].iter().filter(|work| work.pending()).for_each(|work| work.questions(&mut questions));
        }
        self.frame(index, &scripts, questions, channel).await?;
        let because = match resource.compare(&self.state()).map_err(|error| Failure::Item(error.to_string()))? {
            Verdict::Converged { .. } => return Ok(()),
            Verdict::Change(Change { summary, .. }) => summary,
            Verdict::Blocked { missing, .. } => do_not_exist(&missing),
            Verdict::Refused(reason) => reason,
        };
        Err(Failure::Item(format!("applied without an error, but still not as declared: {because}")))
    }

    /// Remembers which later items a change has also satisfied.
    fn note_done(&mut self, index: usize, name: &str) {
        let done = |work: &RunItem| {
            matches!(work.resource().map(|resource| resource.compare(&self.state())), Some(Ok(Verdict::Converged { .. })))
        };
        let found: Vec<usize> =
            (index + 1..self.items.len()).filter(|later| self.items[*later].pending() && done(&self.items[*later])).collect();
        for later in found {
            self.freshness.satisfied(later, name);
        }
    }

    async fn handler<C: Channel>(&mut self, index: usize, handler: &Handler, channel: &mut C) -> Result<Outcome, Failure> {
        let remaining = due(handler, &self.answers).map_err(Failure::Item)?;
        let pending = self.answers.get::<Pending>(&()).map_err(|error| Failure::Item(error.to_string()))?;
        if remaining == Due::Nothing && !self.items[index].pending() {
            // A mark that says nothing any more costs a round trip, so it is removed by a run that changes something anyway.
            let void: Vec<_> = handler.marks.iter().filter(|mark| pending.marks.contains_key(*mark)).cloned().collect();
            if self.freshness.anything_changed() && !void.is_empty() {
                let scripts: Vec<Script> = void.iter().map(|mark| pending::unmark(mark)).collect();
                self.frame(index, &scripts, Questions::default(), channel).await?;
            }
            self.way_in.passed(handler);
            return Ok(self.items[index].predicted.clone());
        }
        let marks = pending.to_settle(&handler.marks);
        let mut scripts = Vec::new();
        if remaining == Due::All {
            scripts.extend(self.way_in.arm_for_handler(handler));
            scripts.push(match &handler.action {
                HandlerAction::Restart(unit) => unit_functions::restart(unit, RESTART_LIMIT),
                HandlerAction::RestartIfRunning(unit) => unit_functions::restart_if_running(unit, RESTART_LIMIT),
                HandlerAction::Reload(unit) => unit_functions::reload(unit),
                // The usual umask, as for a `command` task.
                HandlerAction::Command(command) => Script::new("umask 022\nexec /bin/sh -c \"$1\"").arg(command),
            });
        }
        if let Some(ready) = handler.ready.as_ref().filter(|_| remaining != Due::Nothing) {
            // From here on it is not restarted again, but its mark stays until it is ready.
            scripts.push(pending::mark_acted(&marks));
            scripts.push(until_ready(&ready.command, ready.timeout));
        }
        scripts.extend(marks.iter().rev().map(|mark| pending::unmark(mark)));
        self.frame(index, &scripts, Questions::default(), channel).await?;
        if remaining != Due::Nothing {
            self.freshness.changed_by(handler.name.as_str());
            let predicted = &self.items[index].predicted;
            let why = if self.items[index].pending() { predicted.summary.as_str() } else { "notified" };
            return Ok(Outcome::new(Status::Changed, why));
        }
        Ok(Outcome::new(Status::Changed, "its unit was started since"))
    }

    /// Returns the step of a script, which knows the secrets and whom root trusts.
    fn step(&self, script: &Script) -> Result<Step, Failure> {
        let step = Step::new(script, &self.secrets.values)?;
        let script = self.trusted_owners.told_to(step.script).map_err(NotAsked::from)?;
        Ok(Step { script, ..step })
    }

    /// Runs scripts and then, in the same round trip, asks all questions up to the next pending item.
    async fn frame<C: Channel>(
        &mut self,
        index: usize,
        scripts: &[Script],
        mut questions: Questions,
        channel: &mut C,
    ) -> Result<(), Failure> {
        self.events.started(index, &self.items[index].item, scripts.iter().any(Script::is_job));
        self.questions_to_next(index + 1, &mut questions);
        let mut steps = Vec::with_capacity(scripts.len() + 1);
        for script in scripts {
            steps.push(self.step(script)?);
        }
        let round = if questions.is_empty() { None } else { Some(QuestionRound::new(questions, &self.trusted_owners)?) };
        steps.extend(round.as_ref().map(QuestionRound::step));
        let wanted = steps.len();
        let outputs = {
            let (events, work, values) = (self.events, &self.items[index], &self.secrets.values);
            let mut progress = |line: &str| {
                if !work.is_quiet() {
                    events.output(&work.item.id, line, values);
                }
            };
            channel.run(Frame { steps, apart: scripts.len() }, &mut progress).await?
        };
        if let Some(failed) = outputs.iter().take(scripts.len()).find(|output| output.status != 0) {
            return Err(Failure::Item(failure_text(failed)));
        }
        if outputs.len() != wanted {
            return Err(Failure::Item("the node did not answer all questions".to_owned()));
        }
        if let Some(round) = round {
            self.answers.absorb(round.read(outputs.last()));
        }
        Ok(())
    }

    /// Collects the questions of all items from `first` to the next pending one, or of the whole run when none is pending. A secret counts
    /// together with the task that uses it.
    fn questions_to_next(&mut self, first: usize, questions: &mut Questions) {
        let count = self.items.len();
        let next = (first..count).find(|later| self.items[*later].pending());
        let user = next.and_then(|next| (next..count).find(|later| !matches!(self.items[*later].body, ItemAction::Secret(_))));
        let (from, to) = user.or(next).map_or((0, count), |last| (first, last + 1));
        self.items[from..to].iter().for_each(|work| work.questions(questions));
        self.freshness.asked(from, to);
    }

    /// Asks for everything once more. Needed when the last change was already made, so that no frame has asked.
    async fn ask_everything<C: Channel>(&mut self, channel: &mut C) -> Result<(), HostError> {
        let mut questions = Questions::default();
        self.items.iter().for_each(|work| work.questions(&mut questions));
        let round = QuestionRound::new(questions, &self.trusted_owners)?;
        let outputs = channel.run(Frame::from(round.step()), &mut |_: &str| {}).await?;
        self.answers.absorb(round.read(outputs.first()));
        Ok(())
    }

    /// Asks without changing anything.
    async fn ask<C: Channel>(&mut self, index: usize, channel: &mut C) -> Result<(), Failure> {
        let mut questions = Questions::default();
        self.questions_to_next(index, &mut questions);
        if questions.is_empty() {
            return Ok(());
        }
        let round = QuestionRound::new(questions, &self.trusted_owners)?;
        let outputs = channel.run(Frame::from(round.step()), &mut |_: &str| {}).await?;
        self.answers.absorb(round.read(outputs.first()));
        Ok(())
    }

    fn state(&self) -> NodeState<'_> {
        NodeState { answers: &self.answers, secrets: &self.secrets.values }
    }

    fn report(&mut self, index: usize, outcome: Outcome) {
        self.outcomes.push(outcome.status);
        self.events.finished(index, &self.items[index], outcome, &self.secrets.values);
    }

    /// Returns the tasks that were as declared after their turn and no longer are. Only meaningful when something was changed, because then
    /// the last frame has asked for everything.
    fn undone(&self) -> Vec<String> {
        if !self.freshness.anything_changed() {
            return Vec::new();
        }
        let state = self.state();
        let tasks = self.items.iter().filter_map(|work| match &work.body {
            ItemAction::Task(_, resource) => Some((work, resource)),
            ItemAction::Secret(_)
            | ItemAction::Skipped
            | ItemAction::Handler { .. }
            | ItemAction::Health(_)
            | ItemAction::Exercise(_) => None,
        });
        tasks
            .filter(|(_, resource)| !matches!(resource.compare(&state), Ok(Verdict::Converged { .. })))
            .map(|(work, _)| work.item.id.clone())
            .collect()
    }

    fn end(&self, result: HostResult) -> End {
        let differs = |(work, actual): (&RunItem, &Status)| {
            let unlike = (work.predicted.status == Status::Changed) != (*actual == Status::Changed) && *actual != Status::Failed;
            unlike.then(|| work.item.id.clone())
        };
        End { result, unpredicted: self.items.iter().zip(&self.outcomes).filter_map(differs).collect() }
    }
}

/// Describes the failure of a script: its exit status and the last lines of its output.
pub(super) fn failure_text(output: &StepOutput) -> String {
    const LINES: usize = 25;
    /// So much of a line stands in the message.
    const CHARACTERS: usize = 1000;
    let errors = output.stderr.text();
    let text = if errors.trim().is_empty() { output.stdout.text() } else { errors };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shortened = |line: &&str| match line.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => (*line).to_owned(),
    };
    let tail = lines[lines.len().saturating_sub(LINES)..].iter().map(shortened).collect::<Vec<_>>().join("\n");
    let status = if output.timed_out {
        "ran into its time limit and was ended".to_owned()
    } else {
        format!("exit status {}", output.status)
    };
    let remedy = if tail.contains("No space left on device") {
        "\nthe node's disk or its inodes are full: `df -h` and `df -i` there say which"
    } else {
        ""
    };
    if tail.is_empty() { status } else { format!("{status}: {tail}{remedy}") }
}
