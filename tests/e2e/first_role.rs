//! The first role of docs/ROLES.md does on a node what the document says.

use std::collections::BTreeSet;

use crate::{
    documents::first_role,
    harness::{Project, TestNode},
};

#[test]
fn the_first_role_of_the_documents_is_predicted_made_and_then_left_alone() {
    let node = TestNode::bare();
    let project = Project::toy(&[("first", &node)], "description: Replaced\n");
    for (path, text) in first_role().iter().filter(|(path, _)| !path.starts_with("inventory/")) {
        project.write(path, text);
    }
    project.inventory(&[("first", &node, "")], "motd", "");
    let deploy = |more: &[&str]| project.json(&[&["deploy"], more].concat());
    let check = deploy(&["--check"]);
    check.assert_code(0);
    let made = deploy(&[]);
    made.assert_code(0);
    assert!(check.ids("first", "changed").contains("motd/Write the greeting"), "{:?}", check.ids("first", "changed"));
    assert_eq!(check.ids("first", "changed"), made.ids("first", "changed"));
    assert_eq!(node.sh("cat /etc/motd.autobot"), "This is first, with Debian.");
    node.sh("test -s /var/tmp/greeting-changed");
    let again = deploy(&["--detailed-exitcode"]);
    again.assert_code(0);
    assert_eq!(again.ids("first", "changed"), BTreeSet::new());
}
