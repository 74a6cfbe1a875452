//! The progress of `redis databases` and `redis cleanup`: a line on the terminal while they run, and what an interrupted run did.

use std::{
    convert::Infallible,
    io::{IsTerminal as _, Write as _},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::{
    cli::{arguments::Output, out},
    redis_ops::ScanProgress,
};

/// Work that ends sooner gets no line.
const SILENCE: Duration = Duration::from_millis(800);
const REDRAW: Duration = Duration::from_millis(200);

/// The hosts that are asked, with the progress of each.
pub(in crate::cli) struct Watched {
    hosts: Vec<(String, Arc<ScanProgress>)>,
    /// Whether keys are deleted.
    deletes: bool,
}

impl Watched {
    pub(in crate::cli) fn new<'a>(hosts: impl Iterator<Item = &'a String>, deletes: bool) -> Self {
        Self { hosts: hosts.map(|name| (name.clone(), Arc::default())).collect(), deletes }
    }

    /// The progress of a host, which the work on it updates.
    pub(in crate::cli) fn progress_of(&self, host: &str) -> Arc<ScanProgress> {
        self.hosts.iter().find(|(name, _)| name == host).map(|(_, progress)| Arc::clone(progress)).unwrap_or_default()
    }

    /// Keeps a line up to date until it is dropped; only for human output, and only if standard error is a terminal.
    pub(in crate::cli) async fn show(&self, output: Output) -> Infallible {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if output == Output::Json || dumb || !std::io::stderr().is_terminal() {
            return std::future::pending().await;
        }
        tokio::time::sleep(SILENCE).await;
        let mut line = Line { drawn: false };
        loop {
            if let Some(text) = self.line() {
                line.draw(&text);
            }
            tokio::time::sleep(REDRAW).await;
        }
    }

    /// The progress of all hosts together; none before anything is known.
    fn line(&self) -> Option<String> {
        let sum = |count: fn(&ScanProgress) -> u64| self.hosts.iter().map(|(_, progress)| count(progress)).sum::<u64>();
        let (expected, seen) = (sum(ScanProgress::expected), sum(ScanProgress::seen));
        let percent = seen.saturating_mul(100).checked_div(expected)?;
        let hosts = match self.hosts.as_slice() {
            [(one, _)] => one.clone(),
            several => format!("{} hosts", several.len()),
        };
        let deleted = if self.deletes { format!(", {} deleted", sum(ScanProgress::deleted)) } else { String::new() };
        Some(format!("{hosts}: {percent} % of {expected} keys looked at{deleted}"))
    }

    /// Returns the message of an interrupted run.
    pub(in crate::cli) fn interrupted(&self) -> String {
        if !self.deletes {
            return "interrupted; the same command starts again".to_owned();
        }
        // Redis may also have deleted the keys of the command in progress.
        let deleted: Vec<String> = self
            .hosts
            .iter()
            .map(|(name, progress)| {
                let keys = progress.deleted();
                format!("{keys} {} of {name}", if keys == 1 { "key" } else { "keys" })
            })
            .collect();
        format!("interrupted; confirmed as deleted by then: {}; the same command deletes the rest", deleted.join(", "))
    }

    /// The same for programs.
    pub(in crate::cli) fn interrupted_json(&self) -> Value {
        let hosts = self.hosts.iter().map(|(name, progress)| {
            let mut host = json!({ "status": "interrupted", "error": "interrupted" });
            if self.deletes {
                host["deleted"] = json!(progress.deleted());
            }
            (name.clone(), host)
        });
        Value::Object(hosts.collect::<Map<_, _>>())
    }
}

/// A line that the next one replaces, and that is erased at the end.
struct Line {
    drawn: bool,
}

impl Line {
    fn draw(&mut self, text: &str) {
        // A line that is wider than the terminal would wrap, and its first half would remain.
        let text: String = text.chars().take(out::terminal_width().saturating_sub(1)).collect();
        self.erase();
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "{text}");
        let _ = stderr.flush();
        self.drawn = true;
    }

    fn erase(&mut self) {
        if self.drawn {
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "\r\x1b[K");
            let _ = stderr.flush();
            self.drawn = false;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.erase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(names: &[&str], deletes: bool) -> Watched {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Watched::new(names.iter(), deletes)
    }

    #[test]
    fn one_line_shows_all_hosts_once_something_is_known() {
        let (one, two) = (watched(&["database_vm"], false), watched(&["database_vm", "slm"], true));
        assert_eq!((one.line(), two.line()), (None, None));
        one.progress_of("database_vm").expect(3);
        one.progress_of("database_vm").add_examined(2);
        two.progress_of("database_vm").expect(5000);
        two.progress_of("database_vm").add_examined(9000);
        two.progress_of("slm").expect(5000);
        two.progress_of("slm").add_deleted(7);
        assert_eq!(one.line().unwrap(), "database_vm: 66 % of 3 keys looked at");
        assert_eq!(two.line().unwrap(), "2 hosts: 50 % of 10000 keys looked at, 7 deleted");
    }

    #[test]
    fn an_interrupted_cleanup_reports_what_it_deleted_on_each_host() {
        let cleanup = watched(&["database_vm", "slm"], true);
        cleanup.progress_of("database_vm").add_deleted(12_000);
        cleanup.progress_of("slm").add_deleted(1);
        insta::assert_snapshot!(cleanup.interrupted(), @"interrupted; confirmed as deleted by then: 12000 keys of database_vm, 1 key of slm; the same command deletes the rest");
        assert_eq!(cleanup.interrupted_json()["slm"], json!({"status": "interrupted", "error": "interrupted", "deleted": 1}));
        let look = watched(&["slm"], false);
        assert_eq!(look.interrupted(), "interrupted; the same command starts again");
        assert_eq!(look.interrupted_json(), json!({"slm": {"status": "interrupted", "error": "interrupted"}}));
    }
}
