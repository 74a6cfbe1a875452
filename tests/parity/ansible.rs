//! A pinned version of ansible-core in a virtual environment below `target/`, and a process with it that answers queries.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

/// The result of an Ansible command.
pub(crate) struct CommandResult {
    pub(crate) code: i64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The hosts that a pattern selects, for several iteration orders of Ansible's sets; `None` if a part of the pattern matches nothing.
#[derive(Debug)]
pub(crate) struct Selection(pub(crate) Vec<Option<Vec<String>>>);

impl Selection {
    /// Returns the selection if it does not depend on the order of a set.
    pub(crate) fn unambiguous(&self) -> Option<&Option<Vec<String>>> {
        self.0.iter().all(|hosts| *hosts == self.0[0]).then(|| &self.0[0])
    }
}

/// A process that has imported Ansible.
pub(crate) struct Ansible {
    child: Child,
    queries: ChildStdin,
    answers: BufReader<ChildStdout>,
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(file)
}

/// Returns the directory of programs of the environment, which is installed once, and again when the requirements change.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let requirements = here("requirements.txt");
        let wanted = fs::read_to_string(&requirements).unwrap();
        let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ansible");
        let done = environment.join("installed.txt");
        if !fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
            let run = |command: &mut Command| {
                let status = command.stdin(Stdio::null()).status().unwrap();
                assert!(status.success(), "{command:?}: {status}");
            };
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
            let pip = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "--only-binary=:all:",
                "-r",
            ];
            run(Command::new(environment.join("bin/python")).args(pip).arg(&requirements));
            fs::write(&done, wanted).unwrap();
        }
        environment.join("bin")
    })
}

/// Returns a command that runs a program of Ansible, isolated from the configuration of this machine.
pub(crate) fn command(program: &str) -> Command {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ansible-home");
    fs::create_dir_all(&home).unwrap();
    let config = home.join("empty.cfg");
    fs::write(&config, "").unwrap();
    let mut command = Command::new(programs().join(program));
    command.env_clear().envs([
        ("PATH", "/usr/bin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("ANSIBLE_NOCOLOR", "1"),
        ("PYTHONHASHSEED", "0"),
    ]);
    // Without these, Ansible only warns about files that it cannot read, and about patterns that match nothing.
    command.envs([("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "1"), ("ANSIBLE_HOST_PATTERN_MISMATCH", "error")]);
    command.env("HOME", &home).env("ANSIBLE_HOME", &home).env("ANSIBLE_CONFIG", &config).stdin(Stdio::null());
    command
}

impl Ansible {
    pub(crate) fn start() -> Self {
        let mut child = command("python").arg(here("answers.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (queries, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, queries, answers }
    }

    fn send(&mut self, query: &Value) -> Value {
        writeln!(self.queries, "{query}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: no answer to {query}"))
    }

    /// Runs `ansible` or `ansible-inventory`.
    pub(crate) fn run(&mut self, arguments: &[&str], directory: &Path) -> CommandResult {
        let answer = self.send(&json!({ "run": arguments, "directory": directory }));
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        CommandResult { code: answer["code"].as_i64().unwrap(), stdout: text("stdout"), stderr: text("stderr") }
    }

    /// Returns the selection of each pattern. With `as_limit`, the pattern is used as `--limit` of `all`.
    pub(crate) fn select(&mut self, patterns: &[String], inventory: &str, directory: &Path, as_limit: bool) -> Vec<Selection> {
        let query = json!({ "patterns": patterns, "sources": [inventory], "directory": directory, "as_limit": as_limit });
        let answers: Vec<Vec<Option<Vec<String>>>> = serde_json::from_value(self.send(&query)).unwrap();
        answers.into_iter().map(Selection).collect()
    }
}

/// What a module did with a file, in one of two runs.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct ModuleRun {
    /// Why it failed.
    pub(crate) error: Option<String>,
    pub(crate) changed: bool,
    /// The file after the run, each byte as the character of its number; `None` if there is none.
    pub(crate) content: Option<String>,
}

/// What a module makes of an edit.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Edit {
    /// Whether all patterns of the task are ones in Python: a module does not read each in each case.
    pub(crate) patterns: bool,
    pub(crate) runs: [ModuleRun; 2],
}

impl Ansible {
    /// Runs each edit twice: a module, its parameters with a `path` in the directory, and the file before.
    pub(crate) fn edit(&mut self, edits: &[(&str, &Value, Option<String>)], directory: &Path) -> Vec<Edit> {
        serde_json::from_value(self.send(&json!({ "edits": edits, "directory": directory }))).unwrap()
    }
}

impl Drop for Ansible {
    fn drop(&mut self) {
        // It is blocked in a read and holds no resources.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
