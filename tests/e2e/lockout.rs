//! A change that ends the way in is put back: by the run while its connection lasts, otherwise by the node itself.

use crate::harness::{Project, TestNode, eventually, lab};

/// What a guarded change may leave behind while it is under way, and after it.
const LEFT: &str = "ls -d /var/lib/autobot-provision/way-in* /etc/systemd/system/autobot-provision-revert* \
    /etc/systemd/system/*.wants/autobot-provision-revert* 2>/dev/null || :
    systemctl show -p ActiveState --value autobot-provision-revert.service";
const NOTHING_LEFT: &str = "inactive";

fn role(tasks: &str) -> String {
    format!("description: t\ntasks:\n{tasks}handlers:\n  - {{name: restart ssh, systemd: {{name: ssh, state: restarted}}}}\n")
}

/// Deploys a role that locks the run out, and asserts that all is as before, except for what is expected in `kept`.
#[track_caller]
fn is_put_back(node: &TestNode, project: &Project, tasks: &str, words: &[&str]) {
    let state = "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* /etc/sudoers.d/* /home/*/.ssh/authorized_keys; find /etc/ssh /etc/sudoers.d /home \
        -printf '%M %u:%g %p\\n' | sort; grep -h . /etc/passwd /etc/shadow /etc/group | sort";
    let before = node.sh(state);
    project.write("roles/toy/role.yml", &role(tasks));
    let check = project.json(&["deploy", "--check"]);
    check.assert_code(0);
    assert_eq!(node.sh(state), before, "a check changes nothing");
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(1);
    let error = deploy.failure("host");
    for words in words {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(error.ends_with("; a new login works again"), "{error}");
    let after = node.sh(state);
    let (gone, new): (Vec<&str>, Vec<&str>) = (
        before.lines().filter(|line| !after.lines().any(|other| other == *line)).collect(),
        after.lines().filter(|line| !before.lines().any(|other| other == *line)).collect(),
    );
    assert!(before == after, "gone: {gone:#?}\nnew: {new:#?}\n{error}");
    assert_eq!(node.sh(LEFT), NOTHING_LEFT, "{error}");
    project.write("roles/toy/role.yml", &role("  - {name: Nothing, file: {path: /etc/ssh, state: directory}}\n"));
    project.run(&["deploy"]).assert_code(0);
}

#[test]
fn what_ends_the_way_in_is_put_back_while_the_connection_lasts() {
    let node = TestNode::bare();
    let project = Project::toy(&[("host", &node)], &role(""));
    let user = node.sh("ls /home");
    let notify = "notify: restart ssh";
    let after = "after this a new login fails: ";
    is_put_back(
        &node,
        &project,
        &format!("  - {{name: Port, lineinfile: {{path: /etc/ssh/sshd_config, line: Port 2200}}, {notify}}}\n"),
        &[after, "refuses the connection", "put back: `/etc/ssh/sshd_config`, ssh.service was restarted"],
    );
    is_put_back(
        &node,
        &project,
        &format!(
            "  - {{name: Users, copy: {{dest: /etc/ssh/sshd_config.d/10-users.conf, content: \"AllowUsers other\\n\"}}, {notify}}}\n"
        ),
        &[after, "put back: `/etc/ssh/sshd_config.d/10-users.conf`, ssh.service was restarted"],
    );
    is_put_back(
        &node,
        &project,
        &format!(
            "  - {{name: Asks, copy: {{dest: /etc/sudoers.d/zz-asks, content: \"{user} ALL=(ALL) PASSWD: ALL\\n\", mode: '0440'}}}}\n"
        ),
        &[after, "put back: `/etc/sudoers.d/zz-asks`"],
    );
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZ2Z2Z2Z2Z2Z2Z2Z2Z2Z2Z2Z2Z2Z2Z2Z2Z2Z2Z2 other";
    is_put_back(
        &node,
        &project,
        &format!(
            "  - {{name: Keys, copy: {{dest: /home/{user}/.ssh/authorized_keys, owner: {user}, mode: '0600', content: \"{key}\\n\"}}}}\n"
        ),
        &[after, &format!("put back: `/home/{user}/.ssh/authorized_keys`")],
    );
    is_put_back(
        &node,
        &project,
        "  - {name: Tries, command: {cmd: 'echo Port 2200 >>/etc/ssh/sshd_config; systemctl restart ssh; false', creates: /run/never}, may_lock_out: true, \
         retries: 1, delay: 0}\n",
        &["exit status 1", after, "put back: `/etc/ssh/sshd_config`, ssh.service was restarted"],
    );
    is_put_back(
        &node,
        &project,
        &format!(
            "  - {{name: Lock, command: {{cmd: usermod -s /usr/sbin/nologin {user}, unless: grep -q nologin$ /etc/passwd.none}}, may_lock_out: true}}\n"
        ),
        &[&format!("put back: the account {user} in /etc/passwd")],
    );
}

#[test]
fn a_good_change_is_proved_and_leaves_nothing_behind() {
    let node = TestNode::bare();
    let tasks = "  - {name: Wait, copy: {dest: /etc/ssh/sshd_config.d/10-grace.conf, content: \"LoginGraceTime 42\\n\"}, notify: restart ssh}\n";
    let project = Project::toy(&[("host", &node)], &role(tasks));
    let logins = || node.sh("journalctl -q -o cat -u ssh | grep -c ^Accepted").parse::<u32>().unwrap();
    let before = logins();
    project.json(&["deploy"]).assert_code(0);
    assert_eq!(node.sh(LEFT), NOTHING_LEFT);
    assert_eq!(logins() - before, 4, "to deploy, to try it beforehand, after the change, and after the restart");
    let again = project.json(&["deploy"]);
    again.assert_code(0);
    assert_eq!(again.ids("host", "changed").len(), 0);
    assert_eq!(logins() - before, 5, "nothing of the kind changes, so nothing is proved");
}

#[test]
fn access_that_is_taken_away_on_purpose_stays_away() {
    let node = TestNode::bare();
    let tasks = "  - {name: Wait, copy: {dest: /etc/ssh/sshd_config.d/10-grace.conf, content: \"LoginGraceTime 42\\n\"}, notify: restart ssh}
  - {name: Users, copy: {dest: /etc/ssh/sshd_config.d/10-users.conf, content: \"AllowUsers other\\n\"}, revert: never}\n";
    let project = Project::toy(&[("host", &node)], &role(tasks));
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(1);
    assert!(deploy.failure("host").contains("put back: `/etc/ssh/sshd_config.d/10-grace.conf`"), "{}", deploy.stdout);
    let users = || node.sh("cat /etc/ssh/sshd_config.d/10-users.conf");
    assert_eq!(users(), "AllowUsers other", "it stays, though another change was put back");

    node.sh("rm /etc/ssh/sshd_config.d/10-*; systemctl restart ssh");
    let tasks = "  - {name: Users, copy: {dest: /etc/ssh/sshd_config.d/10-users.conf, content: \"AllowUsers other\\n\"}, revert: never, notify: restart ssh}\n";
    project.write("roles/toy/role.yml", &role(tasks));
    project.json(&["deploy"]).assert_code(0);
    assert_eq!((users().as_str(), node.sh(LEFT).as_str()), ("AllowUsers other", NOTHING_LEFT));
    project.run(&["ping"]).assert_code(3);
}

#[test]
fn what_is_not_live_yet_goes_back_when_the_power_is_cut() {
    let node = TestNode::bare().with_gates();
    let tasks = "  - {name: Users, copy: {dest: /etc/ssh/sshd_config.d/10-users.conf, content: \"AllowUsers other\\n\"}, notify: restart ssh}
  - {name: Gate, command: {cmd: gate later, creates: /run/never}}\n";
    let project = Project::toy(&[("host", &node)], &role(tasks));
    node.shut("later");
    let run = project.start(&["deploy"]);
    node.await_at("later");
    assert_eq!(node.sh("systemctl is-active autobot-provision-revert || :"), "inactive", "it is disarmed before the next item");
    lab().cut_power(&node.name).unwrap();
    run.kill();
    lab().start(&node.name).unwrap();
    let next = project.run(&["deploy", "--check"]);
    next.assert_code(1);
    assert!(next.said().contains("put it back: `/etc/ssh/sshd_config.d/10-users.conf`"), "{}", next.said());
    assert!(!node.try_sh("test -e /etc/ssh/sshd_config.d/10-users.conf").status.success());
}

#[test]
fn a_run_that_could_not_prove_the_way_in_begins_nothing() {
    let node = TestNode::bare();
    // A second login is refused while a run holds the node.
    node.sh(
        "printf '#!/bin/sh\\n[ ! -e /run/autobot-provision/lock ]\\n' >/usr/local/bin/first && chmod 755 /usr/local/bin/first
        printf 'account required pam_exec.so /usr/local/bin/first\\n' >>/etc/pam.d/sshd",
    );
    let tasks = "  - {name: Other, copy: {dest: /etc/other, content: x}}
  - {name: Port, lineinfile: {path: /etc/ssh/sshd_config, line: Port 2200}}\n";
    let project = Project::toy(&[("host", &node)], &role(tasks));
    let deploy = project.run(&["deploy"]);
    deploy.assert_code(1);
    assert!(deploy.said().contains("a second login, which must prove it afterwards, is not possible: "), "{}", deploy.said());
    assert!(!node.try_sh("test -e /etc/other").status.success(), "refused before the first change");
}

/// Cuts this connection and every new one, until the rule is gone.
const CUT: &str = "  - {name: Cut, command: {cmd: 'touch /run/cut && nft add table inet cut && nft add chain inet cut in \"{ type filter hook input priority 0; }\" && nft add rule inet cut in tcp dport 22 drop; gate cut', creates: /run/cut}, may_lock_out: true}\n";

#[test]
fn the_node_lets_the_next_login_in_by_itself_when_the_link_is_lost() {
    let node = TestNode::bare().with_gates();
    node.sh("apt-get -q update >/dev/null; apt-get -q install -y --no-install-recommends nftables >/dev/null");
    let project = Project::toy(&[("host", &node)], &role(CUT));
    for when in ["in the change", "after it"] {
        node.sh("rm -f /run/cut");
        if when == "in the change" {
            node.shut("cut");
        }
        let deploy = project.json(&["deploy"]);
        deploy.assert_code(1);
        let error = deploy.failure("host");
        assert!(error.contains("the node put the way in back by itself: the firewall's table inet cut"), "{when}: {error}");
        assert_eq!(node.sh(LEFT), NOTHING_LEFT, "{when}");
        node.open("cut");
        project.run(&["ping"]).assert_code(0);
    }
}

#[test]
fn what_a_killed_run_has_changed_is_put_back_and_told_by_the_next_one() {
    let node = TestNode::bare().with_gates();
    let tasks = "  - {name: Ports, command: {cmd: 'echo Port 2200 >>/etc/ssh/sshd_config; systemctl restart ssh; gate ports', creates: /run/ports}, may_lock_out: true}\n";
    let project = Project::toy(&[("host", &node)], &role(tasks));
    for how in ["killed", "power cut"] {
        node.sh("rm -f /run/ports");
        node.shut("ports");
        let run = project.start(&["deploy"]);
        node.await_at("ports");
        run.kill();
        if how == "power cut" {
            lab().cut_power(&node.name).unwrap();
            lab().start(&node.name).unwrap();
        }
        eventually("the node puts the way in back", 90, || {
            node.try_sh("test -e /var/lib/autobot-provision/way-in.reverted && test ! -e /run/autobot-provision").status.success()
        });
        assert!(!node.sh("cat /etc/ssh/sshd_config").contains("2200"), "{how}");
        node.open("ports");
        node.sh("touch /run/ports");
        let next = project.run(&["deploy"]);
        next.assert_code(1);
        assert!(next.said().contains("put it back: `/etc/ssh/sshd_config`"), "{how}: {}", next.said());
        project.run(&["deploy"]).assert_code(0);
        assert_eq!(node.sh(LEFT), NOTHING_LEFT, "{how}");
    }
}
