//! What a name means for one host in one task: variables are rendered when they are used, once, with their types.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use serde_json::{Map, Value, json};
use tera::Context;

use crate::{
    role::{Default, MAGIC, Role, VarType, kind_of, truth},
    secret::{Encoding, SecretRef, holds_token},
    source::{Diagnostic, Diagnostics, Key, Node, Place, SourceFile, Yaml, did_you_mean},
    template::{Problem, Template, is_template},
};

use super::{
    World,
    project::{Project, complaint},
    raw,
};

/// Something is wrong, and the scope has noted what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed;

/// How secrets may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Not here; says where `here` is.
    Forbidden(&'static str),
    /// As tokens.
    Tokens,
    /// As other tokens: what differs between the two was decided by a secret's value.
    OtherTokens,
}

/// The variables of a host.
#[derive(Debug)]
pub(super) struct HostVars {
    pub(super) name: String,
    pub(super) values: HashMap<String, Node>,
    pub(super) group_names: Vec<String>,
}

/// What names mean.
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
    known: RefCell<HashMap<String, Value>>,
    failed: RefCell<HashSet<String>>,
    resolving: RefCell<Vec<String>>,
    /// What is being rendered for the task itself, however many variables deep we are.
    outermost: RefCell<Option<Place>>,
    wrong: RefCell<Diagnostics>,
}

/// Where the text of a template comes from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Node(&'a Node),
    Files(&'a [Arc<SourceFile>]),
}

impl Origin<'_> {
    fn place(self, file: usize, range: &Range<usize>) -> Place {
        match self {
            Self::Node(node) => place_in(node, range),
            Self::Files(files) => Place::new(&files[file.min(files.len() - 1)], range.clone()),
        }
    }
}

/// The place of a range of a string's value. Where escapes or indentation make the two differ, the same words are looked for.
fn place_in(node: &Node, range: &Range<usize>) -> Place {
    let (Some(value), source) = (node.as_str(), node.place.text()) else { return node.place.clone() };
    if let Some(start) = source.find(value) {
        return node.place.inside(start + range.start..start + range.end);
    }
    let Some(words) = value.get(range.clone()).filter(|words| !words.trim().is_empty()) else { return node.place.clone() };
    let before = value[..range.start].matches(words).count();
    source.match_indices(words).nth(before).map_or_else(|| node.place.clone(), |(at, _)| node.place.inside(at..at + words.len()))
}

