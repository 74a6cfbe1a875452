//! Problems on a node are reported with a helpful error, the same in check and deploy, and no data is lost.

mod databases;
mod secret_values;
mod secrets_file;

use crate::harness::{Project, TestNode};

/// Checks and deploys with these arguments; both must fail with the same error and leave the output of `state` unchanged. Returns the error.
#[track_caller]
fn refusal(node: &TestNode, project: &Project, host: &str, state: &str, arguments: &[&str]) -> String {
    let before = node.sh(state);
    let run = |mode: &[&str]| {
        let ran = project.json(&[&["deploy"], mode, arguments].concat());
        ran.assert_code(1);
        ran.failure(host)
    };
    let (check, deploy) = (run(&["--check"]), run(&[]));
    assert_eq!(check, deploy);
    assert_eq!(before, node.sh(state), "after: {deploy}");
    deploy
}
