//! Tests that merge questions and separate their answers, with a real shell.

use super::*;
use std::{
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
};

#[derive(Debug)]
struct Echo;
impl Kind for Echo {
    type Key = String;
    type Answer = String;
    const NAME: &'static str = "echo";
    const TOGETHER: Duration = Duration::from_secs(1);
    fn script(keys: &[&String]) -> Script {
        Script::new("printf '%s\\n' \"$@\"").args(keys.iter().map(ToString::to_string))
    }
    fn read(_: &[&String], output: &Output) -> Vec<Result<String, Unanswered>> {
        String::from_utf8_lossy(&output.stdout).lines().map(|line| Ok(line.to_owned())).collect()
    }
}

#[derive(Debug)]
struct Hangs;
impl Kind for Hangs {
    type Key = ();
    type Answer = ();
    const NAME: &'static str = "hangs";
    const LIMIT: Duration = Duration::from_secs(1);
    const TOGETHER: Duration = Duration::from_secs(1);
    const LANE: Lane = Lane::Servers;
    fn script(_: &[&()]) -> Script {
        Script::new("exec tail -f /dev/null")
    }
    fn read(keys: &[&()], output: &Output) -> Vec<Result<(), Unanswered>> {
        output.unanswered("the hanging kind", keys.len())
    }
}

/// Asks the questions on this machine, as the loop on a node does: all together under one limit, and once that has struck, kind by kind.
pub(super) fn run(questions: Questions) -> Answers {
    let composed = questions.compose("f00d").unwrap();
    let limited = |limit: Duration, only: Option<&str>| {
        let mut shell = Command::new("timeout");
        shell.args(["-k", "1", &limit.as_secs().to_string(), "sh", "-c", composed.script()]).stdin(Stdio::null());
        shell.envs(only.map(|kind| ("only", kind)));
        let output = shell.output().unwrap();
        (output.stdout, output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal)).unwrap())
    };
    let (mut stdout, status) = limited(composed.limit(), None);
    if matches!(status, 124 | 137) {
        stdout.extend_from_slice(b"\nf00d - 0\n");
        for (kind, limit) in &composed.again().parts {
            let (more, status) = limited(*limit, Some(kind));
            stdout.extend_from_slice(&more);
            if status != 0 {
                stdout.extend_from_slice(format!("\nf00d {kind} {status}\n").as_bytes());
            }
        }
    }
    composed.read(&stdout)
}

#[test]
fn questions_of_one_kind_share_a_command_and_keep_their_order() {
    let mut questions = Questions::default();
    for key in ["b", "a; reboot", "b", "it's"] {
        questions.ask::<Echo>(key.to_owned());
    }
    assert_eq!(questions.count(), 3);
    let answers = run(questions);
    for key in ["b", "a; reboot", "it's"] {
        assert_eq!(answers.get::<Echo>(&key.to_owned()).unwrap(), key);
    }
}

#[test]
fn a_hanging_kind_costs_only_its_own_answers() {
    let mut questions = Questions::default();
    questions.ask::<Hangs>(());
    questions.ask::<Echo>("here".into());
    let answers = run(questions);
    assert_eq!(answers.get::<Hangs>(&()).unwrap_err().0, "asking for the hanging kind took too long");
    assert_eq!(answers.get::<Echo>(&"here".into()).unwrap(), "here");
}

