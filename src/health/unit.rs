//! Check `unit`: a unit is up, and starts at boot. Files that systemd has not read are a warning: what runs is not hurt by them.

use super::{Finding, HealthCheck};
use crate::{
    question::{
        Questions, Unanswered,
        unit::{Unit, full_name},
        unit_files::UnitFiles,
        unit_state::LoadState,
    },
    resource::{Files, Kind, NodeState, ParamError, decode, schema::parameters, unread_file},
    values::Flag,
};

pub(super) const KIND: Kind<dyn HealthCheck> = Kind {
    name: "unit",
    about: "A unit is up, and starts at boot",
    example: "read:
  unit: {name: postgresql.service}",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(UnitCheck::new(&decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The unit.
        name | unit | service: String,
        /// Whether it must be up.
        up: Flag = true,
        /// Whether it must start at boot: by its own links, whichever they are, or because something else starts it.
        at_boot: Flag = true,
    }
}

#[derive(Debug)]
struct UnitCheck {
    unit: String,
    up: bool,
    at_boot: bool,
}

impl UnitCheck {
    fn new(given: &Parameters) -> Result<Self, ParamError> {
        let unit = full_name(&given.name).map_err(|message| ParamError::parameter("name", message))?;
        let (up, at_boot) = (given.up.0, given.at_boot.0);
        if !up && !at_boot {
            return Err(ParamError::parameter("", "say at least one of `up` and `at_boot`"));
        }
        Ok(Self { unit, up, at_boot })
    }
}

impl HealthCheck for UnitCheck {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Unit>(self.unit.clone());
        ask.ask::<UnitFiles>(self.unit.clone());
    }

    fn examine(&self, node: &NodeState<'_>) -> Result<Finding, Unanswered> {
        let name = &self.unit;
        let (unit, files) = (node.answers.get::<Unit>(name)?, node.answers.get::<UnitFiles>(name)?);
        if !unit.exists() {
            return Ok(Finding::Unhealthy(format!("there is no unit `{name}`")));
        }
        let mut problems = Vec::new();
        if self.up && !unit.is_up() {
            problems.push(format!("`{name}` is {}", unit.active.as_str()));
        }
        if unit.load == LoadState::Masked || unit.file_state.is_masked() {
            problems.push(format!("`{name}` is masked, so that nothing can start it: `systemctl unmask {name}`"));
        } else if self.at_boot && !unit.starts_at_boot() {
            problems.push(format!("`{name}` does not start at boot: `systemctl enable {name}`, or a deploy, enables it"));
        }
        if !problems.is_empty() {
            return Ok(Finding::of_problems(&problems, String::new()));
        }
        let unread = unread_file(unit, files).filter(|_| unit.load == LoadState::Loaded);
        let warnings =
            unread.map(|what| format!("the files of `{name}`: {what}; a restart would use what systemd has read before"));
        Ok(Finding::with_warnings(warnings.as_slice(), String::new()))
    }

    fn names_unit(&self, unit: &str) -> bool {
        self.unit == unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        question::{Answers, unit_state::ActiveState},
        secret::SecretValues,
    };
    use serde_json::{Value, json};

    fn examine(parameters: Value, unit: Unit, files: UnitFiles) -> Finding {
        let check = UnitCheck::new(&decode(parameters).unwrap()).unwrap();
        let mut answers = Answers::default();
        answers.set::<Unit>("db.service".into(), Ok(unit));
        answers.set::<UnitFiles>("db.service".into(), Ok(files));
        check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    fn fine() -> Unit {
        Unit { load: LoadState::Loaded, active: ActiveState::Active, file_state: "enabled".into(), ..Unit::default() }
    }

    #[test]
    fn a_unit_is_up_and_starts_at_boot() {
        let of = |parameters: Value, unit: Unit| match examine(parameters, unit, UnitFiles::default()) {
            Finding::Healthy(note) => note,
            Finding::Unhealthy(why) => why,
            other @ (Finding::Warning { .. } | Finding::Skipped(_)) => panic!("{other:?}"),
        };
        let all = || json!({"name": "db"});
        assert_eq!(of(all(), fine()), "");
        assert_eq!(of(all(), Unit { active: ActiveState::Failed, ..fine() }), "`db.service` is failed");
        let disabled = || Unit { file_state: "disabled".into(), ..fine() };
        assert_eq!(
            of(all(), disabled()),
            "`db.service` does not start at boot: `systemctl enable db.service`, or a deploy, enables it"
        );
        assert_eq!(of(json!({"name": "db", "at_boot": false}), disabled()), "");
        let masked = Unit { file_state: "masked-runtime".into(), ..fine() };
        assert_eq!(
            of(json!({"name": "db", "at_boot": false}), masked),
            "`db.service` is masked, so that nothing can start it: `systemctl unmask db.service`"
        );
        assert_eq!(of(json!({"name": "db", "up": false}), Unit { active: ActiveState::Inactive, ..fine() }), "");
        assert_eq!(of(all(), Unit { load: LoadState::NotFound, ..fine() }), "there is no unit `db.service`");
    }

    #[test]
    fn files_that_systemd_has_not_read_are_a_warning() {
        let unread = |unit: Unit, files: UnitFiles| match examine(json!({"name": "db"}), unit, files) {
            Finding::Warning { warning, .. } => warning,
            other @ (Finding::Healthy(_) | Finding::Unhealthy(_) | Finding::Skipped(_)) => panic!("{other:?}"),
        };
        let drop_in =
            || UnitFiles { drop_ins: vec!["/etc/systemd/system/db.service.d/10 my.conf".into()], ..UnitFiles::default() };
        assert!(unread(fine(), drop_in()).contains("10 my.conf` was not read by systemd; a restart would use what"));
        assert!(unread(Unit { needs_reload: true, ..fine() }, UnitFiles::default()).contains("changed since systemd read them"));
        let read = Unit { drop_ins: vec!["/x/10 my.conf".into()], ..fine() };
        assert_eq!(examine(json!({"name": "db"}), read, drop_in()), Finding::Healthy(String::new()));
    }

    #[test]
    fn wrong_parameters_are_refused() {
        for wrong in [json!({"name": "d b"}), json!({"name": "db", "up": false, "at_boot": false})] {
            assert!(UnitCheck::new(&decode(wrong).unwrap()).is_err());
        }
    }
}
