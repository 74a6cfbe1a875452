//! Counts the results of a run.

use indexmap::IndexMap;

use crate::event::{Counts, Event, EventBody, HostEnd};

/// The results of a run so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// The results by host, in the order of the inventory.
    pub hosts: IndexMap<String, (Counts, Option<HostEnd>)>,
}

impl Tally {
    /// Counts an event.
    pub fn event(&mut self, event: &Event) {
        match &event.body {
            EventBody::RunStarted(start) => {
                self.hosts = start.hosts.iter().map(|host| (host.clone(), (Counts::default(), None))).collect();
            }
            EventBody::ItemFinished { host, outcome, .. } => {
                let counts = &mut self.hosts.entry(host.clone()).or_default().0;
                counts.add(outcome.status);
                counts.warnings += usize::from(outcome.warning.is_some());
            }
            EventBody::HostFinished { host, end } => {
                self.hosts.insert(host.clone(), (end.counts, Some(end.as_ref().clone())));
            }
            EventBody::RunInterrupted(_)
            | EventBody::HostProgress { .. }
            | EventBody::HostPlanned { .. }
            | EventBody::ItemStarted { .. }
            | EventBody::ItemOutput { .. }
            | EventBody::RunFinished(_)
            | EventBody::RunRefused(_) => {}
        }
    }

    /// Returns the sum over all hosts.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.hosts.values().fold(Counts::default(), |sum, (counts, _)| sum.plus(*counts))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::{
        HostResult, HostStatus, Item, ItemSubject, Outcome, ProjectState, Purpose, RunEnd, RunStart, SelectionWords,
    };
    use jiff::Timestamp;
    use std::time::Duration;

    pub(in crate::report) fn event(body: EventBody) -> Event {
        Event { seq: 1, at: Timestamp::UNIX_EPOCH, run: "r1".parse().unwrap(), body }
    }

    pub(in crate::report) fn started(purpose: Purpose, hosts: &[&str]) -> Event {
        event(EventBody::RunStarted(Box::new(RunStart {
            purpose,
            version: String::new(),
            user: "ops@ctl".into(),
            via: "cli".into(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            roles: Vec::new(),
            selection: SelectionWords::default(),
            project: ProjectState { digest: None, commit: None, dirty: None },
            plan: None,
        })))
    }

    pub(in crate::report) fn item(name: &str) -> Item {
        Item {
            id: format!("redis/{name}"),
            subject: ItemSubject::Task("template".into()),
            role: "redis".into(),
            name: name.into(),
            file: "roles/redis/role.yml".into(),
            line: 12,
        }
    }

    pub(in crate::report) fn finished(host: &str, name: &str, outcome: Outcome) -> Event {
        finished_item(host, item(name), outcome)
    }

    pub(in crate::report) fn finished_item(host: &str, item: Item, outcome: Outcome) -> Event {
        event(EventBody::ItemFinished { host: host.into(), item, outcome, progress: None })
    }

    /// The end of a host that one can construct from its word, with these numbers of items.
    pub(in crate::report) fn ended(host: &str, result: HostResult, counts: Counts) -> Event {
        let end =
            HostEnd { counts, round_trips: 1, bytes_sent: 8123, duration: Duration::from_millis(1234), ..HostEnd::new(result) };
        event(EventBody::HostFinished { host: host.into(), end: Box::new(end) })
    }

    pub(in crate::report) fn run_finished(interrupted: bool) -> Event {
        let (status, summary) = (HostStatus::Ok, Counts::default());
        event(EventBody::RunFinished(RunEnd::new(status, interrupted, summary, Duration::from_secs(1), false)))
    }
}
