//! The ports of a host that may be open although none of its roles declares them.

use serde_json::Value;

use crate::{
    health::PortRange,
    resource::{ParamError, Segment, decode},
    source::{Diagnostic, Diagnostics, Span},
    values::OneOrMany,
};

use super::{
    host,
    project::Project,
    scope::{HostVars, Scope},
    select::Tags,
};

/// The variable that lists them: ports and ranges of ports.
pub(super) const ALLOWED: &str = "listening_allowed";

/// The ports of a host that may be open besides those that its roles declare.
#[derive(Debug, Clone, Default)]
pub struct OpenPorts {
    /// The variable `listening_allowed`.
    pub allowed: Vec<PortRange>,
    /// Why the roles of this run do not declare all ports that may be open, if so.
    pub partial: Option<String>,
}

/// Reads `listening_allowed`, and finds out whether the run covers all of the host's roles.
pub(super) fn open_ports(
    project: &Project,
    vars: &HostVars,
    roles: &[String],
    tags: &Tags<'_>,
    errors: &mut Diagnostics,
) -> OpenPorts {
    let scope = Scope::new(project, vars, None, None);
    let value = scope.variable(ALLOWED);
    errors.extend(scope.take_errors());
    let allowed = value.ok().flatten().map(|value| ranges(value).map_err(|error| report(project, vars, error, errors)));
    OpenPorts { allowed: allowed.and_then(Result::ok).unwrap_or_default(), partial: partial(project, vars, roles, tags) }
}

fn ranges(value: Value) -> Result<Vec<PortRange>, ParamError> {
    // `-e listening_allowed=9100,9200` is text.
    let value = match value {
        Value::String(text) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other,
    };
    Ok(decode::<OneOrMany<PortRange>>(value)?.0)
}

fn report(project: &Project, vars: &HostVars, error: ParamError, errors: &mut Diagnostics) {
    let node = vars.value(ALLOWED);
    let mut span: Option<Span> = project.extra.get(ALLOWED).map(|extra| extra.span.clone());
    if let ParamError::Parameter { path, message } = error {
        let item = path.iter().find_map(|step| if let Segment::Index(index) = step { Some(*index) } else { None });
        let item = node.and_then(|node| item.and_then(|index| node.as_seq()?.get(index)).or(Some(node)));
        span = span.or_else(|| item.map(|node| node.span.clone()));
        errors.push(Diagnostic { span, ..Diagnostic::error(format!("wrong value of `{ALLOWED}`: {message}")) });
    }
}

fn partial(project: &Project, vars: &HostVars, roles: &[String], tags: &Tags<'_>) -> Option<String> {
    if !tags.only.is_empty() || !tags.skip.is_empty() {
        return Some("needs a run without --tags and --skip-tags: other roles may listen too".to_owned());
    }
    // Errors in the variable are reported where roles are selected.
    match host::roles(project, vars, &mut Diagnostics::default()) {
        Some(given) if given.iter().all(|(name, _)| roles.contains(name)) => None,
        Some(_) => Some("needs a run without --role: the host's other roles may listen too".to_owned()),
        None => Some("the inventory sets no `autobot_roles` for this host, so the ports of its roles are not known".to_owned()),
    }
}
