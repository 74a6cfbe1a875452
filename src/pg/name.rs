//! Names and text in SQL. The only place that quotes for PostgreSQL.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// PostgreSQL cuts longer names off, silently (`NAMEDATALEN - 1`).
const LONGEST: usize = 63;

/// The name of a role or database: 1 to 63 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > LONGEST {
            return Err(format!("a PostgreSQL name has 1 to {LONGEST} bytes, this one has {}", name.len()));
        }
        if name.contains(char::is_control) {
            return Err("a PostgreSQL name cannot hold control characters here".to_owned());
        }
        Ok(Self(name.to_owned()))
    }

    pub(super) fn fixed(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as an SQL identifier, in double quotes.
    #[must_use]
    pub fn identifier(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }

    /// The name as an SQL string.
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

/// Text as an SQL string. With a backslash in it, it is an `E''` string, which means the same whatever `standard_conforming_strings` says.
/// PostgreSQL has no way to write a NUL byte; the server refuses it.
#[must_use]
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads one SQL string or identifier as PostgreSQL's lexer does (scan.l), and fails unless it ends exactly at the end.
    fn lex(sql: &str, quote: char) -> Option<String> {
        let sql = sql.trim_start();
        let (escapes, body) = match sql.strip_prefix('E') {
            Some(rest) => (true, rest),
            None => (false, sql),
        };
        let mut signs = body.strip_prefix(quote)?.chars().peekable();
        let mut text = String::new();
        while let Some(sign) = signs.next() {
            if sign == quote {
                if signs.next_if_eq(&quote).is_none() {
                    return signs.next().is_none().then_some(text);
                }
                text.push(quote);
            } else if sign == '\\' && escapes {
                text.push(signs.next().filter(|escaped| *escaped == '\\')?);
            } else {
                text.push(sign);
            }
        }
        None
    }

    proptest! {
        #[test]
        fn a_literal_reads_back_as_the_text(text in "[^\0]{0,60}|['\"\\\\E$:;\n ]{0,20}") {
            let quoted = literal(&text);
            prop_assert_eq!(lex(&quoted, '\''), Some(text));
            // Whichever way the server reads backslashes in plain strings.
            prop_assert!(!quoted.contains('\\') || quoted.starts_with(" E'"));
        }

        #[test]
        fn an_identifier_reads_back_as_the_name(text in "[^\0-\x1f\x7f-\u{9f}]{1,15}|['\"\\\\E$:; ]{1,20}") {
            prop_assert_eq!(lex(&Name::new(&text).unwrap().identifier(), '"'), Some(text));
        }
    }

    #[test]
    fn names_are_short_and_on_one_line() {
        assert!(Name::new(&"x".repeat(63)).is_ok());
        for wrong in [String::new(), "x".repeat(64), "ü".repeat(32), "a\0".into(), "a\nb".into()] {
            assert!(Name::new(&wrong).is_err(), "{wrong:?}");
        }
    }
}
