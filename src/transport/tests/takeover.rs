//! A run whose node does not answer, and a run that takes over the lock of another one, which must have been silent for long.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    pin::pin,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use super::{
    super::{Channel, Frame, LinkError, Lock, Target},
    local::{SHELLS, TREE, connect, request, take, transport, tree},
    quick, run, unique_duration, until, with_argument,
};

/// Sends a signal to all processes of the session whose loop holds the lock, except the loop that runs this test.
fn signal_session(lock: &Path, signal: &str) {
    let line = fs::read_to_string(lock).unwrap();
    let session = line.split(' ').next().unwrap();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.split(' ').nth(3) == Some(session)) {
            // One that has ended meanwhile is no error.
            let _ = Command::new("kill").arg(format!("-{signal}")).arg(entry.file_name()).stderr(Stdio::null()).status();
        }
    }
}

/// Lets the last beat of a lock be as old as the machine.
fn make_old(lock: &Path) {
    let text = fs::read_to_string(lock).unwrap();
    let (line, beat) = text.split_once('\n').unwrap();
    let (boot, time) = beat.trim_end().split_once(' ').unwrap();
    fs::write(lock, format!("{line}\n{boot} {}\n", "0".repeat(time.len() - 3) + ".00")).unwrap();
}

fn touch_old(lock: &Path) {
    let old = SystemTime::now() - Duration::from_hours(2);
    fs::File::options().write(true).open(lock).unwrap().set_modified(old).unwrap();
}

#[tokio::test]
async fn a_lock_without_a_beat_for_a_minute_is_taken_over_and_its_run_hears_by_whom() {
    let take_over = async |shell| {
        let (transport, directory) = transport(shell);
        let (mut stuck, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
        let long = unique_duration();
        let lock = directory.path().join("run/lock");
        {
            let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
            let mut progress = move |line: &str| send.send(line.to_owned()).unwrap();
            let mut running = pin!(stuck.run(quick(&tree(&long)).into(), &mut progress));
            tokio::select! {
                outputs = &mut running => panic!("ended before it said anything: {outputs:?}"),
                line = lines.recv() => assert_eq!(line.unwrap(), "started"),
            }
            until("all of the tree runs", Duration::from_secs(5), || with_argument(&long) == TREE).await;
            // Everything that would write a beat or end the session is stopped, and so is the run's controller: nothing polls it.
            signal_session(&lock, "STOP");
            make_old(&lock);
            let began = Instant::now();
            let (node, welcome) = connect(&transport, take("bob"), quick("echo mine").into()).await.unwrap();
            assert!(began.elapsed() > Duration::from_secs(8), "it has looked twice: {:?}", began.elapsed());
            assert_eq!(welcome.outputs[0].stdout, b"mine\n");
            assert_eq!(with_argument(&long), 0, "the old session is gone");
            let text = fs::read_to_string(&lock).unwrap();
            assert!(text.lines().next().unwrap().ends_with("run-1 bob"), "{text}");
            let error = running.await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "another run has taken over `localhost`: held by bob since 2023-11-14T22:13:20Z (run run-1)"
            );
            node.close().await;
        }
        stuck.close().await;
    };
    tokio::join!(take_over(SHELLS[0]), take_over(SHELLS[1]));
}

