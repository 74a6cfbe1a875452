//! Globs as Python's `fnmatch` matches them: `*`, `?`, `[a-c]`, `[!a-c]`; a `[` without its `]` is itself.

enum Token {
    Any,
    One,
    Letter(char),
    Set { is_negated: bool, ranges: Vec<(char, char)> },
}

/// Whether the whole name matches.
pub(super) fn matches(glob: &str, name: &str) -> bool {
    let (tokens, letters): (Vec<Token>, Vec<char>) = (tokens(glob), name.chars().collect());
    let (mut token, mut letter) = (0, 0);
    // Where to go on after the last `*` has taken one letter more.
    let mut again = None;
    while letter < letters.len() {
        let is_one = match tokens.get(token) {
            Some(Token::Any) => {
                again = Some((token, letter));
                token += 1;
                continue;
            }
            Some(Token::One) => true,
            Some(Token::Letter(wanted)) => *wanted == letters[letter],
            Some(Token::Set { is_negated, ranges }) => {
                ranges.iter().any(|(first, last)| (first..=last).contains(&&letters[letter])) != *is_negated
            }
            None => false,
        };
        if is_one {
            (token, letter) = (token + 1, letter + 1);
        } else if let Some((star, taken)) = again {
            again = Some((star, taken + 1));
            (token, letter) = (star + 1, taken + 1);
        } else {
            return false;
        }
    }
    tokens[token..].iter().all(|token| matches!(token, Token::Any))
}

fn tokens(glob: &str) -> Vec<Token> {
    let letters: Vec<char> = glob.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&letter) = letters.get(at) {
        at += 1;
        tokens.push(match letter {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => {
                let is_negated = letters.get(at) == Some(&'!');
                let start = at + usize::from(is_negated);
                // A `]` that comes first belongs to the set.
                let end = (start + 1..letters.len()).find(|end| letters[*end] == ']');
                match end {
                    None => Token::Letter('['),
                    Some(end) => {
                        at = end + 1;
                        Token::Set { is_negated, ranges: ranges(&letters[start..end]) }
                    }
                }
            }
            other => Token::Letter(other),
        });
    }
    tokens
}

fn ranges(mut letters: &[char]) -> Vec<(char, char)> {
    let mut ranges = Vec::new();
    while let Some(&first) = letters.first() {
        let range = letters.get(1) == Some(&'-') && letters.len() > 2;
        let (last, length) = if range { (letters[2], 3) } else { (first, 1) };
        ranges.push((first, last));
        letters = &letters[length..];
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_fnmatch_matches() {
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
