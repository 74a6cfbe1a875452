//! Runs the real scripts on this machine, in a scratch directory, with a stand-in for `systemd-run`.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::*;
use crate::secret::SecretValues;

const LINE: &str = "1 2 1700000000 run-1 ann@ci";

/// Starts the unit's program as systemd would: in a session of its own, with no standard streams.
const SYSTEMD_RUN: &str = r#"#!/bin/sh
printf '%s\n' "$*" >>"$CALLS"
while case $1 in -*) ;; *) false ;; esac; do shift; done
setsid "$@" </dev/null >/dev/null 2>&1 9>&- &
"#;

/// A node's run directory, held by a run.
struct Node {
    directory: TempDir,
    /// The first lock. Dropped with the run.
    run: Option<File>,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["run", "tools", "booted"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let tool = directory.path().join("tools/systemd-run");
        fs::write(&tool, SYSTEMD_RUN).unwrap();
        fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).unwrap();
        let lock = directory.path().join("run/lock");
        fs::write(&lock, format!("{LINE}\n")).unwrap();
        let run = File::open(lock).unwrap();
        run.lock().unwrap();
        Self { directory, run: Some(run) }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Starts a script as the loop does.
    fn spawn(&self, script: &Script) -> Child {
        let at = |path: &str| self.path(path).to_str().unwrap().to_owned();
        let text = script.render().unwrap().replace(RUN_DIRECTORY, &at("run")).replace("/run/systemd/system", &at("booted"));
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 077; eval \"$1\"", "sh", &text]).env("CALLS", at("calls"));
        shell.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", at("tools")));
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let input = script.sealed_input().reveal(&SecretValues::default()).unwrap();
        let _ = child.stdin.take().unwrap().write_all(&input);
        child
    }

    fn run(&self, script: &Script) -> Output {
        self.spawn(script).wait_with_output().unwrap()
    }

    /// The only job, if there is one.
    fn job(&self) -> Option<Job> {
        let output = self.run(&list());
        assert!(output.status.success(), "{output:?}");
        let mut jobs = read_jobs(&String::from_utf8_lossy(&output.stdout));
        assert!(jobs.len() < 2, "{jobs:?}");
        jobs.pop()
    }

    fn state(&self) -> Option<JobState> {
        self.job().map(|job| job.state)
    }

    fn start(&self, id: &JobId, text: &'static str) {
        let script = Script::new(text).arg(self.path("").to_str().unwrap());
        let started = self.run(&start(id, script, PURPOSE));
        assert!(started.status.success(), "{}", said(&started));
    }

    fn second_lock_is_free(&self) -> bool {
        File::open(self.path("run/jobs/lock")).is_ok_and(|lock| lock.try_lock().is_ok())
    }
}

const PURPOSE: JobPurpose = JobPurpose { phase: "toy", spared: "" };

