//! A connection through the operator's own OpenSSH client: one master, one remote command.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom},
    num::NonZeroU64,
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use openssh::{Child, Session};
use rand::RngExt as _;
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{Instant, timeout},
};

use crate::{controller::Controller, values::Addresses};

use super::{HostKeys, LinkError, Progress, Target, errors, session::Ending, tunnel::SshTunnel};

/// How long an idle master outlives a run that was killed.
const IDLE_SECONDS: u64 = 10;

/// How long a server that drops connections before the login is tried again.
const BUSY_LIMIT: Duration = Duration::from_mins(1);
/// So much of ssh's log is read.
const MOST_LOG: u64 = 64 << 10;

/// Messages when a server has too many unfinished logins (sshd's `MaxStartups`), or when its TCP stack resets the connection.
const BUSY: [&str; 3] = [
    "Connection closed by remote host",
    "kex_exchange_identification: Connection closed",
    "kex_exchange_identification: read: Connection reset",
];

/// A connection and the command that runs at its other end.
#[derive(Debug)]
pub(super) struct Connected {
    session: Arc<Session>,
    child: Option<Child<Arc<Session>>>,
    log: Box<Path>,
    /// For the `ssh` that closes the connection.
    controller: Arc<Controller>,
    /// Removed when the last connection of the run is gone.
    _directory: Arc<TempDir>,
}

/// Runs commands at the other end of a connection, each in a channel of its own.
#[derive(Debug)]
pub(super) struct Channels {
    session: Arc<Session>,
    log: Box<Path>,
}

impl Channels {
    /// Starts a remote command on these pipes.
    pub(super) async fn start(&self, command: &str, pipes: [OwnedFd; 3]) -> Result<Child<Arc<Session>>, openssh::Error> {
        let [stdin, stdout, stderr] = pipes;
        let mut remote = Session::to_raw_command(self.session.clone(), command);
        remote.stdin(openssh::Stdio::from(stdin)).stdout(openssh::Stdio::from(stdout)).stderr(openssh::Stdio::from(stderr));
        remote.spawn().await
    }

    /// Returns what ssh has written to its log, for errors.
    pub(super) fn log(&self) -> String {
        read_log(&self.log).trim().to_owned()
    }
}

