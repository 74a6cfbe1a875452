//! A value in shell text: what is known of it, how it must be written, and why it is refused.

/// Why a value is not allowed at its place, or why the text around values cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The value that is refused, by the number given to [`super::Lexer::value`]; none if the text itself is refused.
    pub value: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// The spelling that works.
    pub help: String,
}

impl Refusal {
    pub(super) fn text(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { value: None, message: message.into(), help: help.into() }
    }

    pub(super) fn value(value: usize, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { value: Some(value), message: message.into(), help: help.into() }
    }
}

/// What is known of a value when the lexer meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words<'a> {
    /// Nothing: the text is the source of a template.
    Unknown,
    /// It is text, a number or a boolean: one word.
    One(&'a str),
    /// It is a list: any number of words.
    List(&'a [String]),
}

/// How the words of a value must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// As an argument: text that means nothing to a shell needs no quotes.
    Argument,
    /// In quotes whatever it holds: without them it could be read as a reserved word, an assignment or a pattern.
    Quoted,
}
