//! The conversation with a node's loop over three pipes, over ssh or locally.

use std::{io, time::Duration};

use tokio::{
    net::unix::pipe,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};
use zeroize::Zeroizing;

use crate::{script::NulByte, secret::nonce, values::Addresses};

use super::{
    Frame, Holder, Lock, LockRequest, Progress, Step, StepOutput, Traffic,
    apart::{Apart, Phase},
    beats,
    frame::Running,
    kept::{Buffer, Stream},
    lock,
    output::{Marked, Output},
    wire,
};

/// The time that a node may take beyond the limits of its steps: `timeout` gives a script 5 s to end, and machines swap.
const GRACE: Duration = Duration::from_mins(1);

/// How long a node may send nothing while it owes an answer: it answers each heartbeat, and ends the session itself after 8 seconds without one.
pub(super) const SILENCE: Duration = Duration::from_secs(9);

/// How often this process looks whether it was stopped itself, in which case the node's silence says nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Our ends of the pipes to a node's shell.
pub(super) struct Pipes {
    pub(super) stdin: pipe::Sender,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

/// Why the conversation ended. The owner of the connection knows more, and turns it into a `LinkError`.
#[derive(Debug)]
pub(super) enum SessionError {
    /// The node's output ended, or nothing can be sent to it. With what it wrote to standard error.
    Ended(String),
    /// No answer in the time that it may take.
    TimedOut,
    /// Nothing at all for [`SILENCE`]: heartbeats are not answered.
    Silent,
    /// The node's shell got a signal to end.
    Stopped,
    /// Another run has the lock now, or it was removed.
    TakenOver(Option<Holder>),
    /// The node lacks programs that every session needs; their names.
    ProgramsMissing(String),
    /// The login shell or sudo said this much before our shell's first word.
    Flooded,
    /// Something other than an answer arrived.
    Unexpected(String),
    /// Another run holds the lock.
    Held(Holder),
    /// The lock cannot be taken.
    LockFailed(String),
}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        Self::Ended(error.to_string())
    }
}

/// What a node says first.
pub(super) struct Greeting {
    /// The login's.
    pub(super) uid: u32,
    /// `$SSH_CONNECTION`.
    pub(super) ssh_connection: Option<Addresses>,
    pub(super) process: LoopProcess,
}

/// The process of the loop on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoopProcess {
    pub(super) pid: u32,
    /// Its start time: process IDs are reused.
    pub(super) birth: u64,
}

impl LoopProcess {
    /// Reads `hello PID BIRTH`.
    fn parse(words: &str) -> Option<Self> {
        let (pid, birth) = words.strip_prefix("hello ")?.split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, birth: birth.parse().ok()? })
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing holds its pipes any more.
    Closed,
    /// Something at the other end still holds them: a daemon that a script has started, or a shell that hangs.
    Open,
}

/// A conversation with a node's loop.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) nonce: String,
    to_node: mpsc::UnboundedSender<Zeroizing<Vec<u8>>>,
    writer: JoinHandle<()>,
    stdout: Output,
    stderr: Output,
    round_trips: u32,
    sent: u64,
    broken: bool,
    running: Running,
    /// Whether the node does not answer any more: its end is not waited for.
    silent: bool,
    /// Under which a run that takes this node over knows this one.
    run_id: Option<String>,
}

impl Session {
    /// Sends the loop's text, the lock request and the first frame, without waiting for anything. `round_trips` is what sudo has cost.
    pub(super) fn start(
        pipes: Pipes,
        paths: &wire::RemotePaths,
        lock: &Lock,
        first: &Frame,
        round_trips: u32,
    ) -> Result<Self, SessionError> {
        let nonce = nonce().map_err(|error| SessionError::Unexpected(format!("no randomness: {error}")))?;
        let (to_node, queue) = mpsc::unbounded_channel();
        let mut session = Self {
            writer: tokio::spawn(beats::write(pipes.stdin, queue)),
            nonce,
            to_node,
            stdout: pipes.stdout,
            stderr: pipes.stderr,
            round_trips,
            sent: 0,
            broken: false,
            running: Running::Nothing.and(first),
            silent: false,
            run_id: match lock {
                Lock::Observe => None,
                Lock::Take(request) => Some(lock::word(&request.run_id)),
            },
        };
        let no_word = |nul: NulByte| SessionError::Unexpected(nul.to_string());
        let along = wire::along(first).map_err(no_word)?;
        let text = along.as_ref().map_or("", |text| text);
        session.send(Zeroizing::new(wire::bootstrap(&session.nonce, paths, text).map_err(no_word)?));
        session.send(Zeroizing::new(match lock {
            Lock::Observe => b"look\n".to_vec(),
            Lock::Take(request) => lock_command(request, 0),
        }));
        match along {
            Some(_) => session.send(Zeroizing::new(wire::RUN.to_vec())),
            None => frame_commands(first)?.into_iter().for_each(|command| session.send(command)),
        }
        Ok(session)
    }

