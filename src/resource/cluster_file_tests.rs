//! Tests of the script that writes a file of a cluster: with fakes in place of psql, postgres and systemctl.

use super::*;
use crate::resource::{
    trial,
    unit_functions::tests::{calls, fake_systemd},
};
use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::PathBuf,
};

const UP: &str = "Id=postgresql@15-main.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nActiveEnterTimestampMonotonic=5\nType=oneshot\nResult=success\n";

/// A fake node in a directory: `runuser` and `setpriv` replace psql and postgres and answer from `answers/`.
struct Node(tempfile::TempDir, #[allow(dead_code, reason = "held open")] Option<UnixListener>);

impl Node {
    fn new(up: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["etc/15/main/conf.d", "run", "answers"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::write(root.path().join("etc/15/main/postgresql.conf"), "").unwrap();
        fs::write(root.path().join("etc/15/main/pg_hba.conf"), "old\n").unwrap();
        trial::fake(root.path(), "psql", "");
        trial::fake(root.path(), "id", "echo 1");
        let answers = r#"for word do last=$word; done
            echo "$last" >>$TOOLS/asked
            [ ! -e $TOOLS/lock ] || exit 2
            case $last in
              'SHOW config_file') echo $TOOLS/etc/15/main/postgresql.conf;;
              port) cat $TOOLS/answers/check; [ ! -e $TOOLS/answers/bad ] || exit 1;;
              *pg_hba_file_rules*) cat $TOOLS/answers/rules 2>/dev/null || :;;
              *pg_conf_load_time*) cat $TOOLS/loaded 2>/dev/null || echo 0;;
              *pg_reload_conf*) echo $$ >$TOOLS/loaded; [ ! -e $TOOLS/answers/locked ] || mv $TOOLS/answers/locked $TOOLS/lock;;
              *pending_restart*) cat $TOOLS/answers/pending 2>/dev/null || :;;
            esac"#;
        trial::fake(root.path(), "runuser", answers);
        trial::fake(root.path(), "setpriv", answers);
        // The real one gives the file to postgres.
        trial::fake(root.path(), "chown", "");
        fake_systemd(root.path(), UP);
        let socket = up.then(|| UnixListener::bind(root.path().join("run/.s.PGSQL.5432")).unwrap());
        let node = Self(root, socket);
        node.answer("check", "5432\n");
        node
    }

    fn answer(&self, name: &str, text: &str) {
        fs::write(self.0.path().join("answers").join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("etc/15/main").join(name)
    }

    fn run(&self, file: &ClusterFile) -> trial::Done {
        self.run_script(&file.script(), file)
    }

    fn run_script(&self, script: &Script, file: &ClusterFile) -> trial::Done {
        let path = |name: &str| self.0.path().join(name).to_str().unwrap().to_owned();
        let text = script.render().unwrap();
        let text = text.replacen(ETC, &path("etc"), 1).replacen("/var/run/postgresql", &path("run"), 1);
        let text: &'static str = Box::leak(text.into_boxed_str());
        trial::run(&Script::new(text).input(file.text.as_str()), self.0.path())
    }
}

fn settings(restart: bool) -> ClusterFile {
    ClusterFile {
        cluster: Cluster::new("main".into(), None).unwrap(),
        file: "conf.d/50-autobot.conf".into(),
        mode: Mode(0o644),
        text: "max_connections = '200'\n".into(),
        restart,
        kind: FileKind::Settings,
        names: vec!["max_connections".into()],
        shared: false,
    }
}

fn rules() -> ClusterFile {
    ClusterFile {
        file: "pg_hba.conf".into(),
        mode: Mode(0o640),
        text: "new\n".into(),
        kind: FileKind::Rules,
        names: Vec::new(),
        ..settings(true)
    }
}

