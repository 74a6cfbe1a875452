//! `redis databases`: what each database holds, and what the schema forbids.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Progress,
    asking::{Asking, Stream, field, keys_of, number_of, told},
    key::{escaped, shown},
    page::{Block, Page, Table, bytes, count, seconds},
    scan::{self, Bounds, Found, Index, Tally},
    schema::{Schema, Ttl},
};

/// How much of a server is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Keys of one database at most; 0: all.
    pub keys: u64,
    /// How long all of it may take.
    pub limit: Duration,
}

/// A database that was looked through.
#[derive(Debug)]
struct Database {
    number: u32,
    /// How many keys the server says that it has, and how many of them expire.
    keys: u64,
    expires: u64,
    found: Found,
}

/// Something that the schema forbids.
struct Mark {
    kind: &'static str,
    database: u32,
    keys: u64,
    text: String,
}

/// Looks through every database that holds keys or has a name.
///
/// # Errors
/// What the server has against it.
pub(super) async fn run<S: Stream>(
    asking: &mut Asking<S>,
    schema: &Schema,
    sampling: Sampling,
    progress: &Progress,
) -> Result<Page, String> {
    let info = asking.info(&["keyspace"]).await?;
    let most = if sampling.keys == 0 { u64::MAX } else { sampling.keys };
    progress.expect(keys_of(&info).map(|(_, keys)| keys.min(most)).sum());
    let mut numbers: BTreeSet<u32> = schema.names.keys().copied().collect();
    numbers.extend(keys_of(&info).map(|(number, _)| number));
    let until = Instant::now() + sampling.limit;
    let mut databases = Vec::new();
    for number in numbers {
        let said = field(&info, "keyspace", &format!("db{number}"));
        asking.select(number).await.map_err(|error| format!("database {number} of `redis_database_names`: {error}"))?;
        // What INFO said may be a moment old.
        let size = asking.call(&["DBSIZE"]).await?;
        let keys = number_of(&size).and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
        let found = scan::database(asking, schema, number, Bounds { keys: sampling.keys, until }, progress).await?;
        databases.push(Database { number, keys, expires: told(said, "expires"), found });
    }
    asking.select(0).await?;
    let indexes = scan::indexes(asking).await?;
    Ok(page(&databases, &indexes, schema))
}

fn page(databases: &[Database], indexes: &[Index], schema: &Schema) -> Page {
    let marks: Vec<Mark> = databases.iter().flat_map(|database| marks(database, indexes, schema)).collect();
    let mut table = Table::new("lfrrrrr", &["db", "name, patterns", "keys", "expire", "do not", "mean TTL", "memory"]);
    let mut samples = Vec::new();
    for database in databases {
        let Database { number, keys, expires, found } = database;
        let name = schema.names.get(number).map_or("(no name)", String::as_str);
        let estimate = format!("~{}", bytes(memory(database)));
        let forever = keys.saturating_sub(*expires);
        table.rows.push(row(&number.to_string(), name.to_owned(), [*keys, *expires, forever], String::new(), estimate));
        let kinds = schema.kinds_of(*number).iter().map(|kind| kind.pattern.as_str()).zip(&found.kinds);
        for (pattern, tally) in kinds.chain([("(unknown)", &found.unknown)]).filter(|(_, tally)| tally.keys > 0) {
            let ttl = mean(tally).map(|mean| format!("~{}", seconds(mean / 1000))).unwrap_or_default();
            let numbers = [tally.keys, tally.expiring, tally.keys - tally.expiring];
            table.rows.push(row("", format!("  {pattern}"), numbers, ttl, format!("~{}", bytes(tally.estimate()))));
        }
        if !found.complete {
            samples
                .push(format!("  {name}: sampled {} of {keys} keys; the lines below its name are of the sample", found.scanned));
        }
    }
    let mut blocks = vec![Block::Table(table)];
    blocks.extend(samples.into_iter().map(Block::Line));
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
            "marks": marks.iter().map(|mark| json!({
                "kind": mark.kind, "database": mark.database, "keys": mark.keys, "text": mark.text,
            })).collect::<Vec<_>>(),
        }),
        noteworthy: !marks.is_empty(),
        marks: marks.into_iter().map(|mark| mark.text).collect(),
        blocks,
    }
}

