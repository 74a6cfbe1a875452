//! Explains Jinja in Tera's spelling: for texts that do not compile, and for template files of Jinja.

use std::ops::Range;

use super::{
    filters::FILTERS,
    lex::{Tag, TagKind, Word, WordKind},
};
use crate::source::did_you_mean;

/// Something that exists only in Jinja.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Jinja {
    /// Its place in the text.
    pub(super) range: Range<usize>,
    /// What it is.
    pub(super) message: String,
    /// How Tera spells it.
    pub(super) help: String,
}

/// Returns everything in these tags that exists only in Jinja.
pub(super) fn explain_all<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Vec<Jinja> {
    let mut found = Vec::new();
    for tag in tags.into_iter().filter(|tag| tag.kind != TagKind::Comment) {
        if tag.kind == TagKind::Block {
            found.extend(tag.words.first().and_then(block));
        }
        found.extend((0..tag.words.len()).filter_map(|at| word(&tag.words, at)));
    }
    found
}

/// Returns the first thing in these tags that exists only in Jinja.
pub(super) fn explain<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Option<Jinja> {
    tags.into_iter().filter(|tag| tag.kind != TagKind::Comment).find_map(|tag| {
        let block = (tag.kind == TagKind::Block).then(|| block(tag.words.first()?)).flatten();
        block.or_else(|| (0..tag.words.len()).find_map(|at| word(&tag.words, at)))
    })
}

fn block(word: &Word) -> Option<Jinja> {
    let help = match word.text.as_str() {
        "macro" | "endmacro" | "call" | "endcall" => {
            "write a component: `{% component name(x) %}…{% endcomponent %}`, used as `{{<name x={value}/>}}`"
        }
        "import" | "from" => "components need no import; other templates come with `{% include \"name.tera\" %}`",
        "do" => "change a variable with `{% set x = … %}`",
        "with" | "endwith" => "set the variable before: `{% set x = … %}`",
        _ => return None,
    };
    Some(Jinja {
        range: word.range.clone(),
        message: format!("`{{% {} %}}` is Jinja, not Tera", word.text),
        help: help.to_owned(),
    })
}

fn word(words: &[Word], at: usize) -> Option<Jinja> {
    let word = words.get(at).filter(|word| word.kind == WordKind::Name)?;
    let before = |back: usize| at.checked_sub(back).and_then(|at| words.get(at));
    let arguments = arguments(words, at + 1);
    let name = word.text.as_str();
    let (message, help) = if before(1).is_some_and(|before| before.is("|")) {
        filter(name, arguments.as_deref())?
    } else if before(1).is_some_and(|before| before.is("is"))
        || before(2).is_some_and(|word| word.is("is")) && before(1)?.is("not")
    {
        test(name, arguments.as_deref(), before(1)?.is("not"))?
    } else if before(1).is_some_and(|before| before.is(".") || before.is("?.")) {
        (format!("Tera has no methods: `.{name}()`"), method(name, &arguments?))
    } else {
        function(name, &arguments?)?
    };
    Some(Jinja { range: word.range.clone(), message, help })
}

/// So many words of arguments are spelled anew.
const MOST_WORDS: usize = 200;

/// Returns the arguments in the brackets that open at `open`, each as written, or `None` without brackets.
fn arguments(words: &[Word], open: usize) -> Option<Vec<String>> {
    words.get(open).filter(|word| word.is("("))?;
    let (mut depth, mut all, mut current) = (0_usize, Vec::new(), String::new());
    for (number, word) in words[open..].iter().enumerate() {
        // The spelling of something so long would help little.
        if number > MOST_WORDS {
            return None;
        }
        match word.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && word.is(",") {
            all.push(std::mem::take(&mut current));
        } else if !(depth == 1 && word.is("(") && current.is_empty()) {
            current.push_str(&word.text);
        }
    }
    if !current.is_empty() {
        all.push(current);
    }
    Some(all)
}

fn has_positional(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| {
        let name = argument.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
        name.len() == argument.len() || !name.starts_with('=') || name.starts_with("==")
    })
}

/// Returns `name(a=1, b=2)` from the names of the arguments and their values as written.
fn named(name: &str, keys: &[&str], arguments: &[String]) -> String {
    let pairs: Vec<String> = keys.iter().zip(arguments).map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { name.to_owned() } else { format!("{name}({})", pairs.join(", ")) }
}

