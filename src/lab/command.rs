//! Runs the machine's own programs; a failure names the command and quotes what it said.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};

use super::Progress;

/// How much of a program's complaint an error repeats, in lines.
const COMPLAINT_LINES: usize = 12;

/// One external command, written as it would be typed.
#[derive(Debug)]
pub(super) struct Run {
    command: Command,
    shown: String,
    input: Vec<u8>,
}

/// Starts describing a command.
pub(super) fn run(program: &str) -> Run {
    let mut command = Command::new(program);
    // Programs are found in sbin even when the caller's PATH lacks it, and speak English so that their words can be matched.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")).env("LC_ALL", "C.UTF-8");
    Run { command, shown: program.to_owned(), input: Vec::new() }
}

impl Run {
    pub(super) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        let argument = argument.as_ref();
        self.shown.push(' ');
        self.shown.push_str(&argument.to_string_lossy());
        self.command.arg(argument);
        self
    }

    pub(super) fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Run::arg)
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(super) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs the command to its end, whatever its exit status.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(super) fn output(mut self) -> Result<Output> {
        let mut child = self
            .command
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.shown))?;
        let input = child.stdin.take();
        let bytes = self.input;
        // A program may answer before it has read everything, so reading and writing go on side by side.
        let writer = thread::spawn(move || input.map(|mut input| input.write_all(&bytes)));
        let output = child.wait_with_output().with_context(|| format!("cannot wait for `{}`", self.shown))?;
        // A program that does not read its input shows so in its exit status.
        drop(writer.join());
        Ok(output)
    }

    /// Runs the command and returns what it printed.
    ///
    /// # Errors
    /// The program cannot be started, or fails: then with the last lines of its standard error.
    pub(super) fn read(self) -> Result<String> {
        let shown = self.shown.clone();
        let output = self.output()?;
        if !output.status.success() {
            let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
            bail!("`{shown}` failed ({}): {}", output.status, last_lines(&String::from_utf8_lossy(said)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs the command for its effect.
    ///
    /// # Errors
    /// As [`Run::read`].
    pub(super) fn done(self) -> Result<()> {
        self.read().map(drop)
    }

    /// Runs a long command, handing on each line it prints.
    ///
    /// # Errors
    /// As [`Run::read`].
    pub(super) fn report(mut self, progress: Progress<'_>) -> Result<()> {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.shown))?;
        let errors = child.stderr.take();
        let complaint = thread::spawn(move || errors.and_then(|errors| std::io::read_to_string(errors).ok()).unwrap_or_default());
        if let Some(lines) = child.stdout.take() {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                progress(&line);
            }
        }
        let status = child.wait().with_context(|| format!("cannot wait for `{}`", self.shown))?;
        if !status.success() {
            bail!("`{}` failed ({status}): {}", self.shown, last_lines(&complaint.join().unwrap_or_default()));
        }
        Ok(())
    }
}

/// The end of a text that may be long, for an error.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(COMPLAINT_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_command_and_what_it_said() {
        let error = run("sh").args(["-c", "echo no such thing >&2; exit 3"]).read().unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo no such thing >&2; exit 3` failed (exit status: 3): no such thing");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run("no-such-program-here").done().unwrap_err();
        assert_eq!(error.to_string(), "cannot start `no-such-program-here`");
    }

    #[test]
    fn megabytes_go_in_and_out_without_a_deadlock() {
        let text = "x".repeat(3 << 20);
        assert_eq!(run("cat").input(text.clone()).read().unwrap(), text);
    }

    #[test]
    fn only_the_end_of_a_long_complaint_is_repeated() {
        let text: String = (1..=100).fold(String::new(), |text, line| format!("{text}{line}\n"));
        assert!(last_lines(&text).starts_with("89\n") && last_lines(&text).ends_with("\n100"));
    }
}
