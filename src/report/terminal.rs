//! Output for people: a line for each item that is not simply ok, or a table of health checks; a live line while a task runs; and a summary of each
//! host.

use std::{
    fmt::Write as _,
    io::Write,
    time::{Duration, Instant},
};

use super::{Reporter, Style, Tally, style::harmless, table::Table};
use crate::{
    event::{Counts, Event, EventBody, HostEnd, HostResult, HostStatus, Item, ItemKind, Outcome, Purpose, Status, Urgency},
    values::{Diff, Line},
};

/// How much detail is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detail {
    /// `--diff`: differences.
    pub diff: bool,
    /// `-v`: also items that are ok, round trips and bytes.
    pub verbose: u8,
}

/// Where lines cannot be redrawn, a running change is mentioned again each time this has passed.
const MENTION_EVERY: Duration = Duration::from_secs(10);

/// Of the items that an interrupted host has not done, more than these are not named one by one.
const NAMED: usize = 5;

/// Of more hosts than these, the summary names those only that are not well.
const MOST_HOSTS: usize = 25;

/// Writes output for people: results to `out`, progress to `live`.
pub struct Terminal<O: Write + Send, L: Write + Send> {
    out: O,
    live: L,
    style: Style,
    /// Whether `live` is a terminal, on which a line can be redrawn.
    redraw: bool,
    detail: Detail,
    tally: Tally,
    purpose: Purpose,
    host_width: usize,
    running: Vec<RunningChange>,
    drawn: bool,
    /// The results of health checks.
    table: Table,
}

struct RunningChange {
    host: String,
    name: String,
    /// The last line that it printed.
    output: String,
    since: Instant,
    mentioned: Instant,
}

impl<O: Write + Send, L: Write + Send> Terminal<O, L> {
    /// Creates a reporter for people.
    pub fn new(out: O, live: L, style: Style, redraw: bool, detail: Detail) -> Self {
        let (tally, purpose) = (Tally::default(), Purpose::CHECK);
        Self {
            out,
            live,
            style,
            redraw,
            detail,
            tally,
            purpose,
            host_width: 0,
            running: Vec::new(),
            drawn: false,
            table: Table::default(),
        }
    }

