//! A task as it is written.

use std::time::Duration;

use crate::{
    resource::Kind,
    source::{Diagnostic, Diagnostics, Key, Node, Place, Yaml, did_you_mean},
};

use super::{
    kinds,
    read::{self, Name},
};

/// A task of a role file.
#[derive(Debug)]
pub struct TaskSource {
    /// Its name, which may be a template.
    pub name: Name,
    /// What kind of resource it asks for.
    pub kind: &'static Kind,
    /// The word that names the resource.
    pub place: Place,
    /// The parameters: a map.
    pub parameters: Node,
    /// Conditions that must all hold.
    pub when: Vec<Node>,
    /// What it is done for each of.
    pub each: Option<Node>,
    /// Variables of this task.
    pub vars: Vec<(Key, Node)>,
    /// Handlers that a change calls.
    pub notify: Vec<Name>,
    /// Its own tags and the role's.
    pub tags: Vec<Name>,
    /// Whether its diff and outputs stay hidden.
    pub no_log: bool,
    /// How often it is tried again.
    pub retries: u32,
    /// How long to wait between tries.
    pub delay: Duration,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// The name of its result.
    pub register: Option<Name>,
    /// Whether it only reads: the result then has its output too.
    pub reads: bool,
    /// Whether all its parameters are known: what is wrong already need not be said twice.
    pub sound: bool,
}

const KEYWORDS: &[&str] =
    &["name", "when", "loop", "vars", "notify", "tags", "become_user", "no_log", "retries", "delay", "timeout", "register"];

/// What takes the place of words that Ansible knows.
const INSTEAD: &[(&str, &str)] = &[
    ("become", "every task is root; `become_user` runs a `command` as somebody else"),
    ("with_items", "write `loop:`"),
    ("with_dict", "write `loop: \"{{ map | pairs }}\"`"),
    ("until", "`retries` and `delay` are enough: a task that fails is tried again"),
    ("ignore_errors", "a failed task ends its host; say with `when` or a guard when it is not to run"),
    ("failed_when", "a command fails when its exit status is not 0"),
    ("changed_when", "give the command a guard: `creates`, `removes`, `unless` or `only_if`; or `reads: true`"),
    ("check_mode", "a check never changes anything; `reads: true` makes a command part of it"),
    ("delegate_to", "a task runs on its own host"),
    ("run_once", "a task runs on its own host"),
    ("block", "put `when` and `tags` on each task"),
    ("args", "put the parameters into the resource's map"),
    ("environment", "put the variables into the command"),
];

/// Reads one task; `role_tags` are those that it inherits.
pub(super) fn read(node: &Node, role_tags: &[Name], wrong: &mut Diagnostics) -> Option<TaskSource> {
    let entries = read::map(node, "a task", wrong);
    if entries.is_empty() {
        return None;
    }
    let found = resource(node, entries, wrong);
    let get = |name: &str| node.get(name);
    let name = get("name").and_then(|name| read::name(name, "`name`", wrong));
    if get("name").is_none() {
        let place = entries.first().map_or(&node.place, |(key, _)| &key.place);
        wrong.push(Diagnostic::error("a task needs a `name`").at(place.clone()));
    }
    let mut tags = role_tags.to_vec();
    tags.extend(get("tags").map(|tags| read::names(tags, "a tag", wrong)).unwrap_or_default());
    let when = match get("when") {
        Some(Node { value: Yaml::Seq(items), .. }) => items.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let vars = get("vars").map(|vars| read::map(vars, "`vars`", wrong)).unwrap_or_default().to_vec();
    for (key, _) in &vars {
        super::variable::check_variable(key, wrong);
    }
    let register = get("register").and_then(|register| read::name(register, "`register`", wrong));
    if let Some(register) = &register
        && !read::is_identifier(&register.text)
    {
        wrong.push(Diagnostic::error(format!("`{}` cannot be the name of a variable", register.text)).at(register.place.clone()));
    }
    let notify = get("notify").map(|notify| read::names(notify, "`notify`", wrong)).unwrap_or_default();
    let no_log = get("no_log").is_some_and(|flag| read::flag(flag, "`no_log`", wrong));
    let retries = get("retries").map_or(0, |retries| read::number(retries, "`retries`", wrong));
    let delay = get("delay").map_or(Duration::from_secs(5), |delay| read::duration(delay, "`delay`", wrong));
    let timeout = get("timeout").map(|timeout| read::duration(timeout, "`timeout`", wrong));
    let (key, kind, parameters) = found?;
    let mut parameters = with_become_user(parameters(wrong)?, kind, entries, wrong);
    check_parameters(&mut parameters, kind, wrong);
    let known = |(key, _): &(Key, Node)| kind.parameters.contains(&key.name.as_str());
    let sound = parameters.as_map().unwrap_or_default().iter().all(known);
    let reads = kind.parameters.contains(&"reads") && parameters.get("reads").and_then(Node::as_bool) == Some(true);
    let (each, place) = (get("loop").cloned(), key.place.clone());
    Some(TaskSource {
        name: name?,
        kind,
        place,
        parameters,
        when,
        each,
        vars,
        notify,
        tags,
        no_log,
        retries,
        delay,
        timeout,
        register,
        reads,
        sound,
    })
}

type Found<'a> = (&'a Key, &'static Kind, Box<dyn Fn(&mut Diagnostics) -> Option<Node> + 'a>);

