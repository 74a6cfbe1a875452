//! Loads a project and checks all of it with stand-in facts.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    inventory::{Host, Inventory},
    role::{MAGIC, Role, TaskSource},
    source::{Diagnostic, Diagnostics, FilesRead, Trust, did_you_mean},
};

use super::{
    Handler, HandlerStep, HealthItem, HealthStep, HostPlan, Plan, Request, RolePlan, Step, Task, Variables, Visitor, World,
    Worlds, ansible_cfg, assigned_roles,
    checked::{Checked, Part, Subject},
    expand::ItemSource,
    extra, host, lending, outside, ports,
    project::Project,
    same_node,
    scope::{HostVars, Scope, Secrets},
    select::{self, Tags, argument},
    trusted, walk,
};

/// Loads, resolves and checks a project for every selected host.
///
/// # Errors
/// All errors at once.
pub fn load(request: &Request) -> Result<Plan, Diagnostics> {
    let mut errors = Diagnostics::default();
    let files = request.files();
    let inventory = match request.inventory(&files) {
        Ok(inventory) => inventory,
        Err(more) => {
            errors.extend(more);
            Inventory { files, ..Inventory::default() }
        }
    };
    let extra = extra::read(&request.extra_vars, &request.vault, &inventory.files, &mut errors);
    // Roles can be checked for their own mistakes even when the inventory cannot be read.
    let inventory_is_readable = errors.is_empty();
    let mut project = Project::new(request, inventory, extra);
    let names = if inventory_is_readable { selected(&project.inventory, request, &mut errors) } else { Vec::new() };
    let hosts: Vec<Arc<HostVars>> = names.iter().map(|name| Arc::new(host::variables(&project, name))).collect();
    let known = known_roles(&request.project, &project.files, &mut errors);
    let assigned = assigned_roles::assign(&project, &hosts, request, &known, &mut errors);
    let needed = if request.roles.is_empty() { known.clone() } else { request.roles.clone() };
    project.roles = read_roles(request, needed, &known, &project.files, &mut errors);
    select::circles(&project.roles, &mut errors);
    let project = Arc::new(project);
    let tags = Tags { only: &request.tags, skip: &request.skip_tags };
    if !assigned.is_empty() {
        let selected: Vec<String> = assigned.values().flatten().cloned().collect();
        let deployed = select::in_order(&selected, &project.roles);
        let used: Vec<&Role> = project.roles.values().filter(|role| deployed.contains(&role.name)).collect();
        tags.check(&used, &mut errors);
    }
    let mut plans = Vec::new();
    let mut by_host = Vec::new();
    let mut checked = Checked::default();
    for vars in &hosts {
        // A host without roles is neither contacted nor held.
        let Some(roles) = assigned.get(vars.name()) else { continue };
        let mut host_errors = Diagnostics::default();
        plans.push(plan_host(&project, vars, roles, &tags, &mut checked, &mut host_errors));
        by_host.push((vars.name(), host_errors));
    }
    errors.extend(name_hosts(by_host));
    if !request.only_health {
        same_node::check(&project, &plans, request.takes_locks, &mut errors);
    }
    let mut lenders = lending::arrange(&project, &mut plans, &mut errors);
    if request.only_health {
        // What is wrong is the same for every purpose, so the rest is left out only now.
        lending::keep_for_health(&mut plans, &mut lenders);
    }
    if inventory_is_readable {
        extra::unknown(&project, &mut errors);
    }
    if request.trust == Trust::Stranger {
        // A stranger's role reads no secrets, so that no other host is contacted for them.
        lenders.clear();
    }
    let (errors, mut warnings) = errors.by_severity();
    warnings.extend(ansible_cfg::warning(request, &project.files));
    warnings.extend(project.inventory.warnings.iter().cloned());
    let files = project.files.list(&request.project);
    errors.into_result(Plan { hosts: plans, lenders, files, warnings: Diagnostics(warnings).sorted().0 })
}

