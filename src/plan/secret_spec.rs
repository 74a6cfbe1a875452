//! A secret as a role declares it for a host.

use crate::{
    outside::ExternalValue,
    question::path::PathQuery,
    resource::access::Access,
    secret::{SecretId, SecretRef},
    source::Span,
    values::RemotePath,
};

/// A secret that must be on a host before anything uses it.
#[derive(Debug, Clone)]
pub struct SecretSpec {
    /// Which.
    pub secret: SecretRef,
    /// The file that holds it, as `NAME=value`.
    pub file: RemotePath,
    /// How many characters.
    pub length: usize,
    /// Characters that a value from elsewhere must not contain.
    pub without: String,
    /// The file's owner, group and mode.
    pub access: Access,
    /// Where its value comes from, if it is not generated on the node.
    pub outside: Option<ExternalValue>,
    /// The role that declares it.
    pub role: String,
    /// Where it is declared.
    pub span: Span,
}

impl SecretSpec {
    /// Returns what the tokens of the secret stand for.
    #[must_use]
    pub fn id(&self) -> SecretId {
        self.secret.clone().into()
    }

    /// Returns the question about its file.
    #[must_use]
    pub fn question(&self) -> PathQuery {
        PathQuery::content(&self.file).owned_by(self.access.owner.as_ref())
    }
}
