//! `command`: runs a shell command unless its guard finds the work done, or a command that only reads.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    Argv, Change, Diff, Files, Flag, Kind, NodeState, ParamError, RemotePath, Resource, Segment, ShellText, Verdict, decode,
    schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        guard::{Guard, GuardAnswer, RUN_AS, Shell},
        path::{Entry, PathQuery, PathState},
    },
    script::{Script, quote},
    secret::{Sealed, SecretId},
    shell::CODE_VARIABLES,
};

pub(super) const KIND: Kind = Kind {
    name: "command",
    about: "Runs a command unless its guard finds the work done, or a command that only reads",
    example: "command:
  cmd: createdb legacy
  unless: psql -lqt | grep -qw legacy",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "cmd",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// A line of shell.
        cmd: Option<ShellText>,
        /// The words of a command, without a shell.
        argv: Option<Argv>,
        /// The work is done when this path exists.
        creates: Option<RemotePath>,
        /// The work is done when this path does not exist.
        removes: Option<RemotePath>,
        /// The work is done when this line of shell succeeds.
        unless: Option<ShellText>,
        /// The work is done when this line of shell fails.
        only_if: Option<ShellText>,
        /// The command only reads: it runs once, when the run begins, also in a check, and its task is never "changed".
        reads: Flag = false,
        /// The exit statuses that count as success, for `reads: true`; without it, 0.
        ok_rc: Option<Vec<i32>>,
        /// The directory in which it runs.
        chdir: Option<RemotePath>,
        /// Its standard input.
        stdin: Option<Sealed>,
        /// Who runs it, instead of root; written as a keyword of the task.
        become_user: Option<String>,
        /// Environment variables of the command and its guard, without secrets; written as a keyword of the task.
        environment: Map<String, Value> = {},
    }
}

#[derive(Debug)]
struct Command {
    /// The line as the role declares it.
    text: String,
    /// The line that runs, with its environment.
    script: String,
    user: Option<String>,
    chdir: Option<RemotePath>,
    stdin: Sealed,
    when: When,
}

#[derive(Debug)]
enum When {
    /// In each run, because it only reads. These exit statuses count as success.
    Reads { successes: Vec<i32>, key: Shell },
    /// Until the guard reports that the work is done.
    Guarded { key: Shell, done: Done },
    /// While something exists at a path, or while nothing does.
    Path { query: PathQuery, until: Until },
}

/// When a command is done that is guarded by a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Once something exists there.
    Exists,
    /// Once nothing does.
    Gone,
}

/// What a guard's exit status 0 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// The work is done.
    AtZero,
    /// The work is yet to be done.
    Otherwise,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let Parameters { cmd, argv, creates, removes, unless, only_if, reads, ok_rc, chdir, stdin, become_user, environment } =
        decode(parameters)?;
    let text = match (cmd, argv) {
        (Some(cmd), None) if !cmd.0.trim().is_empty() => cmd.0,
        (None, Some(argv)) if !argv.0.is_empty() => join_words(&argv.0)?,
        (Some(_), Some(_)) => return Err(ParamError::parameter("argv", "give either `cmd` or `argv`")),
        (Some(_), None) => return Err(ParamError::parameter("cmd", "is empty")),
        (None, Some(_)) => return Err(ParamError::parameter("argv", "is empty")),
        (None, None) => return Err(ParamError::parameter("", "give `cmd` (a line of shell) or `argv` (a list of words)")),
    };
    let environment = environment_prefix(&environment)?;
    let in_environment = |text: String| format!("{environment}{}", if environment.is_empty() { text } else { quoted(&text) });
    let shell = |text: String, output: bool| Shell {
        text: in_environment(text),
        user: become_user.clone(),
        chdir: chdir.clone(),
        output,
    };
    let path = |path: RemotePath, until| When::Path { query: PathQuery::existence(&path), until };
    let guards: Vec<When> = [
        creates.map(|created| path(created, Until::Exists)),
        removes.map(|removed| path(removed, Until::Gone)),
        unless.map(|text| When::Guarded { key: shell(text.0, false), done: Done::AtZero }),
        only_if.map(|text| When::Guarded { key: shell(text.0, false), done: Done::Otherwise }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if guards.len() + usize::from(reads.0) != 1 {
        return Err(ParamError::parameter(
            "",
            "give exactly one of `creates`, `removes`, `unless`, `only_if` (how to know that it is done), or `reads: true` (it changes nothing)",
        ));
    }
    if reads.0 && stdin.is_some() {
        return Err(ParamError::parameter("stdin", "a command that only reads gets no input"));
    }
    if !reads.0 && ok_rc.is_some() {
        return Err(ParamError::parameter("ok_rc", "is for `reads: true`; a command that changes something must end with 0"));
    }
    let when = match guards.into_iter().next() {
        Some(guard) => guard,
        None => When::Reads { successes: ok_rc.unwrap_or_else(|| vec![0]), key: shell(text.clone(), true) },
    };
    let script = in_environment(text.clone());
    Ok(Box::new(Command { text, script, user: become_user, chdir, stdin: stdin.unwrap_or_default(), when }))
}

/// Returns `exec env NAME=VALUE… /bin/sh -c ` as a prefix of a quoted line of shell; empty without variables. The values are data, and
/// only the process of that line has them.
fn environment_prefix(environment: &Map<String, Value>) -> Result<String, ParamError> {
    let invalid = |name: &str, message: String| ParamError::Parameter {
        path: vec![Segment::Key("environment".to_owned()), Segment::Key(name.to_owned())],
        message,
    };
    let mut text = String::new();
    for (name, value) in environment {
        let is_name = !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(invalid(name, format!("`{}` is not a valid name of an environment variable", name.escape_debug())));
        }
        if CODE_VARIABLES.contains(&name.as_str()) {
            return Err(invalid(
                name,
                "a shell runs the value of this variable as code; set it within the command itself".to_owned(),
            ));
        }
        let value = match value {
            // `omit`, or no value: the variable is not set.
            Value::Null => continue,
            Value::String(value) => value.clone(),
            Value::Number(value) => value.to_string(),
            Value::Bool(value) => {
                return Err(invalid(name, format!("the value must be text: write \"{value}\", \"1\" or what it expects")));
            }
            Value::Array(_) | Value::Object(_) => return Err(invalid(name, "the value must be text".to_owned())),
        };
        let word = quote(&format!("{name}={value}")).map_err(|error| invalid(name, error.to_string()))?;
        let _ = write!(text, " {word}");
    }
    Ok(if text.is_empty() { text } else { format!("exec env{text} /bin/sh -c ") })
}

