//! What may be a secret's value.

use crate::secret::{EnvFile, Secret};

/// No password is longer, and nobody means to send more.
pub(super) const LONGEST: usize = 64 << 10;

/// Why bytes cannot be the value of a secret. Never holds anything of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than 64 KiB")]
    TooLong,
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("it has more than one line")]
    Lines,
    #[error("it holds a control character")]
    Control,
    #[error("it holds a character that is reserved")]
    Reserved,
    #[error(
        "it cannot be written as `NAME=value` such that all readers agree: it holds both kinds of quotation marks, or one of them and `\\`, `$` or a backquote"
    )]
    Quotes,
}

impl Unfit {
    pub(super) fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Lines => Some("a value is a single line; of a program's output take one, such as with `| head -n 1`"),
            Self::Empty | Self::TooLong | Self::NotText | Self::Control | Self::Reserved | Self::Quotes => None,
        }
    }
}

/// Text of any kind, as Ansible Vault may hold it: keys and certificates have lines.
pub(super) fn text(bytes: &[u8]) -> Result<Secret, Unfit> {
    if bytes.len() > LONGEST {
        return Err(Unfit::TooLong);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Secret::new(text.to_owned()),
        Err(_) => return Err(Unfit::NotText),
    };
    checked(text)
}

/// The same of a text.
pub(super) fn checked(text: Secret) -> Result<Secret, Unfit> {
    let is_control = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t');
    match text.expose() {
        "" => Err(Unfit::Empty),
        long if long.len() > LONGEST => Err(Unfit::TooLong),
        odd if odd.contains(is_control) => Err(Unfit::Control),
        reserved if crate::secret::holds_token(reserved) => Err(Unfit::Reserved),
        _ => Ok(text),
    }
}

/// A single line, without the line break at its end, that a secrets file can hold.
pub(super) fn line(text: Secret) -> Result<Secret, Unfit> {
    let line = one_line(text)?;
    if EnvFile::quotes(line.expose()).is_none() { Err(Unfit::Quotes) } else { Ok(line) }
}

/// A single line, without the line break at its end.
pub(super) fn one_line(text: Secret) -> Result<Secret, Unfit> {
    let text = checked(text)?;
    let line = Secret::new(text.expose().trim_end_matches(['\n', '\r']).to_owned());
    match line.expose() {
        "" => Err(Unfit::Empty),
        lines if lines.contains(['\n', '\r']) => Err(Unfit::Lines),
        tab if tab.contains(char::is_control) => Err(Unfit::Control),
        _ => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<String, Unfit> {
        text(bytes).and_then(line).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_line_break_at_the_end_is_not_part_of_the_value() {
        for text in ["p@ss wörd", "p@ss wörd\n", "p@ss wörd\r\n", "p@ss wörd\n\n"] {
            assert_eq!(of(text.as_bytes()).as_deref(), Ok("p@ss wörd"));
        }
        assert_eq!(of(b" in spaces ").as_deref(), Ok(" in spaces "));
    }

    #[test]
    fn what_cannot_be_a_value_is_refused() {
        assert_eq!([b"".as_slice(), b"\n", b"\r\n\n"].map(of), [const { Err(Unfit::Empty) }; 3]);
        assert_eq!(of(b"a\nb\n"), Err(Unfit::Lines));
        assert_eq!(of(b"a\rb"), Err(Unfit::Lines));
        assert_eq!(of(b"a\0b"), Err(Unfit::Control));
        assert_eq!(of(b"a\x1b[31m"), Err(Unfit::Control));
        assert_eq!(of(b"a\tb"), Err(Unfit::Control));
        assert_eq!(of(b"a\xff"), Err(Unfit::NotText));
        assert_eq!(of(&vec![b'a'; LONGEST + 1]), Err(Unfit::TooLong));
        assert_eq!(of("a\u{F5EC0}".as_bytes()), Err(Unfit::Reserved));
        assert_eq!(of(b"it's \"quoted\""), Err(Unfit::Quotes));
    }
}
