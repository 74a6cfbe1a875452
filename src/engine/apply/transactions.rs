//! What a run changes before it restarts or reloads a unit, and puts back together if the unit does not work with it.
//!
//! A transaction is all files and lines of secrets that this run changes and that notify the same handler. It needs a way back: the unit was
//! up when the run began, or an interrupted run has left copies of what was there when it was. The copies are made in the frame of each
//! change; they go when the run has ended well, and the next run finishes what an interrupted one left: the changes, or the way back.

use std::collections::HashSet;

use rand::rngs::SysError;

use super::{ApplyRun, Failure, RESTART_LIMIT, failure_text};
use crate::{
    engine::{
        prediction::due,
        ready::until_ready,
        round::HostError,
        work::{ItemAction, RunItem, restarted_unit},
    },
    plan::{Handler, HandlerAction, SecretSpec, Task},
    question::{
        Answers,
        kept::{self, Kept, Since},
        pending::{self, Due, Pending},
        unit::Unit,
        way_in,
    },
    resource::{Change, unit_functions},
    script::Script,
    secret::{SecretId, SecretValues, nonce},
    transport::{Channel, Frame, LinkError, Step, StepOutput},
};

/// The transactions of one run on one host.
pub(super) struct Transactions<'a> {
    list: Vec<Transaction<'a>>,
    items: &'a [RunItem],
    /// Secrets of this run whose values an item uses that cannot go back, such as the password of a role in a database.
    spent: HashSet<SecretId>,
    /// Copies without a handler that could still need them.
    stale: Vec<String>,
    /// Names this run in its copies.
    run: Option<String>,
}

struct Transaction<'a> {
    handler: &'a Handler,
    unit: &'a str,
    /// When its copies begin; `None` where there is no way back.
    since: Option<Since>,
    /// Whether there are copies.
    kept: bool,
}

impl Transaction<'_> {
    /// The name of its copies.
    fn mark(&self) -> &str {
        &self.handler.marks[0]
    }
}

impl<'a> Transactions<'a> {
    /// Works out which transactions have a way back. `answers` are those from before the first change.
    pub(super) fn new(items: &'a [RunItem], answers: &Answers) -> Self {
        let spent = spent(items);
        let kept = answers.get::<Pending>(&()).map(|marks| marks.kept.clone()).unwrap_or_default();
        let handlers = items.iter().filter_map(|work| match &work.body {
            ItemAction::Handler { handler, .. } => Some(handler),
            ItemAction::Task(..)
            | ItemAction::Secret(_)
            | ItemAction::Skipped
            | ItemAction::Health(_)
            | ItemAction::Exercise(_) => None,
        });
        let list: Vec<Transaction<'a>> = handlers
            .filter_map(|handler| {
                let unit = restarted_unit(handler)?;
                let uses_spent = items.iter().any(|work| notifies(work, handler) && uses(work, &spent));
                let kept = kept.contains(&handler.marks[0]);
                let is_up = answers.get::<Unit>(&unit.to_owned()).is_ok_and(Unit::is_up);
                let since = match (kept, due(handler, answers)) {
                    _ if uses_spent => None,
                    (true, Ok(Due::All | Due::Readiness)) => Some(Since::AnInterruptedRun),
                    // After a boot there is no mark any more, but the unit may not have come up with what an interrupted run changed.
                    (true, _) if !is_up => Some(Since::AnInterruptedRun),
                    _ => is_up.then_some(Since::ThisRun),
                };
                Some(Transaction { handler, unit, since, kept })
            })
            .collect();
        let owed = |name: &str| answers.get::<Pending>(&()).is_ok_and(|marks| marks.marks.contains_key(name));
        let is_stale = |name: &&String| list.iter().all(|transaction| transaction.mark() != *name) && !owed(name);
        let stale = kept.iter().filter(is_stale).cloned().collect();
        Self { list, items, spent, stale, run: None }
    }

    /// Returns the scripts that keep what a task changes, for each handler that it notifies.
    pub(super) fn keep_for_task(&mut self, task: &Task, change: &Change) -> Result<Vec<Script>, SysError> {
        let Some(written) = &change.writes else { return Ok(Vec::new()) };
        self.keep(std::slice::from_ref(written), |handler| handler.role == task.role && task.notify.contains(&handler.name))
    }

    /// Returns the scripts that keep a secret's line, with the marks of the handlers for which they do so: what the secret is used in notifies them.
    pub(super) fn keep_for_secret(&mut self, spec: &SecretSpec) -> Result<(Vec<Script>, Vec<String>), SysError> {
        let secret = HashSet::from([spec.id()]);
        if !self.spent.is_disjoint(&secret) {
            return Ok((Vec::new(), Vec::new()));
        }
        let items = self.items;
        let is_notified = |handler: &Handler| items.iter().any(|work| notifies(work, handler) && uses(work, &secret));
        let line = Kept::Line { file: spec.file.clone(), key: spec.secret.name.clone() };
        let scripts = self.keep(&[line], is_notified)?;
        let kept = self.list.iter().filter(|transaction| transaction.kept && is_notified(transaction.handler));
        Ok((scripts, kept.map(|transaction| transaction.mark().to_owned()).collect()))
    }

    fn keep(&mut self, what: &[Kept], is_notified: impl Fn(&Handler) -> bool) -> Result<Vec<Script>, SysError> {
        let mut scripts = Vec::new();
        for transaction in self.list.iter_mut().filter(|transaction| is_notified(transaction.handler)) {
            let Some(since) = transaction.since else { continue };
            let run = match &self.run {
                Some(run) => run.clone(),
                None => self.run.insert(nonce()?).clone(),
            };
            scripts.push(kept::keep(transaction.mark(), &run, since, what));
            transaction.kept = true;
        }
        Ok(scripts)
    }

