//! Expands a task of a role into the tasks that run: evaluates its loop and conditions, renders its parameters, and makes its resource.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    health::{AsDeclared, Exercise, ExerciseKind},
    question::unit::full_name,
    resource::{COMPOSE_HANDLER, Kind, ParamError, Parameter, ParameterWord, Segment},
    role::{
        HandlerActionSource, HandlerSource, HealthCheckSource, HealthSource, Role, TaskSource, kind_of, value_advice,
        written_name,
    },
    source::{Diagnostic, Diagnostics, Node, Span, Yaml, did_you_mean},
};

use super::{
    Action, Handler, HandlerAction, HealthAction, HealthItem, Ready, Task, World,
    files::RoleFiles,
    project::{Form, Project},
    scope::{Failed, HostVars, Scope, Secrets},
    secret_flow::render_enforcing_secret_policy,
    shell,
};

/// A task, handler or health check of a role on a host, by its index in the role.
#[derive(Debug, Clone)]
pub(super) struct ItemSource {
    pub(super) project: Arc<Project>,
    pub(super) host: Arc<HostVars>,
    pub(super) role: String,
    pub(super) number: usize,
}

impl ItemSource {
    pub(super) fn role(&self) -> &Role {
        &self.project.roles[&self.role]
    }

    fn scope<'a>(&'a self, world: &'a World) -> Scope<'a> {
        Scope::new(&self.project, &self.host, Some(self.role()), Some(world))
    }

    pub(super) fn task(&self) -> &TaskSource {
        &self.role().tasks[self.number]
    }

    pub(super) fn handler(&self) -> &HandlerSource {
        &self.role().handlers[self.number]
    }

    pub(super) fn health(&self) -> &HealthSource {
        &self.role().health[self.number]
    }

    /// Expands a task.
    pub(super) fn tasks(&self, world: &World) -> Result<Vec<Task>, Diagnostics> {
        let source = self.task();
        let mut scope = self.scope(world);
        scope.vars = &source.vars;
        let mut tasks = Vec::new();
        let mut errors = Diagnostics::default();
        match items(&scope, source) {
            Ok(items) => {
                if items.is_empty() {
                    self.check_names(&scope);
                }
                for (number, item) in items.into_iter().enumerate() {
                    let mut scope = scope.again(Secrets::Forbidden("here"));
                    let label = item.as_ref().map(|item| label(item, number));
                    scope.item = item;
                    if let Ok(mut task) = self.one(&scope, label.as_deref()) {
                        let again = tasks.iter().filter(|earlier: &&Task| earlier.id == task.id).count();
                        if again > 0 {
                            task.id = format!("{} #{}", task.id, number + 1);
                        }
                        tasks.push(task);
                    }
                    errors.extend(scope.take_errors());
                }
            }
            Err(Failed) => self.check_names(&scope),
        }
        errors.extend(scope.take_errors());
        errors.into_result(tasks)
    }

    /// Reports the names that a task uses and that do not exist, even if its conditions do not hold.
    pub(super) fn unknown_names(&self, world: &World) -> Diagnostics {
        let mut scope = self.scope(world);
        scope.vars = &self.task().vars;
        self.check_names(&scope);
        scope.take_errors()
    }

    /// Whether a condition excludes it independently of the node: it does not hold, and depends on no facts or results.
    pub(super) fn is_left_out(&self) -> bool {
        let source = self.task();
        source.when.iter().any(|condition| {
            let mut scope = Scope::new(&self.project, &self.host, self.project.roles.get(&self.role), None);
            scope.vars = &source.vars;
            scope.secrets.set(Secrets::Forbidden("in `when`"));
            matches!(scope.holds(condition), Ok(false))
        })
    }

    fn check_names(&self, scope: &Scope<'_>) {
        let source = self.task();
        let mut scope_of_item = scope.again(Secrets::Forbidden("in `when`, `loop` or a name"));
        if source.each.is_some() {
            scope_of_item.item = Some(Value::Null);
        }
        for condition in source.when.iter().filter(|condition| condition.as_bool().is_none()) {
            scope_of_item.check_names(condition, Form::Expression);
        }
        scope_of_item.secrets.set(Secrets::Tokens);
        for (key, value) in source.parameters.as_map().unwrap_or_default() {
            scope_of_item.check_names(value, shell::form(source.kind, &key.name));
            shell::check_words(&scope_of_item, source.kind, &key.name, value);
        }
        for diagnostic in scope_of_item.take_errors().0 {
            scope.fail(diagnostic);
        }
    }

