//! Regular expressions in Python's syntax, as far as they can be searched in linear time.

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
    /// What is wrong with it or not supported: look-around, and references to groups within the pattern.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let regex = Regex::new(&translate(text)?).map_err(|error| match error.to_string().as_str() {
            "look-around is not supported" => {
                format!("`{text}` looks around (`(?=`, `(?!`, `(?<=`, `(?<!`), which is not supported; match the text itself, with groups")
            }
            reason => format!("`{text}` is not a regular expression: {reason}"),
        })?;
        let flags = text.strip_prefix("(?").and_then(|rest| rest.split_once(')')).map_or("", |(flags, _)| flags);
        let multi_line = flags.contains('m') && flags.chars().all(|flag| flag.is_ascii_alphabetic());
        Ok(Self { regex, multi_line, text: text.to_owned() })
    }

    /// Whether it matches somewhere in a line, given without its line break.
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

    /// Returns `template` with `\1`, `\g<1>` and `\g<name>` replaced by the groups of the match in `line`, and `\n` and `\t` by a line
    /// break and a tab; `None` if there is no match. Works like Python's `Match.expand`.
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

values!(Pattern => Formatted("a regular expression"));

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Translates Python's syntax into that of `regex-lite`: `\Z` becomes `\z`, `\<` and `\>` become plain characters. A reference to a
/// group is an error that names it.
fn translate(text: &str) -> Result<String, String> {
    let reference = |what: &str| {
        Err(format!(
            "`{text}` refers to a group within the pattern (`{what}`), which is not supported; write the text out instead"
        ))
    };
    if text.contains("(?P=") {
        return reference("(?P=");
    }
    let mut translated = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            translated.push(character);
            continue;
        }
        match characters.next() {
            Some('Z') => translated.push_str("\\z"),
            Some(plain @ ('<' | '>')) => translated.push(plain),
            Some(digit @ '1'..='9') => return reference(&format!("\\{digit}")),
            Some(escaped) => translated.extend(['\\', escaped]),
            None => translated.push('\\'),
        }
    }
    Ok(translated)
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
        let all = [error(r"^(REF) .* \1$"), error("(?P<a>x)(?P=a)"), error("a(?!b)"), error("(?<=a)b"), error("a(")];
        insta::assert_snapshot!(all.join("\n"), @r"
        `^(REF) .* \1$` refers to a group within the pattern (`\1`), which is not supported; write the text out instead
        `(?P<a>x)(?P=a)` refers to a group within the pattern (`(?P=`), which is not supported; write the text out instead
        `a(?!b)` looks around (`(?=`, `(?!`, `(?<=`, `(?<!`), which is not supported; match the text itself, with groups
        `(?<=a)b` looks around (`(?=`, `(?!`, `(?<=`, `(?<!`), which is not supported; match the text itself, with groups
        `a(` is not a regular expression: found open group without closing ')'
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
