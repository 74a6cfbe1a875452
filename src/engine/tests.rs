//! Runs of the engine against this machine's own shell, in a scratch directory: real frames, real scripts, no connection.

mod parts;
mod planned;
mod results;
mod untrusted;

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{
    asking::Scope,
    held::{Applied, HeldNode, first_round},
    host_events::HostEvents,
    prediction::Prediction,
    secrets::{HostInputs, SharedSecrets},
    stop::stop,
};
use crate::{
    event::{EventBody, HostStatus, RING, Sink, Status},
    inventory::InventorySource,
    plan::{self, HostPlan, Request},
    question::pending,
    secret::SecretValues,
    transport::{Channel, Frame, LinkError, Progress, Running, StepOutput, Traffic, Tunnel},
};

/// A channel to `sh` on this machine. The state directory is in the scratch directory.
struct Shell {
    state: PathBuf,
    frames: u32,
}

impl Channel for Shell {
    async fn run(&mut self, frame: Frame, progress: Progress<'_>) -> Result<Vec<StepOutput>, LinkError> {
        use std::io::Write as _;
        self.frames += 1;
        let mut outputs = Vec::new();
        for step in frame.steps {
            let script = step.script.replace("/var/lib/autobot-provision", self.state.to_str().unwrap());
            // As in the loop on a node.
            let mut shell = Command::new("sh");
            shell.args(["-c", "umask 077; eval \"$1\"", "sh", &script]).env("LC_ALL", "C");
            let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let _ = child.stdin.take().unwrap().write_all(&step.input);
            let output = child.wait_with_output().unwrap();
            String::from_utf8_lossy(&output.stderr).lines().for_each(&mut *progress);
            let status = output.status.code().unwrap_or(137);
            outputs.push(StepOutput { status, stdout: output.stdout.into(), stderr: output.stderr.into(), timed_out: false });
            if status != 0 {
                break;
            }
        }
        Ok(outputs)
    }

    fn tunnel(&self) -> Box<dyn Tunnel> {
        struct Nowhere;
        impl Tunnel for Nowhere {
            fn open<'a>(&'a self, _: &'a str, _: u16) -> Running<'a, std::path::PathBuf> {
                Box::pin(async { Err("this channel has no tunnel".to_owned()) })
            }
        }
        Box::new(Nowhere)
    }

    fn traffic(&self) -> Traffic {
        Traffic { round_trips: self.frames, ..Traffic::default() }
    }

    async fn close(self) {}
}

/// A project with one role, and the directory that its tasks work on.
struct Scratch {
    directory: TempDir,
}

/// The result of a deploy.
struct DeployResult {
    status: HostStatus,
    error: Option<String>,
    unpredicted: Vec<String>,
    items: Vec<(String, Status, String)>,
    log: String,
}

impl DeployResult {
    fn status_of(&self, id: &str) -> Option<Status> {
        self.items.iter().find(|(item, _, _)| item == id).map(|(_, status, _)| *status)
    }
}

impl Scratch {
    /// Makes a project of `role`, in which `DIR` stands for the directory that the tasks work on.
    fn new(role: &str) -> Self {
        let scratch = Self { directory: tempfile::tempdir().unwrap() };
        for directory in ["roles/toy", "templates/toy", "inventory", "work", "state"] {
            fs::create_dir_all(scratch.path(directory)).unwrap();
        }
        let role = role.replace("DIR", scratch.path("work").to_str().unwrap());
        fs::write(scratch.path("roles/toy/role.yml"), role).unwrap();
        fs::write(scratch.path("inventory/hosts.yml"), "all: {hosts: {node: {autobot_roles: [toy]}}}\n").unwrap();
        scratch
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path("work").join(path)).ok()
    }

    fn node(&self) -> HeldNode<Shell> {
        HeldNode::new(Shell { state: self.path("state"), frames: 0 }, None)
    }

    fn host(&self) -> HostPlan {
        let inventories = vec![InventorySource::Path(self.path("inventory"))];
        let request = Request { project: self.directory.path().to_owned(), inventories, ..Request::default() };
        plan::load(&request).unwrap_or_else(|errors| panic!("{}", errors.render(false))).hosts.remove(0)
    }

    fn deploy(&self) -> DeployResult {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let host = self.host();
            let mut node = self.node();
            let sink = Sink::new("r1".parse().unwrap(), jiff::Timestamp::now);
            let (mut reader, host_events) = (sink.reader(RING), HostEvents::new("node", sink));
            let prediction = predicted(&host, &mut node, &host_events).await;
            host_events.planned(&prediction.items, &prediction.secrets, None, true);
            let (_handle, stop) = stop();
            let Ok(Applied { end, .. }) = node.apply(prediction, &host_events, &stop, None).await else {
                panic!("the link was lost")
            };
            drop(host_events);
            let (mut items, mut log) = (Vec::new(), String::new());
            while let Some(event) = reader.next().await {
                let _ = writeln!(log, "{event:?}");
                if let EventBody::ItemFinished { item, outcome, .. } = &event.body {
                    let text = outcome.error.as_ref().unwrap_or(&outcome.summary);
                    items.push((item.id.clone(), outcome.status, text.clone()));
                }
            }
            let error = end.result.error().map(str::to_owned);
            DeployResult { status: end.result.status(), error, unpredicted: end.unpredicted, items, log }
        })
    }
}

