//! Tests that run the loop for real, on this machine and over ssh to it.

mod apart;
mod bounds;
mod bulk;
mod local;
mod over_ssh;
mod refusals;
mod sudo;
mod takeover;
mod tunnels;

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::secret::Revealed;

use super::{Channel, Frame, NodeShell, Step, StepOutput, Stream};

/// Here every output is whole.
impl std::ops::Deref for Stream {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.whole().unwrap()
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Stream {
    fn eq(&self, other: &&[u8; N]) -> bool {
        **self == other[..]
    }
}

fn step(script: &str, input: impl Into<Vec<u8>>, seconds: u64) -> Step {
    Step { script: script.to_owned(), input: Revealed::from(input.into()), limit: Duration::from_secs(seconds), again: None }
}

fn quick(script: &str) -> Step {
    step(script, "", 20)
}

async fn run(node: &mut NodeShell, frame: impl Into<Frame>) -> Vec<StepOutput> {
    node.run(frame.into(), &mut |_| {}).await.unwrap()
}

async fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the number of processes with such an argument.
fn processes(wanted: impl Fn(&str) -> bool) -> usize {
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|argument| wanted(&String::from_utf8_lossy(argument)))).count()
}

/// Returns a duration for `sleep` that no other test uses.
fn unique_duration() -> String {
    format!("1000.{}", rand::random::<u32>())
}

/// Returns the number of processes with exactly this argument.
fn with_argument(wanted: &str) -> usize {
    processes(|argument| argument == wanted)
}

/// Runs a frame until the first line of its standard error, and drops the rest.
async fn run_until_line(node: &mut NodeShell, frame: Frame) {
    let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let mut progress = move |line: &str| send.send(line.to_owned()).unwrap();
    tokio::select! {
        outputs = node.run(frame, &mut progress) => panic!("ended before it said anything: {outputs:?}"),
        line = lines.recv() => assert_eq!(line.unwrap(), "started"),
    }
}
