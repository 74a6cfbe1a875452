//! Resolves and checks the files of a project, and plans what to do on each host, before any node is contacted.

mod ansible_cfg;
mod assigned_roles;
mod checked;
mod connection_words;
mod contacts;
mod expand;
mod explain;
mod extra;
mod files;
mod host;
mod hostvars;
mod lender;
mod lending;
mod load;
mod mentions;
mod outside;
mod ports;
mod project;
mod request;
mod same_node;
mod scope;
mod secret_flow;
mod secret_spec;
mod select;
mod shell;
#[cfg(test)]
mod tests;
mod trusted;
mod walk;
mod world;

pub use crate::role::Revert;
pub use contacts::{Contact, Contacts, contacts};
pub use explain::{Explained, Layer, Origin, ResolvedValue, Variable, explain};
pub use lender::Lender;
pub use lending::LAB;
pub use load::{known_roles, load};
pub use ports::OpenPorts;
pub use request::Request;
pub use secret_spec::SecretSpec;
pub use walk::{Visitor, Worlds, task_result, walk};
pub use world::World;

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsString,
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::{
    health::{Exercise, HealthCheck},
    outside::{ExternalValue, Source},
    question::way::TrustedOwners,
    resource::Resource,
    secret::SecretId,
    source::{Diagnostic, Diagnostics, FileDigest, Node, Span, Trust, Vaulted, Yaml, yaml},
    transport::SshArguments,
};

use expand::ItemSource;
use mentions::{mentions, mentions_word};
use project::Project;
use scope::Scope;

/// What to do on each host.
#[derive(Debug)]
pub struct Plan {
    /// The selected hosts that have roles, in the order of the inventory.
    pub hosts: Vec<HostPlan>,
    /// Hosts that are not selected, but hold secrets that a selected one reads.
    pub lenders: Vec<Lender>,
    /// The files that it was loaded from: of the inventory, variables (encrypted ones as they are), roles, templates and what tasks copy. A file whose name
    /// depends on the node is not among them, nor what a program prints.
    pub files: Vec<FileDigest>,
    /// Warnings: what is allowed but looks wrong.
    pub warnings: Vec<Diagnostic>,
}

impl Plan {
    /// Returns the names of the variables that the request has set with `-e`, in order. Their values may be secrets.
    #[must_use]
    pub fn variables_set(&self) -> Vec<String> {
        self.hosts.first().map(|host| host.variables.project.extra.keys().cloned().collect()).unwrap_or_default()
    }

    /// Returns the names of the variables of the environment that secrets come from.
    #[must_use]
    pub fn variables_with_secrets(&self) -> BTreeSet<OsString> {
        let specs = self.hosts.iter().flat_map(|host| host.secrets.iter().chain(&host.borrowed));
        let lent = self.lenders.iter().flat_map(|lender| &lender.secrets);
        let name = |spec: &SecretSpec| match &spec.outside.as_ref()?.source {
            Source::Env(name) => Some(name.into()),
            Source::File(_) | Source::Command(_) | Source::Vaulted(_) => None,
        };
        specs.chain(lent).filter_map(name).collect()
    }
}

/// What to do on one host.
#[derive(Debug)]
pub struct HostPlan {
    /// Its name in the inventory.
    pub name: String,
    /// The inventory file that sets its address, or that names it first.
    pub named_in: String,
    /// Its roles, in order.
    pub roles: Vec<RolePlan>,
    /// The secrets that its roles need and that live on it.
    pub secrets: Vec<SecretSpec>,
    /// The secrets that its roles need and that live on other hosts.
    pub borrowed: Vec<SecretSpec>,
    /// The secrets that live on it and that other hosts of the plan read.
    pub lent: Vec<SecretSpec>,
    /// The values encrypted with Ansible Vault that this host needs.
    pub vaulted: Vec<(SecretId, ExternalValue)>,
    /// The ports that may be open besides those that its roles declare.
    pub open_ports: OpenPorts,
    /// The users whom root trusts with the way to its files.
    pub trusted_owners: TrustedOwners,
    /// Whose work the project is. A stranger's is checked only, and without what it says to run or to read.
    pub trust: Trust,
    connection: ConnectionVars,
    variables: Variables,
}

/// The sources of a host's variables.
#[derive(Debug, Clone)]
struct Variables {
    project: Arc<Project>,
    host: Arc<scope::HostVars>,
}

