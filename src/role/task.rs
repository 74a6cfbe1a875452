//! The source of tasks.

use std::time::Duration;

use crate::{
    resource::Kind,
    source::{Diagnostic, Diagnostics, Key, Node, Span, Yaml, did_you_mean},
};

use super::{
    ansible_words::{self, TASK_KEYWORDS, UNNAMED_APT},
    block::Inherited,
    key_value, kinds, pipefail,
    read::{self, Name},
};

/// A task of a role file.
#[derive(Debug)]
pub struct TaskSource {
    /// Its name, which may be a template.
    pub name: Name,
    /// The kind of its resource.
    pub kind: &'static Kind,
    /// The word that names the resource.
    pub span: Span,
    /// The parameters: a map.
    pub parameters: Node,
    /// Conditions that must all hold.
    pub when: Vec<Node>,
    /// The list of its `loop`.
    pub each: Option<Node>,
    /// Variables of this task.
    pub vars: Vec<(Key, Node)>,
    /// Handlers that a change notifies.
    pub notify: Vec<Name>,
    /// Its own tags and the role's.
    pub tags: Vec<Name>,
    /// Whether its diff and outputs are hidden.
    pub no_log: bool,
    /// Whether what it changes is put back where it ends the way in.
    pub revert: Revert,
    /// How often it is retried.
    pub retries: u32,
    /// How long to wait between attempts.
    pub delay: Duration,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// The name of its result.
    pub register: Option<Name>,
    /// Whether it only reads: its result then includes its output.
    pub reads: bool,
    /// Whether all its parameters are known; if not, errors have been reported already.
    pub sound: bool,
}

/// Whether a change that ends the way in is put back, by `revert` and `may_lock_out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Revert {
    /// Where the resource is one that could end it.
    #[default]
    Automatic,
    /// Whatever the resource is.
    Always,
    /// It stays.
    Never,
}

const KEYWORDS: &[&str] = super::keywords::TASK_NAMES;

/// Words of Ansible whose value is what `loop` has here.
const LISTS: &[&str] = &["with_items", "with_list"];

/// Words of Ansible that replace a resource.
const IN_PLACE_OF_A_RESOURCE: &[&str] = &["action", "local_action", "rescue", "always", "hosts", "roles"];

/// Reads one task; `inherited` comes from the role and from the blocks around it.
pub(super) fn read(node: &Node, inherited: &Inherited, errors: &mut Diagnostics) -> Option<TaskSource> {
    let entries = read::map(node, "a task", errors);
    if entries.is_empty() {
        return None;
    }
    let found = resource(node, entries, errors);
    let get = |name: &str| node.get(name);
    let name = get("name").and_then(|name| read::name(name, "`name`", errors));
    if get("name").is_none() {
        let span = entries.first().map_or(&node.span, |(key, _)| &key.span);
        errors.push(Diagnostic::error("a task needs a `name`").at(span.clone()));
    }
    let inherited = inherited.clone().with(node, errors);
    let register = get("register").and_then(|register| read::name(register, "`register`", errors));
    if let Some(register) = &register
        && !read::is_identifier(&register.text)
    {
        errors.push(Diagnostic::error(format!("`{}` cannot be the name of a variable", register.text)).at(register.span.clone()));
    }
    let retries = get("retries").map_or(0, |retries| read::number(retries, "`retries`", errors));
    let revert = revert(node, errors);
    let delay = get("delay").map_or(Duration::from_secs(5), |delay| read::duration(delay, "`delay`", errors));
    let timeout = get("timeout").map(|timeout| read::duration(timeout, "`timeout`", errors));
    let (key, kind, parameters) = found?;
    // What uses `item` would be reported again.
    let loops_otherwise = entries.iter().any(|(key, _)| key.name.starts_with("with_") && !LISTS.contains(&key.name.as_str()));
    let mut parameters = with_arguments(parameters(errors)?, get("args"), errors);
    let sound = check_parameters(&mut parameters, kind, kinds::written(kind, &key.name), errors);
    inherited.add_to(&mut parameters, kind, &key.span, errors);
    let reads = kind.takes("reads") && parameters.get("reads").and_then(Node::as_bool) == Some(true);
    let each = get("loop").or_else(|| LISTS.iter().find_map(|name| get(name))).cloned();
    let span = key.span.clone();
    if loops_otherwise {
        return None;
    }
    Some(TaskSource {
        name: name?,
        kind,
        span,
        parameters,
        when: inherited.when,
        each,
        vars: inherited.vars,
        notify: inherited.notify,
        tags: inherited.tags,
        no_log: inherited.no_log,
        revert,
        retries,
        delay,
        timeout,
        register,
        reads,
        sound,
    })
}

