//! A login that takes turns with others, and lends its place while the host does not answer.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};

use super::{
    LinkError, Progress, Target, Transport,
    node::CLOSE_LIMIT,
    session::Ending,
    slots::{Fork, Lent},
    ssh::{self, Connected},
};

/// How long a login may take before another host may begin in the place of this one.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a connection may wait for its session: less than ssh keeps one that nothing uses.
const STAYS: Duration = Duration::from_secs(5);

impl Transport {
    /// Returns a new connection, and how long the login took without the waits for others.
    pub(super) async fn log_in(
        &self,
        target: &Target,
        progress: Progress<'_>,
        fork: Option<Fork<'_>>,
    ) -> Result<(Connected, Duration), LinkError> {
        let directory = self.directory().await?;
        let turn = self.turn(target, fork).await;
        let began = Instant::now();
        let (connected, lent) = {
            let mut connecting = pin!(ssh::connect(target, Arc::clone(&directory), &self.controller, progress));
            match (timeout(PATIENCE, &mut connecting).await, fork) {
                (Ok(connected), _) => (connected, None),
                (Err(_), None) => (connecting.await, None),
                (Err(_), Some(fork)) => {
                    let lent = (Lent::new(fork.forks), fork.waits);
                    (connecting.await, Some(lent))
                }
            }
        };
        let took = began.elapsed();
        let Some((lent, waits)) = lent else { return Ok((connected?, took)) };
        // Those who wait for their turn have a permit each: none of them may wait for this one.
        drop(turn);
        let connected = connected?;
        let logged_in = Instant::now();
        waits.during(lent.back()).await;
        if logged_in.elapsed() < STAYS {
            return Ok((connected, took));
        }
        connected.close(Ending::Open, CLOSE_LIMIT).await;
        let _turn = self.turn(target, fork).await;
        let began = Instant::now();
        Ok((ssh::connect(target, directory, &self.controller, progress).await?, began.elapsed()))
    }

    async fn turn(&self, target: &Target, fork: Option<Fork<'_>>) -> Option<OwnedSemaphorePermit> {
        let turn = self.slots.turn(target);
        match fork {
            Some(fork) => fork.waits.during(turn).await,
            None => turn.await,
        }
    }
}
