//! Whole files, in either direction, beside a node's session: a channel of its own in the same connection, so that no frame's bound holds and
//! heartbeats go on.
//!
//! The channel's command is the session's, so sudo logs the same short line; the program (`bulk.sh`), the request and the data travel through
//! its standard input. Each direction holds a few pieces in memory, whatever the size of the file.

use std::{collections::VecDeque, fmt, io, sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    process::Child,
    time::{Instant, timeout},
};

use crate::{
    controller::Controller,
    script::quote,
    secret::nonce,
    values::{RemotePath, hex},
};

use super::{
    LinkError, Target, errors,
    kept::Budget,
    node,
    session::{LoopProcess, Pipes, SessionError, excerpt},
    ssh::Channels,
    sudo, wire,
};

/// The program on the node.
const PROGRAM: &str = include_str!("bulk.sh");

/// How long no byte may move. ssh itself gives up a link that is lost after 15 s.
pub(super) const STALL: Duration = Duration::from_secs(20);

/// The sizes of a piece that is sent. The node answers each, and two at most are under way: heartbeats wait behind them, and the node's loop
/// ends after 6 s without one. A link that becomes slow at once still carries the largest two in that time from 180 kB/s on.
const PIECES: std::ops::RangeInclusive<usize> = 32 * 1024..=512 * 1024;

/// The way to transfer files beside a session. It belongs to the session, and what runs on the node ends with that.
#[derive(Debug)]
pub struct Bulk {
    pub(super) target: Target,
    pub(super) paths: wire::RemotePaths,
    pub(super) session: LoopProcess,
    pub(super) way: Way,
    /// [`STALL`], except in tests.
    pub(super) stall: Duration,
}

/// How a command is started on the node.
#[derive(Debug)]
pub(super) enum Way {
    Ssh(Channels),
    Local(Arc<Controller>),
}

/// Called as a transfer goes on.
pub type OnMoved<'a> = &'a mut (dyn FnMut(Moved) + Send);

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The bytes that the receiver has, with those of earlier transfers.
    pub bytes: u64,
    /// The bytes of the whole file.
    pub total: u64,
}

/// A transfer that has ended well: both ends have the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transferred {
    /// The bytes of the whole file.
    pub total: u64,
    /// Those that went over the wire, without what the receiver had before.
    pub moved: u64,
}

/// The beginning of a file that its receiver has already, from a transfer that was cut.
#[derive(Debug, Clone, Default)]
pub struct Have {
    bytes: u64,
    digest: Sha256,
}

impl Have {
    /// Nothing yet.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Reads what an earlier transfer has written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(part: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Self> {
        let (mut have, mut buffer) = (Self::nothing(), vec![0; *PIECES.start()]);
        loop {
            match part.read(&mut buffer).await? {
                0 => return Ok(have),
                count => have.add(&buffer[..count]),
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.digest.update(bytes);
    }
}

/// Why a file was not transferred.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The node cannot be reached, or was lost. What the receiver has stays, and the next transfer goes on from there.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The node says why it cannot read or write the file.
    #[error("`{path}` on `{host}`: {detail}")]
    Node {
        /// The file.
        path: RemotePath,
        /// The host.
        host: String,
        /// The node's words.
        detail: String,
    },
    /// The two ends do not have the same bytes: the file is another one than when its transfer began. What was sent to a node is removed there.
    #[error(
        "`{path}` on `{host}` and what was transferred differ: the file has changed since its transfer began; transfer it again from its beginning"
    )]
    Differs {
        /// The file.
        path: RemotePath,
        /// The host.
        host: String,
    },
    /// This end of the transfer cannot be read or written.
    #[error("this end of the transfer of `{path}` on `{host}` cannot be {what}: {detail}")]
    Here {
        /// The file on the node.
        path: RemotePath,
        /// The host.
        host: String,
        /// `written` or `read`.
        what: &'static str,
        /// The system's words.
        detail: String,
    },
}

impl Bulk {
    /// Fetches the part of a file that the receiver does not have, and writes it to `receiver`. The whole file is compared at the end.
    ///
    /// # Errors
    /// When the file is missing or cannot be read, when it changes meanwhile, when the link is lost, or no byte has come for 20 s.
    pub async fn fetch(
        &self,
        path: &RemotePath,
        mut have: Have,
        receiver: &mut (impl AsyncWrite + Unpin + Send),
        on_moved: OnMoved<'_>,
    ) -> Result<Transferred, TransferError> {
        let mut transfer = self.begin(Verb::Fetch, path, have.bytes).await?;
        let (before, total) = (have.bytes, transfer.number("size", node::ANSWER_LIMIT).await?);
        while have.bytes < total {
            let piece = transfer.piece(total - have.bytes).await?;
            receiver.write_all(&piece).await.map_err(|error| transfer.here("written", &error))?;
            have.add(&piece);
            on_moved(Moved { bytes: have.bytes, total });
        }
        receiver.flush().await.map_err(|error| transfer.here("written", &error))?;
        let digest = transfer.mark("done", reading_limit(total)).await?;
        if digest == hex(&have.digest.finalize()) {
            Ok(Transferred { total, moved: total - before })
        } else {
            Err(transfer.differs())
        }
    }

