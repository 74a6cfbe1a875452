//! Looks through a database with SCAN: how many keys of which kind there are, which expire, and what they take.

use std::{collections::BTreeMap, time::Instant};

use super::{
    Progress,
    asking::{Asking, BEGIN, Stream, number_of, text_of},
    key::family,
    schema::{KeyKind, Schema, Ttl},
};
use crate::health::resp::Reply;

/// Of each kind the first so many keys are asked for their type and memory, and then every so many'th.
const CLOSELY: u64 = 64;
/// More families of unknown keys than this are counted together.
const FAMILIES: usize = 200;
/// How many keys are kept as examples.
const EXAMPLES: usize = 3;

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Keys of one database at most; 0: all.
    pub(super) keys: u64,
    /// When to stop.
    pub(super) until: Instant,
}

/// What a database holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Keys looked at.
    pub(super) scanned: u64,
    /// Whether that was all of them.
    pub(super) complete: bool,
    /// Of each kind that the schema knows here, in its order.
    pub(super) kinds: Vec<Tally>,
    /// Keys that fit no kind.
    pub(super) unknown: Tally,
    /// The same by what they begin with.
    pub(super) families: BTreeMap<String, Tally>,
    /// Keys with vectors, and examples.
    pub(super) vectors: Tally,
    /// Keys that are too long to be looked at.
    pub(super) too_long: u64,
}

/// Keys of one kind.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    pub(super) keys: u64,
    /// How many of them expire.
    pub(super) expiring: u64,
    /// What is left of these, in milliseconds: the shortest, the longest, and all together.
    pub(super) ttl: Option<(u64, u64, u128)>,
    /// How many were asked for their type and memory.
    pub(super) sampled: u64,
    /// The memory of these, in bytes.
    pub(super) memory: u64,
    /// How often each type occurred among these.
    pub(super) types: BTreeMap<String, u64>,
    /// Some that matter: where the schema wants a TTL, keys without one.
    pub(super) examples: Vec<Vec<u8>>,
}

impl Tally {
    /// The memory of all of them, by that of the sampled ones.
    pub(super) fn estimate(&self) -> u64 {
        let estimate = u128::from(self.memory) * u128::from(self.keys) / u128::from(self.sampled.max(1));
        u64::try_from(estimate).unwrap_or(u64::MAX)
    }

    fn example(&mut self, key: &[u8]) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(key.to_vec());
        }
    }

    /// Counts a key with its TTL in milliseconds, where it has one.
    fn add(&mut self, ttl: Option<u64>) {
        self.keys += 1;
        if let Some(left) = ttl {
            self.expiring += 1;
            let (least, most, sum) = self.ttl.unwrap_or((left, left, 0));
            self.ttl = Some((least.min(left), most.max(left), sum + u128::from(left)));
        }
    }

    fn add_sample(&mut self, kind: Option<String>, memory: u64) {
        self.sampled += 1;
        self.memory += memory;
        if let Some(kind) = kind {
            *self.types.entry(kind).or_default() += 1;
        }
    }

    /// Whether the next key is one to ask more about.
    fn wants_sample(&self, counted: u64) -> bool {
        let next = self.keys + counted;
        next < CLOSELY || next.is_multiple_of(CLOSELY)
    }
}

/// Where a key is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Kind(usize),
    Unknown,
}

/// Looks through the database that is selected.
///
/// # Errors
/// What the server has against it.
pub(super) async fn database<S: Stream>(
    asking: &mut Asking<S>,
    schema: &Schema,
    number: u32,
    bounds: Bounds,
    progress: &Progress,
) -> Result<Found, String> {
    let kinds = schema.kinds_of(number);
    let mut found = Found { kinds: vec![Tally::default(); kinds.len()], ..Found::default() };
    let mut cursor = BEGIN.to_vec();
    while !found.complete && (bounds.keys == 0 || found.scanned < bounds.keys) && Instant::now() < bounds.until {
        let (next, keys, too_long) = asking.scan(&cursor, None).await?;
        let before = found.scanned;
        found.too_long += too_long;
        found.scanned += too_long;
        found.batch(asking, schema, kinds, &keys).await?;
        progress.saw(found.scanned - before);
        found.complete = next == BEGIN;
        cursor = next;
    }
    found.kinds.iter_mut().chain(found.families.values_mut()).chain([&mut found.vectors]).for_each(|tally| tally.examples.sort());
    Ok(found)
}

