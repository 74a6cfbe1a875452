//! The loop, run for real on this machine, under each shell that a node's `/bin/sh` may be.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tempfile::TempDir;

use crate::{controller::Controller, script::Again};

use super::{
    super::{
        Channel, Frame, LinkError, Lock, LockRequest, NodeShell, Step, Target, Traffic, Transport, Welcome, wire::RemotePaths,
    },
    quick, run, run_until_line, step, unique_duration, until, with_argument,
};

pub(super) const SHELLS: [&str; 2] = ["/bin/dash", "/bin/bash"];

/// Returns a transport whose nodes use this shell, under the name `sh`, and their own lock directory.
pub(super) fn transport(shell: &str) -> (Transport, TempDir) {
    assert!(Path::new(shell).exists(), "these tests need {shell}");
    let directory = tempfile::tempdir().unwrap();
    symlink(shell, directory.path().join("sh")).unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let mut transport = Transport::new(5, std::sync::Arc::default());
    transport.paths = RemotePaths { lock_directory: path("run"), shell: path("sh") };
    (transport, directory)
}

pub(super) fn request(who: &str, wait: Duration) -> LockRequest {
    LockRequest { who: who.to_owned(), run_id: "run-1".to_owned(), since: Timestamp::from_second(1_700_000_000).unwrap(), wait }
}

pub(super) fn take(who: &str) -> Lock {
    Lock::Take(request(who, Duration::ZERO))
}

pub(super) async fn connect(transport: &Transport, lock: Lock, first: Frame) -> Result<(NodeShell, Welcome), LinkError> {
    transport.connect(&Target::local("here"), lock, first, &mut |_| {}).await
}

/// Creates the files that a killed script may leave.
fn leave_work(directory: &TempDir) {
    fs::create_dir_all(directory.path().join("run/work/apt")).unwrap();
    fs::write(directory.path().join("run/work/apt/key"), "half").unwrap();
}

/// How many processes of a [`tree`] have its duration as an argument: four sleeps, and a `timeout`.
pub(super) const TREE: usize = 5;

/// Returns a script that starts `sleep` in every way: as a child, as a grandchild, in another process group, and with signals ignored.
pub(super) fn tree(long: &str) -> String {
    format!(
        "(sleep {long} & sleep {long}) & timeout 900 sleep {long} & timeout 900 sh -c 'trap \"\" TERM HUP; sleep {long}; :' & \
         echo started >&2; wait"
    )
}

#[tokio::test]
async fn the_first_frame_travels_with_the_connection() {
    for shell in SHELLS {
        let (transport, directory) = transport(shell);
        let first = Frame::from_iter([quick("echo one; echo two >&2"), quick("printf %s \"$LC_ALL $PATH\"; umask; ls -d .")]);
        let (node, welcome) = connect(&transport, take("ann"), first).await.unwrap();
        assert_eq!((welcome.uid, welcome.ssh_connection, welcome.holder), (0, None, None));
        assert_eq!((&*welcome.outputs[0].stdout, &*welcome.outputs[0].stderr), (&b"one\n"[..], &b"two\n"[..]));
        let environment = "C /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin0077\n.\n";
        assert_eq!(String::from_utf8_lossy(&welcome.outputs[1].stdout), environment);
        let Traffic { round_trips, bytes_sent, .. } = node.traffic();
        assert_eq!(round_trips, 1);
        assert!(bytes_sent < 9000, "{bytes_sent} bytes sent");
        leave_work(&directory);
        node.close().await;
        assert!(!directory.path().join("run").exists(), "the lock's directory is gone");
    }
}

#[tokio::test]
async fn a_shell_on_this_machine_gets_the_given_variables_alone() {
    let (mut own, _directory) = transport(SHELLS[0]);
    let variables = [("GIVEN", "given"), ("SSH_CONNECTION", "the operator's")].map(|(name, value)| (name.into(), value.into()));
    own.controller = Controller { variables: variables.into(), ..Controller::default() }.into();
    let first = Frame::from_iter([quick("echo \"$GIVEN <${CARGO_MANIFEST_DIR-}> <${SSH_CONNECTION-}>\"")]);
    let (node, welcome) = connect(&own, take("ann"), first).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&welcome.outputs[0].stdout), "given <> <>\n");
    node.close().await;
}