    /// Sends the first `total` bytes of `source` to a file on the node, 0600, which is replaced when all of them are there and on disk. Until then
    /// they are in `.autobot-provision.NAME.part` beside it. What that holds from a transfer that was cut is read from `source`, but not sent.
    ///
    /// # Errors
    /// When the file cannot be written or does not fit, when the source is shorter, when the link is lost, or the node has taken no byte for 20 s.
    pub async fn send(
        &self,
        path: &RemotePath,
        total: u64,
        source: &mut (impl AsyncRead + Unpin + Send),
        on_moved: OnMoved<'_>,
    ) -> Result<Transferred, TransferError> {
        self.give(Verb::Send, path, total, source, on_moved).await
    }

    /// As [`Self::send`], to a directory that is made if need be, and that is removed with the session's lock. No digest is compared: the file is new,
    /// and ssh protects what it carries.
    pub(super) async fn stage(
        &self,
        path: &RemotePath,
        total: u64,
        source: &mut (impl AsyncRead + Unpin + Send),
        on_moved: OnMoved<'_>,
    ) -> Result<Transferred, TransferError> {
        self.give(Verb::Stage, path, total, source, on_moved).await
    }

    async fn give(
        &self,
        verb: Verb,
        path: &RemotePath,
        total: u64,
        source: &mut (impl AsyncRead + Unpin + Send),
        on_moved: OnMoved<'_>,
    ) -> Result<Transferred, TransferError> {
        let mut transfer = self.begin(verb, path, total).await?;
        let before = transfer.number("have", node::ANSWER_LIMIT).await?.min(total);
        let (mut read, mut buffer) = (0, vec![0; *PIECES.end()]);
        let mut digest = matches!(verb, Verb::Send).then(Sha256::new);
        let (mut size, mut under_way) = (*PIECES.start(), VecDeque::new());
        while read < total || !under_way.is_empty() {
            while read < total && under_way.len() < 2 {
                let end = if read < before { before } else { total };
                let piece = &mut buffer[..usize::try_from(end - read).map_or(size, |left| left.min(size))];
                source.read_exact(piece).await.map_err(|error| transfer.here("read", &error))?;
                if read >= before {
                    transfer.write(format!("{}\n", piece.len()).as_bytes()).await?;
                    transfer.write(piece).await?;
                    under_way.push_back(Instant::now());
                }
                read += piece.len() as u64;
                if let Some(digest) = &mut digest {
                    digest.update(&*piece);
                }
            }
            if let Some(sent) = under_way.pop_front() {
                let bytes = transfer.number("at", self.stall).await?;
                size = next_size(size, sent.elapsed());
                on_moved(Moved { bytes, total });
            }
        }
        let digest = digest.map_or_else(|| "-".to_owned(), |digest| hex(&digest.finalize()));
        transfer.write(format!("end {digest}\n").as_bytes()).await?;
        transfer.mark("done", reading_limit(total)).await?;
        Ok(Transferred { total, moved: total - before })
    }

    /// Opens the channel and starts the program. Nothing has been read yet.
    async fn begin<'a>(&'a self, verb: Verb, path: &'a RemotePath, number: u64) -> Result<Transfer<'a>, TransferError> {
        let here = |detail: String| LinkError::Here { detail };
        let nonce = nonce().map_err(|error| here(format!("no randomness: {error}")))?;
        let LoopProcess { pid, birth } = self.session;
        let quoted = quote(path.as_str()).map_err(|nul| here(nul.to_string()))?;
        let variables = format!("nonce={nonce} loop={pid} birth={birth} verb={verb} number={number} path={quoted}");
        let sudo = sudo::question(&self.target).map_err(here)?;
        let prompt = sudo.as_ref().map(|(prompt, _)| prompt);
        let (mut pipes, far_ends) = node::pipes(&Budget::new(0)).map_err(|error| here(format!("cannot make pipes: {error}")))?;
        let child = match &self.way {
            Way::Ssh(channels) => {
                let started = channels.start(&node::command(&self.target, &self.paths, prompt), far_ends).await;
                Running::Ssh(started.map_err(|error| errors::from_channel(&self.target, &error, &channels.log()))?)
            }
            Way::Local(controller) => Running::Local(
                node::spawn_locally(&self.target, &self.paths, prompt, far_ends, controller)
                    .map_err(|error| here(format!("cannot run `sh`: {error}")))?,
            ),
        };
        if let Some((prompt, password)) = &sudo {
            sudo::authenticate(&mut pipes, prompt, password, self.target.log_in_limit())
                .await
                .map_err(|failed| errors::from_sudo(&self.target, failed, &self.log()))?;
        }
        let mut transfer = Transfer { bulk: self, path, nonce, pipes, begun: false, _child: child };
        transfer.write(&wire::packed(&variables, PROGRAM)).await?;
        Ok(transfer)
    }