    fn line(&mut self, text: &str) {
        self.erase();
        // When standard output is closed there is no place left to report the error.
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    fn erase(&mut self) {
        if self.drawn {
            let _ = write!(self.live, "\r\x1b[K");
            let _ = self.live.flush();
            self.drawn = false;
        }
    }

    fn draw(&mut self) {
        if !self.redraw {
            return;
        }
        self.erase();
        let Some(first) = self.running.first() else { return };
        let others = if self.running.len() > 1 { format!(" (+{} more)", self.running.len() - 1) } else { String::new() };
        let text = format!("{}: {}{others} {}", first.host, first.name, format_duration(first.since.elapsed()));
        let text = if first.output.is_empty() { text } else { format!("{text}: {}", first.output) };
        let _ = write!(self.live, "{}", self.style.fit(&text, 1));
        let _ = self.live.flush();
        self.drawn = true;
    }

    fn start(&mut self, host: &str, name: &str) {
        let now = Instant::now();
        self.running.retain(|running| running.host != host);
        let (host, name) = (host.to_owned(), harmless(name));
        self.running.push(RunningChange { host, name, output: String::new(), since: now, mentioned: now });
        self.draw();
    }

    fn show_output(&mut self, host: &str, text: &str) {
        if let Some(running) = self.running.iter_mut().find(|running| running.host == host) {
            harmless(text.trim()).clone_into(&mut running.output);
        }
        self.draw();
    }

    fn item(&mut self, host: &str, item: &Item, outcome: &Outcome) {
        self.running.retain(|running| running.host != host);
        if self.is_health() {
            let at = (self.detail.verbose > 0).then(|| format!("at {}:{}", item.file, item.line));
            self.table.item(host, item, outcome, at);
            self.draw();
            return;
        }
        let summary = outcome.in_one_line();
        let shown = match outcome.status {
            // The findings of health checks are shown by the command `health`.
            Status::Ok if item.subject.kind() == ItemKind::Health => self.detail.verbose > 0 || outcome.warning.is_some(),
            Status::Ok => self.detail.verbose > 0 || !summary.is_empty(),
            Status::Skipped => self.detail.verbose > 0,
            Status::Changed | Status::Unknown | Status::Failed => true,
        };
        if shown {
            let word = status_name(outcome.status);
            // A single host is not repeated in every line.
            let host_cell =
                if self.tally.hosts.len() == 1 { String::new() } else { format!("{host:<width$}  ", width = self.host_width) };
            let used = host_cell.chars().count() + 9;
            let summary = if summary.is_empty() { String::new() } else { format!(": {}", harmless(&summary)) };
            let mut lines = self.style.wrap(&format!("{}{summary}", harmless(&item.id)), used).into_iter();
            let word = self.style.status(outcome.status, &format!("{word:<7}"));
            self.line(&format!("{host_cell}{word}  {}", lines.next().unwrap_or_default()));
            for more in lines {
                self.line(&format!("{:used$}{more}", ""));
            }
        }
        if self.detail.diff {
            self.diff(&outcome.diff);
        }
        if let Some(error) = &outcome.error {
            self.write_indented(&harmless(error));
            self.line(&format!("    {}", self.style.paint("2", &format!("at {}:{}", item.file, item.line))));
        }
        self.draw();
    }

    /// Writes the lines of an error message, indented.
    fn write_indented(&mut self, text: &str) {
        let style = self.style;
        for line in text.lines().flat_map(|line| style.wrap(line, 4)) {
            self.line(&format!("    {line}"));
        }
    }

    fn diff(&mut self, diff: &Diff) {
        for line in &diff.lines {
            let text = match line {
                Line::Title(text) => self.style.bold(&format!("    {}", harmless(text))),
                Line::Context(text) => format!("      {}", harmless(text)),
                Line::Added(text) => self.style.paint("32", &format!("    + {}", harmless(text))),
                Line::Removed(text) => self.style.paint("31", &format!("    - {}", harmless(text))),
                Line::Gap => "      ...".to_owned(),
            };
            self.line(&text);
        }
    }

    fn host(&mut self, host: &str, end: &HostEnd) {
        self.running.retain(|running| running.host != host);
        if let Some(holder) = &end.holder {
            self.line(&format!("{host}: {}", harmless(holder)));
        }
        if self.is_health() {
            self.table.host(host, end);
        } else if let Some(error) = end.result.error() {
            let mut lines = harmless(error);
            if let Some(help) = end.result.help() {
                lines.push_str("\nhelp: ");
                lines.push_str(help);
            }
            let word = self.style.status(Status::Failed, host_word(end.status()));
            self.line(&format!("{host}: {word}"));
            self.write_indented(&lines);
        }
        if !self.is_health() && matches!(end.result, HostResult::Interrupted | HostResult::Unreachable { .. }) {
            self.write_incomplete(host, end);
        }
        for id in &end.unpredicted {
            self.line(&format!("{host}: not predicted by a check: {}", harmless(id)));
        }
        self.draw();
    }

    /// Writes what an interrupted host has not done.
    fn write_incomplete(&mut self, host: &str, end: &HostEnd) {
        let texts = [
            ("the outcome is not known of", end.unknown.as_slice(), "the next deploy finds out"),
            ("left", end.left.as_slice(), "the next deploy does it"),
            ("handlers that have not run", end.owed.as_slice(), "the next deploy runs them"),
        ];
        for (what, ids, next) in texts.into_iter().filter(|(_, ids, _)| !ids.is_empty()) {
            let more = ids.len().saturating_sub(NAMED);
            let mut names = ids[..ids.len() - more].join(", ");
            if more > 0 {
                let _ = write!(names, " and {more} more");
            }
            self.write_indented(&harmless(&format!("{host}: {what}: {names}; {next}")));
        }
        if let Some(run) = &end.attach {
            self.write_indented(&format!(
                "{host}: a node with systemd finishes it by itself: `autobot-provision attach {run}` follows it"
            ));
        }
    }

    fn write_table(&mut self) {
        for line in self.table.lines(self.style, self.tally.hosts.keys()) {
            self.line(&line);
        }
    }

    fn summary(&mut self) {
        self.write_table();
        let hosts: Vec<(String, Counts, Option<HostEnd>)> =
            self.tally.hosts.iter().map(|(host, (counts, end))| (host.clone(), *counts, end.clone())).collect();
        self.line("");
        let (named, others): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|(.., end)| {
            self.detail.verbose > 0 || self.tally.hosts.len() <= MOST_HOSTS || end.as_ref().is_none_or(is_unwell)
        });
        for (host, counts, end) in &named {
            let host_cell = self.style.bold(&format!("{host:<width$}", width = self.host_width));
            let mut text = format!("{host_cell}  {}", self.format_counts(*counts, end.as_ref()));
            if let Some(end) = end {
                let _ = write!(text, "  in {}", format_duration(end.duration));
                if self.detail.verbose > 0 {
                    let trips = if end.round_trips == 1 { "round trip" } else { "round trips" };
                    let _ = write!(text, ", {} {trips}, {} bytes sent", end.round_trips, end.bytes_sent);
                }
            }
            self.line(&text);
        }
        if !others.is_empty() {
            let changed = others.iter().filter(|(_, counts, _)| counts.changed > 0).count();
            let word = if self.purpose == Purpose::CHECK { "would change" } else { "changed" };
            let mut parts = vec![format!("{} ok", others.len() - changed)];
            parts.extend((changed > 0).then(|| format!("{changed} {word}")));
            parts.extend((!named.is_empty()).then(|| format!("{} not well (above)", named.len())));
            self.line(&format!("{} hosts: {}; -v names them all", named.len() + others.len(), parts.join(", ")));
        }
        if self.purpose == Purpose::CHECK {
            self.line("This was a check: nothing was changed.");
        }
    }

