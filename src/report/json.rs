//! One JSON document for a whole run (`--output json`).

use std::io::Write;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Reporter, Tally, json_in_order};
use crate::event::{Event, EventBody, HostEnd, HostResult, HostStatus, Item, Outcome, Purpose, Refusal};

/// Collects a run and writes it at the end. The document is `run_id, version, mode, started, finished, hosts: {NAME: {status, error,
/// round_trips, bytes_sent, unpredicted, left, pending_handlers, unknown, attach, tasks: [{id, kind, role, name, resource, status, summary, diff, error, file, line, duration_ms}]}},
/// summary: {ok, changed, warnings, skipped, unknown, failed, unreachable}`. Times are in the format of RFC 3339. A summary that begins with `warning: ` is a warning.
pub struct Json<O: Write + Send> {
    out: O,
    tally: Tally,
    run_id: String,
    purpose: Purpose,
    started: Timestamp,
    tasks: Map<String, Value>,
}

impl<O: Write + Send> Json<O> {
    /// Creates a reporter that writes to `out`.
    pub fn new(out: O) -> Self {
        let (tally, started) = (Tally::default(), Timestamp::UNIX_EPOCH);
        Self { out, tally, run_id: String::new(), purpose: Purpose::CHECK, started, tasks: Map::new() }
    }

    /// Writes `errors: [{file, line, col, message, help, also}]`; nothing if the run was interrupted before it began.
    fn refused(&mut self, refusal: &Refusal) {
        if !refusal.errors().is_empty() {
            let document = json!({ "errors": refusal.errors() });
            let _ = writeln!(self.out, "{}", json_in_order(&format!("{document:#}")));
        }
    }

    fn write(&mut self, finished: Timestamp, interrupted: bool) {
        let mut hosts = Map::new();
        for (host, (_, end)) in &self.tally.hosts {
            let tasks = self.tasks.remove(host).unwrap_or_else(|| json!([]));
            hosts.insert(host.clone(), host_json(end.as_ref(), &tasks));
        }
        let mut document = json!({
            "run_id": self.run_id,
            "version": env!("CARGO_PKG_VERSION"),
            "mode": self.purpose,
            "started": self.started.to_string(),
            "finished": finished.to_string(),
            "hosts": hosts,
            "summary": self.tally.total(),
        });
        if interrupted {
            document["interrupted"] = json!(true);
        }
        // When standard output is closed there is no place left to report the error.
        let _ = writeln!(self.out, "{}", json_in_order(&format!("{document:#}")));
    }
}

impl<O: Write + Send> Reporter for Json<O> {
    fn event(&mut self, event: &Event) {
        self.tally.event(event);
        match &event.body {
            EventBody::RunStarted(start) => {
                self.run_id = event.run.to_string();
                self.purpose = start.purpose;
                self.started = event.at;
            }
            EventBody::ItemFinished { host, item, outcome, .. } => {
                let tasks = self.tasks.entry(host.clone()).or_insert_with(|| json!([]));
                if let Value::Array(tasks) = tasks {
                    tasks.push(task_json(item, outcome));
                }
            }
            EventBody::RunFinished(end) => self.write(event.at, end.interrupted),
            EventBody::RunRefused(refusal) => self.refused(refusal),
            EventBody::RunInterrupted(_)
            | EventBody::HostProgress { .. }
            | EventBody::HostPlanned { .. }
            | EventBody::ItemStarted { .. }
            | EventBody::ItemOutput { .. }
            | EventBody::HostFinished { .. } => {}
        }
    }
}

fn host_json(end: Option<&HostEnd>, tasks: &Value) -> Value {
    let status = end.map_or(HostStatus::Interrupted, HostEnd::status);
    json!({
        "status": status,
        "error": end.and_then(|end| end.result.error()),
        "help": end.and_then(|end| end.result.help()),
        "holder": end.and_then(|end| {
            let held_by = if let HostResult::Held { holder, .. } = &end.result { Some(holder) } else { None };
            held_by.or(end.holder.as_ref())
        }),
        "round_trips": end.map_or(0, |end| end.round_trips),
        "bytes_sent": end.map_or(0, |end| end.bytes_sent),
        "unpredicted": end.map(|end| end.unpredicted.clone()).unwrap_or_default(),
        "left": end.map(|end| end.left.clone()).unwrap_or_default(),
        "pending_handlers": end.map(|end| end.owed.clone()).unwrap_or_default(),
        "unknown": end.and_then(|end| end.unknown.clone()),
        "attach": end.and_then(|end| end.attach.clone()),
        "tasks": tasks,
    })
}