    fn one(&self, scope: &Scope<'_>, label: Option<&str>) -> Result<Task, Failed> {
        let source = self.task();
        let name = name(scope, &source.name.text, &source.name.span)?;
        let id = match label {
            Some(label) => format!("{}/{name} ({label})", self.role),
            None => format!("{}/{name}", self.role),
        };
        let action = match skipped(scope, &source.when)? {
            Some(reason) => {
                self.check_names(scope);
                self.check_files(scope);
                Action::Skip { reason }
            }
            None => Action::Do(self.decode(scope, source.kind, &source.span, &source.parameters)?),
        };
        Ok(Task {
            id,
            role: self.role.clone(),
            name,
            kind: source.kind.name,
            span: source.span.clone(),
            action,
            notify: source.notify.iter().map(|notify| notify.text.clone()).collect(),
            no_log: source.no_log,
            revert: source.revert,
            retries: source.retries,
            delay: source.delay,
            timeout: source.timeout,
            register: source.register.as_ref().map(|register| register.text.clone()),
        })
    }

    /// A task that is skipped with stand-in facts may run on the node, so its files must exist.
    fn check_files(&self, scope: &Scope<'_>) {
        let source = self.task();
        let quiet = scope.again(Secrets::Tokens);
        let mut files = RoleFiles {
            part: self,
            scope: &quiet,
            span: source.parameters.get("src").map_or(&source.span, |src| &src.span),
            missing: None,
            reported: false,
        };
        if let Ok(parameters) = parameters(&quiet, source.kind, &source.parameters) {
            let _ = (source.kind.decode)(parameters, &mut files);
        }
        if let Some(missing) = files.missing {
            scope.fail(missing);
        }
    }

    /// Renders parameters, enforces the secret policy, and makes what they declare.
    fn decode<T: ?Sized>(&self, scope: &Scope<'_>, kind: &Kind<T>, span: &Span, node: &Node) -> Result<Box<T>, Failed> {
        let values = render_enforcing_secret_policy(scope, node, kind.name, &kind.secret_parameters(), |scope| {
            parameters(scope, kind, node)
        })?;
        let mut files =
            RoleFiles { part: self, scope, span: node.get("src").map_or(span, |src| &src.span), missing: None, reported: false };
        let decoded = (kind.decode)(values, &mut files);
        let reported = files.reported;
        decoded.map_err(|errors| match errors {
            ParamError::File(_) if reported => Failed,
            ParamError::File(diagnostic) => scope.fail(match diagnostic.span {
                Some(_) => *diagnostic,
                None => diagnostic.at(span.clone()),
            }),
            errors @ (ParamError::Parameter { .. } | ParamError::Word { .. }) => {
                scope.fail(parameter_error(written_name(kind, span), (kind.declared)(), span, node, &errors))
            }
        })
    }

    /// Renders a handler.
    pub(super) fn handler_on(&self, world: &World) -> Result<Handler, Diagnostics> {
        let source = self.handler();
        let scope = self.scope(world);
        scope.secrets.set(Secrets::Forbidden("in a handler"));
        let handler = || {
            let action = match &source.action {
                HandlerActionSource::Restart(name) => HandlerAction::Restart(unit(&scope, name)?),
                HandlerActionSource::RestartIfRunning(name) => HandlerAction::RestartIfRunning(unit(&scope, name)?),
                HandlerActionSource::Reload(name) => HandlerAction::Reload(unit(&scope, name)?),
                HandlerActionSource::Command(command) => HandlerAction::Command(scope.shell_text(command)?),
                HandlerActionSource::Compose(span, node) => {
                    HandlerAction::Command(*self.decode(&scope, &COMPOSE_HANDLER, span, node)?)
                }
            };
            let ready = match &source.ready {
                Some((command, timeout)) => Some(Ready { command: scope.shell_text(command)?, timeout: *timeout }),
                None => None,
            };
            let (role, name) = (self.role.clone(), source.name.text.clone());
            let (id, span, marks) = (format!("{role}/{name}"), source.name.span.clone(), self.role().marks(source));
            Ok::<_, Failed>(Handler { id, role, name, span, action, ready, marks })
        };
        let made = handler();
        finish(made, &scope)
    }

    /// Renders a health check; `None` if its conditions do not hold.
    pub(super) fn health_on(&self, world: &World) -> Result<Option<HealthItem>, Diagnostics> {
        let source = self.health();
        let scope = self.scope(world);
        let item = || {
            let name = name(&scope, &source.name.text, &source.name.span)?;
            if skipped(&scope, &source.when)?.is_some() {
                return Ok::<_, Failed>(None);
            }
            let (check, span) = match &source.check {
                HealthCheckSource::Resource(kind, span, node) => {
                    let check = Box::new(AsDeclared(self.decode(&scope, kind, span, node)?));
                    (HealthAction::Read { kind: kind.name, check }, span)
                }
                HealthCheckSource::Check(kind, span, node) => {
                    (HealthAction::Read { kind: kind.name, check: self.decode(&scope, kind, span, node)? }, span)
                }
                HealthCheckSource::Exercise(kind, span, node) => {
                    (HealthAction::Exercise { kind: kind.name, exercise: exercise(&scope, kind, span, node)? }, span)
                }
            };
            Ok(Some(HealthItem { id: format!("{}/{name}", self.role), role: self.role.clone(), name, span: span.clone(), check }))
        };
        let made = item();
        finish(made, &scope)
    }
}

