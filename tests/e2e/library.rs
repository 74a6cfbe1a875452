//! The library as a server would use it: two runs at once in one process, with their own sinks and no environment.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use autobot_provision::{
    app::{
        external,
        reach::{self, ConnectionOptions},
        run::{PreparedRun, RunOptions},
    },
    controller::Controller,
    engine::{StopHandle, stop},
    event::{EventBody, Purpose, RING, RunEnd, Urgency},
    inventory::InventorySource,
    plan::{self, Request},
};
use serde_json::{Value, json};

use crate::harness::{Project, TestNode, eventually};

/// A directory with this file is that of the process that uses the library; the file holds the projects of the two runs.
const ORDER: &str = "library-order.json";

const ROLE: &str = "
description: Three tasks
tasks:
  - {name: First, copy: {content: x, dest: /etc/first}}
  - {name: Second, command: {cmd: gate second; touch /etc/second, creates: /etc/second}}
  - {name: Third, copy: {content: x, dest: /etc/third}}
";

#[test]
fn two_runs_at_once_do_not_disturb_each_other_and_each_can_be_ended() {
    if let Ok(order) = fs::read_to_string(ORDER) {
        use_the_library(&serde_json::from_str(&order).unwrap());
        return;
    }
    for urgency in ["after-item", "now"] {
        let (ended, other) = (TestNode::bare().with_gates(), TestNode::bare().with_gates());
        let (one, two) = (Project::toy(&[("one", &ended)], ROLE), Project::toy(&[("two", &other)], ROLE));
        let directory = tempfile::tempdir().unwrap();
        let order = json!({"one": one.path(""), "two": two.path(""), "urgency": urgency});
        fs::write(directory.path().join(ORDER), order.to_string()).unwrap();
        ended.shut("second");
        other.shut("second");
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "library::two_runs_at_once_do_not_disturb_each_other_and_each_can_be_ended";
        command.args(["--exact", name, "--nocapture", "--test-threads", "1"]);
        command.env_clear().current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        other.await_at("second");
        eventually("the first run is asked to end", 60, || {
            directory.path().join("asked").exists() || child.try_wait().unwrap().is_some()
        });
        ended.open("second");
        if urgency == "now" {
            eventually("the first run has ended", 60, || directory.path().join("one.json").exists());
        }
        other.open("second");
        let output = child.wait_with_output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
        // The test's own harness prints this, and nothing else may.
        let printed: Vec<&str> = said.lines().filter(|line| !line.is_empty() && !line.starts_with("test result: ok")).collect();
        assert_eq!(printed, ["running 1 test", &format!("test {name} ... ok")], "{said}");

        let result = |name: &str| -> Value { serde_json::from_slice(&fs::read(directory.path().join(name)).unwrap()).unwrap() };
        let (one, two) = (result("one.json"), result("two.json"));
        let end = |run: &Value| run["events"].as_array().unwrap().iter().rev().nth(1).unwrap().clone();
        assert_eq!((&one["status"], &one["interrupted"]), (&json!("interrupted"), &json!(true)), "{one:#}");
        assert_eq!(end(&one)["left"], json!(["toy/Third"]), "{one:#}");
        assert_eq!((&end(&one)["facts"]["distribution"], &end(&two)["facts"]["system"]), (&json!("Debian"), &json!("Linux")));
        let exits: Vec<&Value> = [&one, &two].map(|run| &run["events"].as_array().unwrap().last().unwrap()["exit"]).into();
        assert_eq!(exits, [130, 0]);
        let unknown = if urgency == "now" { json!("toy/Second") } else { Value::Null };
        assert_eq!(end(&one)["unknown"], unknown, "{one:#}");
        assert!(one["took_ms"].as_u64().unwrap() < 2000 || urgency != "now", "{one:#}");
        assert_eq!((&two["status"], &two["interrupted"]), (&json!("changed"), &json!(false)), "{two:#}");
        assert_eq!(end(&two)["counts"]["changed"], json!(3), "{two:#}");
        for run in [&one, &two] {
            let events = run["events"].as_array().unwrap();
            let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
            assert!(events.iter().all(|event| event["run"] == events[0]["run"]));
            assert_eq!(events.last().unwrap()["type"], "run.finished");
            let digest = events[0]["project"]["digest"].as_str().unwrap();
            assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
        }
        assert_ne!(one["events"][0]["run"], two["events"][0]["run"]);
        eventually("nothing of the ended run is left on its node", 10, || {
            ended.try_sh("test ! -e /run/autobot-provision").status.success()
        });
        assert_eq!(other.sh("ls /etc/first /etc/second /etc/third"), "/etc/first\n/etc/second\n/etc/third");
    }
}

