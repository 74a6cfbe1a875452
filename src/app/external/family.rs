//! Ends a program with everything that it has started. It cannot have a process group of its own, because it may ask on the terminal.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// How often the processes are looked for again: one may fork during the search.
const ROUNDS: usize = 5;

/// Ends a process that was not waited for yet, and its descendants.
pub(super) fn end(process: u32) {
    for _ in 0..ROUNDS {
        let family = with_descendants(process, &parents());
        for member in family.iter().filter_map(|member| Pid::from_raw(member.cast_signed())) {
            let _ = kill_process(member, Signal::KILL);
        }
        if family.len() == 1 {
            break;
        }
    }
}

/// Returns each running process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|process: u32| Some((process, parent(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?)))
        .collect()
}

/// Reads `PID (NAME) STATE PARENT …`; the name may hold anything. A process that has ended has no descendants any more.
fn parent(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    fields.next().filter(|state| *state != "Z")?;
    fields.next()?.parse().ok()
}

fn with_descendants(process: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut family = vec![process];
    let mut next = 0;
    while let Some(one) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(child, _)| *child));
        next += 1;
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_through_any_name() {
        assert_eq!(parent("7 (a) b) S 5 7 7 0"), Some(5));
        assert_eq!(parent("7 (a) Z 5 7 7 0"), None);
        let parents = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 9)];
        assert_eq!(with_descendants(2, &parents), [2, 3, 4]);
    }
}
