//! Counts the results of a run and derives the exit code from them.

use indexmap::IndexMap;

use crate::event::{Counts, Event, EventBody, HostEnd, HostStatus};

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
            | EventBody::RunFinished(_) => {}
        }
    }

    /// Returns the sum over all hosts.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.hosts.values().fold(Counts::default(), |sum, (counts, _)| sum.plus(*counts))
    }

    /// Returns the exit code, which is the first of these that applies: 1 a task failed, 3 a node was unreachable, 5 a node is held, 2 there were
    /// changes (only when `detailed`), 0.
    #[must_use]
    pub fn exit_code(&self, detailed: bool) -> u8 {
        let any = |status: HostStatus| self.hosts.values().any(|(_, end)| end.as_ref().is_some_and(|end| end.status() == status));
        let total = self.total();
        if any(HostStatus::Failed) || total.failed > 0 {
            1
        } else if any(HostStatus::Unreachable) {
            3
        } else if any(HostStatus::Held) {
            5
        } else if detailed && (total.changed > 0 || total.unknown > 0) {
            2
        } else {
            0
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::{HostResult, Item, ItemSubject, Outcome, ProjectState, Purpose, RunEnd, RunStart, SelectionWords, Status};
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
        event(EventBody::RunFinished(RunEnd { status, interrupted, summary, duration: Duration::from_secs(1) }))
    }

    pub(in crate::report) fn unreachable() -> HostResult {
        HostResult::Unreachable { error: "no route".into(), help: None }
    }

    fn code(events: &[Event], detailed: bool) -> u8 {
        let mut tally = Tally::default();
        for event in events {
            tally.event(event);
        }
        tally.exit_code(detailed)
    }

    #[test]
    fn the_worst_result_decides_the_exit_code() {
        let held = || ended("b", HostResult::Held { holder: "held".into(), help: None }, Counts::default());
        let changed = || ended("a", HostResult::Changed, Counts { changed: 1, ..Counts::default() });
        let lost = || ended("a", unreachable(), Counts { unknown: 1, unreachable: 1, ..Counts::default() });
        let failed = || ended("a", HostResult::Failed { error: None }, Counts { failed: 1, ..Counts::default() });
        assert_eq!(code(&[changed()], false), 0);
        assert_eq!(code(&[changed()], true), 2);
        assert_eq!(code(&[changed(), held()], true), 5);
        assert_eq!(code(&[lost(), held()], true), 3);
        assert_eq!(code(&[failed(), ended("b", unreachable(), Counts::default())], true), 1);
        assert_eq!(code(&[finished("a", "x", Outcome::failed("no"))], true), 1);
        assert_eq!(code(&[finished("a", "x", Outcome::new(Status::Unknown, ""))], true), 2);
    }
}