/// Returns the names of a project's roles. A directory that must not be read is an error.
pub fn known_roles(project: &std::path::Path, files: &FilesRead, errors: &mut Diagnostics) -> Vec<String> {
    let roles = project.join("roles");
    if let Err(error) = files.boundary.check(&roles) {
        errors.push(Diagnostic::error(format!("cannot read `roles/`: {error}")));
        return Vec::new();
    }
    // Whether a link that leads out is a directory is not looked at: reading the role says where it leads.
    let is_role = |name: &String| {
        let path = roles.join(name);
        !name.starts_with('.') && (files.boundary.check(&path).is_err() || path.is_dir())
    };
    files.names_in(&roles).into_iter().filter(is_role).collect()
}

/// Merges equal diagnostics of different hosts. One that does not occur on all hosts names those on which it does.
fn name_hosts(by_host: Vec<(&str, Diagnostics)>) -> Diagnostics {
    let all = by_host.len();
    let mut found: Vec<(Diagnostic, Vec<&str>)> = Vec::new();
    // By title and place: there may be very many errors.
    let mut alike: HashMap<(String, Option<usize>), Vec<usize>> = HashMap::new();
    for (host, errors) in by_host {
        for diagnostic in errors.sorted().0 {
            let key = (diagnostic.title.clone(), diagnostic.span.as_ref().map(|span| span.range.start));
            let alike = alike.entry(key).or_default();
            if let Some(at) = alike.iter().find(|at| found[**at].0 == diagnostic) {
                found[*at].1.push(host);
            } else {
                alike.push(found.len());
                found.push((diagnostic, vec![host]));
            }
        }
    }
    let named = found.into_iter().map(|(mut diagnostic, hosts)| {
        if hosts.len() < all {
            let shown = hosts.iter().take(3).copied().collect::<Vec<_>>().join(", ");
            let more = if hosts.len() > 3 { format!(" and {} more", hosts.len() - 3) } else { String::new() };
            diagnostic.title = format!("{} (on {shown}{more})", diagnostic.title);
        }
        diagnostic
    });
    Diagnostics(named.collect())
}

fn selected(inventory: &Inventory, request: &Request, errors: &mut Diagnostics) -> Vec<String> {
    matching(inventory, request.limit.as_deref().map(|limit| ("--limit", limit)), errors)
}

