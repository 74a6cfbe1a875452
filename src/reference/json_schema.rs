//! The JSON Schema of a role file, for editors. Draft 7: every YAML language server supports all of it.

use serde_json::{Map, Value, json};

use crate::{
    health::{CHECKS, EXERCISES},
    resource::{COMPOSE_HANDLER, KINDS, Parameter, Shape},
    role::{
        VarType,
        keywords::{self, Keyword, Takes},
    },
};

/// A schema of `roles/NAME/role.yml`.
#[must_use]
pub fn role_file() -> Value {
    let mut definitions = Map::new();
    for kind in KINDS {
        definitions
            .insert(format!("resource.{}", kind.name), parameters((kind.declared)(), kind.about, !kind.free_form.is_empty()));
    }
    for kind in CHECKS {
        definitions.insert(format!("check.{}", kind.name), parameters((kind.declared)(), kind.about, false));
    }
    for kind in EXERCISES {
        definitions.insert(format!("exercise.{}", kind.name), parameters((kind.declared)(), kind.about, false));
    }
    definitions.insert("task".into(), task());
    definitions.insert("handler".into(), handler());
    definitions.insert("health".into(), health());
    definitions.insert("variable".into(), variable());
    definitions.insert("secret".into(), map(keywords::SECRET, Map::new()));
    let items = |name: &str| json!({"type": ["array", "null"], "items": reference(name)});
    let entries = |name: &str| json!({"type": ["object", "null"], "additionalProperties": reference(name)});
    let sections = Map::from_iter([
        ("defaults".to_owned(), entries("variable")),
        ("secrets".to_owned(), entries("secret")),
        ("tasks".to_owned(), items("task")),
        ("handlers".to_owned(), items("handler")),
        ("health".to_owned(), items("health")),
    ]);
    let mut schema = map(keywords::ROLE, sections);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("A role of autobot-provision");
    schema["definitions"] = Value::Object(definitions);
    schema
}

fn reference(to: &str) -> Value {
    json!({"$ref": format!("#/definitions/{to}")})
}

/// A map with these keys; `special` has the schemas of some of them, and further keys.
fn map(table: &[Keyword], mut special: Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for word in table {
        let mut schema = special.shift_remove(word.name).unwrap_or_else(|| takes(word.takes));
        schema["description"] = json!(word.help);
        properties.insert(word.name.to_owned(), schema);
    }
    properties.extend(special);
    let required: Vec<&str> = table.iter().filter(|word| word.required).map(|word| word.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn takes(takes: Takes) -> Value {
    match takes {
        Takes::Text => json!({"type": ["string", "number", "boolean"]}),
        Takes::Words => {
            json!({"anyOf": [{"type": ["string", "number"]}, {"type": "array", "items": {"type": ["string", "number"]}}]})
        }
        Takes::Flag => flag(),
        Takes::Number => json!({"type": "integer"}),
        Takes::Time => json!({"type": ["string", "integer"], "pattern": "^[0-9]+[smh]?$"}),
        Takes::Expressions => expressions(),
        Takes::List => json!({"type": "array"}),
        Takes::Map => json!({"type": "object"}),
        Takes::MapOrText => json!({"type": ["object", "string"]}),
        Takes::Any => json!({}),
    }
}

/// The properties for one of these keys, and for each key the requirement that it is given.
fn one_of(prefix: &str, names: impl Iterator<Item = &'static str> + Clone) -> (Map<String, Value>, Vec<Value>) {
    let properties = names.clone().map(|name| (name.to_owned(), reference(&format!("{prefix}.{name}")))).collect();
    (properties, names.map(|name| json!({"required": [name]})).collect())
}

fn task() -> Value {
    let (mut special, mut required) = one_of("resource", KINDS.iter().map(|kind| kind.name));
    special.insert("block".to_owned(), block_of("task"));
    required.push(json!({"required": ["block"]}));
    let mut schema = map(keywords::TASK, special);
    schema["oneOf"] = json!(required);
    named_unless_block(schema)
}

/// The items of a block.
fn block_of(items: &str) -> Value {
    json!({"type": "array", "items": reference(items), "minItems": 1})
}

/// Requires a name of everything but a block.
fn named_unless_block(mut schema: Value) -> Value {
    schema["required"] = json!([]);
    schema["anyOf"] = json!([{"required": ["name"]}, {"required": ["block"]}]);
    schema
}

fn handler() -> Value {
    let restart = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "state": {"enum": ["restarted", "reloaded"]}, "if_running": flag()},
        "required": ["name", "state"],
        "additionalProperties": false,
    });
    let text_or = |properties: Value, required: &str| {
        json!({"anyOf": [
            {"type": "string"},
            {"type": "object", "properties": properties, "required": [required], "additionalProperties": false},
        ]})
    };
    let special = Map::from_iter([
        ("systemd".to_owned(), restart),
        ("docker_compose".to_owned(), parameters((COMPOSE_HANDLER.declared)(), COMPOSE_HANDLER.about, false)),
        ("command".to_owned(), text_or(json!({"cmd": {"type": "string"}}), "cmd")),
        ("ready".to_owned(), text_or(json!({"command": {"type": "string"}, "timeout": takes(Takes::Time)}), "command")),
    ]);
    let mut schema = map(keywords::HANDLER, special);
    schema["oneOf"] = json!([{"required": ["systemd"]}, {"required": ["command"]}, {"required": ["docker_compose"]}]);
    schema
}

