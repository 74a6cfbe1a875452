//! A connected node: the session with its shell, and the connection that carries it.

use std::{os::fd::OwnedFd, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    net::unix::pipe,
    process::{Child, Command},
    sync::{OnceCell, Semaphore},
    time::{Instant, timeout},
};

use crate::{controller::Controller, values::Addresses};

use super::{
    Channel, ConnectionMethod, Frame, Holder, LinkError, Lock, Progress, StepOutput, Target, Traffic, Tunnel,
    bulk::{self, Bulk, Way},
    control, errors,
    kept::Budget,
    output::Output,
    session::{Ending, GREETING, Greeting, LoopProcess, Pipes, Session, SessionError},
    slots::{Fork, Slots, Waits},
    ssh::{self, Connected},
    staged::{self, Staged},
    sudo::{self, Prompt, READY},
    tunnel::LocalTunnel,
    wire::RemotePaths,
};

/// How long a node may take from the login to the first output of its shell: PAM, a slow profile, sudo's look-up in a directory service.
const GREETING_LIMIT: Duration = Duration::from_secs(10);

/// How long a node may take for an answer that needs no work.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long a node may take to start a command in a connection that was kept. After that, the run logs in.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(3);

/// How long the remote shell may take to end. It gives processes that still run 1.5 s.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(4);

/// Opens connections to nodes, not too many at once through one server. One per run.
#[derive(Debug)]
pub struct Transport {
    pub(super) slots: Slots,
    /// How many hosts may be worked on at once, if that is limited.
    pub(super) forks: Option<Arc<Semaphore>>,
    /// Where the run's directory may be, the best first.
    bases: Vec<PathBuf>,
    directory: OnceCell<Arc<TempDir>>,
    pub(super) paths: RemotePaths,
    pub(super) controller: Arc<Controller>,
    /// What the outputs of all its nodes may take together.
    pub(super) budget: Budget,
}

impl Transport {
    /// At most `at_once` logins happen at any time through one gateway, or to one sshd without a gateway. That does not limit how many connections are open.
    #[must_use]
    pub fn new(at_once: usize, controller: Arc<Controller>) -> Self {
        Self {
            slots: Slots::new(at_once),
            forks: None,
            bases: control::bases(&controller),
            directory: OnceCell::new(),
            paths: RemotePaths::default(),
            controller,
            budget: Budget::default(),
        }
    }

    /// Sets another directory for ssh's control sockets than `$XDG_RUNTIME_DIR`, `/run/user/UID`, `~/.ssh` or `/tmp`. A socket's path may have at most 107 bytes.
    #[must_use]
    pub fn with_control_base(self, base: impl Into<PathBuf>) -> Self {
        Self { bases: vec![base.into()], ..self }
    }

    /// Sets the semaphore whose permits allow to work on a host. [`Transport::connect_in_fork`] lends one while a host does not answer.
    #[must_use]
    pub fn sharing(self, forks: Arc<Semaphore>) -> Self {
        Self { forks: Some(forks), ..self }
    }

    /// As [`Transport::connect`], by who has one of the permits: while the host does not answer, another one may begin in its place. Before the first
    /// frame, this one then waits until the permit is free again. `waits` gets the time for which it waits for others.
    ///
    /// # Errors
    /// As for [`Transport::connect`].
    pub async fn connect_in_fork(
        &self,
        target: &Target,
        lock: Lock,
        first: Frame,
        progress: Progress<'_>,
        waits: &Waits,
    ) -> Result<(NodeShell, Welcome), LinkError> {
        let fork = self.forks.as_ref().map(|forks| Fork { forks, waits });
        self.connect_with(target, lock, first, progress, fork).await
    }

    /// Connects to a node, takes or reads its lock, and runs the first frame, all in one round trip.
    ///
    /// While the run waits for the lock, `progress` is also called with its holder.
    ///
    /// # Errors
    /// When the node cannot be reached, root's shell cannot be had, or the lock is held by another run ([`LinkError::Held`]).
    pub async fn connect(
        &self,
        target: &Target,
        lock: Lock,
        first: Frame,
        progress: Progress<'_>,
    ) -> Result<(NodeShell, Welcome), LinkError> {
        self.connect_with(target, lock, first, progress, None).await
    }

