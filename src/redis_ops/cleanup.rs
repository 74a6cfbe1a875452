//! `redis cleanup`: deletes old keys that match a few patterns, and nothing else.
//!
//! It can be interrupted at any time and run again. It works in batches, so that it neither blocks the server nor fills memory.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{
    ScanProgress, age,
    key::{Pattern, display_key, escaped},
    page::{Block, Column, Page, Table, count},
    schema::Schema,
    session::{BATCH, BEGIN, RedisSession, Stream, keys_of, number_of, text_of},
};
use crate::redis_client::Reply;

/// What can be cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Cached answers. They are old if they were neither read nor written for that long.
    Cache,
    /// Metrics, usage, errors and counters. They are old if the period in their name ended that long ago; without a period, as for the cache.
    Analytics,
}

impl Target {
    /// Returns its name in the schema and the CLI.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Analytics => "analytics",
        }
    }
}

/// A cleanup that was requested.
#[derive(Debug, Clone, Copy)]
pub struct Cleanup {
    /// Which keys.
    pub target: Target,
    /// The minimum age of the keys to delete.
    pub older_than: Duration,
    /// Whether this only reports what would be deleted.
    pub check: bool,
}

/// How many old keys are shown as examples for each pattern.
const EXAMPLES: usize = 3;

/// The result for one pattern in one database.
#[derive(Debug)]
struct PatternResult<'a> {
    database: u32,
    pattern: &'a Pattern,
    keys: u64,
    old: u64,
    /// Keys whose last use is unknown; they are kept.
    unknown_age: u64,
    deleted: u64,
    examples: Vec<Vec<u8>>,
}

/// Deletes old keys, or reports which would be deleted.
///
/// # Errors
/// Why the cleanup stopped early, with the number of keys deleted until then.
pub(super) async fn run<S: Stream>(
    session: &mut RedisSession<S>,
    schema: &Schema,
    cleanup: Cleanup,
    progress: &ScanProgress,
) -> Result<Page, String> {
    let policy = session.call(&["CONFIG", "GET", "maxmemory-policy"]).await?;
    if super::session::pairs_of(&policy).iter().any(|(_, value)| text_of(value).is_some_and(|policy| policy.contains("lfu"))) {
        return Err("the server's maxmemory-policy is an LFU policy, under which Redis does not track when a key was last used"
            .to_owned());
    }
    let now = now(session).await?;
    let mut results = Vec::new();
    let to_clean = schema.to_clean(cleanup.target.word())?;
    let keyspace = session.info(&["keyspace"]).await?;
    let databases = keys_of(&keyspace).filter(|(number, _)| to_clean.iter().any(|(database, _)| database == number));
    progress.expect(databases.map(|(_, keys)| keys).sum());
    for (database, patterns) in to_clean {
        let first = results.len();
        let empty =
            |pattern| PatternResult { database, pattern, keys: 0, old: 0, unknown_age: 0, deleted: 0, examples: Vec::new() };
        results.extend(patterns.iter().map(empty));
        let sweep_database = async {
            session.select(database).await?;
            sweep(session, &mut results[first..], cleanup, now, progress).await
        };
        if let Err(why) = sweep_database.await {
            let deleted: u64 = results.iter().map(|result| result.deleted).sum();
            let so_far = if cleanup.check { String::new() } else { format!("{} deleted, then ", count(deleted, "key")) };
            return Err(format!("{so_far}{why}"));
        }
    }
    // SCAN's order is arbitrary.
    for result in &mut results {
        result.examples.sort();
    }
    Ok(page(&results, schema, cleanup))
}

/// Returns the time by the server's clock.
async fn now<S: Stream>(session: &mut RedisSession<S>) -> Result<Timestamp, String> {
    let time = session.call(&["TIME"]).await?;
    let Reply::Array(Some(parts)) = &time else { return Err("TIME returned no time".to_owned()) };
    let second = parts.first().and_then(number_of).and_then(|second| Timestamp::from_second(second).ok());
    second.ok_or_else(|| "TIME returned no time".to_owned())
}