#[derive(Debug)]
struct Sharing<const NUMBER: u8>;
impl<const NUMBER: u8> Kind for Sharing<NUMBER> {
    type Key = &'static str;
    type Answer = String;
    const NAME: &'static str = ["one", "two", "three"][NUMBER as usize];
    const TOGETHER: Duration = Duration::from_secs(1);
    const TURN: Turn = Turn::Files;
    fn script(keys: &[&&'static str]) -> Script {
        Script::new("eval \"$1\"").arg(*keys[0])
    }
    fn read(keys: &[&&'static str], output: &Output) -> Vec<Result<String, Unanswered>> {
        match output.status {
            0 => vec![Ok(String::from_utf8_lossy(&output.stdout).into_owned())],
            _ => output.unanswered("a sharing kind", keys.len()),
        }
    }
}

#[derive(Debug)]
struct InPlace;
impl Kind for InPlace {
    type Key = ();
    type Answer = ();
    const NAME: &'static str = "in-place";
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;
    fn script(_: &[&()]) -> Script {
        Script::new("set -f; IFS=o; set -- more words; cat; return 3")
    }
    fn read(keys: &[&()], output: &Output) -> Vec<Result<(), Unanswered>> {
        output.unanswered("a kind in place", keys.len())
    }
}

#[test]
fn a_kind_in_place_changes_nothing_for_the_next_one() {
    const NEXT: &str = "set -- 'f o'; printf '%s,' $1 /et[c]";
    let mut questions = Questions::default();
    questions.ask::<InPlace>(());
    questions.ask::<Sharing<1>>(NEXT);
    questions.ask::<Hangs>(());
    let answers = run(questions);
    assert_eq!(answers.get::<InPlace>(&()).unwrap_err().0, "asking for a kind in place failed with exit status 3: no output");
    assert_eq!(answers.get::<Sharing<1>>(&NEXT).unwrap(), "f,o,/etc,");
    assert!(answers.get::<Hangs>(&()).is_err());
}

const FIRST: &str = "echo first; cat; x=1; cd /usr; exec >/dev/null";
const THIRD: &str = "echo third $x; [ \"$PWD\" != /usr ]";

fn ask_three(second: &'static str) -> [Result<String, Unanswered>; 3] {
    let mut questions = Questions::default();
    questions.ask::<Sharing<0>>(FIRST);
    questions.ask::<Sharing<1>>(second);
    questions.ask::<Sharing<2>>(THIRD);
    let answers = run(questions);
    let (first, third) = (answers.get::<Sharing<0>>(&FIRST), answers.get::<Sharing<2>>(&THIRD));
    [first, answers.get::<Sharing<1>>(&second), third].map(Result::<&String, _>::cloned)
}

#[test]
fn kinds_that_share_a_limit_share_nothing_else() {
    let (first, third) = (Ok("first\n".to_owned()), Ok("third\n".to_owned()));
    assert_eq!(ask_three("echo second"), [first.clone(), Ok("second\n".to_owned()), third.clone()]);
    let failed = |status: i32| Err(Unanswered(format!("asking for a sharing kind failed with exit status {status}: no output")));
    assert_eq!(ask_three("exit 3"), [first.clone(), failed(3), third.clone()]);
    // This is how the limit ends the shell: each kind is then asked by itself, and an answer that is there already counts.
    assert_eq!(ask_three("kill -KILL $$"), [first, failed(137), third]);
}

#[test]
fn what_a_kind_said_before_the_limit_struck_is_not_the_answer_of_another() {
    const HALF: &str = "[ -n \"${only-}\" ] || { printf half; exec tail -f /dev/null; }; echo whole";
    let mut questions = Questions::default();
    questions.ask::<Sharing<0>>(HALF);
    questions.ask::<Sharing<1>>("echo second");
    questions.ask::<Hangs>(());
    let answers = run(questions);
    assert_eq!(answers.get::<Sharing<0>>(&HALF).unwrap(), "whole\n");
    assert_eq!(answers.get::<Sharing<1>>(&"echo second").unwrap(), "second\n");
    assert!(answers.get::<Hangs>(&()).is_err());
}

#[test]
fn all_kinds_have_one_limit_and_share_their_functions() {
    let mut questions = Questions::default();
    questions.ask::<Echo>("x".into());
    questions.ask::<Hangs>(());
    for name in ["one", "two"] {
        questions.ask::<account::User>(account::AccountName::new(name).unwrap());
        questions.ask::<account::Group>(account::AccountName::new(name).unwrap());
    }
    let composed = questions.compose("f00d").unwrap();
    assert!(!composed.script().contains("timeout "), "{}", composed.script());
    assert_eq!(composed.script().matches("look_up()").count(), 1);
}

#[test]
fn the_kernels_socket_tables_are_read_once_for_all_kinds() {
    let mut questions = Questions::default();
    questions.ask::<listening::Listening>(());
    questions.ask::<Sharing<0>>("");
    questions.ask::<port_owner::PortOwner>(port_owner::Port { port: 1, units: Vec::new() });
    assert_eq!(questions.compose("f00d").unwrap().script().matches("set -- /proc/net/tcp\n").count(), 1);
}

#[test]
fn the_limit_of_a_script_is_the_longest_that_a_kind_needs() {
    let composed = |ask: fn(&mut Questions)| {
        let mut questions = Questions::default();
        ask(&mut questions);
        questions.compose("f00d").unwrap()
    };
    let guard = |ask: &mut Questions| {
        ask.ask::<guard::Guard>(guard::Shell { text: "true".into(), user: None, chdir: None, output: false });
        ask.ask::<Hangs>(());
    };
    assert_eq!(composed(guard).limit(), Duration::from_secs(30));
    assert_eq!(composed(guard).again().parts, [("guard", guard::Guard::LIMIT), ("hangs", Hangs::LIMIT)]);
    assert_eq!(composed(|ask: &mut Questions| ask.ask::<Hangs>(())).limit(), Duration::from_secs(1));
}

#[test]
fn a_question_longer_than_the_argument_limit_is_asked() {
    let long = "it's ".repeat(40_000);
    let mut questions = Questions::default();
    questions.ask::<Echo>(long.clone());
    let composed = questions.compose("f00d").unwrap();
    // This test must not pass it as an argument to its own shell either.
    let mut shell = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(composed.script().as_bytes()).unwrap();
    let answers = composed.read(&shell.wait_with_output().unwrap().stdout);
    assert_eq!(answers.get::<Echo>(&long).unwrap(), &long);
}

#[test]
fn truncated_output_is_a_failure() {
    let mut questions = Questions::default();
    questions.ask::<Echo>("x".into());
    let answers = questions.compose("f00d").unwrap().read(b"x\n\nf00d ech");
    assert_eq!(answers.get::<Echo>(&"x".into()).unwrap_err().0, "the node gave no answer about echo");
}

#[test]
fn a_question_never_asked_has_no_answer() {
    assert!(Answers::default().get::<Echo>(&"x".into()).is_err());
}

#[test]
fn an_answered_question_is_not_asked_again() {
    let mut questions = Questions::default();
    questions.ask::<Echo>("x".into());
    let answers = run(questions);
    let mut again = Questions::default();
    again.ask::<Echo>("x".into());
    again.ask::<Echo>("y".into());
    again.without(&answers);
    assert_eq!(again.count(), 1);
}
