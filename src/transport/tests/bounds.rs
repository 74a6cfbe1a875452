//! Nodes that say too much.

use super::*;
use crate::{
    controller::Controller,
    transport::{LinkError, Lock, Target, Transport, kept::Budget, wire::RemotePaths},
};
use std::sync::Arc;

/// Returns a transport whose shell on a node does this before it begins.
fn transport(before: &str) -> (Transport, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let shell = directory.path().join("shell");
    let once = directory.path().join("once").display().to_string();
    let text = format!("#!/bin/sh\nmkdir {once} 2>/dev/null && {{\n{before}\n:\n}}\nexec /bin/sh \"$@\"\n");
    crate::inventory::tests::write_program(&shell, &text);
    let controller = Controller { variables: std::env::vars_os().collect(), ..Controller::default() };
    let mut transport = Transport::new(10, Arc::new(controller));
    let path = |name: &str| directory.path().join(name).display().to_string();
    transport.paths = RemotePaths { lock_directory: path("run"), shell: path("shell") };
    (transport, directory)
}

#[tokio::test]
async fn a_flood_before_the_first_word_is_an_error_on_either_output() {
    for flood in ["yes", "exec cat /dev/zero", "exec yes >&2", "yes >&2 & exec sleep 20"] {
        let (transport, _directory) = transport(flood);
        let began = Instant::now();
        let error = transport.connect(&Target::local("here"), Lock::Observe, Frame::default(), &mut |_| {}).await.unwrap_err();
        let LinkError::LoginShell { detail, .. } = error else { panic!("{error:?}") };
        assert_eq!(detail, "it said more than 64 KiB before our shell's first word", "{flood}");
        assert!(began.elapsed() < Duration::from_secs(16), "{flood}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_few_words_before_the_first_word_do_no_harm() {
    let (transport, _directory) = transport("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2");
    let (mut node, _) = transport.connect(&Target::local("here"), Lock::Observe, Frame::default(), &mut |_| {}).await.unwrap();
    assert_eq!(run(&mut node, quick("echo here")).await[0].stdout, b"here\n");
    node.close().await;
}

#[tokio::test]
async fn of_long_outputs_the_ends_are_kept_with_the_status() {
    let (transport, _directory) = transport("");
    let whole = transport.budget.left();
    let (mut node, _) = transport.connect(&Target::local("here"), Lock::Observe, Frame::default(), &mut |_| {}).await.unwrap();
    let script =
        "echo begin; head -c 100000000 /dev/zero; echo end; echo first >&2; yes | head -c 50000000 >&2; echo last >&2; exit 7";
    let mut lines = 0;
    let outputs = node.run(step(script, "", 60).into(), &mut |_| lines += 1).await.unwrap();
    let output = &outputs[0];
    assert_eq!((output.status, output.timed_out), (7, false));
    assert_eq!((output.stdout.length(), output.stderr.length()), (100_000_010, 50_000_011));
    assert_eq!(lines, 25_000_002);
    let text = output.stdout.text();
    assert!(text.starts_with("begin\n") && text.ends_with("end\n") && text.contains(" bytes are left out here]"));
    assert!(output.stderr.text().starts_with("first\n") && output.stderr.text().ends_with("last\n"));
    assert!(output.stdout.whole().is_err());
    drop(outputs);
    assert_eq!(transport.budget.left(), whole, "all is given back");
    assert_eq!(run(&mut node, quick("echo next")).await[0].stdout, b"next\n");
    node.close().await;
}

#[tokio::test]
async fn nodes_that_say_too_much_together_keep_their_ends() {
    let (mut transport, _directory) = transport("");
    transport.budget = Budget::new(4 << 20);
    let (mut one, _) = transport.connect(&Target::local("one"), Lock::Observe, Frame::default(), &mut |_| {}).await.unwrap();
    let (mut two, _) = transport.connect(&Target::local("two"), Lock::Observe, Frame::default(), &mut |_| {}).await.unwrap();
    let three_megabytes = || quick("head -c 3000000 /dev/zero");
    let first = run(&mut one, three_megabytes()).await;
    assert!(first[0].stdout.whole().is_ok());
    let second = run(&mut two, three_megabytes()).await;
    let too_long = second[0].stdout.whole().unwrap_err().to_string();
    assert_eq!(too_long, "3000000 bytes are more than is kept of a node's output: 16 MiB of one, 64 MiB of all nodes together");
    drop(first);
    assert!(run(&mut two, three_megabytes()).await[0].stdout.whole().is_ok());
    one.close().await;
    two.close().await;
}
