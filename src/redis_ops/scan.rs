//! Scans a database with SCAN: how many keys of each kind it contains, how many expire, and how much memory they use.

use std::{collections::BTreeMap, time::Instant};

use super::{
    ScanProgress,
    key::family,
    schema::{KeyKind, Schema, Ttl},
    session::{BEGIN, RedisSession, Stream, number_of, text_of},
};
use crate::redis_client::Reply;

/// Of each kind, the first 64 keys and then every 64th are sampled: their type and memory are queried.
const SAMPLE_INTERVAL: u64 = 64;
/// How many families of unknown keys are counted separately. Further ones are counted together.
const FAMILIES: usize = 200;
/// How many keys are kept as examples.
const EXAMPLES: usize = 3;

/// How much is scanned.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanLimits {
    /// The maximum number of keys per database; 0 for all.
    pub(super) keys: u64,
    /// When to stop.
    pub(super) until: Instant,
}

/// The contents of a database.
#[derive(Debug, Default)]
pub(super) struct DatabaseScan {
    /// The number of keys that were examined.
    pub(super) scanned: u64,
    /// Whether that was all of them.
    pub(super) complete: bool,
    /// The keys of each kind that the schema has for this database, in its order.
    pub(super) kinds: Vec<KeyTally>,
    /// Keys of no known kind.
    pub(super) unknown: KeyTally,
    /// The same keys by their prefix.
    pub(super) families: BTreeMap<String, KeyTally>,
    /// Keys with vectors.
    pub(super) vectors: KeyTally,
    /// The number of keys that are too long to be examined.
    pub(super) too_long: u64,
}

/// A count of keys of one kind.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyTally {
    pub(super) keys: u64,
    /// How many of them expire.
    pub(super) expiring: u64,
    /// The TTLs of these, in milliseconds: minimum, maximum and sum.
    pub(super) ttl: Option<(u64, u64, u128)>,
    /// How many keys were sampled for their type and memory.
    pub(super) sampled: u64,
    /// The memory of the sampled keys, in bytes.
    pub(super) memory: u64,
    /// How often each type occurs among the sampled keys.
    pub(super) types: BTreeMap<String, u64>,
    /// Examples of relevant keys: where the schema requires a TTL, keys without one.
    pub(super) examples: Vec<Vec<u8>>,
}

impl KeyTally {
    /// Estimates the memory of all keys from that of the sampled ones.
    pub(super) fn estimate(&self) -> u64 {
        let estimate = u128::from(self.memory) * u128::from(self.keys) / u128::from(self.sampled.max(1));
        u64::try_from(estimate).unwrap_or(u64::MAX)
    }

    fn example(&mut self, key: &[u8]) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(key.to_vec());
        }
    }

    /// Counts a key with its TTL in milliseconds, if it has one.
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

    /// Whether the next key should be sampled; `counted` keys of this kind are in the current batch.
    fn wants_sample(&self, counted: u64) -> bool {
        let next = self.keys + counted;
        next < SAMPLE_INTERVAL || next.is_multiple_of(SAMPLE_INTERVAL)
    }
}

/// The tally in which a key is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TallyKey {
    Kind(usize),
    Unknown,
}

/// Scans the selected database.
///
/// # Errors
/// The server returned an error.
pub(super) async fn database<S: Stream>(
    session: &mut RedisSession<S>,
    schema: &Schema,
    number: u32,
    limits: ScanLimits,
    progress: &ScanProgress,
) -> Result<DatabaseScan, String> {
    let kinds = schema.kinds_of(number);
    let mut found = DatabaseScan { kinds: vec![KeyTally::default(); kinds.len()], ..DatabaseScan::default() };
    let mut cursor = BEGIN.to_vec();
    while !found.complete && (limits.keys == 0 || found.scanned < limits.keys) && Instant::now() < limits.until {
        let (next, keys, too_long) = session.scan(&cursor, None).await?;
        let before = found.scanned;
        found.too_long += too_long;
        found.scanned += too_long;
        found.batch(session, schema, kinds, &keys).await?;
        progress.add_examined(found.scanned - before);
        found.complete = next == BEGIN;
        cursor = next;
    }
    found.kinds.iter_mut().chain(found.families.values_mut()).chain([&mut found.vectors]).for_each(|tally| tally.examples.sort());
    Ok(found)
}

