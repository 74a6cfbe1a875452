//! The words of a simple command and the reserved words around it: what the next word is.

use super::{Refusal, Words, Writing, before::Before, code, input::Input, runs_expansion};

/// What ends a list of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closer {
    /// The end of the text.
    End,
    /// The `)` of a `$( )`.
    Substitution,
    /// The `)` of a `<( )` or `>( )`.
    Process,
    /// The `)` of a `( )`.
    Subshell,
    /// The first `)` of what may be a `(( ))`.
    Double,
}

/// What the next word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// A reserved word, an assignment or the program.
    Program,
    /// An argument.
    Argument,
    /// The name after `for`, `select` or `function`.
    Name,
    /// `in` or `do` after that name.
    In,
    /// The word after `case`.
    CaseWord,
    /// `in` after that word.
    CaseIn,
    /// A pattern of a `case`.
    Pattern,
    /// `)` after the `(` of a function definition.
    FunctionParen,
}

/// A here-document whose body is yet to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HereDocument {
    delimiter: String,
    /// Whether tabs at the beginning of its lines are stripped.
    strip: bool,
    /// Whether its body is literal, without expansions.
    literal: bool,
}

impl HereDocument {
    pub(super) fn ends_with(&self, line: &str) -> bool {
        (if self.strip { line.trim_start_matches('\t') } else { line }) == self.delimiter
    }

    /// Whether shells may treat the next line as a part of this one.
    pub(super) fn goes_on_after(&self, line: &str) -> bool {
        let count = |what: &str| line.matches(what).count();
        !self.literal && (line.ends_with('\\') || count("`") % 2 == 1 || count("$(") > count(")") || count("${") > count("}"))
    }
}

/// What the next word is, when it belongs to a redirection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirect {
    Nothing,
    Target,
    /// `<<<`
    HereString,
    HereDelimiter {
        strip: bool,
    },
}

/// A word of a command as far as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fact about the characters of the word")]
pub(super) struct Word {
    /// Its text without quotes; the results of expansions and values that are not known are left out.
    pub(super) text: String,
    /// The first value in it, if it is a `<( )`.
    pub(super) output_of: Option<usize>,
    /// The first value in it.
    pub(super) value: Option<usize>,
    /// Whether it contains anything but values.
    literal: bool,
    pub(super) quoted: bool,
    pub(super) expanded: bool,
    /// Whether it begins with `NAME=`.
    assigns: bool,
    /// Whether it holds a `{`, which some shells expand.
    brace: bool,
}

/// Longer words are remembered by their beginning and their end, in bytes: scripts for `sh -c` are shorter, and no other rule looks further.
const REMEMBERED: usize = 4096;

impl Word {
    pub(super) fn letter(&mut self, letter: char) {
        if letter == '=' && !self.assigns && self.is_bare() && is_name(&self.text) {
            self.assigns = true;
        }
        self.brace |= letter == '{';
        self.push(letter);
        self.literal = true;
    }

    pub(super) fn quoted(&mut self, letter: char) {
        self.push(letter);
        self.quoted = true;
        self.literal = true;
    }

    fn push(&mut self, letter: char) {
        if self.text.len() >= REMEMBERED {
            let at = self.text.floor_char_boundary(REMEMBERED / 2);
            self.text.remove(at);
        }
        self.text.push(letter);
    }

    fn is_bare(&self) -> bool {
        self.value.is_none() && !self.quoted && !self.expanded
    }

    fn is_only_values(&self) -> bool {
        self.value.is_some() && !self.literal && !self.expanded && !self.quoted
    }

    /// Whether its middle may be forgotten.
    pub(super) fn is_cut(&self) -> bool {
        self.text.chars().count() >= REMEMBERED
    }

    pub(super) fn new(text: &str, value: Option<usize>) -> Self {
        let mut word = Self { value, literal: value.is_none(), ..Self::default() };
        text.chars().for_each(|letter| word.push(letter));
        word
    }
}

