//! Stand-in until the branch `source` lands.

/// A complaint about a place in a file.
#[derive(Debug, Clone)]
pub struct Diagnostic;
