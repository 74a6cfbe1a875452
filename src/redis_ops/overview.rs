//! `redis info`, `memory`, `clients` and `config`.

use serde_json::{Map, Value, json};

use super::{
    key::{Pattern, escaped},
    page::{Block, Column, Page, Table, bytes, count, seconds},
    session::{Info, RedisSession, Stream, field, number, number_of, pairs_of, text_of},
};

/// The share of maxmemory, in percent, from which a warning is shown: a Redis without eviction will soon refuse writes.
const MEMORY_WARNING: u64 = 80;

/// `redis info`.
pub(super) async fn info<S: Stream>(session: &mut RedisSession<S>) -> Result<Page, String> {
    let mut info = session.info(&[]).await?;
    // Before Redis 7, this is not among the default sections of INFO.
    if !info.contains_key("modules") {
        info.extend(session.info(&["modules"]).await?);
    }
    let now = now(session).await?;
    let ago = |section: &str, name: &str| match number(&info, section, name) {
        Some(0) | None => "never".to_owned(),
        Some(then) => format!("{} ago", seconds(now.saturating_sub(then))),
    };
    let get = |section: &str, name: &str| escaped(field(&info, section, name).as_bytes());
    let uptime = number(&info, "server", "uptime_in_seconds").map(seconds).unwrap_or_default();
    let modules: Vec<String> = info
        .get("modules")
        .into_iter()
        .flatten()
        .map(|(name, version)| format!("{} {version}", escaped(name.as_bytes())))
        .collect();
    let keyspace: Vec<String> =
        info.get("keyspace").into_iter().flatten().map(|(name, text)| format!("{name} {}", keys_of(text))).collect();
    let append_only = if get("persistence", "aof_enabled") == "1" {
        format!("on, last write {}", get("persistence", "aof_last_write_status"))
    } else {
        "off".to_owned()
    };
    let hits = number(&info, "stats", "keyspace_hits").unwrap_or_default();
    let lookups = hits + number(&info, "stats", "keyspace_misses").unwrap_or_default();
    let hit_rate = (hits * 100)
        .checked_div(lookups)
        .map_or_else(|| "no lookups yet".to_owned(), |share| format!("{share} % of {lookups} lookups"));
    let pairs = [
        ("version", format!("{} ({}), up {uptime}", get("server", "redis_version"), get("server", "redis_mode"))),
        ("process", format!("pid {}, {}", get("server", "process_id"), get("server", "executable"))),
        ("configuration", get("server", "config_file")),
        (
            "role",
            format!(
                "{}, {}",
                get("replication", "role"),
                count(number(&info, "replication", "connected_slaves").unwrap_or_default(), "replica")
            ),
        ),
        (
            "clients",
            format!(
                "{} of {}, {} blocked",
                get("clients", "connected_clients"),
                get("clients", "maxclients"),
                get("clients", "blocked_clients")
            ),
        ),
        ("memory", memory_line(&info)),
        (
            "snapshot",
            format!(
                "{} ({}), {} since",
                ago("persistence", "rdb_last_save_time"),
                get("persistence", "rdb_last_bgsave_status"),
                count(number(&info, "persistence", "rdb_changes_since_last_save").unwrap_or_default(), "change")
            ),
        ),
        ("append-only", append_only),
        (
            "commands",
            format!(
                "{} in all, {} a second now",
                get("stats", "total_commands_processed"),
                get("stats", "instantaneous_ops_per_sec")
            ),
        ),
        ("hit rate", hit_rate),
        ("expired", format!("{}, evicted {}", get("stats", "expired_keys"), get("stats", "evicted_keys"))),
        ("modules", if modules.is_empty() { "none".to_owned() } else { modules.join(", ") }),
        ("keys", if keyspace.is_empty() { "none".to_owned() } else { keyspace.join(", ") }),
    ];
    let mut marks = memory_marks(&info);
    for (name, expected) in
        [("rdb_last_bgsave_status", "ok"), ("aof_last_write_status", "ok"), ("aof_last_bgrewrite_status", "ok")]
    {
        let actual = get("persistence", name);
        if !actual.is_empty() && actual != expected {
            marks.push(format!("{name} is {actual}"));
        }
    }
    Ok(Page {
        json: json!({ "info": info, "marks": marks }),
        counts_as_change: !marks.is_empty(),
        marks,
        blocks: vec![block(pairs)],
    })
}

/// Returns the number of keys from `keys=3,expires=1,...`.
fn keys_of(text: &str) -> String {
    let keys = text.split(',').find_map(|part| part.strip_prefix("keys=")).unwrap_or("?");
    escaped(keys.as_bytes())
}

