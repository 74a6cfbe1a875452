//! The wire format: how frames and the loop's text are written, and how answers are found in the output.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{Frame, gzip};
use crate::{
    script::{NulByte, RUN_DIRECTORY, condensed, quote, whole_seconds},
    secret::find,
};

/// The shell loop that runs on the node. Its comments say how it works.
const LOOP: &str = include_str!("loop.sh");

/// The loop reads a frame in pieces of this size, each of which counts as a heartbeat: even on a slow link, a piece must arrive
/// within the 6 seconds that the node waits.
const PIECE: usize = 64 * 1024;

/// Where the loop keeps its lock and which shell it uses. Only tests have other values than the default.
#[derive(Debug, Clone)]
pub(super) struct RemotePaths {
    pub(super) lock_directory: String,
    pub(super) shell: String,
}

impl Default for RemotePaths {
    fn default() -> Self {
        Self { lock_directory: RUN_DIRECTORY.to_owned(), shell: "/bin/sh".to_owned() }
    }
}

/// Returns the text that starts the loop, with the text of the first frame.
pub(super) fn bootstrap(nonce: &str, paths: &RemotePaths, first: &str) -> Result<Vec<u8>, NulByte> {
    let (directory, shell) = (quote(&paths.lock_directory)?, quote(&paths.shell)?);
    Ok(packed(&format!("nonce={nonce} lock_directory={directory} shell={shell} text={}", quote(first)?), LOOP))
}

/// As [`program`], read by `read -r n && eval "$(head -c "$n" | gzip -dc)"`.
pub(super) fn packed(variables: &str, text: &str) -> Vec<u8> {
    let program = gzip::pack(format!("{variables}\n{}", condensed(text)).as_bytes());
    [format!("{}\n", program.len()).as_bytes(), &program].concat()
}

/// Returns what starts a program: the first command's standard input, read by `read -r n && eval "$(head -c "$n")"`.
pub(super) fn program(variables: &str, text: &str) -> Vec<u8> {
    let program = format!("{variables}\n{}", condensed(text));
    format!("{}\n{program}", program.len()).into_bytes()
}

/// Returns the text of a frame that can travel with the loop: it holds no secret, and is not too long to arrive within the time for a greeting.
pub(super) fn along(frame: &Frame) -> Result<Option<Zeroizing<String>>, NulByte> {
    if frame.steps.is_empty() || frame.steps.iter().any(|step| !step.input.is_empty()) {
        return Ok(None);
    }
    Ok(Some(text(frame)?).filter(|text| text.len() <= 2 * PIECE))
}

/// What runs the text that has arrived.
pub(super) const RUN: &[u8] = b"run\n";

/// Returns the text of a frame: a chain of `step` calls, which the loop defines. Scripts are quoted words, inputs are base64, because a shell's
/// variables cannot hold every byte.
fn text(frame: &Frame) -> Result<Zeroizing<String>, NulByte> {
    let mut text = Zeroizing::new(String::new());
    // Allocated once: a string that moves as it grows would leave copies of secrets behind.
    let size: usize = frame.steps.iter().map(|step| step.script.len() * 2 + step.input.len().div_ceil(3) * 4 + 80).sum();
    text.reserve(size + APART.len() + APART_END.len());
    if frame.apart > 0 {
        text.push_str(APART);
    }
    for (index, step) in frame.steps.iter().enumerate() {
        let before = if index == 0 { "" } else { " && " };
        let _ = write!(text, "{before}step {} {} '", whole_seconds(step.limit), quote(&step.script)?);
        STANDARD.encode_string(&*step.input, &mut text);
        text.push('\'');
        if let Some(again) = &step.again {
            text.push(' ');
            text.push_str(&quote(&again.mark)?);
            for (kind, limit) in &again.parts {
                let _ = write!(text, " {kind}:{}", whole_seconds(*limit));
            }
        }
        if index + 1 == frame.apart {
            text.push_str(APART_END);
        }
    }
    Ok(text)
}

/// Returns a frame as the loop's commands: its text in pieces, and `run`.
pub(crate) fn frame(frame: &Frame) -> Result<Vec<Zeroizing<Vec<u8>>>, NulByte> {
    let text = text(frame)?;
    let mut commands = Vec::with_capacity(text.len() / PIECE + 2);
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let mut length = PIECE.min(rest.len());
        // The shell would drop a newline at the end of a piece. The text itself does not end in one.
        length += rest[length - 1..].iter().take_while(|byte| **byte == b'\n').count();
        let (piece, after) = rest.split_at(length);
        commands.push(Zeroizing::new([format!("text {length}\n").as_bytes(), piece].concat()));
        rest = after;
    }
    commands.push(Zeroizing::new(RUN.to_vec()));
    Ok(commands)
}

/// What is around the steps that run apart; the loop defines the functions.
const APART: &str = ": | { apart_out; : | { apart_err; { ";
const APART_END: &str = "; } >&6 2>&8 6>&- 8>&-; apart_end; }; }";