    async fn connect_with(
        &self,
        target: &Target,
        lock: Lock,
        first: Frame,
        progress: Progress<'_>,
        fork: Option<Fork<'_>>,
    ) -> Result<(NodeShell, Welcome), LinkError> {
        let here = |detail: String| LinkError::Here { detail };
        let (pipes, far_ends) = pipes(&self.budget).map_err(|error| here(format!("cannot make pipes: {error}")))?;
        let (mut login, mut logged_in) = (Duration::ZERO, Instant::now());
        let sudo = sudo::question(target).map_err(here)?;
        let prompt = sudo.as_ref().map(|(prompt, _)| prompt);
        let (link, opening) = match target.connection {
            ConnectionMethod::Local => {
                let child = spawn_locally(target, &self.paths, prompt, far_ends, &self.controller)
                    .map_err(|error| here(format!("cannot run `sh`: {error}")))?;
                (Link::Local(child), self.open(target, pipes, sudo.is_some(), &lock, &first)?)
            }
            ConnectionMethod::Ssh => {
                if let Some((connected, opening)) = self.take_over(target, prompt, &lock, &first).await? {
                    (Link::Ssh(connected), opening)
                } else {
                    let mut connected;
                    (connected, login) = self.log_in(target, progress, fork).await?;
                    logged_in = Instant::now();
                    // Written before the command runs, so that it travels right behind the request to start it.
                    let opening = self.open(target, pipes, sudo.is_some(), &lock, &first)?;
                    let started = connected.start(&command(target, &self.paths, prompt), far_ends).await;
                    if let Err(error) = started {
                        let detail = [error.to_string(), connected.log()].join(" ").trim().to_owned();
                        connected.close(Ending::Open, CLOSE_LIMIT).await;
                        return Err(LinkError::LoginShell { host: target.host.clone(), detail });
                    }
                    (Link::Ssh(connected), opening)
                }
            }
        };
        let mut session = match (opening, &sudo) {
            (Opening::Waiting(mut pipes), Some((prompt, password))) => {
                match sudo::authenticate(&mut pipes, prompt, password, target.log_in_limit()).await {
                    Ok(round_trips) => self.start(target, pipes, &lock, &first, round_trips)?,
                    Err(failed) => {
                        let log = link.log();
                        // sudo reads the end of its input, and ends.
                        drop(pipes);
                        link.close(Ending::Open).await;
                        return Err(errors::from_sudo(target, failed, &log));
                    }
                }
            }
            (Opening::Waiting(pipes), None) => self.start(target, pipes, &lock, &first, 0)?,
            (Opening::Started(session), _) => session,
        };
        let before = logged_in.elapsed();
        match welcome(target, &mut session, &lock, &first, progress).await {
            Ok((mut welcome, process)) => {
                welcome.times = Times { login, shell: welcome.times.shell + before, ..welcome.times };
                let (paths, controller) = (self.paths.clone(), Arc::clone(&self.controller));
                Ok((
                    NodeShell { target: target.clone(), process, session, link, paths, controller, staged: Staged::default() },
                    welcome,
                ))
            }
            Err(error) => {
                let log = link.log();
                link.close(session.end(CLOSE_LIMIT).await).await;
                Err(error.into_link_error(target, &log))
            }
        }
    }