/// Where a value comes from.
enum Found<'a> {
    Data(Value, Option<&'a Place>),
    Raw(&'a Node),
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
            known: RefCell::default(),
            failed: RefCell::default(),
            resolving: RefCell::default(),
            outermost: RefCell::default(),
            wrong: RefCell::default(),
        }
    }

    /// The same names with other tokens for secrets, another item, or other variables; nothing is known of it yet.
    pub(super) fn again(&self, secrets: Secrets) -> Self {
        let mut scope = Self::new(self.project, self.host, None, self.world);
        scope.roles.clone_from(&self.roles);
        scope.vars = self.vars;
        scope.item.clone_from(&self.item);
        scope.secrets.set(secrets);
        scope
    }

    /// Notes what is wrong.
    pub(super) fn fail(&self, diagnostic: Diagnostic) -> Failed {
        self.wrong.borrow_mut().push(diagnostic);
        Failed
    }

    /// Everything that is wrong so far.
    pub(super) fn take_wrong(&self) -> Diagnostics {
        self.wrong.take()
    }

    /// Whether rendering has met a secret.
    pub(super) fn used_secret(&self) -> bool {
        self.used_secret.get()
    }

    /// Renders a value: text where it is a template, the rest as it is, parts one by one.
    pub(super) fn render(&self, node: &Node) -> Result<Value, Failed> {
        if node.verbatim {
            return Ok(raw(node));
        }
        match &node.value {
            Yaml::Str(text) if is_template(text) => self.render_text(text, node, false),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) => Ok(raw(node)),
            Yaml::Seq(items) => {
                let items: Vec<Result<Value, Failed>> = items.iter().map(|item| self.render(item)).collect();
                items.into_iter().collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            Yaml::Map(entries) => {
                let mut map = Map::new();
                let mut failed = None;
                for (key, value) in entries {
                    let name = self.render_key(key);
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
            place: key.place.clone(),
            style: crate::source::node::Style::Quoted,
            verbatim: false,
        };
        match self.render_text(&key.name, &node, false)? {
            Value::String(name) => Ok(name),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.fail(Diagnostic::error(format!("a key must be text, not {}", kind_of(&other))).at(key.place.clone())))
            }
        }
    }

    /// Renders text and wants text.
    pub(super) fn text(&self, node: &Node) -> Result<String, Failed> {
        match self.render(node)? {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(_) if !node.as_str().is_some_and(is_template) => Ok(node.scalar_text().unwrap_or_default().into_owned()),
            other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.fail(Diagnostic::error(format!("this must be text, not {}", kind_of(&other))).at(node.place.clone())))
            }
        }
    }

    /// Whether a condition holds.
    pub(super) fn holds(&self, node: &Node) -> Result<bool, Failed> {
        if let Some(flag) = node.as_bool() {
            return Ok(flag);
        }
        let Some(text) = node.as_str() else {
            return Err(self.fail(Diagnostic::error("a condition must be an expression").at(node.place.clone())));
        };
        let compiled = self.project.text(text, true);
        let template = self.compiled(compiled.as_ref().as_ref(), Origin::Node(node))?;
        let value = self.evaluate(template, Origin::Node(node))?;
        for (name, range) in template.operands() {
            if let Ok(Some(Value::String(text))) = self.variable(&name)
                && truth(&text).is_some()
                && value != Value::String(text)
            {
                let place = Origin::Node(node).place(0, &range);
                let diagnostic = Diagnostic::error(format!("`{name}` is text, which always counts as true")).at(place);
                return Err(self.fail(diagnostic.help(format!("declare it with `type: bool`, or write `{name} | bool`"))));
            }
        }
        let truth = match &value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => truth(text),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        };
        truth.ok_or_else(|| {
            let diagnostic = Diagnostic::error("a condition must come out true or false").at(node.place.clone());
            self.fail(
                diagnostic
                    .label(format!("this is {}", kind_of(&value)))
                    .help("compare it with something: `x == 1`, `x != \"\"`, `x is defined`"),
            )
        })
    }

    fn render_text(&self, text: &str, node: &Node, is_expression: bool) -> Result<Value, Failed> {
        let compiled = self.project.text(text, is_expression);
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
                self.fail(complaint(problem.clone(), origin.place(problem.file, &problem.range)));
            }
            Failed
        })
    }

    /// Says what a value uses that does not exist, without rendering it.
    pub(super) fn check_names(&self, node: &Node, is_expression: bool) {
        match &node.value {
            Yaml::Str(text) if !node.verbatim && (is_expression || is_template(text)) => {
                let compiled = self.project.text(text, is_expression);
                if let Ok(template) = self.compiled(compiled.as_ref().as_ref(), Origin::Node(node)) {
                    self.check_names_of(template, Origin::Node(node));
                }
            }
            Yaml::Seq(items) => items.iter().for_each(|item| self.check_names(item, is_expression)),
            Yaml::Map(entries) => entries.iter().for_each(|(_, value)| self.check_names(value, is_expression)),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) => {}
        }
    }

    fn check_names_of(&self, template: &Template, origin: Origin<'_>) {
        for name in template.names() {
            if name == "secrets" {
                let _ = self.check_secrets(template, origin);
            } else if !self.names().contains(name) {
                self.undefined(name, template, origin);
            }
        }
    }

    /// Notes each place where an undefined variable is used as if it were defined; whether there is one.
    fn undefined(&self, name: &str, template: &Template, origin: Origin<'_>) -> bool {
        let places = template.unguarded(name);
        for (file, range) in &places {
            let diagnostic = Diagnostic::error(format!("undefined variable `{name}`")).at(origin.place(*file, range));
            self.fail(self.explain(name, diagnostic));
        }
        !places.is_empty()
    }

    fn explain(&self, name: &str, diagnostic: Diagnostic) -> Diagnostic {
        if name == "item" {
            return diagnostic.help("`item` is there in tasks with a `loop`");
        }
        if name == "ansible_facts" {
            return diagnostic.help("this is needed before the node can be asked for its facts");
        }
        if let Some(fact) = name.strip_prefix("ansible_")
            && World::stand_in().facts.get(fact).is_some()
        {
            return diagnostic.help(format!("write `ansible_facts.{fact}`"));
        }
        let mut registers = self.roles.first().into_iter().flat_map(|role| &role.tasks);
        let registered = registers.find(|task| task.register.as_ref().is_some_and(|register| register.text == name));
        if let Some(task) = registered {
            return diagnostic
                .help(format!("it is the result of `{}`, which comes later or is left out by the tags", task.name.text));
        }
        let names = self.names();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        match did_you_mean(name, names) {
            Some(near) => diagnostic.suggest(Some(near)),
            None => diagnostic.help("declare it under `defaults:` of the role, or set it in the inventory"),
        }
    }

    fn evaluate(&self, template: &Template, origin: Origin<'_>) -> Result<Value, Failed> {
        let mut context = Context::new();
        let mut failed = false;
        if self.resolving.borrow().is_empty() {
            *self.outermost.borrow_mut() = match origin {
                Origin::Node(node) => Some(node.place.clone()),
                Origin::Files(_) => None,
            };
        }
        for name in template.names() {
            if name == "secrets" {
                match self.check_secrets(template, origin) {
                    Ok(secrets) => context.insert("secrets", &secrets),
                    Err(Failed) => failed = true,
                }
                continue;
            }
            match self.variable(name) {
                Ok(Some(value)) => {
                    failed |= self.is_forbidden(&value, origin);
                    failed |= self.missing_parts(name, &value, template, origin);
                    context.insert(name.to_owned(), &value);
                }
                Ok(None) => failed |= self.undefined(name, template, origin),
                Err(Failed) => failed = true,
            }
        }
        if failed {
            return Err(Failed);
        }
        template.render(&context).map_err(|problem| {
            let place = origin.place(problem.file, &problem.range);
            self.fail(complaint(problem, place))
        })
    }

    /// A value that was rendered with a secret where that was allowed must not be used where it is not.
    fn is_forbidden(&self, value: &Value, origin: Origin<'_>) -> bool {
        let Secrets::Forbidden(here) = self.secrets.get() else { return false };
        let forbidden = self.used_secret.get() && any_text(value, &holds_token);
        if forbidden {
            self.fail(Diagnostic::error(format!("a secret cannot be used {here}")).at(origin.place(0, &(0..0))));
        }
        forbidden
    }

    /// A missing part of a map counts as false in a comparison, in silence: here it is an error.
    fn missing_parts(&self, name: &str, value: &Value, template: &Template, origin: Origin<'_>) -> bool {
        let mut failed = false;
        for (file, path) in template.decisive_parts(name) {
            let mut at = value;
            for (part, range) in path {
                let Value::Object(map) = at else { break };
                let Some(next) = map.get(&part) else {
                    let diagnostic = Diagnostic::error(format!("`{name}` has no `{part}`")).at(origin.place(file, &range));
                    self.fail(diagnostic.suggest(did_you_mean(&part, map.keys().map(String::as_str))));
                    failed = true;
                    break;
                };
                at = next;
            }
        }
        failed
    }

    /// The secrets as tokens, when a template uses them as it may.
    fn check_secrets(&self, template: &Template, origin: Origin<'_>) -> Result<Value, Failed> {
        self.used_secret.set(true);
        let declared: HashSet<&str> = self.roles.iter().flat_map(|role| role.secrets.keys().map(String::as_str)).collect();
        let mut failed = None;
        for member in template.members("secrets") {
            let place = origin.place(member.file, &member.range);
            let wrong = |title: String| Diagnostic::error(title).at(place.clone());
            let diagnostic = match (&member.name, self.secrets.get()) {
                (_, Secrets::Forbidden(here)) => {
                    let diagnostic = wrong(format!("a secret cannot be used {here}"));
                    let outermost = self.outermost.borrow().clone().filter(|_| !self.resolving.borrow().is_empty());
                    let diagnostic = match outermost {
                        Some(outermost) => diagnostic.at(outermost).also(place.clone(), "the secret"),
                        None => diagnostic,
                    };
                    diagnostic.help("secrets go into the content of files, and into parameters that take a password")
                }
                (None, _) => wrong("a secret is used by its name".to_owned()).help("write `secrets.NAME`"),
                (Some(name), _) if !declared.contains(name.as_str()) => {
                    let diagnostic = wrong(format!("undeclared secret `{name}`"));
                    match did_you_mean(name, declared.iter().copied()) {
                        Some(name) => diagnostic.suggest(Some(name)),
                        None => diagnostic.help("declare it under `secrets:` of the role"),
                    }
                }
                (Some(name), _) => match &member.filter {
                    Some((filter, range)) if filter != "urlencode" => {
                        let place = origin.place(member.file, range);
                        Diagnostic::error(format!("`{filter}` cannot be used on the secret `{name}`"))
                            .at(place)
                            .help("`urlencode` is the only filter for secrets: their values are put in on the node")
                    }
                    _ if member.compared => wrong(format!("nothing can depend on the value of the secret `{name}`"))
                        .help("its value is put in on the node"),
                    Some(_) | None => continue,
                },
            };
            failed = Some(self.fail(diagnostic));
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        let other = self.secrets.get() == Secrets::OtherTokens;
        let tokens =
            declared.into_iter().map(|name| (name.to_owned(), Value::String(self.secret(name, other).token(Encoding::Plain))));
        Ok(Value::Object(tokens.collect()))
    }

    fn secret(&self, name: &str, other: bool) -> SecretRef {
        let secret = SecretRef { host: self.host.name.clone(), name: name.to_owned() };
        if other { SecretRef { host: format!("{0} {0}", secret.host), name: format!("other {name}") } } else { secret }
    }

    /// The text with the tokens of [`Secrets::OtherTokens`] written as the real ones.
    pub(super) fn with_real_tokens(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for name in self.roles.iter().flat_map(|role| role.secrets.keys()) {
            for encoding in [Encoding::Plain, Encoding::Url] {
                text = text.replace(&self.secret(name, true).token(encoding), &self.secret(name, false).token(encoding));
            }
        }
        text
    }

    /// Whether every token of a text is whole.
    pub(super) fn tokens_are_whole(&self, text: &str) -> bool {
        let mut text = text.to_owned();
        for name in self.roles.iter().flat_map(|role| role.secrets.keys()) {
            for encoding in [Encoding::Plain, Encoding::Url] {
                text = text.replace(&self.secret(name, false).token(encoding), "");
            }
        }
        !holds_token(&text)
    }

    /// Every name that means something here.
    fn names(&self) -> HashSet<String> {
        let mut names: HashSet<String> = self.host.values.keys().cloned().collect();
        names.extend(self.project.extra.keys().cloned());
        names.extend(self.roles.iter().flat_map(|role| role.defaults.keys().cloned()));
        names.extend(self.vars.iter().map(|(key, _)| key.name.clone()));
        names.extend(self.world.iter().flat_map(|world| world.registers.keys().cloned()));
        let magic = MAGIC
            .iter()
            .filter(|name| (**name != "item" || self.item.is_some()) && (**name != "ansible_facts" || self.world.is_some()));
        names.extend(magic.map(|name| (*name).to_owned()));
        names
    }

    /// The value of a variable, rendered and of its declared type; none when it is not defined.
    pub(super) fn variable(&self, name: &str) -> Result<Option<Value>, Failed> {
        if let Some(value) = self.known.borrow().get(name) {
            return Ok(Some(value.clone()));
        }
        if self.failed.borrow().contains(name) {
            return Err(Failed);
        }
        let Some(found) = self.find(name)? else { return Ok(None) };
        let declared = self.declared(name);
        let kind = declared.map_or(VarType::Any, |declared| declared.kind);
        let (value, place) = match found {
            Found::Data(value, place) => (value, place),
            Found::Raw(node) => {
                let value = self.resolve(name, node).inspect_err(|Failed| {
                    self.failed.borrow_mut().insert(name.to_owned());
                })?;
                (value, Some(&node.place))
            }
        };
        let fitted = kind.fit(value).map_err(|wrong| {
            self.failed.borrow_mut().insert(name.to_owned());
            let mut diagnostic = Diagnostic::error(format!("wrong type for `{name}`: {wrong}"));
            if let Some(place) = place {
                diagnostic = diagnostic.at(place.clone());
            }
            if let Some(declared) =
                declared.filter(|declared| place.is_some_and(|place| place.file.shown != declared.place.file.shown))
            {
                diagnostic = diagnostic.also(declared.place.clone(), "declared here");
            }
            self.fail(diagnostic)
        })?;
        self.known.borrow_mut().insert(name.to_owned(), fitted.clone());
        Ok(Some(fitted))
    }

    fn declared(&self, name: &str) -> Option<&'a Default> {
        self.roles.iter().find_map(|role| role.defaults.get(name))
    }

    /// Where a name gets its value: `-e`, then the task, then the inventory, then the role.
    fn find(&self, name: &str) -> Result<Option<Found<'_>>, Failed> {
        if let Some(value) = self.magic(name)? {
            return Ok(Some(Found::Data(value, None)));
        }
        if let Some(extra) = self.project.extra.get(name) {
            return Ok(Some(Found::Data(extra.value.clone(), Some(&extra.place))));
        }
        if let Some((_, node)) = self.vars.iter().find(|(key, _)| key.name == name) {
            return Ok(Some(Found::Raw(node)));
        }
        if let Some(value) = self.world.and_then(|world| world.registers.get(name)) {
            self.refuse_tokens(value, name)?;
            return Ok(Some(Found::Data(value.clone(), None)));
        }
        if let Some(node) = self.host.values.get(name) {
            return Ok(Some(Found::Raw(node)));
        }
        let Some(default) = self.declared(name) else { return Ok(None) };
        if let Some(node) = &default.value {
            return Ok(Some(Found::Raw(node)));
        }
        self.failed.borrow_mut().insert(name.to_owned());
        let diagnostic = Diagnostic::error(format!("`{name}` has no default and is not set for `{}`", self.host.name));
        Err(self.fail(diagnostic.at(default.place.clone()).help("set it in the inventory, or with `-e`")))
    }

    fn magic(&self, name: &str) -> Result<Option<Value>, Failed> {
        Ok(match name {
            "inventory_hostname" => Some(json!(self.host.name)),
            "inventory_hostname_short" => Some(json!(self.host.name.split('.').next())),
            "group_names" => Some(json!(self.host.group_names)),
            "groups" => Some(self.project.groups.get_or_init(|| json!(self.project.inventory.group_hosts())).clone()),
            "hostvars" => Some(self.project.hostvars.get_or_init(|| super::hostvars(self.project)).clone()),
            "ansible_check_mode" => Some(json!(self.project.check)),
            "item" => self.item.clone(),
            "ansible_facts" => match self.world {
                Some(world) => {
                    self.refuse_tokens(&world.facts, name)?;
                    Some(world.facts.clone())
                }
                None => None,
            },
            _ => None,
        })
    }

    /// A node that answers with the characters of a token must not get at a secret.
    fn refuse_tokens(&self, value: &Value, name: &str) -> Result<(), Failed> {
        if any_text(value, &holds_token) {
            return Err(
                self.fail(Diagnostic::error(format!("`{name}` from the node `{}` holds a reserved character", self.host.name)))
            );
        }
        Ok(())
    }

    fn resolve(&self, name: &str, node: &Node) -> Result<Value, Failed> {
        if let Some(start) = self.resolving.borrow().iter().position(|one| one == name) {
            return Err(self.cycle(&self.resolving.borrow()[start..]));
        }
        self.resolving.borrow_mut().push(name.to_owned());
        let value = self.render(node);
        self.resolving.borrow_mut().pop();
        value
    }

    /// One complaint for a circle of variables, wherever it was entered.
    fn cycle(&self, names: &[String]) -> Failed {
        let first = (0..names.len()).min_by_key(|at| &names[*at]).unwrap_or_default();
        let mut chain: Vec<&str> = names[first..].iter().chain(&names[..first]).map(String::as_str).collect();
        let name = chain[0];
        chain.push(name);
        let mut diagnostic = Diagnostic::error(format!("the variable `{name}` refers to itself: {}", chain.join(" -> ")));
        let written = self.vars.iter().find(|(key, _)| key.name == name).map(|(_, node)| node);
        let written = written.or_else(|| self.host.values.get(name)).or_else(|| self.declared(name)?.value.as_ref());
        if let Some(node) = written {
            diagnostic = diagnostic.at(node.place.clone());
        }
        self.fail(diagnostic)
    }
}

/// Whether any text within a value, keys included, is as asked.
pub(super) fn any_text(value: &Value, is: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, is)),
        Value::Object(map) => map.iter().any(|(key, value)| is(key) || any_text(value, is)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
