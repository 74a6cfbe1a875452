//! A host's variables, how to reach it, and the secrets that its roles need.

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    outside::ExternalValue,
    question::account::AccountName,
    resource::access::Access,
    role::{Role, SecretSource, VarType, kind_of},
    secret::SecretRef,
    source::{Diagnostic, Diagnostics, Node, Span, Trust, Yaml},
    transport::SshArguments,
    values::{Mode, RemotePath, parse_duration},
};

use super::{
    ConnectionVars, SecretSpec, connection_words, lending, outside,
    project::Project,
    scope::{Failed, HostVars, Scope, Secrets},
};

/// The strongest value of each of a host's variables.
pub(super) fn variables(project: &Project, name: &str) -> HostVars {
    let layers = project.inventory.layers(name);
    let values = layers.iter().flat_map(|layer| &layer.vars).map(|(key, node)| (key.name.clone(), node.clone())).collect();
    let group_names = project.inventory.group_names(name).into_iter().map(str::to_owned).collect();
    HostVars::new(name, values, group_names)
}

/// The name of a role, and where it is assigned.
pub(super) type AssignedRole = (String, Option<Span>);

/// Returns the roles that `autobot_roles` assigns to a host; `None` if it is not set.
pub(super) fn roles(project: &Project, host: &HostVars, errors: &mut Diagnostics) -> Option<Vec<AssignedRole>> {
    let scope = Scope::new(project, host, None, None);
    let is_extra = project.extra.contains_key("autobot_roles");
    let node = host.value("autobot_roles").filter(|_| !is_extra);
    let span = || variable_span(project, host, "autobot_roles");
    let value = scope.variable("autobot_roles");
    errors.extend(scope.take_errors());
    let names = match value.ok()?? {
        Value::Array(items) => items,
        one @ Value::String(_) => vec![one],
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            let mut diagnostic =
                Diagnostic::error(format!("`autobot_roles` must be a list of roles, but this is {}", kind_of(&other)));
            diagnostic.span = span();
            errors.push(diagnostic);
            return Some(Vec::new());
        }
    };
    let items = node.and_then(Node::as_seq).unwrap_or_default();
    let name = |(at, name): (usize, &Value)| {
        let span = items.get(at).map(|item| item.span.clone()).or_else(span);
        name.as_str().map(|name| (name.to_owned(), span))
    };
    Some(names.iter().enumerate().filter_map(name).collect())
}

