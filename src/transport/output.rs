//! The output of a node: finds the marks in it, and passes on its lines as they arrive.

use std::{io, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Progress,
    kept::{Budget, Buffer, END, Stream},
    session::SessionError,
    wire,
};

/// What came before a mark.
pub(super) enum Marked {
    /// An output of a step.
    Output(Stream),
    /// Something else.
    Other,
}

/// One of the node's two outputs.
#[derive(Debug)]
pub(super) struct Output {
    pipe: pipe::Receiver,
    /// What has arrived since the last mark.
    pub(super) buffer: Buffer,
    /// No mark begins before this place of the buffer.
    searched: usize,
    /// The lines before this place of the buffer were passed on.
    told: usize,
    /// No line ends between the two.
    looked: usize,
    /// The number of bytes so far.
    pub(super) received: u64,
    pub(super) ended: bool,
}

impl Output {
    pub(super) fn new(pipe: pipe::Receiver, budget: &Budget) -> Self {
        Self { pipe, buffer: Buffer::new(budget), searched: 0, told: 0, looked: 0, received: 0, ended: false }
    }

    /// Reads what is available. False at the end. Nothing is lost when the future is dropped.
    ///
    /// The marks that have arrived must have been taken: of what is too long, the middle is left out.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        let removed = self.buffer.make_room(END);
        for place in [&mut self.searched, &mut self.told, &mut self.looked] {
            *place = place.saturating_sub(removed);
        }
        let count = self.pipe.read_buf(&mut self.buffer.bytes).await?;
        self.received += count as u64;
        self.ended = count == 0;
        Ok(!self.ended)
    }

    /// Reads until the end, for a second at most: the last output of something that has ended.
    pub(super) async fn fill_for_a_moment(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while let Ok(Ok(true)) = timeout_at(deadline, self.fill()).await {}
    }

    /// Takes the first mark, and everything before it.
    pub(super) fn take_mark(&mut self, nonce: &str) -> Option<(Stream, String)> {
        let (before, words) = wire::take_mark(&mut self.buffer.bytes, &mut self.searched, nonce)?;
        (self.told, self.looked) = (0, 0);
        Some((self.buffer.take(before), words))
    }

    /// Waits for the next mark. None when the output ends first.
    pub(super) async fn next_mark(&mut self, nonce: &str, deadline: Instant) -> Result<Option<(Stream, String)>, SessionError> {
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

    /// Passes on the lines that have ended since the last call, of what has arrived since the last mark.
    pub(super) fn report_lines(&mut self, progress: Progress<'_>) {
        let bytes = &self.buffer.bytes;
        let end = bytes[self.looked.min(bytes.len())..].iter().rposition(|byte| *byte == b'\n').map(|at| self.looked + at + 1);
        self.looked = bytes.len();
        if let Some(end) = end {
            report(&bytes[self.told..end], progress);
            self.told = end;
        }
    }

    /// Takes the first mark and, if its words end an output, that output. Passes on the lines of it that were not passed on yet, also the last one
    /// without an end.
    pub(super) fn take_mark_and_report(
        &mut self,
        nonce: &str,
        ends_output: impl FnOnce(&str) -> bool,
        progress: Progress<'_>,
    ) -> Option<Marked> {
        let told = self.told;
        let (stream, words) = self.take_mark(nonce)?;
        if !ends_output(&words) {
            return Some(Marked::Other);
        }
        report(stream.since_cut().get(told..).unwrap_or_default(), progress);
        Some(Marked::Output(stream))
    }
}

/// Passes on lines.
fn report(bytes: &[u8], progress: Progress<'_>) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        if !line.is_empty() {
            progress(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Output {
        let (_, reader) = pipe::pipe().unwrap();
        Output::new(reader, &Budget::default())
    }

    #[tokio::test]
    async fn lines_are_told_once_and_when_they_are_whole() {
        let (mut output, mut lines) = (output(), Vec::new());
        let mut progress = |line: &str| lines.push(line.to_owned());
        for piece in [&b"one\r\nt"[..], b"wo\n\nth", b"", b"\xff\nNONCE x\nnext\n"] {
            output.buffer.bytes.extend_from_slice(piece);
            let marked = output.take_mark_and_report("NONCE", |_| true, &mut progress).is_some();
            output.report_lines(&mut progress);
            assert_eq!(marked, piece.len() > 10);
        }
        assert_eq!(lines, ["one", "two", "th\u{fffd}", "next"]);
    }

    #[tokio::test]
    async fn lines_of_an_output_that_is_cut_are_told_once() {
        let (writer, reader) = pipe::pipe().unwrap();
        let (mut output, mut told) = (Output::new(reader, &Budget::new(0)), 0_u64);
        let lines = 200_000_u64;
        let written = tokio::spawn(async move {
            let mut writer = writer;
            let text = (0..lines).map(|number| format!("{number}\n")).collect::<Vec<_>>().concat();
            tokio::io::AsyncWriteExt::write_all(&mut writer, text.as_bytes()).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut writer, b"\nNONCE 0\n").await.unwrap();
        });
        let mut progress = |line: &str| {
            assert_eq!(line, told.to_string());
            told += 1;
        };
        let stream = loop {
            if let Some(Marked::Output(stream)) = output.take_mark_and_report("NONCE", |_| true, &mut progress) {
                break stream;
            }
            output.report_lines(&mut progress);
            assert!(output.fill().await.unwrap());
        };
        written.await.unwrap();
        assert_eq!(told, lines);
        assert!(stream.whole().is_err() && stream.text().starts_with("0\n1\n"));
    }
}