/// The one key that names a resource, and how to read its parameters.
fn resource<'a>(node: &Node, entries: &'a [(Key, Node)], wrong: &mut Diagnostics) -> Option<Found<'a>> {
    let mut found: Vec<(&Key, &'static Kind, &Node)> = Vec::new();
    let mut unknown: Vec<(&Key, &Node)> = Vec::new();
    for (key, value) in entries {
        if KEYWORDS.contains(&key.name.as_str()) {
            continue;
        }
        match kinds::kind(&key.name) {
            Some(kind) => found.push((key, kind, value)),
            None => unknown.push((key, value)),
        }
    }
    // Without a resource one of the unknown words must have been meant for it: the one that looks most like it.
    let meant = found.is_empty().then(|| {
        let keyword = |key: &Key| did_you_mean(&key.name, KEYWORDS.iter().copied()).is_some() || instead(&key.name).is_some();
        let like = unknown.iter().position(|(key, _)| did_you_mean(short(&key.name), kinds::names()).is_some());
        like.or_else(|| unknown.iter().position(|(key, _)| !keyword(key)))
    });
    let meant = meant.flatten();
    for (at, (key, _)) in unknown.iter().enumerate() {
        let diagnostic = if Some(at) == meant {
            let diagnostic = Diagnostic::error(format!("unknown resource `{}`", key.name)).at(key.place.clone());
            match kinds::kind(short(&key.name)).map(|kind| kind.name).or_else(|| did_you_mean(short(&key.name), kinds::names())) {
                Some(name) => diagnostic.suggest(Some(name)),
                None => diagnostic.help(format!("known resources: {}", kinds::names().collect::<Vec<_>>().join(", "))),
            }
        } else {
            match instead(&key.name) {
                Some(help) => Diagnostic::error(format!("unknown task keyword `{}`", key.name)).at(key.place.clone()).help(help),
                None => read::unknown(key, "task keyword", KEYWORDS),
            }
        };
        wrong.push(diagnostic);
    }
    if found.is_empty() && meant.is_none() {
        wrong.push(Diagnostic::error("a task needs a resource, such as `template` or `command`").at(first_line(node, entries)));
    }
    if let [(first, ..), (second, ..), ..] = found.as_slice() {
        let title = format!("a task has one resource, this one has `{}` and `{}`", first.name, second.name);
        wrong.push(Diagnostic::error(title).at(second.place.clone()).also(first.place.clone(), "the other"));
        return None;
    }
    let (key, kind, value) = found.pop()?;
    Some((key, kind, Box::new(move |wrong| parameters(value, kind, wrong))))
}

fn first_line(node: &Node, entries: &[(Key, Node)]) -> Place {
    node.get("name")
        .map(|name| name.place.clone())
        .or_else(|| entries.first().map(|(key, _)| key.place.clone()))
        .unwrap_or_else(|| node.place.clone())
}

fn instead(name: &str) -> Option<&'static str> {
    INSTEAD.iter().find(|(word, _)| *word == name).map(|(_, help)| *help)
}

/// `ansible.builtin.template` is `template`.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The parameters as a map: what is given alone becomes the free-form parameter.
pub(super) fn parameters(value: &Node, kind: &'static Kind, wrong: &mut Diagnostics) -> Option<Node> {
    match &value.value {
        Yaml::Map(_) => Some(value.clone()),
        Yaml::Null => Some(Node { value: Yaml::Map(Vec::new()), ..value.clone() }),
        Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) | Yaml::Seq(_)
            if !kind.free_form.is_empty() =>
        {
            let key = Key { name: kind.free_form.to_owned(), place: value.place.clone() };
            Some(Node { value: Yaml::Map(vec![(key, value.clone())]), ..value.clone() })
        }
        Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) | Yaml::Seq(_) => {
            wrong.push(read::expected(value, &format!("`{}`", kind.name), "a map of parameters"));
            None
        }
    }
}

fn with_become_user(mut parameters: Node, kind: &'static Kind, entries: &[(Key, Node)], wrong: &mut Diagnostics) -> Node {
    if let Some((key, user)) = entries.iter().find(|(key, _)| key.name == "become_user") {
        if !kind.parameters.contains(&"become_user") {
            wrong.push(
                Diagnostic::error(format!("`become_user` is for `command` only, not for `{}`", kind.name)).at(key.place.clone()),
            );
        } else if let Yaml::Map(entries) = &mut parameters.value {
            entries.push((key.clone(), user.clone()));
        }
    }
    parameters
}

/// What can be said about parameters without rendering them. A mode without quotes goes on as what was meant, so that the rest is checked.
pub(super) fn check_parameters(parameters: &mut Node, kind: &'static Kind, wrong: &mut Diagnostics) {
    let Yaml::Map(entries) = &mut parameters.value else { return };
    for (key, value) in entries {
        if !kind.parameters.contains(&key.name.as_str()) {
            wrong.push(read::unknown(key, &format!("parameter of `{}`:", kind.name), kind.parameters));
        } else if matches!(key.name.as_str(), "mode" | "directory_mode")
            && let Some(meant) = check_mode(value, wrong)
        {
            value.value = Yaml::Str(meant);
        }
    }
}

/// YAML reads `0644` as octal in one version and as decimal in the other: only quotes say what is meant.
pub(super) fn check_mode(value: &Node, wrong: &mut Diagnostics) -> Option<String> {
    let spelling = value.spelling();
    let plain = value.style == crate::source::node::Style::Plain;
    let is_number = spelling.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'o' | b'x' | b'_'));
    if !plain || spelling.is_empty() || !is_number {
        return None;
    }
    let digits: String = spelling.trim_start_matches("0o").chars().filter(char::is_ascii_digit).collect();
    let meant = format!("{digits:0>4}");
    wrong.push(
        Diagnostic::error("a file mode must be in quotes")
            .at(value.place.clone())
            .label("a plain number may be read as octal or as decimal")
            .help(format!("write \"{meant}\"")),
    );
    Some(meant)
}
