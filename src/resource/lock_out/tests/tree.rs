//! Tests of the files that their readers judge before they are live, with the generated shell.

use std::{fs, os::unix::process::CommandExt as _, process::Stdio};

use serde_json::{Value, json};

use super::{owned, root, verdict_as};
use crate::{
    question::path::{Entry, File},
    resource::{Verdict, content::tests::rendered, trial},
    secret::SecretValues,
};

/// Runs the script of a verdict in a mount namespace in which /etc has only what sudo and sshd read, and programs that stand for theirs. Returns the exit
/// status, what it says, and what `after` then prints.
fn tried(verdict: &Verdict, prepare: &str, after: &str) -> (i32, String, String) {
    let tools = tempfile::tempdir().unwrap();
    // Each word `bad` is an error, on its line, and `old` is one of the live files.
    let judge = r#"[ "$1" = "$2" ]; grep -rn --exclude='.*' -e bad -e old $files 2>/dev/null | sed 's/:\([0-9]*\):/: line \1: /' >"$TOOLS/found" || :
ls -R /etc >>"$TOOLS/seen"; cat "$TOOLS/found" >&2; [ ! -s "$TOOLS/found" ]"#;
    trial::fake(tools.path(), "visudo", &format!("files='/etc/sudoers /etc/sudoers.d'; {judge}"));
    trial::fake(tools.path(), "sshd", &format!("files='/etc/ssh'; {judge}"));
    fs::write(tools.path().join("script"), rendered(verdict)).unwrap();
    let input = match verdict {
        Verdict::Change(change) | Verdict::Blocked { change, .. } => {
            change.script.sealed_input().reveal(&SecretValues::default()).unwrap().to_vec()
        }
        Verdict::Converged { .. } | Verdict::Refused(_) => panic!("{verdict:?}"),
    };
    fs::write(tools.path().join("input"), input).unwrap();
    let text = format!(
        r#"set -eu
mkdir "$TOOLS/etc"
for name in passwd group nsswitch.conf ld.so.cache alternatives; do [ ! -e "/etc/$name" ] || cp -a "/etc/$name" "$TOOLS/etc/"; done
mkdir -p "$TOOLS/etc/sudoers.d" "$TOOLS/etc/ssh/sshd_config.d"
mount --bind "$TOOLS/etc" /etc
echo good >/etc/sudoers; echo good >/etc/sudoers.d/a; echo good >/etc/ssh/sshd_config; chmod 0440 /etc/sudoers /etc/sudoers.d/a
{prepare}
status=0
(umask 077; eval "$(cat "$TOOLS/script")") <"$TOOLS/input" 2>"$TOOLS/said" || status=$?
{after}
exit "$status""#
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &text]).env_clear().env("LC_ALL", "C");
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.path().display())).env("TOOLS", tools.path());
    let done = command.process_group(0).stdin(Stdio::null()).output().unwrap();
    let said = fs::read_to_string(tools.path().join("said")).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(stderr, "", "the test's own text");
    (done.status.code().unwrap(), said, String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

fn copy(path: &str, content: &str, entry: Entry) -> Verdict {
    verdict_as(trial::ops(), "copy", json!({"dest": path, "content": content, "mode": "0440"}), entry)
}

fn old_file() -> Entry {
    Entry::File(File { attributes: owned(0, "root", 0o440), size: 5, content: Some(b"good\n".to_vec()), sha256: None })
}

#[test]
fn a_file_that_its_reader_refuses_is_never_live() {
    for (path, program, entry) in [
        ("/etc/sudoers.d/b", "visudo -c", Entry::Absent),
        ("/etc/sudoers.d/a", "visudo -c", old_file()),
        ("/etc/sudoers", "visudo -c", old_file()),
        ("/etc/ssh/sshd_config.d/x.conf", "sshd -t", Entry::Absent),
        ("/etc/ssh/sshd_config", "sshd -t", old_file()),
    ] {
        let list = "ls -RA /etc/sudoers.d /etc/ssh; cat /etc/sudoers /etc/sudoers.d/* /etc/ssh/sshd_config; mount | grep -c ' /etc/' || :";
        let (status, said, state) = tried(&copy(path, "bad\n", entry.clone()), "", list);
        assert_eq!(status, 1, "{path}");
        assert_eq!(
            said,
            format!("`{program}` refuses the files as they would be, so {path} stays as it was:\n{path}: line 1: bad\n")
        );
        assert!(!state.contains("bad") && !state.contains(".autobot-provision") && state.ends_with("\n0"), "{state}");
        assert_eq!(state.matches("good").count(), 3, "{state}");
        // The whole tree, with its name, owner and mode, is there when it is judged.
        let (status, said, state) =
            tried(&copy(path, "fine\n", entry), "", &format!("cat {path}; stat -c '%a %U' {path}; cat \"$TOOLS/seen\""));
        assert_eq!((status, said.as_str()), (0, ""), "{path}");
        assert!(state.starts_with("fine\n440 root\n"), "{state}");
        assert!(state.contains(path.rsplit('/').next().unwrap()), "{state}");
    }
}

#[test]
fn what_was_wrong_before_does_not_hold_up_a_change_but_more_does() {
    let prepare = "printf 'good\\nold\\n' >/etc/ssh/sshd_config";
    let (status, said, state) =
        tried(&copy("/etc/ssh/sshd_config.d/x.conf", "fine\n", Entry::Absent), prepare, "cat /etc/ssh/sshd_config.d/x.conf");
    assert_eq!((status, said.as_str(), state.as_str()), (0, "", "fine"));
    // The line moves, and is the same.
    let (status, said, _) = tried(&copy("/etc/ssh/sshd_config", "fine\nfine\nold\n", old_file()), prepare, "");
    assert_eq!((status, said.as_str()), (0, ""));
    let (status, said, _) = tried(&copy("/etc/ssh/sshd_config.d/x.conf", "bad\n", Entry::Absent), prepare, "");
    assert_eq!(status, 1);
    assert!(
        said.ends_with("x.conf: line 1: bad\nthe files were wrong before, too: /etc/ssh/sshd_config: line 2: old\n"),
        "{said}"
    );
}

#[test]
fn where_the_reader_is_not_installed_there_is_nothing_to_judge_and_without_tools_it_is_said() {
    let verdict = copy("/etc/sudoers.d/b", "bad\n", Entry::Absent);
    // The real one is not found either.
    let without = "rm \"$TOOLS/visudo\"; mkdir \"$TOOLS/bin\"; for tool in sh stat readlink mktemp rm cat chown chmod cp sync mv sha256sum umask unshare mount tr grep id; do ln -s \"$(command -v $tool)\" \"$TOOLS/bin/\" 2>/dev/null || :; done; PATH=$TOOLS/bin";
    let (status, said, state) = tried(&verdict, without, "cat /etc/sudoers.d/b");
    assert_eq!((status, said.as_str(), state.as_str()), (0, "", "bad"));
    for tool in ["unshare", "mount"] {
        let lacking = format!(
            "{without}; rm \"$TOOLS/bin/{tool}\"; printf '#!/bin/sh\\nexit 1\\n' >\"$TOOLS/bin/visudo\"; chmod 755 \"$TOOLS/bin/visudo\""
        );
        let (status, said, state) = tried(&verdict, &lacking, "echo /etc/sudoers.d/*");
        assert_eq!((status, state.as_str()), (1, "/etc/sudoers.d/a"), "{said}");
        assert!(said.contains(&format!("because there is no `{tool}`")), "{said}");
    }
}

#[test]
fn a_removal_a_link_and_another_access_are_judged_too() {
    let file = |parameters: Value, entry: Entry| verdict_as(root(), "file", parameters, entry);
    // The reader wants both files.
    let wants = |path: &str| {
        format!(
            "for program in visudo sshd; do printf '#!/bin/sh\\n[ -s {path} ] || {{ echo {path}: missing; exit 1; }}\\n' >\"$TOOLS/$program\"; done"
        )
    };
    for (path, entry) in [("/etc/sudoers.d/a", old_file()), ("/etc/sudoers.d", Entry::Directory(owned(0, "root", 0o755)))] {
        let (status, said, state) = tried(
            &file(json!({"path": path, "state": "absent"}), entry.clone()),
            &wants("/etc/sudoers.d/a"),
            "cat /etc/sudoers.d/a",
        );
        assert_eq!((status, state.as_str()), (1, "good"), "{said}");
        assert!(said.ends_with(&format!("so {path} stays as it was:\n/etc/sudoers.d/a: missing\n")), "{said}");
        let (status, said, _) = tried(&file(json!({"path": path, "state": "absent"}), entry), "", &format!("[ ! -e {path} ]"));
        assert_eq!((status, said.as_str()), (0, ""));
    }
    let (status, said, state) =
        tried(&file(json!({"path": "/etc/sudoers", "state": "absent"}), old_file()), "", "cat /etc/sudoers");
    assert_eq!((status, state.as_str()), (1, "good"));
    assert!(said.contains("without it no user may do anything"), "{said}");
    // A link to a bad file.
    let link = || {
        file(json!({"path": "/etc/ssh/sshd_config.d/x.conf", "state": "link", "src": "../other", "force": true}), Entry::Absent)
    };
    let (status, said, state) = tried(&link(), "echo bad >/etc/ssh/other", "ls -A /etc/ssh/sshd_config.d");
    // It is bad as it is.
    assert_eq!((status, said.as_str(), state.as_str()), (0, "", "x.conf"));
    let bad_link =
        "echo bad >/etc/other; printf '#!/bin/sh\\ngrep -h bad /etc/ssh/sshd_config.d/* && exit 1; exit 0\\n' >\"$TOOLS/sshd\"";
    let verdict = file(
        json!({"path": "/etc/ssh/sshd_config.d/x.conf", "state": "link", "src": "/etc/other", "force": true}),
        Entry::Absent,
    );
    let (status, said, state) = tried(&verdict, bad_link, "ls -A /etc/ssh/sshd_config.d");
    assert_eq!((status, state.as_str()), (1, ""), "{said}");
    // Another mode, of one file and of all.
    let mode = "printf '#!/bin/sh\\n[ \"$(stat -c %%a /etc/ssh/sshd_config)\" != 644 ] || { echo too open; exit 1; }\\n' >\"$TOOLS/sshd\"; chmod 0600 /etc/ssh/sshd_config";
    let closed = || Entry::File(File { attributes: owned(0, "root", 0o600), size: 5, content: None, sha256: None });
    let (status, said, state) =
        tried(&file(json!({"path": "/etc/ssh/sshd_config", "mode": "0644"}), closed()), mode, "stat -c %a /etc/ssh/sshd_config");
    assert_eq!((status, state.as_str()), (1, "600"), "{said}");
    let all = file(
        json!({"path": "/etc/ssh", "state": "directory", "recurse": true, "mode": "0700"}),
        Entry::Directory(owned(0, "root", 0o755)),
    );
    let (status, said, _) = tried(&all, &mode.replace("644", "700"), "");
    assert!(status == 1 && said.contains("too open"), "{said}");
}

#[test]
fn only_visudos_complaints_about_modes_do_not_count() {
    let visudo =
        |text: &str| format!("printf '#!/bin/sh\\n[ ! -e /etc/sudoers.d/b ] || {{ {text}; exit 1; }}\\n' >\"$TOOLS/visudo\"");
    let verdict = copy("/etc/sudoers.d/b", "good\n", Entry::Absent);
    let modes = "echo /etc/sudoers: parsed OK; echo /etc/sudoers.d/b: bad permissions, should be mode 0440; echo Warning: unused";
    let (status, said, state) = tried(&verdict, &visudo(modes), "cat /etc/sudoers.d/b");
    assert_eq!((status, said.as_str(), state.as_str()), (0, "", "good"));
    for more in [&format!("{modes}; echo /etc/sudoers.d/b:1:2: syntax error"), ":"] {
        let (status, said, _) = tried(&verdict, &visudo(more), "");
        assert_eq!(status, 1, "{more}: {said}");
        assert!(said.starts_with("`visudo -c` refuses the files") && !said.contains("permissions"), "{said}");
    }
}

#[test]
fn other_files_are_written_as_ever() {
    for path in [
        "/etc/ssh/ssh_config",
        "/etc/ssh/ssh_config.d/x.conf",
        "/etc/ssh/moduli",
        "/etc/sudo.conf",
        "/etc/sshd",
        "/srv/etc/ssh/sshd_config",
    ] {
        assert!(!rendered(&copy(path, "bad\n", Entry::Absent)).contains("judged="), "{path}");
    }
    for (path, program) in
        [("/etc/ssh/sshd_config", "sshd"), ("/etc/ssh/ssh_host_rsa_key", "sshd"), ("/etc/sudoers.local", "visudo")]
    {
        assert!(rendered(&copy(path, "bad\n", Entry::Absent)).contains(&format!("judged={program}\n")), "{path}");
    }
}

#[test]
fn a_file_with_secrets_shows_none_of_its_lines() {
    let verdict =
        verdict_as(trial::ops(), "template", json!({"dest": "/etc/sudoers.d/b", "src": "x", "mode": "0440"}), Entry::Absent);
    let text = rendered(&verdict);
    assert!(text.contains("private=yes\n"), "{text}");
    let open = copy("/etc/sudoers.d/b", "bad\n", Entry::Absent);
    assert!(!rendered(&open).contains("private=yes\n"));
    // As visudo shows an error: with the line.
    let shows = "printf '#!/bin/sh\\n[ -e /etc/sudoers.d/b ] || exit 0; echo /etc/sudoers.d/b:1:4: syntax error; cat /etc/sudoers.d/b; exit 1\\n' >\"$TOOLS/visudo\"";
    let (status, said, _) = tried(&open, &format!("private=yes; {shows}"), "");
    assert_eq!(status, 1);
    assert!(said.ends_with("stays as it was:\n/etc/sudoers.d/b:1:4: syntax error\n"), "{said}");
    let (_, said, _) = tried(&open, shows, "");
    assert!(said.contains("syntax error\nbad\n"), "{said}");
    let (_, said, _) = tried(&open, &format!("private=yes; {}", shows.replace("echo /etc", "echo etc")), "");
    assert!(said.ends_with("(its words could show a secret)\n"), "{said}");
}
