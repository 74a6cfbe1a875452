//! Check `backup`: the timer is active, the last run did not fail, and the last successful backup is recent enough and still exists.

use std::time::Duration;

use super::{Finding, HealthCheck, format_span};
use crate::{
    question::{
        Questions, Unanswered,
        backup::{Backup, BackupInfo, BackupLocation, LastRun},
        unit::{Unit, full_name},
        unit_state::{ActiveState, UnitFileState},
    },
    resource::{Files, Kind, NodeState, ParamError, decode, schema::parameters},
    values::{RemotePath, parse_duration},
};

pub(super) const KIND: Kind<dyn HealthCheck> = Kind {
    name: "backup",
    about: "The timer runs, the last run did not fail, and the last verified backup is young enough",
    example: "read:
  backup:
    status_file: /var/lib/autobot/redis-backup.json
    directory: /var/backups/autobot/redis
    timer: autobot-redis-backup.timer
    max_age: 26h",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(BackupCheck::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

/// The tolerated time by which a backup may be in the future, in seconds: the clock may be corrected while a backup ends.
const CLOCK_SLACK: u64 = 300;

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// What the last run wrote about itself.
        status_file: RemotePath,
        /// Where the archives are.
        directory: RemotePath,
        /// The timer that starts it.
        timer: String,
        /// How old the last verified backup may be, by the node's clock: `26h`, `90m`.
        max_age: String,
    }
}

#[derive(Debug)]
struct BackupCheck {
    location: BackupLocation,
    service: String,
    max_age: Duration,
}

impl BackupCheck {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let Parameters { status_file, directory, timer, max_age } = parameters;
        let timer = full_name(&timer).map_err(|message| ParamError::parameter("timer", message))?;
        let service = timer.strip_suffix(".timer").map(|name| format!("{name}.service"));
        let service = service.ok_or_else(|| ParamError::parameter("timer", format!("`{timer}` is not a timer")))?;
        let max_age = parse_duration(&max_age).filter(|age| !age.is_zero()).ok_or_else(|| {
            ParamError::parameter("max_age", format!("`{max_age}` is not a duration of up to a week, such as 26h"))
        })?;
        Ok(Self { location: BackupLocation { status_file, directory, timer }, service, max_age })
    }

    fn units(&self, timer: &Unit, service: &Unit, problems: &mut Vec<String>) {
        let name = &self.location.timer;
        for unit in [timer, service] {
            if !unit.exists() {
                problems.push(format!("there is no `{}`", if std::ptr::eq(unit, timer) { name } else { &self.service }));
            }
        }
        if timer.exists() && !timer.is_up() {
            problems.push(format!("`{name}` is {}: `systemctl start {name}`", timer.active.as_str()));
        }
        if timer.exists() && timer.file_state != UnitFileState::Enabled {
            problems.push(format!("`{name}` is not enabled: `systemctl enable {name}`"));
        }
    }

    fn last_run(&self, found: &BackupInfo, service: &Unit, problems: &mut Vec<String>) {
        let status = found.status.as_ref();
        let success = status.and_then(|status| status.success);
        let ago = |time: u64| Duration::from_secs(found.now.saturating_sub(time));
        let recent = success.filter(|success| ago(*success) <= self.max_age);
        let last = recent
            .map(|success| format!("; the last successful one is {} old", format_span(ago(success).as_secs())))
            .unwrap_or_default();
        if let Some(LastRun { error, .. }) = status.filter(|status| status.failed) {
            problems.push(format!("the last backup failed: {error}{last}"));
        } else if service.active == ActiveState::Failed {
            problems.push(format!("the last backup failed: see `journalctl -u {}`{last}", self.service));
        }
        let Some(success) = success else {
            let waited = ago(found.enabled_since.unwrap_or(found.now));
            if waited > self.max_age {
                problems.push(format!(
                    "there is no successful backup, and `{}` has been enabled for {}",
                    self.location.timer,
                    format_span(waited.as_secs())
                ));
            }
            return;
        };
        if success > found.now + CLOCK_SLACK {
            problems.push("the last successful backup is dated in the future: the node's clock was changed".into());
        } else if ago(success) > self.max_age {
            let (old, limit) = (format_span(ago(success).as_secs()), format_span(self.max_age.as_secs()));
            problems.push(format!("the last successful backup is {old} old, more than {limit}"));
        }
    }

    fn archives(&self, found: &BackupInfo, problems: &mut Vec<String>) {
        let directory = &self.location.directory;
        for (size, name) in found.status.iter().flat_map(|status| &status.archives) {
            match found.there.get(name) {
                None => problems.push(format!("{directory}/{name} no longer exists")),
                Some(is) if is != size => problems.push(format!("{directory}/{name} has {is} bytes instead of {size}")),
                Some(_) => {}
            }
        }
    }
}

impl HealthCheck for BackupCheck {
    fn monitoring_only(&self) -> bool {
        true
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Backup>(self.location.clone());
        ask.ask::<Unit>(self.location.timer.clone());
        ask.ask::<Unit>(self.service.clone());
    }

