//! The values of secrets that come from outside the nodes, for one run.

use std::collections::HashMap;

use super::{Secret, SecretId, SecretValues};

/// The values of secrets from outside, by the host that needs them. They are handed to a run beside its plan.
#[derive(Debug, Default)]
pub struct ProvidedValues {
    by_host: HashMap<String, SecretValues>,
    none: SecretValues,
}

impl ProvidedValues {
    /// Gives a host the value of a secret.
    pub fn insert(&mut self, host: &str, secret: SecretId, value: Secret) {
        self.by_host.entry(host.to_owned()).or_default().insert(secret, value);
    }

    /// Returns the values for a host.
    #[must_use]
    pub fn of(&self, host: &str) -> &SecretValues {
        self.by_host.get(host).unwrap_or(&self.none)
    }
}
