//! Globs with the rules of Python's `fnmatch`: `*`, `?`, `[a-c]`, `[!a-c]`; a `[` without a `]` matches itself.

enum Token {
    Any,
    One,
    Literal(char),
    Set { is_negated: bool, ranges: Vec<(char, char)> },
}

/// Whether the whole name matches.
pub(super) fn matches(glob: &str, name: &str) -> bool {
    let (tokens, characters): (Vec<Token>, Vec<char>) = (tokens(glob), name.chars().collect());
    let (mut token, mut character) = (0, 0);
    // The position to resume from, after letting the last `*` match one more character.
    let mut backtrack = None;
    while character < characters.len() {
        let is_match = match tokens.get(token) {
            Some(Token::Any) => {
                backtrack = Some((token, character));
                token += 1;
                continue;
            }
            Some(Token::One) => true,
            Some(Token::Literal(expected)) => *expected == characters[character],
            Some(Token::Set { is_negated, ranges }) => {
                ranges.iter().any(|(first, last)| (first..=last).contains(&&characters[character])) != *is_negated
            }
            None => false,
        };
        if is_match {
            (token, character) = (token + 1, character + 1);
        } else if let Some((star, matched)) = backtrack {
            backtrack = Some((star, matched + 1));
            (token, character) = (star + 1, matched + 1);
        } else {
            return false;
        }
    }
    tokens[token..].iter().all(|token| matches!(token, Token::Any))
}

fn tokens(glob: &str) -> Vec<Token> {
    let characters: Vec<char> = glob.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&character) = characters.get(at) {
        at += 1;
        tokens.push(match character {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => {
                let is_negated = characters.get(at) == Some(&'!');
                let start = at + usize::from(is_negated);
                // A `]` in the first position belongs to the set.
                let end = (start + 1..characters.len()).find(|end| characters[*end] == ']');
                match end {
                    None => Token::Literal('['),
                    Some(end) => {
                        at = end + 1;
                        Token::Set { is_negated, ranges: ranges(&characters[start..end]) }
                    }
                }
            }
            other => Token::Literal(other),
        });
    }
    tokens
}

fn ranges(mut characters: &[char]) -> Vec<(char, char)> {
    let mut ranges = Vec::new();
    while let Some(&first) = characters.first() {
        let range = characters.get(1) == Some(&'-') && characters.len() > 2;
        let (last, length) = if range { (characters[2], 3) } else { (first, 1) };
        ranges.push((first, last));
        characters = &characters[length..];
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_fnmatch() {
        for (glob, name) in [
            ("*", ""),
            ("*", "anything"),
            ("w*b", "web"),
            ("w**b", "wb"),
            ("*a*b*", "xaxxbx"),
            ("w?b", "web"),
            ("db[ab]", "dba"),
            ("db[a-c]", "dbb"),
            ("db[!a-c]", "dbd"),
            ("[]x]", "]"),
            ("[!]]", "a"),
            ("[a-]", "-"),
            ("[a-c-e]", "-"),
            ("[^a]", "^"),
            ("[", "["),
            ("[!", "[!"),
            ("a[b", "a[b"),
            ("é?", "éü"),
            ("[\\]", "\\"),
        ] {
            assert!(matches(glob, name), "{glob} {name}");
        }
        for (glob, name) in [
            ("w?b", "wb"),
            ("*b", "bc"),
            ("", "a"),
            ("a", ""),
            ("[!]]", "]"),
            ("[z-a]", "b"),
            ("db[a-c]", "dbd"),
            ("W", "w"),
            ("a.c", "abc"),
        ] {
            assert!(!matches(glob, name), "{glob} {name}");
        }
    }
}
