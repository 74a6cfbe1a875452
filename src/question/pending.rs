//! Which handlers are due from an earlier run that did not get to them, by the marks that it left on the node.

use std::{collections::HashMap, iter};

use super::{Company, Kind, Output, Unanswered};
use crate::script::Script;

/// Where marks live: a file for each pending handler, named `<role>.<handler>`.
pub const DIRECTORY: &str = "/var/lib/autobot-provision/pending";

/// The marks on the node, and the node's boot.
#[derive(Debug)]
pub struct Pending;

/// The answer to [`Pending`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// The marks by the names of their files.
    pub marks: HashMap<String, Mark>,
}

/// When a handler was notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The boot in which it was.
    pub boot_id: String,
    /// Microseconds since that boot, rounded up: what started in the same hundredth of a second counts as started before.
    pub at: u64,
    /// Whether its action was done since, and only its readiness is not known.
    pub acted: bool,
}

/// What is due of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// That what it restarted is found to be ready.
    Readiness,
    /// All of it.
    All,
}

impl Marks {
    /// What is due of a handler that may have marks under these names: nothing if the unit that it restarts was started since.
    ///
    /// `started` is when that unit was last started, in microseconds since boot; `None` where the handler restarts no unit or it does not run.
    #[must_use]
    pub fn due(&self, names: &[String], restarts_unit: bool, started: Option<u64>) -> Due {
        names.iter().map(|name| self.due_by(name, restarts_unit, started)).max().unwrap_or(Due::Nothing)
    }

    /// The marks to settle once a handler has got its due: its own, which this run may write yet, and those of its former names that are there.
    #[must_use]
    pub fn to_settle(&self, names: &[String]) -> Vec<String> {
        let former = names.iter().skip(1).filter(|name| self.marks.contains_key(*name));
        names.iter().take(1).chain(former).cloned().collect()
    }

    fn due_by(&self, name: &str, restarts_unit: bool, started: Option<u64>) -> Due {
        let Some(mark) = self.marks.get(name) else { return Due::Nothing };
        // A reboot has started everything since.
        let void = restarts_unit && (mark.boot_id != self.boot_id || started.is_some_and(|started| started >= mark.at));
        match (void, mark.acted) {
            (true, _) => Due::Nothing,
            (false, true) => Due::Readiness,
            (false, false) => Due::All,
        }
    }
}

impl Kind for Pending {
    type Key = ();
    type Answer = Marks;
    const NAME: &'static str = "pending";
    const COMPANY: Company = Company::Files;

    fn script(_: &[&()]) -> Script {
        Script::new(
            r#"read -r boot </proc/sys/kernel/random/boot_id
printf '%s\n' "$boot"
for file in "$1"/*; do
  [ -f "$file" ] || continue
  read -r boot at <"$file" || [ -n "$boot" ] || continue
  printf '%s %s %s\n' "${file##*/}" "$boot" "$at"
done"#,
        )
        .arg(DIRECTORY)
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Marks, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("pending handlers", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let boot_id = lines.next().unwrap_or_default().to_owned();
        let marks = lines.filter_map(read_mark).collect();
        keys.iter().map(|()| Ok(Marks { boot_id: boot_id.clone(), marks: HashMap::clone(&marks) })).collect()
    }
}

/// A mark that was cut short (power failure) counts as one of this moment: rather a restart too many than one too few.
fn read_mark(line: &str) -> Option<(String, Mark)> {
    let mut words = line.split(' ');
    let name = words.next()?.to_owned();
    let boot_id = words.next().unwrap_or_default().to_owned();
    let at = words.next().and_then(|at| at.parse().ok()).unwrap_or(u64::MAX);
    let acted = words.next() == Some(ACTED);
    Some((name, Mark { boot_id, at, acted }))
}

