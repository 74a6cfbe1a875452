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
