//! Transfers of files beside a node's session, with the library as later parts of the program use it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use autobot_provision::{
    secret::Secret,
    transport::{
        Channel as _, Frame, Have, LinkError, Lock, Moved, NodeShell, SshArguments, Step, Target, TransferError, Transferred,
        Transport,
    },
    values::RemotePath,
};
use jiff::Timestamp;
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use crate::harness::{Project, TestNode, eventually, lab};

const MIB: u64 = 1024 * 1024;

fn target(node: &TestNode) -> Target {
    Target {
        user: Some("autobot".to_owned()),
        identity: Some(lab().key()),
        known_hosts: Some(lab().known_hosts()),
        arguments: SshArguments::parse("-F none").unwrap(),
        ..Target::new("node", node.address.to_string())
    }
}

async fn connect(transport: &Transport, target: &Target) -> NodeShell {
    let (who, run_id, since) = ("ann@test".to_owned(), "run-1".to_owned(), Timestamp::now());
    let lock = Lock::Take(autobot_provision::transport::LockRequest { who, run_id, since, wait: Duration::from_secs(20) });
    transport.connect(target, lock, Frame::default(), &mut |_| {}).await.unwrap().0
}

fn transport() -> Transport {
    Transport::new(5, Arc::default())
}

fn path(path: &str) -> RemotePath {
    RemotePath::new(path).unwrap()
}

async fn fetch(shell: &NodeShell, from: &str, part: &[u8]) -> Result<(Transferred, Vec<u8>), TransferError> {
    let (have, mut received) = (Have::read(&mut &*part).await.unwrap(), part.to_vec());
    let done = shell.bulk().fetch(&path(from), have, &mut received, &mut |_| {}).await?;
    Ok((done, received))
}

async fn send(shell: &NodeShell, to: &str, data: &[u8]) -> Result<Transferred, TransferError> {
    shell.bulk().send(&path(to), data.len() as u64, &mut &*data, &mut |_| {}).await
}

/// Whether nothing of a session or a transfer runs on the node.
fn is_clean(node: &TestNode) -> bool {
    node.try_sh(r"! pgrep -f '^/bin/sh -c read -r n' && ! pgrep -x 'dd|sha256sum|flock' && test ! -e /run/autobot-provision")
        .status
        .success()
}

