//! Nodes, projects and runs of the program, for tests.

mod dug;
mod gate;
mod node;
mod project;
mod run;
mod running;

pub use dug::PostgresTunnel;
pub use node::{TestNode, client, lab, repository_url};
pub use project::Project;
pub use run::{RunResult, Task};

/// Prints a line about a slow step to the test's standard error.
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// Waits until a condition holds, checking every 50 ms. Panics with `what` if it does not hold within `seconds`.
pub fn eventually(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
