//! A second fence before what nodes print: known secret values are replaced by their names.

use crate::{
    event::Outcome,
    resource::{Diff, diff::Line},
    secret::{SecretValues, percent_encode},
};

/// Values shorter than this are words that may stand anywhere; replacing them would garble messages and hide nothing.
const SHORTEST: usize = 6;

/// `text` with every known value of a secret, plain or percent-encoded as templates may write it, replaced by `‹NAME›`.
pub(super) fn redact(text: &str, values: &SecretValues) -> String {
    let mut shown = text.to_owned();
    for (secret, value) in values.iter().filter(|(_, value)| value.expose().len() >= SHORTEST) {
        for form in [value.expose(), &percent_encode(value.expose())] {
            if shown.contains(form) {
                shown = shown.replace(form, &format!("‹{}›", secret.name));
            }
        }
    }
    shown
}

/// An outcome with [`redact`] applied to all that people will see of it.
pub(super) fn redacted(outcome: Outcome, values: &SecretValues) -> Outcome {
    let line = |line: Line| match line {
        Line::Title(text) => Line::Title(redact(&text, values)),
        Line::Context(text) => Line::Context(redact(&text, values)),
        Line::Added(text) => Line::Added(redact(&text, values)),
        Line::Removed(text) => Line::Removed(redact(&text, values)),
        Line::Gap => Line::Gap,
    };
    Outcome {
        summary: redact(&outcome.summary, values),
        diff: Diff { lines: outcome.diff.lines.into_iter().map(line).collect() },
        error: outcome.error.map(|error| redact(&error, values)),
        ..outcome
    }
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
        values.insert(SecretRef { host: "db".into(), name: "URL_PASSWORD".into() }, Secret::new("c@nary/2".into()));
        assert_eq!(redact("db://u:c%40nary%2F2@h c@nary/2", &values), "db://u:‹URL_PASSWORD›@h ‹URL_PASSWORD›");
    }
}
