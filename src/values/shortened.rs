//! Texts of bounded size, for messages that quote what a user, a node or a stranger wrote.

use std::borrow::Cow;

/// The most bytes of one text of a message.
const MOST: usize = 1000;

/// Returns a text of a message, or its beginning and its end if it is very long.
#[must_use]
pub fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MOST {
        return text.into();
    }
    let (beginning, end) = (&text[..text.floor_char_boundary(MOST / 2)], &text[text.ceil_char_boundary(text.len() - MOST / 4)..]);
    format!("{beginning} … {end}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_text_is_shortened_and_keeps_both_ends() {
        assert_eq!(shortened(&"x".repeat(MOST)), "x".repeat(MOST));
        let long = format!("begin{}end", "☃".repeat(MOST));
        let short = shortened(&long);
        assert!(short.starts_with("begin☃") && short.ends_with("☃end") && short.contains(" … ") && short.len() <= MOST);
    }
}
