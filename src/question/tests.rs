//! Tests of merging questions and telling their answers apart, with a real shell.

use super::*;
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

#[derive(Debug)]
struct Echo;
impl Kind for Echo {
    type Key = String;
    type Answer = String;
    const NAME: &'static str = "echo";
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
    const BESIDE: bool = true;
    fn script(_: &[&()]) -> Script {
        Script::new("exec tail -f /dev/null")
    }
    fn read(keys: &[&()], output: &Output) -> Vec<Result<(), Unanswered>> {
        output.unanswered("what hangs", keys.len())
    }
}

/// Asks this machine.
pub(super) fn run(questions: Questions) -> Answers {
    let composed = questions.compose("f00d").unwrap();
    let output = Command::new("sh").arg("-c").arg(composed.script()).output().unwrap();
    composed.read(&output.stdout)
}

#[test]
fn questions_of_a_kind_share_one_command_and_keep_their_order() {
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
    assert_eq!(answers.get::<Hangs>(&()).unwrap_err().0, "asking for what hangs took too long");
    assert_eq!(answers.get::<Echo>(&"here".into()).unwrap(), "here");
}

#[derive(Debug)]
struct Mate<const NUMBER: u8>;
impl<const NUMBER: u8> Kind for Mate<NUMBER> {
    type Key = &'static str;
    type Answer = String;
    const NAME: &'static str = ["one", "two", "three"][NUMBER as usize];
    const COMPANY: Company = Company::Files;
    fn script(keys: &[&&'static str]) -> Script {
        Script::new("eval \"$1\"").arg(*keys[0])
    }
    fn read(keys: &[&&'static str], output: &Output) -> Vec<Result<String, Unanswered>> {
        match output.status {
            0 => vec![Ok(String::from_utf8_lossy(&output.stdout).into_owned())],
            _ => output.unanswered("a mate", keys.len()),
        }
    }
}

const FIRST: &str = "echo first; cat; x=1; cd /usr; exec >/dev/null";
const THIRD: &str = "echo third $x; [ \"$PWD\" != /usr ]";

fn beside(second: &'static str) -> [Result<String, Unanswered>; 3] {
    let mut questions = Questions::default();
    questions.ask::<Mate<0>>(FIRST);
    questions.ask::<Mate<1>>(second);
    questions.ask::<Mate<2>>(THIRD);
    let answers = run(questions);
    let (first, third) = (answers.get::<Mate<0>>(&FIRST), answers.get::<Mate<2>>(&THIRD));
    [first, answers.get::<Mate<1>>(&second), third].map(Result::<&String, _>::cloned)
}

#[test]
fn kinds_that_share_a_limit_share_nothing_else() {
    let (first, third) = (Ok("first\n".to_owned()), Ok("third\n".to_owned()));
    assert_eq!(beside("echo second"), [first.clone(), Ok("second\n".to_owned()), third.clone()]);
    let failed = |status: i32| Err(Unanswered(format!("asking for a mate failed with exit status {status}: no output")));
    assert_eq!(beside("exit 3"), [first.clone(), failed(3), third]);
    // As the end of their time ends it: those who have answered keep their answers.
    assert_eq!(beside("kill -KILL $$"), [first, failed(137), failed(137)]);
}

#[test]
fn one_limit_for_all_of_a_company() {
    let mut questions = Questions::default();
    questions.ask::<Mate<0>>(FIRST);
    questions.ask::<Mate<1>>("");
    questions.ask::<Echo>("alone".into());
    assert_eq!(questions.compose("f00d").unwrap().script().matches("timeout ").count(), 2);
}

#[test]
fn the_kernels_tables_of_sockets_are_read_once_for_all_kinds() {
    let mut questions = Questions::default();
    questions.ask::<listening::Listening>(());
    questions.ask::<Mate<0>>("");
    questions.ask::<port_owner::PortOwner>(port_owner::Port { port: 1, units: Vec::new() });
    assert_eq!(questions.compose("f00d").unwrap().script().matches("set -- /proc/net/tcp\n").count(), 1);
}

#[test]
fn a_round_may_take_what_its_kinds_may() {
    let limit = |ask: fn(&mut Questions)| {
        let mut questions = Questions::default();
        ask(&mut questions);
        questions.compose("f00d").unwrap().limit()
    };
    // One after another: one alone, and a company.
    let shared = |ask: &mut Questions| {
        ask.ask::<Echo>("x".into());
        ask.ask::<Mate<0>>("");
        ask.ask::<Mate<1>>("");
    };
    assert_eq!(limit(shared), Duration::from_mins(2) + SPARE);
    // Beside each other: the longest counts.
    let guard = |ask: &mut Questions| {
        ask.ask::<guard::Guard>(guard::GuardKey::Exists(crate::resource::RemotePath::new("/x").unwrap()));
        ask.ask::<Hangs>(());
    };
    assert_eq!(limit(guard), guard::Guard::LIMIT + SPARE);
    assert_eq!(limit(|ask: &mut Questions| ask.ask::<Hangs>(())), Duration::from_secs(1) + SPARE);
}

#[test]
fn what_is_longer_than_an_argument_may_be_is_asked_too() {
    let long = "it's ".repeat(40_000);
    let mut questions = Questions::default();
    questions.ask::<Echo>(long.clone());
    let composed = questions.compose("f00d").unwrap();
    // Not as an argument of this test's own shell either.
    let mut shell = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(composed.script().as_bytes()).unwrap();
    let answers = composed.read(&shell.wait_with_output().unwrap().stdout);
    assert_eq!(answers.get::<Echo>(&long).unwrap(), &long);
}

#[test]
fn an_output_that_was_cut_off_is_a_failure() {
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
fn what_was_answered_is_not_asked_again() {
    let mut questions = Questions::default();
    questions.ask::<Echo>("x".into());
    let answers = run(questions);
    let mut again = Questions::default();
    again.ask::<Echo>("x".into());
    again.ask::<Echo>("y".into());
    again.without(&answers);
    assert_eq!(again.count(), 1);
}
