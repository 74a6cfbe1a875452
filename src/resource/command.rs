//! `command`: runs a shell command unless its guard finds the work done, or a command that only reads.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    Argv, Change, Diff, Files, Flag, Kind, Missing, NodeState, ParamError, RemotePath, Resource, Segment, ShellText, Verdict,
    decode, schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        account::{AccountName, User},
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
        become_user: Option<AccountName>,
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
    user: Option<AccountName>,
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
        user: become_user.as_ref().map(AccountName::to_string),
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
            When::Path { query, .. } => {
                ask.ask::<PathState>(query.clone());
                self.chdir.iter().for_each(|directory| ask.ask::<PathState>(PathQuery::existence(directory)));
                self.user.iter().for_each(|user| ask.ask::<User>(user.clone()));
            }
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
                if exists == (*until == Until::Exists) {
                    return Ok(Verdict::CONVERGED);
                }
                // With a guard of shell text, the guard itself says what is missing.
                let missing = self.missing(node)?;
                Ok(if missing.is_empty() {
                    Verdict::Change(self.change())
                } else {
                    Verdict::Blocked { missing, change: self.change() }
                })
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
    /// Returns what the command needs and does not find.
    fn missing(&self, node: &NodeState<'_>) -> Result<Vec<Missing>, Unanswered> {
        let mut missing = Vec::new();
        if let Some(user) = &self.user
            && node.answers.get::<User>(user)?.is_none()
        {
            missing.push(Missing::User(user.to_string()));
        }
        if let Some(directory) = &self.chdir
            && node.answers.get::<PathState>(&PathQuery::existence(directory))?.entry == Entry::Absent
        {
            missing.push(Missing::Directory(directory.clone()));
        }
        Ok(missing)
    }

    fn change(&self) -> Change {
        let mut diff = Diff::none();
        for line in self.text.lines() {
            diff.added(line);
        }
        let script = Script::new(RUN)
            .using(RUN_AS)
            .arg(self.user.as_ref().map(AccountName::as_str).unwrap_or_default())
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
mod tests;
