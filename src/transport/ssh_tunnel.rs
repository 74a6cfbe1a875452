//! Tunnels over ssh: sshd's own forwarding, or where sshd forbids that, a further session with a program on the node that connects to the port.
//!
//! Whether sshd forwards is known once it has refused the first connection. Nothing that was sent has reached the service then, so that the same
//! bytes can be sent in the other way.

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openssh::{ForwardType, Socket};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional},
    net::{UnixListener, UnixStream, unix::pipe},
    task::JoinSet,
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{
    script::quote,
    secret::{find, nonce},
};

use super::{Running, Tunnel, ssh::Channels, tunnel::socket, wire};

/// The program on the node. Our own command line starts it with [`READER`].
const PROGRAM: &str = include_str!("ssh_tunnel.sh");

/// All login shells read it; the program itself comes through standard input.
const READER: &str = "exec bash -c 'read -r n && eval \"$(head -c \"$n\")\"'";

/// How long the program may take to connect.
const READY: Duration = Duration::from_secs(15);

/// So much a login shell may say before the program.
const MOST_BEFORE: usize = 64 << 10;

/// So much is kept of what a client sends before the service has said its first word. ssh takes less before sshd has made the connection.
const MOST_KEPT: usize = 1 << 20;

/// Through an ssh connection. Its sockets and connections end with it.
#[derive(Debug)]
pub(super) struct SshTunnel {
    way: Arc<Way>,
    /// The sockets of this tunnel, in a directory of its own.
    own: OnceLock<TempDir>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the connections of a tunnel share.
#[derive(Debug)]
struct Way {
    channels: Channels,
    /// The connection's own directory, 0700.
    directory: PathBuf,
    /// Whether sshd forwards nothing.
    forbidden: AtomicBool,
    /// Why the other way does not lead to the port either.
    shut: Mutex<Option<String>>,
}

/// How a connection through sshd's forwarding has ended.
enum Forwarded {
    Done,
    /// Before it began; with what the client has sent.
    Forbidden(Zeroizing<Vec<u8>>),
}

impl SshTunnel {
    pub(super) fn new(channels: Channels, directory: PathBuf) -> Self {
        let way = Way { channels, directory, forbidden: AtomicBool::new(false), shut: Mutex::new(None) };
        Self { way: Arc::new(way), own: OnceLock::new(), tasks: Mutex::default() }
    }
}

impl Tunnel for SshTunnel {
    fn open<'a>(&'a self, host: &'a str, port: u16) -> Running<'a, PathBuf> {
        Box::pin(async move {
            if self.own.get().is_none() {
                let made = tempfile::Builder::new().prefix("t").rand_bytes(4).tempdir_in(&self.way.directory);
                let _ = self.own.set(made.map_err(|error| format!("cannot make a directory: {error}"))?);
            }
            let own = self.own.get().ok_or("cannot make a directory")?;
            let near = socket(own.path(), host, port)?;
            if near.exists() {
                return Ok(near);
            }
            let far = self.way.forward(host, port).await?;
            let listener =
                UnixListener::bind(&near).map_err(|error| format!("cannot listen on `{}`: {error}", near.display()))?;
            let (way, host) = (Arc::clone(&self.way), host.to_owned());
            let accept = async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let (way, host, far) = (Arc::clone(&way), host.clone(), far.clone());
                    connections.spawn(async move { way.carry(client, &host, port, &far).await });
                }
            };
            self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(accept);
            Ok(near)
        })
    }

    fn shut(&self) -> Option<String> {
        self.way.shut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Way {
    /// Has ssh forward a socket of its own to the port, and returns the socket's path.
    async fn forward(&self, host: &str, port: u16) -> Result<PathBuf, String> {
        let path = socket(&self.directory, host, port)?;
        if !path.exists() {
            let remote = Socket::TcpSocket { host: host.to_owned().into(), port };
            let local = Socket::UnixSocket { path: path.clone().into() };
            let forwarded = self.channels.session.request_port_forward(ForwardType::Local, local, remote).await;
            forwarded.map_err(|error| format!("ssh does not forward to {host}:{port}: {error}"))?;
        }
        Ok(path)
    }

    /// Carries one connection of a client. This is the one place where the way is chosen.
    async fn carry(&self, mut client: UnixStream, host: &str, port: u16, forwarded: &PathBuf) {
        let mut sent = Zeroizing::new(Vec::new());
        if !self.forbidden.load(Ordering::Relaxed) {
            match self.through_sshd(&mut client, forwarded).await {
                Forwarded::Done => return,
                Forwarded::Forbidden(kept) => sent = kept,
            }
            self.forbidden.store(true, Ordering::Relaxed);
        }
        if let Err(why) = self.through_a_session(&mut client, host, port, &sent).await {
            let shut = format!(
                "the node's sshd forbids this connection to forward ports (see AllowTcpForwarding, PermitOpen and DisableForwarding there, and \
                 `restrict` before the key), and the way through a further session is shut, too: {why}"
            );
            // Before the client sees the end of its connection.
            *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = Some(shut);
        }
    }

    async fn through_sshd(&self, client: &mut UnixStream, forwarded: &PathBuf) -> Forwarded {
        let log = self.channels.log.length();
        let mut sent = Zeroizing::new(Vec::with_capacity(MOST_KEPT / 64));
        let Ok(mut far) = UnixStream::connect(forwarded).await else { return Forwarded::Done };
        let (mut from_client, mut from_far) = (Zeroizing::new(vec![0; 16 << 10]), vec![0; 16 << 10]);
        let mut client_sends = true;
        // Until the service has said something, or has hung up.
        let first = loop {
            if sent.len() >= MOST_KEPT {
                break 0;
            }
            tokio::select! {
                count = far.read(&mut from_far) => match count {
                    Ok(count) if count > 0 => break count,
                    Ok(_) | Err(_) if self.channels.log.forbids_forwarding(log) => return Forwarded::Forbidden(sent),
                    Ok(_) | Err(_) => return Forwarded::Done,
                },
                count = client.read(&mut from_client), if client_sends => match count {
                    Ok(count) if count > 0 => {
                        sent.extend_from_slice(&from_client[..count]);
                        // Where this fails, reading says why.
                        let _ = far.write_all(&from_client[..count]).await;
                    }
                    Ok(_) | Err(_) => {
                        client_sends = false;
                        let _ = far.shutdown().await;
                    }
                },
            }
        };
        drop(sent);
        // Either side may hang up at any time; the client decides what that means.
        if client.write_all(&from_far[..first]).await.is_ok() {
            let _ = copy_bidirectional(client, &mut far).await;
        }
        Forwarded::Done
    }

    /// Carries a connection through a program on the node. The error says why that is not possible; a port that is closed is none.
    async fn through_a_session(&self, client: &mut UnixStream, host: &str, port: u16, sent: &[u8]) -> Result<(), String> {
        let nonce = nonce().map_err(|error| format!("no randomness: {error}"))?;
        let quoted = quote(host).map_err(|nul| nul.to_string())?;
        let program = wire::program(&format!("nonce={nonce} host={quoted} port={port}"), PROGRAM);
        let Pipes { mut stdin, mut stdout, mut stderr, far_ends } =
            Pipes::new().map_err(|error| format!("cannot make pipes: {error}"))?;
        let started = self.channels.start(READER, far_ends).await;
        let _child = started.map_err(|error| format!("sshd opens no further session (see MaxSessions there): {error}"))?;
        let mut before = Vec::new();
        let ready = async {
            stdin.write_all(&program).await.ok()?;
            first_word(&mut stdout, &nonce, &mut before).await
        };
        let word = timeout(READY, ready).await.map_err(|_| format!("it says nothing for {} s", READY.as_secs()))?;
        if word.as_deref() != Some("ready") {
            let said = errors(&mut stderr).await;
            // Words of bash: its own, where it has tried to connect.
            let is_closed = word.as_deref() == Some("refused") && said.contains("connect: ");
            let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it ends without a word");
            return if is_closed {
                Ok(())
            } else {
                Err(format!("it needs bash on the node: {}", crate::values::shortened(last)))
            };
        }
        let (mut from_client, mut to_client) = client.split();
        let up = async {
            if stdin.write_all(sent).await.is_ok() {
                let _ = copy(&mut from_client, &mut stdin).await;
            }
            drop(stdin);
        };
        let down = async {
            if to_client.write_all(&before).await.is_ok() {
                let _ = copy(&mut stdout, &mut to_client).await;
            }
            let _ = to_client.shutdown().await;
        };
        tokio::join!(up, down);
        Ok(())
    }
}

/// Reads up to the program's own line, and returns its word; `None` where the output ends before it. `after` gets what has already come after it.
async fn first_word(stdout: &mut (impl AsyncRead + Unpin), nonce: &str, after: &mut Vec<u8>) -> Option<String> {
    let mark = format!("\n{nonce} ");
    while after.len() < MOST_BEFORE {
        if let Some(at) = find(after, mark.as_bytes())
            && let Some(length) = after[at + mark.len()..].iter().position(|byte| *byte == b'\n')
        {
            let rest = after.split_off(at + mark.len() + length + 1);
            let word = String::from_utf8_lossy(&after[at + mark.len()..at + mark.len() + length]).into_owned();
            *after = rest;
            return Some(word);
        }
        if !matches!(stdout.read_buf(after).await, Ok(count) if count > 0) {
            return None;
        }
    }
    None
}

/// Returns what was written to standard error, without waiting long for more.
async fn errors(stderr: &mut pipe::Receiver) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(Duration::from_secs(1), stderr.take(MOST_BEFORE as u64).read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Our ends of the program's pipes, and the far ones.
struct Pipes {
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
    far_ends: [OwnedFd; 3],
}

impl Pipes {
    fn new() -> std::io::Result<Self> {
        let ((stdin, far_stdin), (far_stdout, stdout), (far_stderr, stderr)) = (pipe::pipe()?, pipe::pipe()?, pipe::pipe()?);
        let far_ends = [far_stdin.into_blocking_fd()?, far_stdout.into_blocking_fd()?, far_stderr.into_blocking_fd()?];
        Ok(Self { stdin, stdout, stderr, far_ends })
    }
}
