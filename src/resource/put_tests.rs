//! Tests of the shell functions in [`super`], run by a real shell as root in scratch directories.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        self,
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use super::*;
use crate::{question::account::AccountName, resource::Mode, secret::SecretValues};

fn remote(path: &Path) -> RemotePath {
    RemotePath::new(path.to_str().unwrap()).unwrap()
}

fn put(path: &RemotePath) -> Put<'_> {
    Put { path, access: Access::default(), follow: false, backup: Backup::None, validate: None }
}

fn with_mode(mode: u32) -> Access {
    Access { mode: Some(Mode(mode)), ..Access::default() }
}

/// Starts a script in a process group of its own, under an umask that hides nothing.
fn start(script: &Script) -> Child {
    let mut command = Command::new("sh");
    command.env("LC_ALL", "C").arg("-c").arg(format!("umask 000\n{}", script.render().unwrap())).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn run(script: &Script) -> Output {
    let mut child = start(script);
    let input = script.sealed_input().reveal(&SecretValues::default()).unwrap();
    // A script that fails early does not read all of it.
    let _ = child.stdin.take().unwrap().write_all(&input);
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn succeed(script: &Script) {
    let output = run(script);
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Waits for a condition; panics after 20 seconds.
fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "the condition was not met");
        std::thread::yield_now();
    }
}

/// Starts writing and pauses in the middle; returns the temporary file and the writer.
fn half_written(script: &Script, directory: &Path) -> (PathBuf, Child) {
    let mut child = start(script);
    child.stdin.as_mut().unwrap().write_all(b"half").unwrap();
    let temporary = until(|| {
        let name = names(directory).into_iter().find(|name| name.starts_with(".autobot-provision-"))?;
        let path = directory.join(name);
        (fs::read(&path).ok()? == b"half").then_some(path)
    });
    (temporary, child)
}

fn kill(mut child: Child) {
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
    child.wait().unwrap();
}

#[test]
fn hostile_contents_and_paths_arrive_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let megabytes: Vec<u8> = (0..5_000_000_u32).map(|number| number.to_le_bytes()[number as usize % 4]).collect();
    let contents: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"no newline".to_vec(),
        b"\0nul\0".to_vec(),
        b"'\"`$(reboot)\\n %s \n\n\n".to_vec(),
        (0..=255).rev().collect(),
        megabytes,
    ];
    for (content, name) in contents.into_iter().zip(["plain", "-rf", "a b", "$(reboot)'\"", "ü*?[x]", "%s\\n"]) {
        let path = dir.path().join(name);
        succeed(&put(&remote(&path)).script(content.clone().into(), &SecretValues::default()));
        assert!(fs::read(&path).unwrap() == content, "{name}");
    }
    assert_eq!(names(dir.path()).len(), 6);
}

#[test]
fn a_new_file_is_0644_or_as_given() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, given) = (dir.path().join("plain"), dir.path().join("given"));
    succeed(&put(&remote(&plain)).script("x".into(), &SecretValues::default()));
    assert_eq!(mode(&plain), 0o644);
    let access = Access {
        owner: Some(AccountName::new("daemon").unwrap()),
        group: Some(AccountName::new("mail").unwrap()),
        mode: Some(Mode(0o4750)),
    };
    succeed(&Put { access, ..put(&remote(&given)) }.script("x".into(), &SecretValues::default()));
    let metadata = fs::metadata(&given).unwrap();
    assert_eq!((mode(&given), metadata.uid(), metadata.gid()), (0o4750, 1, 8));
}

#[test]
fn values_that_are_not_given_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    unix::fs::chown(&path, Some(12_345), Some(54_321)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o2751)).unwrap();
    succeed(&put(&remote(&path)).script("new".into(), &SecretValues::default()));
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((mode(&path), metadata.uid(), metadata.gid()), (0o2751, 12_345, 54_321));
    let access = Access { group: Some(AccountName::new("mail").unwrap()), mode: Some(Mode(0o600)), owner: None };
    succeed(&Put { access, ..put(&remote(&path)) }.script("newer".into(), &SecretValues::default()));
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((mode(&path), metadata.uid(), metadata.gid()), (0o600, 12_345, 8));
}

#[test]
fn a_file_replaces_a_link_and_not_its_target() {
    let dir = tempfile::tempdir().unwrap();
    let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
    fs::write(&victim, "precious").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    unix::fs::symlink("victim", &link).unwrap();
    succeed(&put(&remote(&link)).script("new".into(), &SecretValues::default()));
    assert_eq!((fs::read(&victim).unwrap(), mode(&victim)), (b"precious".to_vec(), 0o600));
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
    assert_eq!(mode(&link), 0o644);
}

