//! Serves files to a lab's members over HTTP, from this process or from a separate one that outlives it.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use super::{command::Programs, file_server, network::LabNetwork, processes, state::LabState};

/// How long the server may take to start listening.
const START_LIMIT: Duration = Duration::from_secs(10);

/// The process in which the server runs.
#[derive(Debug, Clone, Copy)]
pub enum FileServer<'a> {
    /// In this process, until the [`Publication`] is dropped.
    Within,
    /// In a separate process, until the lab goes down: this command with its arguments, to which the directory and the address
    /// (`198.18.N.1:PORT`) are appended. It must pass these to [`serve`](super::serve).
    Detached(&'a [String]),
}

/// Files that a lab's members can fetch.
#[derive(Debug)]
pub struct Publication {
    /// The base URL, without a trailing slash: `http://198.18.N.1:PORT`.
    pub url: String,
    /// Dropping this stops the server, if it runs in this process.
    _stop: Option<oneshot::Sender<()>>,
}

pub(super) fn url(network: &LabNetwork, port: u16) -> String {
    format!("http://{}", SocketAddr::from((network.host(), port)))
}

/// Links `site` into the directory of the lab's server, and starts the server unless it is running.
pub(super) fn publish(
    programs: &Programs,
    directory: &Path,
    state: &mut LabState,
    network: &LabNetwork,
    site: &Path,
    server: FileServer<'_>,
) -> Result<Publication> {
    let root = directory.join("www");
    let partial = directory.join("www.partial");
    // Replaced atomically, so that every request finds files.
    drop(fs::remove_file(&partial));
    symlink(site, &partial)
        .and_then(|()| fs::rename(&partial, &root))
        .with_context(|| format!("cannot link `{}`", root.display()))?;
    if state.port == 0 {
        let free = TcpListener::bind((network.host(), 0)).and_then(|listener| listener.local_addr());
        state.port = free.with_context(|| format!("cannot listen on `{}`", network.host()))?.port();
        state.write(directory)?;
    }
    let address = SocketAddr::from((network.host(), state.port));
    let stop = match server {
        _ if TcpStream::connect(address).is_ok() => None,
        FileServer::Within => Some(start_within(root, address)?),
        FileServer::Detached(command) => {
            start_detached(programs, command, directory, &root, address)?;
            None
        }
    };
    processes::wait_for("the lab's file server", START_LIMIT, || TcpStream::connect(address).ok())?;
    Ok(Publication { url: url(network, state.port), _stop: stop })
}

/// Stops the lab's server, if it is a separate process.
pub(super) fn end(programs: &Programs, network: &LabNetwork, port: u16) -> Result<()> {
    let address = SocketAddr::from((network.host(), port)).to_string();
    processes::end(programs, "the lab's file server", || processes::with_argument(&address))
}

fn start_within(root: PathBuf, address: SocketAddr) -> Result<oneshot::Sender<()>> {
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the file server")?;
    // A separate thread, so that callers need no runtime.
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                result = file_server::serve(root, address) => result,
                _ = stopped => Ok(()),
            }
        })
    });
    Ok(stop)
}

fn start_detached(programs: &Programs, command: &[String], directory: &Path, root: &Path, address: SocketAddr) -> Result<()> {
    let log = directory.join("server.log");
    let log = fs::File::create(&log).with_context(|| format!("cannot create `{}`", log.display()))?;
    let mut child = programs
        .process("setsid")
        .args(command)
        .arg(root)
        .arg(address.to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start the lab's file server")?;
    thread::spawn(move || child.wait());
    Ok(())
}
