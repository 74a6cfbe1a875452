//! A check of a stranger's project: what a role says is not run on the node, and what the node's files hold is not shown.

use super::*;
use crate::source::Trust;

const CANARY: &str = "canary-content";

/// Everything by which a role has text or a program of its own run in a check, or its content shown.
const HOSTILE: &str = "secrets:
  canary: {file: DIR/secret}
tasks:
  - {name: Reads, command: {cmd: 'cat DIR/secret; touch DIR/made', reads: true}, register: said}
  - {name: Argv, command: {argv: [touch, DIR/made], reads: true}}
  - {name: Unless, command: {cmd: 'true', unless: touch DIR/made}}
  - {name: Only if, command: {cmd: 'true', only_if: touch DIR/made}}
  - {name: Says it, assert: {that: said.stdout == 'x', fail_msg: '{{ said.stdout }}'}}
  - {name: 'Says {{ said.stdout }}', copy: {content: '{{ said.stdout }}', dest: DIR/x}}
  - {name: Fails without it, copy: {content: '{{ said.stdout_lines[3] }}', dest: DIR/x}}
  - {name: Creates, command: {cmd: touch DIR/made, creates: DIR/none}}
  - {name: Replaces, copy: {content: x, dest: DIR/secret, validate: 'touch DIR/made; true %s'}}
  - {name: Edits, lineinfile: {path: DIR/secret, line: x}, notify: run}
  - {name: Takes away, lineinfile: {path: DIR/secret, regexp: canary, state: absent}}
  - {name: Uses a secret, copy: {content: '{{ secrets.canary }}', dest: DIR/x}}
  - {name: Is there, file: {path: DIR, state: directory}}
handlers:
  - {name: run, command: {cmd: touch DIR/made}, ready: {command: touch DIR/made}}
health:
  - {name: Reads too, read: {command: {cmd: 'cat DIR/secret; touch DIR/made; exit 1', reads: true}}}
  - {name: Names a program, read: {redis: {cli: DIR/program, password_file: DIR/secret, password_key: canary, port: 1}}}
";

/// Predicts a check, and returns what becomes of each item and everything that its readers get.
fn check(scratch: &Scratch, trust: Trust) -> (Vec<(String, Status)>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let inventories = vec![InventorySource::Path(scratch.path("inventory"))];
        let request = Request { project: scratch.directory.path().to_owned(), inventories, trust, ..Request::default() };
        let plan = plan::load(&request).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        let sink = Sink::new("r1".parse().unwrap(), jiff::Timestamp::now);
        let (mut reader, events) = (sink.reader(RING), HostEvents::new("node", sink));
        let prediction = predicted(&plan.hosts[0], &mut scratch.node(), &events).await;
        events.planned(&prediction.items, &prediction.secrets, None, false);
        for (index, work) in prediction.items.iter().enumerate() {
            events.finished(index, work, work.predicted.clone(), &prediction.secrets.values);
        }
        drop(events);
        let mut log = String::new();
        while let Some(event) = reader.next().await {
            let _ = writeln!(log, "{event:?}");
        }
        let status = |work: &crate::engine::work::RunItem| (work.item.id.clone(), work.predicted.status);
        (prediction.items.iter().map(status).collect(), log)
    })
}

fn scratch() -> Scratch {
    let scratch = Scratch::new(HOSTILE);
    fs::write(scratch.path("work/secret"), format!("canary=a-secret-value\nother={CANARY}\n")).unwrap();
    let program = format!("#!/bin/sh\n: >{}\n", scratch.path("work/made").display());
    fs::write(scratch.path("work/program"), program).unwrap();
    fs::set_permissions(scratch.path("work/program"), fs::Permissions::from_mode(0o755)).unwrap();
    scratch
}

#[test]
fn a_strangers_role_runs_nothing_and_shows_nothing() {
    let scratch = scratch();
    let (items, log) = check(&scratch, Trust::Stranger);
    assert_eq!(scratch.read("made"), None, "the role's text was run");
    assert!(!log.contains(CANARY), "{log}");
    let unknown = [
        "Reads",
        "Argv",
        "Unless",
        "Only if",
        "Says it",
        "Says",
        "Fails without it",
        "Uses a secret",
        "Reads too",
        "Names a program",
    ];
    let changed = ["Creates", "Replaces", "Edits", "Takes away", "run"];
    let names = |wanted: Status| {
        let items = items.iter().filter(move |(_, status)| *status == wanted);
        items.map(|(id, _)| id.trim_start_matches("toy/").to_owned()).collect::<Vec<String>>()
    };
    let found = names(Status::Unknown);
    assert_eq!(found.len(), unknown.len(), "{items:?}");
    assert!(found.iter().zip(unknown).all(|(found, name)| found.starts_with(name)), "{found:?}");
    assert_eq!(names(Status::Changed), changed);
    assert_eq!(names(Status::Ok), ["Is there"]);
}

#[test]
fn the_same_role_runs_and_shows_where_it_is_trusted() {
    let scratch = scratch();
    let (_, log) = check(&scratch, Trust::Own);
    assert!(scratch.read("made").is_some() && log.contains(CANARY), "{log}");
}

#[test]
fn the_reason_of_a_failure_is_not_shown_to_a_stranger() {
    let scratch = Scratch::new("tasks:\n  - {name: Cannot, lineinfile: {path: DIR/none, line: x}}\n");
    let (items, log) = check(&scratch, Trust::Own);
    assert_eq!(items[0].1, Status::Failed, "{items:?}");
    let path = scratch.path("work/none").display().to_string();
    assert!(log.contains(&format!("`{path}`")), "{log}");
    let (items, log) = check(&scratch, Trust::Stranger);
    assert_eq!(items[0].1, Status::Failed, "{items:?}");
    assert!(log.contains("it would fail; why is not shown") && !log.contains(&path), "{log}");
}
