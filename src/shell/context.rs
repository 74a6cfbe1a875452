//! The state of the lexer: the quotes and brackets that are open, and what is pending.

use super::command::{Closer, Commands, HereDocument};

/// Something that the lexer is in: commands, quotes, brackets, a comment.
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

/// Characters that were read, and whose meaning depends on what follows.
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

/// Returns what opened a context, for messages.
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
