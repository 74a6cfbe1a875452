//! What is wrong on a node is told in words that help, the same in check and deploy, and nothing is lost.

mod databases;
mod secret_values;
mod secrets_file;

use crate::harness::{Booted, Project};

/// Checks and deploys with these arguments; both must end with the one same error and leave what `state` prints as it is. The error.
#[track_caller]
fn refusal(node: &Booted, project: &Project, host: &str, state: &str, arguments: &[&str]) -> String {
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
