//! How many entries below a directory differ from the wanted owner, group or mode.

use super::{Kind, Output, Unanswered, account::AccountName};
use crate::{
    script::Script,
    values::{Mode, RemotePath},
};

/// Asks how many things below a directory differ; 0 where there is no directory. Links are not followed, and count with their owner and
/// group alone.
#[derive(Debug)]
pub enum Tree {}

/// A directory, and the wanted owner, group and mode of everything below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TreeKey {
    /// The directory.
    pub path: RemotePath,
    /// The wanted owner.
    pub owner: Option<AccountName>,
    /// The wanted group.
    pub group: Option<AccountName>,
    /// The wanted mode.
    pub mode: Option<Mode>,
}

/// `PATH OWNER GROUP MODE` for each key; what is empty is not compared. One `find` answers a key: a letter for each thing that differs, then a
/// NUL. It knows users and groups by their names; where one is yet to be made all differ.
const SCRIPT: &str = r#"
differing() {
    path=$1 owner=$2 group=$3 mode=$4
    [ -d "$path" ] && [ ! -L "$path" ] || return 0
    shift 4
    [ -z "$owner" ] || set -- "$@" -o ! -user "$owner"
    [ -z "$group" ] || set -- "$@" -o ! -group "$group"
    [ -z "$mode" ] || set -- "$@" -o ! -type l ! -perm "$mode"
    shift
    if find -P "$path" -ignore_readdir_race -mindepth 1 \( "$@" \) -printf x 2>/dev/null; then return 0; fi
    if [ -n "$owner" ] && ! id -u -- "$owner" >/dev/null 2>&1 || [ -n "$group" ] && ! getent group -- "$group" >/dev/null; then
        find -P "$path" -ignore_readdir_race -mindepth 1 -printf x && return 0
    fi
    printf '?'
}
while [ $# -ge 4 ]; do
    differing "$1" "$2" "$3" "$4"
    printf '\0'
    shift 4
done
return 0
"#;

impl Kind for Tree {
    type Key = TreeKey;
    type Answer = usize;
    const NAME: &'static str = "trees";
    const IN_PLACE: bool = true;
    /// A tree may have millions of files.
    const LIMIT: std::time::Duration = std::time::Duration::from_mins(5);
    const TOGETHER: std::time::Duration = Self::LIMIT;

    fn script(keys: &[&TreeKey]) -> Script {
        keys.iter().fold(Script::new(SCRIPT), |script, TreeKey { path, owner, group, mode }| {
            let name = |name: Option<&dyn std::fmt::Display>| name.map(ToString::to_string).unwrap_or_default();
            script
                .arg(path.as_str())
                .arg(name(owner.as_ref().map(|owner| owner as _)))
                .arg(name(group.as_ref().map(|group| group as _)))
                .arg(mode.map(Mode::octal).unwrap_or_default())
        })
    }

    fn read(keys: &[&TreeKey], output: &Output) -> Vec<Result<usize, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("trees", keys.len());
        }
        let mut answers = output.stdout.split(|byte| *byte == 0);
        let mut next = |key: &TreeKey| match answers.next() {
            Some(letters) if letters.iter().all(|letter| *letter == b'x') => Ok(letters.len()),
            Some(_) | None => Err(Unanswered(format!("not all that is in `{}` could be looked at", key.path))),
        };
        keys.iter().map(|key| next(key)).collect()
    }
}