    /// Begins a session over a connection that an earlier run has left. None if there is none that still leads to the node: nothing was sent then.
    async fn take_over(
        &self,
        target: &Target,
        prompt: Option<&Prompt>,
        lock: &Lock,
        first: &Frame,
    ) -> Result<Option<(Connected, Opening)>, LinkError> {
        if target.persist.is_zero() {
            return Ok(None);
        }
        let directory = self.directory().await?;
        while let Some(mut connected) = ssh::take_over(target, &directory, &self.controller) {
            let here = |error| LinkError::Here { detail: format!("cannot make pipes: {error}") };
            let (pipes, far_ends) = pipes(&self.budget).map_err(here)?;
            // A node that was switched off does not answer, and the master knows that after 15 s only.
            let started = timeout(TAKE_OVER_LIMIT, connected.start(&command(target, &self.paths, prompt), far_ends)).await;
            if matches!(started, Ok(Ok(()))) {
                return Ok(Some((connected, self.open(target, pipes, prompt.is_some(), lock, first)?)));
            }
            tracing::debug!(host = target.name, "a kept connection no longer leads to the node");
            connected.close(Ending::Open, CLOSE_LIMIT).await;
        }
        Ok(None)
    }

    /// Starts the session at once, unless sudo may ask for a password: sudo would read what is sent before as the password.
    fn open(&self, target: &Target, pipes: Pipes, waits: bool, lock: &Lock, first: &Frame) -> Result<Opening, LinkError> {
        if waits { Ok(Opening::Waiting(pipes)) } else { self.start(target, pipes, lock, first, 0).map(Opening::Started) }
    }

    fn start(&self, target: &Target, pipes: Pipes, lock: &Lock, first: &Frame, round_trips: u32) -> Result<Session, LinkError> {
        Session::start(pipes, &self.paths, lock, first, round_trips).map_err(|error| errors::from_broken(target, error, ""))
    }

    pub(super) async fn directory(&self) -> Result<Arc<TempDir>, LinkError> {
        let open = || async {
            control::open_one(&self.bases).await.map(Arc::new).map_err(|reasons| LinkError::Here {
                detail: format!("cannot make a directory for ssh's control sockets in {reasons}"),
            })
        };
        self.directory.get_or_try_init(open).await.cloned()
    }
}

/// The beginning of a session.
enum Opening {
    Started(Session),
    /// Nothing was sent yet.
    Waiting(Pipes),
}

/// When a session failed: before the shell's first output, or after it.
enum StartError {
    Greeting(SessionError),
    Later(SessionError),
}

impl StartError {
    fn into_link_error(self, target: &Target, log: &str) -> LinkError {
        match self {
            Self::Greeting(error) => errors::from_greeting(target, error, log),
            Self::Later(error) => errors::from_broken(target, error, log),
        }
    }
}

async fn welcome(
    target: &Target,
    session: &mut Session,
    lock: &Lock,
    first: &Frame,
    progress: Progress<'_>,
) -> Result<(Welcome, LoopProcess), StartError> {
    let began = Instant::now();
    let Greeting { uid, ssh_connection, process } = session.read_greeting(GREETING_LIMIT).await.map_err(StartError::Greeting)?;
    let shell = began.elapsed();
    let holder = match lock {
        Lock::Observe => session.read_lock_state(ANSWER_LIMIT).await.map_err(StartError::Later)?,
        Lock::Take(request) => {
            session.wait_for_lock(request, first, ANSWER_LIMIT, progress).await.map_err(StartError::Later)?;
            None
        }
    };
    let outputs = session.answer(first, progress).await.map_err(StartError::Later)?;
    let times = Times { login: Duration::ZERO, shell, first_frame: began.elapsed().saturating_sub(shell) };
    Ok((Welcome { uid: if target.become_root { 0 } else { uid }, ssh_connection, holder, outputs, times }, process))
}

/// How long the parts of a session's beginning took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// The login, without the wait for other logins. Zero with `connection: local`.
    pub login: Duration,
    /// From the login to the first output of the session's shell, with sudo if it is needed.
    pub shell: Duration,
    /// From then to the answer of the first frame, with the wait for the lock.
    pub first_frame: Duration,
}

/// What a node reports when a session begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The uid of the shell; 0 is root.
    pub uid: u32,
    /// The two ends of the ssh connection as the node sees them. None with `connection: local`.
    pub ssh_connection: Option<Addresses>,
    /// With [`Lock::Observe`]: who holds the node.
    pub holder: Option<Holder>,
    /// The outputs of the first frame.
    pub outputs: Vec<StepOutput>,
    /// How long the parts of the beginning took.
    pub times: Times,
}

