//! A connection through the operator's own OpenSSH client: one master, one remote command.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom},
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

use crate::controller::Controller;

use super::{
    LinkError, Progress, Target,
    login_errors::{self, Asked, LoginLog},
    persist::Place,
    session::Ending,
    ssh_config::{configuration_text, connection_directory, own_arguments},
    ssh_tunnel::SshTunnel,
    ssh_words::{self, Resolved},
};

/// How long an idle master outlives a run that was killed.
const IDLE_SECONDS: u64 = 10;

/// How long a server that drops connections before the login is tried again.
const BUSY_LIMIT: Duration = Duration::from_mins(1);
/// So much of ssh's log is read.
const MOST_LOG: u64 = 64 << 10;

/// A connection and the command that runs at its other end.
#[derive(Debug)]
pub(super) struct Connected {
    session: Arc<Session>,
    child: Option<Child<Arc<Session>>>,
    log: Log,
    /// For the `ssh` that closes the connection.
    controller: Arc<Controller>,
    /// Where it stays for the next run.
    place: Option<Place>,
    /// Removed when the last connection of the run is gone.
    _directory: Arc<TempDir>,
}

/// Runs commands at the other end of a connection, each in a channel of its own.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) session: Arc<Session>,
    pub(super) log: Log,
}

/// What ssh writes after the login.
#[derive(Debug, Clone)]
pub(super) struct Log {
    path: Box<Path>,
    /// Where it began when the login was done.
    since: u64,
}

impl Log {
    /// Returns what it says of the link.
    fn of_link(&self) -> String {
        ssh_words::of_link(&read_log(&self.path, self.since))
    }

