//! Hostile values in every parameter that a shell reads, through loading and expansion to the text that runs, in real shells.

use std::{fmt::Write as _, os::unix::fs::PermissionsExt as _, process::Command};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::template::hostile;

/// Records its arguments, and how many there were.
const RECORDER: &str = "#!/bin/sh\nprintf '%s\\0' \"$#\" \"$@\"\n";

/// Prints its arguments, each with a `.` behind it.
const JOINER: &str = "#!/bin/sh\nprintf '%s.' \"$@\"\n";

/// How the values of operators, facts and results stand in shell text. `PARAMETER` tells the texts apart.
const WORDS: &str = r#"record PARAMETER {{ extra }} {{ inventory }} {{ default }} {{ ansible_facts.hostname }} {{ said.stdout }} a {{ list }} b --x={{ default }}/{{ extra }}s "$(join {{ said.stdout }}{{ inventory }} "$(join {{ ansible_facts.hostname }})")""#;

/// How those stand that are known before a node is asked, in the line of a program that gives a secret.
const OPERATORS_WORDS: &str = r#"record program {{ extra }} {{ inventory }} a {{ list }} b --x={{ inventory }}/{{ extra }}s "$(join {{ extra }}{{ inventory }})""#;

/// Every parameter that a shell reads, as `PARAMETER` in [`WORDS`].
const PARAMETERS: [&str; 13] = [
    "cmd",
    "guarded",
    "unless",
    "only_if",
    "health",
    "copy",
    "template",
    "lineinfile",
    "blockinfile",
    "get_url",
    "handler",
    "ready",
    "environment",
];

/// The values of one case. Not all of them can hold `{{`: there it would be a template.
#[derive(Debug, Clone)]
struct Values {
    extra: String,
    inventory: String,
    default: String,
    fact: String,
    result: String,
    list: Vec<String>,
}

prop_compose! {
    fn values()(extra in hostile(), inventory in hostile(), default in hostile(), fact in hostile(), result in hostile(),
        list in prop::collection::vec(hostile(), 0..3)) -> Values {
        Values { extra, inventory, default: default.replace('{', "("), fact, result, list }
    }
}

/// A text as YAML writes it, whatever characters it has.
fn yaml(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        let _ = write!(quoted, "\\U{:08x}", u32::from(letter));
    }
    quoted + "\""
}

/// JSON with an escape for what YAML does not take as it is, such as DEL.
fn ascii_json(value: &Value) -> String {
    let mut text = String::new();
    for letter in value.to_string().chars() {
        match u32::from(letter) {
            0x20..0x7f | 0x1_0000.. => text.push(letter),
            code => drop(write!(text, "\\u{code:04x}")),
        }
    }
    text
}

fn role(default: &str) -> String {
    let text = |parameter: &str| {
        let words = WORDS.replace("PARAMETER", parameter);
        let path = if matches!(parameter, "copy" | "template" | "lineinfile" | "blockinfile" | "get_url") { " %s" } else { "" };
        Value::from(words + path).to_string()
    };
    let environment: String =
        [("E", "extra"), ("I", "inventory"), ("D", "default"), ("F", "ansible_facts.hostname"), ("R", "said.stdout")]
            .map(|(name, value)| format!("{name}: \"{{{{ {value} }}}}\""))
            .join(", ");
    format!(
        r#"defaults: {{default: {{type: string, default: {default}}}}}
secrets: {{P: {{file: /etc/a.env}}}}
tasks:
  - {{name: Said, command: {{argv: [a], reads: true}}, register: said}}
  - {{name: Cmd, command: {{cmd: {cmd}, reads: true}}}}
  - {{name: Guarded, command: {{cmd: {guarded}, unless: {unless}}}}}
  - {{name: Only if, command: {{argv: [a], only_if: {only_if}}}}}
  - {{name: Copy, copy: {{content: a, dest: /a, validate: {copy}}}}}
  - {{name: Template, template: {{src: a.tera, dest: /b, validate: {template}}}}}
  - {{name: Line, lineinfile: {{path: /c, line: a, validate: {lineinfile}}}}}
  - {{name: Block, blockinfile: {{path: /d, block: a, validate: {blockinfile}}}}}
  - {{name: Get, get_url: {{url: "http://198.18.0.2/a", dest: /e, checksum: "sha256:{checksum}", validate: {get_url}}}}}
  - name: Environment
    environment: {{{environment}}}
    command: {{cmd: 'record environment "$E" "$I" "$D" "$F" "$R"', creates: /a}}
handlers:
  - {{name: handler, command: {{cmd: {handler}}}, ready: {{command: {ready}}}}}
health:
  - {{name: Health, read: {{command: {{cmd: {health}, reads: true}}}}}}
"#,
        cmd = text("cmd"),
        guarded = text("guarded"),
        unless = text("unless"),
        only_if = text("only_if"),
        copy = text("copy"),
        template = text("template"),
        lineinfile = text("lineinfile"),
        blockinfile = text("blockinfile"),
        get_url = text("get_url"),
        handler = text("handler"),
        ready = text("ready"),
        health = text("health"),
        checksum = "0".repeat(64),
    )
}