/// The file names of a handler's marks: first its own, then those that it had under former names of itself and of its role.
#[must_use]
pub fn mark_names(role: &str, former_roles: &[&str], handler: &str, former_handlers: &[&str]) -> Vec<String> {
    let mut names = Vec::new();
    for role in iter::once(role).chain(former_roles.iter().copied()) {
        for handler in iter::once(handler).chain(former_handlers.iter().copied()) {
            let name = mark_name(role, handler);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The file name of a handler's mark.
#[must_use]
pub fn mark_name(role: &str, handler: &str) -> String {
    let plain = |sign: char| if sign.is_ascii_alphanumeric() || sign == '_' || sign == '-' { sign } else { '-' };
    format!("{role}.{}", handler.chars().map(plain).collect::<String>())
}

/// The word in a mark whose action was done.
const ACTED: &str = "acted";

/// Marks handlers as due, durably. Written before the change that notifies them, and again after it.
#[must_use]
pub fn mark(names: &[String]) -> Script {
    write("", names)
}

/// Notes, durably, in each mark of a handler that its action was done and only its readiness is not known. Written between the two.
#[must_use]
pub fn mark_acted(names: &[String]) -> Script {
    write(ACTED, names)
}

fn write(word: &str, names: &[String]) -> Script {
    Script::new(
        r#"set -eu
directory=$1 word=$2; shift 2
mkdir -p -m 0700 -- "${directory%/*}" "$directory"
read -r boot </proc/sys/kernel/random/boot_id
read -r now _ </proc/uptime
whole=${now%.*} part=${now#*.}
at=$((whole * 1000000 + (1${part} - 100 + 1) * 10000))
for name in "$@"; do
  printf '%s %s %s\n' "$boot" "$at" "$word" >"$directory/.$name.new"
  sync "$directory/.$name.new"
  mv -f -- "$directory/.$name.new" "$directory/$name"
done
sync "$directory""#,
    )
    .arg(DIRECTORY)
    .arg(word)
    .args(names.iter().cloned())
}

/// Takes a handler's mark away.
#[must_use]
pub fn unmark(name: &str) -> Script {
    Script::new(r#"rm -f -- "$1/$2""#).arg(DIRECTORY).arg(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(boot: &str, at: u64) -> Marks {
        let mark = Mark { boot_id: boot.into(), at, acted: false };
        Marks { boot_id: "now".into(), marks: HashMap::from([("redis.restart-redis".to_owned(), mark)]) }
    }

    #[test]
    fn a_mark_is_due_until_the_unit_starts_or_the_node_boots() {
        let name = &mark_names("redis", &[], "restart redis", &[]);
        assert_eq!(marks("now", 500).due(name, true, Some(499)), Due::All);
        assert_eq!(marks("now", 500).due(name, true, Some(500)), Due::Nothing);
        assert_eq!(marks("before", 500).due(name, true, Some(499)), Due::Nothing);
        assert_eq!(marks("now", 500).due(name, true, None), Due::All);
        assert_eq!(marks("before", 500).due(name, false, None), Due::All, "a command has no unit that could have started");
        assert_eq!(marks("now", 500).due(&["redis.other".into()], true, None), Due::Nothing);
        let mut acted = marks("now", 500);
        acted.marks.values_mut().for_each(|mark| mark.acted = true);
        assert_eq!(acted.due(name, true, Some(499)), Due::Readiness);
        assert_eq!(acted.due(name, true, Some(500)), Due::Nothing);
    }

    #[test]
    fn a_mark_that_was_cut_short_is_due() {
        let output = Output { status: 0, stdout: b"boot-1\nredis.a boot-1 \nredis.b\n".to_vec() };
        let marks = Pending::read(&[&()], &output).remove(0).unwrap();
        assert_eq!(marks.due(&["redis.a".into()], true, Some(12)), Due::All);
        assert_eq!(marks.marks.len(), 2);
    }

    #[test]
    fn what_is_marked_is_found_by_a_real_shell() {
        let directory = tempfile::tempdir().unwrap();
        let here = |script: Script| {
            let text = script.render().unwrap().replace(DIRECTORY, directory.path().to_str().unwrap());
            let output = std::process::Command::new("sh").arg("-c").arg(text).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        here(super::mark(&["redis.restart-redis".to_owned()]));
        let stdout = here(Pending::script(&[&()]));
        let found = Pending::read(&[&()], &Output { status: 0, stdout }).remove(0).unwrap();
        let uptime: f64 = std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
        let mark = &found.marks["redis.restart-redis"];
        assert_eq!(mark.boot_id, found.boot_id);
        #[allow(clippy::cast_precision_loss)]
        let age = uptime - mark.at as f64 / 1e6;
        assert!((-0.02..5.0).contains(&age), "{age}");
        assert!(!mark.acted);
        here(mark_acted(&["redis.restart-redis".to_owned()]));
        let stdout = here(Pending::script(&[&()]));
        assert!(Pending::read(&[&()], &Output { status: 0, stdout }).remove(0).unwrap().marks["redis.restart-redis"].acted);
        here(unmark("redis.restart-redis"));
        let stdout = here(Pending::script(&[&()]));
        assert!(Pending::read(&[&()], &Output { status: 0, stdout }).remove(0).unwrap().marks.is_empty());
    }
}
