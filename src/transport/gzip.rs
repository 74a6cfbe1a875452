//! Packs the text of programs for their way to a node, whose `gzip` unpacks it: a third of the bytes.

use miniz_oxide::deflate::compress_to_vec;

/// How much work is put into it: gzip's own default.
const LEVEL: u8 = 6;

/// The header of a file without a name and a time (RFC 1952, 2.3): deflated, written on Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// Returns what `gzip -d` turns into `text`.
pub(super) fn pack(text: &[u8]) -> Vec<u8> {
    let mut packed = HEADER.to_vec();
    packed.append(&mut compress_to_vec(text, LEVEL));
    packed.extend(checksum(text).to_le_bytes());
    // The size counts modulo 2^32.
    packed.extend(&text.len().to_le_bytes()[..4]);
    packed
}

/// Returns the CRC-32 (RFC 1952, 8).
fn checksum(text: &[u8]) -> u32 {
    !text.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_nodes_gzip_reads_it() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        let text = include_bytes!("loop.sh");
        for text in [&text[..], b"", &[0; 10_000]] {
            let mut child = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let packed = pack(text);
            assert!(packed.len() < text.len() / 2 + 100);
            child.stdin.take().unwrap().write_all(&packed).unwrap();
            let done = child.wait_with_output().unwrap();
            assert!(done.status.success());
            assert!(done.stdout == text);
        }
    }
}