#[tokio::test]
async fn a_wait_beyond_all_clocks_is_no_mistake() {
    let (transport, _directory) = transport(SHELLS[0]);
    let (node, welcome) =
        connect(&transport, Lock::Take(request("ann", Duration::MAX)), Frame::from_iter([quick("echo one")])).await.unwrap();
    assert_eq!(welcome.outputs[0].stdout, b"one\n");
    node.close().await;
}

#[tokio::test]
async fn each_frame_is_one_round_trip_and_stops_at_the_first_failure() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        assert_eq!(node.traffic().round_trips, 1);
        let frame = Frame::from_iter([quick("echo a"), quick("echo b >&2; exit 3"), quick("echo c")]);
        let outputs = run(&mut node, frame).await;
        assert_eq!(outputs.iter().map(|output| output.status).collect::<Vec<_>>(), [0, 3]);
        assert_eq!((&*outputs[1].stdout, &*outputs[1].stderr), (&b""[..], &b"b\n"[..]));
        assert_eq!(run(&mut node, quick("echo d")).await[0].stdout, b"d\n");
        assert_eq!(node.traffic().round_trips, 3);
        node.close().await;
    }
}

#[tokio::test]
async fn bytes_pass_unchanged_in_both_directions() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let outputs = run(&mut node, step("cat; printf '\\377\\0\\n' >&2", bytes.clone(), 60)).await;
        assert!(*outputs[0].stdout == bytes[..], "{} bytes came back", outputs[0].stdout.len());
        assert_eq!(outputs[0].stderr, b"\xff\0\n");
        // A script that leaves its input unread does not disturb the next one, nor does one that is longer than a pipe.
        let script = format!("#{}\necho end", "x".repeat(300_000));
        let frame = Frame::from_iter([step("true", bytes, 60), quick(&script), step("head -c 2", "input", 5), quick("cat")]);
        let outputs = run(&mut node, frame).await;
        let stdout: Vec<_> = outputs.iter().map(|output| String::from_utf8_lossy(&output.stdout)).collect();
        assert_eq!(stdout, ["", "end\n", "in", ""]);
        node.close().await;
    }
}

#[tokio::test]
async fn statuses_come_through() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        for (script, status) in [
            ("exit 0", 0),
            ("exit 1", 1),
            ("no-such-command-here", 127),
            ("exit 255", 255),
            ("exit 124", 124),
            ("kill -9 $$", 137),
            ("kill -TERM $$", 143),
            ("if then", 2),
        ] {
            let output = &run(&mut node, quick(script)).await[0];
            let syntax_error = status == 2 && output.status != 0;
            assert!(output.status == status || syntax_error, "{shell}: `{script}` gives {}", output.status);
            assert!(!output.timed_out, "{script}");
        }
        node.close().await;
    }
}

#[tokio::test]
async fn output_cannot_forge_a_mark_and_scripts_cannot_see_the_nonce() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let nonce = node.session.nonce.clone();
        let forged = "printf '\\n00000000000000000000000000000000 0\\n'; echo \"[$nonce]\"; env; cat /proc/*/cmdline /proc/*/environ 2>/dev/null";
        let output = &run(&mut node, quick(&format!("({forged}) | tr '\\0' '\\n'; exit 7"))).await[0];
        assert_eq!(output.status, 7);
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(seen.contains("\n00000000000000000000000000000000 0\n[]\n") && !seen.contains(&nonce));
        node.close().await;
    }
}

#[tokio::test]
async fn scripts_find_a_clean_place() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
        // None of the loop's own files is open in a script, and none of its variables is set.
        let files = "sh -c 'for n in 3 4 5 6 7 8 9; do [ ! -e /proc/self/fd/$n ] || echo open: $n; done'";
        let script = format!("{files}; readlink /proc/self/fd/0; pwd; set | grep -c -E '^(nonce|mine|text)='; :");
        for input in ["", "some input"] {
            let output = &run(&mut node, step(&script, input, 10)).await[0];
            let stdout = String::from_utf8_lossy(&output.stdout);
            let lines: Vec<_> = stdout.lines().collect();
            assert_eq!((lines.len(), lines[1], lines[2]), (3, "/", "0"), "{shell}: {stdout}");
            assert_eq!(lines[0] == "/dev/null", input.is_empty(), "{shell}: {stdout}");
        }
        node.close().await;
    }
}

#[tokio::test]
async fn a_limit_ends_the_whole_tree() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let long = unique_duration();
        let output = &run(&mut node, step(&tree(&long), "", 1)).await[0];
        assert!(output.timed_out, "{output:?}");
        assert_eq!(with_argument(&long), 0, "{shell}");
        assert_eq!(run(&mut node, quick("echo still here")).await[0].stdout, b"still here\n");
        node.close().await;
    }
}

