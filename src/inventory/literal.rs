//! Values of INI inventories: Python literals where they are some, text otherwise.

use std::iter::Peekable;
use std::str::Chars;

use crate::source::node::plain_value;
use crate::source::{Key, Node, Place, Style, Yaml};

const MAX_DEPTH: usize = 32;

/// A value as Ansible's INI reader takes it: `5`, `True`, `'text'`, `[1, 'a']`, `{'a': 1}`; all else is plain text.
/// Numbers whose spelling would get lost stay text, as in YAML.
pub(super) fn value(text: &str, place: &Place) -> Node {
    let mut reader = Reader { letters: text.trim().chars().peekable(), place };
    let read = reader.value(0).filter(|_| reader.is_at_end());
    read.unwrap_or_else(|| reader.node(Yaml::Str(text.to_owned()), Style::Plain))
}

struct Reader<'a> {
    letters: Peekable<Chars<'a>>,
    place: &'a Place,
}

impl Reader<'_> {
    fn node(&self, value: Yaml, style: Style) -> Node {
        Node { value, place: self.place.clone(), style, verbatim: false }
    }

    fn skip_blanks(&mut self) {
        while self.letters.next_if(|letter| letter.is_whitespace()).is_some() {}
    }

    fn takes(&mut self, letter: char) -> bool {
        self.skip_blanks();
        self.letters.next_if_eq(&letter).is_some()
    }

    /// Python ends at a comment too.
    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.letters.peek().is_none_or(|letter| *letter == '#')
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_blanks();
        match *self.letters.peek()? {
            quote @ ('"' | '\'') => {
                self.letters.next();
                let text = self.quoted(quote)?;
                Some(self.node(Yaml::Str(text), Style::Quoted))
            }
            '[' => self.list(']', depth),
            '(' => self.list(')', depth),
            '{' => self.map(depth),
            _ => self.word(),
        }
    }

    fn list(&mut self, close: char, depth: usize) -> Option<Node> {
        self.letters.next();
        let mut items = Vec::new();
        while !self.takes(close) {
            items.push(self.value(depth + 1)?);
            if !self.takes(',') {
                // `(1)` is a number in Python.
                return (self.takes(close) && (close == ']' || items.len() > 1))
                    .then(|| self.node(Yaml::Seq(items), Style::Plain));
            }
        }
        Some(self.node(Yaml::Seq(items), Style::Plain))
    }

    fn map(&mut self, depth: usize) -> Option<Node> {
        self.letters.next();
        let mut entries = Vec::<(Key, Node)>::new();
        while !self.takes('}') {
            let name = self.value(depth + 1)?.scalar_text()?.into_owned();
            if !self.takes(':') {
                return None;
            }
            let value = self.value(depth + 1)?;
            entries.retain(|(key, _)| key.name != name);
            entries.push((Key { name, place: self.place.clone() }, value));
            if !self.takes(',') {
                return self.takes('}').then(|| self.node(Yaml::Map(entries), Style::Plain));
            }
        }
        Some(self.node(Yaml::Map(entries), Style::Plain))
    }

    /// `True`, `None` or a number.
    fn word(&mut self) -> Option<Node> {
        let mut word = String::new();
        while let Some(letter) = self.letters.next_if(|letter| letter.is_alphanumeric() || "._+-".contains(*letter)) {
            word.push(letter);
        }
        let value = match word.as_str() {
            "True" => Yaml::Bool(true),
            "False" => Yaml::Bool(false),
            "None" => Yaml::Null,
            number if number.starts_with(|first: char| first.is_ascii_digit() || "-+.".contains(first)) => {
                let is_number = number.contains(|letter: char| letter.is_ascii_digit())
                    && number.chars().all(|letter| letter.is_ascii_hexdigit() || "xXoO_.+-".contains(letter));
                if !is_number {
                    return None;
                }
                plain_value(number)
            }
            _ => return None,
        };
        Some(self.node(value, Style::Plain))
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.letters.next()? {
                close if close == quote => return Some(text),
                '\n' => return None,
                '\\' => match self.letters.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    '0' => text.push('\0'),
                    'x' => text.push(self.code(2)?),
                    'u' => text.push(self.code(4)?),
                    'U' => text.push(self.code(8)?),
                    same @ ('\\' | '\'' | '"') => text.push(same),
                    other => text.extend(['\\', other]),
                },
                other => text.push(other),
            }
        }
    }

    fn code(&mut self, digits: usize) -> Option<char> {
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + self.letters.next()?.to_digit(16)?;
        }
        char::from_u32(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;

    fn read(text: &str) -> (Yaml, Style) {
        let file = SourceFile::new("hosts", text);
        let node = value(text, &Place::new(&file, 0..text.len()));
        (node.value, node.style)
    }

    fn plain(text: &str) -> (Yaml, Style) {
        (Yaml::Str(text.to_owned()), Style::Plain)
    }

    #[test]
    fn python_literals_are_values() {
        assert_eq!(read("5"), (Yaml::Int(5), Style::Plain));
        assert_eq!(read("-5 # five"), (Yaml::Int(-5), Style::Plain));
        assert_eq!(read("1.5"), (Yaml::Float(1.5), Style::Plain));
        assert_eq!(read("True"), (Yaml::Bool(true), Style::Plain));
        assert_eq!(read("None"), (Yaml::Null, Style::Plain));
        assert_eq!(read(r"'a\tb\x41\u00e9'"), (Yaml::Str("a\tbAé".to_owned()), Style::Quoted));
    }

    #[test]
    fn all_else_is_text_as_it_stands() {
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
            "(1)",
        ] {
            assert_eq!(read(text), plain(text), "{text}");
        }
        assert_eq!(read(&"[".repeat(100_000)).1, Style::Plain);
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