/// `redis memory`.
pub(super) async fn memory<S: Stream>(session: &mut RedisSession<S>) -> Result<Page, String> {
    let info = session.info(&["memory", "stats"]).await?;
    let stats = session.call(&["MEMORY", "STATS"]).await?;
    let stats: Map<String, Value> =
        pairs_of(&stats).into_iter().filter_map(|(name, value)| Some((name, scalar(&text_of(value)?)))).collect();
    let amount = |name: &str| number(&info, "memory", name).map(bytes).unwrap_or_default();
    let stat = |name: &str| stats.get(name).and_then(Value::as_u64).map(bytes).unwrap_or_default();
    let get = |name: &str| escaped(field(&info, "memory", name).as_bytes());
    let pairs = [
        ("used", memory_line(&info)),
        ("peak", amount("used_memory_peak")),
        ("resident", format!("{}, {} times the used memory", amount("used_memory_rss"), get("mem_fragmentation_ratio"))),
        (
            "data",
            format!(
                "{}, {} of the memory above that of an empty server",
                amount("used_memory_dataset"),
                get("used_memory_dataset_perc")
            ),
        ),
        (
            "keys",
            format!(
                "{}, {} each on average",
                stats.get("keys.count").map(ToString::to_string).unwrap_or_default(),
                stat("keys.bytes-per-key")
            ),
        ),
        ("clients", amount("mem_clients_normal")),
        ("append-only buffer", amount("mem_aof_buffer")),
        ("scripts and functions", amount("used_memory_scripts")),
        ("machine", amount("total_system_memory")),
        ("eviction policy", get("maxmemory_policy")),
        ("evicted", format!("{} keys so far", escaped(field(&info, "stats", "evicted_keys").as_bytes()))),
    ];
    let marks = memory_marks(&info);
    let json = json!({ "memory": info.get("memory"), "stats": stats, "marks": marks });
    Ok(Page { json, counts_as_change: !marks.is_empty(), marks, blocks: vec![block(pairs)] })
}

fn memory_line(info: &Info) -> String {
    let used = number(info, "memory", "used_memory").unwrap_or_default();
    match number(info, "memory", "maxmemory").filter(|limit| *limit > 0) {
        Some(limit) => {
            format!(
                "{} of {} ({} %), {}",
                bytes(used),
                bytes(limit),
                used * 100 / limit,
                field(info, "memory", "maxmemory_policy")
            )
        }
        None => format!("{}, without a limit", bytes(used)),
    }
}

fn memory_marks(info: &Info) -> Vec<String> {
    let used = number(info, "memory", "used_memory").unwrap_or_default();
    let limit = number(info, "memory", "maxmemory").unwrap_or_default();
    let mut marks = Vec::new();
    if limit > 0 && used.saturating_mul(100) >= limit.saturating_mul(MEMORY_WARNING) {
        let consequence =
            if field(info, "memory", "maxmemory_policy") == "noeviction" { "writes are refused" } else { "keys are evicted" };
        marks.push(format!("{} % of maxmemory is used; when it is full, {consequence}", used * 100 / limit));
    }
    marks
}

