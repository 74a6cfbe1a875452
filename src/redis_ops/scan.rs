//! Scans a database with SCAN: how many keys of each kind it contains, how many expire, and how much memory they use.

use std::{collections::BTreeMap, time::Instant};

use super::{
    ScanProgress,
    key::family,
    schema::{KeyKind, Schema, Ttl},
    session::{self, BEGIN, RedisSession, Stream, number_of, text_of},
};
use crate::redis_client::{Commands, Reply};

/// Of each kind, the first 64 keys and then every 64th are sampled: their type and memory are queried.
const SAMPLE_INTERVAL: u64 = 64;
/// How many families of unknown keys are counted separately. Further ones are counted together.
const FAMILIES: usize = 200;
/// The TTL of a key that has none, and of one that no longer exists.
const NO_TTL: i64 = -1;
const GONE: i64 = -2;
/// How many keys are kept as examples.
const EXAMPLES: usize = 3;

/// How much is scanned.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanLimits {
    /// The maximum number of keys per database; 0 for all.
    pub(super) keys: u64,
    /// When to stop.
    pub(super) until: Instant,
    /// Whether any key of the database expires.
    pub(super) expire: bool,
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
}

/// The tally in which a key is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TallyKey {
    Kind(usize),
    Unknown,
}

/// Scans the selected database. The next keys are asked for before the replies about the last ones are read, so that the server never waits.
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
    let mut scan = Scan { schema, kinds: schema.kinds_of(number), limits, asked: Vec::new(), seen: 0 };
    scan.asked = vec![0; scan.kinds.len() + 1];
    let mut found = DatabaseScan { kinds: vec![KeyTally::default(); scan.kinds.len()], ..DatabaseScan::default() };
    let mut commands = Commands::default();
    if !scan.is_enough() {
        session::add_scan(&mut commands, BEGIN);
        session.send(&commands).await?;
    }
    let (mut is_scanning, mut last) = (commands.count() > 0, None);
    while is_scanning || last.is_some() {
        let mut batch = None;
        if is_scanning {
            let reply = session.replies(1).await?.pop().ok_or("SCAN returned nothing")?;
            let (cursor, keys, too_long) = session::keys_of_scan(reply)?;
            found.too_long += too_long;
            found.scanned += too_long;
            scan.seen += too_long;
            let queried = scan.queried(keys);
            found.complete = cursor == BEGIN;
            is_scanning = !found.complete && !scan.is_enough();
            let mut commands = Commands::default();
            if is_scanning {
                session::add_scan(&mut commands, &cursor);
            }
            scan.ask(&queried, &mut commands);
            session.send(&commands).await?;
            batch = Some((queried, too_long));
        }
        if let Some((queried, too_long)) = std::mem::replace(&mut last, batch) {
            let before = found.scanned;
            let replies = session.replies(scan.count(&queried)).await?;
            found.add(&scan, queried, replies);
            progress.add_examined(found.scanned - before + too_long);
        }
    }
    found.kinds.iter_mut().chain(found.families.values_mut()).chain([&mut found.vectors]).for_each(|tally| tally.examples.sort());
    Ok(found)
}

/// How a database is scanned.
struct Scan<'a> {
    schema: &'a Schema,
    kinds: &'a [KeyKind],
    limits: ScanLimits,
    /// How many keys of each kind have been asked about, and last of those of no known kind.
    asked: Vec<u64>,
    /// How many keys SCAN has returned.
    seen: u64,
}

/// A key that the server is asked about.
struct Queried {
    key: Vec<u8>,
    tally: TallyKey,
    /// Whether its type and memory are asked for, too.
    is_sampled: bool,
}

impl Scan<'_> {
    fn is_enough(&self) -> bool {
        self.limits.keys != 0 && self.seen >= self.limits.keys || Instant::now() >= self.limits.until
    }

    /// Decides what is asked about keys.
    fn queried(&mut self, keys: Vec<Vec<u8>>) -> Vec<Queried> {
        let keys = keys.into_iter().filter(|key| !key.starts_with(EXERCISE_PREFIX));
        let queried: Vec<Queried> = keys
            .map(|key| {
                let kind = self.kinds.iter().position(|kind| kind.pattern.matches(&key));
                let asked = &mut self.asked[kind.unwrap_or(self.kinds.len())];
                let is_sampled = *asked < SAMPLE_INTERVAL || asked.is_multiple_of(SAMPLE_INTERVAL);
                *asked += 1;
                Queried { key, tally: kind.map_or(TallyKey::Unknown, TallyKey::Kind), is_sampled }
            })
            .collect();
        self.seen += queried.len() as u64;
        queried
    }

    /// Asks for the TTL of each key, if any key of the database has one, and for the type and memory of some.
    fn ask(&self, queried: &[Queried], commands: &mut Commands) {
        for Queried { key, is_sampled, .. } in queried {
            if *is_sampled || self.limits.expire {
                commands.add(&[b"PTTL", key.as_slice()]);
            }
            if *is_sampled {
                commands.add(&[b"TYPE", key.as_slice()]);
                commands.add(&[b"MEMORY".as_slice(), b"USAGE", key]);
            }
        }
    }

    /// How many replies they have.
    fn count(&self, queried: &[Queried]) -> usize {
        queried.iter().map(|queried| if queried.is_sampled { 3 } else { usize::from(self.limits.expire) }).sum()
    }
}

impl DatabaseScan {
    fn tally(&mut self, tally_key: TallyKey) -> &mut KeyTally {
        match tally_key {
            TallyKey::Kind(at) => &mut self.kinds[at],
            TallyKey::Unknown => &mut self.unknown,
        }
    }

    /// Counts keys with the replies about them.
    fn add(&mut self, scan: &Scan<'_>, queried: Vec<Queried>, replies: Vec<Reply>) {
        let mut replies = replies.into_iter();
        for Queried { key, tally: tally_key, is_sampled } in queried {
            // Where no key expires, none has a TTL, and none goes by itself.
            let left = if is_sampled || scan.limits.expire { replies.next().as_ref().and_then(number_of) } else { Some(NO_TTL) };
            let sample = if is_sampled { Some((replies.next(), replies.next())) } else { None };
            let Some(left) = left.filter(|left| *left != GONE) else { continue };
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
            self.record(scan.schema, scan.kinds, tally_key, &key, ttl);
        }
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

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
