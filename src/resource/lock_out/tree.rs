//! The files that sshd and sudo read. Before a change of them is live, the program itself judges the whole tree with the change in it.

use super::After;
use crate::{
    question::{Unanswered, path::Attributes},
    resource::{NodeState, access::Access},
    script::Script,
    secret::Sealed,
    values::{Mode, RemotePath},
};

/// The program that reads a tree of files, and can judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Sshd,
    Sudo,
}

/// Returns the program that reads what is at the path. What a tree names elsewhere, by `Include` or a link, cannot be told by its path.
fn reader(path: &RemotePath) -> Option<Reader> {
    match path.as_str() {
        "/etc/ssh" => Some(Reader::Sshd),
        "/etc/sudoers" | "/etc/sudoers.d" => Some(Reader::Sudo),
        path if path.starts_with("/etc/sudoers.d/") || path.starts_with("/etc/sudoers.") => Some(Reader::Sudo),
        // The rest of this directory is the client's.
        path => path.strip_prefix("/etc/ssh/").filter(|rest| rest.starts_with("ssh")).and_then(|rest| {
            let is_client = ["ssh_config", "ssh_known_hosts"].iter().any(|name| rest.starts_with(name));
            (!is_client).then_some(Reader::Sshd)
        }),
    }
}

/// What becomes of a path, for the program that judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::resource) enum Change {
    /// Nothing is there any more. The script's only parameter is the path.
    Absent,
    /// A link; the script's parameters are the path and the target.
    Link,
    /// Another owner, group or mode; those three and the path are the script's parameters.
    Access,
    /// The same for a directory and all below it.
    Tree,
}

const SSHD: &str = "judged=sshd";
const SUDO: &str = "judged=visudo";
const PRIVATE: &str = "private=yes";

/// `tried_out PATH HOW [WITH...]`, see there.
const JUDGE: &str = include_str!("judge.sh");

impl Reader {
    fn judges(self, script: Script) -> Script {
        let which = match self {
            Self::Sshd => SSHD,
            Self::Sudo => SUDO,
        };
        script.using(which).using(JUDGE)
    }
}

/// Lets `put_file` try out the new file before it takes its place, if the path is of such a tree. Words of the program that could show a secret of the
/// `content` are kept back.
#[must_use]
pub(in crate::resource) fn before_put(script: Script, path: &RemotePath, content: &Sealed) -> Script {
    match reader(path) {
        None => script,
        Some(reader) if content.secrets().is_empty() => reader.judges(script),
        Some(reader) => reader.judges(script.using(PRIVATE)),
    }
}

/// Lets a script begin by trying out its change, if the path is of such a tree.
#[must_use]
pub(in crate::resource) fn before(script: Script, path: &RemotePath, change: Change) -> Script {
    let Some(reader) = reader(path) else { return script };
    reader.judges(script).using(match change {
        Change::Absent => r#"tried_out "$1" absent || exit"#,
        Change::Link => r#"tried_out "$1" link "$2" || exit"#,
        Change::Access => r#"tried_out "$1" access "$2" "$3" "$4" || exit"#,
        Change::Tree => r#"tried_out "$1" access "$2" "$3" "$4" -R || exit"#,
    })
}

/// Returns the reason why sudo would not take a file, or its directory, with this access.
///
/// # Errors
/// When it is not known who the owner is.
pub(in crate::resource) fn refuses_access(
    node: &NodeState<'_>,
    path: &RemotePath,
    access: &Access,
    before: Option<&Attributes>,
) -> Result<Option<String>, Unanswered> {
    let name = path.file_name();
    let is_read = !path.as_str().starts_with("/etc/sudoers.d/") || !(name.contains('.') || name.ends_with('~'));
    if reader(path) != Some(Reader::Sudo) || !is_read {
        return Ok(None);
    }
    let after = After::of(node, access, before)?.or_new_file();
    // sudo does not take it now, either.
    if before.is_some_and(|before| problem(&After::from(before)).is_some()) {
        return Ok(None);
    }
    Ok(problem(&after).map(|why| {
        format!("sudo would not take `{path}`, because {why}: it must belong to root, and no other user may write to it (`owner: root`, `mode: \"0440\"`)")
    }))
}

fn problem(entry: &After) -> Option<&'static str> {
    let mode = entry.mode.map_or(0, |Mode(mode)| mode);
    if entry.uid.is_some_and(|uid| uid != 0) {
        Some("another user would own it")
    } else if mode & 0o002 != 0 {
        Some("every user could write to it")
    } else if mode & 0o020 != 0 && entry.group != "root" {
        Some("a group could write to it")
    } else {
        None
    }
}
