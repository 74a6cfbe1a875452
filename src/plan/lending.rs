//! Secrets that live on one host and are used by another: who owns them, and which hosts lend them.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
};

use serde_json::Value;

use crate::{
    role::{Role, SecretSource},
    secret::SecretId,
    source::{Diagnostic, Diagnostics},
};

use super::{
    Action, Handler, HandlerStep, HealthAction, HealthItem, HealthStep, HostPlan, Lender, SecretSpec, Step, Task, Visitor, World,
    Worlds, host,
    project::Project,
    raw,
    scope::{HostVars, Scope, Secrets},
    trusted, walk,
};

/// The variable by which a lab's inventory marks its nodes.
pub const LAB: &str = "autobot_lab";

/// Returns the host on which a secret lives: the `host` of its declaration, which may be any pattern that matches exactly one host.
///
/// # Errors
/// The value depends on the node, or does not match exactly one host of the inventory.
pub(super) fn owner(project: &Project, reader: &HostVars, role: &Role, source: &SecretSource) -> Result<String, Diagnostics> {
    let Some(node) = &source.host else { return Ok(reader.name_in_token().to_owned()) };
    let scope = Scope::new(project, reader, Some(role), None);
    scope.secrets.set(Secrets::Forbidden("where a secret is declared"));
    let Ok(text) = scope.text(node) else { return Err(scope.take_errors()) };
    let invalid = |title: String, help: String| Diagnostics(vec![Diagnostic::error(title).at(node.span.clone()).help(help)]);
    match project.inventory.select_without_files(&text) {
        Ok(hosts) => match hosts.as_slice() {
            [one] => Ok(one.name.clone()),
            several => {
                let names = several.iter().take(5).map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ");
                let title = format!("a secret lives on one host, but `{text}` matches {}: {names}", several.len());
                Err(invalid(title, "name the host on which it is generated".to_owned()))
            }
        },
        Err(error) => {
            let help = error.help.unwrap_or_else(|| "name the host of the inventory on which it is generated".to_owned());
            Err(invalid(format!("the secret lives on `{text}`, but {}", error.reason), help))
        }
    }
}

/// Sets what each host of the plan lends, and returns the lenders that are not in the plan.
pub(super) fn arrange(project: &Project, plans: &mut [HostPlan], errors: &mut Diagnostics) -> Vec<Lender> {
    for plan in plans.iter_mut().filter(|plan| !plan.borrowed.is_empty()) {
        let used = used(plan, true);
        plan.borrowed.retain(|spec| used.contains(&spec.id()));
    }
    circles(plans, errors);
    check_labs(project, plans, errors);
    let borrowed: Vec<SecretSpec> = plans.iter().flat_map(|plan| plan.borrowed.iter().cloned()).collect();
    let places: HashMap<String, usize> =
        plans.iter().enumerate().filter(|_| !borrowed.is_empty()).map(|(at, plan)| (plan.name.clone(), at)).collect();
    let mut lenders: Vec<Lender> = Vec::new();
    for spec in borrowed {
        if let Some(at) = places.get(&spec.secret.host) {
            let plan = &mut plans[*at];
            let known = plan.secrets.iter().chain(&plan.lent).find(|known| known.secret == spec.secret);
            errors.extend(known.map(|known| conflict(known, &spec)).unwrap_or_default());
            add(&mut plan.lent, spec);
            continue;
        }
        if let Some(lender) = lenders.iter_mut().find(|lender| lender.name == spec.secret.host) {
            let known = lender.secrets.iter().find(|known| known.secret == spec.secret);
            errors.extend(known.map(|known| conflict(known, &spec)).unwrap_or_default());
            add(&mut lender.secrets, spec);
            continue;
        }
        let owner = host::variables(project, &spec.secret.host);
        let connection = host::connection(project, &owner, errors);
        let trusted_owners = trusted::owners(project, &owner, errors);
        lenders.push(Lender { name: spec.secret.host.clone(), secrets: vec![spec], trusted_owners, connection });
    }
    lenders
}

/// Keeps only what health checks need, for a run that only reads the health.
pub(super) fn keep_for_health(plans: &mut [HostPlan], lenders: &mut Vec<Lender>) {
    for plan in plans.iter_mut().filter(|plan| !plan.borrowed.is_empty()) {
        let used = used(plan, false);
        plan.borrowed.retain(|spec| used.contains(&spec.id()));
    }
    let wanted: HashSet<SecretId> = plans.iter().flat_map(|plan| plan.borrowed.iter().map(SecretSpec::id)).collect();
    for plan in plans {
        plan.lent.retain(|spec| wanted.contains(&spec.id()));
    }
    for lender in lenders.iter_mut() {
        lender.secrets.retain(|spec| wanted.contains(&spec.id()));
    }
    lenders.retain(|lender| !lender.secrets.is_empty());
}

