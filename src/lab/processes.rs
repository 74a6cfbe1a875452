//! Finds the processes of a lab by their properties instead of recorded PIDs, so that they are found even after the lab's process was killed.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::command::Programs;

/// The interval at which a condition is checked.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// How long the kernel may take to end killed processes.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How long nspawn may take to clean up after its container.
const NSPAWN_GRACE: Duration = Duration::from_secs(2);

/// A process as /proc shows it.
#[derive(Debug)]
struct Process {
    pid: u32,
    arguments: Vec<String>,
    parent: u32,
    /// Its PID in its innermost PID namespace.
    inner_pid: u32,
    namespaces: usize,
}

/// Returns the PID of the `systemd-nspawn` whose container has this root directory.
pub(super) fn find_nspawn(root: &Path) -> Option<u32> {
    let directory = format!("--directory={}", root.display());
    processes().into_iter().find(|process| process.is_nspawn() && process.arguments.contains(&directory)).map(|found| found.pid)
}

/// Returns the PID of the container's first process: the child of its nspawn that has PID 1 in its own PID namespace.
pub(super) fn find_leader(root: &Path) -> Option<u32> {
    let nspawn = find_nspawn(root)?;
    let is_leader = |process: &Process| process.parent == nspawn && process.namespaces > 1 && process.inner_pid == 1;
    processes().into_iter().find(is_leader).map(|leader| leader.pid)
}

/// Returns the PIDs of the processes that have exactly this argument.
pub(super) fn with_argument(argument: &str) -> Vec<u32> {
    processes()
        .into_iter()
        .filter(|process| process.arguments.iter().skip(1).any(|own| own == argument))
        .map(|own| own.pid)
        .collect()
}

/// Returns the root directories of running containers below this directory.
pub(super) fn containers_below(directory: &Path) -> Vec<PathBuf> {
    let arguments = processes().into_iter().filter(Process::is_nspawn).flat_map(|process| process.arguments);
    let containers = arguments.filter_map(|argument| argument.strip_prefix("--directory=").map(PathBuf::from));
    containers.filter(|container| container.starts_with(directory)).collect()
}

/// Kills a container: first its first process, with which the kernel kills all others; then its nspawn, unless it cleans up and ends by itself
/// in time.
pub(super) fn end_container(programs: &Programs, root: &Path) -> Result<()> {
    let begin = Instant::now();
    let find = || match find_leader(root) {
        Some(leader) => vec![leader],
        None if begin.elapsed() > NSPAWN_GRACE => find_nspawn(root).into_iter().collect(),
        None => Vec::new(),
    };
    let has_ended = || {
        signal(programs, &find(), "KILL");
        find_nspawn(root).is_none().then_some(())
    };
    wait_for(&format!("the end of the container in `{}`", root.display()), KILL_LIMIT, has_ended)
}

/// Sends a signal, given by name or number as for kill(1). A process that has already ended is not an error.
pub(super) fn signal(programs: &Programs, pids: &[u32], signal: &str) {
    for pid in pids {
        // This fails only if the process has just ended, which is the purpose.
        drop(programs.command("kill").args(["-s", signal, &pid.to_string()]).output());
    }
}

/// Kills processes until none are found any more.
pub(super) fn end(programs: &Programs, what: &str, find: impl Fn() -> Vec<u32>) -> Result<()> {
    let has_ended = || {
        let found = find();
        signal(programs, &found, "KILL");
        found.is_empty().then_some(())
    };
    wait_for(&format!("the end of {what}"), KILL_LIMIT, has_ended)
}

/// Polls until `poll` returns a value.
///
/// # Errors
/// There is no value within the limit; `what` completes the message "gave up waiting for ...".
pub(super) fn wait_for<T>(what: &str, limit: Duration, mut poll: impl FnMut() -> Option<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = poll() {
            return Ok(value);
        }
        if begin.elapsed() > limit {
            bail!("gave up waiting for {what} after {} s", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

impl Process {
    fn is_nspawn(&self) -> bool {
        self.arguments.first().is_some_and(|program| program.ends_with("systemd-nspawn"))
    }
}

/// Returns all running processes. Processes that end meanwhile and zombies, which have no command line, are left out.
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(pid: u32) -> Option<Process> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    if line.is_empty() {
        return None;
    }
    let arguments = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let inner: Vec<u32> = field("NSpid:")?.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    Some(Process {
        pid,
        arguments,
        parent: field("PPid:")?.trim().parse().ok()?,
        inner_pid: *inner.last()?,
        namespaces: inner.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_found_and_killed_by_its_argument_alone() {
        let marker = format!("4242.{}", std::process::id());
        let mut child = Command::new("sleep").arg(&marker).spawn().unwrap();
        let found = wait_for("sleep", Duration::from_secs(5), || with_argument(&marker).first().copied()).unwrap();
        assert_eq!(found, child.id());
        signal(&Programs::default(), &[found], "KILL");
        assert!(!child.wait().unwrap().success());
        assert!(with_argument(&marker).is_empty(), "a zombie or a dead process is not found");
    }

    #[test]
    fn a_timeout_names_what_was_waited_for() {
        let error = wait_for("rain", Duration::from_millis(20), || None::<()>).unwrap_err();
        assert_eq!(error.to_string(), "gave up waiting for rain after 0 s");
    }
}
