//! Code from expansions: a value can reach `eval "$name"` through a variable, a parameter, a file or a `$( )`. Text with values
//! therefore must not run the result of an expansion.

use super::{Lexer, Refusal};

/// Whether a script runs the result of an expansion as code, such as `eval "$1"`.
pub(super) fn runs_expansion(script: &str) -> bool {
    let mut lexer = Lexer { first_value: Some(0), ..Lexer::new() };
    // A script that cannot be understood is left to the shell.
    lexer.text(script).is_ok() && lexer.finish().is_err_and(|refusal| refusal.value.is_some())
}

/// The refusal of text that holds `value` and runs the result of an expansion as code.
pub(super) fn expansion_run(value: usize, program: &str) -> Refusal {
    Refusal::value(
        value,
        format!("a value in text in which `{program}` runs what a variable or a `$( )` yields, which may be the value"),
        "write the code itself in `'…'`, and pass the value as a parameter: `sh -c 'program \"$1\"' sh {{ x }}`",
    )
}
