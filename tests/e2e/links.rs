//! Links and directories of other people: root goes through nothing that another user could put there or replace. Mallory is a user of the node.

use crate::harness::{Project, TestNode};

mod race;

const EMPTY: &str = "description: t\ntasks: []\n";

/// Files that are mallory's under no circumstances.
const GUARDED: &str = "/etc/shadow /etc/sudoers /etc /etc/ssh /etc/profile.d /var /var/cache";

fn task(task: &str) -> String {
    format!("description: t\ntasks:\n  - {{name: T, {task}}}\n")
}

/// Makes mallory, whose home directory every user may enter.
fn with_mallory() -> TestNode {
    let node = TestNode::bare();
    node.sh("useradd -m mallory; chmod 755 /home/mallory; useradd -m deploy; mkdir -p /var/cache/of-root; test -s /etc/sudoers || echo '# none' >/etc/sudoers");
    node
}

/// Everything that could show that root was led elsewhere.
fn guarded(node: &TestNode) -> String {
    node.sh(&format!(
        "stat -c '%n %U:%G %a %i' {GUARDED} /var/cache/of-root; sha256sum /etc/shadow /etc/sudoers; find /etc /var/cache -xdev -newer /etc/hostname.of-the-test -not -path '/var/cache/ldconfig*'"
    ))
}

/// Runs a script as mallory.
fn mallory(node: &TestNode, script: &str) {
    node.sh(&format!("runuser -u mallory -- sh -euc '{script}'"));
}

/// Asserts that check and deploy refuse a task in the same words, that nothing of root's shows, and that nothing changes. Returns the words.
#[track_caller]
fn refused(node: &TestNode, project: &Project, tasks: &str) -> String {
    node.sh("touch /etc/hostname.of-the-test");
    let (before, home) = (guarded(node), node.sh("find /home /tmp -printf '%p %y %m %U %l %s %i\\n' | sort"));
    let words = project.is_refused(&task(tasks));
    let shown = project.run(&["deploy", "--check", "--diff", "-vv"]).said() + &project.run(&["deploy", "--diff", "-vv"]).said();
    let hash = node.sh("cut -d: -f2 /etc/shadow | grep '^[$]' | head -n 1");
    assert!(!hash.is_empty() && !shown.contains(&hash) && !shown.contains("root:"), "{shown}");
    assert_eq!((guarded(node), node.sh("find /home /tmp -printf '%p %y %m %U %l %s %i\\n' | sort")), (before, home));
    words
}

#[test]
fn nothing_of_another_user_leads_root_anywhere() {
    let node = with_mallory();
    node.sh("echo root:canary | chpasswd");
    let project = Project::toy(&[("node", &node)], EMPTY);
    let rows = [
        (
            "ln -sf /etc/shadow ~/.bashrc",
            "lineinfile: {path: /home/mallory/.bashrc, line: \"export X=1\", owner: mallory, mode: \"0644\"}",
            "`/home/mallory/.bashrc` is a link, and `/home/mallory` belongs to mallory",
        ),
        (
            "mkdir -p ~/.ssh; ln -sf /etc/sudoers ~/.ssh/authorized_keys",
            "blockinfile: {path: /home/mallory/.ssh/authorized_keys, block: x, create: true, owner: mallory, mode: \"0600\"}",
            "`/home/mallory/.ssh/authorized_keys` is a link, and `/home/mallory` belongs to mallory",
        ),
        (
            "ln -sfn /etc ~/app",
            "file: {path: /home/mallory/app/ssh, state: directory, owner: mallory}",
            "`/home/mallory/app` is a link, and `/home/mallory` belongs to mallory",
        ),
        (
            "ln -sfn /etc/profile.d ~/conf",
            "copy: {dest: /home/mallory/conf/hello.sh, owner: mallory, mode: \"0755\", content: id}",
            "`/home/mallory/conf` is a link",
        ),
        ("ln -sfn /var ~/app", "file: {path: /home/mallory/app/cache, state: absent}", "`/home/mallory/app` is a link"),
        ("ln -sf /etc/shadow /tmp/x", "lineinfile: {path: /tmp/x, line: hello, create: true}", "`/tmp/x` is a link"),
        // More of the kind.
        ("", "file: {path: /home/mallory, state: directory, owner: mallory, mode: \"0755\"}", ""),
        ("ln -sf /etc/shadow ~/f", "copy: {dest: /home/mallory/f, content: x, owner: mallory, follow: true}", "is a link, and"),
        (
            "ln -sf /etc/shadow ~/f",
            "file: {path: /home/mallory/f, mode: \"0666\", owner: mallory, follow: true}",
            "is a link, and",
        ),
        (
            "ln -sfn /etc ~/d",
            "file: {path: /home/mallory/d/ssh, state: directory, recurse: true, owner: mallory}",
            "is a link, and",
        ),
        ("ln -sfn /etc ~/d", "file: {path: /home/mallory/d/motd2, state: link, src: /bin/sh}", "is a link, and"),
        ("ln -sfn /etc ~/d", "file: {path: /home/mallory/d/new/er, state: directory}", "is a link, and"),
        ("mkdir -p ~/e", "copy: {dest: /home/mallory/e/f, content: x}", "`/home/mallory` belongs to mallory"),
        ("mkdir -p ~/e", "copy: {dest: /home/mallory/e/f, content: x, owner: deploy}", "`/home/mallory` belongs to mallory"),
        ("mkdir -p ~/e", "file: {path: /home/mallory/e, state: absent}", "`/home/mallory` belongs to mallory"),
        (
            "ln -sfn /etc ~/d",
            "sysctl: {name: vm.swappiness, value: 1, reload: false, sysctl_file: /home/mallory/d/sysctl.conf}",
            "is a link, and",
        ),
        ("mkdir -p -m 777 ~/open", "copy: {dest: /home/mallory/open/f, content: x, owner: mallory}", "every user may write to"),
        ("echo mine >/tmp/own", "copy: {dest: /tmp/own, content: x}", "`/tmp/own` belongs to mallory"),
        ("mkdir /tmp/gone; ln -s /etc /tmp/gone/etc", "file: {path: /tmp/gone, state: absent}", ""),
        ("ln -sfn /etc /tmp/dir", "copy: {dest: /tmp/dir/x, content: x}", "/tmp/dir"),
    ];
    for (prepare, tasks, words) in rows {
        mallory(&node, prepare);
        if words.is_empty() {
            project.converges(&task(tasks));
            continue;
        }
        let said = refused(&node, &project, tasks);
        assert!(said.contains(words) && said.contains("autobot_trusted_owners"), "{tasks}: {said}");
    }
}

