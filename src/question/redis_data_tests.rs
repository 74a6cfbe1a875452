use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::resource::trial::{fake, run};

/// A snapshot without keys, as Redis 7 writes it.
const EMPTY: &[u8] = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\x0aredis-bits\xc0@\xff\x01\x02\x03\x04\x05\x06\x07\x08";

/// A snapshot with a key in this database, whose number takes one or two bytes.
fn snapshot(database: &[u8]) -> Vec<u8> {
    [
        &b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfe"[..],
        database,
        b"\xfb\x01\x00\x00\x01k\x01v\xff\x01\x02\x03\x04\x05\x06\x07\x08",
    ]
    .concat()
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn directory(path: &Path) -> Place {
    Place::Directory(RemotePath::new(path.to_str().unwrap()).unwrap())
}

fn files(tools: &Path, places: &[&Place]) -> Vec<Result<Option<DataDirectory>, Unanswered>> {
    let done = run(&RedisFiles::script(places), tools);
    assert_eq!(done.stderr, "");
    RedisFiles::read(places, &Output { status: done.status, stdout: done.stdout })
}

/// Returns the files with keys that a directory has.
fn with_keys(root: &Path) -> Vec<String> {
    files(root, &[&directory(root)]).remove(0).unwrap().unwrap().with_keys
}

#[test]
fn a_snapshot_holds_keys_where_it_selects_a_database() {
    let root = tempfile::tempdir().unwrap();
    let (small, big) = ([EMPTY, &[0; 10]].concat(), [EMPTY, &[0; 4096]].concat());
    for (bytes, holds) in [
        (&b""[..], false),
        (EMPTY, false),
        (&small, false),
        (&snapshot(b"\x00"), true),
        (&snapshot(b"\x0f"), true),
        (&snapshot(b"\x41\x00"), true),
        // Too much for a snapshot without keys, and something else than a snapshot.
        (&big, true),
        (b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", true),
    ] {
        put(&root.path().join("dump.rdb"), bytes);
        assert_eq!(with_keys(root.path()), ["dump.rdb"][..usize::from(holds)], "{bytes:?}");
    }
}

#[test]
fn files_with_keys_are_found_wherever_redis_puts_them() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("da ta; touch owned $(id)'\"");
    for name in
        ["dump.rdb", "z.rdb", "old.aof", "appendonlydir/a.1.base.rdb", "appendonlydir/a.1.incr.aof", "-n.rdb", "li\nne.rdb"]
    {
        put(&data.join(name), &snapshot(b"\x00"));
    }
    for name in ["other.txt", "deep/dump.rdb", "appendonlydir/x.manifest", ".hidden.rdb"] {
        put(&data.join(name), &snapshot(b"\x00"));
    }
    put(&data.join("empty.rdb"), EMPTY);
    fs::create_dir(data.join("directory.rdb")).unwrap();
    symlink("/no/such/file", data.join("broken.rdb")).unwrap();
    symlink("dump.rdb", data.join("link.rdb")).unwrap();
    assert_eq!(
        with_keys(&data),
        [
            "-n.rdb",
            "dump.rdb",
            "li\nne.rdb",
            "link.rdb",
            "z.rdb",
            "old.aof",
            "appendonlydir/a.1.base.rdb",
            "appendonlydir/a.1.incr.aof"
        ]
    );
}

/// Docker, which knows one volume; it prints as the real one does.
const DOCKER: &str = r#"[ "$*" = 'volume inspect redis_data' ] || { echo "Error response from daemon: get $3: no such volume" >&2; exit 1; }
printf '[\n    {\n        "Driver": "local",\n        "Mountpoint": "%s",\n        "Name": "redis_data"\n    }\n]\n' "$TOOLS/volume""#;

#[test]
fn each_place_is_answered_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    put(&at("one/dump.rdb"), EMPTY);
    put(&at("volume/dump.rdb"), &snapshot(b"\x00"));
    put(&at("volume/appendonlydir/appendonly.aof.manifest"), b"file appendonly.aof.1.base.rdb seq 1 type b\n");
    let places =
        [Place::Volume("redis_data".into()), directory(&at("none")), Place::Volume("other".into()), directory(&at("one"))];
    let places: Vec<&Place> = places.iter().collect();
    let found = |name: &str, append_only: bool, with_keys: &[&str]| {
        let path = RemotePath::new(at(name).to_str().unwrap()).unwrap();
        Ok(Some(DataDirectory { path, append_only, with_keys: with_keys.iter().map(ToString::to_string).collect() }))
    };
    let without_docker = [Ok(None), Ok(None), Ok(None), found("one", false, &[])];
    assert_eq!(files(root.path(), &places), without_docker);
    fake(root.path(), "docker", DOCKER);
    assert_eq!(files(root.path(), &places), [found("volume", true, &["dump.rdb"]), Ok(None), Ok(None), found("one", false, &[])]);
    fake(root.path(), "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1");
    assert_eq!(files(root.path(), &places), without_docker);
}

