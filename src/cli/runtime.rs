//! The only place that starts the asynchronous runtime, and the requests to end that it receives.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long remaining tasks may take to end after the work.
const LEFT_OVER_LIMIT: Duration = Duration::from_secs(5);

static LISTENS: AtomicBool = AtomicBool::new(false);

/// Whether the work receives requests to end.
pub(super) fn listens() -> bool {
    LISTENS.load(Ordering::SeqCst)
}

/// Requests to end: Ctrl-C, `kill`, a terminal that is closed.
pub(super) struct Interrupts {
    signals: [Signal; 3],
}

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
        LISTENS.store(true, Ordering::SeqCst);
        Ok(Self { signals })
    }

    /// Waits for the next request.
    pub(super) async fn next(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// Runs the work to its end. From here on, a request to end does not end the process by itself: the work receives it.
///
/// # Errors
/// The operating system gives no threads or signals.
pub(super) fn block_on<T>(work: impl AsyncFnOnce(&mut Interrupts) -> T) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let mut interrupts = Interrupts::new()?;
        anyhow::Ok(work(&mut interrupts).await)
    });
    runtime.shutdown_timeout(LEFT_OVER_LIMIT);
    result
}
