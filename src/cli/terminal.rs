//! Passwords that are typed.

use std::{io, thread};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use zeroize::Zeroizing;

use super::{exit::Exit, runtime};
use crate::source::Diagnostic;

/// Asks on the terminal, whatever standard input is; what is typed does not show. `what` is the password in errors, `option` the one for runs
/// without a terminal.
///
/// Ctrl-C ends the process.
///
/// # Errors
/// There is no terminal.
pub(super) fn ask(prompt: &str, what: &str, option: &str) -> Result<Zeroizing<String>, Diagnostic> {
    typed(prompt).map_err(|error| {
        Diagnostic::error(format!("cannot ask for {what}: there is no terminal ({error})"))
            .help(format!("in a run without a terminal, give it with `{option}`"))
    })
}

fn typed(prompt: &str) -> io::Result<Zeroizing<String>> {
    // For Ctrl-C rpassword raises SIGINT before it lets the terminal echo again. Caught, it does not end us before that is done.
    let (runtime, interrupt) = catch_interrupts()?;
    let typed = rpassword::prompt_password(prompt).map(Zeroizing::new);
    if typed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
        std::process::exit(Exit::INTERRUPTED.code().into());
    }
    thread::spawn(move || end_when_interrupted(&runtime, interrupt));
    typed
}

fn catch_interrupts() -> io::Result<(Runtime, Signal)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let interrupt = {
        let _entered = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    Ok((runtime, interrupt))
}

/// Ends the process, as the uncaught signal would have; work that starts later handles signals itself.
fn end_when_interrupted(runtime: &Runtime, mut interrupt: Signal) {
    runtime.block_on(interrupt.recv());
    if !runtime::listens() {
        std::process::exit(Exit::INTERRUPTED.code().into());
    }
}
