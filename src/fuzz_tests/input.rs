//! Inputs that resemble those of a corpus.

use rand::{TryRng as _, rngs::SysRng};

use super::LARGEST;

/// A small generator whose numbers depend on its seed alone: `SplitMix64`, which is enough for choosing among inputs.
pub(super) struct Random(u64);

/// What often means something, or overflows something, in a text.
const HOSTILE: &[&str] = &[
    "'",
    "\"",
    "`",
    "\\",
    "$",
    "$(",
    "${",
    "$((",
    ")",
    "}",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "#",
    ";",
    "|",
    "&",
    "<<",
    "<",
    ">",
    "(",
    "[",
    "]",
    "{",
    "*",
    "?",
    "~",
    "!",
    "=",
    ":",
    ": ",
    ",",
    "- ",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\n\n",
    "\0",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "\u{e000}",
    "\u{f8ff}",
    "é",
    "☃",
    "\u{10ffff}",
    "-1",
    "0",
    "00",
    "0x",
    "1e999",
    "18446744073709551616",
    "-9223372036854775808",
    "99999999999999999999999999",
    "null",
    "true",
    "<<: *a",
    "&a",
    "*a",
    "%s",
    "../",
    "/",
    "\u{1b}[31m",
];

/// Bytes that no text holds.
const NO_TEXT: &[&[u8]] = &[b"\xff", b"\xc3", b"\xe2\x98", b"\xed\xa0\x80", b"\xf0\x9f"];

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn any_seed() -> u64 {
        SysRng.try_next_u64().unwrap() >> 16
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A range of a text of this length, most often a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 16 };
        start..(start + self.below(most + 1)).min(length)
    }

    fn piece(&mut self, corpus: &[&[u8]], words: &[&str]) -> Vec<u8> {
        match self.below(8) {
            0 => {
                let other = self.one_of(corpus);
                other[self.range(other.len())].to_vec()
            }
            1 => self.one_of(NO_TEXT).to_vec(),
            2 => vec![self.next().to_le_bytes()[0]],
            3 | 4 if !words.is_empty() => self.one_of(words).into(),
            _ => self.one_of(HOSTILE).into(),
        }
    }

    /// An input of the corpus with some changes. Few are made large, as that takes time.
    pub(super) fn changed(&mut self, corpus: &[&[u8]], words: &[&str]) -> Vec<u8> {
        let mut input = self.one_of(corpus).to_vec();
        for _ in 0..=self.below(4) {
            let range = self.range(input.len());
            let by = match self.below(6) {
                0 => Vec::new(),
                1 => input[range.clone()].repeat(2),
                2 => {
                    let piece = self.piece(corpus, words);
                    [piece.as_slice(), &input[range.clone()], &piece].concat()
                }
                _ => self.piece(corpus, words),
            };
            input.splice(range, by);
        }
        match self.below(100) {
            0 => {
                // The same over and over: what is quadratic shows.
                let range = self.range(input.len());
                let mut pump = input[range.clone()].to_vec();
                for _ in 0..=self.below(3) {
                    pump.extend(self.piece(corpus, words));
                }
                let length = self.one_of(&[LARGEST, LARGEST, 4 << 10]);
                input.splice(range, pump.iter().copied().cycle().take(if pump.is_empty() { 0 } else { length }));
            }
            1..10 => input.truncate(self.below(input.len())),
            _ => {}
        }
        input.truncate(LARGEST);
        input
    }
}

#[test]
fn a_seed_repeats_its_inputs() {
    let inputs = |seed| {
        let mut random = Random::new(seed);
        (0..100).map(|_| random.changed(&[b"one", b"two: 2"], &["word"])).collect::<Vec<_>>()
    };
    assert_eq!(inputs(1), inputs(1));
    assert_ne!(inputs(1), inputs(2));
    assert!(inputs(3).iter().any(|input| std::str::from_utf8(input).is_err()));
}