#[test]
fn a_secrets_file_is_neither_read_nor_written_where_another_user_could_have_put_it() {
    let node = with_mallory();
    let project = Project::toy(&[("node", &node)], EMPTY);
    let role = "description: t\nsecrets:\n  APP_PASSWORD: {file: /home/mallory/app.env}\ntasks:\n  - {name: Use, copy: {dest: /etc/app.conf, content: \"p={{ secrets.APP_PASSWORD }}\", mode: \"0600\"}}\n";
    let words = project.is_refused(role);
    assert!(words.contains("`/home/mallory` belongs to mallory"), "{words}");
    mallory(&node, "ln -s /etc/shadow ~/app.env");
    assert!(project.is_refused(role).contains("`/home/mallory` belongs to mallory"));
    // A directory of root in that of mallory is no better.
    node.sh("mkdir /home/mallory/root; chmod 700 /home/mallory/root");
    let words = project.is_refused(&role.replace("/home/mallory/app.env", "/home/mallory/root/app.env"));
    assert!(words.contains("`/home/mallory` belongs to mallory"), "{words}");
    assert_eq!(node.sh("ls -A /home/mallory/root"), "");
}

#[test]
fn what_is_the_owners_own_is_written_and_so_is_what_the_host_trusts() {
    let node = with_mallory();
    let project = Project::toy(&[("node", &node)], EMPTY);
    let tasks = |owner: &str| {
        format!(
            "description: t
tasks:
  - {{name: Directory, file: {{path: /home/deploy/.ssh, state: directory, mode: \"0700\"{owner}}}}}
  - {{name: Keys, copy: {{dest: /home/deploy/.ssh/authorized_keys, content: key, mode: \"0600\"{owner}}}}}
  - {{name: Line, lineinfile: {{path: /home/deploy/.bashrc, line: export X=1{owner}}}}}
  - {{name: Block, blockinfile: {{path: /home/deploy/new/.profile, block: y, create: true{owner}}}}}
  - {{name: Tree, file: {{path: /home/deploy/app, state: directory, recurse: true, mode: \"0750\"{owner}}}}}
"
        )
    };
    node.sh("runuser -u deploy -- sh -c 'mkdir -p ~/app/a/b; ln -s /etc/shadow ~/app/a/link'");
    let shadow = node.sh("stat -c '%U:%G %a %Z' /etc/shadow");
    project.converges(&tasks(", owner: deploy"));
    assert_eq!(node.sh("stat -c '%U %a' /home/deploy/.ssh/authorized_keys /home/deploy/app/a/b"), "deploy 600\ndeploy 750");
    assert_eq!(node.sh("stat -c '%U:%G %a %Z' /etc/shadow"), shadow);
    // Links of root in directories of root are followed: /var/run leads to /run, /bin to /usr/bin.
    project.converges(&task("copy: {dest: /var/run/of-the-test, content: x}"));
    assert_eq!(node.sh("cat /run/of-the-test"), "x");
    // The account of this run may become root anyway.
    project.converges(&task("copy: {dest: /home/autobot/new, content: x}"));
    node.sh("mkdir /srv/real; ln -s real /srv/link; echo a >/srv/real/x; ln -s real/x /srv/x");
    project.converges(&task("lineinfile: {path: /srv/x, line: b}"));
    assert_eq!(node.sh("cat /srv/real/x; readlink /srv/x"), "a\nb\nreal/x");

    node.sh(
        "rm -rf /home/deploy/.ssh; ln -s elsewhere /home/deploy/.ssh; mkdir /home/deploy/elsewhere; chown -R deploy /home/deploy",
    );
    let words = project.is_refused(&tasks(", owner: deploy"));
    assert!(words.contains("`/home/deploy/.ssh` is a link"), "{words}");
    project.inventory(&[("node", &node, "autobot_trusted_owners: [deploy]")], "toy", "");
    project.converges(&task("copy: {dest: /home/deploy/.ssh/authorized_keys, content: key, mode: \"0600\", owner: deploy}"));
    assert_eq!(node.sh("cat /home/deploy/elsewhere/authorized_keys"), "key");
    project.converges(&task("file: {path: /home/deploy/elsewhere, state: absent}"));
}