/// Starts both runs. The first is asked to end as soon as its second task works on the node. Writes what happened into the working directory.
fn use_the_library(order: &Value) {
    let urgency = if order["urgency"] == "now" { Urgency::Now } else { Urgency::AfterItem };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let ended = async {
            let (run, handle, stop) = prepare(&order["one"]).await;
            let result = follow(run, stop, Some((handle, urgency))).await;
            fs::write("one.json", result.to_string()).unwrap();
        };
        let other = async {
            let (run, _handle, stop) = prepare(&order["two"]).await;
            let result = follow(run, stop, None).await;
            fs::write("two.json", result.to_string()).unwrap();
        };
        tokio::join!(ended, other);
    });
}

async fn prepare(project: &Value) -> (PreparedRun, StopHandle, autobot_provision::engine::StopSignal) {
    let project = Path::new(project.as_str().unwrap()).to_owned();
    let inventories = vec![InventorySource::Path(project.join("inventory"))];
    // This process is not the program that renders.
    let controller = Controller { renderer: env!("CARGO_BIN_EXE_autobot-provision").into(), ..Controller::default() };
    let request = Request { project, inventories, controller: Arc::new(controller), ..Request::default() };
    let plan = plan::load(&request).unwrap();
    let here = external::Here { project: &request.project, keys: &request.vault, controller: &request.controller };
    let (values, _) = external::fetch(&plan, Purpose::APPLY, here).await.unwrap();
    let options = ConnectionOptions { accept_new_host_keys: false, connect_timeout: Duration::from_secs(10), persist: false };
    let reach = reach::of_hosts(reach::hosts(&plan), options, &request.controller);
    let options = RunOptions {
        purpose: Purpose::APPLY,
        forks: 5,
        wait: Duration::ZERO,
        who: "server@test".to_owned(),
        via: "test".to_owned(),
        detailed_exitcode: false,
        clock: jiff::Timestamp::now,
    };
    let run = PreparedRun::new(plan, values, reach, &request, options).await.unwrap();
    let (handle, signal) = stop();
    (run, handle, signal)
}

/// Carries out a run and collects its events. With `ends`, it is asked to end when its second task has started.
async fn follow(run: PreparedRun, stop: autobot_provision::engine::StopSignal, ends: Option<(StopHandle, Urgency)>) -> Value {
    let mut reader = run.reader(RING);
    let running = tokio::spawn(run.execute(stop));
    let (mut events, mut asked) = (Vec::new(), None);
    while let Some(event) = reader.next().await {
        events.push(serde_json::to_value(event.as_ref()).unwrap());
        if let (EventBody::ItemStarted { item, .. }, Some((handle, urgency))) = (&event.body, &ends)
            && item.name == "Second"
        {
            handle.request(*urgency);
            asked = Some(Instant::now());
            fs::write("asked", "").unwrap();
        }
    }
    let end: RunEnd = running.await.unwrap();
    let took = asked.map(|asked| asked.elapsed().as_millis());
    let fields: BTreeMap<&str, Value> = BTreeMap::from([
        ("status", json!(end.status)),
        ("interrupted", json!(end.interrupted)),
        ("took_ms", json!(took.map(|took| u64::try_from(took).unwrap_or(u64::MAX)))),
        ("events", json!(events)),
    ]);
    json!(fields)
}
