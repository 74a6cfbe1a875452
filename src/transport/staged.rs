//! Large inputs of steps: they go as files beside the session, because a frame's text is read by a shell, in base64.

use std::time::{Duration, Instant};

use super::{Frame, Moved, NodeShell, Progress, Step, TransferError};
use crate::{script::quote, values::RemotePath};

/// An input from this size on, in bytes, goes beside the session. Below it, a frame needs fewer exchanges.
const LARGE: usize = 256 * 1024;

/// How often the progress of a transfer is said.
const SAID_EVERY: Duration = Duration::from_secs(2);

/// What inputs cost that went beside a session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Staged {
    pub(super) files: u32,
    pub(super) bytes: u64,
}

/// Sends the large inputs of a frame beside the session, and lets its steps read them from there. Where that is not possible, as where sshd allows
/// one channel only, they stay in the frame, which is slower.
///
/// The files are in the directory that is removed with the lock, and a step removes its own before it reads it.
pub(super) async fn stage(shell: &NodeShell, directory: &str, frame: &mut Frame, progress: Progress<'_>) -> Staged {
    let mut staged = Staged::default();
    for (index, step) in frame.steps.iter_mut().enumerate().filter(|(_, step)| step.input.len() >= LARGE) {
        match send(shell, &format!("{directory}/work/input-{index}"), step, progress).await {
            Ok(bytes) => {
                staged.files += 1;
                staged.bytes += bytes;
            }
            Err(error) => {
                tracing::debug!(%error, "a large input stays in its frame");
                break;
            }
        }
    }
    staged
}

async fn send(shell: &NodeShell, path: &str, step: &mut Step, progress: Progress<'_>) -> Result<u64, StageError> {
    let quoted = quote(path).map_err(|error| StageError::Path(error.to_string()))?;
    let path = RemotePath::new(path).map_err(StageError::Path)?;
    let mut said = Instant::now();
    let mut on_moved = |moved: Moved| {
        if said.elapsed() >= SAID_EVERY {
            said = Instant::now();
            progress(&format!("sent {} of {} MiB", moved.bytes >> 20, moved.total >> 20));
        }
    };
    let mut source: &[u8] = &step.input;
    let done = shell.bulk().stage(&path, step.input.len() as u64, &mut source, &mut on_moved).await?;
    step.script = format!("exec <{quoted} && rm -f -- {quoted} || exit\n{}", step.script);
    step.input = Vec::new().into();
    Ok(done.moved)
}

/// Why an input stays in its frame.
#[derive(Debug, thiserror::Error)]
enum StageError {
    #[error("{0}")]
    Path(String),
    #[error(transparent)]
    Transfer(#[from] TransferError),
}
