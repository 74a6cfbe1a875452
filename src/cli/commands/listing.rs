//! `deploy --list-…`: lists what a deploy would use, in place of deploying.

use std::fmt::Write as _;

use clap::Args;
use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value, json};

use crate::{
    cli::{arguments::Output, out},
    plan::{HealthStep, Plan, RolePlan, Step},
    report::harmless,
};

/// What to list instead of a deploy.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a separate flag")]
pub(in crate::cli) struct Listing {
    /// List the hosts, contact none
    #[arg(long)]
    pub(in crate::cli) list_hosts: bool,

    /// List the roles and their hosts, contact none
    #[arg(long)]
    pub(in crate::cli) list_roles: bool,

    /// List the tasks with their tags, contact no host
    #[arg(long)]
    pub(in crate::cli) list_tasks: bool,

    /// List the tags, contact no host
    #[arg(long)]
    pub(in crate::cli) list_tags: bool,
}

impl Listing {
    /// Whether anything is to be listed.
    pub(in crate::cli) fn is_asked_for(&self) -> bool {
        self.list_hosts || self.list_roles || self.list_tasks || self.list_tags
    }
}

/// Prints the requested parts of the plan.
pub(in crate::cli) fn print(plan: &Plan, asked: &Listing, output: Output) {
    match output {
        Output::Json => out::json(&format!("{:#}", document(plan, asked))),
        Output::Text => out::line(harmless(&text(plan, asked)).trim_end()),
    }
}

/// A role in the plans of hosts. Roles, and their tasks, are the same on each of them.
struct Given<'a> {
    role: &'a RolePlan,
    hosts: Vec<&'a str>,
}

/// The roles in the order of the first host that has them, with their hosts.
fn roles(plan: &Plan) -> Vec<Given<'_>> {
    let mut roles: IndexMap<&str, Given<'_>> = IndexMap::new();
    for host in &plan.hosts {
        for role in &host.roles {
            let given = roles.entry(&role.name).or_insert_with(|| Given { role, hosts: Vec::new() });
            given.hosts.push(&host.name);
        }
    }
    roles.into_values().collect()
}

fn hosts(plan: &Plan) -> Vec<&str> {
    plan.hosts.iter().map(|host| host.name.as_str()).collect()
}

/// The tags that select what is selected, sorted.
fn tags<'a>(roles: &[Given<'a>]) -> Vec<&'a str> {
    let steps = roles.iter().flat_map(|given| given.role.steps.iter().flat_map(Step::tags));
    let health = roles.iter().flat_map(|given| given.role.health.iter().flat_map(HealthStep::tags));
    let mut tags: Vec<&str> = steps.chain(health).collect::<IndexSet<&str>>().into_iter().collect();
    tags.sort_unstable();
    tags
}

/// As `ansible --list-hosts` and `ansible-playbook --list-tasks` print it.
fn text(plan: &Plan, asked: &Listing) -> String {
    let roles = roles(plan);
    let mut text = String::new();
    let mut section = |name: &str, lines: Vec<String>| {
        let _ = writeln!(text, "  {name} ({}):", lines.len());
        text.extend(lines.iter().map(|line| format!("    {line}\n")));
    };
    if asked.list_hosts {
        section("hosts", hosts(plan).iter().map(|host| (*host).to_owned()).collect());
    }
    if asked.list_roles {
        let line = |given: &Given<'_>| {
            let description = given.role.description.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
            format!("{}{description}\n      on {}", given.role.name, given.hosts.join(", "))
        };
        section("roles", roles.iter().map(line).collect());
    }
    if asked.list_tasks {
        let everywhere = |given: &Given<'_>| given.hosts.len() == plan.hosts.len();
        let lines = roles.iter().flat_map(|given| {
            let on = if everywhere(given) { String::new() } else { format!("  on {}", given.hosts.join(", ")) };
            given.role.steps.iter().map(move |step| {
                let tags: Vec<&str> = step.tags().collect();
                format!("{} : {}  TAGS: [{}]{on}", given.role.name, step.name(), tags.join(", "))
            })
        });
        section("tasks", lines.collect());
    }
    if asked.list_tags {
        section("tags", tags(&roles).iter().map(|tag| (*tag).to_owned()).collect());
    }
    text
}

/// The keys that are asked for of `{hosts: [name], roles: [{name, description, hosts}], tasks: [{role, name, tags, hosts, file, line}],
/// tags: [tag]}`.
fn document(plan: &Plan, asked: &Listing) -> Value {
    let roles = roles(plan);
    let mut document = Map::new();
    if asked.list_hosts {
        document.insert("hosts".to_owned(), json!(hosts(plan)));
    }
    if asked.list_roles {
        let role =
            |given: &Given<'_>| json!({ "name": given.role.name, "description": given.role.description, "hosts": given.hosts });
        document.insert("roles".to_owned(), roles.iter().map(role).collect());
    }
    if asked.list_tasks {
        let task = |given: &Given<'_>, step: &Step| {
            json!({
                "role": given.role.name,
                "name": step.name(),
                "tags": step.tags().collect::<Vec<_>>(),
                "hosts": given.hosts,
                "file": step.span().file.shown,
                "line": step.span().line_col().0,
            })
        };
        let tasks = roles.iter().flat_map(|given| given.role.steps.iter().map(move |step| task(given, step)));
        document.insert("tasks".to_owned(), tasks.collect());
    }
    if asked.list_tags {
        document.insert("tags".to_owned(), json!(tags(&roles)));
    }
    document.into()
}