#[tokio::test]
async fn questions_whose_limit_struck_are_asked_one_kind_after_the_other() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let long = unique_duration();
        // The process that has left its process group is one that the limit alone would not end.
        let script = format!(
            "case ${{only-all}} in all | slow) printf half; timeout 99 sleep {long} & sleep {long};; quick) printf \"it's\"; printf '\\nm0 quick 0\\n';; esac"
        );
        let again = Again {
            mark: "m0".into(),
            parts: vec![("slow", Duration::from_secs(1)), ("quick", Duration::from_secs(20))],
            may_leave: false,
        };
        let outputs = run(&mut node, Step { again: Some(again), ..step(&script, "", 1) }).await;
        assert_eq!((outputs[0].status, outputs[0].timed_out), (0, false), "{shell}");
        assert_eq!(String::from_utf8_lossy(&outputs[0].stdout), "half\nm0 - 0\nhalf\nm0 slow 124\nit's\nm0 quick 0\n", "{shell}");
        assert_eq!(with_argument(&long), 0, "{shell}");
        node.close().await;
    }
}

#[tokio::test]
async fn the_end_of_a_session_looks_for_what_is_left_unless_only_questions_ran_that_leave_nothing() {
    for shell in SHELLS {
        for (may_leave, lives) in [(true, 0), (false, 1)] {
            let (transport, _directory) = transport(shell);
            let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
            let long = unique_duration();
            let again = Again { mark: "m0".into(), parts: Vec::new(), may_leave };
            // The end of the step ends its own process group.
            let leads = "until read -r _ _ _ _ group _ </proc/$!/stat && [ $group = $! ]; do :; done; echo $!";
            let leaves = step(&format!("timeout 900 sleep {long} >/dev/null 2>&1 & {leads}"), "", 9);
            let outputs = run(&mut node, Step { again: Some(again), ..leaves }).await;
            node.close().await;
            assert_eq!(with_argument(&long), 2 * lives, "{shell}, {may_leave}: `timeout` and `sleep`");
            let pid = String::from_utf8_lossy(&outputs[0].stdout).trim().to_owned();
            std::process::Command::new("kill").arg(pid).status().unwrap();
        }
    }
}

#[tokio::test]
async fn what_a_script_leaves_in_the_background_ends_with_it() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let long = unique_duration();
        run(&mut node, quick(&format!("sleep {long} &"))).await;
        until("it is gone", Duration::from_secs(2), || with_argument(&long) == 0).await;
        // In another process group it lives until the session ends.
        run(&mut node, quick(&format!("timeout 900 sleep {long} >/dev/null 2>&1 &"))).await;
        node.close().await;
        assert_eq!(with_argument(&long), 0, "{shell}");
    }
}

#[tokio::test]
async fn lines_arrive_while_the_script_runs() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        run_until_line(&mut node, quick("echo started >&2; sleep 60").into()).await;
        let lost = node.run(quick("true").into(), &mut |_| {}).await.unwrap_err();
        assert!(matches!(lost, LinkError::Lost { .. }), "half an answer is in the pipes: {lost:?}");
        node.close().await;
    }
}

