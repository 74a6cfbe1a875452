//! The text of an operator's variable or of a node's answer is never run as code, neither by a check nor by a deploy.

use serde_json::json;

use crate::harness::{Project, TestNode};

/// Returns a value with several ways to make a shell create a file.
fn hostile(file: &str) -> String {
    format!("a; touch {file}; $(touch {file}) `touch {file}` ' \" '; touch {file}; '")
}

#[test]
fn a_value_of_an_operator_or_of_a_node_makes_no_file_in_a_check_nor_in_a_deploy() {
    let node = TestNode::bare();
    let role = r#"defaults:
  of_role: {type: string, default: "a; touch /root/F-role"}
tasks:
  - {name: Role, command: {cmd: "echo {{ of_role }}", reads: true}}
  - {name: Node, command: {argv: [printf, "%s", "a; touch /root/F-node"], reads: true}, register: node}
  - {name: Of the node, command: {cmd: "echo {{ node.stdout }}", reads: true}}
  - {name: Inventory, command: {cmd: "echo {{ of_inventory }} \"$(echo {{ of_inventory }})\"", reads: true}}
  - {name: Extra, command: {cmd: "printf %s {{ of_extra }} >/root/extra", unless: "test -e /root/extra && test {{ of_extra }} != a"}}
"#;
    let project = Project::toy(&[("node", &node)], role);
    project.inventory(&[("node", &node, &format!("of_inventory: {}", json!(hostile("/root/F-inventory"))))], "toy", "");
    let extra = hostile("/root/F-extra");
    let variables = json!({"of_extra": extra}).to_string();
    let files = || node.sh("cd /root; ls -d F-* 2>/dev/null || true");
    let check = project.json(&["deploy", "--check", "-e", &variables]);
    check.assert_code(0);
    assert_eq!(check.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/Extra"]);
    assert_eq!(files(), "");
    let deploy = project.json(&["deploy", "-e", &variables]);
    deploy.assert_code(0);
    assert_eq!(files(), "");
    assert_eq!(node.sh("cat /root/extra"), extra);
    project.json(&["deploy", "--detailed-exitcode", "-e", &variables]).assert_code(0);
    assert_eq!(files(), "");
}
