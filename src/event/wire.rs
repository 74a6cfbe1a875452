//! The event stream, version 1: one JSON object for each event. Fields may be added within a version; readers must skip unknown types.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{
    Counts, Event, EventBody, HostEnd, Item, Outcome, Planned, PlannedItem, RunEnd,
    cut::{LONGEST, cut},
};

/// The version of the stream.
const VERSION: u32 = 1;

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = Map::new();
        object.insert("v".to_owned(), json!(VERSION));
        object.insert("seq".to_owned(), json!(self.seq));
        object.insert("at".to_owned(), json!(in_milliseconds(self.at)));
        object.insert("run".to_owned(), json!(self.run));
        let (kind, host, body) = parts(&self.body);
        object.insert("type".to_owned(), json!(kind));
        if let Some(host) = host {
            object.insert("host".to_owned(), json!(host));
        }
        if let Value::Object(body) = body {
            object.extend(body);
        }
        for (name, longest) in LONGEST {
            cut(&mut object, name, longest);
        }
        object.serialize(serializer)
    }
}

impl Serialize for Planned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items: Vec<Value> = self.items.iter().map(planned_item).collect();
        json!({"items": items, "restarts": self.restarts, "holder": self.holder}).serialize(serializer)
    }
}

/// Returns the type of an event, its host, and its other fields.
fn parts(body: &EventBody) -> (&'static str, Option<&str>, Value) {
    match body {
        EventBody::RunStarted(start) => ("run.started", None, json!(start)),
        EventBody::RunInterrupted(urgency) => ("run.interrupted", None, json!({"urgency": urgency})),
        EventBody::HostProgress { host, text } => ("host.progress", Some(host), json!({"text": text})),
        EventBody::HostPlanned { host, planned } => ("host.planned", Some(host), planned_summary(planned)),
        EventBody::ItemStarted { host, item } => ("item.started", Some(host), json!({"item": item.id})),
        EventBody::ItemOutput { host, id, text } => ("item.output", Some(host), json!({"item": id, "text": text})),
        EventBody::ItemFinished { host, item, outcome, progress } => {
            let mut fields = finished(item, outcome);
            if let Some((done, of)) = progress {
                fields["progress"] = json!({"done": done, "of": of});
            }
            ("item.finished", Some(host), fields)
        }
        EventBody::HostFinished { host, end } => ("host.finished", Some(host), host_end(end)),
        EventBody::RunFinished(end) => ("run.finished", None, run_end(end)),
        EventBody::RunRefused(refusal) => ("run.refused", None, json!(refusal)),
    }
}

/// The stream has the numbers; the items themselves are in the saved plan.
fn planned_summary(planned: &Planned) -> Value {
    json!({
        "items": planned.items.len(),
        "changes": planned.changes(),
        "restarts": planned.restarts,
        "holder": planned.holder,
    })
}

fn planned_item(planned: &PlannedItem) -> Value {
    let mut fields = finished(&planned.item, &planned.outcome);
    if let Value::Object(fields) = &mut fields {
        fields.shift_remove("item");
        fields.shift_remove("duration_ms");
        fields.insert("id".to_owned(), json!(planned.item.id));
        fields.insert("digest".to_owned(), json!(planned.digest));
    }
    fields
}

fn finished(item: &Item, outcome: &Outcome) -> Value {
    json!({
        "item": item.id,
        "kind": item.subject.kind(),
        "role": item.role,
        "name": item.name,
        "resource": item.subject.resource(),
        "status": outcome.status,
        "summary": outcome.summary,
        "warning": outcome.warning,
        "diff": outcome.diff.as_text(),
        "error": outcome.error,
        "file": item.file,
        "line": item.line,
        "duration_ms": milliseconds(outcome.duration),
    })
}

fn host_end(end: &HostEnd) -> Value {
    json!({
        "status": end.status(),
        "error": end.result.error(),
        "help": end.result.help(),
        "counts": counts(end.counts),
        "unpredicted": end.unpredicted,
        "left": end.left,
        "pending_handlers": end.owed,
        "unknown": end.unknown,
        "attach": end.attach,
        "holder": end.holder,
        "round_trips": end.round_trips,
        "bytes_sent": end.bytes_sent,
        "duration_ms": milliseconds(end.duration),
        "facts": end.facts,
    })
}

fn counts(counts: Counts) -> Value {
    let mut fields = json!(counts);
    if let Value::Object(fields) = &mut fields {
        // It counts hosts, and this is one.
        fields.shift_remove("unreachable");
    }
    fields
}

