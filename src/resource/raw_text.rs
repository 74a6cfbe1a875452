//! Any bytes as text and back, so that files in other encodings are searched and edited like text, and keep every byte.

/// The character that stands for a byte `b` that is no text is this one plus `b`. Like the marks of secrets, it is of plane 15, for private use.
const STAND_IN: u32 = 0xF5F00;

/// Returns the bytes as text: a byte that is no part of a character in UTF-8 becomes a character of its own. [`bytes_of`] returns the bytes.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let stand_ins = |text: &mut String, bytes: &[u8]| {
        text.extend(bytes.iter().filter_map(|byte| char::from_u32(STAND_IN + u32::from(*byte))));
    };
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            // A file that holds such a character gets it back, too.
            if byte_of(letter).is_some() {
                stand_ins(&mut text, letter.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(letter);
            }
        }
        stand_ins(&mut text, chunk.invalid());
    }
    text
}

/// Returns the bytes that the text stands for.
pub(super) fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match byte_of(letter) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn byte_of(letter: char) -> Option<u8> {
    u32::from(letter).checked_sub(STAND_IN).and_then(|byte| u8::try_from(byte).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [
            all.as_slice(),
            "plain ü \u{F5EC0}".as_bytes(),
            b"# caf\xe9\n\xc3",
            "\u{F5FE9} is the stand-in of \u{F5F00}".as_bytes(),
            b"\xf3\xb5\xbb\x80\xf3\xb5\xbb",
        ] {
            assert_eq!(bytes_of(&text_of(bytes)), bytes);
        }
        assert_eq!(text_of("ü\n".as_bytes()), "ü\n");
        assert_eq!(text_of(b"a\xe9b").chars().count(), 3, "such a byte is one character");
    }
}
