//! The public view of a prediction: what it holds, and what its digests depend on.

use super::*;
use crate::event::{HostResult, Planned};

impl Scratch {
    /// Returns the event `host.planned` of a check.
    fn planned(&self) -> Planned {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sink = Sink::new("r1".parse().unwrap(), jiff::Timestamp::now);
            let (mut reader, events) = (sink.reader(RING), HostEvents::new("node", sink));
            let Prediction { items, secrets, .. } = predicted(&self.host(), &mut self.node(), &events).await;
            events.planned(&items, &secrets, None, false);
            drop(events);
            let event = reader.next().await.unwrap();
            let EventBody::HostPlanned { planned, .. } = &event.body else { panic!("{event:?}") };
            planned.as_ref().clone()
        })
    }
}

#[test]
fn the_facts_of_a_node_are_in_its_end_and_never_a_secret_that_they_repeat() {
    let scratch = Scratch::new(
        "secrets:
  TOKEN: {file: DIR/app.env}
tasks:
  - {name: Write, copy: {content: 'token={{ secrets.TOKEN }}', dest: DIR/conf}}
",
    );
    let end = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut node, events) =
                (scratch.node(), HostEvents::new("node", Sink::new("r1".parse().unwrap(), jiff::Timestamp::now)));
            let unknown = events.end(HostResult::Ok, "").facts;
            assert_eq!(unknown, None, "nothing was asked yet");
            let prediction = predicted(&scratch.host(), &mut node, &events).await;
            events.learned(node.facts(), &prediction.secrets.values);
            events.end(HostResult::Ok, "").facts.unwrap()
        })
    };
    fs::write(scratch.path("work/app.env"), "TOKEN=canary-Aa1-canary\n").unwrap();
    let facts = end();
    let kernel = facts["kernel"].as_str().unwrap().to_owned();
    assert_eq!(kernel, fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
    fs::write(scratch.path("work/app.env"), format!("TOKEN={kernel}\n")).unwrap();
    assert_eq!(end()["kernel"], "‹TOKEN›");
}

fn digests(planned: &Planned) -> Vec<(&str, Option<&str>)> {
    planned.items.iter().map(|planned| (planned.item.id.as_str(), planned.digest.as_deref())).collect()
}

#[test]
fn a_digest_is_of_what_would_be_done_and_of_nothing_else() {
    let role = |content: &str, notify: &str| {
        format!(
            "tasks:
  - {{name: Same, copy: {{content: same, dest: DIR/same}}}}
  - {{name: Write, copy: {{content: {content}, dest: DIR/conf}}, notify: {notify}}}
handlers:
  - {{name: one, command: {{cmd: true}}}}
  - {{name: two, command: {{cmd: true}}}}
health:
  - {{name: Fine, read: {{command: {{argv: [date], reads: true}}}}}}
"
        )
    };
    let scratch = Scratch::new(&role("a", "one"));
    fs::write(scratch.path("work/same"), "same").unwrap();
    let first = scratch.planned();
    assert_eq!(first, scratch.planned(), "the same prediction twice");
    let ids: Vec<(&str, bool)> = digests(&first).iter().map(|(id, digest)| (*id, digest.is_some())).collect();
    assert_eq!(ids, [("toy/Same", false), ("toy/Write", true), ("toy/one", true), ("toy/Fine", false)]);
    let changed = |content: &str, notify: &str| {
        let text = role(content, notify).replace("DIR", scratch.path("work").to_str().unwrap());
        fs::write(scratch.path("roles/toy/role.yml"), text).unwrap();
        let planned = scratch.planned();
        digests(&planned).into_iter().find(|(id, _)| *id == "toy/Write").unwrap().1.unwrap().to_owned()
    };
    let of_write = |planned: &Planned| digests(planned)[1].1.unwrap().to_owned();
    assert_eq!(changed("a", "one"), of_write(&first));
    assert_ne!(changed("b", "one"), of_write(&first), "other content");
    assert_ne!(changed("a", "two"), of_write(&first), "another handler");
    // What is on the node decides what would be done, too.
    fs::write(scratch.path("work/conf"), "old").unwrap();
    assert_ne!(changed("a", "one"), of_write(&first), "an existing file is replaced");
}

#[test]
fn neither_the_view_nor_its_digests_hold_the_value_of_a_secret() {
    let scratch = Scratch::new(
        "secrets:
  TOKEN: {file: DIR/app.env}
tasks:
  - {name: Write, copy: {content: 'token={{ secrets.TOKEN }}', dest: DIR/conf}}
",
    );
    let with = |value: &str| {
        let file = scratch.path("work/app.env");
        fs::write(&file, format!("TOKEN={value}\n")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        scratch.planned()
    };
    let (one, other) = (with("canary-Aa1-canary"), with("canary-Bb2-canary"));
    for view in [&one, &other] {
        let text = format!("{view:?}{}", serde_json::to_string(view).unwrap());
        assert!(text.contains("TOKEN") && !text.contains("canary"), "{text}");
    }
    assert_eq!(digests(&one), digests(&other), "the digest is of the token");
    assert_eq!(one.changes(), 1);
}