#[test]
fn what_cannot_be_read_is_no_answer() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("dump.rdb");
    put(&file, &snapshot(b"\x00"));
    let place = directory(root.path());
    let nowhere = directory(&root.path().join("none"));
    fake(root.path(), "od", "exit 1");
    let words = format!("`{}`, where Redis may have data, cannot be read", file.display());
    assert_eq!(files(root.path(), &[&place, &nowhere]), [Err(Unanswered(words)), Ok(None)]);
    // One of this size holds keys, whatever is in it.
    put(&file, &[0; 4096]);
    assert_eq!(with_keys(root.path()), ["dump.rdb"]);
    // Redis removed it meanwhile.
    fake(root.path(), "od", &format!("rm '{}'; exit 1", file.display()));
    assert_eq!(with_keys(root.path()), [""; 0]);
    put(&file, &snapshot(b"\x00"));
    fs::remove_file(root.path().join("od")).unwrap();
    for stdout in [
        "",
        "end",
        "directory\0/data\0",
        "directory\0/data\0keys\0dump.rdb\0",
        "directory\0data\0end\0\0",
        "keys\0dump.rdb\0end\0\0",
        "append-only\0\0end\0\0",
        "directory\0/data\0directory\0/other\0end\0\0",
        "what\0\0end\0\0",
    ] {
        let answer = RedisFiles::read(&[&place], &Output { status: 0, stdout: stdout.into() }).remove(0);
        assert!(answer.is_err(), "{stdout:?}: {answer:?}");
    }
    let answers = RedisFiles::read(&[&place, &place], &Output { status: 0, stdout: b"wh\x1bat\0\0end\0\0end\0\0".to_vec() });
    assert_eq!(answers[0].as_ref().unwrap_err().0, r"the node's answer about files of Redis is malformed: wh\u{1b}at ");
    assert_eq!(answers[1], Ok(None), "the next place has its own answer");
}

/// Puts a process into a directory like `/proc`.
fn process(processes: &Path, pid: u32, name: &str, groups: &str, directory: &str) -> PathBuf {
    let process = processes.join(pid.to_string());
    put(&process.join("comm"), format!("{name}\n").as_bytes());
    put(&process.join("cgroup"), groups.as_bytes());
    symlink(directory, process.join("cwd")).unwrap();
    process
}

fn running(processes: &Path) -> Vec<Server> {
    let done = run(&servers_script(processes.to_str().unwrap()), processes);
    assert_eq!(done.stderr, "");
    RedisServers::read(&[&()], &Output { status: done.status, stdout: done.stdout }).remove(0).unwrap()
}

fn server(pid: u32, unit: &str, directory: &str) -> Server {
    Server { pid, unit: unit.to_owned(), directory: directory.to_owned() }
}

#[test]
fn servers_are_found_by_the_name_of_their_process() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    assert_eq!(running(root), []);
    process(root, 12, "redis-server", "0::/system.slice/redis-server.service\n", "/var/lib/redis");
    let old = "4:memory:/x\n1:name=systemd:/system.slice/system-redis.slice/redis@a.service\n0::/\n";
    process(root, 13, "redis-server", old, "/srv/a b\nend");
    process(root, 14, "redis-server", "0::/\n", "/");
    process(root, 15, "redis-sentinel", "0::/system.slice/redis-server.service\n", "/var/lib/redis");
    // They end while they are looked at.
    fs::remove_file(process(root, 16, "redis-server", "0::/x.service\n", "/x").join("comm")).unwrap();
    fs::remove_file(process(root, 17, "redis-server", "0::/x.service\n", "/x").join("cwd")).unwrap();
    fs::remove_file(process(root, 18, "redis-server", "0::/x.service\n", "/x").join("cgroup")).unwrap();
    assert_eq!(
        running(root),
        [
            server(12, "redis-server.service", "/var/lib/redis"),
            server(13, "redis@a.service", "/srv/a b\nend"),
            server(14, "", "/"),
        ]
    );
}

#[test]
fn a_process_of_this_machine_is_found() {
    let root = tempfile::tempdir().unwrap();
    // A process has the name of its program's file.
    let program = root.path().join("redis-server");
    fs::copy("/usr/bin/tail", &program).unwrap();
    let mut child = Command::new(&program).args(["-f", "/dev/null"]).current_dir(root.path()).spawn().unwrap();
    let done = run(&RedisServers::script(&[&()]), root.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let servers = RedisServers::read(&[&()], &Output { status: done.status, stdout: done.stdout }).remove(0).unwrap();
    let found = servers.iter().find(|server| server.pid == child.id()).unwrap();
    assert_eq!(Path::new(&found.directory), root.path().canonicalize().unwrap());
}

#[test]
fn a_truncated_answer_about_servers_is_no_answer() {
    for stdout in ["", "12\0x\0/\0", "12\0x\0", "x\0\0/\0end\0\0\0", "12\0/x.service\0/a\0en"] {
        let answer = RedisServers::read(&[&()], &Output { status: 0, stdout: stdout.into() }).remove(0);
        assert!(answer.is_err(), "{stdout:?}: {answer:?}");
    }
    let late = RedisServers::read(&[&()], &Output { status: 124, stdout: b"end\0\0\0".to_vec() }).remove(0);
    assert_eq!(late.unwrap_err().0, "asking for Redis servers took too long");
}