/// `redis clients`.
pub(super) async fn clients<S: Stream>(session: &mut RedisSession<S>) -> Result<Page, String> {
    let info = session.info(&["clients"]).await?;
    let own = session.call(&["CLIENT", "ID"]).await?;
    let own = text_of(&own).unwrap_or_default();
    let list = session.call(&["CLIENT", "LIST"]).await?;
    let list = text_of(&list).ok_or("CLIENT LIST returned no text")?;
    let clients: Vec<Map<String, Value>> = list.lines().map(client).collect();
    let text = |client: &Map<String, Value>, name: &str| match client.get(name) {
        Some(Value::String(text)) => escaped(text.as_bytes()),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let time =
        |client: &Map<String, Value>, name: &str| client.get(name).and_then(Value::as_u64).map(seconds).unwrap_or_default();
    let mut table = Table::new([
        (Column::Left, "address"),
        (Column::Flexible, "name"),
        (Column::Right, "db"),
        (Column::Right, "since"),
        (Column::Right, "idle"),
        (Column::Left, "command"),
        (Column::Right, "memory"),
    ]);
    let others = clients.iter().filter(|client| text(client, "id") != own);
    let mut shown: Vec<&Map<String, Value>> = others.collect();
    shown.sort_by_key(|client| client.get("age").and_then(Value::as_u64).map(std::cmp::Reverse));
    for client in &shown {
        let memory = client.get("tot-mem").and_then(Value::as_u64).map(bytes).unwrap_or_default();
        table.rows.push(vec![
            text(client, "addr"),
            text(client, "name"),
            text(client, "db"),
            time(client, "age"),
            time(client, "idle"),
            text(client, "cmd"),
            memory,
        ]);
    }
    let get = |name: &str| field(&info, "clients", name);
    let summary = format!(
        "  {} besides this one, {} blocked, limit {}",
        count(shown.len() as u64, "client"),
        get("blocked_clients"),
        get("maxclients")
    );
    let mut blocks = vec![Block::Line(summary)];
    if !shown.is_empty() {
        blocks.push(Block::Table(table));
    }
    let json = json!({ "summary": info.get("clients"), "clients": shown });
    Ok(Page { json, blocks, ..Page::default() })
}

/// Parses a line of CLIENT LIST: `id=3 addr=... name=...`; no value contains a space.
fn client(line: &str) -> Map<String, Value> {
    line.split(' ').filter_map(|part| part.split_once('=')).map(|(name, value)| (name.to_owned(), scalar(value))).collect()
}

/// Returns a number if the text is one, otherwise the text.
fn scalar(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
}

/// `redis config`: the output of CONFIG GET, with secret values hidden.
pub(super) async fn config<S: Stream>(session: &mut RedisSession<S>, filter: Option<&str>) -> Result<Page, String> {
    let pattern = filter.map(|pattern| Pattern::try_from(pattern.to_ascii_lowercase())).transpose()?;
    let reply = session.call(&["CONFIG", "GET", "*"]).await?;
    let mut settings: Vec<(String, String)> = pairs_of(&reply)
        .into_iter()
        .filter(|(name, _)| pattern.as_ref().is_none_or(|pattern| pattern.matches(name.as_bytes())))
        .map(|(name, value)| {
            let value = text_of(value).unwrap_or_default();
            let value = if is_secret(&name) { hidden(&value).to_owned() } else { value };
            (name, value)
        })
        .collect();
    settings.sort();
    if settings.is_empty() {
        return Err(format!("no setting matches `{}`", filter.unwrap_or("*")));
    }
    let json: Map<String, Value> = settings.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let pairs = settings.iter().map(|(name, value)| (escaped(name.as_bytes()), escaped(value.as_bytes()))).collect();
    Ok(Page { json: json!({ "config": json }), blocks: vec![Block::Pairs(pairs)], ..Page::default() })
}

/// Whether the value of a setting is a secret: `requirepass`, `masterauth`, `tls-key-file-pass`, and settings of modules with similar names.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // `tls-auth-clients` only determines which clients must present a certificate.
    name != "tls-auth-clients" && ["pass", "auth", "secret", "token", "credential"].iter().any(|word| name.contains(word))
}

fn hidden(value: &str) -> &'static str {
    if value.is_empty() { "(not set)" } else { "(set, hidden)" }
}

async fn now<S: Stream>(session: &mut RedisSession<S>) -> Result<u64, String> {
    let time = session.call(&["TIME"]).await?;
    let crate::redis_client::Reply::Array(Some(parts)) = &time else { return Err("TIME returned no time".to_owned()) };
    parts
        .first()
        .and_then(number_of)
        .and_then(|second| u64::try_from(second).ok())
        .ok_or_else(|| "TIME returned no time".to_owned())
}

fn block<const N: usize>(pairs: [(&str, String); N]) -> Block {
    Block::Pairs(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognised_by_their_names() {
        for name in [
            "requirepass",
            "masterauth",
            "tls-key-file-pass",
            "tls-client-key-file-pass",
            "x-Auth-Token",
            "search-oss-acl-password",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["tls-auth-clients", "maxmemory", "port", "tls-key-file", "aclfile"] {
            assert!(!is_secret(name), "{name}");
        }
        assert_eq!([hidden(""), hidden("x")], ["(not set)", "(set, hidden)"]);
    }

    #[test]
    fn clients_are_parsed() {
        let client = client("id=3 addr=127.0.0.1:5 name= db=0 cmd=client|list tot-mem=22298");
        assert_eq!(
            json!(client),
            json!({"id": 3, "addr": "127.0.0.1:5", "name": "", "db": 0, "cmd": "client|list", "tot-mem": 22298})
        );
    }

    #[test]
    fn memory_that_is_nearly_full_is_marked() {
        let info = |used: &str, policy: &str| {
            let fields = [("used_memory", used), ("maxmemory", "1000"), ("maxmemory_policy", policy)];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
            Info::from_iter([("memory".to_owned(), fields)])
        };
        assert!(memory_marks(&info("799", "noeviction")).is_empty());
        assert_eq!(memory_marks(&info("800", "noeviction")), ["80 % of maxmemory is used; when it is full, writes are refused"]);
        assert!(memory_marks(&info("800", "allkeys-lru"))[0].contains("keys are evicted"));
        assert_eq!(memory_line(&info("512", "noeviction")), "512 B of 1000 B (51 %), noeviction");
    }
}