/// Takes the first mark out of a node's output: everything before it, and the words of the mark.
///
/// A mark is a line that begins with the session's nonce. The newline before it belongs to it. Answers to heartbeats come at any time and at any place,
/// also amid the output of a step, and are removed: `NONCE alive` and a newline, which every shell writes at once.
pub(crate) fn take_mark(buffer: &mut Vec<u8>, searched: &mut usize, nonce: &str) -> Option<(Vec<u8>, String)> {
    loop {
        let Some(found) = buffer.get(*searched..).and_then(|rest| find(rest, nonce.as_bytes())) else {
            // The end may be the beginning of a nonce.
            *searched = buffer.len().saturating_sub(nonce.len() - 1).max(*searched);
            return None;
        };
        let start = *searched + found;
        *searched = start;
        let words_at = start + nonce.len();
        let end = words_at + buffer[words_at..].iter().position(|byte| *byte == b'\n')?;
        let words = String::from_utf8_lossy(&buffer[words_at..end]).into_owned();
        if words == ALIVE {
            buffer.drain(start..=end);
        } else if start > 0 && buffer[start - 1] == b'\n' && words.starts_with(' ') {
            let rest = buffer.split_off(end + 1);
            let mut before = std::mem::replace(buffer, rest);
            before.truncate(start - 1);
            *searched = 0;
            return Some((before, words[1..].to_owned()));
        } else {
            *searched = words_at;
        }
    }
}

/// What follows the nonce in the answer to a heartbeat.
const ALIVE: &str = " alive";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    fn marks(sent: &[u8], at_once: usize) -> Vec<(Vec<u8>, String)> {
        let (mut buffer, mut searched, mut marks) = (Vec::new(), 0, Vec::new());
        for piece in sent.chunks(at_once) {
            buffer.extend_from_slice(piece);
            while let Some(mark) = take_mark(&mut buffer, &mut searched, NONCE) {
                marks.push(mark);
            }
        }
        marks
    }

    #[test]
    fn a_mark_is_found_however_the_bytes_are_cut() {
        let sent = format!("a\0b\n\n{NONCE} 0\n\n{NONCE} 255\nno newline\n{NONCE} 1\n");
        let expected = vec![(b"a\0b\n".to_vec(), "0".into()), (vec![], "255".into()), (b"no newline".to_vec(), "1".into())];
        for at_once in 1..=sent.len() {
            assert_eq!(marks(sent.as_bytes(), at_once), expected, "{at_once} bytes at once");
        }
    }

    #[test]
    fn an_answer_to_a_heartbeat_amid_output_leaves_no_trace() {
        let alive = format!("{NONCE} alive\n");
        let sent = format!("o{alive}ne\n{alive}{alive}\ntwo\n{alive}{NONCE} 0\n{alive}\n{NONCE} 1\n");
        let expected = vec![(b"one\n\ntwo".to_vec(), "0".into()), (vec![], "1".into())];
        for at_once in 1..=sent.len() {
            assert_eq!(marks(sent.as_bytes(), at_once), expected, "{at_once} bytes at once");
        }
    }

    #[test]
    fn a_mark_with_another_nonce_is_output() {
        let forged = "\n0123456789abcdef0123456789abcdee 0\n";
        assert_eq!(marks(format!("{forged}\n{NONCE} 3\n").as_bytes(), 7), vec![(forged.into(), "3".into())]);
    }

    #[test]
    fn limits_are_rounded_up_to_whole_seconds() {
        let seconds = |millis| whole_seconds(Duration::from_millis(millis));
        assert_eq!([seconds(0), seconds(1), seconds(1000), seconds(1001)], [1, 1, 1, 2]);
    }

    #[test]
    fn no_piece_of_a_frame_ends_in_a_newline() {
        let step = super::super::Step {
            script: "\n".repeat(3 * PIECE),
            input: Vec::new().into(),
            limit: Duration::from_mins(1),
            again: None,
        };
        let commands = frame(&step.into()).unwrap();
        let (last, pieces) = commands.split_last().unwrap();
        assert_eq!(last.as_slice(), b"run\n");
        assert!(pieces.iter().all(|piece| !piece.ends_with(b"\n")));
        let together: Vec<u8> =
            pieces.iter().flat_map(|piece| piece.splitn(2, |byte| *byte == b'\n').nth(1).unwrap().to_vec()).collect();
        assert_eq!(together, format!("step 60 '{}' ''", "\n".repeat(3 * PIECE)).into_bytes());
    }

    #[test]
    fn a_frame_is_sent_in_pieces_and_then_run() {
        let step = super::super::Step {
            script: "echo '1'".into(),
            input: vec![0; 200 * 1024].into(),
            limit: Duration::from_mins(1),
            again: None,
        };
        let commands = frame(&step.into()).unwrap();
        assert!(commands[0].starts_with(b"text 65536\nstep 60 'echo '\\''1'\\''' 'AAAA"));
        assert_eq!(commands.len(), 6);
        assert_eq!(commands[5].as_slice(), b"run\n");
    }
}
