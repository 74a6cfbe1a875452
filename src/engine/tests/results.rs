//! The scope of registered results, in a deploy and in `health` alike.

use super::*;

/// Prints `theirs`, and is registered as `said`.
const THEIRS: &str = "tasks:\n  - {name: Ask, command: {argv: [printf, '%s', theirs], reads: true}, register: said}\n";

impl Scratch {
    /// Makes a project whose host has these roles, by name, instead of `toy`.
    pub(super) fn with_roles(roles: &[(&str, &str)]) -> Self {
        let scratch = Self::new("tasks: []\n");
        for (name, text) in roles {
            fs::create_dir_all(scratch.path(&format!("roles/{name}"))).unwrap();
            let text = text.replace("DIR", scratch.path("work").to_str().unwrap());
            fs::write(scratch.path(&format!("roles/{name}/role.yml")), text).unwrap();
        }
        let names: Vec<&str> = roles.iter().map(|(name, _)| *name).collect();
        let inventory = format!("all: {{hosts: {{node: {{autobot_roles: [{}]}}}}}}\n", names.join(", "));
        fs::write(scratch.path("inventory/hosts.yml"), inventory).unwrap();
        scratch
    }

    /// Returns what `health` reports: items, their states and messages.
    fn health(&self) -> Vec<(String, Status, String)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let host = self.host();
            let mut node = self.node();
            node.ask(&first_round(&host, Scope::Health).unwrap(), &mut |_: &str| {}).await.unwrap();
            let (provided, shared) = (SecretValues::default(), SharedSecrets::default());
            let inputs = HostInputs { plan: &host, provided: &provided, shared: &shared };
            let sink = Sink::new("r1".parse().unwrap(), jiff::Timestamp::now);
            let (mut reader, events) = (sink.reader(RING), HostEvents::new("node", sink));
            let Ok(checkup) = node.check(&inputs, &events).await else { panic!("it cannot be evaluated") };
            node.exercise(checkup, false, &events).await;
            drop(events);
            let mut items = Vec::new();
            while let Some(event) = reader.next().await {
                if let EventBody::ItemFinished { item, outcome, .. } = &event.body {
                    let text = outcome.error.as_ref().unwrap_or(&outcome.summary);
                    items.push((item.id.clone(), outcome.status, text.clone()));
                }
            }
            items
        })
    }
}

#[test]
fn a_result_of_another_role_is_not_a_variable() {
    let ours = "defaults: {said: {type: string, default: mine}}
tasks:
  - {name: Ours, assert: {that: said == 'mine'}}
health:
  - {name: Still ours, read: {assert: {that: said == 'mine'}}}
";
    let scratch = Scratch::with_roles(&[("t", THEIRS), ("b", ours)]);
    let result = scratch.deploy();
    assert_eq!(result.status, HostStatus::Ok, "{:?}", result.items);
    let states: Vec<(String, Status)> = scratch.health().into_iter().map(|(id, status, _)| (id, status)).collect();
    assert_eq!(states, [("b/Still ours".to_owned(), Status::Ok)]);
}

#[test]
fn a_result_is_seen_by_later_tasks_handlers_and_health_checks_of_its_role() {
    let role = format!(
        "{THEIRS}  - {{name: Write, copy: {{content: '{{{{ said.stdout }}}} {{{{ said.skipped }}}}', dest: DIR/conf}}, notify: note}}
handlers:
  - {{name: note, command: {{cmd: 'echo {{{{ said.rc }}}} >>DIR/count'}}}}
health:
  - {{name: Said, when: said.stdout == 'theirs' and not said.skipped, read: {{file: {{path: DIR/conf, state: file}}}}}}
"
    );
    let scratch = Scratch::with_roles(&[("t", &role), ("u", &role.replace("theirs", "others").replace("DIR/", "DIR/u-"))]);
    let result = scratch.deploy();
    assert_eq!(result.status, HostStatus::Changed, "{:?}", result.items);
    assert_eq!(scratch.read("conf").as_deref(), Some("theirs false"));
    assert_eq!(scratch.read("u-conf").as_deref(), Some("others false"));
    assert_eq!(scratch.read("count").as_deref(), Some("0\n"));
    let health = scratch.health();
    let states: Vec<(&str, Status)> = health.iter().map(|(id, status, _)| (id.as_str(), *status)).collect();
    assert_eq!(states, [("t/Said", Status::Ok), ("u/Said", Status::Ok)], "{health:?}");
}

