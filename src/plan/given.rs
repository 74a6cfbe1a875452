//! Which roles each selected host gets: those of its `autobot_roles`, narrowed by `--role`.

use std::{collections::HashMap, sync::Arc};

use crate::source::{Diagnostic, Diagnostics, Place, did_you_mean};

use super::{Request, host, project::Project, scope::HostVars, select::argument};

/// The roles of each selected host that has any, in the order in which they are given; other hosts are no business of the run.
pub(super) fn roles(
    project: &Project,
    hosts: &[Arc<HostVars>],
    request: &Request,
    known: &[String],
    wrong: &mut Diagnostics,
) -> HashMap<String, Vec<String>> {
    let before = wrong.0.len();
    let unknown = |name: &str, place: Option<Place>| {
        let diagnostic = Diagnostic { place, ..Diagnostic::error(format!("unknown role `{name}`")) };
        match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(near) => diagnostic.suggest(Some(near)),
            None => diagnostic.help(format!("`roles/` has: {}", known.join(", "))),
        }
    };
    for role in request.roles.iter().filter(|role| !known.contains(role)) {
        wrong.push(unknown(role, Some(argument("--role", role))));
    }
    let mut given: HashMap<String, Vec<String>> = HashMap::new();
    for host in hosts {
        let names = given.entry(host.name.clone()).or_default();
        for (role, place) in host::roles(project, host, wrong).into_iter().flatten() {
            if !known.contains(&role) {
                wrong.push(unknown(&role, place));
            } else if !names.contains(&role) {
                names.push(role);
            }
        }
    }
    // A typo is no reason to doubt the selection.
    let is_sound = wrong.0.len() == before && !hosts.is_empty();
    if is_sound && !request.roles.is_empty() {
        asked(project, hosts, request, &mut given, wrong);
    } else if is_sound && given.values().all(Vec::is_empty) {
        let help = match everybodys(project) {
            Everybodys::Unset => {
                "set `autobot_roles: [name]` for a group of the inventory, or say `--role` and `--limit`".to_owned()
            }
            Everybodys::Roles(roles) => with_roles(&roles),
        };
        wrong.push(Diagnostic::error("no selected host is given a role").help(help));
    }
    given.retain(|_, roles| !roles.is_empty());
    given
}

/// Narrows what hosts are given to the roles of `--role`. Who names hosts means each of them.
fn asked(
    project: &Project,
    hosts: &[Arc<HostVars>],
    request: &Request,
    given: &mut HashMap<String, Vec<String>>,
    wrong: &mut Diagnostics,
) {
    let everybodys = match everybodys(project) {
        Everybodys::Roles(everybodys) => everybodys,
        Everybodys::Unset if request.limit.is_some() => {
            for roles in given.values_mut() {
                roles.clone_from(&request.roles);
            }
            return;
        }
        Everybodys::Unset => {
            let diagnostic = Diagnostic::error("no host has `autobot_roles`; say which hosts with --limit");
            wrong.push(diagnostic.at(argument("--role", &request.roles.join(","))));
            return;
        }
    };
    for role in &request.roles {
        let without: Vec<&str> = hosts
            .iter()
            .map(|host| host.name.as_str())
            .filter(|host| !given.get(*host).is_some_and(|roles| roles.contains(role)))
            .collect();
        let place = argument("--role", role);
        if request.limit.is_some() {
            for host in without {
                let diagnostic = Diagnostic::error(format!("`{host}` is not given the role `{role}`")).at(place.clone());
                wrong.push(diagnostic.help(not_given(role, &everybodys)));
            }
        } else if without.len() == hosts.len() {
            wrong.push(Diagnostic::error(format!("no host is given the role `{role}`")).at(place).help(with_roles(&everybodys)));
        }
    }
    for roles in given.values_mut() {
        *roles = request.roles.iter().filter(|role| roles.contains(role)).cloned().collect();
    }
}

/// What the inventory says of roles.
enum Everybodys {
    /// Nothing.
    Unset,
    /// The hosts that are given any, selected or not, with their roles.
    Roles(Vec<(String, Vec<String>)>),
}

fn everybodys(project: &Project) -> Everybodys {
    // Of selected hosts it has been complained about; of others it is no business of this run.
    let mut ignored = Diagnostics::default();
    let all = project.inventory.hosts.keys().map(|name| host::variables(project, name));
    let set: Vec<(String, Vec<String>)> = all
        .filter_map(|vars| {
            let roles = host::roles(project, &vars, &mut ignored)?;
            Some((vars.name, roles.into_iter().map(|(role, _)| role).collect()))
        })
        .collect();
    if set.is_empty() {
        return Everybodys::Unset;
    }
    Everybodys::Roles(set.into_iter().filter(|(_, roles)| !roles.is_empty()).collect())
}

/// Which hosts have which roles.
fn with_roles(everybodys: &[(String, Vec<String>)]) -> String {
    let shown = everybodys.iter().take(10).map(|(host, roles)| format!("{host}: {}", roles.join(", ")));
    match everybodys.len() {
        0 => "every host's `autobot_roles` is empty".to_owned(),
        1..=10 => format!("these are given roles: {}", shown.collect::<Vec<_>>().join("; ")),
        more => format!("these are given roles: {}; and {} more", shown.collect::<Vec<_>>().join("; "), more - 10),
    }
}

fn not_given(role: &str, everybodys: &[(String, Vec<String>)]) -> String {
    let with: Vec<&str> =
        everybodys.iter().filter(|(_, roles)| roles.iter().any(|name| name == role)).map(|(host, _)| host.as_str()).collect();
    if with.is_empty() {
        "no host is: add it to `autobot_roles`".to_owned()
    } else {
        format!("these are: {}; select them with `--limit`, or add it to `autobot_roles`", with.join(", "))
    }
}
