//! A second safeguard for the output of nodes: replaces known secret values by their names.

use std::cmp::Reverse;

use serde_json::{Map, Value};

use crate::{
    event::Outcome,
    secret::{Secret, SecretValues, percent_encode},
    values::{Diff, Line},
};

/// Shorter values are words that may occur anywhere; replacing them would garble messages and hide nothing.
const MIN_LENGTH: usize = 6;

/// Returns `text` with every known value of a secret, plain or percent-encoded as templates may write it, replaced by `‹NAME›`.
pub(crate) fn redact(text: &str, values: &SecretValues) -> String {
    let mut found = Vec::new();
    for (name, value) in values.iter() {
        // Output arrives line by line, so each line of a key is redacted on its own, too.
        let lines = value.expose().lines().filter(|line| line.len() < value.expose().len());
        for part in [value.expose()].into_iter().chain(lines).filter(|part| part.len() >= MIN_LENGTH) {
            for form in [Secret::new(part.to_owned()), Secret::new(percent_encode(part))] {
                if text.contains(form.expose()) {
                    found.push((form, name.clone()));
                }
            }
        }
    }
    // One value may contain another: replacing the inner one first would leave the rest readable.
    found.sort_by_cached_key(|(form, name)| (Reverse(form.expose().len()), name.clone()));
    found.iter().fold(text.to_owned(), |result, (form, name)| result.replace(form.expose(), &format!("‹{name}›")))
}

/// Applies [`redact`] to every text of a node's facts.
pub(super) fn redacted_facts(facts: &Map<String, Value>, values: &SecretValues) -> Map<String, Value> {
    facts.iter().map(|(name, fact)| (name.clone(), redacted_fact(fact, values))).collect()
}

fn redacted_fact(fact: &Value, values: &SecretValues) -> Value {
    match fact {
        Value::String(text) => Value::String(redact(text, values)),
        Value::Array(items) => items.iter().map(|item| redacted_fact(item, values)).collect(),
        Value::Object(fields) => Value::Object(redacted_facts(fields, values)),
        Value::Null | Value::Bool(_) | Value::Number(_) => fact.clone(),
    }
}

/// Applies [`redact`] to every text of an outcome.
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
        warning: outcome.warning.map(|warning| redact(&warning, values)),
        diff: Diff { lines: outcome.diff.lines.into_iter().map(line).collect() },
        error: outcome.error.map(|error| redact(&error, values)),
        ..outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretRef;
    use serde_json::json;

    #[test]
    fn values_are_replaced_by_names() {
        let mut values = SecretValues::default();
        values.insert(SecretRef { host: "db".into(), name: "DB_PASSWORD".into() }, Secret::new("canary-1".into()));
        assert_eq!(redact("bad line: requirepass canary-1", &values), "bad line: requirepass ‹DB_PASSWORD›");
        values.insert(SecretRef { host: "db".into(), name: "URL_PASSWORD".into() }, Secret::new("c@nary/2".into()));
        assert_eq!(redact("db://u:c%40nary%2F2@h c@nary/2", &values), "db://u:‹URL_PASSWORD›@h ‹URL_PASSWORD›");
    }

    #[test]
    fn each_line_of_a_key_is_redacted() {
        let mut values = SecretValues::default();
        values.insert(SecretRef { host: "db".into(), name: "KEY".into() }, Secret::new("-----BEGIN\nc4nary\n\nEND".into()));
        assert_eq!(redact("bad line: c4nary", &values), "bad line: ‹KEY›");
        assert_eq!(redact("-----BEGIN\nc4nary\n\nEND of it", &values), "‹KEY› of it");
    }

    #[test]
    fn the_longest_of_overlapping_values_is_redacted_first() {
        // The order of a map differs from one map to the next.
        for _ in 0..20 {
            let mut values = SecretValues::default();
            for (name, value) in [("SHORT", "canary"), ("LONGEST", "the canary sings/"), ("LONGER", "canary sings")] {
                values.insert(SecretRef { host: "db".into(), name: name.into() }, Secret::new(value.into()));
            }
            assert_eq!(
                redact("the canary sings/ the%20canary%20sings%2F canary sings, canary", &values),
                "‹LONGEST› ‹LONGEST› ‹LONGER›, ‹SHORT›"
            );
        }
    }

    #[test]
    fn facts_are_masked_at_every_depth() {
        let mut values = SecretValues::default();
        values.insert(SecretRef { host: "db".into(), name: "TOKEN".into() }, Secret::new("canary-1".into()));
        let facts = json!({"a": "x canary-1", "b": ["canary-1", 7], "c": {"d": {"e": "canary-1"}}, "f": null});
        let masked = redacted_facts(facts.as_object().unwrap(), &values);
        let expected = json!({"a": "x ‹TOKEN›", "b": ["‹TOKEN›", 7], "c": {"d": {"e": "‹TOKEN›"}}, "f": null});
        assert_eq!(Value::Object(masked), expected);
    }
}
