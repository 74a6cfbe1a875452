//! Words for a shell: whatever they hold, a shell reads back the same.

use std::process::Command;

use super::Target;
use crate::{
    script::{Quotes, quote_with},
    shell::{Lexer, Words},
};

const PUMPS: &[(&str, &str, &str)] = &[("", "'", ""), ("", "\n", "")];

#[test]
fn fuzz_words() {
    let words = &[
        "$(id)", "`id`", "${IFS}", "~root", "*", "\\n", "'\\''", "\"'\"", "-e", "--", "a=b", "{a,b}", "!x", "\n", "if", "[a]",
        "%s", "\u{a0}",
    ];
    Target { name: "words", words, pumps: PUMPS, property }.fuzz();
}

/// The longest argument list is that of the system; this is what fits in any case.
const MOST: usize = 16 << 10;

fn property(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut line = String::from("printf '%s\\0' x");
    let mut expected = b"x\0".to_vec();
    for word in text.split(['\n', '\0']).chain([text.as_ref()]) {
        for style in [Quotes::WhereNeeded, Quotes::Single, Quotes::Double] {
            let Ok(quoted) = quote_with(word, style) else {
                assert!(word.contains('\0'), "refused without a NUL");
                continue;
            };
            // Our own lexer agrees with the shell about where the word ends.
            let mut lexer = Lexer::new();
            let read =
                lexer.text(&format!("echo {quoted} ")).map(|()| (lexer.open(), lexer.value(0, Words::One("value")).is_ok()));
            assert_eq!(read, Ok((Vec::new(), true)), "{quoted}");
            if line.len() + quoted.len() < MOST {
                line.push(' ');
                line.push_str(&quoted);
                expected.extend_from_slice(word.as_bytes());
                expected.push(0);
            }
        }
    }
    let output = Command::new("sh").arg("-c").arg(&line).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == expected, "{line} is read as {}", output.stdout.escape_ascii());
}