/// Returns the value, or the errors of the scope.
fn finish<T>(made: Result<T, Failed>, scope: &Scope<'_>) -> Result<T, Diagnostics> {
    let errors = scope.take_errors();
    match made {
        Ok(value) => errors.into_result(value),
        Err(Failed) => Err(errors),
    }
}

/// The most items of a `loop`.
const MOST_ITEMS: usize = 10_000;

fn items(scope: &Scope<'_>, source: &TaskSource) -> Result<Vec<Option<Value>>, Failed> {
    let Some(each) = &source.each else { return Ok(vec![None]) };
    scope.secrets.set(Secrets::Forbidden("in `loop`"));
    match scope.render(each)? {
        Value::Array(items) if items.len() > MOST_ITEMS => {
            let title = format!("`loop` has {} items, and {MOST_ITEMS} is the most", items.len());
            Err(scope.fail(
                Diagnostic::error(title)
                    .at(each.span.clone())
                    .help("each is a task of its own: write one file or run one command for all"),
            ))
        }
        Value::Array(items) => Ok(items.into_iter().map(Some).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            let diagnostic =
                Diagnostic::error(format!("`loop` needs a list, but this is {}", kind_of(&other))).at(each.span.clone());
            let is_list = |name: &str| matches!(scope.variable(name), Ok(Some(Value::Array(_))));
            Err(scope.fail(match &other {
                Value::Object(_) => diagnostic.help("`| pairs` makes a list of keys and values"),
                Value::String(name) if is_list(name) => {
                    diagnostic.help(format!("this is the text `{name}`; its value is `loop: \"{{{{ {name} }}}}\"`"))
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => diagnostic,
            }))
        }
    }
}

/// Returns the label of an item in the task's name.
fn label(item: &Value, number: usize) -> String {
    match item {
        Value::String(text) => text.clone(),
        Value::Object(map) => match ["name", "path", "key"].iter().find_map(|key| map.get(*key)?.as_str()) {
            Some(name) => name.to_owned(),
            None => (number + 1).to_string(),
        },
        Value::Array(_) | Value::Null => (number + 1).to_string(),
        Value::Bool(_) | Value::Number(_) => item.to_string(),
    }
}

fn name(scope: &Scope<'_>, text: &str, span: &Span) -> Result<String, Failed> {
    scope.secrets.set(Secrets::Forbidden("in a name"));
    let node = Node {
        value: Yaml::Str(text.to_owned()),
        span: span.clone(),
        quoting: crate::source::node::Quoting::Quoted,
        verbatim: false,
    };
    scope.text(&node)
}

/// Returns the full name of a unit, as the resource `systemd` completes it.
fn unit(scope: &Scope<'_>, name: &Node) -> Result<String, Failed> {
    let text = scope.text(name)?;
    full_name(&text).map_err(|message| scope.fail(Diagnostic::error(message).at(name.span.clone())))
}

/// Returns the first condition that does not hold.
fn skipped(scope: &Scope<'_>, when: &[Node]) -> Result<Option<String>, Failed> {
    scope.secrets.set(Secrets::Forbidden("in `when`"));
    let mut reason = None;
    for condition in when {
        if reason.is_none() && !scope.holds(condition)? {
            reason = Some(format!("when `{}` is false", condition.scalar_text().unwrap_or_default()));
        }
    }
    Ok(reason)
}

/// Renders the parameters of an exercise and makes it.
fn exercise(scope: &Scope<'_>, kind: &ExerciseKind, span: &Span, node: &Node) -> Result<Box<dyn Exercise>, Failed> {
    let values = render_enforcing_secret_policy(scope, node, kind.name, &kind.secret_parameters(), |scope| {
        let mut values = scope.render(node)?;
        if let Value::Object(values) = &mut values {
            values.retain(|_, value| !value.is_null());
        }
        Ok(values)
    })?;
    (kind.decode)(values).map_err(|errors| match errors {
        ParamError::File(diagnostic) => scope.fail(*diagnostic),
        errors @ (ParamError::Parameter { .. } | ParamError::Word { .. }) => {
            scope.fail(parameter_error(kind.name, (kind.declared)(), span, node, &errors))
        }
    })
}

/// Rendered parameters. Expressions become `{expression, holds}`.
fn parameters<T: ?Sized>(scope: &Scope<'_>, kind: &Kind<T>, node: &Node) -> Result<Value, Failed> {
    let mut values = Map::new();
    let mut failed = None;
    for (key, value) in node.as_map().unwrap_or_default() {
        let value = match shell::form(kind, &key.name) {
            Form::Expression => claims(scope, value),
            Form::Shell => scope.shell(value),
            Form::Text => shell::words(scope, kind, &key.name, value),
        };
        match value {
            // `null` and `omit` leave the parameter out.
            Ok(Value::Null) => {}
            Ok(value) => {
                values.insert(key.name.clone(), value);
            }
            Err(failure) => failed = Some(failure),
        }
    }
    failed.map_or(Ok(Value::Object(values)), Err)
}

fn claims(scope: &Scope<'_>, node: &Node) -> Result<Value, Failed> {
    let before = scope.secrets.replace(Secrets::Forbidden("in an expression"));
    let claim = |node: &Node| Ok(json!({"expression": node.scalar_text().unwrap_or_default(), "holds": scope.holds(node)?}));
    let claims = match node.as_seq() {
        Some(items) => items.iter().map(claim).collect::<Result<Vec<_>, _>>().map(Value::Array),
        None => claim(node),
    };
    scope.secrets.set(before);
    claims
}

/// Returns the error for invalid parameters, with the span of the parameter.
fn parameter_error(kind: &str, declared: &[Parameter], span: &Span, node: &Node, errors: &ParamError) -> Diagnostic {
    let (path, message, word) = match errors {
        ParamError::Parameter { path, message } => (path, message.clone(), None),
        ParamError::Word { path, word } => (path, word.to_string(), Some(word)),
        ParamError::File(diagnostic) => return (**diagnostic).clone(),
    };
    let at_key = matches!(word, Some(ParameterWord::UnknownKey(_)));
    let (mut at, mut found, mut names) = (node, span.clone(), Vec::new());
    for (depth, segment) in path.iter().enumerate() {
        let next = match (segment, at.as_map(), at.as_seq()) {
            (Segment::Key(name), Some(entries), _) => {
                // A parameter may be given under an alias.
                let same = |key: &str| key == name || declared.iter().any(|one| one.name == name && one.aliases.contains(&key));
                entries.iter().find(|(key, _)| key.name == *name || depth == 0 && same(&key.name))
            }
            (Segment::Key(_) | Segment::Index(_), _, _) => None,
        };
        let item = match (segment, at.as_seq()) {
            (Segment::Index(index), Some(items)) => items.get(*index),
            (Segment::Key(_) | Segment::Index(_), _) => None,
        };
        names.extend(match (segment, next) {
            (Segment::Key(name), None) => Some(name.as_str()),
            (_, Some((key, _))) => Some(key.name.as_str()),
            (Segment::Index(_), None) => None,
        });
        match (next, item) {
            (Some((key, _)), _) if at_key && depth + 1 == path.len() => found = key.span.clone(),
            (Some((_, value)), _) | (None, Some(value)) => (at, found) = (value, value.span.clone()),
            (None, None) => break,
        }
    }
    let whole = names.join(".");
    let title = match word {
        Some(ParameterWord::Missing(name)) if names.is_empty() => format!("`{kind}` needs `{name}`"),
        Some(ParameterWord::Missing(name)) => format!("`{whole}` of `{kind}` needs `{name}`"),
        Some(ParameterWord::UnknownKey(_)) => format!("unknown parameter of `{kind}`: `{whole}`"),
        Some(ParameterWord::UnknownWord { .. }) | None if names.is_empty() => format!("wrong parameters of `{kind}`: {message}"),
        Some(ParameterWord::UnknownWord { .. }) | None => format!("wrong `{whole}` of `{kind}`: {message}"),
    };
    let diagnostic = Diagnostic::error(title).at(found);
    match word {
        Some(ParameterWord::UnknownKey(known)) => {
            let errors = names.last().copied().unwrap_or_default();
            match did_you_mean(errors, known.iter().flat_map(Parameter::names)) {
                Some(name) => diagnostic.suggest(Some(name)),
                None => diagnostic.help(format!("known: {}", known.iter().map(|one| one.name).collect::<Vec<_>>().join(", "))),
            }
        }
        Some(ParameterWord::UnknownWord { word, known }) => match value_advice(kind, &whole, word) {
            Some(advice) => diagnostic.help(advice),
            None => diagnostic.suggest(did_you_mean(word, known.iter().copied())),
        },
        Some(ParameterWord::Missing(_)) | None => diagnostic,
    }
}
