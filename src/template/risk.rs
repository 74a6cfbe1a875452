//! Which templates are cheap whatever they hold, so that they are rendered in this process.
//!
//! It is judged by words alone, within tags or not, in strings or not: no difference between this program's reading of a text and Tera's can hide
//! a loop.

use std::ops::Range;

use serde_json::{Map, Value};

use super::File;

/// A text of this length at most is cheap.
const MOST_TEXT: usize = 64 << 10;
/// The values of this size at most are, as JSON writes them.
pub(super) const MOST_VALUES: usize = 16 << 10;
/// Shared values of this size at most are cheap in a plain template: it goes through them [`MOST_WALKS`] times at most.
pub(super) const MOST_SHARED: usize = 16 << 20;
/// The signs and words in a plain template that print, filter, join, compare or search a value.
const MOST_WALKS: usize = 16;
/// Words that repeat something, call something, or make much of little.
const WORDS: &[&str] = &[
    "block",
    "component",
    "extends",
    "filter",
    "for",
    "group_by",
    "include",
    "indent",
    "join",
    "range",
    "replace",
    "set",
    "set_global",
    "unique",
];
/// Filters and operators that make more of what they get, each at most four times as much, and how many are cheap in one text.
const GROWING: (&[&str], usize) =
    (&["b64encode", "escape_html", "escape_xml", "newlines_to_br", "shquote", "to_json", "urlencode"], 4);
const JOINING: ([&str; 2], usize) = (["~", "..."], 32);

/// A template that repeats parts of itself may cost so much in this process: what the longest text costs with the largest values.
const MOST_WORK: usize = MOST_TEXT * MOST_VALUES;

/// Returns the first place that may take long, by file and range; none if the template is cheap.
pub(super) fn place(files: &[File]) -> Option<(usize, Range<usize>)> {
    files.iter().enumerate().find_map(|(number, file)| Some((number, within(&file.original)?)))
}

fn within(text: &str) -> Option<Range<usize>> {
    if text.len() > MOST_TEXT {
        return Some(0..text.len());
    }
    let tags = tags(text);
    let (mut at, mut growing) = (tags.start, 0);
    for word in text[tags].split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_') {
        growing += usize::from(GROWING.0.contains(&word));
        if WORDS.contains(&word) || growing > GROWING.1 {
            return Some(at..at + word.len());
        }
        at += word.len() + text[at + word.len()..].chars().next().map_or(0, char::len_utf8);
    }
    let joining: usize = JOINING.0.iter().map(|operator| text.matches(operator).count()).sum();
    (joining > JOINING.1).then_some(0..text.len())
}

/// Returns the part of a text that holds all its tags. An expression has no braces, and is one.
fn tags(text: &str) -> Range<usize> {
    let start = ["{{", "{%"].iter().filter_map(|open| text.find(open)).min().unwrap_or_default();
    let end = ["}}", "%}"].iter().filter_map(|close| text.rfind(close)).max().filter(|end| *end > start).unwrap_or(text.len());
    start..end
}

/// What a template repeats: each loop goes through a value that was given, or through a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeats {
    /// The names of the values that loops go through, or of variables of other loops.
    loops: Vec<String>,
    /// How many times a list is joined.
    joins: usize,
    /// The length of the texts.
    text: usize,
}

impl Repeats {
    /// Returns what templates repeat; none if they do what may cost more than the repetition of their text.
    pub(super) fn of(files: &[File]) -> Option<Self> {
        let mut repeats = Self { loops: Vec::new(), joins: 0, text: 0 };
        for file in files {
            let text = file.original.as_str();
            repeats.text += text.len();
            let tags = tags(text);
            let mut at = tags.start;
            if JOINING.0.iter().any(|operator| text[tags.clone()].contains(operator)) {
                return None;
            }
            for word in text[tags].split(|letter| !is_of_name(letter)) {
                let rest = &text[at + word.len()..];
                at += word.len() + rest.chars().next().map_or(0, char::len_utf8);
                match word {
                    "for" => repeats.loops.extend(looped(rest)?),
                    "join" => repeats.joins += 1,
                    word if WORDS.contains(&word) || GROWING.0.contains(&word) => return None,
                    _ => {}
                }
            }
        }
        Some(repeats)
    }

    /// Whether they cost little with these values, of this size.
    pub(super) fn are_cheap(&self, values: &Map<String, Value>, size: usize) -> bool {
        let all = || values.values().map(longest).max().unwrap_or_default();
        let turns = self.loops.iter().map(|name| values.get(name).map_or_else(all, longest));
        // A list may be made of a text, with an item for each character.
        let joined = (0..self.joins).map(|_| all().max(self.text));
        let once = self.text.saturating_mul(size + self.text);
        turns.chain(joined).fold(once, |work, times| work.saturating_mul(times.max(1))) <= MOST_WORK
    }
}

