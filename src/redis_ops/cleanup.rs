//! `redis cleanup`: deletes what is old among the keys of a few patterns, and nothing else.
//!
//! Interrupted anywhere it leaves fewer old keys; run again it goes on. Batch by batch, so that neither the server is held nor memory filled.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{
    Progress, age,
    asking::{Asking, BATCH, BEGIN, Stream, keys_of, number_of, text_of},
    key::{Pattern, escaped, shown},
    page::{Block, Page, Table, count},
    schema::Schema,
};
use crate::health::resp::Reply;

/// What can be cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Cached answers: old when nobody has read or written them for so long.
    Cache,
    /// Metrics, usage, errors, counters: old when the period in their name ended so long ago; without one, as the cache.
    Analytics,
}

impl Target {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Analytics => "analytics",
        }
    }
}

/// What is to be cleaned up.
#[derive(Debug, Clone, Copy)]
pub struct Cleanup {
    /// Which keys.
    pub target: Target,
    /// How old they are at least.
    pub older_than: Duration,
    /// Whether nothing is deleted.
    pub check: bool,
}

/// How many old keys are shown for each pattern.
const EXAMPLES: usize = 3;

/// What came of one pattern in one database.
#[derive(Debug)]
struct Swept<'a> {
    database: u32,
    pattern: &'a Pattern,
    keys: u64,
    old: u64,
    /// Keys of which nobody knows when they were used; they are kept.
    ageless: u64,
    deleted: u64,
    examples: Vec<Vec<u8>>,
}

/// Cleans up, or says what would be deleted.
///
/// # Errors
/// Why it did not come to its end, with what was deleted by then.
pub(super) async fn run<S: Stream>(
    asking: &mut Asking<S>,
    schema: &Schema,
    cleanup: Cleanup,
    progress: &Progress,
) -> Result<Page, String> {
    let policy = asking.call(&["CONFIG", "GET", "maxmemory-policy"]).await?;
    if super::asking::pairs_of(&policy).iter().any(|(_, value)| text_of(value).is_some_and(|policy| policy.contains("lfu"))) {
        return Err(
            "the server's maxmemory-policy is an lfu one, under which it does not know when a key was last used".to_owned()
        );
    }
    let now = now(asking).await?;
    let mut swept = Vec::new();
    let to_clean = schema.to_clean(cleanup.target.word())?;
    let keyspace = asking.info(&["keyspace"]).await?;
    let swept_through = keys_of(&keyspace).filter(|(number, _)| to_clean.iter().any(|(database, _)| database == number));
    progress.expect(swept_through.map(|(_, keys)| keys).sum());
    for (database, patterns) in to_clean {
        let first = swept.len();
        let nothing = |pattern| Swept { database, pattern, keys: 0, old: 0, ageless: 0, deleted: 0, examples: Vec::new() };
        swept.extend(patterns.iter().map(nothing));
        let come = async {
            asking.select(database).await?;
            sweep(asking, &mut swept[first..], cleanup, now, progress).await
        };
        if let Err(why) = come.await {
            let deleted: u64 = swept.iter().map(|swept| swept.deleted).sum();
            let so_far = if cleanup.check { String::new() } else { format!("{} deleted, then ", count(deleted, "key")) };
            return Err(format!("{so_far}{why}"));
        }
    }
    // SCAN's order is nobody's.
    for swept in &mut swept {
        swept.examples.sort();
    }
    Ok(page(&swept, schema, cleanup))
}

/// The server's clock.
async fn now<S: Stream>(asking: &mut Asking<S>) -> Result<Timestamp, String> {
    let time = asking.call(&["TIME"]).await?;
    let Reply::Array(Some(parts)) = &time else { return Err("TIME gave no time".to_owned()) };
    let second = parts.first().and_then(number_of).and_then(|second| Timestamp::from_second(second).ok());
    second.ok_or_else(|| "TIME gave no time".to_owned())
}

