//! Parameters in Ansible's short form, `path=/srv mode=0755`, which are rewritten as a map for the help text.

use std::fmt::Write as _;

use crate::resource::Kind;

use super::read;

/// Parameters that Ansible extracts from the line of a command.
const COMMAND_PARAMETERS: &[&str] = &["creates", "removes", "chdir", "stdin", "executable", "warn"];

/// Rewrites a text in the short form as a map; `None` if it is not in the short form.
pub(super) fn as_map<T: ?Sized>(kind: &Kind<T>, text: &str) -> Option<String> {
    let words = words(text);
    let pair = |word: &str| {
        let (key, value) = word.split_once('=')?;
        read::is_identifier(key).then(|| (key.to_owned(), value.to_owned()))
    };
    let (mut pairs, mut line) = (Vec::new(), Vec::new());
    for word in &words {
        match pair(word) {
            Some((key, value)) if kind.free_form.is_empty() || COMMAND_PARAMETERS.contains(&key.as_str()) => {
                pairs.push((key, unquoted(&value)));
            }
            Some(_) | None => line.push(word.as_str()),
        }
    }
    if pairs.is_empty() || kind.free_form.is_empty() && !line.is_empty() || !kind.free_form.is_empty() && kind.name != "command" {
        return None;
    }
    let mut map = String::new();
    if !line.is_empty() {
        let _ = write!(map, "{}: {}", kind.free_form, written(kind.free_form, &line.join(" ")));
    }
    for (key, value) in pairs {
        let comma = if map.is_empty() { "" } else { ", " };
        let _ = write!(map, "{comma}{key}: {}", written(&key, &value));
    }
    Some(format!("{}: {{{map}}}", kind.name))
}

/// Splits a line into words, and keeps their quotes. `{{ … }}` does not end a word.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quote, mut braces) = (None, 0_usize);
    for letter in text.chars() {
        match letter {
            '{' if quote.is_none() => braces += 1,
            '}' if quote.is_none() => braces = braces.saturating_sub(1),
            '\'' | '"' if quote == Some(letter) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(letter),
            space if space.is_whitespace() && quote.is_none() && braces == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn unquoted(value: &str) -> String {
    let inner = ['\'', '"'].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    inner.unwrap_or(value).to_owned()
}

/// Writes a value for a flow map of YAML.
fn written(key: &str, value: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_./-@".contains(letter);
    let number_matters = key.ends_with("mode");
    if !number_matters && !value.is_empty() && !value.starts_with(['-', '@']) && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::kind;

    #[test]
    fn the_short_form_is_rewritten_as_a_map() {
        let shown = |name: &str, text: &str| as_map(kind(name).unwrap(), text).unwrap_or_else(|| "no short form".to_owned());
        insta::assert_snapshot!([
            shown("file", "path=/tmp/a state=directory mode=0755"),
            shown("copy", "src='a b' dest=\"/tmp/{{ x | lower }}\""),
            shown("command", "make install creates=/usr/bin/app chdir=/opt/src"),
            shown("command", "CFLAGS=-O2 make"),
            shown("file", "path=/tmp/a and more"),
            shown("assert", "a=b"),
        ].join("\n"), @r#"
        file: {path: /tmp/a, state: directory, mode: "0755"}
        copy: {src: "a b", dest: "/tmp/{{ x | lower }}"}
        command: {cmd: "make install", creates: /usr/bin/app, chdir: /opt/src}
        no short form
        no short form
        assert: {a: b}
        "#);
    }
}
