//! Writing a file on a node so that at every moment the old one or the new one is there, whole, and no other user can read what is being written.

use super::{RemotePath, access::Access};
use crate::{
    script::Script,
    secret::{Sealed, SecretValues},
};

/// What happens to the file that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backup {
    /// It goes.
    None,
    /// It stays beside the new one as `NAME.DATE@TIME~`, with its owner and mode.
    Keep,
    /// As [`Backup::Keep`], but only its owner may read it, because it held secrets.
    Private,
}

/// How to write a file: everything but its content.
#[derive(Debug, Clone)]
pub struct Put<'a> {
    /// Where.
    pub path: &'a RemotePath,
    /// Owner, group and mode. What is not given is kept; of a new file: root (or the group of a setgid directory) and 0644.
    pub access: Access,
    /// Whether a link at the path is followed; otherwise a file takes its place.
    pub follow: bool,
    /// What happens to the file that was there.
    pub backup: Backup,
    /// A shell command that must approve of the new file before it takes the place of the old one; `%s` stands for its path.
    pub validate: Option<&'a str>,
}

impl Put<'_> {
    /// The script that writes `content`. A caller with more to do around it uses [`PUT_FILE`].
    ///
    /// Where all its secrets have a value, as they have once a change is applied, the node checks the length.
    #[must_use]
    pub fn script(&self, content: Sealed, values: &SecretValues) -> Script {
        let size = content.reveal(values).map(|content| content.len().to_string()).unwrap_or_default();
        let script = Script::new("put_file \"$@\"").using(PUT_FILE).arg(self.path.as_str());
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

/// The script that gives what is at `path` its owner, group and mode, in place.
#[must_use]
pub fn set_access(path: &RemotePath, access: &Access, follow: bool) -> Script {
    let script = Script::new("set_access \"$@\"").using(SET_ACCESS).arg(path.as_str());
    access.arguments(script).arg(if follow { "follow" } else { "" })
}

/// `put_file PATH OWNER GROUP MODE FOLLOW BACKUP VALIDATE SIZE [EXPECTED [PARENTS]]`, the content on standard input; only the path may not be empty.
///
/// With `EXPECTED`, the SHA-256 of the old file or `absent`, nothing is written when something else is there by now, unless it is
/// the new content already: the content was made of it.
/// With `PARENTS`, missing directories above it are made.
/// The temporary file is created under a name that cannot be guessed and held open, so that in another user's directory nothing put in its
/// place is written to or given away. Its access is settled before the content could be seen: it is root's and 0600 until all is written.
/// Without a mode the old file's is kept together with its access control list; a given mode is the whole truth.
/// With a size, input that ends early (whatever fed it was killed) is not taken for the whole. A temporary file that an interrupted run left
/// in the directory is removed. Every step ends the function when it fails, whatever the
/// caller's `set -e`. The backup is a second name of the old file, so it is complete at once.
pub const PUT_FILE: &str = r#"put_file() (
    set -u
    umask 077
    refuse() { printf '%s\n' "$1" >&2; exit 1; }
    target=$1 owner=$2 group=$3 mode=$4 follow=$5 backup=$6 validate=$7 size=$8 expected=${9-} parents=${10-}
    if [ -n "$follow" ] && [ -L "$target" ]; then
        [ ! -k "${target%/*}/" ] || refuse "$target is a link in a directory that every user may write to: not followed"
        target=$(readlink -f -- "$target" && echo .) || refuse "$1 is a link that leads nowhere"
        target=${target%??}
    fi
    directory=${target%/*}/
    [ -z "$parents" ] || (umask 022; mkdir -p -- "$directory") || exit
    old=
    if [ -f "$target" ] && [ ! -L "$target" ]; then
        old=yes
    elif [ -e "$target" ] && [ ! -L "$target" ]; then
        refuse "$target is not a regular file"
    fi
    [ -d "$directory" ] || refuse "there is no directory ${directory%/}"
    # Root may write anywhere but there.
    [ -w "$directory" ] || refuse "${directory%/} is mounted read-only or immutable (see findmnt, lsattr -d); nothing was written"
    [ -z "$old" ] || [ -w "$target" ] || refuse "$target is immutable or mounted read-only (see lsattr, findmnt); nothing was written"
    for stale in "$directory".autobot-provision-??????????; do
        [ ! -f "$stale" ] || rm -f -- "$stale" || exit
    done
    temporary=$(mktemp -u -- "$directory.autobot-provision-XXXXXXXXXX") || exit
    trap 'rm -f -- "$temporary"' EXIT
    trap 'exit 143' HUP INT TERM
    set -C
    exec 3>"$temporary" || exit
    set +C
    cat >&3 || exit
    [ -z "$size" ] || [ "$(stat -L -c %s /proc/self/fd/3)" = "$size" ] || refuse "the content did not arrive whole; $target stays as it was"
    if [ -n "$old" ] && { [ -z "$owner" ] || [ -z "$group" ]; }; then
        ids=$(stat -c '%u %g' -- "$target") || exit
        owner=${owner:-${ids% *}} group=${group:-${ids#* }}
    fi
    if [ -n "$owner$group" ]; then
        chown -- "$owner${group:+:$group}" /proc/self/fd/3 || exit
    fi
    if [ -n "$mode" ]; then
        chmod -- "$mode" /proc/self/fd/3 || exit
    elif [ -n "$old" ]; then
        cp --attributes-only --preserve=mode -- "$target" /proc/self/fd/3 || exit
    else
        chmod 0644 /proc/self/fd/3 || exit
    fi
    sync -- /proc/self/fd/3 || exit
    exec 3>&-
    if [ -n "$validate" ]; then
        sh -c "$validate" validate "$temporary" </dev/null >&2 || refuse "validate failed with exit status $?; $target stays as it was"
    fi
    if [ -n "$expected" ]; then
        is=absent
        if [ -n "$old" ]; then is=$(sha256sum <"$target") || exit; fi
        [ "${is%% *}" = "$expected" ] || [ "$is" = "$(sha256sum <"$temporary")" ] || refuse "$target was changed by another process at this very moment; run again"
    fi
    if [ -n "$backup" ] && [ -n "$old" ]; then
        now=$(date +%Y-%m-%d@%H:%M:%S.%3N) || exit
        exec 4<"$target" || exit
        ln -- "$target" "$target.$now~" || exit
    fi
    mv -T -f -- "$temporary" "$target" || exit
    trap - EXIT
    if [ "$backup" = private ] && [ -n "$old" ]; then
        chmod go= /proc/self/fd/4 || exit
    fi
    sync -- "$directory" || exit
)"#;

/// `set_access PATH OWNER GROUP MODE FOLLOW`; only the path may not be empty.
///
/// Works on the open file, because chmod follows links, and the path may be in another user's directory.
pub const SET_ACCESS: &str = r#"set_access() (
    set -u
    refuse() { printf '%s\n' "$1" >&2; exit 1; }
    if [ -n "$5" ] && [ -L "$1" ] && [ -k "${1%/*}/" ]; then
        refuse "$1 is a link in a directory that every user may write to: not followed"
    fi
    [ -f "$1" ] || [ -d "$1" ] || refuse "$1 is not a file or directory"
    exec 3<"$1" || exit
    [ -n "$5" ] || { [ ! -L "$1" ] && [ "$1" -ef /proc/self/fd/3 ]; } || refuse "$1 is a link: not followed"
    if [ -n "$2$3" ]; then
        chown -- "$2${3:+:$3}" /proc/self/fd/3 || exit
    fi
    if [ -n "$4" ]; then
        chmod -- "$4" /proc/self/fd/3 || exit
    fi
)"#;

#[cfg(test)]
#[path = "put_tests.rs"]
mod tests;