    fn is_health(&self) -> bool {
        matches!(self.purpose, Purpose::Health { .. })
    }

    fn format_counts(&self, counts: Counts, end: Option<&HostEnd>) -> String {
        match end.map(HostEnd::status) {
            Some(HostStatus::Unreachable) if counts.ok + counts.changed == 0 => {
                return self.style.status(Status::Failed, "unreachable");
            }
            Some(HostStatus::Held) => return self.style.status(Status::Failed, "held by another run"),
            // It could not even begin.
            Some(HostStatus::Failed) if counts == Counts::default() => return self.style.status(Status::Failed, "failed"),
            Some(_) | None => {}
        }
        if self.is_health() {
            let ok = self.style.status(Status::Ok, &format!("{} ok", counts.ok));
            let warnings = format!("{} warning{}", counts.warnings, if counts.warnings == 1 { "" } else { "s" });
            let more = [
                (counts.warnings, Status::Changed, format!(" ({warnings})")),
                (counts.failed, Status::Failed, format!(", {} failed", counts.failed)),
                (counts.skipped, Status::Skipped, format!(", {} skipped", counts.skipped)),
            ];
            let more =
                more.into_iter().filter(|(count, ..)| *count > 0).map(|(_, status, text)| self.style.status(status, &text));
            return format!("{ok}{}", more.collect::<String>());
        }
        let changed = if self.purpose == Purpose::CHECK { "would change" } else { "changed" };
        let mut parts = vec![
            self.style
                .status(if counts.changed > 0 { Status::Changed } else { Status::Ok }, &format!("{} {changed}", counts.changed)),
            format!("{} ok", counts.ok),
        ];
        let more = [(counts.skipped, "skipped", Status::Skipped), (counts.unknown, "unknown", Status::Unknown)];
        for (count, word, status) in more.into_iter().chain([(counts.failed, "failed", Status::Failed)]) {
            if count > 0 {
                parts.push(self.style.status(status, &format!("{count} {word}")));
            }
        }
        match end.map(HostEnd::status) {
            Some(HostStatus::Unreachable) => parts.push(self.style.status(Status::Failed, "then unreachable")),
            Some(HostStatus::Interrupted) => parts.push(self.style.status(Status::Failed, "then interrupted")),
            Some(_) | None => {}
        }
        parts.join(", ")
    }
}

