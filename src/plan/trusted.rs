//! The users of a host whom root trusts with the way to its files.

use serde_json::Value;

use crate::{
    question::{account::AccountName, way::TrustedOwners},
    resource::{ParamError, decode},
    source::{Diagnostic, Diagnostics},
    values::OneOrMany,
};

use super::{
    project::Project,
    scope::{HostVars, Scope},
};

/// The variable that names them.
pub(super) const VARIABLE: &str = "autobot_trusted_owners";

/// Reads `autobot_trusted_owners` of a host.
pub(super) fn owners(project: &Project, vars: &HostVars, errors: &mut Diagnostics) -> TrustedOwners {
    let scope = Scope::new(project, vars, None, None);
    let value = scope.variable(VARIABLE);
    errors.extend(scope.take_errors());
    match value.ok().flatten().map(names) {
        None => TrustedOwners::default(),
        Some(Ok(users)) => TrustedOwners::new(users),
        Some(Err(error)) => {
            let extra = project.extra.get(VARIABLE).map(|extra| extra.span.clone());
            let span = extra.or_else(|| vars.value(VARIABLE).map(|node| node.span.clone()));
            if let ParamError::Parameter { message, .. } = error {
                errors.push(Diagnostic { span, ..Diagnostic::error(format!("wrong value of `{VARIABLE}`: {message}")) });
            }
            TrustedOwners::default()
        }
    }
}

fn names(value: Value) -> Result<Vec<AccountName>, ParamError> {
    // `-e autobot_trusted_owners=deploy,ops` is text.
    let value = match value {
        Value::Null => Value::Array(Vec::new()),
        Value::String(text) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other,
    };
    Ok(decode::<OneOrMany<AccountName>>(value)?.0)
}
