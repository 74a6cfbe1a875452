//! The way to a file: which directories and links on it root may go through. The same shell text judges it in questions and where something
//! is written, so that a check and a deploy refuse the same, and what is swapped in between is caught.

use super::account::AccountName;
use crate::script::{NulByte, Quotes, quote_with};

/// Shell functions: `reach FOR PATH FOLLOW [PARENTS]` goes to the directory of a path, one component after the other, and `go` ends the script
/// where that is not possible; `sound` and `check` then judge the entry itself. They set `name`, the last part of the path.
///
/// A directory is bad when a user who is not trusted owns it, or can write to it without the sticky bit. Writing by the group `root` is root's
/// own. A link is followed only where no other user could put or replace it. The working directory is compared with the kernel's own path of it
/// after it was entered, together with all directories above it: nothing that was swapped for a moment can lead elsewhere.
pub const WAY: &str = include_str!("way.sh");

/// The users of a node who may do there what root may: it goes through their directories and follows their links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedOwners(Vec<AccountName>);

impl TrustedOwners {
    /// Trusts these users.
    #[must_use]
    pub fn new(names: Vec<AccountName>) -> Self {
        Self(names)
    }

    /// Returns the text that tells them to [`WAY`], to put before a script.
    ///
    /// # Errors
    /// [`NulByte`] if a name contains one; no name does.
    pub fn told_to(&self, script: String) -> Result<String, NulByte> {
        if self.0.is_empty() {
            return Ok(script);
        }
        let names: Vec<&str> = self.0.iter().map(AccountName::as_str).collect();
        Ok(format!("export trusted_owners={}\n{script}", quote_with(&names.join(" "), Quotes::Single)?))
    }
}

#[cfg(test)]
#[path = "way_tests.rs"]
mod tests;
