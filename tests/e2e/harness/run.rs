//! The result of a run of the program.

use std::{collections::BTreeSet, process::Output};

use serde_json::Value;

/// A run of the program that has ended.
#[derive(Debug)]
pub struct RunResult {
    pub arguments: Vec<String>,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// An item of a run, from its JSON.
#[derive(Debug, Clone)]
pub struct Task {
    pub id: String,
    pub kind: String,
    pub status: String,
    pub summary: String,
    pub error: String,
}

impl RunResult {
    pub fn new(arguments: &[&str], output: &Output) -> Self {
        Self {
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that the run ended with this exit code.
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{:?}\n{}\n{}", self.arguments, self.stdout, self.stderr);
        self
    }

    /// Returns the document of `--output json`.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?}\n{}\n{}", self.arguments, self.stdout, self.stderr))
    }

    /// Returns a host of the document.
    #[track_caller]
    pub fn host(&self, host: &str) -> Value {
        self.json()["hosts"][host].clone()
    }

    /// Returns the items of a host.
    #[track_caller]
    pub fn tasks(&self, host: &str) -> Vec<Task> {
        let text = |task: &Value, key: &str| task[key].as_str().unwrap_or_default().to_owned();
        let host = self.host(host);
        let tasks = host["tasks"].as_array().unwrap_or_else(|| panic!("no tasks: {}\n{}", self.stdout, self.stderr)).iter();
        tasks
            .map(|task| Task {
                id: text(task, "id"),
                kind: text(task, "kind"),
                status: text(task, "status"),
                summary: text(task, "summary"),
                error: text(task, "error"),
            })
            .collect()
    }

    /// Returns the IDs of a host's items with this status.
    #[track_caller]
    pub fn ids(&self, host: &str, status: &str) -> BTreeSet<String> {
        self.tasks(host).into_iter().filter(|task| task.status == status).map(|task| task.id).collect()
    }

    /// Returns the error of a host's only failed item.
    #[track_caller]
    pub fn failure(&self, host: &str) -> String {
        let failed: Vec<Task> = self.tasks(host).into_iter().filter(|task| task.status == "failed").collect();
        let [one] = failed.as_slice() else { panic!("not exactly one failed item: {failed:?}\n{}{}", self.stdout, self.stderr) };
        one.error.clone()
    }

    /// Returns everything that it printed.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}
