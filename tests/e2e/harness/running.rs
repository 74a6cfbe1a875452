//! A run of the program that is still active, to be interrupted.

use std::process::{Child, Command, Stdio};

use super::{Project, RunResult, eventually};

/// An active run. It is killed when this is dropped.
pub struct Running {
    child: Option<Child>,
    stderr: tempfile::NamedTempFile,
    arguments: Vec<String>,
}

impl Project {
    /// Starts the program, with its control sockets in the directory `run` of the project.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let stderr = tempfile::NamedTempFile::new().unwrap();
        let mut command = self.command_with_sockets(arguments);
        let child = command.stdout(Stdio::piped()).stderr(stderr.reopen().unwrap()).spawn().unwrap();
        Running { child: Some(child), stderr, arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
    }

    /// As [`Project::command`], with the control sockets in the directory `run` of the project.
    pub fn command_with_sockets(&self, arguments: &[&str]) -> Command {
        let sockets = self.path("run");
        std::fs::create_dir_all(&sockets).unwrap();
        let mut command = self.command(arguments);
        command.env("XDG_RUNTIME_DIR", sockets);
        command
    }

    /// Returns what runs of [`Project::start`] have left on this machine: sockets of ssh, and processes of ssh.
    pub fn leftovers_on_controller(&self) -> Vec<String> {
        let sockets = self.path("run");
        let files = std::fs::read_dir(&sockets).unwrap().map(|entry| entry.unwrap().path().display().to_string());
        let sockets = sockets.display().to_string();
        let commands = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let arguments = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            arguments.contains(&sockets).then_some(arguments)
        });
        files.chain(commands).collect()
    }
}

impl Running {
    /// Sends a signal, such as `INT`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").arg(format!("-{signal}")).arg(pid).status().unwrap().success());
    }

    /// Waits until it has written this text to standard error.
    pub fn await_on_stderr(&mut self, text: &str) {
        let written = || std::fs::read_to_string(self.stderr.path()).unwrap();
        eventually(&format!("{:?} writes {text:?}", self.arguments), 60, || written().contains(text));
    }

    /// Asks it to end, and when it has said so, asks once more: what runs on the nodes is then ended.
    pub fn signal_twice(&mut self, signal: &str) {
        self.signal(signal);
        self.await_on_stderr("each host finishes its current task");
        self.signal(signal);
    }

    /// Kills it with `kill -9`.
    pub fn kill(self) {
        self.signal("KILL");
        self.end();
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits for its end, with a limit: a run that waits at a gate never ends by itself. Its output must fit into the pipes.
    pub fn end(mut self) -> RunResult {
        eventually(&format!("{:?} ends", self.arguments), 180, || !self.is_running());
        let mut output = self.child.take().unwrap().wait_with_output().unwrap();
        output.stderr = std::fs::read(self.stderr.path()).unwrap();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        RunResult::new(&arguments, &output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