/// Returns a line of shell as one word. A line with a NUL byte is returned unchanged, and is refused when the script is rendered.
fn quoted(text: &str) -> String {
    quote(text).unwrap_or_else(|_| text.to_owned())
}

fn join_words(argv: &[String]) -> Result<String, ParamError> {
    let mut text = String::from("exec");
    for word in argv {
        let word = quote(word).map_err(|error| ParamError::parameter("argv", error.to_string()))?;
        let _ = write!(text, " {word}");
    }
    Ok(text)
}

impl Resource for Command {
    fn may_satisfy_later_tasks(&self) -> bool {
        true
    }

    fn questions(&self, ask: &mut Questions) {
        match &self.when {
            When::Reads { key, .. } | When::Guarded { key, .. } => ask.ask::<Guard>(key.clone()),
            When::Path { query, .. } => ask.ask::<PathState>(query.clone()),
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        match &self.when {
            When::Reads { successes, key } => {
                let answer = node.answers.get::<Guard>(key)?;
                Ok(match &answer.missing {
                    Some(missing) => Verdict::Blocked { missing: vec![missing.clone()], change: self.change() },
                    None if successes.contains(&answer.status) => Verdict::CONVERGED,
                    None => Verdict::Refused(self.describe_failure(answer)),
                })
            }
            When::Path { query, until } => {
                let exists = node.answers.get::<PathState>(query)?.entry != Entry::Absent;
                Ok(if exists == (*until == Until::Exists) { Verdict::CONVERGED } else { Verdict::Change(self.change()) })
            }
            When::Guarded { key, done } => {
                let answer = node.answers.get::<Guard>(key)?;
                Ok(match &answer.missing {
                    Some(missing) => Verdict::Blocked { missing: vec![missing.clone()], change: self.change() },
                    None if (answer.status == 0) == (*done == Done::AtZero) => Verdict::CONVERGED,
                    None => Verdict::Change(self.change()),
                })
            }
        }
    }

    fn secrets(&self) -> Vec<SecretId> {
        self.stdin.secrets()
    }

    fn register(&self, node: &NodeState<'_>) -> Option<Value> {
        match &self.when {
            When::Reads { key, .. } => node.answers.get::<Guard>(key).ok().map(registered),
            When::Guarded { .. } | When::Path { .. } => None,
        }
    }
}

impl Command {
    fn change(&self) -> Change {
        let mut diff = Diff::none();
        for line in self.text.lines() {
            diff.added(line);
        }
        let script = Script::new(RUN)
            .using(RUN_AS)
            .arg(self.user.as_deref().unwrap_or_default())
            .arg(self.chdir.as_ref().map(RemotePath::as_str).unwrap_or_default())
            .arg(&self.script)
            .input(self.stdin.clone());
        Change::new("run", script).diff(diff)
    }

