//! The shortest test of everything: a bare node is checked, deployed, and deployed again.

use std::collections::BTreeSet;

use crate::harness::{Project, TestNode};

#[test]
fn role_redis_on_a_bare_node_is_predicted_made_and_then_left_alone() {
    let node = TestNode::bare();
    let project = Project::shipped(&[("database_vm", &node, "")]);
    let check = project.json(&["deploy", "--role", "redis", "--limit", "database_vm", "--check"]);
    check.assert_code(0);
    let deploy = project.json(&["deploy", "--role", "redis", "--limit", "database_vm"]);
    deploy.assert_code(0);
    assert_eq!(check.ids("database_vm", "changed"), deploy.ids("database_vm", "changed"));
    assert_eq!(check.ids("database_vm", "unknown"), BTreeSet::new());
    assert_eq!(deploy.host("database_vm")["unpredicted"], serde_json::json!([]));
    let again = project.json(&["deploy", "--role", "redis", "--limit", "database_vm", "--detailed-exitcode"]);
    again.assert_code(0);
    assert_eq!(again.ids("database_vm", "changed"), BTreeSet::new());
    assert_eq!(again.host("database_vm")["round_trips"], 1);
}
