//! The password for sudo, over real ssh to a script in sudo's place. The real sudo is tested in `tests/e2e/secrets/become_password.rs`.

use std::{
    fs,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    super::{Channel, Frame, LinkError, Lock, Target, Transport},
    over_ssh::{connect, transport, with_sudo},
    quick, run, until,
};
use crate::secret::Secret;

const PASSWORD: &str = "c0rrect h%rse$";

/// The beginning of each such script: the prompt as sudo shows it, and `ask`, which records everything that it reads.
const BEGINNING: &str = r#"
log=${0%/*}/log
[ "$1 $2 $3 $5" = '-k -S -p --' ] || { echo "sudo: unexpected arguments: $*" >&2; exit 1; }
prompt=$(printf %s "$4" | /usr/bin/sed 's/%%/%/g')
shift 5
ask() {
  case $1 in *%s*) /usr/bin/printf "$1" "$prompt" >&2 ;; *) /usr/bin/printf %s "$1" >&2 ;; esac
  if IFS= read -r answer; then echo "read: $answer" >>"$log"; else echo 'no more input' >>"$log"; return 1; fi
  [ "$answer" = 'c0rrect h%rse$' ]
}
"#;

async fn node_with(sudo: &str) -> (super::over_ssh::Server, TempDir) {
    with_sudo(Some(&format!("{BEGINNING}\n{sudo}"))).await
}

fn with_password(target: Target) -> Target {
    Target { become_password: Some(Secret::new(PASSWORD.to_owned())), connect_timeout: Duration::from_secs(2), ..target }
}

fn log(programs: &TempDir) -> String {
    fs::read_to_string(programs.path().join("log")).unwrap_or_default()
}

#[tokio::test]
async fn the_password_is_sent_once_when_sudo_asks() {
    let once = format!("read: {PASSWORD}\n");
    for (name, sudo) in [
        ("sudo", "ask %s && exec \"$@\""),
        ("sudo-rs", "ask '[sudo: %s] Password: ' && exec \"$@\""),
        (
            "words before",
            "printf 'We trust you have received the usual lecture.\\n\\nLast login: never\\n' >&2; echo 'hello from PAM'; ask %s && exec \"$@\"",
        ),
        // Longer than it takes until the first heartbeat.
        ("slow", "/usr/bin/sleep 3; ask %s && /usr/bin/sleep 3 && exec \"$@\""),
    ] {
        let (server, programs) = node_with(sudo).await;
        let (transport, _base) = transport();
        let (mut node, welcome) =
            connect(&transport, &with_password(server.target()), quick("echo ok; echo e >&2").into()).await.unwrap();
        let first = &welcome.outputs[0];
        assert_eq!((welcome.uid, &*first.stdout, &*first.stderr), (0, &b"ok\n"[..], &b"e\n"[..]), "{name}");
        assert!(welcome.ssh_connection.is_some(), "{name}");
        assert_eq!(node.traffic().round_trips, 3, "{name}");
        assert_eq!(run(&mut node, quick("cat; echo $LC_ALL")).await[0].stdout, b"C\n", "{name}");
        node.close().await;
        assert_eq!(log(&programs), once, "{name}");
    }
}

#[tokio::test]
async fn nothing_is_sent_where_sudo_does_not_ask() {
    // The second one shows what it runs, as a shell under `set -x` does.
    for sudo in ["", "echo \"+ sudo -k -S -p $prompt_argument -- $*\" >&2\n"] {
        let sudo = format!("{sudo} /usr/bin/tee \"$log\" | \"$@\"");
        let (server, programs) = with_sudo(Some(&format!("prompt_argument=$4\n{BEGINNING}\n{sudo}"))).await;
        let (transport, _base) = transport();
        let (node, welcome) = connect(&transport, &with_password(server.target()), quick("echo ok").into()).await.unwrap();
        assert_eq!((&*welcome.outputs[0].stdout, node.traffic().round_trips), (&b"ok\n"[..], 2));
        node.close().await;
        let sent = fs::read(programs.path().join("log")).unwrap();
        let (length, sent) = sent.split_at(sent.iter().position(|byte| *byte == b'\n').unwrap());
        let (packed, plain) = sent[1..].split_at(str::from_utf8(length).unwrap().parse().unwrap());
        let packed_file = programs.path().join("packed");
        fs::write(&packed_file, packed).unwrap();
        let text = std::process::Command::new("gzip").arg("-dc").stdin(fs::File::open(packed_file).unwrap()).output().unwrap();
        let (text, plain) = (String::from_utf8(text.stdout).unwrap(), str::from_utf8(plain).unwrap());
        assert!(text.contains("nonce=") && plain.ends_with("bye\n"), "{text}{plain}");
        assert!(!text.contains(PASSWORD) && !plain.contains(PASSWORD));
    }
}

#[tokio::test]
async fn a_root_login_and_a_node_without_become_are_sent_nothing() {
    let (transport, _base) = transport();
    let target = with_password(Target::local("here"));
    let (node, welcome) = transport.connect(&target, Lock::Observe, quick("echo ok").into(), &mut |_| {}).await.unwrap();
    assert_eq!((&*welcome.outputs[0].stdout, node.traffic().round_trips), (&b"ok\n"[..], 2));
    node.close().await;
    let (server, programs) = node_with("ask %s").await;
    let target = Target { become_root: false, ..with_password(server.target()) };
    let (node, _) = connect(&transport, &target, Frame::default()).await.unwrap();
    assert_eq!(node.traffic().round_trips, 1);
    node.close().await;
    assert_eq!(log(&programs), "");
}

/// Returns the error, and what sudo has read.
async fn refused(sudo: &'static str, password: &'static str) -> (LinkError, String) {
    let (server, programs) = node_with(&format!("{sudo}; echo ended >>\"$log\"")).await;
    let (transport, _base): (Transport, _) = transport();
    let target = Target { become_password: Some(Secret::new(password.to_owned())), ..with_password(server.target()) };
    let began = Instant::now();
    let error = connect(&transport, &target, Frame::default()).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(!format!("{error} {error:?} {target:?}").contains(password));
    until("sudo has ended", Duration::from_secs(20), || log(&programs).ends_with("ended\n")).await;
    (error, log(&programs))
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let rejected = LinkError::PasswordRejected { host: "127.0.0.1".into() };
    let three = "for try in 1 2 3; do ask %s && exec \"$@\"; echo 'Sorry, try again.' >&2; done";
    assert_eq!(refused(three, "wrong").await, (rejected.clone(), "read: wrong\nno more input\nno more input\nended\n".into()));
    // `passwd_tries=1`: it does not ask again.
    let one = "ask %s || { echo >&2; echo 'sudo: 1 incorrect password attempt' >&2; }";
    assert_eq!(refused(one, "wrong").await, (rejected, "read: wrong\nended\n".into()));
}

#[tokio::test]
async fn a_sudo_that_refuses_or_asks_something_else_is_told_apart() {
    let describe = |(error, log): (LinkError, String)| format!("{error}\n  {}\n{log}\n", error.remedy().unwrap_or_default());
    let stand_ins = [
        "echo 'sudo: sorry, you must have a tty to run sudo' >&2",
        // Some versions ask before they refuse.
        "ask %s; echo 'ann is not in the sudoers file.' >&2",
        "ask 'Verification code: '",
        "ask %s; ask 'Verification code: '",
        "read -r nothing; echo 'no more input' >>\"$log\"",
    ];
    // Some of them wait for the limit.
    let running = stand_ins.map(|sudo| tokio::spawn(refused(sudo, PASSWORD)));
    let mut all = String::new();
    for refused in running {
        all.push_str(&describe(refused.await.unwrap()));
    }
    insta::assert_snapshot!(all.replace(PASSWORD, "PASSWORD"), @r#"
    sudo on `127.0.0.1` refuses: sorry, you must have a tty to run sudo
      sudo wants a terminal: put `Defaults:USER !requiretty` into a file in /etc/sudoers.d
    ended

    sudo on `127.0.0.1` refuses: ann is not in the sudoers file.
      allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
    read: PASSWORD
    ended

    sudo on `127.0.0.1` does not ask for the password within 9 s: it says `Verification code:`
      PAM asks in its own words, which are not answered: if they mean the password, put `Defaults:USER passprompt_override` into a file in /etc/sudoers.d; or allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
    no more input
    ended

    sudo on `127.0.0.1` took the password and does not go on for 9 s: it says `Verification code:`
      only the password is given to sudo, no second answer: allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
    read: PASSWORD
    no more input
    ended

    sudo on `127.0.0.1` does not ask for the password within 9 s: it says `a word to stderr`
      PAM asks in its own words, which are not answered: if they mean the password, put `Defaults:USER passprompt_override` into a file in /etc/sudoers.d; or allow sudo without a password: `USER ALL=(ALL) NOPASSWD: ALL` in a file in /etc/sudoers.d, written with visudo
    no more input
    ended
    "#);
}

#[tokio::test]
async fn an_interrupted_run_leaves_no_sudo_that_waits() {
    let (server, programs) = node_with("echo asks >>\"$log\"; ask 'Verification code: '").await;
    let (transport, _base) = transport();
    let target = Target { connect_timeout: Duration::from_mins(1), ..with_password(server.target()) };
    let run = tokio::spawn(async move { connect(&transport, &target, Frame::default()).await.map(|_| ()) });
    until("sudo asks", Duration::from_secs(10), || log(&programs) == "asks\n").await;
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    until("sudo's input has ended", Duration::from_secs(5), || log(&programs) == "asks\nno more input\n").await;
}
