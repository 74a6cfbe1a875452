//! Programs that run one of their arguments as code: a value must not be that argument.
//!
//! Names are searched for anywhere in a command, so that `env`, `sudo`, `xargs`, `docker exec` and the like before them make no
//! difference. Languages of other tools (`sed`, `awk`, SQL) are not examined.

use super::{
    Refusal,
    before::Before,
    command::{Word, is_name},
};

/// Why a value would be code.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) message: String,
    pub(super) help: &'static str,
}

pub(super) const PARAMETER: &str = "pass it as a parameter: `sh -c 'program \"$1\"' sh {{ x }}`";
pub(super) const DIRECTLY: &str = "call the program itself, with the value as its argument";

/// What may precede the program, besides options and assignments.
const PREFIXES: [&str; 13] =
    ["command", "builtin", "exec", "nohup", "env", "sudo", "doas", "nice", "ionice", "time", "timeout", "stdbuf", "setsid"];
/// Programs all of whose arguments may be evaluated, as code or as names of variables with subscripts.
pub(super) const EVALUATORS: [&str; 15] = [
    "eval",
    "trap",
    "alias",
    "watch",
    "parallel",
    "let",
    "declare",
    "typeset",
    "unset",
    "read",
    "getopts",
    "mapfile",
    "readarray",
    "compgen",
    "[[",
];
pub(super) const SHELLS: [&str; 12] = ["sh", "dash", "bash", "ash", "ksh", "mksh", "zsh", "fish", "yash", "rbash", "csh", "tcsh"];
/// Programs, the letters of their options whose argument is code, and the long spellings.
pub(super) const WITH_OPTION: &[(&[&str], &str, &[&str])] = &[
    (&["su", "runuser", "sg"], "c", &["--command", "--session-command"]),
    (&["script", "flock"], "c", &["--command"]),
    (&["env"], "S", &["--split-string"]),
    (&["python", "pypy", "expect"], "c", &[]),
    (&["perl"], "eE", &[]),
    (&["ruby", "lua"], "e", &[]),
    (&["node", "nodejs"], "ep", &["--eval", "--print"]),
    (&["php"], "rBRE", &["--run"]),
    (&["rsync"], "e", &["--rsh"]),
];
/// The options of `ssh` that take an argument.
pub(super) const SSH_OPTIONS: &str = "BbcDEeFIiJLlmOoPpQRSWw";

/// Variables whose values shells run as code.
pub const CODE_VARIABLES: [&str; 4] = ["BASH_ENV", "ENV", "PS4", "PROMPT_COMMAND"];

/// The refusal for the first value of a list of words that would run as code. `words` are texts, each with whether it contains a value; of
/// a value that is not known yet, the text has the literal part only.
#[must_use]
pub fn code_in_words(words: &[(String, bool)]) -> Option<(usize, Refusal)> {
    let mut before = Before::default();
    for (at, (text, is_value)) in words.iter().enumerate() {
        let word = Word::new(text, is_value.then_some(0));
        // The first attempt ignores the value's own text, which is no option of its word; a value `-c` still makes code of the next word.
        let code = is_value.then(|| before.code(&Word::default()).or_else(|| before.code(&word).filter(|_| !text.is_empty())));
        if let Some(code) = code.flatten() {
            let help = "pass it as a parameter: `argv: [sh, -c, 'program \"$1\"', sh, \"{{ x }}\"]`".to_owned();
            return Some((at, Refusal { value: Some(at), message: code.message, help }));
        }
        before.push(&word);
    }
    None
}

/// Programs that never run their input, even with the name of a shell among their arguments.
const TEXT_TOOLS: [&str; 22] = [
    "grep",
    "egrep",
    "fgrep",
    "tee",
    "cmp",
    "diff",
    "cat",
    "sed",
    "awk",
    "cut",
    "tr",
    "wc",
    "head",
    "tail",
    "sort",
    "uniq",
    "dd",
    "install",
    "psql",
    "pg_restore",
    "redis-cli",
    "jq",
];