    /// Reads the line that the login shell prints before it reads the loop, and the loop's own first mark.
    pub(super) async fn read_greeting(&mut self, limit: Duration) -> Result<Greeting, SessionError> {
        let deadline = Instant::now() + limit;
        let (before, words) = self.first_mark(deadline).await?;
        if let Some(missing) = words.strip_prefix("missing ") {
            return Err(SessionError::ProgramsMissing(missing.to_owned()));
        }
        let process = LoopProcess::parse(&words).ok_or_else(|| SessionError::Unexpected(excerpt(&words)))?;
        if self.stderr.next_mark(&self.nonce, deadline).await?.is_none() {
            return Err(self.ended().await);
        }
        let before = before.text();
        // A login shell may have said something first.
        let greeting = before.rsplit(GREETING).next().filter(|_| before.contains(GREETING));
        let mut words = greeting.unwrap_or_default().lines().next().unwrap_or_default().split_ascii_whitespace();
        let uid = words.next().and_then(|uid| uid.parse().ok()).ok_or_else(|| SessionError::Unexpected(excerpt(&before)))?;
        Ok(Greeting { uid, ssh_connection: Addresses::from_ssh_connection(&words.collect::<Vec<_>>().join(" ")), process })
    }

    /// Waits for the first mark of all, before which others than our shell may speak. They are heard out on both outputs.
    async fn first_mark(&mut self, deadline: Instant) -> Result<(Stream, String), SessionError> {
        loop {
            if let Some(mark) = self.stdout.take_mark(&self.nonce) {
                return Ok(mark);
            }
            greeted(&self.stdout.buffer)?;
            greeted(&self.stderr.buffer)?;
            let more = tokio::select! {
                more = self.stdout.fill() => more?,
                // Its end is no reason to stop: the login shell may have closed it.
                more = self.stderr.fill(), if !self.stderr.ended => { more?; true }
                () = sleep_until(deadline) => return Err(SessionError::TimedOut),
            };
            if !more {
                let ended = self.ended().await;
                greeted(&self.stderr.buffer)?;
                return Err(ended);
            }
        }
    }

    /// Reads the answer to [`Lock::Observe`]: who holds the node.
    pub(super) async fn read_lock_state(&mut self, limit: Duration) -> Result<Option<Holder>, SessionError> {
        let (_, words) = self.mark_from_stdout(Instant::now() + limit).await?;
        match lock::parse_answer(&words) {
            Some(lock::Answer::Held(holder)) => Ok(Some(holder)),
            Some(lock::Answer::Free) => Ok(None),
            Some(lock::Answer::Taken(_) | lock::Answer::Failed(_)) | None => Err(SessionError::Unexpected(excerpt(&words))),
        }
    }

    /// Reads the answer to [`Lock::Take`]. Waits for the lock if requested, and then sends the first frame again, which did not run.
    pub(super) async fn wait_for_lock(
        &mut self,
        request: &LockRequest,
        first: &Frame,
        limit: Duration,
        progress: Progress<'_>,
    ) -> Result<(), SessionError> {
        // If the time overflows, the wait has no limit.
        let give_up = Instant::now().checked_add(request.wait);
        let mut reported = None;
        loop {
            // The answer to the first try arrives with that of the first frame.
            self.round_trips += u32::from(reported.is_some());
            let (_, words) = self.mark_from_stdout(Instant::now() + limit).await?;
            let holder = match lock::parse_answer(&words) {
                Some(lock::Answer::Taken(ended)) => {
                    for job in &ended {
                        progress(&job.to_string());
                    }
                    break;
                }
                Some(lock::Answer::Held(holder)) => holder,
                Some(lock::Answer::Failed(why)) => return Err(SessionError::LockFailed(why)),
                Some(lock::Answer::Free) | None => return Err(SessionError::Unexpected(excerpt(&words))),
            };
            if give_up.is_some_and(|give_up| Instant::now() >= give_up) {
                return Err(SessionError::Held(holder));
            }
            if reported.as_ref() != Some(&holder) {
                let again = reported.as_ref().is_some_and(|before| before.to_string() == holder.to_string());
                match &holder.job {
                    Some(job) if again => progress(&format!("waiting for the job of {}: {}", holder.who, job.says)),
                    Some(_) | None => progress(&format!("waiting: {holder}")),
                }
                reported = Some(holder);
            }
            // The node waits a second at a time, so that it still notices when the link ends.
            self.send(Zeroizing::new(lock_command(request, 1)));
        }
        if reported.is_some() {
            // One for the first try and one for the last; the first frame is another.
            self.round_trips += 2;
            frame_commands(first)?.into_iter().for_each(|command| self.send(command));
        }
        Ok(())
    }

