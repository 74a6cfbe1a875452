//! Writes a file on a node: at every moment the path has the whole old file or the whole new one, and no other user can read an unfinished
//! file.

use super::{RemotePath, access::Access, lock_out::tree};
use crate::{
    question::way::WAY,
    script::Script,
    secret::{Sealed, SecretValues},
};

/// What happens to the old file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backup {
    /// It is not kept.
    None,
    /// It stays beside the new one as `NAME.DATE@TIME~`, with its owner and mode.
    Keep,
    /// As [`Backup::Keep`], but only its owner may read it, because it contains secrets.
    Private,
}

/// How to write a file: everything except its content.
#[derive(Debug, Clone)]
pub struct Put<'a> {
    /// The path of the file.
    pub path: &'a RemotePath,
    /// Owner, group and mode. A value that is not given is kept; a new file gets root (or the group of a setgid directory) and 0644.
    pub access: Access,
    /// Whether a link at the path is followed; otherwise a file takes its place.
    pub follow: bool,
    /// What happens to the old file.
    pub backup: Backup,
    /// A shell command that must accept the new file before it replaces the old one; `%s` stands for its path.
    pub validate: Option<&'a str>,
}

impl Put<'_> {
    /// Returns the script that writes `content`. A script that does more than this uses [`with_put_file`].
    ///
    /// If all secrets in it have a value, as they do when a change is applied, the node checks the length.
    #[must_use]
    pub fn script(&self, content: Sealed, values: &SecretValues) -> Script {
        let size = content.reveal(values).map(|content| content.len().to_string()).unwrap_or_default();
        let script = tree::before_put(with_put_file(Script::new("put_file \"$@\"")), self.path, &content).arg(self.path.as_str());
        self.access
            .arguments(script)
            .arg(if self.follow { "follow" } else { "" })
            .arg(match self.backup {
                Backup::None => "",
                Backup::Keep => "keep",
                Backup::Private => "private",
            })
            .arg(self.validate.map(|command| command.replace("%s", "\"$1\"")).unwrap_or_default())
            .arg(size)
            .input(content)
    }
}

/// Returns the script that sets owner, group and mode of the existing file or directory at `path`.
#[must_use]
pub fn set_access(path: &RemotePath, access: &Access, follow: bool) -> Script {
    let script = Script::new("set_access \"$@\"").using(WAY).using(SET_ACCESS).arg(path.as_str());
    let script = tree::before(script, path, tree::Change::Access);
    access.arguments(script).arg(if follow { "follow" } else { "" })
}

/// Lets a script use [`PUT_FILE`].
#[must_use]
pub fn with_put_file(script: Script) -> Script {
    script.using(WAY).using(PUT_FILE)
}