#[test]
fn settings_are_checked_and_read_without_a_restart() {
    let node = Node::new(true);
    let done = node.run(&settings(true));
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    let file = node.path("conf.d/50-autobot.conf");
    assert_eq!(fs::read_to_string(&file).unwrap(), "max_connections = '200'\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);
    assert!(!node.path("conf.d/50-autobot.conf.before-autobot-provision").exists());
    assert_eq!(calls(node.0.path()), "");
    let asked = fs::read_to_string(node.0.path().join("asked")).unwrap();
    assert!(
        asked.contains("lower(name) IN ('max_connections')") && asked.find("port\n") < asked.find("pg_reload_conf"),
        "{asked}"
    );
}

#[test]
fn a_setting_that_needs_a_restart_gets_one_if_that_is_allowed() {
    let node = Node::new(true);
    node.answer("pending", "max_connections\n");
    assert_eq!(node.run(&settings(false)).status, 0);
    assert_eq!(calls(node.0.path()), "");
    assert_eq!(node.run(&settings(true)).status, 0);
    assert!(calls(node.0.path()).contains("restart postgresql@15-main.service"));
}

#[test]
fn settings_that_postgresql_does_not_accept_are_reverted() {
    for before in [None, Some("work_mem = '4MB'\n")] {
        let node = Node::new(true);
        let file = node.path("conf.d/50-autobot.conf");
        if let Some(before) = before {
            fs::write(&file, before).unwrap();
        }
        node.answer("check", "LOG:  invalid value for parameter \"max_connections\": \"x\"\n");
        node.answer("bad", "");
        let done = node.run(&settings(true));
        assert_eq!(done.status, 1);
        assert!(
            done.stderr.contains("does not accept these settings:\nLOG:  invalid value") && done.stderr.contains("put back"),
            "{}",
            done.stderr
        );
        assert_eq!(fs::read_to_string(&file).ok().as_deref(), before);
        assert!(!node.path("conf.d/50-autobot.conf.before-autobot-provision").exists());
    }
}

#[test]
fn a_failed_restart_is_repeated_with_the_old_file() {
    let node = Node::new(true);
    let file = node.path("conf.d/50-autobot.conf");
    fs::write(&file, "old\n").unwrap();
    node.answer("pending", "max_connections\n");
    fs::write(node.0.path().join("on-restart"), "[ -e $TOOLS/tried ] || { : >$TOOLS/tried; exit 1; }").unwrap();
    let done = node.run(&settings(true));
    assert_eq!(done.status, 1);
    assert!(done.stderr.contains("does not start with this: it was restarted for max_connections"), "{}", done.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
    assert_eq!(calls(node.0.path()).matches("\nrestart ").count(), 2, "{}", calls(node.0.path()));
}

#[test]
fn after_an_interruption_the_old_file_is_still_the_one_to_restore() {
    let node = Node::new(true);
    let file = node.path("conf.d/50-autobot.conf");
    fs::write(&file, settings(true).text).unwrap();
    fs::write(node.path("conf.d/50-autobot.conf.before-autobot-provision"), "old\n").unwrap();
    node.answer("bad", "");
    assert_eq!(node.run(&settings(true)).status, 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
}

#[test]
fn a_server_that_is_down_is_started() {
    let node = Node::new(false);
    fs::write(node.0.path().join("on-restart"), "").unwrap();
    assert_eq!(node.run(&settings(true)).status, 0);
    assert!(calls(node.0.path()).contains("restart postgresql@15-main.service"));
    let node = Node::new(false);
    assert_eq!(node.run(&settings(false)).status, 0);
    assert_eq!(calls(node.0.path()), "");
}

#[test]
fn rules_are_checked_before_they_are_used() {
    let node = Node::new(true);
    assert_eq!(node.run(&rules()).status, 0);
    assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "new\n");
    fs::remove_file(node.0.path().join("asked")).unwrap();
    fs::write(node.path("pg_hba.conf"), "good\n").unwrap();
    node.answer("rules", "line 3: invalid authentication method \"x\"\n");
    let done = node.run(&rules());
    assert_eq!(done.status, 1);
    assert!(done.stderr.contains("does not accept these rules:\nline 3: invalid"), "{}", done.stderr);
    assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "good\n");
    assert!(!fs::read_to_string(node.0.path().join("asked")).unwrap().contains("pg_reload_conf"));
}

#[test]
fn a_shared_file_that_was_changed_meanwhile_is_left_alone() {
    let node = Node::new(true);
    let shared = ClusterFile { shared: true, ..rules() };
    let compared = |content: &str| {
        let file = pg_cluster::ConfigFile {
            content: content.into(),
            mode: Mode(0o640),
            owner: OWNER.into(),
            regular: true,
            changed: 0,
            modified: 0,
        };
        let state = NodeState { answers: &crate::question::Answers::default(), secrets: &crate::secret::SecretValues::default() };
        shared.change(Some(&file), &state, "content").script
    };
    let done = node.run_script(&compared("another program's\n"), &shared);
    assert_eq!(done.status, 1);
    assert!(done.stderr.contains("was changed by another process at this very moment"), "{}", done.stderr);
    assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "old\n");
    for _ in 0..2 {
        let done = node.run_script(&compared("old\n"), &shared);
        assert_eq!((done.status, done.stderr.as_str()), (0, ""), "repeating the change does no harm");
        assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "new\n");
    }
}

#[test]
fn rules_that_lock_postgres_out_are_reverted_and_the_old_ones_reloaded() {
    let node = Node::new(true);
    node.answer("locked", "");
    let done = node.run(&rules());
    assert_eq!(done.status, 1);
    assert!(done.stderr.contains("postgres can no longer log in"), "{}", done.stderr);
    assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "old\n");
    assert!(calls(node.0.path()).contains("reload postgresql@15-main.service"));
}
