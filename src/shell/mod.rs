//! A lexer of shell text that knows where a value is allowed: in word position, outside quotes, where it is never code.
//!
//! It follows POSIX.1-2024, Shell Command Language (XCU chapter 2): quoting (2.2), token recognition with comments and line continuation (2.3),
//! parameter expansion, command substitution and arithmetic expansion (2.6), redirections and here-documents (2.7), and the grammar of commands
//! with its reserved words (2.9, 2.10), as far as it takes to tell an argument from a program, a pattern, a name or the end of a `$( )`. What only
//! some shells know (`$'…'`, `[[ ]]`, `(( ))`, `<<<`, `<( )`) is recognized so that a value in it is refused or read correctly.
//!
//! The lexer is fed one character or value at a time, so that the same code checks the source of a template, whose values are unknown,
//! and the text that is about to run. It runs nothing and reads nothing.

mod before;
mod code;
mod command;
mod context;
mod expansion;
mod input;
mod value;

pub use code::{CODE_VARIABLES, code_in_words};
pub use value::{Refusal, Words, Writing};

use command::{Closer, Commands, Redirect};
use context::{Context, Pending, opened_by};
use expansion::{expansion_run, runs_expansion};

/// So many quotes and brackets may be open within each other: every letter may have to look through them.
const MOST_OPEN: usize = 100;
const UNQUOTED: &str = "remove the quotes: a value is quoted by itself, also when it is glued to text, as in `--dir={{ x }}/sub`";

/// Reads shell text piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lexer {
    contexts: Vec<Context>,
    pending: Pending,
    /// The list that was just read: what follows must not be glued to it.
    after_list: Option<usize>,
    /// The first value in the text.
    first_value: Option<usize>,
    /// The program that runs the result of an expansion as code, in a list of commands that has ended.
    runs_expansion: Option<String>,
}

impl Default for Lexer {
    fn default() -> Self {
        Self::new()
    }
}

impl Lexer {
    /// A lexer at the beginning of a text.
    #[must_use]
    pub fn new() -> Self {
        Self {
            contexts: vec![Context::Command(Box::new(Commands::new(Closer::End)))],
            pending: Pending::Nothing,
            after_list: None,
            first_value: None,
            runs_expansion: None,
        }
    }

    /// Reads a literal text.
    ///
    /// # Errors
    /// What cannot be understood, with the offset in bytes of its character.
    pub fn text(&mut self, text: &str) -> Result<(), (usize, Refusal)> {
        text.char_indices().try_for_each(|(at, letter)| self.letter(letter).map_err(|refusal| (at, refusal)))
    }

    /// Reads a value, which `number` identifies in refusals.
    ///
    /// # Errors
    /// Why it is not allowed here.
    pub fn value(&mut self, number: usize, words: Words<'_>) -> Result<Writing, Refusal> {
        self.not_glued()?;
        self.settle()?;
        self.first_value.get_or_insert(number);
        let refuse = |message: &str, help: &str| Err(Refusal::value(number, message, help));
        match self.pending {
            Pending::Backslash => return refuse("a value right after `\\`", "remove the `\\`: a value is quoted by itself"),
            Pending::Dollar => {
                return refuse("a value right after `$`", "a value is put in as it is: write `{{ x }}` without the `$`");
            }
            Pending::Nothing
            | Pending::DollarParen
            | Pending::ArithmeticEnd
            | Pending::Less
            | Pending::LessLess
            | Pending::Greater
            | Pending::And
            | Pending::Semicolon
            | Pending::Paren => {}
        }
        match self.contexts.last_mut() {
            Some(Context::Command(command)) => {
                let writing = command.value(number, words)?;
                self.after_list = matches!(words, Words::List(_)).then_some(number);
                Ok(writing)
            }
            Some(Context::Single) => refuse("a value inside `'…'`", UNQUOTED),
            Some(Context::DollarSingle) => refuse("a value inside `$'…'`", UNQUOTED),
            Some(Context::Double) => refuse("a value inside `\"…\"`", UNQUOTED),
            Some(Context::Backtick) => {
                refuse("a value inside backticks", "write `$(…)` instead of the backticks, and the value in it without quotes")
            }
            Some(Context::Parameter) => {
                refuse("a value inside `${…}`", "give it a variable of the shell first: `name={{ x }}`, then `${…}` with `$name`")
            }
            Some(Context::Arithmetic(_)) => refuse(
                "a value inside `$((…))`",
                "compute it in the template: `{{ x + 1 }}`; or let a program do it: `expr {{ x }} + 1`",
            ),
            Some(Context::Comment) => refuse("a value inside a comment", "write the comment without it, or with `{# … #}`"),
            Some(Context::HereDocument { .. }) => {
                refuse("a value inside a here-document", "write `printf '%s\\n' {{ x }} | program`, or give the text in `stdin`")
            }
            None => refuse("a value after the end of the commands", "put it before"),
        }
    }