/// The command lines of all processes, and what sudo has logged.
const SEEN: &str = r"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n'; journalctl -q --no-pager -o verbose _COMM=sudo";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_goes_both_ways_while_its_session_answers() {
    let node = TestNode::bare();
    node.sh("umask 077; { echo canary-in-content; head -c 200M /dev/urandom; } >/root/canary-in-path");
    let mut shell = connect(&transport(), &target(&node)).await;
    let (bulk, from, to, mut received) = (shell.bulk(), path("/root/canary-in-path"), path("/root/canary-copy"), Vec::new());
    let (moved, mut moving) = tokio::sync::mpsc::unbounded_channel();
    let mut on_moved = |at: Moved| moved.send(at).unwrap();
    let began = Instant::now();
    let meanwhile = async {
        moving.recv().await.unwrap();
        let step =
            Step { script: "pgrep -x dd".to_owned(), input: Vec::new().into(), limit: Duration::from_secs(20), again: None };
        let answered = shell.run(step.into(), &mut |_| {}).await.unwrap();
        assert_eq!(answered[0].status, 0, "the transfer goes on");
        node.sh(SEEN)
    };
    let (fetched, seen) = tokio::join!(bulk.fetch(&from, Have::nothing(), &mut received, &mut on_moved), meanwhile);
    let total = 200 * MIB + 18;
    assert_eq!(fetched, Ok(Transferred { total, moved: total }));
    assert!(received.starts_with(b"canary-in-content\n") && received.len() as u64 == total);
    assert!(seen.contains("iflag=skip_bytes,count_bytes") && !seen.contains("canary"), "{seen}");
    while let Ok(Moved { bytes, total: of }) = moving.try_recv() {
        assert!(bytes <= of && of == total);
    }
    let (fetched, began) = (began.elapsed(), Instant::now());

    let meanwhile = async {
        assert_eq!(moving.recv().await.unwrap().total, total);
        let step = Step {
            script: "ls /root/.autobot-provision.canary-copy.part".to_owned(),
            input: Vec::new().into(),
            limit: Duration::from_secs(20),
            again: None,
        };
        assert_eq!(shell.run(step.into(), &mut |_| {}).await.unwrap()[0].status, 0, "the transfer goes on");
        node.sh(SEEN)
    };
    let mut source = received.as_slice();
    let (sent, seen) = tokio::join!(bulk.send(&to, total, &mut source, &mut on_moved), meanwhile);
    assert_eq!(sent, Ok(Transferred { total, moved: total }));
    assert!(!seen.contains("canary"), "{seen}");
    eprintln!("fetched in {fetched:?}, sent in {:?}", began.elapsed());
    let state = "cd /root; cmp canary-in-path canary-copy; stat -c '%a %U %h' canary-copy; ls -A | grep canary";
    assert_eq!(node.sh(state), "600 root 1\ncanary-copy\ncanary-in-path");
    let commands = node.sh("journalctl -q --no-pager -o cat _COMM=sudo | sed -n 's/.* COMMAND=//p'");
    assert_eq!((commands.lines().count(), commands.lines().collect::<BTreeSet<_>>().len()), (3, 1), "{commands}");
    shell.close().await;
    eventually("nothing is left on the node", 3, || is_clean(&node));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_leaves_nothing_and_the_next_transfers_go_on() {
    let node = TestNode::bare();
    node.sh("head -c 24M /dev/urandom >/root/file");
    let transport = transport();
    let shell = connect(&transport, &target(&node)).await;
    let data = fetch(&shell, "/root/file", b"").await.unwrap().1;
    // Both ends wait in the middle: what arrives is not taken, and what is sent does not come.
    let (bulk, total) = (shell.bulk(), data.len() as u64);
    let ((sink, mut reader), (source, mut writer)) = (duplex(4096), duplex(4096));
    let mut part = vec![0; 4_000_000];
    let fetching = async {
        let mut sink = sink;
        bulk.fetch(&path("/root/file"), Have::nothing(), &mut sink, &mut |_| {}).await
    };
    let sending = async {
        let (mut source, mut arrived) = (source, 0);
        let lost = bulk.send(&path("/root/copy"), total, &mut source, &mut |at: Moved| arrived = at.bytes).await;
        (lost, arrived)
    };
    let cutting = async {
        let (read, written) = tokio::join!(reader.read_exact(&mut part), writer.write_all(&data[..4_000_000]));
        read.unwrap();
        written.unwrap();
        lab().cut_link(&node.name).unwrap();
        eventually("nothing is left on the node", 10, || is_clean(&node));
        // From here on the rest is taken and given, until the loss is found.
        let rest = async { reader.read_to_end(&mut part).await.unwrap() };
        let given = async {
            let _ = writer.write_all(&data[4_000_000..]).await;
        };
        tokio::join!(rest, given);
    };
    let began = Instant::now();
    let (fetched, (stopped, arrived), ()) = tokio::join!(fetching, sending, cutting);
    for lost in [fetched, stopped] {
        assert!(matches!(lost, Err(TransferError::Link(LinkError::Lost { .. }))), "{lost:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(35), "{:?}", began.elapsed());
    lab().restore_link(&node.name).unwrap();
    shell.close().await;
    let shell = connect(&transport, &target(&node)).await;
    let (fetched, received) = fetch(&shell, "/root/file", &part).await.unwrap();
    assert!(received == data);
    assert_eq!(fetched, Transferred { total, moved: total - part.len() as u64 });
    let stopped = send(&shell, "/root/copy", &data).await.unwrap();
    assert!(arrived > 0 && stopped.moved <= total - arrived, "{stopped:?} after {arrived}");
    assert_eq!(node.sh("cmp /root/file /root/copy; ls /root"), "copy\nfile");
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_is_said_and_is_not_kept_full() {
    let node = TestNode::bare();
    node.sh("mkdir /srv/small && mount -t tmpfs -o size=8m tmpfs /srv/small");
    let shell = connect(&transport(), &target(&node)).await;
    let data = vec![7; 9_000_000];
    let error = send(&shell, "/srv/small/file", &data).await.unwrap_err().to_string();
    let expected = format!("`/srv/small/file` on `{}`: no space: 9000000 bytes are to come, 8388608 are free", node.address);
    assert_eq!((error, node.sh("ls /srv/small")), (expected, String::new()));

    // It fits, until another program fills the disk.
    let (bulk, to, (mut source, mut writer)) = (shell.bulk(), path("/srv/small/file"), duplex(9_000_000));
    let (moved, mut moving) = tokio::sync::mpsc::unbounded_channel();
    let mut on_moved = |at: Moved| moved.send(at).unwrap();
    let filling = async {
        writer.write_all(&data[..1_000_000]).await.unwrap();
        moving.recv().await.unwrap();
        node.sh("head -c 7M /dev/zero >/srv/small/other");
        let _ = writer.write_all(&data[1_000_000..7_000_000]).await;
    };
    let (full, ()) = tokio::join!(bulk.send(&to, 7_000_000, &mut source, &mut on_moved), filling);
    let error = full.unwrap_err().to_string();
    assert!(error.starts_with("`/srv/small/file` on ") && error.ends_with("No space left on device"), "{error}");
    assert_eq!(node.sh("ls /srv/small"), "other");
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_sudo_asks_for_a_password_transfers_too() {
    let node = TestNode::bare();
    let sudoers = "Defaults use_pty\\nautobot ALL=(ALL) ALL\\n";
    node.sh(&format!("echo 'autobot:canary-password' | chpasswd; printf '{sudoers}' >/etc/sudoers.d/autobot; visudo -c"));
    let target = Target { become_password: Some(Secret::new("canary-password".to_owned())), ..target(&node) };
    let shell = connect(&transport(), &target).await;
    let data: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let total = data.len() as u64;
    assert_eq!(send(&shell, "/root/file", &data).await, Ok(Transferred { total, moved: total }));
    assert_eq!(node.sh("stat -c '%a %U' /root/file"), "600 root");
    let (bulk, from, (mut sink, mut reader)) = (shell.bulk(), path("/root/file"), duplex(1024));
    let reading = async {
        let mut received = vec![reader.read_u8().await.unwrap()];
        let seen = node.sh(SEEN);
        reader.read_to_end(&mut received).await.unwrap();
        (received, seen)
    };
    let fetching = async {
        let fetched = bulk.fetch(&from, Have::nothing(), &mut sink, &mut |_| {}).await;
        drop(sink);
        fetched
    };
    let (fetched, (received, seen)) = tokio::join!(fetching, reading);
    assert!(fetched == Ok(Transferred { total, moved: total }) && received == data, "{fetched:?}");
    assert!(seen.contains("iflag=skip_bytes,count_bytes") && !seen.contains("canary"), "{seen}");
    shell.close().await;
    let wrong = Target { become_password: Some(Secret::new("wrong".to_owned())), ..target };
    let refused = transport().connect(&wrong, Lock::Observe, Frame::default(), &mut |_| {}).await.map(|_| ());
    assert!(matches!(refused, Err(LinkError::PasswordRejected { .. })), "{refused:?}");
}

#[test]
fn a_large_file_of_a_role_goes_beside_the_session_and_in_it_where_there_is_no_other_way() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], "description: t\ntasks: []\n");
    let content = |seed: u8| (0..4 * MIB).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[5] ^ seed).collect::<Vec<u8>>();
    let role = "description: t\ntasks:\n  - {name: Large, copy: {src: large.bin, dest: /srv/large.bin, mode: \"0644\"}}\n";
    let file = project.path("roles/toy/files/large.bin");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let arrived = |content: &[u8]| {
        let sum = sha2::Sha256::digest(content).iter().fold(String::new(), |sum, byte| sum + &format!("{byte:02x}"));
        assert_eq!(node.sh("sha256sum </srv/large.bin; stat -c %a:%U /srv/large.bin"), format!("{sum}  -\n644:root"));
        assert!(is_clean(&node));
        assert_eq!(node.sh("find / -xdev -name '*autobot-provision*.part'"), "");
    };
    std::fs::write(&file, content(1)).unwrap();
    // In base64 it would be more than 5 MiB.
    let deploy = project.converges(role);
    let sent = deploy.host("node")["bytes_sent"].as_u64().unwrap();
    assert!((4 * MIB..5 * MIB).contains(&sent), "{sent}");
    arrived(&content(1));

    // Where one channel is all that there is, it goes through the session.
    node.sh("echo MaxSessions 1 >/etc/ssh/sshd_config.d/one.conf; systemctl restart ssh");
    std::fs::write(&file, content(2)).unwrap();
    let deploy = project.converges(role);
    let sent = deploy.host("node")["bytes_sent"].as_u64().unwrap();
    assert!(sent > 5 * MIB, "{sent}");
    arrived(&content(2));
}
