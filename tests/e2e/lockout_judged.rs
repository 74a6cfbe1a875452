//! What would lock a run out is refused before it is live: by the answers, in check and deploy alike, or by the program that reads the files.

use crate::harness::{Project, TestNode};

/// Returns a role with these tasks (as YAML).
fn role(tasks: &str) -> String {
    format!("description: t\ntasks:\n{tasks}")
}

const KEYS: &str = "/home/autobot/.ssh/authorized_keys";
const STATE: &str = "id autobot; getent passwd autobot; getent group sudo; stat -c '%a %U %n' /home /home/autobot /home/autobot/.ssh; \
                     sha256sum /home/autobot/.ssh/authorized_keys; systemctl is-active ssh; systemctl is-enabled ssh; \
                     find /etc/ssh /etc/sudoers /etc/sudoers.d -type f -printf '%p %m %U %s %T@\\n'";

#[test]
fn our_account_and_the_ssh_server_are_left_alone_in_check_and_deploy_alike() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], &role("  - {name: None, file: {path: /etc/none, state: absent}}\n"));
    node.sh("usermod -aG sudo autobot; systemctl enable ssh");
    let before = node.sh(STATE);
    let ours =
        "`autobot` is the account with which this run logs in; to do it on purpose, log in as another user (`ansible_user`)";
    for (task, would) in [
        (format!("file: {{path: {KEYS}, state: absent}}"), format!("this would remove `{KEYS}`, and {ours}")),
        ("file: {path: /home/autobot, state: absent}".into(), format!("this would remove `/home/autobot`, and {ours}")),
        (
            "file: {path: /home/autobot, state: directory, mode: \"0777\"}".into(),
            format!("this would let every user write to `/home/autobot`, where sshd then takes no key, and {ours}"),
        ),
        (format!("copy: {{dest: {KEYS}, content: \"\"}}"), format!("this would leave no key in `{KEYS}`, and {ours}")),
        (
            format!("lineinfile: {{path: {KEYS}, regexp: \"^ssh-\", state: absent}}"),
            format!("this would leave no key in `{KEYS}`, and {ours}"),
        ),
        ("user: {name: autobot, state: absent}".into(), format!("this would remove an account, and {ours}")),
        (
            "user: {name: autobot, shell: /usr/sbin/nologin}".into(),
            format!("this would make `/usr/sbin/nologin` the shell of an account, and {ours}"),
        ),
        (
            "user: {name: autobot, home: /srv/autobot}".into(),
            format!("this would make `/srv/autobot`, where its keys are not, the home of an account, and {ours}"),
        ),
        (
            "user: {name: autobot, groups: [users]}".into(),
            format!(
                "this would take an account out of the group `sudo`, which sudo's or sshd's files name (`append: true` keeps it there), and {ours}"
            ),
        ),
        (
            "group: {name: sudo, state: absent}".into(),
            format!("this would remove the group `sudo`, by which an account comes in or becomes root, and {ours}"),
        ),
        (
            "systemd: {name: ssh, state: stopped}".into(),
            "this would stop `ssh.service`, the ssh server through which this run has come in".into(),
        ),
        (
            "systemd: {name: sshd, enabled: false}".into(),
            "this would disable `sshd.service`, the ssh server through which this run has come in".into(),
        ),
        (
            "apt: {name: openssh-server, state: absent}".into(),
            "this would remove `openssh-server`, the ssh server through which this run has come in".into(),
        ),
        (
            "apt: {name: sudo, state: absent}".into(),
            format!("this would remove `sudo`, by which an account becomes root, and {ours}"),
        ),
        (
            "copy: {dest: /etc/sudoers.d/x, content: \"# x\\n\", mode: \"0666\"}".into(),
            "sudo would not take `/etc/sudoers.d/x`, because every user could write to it".into(),
        ),
    ] {
        // In check and deploy alike, before the change of the task above it.
        let marker = "  - {name: Mark, file: {path: /etc/marker, state: touch}}\n";
        let words = project.is_refused(&role(&format!("{marker}  - {{name: Lock us out, {task}}}\n")));
        assert!(words.starts_with(&would), "{task}: {words}");
    }
    assert_eq!(node.sh(STATE), before);
    assert!(!node.try_sh("test -e /etc/marker").status.success());
    // Of another account all of this is a change.
    node.sh("useradd -m -G sudo other && install -d -m 700 -o other ~other/.ssh && echo ssh-rsa x >~other/.ssh/authorized_keys");
    project.converges(&role(
        "  - {name: A, copy: {dest: /home/other/.ssh/authorized_keys, content: \"\", owner: other}}
  - {name: B, user: {name: other, shell: /usr/sbin/nologin, groups: []}}
",
    ));
    let gone = "  - {name: D, user: {name: other, state: absent}}\n  - {name: E, file: {path: /home/other, state: absent}}\n";
    project.converges(&role(gone));
}