/// Logs in. The connection has its own directory in the run's, with its control socket, ssh's log and its configuration.
///
/// A server that drops the connection before the login is tried again for [`BUSY_LIMIT`]: where fifty runs begin at once, each gets in.
pub(super) async fn connect(
    target: &Target,
    directory: Arc<TempDir>,
    controller: &Arc<Controller>,
    progress: Progress<'_>,
) -> Result<Connected, LinkError> {
    let mut retries = 0;
    let give_up = Instant::now() + BUSY_LIMIT;
    loop {
        match log_in(target, &directory, controller).await {
            Ok(connected) => return Ok(connected),
            Err(LoginError::Ssh(log)) if Instant::now() < give_up && BUSY.iter().any(|text| log.contains(text)) => {
                retries += 1;
                let pause = rand::rng().random_range(200..=1000) * retries.min(5);
                tracing::debug!(host = target.name, pause, "sshd is busy, trying again");
                if retries == 1 {
                    progress(&format!("sshd drops the connection before the login: trying again for {} s", BUSY_LIMIT.as_secs()));
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Err(LoginError::Here(detail)) => return Err(LinkError::Here { detail }),
            Err(LoginError::Ssh(log)) => return Err(errors::from_ssh(target, &log)),
        }
    }
}

/// Why a log-in failed.
enum LoginError {
    /// This machine cannot try.
    Here(String),
    /// ssh failed; this is its log.
    Ssh(String),
}

/// Tries once.
async fn log_in(target: &Target, run_directory: &Arc<TempDir>, controller: &Arc<Controller>) -> Result<Connected, LoginError> {
    let here = LoginError::Here;
    let directory = tempfile::Builder::new()
        .prefix("c")
        .rand_bytes(6)
        .tempdir_in(run_directory.path())
        .map_err(|error| here(format!("cannot make a directory in `{}`: {error}", run_directory.path().display())))?;
    let (configuration, log) = (directory.path().join("config"), directory.path().join("log"));
    fs::write(&configuration, configuration_text(target).map_err(here)?)
        .map_err(|error| here(format!("cannot write ssh's configuration: {error}")))?;
    let mut ssh = Command::from(controller.command("ssh"));
    ssh.args(arguments(target, directory.path()));
    // Killed if the run is interrupted here. After the login, ssh goes to the background and is reached by its socket.
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).env_remove("SSH_ASKPASS");
    let mut child = ssh.spawn().map_err(|error| here(format!("cannot run `ssh`: {error}")))?;
    // ConnectTimeout is for the connection and the banner; a server may also stop answering after that.
    let limit = target.log_in_limit();
    let Ok(status) = timeout(limit, child.wait()).await else {
        return Err(LoginError::Ssh(format!("Connection timed out: the log-in took longer than {} s", limit.as_secs())));
    };
    let status = status.map_err(|error| here(format!("cannot wait for `ssh`: {error}")))?;
    if !status.success() {
        return Err(LoginError::Ssh(read_log(&log)));
    }
    Ok(Connected {
        session: Arc::new(Session::new_native_mux(directory)),
        child: None,
        log: log.into_boxed_path(),
        controller: Arc::clone(controller),
        _directory: run_directory.clone(),
    })
}

/// Returns the end of ssh's log, in which the node may have its say.
fn read_log(path: &Path) -> String {
    let read = || {
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(MOST_LOG)))?;
        let mut bytes = Vec::new();
        file.take(MOST_LOG).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// Returns the arguments that apply to this host only. The other options are in the configuration, which a `ProxyJump`'s ssh reads, too.
fn arguments(target: &Target, directory: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["-M", "-f", "-N", "-F"].map(OsString::from).to_vec();
    let mut option = |name: &str, value: OsString| {
        if !name.is_empty() {
            arguments.push(name.into());
        }
        arguments.push(value);
    };
    option("", directory.join("config").into());
    option("-E", directory.join("log").into());
    option("-S", directory.join("master").into());
    option("-o", format!("ControlPersist={IDLE_SECONDS}s").into());
    if let Some(port) = target.port {
        option("-p", port.to_string().into());
    }
    if let Some(user) = &target.user {
        option("-l", user.into());
    }
    if let Some(identity) = &target.identity {
        option("-o", "IdentitiesOnly=yes".into());
        option("-i", identity.into());
    }
    for (keyword, value) in &target.arguments.options {
        option("-o", format!("{keyword}={value}").into());
    }
    // A host that begins with a dash is not an option.
    option("--", (&target.host).into());
    arguments
}

/// Returns our options first, because ssh takes the first value of each, and then includes the operator's files, which `-F` would turn off.
fn configuration_text(target: &Target) -> Result<String, String> {
    let checking = match target.host_keys {
        HostKeys::Strict => "yes",
        HostKeys::AcceptNew => "accept-new",
    };
    let connect_timeout = NonZeroU64::new(target.connect_timeout.as_secs()).map_or(1, NonZeroU64::get);
    let mut text = format!(
        "Host *\n  LogLevel ERROR\n  BatchMode yes\n  RequestTTY no\n  RemoteCommand none\n  SessionType default\n  ClearAllForwardings yes\n  \
         ForwardAgent no\n  ForwardX11 no\n  PermitLocalCommand no\n  ServerAliveInterval 5\n  ServerAliveCountMax 3\n  \
         ConnectTimeout {connect_timeout}\n  StrictHostKeyChecking {checking}\n"
    );
    if let Some(known_hosts) = &target.known_hosts {
        let _ = writeln!(text, "  UserKnownHostsFile {}", quoted(known_hosts)?);
        text.push_str("  GlobalKnownHostsFile none\n");
    }
    match &target.arguments.config {
        Some(configuration) => {
            let _ = writeln!(text, "Include {}", quoted(configuration)?);
        }
        None => text.push_str("Include ~/.ssh/config\nInclude /etc/ssh/ssh_config\n"),
    }
    Ok(text)
}

/// Quotes a path for `ssh_config(5)`, in which `%` begins a token.
fn quoted(path: &Path) -> Result<String, String> {
    let text = path.to_str().filter(|text| !text.contains(['"', '\\', '\n', '$']));
    let text = text.ok_or_else(|| format!("the path `{}` cannot be written in an ssh configuration", path.display()))?;
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

impl Connected {
    /// Starts the remote command on these pipes.
    pub(super) async fn start(&mut self, command: &str, pipes: [OwnedFd; 3]) -> Result<(), openssh::Error> {
        self.child = Some(self.channels().start(command, pipes).await?);
        Ok(())
    }

    /// Returns the way to further channels in this connection.
    pub(super) fn channels(&self) -> Channels {
        Channels { session: self.session.clone(), log: self.log.clone() }
    }

    /// Returns the way through this connection to the ports of the node.
    pub(super) fn tunnel(&self, ends: Option<&Addresses>) -> SshTunnel {
        let directory = self.log.parent().unwrap_or(Path::new("/")).to_owned();
        let sshd = ends.map(|ends| (ends.server_ip, ends.server_port));
        SshTunnel { session: self.session.clone(), directory, sshd }
    }

    /// Returns what ssh has written to its log, for errors.
    pub(super) fn log(&self) -> String {
        self.channels().log()
    }

    /// Ends the master. It does not close while something holds the remote command's pipes; then it gets the command to exit.
    pub(super) async fn close(mut self, remote: Ending, limit: Duration) {
        match (remote, self.child.take()) {
            (Ending::Closed, child) => {
                if let Some(child) = child {
                    let _ = timeout(limit, child.wait()).await;
                }
                match Arc::try_unwrap(self.session) {
                    Ok(session) => drop(timeout(limit, session.close()).await),
                    // A transfer or a tunnel still holds it.
                    Err(session) => exit_master(&self.controller, &session, limit).await,
                }
            }
            (Ending::Open, _) => exit_master(&self.controller, &self.session, limit).await,
        }
    }
}

/// Tells the master to exit, whatever it still carries.
async fn exit_master(controller: &Controller, session: &openssh::Session, limit: Duration) {
    let mut exit = Command::from(controller.command("ssh"));
    exit.args(["-F", "none", "-O", "exit", "-S"]).arg(session.control_socket()).args(["--", "node"]);
    exit.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let _ = timeout(limit, exit.status()).await;
}
