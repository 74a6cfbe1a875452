//! Queues of events, one for each reader. A reader that does not read never delays the run, and costs a bounded amount of memory.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Event, EventBody, RunId};

/// How many lines of output and progress a queue keeps for its reader. When more arrive, the oldest are dropped and counted.
pub const RING: usize = 1024;

/// Where a run sends its events. Cloning it gives another handle to the same readers.
#[derive(Debug, Clone)]
pub struct Sink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    run: RunId,
    clock: fn() -> Timestamp,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u64,
    finished: bool,
    queues: Vec<Arc<Queue>>,
}

/// The queue of one reader.
#[derive(Debug)]
struct Queue {
    ring: usize,
    waiting: Mutex<Waiting>,
    dropped: AtomicU64,
    arrival: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// What the plan bounds: a few events for each item. Never dropped.
    kept: VecDeque<Arc<Event>>,
    /// Lines of output and progress.
    lines: VecDeque<Arc<Event>>,
    /// Whether nothing more arrives.
    closed: bool,
}

/// The reading end of a queue.
#[derive(Debug)]
pub struct Reader(Arc<Queue>);

impl Sink {
    /// Creates a sink without readers. The clock is the controller's.
    #[must_use]
    pub fn new(run: RunId, clock: fn() -> Timestamp) -> Self {
        Self(Arc::new(Shared { run, clock, state: Mutex::new(State { next: 1, finished: false, queues: Vec::new() }) }))
    }

    /// Adds a reader, which sees the events that are sent from now on, and of lines of output and progress at most the last `ring` that it
    /// has not read.
    #[must_use]
    pub fn reader(&self, ring: usize) -> Reader {
        let queue =
            Arc::new(Queue { ring: ring.max(1), waiting: Mutex::default(), dropped: AtomicU64::new(0), arrival: Notify::new() });
        let mut state = lock(&self.0.state);
        lock(&queue.waiting).closed = state.finished;
        state.queues.push(Arc::clone(&queue));
        Reader(queue)
    }

    /// Returns the run whose events these are.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.0.run
    }

    /// Returns the time by the controller's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Numbers an event and gives it to all readers. After the last event of the run, nothing is sent.
    pub fn send(&self, body: EventBody) {
        // The number is given while the state is locked, so that every queue is in the order of the numbers.
        let mut state = lock(&self.0.state);
        if state.finished {
            return;
        }
        let event = Arc::new(Event { seq: state.next, at: self.now(), run: self.0.run.clone(), body });
        state.next += 1;
        state.finished = event.is_last();
        // A reader that is gone holds its queue no more.
        state.queues.retain(|queue| Arc::strong_count(queue) > 1);
        for queue in &state.queues {
            queue.push(&event);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Without a last event, the run was aborted: readers must not wait for one.
        for queue in &lock(&self.state).queues {
            lock(&queue.waiting).closed = true;
            queue.arrival.notify_one();
        }
    }
}

impl Queue {
    fn push(&self, event: &Arc<Event>) {
        let mut waiting = lock(&self.waiting);
        if event.body.is_droppable() {
            if waiting.lines.len() == self.ring {
                waiting.lines.pop_front();
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            waiting.lines.push_back(Arc::clone(event));
        } else {
            waiting.kept.push_back(Arc::clone(event));
        }
        waiting.closed = event.is_last();
        self.arrival.notify_one();
    }
}

impl Waiting {
    fn next(&mut self) -> Option<Arc<Event>> {
        let line_first = match (self.kept.front(), self.lines.front()) {
            (Some(kept), Some(line)) => line.seq < kept.seq,
            (None, _) => true,
            (Some(_), None) => false,
        };
        if line_first { self.lines.pop_front() } else { self.kept.pop_front() }
    }
}

impl Reader {
    /// Waits for the next event. Returns `None` after the last one, or when the run was dropped. Cancelling the wait loses no event.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            {
                let mut waiting = lock(&self.0.waiting);
                if let Some(event) = waiting.next() {
                    return Some(event);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.0.arrival.notified().await;
        }
    }

    /// Returns how many lines of output and progress were dropped because they were not read in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// A panic of another holder leaves the queues usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Counts, HostStatus, RunEnd, Urgency};
    use std::time::Duration;

    fn sink() -> Sink {
        Sink::new("r1".parse().unwrap(), || Timestamp::UNIX_EPOCH)
    }

    fn line(number: usize) -> EventBody {
        EventBody::ItemOutput { host: "db".into(), id: "r/t".into(), text: number.to_string() }
    }

    fn last() -> EventBody {
        let summary = Counts::default();
        EventBody::RunFinished(RunEnd::new(HostStatus::Ok, false, summary, Duration::ZERO, false))
    }

    async fn all(reader: &mut Reader) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(event) = reader.next().await {
            numbers.push(event.seq);
        }
        numbers
    }

    #[tokio::test]
    async fn lines_are_dropped_and_counted_and_all_else_is_kept_in_order() {
        let sink = sink();
        let (mut slow, mut fast) = (sink.reader(2), sink.reader(100));
        for number in 0..4 {
            sink.send(line(number));
            sink.send(EventBody::RunInterrupted(Urgency::AfterItem));
        }
        sink.send(last());
        sink.send(line(9));
        assert_eq!(all(&mut fast).await, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(all(&mut slow).await, [2, 4, 5, 6, 7, 8, 9]);
        assert_eq!((slow.dropped(), fast.dropped()), (2, 0));
    }

    #[tokio::test]
    async fn a_reader_of_an_aborted_run_does_not_wait() {
        let sink = sink();
        let mut reader = sink.reader(RING);
        sink.send(line(1));
        drop(sink);
        assert_eq!(all(&mut reader).await, [1]);
    }

    #[tokio::test]
    async fn a_reader_that_comes_late_or_leaves_disturbs_nobody() {
        let sink = sink();
        drop(sink.reader(RING));
        sink.send(line(1));
        let mut late = sink.reader(RING);
        sink.send(last());
        let mut too_late = sink.reader(RING);
        assert_eq!(all(&mut late).await, [2]);
        assert_eq!(all(&mut too_late).await, Vec::<u64>::new());
    }
}
