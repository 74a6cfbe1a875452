//! Tests of the backup programs with a real `sh`, real files and fake database tools: which archives they keep and delete, and what they report.
//! The same with the real tools is tested on nodes, in `tests/e2e/backups.rs`.

#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute; these helpers are theirs")]

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use autobot_provision::{
    controller::Controller,
    template::{Renderer, Template},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An archive that the fake `pg_restore` can read.
const GOOD: &str = "archive\nEND\n";
/// The timestamps of the archives that some tests create beforehand.
const OLD: &str = "20200101T000000Z";
const OLDER: &str = "20190101T000000Z";

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A fake node in one directory: `bin`, `backups`, `state`, and `psql`, the output of psql.
struct FakeNode {
    directory: TempDir,
    shell: &'static [&'static str],
}

impl FakeNode {
    /// A node with PostgreSQL's backup program, which keeps `keep` archives of the databases that the shell lines in `wanted` name.
    fn postgresql(keep: u32, wanted: &str) -> Self {
        let node = Self::new();
        let program = text("templates/postgresql_backup/postgresql-backup.tera");
        let (before, after) = (program.find("{% for").unwrap(), program.find("{% endfor %}").unwrap() + "{% endfor %}".len());
        let program = format!("{}{wanted}{}", &program[..before], &program[after..]);
        node.install(&program.replace("user=postgres", "user=root"), keep);
        node.tool("psql", "cat \"$NODE/psql\"; [ ! -e \"$NODE/psql-fails\" ]");
        let write = "for word; do case $word in --file=*) file=${word#*=} ;; --dbname=*) name=${word#*=} ;; esac; done
printf '%s\\n' \"$name\" >>\"$NODE/asked\"
if [ -e \"$NODE/on-dump\" ]; then . \"$NODE/on-dump\"; fi
printf 'archive\\nEND\\n' >\"$file\"";
        node.tool("pg_dump", write);
        node.tool("pg_dumpall", &write.replace("END", "-- PostgreSQL database cluster dump complete"));
        node.tool(
            "pg_restore",
            "for file; do :; done; [ \"$(tail -n 1 \"$file\")\" = END ] || { echo 'could not read'; exit 1; }",
        );
        node.databases(&["app"]);
        node
    }

    fn new() -> Self {
        let node = Self { directory: tempfile::tempdir().unwrap(), shell: &["dash"] };
        for name in ["bin", "backups", "state"] {
            fs::create_dir(node.path(name)).unwrap();
        }
        node
    }

    fn install(&self, program: &str, keep: u32) {
        let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles/backup_tools/files/backup-functions");
        let program = program.replace("/usr/local/lib/autobot/backup-functions", functions.to_str().unwrap());
        let Value::Object(values) = json!({
            "postgresql_backup_unit": "backup",
            "postgresql_backup_directory": self.path("backups"),
            "postgresql_backup_status_file": self.path("state/status"),
            "postgresql_backup_bin_dir": self.path("bin"),
            "postgresql_backup_keep": keep,
            "postgresql_port": 5432,
        }) else {
            unreachable!("a map is written there")
        };
        let template = Template::file("program", &program, &mut |_| None).unwrap();
        let controller = Controller { renderer: env!("CARGO_BIN_EXE_autobot-provision").into(), ..Controller::default() };
        let rendered = Renderer::new(Arc::new(controller)).render(&template, &values.into()).unwrap();
        fs::write(self.path("program"), rendered.as_str().unwrap()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tool(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Sets the output of psql: databases with these names.
    fn databases(&self, names: &[&str]) {
        let mut lines = String::new();
        for name in names {
            lines.push_str("dump ");
            for byte in name.bytes() {
                write!(lines, "{byte:02x}").unwrap();
            }
            lines.push('\n');
        }
        fs::write(self.path("psql"), lines).unwrap();
    }

    /// Sets a shell line that each dump runs; `$name` is the connection string for libpq.
    fn on_dump(&self, script: &str) {
        fs::write(self.path("on-dump"), script).unwrap();
    }

    fn run(&self, verb: &str) -> Output {
        let mut command = Command::new(self.shell[0]);
        command
            .args(&self.shell[1..])
            .arg(self.path("program"))
            .arg(verb)
            .env("NODE", self.path(""))
            .env("INVOCATION_ID", "this-run");
        command.env_remove("JOURNAL_STREAM").output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self) {
        let output = self.run("backup");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(self.status("result"), "ok");
    }

    /// Runs a backup that must fail; returns its error output.
    #[track_caller]
    fn fails(&self) -> String {
        let output = self.run("backup");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(self.status("result"), "failed");
        stderr
    }

    fn status(&self, key: &str) -> String {
        let status = fs::read_to_string(self.path("state/status")).unwrap_or_default();
        let values: Vec<&str> = status
            .lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .collect();
        values.join("\n")
    }

    /// Creates an archive, with a checksum if it is `verified`.
    fn archive(&self, name: &str, content: &str, verified: bool) {
        let path = self.path("backups").join(name);
        fs::write(&path, content).unwrap();
        if verified {
            let output = Command::new("sha256sum").arg(&path).output().unwrap();
            let sum = String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned();
            fs::write(path.with_file_name(format!("{name}.sha256")), format!("{sum}  {name}\n")).unwrap();
        }
    }

    /// Returns the names of all archives. Timestamps of this run are replaced by NOW.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("backups")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| recent(&entry.unwrap().file_name().to_string_lossy())).collect();
        names.sort();
        names
    }

    /// As [`FakeNode::names`], but only the archives of databases.
    fn dumps(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name.strip_suffix(".dump").is_some()).collect()
    }
}

/// Replaces a timestamp of this run by NOW. The other timestamps in these tests are from other decades.
fn recent(name: &str) -> String {
    let stamp = |at: usize| name.get(at..at + 16).filter(|stamp| stamp.as_bytes()[8] == b'T' && stamp.ends_with('Z'));
    let found = (0..name.len()).filter(|at| name.is_char_boundary(*at)).find_map(stamp);
    match found {
        Some(stamp) if stamp > "2025" && stamp < "2090" => name.replace(stamp, "NOW"),
        Some(_) | None => name.to_owned(),
    }
}

#[test]
fn a_run_creates_verified_archives_that_only_their_owner_can_read() {
    let node = FakeNode::postgresql(14, "");
    node.succeeds();
    assert_eq!(node.names(), ["app-NOW.dump", "app-NOW.dump.sha256", "globals-NOW.sql", "globals-NOW.sql.sha256"]);
    for entry in fs::read_dir(node.path("backups")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(node.path("state/status")).unwrap().mode() & 0o777, 0o644);
    let check = "cd \"$1\" && sha256sum --quiet -c -- *.sha256";
    assert!(Command::new("sh").args(["-c", check, "sh"]).arg(node.path("backups")).status().unwrap().success());
    assert_eq!(recent(node.status("archive").lines().last().unwrap()), format!("{} app-NOW.dump", GOOD.len()));
    assert!(node.status("success").parse::<u64>().unwrap() > 1_700_000_000);
}

#[test]
fn database_names_may_contain_any_character() {
    let hostile = [
        "it's",
        "a b",
        "-rf",
        "x=1",
        "postgresql://h",
        "two\nlines\n",
        "$(touch x)`id`",
        "back\\slash",
        "..",
        "glob*?[a]",
        "ünï",
        "a-20200101T000000Z",
        "globals",
    ];
    for shell in [&["dash"][..], &["bash"], &["busybox", "ash"]] {
        let mut node = FakeNode::postgresql(1, "");
        node.shell = shell;
        node.databases(&hostile);
        node.succeeds();
        let dumps = node.dumps();
        assert_eq!(dumps.len(), hostile.len(), "{shell:?}: {dumps:?}");
        for name in ["it%27s-NOW.dump", "%2drf-NOW.dump", "two%0alines%0a-NOW.dump", "%2e%2e-NOW.dump", "%c3%bcn%c3%af-NOW.dump"]
        {
            assert!(dumps.iter().any(|dump| dump == name), "{shell:?}: {name} in {dumps:?}");
        }
        let asked = fs::read_to_string(node.path("asked")).unwrap();
        for connection in [
            "dbname='it\\'s' port=5432\n",
            "dbname='two\nlines\n' port=5432\n",
            "dbname='back\\\\slash' port=5432\n",
            "dbname='$(touch x)`id`' port=5432\n",
        ] {
            assert!(asked.contains(connection), "{shell:?}: {connection} in {asked}");
        }
    }
}

#[test]
fn the_newest_verified_archives_are_kept_and_older_ones_of_the_same_database_are_deleted() {
    let node = FakeNode::postgresql(2, "");
    for stamp in [OLDER, OLD] {
        node.archive(&format!("app-{stamp}.dump"), GOOD, true);
        node.archive(&format!("application-{stamp}.dump"), GOOD, true);
    }
    node.succeeds();
    // The archives of a database that no longer exists are kept.
    let kept = [
        format!("app-{OLD}.dump"),
        "app-NOW.dump".into(),
        format!("application-{OLDER}.dump"),
        format!("application-{OLD}.dump"),
    ];
    assert_eq!(node.dumps(), kept);
    assert!(!node.names().contains(&format!("app-{OLDER}.dump.sha256")));
}

#[test]
fn damaged_archives_are_set_aside_and_reported_and_do_not_count() {
    let node = FakeNode::postgresql(2, "");
    node.archive("app-20180101T000000Z.dump", GOOD, true);
    node.archive(&format!("app-{OLDER}.dump"), GOOD, true);
    node.archive(&format!("app-{OLD}.dump"), GOOD, true);
    // The same length, and readable by pg_restore: only the checksum differs.
    fs::write(node.path("backups").join(format!("app-{OLD}.dump")), "Archive\nEND\n").unwrap();
    let stderr = node.fails();
    assert!(stderr.contains(&format!("app-{OLD}.dump is damaged (its content is not what was verified)")), "{stderr}");
    assert!(node.status("error").contains("is damaged"), "{}", node.status("error"));
    assert!(node.names().contains(&format!("app-{OLD}.dump.damaged")));
    // Two are kept, the new one and an older one; the damaged one does not count.
    assert_eq!(node.dumps(), [format!("app-{OLDER}.dump"), "app-NOW.dump".into()]);
    // The backup itself succeeded, and the next run reports no error.
    assert!(!node.status("success").is_empty());
    node.succeeds();
}

#[test]
fn an_archive_without_its_checksum_is_read_through_before_it_counts() {
    let node = FakeNode::postgresql(5, "");
    node.archive(&format!("app-{OLDER}.dump"), GOOD, false);
    node.archive(&format!("app-{OLD}.dump"), "archi", false);
    let stderr = node.fails();
    assert!(stderr.contains(&format!("app-{OLD}.dump is damaged (could not read)")), "{stderr}");
    assert!(node.names().contains(&format!("app-{OLDER}.dump.sha256")));
    assert!(node.names().contains(&format!("app-{OLD}.dump.damaged")));
    node.archive("app-20180101T000000Z.dump", GOOD, false);
    node.succeeds();
    assert!(node.names().contains(&"app-20180101T000000Z.dump.sha256".to_owned()));
}

#[test]
fn good_archives_are_kept_however_often_newer_backups_fail() {
    let node = FakeNode::postgresql(1, "");
    node.archive(&format!("app-{OLDER}.dump"), GOOD, true);
    node.archive(&format!("app-{OLD}.dump"), GOOD, true);
    let before = node.dumps();
    // pg_dump fails; it succeeds but writes only half; it writes nothing; the disk is full.
    for (script, words) in [
        ("echo 'server closed the connection' >&2; exit 1", "no backup of app: server closed the connection"),
        ("printf archi >\"$file\"; exit 0", "no backup of app: what was written cannot be read back: could not read"),
        ("exit 0", "no backup of app: "),
        ("printf archive >\"$file\"; echo 'No space left on device' >&2; exit 1", "No space left on device"),
    ] {
        node.on_dump(&format!("case $0 in *pg_dump) {script} ;; esac"));
        let stderr = node.fails();
        assert!(stderr.contains(words), "{stderr}");
        assert_eq!(node.dumps(), before, "{script}");
        assert!(!node.names().iter().any(|name| name.contains("partial")), "{:?}", node.names());
        assert!(node.status("error").contains(words.trim_end()));
        assert_eq!(node.status("success"), "");
    }
    // The rest of the cluster is backed up nevertheless.
    assert!(node.names().contains(&"globals-NOW.sql".to_owned()));
}

#[test]
fn the_failure_of_one_database_does_not_prevent_backups_of_the_others() {
    let node = FakeNode::postgresql(3, "");
    node.databases(&["app", "broken", "zoo"]);
    node.on_dump("case $name in *broken*) echo 'invalid page' >&2; exit 1 ;; esac");
    assert!(node.fails().contains("no backup of broken: invalid page"));
    assert_eq!(node.dumps(), ["app-NOW.dump", "zoo-NOW.dump"]);
}

#[test]
fn the_last_success_is_remembered_through_failures() {
    let node = FakeNode::postgresql(3, "");
    node.succeeds();
    let (success, archives) = (node.status("success"), node.status("archive"));
    fs::write(node.path("psql-fails"), "").unwrap();
    fs::write(node.path("psql"), "could not connect\nto server").unwrap();
    assert!(node.fails().contains("cannot be asked for its databases: could not connect to server"));
    assert_eq!((node.status("success"), node.status("archive")), (success, archives));
}

#[test]
fn exactly_the_named_databases_are_backed_up() {
    let node = FakeNode::postgresql(3, "hexadecimal 'app'\nhexadecimal 'it'\\''s'\n");
    node.databases(&["app", "application", "it's"]);
    node.succeeds();
    assert_eq!(node.dumps(), ["app-NOW.dump", "it%27s-NOW.dump"]);
    node.databases(&["application", "it's"]);
    assert!(node.fails().contains("no backup of app: there is no such database"));
}

#[test]
fn a_database_that_allows_no_connections_is_reported_but_is_not_a_failure() {
    let node = FakeNode::postgresql(3, "");
    fs::write(node.path("psql"), "WARNING:  database \"app\" has a collation version mismatch\nskip 6f6c64\ndump 617070\n")
        .unwrap();
    let output = node.run("backup");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the database old takes no connections"));
    assert_eq!(node.dumps(), ["app-NOW.dump"]);
}

#[test]
fn archives_from_the_future_neither_count_nor_are_deleted() {
    let node = FakeNode::postgresql(1, "");
    for stamp in ["20990101T000000Z", "20990102T000000Z", OLD] {
        node.archive(&format!("app-{stamp}.dump"), GOOD, true);
    }
    node.succeeds();
    assert_eq!(node.dumps(), ["app-20990101T000000Z.dump", "app-20990102T000000Z.dump", "app-NOW.dump"]);
}

#[test]
fn leftovers_of_a_killed_run_are_removed() {
    let node = FakeNode::postgresql(3, "");
    fs::write(node.path("backups/.partial-app.dump"), "half").unwrap();
    fs::write(node.path("backups").join(format!("app-{OLD}.dump.sha256")), "0  x\n").unwrap();
    // They are removed before anything else, because they may have filled the disk.
    node.on_dump("[ ! -e \"$NODE/backups/.partial-app.dump\" ] || exit 1");
    node.succeeds();
    assert_eq!(node.names(), ["app-NOW.dump", "app-NOW.dump.sha256", "globals-NOW.sql", "globals-NOW.sql.sha256"]);
}

#[test]
fn only_one_run_at_a_time_is_allowed() {
    let node = FakeNode::postgresql(3, "");
    // Another run is attempted during a run.
    node.on_dump("case $0 in *pg_dump) rm \"$NODE/on-dump\"; dash \"$NODE/program\" backup 9<&- 2>\"$NODE/second\"; echo $? >>\"$NODE/second\" ;; esac");
    node.succeeds();
    let second = fs::read_to_string(node.path("second")).unwrap();
    assert!(second.contains("another backup of PostgreSQL is at work") && second.ends_with("75\n"), "{second}");
}

#[test]
fn two_runs_in_one_second_do_not_overwrite_each_other() {
    let node = FakeNode::postgresql(5, "");
    node.succeeds();
    node.succeeds();
    assert_eq!(node.dumps(), ["app-NOW.dump", "app-NOW.dump"]);
}

#[test]
fn verify_deletes_nothing_and_fails_if_an_archive_is_damaged() {
    let node = FakeNode::postgresql(1, "");
    for stamp in [OLDER, OLD] {
        node.archive(&format!("app-{stamp}.dump"), GOOD, true);
    }
    let output = node.run("verify");
    assert!(output.status.success());
    assert_eq!((node.dumps().len(), node.status("result").as_str()), (2, ""));
    fs::write(node.path("backups").join(format!("app-{OLD}.dump")), "arch").unwrap();
    assert_eq!(node.run("verify").status.code(), Some(1));
    assert_eq!((node.dumps(), node.status("result").as_str()), (vec![format!("app-{OLDER}.dump")], "failed"));
    assert_eq!(node.run("restore").status.code(), Some(64));
}

#[test]
fn a_missing_directory_fails_the_run() {
    let node = FakeNode::postgresql(1, "");
    fs::remove_dir(node.path("backups")).unwrap();
    assert!(node.fails().contains("cannot read the directory"));
}

#[test]
fn a_run_that_was_killed_is_recorded_and_reported_as_failed_with_the_last_good_backup() {
    let node = FakeNode::postgresql(3, "");
    let note_failure = |invocation: &str| {
        let mut command = Command::new("dash");
        let output = command
            .arg(node.path("program"))
            .args(["note-failure", "oom-kill", invocation])
            .env_remove("JOURNAL_STREAM")
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let stderr = note_failure("first");
    assert!(
        stderr.contains("BACKUP FAILED: PostgreSQL: backup.service ended early (oom-kill)")
            && stderr.contains("there is no good one"),
        "{stderr}"
    );
    node.succeeds();
    let stderr = note_failure("another-run");
    assert!(stderr.contains("the last good one is of 2") && stderr.contains(" UTC"), "{stderr}");
    assert_eq!((node.status("result"), node.status("error").contains("ended early (oom-kill)")), ("failed".to_owned(), true));
    // The error that a run reported itself is not overwritten.
    node.on_dump("echo 'no space' >&2; exit 1");
    node.fails();
    assert!(note_failure("this-run").contains("no backup of app: no space"));
    assert!(node.status("error").contains("no backup of app: no space"));
}
