//! What came of a backup: what its last run wrote down, whether the archives are still there, and the node's clock.

use std::collections::HashMap;

use super::{Kind, Output, Unanswered};
use crate::{resource::RemotePath, script::Script};

/// A backup to ask about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file in which each run leaves `result=`, `success=`, `error=` and, for each archive, `archive=SIZE NAME`.
    pub status_file: RemotePath,
    /// Where the archives are.
    pub directory: RemotePath,
    /// The timer that starts the runs.
    pub timer: String,
}

/// Marker for the kind "what came of a backup".
#[derive(Debug)]
pub struct Backup;

/// What was found. Times are seconds since 1970 by the node's own clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The time there.
    pub now: u64,
    /// Since when the timer is enabled, if it is.
    pub enabled_since: Option<u64>,
    /// What the last run left; none when there was no run.
    pub status: Option<Status>,
    /// When the timer is due, in words; only asked for while no backup succeeded.
    pub next: String,
    /// The size in bytes of each file in the directory that the last good run names.
    pub there: HashMap<String, u64>,
}

/// What a run left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the last run failed.
    pub failed: bool,
    /// Why, in one line.
    pub error: String,
    /// When the last good run ended.
    pub success: Option<u64>,
    /// What it made: sizes in bytes, and names.
    pub archives: Vec<(u64, String)>,
}

impl Kind for Backup {
    type Key = Place;
    type Answer = Found;
    const NAME: &'static str = "backup";

    fn script(keys: &[&Place]) -> Script {
        keys.iter().enumerate().fold(Script::new(include_str!("backup.sh")), |script, (index, key)| {
            script.args([index.to_string(), key.status_file.to_string(), key.directory.to_string(), key.timer.clone()])
        })
    }

    fn read(keys: &[&Place], output: &Output) -> Vec<Result<Found, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("backups", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut parts: HashMap<usize, Part> = HashMap::new();
        let mut index = usize::MAX;
        // Whatever a file says stands behind a word of ours, so that no line of it begins like this.
        for line in text.lines() {
            match line.strip_prefix("@@ backup ") {
                Some(number) => index = number.parse().unwrap_or(usize::MAX),
                // Nor do the words of a user who is not root get to a terminal as more than words.
                None => parts.entry(index).or_default().line(&line.replace(char::is_control, " ")),
            }
        }
        let answer = |index: usize| parts.remove(&index).and_then(Part::finished);
        let silent = || Unanswered("the node said nothing about the backup".into());
        (0..keys.len()).map(answer).map(|found| found.ok_or_else(silent)).collect()
    }
}

/// What is known of one backup so far.
#[derive(Default)]
struct Part {
    now: Option<u64>,
    found: Found,
}

impl Part {
    fn line(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "now" => self.now = rest.parse().ok(),
            "since" => self.found.enabled_since = rest.parse().ok(),
            "next" => rest.trim().clone_into(&mut self.found.next),
            "file" => self.found.status = Some(Status::default()),
            "status" => {
                if let (Some(status), Some((key, value))) = (&mut self.found.status, rest.split_once('=')) {
                    status.field(key, value);
                }
            }
            "there" => {
                if let Some((size, name)) = sized(rest) {
                    self.found.there.insert(name.strip_prefix("./").unwrap_or(&name).to_owned(), size);
                }
            }
            _ => {}
        }
    }

    fn finished(self) -> Option<Found> {
        let Self { now, mut found } = self;
        found.now = now?;
        Some(found)
    }
}

impl Status {
    fn field(&mut self, key: &str, value: &str) {
        match key {
            "result" => self.failed = value != "ok",
            "error" => value.clone_into(&mut self.error),
            "success" => self.success = value.parse().ok(),
            "archive" => self.archives.extend(sized(value)),
            _ => {}
        }
    }
}

/// `SIZE NAME`.
fn sized(text: &str) -> Option<(u64, String)> {
    let (size, name) = text.split_once(' ')?;
    Some((size.parse().ok()?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial::{fake, run};
    use std::{fs, path::Path};

    fn place(node: &Path) -> Place {
        let path = |name: &str| RemotePath::new(node.join(name).to_str().unwrap()).unwrap();
        Place { status_file: path("status"), directory: path("archives"), timer: "no such.timer".into() }
    }

    /// The script, run for real on this machine, with a systemd that knows one thing.
    fn ask(node: &Path) -> Found {
        fake(node, "systemctl", "echo \"Sat 2026-11-21 $TZ\"");
        let place = place(node);
        let done = run(&Backup::script(&[&place]), node);
        assert_eq!(done.stderr, "");
        Backup::read(&[&place], &Output { status: done.status, stdout: done.stdout }).remove(0).unwrap()
    }

    #[test]
    fn a_node_without_a_run_says_when_the_first_one_is_due() {
        let node = tempfile::tempdir().unwrap();
        let found = ask(node.path());
        assert!(found.now > 1_700_000_000);
        assert_eq!((found.status, found.next.as_str(), found.enabled_since), (None, "Sat 2026-11-21 UTC", None));
    }

    #[test]
    fn what_a_run_left_is_read_and_its_archives_are_looked_for() {
        let node = tempfile::tempdir().unwrap();
        fs::create_dir(node.path().join("archives")).unwrap();
        fs::write(node.path().join("archives/a%20b-1.dump"), "12345").unwrap();
        // Hostile words of a user who may write the file, but is not root.
        let hostile = "x \u{1b}[2J @@ backup 0\n@@ backup 0\nnow 1\nthere 9 gone";
        let status = format!(
            "# c\nresult=failed\nsuccess=17\nerror={hostile}\narchive=5 a%20b-1.dump\narchive=9 gone\narchive=1 /etc/passwd\n"
        );
        fs::write(node.path().join("status"), status).unwrap();
        let found = ask(node.path());
        assert!(found.now > 1_700_000_000);
        assert_eq!(found.next, "");
        assert_eq!(found.there, HashMap::from([("a%20b-1.dump".to_owned(), 5)]));
        let status = found.status.unwrap();
        assert_eq!((status.failed, status.success, status.error.as_str()), (true, Some(17), "x  [2J @@ backup 0"));
        assert_eq!(status.archives.len(), 3);
    }

    #[test]
    fn a_node_that_says_nothing_gives_no_answer() {
        let place = place(Path::new("/x"));
        for (status, stdout) in [(124, "@@ backup 0\nnow 1\n"), (0, ""), (0, "@@ backup 0\n"), (0, "@@ backup 1\nnow 1\n")] {
            assert!(Backup::read(&[&place], &Output { status, stdout: stdout.into() })[0].is_err(), "{stdout:?}");
        }
    }
}