    /// Ends the text.
    ///
    /// # Errors
    /// What is still open, or a value that turned out to be where none is allowed.
    pub fn finish(&mut self) -> Result<(), Refusal> {
        self.after_list = None;
        self.settle()?;
        if self.contexts.last() == Some(&Context::Comment) {
            self.contexts.pop();
        }
        if let Some(Context::HereDocument { document, line }) = self.contexts.last()
            && document.ends_with(line)
        {
            self.contexts.pop();
        }
        let open = match self.contexts.as_mut_slice() {
            [Context::Command(command)] => {
                command.end()?;
                match command.here.first() {
                    // A value can reach an expansion through a variable, a parameter or a file, so none of them may be run.
                    None => match (self.first_value, self.runs_expansion.take().or(command.runs_expansion.take())) {
                        (Some(value), Some(program)) => return Err(expansion_run(value, &program)),
                        (Some(_) | None, _) => return Ok(()),
                    },
                    Some(_) => "a here-document",
                }
            }
            [.., last] => opened_by(last),
            [] => "a command",
        };
        Err(Refusal::text(
            format!("{open} is not closed"),
            "values are put into shell text only where its quotes and brackets are in order",
        ))
    }

    /// The quotes and brackets that are open: the branches of a template must agree on them.
    #[must_use]
    pub fn open(&self) -> Vec<&'static str> {
        let inner = self.contexts.iter().skip(1).map(opened_by);
        let cases = self.contexts.iter().filter_map(|context| context.commands().map(|commands| commands.cases));
        inner.chain(cases.flat_map(|cases| std::iter::repeat_n("`case`", cases))).collect()
    }

    fn not_glued(&mut self) -> Result<(), Refusal> {
        let glued = |number| {
            Refusal::value(number, "a list glued to text", "put spaces around it, or join it: `{{ list | join(sep=\",\") }}`")
        };
        self.after_list.take().map_or(Ok(()), |number| Err(glued(number)))
    }

    /// The innermost list of commands, whatever quotes are open within it.
    fn command(&mut self) -> Option<&mut Commands> {
        self.contexts.iter_mut().rev().find_map(Context::commands_mut)
    }

    fn quoted(&mut self, letter: char) {
        if let Some(command) = self.command() {
            command.word().quoted(letter);
        }
    }

    fn opens(&mut self, context: Context) {
        if let Some(command) = self.command() {
            match context {
                Context::Single | Context::DollarSingle | Context::Double => command.word().quoted = true,
                Context::Backtick | Context::Parameter | Context::Arithmetic(_) | Context::Command(_) => {
                    command.word().expanded = true;
                }
                Context::Comment | Context::HereDocument { .. } => {}
            }
        }
        self.contexts.push(context);
    }

    /// Begins lists of commands, whose standard input is that of the current command.
    fn opens_commands(&mut self, closers: &[Closer]) {
        for closer in closers {
            let mut commands = Commands::new(*closer);
            if let Some(outer) = self.command() {
                commands.input = outer.input.inner(*closer == Closer::Process);
            }
            let context = Context::Command(Box::new(commands));
            match closer {
                Closer::Substitution | Closer::Process => self.opens(context),
                Closer::End | Closer::Subshell | Closer::Double => self.contexts.push(context),
            }
        }
    }

    /// Whether what follows is within `'…'`, `$'…'` or `"…"`.
    #[must_use]
    pub fn is_quoted(&self) -> bool {
        matches!(self.contexts.last(), Some(Context::Single | Context::DollarSingle | Context::Double))
    }

    fn is_unquoted(&self) -> bool {
        matches!(self.contexts.last(), Some(Context::Command(_)))
    }

    /// Completes what is pending, as nothing that belongs to it follows.
    fn settle(&mut self) -> Result<(), Refusal> {
        match self.pending {
            Pending::Nothing | Pending::Backslash | Pending::Dollar => return Ok(()),
            Pending::DollarParen => self.opens_commands(&[Closer::Substitution]),
            Pending::ArithmeticEnd => {
                return Err(Refusal::text(
                    "`$((` that does not end with `))`",
                    "put a space into `$( (` when it begins a list of commands",
                ));
            }
            Pending::Less | Pending::Greater => self.redirect(Redirect::Target),
            Pending::LessLess => self.redirect(Redirect::HereDelimiter { strip: false }),
            Pending::And | Pending::Semicolon => {
                if let Some(command) = self.command() {
                    command.end()?;
                }
            }
            Pending::Paren => self.opens_commands(&[Closer::Subshell]),
        }
        self.pending = Pending::Nothing;
        Ok(())
    }

    fn redirect(&mut self, to: Redirect) {
        if let Some(command) = self.command() {
            command.redirect(to);
        }
    }

    fn letter(&mut self, letter: char) -> Result<(), Refusal> {
        if !matches!(letter, ' ' | '\t' | '\n' | ';' | '&' | '|' | ')') {
            self.not_glued()?;
        }
        self.after_list = None;
        if self.contexts.len() > MOST_OPEN {
            let help = "write the inner part to a file, or as a script of its own";
            return Err(Refusal::text(format!("quotes and brackets that are nested deeper than {MOST_OPEN} levels"), help));
        }
        if letter == '\n' && self.breaks_a_here_document() {
            let help = "end the line right after `<<WORD`";
            return Err(Refusal::text("a line break between `<<` and the end of its line: shells read it differently", help));
        }
        if self.continues(letter)? {
            return Ok(());
        }
        match self.contexts.last_mut() {
            Some(Context::Command(_)) => self.unquoted(letter),
            Some(Context::Single) => {
                if letter == '\'' {
                    self.contexts.pop();
                } else {
                    self.quoted(letter);
                }
                Ok(())
            }
            Some(Context::DollarSingle) => {
                match letter {
                    '\'' => drop(self.contexts.pop()),
                    '\\' => self.pending = Pending::Backslash,
                    other => self.quoted(other),
                }
                Ok(())
            }
            Some(Context::Double) => {
                match letter {
                    '"' => drop(self.contexts.pop()),
                    '\\' => self.pending = Pending::Backslash,
                    '$' => self.pending = Pending::Dollar,
                    '`' => self.opens(Context::Backtick),
                    other => self.quoted(other),
                }
                Ok(())
            }
            Some(Context::Backtick) => {
                match letter {
                    '`' => drop(self.contexts.pop()),
                    '\\' => self.pending = Pending::Backslash,
                    _ => {}
                }
                Ok(())
            }
            Some(Context::Parameter) => self.in_parameter(letter),
            Some(Context::Arithmetic(depth)) => {
                // bash evaluates the contents of variables, even commands in subscripts.
                if letter == '$' || letter.is_alphabetic() {
                    self.runs_expansion.get_or_insert_with(|| "$((…))".to_owned());
                }
                match letter {
                    '(' => *depth += 1,
                    ')' if *depth == 0 => self.pending = Pending::ArithmeticEnd,
                    ')' => *depth -= 1,
                    '\\' => self.pending = Pending::Backslash,
                    '$' => self.pending = Pending::Dollar,
                    '`' => self.opens(Context::Backtick),
                    '"' => self.opens(Context::Double),
                    _ => {}
                }
                Ok(())
            }
            Some(Context::Comment) => {
                if letter == '\n' {
                    self.contexts.pop();
                    return self.unquoted('\n');
                }
                Ok(())
            }
            Some(Context::HereDocument { document, line }) => {
                if letter != '\n' {
                    line.push(letter);
                    return Ok(());
                }
                if document.ends_with(line) {
                    self.contexts.pop();
                    self.next_here_document();
                } else if document.goes_on_after(line) {
                    return Err(Refusal::text("a line of a here-document that goes on in the next one", "write it in one line"));
                } else {
                    line.clear();
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether a letter belongs to what is pending.
    fn continues(&mut self, letter: char) -> Result<bool, Refusal> {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        match (pending, letter) {
            (Pending::Nothing, _) => return Ok(false),
            (Pending::Backslash, '\n') if !matches!(self.contexts.last(), Some(Context::DollarSingle)) => {}
            (Pending::Backslash, '\'') if matches!(self.contexts.last(), Some(Context::DollarSingle)) => {
                return Err(Refusal::text("`\\'` within `$'…'`: shells read it differently", "write the text in `\"…\"`"));
            }
            (Pending::Backslash, other) => {
                if !matches!(self.contexts.last(), Some(Context::Backtick | Context::Parameter | Context::Arithmetic(_))) {
                    self.quoted(other);
                }
            }
            (Pending::Dollar, '(') => self.pending = Pending::DollarParen,
            (Pending::Dollar, '{') => self.opens(Context::Parameter),
            (Pending::Dollar, '\'') if self.is_unquoted() => self.opens(Context::DollarSingle),
            (Pending::Dollar, _) => {
                if let Some(command) = self.command() {
                    command.word().expanded = true;
                }
                return Ok(false);
            }
            (Pending::DollarParen, '(') => self.opens(Context::Arithmetic(0)),
            (Pending::ArithmeticEnd, ')') => drop(self.contexts.pop()),
            (Pending::Less, '<') => self.pending = Pending::LessLess,
            (Pending::LessLess, '-') => self.redirect(Redirect::HereDelimiter { strip: true }),
            (Pending::LessLess, '<') => self.redirect(Redirect::HereString),
            (Pending::Less, '>' | '&') | (Pending::Greater, '>' | '|' | '&') => {
                self.redirect(Redirect::Target);
            }
            (Pending::Less | Pending::Greater, '(') => self.opens_commands(&[Closer::Process]),
            (Pending::And, '>') => {
                return Err(Refusal::text("`&>`: shells read it differently", "write `>file 2>&1`"));
            }
            (Pending::And, '&') => self.command().map_or(Ok(()), Commands::end)?,
            (Pending::Semicolon, ';' | '&') => self.command().map_or(Ok(()), Commands::end_of_branch)?,
            (Pending::Paren, '(') => self.opens_commands(&[Closer::Subshell, Closer::Double]),
            (
                Pending::DollarParen
                | Pending::ArithmeticEnd
                | Pending::Less
                | Pending::LessLess
                | Pending::Greater
                | Pending::And
                | Pending::Semicolon
                | Pending::Paren,
                _,
            ) => {
                self.pending = pending;
                self.settle()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn unquoted(&mut self, letter: char) -> Result<(), Refusal> {
        let Some(Context::Command(command)) = self.contexts.last_mut() else { return Ok(()) };
        match letter {
            ' ' | '\t' => command.finish_word(),
            '\n' => {
                command.end_of_line()?;
                self.next_here_document();
            }
            '#' if command.is_between_words() => self.contexts.push(Context::Comment),
            '\'' => self.opens(Context::Single),
            '"' => self.opens(Context::Double),
            '`' => self.opens(Context::Backtick),
            '\\' => self.pending = Pending::Backslash,
            '$' => self.pending = Pending::Dollar,
            '<' => self.pending = Pending::Less,
            '>' => self.pending = Pending::Greater,
            '&' => self.pending = Pending::And,
            ';' => self.pending = Pending::Semicolon,
            '|' => return command.bar(),
            '(' => {
                if command.opens_subshell()? {
                    self.pending = Pending::Paren;
                }
            }
            ')' => {
                if command.closes()? {
                    self.close()?;
                }
            }
            other => command.word().letter(other),
        }
        Ok(())
    }

    /// Ends a `( )`, `$( )` or `<( )`.
    fn close(&mut self) -> Result<(), Refusal> {
        if self.contexts.len() < 2 {
            return Err(Refusal::text("`)` closes nothing", "quote it, or remove it"));
        }
        let Some(Context::Command(mut closed)) = self.contexts.pop() else { return Ok(()) };
        self.runs_expansion = self.runs_expansion.take().or(closed.runs_expansion.take());
        if !closed.here.is_empty() {
            return Err(Refusal::text(
                "a here-document does not end before its `)`",
                "end it on a line of its own within the `$( )`",
            ));
        }
        let outer = closed.input.any().zip(self.command());
        outer.map_or(Ok(()), |(number, outer)| outer.inner_value(closed.closer, number))
    }

    /// Whether a line break is within quotes or brackets while a here-document waits for the end of its line.
    fn breaks_a_here_document(&self) -> bool {
        let inner = self.contexts.len() - usize::from(self.contexts.last() == Some(&Context::Comment));
        let outer = self.contexts.iter().take(inner.saturating_sub(1));
        outer.into_iter().any(|context| matches!(context, Context::Command(command) if !command.here.is_empty()))
            && !matches!(self.contexts.last(), Some(Context::HereDocument { .. }))
    }

    fn next_here_document(&mut self) {
        if let Some(Context::Command(command)) = self.contexts.last_mut()
            && !command.here.is_empty()
        {
            let document = command.here.remove(0);
            self.contexts.push(Context::HereDocument { document, line: String::new() });
        }
    }

    fn in_parameter(&mut self, letter: char) -> Result<(), Refusal> {
        // Within `"…"` shells do not agree on what `'` means in `${…}`.
        let in_double = self.contexts.iter().rev().skip(1).take_while(|context| !matches!(context, Context::Command(_)));
        let in_double = in_double.into_iter().any(|context| *context == Context::Double);
        match letter {
            '}' => drop(self.contexts.pop()),
            '\\' => self.pending = Pending::Backslash,
            '$' => self.pending = Pending::Dollar,
            '`' => self.contexts.push(Context::Backtick),
            '"' => self.contexts.push(Context::Double),
            '\'' if in_double => {
                return Err(Refusal::text(
                    "`'` within `\"${…}\"`: shells read it differently",
                    "give it a variable of the shell first",
                ));
            }
            '\'' => self.contexts.push(Context::Single),
            _ => {}
        }
        Ok(())
    }
}