#[test]
fn follow_writes_the_target_and_keeps_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, link) = (dir.path().join("elsewhere\n"), dir.path().join("link"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), "old").unwrap();
    unix::fs::symlink("elsewhere\n/file", &link).unwrap();
    let path = remote(&link);
    let following = Put { follow: true, ..put(&path) };
    succeed(&following.script("new".into(), &SecretValues::default()));
    assert_eq!(fs::read(directory.join("file")).unwrap(), b"new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!((names(dir.path()).len(), names(&directory).len()), (2, 1));

    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let output = run(&following.script("evil".into(), &SecretValues::default()));
    assert!(
        !output.status.success() && stderr(&output).contains("is a link in a directory that every user may write to"),
        "{output:?}"
    );
    assert_eq!(fs::read(directory.join("file")).unwrap(), b"new");
}

#[test]
fn another_name_of_the_old_file_keeps_the_old_content() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("file"), dir.path().join("other"));
    fs::write(&path, "old").unwrap();
    fs::hard_link(&path, &other).unwrap();
    succeed(&put(&remote(&path)).script("new".into(), &SecretValues::default()));
    assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"new".to_vec(), b"old".to_vec()));
}

#[test]
fn validate_sees_the_whole_new_file_and_its_refusal_leaves_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a 'file'");
    fs::write(&path, "old").unwrap();
    let path = remote(&path);
    let validated = |command| Put { validate: Some(command), access: with_mode(0o640), ..put(&path) };
    let output = run(&validated("echo looked at; test \"$(cat %s)\" = good").script("bad".into(), &SecretValues::default()));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), format!("looked at\nvalidate failed with exit status 1; {path} stays as it was"));
    assert_eq!((fs::read(path.as_str()).unwrap(), names(dir.path())), (b"old".to_vec(), vec!["a 'file'".to_owned()]));
    succeed(
        &validated("test \"$(cat %s)\" = good && test \"$(stat -c %a %s)\" = 640 && ! read line")
            .script("good".into(), &SecretValues::default()),
    );
    assert_eq!(fs::read(path.as_str()).unwrap(), b"good");
}

#[test]
fn a_new_program_can_be_validated_by_running_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = remote(&dir.path().join("program"));
    let script = Put { access: with_mode(0o755), validate: Some("%s"), ..put(&path) }
        .script("#!/bin/sh\nexit 0\n".into(), &SecretValues::default());
    succeed(&script);
}

#[test]
fn an_entry_that_is_not_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, socket) = (dir.path().join("directory"), dir.path().join("socket"));
    fs::create_dir(&directory).unwrap();
    let _listener = unix::net::UnixListener::bind(&socket).unwrap();
    for path in [&directory, &socket] {
        let output = run(&put(&remote(path)).script("x".into(), &SecretValues::default()));
        assert!(!output.status.success() && stderr(&output).ends_with("is not a regular file"), "{output:?}");
    }
    assert!(directory.is_dir() && fs::metadata(&socket).unwrap().file_type().is_socket());
    assert!(!run(&put(&remote(&dir.path().join("none/file"))).script("x".into(), &SecretValues::default())).status.success());
    assert_eq!(names(dir.path()), ["directory", "socket"]);
}

#[test]
fn a_failure_is_reported_even_where_the_shell_ignores_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    let script = with_put_file(Script::new("set -e\nif put_file \"$@\"; then echo fine; else echo failed; fi"))
        .args([remote(&path).as_str(), "no-such-user", "", "", "", "", "", ""])
        .input("new");
    assert_eq!(run(&script).stdout, b"failed\n");
    assert_eq!((fs::read(&path).unwrap(), names(dir.path())), (b"old".to_vec(), vec!["file".to_owned()]));
}

/// Runs a script with a separate file system mounted at `directory`, then the shell text `look` in it; returns their output.
fn in_a_mount(options: &str, directory: &Path, script: &Script, look: &str) -> String {
    let prepare = format!("mount -t tmpfs none '{0}' && printf old >'{0}/file' && mount {options} '{0}'", directory.display());
    let text = format!(
        "{prepare} || exit 99\n( {} ) 2>&1\necho \"status $?\"; cd '{}'; {look}",
        script.render().unwrap(),
        directory.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &text]).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = script.sealed_input().reveal(&SecretValues::default()).unwrap();
    let _ = child.stdin.take().unwrap().write_all(&input);
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    child.wait().unwrap();
    output
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let script = put(&remote(&dir.path().join("file"))).script(vec![b'x'; 5_000_000].into(), &SecretValues::default());
    let output = in_a_mount("-o remount,size=64k", dir.path(), &script, "ls -A; cat file");
    assert!(output.contains("No space left on device") && output.ends_with("status 1\nfile\nold"), "{output}");
}

#[test]
fn a_read_only_file_system_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let script = put(&remote(&dir.path().join("file"))).script("new".into(), &SecretValues::default());
    let output = in_a_mount("-o remount,ro", dir.path(), &script, "ls -A; cat file");
    assert!(
        output.contains("is mounted read-only or immutable") && output.ends_with("\nfile\nold") && !output.contains("status 0"),
        "{output}"
    );
}