fn id() -> JobId {
    JobId::parse("job-1").unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_job_is_like_a_script_but_for_where_it_runs() {
    let node = Node::new();
    let input: Vec<u8> = (0..=255).cycle().take(50_000).collect();
    let script =
        Script::new("cat; printf '%s|' \"$@\" >&2; umask >&2; pwd >&2; echo \"$CALLS\" >&2; exit 7").arg("a'b").arg("c d");
    let output = node.run(&run_and_follow(script.clone().input(input.clone()), PURPOSE));
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    assert!(output.stdout == input, "{} bytes", output.stdout.len());
    assert_eq!(said(&output), format!("a'b|c d|0077\n/\n{}\n", node.path("calls").display()));
    assert!(!node.path("run/jobs").exists(), "the job is gone with its result");
    let calls = fs::read_to_string(node.path("calls")).unwrap();
    assert!(calls.ends_with("/run\n") && calls.contains(" /bin/sh ") && !calls.contains("a'b"), "{calls}");
    // Without a run that holds the node, and without systemd, it is the script itself.
    fs::remove_dir(node.path("booted")).unwrap();
    let output = node.run(&run_and_follow(script.clone().input(input.clone()), PURPOSE));
    assert_eq!((output.status.code(), output.stdout == input), (Some(7), true));
    let rest = said(&output);
    let rest = rest.strip_prefix("warning: this node does not run systemd").unwrap_or_else(|| panic!("{rest}"));
    assert!(rest.split_once('\n').unwrap().1.starts_with("a'b|c d|"), "{rest}");
    fs::remove_file(node.path("run/lock")).unwrap();
    let output = node.run(&run_and_follow(script, PURPOSE));
    assert!(output.status.code() == Some(7) && said(&output).starts_with("a'b|c d|"), "{}", said(&output));
    assert_eq!(fs::read_to_string(node.path("calls")).unwrap(), calls, "no other unit was started");
}

#[test]
fn a_job_outlives_its_run_and_is_found_followed_and_collected_by_another() {
    let mut node = Node::new();
    node.start(&id(), "echo first >&2; echo out; until [ -e \"$1/go\" ]; do sleep 0.05; done; echo second >&2; exit 3");
    drop(node.run.take());
    fs::remove_file(node.path("run/lock")).unwrap();
    until("the first line is there", || node.job().is_some_and(|job| job.written.err == 6));
    let job = Job {
        id: id(),
        run_id: "run-1".into(),
        who: "ann@ci".into(),
        since: Timestamp::from_second(1_700_000_000).unwrap(),
        phase: "toy".into(),
        state: JobState::Running,
        written: Offsets { out: 4, err: 6 },
    };
    assert_eq!(node.job(), Some(job.clone()));
    assert!(!node.second_lock_is_free());
    let line = fs::read_to_string(node.path("run/jobs/lock")).unwrap();
    assert_eq!(line.split(' ').skip(2).collect::<Vec<_>>().join(" "), "1700000000 run-1 ann@ci job-1 toy\n");
    for entry in fs::read_dir(node.path("run/jobs/job-1")).unwrap() {
        let found = entry.unwrap().metadata().unwrap();
        assert!(found.is_file() && found.mode() & 0o7777 == 0o600, "{found:?}");
    }
    assert_eq!(fs::metadata(node.path("run/jobs/job-1")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(node.run(&remove(&id())).status.code(), Some(1), "it is under way");

    let attached = node.spawn(&follow(&id(), Offsets { out: 0, err: 6 }, LIMIT));
    fs::write(node.path("go"), "").unwrap();
    let followed = attached.wait_with_output().unwrap();
    assert_eq!((followed.status.code(), said(&followed).as_str(), &*followed.stdout), (Some(3), "second\n", &b"out\n"[..]));
    // Followed again, from the beginning.
    let followed = node.run(&follow(&id(), Offsets::default(), LIMIT));
    assert_eq!((followed.status.code(), said(&followed).as_str()), (Some(3), "first\nsecond\n"));
    assert_eq!(node.job(), Some(Job { state: JobState::Ended { status: 3 }, written: Offsets { out: 4, err: 13 }, ..job }));
    until("the lock is free", || node.second_lock_is_free());
    assert!(node.run(&remove(&id())).status.success());
    assert_eq!(node.job(), None);
    assert!(!node.path("run/jobs").exists());
    assert_eq!(node.run(&follow(&id(), Offsets::default(), LIMIT)).status.code(), Some(75));
}

#[test]
fn a_job_that_was_killed_is_no_success() {
    let node = Node::new();
    node.start(&id(), "echo $$ >\"$1/script\"; echo said >&2; until [ -e \"$1/go\" ]; do sleep 0.05; done");
    until("it runs", || node.path("script").exists());
    let line = fs::read_to_string(node.path("run/jobs/lock")).unwrap();
    assert!(Command::new("kill").args(["-9", line.split(' ').next().unwrap()]).status().unwrap().success());
    until("it is found killed", || node.state() == Some(JobState::Killed));
    let followed = node.run(&follow(&id(), Offsets::default(), LIMIT));
    assert_eq!(followed.status.code(), Some(1));
    assert_eq!(said(&followed), "said\nthe job job-1 was killed before it ended: what it did is not known\n");
    let script = fs::read_to_string(node.path("script")).unwrap();
    fs::write(node.path("go"), "").unwrap();
    until("the script has ended", || !Path::new("/proc").join(script.trim()).exists());
}

#[test]
fn what_a_job_writes_is_kept_up_to_a_bound_and_does_not_stop_it() {
    let node = Node::new();
    let script = Script::new("head -c 9000000 /dev/zero; echo done >&2");
    let output = node.run(&run_and_follow(script, PURPOSE));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout.len(), 512 * BLOCKS as usize);
    assert_eq!(said(&output), "done\nthe job's output is longer: the rest was not kept\n");
}

#[test]
fn a_job_is_ended_at_its_limit() {
    let node = Node::new();
    let script = Script::new("echo said >&2; sleep 1000.77; echo never >&2").limit(Duration::from_secs(1));
    let output = node.run(&run_and_follow(script, PURPOSE));
    assert_eq!(
        (output.status.code(), said(&output).as_str()),
        (Some(124), "said\nran into its time limit of 1 s and was ended\n")
    );
}

#[test]
fn a_cancelled_job_ends_and_says_so_to_all_that_follow_it() {
    let node = Node::new();
    node.start(&id(), "echo said >&2; : >\"$1/ready\"; sleep 1000.78; echo never >&2");
    // What it says goes through a pipe, and `cancel` shows what comes from then on.
    until("it has said so", || fs::read(node.path("run/jobs/job-1/err")).is_ok_and(|said| !said.is_empty()));
    let followed = node.spawn(&follow(&id(), Offsets::default(), LIMIT));
    let cancelled = node.run(&cancel(&id()));
    assert_eq!((cancelled.status.code(), said(&cancelled).as_str()), (Some(CANCELLED), "was cancelled\n"));
    let followed = followed.wait_with_output().unwrap();
    assert_eq!((followed.status.code(), said(&followed).as_str()), (Some(CANCELLED), "said\nwas cancelled\n"));
    assert_eq!(node.state(), Some(JobState::Ended { status: CANCELLED }));
    // Once more: it has ended already.
    assert_eq!(node.run(&cancel(&id())).status.code(), Some(CANCELLED));
    assert_eq!(node.run(&cancel(&JobId::parse("other").unwrap())).status.code(), Some(75));
}

#[test]
fn a_daemon_that_keeps_the_outputs_open_does_not_keep_the_job() {
    let node = Node::new();
    let script = Script::new("(until [ -e \"$1/go\" ]; do sleep 0.05; done; : >\"$1/gone\") & echo done")
        .arg(node.path("").to_str().unwrap());
    let output = node.run(&run_and_follow(script, PURPOSE));
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"done\n"[..]));
    fs::write(node.path("go"), "").unwrap();
    until("the daemon lives on", || node.path("gone").exists());
}

