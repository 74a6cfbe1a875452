//! The meaning of names for one host in one task: variables are rendered once, when they are first used, with their types.

mod comparisons;
mod host_vars;
mod secrets;
mod variables;

pub(super) use host_vars::{HostVars, Reads};
pub(super) use variables::ansible_variable;

pub(super) use secrets::Secrets;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
    rc::Rc,
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::{
    role::{CHECK_MODE, Role, ansible_words, kind_of, truth},
    secret::{SecretId, holds_token},
    source::{Diagnostic, Diagnostics, Key, Node, SourceFile, Span, Yaml, did_you_mean},
    template::{Problem, Template, Values, count, is_template},
};

use super::{
    World,
    project::{ForAll, Form, Project, into_diagnostic},
    raw,
};

/// Of the groups of an inventory, a message names so many.
const NAMED_GROUPS: usize = 12;

/// The text that one task renders, with the variables that it uses, in bytes.
const MOST_MADE: usize = 64 << 20;

/// An error that the scope has noted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed;

/// The names that are defined for a host, a role and a task.
pub(super) struct Scope<'a> {
    pub(super) project: &'a Project,
    pub(super) host: &'a HostVars,
    /// The role and those that it requires.
    pub(super) roles: Vec<&'a Role>,
    pub(super) world: Option<&'a World>,
    pub(super) vars: &'a [(Key, Node)],
    pub(super) item: Option<Value>,
    pub(super) secrets: Cell<Secrets>,
    used_secret: Cell<bool>,
    /// The owners of secrets that have been looked up.
    owners: RefCell<HashMap<String, String>>,
    /// The names of the encrypted values that rendering has used.
    met: RefCell<BTreeSet<SecretId>>,
    known: RefCell<HashMap<String, Value>>,
    failed: RefCell<HashSet<String>>,
    resolving: RefCell<Vec<String>>,
    /// The span in the task whose rendering has led to the current variable.
    outermost: RefCell<Option<Span>>,
    errors: RefCell<Diagnostics>,
    /// How much text it and the scopes that were made of it have rendered.
    made: Rc<Cell<usize>>,
}

/// Where the text of a template comes from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Node(&'a Node),
    Files(&'a [Arc<SourceFile>]),
}

impl Origin<'_> {
    fn span(self, file: usize, range: &Range<usize>) -> Span {
        match self {
            Self::Node(node) => span_in(node, range),
            Self::Files(files) => Span::new(&files[file.min(files.len() - 1)], range.clone()),
        }
    }
}

/// Returns the span of a range of a string's value. If escapes or indentation make source and value differ, it searches for the same words.
fn span_in(node: &Node, range: &Range<usize>) -> Span {
    let (Some(value), source) = (node.as_str(), node.span.text()) else { return node.span.clone() };
    if let Some(start) = source.find(value) {
        return node.span.inside(start + range.start..start + range.end);
    }
    let Some(words) = value.get(range.clone()).filter(|words| !words.trim().is_empty()) else { return node.span.clone() };
    let before = value[..range.start].matches(words).count();
    source.match_indices(words).nth(before).map_or_else(|| node.span.clone(), |(at, _)| node.span.inside(at..at + words.len()))
}

impl<'a> Scope<'a> {
    pub(super) fn new(project: &'a Project, host: &'a HostVars, role: Option<&'a Role>, world: Option<&'a World>) -> Self {
        Self {
            project,
            host,
            roles: role.map(|role| project.with_required(role)).unwrap_or_default(),
            world,
            vars: &[],
            item: None,
            secrets: Cell::new(Secrets::Forbidden("here")),
            used_secret: Cell::new(false),
            owners: RefCell::default(),
            met: RefCell::default(),
            known: RefCell::default(),
            failed: RefCell::default(),
            resolving: RefCell::default(),
            outermost: RefCell::default(),
            errors: RefCell::default(),
            made: Rc::default(),
        }
    }

    /// Returns a scope with the same names that has rendered nothing yet, for other tokens, another item or other variables.
    pub(super) fn again(&self, secrets: Secrets) -> Self {
        let mut scope = Self::new(self.project, self.host, None, self.world);
        scope.roles.clone_from(&self.roles);
        scope.vars = self.vars;
        scope.item.clone_from(&self.item);
        scope.made = Rc::clone(&self.made);
        scope.secrets.set(secrets);
        scope
    }