/// Reads the `ansible_*` variables that say how to reach a host.
pub(super) fn connection(project: &Project, host: &HostVars, errors: &mut Diagnostics) -> ConnectionVars {
    let scope = Scope::new(project, host, None, None);
    scope.secrets.set(Secrets::Forbidden("to connect"));
    let typed = |name: &str, kind: VarType| {
        let value = scope.variable(name).ok().flatten()?;
        kind.fit(value)
            .map_err(|errors| {
                let mut diagnostic = Diagnostic::error(format!("wrong type for `{name}`: {errors}"));
                diagnostic.span = variable_span(project, host, name);
                scope.fail(diagnostic)
            })
            .ok()
    };
    let text = |name: &str| {
        typed(name, VarType::String).and_then(|value| value.as_str().map(str::to_owned)).filter(|text| !text.is_empty())
    };
    let arguments = |name: &str| {
        let text = text(name).unwrap_or_default();
        let is_strangers = project.inventory.trust == Trust::Stranger && !project.extra.contains_key(name);
        let parsed = if is_strangers { SshArguments::parse_strangers(&text) } else { SshArguments::parse(&text) };
        parsed.unwrap_or_else(|error| {
            let mut diagnostic = Diagnostic::error(format!("wrong `{name}`: {error}"));
            diagnostic.span = variable_span(project, host, name);
            scope.fail(diagnostic);
            SshArguments::default()
        })
    };
    let mut connection = ConnectionVars {
        host: text("ansible_host").or_else(|| text("ansible_ssh_host")).unwrap_or_else(|| host.name().to_owned()),
        port: typed("ansible_port", VarType::Port)
            .or_else(|| typed("ansible_ssh_port", VarType::Port))
            .and_then(|port| u16::try_from(port.as_u64()?).ok()),
        user: text("ansible_user").or_else(|| text("ansible_ssh_user")),
        key: KEYS.iter().find_map(|name| text(name)),
        key_at: KEYS.iter().find(|name| text(name).is_some()).and_then(|name| variable_span(project, host, name)),
        arguments: SSH_ARGUMENTS.iter().fold(SshArguments::default(), |before, name| before.and(arguments(name))),
        local: text("ansible_connection").is_some_and(|way| bare_name(&way) == "local"),
        r#become: typed("ansible_become", VarType::Bool).and_then(|flag| flag.as_bool()).unwrap_or(true),
        become_password: None,
        persist: PERSIST,
    };
    if let Some(given) = text("ssh_persist") {
        if let Some(time) = parse_duration(&given).filter(|time| *time <= PERSIST) {
            connection.persist = time;
        } else {
            let mut diagnostic = Diagnostic::error(format!("`ssh_persist` cannot be `{given}`"))
                .help("a time from 0 to 60s: a connection that stays is a way to the node for whatever runs as you");
            diagnostic.span = variable_span(project, host, "ssh_persist");
            scope.fail(diagnostic);
        }
    }
    if connection.r#become {
        connection.become_password = outside::become_password(project, host, errors);
    }
    if let Some(way) = text("ansible_connection")
        && !["ssh", "local", "smart"].contains(&bare_name(&way))
    {
        let mut diagnostic = Diagnostic::error(format!("`ansible_connection` cannot be `{way}`")).help("use `ssh` or `local`");
        diagnostic.span = variable_span(project, host, "ansible_connection");
        scope.fail(diagnostic);
    }
    let is_set = |name: &str| host.value(name).is_none_or(|node| !matches!(&node.value, Yaml::Null) && node.as_str() != Some(""));
    let value = |name: &str| {
        let matters = connection_words::is_judged_by_value(name);
        if matters { scope.variable(name).ok().flatten() } else { is_set(name).then_some(Value::Bool(true)) }
    };
    let names = host.names().chain(project.extra.keys());
    for (name, diagnostic) in connection_words::check(names, value, connection.r#become) {
        scope.fail(Diagnostic { span: variable_span(project, host, name), ..diagnostic });
    }
    errors.extend(scope.take_errors());
    connection
}

/// How long a connection stays, and how long it may.
const PERSIST: Duration = Duration::from_mins(1);

/// The variables that name the private key.
const KEYS: [&str; 2] = ["ansible_ssh_private_key_file", "ansible_private_key_file"];

/// The variables with options for ssh, in Ansible's order: of two equal options the first one counts.
const SSH_ARGUMENTS: [&str; 3] = ["ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"];

/// Returns the name of a plugin without the collection that Ansible ships it in.
fn bare_name(plugin: &str) -> &str {
    plugin.strip_prefix("ansible.builtin.").or_else(|| plugin.strip_prefix("ansible.legacy.")).unwrap_or(plugin)
}

fn variable_span(project: &Project, host: &HostVars, name: &str) -> Option<Span> {
    let extra = project.extra.get(name).map(|extra| extra.span.clone());
    extra.or_else(|| host.value(name).map(|node| node.span.clone()))
}

