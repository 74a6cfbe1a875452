//! What could end the way in of this run: refused, or tried out, before it is live.
//!
//! - [`account`]: the account with which this run logs in, its home and its keys; refused by the answers alone, so in a check, too.
//! - [`service`]: the ssh server's unit; the same.
//! - [`tree`]: the files of sshd and sudo. Their owner and mode are refused by the answers; the program that reads them judges the whole tree with the
//!   change in it, which only a deploy can do.

pub(super) mod account;
pub(super) mod service;
pub(super) mod tree;

use super::{NodeState, access::Access, reach::is_home_file};
use crate::{
    question::{
        Questions, Unanswered,
        account::User,
        path::{Attributes, File},
    },
    secret::Sealed,
    values::{Mode, RemotePath},
};

/// Asks what [`of_file`] needs for a file at this path.
pub(super) fn ask_for_file(questions: &mut Questions, path: &RemotePath) {
    if is_home_file(path.as_str()) {
        account::ask(questions);
    }
}

/// Returns the reason why a file may not get this access and this content, `None` if that stays or is not known.
///
/// # Errors
/// When it is not known who the owner is, or which account is this run's.
pub(super) fn of_file(
    node: &NodeState<'_>,
    path: &RemotePath,
    access: &Access,
    before: Option<&File>,
    content: Option<&Sealed>,
) -> Result<Option<String>, Unanswered> {
    let attributes = before.map(|file| &file.attributes);
    if let Some(reason) = tree::refuses_access(node, path, access, attributes)? {
        return Ok(Some(reason));
    }
    if !account::holds_keys(path) {
        return Ok(None);
    }
    if let Some(reason) = account::refuses(node, path, account::Deed::Access(access, attributes))? {
        return Ok(Some(reason));
    }
    let old = before.and_then(|file| file.content.as_deref());
    match (old, content.and_then(|content| content.reveal(node.secrets).ok())) {
        (Some(old), Some(new)) => account::refuses_keys(node, path, old, &new),
        (None, _) | (_, None) => Ok(None),
    }
}

/// Owner, group and mode after a change; what is not known is `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq)]
struct After {
    uid: Option<u32>,
    group: String,
    mode: Option<Mode>,
}

/// Stands for the uid of an account that does not exist yet.
const NOT_YET: u32 = u32::MAX;

impl After {
    /// Returns what is declared and, for the rest, what is there.
    fn of(node: &NodeState<'_>, access: &Access, before: Option<&Attributes>) -> Result<Self, Unanswered> {
        let declared = match &access.owner {
            Some(owner) if owner.as_str() == "root" => Some(0),
            Some(owner) => Some(node.answers.get::<User>(owner)?.as_ref().map_or(NOT_YET, |user| user.uid)),
            None => None,
        };
        let group = access.group.as_ref().map(ToString::to_string);
        Ok(Self {
            uid: declared.or(before.map(|before| before.uid)),
            group: group.or_else(|| before.map(|before| before.group.clone())).unwrap_or_default(),
            mode: access.mode.or(before.map(|before| before.mode)),
        })
    }

    /// A new file is root's and has mode 0644, unless something else is declared.
    fn or_new_file(self) -> Self {
        let group = if self.group.is_empty() { "root".to_owned() } else { self.group };
        Self { uid: self.uid.or(Some(0)), group, mode: self.mode.or(Some(Mode(0o644))) }
    }
}

impl From<&Attributes> for After {
    fn from(attributes: &Attributes) -> Self {
        Self { uid: Some(attributes.uid), group: attributes.group.clone(), mode: Some(attributes.mode) }
    }
}

#[cfg(test)]
mod tests;