/// Returns the first name of what a loop goes through, given what follows its `for`. The outer none is a loop that cannot be judged, the inner one
/// a `for` that begins no loop: if it did, the text would not have been compiled.
#[expect(clippy::option_option, reason = "the two are told apart where it is called")]
fn looped(rest: &str) -> Option<Option<String>> {
    // `KEY, VALUE in`: the third word at the latest.
    let mut words = rest.split_inclusive(|letter| !is_of_name(letter)).filter(|word| word.starts_with(is_of_name));
    let near: Vec<&str> = words.by_ref().take(3).collect();
    let end = near.last().map_or(rest.len(), |last| last.as_ptr().addr() - rest.as_ptr().addr() + last.len());
    if rest.get(..end).is_some_and(str::is_ascii)
        && !near.iter().any(|word| word.trim_end_matches(|letter| !is_of_name(letter)) == "in")
    {
        return Some(None);
    }
    let (_, mut after) = name(rest)?;
    if let Some(second) = after.strip_prefix(',') {
        (_, after) = name(second)?;
    }
    let (root, mut after) = name(after.strip_prefix("in").filter(|after| after.starts_with(char::is_whitespace))?)?;
    while let Some(part) = after.strip_prefix('.') {
        (_, after) = name(part)?;
    }
    ["%}", "-%}"].iter().any(|end| after.starts_with(end)).then(|| Some(root.to_owned()))
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Takes a name, and the space around it.
fn name(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_ascii_start();
    let (name, after) = text.split_at(text.find(|letter| !is_of_name(letter)).unwrap_or(text.len()));
    (!name.is_empty()).then(|| (name, after.trim_ascii_start()))
}

/// Returns the number of items of the largest list, map or text within a value.
fn longest(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(longest).max().unwrap_or_default().max(items.len()),
        Value::Object(map) => {
            map.iter().map(|(key, value)| longest(value).max(key.len())).max().unwrap_or_default().max(map.len())
        }
    }
}

/// Whether templates, which are cheap, go through their values a few times at most, so that also large values cost little.
pub(super) fn is_plain(files: &[File]) -> bool {
    let text = || files.iter().map(|file| file.original.as_str());
    let words = || text().flat_map(|text| text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'));
    let signs = text().flat_map(str::chars).filter(|sign| "|~=<>{".contains(*sign)).count();
    let operators = words().filter(|word| ["in", "is"].contains(word)).count();
    let spread: usize = text().map(|text| text.matches("...").count()).sum();
    signs + operators + spread <= MOST_WALKS && !words().any(|word| GROWING.0.contains(&word))
}

/// Returns the size of values, as JSON writes them, if that is `most` at most.
pub(super) fn size<'a>(values: impl IntoIterator<Item = &'a Value>, most: usize) -> Option<usize> {
    let mut left = most;
    values.into_iter().all(|value| fits(value, &mut left)).then(|| most - left)
}

