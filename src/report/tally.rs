//! Counts the results of a run and derives the exit code from them.

use indexmap::IndexMap;
use serde::Serialize;

use crate::event::{Event, HostEnd, HostStatus, Status};

/// The number of items by result. `unreachable` counts hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// As declared.
    pub ok: usize,
    /// Changed, or pending in a check.
    pub changed: usize,
    /// As declared, but with a warning; also counted in `ok`.
    pub warnings: usize,
    /// Skipped.
    pub skipped: usize,
    /// Dependent on a task that has not run.
    pub unknown: usize,
    /// Failed.
    pub failed: usize,
    /// Hosts that could not be reached.
    pub unreachable: usize,
}

impl Counts {
    /// Counts an item with this result.
    pub fn add(&mut self, status: Status) {
        match status {
            Status::Ok => self.ok += 1,
            Status::Changed => self.changed += 1,
            Status::Skipped => self.skipped += 1,
            Status::Unknown => self.unknown += 1,
            Status::Failed => self.failed += 1,
        }
    }
}

/// The results of a run so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// The results by host, in the order of the inventory.
    pub hosts: IndexMap<String, (Counts, Option<HostEnd>)>,
}

impl Tally {
    /// Counts an event.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { hosts, .. } => {
                self.hosts = hosts.iter().map(|host| (host.clone(), (Counts::default(), None))).collect();
            }
            Event::ItemFinished { host, outcome, .. } => {
                let counts = &mut self.hosts.entry(host.clone()).or_default().0;
                counts.add(outcome.status);
                counts.warnings += usize::from(outcome.warning.is_some());
            }
            Event::HostFinished { host, end } => {
                let (counts, ended) = self.hosts.entry(host.clone()).or_default();
                counts.unreachable = usize::from(end.status == HostStatus::Unreachable);
                *ended = Some(end.clone());
            }
            Event::HostProgress { .. } | Event::ItemStarted { .. } | Event::ItemProgress { .. } | Event::RunFinished { .. } => {}
        }
    }

    /// Returns the sum over all hosts.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.hosts.values().fold(Counts::default(), |sum, (counts, _)| Counts {
            ok: sum.ok + counts.ok,
            changed: sum.changed + counts.changed,
            warnings: sum.warnings + counts.warnings,
            skipped: sum.skipped + counts.skipped,
            unknown: sum.unknown + counts.unknown,
            failed: sum.failed + counts.failed,
            unreachable: sum.unreachable + counts.unreachable,
        })
    }

    /// Returns the exit code, which is the first of these that applies: 1 a task failed, 3 a node was unreachable, 5 a node is held, 2 there were
    /// changes (only when `detailed`), 0.
    #[must_use]
    pub fn exit_code(&self, detailed: bool) -> u8 {
        let any = |status: HostStatus| self.hosts.values().any(|(_, end)| end.as_ref().is_some_and(|end| end.status == status));
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
    use crate::event::{Item, ItemKind, Mode, Outcome};
    use jiff::Timestamp;
    use std::time::Duration;

    pub(in crate::report) fn started(mode: Mode, hosts: &[&str]) -> Event {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Event::RunStarted { run_id: "r1".into(), mode, started: Timestamp::UNIX_EPOCH, hosts }
    }

    pub(in crate::report) fn item(name: &str) -> Item {
        Item {
            id: format!("redis/{name}"),
            kind: ItemKind::Task,
            role: "redis".into(),
            name: name.into(),
            resource: "template".into(),
            file: "roles/redis/role.yml".into(),
            line: 12,
        }
    }

    pub(in crate::report) fn finished(host: &str, name: &str, outcome: Outcome) -> Event {
        Event::ItemFinished { host: host.into(), item: item(name), outcome }
    }

    pub(in crate::report) fn ended(host: &str, status: HostStatus) -> Event {
        let end = HostEnd {
            status,
            error: None,
            remedy: None,
            round_trips: 1,
            bytes_sent: 8123,
            unpredicted: Vec::new(),
            holder: None,
            duration: Duration::from_millis(1234),
        };
        Event::HostFinished { host: host.into(), end }
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
        let changed = || finished("a", "x", Outcome::new(Status::Changed, ""));
        let failed = || finished("a", "y", Outcome::failed("no"));
        assert_eq!(code(&[changed(), ended("a", HostStatus::Changed)], false), 0);
        assert_eq!(code(&[changed(), ended("a", HostStatus::Changed)], true), 2);
        assert_eq!(code(&[changed(), ended("a", HostStatus::Changed), ended("b", HostStatus::Held)], true), 5);
        assert_eq!(code(&[ended("a", HostStatus::Unreachable), ended("b", HostStatus::Held)], true), 3);
        assert_eq!(code(&[failed(), ended("a", HostStatus::Failed), ended("b", HostStatus::Unreachable)], true), 1);
        assert_eq!(code(&[finished("a", "x", Outcome::new(Status::Unknown, ""))], true), 2);
    }
}