fn revert(node: &Node, errors: &mut Diagnostics) -> Revert {
    let may_lock_out = node.get("may_lock_out").filter(|flag| read::flag(flag, "`may_lock_out`", errors));
    let never = node.get("revert");
    if let Some(word) = never.filter(|word| word.scalar_text().as_deref() != Some("never")) {
        let text = "`revert` is `never` or left out: what ends the way in is put back by the node itself";
        errors.push(Diagnostic::error(text).at(word.span.clone()));
    }
    match (may_lock_out, never) {
        (Some(flag), Some(_)) => {
            let text = "`may_lock_out: true` puts back what `revert: never` leaves alone; leave one of them out";
            errors.push(Diagnostic::error(text).at(flag.span.clone()));
            Revert::Always
        }
        (Some(_), None) => Revert::Always,
        (None, Some(_)) => Revert::Never,
        (None, None) => Revert::Automatic,
    }
}

type TaskResource<'a> = (&'a Key, &'static Kind, Box<dyn Fn(&mut Diagnostics) -> Option<Node> + 'a>);

/// The one key that names a resource, and how to read its parameters.
fn resource<'a>(node: &Node, entries: &'a [(Key, Node)], errors: &mut Diagnostics) -> Option<TaskResource<'a>> {
    let mut found: Vec<(&Key, &'static Kind, &Node)> = Vec::new();
    let mut unknown: Vec<(&Key, &Node)> = Vec::new();
    for (key, value) in entries {
        if KEYWORDS.contains(&key.name.as_str()) {
            continue;
        }
        match kinds::resolve(&key.name) {
            Some(kind) => found.push((key, kind, value)),
            None => unknown.push((key, value)),
        }
    }
    let explained = |name: &str| ansible_words::find(TASK_KEYWORDS, name).is_some();
    // Without a resource, one of the unknown words must be meant as one: a module of Ansible, or the word that looks most like a resource.
    let meant = found.is_empty().then(|| {
        let position = |is: &dyn Fn(&str) -> bool| unknown.iter().position(|(key, _)| !explained(&key.name) && is(&key.name));
        position(&|name| ansible_words::module(name).is_some() || kinds::by_short_name(short(name)).is_some())
            .or_else(|| position(&|name| did_you_mean(short(name), kinds::names()).is_some()))
            .or_else(|| position(&|name| did_you_mean(name, KEYWORDS.iter().copied()).is_none()))
    });
    let meant = meant.flatten();
    for (at, (key, value)) in unknown.iter().enumerate() {
        errors.push(if Some(at) == meant {
            unknown_resource(key)
        } else {
            let diagnostic = read::unknown_or_explained(key, "task keyword", KEYWORDS, TASK_KEYWORDS);
            match as_loop(&key.name, value) {
                Some(help) => Diagnostic { help: Some(help.into()), ..diagnostic },
                None => diagnostic,
            }
        });
    }
    let replaced = unknown.iter().any(|(key, _)| IN_PLACE_OF_A_RESOURCE.contains(&key.name.as_str()));
    if found.is_empty() && meant.is_none() && !replaced {
        errors.push(Diagnostic::error("a task needs a resource, such as `template` or `command`").at(first_line(node, entries)));
    }
    if let [(first, ..), (second, ..), ..] = found.as_slice() {
        let title = format!("a task has one resource, but this one has `{}` and `{}`", first.name, second.name);
        errors.push(Diagnostic::error(title).at(second.span.clone()).also(first.span.clone(), "the other"));
        return None;
    }
    let (key, kind, value) = found.pop()?;
    Some((key, kind, Box::new(move |errors| parameters(value, kind, errors))))
}

