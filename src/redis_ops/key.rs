//! Keys as people see them, and the patterns that they fit. A key is any bytes: it is never printed as it is.

use std::fmt::Write as _;

use serde::Deserialize;

/// How much of a key is shown in lines for people.
const SHOWN: usize = 48;

/// A pattern of keys: `*` is anything, `?` is one byte, the rest is itself. Redis's `[…]` and `\` are not there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern(String);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.contains(['[', ']', '\\']) || text.chars().any(char::is_control) {
            return Err(format!("`{}` is no pattern of keys: text with `*` and `?`", text.escape_debug()));
        }
        Ok(Self(text))
    }
}

impl Pattern {
    /// The pattern as written, which is also what `SCAN … MATCH` takes.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a key fits. In time that is linear for patterns with one `*`, and never worse than length times length.
    pub(super) fn fits(&self, key: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut at, mut from) = (0, 0);
        // Where the last `*` stands, and up to where of the key it reaches.
        let mut star: Option<(usize, usize)> = None;
        while from < key.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, from));
                    at += 1;
                }
                Some(wanted) if *wanted == b'?' || *wanted == key[from] => (at, from) = (at + 1, from + 1),
                Some(_) | None => match star {
                    Some((place, reached)) => {
                        star = Some((place, reached + 1));
                        (at, from) = (place + 1, reached + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|rest| *rest == b'*')
    }
}

/// Bytes as redis-cli would write them between quotes: only plain ASCII is left as it is, so that nothing reaches a terminal that it would obey.
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

/// A key for people: escaped, and cut where it is long.
pub(super) fn shown(key: &[u8]) -> String {
    if key.len() <= SHOWN { escaped(key) } else { format!("{}… ({} bytes)", escaped(&key[..SHOWN - 8]), key.len()) }
}

/// What a key begins with, up to its first `:` or `/`: keys of one kind share it. Empty where there is none.
pub(super) fn family(key: &[u8]) -> String {
    match key.iter().take(SHOWN).position(|byte| b":/".contains(byte)) {
        Some(end) => format!("{}…", escaped(&key[..=end])),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(pattern: &str, key: &[u8]) -> bool {
        Pattern::try_from(pattern.to_owned()).unwrap().fits(key)
    }

    #[test]
    fn patterns_fit_whole_keys() {
        for (pattern, fitting, others) in [
            ("session:*", &["session:", "session:a:b"][..], &["sessions:a", "a:session:b", ""][..]),
            ("conversation:*:messages", &["conversation:1:messages", "conversation:a:b:messages"], &["conversation:messages"]),
            ("index:documents", &["index:documents"], &["index:documents2", "index:document"]),
            ("a?c", &["abc"], &["ac", "abbc"]),
            ("*", &["", "x"], &[]),
        ] {
            for key in fitting {
                assert!(fits(pattern, key.as_bytes()), "{pattern} {key}");
            }
            for key in others {
                assert!(!fits(pattern, key.as_bytes()), "{pattern} {key}");
            }
        }
        assert!(fits("session:*", b"session:\xff\0\n"));
        // A key that would take an eager matcher for ever.
        assert!(!fits("*a*a*a*a*b", "a".repeat(20_000).as_bytes()));
        assert!(Pattern::try_from("a[bc]".to_owned()).is_err());
    }

    proptest! {
        #[test]
        fn patterns_fit_as_an_obvious_matcher_says(pattern in "[ab*?]{1,8}", key in "[ab]{0,10}") {
            fn obvious(pattern: &[u8], key: &[u8]) -> bool {
                match (pattern.split_first(), key.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((b'*', rest)), _) => obvious(rest, key) || !key.is_empty() && obvious(pattern, &key[1..]),
                    (Some((wanted, rest)), Some((byte, others))) => (*wanted == b'?' || wanted == byte) && obvious(rest, others),
                    (Some(_), None) => false,
                }
            }
            prop_assert_eq!(fits(&pattern, key.as_bytes()), obvious(pattern.as_bytes(), key.as_bytes()));
        }
    }

    #[test]
    fn keys_cannot_reach_a_terminal_as_they_are() {
        assert_eq!(shown(b"a\n\x1b[2J`\\\xc3\xa9\0"), "a\\n\\x1b[2J\\`\\\\\\xc3\\xa9\\x00");
        let long = vec![b'k'; 1 << 20];
        assert_eq!(shown(&long), format!("{}… (1048576 bytes)", "k".repeat(40)));
        assert_eq!(family(b"foo:bar:baz"), "foo:…");
        assert_eq!([family(b"llama_index/x"), family(b"plain"), family(&long)], ["llama_index/…", "", ""]);
    }
}
