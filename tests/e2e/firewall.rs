//! ufw on a real node: `ufw status` shows what is declared, and no rule cuts the connection of the run.

use crate::harness::{Project, TestNode, lab};

/// Returns a role that installs ufw and has these further tasks (as YAML).
fn role(tasks: &str) -> String {
    format!("description: t\ntasks:\n  - {{name: Install, apt: {{name: ufw}}}}\n{tasks}")
}

const ENABLE: &str = "  - {name: Enable, ufw: {state: enabled, policy: deny}}\n";
const SSH: &str = "  - {name: Keep SSH, ufw: {rule: allow, port: 22, proto: tcp, comment: autobot ssh}}\n";

#[test]
fn a_rule_set_that_would_cut_this_connection_is_refused_before_it_is_made() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], &role(""));
    let controller = node.address.to_string().rsplit_once('.').map(|(network, _)| format!("{network}.1")).unwrap();
    let assert_cut = |words: &str| {
        assert!(words.starts_with(&format!("this would cut the connection that this run uses: {controller} could")), "{words}");
    };

    // ufw is not installed yet, and the cut is predicted nevertheless.
    assert_cut(&project.is_refused(&role(ENABLE)));
    assert!(!node.try_sh("test -e /usr/sbin/ufw").status.success(), "refused before the first change");
    let elsewhere = "  - {name: Others, ufw: {rule: allow, port: 22, proto: tcp, from_ip: 203.0.113.0/24}}\n";
    assert_cut(&project.is_refused(&role(&format!("{elsewhere}{ENABLE}"))));
    let denied = format!("  - {{name: Not us, ufw: {{rule: deny, port: 22, proto: tcp, from_ip: {controller}}}}}\n");
    assert_cut(&project.is_refused(&role(&format!("{denied}{SSH}{ENABLE}"))));

    // With the rule that the refusal asks for, it works, and the next run reaches the node.
    let words = project.is_refused(&role(ENABLE));
    assert!(words.contains(&format!("`ufw: {{rule: allow, port: 22, proto: tcp, from_ip: {controller}}}`")), "{words}");
    let asked_for = format!("  - {{name: Us, ufw: {{rule: allow, port: 22, proto: tcp, from_ip: {controller}}}}}\n");
    project.converges(&role(&format!("{asked_for}{ENABLE}")));
    assert!(node.sh("ufw status").starts_with("Status: active"));

    // The firewall is active now: deleting the rule is refused, unless another one is added first.
    let gone =
        format!("  - {{name: Us no more, ufw: {{rule: allow, port: 22, proto: tcp, from_ip: {controller}, delete: true}}}}\n");
    assert_cut(&project.is_refused(&role(&gone)));
    assert!(node.sh("ufw status").contains(&controller), "the rule is still there");
    project.converges(&role(&format!("{SSH}{gone}")));
    assert!(!node.sh("ufw status").contains(&controller));
    // A denial after the rule that lets us in cuts nothing; one that replaces the rule would.
    assert_cut(&project.is_refused(&role("  - {name: Closed, ufw: {rule: deny, port: 22, proto: tcp}}\n")));
    project.converges(&role(&denied));
}

