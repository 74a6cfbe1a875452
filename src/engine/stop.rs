//! Asks a run to end.

use std::sync::Arc;

use tokio::sync::watch;

use crate::event::Urgency;

/// Asks a run to end. May be cloned and used from anywhere; a request can only become more urgent.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<watch::Sender<Urgency>>);

/// The receiving end, which a run listens to.
#[derive(Debug, Clone)]
pub struct StopSignal(watch::Receiver<Urgency>);

/// Returns both ends.
#[must_use]
pub fn stop() -> (StopHandle, StopSignal) {
    let (sender, receiver) = watch::channel(Urgency::None);
    (StopHandle(Arc::new(sender)), StopSignal(receiver))
}

impl StopHandle {
    /// Asks the run to end with this urgency.
    pub fn request(&self, urgency: Urgency) {
        self.0.send_if_modified(|current| {
            let is_raised = urgency > *current;
            *current = urgency.max(*current);
            is_raised
        });
    }
}

impl StopSignal {
    /// Returns whether the run should end.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() > Urgency::None
    }

    /// Waits until the run is asked to end with at least this urgency, and returns the urgency. Without a handle, it waits forever.
    pub(super) async fn reaches(&mut self, urgency: Urgency) -> Urgency {
        let Ok(reached) = self.0.wait_for(|current| *current >= urgency).await.map(|current| *current) else {
            return std::future::pending().await;
        };
        reached
    }
}