    /// Notes an error.
    pub(super) fn fail(&self, diagnostic: Diagnostic) -> Failed {
        self.errors.borrow_mut().push(diagnostic);
        Failed
    }

    /// Takes the errors so far.
    pub(super) fn take_errors(&self) -> Diagnostics {
        self.errors.take()
    }

    /// Whether rendering has used a secret.
    pub(super) fn used_secret(&self) -> bool {
        self.used_secret.get()
    }

    /// Renders a value: templates in it are rendered, the rest is kept.
    pub(super) fn render(&self, node: &Node) -> Result<Value, Failed> {
        if node.verbatim && !node.holds_vaulted() {
            return Ok(raw(node));
        }
        match &node.value {
            Yaml::Str(text) if is_template(text) && !node.verbatim => self.render_text(text, node, Form::Text),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) => Ok(raw(node)),
            Yaml::Vaulted(value) => self.vaulted(node, value),
            Yaml::Seq(items) => {
                let items: Vec<Result<Value, Failed>> = items.iter().map(|item| self.render(item)).collect();
                items.into_iter().collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            Yaml::Map(entries) => {
                let mut map = Map::new();
                let mut failed = None;
                for (key, value) in entries {
                    let name = if node.verbatim { Ok(key.name.clone()) } else { self.render_key(key) };
                    match (name, self.render(value)) {
                        (Ok(name), Ok(value)) => {
                            map.insert(name, value);
                        }
                        (Err(failure), _) | (_, Err(failure)) => failed = Some(failure),
                    }
                }
                failed.map_or(Ok(Value::Object(map)), Err)
            }
        }
    }

