//! For tests: runs a script as the engine does, with fake tools first in its PATH.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    question::{
        Answers,
        account::{AccountName, UserEntry},
        connection::OwnConnection,
        own_account::{LoggedIn, OwnAccount},
        path::{PathInfo, PathQuery, PathState},
    },
    script::Script,
    secret::SecretValues,
    values::{Addresses, RemotePath},
};

/// The outcome of a script.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Writes the executable `tools/name` with this shell text.
pub(crate) fn fake(tools: &Path, name: &str, text: &str) {
    let path = tools.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a script. `tools` comes first in PATH and is `$TOOLS`.
pub(crate) fn run(script: &Script, tools: &Path) -> Done {
    let text = script.render().unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display());
    let mut child = Command::new("sh")
        .arg("-c")
        .arg("umask 077; eval \"$1\"")
        .arg("sh")
        .arg(text)
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("TOOLS", tools)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = script.sealed_input().reveal(&SecretValues::default()).unwrap();
    // A script that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(&input);
    let output = child.wait_with_output().unwrap();
    Done {
        status: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Sets the answer about a path, however it is asked about.
pub(crate) fn answer_about(answers: &mut Answers, path: &str, found: &PathInfo) {
    let path = RemotePath::new(path).unwrap();
    let owners = [None, Some("root"), Some("redis"), Some("ops")].map(|owner| owner.map(|name| AccountName::new(name).unwrap()));
    for look in [PathQuery::attributes(&path), PathQuery::removal(&path), PathQuery::content(&path), PathQuery::checksum(&path)] {
        for owner in &owners {
            for follow in [false, true] {
                answers.set::<PathState>(look.clone().following(follow).owned_by(owner.as_ref()), Ok(found.clone()));
            }
        }
    }
}

/// Says that the run is on the node itself, so that it has no way in to lose.
pub(crate) fn on_the_node_itself(answers: &mut Answers) {
    answers.set::<OwnConnection>((), Ok(None));
}

/// Says that the run has logged in with this account.
pub(crate) fn logged_in_as(answers: &mut Answers, account: LoggedIn) {
    answers.set::<OwnConnection>((), Ok(Addresses::from_ssh_connection("198.18.0.1 4 198.18.0.2 22")));
    answers.set::<OwnAccount>((), Ok(account));
}

/// Returns the account `ops`, a member of `sudo` and `adm`, of which sudo's files name the first.
pub(crate) fn ops() -> LoggedIn {
    let entry = UserEntry {
        uid: 1000,
        gid: 1000,
        group: Some("ops".into()),
        comment: String::new(),
        home: "/home/ops".into(),
        shell: "/bin/bash".into(),
        groups: vec!["adm".into(), "sudo".into()],
    };
    LoggedIn { name: "ops".into(), entry, named_groups: vec!["sudo".into()] }
}

/// Returns the lines of a diff as text.
pub(crate) fn shown(diff: &super::Diff) -> String {
    use super::Line;
    let line = |line: &Line| match line {
        Line::Title(text) => format!("= {text}"),
        Line::Context(text) => format!("  {text}"),
        Line::Added(text) => format!("+ {text}"),
        Line::Removed(text) => format!("- {text}"),
        Line::Gap => "...".to_owned(),
    };
    diff.lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the change of a verdict; panics if it is another verdict.
pub(crate) fn change(verdict: super::Verdict) -> super::Change {
    let super::Verdict::Change(change) = verdict else { panic!("no change: {verdict:?}") };
    change
}

/// A project without files.
pub(crate) struct NoFiles;

impl super::Files for NoFiles {
    fn template(&mut self, name: &str) -> Result<crate::secret::Sealed, crate::source::Diagnostic> {
        panic!("asked for template {name}")
    }
    fn file(&mut self, name: &str) -> Result<crate::secret::Sealed, crate::source::Diagnostic> {
        panic!("asked for file {name}")
    }
}
