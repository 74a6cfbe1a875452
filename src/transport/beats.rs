//! Commands on their way to a node, and the heartbeats between them.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt as _,
    net::unix::pipe,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at},
};
use zeroize::Zeroizing;

/// How often the loop gets a heartbeat. It ends after 6 to 8 seconds without one.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// Writes commands to the node, and a heartbeat between them.
pub(super) async fn write(mut stdin: pipe::Sender, mut queue: mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>) {
    let mut beats = interval_at(Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let written = tokio::select! {
            biased;
            _ = beats.tick() => stdin.write_all(b"beat\n").await,
            command = queue.recv() => match command {
                Some(command) => stdin.write_all(&command).await,
                None => return,
            },
        };
        // The reader sees the end of the outputs, and finds out why.
        if written.is_err() {
            return;
        }
    }
}
