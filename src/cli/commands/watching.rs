//! Notes which items changed while another reporter shows the run.

use crate::{
    event::{Event, EventBody, Status},
    report::Reporter,
};

/// A reporter that records which items changed.
pub(in crate::cli) struct Watching {
    inner: Box<dyn Reporter>,
    /// `host: item` of everything that was changed.
    pub(in crate::cli) changed: Vec<String>,
    /// `host: item` of each item for which a check would have predicted another result.
    pub(in crate::cli) unpredicted: Vec<String>,
}

impl Watching {
    pub(in crate::cli) fn new(inner: Box<dyn Reporter>) -> Self {
        Self { inner, changed: Vec::new(), unpredicted: Vec::new() }
    }
}

impl Reporter for Watching {
    fn event(&mut self, event: &Event) {
        match &event.body {
            EventBody::ItemFinished { host, item, outcome, .. } if outcome.status == Status::Changed => {
                self.changed.push(format!("{host}: {}", item.id));
            }
            EventBody::HostFinished { host, end } => {
                self.unpredicted.extend(end.unpredicted.iter().map(|id| format!("{host}: {id}")));
            }
            EventBody::RunStarted(_)
            | EventBody::RunInterrupted(_)
            | EventBody::HostProgress { .. }
            | EventBody::HostPlanned { .. }
            | EventBody::ItemStarted { .. }
            | EventBody::ItemOutput { .. }
            | EventBody::ItemFinished { .. }
            | EventBody::RunFinished(_) => {}
        }
        self.inner.event(event);
    }

    fn tick(&mut self) {
        self.inner.tick();
    }
}
