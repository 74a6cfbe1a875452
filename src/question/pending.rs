//! The handlers that an earlier run notified but did not complete, from the marks that it left on the node.

use std::collections::{BTreeSet, HashMap};

use super::{
    Kind, Output, Turn, Unanswered, kept,
    way_in::{self, WayInState},
};
use crate::script::Script;

/// The directory of the marks: a file for each pending handler, named `<role>.<handler>`.
pub const DIRECTORY: &str = "/var/lib/autobot-provision/pending";

/// Marker for the kind "marks of pending handlers".
#[derive(Debug)]
pub struct Pending;

/// The answer to [`Pending`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The kernel's id of the current boot.
    pub boot_id: String,
    /// The marks by the names of their files.
    pub marks: HashMap<String, Mark>,
    /// The handlers, by the names of their marks, for which there are copies of what was changed ([`kept`]).
    pub kept: BTreeSet<String>,
    /// What it has of the way back for a change that could end the way in.
    pub way_in: WayInState,
}

/// When a handler was notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The boot in which it was notified.
    pub boot_id: String,
    /// Microseconds since that boot, rounded up: a unit that started in the same hundredth of a second counts as started before.
    pub at: u64,
    /// Whether its action has been done since, so that only its readiness is unknown.
    pub acted: bool,
}

/// The part of a handler that is still due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Only the readiness check.
    Readiness,
    /// The action and the readiness check.
    All,
}

impl Marks {
    /// Returns the part of a handler that is still due, by the marks under any of these names: nothing if it has no mark or if the unit that
    /// it restarts has been started since.
    ///
    /// `started` is when that unit was last started, in microseconds since boot; `None` if the handler restarts no unit or the unit does not run.
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
        // A reboot has started all units since.
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
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;

    fn script(_: &[&()]) -> Script {
        Script::new(
            r#"read -r boot </proc/sys/kernel/random/boot_id
printf '%s\n' "$boot"
for file in "$1"/*; do
  [ -f "$file" ] || continue
  read -r boot at <"$file" || [ -n "$boot" ] || continue
  printf '%s %s %s\n' "${file##*/}" "$boot" "$at"
done
echo
for file in "$2"/*; do
  [ ! -d "$file" ] || printf '%s\n' "${file##*/}"
done
echo
[ ! -e "$3/armed" ] || echo armed
[ ! -e "$3/kept" ] || find "$3/kept" -mmin -1440 -printf 'kept\n'
[ ! -f "$3/owed" ] || sed 's/^/owed /' <"$3/owed"
[ ! -f "$3.reverted" ] || { echo reverted; cat <"$3.reverted"; }"#,
        )
        .args([DIRECTORY, kept::DIRECTORY, way_in::DIRECTORY])
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Marks, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("pending handlers", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let boot_id = lines.next().unwrap_or_default().to_owned();
        let marks = lines.by_ref().take_while(|line| !line.is_empty()).filter_map(read_mark).collect();
        let kept = lines.by_ref().take_while(|line| !line.is_empty()).map(str::to_owned).collect();
        let found = Marks { boot_id, marks, kept, way_in: way_in::read(lines) };
        keys.iter().map(|()| Ok(found.clone())).collect()
    }
}

/// A truncated mark (power failure) counts as made now: a needless restart is better than a missed one.
fn read_mark(line: &str) -> Option<(String, Mark)> {
    let mut words = line.split(' ');
    let name = words.next()?.to_owned();
    let boot_id = words.next().unwrap_or_default().to_owned();
    let at = words.next().and_then(|at| at.parse().ok()).unwrap_or(u64::MAX);
    let acted = words.next() == Some(ACTED);
    Some((name, Mark { boot_id, at, acted }))
}

/// The word in a mark whose handler's action was done.
const ACTED: &str = "acted";

/// Marks handlers as due, durably. The marks are written before the change that notifies them, and again after it.
#[must_use]
pub fn mark(names: &[String]) -> Script {
    write("", names)
}

/// Records, durably, that a handler's action was done and only its readiness is unknown. The mark is written between the two.
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
new=$directory/.new
trap 'trap "" HUP INT TERM; rm -f -- "$new"' EXIT
trap 'trap "" HUP INT TERM; exit 143' HUP INT TERM
for name in "$@"; do
  { printf '%s %s %s\n' "$boot" "$at" "$word" >"$new" &&
    sync "$new" &&
    mv -f -- "$new" "$directory/$name"; } || {
    echo "the mark of a pending handler, $directory/$name, cannot be written: are the node's disk or its inodes full? see \`df -h\` and \`df -i\`" >&2
    exit 1
  }
done
trap - EXIT
sync "$directory""#,
    )
    .arg(DIRECTORY)
    .arg(word)
    .args(names.iter().cloned())
}

/// Removes a handler's mark.
#[must_use]
pub fn unmark(name: &str) -> Script {
    Script::new(r#"rm -f -- "$1/$2""#).arg(DIRECTORY).arg(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::mark_names;

    fn marks(boot: &str, at: u64) -> Marks {
        let mark = Mark { boot_id: boot.into(), at, acted: false };
        Marks { boot_id: "now".into(), marks: HashMap::from([("redis.restart-redis".to_owned(), mark)]), ..Marks::default() }
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
    fn a_truncated_mark_is_due() {
        let output = Output { status: 0, stdout: b"boot-1\nredis.a boot-1 \nredis.b\n\nredis.a\n".to_vec() };
        let marks = Pending::read(&[&()], &output).remove(0).unwrap();
        assert_eq!(marks.due(&["redis.a".into()], true, Some(12)), Due::All);
        assert_eq!(marks.marks.len(), 2);
        assert_eq!(marks.kept, ["redis.a".to_owned()].into());
    }

    #[test]
    fn a_real_shell_finds_the_marks_that_it_wrote() {
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
