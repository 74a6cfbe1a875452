//! Programs and files of this machine that provide a password.

use std::{
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use super::{Here, family, value::LONGEST};
use crate::{
    controller::Controller,
    outside::Program,
    source::{Boundary, Diagnostic},
};

/// Why a program provided no password.
pub(super) struct ProgramFailure {
    /// A short reason.
    pub(super) reason: String,
    /// Its standard error, which may contain anything.
    pub(super) stderr: Vec<u8>,
    /// Its standard output, to be masked where standard error repeats it.
    pub(super) stdout: Zeroizing<Vec<u8>>,
}

/// Runs a program to its end and returns its standard output. Its standard input is empty, but it may ask on the terminal.
pub(super) async fn output(program: &Program, here: Here<'_>, limit: Duration) -> Result<Zeroizing<Vec<u8>>, ProgramFailure> {
    let (name, arguments) = match program {
        Program::Words(words) => (words.first().map_or("", String::as_str), words.get(1..).unwrap_or_default().to_vec()),
        Program::Shell(line) => ("sh", vec!["-c".to_owned(), line.clone()]),
    };
    let failure = |reason: String| ProgramFailure { reason, stderr: Vec::new(), stdout: Zeroizing::default() };
    let mut command = tokio::process::Command::from(here.controller.command(name));
    command.args(arguments).current_dir(here.project).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failure(format!("it cannot be started: {error}")))?;
    let (stdout_pipe, stderr_pipe) = (child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Zeroizing::new(Vec::with_capacity(LONGEST + 1)), Vec::new());
    let process = child.id();
    let ended = tokio::time::timeout(limit, async {
        tokio::join!(read(stdout_pipe, &mut stdout), read(stderr_pipe, &mut stderr));
        child.wait().await
    })
    .await;
    let reason = match ended {
        Ok(Ok(status)) if status.success() => return Ok(stdout),
        Ok(Ok(status)) => format!("it ended with {status}"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => {
            // It was not waited for yet, so the number is still its own.
            if let Some(process) = process {
                family::end(process);
            }
            format!("it did not end within {} s", limit.as_secs())
        }
    };
    Err(ProgramFailure { reason, stderr, stdout })
}

/// Reads everything, but keeps only one byte more than the longest password.
async fn read(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = Zeroizing::new([0_u8; 4096]);
    // After a read error, the bytes that were read so far are used.
    while let Ok(count @ 1..) = pipe.read(buffer.as_mut()).await {
        let room = (LONGEST + 1).saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// Returns the content of a file or, if the file is executable, its output, without surrounding white space, like `--vault-password-file` of
/// Ansible. A program whose name ends with `-client` is called with `--vault-id LABEL`. `what` names the password in errors.
///
/// # Errors
/// Returns an error when the file cannot be read or run, when the password is empty, or when it is a program of a stranger's project.
pub fn read_password(
    path: &Path,
    label: &str,
    what: &str,
    controller: &Controller,
    boundary: &Boundary,
) -> Result<Zeroizing<Vec<u8>>, Diagnostic> {
    let path = &controller.expand(path);
    let shown = path.display();
    let failed = |reason: String| Diagnostic::error(format!("no {what} from `{shown}`: {reason}"));
    boundary.check(path).map_err(|error| failed(error.to_string()))?;
    let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let is_program = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    if is_program && boundary.is_strangers(path) {
        let why = "it is a program of the project, which is not run: the project is not trusted (--untrusted)";
        return Err(failed(why.to_owned()).help("name a file or a program of your own"));
    }
    if is_program {
        let mut command = controller.command(controller.program(path));
        if path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("-client")) {
            command.args(["--vault-id", label]);
        }
        // The program may ask on the terminal and prints its errors there.
        command.stdout(Stdio::piped());
        let help =
            "an executable file is run and must print the password; a file that contains the password must not be executable";
        let mut child = command.spawn().map_err(|error| failed(format!("it cannot be started: {error}")).help(help))?;
        let Some(status) = printed(&mut child, controller.limits.program, &mut bytes) else {
            family::end(child.id());
            let _ = child.wait();
            return Err(failed(format!("it did not end within {} s", controller.limits.program.as_secs())).help(help));
        };
        let status = status.map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            return Err(failed(format!("it ended with {status}")).help(help));
        }
    } else {
        // The operator names it, as a pipe perhaps: `<(program)`.
        let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
        file.take(LONGEST as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    }
    if bytes.len() > LONGEST {
        return Err(failed("it is longer than 64 KiB".to_owned()));
    }
    let password = Zeroizing::new(bytes.trim_ascii().to_vec());
    if password.is_empty() { Err(failed("it is empty".to_owned())) } else { Ok(password) }
}

/// Reads what a program prints, one byte more than the longest password at most, and waits for its end. `None` if it takes too long.
fn printed(child: &mut Child, limit: Duration, bytes: &mut Vec<u8>) -> Option<std::io::Result<ExitStatus>> {
    let (pipe, process) = (child.stdout.take()?, Pid::from_child(child));
    let (done, read) = mpsc::channel();
    // Not joined: something that the program has started may hold its output for ever.
    thread::spawn(move || {
        let mut kept = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
        let read = pipe.take(LONGEST as u64 + 1).read_to_end(&mut kept);
        // Without taking its status, so that its number stays its own.
        let _ = waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        done.send(read.map(|_| kept))
    });
    Some(read.recv_timeout(limit).ok()?.and_then(|kept| {
        bytes.extend_from_slice(&kept);
        child.wait()
    }))
}