fn health() -> Value {
    let exactly_one = |(properties, _): (Map<String, Value>, Vec<Value>)| json!({"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1, "maxProperties": 1});
    let (mut read, _) = one_of("resource", KINDS.iter().map(|kind| kind.name));
    // A check hides the resource of the same name.
    read.extend(one_of("check", CHECKS.iter().map(|kind| kind.name)).0);
    let exercise = one_of("exercise", EXERCISES.iter().map(|kind| kind.name));
    let special = Map::from_iter([
        ("read".to_owned(), exactly_one((read, Vec::new()))),
        ("exercise".to_owned(), exactly_one(exercise)),
        ("block".to_owned(), block_of("health")),
    ]);
    let mut schema = map(keywords::HEALTH, special);
    schema["oneOf"] = json!([{"required": ["read"]}, {"required": ["exercise"]}, {"required": ["block"]}]);
    named_unless_block(schema)
}

/// Any value; a map with `default`, or with `type` and no key but a variable's, is a declaration.
fn variable() -> Value {
    let kind = json!({"anyOf": [
        {"enum": VarType::NAMES},
        {
            "type": "object",
            "properties": {"one_of": {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1}},
            "required": ["one_of"],
            "additionalProperties": false,
        },
    ]});
    let declared = map(keywords::VARIABLE, Map::from_iter([("type".to_owned(), kind)]));
    let names: Vec<&str> = keywords::VARIABLE.iter().map(|word| word.name).collect();
    json!({
        "if": {"type": "object", "anyOf": [{"required": ["default"]}, {"required": ["type"], "propertyNames": {"enum": names}}]},
        "then": declared,
    })
}

/// The map of a resource's parameters; with `free_form` also text alone.
fn parameters(declared: &[Parameter], about: &str, free_form: bool) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for parameter in declared {
        let mut schema = shape(&parameter.shape);
        schema["description"] = json!(parameter.help);
        if let Some(default) = &parameter.default {
            schema["default"] = default.clone();
        }
        for name in parameter.names() {
            properties.insert(name.to_owned(), schema.clone());
        }
        if parameter.required {
            let names: Vec<Value> = parameter.names().map(|name| json!({"required": [name]})).collect();
            required.push(json!({"anyOf": names}));
        }
    }
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["allOf"] = json!(required);
    }
    if free_form {
        schema = json!({"anyOf": [{"type": "string"}, schema]});
    }
    schema["description"] = json!(about);
    schema
}

/// Allows a template in place of a value that is not text.
fn or_template(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "string", "pattern": "\\{[{%]"}]})
}

fn flag() -> Value {
    json!({"enum": [true, false, "yes", "no", "on", "off", "true", "false"]})
}

fn expressions() -> Value {
    json!({"anyOf": [{"type": ["string", "boolean"]}, {"type": "array", "items": {"type": ["string", "boolean"]}}]})
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::ShellText | Shape::Formatted(_) => json!({"type": "string"}),
        Shape::Text | Shape::Secret | Shape::Scalar(_) => json!({"type": ["string", "number", "boolean"]}),
        Shape::Integer { least, most } => or_template(&json!({"type": "integer", "minimum": least, "maximum": most})),
        Shape::Flag => or_template(&flag()),
        Shape::OneOf(words) => or_template(&json!({"enum": words})),
        Shape::Expressions => expressions(),
        Shape::Argv => or_template(&json!({"type": "array", "items": {"type": "string"}})),
        Shape::List(item) => or_template(&json!({"type": "array", "items": self::shape(item)})),
        Shape::OneOrMany(item) => {
            let item = self::shape(item);
            or_template(&json!({"anyOf": [item, {"type": "array", "items": item}]}))
        }
        Shape::Map(value) => or_template(&json!({"type": "object", "additionalProperties": self::shape(value)})),
        Shape::Struct(declared) => or_template(&parameters(declared, "", false)),
    }
}