    fn describe_failure(&self, answer: &GuardAnswer) -> String {
        let mut message = format!("`{}` ended with exit status {}", self.text, answer.status);
        let stderr = String::from_utf8_lossy(&answer.stderr);
        if let Some(line) = stderr.lines().rfind(|line| !line.trim().is_empty()) {
            let _ = write!(message, ": {}", line.trim());
        }
        message
    }
}

/// The umask is the one that commands expect; the command reads the standard input of the script.
const RUN: &str = r#"set -eu
umask 022
run_as "$1" "$2" /bin/sh -c "$3" || { status=$?; echo "the command ended with exit status $status" >&2; exit "$status"; }
"#;

/// Returns what `register` keeps of a command that only reads, with Ansible's names.
fn registered(answer: &GuardAnswer) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\r']).to_owned();
    let stdout = text(&answer.stdout);
    let lines: Vec<&str> = stdout.lines().collect();
    json!({"stdout": stdout, "stdout_lines": lines, "stderr": text(&answer.stderr), "rc": answer.status, "changed": false})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretRef;
    use crate::{
        question::Answers,
        resource::trial::{NoFiles, run},
        secret::{Encoding, SecretValues},
    };
    use std::path::Path;

    fn command(parameters: Value) -> Result<Box<dyn Resource>, String> {
        from_parameters(parameters, &mut NoFiles).map_err(|error| match error {
            ParamError::Parameter { message, .. } => message,
            ParamError::Word { word, .. } => word.to_string(),
            ParamError::File(_) => unreachable!(),
        })
    }

    /// Compares with the answers of this machine, asked in the same way as a node.
    fn compare(resource: &dyn Resource) -> (Verdict, Option<Value>) {
        let mut questions = Questions::default();
        resource.questions(&mut questions);
        let composed = questions.compose("f00d").unwrap();
        let done = run(&Script::new("eval \"$1\"").arg(composed.script()), Path::new("/nonexistent"));
        let answers = composed.read(&done.stdout);
        let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
        (resource.compare(&node).unwrap(), resource.register(&node))
    }

    #[test]
    fn every_guard_decides_whether_it_is_done() {
        for (guard, value, done) in [
            ("creates", "/etc/passwd", true),
            ("creates", "/no/such", false),
            ("removes", "/etc/passwd", false),
            ("removes", "/no/such", true),
            ("unless", "exit 0", true),
            ("unless", "exit 1", false),
            ("only_if", "exit 0", false),
            ("only_if", "exit 7", true),
        ] {
            let resource = command(json!({"cmd": "true", guard: value})).unwrap();
            assert_eq!(matches!(compare(resource.as_ref()).0, Verdict::Converged { .. }), done, "{guard} {value}");
        }
    }