/// Returns the hosts that the pattern of an argument selects; all without a pattern.
pub(super) fn matching(inventory: &Inventory, pattern: Option<(&str, &str)>, errors: &mut Diagnostics) -> Vec<String> {
    match inventory.select(pattern.map_or("all", |(_, pattern)| pattern)) {
        Ok(hosts) => hosts.into_iter().map(|host: &Host| host.name.clone()).collect(),
        Err(error) => {
            let span = pattern.map(|(option, pattern)| {
                let start = pattern.find(&error.part).unwrap_or_default();
                argument(option, pattern).inside(start..start + error.part.len())
            });
            let diagnostic = Diagnostic { span, ..Diagnostic::error(error.reason) };
            errors.push(match error.help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
            Vec::new()
        }
    }
}

/// Reads the named roles and all roles that they require.
pub(super) fn read_roles(
    request: &Request,
    mut waiting: Vec<String>,
    known: &[String],
    files: &FilesRead,
    errors: &mut Diagnostics,
) -> IndexMap<String, Role> {
    let mut roles: IndexMap<String, Role> = IndexMap::new();
    let mut seen: Vec<String> = Vec::new();
    let mut read = side_by_side(request, &waiting, known, files);
    waiting.reverse();
    while let Some(name) = waiting.pop() {
        if !known.contains(&name) || seen.contains(&name) {
            continue;
        }
        seen.push(name.clone());
        let (role, wrong) = read.remove(&name).unwrap_or_else(|| read_role(request, &name, files));
        errors.extend(wrong);
        let Some(role) = role else { continue };
        for former in role.was.iter().filter(|former| known.contains(&former.text)) {
            let title = format!("`{name}` cannot have had the name `{0}`: there is a role `{0}`", former.text);
            let diagnostic = Diagnostic::error(title).at(former.span.clone());
            errors.push(diagnostic.help("a pending handler on a node could not be assigned to one of the two roles"));
        }
        for required in &role.requires {
            if known.contains(&required.text) {
                waiting.push(required.text.clone());
            } else {
                let diagnostic = Diagnostic::error(format!("unknown role `{}`", required.text)).at(required.span.clone());
                errors.push(diagnostic.suggest(did_you_mean(&required.text, known.iter().map(String::as_str))));
            }
        }
        roles.insert(name, role);
    }
    roles
}

/// A role, if it could be read, and what is wrong with it.
type ReadRole = (Option<Role>, Diagnostics);

fn read_role(request: &Request, name: &str, files: &FilesRead) -> ReadRole {
    let mut errors = Diagnostics::default();
    (Role::read(&request.project, name, files, &mut errors), errors)
}

/// Reads roles on all processors: that is most of the work for a few hosts.
fn side_by_side(request: &Request, names: &[String], known: &[String], files: &FilesRead) -> HashMap<String, ReadRole> {
    /// More have nothing to do.
    const MOST: usize = 4;
    /// As the stack of the main thread.
    const STACK: usize = 8 << 20;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut read = HashMap::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            if known.contains(name) {
                read.insert(name.clone(), read_role(request, name, files));
            }
        }
        read
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST).min(names.len());
    thread::scope(|scope| {
        // What cannot be started is done here.
        let start = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        let mut read = work();
        for other in others {
            read.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        read
    })
}

fn plan_host(
    project: &Arc<Project>,
    vars: &Arc<HostVars>,
    roles: &[String],
    tags: &Tags<'_>,
    checked: &mut Checked,
    errors: &mut Diagnostics,
) -> HostPlan {
    let roles = select::in_order(roles, &project.roles);
    let connection = host::connection(project, vars, errors);
    let outside = outside::declared(project, vars, errors);
    let secrets = host::secrets(project, vars, &roles, &outside, errors);
    let (secrets, borrowed) = secrets.into_iter().partition(|spec| spec.secret.host == vars.name());
    let everything = ["all", "never"].map(str::to_owned);
    let mut plans = Vec::new();
    for name in &roles {
        let role = &project.roles[name];
        let part =
            |number: usize| ItemSource { project: Arc::clone(project), host: Arc::clone(vars), role: name.clone(), number };
        let role_plan = |tags: &Tags<'_>| RolePlan {
            name: name.clone(),
            description: role.description.clone(),
            steps: numbers(role.tasks.iter().map(|task| tags.select(&task.tags))).map(|number| Step(part(number))).collect(),
            handlers: (0..role.handlers.len()).map(|number| HandlerStep(part(number))).collect(),
            health: numbers(role.health.iter().map(|health| tags.select(&health.tags)))
                .map(|number| HealthStep(part(number)))
                .collect(),
        };
        let plan = role_plan(tags);
        // Tasks that the tags exclude are checked too; the selected ones must also work without the results of the others.
        let number = project.roles.get_index_of(name).unwrap_or_default();
        let mut check = Check { host: vars, role: number, tagged: false, checked, errors };
        check.variables(project, role);
        check.items(&role_plan(&Tags { only: &everything, skip: &[] }));
        if plan.steps.len() < role.tasks.len() {
            check.tagged = true;
            check.items(&plan);
        }
        plans.push(plan);
    }
    // The file that sets its address, if there is one.
    let named_in = vars.value("ansible_host").map(|address| &address.span);
    let named_in = named_in.or_else(|| project.inventory.hosts.get(vars.name()).map(|host| &host.span));
    let named_in = named_in.map(|span| span.file.shown.clone()).unwrap_or_default();
    let trusted_owners = trusted::owners(project, vars, errors);
    let open_ports = ports::open_ports(project, vars, &roles, tags, errors);
    let variables = Variables { project: Arc::clone(project), host: Arc::clone(vars) };
    HostPlan {
        name: vars.name().to_owned(),
        named_in,
        roles: plans,
        secrets,
        borrowed,
        lent: Vec::new(),
        vaulted: project.vaulted_of(vars.name()),
        open_ports,
        trusted_owners,
        trust: project.files.boundary.trust,
        connection,
        variables,
    }
}

