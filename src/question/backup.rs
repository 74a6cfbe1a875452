//! The result of a backup: the status that its last run recorded, whether the archives still exist, and the node's clock.

use std::collections::HashMap;

use super::{Kind, Output, Unanswered, way::WAY};
use crate::{script::Script, values::RemotePath};

/// A backup to ask about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackupLocation {
    /// The file in which each run records `result=`, `success=`, `error=` and, for each archive, `archive=SIZE NAME`.
    pub status_file: RemotePath,
    /// The directory of the archives.
    pub directory: RemotePath,
    /// The timer that starts the runs.
    pub timer: String,
}

/// Marker for the kind "result of a backup".
#[derive(Debug)]
pub struct Backup;

/// The result of a backup. Times are in seconds since 1970 by the node's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupInfo {
    /// The node's current time.
    pub now: u64,
    /// When the timer was enabled, if it is.
    pub enabled_since: Option<u64>,
    /// The status that the last run recorded; `None` when there was no run.
    pub status: Option<LastRun>,
    /// When the timer is due, as systemd prints it; asked for only while no backup has succeeded.
    pub next: String,
    /// The size in bytes of each existing file that the last successful run names.
    pub there: HashMap<String, u64>,
}

/// The status that a run recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastRun {
    /// Whether the last run failed.
    pub failed: bool,
    /// Why it failed, in one line.
    pub error: String,
    /// When the last successful run ended.
    pub success: Option<u64>,
    /// The archives that it made: sizes in bytes, and names.
    pub archives: Vec<(u64, String)>,
}

impl Kind for Backup {
    type Key = BackupLocation;
    type Answer = BackupInfo;
    const NAME: &'static str = "backup";

    fn script(keys: &[&BackupLocation]) -> Script {
        keys.iter().enumerate().fold(Script::new(include_str!("backup.sh")).using(WAY), |script, (index, key)| {
            script.args([index.to_string(), key.status_file.to_string(), key.directory.to_string(), key.timer.clone()])
        })
    }

    fn read(keys: &[&BackupLocation], output: &Output) -> Vec<Result<BackupInfo, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("backups", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut parts: HashMap<usize, PartialInfo> = HashMap::new();
        let mut index = usize::MAX;
        // Each line of a file is printed after a word of the script, so no content can begin like a separator.
        for line in text.lines() {
            match line.strip_prefix("@@ backup ") {
                Some(number) => index = number.parse().unwrap_or(usize::MAX),
                // The file's author need not be root, so control characters must not reach a terminal.
                None => parts.entry(index).or_default().line(&line.replace(char::is_control, " ")),
            }
        }
        let missing = || Unanswered("the node gave no answer about the backup".into());
        (0..keys.len()).map(|index| parts.remove(&index).ok_or_else(missing)?.finished().ok_or_else(missing)?).collect()
    }
}

/// The answer about one backup, while it is being parsed.
#[derive(Default)]
struct PartialInfo {
    now: Option<u64>,
    /// Why the status must not be read.
    refused: Option<String>,
    found: BackupInfo,
}

impl PartialInfo {
    fn line(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "now" => self.now = rest.parse().ok(),
            "since" => self.found.enabled_since = rest.parse().ok(),
            "next" => rest.trim().clone_into(&mut self.found.next),
            "refused" => self.refused = Some(rest.to_owned()),
            "file" => self.found.status = Some(LastRun::default()),
            "status" => {
                if let (Some(status), Some((key, value))) = (&mut self.found.status, rest.split_once('=')) {
                    status.field(key, value);
                }
            }
            "there" => {
                if let Some((size, name)) = parse_archive(rest) {
                    self.found.there.insert(name.strip_prefix("./").unwrap_or(&name).to_owned(), size);
                }
            }
            _ => {}
        }
    }

    fn finished(self) -> Option<Result<BackupInfo, Unanswered>> {
        let Self { now, refused, mut found } = self;
        found.now = now?;
        Some(refused.map_or(Ok(found), |why| Err(Unanswered(why))))
    }
}

impl LastRun {
    fn field(&mut self, key: &str, value: &str) {
        match key {
            "result" => self.failed = value != "ok",
            "error" => value.clone_into(&mut self.error),
            "success" => self.success = value.parse().ok(),
            "archive" => self.archives.extend(parse_archive(value)),
            _ => {}
        }
    }
}

/// Parses `SIZE NAME`.
fn parse_archive(text: &str) -> Option<(u64, String)> {
    let (size, name) = text.split_once(' ')?;
    Some((size.parse().ok()?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial::{fake, run};
    use std::{fs, path::Path};

    fn location(node: &Path) -> BackupLocation {
        let path = |name: &str| RemotePath::new(node.join(name).to_str().unwrap()).unwrap();
        BackupLocation { status_file: path("status"), directory: path("archives"), timer: "no such.timer".into() }
    }

    /// Runs the script on this machine, with a fake `systemctl` that gives one answer.
    fn ask(node: &Path) -> BackupInfo {
        fake(node, "systemctl", "echo \"Sat 2026-11-21 $TZ\"");
        let location = location(node);
        let done = run(&Backup::script(&[&location]), node);
        assert_eq!(done.stderr, "");
        Backup::read(&[&location], &Output { status: done.status, stdout: done.stdout }).remove(0).unwrap()
    }

    #[test]
    fn a_node_without_a_run_reports_when_the_first_one_is_due() {
        let node = tempfile::tempdir().unwrap();
        let found = ask(node.path());
        assert!(found.now > 1_700_000_000);
        assert_eq!((found.status, found.next.as_str(), found.enabled_since), (None, "Sat 2026-11-21 UTC", None));
    }

    #[test]
    fn the_recorded_status_is_read_and_its_archives_are_looked_up() {
        let node = tempfile::tempdir().unwrap();
        fs::create_dir(node.path().join("archives")).unwrap();
        fs::write(node.path().join("archives/a%20b-1.dump"), "12345").unwrap();
        // Hostile text of a user who may write the file but is not root.
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
    fn missing_output_is_no_answer() {
        let location = location(Path::new("/x"));
        for (status, stdout) in [(124, "@@ backup 0\nnow 1\n"), (0, ""), (0, "@@ backup 0\n"), (0, "@@ backup 1\nnow 1\n")] {
            assert!(Backup::read(&[&location], &Output { status, stdout: stdout.into() })[0].is_err(), "{stdout:?}");
        }
    }
}