    fn render_key(&self, key: &Key) -> Result<String, Failed> {
        if !is_template(&key.name) {
            return Ok(key.name.clone());
        }
        let node = Node {
            value: Yaml::Str(key.name.clone()),
            span: key.span.clone(),
            quoting: crate::source::node::Quoting::Quoted,
            verbatim: false,
        };
        match self.render_text(&key.name, &node, Form::Text)? {
            Value::String(name) => Ok(name),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.fail(Diagnostic::error(format!("a key must be text, not {}", kind_of(&other))).at(key.span.clone())))
            }
        }
    }

    /// Renders shell text: each value becomes one word. A node that is not text is rendered as usual.
    pub(super) fn shell(&self, node: &Node) -> Result<Value, Failed> {
        match &node.value {
            Yaml::Str(text) if is_template(text) && !node.verbatim => self.render_text(text, node, Form::Shell),
            Yaml::Null
            | Yaml::Bool(_)
            | Yaml::Int(_)
            | Yaml::Float(_)
            | Yaml::Str(_)
            | Yaml::Vaulted(_)
            | Yaml::Seq(_)
            | Yaml::Map(_) => self.render(node),
        }
    }

    /// Renders shell text; the result must be text.
    pub(super) fn shell_text(&self, node: &Node) -> Result<String, Failed> {
        self.as_text(node, self.shell(node)?)
    }

    /// Renders a value; the result must be text.
    pub(super) fn text(&self, node: &Node) -> Result<String, Failed> {
        self.as_text(node, self.render(node)?)
    }

    fn as_text(&self, node: &Node, value: Value) -> Result<String, Failed> {
        match value {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(_) if !node.as_str().is_some_and(is_template) => Ok(node.scalar_text().unwrap_or_default().into_owned()),
            other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.fail(Diagnostic::error(format!("this must be text, not {}", kind_of(&other))).at(node.span.clone())))
            }
        }
    }

    /// Whether a condition holds.
    pub(super) fn holds(&self, node: &Node) -> Result<bool, Failed> {
        if let Some(flag) = node.as_bool() {
            return Ok(flag);
        }
        let Some(text) = node.as_str() else {
            return Err(self.fail(Diagnostic::error("a condition must be an expression").at(node.span.clone())));
        };
        let compiled = self.project.text(text, Form::Expression);
        let template = self.compiled(compiled.as_ref().as_ref(), Origin::Node(node))?;
        let value = self.evaluate(template, Origin::Node(node))?;
        for (name, range) in template.operands() {
            if let Ok(Some(Value::String(text))) = self.variable(&name)
                && truth(&text).is_some()
                && value != Value::String(text)
            {
                let span = Origin::Node(node).span(0, &range);
                let diagnostic = Diagnostic::error(format!("`{name}` is text, which always counts as true")).at(span);
                return Err(self.fail(diagnostic.help(format!("declare it with `type: bool`, or write `{name} | bool`"))));
            }
        }
        let truth = match &value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => truth(text),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        };
        truth.ok_or_else(|| {
            let diagnostic = Diagnostic::error("a condition must be true or false").at(node.span.clone());
            self.fail(
                diagnostic
                    .label(format!("this is {}", kind_of(&value)))
                    .help("compare it with something: `x == 1`, `x != \"\"`, `x is defined`"),
            )
        })
    }

    fn render_text(&self, text: &str, node: &Node, form: Form) -> Result<Value, Failed> {
        let compiled = self.project.text(text, form);
        let template = self.compiled(compiled.as_ref().as_ref(), Origin::Node(node))?;
        self.evaluate(template, Origin::Node(node))
    }

    /// Renders a template file.
    pub(super) fn render_file(&self, template: &Template, files: &[Arc<SourceFile>]) -> Result<Value, Failed> {
        self.evaluate(template, Origin::Files(files))
    }

    fn compiled<'t>(&self, compiled: Result<&'t Template, &Vec<Problem>>, origin: Origin<'_>) -> Result<&'t Template, Failed> {
        compiled.map_err(|problems| {
            for problem in problems {
                self.fail(into_diagnostic(problem.clone(), origin.span(problem.file, &problem.range)));
            }
            Failed
        })
    }

    /// Reports the names that a value uses and that do not exist, without rendering it.
    pub(super) fn check_names(&self, node: &Node, form: Form) {
        match &node.value {
            Yaml::Str(text) if !node.verbatim && (form == Form::Expression || is_template(text)) => {
                let compiled = self.project.text(text, form);
                if let Ok(template) = self.compiled(compiled.as_ref().as_ref(), Origin::Node(node)) {
                    self.check_names_of(template, Origin::Node(node));
                }
            }
            Yaml::Seq(items) => items.iter().for_each(|item| self.check_names(item, form)),
            Yaml::Map(entries) => entries.iter().for_each(|(_, value)| self.check_names(value, form)),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) => {}
        }
    }

    fn check_names_of(&self, template: &Template, origin: Origin<'_>) {
        for name in template.names() {
            if name == "secrets" {
                let _ = self.check_secrets(template, origin);
            } else if !self.is_name(name) {
                self.undefined(name, template, origin);
            } else if variables::for_all(self.project, name).is_none()
                && let Ok(Some(value)) = self.noting_vaulted(name)
                && self.has_type(name)
            {
                self.never_equals(name, &value, template, origin);
            }
        }
    }

    /// Reports each use of an undefined variable that is not guarded. Returns whether there is one.
    fn undefined(&self, name: &str, template: &Template, origin: Origin<'_>) -> bool {
        // A guarded use of this variable would silently always have the same result.
        let places = if name == CHECK_MODE { template.places(name) } else { template.unguarded(name) };
        // The task that registers it has been reported.
        let is_reported = self.roles.iter().any(|role| role.unread_results.iter().any(|result| result == name));
        for (file, range) in places.iter().filter(|_| !is_reported) {
            let diagnostic = Diagnostic::error(format!("undefined variable `{name}`")).at(origin.span(*file, range));
            self.fail(self.explain(name, diagnostic));
        }
        !places.is_empty()
    }

    fn evaluate(&self, template: &Template, origin: Origin<'_>) -> Result<Value, Failed> {
        let mut values = Values::default();
        let mut failed = false;
        if self.resolving.borrow().is_empty() {
            *self.outermost.borrow_mut() = match origin {
                Origin::Node(node) => Some(node.span.clone()),
                Origin::Files(_) => None,
            };
        }
        for name in template.names() {
            if name == "secrets" {
                match self.check_secrets(template, origin) {
                    Ok(secrets) => values.insert("secrets", secrets),
                    Err(Failed) => failed = true,
                }
                continue;
            }
            if let Some(ForAll { value, holds_token }) = variables::for_all(self.project, name) {
                failed |= self.is_misused(name, value.value(), *holds_token, template, origin);
                values.share(name, value);
                continue;
            }
            match self.variable(name) {
                Ok(Some(value)) => {
                    failed |= self.is_misused(name, &value, any_text(&value, &holds_token), template, origin);
                    values.insert(name, value);
                }
                Ok(None) => failed |= self.undefined(name, template, origin),
                Err(Failed) => failed = true,
            }
        }
        if failed {
            return Err(Failed);
        }
        let value = self.project.renderer.render(template, &values).map_err(|problem| {
            let span = origin.span(problem.file, &problem.range);
            self.fail(into_diagnostic(problem, span))
        })?;
        self.made_more(&value, template, origin)?;
        Ok(value)
    }

    /// Reports what a template must not do with a value. Returns whether there is anything.
    fn is_misused(&self, name: &str, value: &Value, holds_token: bool, template: &Template, origin: Origin<'_>) -> bool {
        let forbidden = self.is_forbidden(holds_token, origin);
        let missing = self.missing_parts(name, value, template, origin);
        let compared = self.is_compared(name, holds_token, template, origin);
        self.never_equals(name, value, template, origin) || forbidden || missing || compared
    }

    /// Counts what was rendered: values that are used in values, and the items of a loop, could fill the memory together.
    fn made_more(&self, value: &Value, template: &Template, origin: Origin<'_>) -> Result<(), Failed> {
        let before = self.made.get();
        let after = before.saturating_add(text_length(value));
        self.made.set(after);
        if after <= MOST_MADE {
            return Ok(());
        }
        // Said once.
        if before > MOST_MADE {
            return Err(Failed);
        }
        let title = format!("the values of one task make more than {} MiB of text together", MOST_MADE >> 20);
        let diagnostic = Diagnostic::error(title).at(origin.span(0, &template.whole_range()));
        Err(self.fail(diagnostic.help("write less with one task: give what is long in a file that is copied")))
    }

    /// Reports a missing key of a map, which Tera silently treats as nothing in a comparison and after `~`.
    fn missing_parts(&self, name: &str, value: &Value, template: &Template, origin: Origin<'_>) -> bool {
        let mut failed = false;
        for (file, path) in template.parts(name) {
            let (mut at, mut parent) = (value, name.to_owned());
            for (part, range) in path {
                let Value::Object(map) = at else { break };
                let Some(next) = map.get(&part) else {
                    let title = if parent == "groups" {
                        format!("there is no group `{part}`")
                    } else {
                        format!("`{parent}` has no `{part}`")
                    };
                    let diagnostic = Diagnostic::error(title).at(origin.span(file, &range));
                    let fact = (parent == "ansible_facts").then(|| ansible_words::find(ansible_words::FACTS, &part)).flatten();
                    self.fail(match (fact, did_you_mean(&part, map.keys().map(String::as_str))) {
                        (Some(word), _) => diagnostic.help(word.help()),
                        (None, Some(near)) => diagnostic.suggest(Some(near)),
                        (None, None) if parent == "groups" => {
                            let names: Vec<&str> = map.keys().map(String::as_str).take(NAMED_GROUPS).collect();
                            let help =
                                format!("if it may be missing, ask `'{part}' in groups` before; groups: {}", names.join(", "));
                            diagnostic.help(help)
                        }
                        (None, None) => diagnostic.help(format!("if it may be missing, write `?.{part}` or give it a `default`")),
                    });
                    failed = true;
                    break;
                };
                at = next;
                parent = format!("{parent}.{part}");
            }
        }
        failed
    }
}

/// Returns the length of all texts within a value.
fn text_length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_length).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + text_length(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Whether any text within a value, including keys, satisfies a predicate.
pub(super) fn any_text(value: &Value, is: &dyn Fn(&str) -> bool) -> bool {
    count(1);
    match value {
        Value::String(text) => is(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, is)),
        Value::Object(map) => map.iter().any(|(key, value)| is(key) || any_text(value, is)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
