//! Tunnels through a node's connection to its ports, for checks that log in as a client would.

use std::{
    fs::Permissions,
    future::Future,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use openssh::{ForwardType, Session, Socket};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpStream, UnixListener, UnixStream},
    time::timeout,
};

/// A future of a trait object; the error is for the user.
pub type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// A way to the ports of a node.
pub trait Tunnel: Send + Sync {
    /// Forwards a Unix socket on the controller to `host`:`port` as seen from the node, and returns the socket's path.
    ///
    /// The socket lies in a directory that no other user may enter, and is named `.s.PGSQL.<port>`, because PostgreSQL's clients choose the name
    /// themselves. It stays until the connection is closed.
    ///
    /// # Errors
    /// Returns why the port cannot be forwarded, for the user.
    fn open<'a>(&'a self, host: &'a str, port: u16) -> Running<'a, PathBuf>;

    /// Returns whether the node lets nothing through, as far as that can be found out. Asked when something did not work.
    ///
    /// # Errors
    /// Returns why that cannot be found out, for the user.
    fn is_forbidden(&self) -> Running<'_, bool> {
        Box::pin(async { Ok(false) })
    }
}

/// How long the node's sshd may take to greet.
const GREETING: Duration = Duration::from_secs(5);

/// Through an ssh connection.
#[derive(Debug)]
pub(super) struct SshTunnel {
    pub(super) session: Arc<Session>,
    /// The connection's own directory, 0700.
    pub(super) directory: PathBuf,
    /// Where the node's sshd listens, as the node sees it.
    pub(super) sshd: Option<(IpAddr, u16)>,
}

impl Tunnel for SshTunnel {
    fn is_forbidden(&self) -> Running<'_, bool> {
        Box::pin(async move {
            let Some((address, port)) = self.sshd else { return Ok(false) };
            let socket = self.open(&address.to_string(), port).await?;
            let greeting = async {
                let mut stream = UnixStream::connect(socket).await?;
                stream.read(&mut [0; 4]).await
            };
            // sshd itself does listen there.
            Ok(matches!(timeout(GREETING, greeting).await, Ok(Ok(0) | Err(_))))
        })
    }

    fn open<'a>(&'a self, host: &'a str, port: u16) -> Running<'a, PathBuf> {
        Box::pin(async move {
            let socket = socket(&self.directory, host, port)?;
            if !socket.exists() {
                let remote = Socket::TcpSocket { host: host.to_owned().into(), port };
                let local = Socket::UnixSocket { path: socket.clone().into() };
                let forwarded = self.session.request_port_forward(ForwardType::Local, local, remote).await;
                forwarded.map_err(|error| format!("ssh does not forward to {host}:{port}: {error}"))?;
            }
            Ok(socket)
        })
    }
}

/// On this machine: the same socket, whose data we copy to and from the port.
#[derive(Debug)]
pub(super) struct LocalTunnel {
    /// Where the directory of the sockets is made.
    temporary: PathBuf,
    /// Created when it is first needed, and removed with the tunnel.
    directory: OnceLock<TempDir>,
}

impl LocalTunnel {
    pub(super) fn new(temporary: PathBuf) -> Self {
        Self { temporary, directory: OnceLock::new() }
    }
}

impl Tunnel for LocalTunnel {
    fn open<'a>(&'a self, host: &'a str, port: u16) -> Running<'a, PathBuf> {
        Box::pin(async move {
            if self.directory.get().is_none() {
                let directory =
                    tempfile::tempdir_in(&self.temporary).map_err(|error| format!("cannot make a directory: {error}"))?;
                let _ = self.directory.set(directory);
            }
            let directory = self.directory.get().ok_or("cannot make a directory")?;
            let socket = socket(directory.path(), host, port)?;
            if socket.exists() {
                return Ok(socket);
            }
            let listener =
                UnixListener::bind(&socket).map_err(|error| format!("cannot listen on `{}`: {error}", socket.display()))?;
            let host = host.to_owned();
            tokio::spawn(async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    let host = host.clone();
                    tokio::spawn(async move {
                        if let Ok(mut far) = TcpStream::connect((host.as_str(), port)).await {
                            // Either side may hang up at any time; the exercise decides what that means.
                            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                        }
                    });
                }
            });
            Ok(socket)
        })
    }
}

/// Returns the path of the socket for a host and port, in a private directory for each host.
fn socket(directory: &Path, host: &str, port: u16) -> Result<PathBuf, String> {
    let sanitize = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let directory = directory.join(host.chars().map(sanitize).collect::<String>());
    let created =
        std::fs::create_dir_all(&directory).and_then(|()| std::fs::set_permissions(&directory, Permissions::from_mode(0o700)));
    created.map_err(|error| format!("cannot make `{}`: {error}", directory.display()))?;
    Ok(directory.join(format!(".s.PGSQL.{port}")))
}
