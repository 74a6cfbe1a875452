//! Steps whose outputs go through pipes of their own: what they leave running cannot write into a later answer.

use std::time::{Duration, Instant};

use super::{
    super::{Channel, Frame, Lock, Step},
    local::{SHELLS, connect, transport},
    quick, run, run_until_line, step, unique_duration, until, with_argument,
};

/// Returns a frame whose first steps run apart.
fn apart(count: usize, steps: impl IntoIterator<Item = Step>) -> Frame {
    Frame { apart: count, ..Frame::from_iter(steps) }
}

/// Waits until the last background process has a session of its own: until then it is part of its step.
const IN_ITS_OWN_SESSION: &str = r#"until [ "$(cut -d ' ' -f 6 /proc/$!/stat)" = "$!" ]; do :; done"#;

#[tokio::test]
async fn a_daemon_that_holds_the_outputs_of_its_step_does_not_write_into_later_answers() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let mark = unique_duration();
        let daemon = format!(
            "echo begun; setsid sh -c 'while echo INJECTED; do echo INJECTED >&2; done' {mark} & {IN_ITS_OWN_SESSION}; echo done >&2"
        );
        let began = Instant::now();
        let outputs = run(&mut node, apart(1, [quick(&daemon), quick("sleep 0.3; echo answer; echo words >&2")])).await;
        assert_eq!(outputs.iter().map(|output| output.status).collect::<Vec<_>>(), [0, 0], "{shell}");
        assert!(String::from_utf8_lossy(&outputs[0].stdout).contains("begun\n"), "{shell}: {:?}", outputs[0]);
        for _ in 0..3 {
            let outputs = run(&mut node, quick("sleep 0.1; echo answer; echo words >&2")).await;
            assert_eq!((&*outputs[0].stdout, &*outputs[0].stderr), (&b"answer\n"[..], &b"words\n"[..]), "{shell}");
        }
        assert_eq!((&*outputs[1].stdout, &*outputs[1].stderr), (&b"answer\n"[..], &b"words\n"[..]), "{shell}");
        assert!(began.elapsed() < Duration::from_secs(5), "{shell}: {:?}", began.elapsed());
        // It gets SIGPIPE.
        until("the daemon has ended", Duration::from_secs(5), || with_argument(&mark) == 0).await;
        node.close().await;
    }
}

#[tokio::test]
async fn a_quiet_daemon_holds_up_nothing_and_lives_on() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let long = unique_duration();
        let began = Instant::now();
        // As the only step, and as one whose frame fails.
        for (end, statuses) in [("", &[0, 0][..]), ("exit 3", &[0, 3])] {
            let first = format!("setsid sleep {long} & {IN_ITS_OWN_SESSION}");
            let outputs = run(&mut node, apart(2, [quick(&first), quick(&format!("echo two; {end}"))])).await;
            assert_eq!(outputs.iter().map(|output| output.status).collect::<Vec<_>>(), statuses, "{shell}");
            assert_eq!(outputs[1].stdout, b"two\n", "{shell}");
        }
        assert!(began.elapsed() < Duration::from_secs(4), "{shell}: {:?}", began.elapsed());
        assert_eq!(with_argument(&long), 2, "{shell}");
        let ended = run(&mut node, quick(&format!("pkill -xf 'sleep {long}'"))).await;
        assert_eq!(ended[0].status, 0);
        node.close().await;
    }
}

#[tokio::test]
async fn all_bytes_and_statuses_come_through_the_pipes() {
    for shell in SHELLS {
        let (transport, _directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let frame =
            apart(2, [step("tee /dev/fd/2", bytes.clone(), 60), quick("printf 'no newline'; printf '\\n' >&2"), quick("echo q")]);
        let outputs = run(&mut node, frame).await;
        assert!(outputs[0].stdout.whole() == Ok(&bytes) && outputs[0].stderr.whole() == Ok(&bytes), "{shell}");
        assert_eq!((&*outputs[1].stdout, &*outputs[1].stderr), (&b"no newline"[..], &b"\n"[..]), "{shell}");
        assert_eq!(outputs[2].stdout, b"q\n", "{shell}");
        for (script, status) in [("exit 7", 7), ("kill -9 $$", 137), ("no-such-command-here", 127)] {
            let outputs = run(&mut node, apart(1, [quick(script), quick("echo never")])).await;
            assert_eq!(outputs.iter().map(|output| output.status).collect::<Vec<_>>(), [status], "{shell}: {script}");
        }
        let files =
            "sh -c 'for n in 3 4 5 6 7 8 9; do [ ! -e /proc/self/fd/$n ] || echo open: $n; done'; readlink /proc/self/fd/0";
        assert_eq!(String::from_utf8_lossy(&run(&mut node, apart(1, [quick(files)])).await[0].stdout), "/dev/null\n", "{shell}");
        let output = &run(&mut node, apart(1, [step("sleep 60", "", 1)])).await[0];
        assert!(output.timed_out, "{shell}: {output:?}");
        assert_eq!(run(&mut node, quick("echo still here")).await[0].stdout, b"still here\n");
        node.close().await;
    }
}

#[tokio::test]
async fn lines_arrive_while_a_step_runs_apart_and_a_lost_link_ends_it() {
    for shell in SHELLS {
        let (transport, directory) = transport(shell);
        let (mut node, _) = connect(&transport, Lock::Observe, Frame::default()).await.unwrap();
        let long = unique_duration();
        run_until_line(&mut node, apart(1, [quick(&format!("sleep {long} & echo started >&2; sleep 60"))])).await;
        drop(node);
        until("all is gone", Duration::from_secs(5), || with_argument(&long) == 0).await;
        let shell = directory.path().join("sh");
        until("the loop too", Duration::from_secs(5), || with_argument(shell.to_str().unwrap()) == 0).await;
    }
}