impl Found {
    fn tally(&mut self, whose: Whose) -> &mut Tally {
        match whose {
            Whose::Kind(at) => &mut self.kinds[at],
            Whose::Unknown => &mut self.unknown,
        }
    }

    /// Asks for the keys' TTLs, and of some for more, in one go.
    async fn batch<S: Stream>(
        &mut self,
        asking: &mut Asking<S>,
        schema: &Schema,
        kinds: &[KeyKind],
        keys: &[Vec<u8>],
    ) -> Result<(), String> {
        let mut commands: Vec<Vec<&[u8]>> = Vec::with_capacity(keys.len());
        let mut plan: Vec<(Whose, &[u8], bool)> = Vec::with_capacity(keys.len());
        let mut counted: Vec<u64> = vec![0; kinds.len() + 1];
        for key in keys.iter().filter(|key| !key.starts_with(OURS)) {
            let whose = kinds.iter().position(|kind| kind.pattern.fits(key)).map_or(Whose::Unknown, Whose::Kind);
            let of_this = match whose {
                Whose::Kind(at) => &mut counted[at],
                Whose::Unknown => &mut counted[kinds.len()],
            };
            let closely = self.tally(whose).wants_sample(*of_this);
            *of_this += 1;
            commands.push(vec![b"PTTL", key]);
            if closely {
                commands.push(vec![b"TYPE", key]);
                commands.push(vec![b"MEMORY", b"USAGE", key]);
            }
            plan.push((whose, key, closely));
        }
        let mut replies = asking.pipeline(&commands).await?.into_iter();
        for (whose, key, closely) in plan {
            let left = replies.next().as_ref().and_then(number_of);
            let sample = if closely { Some((replies.next(), replies.next())) } else { None };
            // -2: it is gone by now.
            let Some(left) = left.filter(|left| *left != -2) else { continue };
            self.scanned += 1;
            let ttl = u64::try_from(left).ok();
            let tally = self.tally(whose);
            tally.add(ttl);
            if let Some((Some(kind), Some(memory))) = sample {
                tally.add_sample(
                    text_of(&kind),
                    number_of(&memory).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default(),
                );
            }
            self.note(schema, kinds, whose, key, ttl);
        }
        Ok(())
    }

    /// Keeps what may be worth a mark.
    fn note(&mut self, schema: &Schema, kinds: &[KeyKind], whose: Whose, key: &[u8], ttl: Option<u64>) {
        match whose {
            Whose::Kind(at) if kinds[at].ttl == Ttl::Required && ttl.is_none() => self.kinds[at].example(key),
            Whose::Kind(_) => {}
            Whose::Unknown => {
                let family = family(key);
                let room = self.families.len() < FAMILIES || self.families.contains_key(&family);
                let family = self.families.entry(if room { family } else { "others".to_owned() }).or_default();
                family.add(ttl);
                family.example(key);
            }
        }
        if schema.is_vector(key) {
            self.vectors.add(ttl);
            self.vectors.example(key);
        }
    }
}

/// What our own exercises write for a moment.
const OURS: &[u8] = b"autobot-provision:health:";

/// The indexes of RediSearch: names, prefixes of keys, and numbers of documents. Empty without the module.
pub(super) async fn indexes<S: Stream>(asking: &mut Asking<S>) -> Result<Vec<Index>, String> {
    let listed = asking.pipeline(&[vec!["FT._LIST"]]).await?;
    let Some(Reply::Array(Some(names))) = listed.first() else { return Ok(Vec::new()) };
    let mut indexes = Vec::new();
    for name in names.iter().filter_map(text_of) {
        // It may have been dropped meanwhile.
        let Ok(info) = asking.call(&["FT.INFO", &name]).await else { continue };
        let mut index = Index { name, prefixes: Vec::new(), documents: 0 };
        for (field, value) in super::asking::pairs_of(&info) {
            match field.as_str() {
                "num_docs" => {
                    index.documents = number_of(value).and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
                }
                "index_definition" => {
                    for (field, value) in super::asking::pairs_of(value) {
                        if let ("prefixes", Reply::Array(Some(prefixes))) = (field.as_str(), value) {
                            index.prefixes = prefixes.iter().filter_map(text_of).collect();
                        }
                    }
                }
                _ => {}
            }
        }
        indexes.push(index);
    }
    Ok(indexes)
}

/// An index of RediSearch.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) prefixes: Vec<String>,
    pub(super) documents: u64,
}