/// Whether a character can belong to the name of a parameter of the shell, such as `$name`, `$1` or `$@`.
pub(super) fn is_of_parameter(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '@' | '*')
}

pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// A list of commands as far as it was read: the current command, and the `case` that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commands {
    pub(super) closer: Closer,
    position: Position,
    words: Vec<Word>,
    /// What those words mean for the next one.
    before: Before,
    word: Option<Word>,
    redirect: Redirect,
    /// Here-documents whose bodies begin on the next line.
    pub(super) here: Vec<HereDocument>,
    pub(super) cases: usize,
    /// The program that runs the result of a `$variable` or a `$( )` as code.
    pub(super) runs_expansion: Option<String>,
    /// The values that reach the standard input of the commands.
    pub(super) input: Input,
}

impl Commands {
    pub(super) fn new(closer: Closer) -> Self {
        let (position, redirect) = (Position::Program, Redirect::Nothing);
        Self {
            closer,
            position,
            words: Vec::new(),
            before: Before::default(),
            word: None,
            redirect,
            here: Vec::new(),
            cases: 0,
            runs_expansion: None,
            input: Input::default(),
        }
    }

    /// Returns the current word, or begins one.
    pub(super) fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_default()
    }

    pub(super) fn is_between_words(&self) -> bool {
        self.word.is_none()
    }

    /// Reads a value as the current word, or as a part of it.
    pub(super) fn value(&mut self, number: usize, words: Words<'_>) -> Result<Writing, Refusal> {
        let refuse = |message: &str, help: &str| Err(Refusal::value(number, message, help));
        if self.closer == Closer::Double {
            return refuse("a value inside `((…))`", "compare it with `[ {{ x }} -gt 1 ]`");
        }
        let is_subscript = |word: &Word| word.is_bare() && word.text.split_once('[').is_some_and(|(name, _)| is_name(name));
        if self.position == Position::Program && self.word.as_ref().is_some_and(is_subscript) {
            return refuse("a value as a subscript, which bash evaluates", "a POSIX shell has no arrays: use a variable");
        }
        let is_list = matches!(words, Words::List(_));
        match self.redirect {
            Redirect::HereDelimiter { .. } => return refuse("a value as the end of a here-document", "write the word itself"),
            Redirect::Target | Redirect::HereString if is_list => {
                return refuse("a list as the target of a redirection", "one file can be named there");
            }
            Redirect::Target | Redirect::HereString => {
                if self.redirect == Redirect::HereString {
                    self.input.reads(number);
                }
                self.add(number, words);
                return Ok(Writing::Quoted);
            }
            Redirect::Nothing => {}
        }
        match self.position {
            Position::Name => return refuse("a value as a name", "write the name itself"),
            Position::In | Position::CaseIn => return refuse("a value where `in` or `do` is wanted", "write the word itself"),
            Position::FunctionParen => {
                return refuse("a value in the brackets of a function", "`name() { … }` has nothing in them");
            }
            Position::CaseWord | Position::Pattern if is_list => {
                return refuse("a list where one word is wanted", "join it: `| join(sep=\",\")`");
            }
            Position::Program | Position::Argument | Position::CaseWord | Position::Pattern => {}
        }
        if is_list && self.word.is_some() {
            return refuse("a list glued to text", "put spaces around it, or join it: `{{ list | join(sep=\",\") }}`");
        }
        let writing = if self.position == Position::Argument && self.word.as_ref().is_none_or(|word| !word.brace) {
            Writing::Argument
        } else {
            Writing::Quoted
        };
        match words {
            Words::List(list) => {
                for word in list {
                    self.allows(number)?;
                    self.add(number, Words::One(word));
                    self.finish_word();
                }
            }
            Words::Unknown | Words::One(_) => {
                self.allows(number)?;
                self.add(number, words);
            }
        }
        Ok(writing)
    }

    /// Ends a list of commands within the current command. `number` is the first value in it.
    pub(super) fn inner_value(&mut self, closer: Closer, number: usize) -> Result<(), Refusal> {
        self.input.holds(number);
        match (closer, self.redirect) {
            // The output, which may contain the value, would be code there, as the value would.
            (Closer::Substitution, Redirect::Nothing) => return self.allows(number),
            (Closer::Process, Redirect::Nothing) => drop(self.word().output_of.get_or_insert(number)),
            (Closer::Substitution, Redirect::HereString) | (Closer::Process, Redirect::Target) => self.input.reads(number),
            (Closer::Substitution | Closer::Process | Closer::End | Closer::Subshell | Closer::Double, _) => {}
        }
        Ok(())
    }

    /// Refuses a value that a program would run as code.
    fn allows(&self, number: usize) -> Result<(), Refusal> {
        if !matches!(self.position, Position::Program | Position::Argument) {
            return Ok(());
        }
        let code = match &self.word {
            Some(word) => self.before.code(word),
            None => self.before.code(&Word::default()),
        };
        code.map_or(Ok(()), |code| Err(Refusal::value(number, code.message, code.help)))
    }

    fn push(&mut self, word: Word) {
        self.before.push(&word);
        self.words.push(word);
    }

    fn add(&mut self, number: usize, words: Words<'_>) {
        self.input.holds(number);
        let word = self.word();
        word.value.get_or_insert(number);
        if let Words::One(text) = words {
            text.chars().for_each(|letter| word.push(letter));
        }
    }

    /// Ends the current word, and decides what the next one is.
    pub(super) fn finish_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        match std::mem::replace(&mut self.redirect, Redirect::Nothing) {
            Redirect::Nothing => {}
            Redirect::Target | Redirect::HereString => return,
            Redirect::HereDelimiter { strip } => {
                self.here.push(HereDocument { delimiter: word.text, strip, literal: word.quoted });
                return;
            }
        }
        let bare = if word.is_bare() { word.text.as_str() } else { "" };
        if self.position == Position::Program {
            self.input.reserved(bare);
        }
        match self.position {
            Position::Program => match bare {
                "if" | "then" | "else" | "elif" | "fi" | "do" | "done" | "while" | "until" | "!" | "{" | "}" | "time"
                | "coproc" => {}
                "for" | "select" | "function" => self.position = Position::Name,
                "case" => self.position = Position::CaseWord,
                "esac" => self.cases = self.cases.saturating_sub(1),
                _ if word.assigns => {}
                _ => {
                    self.push(word);
                    self.position = Position::Argument;
                }
            },
            Position::Name => self.position = Position::In,
            Position::In if bare == "in" => {
                self.push(Word::new("in", None));
                self.position = Position::Argument;
            }
            // `for name do`, and `function name {`.
            Position::In => self.position = Position::Program,
            Position::CaseWord => self.position = Position::CaseIn,
            Position::CaseIn => {
                self.cases += 1;
                self.position = Position::Pattern;
            }
            Position::Pattern if bare == "esac" && self.words.is_empty() => {
                self.input.reserved(bare);
                self.cases = self.cases.saturating_sub(1);
                self.position = Position::Program;
            }
            Position::Argument => {
                if let Some(program) = self.before.runs(&word)
                    && (word.expanded || word.value.is_none() && runs_expansion(&word.text))
                {
                    self.runs_expansion.get_or_insert(program);
                }
                self.push(word);
            }
            Position::Pattern => self.push(word),
            Position::FunctionParen => {}
        }
    }

    /// Ends the current command.
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        self.finish_word();
        let words = std::mem::take(&mut self.words);
        self.before = Before::default();
        if matches!(self.position, Position::Argument | Position::Program)
            && let Some(value) = words.first().and_then(|first| first.value)
            && words.iter().all(Word::is_only_values)
        {
            let help = "write the program and its arguments here, and values where they belong; a list of words can be given as `argv: \"{{ list }}\"`";
            return Err(Refusal::value(value, "a value as the whole command", help));
        }
        if let Some(first) = words.first()
            // The name in `$name` counts as text.
            && words.iter().all(|word| word.expanded && word.value.is_none() && word.text.chars().all(is_of_parameter))
        {
            self.runs_expansion.get_or_insert_with(|| if first.quoted { "\"$…\"" } else { "$…" }.to_owned());
        }
        if let Some((number, code)) = code::run_from_input(&words, self.input.value()) {
            return Err(Refusal::value(number, code.message, code.help));
        }
        self.input.end(!words.is_empty());
        if self.position != Position::In {
            self.position = Position::Program;
        }
        Ok(())
    }

    /// Ends the current line.
    pub(super) fn end_of_line(&mut self) -> Result<(), Refusal> {
        match self.position {
            // `for name`, `case word` and patterns continue on the next line.
            Position::Pattern | Position::CaseIn | Position::In | Position::Name | Position::CaseWord => {
                self.finish_word();
                Ok(())
            }
            Position::Program | Position::Argument | Position::FunctionParen => self.end(),
        }
    }

    /// `;;` ends a branch of a `case`.
    pub(super) fn end_of_branch(&mut self) -> Result<(), Refusal> {
        self.end()?;
        if self.cases > 0 {
            self.position = Position::Pattern;
        }
        Ok(())
    }

    /// `|` separates commands, or patterns.
    pub(super) fn bar(&mut self) -> Result<(), Refusal> {
        if self.position != Position::Pattern {
            self.finish_word();
            let value = self.input.behind_bar(!self.words.is_empty());
            self.end()?;
            self.input.pipe(value);
            return Ok(());
        }
        self.finish_word();
        Ok(())
    }

    /// `<` or `>`, and what follows it.
    pub(super) fn redirect(&mut self, to: Redirect) {
        // `2>`: the number belongs to the redirection.
        if self.word.as_ref().is_some_and(|word| word.is_bare() && word.text.bytes().all(|byte| byte.is_ascii_digit())) {
            self.word = None;
        }
        self.finish_word();
        self.redirect = to;
    }

    /// Whether `(` begins a list of commands here.
    pub(super) fn opens_subshell(&mut self) -> Result<bool, Refusal> {
        if self.position == Position::Pattern && self.word.is_none() && self.words.is_empty() {
            return Ok(false);
        }
        if let Some(value) = self.word.iter().chain(&self.words).find_map(|word| word.value) {
            return Err(Refusal::value(
                value,
                "a value before `(`",
                "write the name of a function itself, and quote a `(` that is text",
            ));
        }
        let is_function = match (&self.word, self.words.len()) {
            (Some(word), 0) => word.is_bare() && !word.assigns,
            (None, 1) => true,
            _ => false,
        };
        if self.position == Position::In || is_function {
            self.finish_word();
            self.position = Position::FunctionParen;
            return Ok(false);
        }
        if self.word.is_some() || !self.words.is_empty() || self.position != Position::Program {
            return Err(Refusal::text(
                "`(` within a command",
                "quote it when it is text: a POSIX shell knows neither arrays nor extended patterns",
            ));
        }
        Ok(true)
    }

    /// Whether `)` ends this list of commands.
    pub(super) fn closes(&mut self) -> Result<bool, Refusal> {
        if self.position == Position::Pattern {
            // It may have been `esac`.
            self.finish_word();
        }
        match self.position {
            Position::Pattern | Position::FunctionParen => {
                self.words.clear();
                self.before = Before::default();
                self.position = Position::Program;
                Ok(false)
            }
            Position::Program | Position::Argument | Position::Name | Position::In | Position::CaseWord | Position::CaseIn => {
                self.end()?;
                Ok(true)
            }
        }
    }
}
