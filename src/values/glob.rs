//! Patterns with `*`.

/// Whether `text` matches `pattern`, in which `*` stands for any characters.
#[must_use]
pub fn matches_glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = tail.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_anything() {
        for (pattern, text, expected) in [
            ("1.2", "1.2", true),
            ("1.2*", "1.2-3", true),
            ("*", "x", true),
            ("1*3*", "1-2-3-4", true),
            ("1.2", "1.20", false),
            ("1*2", "1-3", false),
            ("1*1", "1", false),
        ] {
            assert_eq!(matches_glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