/// `put_file PATH OWNER GROUP MODE FOLLOW BACKUP VALIDATE SIZE [EXPECTED [PARENTS]]`, the content on standard input; only the path may not be empty.
///
/// With `EXPECTED`, nothing is written if the old file differs from what the content was derived from, unless it already has the new
/// content. `EXPECTED` is the SHA-256 of that file, or `absent`.
/// With `PARENTS`, missing directories above the file are made.
/// Needs [`WAY`], and works within the directory that it has reached, so that nothing that is swapped above it is written to.
/// The temporary file has a name that cannot be guessed and is held open, so that in another user's directory a file put in its place is
/// neither written nor given another owner. Until all is written, it belongs to root and has mode 0600.
/// Without a mode, the old file's mode is kept together with its access control list; a given mode replaces both.
/// With a size, input that ends early because its sender was killed is refused. Temporary files that interrupted runs left in the
/// directory are removed. Every failed step ends the function, with or without `set -e` in the caller. The backup is a hard link to the
/// old file, so it is complete at once.
///
/// The end of a session signals each process, and `timeout` passes the signal on to all below it: what cleans up after the first signal ignores the
/// others, and so does what it starts.
const PUT_FILE: &str = r#"put_file() (
    set -u
    umask 077
    refuse() { printf '%s\n' "$1" >&2; exit 1; }
    path=$1 owner=$2 group=$3 mode=$4 follow=$5 backup=$6 validate=$7 size=$8 expected=${9-} parents=${10-}
    go "$owner" "$path" "$follow" "$parents"
    file=./$name target=$way/$name
    old=
    if [ -f "$file" ] && [ ! -L "$file" ]; then
        old=yes
        { command exec 3<"$file"; } && check "$owner" "$path" || exit
    elif [ -e "$file" ] && [ ! -L "$file" ]; then
        refuse "$target is not a regular file"
    fi
    # Root can write to every other directory.
    [ -w . ] || refuse "${way:-/} is mounted read-only or immutable (see findmnt, lsattr -d); nothing was written"
    [ -z "$old" ] || [ -w "$file" ] || refuse "$target is immutable or mounted read-only (see lsattr, findmnt); nothing was written"
    for stale in ./.autobot-provision-??????????; do
        [ ! -f "$stale" ] || rm -f -- "$stale" || exit
    done
    temporary=$(mktemp -u -- ./.autobot-provision-XXXXXXXXXX) || exit
    trap 'trap "" HUP INT TERM; rm -f -- "$temporary"' EXIT
    trap 'trap "" HUP INT TERM; exit 143' HUP INT TERM
    set -C
    exec 3>"$temporary" || exit
    set +C
    cat >&3 || exit
    [ -z "$size" ] || [ "$(stat -L -c %s /proc/self/fd/3)" = "$size" ] || refuse "the content did not arrive whole; $target stays as it was"
    if [ -n "$old" ] && { [ -z "$owner" ] || [ -z "$group" ]; }; then
        ids=$(stat -c '%u %g' -- "$file") || exit
        owner=${owner:-${ids% *}} group=${group:-${ids#* }}
    fi
    if [ -n "$owner$group" ]; then
        chown -- "$owner${group:+:$group}" /proc/self/fd/3 || exit
    fi
    if [ -n "$mode" ]; then
        chmod -- "$mode" /proc/self/fd/3 || exit
    elif [ -n "$old" ]; then
        cp --attributes-only --preserve=mode -- "$file" /proc/self/fd/3 || exit
    else
        chmod 0644 /proc/self/fd/3 || exit
    fi
    sync -- /proc/self/fd/3 || exit
    exec 3>&-
    if [ -n "$validate" ]; then
        sh -c "$validate" validate "$way/${temporary#./}" </dev/null >&2 || refuse "validate failed with exit status $?; $target stays as it was"
    fi
    [ -z "${judged-}" ] || tried_out "$target" put "$way/${temporary#./}" || exit
    if [ -n "$expected" ]; then
        actual=absent
        if [ -n "$old" ]; then actual=$(sha256sum <"$file") || exit; fi
        [ "${actual%% *}" = "$expected" ] || [ "$actual" = "$(sha256sum <"$temporary")" ] || refuse "$target was changed by another process at this very moment; run again"
    fi
    if [ -n "$backup" ] && [ -n "$old" ]; then
        now=$(date +%Y-%m-%d@%H:%M:%S.%3N) || exit
        exec 3<"$file" || exit
        check "$owner" "$path"
        ln -- "$file" "$file.$now~" || exit
    fi
    mv -T -f -- "$temporary" "$file" || exit
    trap - EXIT
    if [ "$backup" = private ] && [ -n "$old" ]; then
        chmod go= /proc/self/fd/3 || exit
    fi
    sync -- . || exit
)"#;

/// `set_access PATH OWNER GROUP MODE FOLLOW`; only the path may not be empty. Needs [`WAY`].
///
/// Works on the open file, because chmod follows links, and the path may be in another user's directory.
pub const SET_ACCESS: &str = r#"set_access() (
    set -u
    go "$2" "$1" "$5"
    access_here "$@"
)
access_here() {
    [ -n "$5" ] || [ ! -L "./$name" ] || { printf '%s\n' "$1 is a link: not followed" >&2; exit 1; }
    [ -f "./$name" ] || [ -d "./$name" ] || { printf '%s\n' "$1 is not a file or directory" >&2; exit 1; }
    { command exec 3<"./$name"; } || exit
    check "$2" "$1"
    if [ -n "$2$3" ]; then
        chown -- "$2${3:+:$3}" /proc/self/fd/3 || exit
    fi
    if [ -n "$4" ]; then
        chmod -- "$4" /proc/self/fd/3 || exit
    fi
}"#;

#[cfg(test)]
#[path = "put_tests.rs"]
mod tests;
