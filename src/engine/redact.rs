//! A second fence before what nodes print: known secret values are replaced by their names.

use crate::secret::SecretValues;

/// Values shorter than this are words that may stand anywhere; replacing them would garble messages and hide nothing.
const SHORTEST: usize = 6;

/// `text` with every known value of a secret replaced by `‹NAME›`.
pub(super) fn redact(text: &str, values: &SecretValues) -> String {
    let mut shown = text.to_owned();
    for (secret, value) in values.iter() {
        if value.expose().len() >= SHORTEST && shown.contains(value.expose()) {
            shown = shown.replace(value.expose(), &format!("‹{}›", secret.name));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Secret, SecretRef};

    #[test]
    fn values_become_names() {
        let mut values = SecretValues::default();
        values.insert(SecretRef { host: "db".into(), name: "DB_PASSWORD".into() }, Secret::new("canary-1".into()));
        assert_eq!(redact("bad line: requirepass canary-1", &values), "bad line: requirepass ‹DB_PASSWORD›");
    }
}