    /// Returns the transaction that goes back because this item has failed: it restarts the unit, declares its state, or says whether it works.
    fn concerned(&self, work: &RunItem) -> Option<&Transaction<'a>> {
        let of_role = |transaction: &&Transaction<'_>| {
            transaction.kept && transaction.since.is_some() && transaction.handler.role == work.item.role
        };
        self.list.iter().filter(of_role).find(|transaction| match &work.body {
            ItemAction::Handler { handler, .. } => handler.id == transaction.handler.id,
            ItemAction::Task(_, resource) => resource.unit() == Some(transaction.unit),
            ItemAction::Health(check) => check.names_unit(transaction.unit),
            ItemAction::Secret(_) | ItemAction::Skipped | ItemAction::Exercise(_) => false,
        })
    }
}

/// Whether a change of this item notifies the handler.
fn notifies(work: &RunItem, handler: &Handler) -> bool {
    matches!(&work.body, ItemAction::Task(task, _) if task.role == handler.role && task.notify.contains(&handler.name))
}

/// Whether the item uses one of these secrets.
fn uses(work: &RunItem, secrets: &HashSet<SecretId>) -> bool {
    work.resource().is_some_and(|resource| resource.secrets().iter().any(|secret| secrets.contains(secret)))
}

/// Returns the secrets that this run makes and an item uses that cannot go back.
fn spent(items: &[RunItem]) -> HashSet<SecretId> {
    let made: HashSet<SecretId> = items.iter().filter_map(RunItem::made_secret).map(SecretSpec::id).collect();
    let for_good = items.iter().filter(|work| work.pending() && !work.can_go_back).filter_map(RunItem::resource);
    for_good.flat_map(crate::resource::Resource::secrets).filter(|secret| made.contains(secret)).collect()
}

impl ApplyRun<'_> {
    /// Puts back what was changed for the unit with which a failed item is concerned, and brings the unit up with it. Returns the error with what
    /// became of that, and the loss of the link if that came in between.
    pub(super) async fn go_back<C: Channel>(
        &mut self,
        index: usize,
        error: String,
        channel: &mut C,
    ) -> (String, Option<LinkError>) {
        let Some(transaction) = self.transactions.concerned(&self.items[index]) else { return (error, None) };
        let text = "putting back what was changed, because the service does not work with it";
        self.events.output(&self.items[index].item.id, text, &self.secrets.values);
        let scripts = way_back(transaction);
        let steps = scripts.iter().map(|script| self.step(script)).collect::<Result<Vec<_>, _>>();
        let became = match steps {
            Err(Failure::Item(why)) => why,
            Err(Failure::Link(lost)) => return (error, Some(lost)),
            Ok(steps) => match channel.run(Frame { apart: steps.len(), steps }, &mut |_: &str| {}).await {
                Err(lost) => {
                    let text = "the connection was lost while what was changed was put back; the next run goes on with it";
                    return (format!("{error}\n{text}"), Some(lost));
                }
                Ok(outputs) => what_became(transaction.unit, &outputs, scripts.len()),
            },
        };
        (format!("{error}\n{became}"), None)
    }

    /// Removes the copies, which are no longer needed once the run has ended well.
    pub(super) async fn settle<C: Channel>(&self, channel: &mut C) -> Result<(), HostError> {
        let kept = self.transactions.list.iter().filter(|transaction| transaction.kept).map(Transaction::mark);
        if self.way_in.kept && self.way_in.entrance.is_some() {
            let step =
                Step::new(&way_in::disarm([]), &SecretValues::default()).map_err(|error| HostError::Failed(error.to_string()))?;
            channel.run(Frame::from(step), &mut |_: &str| {}).await?;
        }
        let marks: Vec<&str> = kept.chain(self.transactions.stale.iter().map(String::as_str)).collect();
        if marks.is_empty() {
            return Ok(());
        }
        let step =
            Step::new(&kept::forget(marks), &SecretValues::default()).map_err(|error| HostError::Failed(error.to_string()))?;
        channel.run(Frame::from(step), &mut |_: &str| {}).await?;
        Ok(())
    }
}

/// The scripts that put everything back and bring the unit up with it.
fn way_back(transaction: &Transaction<'_>) -> Vec<Script> {
    let handler = transaction.handler;
    let reload = matches!(handler.action, HandlerAction::Reload(_));
    let mut scripts =
        vec![kept::put_back(transaction.mark()), unit_functions::bring_back(transaction.unit, reload, RESTART_LIMIT)];
    scripts.extend(handler.ready.as_ref().map(|ready| until_ready(&ready.command, ready.timeout)));
    scripts.extend(handler.marks.iter().map(|mark| pending::unmark(mark)));
    scripts.push(kept::forget([transaction.mark()]));
    scripts
}

/// Says what became of the way back.
fn what_became(unit: &str, outputs: &[StepOutput], wanted: usize) -> String {
    let Some((first, rest)) = outputs.split_first().filter(|(first, _)| first.status == 0) else {
        let why = outputs.first().map(failure_text).unwrap_or_default();
        return format!("what was changed for `{unit}` could not be put back: {why}");
    };
    let paths: Vec<String> = first.stdout.text().lines().map(|line| format!("`{line}`")).collect();
    let back = format!("put back as before: {}", paths.join(", "));
    match rest.iter().find(|output| output.status != 0) {
        None if outputs.len() == wanted => format!("{back}; `{unit}` works with it again"),
        None => format!("{back}; whether `{unit}` works with it is not known, because the node did not answer"),
        Some(failed) => format!("{back}; but `{unit}` does not work with it either: {}", failure_text(failed)),
    }
}
