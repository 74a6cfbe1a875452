//! From Python's syntax of regular expressions into that of `regex-lite`, for what means the same in both, and a reason for the rest.

use std::{iter::Peekable, str::Chars};

/// A pattern in the syntax of `regex-lite`.
pub(super) struct Translated {
    pub(super) pattern: String,
    /// Whether its flags let `^` and `$` match at every line.
    pub(super) multi_line: bool,
}

/// Translates a pattern.
///
/// # Errors
/// What of it is not supported, and what to write instead.
pub(super) fn translate(text: &str) -> Result<Translated, String> {
    let mut translation = Translation {
        text,
        rest: text.chars().peekable(),
        out: String::with_capacity(text.len()),
        verbose: false,
        multi_line: false,
    };
    while let Some(letter) = translation.rest.next() {
        translation.one(letter)?;
    }
    Ok(Translated { pattern: translation.out, multi_line: translation.multi_line })
}

struct Translation<'a> {
    text: &'a str,
    rest: Peekable<Chars<'a>>,
    out: String,
    /// Whether white space and comments do not count (`(?x)`).
    verbose: bool,
    multi_line: bool,
}

impl Translation<'_> {
    fn unsupported<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("`{}` {what}", self.text))
    }

    fn refers<T>(&self, what: &str) -> Result<T, String> {
        self.unsupported(&format!(
            "refers to a group within the pattern (`{what}`), which is not supported; write the text out instead"
        ))
    }

    fn one(&mut self, letter: char) -> Result<(), String> {
        match letter {
            '\\' => self.escape(),
            '[' => self.class(),
            '(' if self.rest.peek() == Some(&'?') => self.extension(),
            '{' => self.brace(),
            '*' | '+' | '?' => {
                self.out.push(letter);
                self.after_repetition()
            }
            // In Python, it is also before the line break at the end; what is searched has no other line break, or `(?m)` is said.
            '$' => {
                self.out.push_str("(?m:$)");
                Ok(())
            }
            '}' | ']' => {
                self.literal(letter);
                Ok(())
            }
            '#' if self.verbose => {
                while self.rest.next().is_some_and(|letter| letter != '\n') {}
                Ok(())
            }
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' if self.verbose => Ok(()),
            letter => {
                self.out.push(letter);
                Ok(())
            }
        }
    }

    /// Appends a character that stands for itself.
    fn literal(&mut self, letter: char) {
        // With a backslash, these two are the edges of a word.
        if letter.is_ascii_punctuation() && !matches!(letter, '<' | '>') {
            self.out.push('\\');
        }
        self.out.push(letter);
    }

    /// Appends the character with this number.
    fn number(&mut self, number: u32) -> Result<(), String> {
        if number >= 0x80 {
            return self.unsupported(&format!(
                "names a byte (`\\x{number:02x}`), and text is searched by letters: write the letter, or `.`"
            ));
        }
        let escape = format!("\\x{{{number:02x}}}");
        self.out.push_str(&escape);
        Ok(())
    }

    /// Takes up to `most` octal digits.
    fn octal(&mut self, mut number: u32, most: usize) -> Result<(), String> {
        for _ in 0..most {
            let Some(digit) = self.rest.peek().and_then(|letter| letter.to_digit(8)) else { break };
            number = number * 8 + digit;
            self.rest.next();
        }
        self.number(number)
    }

    fn hexadecimal(&mut self) -> Result<(), String> {
        let digits: String = self.rest.by_ref().take(2).collect();
        match u32::from_str_radix(&digits, 16) {
            Ok(number) if digits.len() == 2 => self.number(number),
            Ok(_) | Err(_) => self.unsupported("has a `\\x` without two hexadecimal digits"),
        }
    }

    /// After a backslash.
    fn escape(&mut self) -> Result<(), String> {
        match self.rest.next() {
            None => self.unsupported("ends in a lone `\\`; write `\\\\` for a backslash"),
            Some('Z') => {
                self.out.push_str("\\z");
                Ok(())
            }
            Some('0') => self.octal(0, 2),
            Some(digit @ '1'..='9') => {
                let ahead: Vec<u32> = self.rest.clone().take(2).map_while(|letter| letter.to_digit(8)).collect();
                match digit.to_digit(8) {
                    Some(first) if ahead.len() == 2 => self.octal(first, 2),
                    Some(_) | None => self.refers(&format!("\\{digit}")),
                }
            }
            Some('x') => self.hexadecimal(),
            Some(letter) => self.escaped(letter, "AbBdDsSwWzafnrtv"),
        }
    }

    /// Appends an escaped character, which is one of the `known` letters or stands for itself.
    fn escaped(&mut self, letter: char, known: &str) -> Result<(), String> {
        if known.contains(letter) {
            self.out.extend(['\\', letter]);
        } else if letter.is_ascii_alphanumeric() {
            return self.unsupported(&format!(
                "has a `\\{letter}`, which means nothing; write `\\\\{letter}` for a backslash and `{letter}`"
            ));
        } else {
            self.literal(letter);
        }
        Ok(())
    }

    /// After a repetition: `?` makes it a lazy one.
    fn after_repetition(&mut self) -> Result<(), String> {
        match self.rest.peek() {
            Some('?') => self.out.extend(self.rest.next()),
            Some('+') => {
                return self.unsupported(
                    "has a possessive repetition (`++`, `*+`, `?+`, `}+`), which is not supported; leave the last `+` out",
                );
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// A brace begins a repetition only if one follows: `{2}`, `{2,}`, `{,2}`, `{2,3}`. Any other one stands for itself.
    fn brace(&mut self) -> Result<(), String> {
        let inside: String = self.rest.clone().take_while(|letter| letter.is_ascii_digit() || *letter == ',').collect();
        let is_closed = self.rest.clone().nth(inside.len()) == Some('}');
        if !is_closed || inside.is_empty() || inside.matches(',').count() > 1 {
            self.literal('{');
            return Ok(());
        }
        self.rest.nth(inside.len());
        let least = if inside.starts_with(',') { "0" } else { "" };
        let repetition = format!("{{{least}{inside}}}");
        self.out.push_str(&repetition);
        self.after_repetition()
    }

    /// After `(`, before `?`.
    fn extension(&mut self) -> Result<(), String> {
        self.rest.next();
        let ahead: String = self.rest.clone().take(2).collect();
        match (ahead.chars().next(), ahead.as_str()) {
            (Some('=' | '!'), _) | (_, "<=" | "<!") => self.unsupported(
                "looks around (`(?=`, `(?!`, `(?<=`, `(?<!`), which is not supported; match the text itself, with groups",
            ),
            (_, "P=") => self.refers("(?P="),
            (Some('('), _) => self.refers("(?("),
            (Some('>'), _) => self.unsupported("has an atomic group (`(?>`), which is not supported; write `(?:`"),
            (Some('#'), _) => {
                // A comment.
                if self.rest.any(|letter| letter == ')') { Ok(()) } else { self.unsupported("has a `(?#` without `)`") }
            }
            (Some('P' | '<'), _) => {
                self.out.push_str("(?");
                self.out.extend(self.rest.by_ref().take_while(|letter| *letter != '>'));
                self.out.push('>');
                Ok(())
            }
            _ => self.flags(),
        }
    }

    /// After `(?`: flags that end in `)` or begin a group with `:`.
    fn flags(&mut self) -> Result<(), String> {
        let is_at_start = self.out.is_empty();
        let flags: String = self.rest.clone().take_while(|letter| letter.is_ascii_alphabetic() || *letter == '-').collect();
        let end = self.rest.nth(flags.len());
        let is_group = end == Some(':');
        if flags.chars().any(|flag| !"aimsx-".contains(flag)) || !matches!(end, Some(':' | ')')) {
            return self.unsupported(&format!(
                "has a `(?{flags}{}`; known are `(?:`, `(?P<`, `(?#`, and the flags a, i, m, s and x",
                end.map(String::from).unwrap_or_default()
            ));
        }
        if flags.contains('x') && (is_group || !is_at_start) {
            return self.unsupported("has the flag x not at its start, where alone it is supported");
        }
        if !is_group && is_at_start {
            self.verbose |= flags.contains('x');
            self.multi_line |= flags.contains('m');
        }
        // Letters, digits and white space are those of ASCII in any case.
        let others: String = flags.chars().filter(|flag| !matches!(flag, 'a' | 'x')).collect();
        let translated = match is_group {
            true => format!("(?{others}:"),
            false if others.is_empty() => String::new(),
            false => format!("(?{others})"),
        };
        self.out.push_str(&translated);
        Ok(())
    }

    /// After `[`. Within, `[`, `&&`, `~~` and `--` mean nothing special.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        self.out.extend(self.rest.next_if_eq(&'^'));
        let mut is_first = true;
        loop {
            match self.rest.next() {
                None => return self.unsupported("has a `[` without `]`; write `\\[` for a bracket"),
                Some(']') if !is_first => break,
                Some(letter) => self.member(letter)?,
            }
            is_first = false;
            if self.rest.next_if_eq(&'-').is_some() {
                match self.rest.next() {
                    Some(']') => {
                        self.out.push_str("\\-");
                        break;
                    }
                    Some(last) => {
                        self.out.push('-');
                        self.member(last)?;
                    }
                    None => {}
                }
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn member(&mut self, letter: char) -> Result<(), String> {
        if letter != '\\' {
            self.literal(letter);
            return Ok(());
        }
        match self.rest.next() {
            None => self.unsupported("ends in a lone `\\`; write `\\\\` for a backslash"),
            Some('b') => self.number(8),
            Some('x') => self.hexadecimal(),
            Some(digit) if digit.is_digit(8) => self.octal(digit.to_digit(8).unwrap_or_default(), 2),
            Some(letter) => self.escaped(letter, "dDsSwWafnrtv"),
        }
    }
}
