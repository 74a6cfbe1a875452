//! Check `backup`: the timer runs, the last run did not fail, and the last good backup is young enough and still there.

use std::time::Duration;

use serde::Deserialize;

use super::{span, verdict};
use crate::{
    question::{
        Questions, Unanswered,
        backup::{Backup, Found, Place, Status},
        unit::{Unit, full_name},
    },
    resource::{Files, Is, Kind, RemotePath, Resource, Verdict, Wrong, decode},
    role::parse_duration,
};

pub(super) const KIND: Kind = Kind {
    name: "backup",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(Healthy::new(decode(parameters)?)?)),
    parameters: &["status_file", "directory", "timer", "max_age"],
    secret_parameters: &[],
    expressions: &[],
    free_form: "",
};

/// A clock that is set right while a backup ends must not look like one that goes wrong; in seconds.
const CLOCK_SLACK: u64 = 300;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    status_file: RemotePath,
    directory: RemotePath,
    timer: String,
    max_age: String,
}

#[derive(Debug)]
struct Healthy {
    place: Place,
    service: String,
    max_age: Duration,
}

impl Healthy {
    fn new(parameters: Parameters) -> Result<Self, Wrong> {
        let Parameters { status_file, directory, timer, max_age } = parameters;
        let timer = full_name(&timer).map_err(|message| Wrong::parameter("timer", message))?;
        let service = timer.strip_suffix(".timer").map(|name| format!("{name}.service"));
        let service = service.ok_or_else(|| Wrong::parameter("timer", format!("`{timer}` is no timer")))?;
        let max_age = parse_duration(&max_age)
            .filter(|age| !age.is_zero())
            .ok_or_else(|| Wrong::parameter("max_age", format!("`{max_age}` is not a time such as 26h, up to a week")))?;
        Ok(Self { place: Place { status_file, directory, timer }, service, max_age })
    }

    fn units(&self, timer: &Unit, service: &Unit, complaints: &mut Vec<String>) {
        let name = &self.place.timer;
        for unit in [timer, service] {
            if !unit.exists() {
                complaints.push(format!("there is no `{}`", if std::ptr::eq(unit, timer) { name } else { &self.service }));
            }
        }
        if timer.exists() && !timer.is_up() {
            complaints.push(format!("`{name}` is {}: `systemctl start {name}`", timer.active));
        }
        if timer.exists() && timer.file_state != "enabled" {
            complaints.push(format!("`{name}` is not enabled: `systemctl enable {name}`"));
        }
    }

    fn last_run(&self, found: &Found, service: &Unit, complaints: &mut Vec<String>) {
        let status = found.status.as_ref();
        let success = status.and_then(|status| status.success);
        let ago = |time: u64| Duration::from_secs(found.now.saturating_sub(time));
        let young = success.filter(|success| ago(*success) <= self.max_age);
        let last =
            young.map(|success| format!("; the last good one is {} old", span(ago(success).as_secs()))).unwrap_or_default();
        if let Some(Status { error, .. }) = status.filter(|status| status.failed) {
            complaints.push(format!("the last backup failed: {error}{last}"));
        } else if service.active == "failed" {
            complaints.push(format!("the last backup failed: `journalctl -u {}` says why{last}", self.service));
        }
        let Some(success) = success else {
            let waited = ago(found.enabled_since.unwrap_or(found.now));
            if waited > self.max_age {
                complaints.push(format!(
                    "there is no good backup, and `{}` has been enabled for {}",
                    self.place.timer,
                    span(waited.as_secs())
                ));
            }
            return;
        };
        if success > found.now + CLOCK_SLACK {
            complaints.push("the last good backup is of the future: the node's clock was changed".into());
        } else if ago(success) > self.max_age {
            let (old, limit) = (span(ago(success).as_secs()), span(self.max_age.as_secs()));
            complaints.push(format!("the last good backup is {old} old, more than {limit}"));
        }
    }

    fn archives(&self, found: &Found, complaints: &mut Vec<String>) {
        let directory = &self.place.directory;
        for (size, name) in found.status.iter().flat_map(|status| &status.archives) {
            match found.there.get(name) {
                None => complaints.push(format!("{directory}/{name} is gone")),
                Some(is) if is != size => complaints.push(format!("{directory}/{name} has {is} bytes, it had {size}")),
                Some(_) => {}
            }
        }
    }
}

impl Resource for Healthy {
    fn not_of_a_deploy(&self) -> bool {
        true
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Backup>(self.place.clone());
        ask.ask::<Unit>(self.place.timer.clone());
        ask.ask::<Unit>(self.service.clone());
    }

