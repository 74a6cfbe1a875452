//! Which templates are cheap whatever they hold, so that they are rendered in this process.
//!
//! It is judged by words alone, within tags or not, in strings or not: no difference between this program's reading of a text and Tera's can hide
//! a loop.

use std::ops::Range;

use serde_json::Value;

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

/// Returns the first place that may take long, by file and range; none if the template is cheap.
pub(super) fn place(files: &[File]) -> Option<(usize, Range<usize>)> {
    files.iter().enumerate().find_map(|(number, file)| Some((number, within(&file.original)?)))
}

fn within(text: &str) -> Option<Range<usize>> {
    if text.len() > MOST_TEXT {
        return Some(0..text.len());
    }
    // An expression has no braces.
    let start = ["{{", "{%"].iter().filter_map(|open| text.find(open)).min().unwrap_or_default();
    let end = ["}}", "%}"].iter().filter_map(|close| text.rfind(close)).max().filter(|end| *end > start).unwrap_or(text.len());
    let (mut at, mut growing) = (start, 0);
    for word in text[start..end].split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_') {
        growing += usize::from(GROWING.0.contains(&word));
        if WORDS.contains(&word) || growing > GROWING.1 {
            return Some(at..at + word.len());
        }
        at += word.len() + text[at + word.len()..].chars().next().map_or(0, char::len_utf8);
    }
    let joining: usize = JOINING.0.iter().map(|operator| text.matches(operator).count()).sum();
    (joining > JOINING.1).then_some(0..text.len())
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
