//! The owner, group and mode of a secrets file are as declared, or that is a change, with a warning.

use super::{got, put};
use crate::harness::{Project, TestNode};

const TOY: &str = r#"
secrets:
  TOKEN: {file: /etc/app/secrets.env, length: 40}
  OTHER: {file: /etc/app/secrets.env, length: 40}
tasks:
  - name: Hand it out
    copy: {dest: /root/token, content: "{{ secrets.TOKEN }} {{ secrets.OTHER }}\n"}
"#;

#[test]
fn a_secrets_file_that_others_own_or_read_is_a_change_with_a_warning() {
    let node = TestNode::bare();
    put(&node, "etc/app/secrets.env", "# first\nKEPT='a b'\n", 0o600);
    let project = Project::toy(&[("n", &node)], TOY);
    project.json(&["deploy"]).assert_code(0);
    let content = got(&node, "etc/app/secrets.env");
    let state = || node.sh("stat -c '%a %U %G' /etc/app/secrets.env");
    assert_eq!(state(), "600 root root");

    for (spoil, words) in [
        ("chmod 644", "mode 0644 → 0600 of /etc/app/secrets.env"),
        ("chown nobody:nogroup", "owner nobody → root, group nogroup → root of /etc/app/secrets.env"),
        ("chmod 602", "mode 0602 → 0600 of /etc/app/secrets.env"),
        ("chmod 4700", "mode 4700 → 0600 of /etc/app/secrets.env"),
    ] {
        node.sh(&format!("{spoil} /etc/app/secrets.env"));
        let inode = node.sh("stat -c %i /etc/app/secrets.env");
        for (number, arguments) in [&["deploy", "--check", "--diff"][..], &["deploy", "--diff"]].into_iter().enumerate() {
            let run = project.json(arguments);
            run.assert_code(0);
            assert_eq!(run.ids("n", "changed"), ["toy/secret TOKEN".to_owned()].into(), "{spoil}: {}", run.stdout);
            assert!(run.stdout.contains(words), "{spoil}: {}", run.stdout);
            let warns = run.stdout.contains("other users could read or change the passwords in /etc/app/secrets.env");
            assert_eq!(warns, spoil != "chmod 4700", "{spoil}: {}", run.stdout);
            assert_eq!(state() == "600 root root", number == 1, "{spoil}");
        }
        assert_ne!(node.sh("stat -c %i /etc/app/secrets.env"), inode, "who holds the old file open reads nothing new");
        assert_eq!(got(&node, "etc/app/secrets.env"), content);
        let again = project.json(&["deploy"]);
        assert_eq!(again.ids("n", "changed"), std::collections::BTreeSet::new(), "{}", again.stdout);
    }
}