impl DatabaseScan {
    fn tally(&mut self, tally_key: TallyKey) -> &mut KeyTally {
        match tally_key {
            TallyKey::Kind(at) => &mut self.kinds[at],
            TallyKey::Unknown => &mut self.unknown,
        }
    }

    /// Queries the TTLs of the keys, and the type and memory of some, in one batch.
    async fn batch<S: Stream>(
        &mut self,
        session: &mut RedisSession<S>,
        schema: &Schema,
        kinds: &[KeyKind],
        keys: &[Vec<u8>],
    ) -> Result<(), String> {
        let mut commands: Vec<Vec<&[u8]>> = Vec::with_capacity(keys.len());
        let mut queried: Vec<(TallyKey, &[u8], bool)> = Vec::with_capacity(keys.len());
        let mut counted: Vec<u64> = vec![0; kinds.len() + 1];
        for key in keys.iter().filter(|key| !key.starts_with(EXERCISE_PREFIX)) {
            let tally_key = kinds.iter().position(|kind| kind.pattern.matches(key)).map_or(TallyKey::Unknown, TallyKey::Kind);
            let in_batch = match tally_key {
                TallyKey::Kind(at) => &mut counted[at],
                TallyKey::Unknown => &mut counted[kinds.len()],
            };
            let is_sampled = self.tally(tally_key).wants_sample(*in_batch);
            *in_batch += 1;
            commands.push(vec![b"PTTL", key]);
            if is_sampled {
                commands.push(vec![b"TYPE", key]);
                commands.push(vec![b"MEMORY", b"USAGE", key]);
            }
            queried.push((tally_key, key, is_sampled));
        }
        let mut replies = session.pipeline(&commands).await?.into_iter();
        for (tally_key, key, is_sampled) in queried {
            let left = replies.next().as_ref().and_then(number_of);
            let sample = if is_sampled { Some((replies.next(), replies.next())) } else { None };
            // -2: the key no longer exists.
            let Some(left) = left.filter(|left| *left != -2) else { continue };
            self.scanned += 1;
            let ttl = u64::try_from(left).ok();
            let tally = self.tally(tally_key);
            tally.add(ttl);
            if let Some((Some(kind), Some(memory))) = sample {
                tally.add_sample(
                    text_of(&kind),
                    number_of(&memory).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default(),
                );
            }
            self.record(schema, kinds, tally_key, key, ttl);
        }
        Ok(())
    }

    /// Records what may violate the schema.
    fn record(&mut self, schema: &Schema, kinds: &[KeyKind], tally_key: TallyKey, key: &[u8], ttl: Option<u64>) {
        match tally_key {
            TallyKey::Kind(at) if kinds[at].ttl == Ttl::Required && ttl.is_none() => self.kinds[at].example(key),
            TallyKey::Kind(_) => {}
            TallyKey::Unknown => {
                let family = family(key);
                let is_separate = self.families.len() < FAMILIES || self.families.contains_key(&family);
                let family = self.families.entry(if is_separate { family } else { "others".to_owned() }).or_default();
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

/// The prefix of the keys that this program's health exercises create temporarily.
const EXERCISE_PREFIX: &[u8] = b"autobot-provision:health:";

/// Returns the indexes of RediSearch. Empty without the module.
pub(super) async fn indexes<S: Stream>(session: &mut RedisSession<S>) -> Result<Vec<SearchIndex>, String> {
    let listed = session.pipeline(&[vec!["FT._LIST"]]).await?;
    let Some(Reply::Array(Some(names))) = listed.first() else { return Ok(Vec::new()) };
    let mut indexes = Vec::new();
    for name in names.iter().filter_map(text_of) {
        // The index may have been dropped in the meantime.
        let Ok(info) = session.call(&["FT.INFO", &name]).await else { continue };
        let mut index = SearchIndex { name, prefixes: Vec::new(), documents: 0 };
        for (field, value) in super::session::pairs_of(&info) {
            match field.as_str() {
                "num_docs" => {
                    index.documents = number_of(value).and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
                }
                "index_definition" => {
                    for (field, value) in super::session::pairs_of(value) {
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
pub(super) struct SearchIndex {
    pub(super) name: String,
    pub(super) prefixes: Vec<String>,
    pub(super) documents: u64,
}
