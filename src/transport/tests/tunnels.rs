//! Tunnels to the ports of a node whose sshd forwards, or does not.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixStream},
    time::timeout,
};

use super::{
    super::{Channel as _, Frame, NodeShell, Tunnel},
    over_ssh::{Server, connect, transport},
};

const FORBIDS: &str = "AllowTcpForwarding no";

/// Every byte, also as the text of the program's own mark would have it.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from((at * 7 + at / 256) % 256).unwrap()).collect()
}

async fn service() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn client(tunnel: &dyn Tunnel, port: u16) -> UnixStream {
    let socket = tunnel.open("127.0.0.1", port).await.unwrap();
    UnixStream::connect(socket).await.unwrap()
}

async fn node(server: &Server) -> (NodeShell, super::super::Transport, tempfile::TempDir) {
    let (transport, base) = transport();
    let (node, _) = connect(&transport, &server.target(), Frame::default()).await.unwrap();
    (node, transport, base)
}

/// As a service that waits for its client to speak first: it answers with what it has got, and hangs up.
async fn all_bytes_arrive(configuration: &str) {
    let server = Server::start(configuration).await;
    let (node, _transport, _base) = node(&server).await;
    let tunnel = node.tunnel();
    for count in [1, 3_000_000] {
        let (listener, port) = service().await;
        let echo = tokio::spawn(async move {
            let mut got = vec![0; count];
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut got).await.unwrap();
            stream.write_all(&got).await.unwrap();
        });
        let mut stream = client(tunnel.as_ref(), port).await;
        stream.write_all(&bytes(count)).await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
            .await
            .unwrap_or_else(|_| panic!("no end: {configuration}, {count}"))
            .unwrap();
        assert!(answer == bytes(count), "{configuration}: {} of {count} bytes", answer.len());
        echo.await.unwrap();
    }
    assert_eq!(tunnel.shut(), None);
    drop(tunnel);
    node.close().await;
}

#[tokio::test]
async fn all_bytes_arrive_where_sshd_forwards() {
    all_bytes_arrive("").await;
}

#[tokio::test]
async fn all_bytes_arrive_where_sshd_forbids_forwarding() {
    for forbids in [FORBIDS, "DisableForwarding yes", "PermitOpen none"] {
        all_bytes_arrive(forbids).await;
    }
}

/// Each side may end first.
#[tokio::test]
async fn the_end_of_either_side_arrives_at_the_other() {
    for configuration in ["", FORBIDS] {
        let server = Server::start(configuration).await;
        let (node, _transport, _base) = node(&server).await;
        let tunnel = node.tunnel();
        let (listener, port) = service().await;
        // The client has ended its side, and still gets the whole answer.
        let answers = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 4]).await.unwrap();
            tokio::task::yield_now().await;
            stream.write_all(&bytes(100_000)).await.unwrap();
            stream.shutdown().await.unwrap();
            // And the service sees that the client is gone.
            let (mut idle, _) = listener.accept().await.unwrap();
            idle.read_exact(&mut [0; 4]).await.unwrap();
            timeout(Duration::from_secs(20), idle.read(&mut [0; 1])).await.expect("the end of the client arrives").unwrap_or(0)
        });
        let mut stream = client(tunnel.as_ref(), port).await;
        stream.write_all(b"ping").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("the end of the service arrives").unwrap();
        assert!(answer == bytes(100_000), "{configuration}: {} bytes", answer.len());
        let mut gone = client(tunnel.as_ref(), port).await;
        gone.write_all(b"ping").await.unwrap();
        drop(gone);
        assert_eq!(answers.await.unwrap(), 0, "{configuration}");
        drop(tunnel);
        node.close().await;
    }
}

/// That is no fault of the way.
#[tokio::test]
async fn a_closed_port_is_closed_in_both_ways() {
    for configuration in ["", FORBIDS] {
        let server = Server::start(configuration).await;
        let (node, _transport, _base) = node(&server).await;
        let tunnel = node.tunnel();
        let port = service().await.1;
        let mut stream = client(tunnel.as_ref(), port).await;
        let _ = stream.write_all(b"ping").await;
        let end = timeout(Duration::from_secs(20), stream.read(&mut [0; 1])).await.expect("the end arrives");
        assert!(matches!(end, Ok(0) | Err(_)), "{configuration}");
        assert_eq!(tunnel.shut(), None, "{configuration}");
        drop(tunnel);
        node.close().await;
    }
}

#[tokio::test]
async fn where_no_way_leads_to_a_port_that_is_said() {
    let programs = tempfile::tempdir().unwrap();
    for name in ["id", "setsid", "head", "gzip"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(name), programs.path().join(name)).unwrap();
    }
    let no_bash = format!("{FORBIDS}\nSetEnv PATH={}", programs.path().display());
    for (configuration, wanted) in [
        (format!("{FORBIDS}\nMaxSessions 1"), "sshd opens no further session (see MaxSessions there)"),
        (no_bash, "it needs bash on the node: "),
    ] {
        let server = Server::start(&configuration).await;
        let (node, _transport, _base) = node(&server).await;
        let tunnel = node.tunnel();
        let (_listener, port) = service().await;
        let mut stream = client(tunnel.as_ref(), port).await;
        let _ = stream.write_all(b"ping").await;
        let _ = timeout(Duration::from_secs(20), stream.read(&mut [0; 1])).await.expect("the end arrives");
        let why = tunnel.shut().unwrap_or_else(|| panic!("{configuration}"));
        assert!(why.contains(wanted) && why.contains("AllowTcpForwarding"), "{why}");
        drop(tunnel);
        node.close().await;
    }
}
