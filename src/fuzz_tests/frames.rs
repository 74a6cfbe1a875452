//! The protocol between this program and the shell loop on a node.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Target;
use crate::transport::{Frame, Step, encode_frame, take_mark};

const NONCE: &str = "0123456789abcdef0123456789abcdef";

const PUMPS: &[(&str, &str, &str)] = &[
    ("", "\n", ""),
    ("", "0123456789abcdef0123456789abcdef", ""),
    ("", "\n0123456789abcdef0123456789abcdef 0\n", ""),
    ("", "0123456789abcdef0123456789abcdef alive\n", ""),
];

#[test]
fn fuzz_frames() {
    let words = &[
        NONCE,
        "\n0123456789abcdef0123456789abcdef 0\n",
        "0123456789abcdef0123456789abcdef alive\n",
        "0123456789abcdef",
        "\n0",
        " 0\n",
        " alive\n",
        "step 60 '' ''",
        "text 65536\n",
        "run\n",
        "'\\''",
        "\n\n\n",
    ];
    Target { name: "frames", words, pumps: PUMPS, property }.fuzz();
}

fn property(input: &[u8]) {
    what_arrives(input);
    what_is_sent(input);
}

/// The marks and the output between them, when a node's words arrive in pieces of such a size.
fn marks(sent: &[u8], pieces: usize) -> (Vec<(Vec<u8>, String)>, Vec<u8>) {
    let (mut buffer, mut searched, mut marks) = (Vec::new(), 0, Vec::new());
    for piece in sent.chunks(pieces) {
        buffer.extend_from_slice(piece);
        while let Some(mark) = take_mark(&mut buffer, &mut searched, NONCE) {
            marks.push(mark);
        }
        assert!(searched <= buffer.len(), "{searched} of {} bytes were searched", buffer.len());
    }
    (marks, buffer)
}

fn what_arrives(input: &[u8]) {
    // Of hostile words, nothing depends on how they are cut.
    let whole = marks(input, input.len().max(1));
    // Many pieces of much would take long.
    for pieces in [1, 2, 7, 31, 64, 4096].into_iter().filter(|pieces| input.len() / pieces <= 4096) {
        let cut = marks(input, pieces);
        assert_eq!(cut.0, whole.0, "the marks differ in pieces of {pieces}");
        assert!(cut.1 == whole.1 || holds(&cut.1, NONCE) || holds(&whole.1, NONCE), "the rest differs in pieces of {pieces}");
    }
    // What a node writes comes back as it was, whatever that is.
    if holds(input, &NONCE[..8]) {
        return;
    }
    let halves = input.split_at(input.len() / 2);
    let alive = format!("{NONCE} alive\n");
    let mut sent = halves.0.to_vec();
    for (output, status) in [(halves.1, "0"), (input, "255")] {
        sent.extend_from_slice(alive.as_bytes());
        sent.extend_from_slice(output);
        sent.extend_from_slice(format!("\n{NONCE} {status}\n").as_bytes());
    }
    let expected = vec![(input.to_vec(), "0".to_owned()), (input.to_vec(), "255".to_owned())];
    for pieces in [sent.len(), 33, 5].into_iter().filter(|pieces| sent.len() / pieces <= 4096) {
        assert_eq!(marks(&sent, pieces), (expected.clone(), Vec::new()), "in pieces of {pieces}");
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn what_is_sent(input: &[u8]) {
    let script = String::from_utf8_lossy(input).into_owned();
    let apart = input.first().map_or(0, |byte| usize::from(byte % 3));
    let step = |script: &str| Step {
        script: script.to_owned(),
        input: input.to_vec().into(),
        limit: Duration::from_mins(1),
        again: None,
    };
    let frame = Frame { apart, ..[step(&script), step("second")].into_iter().collect() };
    let Ok(commands) = encode_frame(&frame) else {
        assert!(script.contains('\0'), "refused without a NUL");
        return;
    };
    assert!(!script.contains('\0'), "a shell's word cannot hold a NUL");
    let (last, texts) = commands.split_last().unwrap();
    assert_eq!(last.as_slice(), b"run\n");
    let mut text = Vec::new();
    for command in texts {
        let end = command.iter().position(|byte| *byte == b'\n').unwrap();
        let length = std::str::from_utf8(&command[..end]).unwrap().strip_prefix("text ").unwrap().parse::<usize>().unwrap();
        let piece = &command[end + 1..];
        assert_eq!(piece.len(), length);
        assert!(!piece.ends_with(b"\n"), "the shell would drop the newline");
        text.extend_from_slice(piece);
    }
    let words = words_of(&String::from_utf8(text).unwrap());
    let (mut steps, mut at) = (Vec::new(), 0);
    while let Some(step) = words[at..].iter().position(|word| word == "step") {
        at += step + 4;
        steps.push((words[at - 2].clone(), STANDARD.decode(words[at - 1].trim_end_matches(';')).unwrap()));
    }
    assert_eq!(steps, [(script, input.to_vec()), ("second".to_owned(), input.to_vec())]);
}

/// The words of shell text that holds quotes of one kind only.
fn words_of(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => quoted = !quoted,
            other if quoted => word.push(other),
            '\\' => word.push(letters.next().unwrap()),
            ' ' => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words
}
