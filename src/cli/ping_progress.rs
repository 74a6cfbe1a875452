//! The line that shows which hosts a `ping` still waits for.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Instant,
};

use super::out;
use crate::report::format_duration;

/// A line on standard error that is redrawn, and erased in the end. There is none if either stream is no terminal.
pub(super) struct Waiting {
    names: Vec<String>,
    since: Instant,
    is_shown: bool,
}

impl Waiting {
    /// Shows that these hosts are waited for.
    pub(super) fn begin(names: Vec<String>) -> Self {
        let is_shown = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let waiting = Self { names, since: Instant::now(), is_shown };
        waiting.draw();
        waiting
    }

    /// Takes a host out that has answered.
    pub(super) fn answered(&mut self, name: &str) {
        self.names.retain(|waiting| waiting != name);
        self.draw();
    }

    /// Draws the line again.
    pub(super) fn draw(&self) {
        self.print(&self.text());
    }

    fn text(&self) -> String {
        let Some(first) = self.names.first() else { return String::new() };
        let others = if self.names.len() > 1 { format!(" (+{} more)", self.names.len() - 1) } else { String::new() };
        format!("{first}: ping{others} {}", format_duration(self.since.elapsed()))
    }

    fn print(&self, text: &str) {
        if self.is_shown {
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "\r\x1b[K{}", out::style().fit(text, 1));
            let _ = stderr.flush();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.print("");
    }
}
