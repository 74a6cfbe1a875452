//! Tunnels through a node's connection to its ports, for checks that log in as a client would.

use std::{
    fs::Permissions,
    future::Future,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::OnceLock,
};

use tempfile::TempDir;
use tokio::net::{TcpStream, UnixListener};

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

    /// Returns why no port of the node can be reached, though its services may run, if an attempt has shown that.
    fn shut(&self) -> Option<String> {
        None
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
pub(super) fn socket(directory: &Path, host: &str, port: u16) -> Result<PathBuf, String> {
    let sanitize = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let directory = directory.join(host.chars().map(sanitize).collect::<String>());
    let created =
        std::fs::create_dir_all(&directory).and_then(|()| std::fs::set_permissions(&directory, Permissions::from_mode(0o700)));
    created.map_err(|error| format!("cannot make `{}`: {error}", directory.display()))?;
    Ok(directory.join(format!(".s.PGSQL.{port}")))
}
