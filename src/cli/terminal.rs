//! Passwords that are typed.

use zeroize::Zeroizing;

use crate::source::Diagnostic;

/// Asks on the terminal, whatever standard input is; what is typed does not show. `what` is the password in errors, `option` the one for runs
/// without a terminal.
///
/// # Errors
/// There is no terminal.
pub(super) fn ask(prompt: &str, what: &str, option: &str) -> Result<Zeroizing<String>, Diagnostic> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        Diagnostic::error(format!("cannot ask for {what}: there is no terminal ({error})"))
            .help(format!("in a run without a terminal, give it with `{option}`"))
    })
}
