//! `port_owner`: refuses to go on when another program listens on a port.

use serde_json::Value;

use super::{Files, Kind, NodeState, OneOrMany, ParamError, Resource, Verdict, decode, matches_glob, schema::parameters};
use crate::question::{
    Questions, Unanswered,
    port_owner::{Port, PortOwner},
    unit::full_name,
};

pub(super) const KIND: Kind = Kind {
    name: "port_owner",
    about: "Refuses to go on when anything but the given units listens on a port",
    example: "port_owner: {port: 6379, unit: autobot-database-redis.service, help: stop the other Redis first}",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The TCP port.
        port: u16,
        /// The units that may listen there; `*` stands for anything.
        unit: OneOrMany<String>,
        /// What to do when something else does.
        help: String = "",
    }
}

#[derive(Debug)]
struct PortOwners {
    port: u16,
    /// Full names of units, in which `*` stands for any characters.
    units: Vec<String>,
    help: String,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    Ok(Box::new(decode_owners(parameters)?))
}

fn decode_owners(parameters: Value) -> Result<PortOwners, ParamError> {
    let Parameters { port, unit, help } = decode(parameters)?;
    if port == 0 || unit.0.is_empty() {
        return Err(ParamError::parameter(if port == 0 { "port" } else { "unit" }, "is missing"));
    }
    let units = unit.0.iter().map(|name| {
        // With letters in place of its stars, a pattern is a name that can be checked.
        let full = full_name(&name.replace('*', "x")).map_err(|message| ParamError::parameter("unit", message))?;
        Ok(if full.len() == name.len() { name.clone() } else { format!("{name}.service") })
    });
    Ok(PortOwners { port, units: units.collect::<Result<_, ParamError>>()?, help })
}

impl Resource for PortOwners {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<PortOwner>(self.key());
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let owners = node.answers.get::<PortOwner>(&self.key())?;
        // Socket activation: systemd keeps the socket open beside the service.
        let is_allowed = |owner: &PortOwner| self.units.iter().any(|unit| matches_glob(unit, &owner.unit));
        let stranger = owners.iter().find(|owner| !(is_allowed(owner) || owner.pid == 1 && owners.iter().any(is_allowed)));
        Ok(stranger.map_or(Verdict::CONVERGED, |owner| Verdict::Refused(self.describe_conflict(owner))))
    }
}

impl PortOwners {
    fn key(&self) -> Port {
        Port { port: self.port, units: self.units.clone() }
    }

    fn describe_conflict(&self, owner: &PortOwner) -> String {
        let port = self.port;
        let who = if owner.pid == 0 {
            format!("{port} is taken by something outside of what this node can see (a container?)")
        } else {
            let unit = if owner.unit.is_empty() { "no unit".to_owned() } else { format!("unit {}", owner.unit) };
            format!("{port} is taken by `{}` (pid {}, {unit}, directory {})", owner.process, owner.pid, owner.directory)
        };
        let help = if self.help.is_empty() { "stop it, or give another port" } else { &self.help };
        format!("{who}: {help}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{question::Answers, resource::trial::NoFiles, secret::SecretValues};
    use serde_json::json;

    fn owner(pid: u32, process: &str, unit: &str, directory: &str) -> PortOwner {
        PortOwner { pid, process: process.into(), unit: unit.into(), directory: directory.into() }
    }

    fn compare(unit: &Value, owners: Vec<PortOwner>) -> Verdict {
        let resource = decode_owners(json!({"port": 6379, "unit": unit, "help": "look at its data first"})).unwrap();
        let mut answers = Answers::default();
        answers.set::<PortOwner>(resource.key(), Ok(owners));
        resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    #[test]
    fn a_free_port_and_a_port_of_an_allowed_unit_are_converged() {
        let redis = owner(412, "redis-server", "redis.service", "/data");
        assert!(matches!(compare(&json!("redis"), vec![]), Verdict::Converged { .. }));
        assert!(matches!(compare(&json!("redis"), vec![redis.clone()]), Verdict::Converged { .. }));
        assert!(matches!(
            compare(&json!(["redis.service"]), vec![owner(1, "systemd", "init.scope", "/"), redis]),
            Verdict::Converged { .. }
        ));
        let cluster = owner(9, "postgres", "postgresql@15-main.service", "/");
        assert!(matches!(compare(&json!(["x", "postgresql@*"]), vec![cluster]), Verdict::Converged { .. }));
    }

    #[test]
    fn a_stranger_is_named_with_its_unit_and_directory() {
        let Verdict::Refused(why) =
            compare(&json!("autobot-database-redis"), vec![owner(412, "redis-server", "redis-server.service", "/var/lib/redis")])
        else {
            panic!()
        };
        insta::assert_snapshot!(why, @"6379 is taken by `redis-server` (pid 412, unit redis-server.service, directory /var/lib/redis): look at its data first");
        assert!(matches!(compare(&json!("x"), vec![owner(7, "nc", "", "/")]), Verdict::Refused(why) if why.contains("no unit")));
        assert!(
            matches!(compare(&json!("x"), vec![owner(0, "", "", "")]), Verdict::Refused(why) if why.contains("a container?"))
        );
        assert!(matches!(compare(&json!("x"), vec![owner(1, "systemd", "init.scope", "/")]), Verdict::Refused(_)));
    }

    #[test]
    fn wrong_parameters_are_errors() {
        for parameters in [
            json!({"port": 0, "unit": "x"}),
            json!({"port": 1, "unit": []}),
            json!({"port": 99999, "unit": "x"}),
            json!({"port": 1, "unit": "a b"}),
        ] {
            assert!(from_parameters(parameters.clone(), &mut NoFiles).is_err(), "{parameters}");
        }
    }
}
