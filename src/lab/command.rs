//! Runs programs of this machine. An error names the command and quotes its error output.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, bail};

use super::ReportStep;
use crate::controller::Controller;

/// How many lines of a program's error output an error repeats.
const MAX_ERROR_LINES: usize = 12;

/// Where programs are searched if the surroundings have no `PATH`, as execvp(3) does.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// Where programs are searched after that, because an ordinary user's `PATH` lacks these directories.
const SBIN: &str = ":/usr/local/sbin:/usr/sbin:/sbin";

/// The programs of this machine. They get the variables of the surroundings and no others, except for `PATH` and `LC_ALL`.
#[derive(Debug, Clone, Default)]
pub(super) struct Programs {
    controller: Arc<Controller>,
}

impl Programs {
    pub(super) fn new(controller: Arc<Controller>) -> Self {
        Self { controller }
    }

    /// Returns a command that the caller starts, and that may outlive this process.
    pub(super) fn process(&self, program: &str) -> Command {
        let mut command = self.controller.command(program);
        // English messages can be matched.
        command.env("PATH", self.path()).env("LC_ALL", "C.UTF-8");
        command
    }

    /// Returns a command without arguments, which runs to its end.
    pub(super) fn command(&self, program: &str) -> ExternalCommand {
        ExternalCommand { command: self.process(program), shown: program.to_owned(), input: Vec::new() }
    }

    /// Whether a program is found.
    pub(super) fn has(&self, program: &str) -> bool {
        let is_in = |directory: &[u8]| self.controller.program(Path::new(OsStr::from_bytes(directory))).join(program).is_file();
        self.path().as_bytes().split(|byte| *byte == b':').any(is_in)
    }

    /// Returns the `PATH` in which the programs are searched.
    fn path(&self) -> OsString {
        // An empty entry would be the working directory.
        let given = self.controller.variable("PATH").filter(|path| !path.is_empty());
        let mut path = given.unwrap_or(OsStr::new(USUAL_PATH)).to_owned();
        path.push(SBIN);
        path
    }
}

/// An external command.
#[derive(Debug)]
pub(super) struct ExternalCommand {
    command: Command,
    shown: String,
    input: Vec<u8>,
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

    fn command(program: &str) -> ExternalCommand {
        Programs::default().command(program)
    }

    fn programs(variables: &[(&str, &str)]) -> Programs {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Programs::new(Arc::new(Controller { variables, ..Controller::default() }))
    }

    #[test]
    fn a_program_gets_the_given_variables_and_no_other() {
        let given = [("http_proxy", "http://proxy.example"), ("LC_ALL", "de_DE.UTF-8"), ("PATH", "/usr/bin")];
        let printed = programs(&given).command("env").env("OWN", "yes").capture().unwrap();
        let mut lines: Vec<&str> = printed.lines().collect();
        lines.sort_unstable();
        let path = "PATH=/usr/bin:/usr/local/sbin:/usr/sbin:/sbin";
        assert_eq!(lines, ["LC_ALL=C.UTF-8", "OWN=yes", path, "http_proxy=http://proxy.example"]);
    }

    #[test]
    fn a_program_is_searched_in_the_given_path_and_in_sbin_and_not_in_the_working_directory() {
        assert!(programs(&[("PATH", "/nowhere")]).command("env").run().is_err(), "found in this process's own PATH");
        for unset in [programs(&[]), programs(&[("PATH", "")])] {
            assert_eq!(unset.path(), "/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/sbin");
        }
    }

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
