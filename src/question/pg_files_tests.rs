use std::{fs, path::Path};

use super::*;
use crate::resource::trial::{Done, fake, run};

/// A directory that stands for a node's root.
fn root() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn asked(root: &Path) -> Done {
    let [etc, data, marks, programs] = ["etc", "data", "marks", "programs"].map(|name| root.join(name));
    let [etc, data, marks, programs] = [&etc, &data, &marks, &programs].map(|path| path.to_str().unwrap());
    run(&script(etc, data, marks, programs), root)
}

fn found(root: &Path) -> PgLayout {
    let done = asked(root);
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    PgFiles::read(&[&()], &Output { status: done.status, stdout: done.stdout }).remove(0).unwrap()
}

#[test]
fn a_node_without_postgresql_has_nothing() {
    let root = root();
    let layout = found(root.path());
    assert_eq!((layout.clusters, layout.versions), (BTreeMap::new(), BTreeSet::new()));
}

#[test]
fn what_there_is_of_a_cluster_is_found_wherever_it_is() {
    let root = root();
    let root = root.path();
    put(root, "etc/15/main/postgresql.conf", "port = 5433\n");
    put(root, "etc/15/leftover/start.conf", "auto\n");
    put(root, "data/15/main/PG_VERSION", "15\n");
    put(root, "data/15/main/postmaster.opts", "");
    put(root, "data/13/main/PG_VERSION", "13\n");
    put(root, "data/16/empty/lost+found/x", "");
    put(root, "data/15/main.unfinished-20260101T000000Z/PG_VERSION", "15\n");
    put(root, "marks/cluster-17-my-own", "");
    put(root, "marks/pending/redis.restart", "");
    put(root, "programs/15/bin/initdb", "");
    fs::set_permissions(root.join("programs/15/bin/initdb"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    put(root, "programs/13/bin/initdb", "not a program");
    fake(root, "pg_createcluster", "exit 1");
    let layout = found(root);
    let main = ClusterFiles { port: Some("5433".to_owned()), data: true, started: true, mark: false };
    let data = ClusterFiles { data: true, ..ClusterFiles::default() };
    let marked = ClusterFiles { mark: true, ..ClusterFiles::default() };
    let clusters =
        [("15/main", main), ("13/main", data.clone()), ("15/main.unfinished-20260101T000000Z", data), ("17/my-own", marked)];
    assert_eq!(layout.clusters, clusters.map(|(name, files)| (name.to_owned(), files)).into());
    assert_eq!((layout.versions, layout.has_createcluster), (BTreeSet::from(["15".to_owned()]), true));
}

#[test]
fn the_port_is_read_as_postgresql_reads_it() {
    let root = root();
    for (text, expected) in [
        ("#port = 5444\nmax_connections = 100\n", "5432"),
        ("port = 5433\t\t\t# (change requires restart)\n", "5433"),
        ("port=5433\nport_of_nothing = 1\nsupport = 2\n", "5433"),
        ("  PORT '5434'\n", "5434"),
        ("port = 5433\nport = 5435\n", "5435"),
        ("port = $(touch /tmp/x)\n", "5432"),
    ] {
        put(root.path(), "etc/15/main/postgresql.conf", text);
        assert_eq!(found(root.path()).clusters["15/main"].port, Some(expected.to_owned()), "{text}");
    }
}

#[test]
fn names_may_contain_anything() {
    let root = root();
    let names = ["15/a b", "15/*", "15/-n", "15/line\nend", "15/$(reboot)", "15/'\"\\"];
    for name in names {
        put(root.path(), &format!("etc/{name}/postgresql.conf"), "port = 7\n");
        put(root.path(), &format!("data/{name}/PG_VERSION"), "15\n");
    }
    let expected = ClusterFiles { port: Some("7".to_owned()), data: true, ..ClusterFiles::default() };
    assert_eq!(found(root.path()).clusters, names.map(|name| (name.to_owned(), expected.clone())).into());
}

#[test]
fn a_truncated_or_malformed_answer_is_no_answer() {
    for (stdout, expected) in [
        ("", "malformed"),
        ("configuration\0", "malformed"),
        ("data\0", "malformed"),
        ("data\x0015/main\0\0", "malformed"),
        ("what\x0015/main\0\0end\0\0\0", "malformed: what 15/main"),
        ("data\x0015/ma\x1bin\0\0wh\x1bat\0\0\0end\0\0\0", r"malformed: wh\u{1b}at"),
    ] {
        let answer = PgFiles::read(&[&()], &Output { status: 0, stdout: stdout.into() }).remove(0);
        assert!(answer.as_ref().unwrap_err().0.contains(expected), "{stdout:?}: {answer:?}");
    }
    let failed = PgFiles::read(&[&()], &Output { status: 124, stdout: b"end\0\0\0".to_vec() }).remove(0);
    assert_eq!(failed.unwrap_err().0, "asking for PostgreSQL's files took too long");
}
