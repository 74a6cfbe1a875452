//! The precedence of variables: `-e`, then the task, then the inventory, then the role.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Value, json};

use super::{Failed, Scope, any_text};
use crate::{
    plan::{
        World,
        hostvars::hostvars,
        project::{ForAll, Project},
    },
    role::{CHECK_MODE, Default, MAGIC, OMIT, VarType, ansible_words},
    secret::holds_token,
    source::{Diagnostic, Node, Span, did_you_mean},
    template::{Shared, count},
};

/// Where a value comes from.
enum ValueSource<'a> {
    Data(Value, Option<&'a Span>),
    Raw(&'a Node),
}

/// Returns the value of a name that is the same for all hosts: `groups` or `hostvars`. It is made once.
pub(super) fn for_all<'p>(project: &'p Project, name: &str) -> Option<&'p ForAll> {
    let once = |value| ForAll { holds_token: any_text(&value, &holds_token), value: Arc::new(Shared::new(value)) };
    match name {
        "groups" => Some(project.groups.get_or_init(|| once(json!(project.inventory.hosts_by_group())))),
        "hostvars" => Some(project.hostvars.get_or_init(|| once(hostvars(project)))),
        _ => None,
    }
}

impl<'a> Scope<'a> {
    /// Whether a name is defined here.
    pub(super) fn is_name(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role.defaults.contains_key(name))
            || self.project.extra.contains_key(name)
            || self.vars.iter().any(|(key, _)| key.name == name)
            || self.world.is_some_and(|world| world.registers.contains_key(name))
            || MAGIC.contains(&name) && self.is_magic(name)
            || self.host.value(name).is_some()
    }

    /// Whether a magic name has a value here.
    fn is_magic(&self, name: &str) -> bool {
        match name {
            "item" => self.item.is_some(),
            "ansible_facts" => self.world.is_some(),
            CHECK_MODE => false,
            _ => true,
        }
    }

    /// Returns every name that is defined here.
    pub(super) fn names(&self) -> HashSet<String> {
        let mut names: HashSet<String> = self.host.names().cloned().collect();
        names.extend(self.project.extra.keys().cloned());
        names.extend(self.roles.iter().flat_map(|role| role.defaults.keys().cloned()));
        names.extend(self.vars.iter().map(|(key, _)| key.name.clone()));
        names.extend(self.world.iter().flat_map(|world| world.registers.keys().cloned()));
        let magic = MAGIC.iter().filter(|name| self.is_magic(name));
        names.extend(magic.map(|name| (*name).to_owned()));
        names
    }

    /// Returns the value of a variable, rendered and of its declared type; `None` if it is not defined.
    pub(in crate::plan) fn variable(&self, name: &str) -> Result<Option<Value>, Failed> {
        if let Some(value) = self.known.borrow().get(name) {
            return Ok(Some(value.clone()));
        }
        if self.failed.borrow().contains(name) {
            return Err(Failed);
        }
        let Some(found) = self.find(name)? else { return Ok(None) };
        let declared = self.declared(name);
        let (value, span) = match found {
            ValueSource::Data(value, span) => (value, span),
            ValueSource::Raw(node) => {
                let value = self.resolve(name, node).inspect_err(|Failed| {
                    self.failed.borrow_mut().insert(name.to_owned());
                })?;
                (value, Some(&node.span))
            }
        };
        let text = value.as_str().map(str::to_owned);
        let fitted = match declared {
            Some(declared) => declared.fit(value),
            None => Ok(value),
        };
        let fitted = fitted.map_err(|error| {
            let limits = declared.and_then(|declared| declared.limits.describe());
            let title = if limits.is_some_and(|limits| error.ends_with(&limits)) { "wrong value" } else { "wrong type" };
            let diagnostic = Diagnostic::error(format!("{title} for `{name}`: {error}"));
            let words = declared.map(|declared| declared.limits.one_of.as_slice()).unwrap_or_default();
            match text.as_deref().and_then(|text| did_you_mean(text, words.iter().map(String::as_str))) {
                Some(meant) => diagnostic.suggest(Some(meant)),
                None => diagnostic,
            }
        });
        let fitted = match (declared.map(|declared| declared.kind), fitted) {
            (Some(VarType::Host), Ok(value)) => self.one_host(name, value),
            (_, fitted) => fitted,
        };
        let fitted = fitted.map_err(|mut diagnostic| {
            self.failed.borrow_mut().insert(name.to_owned());
            if let Some(span) = span {
                diagnostic = diagnostic.at(span.clone());
            }
            if let Some(declared) =
                declared.filter(|declared| span.is_some_and(|span| span.file.shown != declared.span.file.shown))
            {
                diagnostic = diagnostic.also(declared.span.clone(), "declared here");
            }
            self.fail(diagnostic)
        })?;
        self.known.borrow_mut().insert(name.to_owned(), fitted.clone());
        Ok(Some(fitted))
    }

    /// Resolves a value of [`VarType::Host`]: a host, or a group with exactly one host.
    fn one_host(&self, name: &str, value: Value) -> Result<Value, Diagnostic> {
        let inventory = &self.project.inventory;
        let text = value.as_str().unwrap_or_default();
        if text.is_empty() || inventory.hosts.contains_key(text) {
            return Ok(value);
        }
        let invalid = |what: String| Diagnostic::error(format!("wrong value of `{name}`: {what}"));
        if holds_token(text) {
            return Err(invalid("a secret cannot name a host".to_owned()));
        }
        if !inventory.groups.contains_key(text) {
            let diagnostic = invalid(format!("the inventory has no host `{text}`, and no group of that name"));
            let known = inventory.hosts.keys().chain(inventory.groups.keys()).map(String::as_str);
            return Err(match did_you_mean(text, known) {
                Some(near) => diagnostic.suggest(Some(near)),
                None => diagnostic.help("it must be a host of the inventory, or a group that has exactly one host"),
            });
        }
        match inventory.hosts_in_group(text).as_slice() {
            [host] => Ok(json!(host)),
            [] => Err(invalid(format!("the group `{text}` has no hosts")).help("name a host of the inventory")),
            hosts => {
                let shown = hosts.iter().take(5).copied().collect::<Vec<_>>().join(", ");
                let more = if hosts.len() > 5 { ", …" } else { "" };
                Err(invalid(format!("the group `{text}` has {} hosts: {shown}{more}", hosts.len()))
                    .help("name one of them; a group stands for a host only where it has exactly one"))
            }
        }
    }

    pub(super) fn declared(&self, name: &str) -> Option<&'a Default> {
        self.roles.iter().find_map(|role| role.defaults.get(name))
    }

    /// Finds the value of a name: in `-e`, then in the task, then in the inventory, then in the role.
    fn find(&self, name: &str) -> Result<Option<ValueSource<'_>>, Failed> {
        if name == CHECK_MODE {
            return Ok(None);
        }
        if let Some(value) = self.magic(name)? {
            return Ok(Some(ValueSource::Data(value, None)));
        }
        if let Some(extra) = self.project.extra.get(name) {
            return Ok(Some(match &extra.vaulted {
                Some(node) => ValueSource::Raw(node),
                None => ValueSource::Data(extra.value.clone(), Some(&extra.span)),
            }));
        }
        if let Some((_, node)) = self.vars.iter().find(|(key, _)| key.name == name) {
            return Ok(Some(ValueSource::Raw(node)));
        }
        if let Some(value) = self.world.and_then(|world| world.registers.get(name)) {
            self.refuse_tokens(value, name)?;
            return Ok(Some(ValueSource::Data(value.clone(), None)));
        }
        if let Some(node) = self.host.value(name) {
            return Ok(Some(ValueSource::Raw(node)));
        }
        let Some(default) = self.declared(name) else { return Ok(None) };
        if let Some(node) = &default.value {
            return Ok(Some(ValueSource::Raw(node)));
        }
        self.failed.borrow_mut().insert(name.to_owned());
        let diagnostic = Diagnostic::error(format!("`{name}` has no default and is not set for `{}`", self.host.name()));
        Err(self.fail(diagnostic.at(default.span.clone()).help("set it in the inventory, or with `-e`")))
    }

    fn magic(&self, name: &str) -> Result<Option<Value>, Failed> {
        Ok(match name {
            "inventory_hostname" => Some(json!(self.host.name())),
            "inventory_hostname_short" => Some(json!(self.host.name().split('.').next())),
            "group_names" => Some(json!(self.host.group_names())),
            "item" => self.item.clone(),
            OMIT => Some(Value::Null),
            "ansible_facts" => match self.world {
                Some(world) => {
                    self.refuse_tokens(&world.facts, name)?;
                    Some(world.facts.clone())
                }
                None => None,
            },
            // Templates get these without a copy: see `evaluate`.
            _ => for_all(self.project, name).map(|all| {
                count(all.value.size());
                all.value.value().clone()
            }),
        })
    }

    /// A node must not obtain a secret by returning the characters of a token.
    fn refuse_tokens(&self, value: &Value, name: &str) -> Result<(), Failed> {
        if any_text(value, &holds_token) {
            return Err(self.fail(Diagnostic::error(format!(
                "`{name}` from the node `{}` contains a reserved character",
                self.host.name()
            ))));
        }
        Ok(())
    }

    fn resolve(&self, name: &str, node: &Node) -> Result<Value, Failed> {
        self.resolving(name, || self.render(node))
    }

    /// Renders a variable with `render`, and reports an error if it refers to itself.
    pub(in crate::plan) fn resolving(&self, name: &str, render: impl FnOnce() -> Result<Value, Failed>) -> Result<Value, Failed> {
        if let Some(start) = self.resolving.borrow().iter().position(|one| one == name) {
            return Err(self.cycle(&self.resolving.borrow()[start..]));
        }
        self.resolving.borrow_mut().push(name.to_owned());
        let value = render();
        self.resolving.borrow_mut().pop();
        value
    }

    /// Reports a cycle of variables in the same way wherever it was entered.
    fn cycle(&self, names: &[String]) -> Failed {
        let first = (0..names.len()).min_by_key(|at| &names[*at]).unwrap_or_default();
        let mut chain: Vec<&str> = names[first..].iter().chain(&names[..first]).map(String::as_str).collect();
        let name = chain[0];
        chain.push(name);
        let mut diagnostic = Diagnostic::error(format!("the variable `{name}` refers to itself: {}", chain.join(" -> ")));
        let written = self.vars.iter().find(|(key, _)| key.name == name).map(|(_, node)| node);
        let written = written.or_else(|| self.host.value(name)).or_else(|| self.declared(name)?.value.as_ref());
        if let Some(node) = written {
            diagnostic = diagnostic.at(node.span.clone());
        }
        self.fail(diagnostic)
    }

    pub(super) fn explain(&self, name: &str, diagnostic: Diagnostic) -> Diagnostic {
        if name == "item" {
            return diagnostic.help("`item` exists only in tasks with a `loop`");
        }
        if name == CHECK_MODE {
            return diagnostic.help("a check must predict the deploy, so nothing may depend on whether this is a check");
        }
        if name == "ansible_facts" {
            return diagnostic.help("this value is needed before the facts of the node are known");
        }
        if let Some(help) = ansible_variable(name) {
            return diagnostic.help(help);
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
}

/// Returns what to write in place of a variable that only Ansible has.
pub(in crate::plan) fn ansible_variable(name: &str) -> Option<String> {
    let fact = name.strip_prefix("ansible_").filter(|fact| World::stand_in().facts.get(fact).is_some());
    fact.map(|fact| format!("write `ansible_facts.{fact}`"))
        .or_else(|| ansible_words::find(ansible_words::VARIABLES, name).map(ansible_words::Word::help))
}