/// Returns the `loop` that means what a word of Ansible and its value mean, in the user's own words.
fn as_loop(word: &str, value: &Node) -> Option<String> {
    let text = value.as_str()?;
    let list = match word {
        "with_items" | "with_list" if text.contains("{{") => text.to_owned(),
        "with_dict" => format!("{{{{ {} | pairs }}}}", text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim()),
        "with_sequence" => format!("{{{{ {} }}}}", sequence(text)?),
        _ => return None,
    };
    let items = if word == "with_dict" { "; `item[0]` is the key, `item[1]` the value" } else { "" };
    Some(format!("write `loop: \"{list}\"`{items}"))
}

/// Returns the range that means the same as `start=1 end=9 stride=2` or `start=1 count=3`: its end is excluded.
fn sequence(text: &str) -> Option<String> {
    let (mut start, mut end, mut stride, mut count) = (1_i64, None, 1_i64, None);
    for word in text.split_whitespace() {
        let (name, number) = word.split_once('=')?;
        let number: i64 = number.parse().ok()?;
        match name {
            "start" => start = number,
            "end" => end = Some(number),
            "stride" => stride = number,
            "count" => count = Some(number),
            _ => return None,
        }
    }
    if stride < 1 {
        return None;
    }
    let end = end.or_else(|| count.map(|count| start + (count - 1) * stride))?;
    let step = if stride == 1 { String::new() } else { format!(", step_by={stride}") };
    Some(format!("range(start={start}, end={}{step})", end + 1))
}

/// Returns the error for a word that names no resource.
fn unknown_resource(key: &Key) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("unknown resource `{}`", key.name)).at(key.span.clone());
    if key.name.contains('.') && KEYWORDS.contains(&short(&key.name)) {
        return diagnostic.help(format!("`{}` is a keyword and no module: write it without its collection", short(&key.name)));
    }
    if let Some(help) = ansible_words::module(&key.name) {
        return diagnostic.help(help);
    }
    if let (Some((collection, name)), Some(kind)) = (key.name.rsplit_once('.'), kinds::by_short_name(short(&key.name))) {
        return diagnostic
            .help(format!("the collection `{collection}` is unknown; if you mean the built-in `{name}`, write `{}`", kind.name));
    }
    match did_you_mean(short(&key.name), kinds::names()) {
        Some(name) => diagnostic.suggest(Some(name)),
        None => diagnostic.help(format!(
            "for a module that is not built in, write a `command` with a guard; built in are: {}",
            kinds::names().collect::<Vec<_>>().join(", ")
        )),
    }
}

fn first_line(node: &Node, entries: &[(Key, Node)]) -> Span {
    node.get("name")
        .map(|name| name.span.clone())
        .or_else(|| entries.first().map(|(key, _)| key.span.clone()))
        .unwrap_or_else(|| node.span.clone())
}

