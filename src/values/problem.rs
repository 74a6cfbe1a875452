//! A diagnostic as data.

use serde::Serialize;

/// What is wrong with the user's files or arguments: where, what, and what to do. It has no lines of the files, which may hold secrets; the
/// message may quote the value that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as users see it, or the option.
    pub file: Option<String>,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The column in characters, counted from 1.
    pub col: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other relevant places.
    pub also: Vec<RelatedPlace>,
}

/// Another place that is relevant for a [`Problem`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelatedPlace {
    /// The file, as users see it, or the option.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub col: usize,
    /// Why it is relevant.
    pub label: String,
}
