//! The programs of a unit's processes whose files were replaced or removed since they started, as by a package.

use std::collections::BTreeSet;

use super::{Kind, Output, Turn, Unanswered};
use crate::script::Script;

/// Marker for the kind "replaced programs of a unit".
#[derive(Debug)]
pub struct Replaced;

impl Kind for Replaced {
    /// A name that [`super::unit::full_name`] returned.
    type Key = String;
    /// The paths of the programs. They may contain any characters.
    type Answer = BTreeSet<String>;
    const NAME: &'static str = "replaced-programs";
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;

    fn script(units: &[&String]) -> Script {
        script(units, "/sys/fs/cgroup", "/proc")
    }

    fn read(units: &[&String], output: &Output) -> Vec<Result<BTreeSet<String>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("the programs of units", units.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<&str> = text.split('\0').collect();
        let answers = programs(&fields, units.len());
        let malformed = |unit: &&String| Unanswered(format!("the node's answer about the programs of `{unit}` is malformed"));
        match answers {
            Some(answers) => answers.into_iter().map(Ok).collect(),
            None => units.iter().map(|unit| Err(malformed(unit))).collect(),
        }
    }
}

/// What the kernel adds to the path of a program that is no longer on disk.
const DELETED: &str = " (deleted)";

fn script(units: &[&String], groups: &str, processes: &str) -> Script {
    Script::new(include_str!("replaced.sh")).arg(groups).arg(processes).args(units.iter().map(|unit| (*unit).clone()))
}

/// Reads the replaced programs of so many units.
fn programs(fields: &[&str], count: usize) -> Option<Vec<BTreeSet<String>>> {
    let mut records = fields.chunks_exact(2);
    let mut units = Vec::new();
    for _ in 0..count {
        let &["unit", processes] = records.next()? else { return None };
        units.push((processes.lines().collect::<Vec<_>>(), BTreeSet::new()));
    }
    loop {
        match records.next()? {
            ["end", ""] => return Some(units.into_iter().map(|(_, programs)| programs).collect()),
            &[process, path] => {
                let path = path.strip_suffix(DELETED).unwrap_or(path);
                let mut own = units.iter_mut().filter(|(processes, _)| processes.contains(&process)).peekable();
                own.peek()?;
                own.for_each(|(_, programs)| {
                    programs.insert(path.to_owned());
                });
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial::run;
    use std::{fs, os::unix::fs::symlink, path::Path};

    /// Puts a unit's processes below a root that has control groups and processes; a process is a number and a program.
    fn unit(root: &Path, group: &str, running: &[(u32, &str)]) {
        let group = root.join("cgroup").join(group);
        fs::create_dir_all(&group).unwrap();
        fs::write(
            group.join("cgroup.procs"),
            running.iter().map(|(pid, _)| pid.to_string()).collect::<Vec<_>>().join("\n") + "\n",
        )
        .unwrap();
        for (pid, program) in running.iter().filter(|(_, program)| !program.is_empty()) {
            let process = root.join("proc").join(pid.to_string());
            fs::create_dir_all(&process).unwrap();
            symlink(program, process.join("exe")).unwrap();
        }
    }

    fn ask(root: &Path, units: &[&str]) -> Vec<Vec<String>> {
        let units: Vec<String> = units.iter().map(ToString::to_string).collect();
        let units: Vec<&String> = units.iter().collect();
        let [groups, processes] = ["cgroup", "proc"].map(|name| root.join(name));
        let done = run(&script(&units, groups.to_str().unwrap(), processes.to_str().unwrap()), root);
        assert_eq!(done.stderr, "");
        let answers = Replaced::read(&units, &Output { status: done.status, stdout: done.stdout });
        answers.into_iter().map(|answer| answer.unwrap().into_iter().collect()).collect()
    }

    #[test]
    fn programs_that_are_gone_are_found_in_every_layout_of_control_groups() {
        for (one, two) in [
            ("system.slice/a@1.service", "system.slice/system-b.slice/b.service"),
            ("systemd/system.slice/a@1.service", "unified/system.slice/system-b.slice/b.service"),
        ] {
            let root = tempfile::tempdir().unwrap();
            // One process has ended.
            unit(root.path(), one, &[(7, "/opt/new"), (8, "/opt/o l\nd (deleted)"), (9, "/opt/o l\nd (deleted)"), (10, "")]);
            unit(root.path(), two, &[(11, "/usr/bin/b"), (12, "/a (deleted)/b")]);
            let found = ask(root.path(), &["b.service", "none.service", "a@1.service"]);
            assert_eq!(found, [vec![], vec![], vec!["/opt/o l\nd".to_owned()]], "{one}");
        }
    }

    #[test]
    fn a_truncated_answer_is_no_answer() {
        let unit = "a.service".to_owned();
        for stdout in ["", "end", "end\0\0", "unit\0/p\0/p\0/a\0", "unit\0/p\0/q\0/a\0end\0\0"] {
            let answer = Replaced::read(&[&unit], &Output { status: 0, stdout: stdout.into() }).remove(0);
            assert!(answer.is_err(), "{stdout:?}: {answer:?}");
        }
        assert!(Replaced::read(&[&unit], &Output { status: 124, stdout: b"unit\0\0end\0\0".to_vec() })[0].is_err());
    }
}
