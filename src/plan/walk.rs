//! The walk over what a host's roles declare. It expands each task, handler and health check with the world that it sees.
//!
//! What a task registers is visible to the later tasks of its role, and to the role's handlers and health checks. No other role sees it. The
//! tasks and handlers of all roles come first, then the health checks of all roles.

use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::source::Diagnostics;

use super::{Handler, HandlerStep, HealthItem, HealthStep, RolePlan, Step, Task, World};

/// The purpose of a walk. An item that cannot be expanded is passed on as an error: the visitor decides whether to report it.
pub trait Visitor {
    /// Why a walk ends early.
    type Stop;

    /// Whether this walk expands a task. The result of one that it does not expand is a stand-in.
    fn wants(&self, _task: &Step) -> bool {
        true
    }

    /// Whether this walk expands handlers.
    fn wants_handlers(&self) -> bool {
        true
    }

    /// The tasks of a role come next.
    fn role_begins(&mut self, _role: &RolePlan) {}

    /// Expands a task.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn expand_task(&mut self, step: &Step, world: &World) -> Result<Vec<Task>, Diagnostics> {
        step.expand(world)
    }

    /// Expands a health check.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn expand_health(&mut self, step: &HealthStep, world: &World) -> Result<Option<HealthItem>, Diagnostics> {
        step.expand(world)
    }

    /// Visits a task and returns its result, which is kept if the task registers it.
    ///
    /// # Errors
    /// The walk ends here.
    fn task(&mut self, step: &Step, world: &World, expanded: Result<Vec<Task>, Diagnostics>) -> Result<Value, Self::Stop>;

    /// Visits a handler. All tasks of its role have been visited.
    ///
    /// # Errors
    /// The walk ends here.
    fn handler(&mut self, step: &HandlerStep, expanded: Result<Handler, Diagnostics>) -> Result<(), Self::Stop>;

    /// The tasks and handlers of a role have been visited.
    fn role_ends(&mut self, _role: &RolePlan) {}

    /// Visits a health check; `None` is one whose conditions do not hold. The tasks and handlers of all roles have been visited.
    ///
    /// # Errors
    /// The walk ends here.
    fn health(&mut self, step: &HealthStep, expanded: Result<Option<HealthItem>, Diagnostics>) -> Result<(), Self::Stop>;
}

/// What the roles of a host see: its facts, and each role the results of its own tasks.
#[derive(Debug, Clone)]
pub struct Worlds {
    facts: Value,
    by_role: IndexMap<String, World>,
}

impl Worlds {
    /// A host with these facts, and no results of tasks yet.
    #[must_use]
    pub fn new(facts: Value) -> Self {
        Self { facts, by_role: IndexMap::new() }
    }

    /// A host that stands in for a real one.
    #[must_use]
    pub fn stand_in() -> Self {
        Self::new(World::stand_in().facts)
    }

    /// Returns the result of a task, if a walk has reached it.
    #[must_use]
    pub fn result(&self, role: &str, name: &str) -> Option<&Value> {
        self.by_role.get(role)?.registers.get(name)
    }
}

/// Walks over roles in order. Afterwards, `worlds` holds what each role sees, even if the walk ended early.
///
/// # Errors
/// The reason for which the visitor stopped the walk.
pub fn walk<V: Visitor>(roles: &[RolePlan], worlds: &mut Worlds, visitor: &mut V) -> Result<(), V::Stop> {
    worlds.by_role.clear();
    for role in roles {
        visitor.role_begins(role);
        let fresh = World { facts: worlds.facts.clone(), registers: IndexMap::new() };
        let world = worlds.by_role.entry(role.name.clone()).insert_entry(fresh).into_mut();
        for step in &role.steps {
            let result = if visitor.wants(step) {
                let expanded = visitor.expand_task(step, world);
                visitor.task(step, world, expanded)?
            } else {
                World::stand_in_result(true)
            };
            if let Some(name) = step.register() {
                world.registers.insert(name.to_owned(), result);
            }
        }
        if visitor.wants_handlers() {
            for step in &role.handlers {
                visitor.handler(step, step.expand(world))?;
            }
        }
        visitor.role_ends(role);
    }
    for (role, world) in roles.iter().zip(worlds.by_role.values()) {
        for step in &role.health {
            let expanded = visitor.expand_health(step, world);
            visitor.health(step, expanded)?;
        }
    }
    Ok(())
}

/// The result of a task: what its resource registers, if anything, with `changed` and `skipped`, which every result has.
#[must_use]
pub fn task_result(registered: Option<Value>, changed: bool, skipped: bool) -> Value {
    let mut result = registered.unwrap_or_else(|| json!({}));
    if let Value::Object(fields) = &mut result {
        fields.entry("changed").or_insert_with(|| json!(changed));
        fields.entry("skipped").or_insert_with(|| json!(skipped));
    }
    result
}
