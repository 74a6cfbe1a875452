//! Transfers beside a session, run for real on this machine.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::interval,
};

use super::{
    super::{
        Bulk, Channel as _, Frame, Have, HostKeys, LinkError, Lock, Moved, NodeShell, Target, TransferError, Transferred,
        Transport,
    },
    local::{SHELLS, connect, transport},
    over_ssh, processes, quick, run, until, with_argument,
};
use crate::values::RemotePath;

struct Node {
    shell: NodeShell,
    directory: TempDir,
    _transport: Transport,
}

impl Node {
    async fn new(shell: &str) -> Self {
        let (transport, directory) = transport(shell);
        let (shell, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        Self { shell, directory, _transport: transport }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn remote(&self, name: &str) -> RemotePath {
        RemotePath::new(self.path(name).to_str().unwrap()).unwrap()
    }

    async fn fetch(&self, name: &str, part: &[u8]) -> Result<(Transferred, Vec<u8>), TransferError> {
        let (have, mut received) = (Have::read(&mut &*part).await.unwrap(), part.to_vec());
        let done = self.shell.bulk().fetch(&self.remote(name), have, &mut received, &mut |_| {}).await?;
        Ok((done, received))
    }

    async fn send(&self, name: &str, data: &[u8]) -> Result<Transferred, TransferError> {
        self.shell.bulk().send(&self.remote(name), data.len() as u64, &mut &*data, &mut |_| {}).await
    }
}

/// The node's words.
fn words(error: &TransferError) -> &str {
    match error {
        TransferError::Node { detail, .. } => detail,
        TransferError::Link(_) | TransferError::Differs { .. } | TransferError::Here { .. } => panic!("{error:?}"),
    }
}

fn random(bytes: u64) -> Vec<u8> {
    let mut data = Vec::new();
    File::open("/dev/urandom").unwrap().take(bytes).read_to_end(&mut data).unwrap();
    data
}

/// The argument of the program that reads a file of this size from its beginning.
fn count(bytes: usize) -> String {
    format!("count={bytes}")
}

/// How many programs read such a file.
fn fetching(bytes: usize) -> usize {
    with_argument(&count(bytes))
}

#[tokio::test]
async fn files_of_all_sizes_go_both_ways_unchanged() {
    for shell in SHELLS {
        let node = Node::new(shell).await;
        for bytes in [0, 1, 32 * 1024, 3_000_007] {
            let (data, name) = (random(bytes), "it's a $(name) \"with\" ☃");
            fs::write(node.path(name), "old").unwrap();
            fs::set_permissions(node.path(name), fs::Permissions::from_mode(0o644)).unwrap();
            let whole = Transferred { total: bytes, moved: bytes };
            assert_eq!(node.send(name, &data).await, Ok(whole), "{shell}");
            assert!(fs::read(node.path(name)).unwrap() == data);
            assert_eq!(fs::metadata(node.path(name)).unwrap().permissions().mode() & 0o7777, 0o600);
            assert!(!node.path(&format!(".autobot-provision.{name}.part")).exists());
            let (done, received) = node.fetch(name, b"").await.unwrap();
            assert!(done == whole && received == data, "{shell}: {done:?}");
        }
        node.shell.close().await;
    }
}

#[tokio::test]
async fn a_transfer_goes_on_where_the_last_was_cut_and_another_file_is_not_continued() {
    for shell in SHELLS {
        let node = Node::new(shell).await;
        let (data, total) = (random(3_000_000), 3_000_000);
        fs::write(node.path("file"), &data).unwrap();
        let (done, received) = node.fetch("file", &data[..2_999_990]).await.unwrap();
        assert!(done == Transferred { total, moved: 10 } && received == data, "{done:?}");
        let whole = Transferred { total, moved: 0 };
        assert_eq!(node.fetch("file", &data).await.unwrap().0, whole);
        fs::write(node.path(".autobot-provision.copy.part"), &data[..2_000_000]).unwrap();
        assert_eq!(node.send("copy", &data).await, Ok(Transferred { total, moved: 1_000_000 }));
        fs::write(node.path(".autobot-provision.copy.part"), &data).unwrap();
        assert_eq!(node.send("copy", &data).await, Ok(whole));
        // The beginning of another file.
        fs::write(node.path("copy"), "as it was").unwrap();
        fs::write(node.path(".autobot-provision.copy.part"), [&[!data[0]], &data[1..9]].concat()).unwrap();
        assert!(matches!(node.send("copy", &data).await, Err(TransferError::Differs { .. })));
        assert_eq!(fs::read(node.path("copy")).unwrap(), b"as it was");
        assert!(!node.path(".autobot-provision.copy.part").exists(), "the next begins anew");
        fs::write(node.path(".autobot-provision.copy.part"), random(3_000_001)).unwrap();
        assert_eq!(node.send("copy", &data).await, Ok(Transferred { total, moved: total }), "longer than the file");
        assert!(fs::read(node.path("copy")).unwrap() == data);
        for part in [[&[!data[0]], &data[1..9]].concat(), random(3_000_001)] {
            let differs = node.fetch("file", &part).await.unwrap_err();
            assert!(matches!(differs, TransferError::Differs { .. }), "{differs}");
        }
        node.shell.close().await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_or_written_is_said_in_words() {
    for shell in SHELLS {
        let node = Node::new(shell).await;
        fs::create_dir(node.path("directory")).unwrap();
        assert!(Command::new("mkfifo").arg(node.path("fifo")).status().unwrap().success());
        fs::write(node.path("kept"), "kept").unwrap();
        symlink(node.path("kept"), node.path(".autobot-provision.link.part")).unwrap();
        fs::create_dir(node.path(".autobot-provision.taken.part")).unwrap();
        let mut said = Vec::new();
        for name in ["missing", "directory", "fifo"] {
            said.push(words(&node.fetch(name, b"").await.unwrap_err()).to_owned());
        }
        for name in ["missing/file", "directory", "link", "taken"] {
            said.push(words(&node.send(name, b"data").await.unwrap_err()).replace(node.path("").to_str().unwrap(), ""));
        }
        let expected = [
            "there is no such file",
            "it is not a regular file",
            "it is not a regular file",
            "there is no directory missing/",
            "it is a directory",
            ".autobot-provision.link.part is in the way",
            ".autobot-provision.taken.part is in the way",
        ];
        assert_eq!(said, expected, "{shell}");
        assert_eq!(fs::read(node.path("kept")).unwrap(), b"kept");
        let missing = node.fetch("missing", b"").await.unwrap_err().to_string();
        assert_eq!(missing, format!("`{}` on `localhost`: there is no such file", node.path("missing").display()));
        let short = node.shell.bulk().send(&node.remote("new"), 10, &mut &b"short"[..], &mut |_| {}).await.unwrap_err();
        let expected = "` on `localhost` cannot be read: it is shorter than declared";
        assert!(short.to_string().ends_with(expected), "{short}");
        assert!(!node.path("new").exists());
        node.shell.close().await;
    }
}

/// Fetches a file that is changed when its first bytes have come.
async fn fetch_while(change: impl FnOnce(&Path)) -> TransferError {
    let node = Node::new(SHELLS[0]).await;
    fs::write(node.path("file"), random(8_000_000)).unwrap();
    let (receiver, mut reader) = duplex(1024);
    let fetching = async {
        let mut receiver = receiver;
        node.shell.bulk().fetch(&node.remote("file"), Have::nothing(), &mut receiver, &mut |_| {}).await
    };
    let changing = async {
        reader.read_u8().await.unwrap();
        change(&node.path("file"));
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.unwrap();
    };
    let (failed, ()) = tokio::join!(fetching, changing);
    node.shell.close().await;
    failed.unwrap_err()
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_an_error() {
    let shrunk = fetch_while(|file| fs::write(file, "short").unwrap()).await;
    assert_eq!(words(&shrunk), "it became shorter while it was read");
    // Its writer is not done: what was fetched would be half a dump.
    let grown = fetch_while(|file| File::options().append(true).open(file).unwrap().write_all(b"more").unwrap()).await;
    assert!(matches!(grown, TransferError::Differs { .. }), "{grown}");
}

#[tokio::test]
async fn a_transfer_ends_with_its_session_and_when_it_is_dropped() {
    for shell in SHELLS {
        let node = Node::new(shell).await;
        let bytes = 8_000_000 + usize::from(rand::random::<u16>());
        fs::write(node.path("file"), vec![0; bytes]).unwrap();
        let (bulk, path) = (node.shell.bulk(), node.remote("file"));
        let (mut receiver, mut reader) = duplex(1024);
        let mut on_moved = |_| {};
        tokio::select! {
            ended = bulk.fetch(&path, Have::nothing(), &mut receiver, &mut on_moved) => panic!("{ended:?}"),
            count = async { reader.read_u8().await.map(|_| fetching(bytes)) } => assert_eq!(count.unwrap(), 1),
        }
        until("a dropped transfer is gone", Duration::from_secs(2), || fetching(bytes) == 0).await;

        let Node { shell: session, directory: _kept, _transport } = node;
        let (mut receiver, mut reader) = duplex(1024);
        let close = async {
            reader.read_u8().await.unwrap();
            session.close().await;
            until("a transfer ends with its session", Duration::from_secs(2), || fetching(bytes) == 0).await;
            tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.unwrap();
        };
        let fetch = async {
            let lost = bulk.fetch(&path, Have::nothing(), &mut receiver, &mut |_| {}).await;
            drop(receiver);
            lost
        };
        let (lost, ()) = tokio::join!(fetch, close);
        assert!(matches!(lost, Err(TransferError::Link(LinkError::Lost { .. }))), "{shell}: {lost:?}");
    }
}

#[tokio::test]
async fn a_transfer_that_does_not_move_is_an_error_however_slow_its_receiver_may_be() {
    let node = Node::new(SHELLS[0]).await;
    let bytes = 8_000_000 + usize::from(rand::random::<u16>());
    fs::write(node.path("file"), vec![0; bytes]).unwrap();
    let bulk = Bulk { stall: Duration::from_millis(300), ..node.shell.bulk() };
    let (path, (mut receiver, mut reader)) = (node.remote("file"), duplex(1024));
    let stop = async {
        reader.read_u8().await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        let found = Command::new("pgrep").args(["-x", "-f", &format!("dd .* {} .*", count(bytes))]).output().unwrap();
        let pid = String::from_utf8(found.stdout).unwrap();
        assert!(Command::new("kill").args(["-STOP", pid.trim()]).status().unwrap().success(), "{pid}");
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.unwrap();
    };
    let fetch = async {
        let stalled = bulk.fetch(&path, Have::nothing(), &mut receiver, &mut |_| {}).await;
        drop(receiver);
        stalled
    };
    let (stalled, ()) = tokio::join!(fetch, stop);
    let error = stalled.unwrap_err().to_string();
    assert_eq!(error, "the connection to `localhost` was lost: the transfer did not go on for 0 s");
    node.shell.close().await;
    until("a stopped transfer ends with its session", Duration::from_secs(2), || fetching(bytes) == 0).await;
}

#[tokio::test]
async fn one_part_is_written_by_one_transfer() {
    let node = Node::new(SHELLS[0]).await;
    let (one, two) = (random(100_000), random(100_000));
    let (mut source, mut writer) = duplex(200_000);
    let (bulk, path) = (node.shell.bulk(), node.remote("file"));
    let (send_moved, mut moved) = tokio::sync::mpsc::unbounded_channel();
    let mut on_moved = |at: Moved| send_moved.send(at).unwrap();
    let first = bulk.send(&path, 100_000, &mut source, &mut on_moved);
    let second = async {
        writer.write_all(&one[..70_000]).await.unwrap();
        assert_eq!(moved.recv().await, Some(Moved { bytes: 32 * 1024, total: 100_000 }));
        let finish = async {
            until("the second waits", Duration::from_secs(5), || processes(|argument| argument == "flock") > 0).await;
            writer.write_all(&one[70_000..]).await.unwrap();
        };
        tokio::join!(node.send("file", &two), finish).0
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first, Ok(Transferred { total: 100_000, moved: 100_000 }));
    assert!(words(&second.unwrap_err()).ends_with(".part is another file than a moment ago"));
    assert!(fs::read(node.path("file")).unwrap() == one);
    node.shell.close().await;
}

/// Passes on what comes at this rate, in both directions, until one side has ended. What waits in the buffers of its sockets is what waits in a modem.
async fn relay(front: TcpListener, behind: u16, bytes_per_second: usize) {
    let (client, _) = front.accept().await.unwrap();
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await.unwrap();
    let ((mut up, mut down), (mut back, mut forth)) = (client.into_split(), server.into_split());
    let slowly = async |from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf| {
        let (mut beats, mut buffer) = (interval(Duration::from_millis(50)), vec![0; bytes_per_second / 20]);
        loop {
            beats.tick().await;
            match from.read(&mut buffer).await {
                Ok(count) if count > 0 => to.write_all(&buffer[..count]).await.unwrap(),
                Ok(_) | Err(_) => return,
            }
        }
    };
    tokio::select! {
        () = slowly(&mut up, &mut forth) => {},
        () = slowly(&mut back, &mut down) => {},
    }
}

#[tokio::test]
async fn a_slow_link_carries_a_transfer_and_the_heartbeats_of_its_session() {
    let server = over_ssh::Server::start("").await;
    let (transport, _base) = over_ssh::transport();
    let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = front.local_addr().unwrap().port();
    let link = tokio::spawn(relay(front, server.target().port.unwrap(), 60_000));
    let target = Target { port: Some(port), host_keys: HostKeys::AcceptNew, ..server.target() };
    let (mut shell, _) = over_ssh::connect(&transport, &target, Frame::default()).await.unwrap();
    let (directory, data) = (tempfile::tempdir().unwrap(), random(800_000));
    let path = RemotePath::new(directory.path().join("file").to_str().unwrap()).unwrap();
    let total = data.len() as u64;
    let began = Instant::now();
    let sent = shell.bulk().send(&path, total, &mut data.as_slice(), &mut |_| {}).await;
    assert_eq!(sent, Ok(Transferred { total, moved: total }));
    assert!(began.elapsed() > Duration::from_secs(10), "a session that hears nothing for so long ends: {:?}", began.elapsed());
    assert_eq!(run(&mut shell, quick("echo alive")).await[0].stdout, b"alive\n");
    shell.close().await;
    link.await.unwrap();
}

#[tokio::test]
async fn a_server_that_opens_no_further_channel_is_named_and_the_session_goes_on() {
    let server = over_ssh::Server::start("MaxSessions 1").await;
    let (transport, _base) = over_ssh::transport();
    let (mut shell, _) = over_ssh::connect(&transport, &server.target(), Frame::default()).await.unwrap();
    let refused =
        shell.bulk().fetch(&RemotePath::new("/etc/passwd").unwrap(), Have::nothing(), &mut Vec::new(), &mut |_| {}).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.starts_with("ssh to `127.0.0.1:") && error.contains("` fails: it opens no further channel: "), "{error}");
    assert_eq!(run(&mut shell, quick("echo alive")).await[0].stdout, b"alive\n");
    shell.close().await;
}
