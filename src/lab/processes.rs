//! Finds the lab's processes by what they are, never by a remembered pid, so that a killed lab can be found again.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::command::run;

/// How often a condition is looked at again.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// How long the kernel may take to end killed processes.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How long nspawn may take to tidy up after its container.
const NSPAWN_GRACE: Duration = Duration::from_secs(2);

/// A process as /proc shows it.
#[derive(Debug)]
struct Process {
    pid: u32,
    arguments: Vec<String>,
    parent: u32,
    /// Its pid in its innermost pid namespace.
    inner_pid: u32,
    namespaces: usize,
}

/// The `systemd-nspawn` whose container lives in this directory.
pub(super) fn nspawn_of(root: &Path) -> Option<u32> {
    let directory = format!("--directory={}", root.display());
    processes().into_iter().find(|process| process.is_nspawn() && process.arguments.contains(&directory)).map(|found| found.pid)
}

/// The container's first process: the child of its nspawn that is number 1 in a pid namespace of its own.
pub(super) fn leader_of(root: &Path) -> Option<u32> {
    let nspawn = nspawn_of(root)?;
    let leads = |process: &Process| process.parent == nspawn && process.namespaces > 1 && process.inner_pid == 1;
    processes().into_iter().find(leads).map(|leader| leader.pid)
}

/// Processes one of whose arguments is exactly this.
pub(super) fn with_argument(argument: &str) -> Vec<u32> {
    processes()
        .into_iter()
        .filter(|process| process.arguments.iter().skip(1).any(|own| own == argument))
        .map(|own| own.pid)
        .collect()
}

/// The directories below this one in which a container runs.
pub(super) fn containers_below(directory: &Path) -> Vec<PathBuf> {
    let arguments = processes().into_iter().filter(Process::is_nspawn).flat_map(|process| process.arguments);
    let containers = arguments.filter_map(|argument| argument.strip_prefix("--directory=").map(PathBuf::from));
    containers.filter(|container| container.starts_with(directory)).collect()
}

/// Ends a container at once: its first process, with which the kernel ends all others, then its nspawn, which tidies up itself
/// unless it takes too long.
pub(super) fn end_container(root: &Path) -> Result<()> {
    let begin = Instant::now();
    let find = || match leader_of(root) {
        Some(leader) => vec![leader],
        None if begin.elapsed() > NSPAWN_GRACE => nspawn_of(root).into_iter().collect(),
        None => Vec::new(),
    };
    let gone = || {
        signal(&find(), "KILL");
        nspawn_of(root).is_none().then_some(())
    };
    wait_for(&format!("the end of the container in `{}`", root.display()), KILL_LIMIT, gone)
}

/// Sends a signal, by name or number as kill(1) takes it. A process that is already gone is not an error.
pub(super) fn signal(pids: &[u32], signal: &str) {
    for pid in pids {
        // Its only failure is that the process has just ended, which is what was wanted.
        drop(run("kill").args(["-s", signal, &pid.to_string()]).output());
    }
}

/// Kills processes until none is found any more.
pub(super) fn end(what: &str, find: impl Fn() -> Vec<u32>) -> Result<()> {
    let gone = || {
        let found = find();
        signal(&found, "KILL");
        found.is_empty().then_some(())
    };
    wait_for(&format!("the end of {what}"), KILL_LIMIT, gone)
}

/// Looks again and again until there is an answer.
///
/// # Errors
/// There is none within the limit; `what` completes "gave up waiting for ...".
pub(super) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(seen) = look() {
            return Ok(seen);
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

/// Every process that still runs. One that ends while we look is left out, and so are zombies: they have no command line.
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
    fn finds_and_ends_a_process_by_its_argument_alone() {
        let marker = format!("4242.{}", std::process::id());
        let mut child = Command::new("sleep").arg(&marker).spawn().unwrap();
        let found = wait_for("sleep", Duration::from_secs(5), || with_argument(&marker).first().copied()).unwrap();
        assert_eq!(found, child.id());
        signal(&[found], "KILL");
        assert!(!child.wait().unwrap().success());
        assert!(with_argument(&marker).is_empty(), "a zombie or a dead process is not found");
    }

    #[test]
    fn waiting_ends_with_what_was_waited_for() {
        let error = wait_for("rain", Duration::from_millis(20), || None::<()>).unwrap_err();
        assert_eq!(error.to_string(), "gave up waiting for rain after 0 s");
    }
}
