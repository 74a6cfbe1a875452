//! The output of a node: finds the marks in it, and passes on its lines as they arrive.

use std::{io, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    time::{Instant, sleep_until, timeout_at},
};

use super::{Progress, session::SessionError, wire};

/// One of the node's two outputs.
#[derive(Debug)]
pub(super) struct Output {
    pipe: pipe::Receiver,
    /// What has arrived since the last mark.
    pub(super) buffer: Vec<u8>,
    searched: usize,
    /// The number of bytes so far.
    pub(super) received: u64,
}

impl Output {
    pub(super) fn new(pipe: pipe::Receiver) -> Self {
        Self { pipe, buffer: Vec::new(), searched: 0, received: 0 }
    }

    /// Reads what is available. False at the end. Nothing is lost when the future is dropped.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(64 * 1024);
        let count = self.pipe.read_buf(&mut self.buffer).await?;
        self.received += count as u64;
        Ok(count > 0)
    }

    /// Reads until the end, for a second at most: the last output of something that has ended.
    pub(super) async fn fill_for_a_moment(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while let Ok(Ok(true)) = timeout_at(deadline, self.fill()).await {}
    }

    /// Takes the first mark, and everything before it.
    pub(super) fn take_mark(&mut self, nonce: &str) -> Option<(Vec<u8>, String)> {
        wire::take_mark(&mut self.buffer, &mut self.searched, nonce)
    }

    /// Waits for the next mark. None when the output ends first.
    pub(super) async fn next_mark(&mut self, nonce: &str, deadline: Instant) -> Result<Option<(Vec<u8>, String)>, SessionError> {
        loop {
            if let Some(mark) = self.take_mark(nonce) {
                return Ok(Some(mark));
            }
            let more = tokio::select! {
                more = self.fill() => more?,
                () = sleep_until(deadline) => return Err(SessionError::TimedOut),
            };
            if !more {
                return Ok(None);
            }
        }
    }
}

/// Passes on the complete lines after the first `reported` bytes; with `all`, also an incomplete last one.
pub(super) fn report_lines(bytes: &[u8], reported: &mut usize, all: bool, progress: Progress<'_>) {
    let Some(end) = (if all { Some(bytes.len()) } else { bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1) }) else {
        return;
    };
    for line in bytes.get(*reported..end).unwrap_or_default().split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        if !line.is_empty() {
            progress(line);
        }
    }
    *reported = end.max(*reported);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_once_and_when_they_are_whole() {
        let (mut reported, mut lines) = (0, Vec::new());
        let mut progress = |line: &str| lines.push(line.to_owned());
        report_lines(b"one\r\nt", &mut reported, false, &mut progress);
        report_lines(b"one\r\ntwo\n\nth\xff", &mut reported, false, &mut progress);
        report_lines(b"one\r\ntwo\n\nth\xff", &mut reported, true, &mut progress);
        assert_eq!(lines, ["one", "two", "th\u{fffd}"]);
    }
}