    /// Sends a frame and waits for its answer.
    pub(super) async fn run(&mut self, frame: &Frame, progress: Progress<'_>) -> Result<Vec<StepOutput>, SessionError> {
        if frame.steps.is_empty() {
            return Ok(Vec::new());
        }
        self.running = self.running.and(frame);
        frame_commands(frame)?.into_iter().for_each(|command| self.send(command));
        self.answer(frame, progress).await
    }

    /// Waits for the answer to a frame that was sent.
    pub(super) async fn answer(&mut self, frame: &Frame, progress: Progress<'_>) -> Result<Vec<StepOutput>, SessionError> {
        // If this future is dropped midway, half an answer stays in the pipes.
        let was_broken = std::mem::replace(&mut self.broken, true);
        if was_broken {
            return Err(SessionError::Ended("an earlier answer was not waited for".to_owned()));
        }
        let outputs = self.read_answer(frame, progress).await?;
        self.broken = false;
        if self.running == Running::Questions {
            self.running = Running::Nothing;
        }
        self.round_trips += 1;
        Ok(outputs)
    }

    async fn read_answer(&mut self, frame: &Frame, progress: Progress<'_>) -> Result<Vec<StepOutput>, SessionError> {
        let limits: Duration = frame.steps.iter().map(Step::longest).sum();
        // A slow link gets a second for each 10 kB.
        let sending = Duration::from_secs(
            frame.steps.iter().map(|step| step.input.len() + step.script.len()).sum::<usize>() as u64 / 10_000,
        );
        let deadline = Instant::now() + limits + sending + GRACE;
        let mut outputs: Vec<StepOutput> = Vec::new();
        let mut errors: Vec<Stream> = Vec::new();
        let (mut step_began, mut heard, mut looked) = (Instant::now(), Instant::now(), Instant::now());
        let mut apart = Apart::of(frame);
        let ended =
            |outputs: &[StepOutput]| outputs.len() == frame.steps.len() || outputs.last().is_some_and(|last| last.status != 0);
        loop {
            while !(ended(&outputs) && apart.stdout == Phase::Over)
                && let Some((stdout, words)) = self.stdout.take_mark(&self.nonce)
            {
                if apart.reads_stdout(&words) {
                    continue;
                }
                let Ok(status) = words.parse() else { return Err(self.ended_with(&words).await) };
                let timed_out = limit_passed(frame.steps[outputs.len()].limit, status, step_began.elapsed());
                outputs.push(StepOutput { status, stdout, stderr: Vec::new().into(), timed_out });
                step_began = Instant::now();
            }
            while let Some(taken) = self.stderr.take_mark_and_report(&self.nonce, |words| !apart.reads_stderr(words), progress) {
                if let Marked::Output(stderr) = taken {
                    errors.push(stderr);
                }
            }
            if let Some(process) = apart.all_arrived() {
                self.send(Zeroizing::new(format!("got {process}\n").into_bytes()));
            }
            if apart.stderr != Phase::Cutting {
                self.stderr.report_lines(progress);
            }
            let out_ended = ended(&outputs) && apart.stdout == Phase::Over;
            if out_ended && errors.len() >= outputs.len() && apart.stderr == Phase::Over {
                break;
            }
            let due = (looked + LOOK_INTERVAL).min(heard + SILENCE);
            let more = tokio::select! {
                // What has arrived counts, however late it is read.
                biased;
                more = self.stderr.fill() => more?,
                more = self.stdout.fill(), if !out_ended => more?,
                () = sleep_until(deadline) => return Err(SessionError::TimedOut),
                () = sleep_until(due) => {
                    looked = Instant::now();
                    if looked > due + LOOK_INTERVAL {
                        // Late: this process was stopped, and has not seen yet what has arrived meanwhile.
                        heard = looked;
                    } else if looked >= heard + SILENCE {
                        self.silent = true;
                        return Err(SessionError::Silent);
                    }
                    continue;
                }
            };
            heard = Instant::now();
            if !more {
                return Err(self.ended().await);
            }
        }
        for (output, stderr) in outputs.iter_mut().zip(errors) {
            output.stderr = stderr;
        }
        Ok(outputs)
    }

