//! `assert`: expressions that must hold.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Files, Kind, NodeState, ParamError, Resource, Shape, Verdict, decode,
    schema::{Declare, from_json, parameters},
};
use crate::question::{Questions, Unanswered};

pub(super) const KIND: Kind = Kind {
    name: "assert",
    about: "Ends the run, before its first change, unless expressions hold",
    example: r#"assert:
  that: [redis_port != 22, ansible_facts.os_family == "Debian"]
  fail_msg: this role is for Debian"#,
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The expressions that must be true.
        that: Claims,
        /// The message if an expression is false; without it, the message names the expression.
        fail_msg | msg: Option<String>,
        /// The message if all expressions are true.
        success_msg: Option<String>,
    }
}

/// An expression that the loader evaluated.
#[derive(Debug, Deserialize)]
struct Claim {
    expression: String,
    holds: bool,
}

/// Evaluated expressions.
#[derive(Debug)]
pub(crate) struct Claims(Vec<Claim>);

impl Declare for Claims {
    fn shape() -> Shape {
        Shape::Expressions
    }

    fn read(value: Value) -> Result<Self, ParamError> {
        from_json(if value.is_object() { Value::Array(vec![value]) } else { value }).map(Self)
    }
}

#[derive(Debug)]
struct Assert {
    claims: Vec<Claim>,
    fail_msg: Option<String>,
    success_msg: Option<String>,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let Parameters { that, fail_msg, success_msg } = decode(parameters)?;
    let Claims(claims) = that;
    if claims.is_empty() {
        return Err(ParamError::parameter("that", "give at least one expression"));
    }
    Ok(Box::new(Assert { claims, fail_msg, success_msg }))
}

impl Resource for Assert {
    fn questions(&self, _: &mut Questions) {}

    fn compare(&self, _: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        Ok(match (self.claims.iter().find(|claim| !claim.holds), &self.fail_msg) {
            (None, _) => Verdict::Converged { note: self.success_msg.clone() },
            (Some(_), Some(message)) => Verdict::Refused(message.clone()),
            (Some(claim), None) => Verdict::Refused(format!("assertion `{}` does not hold", claim.expression)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{question::Answers, resource::trial::NoFiles, secret::SecretValues};
    use serde_json::json;

    fn compare(parameters: Value) -> Verdict {
        let answers = Answers::default();
        let resource = from_parameters(parameters, &mut NoFiles).unwrap();
        resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    #[test]
    fn all_must_hold() {
        let (yes, no) = (json!({"expression": "a == 1", "holds": true}), json!({"expression": "b > 2", "holds": false}));
        assert!(matches!(compare(json!({"that": yes})), Verdict::Converged { note: None }));
        assert!(
            matches!(compare(json!({"that": [yes], "success_msg": "fine"})), Verdict::Converged { note: Some(note) } if note == "fine")
        );
        assert!(matches!(compare(json!({"that": [yes, no]})), Verdict::Refused(why) if why == "assertion `b > 2` does not hold"));
        assert!(matches!(compare(json!({"that": [no], "msg": "too small"})), Verdict::Refused(why) if why == "too small"));
        assert!(from_parameters(json!({"that": []}), &mut NoFiles).is_err());
    }
}
