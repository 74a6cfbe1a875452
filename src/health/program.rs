//! Check `program`: the processes of a unit run the programs that are on disk, not those that an upgrade has replaced.

use super::{Finding, HealthCheck};
use crate::{
    question::{Questions, Unanswered, replaced::Replaced, unit::full_name},
    resource::{Files, Kind, NodeState, ParamError, decode, schema::parameters},
    values::Flag,
};

pub(super) const KIND: Kind<dyn HealthCheck> = Kind {
    name: "program",
    about: "A unit runs the programs that are on disk, and none that was replaced since it started",
    example: "read:
  program: {unit: \"postgresql@15-main.service\"}",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(Program::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The unit.
        unit | name: String,
        /// Whether a deploy restarts it then; if not, an old program is a warning.
        restart: Flag = true,
    }
}

#[derive(Debug)]
struct Program {
    unit: String,
    restart: bool,
}

impl Program {
    fn new(given: Parameters) -> Result<Self, ParamError> {
        let Parameters { unit, restart: Flag(restart) } = given;
        let unit = full_name(&unit).map_err(|message| ParamError::parameter("unit", message))?;
        Ok(Self { unit, restart })
    }
}

impl HealthCheck for Program {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Replaced>(self.unit.clone());
    }

    fn examine(&self, node: &NodeState<'_>) -> Result<Finding, Unanswered> {
        let unit = &self.unit;
        let programs = node.answers.get::<Replaced>(unit)?;
        if programs.is_empty() {
            return Ok(Finding::Healthy(String::new()));
        }
        let list = programs.iter().map(|path| format!("`{}`", path.escape_debug())).collect::<Vec<_>>().join(", ");
        let what = format!("`{unit}` still runs the old program of {list}, which was replaced since it started");
        Ok(if self.restart {
            Finding::Unhealthy(format!("{what}: a deploy restarts it"))
        } else {
            Finding::Warning { warning: format!("{what}: `systemctl restart {unit}` when it suits"), found: String::new() }
        })
    }

    fn names_unit(&self, unit: &str) -> bool {
        self.unit == unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{question::Answers, secret::SecretValues};
    use serde_json::{Value, json};

    fn examine(parameters: Value, programs: &[&str]) -> Finding {
        let check = Program::new(decode(parameters).unwrap()).unwrap();
        let mut answers = Answers::default();
        answers.set::<Replaced>("db.service".into(), Ok(programs.iter().map(ToString::to_string).collect()));
        check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    #[test]
    fn a_replaced_program_is_unhealthy_or_a_warning_where_no_deploy_restarts_it() {
        assert_eq!(examine(json!({"unit": "db"}), &[]), Finding::Healthy(String::new()));
        let Finding::Unhealthy(why) = examine(json!({"unit": "db"}), &["/a\nb", "/c"]) else { panic!() };
        assert_eq!(
            why,
            "`db.service` still runs the old program of `/a\\nb`, `/c`, which was replaced since it started: a deploy restarts it"
        );
        let Finding::Warning { warning, .. } = examine(json!({"unit": "db", "restart": false}), &["/c"]) else { panic!() };
        assert!(warning.ends_with(": `systemctl restart db.service` when it suits"), "{warning}");
    }

    #[test]
    fn no_answer_is_not_healthy() {
        let check = Program::new(decode(json!({"unit": "db"})).unwrap()).unwrap();
        assert!(check.examine(&NodeState { answers: &Answers::default(), secrets: &SecretValues::default() }).is_err());
        assert!(Program::new(decode(json!({"unit": "d b"})).unwrap()).is_err());
    }
}