/// Shortens `ansible.builtin.template` to `template`.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Returns the parameters as a map; a lone value becomes the free-form parameter.
pub(super) fn parameters<T: ?Sized>(value: &Node, kind: &'static Kind<T>, errors: &mut Diagnostics) -> Option<Node> {
    match &value.value {
        Yaml::Map(_) => Some(value.clone()),
        Yaml::Null => Some(Node { value: Yaml::Map(Vec::new()), ..value.clone() }),
        Yaml::Str(text) if let Some(meant) = key_value::as_map(kind, text) => {
            let diagnostic = Diagnostic::error(format!("the parameters of `{}` must be a map", kind.name)).at(value.span.clone());
            errors.push(diagnostic.help(format!("write `{meant}`")));
            None
        }
        Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) | Yaml::Seq(_)
            if !kind.free_form.is_empty() =>
        {
            let key = Key { name: kind.free_form.to_owned(), span: value.span.clone() };
            Some(Node { value: Yaml::Map(vec![(key, value.clone())]), ..value.clone() })
        }
        Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) | Yaml::Seq(_) => {
            errors.push(read::expected(value, &format!("`{}`", kind.name), "a map of parameters"));
            None
        }
    }
}

/// Adds the parameters under `args`, which Ansible has for free-form commands.
fn with_arguments(mut parameters: Node, arguments: Option<&Node>, errors: &mut Diagnostics) -> Node {
    let Some(arguments) = arguments else { return parameters };
    let given = read::map(arguments, "`args`", errors);
    if let Yaml::Map(entries) = &mut parameters.value {
        for (key, value) in given {
            match entries.iter().find(|(known, _)| known.name == key.name) {
                Some((first, _)) => {
                    let title = format!("`{}` is given twice", key.name);
                    errors.push(Diagnostic::error(title).at(key.span.clone()).also(first.span.clone(), "the first"));
                }
                None => entries.push((key.clone(), value.clone())),
            }
        }
    }
    parameters
}

/// Checks parameters as far as possible without rendering them. Returns whether all are known and none is missing.
///
/// A mode without quotes is replaced with the intended one, so that the other parameters are checked too.
pub(super) fn check_parameters<T: ?Sized>(
    parameters: &mut Node,
    kind: &'static Kind<T>,
    written: &str,
    errors: &mut Diagnostics,
) -> bool {
    let span = parameters.span.clone();
    let Yaml::Map(entries) = &mut parameters.value else { return true };
    let mut sound = true;
    if kind.name == "apt" && !entries.is_empty() && !entries.iter().any(|(key, _)| matches!(key.name.as_str(), "name" | "pkg")) {
        errors.push(Diagnostic::error(format!("`{written}` needs `name`")).at(span).help(UNNAMED_APT.help()));
        sound = false;
    }
    for (key, value) in entries {
        if !kind.takes(&key.name) {
            sound = false;
            let what = format!("parameter of `{written}`:");
            errors.push(match ansible_words::parameter(kind.name, &key.name) {
                Some(word) => Diagnostic::error(format!("unknown {what} `{}`", key.name)).at(key.span.clone()).help(word.help()),
                None => read::unknown(key, &what, &kind.parameters()),
            });
        } else if kind.name == "command" && matches!(key.name.as_str(), "cmd" | "unless" | "only_if") {
            let line = if key.name == "cmd" { pipefail::Line::Task } else { pipefail::Line::Other };
            pipefail::check(value, line, errors);
        } else if matches!(key.name.as_str(), "mode" | "directory_mode")
            && let Some(meant) = check_mode(value, errors)
        {
            value.value = Yaml::Str(meant);
        }
    }
    sound
}

/// YAML reads `0644` as octal in one version and as decimal in the other: only quotes are unambiguous.
pub(super) fn check_mode(value: &Node, errors: &mut Diagnostics) -> Option<String> {
    let spelling = value.spelling();
    let plain = value.quoting == crate::source::node::Quoting::Plain;
    let is_number = spelling.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'o' | b'x' | b'_'));
    if !plain || spelling.is_empty() || !is_number {
        return None;
    }
    let digits: String = spelling.trim_start_matches("0o").chars().filter(char::is_ascii_digit).collect();
    let meant = format!("{digits:0>4}");
    errors.push(
        Diagnostic::error("a file mode must be in quotes")
            .at(value.span.clone())
            .label("a plain number may be read as octal or as decimal")
            .help(format!("write \"{meant}\"")),
    );
    Some(meant)
}