    fn log(&self) -> String {
        match &self.way {
            Way::Ssh(channels) => channels.log(),
            Way::Local(_) => String::new(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Fetch,
    Send,
    Stage,
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fetch => "fetch",
            Self::Send => "send",
            Self::Stage => "stage",
        })
    }
}

/// The command at the other end. When it is dropped, ssh closes the channel.
#[derive(Debug)]
#[expect(dead_code, reason = "only kept")]
enum Running {
    Ssh(openssh::Child<Arc<openssh::Session>>),
    Local(Child),
}

/// A transfer that goes on.
struct Transfer<'a> {
    bulk: &'a Bulk,
    path: &'a RemotePath,
    nonce: String,
    // Before the child, because fields are dropped in order: dropping them closes the program's input.
    pipes: Pipes,
    /// Whether the program has said something: before that, the login shell or sudo is the cause of a failure.
    begun: bool,
    _child: Running,
}

impl Transfer<'_> {
    /// Waits for the next mark, and returns what follows its first word.
    async fn mark(&mut self, word: &str, limit: Duration) -> Result<String, TransferError> {
        let marked = self.pipes.stdout.next_mark(&self.nonce, Instant::now() + limit).await;
        let Some((_, words)) = marked.map_err(|error| self.broken(error, limit))? else {
            return Err(self.ended().await);
        };
        self.begun = true;
        let (first, rest) = words.split_once(' ').unwrap_or((&words, ""));
        if first == word { Ok(rest.to_owned()) } else { Err(self.broken(SessionError::Unexpected(excerpt(&words)), limit)) }
    }

    async fn number(&mut self, word: &str, limit: Duration) -> Result<u64, TransferError> {
        let rest = self.mark(word, limit).await?;
        rest.parse().map_err(|_| self.broken(SessionError::Unexpected(excerpt(&rest)), limit))
    }

    /// Returns the next bytes of the file, `left` at most.
    async fn piece(&mut self, left: u64) -> Result<Vec<u8>, TransferError> {
        let output = &mut self.pipes.stdout;
        if output.buffer.bytes.is_empty() {
            match timeout(self.bulk.stall, output.fill()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false) | Err(_)) => return Err(self.ended().await),
                Err(_) => return Err(self.broken(SessionError::TimedOut, self.bulk.stall)),
            }
        }
        let bytes = &mut self.pipes.stdout.buffer.bytes;
        let after = bytes.split_off(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())));
        Ok(std::mem::replace(bytes, after))
    }

    /// Writes bytes to the program, however long it takes while they move.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), TransferError> {
        while !bytes.is_empty() {
            match timeout(self.bulk.stall, self.pipes.stdin.write(bytes)).await {
                Ok(Ok(count)) if count > 0 => bytes = &bytes[count..],
                Ok(Ok(_) | Err(_)) => return Err(self.ended().await),
                Err(_) => return Err(self.broken(SessionError::TimedOut, self.bulk.stall)),
            }
        }
        Ok(())
    }

    /// Returns why the program has ended: its own words, if it has left any.
    async fn ended(&mut self) -> TransferError {
        self.pipes.stderr.fill_for_a_moment().await;
        match self.pipes.stderr.take_mark(&self.nonce) {
            Some((_, words)) if words == "differs" => self.differs(),
            Some((_, words)) => {
                let detail = words.strip_prefix("failed ").unwrap_or(&words).to_owned();
                TransferError::Node { path: self.path.clone(), host: self.bulk.target.host.clone(), detail }
            }
            None => {
                let said = self.pipes.stderr.buffer.text();
                self.broken(SessionError::Ended(said), self.bulk.stall)
            }
        }
    }

    /// Returns the error of a transfer that has waited so long.
    fn broken(&self, error: SessionError, waited: Duration) -> TransferError {
        let (target, log) = (&self.bulk.target, self.bulk.log());
        TransferError::Link(match (self.begun, error) {
            (true, SessionError::TimedOut) => errors::stalled(target, waited),
            (true, error) => errors::from_broken(target, error, &log),
            (false, error) => errors::from_greeting(target, error, &log),
        })
    }

    fn differs(&self) -> TransferError {
        TransferError::Differs { path: self.path.clone(), host: self.bulk.target.host.clone() }
    }

    fn here(&self, what: &'static str, error: &io::Error) -> TransferError {
        let (path, host) = (self.path.clone(), self.bulk.target.host.clone());
        let short = error.kind() == io::ErrorKind::UnexpectedEof;
        let detail = if short { "it is shorter than declared".to_owned() } else { error.to_string() };
        TransferError::Here { path, host, what, detail }
    }
}

/// Returns how long a node may take to read a whole file, and to wait for its disk: 10 MB in a second.
fn reading_limit(total: u64) -> Duration {
    STALL + Duration::from_secs(total / 10_000_000)
}

/// Returns the size of the pieces to come: what a link carries in about a second.
fn next_size(size: usize, took: Duration) -> usize {
    let wanted = match took.as_millis() {
        ..500 => size * 2,
        500..=2000 => size,
        _ => size / 2,
    };
    wanted.clamp(*PIECES.start(), *PIECES.end())
}