/// Why a command would run its input as code, and the value in it. `input` is the value that its standard input may hold.
pub(super) fn run_from_input(words: &[Word], input: Option<usize>) -> Option<(usize, Code)> {
    // Most commands read no value: their words need no second look.
    if input.is_none() && words.iter().all(|word| word.output_of.is_none()) {
        return None;
    }
    let at = program(words)?;
    let called = name(&words[at]);
    let refuse = |number: usize, reader: &str| {
        let message = format!("a value in what `{reader}` reads, and runs as code");
        Some((number, Code { message, help: PARAMETER }))
    };
    let file = |word: &Word| word.output_of.or(input.filter(|_| STANDARD_INPUT.contains(&word.text.as_str())));
    let after = &words[at + 1..];
    match called {
        "." | "source" => return after.first().and_then(file).and_then(|number| refuse(number, called)),
        "su" | "runuser" => return input.filter(|_| opens_a_shell(after)).and_then(|number| refuse(number, called)),
        "ssh" if is_host_only(after) => return input.and_then(|number| refuse(number, called)),
        "at" | "batch" | "parallel" => return input.and_then(|number| refuse(number, called)),
        _ if TEXT_TOOLS.contains(&called) => return None,
        _ => {}
    }
    let xargs = words.iter().position(|word| name(word) == "xargs");
    words.iter().enumerate().find_map(|(number, word)| {
        let text = word.text.to_ascii_lowercase();
        let may_be_shell = number == at && word.expanded && !text.contains('/') && (text.is_empty() || text.contains("sh"));
        if !(SHELLS.contains(&name(word)) || may_be_shell) {
            return None;
        }
        let reader = if may_be_shell { "$SHELL" } else { name(word) };
        let after = &words[number + 1..];
        let value = match (script(after), xargs.filter(|xargs| *xargs < number)) {
            (Script::File(word), None) => file(word),
            (Script::Input, None) | (Script::Text(None), _) => input,
            (Script::Text(Some(script)), Some(xargs)) => input.filter(|_| replaces(&words[xargs + 1..number], script)),
            (Script::Text(Some(_)), None) | (Script::Input | Script::File(_), Some(_)) => None,
        };
        value.and_then(|value| refuse(value, reader))
    })
}

/// Names of the standard input as a file.
const STANDARD_INPUT: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// What a shell runs.
enum Script<'a> {
    /// Its standard input.
    Input,
    /// A file.
    File(&'a Word),
    /// The text after `-c`; none if it is yet to come.
    Text(Option<&'a Word>),
}

/// What a shell with these arguments runs.
fn script(words: &[Word]) -> Script<'_> {
    let (mut runs_text, mut reads, mut skip, mut options) = (false, false, false, true);
    for word in words {
        let text = word.text.as_str();
        if std::mem::take(&mut skip) {
            continue;
        }
        match text {
            "-" | "--" if options => options = false,
            "--rcfile" | "--init-file" if options => skip = true,
            _ if options && text.starts_with("--") => {}
            _ if options && text.len() > 1 && text.starts_with(['-', '+']) => {
                runs_text |= text.contains('c');
                reads |= text.contains('s');
                skip = text.contains(['o', 'O']);
            }
            _ if runs_text => return Script::Text(Some(word)),
            _ if reads => return Script::Input,
            _ => return Script::File(word),
        }
    }
    if runs_text { Script::Text(None) } else { Script::Input }
}

/// Whether `su` or `runuser` with these arguments opens a shell that reads its commands.
fn opens_a_shell(words: &[Word]) -> bool {
    let runs = |text: &str| {
        ["--command", "--session-command", "--user"].iter().any(|long| text.starts_with(long))
            || text.starts_with('-') && !text.starts_with("--") && text.contains(['c', 'u'])
    };
    !words.iter().any(|word| runs(&word.text))
}

/// Whether `ssh` with these arguments opens a shell: nothing follows the host.
fn is_host_only(words: &[Word]) -> bool {
    let mut rest = words.iter().map(|word| word.text.as_str());
    while let Some(text) = rest.next() {
        if text.len() == 2 && text.starts_with('-') && text.ends_with(|letter| SSH_OPTIONS.contains(letter)) {
            rest.next();
        } else if !text.starts_with('-') {
            return rest.next().is_none();
        }
    }
    false
}

/// Whether `xargs` with these options puts what it reads into the text of a script.
fn replaces(options: &[Word], script: &Word) -> bool {
    let texts: Vec<&str> = options.iter().map(|word| word.text.as_str()).collect();
    texts.iter().enumerate().any(|(at, text)| {
        let replaced = match *text {
            "-I" => texts.get(at + 1).copied(),
            "-i" | "--replace" => Some("{}"),
            other => ["-I", "-i", "--replace="].iter().find_map(|option| other.strip_prefix(option)),
        };
        // The middle of a long script is not remembered.
        replaced.is_some_and(|replaced| script.text.contains(replaced) || script.is_cut())
    })
}

/// The program's name without its directories.
pub(super) fn name(word: &Word) -> &str {
    word.text.rsplit('/').next().unwrap_or_default()
}

/// Which of the words is the program, after what may precede it.
fn program(words: &[Word]) -> Option<usize> {
    words.iter().position(|word| !may_precede_a_program(word))
}

pub(super) fn may_precede_a_program(word: &Word) -> bool {
    let text = word.text.as_str();
    let assigns = text.split_once('=').is_some_and(|(key, _)| is_name(key));
    PREFIXES.contains(&name(word)) || text.starts_with('-') || assigns
}
