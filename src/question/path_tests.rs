//! Tests of [`super::PathState`]: a real shell runs its script in scratch directories.

use std::{fs, os::unix, path::Path, process::Command};

use super::*;
use crate::question::{Answers, Questions};

fn remote(path: &Path) -> RemotePath {
    RemotePath::new(path.to_str().unwrap()).unwrap()
}

fn run(looks: &[PathQuery]) -> Answers {
    run_with(looks, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

fn run_with(looks: &[PathQuery], path: &str) -> Answers {
    let mut questions = Questions::default();
    for look in looks {
        questions.ask::<PathState>(look.clone());
    }
    let composed = questions.compose("f00dfeed").unwrap();
    let output = Command::new("sh").env("LC_ALL", "C").env("PATH", path).arg("-c").arg(composed.script()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    composed.read(&output.stdout)
}

fn look_at(look: &PathQuery) -> PathInfo {
    run(std::slice::from_ref(look)).get::<PathState>(look).unwrap().clone()
}

fn content_of(found: &PathInfo) -> Option<&[u8]> {
    match found.seen(true) {
        Some(Entry::File(file)) => file.content.as_deref(),
        _ => panic!("{found:?}"),
    }
}

#[test]
fn hostile_contents_and_names_come_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let second = remote(&dir.path().join("b $(reboot) 'q\" \\ ü"));
    let fake = format!("\n==> {second} <==\nfake\n\0f00d paths 0\n");
    let contents: Vec<(RemotePath, Vec<u8>)> = vec![
        (remote(&dir.path().join("-a")), fake.into_bytes()),
        (second, (0..=255).collect()),
        (remote(&dir.path().join("empty")), Vec::new()),
        (remote(&dir.path().join("no newline")), b"x".to_vec()),
        (remote(&dir.path().join("largest")), vec![7; MOST_BYTES]),
        (remote(&dir.path().join("newlines")), b"\n\n\n".to_vec()),
    ];
    for (path, bytes) in &contents {
        fs::write(path.as_str(), bytes).unwrap();
    }
    let looks: Vec<PathQuery> = contents.iter().map(|(path, _)| PathQuery::content(path)).collect();
    let answers = run(&looks);
    for (look, (_, bytes)) in looks.iter().zip(&contents) {
        let found = answers.get::<PathState>(look).unwrap();
        assert_eq!(content_of(found), Some(bytes.as_slice()), "{look:?}");
    }
}

#[test]
fn each_kind_of_entry_is_distinguished() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| remote(&dir.path().join(name));
    fs::write(dir.path().join("file"), "hi\n").unwrap();
    fs::create_dir(dir.path().join("directory")).unwrap();
    unix::fs::symlink("file", dir.path().join("link -> x")).unwrap();
    unix::fs::symlink("none", dir.path().join("dangling")).unwrap();
    unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
    let _socket = unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let names = ["file", "directory", "link -> x", "dangling", "loop", "socket", "absent", "no/parent", "file/child"];
    let looks: Vec<PathQuery> = names.iter().map(|name| PathQuery::content(&at(name))).collect();
    let answers = run(&looks);
    let shown: Vec<String> = names
        .iter()
        .zip(&looks)
        .map(|(name, look)| {
            let found = answers.get::<PathState>(look).unwrap();
            let seen = found.seen(true).map_or("dangling".to_owned(), Entry::describe);
            format!("{name}: {}; {seen}; parent {}", found.entry.describe(), found.parent_exists)
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    file: a file; a file; parent true
    directory: a directory; a directory; parent true
    link -> x: a link to `file`; a file; parent true
    dangling: a link to `none`; dangling; parent true
    loop: a link to `loop`; dangling; parent true
    socket: a device, socket or pipe; a device, socket or pipe; parent true
    absent: nothing; nothing; parent true
    no/parent: nothing; nothing; parent false
    file/child: nothing; nothing; parent false
    ");
    assert_eq!(content_of(answers.get::<PathState>(&looks[2]).unwrap()), None);
    assert_eq!(content_of(&look_at(&looks[2].clone().following(true))), Some(b"hi\n".as_slice()));
}

#[test]
fn modes_and_owners_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    fs::create_dir(&path).unwrap();
    unix::fs::chown(&path, Some(1), Some(54_321)).unwrap();
    fs::set_permissions(&path, unix::fs::PermissionsExt::from_mode(0o2751)).unwrap();
    let Entry::Directory(attributes) = look_at(&PathQuery::attributes(&remote(&path))).entry else { panic!() };
    assert_eq!((attributes.mode, attributes.uid, attributes.gid), (Mode(0o2751), 1, 54_321));
    assert_eq!((attributes.owner.as_str(), attributes.group.as_str()), ("daemon", "UNKNOWN"));
}

#[test]
fn a_large_file_stays_on_the_node_and_its_checksum_is_returned() {
    let dir = tempfile::tempdir().unwrap();
    let (large, small) = (dir.path().join("large"), dir.path().join("small"));
    fs::write(&large, vec![b'x'; MOST_BYTES + 1]).unwrap();
    fs::write(&small, "after").unwrap();
    let looks = [PathQuery::content(&remote(&large)), PathQuery::content(&remote(&small)), PathQuery::checksum(&remote(&small))];
    let answers = run(&looks);
    let Entry::File(file) = &answers.get::<PathState>(&looks[0]).unwrap().entry else { panic!() };
    assert_eq!((file.content.as_ref(), file.size), (None, 65_537));
    assert_eq!(content_of(answers.get::<PathState>(&looks[1]).unwrap()), Some(b"after".as_slice()));
    let Entry::File(file) = &answers.get::<PathState>(&looks[2]).unwrap().entry else { panic!() };
    assert_eq!(file.sha256.as_deref(), Some("f39592393ef0859cb196a52693d2cea00fb2df784b3c04ae54aa7cadb8e562f8"));
    assert_eq!(file.content, None);
}

#[test]
fn a_checksum_is_the_same_whatever_program_calculates_it() {
    let (dir, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plain = dir.path().join("plain");
    // In a directory of another user, whose entries are read by descriptor.
    let others = dir.path().join("others");
    fs::create_dir(&others).unwrap();
    unix::fs::chown(&others, Some(1), None).unwrap();
    let careful = others.join("careful");
    for path in [&plain, &careful] {
        fs::write(path, "after").unwrap();
        unix::fs::chown(path, Some(1), None).unwrap();
    }
    let owner = AccountName::new("daemon").unwrap();
    let looks = [&plain, &careful].map(|path| PathQuery::checksum(&remote(path)).owned_by(Some(&owner)));
    let sum = "f39592393ef0859cb196a52693d2cea00fb2df784b3c04ae54aa7cadb8e562f8";
    let openssl = tools.path().join("openssl");
    let answers = |what: &str, wanted: &str| {
        let found = run_with(&looks, &format!("{}:/usr/bin:/bin", tools.path().display()));
        for look in &looks {
            let Entry::File(file) = &found.get::<PathState>(look).unwrap().entry else { panic!("{what}: {look:?}") };
            assert_eq!(file.sha256.as_deref(), Some(wanted), "{what}: {look:?}");
        }
    };
    for (what, program, wanted) in [
        ("one that works", format!("echo '{} *stdin'", sum.replace('f', "0")), sum.replace('f', "0")),
        ("one that fails", "cat >/dev/null; echo 'unknown option' >&2; exit 1".to_owned(), sum.to_owned()),
        ("one that says something else", "echo 'SHA2-256(stdin)= 0'".to_owned(), sum.to_owned()),
    ] {
        fs::write(&openssl, format!("#!/bin/sh\n{program}\n")).unwrap();
        fs::set_permissions(&openssl, unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        answers(what, &wanted);
    }
    // None at all.
    fs::remove_file(&openssl).unwrap();
    for program in fs::read_dir("/usr/bin").unwrap().map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("openssl"))
    {
        unix::fs::symlink(&program, tools.path().join(program.file_name().unwrap())).unwrap();
    }
    let found = run_with(&looks, tools.path().to_str().unwrap());
    for look in &looks {
        let Entry::File(file) = &found.get::<PathState>(look).unwrap().entry else { panic!("{look:?}") };
        assert_eq!(file.sha256.as_deref(), Some(sum), "{look:?}");
    }
}

#[test]
fn the_root_directory_is_a_directory() {
    let found = look_at(&PathQuery::attributes(&RemotePath::new("/").unwrap()));
    assert!(matches!(found.entry, Entry::Directory(_)) && found.parent_exists);
}

/// Returns the script's output for two small files, with `size` as the size of the first.
fn golden(size: usize, contents: &str) -> Output {
    let record = |name: &str, size: usize| format!("{name}\0{:x}\0{size}\00\00\0root\0root\07\0{name}\0", 0o100_644);
    let stdout = format!("11\0{}{}\0\0\0\0{contents}", record("/a", size), record("/b", 1));
    Output { status: 0, stdout: stdout.into_bytes() }
}

fn read(output: &Output) -> Vec<Result<PathInfo, Unanswered>> {
    let looks = ["/a", "/b"].map(|path| PathQuery::content(&RemotePath::new(path).unwrap()));
    PathState::read(&[&looks[0], &looks[1]], output)
}

#[test]
fn a_file_that_changes_while_it_is_read_is_no_answer() {
    let contents = "==> /a <==\nxx\n==> /b <==\ny";
    assert!(read(&golden(2, contents)).iter().all(Result::is_ok));
    for (size, contents) in [(1, contents), (3, contents), (2, "==> /a <==\nxx\n==> /b <==\nyy"), (2, "==> /a <==\nxx"), (2, "")]
    {
        for answer in read(&golden(size, contents)) {
            assert!(answer.unwrap_err().0.ends_with("changed while it was read"));
        }
    }
}

#[test]
fn a_failed_question_is_not_an_absence() {
    let stdout = b"11\0\0stat: cannot statx '/a': Permission denied\nstat: cannot statx '/b': Not a directory\0\0\0".to_vec();
    let answers = read(&Output { status: 0, stdout });
    assert_eq!(answers[0].as_ref().unwrap_err().0, "`/a` could not be examined: stat: cannot statx '/a': Permission denied");
    assert_eq!(answers[1].as_ref().unwrap().entry, Entry::Absent);
}

#[test]
fn malformed_output_and_failure_are_no_answers() {
    for stdout in ["", "1", "11\0/a\0zz\0", "1\0\0\0\0\0"] {
        let answers = read(&Output { status: 0, stdout: stdout.into() });
        assert!(answers.len() == 2 && answers.iter().all(Result::is_err), "{stdout:?}");
    }
    assert_eq!(read(&Output { status: 124, stdout: Vec::new() })[0].as_ref().unwrap_err().0, "asking for paths took too long");
}