async fn sweep<S: Stream>(
    session: &mut RedisSession<S>,
    results: &mut [PatternResult<'_>],
    cleanup: Cleanup,
    now: Timestamp,
    progress: &ScanProgress,
) -> Result<(), String> {
    let pattern = if let [one] = results { Some(one.pattern.as_str().to_owned()) } else { None };
    let mut cursor = BEGIN.to_vec();
    loop {
        let (next, keys, _) = session.scan(&cursor, pattern.as_deref()).await?;
        progress.add_examined(BATCH);
        batch(session, results, keys, cleanup, now, progress).await?;
        if next == BEGIN {
            return Ok(());
        }
        cursor = next;
    }
}

/// A key that matches a pattern: the index of the pattern's result, the key, and whether it is old by the date in its name.
type Candidate = (usize, Vec<u8>, Option<bool>);

async fn batch<S: Stream>(
    session: &mut RedisSession<S>,
    results: &mut [PatternResult<'_>],
    keys: Vec<Vec<u8>>,
    cleanup: Cleanup,
    now: Timestamp,
    progress: &ScanProgress,
) -> Result<(), String> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for key in keys {
        if let Some(index) = results.iter().position(|result| result.pattern.matches(&key)) {
            results[index].keys += 1;
            let by_name = match cleanup.target {
                Target::Cache => None,
                Target::Analytics => age::end_of_period(&key).map(|end| is_old(end, now, cleanup.older_than)),
            };
            candidates.push((index, key, by_name));
        }
    }
    // OBJECT does not count as a use of the key.
    let without_date = candidates.iter().filter(|(_, _, by_name)| by_name.is_none());
    let commands = |key| [b"REFCOUNT".as_slice(), b"IDLETIME"].map(|word| vec![b"OBJECT".as_slice(), word, key]);
    let commands: Vec<Vec<&[u8]>> = without_date.flat_map(|(_, key, _)| commands(key)).collect();
    let mut replies = session.pipeline(&commands).await?.into_iter();
    let mut old: Vec<Vec<Vec<u8>>> = results.iter().map(|_| Vec::new()).collect();
    for (index, key, by_name) in candidates {
        let is_old = match by_name {
            Some(is_old) => is_old,
            None => match age(replies.next(), replies.next())? {
                Age::Idle(seconds) => seconds >= cleanup.older_than.as_secs(),
                Age::Unknown => {
                    results[index].unknown_age += 1;
                    false
                }
                Age::Gone => false,
            },
        };
        if is_old {
            old[index].push(key);
        }
    }
    for (result, old) in results.iter_mut().zip(old).filter(|(_, old)| !old.is_empty()) {
        result.old += old.len() as u64;
        result.examples.extend(old.iter().take(EXAMPLES.saturating_sub(result.examples.len())).cloned());
        if !cleanup.check {
            let command: Vec<&[u8]> = std::iter::once(b"UNLINK".as_slice()).chain(old.iter().map(Vec::as_slice)).collect();
            let deleted = session.call(&command).await?;
            let deleted = number_of(&deleted).and_then(|deleted| u64::try_from(deleted).ok()).unwrap_or_default();
            result.deleted += deleted;
            progress.add_deleted(deleted);
        }
    }
    Ok(())
}

/// How long a key has not been used.
#[derive(Debug, PartialEq, Eq)]
enum Age {
    /// The number of seconds since its last use.
    Idle(u64),
    /// Its last use is unknown.
    Unknown,
    /// The key no longer exists.
    Gone,
}

/// Reads the replies to OBJECT REFCOUNT and OBJECT IDLETIME.
///
/// Under most policies, all keys whose value is the same small number share one object, and with it the time of the last use: for a counter that
/// was just set, this may be the start of the server.
fn age(references: Option<Reply>, idle: Option<Reply>) -> Result<Age, String> {
    match (references, idle) {
        (Some(Reply::Error(text)), _) | (_, Some(Reply::Error(text))) => Err(format!("OBJECT returned the error `{text}`")),
        (Some(Reply::Integer(references)), Some(Reply::Integer(_))) if references > 1 => Ok(Age::Unknown),
        (Some(Reply::Integer(_)), Some(Reply::Integer(seconds))) => Ok(u64::try_from(seconds).map_or(Age::Unknown, Age::Idle)),
        _ => Ok(Age::Gone),
    }
}

/// Whether a period ended at least `older_than` before `now`.
fn is_old(end: Timestamp, now: Timestamp, older_than: Duration) -> bool {
    now.checked_sub(older_than).is_ok_and(|limit| end <= limit)
}

fn page(results: &[PatternResult<'_>], schema: &Schema, cleanup: Cleanup) -> Page {
    let old: u64 = results.iter().map(|result| result.old).sum();
    let deleted: u64 = results.iter().map(|result| result.deleted).sum();
    let deleted_title = if cleanup.check { "to delete" } else { "deleted" };
    let mut table = Table::new([
        (Column::Left, "database"),
        (Column::Left, "pattern"),
        (Column::Right, "keys"),
        (Column::Right, deleted_title),
        (Column::Flexible, "examples"),
    ]);
    for result in results {
        let examples: Vec<String> = result.examples.iter().map(|key| display_key(key)).collect();
        let deleted = if cleanup.check { result.old } else { result.deleted };
        table.rows.push(vec![
            schema.database_name(result.database),
            result.pattern.as_str().to_owned(),
            result.keys.to_string(),
            deleted.to_string(),
            examples.join(" "),
        ]);
    }
    let age = age::format_age(cleanup.older_than);
    let verdict = match (cleanup.check, old) {
        (_, 0) => format!("no {} keys are older than {age}", cleanup.target.word()),
        (true, _) => format!("{} older than {age} would be deleted; nothing was deleted", count(old, "key")),
        (false, _) => format!("deleted {} older than {age}", count(deleted, "key")),
    };
    let mut blocks = vec![Block::Table(table), Block::Line(format!("  {verdict}"))];
    let unknown_age: u64 = results.iter().map(|result| result.unknown_age).sum();
    if unknown_age > 0 {
        let kept = if unknown_age == 1 { "is kept" } else { "are kept" };
        blocks.push(Block::Line(format!(
            "  {} {kept}: Redis does not track when small numbers were last used",
            count(unknown_age, "key")
        )));
    }
    let patterns = results.iter().map(|result| {
        json!({
            "database": result.database,
            "name": schema.database_name(result.database),
            "pattern": result.pattern.as_str(),
            "keys": result.keys,
            "old": result.old,
            "age_unknown": result.unknown_age,
            "deleted": result.deleted,
            "examples": result.examples.iter().map(|key| escaped(&key[..key.len().min(200)])).collect::<Vec<_>>(),
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
        counts_as_change: if cleanup.check { old > 0 } else { deleted > 0 },
        blocks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_number_has_an_unknown_age() {
        let integer = |number| Some(Reply::Integer(number));
        let age_of = |references, idle| age(references, idle);
        assert_eq!(age_of(integer(1), integer(700)), Ok(Age::Idle(700)));
        assert_eq!(age_of(integer(i64::from(i32::MAX)), integer(700)), Ok(Age::Unknown));
        assert_eq!(age_of(integer(1), integer(-1)), Ok(Age::Unknown));
        assert_eq!(age_of(Some(Reply::Bulk(None)), Some(Reply::Bulk(None))), Ok(Age::Gone));
        assert_eq!(age_of(integer(1), Some(Reply::Bulk(None))), Ok(Age::Gone));
        assert!(age_of(integer(1), Some(Reply::Error("ERR An LFU maxmemory policy is selected".into()))).is_err());
    }

    #[test]
    fn a_period_is_old_once_it_ended_long_enough_ago() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let week = Duration::from_hours(7 * 24);
        let end = age::end_of_period(b"usage:2025-01-15:u").unwrap();
        assert!(!is_old(end, at("2025-01-22T23:59:59Z"), week));
        assert!(is_old(end, at("2025-01-23T00:00:00Z"), week));
        assert!(!is_old(end, at("2025-01-01T00:00:00Z"), week));
    }
}
