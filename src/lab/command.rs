//! Runs programs of this machine. An error names the command and quotes its error output.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};

use super::ReportStep;

/// How many lines of a program's error output an error repeats.
const MAX_ERROR_LINES: usize = 12;

/// An external command.
#[derive(Debug)]
pub(super) struct ExternalCommand {
    command: Command,
    shown: String,
    input: Vec<u8>,
}

/// Creates a command without arguments.
pub(super) fn command(program: &str) -> ExternalCommand {
    let mut command = Command::new(program);
    // Programs are found in sbin even if it is not in the caller's PATH, and print English messages, so that these can be matched.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")).env("LC_ALL", "C.UTF-8");
    ExternalCommand { command, shown: program.to_owned(), input: Vec::new() }
}

impl ExternalCommand {
    pub(super) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        let argument = argument.as_ref();
        self.shown.push(' ');
        self.shown.push_str(&argument.to_string_lossy());
        self.command.arg(argument);
        self
    }

    pub(super) fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, ExternalCommand::arg)
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(super) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs the command to its end and returns its output, whatever its exit status.
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
        // A program may print before it has read everything, so reading and writing happen in parallel.
        let writer = thread::spawn(move || input.map(|mut input| input.write_all(&bytes)));
        let output = child.wait_with_output().with_context(|| format!("cannot wait for `{}`", self.shown))?;
        // If the program did not read its input, its exit status shows it.
        drop(writer.join());
        Ok(output)
    }

    /// Runs the command and returns its standard output.
    ///
    /// # Errors
    /// The program cannot be started, or fails. The error then has the last lines of its standard error.
    pub(super) fn capture(self) -> Result<String> {
        let shown = self.shown.clone();
        let output = self.output()?;
        if !output.status.success() {
            let message = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
            bail!("`{shown}` failed ({}): {}", output.status, last_lines(&String::from_utf8_lossy(message)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs the command and discards its output.
    ///
    /// # Errors
    /// As [`ExternalCommand::capture`].
    pub(super) fn run(self) -> Result<()> {
        self.capture().map(drop)
    }

    /// Runs a long command and passes on each line that it prints.
    ///
    /// # Errors
    /// As [`ExternalCommand::capture`].
    pub(super) fn run_with_progress(mut self, progress: ReportStep<'_>) -> Result<()> {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.shown))?;
        let errors = child.stderr.take();
        let stderr = thread::spawn(move || errors.and_then(|errors| std::io::read_to_string(errors).ok()).unwrap_or_default());
        if let Some(lines) = child.stdout.take() {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                progress(&line);
            }
        }
        let status = child.wait().with_context(|| format!("cannot wait for `{}`", self.shown))?;
        if !status.success() {
            bail!("`{}` failed ({status}): {}", self.shown, last_lines(&stderr.join().unwrap_or_default()));
        }
        Ok(())
    }
}

/// Returns the last lines of a text, for an error.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(MAX_ERROR_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_command_and_its_error_output() {
        let error = command("sh").args(["-c", "echo no such thing >&2; exit 3"]).capture().unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo no such thing >&2; exit 3` failed (exit status: 3): no such thing");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = command("no-such-program-here").run().unwrap_err();
        assert_eq!(error.to_string(), "cannot start `no-such-program-here`");
    }

    #[test]
    fn megabytes_are_written_and_read_without_a_deadlock() {
        let text = "x".repeat(3 << 20);
        assert_eq!(command("cat").input(text.clone()).capture().unwrap(), text);
    }

    #[test]
    fn only_the_end_of_a_long_error_output_is_repeated() {
        let text: String = (1..=100).fold(String::new(), |text, line| format!("{text}{line}\n"));
        assert!(last_lines(&text).starts_with("89\n") && last_lines(&text).ends_with("\n100"));
    }
}
