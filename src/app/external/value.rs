//! Validation of the values of secrets.

use crate::secret::{EnvFile, Secret};

/// The longest value, in bytes. A longer one is certainly a mistake.
pub(super) const LONGEST: usize = 64 << 10;

/// Why bytes cannot be the value of a secret. It never contains any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidValue {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than 64 KiB")]
    TooLong,
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("it has more than one line")]
    Lines,
    #[error("it contains a control character")]
    Control,
    #[error("it contains a reserved character")]
    Reserved,
    #[error(
        "it cannot be written as `NAME=value` so that all readers agree: it contains both kinds of quotation marks, or one of them and `\\`, `$` or a backquote"
    )]
    Quotes,
}

impl InvalidValue {
    pub(super) fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Lines => Some("a value is a single line; select one line of a program's output, such as with `| head -n 1`"),
            Self::Empty | Self::TooLong | Self::NotText | Self::Control | Self::Reserved | Self::Quotes => None,
        }
    }
}

/// Validates text of any kind, as Ansible Vault may contain it: keys and certificates have several lines.
pub(super) fn text(bytes: &[u8]) -> Result<Secret, InvalidValue> {
    if bytes.len() > LONGEST {
        return Err(InvalidValue::TooLong);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Secret::new(text.to_owned()),
        Err(_) => return Err(InvalidValue::NotText),
    };
    checked(text)
}

/// Validates text that is already decoded.
pub(super) fn checked(text: Secret) -> Result<Secret, InvalidValue> {
    let is_control = |character: char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
    match text.expose() {
        "" => Err(InvalidValue::Empty),
        long if long.len() > LONGEST => Err(InvalidValue::TooLong),
        odd if odd.contains(is_control) => Err(InvalidValue::Control),
        reserved if crate::secret::holds_token(reserved) => Err(InvalidValue::Reserved),
        _ => Ok(text),
    }
}

/// Validates a single line that a secrets file can contain, and removes the line break at its end.
pub(super) fn line(text: Secret) -> Result<Secret, InvalidValue> {
    let line = one_line(text)?;
    if EnvFile::quotes(line.expose()).is_none() { Err(InvalidValue::Quotes) } else { Ok(line) }
}

/// Validates a single line, and removes the line break at its end.
pub(super) fn one_line(text: Secret) -> Result<Secret, InvalidValue> {
    let text = checked(text)?;
    let line = Secret::new(text.expose().trim_end_matches(['\n', '\r']).to_owned());
    match line.expose() {
        "" => Err(InvalidValue::Empty),
        lines if lines.contains(['\n', '\r']) => Err(InvalidValue::Lines),
        tab if tab.contains(char::is_control) => Err(InvalidValue::Control),
        _ => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<String, InvalidValue> {
        text(bytes).and_then(line).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_line_break_at_the_end_is_not_part_of_the_value() {
        for text in ["p@ss wörd", "p@ss wörd\n", "p@ss wörd\r\n", "p@ss wörd\n\n"] {
            assert_eq!(parse(text.as_bytes()).as_deref(), Ok("p@ss wörd"));
        }
        assert_eq!(parse(b" in spaces ").as_deref(), Ok(" in spaces "));
    }

    #[test]
    fn invalid_values_are_refused() {
        assert_eq!([b"".as_slice(), b"\n", b"\r\n\n"].map(parse), [const { Err(InvalidValue::Empty) }; 3]);
        assert_eq!(parse(b"a\nb\n"), Err(InvalidValue::Lines));
        assert_eq!(parse(b"a\rb"), Err(InvalidValue::Lines));
        assert_eq!(parse(b"a\0b"), Err(InvalidValue::Control));
        assert_eq!(parse(b"a\x1b[31m"), Err(InvalidValue::Control));
        assert_eq!(parse(b"a\tb"), Err(InvalidValue::Control));
        assert_eq!(parse(b"a\xff"), Err(InvalidValue::NotText));
        assert_eq!(parse(&vec![b'a'; LONGEST + 1]), Err(InvalidValue::TooLong));
        assert_eq!(parse("a\u{F5EC0}".as_bytes()), Err(InvalidValue::Reserved));
        assert_eq!(parse(b"it's \"quoted\""), Err(InvalidValue::Quotes));
    }
}
