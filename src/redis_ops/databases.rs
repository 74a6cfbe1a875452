//! `redis databases`: the contents of each database, and violations of the schema.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    ScanProgress,
    key::{display_key, escaped},
    page::{Block, Column, Page, Table, bytes, count, seconds},
    scan::{self, DatabaseScan, KeyTally, ScanLimits, SearchIndex},
    schema::{Schema, Ttl},
    session::{RedisSession, Stream, field, keys_of, keyspace_number, number_of},
};

/// How much of a server is examined.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// The maximum number of keys per database; 0 for all.
    pub keys: u64,
    /// How long the whole scan may take.
    pub limit: Duration,
}

/// A database that was scanned.
#[derive(Debug)]
struct ScannedDatabase {
    number: u32,
    /// The number of keys according to the server, and how many of them expire.
    keys: u64,
    expires: u64,
    found: DatabaseScan,
}

/// A violation of the schema.
struct Violation {
    kind: &'static str,
    database: u32,
    keys: u64,
    text: String,
}

/// Scans every database that contains keys or has a name.
///
/// # Errors
/// The server returned an error.
pub(super) async fn run<S: Stream>(
    session: &mut RedisSession<S>,
    schema: &Schema,
    sampling: Sampling,
    progress: &ScanProgress,
) -> Result<Page, String> {
    let info = session.info(&["keyspace"]).await?;
    let limit = if sampling.keys == 0 { u64::MAX } else { sampling.keys };
    progress.expect(keys_of(&info).map(|(_, keys)| keys.min(limit)).sum());
    let mut numbers: BTreeSet<u32> = schema.names.keys().copied().collect();
    numbers.extend(keys_of(&info).map(|(number, _)| number));
    let until = Instant::now() + sampling.limit;
    let mut databases = Vec::new();
    for number in numbers {
        let text = field(&info, "keyspace", &format!("db{number}"));
        session.select(number).await.map_err(|error| format!("database {number} of `redis_database_names`: {error}"))?;
        // The number in INFO may be slightly outdated.
        let size = session.call(&["DBSIZE"]).await?;
        let keys = number_of(&size).and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
        let expires = keyspace_number(text, "expires");
        let limits = ScanLimits { keys: sampling.keys, until, expire: expires > 0 };
        let found = scan::database(session, schema, number, limits, progress).await?;
        databases.push(ScannedDatabase { number, keys, expires, found });
    }
    session.select(0).await?;
    let indexes = scan::indexes(session).await?;
    Ok(page(&databases, &indexes, schema))
}