/// A connected node: one shell, which is root's if the target says so.
#[derive(Debug)]
pub struct NodeShell {
    target: Target,
    /// The session's.
    process: LoopProcess,
    // Before the link, because fields are dropped in order: dropping it closes the shell's input.
    pub(super) session: Session,
    pub(super) link: Link,
    paths: RemotePaths,
    controller: Arc<Controller>,
    staged: Staged,
}

impl NodeShell {
    /// Returns the way to transfer files beside this session, whatever it does meanwhile. What is transferred when the session ends is cut.
    #[must_use]
    pub fn bulk(&self) -> Bulk {
        let way = match &self.link {
            Link::Ssh(connected) => Way::Ssh(connected.channels()),
            Link::Local(_) => Way::Local(Arc::clone(&self.controller)),
        };
        Bulk { target: self.target.clone(), paths: self.paths.clone(), session: self.process, way, stall: bulk::STALL }
    }
}

#[derive(Debug)]
pub(super) enum Link {
    Ssh(Connected),
    Local(Child),
}

impl Link {
    fn log(&self) -> String {
        match self {
            Self::Ssh(connected) => connected.log(),
            Self::Local(_) => String::new(),
        }
    }

    async fn close(self, session: Ending) {
        match self {
            Self::Ssh(connected) => connected.close(session, CLOSE_LIMIT).await,
            Self::Local(mut child) => {
                let _ = timeout(CLOSE_LIMIT, child.wait()).await;
            }
        }
    }
}

impl Channel for NodeShell {
    async fn run(&mut self, mut frame: Frame, progress: Progress<'_>) -> Result<Vec<StepOutput>, LinkError> {
        tracing::debug!(host = self.target.name, ?frame, "running");
        let staged = staged::stage(self, &self.paths.lock_directory, &mut frame, progress).await;
        self.staged.files += staged.files;
        self.staged.bytes += staged.bytes;
        let outputs = match self.session.run(&frame, progress).await {
            Ok(outputs) => outputs,
            Err(error) => {
                // The master writes why it lost the connection just as it closes our pipes.
                return Err(errors::from_broken(&self.target, error, &self.link.log()));
            }
        };
        tracing::debug!(host = self.target.name, ?outputs, "ran");
        Ok(outputs)
    }

    fn traffic(&self) -> Traffic {
        let session = self.session.traffic();
        Traffic {
            round_trips: session.round_trips + self.staged.files,
            bytes_sent: session.bytes_sent + self.staged.bytes,
            ..session
        }
    }

    fn tunnel(&self) -> Box<dyn Tunnel> {
        match &self.link {
            Link::Ssh(connected) => Box::new(connected.tunnel()),
            Link::Local(_) => Box::new(LocalTunnel::new(self.controller.temporary.clone())),
        }
    }

    async fn close(self) {
        self.link.close(self.session.end(CLOSE_LIMIT).await).await;
    }
}

/// Returns our ends, and the far ends for the shell: input, output, errors.
pub(super) fn pipes(budget: &Budget) -> std::io::Result<(Pipes, [OwnedFd; 3])> {
    let ((stdin, far_stdin), (far_stdout, stdout), (far_stderr, stderr)) = (pipe::pipe()?, pipe::pipe()?, pipe::pipe()?);
    let far_ends = [far_stdin.into_blocking_fd()?, far_stdout.into_blocking_fd()?, far_stderr.into_blocking_fd()?];
    Ok((Pipes { stdin, stdout: Output::new(stdout, budget), stderr: Output::new(stderr, budget) }, far_ends))
}

/// The second argument of [`login_command`]. The loop itself comes through standard input, so that sudo's log line stays short and constant;
/// `read` and `head` read no byte beyond it.
const READER: &str = "read -r n && eval \"$(head -c \"$n\" | gzip -dc)\"";

