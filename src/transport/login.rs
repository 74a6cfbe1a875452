//! A login that takes turns with others, and lends its place while the host does not answer.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    LinkError, Progress, Target, Transport,
    node::CLOSE_LIMIT,
    session::Ending,
    slots::Lent,
    ssh::{self, Connected},
};

/// How long a login may take before another host may begin in the place of this one.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a connection may wait for its session: less than ssh keeps one that nothing uses.
const STAYS: Duration = Duration::from_secs(5);

impl Transport {
    /// Returns a new connection, and how long the login took without the waits for others.
    pub(super) async fn log_in(
        &self,
        target: &Target,
        progress: Progress<'_>,
        forks: Option<&Arc<Semaphore>>,
    ) -> Result<(Connected, Duration), LinkError> {
        let directory = self.directory().await?;
        let turn = self.slots.turn(target).await;
        let began = Instant::now();
        let (connected, lent) = {
            let mut connecting = pin!(ssh::connect(target, Arc::clone(&directory), &self.controller, progress));
            match (timeout(PATIENCE, &mut connecting).await, forks) {
                (Ok(connected), _) => (connected, None),
                (Err(_), None) => (connecting.await, None),
                (Err(_), Some(forks)) => {
                    let lent = Lent::new(forks);
                    (connecting.await, Some(lent))
                }
            }
        };
        let took = began.elapsed();
        let Some(lent) = lent else { return Ok((connected?, took)) };
        // Those who wait for their turn have a permit each: none of them may wait for this one.
        drop(turn);
        let connected = connected?;
        let logged_in = Instant::now();
        lent.back().await;
        if logged_in.elapsed() < STAYS {
            return Ok((connected, took));
        }
        connected.close(Ending::Open, CLOSE_LIMIT).await;
        let _turn = self.slots.turn(target).await;
        let began = Instant::now();
        Ok((ssh::connect(target, directory, &self.controller, progress).await?, began.elapsed()))
    }
}
