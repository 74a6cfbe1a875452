//! Stand-in until the branch `language` lands: the types the engine codes against.

use std::{path::PathBuf, time::Duration};

use indexmap::IndexMap;

use crate::{
    resource::{RemotePath, Resource},
    secret::SecretRef,
    source::{Diagnostic, Diagnostics, Place},
};

#[derive(Debug)]
pub struct Plan {
    pub hosts: Vec<HostPlan>,
    pub warnings: Vec<Diagnostic>,
}

#[derive(Debug)]
pub struct HostPlan {
    pub name: String,
    pub roles: Vec<RolePlan>,
    pub secrets: Vec<SecretSpec>,
}

#[derive(Debug)]
pub struct RolePlan {
    pub name: String,
    pub steps: Vec<Step>,
    pub handlers: Vec<HandlerStep>,
    pub health: Vec<HealthStep>,
}

#[derive(Debug)]
pub struct Step;
impl Step {
    pub fn expand(&self, _world: &World) -> Result<Vec<Task>, Diagnostics> {
        Ok(Vec::new())
    }
    pub fn register(&self) -> Option<&str> {
        None
    }
}

#[derive(Debug)]
pub struct HandlerStep;
impl HandlerStep {
    pub fn expand(&self, _world: &World) -> Result<Handler, Diagnostics> {
        Err(Diagnostics::default())
    }
}

#[derive(Debug)]
pub struct HealthStep;
impl HealthStep {
    pub fn expand(&self, _world: &World) -> Result<Health, Diagnostics> {
        Err(Diagnostics::default())
    }
}

#[derive(Debug, Clone)]
pub struct World {
    pub facts: serde_json::Value,
    pub registers: IndexMap<String, serde_json::Value>,
}

impl World {
    pub fn stand_in() -> Self {
        Self { facts: serde_json::Value::Null, registers: IndexMap::new() }
    }
}

#[derive(Debug)]
pub struct Task {
    pub id: String,
    pub role: String,
    pub name: String,
    pub kind: &'static str,
    pub place: Place,
    pub action: Action,
    pub notify: Vec<String>,
    pub no_log: bool,
    pub retries: u32,
    pub delay: Duration,
    pub timeout: Option<Duration>,
    pub register: Option<String>,
}

#[derive(Debug)]
pub enum Action {
    Skip { reason: String },
    Do(Box<dyn Resource>),
}

#[derive(Debug, Clone)]
pub struct Handler {
    pub id: String,
    pub role: String,
    pub name: String,
    pub place: Place,
    pub action: HandlerAction,
    pub ready: Option<Ready>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerAction {
    Restart(String),
    Reload(String),
    Command(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    pub command: String,
    pub timeout: Duration,
}

#[derive(Debug)]
pub struct Health {
    pub id: String,
    pub role: String,
    pub name: String,
    pub place: Place,
    pub check: HealthCheck,
}

#[derive(Debug)]
pub enum HealthCheck {
    Read { kind: &'static str, resource: Box<dyn Resource> },
    Exercise { kind: String, parameters: serde_json::Value },
}

#[derive(Debug, Clone)]
pub struct SecretSpec {
    pub secret: SecretRef,
    pub file: RemotePath,
    pub length: usize,
    pub owner: String,
    pub group: String,
    pub mode: crate::resource::Mode,
    pub role: String,
    pub place: Place,
}

#[derive(Debug)]
pub struct Request {
    pub project: PathBuf,
}