#[test]
fn no_job_begins_when_its_run_no_longer_holds_the_node() {
    for taken_over in [false, true] {
        let mut node = Node::new();
        // Another job's lock delays it until the run is gone.
        fs::create_dir(node.path("run/jobs")).unwrap();
        let other = File::create(node.path("run/jobs/lock")).unwrap();
        other.lock().unwrap();
        let begun = start(&id(), Script::new(": >\"$1/ran\"").arg(node.path("").to_str().unwrap()), PURPOSE);
        let beginning = node.spawn(&begun);
        until("the unit runs", || node.path("calls").exists());
        if taken_over {
            fs::write(node.path("run/lock"), "3 4 1700000001 run-2 bob@ci\n").unwrap();
        } else {
            drop(node.run.take());
        }
        drop(other);
        let ended = beginning.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
        assert!(said(&ended).contains("the job job-1 was not started"), "{}", said(&ended));
        assert!(!node.path("ran").exists());
    }
}

#[test]
fn names_of_jobs_need_no_quotes() {
    for wrong in ["", "-a", "a-", "a b", "../a", "A", "a/b", &"a".repeat(65)] {
        assert_eq!(JobId::parse(wrong), None, "{wrong}");
    }
    assert_eq!(JobId::parse("20260101t000000-1").unwrap().to_string(), "20260101t000000-1");
    for wrong in [
        "",
        "running - 1 2",
        "ended x 1 2 3 r w i p",
        "ended 0 1 2 3 r w ../i p",
        "lost - 1 2 3 r w i p",
        "killed - 1 2 3 r w i p q",
    ] {
        assert_eq!(read_jobs(wrong), [], "{wrong}");
    }
}
