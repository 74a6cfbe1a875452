//! Programs and files of this machine that tell a password.

use std::{io::Read as _, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use super::{Program, value::LONGEST};
use crate::source::Diagnostic;

/// Why a program told no password.
pub(super) struct Silent {
    /// In a few words.
    pub(super) why: String,
    /// What it said on standard error. May hold anything.
    pub(super) said: Vec<u8>,
    /// What it printed, so that it can be told from what it said.
    pub(super) printed: Zeroizing<Vec<u8>>,
}

/// Runs a program to its end. It hears nothing on standard input, but may ask on the terminal. What it printed.
pub(super) async fn output(program: &Program, directory: &Path, limit: Duration) -> Result<Zeroizing<Vec<u8>>, Silent> {
    let (name, arguments) = match program {
        Program::Words(words) => (words.first().map_or("", String::as_str), words.get(1..).unwrap_or_default().to_vec()),
        Program::Shell(line) => ("sh", vec!["-c".to_owned(), line.clone()]),
    };
    let silent = |why: String| Silent { why, said: Vec::new(), printed: Zeroizing::default() };
    let mut command = tokio::process::Command::new(name);
    command.args(arguments).current_dir(directory).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| silent(format!("it cannot be started: {error}")))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut printed, mut said) = (Zeroizing::new(Vec::with_capacity(LONGEST + 1)), Vec::new());
    let ended = tokio::time::timeout(limit, async {
        tokio::join!(read(stdout, &mut printed), read(stderr, &mut said));
        child.wait().await
    })
    .await;
    let why = match ended {
        Ok(Ok(status)) if status.success() => return Ok(printed),
        Ok(Ok(status)) => format!("it ended with {status}"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it did not end within {} s", limit.as_secs()),
    };
    Err(Silent { why, said, printed })
}

/// Reads all, but keeps no more than a password and a byte.
async fn read(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = Zeroizing::new([0_u8; 4096]);
    // What was read before an error is judged as it is.
    while let Ok(count @ 1..) = pipe.read(buffer.as_mut()).await {
        let room = (LONGEST + 1).saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// The password that a file holds or, when it can be executed, prints, as `--vault-password-file` of Ansible has it: without the white space
/// around it. A program whose name ends with `-client` is called with `--vault-id LABEL`. `what` is the password in errors.
///
/// # Errors
/// A file that cannot be read or run, or that holds or prints nothing.
pub fn password_of(path: &Path, label: &str, what: &str) -> Result<Zeroizing<Vec<u8>>, Diagnostic> {
    let shown = path.display();
    let wrong = |why: String| Diagnostic::error(format!("no {what} from `{shown}`: {why}"));
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        // A bare name would be looked for in PATH.
        let path = std::path::absolute(path).map_err(|error| wrong(error.to_string()))?;
        let mut command = std::process::Command::new(&path);
        if path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("-client")) {
            command.args(["--vault-id", label]);
        }
        // It may ask on the terminal, and says there what is wrong.
        command.stdout(Stdio::piped());
        let help = "an executable file is run, and prints the password; one that holds it must not be executable";
        let mut child = command.spawn().map_err(|error| wrong(format!("it cannot be started: {error}")).help(help))?;
        let read = child.stdout.take().map(|pipe| pipe.take(LONGEST as u64).read_to_end(&mut bytes));
        let status = child.wait().map_err(|error| wrong(error.to_string()))?;
        read.transpose().map_err(|error| wrong(error.to_string()))?;
        if !status.success() {
            return Err(wrong(format!("it ended with {status}")).help(help));
        }
    } else {
        let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        file.take(LONGEST as u64).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    }
    let password = Zeroizing::new(bytes.trim_ascii().to_vec());
    if password.is_empty() { Err(wrong("it is empty".to_owned())) } else { Ok(password) }
}