/// Returns what the login's `/bin/sh` runs: it greets and becomes root's shell in a new session. `$0` is [`root_command`].
fn login_command(target: &Target, shell: &str, prompt: Option<&Prompt>) -> String {
    let own_session = format!("setsid -w {shell} -c \"$0\"");
    // The effective user, without a process where the kernel says it.
    let user = "while read -r k r u x; do [ \"$k\" = Uid: ] && break; done </proc/self/status; [ \"$k\" = Uid: ] || u=$(id -u)";
    let hello = format!("{user}; echo \"{GREETING}$u $SSH_CONNECTION\"");
    // With `-k` no cached answer counts, so a run behaves the same every time. The messages that are recognized are English.
    let sudo = match prompt {
        None => "exec sudo -n".to_owned(),
        Some(prompt) => format!("export LC_ALL=C; exec sudo -k -S -p {}", prompt.argument()),
    };
    if target.become_root {
        format!("{hello}; [ \"$u\" = 0 ] && exec {own_session}; {sudo} -- {own_session}")
    } else {
        format!("{hello}; exec {own_session}")
    }
}

/// Returns what root's shell runs. If sudo may ask for a password, the shell reports that sudo is done before it reads anything.
fn root_command(prompt: Option<&Prompt>) -> String {
    match prompt {
        None => READER.to_owned(),
        Some(_) => format!("echo {READY}; {READER}"),
    }
}

/// Returns the remote command. All login shells must read it, even fish and csh: one line, no `!`, backslash or quote inside a quote.
pub(super) fn command(target: &Target, paths: &RemotePaths, prompt: Option<&Prompt>) -> String {
    format!("exec /bin/sh -c '{}' '{}'", login_command(target, &paths.shell, prompt), root_command(prompt))
}

pub(super) fn spawn_locally(
    target: &Target,
    paths: &RemotePaths,
    prompt: Option<&Prompt>,
    far_ends: [OwnedFd; 3],
    controller: &Controller,
) -> std::io::Result<Child> {
    let [stdin, stdout, stderr] = far_ends;
    Command::from(controller.command("/bin/sh"))
        .args(["-c", &login_command(target, &paths.shell, prompt), &root_command(prompt)])
        // The variable belongs to the operator's own login here, not to this session.
        .env_remove("SSH_CONNECTION")
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_shells_of_all_kinds_read_the_command_alike() {
        let prompt = Prompt::new().unwrap();
        for (become_root, prompt) in [(true, None), (true, Some(&prompt)), (false, None)] {
            let target = Target { become_root, ..Target::new("node", "node") };
            let command = command(&target, &RemotePaths::default(), prompt);
            // fish and csh differ from sh in these, even between single quotes.
            assert!(!command.contains(['!', '\\', '\n']), "{command}");
            assert_eq!(command.matches('\'').count(), 4, "{command}");
            // A login shell that shows its commands must not be taken for sudo that asks.
            assert!(prompt.is_none_or(|prompt| !command.contains(&prompt.text())), "{command}");
        }
        let without = command(&Target::new("node", "node"), &RemotePaths::default(), None);
        insta::assert_snapshot!(
            without,
            @r#"exec /bin/sh -c 'while read -r k r u x; do [ "$k" = Uid: ] && break; done </proc/self/status; [ "$k" = Uid: ] || u=$(id -u); echo "autobot-provision-session $u $SSH_CONNECTION"; [ "$u" = 0 ] && exec setsid -w /bin/sh -c "$0"; exec sudo -n -- setsid -w /bin/sh -c "$0"' 'read -r n && eval "$(head -c "$n" | gzip -dc)"'"#
        );
    }

    #[test]
    fn nodes_and_connections_can_move_between_threads() {
        fn can_move<T: Send>(_: T) {}
        let (transport, target) = (Transport::new(1, Arc::default()), Target::local("here"));
        can_move(transport.connect(&target, Lock::Observe, Frame::default(), &mut |_| {}));
        can_move(|mut node: NodeShell| async move { node.run(Frame::default(), &mut |_| {}).await.map(|_| node) });
    }
}
