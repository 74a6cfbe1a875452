//! Secrets that live on one host and are read by another: whose they are, who lends to whom.

use std::collections::HashSet;

use crate::{
    role::{Role, SecretSource},
    secret::SecretRef,
    source::{Diagnostic, Diagnostics},
};

use super::{
    Action, HealthCheck, HostPlan, Lender, SecretSpec, World, host,
    project::Project,
    scope::{HostVars, Scope, Secrets},
};

/// The host on which a secret lives: `host` of its declaration, which may be any pattern that means exactly one host.
///
/// # Errors
/// A value that cannot be told without the node, or that does not mean one host of the inventory.
pub(super) fn owner(project: &Project, reader: &HostVars, role: &Role, source: &SecretSource) -> Result<String, Diagnostics> {
    let Some(node) = &source.host else { return Ok(reader.name.clone()) };
    let scope = Scope::new(project, reader, Some(role), None);
    scope.secrets.set(Secrets::Forbidden("where a secret is declared"));
    let Ok(text) = scope.text(node) else { return Err(scope.take_wrong()) };
    let wrong = |title: String, help: String| Diagnostics(vec![Diagnostic::error(title).at(node.place.clone()).help(help)]);
    match project.inventory.select(&text) {
        Ok(hosts) => match hosts.as_slice() {
            [one] => Ok(one.name.clone()),
            several => {
                let names = several.iter().take(5).map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ");
                let title = format!("a secret lives on one host, and `{text}` means {}: {names}", several.len());
                Err(wrong(title, "name the one on which it is made".to_owned()))
            }
        },
        Err(error) => {
            let help = error.help.unwrap_or_else(|| "name the host of the inventory on which it is made".to_owned());
            Err(wrong(format!("the secret lives on `{text}`, and {}", error.reason), help))
        }
    }
}

/// Tells each host of the plan what it lends, and returns the hosts beyond the plan that lend.
pub(super) fn arrange(project: &Project, plans: &mut [HostPlan], wrong: &mut Diagnostics) -> Vec<Lender> {
    for plan in plans.iter_mut().filter(|plan| !plan.borrowed.is_empty()) {
        let used = used(plan);
        plan.borrowed.retain(|spec| used.contains(&spec.secret));
    }
    circles(plans, wrong);
    let borrowed: Vec<SecretSpec> = plans.iter().flat_map(|plan| waited_for(plan).cloned()).collect();
    let mut lenders: Vec<Lender> = Vec::new();
    for spec in borrowed {
        if let Some(plan) = plans.iter_mut().find(|plan| plan.name == spec.secret.host) {
            add(&mut plan.lent, spec);
            continue;
        }
        if let Some(lender) = lenders.iter_mut().find(|lender| lender.name == spec.secret.host) {
            add(&mut lender.secrets, spec);
            continue;
        }
        let connection = host::connection(project, &host::variables(project, &spec.secret.host), wrong);
        lenders.push(Lender { name: spec.secret.host.clone(), secrets: vec![spec], connection });
    }
    lenders
}

/// The borrowed secrets that something on the host uses, or may use once its facts and results are known.
fn used(plan: &HostPlan) -> HashSet<SecretRef> {
    let mut world = World::stand_in();
    let mut used = HashSet::new();
    let steps = plan.roles.iter().flat_map(|role| &role.steps);
    for step in steps {
        for task in step.expand(&world).unwrap_or_default() {
            match task.action {
                Action::Do(resource) => used.extend(resource.secrets()),
                Action::Skip { .. } => {
                    let depends = |name: &str| step.mentions(name);
                    if depends("ansible_facts") || world.registers.keys().any(|register| depends(register)) {
                        used.extend(plan.borrowed.iter().map(|spec| spec.secret.clone()));
                    }
                }
            }
        }
        if let Some(register) = step.register() {
            world.registers.insert(register.to_owned(), World::stand_in_result(true));
        }
    }
    for health in plan.roles.iter().flat_map(|role| &role.health).filter_map(|step| step.expand(&world).ok().flatten()) {
        match health.check {
            HealthCheck::Read { resource, .. } => used.extend(resource.secrets()),
            HealthCheck::Exercise { exercise, .. } => used.extend(exercise.secrets()),
        }
    }
    used
}

fn add(specs: &mut Vec<SecretSpec>, spec: SecretSpec) {
    if !specs.iter().any(|known| known.secret == spec.secret) {
        specs.push(spec);
    }
}

/// The secrets for which a host waits: what comes from outside is known before.
fn waited_for(plan: &HostPlan) -> impl Iterator<Item = &SecretSpec> {
    plan.borrowed.iter().filter(|spec| spec.outside.is_none())
}

/// Hosts that would wait for each other's secrets for ever.
fn circles(plans: &[HostPlan], wrong: &mut Diagnostics) {
    for plan in plans {
        let mut waits = vec![plan.name.as_str()];
        let mut next = 0;
        while let Some(name) = waits.get(next).copied() {
            next += 1;
            for spec in plans.iter().filter(|other| other.name == name).flat_map(waited_for) {
                if spec.secret.host == plan.name {
                    let title = format!("`{}` and `{name}` read secrets of each other, and neither can go first", plan.name);
                    let diagnostic = Diagnostic::error(title).at(spec.place.clone());
                    wrong.push(diagnostic.help("let both live on the same host"));
                    return;
                }
                if !waits.contains(&spec.secret.host.as_str()) {
                    waits.push(&spec.secret.host);
                }
            }
        }
    }
}
