//! ansible-core of a pinned version, in a virtual environment below `target/`, and a process of it that answers questions.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

/// What a command of Ansible did.
pub(crate) struct Ran {
    pub(crate) code: i64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The hosts that a pattern selects in several orders of Ansible's sets; none where one of its parts matches nothing.
#[derive(Debug)]
pub(crate) struct Selected(pub(crate) Vec<Option<Vec<String>>>);

impl Selected {
    /// The answer, if it does not hang on the order of a set.
    pub(crate) fn certain(&self) -> Option<&Option<Vec<String>>> {
        self.0.iter().all(|hosts| *hosts == self.0[0]).then(|| &self.0[0])
    }
}

/// A process that has Ansible imported.
pub(crate) struct Ansible {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(file)
}

/// The environment's directory of programs. Installed once; anew when the requirements change.
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

/// A program of Ansible's with nothing of this machine's configuration.
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
    // Without these Ansible only warns about what it could not read, and about patterns that match nothing.
    command.envs([("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "1"), ("ANSIBLE_HOST_PATTERN_MISMATCH", "error")]);
    command.env("HOME", &home).env("ANSIBLE_HOME", &home).env("ANSIBLE_CONFIG", &config).stdin(Stdio::null());
    command
}

impl Ansible {
    pub(crate) fn start() -> Self {
        let mut child = command("python").arg(here("answers.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (questions, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, questions, answers }
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.questions, "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: no answer to {question}"))
    }

    /// Runs `ansible` or `ansible-inventory`.
    pub(crate) fn run(&mut self, arguments: &[&str], directory: &Path) -> Ran {
        let answer = self.ask(&json!({ "run": arguments, "directory": directory }));
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Ran { code: answer["code"].as_i64().unwrap(), stdout: text("stdout"), stderr: text("stderr") }
    }

    /// What each pattern selects. `as_limit`: as `--limit` of `all`.
    pub(crate) fn select(&mut self, patterns: &[String], inventory: &str, directory: &Path, as_limit: bool) -> Vec<Selected> {
        let question = json!({ "patterns": patterns, "sources": [inventory], "directory": directory, "as_limit": as_limit });
        let answers: Vec<Vec<Option<Vec<String>>>> = serde_json::from_value(self.ask(&question)).unwrap();
        answers.into_iter().map(Selected).collect()
    }
}

impl Drop for Ansible {
    fn drop(&mut self) {
        // It sleeps in a read and holds nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
