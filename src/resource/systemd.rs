//! `systemd`: whether a unit is started, enabled, masked.

use std::any::Any;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Change, Diff, Files, Flag, Kind, Missing, NodeState, ParamError, Reach, Resource, Verdict, decode,
    lock_out::service::{self, Ending},
    schema::{parameters, words},
    unit_functions,
};
use crate::question::{
    Questions, Unanswered,
    replaced::Replaced,
    unit::{Unit, full_name},
    unit_state::{ActiveState, LoadState, UnitFileState},
};

pub(super) const KIND: Kind = Kind {
    name: "systemd",
    about: "Says whether a unit of systemd runs and starts at boot",
    example: "systemd: {name: postgresql.service, state: started, enabled: true}",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The unit.
        name | service | unit: String,
        /// `started` (still up two seconds later) or `stopped`; to restart or reload, notify a handler.
        state: Option<State>,
        /// Whether it starts at boot.
        enabled: Option<Flag>,
        /// Whether nothing can start it.
        masked: Option<Flag>,
        /// Whether it is restarted if one of its processes runs a program that was replaced since, as by a package that was installed by hand.
        restart_if_replaced: Flag = false,
        /// Changes nothing: before a unit is used, systemd reads its changed files in any case.
        daemon_reload: Option<Flag>,
    }
}

words!(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Started,
    Stopped,
    Restarted,
    Reloaded,
}

#[derive(Debug)]
struct Systemd {
    unit: String,
    started: Option<bool>,
    enabled: Option<bool>,
    masked: Option<bool>,
    restart_if_replaced: bool,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let parameters: Parameters = decode(parameters)?;
    let started = match parameters.state {
        None => None,
        Some(State::Started) => Some(true),
        Some(State::Stopped) => Some(false),
        Some(State::Restarted | State::Reloaded) => {
            return Err(ParamError::parameter(
                "state",
                "a task says how things are: `started` or `stopped`; to restart or reload, notify a handler",
            ));
        }
    };
    let unit = full_name(&parameters.name).map_err(|message| ParamError::parameter("name", message))?;
    let (enabled, masked) = (parameters.enabled.map(|flag| flag.0), parameters.masked.map(|flag| flag.0));
    let restart_if_replaced = parameters.restart_if_replaced.0;
    if started.is_none() && enabled.is_none() && masked.is_none() && !restart_if_replaced {
        // Together with a state it is accepted, because systemd reads the changed files of a unit anyway before the unit is used.
        return Err(match parameters.daemon_reload {
            Some(_) => ParamError::parameter(
                "daemon_reload",
                "leave the task out: systemd reads the files of a unit that changed before a task or a handler uses it",
            ),
            None => ParamError::parameter("", "say at least one of `state`, `enabled`, `masked` and `restart_if_replaced`"),
        });
    }
    if masked == Some(true) && (started == Some(true) || enabled == Some(true)) {
        return Err(ParamError::parameter("masked", "a masked unit can be neither started nor enabled"));
    }
    if restart_if_replaced && (started == Some(false) || masked == Some(true)) {
        let message = "a unit that is stopped or masked is not restarted";
        return Err(ParamError::parameter("restart_if_replaced", message));
    }
    Ok(Box::new(Systemd { unit, started, enabled, masked, restart_if_replaced }))
}