#[test]
fn an_error_found_with_real_facts_is_one_line_in_health_and_fails_a_deploy() {
    let role = format!(
        "{THEIRS}  - {{name: Next, command: {{argv: [printf, '{{{{ said.stdout_lines[7] }}}}'], reads: true}}, register: next}}
health:
  - {{name: Well, read: {{assert: {{that: true}}}}}}
"
    );
    let scratch = Scratch::with_roles(&[("t", &role)]);
    let result = scratch.deploy();
    assert_eq!(result.status, HostStatus::Failed, "{:?}", result.items);
    assert_eq!(result.items.last().unwrap().0, "t/Next");
    let health = scratch.health();
    let states: Vec<(&str, Status)> = health.iter().map(|(id, status, _)| (id.as_str(), *status)).collect();
    assert_eq!(states, [("t/Next", Status::Failed), ("t/Well", Status::Ok)], "{health:?}");
    let message = &health[0].2;
    assert!(message.starts_with("roles/t/role.yml:3:") && !message.contains('\n') && !message.contains("1 error"), "{message}");
}

/// Returns a role whose handler counts how often it runs.
fn renamed(was: &str, handler_was: &str) -> String {
    format!(
        "{was}tasks:
  - {{name: Configure, copy: {{content: new, dest: DIR/conf}}, notify: tally}}
handlers:
  - {{name: tally, {handler_was}command: {{cmd: echo x >>DIR/count}}}}
"
    )
}

#[test]
fn a_handler_pending_under_a_former_name_runs_once() {
    for (was, handler_was, mark) in [
        ("", "was: count them, ", "fresh.count-them"),
        ("was: stale\n", "", "stale.tally"),
        ("was: [staler, stale]\n", "was: [sum, count], ", "stale.count"),
    ] {
        let scratch = Scratch::with_roles(&[("fresh", &renamed(was, handler_was))]);
        fs::write(scratch.path("work/conf"), "new").unwrap();
        fs::create_dir_all(scratch.path("state/pending")).unwrap();
        fs::write(scratch.path("state/pending").join(mark), "an-earlier-boot 0 \n").unwrap();
        let result = scratch.deploy();
        assert_eq!(result.unpredicted, [""; 0], "{mark}: {:?}", result.items);
        let (id, status, why) = result.items.last().unwrap();
        assert_eq!((id.as_str(), *status, why.as_str()), ("fresh/tally", Status::Changed, "still pending from an earlier run"));
        assert_eq!(scratch.read("count").as_deref(), Some("x\n"), "{mark}");
        assert_eq!(fs::read_dir(scratch.path("state/pending")).unwrap().count(), 0, "{mark}");
        assert_eq!(scratch.deploy().status, HostStatus::Ok);
    }
}

#[test]
fn marks_under_old_and_new_names_run_the_handler_once() {
    let scratch = Scratch::with_roles(&[("fresh", &renamed("", "was: count, "))]);
    fs::create_dir_all(scratch.path("state/pending")).unwrap();
    for mark in ["fresh.count", "fresh.tally", "other.count"] {
        fs::write(scratch.path("state/pending").join(mark), "an-earlier-boot 0 \n").unwrap();
    }
    // The task notifies it as well.
    assert_eq!(scratch.deploy().status, HostStatus::Changed);
    assert_eq!(scratch.read("count").as_deref(), Some("x\n"));
    let left: Vec<_> = fs::read_dir(scratch.path("state/pending")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["other.count"]);
}
