//! Secrets files that are damaged, or are not regular files.

use std::fmt::Write as _;

use super::refusal;
use crate::harness::{Project, TestNode};

const TOY: &str = r#"
secrets:
  TOKEN: {file: /etc/app/secrets.env}
tasks:
  - name: Begin
    copy: {dest: /root/begun, content: "begun\n"}
  - name: Hand it out
    copy: {dest: /root/token, content: "{{ secrets.TOKEN }}\n"}
"#;

fn without_begin() -> String {
    TOY.replace("  - name: Begin\n    copy: {dest: /root/begun, content: \"begun\\n\"}\n", "")
}

/// All that the role or the engine could have touched, with content. A named pipe is looked at from outside only.
const STATE: &str = "cd /; for path in $(find /etc/app* /root /srv -not -name '.*' 2>/dev/null | sort); do \
    stat -c '%n %F %U %a %s %Y' \"$path\"; if [ -f \"$path\" ]; then head -c 2000 \"$path\" | cksum; fi; done; ls -lR /var/lib/autobot-provision 2>/dev/null || true";

#[test]
fn what_is_no_readable_secrets_file_is_refused_and_stays_as_it_is() {
    let node = TestNode::bare();
    let project = Project::toy(&[("n", &node)], TOY);
    let sound = "TOKEN=abcdefghijklmnop";
    let cases = [
        ("a directory", "mkdir -p /etc/app/secrets.env"),
        ("a named pipe", "mkdir /etc/app; mkfifo /etc/app/secrets.env"),
        ("a device", "mkdir /etc/app; mknod /etc/app/secrets.env c 1 3"),
        ("a link that leads nowhere", "mkdir /etc/app; ln -s /srv/nowhere /etc/app/secrets.env"),
        ("a link to a sound file", &format!("mkdir /etc/app; echo {sound} >/srv/real; ln -s /srv/real /etc/app/secrets.env")),
        (
            "far too large",
            &format!(
                "mkdir /etc/app; echo {sound} >/etc/app/secrets.env; head -c 20000000 /dev/zero | tr '\\0' '#' >>/etc/app/secrets.env; echo >>/etc/app/secrets.env"
            ),
        ),
        ("half a key", "mkdir /etc/app; printf 'OTHER=1\\nTOK\\n' >/etc/app/secrets.env"),
        ("half a line", "mkdir /etc/app; printf 'OTHER=1\\nTOKEN=abcdefgh' >/etc/app/secrets.env"),
        ("bytes of another file", "mkdir /etc/app; printf 'OTHER=1\\n\\0\\0\\0\\0\\n' >/etc/app/secrets.env"),
        (
            "a key twice, with Windows line ends",
            &format!("mkdir /etc/app; printf '{sound}\\r\\n# x\\r\\nTOKEN=other\\r\\n' >/etc/app/secrets.env"),
        ),
    ];
    let mut said = String::new();
    for (what, prepare) in cases {
        node.sh(&format!("rm -rf /etc/app /srv/*; {prepare}"));
        let _ = writeln!(said, "{what}: {}", refusal(&node, &project, "n", STATE, &[]));
    }
    insta::assert_snapshot!(said, @"
    a directory: `/etc/app/secrets.env` is a directory, not a regular file; move it away or replace it by the secrets file; nothing was changed
    a named pipe: `/etc/app/secrets.env` is a device, socket or pipe, not a regular file; move it away or replace it by the secrets file; nothing was changed
    a device: `/etc/app/secrets.env` is a device, socket or pipe, not a regular file; move it away or replace it by the secrets file; nothing was changed
    a link that leads nowhere: `/etc/app/secrets.env` is a link to `/srv/nowhere`, not a regular file; move it away or replace it by the secrets file; nothing was changed
    a link to a sound file: `/etc/app/secrets.env` is a link to `/srv/real`, not a regular file; move it away or replace it by the secrets file; nothing was changed
    far too large: `/etc/app/secrets.env` is too large to be a secrets file; nothing was changed
    half a key: `/etc/app/secrets.env` cannot be trusted: line 2 is not `KEY=value`; repair it or restore it from a backup, nothing was changed
    half a line: `/etc/app/secrets.env` cannot be trusted: the last line has no line end, so the file may be truncated; repair it or restore it from a backup, nothing was changed
    bytes of another file: `/etc/app/secrets.env` cannot be trusted: line 2 is not `KEY=value`; repair it or restore it from a backup, nothing was changed
    a key twice, with Windows line ends: `/etc/app/secrets.env` cannot be trusted: `TOKEN` occurs twice, in lines 1 and 3; repair it or restore it from a backup, nothing was changed
    ");

    // What stands in the place of its directory is met by the deploy only; the secret is not made elsewhere, and nobody gets another.
    node.sh("rm -rf /etc/app; echo x >/etc/app");
    project.write("roles/toy/role.yml", &without_begin());
    let before = node.sh(STATE);
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(1);
    insta::assert_snapshot!(deploy.failure("n"), @"exit status 1: /etc/app is not a directory, but /etc/app/secrets.env must be created in it: move it away");
    assert_eq!(before, node.sh(STATE));
    project.write("roles/toy/role.yml", TOY);

    // With a sound file it goes on from there.
    node.sh(&format!("rm -rf /etc/app; mkdir /etc/app; echo {sound} >/etc/app/secrets.env"));
    project.json(&["deploy"]).assert_code(0);
    assert_eq!(node.sh("cat /root/begun /root/token"), "begun\nabcdefghijklmnop");
}

#[test]
fn a_secrets_file_that_cannot_be_written_fails_with_its_name_and_loses_nothing() {
    let node = TestNode::bare();
    let project = Project::toy(&[("n", &node)], &without_begin());
    node.sh("mkdir /etc/app; printf 'OTHER=1\\n' >/etc/app/secrets.env");
    let mut said = String::new();
    for path in ["/etc/app", "/etc/app/secrets.env"] {
        node.sh(&format!("mount --bind {path} {path}; mount -o remount,bind,ro {path}"));
        let before = node.sh(STATE);
        // Only the attempt tells.
        project.json(&["deploy", "--check"]).assert_code(0);
        let deploy = project.json(&["deploy"]);
        deploy.assert_code(1);
        let _ = writeln!(said, "{}", deploy.failure("n"));
        assert_eq!(before, node.sh(STATE));
        node.sh(&format!("umount {path}"));
    }
    insta::assert_snapshot!(said, @"
    exit status 1: /etc/app is mounted read-only or immutable (see findmnt, lsattr -d); nothing was written
    exit status 1: /etc/app/secrets.env is immutable or mounted read-only (see lsattr, findmnt); nothing was written
    ");
    project.json(&["deploy"]).assert_code(0);
    assert!(node.sh("cat /etc/app/secrets.env").starts_with("OTHER=1\nTOKEN="));
}