impl Resource for Systemd {
    fn reach(&self) -> Reach<'_> {
        Reach::Unit(&self.unit)
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Unit>(self.unit.clone());
        if self.restart_if_replaced {
            ask.ask::<Replaced>(self.unit.clone());
        }
        if service::may_be_ssh(&self.unit) {
            service::ask(ask, &self.unit);
        }
    }

    fn unit(&self) -> Option<&str> {
        Some(&self.unit)
    }

    fn refuse(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<String> {
        let ending = Ending {
            stopped: self.started == Some(false),
            disabled: self.enabled == Some(false),
            masked: self.masked == Some(true),
        };
        let comes = |unit: &str| {
            let earlier = earlier.iter().filter_map(|resource| (*resource as &dyn Any).downcast_ref::<Self>());
            earlier
                .filter(|earlier| earlier.unit == unit)
                .any(|earlier| earlier.started == Some(true) && earlier.enabled == Some(true))
        };
        match service::refuses(node, &self.unit, ending, comes) {
            Ok(reason) => reason,
            Err(unanswered) => Some(format!("cannot determine whether this run comes in through `{}`: {unanswered}", self.unit)),
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let unit = node.answers.get::<Unit>(&self.unit)?;
        let name = &self.unit;
        let masked = unit.load == LoadState::Masked || unit.file_state.is_masked();
        // What a stopped unit has left running is no reason to start it.
        let is_down = matches!(unit.active, ActiveState::Inactive | ActiveState::Failed);
        let replaced = self.replaced_program(node)?.filter(|_| self.started == Some(true) || !is_down);
        let is_used = self.started == Some(true) || self.enabled == Some(true) || replaced.is_some();
        if masked && self.masked.is_none() && is_used {
            return Ok(Verdict::Refused(format!("`{name}` is masked; `masked: false` unmasks it")));
        }
        if self.restart_if_replaced && unit.id != *name {
            return Ok(Verdict::Refused(format!(
                "`{name}` is another name of `{}`: name that one, which has the processes",
                unit.id
            )));
        }
        if self.started == Some(true) && unit.runs_once {
            return Ok(Verdict::Refused(format!(
                "`{name}` runs once and ends (Type=oneshot without RemainAfterExit=yes), so it cannot be kept started"
            )));
        }
        let mut diff = Diff::none();
        let mut script = unit_functions::script(APPLY).arg(name);
        let mut step = |verb: &'static str, what: &str, before: &str, after: &str| {
            diff.attribute(what, before, after);
            script = script.clone().arg(verb);
            verb
        };
        let mut verbs = Vec::new();
        match self.masked {
            Some(true) if !masked => verbs.push(step("mask", "masked", "no", "yes")),
            Some(false) if masked => verbs.push(step("unmask", "masked", "yes", "no")),
            Some(_) | None => {}
        }
        match self.enabled {
            Some(true) if !unit.file_state.counts_as_enabled() => {
                verbs.push(step("enable", "enabled", describe_file_state(&unit.file_state), "enabled"));
            }
            Some(false) if !unit.file_state.counts_as_disabled() => {
                verbs.push(step("disable", "enabled", describe_file_state(&unit.file_state), "disabled"));
            }
            Some(_) | None => {}
        }
        match (replaced, self.started) {
            // A restart starts it, too.
            (Some(program), _) => verbs.push(step("restart", "program", &format!("{program} (replaced)"), &program)),
            (None, Some(true)) if !unit.is_up() => verbs.push(step("start", "state", unit.active.as_str(), "active")),
            (None, Some(false)) if !is_down => verbs.push(step("stop", "state", unit.active.as_str(), "inactive")),
            (None, Some(_) | None) => {}
        }
        if verbs.is_empty() && self.declares_no_state() {
            return Ok(Verdict::CONVERGED);
        }
        let summary = if verbs.is_empty() { "nothing more once it exists".to_owned() } else { verbs.join(", ") };
        let change = Change::new(summary, script).diff(diff).replacing(unit.exists());
        let missing = match unit.load {
            // Only a mask needs no unit.
            LoadState::NotFound if self.masked != Some(true) => Some(Missing::Unit(name.clone())),
            LoadState::BadSetting | LoadState::Error => {
                let words = format!("a unit file of `{name}` that systemd can read (`systemd-analyze verify {name}` says why)");
                Some(Missing::Other(words))
            }
            LoadState::Loaded | LoadState::Masked | LoadState::NotFound | LoadState::Other(_) => None,
        };
        Ok(match missing {
            // A missing unit is neither up nor enabled, but "stopped" and "disabled" are about a unit that exists.
            Some(missing) => Verdict::Blocked { missing: vec![missing], change },
            None if verbs.is_empty() => Verdict::CONVERGED,
            None => Verdict::Change(change),
        })
    }
}

impl Systemd {
    /// Whether it only restarts a unit that runs a replaced program, so that there may be no unit.
    fn declares_no_state(&self) -> bool {
        self.started.is_none() && self.enabled.is_none() && self.masked.is_none()
    }

    /// Returns a replaced program that a process of the unit runs.
    fn replaced_program(&self, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        if !self.restart_if_replaced {
            return Ok(None);
        }
        Ok(node.answers.get::<Replaced>(&self.unit)?.first().map(|path| path.escape_debug().to_string()))
    }
}

fn describe_file_state(file_state: &UnitFileState) -> &str {
    if *file_state == UnitFileState::NoFile { "disabled" } else { file_state.as_str() }
}

/// `$1`: the unit; then verbs. `enable` and `disable` get the unit's own name: systemd refuses to enable an alias.
const APPLY: &str = r#"set -eu
unit=$1
shift
[ "${1-}" != unmask ] || systemctl unmask -- "$unit"
[ "${1-}" = mask ] || { unit_read_files "$unit"; unit_exists "$unit"; }
for verb do
  case $verb in
    mask) systemctl mask -- "$unit";;
    unmask) ;;
    enable) systemctl enable -- "$(unit_property "$unit" Id)";;
    disable) systemctl disable -- "$(unit_property "$unit" Id)";;
    start) unit_start "$unit";;
    restart) unit_restart "$unit";;
    stop) unit_job "$unit" stop "did not stop";;
  esac