#[tokio::test]
async fn a_lost_link_ends_everything_and_frees_the_lock() {
    for shell in SHELLS {
        let (transport, directory) = transport(shell);
        let (mut node, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
        let long = unique_duration();
        run_until_line(&mut node, quick(&tree(&long)).into()).await;
        until("all of the tree runs", Duration::from_secs(5), || with_argument(&long) == TREE).await;
        assert!(directory.path().join("run/lock").exists());
        leave_work(&directory);
        drop(node);
        until("all is gone", Duration::from_secs(5), || with_argument(&long) == 0 && !directory.path().join("run").exists())
            .await;
        let shell = directory.path().join("sh");
        until("the loop too", Duration::from_secs(5), || with_argument(shell.to_str().unwrap()) == 0).await;
    }
}

#[tokio::test]
async fn silence_ends_everything_and_frees_the_lock() {
    let silence = async |shell| {
        let (transport, directory) = transport(shell);
        let (mut node, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
        let long = unique_duration();
        run_until_line(&mut node, quick(&tree(&long)).into()).await;
        until("all of the tree runs", Duration::from_secs(5), || with_argument(&long) == TREE).await;
        // Like a cut link: nothing arrives any more, not even the end, because we hold another end of the pipe open.
        let line = fs::read_to_string(directory.path().join("run/lock")).unwrap();
        let input = format!("/proc/{}/fd/0", line.split(' ').next().unwrap());
        let _held = fs::File::options().write(true).open(input).unwrap();
        leave_work(&directory);
        drop(node);
        until("all is gone", Duration::from_secs(10), || with_argument(&long) == 0 && !directory.path().join("run").exists())
            .await;
        let shell = directory.path().join("sh");
        until("the loop too", Duration::from_secs(2), || with_argument(shell.to_str().unwrap()) == 0).await;
    };
    tokio::join!(silence(SHELLS[0]), silence(SHELLS[1]));
}

#[tokio::test]
async fn silence_frees_a_lock_that_was_waited_for() {
    let (transport, directory) = transport("/bin/dash");
    let lock = directory.path().join("run/lock");
    let (first, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
    let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let mut progress = move |line: &str| send.send(line.to_owned()).unwrap();
    let (here, waiting) = (Target::local("here"), Lock::Take(request("bob", Duration::from_secs(20))));
    let (second, ()) = tokio::join!(transport.connect(&here, waiting, Frame::default(), &mut progress), async {
        lines.recv().await.unwrap();
        first.close().await;
    });
    let (second, _) = second.unwrap();
    let line = fs::read_to_string(&lock).unwrap();
    let input = format!("/proc/{}/fd/0", line.split(' ').next().unwrap());
    let _held = fs::File::options().write(true).open(input).unwrap();
    drop(second);
    until("the lock is gone", Duration::from_secs(10), || !directory.path().join("run").exists()).await;
}

#[tokio::test]
async fn beats_keep_a_long_script_alive() {
    let keeps_beating = async |shell| {
        let (transport, directory) = transport(shell);
        let (mut node, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
        let touched = || fs::metadata(directory.path().join("run/lock")).unwrap().modified().unwrap();
        let before = touched();
        assert_eq!(run(&mut node, quick("sleep 10; echo done")).await[0].stdout, b"done\n");
        assert!(touched() > before);
        node.close().await;
    };
    tokio::join!(keeps_beating(SHELLS[0]), keeps_beating(SHELLS[1]));
}

#[tokio::test]
async fn a_second_run_hears_who_holds_the_node() {
    for shell in SHELLS {
        let (transport, directory) = transport(shell);
        let (node, _) = connect(&transport, take("ann@ci"), Frame::default()).await.unwrap();
        let marker = directory.path().join("ran");
        let touch = quick(&format!("touch {}", marker.display()));
        let refused = connect(&transport, take("bob"), touch.into()).await.unwrap_err();
        assert_eq!(refused.to_string(), "held by ann@ci since 2023-11-14T22:13:20Z (run run-1)");
        assert!(!marker.exists(), "the first frame did not run");
        let (looking, welcome) = connect(&transport, Lock::Observe, quick("echo ok").into()).await.unwrap();
        assert_eq!(welcome.holder.unwrap().who, "ann@ci");
        assert_eq!(welcome.outputs[0].stdout, b"ok\n");
        looking.close().await;
        node.close().await;
        let (looking, welcome) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        assert_eq!(welcome.holder, None);
        looking.close().await;
        let (node, _) = connect(&transport, take("bob"), Frame::default()).await.unwrap();
        node.close().await;
    }
}

#[tokio::test]
async fn a_run_that_waits_gets_the_lock_when_it_is_free() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (node, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
        let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let mut progress = move |line: &str| send.send(line.to_owned()).unwrap();
        let waiting = Lock::Take(request("bob", Duration::from_secs(20)));
        let here = Target::local("here");
        let second = transport.connect(&here, waiting, quick("echo mine").into(), &mut progress);
        let first = async {
            assert_eq!(lines.recv().await.unwrap(), "waiting: held by ann since 2023-11-14T22:13:20Z (run run-1)");
            node.close().await;
        };
        let (second, ()) = tokio::join!(second, first);
        let (node, welcome) = second.unwrap();
        assert_eq!(welcome.outputs[0].stdout, b"mine\n");
        assert!(node.traffic().round_trips >= 3);
        node.close().await;
    }
}

#[tokio::test]
async fn a_lock_that_cannot_be_taken_says_why() {
    let (mut transport, directory) = transport("/bin/dash");
    fs::write(directory.path().join("file"), "").unwrap();
    transport.paths.lock_directory = directory.path().join("file/run").to_str().unwrap().to_owned();
    let error = connect(&transport, take("ann"), quick("true").into()).await.unwrap_err();
    assert!(matches!(&error, LinkError::LockFailed { detail, .. } if detail.starts_with("cannot make ")), "{error:?}");
}

#[tokio::test]
async fn a_normal_end_leaves_no_process() {
    for shell in SHELLS {
        let (transport, directory) = transport(shell);
        let (node, _) = connect(&transport, take("ann"), quick("true").into()).await.unwrap();
        let shell = directory.path().join("sh");
        assert!(with_argument(shell.to_str().unwrap()) > 0);
        let began = Instant::now();
        node.close().await;
        assert_eq!(with_argument(shell.to_str().unwrap()), 0);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_job_that_has_lost_its_run_holds_the_node_and_is_removed_when_it_has_ended() {
    for shell in SHELLS {
        let (transport, directory) = transport(shell);
        let jobs = directory.path().join("run/jobs");
        for (name, status) in [("4f-1", "0\n"), ("4f-2", "100\n"), ("kept", "0\n")] {
            fs::create_dir_all(jobs.join(name)).unwrap();
            fs::write(jobs.join(name).join("status"), status).unwrap();
        }
        fs::create_dir(jobs.join("4f-3")).unwrap();
        fs::write(jobs.join("kept/keep"), "").unwrap();
        fs::write(jobs.join("lock"), "12 345 1700000000 run-0 ann@ci 4f-1 apt\n").unwrap();
        let job = fs::File::open(jobs.join("lock")).unwrap();
        job.lock().unwrap();
        // However old the lock is: a job has no heartbeat.
        job.set_modified(std::time::SystemTime::now() - Duration::from_hours(2)).unwrap();

        let held = "held by the job 4f-1, phase apt, of ann@ci since 2023-11-14T22:13:20Z (run run-0)";
        let refused = connect(&transport, take("bob"), quick("true").into()).await.unwrap_err();
        assert_eq!(refused.to_string(), held);
        assert!(refused.remedy().unwrap().contains("must not be killed"), "{refused}");
        assert!(!directory.path().join("run/lock").exists(), "the first lock is given back");
        let (looking, welcome) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        assert_eq!(welcome.holder.unwrap().to_string(), held);
        looking.close().await;

        let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let mut progress = move |line: &str| send.send(line.to_owned()).unwrap();
        let waiting = Lock::Take(request("bob", Duration::from_secs(20)));
        let here = Target::local("here");
        let second = transport.connect(&here, waiting, quick("echo mine").into(), &mut progress);
        let first = async {
            assert_eq!(lines.recv().await.unwrap(), format!("waiting: {held}"));
            drop(job);
        };
        let (second, ()) = tokio::join!(second, first);
        let (node, welcome) = second.unwrap();
        assert_eq!(welcome.outputs[0].stdout, b"mine\n");
        let mut ended = Vec::new();
        while let Ok(line) = lines.try_recv() {
            ended.push(line);
        }
        assert_eq!(
            ended,
            [
                "the job 4f-1, whose run was lost, has ended well",
                "the job 4f-2, whose run was lost, has ended with exit status 100",
                "the job 4f-3, whose run was lost, was killed before it ended"
            ]
        );
        assert!(jobs.join("kept").exists() && !jobs.join("4f-2").exists());
        node.close().await;
        assert!(jobs.join("kept").exists());
        fs::remove_dir_all(jobs.join("kept")).unwrap();
        let (node, _) = connect(&transport, take("bob"), Frame::default()).await.unwrap();
        node.close().await;
        until("nothing stays behind", Duration::from_secs(10), || !directory.path().join("run").exists()).await;
    }
}

#[tokio::test]
async fn a_step_that_exceeds_its_limit_may_clean_up_as_long_as_it_takes_a_moment() {
    for shell in SHELLS {
        let (transport, directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let file = directory.path().join("temporary");
        // As the function that writes a file, which is not the shell that `timeout` waits for.
        let script = format!(
            "write() ( trap 'trap \"\" TERM; sleep 0.3; rm {0}' EXIT; trap 'trap \"\" TERM; exit 143' TERM; touch {0}; sleep 60 ); write",
            file.display()
        );
        let outputs = run(&mut node, step(&script, "", 1)).await;
        assert!(outputs[0].timed_out, "{shell}: {outputs:?}");
        assert!(!file.exists(), "{shell}: it was not removed");
        node.close().await;
    }
}