/// The texts that a shell would run, out of how whatever runs them is shown for debugging.
fn shell_texts(shown: &str) -> Vec<String> {
    let (mut texts, mut rest) = (Vec::new(), shown);
    while let Some((_, quoted)) = rest.split_once('"') {
        let mut text = String::new();
        let mut letters = quoted.chars();
        while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
            text.push(match letter {
                '\\' => match letters.next().unwrap() {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let code: String = letters.by_ref().skip(1).take_while(|letter| *letter != '}').collect();
                        char::from_u32(u32::from_str_radix(&code, 16).unwrap()).unwrap()
                    }
                    other => other,
                },
                other => other,
            });
        }
        rest = letters.as_str();
        texts.push(text);
    }
    // The line of `environment` runs only with its variables in front.
    texts.retain(|text| text.starts_with("record ") && !text.starts_with("record environment") || text.starts_with("exec env "));
    texts
}

/// Everything of a project that a shell would read.
fn texts(values: &Values) -> Vec<String> {
    let mut sample = Sample::role(&role(&yaml(&values.default)));
    sample.write("templates/app/a.tera", "a\n");
    let list: Vec<String> = values.list.iter().map(|word| yaml(word)).collect();
    let program = Value::from(OPERATORS_WORDS);
    sample.write(
        "inventory/group_vars/database.yml",
        &format!(
            "inventory: !unsafe {}\nlist: !unsafe [{}]\nautobot_secrets: {{P: {{command: {program}}}}}\n",
            yaml(&values.inventory),
            list.join(", ")
        ),
    );
    sample.request.extra_vars = vec![ascii_json(&json!({"extra": values.extra}))];
    let mut world = World::stand_in();
    world.facts["hostname"] = json!(values.fact);
    world.registers.insert("said".to_owned(), json!({"stdout": values.result, "changed": false, "skipped": false}));
    let plan = sample.load().unwrap_or_else(|errors| panic!("{values:?}: {errors}"));
    let host = &plan.hosts[0];
    let mut found = shell_texts(&format!("{:?}", host.secrets));
    for role in &host.roles {
        for step in &role.steps {
            let tasks = step.expand(&world).unwrap_or_else(|errors| panic!("{values:?}: {errors}"));
            found.extend(tasks.iter().flat_map(|task| match &task.action {
                Action::Do(resource) => shell_texts(&format!("{resource:?}")),
                Action::Skip { reason } => panic!("{reason}"),
            }));
        }
        for handler in &role.handlers {
            found.extend(shell_texts(&format!("{:?}", handler.expand(&world).unwrap())));
        }
        for health in &role.health {
            found.extend(shell_texts(&format!("{:?}", health.expand(&world).unwrap())));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// What the recorder gets, with the parameter in front.
fn expected(parameter: &str, values: &Values) -> Vec<String> {
    let Values { extra, inventory, default, fact, result, list } = values;
    let many = [vec!["a".to_owned()], list.clone(), vec!["b".to_owned()]].concat();
    let mut words = vec![parameter.to_owned()];
    match parameter {
        "environment" => words.extend([extra, inventory, default, fact, result].map(String::clone)),
        "program" => {
            words.extend([extra, inventory].map(String::clone));
            words.extend(many);
            words.extend([format!("--x={inventory}/{extra}s"), format!("{extra}{inventory}.")]);
        }
        _ => {
            words.extend([extra, inventory, default, fact, result].map(String::clone));
            words.extend(many);
            words.extend([format!("--x={default}/{extra}s"), format!("{result}{inventory}.{fact}..")]);
        }
    }
    words
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn each_value_is_a_word_of_every_parameter_in_every_shell(values in values()) {
        let tools = tempfile::tempdir().unwrap();
        for (name, program) in [("record", RECORDER), ("join", JOINER)] {
            let file = tools.path().join(name);
            std::fs::write(&file, program).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
        let texts = texts(&values);
        for shell in ["dash", "bash"] {
            let mut met = Vec::new();
            for text in &texts {
                let directory = tempfile::tempdir().unwrap();
                // As a node runs what validates a file.
                let text = text.strip_suffix(" %s").map_or_else(|| text.clone(), |before| format!("{before} \"$1\""));
                let mut command = Command::new(shell);
                command.args(["-c", &text, "validate", "FILE"]).env("PATH", &path).current_dir(directory.path());
                let output = command.output().unwrap();
                prop_assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{}: {}", shell, &text);
                let stdout = String::from_utf8(output.stdout).unwrap();
                let mut words: Vec<&str> = stdout.split_terminator('\0').collect();
                prop_assert!(words.len() > 1, "{}: {}", shell, &text);
                let count: usize = words.remove(0).parse().unwrap();
                if text.ends_with(" \"$1\"") {
                    prop_assert_eq!(words.pop(), Some("FILE"));
                    prop_assert_eq!(words.len() + 1, count);
                } else {
                    prop_assert_eq!(words.len(), count);
                }
                let parameter = words[0].to_owned();
                prop_assert_eq!(words, expected(&parameter, &values), "{}: {}", shell, &text);
                prop_assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{}: {}", shell, &text);
                met.push(parameter);
            }
            let mut wanted: Vec<&str> = PARAMETERS.into_iter().chain(["program"]).collect();
            wanted.sort_unstable();
            met.sort_unstable();
            prop_assert_eq!(met, wanted);
        }
    }
}