#[test]
fn input_that_ends_early_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    let (_, mut child) = half_written(&put(&remote(&path)).script("half and half".into(), &SecretValues::default()), dir.path());
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(stderr(&output), format!("the content did not arrive whole; {} stays as it was", path.display()));
    assert!(!output.status.success() && fs::read(&path).unwrap() == b"old" && names(dir.path()) == ["file"]);
}

#[test]
fn no_other_user_can_read_an_unfinished_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    unix::fs::chown(&path, Some(1), Some(1)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let (temporary, mut child) = half_written(
        &Put { access: with_mode(0o600), ..put(&remote(&path)) }.script("half and half".into(), &SecretValues::default()),
        dir.path(),
    );
    let metadata = fs::metadata(&temporary).unwrap();
    assert_eq!((mode(&temporary), metadata.uid()), (0o600, 0));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    child.stdin.take().unwrap().write_all(b" and half").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"half and half".to_vec(), 0o600));
}

#[test]
fn kill_9_in_the_middle_leaves_the_old_file_and_the_next_run_cleans_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "old").unwrap();
    let remote_path = remote(&path);
    let (temporary, child) = half_written(&put(&remote_path).script("half".into(), &SecretValues::default()), dir.path());
    kill(child);
    assert!(temporary.exists() && fs::read(&path).unwrap() == b"old");
    // A directory with such a name is left alone and is no obstacle.
    fs::create_dir(dir.path().join(".autobot-provision-0123456789")).unwrap();
    succeed(&put(&remote_path).script("new".into(), &SecretValues::default()));
    assert_eq!(names(dir.path()), [".autobot-provision-0123456789", "file"]);
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn a_terminated_run_removes_its_temporary_file() {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut child) =
        half_written(&put(&remote(&dir.path().join("file"))).script("half".into(), &SecretValues::default()), dir.path());
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-TERM", "--", &group]).status().unwrap().success());
    assert!(!child.wait().unwrap().success());
    until(|| names(dir.path()).is_empty().then_some(()));
}

#[test]
fn a_temporary_file_swapped_for_a_link_leaves_the_target_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (path, victim) = (dir.path().join("file"), tempfile::NamedTempFile::new().unwrap());
    fs::write(victim.path(), "precious").unwrap();
    let access = Access { owner: Some(AccountName::new("daemon").unwrap()), mode: Some(Mode(0o666)), group: None };
    let (temporary, mut child) =
        half_written(&Put { access, ..put(&remote(&path)) }.script("half".into(), &SecretValues::default()), dir.path());
    fs::remove_file(&temporary).unwrap();
    unix::fs::symlink(victim.path(), &temporary).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    let metadata = fs::metadata(victim.path()).unwrap();
    assert_eq!((fs::read(victim.path()).unwrap(), metadata.uid(), mode(victim.path())), (b"precious".to_vec(), 0, 0o600));
}

#[test]
fn a_backup_keeps_content_and_mode_and_a_private_one_is_private() {
    for (backup, expected) in [(Backup::Keep, 0o644), (Backup::Private, 0o600)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let remote_path = remote(&path);
        let script = Put { backup, access: with_mode(0o640), ..put(&remote_path) }.script("new".into(), &SecretValues::default());
        succeed(&script);
        assert_eq!(names(dir.path()), ["file"], "there was nothing to keep");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        succeed(&script);
        let all = names(dir.path());
        let kept = dir.path().join(&all[1]);
        assert!(all.len() == 2 && all[1].starts_with("file.20") && all[1].ends_with('~'), "{all:?}");
        assert_eq!((fs::read(&kept).unwrap(), mode(&kept)), (b"old".to_vec(), expected));
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o640));
    }
}

#[test]
fn access_is_set_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let (path, directory) = (dir.path().join("file"), dir.path().join("directory"));
    fs::write(&path, "x").unwrap();
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o2770)).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let access = Access { owner: None, group: Some(AccountName::new("mail").unwrap()), mode: Some(Mode(0o750)) };
    for path in [&path, &directory] {
        succeed(&set_access(&remote(path), &access, false));
        assert_eq!((mode(path), fs::metadata(path).unwrap().gid()), (0o750, 8));
    }
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
}

#[test]
fn access_is_set_through_a_link_only_with_follow() {
    let dir = tempfile::tempdir().unwrap();
    let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
    fs::write(&victim, "x").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    unix::fs::symlink("victim", &link).unwrap();
    let output = run(&set_access(&remote(&link), &with_mode(0o666), false));
    assert!(!output.status.success() && stderr(&output).ends_with("is a link: not followed"), "{output:?}");
    assert_eq!(mode(&victim), 0o600);
    succeed(&set_access(&remote(&link), &with_mode(0o640), true));
    assert_eq!(mode(&victim), 0o640);
    let absent = run(&set_access(&remote(&dir.path().join("absent")), &with_mode(0o640), true));
    assert!(stderr(&absent).ends_with("absent is not a file or directory"));
}