    /// Returns its length.
    pub(super) fn length(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |log| log.len())
    }

    /// Whether, since it had this length, sshd has said that it forwards nothing.
    pub(super) fn forbids_forwarding(&self, since: u64) -> bool {
        ssh_words::forbids_forwarding(&read_log(&self.path, since))
    }
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
        self.log.of_link()
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
    let (mut retries, mut has_listened) = (0, false);
    let give_up = Instant::now() + BUSY_LIMIT;
    loop {
        let mut tried = log_in(target, &directory, controller).await;
        if let Err(LoginError::Ssh(log)) = &mut tried
            && log.is_cut()
            && !std::mem::replace(&mut has_listened, true)
        {
            log.beside.push_str(&said_on_the_way(target, &directory, controller).await.unwrap_or_default());
        }
        match tried {
            Ok(connected) => return Ok(connected),
            Err(LoginError::Ssh(log)) if Instant::now() < give_up && log.is_busy() => {
                retries += 1;
                let pause = rand::rng().random_range(200..=1000) * retries.min(5);
                tracing::debug!(host = target.name, pause, "sshd is busy, trying again");
                if retries == 1 {
                    progress(&format!("sshd drops the connection before the login: trying again for {} s", BUSY_LIMIT.as_secs()));
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Err(LoginError::Here(detail)) => return Err(LinkError::Here { detail }),
            Err(LoginError::Ssh(log)) => return Err(explained(target, &log, &directory, controller).await),
        }
    }
}

/// Why a log-in failed.
enum LoginError {
    /// This machine cannot try.
    Here(String),
    /// ssh failed; this is what was written.
    Ssh(LoginLog),
}

/// Tries once.
async fn log_in(target: &Target, run_directory: &Arc<TempDir>, controller: &Arc<Controller>) -> Result<Connected, LoginError> {
    let here = LoginError::Here;
    let directory = connection_directory(run_directory.path())
        .map_err(|error| here(format!("cannot make a directory in `{}`: {error}", run_directory.path().display())))?;
    let (configuration, log) = (directory.path().join("config"), directory.path().join("log"));
    fs::write(&configuration, configuration_text(target).map_err(here)?)
        .map_err(|error| here(format!("cannot write ssh's configuration: {error}")))?;
    let beside = directory.path().join("beside");
    let beside_file = fs::File::create(&beside).map_err(|error| here(format!("cannot make ssh's log: {error}")))?;
    let mut ssh = Command::from(controller.command("ssh"));
    ssh.args(arguments(target, directory.path()));
    // Killed if the run is interrupted here. After the login, ssh goes to the background and is reached by its socket.
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(beside_file).kill_on_drop(true).env_remove("SSH_ASKPASS");
    let mut child = ssh.spawn().map_err(|error| here(format!("cannot run `ssh`: {error}")))?;
    // ConnectTimeout is for the connection and the banner; a server may also stop answering after that.
    let limit = target.log_in_limit();
    let said = || LoginLog { ssh: read_log(&log, 0), beside: read_log(&beside, 0) };
    let Ok(status) = timeout(limit, child.wait()).await else {
        let mut said = said();
        let _ = writeln!(said.ssh, "\nConnection timed out: the log-in took longer than {} s", limit.as_secs());
        return Err(LoginError::Ssh(said));
    };
    let status = status.map_err(|error| here(format!("cannot wait for `ssh`: {error}")))?;
    if !status.success() {
        return Err(LoginError::Ssh(said()));
    }
    let since = fs::metadata(&log).map_or(0, |log| log.len());
    Ok(Connected {
        session: Arc::new(Session::new_native_mux(directory)),
        child: None,
        log: Log { path: log.into_boxed_path(), since },
        controller: Arc::clone(controller),
        // After the login, which may have added the node's key to the known ones.
        place: run_directory.path().parent().and_then(|base| Place::of(target, base, controller)),
        _directory: run_directory.clone(),
    })
}

/// Takes a connection over that an earlier run has left. Whether it still leads to the node shows when a command is started.
pub(super) fn take_over(target: &Target, run_directory: &Arc<TempDir>, controller: &Arc<Controller>) -> Option<Connected> {
    let place = Place::of(target, run_directory.path().parent()?, controller)?;
    let directory = place.take(run_directory.path())?;
    let path = directory.path().join("log").into_boxed_path();
    let since = fs::metadata(&path).map_or(0, |log| log.len());
    Some(Connected {
        session: Arc::new(Session::new_native_mux(directory)),
        child: None,
        log: Log { path, since },
        controller: Arc::clone(controller),
        place: Some(place),
        _directory: run_directory.clone(),
    })
}

/// Returns what ssh and the programs that it goes through have said, as an error.
async fn explained(target: &Target, log: &LoginLog, run_directory: &TempDir, controller: &Controller) -> LinkError {
    let asked = ask_ssh(target, log, run_directory, controller).await.unwrap_or_default();
    login_errors::from_login(target, log, &asked)
}

/// Returns what the programs say through which ssh goes to the node, if it goes through any. With `ControlPersist` ssh lets them say nothing, so it
/// goes there once more, without logging in.
async fn said_on_the_way(target: &Target, run_directory: &TempDir, controller: &Controller) -> Option<String> {
    let (directory, configuration) = question(target, run_directory)?;
    let mut resolved = vec!["-G".into(), "-F".into(), configuration.clone()];
    resolved.extend(own_arguments(target));
    if !Resolved::parse(&output(controller, "ssh", resolved).await?).has_proxy() {
        return None;
    }
    let beside = directory.path().join("beside");
    // A program that closes its output before it has spoken is ended by ssh, perhaps before it could.
    for _ in 0..3 {
        listen(target, controller, &configuration, &beside).await?;
        let said = read_log(&beside, 0);
        if !said.trim().is_empty() {
            return Some(said);
        }
    }
    None
}

/// Goes the way to the node without logging in. What the programs say that it goes through is written to a file.
async fn listen(target: &Target, controller: &Controller, configuration: &OsString, beside: &Path) -> Option<()> {
    let mut ssh = Command::from(controller.command("ssh"));
    ssh.args([
        "-N",
        "-S",
        "none",
        "-o",
        "ControlPersist=no",
        "-o",
        "PreferredAuthentications=none",
        "-o",
        "PubkeyAuthentication=no",
    ]);
    ssh.arg("-F").arg(configuration).args(["-E", "/dev/null"]).args(own_arguments(target));
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(beside).ok()?).kill_on_drop(true);
    let _ = timeout(target.log_in_limit(), ssh.status()).await;
    Some(())
}

/// Returns a directory with the configuration for a question to ssh.
fn question(target: &Target, run_directory: &TempDir) -> Option<(TempDir, OsString)> {
    let directory = tempfile::Builder::new().prefix("g").tempdir_in(run_directory.path()).ok()?;
    let configuration = directory.path().join("config");
    fs::write(&configuration, configuration_text(target).ok()?).ok()?;
    Some((directory, configuration.into_os_string()))
}

