//! Keys in a printable form, and patterns of keys. A key may be any bytes, so it is never printed unchanged.

use std::fmt::Write as _;

use serde::Deserialize;

/// The longest key that is shown in full, in bytes.
const MAX_SHOWN: usize = 48;

/// A pattern of keys: `*` matches anything, `?` matches one byte, and the rest matches itself. Redis's `[…]` and `\` are not supported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern(String);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.contains(['[', ']', '\\']) || text.chars().any(char::is_control) {
            return Err(format!("`{}` is not a valid key pattern: use text with `*` and `?`", text.escape_debug()));
        }
        Ok(Self(text))
    }
}

impl Pattern {
    /// Returns the pattern as written, which is also the form that `SCAN … MATCH` accepts.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a key matches. This takes linear time for patterns with one `*`, and at worst the product of both lengths.
    pub(super) fn matches(&self, key: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut at, mut from) = (0, 0);
        // The position of the last `*`, and the offset in the key up to which it matches.
        let mut star: Option<(usize, usize)> = None;
        while from < key.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, from));
                    at += 1;
                    if at == pattern.len() {
                        return true;
                    }
                }
                Some(wanted) if *wanted == b'?' || *wanted == key[from] => (at, from) = (at + 1, from + 1),
                Some(_) | None => match star {
                    Some((position, reached)) => {
                        star = Some((position, reached + 1));
                        (at, from) = (position + 1, reached + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|rest| *rest == b'*')
    }
}

/// Escapes bytes as redis-cli does between quotes: only printable ASCII is unchanged, so that no control sequence reaches a terminal.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'\\' | b'`' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

/// Formats a key for display: escaped, and shortened if it is long.
pub(super) fn display_key(key: &[u8]) -> String {
    if key.len() <= MAX_SHOWN { escaped(key) } else { format!("{}… ({} bytes)", escaped(&key[..MAX_SHOWN - 8]), key.len()) }
}

/// Returns the prefix of a key up to its first `:` or `/`, which keys of one kind share. Empty if there is none.
pub(super) fn family(key: &[u8]) -> String {
    match key.iter().take(MAX_SHOWN).position(|byte| b":/".contains(byte)) {
        Some(end) => format!("{}…", escaped(&key[..=end])),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, key: &[u8]) -> bool {
        Pattern::try_from(pattern.to_owned()).unwrap().matches(key)
    }

    #[test]
    fn patterns_match_whole_keys() {
        for (pattern, matching, others) in [
            ("session:*", &["session:", "session:a:b"][..], &["sessions:a", "a:session:b", ""][..]),
            ("conversation:*:messages", &["conversation:1:messages", "conversation:a:b:messages"], &["conversation:messages"]),
            ("index:documents", &["index:documents"], &["index:documents2", "index:document"]),
            ("a?c", &["abc"], &["ac", "abbc"]),
            ("*", &["", "x"], &[]),
        ] {
            for key in matching {
                assert!(matches(pattern, key.as_bytes()), "{pattern} {key}");
            }
            for key in others {
                assert!(!matches(pattern, key.as_bytes()), "{pattern} {key}");
            }
        }
        assert!(matches("session:*", b"session:\xff\0\n"));
        // A key that would take a backtracking matcher exponential time.
        assert!(!matches("*a*a*a*a*b", "a".repeat(20_000).as_bytes()));
        assert!(Pattern::try_from("a[bc]".to_owned()).is_err());
    }

    proptest! {
        #[test]
        fn patterns_match_as_with_a_naive_matcher(pattern in "[ab*?]{1,8}", key in "[ab]{0,10}") {
            fn naive(pattern: &[u8], key: &[u8]) -> bool {
                match (pattern.split_first(), key.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((b'*', rest)), _) => naive(rest, key) || !key.is_empty() && naive(pattern, &key[1..]),
                    (Some((wanted, rest)), Some((byte, others))) => (*wanted == b'?' || wanted == byte) && naive(rest, others),
                    (Some(_), None) => false,
                }
            }
            prop_assert_eq!(matches(&pattern, key.as_bytes()), naive(pattern.as_bytes(), key.as_bytes()));
        }
    }

    #[test]
    fn keys_are_escaped_for_the_terminal() {
        assert_eq!(display_key(b"a\n\x1b[2J`\\\xc3\xa9\0"), "a\\n\\x1b[2J\\`\\\\\\xc3\\xa9\\x00");
        let long = vec![b'k'; 1 << 20];
        assert_eq!(display_key(&long), format!("{}… (1048576 bytes)", "k".repeat(40)));
        assert_eq!(family(b"foo:bar:baz"), "foo:…");
        assert_eq!([family(b"llama_index/x"), family(b"plain"), family(&long)], ["llama_index/…", "", ""]);
    }
}
