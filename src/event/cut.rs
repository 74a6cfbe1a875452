//! Keeps the lines of the stream short: a long text of an event is cut. The event itself has all of it.

use serde_json::{Map, Value};

/// The most bytes of a text as JSON writes it, so that a line stays below 64 KiB.
const LONGEST: usize = 48 << 10;

/// Cuts a long text in the fields of an event, and says so in a field of its own: `diff_truncated`.
pub(super) fn cut(fields: &mut Map<String, Value>, name: &str) {
    let Some(Value::String(text)) = fields.get_mut(name) else { return };
    let Some(end) = end_of(text) else { return };
    text.truncate(end);
    fields.insert(format!("{name}_truncated"), Value::Bool(true));
}

/// Returns where a text must end, if it is too long.
fn end_of(text: &str) -> Option<usize> {
    let mut written = 0;
    text.char_indices().find_map(|(at, character)| {
        written += match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            _ => character.len_utf8(),
        };
        (written > LONGEST).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_long_text_is_cut_between_characters_and_counts_as_json_writes_it() {
        for (character, length) in [("x", 1), ("ü", 2), ("\n", 2), ("\"", 2), ("\u{1b}", 6), ("\u{7f}", 1), ("🦀", 4)] {
            let most = LONGEST / length;
            let fields = |count: usize| {
                let mut fields = Map::from_iter([("diff".to_owned(), json!(character.repeat(count)))]);
                cut(&mut fields, "diff");
                fields
            };
            assert_eq!(json!(fields(most)), json!({"diff": character.repeat(most)}), "{character:?}");
            let long = fields(most + 1);
            assert_eq!(json!(long), json!({"diff": character.repeat(most), "diff_truncated": true}), "{character:?}");
            assert_eq!(long["diff"].to_string().len(), length * most + 2, "{character:?}");
        }
    }

    #[test]
    fn what_is_no_text_stays() {
        let mut fields = Map::from_iter([("diff".to_owned(), Value::Null)]);
        cut(&mut fields, "diff");
        cut(&mut fields, "text");
        assert_eq!(json!(fields), json!({"diff": null}));
    }
}