    fn examine(&self, is: &NodeState<'_>) -> Result<Finding, Unanswered> {
        let found = is.answers.get::<Backup>(&self.location)?;
        let (timer, service) = (is.answers.get::<Unit>(&self.location.timer)?, is.answers.get::<Unit>(&self.service)?);
        let mut problems = Vec::new();
        self.units(timer, service, &mut problems);
        self.last_run(found, service, &mut problems);
        self.archives(found, &mut problems);
        let note = match found.status.as_ref().and_then(|status| Some((status.success?, status.archives.len()))) {
            Some((success, count)) => {
                let archives = if count == 1 { "archive" } else { "archives" };
                format!("{} old, {count} verified {archives} of the last run", format_span(found.now.saturating_sub(success)))
            }
            None if found.next.is_empty() => "none yet".to_owned(),
            None => format!("none yet, the first at {}", found.next),
        };
        Ok(Finding::of_problems(&problems, note))
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

    /// The answers of a healthy node, which a test then breaks.
    struct NodeAnswers {
        found: BackupInfo,
        timer: Unit,
        service: Unit,
    }

    fn node() -> NodeAnswers {
        let unit = |active: &str, file: &str| Unit {
            load: "loaded".into(),
            active: active.into(),
            file_state: file.into(),
            ..Unit::default()
        };
        let status = LastRun { success: Some(NOW - 3 * HOUR), archives: vec![(5, "a.dump".into())], ..LastRun::default() };
        let found = BackupInfo {
            now: NOW,
            enabled_since: Some(NOW - 90 * HOUR),
            status: Some(status),
            next: String::new(),
            there: HashMap::from([("a.dump".to_owned(), 5)]),
        };
        NodeAnswers { found, timer: unit("active", "enabled"), service: unit("inactive", "static") }
    }

    /// Returns the note of a healthy node, or the problems.
    fn run_check(break_node: impl FnOnce(&mut NodeAnswers)) -> Result<String, String> {
        let check = BackupCheck::new(decode(parameters("b.timer", "26h")).unwrap()).unwrap();
        let mut node = node();
        break_node(&mut node);
        let mut answers = Answers::default();
        answers.set::<Unit>(check.location.timer.clone(), Ok(node.timer));
        answers.set::<Unit>(check.service.clone(), Ok(node.service));
        answers.set::<Backup>(check.location.clone(), Ok(node.found));
        match check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap() {
            Finding::Healthy(found) => Ok(found),
            Finding::Unhealthy(why) => Err(why),
            other @ (Finding::Warning { .. } | Finding::Skipped(_)) => panic!("{other:?}"),
        }
    }

    fn status(node: &mut NodeAnswers) -> &mut LastRun {
        node.found.status.as_mut().unwrap()
    }

    #[test]
    fn a_recent_backup_that_exists_is_healthy() {
        assert_eq!(run_check(|_| ()), Ok("3 h old, 1 verified archive of the last run".to_owned()));
    }

    #[test]
    fn the_age_is_measured_by_the_clock_of_the_node() {
        assert!(run_check(|node| node.found.now = NOW + 22 * HOUR).is_ok());
        let old = run_check(|node| node.found.now = NOW + 24 * HOUR).unwrap_err();
        assert_eq!(old, "the last successful backup is 27 h old, more than 26 h");
        assert!(run_check(|node| node.found.now = NOW - 9 * HOUR).unwrap_err().contains("dated in the future"));
    }

    #[test]
    fn a_failed_run_is_unhealthy_even_if_the_last_successful_one_is_recent() {
        let failed = run_check(|node| {
            status(node).failed = true;
            "no space left".clone_into(&mut status(node).error);
        });
        assert_eq!(failed.unwrap_err(), "the last backup failed: no space left; the last successful one is 3 h old");
        // A run that could not record its failure.
        assert!(run_check(|node| node.service.active = "failed".into()).unwrap_err().contains("journalctl -u b.service"));
    }

    #[test]
    fn a_node_is_healthy_before_its_first_run_is_overdue() {
        let fresh = |hours: u64, next: &str| {
            run_check(|node| {
                node.found.status = None;
                node.found.enabled_since = Some(NOW - hours * HOUR);
                next.clone_into(&mut node.found.next);
            })
        };
        assert_eq!(fresh(25, "Sat 02:00"), Ok("none yet, the first at Sat 02:00".to_owned()));
        assert_eq!(fresh(25, ""), Ok("none yet".to_owned()));
        assert_eq!(fresh(27, "Sat").unwrap_err(), "there is no successful backup, and `b.timer` has been enabled for 27 h");
    }

    #[test]
    fn an_inactive_or_disabled_timer_is_unhealthy() {
        assert!(run_check(|node| node.timer.active = "inactive".into()).unwrap_err().contains("systemctl start b.timer"));
        assert!(run_check(|node| node.timer.file_state = "disabled".into()).unwrap_err().contains("systemctl enable b.timer"));
        assert_eq!(run_check(|node| node.timer.load = "not-found".into()).unwrap_err(), "there is no `b.timer`");
        assert_eq!(run_check(|node| node.service.load = "not-found".into()).unwrap_err(), "there is no `b.service`");
    }

    #[test]
    fn missing_and_truncated_archives_are_named() {
        assert_eq!(run_check(|node| node.found.there.clear()).unwrap_err(), "/b/a.dump no longer exists");
        let short = run_check(|node| node.found.there = HashMap::from([("a.dump".to_owned(), 4)]));
        assert_eq!(short.unwrap_err(), "/b/a.dump has 4 bytes instead of 5");
    }

    #[test]
    fn invalid_parameters_are_refused() {
        let is_refused = |timer: &str, max_age: &str| BackupCheck::new(decode(parameters(timer, max_age)).unwrap()).is_err();
        assert!(!is_refused("b.timer", "1h"));
        let refused = [("b.service", "1h"), ("b c.timer", "1h"), ("b.timer", "soon"), ("b.timer", "0s")];
        assert!(refused.iter().all(|(timer, max_age)| is_refused(timer, max_age)));
    }
}
