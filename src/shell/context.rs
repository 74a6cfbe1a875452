//! What the lexer is in, and what it waits for.

use super::command::{Closer, Commands, HereDocument};

/// What the lexer is in, from the outside to the inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Context {
    Command(Box<Commands>),
    Single,
    /// `$'…'`
    DollarSingle,
    Double,
    Backtick,
    /// `${…}`
    Parameter,
    /// `$((…))`, with the brackets that are open in it.
    Arithmetic(usize),
    Comment,
    /// The body of a here-document, and its current line as far as it was read.
    HereDocument {
        document: HereDocument,
        line: String,
    },
}

impl Context {
    /// The list of commands, if this is one.
    pub(super) fn commands(&self) -> Option<&Commands> {
        if let Self::Command(commands) = self { Some(commands) } else { None }
    }

    /// As [`Self::commands`], to change it.
    pub(super) fn commands_mut(&mut self) -> Option<&mut Commands> {
        if let Self::Command(commands) = self { Some(commands) } else { None }
    }
}

/// What was read and means something only with what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    Nothing,
    Backslash,
    Dollar,
    /// `$(`
    DollarParen,
    /// A bracket closed `$((…)` and another must follow.
    ArithmeticEnd,
    Less,
    LessLess,
    Greater,
    And,
    Semicolon,
    /// `(` where a command may begin.
    Paren,
}

/// What is open as long as the lexer is in it.
pub(super) fn opened_by(context: &Context) -> &'static str {
    match context {
        Context::Command(command) => match command.closer {
            Closer::Substitution => "`$(`",
            Closer::Process => "`<(`",
            Closer::End | Closer::Subshell | Closer::Double => "`(`",
        },
        Context::Single => "`'`",
        Context::DollarSingle => "`$'`",
        Context::Double => "`\"`",
        Context::Backtick => "a backtick",
        Context::Parameter => "`${`",
        Context::Arithmetic(_) => "`$((`",
        Context::Comment => "a comment",
        Context::HereDocument { .. } => "a here-document",
    }
}
