//! The account with which this run logs in stays as it is: another account can change it on purpose.

use super::After;
use crate::{
    question::{
        Answers, Questions, Unanswered,
        account::AccountName,
        connection::OwnConnection,
        own_account::{LoggedIn, OwnAccount, logged_in},
        path::Attributes,
    },
    resource::{NodeState, access::Access},
    values::{Mode, RemotePath},
};

/// Directories of the system, below which no account has its home.
const NO_HOMES: [&str; 14] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var/cache",
    "/var/log",
    "/var/tmp",
];

/// The files below a home that hold the keys of an account.
const KEY_FILES: [&str; 2] = ["/.ssh/authorized_keys", "/.ssh/authorized_keys2"];

/// What a task does to a path, as far as it matters for an account's home and keys.
#[derive(Debug, Clone, Copy)]
pub(in crate::resource) enum Deed<'a> {
    /// It is removed, or something else takes its place.
    Remove,
    /// A directory or file gets this access; without attributes it is new.
    Access(&'a Access, Option<&'a Attributes>),
    /// The directory and all below it get this access.
    Tree(&'a Access, &'a Attributes),
}

/// Whether a deed at this path could concern the account of a run. Only then is it asked which one that is.
#[must_use]
pub(in crate::resource) fn may_concern(path: &RemotePath) -> bool {
    !NO_HOMES.iter().any(|directory| is_at_or_above(directory, path.as_str()))
}

/// Whether it is a file with keys, in some home.
#[must_use]
pub(in crate::resource) fn holds_keys(path: &RemotePath) -> bool {
    KEY_FILES.iter().any(|name| path.as_str().ends_with(name))
}

/// Asks which account this run has logged in with.
pub(in crate::resource) fn ask(questions: &mut Questions) {
    questions.ask::<OwnConnection>(());
    questions.ask::<OwnAccount>(());
}

/// Returns the account of this run if it has this name.
///
/// # Errors
/// When it is not known which account that is.
pub(in crate::resource) fn named<'a>(answers: &'a Answers, name: &AccountName) -> Result<Option<&'a LoggedIn>, Unanswered> {
    Ok(logged_in(answers)?.filter(|own| own.name == name.as_str()))
}

/// Returns the reason why this account may not be changed in that way: `what` completes "this would".
#[must_use]
pub(in crate::resource) fn refusal(own: &LoggedIn, what: &str) -> String {
    format!(
        "this would {what}, and `{}` is the account with which this run logs in; to do it on purpose, log in as another user (`ansible_user`)",
        own.name
    )
}

/// Returns the reason why a deed would keep the account of this run out of its node.
///
/// # Errors
/// When it is not known which account that is.
pub(in crate::resource) fn refuses(
    node: &NodeState<'_>,
    path: &RemotePath,
    deed: Deed<'_>,
) -> Result<Option<String>, Unanswered> {
    let Some(own) = logged_in(node.answers)? else { return Ok(None) };
    let home = home(own);
    let keys: Vec<String> = KEY_FILES.iter().map(|name| format!("{home}{name}")).collect();
    let private = [home.to_owned(), format!("{home}/.ssh")];
    let path = path.as_str();
    let all = || private.iter().chain(&keys);
    let access_problem = |access: &Access, before: Option<&Attributes>| {
        let is_private = all().any(|mine| mine == path);
        let is_directory = !keys.iter().any(|mine| mine == path);
        let problem = |entry: &After| problem(own, entry, is_private, is_directory);
        // Where sshd has let us in in spite of a problem, it minds none.
        let was_bad = before.is_some_and(|before| problem(&After::from(before)).is_some());
        if was_bad || !is_private && !is_at_or_above(path, home) {
            return Ok(None);
        }
        let why = problem(&After::of(node, access, before)?.or_new_file());
        Ok(why.map(|why| format!("{why} `{path}`, where sshd then takes no key")))
    };
    let what = match deed {
        Deed::Remove => {
            let concerned = all().chain([&own.entry.shell]).find(|mine| is_at_or_above(path, mine));
            concerned.map(|mine| format!("remove `{path}`{}", but_if(path != mine, &format!(", with `{mine}`"))))
        }
        Deed::Access(access, before) => access_problem(access, before)?,
        Deed::Tree(access, before) => {
            let after = After::of(node, access, None)?;
            let below = all().find(|mine| is_at_or_above(path, mine) && mine.as_str() != path);
            match below.and_then(|mine| Some((problem(own, &after, true, true)?, mine))) {
                Some((why, mine)) => Some(format!("{why} all that is in `{path}`, and sshd then takes no key from `{mine}`")),
                None => access_problem(access, Some(before))?,
            }
        }
    };
    Ok(what.map(|what| refusal(own, &what)))
}

/// Returns the reason why a file with keys would let the account of this run in no more: it has had keys, and has none.
///
/// # Errors
/// When it is not known which account that is.
pub(in crate::resource) fn refuses_keys(
    node: &NodeState<'_>,
    path: &RemotePath,
    before: &[u8],
    after: &[u8],
) -> Result<Option<String>, Unanswered> {
    let Some(own) = logged_in(node.answers)? else { return Ok(None) };
    let is_ours = KEY_FILES.iter().any(|name| path.as_str() == format!("{}{name}", home(own)));
    let loses = is_ours && has_key(before) && !has_key(after);
    Ok(loses.then(|| refusal(own, &format!("leave no key in `{path}`"))))
}

/// Whether a line holds a public key, after options if it has some.
fn has_key(content: &[u8]) -> bool {
    let is_type = |word: &str| ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| word.starts_with(prefix));
    let text = String::from_utf8_lossy(content);
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).any(|line| line.split_whitespace().any(is_type))
}

fn home(own: &LoggedIn) -> &str {
    own.entry.home.trim_end_matches('/')
}

/// Whether the path `upper` is `lower` or a directory above it.
fn is_at_or_above(upper: &str, lower: &str) -> bool {
    upper == "/" || lower.strip_prefix(upper).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn but_if(condition: bool, text: &str) -> &str {
    if condition { text } else { "" }
}

/// Returns why sshd would not use keys behind this entry: as the account it must get through directories and read the file, and with `StrictModes` others
/// may not write to what is `private`. Debian's sshd admits a group that has the account's name.
fn problem(own: &LoggedIn, entry: &After, private: bool, is_directory: bool) -> Option<String> {
    let ours = own.entry.uid;
    if private && entry.uid.is_some_and(|uid| uid != 0 && uid != ours) {
        return Some("give another user".to_owned());
    }
    let Some(Mode(mode)) = entry.mode else {
        // What is below a tree and was ours alone is so no more.
        let taken = entry.uid.is_some_and(|uid| uid != ours);
        return (private && taken).then(|| "give another user".to_owned());
    };
    if private && mode & 0o002 != 0 {
        return Some("let every user write to".to_owned());
    }
    if private && mode & 0o020 != 0 && entry.group != own.name {
        return Some("let a group write to".to_owned());
    }
    let bits = match entry.uid {
        Some(uid) if uid == ours => mode >> 6,
        None if private => mode >> 6,
        _ if own.is_in(&entry.group) => mode >> 3,
        Some(_) | None => mode,
    };
    let needed = if is_directory { 1 } else { 4 };
    (ours != 0 && bits & needed == 0).then(|| "keep it out of".to_owned())
}
