//! Values of INI inventories: Python literals, and text otherwise.

use std::iter::Peekable;
use std::str::Chars;

use super::ansible::number;
use crate::source::node::plain_value;
use crate::source::{Key, Node, Quoting, Span, Yaml};

const MAX_DEPTH: usize = 64;

/// Reads a value as Ansible's INI reader does: `5`, `True`, `'text'`, `[1, 'a']`, `{'a': 1}`, `1, 2`; everything else is plain text.
/// Numbers whose spelling would be lost stay text, as in YAML.
pub(super) fn value(text: &str, span: &Span) -> Node {
    let mut reader = Reader { characters: text.trim().chars().peekable(), span };
    reader.whole().unwrap_or_else(|| reader.node(Yaml::Str(text.to_owned()), Quoting::Plain))
}

struct Reader<'a> {
    characters: Peekable<Chars<'a>>,
    span: &'a Span,
}

impl Reader<'_> {
    fn node(&self, value: Yaml, quoting: Quoting) -> Node {
        Node { value, span: self.span.clone(), quoting, verbatim: false }
    }

    fn skip_blanks(&mut self) {
        while self.characters.next_if(|character| character.is_whitespace()).is_some() {}
    }

    fn takes(&mut self, character: char) -> bool {
        self.skip_blanks();
        self.characters.next_if_eq(&character).is_some()
    }

    /// Whether nothing is left to read. A comment also ends a Python literal.
    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.characters.peek().is_none_or(|character| *character == '#')
    }

    /// Reads the whole text: a value, or several with commas (a tuple without parentheses).
    fn whole(&mut self) -> Option<Node> {
        let first = self.value(0)?;
        if self.is_at_end() {
            return Some(first);
        }
        let mut items = vec![first];
        while self.takes(',') {
            if self.is_at_end() {
                break;
            }
            items.push(self.value(1)?);
        }
        self.is_at_end().then(|| self.node(Yaml::Seq(items), Quoting::Plain))
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_blanks();
        match *self.characters.peek()? {
            '"' | '\'' => self.strings(None),
            '[' => self.list(']', depth),
            '(' => self.list(')', depth),
            '{' => self.braces(depth),
            sign @ ('-' | '+') => {
                self.characters.next();
                self.skip_blanks();
                let word = self.word();
                self.number(&format!("{sign}{word}"))
            }
            _ => {
                let word = self.word();
                match word.as_str() {
                    "True" => Some(self.node(Yaml::Bool(true), Quoting::Plain)),
                    "False" => Some(self.node(Yaml::Bool(false), Quoting::Plain)),
                    "None" => Some(self.node(Yaml::Null, Quoting::Plain)),
                    "..." => Some(self.node(Yaml::Str(word), Quoting::Quoted)),
                    "set" => (self.takes('(') && self.takes(')')).then(|| self.node(Yaml::Seq(Vec::new()), Quoting::Plain)),
                    prefix if self.characters.peek().is_some_and(|quote| "\"'".contains(*quote)) => self.strings(Some(prefix)),
                    number => self.number(number),
                }
            }
        }
    }

    fn number(&self, word: &str) -> Option<Node> {
        number::python(word).map(|_| self.node(plain_value(word), Quoting::Plain))
    }

    /// Reads letters, digits, points, underscores, and the sign of an exponent.
    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(character) = self.characters.next_if(|character| {
            let is_exponent = word.ends_with(['e', 'E']) && !word.starts_with("0x");
            character.is_alphanumeric() || "._".contains(*character) || (is_exponent && "+-".contains(*character))
        }) {
            word.push(character);
        }
        word
    }

    fn list(&mut self, close: char, depth: usize) -> Option<Node> {
        self.characters.next();
        let mut items = Vec::new();
        while !self.takes(close) {
            items.push(self.value(depth + 1)?);
            if !self.takes(',') {
                // `(1)` is a number, not a tuple.
                return match (self.takes(close), close) {
                    (true, ')') if items.len() == 1 => items.pop(),
                    (true, _) => Some(self.node(Yaml::Seq(items), Quoting::Plain)),
                    (false, _) => None,
                };
            }
        }
        Some(self.node(Yaml::Seq(items), Quoting::Plain))
    }

    /// Reads a map or a set. A set becomes a list without duplicates.
    fn braces(&mut self, depth: usize) -> Option<Node> {
        self.characters.next();
        let (mut entries, mut items) = (Vec::<(Key, Node)>::new(), Vec::<Node>::new());
        while !self.takes('}') {
            let first = self.value(depth + 1)?;
            if self.takes(':') && items.is_empty() {
                let name = first.scalar_text()?.into_owned();
                let value = self.value(depth + 1)?;
                entries.retain(|(key, _)| key.name != name);
                entries.push((Key { name, span: self.span.clone() }, value));
            } else if entries.is_empty() {
                if !items.iter().any(|item| item.value == first.value) {
                    items.push(first);
                }
            } else {
                return None;
            }
            if !self.takes(',') {
                if self.takes('}') {
                    break;
                }
                return None;
            }
        }
        let value = if items.is_empty() { Yaml::Map(entries) } else { Yaml::Seq(items) };
        Some(self.node(value, Quoting::Plain))
    }

    /// Reads one string, or several adjacent ones. The prefix of the first one has been read already.
    fn strings(&mut self, prefix: Option<&str>) -> Option<Node> {
        let mut text = self.string(prefix.unwrap_or_default())?;
        self.skip_blanks();
        while self.characters.peek().is_some_and(|quote| "\"'".contains(*quote)) {
            text.push_str(&self.string("")?);
            self.skip_blanks();
        }
        // Ansible never renders byte strings.
        let verbatim = prefix.is_some_and(|prefix| prefix.contains(['b', 'B']));
        Some(Node { verbatim, ..self.node(Yaml::Str(text), Quoting::Quoted) })
    }

    fn string(&mut self, prefix: &str) -> Option<String> {
        let is_raw = match prefix.to_ascii_lowercase().as_str() {
            "" | "u" | "b" => false,
            "r" | "br" | "rb" => true,
            _ => return None,
        };
        let quote = self.characters.next()?;
        let mut text = String::new();
        if self.characters.next_if_eq(&quote).is_some() {
            if self.characters.next_if_eq(&quote).is_none() {
                return Some(text);
            }
            // A triple-quoted string ends with three quotes.
            while !text.ends_with(&quote.to_string().repeat(3)) {
                self.character(None, is_raw, &mut text)?;
            }
            text.truncate(text.len() - 3);
            return Some(text);
        }
        while self.character(Some(quote), is_raw, &mut text)? {}
        Some(text)
    }

    /// Reads one character of a string; returns false at its closing quote.
    fn character(&mut self, quote: Option<char>, is_raw: bool, text: &mut String) -> Option<bool> {
        match self.characters.next()? {
            close if Some(close) == quote => return Some(false),
            '\n' if quote.is_some() => return None,
            '\\' if is_raw => text.extend(['\\', self.characters.next()?]),
            '\\' => match self.characters.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'a' => text.push('\u{7}'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'v' => text.push('\u{b}'),
                'x' => text.push(self.code(2)?),
                'u' => text.push(self.code(4)?),
                'U' => text.push(self.code(8)?),
                digit @ '0'..='7' => {
                    let mut code = digit.to_digit(8)?;
                    for _ in 0..2 {
                        code = match self.characters.next_if(|character| character.is_digit(8)) {
                            Some(digit) => code * 8 + digit.to_digit(8)?,
                            None => break,
                        };
                    }
                    text.push(char::from_u32(code)?);
                }
                same @ ('\\' | '\'' | '"') => text.push(same),
                other => text.extend(['\\', other]),
            },
            other => text.push(other),
        }
        Some(true)
    }

    fn code(&mut self, digits: usize) -> Option<char> {
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + self.characters.next()?.to_digit(16)?;
        }
        char::from_u32(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;

    fn read(text: &str) -> (Yaml, Quoting) {
        let file = SourceFile::new("hosts", text);
        let node = value(text, &Span::new(&file, 0..text.len()));
        (node.value, node.quoting)
    }

    fn plain(text: &str) -> (Yaml, Quoting) {
        (Yaml::Str(text.to_owned()), Quoting::Plain)
    }

    #[test]
    fn python_literals_are_values() {
        assert_eq!(read("5"), (Yaml::Int(5), Quoting::Plain));
        assert_eq!(read("-5 # five"), (Yaml::Int(-5), Quoting::Plain));
        assert_eq!(read("1.5"), (Yaml::Float(1.5), Quoting::Plain));
        assert_eq!(read("True"), (Yaml::Bool(true), Quoting::Plain));
        assert_eq!(read("None"), (Yaml::Null, Quoting::Plain));
        assert_eq!(read(r"'a\tb\x41\u00e9'"), (Yaml::Str("a\tbAé".to_owned()), Quoting::Quoted));
    }

    #[test]
    fn everything_else_is_unchanged_text() {
        for text in [
            "",
            "true",
            "yes",
            "hello # there",
            "0644",
            "1.10",
            "10.0.0.1",
            "a'b",
            "[1, x]",
            "'open",
            "5 apples",
            "-",
            "{a}",
            "007",
            "[0644]",
            "[1-2]",
            "1+2",
            "- -5",
            "-True",
            "[1,,2]",
            "{1, 'a': 2}",
            "{1: 2, 3}",
            "f'x'",
            "'a' b",
            "'''open''",
            r"'\',x",
        ] {
            assert_eq!(read(text), plain(text), "{text}");
        }
        assert_eq!(read(&"[".repeat(100_000)).1, Quoting::Plain);
    }

    #[test]
    fn rare_python_literals_are_values_too() {
        let text = |text: &str| (Yaml::Str(text.to_owned()), Quoting::Quoted);
        assert_eq!(read("(1)"), (Yaml::Int(1), Quoting::Plain));
        assert_eq!(read("- 5"), (Yaml::Int(-5), Quoting::Plain));
        assert_eq!(read("0x1F"), (Yaml::Str("0x1F".to_owned()), Quoting::Plain));
        assert_eq!(read("'a' \"b\""), text("ab"));
        assert_eq!(read(r"r'\n\''"), text(r"\n\'"));
        assert_eq!(read(r"'\101\0\a'"), text("A\0\u{7}"));
        assert_eq!(read("b'abc'"), text("abc"));
        assert_eq!(read("'''it's'''"), text("it's"));
        assert_eq!(read("''"), text(""));
        assert_eq!(read("..."), text("..."));
        for (literal, count) in [("1,2", 2), ("1,", 1), ("{1, 2, 1}", 2), ("set()", 0), ("()", 0), ("('a',)", 1)] {
            let (Yaml::Seq(items), _) = read(literal) else { panic!("{literal} is not a list") };
            assert_eq!(items.len(), count, "{literal}");
        }
    }

    #[test]
    fn lists_and_maps_nest() {
        let (Yaml::Map(entries), _) = read(r#"{"a": [1, 'x', (True, None,)], 2: {}}"#) else { panic!("not a map") };
        let names: Vec<&str> = entries.iter().map(|(key, _)| key.name.as_str()).collect();
        assert_eq!(names, ["a", "2"]);
        let items = entries[0].1.as_seq().unwrap();
        assert_eq!((items.len(), &items[0].value, items[2].as_seq().unwrap().len()), (3, &Yaml::Int(1), 2));
        assert_eq!(entries[1].1.value, Yaml::Map(Vec::new()));
    }
}