fn page(databases: &[ScannedDatabase], indexes: &[SearchIndex], schema: &Schema) -> Page {
    let violations: Vec<Violation> = databases.iter().flat_map(|database| violations(database, indexes, schema)).collect();
    let mut table = Table::new([
        (Column::Left, "db"),
        (Column::Flexible, "name, patterns"),
        (Column::Right, "keys"),
        (Column::Right, "with TTL"),
        (Column::Right, "no TTL"),
        (Column::Right, "mean TTL"),
        (Column::Right, "memory"),
    ]);
    let mut sample_notes = Vec::new();
    for database in databases {
        let ScannedDatabase { number, keys, expires, found } = database;
        let name = schema.names.get(number).map_or("(no name)", String::as_str);
        let estimate = format!("~{}", bytes(memory(database)));
        let without_ttl = keys.saturating_sub(*expires);
        table.rows.push(row(&number.to_string(), name.to_owned(), [*keys, *expires, without_ttl], String::new(), estimate));
        let kinds = schema.kinds_of(*number).iter().map(|kind| kind.pattern.as_str()).zip(&found.kinds);
        for (pattern, tally) in kinds.chain([("(unknown)", &found.unknown)]).filter(|(_, tally)| tally.keys > 0) {
            let ttl = mean(tally).map(|mean| format!("~{}", seconds(mean / 1000))).unwrap_or_default();
            let numbers = [tally.keys, tally.expiring, tally.keys - tally.expiring];
            table.rows.push(row("", format!("  {pattern}"), numbers, ttl, format!("~{}", bytes(tally.estimate()))));
        }
        if !found.complete {
            sample_notes.push(format!(
                "  {name}: sampled {} of {keys} keys; the lines below its name count only the sample",
                found.scanned
            ));
        }
    }
    let mut blocks = vec![Block::Table(table)];
    blocks.extend(sample_notes.into_iter().map(Block::Line));
    let index_lines = indexes.iter().map(|index| {
        let prefixes: Vec<String> = index.prefixes.iter().map(|prefix| format!("`{}*`", escaped(prefix.as_bytes()))).collect();
        let (name, documents) = (escaped(index.name.as_bytes()), count(index.documents, "document"));
        Block::Line(format!("  index `{name}` of {}: {documents}", prefixes.join(", ")))
    });
    blocks.extend(index_lines);
    Page {
        json: json!({
            "databases": databases.iter().map(|database| database_json(database, schema)).collect::<Vec<_>>(),
            "indexes": indexes.iter().map(|index| json!({
                "name": escaped(index.name.as_bytes()),
                "prefixes": index.prefixes.iter().map(|prefix| escaped(prefix.as_bytes())).collect::<Vec<_>>(),
                "documents": index.documents,
            })).collect::<Vec<_>>(),
            "marks": violations.iter().map(|violation| json!({
                "kind": violation.kind, "database": violation.database, "keys": violation.keys, "text": violation.text,
            })).collect::<Vec<_>>(),
        }),
        counts_as_change: !violations.is_empty(),
        marks: violations.into_iter().map(|violation| violation.text).collect(),
        blocks,
    }
}

fn row(number: &str, name: String, numbers: [u64; 3], ttl: String, memory: String) -> Vec<String> {
    let [keys, expire, without_ttl] = numbers.map(|number| number.to_string());
    vec![number.to_owned(), name, keys, expire, without_ttl, ttl, memory]
}

/// Estimates the memory of a whole database from the keys that were examined.
fn memory(database: &ScannedDatabase) -> u64 {
    let found = &database.found;
    let seen: u64 = found.kinds.iter().chain([&found.unknown]).map(KeyTally::estimate).sum();
    if found.complete {
        return seen;
    }
    u64::try_from(u128::from(seen) * u128::from(database.keys) / u128::from(found.scanned.max(1))).unwrap_or(u64::MAX)
}

/// Returns the mean TTL of the keys that expire, in milliseconds.
fn mean(tally: &KeyTally) -> Option<u64> {
    tally.ttl.and_then(|(_, _, sum)| u64::try_from(sum / u128::from(tally.expiring.max(1))).ok())
}