fn row(number: &str, name: String, numbers: [u64; 3], ttl: String, memory: String) -> Vec<String> {
    let [keys, expire, forever] = numbers.map(|number| number.to_string());
    vec![number.to_owned(), name, keys, expire, forever, ttl, memory]
}

/// What a whole database takes, by what was looked at.
fn memory(database: &Database) -> u64 {
    let found = &database.found;
    let seen: u64 = found.kinds.iter().chain([&found.unknown]).map(Tally::estimate).sum();
    if found.complete {
        return seen;
    }
    u64::try_from(u128::from(seen) * u128::from(database.keys) / u128::from(found.scanned.max(1))).unwrap_or(u64::MAX)
}

/// What is left on average of those keys that expire, in milliseconds.
fn mean(tally: &Tally) -> Option<u64> {
    tally.ttl.and_then(|(_, _, sum)| u64::try_from(sum / u128::from(tally.expiring.max(1))).ok())
}

fn marks(database: &Database, indexes: &[Index], schema: &Schema) -> Vec<Mark> {
    let Database { number, keys, found, .. } = database;
    let (number, name) = (*number, schema.called(*number));
    let mut marks = Vec::new();
    let mut mark = |kind, keys, text: String| marks.push(Mark { kind, database: number, keys, text });
    let of_sample = if found.complete { "" } else { " of the sample" };
    for (kind, tally) in schema.kinds_of(number).iter().zip(&found.kinds) {
        let forever = tally.keys - tally.expiring;
        if kind.ttl == Ttl::Required && forever > 0 {
            let never = if forever == 1 { "never expires" } else { "never expire" };
            let (keys, pattern, such) = (count(forever, "key"), kind.pattern.as_str(), such(tally));
            mark("no_ttl", forever, format!("{name}: {keys}{of_sample} of `{pattern}` {never}{such}"));
        }
    }
    if schema.names.contains_key(&number) {
        for (family, tally) in &found.families {
            let home = tally.examples.first().and_then(|key| schema.home(key));
            let home = home.map(|(home, kind)| format!("; `{}` belongs into {home}", kind.pattern.as_str())).unwrap_or_default();
            let called = if family.is_empty() { String::new() } else { format!(" `{family}`") };
            let fit = if tally.keys == 1 { "fits" } else { "fit" };
            let (keys, such) = (count(tally.keys, "key"), such(tally));
            mark(
                "unknown_pattern",
                tally.keys,
                format!("{name}: {keys}{of_sample}{called} {fit} no pattern of the schema{such}{home}"),
            );
        }
    } else {
        mark(
            "unnamed_database",
            *keys,
            format!("database {number} holds {} and has no name in redis_database_names", count(*keys, "key")),
        );
    }
    if number != 0 && found.vectors.keys > 0 {
        let (keys, such) = (count(found.vectors.keys, "key"), such(&found.vectors));
        mark(
            "vectors_outside_db0",
            found.vectors.keys,
            format!(
                "{name}: {keys}{of_sample} with vectors{such}: RediSearch indexes database 0 only, so no search finds them, whatever the schema says"
            ),
        );
        for index in indexes {
            let covers = |key: &Vec<u8>| index.prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()));
            if found.vectors.examples.iter().any(covers) {
                let index = escaped(index.name.as_bytes());
                mark(
                    "index_covers_other_db",
                    found.vectors.keys,
                    format!(
                        "{name}: the index `{index}` of database 0 takes such keys for its own when they are written here, and finds them empty"
                    ),
                );
            }
        }
    }
    if found.too_long > 0 {
        mark("too_long", found.too_long, format!("{name}: {}{of_sample} longer than 64 KiB", count(found.too_long, "key")));
    }
    marks
}

/// Examples, for a line.
fn such(tally: &Tally) -> String {
    let shown: Vec<String> = tally.examples.iter().map(|key| format!("`{}`", shown(key))).collect();
    match shown.as_slice() {
        [] => String::new(),
        [one] if tally.keys == 1 => format!(": {one}"),
        several => format!(", such as {}", several.join(", ")),
    }
}

fn database_json(database: &Database, schema: &Schema) -> Value {
    let Database { number, keys, expires, found } = database;
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
            "belongs_to": tally.examples.first().and_then(|key| schema.home(key)).map(|(home, _)| home),
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

fn tally_json(tally: &Tally) -> Value {
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

fn examples(tally: &Tally) -> Vec<String> {
    tally.examples.iter().map(|key| escaped(&key[..key.len().min(200)])).collect()
}