impl HostPlan {
    /// How to reach it.
    #[must_use]
    pub fn connection(&self) -> &ConnectionVars {
        &self.connection
    }

    /// The secrets that its health checks use, as far as is known without its facts.
    pub(crate) fn used_by_health(&self) -> HashSet<SecretId> {
        lending::used(self, false)
    }

    /// Returns the value of a variable in a role on this host, if it does not depend on the node. The host need not have the role.
    ///
    /// # Errors
    /// The variable is not defined, has another type than its role declares, or needs the node's facts.
    pub fn variable(&self, role: &str, name: &str) -> Result<Value, Diagnostics> {
        let Variables { project, host } = &self.variables;
        let scope = Scope::new(project, host, project.roles.get(role), None);
        let value = scope.variable(name).ok().flatten();
        let errors = scope.take_errors();
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            Some(_) | None if !errors.is_empty() => Err(errors),
            Some(_) | None => Err(Diagnostics(vec![Diagnostic::error(format!("`{}` has no variable `{name}`", self.name))])),
        }
    }
}

/// How to reach a host: the `ansible_*` variables of its connection.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionVars {
    /// `ansible_host`, or the name in the inventory.
    pub host: String,
    /// `ansible_port`.
    pub port: Option<u16>,
    /// `ansible_user`.
    pub user: Option<String>,
    /// `ansible_ssh_private_key_file`.
    pub key: Option<String>,
    /// Where that is written.
    pub key_at: Option<Span>,
    /// `ansible_ssh_args`, `ansible_ssh_common_args` and `ansible_ssh_extra_args`.
    pub arguments: SshArguments,
    /// Whether `ansible_connection` is `local`.
    pub local: bool,
    /// `ansible_become`: whether to become root with sudo. Defaults to true.
    pub r#become: bool,
    /// `ansible_become_password`: the source of the password for sudo.
    pub become_password: Option<ExternalValue>,
    /// `ssh_persist`: how long a connection stays for the next run.
    pub persist: Duration,
}

/// What a role does on one host.
#[derive(Debug)]
pub struct RolePlan {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its tasks that the tags select, in order.
    pub steps: Vec<Step>,
    /// All its handlers, in order.
    pub handlers: Vec<HandlerStep>,
    /// Its health checks that the tags select, in order.
    pub health: Vec<HealthStep>,
}

/// A task of a role on a host, before the node's facts and results are known.
#[derive(Debug, Clone)]
pub struct Step(ItemSource);

impl Step {
    /// Evaluates its loop and conditions, renders its parameters, and returns the resulting tasks. Rendering is repeatable.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn expand(&self, world: &World) -> Result<Vec<Task>, Diagnostics> {
        self.0.tasks(world)
    }

    /// Its role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.0.role
    }

    /// The name of its result.
    #[must_use]
    pub fn register(&self) -> Option<&str> {
        self.0.task().register.as_ref().map(|register| register.text.as_str())
    }

    /// Its span, also for a step that cannot be expanded.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.0.task().span
    }

    /// Its name as written.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.task().name.text
    }

    /// Its tags and its role's.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.task().tags.iter().map(|tag| tag.text.as_str())
    }

    /// Whether a condition excludes it independently of the node.
    fn is_left_out(&self) -> bool {
        self.0.is_left_out()
    }

    /// Whether its conditions, loop, parameters or `vars` mention a variable. Its template files, and the variables that it uses, are not searched.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        let task = self.0.task();
        let texts = task.when.iter().chain(&task.each).chain([&task.parameters]).chain(task.vars.iter().map(|(_, node)| node));
        texts.into_iter().any(|node| mentions(node, name))
    }
}

/// A handler of a role on a host, before the node's facts and results are known.
#[derive(Debug, Clone)]
pub struct HandlerStep(ItemSource);

impl HandlerStep {
    /// Its role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.0.role
    }

    /// `<role>/<name>`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.0.role, self.name())
    }

    /// Its span in the source.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.0.handler().name.span
    }

    /// The name that tasks notify.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.handler().name.text
    }

    /// What it does.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn expand(&self, world: &World) -> Result<Handler, Diagnostics> {
        self.0.handler_on(world)
    }
}

