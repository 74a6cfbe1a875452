//! Lines and blocks in files that have other content as well, and files that the node fetches itself.

use std::fs;

use crate::harness::{Project, TestNode, repository_url};

const EMPTY: &str = "description: t\ntasks: []\n";

fn role(tasks: &str) -> String {
    format!("description: t\ntasks:\n{tasks}")
}

#[test]
fn some_lines_of_a_file_are_ours_and_the_others_stay() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], EMPTY);
    let hostile = "# kept $(id) `id` 'x' \"y\" \\n\nPort 22\nlast without end";
    fs::write(node.root.join("etc/app.conf"), hostile).unwrap();
    node.sh("chown autobot:adm /etc/app.conf; chmod 0640 /etc/app.conf; ln -s app.conf /etc/link.conf");
    let tasks = |port: u16| {
        role(&format!(
            "  - {{name: Port, lineinfile: {{path: /etc/app.conf, regexp: '^Port ', line: Port {port}}}}}
  - {{name: Quotes, lineinfile: {{path: /etc/app.conf, line: \"import g'$(id)\\\"\", insertbefore: '^Port'}}}}
  - {{name: Block, blockinfile: {{path: /etc/link.conf, block: \"Match $(id)\\n  X 'y'\", marker: '# {{mark}} ours'}}}}
  - {{name: New, lineinfile: {{path: /srv/a/b/new, line: one, create: true, mode: \"0600\"}}}}
"
        ))
    };
    let deploy = project.converges(&tasks(2222));
    assert_eq!(deploy.ids("node", "changed").len(), 4, "{}", deploy.stdout);
    let expected = "# kept $(id) `id` 'x' \"y\" \\n\nimport g'$(id)\"\nPort 2222\nlast without end\n# BEGIN ours\nMatch $(id)\n  X 'y'\n# END ours\n";
    assert_eq!(fs::read_to_string(node.root.join("etc/app.conf")).unwrap(), expected);
    assert_eq!(
        node.sh("stat -c '%U:%G %a' /etc/app.conf; readlink /etc/link.conf; stat -c %a /srv/a/b/new"),
        "autobot:adm 640\napp.conf\n600"
    );

    // Only an edited block and line are repaired.
    node.sh("sed -i 's/X/Z/; s/^Port.*/Port 1/; s/last/LAST/' /etc/app.conf");
    let deploy = project.converges(&tasks(2222));
    assert_eq!(deploy.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/Block", "toy/Port"]);
    assert_eq!(fs::read_to_string(node.root.join("etc/app.conf")).unwrap(), expected.replace("last", "LAST"));

    // A file that its program would refuse keeps its old content, byte for byte.
    let before = fs::read(node.root.join("etc/ssh/sshd_config")).unwrap();
    let sshd =
        "  - {name: Refused, lineinfile: {path: /etc/ssh/sshd_config, line: Nonsense yes, validate: /usr/sbin/sshd -t -f %s}}\n";
    let error = project.fails(&role(sshd)).failure("node");
    assert!(error.contains("validate failed with exit status 255; /etc/ssh/sshd_config stays as it was"), "{error}");
    assert!(error.contains("Nonsense"), "sshd's own words: {error}");
    assert_eq!(fs::read(node.root.join("etc/ssh/sshd_config")).unwrap(), before);

    let words = project.is_refused(&role("  - {name: Nowhere, lineinfile: {path: /etc/nowhere, line: x}}\n"));
    assert!(words.contains("`/etc/nowhere`"), "{words}");
    project.converges(&role("  - {name: Gone, blockinfile: {path: /etc/app.conf, marker: '# {mark} ours', state: absent}}\n"));
    assert!(!node.sh("cat /etc/app.conf").contains("ours"));
}

#[test]
fn what_is_known_to_fail_later_is_refused_before_the_first_change() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], EMPTY);
    node.sh("printf '#Port 22\\n#Port 23\\n' >/etc/ports.conf; useradd --uid 4322 -m gu1");
    let first = "  - {name: First, copy: {content: x, dest: /etc/first}}\n";
    let port = "  - {name: Set, lineinfile: {path: /etc/ports.conf, regexp: '^#Port', line: Port 2222}}\n";
    let task = |task: &str| format!("  - {{name: Task, {task}}}\n");
    for (tasks, expected) in [
        (port.to_owned(), "every run would replace one more"),
        (task("user: {name: gu2, uid: 4322}"), "is taken by the user `gu1`"),
        (task("group: {name: gu3, gid: 4322}"), "is taken by the group `gu1`"),
        (task("group: {name: gu1, state: absent}"), "is the primary group of `gu1`"),
        (task("file: {path: /etc/link, state: link, src: /gone}"), "`/gone`, to which the link leads"),
    ] {
        let words = project.is_refused(&role(&format!("{first}{tasks}")));
        assert!(words.contains(expected), "{words}");
        assert_eq!(node.sh("cat /etc/ports.conf; [ ! -e /etc/first ]"), "#Port 22\n#Port 23");
    }
    // The ways out, as earlier tasks.
    let remove = task("lineinfile: {path: /etc/ports.conf, regexp: '^#Port', state: absent}");
    let tasks = [
        remove,
        port.to_owned(),
        "  - {name: No user, user: {name: gu1, state: absent}}\n".to_owned(),
        "  - {name: No group, group: {name: gu1, state: absent}}\n".to_owned(),
        "  - {name: Same number, user: {name: gu2, uid: 4322, home: /opt/h2/gu2}}\n".to_owned(),
    ];
    project.converges(&role(&tasks.concat()));
    assert_eq!(node.sh("cat /etc/ports.conf; id -u gu2"), "Port 2222\n4322");
    node.sh("rm -r /opt/h2");
    let deploy = project.converges(&role(&tasks.concat()));
    assert_eq!(deploy.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/Same number"]);
    assert_eq!(node.sh("stat -c %U:%a /opt/h2/gu2"), "gu2:755");
}

#[test]
fn a_node_fetches_a_file_once_and_only_the_right_one() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], EMPTY);
    let url = format!("{}/gpg", repository_url());
    let task = |parameters: &str| role(&format!("  - {{name: Fetch, get_url: {{{parameters}}}}}\n"));
    // Without a checksum the file is fetched if it does not exist; an existing file is accepted as the right one.
    project.converges(&task(&format!("dest: /srv/key, url: {url}, mode: \"0640\", group: adm")));
    let content = fs::read(node.root.join("srv/key")).unwrap();
    assert!(content.starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----"));
    assert_eq!(node.sh("stat -c '%U:%G %a' /srv/key"), "root:adm 640");

    let sum = node.sh("sha256sum </srv/key").split(' ').next().unwrap().to_owned();
    let right = task(&format!("dest: /srv/key, url: {url}, checksum: 'sha256:{sum}', mode: \"0640\", group: adm"));
    let deploy = project.converges(&right);
    assert!(deploy.ids("node", "changed").is_empty(), "it has the checksum: {}", deploy.stdout);
    node.sh("echo more >>/srv/key");
    assert_eq!(project.converges(&right).ids("node", "changed").len(), 1);
    assert_eq!(fs::read(node.root.join("srv/key")).unwrap(), content);

    let before = node.sh("ls -A /srv /tmp /var/tmp");
    // The wrong content, or no such file: the old file stays, and no other file is left behind.
    for (parameters, expected) in [
        (format!("dest: /srv/key, url: {url}, checksum: 'sha256:{}'", "0".repeat(64)), "sha256"),
        (format!("dest: /srv/other, url: {}/nothing", repository_url()), "could not be fetched"),
        ("dest: /srv/other, url: 'http://127.0.0.1:9/x', timeout: 2".to_owned(), "could not be fetched"),
    ] {
        let ran = project.fails(&task(&parameters));
        let error = ran.failure("node");
        assert!(error.to_lowercase().contains(expected), "{error}");
        assert_eq!(fs::read(node.root.join("srv/key")).unwrap(), content);
        assert_eq!(node.sh("ls -A /srv /tmp /var/tmp"), before);
    }
}