#[tokio::test]
async fn what_the_clock_says_of_the_locks_file_ends_no_run() {
    for shell in SHELLS {
        let (transport, directory) = transport(shell);
        let (mut node, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
        let lock = directory.path().join("run/lock");
        let work = run(&mut node, quick("sleep 3; echo done"));
        let other = async {
            touch_old(&lock);
            let began = Instant::now();
            let refused = connect(&transport, take("bob"), quick("true").into()).await.unwrap_err();
            assert_eq!(refused.to_string(), "held by ann since 2023-11-14T22:13:20Z (run run-1)", "{shell}");
            assert!(began.elapsed() < Duration::from_secs(8), "a second look would take 9 s, {shell}: {:?}", began.elapsed());
        };
        let (outputs, ()) = tokio::join!(work, other);
        assert_eq!(outputs[0].stdout, b"done\n", "{shell}");
        node.close().await;
    }
}

/// A holder as the released versions are: its lock has one line, and each beat writes the same bytes again.
fn old_holder(directory: &Path) -> Child {
    let script =
        "mkdir -p \"$0\"; exec 9>>\"$0/lock\"; flock 9; IFS= read -r line </proc/self/stat; set -- ${line##*\") \"}; shift 19
mine=\"$$ $1 1700000000 run-0 old@ci\"; printf '%s\\n' \"$mine\" >\"$0/lock\"
while sleep 0.5 9>&-; do printf '%s\\n' \"$mine\" 1<>\"$0/lock\"; done";
    let mut command = Command::new("setsid");
    command.args(["-w", "sh", "-c", script]).arg(directory).stdin(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().unwrap()
}

#[tokio::test]
async fn a_lock_of_an_older_version_is_looked_at_twice() {
    let (transport, directory) = transport(SHELLS[0]);
    let lock = directory.path().join("run/lock");
    let mut holder = old_holder(&directory.path().join("run"));
    until("it holds the lock", Duration::from_secs(5), || fs::read_to_string(&lock).is_ok_and(|text| text.ends_with('\n'))).await;
    touch_old(&lock);
    let refused = connect(&transport, take("bob"), quick("true").into()).await.unwrap_err();
    assert_eq!(refused.to_string(), "held by old@ci since 2023-11-14T22:13:20Z (run run-0)");
    // Now it is stuck.
    signal_session(&lock, "STOP");
    touch_old(&lock);
    // A run that waits looks again while it waits.
    let waiting = Lock::Take(request("bob", Duration::from_secs(30)));
    let (node, _) = transport.connect(&Target::local("here"), waiting, quick("true").into(), &mut |_| {}).await.unwrap();
    until("the old holder has ended", Duration::from_secs(5), || holder.try_wait().unwrap().is_some()).await;
    node.close().await;
}

#[tokio::test]
async fn a_run_that_has_lost_its_lock_ends_and_says_to_whom() {
    for shell in SHELLS {
        let (transport, directory) = transport(shell);
        let (mut node, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
        let lock = directory.path().join("run/lock");
        let long = unique_duration();
        let script = format!("sleep {long}");
        let work = async { node.run(quick(&script).into(), &mut |_| {}).await };
        let other = async {
            until("it runs", Duration::from_secs(5), || with_argument(&long) > 0).await;
            fs::remove_file(&lock).unwrap();
            connect(&transport, take("bob"), quick("true").into()).await.unwrap().0
        };
        let began = Instant::now();
        let (lost, other) = tokio::join!(work, other);
        assert_eq!(
            lost.unwrap_err().to_string(),
            "another run has taken over `localhost`: held by bob since 2023-11-14T22:13:20Z (run run-1)",
            "{shell}"
        );
        assert!(began.elapsed() < Duration::from_secs(10), "{shell}: {:?}", began.elapsed());
        until("its work has ended", Duration::from_secs(5), || with_argument(&long) == 0).await;
        assert!(lock.exists(), "{shell}: the lock belongs to the other run");
        node.close().await;
        assert!(lock.exists(), "{shell}");
        other.close().await;
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_noticed_and_a_short_stall_is_not() {
    let stall = async |shell| {
        let (transport, directory) = transport(shell);
        let (mut node, _) = connect(&transport, take("ann"), Frame::default()).await.unwrap();
        let lock = directory.path().join("run/lock");
        let freeze = async |limit| {
            signal_session(&lock, "STOP");
            tokio::time::sleep(limit).await;
            signal_session(&lock, "CONT");
        };
        let (outputs, ()) = tokio::join!(run(&mut node, quick("sleep 6; echo done")), freeze(Duration::from_secs(4)));
        assert_eq!(outputs[0].stdout, b"done\n", "{shell}");
        let began = Instant::now();
        let mut noticed = Duration::MAX;
        let work = async {
            let lost = node.run(quick("sleep 60").into(), &mut |_| {}).await.unwrap_err();
            noticed = began.elapsed();
            lost
        };
        let (lost, ()) = tokio::join!(work, freeze(Duration::from_secs(12)));
        assert!(noticed < Duration::from_secs(10), "{shell}: {noticed:?}");
        assert!(
            matches!(&lost, LinkError::Lost { detail, .. } if detail.contains("has not answered for 9 s")),
            "{shell}: {lost}"
        );
        let closing = Instant::now();
        node.close().await;
        assert!(closing.elapsed() < Duration::from_secs(5), "{shell}: {:?}", closing.elapsed());
        until("nothing is left", Duration::from_secs(15), || !directory.path().join("run").exists()).await;
    };
    tokio::join!(stall(SHELLS[0]), stall(SHELLS[1]));
}
