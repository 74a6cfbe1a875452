//! The words of a command as far as they were read: which of them would run the next one as code.
//!
//! Each word is looked at once, however many follow: only what matters for later ones is kept.

use super::{
    code::{
        CODE_VARIABLES, Code, DIRECTLY, EVALUATORS, PARAMETER, SHELLS, SSH_OPTIONS, WITH_OPTION, may_precede_a_program, name,
    },
    command::{Word, is_of_parameter},
};

/// The words before the current one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// The name of the program, after what may precede it.
    program: Option<String>,
    /// Whether the last word, which is not the first one, is `-v`.
    asks_for_a_variable: bool,
    is_begun: bool,
    /// Those that may run a later word, in order. Of those that go on alike, only the first one.
    runners: Vec<Runner>,
}

/// A word that may run a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Runner {
    name: String,
    state: State,
}

/// What a runner has read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `sh -c SCRIPT`: the first operand is code when `c` is among the options.
    Shell { runs_text: bool, skip: bool, options: bool },
    /// All that follows is evaluated.
    Evaluates,
    /// `ssh HOST WORDS`: the words are joined with spaces and read by the shell of HOST.
    Ssh(Ssh),
    /// `su -c CODE`, `su --command=CODE`, `perl -eCODE`: the entry of the table, and whether its option was the last word.
    Option(usize, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ssh {
    Options,
    /// The last word was an option that takes an argument.
    Argument,
    /// The last word was `-o`.
    Setting,
    Command,
}

impl Before {
    /// Whether the program runs `current` as code, and does not only evaluate names in it: `eval`, `trap`, `sh -c`, `ssh HOST` and the like. Its name.
    pub(super) fn runs(&self, current: &Word) -> Option<String> {
        let program = self.program.as_deref()?;
        if EVALUATORS.contains(&program) && !["eval", "trap"].contains(&program) {
            return None;
        }
        self.code(current).map(|_| program.to_owned())
    }

    /// Why a value that is put into `current` would be code; none if it is an argument.
    pub(super) fn code(&self, current: &Word) -> Option<Code> {
        // `useradd -s /bin/bash -c {{ comment }}`: there a shell is an argument.
        if self.program.as_deref().is_some_and(|program| ["useradd", "usermod"].contains(&program)) {
            return None;
        }
        if let Some((variable, _)) = current.text.split_once('=').filter(|(variable, _)| CODE_VARIABLES.contains(variable)) {
            let message = format!("a value in `{variable}`, whose value a shell runs as code");
            return Some(Code { message, help: "write its value itself" });
        }
        self.evaluator(current).or_else(|| self.runners.iter().find_map(|runner| runner.code(current)))
    }

    fn evaluator(&self, current: &Word) -> Option<Code> {
        let program = self.program.as_deref()?;
        let names_a_variable = ["export", "local", "readonly"].contains(&program) && !current.text.contains('=');
        let tests_a_variable = ["test", "[", "printf"].contains(&program) && self.asks_for_a_variable;
        if EVALUATORS.contains(&program) {
            return Some(Code { message: format!("a value as an argument of `{program}`, which evaluates it"), help: DIRECTLY });
        }
        (names_a_variable || tests_a_variable).then(|| Code {
            message: format!("a value as the name of a variable for `{program}`"),
            help: "write the name itself",
        })
    }

    /// Goes on behind a word.
    pub(super) fn push(&mut self, word: &Word) {
        self.runners.retain_mut(|runner| runner.state.reads(word));
        if self.runners.len() > 1 {
            let mut seen = Vec::new();
            self.runners.retain(|runner| {
                let is_new = !seen.contains(&runner.state);
                seen.push(runner.state);
                is_new
            });
        }
        if let Some(runner) = Runner::of(word).filter(|new| self.runners.iter().all(|known| known.state != new.state)) {
            self.runners.push(runner);
        }
        if self.program.is_none() && !may_precede_a_program(word) {
            self.program = Some(name(word).to_owned());
        }
        self.asks_for_a_variable = self.is_begun && word.text == "-v";
        self.is_begun = true;
    }
}

impl Runner {
    fn of(word: &Word) -> Option<Self> {
        let name = name(word);
        // `python3.12`, `bash5`
        let family = name.trim_end_matches(|last: char| last.is_ascii_digit() || last == '.');
        // A variable of the shell may name a shell.
        let may_be_shell = word.expanded && word.text.rsplit('/').next().is_some_and(|last| last.chars().all(is_of_parameter));
        let state = if SHELLS.contains(&family) || may_be_shell {
            State::Shell { runs_text: false, skip: false, options: true }
        } else if ["watch", "parallel"].contains(&name) {
            State::Evaluates
        } else if ["ssh", "autossh"].contains(&name) {
            State::Ssh(Ssh::Options)
        } else {
            State::Option(WITH_OPTION.iter().position(|(names, ..)| names.contains(&family))?, false)
        };
        Some(Self { name: name.to_owned(), state })
    }

    fn code(&self, current: &Word) -> Option<Code> {
        let name = &self.name;
        let code = |message: String, help: &'static str| Some(Code { message, help });
        match self.state {
            State::Shell { runs_text, skip, options } => {
                let is_option = current.text.starts_with(['-', '+']) && options;
                let is_code = !skip && (runs_text || is_option && current.text.contains('c'));
                is_code.then(|| Code { message: format!("a value as the script of `{name} -c`"), help: PARAMETER })
            }
            State::Evaluates => code(format!("a value as an argument of `{name}`, which evaluates it"), DIRECTLY),
            State::Ssh(Ssh::Command) => code(
                "a value in the command of `ssh HOST`".to_owned(),
                "the shell on HOST would read it again: give the program there its input with `printf '%s' {{ x }} |`",
            ),
            State::Ssh(state) => {
                let is_command = current.text.to_ascii_lowercase().contains("command");
                let is_setting = state == Ssh::Setting || current.text.starts_with("-o");
                (is_setting && is_command)
                    .then(|| Code { message: "a value in a command that `ssh` runs".to_owned(), help: DIRECTLY })
            }
            State::Option(entry, takes) => {
                let (_, letters, long) = WITH_OPTION[entry];
                let glued = current.text.split_once('=').is_some_and(|(option, _)| is_long(option, long))
                    || is_short(&current.text) && current.text.contains(|letter| letters.contains(letter));
                (takes || glued).then(|| {
                    let letter = letters.chars().next().unwrap_or_default();
                    Code { message: format!("a value as the code of `{name} -{letter}`"), help: DIRECTLY }
                })
            }
        }
    }
}

impl State {
    /// Goes on behind a word. False when no later word is code.
    fn reads(&mut self, word: &Word) -> bool {
        let text = word.text.as_str();
        match self {
            Self::Shell { skip, .. } if *skip => *skip = false,
            Self::Shell { runs_text, skip, options } => match text {
                "--" if *options => *options = false,
                "--rcfile" | "--init-file" if *options => *skip = true,
                _ if *options && text.starts_with("--") => {}
                _ if *options && text.len() > 1 && text.starts_with(['-', '+']) => {
                    *runs_text |= text.contains('c');
                    *skip = text.contains(['o', 'O']);
                }
                // The script, or a file; what follows are its parameters.
                _ => return false,
            },
            Self::Evaluates | Self::Ssh(Ssh::Command) => {}
            Self::Ssh(state @ (Ssh::Argument | Ssh::Setting)) => *state = Ssh::Options,
            Self::Ssh(state @ Ssh::Options) => {
                *state = match text {
                    "-o" => Ssh::Setting,
                    _ if text.len() == 2 && text.starts_with('-') && text.ends_with(|last| SSH_OPTIONS.contains(last)) => {
                        Ssh::Argument
                    }
                    _ if text.len() > 1 && text.starts_with('-') => Ssh::Options,
                    _ => Ssh::Command,
                }
            }
            Self::Option(entry, takes) => {
                let (_, letters, long) = WITH_OPTION[*entry];
                *takes = is_long(text, long) || is_short(text) && text.ends_with(|last| letters.contains(last));
            }
        }
        true
    }
}

fn is_short(text: &str) -> bool {
    text.starts_with('-') && !text.starts_with("--") && text.len() > 1
}

/// Long options may be abbreviated.
fn is_long(text: &str, long: &[&str]) -> bool {
    text.len() > 3 && text.starts_with("--") && long.iter().any(|long| long.starts_with(text))
}