#[test]
fn what_is_declared_is_what_ufw_says_and_declaring_it_again_changes_nothing() {
    let node = TestNode::bare();
    let rules = "  - {name: Limit, ufw: {rule: limit, port: 2222, proto: tcp, comment: slow down}}
  - {name: From, ufw: {rule: allow, port: 6379, proto: tcp, from_ip: 198.18.0.0/16, comment: autobot redis}}
  - {name: Host, ufw: {rule: reject, from_ip: 203.0.113.7}}
  - {name: Range, ufw: {rule: allow, port: \"7000:7010\", proto: udp}}
  - {name: To, ufw: {rule: allow, port: 8080, proto: tcp, to_ip: 198.18.0.9}}
  - {name: Both, ufw: {rule: allow, port: 53}}
  - {name: Logs, ufw: {logging: medium}}
";
    let declared = role(&format!("{SSH}{rules}{ENABLE}"));
    let project = Project::toy(&[("node", &node)], &declared);
    project.converges(&declared);
    let status = node.sh("ufw status verbose");
    let v4: Vec<String> = status
        .lines()
        .filter(|line| !line.contains("(v6)") && ["LIMIT", "ALLOW", "REJECT"].iter().any(|word| line.contains(word)))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    insta::assert_snapshot!(v4.join("\n"), @"
    22/tcp ALLOW IN Anywhere # autobot ssh
    2222/tcp LIMIT IN Anywhere # slow down
    6379/tcp ALLOW IN 198.18.0.0/16 # autobot redis
    Anywhere REJECT IN 203.0.113.7
    7000:7010/udp ALLOW IN Anywhere
    198.18.0.9 8080/tcp ALLOW IN Anywhere
    53 ALLOW IN Anywhere
    ");
    assert!(status.contains("Status: active") && status.contains("Logging: on (medium)"), "{status}");
    assert!(status.contains("Default: deny (incoming), allow (outgoing)"), "{status}");

    // Another comment or action changes a rule in its position; a deleted rule is gone, and stays so.
    let changed = role(
        "  - {name: Limit, ufw: {rule: deny, port: 2222, proto: tcp, comment: closed}}
  - {name: From, ufw: {rule: allow, port: 6379, proto: tcp, from_ip: 198.18.0.0/16, comment: fleet}}
  - {name: Range, ufw: {rule: allow, port: \"7000:7010\", proto: udp, delete: true}}
",
    );
    project.converges(&changed);
    let status = node.sh("ufw status");
    assert!(!status.contains("7000") && status.contains("# fleet") && !status.contains("# autobot redis"), "{status}");
    let denied = status.lines().find(|line| line.starts_with("2222/tcp ")).unwrap_or_default();
    assert!(denied.contains("DENY") && denied.ends_with("# closed"), "{status}");

    // It still holds after a reboot.
    lab().reboot(&node.name).unwrap();
    let again = project.json(&["deploy", "--detailed-exitcode"]);
    again.assert_code(0);
    assert!(node.sh("ufw status").starts_with("Status: active"));
}

const REDIS: &str = "  - {name: Redis, ufw: {rule: allow, port: 6379, proto: tcp, from_ip: 198.18.0.0/16, only: true}}\n";

/// Returns a role that has these further tasks and whose health checks declare the same as [`REDIS`] and [`ENABLE`].
fn role_with_health(tasks: &str) -> String {
    let health = "health:
  - {name: It is on, read: {ufw: {state: enabled, policy: deny}}}
  - {name: Only the fleet, read: {ufw: {rule: allow, port: 6379, proto: tcp, from_ip: 198.18.0.0/16, only: true}}}
  - {name: SSH listens, read: {listening: {port: 22}}}
";
    format!("{}{health}", role(tasks))
}

/// Returns what the health checks of the node say that is wrong.
fn complaints(project: &Project) -> String {
    let health = project.json(&["health"]);
    let failed: Vec<String> =
        health.tasks("node").into_iter().filter(|task| task.status == "failed").map(|task| task.error).collect();
    health.assert_code(i32::from(!failed.is_empty()));
    failed.join("\n")
}

#[test]
fn a_firewall_that_is_not_in_the_kernel_is_red_and_loaded_again() {
    let node = TestNode::bare();
    let declared = role_with_health(&format!("{SSH}{REDIS}{ENABLE}"));
    let project = Project::toy(&[("node", &node)], &declared);
    project.converges(&declared);
    assert_eq!(complaints(&project), "");
    let chains = || node.sh("iptables -S | sort; ip6tables -S | sort");
    let whole = chains();
    let in_place = "the kernel has `-A ufw-user-input -p tcp -m tcp --dport 6379 -j ACCEPT` in place of `";
    let flush = "for t in iptables ip6tables; do $t -F; $t -P INPUT ACCEPT; $t -P FORWARD ACCEPT; $t -X; done";
    for (damage, words) in [
        (flush, "ufw's IPv4 chains are not in the kernel"),
        ("ip6tables -F; ip6tables -P INPUT ACCEPT; ip6tables -X", "ufw's IPv6 chains are not in the kernel"),
        ("iptables -P INPUT ACCEPT; iptables -F INPUT", "INPUT does not lead to ufw's IPv4 rules in the kernel"),
        ("iptables -P INPUT ACCEPT", "the IPv4 policy of INPUT is ACCEPT in the kernel"),
        (
            "iptables -I ufw-user-input -p tcp --dport 6379 -j ACCEPT",
            "the kernel has `-A ufw-user-input -p tcp -m tcp --dport 6379 -j ACCEPT`, which is not in /etc/ufw/user.rules",
        ),
        ("iptables -R ufw-user-input 2 -p tcp --dport 6379 -j ACCEPT", in_place),
        (
            "iptables -I ufw-before-input -p tcp --dport 6379 --syn -j ACCEPT",
            "the kernel has `-A ufw-before-input -p tcp -m tcp --dport 6379 --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT`, which is in no file",
        ),
        (
            "ip6tables -A ufw6-track-input ! -s 2001:db8::/32 -p tcp --dport 6379 -m limit --limit 9/s -j ACCEPT",
            "the kernel has `-A ufw6-track-input ! -s 2001:db8::/32 -p tcp -m tcp --dport 6379 -m limit --limit 9/sec -j ACCEPT`, which is",
        ),
    ] {
        node.sh(damage);
        let said = complaints(&project);
        assert_eq!(said.matches(words).count(), 1, "it is said once: {damage}: {said}");
        assert_eq!(said.matches("does not guard this port: see the check of the firewall").count(), 1, "{damage}: {said}");
        let deploy = project.converges(&declared);
        assert_eq!(deploy.ids("node", "changed").len(), 1, "{damage}: {}", deploy.stdout);
        assert_eq!(chains(), whole, "{damage}");
        assert_eq!(complaints(&project), "");
    }

    // A rule that is missing as well is written first, and what is loaded is whole.
    node.sh(&format!("ufw delete allow proto tcp from 198.18.0.0/16 to any port 6379; {flush}"));
    project.converges(&declared);
    assert_eq!(node.sh("iptables -S | sort; ip6tables -S | sort"), whole);

    // It starts at boot.
    let until_boot = "systemctl disable ufw; systemctl enable --runtime ufw";
    for (damage, word) in
        [("systemctl disable ufw", "disabled"), ("systemctl mask ufw", "masked"), (until_boot, "enabled-runtime")]
    {
        node.sh(damage);
        assert!(complaints(&project).contains(&format!("ufw.service is {word}")));
        project.converges(&declared);
        assert_eq!(node.sh("systemctl is-enabled ufw"), "enabled");
    }

    // Where ufw makes no rules for IPv6, its policy alone keeps packets out.
    node.sh("sed -i s/^IPV6=yes/IPV6=no/ /etc/default/ufw; ufw reload");
    project.converges(&declared);
    let whole = chains();
    node.sh("ip6tables -P INPUT ACCEPT");
    assert_eq!(complaints(&project).matches("every IPv6 packet is let in, although `IPV6=no` means that none is").count(), 1);
    project.converges(&declared);
    assert_eq!((chains(), complaints(&project)), (whole, String::new()));

    // What is said of a firewall that was reset is not about the run's connection.
    node.sh("ufw --force reset");
    let said = complaints(&project);
    assert!(said.contains("the firewall is disabled") && !said.contains("cut the connection"), "{said}");
}

#[test]
fn what_opens_the_port_besides_or_shuts_it_before_is_deleted_or_refused() {
    let node = TestNode::bare();
    let declared = role_with_health(&format!("{SSH}{REDIS}{ENABLE}"));
    let project = Project::toy(&[("node", &node)], &declared);
    project.converges(&declared);
    node.sh("printf '[Red Full]\\ntitle=r\\ndescription=r\\nports=6379,26379/tcp|26379/udp\\n\\n[My Red]\\ntitle=r\\ndescription=r\\nports=6379/tcp\\n' > /etc/ufw/applications.d/red");

    for rule in [
        "allow 6000:7000/tcp",
        "allow 6379,8001/tcp",
        "limit 6000:7000/tcp",
        "allow log 6000:7000/tcp",
        "allow in on eth0 to any port 6000:7000 proto tcp",
        "allow from 203.0.113.0/24",
        "allow from 2001:db8::1",
        "allow 'Red Full'",
    ] {
        node.sh(&format!("ufw {rule}"));
        let refused = project.is_refused(&declared);
        assert!(
            refused.starts_with("6379 is open to ") && refused.contains(&format!(" by `{rule}`, which opens more")),
            "{refused}"
        );
        assert_eq!(complaints(&project), refused);
        let accepted = declared.replace("only: true", &format!("only: true, accepted: [\"{rule}\"]"));
        project.converges(&accepted);
        assert_eq!(complaints(&project), "");
        node.sh(&format!("ufw delete {rule}"));
    }
    // What names this port alone goes, in every form.
    node.sh("ufw allow 6379; ufw limit log 6379/tcp; ufw allow in on eth0 to any port 6379 proto tcp; ufw allow 'My Red'; ufw allow from 203.0.113.0/24 to any app 'My Red'");
    assert!(complaints_of(&project, &declared).contains("6379 is open to Anywhere by `allow 'My Red'`"));
    project.converges(&declared);
    let added = node.sh("ufw show added");
    assert_eq!(added.matches("6379").count() + added.matches("Red").count(), 1, "{added}");

    let deny = "deny from 198.18.0.0/16 to any port 6379";
    node.sh(&format!("ufw insert 1 {deny}"));
    let refused = project.is_refused(&declared);
    assert!(
        refused.starts_with(&format!("6379 is shut to 198.18.0.0/16 by rule 1 of `ufw status numbered`, `{deny}`, which")),
        "{refused}"
    );
    assert_eq!(complaints(&project), refused);
    node.sh(&format!("ufw delete {deny}"));
    // Rules that ufw does not show, wherever they are and in whatever form; the refusal has the command that deletes them.
    let mine =
        "iptables -N mine; iptables -A mine -p tcp --dport 6379 -m limit --limit 100/s -j ACCEPT; iptables -A INPUT -j mine";
    for made in [
        "iptables -I INPUT -p tcp --dport 6379 -j ACCEPT",
        "iptables -A INPUT -p tcp --dport 6379 -j ACCEPT",
        "ip6tables -A INPUT -p tcp --dport 6379 -j ACCEPT",
        "iptables -A INPUT -p tcp --dport 6379 --syn -j ACCEPT",
        "iptables -A INPUT ! -s 10.0.0.0/8 -p tcp -m multiport --dports 6379,8001 -j ACCEPT",
        "iptables -A INPUT -m mark --mark 1 -j ACCEPT",
        mine,
    ] {
        node.sh(made);
        let refused = project.is_refused(&declared);
        assert!(refused.starts_with("6379 is open to ") && refused.contains("`, which is not ufw's"), "{made}: {refused}");
        assert_eq!(complaints(&project), refused);
        let words = refused.split_once(" by `").unwrap().1.split_once('`').unwrap().0;
        project.converges(&declared.replace("only: true", &format!("only: true, accepted: ['{words}']")));
        project.write("roles/toy/role.yml", &declared);
        let (_, delete) = refused.split_once("and now (`").unwrap();
        node.sh(delete.split_once('`').unwrap().0);
        assert_eq!(complaints(&project), "");
    }
    node.sh("iptables -D INPUT -j mine; iptables -X mine");
    let before = "sed -i '/^COMMIT/i -A ufw-before-input -p tcp --dport 6379 -j ACCEPT' /etc/ufw/before.rules; ufw reload";
    node.sh(before);
    let refused = project.is_refused(&declared);
    let words =
        "by `-A ufw-before-input -p tcp -m tcp --dport 6379 -j ACCEPT`, which is in /etc/ufw/before.rules: delete it there";
    assert!(refused.contains(words), "{refused}");
    assert_eq!(complaints(&project), refused);
    node.sh("sed -i '/--dport 6379/d' /etc/ufw/before.rules; ufw reload");
    assert_eq!(complaints_of(&project, &declared), "");

    // Where ufw makes no rules for IPv6, check and deploy say so in its words.
    node.sh("sed -i s/^IPV6=yes/IPV6=no/ /etc/default/ufw; ufw reload");
    let six = role("  - {name: Six, ufw: {rule: allow, port: 1234, proto: tcp, from_ip: \"2001:db8::2\"}}\n");
    assert!(project.is_refused(&six).contains("IPv6 support not enabled"));
    assert!(node.sh("ufw allow from 2001:db8::2 to any port 1234 2>&1 || true").contains("IPv6 support not enabled"));
}

/// Returns what the health checks of a role say that is wrong.
fn complaints_of(project: &Project, role: &str) -> String {
    project.write("roles/toy/role.yml", role);
    complaints(project)
}
