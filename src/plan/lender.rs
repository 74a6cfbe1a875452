//! A host outside the plan that lends secrets to it.

use crate::question::way::TrustedOwners;

use super::{ConnectionVars, SecretSpec};

/// A host that is contacted only to read the secrets that live on it.
#[derive(Debug)]
pub struct Lender {
    /// Its name in the inventory.
    pub name: String,
    /// The secrets to read.
    pub secrets: Vec<SecretSpec>,
    /// The users whom root trusts with the way to its files.
    pub trusted_owners: TrustedOwners,
    pub(super) connection: ConnectionVars,
}

impl Lender {
    /// How to reach it.
    #[must_use]
    pub fn connection(&self) -> &ConnectionVars {
        &self.connection
    }
}