fn filter(name: &str, arguments: Option<&[String]>) -> Option<(String, String)> {
    let given = arguments.unwrap_or_default();
    let first = given.first().map_or("…", String::as_str);
    let spelled = match name {
        "d" => named("default", &["value", "boolean"], given),
        "string" => "str".to_owned(),
        "count" => "length".to_owned(),
        "dict2items" | "items" | "dictsort" => {
            return Some(unknown(name, "`| pairs`: `item[0]` is the key, `item[1]` the value"));
        }
        "format" => {
            return Some(unknown(name, "join the pieces with `~`; `('0' if n < 10 else '') ~ n` writes two digits"));
        }
        "from_json" | "from_yaml" => return Some(unknown(name, "give the value as YAML, not as text")),
        "to_nice_json" | "tojson" | "to_yaml" | "to_nice_yaml" => "to_json".to_owned(),
        "ternary" => {
            let other = given.get(1).map_or("…", String::as_str);
            return Some(unknown(name, &format!("`{first} if condition else {other}`")));
        }
        "mandatory" => return Some(unknown(name, "leave it out: an undefined variable is an error")),
        "list" => return Some(unknown(name, "leave it out, or write `[x for x in list]`")),
        "map" => {
            let is_filter = given.len() == 1 && first.starts_with(['\'', '"']);
            let part = if is_filter { format!("x | {}", first.trim_matches(['\'', '"'])) } else { "x.name".to_owned() };
            return Some(unknown(name, &format!("`[{part} for x in list]`")));
        }
        "select" | "selectattr" | "reject" | "rejectattr" => {
            return Some(unknown(name, "`[x for x in list if x.name == value]`"));
        }
        "combine" => {
            // `}}` would end the tag.
            let close = if first.ends_with('}') { " }" } else { "}" };
            return Some(unknown(name, &format!("`{{...map, ...{first}{close}`")));
        }
        "union" => return Some(unknown(name, &format!("`[...list, ...{first}]`"))),
        "quote" => {
            let help = "leave it out in `cmd`, `unless`, `only_if` and `validate`: values are quoted there; a template that is a shell program has `| shquote`";
            return Some(unknown(name, help));
        }
        "regex_replace" | "regex_search" | "regex_findall" => {
            return Some(unknown(name, "`| replace(from=…, to=…)`, `| split(pat=…)`, or `is containing(pat=…)`"));
        }
        "password_hash" | "hash" | "md5" | "sha1" | "checksum" => {
            return Some(unknown(name, "passwords are not hashed here: the resource that takes one makes its verifier"));
        }
        "random" | "shuffle" => return Some(unknown(name, "chance would make every run a change")),
        "to_datetime" | "strftime" => return Some(unknown(name, "a clock would make every run a change")),
        "min" | "max" => {
            let end = if name == "min" { "first" } else { "last" };
            return Some(unknown(name, &format!("`| sort | {end}`")));
        }
        "sum" | "zip" | "product" | "permutations" | "combinations" | "subelements" | "flatten" | "symmetric_difference" => {
            return Some(unknown(
                name,
                "write the list out in a variable, or build it: `[x.name for x in list]`, `[...a, ...b]`",
            ));
        }
        "difference" | "intersect" => {
            let word = if name == "difference" { "not in" } else { "in" };
            return Some(unknown(name, &format!("`[x for x in list if x {word} {first}]`")));
        }
        "comment" => return Some(unknown(name, "write the comment's lines out")),
        "ipaddr" | "ipv4" | "ipv6" | "ipwrap" | "ansible.utils.ipaddr" | "urlsplit" => {
            return Some(unknown(name, "put the part that is needed into a variable"));
        }
        "extract" => return Some(unknown(name, "`map[key]`")),
        "items2dict" => return Some(unknown(name, "write a map: `{key: value}`")),
        "expanduser" | "realpath" | "fileglob" => return Some(unknown(name, "write the path out")),
        "e" | "escape" | "safe" => return Some(unknown(name, "leave it out: nothing is escaped")),
        _ if !has_positional(given) => return None,
        "default" => named(name, &["value", "boolean"], given),
        "join" => named(name, &["sep"], given),
        "replace" => named(name, &["from", "to"], given),
        "split" | "trim" | "trim_start" | "trim_end" => named(name, &["pat"], given),
        "round" => named(name, &["precision"], given),
        "truncate" => named(name, &["length", "end"], given),
        "indent" => named(name, &["width", "first"], given),
        "nth" => named(name, &["n"], given),
        "get" => named(name, &["key", "default"], given),
        "sort" | "unique" | "group_by" => named(name, &["attribute"], given),
        "pluralize" => named(name, &["singular", "plural"], given),
        "shquote" => named(name, &["quotes"], given),
        _ if FILTERS.contains(&name) => name.to_owned(),
        // Tera only says of one with such arguments that a name is missing.
        _ => {
            let near = did_you_mean(name, FILTERS.iter().copied());
            let help = near.map_or_else(|| format!("there are {}", FILTERS.join(", ")), |near| format!("did you mean `{near}`?"));
            return Some((format!("unknown filter `{name}`"), help));
        }
    };
    let message = if spelled.starts_with(name) && arguments.is_some() {
        "arguments of filters need names".to_owned()
    } else {
        format!("`{name}` is a filter of Jinja")
    };
    Some((message, format!("`| {spelled}`")))
}

fn unknown(name: &str, help: &str) -> (String, String) {
    (format!("`{name}` is a filter of Jinja"), help.to_owned())
}