done
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        question::Answers,
        resource::{
            trial::{NoFiles, run, shown as lines},
            unit_functions::tests::{calls, fake_systemd},
        },
        secret::SecretValues,
    };
    use serde_json::json;

    fn systemd(parameters: Value) -> Result<Box<dyn Resource>, String> {
        from_parameters(parameters, &mut NoFiles).map_err(|error| match error {
            ParamError::Parameter { message, .. } => message,
            ParamError::Word { word, .. } => word.to_string(),
            ParamError::File(_) => unreachable!(),
        })
    }

    fn unit(load: &str, active: &str, file_state: &str) -> Unit {
        Unit {
            id: "redis.service".into(),
            load: load.into(),
            active: active.into(),
            file_state: file_state.into(),
            ..Unit::default()
        }
    }

    fn compare(parameters: Value, unit: Unit) -> Verdict {
        let mut answers = Answers::default();
        answers.set::<Unit>("redis.service".into(), Ok(unit));
        systemd(parameters).unwrap().compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    fn change(parameters: Value, unit: Unit) -> Change {
        crate::resource::trial::change(compare(parameters, unit))
    }

    #[test]
    fn a_running_and_enabled_unit_is_converged() {
        let wanted = json!({"name": "redis", "state": "started", "enabled": true, "masked": false});
        assert!(matches!(compare(wanted, unit("loaded", "active", "enabled")), Verdict::Converged { .. }));
    }

    #[test]
    fn every_drift_is_a_step() {
        let change = change(json!({"name": "redis", "state": "started", "enabled": "yes"}), unit("loaded", "failed", "disabled"));
        assert_eq!(change.summary, "enable, start");
        insta::assert_snapshot!(lines(&change.diff), @r"
        - enabled disabled
        + enabled enabled
        - state failed
        + state active
        ");
    }

    #[test]
    fn stopped_and_disabled_are_states_too() {
        let wanted = json!({"name": "redis", "state": "stopped", "enabled": false});
        assert_eq!(change(wanted.clone(), unit("loaded", "activating", "enabled")).summary, "disable, stop");
        assert!(matches!(compare(wanted.clone(), unit("loaded", "failed", "static")), Verdict::Converged { .. }));
        assert!(matches!(compare(wanted, unit("masked", "inactive", "masked")), Verdict::Converged { .. }));
    }

    #[test]
    fn units_that_systemd_enables_by_other_means_count_as_enabled() {
        for state in ["static", "generated", "alias"] {
            let wanted = json!({"name": "redis", "enabled": true});
            assert!(matches!(compare(wanted, unit("loaded", "active", state)), Verdict::Converged { .. }), "{state}");
        }
        for state in ["enabled-runtime", "indirect", ""] {
            assert_eq!(change(json!({"name": "redis", "enabled": true}), unit("loaded", "active", state)).summary, "enable");
        }
    }

    #[test]
    fn a_missing_unit_blocks_with_the_expected_change() {
        let Verdict::Blocked { missing, change } =
            compare(json!({"name": "redis", "state": "started", "enabled": true}), unit("not-found", "inactive", ""))
        else {
            panic!()
        };
        assert_eq!((missing, change.summary.as_str()), (vec![Missing::Unit("redis.service".into())], "enable, start"));
        let Verdict::Blocked { missing, .. } =
            compare(json!({"name": "redis", "state": "started"}), unit("bad-setting", "inactive", "bad"))
        else {
            panic!()
        };
        assert!(crate::resource::do_not_exist(&missing).contains("systemd-analyze verify"));
    }

    #[test]
    fn masked_units_are_refused_unless_the_task_unmasks_them() {
        let masked = || unit("masked", "inactive", "masked");
        assert!(matches!(compare(json!({"name": "redis", "state": "started"}), masked()), Verdict::Refused(_)));
        assert_eq!(change(json!({"name": "redis", "state": "started", "masked": false}), masked()).summary, "unmask, start");
        assert_eq!(change(json!({"name": "redis", "masked": true}), unit("not-found", "inactive", "")).summary, "mask");
    }

    #[test]
    fn a_unit_that_cannot_stay_started_is_refused() {
        let once = Unit { runs_once: true, ..unit("loaded", "inactive", "static") };
        let Verdict::Refused(why) = compare(json!({"name": "redis", "state": "started"}), once) else { panic!() };
        assert!(why.contains("runs once"));
    }

    /// Compares a unit with these replaced programs.
    fn compare_replaced(more: &Value, unit: Unit, programs: &[&str]) -> Verdict {
        let mut parameters = json!({"name": "redis", "restart_if_replaced": true});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut answers = Answers::default();
        answers.set::<Unit>("redis.service".into(), Ok(unit));
        answers.set::<Replaced>("redis.service".into(), Ok(programs.iter().map(ToString::to_string).collect()));
        systemd(parameters).unwrap().compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    #[test]
    fn a_unit_that_runs_a_replaced_program_is_restarted() {
        let up = || unit("loaded", "active", "enabled");
        let alone = crate::resource::trial::change(compare_replaced(&json!({}), up(), &["/opt/redis", "/usr/bin/sh"]));
        assert_eq!((alone.summary.as_str(), alone.replaces), ("restart", true));
        assert_eq!(lines(&alone.diff), "- program /opt/redis (replaced)\n+ program /opt/redis");
        let more = json!({"state": "started", "enabled": true});
        let down = unit("loaded", "activating", "disabled");
        assert_eq!(crate::resource::trial::change(compare_replaced(&more, down, &["/opt/redis"])).summary, "enable, restart");
        assert!(matches!(compare_replaced(&more, up(), &[]), Verdict::Converged { note: None }));
        // What a stopped unit has left running.
        for state in ["inactive", "failed"] {
            let down = unit("loaded", state, "enabled");
            assert!(matches!(compare_replaced(&json!({}), down, &["/opt/redis"]), Verdict::Converged { note: None }));
        }

        let tools = tempfile::tempdir().unwrap();
        fake_systemd(
            tools.path(),
            "Id=redis.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nActiveEnterTimestampMonotonic=5\n",
        );
        assert_eq!(run(&alone.script, tools.path()).status, 0);
        assert_eq!(calls(tools.path()), "daemon-reload\nreset-failed redis.service\nrestart redis.service\n");
    }

    #[test]
    fn a_unit_that_is_not_there_runs_no_replaced_program() {
        for load in ["not-found", "masked", "bad-setting", "loaded"] {
            let verdict = compare_replaced(&json!({}), unit(load, "inactive", ""), &[]);
            assert!(matches!(verdict, Verdict::Converged { note: None }), "{load}: {verdict:?}");
        }
        let why = |unit: Unit| match compare_replaced(&json!({}), unit, &["/opt/redis"]) {
            Verdict::Refused(why) => why,
            other @ (Verdict::Converged { .. } | Verdict::Change(_) | Verdict::Blocked { .. }) => panic!("{other:?}"),
        };
        assert_eq!(why(unit("masked", "active", "masked")), "`redis.service` is masked; `masked: false` unmasks it");
        let real = Unit { id: "real.service".into(), ..unit("loaded", "active", "enabled") };
        assert!(why(real).starts_with("`redis.service` is another name of `real.service`: name that one"));
        let missing = compare_replaced(&json!({"enabled": true}), unit("not-found", "inactive", ""), &[]);
        assert!(matches!(missing, Verdict::Blocked { .. }), "{missing:?}");
        assert!(
            systemd(json!({"name": "redis", "restart_if_replaced": true, "state": "stopped"})).unwrap_err().contains("stopped")
        );
        assert!(systemd(json!({"name": "redis", "restart_if_replaced": true, "masked": true})).unwrap_err().contains("masked"));
        assert!(systemd(json!({"name": "redis", "restart_if_replaced": false})).unwrap_err().contains("at least one of"));
    }

    #[test]
    fn parameters_that_declare_no_state_are_errors() {
        assert!(systemd(json!({"name": "redis", "state": "restarted"})).unwrap_err().contains("notify a handler"));
        assert!(systemd(json!({"name": "redis", "daemon_reload": true})).unwrap_err().contains("leave the task out"));
        assert!(systemd(json!({"name": "redis", "state": "started", "daemon_reload": true})).is_ok());
        assert!(systemd(json!({"name": "redis"})).unwrap_err().contains("at least one of"));
        assert!(systemd(json!({"name": "redis", "state": "started", "masked": true})).unwrap_err().contains("neither"));
        assert!(systemd(json!({"name": "re dis", "state": "started"})).unwrap_err().contains("not a valid unit name"));
    }

    #[test]
    fn an_alias_is_enabled_by_the_name_of_its_unit_and_started_by_its_own() {
        let tools = tempfile::tempdir().unwrap();
        fake_systemd(
            tools.path(),
            "Id=real.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nActiveEnterTimestampMonotonic=5\n",
        );
        let change =
            change(json!({"name": "redis", "state": "started", "enabled": true}), unit("loaded", "inactive", "disabled"));
        let done = run(&change.script, tools.path());
        assert_eq!(done.status, 0, "{done:?}");
        assert_eq!(calls(tools.path()), "daemon-reload\nenable real.service\nreset-failed redis.service\nstart redis.service\n");
    }
}
