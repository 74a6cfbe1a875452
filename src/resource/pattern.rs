//! Regular expressions in Python's syntax, as far as they can be searched in linear time.

mod translate;

use std::fmt;

use regex_lite::Regex;
use serde::{Deserialize, Deserializer, de};

use super::schema::values;

/// A pattern that is searched for, as Python's `re.search` does.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Regex,
    /// Whether its flags let `^` and `$` match at every line.
    pub(super) multi_line: bool,
    /// The pattern as the task writes it.
    text: String,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it or not supported: look-around, references to groups within the pattern, possessive repetitions.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let translate::Translated { pattern, multi_line } = translate::translate(text)?;
        let regex = Regex::new(&pattern).map_err(|error| format!("`{text}` is not a regular expression: {error}"))?;
        Ok(Self { regex, multi_line, text: text.to_owned() })
    }

    /// Whether it matches somewhere in a line, given with its line break, if it has one.
    pub(super) fn is_in(&self, line: &str) -> bool {
        self.regex.is_match(line)
    }

    /// Returns the start and the end of the first match in a whole text, in bytes.
    pub(super) fn find(&self, text: &str) -> Option<(usize, usize)> {
        self.regex.find(text).map(|found| (found.start(), found.end()))
    }

    /// Whether it is empty, so that it matches everything.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether the task writes it like this.
    pub(super) fn is_text(&self, text: &str) -> bool {
        self.text == text
    }

    /// Returns `template` with `\1`, `\g<1>` and `\g<name>` replaced by the groups of the match in `line`, and `\n`, `\t` and the like by
    /// these characters; `None` if there is no match. Works like Python's `Match.expand`.
    pub(super) fn expand(&self, line: &str, template: &str) -> Option<String> {
        let groups = self.regex.captures(line)?;
        let mut text = String::new();
        for piece in split_template(template).ok()? {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Character(character) => text.push(character),
                Piece::Number(number) => text.push_str(groups.get(number).map_or("", |group| group.as_str())),
                Piece::Name(name) => text.push_str(groups.name(name).map_or("", |group| group.as_str())),
            }
        }
        Some(text)
    }

    /// Returns an error if the template names a group that the pattern does not have.
    pub(super) fn check_template(&self, template: &str) -> Result<(), String> {
        for piece in split_template(template)? {
            let missing = match piece {
                Piece::Number(number) if number >= self.regex.captures_len() => Some(number.to_string()),
                Piece::Name(name) if !self.regex.capture_names().any(|known| known == Some(name)) => Some(name.to_owned()),
                Piece::Number(_) | Piece::Name(_) | Piece::Text(_) | Piece::Character(_) => None,
            };
            if let Some(group) = missing {
                return Err(format!("there is no group {group} in `{}`", self.text));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

values!(Pattern => Formatted("a regular expression"));

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

enum Piece<'a> {
    Text(&'a str),
    Character(char),
    Number(usize),
    Name(&'a str),
}

/// Splits a template into text, characters from escapes, and groups.
fn split_template(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('\\') {
        pieces.push(Piece::Text(&rest[..at]));
        let escape = &rest[at + 1..];
        let character = escape.chars().next().ok_or("ends in a lone `\\`; write `\\\\` for a backslash")?;
        rest = &escape[character.len_utf8()..];
        match character {
            'n' => pieces.push(Piece::Character('\n')),
            't' => pieces.push(Piece::Character('\t')),
            'r' => pieces.push(Piece::Character('\r')),
            'a' => pieces.push(Piece::Character('\x07')),
            'b' => pieces.push(Piece::Character('\x08')),
            'v' => pieces.push(Piece::Character('\x0b')),
            'f' => pieces.push(Piece::Character('\x0c')),
            '\\' => pieces.push(Piece::Character('\\')),
            'g' => {
                let name = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
                let (name, after) = name.ok_or("`\\g` must be followed by the group in angle brackets, as in `\\g<1>`")?;
                pieces.push(name.parse().map_or(Piece::Name(name), Piece::Number));
                rest = after;
            }
            '1'..='9' => {
                let more = rest.chars().next().filter(char::is_ascii_digit);
                let number: String = std::iter::once(character).chain(more).collect();
                rest = &rest[number.len() - 1..];
                pieces.push(Piece::Number(number.parse().map_err(|_| "has an invalid group number")?));
            }
            letter if letter.is_ascii_alphanumeric() => {
                return Err(format!("`\\{letter}` means nothing here; write `\\\\{letter}` for a backslash and `{letter}`"));
            }
            plain => pieces.extend([Piece::Character('\\'), Piece::Character(plain)]),
        }
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn patterns_search_as_python_does() {
        for (text, line, expected) in [
            ("^a", "ba", false),
            ("a", "bab", true),
            (r"^port\s*=", "port = 1", true),
            (r"\<x\>", "<x>", true),
            (r"a\Z", "ba", true),
            (r"(?i)PORT", "port", true),
            (r"(?P<key>\w+)=", "a=", true),
            (r"\#\ \-\/\:", "# -/:", true),
            ("", "anything", true),
            // The line break belongs to the line; `$` is also before it.
            ("a$", "a\n", true),
            ("a$", "a\nb", true),
            (r"a\Z", "a\n", false),
            (r"^a\s", "a\n", true),
            (r"^\s*$", "\n", true),
            ("^[^#]", "\n", true),
            // A brace, a bracket and an operator of sets stand for themselves.
            ("server {", "server {\n", true),
            (r"\${HOME}", "${HOME}", true),
            ("^a{,2}$", "aaa", false),
            ("^a{,2}$", "aa", true),
            ("^a{}$", "a{}", true),
            ("^a{2}$", "aa", true),
            ("^a{,}$", "aaaa", true),
            ("^a{2,}?b", "aab", true),
            ("^a{1,2,3}$", "a{1,2,3}", true),
            ("}]", "}]", true),
            ("^[[]x", "[x", true),
            ("^[^[]x", "[x", false),
            ("^[a&&b]$", "&", true),
            ("^[~~]$", "~", true),
            ("^[a||b]$", "|", true),
            ("^[]a]$", "]", true),
            ("^[^]a]$", "]", false),
            ("^[a-]$", "-", true),
            ("^[-a]$", "-", true),
            (r"^[\w-]$", "-", true),
            ("^[+--]$", ",", true),
            (r"^[\]\\]+$", r"]\", true),
            (r"^[\b]$", "\u{8}", true),
            ("a(?#note)b", "ab", true),
            ("(?x) a b # c [", "ab", true),
            ("(?x)a\\ b[ ]c", "a b c", true),
            (r"^\x41\101\0$", "AA\0", true),
            ("(?i:A)b", "ab", true),
            (r"^\w$", "é", false),
            ("^.$", "é", true),
            (r"\.\{\}\é", ".{}é", true),
        ] {
            assert_eq!(pattern(text).is_in(line), expected, "{text} in {line}");
        }
        assert!(
            pattern("(?m)^a").multi_line
                && pattern("(?im)a").multi_line
                && !pattern("(?P<m>a)").multi_line
                && !pattern("m").multi_line
        );
    }

    #[test]
    fn unsupported_patterns_say_what_to_write() {
        let error = |text: &str| Pattern::new(text).unwrap_err();
        let all = [
            r"^(REF) .* \1$",
            "(?P<a>x)(?P=a)",
            "a(?!b)",
            "(?<=a)b",
            "a(",
            "(a)?(?(1)b|c)",
            "a++",
            "(?>a)b",
            "(?u)a",
            "a(?x: b)",
            "[a",
            r"\q",
            r"caf\xe9",
            "a\\",
        ]
        .map(error);
        insta::assert_snapshot!(all.join("\n"), @r"
        `^(REF) .* \1$` refers to a group within the pattern (`\1`), which is not supported; write the text out instead
        `(?P<a>x)(?P=a)` refers to a group within the pattern (`(?P=`), which is not supported; write the text out instead
        `a(?!b)` looks around (`(?=`, `(?!`, `(?<=`, `(?<!`), which is not supported; match the text itself, with groups
        `(?<=a)b` looks around (`(?=`, `(?!`, `(?<=`, `(?<!`), which is not supported; match the text itself, with groups
        `a(` is not a regular expression: found open group without closing ')'
        `(a)?(?(1)b|c)` refers to a group within the pattern (`(?(`), which is not supported; write the text out instead
        `a++` has a possessive repetition (`++`, `*+`, `?+`, `}+`), which is not supported; leave the last `+` out
        `(?>a)b` has an atomic group (`(?>`), which is not supported; write `(?:`
        `(?u)a` has a `(?u)`; known are `(?:`, `(?P<`, `(?#`, and the flags a, i, m, s and x
        `a(?x: b)` has the flag x not at its start, where alone it is supported
        `[a` has a `[` without `]`; write `\[` for a bracket
        `\q` has a `\q`, which means nothing; write `\\q` for a backslash and `q`
        `caf\xe9` names a byte (`\xe9`), and text is searched by letters: write the letter, or `.`
        `a\` ends in a lone `\`; write `\\` for a backslash
        ");
    }

    #[test]
    fn templates_take_groups() {
        let pair = pattern("^(?P<key>[a-z]+)=(.*)$");
        for (template, expected) in [
            (r"\2=\1", "1=a"),
            (r"\g<key>\g<2>0", "a10"),
            (r"\1\n\t\\1", "a\n\t\\1"),
            (r"$1 ${key}", "$1 ${key}"),
            (r"\.", "\\."),
            (r"\r\a\b\v\f", "\r\u{7}\u{8}\u{b}\u{c}"),
        ] {
            assert_eq!(pair.expand("a=1", template).unwrap(), expected, "{template}");
        }
        assert_eq!(pair.expand("none", r"\1"), None);
        for (template, reason) in
            [(r"\3", "no group 3"), (r"\g<x>", "no group x"), ("\\", "lone"), (r"\D", "means nothing"), (r"\gx", "angle")]
        {
            assert!(pair.check_template(template).unwrap_err().contains(reason), "{template}");
        }
        assert!(pair.check_template(r"\1 \g<key> \g<0>").is_ok());
    }
}