async fn sweep<S: Stream>(
    asking: &mut Asking<S>,
    swept: &mut [Swept<'_>],
    cleanup: Cleanup,
    now: Timestamp,
    progress: &Progress,
) -> Result<(), String> {
    let matching = if let [one] = swept { Some(one.pattern.as_str().to_owned()) } else { None };
    let mut cursor = BEGIN.to_vec();
    loop {
        let (next, keys, _) = asking.scan(&cursor, matching.as_deref()).await?;
        progress.saw(BATCH);
        batch(asking, swept, keys, cleanup, now, progress).await?;
        if next == BEGIN {
            return Ok(());
        }
        cursor = next;
    }
}

/// A key that may have to go: whose it is, and whether its name says that it is old.
type Candidate = (usize, Vec<u8>, Option<bool>);

async fn batch<S: Stream>(
    asking: &mut Asking<S>,
    swept: &mut [Swept<'_>],
    keys: Vec<Vec<u8>>,
    cleanup: Cleanup,
    now: Timestamp,
    progress: &Progress,
) -> Result<(), String> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for key in keys {
        if let Some(whose) = swept.iter().position(|swept| swept.pattern.fits(&key)) {
            swept[whose].keys += 1;
            let by_name = match cleanup.target {
                Target::Cache => None,
                Target::Analytics => age::end_of_period(&key).map(|end| is_old(end, now, cleanup.older_than)),
            };
            candidates.push((whose, key, by_name));
        }
    }
    // Asking does not count as use.
    let unsure = candidates.iter().filter(|(_, _, by_name)| by_name.is_none());
    let question = |key| [b"REFCOUNT".as_slice(), b"IDLETIME"].map(|word| vec![b"OBJECT".as_slice(), word, key]);
    let questions: Vec<Vec<&[u8]>> = unsure.flat_map(|(_, key, _)| question(key)).collect();
    let mut replies = asking.pipeline(&questions).await?.into_iter();
    let mut old: Vec<Vec<Vec<u8>>> = swept.iter().map(|_| Vec::new()).collect();
    for (whose, key, by_name) in candidates {
        let is_old = match by_name {
            Some(is_old) => is_old,
            None => match age(replies.next(), replies.next())? {
                Age::Idle(seconds) => seconds >= cleanup.older_than.as_secs(),
                Age::Unknown => {
                    swept[whose].ageless += 1;
                    false
                }
                Age::Gone => false,
            },
        };
        if is_old {
            old[whose].push(key);
        }
    }
    for (swept, old) in swept.iter_mut().zip(old).filter(|(_, old)| !old.is_empty()) {
        swept.old += old.len() as u64;
        swept.examples.extend(old.iter().take(EXAMPLES.saturating_sub(swept.examples.len())).cloned());
        if !cleanup.check {
            let command: Vec<&[u8]> = std::iter::once(b"UNLINK".as_slice()).chain(old.iter().map(Vec::as_slice)).collect();
            let deleted = asking.call(&command).await?;
            let deleted = number_of(&deleted).and_then(|deleted| u64::try_from(deleted).ok()).unwrap_or_default();
            swept.deleted += deleted;
            progress.deleted_more(deleted);
        }
    }
    Ok(())
}

/// Since when a key was not used.
#[derive(Debug, PartialEq, Eq)]
enum Age {
    /// So many seconds.
    Idle(u64),
    /// Nobody knows.
    Unknown,
    /// It is not there any more.
    Gone,
}

/// Reads the replies to OBJECT REFCOUNT and OBJECT IDLETIME.
///
/// Under most policies all keys with the same small number as their value share one object, and with it the time of its last use: of a counter
/// that was just set that may be the server's start.
fn age(references: Option<Reply>, idle: Option<Reply>) -> Result<Age, String> {
    match (references, idle) {
        (Some(Reply::Error(text)), _) | (_, Some(Reply::Error(text))) => Err(format!("OBJECT gave the error `{text}`")),
        (Some(Reply::Integer(references)), Some(Reply::Integer(_))) if references > 1 => Ok(Age::Unknown),
        (Some(Reply::Integer(_)), Some(Reply::Integer(seconds))) => Ok(u64::try_from(seconds).map_or(Age::Unknown, Age::Idle)),
        _ => Ok(Age::Gone),
    }
}

/// Whether a period ended so long ago.
fn is_old(end: Timestamp, now: Timestamp, older_than: Duration) -> bool {
    now.checked_sub(older_than).is_ok_and(|limit| end <= limit)
}

fn page(swept: &[Swept<'_>], schema: &Schema, cleanup: Cleanup) -> Page {
    let old: u64 = swept.iter().map(|swept| swept.old).sum();
    let deleted: u64 = swept.iter().map(|swept| swept.deleted).sum();
    let last = if cleanup.check { "would go" } else { "deleted" };
    let mut table = Table::new("llrrf", &["database", "pattern", "keys", last, "such as"]);
    for swept in swept {
        let examples: Vec<String> = swept.examples.iter().map(|key| shown(key)).collect();
        let gone = if cleanup.check { swept.old } else { swept.deleted };
        table.rows.push(vec![
            schema.called(swept.database),
            swept.pattern.as_str().to_owned(),
            swept.keys.to_string(),
            gone.to_string(),
            examples.join(" "),
        ]);
    }
    let age = age::written(cleanup.older_than);
    let verdict = match (cleanup.check, old) {
        (_, 0) => format!("nothing of {} is older than {age}", cleanup.target.word()),
        (true, _) => format!("{} older than {age} would be deleted; nothing was", count(old, "key")),
        (false, _) => format!("{} older than {age} deleted", count(deleted, "key")),
    };
    let mut blocks = vec![Block::Table(table), Block::Line(format!("  {verdict}"))];
    let ageless: u64 = swept.iter().map(|swept| swept.ageless).sum();
    if ageless > 0 {
        let kept = if ageless == 1 { "is kept" } else { "are kept" };
        blocks.push(Block::Line(format!(
            "  {} {kept}: Redis does not know when small numbers were last used",
            count(ageless, "key")
        )));
    }
    let patterns = swept.iter().map(|swept| {
        json!({
            "database": swept.database,
            "name": schema.called(swept.database),
            "pattern": swept.pattern.as_str(),
            "keys": swept.keys,
            "old": swept.old,
            "age_unknown": swept.ageless,
            "deleted": swept.deleted,
            "examples": swept.examples.iter().map(|key| escaped(&key[..key.len().min(200)])).collect::<Vec<_>>(),
        })
    });
    Page {
        json: json!({
            "target": cleanup.target.word(),
            "older_than_seconds": cleanup.older_than.as_secs(),
            "check": cleanup.check,
            "old": old,
            "deleted": deleted,
            "patterns": patterns.collect::<Vec<_>>(),
        }),
        marks: Vec::new(),
        noteworthy: if cleanup.check { old > 0 } else { deleted > 0 },
        blocks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_number_has_no_age() {
        let integer = |number| Some(Reply::Integer(number));
        let came = |references, idle| age(references, idle);
        assert_eq!(came(integer(1), integer(700)), Ok(Age::Idle(700)));
        assert_eq!(came(integer(i64::from(i32::MAX)), integer(700)), Ok(Age::Unknown));
        assert_eq!(came(integer(1), integer(-1)), Ok(Age::Unknown));
        assert_eq!(came(Some(Reply::Bulk(None)), Some(Reply::Bulk(None))), Ok(Age::Gone));
        assert_eq!(came(integer(1), Some(Reply::Bulk(None))), Ok(Age::Gone));
        assert!(came(integer(1), Some(Reply::Error("ERR An LFU maxmemory policy is selected".into()))).is_err());
    }

    #[test]
    fn a_period_is_old_when_it_ended_so_long_ago() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let week = Duration::from_hours(7 * 24);
        let end = age::end_of_period(b"usage:2025-01-15:u").unwrap();
        assert!(!is_old(end, at("2025-01-22T23:59:59Z"), week));
        assert!(is_old(end, at("2025-01-23T00:00:00Z"), week));
        assert!(!is_old(end, at("2025-01-01T00:00:00Z"), week));
    }
}
