//! The roles of each selected host: those of its `autobot_roles`, narrowed by `--role`.

use std::{collections::HashMap, sync::Arc};

use crate::source::{Diagnostic, Diagnostics, Span, did_you_mean};

use super::{Request, host, project::Project, scope::HostVars, select::argument};

/// Returns the roles of each selected host that has any, in the order in which they are assigned. The run leaves other hosts alone.
pub(super) fn assign(
    project: &Project,
    hosts: &[Arc<HostVars>],
    request: &Request,
    known: &[String],
    errors: &mut Diagnostics,
) -> HashMap<String, Vec<String>> {
    let before = errors.0.len();
    let unknown = |name: &str, span: Option<Span>| {
        let diagnostic = Diagnostic { span, ..Diagnostic::error(format!("unknown role `{name}`")) };
        match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(near) => diagnostic.suggest(Some(near)),
            None => diagnostic.help(format!("`roles/` has: {}", known.join(", "))),
        }
    };
    for role in request.roles.iter().filter(|role| !known.contains(role)) {
        errors.push(unknown(role, Some(argument("--role", role))));
    }
    let mut assigned: HashMap<String, Vec<String>> = HashMap::new();
    for host in hosts {
        let names = assigned.entry(host.name().to_owned()).or_default();
        for (role, span) in host::roles(project, host, errors).into_iter().flatten() {
            if !known.contains(&role) {
                errors.push(unknown(&role, span));
            } else if !names.contains(&role) {
                names.push(role);
            }
        }
    }
    // After a typo, the selection cannot be judged.
    let is_sound = errors.0.len() == before && !hosts.is_empty();
    if is_sound && !request.roles.is_empty() {
        narrow_to_requested(project, hosts, request, &mut assigned, errors);
    } else if is_sound && assigned.values().all(Vec::is_empty) {
        let help = match declared_roles(project) {
            DeclaredRoles::Unset => {
                "set `autobot_roles: [name]` for a group of the inventory, or use `--role` and `--limit`".to_owned()
            }
            DeclaredRoles::Roles(roles) => roles_by_host(&roles),
        };
        errors.push(Diagnostic::error("no selected host has a role").help(help));
    }
    assigned.retain(|_, roles| !roles.is_empty());
    assigned
}

/// Narrows the roles of hosts to those of `--role`. With `--limit`, each selected host must have each of them.
fn narrow_to_requested(
    project: &Project,
    hosts: &[Arc<HostVars>],
    request: &Request,
    assigned: &mut HashMap<String, Vec<String>>,
    errors: &mut Diagnostics,
) {
    let declared_roles = match declared_roles(project) {
        DeclaredRoles::Roles(declared_roles) => declared_roles,
        DeclaredRoles::Unset if request.limit.is_some() => {
            for roles in assigned.values_mut() {
                roles.clone_from(&request.roles);
            }
            return;
        }
        DeclaredRoles::Unset => {
            let diagnostic = Diagnostic::error("no host has `autobot_roles`; select hosts with --limit");
            errors.push(diagnostic.at(argument("--role", &request.roles.join(","))));
            return;
        }
    };
    for role in &request.roles {
        let without: Vec<&str> = hosts
            .iter()
            .map(|host| host.name())
            .filter(|host| !assigned.get(*host).is_some_and(|roles| roles.contains(role)))
            .collect();
        let span = argument("--role", role);
        if request.limit.is_some() {
            for host in without {
                let diagnostic = Diagnostic::error(format!("`{host}` does not have the role `{role}`")).at(span.clone());
                errors.push(diagnostic.help(help_for_missing_role(role, &declared_roles)));
            }
        } else if without.len() == hosts.len() {
            errors
                .push(Diagnostic::error(format!("no host has the role `{role}`")).at(span).help(roles_by_host(&declared_roles)));
        }
    }
    for roles in assigned.values_mut() {
        *roles = request.roles.iter().filter(|role| roles.contains(role)).cloned().collect();
    }
}

/// The roles that the inventory assigns.
enum DeclaredRoles {
    /// Nothing.
    Unset,
    /// The hosts that have roles, selected or not, with their roles.
    Roles(Vec<(String, Vec<String>)>),
}

fn declared_roles(project: &Project) -> DeclaredRoles {
    // Errors of selected hosts have been reported; those of other hosts do not concern this run.
    let mut ignored = Diagnostics::default();
    let all = project.inventory.hosts.keys().map(|name| host::variables(project, name));
    let set: Vec<(String, Vec<String>)> = all
        .filter_map(|vars| {
            let roles = host::roles(project, &vars, &mut ignored)?;
            Some((vars.name().to_owned(), roles.into_iter().map(|(role, _)| role).collect()))
        })
        .collect();
    if set.is_empty() {
        return DeclaredRoles::Unset;
    }
    DeclaredRoles::Roles(set.into_iter().filter(|(_, roles)| !roles.is_empty()).collect())
}

/// Lists the hosts with their roles, for a help text.
fn roles_by_host(declared_roles: &[(String, Vec<String>)]) -> String {
    let shown = declared_roles.iter().take(10).map(|(host, roles)| format!("{host}: {}", roles.join(", ")));
    match declared_roles.len() {
        0 => "every host's `autobot_roles` is empty".to_owned(),
        1..=10 => format!("hosts that have roles: {}", shown.collect::<Vec<_>>().join("; ")),
        more => format!("hosts that have roles: {}; and {} more", shown.collect::<Vec<_>>().join("; "), more - 10),
    }
}

fn help_for_missing_role(role: &str, declared_roles: &[(String, Vec<String>)]) -> String {
    let with: Vec<&str> =
        declared_roles.iter().filter(|(_, roles)| roles.iter().any(|name| name == role)).map(|(host, _)| host.as_str()).collect();
    if with.is_empty() {
        "no host has it: add it to `autobot_roles`".to_owned()
    } else {
        format!("these hosts have it: {}; select them with `--limit`, or add it to `autobot_roles`", with.join(", "))
    }
}
