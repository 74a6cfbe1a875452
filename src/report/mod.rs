//! What users and programs see of a run. Reporters listen to events; none of them can influence the run.

pub mod json;
mod style;
mod table;
mod tally;
pub mod terminal;

pub(crate) use style::harmless;
pub use style::{Colour, Style};
pub use tally::{Counts, Tally};
pub use terminal::took;

use crate::event::Event;

/// Listens to a run.
pub trait Reporter: Send {
    /// Something happened.
    fn event(&mut self, event: &Event);

    /// Time has passed: a chance to show that long work still goes on.
    fn tick(&mut self) {}

    /// The run was interrupted; no more events come.
    fn interrupted(&mut self);
}