    /// Says goodbye and waits, within limits, until the node's shell has ended.
    pub(super) async fn end(mut self, limit: Duration) -> Ending {
        let clean = self.running == Running::Nothing;
        self.send(Zeroizing::new(if clean { &b"bye clean\n"[..] } else { b"bye\n" }.to_vec()));
        if self.silent {
            return Ending::Open;
        }
        let mut deadline = Instant::now() + limit;
        loop {
            if self.stdout.take_mark(&self.nonce).is_some_and(|(_, words)| words == "bye") {
                deadline = deadline.min(Instant::now() + Duration::from_secs(1));
            }
            match timeout_at(deadline, self.stdout.fill()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false) | Err(_)) => return Ending::Closed,
                Err(_) => return Ending::Open,
            }
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            round_trips: self.round_trips,
            bytes_sent: self.sent,
            bytes_received: self.stdout.received + self.stderr.received,
        }
    }

    fn send(&mut self, command: Zeroizing<Vec<u8>>) {
        self.sent += command.len() as u64;
        // The writer ends when the pipe is closed; the reader finds out why.
        let _ = self.to_node.send(command);
    }

    async fn mark_from_stdout(&mut self, deadline: Instant) -> Result<(Stream, String), SessionError> {
        match self.stdout.next_mark(&self.nonce, deadline).await? {
            Some(mark) => Ok(mark),
            None => Err(self.ended().await),
        }
    }

    /// Returns why a mark that is no answer came: the loop ends.
    async fn ended_with(&mut self, words: &str) -> SessionError {
        match words.strip_prefix("lost") {
            Some(line) => SessionError::TakenOver(lock::parse_new_holder(line)),
            None if words == "bye" => self.why_ended(true).await,
            None => SessionError::Unexpected(excerpt(words)),
        }
    }

    /// Returns why the output has ended, by the last marks and by what the node wrote to standard error before: the message of sudo or the login
    /// shell, or of a run that has taken the node over.
    async fn ended(&mut self) -> SessionError {
        self.why_ended(false).await
    }

    /// As [`Self::ended`]; `stopped` says whether the loop has said goodbye without being asked.
    async fn why_ended(&mut self, mut stopped: bool) -> SessionError {
        self.stderr.fill_for_a_moment().await;
        self.stdout.fill_for_a_moment().await;
        while let Some((_, words)) = self.stdout.take_mark(&self.nonce) {
            if let Some(line) = words.strip_prefix("lost") {
                return SessionError::TakenOver(lock::parse_new_holder(line));
            }
            stopped |= words == "bye";
        }
        let errors = self.stderr.buffer.text();
        match self.run_id.as_deref().and_then(|run_id| lock::parse_takeover(&errors, run_id)) {
            Some(holder) => SessionError::TakenOver(Some(holder)),
            None if stopped => SessionError::Stopped,
            None => SessionError::Ended(errors),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Closes the node's input, which ends everything that runs on the node.
        self.writer.abort();
    }
}

/// The beginning of the login shell's first line; the uid and `$SSH_CONNECTION` follow.
pub(super) const GREETING: &str = "autobot-provision-session ";

/// What a login shell and sudo may say before our shell's first word, in bytes.
pub(super) const MOST_GREETING: u64 = 64 << 10;

/// Fails when an output holds more than a greeting.
pub(super) fn greeted(buffer: &Buffer) -> Result<(), SessionError> {
    if buffer.arrived() > MOST_GREETING { Err(SessionError::Flooded) } else { Ok(()) }
}

fn frame_commands(frame: &Frame) -> Result<Vec<Zeroizing<Vec<u8>>>, SessionError> {
    if frame.steps.is_empty() {
        return Ok(Vec::new());
    }
    wire::frame(frame).map_err(|nul| SessionError::Unexpected(nul.to_string()))
}

fn lock_command(request: &LockRequest, seconds: u32) -> Vec<u8> {
    format!("lock {seconds} {}\n", lock::format_request(request)).into_bytes()
}

/// Returns whether `timeout` ended a step, in contrast to the step's own status 124. The measured time can be too short if the mark before
/// was delayed on the way.
fn limit_passed(limit: Duration, status: i32, took: Duration) -> bool {
    matches!(status, 124 | 137) && took + Duration::from_millis(300) >= limit
}

/// Returns the beginning of an unexpected text, for a message.
pub(super) fn excerpt(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        format!("`{}`", text.chars().take(200).collect::<String>().escape_debug())
    }
}
