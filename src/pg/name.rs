//! Names and literals in SQL. The only module that quotes for PostgreSQL.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// PostgreSQL silently truncates longer names (`NAMEDATALEN - 1`).
const MAX_BYTES: usize = 63;

/// The name of a role or database: 1 to 63 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Validates a name.
    ///
    /// # Errors
    /// Says why the name is invalid.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > MAX_BYTES {
            return Err(format!("a PostgreSQL name has 1 to {MAX_BYTES} bytes, but this one has {}", name.len()));
        }
        if name.contains(char::is_control) {
            return Err("a PostgreSQL name cannot contain control characters here".to_owned());
        }
        Ok(Self(name.to_owned()))
    }

    pub(super) fn fixed(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as an SQL identifier, in double quotes.
    #[must_use]
    pub fn identifier(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }

    /// Returns the name as people write it in SQL: without quotes where it needs none.
    #[must_use]
    pub fn as_written(&self) -> String {
        let plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
        let needs_none = self.0.starts_with(|first: char| first.is_ascii_lowercase()) && self.0.chars().all(plain);
        if needs_none { self.0.clone() } else { self.identifier() }
    }

    /// The reason why the rules of `pg_hba.conf` could not name this database; `None` if they can.
    #[must_use]
    pub fn unusable_for_a_database(&self) -> Option<String> {
        let is_keyword = ["all", "sameuser", "samerole", "samegroup", "replication"].contains(&self.as_str());
        is_keyword.then(|| {
            format!(
                "`{self}` is a keyword of pg_hba.conf, where a rule for this database would count for others; choose another name"
            )
        })
    }

    /// The reason why the rules of `pg_hba.conf` could not name this role; `None` if they can.
    #[must_use]
    pub fn unusable_for_a_role(&self) -> Option<String> {
        (self.as_str() == "all" || self.0.starts_with('+')).then(|| {
            format!("`{self}` has a meaning of its own in pg_hba.conf, where a rule for this role would count for others; choose another name")
        })
    }

    /// Returns the name as an SQL string literal.
    #[must_use]
    pub fn literal(&self) -> String {
        literal(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Quotes text as an SQL string literal. Text with a backslash becomes an `E''` string, which means the same whatever `standard_conforming_strings`
/// is set to. PostgreSQL cannot express a NUL byte; the server refuses it.
#[must_use]
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads one SQL string or identifier as PostgreSQL's lexer does (scan.l); `None` unless it ends exactly at the end of the text.
    fn lex(sql: &str, quote: char) -> Option<String> {
        let sql = sql.trim_start();
        let (escapes, body) = match sql.strip_prefix('E') {
            Some(rest) => (true, rest),
            None => (false, sql),
        };
        let mut characters = body.strip_prefix(quote)?.chars().peekable();
        let mut text = String::new();
        while let Some(character) = characters.next() {
            if character == quote {
                if characters.next_if_eq(&quote).is_none() {
                    return characters.next().is_none().then_some(text);
                }
                text.push(quote);
            } else if character == '\\' && escapes {
                text.push(characters.next().filter(|escaped| *escaped == '\\')?);
            } else {
                text.push(character);
            }
        }
        None
    }

    proptest! {
        #[test]
        fn a_literal_is_read_back_as_the_same_text(text in "[^\0]{0,60}|['\"\\\\E$:;\n ]{0,20}") {
            let quoted = literal(&text);
            prop_assert_eq!(lex(&quoted, '\''), Some(text));
            // However the server treats backslashes in plain strings.
            prop_assert!(!quoted.contains('\\') || quoted.starts_with(" E'"));
        }

        #[test]
        fn an_identifier_is_read_back_as_the_same_name(text in "[^\0-\x1f\x7f-\u{9f}]{1,15}|['\"\\\\E$:; ]{1,20}") {
            prop_assert_eq!(lex(&Name::new(&text).unwrap().identifier(), '"'), Some(text));
        }
    }

    #[test]
    fn long_names_and_control_characters_are_refused() {
        assert!(Name::new(&"x".repeat(63)).is_ok());
        for wrong in [String::new(), "x".repeat(64), "ü".repeat(32), "a\0".into(), "a\nb".into()] {
            assert!(Name::new(&wrong).is_err(), "{wrong:?}");
        }
    }
}
