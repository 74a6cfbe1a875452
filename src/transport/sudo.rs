//! The password for sudo: sent once, after sudo's own prompt was read, and to nothing else.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, sleep_until},
};
use zeroize::Zeroizing;

use crate::secret::{Secret, nonce};

use super::{
    Target,
    session::{Pipes, SessionError, greeted},
};

/// The line that root's shell prints before it reads anything: sudo is done, with or without a question.
pub(super) const READY: &str = "autobot-provision-root";

/// The prompt that sudo shows.
///
/// It holds a percent sign, which the argument doubles. A login shell that prints the commands it runs therefore never prints the prompt itself.
#[derive(Debug)]
pub(super) struct Prompt {
    before: String,
    after: String,
}

impl Prompt {
    /// Creates a prompt that nothing else on the node can print by chance: 128 random bits.
    pub(super) fn new() -> Result<Self, String> {
        let nonce = nonce().map_err(|error| format!("the operating system gives no random numbers: {error}"))?;
        let (before, after) = nonce.split_at(nonce.len() / 2);
        Ok(Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// Returns the argument of `sudo -p`: one word without special characters of any shell.
    pub(super) fn argument(&self) -> String {
        format!("{}%%{}", self.before, self.after)
    }

    /// Returns the text that sudo shows.
    pub(super) fn text(&self) -> String {
        format!("{}%{}", self.before, self.after)
    }
}

/// Returns the prompt and the password, if sudo may ask for one.
pub(super) fn question(target: &Target) -> Result<Option<(Prompt, &Secret)>, String> {
    let password = target.become_password.as_ref().filter(|_| target.become_root);
    password.map(|password| Prompt::new().map(|prompt| (prompt, password))).transpose()
}

/// Why there is no root shell.
#[derive(Debug)]
pub(super) enum SudoError {
    /// The login shell or sudo ended, for a reason other than a wrong password; with what they wrote to standard error.
    Refused(SessionError),
    /// The password is wrong.
    Rejected,
    /// sudo did not ask in time, or asks something else; with its last line.
    NotAsked(String),
    /// sudo took the password and did not continue in time; with its last line.
    Stuck(String),
}

/// The messages after a wrong password if sudo may not ask again; the second is that of sudo-rs.
const REJECTIONS: [&str; 2] = ["incorrect password attempt", "incorrect authentication attempt"];

/// Waits until root's shell is ready, and answers sudo's question for the password if it asks. Returns the number of round trips.
///
/// The password is written only after the prompt was read, and only once. When sudo asks again, nothing more is written; the caller drops the
/// pipes, which ends sudo. `limit` is for each of the two waits. What was read stays in the buffers.
pub(super) async fn authenticate(
    pipes: &mut Pipes,
    prompt: &Prompt,
    password: &Secret,
    limit: Duration,
) -> Result<u32, SudoError> {
    let prompt_text = prompt.text();
    let mut deadline = Instant::now() + limit;
    // The length of standard error when the password was sent.
    let mut asked_until = None;
    loop {
        if has_line(&pipes.stdout.buffer.bytes, READY) {
            return Ok(1 + u32::from(asked_until.is_some()));
        }
        let errors = String::from_utf8_lossy(&pipes.stderr.buffer.bytes[asked_until.unwrap_or(0)..]);
        let asks = errors.contains(&prompt_text);
        match asked_until {
            None if asks => {
                let mut line = Zeroizing::new(Vec::with_capacity(password.expose().len() + 1));
                line.extend_from_slice(password.expose().as_bytes());
                line.push(b'\n');
                asked_until = Some(pipes.stderr.buffer.bytes.len());
                deadline = Instant::now() + limit;
                // If sudo has ended meanwhile, the rest of its output says why.
                let _ = pipes.stdin.write_all(&line).await;
                continue;
            }
            Some(_) if asks => return Err(SudoError::Rejected),
            None | Some(_) => {}
        }
        for output in [&pipes.stdout, &pipes.stderr] {
            greeted(&output.buffer).map_err(SudoError::Refused)?;
        }
        let more = tokio::select! {
            more = pipes.stdout.fill() => more,
            more = pipes.stderr.fill() => more,
            () = sleep_until(deadline) => {
                let output = last_words(&pipes.stderr.buffer.bytes, asked_until, &prompt_text);
                return Err(if asked_until.is_some() { SudoError::Stuck(output) } else { SudoError::NotAsked(output) });
            }
        };
        if !matches!(more, Ok(true)) {
            pipes.stderr.fill_for_a_moment().await;
            if has_line(&pipes.stdout.buffer.bytes, READY) {
                // Root's shell was ready, and has ended: the session finds out why.
                return Ok(1 + u32::from(asked_until.is_some()));
            }
            let errors =
                String::from_utf8_lossy(&pipes.stderr.buffer.bytes[asked_until.unwrap_or(0)..]).replace(&prompt_text, "\n");
            let wrong = asked_until.is_some() && REJECTIONS.iter().any(|words| errors.contains(words));
            return Err(if wrong { SudoError::Rejected } else { SudoError::Refused(SessionError::Ended(errors)) });
        }
    }
}

/// Returns whether a whole line of the text is this one.
fn has_line(text: &[u8], wanted: &str) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n');
    // The text after the last newline is not a whole line yet.
    lines.next_back();
    lines.any(|line| line == wanted.as_bytes())
}

/// Returns the last line that was written, for a message; without the prompt.
fn last_words(errors: &[u8], from: Option<usize>, prompt_text: &str) -> String {
    let text = String::from_utf8_lossy(&errors[from.unwrap_or(0)..]).replace(prompt_text, "\n");
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(200).map(plain).collect()
}