fn fits(value: &Value, left: &mut usize) -> bool {
    let own = match value {
        Value::String(text) => text.len() + 8,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => 8,
    };
    let Some(rest) = left.checked_sub(own) else { return false };
    *left = rest;
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, left)),
        Value::Object(map) => map.iter().all(|(key, value)| {
            left.checked_sub(key.len()).is_some_and(|rest| {
                *left = rest;
                fits(value, left)
            })
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn word(text: &str) -> Option<&str> {
        within(text).map(|range| &text[range])
    }

    #[test]
    fn what_repeats_is_found_and_the_rest_is_cheap() {
        for cheap in ["", "for a {{ x }} and {{ y | default(value=1) }} set", "{% if é %}é{% endif %}", "x and y is defined"] {
            assert_eq!(word(cheap), None, "{cheap}");
        }
        assert_eq!(word("{%-for x in y %}"), Some("for"));
        assert_eq!(word("é {{ 'é' }}{{ [x for x in y] }}"), Some("for"));
        assert_eq!(word("x | replace(from=a, to=b)"), Some("replace"));
        assert_eq!(word("{{ '\\' }}{% set_global x = 1 %}{{ \\'' }}"), Some("set_global"));
        assert_eq!(word("x|to_json|to_json|to_json|to_json|to_json"), Some("to_json"));
        let long = format!("{{{{ {} }}}}", "x ~ ".repeat(40));
        assert_eq!(word(&long), Some(long.as_str()));
    }

    #[test]
    fn a_loop_is_judged_by_what_it_goes_through() {
        let over = |rest: &str| looped(rest).map(Option::unwrap_or_default);
        for (rest, root) in [
            (" x in list %}", "list"),
            ("\tkey , value\n in  map.of.x-%}{{ key }}", "map"),
            (" x in list.a  -%}", "list"),
            (" you", ""),
            (" the port and the data in it %}", ""),
            ("", ""),
        ] {
            assert_eq!(over(rest).as_deref(), Some(root), "{rest:?}");
        }
        for unknown in [
            " x in \"abc\" %}",
            " x\nin 'abc' %}{% for y in z %}",
            " x in range(end=9) %}",
            " x in list | sort %}",
            " x in list ~ list %}",
            " x in list[0] %}",
            " x in [1, 2] %}",
            " x in y ]",
            " k, v in",
            " é in list %}",
            " aébécéd in list %}",
            " a in b in list %}",
        ] {
            assert_eq!(looped(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn what_is_repeated_is_cheap_while_it_is_little() {
        let cheap = |text: &str, values: &Value| {
            let template = crate::template::Template::text(text).unwrap();
            let size = size([values], MOST_VALUES).unwrap();
            template.repeats.is_some_and(|repeats| repeats.are_cheap(values.as_object().unwrap(), size))
        };
        let few = json!({"a": ["x", "yz"], "b": {"c": ["x"]}});
        let once = "{% for x in a %}{{ x }}{% for y in b.c %}{{ y }}{% endfor %}{% endfor %} for all of them";
        assert!(cheap(once, &few) && cheap("{{ a | join(sep=', ') }}", &few));
        assert!(cheap("set ~a: {{ b.c[0] }}, asked for by {{ a | length }}: replace ~...", &few));
        // A hundred times a hundred times a hundred, whether of lists, of letters of a text, or of keys.
        let thrice = "{% for x in a %}{% for y in a %}{% for z in a %}{{ x }}{% endfor %}{% endfor %}{% endfor %}";
        assert!(cheap(thrice, &few));
        let keys: Map<String, Value> = (0..100).map(|key| (key.to_string(), json!(1))).collect();
        for many in
            [json!({"a": vec![1; 100]}), json!({"a": "x".repeat(100)}), json!({"a": [["x".repeat(100)]]}), json!({"a": keys})]
        {
            assert!(!cheap(thrice, &many), "{many}");
        }
        // The value of an inner loop is a part of the outer one's, or anything that was given.
        let parts = "{% for x in a %}{% for y in x %}{% for z in y %}{{ x }}{% endfor %}{% endfor %}{% endfor %}";
        assert!(cheap(parts, &few) && !cheap(parts, &json!({"a": [], "b": "x".repeat(1000)})));
        let joins = "{{ [a | join(sep=a), a | join(sep=a)] | join(sep=a | join(sep=a)) }}";
        assert!(!cheap(joins, &json!({"a": vec!["x"; 200]})));
        for other in ["{% set x = a %}", "{{ a ~ a }}", "{{ a | to_json }}", "{{ [...a] }}", "{{ range(end=2) }}"] {
            assert!(!cheap(&format!("{once}{other}"), &few), "{other}");
        }
    }

    #[test]
    fn a_template_that_goes_through_its_values_often_is_not_plain() {
        let is_plain = |text: &str| crate::template::Template::text(text).unwrap().is_plain;
        assert!(is_plain("{% if a == b %}x{% else %}{{ c[a]?.d | default(value=b) }}{% endif %}"));
        assert!(is_plain("{{ 'a' in b and b is defined }}"));
        for often in ["a == b and ", "a ~ ", "a in b or ", "a | length > 1 or ", "[...a] and ", "a is string or "] {
            assert!(!is_plain(&format!("{{{{ {}a }}}}", often.repeat(17))), "{often}");
        }
        assert!(!is_plain(&"{{ a }}".repeat(17)));
        assert!(!is_plain("{{ a | to_json }}"));
    }

    #[test]
    fn values_are_measured_with_their_keys() {
        let is_small = |values: &[Value]| size(values, MOST_VALUES).is_some();
        assert!(is_small(&[json!({"a": [1, "x".repeat(1000)]}), json!(null)]));
        assert!(!is_small(&[json!("x".repeat(10_000)), json!("x".repeat(10_000))]));
        assert!(!is_small(&[json!({"x".repeat(20_000): 1})]));
        assert!(!is_small(&[json!(vec![0; 10_000])]));
        assert_eq!(size([&json!({"a": [1, "xy"]}), &json!(null)], usize::MAX), Some(8 + 1 + 8 + 8 + 10 + 8));
    }
}
