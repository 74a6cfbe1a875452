//! Programs that run one of their arguments as code: a value must not be that argument.
//!
//! Names are searched for anywhere in a command, so that `env`, `sudo`, `xargs`, `docker exec` and the like before them make no
//! difference. Languages of other tools (`sed`, `awk`, SQL) are not examined.

use super::{
    Refusal,
    command::{Word, is_name, is_of_parameter},
};

/// Why a value would be code.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) message: String,
    pub(super) help: &'static str,
}

const PARAMETER: &str = "pass it as a parameter: `sh -c 'program \"$1\"' sh {{ x }}`";
const DIRECTLY: &str = "call the program itself, with the value as its argument";

/// What may precede the program, besides options and assignments.
const PREFIXES: [&str; 13] =
    ["command", "builtin", "exec", "nohup", "env", "sudo", "doas", "nice", "ionice", "time", "timeout", "stdbuf", "setsid"];
/// Programs all of whose arguments may be evaluated, as code or as names of variables with subscripts.
const EVALUATORS: [&str; 15] = [
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
const SHELLS: [&str; 12] = ["sh", "dash", "bash", "ash", "ksh", "mksh", "zsh", "fish", "yash", "rbash", "csh", "tcsh"];
/// Programs, the letters of their options whose argument is code, and the long spellings.
const WITH_OPTION: &[(&[&str], &str, &[&str])] = &[
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
const SSH_OPTIONS: &str = "BbcDEeFIiJLlmOoPpQRSWw";

/// Variables whose values shells run as code.
pub const CODE_VARIABLES: [&str; 4] = ["BASH_ENV", "ENV", "PS4", "PROMPT_COMMAND"];

/// Why a value that is put into `current` after the words `before` would be code; none if it is an argument.
pub(super) fn code(before: &[Word], current: &Word) -> Option<Code> {
    let program = program(before);
    // `useradd -s /bin/bash -c {{ comment }}`: there a shell is an argument.
    if program.is_some_and(|at| ["useradd", "usermod"].contains(&name(&before[at]))) {
        return None;
    }
    if let Some((variable, _)) = current.text.split_once('=').filter(|(variable, _)| CODE_VARIABLES.contains(variable)) {
        let message = format!("a value in `{variable}`, whose value a shell runs as code");
        return Some(Code { message, help: "write its value itself" });
    }
    evaluator(before, current).or_else(|| {
        (0..before.len()).find_map(|at| {
            let name = name(&before[at]);
            // `python3.12`, `bash5`
            let family = name.trim_end_matches(|last: char| last.is_ascii_digit() || last == '.');
            let after = &before[at + 1..];
            // A variable of the shell may name a shell.
            let may_be_shell =
                before[at].expanded && before[at].text.rsplit('/').next().is_some_and(|last| last.chars().all(is_of_parameter));
            if SHELLS.contains(&family) || may_be_shell {
                return shell(name, after, current);
            }
            if ["watch", "parallel"].contains(&name) {
                return Some(Code { message: format!("a value as an argument of `{name}`, which evaluates it"), help: DIRECTLY });
            }
            if ["ssh", "autossh"].contains(&name) {
                return ssh(after, current);
            }
            let (_, letters, long) = WITH_OPTION.iter().find(|(names, ..)| names.contains(&family))?;
            option(name, letters, long, after, current)
        })
    })
}

/// The program that runs `current` as code, and does not only evaluate names in it: `eval`, `trap`, `sh -c`, `ssh HOST` and the like.
pub(super) fn runs(before: &[Word], current: &Word) -> Option<String> {
    let program = name(&before[program(before)?]);
    if EVALUATORS.contains(&program) && !["eval", "trap"].contains(&program) {
        return None;
    }
    code(before, current).map(|_| program.to_owned())
}

/// The refusal for the first value of a list of words that would run as code. `words` are texts, each with whether it contains a value; of
/// a value that is not known yet, the text has the literal part only.
#[must_use]
pub fn code_in_words(words: &[(String, bool)]) -> Option<(usize, Refusal)> {
    let all: Vec<Word> = words.iter().map(|(text, is_value)| Word::new(text, is_value.then_some(0))).collect();
    (0..all.len()).filter(|at| words[*at].1).find_map(|at| {
        // The first attempt ignores the value's own text, which is no option of its word; a value `-c` still makes code of the next word.
        let code =
            code(&all[..at], &Word::default()).or_else(|| code(&all[..at], &all[at]).filter(|_| !words[at].0.is_empty()))?;
        Some((
            at,
            Refusal {
                value: Some(at),
                message: code.message,
                help: "pass it as a parameter: `argv: [sh, -c, 'program \"$1\"', sh, \"{{ x }}\"]`".to_owned(),
            },
        ))
    })
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
fn name(word: &Word) -> &str {
    word.text.rsplit('/').next().unwrap_or_default()
}

/// Which of the words is the program, after what may precede it.
fn program(words: &[Word]) -> Option<usize> {
    words.iter().position(|word| {
        let text = word.text.as_str();
        let assigns = text.split_once('=').is_some_and(|(key, _)| is_name(key));
        !(PREFIXES.contains(&name(word)) || text.starts_with('-') || assigns)
    })
}

fn evaluator(before: &[Word], current: &Word) -> Option<Code> {
    let program = name(&before[program(before)?]);
    let names_a_variable = ["export", "local", "readonly"].contains(&program) && !current.text.contains('=');
    let tests_a_variable =
        ["test", "[", "printf"].contains(&program) && before.last().is_some_and(|last| last.text == "-v") && before.len() > 1;
    if EVALUATORS.contains(&program) {
        return Some(Code { message: format!("a value as an argument of `{program}`, which evaluates it"), help: DIRECTLY });
    }
    (names_a_variable || tests_a_variable)
        .then(|| Code { message: format!("a value as the name of a variable for `{program}`"), help: "write the name itself" })
}

/// `sh -c SCRIPT`: the first operand is code when `c` is among the options.
fn shell(name: &str, after: &[Word], current: &Word) -> Option<Code> {
    let (mut runs_text, mut skip, mut options) = (false, false, true);
    for word in after {
        let text = word.text.as_str();
        if std::mem::take(&mut skip) {
            continue;
        }
        match text {
            "--" if options => options = false,
            "--rcfile" | "--init-file" if options => skip = true,
            _ if options && text.starts_with("--") => {}
            _ if options && text.len() > 1 && text.starts_with(['-', '+']) => {
                runs_text |= text.contains('c');
                skip = text.contains(['o', 'O']);
            }
            // The script, or a file; what follows are its parameters.
            _ => return None,
        }
    }
    let is_option = current.text.starts_with(['-', '+']) && options;
    (!skip && (runs_text || is_option && current.text.contains('c')))
        .then(|| Code { message: format!("a value as the script of `{name} -c`"), help: PARAMETER })
}

/// `su -c CODE`, `su --command=CODE`, `perl -eCODE`.
fn option(name: &str, letters: &str, long: &[&str], after: &[Word], current: &Word) -> Option<Code> {
    let short = |text: &str| text.starts_with('-') && !text.starts_with("--") && text.len() > 1;
    // Long options may be abbreviated.
    let is_long = |text: &str| text.len() > 3 && text.starts_with("--") && long.iter().any(|long| long.starts_with(text));
    let takes = |text: &str| is_long(text) || short(text) && text.ends_with(|last| letters.contains(last));
    let glued = current.text.split_once('=').is_some_and(|(option, _)| is_long(option))
        || short(&current.text) && current.text.contains(|letter| letters.contains(letter));
    let is_code = after.last().is_some_and(|last| takes(&last.text)) || glued;
    is_code.then(|| {
        let letter = letters.chars().next().unwrap_or_default();
        Code { message: format!("a value as the code of `{name} -{letter}`"), help: DIRECTLY }
    })
}

/// `ssh HOST WORDS`: the words are joined with spaces and read by the shell of HOST.
fn ssh(after: &[Word], current: &Word) -> Option<Code> {
    let mut option: Option<char> = None;
    for word in after {
        let text = word.text.as_str();
        if option.take().is_some() {
            continue;
        }
        if text.len() > 1 && text.starts_with('-') {
            option = text.chars().last().filter(|last| text.len() == 2 && SSH_OPTIONS.contains(*last));
        } else {
            let help = "the shell on HOST would read it again: give the program there its input with `printf '%s' {{ x }} |`";
            return Some(Code { message: "a value in the command of `ssh HOST`".to_owned(), help });
        }
    }
    let is_command = current.text.to_ascii_lowercase().contains("command");
    ((option == Some('o') || current.text.starts_with("-o")) && is_command)
        .then(|| Code { message: "a value in a command that `ssh` runs".to_owned(), help: DIRECTLY })
}
