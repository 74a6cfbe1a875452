//! The loop over real ssh, to a private sshd on a loopback port.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    pin::pin,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::{
    super::{
        Channel, Frame, HostKeys, LinkError, Lock, NodeShell, SshArguments, Target, Transport, Waits, Welcome, control,
        login::PATIENCE,
    },
    processes, quick, run, run_until_line, unique_duration, until, with_argument,
};

const SSHD: &str = "/usr/sbin/sshd";

/// An sshd of our own. It accepts one key, for the user who runs the tests.
pub(super) struct Server {
    directory: TempDir,
    pub(super) port: u16,
    child: Child,
}

impl Server {
    pub(super) async fn start(configuration: &str) -> Self {
        assert!(Path::new(SSHD).exists(), "these tests need {SSHD}: install openssh-server");
        // sshd needs it, and here no service manager creates it.
        fs::create_dir_all("/run/sshd").unwrap();
        let directory = tempfile::tempdir().unwrap();
        for key in ["host", "key", "other"] {
            let generated =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.path().join(key)).status();
            assert!(generated.unwrap().success());
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let path = directory.path().display();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {path}/host\nAuthorizedKeysFile {path}/key.pub\nStrictModes no\n\
             PidFile none\nUsePAM no\nMaxStartups 100\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n{configuration}\n"
        );
        fs::write(directory.path().join("sshd_config"), text).unwrap();
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(directory.path().join("sshd_config"))
            .stderr(fs::File::create(directory.path().join("sshd.log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self { directory, port, child };
        server.remember("known_hosts", "host");
        until("sshd listens", Duration::from_secs(10), || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()).await;
        server
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a `known_hosts` file with this key for the server.
    pub(super) fn remember(&self, file: &str, key: &str) {
        let key = fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
        fs::write(self.path(file), format!("[127.0.0.1]:{} {key}", self.port)).unwrap();
    }

    pub(super) fn target(&self) -> Target {
        Target {
            port: Some(self.port),
            identity: Some(self.path("key")),
            known_hosts: Some(self.path("known_hosts")),
            // The configuration of the person who runs the tests must have no influence.
            arguments: SshArguments::parse("-F none").unwrap(),
            ..Target::new("node", "127.0.0.1")
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a transport with its own directory for control sockets.
pub(super) fn transport() -> (Transport, TempDir) {
    let base = tempfile::tempdir_in("/tmp").unwrap();
    (Transport::new(5, std::sync::Arc::default()).with_control_base(base.path()), base)
}

pub(super) async fn connect(transport: &Transport, target: &Target, first: Frame) -> Result<(NodeShell, Welcome), LinkError> {
    transport.connect(target, Lock::Observe, first, &mut |_| {}).await
}

/// Returns the number of ssh masters whose sockets are below this directory.
fn masters(base: &Path) -> usize {
    let base = base.to_str().unwrap().to_owned();
    processes(move |argument| argument.contains(&base))
}

#[tokio::test]
async fn one_connection_runs_frames_and_leaves_nothing() {
    let server = Server::start("").await;
    let (transport, base) = transport();
    let (mut node, welcome) = connect(&transport, &server.target(), quick("echo first").into()).await.unwrap();
    assert_eq!(welcome.outputs[0].stdout, b"first\n");
    let ends = welcome.ssh_connection.unwrap();
    assert_eq!(
        (ends.client_ip, ends.server_ip, ends.server_port),
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into(), server.port)
    );
    assert_eq!(node.traffic().round_trips, 1);
    assert_eq!(run(&mut node, quick("exit 255")).await[0].status, 255);
    assert_eq!(masters(base.path()), 1);
    let mode = fs::metadata(fs::read_dir(base.path()).unwrap().next().unwrap().unwrap().path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    node.close().await;
    until("the master ends", Duration::from_secs(2), || masters(base.path()) == 0).await;
    drop(transport);
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_host_that_is_silent_lends_its_permit_and_waits_for_it_before_the_first_frame() {
    let server = Server::start("").await;
    let gate = server.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    // A way that stays silent until the gate opens.
    let way = format!("cat {} && exec 3<>/dev/tcp/127.0.0.1/{} && {{ cat <&3 & cat >&3; }}", gate.display(), server.port);
    fs::write(server.path("way"), way).unwrap();
    let arguments = format!("-F none -o 'ProxyCommand=bash {}'", server.path("way").display());
    let target = Target { arguments: SshArguments::parse(&arguments).unwrap(), ..server.target() };
    // The host itself has the only permit.
    let forks = Arc::new(Semaphore::new(0));
    let (transport, _base) = transport();
    let transport = transport.sharing(Arc::clone(&forks));
    let (mut progress, waits, began) = (|_: &str| {}, Waits::default(), Instant::now());
    let mut connecting =
        pin!(transport.connect_in_fork(&target, Lock::Observe, quick("echo first").into(), &mut progress, &waits));
    let other = tokio::select! {
        permit = forks.acquire() => permit.unwrap(),
        ended = &mut connecting => panic!("{:?}", ended.map(drop)),
    };
    fs::write(&gate, "").unwrap();
    let logged_in = until("the host has logged in", Duration::from_secs(10), || {
        fs::read_to_string(server.path("sshd.log")).unwrap().contains("Accepted publickey")
    });
    tokio::select! { () = logged_in => {}, ended = &mut connecting => panic!("it did not wait: {:?}", ended.map(drop)) }
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut connecting).await.is_err(), "it did not wait");
    drop(other);
    let (node, welcome) = connecting.await.unwrap();
    assert_eq!(welcome.outputs[0].stdout, b"first\n");
    assert_eq!(forks.available_permits(), 0);
    // The other one had its place for so long, and it did not wait for the gate.
    let waited = waits.total();
    assert!(waited > Duration::from_millis(500) && waited + PATIENCE < began.elapsed(), "{waited:?}");
    node.close().await;
}

#[tokio::test]
async fn a_host_that_has_lent_its_permit_and_fails_leaves_as_many_as_there_were() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, connect_timeout) = (Some(silent.local_addr().unwrap().port()), Duration::from_secs(4));
    let arguments = SshArguments::parse("-F none").unwrap();
    let target = Target { port, arguments, connect_timeout, ..Target::new("node", "127.0.0.1") };
    let forks = Arc::new(Semaphore::new(0));
    let (transport, _base) = transport();
    let transport = transport.sharing(Arc::clone(&forks));
    let (mut progress, waits) = (|_: &str| {}, Waits::default());
    let mut connecting = pin!(transport.connect_in_fork(&target, Lock::Observe, Frame::default(), &mut progress, &waits));
    let other = tokio::select! {
        permit = forks.acquire() => permit.unwrap(),
        ended = &mut connecting => panic!("{:?}", ended.map(drop)),
    };
    assert!(matches!(connecting.await.map(drop), Err(LinkError::TimedOut { .. })));
    // The end of the host and of the other one, of which each frees a permit.
    drop(other);
    forks.add_permits(1);
    until("one permit was taken back", Duration::from_secs(10), || forks.available_permits() == 1).await;
}

#[tokio::test]
async fn errors_say_what_ssh_found() {
    let server = Server::start("").await;
    let (transport, base) = transport();
    server.remember("changed", "other");
    fs::write(server.path("empty"), "").unwrap();
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = || server.target();
    let known_hosts = |name: &str| Some(server.path(name));
    let short = Duration::from_secs(1);
    let targets = [
        Target { known_hosts: known_hosts("empty"), ..target() },
        Target { known_hosts: known_hosts("changed"), ..target() },
        Target { known_hosts: known_hosts("changed"), host_keys: HostKeys::AcceptNew, ..target() },
        Target { identity: Some(server.path("other")), ..target() },
        Target { port: Some(unused), ..target() },
        Target { port: Some(silent.local_addr().unwrap().port()), connect_timeout: short, ..target() },
        Target { host: "no-such-host.invalid".to_owned(), ..target() },
        Target { arguments: SshArguments::parse("-F none -o Nonsense=1").unwrap(), ..target() },
    ];
    let mut kinds = Vec::new();
    for target in targets {
        let error = connect(&transport, &target, Frame::default()).await.unwrap_err();
        kinds.push(format!("{error:?}").split([' ', '{']).next().unwrap().to_owned());
    }
    let expected = [
        "UnknownHostKey",
        "ChangedHostKey",
        "ChangedHostKey",
        "NoKeyAccepted",
        "Refused",
        "TimedOut",
        "UnknownName",
        "OwnConfiguration",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(masters(base.path()), 0);
}

#[tokio::test]
async fn a_new_host_key_is_accepted_and_remembered_when_asked() {
    let server = Server::start("").await;
    let (transport, _base) = transport();
    let target = Target { known_hosts: Some(server.path("new")), host_keys: HostKeys::AcceptNew, ..server.target() };
    connect(&transport, &target, Frame::default()).await.unwrap().0.close().await;
    let strict = Target { host_keys: HostKeys::Strict, ..target };
    connect(&transport, &strict, Frame::default()).await.unwrap().0.close().await;
}

#[tokio::test]
async fn the_operators_configuration_counts_but_cannot_break_the_session() {
    let server = Server::start("").await;
    let (transport, _base) = transport();
    let text = format!(
        "Host alias\n  HostName 127.0.0.1\n  Port {}\nHost *\n  RemoteCommand tmux\n  RequestTTY force\n  LogLevel QUIET\n  \
         ControlMaster auto\n  LocalForward 1 localhost:1\n  ServerAliveInterval 0\n",
        server.port
    );
    fs::write(server.path("ssh_config"), text).unwrap();
    let arguments = SshArguments::parse(&format!("-F {}", server.path("ssh_config").display())).unwrap();
    let target = Target { host: "alias".to_owned(), port: None, arguments, ..server.target() };
    let (node, welcome) = connect(&transport, &target, quick("echo ok").into()).await.unwrap();
    assert_eq!(welcome.outputs[0].stdout, b"ok\n");
    node.close().await;
    let unknown = Target { known_hosts: Some(server.path("none")), ..target };
    assert!(matches!(connect(&transport, &unknown, Frame::default()).await, Err(LinkError::UnknownHostKey { .. })));
}

#[tokio::test]
async fn a_connection_that_breaks_is_noticed_on_both_sides() {
    let server = Server::start("").await;
    let (transport, base) = transport();
    let (mut node, _) = connect(&transport, &server.target(), Frame::default()).await.unwrap();
    let long = unique_duration();
    let script = quick(&format!("echo started >&2; sleep {long} & timeout 900 sleep {long}"));
    let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let mut progress = move |line: &str| send.send(line.to_owned()).unwrap();
    let cut = async {
        lines.recv().await.unwrap();
        let run_directory = fs::read_dir(base.path()).unwrap().next().unwrap().unwrap().path();
        let socket = fs::read_dir(run_directory).unwrap().next().unwrap().unwrap().path().join("master");
        let exit = Command::new("ssh").arg("-S").arg(socket).args(["-O", "exit", "node"]).stderr(Stdio::null()).status();
        assert!(exit.unwrap().success());
    };
    let (lost, ()) = tokio::join!(node.run(script.into(), &mut progress), cut);
    assert!(matches!(lost, Err(LinkError::Lost { .. })), "{lost:?}");
    until("all is gone on the node", Duration::from_secs(10), || with_argument(&long) == 0).await;
    node.close().await;
}

#[tokio::test]
async fn a_daemon_that_keeps_its_output_does_not_keep_the_connection() {
    let server = Server::start("").await;
    let (transport, base) = transport();
    let daemon = unique_duration();
    // The script must not end before its daemon has left its process group, or the daemon ends with it.
    let left = "until [ \"$(cut -d ' ' -f 6 /proc/$!/stat)\" = $! ]; do :; done";
    let start = quick(&format!("setsid sleep {daemon} & {left}; echo $!"));
    let (node, welcome) = connect(&transport, &server.target(), start.into()).await.unwrap();
    let began = Instant::now();
    node.close().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    until("the master ends", Duration::from_secs(2), || masters(base.path()) == 0).await;
    assert_eq!(with_argument(&daemon), 1, "a session of its own is not ours");
    let pid = String::from_utf8_lossy(&welcome.outputs[0].stdout).trim().to_owned();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
}

#[tokio::test]
async fn a_killed_run_is_cleaned_up_after() {
    let server = Server::start("").await;
    let (transport, base) = transport();
    let (mut node, _) = connect(&transport, &server.target(), Frame::default()).await.unwrap();
    let long = unique_duration();
    run_until_line(&mut node, quick(&format!("echo started >&2; sleep {long}")).into()).await;
    // What `kill -9` does: the pipes close, nothing is cleaned up. The directory gets the number of a process that does not exist.
    let NodeShell { session, link, .. } = node;
    drop(session);
    std::mem::forget(link);
    let left = fs::read_dir(base.path()).unwrap().next().unwrap().unwrap().path();
    fs::rename(&left, base.path().join("autobot-provision-4194304-abcdef")).unwrap();
    assert_eq!(masters(base.path()), 1);
    until("the node is clean", Duration::from_secs(5), || with_argument(&long) == 0).await;
    let next = control::open(base.path()).await.unwrap();
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    until("the master is gone", Duration::from_secs(5), || masters(base.path()) == 0).await;
    drop(next);
    // Names like ours in /tmp that belong to other users stay.
    fs::create_dir(base.path().join("autobot-provision-x-1")).unwrap();
    symlink("/", base.path().join("autobot-provision-4194304-link")).unwrap();
    drop(control::open(base.path()).await.unwrap());
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 2);
    drop(transport);
}

#[tokio::test]
async fn a_server_that_is_busy_is_tried_again() {
    let server = Server::start("").await;
    let (transport, _base) = transport();
    let front = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = front.local_addr().unwrap().port();
    let behind = server.port;
    let relay = tokio::spawn(async move {
        for _ in 0..2 {
            // As sshd does beyond MaxStartups.
            drop(front.accept().await.unwrap());
        }
        let (mut client, _) = front.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let target = Target { port: Some(port), host_keys: HostKeys::AcceptNew, ..server.target() };
    connect(&transport, &target, Frame::default()).await.unwrap().0.close().await;
    relay.await.unwrap();
}

/// Starts a server whose logins look like an ordinary user's: to the kernel's file about them there is another, and `sudo` is this script.
pub(super) async fn with_sudo(sudo: Option<&str>) -> (Server, TempDir) {
    let programs = tempfile::tempdir().unwrap();
    let program = |name: &str, text: &str| {
        let path = programs.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    fs::write(programs.path().join("status"), "Name:\tsh\nUid:\t1001\t1000\t1000\t1000\n").unwrap();
    // It also writes to standard error, which belongs to no step.
    let other = format!("/usr/bin/sed 's#/proc/self/status#{}/status#'", programs.path().display());
    program(
        "login",
        &format!("echo a word to stderr >&2; exec /bin/sh -c \"$(/usr/bin/printf %s \"$SSH_ORIGINAL_COMMAND\" | {other})\""),
    );
    if let Some(sudo) = sudo {
        program("sudo", sudo);
    }
    for name in ["setsid", "head", "gzip"] {
        symlink(Path::new("/usr/bin").join(name), programs.path().join(name)).unwrap();
    }
    let path = programs.path().display();
    (Server::start(&format!("SetEnv PATH={path}\nForceCommand {path}/login")).await, programs)
}

#[tokio::test]
async fn root_comes_through_sudo_with_a_short_constant_command() {
    let (server, programs) =
        with_sudo(Some("/usr/bin/printf '%s|' \"$@\" >>\"${0%/*}/log\"; shift 2; unset SSH_CONNECTION; exec \"$@\"")).await;
    let (transport, _base) = transport();
    for _ in 0..2 {
        let (node, welcome) = connect(&transport, &server.target(), quick("echo ok").into()).await.unwrap();
        assert_eq!((welcome.uid, &*welcome.outputs[0].stdout), (0, &b"ok\n"[..]));
        assert_eq!(welcome.outputs[0].stderr, b"");
        assert!(welcome.ssh_connection.is_some(), "sudo drops it from the environment");
        node.close().await;
    }
    let once = "-n|--|setsid|-w|/bin/sh|-c|read -r n && eval \"$(head -c \"$n\" | gzip -dc)\"|";
    assert_eq!(fs::read_to_string(programs.path().join("log")).unwrap(), once.repeat(2));
}

#[tokio::test]
async fn a_refusing_sudo_and_a_strange_login_shell_are_told_apart() {
    let (transport, _base) = transport();
    let (server, _programs) = with_sudo(Some("echo 'sudo: a password is required' >&2; exit 1")).await;
    let error = connect(&transport, &server.target(), Frame::default()).await.unwrap_err();
    assert_eq!(error, LinkError::SudoRefused { host: "127.0.0.1".into(), detail: "a password is required".into() });

    let (server, _programs) = with_sudo(None).await;
    let error = connect(&transport, &server.target(), Frame::default()).await.unwrap_err();
    assert_eq!(error, LinkError::NoSudo { host: "127.0.0.1".into() });

    let server = Server::start("ForceCommand echo no shell for you >&2").await;
    let began = Instant::now();
    let error = connect(&transport, &server.target(), Frame::default()).await.unwrap_err();
    assert_eq!(error, LinkError::LoginShell { host: "127.0.0.1".into(), detail: "no shell for you".into() });
    assert!(began.elapsed() < Duration::from_secs(5));
}