impl<O: Write + Send, L: Write + Send> Reporter for Terminal<O, L> {
    fn event(&mut self, event: &Event) {
        self.tally.event(event);
        match &event.body {
            EventBody::RunStarted(start) => {
                self.purpose = start.purpose;
                self.host_width = start.hosts.iter().map(|host| host.chars().count()).max().unwrap_or_default();
                if self.detail.verbose > 0 {
                    self.line(&format!("run {}", event.run));
                }
            }
            EventBody::RunInterrupted(urgency) => self.interrupted(*urgency),
            EventBody::HostProgress { host, text } => self.start(host, text),
            // The command line shows what is wrong, with the lines of the files, which no event has.
            EventBody::HostPlanned { .. } | EventBody::RunRefused(_) => {}
            EventBody::ItemStarted { host, item } => self.start(host, &item.name),
            EventBody::ItemOutput { host, text, .. } => self.show_output(host, text),
            EventBody::ItemFinished { host, item, outcome, .. } => self.item(host, item, outcome),
            EventBody::HostFinished { host, end } => self.host(host, end),
            EventBody::RunFinished(end) => {
                self.summary();
                if end.interrupted {
                    self.line("interrupted: run the same command again to finish");
                }
            }
        }
    }

    fn tick(&mut self) {
        if self.redraw {
            self.draw();
            return;
        }
        let mut lines = Vec::new();
        for running in &mut self.running {
            if running.mentioned.elapsed() >= MENTION_EVERY {
                running.mentioned = Instant::now();
                let output = if running.output.is_empty() { String::new() } else { format!(": {}", running.output) };
                lines.push(format!(
                    "{}: {}, {} so far{output}",
                    running.host,
                    running.name,
                    format_duration(running.since.elapsed())
                ));
            }
        }
        for line in lines {
            let _ = writeln!(self.live, "{line}");
        }
    }
}

impl<O: Write + Send, L: Write + Send> Terminal<O, L> {
    fn interrupted(&mut self, urgency: Urgency) {
        let text = match urgency {
            Urgency::AfterItem if self.purpose == Purpose::APPLY => {
                "interrupted: each host finishes its current task; interrupt once more to end what runs on the nodes now, except for jobs such as installations"
            }
            Urgency::Now if self.purpose == Purpose::APPLY => {
                "interrupted: what runs on the nodes is ended, except for jobs such as installations"
            }
            Urgency::None | Urgency::AfterItem | Urgency::Now => return,
        };
        self.erase();
        for line in self.style.wrap(text, 0) {
            let _ = writeln!(self.live, "{line}");
        }
        self.draw();
    }
}

/// Whether the work on a host did not end well.
fn is_unwell(end: &HostEnd) -> bool {
    !matches!(end.status(), HostStatus::Ok | HostStatus::Changed)
}

fn host_word(status: HostStatus) -> &'static str {
    match status {
        HostStatus::Unreachable => "unreachable",
        HostStatus::Held => "held",
        HostStatus::Ok | HostStatus::Changed | HostStatus::Failed | HostStatus::Interrupted => "failed",
    }
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Changed => "changed",
        Status::Skipped => "skipped",
        Status::Unknown => "unknown",
        Status::Failed => "failed",
    }
}

/// Formats a duration: "0.4 s", "12 s", "3 min 20 s".
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests;