/// Returns the secrets that the host uses, or may use once its facts and results are known: in tasks and health checks, or only in health checks.
pub(super) fn used(plan: &HostPlan, by_tasks: bool) -> HashSet<SecretId> {
    let mut visitor = UsedSecrets { plan, by_tasks, used: HashSet::new() };
    let Ok(()) = walk(&plan.roles, &mut Worlds::stand_in(), &mut visitor);
    visitor.used
}

struct UsedSecrets<'a> {
    plan: &'a HostPlan,
    by_tasks: bool,
    used: HashSet<SecretId>,
}

impl Visitor for UsedSecrets<'_> {
    type Stop = Infallible;

    fn wants(&self, task: &Step) -> bool {
        // A task that only reads runs in every mode, for its result.
        self.by_tasks || task.0.task().reads
    }

    fn wants_handlers(&self) -> bool {
        false
    }

    fn task(&mut self, step: &Step, _: &World, expanded: Result<Vec<Task>, Diagnostics>) -> Result<Value, Infallible> {
        let tasks = expanded.unwrap_or_default();
        // A task that is skipped with stand-in facts may run with the real ones.
        let is_certain = !tasks.is_empty() && tasks.iter().all(|task| matches!(task.action, Action::Do(_)));
        if !is_certain && !step.is_left_out() {
            self.used.extend(self.plan.borrowed.iter().map(SecretSpec::id));
        }
        let resources = tasks.iter().filter_map(|task| match &task.action {
            Action::Do(resource) => Some(resource),
            Action::Skip { .. } => None,
        });
        self.used.extend(resources.flat_map(|resource| resource.secrets()));
        Ok(World::stand_in_result(true))
    }

    fn handler(&mut self, _: &HandlerStep, _: Result<Handler, Diagnostics>) -> Result<(), Infallible> {
        Ok(())
    }

    fn health(&mut self, _: &HealthStep, expanded: Result<Option<HealthItem>, Diagnostics>) -> Result<(), Infallible> {
        if let Ok(Some(health)) = expanded {
            self.used.extend(match &health.check {
                HealthAction::Read { check, .. } => check.secrets(),
                HealthAction::Exercise { exercise, .. } => exercise.secrets(),
            });
        }
        Ok(())
    }
}

fn add(specs: &mut Vec<SecretSpec>, spec: SecretSpec) {
    if !specs.iter().any(|known| known.secret == spec.secret) {
        specs.push(spec);
    }
}

/// A lab node must not read secrets of a real node, nor a real node those of a lab node.
fn check_labs(project: &Project, plans: &[HostPlan], errors: &mut Diagnostics) {
    let lab_of = |host: &str| host::variables(project, host).value(LAB).map(raw);
    for (reader, spec) in plans.iter().flat_map(|plan| plan.borrowed.iter().map(move |spec| (&plan.name, spec))) {
        let owner = &spec.secret.host;
        if lab_of(reader) != lab_of(owner) {
            let title = format!("`{reader}` reads a secret of `{owner}`, and only one of them is a node of the lab");
            let diagnostic = Diagnostic::error(title).at(spec.span.clone());
            errors.push(diagnostic.help("boot copies of both: `lab up` without names boots one of each host"));
        }
    }
}

/// Returns the error if two declarations of one secret disagree.
fn conflict(known: &SecretSpec, other: &SecretSpec) -> Diagnostics {
    let source = |spec: &SecretSpec| spec.outside.as_ref().map(|outside| outside.source.clone());
    if known.file == other.file && source(known) == source(other) {
        return Diagnostics::default();
    }
    let title =
        format!("the secret `{}` of `{}` is declared twice, with different settings", known.secret.name, known.secret.host);
    let diagnostic = Diagnostic::error(title).at(other.span.clone()).also(known.span.clone(), "the other");
    Diagnostics(vec![diagnostic.help("give it the same file and `from`, or another name")])
}

/// Reports hosts that would wait for each other's secrets forever.
fn circles(plans: &[HostPlan], errors: &mut Diagnostics) {
    let borrowed: HashMap<&str, &[SecretSpec]> =
        plans.iter().map(|plan| (plan.name.as_str(), plan.borrowed.as_slice())).collect();
    for plan in plans {
        let mut waits = vec![plan.name.as_str()];
        let mut next = 0;
        while let Some(name) = waits.get(next).copied() {
            next += 1;
            for spec in borrowed.get(name).copied().unwrap_or_default() {
                if spec.secret.host == plan.name {
                    let title = format!("`{}` and `{name}` read each other's secrets, so neither can go first", plan.name);
                    let diagnostic = Diagnostic::error(title).at(spec.span.clone());
                    errors.push(diagnostic.help("declare both on the same host"));
                    return;
                }
                if !waits.contains(&spec.secret.host.as_str()) {
                    waits.push(&spec.secret.host);
                }
            }
        }
    }
}
