//! Keeps the lines of the stream short: a long text of an event is cut, so that with its texts alone a line is below 64 KiB. The event itself
//! has all of it. Lists, such as the errors of a run that was refused, are not cut.

use serde_json::{Map, Value};

/// The texts that nodes and files make long, and the most bytes of each as JSON writes it.
pub(super) const LONGEST: [(&str, usize); 5] =
    [("diff", 40 << 10), ("text", 40 << 10), ("error", 6 << 10), ("summary", 2 << 10), ("warning", 2 << 10)];

/// Cuts a text in the fields of an event that is longer than this, and says so in a field of its own: `diff_truncated`.
pub(super) fn cut(fields: &mut Map<String, Value>, name: &str, longest: usize) {
    let Some(Value::String(text)) = fields.get_mut(name) else { return };
    let Some(end) = end_of(text, longest) else { return };
    text.truncate(end);
    fields.insert(format!("{name}_truncated"), Value::Bool(true));
}

/// Returns where a text must end, if it is too long.
fn end_of(text: &str, longest: usize) -> Option<usize> {
    let mut written = 0;
    text.char_indices().find_map(|(at, character)| {
        written += match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            _ => character.len_utf8(),
        };
        (written > longest).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_long_text_is_cut_between_characters_and_counts_as_json_writes_it() {
        for (character, length) in [("x", 1), ("ü", 2), ("\n", 2), ("\"", 2), ("\u{1b}", 6), ("\u{7f}", 1), ("🦀", 4)] {
            let most = 1024 / length;
            let fields = |count: usize| {
                let mut fields = Map::from_iter([("diff".to_owned(), json!(character.repeat(count)))]);
                cut(&mut fields, "diff", 1024);
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
        cut(&mut fields, "diff", 1);
        cut(&mut fields, "text", 1);
        assert_eq!(json!(fields), json!({"diff": null}));
    }
}
