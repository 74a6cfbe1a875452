//! What is kept of a node's outputs: all of an output up to a limit, and of a longer one its beginning and its end.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// So much of the beginning and of the end of an output is kept in any case.
pub(super) const END: usize = 64 << 10;
/// One output is kept as a whole up to this size.
const MOST: usize = 16 << 20;
/// The outputs of all nodes of a run that are kept at any time, besides the ends.
const TOGETHER: usize = 64 << 20;
/// Memory is taken from the budget, and from the system, in pieces of this size.
const PIECE: usize = 256 << 10;
/// What an output may take without asking: both ends, and what arrives meanwhile.
pub(super) const FREE: usize = 4 * END;

/// The memory that the outputs of a run share. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Default for Budget {
    fn default() -> Self {
        Self::new(TOGETHER)
    }
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// What is not held.
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A part of the budget, which is given back when this is dropped.
#[derive(Debug)]
struct Held {
    budget: Budget,
    bytes: usize,
}

impl Held {
    /// Takes more. False if there is not enough.
    fn take(&mut self, bytes: usize) -> bool {
        let left = |left: usize| left.checked_sub(bytes);
        let taken = self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// An output while it arrives. Its buffer never grows by itself: what reads into it asks for room first.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    /// The beginning of an output that was cut.
    head: Vec<u8>,
    left_out: u64,
    held: Held,
    most: usize,
}

impl Buffer {
    pub(super) fn new(budget: &Budget) -> Self {
        let held = Held { budget: budget.clone(), bytes: 0 };
        Self { bytes: Vec::new(), head: Vec::new(), left_out: 0, held, most: MOST }
    }

    /// Makes room for `count` more bytes, with `END` at most. Returns how many bytes were removed from the front to make it.
    pub(super) fn make_room(&mut self, count: usize) -> usize {
        let wanted = self.bytes.len() + count;
        if wanted <= self.bytes.capacity() {
            return 0;
        }
        if self.head.is_empty() {
            let capacity = if wanted <= FREE { (self.bytes.capacity() * 2).clamp(wanted, FREE) } else { wanted + PIECE };
            let asked = capacity.saturating_sub(FREE).saturating_sub(self.held.bytes);
            if wanted <= self.most && (asked == 0 || self.held.take(asked)) {
                self.bytes.reserve_exact(capacity - self.bytes.len());
                return 0;
            }
        }
        self.cut()
    }

    /// Keeps the ends only.
    fn cut(&mut self) -> usize {
        let mut removed = 0;
        if self.head.is_empty() {
            self.head = self.bytes[..END.min(self.bytes.len())].to_vec();
            removed = self.head.len();
        }
        let from = self.bytes.len().saturating_sub(END).max(removed);
        self.left_out += (from - removed) as u64;
        let mut bytes = Vec::with_capacity(FREE - END);
        bytes.extend_from_slice(&self.bytes[from..]);
        self.bytes = bytes;
        self.held = Held { budget: self.held.budget.clone(), bytes: 0 };
        from
    }

    /// The bytes that have arrived since the last output was taken, also those that were left out.
    pub(super) fn arrived(&self) -> u64 {
        (self.head.len() + self.bytes.len()) as u64 + self.left_out
    }

    /// Takes an output out: everything in `bytes` that is `before` something, which the caller has separated.
    pub(super) fn take(&mut self, before: Vec<u8>) -> Stream {
        let nothing = Held { budget: self.held.budget.clone(), bytes: 0 };
        let held = std::mem::replace(&mut self.held, nothing);
        let left_out = std::mem::take(&mut self.left_out);
        if self.head.is_empty() {
            return Stream { bytes: before, head: 0, cut: None, _held: Some(held) };
        }
        let mut bytes = std::mem::take(&mut self.head);
        // Also with nothing left out, which is so when less than a tail has arrived since the cut.
        let (beginning, cut) = (bytes.len(), (left_out > 0).then_some(left_out));
        bytes.extend_from_slice(&before);
        Stream { bytes, head: beginning, cut, _held: Some(held) }
    }

    /// Returns what is there so far, for a message.
    pub(super) fn text(&self) -> String {
        [String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&self.bytes)].concat()
    }
}

/// What a step wrote to one of its outputs: all of it or, if it is too long, its beginning and its end.
pub struct Stream {
    bytes: Vec<u8>,
    /// The length of the beginning, if it was cut.
    head: usize,
    /// How many bytes are left out after the beginning.
    cut: Option<u64>,
    _held: Option<Held>,
}

impl Stream {
    /// Returns all of it, for its use as a value.
    ///
    /// # Errors
    /// It was too long to be kept.
    pub fn whole(&self) -> Result<&[u8], TooLong> {
        match self.cut {
            None => Ok(&self.bytes),
            Some(_) => Err(TooLong { bytes: self.length() }),
        }
    }