fn task_json(item: &Item, outcome: &Outcome) -> Value {
    json!({
        "id": item.id,
        "kind": item.subject.kind(),
        "role": item.role,
        "name": item.name,
        "resource": item.subject.resource(),
        "status": outcome.status,
        "summary": outcome.in_one_line(),
        "diff": outcome.diff.as_text(),
        "error": outcome.error,
        "file": item.file,
        "line": item.line,
        "duration_ms": u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Counts, Status},
        report::tally::tests::{ended, event, finished, run_finished, started},
        source::{Diagnostic, Diagnostics, SourceFile, Span},
        values::Diff,
    };

    fn refused(refusal: Refusal) -> String {
        let mut out = Vec::new();
        Json::new(&mut out).event(&event(EventBody::RunRefused(Box::new(refusal))));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_refused_run_is_its_errors() {
        let file = SourceFile::new("inventory/hosts.yml", "all: {vars: {db_password: canary-1}}\n");
        let wrong = Diagnostic::error("no such variable").at(Span::new(&file, 12..23)).label("here").help("see below");
        let wrong = wrong.also(Span::new(&file, 0..3), "in this group");
        let refusal = Refusal::wrong(Diagnostics(vec![wrong]).problems());
        assert!(!format!("{refusal:?}").contains("canary"), "an event has no text of files");
        insta::assert_snapshot!(refused(refusal), @r#"
        {
          "errors": [
            {
              "file": "inventory/hosts.yml",
              "line": 1,
              "col": 13,
              "message": "no such variable: here",
              "help": "see below",
              "also": [
                {
                  "file": "inventory/hosts.yml",
                  "line": 1,
                  "col": 1,
                  "label": "in this group"
                }
              ]
            }
          ]
        }
        "#);
        assert_eq!(refused(Refusal::interrupted()), "");
    }

    #[test]
    fn a_run_is_one_document() {
        let mut out = Vec::new();
        let mut diff = Diff::none();
        diff.added("x");
        let events = [
            started(Purpose::CHECK, &["db"]),
            finished("db", "Configure Redis", Outcome { diff, ..Outcome::new(Status::Changed, "content") }),
            ended("db", HostResult::Changed, Counts { changed: 1, ..Counts::default() }),
            run_finished(false),
        ];
        let mut json = Json::new(&mut out);
        for event in &events {
            json.event(event);
        }
        let text = String::from_utf8(out).unwrap().replace(env!("CARGO_PKG_VERSION"), "VERSION");
        insta::assert_snapshot!(text, @r#"
        {
          "run_id": "r1",
          "version": "VERSION",
          "mode": "check",
          "started": "1970-01-01T00:00:00Z",
          "finished": "1970-01-01T00:00:00Z",
          "hosts": {
            "db": {
              "status": "changed",
              "error": null,
              "help": null,
              "holder": null,
              "round_trips": 1,
              "bytes_sent": 8123,
              "unpredicted": [],
              "left": [],
              "pending_handlers": [],
              "unknown": null,
              "attach": null,
              "tasks": [
                {
                  "id": "redis/Configure Redis",
                  "kind": "task",
                  "role": "redis",
                  "name": "Configure Redis",
                  "resource": "template",
                  "status": "changed",
                  "summary": "content",
                  "diff": "+ x\n",
                  "error": null,
                  "file": "roles/redis/role.yml",
                  "line": 12,
                  "duration_ms": 0
                }
              ]
            }
          },
          "summary": {
            "ok": 0,
            "changed": 1,
            "warnings": 0,
            "skipped": 0,
            "unknown": 0,
            "failed": 0,
            "unreachable": 0
          }
        }
        "#);
    }
}