fn run_end(end: &RunEnd) -> Value {
    json!({
        "status": end.status,
        "exit": end.exit,
        "interrupted": end.interrupted,
        "summary": end.summary,
        "duration_ms": milliseconds(end.duration),
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 with milliseconds, in UTC.
fn in_milliseconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{HostResult, HostStatus, ItemSubject, Purpose, Refusal, RunStart, SelectionWords, Status, Urgency},
        values::{Diff, Problem},
    };

    fn item() -> Item {
        Item {
            id: "redis/Configure Redis".into(),
            subject: ItemSubject::Task("template".into()),
            role: "redis".into(),
            name: "Configure Redis".into(),
            file: "roles/redis/role.yml".into(),
            line: 259,
        }
    }

    fn outcome() -> Outcome {
        let mut diff = Diff::none();
        diff.removed("maxmemory 2gb");
        diff.added("maxmemory 4gb");
        Outcome { diff, duration: Duration::from_millis(41), ..Outcome::new(Status::Changed, "content") }
    }

    fn start() -> RunStart {
        RunStart {
            purpose: Purpose::APPLY,
            version: "0.2.0".into(),
            user: "ops@ctl".into(),
            via: "cli".into(),
            hosts: vec!["db".into()],
            roles: vec!["redis".into()],
            selection: SelectionWords { variables: vec!["redis_maxmemory".into()], ..SelectionWords::default() },
            project: crate::event::ProjectState { digest: None, commit: None, dirty: None },
            plan: None,
        }
    }

    fn problem() -> Problem {
        Problem {
            file: Some("roles/redis/role.yml".into()),
            line: Some(3),
            col: Some(5),
            message: "unknown key `tsks` of a role".into(),
            help: Some("did you mean `tasks`?".into()),
            also: Vec::new(),
        }
    }

    #[test]
    fn each_event_is_one_line_of_json() {
        let host = || "db".to_owned();
        let digest = Some("sha256:00".to_owned());
        let planned = Planned {
            items: vec![PlannedItem { item: item(), outcome: outcome(), digest }],
            restarts: vec!["redis.service".into()],
            holder: None,
        };
        let end = HostEnd {
            left: vec!["redis/Start Redis".into()],
            unknown: Some("redis/Configure Redis".into()),
            facts: Some(Map::from_iter([("distribution".into(), json!("Debian")), ("processor_vcpus".into(), json!(4))])),
            ..HostEnd::new(HostResult::Interrupted)
        };
        let run_end = RunEnd::new(HostStatus::Failed, true, Counts::default(), Duration::from_secs(6), false);
        let bodies = [
            EventBody::RunStarted(Box::new(start())),
            EventBody::HostProgress { host: host(), text: "connecting".into() },
            EventBody::HostPlanned { host: host(), planned: Box::new(planned.clone()) },
            EventBody::ItemStarted { host: host(), item: item() },
            EventBody::ItemOutput { host: host(), id: item().id, text: "Setting up …".into() },
            EventBody::ItemFinished { host: host(), item: item(), outcome: outcome(), progress: Some((2, 3)) },
            EventBody::RunInterrupted(Urgency::AfterItem),
            EventBody::HostFinished { host: host(), end: Box::new(end) },
            EventBody::RunFinished(run_end),
            EventBody::RunRefused(Box::new(Refusal::wrong(vec![problem()]))),
            EventBody::RunRefused(Box::new(Refusal::interrupted())),
        ];
        let at = "2026-11-28T08:15:02.1134Z".parse().unwrap();
        let lines = bodies
            .into_iter()
            .zip(1..)
            .map(|(body, seq)| serde_json::to_string(&Event { seq, at, run: "r1".parse().unwrap(), body }).unwrap());
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
        insta::assert_snapshot!(serde_json::to_string_pretty(&planned).unwrap());
    }

    #[test]
    fn a_line_is_at_most_64_kib_long_and_says_what_was_cut() {
        let long = "\"".repeat(1 << 20);
        let mut diff = Diff::none();
        diff.added(&*long);
        let outcome = Outcome { diff, ..outcome() };
        let bodies = [
            (EventBody::ItemOutput { host: "db".into(), id: item().id, text: long }, "text_truncated"),
            (EventBody::ItemFinished { host: "db".into(), item: item(), outcome, progress: None }, "diff_truncated"),
        ];
        for (body, mark) in bodies {
            let event = Event { seq: 1, at: Timestamp::UNIX_EPOCH, run: "r1".parse().unwrap(), body };
            let line = serde_json::to_string(&event).unwrap();
            assert!(line.len() <= 64 << 10 && line.contains(&format!("\"{mark}\":true")), "{}", line.len());
        }
    }
}