/// A health check of a role on a host, before the node's facts and results are known.
#[derive(Debug, Clone)]
pub struct HealthStep(ItemSource);

impl HealthStep {
    /// Its role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.0.role
    }

    /// Its tags and its role's.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.health().tags.iter().map(|tag| tag.text.as_str())
    }

    /// Renders it; `None` if its conditions do not hold.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn expand(&self, world: &World) -> Result<Option<HealthItem>, Diagnostics> {
        self.0.health_on(world)
    }

    /// Its name as written.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.health().name.text
    }

    /// Its span in the source.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.0.health().name.span
    }
}

/// One thing to do.
#[derive(Debug)]
pub struct Task {
    /// `<role>/<name>`, with the item of a loop in brackets.
    pub id: String,
    /// The role.
    pub role: String,
    /// The rendered name.
    pub name: String,
    /// The kind of resource.
    pub kind: &'static str,
    /// Its span in the source.
    pub span: Span,
    /// What is done.
    pub action: Action,
    /// The names of the handlers that a change notifies.
    pub notify: Vec<String>,
    /// Whether its diff and outputs are hidden.
    pub no_log: bool,
    /// Whether what it changes is put back where it ends the way in.
    pub revert: Revert,
    /// How often it is retried.
    pub retries: u32,
    /// How long to wait between attempts.
    pub delay: Duration,
    /// The time limit, if the task sets one.
    pub timeout: Option<Duration>,
    /// The name of its result.
    pub register: Option<String>,
}

/// What a task does.
#[derive(Debug)]
pub enum Action {
    /// Nothing.
    Skip {
        /// Why: ``when `redis_enabled` is false``.
        reason: String,
    },
    /// Makes the node match the resource.
    Do(Box<dyn Resource>),
}

/// A handler, rendered.
#[derive(Debug, Clone)]
pub struct Handler {
    /// `<role>/<name>`.
    pub id: String,
    /// The role.
    pub role: String,
    /// The name that tasks notify.
    pub name: String,
    /// Its span in the source.
    pub span: Span,
    /// What it does.
    pub action: HandlerAction,
    /// How to tell that it has taken effect.
    pub ready: Option<Ready>,
    /// The file names of its pending marks on a node ([`crate::question::pending`]): of its own name, then of its former names.
    pub marks: Vec<String>,
}

/// What a handler does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerAction {
    /// Restarts a unit.
    Restart(String),
    /// Restarts a unit if it is running.
    RestartIfRunning(String),
    /// Reloads a unit.
    Reload(String),
    /// Runs shell text.
    Command(String),
}

/// How to tell that a handler has taken effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Shell text, which is run repeatedly until it exits with 0.
    pub command: String,
    /// How long that may take.
    pub timeout: Duration,
}

/// A health check, rendered.
#[derive(Debug)]
pub struct HealthItem {
    /// `<role>/<name>`.
    pub id: String,
    /// The role.
    pub role: String,
    /// The rendered name.
    pub name: String,
    /// Its span in the source.
    pub span: Span,
    /// What it examines.
    pub check: HealthAction,
}

/// What a health check examines.
#[derive(Debug)]
pub enum HealthAction {
    /// A check that only reads.
    Read {
        /// The kind of check or resource.
        kind: &'static str,
        /// The check.
        check: Box<dyn HealthCheck>,
    },
    /// An exercise through a tunnel.
    Exercise {
        /// The kind of exercise.
        kind: &'static str,
        /// The exercise.
        exercise: Box<dyn Exercise>,
    },
}

/// Returns a value as written, neither rendered nor decrypted.
pub(crate) fn raw(node: &Node) -> Value {
    match &node.value {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => json!(flag),
        Yaml::Int(number) => json!(number),
        Yaml::Float(number) => json!(number),
        Yaml::Str(text) => json!(text),
        // As Ansible prints encrypted values.
        Yaml::Vaulted(Vaulted::Encrypted(text)) => json!({ yaml::VAULT_KEY: text.as_ref() }),
        Yaml::Vaulted(Vaulted::Decrypted(_)) => json!(Vaulted::HIDDEN),
        Yaml::Seq(items) => items.iter().map(raw).collect(),
        Yaml::Map(entries) => entries.iter().map(|(key, value)| (key.name.clone(), raw(value))).collect::<Map<_, _>>().into(),
    }
}