/// Answers a test. `negated` says that `not` stands before it.
fn test(name: &str, arguments: Option<&[String]>, negated: bool) -> Option<(String, String)> {
    let given = arguments.unwrap_or_default();
    let not = if negated { "not " } else { "" };
    let spelled = match name {
        "mapping" => format!("is {not}map"),
        "sequence" => format!("is {not}array"),
        "boolean" => format!("is {not}bool"),
        "true" | "false" => {
            let help = if (name == "true") == negated { "`not x`" } else { "write the value alone: `x`" };
            return Some((format!("`is {not}{name}` is Jinja"), help.to_owned()));
        }
        "sameas" | "eq" | "equalto" => {
            format!("{} {}", if negated { "!=" } else { "==" }, given.first().map_or("…", String::as_str))
        }
        "in" => format!("{not}in list"),
        "match" => format!("is {not}{}", named("starting_with", &["pat"], given)),
        "search" | "regex" => format!("is {not}{}", named("containing", &["pat"], given)),
        "divisibleby" => format!("is {not}{}", named("divisible_by", &["divisor"], given)),
        "changed" | "skipped" => {
            return Some((format!("`is {name}` is Ansible"), format!("write `.{name}` of the registered value")));
        }
        "failed" | "succeeded" | "success" | "failure" => {
            let help = "the tasks after a failed one do not run; to test an exit status, give a `command` `reads: true`, list the expected \
                        statuses in `ok_rc`, and compare its `.rc`";
            return Some((format!("`is {name}` is Ansible"), help.to_owned()));
        }
        "finished" | "started" => {
            return Some((format!("`is {name}` is Ansible"), "a task is waited for: give it a `timeout`".to_owned()));
        }
        "version" | "version_compare" => {
            let (version, operator) = (given.first(), given.get(1));
            let bare = |word: &String| word.trim_matches(['\'', '"']).to_owned();
            let operator = operator.map_or_else(|| "==".to_owned(), bare);
            let operator = match operator.as_str() {
                "ge" => ">=",
                "gt" => ">",
                "le" => "<=",
                "lt" => "<",
                "eq" | "=" => "==",
                "ne" | "<>" => "!=",
                other => other,
            };
            let version = version.map_or_else(|| "12".to_owned(), bare);
            let major = version.split('.').next().unwrap_or_default();
            let help = format!("compare the numbers, such as `(x | split(pat=\".\") | first | int) {operator} {major}`");
            return Some((format!("`is {name}` is Ansible"), help));
        }
        "file" | "directory" | "exists" | "link" | "abs" => {
            let help =
                "files of this machine are not tested; on the node, use a `command` with `reads: true`, such as `test -e PATH`";
            return Some((format!("`is {name}` is Ansible"), help.to_owned()));
        }
        "subset" | "superset" | "contains" => {
            return Some((format!("`is {name}` is Ansible"), "write `x in list` for each value".to_owned()));
        }
        "starting_with" | "ending_with" | "containing" if has_positional(given) => {
            format!("is {not}{}", named(name, &["pat"], given))
        }
        _ => return None,
    };
    Some((format!("`is {name}` is Jinja"), format!("`{spelled}`")))
}

fn method(name: &str, given: &[String]) -> String {
    let first = given.first().map_or("…", String::as_str);
    let spelled = match name {
        "strip" => "trim".to_owned(),
        "lstrip" => "trim_start".to_owned(),
        "rstrip" => "trim_end".to_owned(),
        "split" => named("split", &["pat"], given),
        "replace" => named("replace", &["from", "to"], given),
        "items" => return "`{% for key, value in map %}`, or `| pairs`".to_owned(),
        "startswith" => return format!("`is starting_with(pat={first})`"),
        "endswith" => return format!("`is ending_with(pat={first})`"),
        "join" => return "`list | join(sep=…)`".to_owned(),
        "get" => named("get", &["key", "default"], given),
        "format" => return "join pieces with `~`".to_owned(),
        other => other.to_owned(),
    };
    format!("`| {spelled}`")
}

fn function(name: &str, given: &[String]) -> Option<(String, String)> {
    let help = match name {
        "lookup" | "query" | "q" => match given.first().map(|kind| kind.trim_matches(['\'', '"'])) {
            Some("password") => "declare it under `secrets:` and use `{{ secrets.NAME }}`",
            Some("env") => "pass the value with `-e name=value`",
            Some("file" | "template") => "use `copy` or `template` with `src`",
            _ => "nothing is looked up on this machine: pass the value with `-e`",
        },
        "now" => "a clock would make every run a change",
        "range" if has_positional(given) => match given {
            [end] => return Some(("`range` takes its arguments by name".to_owned(), format!("`range(end={end})`"))),
            _ => {
                return Some((
                    "`range` takes its arguments by name".to_owned(),
                    format!("`{}`", named("range", &["start", "end", "step_by"], given)),
                ));
            }
        },
        "dict" | "namespace" => "write a map: `{key: value}`",
        "defined" => "`x is defined`",
        _ => return None,
    };
    Some((format!("`{name}()` is Jinja, not Tera"), help.to_owned()))
}