/// Asks this machine until everything is predicted.
async fn predicted(host: &HostPlan, node: &mut HeldNode<Shell>, events: &HostEvents) -> Prediction {
    node.ask(&first_round(host, Scope::Everything).unwrap(), &mut |_: &str| {}).await.unwrap();
    let (provided, shared) = (SecretValues::default(), SharedSecrets::default());
    let inputs = HostInputs { plan: host, provided: &provided, shared: &shared };
    let Ok(prediction) = node.predict(&inputs, events).await else { panic!("it cannot be predicted") };
    prediction
}

const HANDLER: &str = "handlers:\n  - {name: count, command: {cmd: echo x >>DIR/count}}\n";

#[test]
fn a_handler_runs_when_another_task_made_the_change() {
    let scratch = Scratch::new(&format!(
        "tasks:
  - {{name: Generate, command: {{cmd: printf new >DIR/conf; touch DIR/done, creates: DIR/done}}}}
  - {{name: Configure, copy: {{content: new, dest: DIR/conf}}, notify: count}}
{HANDLER}"
    ));
    let result = scratch.deploy();
    assert_eq!(result.status, HostStatus::Changed, "{:?}", result.items);
    assert_eq!(result.items[1], ("toy/Configure".to_owned(), Status::Changed, "by `Generate`".to_owned()));
    assert_eq!(scratch.read("count").as_deref(), Some("x\n"), "{:?}", result.items);
    assert_eq!(scratch.deploy().status, HostStatus::Ok);
    assert_eq!(scratch.read("count").as_deref(), Some("x\n"));
}