    #[test]
    fn the_guard_finds_the_work_done_after_the_command_ran() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("it's $(done)\"");
        let resource =
            command(json!({"argv": ["cp", "/dev/stdin", path], "creates": path, "stdin": "line\n'$(x)'", "chdir": root.path()}))
                .unwrap();
        let Verdict::Change(change) = compare(resource.as_ref()).0 else { panic!() };
        let done = run(&change.script, Path::new("/nonexistent"));
        assert_eq!((done.status, done.stderr.as_str()), (0, ""));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\n'$(x)'");
        assert!(matches!(compare(resource.as_ref()).0, Verdict::Converged { .. }));
    }

    #[test]
    fn a_failing_command_fails_loudly_with_its_status() {
        let resource = command(json!({"cmd": "echo no >&2 | cat; exit 3", "creates": "/no/such"})).unwrap();
        let Verdict::Change(change) = compare(resource.as_ref()).0 else { panic!() };
        let done = run(&change.script, Path::new("/nonexistent"));
        assert_eq!((done.status, done.stderr.as_str()), (3, "no\nthe command ended with exit status 3\n"));
    }

    #[test]
    fn reading_is_never_a_change_and_can_be_registered() {
        let resource =
            command(json!({"cmd": "printf 'a\\nb\\n\\n'; echo w >&2; exit 1", "reads": true, "ok_rc": [0, 1]})).unwrap();
        let (verdict, registered) = compare(resource.as_ref());
        assert!(matches!(verdict, Verdict::Converged { .. }));
        assert_eq!(
            registered.unwrap(),
            json!({"stdout": "a\nb", "stdout_lines": ["a", "b"], "stderr": "w", "rc": 1, "changed": false})
        );
    }

    #[test]
    fn a_reading_command_that_fails_is_a_failed_task() {
        let resource = command(json!({"cmd": "echo 'no such thing' >&2; exit 2", "reads": true})).unwrap();
        let Verdict::Refused(why) = compare(resource.as_ref()).0 else { panic!() };
        assert_eq!(why, "`echo 'no such thing' >&2; exit 2` ended with exit status 2: no such thing");
    }

    #[test]
    fn a_missing_user_blocks() {
        let resource = command(json!({"cmd": "true", "unless": "false", "become_user": "no-such-user"})).unwrap();
        let Verdict::Blocked { missing, change } = compare(resource.as_ref()).0 else { panic!() };
        assert_eq!(missing, [crate::values::Missing::User("no-such-user".into())]);
        let done = run(&change.script, Path::new("/nonexistent"));
        assert_eq!((done.status, done.stderr.lines().next()), (125, Some("there is no user `no-such-user`")));
    }

    #[test]
    fn secrets_travel_through_the_input_only() {
        let secret = SecretRef { host: "db".into(), name: "P".into() };
        let resource = command(json!({"cmd": "cat", "creates": "/no", "stdin": secret.token(Encoding::Plain)})).unwrap();
        assert_eq!(resource.secrets(), [secret]);
        let Verdict::Change(change) = compare(resource.as_ref()).0 else { panic!() };
        assert!(!crate::secret::holds_token(&change.script.render().unwrap()));
    }

    #[test]
    fn the_environment_is_data_for_the_command_and_for_its_guard_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("made");
        let hostile = "a b'c\"$(touch pwned)`id`\nd $HOME \\";
        let environment = json!({"APP_VALUE": hostile, "COUNT": 7, "GONE": null});
        let resource = command(json!({
            "cmd": format!("printf '%s|%s|%s' \"$APP_VALUE\" \"$COUNT\" \"${{GONE-unset}}\" >{}", path.display()),
            "unless": format!("[ \"$COUNT\" = 7 ] && [ -e {} ]", path.display()),
            "environment": environment,
        }))
        .unwrap();
        let Verdict::Change(change) = compare(resource.as_ref()).0 else { panic!() };
        let done = run(&change.script, Path::new("/nonexistent"));
        assert_eq!((done.status, done.stderr.as_str()), (0, ""));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{hostile}|7|unset"));
        assert!(matches!(compare(resource.as_ref()).0, Verdict::Converged { .. }));
        let (_, registered) =
            compare(command(json!({"cmd": "echo $COUNT", "reads": true, "environment": {"COUNT": 8}})).unwrap().as_ref());
        assert_eq!(registered.unwrap()["stdout"], "8");
    }

    #[test]
    fn an_environment_takes_only_valid_names_and_texts() {
        for (name, value, message) in [
            ("A B", json!("x"), "not a valid name of an environment variable"),
            ("1A", json!("x"), "not a valid name of an environment variable"),
            ("", json!("x"), "not a valid name of an environment variable"),
            ("A=B", json!("x"), "not a valid name of an environment variable"),
            ("-i", json!("x"), "not a valid name of an environment variable"),
            ("BASH_ENV", json!("x"), "runs the value of this variable as code"),
            ("A", json!(true), "write \"true\""),
            ("A", json!(["x"]), "the value must be text"),
            ("A", json!("x\u{0}"), "NUL"),
        ] {
            let error = command(json!({"cmd": "true", "creates": "/a", "environment": {name: value}})).unwrap_err();
            assert!(error.contains(message), "{name}: {error}");
        }
    }

    #[test]
    fn a_guard_without_an_answer_is_a_failure() {
        let resource = command(json!({"cmd": "true", "creates": "/x"})).unwrap();
        let answers = Answers::default();
        assert!(resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).is_err());
    }

    #[test]
    fn illegal_combinations_are_errors() {
        for (parameters, message) in [
            (json!({"cmd": "true"}), "exactly one of"),
            (json!({"cmd": "true", "creates": "/a", "unless": "b"}), "exactly one of"),
            (json!({"cmd": "true", "creates": "/a", "reads": true}), "exactly one of"),
            (json!({"cmd": "true", "argv": ["true"], "creates": "/a"}), "either"),
            (json!({"argv": [], "creates": "/a"}), "is empty"),
            (json!({"argv": ["a\u{0}"], "creates": "/a"}), "NUL"),
            (json!({"cmd": " ", "creates": "/a"}), "is empty"),
            (json!({"creates": "/a"}), "give `cmd`"),
            (json!({"cmd": "x", "creates": "a"}), "not an absolute path"),
            (json!({"cmd": "x", "reads": true, "stdin": "y"}), "no input"),
            (json!({"cmd": "x", "unless": "y", "ok_rc": [1]}), "`reads: true`"),
            (json!({"cmd": "x", "warn": true}), "unknown parameter"),
        ] {
            let error = command(parameters.clone()).unwrap_err();
            assert!(error.contains(message), "{parameters}: {error}");
        }
    }
}
