//! Makes the pages.

use super::{Page, Row, Section, Topic};
use crate::{
    health::{CHECKS, EXERCISES},
    question::facts::FACTS,
    resource::{KINDS, Parameter},
    role::{Role, keywords as words},
    source::Node,
};

/// Every resource, check and exercise, in this order.
#[must_use]
pub fn kinds() -> Vec<Page> {
    let resources = KINDS.iter().map(|kind| page(Topic::Resource, kind.name, kind.about, kind.example, (kind.declared)()));
    let checks = CHECKS.iter().map(|kind| page(Topic::Check, kind.name, kind.about, kind.example, (kind.declared)()));
    let exercises = EXERCISES.iter().map(|kind| page(Topic::Exercise, kind.name, kind.about, kind.example, (kind.declared)()));
    resources.chain(checks).chain(exercises).collect()
}

fn page(topic: Topic, name: &str, about: &str, example: &str, declared: &'static [Parameter]) -> Page {
    let mut sections = vec![Section { title: "parameter".to_owned(), rows: declared.iter().map(parameter).collect() }];
    for outer in declared.iter().filter(|parameter| !parameter.shape.inner().is_empty()) {
        let rows = outer.shape.inner().iter().map(parameter).collect();
        sections.push(Section { title: format!("each of {}", outer.name), rows });
    }
    Page { name: name.to_owned(), topic, about: about.to_owned(), sections, example: Some(example.to_owned()) }
}

fn parameter(parameter: &Parameter) -> Row {
    let default = parameter.default.as_ref().map(|default| match default.as_str() {
        Some("") => "\"\"".to_owned(),
        Some(text) => text.to_owned(),
        None => default.to_string(),
    });
    Row {
        name: parameter.name.to_owned(),
        aliases: parameter.aliases.iter().map(|&alias| alias.to_owned()).collect(),
        takes: parameter.shape.words(),
        required: parameter.required,
        default,
        help: parameter.help.clone(),
    }
}

/// The keys of role files, and the facts.
#[must_use]
pub fn keywords() -> Vec<Page> {
    let page = |name: &str, about: &str, table: &[words::Keyword]| {
        let row = |word: &words::Keyword| Row {
            name: word.name.to_owned(),
            takes: word.takes.words().to_owned(),
            required: word.required,
            help: word.help.to_owned(),
            ..Row::default()
        };
        let sections = vec![Section { title: "key".to_owned(), rows: table.iter().map(row).collect() }];
        Page { name: name.to_owned(), topic: Topic::Keywords, about: about.to_owned(), sections, example: None }
    };
    let facts = FACTS.iter().map(|(name, takes, help)| Row {
        name: (*name).to_owned(),
        takes: (*takes).to_owned(),
        help: (*help).to_owned(),
        ..Row::default()
    });
    vec![
        page("role-file", "The keys of `roles/NAME/role.yml`", words::ROLE),
        page("task", "The keywords of a task, beside its one resource", words::TASK),
        page("handler", "The keys of a handler: a name and one of `systemd` and `command`", words::HANDLER),
        page(
            "health-check",
            "The keys of a health check: a name and one of `read` and `exercise`, or a `block` of checks",
            words::HEALTH,
        ),
        page("variable", "The keys of a variable in `defaults`, unless it is just `name: value`", words::VARIABLE),
        page("secret", "The keys of a secret in `secrets`", words::SECRET),
        Page {
            name: "facts".to_owned(),
            topic: Topic::Facts,
            about: "What is known of a node, as `ansible_facts.NAME`".to_owned(),
            sections: vec![Section { title: "fact".to_owned(), rows: facts.collect() }],
            example: None,
        },
    ]
}

/// The page of a role.
#[must_use]
pub fn role(role: &Role) -> Page {
    let variables = role.defaults.iter().map(|(name, variable)| Row {
        name: name.clone(),
        takes: variable.takes(),
        required: variable.value.is_none(),
        default: variable.value.as_ref().map(written),
        help: variable.help.clone().unwrap_or_default(),
        ..Row::default()
    });
    let secrets = role.secrets.iter().map(|(name, secret)| {
        let host = secret.host.as_ref().map(|host| format!(" of {}", written(host))).unwrap_or_default();
        Row { name: name.clone(), help: format!("kept in {}{host}", written(&secret.file)), ..Row::default() }
    });
    let plain = |name: &str, help: String| Row { name: name.to_owned(), help, ..Row::default() };
    let tasks = role.tasks.iter().map(|task| plain(&task.name.text, task.kind.name.to_owned()));
    let handlers = role.handlers.iter().map(|handler| plain(&handler.name.text, String::new()));
    let health = role.health.iter().map(|check| plain(&check.name.text, check.check.kind().to_owned()));
    let section = |title: &str, rows: Vec<Row>| Section { title: title.to_owned(), rows };
    Page {
        name: role.name.clone(),
        topic: Topic::Role,
        about: role.description.clone().unwrap_or_else(|| "A role without a description".to_owned()),
        sections: vec![
            section("variable", variables.collect()),
            section("secret", secrets.collect()),
            section("task", tasks.collect()),
            section("handler", handlers.collect()),
            section("health check", health.collect()),
        ],
        example: None,
    }
}

/// A value as a role writes it, in one line.
fn written(node: &Node) -> String {
    node.scalar_text()
        .map_or_else(|| node.span.text().split_whitespace().collect::<Vec<_>>().join(" "), std::borrow::Cow::into_owned)
}
