//! The output of a run, for people and for programs. Reporters receive events and cannot influence the run.

pub mod json;
mod page;
mod style;
mod table;
mod tally;
pub mod terminal;

pub use style::{Colour, Style};
pub(crate) use style::{harmless, in_order, json_in_order};
pub use tally::Tally;
pub use terminal::format_duration;

use crate::event::Event;

/// Reports a run.
pub trait Reporter: Send {
    /// Handles an event.
    fn event(&mut self, event: &Event);

    /// Is called regularly, so that the reporter can show that a long task is still running.
    fn tick(&mut self) {}
}