fn violations(database: &ScannedDatabase, indexes: &[SearchIndex], schema: &Schema) -> Vec<Violation> {
    let ScannedDatabase { number, keys, found, .. } = database;
    let (number, name) = (*number, schema.database_name(*number));
    let mut violations = Vec::new();
    let mut add = |kind, keys, text: String| violations.push(Violation { kind, database: number, keys, text });
    let in_sample = if found.complete { "" } else { " in the sample" };
    for (kind, tally) in schema.kinds_of(number).iter().zip(&found.kinds) {
        let without_ttl = tally.keys - tally.expiring;
        if kind.ttl == Ttl::Required && without_ttl > 0 {
            let never = if without_ttl == 1 { "never expires" } else { "never expire" };
            let (keys, pattern, examples) = (count(without_ttl, "key"), kind.pattern.as_str(), examples_text(tally));
            add("no_ttl", without_ttl, format!("{name}: {keys}{in_sample} of `{pattern}` {never}{examples}"));
        }
    }
    if schema.names.contains_key(&number) {
        for (family, tally) in &found.families {
            let expected = tally.examples.first().and_then(|key| schema.expected_database(key));
            let expected =
                expected.map(|(name, kind)| format!("; `{}` belongs in {name}", kind.pattern.as_str())).unwrap_or_default();
            let of_family = if family.is_empty() { String::new() } else { format!(" `{family}`") };
            let fit = if tally.keys == 1 { "fits" } else { "fit" };
            let (keys, examples) = (count(tally.keys, "key"), examples_text(tally));
            add(
                "unknown_pattern",
                tally.keys,
                format!("{name}: {keys}{in_sample}{of_family} {fit} no pattern of the schema{examples}{expected}"),
            );
        }
    } else {
        add(
            "unnamed_database",
            *keys,
            format!("database {number} contains {} and has no name in redis_database_names", count(*keys, "key")),
        );
    }
    if number != 0 && found.vectors.keys > 0 {
        let (keys, examples) = (count(found.vectors.keys, "key"), examples_text(&found.vectors));
        add(
            "vectors_outside_db0",
            found.vectors.keys,
            format!(
                "{name}: {keys}{in_sample} with vectors{examples}: RediSearch indexes database 0 only, so no search finds them, whatever the schema says"
            ),
        );
        for index in indexes {
            let covers = |key: &Vec<u8>| index.prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()));
            if found.vectors.examples.iter().any(covers) {
                let index = escaped(index.name.as_bytes());
                add(
                    "index_covers_other_db",
                    found.vectors.keys,
                    format!(
                        "{name}: the index `{index}` of database 0 also tracks such keys when they are written here, but finds them empty"
                    ),
                );
            }
        }
    }
    if found.too_long > 0 {
        add("too_long", found.too_long, format!("{name}: {}{in_sample} longer than 64 KiB", count(found.too_long, "key")));
    }
    violations
}

/// Formats the examples for the end of a line.
fn examples_text(tally: &KeyTally) -> String {
    let keys: Vec<String> = tally.examples.iter().map(|key| format!("`{}`", display_key(key))).collect();
    match keys.as_slice() {
        [] => String::new(),
        [one] if tally.keys == 1 => format!(": {one}"),
        several => format!(", such as {}", several.join(", ")),
    }
}

fn database_json(database: &ScannedDatabase, schema: &Schema) -> Value {
    let ScannedDatabase { number, keys, expires, found } = database;
    let kinds = schema.kinds_of(*number).iter().zip(&found.kinds).map(|(kind, tally)| {
        let mut value = tally_json(tally);
        value["pattern"] = json!(kind.pattern.as_str());
        value["ttl_required"] = json!(kind.ttl == Ttl::Required);
        value
    });
    let families = found.families.iter().map(|(family, tally)| {
        json!({
            "prefix": family,
            "keys": tally.keys,
            "examples": examples(tally),
            "belongs_to": tally.examples.first().and_then(|key| schema.expected_database(key)).map(|(name, _)| name),
        })
    });
    json!({
        "database": number,
        "name": schema.names.get(number),
        "keys": keys,
        "expires": expires,
        "scanned": found.scanned,
        "complete": found.complete,
        "memory_bytes": memory(database),
        "patterns": kinds.collect::<Vec<_>>(),
        "unknown": {"keys": found.unknown.keys, "expiring": found.unknown.expiring, "families": families.collect::<Vec<_>>()},
        "vectors": found.vectors.keys,
        "too_long": found.too_long,
    })
}

fn tally_json(tally: &KeyTally) -> Value {
    let ttl = tally
        .ttl
        .map(|(least, most, _)| json!({"min": least / 1000, "mean": mean(tally).unwrap_or_default() / 1000, "max": most / 1000}));
    json!({
        "pattern": "",
        "keys": tally.keys,
        "expiring": tally.expiring,
        "not_expiring": tally.keys - tally.expiring,
        "ttl_seconds": ttl,
        "memory_bytes": tally.estimate(),
        "sampled": tally.sampled,
        "types": tally.types,
        "examples_not_expiring": examples(tally),
    })
}

fn examples(tally: &KeyTally) -> Vec<String> {
    tally.examples.iter().map(|key| escaped(&key[..key.len().min(200)])).collect()
}