#[test]
fn what_sshd_or_sudo_would_refuse_is_never_live() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], &role("  - {name: None, file: {path: /etc/none, state: absent}}\n"));
    node.sh("printf 'Host_Alias HERE = 127.0.0.1\\n' >/etc/sudoers.d/a; printf 'ALL HERE = (games) /bin/true\\n' >/etc/sudoers.d/b; chmod 0440 /etc/sudoers.d/*");
    let before = node.sh(STATE);
    for (task, program, words) in [
        (
            "copy: {dest: /etc/ssh/sshd_config.d/x.conf, content: \"Nonsense yes\\n\"}",
            "sshd -t",
            "/etc/ssh/sshd_config.d/x.conf: line 1: Bad configuration option: Nonsense",
        ),
        ("lineinfile: {path: /etc/ssh/sshd_config, line: \"Port lots\"}", "sshd -t", "Badly formatted port number"),
        ("blockinfile: {path: /etc/ssh/sshd_config, block: \"Match Host\"}", "sshd -t", "Bad Match condition"),
        ("file: {path: /etc/ssh/sshd_config, state: absent}", "sshd -t", "/etc/ssh/sshd_config: No such file or directory"),
        (
            "copy: {dest: /etc/sudoers.d/x, content: \"autobot ALL=(ALL NOPASSWD: ALL\\n\", mode: \"0440\"}",
            "visudo -c",
            "/etc/sudoers.d/x:1:",
        ),
        ("lineinfile: {path: /etc/sudoers, line: \"nonsense (\"}", "visudo -c", "/etc/sudoers:"),
        ("file: {path: /etc/sudoers, state: absent}", "visudo -c", "without it no user may do anything"),
        ("file: {path: /etc/ssh, state: absent}", "sshd -t", "/etc/ssh/sshd_config: No such file or directory"),
    ] {
        let project_role = role(&format!("  - {{name: Lock us out, {task}}}\n"));
        let error = project.fails(&project_role).failure("node");
        assert!(error.contains(&format!("`{program}` refuses the files as they would be, so /etc/")), "{task}: {error}");
        assert!(error.contains(words), "{task}: {error}");
        assert_eq!(node.sh(STATE), before, "{task}");
    }
    // What is good, with all that these files may be.
    let good = "  - {name: A, copy: {dest: /etc/ssh/sshd_config.d/x.conf, content: \"MaxSessions 20\\n\"}}
  - {name: B, copy: {dest: /etc/sudoers.d/x, content: \"games ALL=(ALL) NOPASSWD: /bin/true\\n\"}}
  - {name: C, lineinfile: {path: /etc/ssh/sshd_config, line: \"LoginGraceTime 60\", insertbefore: BOF}}
  - {name: D, file: {path: /etc/sudoers.d/x, mode: \"0400\"}}
";
    project.converges(&role(good));
    assert_eq!(
        node.sh("sshd -T | grep -i -e maxsessions -e logingracetime; stat -c '%a %U' /etc/sudoers.d/x"),
        "logingracetime 60\nmaxsessions 20\n400 root"
    );
    project.converges(&role("  - {name: E, file: {path: /etc/ssh/sshd_config.d/x.conf, state: absent}}\n"));
    // What is wrong already is named, and does not hold up what makes it no worse.
    node.sh("echo 'Wrong yes' >>/etc/ssh/sshd_config");
    let error = project
        .fails(&role("  - {name: F, copy: {dest: /etc/ssh/sshd_config.d/x.conf, content: \"Nonsense yes\\n\"}}\n"))
        .failure("node");
    assert!(
        error.contains("Nonsense") && error.contains("the files were wrong before, too: /etc/ssh/sshd_config: line"),
        "{error}"
    );
    project.converges(&role("  - {name: G, copy: {dest: /etc/ssh/sshd_config.d/x.conf, content: \"MaxSessions 21\\n\"}}\n"));
    project.converges(&role("  - {name: H, lineinfile: {path: /etc/ssh/sshd_config, line: \"Wrong yes\", state: absent}}\n"));
    assert_eq!(node.sh("sshd -t 2>&1; systemctl is-active ssh; ls -A /etc/sudoers.d | grep autobot- || :"), "active");
}