fn numbers(selected: impl Iterator<Item = bool>) -> impl Iterator<Item = usize> {
    selected.enumerate().filter_map(|(number, selected)| selected.then_some(number))
}

/// Checks a role on a host, and collects the errors.
struct Check<'a> {
    host: &'a HostVars,
    role: usize,
    tagged: bool,
    checked: &'a mut Checked,
    errors: &'a mut Diagnostics,
}

impl Check<'_> {
    /// Evaluates each variable of the role, whether a task uses it or not.
    fn variables(&mut self, project: &Project, role: &Role) {
        let (subject, vars) = (self.subject(Part::Variables), self.host);
        let evaluated = self.checked.unless_known(subject, vars, || {
            let world = World::stand_in();
            let scope = Scope::new(project, vars, Some(role), Some(&world));
            scope.secrets.set(Secrets::Tokens);
            for name in role.defaults.keys().filter(|name| !MAGIC.contains(&name.as_str())) {
                let _ = scope.variable(name);
            }
            scope.take_errors().into_result(())
        });
        self.errors.extend(evaluated.and_then(Result::err).unwrap_or_default());
    }

    /// Expands the role with stand-in facts and results.
    fn items(&mut self, plan: &RolePlan) {
        let Ok(()) = walk(std::slice::from_ref(plan), &mut Worlds::stand_in(), self);
    }

    fn subject(&self, part: Part) -> Subject {
        Subject { role: self.role, tagged: self.tagged, part }
    }
}

impl Visitor for Check<'_> {
    type Stop = Infallible;

    fn expand_task(&mut self, step: &Step, world: &World) -> Result<Vec<Task>, Diagnostics> {
        let subject = self.subject(Part::Task(step.0.number));
        self.checked.unless_known(subject, self.host, || step.expand(world)).unwrap_or_else(|| Ok(Vec::new()))
    }

    fn expand_health(&mut self, step: &HealthStep, world: &World) -> Result<Option<HealthItem>, Diagnostics> {
        let subject = self.subject(Part::Health(step.0.number));
        self.checked.unless_known(subject, self.host, || step.expand(world)).unwrap_or(Ok(None))
    }

    fn task(&mut self, step: &Step, world: &World, expanded: Result<Vec<Task>, Diagnostics>) -> Result<Value, Infallible> {
        let task: &TaskSource = step.0.task();
        // A stand-in result may not have a valid value, but whether the names in the task exist is known.
        let may_not_fit = !task.sound || world.registers.keys().any(|register| step.mentions(register));
        match expanded {
            Err(_) if may_not_fit => self.errors.extend(step.0.unknown_names(world)),
            Err(more) => self.errors.extend(more),
            Ok(_) => {}
        }
        Ok(World::stand_in_result(task.reads))
    }

    fn handler(&mut self, _: &HandlerStep, expanded: Result<Handler, Diagnostics>) -> Result<(), Infallible> {
        self.errors.extend(expanded.err().unwrap_or_default());
        Ok(())
    }

    fn health(&mut self, _: &HealthStep, expanded: Result<Option<HealthItem>, Diagnostics>) -> Result<(), Infallible> {
        self.errors.extend(expanded.err().unwrap_or_default());
        Ok(())
    }
}