/// Asks ssh which host, which files and which way its whole configuration stands for.
async fn ask_ssh(target: &Target, log: &LoginLog, run_directory: &TempDir, controller: &Controller) -> Option<Asked> {
    let (_directory, configuration) = question(target, run_directory)?;
    let mut resolved = vec!["-G".into(), "-F".into(), configuration.clone()];
    resolved.extend(own_arguments(target));
    let node = Resolved::parse(&output(controller, "ssh", resolved).await?);
    let jump = match node.jump_hosts.as_slice() {
        [one] if log.is_on_the_way(&node) => {
            let mut resolved = vec!["-G".into(), "-F".into(), configuration];
            resolved.extend(login_errors::as_arguments(one).into_iter().map(OsString::from));
            output(controller, "ssh", resolved).await.map(|text| Resolved::parse(&text))
        }
        _ => None,
    };
    let mut revoked = None;
    let whose = jump.as_ref().unwrap_or(&node);
    if let Some(name) = whose.key_name().filter(|_| log.asks_for_revoking_file()) {
        for file in &whose.known_hosts {
            let path = controller.expand(Path::new(file)).into_os_string();
            let found = output(controller, "ssh-keygen", vec!["-F".into(), name.clone().into(), "-f".into(), path]).await;
            if let Some(line) = found.as_deref().and_then(ssh_words::revoking_line) {
                revoked = Some(format!("{file}, line {line}"));
                break;
            }
        }
    }
    Some(Asked { node, jump, revoked })
}

/// Runs a program of ssh that contacts nothing.
async fn output(controller: &Controller, program: &str, arguments: Vec<OsString>) -> Option<String> {
    let mut command = Command::from(controller.command(program));
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = timeout(Duration::from_secs(10), command.output()).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the end of ssh's log after its first bytes. The node may have its say in it.
fn read_log(path: &Path, since: u64) -> String {
    let read = || {
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(MOST_LOG).max(since)))?;
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
    let idle = if target.persist.is_zero() { IDLE_SECONDS } else { target.persist.as_secs() };
    option("-o", format!("ControlPersist={idle}s").into());
    arguments.extend(own_arguments(target));
    arguments
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
    pub(super) fn tunnel(&self) -> SshTunnel {
        let directory = self.log.path.parent().unwrap_or(Path::new("/")).to_owned();
        SshTunnel::new(self.channels(), directory)
    }

    /// Returns what ssh has written to its log, for errors.
    pub(super) fn log(&self) -> String {
        self.channels().log()
    }

    /// Ends the master. It does not close while something holds the remote command's pipes; then it gets the command to exit.
    pub(super) async fn close(mut self, remote: Ending, limit: Duration) {
        match (remote, self.child.take()) {
            (Ending::Closed, child) => {
                let mut has_ended = true;
                if let Some(child) = child {
                    has_ended = timeout(limit, child.wait()).await.is_ok();
                }
                match Arc::try_unwrap(self.session) {
                    Ok(session) => {
                        let place = self.place.filter(|_| has_ended);
                        drop(timeout(limit, part(session, place.as_ref())).await);
                    }
                    // A transfer or a tunnel still holds it.
                    Err(session) => exit_master(&self.controller, &session, limit).await,
                }
            }
            (Ending::Open, _) => exit_master(&self.controller, &self.session, limit).await,
        }
    }
}

/// Leaves the connection to the next run, or closes it.
async fn part(session: Session, place: Option<&Place>) {
    let Some(place) = place else { return drop(session.close().await) };
    let socket = session.control_socket().to_owned();
    let Some(directory) = socket.parent() else { return drop(session.close().await) };
    if let Err(error) = place.keep(directory) {
        tracing::debug!(%error, "the connection is not kept");
        return drop(session.close().await);
    }
    // Nothing is left to close or to remove here.
    let _moved = session.detach();
}

/// Tells the master to exit, whatever it still carries.
async fn exit_master(controller: &Controller, session: &openssh::Session, limit: Duration) {
    let mut exit = Command::from(controller.command("ssh"));
    exit.args(["-F", "none", "-O", "exit", "-S"]).arg(session.control_socket()).args(["--", "node"]);
    exit.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let _ = timeout(limit, exit.status()).await;
}