/// Returns the secrets that roles need on a host, its own and those of other hosts, each once. `declared` holds the sources from the host's variables.
pub(super) fn secrets(
    project: &Project,
    host: &HostVars,
    roles: &[String],
    declared: &IndexMap<String, ExternalValue>,
    errors: &mut Diagnostics,
) -> Vec<SecretSpec> {
    let mut specs: Vec<SecretSpec> = Vec::new();
    let given = roles.iter().filter_map(|name| project.roles.get(name));
    for role in given.flat_map(|role| project.with_required(role)) {
        for (name, source) in &role.secrets {
            let Some(mut spec) = secret(project, host, role, name, source, errors) else { continue };
            let owner_vars = (spec.secret.host != host.name()).then(|| variables(project, &spec.secret.host));
            let owner_vars = owner_vars.map(|owner| outside::declared(project, &owner, errors));
            spec.outside = owner_vars.as_ref().unwrap_or(declared).get(name).cloned().or(spec.outside);
            match specs.iter_mut().find(|known| known.secret == spec.secret) {
                Some(known) if known.file == spec.file && known.length == spec.length && same_source(known, &spec) => {
                    let more: String = spec.without.chars().filter(|character| !known.without.contains(*character)).collect();
                    known.without.push_str(&more);
                }
                Some(known) => {
                    let diagnostic = Diagnostic::error(format!("the secret `{name}` is declared twice, with different settings"))
                        .at(spec.span.clone());
                    errors.push(
                        diagnostic
                            .also(known.span.clone(), "the other")
                            .help("a host has one secret of a name: give both the same file, length and `from`, rename one of them, or move its role to another host"),
                    );
                }
                None => specs.push(spec),
            }
        }
    }
    specs
}

fn same_source(one: &SecretSpec, other: &SecretSpec) -> bool {
    one.outside.as_ref().map(|outside| &outside.source) == other.outside.as_ref().map(|outside| &outside.source)
}

fn secret(
    project: &Project,
    host: &HostVars,
    role: &Role,
    name: &str,
    source: &SecretSource,
    errors: &mut Diagnostics,
) -> Option<SecretSpec> {
    let owner = match lending::owner(project, host, role, source) {
        Ok(owner) => owner,
        Err(more) => {
            errors.extend(more);
            return None;
        }
    };
    // The owner's variables say where it is stored; they may differ from the reader's.
    let owner = if owner == host.name() { None } else { Some(variables(project, &owner)) };
    let owner = owner.as_ref().unwrap_or(host);
    let scope = Scope::new(project, owner, Some(role), None);
    scope.secrets.set(Secrets::Forbidden("where a secret is declared"));
    let spec = spec(&scope, owner, role, name, source);
    errors.extend(scope.take_errors());
    spec.ok()
}

fn spec(scope: &Scope<'_>, host: &HostVars, role: &Role, name: &str, source: &SecretSource) -> Result<SecretSpec, Failed> {
    let text = |node: Option<&Node>, or: &str| node.map_or_else(|| Ok(or.to_owned()), |node| scope.text(node));
    let invalid = |node: Option<&Node>, title: String| {
        scope.fail(Diagnostic::error(title).at(node.map_or_else(|| source.span.clone(), |node| node.span.clone())))
    };
    let file = RemotePath::new(&scope.text(&source.file)?).map_err(|error| invalid(Some(&source.file), error))?;
    let length = text(source.length.as_ref(), "32")?;
    let length = length.parse::<usize>().ok().filter(|length| (16..=512).contains(length));
    let length =
        length.ok_or_else(|| invalid(source.length.as_ref(), "the length of a secret must be from 16 to 512".to_owned()))?;
    let without = text(source.without.as_ref(), "")?;
    if without.contains(char::is_alphanumeric) {
        return Err(invalid(
            source.without.as_ref(),
            "secrets consist of letters and digits, which cannot be excluded".to_owned(),
        ));
    }
    let mode = Value::String(text(source.mode.as_ref(), "0600")?);
    let mode: Mode = serde_json::from_value(mode).map_err(|error| invalid(source.mode.as_ref(), error.to_string()))?;
    if mode.0 & 0o007 != 0 {
        return Err(invalid(source.mode.as_ref(), "a file with secrets must not be open to others".to_owned()));
    }
    let outside = source.from.as_ref().map(|from| outside::from_role(scope, name, from)).transpose()?;
    let account = |node: Option<&Node>| AccountName::new(&text(node, "root")?).map_err(|error| invalid(node, error));
    Ok(SecretSpec {
        secret: SecretRef { host: host.name().to_owned(), name: name.to_owned() },
        file,
        length,
        without,
        access: Access {
            owner: Some(account(source.owner.as_ref())?),
            group: Some(account(source.group.as_ref())?),
            mode: Some(mode),
        },
        outside,
        role: role.name.clone(),
        span: source.span.clone(),
    })
}