    fn compare(&self, is: &Is<'_>) -> Result<Verdict, Unanswered> {
        let found = is.answers.get::<Backup>(&self.place)?;
        let (timer, service) = (is.answers.get::<Unit>(&self.place.timer)?, is.answers.get::<Unit>(&self.service)?);
        let mut complaints = Vec::new();
        self.units(timer, service, &mut complaints);
        self.last_run(found, service, &mut complaints);
        self.archives(found, &mut complaints);
        let note = match found.status.as_ref().and_then(|status| Some((status.success?, status.archives.len()))) {
            Some((success, count)) => {
                let archives = if count == 1 { "archive" } else { "archives" };
                format!("{} old, {count} verified {archives} of the last run", span(found.now.saturating_sub(success)))
            }
            None if found.next.is_empty() => "none yet".to_owned(),
            None => format!("none yet, the first at {}", found.next),
        };
        Ok(verdict(&complaints, note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{question::Answers, secret::SecretValues};
    use serde_json::json;
    use std::collections::HashMap;

    const NOW: u64 = 1_000_000;
    const HOUR: u64 = 3600;

    fn parameters(timer: &str, max_age: &str) -> serde_json::Value {
        json!({"status_file": "/var/lib/b/status", "directory": "/b", "timer": timer, "max_age": max_age})
    }

    /// A node where all is well: its answers, to be spoilt.
    struct Node {
        found: Found,
        timer: Unit,
        service: Unit,
    }

    fn node() -> Node {
        let unit = |active: &str, file: &str| Unit {
            load: "loaded".into(),
            active: active.into(),
            file_state: file.into(),
            ..Unit::default()
        };
        let status = Status { success: Some(NOW - 3 * HOUR), archives: vec![(5, "a.dump".into())], ..Status::default() };
        let found = Found {
            now: NOW,
            enabled_since: Some(NOW - 90 * HOUR),
            status: Some(status),
            next: String::new(),
            there: HashMap::from([("a.dump".to_owned(), 5)]),
        };
        Node { found, timer: unit("active", "enabled"), service: unit("inactive", "static") }
    }

    /// The note of a healthy node, or the complaints.
    fn look(spoil: impl FnOnce(&mut Node)) -> Result<String, String> {
        let check = Healthy::new(decode(parameters("b.timer", "26h")).unwrap()).unwrap();
        let mut node = node();
        spoil(&mut node);
        let mut answers = Answers::default();
        answers.set::<Unit>(check.place.timer.clone(), Ok(node.timer));
        answers.set::<Unit>(check.service.clone(), Ok(node.service));
        answers.set::<Backup>(check.place.clone(), Ok(node.found));
        match check.compare(&Is { answers: &answers, secrets: &SecretValues::default() }).unwrap() {
            Verdict::Converged { note } => Ok(note.unwrap()),
            Verdict::Refused(why) => Err(why),
            Verdict::Change(_) | Verdict::Blocked { .. } => panic!("a check never changes anything"),
        }
    }

    fn status(node: &mut Node) -> &mut Status {
        node.found.status.as_mut().unwrap()
    }

    #[test]
    fn a_young_backup_that_is_there_is_healthy() {
        assert_eq!(look(|_| ()), Ok("3 h old, 1 verified archive of the last run".to_owned()));
    }

    #[test]
    fn its_age_counts_by_the_node_s_clock() {
        assert!(look(|node| node.found.now = NOW + 22 * HOUR).is_ok());
        let old = look(|node| node.found.now = NOW + 24 * HOUR).unwrap_err();
        assert_eq!(old, "the last good backup is 27 h old, more than 26 h");
        assert!(look(|node| node.found.now = NOW - 9 * HOUR).unwrap_err().contains("of the future"));
    }

    #[test]
    fn a_failed_run_is_not_healthy_however_young_the_last_good_one_is() {
        let failed = look(|node| {
            status(node).failed = true;
            "no space left".clone_into(&mut status(node).error);
        });
        assert_eq!(failed.unwrap_err(), "the last backup failed: no space left; the last good one is 3 h old");
        // One that could not even say so.
        assert!(look(|node| node.service.active = "failed".into()).unwrap_err().contains("journalctl -u b.service"));
    }

    #[test]
    fn before_the_first_run_there_is_nothing_to_complain_about_until_it_should_have_been() {
        let fresh = |hours: u64, next: &str| {
            look(|node| {
                node.found.status = None;
                node.found.enabled_since = Some(NOW - hours * HOUR);
                next.clone_into(&mut node.found.next);
            })
        };
        assert_eq!(fresh(25, "Sat 02:00"), Ok("none yet, the first at Sat 02:00".to_owned()));
        assert_eq!(fresh(25, ""), Ok("none yet".to_owned()));
        assert_eq!(fresh(27, "Sat").unwrap_err(), "there is no good backup, and `b.timer` has been enabled for 27 h");
    }

    #[test]
    fn a_timer_that_will_not_run_is_not_healthy() {
        assert!(look(|node| node.timer.active = "inactive".into()).unwrap_err().contains("systemctl start b.timer"));
        assert!(look(|node| node.timer.file_state = "disabled".into()).unwrap_err().contains("systemctl enable b.timer"));
        assert_eq!(look(|node| node.timer.load = "not-found".into()).unwrap_err(), "there is no `b.timer`");
        assert_eq!(look(|node| node.service.load = "not-found".into()).unwrap_err(), "there is no `b.service`");
    }

    #[test]
    fn archives_that_are_gone_or_cut_short_are_named() {
        assert_eq!(look(|node| node.found.there.clear()).unwrap_err(), "/b/a.dump is gone");
        let short = look(|node| node.found.there = HashMap::from([("a.dump".to_owned(), 4)]));
        assert_eq!(short.unwrap_err(), "/b/a.dump has 4 bytes, it had 5");
    }

    #[test]
    fn wrong_parameters_say_what_to_do() {
        let wrong = |timer: &str, max_age: &str| Healthy::new(decode(parameters(timer, max_age)).unwrap()).is_err();
        assert!(!wrong("b.timer", "1h"));
        assert!(wrong("b.service", "1h") && wrong("b c.timer", "1h") && wrong("b.timer", "soon") && wrong("b.timer", "0s"));
    }
}