#[test]
fn a_change_of_a_file_that_an_earlier_task_makes_is_not_called_a_creation() {
    let scratch = Scratch::new(
        "tasks:
  - {name: Write, copy: {content: \"x\\n\", dest: DIR/conf}}
  - {name: Edit, lineinfile: {path: DIR/conf, line: hi 1}}
  - {name: Other, copy: {content: y, dest: DIR/other}}\n",
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let events = HostEvents::new("node", Sink::new("r1".parse().unwrap(), jiff::Timestamp::now));
    let prediction = runtime.block_on(predicted(&scratch.host(), &mut scratch.node(), &events));
    let summaries: Vec<&str> = prediction.items.iter().map(|work| work.predicted.summary.as_str()).collect();
    assert_eq!(summaries, ["create", "change, after `Write`", "create"]);
    assert_eq!(scratch.deploy().items[1].2, "line added");
    assert_eq!(scratch.read("conf").as_deref(), Some("x\nhi 1\n"));
}

#[test]
fn an_unpredicted_handler_run_is_reported() {
    let scratch = Scratch::new(&format!(
        "tasks:
  - {{name: Spoil, command: {{cmd: printf spoiled >DIR/conf; touch DIR/done, creates: DIR/done}}}}
  - {{name: Configure, copy: {{content: new, dest: DIR/conf}}, notify: count}}
{HANDLER}"
    ));
    fs::write(scratch.path("work/conf"), "new").unwrap();
    let result = scratch.deploy();
    assert_eq!(result.status_of("toy/count"), Some(Status::Changed), "{:?}", result.items);
    assert_eq!(result.unpredicted, ["toy/Configure", "toy/count"]);
    assert_eq!(scratch.read("count").as_deref(), Some("x\n"));
}

#[test]
fn no_secret_is_created_for_data_that_already_exists() {
    let scratch = Scratch::new(
        "secrets: {TOKEN: {file: DIR/secrets.env}}
tasks:
  - {name: Restore, command: {cmd: mkdir DIR/app && echo old >DIR/app/token, creates: DIR/app}}
  - {name: Configure, copy: {content: '{{ secrets.TOKEN }}', dest: DIR/app/token}}
",
    );
    let result = scratch.deploy();
    assert_eq!(result.status, HostStatus::Failed, "{:?}", result.items);
    let (id, _, error) = result.items.last().unwrap();
    assert_eq!(id, "toy/secret TOKEN");
    assert!(error.contains("what it protects already exists"), "{error}");
    assert_eq!(scratch.read("secrets.env"), None, "the secret was created nevertheless");
    assert_eq!(scratch.read("app/token").as_deref(), Some("old\n"));
}

#[test]
fn a_change_undone_by_a_later_task_is_found() {
    let scratch = Scratch::new(
        "tasks:
  - {name: First, copy: {content: new, dest: DIR/conf}}
  - {name: Spoil, command: {cmd: printf spoiled >DIR/conf; touch DIR/done DIR/last, creates: DIR/done}}
  - {name: Last, command: {cmd: touch DIR/last, creates: DIR/last}}
",
    );
    let result = scratch.deploy();
    assert_eq!(result.status, HostStatus::Failed, "{:?}", result.items);
    assert!(result.error.unwrap().contains("toy/First"));
}

#[test]
fn a_task_is_retried_as_often_as_declared() {
    let role = |retries: u32| {
        format!("tasks:\n  - {{name: Flaky, command: {{cmd: 'echo x >>DIR/tries; [ $(wc -l <DIR/tries) -ge 3 ]', creates: DIR/none, unless: 'x'}}, retries: {retries}, delay: 0}}\n")
            .replace("creates: DIR/none, unless: 'x'", "unless: '[ -f DIR/tries ] && [ $(wc -l <DIR/tries) -ge 3 ]'")
    };
    let scratch = Scratch::new(&role(2));
    assert_eq!(scratch.deploy().status, HostStatus::Changed);
    let scratch = Scratch::new(&role(1));
    assert_eq!(scratch.deploy().status, HostStatus::Failed);
    assert_eq!(scratch.read("tries").as_deref(), Some("x\nx\n"));
}

#[test]
fn no_log_hides_all_output() {
    let scratch = Scratch::new(
        "tasks:
  - {name: Quiet, command: {cmd: 'echo hunter2-out; echo hunter2-err >&2; exit 1', creates: DIR/none}, no_log: true, retries: 1, delay: 0}
",
    );
    let result = scratch.deploy();
    assert_eq!(result.status, HostStatus::Failed);
    assert!(!result.log.contains("hunter2"), "{}", result.log);
}

#[test]
fn files_created_by_a_handler_are_readable_by_others() {
    let scratch = Scratch::new(
        "tasks:
  - {name: Configure, copy: {content: new, dest: DIR/conf}, notify: make}
handlers:
  - {name: make, command: {cmd: touch DIR/made}}
",
    );
    assert_eq!(scratch.deploy().status, HostStatus::Changed);
    assert_eq!(fs::metadata(scratch.path("work/made")).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(scratch.path("state/pending")).unwrap().count(), 0, "{}", pending::DIRECTORY);
}

/// Even a check once ran shell code from a variable or from an answer of the node.
#[test]
fn values_in_shell_parameters_are_never_run_as_code() {
    let scratch = Scratch::new(
        r#"defaults:
  x: {type: string, default: "a'\"; touch DIR/F; $(touch DIR/F) `touch DIR/F` %s\ntouch DIR/F"}
tasks:
  - {name: Operator, command: {cmd: "printf '[%s]' {{ x }} x{{ x }}y \"$(printf '<%s>' {{ x }})\"", reads: true}, register: operator}
  - {name: Node, command: {argv: [printf, "%s", "a; touch DIR/F"], reads: true}, register: node}
  - {name: Of the node, command: {cmd: "echo {{ node.stdout }} >/dev/null", reads: true}}
  - {name: Unless, command: {cmd: "printf %s {{ x }} >DIR/unless", unless: "test -e DIR/unless || test {{ x }} = a"}}
  - {name: Only if, command: {cmd: "printf %s {{ x }} >DIR/only_if", only_if: "test {{ x }} != a && ! test -e DIR/only_if"}}
  - {name: Said, copy: {content: "{{ operator.stdout }}", dest: DIR/said, validate: "cat %s >DIR/first; echo {{ x }} >DIR/validated"}, notify: [command, ready]}
handlers:
  - {name: command, command: {cmd: "printf %s {{ x }} >DIR/handler"}}
  - {name: ready, command: {cmd: "true"}, ready: {command: "printf %s {{ x }} >DIR/ready", timeout: 5s}}
"#,
    );
    let result = scratch.deploy();
    assert_eq!(result.status, HostStatus::Changed, "{:?} {:?}", result.error, result.items);
    let work = scratch.path("work").display().to_string();
    let x = format!("a'\"; touch {work}/F; $(touch {work}/F) `touch {work}/F` %s\ntouch {work}/F");
    assert_eq!(scratch.read("said"), Some(format!("[{x}][x{x}y][<{x}>]")));
    assert_eq!(scratch.read("first"), scratch.read("said"));
    assert!(scratch.read("validated").is_some_and(|validated| validated.trim_end() == x));
    for file in ["unless", "only_if", "handler", "ready"] {
        assert_eq!(scratch.read(file).as_deref(), Some(x.as_str()), "{file}");
    }
    assert_eq!(scratch.read("F"), None);
    assert_eq!(scratch.deploy().status, HostStatus::Ok);
    assert_eq!(scratch.read("F"), None);
}