    /// Returns it as text for people, with a note where something was left out.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        let Some(left_out) = self.cut else { return String::from_utf8_lossy(&self.bytes) };
        let (head, tail) = self.bytes.split_at(self.head);
        let note = format!("\n[{left_out} bytes are left out here]\n");
        Cow::Owned([String::from_utf8_lossy(head), note.into(), String::from_utf8_lossy(tail)].concat())
    }

    /// Returns what was not moved away by a cut: all of it, or the end.
    pub(super) fn since_cut(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// Returns its length, with what was left out.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64 + self.cut.unwrap_or_default()
    }
}

impl From<Vec<u8>> for Stream {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, head: 0, cut: None, _held: None }
    }
}

impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.cut == other.cut
    }
}

impl Eq for Stream {}

// A node's words may hold a secret, so they stay out of debug output.
impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes", self.length())
    }
}

/// An output is too long to be used as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are more than is kept of a node's output: {} MiB of one, {} MiB of all nodes together", MOST >> 20, TOGETHER >> 20)]
pub struct TooLong {
    /// Its length.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a buffer in pieces, as an output does. Returns the most bytes that it had allocated.
    fn fill(buffer: &mut Buffer, bytes: &[u8]) -> usize {
        let mut most = 0;
        for piece in bytes.chunks(END / 2) {
            buffer.make_room(END / 2);
            let before = buffer.bytes.capacity();
            buffer.bytes.extend_from_slice(piece);
            assert_eq!(buffer.bytes.capacity(), before, "the buffer grew by itself");
            most = most.max(before + buffer.head.capacity());
        }
        most
    }

    fn taken(buffer: &mut Buffer) -> Stream {
        let bytes = std::mem::take(&mut buffer.bytes);
        buffer.take(bytes)
    }

    #[test]
    fn a_short_output_is_whole_and_its_memory_is_given_back() {
        let budget = Budget::default();
        let mut buffer = Buffer::new(&budget);
        let wanted = b"0123456789".repeat(100_000);
        fill(&mut buffer, &wanted);
        let stream = taken(&mut buffer);
        assert_eq!(stream.whole().unwrap(), wanted);
        assert!(budget.left() < TOGETHER - 700_000, "{}", budget.left());
        drop(stream);
        assert_eq!(budget.left(), TOGETHER);
        fill(&mut buffer, b"next");
        assert_eq!(taken(&mut buffer).whole().unwrap(), b"next");
    }

    #[test]
    fn of_a_long_output_the_ends_are_kept_and_the_rest_is_counted() {
        let budget = Budget::default();
        let mut buffer = Buffer::new(&budget);
        let length = 40_000_000;
        let most = fill(&mut buffer, &[b"<", vec![b'x'; length].as_slice(), b">"].concat());
        assert!(most <= MOST + PIECE + END, "{most}");
        let stream = taken(&mut buffer);
        assert_eq!(budget.left(), TOGETHER);
        assert_eq!(stream.length(), length as u64 + 2);
        assert_eq!(stream.whole().unwrap_err(), TooLong { bytes: length as u64 + 2 });
        let (text, kept) = (stream.text(), stream.bytes.len());
        assert!((2 * END..=FREE).contains(&kept), "{kept}");
        assert!(text.starts_with('<') && text.ends_with('>'));
        assert!(text.contains(&format!("x\n[{} bytes are left out here]\nx", length + 2 - kept)));
    }

    #[test]
    fn two_hundred_outputs_without_end_take_less_than_two_hundred_megabytes_together() {
        let budget = Budget::default();
        let mut outputs: Vec<Buffer> = (0..200).map(|_| Buffer::new(&budget)).collect();
        let (mut most, piece) = (0, vec![b'x'; END]);
        for _ in 0..200 {
            for output in &mut outputs {
                fill(output, &piece);
            }
            most = most.max(outputs.iter().map(|output| output.bytes.capacity() + output.head.capacity()).sum());
        }
        assert!(most < 130 << 20, "{} MiB", most >> 20);
        let streams: Vec<Stream> = outputs.iter_mut().map(taken).collect();
        assert!(streams.iter().all(|stream| stream.length() == 200 * END as u64));
        let whole = streams.iter().filter(|stream| stream.whole().is_ok()).count();
        assert!(whole <= TOGETHER / (200 * END - FREE), "{whole} are more than the budget");
    }

    #[test]
    fn without_a_budget_an_output_still_has_its_ends() {
        let mut buffer = Buffer::new(&Budget::new(0));
        fill(&mut buffer, &vec![b'a'; FREE / 2]);
        assert!(taken(&mut buffer).whole().is_ok());
        fill(&mut buffer, &vec![b'a'; 10 * FREE]);
        assert!(taken(&mut buffer).whole().is_err());
    }
}
